// RepViT, the image encoder of EdgeSAM: depthwise convolutions mix places, 1x1 convolutions mix channels, squeeze and excite in some blocks; no attention.
// Data flow: predict/ (preprocessed image) -> here -> ops/depthwise_conv.hpp, ops/channel_gate.hpp, ops/resize_torch_bicubic.hpp -> nn/neck.hpp -> models/mask_decoder.hpp.
// Shapes: image [s, s, 3] -> stages [s/4, .., w0], [s/8, .., w1], [s/16, .., w2], [s/32, .., w3] -> embedding [s/16, s/16, out].
// Source: EdgeSAM, edge_sam/modeling/rep_vit.py (RepViTBlock, RepVGGDW, fuse=True); timm, SqueezeExcite. GELU erf.
// All blocks are f32 whatever precision the backend has, as TinyViT's convolutions are (cpu/README.md); the neck is not.
// Reference runs the three branches of a token mixer; elsewhere they are one: bn(W3 * x) + bn(W1 x) + x = W' * x + b', W' = W3 f3 with W1 f1 + 1 added at the centre.
#pragma once
#include <sampan/nn/neck.hpp>
#include <sampan/ops/channel_gate.hpp>
#include <sampan/ops/resize_torch_bicubic.hpp>
#include <sampan/weights/contract.hpp>

#include <algorithm>
#include <utility>
#include <vector>

namespace sampan::inline SAMPAN_ABI::models {

struct RepVitSizes {
  Index image_size = 0, out = 256;
  weights::RepVitSizes blocks;
  float eps_bn = 1e-5f, eps_neck = 1e-6f;
  Index grid() const { return image_size / 16; }
};

template <Backend B>
struct RepVitBlock {
  PackedDepthwise<B> mix;                  // token_mixer.0, folded or its 3x3 branch
  std::vector<PackedDepthwise<B>> branch;  // Reference: token_mixer.0.conv1
  std::vector<PackedLinear<B>> gate;       // token_mixer.1: fc1, fc2, or none
  std::vector<PackedConv<B>> reduce;       // token_mixer.2 of a block that halves the map
  PackedConv<B> widen, narrow;             // channel_mixer.m.0, .2
  std::string name, mixer_name;

  static RepVitBlock load(const Loader<B>& w, Index before, Index c, bool halves, bool gated, float eps) {
    RepVitBlock m;
    m.name = w.path();
    m.mixer_name = w.path("token_mixer");
    if (halves) {
      m.mix = w.pack_depthwise(w.conv_bn("token_mixer.0", before, 1, 3, 2, 1, eps));
      m.reduce.push_back(w.pack_conv(w.conv_bn("token_mixer.2", c, before, 1, 1, 0, eps)));
    } else {
      const ConvParams three = w.conv_bn("token_mixer.0.conv", c, 1, 3, 1, 1, eps), one = w.conv_bn("token_mixer.0.conv1", c, 1, 1, 1, 0, eps);
      if constexpr (std::is_same_v<B, Reference>) {
        m.mix = w.pack_depthwise(three);
        m.branch.push_back(w.pack_depthwise(one));
      } else {
        m.mix = w.pack_depthwise(folded(w, three, one, c));
      }
    }
    if (gated) {
      const Index hidden = weights::se_hidden(int(before));
      const auto layer = [&](std::string_view part, Index in, Index out) {
        const ConvParams p = w.conv(part, out, in, 1, 1);
        m.gate.push_back(w.pack(LinearParams{View<const float, 2>(p.weight.data(), {w.ok() ? out : 0, in}), p.bias, p.name}));
      };
      layer("token_mixer.1.fc1", before, hidden);
      layer("token_mixer.1.fc2", hidden, before);
    }
    m.widen = w.pack_conv(w.conv_bn("channel_mixer.m.0", 2 * c, c, 1, 1, 0, eps));
    m.narrow = w.pack_conv(w.conv_bn("channel_mixer.m.2", c, 2 * c, 1, 1, 0, eps));
    return m;
  }

  /// in [h, w, before] -> x; a block that keeps the size may have in = x. `spare` is a map like x, and the two may change places.
  void forward(Context<B>& ctx, const View<const float, 3>& in, View<float, 3>& x, View<float, 3>& spare) const {
    auto span = ctx.span(name);
    if (reduce.empty()) {
      depthwise_conv(ctx, mix, in, spare);
      for (const auto& b : branch) {
        auto scope = ctx.arena.scope();
        const auto one = scope.template make<float>(in.extent(0), in.extent(1), in.extent(2));
        depthwise_conv(ctx, b, in, one);
        add(ctx, tokens(View<const float, 3>(spare)), tokens(View<const float, 3>(one)), tokens(spare));
        add(ctx, tokens(View<const float, 3>(spare)), tokens(in), tokens(spare));
      }
      excite(ctx, spare);
      std::swap(x, spare);
    } else {
      auto scope = ctx.arena.scope();
      const auto half = scope.template make<float>(x.extent(0), x.extent(1), in.extent(2));
      depthwise_conv(ctx, mix, in, half);
      excite(ctx, half);
      conv2d(ctx, reduce[0], half, x);
    }
    ctx.tap(mixer_name, View<const float, 3>(x), TraceLayout::nchw);
    {
      auto scope = ctx.arena.scope();
      const auto wide = scope.template make<float>(x.extent(0), x.extent(1), widen.out_channels());
      conv2d(ctx, widen, x, wide, Activation::gelu_erf);
      conv2d(ctx, narrow, wide, spare);
    }
    add(ctx, tokens(View<const float, 3>(x)), tokens(View<const float, 3>(spare)), tokens(x));
    span.out(View<const float, 3>(x), TraceLayout::nchw);
  }

