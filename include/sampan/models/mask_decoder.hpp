// SAM's mask decoder: tokens and image embedding through the two-way transformer, upscaling, hypernetwork heads, IoU head.
// Data flow: image embedding + prompt tokens -> here -> predict/postprocess.hpp.
// Shapes (b prompts, n tokens each): embedding [g, g, c]; sparse [b, n, c]; dense [b or 1, g*g, c]; masks [b, m, 4g*4g] logits; iou [b, m].
// m = 1 (token 0, single mask) or 3 (tokens 1..3, multimask); only the requested hypernetworks run.   Cost: 3.6 GFLOP per prompt at g = 64 (kernels.md 2.1).
// Source: segment_anything/modeling/mask_decoder.py. GELU erf in the upscaling, ReLU in the heads, no sigmoid on the IoU.
#pragma once
#include <sampan/nn/norm2d.hpp>
#include <sampan/nn/relu_mlp.hpp>
#include <sampan/nn/two_way_transformer.hpp>

namespace sampan::inline SAMPAN_ABI::models {

struct MaskDecoderSizes {
  Index channels = 256, grid = 0, masks = 4, depth = 2, heads = 8, mlp = 2048, iou_hidden = 256;
  float eps = 1e-5f, eps_final = 1e-5f, eps_upscale = 1e-6f;
};

/// iou_token, then mask_tokens, as the first tokens of every prompt: [1 + masks, c].
template <Backend B>
Tensor<float, 2, B> load_fixed_tokens(const Loader<B>& w, const MaskDecoderSizes& s) {
  const Index c = s.channels;
  const auto iou = w.template tensor<2>("iou_token.weight", {1, c}), masks = w.template tensor<2>("mask_tokens.weight", {s.masks, c});
  const auto all = w.template scratch<2>({1 + s.masks, c});
  for (Index j = 0; w.ok() && j < c; ++j) {
    all(0, j) = iou(0, j);
    for (Index i = 0; i < s.masks; ++i) all(1 + i, j) = masks(i, j);
  }
  return w.keep(View<const float, 2>(all));
}

/// Views that must stay valid during the call. With a ready image side, embedding and dense may be empty.
struct MaskDecoderInput {
  View<const float, 3> embedding, dense_pe, sparse, dense;
  nn::ImageSide<const float> side = {};
};

template <Backend B>
struct MaskDecoder {
  MaskDecoderSizes sizes;
  Tensor<float, 2, B> fixed_tokens;  // iou_token, then mask_tokens [1 + masks, c]
  nn::TwoWayTransformer<B> transformer;
  PackedConvTranspose<B> up0, up3;  // output_upscaling.0, .3
  PackedNorm<B> up1;                // output_upscaling.1
  std::vector<nn::ReluMlp<B>> hyper;
  nn::ReluMlp<B> iou_head;

  static MaskDecoder load(const Loader<B>& w, const MaskDecoderSizes& s) {
    MaskDecoder m;
    m.sizes = s;
    const Index c = s.channels;
    m.fixed_tokens = load_fixed_tokens(w, s);
    m.transformer = nn::TwoWayTransformer<B>::load(w / "transformer", s.depth, c, s.heads, s.mlp, s.eps, s.eps_final);
    const auto up = w / "output_upscaling";
    m.up0 = w.pack_conv_transpose(up.conv_transpose("0", c, c / 4, 2));
    m.up1 = w.pack(up.norm("1", c / 4, s.eps_upscale));
    m.up3 = w.pack_conv_transpose(up.conv_transpose("3", c / 4, c / 8, 2));
    for (Index i = 0; i < s.masks; ++i) m.hyper.push_back(nn::ReluMlp<B>::load(w / "output_hypernetworks_mlps" / i, c, c, c / 8, 3));
    m.iou_head = nn::ReluMlp<B>::load(w / "iou_prediction_head", c, s.iou_hidden, s.masks, 3);
    w.release();
    return m;
  }

  Index mask_count(bool multimask) const { return multimask ? sizes.masks - 1 : 1; }

  /// What prompts without a mask share, as views into `memory` of image_side_floats(): kept per image, filled by prepare_image.
  Index image_side_floats() const { return sizes.grid * sizes.grid * (sizes.channels + 3 * (sizes.channels / 2)); }
  template <class T>
  nn::ImageSide<T> image_side(T* memory) const {
    const Index p = sizes.grid * sizes.grid, c = sizes.channels, inner = c / 2;
    const auto take = [&](Index width) {
      T* at = memory;
      memory += p * width;
      return View<T, 3>(at, {1, p, width});
    };
    return {take(c), take(inner), take(inner), take(inner)};
  }
  /// embedding [g, g, c], no_mask [1, c]. Cost: 0.8 GFLOP at g = 64.
  void prepare_image(Context<B>& ctx, const View<const float, 3>& embedding, const View<const float, 2>& no_mask, const View<const float, 3>& dense_pe, const nn::ImageSide<float>& side) const {
    add(ctx, tokens(embedding), no_mask, tokens(side.image));
    transformer.layers[0].project_image(ctx, side, dense_pe);
  }

