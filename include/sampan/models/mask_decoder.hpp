// SAM's mask decoder: tokens and image embedding through the two-way transformer, upscaling, hypernetwork heads, IoU head.
// Data flow: image embedding + prompt tokens -> here -> predict/postprocess.hpp.
// Shapes (b prompts, n tokens each): embedding [g, g, c]; sparse [b, n, c]; dense [b or 1, g*g, c]; masks [b, m, 4g*4g] logits; iou [b, m].
// m = 1 (token 0, single mask), 3 (tokens 1..3, multimask), or one per class: all tokens, all but token 0 (finetune-SAM), or token 0 of a set for each class (AutoSAM: a batch over
// classes instead of prompts); only the requested hypernetworks run. SAM-HQ adds the mask of its own token to each (hq_head.hpp).   Cost: 3.6 GFLOP per prompt at g = 64 (kernels.md 2.1).
// Source: segment_anything/modeling/mask_decoder.py. GELU erf in the upscaling, ReLU in the heads, no sigmoid on the IoU; EfficientSAM's efficient_sam_decoder.py.
#pragma once
#include <sampan/models/guided_head.hpp>
#include <sampan/models/hq_head.hpp>
#include <sampan/models/pimm_head.hpp>
#include <sampan/models/plain_head.hpp>
#include <sampan/nn/two_way_transformer.hpp>
#include <sampan/ops/group_norm.hpp>

#include <optional>

namespace sampan::inline SAMPAN_ABI::models {

struct MaskDecoderSizes {
  Index channels = 256, grid = 0, masks = 4, depth = 2, heads = 8, mlp = 2048, iou_hidden = 256;
  bool classes = false;  ///< a mask for each class is given
  bool skip_first = false;  ///< with classes: token 0 is none (finetune-SAM)
  Index sets = 0;           ///< AutoSAM: so many classes, each with its own tokens; 0: one set for all
  Index hook = 0, hooked_layers = 0;  ///< finetune-SAM's bottlenecks (nn/two_way_transformer.hpp)
  Index hq_early = 0;  ///< channels of the encoder's early map; 0: no SAM-HQ decoder
  bool guided = false;   ///< H-SAM: a second decoder behind this one, masks of the input's size
  bool plain = false;    ///< AutoSAM's linear or CNN head instead of everything here
  Index plain_depth = 0, plain_width = 0;  ///< of the CNN head (models/plain_head.hpp)
  Index pimm_early = 0;  ///< channels of the encoder's maps; 0: no DeSAM decoder
  bool efficient = false;  ///< EfficientSAM: GELU everywhere, its two-way rules, a norm over the whole map between the transposed convolutions
  float eps = 1e-5f, eps_final = 1e-5f, eps_upscale = 1e-6f;
  Index fixed_tokens() const { return 1 + masks + (hq_early ? 1 : 0); }
};

/// iou_token, then mask_tokens, as the first tokens of every prompt; hf_token behind them in SAM-HQ: [fixed_tokens(), c]. Of several sets one below the other.
template <Backend B>
Tensor<float, 2, B> load_fixed_tokens(const Loader<B>& w, const MaskDecoderSizes& s) {
  const Index c = s.channels;
  const Index sets = s.sets ? s.sets : 1, fixed = s.fixed_tokens();
  const auto iou = w.template tensor<2>("iou_token.weight", {sets, c}), masks = w.template tensor<2>("mask_tokens.weight", {sets * s.masks, c});
  const auto hf = s.hq_early ? w.template tensor<2>("hf_token.weight", {1, c}) : View<const float, 2>();
  const auto all = w.template scratch<2>({sets * fixed, c});
  for (Index k = 0; k < sets; ++k)
    for (Index j = 0; w.ok() && j < c; ++j) {
      all(k * fixed, j) = iou(k, j);
      for (Index i = 0; i < s.masks; ++i) all(k * fixed + 1 + i, j) = masks(k * s.masks + i, j);
      if (s.hq_early) all(1 + s.masks, j) = hf(0, j);
    }
  return w.keep(View<const float, 2>(all));
}

/// Views that must stay valid during the call. With a ready image side, embedding and dense may be empty.
struct MaskDecoderInput {
  View<const float, 3> embedding, dense_pe, sparse, dense;
  nn::ImageSide<const float> side = {};
  View<const float, 3> detail = {};  ///< what prepare_detail made of the image, [4g, 4g, detail_channels()]
  bool hq_token_only = false;        ///< SAM-HQ: the mask of its own token alone
};

template <Backend B>
struct MaskDecoder {
  MaskDecoderSizes sizes;
  Tensor<float, 2, B> fixed_tokens;  // iou_token, mask_tokens [masks, c], hf_token if SAM-HQ
  nn::TwoWayTransformer<B> transformer;
  PackedConvTranspose<B> up0, up3;  // output_upscaling.0, .3
  PackedNorm<B> up1;                // output_upscaling.1
  std::vector<nn::ReluMlp<B>> hyper;
  nn::ReluMlp<B> iou_head;
  std::optional<HqHead<B>> hq;
  std::optional<PimmHead<B>> pimm;
  std::optional<PlainHead<B>> plain;
  std::optional<GuidedHead<B>> second;  // mask_decoder2, loaded by models/any_model.hpp

