// The mask decoder's attention and mask heads on Cuda. Data flow: ops/cross_attention.hpp, ops/mask_head.hpp declare -> here -> kernels/cross_attention.cuh, mask_head.cuh.
// Composed as ops/cross_attention.hpp says, with the image's projections used where the caller has them. The decoder stays float (exact_backend).
#pragma once
#include <sampan/cuda/linear.hpp>
#include <sampan/ops/cross_attention.hpp>
#include <sampan/ops/mask_head.hpp>

namespace sampan::inline SAMPAN_ABI {

inline PackedCrossAttention<Cuda> pack(const Cuda& b, const CrossAttentionParams& p) { return {pack(b, p.q_proj), pack(b, p.k_proj), pack(b, p.v_proj), pack(b, p.out_proj), p.heads, p.name}; }

/// softmax(q k^T / sqrt d) v per batch and head; heads up to 128, those of 16, 32 and 64 by kernels made for them; whole rows.
inline void mix(Context<Cuda>& ctx, Index heads, const View<const float, 3>& q, const View<const float, 3>& k, const View<const float, 3>& v, const View<float, 3>& out) {
  const Index b = q.extent(0), nq = q.extent(1), nk = k.extent(1), c = q.extent(2), d = c / heads;
  const auto rows = [&](const auto& x) { return x.stride(2) == 1 && x.stride(1) == c; };
  if (!ctx.require(rows(q) && rows(k) && rows(v) && rows(out), "cross_attention: rows must follow one another on cuda")) return;
  if (d > kernels::kNaiveCrossHeadDim) return ctx.fail(Error(ErrorCode::unsupported, cat("cross_attention: heads of ", d, ": cuda has up to ", kernels::kNaiveCrossHeadDim)));
  if (!ctx.begin(detail::mix_cost(b, nq, nk, c))) return;
  // Few keys go into shared memory and every query is a thread; else few queries share the keys, as many at a time as one launch takes.
  const bool made_for = d == 16 || d == 32 || d == 64, pixels_ask = !made_for || (nq > kernels::kCrossQueries && nk * d * 8 <= kernels::kCrossSharedBytes);
  const Index step = pixels_ask ? nq : std::min<Index>(nq, kernels::kCrossQueries);
  const bool shared = k.extent(0) == 1;
  for (Index first = 0; b > 0 && first < nq; first += step) {  // all prompts in one launch
    const kernels::CrossAttentionParams p{q.data() + first * c, k.data(), v.data(), out.data() + first * c, int(std::min(step, nq - first)), int(nk), int(heads), int(d), 1.0f / std::sqrt(float(d)),
                                          int(b), q.stride(0), shared ? 0 : k.stride(0), shared ? 0 : v.stride(0), out.stride(0)};
    const auto launch = made_for ? kernels::launch_cross_attention : kernels::launch_cross_attention_naive;
    cuda::ran(ctx, "cross_attention", launch(p, cuda::Element::f32, cuda::stream_of(ctx)));
  }
}

/// As ops/cross_attention.hpp says.
inline void cross_attention(Context<Cuda>& ctx, const PackedCrossAttention<Cuda>& w, const CrossAttentionInput& in, const View<float, 3>& y, const View<const float, 3>& residual = {}) {
  detail::cross_attention_composed(ctx, w, in, y, residual, true);
}

inline void mask_head(Context<Cuda>& ctx, const View<const float, 2>& hyper, const View<const float, 2>& map, const View<float, 2>& masks) {
  if (!detail::check_mask_head(ctx, hyper, map, masks) || !ctx.require(hyper.contiguous() && map.contiguous() && masks.contiguous(), "mask_head: hyper, map and masks must be whole on cuda")) return;
  if (masks.empty()) return;
  if (hyper.extent(0) > kernels::kMaskHeadCount || hyper.extent(1) > kernels::kMaskHeadChannels)  // beyond what the kernel keeps in registers: a plain product
    return cuda::multiply(ctx, {hyper.data(), hyper.extent(0), hyper.extent(1), hyper.extent(1)}, {map.data(), map.extent(0), map.extent(1), cuda::Element::f32}, nullptr, {}, {masks.data(), masks.extent(1)});
  if (!ctx.begin(detail::mask_head_cost(hyper, map))) return;
  cuda::ran(ctx, "mask_head", kernels::launch_mask_head({map.data(), hyper.data(), masks.data(), int(map.extent(0)), int(map.extent(1)), int(hyper.extent(0))}, cuda::Element::f32, cuda::stream_of(ctx)));
}

}  // namespace sampan::inline SAMPAN_ABI
