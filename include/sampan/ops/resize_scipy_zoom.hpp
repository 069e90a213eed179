// scipy.ndimage.zoom with its defaults (mode="constant", grid_mode=False): order 3 of grey maps, order 0 of label maps. The resizers of SAMed's scripts.
// Data flow: predict/preprocess.hpp (slices), predict/class_map.hpp (labels).   Shapes: in [h, w], out [oh, ow].
// Source: scipy.ndimage _interpolation.py (zoom), ni_interpolation.c (NI_ZoomShift), ni_splines.c. Corner-aligned: output o lies at o * ((n - 1) / (on - 1)).
// A quirk that is kept: that product, in double, may pass n - 1 by its last bit for the last output, which then lies outside and becomes 0 (a black last row).
// Cost: per value of the input and of [h, ow] the two spline recursions, per output 8 FLOP and axis. Deliberately absent: other orders and modes, antialiasing.
#pragma once
#include <sampan/ops/resize_skimage_cubic.hpp>

namespace sampan::inline SAMPAN_ABI {
namespace detail {

/// Position of output o in an axis of n samples; negative: outside.
SAMPAN_EXACT_FP inline double zoom_position(Index n, Index out, Index o) {
  SAMPAN_EXACT_FP_BODY
  const double step = out > 1 ? double(n - 1) / double(out - 1) : 1.0, at = double(o) * step;
  return at > double(n - 1) ? -1.0 : at;
}

inline void fill_zoom_axis(CubicAxis& a) {
  a.gauss(0) = 1;
  for (Index o = 0; o < a.out; ++o) {
    const double at = zoom_position(a.in, a.out, o), base = std::floor(at), t = at - base, u = 1 - t, inside = at < 0 ? 0 : 1;
    a.position(o) = std::int32_t(base) - 1;
    a.weight(o, 0) = inside * (u * u * u / 6);
    a.weight(o, 1) = inside * ((t * t * (t - 2) * 3 + 4) / 6);
    a.weight(o, 2) = inside * ((u * u * (u - 2) * 3 + 4) / 6);
    a.weight(o, 3) = inside * (t * t * t / 6);
  }
}

template <class B, class T>
bool check_zoom(Context<B>& ctx, const View<const T, 2>& in, const View<T, 2>& out) {
  const auto side = [](Index n) { return n >= 1 && n < (Index(1) << 30); };
  return ctx.require(side(in.extent(0)) && side(in.extent(1)) && side(out.extent(0)) && side(out.extent(1)), "resize_scipy_zoom: sides from 1 to 2^30-1 are needed");
}

}  // namespace detail

/// zoom(in, (oh / h, ow / w), order=3) of a float32 array: double inside, one rounding at the end. out may not overlap in.
/// Error{invalid_argument} (in ctx) if a side is not 1 .. 2^30-1. Exactness: within 1e-6 of the largest magnitude of `in`.
template <class B>
void resize_scipy_zoom(Context<B>& ctx, const View<const float, 2>& in, const View<float, 2>& out) {
  if (!detail::check_zoom(ctx, in, out)) return;
  const Index h = in.extent(0), w = in.extent(1), oh = out.extent(0), ow = out.extent(1);
  constexpr int kLanes = 8;
  Arena::Scope scope(ctx.arena);
  const auto axis = [&](Index n, Index m) { return detail::CubicAxis{n, m, 0, scope.make<double>(1), scope.make<std::int32_t>(m), scope.make<double>(m, 4)}; };
  detail::CubicAxis ax = axis(w, ow), ay = axis(h, oh);
  const auto mid = scope.make<double>(h, ow);
  const Index line = (std::max)(detail::cubic_scratch(ax, 1), detail::cubic_scratch(ay, kLanes));
  const auto scratch = scope.make<double>(ctx.pool.threads(), line);
  if (!ctx.begin({5.0 * double(in.size()) + 13.0 * double(h * ow) + 8.0 * double(out.size()), 4.0 * double(in.size()) + 16.0 * double(h * ow) + 4.0 * double(out.size())})) return;
  detail::fill_zoom_axis(ax);
  detail::fill_zoom_axis(ay);
  detail::for_row_blocks(ctx, h, [&](Index y0, Index y1, int slot) {
    for (Index y = y0; y < y1; ++y)
      detail::cubic_line<1>(ax, &scratch(slot, 0), [&](Index x, double* v) { *v = double(in(y, x)); }, [&](Index x, const double* v) { mid(y, x) = *v; });
  });
  ctx.pool.parallel_for(detail::ceil_div(ow, kLanes), [&](Index block, int slot) {
    const Index x0 = block * kLanes, m = (std::min)(Index(kLanes), ow - x0);
    detail::cubic_line<kLanes>(
        ay, &scratch(slot, 0), [&](Index y, double* v) { for (Index l = 0; l < kLanes; ++l) v[l] = l < m ? mid(y, x0 + l) : 0; },
        [&](Index y, const double* v) { for (Index l = 0; l < m; ++l) out(y, x0 + l) = float(v[l]); });
  });
}

/// zoom(in, (oh / h, ow / w), order=0): the nearest sample, halves upward; 0 outside. Same errors; exact.
template <class B>
void resize_scipy_zoom_nearest(Context<B>& ctx, const View<const std::uint8_t, 2>& in, const View<std::uint8_t, 2>& out) {
  if (!detail::check_zoom(ctx, in, out)) return;
  const Index ow = out.extent(1);
  Arena::Scope scope(ctx.arena);
  const auto columns = scope.make<std::int32_t>(ow);
  if (!ctx.begin({0, 2.0 * double(out.size())})) return;
  for (Index x = 0; x < ow; ++x) columns(x) = std::int32_t(std::floor(detail::zoom_position(in.extent(1), ow, x) + 0.5));
  for (Index y = 0; y < out.extent(0); ++y) {
    const Index row = Index(std::floor(detail::zoom_position(in.extent(0), out.extent(0), y) + 0.5));
    for (Index x = 0; x < ow; ++x) out(y, x) = row < 0 || columns(x) < 0 ? std::uint8_t(0) : in(row, columns(x));
  }
}

}  // namespace sampan::inline SAMPAN_ABI
