// identify(): family and sizes of a checkpoint from its tensor shapes alone.
// Data flow: key-mapped names and shapes (weights/key_map.hpp) -> here -> base_contract (weights/family.hpp). A converted file says it itself in its contract.
// SAM, also with three axes (SAM-Med3D): width, depth, heads, MLP width, input size and global blocks are free. TinyViT: layer widths, depths, heads, windows; the stem tells the input size.
// Deliberately absent: resampling of position tables; a file whose tables disagree with each other is an error, not something to repair.
#pragma once
#include <sampan/weights/family.hpp>
#include <sampan/weights/network_shapes.hpp>

namespace sampan::inline SAMPAN_ABI::weights {

struct Identified {
  const FamilyRow* family = nullptr;  ///< the base family of these shapes
  NetworkSizes sizes;
  std::string twins;  ///< empty, or one sentence about checkpoints of the same shapes
};

namespace detail {

/// Names and shapes with a lookup, and extents as bounded ints.
class ShapeIndex {
 public:
  explicit ShapeIndex(const std::vector<TensorShape>& rows) {
    for (const TensorShape& r : rows) rows_.push_back(&r);
    std::sort(rows_.begin(), rows_.end(), [](const TensorShape* a, const TensorShape* b) { return a->name < b->name; });
  }
  const Shape* find(std::string_view name) const {
    const auto it = std::lower_bound(rows_.begin(), rows_.end(), name, [](const TensorShape* r, std::string_view n) { return r->name < n; });
    return it != rows_.end() && (*it)->name == name ? &(*it)->shape : nullptr;
  }
  bool has(std::string_view name) const { return find(name) != nullptr; }
  /// Number of i = 0, 1, 2, ... for which prefix + i + suffix exists; at most 1000.
  int count(std::string_view prefix, std::string_view suffix) const {
    int i = 0;
    while (i < 1000 && has(cat(prefix, i, suffix))) ++i;
    return i;
  }
  /// Extent `axis` of a tensor with `rank` axes, in 1..65536. Error{bad_model}.
  Result<int> extent(std::string_view name, std::size_t rank, std::size_t axis) const {
    const Shape* s = find(name);
    if (!s) return Error(ErrorCode::bad_model, cat("tensor ", name, " is missing"));
    if (s->size() != rank) return Error(ErrorCode::bad_model, cat("tensor ", name, " is ", to_string(*s), ", ", rank, " axes are needed"));
    if ((*s)[axis] < 1 || (*s)[axis] > 65536) return Error(ErrorCode::bad_model, cat("tensor ", name, " is ", to_string(*s), ", extents from 1 to 65536 are supported"));
    return static_cast<int>((*s)[axis]);
  }

