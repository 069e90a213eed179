// image: what surrounds the network, on the device: Pillow's resize and the bilinear one of logits, to the last bit.
//
// Computes    ops/resize_pillow_bilinear.hpp, ops/resize_torch_bilinear.hpp and its comparison with a threshold
// Arch        sm_75 and later; integers for Pillow (equal to the CPU's), float elsewhere, in the order and rounding of the literal definition.
// Launch      one thread per output pixel: grid (ceil(columns / 32), ceil(rows / 8)), 256 threads as 32 x 8
// Bound by    memory
// Tested by   tests/emu/image_test.cpp
#pragma once
#include "bilinear_at.cuh"
#include "params.hpp"
#include "pixel_place.cuh"

namespace sampan::inline SAMPAN_ABI::kernels {

static __global__ void __launch_bounds__(256) pillow_pass_kernel(const __grid_constant__ PillowParams p) {
  const PixelPlace at = pixel_place();
  const int rows = p.across ? p.height : p.size, columns = p.across ? p.size : p.width, o = p.across ? at.x : at.y;
  if (at.y >= rows || at.x >= columns) return;
  int sum[3] = {1 << 21, 1 << 21, 1 << 21};
  const int step = p.across ? 3 : 3 * p.width;
  const std::uint8_t* from = p.in + (p.across ? 3 * ((long long)at.y * p.width + p.first[o]) : 3 * ((long long)p.first[o] * p.width + at.x));
  for (int k = 0; k < p.count[o]; ++k, from += step) {
    const int w = p.weights[o * p.taps + k];
    for (int c = 0; c < 3; ++c) sum[c] += from[c] * w;
  }
  std::uint8_t* to = p.out + 3 * ((long long)at.y * columns + at.x);
  for (int c = 0; c < 3; ++c) to[c] = std::uint8_t(sum[c] >> 22);  // weights are not negative and sum to 2^22 but for rounding: 0 .. 255
}

static __global__ void __launch_bounds__(256) resize_bilinear_kernel(const __grid_constant__ ResizeParams p) {
  const PixelPlace at = pixel_place();
  if (at.y >= p.out_height || at.x >= p.out_width) return;
  const BilinearAt y = bilinear_at(p.height, p.out_height, at.y), x = bilinear_at(p.width, p.out_width, at.x);
  const float *above = p.in + (long long)y.i0 * p.stride, *below = p.in + (long long)y.i1 * p.stride;
  const float v = bilinear_value(above, below, y, x);
  const long long to = (long long)at.y * p.out_width + at.x;
  if (p.out) p.out[to] = v;
  if (p.mask) p.mask[to] = v > p.threshold ? 1 : 0;
}

}  // namespace sampan::inline SAMPAN_ABI::kernels
