// Oracles in double for convolutions on channels-last maps, from the definitions of torch.nn.Conv2d, ConvTranspose2d and BatchNorm2d (inference).
// Data flow: tests/ops/{conv2d,conv3d,depthwise_conv,conv_transpose2d,mbconv}_test.cpp -> here. Written from the definitions, not from ops/*.hpp.
//   conv2d          y[o, y, x] = sum over c, ky, kx of P[c, s y + ky, s x + kx] W[o, c, ky, kx], P the input with `pad` rings of zeros
//   conv_transpose  every input pixel adds x[c] W[c, o, ky, kx] to the output pixel (s y + ky, s x + kx): a scatter, the transpose of the above
//   batch_norm      (y - mean) / sqrt(var + eps) * gamma + beta
#pragma once
#include "support/oracle/layers.hpp"

namespace sampan::test::oracle {

/// `terms`: of the sum before it. A backend that folds may start the sum with the folded bias.
inline Num batch_norm(const Num& y, Index terms, double mean, double var, double gamma, double beta, double eps) {
  const double g = gamma / std::sqrt(var + eps), t = y.v - mean, v = t * g + beta;
  // Roundings: difference, var + eps (halved by the root), root, quotient, product: 4.5 u of |t g|, then the sum. Backends may fold: then mean * g rounds as well.
  return {v, std::abs(g) * (y.worst + (std::abs(t) + y.worst) * 5 * kUnit) + kUnit * std::abs(v),
          std::sqrt(square(g * y.floor) + square(kUnit * (std::abs(t * g) + std::abs(mean * g) + std::abs(beta))) + square(kUnit * (beta - mean * g)) * double(terms) / 3)};
}

namespace detail {
inline Num after_conv(const Sum& s, const ConvParams& p, Index o, Activation a) {
  Num y = s.get();
  if (!p.bias.empty()) {
    Sum with = s;
    with.term({double(p.bias(o)), 0, 0});
    y = with.get(double(p.bias(o)));
  }
  if (p.bn.present()) y = batch_norm(y, s.terms(), double(p.bn.mean(o)), double(p.bn.var(o)), double(p.bn.weight(o)), double(p.bn.bias(o)), double(p.bn.eps));
  return activation(y, a);
}
inline Tensor64 pad_map(const Tensor64& x, Index pad) {
  Tensor64 p(x.e[0] + 2 * pad, x.e[1] + 2 * pad, x.e[2]);
  for (Index y = 0; y < x.e[0]; ++y)
    for (Index i = 0; i < x.e[1]; ++i)
      for (Index c = 0; c < x.e[2]; ++c) p(y + pad, i + pad, c) = x(y, i, c);
  return p;
}
}  // namespace detail

/// x [h, w, in] -> [oh, ow, out]; groups = 1, or in (depthwise: W [c, 1, kh, kw]).
inline Tensor64 conv2d(const Tensor64& x, const ConvParams& p, Activation a = Activation::none, bool depthwise = false) {
  const Tensor64 in = detail::pad_map(x, p.pad), w = exact(p.weight);
  const Index kh = w.e[2], kw = w.e[3], oh = (in.e[0] - kh) / p.stride + 1, ow = (in.e[1] - kw) / p.stride + 1;
  Tensor64 y(oh, ow, w.e[0]);
  for (Index i = 0; i < oh; ++i)
    for (Index j = 0; j < ow; ++j)
      for (Index o = 0; o < w.e[0]; ++o) {
        Sum s;
        for (Index c = 0; c < w.e[1]; ++c)
          for (Index ky = 0; ky < kh; ++ky)
            for (Index kx = 0; kx < kw; ++kx) s.term(in(i * p.stride + ky, j * p.stride + kx, depthwise ? o : c), w(o, c, ky, kx));
        y(i, j, o) = detail::after_conv(s, p, o, a);
      }
  return y;
}

/// x [h, w, in] -> [(h-1) s + k, (w-1) s + k, out].
inline Tensor64 conv_transpose2d(const Tensor64& x, const ConvParams& p, Activation a = Activation::none) {
  const Tensor64 w = exact(p.weight);  // [in, out, kh, kw]
  const Index out = w.e[1], oh = (x.e[0] - 1) * p.stride + w.e[2], ow = (x.e[1] - 1) * p.stride + w.e[3];
  std::vector<Sum> sums(std::size_t(oh * ow * out));
  for (Index y = 0; y < x.e[0]; ++y)
    for (Index i = 0; i < x.e[1]; ++i)
      for (Index c = 0; c < x.e[2]; ++c)
        for (Index o = 0; o < out; ++o)
          for (Index ky = 0; ky < w.e[2]; ++ky)
            for (Index kx = 0; kx < w.e[3]; ++kx) sums[std::size_t(((y * p.stride + ky) * ow + i * p.stride + kx) * out + o)].term(x(y, i, c), w(c, o, ky, kx));
  Tensor64 y(oh, ow, out);
  for (Index i = 0; i < y.size(); ++i) y.v[std::size_t(i)] = detail::after_conv(sums[std::size_t(i)], p, i % out, a);
  return y;
}

/// x as rows [d*h*w, in] of a volume [d, h, w] -> [od*oh*ow, out]: torch.nn.Conv3d.
inline Tensor64 conv3d(const Tensor64& x, std::array<Index, 3> size, const Conv3dParams& p, Activation a = Activation::none) {
  const Index out = p.weight.extent(0), in = p.weight.extent(1);
  std::array<Index, 3> o{};
  for (int i = 0; i < 3; ++i) o[std::size_t(i)] = (size[std::size_t(i)] + 2 * p.pad - p.weight.extent(2 + i)) / p.stride + 1;
  Tensor64 y(o[0] * o[1] * o[2], out);
  for (Index v = 0; v < y.e[0]; ++v)
    for (Index k = 0; k < out; ++k) {
      const std::array<Index, 3> first{v / (o[1] * o[2]) * p.stride - p.pad, v / o[2] % o[1] * p.stride - p.pad, v % o[2] * p.stride - p.pad};
      Sum s;
      for (Index c = 0; c < in; ++c)
        for (Index t = 0; t < p.weight.extent(2) * p.weight.extent(3) * p.weight.extent(4); ++t) {
          const std::array<Index, 3> tap{t / (p.weight.extent(3) * p.weight.extent(4)), t / p.weight.extent(4) % p.weight.extent(3), t % p.weight.extent(4)};
          bool inside = true;
          for (std::size_t i = 0; i < 3; ++i) inside = inside && first[i] + tap[i] >= 0 && first[i] + tap[i] < size[i];
          const Num weight{double(p.weight(k, c, tap[0], tap[1], tap[2])), 0, 0};
          s.term(inside ? x(((first[0] + tap[0]) * size[1] + first[1] + tap[1]) * size[2] + first[2] + tap[2], c) : Num{}, weight);
        }
      y(v, k) = detail::after_conv(s, {{}, p.bias, {}, 1, 0, {}}, k, a);
    }
  return y;
}

/// x as rows of a volume [d, h, w] -> rows of [s d, s h, s w]: torch.nn.ConvTranspose3d with kernel = stride = s, as a scatter.
inline Tensor64 conv_transpose3d(const Tensor64& x, std::array<Index, 3> size, const Conv3dParams& p, Activation a = Activation::none) {
  const Index in = p.weight.extent(0), out = p.weight.extent(1), s = p.stride;
  std::vector<Sum> sums(std::size_t(x.e[0] * s * s * s * out));
  for (Index v = 0; v < x.e[0]; ++v)
    for (Index t = 0; t < s * s * s; ++t) {
      const Index z = v / (size[1] * size[2]) * s + t / (s * s), y = v / size[2] % size[1] * s + t / s % s, u = v % size[2] * s + t % s;
      for (Index c = 0; c < in; ++c)
        for (Index o = 0; o < out; ++o) sums[std::size_t(((z * size[1] * s + y) * size[2] * s + u) * out + o)].term(x(v, c), {double(p.weight(c, o, t / (s * s), t / s % s, t % s)), 0, 0});
    }
  Tensor64 y(Index(sums.size()) / out, out);
  for (Index i = 0; i < y.size(); ++i) y.v[std::size_t(i)] = detail::after_conv(sums[std::size_t(i)], {{}, p.bias, {}, 1, 0, {}}, i % out, a);
  return y;
}

/// TinyViT: 1x1-bn, GELU, depthwise-bn, GELU, 1x1-bn, [+ x], last activation.
inline Tensor64 mbconv(const Tensor64& x, const ConvParams& conv1, const ConvParams& conv2, const ConvParams& conv3, bool residual, Activation last, Activation inner = Activation::gelu_erf) {
  const Tensor64 wide = conv2d(x, conv1, inner), deep = conv2d(wide, conv2, inner, true);
  const Tensor64 y = conv2d(deep, conv3);
  return activation(residual ? add(y, x) : y, last);
}

}  // namespace sampan::test::oracle
