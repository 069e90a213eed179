// DeSAM's part of the mask decoder: a small U-Net that mixes what the two-way transformer made of the image with maps from inside the encoder. It makes the mask; SAM's own
// tokens only give the IoU.
// Data flow: encoder (maps behind its global blocks but the last) -> prepare, once per image; transformer's image side of models/mask_decoder.hpp -> mask, per prompt.
// Shapes: early three maps [g, g, d], one below the other; keys [g*g, c]; skips [g, g, c], [2g, 2g, c/2], [4g, 4g, c/4], one behind the other; mask [1, 4g*4g].
// Source: DeSAM mask_decoder.py, PIMMDecoder, UnetResSEBlock (InstanceNorm without parameters, LeakyReLU 0.01, squeeze and excite by 16). Weights that its forward never
// uses stay in the file and out of memory.   Cost at g = 64, c = 256, d = 1280: 56 GFLOP per image, 52 GFLOP per prompt.
#pragma once
#include <sampan/ops/channel_gate.hpp>
#include <sampan/ops/instance_norm.hpp>
#include <sampan/weights/loader.hpp>

#include <optional>
#include <vector>

namespace sampan::inline SAMPAN_ABI::models {

/// leaky(se(norm(conv(leaky(norm(conv(x)))))) + residual), the residual through a convolution of its own where the widths differ.
template <Backend B>
struct SqueezeBlock {
  PackedConv<B> conv1, conv2;
  std::optional<PackedConv<B>> conv3;
  PackedLinear<B> squeeze, excite;  // se.fc.0, se.fc.2
  static constexpr float kEps = 1e-5f, kSlope = 0.01f;

  static SqueezeBlock load(const Loader<B>& w, Index in, Index out) {
    const auto conv = [&](const char* name, Index from, Index k) { return w.conv(name, out, from, k, k, {.bias = false, .pad = int(k / 2)}); };
    SqueezeBlock b{w.pack_conv(conv("conv1.conv", in, 3)), w.pack_conv(conv("conv2.conv", out, 3)), {}, w.pack(w.linear("se.fc.0", out, out / 16, false)), w.pack(w.linear("se.fc.2", out / 16, out, false))};
    const auto third = conv("conv3.conv", in, 1);  // in the file either way
    if (in != out) b.conv3 = w.pack_conv(third);
    return b;
  }

  void forward(Context<B>& ctx, const View<const float, 3>& x, const View<float, 3>& y) const {
    if constexpr (on_device<B>) {
      ctx.fail(Error(ErrorCode::unsupported, cat(conv1.name, ": device ", B::kName, " has no instance norm; use device cpu")));
    } else {
      auto scope = ctx.arena.scope();
      const Index h = x.extent(0), width = x.extent(1), c = conv1.out_channels();
      const auto mid = scope.template make<float>(h, width, c), other = scope.template make<float>(conv3 ? h : 0, width, c);
      const auto mean = scope.template make<float>(1, c), few = scope.template make<float>(1, c / 16), gate = scope.template make<float>(1, c);
      const auto rows = [](const View<float, 3>& v) { return tokens(View<const float, 3>(v)); };
      conv2d(ctx, conv1, x, mid);
      instance_norm(ctx, rows(mid), tokens(mid), kEps, kSlope);
      conv2d(ctx, conv2, View<const float, 3>(mid), y);
      instance_norm(ctx, rows(y), tokens(y), kEps, 1);
      mean_rows(ctx, rows(y), mean);
      linear(ctx, squeeze, mean, few, {.activation = Activation::relu});
      linear(ctx, excite, few, gate);
      gate_rows(ctx, rows(y), gate, tokens(y));
      if (conv3) {
        conv2d(ctx, *conv3, x, other);
        instance_norm(ctx, rows(other), tokens(other), kEps, 1);
      }
      add_leaky(ctx, rows(y), conv3 ? rows(other) : tokens(x), tokens(y), kSlope);
    }
  }
};

template <Backend B>
struct PimmHead {
  static constexpr int kLevels = 3;
  /// A map of the encoder on its way to 2^d times the grid: conv_blocks_context.{d}.
  struct Context3 {
    SqueezeBlock<B> block_init;
    std::vector<PackedConvTranspose<B>> up;  // residual_block.{i}.0
    std::vector<SqueezeBlock<B>> block;      // residual_block.{i}.1
  };
  struct Up {  // conv_blocks_localization.{u}
    PackedConvTranspose<B> transp_conv;
    SqueezeBlock<B> res_block;
  };
  std::vector<Context3> context;
  std::vector<Up> localization;
  SqueezeBlock<B> fusion;  // mask_embedding_fusion
  PackedConv<B> output;    // seg_outputs.1
  Index channels = 0, grid = 0;
  std::string name;

