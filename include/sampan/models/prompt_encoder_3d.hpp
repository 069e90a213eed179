// Prompt encoder of volumetric networks (SAM-Med3D): clicks become tokens, a mask becomes a dense volume; the dense positional grid is computed once, at load.
// Data flow: predict/ (clicks in voxels of the crop) -> here -> models/mask_decoder_3d.hpp.
// Shapes: sparse [k, c], k = points + 1: the pad point is always there, since there are no boxes; none without points. dense [g, g, g, c]; dense_pe [1, g*g*g, c].
// Source: MedIM sam_med3d.py, PromptEncoder3D and PositionEmbeddingRandom3D. Quirks kept, because the weights were trained with them:
//   positions are [sin, cos, sin]; the dense grid stacks its coordinates as (a1, a0, a2), points as (a0, a1, a2), so the first two axes are swapped between them.
// Deliberately absent: boxes (the files hold two point embeddings, not four).
#pragma once
#include <sampan/nn/norm2d.hpp>
#include <sampan/weights/loader.hpp>

#include <array>

namespace sampan::inline SAMPAN_ABI::models {

/// A click in voxels of the model's input, in the order of its axes in memory; label 1 object, 0 background, -1 no point.
struct ModelPoint3d {
  std::array<float, 3> at{};
  int label = 0;
};

struct PromptEncoder3dSizes {
  Index channels = 384, grid = 0, image_size = 0, mask_channels = 16;
  float eps = 1e-6f;  ///< of LayerNorm3d
  Index cells() const { return grid * grid * grid; }
};

template <VolumeBackend B>
struct PromptEncoder3d {
  PromptEncoder3dSizes sizes;
  Tensor<float, 2, Reference> gauss;             // pe_layer.positional_encoding_gaussian_matrix [3, c/3]
  Tensor<float, 2, Reference> point_embeddings;  // [2, c]: background, object
  Tensor<float, 2, Reference> not_a_point;       // [1, c]
  Tensor<float, 2, B> no_mask;                   // [1, c]
  PackedConv3d<B> mask0, mask3, mask6;           // mask_downscaling.0, .3, .6
  PackedNorm<B> mask1, mask4;                    // mask_downscaling.1, .4
  Tensor<float, 3, B> dense_pe;                  // [1, g*g*g, c]

  static PromptEncoder3d load(const Loader<B>& w, const PromptEncoder3dSizes& s) {
    PromptEncoder3d m;
    m.sizes = s;
    const Index c = s.channels;
    m.gauss = w.template keep<Reference>(w.template tensor<2>("pe_layer.positional_encoding_gaussian_matrix", {3, c / 3}));
    const auto table = w.template scratch<2>({2, c});
    for (Index i = 0; i < 2; ++i) {
      const auto row = w.template tensor<2>("point_embeddings." + std::to_string(i) + ".weight", {1, c});
      for (Index j = 0; w.ok() && j < c; ++j) table(i, j) = row(0, j);
    }
    m.point_embeddings = w.template keep<Reference>(View<const float, 2>(table));
    m.not_a_point = w.template keep<Reference>(w.template tensor<2>("not_a_point_embed.weight", {1, c}));
    m.no_mask = w.keep(w.template tensor<2>("no_mask_embed.weight", {1, c}));
    const auto d = w / "mask_downscaling";
    m.mask0 = w.pack_conv3d(d.conv3d("0", s.mask_channels / 4, 1, 2, {.stride = 2}));
    m.mask1 = w.pack(d.norm("1", s.mask_channels / 4, s.eps));
    m.mask3 = w.pack_conv3d(d.conv3d("3", s.mask_channels, s.mask_channels / 4, 2, {.stride = 2}));
    m.mask4 = w.pack(d.norm("4", s.mask_channels, s.eps));
    m.mask6 = w.pack_conv3d(d.conv3d("6", c, s.mask_channels, 1));
    if (w.ok()) m.make_dense_pe(w);
    w.release();
    return m;
  }

