// Definitions of metrics/compare.hpp. In the compiled library, because distances take their loops in vectors, whatever a program's own flags are.
#pragma once
#include <sampan/metrics/compare.hpp>
#include <sampan/metrics/surface.hpp>
#include <sampan/metrics/voxel_surface.hpp>

namespace sampan::inline SAMPAN_ABI::metrics {

SAMPAN_INLINE Result<Scores> compare(const MaskView& pred, const MaskView& gt, const Grid& grid, const CompareOptions& o, ThreadPool& pool) {
  SAMPAN_CHECK(check(pred, gt, grid));
  if (!(o.tolerance >= 0 && o.tolerance < 1e12)) return Error(ErrorCode::invalid_argument, cat("tolerance ", o.tolerance, ": a distance from 0 is needed"));
  Scores s;
  // Outside the box around both there is nothing to count and no surface.
  const Region box = bounds(pred, gt, pool);
  const MaskView p = box.empty() ? pred : crop(pred, box), g = box.empty() ? gt : crop(gt, box);
  s.counts = overlap(p, g, pool);
  s.volume_pred = double(s.counts.pred) * sample_size(grid);
  s.volume_gt = double(s.counts.gt) * sample_size(grid);
  s.dice = s.counts.dice();
  s.iou = s.counts.iou();
  s.relative_volume_difference = s.counts.relative_volume_difference();
  if (o.surfaces) {
    const SurfaceDistances d = surface_distances(p, g, grid, pool);
    const AverageDistances a = average_distances(d);
    s.nsd = surface_dice(d, o.tolerance);
    s.hd = robust_hausdorff(d, 100);
    s.hd95 = robust_hausdorff(d, 95);
    s.asd_gt_to_pred = a.gt_to_pred, s.asd_pred_to_gt = a.pred_to_gt, s.assd = a.symmetric;
  }
  if (o.published_variants) {
    const VoxelDistances d = voxel_distances(p, g, grid, pool);
    const VoxelAverages monai = averages_monai(d), medpy = averages_medpy(d);
    s.hd95_monai = hausdorff_monai(d, 95), s.hd_monai = hausdorff_monai(d, 0), s.nsd_monai = surface_dice_monai(d, o.tolerance);
    s.asd_monai = monai.pred_to_gt, s.assd_monai = monai.symmetric;
    s.hd95_medpy = hausdorff_medpy(d, 95), s.hd_medpy = hausdorff_medpy(d, 100);
    s.asd_pred_to_gt_medpy = medpy.pred_to_gt, s.asd_gt_to_pred_medpy = medpy.gt_to_pred, s.assd_medpy = medpy.symmetric;
  }
  return s;
}

SAMPAN_INLINE std::vector<std::pair<const char*, double>> named_scores(const Scores& s, const CompareOptions& o) {
  std::vector<std::pair<const char*, double>> all = {{"dice", s.dice}, {"iou", s.iou}};
  if (o.surfaces) all.insert(all.end(), {{"nsd", s.nsd}, {"hd95", s.hd95}, {"hd", s.hd}, {"assd", s.assd}, {"asd_pred_to_gt", s.asd_pred_to_gt}, {"asd_gt_to_pred", s.asd_gt_to_pred}});
  all.insert(all.end(), {{"volume_pred", s.volume_pred}, {"volume_gt", s.volume_gt}, {"relative_volume_difference", s.relative_volume_difference}});
  if (o.published_variants)
    all.insert(all.end(), {{"hd95_monai", s.hd95_monai}, {"hd_monai", s.hd_monai}, {"nsd_monai", s.nsd_monai}, {"asd_monai", s.asd_monai}, {"assd_monai", s.assd_monai},
                           {"hd95_medpy", s.hd95_medpy}, {"hd_medpy", s.hd_medpy}, {"asd_pred_to_gt_medpy", s.asd_pred_to_gt_medpy}, {"asd_gt_to_pred_medpy", s.asd_gt_to_pred_medpy}, {"assd_medpy", s.assd_medpy}});
  return all;
}

}  // namespace sampan::inline SAMPAN_ABI::metrics
