// Everything that a kernel may ask the hardware for, one named function each. Kernels include this and nothing of CUDA themselves.
// Data flow: kernels/*.cuh -> here -> PTX (nvcc), or tests/emu/device.hpp (g++ with SAMPAN_EMULATOR: the same names on fibers, with checks).
// Numbers in comments are sections of the PTX ISA manual. Architectures: sm_75 and later; what needs sm_80 says so, and its launcher refuses older devices.
#pragma once
#if defined(SAMPAN_EMULATOR)
#  include "emu/device.hpp"
#else
#  include <sampan/core/config.hpp>

#  include <cstdint>

#  include <cuda_bf16.h>
#  include <cuda_fp16.h>
#  include <cuda_runtime.h>

#  define SAMPAN_PTX __device__ __forceinline__

namespace sampan::inline SAMPAN_ABI::kernels {

SAMPAN_PTX unsigned thread_x() { return threadIdx.x; }
SAMPAN_PTX unsigned block_x() { return blockIdx.x; }
SAMPAN_PTX unsigned block_y() { return blockIdx.y; }
SAMPAN_PTX unsigned block_z() { return blockIdx.z; }
SAMPAN_PTX unsigned block_width() { return blockDim.x; }
SAMPAN_PTX unsigned grid_width() { return gridDim.x; }

/// The dynamic shared memory of the launch, 128-byte aligned.
template <class T>
SAMPAN_PTX T* shared_memory() {
  extern __shared__ __align__(128) unsigned char sampan_shared[];
  return reinterpret_cast<T*>(sampan_shared);
}

SAMPAN_PTX void block_sync() { __syncthreads(); }
SAMPAN_PTX void warp_sync() { __syncwarp(); }
SAMPAN_PTX float shuffle_xor(float v, int mask) { return __shfl_xor_sync(0xffffffffu, v, mask); }
SAMPAN_PTX float shuffle(float v, int lane) { return __shfl_sync(0xffffffffu, v, lane); }

/// 2^x, 2 ulp, subnormals become 0 (9.7.3, ex2.approx.ftz).
SAMPAN_PTX float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
SAMPAN_PTX float exp_exact(float x) { return expf(x); }
SAMPAN_PTX float erf_exact(float x) { return erff(x); }
SAMPAN_PTX float sqrt_exact(float x) { return __fsqrt_rn(x); }
SAMPAN_PTX float fma_exact(float a, float b, float c) { return __fmaf_rn(a, b, c); }
/// Products and sums that the compiler may not fuse: what must equal the host's bits.
SAMPAN_PTX float mul_exact(float a, float b) { return __fmul_rn(a, b); }
SAMPAN_PTX float add_exact(float a, float b) { return __fadd_rn(a, b); }
SAMPAN_PTX double mul_exact(double a, double b) { return __dmul_rn(a, b); }
SAMPAN_PTX double add_exact(double a, double b) { return __dadd_rn(a, b); }
/// To the nearest integer, ties to even.
SAMPAN_PTX int nearest_int(float v) { return __float2int_rn(v); }
SAMPAN_PTX float larger(float a, float b) { return fmaxf(a, b); }

/// IEEE binary16 and bfloat16 in memory.
struct F16 {
  std::uint16_t bits;
};
struct BF16 {
  std::uint16_t bits;
};
SAMPAN_PTX float to_float(float v) { return v; }
SAMPAN_PTX float to_float(F16 v) { return __half2float(__ushort_as_half(v.bits)); }
SAMPAN_PTX float to_float(BF16 v) { return __uint_as_float(unsigned(v.bits) << 16); }
/// To nearest, ties to even.
template <class T>
SAMPAN_PTX T from_float(float v);
template <>
SAMPAN_PTX float from_float<float>(float v) { return v; }
template <>
SAMPAN_PTX F16 from_float<F16>(float v) { return {__half_as_ushort(__float2half_rn(v))}; }
template <>
SAMPAN_PTX BF16 from_float<BF16>(float v) { return {__bfloat16_as_ushort(__float2bfloat16_rn(v))}; }

/// Two values in one register, `low` in the low half.
template <class T>
SAMPAN_PTX std::uint32_t pack(float low, float high) {
  return from_float<T>(low).bits | std::uint32_t(from_float<T>(high).bits) << 16;
}

SAMPAN_PTX unsigned shared_address(const void* p) { return unsigned(__cvta_generic_to_shared(p)); }

/// Four 8x8 matrices of 16-bit values: lanes 8m .. 8m + 7 give the rows (16 bytes each) of matrix m; lane l gets columns 2 (l % 4) and the next of row l / 4 (9.7.14, ldmatrix).
SAMPAN_PTX void load_matrix_x4(std::uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
}
/// The same with each matrix transposed.
SAMPAN_PTX void load_matrix_x4_transposed(std::uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
}

/// d [16, 8] = a [16, 16] b [16, 8] + c in float; fragments as 9.7.14 draws them. bfloat16 and the 16-wide form need sm_80; on sm_75 float16 runs as two 8-wide steps.
template <class T>
SAMPAN_PTX void mma_16816(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1, const float (&c)[4]);
template <>
SAMPAN_PTX void mma_16816<F16>(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1, const float (&c)[4]) {
#  if __CUDA_ARCH__ >= 800
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
#  else
  float t[4];
  asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%7, %8, %9, %10};"
      : "=f"(t[0]), "=f"(t[1]), "=f"(t[2]), "=f"(t[3])
      : "r"(a[0]), "r"(a[1]), "r"(b0), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
  asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%7, %8, %9, %10};"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
      : "r"(a[2]), "r"(a[3]), "r"(b1), "f"(t[0]), "f"(t[1]), "f"(t[2]), "f"(t[3]));