  static Index token_count(Index points) { return points > 0 ? points + 1 : 0; }

  /// Tokens of one object, out [token_count, c].
  void encode_sparse(Context<B>& ctx, const ModelPoint3d* points, Index count, const View<float, 2>& out) const {
    const Index k = token_count(count), c = sizes.channels;
    if (!ctx.require(out.extent(0) == k && out.extent(1) == c, "prompt encoder: out must be [token_count, c]") || k == 0) return;
    auto scope = ctx.arena.scope();
    const auto at = scope.template make<float>(k, 3);
    if (ctx.begin({}))
      for (Index i = 0; i < k; ++i)
        for (Index a = 0; a < 3; ++a) at(i, a) = i < count ? (points[i].at[std::size_t(a)] + 0.5f) / float(sizes.image_size) : 0.0f;
    fourier_encoding(ctx, View<const float, 2>(at), gauss.view(), out);
    if (ctx.begin({double(k * c), 12.0 * double(k * c)})) {
      for (Index i = 0; i < k; ++i) {
        const int label = i < count ? points[i].label : -1;
        for (Index j = 0; j < c; ++j) out(i, j) = label < 0 ? not_a_point.view()(0, j) : out(i, j) + point_embeddings.view()(label, j);
      }
    }
    ctx.tap("prompt_encoder.sparse", View<const float, 2>(out));
  }

  /// The dense volume of a mask prompt [4g, 4g, 4g] (low-resolution logits of an earlier call; zeros on the first click of the published pipeline) or, without one,
  /// no_mask_embed everywhere. out [g, g, g, c].
  void encode_dense(Context<B>& ctx, const View<const float, 3>& mask, const View<float, 4>& out) const {
    const Index g = sizes.grid, m = sizes.mask_channels;
    if (mask.empty()) return copy(ctx, no_mask.view(), tokens(out));
    if (!ctx.require(mask.extent(0) == 4 * g && mask.extent(1) == 4 * g && mask.extent(2) == 4 * g,
                     "prompt encoder: the mask prompt must be four times the embedding's grid"))
      return;
    auto scope = ctx.arena.scope();
    const auto half = scope.template make<float>(2 * g, 2 * g, 2 * g, m / 4);
    const auto quarter = scope.template make<float>(g, g, g, m);
    conv3d(ctx, mask0, View<const float, 4>(mask.data(), {4 * g, 4 * g, 4 * g, 1}, {mask.stride(0), mask.stride(1), mask.stride(2), 1}), half);
    nn::layer_norm_3d(ctx, mask1, half, half, Activation::gelu_erf);
    conv3d(ctx, mask3, View<const float, 4>(half), quarter);
    nn::layer_norm_3d(ctx, mask4, quarter, quarter, Activation::gelu_erf);
    conv3d(ctx, mask6, View<const float, 4>(quarter), out);
    ctx.tap("prompt_encoder.mask_downscaling", View<const float, 4>(out), TraceLayout::nchw);
  }

 private:
  /// PE of every cell (a0, a1, a2), with the coordinates in the order ((a1 + 0.5) / g, (a0 + 0.5) / g, (a2 + 0.5) / g).
  void make_dense_pe(const Loader<B>& w) {
    const Index g = sizes.grid, n = sizes.cells();
    const auto at = w.template scratch<2>({n, 3});
    const auto pe = w.template scratch<3>({1, n, sizes.channels});
    if (!w.ok()) return;
    for (Index i = 0; i < n; ++i) {
      const Index cell[] = {i / g % g, i / (g * g), i % g};
      for (Index a = 0; a < 3; ++a) at(i, a) = (float(cell[a]) + 0.5f) / float(g);
    }
    ThreadPool pool(1);
    Arena none;
    const Reference host;
    Context<Reference> ctx(host, pool, none);
    fourier_encoding(ctx, View<const float, 2>(at), gauss.view(), pe[0]);
    dense_pe = w.keep(View<const float, 3>(pe));
  }
};

}  // namespace sampan::inline SAMPAN_ABI::models
