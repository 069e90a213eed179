// attention_window: windowed attention, one block per (window, head), on tensor cores; windows are addressed in the map, nothing is partitioned.
//
// Computes    ops/attend.hpp with windows: padding tokens are keys and values of zeros (identity 1), positions as terms of rel_pos.cuh, or a table of biases.
// Arch        f16 from sm_75 on, bf16 from sm_80; operands 16 bit, sums, softmax and positions float. Windows 14 and 7, head_dim 32, 64, 80.
// Launch      grid (windows, heads, images), 32 * kWindowWarps threads, shared bytes kWindowSharedBytes (opt-in above 48 KB). qkv and out on 16 bytes.
// Shared      K, then V: rows [n][kColumns] of head_dim + 8; columns n .. kColumns - 1 are no tokens: their scores are masked. 64.5 KB at window 14, head_dim 64.
// Work        16 queries per warp and step: 14 steps by 7 warps, or 4 by 4; a step without a real query is skipped (windows over the edge).
// Registers   goal <= 200, no spill
// Bound by    shared-memory bandwidth below head_dim 64, matrix instructions above
// Ladder      naive/attention.cuh -> this file
// Tested by   tests/emu/attention_test.cpp
#pragma once
#include "attention_tile.cuh"
#include "params.hpp"

namespace sampan::inline SAMPAN_ABI::kernels {

template <int kWindow>
inline constexpr int kWindowColumns = kWindow <= 8 ? 8 : 16;  ///< of a row of keys in shared memory
template <int kWindow>
inline constexpr int kWindowKeys = (kWindow * kWindowColumns<kWindow> + 31) / 32 * 32;
template <int kWindow>
inline constexpr int kWindowWarps = kWindow <= 8 ? 4 : 7;
template <int kWindow, int kHeadDim>
inline constexpr int kWindowSharedBytes = 2 * 2 * kWindowKeys<kWindow> * kSharedRow<kHeadDim>;

static_assert(kWindowSharedBytes<14, 64> <= 64 * 1024);  // all that compute capability 7.5 has
static_assert(kWindowSharedBytes<14, 80> <= 99 * 1024);  // of 8.6, 8.9 and 12.0, the least from 8.0 on

template <class T, int kHeadDim, int kWindow, bool kTable>
static __global__ void __launch_bounds__(32 * kWindowWarps<kWindow>, 1) attention_window_kernel(const __grid_constant__ AttentionWindowParams p) {
  static_assert(kHeadDim % 16 == 0 && kHeadDim <= 80 && kWindow <= 16);
  constexpr int kColumns = kWindowColumns<kWindow>, kKeys = kWindowKeys<kWindow>, kThreads = 32 * kWindowWarps<kWindow>, kRun = 32, kTiles = kRun / 8;
  constexpr float kLog2e = 1.44269504088896341f;
  T* shared = shared_memory<T>();
  const int thread = int(thread_x()), lane = thread % 32, g = lane / 4, t = lane % 4, head = int(block_y());
  const int windows_across = (p.width + kWindow - 1) / kWindow, y0 = int(block_x()) / windows_across * kWindow, x0 = int(block_x()) % windows_across * kWindow;
  const long long stride = 3LL * p.heads * kHeadDim;
  const long long image = block_z(), tokens = (long long)p.height * p.width;
  const T* qkv = static_cast<const T*>(p.qkv) + image * tokens * stride + head * kHeadDim;
  // Row of the map for place (y, x) of the window, or -1.
  const auto token = [&](int place) {
    const int y = place / kColumns, x = place % kColumns;
    return y < kWindow && x < kWindow && y0 + y < p.height && x0 + x < p.width ? (y0 + y) * p.width + x0 + x : -1;
  };

  for (int i = thread; i < kKeys * kHeadDim / 8; i += kThreads) {
    const int place = i / (kHeadDim / 8), c = i % (kHeadDim / 8) * 8, from = token(place), bytes = from < 0 ? 0 : 16;
    const T* k = qkv + (from < 0 ? 0 : from) * stride + p.heads * kHeadDim + c;
    T* to = shared + place * kSharedRow<kHeadDim> + c;
    copy_async_16(to, k, bytes);
    copy_async_16(to + kKeys * kSharedRow<kHeadDim>, k + p.heads * kHeadDim, bytes);
  }
  copy_commit();
  copy_wait<0>();
  block_sync();

  for (int step = thread / 32; step < kKeys / 16; step += kWindowWarps<kWindow>) {
    const int place[2] = {16 * step + g, 16 * step + g + 8}, query[2] = {token(place[0]), token(place[1])};
    float real = query[0] >= 0 || query[1] >= 0 ? 1.0f : 0.0f;
#pragma unroll
    for (int mask = 16; mask; mask /= 2) real = larger(real, shuffle_xor(real, mask));
    if (real == 0.0f) continue;  // the whole warp
    AttentionTile<T, kHeadDim> a;
    a.load_queries(query[0] < 0 ? nullptr : qkv + query[0] * stride, query[1] < 0 ? nullptr : qkv + query[1] * stride, t);
    const float *row[2] = {}, *column[2] = {}, *table[2] = {};
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const long long at = (image * p.heads + head) * tokens + (query[r] < 0 ? y0 * p.width + x0 : query[r]);  // any that exists: nothing of it is stored
      if (p.row) row[r] = p.row + at * kWindow, column[r] = p.column + at * kWindow;
      const int own = query[r] < 0 ? 0 : place[r] / kColumns * kWindow + place[r] % kColumns;
      if (kTable) table[r] = p.bias + ((long long)head * kWindow * kWindow + own) * kWindow * kWindow;
    }
    for (int run = 0; run < kKeys / kRun; ++run) {
      float s[kTiles][4];
      const float none[2] = {0, 0};
      const T* keys = shared + run * kRun * kSharedRow<kHeadDim>;
      a.scores(keys, lane, s);
#pragma unroll
      for (int j = 0; j < kTiles; ++j)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int at = run * kRun + 8 * j + 2 * t + i % 2, y = at / kColumns, x = at % kColumns;
          float bias = kMasked;
          if (y < kWindow && x < kWindow) {
            bias = 0;
            if (p.row) bias = row[i / 2][y] + column[i / 2][x];
            if (kTable) bias = table[i / 2][y * kWindow + x] * kLog2e;
          }
          s[j][i] = fma_exact(s[j][i], p.scale * kLog2e, bias);
        }
      a.accumulate(s, none, keys + kKeys * kSharedRow<kHeadDim>, lane);
    }
    const long long out_stride = (long long)p.heads * kHeadDim;
    T* out = static_cast<T*>(p.out) + image * tokens * out_stride + head * kHeadDim;
    a.store(query[0] < 0 ? nullptr : out + query[0] * out_stride, query[1] < 0 ? nullptr : out + query[1] * out_stride, t);
  }
}

}  // namespace sampan::inline SAMPAN_ABI::kernels
