// TinyViT, the image encoder of MobileSAM, TinySAM and LiteMedSAM: a convolutional first stage, then windowed attention with bias tables.
// Data flow: predict/ (preprocessed image) -> here -> ops/mbconv.hpp, ops/attention.hpp -> nn/neck.hpp -> models/mask_decoder.hpp.
// Shapes: image [s, s, 3] -> embedding [g, g, 256]; stem /4 (MobileSAM) or /1 (LiteMedSAM), then /2 per downsample (stride 1 into 320, 448 and 576 channels).
// Source: MobileSAM tiny_vit_sam.py, class TinyViT (models/tinyvit_and_light.md section 1). Pads enter before the attention's norm (PadRule::before_norm).
#pragma once
#include <sampan/nn/neck.hpp>
#include <sampan/ops/local_mlp.hpp>

#include <vector>

namespace sampan::inline SAMPAN_ABI::models {

struct TinyVitSizes {
  Index image_size = 0;
  Index stem_kernel = 3, stem_stride = 2, stem_pad = 1;  ///< MobileSAM; LiteMedSAM: 1, 1, 0
  std::vector<Index> dims, depths, heads, windows;       ///< one entry per layer; layer 0 is convolutional and ignores heads and window
  std::vector<Index> strides;                            ///< of the downsample behind each layer but the last: 2, or 1 into 320, 448 and 576 channels
  Index mlp_ratio = 4, expand = 4, out = 256;
  float eps = 1e-5f, eps_bn = 1e-5f, eps_neck = 1e-6f;
  Index grid() const {
    Index g = image_size;
    for (int i = 0; i < 2; ++i) g = detail::conv_out(g, stem_kernel, int(stem_stride), int(stem_pad));
    for (Index s : strides) g = detail::conv_out(g, 3, int(s), 1);
    return g;
  }
};

/// Windowed attention, local convolution, MLP.
template <Backend B>
struct TinyVitBlock {
  PackedAttention<B> attn;
  PackedDepthwise<B> local_conv;
  PackedMlp<B> mlp;
  std::string name;

  static TinyVitBlock load(const Loader<B>& w, const TinyVitSizes& s, std::size_t layer) {
    const Index c = s.dims[layer], win = s.windows[layer];
    AttentionParams a;
    a.norm = w.norm("attn.norm", c, s.eps);
    a.qkv = w.linear("attn.qkv", c, 3 * c);
    a.proj = w.linear("attn.proj", c, c);
    a.bias_table = w.template tensor<2>("attn.attention_biases", {s.heads[layer], win * win});
    a.heads = s.heads[layer];
    a.window = win;
    a.layout = QkvLayout::per_head;
    a.pad_rule = PadRule::before_norm;
    a.name = w.path("attn");
    MlpParams m;
    m.norm = w.norm("mlp.norm", c, s.eps);
    m.lin1 = w.linear("mlp.fc1", c, s.mlp_ratio * c);
    m.lin2 = w.linear("mlp.fc2", s.mlp_ratio * c, c);
    m.name = w.path("mlp");
    return {w.pack(a), w.pack_depthwise(w.conv_bn("local_conv", c, 1, 3, 1, 1, s.eps_bn)), w.pack(m), w.path()};
  }

  /// x [h, w, c], which changes, -> y of the same shape.
  void forward(Context<B>& ctx, const View<float, 3>& x, const View<float, 3>& y) const {
    auto span = ctx.span(name);
    ctx.grid = {x.extent(0), x.extent(1)};  // traced windows appear as the map they were cut from
    attention(ctx, attn, x, x, x);
    ctx.grid = {};
    local_mlp(ctx, local_conv, mlp, x, y);
    span.out(tokens(View<const float, 3>(y)));  // PyTorch: [1, h*w, c]
  }
};

template <Backend B>
struct TinyVit {
  TinyVitSizes sizes;
  PackedConv<B> stem0, stem2;  // patch_embed.seq.0 and .2
  struct Layer {
    std::vector<PackedMbConv<B>> convs;      // layer 0
    std::vector<TinyVitBlock<B>> blocks;     // layers 1..
    std::vector<PackedMbConv<B>> downsample;  // none or one
    std::string name;
  };
  std::vector<Layer> layers;
  nn::Neck<B> neck;

