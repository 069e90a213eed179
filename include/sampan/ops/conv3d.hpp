// 3D convolution on channels-last volumes with an activation behind it: y = act(conv(x) + b).
// Data flow: models/sam_vit_3d.hpp (patch embed 16^3 s16, neck 1^3 and 3^3), models/prompt_encoder_3d.hpp (2^3 s2) -> here -> cpu/conv3d.hpp.
// Shapes: x [d, h, w, in], y [od, oh, ow, out], weight as PyTorch [out, in, kd, kh, kw]; od = (d + 2 pad - kd) / stride + 1.   Cost: 2 od oh ow out in kd kh kw FLOP.
// Source: torch.nn.Conv3d (zero padding). No groups, no dilation, no BatchNorm, one stride and padding for all axes.   Error: vs fp64 <= 2 x Reference.
#pragma once
#include <sampan/ops/conv2d.hpp>

namespace sampan::inline SAMPAN_ABI {

/// Offers in_channels(), out_channels(), kernel_d(), kernel_h(), kernel_w(), stride, pad, valid(), name.
template <class B>
struct PackedConv3d;

/// Weights as stored; shared by the convolutions of Reference.
struct StoredConv3d {
  Tensor<float, 5, Reference> weight;
  Tensor<float, 1, Reference> bias;
  int stride = 1, pad = 0;
  std::string name;
  bool valid() const { return weight.valid() && bias.valid(); }
  Index kernel_d() const { return weight.extent(2); }
  Index kernel_h() const { return weight.extent(3); }
  Index kernel_w() const { return weight.extent(4); }
  static StoredConv3d from(const Conv3dParams& p) {
    return {Tensor<float, 5, Reference>::copy_of(p.weight), Tensor<float, 1, Reference>::copy_of(p.bias), p.stride, p.pad, p.name};
  }
};

template <>
struct PackedConv3d<Reference> : StoredConv3d {
  Index in_channels() const { return weight.extent(1); }
  Index out_channels() const { return weight.extent(0); }
};

inline PackedConv3d<Reference> pack_conv3d(const Reference&, const Conv3dParams& p) { return {StoredConv3d::from(p)}; }

namespace detail {
template <class B, class W>
bool check_conv3d(Context<B>& ctx, const W& w, const View<const float, 4>& x, const View<float, 4>& y) {
  const Index kernel[] = {w.kernel_d(), w.kernel_h(), w.kernel_w()};
  if (!ctx.require(x.extent(3) == w.in_channels() && y.extent(3) == w.out_channels(), "conv3d: channels of x or y differ from the weights")) return false;
  for (int a = 0; a < 3; ++a)
    if (!ctx.require(x.extent(a) + 2 * w.pad >= kernel[a], "conv3d: x is smaller than the kernel") ||
        !ctx.require(y.extent(a) == conv_out(x.extent(a), kernel[a], w.stride, w.pad), "conv3d: y has not the size that kernel, stride and padding give"))
      return false;
  return true;
}
template <class W>
Cost conv3d_cost(const W& w, const View<const float, 4>& x, const View<float, 4>& y) {
  const double taps = double(w.kernel_d() * w.kernel_h() * w.kernel_w() * w.in_channels());
  return {2.0 * double(y.size()) * taps, 4.0 * (double(x.size()) + double(y.size()) + double(w.out_channels()) * taps)};
}
/// The output before the activation is wanted: computed alone, tapped, then activated.
template <class B, class W, class Op>
bool conv3d_unfused(Context<B>& ctx, const W& w, const View<float, 4>& y, Activation a, Op&& op) {
  if (!ctx.traced(w.name)) return false;
  {
    TraceOff off(ctx);
    op(Activation::none);
  }
  ctx.tap(w.name, View<const float, 4>(y), TraceLayout::nchw);
  for (Index z = 0; a != Activation::none && z < y.extent(0); ++z)
    for (Index i = 0; i < y.extent(1); ++i) activate(ctx, a, View<const float, 2>(y[z][i]), y[z][i]);  // line by line: lines may be strided
  return true;
}
}  // namespace detail

/// y = act(conv(x) + b). Fails the context if extents disagree; y may not overlap x.
inline void conv3d(Context<Reference>& ctx, const PackedConv3d<Reference>& w, const View<const float, 4>& x, const View<float, 4>& y,
                   Activation a = Activation::none) {
  if (!detail::check_conv3d(ctx, w, x, y) || detail::conv3d_unfused(ctx, w, y, a, [&](Activation n) { conv3d(ctx, w, x, y, n); })) return;
  if (!ctx.begin(detail::conv3d_cost(w, x, y))) return;
  const auto k = w.weight.view();
  for (Index oz = 0; oz < y.extent(0); ++oz)
    for (Index oy = 0; oy < y.extent(1); ++oy)
      for (Index ox = 0; ox < y.extent(2); ++ox)
        for (Index o = 0; o < y.extent(3); ++o) {
          float sum = 0;
          for (Index c = 0; c < x.extent(3); ++c)
            for (Index kz = 0; kz < k.extent(2); ++kz)
              for (Index ky = 0; ky < k.extent(3); ++ky)
                for (Index kx = 0; kx < k.extent(4); ++kx) {
                  const Index iz = oz * w.stride + kz - w.pad, iy = oy * w.stride + ky - w.pad, ix = ox * w.stride + kx - w.pad;
                  if (iz >= 0 && iz < x.extent(0) && iy >= 0 && iy < x.extent(1) && ix >= 0 && ix < x.extent(2)) sum += x(iz, iy, ix, c) * k(o, c, kz, ky, kx);
                }
          y(oz, oy, ox, o) = reference::activate(w.bias.empty() ? sum : sum + w.bias.view()(o), a);
        }
}

}  // namespace sampan::inline SAMPAN_ABI