#  endif
}
template <>
SAMPAN_PTX void mma_16816<BF16>(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1, const float (&c)[4]) {
#  if __CUDA_ARCH__ >= 800
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
#  else
  (void)a, (void)b0, (void)b1, (void)c;
  d[0] = d[1] = d[2] = d[3] = 0;
  __trap();  // the launcher refuses bfloat16 below sm_80
#  endif
}

/// 16 bytes from global to shared memory without registers; the first `bytes` (0 to 16) are copied, the rest become zero. Both addresses on 16 bytes (9.7.9, cp.async).
/// Before sm_80 the copy happens at once.
SAMPAN_PTX void copy_async_16(void* to, const void* from, int bytes) {
#  if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes) : "memory");
#  else
  uint4 v = make_uint4(0, 0, 0, 0);
  if (bytes == 16) {
    v = *static_cast<const uint4*>(from);
  } else {
    for (int i = 0; i < bytes; ++i) reinterpret_cast<unsigned char*>(&v)[i] = static_cast<const unsigned char*>(from)[i];
  }
  *static_cast<uint4*>(to) = v;
#  endif
}
/// Closes the group of the copies issued since the last call.
SAMPAN_PTX void copy_commit() {
#  if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#  endif
}
/// Waits until all but the last kGroups groups of this thread have arrived; other threads see them after a barrier.
template <int kGroups>
SAMPAN_PTX void copy_wait() {
#  if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(kGroups) : "memory");
#  endif
}

/// Launch, and the error of the launch itself; what happens inside comes with the next synchronising call.
template <class P>
cudaError_t run(void (*kernel)(P), dim3 grid, dim3 block, std::size_t shared, cudaStream_t stream, const P& p) {
  if (shared > 48 * 1024)
    if (const cudaError_t e = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared)); e != cudaSuccess) return e;
  kernel<<<grid, block, shared, stream>>>(p);
  return cudaGetLastError();
}

}  // namespace sampan::inline SAMPAN_ABI::kernels
#endif
