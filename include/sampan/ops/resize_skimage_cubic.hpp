// scikit-image's resize(order=3, anti_aliasing=True, preserve_range=True) of 8-bit images: the resizer of MedSAM.
// Data flow: predict/ calls it on the decoded RGB image; image/normalize.hpp turns the result into the network's input.
// Source: skimage/transform/_warps.py (resize); scipy.ndimage gaussian_filter (truncate 4) and zoom(order 3, mode mirror, grid_mode True) with its spline
//   prefilter (ni_splines.c); medical_2d.md 1. Per axis: Gaussian of sigma (f-1)/2 when shrinking by f, cubic B-spline coefficients, four taps at (o+0.5)*f-0.5.
// Cost: per input value 2*radius+1 multiply-adds and 4 for the two recursions per axis, radius = 2f; scratch h*ow*c doubles and lines.
// Order: scipy filters the whole image axis by axis. All steps are linear and act on one axis each, so here the horizontal ones run first, row by row, and
//   only [h, ow] has to be kept; the result differs from scipy's by rounding, 1e-12 of the range.
// Deliberately absent: mode="constant" (MedSAM's data preparation), other orders, anti_aliasing=False, SIMD.
#pragma once
#include <sampan/ops/resize_common.hpp>

#include <algorithm>
#include <cmath>

