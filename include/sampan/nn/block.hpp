// Transformer block of SAM's ViT, on maps or volumes: x += attn(norm1(x)) in windows or globally, then x += mlp(norm2(x)); fine-tunes add to it at fixed places (nn/block_hooks.hpp).
// Data flow: models/sam_vit.hpp, models/sam_vit_3d.hpp -> here -> ops/attention.hpp, ops/mlp.hpp.   Shapes: x [h, w, c] or [planes*h, w, c], in place.   Cost: 24 n c^2 + attend.
// Source: segment_anything/modeling/image_encoder.py, class Block; MedIM sam_med3d.py, class Block3D. Pads enter after norm1 (PadRule::after_norm), before it in Medical SAM Adapter.
#pragma once
#include <sampan/nn/block_hooks.hpp>
#include <sampan/nn/rel_pos.hpp>
#include <sampan/weights/loader.hpp>

namespace sampan::inline SAMPAN_ABI::nn {

/// Sizes of one block; `window` 0 is a global block on a grid x grid map. With `volume` the grid has three axes.
struct BlockSizes {
  Index width = 0, heads = 0, mlp = 0, window = 0, grid = 0;
  float eps = 1e-6f;
  PadRule pads = PadRule::after_norm;
  HookSizes hook = {};
  bool rel_pos = true;  ///< EfficientSAM's blocks have no relative positions
  bool volume = false;
};

template <Backend B>
struct Block {
  PackedAttention<B> attn;  // with norm1 inside
  PackedMlp<B> mlp;         // with norm2 inside, unless a hook needs the normed map too
  PackedNorm<B> norm1, norm2;  // then they stand here
  BlockHooks<B> hooks;
  Index planes = 0;  // of a volume; 0: a map
  std::string name;

  static Block load(const Loader<B>& w, const BlockSizes& s) {
    Block b;
    b.name = w.path();
    AttentionParams a;
    b.hooks = BlockHooks<B>::load(w, s.hook, s.width, s.heads);
    const NormParams first = w.norm("norm1", s.width, s.eps);
    if (b.hooks.before_attention) {
      b.norm1 = w.pack(first);
    } else {
      a.norm = first;
    }
    a.qkv = w.linear("attn.qkv", s.width, 3 * s.width);
    a.proj = w.linear("attn.proj", s.width, s.width);
    if (s.volume) {
      a.rel_pos_d = load_rel_pos(w, "attn.rel_pos_d", s.window ? s.window : s.grid, s.width / s.heads);
      a.planes = b.planes = s.grid;
    }
    if (s.rel_pos) {
      a.rel_pos_h = load_rel_pos(w, "attn.rel_pos_h", s.window ? s.window : s.grid, s.width / s.heads);
      a.rel_pos_w = load_rel_pos(w, "attn.rel_pos_w", s.window ? s.window : s.grid, s.width / s.heads);
    }
    a.heads = s.heads;
    a.window = s.window;
    a.pad_rule = s.pads;
    a.name = w.path("attn");
    b.attn = w.pack(a);
    const NormParams norm = w.norm("norm2", s.width, s.eps);
    MlpParams m;
    if (b.hooks.has_beside_mlp()) {
      b.norm2 = w.pack(norm);
    } else {
      m.norm = norm;
    }
    m.lin1 = w.linear("mlp.lin1", s.width, s.mlp);
    m.lin2 = w.linear("mlp.lin2", s.mlp, s.width);
    m.name = w.path("mlp");
    b.mlp = w.pack(m);
    return b;
  }

  /// `branch` [h, w, c]: the side branch's map, changed by blocks with that hook.
  void forward(Context<B>& ctx, const View<float, 3>& x, const View<float, 3>& branch = {}) const {
    auto span = ctx.span(name);
    const View<const float, 3> in = x;
    if (!hooks.any()) {
      attention(ctx, attn, x, x, x);
      sampan::mlp(ctx, mlp, tokens(in), tokens(x), tokens(in));
    } else {
      hooked(ctx, x, branch);
    }
    if (planes > 0) {
      span.out(as_volume(tokens(in), planes, x.extent(0) / planes, x.extent(1)));
    } else {
      span.out(in);
    }
  }

 private:
  void hooked(Context<B>& ctx, const View<float, 3>& x, const View<float, 3>& branch) const {
    const View<const float, 3> in = x;
    auto scope = ctx.arena.scope();
    const auto side = scope.template make<float>(x.extent(0), x.extent(1), x.extent(2));
    const View<const float, 3> s = side;
    if (hooks.before_attention) {
      layer_norm(ctx, norm1, tokens(in), tokens(side));
      hooks.before_attention->forward(ctx, side, branch);
      attention(ctx, attn, s, x, in);
    } else if (hooks.after_attention) {
      attention(ctx, attn, x, side);
      add(ctx, tokens(in), tokens(s), tokens(x));
      hooks.after_attention->forward(ctx, tokens(s), tokens(x), tokens(in));
    } else {
      attention(ctx, attn, x, x, x);
    }
    if (hooks.has_beside_mlp()) {
      layer_norm(ctx, norm2, tokens(in), tokens(side));
      sampan::mlp(ctx, mlp, tokens(s), tokens(x), tokens(in));
      hooks.add_beside_mlp(ctx, s, x);
    } else {
      sampan::mlp(ctx, mlp, tokens(in), tokens(x), tokens(in));
    }
  }
};

}  // namespace sampan::inline SAMPAN_ABI::nn
