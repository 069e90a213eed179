// Linear attention with ReLU as kernel: out_t = (sum_s v_s (relu(k_s) . relu(q_t))) / (sum_s relu(k_s) . relu(q_t) + eps), per head; the sums over s are made once.
// Data flow: models/efficient_vit.hpp (LiteMLA), once per scale -> here.
// Shapes: qkv [n, heads * 3 d], per head [q | k | v]; out [n, heads * d]; rows may be strided.   Cost: 4 n d (d + 1) heads FLOP.
// Source: efficientvit/models/nn/ops.py, LiteMLA.relu_linear_att (V' = [V; 1], V' K^T, then times Q; eps 1e-15). Its quadratic form for few tokens is the same number.
// Error: vs fp64 <= 2 x Reference. A device refuses.
#pragma once
#include <sampan/ops/params.hpp>
#include <sampan/ops/reference_backend.hpp>

namespace sampan::inline SAMPAN_ABI {
namespace detail {
inline constexpr float kLinearAttentionEps = 1e-15f;
inline constexpr Index kLinearAttentionRows = 64;  // tokens summed on their own before they join the total: shorter sums, and borders that depend on the shape only

template <class B>
bool check_linear_attention(Context<B>& ctx, Index heads, const View<const float, 2>& qkv, const View<float, 2>& out) {
  return ctx.require(heads > 0 && qkv.extent(0) > 0 && out.extent(0) == qkv.extent(0) && out.extent(1) > 0 && out.extent(1) % heads == 0 && qkv.extent(1) == 3 * out.extent(1),
                     "linear_attention: qkv must be [n, heads * 3 d], out [n, heads * d]");
}
inline Cost linear_attention_cost(Index heads, const View<float, 2>& out) {
  const double d = double(out.extent(1) / heads);
  return {4.0 * double(out.size()) * (d + 1), 16.0 * double(out.size())};
}
inline float positive(float x) { return x > 0 ? x : x != x ? x : 0; }  // NaN stays NaN
}  // namespace detail

/// The formula. Fails the context if extents disagree; out may not overlap qkv.
inline void linear_attention(Context<Reference>& ctx, Index heads, const View<const float, 2>& qkv, const View<float, 2>& out) {
  if (!detail::check_linear_attention(ctx, heads, qkv, out)) return;
  const Index n = qkv.extent(0), d = out.extent(1) / heads;
  auto scope = ctx.arena.scope();
  const auto vk = scope.make<float>(d + 1, d);  // V' K^T
  if (!ctx.begin(detail::linear_attention_cost(heads, out))) return;
  for (Index h = 0; h < heads; ++h) {
    const Index q = 3 * d * h, k = q + d, v = k + d;
    for (Index e = 0; e <= d; ++e)
      for (Index c = 0; c < d; ++c) {
        float sum = 0;
        for (Index t = 0; t < n; ++t) sum += (e < d ? qkv(t, v + e) : 1.0f) * detail::positive(qkv(t, k + c));
        vk(e, c) = sum;
      }
    for (Index t = 0; t < n; ++t) {
      const auto product = [&](Index e) {
        float sum = 0;
        for (Index c = 0; c < d; ++c) sum += vk(e, c) * detail::positive(qkv(t, q + c));
        return sum;
      };
      const float total = product(d) + detail::kLinearAttentionEps;
      for (Index e = 0; e < d; ++e) out(t, h * d + e) = product(e) / total;
    }
  }
}

/// On the host's fast backend: a head per work item, K^T V' by rows of K so that every inner loop runs along a row. Channels must lie side by side.
template <class B>
  requires(!on_device<B> && !std::is_same_v<B, Reference>)
void linear_attention(Context<B>& ctx, Index heads, const View<const float, 2>& qkv, const View<float, 2>& out) {
  if (!detail::check_linear_attention(ctx, heads, qkv, out)) return;
  if (!ctx.require(qkv.stride(1) == 1 && out.stride(1) == 1, "linear_attention: channels must lie side by side")) return;
  const Index n = qkv.extent(0), d = out.extent(1) / heads, wide = d + 1;
  auto scope = ctx.arena.scope();
  const auto memory = scope.template make<float>(ctx.pool.threads(), 2 * d * wide + 2 * wide);
  if (!ctx.begin(detail::linear_attention_cost(heads, out))) return;
  ctx.pool.parallel_for(heads, [&](Index h, int slot) {
    float *total = &memory(slot, 0), *part = total + d * wide, *v = part + d * wide, *sum = v + wide;
    for (Index i = 0; i < d * wide; ++i) total[i] = 0;
    v[d] = 1;
    for (Index first = 0; first < n; first += detail::kLinearAttentionRows) {
      const Index last = first + detail::kLinearAttentionRows < n ? first + detail::kLinearAttentionRows : n;
      for (Index i = 0; i < d * wide; ++i) part[i] = 0;
      for (Index t = first; t < last; ++t) {
        const float* row = qkv.data() + t * qkv.stride(0) + 3 * d * h;
        for (Index e = 0; e < d; ++e) v[e] = row[2 * d + e];
        for (Index c = 0; c < d; ++c) {
          const float k = detail::positive(row[d + c]);
          for (Index e = 0; e < wide; ++e) part[c * wide + e] += k * v[e];
        }
      }
      for (Index i = 0; i < d * wide; ++i) total[i] += part[i];
    }
    for (Index t = 0; t < n; ++t) {
      const float* row = qkv.data() + t * qkv.stride(0) + 3 * d * h;
      for (Index e = 0; e < wide; ++e) sum[e] = 0;
      for (Index c = 0; c < d; ++c) {
        const float q = detail::positive(row[c]);
        for (Index e = 0; e < wide; ++e) sum[e] += q * total[c * wide + e];
      }
      const float whole = sum[d] + detail::kLinearAttentionEps;
      float* to = out.data() + t * out.stride(0) + h * d;
      for (Index e = 0; e < d; ++e) to[e] = sum[e] / whole;
    }
  });
}

/// A device has no kernel for it yet.
template <class B>
  requires(on_device<B>)
void linear_attention(Context<B>& ctx, Index, const View<const float, 2>&, const View<float, 2>&) {
  ctx.fail(Error(ErrorCode::unsupported, cat("linear_attention: device ", B::kName, " has no linear attention; use device cpu")));
}

}  // namespace sampan::inline SAMPAN_ABI
