// Masks behind the network, on Cuda: logits -> bytes at the image's size. Data flow: predict/device_masks.hpp -> here -> kernels/{image,mask_rows}.cuh.
// The values have the bits of ops/resize_torch_bilinear.hpp without fused multiply-adds: those of Reference and of Cpu's scalar level.
#pragma once
#include <sampan/cuda/elementwise.hpp>

namespace sampan::inline SAMPAN_ABI::cuda {

/// y = 1 / (1 + exp(-x)), n values.
inline void sigmoid(Context<Cuda>& ctx, const float* x, float* y, Index n) {
  if (ctx.begin({10.0 * double(n), 8.0 * double(n)})) ran(ctx, "sigmoid", kernels::launch_sigmoid({x, y, n}, stream_of(ctx)));
}

/// A plane to another size, as resize_torch_bilinear.
inline void resize_plane(Context<Cuda>& ctx, const View<const float, 2>& in, const View<float, 2>& out) {
  if (!ctx.require(packed_channels(in) && out.contiguous(), "cuda: a plane's columns must lie side by side")) return;
  if (!ctx.begin({6.0 * double(out.size()), 4.0 * double(in.size() + out.size())})) return;
  ran(ctx, "resize_bilinear", kernels::launch_resize_bilinear({in.data(), int(in.extent(0)), int(in.extent(1)), int(in.stride(0)), out.data(), nullptr, int(out.extent(0)), int(out.extent(1)), 0}, stream_of(ctx)));
}

/// What the masks of some planes are written to: bytes [planes, h, w], counts [planes, h, 5]; and what decides (kernels/params.hpp, MaskRowsParams).
struct MaskTarget {
  std::uint8_t* mask = nullptr;
  std::int32_t* counts = nullptr;
  const float *limits = nullptr, *score = nullptr;
};
/// in [planes, y, x], strides of the two outer axes free -> masks of h x w.
inline void mask_rows(Context<Cuda>& ctx, const View<const float, 3>& in, Index h, Index w, const MaskTarget& to) {
  if (!ctx.require(in.extent(2) == 1 || in.stride(2) == 1, "cuda: a plane's columns must lie side by side")) return;
  const double pixels = double(in.extent(0) * h * w);
  if (!ctx.begin({6.0 * pixels, pixels + 4.0 * double(in.size())})) return;
  ran(ctx, "mask_rows",
      kernels::launch_mask_rows({in.data(), int(in.extent(0)), int(in.extent(1)), int(in.extent(2)), int(in.stride(1)), in.stride(0), int(h), int(w), to.mask, to.counts, to.limits, to.score}, stream_of(ctx)));
}

}  // namespace sampan::inline SAMPAN_ABI::cuda
