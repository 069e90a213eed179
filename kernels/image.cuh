// image: what surrounds the network, on the device: Pillow's resize to the last bit, normalisation with padding, bilinear logits and their threshold.
//
// Computes    ops/resize_pillow_bilinear.hpp, image/normalize.hpp, ops/resize_torch_bilinear.hpp and the comparison of predict/postprocess.hpp
// Arch        sm_75 and later; integers for Pillow (equal to the CPU's), float elsewhere; positions of the bilinear resize in double, as PyTorch 1.13 has them.
// Launch      one thread per output pixel: grid (ceil(columns / 32), ceil(rows / 8)), 256 threads as 32 x 8
// Bound by    memory
// Tested by   tests/emu/image_test.cpp
#pragma once
#include "params.hpp"
#include "ptx.cuh"

namespace sampan::inline SAMPAN_ABI::kernels {

struct PixelPlace {
  int y, x;
};
SAMPAN_PTX PixelPlace pixel_place() { return {int(block_y() * 8 + thread_x() / 32), int(block_x() * 32 + thread_x() % 32)}; }

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

static __global__ void __launch_bounds__(256) normalize_kernel(const __grid_constant__ NormalizeParams p) {
  const PixelPlace at = pixel_place();
  if (at.y >= p.side || at.x >= p.side) return;
  const bool real = at.y < p.height && at.x < p.width;
  const std::uint8_t* from = p.in + 3 * ((long long)at.y * p.width + at.x);
  float* to = p.out + 3 * ((long long)at.y * p.side + at.x);
  for (int c = 0; c < 3; ++c) to[c] = real ? (float(from[c]) - p.mean[c]) / p.std[c] : 0.0f;
}

/// in[i0] w0 + in[i1] w1 for output o of `out`.
struct BilinearAt {
  int i0, i1;
  float w0, w1;
};
SAMPAN_PTX BilinearAt bilinear_at(int in, int out, int o) {
  double at = double(float(in) / float(out)) * (double(o) + 0.5) - 0.5;
  if (at < 0) at = 0;
  int i = int(at);
  if (i > in - 1) i = in - 1;
  float w1 = float(at - double(i));
  if (w1 > 1) w1 = 1;
  return {i, i + 1 < in ? i + 1 : i, 1.0f - w1, w1};
}

static __global__ void __launch_bounds__(256) resize_bilinear_kernel(const __grid_constant__ ResizeParams p) {
  const PixelPlace at = pixel_place();
  if (at.y >= p.out_height || at.x >= p.out_width) return;
  const BilinearAt y = bilinear_at(p.height, p.out_height, at.y), x = bilinear_at(p.width, p.out_width, at.x);
  const float *above = p.in + (long long)y.i0 * p.stride, *below = p.in + (long long)y.i1 * p.stride;
  const float a = x.w0 * above[x.i0] + x.w1 * above[x.i1], b = x.w0 * below[x.i0] + x.w1 * below[x.i1], v = y.w0 * a + y.w1 * b;
  const long long to = (long long)at.y * p.out_width + at.x;
  if (p.out) p.out[to] = v;
  if (p.mask) p.mask[to] = v > p.threshold ? 1 : 0;
}

}  // namespace sampan::inline SAMPAN_ABI::kernels
