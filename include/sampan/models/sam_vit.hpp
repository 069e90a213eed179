// SAM's image encoder: a plain ViT with windowed and global blocks and decomposed relative positions, in every published and any other size.
// Data flow: predict/ (preprocessed image) -> here -> nn/block.hpp -> nn/neck.hpp -> models/mask_decoder.hpp.
// Shapes: image [s, s, 3] -> embedding [s/16, s/16, 256], channels-last.   Cost: ViT-B 1024: 938 GFLOP useful (kernels.md 2.1).
// Source: segment_anything/modeling/image_encoder.py, class ImageEncoderViT; EfficientSAM's is the same without windows and relative positions. Sizes are run-time data; one instantiation serves B, L and H.
#pragma once
#include <sampan/nn/block.hpp>
#include <sampan/nn/frequency_prompt.hpp>
#include <sampan/nn/neck.hpp>

#include <algorithm>
#include <optional>
#include <vector>

namespace sampan::inline SAMPAN_ABI::models {

struct SamVitSizes {
  Index image_size = 0, patch = 16;
  Index width = 0, depth = 0, heads = 0, mlp = 0, window = 14, out = 256;
  std::vector<Index> global_blocks;
  nn::HookSizes hook;              ///< of the blocks named next; the others have none
  std::vector<Index> hook_blocks;
  PadRule pads = PadRule::after_norm;
  bool rel_pos = true;
  Index branch_grid = 0;  ///< SAMUS: pos_embed has this grid and is brought to the network's by layers of its own; 0: another network
  Index class_grid = 0;  ///< EfficientSAM: pos_embed is [1, 1 + class_grid^2, width], a class token and another grid
  float eps = 1e-6f, eps_neck = 1e-6f;
  Index grid() const { return image_size / patch; }
};

template <Backend B>
struct SamVit {
  SamVitSizes sizes;
  PackedConv<B> patch_embed;
  Tensor<float, 3, B> pos_embed;
  std::vector<nn::Block<B>> blocks;
  nn::Neck<B> neck;
  std::optional<nn::FrequencyPrompt<B>> prompt;  // prompt_generator
  std::optional<nn::SideBranch<B>> branch;       // cnn_embed, input_Adapter

  static SamVit load(const Loader<B>& w, const SamVitSizes& s) {
    SamVit m;
    m.sizes = s;
    const Index kernel = s.branch_grid ? 2 * s.patch : s.patch;
    m.patch_embed = w.pack_conv(w.conv("patch_embed.proj", s.width, 3, kernel, kernel, {.stride = int(s.patch)}));
    m.pos_embed = s.branch_grid ? nn::learned_pos_embed(w, s.branch_grid, s.grid(), s.width) : w.keep(s.class_grid ? nn::load_class_pos_embed(w, s.class_grid, s.grid(), s.width) : nn::load_pos_embed(w, s.grid(), s.width));
    for (Index i = 0; i < s.depth; ++i) {
      const auto in = [&](const std::vector<Index>& list) { return std::find(list.begin(), list.end(), i) != list.end(); };
      const nn::BlockSizes sizes{s.width, s.heads, s.mlp, in(s.global_blocks) ? 0 : s.window, s.grid(), s.eps, s.pads, in(s.hook_blocks) ? s.hook : nn::HookSizes{}, s.rel_pos};
      m.blocks.push_back(nn::Block<B>::load(w / "blocks" / i, sizes));
      w.release();
    }
    if (s.hook.kind == weights::HookKind::frequency_prompt) m.prompt = nn::FrequencyPrompt<B>::load(w / "prompt_generator", s.image_size, s.patch, s.width, s.hook.hidden, s.depth);
    if (s.branch_grid) m.branch = nn::SideBranch<B>::load(w, s.patch, s.width, s.hook.hidden);
    m.neck = nn::Neck<B>::load(w / "neck", s.width, s.out, s.eps_neck);
    w.release();
    return m;
  }

  /// May `image` and `embedding` of forward hold several images, one below the other, on a backend that was told how many (Cuda)?
  bool takes_batches() const { return sizes.hook.kind == weights::HookKind::none && !prompt && !branch; }
  Extent2 input_size() const { return {sizes.image_size, sizes.image_size}; }
  Extent2 output_grid() const { return {sizes.grid(), sizes.grid()}; }
  Index out_channels() const { return sizes.out; }
  Index early_channels() const { return sizes.width; }

  /// `early` [k g, g, width], if not empty, gets the maps behind the first k global blocks, one below the other (SAM-HQ 1, DeSAM 3).
  void forward(Context<B>& ctx, const View<const float, 3>& image, const View<float, 3>& embedding, const View<float, 3>& early = {}) const {
    auto scope = ctx.arena.scope();
    const Index g = sizes.grid();
    const auto x = scope.template make<float>(image.extent(0) / sizes.image_size * g, g, sizes.width);
    const auto rows = tokens(x);
    ctx.grid = {g, g};
    ctx.step("image_encoder.patch_embed");
    {
      TraceOff off(ctx);  // PyTorch's PatchEmbed gives [1,h,w,c]; the convolution alone would be recorded as [1,c,h,w]
      const Index more = branch ? sizes.image_size + sizes.patch : 0;
      auto wider = ctx.arena.scope();
      const auto stretched = wider.template make<float>(more, more, Index(3));
      if (branch) nn::SideBranch<B>::stretch(ctx, image, stretched);
      conv2d(ctx, patch_embed, branch ? View<const float, 3>(stretched) : image, x);
    }
    ctx.tap("image_encoder.patch_embed", View<const float, 3>(x));
    const auto side = scope.template make<float>(branch ? g : 0, g, sizes.width);
    if (branch) branch->start(ctx, image, x, side);
    const auto features = scope.template make<float>(prompt ? g * g : 0, prompt ? prompt->hidden() : 0);
    if (prompt) prompt->features(ctx, image, x, features);
    add(ctx, rows, pos_embed.view().template reshape<2>({g * g, sizes.width}), rows);
    Index kept = 0;  // rows of `early`
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      ctx.step(blocks[i].name);
      if (prompt) prompt->add_before(ctx, Index(i), features, rows);
      blocks[i].forward(ctx, x, side);
      if (kept < early.extent(0) && Index(i) == sizes.global_blocks[std::size_t(kept / g)]) copy(ctx, View<const float, 2>(rows), tokens(early.slice(0, kept, g))), kept += g;
    }
    if (branch) branch->end(ctx, side, x);
    neck.forward(ctx, x, embedding);
    ctx.tap("image_encoder", View<const float, 3>(embedding), TraceLayout::nchw);
    ctx.step("image_encoder");
    ctx.grid = {};
  }
};

}  // namespace sampan::inline SAMPAN_ABI::models
