// channel_gate: means of channels, and channels times a gate: what SAM-Med2D's adapter has around two small linear layers.
//
// Computes    ops/channel_gate.hpp
// Arch        sm_75 and later; float, means summed in double as there.
// Launch      channel_mean: grid (ceil(channels / 32)), 256 threads: lanes are channels, each of the 8 warps takes every eighth row; shared memory 256 doubles.
//             gate_rows: grid (ceil(rows * channels / 256)), 256 threads.
// Bound by    memory
// Tested by   tests/emu/elementwise_test.cpp
#pragma once
#include "params.hpp"
#include "ptx.cuh"

namespace sampan::inline SAMPAN_ABI::kernels {

inline constexpr int kMeanSharedBytes = 256 * 8;

static __global__ void __launch_bounds__(256) channel_mean_kernel(const __grid_constant__ GateParams p) {
  double* part = shared_memory<double>();
  const int lane = int(thread_x() % 32), channel = int(block_x() * 32) + lane;
  double sum = 0;
  if (channel < p.channels)
    for (int row = int(thread_x() / 32); row < p.rows; row += 8) sum += double(p.x[(long long)row * p.channels + channel]);
  part[thread_x()] = sum;
  block_sync();
  if (thread_x() >= 32 || channel >= p.channels) return;
  for (int warp = 1; warp < 8; ++warp) sum += part[warp * 32 + lane];
  p.mean[channel] = float(sum / p.rows);
}

static __global__ void __launch_bounds__(256) gate_rows_kernel(const __grid_constant__ GateParams p) {
  const long long at = (long long)block_x() * 256 + thread_x();
  if (at >= (long long)p.rows * p.channels) return;
  p.y[at] = p.x[at] / (1.0f + exp_exact(-p.gate[at % p.channels]));
}

}  // namespace sampan::inline SAMPAN_ABI::kernels
