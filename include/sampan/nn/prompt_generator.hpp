// AutoSAMUS's prompt source: learned object tokens meet the decoder's tokens, then the image; what comes out is a prompt token, another embedding and what is added to it.
// Data flow: models/any_model.hpp (decode) -> here -> ops/attend_plain.hpp, ops/mlp.hpp, nn/conv_norm.hpp.
// Shapes: embedding, image [g, g, c], output_tokens [t, c] (the decoder's own: IoU and masks), sparse [1, c], dense [g*g, c]; n object tokens.
//   objects, _ = cross_token_token(object_token, output_tokens); objects = token_proj(objects) + object_token
//   image, tokens = cross_image_token(embedding, [objects; output_tokens]); sparse = tokens[0]; dense = feature_adapter(image)
// Source: AutoSAMUS modeling/auto_prompt_encoder.py, Prompt_Embedding_Generator, CrossTransformer; samus.py. Quirks kept: output_tokens enter the second transformer, and the
// decoder, as they are; of all object tokens only the first becomes a prompt.
#pragma once
#include <sampan/nn/conv_norm.hpp>
#include <sampan/ops/attend_plain.hpp>

#include <vector>

namespace sampan::inline SAMPAN_ABI::nn {

inline constexpr Index kGeneratorDepth = 2, kGeneratorHeads = 8, kGeneratorInner = 512, kGeneratorMlp = 1024;
inline constexpr float kGeneratorEps = 1e-5f;  // nn.LayerNorm's default

template <Backend B>
struct CrossTransformer {
  struct Attention {
    PackedNorm<B> norm1, norm2;
    PackedLinear<B> to_q, to_kv, to_out;

    static Attention load(const Loader<B>& w, Index c) {
      const auto f = w / "fn";
      return {w.pack(w.norm("norm1", c, kGeneratorEps)), w.pack(w.norm("norm2", c, kGeneratorEps)), w.pack(f.linear("to_q", c, kGeneratorInner, false)), w.pack(f.linear("to_kv", c, 2 * kGeneratorInner, false)),
              w.pack(f.linear("to_out.0", kGeneratorInner, c))};
    }
    /// y = x + attention of norm1(x) to norm2(other); y must be neither.
    void forward(Context<B>& ctx, const View<const float, 2>& x, const View<const float, 2>& other, const View<float, 2>& y) const {
      if constexpr (on_device<B>) {
        ctx.fail(Error(ErrorCode::unsupported, cat(to_q.name, ": device ", B::kName, " has no such attention; use device cpu")));
      } else {
        auto scope = ctx.arena.scope();
        const auto q = scope.template make<float>(x.extent(0), kGeneratorInner), kv = scope.template make<float>(other.extent(0), 2 * kGeneratorInner);
        const auto normed = scope.template make<float>(other.extent(0), other.extent(1));
        layer_norm(ctx, norm1, x, y);
        linear(ctx, to_q, View<const float, 2>(y), q);
        layer_norm(ctx, norm2, other, normed);
        linear(ctx, to_kv, View<const float, 2>(normed), kv);
        const View<const float, 2> both = kv;
        attend_plain(ctx, kGeneratorHeads, View<const float, 2>(q), both.slice(1, 0, kGeneratorInner), both.slice(1, kGeneratorInner, kGeneratorInner), q, {.extra = 1});
        linear(ctx, to_out, View<const float, 2>(q), y, {.residual = x});
      }
    }
  };
  struct Layer {
    Attention first, second;
    PackedMlp<B> mlp1, mlp2;
  };
  std::vector<Layer> layers;

