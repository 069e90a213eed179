// EfficientViT, the image encoder of EfficientViT-SAM: stages of convolutions, then of linear attention on two scales; a neck that adds the last three stages.
// Data flow: predict/ (preprocessed image) -> here -> ops/mbconv.hpp, ops/linear_attention.hpp, ops/resize_torch_bicubic.hpp -> models/mask_decoder.hpp.
// Shapes: image [s, s, 3] -> stage i [s / 2^(i+1), .., widths[i]] -> embedding [g, g, out], g the side of the third stage from the end.
// Source: efficientvit/models/efficientvit/backbone.py (EfficientViTLargeBackbone), models/nn/ops.py (LiteMLA, MBConv, FusedMBConv), models/efficientvit/sam.py (SamNeck).
// GELU is the tanh form. The backbone is f32 whatever precision the backend has, as TinyViT's convolutions are (cpu/README.md); the neck is not. LiteMLA's grouped 1x1 convolution runs as one small linear layer per group.
#pragma once
#include <sampan/nn/norm2d.hpp>
#include <sampan/ops/linear_attention.hpp>
#include <sampan/ops/resize_torch_bicubic.hpp>
#include <sampan/weights/contract.hpp>
#include <sampan/weights/loader.hpp>

#include <array>
#include <utility>
#include <vector>

namespace sampan::inline SAMPAN_ABI::models {

struct EfficientVitSizes {
  Index image_size = 0, grid = 0, out = 256;
  weights::EfficientVitSizes backbone;
  float eps_bn = 1e-6f, eps_norm = 1e-6f;
};

namespace efficient_vit {

inline constexpr Activation kGelu = Activation::gelu_tanh;

/// ConvLayer: convolution `conv` (same padding), with a bias or with BatchNorm `norm` behind it. in = 1: depthwise.
template <Backend B>
ConvParams conv_layer(const Loader<B>& at, std::string_view name, Index in, Index out, Index k, int stride, float eps, bool bn = true) {
  const Loader<B> w = at / name, n = w / "norm";
  ConvParams p = w.conv("conv", out, in, k, k, {.bias = !bn, .stride = stride, .pad = int(k / 2)});
  if (bn) p.bn = {n.template tensor<1>("weight", {out}), n.template tensor<1>("bias", {out}), n.template tensor<1>("running_mean", {out}), n.template tensor<1>("running_var", {out}), eps, w.path()};
  return p;
}

/// Two convolutions with GELU between: ResBlock (3x3, 3x3) and FusedMBConv (3x3, 1x1).
template <Backend B>
struct Pair {
  PackedConv<B> first, second;

  static Pair fused(const Loader<B>& w, Index in, Index mid, Index out, int stride, float eps) {
    return {w.pack_conv(conv_layer(w, "spatial_conv", in, mid, 3, stride, eps)), w.pack_conv(conv_layer(w, "point_conv", mid, out, 1, 1, eps))};
  }
  static Pair res(const Loader<B>& w, Index c, float eps) { return {w.pack_conv(conv_layer(w, "conv1", c, c, 3, 1, eps)), w.pack_conv(conv_layer(w, "conv2", c, c, 3, 1, eps))}; }

  void forward(Context<B>& ctx, const View<const float, 3>& x, const View<float, 3>& y) const {
    auto scope = ctx.arena.scope();
    const auto mid = scope.template make<float>(y.extent(0), y.extent(1), first.out_channels());
    conv2d(ctx, first, x, mid, kGelu);
    conv2d(ctx, second, mid, y);
  }
};

/// MBConv with biases inside and BatchNorm at the end.
template <Backend B>
PackedMbConv<B> load_inverted(const Loader<B>& w, Index in, Index mid, Index out, int stride, bool residual, float eps) {
  MbConvParams p{conv_layer(w, "inverted_conv", in, mid, 1, 1, eps, false), conv_layer(w, "depth_conv", 1, mid, 3, stride, eps, false), conv_layer(w, "point_conv", mid, out, 1, 1, eps), residual, Activation::none, w.path(), kGelu};
  return w.pack(p);
}

/// LiteMLA: queries, keys and values of each pixel, and of its neighbourhood; linear attention on both; their outputs projected together.
template <Backend B>
struct LiteMla {
  PackedConv<B> qkv, proj;
  PackedDepthwise<B> near;             // aggreg.0.0
  std::vector<PackedLinear<B>> groups;  // aggreg.0.1, one head's q, k or v each
  Index head = 0;

