// SAM-HQ's part of the mask decoder: a token of its own, whose mask is read from features with the sharpness of an early layer of the encoder.
// Data flow: encoder (embedding, and the map behind its first global block or layer 1) -> prepare, once per image; upscaled map of models/mask_decoder.hpp -> features.
// Shapes: embedding [g, g, c], early [g, g, d], detail and maps [4g, 4g, c / 8].   Source: sam-hq mask_decoder_hq.py, class MaskDecoderHQ. No activation behind the last
// layer of any of the three stacks.   Cost at g = 64, c = 256: prepare 5.4 + 0.03 d GFLOP, features 4.8 GFLOP per prompt.
#pragma once
#include <sampan/nn/norm2d.hpp>
#include <sampan/nn/relu_mlp.hpp>

namespace sampan::inline SAMPAN_ABI::models {

template <Backend B>
struct HqHead {
  /// Two transposed convolutions with LayerNorm2d and GELU between them: [g, g, in] -> [4g, 4g, out].
  struct Upscale {
    PackedConvTranspose<B> first, second;  // .0, .3
    PackedNorm<B> norm;                    // .1
    std::string name;

    static Upscale load(const Loader<B>& w, Index in, Index mid, Index out, float eps) {
      return {w.pack_conv_transpose(w.conv_transpose("0", in, mid, 2)), w.pack_conv_transpose(w.conv_transpose("3", mid, out, 2)), w.pack(w.norm("1", mid, eps)), w.path()};
    }
    void forward(Context<B>& ctx, const View<const float, 3>& x, const View<float, 3>& y) const {
      auto scope = ctx.arena.scope();
      const auto mid = scope.template make<float>(2 * x.extent(0), 2 * x.extent(1), first.out_channels());
      conv_transpose2d(ctx, first, x, mid);
      nn::layer_norm_2d(ctx, norm, mid, mid, Activation::gelu_erf);
      conv_transpose2d(ctx, second, View<const float, 3>(mid), y);
      ctx.tap(name, View<const float, 3>(y), TraceLayout::nchw);
    }
  };

  Upscale compress, embedding_encoder;
  PackedConv<B> feature0, feature3;  // embedding_maskfeature.0, .3
  PackedNorm<B> feature1;            // embedding_maskfeature.1
  nn::ReluMlp<B> mlp;                // hf_mlp

  /// `w` at mask_decoder; c channels of the embedding, `early` of the encoder's early map.
  static HqHead load(const Loader<B>& w, Index c, Index early, float eps) {
    const auto f = w / "embedding_maskfeature";
    return {Upscale::load(w / "compress_vit_feat", early, c, c / 8, eps),
            Upscale::load(w / "embedding_encoder", c, c / 4, c / 8, eps),
            w.pack_conv(f.conv("0", c / 4, c / 8, 3, 3, {.pad = 1})),
            w.pack_conv(f.conv("3", c / 8, c / 4, 3, 3, {.pad = 1})),
            w.pack(f.norm("1", c / 4, eps)),
            nn::ReluMlp<B>::load(w / "hf_mlp", c, c, c / 8, 3)};
  }

  /// What all prompts of an image share: detail = embedding_encoder(embedding) + compress_vit_feat(early).
  void prepare(Context<B>& ctx, const View<const float, 3>& embedding, const View<const float, 3>& early, const View<float, 3>& detail) const {
    auto scope = ctx.arena.scope();
    const auto other = scope.template make<float>(detail.extent(0), detail.extent(1), detail.extent(2));
    embedding_encoder.forward(ctx, embedding, detail);
    compress.forward(ctx, early, other);
    add(ctx, tokens(View<const float, 3>(detail)), tokens(View<const float, 3>(other)), tokens(detail));
  }

  /// y = embedding_maskfeature(x) + detail, for the upscaled map x of one prompt.
  void features(Context<B>& ctx, const View<const float, 3>& x, const View<const float, 3>& detail, const View<float, 3>& y) const {
    auto scope = ctx.arena.scope();
    const auto mid = scope.template make<float>(x.extent(0), x.extent(1), feature0.out_channels());
    conv2d(ctx, feature0, x, mid);
    nn::layer_norm_2d(ctx, feature1, mid, mid, Activation::gelu_erf);
    conv2d(ctx, feature3, View<const float, 3>(mid), y);
    ctx.tap("mask_decoder.embedding_maskfeature", View<const float, 3>(y), TraceLayout::nchw);
    add(ctx, tokens(View<const float, 3>(y)), tokens(detail), tokens(y));
  }
};

}  // namespace sampan::inline SAMPAN_ABI::models
