// Transformer block of SAM's ViT: x += attn(norm1(x)) in windows or globally, then x += mlp(norm2(x)).
// Data flow: models/sam_vit.hpp -> here -> ops/attention.hpp, ops/mlp.hpp.   Shapes: x [h, w, c], in place.   Cost: 24 n c^2 + attend.
// Source: segment_anything/modeling/image_encoder.py, class Block. Pads enter after norm1 (PadRule::after_norm).
#pragma once
#include <sampan/nn/rel_pos.hpp>
#include <sampan/weights/loader.hpp>

namespace sampan::inline SAMPAN_ABI::nn {

/// Sizes of one block; `window` 0 is a global block on a grid x grid map.
struct BlockSizes {
  Index width = 0, heads = 0, mlp = 0, window = 0, grid = 0;
  float eps = 1e-6f;
};

template <Backend B>
struct Block {
  PackedAttention<B> attn;
  PackedMlp<B> mlp;
  std::string name;

  static Block load(const Loader<B>& w, const BlockSizes& s) {
    AttentionParams a;
    a.norm = w.norm("norm1", s.width, s.eps);
    a.qkv = w.linear("attn.qkv", s.width, 3 * s.width);
    a.proj = w.linear("attn.proj", s.width, s.width);
    a.rel_pos_h = load_rel_pos(w, "attn.rel_pos_h", s.window ? s.window : s.grid, s.width / s.heads);
    a.rel_pos_w = load_rel_pos(w, "attn.rel_pos_w", s.window ? s.window : s.grid, s.width / s.heads);
    a.heads = s.heads;
    a.window = s.window;
    a.name = w.path("attn");
    MlpParams m;
    m.norm = w.norm("norm2", s.width, s.eps);
    m.lin1 = w.linear("mlp.lin1", s.width, s.mlp);
    m.lin2 = w.linear("mlp.lin2", s.mlp, s.width);
    m.name = w.path("mlp");
    return {w.pack(a), w.pack(m), w.path()};
  }

  void forward(Context<B>& ctx, const View<float, 3>& x) const {
    auto span = ctx.span(name);
    attention(ctx, attn, x, x, x);
    sampan::mlp(ctx, mlp, tokens(View<const float, 3>(x)), tokens(x), tokens(View<const float, 3>(x)));
    span.out(View<const float, 3>(x));
  }
};

}  // namespace sampan::inline SAMPAN_ABI::nn
