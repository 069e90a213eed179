// Elementwise helpers: add with row broadcast, and copy. Data flow: positional embeddings, prompt tokens, residuals on unfused (traced) paths.
// Shapes: x, y [n, c]; b [n, c], [m, c] with m dividing n (repeated), or [1, c] (one row for all).   Cost: n c FLOP, 12 n c bytes.
#pragma once
#include <sampan/ops/params.hpp>
#include <sampan/ops/reference_backend.hpp>

namespace sampan::inline SAMPAN_ABI {

namespace detail {
template <class B>
bool check_add(Context<B>& ctx, const View<const float, 2>& x, const View<const float, 2>& b, const View<float, 2>& y) {
  return ctx.require(same_extents(x, y), "add: x and y differ in shape") &&
         ctx.require(b.extent(1) == x.extent(1) && b.extent(0) > 0 && x.extent(0) % b.extent(0) == 0, "add: the rows of b must divide those of x");
}
}  // namespace detail

/// y = x + b; row i of x meets row i mod m of b. y may be x.
inline void add(Context<Reference>& ctx, const View<const float, 2>& x, const View<const float, 2>& b, const View<float, 2>& y) {
  if (!detail::check_add(ctx, x, b, y) || !ctx.begin({double(x.size()), 12.0 * double(x.size())})) return;
  for (Index i = 0; i < x.extent(0); ++i)
    for (Index j = 0; j < x.extent(1); ++j) y(i, j) = x(i, j) + b(i % b.extent(0), j);
}

/// y = x repeated: row i of y is row i mod m of x.
inline void copy(Context<Reference>& ctx, const View<const float, 2>& x, const View<float, 2>& y) {
  if (!ctx.require(x.extent(1) == y.extent(1) && x.extent(0) > 0 && y.extent(0) % x.extent(0) == 0, "copy: the rows of x must divide those of y")) return;
  if (!ctx.begin({0, 8.0 * double(y.size())})) return;
  for (Index i = 0; i < y.extent(0); ++i)
    for (Index j = 0; j < y.extent(1); ++j) y(i, j) = x(i % x.extent(0), j);
}

}  // namespace sampan::inline SAMPAN_ABI
