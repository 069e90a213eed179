// SAMUS's second branch: convolutions beside the ViT, whose map every global block attends to; and the layers that bring both to one grid.
// Data flow: models/sam_vit.hpp (stem, end) and nn/block_hooks.hpp (BranchAttention, hook `before_attention`) -> here -> nn/conv_norm.hpp, ops/cross_attention.hpp.
// Shapes: image [s, s, 3], branch map [g, g, c] with g = s / 8, x [g, g, c].
//   stem: patches of 16 px every 8 px of the image stretched by 8 px; x += input_Adapter(x); x += post_pos_embed(pos_embed)
//   global block: n = norm1(x); n += Space_Adapter(q = n, k = v = branch); branch = refine_Adapter(branch); x += attn(n); x += mlp(norm2(x)) + MLP_Adapter(norm2(x)) / 2
//   end: x += branch / 2
// Source: SAMUS modeling/image_encoder.py (SingleCNNEmbed, ParaBlock, PatchEmbed0, PostPosEmbed).
#pragma once
#include <sampan/nn/bottleneck.hpp>
#include <sampan/nn/conv_norm.hpp>
#include <sampan/ops/channel_gate.hpp>
#include <sampan/ops/resize_torch_bilinear.hpp>

#include <vector>

namespace sampan::inline SAMPAN_ABI::nn {

inline constexpr Index kBranchWidth = 64;   // channels behind the first convolution; twice as many behind each pooling but the last

/// In a global block.
template <Backend B>
struct BranchAttention {
  PackedCrossAttention<B> attn;  // Space_Adapter
  ConvNorm<B> refine;            // refine_Adapter.conv

  static BranchAttention load(const Loader<B>& w, Index c, Index heads) {
    const auto a = w.exact() / "Space_Adapter";  // few FLOP beside the block's own, and f32 in every precision
    return {a.pack(CrossAttentionParams{a.linear("q", c, c), a.linear("k", c, c), a.linear("v", c, c), a.linear("proj", c, c), heads, a.path()}), ConvNorm<B>::load(w / "refine_Adapter.conv", 0, c, c)};
  }
  /// n += attention to the branch, whose map is refined behind it.
  void forward(Context<B>& ctx, const View<float, 3>& n, const View<float, 3>& branch) const {
    const auto one = [](const auto& v) { return v.template reshape<3>({1, v.extent(0) * v.extent(1), v.extent(2)}); };
    const View<const float, 3> q = one(n), kv = one(branch);
    cross_attention(ctx, attn, {q, {}, kv, {}, kv}, one(n), q);
    auto scope = ctx.arena.scope();
    const auto refined = scope.template make<float>(branch.extent(0), branch.extent(1), branch.extent(2));
    refine.forward(ctx, branch, refined);
    copy(ctx, tokens(View<const float, 3>(refined)), tokens(branch));
  }
};

/// Before and behind the blocks.
template <Backend B>
struct SideBranch {
  std::vector<ConvNorm<B>> layers;  // cnn_embed.inc, cnn_embed.downs.{i}
  Bottleneck<B> input_adapter;
  Tensor<float, 2, B> zero;  // [1, c]

  /// `w` at image_encoder; `patch` is the ViT's: a power of two.
  static SideBranch load(const Loader<B>& w, Index patch, Index c, Index hidden) {
    SideBranch m;
    const auto cnn = w / "cnn_embed";
    m.layers.push_back(ConvNorm<B>::load(cnn / "inc.conv", 0, 3, kBranchWidth));
    Index in = kBranchWidth, i = 0;
    for (Index left = patch; left > 1; left /= 2, in *= 2, ++i) m.layers.push_back(ConvNorm<B>::load(cnn / "downs" / i / "maxpool_conv", 1, in, left == 2 ? c : 2 * in));
    m.input_adapter = Bottleneck<B>::load(w / "input_Adapter", c, hidden, 1);
    const auto none = w.template scratch<2>({1, c});
    for (Index j = 0; w.ok() && j < c; ++j) none(0, j) = 0;
    m.zero = w.keep(View<const float, 2>(none));
    return m;
  }

  /// The image as the patch embedding sees it, [s + 8, s + 8, 3].
  static void stretch(Context<B>& ctx, const View<const float, 3>& image, const View<float, 3>& out) {
    if constexpr (on_device<B>) {
      ctx.fail(Error(ErrorCode::unsupported, cat("device ", B::kName, " stretches no images; use device cpu")));
    } else {
      resize_torch_bilinear(ctx, image, out);
    }
  }
  void start(Context<B>& ctx, const View<const float, 3>& image, const View<float, 3>& x, const View<float, 3>& branch) const {
    run(ctx, 0, image, branch);
    const auto rows = tokens(x);
    input_adapter.forward(ctx, rows, rows, rows);
  }
  /// x += branch / 2; a gate of zero is a factor of one half, exactly.
  void end(Context<B>& ctx, const View<float, 3>& branch, const View<float, 3>& x) const {
    const View<const float, 2> half = tokens(branch);
    gate_rows(ctx, half, zero.view(), tokens(branch));
    add(ctx, tokens(View<const float, 3>(x)), half, tokens(x));
  }

 private:
  void run(Context<B>& ctx, std::size_t i, const View<const float, 3>& x, const View<float, 3>& out) const {
    if (i + 1 == layers.size()) return layers[i].forward(ctx, x, out);
    auto scope = ctx.arena.scope();
    const Index f = layers[i].pooled ? 2 : 1;
    const auto y = scope.template make<float>(x.extent(0) / f, x.extent(1) / f, layers[i].conv.out_channels());
    layers[i].forward(ctx, x, y);
    run(ctx, i + 1, y, out);
  }
};

/// post_pos_embed(pos_embed): [stored, stored, c] -> [grid, grid, c], once, at load.
template <Backend B>
Tensor<float, 3, B> learned_pos_embed(const Loader<B>& w, Index stored, Index grid, Index c) {
  const auto table = w.template tensor<4>("pos_embed", {1, stored, stored, c});
  std::vector<ConvNorm<B>> downs;
  for (Index side = stored; side > grid; side /= 2) downs.push_back(ConvNorm<B>::load(w.exact() / "post_pos_embed.downs" / Index(downs.size()) / "maxpool_conv", 1, c, c));
  if (!w.ok()) return {};
  const auto stored_table = w.keep(View<const float, 3>(table[0]));
  Tensor<float, 3, B> out({grid, grid, c});
  ThreadPool pool(1);
  const auto forward = [&](Context<B>& ctx) {
    auto scope = ctx.arena.scope();
    View<const float, 3> x = stored_table.view();
    for (std::size_t i = 0; i < downs.size(); ++i) {
      const auto y = i + 1 == downs.size() ? out.view() : scope.template make<float>(x.extent(0) / 2, x.extent(1) / 2, c);
      downs[i].forward(ctx, x, y);
      x = y;
    }
    if (downs.empty()) copy(ctx, tokens(x), tokens(out.view()));
  };
  const B& backend = w.exact().backend();
  Arena arena;
  const auto planned = plan(backend, pool, forward);
  if (!planned || !out.valid() || !stored_table.valid() || !arena.template reserve<typename B::Memory>(planned->arena_bytes)) {
    w.problem(planned ? std::string("no memory for position tables") : std::string(planned.error().message()), planned ? ErrorCode::out_of_memory : planned.error().code());
    return {};
  }
  Context<B> ctx(backend, pool, arena);
  forward(ctx);
  if (!ctx.ok()) w.problem(std::string(ctx.status().error().message()), ctx.status().error().code());
  return out;
}

}  // namespace sampan::inline SAMPAN_ABI::nn