  static TinyVit load(const Loader<B>& w, const TinyVitSizes& s) {
    TinyVit m;
    m.sizes = s;
    const int stride = int(s.stem_stride), pad = int(s.stem_pad);
    m.stem0 = w.pack_conv(w.conv_bn("patch_embed.seq.0", s.dims[0] / 2, 3, s.stem_kernel, stride, pad, s.eps_bn));
    m.stem2 = w.pack_conv(w.conv_bn("patch_embed.seq.2", s.dims[0], s.dims[0] / 2, s.stem_kernel, stride, pad, s.eps_bn));
    for (std::size_t i = 0; i < s.dims.size(); ++i) {
      const auto lw = w / "layers" / Index(i);
      Layer layer;
      layer.name = lw.path();
      for (Index b = 0; b < s.depths[i]; ++b) {
        if (i == 0) {
          layer.convs.push_back(load_mbconv(lw / "blocks" / b, s.dims[0], s.expand * s.dims[0], s.dims[0], 1, true, s.eps_bn));
        } else {
          layer.blocks.push_back(TinyVitBlock<B>::load(lw / "blocks" / b, s, i));
        }
        w.release();
      }
      if (i + 1 < s.dims.size()) {
        const Index to = s.dims[i + 1];
        layer.downsample.push_back(load_mbconv(lw / "downsample", s.dims[i], to, to, int(s.strides[i]), false, s.eps_bn));
      }
      m.layers.push_back(std::move(layer));
    }
    m.neck = nn::Neck<B>::load(w / "neck", s.dims.back(), s.out, s.eps_neck);
    w.release();
    return m;
  }

  /// As SamVit's.
  bool takes_batches() const { return true; }
  Extent2 input_size() const { return {sizes.image_size, sizes.image_size}; }
  Extent2 output_grid() const { return {sizes.grid(), sizes.grid()}; }
  Index out_channels() const { return sizes.out; }
  Index early_channels() const { return sizes.dims[2]; }

  /// `early` [g, g, dims[2]], if not empty, gets the map behind layer 1 and its downsample (SAM-HQ).
  void forward(Context<B>& ctx, const View<const float, 3>& image, const View<float, 3>& embedding, const View<float, 3>& early = {}) const {
    auto scope = ctx.arena.scope();
    const Index images = image.extent(0) / sizes.image_size, h1 = stem_out(sizes.image_size), h2 = stem_out(h1);
    // Two maps in turn, each as large as the largest (the stem's in the published sizes).
    Index side = h2, largest = h2 * h2 * sizes.dims[0];
    for (std::size_t i = 0; i < sizes.strides.size(); ++i) {
      side = detail::conv_out(side, 3, int(sizes.strides[i]), 1);
      largest = std::max(largest, side * side * sizes.dims[i + 1]);
    }
    const auto a = scope.template make<float>(images * largest), b = scope.template make<float>(images * largest);
    View<float, 3> x(a.data(), {images * h2, h2, sizes.dims[0]});
    View<float, 1> spare = b;
    ctx.step("image_encoder.patch_embed");
    {
      auto inner = ctx.arena.scope();
      const auto half = inner.template make<float>(images * h1, h1, sizes.dims[0] / 2);
      conv2d(ctx, stem0, image, half, Activation::gelu_erf);
      conv2d(ctx, stem2, half, x);
    }
    ctx.tap("image_encoder.patch_embed", View<const float, 3>(x), TraceLayout::nchw);
    auto turn = [&](const View<float, 3>& y) {  // the other map holds the result
      spare = View<float, 1>(x.data(), {a.size()});
      x = y;
    };
    auto advance = [&](const PackedMbConv<B>& conv) {  // x -> the other map
      const Index h = detail::conv_out(x.extent(1), 3, conv.stride(), 1);
      const View<float, 3> y(spare.data(), {images * h, h, conv.out_channels()});
      auto span = ctx.span(conv.name);
      mbconv(ctx, conv, x, y);
      conv.residual ? span.out(View<const float, 3>(y), TraceLayout::nchw) : span.out(tokens(View<const float, 3>(y)));
      turn(y);
    };
    for (const auto& layer : layers) {
      auto span = ctx.span(layer.name);
      for (const auto& c : layer.convs) {
        ctx.step(c.name);
        advance(c);
      }
      for (const auto& block : layer.blocks) {
        ctx.step(block.name);
        const View<float, 3> y(spare.data(), x.extents());
        block.forward(ctx, x, y);
        turn(y);
      }
      for (const auto& d : layer.downsample) advance(d);
      span.out(tokens(View<const float, 3>(x)));  // PyTorch: [1, h*w, c]
      if (!early.empty() && &layer == &layers[1]) copy(ctx, tokens(View<const float, 3>(x)), tokens(early));
    }
    neck.forward(ctx, x, embedding);
    ctx.tap("image_encoder", View<const float, 3>(embedding), TraceLayout::nchw);
    ctx.step("image_encoder");
  }

 private:
  Index stem_out(Index h) const { return detail::conv_out(h, sizes.stem_kernel, int(sizes.stem_stride), int(sizes.stem_pad)); }
  static PackedMbConv<B> load_mbconv(const Loader<B>& w, Index in, Index hidden, Index out, int stride, bool residual, float eps) {
    MbConvParams p{w.conv_bn("conv1", hidden, in, 1, 1, 0, eps), w.conv_bn("conv2", hidden, 1, 3, stride, 1, eps), w.conv_bn("conv3", out, hidden, 1, 1, 0, eps), residual, residual ? Activation::gelu_erf : Activation::none, w.path()};
    return w.pack(p);
  }
};

}  // namespace sampan::inline SAMPAN_ABI::models
