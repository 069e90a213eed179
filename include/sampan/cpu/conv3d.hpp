// conv3d and conv_transpose3d on Cpu, as products of packed rows with packed weights. Data flow: ops/conv3d.hpp, ops/conv_transpose3d.hpp declare -> here -> the level's gemm.
// conv3d: a block of output voxels gathers its patches (kd planes of the 2D patch, cpu/conv.hpp) into rows; a 1^3 kernel takes the voxels as they are.
// conv_transpose3d: input voxels are rows, all s^3 taps times channels are columns; each row of the product is then laid out as the s^3 output voxels it stands for.
#pragma once
#include <sampan/cpu/conv.hpp>
#include <sampan/ops/conv_transpose3d.hpp>

namespace sampan::inline SAMPAN_ABI {

template <>
struct PackedConv3d<Cpu> : cpu::FoldedConv {  // weight [out, kd * kh * kw * in]
  Index kd = 0;
  Index kernel_d() const { return kd; }
};

/// Precision of the product: `fast` where the backend says so (patch embed, neck), never bf16, as in pack_conv.
inline PackedConv3d<Cpu> pack_conv3d(const Cpu& b, const Conv3dParams& p) {
  const auto& k = p.weight;
  PackedConv3d<Cpu> w;
  w.out = k.extent(0), w.in = k.extent(1), w.kd = k.extent(2), w.kh = k.extent(3), w.kw = k.extent(4);
  w.stride = p.stride, w.pad = p.pad, w.name = p.name;
  Tensor<float, 2, Cpu> rows({w.out, w.kd * w.kh * w.kw * w.in});
  w.bias = Tensor<float, 1, Cpu>({w.out});
  if (!rows.valid() || !w.bias.valid()) return w;
  for (Index o = 0; o < w.out; ++o) {
    w.bias.view()(o) = p.bias.empty() ? 0.0f : p.bias(o);
    float* to = rows.view()[o].data();
    for (Index z = 0; z < w.kd; ++z)
      for (Index y = 0; y < w.kh; ++y)
        for (Index x = 0; x < w.kw; ++x)
          for (Index c = 0; c < w.in; ++c) *to++ = k(o, c, z, y, x);
  }
  w.weight = cpu::pack_matrix(b, rows.view(), b.precision == Precision::fast ? Precision::fast : Precision::f32);
  return w;
}

namespace cpu {
/// The patch of one output voxel as a row of kd * kh * kw * in floats; zeros outside the volume.
inline void gather_patch(const PackedConv3d<Cpu>& w, const View<const float, 4>& x, Index oz, Index oy, Index ox, float* row) {
  const Index plane = w.kh * w.kw * w.in;
  for (Index kz = 0; kz < w.kd; ++kz, row += plane) {
    const Index iz = oz * w.stride + kz - w.pad;
    if (iz < 0 || iz >= x.extent(0)) {
      std::memset(row, 0, std::size_t(plane) * sizeof(float));
    } else {
      gather_patch(w, x[iz], oy, ox, row);
    }
  }
}
}  // namespace cpu

/// As ops/conv3d.hpp says; channels must lie side by side and the voxels of y follow one another.
inline void conv3d(Context<Cpu>& ctx, const PackedConv3d<Cpu>& w, const View<const float, 4>& x, const View<float, 4>& y, Activation a = Activation::none) {
  if (!detail::check_conv3d(ctx, w, x, y)) return;
  if (!ctx.require(cpu::packed_channels(x) && cpu::packed_channels(y) && detail::rows_follow(y),
                   "conv3d: channels must lie side by side, and the voxels of y follow one another"))
    return;
  if (detail::conv3d_unfused(ctx, w, y, a, [&](Activation n) { conv3d(ctx, w, x, y, n); })) return;
  const bool direct = w.kd == 1 && w.kh == 1 && w.kw == 1 && w.stride == 1 && w.pad == 0 && detail::rows_follow(x);
  const View<float, 2> rows_of_y = tokens(y);
  const Index n = rows_of_y.extent(0), k = w.weight.k;
  const cpu::Products product = cpu::products(ctx.backend.kernels(), w.weight.precision);
  const cpu::GemmCut cut = cpu::cut_gemm(n, w.out);
  const Index packed = product.rows_size(cut.rows, k), patches = direct ? 0 : cut.rows * k;
  auto scope = ctx.arena.scope();
  const cpu::Slots slots(scope, ctx.pool, packed + (patches + 15) / 16 * 16 + product.gemm_scratch(cut.rows));
  if (!ctx.begin(detail::conv3d_cost(w, x, y))) return;
  ctx.pool.parallel_for(cut.items(), [&](Index item, int slot) {
    // Row blocks follow one another: the weights of a column block are read from memory once for all of them.
    const Index first = item % cut.row_blocks * cut.rows, j = item / cut.row_blocks * cut.columns, m = cpu::smaller(cut.rows, n - first);
    cpu::Carver carve(slots[slot]);
    float* rows = carve.take(packed);
    float* patch = carve.take(patches);
    if (direct) {
      product.pack_rows(w.weight.rows(x.data() + first * x.stride(2), x.stride(2), m, rows));
    } else {
      for (Index i = 0; i < m; ++i) {
        const Index at = first + i, ow = y.extent(2), oh = y.extent(1);
        cpu::gather_patch(w, x, at / (oh * ow), at / ow % oh, at % ow, patch + i * k);
      }
      product.pack_rows(w.weight.rows(patch, k, m, rows));
    }
    float* to = rows_of_y.data() + first * rows_of_y.stride(0) + j;
    cpu::Gemm g{rows, w.weight.get(), m, w.out, k, j, cpu::smaller(cut.columns, w.out - j), to, rows_of_y.stride(0), carve.take(0)};
    g.bias = w.bias.view().data() + j;
    g.activation = cpu::kernel_activation(a);
    product.gemm(g);
  });
}

template <>
struct PackedConvTranspose3d<Cpu> : cpu::FoldedConv {  // weight [(dz, dy, dx, out), in], bias repeated for each tap
  Index kd = 0;
  Index kernel_d() const { return kd; }
};

inline PackedConvTranspose3d<Cpu> pack_conv_transpose3d(const Cpu& b, const Conv3dParams& p) {
  const auto& k = p.weight;
  PackedConvTranspose3d<Cpu> w;
  w.in = k.extent(0), w.out = k.extent(1), w.kd = k.extent(2), w.kh = k.extent(3), w.kw = k.extent(4);
  w.stride = p.stride, w.pad = p.pad, w.name = p.name;
  const Index taps = w.kd * w.kh * w.kw;
  Tensor<float, 2, Cpu> rows({taps * w.out, w.in});
  w.bias = Tensor<float, 1, Cpu>({taps * w.out});
  if (!rows.valid() || !w.bias.valid()) return w;
  for (Index t = 0; t < taps; ++t)
    for (Index o = 0; o < w.out; ++o) {
      w.bias.view()(t * w.out + o) = p.bias.empty() ? 0.0f : p.bias(o);
      for (Index c = 0; c < w.in; ++c) rows.view()(t * w.out + o, c) = k(c, o, t / (w.kh * w.kw), t / w.kw % w.kh, t % w.kw);
    }
  w.weight = cpu::pack_matrix(b, rows.view());
  return w;
}

/// As ops/conv_transpose3d.hpp says; channels must lie side by side, voxels of x follow one another, and so those of a line of y.
inline void conv_transpose3d(Context<Cpu>& ctx, const PackedConvTranspose3d<Cpu>& w, const View<const float, 4>& x, const View<float, 4>& y,
                             Activation a = Activation::none) {
  if (!detail::check_conv_transpose3d(ctx, w, x, y)) return;
  if (!ctx.require(cpu::packed_channels(x) && cpu::packed_channels(y) && detail::rows_follow(x) && (y.extent(2) <= 1 || y.stride(2) == w.out),
                   "conv_transpose3d: channels must lie side by side, the voxels of x and those of each line of y follow one another"))
    return;
  if (detail::conv3d_unfused(ctx, w, y, a, [&](Activation n) { conv_transpose3d(ctx, w, x, y, n); })) return;
  const cpu::Kernels& level = ctx.backend.kernels();
  const View<const float, 2> voxels = tokens(x);
  const Index s = w.stride, n = voxels.extent(0), columns = w.weight.n, run = s * w.out, block = cpu::smaller(n, cpu::kRowBlock),
              packed = level.rows_size(block, w.in);
  auto scope = ctx.arena.scope();
  const cpu::Slots slots(scope, ctx.pool, packed + block * columns + 16 + level.gemm_scratch(block));
  if (!ctx.begin(detail::conv_transpose3d_cost(w, x, y))) return;
  ctx.pool.parallel_for(cpu::blocks_of(n, block), [&](Index item, int slot) {
    const Index first = item * block, m = cpu::smaller(block, n - first);
    cpu::Carver carve(slots[slot]);
    float* rows = carve.take(packed);
    float* product = carve.take(block * columns);
    level.pack_rows({voxels.data() + first * voxels.stride(0), voxels.stride(0), m, w.in, rows});
    cpu::Gemm g{rows, w.weight.get(), m, columns, w.in, 0, columns, product, columns, carve.take(0)};
    g.bias = w.bias.view().data();
    g.activation = cpu::kernel_activation(a);
    level.gemm(g);
    for (Index i = 0; i < m; ++i) {
      const Index at = first + i, iw = x.extent(2), ih = x.extent(1), z = at / (ih * iw) * s, r = at / iw % ih * s, q = at % iw * s;
      for (Index line = 0; line < s * s; ++line)
        std::memcpy(y.data() + (z + line / s) * y.stride(0) + (r + line % s) * y.stride(1) + q * y.stride(2), product + i * columns + line * run,
                    std::size_t(run) * sizeof(float));
    }
  });
}

}  // namespace sampan::inline SAMPAN_ABI
