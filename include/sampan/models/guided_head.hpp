// H-SAM's second decoder: tokens of its own attend to the image under the guidance of the first decoder's masks; its masks have the input's resolution.
// Data flow: models/mask_decoder.hpp (first masks, upscaled map, embedding) -> here -> logits of both, averaged.
// Shapes (k classes, p = g*g): first [k, 4g*4g], up [4g, 4g, c/8], image [p, c] (embedding and dense prompt), out [k, 16g*16g].
//   guide = softmax over classes of first, bilinear to g x g; each block multiplies its attention between tokens and image by it, behind the softmax
//   out = (bilinear(first) + hyper(tokens) skip_connect([output_upscaling(keys), up])) / 2
// Source: H-SAM mask_decoder_224.py and mask_decoder_512.py (MaskDecoder2_224, MaskDecoder2_512), transformer.py (TwoWayTransformer2, Attention2), sam.py, utils.py. The two sizes differ in
// the width of the layers among class features alone: p, 196 or 1024. That attention ends in a softmax over one value, so that all of it only doubles the image: those weights stay in the
// file and out of memory.   Cost at c = 256: 0.9 GFLOP for g = 14, 4.7 for g = 32.
// Deliberately absent: an older revision for 512 px, whose layers among class features are 196 wide; it brought them to the grid by Tensor.resize_, which leaves most values as the allocator
// had them. weights/identify.hpp refuses its files by name.
#pragma once
#include <sampan/nn/norm2d.hpp>
#include <sampan/nn/relu_mlp.hpp>
#include <sampan/nn/two_way_block.hpp>
#include <sampan/ops/attend_plain.hpp>
#include <sampan/ops/resize_torch_bilinear.hpp>

#include <vector>

namespace sampan::inline SAMPAN_ABI::models {

/// Attention at full width whose weights are multiplied by a guide after the softmax: Attention2.
template <Backend B>
struct GuidedAttention {
  PackedLinear<B> q_proj, k_proj, v_proj, out_proj;
  Index heads = 0;

  static GuidedAttention load(const Loader<B>& w, Index c, Index heads, Index classes) {
    w.norm("norm1", 196, 0), w.norm("norm2", classes, 0), w.norm("norm3", 1024, 0);  // in the file at every size, never used
    return {w.pack(w.linear("q_proj", c, c)), w.pack(w.linear("k_proj", c, c)), w.pack(w.linear("v_proj", c, c)), w.pack(w.linear("out_proj", c, c)), heads};
  }
  /// q [n, c] += attention; `at` = q + its encoding, `to` = k + its encoding, v the keys themselves, guide [n, m].
  void forward(Context<B>& ctx, const View<const float, 2>& at, const View<const float, 2>& to, const View<const float, 2>& v, const View<const float, 2>& guide, const View<float, 2>& q) const {
    auto scope = ctx.arena.scope();
    const auto a = scope.template make<float>(at.extent(0), at.extent(1)), k = scope.template make<float>(to.extent(0), to.extent(1)), values = scope.template make<float>(v.extent(0), v.extent(1));
    linear(ctx, q_proj, at, a);
    linear(ctx, k_proj, to, k);
    linear(ctx, v_proj, v, values);
    attend_plain(ctx, heads, View<const float, 2>(a), View<const float, 2>(k), View<const float, 2>(values), a, {.extra = 0, .guide = guide});
    linear(ctx, out_proj, View<const float, 2>(a), q, {.residual = q});
  }
};

template <Backend B>
struct GuidedHead {
  struct Block {
    GuidedAttention<B> token_to_image, image_to_token;
    PackedCrossAttention<B> self_attn;
    PackedNorm<B> norm1, norm2, norm3, norm4;
    PackedMlp<B> mlp;
  };
  Tensor<float, 2, B> mask_tokens;
  std::vector<Block> layers;
  PackedCrossAttention<B> final_attn_token_to_image;
  PackedNorm<B> norm_final_attn, up1, skip1, skip4;
  PackedConvTranspose<B> up0, up3, skip0, skip3;
  std::vector<nn::ReluMlp<B>> hyper;
  Index grid = 0;