  /// `w` at mask_decoder.pimm; c channels of the embedding, `early` of the encoder's maps.
  static PimmHead load(const Loader<B>& w, Index c, Index early, Index grid) {
    PimmHead m;
    m.channels = c, m.grid = grid, m.name = w.path();
    const auto doubled = [](const Loader<B>& at, Index in, Index out) { return at.pack_conv_transpose(at.conv_transpose("conv", in, out, 2, {.bias = false, .stride = 2})); };
    for (int d = 0; d < kLevels; ++d) {
      const auto at = w / "conv_blocks_context" / Index(d);
      const Index out = c >> d;
      Context3 k{SqueezeBlock<B>::load(at / "block_init", early, out), {}, {}};
      for (int i = 0; i < d; ++i) {
        k.up.push_back(doubled(at / "residual_block" / Index(i) / "0", out, out));
        k.block.push_back(SqueezeBlock<B>::load(at / "residual_block" / Index(i) / "1", out, out));
      }
      m.context.push_back(std::move(k));
    }
    for (int u = 0; u + 1 < kLevels; ++u) {
      const auto at = w / "conv_blocks_localization" / Index(u);
      const Index out = c >> (u + 1);
      m.localization.push_back({doubled(at / "transp_conv", 2 * out, out), SqueezeBlock<B>::load(at / "res_block", 2 * out, out)});
    }
    m.fusion = SqueezeBlock<B>::load(w / "mask_embedding_fusion", 2 * c, c);
    w.conv("seg_outputs.0", 1, c / 2, 1, 1, {.bias = false});  // of training
    m.output = w.pack_conv(w.conv("seg_outputs.1", 1, c / 4, 1, 1, {.bias = false}));
    return m;
  }

  /// Part d of the memory of prepare's result, [g 2^d, g 2^d, c / 2^d].
  template <class T>
  View<T, 3> skip(T* all, int d) const {
    Index at = 0;
    for (int i = 0; i < d; ++i) at += grid * grid * (channels << i);
    return {all + at, {grid << d, grid << d, channels >> d}};
  }

  void prepare(Context<B>& ctx, const View<const float, 3>& early, const View<float, 3>& skips) const {
    for (int d = 0; d < kLevels; ++d) {
      auto scope = ctx.arena.scope();
      const Context3& k = context[std::size_t(d)];
      const View<float, 3> last = skip(skips.data(), d);
      const auto map = [&](int i) { return i == d ? last : scope.template make<float>(grid << i, grid << i, channels >> d); };
      View<float, 3> x = map(0);
      k.block_init.forward(ctx, early.slice(0, (kLevels - 1 - d) * grid, grid), x);
      for (int i = 0; i < d; ++i) {
        const auto wide = scope.template make<float>(grid << (i + 1), grid << (i + 1), channels >> d);
        const auto next = map(i + 1);
        conv_transpose2d(ctx, k.up[std::size_t(i)], View<const float, 3>(x), wide);
        k.block[std::size_t(i)].forward(ctx, wide, next);
        x = next;
      }
    }
  }

  /// keys [g*g, c] of one prompt -> mask [1, 4g*4g].
  void forward(Context<B>& ctx, const View<const float, 2>& keys, const View<const float, 3>& skips, const View<float, 2>& mask) const {
    auto scope = ctx.arena.scope();
    View<float, 3> x = scope.template make<float>(grid, grid, channels);
    beside(ctx, keys, tokens(skip(skips.data(), 0)), fusion, x);
    for (int u = 0; u + 1 < kLevels; ++u) {
      const Index side = grid << (u + 1), c = channels >> (u + 1);
      const auto wide = scope.template make<float>(side, side, c), next = scope.template make<float>(side, side, c);
      conv_transpose2d(ctx, localization[std::size_t(u)].transp_conv, View<const float, 3>(x), wide);
      beside(ctx, tokens(View<const float, 3>(wide)), tokens(skip(skips.data(), u + 1)), localization[std::size_t(u)].res_block, next);
      x = next;
    }
    conv2d(ctx, output, View<const float, 3>(x), View<float, 3>(mask.data(), {4 * grid, 4 * grid, 1}));
    ctx.tap(name, View<const float, 3>(mask.data(), {4 * grid, 4 * grid, 1}), TraceLayout::nchw);
  }

 private:
  /// y = block([a, b]), the channels side by side.
  void beside(Context<B>& ctx, const View<const float, 2>& a, const View<const float, 2>& b, const SqueezeBlock<B>& block, const View<float, 3>& y) const {
    auto scope = ctx.arena.scope();
    const auto both = scope.template make<float>(y.extent(0), y.extent(1), a.extent(1) + b.extent(1));
    const auto rows = tokens(both);
    copy(ctx, a, rows.slice(1, 0, a.extent(1)));
    copy(ctx, b, rows.slice(1, a.extent(1), b.extent(1)));
    block.forward(ctx, both, y);
  }
};

}  // namespace sampan::inline SAMPAN_ABI::models
