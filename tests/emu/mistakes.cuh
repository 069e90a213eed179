// Small kernels with known mistakes, and their sound twins: what the emulator must find, and must not find. Data flow: kernels.cpp -> here.
#pragma once
#include "kernels/ptx.cuh"

namespace sampan::inline SAMPAN_ABI::kernels {

static __global__ void sum_of_block_kernel(const float* x, float* y, bool with_barriers) {
  float* s = shared_memory<float>();
  const unsigned t = thread_x(), n = block_width();
  s[t] = x[t];
  for (unsigned step = n / 2; step; step /= 2) {
    if (with_barriers || step > 16) block_sync();  // "a warp runs in lock step": no longer true
    if (t < step) s[t] += s[t + step];
  }
  block_sync();
  if (t == 0) y[0] = s[0];
}

static __global__ void pass_through_shared_kernel(const float* x, float* y, int mistake) {
  float* s = shared_memory<float>();
  const unsigned t = thread_x(), n = block_width();
  if (mistake != 2 || t % 2 == 0) s[t] = x[t];
  if (mistake != 1) block_sync();
  const float v = s[mistake == 3 && t == 0 ? n : n - 1 - t];
  y[t + (mistake == 4 && t == n - 1 ? 1 : 0)] = v;
}

static __global__ void copy_through_shared_kernel(const float* x, float* y, int mistake) {
  float* s = shared_memory<float>();
  const unsigned t = thread_x(), n = block_width();
  copy_async_16(s + 4 * t, x + 4 * t, 16);
  copy_commit();
  copy_async_16(s + 4 * (n + t), x + 4 * (n + t), t % 2 ? 8 : 16);
  copy_commit();
  if (mistake == 2) copy_wait<1>();
  if (mistake == 0 || mistake == 3) copy_wait<0>();
  if (mistake != 3) block_sync();
  for (unsigned i = 0; i < 4; ++i) {
    y[4 * t + i] = s[4 * (n - 1 - t) + i];
    y[4 * (n + t) + i] = s[4 * (2 * n - 1 - t) + i];
  }
  if (mistake == 1) copy_wait<0>();
}

static __global__ void diverging_kernel(int mistake) {
  const unsigned t = thread_x();
  if (mistake == 1) {
    if (t < 32) {
      block_sync();
    } else {
      warp_sync();
      block_sync();
    }
  }
  if (mistake == 2 && t != 5) warp_sync();
  if (mistake == 3) {
    if (t == 7) return;
    block_sync();
  }
}

static __global__ void blocks_overlap_kernel(float* y) {
  if (thread_x() == 0) y[block_x() / 2] = 1;
}

static __global__ void strided_kernel(const float* x, float* y, int stride) {
  float* s = shared_memory<float>();
  const unsigned t = thread_x();
  for (unsigned i = t; i < 32 * unsigned(stride); i += 32) s[i] = x[i];
  block_sync();
  y[t] = s[t * unsigned(stride)];
}

}  // namespace sampan::inline SAMPAN_ABI::kernels