  static MaskDecoder load(const Loader<B>& w, const MaskDecoderSizes& s) {
    MaskDecoder m;
    m.sizes = s;
    const Index c = s.channels;
    const Loader<B> exact = w.exact();  // tokens are few, and what follows from them reaches every pixel
    if (s.plain) {
      m.plain = PlainHead<B>::load(exact, {.channels = c, .grid = s.grid, .classes = s.masks, .depth = s.plain_depth, .top = s.plain_width, .eps = s.eps_upscale});
      return m;
    }
    m.fixed_tokens = load_fixed_tokens(w, s);
    m.transformer = nn::TwoWayTransformer<B>::load(w / "transformer", s.depth, c, s.heads, s.mlp, s.eps, s.eps_final, s.efficient ? nn::TwoWayRules{Activation::gelu_erf, true} : nn::TwoWayRules{.image_first = s.guided, .hook = s.hook, .hooked_layers = s.hooked_layers});
    const auto up = w / "output_upscaling";
    const Activation between = s.efficient ? Activation::gelu_erf : Activation::relu;
    m.iou_head = nn::ReluMlp<B>::load(exact / "iou_prediction_head", c, s.iou_hidden, s.masks, 3, between);
    if (s.pimm_early) {
      m.pimm = PimmHead<B>::load(exact / "pimm", c, s.pimm_early, s.grid);
      skip_mask_layers(w, s);
      w.release();
      return m;
    }
    m.up0 = w.pack_conv_transpose(up.conv_transpose("0", c, c / 4, 2));
    m.up1 = w.pack(up.norm("1", c / 4, s.eps_upscale));
    m.up3 = w.pack_conv_transpose(up.conv_transpose("3", c / 4, c / 8, 2));
    for (Index i = 0; i < s.masks; ++i) m.hyper.push_back(nn::ReluMlp<B>::load(exact / "output_hypernetworks_mlps" / i, c, c, c / 8, 3, between));
    if (s.hq_early) m.hq = HqHead<B>::load(exact, c, s.hq_early, s.eps_upscale);
    w.release();
    return m;
  }

  /// Side of the logits.
  Index low_res() const { return sizes.guided ? 16 * sizes.grid : 4 * sizes.grid; }
  /// How many maps of the encoder the decoder wants, and the channels of what it makes of them.
  Index early_maps() const { return hq ? 1 : pimm ? PimmHead<B>::kLevels : 0; }
  Index detail_channels() const { return hq ? sizes.channels / 8 : pimm ? 7 * sizes.channels / 16 : 0; }
  void prepare_detail(Context<B>& ctx, const View<const float, 3>& embedding, const View<const float, 3>& early, const View<float, 3>& detail) const {
    hq ? hq->prepare(ctx, embedding, early, detail) : pimm->prepare(ctx, early, detail);
  }

