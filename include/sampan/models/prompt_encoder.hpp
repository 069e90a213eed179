// SAM's prompt encoder: points and box corners become tokens, a mask becomes a dense map; the dense positional grid is computed once, at load.
// Data flow: predict/ (prompts scaled to model pixels) -> here -> models/mask_decoder.hpp.
// Shapes: sparse [k, c] with k = points + 1 (the pad point, only without a box) or points + 2 (with a box); dense [g, g, c]; dense_pe [1, g*g, c].
// Source: segment_anything/modeling/prompt_encoder.py; EfficientSAM's efficient_sam_decoder.py (fixed_tokens). +0.5 on every coordinate, division by the input size in float32; label -1 replaces the encoding.
// Labels 2 and 3 do not exist here: SAM 1 ignores them in its point path, so they are refused by predict/ before they get here.
#pragma once
#include <sampan/nn/norm2d.hpp>
#include <sampan/weights/loader.hpp>
#include <sampan/weights/network_sizes.hpp>

namespace sampan::inline SAMPAN_ABI::models {

/// One point in pixels of the model's input; label 1 object, 0 background, -1 no point.
struct ModelPoint {
  float x = 0, y = 0;
  int label = 0;
};

inline constexpr Index kEfficientSamTokens = 6;  // decoder_max_num_input_points of its builder

struct PromptEncoderSizes {
  Index channels = 256, grid = 0, image_size = 0, mask_channels = 16;
  Index fixed_tokens = 0;  ///< EfficientSAM's rules: always so many tokens, missing ones at (-1, -1) with their encoding kept, no background label, no mask input
  float eps = 1e-6f;  ///< of LayerNorm2d
  weights::PromptSource source = weights::PromptSource::clicks;  ///< else the caller has no prompts: no tokens from here, and no_mask_embed, nothing, or what nn/prompt_generator.hpp makes is added to the embedding
};

template <Backend B>
struct PromptEncoder {
  PromptEncoderSizes sizes;
  // Tokens are made on the host, wherever the network runs: a dozen rows per prompt.
  Tensor<float, 2, Reference> gauss;             // pe_layer.positional_encoding_gaussian_matrix [2, c/2]
  Tensor<float, 2, Reference> point_embeddings;  // [4, c]: background, object, box top left, box bottom right
  Tensor<float, 2, Reference> not_a_point;       // [1, c]
  Tensor<float, 2, B> no_mask;                   // [1, c]
  PackedConv<B> mask0, mask3, mask6;             // mask_downscaling.0, .3, .6
  PackedNorm<B> mask1, mask4;                    // mask_downscaling.1, .4
  Tensor<float, 3, B> dense_pe;                  // [1, g*g, c]

  static PromptEncoder load(const Loader<B>& w, const PromptEncoderSizes& s) {
    PromptEncoder m;
    m.sizes = s;
    const Index c = s.channels;
    if (s.source == weights::PromptSource::nothing) {
      m.no_mask = zero_row(w, c);
      w.release();
      return m;
    }
    m.gauss = w.template keep<Reference>(w.template tensor<2>("pe_layer.positional_encoding_gaussian_matrix", {2, c / 2}));
    if (s.source == weights::PromptSource::no_mask || s.source == weights::PromptSource::positions) {
      m.no_mask = s.source == weights::PromptSource::no_mask ? w.keep(w.template tensor<2>("no_mask_embed.weight", {1, c})) : zero_row(w, c);
      if (w.ok()) m.make_dense_pe(w);
      w.release();
      return m;
    }
    const auto table = w.template scratch<2>({4, c});
    for (Index j = 0; w.ok() && j < c; ++j) table(0, j) = 0;
    for (Index i = s.fixed_tokens ? 1 : 0; i < 4; ++i) {
      const auto row = w.template tensor<2>("point_embeddings." + std::to_string(i) + ".weight", {1, c});
      for (Index j = 0; w.ok() && j < c; ++j) table(i, j) = row(0, j);
    }
    m.point_embeddings = w.template keep<Reference>(View<const float, 2>(table));
    m.not_a_point = w.template keep<Reference>(w.template tensor<2>("not_a_point_embed.weight", {1, c}));
    if (s.fixed_tokens) {  // nothing is added to the embedding
      m.no_mask = zero_row(w, c);
    } else {
      m.no_mask = w.keep(w.template tensor<2>("no_mask_embed.weight", {1, c}));
      m.load_mask_input(w);
    }
    if (w.ok()) m.make_dense_pe(w);
    w.release();
    return m;
  }
  void load_mask_input(const Loader<B>& w) {
    const PromptEncoderSizes& s = sizes;
    const auto d = w / "mask_downscaling";
    mask0 = w.pack_conv(d.conv("0", s.mask_channels / 4, 1, 2, 2, {.stride = 2}));
    mask1 = w.pack(d.norm("1", s.mask_channels / 4, s.eps));
    mask3 = w.pack_conv(d.conv("3", s.mask_channels, s.mask_channels / 4, 2, 2, {.stride = 2}));
    mask4 = w.pack(d.norm("4", s.mask_channels, s.eps));
    mask6 = w.pack_conv(d.conv("6", s.channels, s.mask_channels, 1, 1));
  }

