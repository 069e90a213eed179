// High-pass filter of a square image: its Fourier transform with a centred box of low frequencies set to zero, back, and the absolute value.
// Data flow: nn/frequency_prompt.hpp (SAM-Adapter) -> here.   Shapes: x, y [n, n, c]; y may not overlap x.
// Low are the frequencies -keep .. keep - 1 of both axes (fftshift puts 0 at n / 2), keep = n / 4 for SAM-Adapter's rate of 0.25. The transforms' factors cancel.
// Source: SAM-Adapter image_encoder.py, PromptGenerator.fft.   Cost: 4 c n^3 FLOP by the identity below (n = 1024: 13 GFLOP, 1.4% of ViT-B); Reference sums the transforms themselves.
// Fast hosts use: low = Re(P x P^T) with P = D + iE, D[j,k] = 1/n sum_f cos(2 pi f (j-k)/n), E[j,k] = -1/n sin(2 pi keep (j-k)/n), since all sines but that of -keep cancel;
// so low = D x D^T - E x E^T: two products with a fixed matrix, and a term of rank 4 from four sums per channel. A device has no kernel for it: no overload there.
#pragma once
#include <sampan/ops/linear.hpp>

#include <vector>

namespace sampan::inline SAMPAN_ABI {

struct HighPassParams {
  Index size = 0, keep = 0;  ///< side of the image; low frequencies to each side of 0
  std::string name;
};

template <class B>
struct PackedHighPass {
  Index size = 0, keep = 0;
  PackedLinear<B> low;  // D
  std::string name;
  bool valid() const { return low.valid(); }
};
template <>
struct PackedHighPass<Reference> {
  Index size = 0, keep = 0;
  std::string name;
  bool valid() const { return size > 0; }
};

namespace detail {
template <class B>
bool check_high_pass(Context<B>& ctx, Index size, Index keep, const View<const float, 3>& x, const View<float, 3>& y) {
  return ctx.require(same_extents(x, y) && x.extent(0) == size && x.extent(1) == size, "high_pass: x and y must be [n,n,c] of the packed size") &&
         ctx.require(keep >= 0 && 2 * keep < size, "high_pass: the low frequencies must be fewer than all");
}
inline Cost high_pass_cost(const View<const float, 3>& x) { return {4.0 * double(x.size()) * double(x.extent(0)), 8.0 * double(x.size())}; }
inline constexpr double kTwoPi = 6.283185307179586477;
}  // namespace detail

inline PackedHighPass<Reference> pack(const Reference&, const HighPassParams& p) { return {p.size, p.keep, p.name}; }

/// y = |ifft2(fft2(x) without its low box)|, by the sums that define both transforms, in double. Fails the context if extents disagree.
inline void high_pass(Context<Reference>& ctx, const PackedHighPass<Reference>& w, const View<const float, 3>& x, const View<float, 3>& y) {
  if (!detail::check_high_pass(ctx, w.size, w.keep, x, y)) return;
  const Index n = w.size;
  auto scope = ctx.arena.scope();
  const auto turn = scope.make<double>(n, Index(2));     // cos, sin of 2 pi i / n
  const auto a = scope.make<double>(n, n, Index(2)), b = scope.make<double>(n, n, Index(2));
  if (!ctx.begin(detail::high_pass_cost(x))) return;
  for (Index i = 0; i < n; ++i) turn(i, 0) = std::cos(detail::kTwoPi * double(i) / double(n)), turn(i, 1) = std::sin(detail::kTwoPi * double(i) / double(n));
  // to(j, i) = sum over k of from(i, k) e^(sign 2 pi i j k / n): one axis, and the axes change places
  const auto along = [&](const View<double, 3>& from, const View<double, 3>& to, double sign) {
    for (Index i = 0; i < n; ++i)
      for (Index j = 0; j < n; ++j) {
        double re = 0, im = 0;
        for (Index k = 0; k < n; ++k) {
          const double c = turn(j * k % n, 0), s = sign * turn(j * k % n, 1);
          re += from(i, k, 0) * c - from(i, k, 1) * s;
          im += from(i, k, 0) * s + from(i, k, 1) * c;
        }
        to(j, i, 0) = re, to(j, i, 1) = im;
      }
  };
  const auto low = [&](Index f) { return f < w.keep || f >= n - w.keep; };
  for (Index c = 0; c < x.extent(2); ++c) {
    for (Index i = 0; i < n; ++i)
      for (Index j = 0; j < n; ++j) a(i, j, 0) = double(x(i, j, c)), a(i, j, 1) = 0;
    along(a, b, -1), along(b, a, -1);
    for (Index i = 0; i < n; ++i)
      for (Index j = 0; j < n; ++j)
        if (low(i) && low(j)) a(i, j, 0) = a(i, j, 1) = 0;
    along(a, b, 1), along(b, a, 1);
    for (Index i = 0; i < n; ++i)
      for (Index j = 0; j < n; ++j) y(i, j, c) = float(std::abs(a(i, j, 0) / (double(n) * double(n))));
  }
}

/// Any other backend of the host: D packed as a linear layer of its own.
template <class B>
  requires(!on_device<B> && !std::is_same_v<B, Reference>)
PackedHighPass<B> pack(const B& b, const HighPassParams& p) {
  PackedHighPass<B> w{p.size, p.keep, {}, p.name};
  Tensor<float, 2, Reference> d({p.size, p.size});
  Tensor<double, 1, Reference> row({p.size});
  if (!d.valid() || !row.valid()) return w;
  for (Index i = 0; i < p.size; ++i) {
    double sum = 0;
    for (Index f = -p.keep; f < p.keep; ++f) sum += std::cos(detail::kTwoPi * double(((f * i) % p.size + p.size) % p.size) / double(p.size));
    row.view()(i) = sum / double(p.size);
  }
  for (Index i = 0; i < p.size; ++i)
    for (Index j = 0; j < p.size; ++j) d.view()(i, j) = float(row.view()((i - j + p.size) % p.size));
  w.low = pack(b, LinearParams{std::as_const(d).view(), {}, {}}, NormParams{});
  return w;
}

template <class B>
  requires(!on_device<B> && !std::is_same_v<B, Reference>)
void high_pass(Context<B>& ctx, const PackedHighPass<B>& w, const View<const float, 3>& x, const View<float, 3>& y) {
  if (!detail::check_high_pass(ctx, w.size, w.keep, x, y)) return;
  const Index n = w.size, c = x.extent(2);
  auto scope = ctx.arena.scope();
  const auto planes = scope.template make<float>(c, n, n), turned = scope.template make<float>(c, n, n);  // [c, y, x], then [c, x, y]
  const auto sums = scope.template make<double>(c, Index(4));
  const auto wave = scope.template make<float>(Index(2), n);  // cos, sin of 2 pi keep i / n
  if (ctx.begin({0, 8.0 * double(x.size())})) {
    for (Index i = 0; i < n; ++i) {
      const double at = detail::kTwoPi * double(w.keep * i % n) / double(n);
      wave(0, i) = float(std::cos(at)), wave(1, i) = float(std::sin(at));
    }
    ctx.pool.parallel_for(c, [&](Index k, int) {
      double cc = 0, cs = 0, sc = 0, ss = 0;
      for (Index i = 0; i < n; ++i) {
        double across_c = 0, across_s = 0;
        for (Index j = 0; j < n; ++j) {
          const float v = planes(k, i, j) = x(i, j, k);
          across_c += double(v) * double(wave(0, j)), across_s += double(v) * double(wave(1, j));
        }
        cc += double(wave(0, i)) * across_c, cs += double(wave(0, i)) * across_s, sc += double(wave(1, i)) * across_c, ss += double(wave(1, i)) * across_s;
      }
      sums(k, 0) = cc, sums(k, 1) = cs, sums(k, 2) = sc, sums(k, 3) = ss;
    });
  }
  const auto rows = [&](const View<float, 3>& v) { return v.template reshape<2>({c * n, n}); };
  linear(ctx, w.low, rows(planes), rows(turned));  // along x
  if (ctx.begin({0, 8.0 * double(x.size())}))
    ctx.pool.parallel_for(c, [&](Index k, int) {
      for (Index i = 0; i < n; ++i)
        for (Index j = 0; j < n; ++j) planes(k, j, i) = turned(k, i, j);
    });
  linear(ctx, w.low, rows(planes), rows(turned));  // along y: turned is [c, x, y]
  if (!ctx.begin({8.0 * double(x.size()), 12.0 * double(x.size())})) return;
  const double share = 1.0 / (double(n) * double(n));
  ctx.pool.parallel_for(n, [&](Index i, int) {  // i: row of the image
    for (Index k = 0; k < c; ++k) {
      // (E x E^T)(i, j) = (cc s_i s_j - cs s_i c_j - sc c_i s_j + ss c_i c_j) / n^2
      const double ci = double(wave(0, i)), si = double(wave(1, i));
      const float of_cos = float((sums(k, 3) * ci - sums(k, 1) * si) * share), of_sin = float((sums(k, 0) * si - sums(k, 2) * ci) * share);
      for (Index j = 0; j < n; ++j) y(i, j, k) = std::abs(x(i, j, k) - (turned(k, j, i) - (of_cos * wave(0, j) + of_sin * wave(1, j))));
    }
  });
}

}  // namespace sampan::inline SAMPAN_ABI
