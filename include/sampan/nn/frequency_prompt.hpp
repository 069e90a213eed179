// SAM-Adapter's prompt generator: from an image's high frequencies and its patches, something that is added to the map before each block.
// Data flow: models/sam_vit.hpp -> here -> ops/high_pass.hpp, ops/conv2d.hpp, ops/linear.hpp.   Hook `before_block` of nn/block_hooks.hpp; its last layer is shared by all blocks.
// Shapes: image [s, s, 3], patches [g, g, c] (the patch embedding before pos_embed), features [g*g, h], x [g, g, c] in place.
//   features = proj(high_pass(image)) + embedding_generator(patches);   before block i: x += shared_mlp(GELU(lightweight_mlp_i.0(features)))
// Source: SAM-Adapter image_encoder.py, PromptGenerator (input_type fft, freq_nums 0.25, adaptor).   Cost: that of high_pass, and per block 2 n h (h + c) FLOP.
#pragma once
#include <sampan/ops/high_pass.hpp>
#include <sampan/weights/loader.hpp>

#include <vector>

namespace sampan::inline SAMPAN_ABI::nn {

template <Backend B>
struct FrequencyPrompt {
  PackedHighPass<B> filter;
  PackedConv<B> proj;                                   // prompt_generator.proj
  PackedLinear<B> shared_mlp, embedding_generator;
  std::vector<PackedLinear<B>> lightweight;             // lightweight_mlp_{i}.0
  std::string name;

  static FrequencyPrompt load(const Loader<B>& w, Index image, Index patch, Index c, Index hidden, Index depth) {
    FrequencyPrompt m;
    m.name = w.path();
    if constexpr (!on_device<B>) {
      if (w.ok()) m.filter = pack(w.exact().backend(), HighPassParams{image, image / 4, w.path("fft")});  // a filter is no weight: f32 in every precision
      if (w.ok() && !m.filter.valid()) w.problem(cat("no memory to pack ", m.filter.name), ErrorCode::out_of_memory);
    }
    m.proj = w.pack_conv(w.conv("prompt_generator.proj", hidden, 3, patch, patch, {.stride = int(patch)}));
    m.shared_mlp = w.pack(w.linear("shared_mlp", hidden, c));
    m.embedding_generator = w.pack(w.linear("embedding_generator", c, hidden));
    for (Index i = 0; i < depth; ++i) m.lightweight.push_back(w.pack(w.linear("lightweight_mlp_" + std::to_string(i) + ".0", hidden, hidden)));
    return m;
  }

  Index hidden() const { return embedding_generator.out_features(); }

  void features(Context<B>& ctx, const View<const float, 3>& image, const View<const float, 3>& patches, const View<float, 2>& out) const {
    if constexpr (on_device<B>) {
      ctx.fail(Error(ErrorCode::unsupported, cat(name, ": device ", B::kName, " has no high-pass filter; use device cpu")));
    } else {
      auto scope = ctx.arena.scope();
      const auto high = scope.template make<float>(image.extent(0), image.extent(1), image.extent(2));
      const auto fine = scope.template make<float>(patches.extent(0), patches.extent(1), hidden());
      high_pass(ctx, filter, image, high);
      conv2d(ctx, proj, View<const float, 3>(high), fine);
      linear(ctx, embedding_generator, tokens(patches), out, {.residual = tokens(View<const float, 3>(fine))});
    }
  }

  void add_before(Context<B>& ctx, Index block, const View<const float, 2>& features, const View<float, 2>& x) const {
    auto scope = ctx.arena.scope();
    const auto mid = scope.template make<float>(features.extent(0), features.extent(1));
    linear(ctx, lightweight[std::size_t(block)], features, mid, {.activation = Activation::gelu_erf});
    linear(ctx, shared_mlp, mid, x, {.residual = x});
  }
};

}  // namespace sampan::inline SAMPAN_ABI::nn
