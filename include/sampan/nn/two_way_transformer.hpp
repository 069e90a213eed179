// Two-way transformer of SAM's mask decoder: tokens attend to the image and the image to the tokens, twice, then tokens once more.
// Data flow: models/mask_decoder.hpp -> here -> nn/two_way_block.hpp.
// Shapes: queries [b, n, c] in place; image [b or 1, p, c] -> keys [b, p, c]; pe [1, p, c].   Cost: about 2.8 GFLOP per prompt at p = 4096, c = 256.
// Source: segment_anything/modeling/transformer.py, TwoWayTransformer.
#pragma once
#include <sampan/nn/two_way_block.hpp>

#include <vector>

namespace sampan::inline SAMPAN_ABI::nn {

template <Backend B>
struct TwoWayTransformer {
  std::vector<TwoWayBlock<B>> layers;
  PackedCrossAttention<B> final_attn_token_to_image;
  PackedNorm<B> norm_final_attn;
  std::string name;

  /// `eps` of the blocks' norms, `eps_final` of the last (Hugging Face's forward differs between them).
  static TwoWayTransformer load(const Loader<B>& w, Index depth, Index c, Index heads, Index mlp_dim, float eps, float eps_final, TwoWayRules rules = {}) {
    TwoWayTransformer t;
    for (Index i = 0; i < depth; ++i) {
      if (i >= rules.hooked_layers) rules.hook = 0;
      t.layers.push_back(TwoWayBlock<B>::load(w / "layers" / i, c, heads, mlp_dim, eps, i == 0, rules));
    }
    t.final_attn_token_to_image = load_cross_attention(w / "final_attn_token_to_image", c, c / 2, heads, PixelSide::keys);
    t.norm_final_attn = w.pack(w.norm("norm_final_attn", c, eps_final));
    t.name = w.path();
    return t;
  }

  /// queries [b, n, c] holds the tokens on entry and the result on return; keys [b, p, c] receives the image side (and may be side.image).
  void forward(Context<B>& ctx, const View<float, 3>& queries, const ImageSide<const float>& side, const View<const float, 3>& pe, const View<float, 3>& keys) const {
    auto scope = ctx.arena.scope();
    auto start = scope.template make<float>(queries.extent(0), queries.extent(1), queries.extent(2));
    copy(ctx, tokens(View<const float, 3>(queries)), tokens(start));
    ImageSide<const float> now = side;
    for (const auto& layer : layers) {
      layer.forward(ctx, queries, start, now, keys, pe);
      now = {.image = keys};
    }
    const View<const float, 3> q = queries, in = now.image;
    cross_attention(ctx, final_attn_token_to_image, {q, start, in, pe, in}, queries, q);
    layer_norm(ctx, norm_final_attn, tokens(q), tokens(queries));
    tap_two_way(ctx, name, q, in);
  }
};

}  // namespace sampan::inline SAMPAN_ABI::nn
