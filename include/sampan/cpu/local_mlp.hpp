// local_mlp on Cpu: the depthwise rows of a block of tokens go straight into its mlp and are its residual; the local map is never written.
// Data flow: ops/local_mlp.hpp declares -> here -> the level's depthwise, cpu/gemm.hpp.
// Why: a map of 128 x 128 x 128 is 8.4 MB. Apart, the two ops read two maps and write two, each written one fetched first; so they read one and write one.
// Work items: blocks of rows that make up about three lines. Their depthwise rows read two lines more, mostly from L2. Arithmetic and order are those of the two ops: the same bits.
#pragma once
#include <sampan/cpu/depthwise.hpp>
#include <sampan/ops/local_mlp.hpp>

namespace sampan::inline SAMPAN_ABI {
namespace cpu {

inline constexpr Index kLocalLines = 3;

/// Pixels [first, first + m) of the depthwise convolution of x, line after line of a map of `width` columns, to rows of c floats.
inline void depthwise_pixels(const Kernels& level, const PackedDepthwise<Cpu>& w, const View<const float, 3>& x, Index width, Index first, Index m, float* to) {
  for (Index done = 0, run = 0; done < m; done += run) {
    const Index oy = (first + done) / width, ox = (first + done) % width, top = oy * w.stride - w.pad, next = top + w.stride + w.kh - 1;
    run = smaller(width - ox, m - done);
    const float* rows[kMostTaps];
    for (Index ky = 0; ky < w.kh; ++ky) rows[ky] = top + ky >= 0 && top + ky < x.extent(0) ? x.data() + (top + ky) * x.stride(0) : nullptr;
    DepthwiseRow r = depthwise_row(w, x.stride(1), 0, x.extent(1), Activation::none);
    r.rows = rows, r.x0 = ox * w.stride - w.pad, r.count = run;
    r.y = to + done * w.c, r.y_stride = w.c;
    if (next >= 0 && next < x.extent(0)) r.next_x = x.data() + next * x.stride(0), r.next_y = r.y;
    level.depthwise(r);
  }
}

}  // namespace cpu

/// As ops/local_mlp.hpp says; channels must lie side by side.
inline void local_mlp(Context<Cpu>& ctx, const PackedDepthwise<Cpu>& local, const PackedMlp<Cpu>& w, const View<const float, 3>& x, const View<float, 3>& y) {
  const Index n = y.extent(0) * y.extent(1), c = y.extent(2);
  const bool inside = cpu::mlp_traced(ctx, w) || cpu::conv_traced(ctx, local);
  if (inside || cpu::cut_gemm(n, w.lin2.out_features()).column_blocks != 1) {
    detail::local_mlp_composed(ctx, local, w, x, y);
    return;
  }
  if (!detail::check_conv(ctx, local, x, y)) return;
  if (!ctx.require(w.lin1.in_features() == c && w.lin2.out_features() == c && w.lin2.in_features() == w.lin1.out_features(), "local_mlp: the widths of map and layers disagree") ||
      !ctx.require(cpu::packed_channels(x) && cpu::packed_channels(y) && cpu::packed_rows(y), "local_mlp: channels must lie side by side, and lines of y one after another"))
    return;
  const cpu::Kernels& level = ctx.backend.kernels();
  const cpu::MlpRows job(level, w);
  const Index blocks = cpu::blocks_of(cpu::kLocalLines * y.extent(1), cpu::kRowBlock), item_rows = blocks * cpu::kRowBlock;
  auto scope = ctx.arena.scope();
  const Index rows_at = (cpu::kRowBlock * c + 15) / 16 * 16;
  const cpu::Slots slots(scope, ctx.pool, rows_at + job.scratch());
  const Cost a = detail::conv_cost(local, x, y, 1), b = job.cost(n);
  if (!ctx.begin({a.flop + b.flop, 4.0 * (double(x.size()) + double(y.size())) + job.weight_bytes()})) return;
  ctx.pool.parallel_for(cpu::blocks_of(n, item_rows), [&](Index item, int slot) {
    float* rows = slots[slot];
    for (Index i = item * item_rows, end = cpu::smaller(i + item_rows, n); i < end; i += cpu::kRowBlock) {
      const Index m = cpu::smaller(cpu::kRowBlock, end - i);
      cpu::depthwise_pixels(level, local, x, y.extent(1), i, m, rows);
      job.run(rows, c, m, y.data() + i * y.stride(1), y.stride(1), rows, c, rows + rows_at);
    }
  });
}

}  // namespace sampan::inline SAMPAN_ABI
