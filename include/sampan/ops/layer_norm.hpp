// LayerNorm over the channels of each token; on channels-last maps this is also SAM's LayerNorm2d (over C at each pixel).
// Data flow: nn/block.hpp, models/mask_decoder.hpp -> here.   Shapes: x, y [n, c]; y may be x.   Cost: 8 n c FLOP, 8 n c bytes.
// Source: torch.nn.LayerNorm; segment_anything/modeling/common.py, class LayerNorm2d. Biased variance; eps is data (1e-6 encoder, 1e-5 decoder, as the file says).
// Error: vs fp64 <= 2 x Reference. An activation may follow at once (LayerNorm2d -> GELU in the decoder's upscaling).
#pragma once
#include <sampan/ops/activation.hpp>

namespace sampan::inline SAMPAN_ABI {

template <class B>
struct PackedNorm {
  Tensor<float, 1, B> weight, bias;
  float eps = 0;
  std::string name;
  bool present() const { return !weight.empty(); }
  bool valid() const { return weight.valid() && bias.valid(); }
};

/// The same for every host backend: two vectors.
template <class B>
PackedNorm<B> pack(const B&, const NormParams& p) {
  return {Tensor<float, 1, B>::copy_of(p.weight), Tensor<float, 1, B>::copy_of(p.bias), p.eps, p.name};
}

namespace detail {
template <class B>
bool check_layer_norm(Context<B>& ctx, const PackedNorm<B>& w, const View<const float, 2>& x, const View<float, 2>& y) {
  return ctx.require(same_extents(x, y), "layer_norm: x and y differ in shape") &&
         ctx.require(x.extent(1) == w.weight.extent(0), "layer_norm: x has another number of channels than the weights");
}
inline Cost layer_norm_cost(const View<const float, 2>& x) { return {8.0 * double(x.size()), 8.0 * double(x.size())}; }
/// A wanted norm output before its activation: computed alone, tapped, then activated.
template <class B>
bool layer_norm_unfused(Context<B>& ctx, const PackedNorm<B>& w, const View<const float, 2>& x, const View<float, 2>& y, Activation a) {
  if (!ctx.traced(w.name)) return false;
  {
    TraceOff off(ctx);
    layer_norm(ctx, w, x, y, Activation::none);
  }
  ctx.tap_rows(w.name, y);
  if (a != Activation::none) activate(ctx, a, y, y);
  return true;
}
}  // namespace detail

/// y = a(norm(x)). Fails the context if the extents disagree.
inline void layer_norm(Context<Reference>& ctx, const PackedNorm<Reference>& w, const View<const float, 2>& x, const View<float, 2>& y, Activation a = Activation::none) {
  if (!detail::check_layer_norm(ctx, w, x, y) || detail::layer_norm_unfused(ctx, w, x, y, a)) return;
  if (!ctx.begin(detail::layer_norm_cost(x))) return;
  const auto gamma = w.weight.view(), beta = w.bias.view();
  const Index c = x.extent(1);
  for (Index i = 0; i < x.extent(0); ++i) {
    float mean = 0, var = 0;
    for (Index j = 0; j < c; ++j) mean += x(i, j);
    mean /= float(c);
    for (Index j = 0; j < c; ++j) var += (x(i, j) - mean) * (x(i, j) - mean);
    const float rstd = 1.0f / std::sqrt(var / float(c) + w.eps);
    for (Index j = 0; j < c; ++j) y(i, j) = reference::activate((x(i, j) - mean) * rstd * gamma(j) + beta(j), a);
  }
}

}  // namespace sampan::inline SAMPAN_ABI
