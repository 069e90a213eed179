// LayerNorm2d and LayerNorm3d: normalisation over the channels of each pixel of a channels-last map or volume, with an activation behind it.
// Data flow: nn/neck.hpp, models/prompt_encoder.hpp, models/mask_decoder.hpp and their siblings for volumes -> here -> ops/layer_norm.hpp. Traced in PyTorch's channel order.
// Shapes: x, y [h, w, c] or [d, h, w, c]; y may be x.   Source: segment_anything/modeling/common.py, class LayerNorm2d; MedIM sam_med3d.py, class LayerNorm3d.
#pragma once
#include <sampan/ops/backend.hpp>

namespace sampan::inline SAMPAN_ABI::nn {

template <Backend B, int R>
void layer_norm_map(Context<B>& ctx, const PackedNorm<B>& n, const View<float, R>& x, const View<float, R>& y, Activation a) {
  const View<const float, R> in = x, out = y;
  if (!ctx.traced(n.name)) return layer_norm(ctx, n, tokens(in), tokens(y), a);
  {
    TraceOff off(ctx);
    layer_norm(ctx, n, tokens(in), tokens(y), Activation::none);
  }
  ctx.tap(n.name, out, TraceLayout::nchw);
  if (a != Activation::none) activate(ctx, a, tokens(out), tokens(y));
}
template <Backend B>
void layer_norm_2d(Context<B>& ctx, const PackedNorm<B>& n, const View<float, 3>& x, const View<float, 3>& y, Activation a = Activation::none) {
  layer_norm_map(ctx, n, x, y, a);
}
template <Backend B>
void layer_norm_3d(Context<B>& ctx, const PackedNorm<B>& n, const View<float, 4>& x, const View<float, 4>& y, Activation a = Activation::none) {
  layer_norm_map(ctx, n, x, y, a);
}

}  // namespace sampan::inline SAMPAN_ABI::nn