namespace sampan::inline SAMPAN_ABI {
namespace detail {

/// Reflection about the outer pixels (numpy "reflect", ndimage "mirror"): ... 2 1 0 1 2 ... n-2 n-1 n-2 ...
inline Index mirror(Index i, Index n) {
  if (n == 1) return 0;
  const Index period = 2 * (n - 1);
  i %= period;
  if (i < 0) i += period;
  return i < n ? i : period - i;
}

/// What one axis needs: Gaussian half-kernel (gauss[0] is the centre) and four taps per output.
struct CubicAxis {
  Index in = 0, out = 0, radius = 0;
  View<double, 1> gauss;           // [radius + 1]
  View<std::int32_t, 1> position;  // [out] index of the first of four coefficients, may be -2 or beyond the end: mirrored
  View<double, 2> weight;          // [out, 4]
  double sigma() const { return in > out ? (double(in) / double(out) - 1) / 2 : 0; }
  Index gauss_radius() const { return Index(4.0 * sigma() + 0.5); }
};

inline CubicAxis make_cubic_axis(Arena::Scope& scope, Index in, Index out) {
  CubicAxis a{in, out, 0, {}, {}, {}};
  a.radius = a.gauss_radius();
  a.gauss = scope.make<double>(a.radius + 1);
  a.position = scope.make<std::int32_t>(out);
  a.weight = scope.make<double>(out, 4);
  return a;
}

inline void fill_cubic_axis(CubicAxis& a) {
  const double s = a.sigma();
  double sum = 0;
  for (Index k = 0; k <= a.radius; ++k) {
    a.gauss(k) = a.radius ? std::exp(-0.5 / (s * s) * double(k * k)) : 1.0;
    sum += a.gauss(k) * (k ? 2 : 1);
  }
  for (Index k = 0; k <= a.radius; ++k) a.gauss(k) /= sum;
  const double scale = double(a.in) / double(a.out);
  for (Index o = 0; o < a.out; ++o) {
    const double at = (double(o) + 0.5) * scale - 0.5, base = std::floor(at), t = at - base, u = 1 - t;
    a.position(o) = std::int32_t(base) - 1;
    a.weight(o, 0) = u * u * u / 6;
    a.weight(o, 1) = (t * t * (t - 2) * 3 + 4) / 6;
    a.weight(o, 2) = (u * u * (u - 2) * 3 + 4) / 6;
    a.weight(o, 3) = t * t * t / 6;
  }
}

/// Doubles of scratch for one line of an axis with L values per position: the padded line and the filtered one.
inline Index cubic_scratch(const CubicAxis& a, Index lanes) { return (2 * (a.in + 2 * a.radius) + 8) * lanes; }

/// One line: get(i, values[L]) reads input position i, put(o, values[L]) takes output o. L independent values (channels or columns) travel together.
template <int L, class Get, class Put>
void cubic_line(const CubicAxis& a, double* scratch, Get&& get, Put&& put) {
  const Index n = a.in, r = a.radius;
  double* padded = scratch;
  double* line = scratch + (n + 2 * r) * L;
  double* c = r ? line : padded;
  for (Index i = 0; i < n; ++i) get(i, padded + (i + r) * L);
  if (r) {
    const auto copy = [&](Index to, Index from) {
      for (int l = 0; l < L; ++l) padded[(to + r) * L + l] = padded[(from + r) * L + l];
    };
    for (Index i = 1; i <= r; ++i) copy(-i, mirror(-i, n)), copy(n - 1 + i, mirror(n - 1 + i, n));
    for (Index i = 0; i < n; ++i) {
      const double* p = padded + (i + r) * L;
      double sum[L];
      for (int l = 0; l < L; ++l) sum[l] = p[l] * a.gauss(0);
      for (Index k = r; k >= 1; --k)
        for (int l = 0; l < L; ++l) sum[l] += (p[-k * L + l] + p[k * L + l]) * a.gauss(k);
      for (int l = 0; l < L; ++l) line[i * L + l] = sum[l];
    }
  }
  if (n > 1) {  // B-spline coefficients: a causal and an anticausal recursion with the pole z, gain (1-z)(1-1/z) = 6, mirror start (Unser 1999)
    const double z = std::sqrt(3.0) - 2.0;
    double zn = 1;  // z^(n-1); below 2^-200 it changes no sum
    for (Index i = 1; i < n && std::abs(zn) > 0x1p-200; ++i) zn *= z;
    for (Index i = 0; i < n * L; ++i) c[i] *= 6;
    double first[L];
    for (int l = 0; l < L; ++l) first[l] = c[l] + zn * c[(n - 1) * L + l];
    double zi = z;
    for (Index i = 1; i < n - 1 && std::abs(zi) > 0x1p-200; ++i, zi *= z)
      for (int l = 0; l < L; ++l) first[l] += zi * (c[i * L + l] + zn * c[(n - 1 - i) * L + l]);
    for (int l = 0; l < L; ++l) c[l] = first[l] / (1 - zn * zn);
    for (Index i = 1; i < n; ++i)
      for (int l = 0; l < L; ++l) c[i * L + l] += z * c[(i - 1) * L + l];
    for (int l = 0; l < L; ++l) c[(n - 1) * L + l] = (z * c[(n - 2) * L + l] + c[(n - 1) * L + l]) * z / (z * z - 1);
    for (Index i = n - 2; i >= 0; --i)
      for (int l = 0; l < L; ++l) c[i * L + l] = z * (c[(i + 1) * L + l] - c[i * L + l]);
  }
  for (Index o = 0; o < a.out; ++o) {
    double v[L] = {};
    for (int k = 0; k < 4; ++k) {
      const double *p = c + mirror(a.position(o) + k, n) * L, w = a.weight(o, k);
      for (int l = 0; l < L; ++l) v[l] += w * p[l];
    }
    put(o, static_cast<const double*>(v));
  }
}

/// Rows of `in` to mid [h, ow, c]; then columns of mid, 8 values at a time, clipped and given to store(y, index in [ow*c], value).
template <class B, class Store>
void cubic_resize(Context<B>& ctx, const View<const std::uint8_t, 3>& in, Index oh, Index ow, Store&& store) {
  const Index h = in.extent(0), w = in.extent(1), c = in.extent(2), n = ow * c;
  constexpr int kLanes = 8;  // one cache line of doubles
  Arena::Scope scope(ctx.arena);
  CubicAxis ax = make_cubic_axis(scope, w, ow), ay = make_cubic_axis(scope, h, oh);
  const auto mid = scope.make<double>(h, n);
  const Index line = (std::max)(cubic_scratch(ax, 3), cubic_scratch(ay, kLanes));
  const auto scratch = scope.make<double>(ctx.pool.threads(), line);
  const double per_x = double(3 * ax.radius + 1 + 5), per_y = double(3 * ay.radius + 1 + 5);
  if (!ctx.begin({double(in.size()) * per_x + double(h * n) * (8 + per_y) + 8.0 * double(oh * n), double(in.size()) + 16.0 * double(h * n) + double(oh * n)})) return;
  fill_cubic_axis(ax);
  fill_cubic_axis(ay);
  std::uint8_t low = 255, high = 0;  // over all channels: skimage clips to the range of the whole input
  for (Index y = 0; y < h; ++y)
    for (Index i = 0; i < w * c; ++i) {
      const std::uint8_t v = in.data()[y * in.stride(0) + i];
      low = v < low ? v : low;
      high = v > high ? v : high;
    }
  for_row_blocks(ctx, h, [&](Index y0, Index y1, int slot) {
    for (Index y = y0; y < y1; ++y) {
      const std::uint8_t* row = in.data() + y * in.stride(0);
      const auto channels = [&](auto lanes, Index first) {
        constexpr int L = decltype(lanes)::value;
        cubic_line<L>(
            ax, &scratch(slot, 0), [&](Index x, double* v) { for (int l = 0; l < L; ++l) v[l] = row[x * c + first + l]; },
            [&](Index x, const double* v) { for (int l = 0; l < L; ++l) mid(y, x * c + first + l) = v[l]; });
      };
      if (c == 3) {
        channels(std::integral_constant<int, 3>(), 0);
      } else {
        for (Index i = 0; i < c; ++i) channels(std::integral_constant<int, 1>(), i);
      }
    }
  });
  ctx.pool.parallel_for(ceil_div(n, kLanes), [&](Index block, int slot) {
    const Index x0 = block * kLanes;
    const int m = int(n - x0 < kLanes ? n - x0 : kLanes);
    cubic_line<kLanes>(
        ay, &scratch(slot, 0), [&](Index y, double* v) { for (int l = 0; l < kLanes; ++l) v[l] = l < m ? mid(y, x0 + l) : 0; },
        [&](Index y, const double* v) {
          for (int l = 0; l < m; ++l) store(y, x0 + l, v[l] < low ? double(low) : v[l] > high ? double(high) : v[l]);
        });
  });
}

inline constexpr const char* kSkimageRule = "resize_skimage_cubic_aa: in [h,w,c] and out [oh,ow,c] need equal c and sides from 1 to 2^30-1, with packed rows";

}  // namespace detail

/// resize(in, (oh, ow), order=3, preserve_range=True, anti_aliasing=True).astype(uint8): the cast truncates.
///
///   in   [h, w, c]    uint8, pixels of a row packed, rows may lie apart
///   out  [oh, ow, c]  uint8, likewise; may not overlap `in`
///
/// All arithmetic in double; clipped to the smallest and largest value of `in`.
/// Error{invalid_argument} (in ctx) if a side is not 1 .. 2^30-1, channels differ, or pixels of a row lie apart; nothing is written then.
/// Exactness: the value before the cast within 1e-4 of scikit-image 0.26, the byte within one grey level (a whole number may truncate either way).
template <class B>
void resize_skimage_cubic_aa(Context<B>& ctx, View<const std::uint8_t, 3> in, View<std::uint8_t, 3> out) {
  if (!detail::check_resize(ctx, in, out, detail::kSkimageRule) || !ctx.require(detail::packed_rows(in) && detail::packed_rows(out), detail::kSkimageRule)) return;
  detail::cubic_resize(ctx, in, out.extent(0), out.extent(1), [&](Index y, Index i, double v) { out.data()[y * out.stride(0) + i] = std::uint8_t(v); });
}

/// The same before the cast, as float.
template <class B>
void resize_skimage_cubic_aa(Context<B>& ctx, View<const std::uint8_t, 3> in, View<float, 3> out) {
  if (!detail::check_resize(ctx, in, out, detail::kSkimageRule) || !ctx.require(detail::packed_rows(in) && detail::packed_rows(out), detail::kSkimageRule)) return;
  detail::cubic_resize(ctx, in, out.extent(0), out.extent(1), [&](Index y, Index i, double v) { out.data()[y * out.stride(0) + i] = float(v); });
}

}  // namespace sampan::inline SAMPAN_ABI
