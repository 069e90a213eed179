// Neck of the image encoders: 1x1 convolution, LayerNorm2d, 3x3 convolution, LayerNorm2d; encoder width -> prompt width.
// Data flow: models/sam_vit.hpp, models/tiny_vit.hpp -> here -> ops/conv2d.hpp, ops/layer_norm.hpp.
// Shapes: x [h, w, c], y [h, w, out].   Cost: 2 h w (c out + 9 out^2) FLOP.
// Source: segment_anything/modeling/image_encoder.py, ImageEncoderViT.neck (convolutions without bias, eps 1e-6).
#pragma once
#include <sampan/nn/norm2d.hpp>
#include <sampan/weights/loader.hpp>

namespace sampan::inline SAMPAN_ABI::nn {

template <Backend B>
struct Neck {
  PackedConv<B> conv0, conv2;  // neck.0, neck.2
  PackedNorm<B> norm1, norm3;  // neck.1, neck.3

  static Neck load(const Loader<B>& w, Index in, Index out, float eps) {
    return {w.pack_conv(w.conv("0", out, in, 1, 1, {.bias = false})), w.pack_conv(w.conv("2", out, out, 3, 3, {.bias = false, .pad = 1})), w.pack(w.norm("1", out, eps)), w.pack(w.norm("3", out, eps))};
  }

  void forward(Context<B>& ctx, const View<const float, 3>& x, const View<float, 3>& y) const {
    auto scope = ctx.arena.scope();
    auto mid = scope.template make<float>(y.extent(0), y.extent(1), y.extent(2));
    conv2d(ctx, conv0, x, y);
    layer_norm_2d(ctx, norm1, y, mid);
    conv2d(ctx, conv2, mid, y);
    layer_norm_2d(ctx, norm3, y, y);
  }
};

}  // namespace sampan::inline SAMPAN_ABI::nn
