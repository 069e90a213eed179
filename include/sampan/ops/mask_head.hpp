// Hypernetwork heads of the mask decoder: each mask is the dot product of its token's vector with the upscaled map at every pixel.
// Data flow: models/mask_decoder.hpp, last step.   Shapes: hyper [m, c], map [h*w, c], masks [m, h*w] (logits).   Cost: 2 m h w c FLOP.
// Source: segment_anything/modeling/mask_decoder.py, predict_masks (hyper_in @ upscaled_embedding).   Error: vs fp64 <= 2 x Reference.
#pragma once
#include <sampan/ops/params.hpp>
#include <sampan/ops/reference_backend.hpp>

namespace sampan::inline SAMPAN_ABI {

namespace detail {
template <class B>
bool check_mask_head(Context<B>& ctx, const View<const float, 2>& hyper, const View<const float, 2>& map, const View<float, 2>& masks) {
  return ctx.require(hyper.extent(1) == map.extent(1) && masks.extent(0) == hyper.extent(0) && masks.extent(1) == map.extent(0), "mask_head: hyper [m,c], map [n,c], masks [m,n] disagree");
}
inline Cost mask_head_cost(const View<const float, 2>& hyper, const View<const float, 2>& map) {
  const double n = double(map.extent(0)), m = double(hyper.extent(0)), c = double(map.extent(1));
  return {2 * m * n * c, 4 * (n * c + m * n + m * c)};
}
}  // namespace detail

/// masks = hyper map^T. Fails the context if extents disagree.
inline void mask_head(Context<Reference>& ctx, const View<const float, 2>& hyper, const View<const float, 2>& map, const View<float, 2>& masks) {
  if (!detail::check_mask_head(ctx, hyper, map, masks) || !ctx.begin(detail::mask_head_cost(hyper, map))) return;
  for (Index m = 0; m < hyper.extent(0); ++m)
    for (Index i = 0; i < map.extent(0); ++i) {
      float sum = 0;
      for (Index c = 0; c < map.extent(1); ++c) sum += hyper(m, c) * map(i, c);
      masks(m, i) = sum;
    }
}

}  // namespace sampan::inline SAMPAN_ABI
