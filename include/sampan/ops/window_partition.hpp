// window_partition / window_unpartition: a token map cut into non-overlapping windows, and back.
// Data flow: the literal definition of windowed attention (ops/attend.hpp); fast paths never copy windows (architecture.md, identity 1).
// Shapes: map [h, w, c]; windows [nh*nw, win*win, c], window-major, nh = ceil(h / win); missing tokens on the right and at the bottom.
// Source: segment_anything/modeling/image_encoder.py, window_partition and window_unpartition.   Cost: no FLOP, 8 bytes per element.
#pragma once
#include <sampan/ops/params.hpp>
#include <sampan/ops/reference_backend.hpp>

namespace sampan::inline SAMPAN_ABI {

constexpr Index windows_along(Index extent, Index win) { return (extent + win - 1) / win; }

namespace detail {
template <class B>
bool check_windows(Context<B>& ctx, const View<const float, 3>& map, const View<const float, 3>& windows, Index win) {
  return ctx.require(win >= 1, "window_partition: the window edge must be at least 1") &&
         ctx.require(windows.extent(0) == windows_along(map.extent(0), win) * windows_along(map.extent(1), win) && windows.extent(1) == win * win && windows.extent(2) == map.extent(2),
                     "window_partition: windows must be [ceil(h/win) * ceil(w/win), win*win, c]");
}
template <class B>
bool check_pad_row(Context<B>& ctx, const View<const float, 3>& map, const View<const float, 1>& pad) {
  return ctx.require(pad.empty() || pad.extent(0) == map.extent(2), "window_partition: a pad row must have the channels of the map");
}
}  // namespace detail

namespace reference {
/// The copy itself, for checked arguments.
inline void partition(const View<const float, 3>& map, Index win, const View<const float, 1>& pad, const View<float, 3>& windows) {
  const Index nw = windows_along(map.extent(1), win);
  for (Index b = 0; b < windows.extent(0); ++b)
    for (Index t = 0; t < win * win; ++t) {
      const Index y = b / nw * win + t / win, x = b % nw * win + t % win;
      for (Index c = 0; c < map.extent(2); ++c) windows(b, t, c) = y < map.extent(0) && x < map.extent(1) ? map(y, x, c) : pad.empty() ? 0.0f : pad(c);
    }
}
}  // namespace reference

/// Missing tokens get the row `pad` [c] (zeros in SAM; an empty view means zeros).
inline void window_partition(Context<Reference>& ctx, const View<const float, 3>& map, Index win, const View<const float, 1>& pad, const View<float, 3>& windows) {
  if (!detail::check_windows(ctx, map, windows, win) || !detail::check_pad_row(ctx, map, pad)) return;
  if (!ctx.begin({0, 8.0 * double(windows.size())})) return;
  reference::partition(map, win, pad, windows);
}

/// The inverse; tokens outside the map are dropped.
inline void window_unpartition(Context<Reference>& ctx, const View<const float, 3>& windows, Index win, const View<float, 3>& map) {
  if (!detail::check_windows(ctx, View<const float, 3>(map), windows, win)) return;
  if (!ctx.begin({0, 8.0 * double(map.size())})) return;
  const Index nw = windows_along(map.extent(1), win);
  for (Index y = 0; y < map.extent(0); ++y)
    for (Index x = 0; x < map.extent(1); ++x)
      for (Index c = 0; c < map.extent(2); ++c) map(y, x, c) = windows(y / win * nw + x / win, y % win * win + x % win, c);
}

}  // namespace sampan::inline SAMPAN_ABI
