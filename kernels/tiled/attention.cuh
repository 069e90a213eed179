// attention, tiled: the step between naive/attention.cuh and attention_global.cuh, for reading and measuring: keys and values go through shared memory, tile by tile, a softmax that
// is corrected on the way needs one pass, and position terms come from rel_pos.cuh. No tensor cores, no asynchronous copies.
//
// Computes    ops/attend.hpp without windows; positions as terms of rel_pos.cuh. Operands float / f16 / bf16 (launched in float), float arithmetic. head_dim 32, 64, 80.
// Launch      grid (ceil(tokens / 64), heads), 64 threads, one query each; shared bytes kTiledSharedBytes
// Shared      a tile of 32 keys, then of 32 values, as float: 16 KB at head_dim 64
// Registers   <= 255, no spill: query and result of head_dim numbers each
// Bound by    shared-memory bandwidth: every thread reads every key, all the same one at a time
// Ladder      naive/attention.cuh -> this file -> attention_global.cuh
// Tested by   tests/emu/attention_test.cpp
#pragma once
#include "../cross_attention.cuh"

namespace sampan::inline SAMPAN_ABI::kernels {

inline constexpr int kTiledKeys = 32, kTiledQueries = 64;
template <int kHeadDim>
inline constexpr int kTiledSharedBytes = 2 * 4 * kTiledKeys * kHeadDim;

static_assert(kTiledSharedBytes<80> <= 48 * 1024);

template <class T, int kHeadDim>
static __global__ void __launch_bounds__(kTiledQueries) attention_tiled_kernel(const __grid_constant__ AttentionGlobalParams p) {
  float* keys = shared_memory<float>();
  float* values = keys + kTiledKeys * kHeadDim;
  const int tokens = p.height * p.width, head = int(block_y()), query = int(block_x()) * kTiledQueries + int(thread_x());
  const long long stride = 3LL * p.heads * kHeadDim, own = query < tokens ? query : tokens - 1;  // a thread without a query computes the last one and stores nothing
  const T* qkv = static_cast<const T*>(p.qkv) + head * kHeadDim;
  const float* row = p.row ? p.row + ((long long)head * tokens + own) * p.height : nullptr;
  const float* column = p.row ? p.column + ((long long)head * tokens + own) * p.width : nullptr;
  float q[kHeadDim];
  load_query(q, qkv + own * stride, p.scale);
  CrossState<kHeadDim> a;
  for (int first = 0; first < tokens; first += kTiledKeys) {
    const int count = tokens - first < kTiledKeys ? tokens - first : kTiledKeys;
    for (int i = int(thread_x()); i < count * kHeadDim; i += kTiledQueries) {
      const T* from = qkv + (first + i / kHeadDim) * stride + p.heads * kHeadDim + i % kHeadDim;
      keys[i] = to_float(from[0]);
      values[i] = to_float(from[p.heads * kHeadDim]);
    }
    block_sync();  // the tile is there for everybody
    for (int j = 0; j < count; ++j) {
      const int key = first + j;
      float s = score_of(q, keys + j * kHeadDim);
      if (row) s += row[key / p.width] + column[key % p.width];
      a.take(s, values + j * kHeadDim);
    }
    block_sync();  // everybody has read it
  }
  if (query >= tokens) return;
  T* out = static_cast<T*>(p.out) + ((long long)query * p.heads + head) * kHeadDim;
#pragma unroll
  for (int i = 0; i < kHeadDim; ++i) out[i] = from_float<T>(a.out[i] / a.sum);
}

}  // namespace sampan::inline SAMPAN_ABI::kernels
