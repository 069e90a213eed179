// Neck of volumetric encoders: 1^3 convolution, LayerNorm3d, 3^3 convolution, LayerNorm3d; encoder width -> prompt width.
// Data flow: models/sam_vit_3d.hpp -> here -> ops/conv3d.hpp, ops/layer_norm.hpp.   Shapes: x [d, h, w, c], y [d, h, w, out].   Cost: 2 d h w (c out + 27 out^2) FLOP.
// Source: MedIM sam_med3d.py, ImageEncoderViT3D.neck (convolutions without bias, eps 1e-6).
#pragma once
#include <sampan/nn/norm2d.hpp>
#include <sampan/weights/loader.hpp>

namespace sampan::inline SAMPAN_ABI::nn {

template <VolumeBackend B>
struct Neck3d {
  PackedConv3d<B> conv0, conv2;  // neck.0, neck.2
  PackedNorm<B> norm1, norm3;    // neck.1, neck.3

  static Neck3d load(const Loader<B>& w, Index in, Index out, float eps) {
    return {w.pack_conv3d(w.conv3d("0", out, in, 1, {.bias = false})), w.pack_conv3d(w.conv3d("2", out, out, 3, {.bias = false, .pad = 1})),
            w.pack(w.norm("1", out, eps)), w.pack(w.norm("3", out, eps))};
  }

  void forward(Context<B>& ctx, const View<const float, 4>& x, const View<float, 4>& y) const {
    auto scope = ctx.arena.scope();
    const auto mid = scope.template make<float>(y.extent(0), y.extent(1), y.extent(2), y.extent(3));
    conv3d(ctx, conv0, x, y);
    layer_norm_3d(ctx, norm1, y, mid);
    conv3d(ctx, conv2, View<const float, 4>(mid), y);
    layer_norm_3d(ctx, norm3, y, y);
  }
};

}  // namespace sampan::inline SAMPAN_ABI::nn
