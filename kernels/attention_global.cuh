// attention_global: every token attends to every token, with decomposed relative positions, on tensor cores; no score ever reaches memory.
//
// Computes    ops/attend.hpp without windows; positions as terms of rel_pos.cuh (identity 2: a score's bias is row[q, ky] + column[q, kx]).
// Arch        f16 from sm_75 on, bf16 from sm_80; operands 16 bit, sums, softmax and positions float. head_dim 32, 64, 80.
// Launch      grid (ceil(tokens / 64), heads), 128 threads, shared_bytes(). qkv and out on 16 bytes.
// Shared      two stages of K [64][head_dim + 8] and V [64][head_dim + 8]: 36.9 KB at 64, 45.1 KB at 80
// Registers   goal <= 168 (three blocks per multiprocessor), no spill: checked from the compiler's report
// Grid 64     kRow64: an image row is one tile of 64 keys. Then column[q, .] is the same for all tiles (in registers up to head_dim 64), and row[q, ky] is one number per tile
//             that shifts the maximum instead of the scores. Other widths read both terms per score.
// Bound by    matrix instructions at head_dim 64 and more; see bench/README.md
// Ladder      naive/attention.cuh -> this file
// Tested by   tests/emu/attention_test.cpp
#pragma once
#include "attention_tile.cuh"
#include "params.hpp"

namespace sampan::inline SAMPAN_ABI::kernels {

inline constexpr int kGlobalKeys = 64, kGlobalStages = 2;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
inline constexpr int kGlobalBlocks = 1;  // its shared memory fits once, and copies through registers need more of them
#else
inline constexpr int kGlobalBlocks = 3;
#endif

template <int kHeadDim>
inline constexpr int kGlobalSharedBytes = 2 * kGlobalStages * 2 * kGlobalKeys * kSharedRow<kHeadDim>;

template <class T, int kHeadDim, bool kRow64>
static __global__ void __launch_bounds__(128, kGlobalBlocks) attention_global_kernel(const __grid_constant__ AttentionGlobalParams p) {
  static_assert(kHeadDim % 16 == 0 && kHeadDim <= 80);
  constexpr int kTiles = kGlobalKeys / 8, kRunTiles = kHeadDim > 64 ? kTiles / 2 : kTiles;  // 80 channels leave room for 32 scores of a row, not 64,
  constexpr bool kKeep = kRow64 && kHeadDim <= 64;                                                          // and none for column terms: these come from the first-level cache
  constexpr int kStage = kGlobalKeys * kSharedRow<kHeadDim>;
  constexpr float kLog2e = 1.44269504088896341f;
  T* shared = shared_memory<T>();  // stage s: K at 2 s kStage, V behind it
  const int thread = int(thread_x()), lane = thread % 32, g = lane / 4, t = lane % 4, head = int(block_y());
  const int tokens = p.height * p.width;
  const long long stride = 3LL * p.heads * kHeadDim;
  const T* qkv = static_cast<const T*>(p.qkv) + head * kHeadDim;
  const int query[2] = {int(block_x()) * 64 + thread / 32 * 16 + g, int(block_x()) * 64 + thread / 32 * 16 + g + 8};

  const auto load = [&](int tile) {
    T* to = shared + tile % kGlobalStages * 2 * kStage;
#pragma unroll 1  // addresses of all iterations at once would cost the registers that the products need
    for (int i = thread; i < kGlobalKeys * kHeadDim / 8; i += 128) {
      const int r = i / (kHeadDim / 8), c = i % (kHeadDim / 8) * 8, key = tile * kGlobalKeys + r, bytes = kRow64 || key < tokens ? 16 : 0;
      const T* from = qkv + (bytes ? key * stride : 0) + p.heads * kHeadDim + c;
      copy_async_16(to + r * kSharedRow<kHeadDim> + c, from, bytes);
      copy_async_16(to + kStage + r * kSharedRow<kHeadDim> + c, from + p.heads * kHeadDim, bytes);
    }
    copy_commit();
  };

  load(0);
  AttentionTile<T, kHeadDim> a;
  a.load_queries(kRow64 || query[0] < tokens ? qkv + query[0] * stride : nullptr, kRow64 || query[1] < tokens ? qkv + query[1] * stride : nullptr, t);
  // Position terms of query g: row terms from `row` on, column terms from `column` on; those of g + 8 lie 8 rows further. With rows of 64 every query exists; else
  // one that does not reads the terms of the last one, and nothing of it is stored.
  const int term[2] = {kRow64 || query[0] < tokens ? query[0] : tokens - 1, kRow64 || query[1] < tokens ? query[1] : tokens - 1};
  const float* row = p.row + (long long)head * tokens * p.height + (long long)term[0] * p.height;
  const float* column = p.column + (long long)head * tokens * p.width + (long long)term[0] * p.width;
  const int next = kRow64 ? 8 : term[1] - term[0];
  float across[kKeep ? kTiles : 1][4];
  if constexpr (kKeep) {
#pragma unroll
    for (int j = 0; j < kTiles; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i) across[j][i] = p.row ? column[i / 2 * 8 * 64 + 8 * j + 2 * t + i % 2] : 0.0f;
  }

  const int tiles = (tokens + kGlobalKeys - 1) / kGlobalKeys;
  for (int tile = 0; tile < tiles; ++tile) {
    if (tile + 1 < tiles) {
      load(tile + 1);
      copy_wait<1>();
    } else {
      copy_wait<0>();
    }
    block_sync();  // the tile has arrived for everybody
    const T* keys = shared + tile % kGlobalStages * 2 * kStage;
    float shift[2] = {0, 0};
    if (kRow64 && p.row) shift[0] = row[tile], shift[1] = row[8 * p.height + tile];
#pragma unroll
    for (int first = 0; first < kTiles; first += kRunTiles) {
      float s[kRunTiles][4];
      a.scores(keys + 8 * first * kSharedRow<kHeadDim>, lane, s);
#pragma unroll
      for (int j = 0; j < kRunTiles; ++j)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          float bias;
          if constexpr (kKeep) {
            bias = across[first + j][i];
          } else if constexpr (kRow64) {
            bias = p.row ? column[i / 2 * 8 * 64 + 8 * (first + j) + 2 * t + i % 2] : 0.0f;
          } else {
            const int key = tile * kGlobalKeys + 8 * (first + j) + 2 * t + i % 2;
            bias = key >= tokens ? kMasked : p.row ? row[i / 2 * next * p.height + key / p.width] + column[i / 2 * next * p.width + key % p.width] : 0.0f;
          }
          s[j][i] = fma_exact(s[j][i], p.scale * kLog2e, bias);
        }
      a.accumulate(s, shift, keys + kStage + 8 * first * kSharedRow<kHeadDim>, lane);
    }
    block_sync();  // everybody has read the stage before the next load overwrites it
  }
  T* out = static_cast<T*>(p.out) + head * kHeadDim;
  const long long out_stride = (long long)p.heads * kHeadDim;
  a.store(kRow64 || query[0] < tokens ? out + query[0] * out_stride : nullptr, kRow64 || query[1] < tokens ? out + query[1] * out_stride : nullptr, t);
}

}  // namespace sampan::inline SAMPAN_ABI::kernels
