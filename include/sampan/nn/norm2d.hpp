// LayerNorm2d: normalisation over the channels of each pixel of a channels-last map, with an activation behind it.
// Data flow: nn/neck.hpp, models/prompt_encoder.hpp, models/mask_decoder.hpp -> here -> ops/layer_norm.hpp. Traced in PyTorch's channel order.
// Shapes: x, y [h, w, c]; y may be x.   Source: segment_anything/modeling/common.py, class LayerNorm2d.
#pragma once
#include <sampan/ops/backend.hpp>

namespace sampan::inline SAMPAN_ABI::nn {

template <Backend B>
void layer_norm_2d(Context<B>& ctx, const PackedNorm<B>& n, const View<float, 3>& x, const View<float, 3>& y, Activation a = Activation::none) {
  const View<const float, 3> in = x, out = y;
  if (!ctx.traced(n.name)) return layer_norm(ctx, n, tokens(in), tokens(y), a);
  {
    TraceOff off(ctx);
    layer_norm(ctx, n, tokens(in), tokens(y), Activation::none);
  }
  ctx.tap(n.name, out, TraceLayout::nchw);
  if (a != Activation::none) activate(ctx, a, tokens(out), tokens(y));
}

}  // namespace sampan::inline SAMPAN_ABI::nn
