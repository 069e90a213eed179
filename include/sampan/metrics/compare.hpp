// All metrics of one prediction against one ground truth, under the names that people publish. Data flow: sampan metrics, sampan evaluate -> here.
// dice, iou, nsd, hd, hd95, asd, assd follow surface-distance; names that end in _monai and _medpy follow these packages, with their own borders and percentiles.
// Distances and tolerance are in the unit of the spacing. NaN means undefined, infinity means no surface to measure to; surface.hpp and voxel_surface.hpp say when.
#pragma once
#include <sampan/metrics/overlap.hpp>

namespace sampan::inline SAMPAN_ABI::metrics {

struct CompareOptions {
  double tolerance = 2;       ///< of nsd, in the unit of the spacing
  bool surfaces = true;       ///< nsd, hd, hd95, asd, assd
  bool published_variants = false;  ///< everything that ends in _monai and _medpy
};

/// What was not asked for stays NaN.
struct Scores {
  Overlap counts;
  double volume_pred = 0, volume_gt = 0;  ///< area in 2D; unit of the spacing to the power of the rank
  double dice = kUndefined, iou = kUndefined, relative_volume_difference = kUndefined;
  double nsd = kUndefined, hd = kUndefined, hd95 = kUndefined;
  double asd_gt_to_pred = kUndefined, asd_pred_to_gt = kUndefined, assd = kUndefined;
  double hd95_monai = kUndefined, hd_monai = kUndefined, nsd_monai = kUndefined, asd_monai = kUndefined, assd_monai = kUndefined;
  double hd95_medpy = kUndefined, hd_medpy = kUndefined, asd_pred_to_gt_medpy = kUndefined, asd_gt_to_pred_medpy = kUndefined, assd_medpy = kUndefined;
};

/// Error{invalid_argument | limit} if the masks do not fit each other, the grid or the limits (grid.hpp), or the tolerance is not a number from 0.
Result<Scores> compare(const MaskView& pred, const MaskView& gt, const Grid& grid, const CompareOptions& o, ThreadPool& pool);

/// Name and value of everything that was asked for, in the order of reports.
std::vector<std::pair<const char*, double>> named_scores(const Scores& s, const CompareOptions& o);

}  // namespace sampan::inline SAMPAN_ABI::metrics

#if !defined(SAMPAN_COMPILED) || defined(SAMPAN_IMPLEMENTATION)
#  include <sampan/impl/compare.ipp>
#endif
