// mbconv on Cpu, fused over tiles: expand (1x1), depthwise and project (1x1) of a tile of output pixels never leave the cache.
// Data flow: ops/mbconv.hpp declares -> here -> the level's gemm and depthwise.
// A tile is kTileColumns output columns by up to kTileRows output rows. It walks down its rows and keeps the last kh expanded lines in a ring, so only the tile's
// borders are expanded twice: 98 x 66 of 96 x 64 pixels, 5% of the first product. Working set at 256 hidden channels: ring 294 KiB, depthwise row 102 KiB, weights
// 128 KiB, which is L2. Columns count in whole register tiles (96 = 16 x 6). Traced insides take the composition of ops/mbconv.hpp.
#pragma once
#include <sampan/cpu/depthwise.hpp>
#include <sampan/ops/mbconv.hpp>

namespace sampan::inline SAMPAN_ABI {

inline PackedMbConv<Cpu> pack(const Cpu& b, const MbConvParams& p) {
  // In `fast`, merging blocks project in f32: their projections add more to the error of LiteMedSAM's embedding than their expansions and save less (cpu/README.md).
  const Cpu w = p.residual ? b : exact_backend(b);
  return {pack_conv(b, p.conv1), pack_conv(w, p.conv3), pack_depthwise(b, p.conv2), p.residual, p.last, p.name, p.inner};
}

namespace cpu {

inline constexpr Index kTileColumns = 96, kTileRows = 64, kFewestRows = 16;  // of output pixels

/// Rows of a tile: as many as leave eight tiles to share, within [kFewestRows, kTileRows].
inline Index tile_lines(Index lines, Index tiles_across) {
  Index n = kTileRows;
  while (n > kFewestRows && tiles_across * blocks_of(lines, n) < 8) n /= 2;
  return smaller(n, lines);
}

inline bool pointwise(const FoldedConv& w) { return w.kh == 1 && w.kw == 1 && w.stride == 1 && w.pad == 0; }

}  // namespace cpu

/// As ops/mbconv.hpp says; channels must lie side by side.
inline void mbconv(Context<Cpu>& ctx, const PackedMbConv<Cpu>& w, const View<const float, 3>& x, const View<float, 3>& y) {
  if (!ctx.require(!w.residual || same_extents(x, y), "mbconv: a residual needs equal shapes")) return;
  const bool inside = cpu::conv_traced(ctx, w.conv1) || cpu::conv_traced(ctx, w.conv2) || cpu::conv_traced(ctx, w.conv3);
  if (inside || !cpu::pointwise(w.conv1) || !cpu::pointwise(w.conv3)) {
    detail::mbconv_composed(ctx, w, x, y);
    return;
  }
  const PackedDepthwise<Cpu>& dw = w.conv2;
  const Index hidden = w.conv1.out, in = w.conv1.in, out = w.conv3.out;
  const View<const float, 3> wide(nullptr, {x.extent(0), x.extent(1), hidden});  // shapes only
  const View<float, 3> deep(nullptr, {y.extent(0), y.extent(1), hidden});
  if (!ctx.require(x.extent(2) == in && w.conv3.in == hidden && y.extent(2) == out, "mbconv: channels differ from the weights") || !detail::check_conv(ctx, dw, wide, deep)) return;
  if (!ctx.require(cpu::packed_channels(x) && cpu::packed_channels(y), "mbconv: channels must lie side by side")) return;

  const cpu::Kernels& level = ctx.backend.kernels();
  const int inner = cpu::hidden_activation(w.inner, w.conv3.weight.precision);
  const Index columns = cpu::smaller(cpu::kTileColumns, y.extent(1)), across = cpu::blocks_of(y.extent(1), columns);
  const Index lines = cpu::tile_lines(y.extent(0), across), down = cpu::blocks_of(y.extent(0), lines);
  const Index expanded = (columns - 1) * dw.stride + dw.kw;  // columns of a tile's expanded line
  const cpu::Products expand = cpu::products(level, w.conv1.weight.precision), project = cpu::products(level, w.conv3.weight.precision);
  const Index stride = level.row_stride(hidden), middle_row = stride ? stride : hidden;
  const bool direct = stride != 0 && w.conv3.weight.precision == Precision::f32;  // depthwise writes the rows of the second product as it wants them
  const Index line = expanded * hidden, pack_a = expand.rows_size(expanded, in), pack_b = direct ? 0 : project.rows_size(columns, hidden);
  const Index tile_a = expand.gemm_scratch(expanded), tile_b = project.gemm_scratch(columns);
  const Index packed = pack_a > pack_b ? pack_a : pack_b, tile = tile_a > tile_b ? tile_a : tile_b;
  cpu::Carver sizes;
  for (Index n : {dw.kh * line, columns * middle_row, packed, tile}) sizes.take(n);
  auto scope = ctx.arena.scope();
  const cpu::Slots slots(scope, ctx.pool, sizes.used());
  const double pixels = double(x.extent(0) * x.extent(1)), outputs = double(y.extent(0) * y.extent(1));
  const double flop = 2.0 * double(hidden) * (pixels * double(in) + outputs * double(dw.kh * dw.kw + out));
  if (!ctx.begin({flop, 4.0 * (double(x.size()) + double(y.size()) + double(hidden * (in + out)))})) return;

  ctx.pool.parallel_for(across * down, [&](Index item, int slot) {
    cpu::Carver carve(slots[slot]);
    float* ring = carve.take(dw.kh * line);
    float* middle = carve.take(columns * middle_row);
    float* rows = carve.take(packed);
    float* scratch = carve.take(tile);
    const Index ox = item % across * columns, oy0 = item / across * lines;
    const Index count = cpu::smaller(columns, y.extent(1) - ox), oy1 = cpu::smaller(oy0 + lines, y.extent(0));
    const Index x0 = ox * dw.stride - dw.pad, begin = x0 < 0 ? 0 : x0, end = cpu::smaller(x.extent(1), x0 + (count - 1) * dw.stride + dw.kw);
    auto slot_of = [&](Index iy) { return ring + iy % dw.kh * line; };  // column `begin` first
    Index next = oy0 * dw.stride - dw.pad;                              // first input line that is not expanded yet
    if (next < 0) next = 0;
    for (Index oy = oy0; oy < oy1; ++oy) {
      const Index top = oy * dw.stride - dw.pad, bottom = cpu::smaller(top + dw.kh, x.extent(0));
      if (next < top) next = top;  // a stride beyond the kernel skips lines
      for (; next < bottom && end > begin; ++next) {
        expand.pack_rows(w.conv1.weight.rows(x.data() + next * x.stride(0) + begin * x.stride(1), x.stride(1), end - begin, rows));
        cpu::Gemm g{rows, w.conv1.weight.get(), end - begin, hidden, in, 0, hidden, slot_of(next), hidden, scratch};
        g.bias = w.conv1.bias.view().data();
        g.activation = inner;
        expand.gemm(g);
      }
      const float* taps[cpu::kMostTaps];
      for (Index ky = 0; ky < dw.kh; ++ky) {
        const Index iy = top + ky;
        taps[ky] = iy >= 0 && iy < x.extent(0) ? slot_of(iy) : nullptr;
      }
      cpu::DepthwiseRow r = cpu::depthwise_row(dw, hidden, 0, end - begin, w.inner);
      r.activation = inner;
      r.rows = taps, r.x0 = x0 - begin, r.count = count;
      r.y = middle, r.y_stride = middle_row;
      level.depthwise(r);
      if (!direct) project.pack_rows(w.conv3.weight.rows(middle, middle_row, count, rows));
      cpu::Gemm g{direct ? middle : rows, w.conv3.weight.get(), count, out, hidden, 0, out, y.data() + oy * y.stride(0) + ox * y.stride(1), y.stride(1), scratch};
      g.bias = w.conv3.bias.view().data();
      g.activation = w.residual ? cpu::kPlain : cpu::kernel_activation(w.last);
      if (w.residual) g.residual = x.data() + oy * x.stride(0) + ox * x.stride(1), g.ldr = x.stride(1);
      project.gemm(g);
      if (w.residual && w.last != Activation::none) {
        const bool joined = g.ldy == out;
        for (Index i = 0; i < (joined ? 1 : count); ++i) level.activate(cpu::kernel_activation(w.last), g.y + i * g.ldy, g.y + i * g.ldy, joined ? count * out : out);
      }
    }
  });
}

}  // namespace sampan::inline SAMPAN_ABI
