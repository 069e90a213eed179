// Block of SAM's two-way transformer: tokens attend to themselves and to the image, then the image to the tokens.
// Data flow: nn/two_way_transformer.hpp -> here -> ops/cross_attention.hpp, ops/mlp.hpp.
// Shapes: queries [b, n, c] in place; image [b or 1, p, c] -> [b, p, c]; pe [1, p, c].
// What the first block computes from the image alone may come ready (ImageSide): 0.8 GFLOP once per image instead of per prompt.
// Source: segment_anything/modeling/transformer.py, TwoWayAttentionBlock.
// EfficientSAM's (Rules): GELU; a residual around every self-attention; layer 1 adds the encoding to the queries themselves, so that values and residual hold it too.
// finetune-SAM's first blocks have bottlenecks: one behind both cross-attentions (the same weights for tokens and image), one at half weight beside the MLP.
// H-SAM's first decoder: the tokens' two attentions change places.
// Quirks kept: layer 0's self-attention has neither residual nor positional term; the prompt tokens themselves are the queries' positional encoding in every layer.
#pragma once
#include <sampan/nn/bottleneck.hpp>

#include <optional>

namespace sampan::inline SAMPAN_ABI::nn {

template <Backend B>
PackedCrossAttention<B> load_cross_attention(const Loader<B>& w, Index c, Index inner, Index heads, PixelSide pixels = PixelSide::none) {
  return w.pack(CrossAttentionParams{w.linear("q_proj", c, inner), w.linear("k_proj", c, inner), w.linear("v_proj", c, inner), w.linear("out_proj", inner, c), heads, w.path(), pixels});
}

/// PyTorch's module returns (queries, keys): two tensors under one name.
template <class B>
void tap_two_way(Context<B>& ctx, const std::string& name, const View<const float, 3>& queries, const View<const float, 3>& keys) {
  if (!ctx.trace) return;
  ctx.tap(name + ".queries", queries, TraceLayout::batch);
  ctx.tap(name + ".keys", keys, TraceLayout::batch);
}

/// The image as the first layer sees it, for prompts without a mask: the sum of embedding and no_mask_embed [1, p, c], and three projections of it [1, p, inner]:
/// k_proj(image + pe), v_proj(image) of token_to_image, q_proj(image + pe) of image_to_token. Empty views: not known.
template <class T>
struct ImageSide {
  View<T, 3> image = {}, k = {}, v = {}, q = {};
};

/// In what published two-way transformers differ.
struct TwoWayRules {
  Activation activation = Activation::relu;
  bool encoding_stays = false;  ///< EfficientSAM: self-attention on queries that hold their encoding, residual included
  bool image_first = false;           ///< H-SAM: tokens attend to the image before they attend to each other
  Index hook = 0, hooked_layers = 0;  ///< width of the bottlenecks in the first so many blocks; 0: none
};

template <Backend B>
struct TwoWayBlock {
  PackedCrossAttention<B> self_attn, cross_attn_token_to_image, cross_attn_image_to_token;
  PackedNorm<B> norm1, norm2, norm3, norm4;
  PackedMlp<B> mlp;
  bool first = false;  // skip_first_layer_pe
  bool encoding_stays = false, image_first = false;
  std::string name;
  std::optional<Bottleneck<B>> adapter, mlp_adapter;  // Adapter, MLP_Adapter

  static TwoWayBlock load(const Loader<B>& w, Index c, Index heads, Index mlp_dim, float eps, bool first, TwoWayRules rules) {
    MlpParams m;
    m.lin1 = w.linear("mlp.lin1", c, mlp_dim);
    m.lin2 = w.linear("mlp.lin2", mlp_dim, c);
    m.activation = rules.activation;
    m.name = w.path("mlp");
    TwoWayBlock b{load_cross_attention(w.exact() / "self_attn", c, c, heads),
            load_cross_attention(w / "cross_attn_token_to_image", c, c / 2, heads, PixelSide::keys),
            load_cross_attention(w / "cross_attn_image_to_token", c, c / 2, heads, PixelSide::queries),
            w.pack(w.norm("norm1", c, eps)),
            w.pack(w.norm("norm2", c, eps)),
            w.pack(w.norm("norm3", c, eps)),
            w.pack(w.norm("norm4", c, eps)),
            w.exact().pack(m),
            first,
            rules.encoding_stays,
            rules.image_first,
            w.path(),
            {},
            {}};
    if (rules.hook) {
      b.adapter = Bottleneck<B>::load(w.exact() / "Adapter", c, rules.hook, 1);
      b.mlp_adapter = Bottleneck<B>::load(w.exact() / "MLP_Adapter", c, rules.hook, 0.5f);
    }
    return b;
  }

