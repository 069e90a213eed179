// layer_norm: one warp per row, the row in registers, so that global memory is read once and written once.
//
// Computes    ops/layer_norm.hpp
// Arch        sm_75 and later; float in, float / f16 / bf16 out, statistics in float (two passes over registers: no cancellation).
// Launch      grid (ceil(rows / 4)), 128 threads, no shared memory. channels: a multiple of 32, at most 32 * kLayerNormSteps.
// Registers   goal <= 96: up to 40 values of a row per lane; checked from the compiler's report
// Bound by    memory: 4 bytes in, 4 or 2 out per element
// Ladder      naive/layer_norm.cuh -> this file
// Tested by   tests/emu/layer_norm_test.cpp
#pragma once
#include "params.hpp"
#include "ptx.cuh"

namespace sampan::inline SAMPAN_ABI::kernels {

inline constexpr int kLayerNormSteps = 40;  // 1280 channels: ViT-H (launch.hpp says so to callers)

/// Sum over the lanes of a warp, the same bits in each of them.
SAMPAN_PTX float warp_sum(float v) {
  for (int mask = 16; mask; mask /= 2) v += shuffle_xor(v, mask);
  return v;
}

template <class T>
static __global__ void __launch_bounds__(128) layer_norm_kernel(const __grid_constant__ LayerNormParams p) {
  const int row = int(block_x() * 4 + thread_x() / 32), lane = int(thread_x() % 32);
  if (row >= p.rows) return;  // a whole warp
  const float* x = p.x + row * p.x_stride + lane;
  T* y = static_cast<T*>(p.y) + row * p.y_stride + lane;
  const int steps = p.channels / 32;
  float v[kLayerNormSteps], sum = 0, squares = 0;
#pragma unroll
  for (int i = 0; i < kLayerNormSteps; ++i)
    if (i < steps) sum += v[i] = x[32 * i];
  const float mean = warp_sum(sum) / float(p.channels);
#pragma unroll
  for (int i = 0; i < kLayerNormSteps; ++i)
    if (i < steps) squares += (v[i] - mean) * (v[i] - mean);
  const float scale = 1.0f / sqrt_exact(warp_sum(squares) / float(p.channels) + p.eps);
#pragma unroll
  for (int i = 0; i < kLayerNormSteps; ++i)
    if (i < steps) y[32 * i] = from_float<T>((v[i] - mean) * scale * p.gamma[lane + 32 * i] + p.beta[lane + 32 * i]);
}

}  // namespace sampan::inline SAMPAN_ABI::kernels
