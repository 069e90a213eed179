// The decoder's end on Cpu as one op: ConvTranspose, LayerNorm2d and GELU, ConvTranspose and GELU, hypernetwork dot products, block by block of pixels.
// Data flow: models/mask_decoder.hpp -> here -> the level's gemm, layer_norm, dot_rows.   An optional op: backends without it run the four parts.
// Shapes: x [b, h w, c]; first: s1 x s1 taps of cm channels; second: s2 x s2 taps of cf; hyper [b, m, cf]; masks [b, m, s1 s2 h * s1 s2 w].
// Why: kernel = stride, so a pixel becomes a block of s1 s2 x s1 s2 pixels of its own; neither the map of 128 x 128 x 64 nor that of 256 x 256 x 32 (8 MB per
// prompt at h = w = 64) goes to memory. Cost: 2 h w c s1^2 cm + 2 h w s1^2 cm s2^2 cf + 2 m h w s1^2 s2^2 cf FLOP and the norm's 8 h w s1^2 cm.
// Deliberately absent: traces of the parts, for which the caller runs them one by one.
#pragma once
#include <sampan/cpu/conv.hpp>
#include <sampan/ops/mask_head.hpp>

namespace sampan::inline SAMPAN_ABI {
namespace cpu {

/// Pixels of one work item: their 16 * 32 * 32 upscaled values (64 KiB for 96 rows of the second product) stay in L2.
inline constexpr Index kUpscalePixels = 48;

struct MaskUpscaler {
  const Kernels& level;
  const PackedConvTranspose<Cpu>& first;
  const PackedNorm<Cpu>& norm;
  const PackedConvTranspose<Cpu>& second;
  View<const float, 3> x, hyper;
  View<float, 3> masks;
  Index width, pixels, taps1, taps2, blocks;  ///< taps: outputs per input pixel

  MaskUpscaler(const Kernels& k, const PackedConvTranspose<Cpu>& up0, const PackedNorm<Cpu>& up1, const PackedConvTranspose<Cpu>& up3, const View<const float, 3>& in, Index w, const View<const float, 3>& h, const View<float, 3>& out)
      : level(k), first(up0), norm(up1), second(up3), x(in), hyper(h), masks(out), width(w), pixels(smaller(kUpscalePixels, in.extent(1))), taps1(up0.stride * up0.stride), taps2(up3.stride * up3.stride),
        blocks(blocks_of(in.extent(1), pixels)) {}

  struct Scratch {
    float *rows, *mid, *fine, *dots, *gemm;
    Index used;
    Scratch(float* base, const MaskUpscaler& u) {
      Carver c(base);
      const Products one = u.first.products(u.level), two = u.second.products(u.level);
      const Index a = one.rows_size(u.pixels, u.first.in), b = two.rows_size(kRowBlock, u.second.in), tile1 = one.gemm_scratch(u.pixels), tile2 = two.gemm_scratch(kRowBlock);
      rows = c.take(a > b ? a : b);
      mid = c.take(u.pixels * u.taps1 * u.first.out);
      fine = c.take(kRowBlock * u.taps2 * u.second.out), dots = c.take(u.hyper.extent(1) * kRowBlock * u.taps2);
      gemm = c.take(tile1 > tile2 ? tile1 : tile2);
      used = c.used();
    }
  };

  /// Each row of x becomes its taps, side by side in y.
  void convolve(const PackedConvTranspose<Cpu>& w, const float* from, Index ld, Index m, float* to, int activation, const Scratch& s) const {
    const Products product = w.products(level);
    product.pack_rows(w.rows(from, ld, m, s.rows));
    const Index n = w.stride * w.out;
    for (Index dy = 0; dy < w.stride; ++dy) {
      Gemm g{s.rows, w.lines[std::size_t(dy)].get(), m, n, w.in, 0, n, to + dy * n, w.stride * n, s.gemm};
      g.bias = w.bias.view().data();
      g.activation = activation;
      product.gemm(g);
    }
  }