  Index mask_count(bool multimask) const { return sizes.sets ? sizes.sets : sizes.classes ? sizes.masks - (sizes.skip_first ? 1 : 0) : multimask ? sizes.masks - 1 : 1; }

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
    if (plain) {
      if (!ctx.require(masks.extent(0) == 1 && in.sparse.extent(1) == 0, "mask decoder: a plain head takes one image without prompts")) return;
      return plain->forward(ctx, in.embedding, masks[0]);  // it guesses no IoU, and decoders of classes are asked for none
    }
    const Index prompts = in.sparse.extent(0), b = sizes.sets ? sizes.sets : prompts, n = in.sparse.extent(1), g = sizes.grid, c = sizes.channels, fixed = sizes.fixed_tokens();
    const bool ready = !in.side.image.empty();
    const Index first = (sizes.classes ? sizes.skip_first : multimask) ? 1 : 0, given = mask_count(multimask), count = sizes.sets ? 1 : given, shared = ready ? 1 : in.dense.extent(0);
    const auto whole = [&] { return in.embedding.extent(0) == g && in.embedding.extent(1) == g && in.embedding.extent(2) == c && (shared == 1 || shared == b); };
    if (!ctx.require(!second || (prompts == 1 && n == 0), "mask decoder: a guided decoder takes one image without prompts") || !ctx.require(b >= 1 && (!sizes.sets || (prompts == 1 && n == 0)) && (n == 0 || in.sparse.extent(2) == c) && (ready || whole()), "mask decoder: embedding [g,g,c], sparse [b,n,c], dense [b or 1,g*g,c] disagree") ||
        !ctx.require(detail_channels() == 0 || (in.detail.extent(0) == 4 * g && in.detail.extent(1) == 4 * g && in.detail.extent(2) == detail_channels()), "mask decoder: detail must be [4g,4g,detail_channels]") ||
        !ctx.require(masks.extent(0) == prompts && masks.extent(1) == given && masks.extent(2) == low_res() * low_res() && iou.extent(0) == prompts && iou.extent(1) == given, "mask decoder: masks [b,m,low_res^2] and iou [b,m] disagree"))
      return;
    auto scope = ctx.arena.scope();
    const auto queries = scope.template make<float>(b, fixed + n, c);
    const auto keys = scope.template make<float>(b, g * g, c);
    const auto image = ready || shared == b ? keys : scope.template make<float>(shared, g * g, c);
    ctx.batch = b;
    for (Index i = 0; i < b; ++i) {
      copy(ctx, fixed_tokens.view().slice(0, sizes.sets ? i * fixed : 0, fixed), queries[i].slice(0, 0, fixed));
      if (n > 0) copy(ctx, in.sparse[i], queries[i].slice(0, fixed, n));
    }
    for (Index i = 0; !ready && i < shared; ++i) add(ctx, tokens(in.embedding), in.dense[i], image[i]);
    transformer.forward(ctx, queries, ready ? in.side : nn::ImageSide<const float>{.image = image}, in.dense_pe, keys);

    const auto all_iou = scope.template make<float>(b, sizes.masks);
    const auto heads = scope.template make<float>(b, count + (hq ? 1 : 0), c / 8);
    const auto token = [&](Index i) { return View<const float, 2>(queries.data() + i * c, {b, c}, {queries.stride(0), 1}); };
    iou_head.forward(ctx, token(0), all_iou);
    copy(ctx, View<const float, 2>(all_iou.data() + first, {b, count}, {all_iou.stride(0), 1}), sizes.sets ? iou.template reshape<2>({b, 1}) : iou);
    if (pimm) {
      for (Index i = 0; i < b; ++i) pimm->forward(ctx, View<const float, 2>(keys[i]), in.detail, masks[i]);
      ctx.batch = 1;
      return;
    }
    const auto head = [&](Index i) { return View<float, 2>(heads.data() + i * heads.stride(1), {b, c / 8}, {heads.stride(0), 1}); };
    for (Index m = 0; m < count; ++m) hyper[std::size_t(first + m)].forward(ctx, token(1 + first + m), head(m));
    if (hq) hq->mlp.forward(ctx, token(fixed - 1), head(count));

