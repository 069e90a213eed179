// linear and mlp on Cpu: rows are cut into blocks; per block the rows are packed once (LayerNorm on the way) and multiplied with packed weights. Few blocks (512 tokens of a
// volume, 256 of a small image) are packed together first, and their columns are cut as well.
// Data flow: ops/linear.hpp, ops/mlp.hpp declare -> here -> the level's pack_rows and gemm (cpu/kernels.hpp). conv.hpp and attention.hpp use the same blocks.
// Borders depend on the shape only, and every item writes its own part of y: results are bit-identical for any number of threads.
// Memory: per thread kRowBlock * k floats and a tile; mlp keeps the hidden rows of a block instead of the whole hidden layer (50 MB in SAM-B).
#pragma once
#include <sampan/cpu/norm.hpp>
#include <sampan/cpu/pack.hpp>
#include <sampan/ops/mlp.hpp>

namespace sampan::inline SAMPAN_ABI {

template <>
struct PackedLinear<Cpu> {
  cpu::PackedMatrix weight;
  Tensor<float, 1, Cpu> bias;
  PackedNorm<Cpu> norm;
  std::string name;
  Index in_features() const { return weight.k; }
  Index out_features() const { return weight.n; }
  bool valid() const { return weight.valid() && (!norm.present() || norm.valid()); }
  const float* bias_at(Index column) const { return bias.empty() ? nullptr : bias.view().data() + column; }
};

inline PackedLinear<Cpu> pack(const Cpu& b, const LinearParams& p, const NormParams& norm = {}) {
  PackedLinear<Cpu> w{cpu::pack_matrix(b, p.weight, b.precision), Tensor<float, 1, Cpu>::copy_of(p.bias), {}, p.name};
  if (norm.present()) w.norm = pack(b, norm);
  return w;
}

namespace cpu {

/// Work items of a product: blocks of rows, and blocks of columns where the rows alone are too few for several threads.
struct GemmCut {
  Index rows, columns, row_blocks, column_blocks;
  Index items() const { return row_blocks * column_blocks; }
};
inline GemmCut cut_gemm(Index m, Index n) {
  const Index row_blocks = blocks_of(m, kRowBlock);
  const Index columns = row_blocks >= 8 ? n : smaller(n, kColumnBlock);
  return {smaller(m, kRowBlock), columns, row_blocks, columns > 0 ? blocks_of(n, columns) : 0};
}

/// Packs the rows of a block, with the norm of `w` if it has one.
inline void pack_block(const Products& level, const PackedLinear<Cpu>& w, const float* x, Index ldx, Index m, float* out) {
  PackRows rows = w.weight.rows(x, ldx, m, out);
  if (w.norm.present()) rows.gamma = w.norm.weight.view().data(), rows.beta = w.norm.bias.view().data(), rows.eps = w.norm.eps;
  level.pack_rows(rows);
}

/// The product of checked arguments. With `keys`, these columns go there and y holds the others.
inline void multiply(Context<Cpu>& ctx, const PackedLinear<Cpu>& w, const View<const float, 2>& x, const View<float, 2>& y, const Epilogue& e, const KeyColumns* keys = nullptr) {
  const Products level = products(ctx.backend.kernels(), w.weight.precision);
  const Index m = x.extent(0), n = w.out_features(), k = w.in_features();
  const GemmCut cut = cut_gemm(m, n);
  const Index packed = level.rows_size(cut.rows, k), place = (packed + 15) / 16 * 16;
  const bool shared = cut.row_blocks > 1 && cut.column_blocks > 1;  // all rows are packed first, once for all column blocks
  auto scope = ctx.arena.scope();
  float* all_rows = shared ? scope.make<float>(cut.row_blocks * place).data() : nullptr;
  const Slots slots(scope, ctx.pool, (shared ? 0 : packed) + level.gemm_scratch(cut.rows));
  Cost cost = detail::gemm_cost(m, n, k);
  if (w.norm.present()) cost.flop += 8.0 * double(x.size());
  if (!ctx.begin(cost)) return;
  const auto pack_rows = [&](Index block, float* out) { pack_block(level, w, x.data() + block * cut.rows * x.stride(0), x.stride(0), smaller(cut.rows, m - block * cut.rows), out); };
  if (shared) ctx.pool.parallel_for(cut.row_blocks, [&](Index block, int) { pack_rows(block, all_rows + block * place); });
  ctx.pool.parallel_for(cut.items(), [&](Index item, int slot) {
    // Row blocks follow one another: the weights of a column block are read from memory once for all of them.
    const Index block = item % cut.row_blocks, i = block * cut.rows, j = item / cut.row_blocks * cut.columns;
    const Index rows = smaller(cut.rows, m - i), columns = smaller(cut.columns, n - j);
    float* scratch = shared ? all_rows + block * place : slots[slot];
    if (!shared) pack_rows(block, scratch);
    Gemm g{scratch, w.weight.get(), rows, n, k, j, columns, y.data() + i * y.stride(0) + (keys ? 0 : j), y.stride(0), shared ? slots[slot] : scratch + packed};
    g.bias = w.bias_at(j);
    g.activation = kernel_activation(e.activation);
    if (!e.residual.empty()) g.residual = e.residual.data() + i * e.residual.stride(0) + j, g.ldr = e.residual.stride(0);
    g.keys = keys, g.first_key = i;
    level.gemm(g);
  });
}

}  // namespace cpu

/// As ops/linear.hpp says. Rows of x, y and residual may be strided; their channels must lie side by side.
inline void linear(Context<Cpu>& ctx, const PackedLinear<Cpu>& w, const View<const float, 2>& x, const View<float, 2>& y, const Epilogue& e = {}) {
  if (!detail::check_linear(ctx, w, x, y, e)) return;
  if (!ctx.require(cpu::packed_channels(x) && cpu::packed_channels(y) && cpu::packed_channels(e.residual), "linear: channels must lie side by side")) return;
  if (detail::linear_unfused(ctx, w, x, y, e)) return;
  cpu::tap_norm(ctx, w.norm, x);
  cpu::multiply(ctx, w, x, y, e);
}

inline PackedMlp<Cpu> pack(const Cpu& b, const MlpParams& p) { return {pack(b, p.lin1, p.norm), pack(b, p.lin2), p.activation, p.name, p.name + ".act"}; }

namespace cpu {

inline bool mlp_traced(const Context<Cpu>& ctx, const PackedMlp<Cpu>& w) { return ctx.traced(w.name) || ctx.traced(w.act_name) || ctx.traced(w.lin1.name) || ctx.traced(w.lin2.name) || ctx.traced(w.lin1.norm.name); }

/// mlp of at most kRowBlock rows: their hidden layer stays in the thread's scratch.
struct MlpRows {
  const PackedMlp<Cpu>& w;
  Products first, second;
  Index c, hidden, out, packed, tile;