  void run(Index prompt, Index block, const Scratch& s) const {
    const Index begin = block * pixels, m = smaller(pixels, x.extent(1) - begin), count = m * taps1, cm = first.out, cf = second.out;
    const int gelu = hidden_activation(Activation::gelu_erf, second.lines[0].precision);
    convolve(first, x.data() + prompt * x.stride(0) + begin * x.stride(1), x.stride(1), m, s.mid, kPlain, s);
    level.layer_norm({s.mid, cm, s.mid, cm, count, cm, norm.weight.view().data(), norm.bias.view().data(), norm.eps, gelu});
    for (Index i = 0; i < count; i += kRowBlock) {
      const Index rows = smaller(kRowBlock, count - i);
      convolve(second, s.mid + i * cm, cm, rows, s.fine, gelu, s);
      level.dot_rows({s.fine, cf, rows * taps2, cf, hyper.data() + prompt * hyper.stride(0), hyper.stride(1), hyper.extent(1), s.dots, kRowBlock * taps2});
      for (Index k = 0; k < hyper.extent(1); ++k) place(s.dots + k * kRowBlock * taps2, begin * taps1 + i, rows, masks.data() + prompt * masks.stride(0) + k * masks.stride(1));
    }
  }

  /// Values of first-stage outputs [at, at + rows), taps2 each, to their pixels of one mask.
  void place(const float* dots, Index at, Index rows, float* mask) const {
    const Index s1 = first.stride, s2 = second.stride, line = width * s1 * s2;
    for (Index i = at; i < at + rows; ++i) {
      const Index pixel = i / taps1, tap = i % taps1;
      float* to = mask + ((pixel / width * s1 + tap / s1) * s2) * line + (pixel % width * s1 + tap % s1) * s2;
      for (Index dy = 0; dy < s2; ++dy)
        for (Index dx = 0; dx < s2; ++dx) to[dy * line + dx] = *dots++;
    }
  }
};

}  // namespace cpu

/// masks = hyper . gelu(second(gelu(norm(first(x))))), x [b, h w, c] with lines of `width` pixels. Fails the context if extents disagree.
inline void upscale_masks(Context<Cpu>& ctx, const PackedConvTranspose<Cpu>& first, const PackedNorm<Cpu>& norm, const PackedConvTranspose<Cpu>& second, const View<const float, 3>& x, Index width,
                          const View<const float, 3>& hyper, const View<float, 3>& masks) {
  const Index b = x.extent(0), n = x.extent(1);
  const auto plain = [](const PackedConvTranspose<Cpu>& w) { return w.kh == w.stride && w.kw == w.stride && w.pad == 0; };
  if (!ctx.require(plain(first) && plain(second), "upscale_masks: only kernel = stride without padding") ||
      !ctx.require(x.extent(2) == first.in && norm.weight.extent(0) == first.out && second.in == first.out && hyper.extent(2) == second.out, "upscale_masks: channels differ from the weights") ||
      !ctx.require(width > 0 && n % width == 0 && hyper.extent(0) == b && masks.extent(0) == b && masks.extent(1) == hyper.extent(1) && masks.extent(2) == n * first.stride * first.stride * second.stride * second.stride,
                   "upscale_masks: x [b, h w, c], hyper [b, m, c'], masks [b, m, s h s w] disagree") ||
      !ctx.require(cpu::packed_channels(x) && cpu::packed_channels(hyper) && cpu::packed_channels(masks), "upscale_masks: channels must lie side by side"))
    return;
  const cpu::MaskUpscaler job(ctx.backend.kernels(), first, norm, second, x, width, hyper, masks);
  auto scope = ctx.arena.scope();
  const cpu::Slots slots(scope, ctx.pool, cpu::MaskUpscaler::Scratch(nullptr, job).used);
  const double mid = double(b * n * job.taps1) * double(first.out), fine = double(b * n * job.taps1 * job.taps2) * double(second.out);
  if (!ctx.begin({2 * mid * double(first.in) + 8 * mid + 2 * fine * double(second.in) + 2 * fine * double(hyper.extent(1)), 4 * (double(x.size()) + double(masks.size()))})) return;
  ctx.pool.parallel_for(b * job.blocks, [&](Index i, int slot) { job.run(i / job.blocks, i % job.blocks, cpu::MaskUpscaler::Scratch(slots[slot], job)); });
}

}  // namespace sampan::inline SAMPAN_ABI
