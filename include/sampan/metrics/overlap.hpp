// Dice, IoU, volumes: what can be counted. Data flow: two masks (grid.hpp) -> Overlap -> numbers.
// Source: surface_distance.compute_dice_coefficient (both empty: NaN); medpy.metric.binary.ravd. Cost: one pass.
// Empty masks: both empty gives NaN (nothing to compare; aggregate over defined values), one empty gives 0. MedPy's dc and jc give 0 for both empty instead.
#pragma once
#include <sampan/metrics/grid.hpp>

#include <limits>

namespace sampan::inline SAMPAN_ABI::metrics {

inline constexpr double kUndefined = std::numeric_limits<double>::quiet_NaN();

namespace detail {

/// Samples of a row in the prediction, the ground truth, both; 255 at once, so that bytes can count.
inline void count_row(const std::uint8_t* p, Index sp, const std::uint8_t* g, Index sg, Index n, Index* counts) {
  for (Index x0 = 0; x0 < n; x0 += 255) {
    std::uint8_t np = 0, ng = 0, nb = 0;
    const Index end = x0 + 255 < n ? x0 + 255 : n;
    const auto count = [&](bool in_pred, bool in_gt) { np = std::uint8_t(np + in_pred), ng = std::uint8_t(ng + in_gt), nb = std::uint8_t(nb + (in_pred & in_gt)); };
    if (sp == 1 && sg == 1) {
      for (Index x = x0; x < end; ++x) count(p[x] != 0, g[x] != 0);
    } else {
      for (Index x = x0; x < end; ++x) count(p[x * sp] != 0, g[x * sg] != 0);
    }
    counts[0] += np, counts[1] += ng, counts[2] += nb;
  }
}

}  // namespace detail

struct Overlap {
  Index pred = 0, gt = 0, both = 0;  ///< samples

  /// 2 |P and G| / (|P| + |G|)
  double dice() const { return pred + gt ? 2 * double(both) / double(pred + gt) : kUndefined; }
  /// |P and G| / |P or G|
  double iou() const { return pred + gt ? double(both) / double(pred + gt - both) : kUndefined; }
  /// (|P| - |G|) / |G|, undefined without ground truth.
  double relative_volume_difference() const { return gt ? double(pred - gt) / double(gt) : kUndefined; }
};

/// Both views must have passed check().
inline Overlap overlap(const MaskView& pred, const MaskView& gt) {
  Index counts[3] = {};
  for (Index z = 0; z < pred.extent(0); ++z)
    for (Index y = 0; y < pred.extent(1); ++y) detail::count_row(&pred(z, y, 0), pred.stride(2), &gt(z, y, 0), gt.stride(2), pred.extent(2), counts);
  return {counts[0], counts[1], counts[2]};
}
/// The same, slices in parallel.
inline Overlap overlap(const MaskView& pred, const MaskView& gt, ThreadPool& pool) {
  std::vector<Overlap> slices(std::size_t(pred.extent(0)));
  pool.parallel_for(pred.extent(0), [&](Index z, int) { slices[std::size_t(z)] = overlap(pred.slice(0, z, 1), gt.slice(0, z, 1)); });
  Overlap o;
  for (const Overlap& s : slices) o.pred += s.pred, o.gt += s.gt, o.both += s.both;
  return o;
}

/// Size of one sample: area in 2D, volume in 3D.
inline double sample_size(const Grid& g) { return (g.rank == 3 ? g.spacing[0] : 1) * g.spacing[1] * g.spacing[2]; }

}  // namespace sampan::inline SAMPAN_ABI::metrics