  MlpRows(const Kernels& level, const PackedMlp<Cpu>& weights, Index rows = kRowBlock)
      : w(weights), first(products(level, w.lin1.weight.precision)), second(products(level, w.lin2.weight.precision)), c(w.lin1.in_features()), hidden(w.lin1.out_features()), out(w.lin2.out_features()) {
    const Index packed1 = first.rows_size(rows, c), packed2 = second.rows_size(rows, hidden), tile1 = first.gemm_scratch(rows), tile2 = second.gemm_scratch(rows);
    packed = packed1 > packed2 ? packed1 : packed2, tile = tile1 > tile2 ? tile1 : tile2;
    middle_ = rows * hidden;
  }
  Index scratch() const { return packed + middle_ + tile; }
  double weight_bytes() const { return 4.0 * double(hidden) * double(c + out); }
  Cost cost(Index m) const {
    const double norm = w.lin1.norm.present() ? 8.0 * double(m) * double(c) : 0;
    return {detail::gemm_cost(m, hidden, c).flop + detail::gemm_cost(m, out, hidden).flop + norm, 4.0 * double(m) * double(c + out) + weight_bytes()};
  }

  /// y = residual + mlp(x) of m rows at distances ldx, ldy, ldr; residual may be null, y or x.
  void run(const float* x, Index ldx, Index m, float* y, Index ldy, const float* residual, Index ldr, float* rows) const {
    float* h = rows + packed;
    float* sums = h + middle_;
    pack_block(first, w.lin1, x, ldx, m, rows);
    Gemm g{rows, w.lin1.weight.get(), m, hidden, c, 0, hidden, h, hidden, sums};
    g.bias = w.lin1.bias_at(0);
    g.activation = hidden_activation(w.activation, w.lin2.weight.precision);
    first.gemm(g);
    pack_block(second, w.lin2, h, hidden, m, rows);
    Gemm g2{rows, w.lin2.weight.get(), m, out, hidden, 0, out, y, ldy, sums};
    g2.bias = w.lin2.bias_at(0);
    g2.residual = residual, g2.ldr = ldr;
    second.gemm(g2);
  }

 private:
  Index middle_;
};

}  // namespace cpu

/// As ops/mlp.hpp says; y may be the residual, and x may be both (a block of rows is read before it is written).
inline void mlp(Context<Cpu>& ctx, const PackedMlp<Cpu>& w, const View<const float, 2>& x, const View<float, 2>& y, const View<const float, 2>& residual = {}) {
  const Index m = x.extent(0);
  const cpu::GemmCut cut = cpu::cut_gemm(m, w.lin2.out_features());
  if (cpu::mlp_traced(ctx, w) || cut.column_blocks != 1) {  // few rows: the columns of each product are cut as well
    detail::mlp_composed(ctx, w, x, y, residual);
    return;
  }
  if (!ctx.require(x.extent(1) == w.lin1.in_features() && w.lin2.in_features() == w.lin1.out_features() && y.extent(0) == m && y.extent(1) == w.lin2.out_features(), "mlp: x, y and the weights disagree in shape") ||
      !ctx.require(residual.empty() || same_extents(residual, y), "mlp: residual and y differ in shape") ||
      !ctx.require(cpu::packed_channels(x) && cpu::packed_channels(y) && cpu::packed_channels(residual), "mlp: channels must lie side by side"))
    return;
  const cpu::MlpRows job(ctx.backend.kernels(), w, cut.rows);
  auto scope = ctx.arena.scope();
  const cpu::Slots slots(scope, ctx.pool, job.scratch());
  if (!ctx.begin(job.cost(m))) return;
  ctx.pool.parallel_for(cut.row_blocks, [&](Index item, int slot) {
    const Index i = item * cut.rows;
    job.run(x.data() + i * x.stride(0), x.stride(0), cpu::smaller(cut.rows, m - i), y.data() + i * y.stride(0), y.stride(0), residual.empty() ? nullptr : residual.data() + i * residual.stride(0), residual.stride(0), slots[slot]);
  });
}

}  // namespace sampan::inline SAMPAN_ABI