  /// `w` at mask_decoder2.
  static GuidedHead load(const Loader<B>& w, Index c, Index classes, Index grid, Index heads, Index mlp_dim, Index iou_hidden, float eps, float eps_up) {
    GuidedHead m;
    m.grid = grid;
    m.mask_tokens = w.keep(w.template tensor<2>("mask_tokens.weight", {classes, c}));
    const auto t = w / "transformer2";
    for (Index i = 0; i < 2; ++i) {
      const auto l = t / "layers" / i;
      MlpParams p;
      p.lin1 = l.linear("mlp.lin1", c, mlp_dim), p.lin2 = l.linear("mlp.lin2", mlp_dim, c);
      p.activation = Activation::relu, p.name = l.path("mlp");
      const auto norm = [&](const char* name) { return w.pack(l.norm(name, c, eps)); };
      m.layers.push_back({GuidedAttention<B>::load(l / "cross_attn_token_to_image", c, heads, classes), GuidedAttention<B>::load(l / "cross_attn_image_to_token", c, heads, classes),
                          nn::load_cross_attention(l / "self_attn", c, c, heads), norm("norm1"), norm("norm2"), norm("norm3"), norm("norm4"), w.pack(p)});
    }
    m.final_attn_token_to_image = nn::load_cross_attention(t / "final_attn_token_to_image", c, c / 2, heads);
    m.norm_final_attn = w.pack(t.norm("norm_final_attn", c, eps));
    const auto doubled = [&](const char* name, Index in, Index out) { return w.pack_conv_transpose(w.conv_transpose(name, in, out, 2)); };
    m.up0 = doubled("output_upscaling.0", c, c / 4), m.up3 = doubled("output_upscaling.3", c / 4, c / 8);
    m.up1 = w.pack(w.norm("output_upscaling.1", c / 4, eps_up));
    m.skip0 = doubled("skip_connect.0", c / 4, c / 8), m.skip3 = doubled("skip_connect.3", c / 8, c / 16);
    m.skip1 = w.pack(w.norm("skip_connect.1", c / 8, eps_up)), m.skip4 = w.pack(w.norm("skip_connect.4", c / 16, eps_up));
    for (Index i = 0; i < classes; ++i) m.hyper.push_back(nn::ReluMlp<B>::load(w / "output_hypernetworks_mlps2" / i, c, c, c / 16, 5));
    skip_unused(w, c, classes, grid * grid, mlp_dim, iou_hidden);
    return m;
  }

  void forward(Context<B>& ctx, const View<const float, 2>& first, const View<const float, 3>& up, const View<const float, 2>& image, const View<const float, 2>& pe, const View<float, 2>& out) const {
    if constexpr (on_device<B>) {
      ctx.fail(Error(ErrorCode::unsupported, cat("mask_decoder2: device ", B::kName, " has no guided attention; use device cpu")));
    } else {
      const Index k = first.extent(0), p = grid * grid, c = image.extent(1), side = 16 * grid;
      auto scope = ctx.arena.scope();
      const auto guide = scope.template make<float>(k, p), q = scope.template make<float>(k, c), keys = scope.template make<float>(p, c);
      make_guide(ctx, first, guide);
      copy(ctx, mask_tokens.view(), q);
      add(ctx, image, image, keys);
      const View<const float, 2> keys_in = keys;
      for (std::size_t i = 0; i < layers.size(); ++i) block(ctx, layers[i], i == 0, q, keys, pe, guide);
      const View<const float, 3> qc = one(q), kc = one(keys_in);
      cross_attention(ctx, final_attn_token_to_image, {qc, one(mask_tokens.view()), kc, one(pe), kc}, one(q), qc);
      layer_norm(ctx, norm_final_attn, View<const float, 2>(q), q);

      const auto heads = scope.template make<float>(k, c / 16);
      for (Index i = 0; i < k; ++i) hyper[std::size_t(i)].forward(ctx, View<const float, 2>(q).slice(0, i, 1), heads.slice(0, i, 1));
      const auto fine = scope.template make<float>(side, side, c / 16);
      upscale(ctx, keys_in, up, fine);
      mask_head(ctx, heads, tokens(View<const float, 3>(fine)), out);
      const auto wide = scope.template make<float>(side, side);
      for (Index i = 0; i < k; ++i) {
        resize_torch_bilinear(ctx, plane(first, i, 4 * grid), wide);
        if (!ctx.begin({2.0 * double(wide.size()), 12.0 * double(wide.size())})) continue;
        for (Index j = 0; j < wide.size(); ++j) out(i, j) = (wide.data()[j] + out(i, j)) / 2;
      }
    }
  }

 private:
  /// A batch of one.
  template <class T>
  static View<T, 3> one(const View<T, 2>& v) {
    return v.template reshape<3>({1, v.extent(0), v.extent(1)});
  }
  static View<const float, 2> plane(const View<const float, 2>& maps, Index i, Index side) { return {maps.data() + i * maps.stride(0), {side, side}}; }

