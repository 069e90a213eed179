// rel_pos: the decomposed position terms of every query, q . rel_h[qy - ky + n - 1] for each ky and likewise across, in units of log2 (times log2 e), ready to be
// added to scores whose softmax is in base 2.
//
// Computes    the bias of ops/attend.hpp, once per query and row or column instead of once per pair of tokens (identity 2 of architecture.md)
// Arch        sm_75 and later; q in f16, bf16 or float, tables and results in float.
// Launch      grid (tokens, heads, images), 128 threads, shared memory head_dim floats. head_dim <= 128; window 0 (all tokens) or the window's side.
// Bound by    the tables, which stay in L2: 2 n head_dim multiply-adds per query and head
// Tested by   tests/emu/attention_test.cpp
#pragma once
#include "params.hpp"
#include "ptx.cuh"

namespace sampan::inline SAMPAN_ABI::kernels {

inline constexpr float kLog2e = 1.44269504088896341f;

template <class T>
static __global__ void __launch_bounds__(128) rel_pos_kernel(const __grid_constant__ RelPosParams p) {
  float* q = shared_memory<float>();
  const int token = int(block_x()), head = int(block_y()), d = p.head_dim;
  const int rows = p.window ? p.window : p.height, columns = p.window ? p.window : p.width;
  const int y = p.window ? token / p.width % p.window : token / p.width, x = p.window ? token % p.width % p.window : token % p.width;
  const long long tokens = (long long)p.height * p.width, image = block_z();
  const T* from = static_cast<const T*>(p.qkv) + (image * tokens + token) * 3 * p.heads * d + head * d;
  for (int i = int(thread_x()); i < d; i += 128) q[i] = to_float(from[i]) * kLog2e;
  block_sync();
  const long long at = (image * p.heads + head) * tokens + token;
  for (int i = int(thread_x()); i < rows + columns; i += 128) {
    const float* table = i < rows ? p.rel_h + (y - i + rows - 1) * d : p.rel_w + (x - (i - rows) + columns - 1) * d;
    float sum = 0;
    for (int c = 0; c < d; ++c) sum = fma_exact(q[c], table[c], sum);
    if (i < rows) {
      p.row[at * rows + i] = sum;
    } else {
      p.column[at * columns + i - rows] = sum;
    }
  }
}

}  // namespace sampan::inline SAMPAN_ABI::kernels
