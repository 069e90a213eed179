// The complete tensor list (name, shape) of a network of given sizes, in PyTorch's names, and the check of a file against it.
// Data flow: sampan-convert and sampan-verify compare every tensor of a checkpoint with this list; sizes come from weights/identify.hpp or the contract.
// Shapes as PyTorch stores them: Linear [out,in], convolution [out,in/groups,kh,kw], transposed convolution [in,out,kh,kw].
// Source: segment_anything/modeling/*.py; mobile_sam/modeling/tiny_vit_sam.py; MedIM sam_med3d.py. BatchNorm's num_batches_tracked is not part of the list.
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

inline void prompt_encoder_shapes(const ShapeList& p, std::int64_t c, DecoderKind kind, PromptSource source) {
  p.add("pe_layer.positional_encoding_gaussian_matrix", {2, c / 2});
  if (source == PromptSource::no_mask) p.add("no_mask_embed.weight", {1, c});
  if (source == PromptSource::no_mask || source == PromptSource::positions) return;
  const bool efficient = kind == DecoderKind::efficient_sam;  // no background label, no mask input
  for (int i = efficient ? 1 : 0; i < 4; ++i) p.add(cat("point_embeddings.", i, ".weight"), {1, c});
  p.add("not_a_point_embed.weight", {1, c});
  if (efficient) return;
  p.conv("mask_downscaling.0", 1, 4, 2);
  p.norm("mask_downscaling.1", 4);
  p.conv("mask_downscaling.3", 4, 16, 2);
  p.norm("mask_downscaling.4", 16);
  p.conv("mask_downscaling.6", 16, c, 1);
  p.add("no_mask_embed.weight", {1, c});
}

/// Of volumes: two point embeddings only, so no boxes; three blocks of c / 3 in a position's encoding.
inline void prompt_encoder_3d_shapes(const ShapeList& p, std::int64_t c) {
  p.add("pe_layer.positional_encoding_gaussian_matrix", {3, c / 3});
  for (int i = 0; i < 2; ++i) p.add(cat("point_embeddings.", i, ".weight"), {1, c});
  p.add("not_a_point_embed.weight", {1, c});
  p.conv3d("mask_downscaling.0", 1, 4, 2);
  p.norm("mask_downscaling.1", 4);
  p.conv3d("mask_downscaling.3", 4, 16, 2);
  p.norm("mask_downscaling.4", 16);
  p.conv3d("mask_downscaling.6", 16, c, 1);
  p.add("no_mask_embed.weight", {1, c});
}

/// H-SAM's second decoder: sizes of tokens and classes stand in norms and layers that its forward never uses.
inline void guided_shapes(const ShapeList& m, const NetworkSizes& n) {
  const std::int64_t c = n.out_channels, classes = n.mask_tokens, tokens = std::int64_t(n.grid) * n.grid;
  const auto attention = [](const ShapeList& a, std::int64_t width, std::int64_t inner) {
    for (const char* part : {"q_proj", "k_proj", "v_proj"}) a.linear(part, width, inner);
    a.linear("out_proj", inner, width);
  };
  m.add("mask_tokens.weight", {classes, c});
  for (int l = 0; l < NetworkSizes::kDecoderDepth; ++l) {
    const ShapeList b = m / "transformer2.layers" / l;
    attention(b / "self_attn", c, c);
    for (const char* place : {"cross_attn_token_to_image", "cross_attn_image_to_token"}) {
      attention(b / place, c, c);
      (b / place).norm("norm1", tokens);
      (b / place).norm("norm2", classes);
      (b / place).norm("norm3", 1024);
    }
    for (const char* norm : {"norm1", "norm2", "norm3", "norm4"}) b.norm(norm, c);
    b.linear("mlp.lin1", c, n.decoder_mlp);
    b.linear("mlp.lin2", n.decoder_mlp, c);
  }
  attention(m / "transformer2.final_attn_token_to_image", c, c / 2);
  m.norm("transformer2.norm_final_attn", c);
  m.conv_transpose("output_upscaling.0", c, c / 4, 2);
  m.norm("output_upscaling.1", c / 4);
  m.conv_transpose("output_upscaling.3", c / 4, c / 8, 2);
  m.conv_transpose("skip_connect.0", c / 4, c / 8, 2);
  m.norm("skip_connect.1", c / 8);
  m.conv_transpose("skip_connect.3", c / 8, c / 16, 2);
  m.norm("skip_connect.4", c / 16);
  for (int i = 0; i < classes; ++i)
    for (int l = 0; l < 5; ++l) (m / "output_hypernetworks_mlps2" / i / "layers").linear(std::to_string(l), c, l == 4 ? c / 16 : c);
  const ShapeList iou = m / "iou_prediction_head.layers";
  iou.linear("0", c, n.iou_hidden);
  iou.linear("1", n.iou_hidden, n.iou_hidden);
  iou.linear("2", n.iou_hidden, classes);
  attention(m / "self_attn", tokens, tokens);
  attention(m / "self_attn2", tokens, tokens);
  m.norm("norm1", tokens);
  m.norm("norm2", tokens);
  m.linear("mlp.lin1", tokens, n.decoder_mlp);
  m.linear("mlp.lin2", n.decoder_mlp, tokens);
  m.linear("med_sel.0", classes, 1);
}

