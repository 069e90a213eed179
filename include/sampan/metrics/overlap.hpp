// Dice, IoU, volumes: what can be counted. Data flow: two masks (grid.hpp) -> Overlap -> numbers.
// Source: surface_distance.compute_dice_coefficient (both empty: NaN); medpy.metric.binary.ravd. Cost: one pass.
// Empty masks: both empty gives NaN (nothing to compare; aggregate over defined values), one empty gives 0. MedPy's dc and jc give 0 for both empty instead.
#pragma once
#include <sampan/metrics/grid.hpp>

#include <limits>

namespace sampan::inline SAMPAN_ABI::metrics {

inline constexpr double kUndefined = std::numeric_limits<double>::quiet_NaN();

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
  Overlap o;
  for (Index z = 0; z < pred.extent(0); ++z)
    for (Index y = 0; y < pred.extent(1); ++y) {
      const std::uint8_t *p = &pred(z, y, 0), *g = &gt(z, y, 0);
      const Index sp = pred.stride(2), sg = gt.stride(2);
      std::uint32_t np = 0, ng = 0, nb = 0;  // a side is at most 2^20
      for (Index x = 0; x < pred.extent(2); ++x) {
        const std::uint32_t a = p[x * sp] != 0, b = g[x * sg] != 0;
        np += a, ng += b, nb += a & b;
      }
      o.pred += np, o.gt += ng, o.both += nb;
    }
  return o;
}

/// Size of one sample: area in 2D, volume in 3D.
inline double sample_size(const Grid& g) { return (g.rank == 3 ? g.spacing[0] : 1) * g.spacing[1] * g.spacing[2]; }

}  // namespace sampan::inline SAMPAN_ABI::metrics