  /// side.image [b or 1, p, c] -> image [b, p, c]; they may be the same view when the batch is the same.
  void forward(Context<B>& ctx, const View<float, 3>& q, const View<const float, 3>& qpe, const ImageSide<const float>& side, const View<float, 3>& image, const View<const float, 3>& pe) const {
    const auto rows = tokens(q);
    const View<const float, 3> qc = q;
    auto scope = ctx.arena.scope();
    const auto fresh = scope.template make<float>(q.extent(0), q.extent(1), q.extent(2));
    if (image_first) to_image(ctx, q, qpe, side, pe);
    if (encoding_stays) {
      if (!first) add(ctx, tokens(qc), tokens(qpe), rows);
      cross_attention(ctx, self_attn, {qc, {}, qc, {}, qc}, fresh, qc);
    } else if (first) {
      cross_attention(ctx, self_attn, {qc, {}, qc, {}, qc}, fresh);
    } else {
      cross_attention(ctx, self_attn, {qc, qpe, qc, qpe, qc}, fresh, qc);
    }
    layer_norm(ctx, norm1, tokens(View<const float, 3>(fresh)), rows);
    if (!image_first) to_image(ctx, q, qpe, side, pe);
    if (mlp_adapter) {
      const View<const float, 2> normed = tokens(fresh);
      copy(ctx, rows, tokens(fresh));
      sampan::mlp(ctx, mlp, normed, rows, normed);
      mlp_adapter->forward(ctx, normed, rows, rows);
    } else {
      sampan::mlp(ctx, mlp, rows, rows, rows);
    }
    layer_norm(ctx, norm3, rows, rows);
    const CrossAttentionInput in{side.image, pe, qc, qpe, qc, side.q};
    adapter ? image_to_token(ctx, in, image) : cross_attention_norm(ctx, cross_attn_image_to_token, in, image, norm4);
    tap_two_way(ctx, name, qc, View<const float, 3>(image));
  }

  /// Fills side.k, side.v and side.q from side.image.
  void project_image(Context<B>& ctx, const ImageSide<float>& side, const View<const float, 3>& pe) const {
    auto scope = ctx.arena.scope();
    const View<const float, 3> image = side.image;
    const auto sum = tokens(detail::with_pe(ctx, scope, image, pe));
    linear(ctx, cross_attn_token_to_image.k_proj, sum, tokens(side.k));
    linear(ctx, cross_attn_token_to_image.v_proj, tokens(image), tokens(side.v));
    linear(ctx, cross_attn_image_to_token.q_proj, sum, tokens(side.q));
  }

 private:
  void to_image(Context<B>& ctx, const View<float, 3>& q, const View<const float, 3>& qpe, const ImageSide<const float>& side, const View<const float, 3>& pe) const {
    const auto rows = tokens(q);
    const View<const float, 3> qc = q;
    cross_attention(ctx, cross_attn_token_to_image, {qc, qpe, side.image, pe, side.image, {}, side.k, side.v}, q, qc);
    if (adapter) adapter->forward(ctx, rows, rows, rows);
    layer_norm(ctx, norm2, rows, rows);
  }
  /// cross_attention_norm with the adapter before the norm.
  void image_to_token(Context<B>& ctx, CrossAttentionInput in, const View<float, 3>& image) const {
    if (in.q.extent(0) != image.extent(0)) {
      copy(ctx, tokens(in.q), tokens(image));
      in.q = image, in.q_ready = {};
    }
    const View<const float, 2> rows = tokens(View<const float, 3>(image));
    cross_attention(ctx, cross_attn_image_to_token, in, image, in.q);
    adapter->forward(ctx, rows, tokens(image), rows);
    layer_norm(ctx, norm4, rows, tokens(image));
  }
};

}  // namespace sampan::inline SAMPAN_ABI::nn
