// The inner part of every attention on Cpu: a tile of queries against keys in blocks, with online softmax; no score matrix beyond a tile ever exists.
// Data flow: cpu/attention.hpp (encoder), cpu/cross_attention.hpp (decoder) -> here -> the level's gemm and softmax.
// Shapes: queries [m, d] (m <= kQueryBlock), keys and values [n, d] packed in blocks of kKeyBlock: K as the weights of q K^T, V^T as the weights of P V.
// Bias: `bias(scores, ld, first, count)` fills the initial accumulators of a block of scores (identity 2 of architecture.md).
// Pads: keys that have a bias but are zero (identity 1): they only enter the denominator, before the real keys.
#pragma once
#include <sampan/cpu/pack.hpp>

namespace sampan::inline SAMPAN_ABI::cpu {

inline constexpr Index kQueryBlock = 96;

/// Queries per tile: equal parts of n, multiples of 4.
constexpr Index query_rows(Index n) { return smaller(n, (blocks_of(n, blocks_of(n, kQueryBlock)) + 3) / 4 * 4); }

/// Packed keys and values of one head: blocks of kKeyBlock at fixed distances.
struct KeyPanels {
  float* k;
  float* v;
  static Index k_step(const Kernels& level, Index d) { return (level.weights_size(kKeyBlock, d) + 15) / 16 * 16; }
  static Index v_step(const Kernels& level, Index d) { return (level.weights_size(d, kKeyBlock) + 15) / 16 * 16; }
  static Index k_size(const Kernels& level, Index n, Index d) { return blocks_of(n, kKeyBlock) * k_step(level, d); }
  static Index v_size(const Kernels& level, Index n, Index d) { return blocks_of(n, kKeyBlock) * v_step(level, d); }
};

/// One thread's scratch for a tile.
struct TileScratch {
  float *rows, *packed, *scores, *out, *top, *sum, *alpha, *gemm;
  TileScratch(Carver& c, const Kernels& level, Index m, Index d) {
    rows = c.take(m * d);
    const Index a = level.rows_size(m, d), b = level.rows_size(m, kKeyBlock);
    packed = c.take(a > b ? a : b);
    scores = c.take(m * kKeyBlock);
    out = c.take(m * d);
    top = c.take(m), sum = c.take(m), alpha = c.take(m);
    gemm = c.take(level.gemm_scratch(m));
  }
};

/// Leaves the mixed values of the tile, not yet divided by `sum`, in scratch.out [m, d]. `queries`: packed rows, scaled.
template <class Bias, class PadBias>
void attend_tile(const Kernels& level, const TileScratch& t, const float* queries, Index m, Index d, const KeyPanels& keys, Index n, bool biased, Bias&& bias, Index pads, PadBias&& pad_bias) {
  for (Index i = 0; i < m; ++i) t.top[i] = -3.402823466e38f, t.sum[i] = 0;
  for (Index p = 0; p < pads; p += kKeyBlock) {
    const Index count = smaller(kKeyBlock, pads - p);
    pad_bias(t.scores, kKeyBlock, p, count);
    level.softmax({t.scores, kKeyBlock, m, count, t.top, t.sum, t.alpha});
  }
  for (Index b = 0; b * kKeyBlock < n; ++b) {
    const Index first = b * kKeyBlock, count = smaller(kKeyBlock, n - first);
    Gemm score{queries, keys.k + b * KeyPanels::k_step(level, d), m, count, d, 0, count, t.scores, kKeyBlock, t.gemm};
    if (biased) bias(t.scores, kKeyBlock, first, count), score.residual = t.scores, score.ldr = kKeyBlock;
    level.gemm(score);
    level.softmax({t.scores, kKeyBlock, m, count, t.top, t.sum, t.alpha});
    level.pack_rows({t.scores, kKeyBlock, m, count, t.packed});
    Gemm mix{t.packed, keys.v + b * KeyPanels::v_step(level, d), m, d, count, 0, d, t.out, d, t.gemm};
    if (b > 0) {
      for (Index i = 0; i < m; ++i) level.scale(t.out + i * d, t.alpha[i], t.out + i * d, d);
      mix.residual = t.out, mix.ldr = d;
    }
    level.gemm(mix);
  }
}

}  // namespace sampan::inline SAMPAN_ABI::cpu
