// mask_head: the hypernetwork's products: every mask token's 32 numbers against the 32 features of every pixel.
//
// Computes    ops/mask_head.hpp
// Arch        sm_75 and later; float / f16 / bf16 features, float hypernetwork output, sums and masks. channels <= kMaskChannels, count <= kMaskCount.
// Launch      grid (ceil(pixels / 128)), 128 threads, one pixel each; shared memory count * channels floats
// Bound by    memory: a pixel's features are read once for all masks
// Tested by   tests/emu/decoder_test.cpp
#pragma once
#include "params.hpp"
#include "ptx.cuh"

namespace sampan::inline SAMPAN_ABI::kernels {

inline constexpr int kMaskChannels = 32, kMaskCount = 16;

template <class T>
static __global__ void __launch_bounds__(128) mask_head_kernel(const __grid_constant__ MaskHeadParams p) {
  float* hyper = shared_memory<float>();
  for (int i = int(thread_x()); i < p.count * p.channels; i += 128) hyper[i] = p.hyper[i];
  block_sync();
  const int pixel = int(block_x() * 128 + thread_x());
  if (pixel >= p.pixels) return;
  const T* from = static_cast<const T*>(p.features) + (long long)pixel * p.channels;
  float features[kMaskChannels];
#pragma unroll
  for (int c = 0; c < kMaskChannels; ++c) features[c] = c < p.channels ? to_float(from[c]) : 0.0f;
  for (int m = 0; m < p.count; ++m) {
    float sum = 0;
#pragma unroll
    for (int c = 0; c < kMaskChannels; ++c)
      if (c < p.channels) sum = fma_exact(hyper[m * p.channels + c], features[c], sum);
    p.masks[(long long)m * p.pixels + pixel] = sum;
  }
}

}  // namespace sampan::inline SAMPAN_ABI::kernels
