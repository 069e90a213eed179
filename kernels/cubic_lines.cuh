// cubic_lines: scikit-image's cubic resize with antialias, one axis in three kernels: Gaussian, spline coefficients, four taps.
//
// Computes    ops/resize_skimage_cubic.hpp (cubic_line) in double, every product and sum rounded in the order of the host's code: the same bits
// Arch        sm_75 and later.
// Launch      gauss and taps: one thread per value, grid (ceil(values / 256)); recursion: one thread per line, grid (ceil(lines / 64)), 64 threads; at most 64 registers
// Bound by    memory; the recursion by the latency of two dependent passes over a line
// Tested by   tests/emu/image_test.cpp
#pragma once
#include "params.hpp"
#include "ptx.cuh"

namespace sampan::inline SAMPAN_ABI::kernels {

/// ... 2 1 0 1 2 ... n-2 n-1 n-2 ...
SAMPAN_PTX int mirror_index(int i, int n) {
  if (n == 1) return 0;
  const int period = 2 * (n - 1);
  i %= period;
  if (i < 0) i += period;
  return i < n ? i : period - i;
}

/// in (bytes or doubles) -> out [outer, n, inner] double: filtered, times 6 where the recursion follows (n > 1).
template <class T>
static __global__ void __launch_bounds__(256) cubic_gauss_kernel(const __grid_constant__ CubicParams p) {
  const long long at = (long long)block_x() * 256 + thread_x(), line = (long long)p.n * p.inner;
  if (at >= p.outer * line) return;
  const int i = int(at / p.inner % p.n);
  const T* first = static_cast<const T*>(p.in) + (at / line * line + at % p.inner);
  double sum = double(first[(long long)i * p.inner]);
  if (p.radius > 0) sum = mul_exact(sum, p.gauss[0]);
  for (int k = p.radius; k >= 1; --k)
    sum = add_exact(sum, mul_exact(add_exact(double(first[(long long)mirror_index(i - k, p.n) * p.inner]), double(first[(long long)mirror_index(i + k, p.n) * p.inner])), p.gauss[k]));
  static_cast<double*>(p.out)[at] = p.n > 1 ? mul_exact(sum, 6.0) : sum;
}

/// B-spline coefficients of each line of out, in place: a causal and an anticausal recursion. n > 1.
static __global__ void __launch_bounds__(64) cubic_recursion_kernel(const __grid_constant__ CubicParams p) {
  const long long line = (long long)block_x() * 64 + thread_x();
  if (line >= (long long)p.outer * p.inner) return;
  double* c = static_cast<double*>(p.out) + (line / p.inner * p.n * p.inner + line % p.inner);
  const long long step = p.inner;
  const int n = p.n;
  const double z = p.pole, zn = p.pole_n;
  double value = add_exact(c[0], mul_exact(zn, c[(n - 1) * step])), zi = z;
  for (int i = 1; i < n - 1 && (zi > 0x1p-200 || zi < -0x1p-200); ++i, zi = mul_exact(zi, z)) value = add_exact(value, mul_exact(zi, add_exact(c[i * step], mul_exact(zn, c[(n - 1 - i) * step]))));
  value = value / add_exact(1.0, -mul_exact(zn, zn));
  c[0] = value;
  double before = value;
  for (int i = 1; i < n; ++i) {
    before = value;
    c[i * step] = value = add_exact(c[i * step], mul_exact(z, value));
  }
  value = mul_exact(add_exact(mul_exact(z, before), value), z) / add_exact(mul_exact(z, z), -1.0);
  c[(n - 1) * step] = value;
  for (int i = n - 2; i >= 0; --i) c[i * step] = value = mul_exact(z, add_exact(value, -c[i * step]));
}

/// in [outer, n, inner] coefficients -> out [outer, size, inner]: doubles, or bytes clipped to p.range and cut off.
template <class T>
static __global__ void __launch_bounds__(256) cubic_taps_kernel(const __grid_constant__ CubicParams p) {
  const long long at = (long long)block_x() * 256 + thread_x(), line = (long long)p.size * p.inner;
  if (at >= p.outer * line) return;
  const int o = int(at / p.inner % p.size);
  const double* c = static_cast<const double*>(p.in) + (at / line * p.n * p.inner + at % p.inner);
  double v = 0;
  for (int k = 0; k < 4; ++k) v = add_exact(v, mul_exact(p.weight[4 * o + k], c[(long long)mirror_index(p.position[o] + k, p.n) * p.inner]));
  if (p.range) {
    const double low = double(p.range[0]), high = double(p.range[1]);
    v = v < low ? low : v > high ? high : v;
  }
  static_cast<T*>(p.out)[at] = T(v);
}

}  // namespace sampan::inline SAMPAN_ABI::kernels
