// Convolution of 3x3 without bias, LayerNorm2d and GELU, after max pooling or not: what SAMUS's branch, its position table and AutoSAMUS's feature adapter are made of.
// Data flow: nn/side_branch.hpp, nn/prompt_generator.hpp -> here -> ops/max_pool2.hpp, ops/conv2d.hpp.   Shapes: x [h, w, in], y [h, w, out] or half of both sides.
// Source: SAMUS modeling/image_encoder.py, SingleConv and SingleDown.   Cost: 18 h w in out FLOP.
#pragma once
#include <sampan/nn/norm2d.hpp>
#include <sampan/ops/max_pool2.hpp>
#include <sampan/weights/loader.hpp>

namespace sampan::inline SAMPAN_ABI::nn {

inline constexpr float kConvNormEps = 1e-6f;  // LayerNorm2d's default

/// GELU(norm(conv(x))), 3x3, after max pooling if `pooled`.
template <Backend B>
struct ConvNorm {
  PackedConv<B> conv;
  PackedNorm<B> norm;
  bool pooled = false;

  /// `w` at the sequence; its convolution and norm are its layers `first` and `first` + 1.
  static ConvNorm load(const Loader<B>& w, int first, Index in, Index out) {
    return {w.pack_conv(w.conv(std::to_string(first), out, in, 3, 3, {.bias = false, .pad = 1})), w.pack(w.norm(std::to_string(first + 1), out, kConvNormEps)), first == 1};
  }
  void forward(Context<B>& ctx, const View<const float, 3>& x, const View<float, 3>& y) const {
    if constexpr (on_device<B>) {
      ctx.fail(Error(ErrorCode::unsupported, cat(conv.name, ": device ", B::kName, " has no max pooling; use device cpu")));
    } else {
      auto scope = ctx.arena.scope();
      View<const float, 3> in = x;
      if (pooled) {
        const auto half = scope.template make<float>(x.extent(0) / 2, x.extent(1) / 2, x.extent(2));
        max_pool2(ctx, x, half);
        in = half;
      }
      conv2d(ctx, conv, in, y);
      layer_norm_2d(ctx, norm, y, y, Activation::gelu_erf);
    }
  }
};

}  // namespace sampan::inline SAMPAN_ABI::nn
