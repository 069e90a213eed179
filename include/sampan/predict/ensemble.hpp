// Several answers about one object -> how likely each pixel is, and how much the answers differ: mean and variance of the members' probabilities.
// Data flow: Session::predict_ensemble -> here (one probability map per member) -> Ensemble.   Shapes: low [l, l] logits; maps [h, w] of the original image.
// Source: UR-SAM (Zhang et al. 2023: boxes moved a little, variance as uncertainty), SimSAM (Towle et al. 2024: clicks moved, predictions averaged). Probability is the
// sigmoid of the resized logits, in the order of the checkpoint's contract (MedSAM: of the low-resolution logits, resized then).   Cost: 16 FLOP per pixel and member.
#pragma once
#include <sampan/predict/postprocess.hpp>

namespace sampan::inline SAMPAN_ABI::predict {

/// The probability of each pixel, out [h, w].
template <class B>
void probability_map(Context<B>& ctx, const weights::Contract& c, const InputFrame& f, const View<const float, 2>& low, const View<float, 2>& out) {
  auto scope = ctx.arena.scope();
  const MaskSource s = mask_source(ctx, scope, c, f, low);
  const View<const float, 3> plane(s.map.data(), {s.map.extent(0), s.map.extent(1), 1}, {s.map.stride(0), s.map.stride(1), 1});
  const View<float, 3> to(out.data(), {out.extent(0), out.extent(1), 1});
  s.bicubic ? resize_torch_bicubic(ctx, plane, to) : resize_torch_bilinear(ctx, plane, to);
  if (s.probability || !ctx.begin({10.0 * double(out.size()), 8.0 * double(out.size())})) return;
  for (Index i = 0; i < out.size(); ++i) out.data()[i] = detail::sigmoid(out.data()[i]);
}

/// Sums over members, and what they give in the end. In double: a variance is a small difference.
class EnsembleSum {
 public:
  explicit EnsembleSum(std::size_t pixels) : sum_(pixels, 0), squares_(pixels, 0) {}
  void add(const float* p) {
    for (std::size_t i = 0; i < sum_.size(); ++i) sum_[i] += double(p[i]), squares_[i] += double(p[i]) * double(p[i]);
    ++count_;
  }
  /// Mean, variance over the members (divided by their number), and where the mean is above `threshold`.
  void finish(double threshold, Ensemble& out) const {
    const double n = double(count_);
    out.mean.resize(sum_.size()), out.variance.resize(sum_.size()), out.mask.data.resize(sum_.size());
    out.area = 0;
    for (std::size_t i = 0; i < sum_.size(); ++i) {
      const double mean = sum_[i] / n, variance = squares_[i] / n - mean * mean;
      out.mean[i] = float(mean), out.variance[i] = float(variance > 0 ? variance : 0.0);
      out.mask.data[i] = mean > threshold;
      out.area += out.mask.data[i];
    }
  }

 private:
  std::vector<double> sum_, squares_;
  std::int64_t count_ = 0;
};

}  // namespace sampan::inline SAMPAN_ABI::predict
