// OpenCV's cv2.resize(..., interpolation=cv2.INTER_NEAREST) of 8-bit images: the resizer of SAM-Med2D.
// Data flow: predict/preprocess.hpp -> here -> image/normalize.hpp.   Shapes: in [h, w, c], out [oh, ow, c].
// Source: modules/imgproc/src/resize.cpp, resizeNN: source = min(floor(o * (1 / (out / in))), in - 1), both divisions in double. Not centred.
// Cost: bandwidth of the output. Equal to OpenCV 4.11 to the last byte (tests/ops/resize_cv2_nearest_test.cpp).
#pragma once
#include <sampan/ops/resize_common.hpp>

#include <cmath>

namespace sampan::inline SAMPAN_ABI {
namespace detail {
/// A factor is exact enough for floor() only in OpenCV's own order of divisions: 1 / (out / in), not in / out.
inline Index nearest_source(Index in, Index out, Index o) {
  const double step = 1.0 / (double(out) / double(in));
  const Index i = Index(std::floor(double(o) * step));
  return i < in - 1 ? i : in - 1;
}
}  // namespace detail

/// Error{invalid_argument} (in ctx) if a side is not 1 .. 2^30-1 or channels differ; nothing is written then. out may not overlap in.
template <class B>
void resize_cv2_nearest(Context<B>& ctx, View<const std::uint8_t, 3> in, View<std::uint8_t, 3> out) {
  if (!detail::check_resize(ctx, in, out, "resize_cv2_nearest: in [h,w,c] and out [oh,ow,c] need equal c and sides from 1 to 2^30-1")) return;
  auto scope = ctx.arena.scope();
  auto columns = scope.template make<std::int32_t>(out.extent(1));
  if (!ctx.begin({0, 2.0 * double(out.size())})) return;
  for (Index x = 0; x < out.extent(1); ++x) columns(x) = std::int32_t(detail::nearest_source(in.extent(1), out.extent(1), x));
  detail::for_row_blocks(ctx, out.extent(0), [&](Index y0, Index y1, int) {
    for (Index y = y0; y < y1; ++y) {
      const Index sy = detail::nearest_source(in.extent(0), out.extent(0), y);
      for (Index x = 0; x < out.extent(1); ++x)
        for (Index k = 0; k < out.extent(2); ++k) out(y, x, k) = in(sy, columns(x), k);
    }
  });
}

}  // namespace sampan::inline SAMPAN_ABI