  void forward(Context<B>& ctx, const MaskDecoderInput& in, bool multimask, const View<float, 3>& masks, const View<float, 2>& iou) const {
    const Index b = in.sparse.extent(0), n = in.sparse.extent(1), g = sizes.grid, c = sizes.channels, fixed = 1 + sizes.masks;
    const bool ready = !in.side.image.empty();
    const Index first = multimask ? 1 : 0, count = mask_count(multimask), shared = ready ? 1 : in.dense.extent(0);
    const auto whole = [&] { return in.embedding.extent(0) == g && in.embedding.extent(1) == g && in.embedding.extent(2) == c && (shared == 1 || shared == b); };
    if (!ctx.require(b >= 1 && (n == 0 || in.sparse.extent(2) == c) && (ready || whole()), "mask decoder: embedding [g,g,c], sparse [b,n,c], dense [b or 1,g*g,c] disagree") ||
        !ctx.require(masks.extent(0) == b && masks.extent(1) == count && masks.extent(2) == 16 * g * g && iou.extent(0) == b && iou.extent(1) == count, "mask decoder: masks [b,m,4g*4g] and iou [b,m] disagree"))
      return;
    auto scope = ctx.arena.scope();
    const auto queries = scope.template make<float>(b, fixed + n, c);
    const auto keys = scope.template make<float>(b, g * g, c);
    const auto image = ready || shared == b ? keys : scope.template make<float>(shared, g * g, c);
    ctx.batch = b;
    for (Index i = 0; i < b; ++i) {
      copy(ctx, fixed_tokens.view(), queries[i].slice(0, 0, fixed));
      if (n > 0) copy(ctx, in.sparse[i], queries[i].slice(0, fixed, n));
    }
    for (Index i = 0; !ready && i < shared; ++i) add(ctx, tokens(in.embedding), in.dense[i], image[i]);
    transformer.forward(ctx, queries, ready ? in.side : nn::ImageSide<const float>{.image = image}, in.dense_pe, keys);

    const auto all_iou = scope.template make<float>(b, sizes.masks);
    const auto heads = scope.template make<float>(b, count, c / 8);
    const auto token = [&](Index i) { return View<const float, 2>(queries.data() + i * c, {b, c}, {queries.stride(0), 1}); };
    iou_head.forward(ctx, token(0), all_iou);
    copy(ctx, View<const float, 2>(all_iou.data() + first, {b, count}, {all_iou.stride(0), 1}), iou);
    for (Index m = 0; m < count; ++m)
      hyper[std::size_t(first + m)].forward(ctx, token(1 + first + m), View<float, 2>(heads.data() + m * heads.stride(1), {b, c / 8}, {heads.stride(0), 1}));

    upscale(ctx, keys, heads, masks);
    ctx.batch = 1;
  }

 private:
  /// keys [b, g*g, c], heads [b, m, c / 8] -> masks [b, m, 4g*4g].
  void upscale(Context<B>& ctx, const View<const float, 3>& keys, const View<const float, 3>& heads, const View<float, 3>& masks) const {
    const Index g = sizes.grid, c = sizes.channels;
    const char* name = "mask_decoder.output_upscaling";
    if constexpr (requires { upscale_masks(ctx, up0, up1, up3, keys, g, heads, masks); }) {
      if (!ctx.traced(up0.name) && !ctx.traced(up1.name) && !ctx.traced(up3.name) && !ctx.traced(name)) return upscale_masks(ctx, up0, up1, up3, keys, g, heads, masks);
    }
    auto scope = ctx.arena.scope();
    const auto mid = scope.template make<float>(2 * g, 2 * g, c / 4);
    const auto fine = scope.template make<float>(4 * g, 4 * g, c / 8);
    for (Index i = 0; i < keys.extent(0); ++i) {
      conv_transpose2d(ctx, up0, as_map(keys[i], g, g), mid);
      nn::layer_norm_2d(ctx, up1, mid, mid, Activation::gelu_erf);
      conv_transpose2d(ctx, up3, View<const float, 3>(mid), fine, Activation::gelu_erf);
      ctx.tap(name, View<const float, 3>(fine), TraceLayout::nchw);
      mask_head(ctx, heads[i], tokens(View<const float, 3>(fine)), masks[i]);
    }
  }
};

}  // namespace sampan::inline SAMPAN_ABI::models
