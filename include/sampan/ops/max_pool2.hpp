// Max pooling of 2 x 2 pixels with stride 2 on channels-last maps.
// Data flow: nn/side_branch.hpp (SAMUS) -> here.   Shapes: x [h, w, c], y [h/2, w/2, c], rounded down; y may not overlap x.   Cost: 3 FLOP per output; bound by bandwidth,
// so one implementation serves every host backend. A device has no kernel for it: no overload there.   Source: torch.nn.MaxPool2d(2). A NaN among the four is the result.
#pragma once
#include <sampan/ops/params.hpp>
#include <sampan/ops/reference_backend.hpp>

namespace sampan::inline SAMPAN_ABI {

/// Fails the context if extents disagree.
template <class B>
  requires(!on_device<B>)
void max_pool2(Context<B>& ctx, const View<const float, 3>& x, const View<float, 3>& y) {
  if (!ctx.require(y.extent(0) == x.extent(0) / 2 && y.extent(1) == x.extent(1) / 2 && y.extent(2) == x.extent(2) && y.size() > 0, "max_pool2: x [h,w,c] and y [h/2,w/2,c] disagree") ||
      !ctx.begin({3.0 * double(y.size()), 4.0 * (double(x.size()) + double(y.size()))}))
    return;
  const auto larger = [](float a, float b) { return a > b || a != a ? a : b; };
  ctx.pool.parallel_for(y.extent(0), [&](Index i, int) {
    for (Index j = 0; j < y.extent(1); ++j)
      for (Index k = 0; k < y.extent(2); ++k) y(i, j, k) = larger(larger(x(2 * i, 2 * j, k), x(2 * i, 2 * j + 1, k)), larger(x(2 * i + 1, 2 * j, k), x(2 * i + 1, 2 * j + 1, k)));
  });
}

}  // namespace sampan::inline SAMPAN_ABI
