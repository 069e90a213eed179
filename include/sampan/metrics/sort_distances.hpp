// Sorting by distance in linear time. Data flow: distances of border elements, in raster order -> here -> sorted lists (surface.hpp, voxel_surface.hpp).
// Identity: bits of doubles from 0 to infinity, read as whole numbers, have the order of the doubles; stable counting sorts by 11 bits, the lowest first, give that order.
// Cost: six passes, less where all elements share a digit (most of the exponent); short lists are sorted by comparison.
#pragma once
#include <algorithm>
#include <bit>
#include <cstdint>
#include <utility>
#include <vector>

#include <sampan/core/config.hpp>

namespace sampan::inline SAMPAN_ABI::metrics::detail {

/// Stable. distance(element) is a double from 0 to infinity, not NaN and not -0.
template <class T, class Distance>
void sort_by_distance(std::vector<T>& list, const Distance& distance) {
  constexpr int kBits = 11, kDigits = 6;  // 66 bits hold 64
  constexpr std::size_t kBuckets = std::size_t(1) << kBits;
  if (list.size() < 4096) return std::stable_sort(list.begin(), list.end(), [&](const T& a, const T& b) { return distance(a) < distance(b); });
  const auto digit = [&](const T& e, int d) { return std::size_t(std::bit_cast<std::uint64_t>(distance(e)) >> (d * kBits)) % kBuckets; };
  std::vector<std::size_t> counts(kDigits * kBuckets);
  for (const T& e : list)
    for (int d = 0; d < kDigits; ++d) ++counts[std::size_t(d) * kBuckets + digit(e, d)];
  std::vector<T> other(list.size());
  for (int d = 0; d < kDigits; ++d) {
    std::size_t* const bucket = counts.data() + std::size_t(d) * kBuckets;
    if (bucket[digit(list[0], d)] == list.size()) continue;
    std::size_t begin = 0;
    for (std::size_t i = 0; i < kBuckets; ++i) begin += std::exchange(bucket[i], begin);
    for (const T& e : list) other[bucket[digit(e, d)]++] = e;
    list.swap(other);
  }
}

}  // namespace sampan::inline SAMPAN_ABI::metrics::detail
