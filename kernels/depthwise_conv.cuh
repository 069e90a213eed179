// depthwise_conv: 3x3, one filter per channel, BatchNorm folded, GELU if asked: what TinyViT has between its matrix products.
//
// Computes    ops/depthwise_conv.hpp for 3x3 and padding 1
// Arch        sm_75 and later; float / f16 / bf16 maps, float weights and sums.
// Launch      grid (ceil(channels / 128), output columns, output rows), 128 threads: a block is one output pixel, lanes are channels; no shared memory
// Bound by    memory: the nine reads of a value hit the caches, since neighbouring blocks share rows
// Tested by   tests/emu/image_test.cpp
#pragma once
#include "finish_rows.cuh"

namespace sampan::inline SAMPAN_ABI::kernels {

template <class T>
static __global__ void __launch_bounds__(128) depthwise_conv_kernel(const __grid_constant__ DepthwiseParams p) {
  const int c = int(block_x() * 128 + thread_x()), x0 = int(block_y()) * p.stride - 1, y0 = int(block_z()) * p.stride - 1, out_width = (p.width - 1) / p.stride + 1;
  if (c >= p.channels) return;
  const T* x = static_cast<const T*>(p.x);
  float sum = p.bias[c];
#pragma unroll
  for (int tap = 0; tap < 9; ++tap) {
    const int y = y0 + tap / 3, column = x0 + tap % 3;
    if (y >= 0 && y < p.height && column >= 0 && column < p.width) sum = fma_exact(to_float(x[((long long)y * p.width + column) * p.channels + c]), p.weights[tap * p.channels + c], sum);
  }
  static_cast<T*>(p.y)[((long long)block_z() * out_width + block_y()) * p.channels + c] = from_float<T>(activate(sum, p.activate));
}

}  // namespace sampan::inline SAMPAN_ABI::kernels
