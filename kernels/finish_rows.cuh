// finish_rows: what stands around a matrix product: bias, activation, residual, conversion to 16 bits, on rows with strides; also copies and sums of rows.
// (cuBLASLt's GELU epilogue is the tanh form, and its ReLU does not say what becomes of NaN.)
//
// Computes    ops/activation.hpp, ops/elementwise.hpp
// Arch        sm_75 and later; float in, float / f16 / bf16 out.
// Launch      grid (ceil(rows * channels / 1024)), 256 threads, four elements each at a distance of 256, so that lanes read neighbours; no shared memory.
// Bound by    memory: 4 bytes in (8 with a residual), 4 or 2 out per element
// Ladder      this file (an element-wise kernel has no simpler form)
// Tested by   tests/emu/elementwise_test.cpp
#pragma once
#include "params.hpp"
#include "ptx.cuh"

namespace sampan::inline SAMPAN_ABI::kernels {

SAMPAN_PTX float activate(float x, Activate a) {
  if (a == Activate::gelu) return 0.5f * x * (1.0f + erf_exact(x * 0.70710678118654752f));
  return a == Activate::relu && x < 0 ? 0.0f : x;
}

template <class T>
static __global__ void __launch_bounds__(256) finish_rows_kernel(const __grid_constant__ FinishParams p) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const long long at = (long long)block_x() * 1024 + i * 256 + thread_x(), row = at / p.channels;
    if (row >= p.rows) return;
    const int channel = int(at - row * p.channels);
    float v = p.x[row % p.x_rows * p.x_stride + channel];
    if (p.bias) v += p.bias[channel];
    v = activate(v, p.activate);
    if (p.residual) v = fma_exact(p.factor, p.residual[row % p.residual_rows * p.residual_stride + channel], v);
    static_cast<T*>(p.y)[row * p.y_stride + channel] = from_float<T>(v);
  }
}

}  // namespace sampan::inline SAMPAN_ABI::kernels
