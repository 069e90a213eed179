// attention, naive: one thread per query and head, straight from the definition. For reading, and as the device reference of attention_global.cuh and
// attention_window.cuh.
//
// Computes    ops/attend.hpp: windows of any size with padding tokens that are zeros, or all tokens; decomposed positions or a bias table; float arithmetic.
// Launch      grid (ceil(height * width / 32), heads, images), 32 threads.   Ladder: this file -> attention_global.cuh, attention_window.cuh
// Two passes over the keys (largest score, then sums): no state but the accumulators.
#pragma once
#include "../params.hpp"
#include "../ptx.cuh"

namespace sampan::inline SAMPAN_ABI::kernels {

inline constexpr int kNaiveHeadDim = 128;

template <class T, class U>
SAMPAN_PTX float naive_dot(const T* a, const U* b, int n) {
  float sum = 0;
  for (int i = 0; i < n; ++i) sum = fma_exact(to_float(a[i]), to_float(b[i]), sum);
  return sum;
}
template <class T>
static __global__ void attention_naive_kernel(const __grid_constant__ AttentionParams p) {
  const int token = int(block_x() * block_width() + thread_x()), head = int(block_y()), d = p.head_dim;
  if (token >= p.height * p.width) return;
  const int qy = token / p.width, qx = token % p.width, n = p.window ? p.window : 0;
  const int y0 = n ? qy / n * n : 0, x0 = n ? qx / n * n : 0, rows = n ? n : p.height, columns = n ? n : p.width;
  const long long stride = 3LL * p.heads * d;
  const long long image = (long long)block_z() * p.height * p.width;
  const T* qkv = static_cast<const T*>(p.qkv) + image * stride;
  const T* q = qkv + token * stride + head * d;

  const auto score = [&](int y, int x) {  // of key (y, x) of the window
    const bool real = y0 + y < p.height && x0 + x < p.width;
    const T* k = qkv + ((long long)(y0 + y) * p.width + x0 + x) * stride + (p.heads + head) * d;
    float s = real ? naive_dot(q, k, d) * p.scale : 0.0f;
    if (p.rel_h) s += naive_dot(q, p.rel_h + (qy - y0 - y + rows - 1) * d, d) + naive_dot(q, p.rel_w + (qx - x0 - x + columns - 1) * d, d);
    if (p.bias) s += p.bias[((long long)head * rows * columns + (qy - y0) * columns + (qx - x0)) * rows * columns + y * columns + x];
    if (p.table) {
      const int dy = qy - y0 - y, dx = qx - x0 - x;
      s += p.table[((long long)head * rows + (dy < 0 ? -dy : dy)) * columns + (dx < 0 ? -dx : dx)];
    }
    return s;
  };
  float top = -3.0e38f, sum = 0, out[kNaiveHeadDim];
  for (int i = 0; i < d; ++i) out[i] = 0;
  for (int y = 0; y < rows; ++y)
    for (int x = 0; x < columns; ++x) top = larger(top, score(y, x));
  for (int y = 0; y < rows; ++y)
    for (int x = 0; x < columns; ++x) {
      const float weight = exp_exact(score(y, x) - top);
      sum += weight;
      if (y0 + y >= p.height || x0 + x >= p.width) continue;
      const T* v = qkv + ((long long)(y0 + y) * p.width + x0 + x) * stride + (2 * p.heads + head) * d;
      for (int i = 0; i < d; ++i) out[i] += weight * to_float(v[i]);
    }
  T* to = static_cast<T*>(p.out) + ((image + token) * p.heads + head) * d;
  for (int i = 0; i < d; ++i) to[i] = from_float<T>(out[i] / sum);
}

}  // namespace sampan::inline SAMPAN_ABI::kernels
