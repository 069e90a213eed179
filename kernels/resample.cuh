// resample: resizes of RGB bytes that are tables and short sums: OpenCV's nearest, and its area resize in three ways.
//
// Computes    ops/resize_cv2_nearest.hpp, ops/resize_cv2_area.hpp, to the last bit: the host makes the tables, sums are rounded one by one in the host's order
// Arch        sm_75 and later; integers and float.
// Launch      one thread per output pixel: grid (ceil(columns / 32), ceil(rows / 8)), 256 threads as 32 x 8, at most 64 registers
// Bound by    memory: the input once; lanes of a warp read neighbouring blocks of it
// Tested by   tests/emu/image_test.cpp
#pragma once
#include "params.hpp"
#include "pixel_place.cuh"

namespace sampan::inline SAMPAN_ABI::kernels {

static __global__ void __launch_bounds__(256) gather_pixels_kernel(const __grid_constant__ GatherParams p) {
  const PixelPlace at = pixel_place();
  if (at.y >= p.out_height || at.x >= p.out_width) return;
  const std::uint8_t* from = p.in + 3 * ((long long)p.row[at.y] * p.width + p.column[at.x]);
  std::uint8_t* to = p.out + 3 * ((long long)at.y * p.out_width + at.x);
  for (int c = 0; c < 3; ++c) to[c] = from[c];
}

SAMPAN_PTX std::uint8_t byte_of(int v) { return std::uint8_t(v < 0 ? 0 : v > 255 ? 255 : v); }

static __global__ void __launch_bounds__(256) area_sum_kernel(const __grid_constant__ AreaSumParams p) {
  const PixelPlace at = pixel_place();
  if (at.y >= p.out_height || at.x >= p.out_width) return;
  const int y0 = p.rows.begin[at.y], y1 = p.rows.begin[at.y + 1], x0 = p.columns.begin[at.x], x1 = p.columns.begin[at.x + 1];
  const std::uint8_t* row = p.in + 3 * ((long long)p.rows.from[at.y] * p.width + p.columns.from[at.x]);
  float sum[3] = {};
  for (int y = y0; y < y1; ++y, row += 3 * p.width) {
    float across[3] = {};
    for (int x = x0; x < x1; ++x)
      for (int c = 0; c < 3; ++c) across[c] = add_exact(across[c], mul_exact(float(row[3 * (x - x0) + c]), p.columns.weight[x]));
    for (int c = 0; c < 3; ++c) sum[c] = add_exact(sum[c], mul_exact(p.rows.weight[y], across[c]));
  }
  std::uint8_t* to = p.out + 3 * ((long long)at.y * p.out_width + at.x);
  for (int c = 0; c < 3; ++c) to[c] = byte_of(nearest_int(sum[c]));
}

static __global__ void __launch_bounds__(256) area_block_kernel(const __grid_constant__ AreaBlockParams p) {
  const PixelPlace at = pixel_place();
  if (at.y >= p.out_height || at.x >= p.out_width) return;
  const std::uint8_t* row = p.in + 3 * ((long long)at.y * p.block_height * p.width + (long long)at.x * p.block_width);
  int sum[3] = {};
  for (int y = 0; y < p.block_height; ++y, row += 3 * p.width)
    for (int x = 0; x < p.block_width; ++x)
      for (int c = 0; c < 3; ++c) sum[c] += row[3 * x + c];
  const float scale = 1.0f / float(p.block_height * p.block_width);
  std::uint8_t* to = p.out + 3 * ((long long)at.y * p.out_width + at.x);
  for (int c = 0; c < 3; ++c) to[c] = p.quarter ? std::uint8_t((sum[c] + 2) >> 2) : byte_of(nearest_int(mul_exact(float(sum[c]), scale)));
}

static __global__ void __launch_bounds__(256) area_linear_kernel(const __grid_constant__ AreaLinearParams p) {
  const PixelPlace at = pixel_place();
  if (at.y >= p.out_height || at.x >= p.out_width) return;
  const std::int32_t *v = p.rows + 4 * at.y, *t = p.columns + 4 * at.x;
  const std::uint8_t *above = p.in + 3LL * v[0] * p.width, *below = p.in + 3LL * v[1] * p.width;
  std::uint8_t* to = p.out + 3 * ((long long)at.y * p.out_width + at.x);
  for (int c = 0; c < 3; ++c) {
    const int a = 3 * t[0] + c, b = 3 * t[1] + c;
    const int h0 = above[a] * t[2] + above[b] * t[3], h1 = below[a] * t[2] + below[b] * t[3];
    to[c] = std::uint8_t((((v[2] * (h0 >> 4)) >> 16) + ((v[3] * (h1 >> 4)) >> 16) + 2) >> 2);  // OpenCV's own truncations
  }
}

}  // namespace sampan::inline SAMPAN_ABI::kernels
