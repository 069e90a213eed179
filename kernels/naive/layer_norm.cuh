// layer_norm, naive: one thread per row, three passes. For reading, and as the definition that the fast kernel is compared with.
//
// Computes    ops/layer_norm.hpp.   Launch: any grid and block; threads beyond the rows do nothing.   Ladder: this file -> layer_norm.cuh
#pragma once
#include "../params.hpp"
#include "../ptx.cuh"

namespace sampan::inline SAMPAN_ABI::kernels {

template <class T>
static __global__ void layer_norm_naive_kernel(const __grid_constant__ LayerNormParams p) {
  const int row = int(block_x() * block_width() + thread_x());
  if (row >= p.rows) return;
  const float* x = p.x + row * p.x_stride;
  T* y = static_cast<T*>(p.y) + row * p.y_stride;
  float sum = 0, squares = 0;
  for (int i = 0; i < p.channels; ++i) sum += x[i];
  const float mean = sum / float(p.channels);
  for (int i = 0; i < p.channels; ++i) squares += (x[i] - mean) * (x[i] - mean);
  const float scale = 1.0f / sqrt_exact(squares / float(p.channels) + p.eps);
  for (int i = 0; i < p.channels; ++i) y[i] = from_float<T>((x[i] - mean) * scale * p.gamma[i] + p.beta[i]);
}

}  // namespace sampan::inline SAMPAN_ABI::kernels
