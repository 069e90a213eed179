// mask_rows: logits or probabilities -> the mask's bytes at the image's size, with what its area, extent and stability are made of.
//
// Computes    predict/postprocess.hpp (finish_mask): bilinear values compared as they are made; every product and sum is rounded, so that they have the bits of the
//             literal definition (ops/resize_torch_bilinear.hpp without fused multiply-adds)
// Arch        sm_75 and later.
// Launch      mask_rows: grid (out_height, planes), 256 threads, 160 B shared: five counts per warp; sigmoid: one thread per value; at most 64 registers
// Bound by    the mask's bytes; logits stay in the caches
// Tested by   tests/emu/mask_test.cpp
#pragma once
#include "bilinear_at.cuh"
#include "params.hpp"

namespace sampan::inline SAMPAN_ABI::kernels {

static __global__ void __launch_bounds__(256) sigmoid_kernel(const __grid_constant__ SigmoidParams p) {
  const long long i = (long long)block_x() * 256 + thread_x();
  if (i < p.n) p.y[i] = 1.0f / add_exact(1.0f, exp_exact(-p.x[i]));
}

inline constexpr int kMaskRowsSharedBytes = 8 * 5 * 4;

static __global__ void __launch_bounds__(256) mask_rows_kernel(const __grid_constant__ MaskRowsParams p) {
  const int t = int(thread_x()), y = int(block_x()), plane = int(block_y());
  if (p.score[plane] <= p.limits[3]) return;  // of a whole block; NaN stays in, as on the host
  const float threshold = p.limits[0], inner = p.limits[1], outer = p.limits[2];
  const long long row = (long long)plane * p.out_height + y;
  std::uint8_t* mask = p.mask + row * p.out_width;
  const BilinearAt v = bilinear_at(p.height, p.out_height, y);
  const float *above = p.in + plane * p.plane + (long long)v.i0 * p.stride, *below = p.in + plane * p.plane + (long long)v.i1 * p.stride;
  float counts[5] = {0, 0, 0, -float(p.out_width), -1};  // the fourth is minus the first column: all but the first three are maxima
  for (int x = t; x < p.out_width; x += 256) {
    const float value = bilinear_value(above, below, v, bilinear_at(p.width, p.out_width, x));
    const bool in = value > threshold;
    mask[x] = in ? 1 : 0;
    counts[0] += in ? 1.0f : 0.0f, counts[1] += value > inner ? 1.0f : 0.0f, counts[2] += value > outer ? 1.0f : 0.0f;
    if (in) counts[3] = larger(counts[3], -float(x)), counts[4] = float(x);
  }
  // Floats hold every whole number up to 2^24; the launcher refuses wider rows.
  const auto join = [](int i, float a, float b) { return i < 3 ? a + b : larger(a, b); };
  for (int i = 0; i < 5; ++i)
    for (int other = 16; other > 0; other /= 2) counts[i] = join(i, counts[i], shuffle_xor(counts[i], other));
  float* warps = shared_memory<float>();
  if (t % 32 == 0)
    for (int i = 0; i < 5; ++i) warps[t / 32 * 5 + i] = counts[i];
  block_sync();
  if (t >= 5) return;
  float all = warps[t];
  for (int w = 1; w < 8; ++w) all = join(t, all, warps[5 * w + t]);
  p.counts[5 * row + t] = t == 3 ? -int(all) : int(all);
}

}  // namespace sampan::inline SAMPAN_ABI::kernels
