// cross_attention, naive: one thread per query and head, straight from the definition; any head size up to kNaiveHeadDim. For reading, and for heads that
// cross_attention.cuh is not made for.
//
// Computes    the core of ops/cross_attention.hpp, float arithmetic
// Launch      grid (ceil(queries / 32), heads, batch), 32 threads.   Ladder: this file -> cross_attention.cuh
// Tested by   tests/emu/decoder_test.cpp
#pragma once
#include "attention.cuh"

namespace sampan::inline SAMPAN_ABI::kernels {

template <class T>
static __global__ void cross_attention_naive_kernel(const __grid_constant__ CrossAttentionParams p) {
  const int query = int(block_x() * block_width() + thread_x()), head = int(block_y()), d = p.head_dim, width = p.heads * d;
  if (query >= p.queries) return;
  const long long prompt = block_z();
  const T* q = static_cast<const T*>(p.q) + prompt * p.q_batch + (long long)query * width + head * d;
  const T *k = static_cast<const T*>(p.k) + prompt * p.k_batch + head * d, *v = static_cast<const T*>(p.v) + prompt * p.v_batch + head * d;
  float top = -3.0e38f, sum = 0, out[kNaiveHeadDim];
  for (int i = 0; i < d; ++i) out[i] = 0;
  for (int key = 0; key < p.keys; ++key) top = larger(top, naive_dot(q, k + (long long)key * width, d) * p.scale);
  for (int key = 0; key < p.keys; ++key) {
    const float weight = exp_exact(naive_dot(q, k + (long long)key * width, d) * p.scale - top);
    sum += weight;
    for (int i = 0; i < d; ++i) out[i] = fma_exact(weight, to_float(v[(long long)key * width + i]), out[i]);
  }
  T* to = static_cast<T*>(p.out) + prompt * p.out_batch + (long long)query * width + head * d;
  for (int i = 0; i < d; ++i) to[i] = from_float<T>(out[i] / sum);
}

}  // namespace sampan::inline SAMPAN_ABI::kernels
