// conv2d and conv_transpose2d on Cpu, as products of packed rows with packed weights; BatchNorm folded into weight and bias at pack.
// Data flow: ops/conv2d.hpp, ops/conv_transpose2d.hpp declare -> here -> the level's gemm. Patch embed, 1x1, 3x3, and the decoder's 2x2 upscaling.
// conv2d: 3x3 s1 p1 with many channels (necks): winograd.hpp. Small weights (TinyViT's stem, mask downscaling): the level's direct kernel on the map itself. Else, and where pixels do not lie side by
// side: a block of output pixels gathers its patches (kh runs of kw * in floats; channels-last makes each run contiguous) into rows that never leave the cache. conv_transpose2d: input pixels are rows, and for each dy the outputs (dx, o) of a pixel lie side by side in y already.
#pragma once
#include <sampan/cpu/gemm.hpp>
#include <sampan/cpu/winograd.hpp>
#include <sampan/ops/conv_transpose2d.hpp>

namespace sampan::inline SAMPAN_ABI {
namespace cpu {

inline constexpr Index kMostTaps = 16;  ///< rows of a kernel in the direct kernels; the networks have 3 there
inline constexpr Index kConvLines = 8;  ///< output lines of a work item of the direct kernel

/// What a folded convolution keeps, whatever its kind.
struct FoldedConv {
  PackedMatrix weight;
  Tensor<float, 1, Cpu> bias;
  Index in = 0, out = 0, kh = 0, kw = 0;
  int stride = 1, pad = 0;
  std::string name, bn_name;
  bool valid() const { return weight.valid() && bias.valid() && !bias.empty(); }
  Index in_channels() const { return in; }
  Index out_channels() const { return out; }
  Index kernel_h() const { return kh; }
  Index kernel_w() const { return kw; }
};

/// True for what the direct kernel takes (always f32): weights that stay in half an L2 of 512 KiB. Against gathered patches it always won; against the blocked product
/// of a 1x1 kernel, which copies no patches either, it wins on few inputs only (32: 1.4x) and loses up to 12% from 128 on.
inline bool small_weights(const FoldedConv& w) {
  const bool few = w.kh * w.kw > 1 || w.in < 64;
  return few && w.kh <= kMostTaps && w.out * w.kh * w.kw * w.in <= 65536;
}

/// True for the layers of winograd.hpp: with fewer channels the sums around its products cost what they save, or the direct kernel is as fast.
inline bool takes_winograd(const FoldedConv& w) { return w.kh == 3 && w.kw == 3 && w.stride == 1 && w.pad == 1 && w.in >= 32 && w.in * w.out >= 4096; }

/// Row blocks of a map: pixels as rows where they follow one another, else per line.
struct Pixels {
  Index per_line, lines, block;
  Index blocks() const { return blocks_of(per_line, block); }
  Index items() const { return lines * blocks(); }
};
inline Pixels cut_pixels(Index lines, Index per_line, bool joined) {
  if (joined) per_line *= lines, lines = 1;
  return {per_line, lines, smaller(per_line, kRowBlock)};
}

}  // namespace cpu

template <>
struct PackedConv<Cpu> : cpu::FoldedConv {
  cpu::WinogradWeights winograd;  ///< instead of `weight` where cpu::takes_winograd
  bool valid() const { return cpu::takes_winograd(*this) ? winograd.valid() && bias.valid() : FoldedConv::valid(); }
};

/// Precision of a convolution's product: `fast` where the backend says so (patch embed, neck), never bf16.
inline PackedConv<Cpu> pack_conv(const Cpu& b, const ConvParams& p) {
  const auto& k = p.weight;
  PackedConv<Cpu> w;
  w.in = k.extent(1), w.out = k.extent(0), w.kh = k.extent(2), w.kw = k.extent(3);
  w.stride = p.stride, w.pad = p.pad, w.name = p.name, w.bn_name = p.bn.name;
  const Precision precision = cpu::small_weights(w) || b.precision != Precision::fast ? Precision::f32 : Precision::fast;
  w.bias = Tensor<float, 1, Cpu>({w.out});
  if (!w.bias.valid()) return w;
  for (Index o = 0; o < w.out; ++o) w.bias.view()(o) = float(detail::fold_batch_norm(p, o).bias);
  if (cpu::takes_winograd(w)) {
    w.winograd = cpu::pack_winograd(b, p, precision);
    return w;
  }
  Tensor<float, 2, Cpu> rows({w.out, w.kh * w.kw * w.in});
  if (!rows.valid()) return w;
  for (Index o = 0; o < w.out; ++o) {
    const detail::BatchNormFold fold = detail::fold_batch_norm(p, o);
    for (Index y = 0; y < w.kh; ++y)
      for (Index x = 0; x < w.kw; ++x)
        for (Index c = 0; c < w.in; ++c) rows.view()(o, (y * w.kw + x) * w.in + c) = float(double(k(o, c, y, x)) * fold.factor);
  }
  w.weight = cpu::pack_matrix(b, rows.view(), precision);
  return w;
}

namespace cpu {

/// True if the output of the convolution, or of its BatchNorm, is wanted.
template <class W>
bool conv_traced(const Context<Cpu>& ctx, const W& w) {
  return ctx.traced(w.bn_name.empty() ? w.name : w.bn_name);
}

/// The patch of output pixel (oy, ox) as one row of kh * kw * in floats; zeros outside the map.
inline void gather_patch(const FoldedConv& w, const View<const float, 3>& x, Index oy, Index ox, float* row) {
  const Index c = w.in, x0 = ox * w.stride - w.pad;
  const Index left = x0 < 0 ? smaller(-x0, w.kw) : 0, right = x0 + w.kw > x.extent(1) ? smaller(x0 + w.kw - x.extent(1), w.kw) : 0;
  const bool joined = x.stride(1) == c;
  for (Index ky = 0; ky < w.kh; ++ky, row += w.kw * c) {
    const Index iy = oy * w.stride + ky - w.pad;
    if (iy < 0 || iy >= x.extent(0)) {
      std::memset(row, 0, std::size_t(w.kw * c) * sizeof(float));
      continue;
    }
    std::memset(row, 0, std::size_t(left * c) * sizeof(float));
    std::memset(row + (w.kw - right) * c, 0, std::size_t(right * c) * sizeof(float));
    const float* from = x.data() + iy * x.stride(0) + (x0 + left) * x.stride(1);
    const Index n = w.kw - left - right;
    if (joined && n > 0) {
      std::memcpy(row + left * c, from, std::size_t(n * c) * sizeof(float));
    } else {
      for (Index i = 0; i < n; ++i) std::memcpy(row + (left + i) * c, from + i * x.stride(1), std::size_t(c) * sizeof(float));
    }
  }
}

/// The direct kernel reads a map whose pixels lie side by side.
inline bool direct(const Kernels& level, const FoldedConv& w, const View<const float, 3>& x) { return level.direct_conv && small_weights(w) && (x.stride(1) == w.in || x.extent(1) <= 1); }

/// Output columns [begin, end) whose taps all lie inside a line of `extent` pixels.
struct Inside {
  Index begin, end;
};
inline Inside inside(const FoldedConv& w, Index extent, Index outputs) {
  const Index begin = smaller((w.pad + w.stride - 1) / w.stride, outputs);
  const Index last = extent + w.pad - w.kw;  // the tap at the left of the last such output lies at last - pad
  const Index end = last < 0 ? begin : smaller(last / w.stride + 1, outputs);
  return {begin, end < begin ? begin : end};
}

/// Output lines [first, last): the inner pixels from the map as it is, those at the left and right border from gathered patches in `patch`.
inline void direct_lines(const Kernels& level, const FoldedConv& w, const View<const float, 3>& x, const View<float, 3>& y, Index first, Index last, int activation, float* patch) {
  const Inside in = inside(w, x.extent(1), y.extent(1));
  const float* rows[kMostTaps];
  DirectConv d{rows, w.kh, w.kw * w.in, w.stride * w.in, w.weight.get(), w.out, 0, w.bias.view().data(), nullptr, y.stride(1), activation};
  for (Index oy = first; oy < last; ++oy) {
    float* line = y.data() + oy * y.stride(0);
    for (Index ky = 0; ky < w.kh; ++ky) {
      const Index iy = oy * w.stride + ky - w.pad;
      rows[ky] = iy >= 0 && iy < x.extent(0) ? x.data() + iy * x.stride(0) + (in.begin * w.stride - w.pad) * w.in : nullptr;
    }
    d.y = line + in.begin * d.y_stride, d.count = in.end - in.begin;
    if (d.count > 0) level.direct_conv(d);
    for (Index ky = 0; ky < w.kh; ++ky) rows[ky] = patch + ky * d.run;
    d.count = 1;
    for (Index i = 0; i < y.extent(1) - in.end + in.begin; ++i) {
      const Index ox = i < in.begin ? i : in.end + i - in.begin;
      gather_patch(w, x, oy, ox, patch);
      d.y = line + ox * d.y_stride;
      level.direct_conv(d);
    }
  }
}

}  // namespace cpu

/// As ops/conv2d.hpp says; channels must lie side by side.
inline void conv2d(Context<Cpu>& ctx, const PackedConv<Cpu>& w, const View<const float, 3>& x, const View<float, 3>& y, Activation a = Activation::none) {
  if (!detail::check_conv(ctx, w, x, y)) return;
  if (!ctx.require(cpu::packed_channels(x) && cpu::packed_channels(y), "conv: channels must lie side by side")) return;
  if (detail::conv_unfused(ctx, w, y, a, [&](Activation n) { conv2d(ctx, w, x, y, n); })) return;
  const cpu::Kernels& level = ctx.backend.kernels();
  if (w.winograd.present()) {
    const cpu::WinogradJob job(level, w.winograd, w.bias.view().data(), x, y, cpu::kernel_activation(a));
    auto scope = ctx.arena.scope();
    const cpu::Slots slots(scope, ctx.pool, job.scratch());
    if (!ctx.begin(detail::conv_cost(w, x, y, w.in))) return;
    ctx.pool.parallel_for(job.items(), [&](Index item, int slot) { job.run(item, slots[slot]); });
    return;
  }
  if (cpu::direct(level, w, x)) {
    auto scope = ctx.arena.scope();
    const cpu::Slots slots(scope, ctx.pool, w.weight.k);
    if (!ctx.begin(detail::conv_cost(w, x, y, w.in))) return;
    ctx.pool.parallel_for(cpu::blocks_of(y.extent(0), cpu::kConvLines), [&](Index band, int slot) {
      const Index first = band * cpu::kConvLines;
      cpu::direct_lines(level, w, x, y, first, cpu::smaller(first + cpu::kConvLines, y.extent(0)), cpu::kernel_activation(a), slots[slot]);
    });
    return;
  }
  const bool direct = w.kh == 1 && w.kw == 1 && w.stride == 1 && w.pad == 0, joined = cpu::packed_rows(y) && (!direct || cpu::packed_rows(x));
  const cpu::Pixels cut = cpu::cut_pixels(y.extent(0), y.extent(1), joined);
  const cpu::Products product = cpu::products(level, w.weight.precision);
  const Index k = w.weight.k, packed = product.rows_size(cut.block, k), patches = direct ? 0 : cut.block * k;
  const cpu::GemmCut columns = cpu::cut_gemm(cut.lines == 1 ? cut.per_line : y.extent(0) * cpu::kRowBlock, w.out);
  auto scope = ctx.arena.scope();
  const cpu::Slots slots(scope, ctx.pool, packed + (patches + 15) / 16 * 16 + product.gemm_scratch(cut.block));
  if (!ctx.begin(detail::conv_cost(w, x, y, w.in))) return;
  ctx.pool.parallel_for(cut.items() * columns.column_blocks, [&](Index item, int slot) {
    const Index j = item % columns.column_blocks * columns.columns, count = cpu::smaller(columns.columns, w.out - j);
    const Index pixels = item / columns.column_blocks, line = pixels / cut.blocks(), first = pixels % cut.blocks() * cut.block;
    const Index m = cpu::smaller(cut.block, cut.per_line - first);
    cpu::Carver carve(slots[slot]);
    float* rows = carve.take(packed);
    float* patch = carve.take(patches);
    if (direct) {
      product.pack_rows(w.weight.rows(x.data() + line * x.stride(0) + first * x.stride(1), x.stride(1), m, rows));
    } else {
      for (Index i = 0; i < m; ++i) {
        const Index at = first + i;
        cpu::gather_patch(w, x, joined ? at / y.extent(1) : line, joined ? at % y.extent(1) : at, patch + i * k);
      }
      product.pack_rows(w.weight.rows(patch, k, m, rows));
    }
    cpu::Gemm g{rows, w.weight.get(), m, w.out, k, j, count, y.data() + line * y.stride(0) + first * y.stride(1) + j, y.stride(1), carve.take(0)};
    g.bias = w.bias.view().data() + j;
    g.activation = cpu::kernel_activation(a);
    product.gemm(g);
  });
}

template <>
struct PackedConvTranspose<Cpu> : cpu::FoldedConv {
  std::vector<cpu::PackedMatrix> lines;  // per dy: [s * out, in]; none with a 4x4 kernel
  PackedConv<Cpu> phases;                // 4x4 s2 p1 as a 2x2 convolution with four outputs per channel, one for each parity of (oy, ox)
  bool valid() const {
    for (const auto& m : lines)
      if (!m.valid()) return false;
    return phases.in ? phases.valid() : bias.valid() && !bias.empty() && Index(lines.size()) == stride;
  }
  cpu::Products products(const cpu::Kernels& level) const { return cpu::products(level, lines[0].precision); }
  /// m rows at distance ldx, packed for the products with every line.
  cpu::PackRows rows(const float* x, Index ldx, Index m, float* packed) const {
    cpu::PackRows r = lines[0].rows(x, ldx, m, packed);
    for (const auto& line : lines) r.levels = line.row_levels < r.levels ? line.row_levels : r.levels;
    return r;
  }
};

namespace cpu {
/// The rows of a 4x4 s2 p1 kernel by output parity: output 2m + p gets input m + p - 1 + t through tap 3 - p - 2t, t = 0, 1.
inline PackedConv<Cpu> pack_phases(const Cpu& b, const ConvParams& p) {
  const Index in = p.weight.extent(0), out = p.weight.extent(1);
  Tensor<float, 4, Cpu> weight({4 * out, in, 2, 2});
  Tensor<float, 1, Cpu> bias({4 * out});
  if (!weight.valid() || !bias.valid()) return {};
  const auto w = weight.view();
  const auto v = bias.view();
  for (Index phase = 0; phase < 4; ++phase)
    for (Index o = 0; o < out; ++o) {
      const detail::BatchNormFold fold = detail::fold_batch_norm(p, o);
      v(phase * out + o) = float(fold.bias);
      for (Index c = 0; c < in; ++c)
        for (Index t = 0; t < 4; ++t) w(phase * out + o, c, t / 2, t % 2) = float(double(p.weight(c, o, 3 - phase / 2 - t / 2 * 2, 3 - phase % 2 - t % 2 * 2)) * fold.factor);
    }
  return pack_conv(b, ConvParams{w, v, {}, 1, 1, {}});
}
}  // namespace cpu

/// A kernel other than those of ops/conv_transpose2d.hpp gives an invalid result.
inline PackedConvTranspose<Cpu> pack_conv_transpose(const Cpu& b, const ConvParams& p) {
  const auto& k = p.weight;
  PackedConvTranspose<Cpu> w;
  const Index s = p.stride;
  w.in = k.extent(0), w.out = k.extent(1), w.kh = k.extent(2), w.kw = k.extent(3);
  w.stride = p.stride, w.pad = p.pad, w.name = p.name, w.bn_name = p.bn.name;
  if (detail::overlapping_taps(w)) {
    w.phases = cpu::pack_phases(b, p);
    return w;
  }
  w.bias = Tensor<float, 1, Cpu>({s * w.out});  // repeated for each dx
  Tensor<float, 2, Cpu> rows({s * w.out, w.in});
  if (!rows.valid() || !w.bias.valid() || w.kh != s || w.kw != s) return w;
  for (Index dy = 0; dy < s; ++dy) {
    for (Index dx = 0; dx < s; ++dx)
      for (Index o = 0; o < w.out; ++o) {
        const detail::BatchNormFold fold = detail::fold_batch_norm(p, o);
        w.bias.view()(dx * w.out + o) = float(fold.bias);
        for (Index c = 0; c < w.in; ++c) rows.view()(dx * w.out + o, c) = float(double(k(c, o, dy, dx)) * fold.factor);
      }
    w.lines.push_back(cpu::pack_matrix(b, rows.view(), integer_backend(b).precision));
  }
  return w;
}

namespace cpu {
/// 4x4 s2 p1: all parities at [h + 1, w + 1] places by one convolution, then each output pixel takes its channels.
inline void conv_transpose_phases(Context<Cpu>& ctx, const PackedConv<Cpu>& phases, const View<const float, 3>& x, const View<float, 3>& y, Activation a) {
  const Index out = y.extent(2);
  auto scope = ctx.arena.scope();
  const auto all = scope.make<float>(x.extent(0) + 1, x.extent(1) + 1, 4 * out);
  conv2d(ctx, phases, x, all, a);
  if (!ctx.begin({0, 8.0 * double(y.size())})) return;
  ctx.pool.parallel_for(y.extent(0), [&](Index oy, int) {
    for (Index ox = 0; ox < y.extent(1); ++ox)
      std::memcpy(y.data() + oy * y.stride(0) + ox * y.stride(1), &all(oy / 2 + oy % 2, ox / 2 + ox % 2, (oy % 2 * 2 + ox % 2) * out), std::size_t(out) * sizeof(float));
  });
}
}  // namespace cpu

/// As ops/conv_transpose2d.hpp says; channels and the pixels of a line of y must lie side by side.
inline void conv_transpose2d(Context<Cpu>& ctx, const PackedConvTranspose<Cpu>& w, const View<const float, 3>& x, const View<float, 3>& y, Activation a = Activation::none) {
  if (!detail::check_conv_transpose(ctx, w, x, y)) return;
  if (!ctx.require(cpu::packed_channels(x) && cpu::packed_channels(y) && (y.extent(1) <= 1 || y.stride(1) == w.out), "conv_transpose2d: channels of x and pixels of y must lie side by side")) return;
  if (detail::conv_unfused(ctx, w, y, a, [&](Activation n) { conv_transpose2d(ctx, w, x, y, n); })) return;
  if (detail::overlapping_taps(w)) return cpu::conv_transpose_phases(ctx, w.phases, x, y, a);
  const cpu::Products level = w.products(ctx.backend.kernels());
  const cpu::Pixels cut = cpu::cut_pixels(x.extent(0), x.extent(1), false);
  const Index packed = level.rows_size(cut.block, w.in), n = w.stride * w.out;
  auto scope = ctx.arena.scope();
  const cpu::Slots slots(scope, ctx.pool, packed + level.gemm_scratch(cut.block));
  if (!ctx.begin(detail::conv_transpose_cost(w, x, y))) return;
  ctx.pool.parallel_for(cut.items(), [&](Index item, int slot) {
    const Index line = item / cut.blocks(), first = item % cut.blocks() * cut.block, m = cpu::smaller(cut.block, cut.per_line - first);
    float* rows = slots[slot];
    level.pack_rows(w.rows(x.data() + line * x.stride(0) + first * x.stride(1), x.stride(1), m, rows));
    for (Index dy = 0; dy < w.stride; ++dy) {
      cpu::Gemm g{rows, w.lines[std::size_t(dy)].get(), m, n, w.in, 0, n, y.data() + (line * w.stride + dy) * y.stride(0) + first * n, n, rows + packed};
      g.bias = w.bias.view().data();
      g.activation = cpu::kernel_activation(a);
      level.gemm(g);
    }
  });
}

}  // namespace sampan::inline SAMPAN_ABI
