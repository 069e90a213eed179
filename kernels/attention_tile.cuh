// attention_tile: what the attention kernels share: fragments of 16 queries of one warp, scores of a run of keys, one step of softmax in base 2, sums with values.
// Data flow: attention_global.cuh, attention_window.cuh -> here -> ptx.cuh.
// Fragments (PTX ISA 9.7.14): lane = 4 g + t holds rows g and g + 8, columns 2 t and 2 t + 1 of every 8 columns. Index 0, 1: row g; 2, 3: row g + 8.
// Shared rows are kHeadDim + 8 elements apart: then the eight rows of a matrix load lie in different banks, for 32, 64 and 80 alike.
#pragma once
#include "ptx.cuh"

namespace sampan::inline SAMPAN_ABI::kernels {

inline constexpr float kMasked = -1.0e30f;

template <int kHeadDim>
inline constexpr int kSharedRow = kHeadDim + 8;

/// Queries, running softmax and output of one warp: 16 rows.
template <class T, int kHeadDim>
struct AttentionTile {
  std::uint32_t q[kHeadDim / 16][4];
  float top[2] = {kMasked, kMasked}, sum[2] = {0, 0};
  float out[kHeadDim / 8][4] = {};

  /// Row pointers of queries g and g + 8; null rows are zeros.
  SAMPAN_PTX void load_queries(const T* row0, const T* row1, int t) {
    const std::uint32_t* low = reinterpret_cast<const std::uint32_t*>(row0);
    const std::uint32_t* high = reinterpret_cast<const std::uint32_t*>(row1);
#pragma unroll
    for (int k = 0; k < kHeadDim / 16; ++k) {
      q[k][0] = low ? low[8 * k + t] : 0;
      q[k][1] = high ? high[8 * k + t] : 0;
      q[k][2] = low ? low[8 * k + 4 + t] : 0;
      q[k][3] = high ? high[8 * k + 4 + t] : 0;
    }
  }

  /// s[j] = queries times keys 8 j .. 8 j + 7 of a run of 8 * kTiles rows in shared memory.
  template <int kTiles>
  SAMPAN_PTX void scores(const T* keys, int lane, float (&s)[kTiles][4]) const {
#pragma unroll
    for (int j = 0; j < kTiles; j += 2) {
#pragma unroll
      for (int i = 0; i < 4; ++i) s[j][i] = s[j + 1][i] = 0;
#pragma unroll
      for (int k = 0; k < kHeadDim / 16; ++k) {
        std::uint32_t b[4];  // keys 8 j and on: columns 0-7, 8-15 of the step; then the next eight keys
        load_matrix_x4(b, keys + (8 * j + lane % 8 + lane / 16 * 8) * kSharedRow<kHeadDim> + 16 * k + lane / 8 % 2 * 8);
        mma_16816<T>(s[j], q[k], b[0], b[1], s[j]);
        mma_16816<T>(s[j + 1], q[k], b[2], b[3], s[j + 1]);
      }
    }
  }

  /// The step of online softmax over scores in units of log2, and out = alpha out + 2^(s - top) values. row: a term that all scores of a row share.
  template <int kTiles>
  SAMPAN_PTX void accumulate(float (&s)[kTiles][4], const float (&row)[2], const T* values, int lane) {
    float most[2] = {kMasked, kMasked};
#pragma unroll
    for (int j = 0; j < kTiles; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i) most[i / 2] = larger(most[i / 2], s[j][i]);
    float base[2], alpha[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {  // the four lanes of a row
      most[r] = larger(most[r], shuffle_xor(most[r], 1));
      most[r] = larger(most[r], shuffle_xor(most[r], 2));
      const float next = larger(top[r], most[r] + row[r]);
      alpha[r] = exp2_fast(top[r] - next);
      base[r] = next - row[r];
      top[r] = next;
      sum[r] *= alpha[r];
    }
#pragma unroll
    for (int n = 0; n < kHeadDim / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) out[n][i] *= alpha[i / 2];
#pragma unroll
    for (int j = 0; j < kTiles; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        s[j][i] = exp2_fast(s[j][i] - base[i / 2]);
        sum[i / 2] += s[j][i];
      }
#pragma unroll
    for (int k = 0; k < kTiles / 2; ++k) {  // 16 keys: the scores are the left operand as they stand
      const std::uint32_t weights[4] = {pack<T>(s[2 * k][0], s[2 * k][1]), pack<T>(s[2 * k][2], s[2 * k][3]), pack<T>(s[2 * k + 1][0], s[2 * k + 1][1]), pack<T>(s[2 * k + 1][2], s[2 * k + 1][3])};
#pragma unroll
      for (int n = 0; n < kHeadDim / 16; ++n) {
        std::uint32_t b[4];  // channels 16 n and on: keys 0-7, 8-15; then the next eight channels
        load_matrix_x4_transposed(b, values + (16 * k + lane % 16) * kSharedRow<kHeadDim> + 16 * n + lane / 16 * 8);
        mma_16816<T>(out[2 * n], weights, b[0], b[1], out[2 * n]);
        mma_16816<T>(out[2 * n + 1], weights, b[2], b[3], out[2 * n + 1]);
      }
    }
  }

  /// Output rows of queries g and g + 8; null rows are not written.
  SAMPAN_PTX void store(T* row0, T* row1, int t) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      sum[r] += shuffle_xor(sum[r], 1);
      sum[r] += shuffle_xor(sum[r], 2);
    }
    std::uint32_t* to[2] = {reinterpret_cast<std::uint32_t*>(row0), reinterpret_cast<std::uint32_t*>(row1)};
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float factor = 1.0f / sum[r];
      if (!to[r]) continue;
#pragma unroll
      for (int n = 0; n < kHeadDim / 8; ++n) to[r][4 * n + t] = pack<T>(out[n][2 * r] * factor, out[n][2 * r + 1] * factor);
    }
  }
};

}  // namespace sampan::inline SAMPAN_ABI::kernels
