// The tensors (name, shape) of every image encoder of given sizes, in PyTorch's names, and ShapeList, which such lists are written with.
// Data flow: weights/network_sizes.hpp -> here -> weights/network_shapes.hpp, which adds prompt encoder and decoders.
// Shapes as PyTorch stores them: Linear [out,in], convolution [out,in/groups,kh,kw], transposed convolution [in,out,kh,kw].
// Source: segment_anything/modeling/image_encoder.py; mobile_sam/modeling/tiny_vit_sam.py; MedIM sam_med3d.py. BatchNorm's num_batches_tracked is not part of the list.
#pragma once
#include <sampan/weights/contract.hpp>
#include <sampan/weights/safetensors.hpp>

namespace sampan::inline SAMPAN_ABI::weights {

struct TensorShape {
  std::string name;
  Shape shape;
};

namespace detail {

/// Appends rows under one name prefix.
class ShapeList {
 public:
  ShapeList(std::vector<TensorShape>& rows, std::string prefix) : rows_(rows), prefix_(std::move(prefix)) {}
  ShapeList operator/(std::string_view child) const { return {rows_, cat(prefix_, child, ".")}; }
  ShapeList operator/(int child) const { return *this / std::string_view(std::to_string(child)); }

  void add(std::string_view name, Shape s) const { rows_.push_back({cat(prefix_, name), std::move(s)}); }
  /// weight of shape s, bias of `out` values.
  void with_bias(std::string_view name, Shape s, std::int64_t out) const {
    add(cat(name, ".weight"), std::move(s));
    add(cat(name, ".bias"), {out});
  }
  void linear(std::string_view name, std::int64_t in, std::int64_t out) const { with_bias(name, {out, in}, out); }
  void norm(std::string_view name, std::int64_t c) const { with_bias(name, {c}, c); }
  void conv(std::string_view name, std::int64_t in, std::int64_t out, std::int64_t k) const { with_bias(name, {out, in, k, k}, out); }
  void conv_transpose(std::string_view name, std::int64_t in, std::int64_t out, std::int64_t k) const { with_bias(name, {in, out, k, k}, out); }
  void conv3d(std::string_view name, std::int64_t in, std::int64_t out, std::int64_t k) const { with_bias(name, {out, in, k, k, k}, out); }
  void conv_transpose3d(std::string_view name, std::int64_t in, std::int64_t out, std::int64_t k) const { with_bias(name, {in, out, k, k, k}, out); }
  void conv_bn(std::string_view name, std::int64_t in, std::int64_t out, std::int64_t k) const {
    add(cat(name, ".c.weight"), {out, in, k, k});
    for (const char* part : {"weight", "bias", "running_mean", "running_var"}) add(cat(name, ".bn.", part), {out});
  }

  /// SAMUS: convolution `first` of a sequence, 3x3 without bias, and a norm behind it.
  void conv_norm(std::string_view name, int first, std::int64_t in, std::int64_t out) const {
    add(cat(name, ".", first, ".weight"), {out, in, 3, 3});
    norm(cat(name, ".", first + 1), out);
  }

  /// EfficientViT's ConvLayer: convolution `conv`, with a bias or with BatchNorm `norm` behind it.
  void conv_layer(std::string_view name, std::int64_t in, std::int64_t out, std::int64_t k, bool bias, bool bn) const {
    add(cat(name, ".conv.weight"), {out, in, k, k});
    if (bias) add(cat(name, ".conv.bias"), {out});
    for (const char* part : {"weight", "bias", "running_mean", "running_var"})
      if (bn) add(cat(name, ".norm.", part), {out});
  }

