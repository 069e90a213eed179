// scatter_taps: what turns a matrix product into a transposed convolution: every output pixel gathers the taps that fall on it.
//
// Computes    ops/conv_transpose2d.hpp behind the product with [in, kernel * kernel * out]
// Arch        sm_75 and later; float.
// Launch      grid (ceil(outputs / 256)), 256 threads, one output each, lanes are channels; no shared memory, no atomic: the sum's order is fixed
// Bound by    memory: every tap is read once
// Tested by   tests/emu/elementwise_test.cpp
#pragma once
#include "finish_rows.cuh"

namespace sampan::inline SAMPAN_ABI::kernels {

static __global__ void __launch_bounds__(256) scatter_taps_kernel(const __grid_constant__ ScatterParams p) {
  const long long at = (long long)block_x() * 256 + thread_x(), pixel = at / p.channels;
  const int channel = int(at - pixel * p.channels), out_width = p.width * p.stride, s = p.stride;
  if (pixel >= (long long)p.height * s * out_width) return;
  const int y = int(pixel / out_width) + p.pad, x = int(pixel % out_width) + p.pad;
  float sum = p.bias ? p.bias[channel] : 0.0f;
  for (int ky = y % s; ky < p.kernel && ky <= y; ky += s)
    for (int kx = x % s; kx < p.kernel && kx <= x; kx += s) {
      const int iy = (y - ky) / s, ix = (x - kx) / s;
      if (iy < p.height && ix < p.width) sum += p.columns[(((long long)iy * p.width + ix) * p.kernel * p.kernel + ky * p.kernel + kx) * p.channels + channel];
    }
  p.y[at] = activate(sum, p.activate);
}

}  // namespace sampan::inline SAMPAN_ABI::kernels
