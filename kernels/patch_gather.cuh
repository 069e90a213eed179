// patch_gather: the image as rows for the patch embedding, which then is one matrix product.
//
// Computes    the left operand of ops/conv2d.hpp with stride = kernel
// Arch        sm_75 and later; float in, float / f16 / bf16 out.
// Launch      grid (tokens), 256 threads, no shared memory
// Bound by    memory; lanes write neighbours, and read rows of the patch (48 floats at a patch of 16)
// Tested by   tests/emu/image_test.cpp
#pragma once
#include "params.hpp"
#include "ptx.cuh"

namespace sampan::inline SAMPAN_ABI::kernels {

template <class T>
static __global__ void __launch_bounds__(256) patch_gather_kernel(const __grid_constant__ PatchParams p) {
  const int across = p.width / p.patch, row = int(block_x()) / across * p.patch, column = int(block_x()) % across * p.patch, n = 3 * p.patch * p.patch;
  T* to = static_cast<T*>(p.rows) + (long long)block_x() * n;
  for (int i = int(thread_x()); i < n; i += 256) {
    const int channel = i / (p.patch * p.patch), y = i / p.patch % p.patch, x = i % p.patch;
    to[i] = from_float<T>(p.image[((long long)(row + y) * p.width + column + x) * 3 + channel]);
  }
}

}  // namespace sampan::inline SAMPAN_ABI::kernels
