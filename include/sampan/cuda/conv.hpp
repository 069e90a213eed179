// Convolutions on Cuda. Data flow: ops/conv2d.hpp, depthwise_conv.hpp, conv_transpose2d.hpp, mbconv.hpp declare -> here -> cuBLASLt, cuDNN, kernels/.
// A 1x1 convolution and a patch embedding (kernel = stride, three channels) are products in the backend's precision; a transposed convolution is a product in that
// precision, whose taps are gathered (kernels/scatter_taps.cuh); every other convolution is cuDNN's in float. BatchNorm is folded at load, in double.
#pragma once
#include <sampan/cuda/linear.hpp>
#include <sampan/ops/conv_transpose2d.hpp>
#include <sampan/ops/mbconv.hpp>

namespace sampan::inline SAMPAN_ABI {
namespace cuda {

/// What every packed convolution has.
struct ConvBase {
  Matrix weight;
  OptionalVector bias;  // with BatchNorm
  Index in = 0, out = 0, kh = 0, kw = 0;
  int stride = 1, pad = 0;
  std::string name, bn_name;
  Index in_channels() const { return in; }
  Index out_channels() const { return out; }
  Index kernel_h() const { return kh; }
  Index kernel_w() const { return kw; }
  bool valid() const { return weight.valid() && bias.valid(); }
};

/// BatchNorm of output channel o as a factor on the weights and a bias.
struct Folded {
  std::vector<double> factor;
  std::vector<float> bias;
};
inline Folded fold(const ConvParams& p, Index out) {
  Folded f{std::vector<double>(std::size_t(out), 1.0), {}};
  if (p.bias.empty() && !p.bn.present()) return f;
  for (Index o = 0; o < out; ++o) {
    const auto one = detail::fold_batch_norm(p, o);
    f.factor[std::size_t(o)] = one.factor;
    f.bias.push_back(float(one.bias));
  }
  return f;
}
/// weight(row, column) of `rows` x `columns` values that `value(row, column)` gives.
template <class F>
Matrix matrix_of(Index rows, Index columns, Element type, F&& value) {
  std::vector<float> all;
  all.reserve(std::size_t(rows * columns));
  for (Index r = 0; r < rows; ++r)
    for (Index c = 0; c < columns; ++c) all.push_back(float(value(r, c)));
  return Matrix::of(View<const float, 2>(all.data(), {rows, columns}), type);
}
inline ConvBase base_of(const ConvParams& p, Index in, Index out, const Folded& f) {
  ConvBase w;
  w.bias = OptionalVector::of(View<const float, 1>(f.bias.data(), {Index(f.bias.size())}));
  w.in = in, w.out = out, w.kh = p.weight.extent(2), w.kw = p.weight.extent(3), w.stride = p.stride, w.pad = p.pad, w.name = p.name, w.bn_name = p.bn.name;
  return w;
}

}  // namespace cuda

template <>
struct PackedConv<Cuda> : cuda::ConvBase {
  enum class Kind { pointwise, patches, general } kind = Kind::general;
};
inline PackedConv<Cuda> pack_conv(const Cuda& b, const ConvParams& p) {
  const auto& v = p.weight;
  const Index out = v.extent(0), in = v.extent(1), kh = v.extent(2), kw = v.extent(3);
  const cuda::Folded f = cuda::fold(p, out);
  PackedConv<Cuda> w{cuda::base_of(p, in, out, f)};
  using Kind = PackedConv<Cuda>::Kind;
  w.kind = kh == 1 && kw == 1 && p.stride == 1 && p.pad == 0 ? Kind::pointwise : in == 3 && kh == kw && p.stride == int(kh) && p.pad == 0 ? Kind::patches : Kind::general;
  const cuda::Element type = w.kind == Kind::general ? cuda::Element::f32 : cuda::element_of(b.precision);
  const bool last = w.kind == Kind::general;  // cuDNN has channels last, patches have them first as the file does
  w.weight = cuda::matrix_of(out, in * kh * kw, type, [&](Index o, Index i) {
    const Index tap = last ? i / in : i % (kh * kw), c = last ? i % in : i / (kh * kw);
    return double(v(o, c, tap / kw, tap % kw)) * f.factor[std::size_t(o)];
  });
  return w;
}

/// As ops/conv2d.hpp says; maps must be whole.
inline void conv2d(Context<Cuda>& ctx, const PackedConv<Cuda>& w, const View<const float, 3>& x, const View<float, 3>& y, Activation a = Activation::none) {
  if (!detail::check_conv(ctx, w, x, y) || !ctx.require(x.contiguous() && y.contiguous(), "conv2d: maps must be whole on cuda")) return;
  const auto rows = tokens(y);
  auto scope = ctx.arena.scope();
  using Kind = PackedConv<Cuda>::Kind;
  if (w.kind == Kind::general) {
    const Index h = cuda::rows_of_image(ctx, x.extent(0)), images = ctx.backend.images;
    if (!ctx.require(images * detail::conv_out(h, w.kh, w.stride, w.pad) == y.extent(0), "conv2d: y has another height than the images give")) return;
    auto planned = ctx.backend.device->convolution({h, x.extent(1), w.in, w.out, w.kh, w.kw, w.stride, w.pad, images});
    if (!planned) return ctx.fail(std::move(planned).error());
    void* workspace = scope.make<std::uint8_t>(Index(planned->workspace)).data();
    if (ctx.begin(detail::conv_cost(w, x, y, w.in))) cuda::ran(ctx, run_convolution(planned->plan, x.data(), w.weight.floats(), y.data(), workspace, cuda::stream_of(ctx)));
    if (w.bias.wanted || a != Activation::none) cuda::finish(ctx, rows, {.bias = w.bias.data(), .activation = a}, rows);
    return;
  }
  cuda::Operand in;
  if (w.kind == Kind::pointwise) {
    in = cuda::operand(ctx, scope, {}, tokens(x), w.weight.type);
  } else {
    const Index n = rows.extent(0), k = w.weight.columns;
    in = {scope.make<std::uint8_t>(n * k * cuda::bytes_of(w.weight.type)).data(), n, k, k};
    // Rows and columns beyond the last whole patch belong to none.
    if (!ctx.require(x.extent(0) % w.stride == 0 && x.extent(1) % w.stride == 0, "conv2d: the image must be whole patches on cuda")) return;
    if (ctx.begin({0, 8.0 * double(x.size())}))
      cuda::ran(ctx, "patch_gather", kernels::launch_patch_gather({x.data(), const_cast<void*>(in.data), int(x.extent(0)), int(x.extent(1)), w.stride}, w.weight.type, cuda::stream_of(ctx)));
  }
  const bool plain = a == Activation::none;
  cuda::multiply(ctx, in, w.weight, plain ? w.bias.data() : nullptr, {}, {rows.data(), rows.stride(0)});
  if (!plain) cuda::finish(ctx, rows, {.bias = w.bias.data(), .activation = a}, rows);
}

template <>
struct PackedDepthwise<Cuda> : cuda::ConvBase {};
inline PackedDepthwise<Cuda> pack_depthwise(const Cuda&, const ConvParams& p) {
  const Index c = p.weight.extent(0);
  cuda::Folded f = cuda::fold(p, c);
  f.bias.resize(std::size_t(c));  // the kernel always adds one
  PackedDepthwise<Cuda> w{cuda::base_of(p, c, c, f)};
  w.weight = cuda::matrix_of(w.kh * w.kw, c, cuda::Element::f32, [&](Index tap, Index o) { return double(p.weight(o, 0, tap / w.kw, tap % w.kw)) * f.factor[std::size_t(o)]; });
  return w;
}
/// As ops/depthwise_conv.hpp says, for kernels of 3x3 with padding 1 (what TinyViT has); maps must be whole.
inline void depthwise_conv(Context<Cuda>& ctx, const PackedDepthwise<Cuda>& w, const View<const float, 3>& x, const View<float, 3>& y, Activation a = Activation::none) {
  if (!detail::check_conv(ctx, w, x, y) || !ctx.require(x.contiguous() && y.contiguous(), "depthwise_conv: maps must be whole on cuda")) return;
  if (a == Activation::gelu_tanh) return cuda::refuse_tanh(ctx);
  if (w.kh != 3 || w.kw != 3 || w.pad != 1) return ctx.fail(Error(ErrorCode::unsupported, cat("depthwise_conv: ", w.kh, "x", w.kw, " with padding ", w.pad, ": cuda has 3x3 with padding 1")));
  const Index images = ctx.backend.images, h = cuda::rows_of_image(ctx, x.extent(0)), oh = cuda::rows_of_image(ctx, y.extent(0));
  if (!ctx.require(detail::conv_out(h, w.kh, w.stride, w.pad) == oh, "depthwise_conv: y has another height than the images give") || !ctx.begin(detail::conv_cost(w, x, y, 1))) return;
  for (Index i = 0; i < images; ++i)
    cuda::ran(ctx, "depthwise_conv",
              kernels::launch_depthwise_conv({&x(i * h, 0, 0), &y(i * oh, 0, 0), w.weight.floats(), w.bias.data(), int(h), int(x.extent(1)), int(x.extent(2)), w.stride, cuda::activate_of(a)}, cuda::Element::f32,
                                             cuda::stream_of(ctx)));
}

template <>
struct PackedConvTranspose<Cuda> : cuda::ConvBase {};
inline PackedConvTranspose<Cuda> pack_conv_transpose(const Cuda& b, const ConvParams& p) {
  const Index in = p.weight.extent(0), out = p.weight.extent(1);
  const cuda::Folded f = cuda::fold(p, out);
  PackedConvTranspose<Cuda> w{cuda::base_of(p, in, out, f)};
  w.weight = cuda::matrix_of(w.kh * w.kw * out, in, cuda::element_of(b.precision), [&](Index row, Index i) {
    const Index tap = row / out, o = row % out;
    return double(p.weight(i, o, tap / w.kw, tap % w.kw)) * f.factor[std::size_t(o)];
  });
  return w;
}
/// As ops/conv_transpose2d.hpp says; maps must be whole.
inline void conv_transpose2d(Context<Cuda>& ctx, const PackedConvTranspose<Cuda>& w, const View<const float, 3>& x, const View<float, 3>& y, Activation a = Activation::none) {
  if (!detail::check_conv_transpose(ctx, w, x, y) || !ctx.require(ctx.backend.images == 1, "conv_transpose2d: of one image at a time on cuda") || !ctx.require(x.contiguous() && y.contiguous(), "conv_transpose2d: maps must be whole on cuda")) return;
  if (a == Activation::gelu_tanh) return cuda::refuse_tanh(ctx);
  auto scope = ctx.arena.scope();
  auto columns = scope.make<float>(x.extent(0) * x.extent(1), w.weight.rows);
  {
    auto inner = ctx.arena.scope();
    cuda::multiply(ctx, cuda::operand(ctx, inner, {}, tokens(x), w.weight.type), w.weight, nullptr, {}, {columns.data(), columns.stride(0)});
  }
  if (!ctx.begin({0, 4.0 * double(columns.size() + y.size())})) return;
  cuda::ran(ctx, "scatter_taps",
            kernels::launch_scatter_taps({columns.data(), w.bias.data(), y.data(), int(x.extent(0)), int(x.extent(1)), int(w.out), int(w.kh), w.stride, w.pad, cuda::activate_of(a)}, cuda::stream_of(ctx)));
}

inline PackedMbConv<Cuda> pack(const Cuda& b, const MbConvParams& p) { return {pack_conv(b, p.conv1), pack_conv(b, p.conv3), pack_depthwise(b, p.conv2), p.residual, p.last, p.name, p.inner}; }

inline void mbconv(Context<Cuda>& ctx, const PackedMbConv<Cuda>& w, const View<const float, 3>& x, const View<float, 3>& y) {
  if (!ctx.require(!w.residual || same_extents(x, y), "mbconv: a residual needs equal shapes")) return;
  detail::mbconv_composed(ctx, w, x, y);
}

}  // namespace sampan::inline SAMPAN_ABI
