// SAM-Med2D's adapter: a channel gate, two convolutions with half the resolution between them, and a norm, beside the MLP of each block.
// Data flow: nn/block_hooks.hpp -> here -> ops/channel_gate.hpp, ops/conv2d.hpp, ops/conv_transpose2d.hpp.
// Shapes: n [h, w, c] with h and w even (the normed map), x [h, w, c] += adapter(n).   Cost: 34 h w c^2 FLOP (16 x 16 x 768: 5 GFLOP, as much as the block's own layers).
// Source: SAM-Med2D image_encoder.py, Adapter_Layer: g = sigmoid(W2 ReLU(W1 mean(n))); s = ReLU(ConvT4x4/s2/p1(ReLU(Conv3x3/s2/p1(g n)))); LayerNorm(n + s), eps 1e-5.
#pragma once
#include <sampan/ops/channel_gate.hpp>
#include <sampan/weights/loader.hpp>

namespace sampan::inline SAMPAN_ABI::nn {

template <Backend B>
struct ConvAdapter {
  PackedLinear<B> squeeze, excite;  // channel.0, channel.2
  PackedConv<B> down;               // spatial.0
  PackedConvTranspose<B> up;        // spatial.2
  PackedNorm<B> norm;
  std::string name;

  static ConvAdapter load(const Loader<B>& w, Index c, Index hidden) {
    return {w.pack(w.linear("channel.0", c, hidden, false)),
            w.pack(w.linear("channel.2", hidden, c, false)),
            w.pack_conv(w.conv("spatial.0", c, c, 3, 3, {.bias = false, .stride = 2, .pad = 1})),
            w.pack_conv_transpose(w.conv_transpose("spatial.2", c, c, 4, {.bias = false, .stride = 2, .pad = 1})),
            w.pack(w.norm("norm", c, 1e-5f)),  // nn.LayerNorm's default, unlike the encoder's 1e-6
            w.path()};
  }

  void forward(Context<B>& ctx, const View<const float, 3>& n, const View<float, 3>& x) const {
    const Index h = n.extent(0), w = n.extent(1), c = n.extent(2);
    if (!ctx.require(h % 2 == 0 && w % 2 == 0, "conv adapter: the map's sides must be even")) return;
    auto scope = ctx.arena.scope();
    const auto mean = scope.template make<float>(1, c), hidden = scope.template make<float>(1, squeeze.out_features()), gate = scope.template make<float>(1, c);
    const auto gated = scope.template make<float>(h, w, c), half = scope.template make<float>(h / 2, w / 2, c);
    mean_rows(ctx, tokens(n), mean);
    linear(ctx, squeeze, mean, hidden, {.activation = Activation::relu});
    linear(ctx, excite, hidden, gate);
    gate_rows(ctx, tokens(n), gate, tokens(gated));
    conv2d(ctx, down, gated, half, Activation::relu);
    conv_transpose2d(ctx, up, half, gated, Activation::relu);
    const auto rows = tokens(gated);
    add(ctx, rows, tokens(n), rows);
    layer_norm(ctx, norm, rows, rows);
    ctx.tap(name, View<const float, 3>(gated));  // PyTorch: [1, h, w, c]
    add(ctx, tokens(View<const float, 3>(x)), rows, tokens(x));
  }
};

}  // namespace sampan::inline SAMPAN_ABI::nn
