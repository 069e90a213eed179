// cross_attention on Cpu, and its middle, `mix`. Data flow: ops/cross_attention.hpp declares -> here -> absorbed_attention.hpp, or attend_tile.hpp and gemm.hpp.
// The decoder's shapes are lopsided (7 tokens against 4096 pixels, and back): where the FLOP say so, the pixels' projections are absorbed into the tokens' side;
// otherwise the op is composed. An item of `mix` is one head of one prompt with a block of queries; it packs the keys that it needs, block by block, which is
// cheap beside few queries and free beside few keys.
#pragma once
#include <sampan/cpu/absorbed_attention.hpp>
#include <sampan/cpu/attend_tile.hpp>

namespace sampan::inline SAMPAN_ABI {

/// softmax(q k^T / sqrt d) v per batch and head; shapes as ops/cross_attention.hpp says.
inline void mix(Context<Cpu>& ctx, Index heads, const View<const float, 3>& q, const View<const float, 3>& k, const View<const float, 3>& v, const View<float, 3>& out) {
  if (!ctx.require(cpu::packed_channels(q) && cpu::packed_channels(k) && cpu::packed_channels(v) && cpu::packed_channels(out), "cross_attention: channels must lie side by side")) return;
  if (q.extent(0) > 1 && k.extent(0) == 1 && detail::rows_follow(q) && detail::rows_follow(out)) {  // one set of keys, packed once for the queries of all
    const Index all = q.extent(0) * q.extent(1);
    return mix(ctx, heads, View<const float, 3>(q.data(), {1, all, q.extent(2)}, {all * q.stride(1), q.stride(1), 1}), k, v, View<float, 3>(out.data(), {1, all, q.extent(2)}, {all * out.stride(1), out.stride(1), 1}));
  }
  const cpu::Kernels& level = ctx.backend.kernels();
  const Index b = q.extent(0), nq = q.extent(1), nk = k.extent(1), d = q.extent(2) / heads;
  const Index rows = cpu::query_rows(nq), query_blocks = cpu::blocks_of(nq, rows), packed = level.rows_size(rows, d);
  const Index k_size = cpu::KeyPanels::k_size(level, nk, d), v_size = cpu::KeyPanels::v_size(level, nk, d);
  cpu::Carver sizes;
  cpu::TileScratch(sizes, level, rows, d);
  auto scope = ctx.arena.scope();
  const cpu::Slots slots(scope, ctx.pool, sizes.used() + (packed + 15) / 16 * 16 + k_size + v_size);
  if (!ctx.begin(detail::mix_cost(b, nq, nk, q.extent(2)))) return;
  const float scale = 1.0f / std::sqrt(float(d));
  ctx.pool.parallel_for(b * heads * query_blocks, [&](Index item, int slot) {
    const Index first = item % query_blocks * rows, head = item / query_blocks % heads, batch = item / query_blocks / heads;
    const Index m = cpu::smaller(rows, nq - first), kb = k.extent(0) == 1 ? 0 : batch;
    cpu::Carver carve(slots[slot]);
    const cpu::TileScratch tile(carve, level, rows, d);
    float* queries = carve.take(packed);
    float* k_panels = carve.take(k_size);
    const cpu::KeyPanels keys{k_panels, carve.take(v_size)};
    for (Index at = 0, block = 0; at < nk; at += cpu::kKeyBlock, ++block) {
      const Index count = cpu::smaller(cpu::kKeyBlock, nk - at);
      level.pack_weights(k.data() + kb * k.stride(0) + at * k.stride(1) + head * d, k.stride(1), false, count, d, keys.k + block * cpu::KeyPanels::k_step(level, d));
      level.pack_weights(v.data() + kb * v.stride(0) + at * v.stride(1) + head * d, v.stride(1), true, d, count, keys.v + block * cpu::KeyPanels::v_step(level, d));
    }
    for (Index i = 0; i < m; ++i) level.scale(q.data() + batch * q.stride(0) + (first + i) * q.stride(1) + head * d, scale, tile.rows + i * d, d);
    level.pack_rows({tile.rows, d, m, d, queries});
    auto none = [](float*, Index, Index, Index) {};
    cpu::attend_tile(level, tile, queries, m, d, keys, nk, false, none, 0, none);
    for (Index i = 0; i < m; ++i) level.scale(tile.out + i * d, 1.0f / tile.sum[i], out.data() + batch * out.stride(0) + (first + i) * out.stride(1) + head * d, d);
  });
}

namespace cpu {
inline bool traced_inside(const Context<Cpu>& ctx, const PackedCrossAttention<Cpu>& w) {
  return ctx.traced(w.q_proj.name) || ctx.traced(w.k_proj.name) || ctx.traced(w.v_proj.name) || ctx.traced(w.out_proj.name);
}
/// What the absorbed forms rely on beyond detail::check_cross_attention; the composition's linear layers check it themselves.
inline bool check_widths(Context<Cpu>& ctx, const PackedCrossAttention<Cpu>& w, const CrossAttentionInput& in, const View<float, 3>& y) {
  return ctx.require(in.q.extent(2) == w.q_proj.in_features() && in.k.extent(2) == w.k_proj.in_features() && in.v.extent(2) == w.v_proj.in_features() && y.extent(2) == w.out_proj.out_features(),
                     "cross_attention: q, k, v or y has another width than the weights");
}
inline bool packed_channels(const CrossAttentionInput& in) {
  return packed_channels(in.q) && packed_channels(in.q_pe) && packed_channels(in.k) && packed_channels(in.k_pe) && packed_channels(in.v) && packed_channels(in.q_ready) && packed_channels(in.k_ready) && packed_channels(in.v_ready);
}
}  // namespace cpu

/// As ops/cross_attention.hpp says; channels must lie side by side.
inline void cross_attention(Context<Cpu>& ctx, const PackedCrossAttention<Cpu>& w, const CrossAttentionInput& in, const View<float, 3>& y, const View<const float, 3>& residual = {}) {
  if (!detail::check_cross_attention(ctx, w, in, y, residual) || detail::cross_attention_unfused(ctx, w, in, y, residual)) return;
  if (!ctx.require(cpu::packed_channels(in) && cpu::packed_channels(y) && cpu::packed_channels(residual), "cross_attention: channels must lie side by side")) return;
  const cpu::AttentionForm form = cpu::traced_inside(ctx, w) ? cpu::AttentionForm::composed : cpu::cheapest_form(w, in, in.q.extent(0));
  if (form == cpu::AttentionForm::composed) return detail::cross_attention_composed(ctx, w, in, y, residual, true);
  if (!cpu::check_widths(ctx, w, in, y)) return;
  if (form == cpu::AttentionForm::absorb_keys) cpu::absorb_keys(ctx, w, in, y, residual);
  if (form == cpu::AttentionForm::absorb_queries) cpu::absorb_queries(ctx, w, in, y, residual);
  if (residual.empty()) ctx.tap_rows(w.name, tokens(View<const float, 3>(y)));
}

/// As ops/cross_attention.hpp says: the image side in one pass over its pixels.
inline void cross_attention_norm(Context<Cpu>& ctx, const PackedCrossAttention<Cpu>& w, const CrossAttentionInput& in, const View<float, 3>& y, const PackedNorm<Cpu>& norm) {
  const bool inside = ctx.traced(w.name) || ctx.traced(norm.name) || cpu::traced_inside(ctx, w);
  if (inside || cpu::cheapest_form(w, in, y.extent(0)) != cpu::AttentionForm::absorb_queries) return detail::cross_attention_norm_composed(ctx, w, in, y, norm);
  if (!detail::check_cross_attention(ctx, w, in, y, {}, true) || !ctx.require(norm.weight.extent(0) == y.extent(2), "cross_attention_norm: the norm has another width than y")) return;
  if (!cpu::check_widths(ctx, w, in, y) || !ctx.require(cpu::packed_channels(in) && cpu::packed_channels(y), "cross_attention: channels must lie side by side")) return;
  cpu::absorb_queries(ctx, w, in, y, in.q, &norm);
}

}  // namespace sampan::inline SAMPAN_ABI