  static LiteMla load(const Loader<B>& w, Index c, Index kernel, float eps) {
    constexpr Index d = weights::EfficientVitSizes::kHead;
    LiteMla m;
    m.head = d;
    m.qkv = w.pack_conv(w.conv("qkv.conv", 3 * c, c, 1, 1, {.bias = false}));
    m.near = w.pack_depthwise(w.conv("aggreg.0.0", 3 * c, 1, kernel, kernel, {.bias = false, .pad = int(kernel / 2)}));
    const ConvParams mix = w.conv("aggreg.0.1", 3 * c, d, 1, 1, {.bias = false});
    for (Index g = 0; w.ok() && g < 3 * c / d; ++g) m.groups.push_back(w.pack(LinearParams{View<const float, 2>(mix.weight.data() + g * d * d, {d, d}), {}, {}}));
    m.proj = w.pack_conv(conv_layer(w, "proj", 2 * c, c, 1, 1, eps));
    return m;
  }

  /// x, y [h, w, c].
  void forward(Context<B>& ctx, const View<const float, 3>& x, const View<float, 3>& y) const {
    const Index h = x.extent(0), w = x.extent(1), c = x.extent(2), n = h * w;
    auto scope = ctx.arena.scope();
    const auto mixed = scope.template make<float>(h, w, 2 * c);
    {
      auto inner = ctx.arena.scope();
      const auto one = inner.template make<float>(h, w, 3 * c), around = inner.template make<float>(h, w, 3 * c);
      conv2d(ctx, qkv, x, one);
      depthwise_conv(ctx, near, one, around);
      const auto columns = [&](const auto& map, Index first, Index count) { return View<float, 2>(map.data() + first, {n, count}, {map.extent(2), 1}); };
      linear_attention(ctx, c / head, tokens(View<const float, 3>(one)), columns(mixed, 0, c));
      for (std::size_t g = 0; g < groups.size(); ++g) linear(ctx, groups[g], columns(around, Index(g) * head, head), columns(one, Index(g) * head, head));
      linear_attention(ctx, c / head, tokens(View<const float, 3>(one)), columns(mixed, c, c));
    }
    conv2d(ctx, proj, mixed, y);
  }
};

/// A residual block of any kind.
template <Backend B>
struct Block {
  std::vector<Pair<B>> pair;  // each none or one
  std::vector<LiteMla<B>> attention;
  std::vector<PackedMbConv<B>> inverted;
  std::string name, context_name;

  /// `x` becomes the result; `spare` is a map of the same shape, and the two may change places.
  void forward(Context<B>& ctx, View<float, 3>& x, View<float, 3>& spare) const {
    auto span = ctx.span(name);
    const auto join = [&] { add(ctx, tokens(View<const float, 3>(x)), tokens(View<const float, 3>(spare)), tokens(x)); };
    for (const auto& p : pair) p.forward(ctx, x, spare), join();
    for (const auto& a : attention) {
      a.forward(ctx, x, spare), join();
      ctx.tap(context_name, View<const float, 3>(x), TraceLayout::nchw);
    }
    for (const auto& m : inverted) mbconv(ctx, m, x, spare), std::swap(x, spare);
    span.out(View<const float, 3>(x), TraceLayout::nchw);
  }
};

}  // namespace efficient_vit

template <Backend B>
struct EfficientVit {
  using Stages = weights::EfficientVitStage;
  struct Stage {
    std::vector<PackedConv<B>> stem;                // stage 0
    std::vector<efficient_vit::Pair<B>> fused;      // the halving block of the others: one of these
    std::vector<PackedMbConv<B>> inverted;
    std::vector<efficient_vit::Block<B>> blocks;
    Index width = 0;
    std::string name;
  };
  EfficientVitSizes sizes;
  std::vector<Stage> stages;
  std::vector<PackedConv<B>> inputs;                // neck.input_ops: of the last stage, the one before, and the one before that
  std::vector<efficient_vit::Block<B>> middle;
  PackedConv<B> output;
  PackedNorm<B> norm;

