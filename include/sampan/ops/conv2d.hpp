// 2D convolution on channels-last maps, BatchNorm and activation behind it: y = act(bn(conv(x) + b)).
// Data flow: patch embed (16x16 s16), neck (1x1, 3x3), TinyViT stem, mask_downscaling -> here.
// Shapes: x [h, w, in], y [oh, ow, out], weight as PyTorch [out, in, kh, kw]; oh = (h + 2 pad - kh) / stride + 1.   Cost: 2 oh ow out in kh kw FLOP.
// Source: torch.nn.Conv2d (zero padding), torch.nn.BatchNorm2d at inference. Depthwise: depthwise_conv.hpp. No groups, no dilation here.
// Error: vs fp64 <= 2 x Reference (plain float32 sums, then BatchNorm unfolded; backends fold it when they pack).
#pragma once
#include <sampan/ops/linear.hpp>

namespace sampan::inline SAMPAN_ABI {

/// Offers in_channels(), out_channels(), kernel_h(), kernel_w(), stride, pad, valid(), name (of the convolution), bn_name.
template <class B>
struct PackedConv;

/// Weights as stored; shared by the convolutions of Reference.
struct StoredConv {
  Tensor<float, 4, Reference> weight;
  Tensor<float, 1, Reference> bias, bn_weight, bn_bias, bn_mean, bn_var;
  float bn_eps = 0;
  int stride = 1, pad = 0;
  std::string name, bn_name;
  bool has_bn() const { return !bn_weight.empty(); }
  bool valid() const { return weight.valid(); }
  float after(float sum, Index o) const {  // bias, then BatchNorm by its formula
    if (!bias.empty()) sum += bias.view()(o);
    if (has_bn()) sum = (sum - bn_mean.view()(o)) / std::sqrt(bn_var.view()(o) + bn_eps) * bn_weight.view()(o) + bn_bias.view()(o);
    return sum;
  }
  static StoredConv from(const ConvParams& p) {
    using V = Tensor<float, 1, Reference>;
    return {Tensor<float, 4, Reference>::copy_of(p.weight), V::copy_of(p.bias), V::copy_of(p.bn.weight), V::copy_of(p.bn.bias), V::copy_of(p.bn.mean), V::copy_of(p.bn.var), p.bn.eps, p.stride, p.pad, p.name, p.bn.name};
  }
};

template <>
struct PackedConv<Reference> : StoredConv {
  Index in_channels() const { return weight.extent(1); }
  Index out_channels() const { return weight.extent(0); }
  Index kernel_h() const { return weight.extent(2); }
  Index kernel_w() const { return weight.extent(3); }
};

inline PackedConv<Reference> pack_conv(const Reference&, const ConvParams& p) { return {StoredConv::from(p)}; }

namespace detail {
/// Factor and bias of output channel o after folding: bn(w x + b) = (w f) x + bias.
struct BatchNormFold {
  double factor, bias;
};
inline BatchNormFold fold_batch_norm(const ConvParams& p, Index o) {
  const double b = p.bias.empty() ? 0.0 : double(p.bias(o));
  if (!p.bn.present()) return {1.0, b};
  const double f = double(p.bn.weight(o)) / std::sqrt(double(p.bn.var(o)) + double(p.bn.eps));
  return {f, (b - double(p.bn.mean(o))) * f + double(p.bn.bias(o))};
}

constexpr Index conv_out(Index in, Index kernel, int stride, int pad) { return (in + 2 * pad - kernel) / stride + 1; }

template <class B, class W>
bool check_conv(Context<B>& ctx, const W& w, const View<const float, 3>& x, const View<float, 3>& y) {
  return ctx.require(x.extent(2) == w.in_channels(), "conv: x has another number of channels than the weights") &&
         ctx.require(y.extent(2) == w.out_channels(), "conv: y has another number of channels than the weights") &&
         ctx.require(x.extent(0) + 2 * w.pad >= w.kernel_h() && x.extent(1) + 2 * w.pad >= w.kernel_w(), "conv: x is smaller than the kernel") &&
         ctx.require(y.extent(0) == conv_out(x.extent(0), w.kernel_h(), w.stride, w.pad) && y.extent(1) == conv_out(x.extent(1), w.kernel_w(), w.stride, w.pad),
                     "conv: y has not the size that kernel, stride and padding give");
}
template <class W>
Cost conv_cost(const W& w, const View<const float, 3>& x, const View<float, 3>& y, Index in_per_out) {
  const double taps = double(w.kernel_h() * w.kernel_w()) * double(in_per_out);
  return {2.0 * double(y.size()) * taps, 4.0 * (double(x.size()) + double(y.size()) + double(w.out_channels()) * taps)};
}
/// Convolution with activation where the output before the activation is wanted (the BatchNorm's, or the convolution's own).
template <class B, class W, class Op>
bool conv_unfused(Context<B>& ctx, const W& w, const View<float, 3>& y, Activation a, Op&& op) {
  const std::string& name = w.bn_name.empty() ? w.name : w.bn_name;
  if (!ctx.traced(name)) return false;
  {
    TraceOff off(ctx);
    op(Activation::none);
  }
  ctx.tap(name, View<const float, 3>(y), TraceLayout::nchw);
  for (Index i = 0; a != Activation::none && i < y.extent(0); ++i) activate(ctx, a, View<const float, 2>(y[i]), y[i]);  // line by line: lines may be strided
  return true;
}
}  // namespace detail

/// y = act(bn(conv(x) + b)). Fails the context if extents disagree; y may not overlap x.
inline void conv2d(Context<Reference>& ctx, const PackedConv<Reference>& w, const View<const float, 3>& x, const View<float, 3>& y, Activation a = Activation::none) {
  if (!detail::check_conv(ctx, w, x, y) || detail::conv_unfused(ctx, w, y, a, [&](Activation n) { conv2d(ctx, w, x, y, n); })) return;
  if (!ctx.begin(detail::conv_cost(w, x, y, w.in_channels()))) return;
  const auto k = w.weight.view();
  for (Index oy = 0; oy < y.extent(0); ++oy)
    for (Index ox = 0; ox < y.extent(1); ++ox)
      for (Index o = 0; o < y.extent(2); ++o) {
        float sum = 0;
        for (Index c = 0; c < x.extent(2); ++c)
          for (Index ky = 0; ky < k.extent(2); ++ky)
            for (Index kx = 0; kx < k.extent(3); ++kx) {
              const Index iy = oy * w.stride + ky - w.pad, ix = ox * w.stride + kx - w.pad;
              if (iy >= 0 && iy < x.extent(0) && ix >= 0 && ix < x.extent(1)) sum += x(iy, ix, c) * k(o, c, ky, kx);
            }
        y(oy, ox, o) = reference::activate(w.after(sum, o), a);
      }
}

}  // namespace sampan::inline SAMPAN_ABI
