// SAM's image encoder with three axes (SAM-Med3D): patches of a volume, windowed and global blocks with relative positions along each axis.
// Data flow: predict/ (resampled, normalised crop) -> here -> nn/block.hpp -> nn/neck_3d.hpp -> models/mask_decoder_3d.hpp.
// Shapes: volume [s, s, s] -> embedding [s/16, s/16, s/16, c], channels-last.   Cost: SAM-Med3D, 128^3: 104 GFLOP useful.
// Its grid of 8^3 tokens lies in one window of 14^3: 2232 of 2744 keys are pads, which the Cpu backend sums up without computing them (cpu/volume_pads.hpp).
// Source: MedIM sam_med3d.py, class ImageEncoderViT3D.   Deliberately absent: other sizes than the file's own (no resampled tables), adapters.
#pragma once
#include <sampan/models/sam_vit.hpp>
#include <sampan/nn/neck_3d.hpp>

namespace sampan::inline SAMPAN_ABI::models {

template <VolumeBackend B>
struct SamVit3d {
  SamVitSizes sizes;
  PackedConv3d<B> patch_embed;
  Tensor<float, 2, B> pos_embed;  // [g*g*g, c]
  std::vector<nn::Block<B>> blocks;
  nn::Neck3d<B> neck;

  static SamVit3d load(const Loader<B>& w, const SamVitSizes& s) {
    SamVit3d m;
    m.sizes = s;
    const Index g = s.grid();
    m.patch_embed = w.pack_conv3d(w.conv3d("patch_embed.proj", s.width, 1, s.patch, {.stride = int(s.patch)}));
    const auto stored = w.template tensor<5>("pos_embed", {1, g, g, g, s.width});
    m.pos_embed = w.keep(View<const float, 2>(stored.data(), {stored.size() / s.width, s.width}));
    for (Index i = 0; i < s.depth; ++i) {
      const bool global = std::find(s.global_blocks.begin(), s.global_blocks.end(), i) != s.global_blocks.end();
      m.blocks.push_back(nn::Block<B>::load(w / "blocks" / i, {s.width, s.heads, s.mlp, global ? 0 : s.window, g, s.eps, s.pads, {}, true, true}));
      w.release();
    }
    m.neck = nn::Neck3d<B>::load(w / "neck", s.width, s.out, s.eps_neck);
    w.release();
    return m;
  }

  void forward(Context<B>& ctx, const View<const float, 3>& volume, const View<float, 4>& embedding) const {
    auto scope = ctx.arena.scope();
    const Index g = sizes.grid(), s = sizes.image_size, c = sizes.width;
    if (!ctx.require(volume.extent(0) == s && volume.extent(1) == s && volume.extent(2) == s,
                     "image encoder: the volume has not the size of the network's input"))
      return;
    const auto x = scope.template make<float>(g, g, g, c);
    const View<const float, 4> in = x;
    ctx.grid = {g, g}, ctx.planes = g;
    ctx.step("image_encoder.patch_embed");
    {
      TraceOff off(ctx);  // PyTorch's PatchEmbed3D gives channels last; the convolution alone would be recorded channels first
      conv3d(ctx, patch_embed, View<const float, 4>(volume.data(), {s, s, s, 1}, {volume.stride(0), volume.stride(1), volume.stride(2), 1}), x);
    }
    ctx.tap("image_encoder.patch_embed", in);
    add(ctx, tokens(in), pos_embed.view(), tokens(x));
    for (const auto& block : blocks) {
      ctx.step(block.name);
      block.forward(ctx, as_map(tokens(x), g * g, g));
    }
    neck.forward(ctx, in, embedding);
    ctx.tap("image_encoder", View<const float, 4>(embedding), TraceLayout::nchw);
    ctx.step("image_encoder");
    ctx.grid = {}, ctx.planes = 0;
  }
};

}  // namespace sampan::inline SAMPAN_ABI::models
