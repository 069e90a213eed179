// Small holes and islands of a mask, removed. Data flow: impl/everything.ipp -> here.
// Shapes: mask [height, width] bytes 0 and 1, in place. Components touch with sides or corners (8 neighbours), holes as well as islands.
// Source: segment_anything/utils/amg.py, remove_small_regions (cv2.connectedComponentsWithStats). Cost: two passes over the pixels.
#pragma once
#include <sampan/core/config.hpp>

#include <cstdint>
#include <vector>

namespace sampan::inline SAMPAN_ABI::predict {

enum class SmallRegions { holes, islands };

/// True if something changed. Holes below `least` pixels are filled, islands below it go; if all islands are, the largest stays.
inline bool remove_small_regions(std::vector<std::uint8_t>& mask, std::int64_t height, std::int64_t width, std::int64_t least, SmallRegions kind) {
  const std::uint8_t wanted = kind == SmallRegions::islands;
  // Union-find over the pixels of the wanted value, joined with their neighbours above and to the left; a root is the first pixel of its component.
  std::vector<std::int64_t> parent(mask.size(), -1), size(mask.size(), 0);
  const auto find = [&](std::int64_t i) {
    while (parent[std::size_t(i)] != i) i = parent[std::size_t(i)] = parent[std::size_t(parent[std::size_t(i)])];
    return i;
  };
  const auto join = [&](std::int64_t a, std::int64_t b) {
    a = find(a), b = find(b);
    parent[std::size_t(a > b ? a : b)] = a > b ? b : a;
  };
  for (std::int64_t y = 0; y < height; ++y)
    for (std::int64_t x = 0; x < width; ++x) {
      const std::int64_t i = y * width + x;
      if (mask[std::size_t(i)] != wanted) continue;
      parent[std::size_t(i)] = i;
      const auto with = [&](std::int64_t dx, std::int64_t dy) {
        if (x + dx >= 0 && x + dx < width && y + dy >= 0 && parent[std::size_t(i + dy * width + dx)] >= 0) join(i, i + dy * width + dx);
      };
      with(-1, 0), with(-1, -1), with(0, -1), with(1, -1);
    }
  for (std::int64_t i = 0; i < std::int64_t(mask.size()); ++i)
    if (parent[std::size_t(i)] >= 0) ++size[std::size_t(find(i))];
  std::int64_t small = 0, all = 0;
  for (const std::int64_t n : size) all += n > 0, small += n > 0 && n < least;
  if (small == 0) return false;
  std::int64_t kept = -1;  // the root of the largest, where every island is small
  if (kind == SmallRegions::islands && small == all) {
    // cv2 numbers components by the first block of 2 x 2 pixels that they meet, and the reference keeps the first of equals.
    const auto block = [&](std::int64_t i) { return i / width / 2 * ((width + 1) / 2) + i % width / 2; };
    std::int64_t kept_block = 0;
    for (std::int64_t i = 0; i < std::int64_t(mask.size()); ++i) {
      if (parent[std::size_t(i)] < 0) continue;
      const std::int64_t root = find(i), n = size[std::size_t(root)], most = kept < 0 ? 0 : size[std::size_t(kept)];
      if (n > most || (n == most && block(i) < kept_block)) kept = root, kept_block = block(i);
    }
  }
  for (std::int64_t i = 0; i < std::int64_t(mask.size()); ++i) {
    if (parent[std::size_t(i)] < 0) continue;
    const std::int64_t root = find(i);
    if (size[std::size_t(root)] < least && root != kept) mask[std::size_t(i)] = !wanted;
  }
  return true;
}

}  // namespace sampan::inline SAMPAN_ABI::predict
