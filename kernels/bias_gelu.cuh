// bias_gelu: what follows a matrix product without an epilogue of its own: bias, exact GELU, residual, conversion. (cuBLASLt's GELU epilogue is the tanh form.)
//
// Computes    ops/activation.hpp (gelu_erf), ops/elementwise.hpp
// Arch        sm_75 and later; float in, float / f16 / bf16 out.
// Launch      grid (ceil(count / 1024)), 256 threads, four elements each at a distance of 256, so that lanes read neighbours; no shared memory.
// Bound by    memory: 4 bytes in (8 with a residual), 4 or 2 out per element
// Ladder      this file (an element-wise kernel has no simpler form)
// Tested by   tests/emu/bias_gelu_test.cpp
#pragma once
#include "params.hpp"
#include "ptx.cuh"

namespace sampan::inline SAMPAN_ABI::kernels {

SAMPAN_PTX float gelu_erf(float x) { return 0.5f * x * (1.0f + erf_exact(x * 0.70710678118654752f)); }

template <class T>
static __global__ void __launch_bounds__(256) bias_gelu_kernel(const __grid_constant__ BiasParams p) {
  T* y = static_cast<T*>(p.y);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const long long at = (long long)block_x() * 1024 + i * 256 + thread_x();
    if (at >= p.count) return;
    float v = p.x[at];
    if (p.bias) v += p.bias[at % p.channels];
    if (p.gelu) v = gelu_erf(v);
    if (p.residual) v += p.residual[at];
    y[at] = from_float<T>(v);
  }
}

}  // namespace sampan::inline SAMPAN_ABI::kernels