  Index token_count(Index points, bool box) const { return sizes.source != weights::PromptSource::clicks ? 0 : sizes.fixed_tokens ? sizes.fixed_tokens : box ? points + 2 : points > 0 ? points + 1 : 0; }

  /// Tokens of one object, out [token_count, c], on a backend of the host. `box` is {x0, y0, x1, y1} in model pixels or nullptr.
  template <class H>
    requires(!on_device<H>)
  void encode_sparse(Context<H>& ctx, const ModelPoint* points, Index count, const float* box, const View<float, 2>& out) const {
    const Index k = token_count(count, box != nullptr), c = sizes.channels;
    if (!ctx.require(out.extent(0) == k && out.extent(1) == c, "prompt encoder: out must be [token_count, c]") || k == 0) return;
    if (!ctx.require(count + (box ? 2 : 0) <= k, "prompt encoder: more points and box corners than the network has tokens")) return;
    auto scope = ctx.arena.scope();
    const auto at = scope.template make<float>(k, 2);
    if (ctx.begin({})) {
      const float size = float(sizes.image_size);
      auto put = [&](Index i, float x, float y) { at(i, 0) = (x + 0.5f) / size, at(i, 1) = (y + 0.5f) / size; };
      const auto inside = [&](float v) { return sizes.fixed_tokens && v < 0 ? -1.0f : v; };  // EfficientSAM's get_rescaled_pts
      for (Index i = 0; i < count; ++i) put(i, inside(points[i].x), inside(points[i].y));
      if (box) {
        put(count, box[0], box[1]);
        put(count + 1, box[2], box[3]);
      } else if (!sizes.fixed_tokens) {
        at(count, 0) = at(count, 1) = 0;
      }
      for (Index i = count + (box ? 2 : 0); sizes.fixed_tokens && i < k; ++i) put(i, -1, -1);
    }
    fourier_encoding(ctx, at, gauss.view(), out);
    if (ctx.begin({double(k * c), 12.0 * double(k * c)})) {
      for (Index i = 0; i < k; ++i) {
        const int label = i < count ? points[i].label : box && i < count + 2 ? int(2 + i - count) : -1;
        const bool replace = label < 0 && !sizes.fixed_tokens;
        for (Index j = 0; j < c; ++j) out(i, j) = (replace ? 0.0f : out(i, j)) + (label < 0 ? not_a_point.view()(0, j) : point_embeddings.view()(label, j));
      }
    }
    ctx.tap("prompt_encoder.sparse", View<const float, 2>(out));
  }

  /// The dense map of a mask prompt [4g, 4g] (low-resolution logits of an earlier call) or, without one, no_mask_embed everywhere. out [g, g, c].
  void encode_dense(Context<B>& ctx, const View<const float, 2>& mask, const View<float, 3>& out) const {
    const Index g = sizes.grid;
    if (mask.empty()) {
      copy(ctx, no_mask.view(), tokens(out));
      return;
    }
    if (!ctx.require(mask.extent(0) == 4 * g && mask.extent(1) == 4 * g, "prompt encoder: the mask prompt must be four times the embedding's grid")) return;
    auto scope = ctx.arena.scope();
    const auto half = scope.template make<float>(2 * g, 2 * g, sizes.mask_channels / 4);
    const auto quarter = scope.template make<float>(g, g, sizes.mask_channels);
    conv2d(ctx, mask0, View<const float, 3>(mask.data(), {4 * g, 4 * g, 1}, {mask.stride(0), mask.stride(1), 1}), half);
    nn::layer_norm_2d(ctx, mask1, half, half, Activation::gelu_erf);
    conv2d(ctx, mask3, half, quarter);
    nn::layer_norm_2d(ctx, mask4, quarter, quarter, Activation::gelu_erf);
    conv2d(ctx, mask6, quarter, out);
    ctx.tap("prompt_encoder.mask_downscaling", View<const float, 3>(out), TraceLayout::nchw);
  }

 private:
  static Tensor<float, 2, B> zero_row(const Loader<B>& w, Index c) {
    const auto zero = w.template scratch<2>({1, c});
    for (Index j = 0; w.ok() && j < c; ++j) zero(0, j) = 0;
    return w.keep(View<const float, 2>(zero));
  }
  /// PE of every grid position: x = (column + 0.5) / g, y = (row + 0.5) / g (PositionEmbeddingRandom.forward).
  void make_dense_pe(const Loader<B>& w) {
    const Index g = sizes.grid, c = sizes.channels;
    const auto at = w.template scratch<2>({g * g, 2});
    const auto pe = w.template scratch<3>({1, g * g, c});
    if (!w.ok()) return;
    for (Index i = 0; i < g * g; ++i) at(i, 0) = (float(i % g) + 0.5f) / float(g), at(i, 1) = (float(i / g) + 0.5f) / float(g);
    ThreadPool pool(1);
    Arena none;
    const Reference host;
    Context<Reference> ctx(host, pool, none);
    fourier_encoding(ctx, View<const float, 2>(at), gauss.view(), pe[0]);
    dense_pe = w.keep(View<const float, 3>(pe));
  }
};

}  // namespace sampan::inline SAMPAN_ABI::models
