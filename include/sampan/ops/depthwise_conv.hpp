// Depthwise convolution on channels-last maps: each channel with its own kernel; BatchNorm and activation behind it.
// Data flow: TinyViT's local_conv, MBConv and PatchMerging -> here.   Shapes: x [h, w, c], y [oh, ow, c], weight [c, 1, kh, kw].
// Source: torch.nn.Conv2d(groups=c).   Cost: 2 oh ow c kh kw FLOP; bytes 4 (h w c + oh ow c): bound by bandwidth for 3x3.
// Error: vs fp64 <= 2 x Reference.
#pragma once
#include <sampan/ops/conv2d.hpp>

namespace sampan::inline SAMPAN_ABI {

template <class B>
struct PackedDepthwise;

template <>
struct PackedDepthwise<Reference> : StoredConv {
  Index in_channels() const { return weight.extent(0); }
  Index out_channels() const { return weight.extent(0); }
  Index kernel_h() const { return weight.extent(2); }
  Index kernel_w() const { return weight.extent(3); }
};

inline PackedDepthwise<Reference> pack_depthwise(const Reference&, const ConvParams& p) { return {StoredConv::from(p)}; }

/// y = act(bn(depthwise(x) + b)). Fails the context if extents disagree; y may not overlap x.
inline void depthwise_conv(Context<Reference>& ctx, const PackedDepthwise<Reference>& w, const View<const float, 3>& x, const View<float, 3>& y, Activation a = Activation::none) {
  if (!detail::check_conv(ctx, w, x, y) || detail::conv_unfused(ctx, w, y, a, [&](Activation n) { depthwise_conv(ctx, w, x, y, n); })) return;
  if (!ctx.begin(detail::conv_cost(w, x, y, 1))) return;
  const auto k = w.weight.view();
  for (Index oy = 0; oy < y.extent(0); ++oy)
    for (Index ox = 0; ox < y.extent(1); ++ox)
      for (Index c = 0; c < y.extent(2); ++c) {
        float sum = 0;
        for (Index ky = 0; ky < k.extent(2); ++ky)
          for (Index kx = 0; kx < k.extent(3); ++kx) {
            const Index iy = oy * w.stride + ky - w.pad, ix = ox * w.stride + kx - w.pad;
            if (iy >= 0 && iy < x.extent(0) && ix >= 0 && ix < x.extent(1)) sum += x(iy, ix, c) * k(c, 0, ky, kx);
          }
        y(oy, ox, c) = reference::activate(w.after(sum, c), a);
      }
}

}  // namespace sampan::inline SAMPAN_ABI
