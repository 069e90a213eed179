// cross_attention: the decoder's attention between a few tokens and the pixels, both ways; no score reaches memory.
//
// Computes    the core of ops/cross_attention.hpp (projections are matrix products)
// Arch        sm_75 and later; float / f16 / bf16 operands, float arithmetic. head_dim 16, 32, 64.
// Launch      tokens ask (few queries): grid (queries, heads, batch), 128 threads. Every thread takes keys at a distance of 128 with a softmax of its own; then the 128 are
//             joined: in a warp by shuffles, between warps through shared memory.
//             pixels ask (few keys): grid (ceil(queries / 128), heads, batch), 128 threads, one query each; K and V of the head in shared memory.
// Shared      cross_shared_bytes()
// Bound by    memory when tokens ask (K and V are read once per token, from L2), arithmetic of special functions when pixels ask
// Tested by   tests/emu/decoder_test.cpp
#pragma once
#include "params.hpp"
#include "ptx.cuh"

namespace sampan::inline SAMPAN_ABI::kernels {

/// Floats per warp in shared memory: top, sum, output.
template <int kHeadDim>
inline constexpr int kCrossPart = kHeadDim + 2;
template <int kHeadDim>
inline constexpr int kTokensAskSharedBytes = 4 * 4 * kCrossPart<kHeadDim>;
/// K and V of one head in float.
constexpr int pixels_ask_shared_bytes(int keys, int head_dim) { return 2 * 4 * keys * head_dim; }

/// query [d] = q in units of log2.
template <class T, int kHeadDim>
SAMPAN_PTX void load_query(float (&query)[kHeadDim], const T* q, float scale) {
  constexpr float kLog2e = 1.44269504088896341f;
#pragma unroll
  for (int i = 0; i < kHeadDim; ++i) query[i] = to_float(q[i]) * scale * kLog2e;
}
template <class T, int kHeadDim>
SAMPAN_PTX float score_of(const float (&query)[kHeadDim], const T* key) {
  float s = 0;
#pragma unroll
  for (int i = 0; i < kHeadDim; ++i) s = fma_exact(query[i], to_float(key[i]), s);
  return s;
}

template <int kHeadDim>
struct CrossState {
  float top = -3.0e38f, sum = 0, out[kHeadDim] = {};

  /// Takes one key: score s in units of log2, value v.
  template <class T>
  SAMPAN_PTX void take(float s, const T* v) {
    const float next = larger(top, s), alpha = exp2_fast(top - next), weight = exp2_fast(s - next);
    top = next;
    sum = sum * alpha + weight;
#pragma unroll
    for (int i = 0; i < kHeadDim; ++i) out[i] = fma_exact(weight, to_float(v[i]), out[i] * alpha);
  }
};

template <class T, int kHeadDim>
static __global__ void __launch_bounds__(128) cross_attention_tokens_kernel(const __grid_constant__ CrossAttentionParams p) {
  float* shared = shared_memory<float>();
  constexpr int d = kHeadDim;
  const int width = p.heads * d, head = int(block_y()), warp = int(thread_x() / 32), lane = int(thread_x() % 32);
  const long long prompt = block_z();
  const T* q = static_cast<const T*>(p.q) + prompt * p.q_batch + (long long)block_x() * width + head * d;
  const T *k = static_cast<const T*>(p.k) + prompt * p.k_batch + head * d, *v = static_cast<const T*>(p.v) + prompt * p.v_batch + head * d;
  CrossState<kHeadDim> a;
  float query[kHeadDim];
  load_query(query, q, p.scale);
  for (int key = int(thread_x()); key < p.keys; key += 128) a.take(score_of(query, k + (long long)key * width), v + (long long)key * width);
  // The lanes of a warp, then the warps: states with the same top add up.
  float top = a.top;
  for (int mask = 16; mask; mask /= 2) top = larger(top, shuffle_xor(top, mask));
  const float alpha = exp2_fast(a.top - top);
  float sum = a.sum * alpha;
  for (int mask = 16; mask; mask /= 2) sum += shuffle_xor(sum, mask);
  float* part = shared + warp * kCrossPart<kHeadDim>;
  if (lane == 0) part[0] = top, part[1] = sum;
#pragma unroll
  for (int i = 0; i < kHeadDim; ++i) {
    float o = a.out[i] * alpha;
    for (int mask = 16; mask; mask /= 2) o += shuffle_xor(o, mask);
    if (lane == i % 32) part[2 + i] = o;
  }
  block_sync();
  for (int i = int(thread_x()); i < d; i += 128) {
    float all = shared[0], total = 0, out = 0;
    for (int w = 1; w < 4; ++w) all = larger(all, shared[w * kCrossPart<kHeadDim>]);
    for (int w = 0; w < 4; ++w) {
      const float factor = exp2_fast(shared[w * kCrossPart<kHeadDim>] - all);
      total = fma_exact(shared[w * kCrossPart<kHeadDim> + 1], factor, total);
      out = fma_exact(shared[w * kCrossPart<kHeadDim> + 2 + i], factor, out);
    }
    static_cast<T*>(p.out)[prompt * p.out_batch + (long long)block_x() * width + head * d + i] = from_float<T>(out / total);
  }
}

template <class T, int kHeadDim>
static __global__ void __launch_bounds__(128) cross_attention_pixels_kernel(const __grid_constant__ CrossAttentionParams p) {
  float* keys = shared_memory<float>();
  constexpr int d = kHeadDim;
  const int width = p.heads * d, head = int(block_y()), n = p.keys * d, query = int(block_x() * 128 + thread_x());
  const long long prompt = block_z();
  float* values = keys + n;
  for (int i = int(thread_x()); i < n; i += 128) {
    const long long at = (long long)(i / d) * width + head * d + i % d;
    keys[i] = to_float(static_cast<const T*>(p.k)[prompt * p.k_batch + at]);
    values[i] = to_float(static_cast<const T*>(p.v)[prompt * p.v_batch + at]);
  }
  block_sync();
  if (query >= p.queries) return;
  const T* q = static_cast<const T*>(p.q) + prompt * p.q_batch + (long long)query * width + head * d;
  CrossState<kHeadDim> a;
  float row[kHeadDim];
  load_query(row, q, p.scale);
  for (int key = 0; key < p.keys; ++key) a.take(score_of(row, keys + key * d), values + key * d);
  T* out = static_cast<T*>(p.out) + prompt * p.out_batch + (long long)query * width + head * d;
#pragma unroll
  for (int i = 0; i < kHeadDim; ++i) out[i] = from_float<T>(a.out[i] / a.sum);
}

}  // namespace sampan::inline SAMPAN_ABI::kernels
