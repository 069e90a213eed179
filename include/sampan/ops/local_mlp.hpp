// The second half of a TinyViT block: m = depthwise(x), y = m + mlp(m).
// Data flow: models/tiny_vit.hpp -> here -> ops/depthwise_conv.hpp, ops/mlp.hpp.   Shapes: x, y [h, w, c].   Cost: the sum of its parts.
// Source: MobileSAM tiny_vit_sam.py, class TinyViTBlock (local_conv, then mlp with its residual).
// An op of its own, so that a backend may keep the local map in cache; the composition serves every other.
#pragma once
#include <sampan/ops/depthwise_conv.hpp>
#include <sampan/ops/mlp.hpp>

namespace sampan::inline SAMPAN_ABI {

namespace detail {
template <class B>
void local_mlp_composed(Context<B>& ctx, const PackedDepthwise<B>& local, const PackedMlp<B>& w, const View<const float, 3>& x, const View<float, 3>& y) {
  auto scope = ctx.arena.scope();
  const auto mixed = scope.template make<float>(y.extent(0), y.extent(1), y.extent(2));
  depthwise_conv(ctx, local, x, mixed);
  const auto rows = tokens(View<const float, 3>(mixed));
  mlp(ctx, w, rows, tokens(y), rows);
}
}  // namespace detail

/// Fails the context if extents disagree; y may not overlap x. Lines of y must follow one another.
template <class B>
void local_mlp(Context<B>& ctx, const PackedDepthwise<B>& local, const PackedMlp<B>& w, const View<const float, 3>& x, const View<float, 3>& y) {
  detail::local_mlp_composed(ctx, local, w, x, y);
}

}  // namespace sampan::inline SAMPAN_ABI