  static CrossTransformer load(const Loader<B>& w, Index c) {
    CrossTransformer t;
    const auto mlp = [&](const Loader<B>& at) {
      MlpParams p;
      p.norm = at.norm("norm", c, kGeneratorEps);
      p.lin1 = at.linear("fn.net.0", c, kGeneratorMlp);
      p.lin2 = at.linear("fn.net.3", kGeneratorMlp, c);
      p.activation = Activation::relu;
      p.name = at.path();
      return at.pack(p);
    };
    for (Index i = 0; i < kGeneratorDepth; ++i) {
      const auto l = w / "layers" / i;
      t.layers.push_back({Attention::load(l / Index(0), c), Attention::load(l / Index(1), c), mlp(l / Index(2)), mlp(l / Index(3))});
    }
    return t;
  }

  /// a [n, c] and b [m, c] in place; each attends to what the other was.
  void forward(Context<B>& ctx, const View<float, 2>& a, const View<float, 2>& b) const {
    auto scope = ctx.arena.scope();
    const auto next_a = scope.template make<float>(a.extent(0), a.extent(1)), next_b = scope.template make<float>(b.extent(0), b.extent(1));
    const View<const float, 2> was_a = next_a, was_b = next_b;
    for (const Layer& l : layers) {
      l.first.forward(ctx, a, b, next_a);
      l.second.forward(ctx, b, a, next_b);
      sampan::mlp(ctx, l.mlp1, was_a, a, was_a);
      sampan::mlp(ctx, l.mlp2, was_b, b, was_b);
    }
  }
};

template <Backend B>
struct PromptGenerator {
  Tensor<float, 2, B> object_token;  // [n, c]
  CrossTransformer<B> cross_token_token, cross_image_token;
  PackedLinear<B> token_proj;
  std::vector<ConvNorm<B>> feature_adapter;

  /// `w` at the top of the file: prompt_generator and feature_adapter stand beside the encoder.
  static PromptGenerator load(const Loader<B>& w, Index objects, Index c) {
    const auto p = w / "prompt_generator";
    PromptGenerator m;
    const auto token = p.template tensor<3>("object_token", {1, objects, c});
    if (w.ok()) m.object_token = w.keep(token[0]);
    m.cross_token_token = CrossTransformer<B>::load(p / "cross_token_token", c);
    m.cross_image_token = CrossTransformer<B>::load(p / "cross_image_token", c);
    m.token_proj = w.pack(p.linear("token_proj", c, c));
    for (int i = 0; i < 4; ++i) m.feature_adapter.push_back(ConvNorm<B>::load(w / "feature_adapter", 3 * i, i == 0 ? c : c / 4, i == 3 ? c : c / 4));
    w.release();
    return m;
  }

  void forward(Context<B>& ctx, const View<const float, 3>& embedding, const View<const float, 2>& output_tokens, const View<float, 3>& image, const View<float, 2>& sparse, const View<float, 2>& dense) const {
    const Index n = object_token.view().extent(0), t = output_tokens.extent(0), c = embedding.extent(2), g = embedding.extent(0);
    auto scope = ctx.arena.scope();
    const auto objects = scope.template make<float>(n, c), outputs = scope.template make<float>(t, c), all = scope.template make<float>(n + t, c);
    copy(ctx, object_token.view(), objects);
    copy(ctx, output_tokens, outputs);
    cross_token_token.forward(ctx, objects, outputs);
    linear(ctx, token_proj, View<const float, 2>(objects), all.slice(0, 0, n), {.residual = object_token.view()});
    copy(ctx, output_tokens, all.slice(0, n, t));
    copy(ctx, tokens(embedding), tokens(image));
    cross_image_token.forward(ctx, tokens(image), all);
    copy(ctx, View<const float, 2>(all).slice(0, 0, 1), sparse);
    const auto a = scope.template make<float>(g, g, c / 4), b = scope.template make<float>(g, g, c / 4);
    feature_adapter[0].forward(ctx, image, a);
    feature_adapter[1].forward(ctx, a, b);
    feature_adapter[2].forward(ctx, b, a);
    feature_adapter[3].forward(ctx, a, as_map(dense, g, g));
  }
};

}  // namespace sampan::inline SAMPAN_ABI::nn