  /// Softmax over the classes of the first masks at the grid's size.
  void make_guide(Context<B>& ctx, const View<const float, 2>& first, const View<float, 2>& guide) const {
    const Index k = guide.extent(0), p = guide.extent(1);
    for (Index i = 0; i < k; ++i) resize_torch_bilinear(ctx, plane(first, i, 4 * grid), View<float, 2>(guide.data() + i * p, {grid, grid}));
    if (!ctx.begin({8.0 * double(guide.size()), 8.0 * double(guide.size())})) return;
    for (Index j = 0; j < p; ++j) {
      float top = guide(0, j), sum = 0;
      for (Index i = 1; i < k; ++i) top = guide(i, j) > top ? guide(i, j) : top;
      for (Index i = 0; i < k; ++i) sum += guide(i, j) = std::exp(guide(i, j) - top);
      for (Index i = 0; i < k; ++i) guide(i, j) /= sum;
    }
  }

  void block(Context<B>& ctx, const Block& l, bool first, const View<float, 2>& q, const View<float, 2>& keys, const View<const float, 2>& pe, const View<const float, 2>& guide) const {
    auto scope = ctx.arena.scope();
    const auto qe = scope.template make<float>(q.extent(0), q.extent(1)), ke = scope.template make<float>(keys.extent(0), keys.extent(1));
    const View<const float, 2> qc = q, kc = keys, encoding = mask_tokens.view(), turned(guide.data(), {guide.extent(1), guide.extent(0)}, {guide.stride(1), guide.stride(0)});
    const auto encode = [&] { add(ctx, qc, encoding, qe), add(ctx, kc, pe, ke); };
    encode();
    l.token_to_image.forward(ctx, qe, ke, kc, guide, q);
    layer_norm(ctx, l.norm2, qc, q);
    const View<const float, 3> q3 = one(qc), e3 = first ? View<const float, 3>() : one(encoding);
    cross_attention(ctx, l.self_attn, {q3, e3, q3, e3, q3}, one(qe), first ? View<const float, 3>() : q3);
    layer_norm(ctx, l.norm1, View<const float, 2>(qe), q);
    sampan::mlp(ctx, l.mlp, qc, q, qc);
    layer_norm(ctx, l.norm3, qc, q);
    encode();
    l.image_to_token.forward(ctx, ke, qe, qc, turned, keys);
    layer_norm(ctx, l.norm4, kc, keys);
  }

  /// skip_connect([output_upscaling(keys), up]) -> [16g, 16g, c / 16].
  void upscale(Context<B>& ctx, const View<const float, 2>& keys, const View<const float, 3>& up, const View<float, 3>& fine) const {
    const Index g = grid, c = keys.extent(1);
    auto scope = ctx.arena.scope();
    const auto mid = scope.template make<float>(2 * g, 2 * g, c / 4), own = scope.template make<float>(4 * g, 4 * g, c / 8), both = scope.template make<float>(4 * g, 4 * g, c / 4),
               wide = scope.template make<float>(8 * g, 8 * g, c / 8);
    conv_transpose2d(ctx, up0, as_map(keys, g, g), mid);
    nn::layer_norm_2d(ctx, up1, mid, mid, Activation::gelu_erf);
    conv_transpose2d(ctx, up3, View<const float, 3>(mid), own, Activation::gelu_erf);
    copy(ctx, tokens(View<const float, 3>(own)), tokens(both).slice(1, 0, c / 8));
    copy(ctx, tokens(up), tokens(both).slice(1, c / 8, c / 8));
    conv_transpose2d(ctx, skip0, View<const float, 3>(both), wide);
    nn::layer_norm_2d(ctx, skip1, wide, wide, Activation::gelu_erf);
    conv_transpose2d(ctx, skip3, View<const float, 3>(wide), fine);
    nn::layer_norm_2d(ctx, skip4, fine, fine, Activation::gelu_erf);
  }

  static void skip_unused(const Loader<B>& w, Index c, Index classes, Index p, Index mlp_dim, Index iou_hidden) {
    for (const char* attention : {"self_attn", "self_attn2"})
      for (const char* part : {"q_proj", "k_proj", "v_proj", "out_proj"}) (w / attention).linear(part, p, p);
    w.norm("norm1", p, 0), w.norm("norm2", p, 0);
    w.linear("mlp.lin1", p, mlp_dim), w.linear("mlp.lin2", mlp_dim, p), w.linear("med_sel.0", classes, 1);
    const auto iou = w / "iou_prediction_head.layers";
    iou.linear("0", c, iou_hidden), iou.linear("1", iou_hidden, iou_hidden), iou.linear("2", iou_hidden, classes);
  }
};

}  // namespace sampan::inline SAMPAN_ABI::models