 private:
  static ConvParams folded(const Loader<B>& w, const ConvParams& three, const ConvParams& one, Index c) {
    const auto weight = w.template scratch<4>({c, 1, 3, 3});
    const auto bias = w.template scratch<1>({c});
    if (!w.ok()) return {};
    for (Index o = 0; o < c; ++o) {
      const auto a = sampan::detail::fold_batch_norm(three, o), b = sampan::detail::fold_batch_norm(one, o);
      for (Index t = 0; t < 9; ++t) weight(o, 0, t / 3, t % 3) = float(double(three.weight(o, 0, t / 3, t % 3)) * a.factor + (t == 4 ? double(one.weight(o, 0, 0, 0)) * b.factor + 1 : 0));
      bias(o) = float(a.bias + b.bias);
    }
    return {weight, bias, {}, 1, 1, w.path("token_mixer.0")};
  }

  void excite(Context<B>& ctx, const View<float, 3>& x) const {
    if (gate.empty()) return;
    const Index c = x.extent(2);
    auto scope = ctx.arena.scope();
    const auto mean = scope.template make<float>(1, c), hidden = scope.template make<float>(1, gate[0].out_features()), open = scope.template make<float>(1, c);
    const View<const float, 3> in = x;
    mean_rows(ctx, tokens(in), mean);
    linear(ctx, gate[0], mean, hidden, {.activation = Activation::relu});
    linear(ctx, gate[1], hidden, open);
    gate_rows(ctx, tokens(in), open, tokens(x));
  }
};

template <Backend B>
struct RepVit {
  RepVitSizes sizes;
  PackedConv<B> stem0, stem2;  // features.0.0, .2
  std::array<std::vector<RepVitBlock<B>>, 4> stages;
  PackedConv<B> fuse2, fuse3;  // fuse_stage2, fuse_stage3.op_list.0
  nn::Neck<B> neck;

  static RepVit load(const Loader<B>& w, const RepVitSizes& s) {
    RepVit m;
    m.sizes = s;
    const auto& v = s.blocks;
    const Loader<B> f = w.exact() / "features";
    m.stem0 = w.pack_conv(f.conv_bn("0.0", v.widths[0] / 2, 3, 3, 2, 1, s.eps_bn));
    m.stem2 = w.pack_conv(f.conv_bn("0.2", v.widths[0], v.widths[0] / 2, 3, 2, 1, s.eps_bn));
    int block = 0;
    for (std::size_t i = 0; i < 4; ++i)
      for (int d = 0; d < v.depths[i]; ++d, ++block) {
        const bool halves = i > 0 && d == 0, gated = std::find(v.se_blocks.begin(), v.se_blocks.end(), block) != v.se_blocks.end();
        m.stages[i].push_back(RepVitBlock<B>::load(f / Index(block + 1), halves ? v.widths[i - 1] : v.widths[i], v.widths[i], halves, gated, s.eps_bn));
        w.release();
      }
    m.fuse2 = w.pack_conv(w.conv("fuse_stage2", s.out, v.widths[2], 1, 1, {.bias = false}));
    m.fuse3 = w.pack_conv(w.conv("fuse_stage3.op_list.0", s.out, v.widths[3], 1, 1, {.bias = false}));
    m.neck = nn::Neck<B>::load(w / "neck", s.out, s.out, s.eps_neck);
    w.release();
    return m;
  }

  Extent2 input_size() const { return {sizes.image_size, sizes.image_size}; }
  Extent2 output_grid() const { return {sizes.grid(), sizes.grid()}; }
  Index out_channels() const { return sizes.out; }

  void forward(Context<B>& ctx, const View<const float, 3>& image, const View<float, 3>& embedding) const {
    auto scope = ctx.arena.scope();
    std::array<View<const float, 3>, 4> maps{};
    for (std::size_t i = 0; i < 4; ++i) {
      const Index side = sizes.image_size >> (2 + i), c = sizes.blocks.widths[i];
      auto x = scope.template make<float>(side, side, c), spare = scope.template make<float>(side, side, c);
      if (i == 0) {
        ctx.step("image_encoder.features.0");
        auto inner = ctx.arena.scope();
        const auto half = inner.template make<float>(2 * side, 2 * side, c / 2);
        conv2d(ctx, stem0, image, half, Activation::gelu_erf);
        conv2d(ctx, stem2, half, x);
        ctx.tap("image_encoder.features.0", View<const float, 3>(x), TraceLayout::nchw);
      }
      for (std::size_t d = 0; d < stages[i].size(); ++d) {
        ctx.step(stages[i][d].name);
        const View<const float, 3> in = i > 0 && d == 0 ? maps[i - 1] : View<const float, 3>(x);
        stages[i][d].forward(ctx, in, x, spare);
      }
      maps[i] = x;
    }
    ctx.step("image_encoder.neck");
    const Index g = sizes.grid();
    const auto sum = scope.template make<float>(g, g, sizes.out), large = scope.template make<float>(g, g, sizes.out), small = scope.template make<float>(g / 2, g / 2, sizes.out);
    conv2d(ctx, fuse3, maps[3], small);
    resize_torch_bicubic(ctx, View<const float, 3>(small), View<float, 3>(large));
    conv2d(ctx, fuse2, maps[2], sum);
    add(ctx, tokens(View<const float, 3>(sum)), tokens(View<const float, 3>(large)), tokens(sum));
    neck.forward(ctx, sum, embedding);
    ctx.tap("image_encoder", View<const float, 3>(embedding), TraceLayout::nchw);
    ctx.step("image_encoder");
  }
};

}  // namespace sampan::inline SAMPAN_ABI::models
