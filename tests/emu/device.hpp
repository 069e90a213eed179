// What kernels/ptx.cuh is on the emulator: the same names, the work in machine.cpp. Data flow: kernels/*.cuh -> ptx.cuh -> here.
// Every function is inlined into the kernel, so that a site is a line of the kernel. Deliberately absent: anything that a kernel could use without a name in ptx.cuh.
#pragma once
#include "machine.hpp"
#include "warp_math.hpp"

#include <sampan/core/config.hpp>

#include <type_traits>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__

#define SAMPAN_EMULATED __attribute__((always_inline)) inline
#define SAMPAN_PTX SAMPAN_EMULATED

// The names of the CUDA runtime that launchers use.
using cudaError_t = int;
using cudaStream_t = void*;
inline constexpr cudaError_t cudaSuccess = 0, cudaErrorInvalidValue = 1;
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};

namespace sampan::inline SAMPAN_ABI::kernels {

/// Where the emulator was called from. A function call so that two calls on one line stay two sites.
__attribute__((noinline)) inline const void* here() {
  asm("");  // not merged
  return __builtin_return_address(0);
}

SAMPAN_EMULATED unsigned thread_x() { return emu::thread_index().x; }
SAMPAN_EMULATED unsigned block_x() { return emu::block_index().x; }
SAMPAN_EMULATED unsigned block_y() { return emu::block_index().y; }
SAMPAN_EMULATED unsigned block_z() { return emu::block_index().z; }
SAMPAN_EMULATED unsigned block_width() { return emu::block_extent().x; }
SAMPAN_EMULATED unsigned grid_width() { return emu::grid_extent().x; }
template <class T>
SAMPAN_EMULATED T* shared_memory() { return static_cast<T*>(emu::shared_memory()); }

SAMPAN_EMULATED void block_sync() { emu::block_sync(here()); }
SAMPAN_EMULATED void warp_sync() { emu::warp_sync(here()); }
SAMPAN_EMULATED float shuffle_xor(float v, int mask) { return emu::shuffle_xor(v, mask, here()); }
SAMPAN_EMULATED float shuffle(float v, int lane) { return emu::shuffle(v, lane, here()); }

SAMPAN_EMULATED float exp2_fast(float x) { return std::exp2(x); }
SAMPAN_EMULATED float exp_exact(float x) { return std::exp(x); }
SAMPAN_EMULATED float erf_exact(float x) { return std::erf(x); }
SAMPAN_EMULATED float sqrt_exact(float x) { return std::sqrt(x); }
SAMPAN_EMULATED float fma_exact(float a, float b, float c) { return std::fma(a, b, c); }
SAMPAN_EMULATED float mul_exact(float a, float b) { return a * b; }
SAMPAN_EMULATED float add_exact(float a, float b) { return a + b; }
SAMPAN_EMULATED double mul_exact(double a, double b) { return a * b; }
SAMPAN_EMULATED double add_exact(double a, double b) { return a + b; }
SAMPAN_EMULATED int nearest_int(float v) { return int(std::nearbyint(v)); }
SAMPAN_EMULATED float larger(float a, float b) { return std::fmax(a, b); }

/// IEEE binary16 and bfloat16 in memory.
struct F16 {
  std::uint16_t bits;
};
struct BF16 {
  std::uint16_t bits;
};
SAMPAN_EMULATED float to_float(float v) { return v; }
SAMPAN_EMULATED float to_float(F16 v) { return emu::f16_value(v.bits); }
SAMPAN_EMULATED float to_float(BF16 v) { return emu::bf16_value(v.bits); }
template <class T>
SAMPAN_EMULATED T from_float(float v) {
  if constexpr (std::is_same_v<T, F16>) {
    return F16{emu::f16_bits(v)};
  } else if constexpr (std::is_same_v<T, BF16>) {
    return BF16{emu::bf16_bits(v)};
  } else {
    return v;
  }
}
template <class T>
SAMPAN_EMULATED std::uint32_t pack(float low, float high) {
  return from_float<T>(low).bits | std::uint32_t(from_float<T>(high).bits) << 16;
}

SAMPAN_EMULATED void load_matrix_x4(std::uint32_t (&r)[4], const void* row) { emu::load_matrix_x4(r, row, false, here()); }
SAMPAN_EMULATED void load_matrix_x4_transposed(std::uint32_t (&r)[4], const void* row) { emu::load_matrix_x4(r, row, true, here()); }
template <class T>
SAMPAN_EMULATED void mma_16816(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1, const float (&c)[4]) {
  emu::mma_16816(d, a, b0, b1, c, std::is_same_v<T, F16> ? emu::Pair::f16 : emu::Pair::bf16, here());
}

SAMPAN_EMULATED void copy_async_16(void* to, const void* from, int bytes) { emu::copy_async_16(to, from, bytes, here()); }
SAMPAN_EMULATED void copy_commit() { emu::copy_commit(); }
template <int kGroups>
SAMPAN_EMULATED void copy_wait() { emu::copy_wait(kGroups, here()); }

/// Puts the launch into the emulated stream (runtime.cpp).
template <class P>
cudaError_t run(void (*kernel)(P), dim3 grid, dim3 block, std::size_t shared, cudaStream_t stream, const P& p) {
  return emu::enqueue_launch(stream, {grid.x, grid.y, grid.z}, {block.x, block.y, block.z}, shared, [kernel, p] { kernel(p); });
}

}  // namespace sampan::inline SAMPAN_ABI::kernels