/// AutoSAMUS: depth 2, 8 heads of 64, an MLP of 1024 in each of its transformers (nn/prompt_generator.hpp).
inline void prompt_generator_shapes(const ShapeList& top, const NetworkSizes& n) {
  const ShapeList p = top / "prompt_generator";
  const std::int64_t c = n.out_channels, inner = 512, mlp = 1024;
  p.add("object_token", {1, n.object_tokens, c});
  for (const char* name : {"cross_token_token", "cross_image_token"})
    for (int l = 0; l < 2; ++l) {
      const ShapeList layer = p / name / "layers" / l;
      for (int k = 0; k < 4; ++k) {
        const ShapeList at = layer / k, f = at / "fn";
        if (k < 2) {
          at.norm("norm1", c);
          at.norm("norm2", c);
          f.add("to_q.weight", {inner, c});
          f.add("to_kv.weight", {2 * inner, c});
          f.linear("to_out.0", inner, c);
        } else {
          at.norm("norm", c);
          f.linear("net.0", c, mlp);
          f.linear("net.3", mlp, c);
        }
      }
    }
  p.linear("token_proj", c, c);
  for (int i = 0; i < 4; ++i) top.conv_norm("feature_adapter", 3 * i, i == 0 ? c : c / 4, i == 3 ? c : c / 4);
}

/// DeSAM's U-Net: blocks of `SqueezeBlock` in models/pimm_head.hpp.
inline void pimm_shapes(const ShapeList& p, std::int64_t c, std::int64_t early) {
  const auto block = [](const ShapeList& b, std::int64_t in, std::int64_t out) {
    b.add("conv1.conv.weight", {out, in, 3, 3});
    b.add("conv2.conv.weight", {out, out, 3, 3});
    b.add("conv3.conv.weight", {out, in, 1, 1});
    b.add("se.fc.0.weight", {out / 16, out});
    b.add("se.fc.2.weight", {out, out / 16});
  };
  for (int d = 0; d < 3; ++d) {
    const ShapeList k = p / "conv_blocks_context" / d;
    const std::int64_t out = c >> d;
    block(k / "block_init", early, out);
    for (int i = 0; i < d; ++i) {
      (k / "residual_block" / i / 0).add("conv.weight", {out, out, 2, 2});
      block(k / "residual_block" / i / 1, out, out);
    }
  }
  for (int u = 0; u < 2; ++u) {
    const ShapeList k = p / "conv_blocks_localization" / u;
    const std::int64_t out = c >> (u + 1);
    (k / "transp_conv").add("conv.weight", {2 * out, out, 2, 2});
    block(k / "res_block", 2 * out, out);
    p.add(cat("seg_outputs.", u, ".weight"), {1, out, 1, 1});
  }
  block(p / "mask_embedding_fusion", 2 * c, c);
}

inline void mask_decoder_shapes(const ShapeList& m, const NetworkSizes& n) {
  const std::int64_t c = n.out_channels;
  const auto attention = [c](const ShapeList& a, std::int64_t inner) {
    for (const char* part : {"q_proj", "k_proj", "v_proj"}) a.linear(part, c, inner);
    a.linear("out_proj", inner, c);
  };
  for (int l = 0; l < NetworkSizes::kDecoderDepth; ++l) {
    const ShapeList b = m / "transformer.layers" / l;
    attention(b / "self_attn", c);
    attention(b / "cross_attn_token_to_image", c / 2);
    attention(b / "cross_attn_image_to_token", c / 2);
    for (const char* norm : {"norm1", "norm2", "norm3", "norm4"}) b.norm(norm, c);
    b.linear("mlp.lin1", c, n.decoder_mlp);
    b.linear("mlp.lin2", n.decoder_mlp, c);
    for (const char* place : {"Adapter", "MLP_Adapter"}) {
      if (l >= n.decoder_hook_layers) break;
      (b / place).linear("D_fc1", c, n.decoder_hook);
      (b / place).linear("D_fc2", n.decoder_hook, c);
    }
  }
  attention(m / "transformer.final_attn_token_to_image", c / 2);
  m.norm("transformer.norm_final_attn", c);
  const int sets = std::max(1, n.class_sets);
  m.add("iou_token.weight", {sets, c});
  m.add("mask_tokens.weight", {sets * n.mask_tokens, c});
  const bool volume = is_volume(n.encoder);
  volume ? m.conv_transpose3d("output_upscaling.0", c, c / 4, 2) : m.conv_transpose("output_upscaling.0", c, c / 4, 2);
  m.norm("output_upscaling.1", c / 4);
  volume ? m.conv_transpose3d("output_upscaling.3", c / 4, c / 8, 2) : m.conv_transpose("output_upscaling.3", c / 4, c / 8, 2);
  const auto mlp = [](const ShapeList& s, std::int64_t in, std::int64_t hidden, std::int64_t out) {
    s.linear("layers.0", in, hidden);
    s.linear("layers.1", hidden, hidden);
    s.linear("layers.2", hidden, out);
  };
  for (int i = 0; i < n.mask_tokens; ++i) mlp(m / "output_hypernetworks_mlps" / i, c, c, c / 8);
  mlp(m / "iou_prediction_head", c, n.iou_hidden, n.mask_tokens);
  if (n.decoder == DecoderKind::decoupled) pimm_shapes(m / "pimm", c, n.sam_vit.embed_dim);
  if (n.decoder != DecoderKind::hq) return;
  const std::int64_t early = n.encoder == EncoderKind::sam_vit ? n.sam_vit.embed_dim : n.tiny_vit.dims[2];
  m.add("hf_token.weight", {1, c});
  mlp(m / "hf_mlp", c, c, c / 8);
  const auto upscale = [c](const ShapeList& s, std::int64_t in, std::int64_t mid) {
    s.conv_transpose("0", in, mid, 2);
    s.norm("1", mid);
    s.conv_transpose("3", mid, c / 8, 2);
  };
  upscale(m / "compress_vit_feat", early, c);
  upscale(m / "embedding_encoder", c, c / 4);
  m.conv("embedding_maskfeature.0", c / 8, c / 4, 3);
  m.norm("embedding_maskfeature.1", c / 4);
  m.conv("embedding_maskfeature.3", c / 4, c / 8, 3);
}

}  // namespace detail

