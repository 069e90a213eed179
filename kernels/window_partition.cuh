// window_partition and window_unpartition: a map cut into windows and back. For teaching, tests and microbenchmarks: the attention kernels address windows in
// place and never call them.
//
// Computes    ops/window_partition.hpp
// Arch        sm_75 and later; any element type (moved, not computed with).
// Launch      grid (windows * window * window), 128 threads: one block per token of a window; no shared memory.
// Bound by    memory: every element read once and written once
// Tested by   tests/emu/window_partition_test.cpp
#pragma once
#include "params.hpp"
#include "ptx.cuh"

namespace sampan::inline SAMPAN_ABI::kernels {

struct WindowToken {
  long long map;  ///< row of the map, -1: padding
  long long windowed;
};
/// Token of this block: windows row by row, tokens of a window row by row.
SAMPAN_PTX WindowToken window_token(const WindowParams& p) {
  const int n = p.window, across = (p.width + n - 1) / n, token = int(block_x()) % (n * n), window = int(block_x()) / (n * n);
  const int y = window / across * n + token / n, x = window % across * n + token % n;
  return {y < p.height && x < p.width ? (long long)y * p.width + x : -1, (long long)block_x()};
}

template <class T>
static __global__ void __launch_bounds__(128) window_partition_kernel(const __grid_constant__ WindowParams p) {
  const WindowToken t = window_token(p);
  const T* x = static_cast<const T*>(p.x) + t.map * p.channels;
  T* y = static_cast<T*>(p.y) + t.windowed * p.channels;
  const T* pad = static_cast<const T*>(p.pad);
  for (int i = int(thread_x()); i < p.channels; i += 128) y[i] = t.map >= 0 ? x[i] : pad ? pad[i] : from_float<T>(0.0f);
}

template <class T>
static __global__ void __launch_bounds__(128) window_unpartition_kernel(const __grid_constant__ WindowParams p) {
  const WindowToken t = window_token(p);
  if (t.map < 0) return;
  const T* x = static_cast<const T*>(p.x) + t.windowed * p.channels;
  T* y = static_cast<T*>(p.y) + t.map * p.channels;
  for (int i = int(thread_x()); i < p.channels; i += 128) y[i] = x[i];
}

}  // namespace sampan::inline SAMPAN_ABI::kernels
