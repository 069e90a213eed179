// PyTorch's trilinear interpolation of float volumes: F.interpolate(mode="trilinear", align_corners=False).
// Data flow: SAM-Med3D's mask logits on their way to the size of the crop (predict/) -> here -> ops/resize_torch_bilinear.hpp, which is the same along two axes.
// Source: ATen native/UpSampleKernel.cpp, cpu_upsample_generic: the axes one inside the other, the last axis innermost. So: each plane bilinearly, then across planes.
// Cost: 6 FLOP per value of the stretched planes and of the result; scratch: the stretched planes [d, oh, ow].   Deliberately absent: align_corners=True.
#pragma once
#include <sampan/ops/resize_torch_bilinear.hpp>

namespace sampan::inline SAMPAN_ABI {

/// in [d, h, w] -> out [od, oh, ow], both contiguous over the last two axes. Error{invalid_argument} (in ctx) if a side is not 1 .. 2^30-1 or the strides are others.
/// Exactness: within 1.5e-6 of PyTorch relative to the largest input (three roundings per axis).
template <class B>
void resize_torch_trilinear(Context<B>& ctx, const View<const float, 3>& in, const View<float, 3>& out) {
  const Index d = in.extent(0), oh = out.extent(1), ow = out.extent(2), plane = oh * ow;
  if (!ctx.require(!in.empty() && !out.empty() && in[0].contiguous() && out[0].contiguous(),
                   "resize_torch_trilinear: planes of in [d,h,w] and out [od,oh,ow] must be contiguous and not empty"))
    return;
  auto scope = ctx.arena.scope();
  const auto wide = scope.template make<float>(d, oh, ow);
  for (Index z = 0; z < d; ++z) resize_torch_bilinear(ctx, in[z], wide[z]);
  resize_torch_linear(ctx, View<const float, 2>(wide.data(), {d, plane}), View<float, 2>(out.data(), {out.extent(0), plane}, {out.stride(0), 1}));
}

}  // namespace sampan::inline SAMPAN_ABI