 private:
  std::vector<TensorShape>& rows_;
  std::string prefix_;
};

inline void neck_shapes(const ShapeList& e, std::int64_t in, std::int64_t out, bool volume = false) {
  e.add("neck.0.weight", volume ? Shape{out, in, 1, 1, 1} : Shape{out, in, 1, 1});
  e.norm("neck.1", out);
  e.add("neck.2.weight", volume ? Shape{out, out, 3, 3, 3} : Shape{out, out, 3, 3});
  e.norm("neck.3", out);
}

inline void hook_shapes(const ShapeList& b, HookKind kind, std::int64_t c, std::int64_t hidden) {
  if (kind == HookKind::conv_adapter) {
    const ShapeList a = b / "Adapter";
    a.add("channel.0.weight", {hidden, c});
    a.add("channel.2.weight", {c, hidden});
    a.add("spatial.0.weight", {c, c, 3, 3});
    a.add("spatial.2.weight", {c, c, 4, 4});
    a.norm("norm", c);
  } else if (kind == HookKind::bottleneck) {
    for (const char* place : {"Space_Adapter", "MLP_Adapter"}) {
      (b / place).linear("D_fc1", c, hidden);
      (b / place).linear("D_fc2", hidden, c);
    }
  } else if (kind == HookKind::side_branch) {
    (b / "MLP_Adapter").linear("D_fc1", c, hidden);
    (b / "MLP_Adapter").linear("D_fc2", hidden, c);
    for (const char* part : {"q", "k", "v", "proj"}) (b / "Space_Adapter").linear(part, c, c);
    b.conv_norm("refine_Adapter.conv", 0, c, c);
  }
}

/// SAM-Adapter: one prompt for every block, from layers that all of them share but for one.
inline void frequency_prompt_shapes(const ShapeList& p, const SamVitSizes& v) {
  const std::int64_t c = v.embed_dim, hidden = v.hook_hidden;
  p.linear("shared_mlp", hidden, c);
  p.linear("embedding_generator", c, hidden);
  for (int i = 0; i < v.depth; ++i) p.linear(cat("lightweight_mlp_", i, ".0"), hidden, hidden);
  p.conv("prompt_generator.proj", 3, hidden, v.patch);
}

/// SAMUS: what stands before the blocks.
inline void side_branch_shapes(const ShapeList& e, const NetworkSizes& n) {
  const SamVitSizes& v = n.sam_vit;
  const std::int64_t c = v.embed_dim;
  std::int64_t in = 64;
  e.conv_norm("cnn_embed.inc.conv", 0, 3, in);
  int i = 0;
  for (int left = v.patch; left > 1; left /= 2, in *= 2) e.conv_norm(cat("cnn_embed.downs.", i++, ".maxpool_conv"), 1, in, left == 2 ? c : 2 * in);
  (e / "input_Adapter").linear("D_fc1", c, v.hook_hidden);
  (e / "input_Adapter").linear("D_fc2", v.hook_hidden, c);
  i = 0;
  for (int side = v.pos_grid; side > n.grid; side /= 2) e.conv_norm(cat("post_pos_embed.downs.", i++, ".maxpool_conv"), 1, c, c);
}

inline void sam_vit_shapes(const ShapeList& e, const NetworkSizes& n) {
  const SamVitSizes& v = n.sam_vit;
  const std::int64_t c = v.embed_dim, head = c / v.heads;
  const bool volume = is_volume(n.encoder);
  const bool branch = v.hook == HookKind::side_branch;
  const std::int64_t table = branch ? v.pos_grid : n.grid;
  e.add("pos_embed", volume ? Shape{1, n.grid, n.grid, n.grid, c} : Shape{1, table, table, c});
  volume ? e.conv3d("patch_embed.proj", 1, c, v.patch) : e.conv("patch_embed.proj", 3, c, branch ? 2 * v.patch : v.patch);
  if (branch) side_branch_shapes(e, n);
  for (int i = 0; i < v.depth; ++i) {
    const ShapeList b = e / "blocks" / i;
    const bool global = std::find(v.global_blocks.begin(), v.global_blocks.end(), i) != v.global_blocks.end();
    const std::int64_t rows = 2 * (global ? n.grid : v.window) - 1;
    b.norm("norm1", c);
    if (volume) b.add("attn.rel_pos_d", {rows, head});
    b.add("attn.rel_pos_h", {rows, head});
    b.add("attn.rel_pos_w", {rows, head});
    b.linear("attn.qkv", c, 3 * c);
    b.linear("attn.proj", c, c);
    b.norm("norm2", c);
    b.linear("mlp.lin1", c, v.mlp_dim);
    b.linear("mlp.lin2", v.mlp_dim, c);
    if (std::find(v.hook_blocks.begin(), v.hook_blocks.end(), i) != v.hook_blocks.end()) hook_shapes(b, v.hook, c, v.hook_hidden);
  }
  if (v.hook == HookKind::frequency_prompt) frequency_prompt_shapes(e / "prompt_generator", v);
  neck_shapes(e, c, n.out_channels, volume);
}

inline void tiny_vit_shapes(const ShapeList& e, const NetworkSizes& n) {
  const TinyVitSizes& t = n.tiny_vit;
  const std::int64_t stem = t.stem == TinyStem::conv3x3_stride2 ? 3 : 1;
  e.conv_bn("patch_embed.seq.0", 3, t.dims[0] / 2, stem);
  e.conv_bn("patch_embed.seq.2", t.dims[0] / 2, t.dims[0], stem);
  for (int l = 0; l < 4; ++l) {
    const std::size_t at = static_cast<std::size_t>(l);
    const std::int64_t c = t.dims[at];
    for (int i = 0; i < t.depths[at]; ++i) {
      const ShapeList b = e / "layers" / l / "blocks" / i;
      if (l == 0) {  // MBConv, expansion 4, depthwise in the middle
        b.conv_bn("conv1", c, 4 * c, 1);
        b.conv_bn("conv2", 1, 4 * c, 3);
        b.conv_bn("conv3", 4 * c, c, 1);
        continue;
      }
      b.norm("attn.norm", c);
      b.linear("attn.qkv", c, 3 * c);
      b.linear("attn.proj", c, c);
      b.add("attn.attention_biases", {t.heads[at], std::int64_t(t.windows[at]) * t.windows[at]});
      b.norm("mlp.norm", c);
      b.linear("mlp.fc1", c, 4 * c);
      b.linear("mlp.fc2", 4 * c, c);
      b.conv_bn("local_conv", 1, c, 3);
    }
    if (l == 3) break;
    const std::int64_t out = t.dims[at + 1];
    const ShapeList d = e / "layers" / l / "downsample";
    d.conv_bn("conv1", c, out, 1);
    d.conv_bn("conv2", 1, out, 3);
    d.conv_bn("conv3", out, out, 1);
  }
  neck_shapes(e, t.dims[3], n.out_channels);
}

inline void plain_vit_shapes(const ShapeList& e, const NetworkSizes& n) {
  const PlainVitSizes& v = n.plain_vit;
  const std::int64_t c = v.embed_dim;
  e.add("pos_embed", {1, 1 + std::int64_t(v.pos_grid) * v.pos_grid, c});
  e.conv("patch_embed.proj", 3, c, v.patch);
  for (int i = 0; i < v.depth; ++i) {
    const ShapeList b = e / "blocks" / i;
    b.norm("norm1", c);
    b.linear("attn.qkv", c, 3 * c);
    b.linear("attn.proj", c, c);
    b.norm("norm2", c);
    b.linear("mlp.lin1", c, v.mlp_dim);
    b.linear("mlp.lin2", v.mlp_dim, c);
  }
  neck_shapes(e, c, n.out_channels);
}

inline void efficient_vit_shapes(const ShapeList& e, const NetworkSizes& n) {
  const EfficientVitSizes& v = n.efficient_vit;
  const auto stages = stages_of(v.kind);
  const auto fused = [](const ShapeList& b, std::int64_t in, std::int64_t mid, std::int64_t out) {
    b.conv_layer("spatial_conv", in, mid, 3, false, true);
    b.conv_layer("point_conv", mid, out, 1, false, true);
  };
  const auto inverted = [](const ShapeList& b, std::int64_t in, std::int64_t mid, std::int64_t out) {
    b.conv_layer("inverted_conv", in, mid, 1, true, false);
    b.conv_layer("depth_conv", 1, mid, 3, true, false);
    b.conv_layer("point_conv", mid, out, 1, false, true);
  };
  for (std::size_t s = 0; s < stages.size(); ++s) {
    const ShapeList ops = e / "backbone.stages" / int(s) / "op_list";
    const std::int64_t c = v.widths[s], expand = stages[s].expand, before = s ? v.widths[s - 1] : 3;
    if (s == 0) {
      ops.conv_layer("0", 3, c, 3, false, true);
    } else {
      (stages[s].block == EfficientVitStage::fused ? fused(ops / "0.main", before, 4 * expand * before, c) : inverted(ops / "0.main", before, 4 * expand * before, c));
    }
    for (int i = 1; i <= v.depths[s]; ++i) {
      const ShapeList b = ops / i;
      switch (stages[s].block) {
        case EfficientVitStage::res:
          b.conv_layer("main.conv1", c, c, 3, false, true);
          b.conv_layer("main.conv2", c, c, 3, false, true);
          break;
        case EfficientVitStage::fused: fused(b / "main", c, expand * c, c); break;
        case EfficientVitStage::inverted: inverted(b / "main", c, expand * c, c); break;
        case EfficientVitStage::attention: {
          const ShapeList a = b / "context_module.main";
          a.add("qkv.conv.weight", {3 * c, c, 1, 1});
          a.add("aggreg.0.0.weight", {3 * c, 1, stages[s].kernel, stages[s].kernel});
          a.add("aggreg.0.1.weight", {3 * c, EfficientVitSizes::kHead, 1, 1});
          a.conv_layer("proj", 2 * c, c, 1, false, true);
          inverted(b / "local_module.main", c, expand * c, c);
          break;
        }
      }
    }
  }
  for (int i = 0; i < 3; ++i) (e / "neck.input_ops" / i).conv_layer("op_list.0", v.widths[stages.size() - 1 - std::size_t(i)], v.head_width, 1, false, true);
  for (int i = 0; i < v.head_depth; ++i) fused(e / "neck.middle.op_list" / i / "main", v.head_width, std::int64_t(neck_expand_of(v.kind)) * v.head_width, v.head_width);
  e.conv("neck.output_ops.0.op_list.0.conv", v.head_width, n.out_channels, 1);
  e.norm("norm", n.out_channels);
}

inline void rep_vit_shapes(const ShapeList& e, const NetworkSizes& n) {
  const RepVitSizes& v = n.rep_vit;
  const ShapeList f = e / "features";
  f.conv_bn("0.0", 3, v.widths[0] / 2, 3);
  f.conv_bn("0.2", v.widths[0] / 2, v.widths[0], 3);
  int block = 0;
  for (std::size_t s = 0; s < 4; ++s)
    for (int i = 0; i < v.depths[s]; ++i, ++block) {
      const ShapeList b = f / (block + 1);
      const bool halves = s > 0 && i == 0;
      const std::int64_t c = v.widths[s], before = halves ? v.widths[s - 1] : c, hidden = se_hidden(int(before));
      b.conv_bn(halves ? "token_mixer.0" : "token_mixer.0.conv", 1, before, 3);
      if (!halves) b.conv_bn("token_mixer.0.conv1", 1, c, 1);
      if (std::find(v.se_blocks.begin(), v.se_blocks.end(), block) != v.se_blocks.end()) {
        b.conv("token_mixer.1.fc1", before, hidden, 1);
        b.conv("token_mixer.1.fc2", hidden, before, 1);
      }
      if (halves) b.conv_bn("token_mixer.2", before, c, 1);
      b.conv_bn("channel_mixer.m.0", c, 2 * c, 1);
      b.conv_bn("channel_mixer.m.2", 2 * c, c, 1);
    }
  e.add("fuse_stage2.weight", {n.out_channels, v.widths[2], 1, 1});
  e.add("fuse_stage3.op_list.0.weight", {n.out_channels, v.widths[3], 1, 1});
  neck_shapes(e, n.out_channels, n.out_channels);
}

}  // namespace detail

}  // namespace sampan::inline SAMPAN_ABI::weights
