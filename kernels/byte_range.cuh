// byte_range: the extremes of an image, and bytes to floats by a table: what normalisation needs.
//
// Computes    image/normalize.hpp to the last bit: there are 256 values, so that a table of the host's arithmetic (or the same division in double here) is exact
// Arch        sm_75 and later.
// Launch      byte_range: grid (blocks), 256 threads, 64 B shared: a pair per warp; range_table: one block of 256 threads; map_bytes: one thread per pixel of the
//             square, grid (ceil(side / 32), ceil(side / 8)), 256 threads; at most 64 registers
// Bound by    memory
// Tested by   tests/emu/image_test.cpp
#pragma once
#include "params.hpp"
#include "pixel_place.cuh"

namespace sampan::inline SAMPAN_ABI::kernels {

inline constexpr int kByteRangeSharedBytes = 8 * 2 * 4;

static __global__ void __launch_bounds__(256) byte_range_kernel(const __grid_constant__ ByteRangeParams p) {
  const int t = int(thread_x());
  float least = 255, largest = 0;
  for (long long i = (long long)block_x() * 256 + t; i < p.n; i += 256LL * p.blocks) {
    const float v = float(p.in[i]);
    least = -larger(-least, -v), largest = larger(largest, v);
  }
  for (int mask = 16; mask > 0; mask /= 2) least = -larger(-least, -shuffle_xor(least, mask)), largest = larger(largest, shuffle_xor(largest, mask));
  float* pairs = shared_memory<float>();
  if (t % 32 == 0) pairs[t / 32 * 2] = least, pairs[t / 32 * 2 + 1] = largest;
  block_sync();
  if (t > 0) return;
  for (int w = 1; w < 8; ++w) least = -larger(-least, -pairs[2 * w]), largest = larger(largest, pairs[2 * w + 1]);
  p.partial[2 * block_x()] = least, p.partial[2 * block_x() + 1] = largest;
}

static __global__ void __launch_bounds__(256) range_table_kernel(const __grid_constant__ RangeTableParams p) {
  float least = 255, largest = 0;
  for (int b = 0; b < p.blocks; ++b) least = -larger(-least, -p.partial[2 * b]), largest = larger(largest, p.partial[2 * b + 1]);
  const int v = int(thread_x());
  const double range = largest > least ? double(largest - least) : 1e-8;
  const float value = float(double(v - int(least)) / range);
  for (int c = 0; c < 3; ++c) p.table[256 * c + v] = value;
  if (v == 0) p.range[0] = least, p.range[1] = largest;
}

static __global__ void __launch_bounds__(256) map_bytes_kernel(const __grid_constant__ MapBytesParams p) {
  const PixelPlace at = pixel_place();
  if (at.y >= p.side || at.x >= p.side) return;
  const int y = at.y - p.top, x = at.x - p.left;
  const bool real = y >= 0 && y < p.height && x >= 0 && x < p.width;
  const std::uint8_t* from = p.in + 3 * ((long long)y * p.width + x);
  float* to = p.out + 3 * ((long long)at.y * p.side + at.x);
  for (int c = 0; c < 3; ++c) to[c] = real ? p.table[256 * c + from[c]] : 0.0f;
}

}  // namespace sampan::inline SAMPAN_ABI::kernels
