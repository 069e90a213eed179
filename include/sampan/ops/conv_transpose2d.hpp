// Transposed convolution on channels-last maps: kernel = stride (2x2 s2 in SAM's decoder), so output pixels do not overlap; or 4x4 s2 p1 (SAM-Med2D's adapter),
// where each output pixel has four input pixels. Either way y is stride times the size of x.
// Data flow: mask decoder's output_upscaling, nn/conv_adapter.hpp -> here.   Shapes: x [h, w, in], y [s h, s w, out], weight as PyTorch [in, out, k, k] (in first).
// Source: torch.nn.ConvTranspose2d.   Cost: 2 h w in out k k FLOP.   Other kernels, strides and paddings: refused.
// Error: vs fp64 <= 2 x Reference.
#pragma once
#include <sampan/ops/conv2d.hpp>

namespace sampan::inline SAMPAN_ABI {

/// Offers in_channels(), out_channels(), kernel_h(), kernel_w(), stride, pad, valid(), name.
template <class B>
struct PackedConvTranspose;

template <>
struct PackedConvTranspose<Reference> : StoredConv {
  Index in_channels() const { return weight.extent(0); }
  Index out_channels() const { return weight.extent(1); }
  Index kernel_h() const { return weight.extent(2); }
  Index kernel_w() const { return weight.extent(3); }
};

inline PackedConvTranspose<Reference> pack_conv_transpose(const Reference&, const ConvParams& p) { return {StoredConv::from(p)}; }

namespace detail {
template <class W>
bool disjoint_taps(const W& w) {
  return w.kernel_h() == w.stride && w.kernel_w() == w.stride && w.pad == 0;
}
template <class W>
bool overlapping_taps(const W& w) {
  return w.kernel_h() == 4 && w.kernel_w() == 4 && w.stride == 2 && w.pad == 1;
}
template <class B, class W>
bool check_conv_transpose(Context<B>& ctx, const W& w, const View<const float, 3>& x, const View<float, 3>& y) {
  return ctx.require(disjoint_taps(w) || overlapping_taps(w), "conv_transpose2d: only kernel = stride without padding, or 4x4 with stride 2 and padding 1") &&
         ctx.require(x.extent(2) == w.in_channels() && y.extent(2) == w.out_channels(), "conv_transpose2d: channels differ from the weights") &&
         ctx.require(y.extent(0) == x.extent(0) * w.stride && y.extent(1) == x.extent(1) * w.stride, "conv_transpose2d: y must be stride times the size of x");
}
template <class W>
Cost conv_transpose_cost(const W& w, const View<const float, 3>& x, const View<float, 3>& y) {
  const double taps = double(w.in_channels() * w.kernel_h() * w.kernel_w()) / double(w.stride * w.stride);
  return {2.0 * double(y.size()) * taps, 4.0 * (double(x.size()) + double(y.size()) + taps * double(w.out_channels()) * w.stride * w.stride)};
}
}  // namespace detail

/// y = act(conv_transpose(x) + b). Fails the context if extents disagree or outputs would overlap; y may not overlap x.
inline void conv_transpose2d(Context<Reference>& ctx, const PackedConvTranspose<Reference>& w, const View<const float, 3>& x, const View<float, 3>& y, Activation a = Activation::none) {
  if (!detail::check_conv_transpose(ctx, w, x, y) || detail::conv_unfused(ctx, w, y, a, [&](Activation n) { conv_transpose2d(ctx, w, x, y, n); })) return;
  if (!ctx.begin(detail::conv_transpose_cost(w, x, y))) return;
  const auto k = w.weight.view();
  const Index s = w.stride;
  for (Index oy = 0; oy < y.extent(0); ++oy)
    for (Index ox = 0; ox < y.extent(1); ++ox)
      for (Index o = 0; o < y.extent(2); ++o) {
        float sum = 0;
        for (Index c = 0; c < x.extent(2); ++c)
          for (Index ky = (oy + w.pad) % s; ky < k.extent(2); ky += s)
            for (Index kx = (ox + w.pad) % s; kx < k.extent(3); kx += s) {
              const Index iy = (oy + w.pad - ky) / s, ix = (ox + w.pad - kx) / s;
              if (oy + w.pad >= ky && ox + w.pad >= kx && iy < x.extent(0) && ix < x.extent(1)) sum += x(iy, ix, c) * k(c, o, ky, kx);
            }
        y(oy, ox, o) = reference::activate(w.after(sum, o), a);
      }
}

}  // namespace sampan::inline SAMPAN_ABI