    if (second) {
      const auto wide = scope.template make<float>(b, count, 16 * g * g);
      const auto fine = scope.template make<float>(4 * g, 4 * g, c / 8), source = scope.template make<float>(Index(1), g * g, c);
      upscale(ctx, keys, heads, in, wide, fine);
      ready ? copy(ctx, in.side.image[0], source[0]) : add(ctx, tokens(in.embedding), in.dense[0], source[0]);
      second->forward(ctx, View<const float, 2>(wide[0]), fine, View<const float, 2>(source[0]), in.dense_pe[0], masks[0]);
      ctx.batch = 1;
      return;
    }
    upscale(ctx, keys, heads, in, sizes.sets ? masks.template reshape<3>({b, 1, 16 * g * g}) : masks);
    ctx.batch = 1;
  }

 private:
  /// DeSAM's file holds SAM's mask layers, which its forward never runs: their shapes are checked, nothing is packed.
  static void skip_mask_layers(const Loader<B>& w, const MaskDecoderSizes& s) {
    const Index c = s.channels;
    const auto up = w / "output_upscaling";
    up.conv_transpose("0", c, c / 4, 2);
    up.norm("1", c / 4, s.eps_upscale);
    up.conv_transpose("3", c / 4, c / 8, 2);
    for (Index i = 0; i < s.masks; ++i)
      for (int l = 0; l < 3; ++l) (w / "output_hypernetworks_mlps" / i / "layers").linear(std::to_string(l), c, l == 2 ? c / 8 : c);
  }

  /// keys [b, g*g, c], heads [b, m, c / 8], one more of SAM-HQ behind them -> masks [b, m, 4g*4g].
  /// `kept` [4g, 4g, c / 8], if not empty, gets the upscaled map of the only prompt.
  void upscale(Context<B>& ctx, const View<const float, 3>& keys, const View<const float, 3>& heads, const MaskDecoderInput& in, const View<float, 3>& masks, const View<float, 3>& kept = {}) const {
    const Index g = sizes.grid, c = sizes.channels, m = masks.extent(1);
    const char* name = "mask_decoder.output_upscaling";
    if constexpr (requires { upscale_masks(ctx, up0, up1, up3, keys, g, heads, masks); }) {
      if (!hq && !sizes.efficient && kept.empty() && !ctx.traced(up0.name) && !ctx.traced(up1.name) && !ctx.traced(up3.name) && !ctx.traced(name)) return upscale_masks(ctx, up0, up1, up3, keys, g, heads, masks);
    }
    auto scope = ctx.arena.scope();
    const auto mid = scope.template make<float>(2 * g, 2 * g, c / 4);
    const auto fine = kept.empty() ? scope.template make<float>(4 * g, 4 * g, c / 8) : kept;
    for (Index i = 0; i < keys.extent(0); ++i) {
      conv_transpose2d(ctx, up0, as_map(keys[i], g, g), mid);
      if (sizes.efficient) {
        const View<const float, 3> half = mid;
        group_norm(ctx, up1, tokens(half), tokens(mid));
        ctx.tap(up1.name, half, TraceLayout::nchw);
        activate(ctx, Activation::gelu_erf, tokens(half), tokens(mid));
      } else {
        nn::layer_norm_2d(ctx, up1, mid, mid, Activation::gelu_erf);
      }
      conv_transpose2d(ctx, up3, View<const float, 3>(mid), fine, Activation::gelu_erf);
      ctx.tap(name, View<const float, 3>(fine), TraceLayout::nchw);
      mask_head(ctx, heads[i].slice(0, 0, m), tokens(View<const float, 3>(fine)), masks[i]);
      if (!hq) continue;
      auto inner = ctx.arena.scope();
      const auto features = inner.template make<float>(4 * g, 4 * g, c / 8);
      const auto own = inner.template make<float>(1, 16 * g * g);
      hq->features(ctx, fine, in.detail, features);
      mask_head(ctx, heads[i].slice(0, m, 1), tokens(View<const float, 3>(features)), own);
      in.hq_token_only ? copy(ctx, own, masks[i]) : add(ctx, View<const float, 2>(masks[i]), own, masks[i]);
    }
  }
};

}  // namespace sampan::inline SAMPAN_ABI::models
