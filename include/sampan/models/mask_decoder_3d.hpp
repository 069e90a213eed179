// Mask decoder of volumetric networks (SAM-Med3D): SAM's decoder on the tokens of a volume; the two-way transformer and the heads are the same layers.
// Data flow: embedding + prompt tokens of one object -> here -> predict/.
// Shapes: embedding and dense [g, g, g, c]; dense_pe [1, g*g*g, c]; sparse [n, c]; masks [m, (4g)^3] logits; iou [m]. m = 1 (token 0) or 3 (tokens 1..3).
// Cost: 1.5 GFLOP per click at g = 8, c = 384.   Source: MedIM sam_med3d.py, class MaskDecoder3D. GELU erf in the upscaling, ReLU in the heads, no sigmoid on the IoU.
#pragma once
#include <sampan/models/mask_decoder.hpp>

namespace sampan::inline SAMPAN_ABI::models {

/// Views that must stay valid during the call.
struct MaskDecoder3dInput {
  View<const float, 4> embedding;
  View<const float, 3> dense_pe;
  View<const float, 2> sparse;
  View<const float, 4> dense;
};

template <VolumeBackend B>
struct MaskDecoder3d {
  MaskDecoderSizes sizes;
  Tensor<float, 2, B> fixed_tokens;  // iou_token, then mask_tokens [1 + masks, c]
  nn::TwoWayTransformer<B> transformer;
  PackedConvTranspose3d<B> up0, up3;  // output_upscaling.0, .3
  PackedNorm<B> up1;                  // output_upscaling.1
  std::vector<nn::ReluMlp<B>> hyper;
  nn::ReluMlp<B> iou_head;

  static MaskDecoder3d load(const Loader<B>& w, const MaskDecoderSizes& s) {
    MaskDecoder3d m;
    m.sizes = s;
    const Index c = s.channels;
    m.fixed_tokens = load_fixed_tokens(w, s);
    m.transformer = nn::TwoWayTransformer<B>::load(w / "transformer", s.depth, c, s.heads, s.mlp, s.eps, s.eps_final);
    const auto up = w / "output_upscaling";
    m.up0 = w.pack_conv_transpose3d(up.conv_transpose3d("0", c, c / 4, 2));
    m.up1 = w.pack(up.norm("1", c / 4, s.eps_upscale));
    m.up3 = w.pack_conv_transpose3d(up.conv_transpose3d("3", c / 4, c / 8, 2));
    for (Index i = 0; i < s.masks; ++i) m.hyper.push_back(nn::ReluMlp<B>::load(w / "output_hypernetworks_mlps" / i, c, c, c / 8, 3));
    m.iou_head = nn::ReluMlp<B>::load(w / "iou_prediction_head", c, s.iou_hidden, s.masks, 3);
    w.release();
    return m;
  }

  Index mask_count(bool multimask) const { return multimask ? sizes.masks - 1 : 1; }

  void forward(Context<B>& ctx, const MaskDecoder3dInput& in, bool multimask, const View<float, 2>& masks, const View<float, 1>& iou) const {
    const Index n = in.sparse.extent(0), g = sizes.grid, c = sizes.channels, p = g * g * g, fixed = 1 + sizes.masks, first = multimask ? 1 : 0,
                count = mask_count(multimask);
    const View<const float, 4>::Extents whole{g, g, g, c};
    if (!ctx.require(in.embedding.extents() == whole && in.dense.extents() == whole && (n == 0 || in.sparse.extent(1) == c),
                     "mask decoder: embedding [g,g,g,c], dense [g,g,g,c], sparse [n,c] disagree") ||
        !ctx.require(masks.extent(0) == count && masks.extent(1) == 64 * p && iou.extent(0) == count, "mask decoder: masks [m,(4g)^3] and iou [m] disagree"))
      return;
    auto scope = ctx.arena.scope();
    const auto queries = scope.template make<float>(1, fixed + n, c);
    const auto keys = scope.template make<float>(1, p, c);
    copy(ctx, fixed_tokens.view(), queries[0].slice(0, 0, fixed));
    if (n > 0) copy(ctx, in.sparse, queries[0].slice(0, fixed, n));
    add(ctx, tokens(in.embedding), tokens(in.dense), keys[0]);
    transformer.forward(ctx, queries, {.image = keys}, in.dense_pe, keys);

    const auto all_iou = scope.template make<float>(1, sizes.masks);
    const auto heads = scope.template make<float>(count, c / 8);
    iou_head.forward(ctx, queries[0].slice(0, 0, 1), all_iou);
    copy(ctx, View<const float, 2>(all_iou.data() + first, {count, 1}), View<float, 2>(iou.data(), {count, 1}, {iou.stride(0), 1}));
    for (Index m = 0; m < count; ++m) hyper[std::size_t(first + m)].forward(ctx, queries[0].slice(0, 1 + first + m, 1), heads.slice(0, m, 1));

    const auto mid = scope.template make<float>(2 * g, 2 * g, 2 * g, c / 4);
    const auto fine = scope.template make<float>(4 * g, 4 * g, 4 * g, c / 8);
    conv_transpose3d(ctx, up0, as_volume(View<const float, 2>(keys[0]), g, g, g), mid);
    nn::layer_norm_3d(ctx, up1, mid, mid, Activation::gelu_erf);
    conv_transpose3d(ctx, up3, View<const float, 4>(mid), fine, Activation::gelu_erf);
    ctx.tap("mask_decoder.output_upscaling", View<const float, 4>(fine), TraceLayout::nchw);
    mask_head(ctx, heads, tokens(View<const float, 4>(fine)), masks);
  }
};

}  // namespace sampan::inline SAMPAN_ABI::models
