// AutoSAM's other heads: the image embedding through convolutions alone to a map for each class; no tokens, no prompts, no IoU.
// Data flow: models/mask_decoder.hpp (embedding) -> here -> logits.   Shapes: embedding [g, g, c], masks [k, 4g*4g].
//   linear: two transposed convolutions as in SAM's decoder, then 1x1 convolutions; its last ReLU is the published code's, so that logits are never negative
//   cnn:    1x1 convolutions to top * 2^d channels, d blocks that halve them, the last (of d = 2: both; else d - 2) of which double the map, then two convolutions
// Source: AutoSAM models/SamFeatSeg.py, SegDecoderLinear and SegDecoderCNN; build_sam_feat_seg_model.py.   Cost at g = 64, c = 256: linear 0.9 GFLOP, cnn of four blocks 129.
// Deliberately absent: other depths than two and four, whose maps are not four times the grid (weights/network_sizes.hpp refuses them).
#pragma once
#include <sampan/nn/norm2d.hpp>
#include <sampan/weights/loader.hpp>

#include <optional>
#include <vector>

namespace sampan::inline SAMPAN_ABI::models {

struct PlainHeadSizes {
  Index channels = 256, grid = 0, classes = 0;
  Index depth = 0, top = 0;  ///< blocks, and channels behind the last of them; 0: the linear head
  float eps = 1e-6f;         ///< of LayerNorm2d
};

template <Backend B>
struct PlainHead {
  struct Block {
    PackedConv<B> conv0, conv2;
    std::optional<PackedConvTranspose<B>> up;  // blocks.{i}.4
  };
  PlainHeadSizes sizes;
  PackedConvTranspose<B> up0, up3;  // output_upscaling.0, .3
  PackedNorm<B> up1;
  PackedConv<B> input0, input2, final0, final_last;  // input_block.0, .2; final.0, and final.2 (linear) or .1 (cnn)
  std::vector<Block> blocks;

  /// `w` at mask_decoder.
  static PlainHead load(const Loader<B>& w, const PlainHeadSizes& s) {
    PlainHead m;
    m.sizes = s;
    const Index c = s.channels;
    const auto conv = [&w](const std::string& name, Index in, Index out, Index k) { return w.pack_conv(w.conv(name, out, in, k, k, {.pad = int(k / 2)})); };
    if (s.depth == 0) {
      m.up0 = w.pack_conv_transpose(w.conv_transpose("output_upscaling.0", c, c / 4, 2));
      m.up1 = w.pack(w.norm("output_upscaling.1", c / 4, s.eps));
      m.up3 = w.pack_conv_transpose(w.conv_transpose("output_upscaling.3", c / 4, c / 8, 2));
      m.final0 = conv("final.0", c / 8, c / 8, 1);
      m.final_last = conv("final.2", c / 8, s.classes, 1);
    } else {
      const Index widest = s.top << s.depth;
      m.input0 = conv("input_block.0", c, widest, 1);
      m.input2 = conv("input_block.2", widest, widest, 1);
      for (Index i = 0; i < s.depth; ++i) {
        const std::string at = "blocks." + std::to_string(i) + ".";
        const Index width = widest >> i;
        const bool doubles = s.depth <= 2 || i >= 2;
        Block b{conv(at + "0", width, width, 3), conv(at + "2", width, doubles ? width : width / 2, 3), {}};
        if (doubles) b.up = w.pack_conv_transpose(w.conv_transpose(at + "4", width, width / 2, 2));
        m.blocks.push_back(std::move(b));
      }
      m.final0 = conv("final.0", s.top, s.top, 3);
      m.final_last = conv("final.1", s.top, s.classes, 1);
    }
    w.release();
    return m;
  }

  void forward(Context<B>& ctx, const View<const float, 3>& embedding, const View<float, 2>& masks) const {
    const Index g = sizes.grid, side = 4 * g, k = sizes.classes;
    if (!ctx.require(embedding.extent(0) == g && embedding.extent(1) == g && embedding.extent(2) == sizes.channels && masks.extent(0) == k && masks.extent(1) == side * side, "plain head: embedding [g,g,c] and masks [k,4g*4g] disagree")) return;
    auto scope = ctx.arena.scope();
    const auto out = scope.template make<float>(side, side, k);
    sizes.depth == 0 ? linear_head(ctx, embedding, out) : cnn_head(ctx, embedding, out);
    copy(ctx, View<const float, 2>(out.data(), {k, side * side}, {1, k}), masks);
  }

 private:
  void linear_head(Context<B>& ctx, const View<const float, 3>& x, const View<float, 3>& out) const {
    const Index g = sizes.grid, c = sizes.channels;
    auto scope = ctx.arena.scope();
    const auto mid = scope.template make<float>(2 * g, 2 * g, c / 4), fine = scope.template make<float>(4 * g, 4 * g, c / 8), last = scope.template make<float>(4 * g, 4 * g, c / 8);
    conv_transpose2d(ctx, up0, x, mid);
    nn::layer_norm_2d(ctx, up1, mid, mid, Activation::gelu_erf);
    conv_transpose2d(ctx, up3, View<const float, 3>(mid), fine, Activation::gelu_erf);
    conv2d(ctx, final0, View<const float, 3>(fine), last, Activation::relu);
    conv2d(ctx, final_last, View<const float, 3>(last), out, Activation::relu);
  }

  /// Two maps in turn, each as large as any step needs: the widest is the last at full size, or the first.
  void cnn_head(Context<B>& ctx, const View<const float, 3>& x, const View<float, 3>& out) const {
    auto scope = ctx.arena.scope();
    Index side = sizes.grid, width = sizes.top << sizes.depth;
    const Index most = side * side * std::max(width, 16 * sizes.top);
    const auto first = scope.template make<float>(most), second = scope.template make<float>(most);
    float *from = first.data(), *to = second.data();
    const auto map = [](float* at, Index edge, Index channels) { return View<float, 3>(at, {edge, edge, channels}); };
    const auto step = [&](const PackedConv<B>& conv, Index next, Activation a) {
      conv2d(ctx, conv, View<const float, 3>(map(from, side, width)), map(to, side, next), a);
      std::swap(from, to);
      width = next;
    };
    conv2d(ctx, input0, x, map(from, side, width), Activation::relu);
    step(input2, width, Activation::relu);
    for (const Block& b : blocks) {
      step(b.conv0, width, Activation::relu);
      step(b.conv2, b.up ? width : width / 2, Activation::relu);
      if (!b.up) continue;
      conv_transpose2d(ctx, *b.up, View<const float, 3>(map(from, side, width)), map(to, 2 * side, width / 2));
      std::swap(from, to);
      side *= 2, width /= 2;
    }
    step(final0, width, Activation::none);
    conv2d(ctx, final_last, View<const float, 3>(map(from, side, width)), out);
  }
};

}  // namespace sampan::inline SAMPAN_ABI::models
