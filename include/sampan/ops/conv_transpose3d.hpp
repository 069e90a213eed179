// Transposed convolution on channels-last volumes with kernel = stride, so output voxels do not overlap: y = act(conv_transpose(x) + b).
// Data flow: models/mask_decoder_3d.hpp, output_upscaling (2^3 s2) -> here -> cpu/conv3d.hpp.
// Shapes: x [d, h, w, in], y [s d, s h, s w, out], weight as PyTorch [in, out, s, s, s] (in first).   Cost: 2 d h w in out s^3 FLOP.
// Source: torch.nn.ConvTranspose3d. Other kernels, strides and paddings: refused.   Error: vs fp64 <= 2 x Reference.
#pragma once
#include <sampan/ops/conv3d.hpp>

namespace sampan::inline SAMPAN_ABI {

/// Offers in_channels(), out_channels(), kernel_d(), kernel_h(), kernel_w(), stride, pad, valid(), name.
template <class B>
struct PackedConvTranspose3d;

template <>
struct PackedConvTranspose3d<Reference> : StoredConv3d {
  Index in_channels() const { return weight.extent(0); }
  Index out_channels() const { return weight.extent(1); }
};

inline PackedConvTranspose3d<Reference> pack_conv_transpose3d(const Reference&, const Conv3dParams& p) { return {StoredConv3d::from(p)}; }

namespace detail {
template <class B, class W>
bool check_conv_transpose3d(Context<B>& ctx, const W& w, const View<const float, 4>& x, const View<float, 4>& y) {
  return ctx.require(w.kernel_d() == w.stride && w.kernel_h() == w.stride && w.kernel_w() == w.stride && w.pad == 0,
                     "conv_transpose3d: only kernel = stride without padding") &&
         ctx.require(x.extent(3) == w.in_channels() && y.extent(3) == w.out_channels(), "conv_transpose3d: channels differ from the weights") &&
         ctx.require(y.extent(0) == x.extent(0) * w.stride && y.extent(1) == x.extent(1) * w.stride && y.extent(2) == x.extent(2) * w.stride,
                     "conv_transpose3d: y must be stride times the size of x");
}
template <class W>
Cost conv_transpose3d_cost(const W& w, const View<const float, 4>& x, const View<float, 4>& y) {
  const double in = double(w.in_channels()), taps = double(w.stride) * w.stride * w.stride;
  return {2.0 * double(y.size()) * in, 4.0 * (double(x.size()) + double(y.size()) + in * double(w.out_channels()) * taps)};
}
}  // namespace detail

/// y = act(conv_transpose(x) + b). Fails the context if extents disagree or outputs would overlap; y may not overlap x.
inline void conv_transpose3d(Context<Reference>& ctx, const PackedConvTranspose3d<Reference>& w, const View<const float, 4>& x, const View<float, 4>& y,
                             Activation a = Activation::none) {
  if (!detail::check_conv_transpose3d(ctx, w, x, y) || detail::conv3d_unfused(ctx, w, y, a, [&](Activation n) { conv_transpose3d(ctx, w, x, y, n); })) return;
  if (!ctx.begin(detail::conv_transpose3d_cost(w, x, y))) return;
  const auto k = w.weight.view();
  const Index s = w.stride;
  for (Index z = 0; z < y.extent(0); ++z)
    for (Index i = 0; i < y.extent(1); ++i)
      for (Index j = 0; j < y.extent(2); ++j)
        for (Index o = 0; o < y.extent(3); ++o) {
          float sum = 0;
          for (Index c = 0; c < x.extent(3); ++c) sum += x(z / s, i / s, j / s, c) * k(c, o, z % s, i % s, j % s);
          y(z, i, j, o) = reference::activate(w.bias.empty() ? sum : sum + w.bias.view()(o), a);
        }
}

}  // namespace sampan::inline SAMPAN_ABI
