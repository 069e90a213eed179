// Surface distances between border samples, unweighted, as MONAI and MedPy define them. Their 95th percentiles differ from each other and from surface-distance's.
// Data flow: two masks -> border.hpp (voxel_border), distance_transform.hpp -> VoxelDistances -> numbers.
// Source: monai/metrics/{hausdorff_distance,surface_distance,surface_dice,utils}.py (1.3.2, use_subvoxels off, euclidean); medpy/metric/binary.py (0.5.2, connectivity 1).
//   hd95_monai: the larger of two torch.quantile (linear, float32), one per direction; hd95_medpy: numpy.percentile (linear, float64) of both lists joined.
// Empty masks, as there. MONAI: both empty NaN; one empty: both lists infinite, so distances infinite, NSD 0, and hd95 NaN (torch interpolates inf - inf).
//   MedPy raises an exception if either is empty: NaN here.
#pragma once
#include <sampan/metrics/distance_transform.hpp>
#include <sampan/metrics/overlap.hpp>
#include <sampan/metrics/sort_distances.hpp>

namespace sampan::inline SAMPAN_ABI::metrics {

/// Sorted.
struct VoxelDistances {
  std::vector<double> pred_to_gt, gt_to_pred;
  bool any_empty() const { return pred_to_gt.empty() || gt_to_pred.empty(); }
  bool both_empty() const { return pred_to_gt.empty() && gt_to_pred.empty(); }
};

/// Both views must have passed check().
inline VoxelDistances voxel_distances(const MaskView& pred, const MaskView& gt, const Grid& grid, ThreadPool& pool) {
  const Region r = bounds(pred, gt, pool);
  if (r.empty()) return {};
  const Border p = voxel_border(crop(pred, r), grid.rank, pool), g = voxel_border(crop(gt, r), grid.rank, pool);
  VoxelDistances d{border_distances(p, g, grid, pool), border_distances(g, p, grid, pool)};
  for (auto* list : {&d.pred_to_gt, &d.gt_to_pred}) detail::sort_by_distance(*list, [](double v) { return v; });
  return d;
}

namespace detail {

/// a + (b - a) t, from the nearer end, as torch.lerp and numpy's percentile do.
template <class F>
F lerp(F a, F b, F t) {
  return t < F(0.5) ? a + t * (b - a) : b - (b - a) * (F(1) - t);
}
/// Linear percentile of sorted values, all arithmetic in F.
template <class F>
F percentile(const std::vector<double>& sorted, F fraction) {
  const F rank = fraction * F(sorted.size() - 1), below = std::floor(rank);
  const std::size_t i = std::size_t(below), j = std::size_t(std::ceil(rank));
  return lerp(F(sorted[i]), F(sorted[(std::min)(j, sorted.size() - 1)]), rank - below);
}
inline double mean(const std::vector<double>& v) {
  double s = 0;
  for (const double x : v) s += x;
  return s / double(v.size());
}

}  // namespace detail

/// monai.metrics.compute_hausdorff_distance with percentile, or its maximum for percent 0 (as there) or 100.
inline double hausdorff_monai(const VoxelDistances& d, double percent) {
  if (d.both_empty()) return kUndefined;
  if (d.any_empty()) return percent == 0 ? std::numeric_limits<double>::infinity() : kUndefined;
  const auto one_way = [percent](const std::vector<double>& v) { return percent == 0 ? float(v.back()) : detail::percentile<float>(v, float(percent / 100)); };
  return double((std::max)(one_way(d.pred_to_gt), one_way(d.gt_to_pred)));
}

/// medpy.metric.binary.hd95 (percent 95) and hd (percent 100).
inline double hausdorff_medpy(const VoxelDistances& d, double percent) {
  if (d.any_empty()) return kUndefined;
  std::vector<double> all(d.pred_to_gt.size() + d.gt_to_pred.size());
  std::merge(d.pred_to_gt.begin(), d.pred_to_gt.end(), d.gt_to_pred.begin(), d.gt_to_pred.end(), all.begin());
  return detail::percentile<double>(all, percent / 100);
}

/// medpy.metric.binary.asd in both directions and assd; MONAI's averages are the same numbers where both masks have an object.
struct VoxelAverages {
  double pred_to_gt = kUndefined, gt_to_pred = kUndefined, symmetric = kUndefined;
};
inline VoxelAverages averages_medpy(const VoxelDistances& d) {
  if (d.any_empty()) return {};
  const double p = detail::mean(d.pred_to_gt), g = detail::mean(d.gt_to_pred), np = double(d.pred_to_gt.size()), ng = double(d.gt_to_pred.size());
  return {p, g, (p * np + g * ng) / (np + ng)};
}
/// compute_average_surface_distance: symmetric off (pred to gt), symmetric on.
inline VoxelAverages averages_monai(const VoxelDistances& d) {
  if (!d.any_empty()) return averages_medpy(d);
  if (d.both_empty()) return {};
  constexpr double inf = std::numeric_limits<double>::infinity();
  return {inf, inf, inf};
}

/// monai.metrics.compute_surface_dice without subvoxels: the share of border samples within `tolerance` of the other border.
inline double surface_dice_monai(const VoxelDistances& d, double tolerance) {
  const auto near = [tolerance](const std::vector<double>& v) {
    return std::partition_point(v.begin(), v.end(), [&](double x) { return float(x) <= float(tolerance); }) - v.begin();
  };
  if (d.both_empty()) return kUndefined;
  if (d.any_empty()) return 0;
  return double(near(d.pred_to_gt) + near(d.gt_to_pred)) / double(d.pred_to_gt.size() + d.gt_to_pred.size());
}

}  // namespace sampan::inline SAMPAN_ABI::metrics
