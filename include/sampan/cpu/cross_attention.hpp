// cross_attention and its middle, `mix`, on Cpu. Data flow: ops/cross_attention.hpp declares -> here -> attend_tile.hpp and gemm.hpp.
// The decoder's shapes are lopsided (7 tokens against 4096 pixels, and back), so an item is one head of one prompt with a block of queries;
// it packs the keys that it needs, block by block, which is cheap beside few queries and free beside few keys.
#pragma once
#include <sampan/cpu/attend_tile.hpp>
#include <sampan/cpu/gemm.hpp>
#include <sampan/ops/cross_attention.hpp>

namespace sampan::inline SAMPAN_ABI {

template <>
struct PackedCrossAttention<Cpu> {
  PackedLinear<Cpu> q_proj, k_proj, v_proj, out_proj;
  Index heads = 0;
  std::string name;
  bool valid() const { return q_proj.valid() && k_proj.valid() && v_proj.valid() && out_proj.valid(); }
};

inline PackedCrossAttention<Cpu> pack(const Cpu& b, const CrossAttentionParams& p) {
  return {pack(b, p.q_proj), pack(b, p.k_proj), pack(b, p.v_proj), pack(b, p.out_proj), p.heads, p.name};
}

/// softmax(q k^T / sqrt d) v per batch and head; shapes as ops/cross_attention.hpp says.
inline void mix(Context<Cpu>& ctx, Index heads, const View<const float, 3>& q, const View<const float, 3>& k, const View<const float, 3>& v, const View<float, 3>& out) {
  if (!ctx.require(cpu::packed_channels(q) && cpu::packed_channels(k) && cpu::packed_channels(v) && cpu::packed_channels(out), "cross_attention: channels must lie side by side")) return;
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

/// As ops/cross_attention.hpp says.
inline void cross_attention(Context<Cpu>& ctx, const PackedCrossAttention<Cpu>& w, const CrossAttentionInput& in, const View<float, 3>& y, const View<const float, 3>& residual = {}) {
  detail::cross_attention_composed(ctx, w, in, y, residual);
}

}  // namespace sampan::inline SAMPAN_ABI
