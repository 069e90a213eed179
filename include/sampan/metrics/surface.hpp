// Surface distances as the package surface-distance defines them: NSD, HD95, average distances, each surface element weighted by its size.
// Data flow: two masks -> border.hpp (corner_border), surface_tables.hpp (sizes), distance_transform.hpp -> SurfaceDistances -> numbers.
// Source: surface_distance/metrics.py (compute_surface_distances and the functions on its result), package version 0.1.
// Empty masks, as there: both empty: NSD and averages NaN, Hausdorff infinite. One empty: NSD 0, Hausdorff infinite, average of the other side infinite, of the empty side NaN.
// Cost: one pass over both masks at the speed of memory; a few byte operations per voxel of the box around both; the two sets of distances; linear in the surface elements.
#pragma once
#include <sampan/metrics/overlap.hpp>

namespace sampan::inline SAMPAN_ABI::metrics {

/// A piece of surface: how far the other surface is, and how large the piece is (length in 2D, area in 3D).
struct SurfaceElement {
  double distance = 0, size = 0;
};

/// Sorted by distance, then size.
struct SurfaceDistances {
  std::vector<SurfaceElement> gt_to_pred, pred_to_gt;
};

namespace detail {

/// numpy's sum of contiguous doubles: pairwise, eight partial sums in blocks of 128. A percentile that lies exactly on a step depends on its last bit.
template <class Get>
double numpy_sum(const Get& get, std::size_t first, std::size_t n) {
  if (n < 8) {
    double s = 0;
    for (std::size_t i = 0; i < n; ++i) s += get(first + i);
    return s;
  }
  if (n <= 128) {
    double r[8];
    for (std::size_t i = 0; i < 8; ++i) r[i] = get(first + i);
    std::size_t i = 8;
    for (; i < n - n % 8; i += 8)
      for (std::size_t k = 0; k < 8; ++k) r[k] += get(first + i + k);
    double s = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
    for (; i < n; ++i) s += get(first + i);
    return s;
  }
  std::size_t half = n / 2;
  half -= half % 8;
  return numpy_sum(get, first, half) + numpy_sum(get, first + half, n - half);
}

inline double total_size(const std::vector<SurfaceElement>& e) {
  return numpy_sum([&](std::size_t i) { return e[i].size; }, 0, e.size());
}

}  // namespace detail

/// Both views must have passed check().
SurfaceDistances surface_distances(const MaskView& pred, const MaskView& gt, const Grid& grid, ThreadPool& pool);

/// compute_surface_dice_at_tolerance: the share of both surfaces that lies within `tolerance` (unit of the spacing) of the other.
inline double surface_dice(const SurfaceDistances& s, double tolerance) {
  double near = 0, all = 0;
  for (const auto* side : {&s.gt_to_pred, &s.pred_to_gt}) {
    all += detail::total_size(*side);
    std::size_t n = 0;
    while (n < side->size() && (*side)[n].distance <= tolerance) ++n;
    near += detail::numpy_sum([&](std::size_t i) { return (*side)[i].size; }, 0, n);
  }
  return all > 0 ? near / all : kUndefined;
}

/// compute_robust_hausdorff: the larger of the two percentiles of distance by surface size; 100 is the Hausdorff distance.
inline double robust_hausdorff(const SurfaceDistances& s, double percent) {
  const auto one_way = [percent](const std::vector<SurfaceElement>& e) {
    if (e.empty()) return std::numeric_limits<double>::infinity();
    const double all = detail::total_size(e);
    double sum = 0;
    for (const SurfaceElement& x : e) {
      sum += x.size;
      if (sum / all >= percent / 100.0) return x.distance;
    }
    return e.back().distance;
  };
  return (std::max)(one_way(s.gt_to_pred), one_way(s.pred_to_gt));
}

/// compute_average_surface_distance, both directions, and the same over both surfaces together.
struct AverageDistances {
  double gt_to_pred = kUndefined, pred_to_gt = kUndefined, symmetric = kUndefined;
};

inline AverageDistances average_distances(const SurfaceDistances& s) {
  double weighted[2], size[2];
  for (int i = 0; i < 2; ++i) {
    const auto& e = i == 0 ? s.gt_to_pred : s.pred_to_gt;
    weighted[i] = detail::numpy_sum([&](std::size_t k) { return e[k].distance * e[k].size; }, 0, e.size());
    size[i] = detail::total_size(e);
  }
  return {weighted[0] / size[0], weighted[1] / size[1], (weighted[0] + weighted[1]) / (size[0] + size[1])};
}

}  // namespace sampan::inline SAMPAN_ABI::metrics

#if !defined(SAMPAN_COMPILED) || defined(SAMPAN_IMPLEMENTATION)
#  include <sampan/impl/surface.ipp>
#endif