  static EfficientVit load(const Loader<B>& w, const EfficientVitSizes& s) {
    using namespace efficient_vit;
    EfficientVit m;
    m.sizes = s;
    const auto& v = s.backbone;
    const auto kinds = weights::stages_of(v.kind);
    for (std::size_t i = 0; i < kinds.size(); ++i) {
      const Loader<B> ops = w.exact() / "backbone.stages" / Index(i) / "op_list";
      const Index c = v.widths[i], before = i ? v.widths[i - 1] : 3, expand = kinds[i].expand;
      Stage stage;
      stage.width = c;
      stage.name = (w / "backbone.stages" / Index(i)).path();
      if (i == 0) {
        stage.stem.push_back(w.pack_conv(conv_layer(ops, "0", 3, c, 3, 2, s.eps_bn)));
      } else if (kinds[i].block == Stages::fused) {
        stage.fused.push_back(Pair<B>::fused(ops / "0.main", before, 4 * expand * before, c, 2, s.eps_bn));
      } else {
        stage.inverted.push_back(load_inverted(ops / "0.main", before, 4 * expand * before, c, 2, false, s.eps_bn));
      }
      for (int d = 1; d <= v.depths[i]; ++d) {
        const Loader<B> at = ops / Index(d);
        Block<B> b;
        b.name = at.path();
        switch (kinds[i].block) {
          case Stages::res: b.pair.push_back(Pair<B>::res(at / "main", c, s.eps_bn)); break;
          case Stages::fused: b.pair.push_back(Pair<B>::fused(at / "main", c, expand * c, c, 1, s.eps_bn)); break;
          case Stages::inverted: b.inverted.push_back(load_inverted(at / "main", c, expand * c, c, 1, true, s.eps_bn)); break;
          case Stages::attention:
            b.context_name = at.path("context_module");
            b.attention.push_back(LiteMla<B>::load(at / "context_module.main", c, kinds[i].kernel, s.eps_bn));
            b.inverted.push_back(load_inverted(at / "local_module.main", c, expand * c, c, 1, true, s.eps_bn));
            break;
        }
        stage.blocks.push_back(std::move(b));
        w.release();
      }
      m.stages.push_back(std::move(stage));
    }
    const Loader<B> neck = w / "neck";
    for (Index i = 0; i < 3; ++i) m.inputs.push_back(w.pack_conv(conv_layer(neck / "input_ops" / i / "op_list", "0", v.widths[kinds.size() - 1 - std::size_t(i)], v.head_width, 1, 1, s.eps_bn)));
    for (Index i = 0; i < v.head_depth; ++i) {
      const Loader<B> at = neck / "middle.op_list" / i;
      Block<B> b;
      b.name = at.path();
      b.pair.push_back(Pair<B>::fused(at / "main", v.head_width, Index(weights::neck_expand_of(v.kind)) * v.head_width, v.head_width, 1, s.eps_bn));
      m.middle.push_back(std::move(b));
    }
    m.output = w.pack_conv(neck.conv("output_ops.0.op_list.0.conv", s.out, v.head_width, 1, 1));
    m.norm = w.pack(w.norm("norm", s.out, s.eps_norm));
    w.release();
    return m;
  }

  Extent2 input_size() const { return {sizes.image_size, sizes.image_size}; }
  Extent2 output_grid() const { return {sizes.grid, sizes.grid}; }
  Index out_channels() const { return sizes.out; }

  void forward(Context<B>& ctx, const View<const float, 3>& image, const View<float, 3>& embedding) const {
    auto scope = ctx.arena.scope();
    std::array<View<const float, 3>, 3> maps{};  // of the last three stages, the last first
    View<const float, 3> in = image;
    for (const auto& stage : stages) {
      const Index side = in.extent(0) / 2;
      auto x = scope.template make<float>(side, side, stage.width), spare = scope.template make<float>(side, side, stage.width);
      ctx.step(stage.name);
      for (const auto& s : stage.stem) conv2d(ctx, s, in, x, efficient_vit::kGelu);
      for (const auto& f : stage.fused) f.forward(ctx, in, x);
      for (const auto& m : stage.inverted) mbconv(ctx, m, in, x);
      for (const auto& b : stage.blocks) b.forward(ctx, x, spare);
      ctx.tap(stage.name, View<const float, 3>(x), TraceLayout::nchw);
      in = x;
      maps = {in, maps[0], maps[1]};
    }
    ctx.step("image_encoder.neck");
    const Index g = sizes.grid, c = sizes.backbone.head_width;
    auto sum = scope.template make<float>(g, g, c), spare = scope.template make<float>(g, g, c);
    for (std::size_t i = inputs.size(); i-- > 0;) {  // a + (b + c), as PyTorch sums the list
      const View<const float, 3> from = maps[i];
      const bool first = i + 1 == inputs.size(), same = from.extent(0) == g;
      const View<float, 3> to = first ? sum : spare;
      auto inner = ctx.arena.scope();
      const auto narrow = same ? to : inner.template make<float>(from.extent(0), from.extent(1), c);
      conv2d(ctx, inputs[i], from, narrow);
      if (!same) resize_torch_bicubic(ctx, narrow, to);
      if (!first) add(ctx, tokens(View<const float, 3>(spare)), tokens(View<const float, 3>(sum)), tokens(sum));
    }
    for (const auto& b : middle) b.forward(ctx, sum, spare);
    conv2d(ctx, output, sum, embedding);
    nn::layer_norm_2d(ctx, norm, embedding, embedding);
    ctx.tap("image_encoder", View<const float, 3>(embedding), TraceLayout::nchw);
    ctx.step("image_encoder");
  }
};

}  // namespace sampan::inline SAMPAN_ABI::models
