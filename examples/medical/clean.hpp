// Tidying of one object's mask in three dimensions: largest component, holes, minimum size. All optional, none on by default.
// Data flow: masks of an object in a volume -> here -> LabelMap. Voxels are 0 or not 0, in the order of Volume.
// Components: 26 neighbours (as scipy.ndimage.label with a full structure); holes: background that no path of 6 neighbours joins to the border.
// Cost: a few passes over the box of the object. Deliberately absent: morphology, smoothing: they would invent borders.
#pragma once
#include "volume.hpp"

namespace sampan::inline SAMPAN_ABI::medical {

struct CleanOptions {
  bool largest = false, fill_holes = false;
  std::int64_t min_voxels = 0;  ///< smaller components go
};
struct CleanReport {
  std::int64_t components = 0, removed_components = 0, removed = 0, filled = 0;  ///< the last two in voxels
};

namespace detail {

/// Inclusive box of what is not 0; low > high if nothing is.
inline std::pair<Extent3, Extent3> box_of(const std::vector<std::uint8_t>& m, const Extent3& s) {
  Extent3 low = s, high{-1, -1, -1};
  std::size_t at = 0;
  for (std::int64_t k = 0; k < s[2]; ++k)
    for (std::int64_t j = 0; j < s[1]; ++j)
      for (std::int64_t i = 0; i < s[0]; ++i)
        if (m[at++]) low = {std::min(low[0], i), std::min(low[1], j), std::min(low[2], k)}, high = {std::max(high[0], i), std::max(high[1], j), std::max(high[2], k)};
  return {low, high};
}

/// Calls f(flat index) for everything that is joined to `start` where test(flat index) holds; test must turn false once f has seen a voxel.
template <bool kFull, class Test, class F>
void flood(std::size_t start, const Extent3& s, const Extent3& low, const Extent3& high, std::vector<std::size_t>& stack, Test&& test, F&& f) {
  stack.assign(1, start);
  f(start);
  const std::size_t row = std::size_t(s[0]), plane = row * std::size_t(s[1]);
  while (!stack.empty()) {
    const std::size_t at = stack.back();
    stack.pop_back();
    const std::int64_t k = std::int64_t(at / plane), j = std::int64_t(at % plane / row), i = std::int64_t(at % row);
    for (std::int64_t c = std::max(low[2], k - 1); c <= std::min(high[2], k + 1); ++c)
      for (std::int64_t b = std::max(low[1], j - 1); b <= std::min(high[1], j + 1); ++b)
        for (std::int64_t a = std::max(low[0], i - 1); a <= std::min(high[0], i + 1); ++a) {
          if (!kFull && (a != i) + (b != j) + (c != k) != 1) continue;
          const std::size_t next = std::size_t(a) + row * std::size_t(b) + plane * std::size_t(c);
          if (!test(next)) continue;
          f(next);
          stack.push_back(next);
        }
  }
}

}  // namespace detail

/// Changes `mask` (0 and 1) in place. Afterwards it holds 0 and 1.
inline CleanReport clean(std::vector<std::uint8_t>& mask, const Extent3& size, const CleanOptions& o) {
  CleanReport r;
  if (!o.largest && !o.fill_holes && o.min_voxels <= 0) return r;
  const auto box = detail::box_of(mask, size);
  const auto &low = box.first, &high = box.second;
  if (low[0] > high[0]) return r;
  std::vector<std::size_t> stack;
  if (o.largest || o.min_voxels > 0) {
    // 1: not seen yet; 2: seen. The largest component is the first of equal ones in the order of voxels.
    std::vector<std::pair<std::size_t, std::int64_t>> parts;  // a voxel of each, its size
    for (std::size_t at = 0; at < mask.size(); ++at) {
      if (mask[at] != 1) continue;
      std::int64_t n = 0;
      detail::flood<true>(at, size, low, high, stack, [&](std::size_t p) { return mask[p] == 1; }, [&](std::size_t p) { mask[p] = 2, ++n; });
      parts.push_back({at, n});
    }
    const auto best = std::max_element(parts.begin(), parts.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
    r.components = std::int64_t(parts.size());
    for (auto it = parts.begin(); it != parts.end(); ++it) {
      if ((!o.largest || it == best) && it->second >= o.min_voxels) continue;
      ++r.removed_components;
      r.removed += it->second;
      detail::flood<true>(it->first, size, low, high, stack, [&](std::size_t p) { return mask[p] == 2; }, [&](std::size_t p) { mask[p] = 0; });
    }
    for (std::uint8_t& v : mask) v = v ? 1 : 0;
  }
  if (o.fill_holes) {
    // Background that a walk from the faces of the box reaches is outside (2); the box is wide enough, because the faces of a hole lie inside it.
    const std::size_t row = std::size_t(size[0]), plane = row * std::size_t(size[1]);
    const auto each = [&](auto&& f) {
      for (std::int64_t k = low[2]; k <= high[2]; ++k)
        for (std::int64_t j = low[1]; j <= high[1]; ++j)
          for (std::int64_t i = low[0]; i <= high[0]; ++i) f(std::size_t(i) + row * std::size_t(j) + plane * std::size_t(k), i == low[0] || i == high[0] || j == low[1] || j == high[1] || k == low[2] || k == high[2]);
    };
    each([&](std::size_t at, bool face) {
      if (face && mask[at] == 0) detail::flood<false>(at, size, low, high, stack, [&](std::size_t p) { return mask[p] == 0; }, [&](std::size_t p) { mask[p] = 2; });
    });
    each([&](std::size_t at, bool) {
      r.filled += mask[at] == 0;
      mask[at] = mask[at] == 2 ? 0 : 1;
    });
  }
  return r;
}

}  // namespace sampan::inline SAMPAN_ABI::medical