 private:
  std::vector<const TensorShape*> rows_;
};

inline Status identify_sam_vit(const ShapeIndex& in, NetworkSizes& n) {
  const std::string e = "image_encoder.";
  SamVitSizes& v = n.sam_vit;
  const std::size_t rank = is_volume(n.encoder) ? 5 : 4;
  SAMPAN_TRY(grid, in.extent(e + "pos_embed", rank, 1));
  SAMPAN_TRY(grid_w, in.extent(e + "pos_embed", rank, rank - 2));
  SAMPAN_TRY(width, in.extent(e + "pos_embed", rank, rank - 1));
  SAMPAN_TRY(patch, in.extent(e + "patch_embed.proj.weight", rank, 2));
  SAMPAN_TRY(head, in.extent(e + "blocks.0.attn.rel_pos_h", 2, 1));
  SAMPAN_TRY(mlp, in.extent(e + "blocks.0.mlp.lin1.weight", 2, 0));
  if (grid != grid_w) return Error(ErrorCode::bad_model, cat("image_encoder.pos_embed is ", grid, "x", grid_w, ", only square inputs are supported"));  // of volumes the last axis; check_complete() compares all of them
  if (grid > 512 || patch > 256) return Error(ErrorCode::bad_model, cat("image_encoder: a grid of ", grid, " and patches of ", patch, " px, at most 512 and 256 are supported"));
  if (width % head != 0) return Error(ErrorCode::bad_model, cat("image_encoder: width ", width, " is not a multiple of the head size ", head, " of rel_pos_h"));
  const bool branch = in.has(e + "cnn_embed.inc.conv.0.weight");  // SAMUS: a table of another grid, kernels twice as wide as their stride
  if (branch) {
    v.pos_grid = grid;
    grid >>= std::min(in.count(e + "post_pos_embed.downs.", ".maxpool_conv.1.weight"), 9);
    patch = 8;
  }
  n.grid = grid;
  n.image_size = grid * patch;
  v.patch = patch, v.embed_dim = width, v.heads = width / head, v.mlp_dim = mlp;
  v.depth = in.count(e + "blocks.", ".norm1.weight");
  // A block is global if its tables span the grid, 2g - 1 rows; the others share one window: 2w - 1 rows.
  for (int i = 0; i < v.depth; ++i) {
    const std::string name = cat(e, "blocks.", i, ".attn.rel_pos_h");
    SAMPAN_TRY(rows, in.extent(name, 2, 0));
    if (rows == 2 * grid - 1) {
      v.global_blocks.push_back(i);
      continue;
    }
    const int window = (rows + 1) / 2;
    // 14 is SAM's window and may exceed a small grid (it is padded then); any other table larger than the grid was made for another input size.
    const bool fits = rows % 2 == 1 && (window <= grid || window == 14) && (v.window == 0 || v.window == window);
    if (!fits)
      return Error(ErrorCode::bad_model, cat("tensor ", name, " has ", rows, " rows, but pos_embed is ", grid, "x", grid, ": a global block needs ", 2 * grid - 1, " rows, a windowed one ",
                                             2 * (v.window ? v.window : 14) - 1, "; the position tables of this file belong to different input sizes"));
    v.window = window;
  }
  if (v.window == 0) v.window = 14;  // every block is global: no window is used
  if (branch) {
    SAMPAN_TRY(hidden, in.extent(e + "input_Adapter.D_fc1.weight", 2, 0));
    v.hook = HookKind::side_branch;
    v.hook_hidden = hidden;
    v.hook_blocks = v.global_blocks;
    return {};
  }
  if (in.has(e + "prompt_generator.shared_mlp.weight")) {
    SAMPAN_TRY(hidden, in.extent(e + "prompt_generator.shared_mlp.weight", 2, 1));
    v.hook = HookKind::frequency_prompt;
    v.hook_hidden = hidden;
    for (int i = 0; i < v.depth; ++i) v.hook_blocks.push_back(i);
    return {};
  }
  for (int i = 0; i < v.depth; ++i) {
    const std::string b = cat(e, "blocks.", i, ".");
    const bool conv = in.has(b + "Adapter.channel.0.weight"), bottleneck = in.has(b + "MLP_Adapter.D_fc1.weight");
    if (!conv && !bottleneck) continue;
    SAMPAN_TRY(hidden, in.extent(b + (conv ? "Adapter.channel.0.weight" : "MLP_Adapter.D_fc1.weight"), 2, 0));
    v.hook = conv ? HookKind::conv_adapter : HookKind::bottleneck;  // a file that mixes them has surplus tensors for check_complete()
    v.hook_hidden = hidden;
    v.hook_blocks.push_back(i);
  }
  return {};
}

inline Status identify_tiny_vit(const ShapeIndex& in, NetworkSizes& n) {
  const std::string e = "image_encoder.";
  TinyVitSizes& t = n.tiny_vit;
  SAMPAN_TRY(kernel, in.extent(e + "patch_embed.seq.0.c.weight", 4, 2));
  if (kernel != 1 && kernel != 3) return Error(ErrorCode::bad_model, cat("image_encoder.patch_embed.seq.0.c has a ", kernel, "x", kernel, " kernel, 3x3 (MobileSAM) or 1x1 (LiteMedSAM) is known"));
  t.stem = kernel == 3 ? TinyStem::conv3x3_stride2 : TinyStem::conv1x1_stride1;
  t.heads[0] = 2, t.windows[0] = 7;  // layer 0 has no attention; the published configurations carry these values
  for (int l = 0; l < 4; ++l) {
    const std::size_t at = static_cast<std::size_t>(l);
    const std::string blocks = cat(e, "layers.", l, ".blocks.");
    t.depths[at] = in.count(blocks, l == 0 ? ".conv1.c.weight" : ".attn.qkv.weight");
    if (l == 0) {
      SAMPAN_TRY(c, in.extent(blocks + "0.conv1.c.weight", 4, 1));
      t.dims[0] = c;
    } else {
      SAMPAN_TRY(c, in.extent(blocks + "0.attn.qkv.weight", 2, 1));
      SAMPAN_TRY(heads, in.extent(blocks + "0.attn.attention_biases", 2, 0));
      SAMPAN_TRY(offsets, in.extent(blocks + "0.attn.attention_biases", 2, 1));
      int window = 1;
      while (window * window < offsets) ++window;
      if (window * window != offsets) return Error(ErrorCode::bad_model, cat("tensor ", blocks, "0.attn.attention_biases has ", offsets, " columns, a square number is needed"));
      t.dims[at] = c, t.heads[at] = heads, t.windows[at] = window;
      // TinyViT's rule for its downsampling: the widths 320, 448 and 576 of its last stage keep the resolution.
      t.strides[at - 1] = c == 320 || c == 448 || c == 576 ? 1 : 2;
    }
  }
  // Convolutions fit any size; the published inputs are these, and the embedding is 64x64 in both with TinyViT-5M's strides.
  n.image_size = t.stem == TinyStem::conv3x3_stride2 ? 1024 : 256;
  n.grid = 256;
  for (int s : t.strides) n.grid /= s;
  return {};
}

/// EfficientSAM. Nothing in the file tells heads and input size: the published widths have heads of 64 and inputs of 1024 px.
inline Status identify_plain_vit(const ShapeIndex& in, NetworkSizes& n) {
  const std::string e = "image_encoder.";
  PlainVitSizes& v = n.plain_vit;
  SAMPAN_TRY(rows, in.extent(e + "pos_embed", 3, 1));
  SAMPAN_TRY(width, in.extent(e + "pos_embed", 3, 2));
  SAMPAN_TRY(patch, in.extent(e + "patch_embed.proj.weight", 4, 2));
  SAMPAN_TRY(mlp, in.extent(e + "blocks.0.mlp.lin1.weight", 2, 0));
  int side = 1;
  while (side * side < rows - 1) ++side;
  if (side * side + 1 != rows) return Error(ErrorCode::bad_model, cat("image_encoder.pos_embed has ", rows, " rows, a class token and a square grid are needed"));
  if (width % 64 != 0 || patch > 256 || 1024 % patch != 0) return Error(ErrorCode::bad_model, cat("image_encoder: a width of ", width, " and patches of ", patch, " px; multiples of 64 and divisors of 1024 are supported"));
  v = {patch, width, in.count(e + "blocks.", ".norm1.weight"), width / 64, mlp, side};
  n.image_size = 1024;
  n.grid = 1024 / patch;
  n.decoder = DecoderKind::efficient_sam;
  return {};
}

/// EfficientViT-SAM. The number of stages tells the kind, and the kind the input's size: 512 or 1024 px, prompts in 1024 px.
inline Status identify_efficient_vit(const ShapeIndex& in, NetworkSizes& n) {
  const std::string stages = "image_encoder.backbone.stages.", middle = "image_encoder.neck.middle.op_list.";
  EfficientVitSizes& v = n.efficient_vit;
  v.kind = in.has(stages + "5.op_list.0.main.point_conv.conv.weight") ? EfficientVitKind::extra_large : EfficientVitKind::large;
  const auto blocks = stages_of(v.kind);
  for (std::size_t s = 0; s < blocks.size(); ++s) {
    const std::string ops = cat(stages, s, ".op_list.");
    SAMPAN_TRY(width, in.extent(ops + (s == 0 ? "0.conv.weight" : "0.main.point_conv.conv.weight"), 4, 0));
    const bool attention = blocks[s].block == EfficientVitStage::attention;
    const char* telling = s == 0 ? ".main.conv1.conv.weight" : attention ? ".context_module.main.qkv.conv.weight" : ".main.point_conv.conv.weight";
    int depth = 0;
    while (depth < 64 && in.has(cat(ops, depth + 1, telling))) ++depth;
    v.widths.push_back(width);
    v.depths.push_back(depth);
  }
  SAMPAN_TRY(head, in.extent("image_encoder.neck.input_ops.0.op_list.0.conv.weight", 4, 0));
  v.head_width = head;
  v.head_depth = in.count(middle, ".main.spatial_conv.conv.weight");
  n.image_size = v.kind == EfficientVitKind::large ? 512 : 1024;
  n.prompt_size = v.kind == EfficientVitKind::large ? 1024 : 0;
  n.grid = 64;
  return {};
}

/// EdgeSAM. A block that halves the map has a third part in its token mixer. Its input is 1024 px.
inline Status identify_rep_vit(const ShapeIndex& in, NetworkSizes& n) {
  RepVitSizes& v = n.rep_vit;
  std::size_t stage = 0;
  for (int i = 0; i < 256; ++i) {
    const std::string b = cat("image_encoder.features.", i + 1, ".");
    if (!in.has(b + "channel_mixer.m.2.c.weight")) break;
    SAMPAN_TRY(width, in.extent(b + "channel_mixer.m.2.c.weight", 4, 0));
    if (in.has(b + "token_mixer.2.c.weight") && ++stage > 3) return Error(ErrorCode::bad_model, cat("image_encoder.features.", i + 1, " halves the map a fourth time, three times are supported"));
    v.widths[stage] = width;
    ++v.depths[stage];
    if (in.has(b + "token_mixer.1.fc1.weight")) v.se_blocks.push_back(i);
  }
  if (stage < 3) return Error(ErrorCode::bad_model, cat("image_encoder.features halves the map ", stage, " times, three times are needed"));
  n.image_size = 1024;
  n.grid = 64;
  return {};
}

}  // namespace detail

namespace detail {
/// AutoSAM's linear and CNN heads; the encoder's sizes are known.
inline Status identify_plain_head(const ShapeIndex& in, NetworkSizes& n) {
  const std::string m = "mask_decoder.";
  const bool cnn = in.has(m + "input_block.0.weight");
  SAMPAN_TRY(channels, in.extent("image_encoder.neck.0.weight", 4, 0));
  SAMPAN_TRY(classes, in.extent(m + (cnn ? "final.1.weight" : "final.2.weight"), 4, 0));
  n.decoder = cnn ? DecoderKind::plain_cnn : DecoderKind::plain_linear;
  n.prompt_source = PromptSource::nothing;
  n.out_channels = channels, n.mask_tokens = classes;
  if (!cnn) return {};
  SAMPAN_TRY(top, in.extent(m + "final.0.weight", 4, 0));
  n.plain_width = top, n.plain_depth = in.count(m + "blocks.", ".0.weight");
  return {};
}
}  // namespace detail

/// `rows` holds all tensors of the checkpoint in PyTorch's (Meta's) names. On success every tensor was checked: none missing, none surplus, each of right shape.
/// Error{bad_model} names the tensor that does not fit.
inline Result<Identified> identify(const std::vector<TensorShape>& rows) {
  const detail::ShapeIndex in(rows);
  Identified r;
  NetworkSizes& n = r.sizes;
  if (in.has("image_encoder.patch_embed.seq.0.c.weight")) {
    n.encoder = EncoderKind::tiny_vit;
    SAMPAN_CHECK(detail::identify_tiny_vit(in, n));
  } else if (in.has("image_encoder.backbone.stages.0.op_list.0.conv.weight")) {
    n.encoder = EncoderKind::efficient_vit;
    SAMPAN_CHECK(detail::identify_efficient_vit(in, n));
  } else if (in.has("image_encoder.features.0.0.c.weight")) {
    n.encoder = EncoderKind::rep_vit;
    SAMPAN_CHECK(detail::identify_rep_vit(in, n));
  } else if (in.has("image_encoder.pos_embed") && in.find("image_encoder.pos_embed")->size() == 3 && !in.has("prompt_encoder.no_mask_embed.weight")) {
    n.encoder = EncoderKind::plain_vit;
    SAMPAN_CHECK(detail::identify_plain_vit(in, n));
  } else if (in.has("image_encoder.pos_embed")) {
    n.encoder = in.has("image_encoder.blocks.0.attn.rel_pos_d") ? EncoderKind::sam_vit_3d : EncoderKind::sam_vit;
    SAMPAN_CHECK(detail::identify_sam_vit(in, n));
  } else {
    return Error(ErrorCode::bad_model, "neither image_encoder.pos_embed (SAM) nor image_encoder.patch_embed.seq.0.c.weight (TinyViT) is among the tensors");
  }
  if (n.encoder == EncoderKind::sam_vit && (in.has("mask_decoder.input_block.0.weight") || in.has("mask_decoder.final.2.weight"))) {
    SAMPAN_CHECK(detail::identify_plain_head(in, n));
    SAMPAN_CHECK(check_sizes(n));
    SAMPAN_CHECK(check_complete(rows, n));
    r.family = find_family(n.decoder == DecoderKind::plain_cnn ? "autosam_cnn" : "autosam_linear");
    return r;
  }
  const bool one_norm = n.encoder == EncoderKind::efficient_vit;  // its neck ends in a norm of its own
  SAMPAN_TRY(channels, in.extent(one_norm ? "image_encoder.norm.weight" : "image_encoder.neck.0.weight", one_norm ? 1 : is_volume(n.encoder) ? 5 : 4, 0));
  SAMPAN_TRY(mlp, in.extent("mask_decoder.transformer.layers.0.mlp.lin1.weight", 2, 0));
  SAMPAN_TRY(hidden, in.extent("mask_decoder.iou_prediction_head.layers.0.weight", 2, 0));
  SAMPAN_TRY(tokens, in.extent("mask_decoder.mask_tokens.weight", 2, 0));
  n.out_channels = channels, n.decoder_mlp = mlp, n.iou_hidden = hidden;
  for (int l = 0; l < NetworkSizes::kDecoderDepth; ++l) {
    const std::string adapter = cat("mask_decoder.transformer.layers.", l, ".MLP_Adapter.D_fc1.weight");
    if (!in.has(adapter)) break;
    SAMPAN_TRY(width, in.extent(adapter, 2, 0));
    n.decoder_hook = width, n.decoder_hook_layers = l + 1;
  }
  if (n.encoder == EncoderKind::sam_vit && !in.has("prompt_encoder.not_a_point_embed.weight")) n.prompt_source = in.has("prompt_encoder.no_mask_embed.weight") ? PromptSource::no_mask : PromptSource::positions;
  if (in.has("prompt_generator.object_token")) {
    SAMPAN_TRY(objects, in.extent("prompt_generator.object_token", 3, 1));
    n.prompt_source = PromptSource::generator, n.object_tokens = objects;
  }
  const bool bottlenecks = n.decoder_hook != 0 || (n.encoder == EncoderKind::sam_vit && n.sam_vit.hook == HookKind::bottleneck && tokens != 4);
  if (in.has("mask_decoder.hf_token.weight")) n.decoder = DecoderKind::hq;
  else if (in.has("mask_decoder2.mask_tokens.weight")) n.decoder = DecoderKind::guided;
  else if (in.has("mask_decoder.pimm.seg_outputs.1.weight")) n.decoder = DecoderKind::decoupled;
  else if (n.prompt_source == PromptSource::positions) {
    SAMPAN_TRY(sets, in.extent("mask_decoder.iou_token.weight", 2, 0));
    n.decoder = DecoderKind::class_sets, n.class_sets = sets;
  } else if (bottlenecks) n.decoder = DecoderKind::later_classes;
  else if (tokens != 4) n.decoder = n.encoder == EncoderKind::tiny_vit ? DecoderKind::later_classes : DecoderKind::classes;
  n.mask_tokens = n.class_sets ? tokens / n.class_sets : tokens;
  SAMPAN_CHECK(check_sizes(n));
  if (n.decoder == DecoderKind::guided) {
    SAMPAN_TRY(features, in.extent("mask_decoder2.norm1.weight", 1, 0));
    if (n.grid == 32 && features == 196) return Error(ErrorCode::bad_model, "H-SAM for 512 px of an older revision: its layers among class features (mask_decoder2.norm1) are 196 wide, and its code reads memory that it never wrote; the published revision has 1024");
  }
  SAMPAN_CHECK(check_complete(rows, n));
  if (n.decoder == DecoderKind::class_sets) {
    r.family = find_family("autosam");
  } else if (n.decoder == DecoderKind::later_classes) {
    const bool tiny = n.encoder == EncoderKind::tiny_vit && n.tiny_vit.stem == TinyStem::conv3x3_stride2;
    if (n.encoder != EncoderKind::sam_vit && !tiny) return Error(ErrorCode::bad_model, cat("a decoder of classes (", tokens, " mask tokens) is supported behind SAM's ViT and MobileSAM's encoder; this one is of kind ", to_text(n.encoder), n.encoder == EncoderKind::tiny_vit ? " with another stem" : ""));
    r.family = find_family(tiny ? "finetune_sam_tiny" : "finetune_sam");
    if (n.mask_tokens == 4) r.twins = cat("three classes with finetune-SAM's image path; give --family ", tiny ? "mobile_sam" : "sam", " if the file was trained with prompts");
  } else if (n.decoder == DecoderKind::classes) {
    if (n.encoder != EncoderKind::sam_vit) return Error(ErrorCode::bad_model, cat("mask_decoder.mask_tokens has ", tokens, " rows, one per class; with an encoder of kind ", to_text(n.encoder), " 4 are supported"));
    r.family = find_family("samed");
    r.twins = cat("one token per class, ", tokens - 1, " and background, with SAMed's image path; finetune-SAM without adapters has the same shapes and one class less: give --family finetune_sam if this is one");
  } else if (n.decoder == DecoderKind::guided) {
    r.family = find_family("hsam");
  } else if (n.decoder == DecoderKind::decoupled) {
    r.family = find_family("desam");
  } else if (n.decoder == DecoderKind::hq) {
    r.family = find_family(n.encoder == EncoderKind::sam_vit ? "sam_hq" : "sam_hq_tiny");
  } else if (n.encoder == EncoderKind::sam_vit) {
    r.family = find_family(n.sam_vit.hook == HookKind::frequency_prompt ? "sam_adapter" : n.prompt_source == PromptSource::generator ? "autosamus" : n.sam_vit.hook == HookKind::side_branch ? "samus" : n.sam_vit.hook == HookKind::conv_adapter ? "sam_med2d" : "sam");
    if (n.sam_vit.hook == HookKind::conv_adapter) {
      r.twins = "the predictor's image path; give --family sam_med2d_eval for the one of its evaluation script (BGR, small images centred)";
    } else if (n.sam_vit.embed_dim == 768 && n.sam_vit.depth == 12 && n.image_size == 1024) r.twins = "MedSAM and ScribblePrompt-SAM have the same shapes: give --family medsam or scribbleprompt if this is one of them";
    else if (n.sam_vit.embed_dim == 768 && n.image_size == 256) r.twins = "SAM-Med2D without adapters has the same shapes: give --family sam_med2d if this is one";
  } else if (n.encoder == EncoderKind::plain_vit) {
    r.family = find_family("efficient_sam");
  } else if (n.encoder == EncoderKind::efficient_vit) {
    r.family = find_family("efficientvit_sam");
  } else if (n.encoder == EncoderKind::rep_vit) {
    r.family = find_family("edge_sam");
  } else if (is_volume(n.encoder)) {
    r.family = find_family("sam_med3d");
  } else if (n.tiny_vit.stem == TinyStem::conv1x1_stride1) {
    r.family = find_family("lite_medsam");
  } else {
    r.family = find_family("mobile_sam");
    r.twins = "TinySAM has the same shapes: give --family tiny_sam if this is it";
  }
  return r;
}

}  // namespace sampan::inline SAMPAN_ABI::weights