/// Every tensor that a network of these sizes needs, and no other. The sizes must have passed check_sizes().
inline std::vector<TensorShape> expected_tensors(const NetworkSizes& n) {
  std::vector<TensorShape> rows;
  const detail::ShapeList encoder(rows, "image_encoder.");
  switch (n.encoder) {
    case EncoderKind::sam_vit:
    case EncoderKind::sam_vit_3d: detail::sam_vit_shapes(encoder, n); break;
    case EncoderKind::tiny_vit: detail::tiny_vit_shapes(encoder, n); break;
    case EncoderKind::plain_vit: detail::plain_vit_shapes(encoder, n); break;
    case EncoderKind::efficient_vit: detail::efficient_vit_shapes(encoder, n); break;
    case EncoderKind::rep_vit: detail::rep_vit_shapes(encoder, n); break;
  }
  const detail::ShapeList prompts(rows, "prompt_encoder.");
  is_volume(n.encoder) ? detail::prompt_encoder_3d_shapes(prompts, n.out_channels) : detail::prompt_encoder_shapes(prompts, n.out_channels, n.decoder, n.prompt_source);
  detail::mask_decoder_shapes({rows, "mask_decoder."}, n);
  if (n.decoder == DecoderKind::guided) detail::guided_shapes({rows, "mask_decoder2."}, n);
  if (n.object_tokens) detail::prompt_generator_shapes({rows, ""}, n);
  return rows;
}

/// Up to five names and the count: "a, b, c, d, e and 12 more".
inline std::string name_some(const std::vector<std::string>& names) {
  std::string s;
  for (std::size_t i = 0; i < names.size() && i < 5; ++i) s += cat(i ? ", " : "", names[i].substr(0, 200));
  if (names.size() > 5) s += cat(" and ", names.size() - 5, " more");
  return s;
}

/// Missing and surplus tensors and wrong shapes, all kinds in one message. Error{bad_model}.
inline Status check_complete(const std::vector<TensorShape>& have, const NetworkSizes& n) {
  std::vector<TensorShape> want = expected_tensors(n), got = have;
  const auto by_name = [](const TensorShape& a, const TensorShape& b) { return a.name < b.name; };
  std::sort(want.begin(), want.end(), by_name);
  std::sort(got.begin(), got.end(), by_name);
  std::vector<std::string> missing, surplus, wrong;
  std::size_t w = 0, g = 0;
  while (w < want.size() || g < got.size()) {
    if (g == got.size() || (w < want.size() && want[w].name < got[g].name)) {
      missing.push_back(want[w++].name);
    } else if (w == want.size() || got[g].name < want[w].name) {
      surplus.push_back(got[g++].name);
    } else {
      if (want[w].shape != got[g].shape) wrong.push_back(cat(want[w].name, " is ", to_string(got[g].shape), ", expected ", to_string(want[w].shape)));
      ++w, ++g;
    }
  }
  std::string what;
  const auto report = [&what](std::string_view kind, const std::vector<std::string>& names) {
    if (!names.empty()) what += cat(what.empty() ? "" : "; ", names.size(), names.size() == 1 ? " tensor " : " tensors ", kind, ": ", name_some(names));
  };
  report("missing", missing);
  report("of another network", surplus);
  report("of wrong shape", wrong);
  if (what.empty()) return {};
  return Error(ErrorCode::bad_model, what);
}

}  // namespace sampan::inline SAMPAN_ABI::weights
