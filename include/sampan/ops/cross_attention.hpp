// Attention of SAM's mask decoder, token to image, image to token and among tokens: y = residual + out(softmax(Q K^T / sqrt d) V), a batch of prompts at once.
// Data flow: nn/two_way_transformer.hpp -> here -> ops/linear.hpp.
// Shapes: q [b, nq, c], k, v [b or 1, nk, c], y [b, nq, c]; q_pe, k_pe as q and k or with batch 1; internal width heads*d may be smaller than c.
// Source: segment_anything/modeling/transformer.py, class Attention (downsample_rate).   Cost: projections + 4 b nq nk heads d FLOP.
// Positional encodings are added to q and k before their projections (never to v).
// FLOP count the definition above; a backend may know a cheaper form that is equal in real arithmetic (cpu/absorbed_attention.hpp).
#pragma once
#include <sampan/ops/linear.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

namespace sampan::inline SAMPAN_ABI {

/// Which side is an image of thousands of pixels. A backend whose precision is not f32 keeps the other side, a few tokens, in f32.
enum class PixelSide { none, queries, keys };

struct CrossAttentionParams {
  LinearParams q_proj, k_proj, v_proj, out_proj;
  Index heads = 0;
  std::string name;
  PixelSide pixels = PixelSide::none;
};

struct CrossAttentionInput {
  View<const float, 3> q, q_pe;  ///< q_pe may be empty
  View<const float, 3> k, k_pe;  ///< k_pe may be empty
  View<const float, 3> v;
  /// Projections that the caller already has, bias included: q_proj(q + q_pe), k_proj(k + k_pe), v_proj(v), each [b or 1, n, inner], or empty.
  /// A backend may use them or project again: Reference always projects. k and v come together.
  View<const float, 3> q_ready = {}, k_ready = {}, v_ready = {};
};

/// Its parts, and whatever a backend that specialises it keeps beside them.
template <class B>
struct PackedCrossAttention {
  PackedLinear<B> q_proj, k_proj, v_proj, out_proj;
  Index heads = 0;
  std::string name;
  bool valid() const { return q_proj.valid() && k_proj.valid() && v_proj.valid() && out_proj.valid(); }
};

inline PackedCrossAttention<Reference> pack(const Reference& b, const CrossAttentionParams& p) {
  return {pack(b, p.q_proj), pack(b, p.k_proj), pack(b, p.v_proj), pack(b, p.out_proj), p.heads, p.name};
}

/// [b, n, c] seen as [b*n, c] rows; the batch must be contiguous.
template <class T>
View<T, 2> batch_rows(const View<T, 3>& v) {
  return tokens(v);
}

namespace detail {
template <class B>
bool check_ready(Context<B>& ctx, Index inner, const CrossAttentionInput& in) {
  auto fits = [&](const View<const float, 3>& ready, const View<const float, 3>& x) {
    return ready.empty() || ((ready.extent(0) == 1 || ready.extent(0) == x.extent(0)) && ready.extent(1) == x.extent(1) && ready.extent(2) == inner && rows_follow(ready));
  };
  return ctx.require(fits(in.q_ready, in.q) && fits(in.k_ready, in.k) && fits(in.v_ready, in.v) && in.k_ready.empty() == in.v_ready.empty() && (in.k_ready.empty() || in.k_ready.extents() == in.v_ready.extents()),
                     "cross_attention: a ready projection must be [b or 1, n, inner], and those of k and v alike");
}
template <class B, class W>
bool check_cross_attention(Context<B>& ctx, const W& w, const CrossAttentionInput& in, const View<float, 3>& y, const View<const float, 3>& residual, bool shared_q = false) {
  const Index b = y.extent(0);
  auto fits = [](const View<const float, 3>& pe, const View<const float, 3>& x) { return pe.empty() || (x.extent(0) % pe.extent(0) == 0 && pe.extent(1) == x.extent(1) && pe.extent(2) == x.extent(2)); };
  return ctx.require((in.k.extent(0) == b || in.k.extent(0) == 1) && in.v.extent(0) == in.k.extent(0) && in.v.extent(1) == in.k.extent(1), "cross_attention: k and v must agree and have the batch of q or 1") &&
         ctx.require(fits(in.q_pe, in.q) && fits(in.k_pe, in.k), "cross_attention: a positional encoding must have the shape of what it is added to, or batch 1") &&
         ctx.require((in.q.extent(0) == b || (shared_q && in.q.extent(0) == 1)) && y.extent(1) == in.q.extent(1) && y.extent(2) == in.q.extent(2) && (residual.empty() || residual.extents() == y.extents()),
                     "cross_attention: y and residual must have the shape of q") &&
         ctx.require(rows_follow(in.q) && rows_follow(in.q_pe) && rows_follow(in.k) && rows_follow(in.k_pe) && rows_follow(in.v) && rows_follow(y) && rows_follow(residual),
                     "cross_attention: the entries of a batch must follow one another") &&
         ctx.require(w.heads > 0 && w.q_proj.out_features() % w.heads == 0, "cross_attention: the inner width is no multiple of the heads") && check_ready(ctx, w.q_proj.out_features(), in);
}
/// x + pe in arena memory, or x itself without pe.
template <class B>
View<const float, 3> with_pe(Context<B>& ctx, Arena::Scope& scope, const View<const float, 3>& x, const View<const float, 3>& pe) {
  if (pe.empty()) return x;
  auto sum = scope.make<float>(x.extent(0), x.extent(1), x.extent(2));
  add(ctx, tokens(x), tokens(pe), tokens(sum));
  return sum;
}
inline Cost mix_cost(Index b, Index nq, Index nk, Index c) { return {4.0 * double(b) * double(nq) * double(nk) * double(c), 4.0 * double(b) * double(c) * (2 * double(nq) + 2 * double(nk))}; }
template <class B>
bool cross_attention_unfused(Context<B>& ctx, const PackedCrossAttention<B>& w, const CrossAttentionInput& in, const View<float, 3>& y, const View<const float, 3>& residual) {
  if (residual.empty() || !ctx.traced(w.name)) return false;
  auto scope = ctx.arena.scope();
  auto out = scope.template make<float>(y.extent(0), y.extent(1), y.extent(2));
  cross_attention(ctx, w, in, out);
  add(ctx, tokens(View<const float, 3>(out)), tokens(residual), tokens(y));
  return true;
}
}  // namespace detail

/// softmax(q k^T * scale) v per batch and head: q, out [b, nq, heads*d], k, v [b or 1, nk, heads*d]. The unfused middle of cross_attention.
inline void mix(Context<Reference>& ctx, Index heads, const View<const float, 3>& q, const View<const float, 3>& k, const View<const float, 3>& v, const View<float, 3>& out) {
  const Index nk = k.extent(1), d = q.extent(2) / heads;
  auto scope = ctx.arena.scope();
  auto scores = scope.make<float>(nk);
  if (!ctx.begin(detail::mix_cost(q.extent(0), q.extent(1), nk, q.extent(2)))) return;
  const float root = std::sqrt(float(d));
  for (Index b = 0; b < q.extent(0); ++b)
    for (Index h = 0; h < heads; ++h)
      for (Index i = 0; i < q.extent(1); ++i) {
        const Index kb = k.extent(0) == 1 ? 0 : b;
        float top = -std::numeric_limits<float>::max(), total = 0;
        for (Index j = 0; j < nk; ++j) {
          float dot = 0;
          for (Index e = h * d; e < (h + 1) * d; ++e) dot += q(b, i, e) * k(kb, j, e);
          scores(j) = dot / root;
          top = std::max(top, scores(j));
        }
        for (Index j = 0; j < nk; ++j) total += scores(j) = std::exp(scores(j) - top);
        for (Index e = h * d; e < (h + 1) * d; ++e) {
          float sum = 0;
          for (Index j = 0; j < nk; ++j) sum += scores(j) / total * v(kb, j, e);
          out(b, i, e) = sum;
        }
      }
}

namespace detail {
/// The composition every backend may start from; k and v are projected once where the batch shares them, or not at all with `use_ready`.
template <class B>
void cross_attention_composed(Context<B>& ctx, const PackedCrossAttention<B>& w, const CrossAttentionInput& in, const View<float, 3>& y, const View<const float, 3>& residual, bool use_ready = false) {
  if (!check_cross_attention(ctx, w, in, y, residual) || cross_attention_unfused(ctx, w, in, y, residual)) return;
  const Index inner = w.q_proj.out_features(), nq = in.q.extent(1), nk = in.k.extent(1), b = in.q.extent(0), kb = in.k.extent(0);
  auto scope = ctx.arena.scope();
  const bool ready = use_ready && !in.k_ready.empty(), q_ready = use_ready && !in.q_ready.empty() && in.q_ready.extent(0) == b;
  auto own_q = scope.template make<float>(q_ready ? 0 : b, nq, inner);
  auto mixed = scope.template make<float>(b, nq, inner);
  auto own_k = scope.template make<float>(ready ? 0 : kb, nk, inner);
  auto own_v = scope.template make<float>(ready ? 0 : kb, nk, inner);
  {
    auto inputs = ctx.arena.scope();
    if (!q_ready) linear(ctx, w.q_proj, batch_rows(with_pe(ctx, inputs, in.q, in.q_pe)), batch_rows(own_q));
    if (!ready) linear(ctx, w.k_proj, batch_rows(with_pe(ctx, inputs, in.k, in.k_pe)), batch_rows(own_k));
  }
  if (!ready) linear(ctx, w.v_proj, batch_rows(in.v), batch_rows(own_v));
  const View<const float, 3> q = q_ready ? in.q_ready : own_q, k = ready ? in.k_ready : own_k, v = ready ? in.v_ready : own_v;
  mix(ctx, w.heads, q, k, v, mixed);
  linear(ctx, w.out_proj, batch_rows(View<const float, 3>(mixed)), batch_rows(y), {.residual = residual.empty() ? View<const float, 2>() : batch_rows(residual)});
  if (residual.empty()) ctx.tap_rows(w.name, batch_rows(View<const float, 3>(y)));
}
}  // namespace detail

/// Fails the context if extents disagree. y may be the residual or q; y must not be k or v.
inline void cross_attention(Context<Reference>& ctx, const PackedCrossAttention<Reference>& w, const CrossAttentionInput& in, const View<float, 3>& y, const View<const float, 3>& residual = {}) {
  detail::cross_attention_composed(ctx, w, in, y, residual);
}

namespace detail {
template <class B>
void cross_attention_norm_composed(Context<B>& ctx, const PackedCrossAttention<B>& w, const CrossAttentionInput& in, const View<float, 3>& y, const PackedNorm<B>& norm) {
  if (!check_cross_attention(ctx, w, in, y, {}, true)) return;
  CrossAttentionInput each = in;
  if (in.q.extent(0) != y.extent(0)) {
    copy(ctx, tokens(in.q), tokens(y));
    each.q = y;
    each.q_ready = {};
  }
  cross_attention(ctx, w, each, y, each.q);
  layer_norm(ctx, norm, tokens(View<const float, 3>(y)), tokens(y));
}
}  // namespace detail

/// y = norm(q + cross_attention(...)): the image side of a two-way block, whose queries are the pixels. q, its encoding and q_ready may have batch 1 where y has
/// that of k. y may be q. An op of its own, so that a backend may finish a block of pixels at once; this composition serves every other.
template <class B>
void cross_attention_norm(Context<B>& ctx, const PackedCrossAttention<B>& w, const CrossAttentionInput& in, const View<float, 3>& y, const PackedNorm<B>& norm) {
  detail::cross_attention_norm_composed(ctx, w, in, y, norm);
}

}  // namespace sampan::inline SAMPAN_ABI
