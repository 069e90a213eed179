// Inverted bottleneck of TinyViT (and EfficientViT, whose inner convolutions have biases instead of BatchNorm and another GELU): y = last(bn3(1x1(gelu(bn2(dw3x3(gelu(bn1(1x1 x))))))) [+ x]).
// Data flow: models/efficient_vit.hpp; models/tiny_vit.hpp: MBConv (residual, then GELU) and PatchMerging (stride 2 or 1, no residual, no last activation) -> here.
// Shapes: x [h, w, in], y [oh, ow, out]; the two intermediates have the hidden width.   Cost: 1x1 in-hidden + 9 taps + 1x1 hidden-out.
// Source: MobileSAM tiny_vit_sam.py, classes MBConv (activation after the residual) and PatchMerging.
// A whole op: at 256x256x256 each intermediate is 67 MB, so a fast backend keeps row tiles in cache. Reference composes the literal convolutions.
#pragma once
#include <sampan/ops/depthwise_conv.hpp>

namespace sampan::inline SAMPAN_ABI {

struct MbConvParams {
  ConvParams conv1, conv2, conv3;  ///< 1x1, depthwise, 1x1, each with BatchNorm
  bool residual = false;           ///< add x before the last activation; needs equal shapes
  Activation last = Activation::none;
  std::string name;
  Activation inner = Activation::gelu_erf;  ///< behind conv1 and conv2
};

template <class B>
struct PackedMbConv {
  PackedConv<B> conv1, conv3;
  PackedDepthwise<B> conv2;
  bool residual = false;
  Activation last = Activation::none;
  std::string name;
  Activation inner = Activation::gelu_erf;
  Index out_channels() const { return conv3.out_channels(); }
  int stride() const { return conv2.stride; }
  bool valid() const { return conv1.valid() && conv2.valid() && conv3.valid(); }
};

inline PackedMbConv<Reference> pack(const Reference& b, const MbConvParams& p) {
  return {pack_conv(b, p.conv1), pack_conv(b, p.conv3), pack_depthwise(b, p.conv2), p.residual, p.last, p.name, p.inner};
}

namespace detail {
/// The literal composition; also what a fused backend does when the inside is traced.
template <class B>
void mbconv_composed(Context<B>& ctx, const PackedMbConv<B>& w, const View<const float, 3>& x, const View<float, 3>& y) {
  auto scope = ctx.arena.scope();
  auto wide = scope.template make<float>(x.extent(0), x.extent(1), w.conv1.out_channels());
  auto deep = scope.template make<float>(y.extent(0), y.extent(1), w.conv1.out_channels());
  conv2d(ctx, w.conv1, x, wide, w.inner);
  depthwise_conv(ctx, w.conv2, wide, deep, w.inner);
  conv2d(ctx, w.conv3, deep, y, w.residual ? Activation::none : w.last);
  for (Index i = 0; w.residual && i < y.extent(0); ++i) {  // line by line: lines may be strided
    add(ctx, View<const float, 2>(y[i]), x[i], y[i]);
    if (w.last != Activation::none) activate(ctx, w.last, View<const float, 2>(y[i]), y[i]);
  }
}
}  // namespace detail

/// Fails the context if extents disagree; y may not overlap x.
inline void mbconv(Context<Reference>& ctx, const PackedMbConv<Reference>& w, const View<const float, 3>& x, const View<float, 3>& y) {
  if (!ctx.require(!w.residual || same_extents(x, y), "mbconv: a residual needs equal shapes")) return;
  detail::mbconv_composed(ctx, w, x, y);
}

}  // namespace sampan::inline SAMPAN_ABI
