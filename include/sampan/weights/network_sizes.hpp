// Sizes of every supported network, as types: which encoder and decoder, how wide and deep, what fine-tunes put between; and the relations between them.
// Data flow: weights/identify.hpp reads them from shapes, weights/contract.hpp from the record -> weights/network_shapes.hpp, models/any_model.hpp.
// Shapes and units: tokens, channels and pixels as each field says. Deliberately absent: what no size says (eps, image and prompt rules: weights/contract.hpp).
#pragma once
#include <sampan/core/error.hpp>

#include <algorithm>
#include <array>
#include <vector>

namespace sampan::inline SAMPAN_ABI::weights {

// Each enum's texts stand in its order in Names below; they are the words in the file.
enum class EncoderKind {
  sam_vit,
  tiny_vit,
  plain_vit,      ///< EfficientSAM: every block global, no relative positions
  efficient_vit,  ///< EfficientViT-SAM: convolutions and linear attention
  rep_vit,        ///< EdgeSAM: convolutions
  sam_vit_3d,     ///< SAM's ViT with three axes, and decoder likewise: volumes instead of images (SAM-Med3D)
};
constexpr bool is_volume(EncoderKind e) { return e == EncoderKind::sam_vit_3d; }
/// How the mask decoder works and what it gives (models/mask_decoder.hpp).
enum class DecoderKind {
  sam,            ///< mask 0, or masks 1..3
  hq,             ///< SAM-HQ: to each of them the mask of its own token is added (models/hq_head.hpp)
  classes,        ///< SAMed: one token per class, background first; no prompts, a class for each pixel
  efficient_sam,  ///< six tokens always, GELU, self-attention with a residual everywhere, a norm over whole maps (nn/two_way_transformer.hpp, models/mask_decoder.hpp)
  later_classes,  ///< finetune-SAM: one token per class behind SAM's token 0, which is not asked; no prompts
  class_sets,     ///< AutoSAM: for each class its own IoU and mask tokens, of which the first mask counts, decoded as a batch; no prompts
  decoupled,      ///< DeSAM: a U-Net over maps of the encoder makes the one mask, SAM's tokens give its IoU (models/pimm_head.hpp)
  guided,         ///< H-SAM: as classes, and a second decoder under the guidance of the first one's masks; logits of the input's size (models/guided_head.hpp)
  plain_linear,   ///< AutoSAM's linear head: convolutions on the embedding, mask_tokens of them one per class (models/plain_head.hpp)
  plain_cnn,      ///< AutoSAM's CNN head, likewise
};
constexpr bool is_plain(DecoderKind d) { return d == DecoderKind::plain_linear || d == DecoderKind::plain_cnn; }
constexpr bool gives_classes(DecoderKind d) { return d == DecoderKind::classes || d == DecoderKind::later_classes || d == DecoderKind::class_sets || d == DecoderKind::guided || is_plain(d); }
/// What stands before the mask decoder beside the image (models/prompt_encoder.hpp).
enum class PromptSource {
  clicks,     ///< SAM's prompt encoder: points, boxes, masks, or none of them
  no_mask,    ///< SAM-Adapter: no_mask_embed alone
  positions,  ///< AutoSAM: nothing but the positions of the grid
  generator,  ///< AutoSAMUS: a token, and another embedding, made from the image (nn/prompt_generator.hpp)
  nothing,    ///< AutoSAM's linear and CNN heads: the embedding alone
};
enum class TinyStem {
  conv3x3_stride2,  ///< two 3x3 convolutions with stride 2 (MobileSAM): image / 4
  conv1x1_stride1,  ///< two 1x1 convolutions (LiteMedSAM): the image's own resolution
};
enum class EfficientVitKind {
  large,        ///< five stages; L0, L1, L2
  extra_large,  ///< six; XL0, XL1
};
/// What stands beside the blocks of a SAM ViT (nn/block_hooks.hpp).
enum class HookKind {
  none,
  conv_adapter,  ///< SAM-Med2D: channel gate and two strided convolutions beside the MLP
  bottleneck,    ///< finetune-SAM, Medical SAM Adapter: a bottleneck behind the attention, another at half weight beside the MLP
  frequency_prompt,  ///< SAM-Adapter: before every block a prompt from patches and high frequencies of the image (nn/frequency_prompt.hpp)
  side_branch,       ///< SAMUS: global blocks attend to a branch of convolutions and have a bottleneck beside the MLP (nn/side_branch.hpp); patches overlap, positions are learned
};
enum class WindowPads {
  after_norm,   ///< windows are cut from the normed map: a missing token is zero (SAM)
  before_norm,  ///< from the map itself: a missing token becomes the norm's bias (Medical SAM Adapter)
};

namespace detail {
template <class E>
struct Names;
#define SAMPAN_NAMES(E, ...)                                     \
  template <>                                                    \
  struct Names<E> {                                              \
    static constexpr std::string_view kAll[] = {__VA_ARGS__};    \
  }
SAMPAN_NAMES(EncoderKind, "sam_vit", "tiny_vit", "plain_vit", "efficient_vit", "rep_vit", "sam_vit_3d");
SAMPAN_NAMES(EfficientVitKind, "large", "extra_large");
SAMPAN_NAMES(TinyStem, "conv3x3_stride2", "conv1x1_stride1");
SAMPAN_NAMES(HookKind, "none", "conv_adapter", "bottleneck", "frequency_prompt", "side_branch");
SAMPAN_NAMES(DecoderKind, "sam", "hq", "classes", "efficient_sam", "later_classes", "class_sets", "decoupled", "guided", "plain_linear", "plain_cnn");
SAMPAN_NAMES(PromptSource, "clicks", "no_mask", "positions", "generator", "nothing");
SAMPAN_NAMES(WindowPads, "after_norm", "before_norm");
#undef SAMPAN_NAMES
}  // namespace detail

template <class E>
  requires requires { detail::Names<E>::kAll; }
constexpr std::string_view to_text(E e) {
  return detail::Names<E>::kAll[static_cast<std::size_t>(e)];
}

/// SAM's ViT, on images or volumes. head size = embed_dim / heads.
struct SamVitSizes {
  int patch = 0, embed_dim = 0, depth = 0, heads = 0, mlp_dim = 0;
  int window = 0;                  ///< edge of the windowed blocks, in tokens
  std::vector<int> global_blocks;  ///< ascending; all other blocks are windowed
  HookKind hook = HookKind::none;
  int hook_hidden = 0;           ///< width of the hook's bottleneck
  std::vector<int> hook_blocks = {};  ///< ascending; empty without a hook
  WindowPads pads = WindowPads::after_norm;
  int pos_grid = 0;  ///< of the stored position table, with a side_branch; 0: that of the network
  friend bool operator==(const SamVitSizes&, const SamVitSizes&) = default;
};

/// TinyViT: layer 0 is convolutional (MBConv), layers 1..3 attend in windows. Expansion is 4 in MBConv and MLP, local_conv is 3x3, as in every published file.
struct TinyVitSizes {
  TinyStem stem = TinyStem::conv3x3_stride2;
  std::array<int, 4> dims{}, depths{}, heads{}, windows{};  ///< heads[0] and windows[0] are unused and stored as published (2, 7)
  std::array<int, 3> strides{};                             ///< of the downsample behind layers 0..2
  friend bool operator==(const TinyVitSizes&, const TinyVitSizes&) = default;
};

/// EfficientSAM's ViT: every block global, no relative positions, a position table made for another grid, with a class token.
struct PlainVitSizes {
  int patch = 0, embed_dim = 0, depth = 0, heads = 0, mlp_dim = 0;
  int pos_grid = 0;  ///< of the stored table, which has 1 + pos_grid^2 rows
  friend bool operator==(const PlainVitSizes&, const PlainVitSizes&) = default;
};

/// EfficientViT's stages: a block that halves the map, then `depth` residual ones. Everything else follows from the kind (stages_of).
struct EfficientVitSizes {
  EfficientVitKind kind = EfficientVitKind::large;
  std::vector<int> widths, depths;     ///< per stage; stage 0 is a convolution of stride 2 and residual blocks
  int head_width = 0, head_depth = 0;  ///< of the neck
  static constexpr int kHead = 32;     ///< channels of a query, key or value
  friend bool operator==(const EfficientVitSizes&, const EfficientVitSizes&) = default;
};
struct EfficientVitStage {
  enum Block { res, fused, inverted, attention } block;  ///< ResBlock, FusedMBConv, MBConv, LiteMLA with MBConv; the last two have one norm, at their end
  int expand;       ///< of its residual blocks; 4 times that in the first block
  int kernel = 0;   ///< of LiteMLA's second scale
};
inline std::vector<EfficientVitStage> stages_of(EfficientVitKind kind) {
  using S = EfficientVitStage;
  if (kind == EfficientVitKind::large) return {{S::res, 1}, {S::fused, 4}, {S::fused, 4}, {S::inverted, 4}, {S::attention, 6, 5}};
  return {{S::res, 1}, {S::fused, 4}, {S::fused, 4}, {S::fused, 4}, {S::attention, 4, 3}, {S::attention, 6, 3}};
}
/// FusedMBConvs in the neck.
constexpr int neck_expand_of(EfficientVitKind kind) { return kind == EfficientVitKind::large ? 1 : 4; }

/// RepViT as EdgeSAM's encoder: convolutions only, four stages from image / 4 down to / 32; the last two are added at / 16.
struct RepVitSizes {
  std::array<int, 4> widths{}, depths{};  ///< blocks per stage; the first block of stages 1..3 halves the map
  std::vector<int> se_blocks;             ///< ascending, counted over all stages: those with squeeze and excite
  friend bool operator==(const RepVitSizes&, const RepVitSizes&) = default;
};
/// Hidden width of squeeze and excite on c channels: a quarter, rounded to a multiple of 8 (timm's make_divisible).
constexpr int se_hidden(int c) { return std::max(8, (c / 4 + 4) / 8 * 8); }

struct NetworkSizes {
  EncoderKind encoder = EncoderKind::sam_vit;
  int image_size = 0;    ///< edge of the square or cubic model input in pixels or voxels
  int prompt_size = 0;   ///< edge of the frame that prompts and masks live in; 0: image_size (EfficientViT-SAM: 1024 beside an input of 512)
  int grid = 0;          ///< edge of the image embedding in tokens; low-res masks have 4 * grid
  int out_channels = 0;  ///< of the image embedding = width of prompt tokens and decoder
  int decoder_mlp = 0, iou_hidden = 0;  ///< 0 in plain heads
  DecoderKind decoder = DecoderKind::sam;
  int mask_tokens = 4;    ///< 4, but for decoders of classes
  int class_sets = 0;     ///< classes of AutoSAM, each with mask_tokens tokens; 0 in other decoders
  int decoder_hook = 0;   ///< width of finetune-SAM's bottlenecks in the first decoder_hook_layers two-way blocks; 0: none
  int decoder_hook_layers = 0;
  int plain_depth = 0, plain_width = 0;  ///< blocks of a plain_cnn head, and channels behind the last of them; 0 in other decoders
  PromptSource prompt_source = PromptSource::clicks;
  int object_tokens = 0;  ///< of a prompt generator; 0: there is none
  SamVitSizes sam_vit;    ///< used if encoder is sam_vit or sam_vit_3d (without hooks)
  TinyVitSizes tiny_vit;  ///< used if encoder is tiny_vit
  PlainVitSizes plain_vit;  ///< used if encoder is plain_vit
  EfficientVitSizes efficient_vit;  ///< used if encoder is efficient_vit
  RepVitSizes rep_vit;              ///< used if encoder is rep_vit
  int frame_size() const { return prompt_size ? prompt_size : image_size; }
  /// Side of the decoder's logits.
  int low_res() const { return (decoder == DecoderKind::guided ? 16 : 4) * grid; }
  /// Channels, on a map of four times the grid, of what the decoder keeps of an image beside its embedding.
  int detail_channels() const { return decoder == DecoderKind::hq ? out_channels / 8 : decoder == DecoderKind::decoupled ? 7 * out_channels / 16 : 0; }
  /// Classes of a pixel, background included; 0 for networks that give masks.
  int classes() const { return decoder == DecoderKind::classes || decoder == DecoderKind::guided || is_plain(decoder) ? mask_tokens : decoder == DecoderKind::later_classes ? mask_tokens - 1 : class_sets; }
  static constexpr int kDecoderDepth = 2, kDecoderHeads = 8;  ///< the same in every supported family
  friend bool operator==(const NetworkSizes&, const NetworkSizes&) = default;
};

/// What device cuda has no kernel for, in words that follow "has no"; empty: it runs there (precisions apart).
inline std::string lacks_on_cuda(const NetworkSizes& n) {
  const HookKind hook = n.sam_vit.hook;
  if (is_volume(n.encoder)) return "ops of volumes";
  if (n.encoder == EncoderKind::efficient_vit) return "linear attention, nor the tanh form of GELU";
  if (n.encoder == EncoderKind::rep_vit) return "resize_torch_bicubic";
  if (n.decoder == DecoderKind::efficient_sam) return "norm over whole maps (group_norm)";
  if (n.decoder != DecoderKind::sam) return cat("decoder of kind ", to_text(n.decoder));
  if (n.object_tokens != 0) return "prompt generator (nn/prompt_generator.hpp)";
  if (hook == HookKind::frequency_prompt || hook == HookKind::side_branch) return cat(to_text(hook), " (nn/block_hooks.hpp)");
  return {};
}

/// Relations between the sizes that no single field shows. Error{bad_model}.
inline Status check_sizes(const NetworkSizes& n) {
  const auto refuse = [](std::string_view what) { return Error(ErrorCode::bad_model, cat("network sizes: ", what)); };
  if (n.out_channels % 16 != 0) return refuse(cat("out_channels ", n.out_channels, " must be a multiple of 16 (8 decoder heads at half width)"));
  if (n.decoder == DecoderKind::hq && n.encoder != EncoderKind::sam_vit && n.encoder != EncoderKind::tiny_vit) return refuse(cat("a SAM-HQ decoder needs an early map, which an encoder of kind ", to_text(n.encoder), " does not give"));
  if (!gives_classes(n.decoder) && n.mask_tokens != 4) return refuse(cat(n.mask_tokens, " mask tokens: 4 are supported, other numbers in decoders of classes only"));
  if (gives_classes(n.decoder) && (n.classes() < 2 || n.classes() > 256)) return refuse(cat(n.classes(), " classes: 2 to 256 are supported"));
  if ((n.decoder == DecoderKind::class_sets) != (n.class_sets != 0)) return refuse("class_sets and a decoder of that kind go together");
  if ((n.decoder_hook == 0) != (n.decoder_hook_layers == 0) || n.decoder_hook_layers > NetworkSizes::kDecoderDepth) return refuse(cat("decoder_hook and decoder_hook_layers go together, of which there are at most ", NetworkSizes::kDecoderDepth));
  if (n.decoder_hook && n.decoder != DecoderKind::sam && n.decoder != DecoderKind::later_classes) return refuse(cat("a decoder of kind ", to_text(n.decoder), " has no bottlenecks"));
  if (n.decoder == DecoderKind::guided && (n.encoder != EncoderKind::sam_vit || (n.grid != 14 && n.grid != 32) || n.mask_tokens != 9))
    return refuse(cat("H-SAM is supported as published, for 224 and 512 px: a grid of 14 or 32 (", n.grid, ") and 9 classes (", n.mask_tokens, ")"));
  if (is_plain(n.decoder) != (n.prompt_source == PromptSource::nothing)) return refuse("prompt_source nothing and a plain head go together");
  if ((n.decoder == DecoderKind::plain_cnn) != (n.plain_depth != 0 || n.plain_width != 0)) return refuse("plain_depth and plain_width go with a decoder of kind plain_cnn");
  if (n.decoder == DecoderKind::plain_cnn && ((n.plain_depth != 2 && n.plain_depth != 4) || n.plain_width < 1 || n.plain_width > 1024))
    return refuse(cat("AutoSAM's CNN head has ", n.plain_depth, " blocks and ends in ", n.plain_width, " channels; two or four blocks, which give maps of four times the grid, and up to 1024 channels are supported"));
  if (n.decoder == DecoderKind::decoupled && n.encoder != EncoderKind::sam_vit) return refuse(cat("DeSAM's decoder needs maps from inside the encoder, which one of kind ", to_text(n.encoder), " does not give"));
  if ((n.prompt_source == PromptSource::generator) != (n.object_tokens != 0) || (n.object_tokens && (n.decoder != DecoderKind::sam || n.out_channels % 4 != 0))) return refuse("prompt_source generator and object_tokens go together, with SAM's decoder");
  if (n.prompt_source != PromptSource::clicks && n.encoder != EncoderKind::sam_vit) return refuse(cat("an encoder of kind ", to_text(n.encoder), " is supported with prompt_source clicks only"));
  if (is_volume(n.encoder) && n.decoder != DecoderKind::sam) return refuse(cat("a decoder of kind ", to_text(n.decoder), " of volumes is not supported"));
  if (is_volume(n.encoder) && n.out_channels % 3 != 0) return refuse(cat("out_channels ", n.out_channels, " must be a multiple of 3 (sines, cosines, sines of a position)"));
  if (is_volume(n.encoder) && (n.image_size > 512 || n.grid > 64)) return refuse(cat("a volume of edge ", n.image_size, " in a grid of ", n.grid, ", at most 512 and 64 are supported"));
  if (n.encoder == EncoderKind::sam_vit || is_volume(n.encoder)) {
    const SamVitSizes& v = n.sam_vit;
    if (v.patch * n.grid != n.image_size) return refuse(cat("image_size ", n.image_size, " must be patch ", v.patch, " times grid ", n.grid));
    if (v.embed_dim % v.heads != 0) return refuse(cat("embed_dim ", v.embed_dim, " must be a multiple of heads ", v.heads));
    for (std::size_t i = 0; i < v.global_blocks.size(); ++i)
      if (v.global_blocks[i] >= v.depth || (i > 0 && v.global_blocks[i] <= v.global_blocks[i - 1])) return refuse("global_blocks must ascend and stay below depth");
    for (std::size_t i = 0; i < v.hook_blocks.size(); ++i)
      if (v.hook_blocks[i] >= v.depth || (i > 0 && v.hook_blocks[i] <= v.hook_blocks[i - 1])) return refuse("hook_blocks must ascend and stay below depth");
    if ((v.hook == HookKind::none) != v.hook_blocks.empty() || (v.hook == HookKind::none) != (v.hook_hidden == 0)) return refuse("hook, hook_hidden and hook_blocks go together");
    if ((v.hook == HookKind::side_branch) != (v.pos_grid != 0)) return refuse("hook side_branch and pos_grid go together");
    if (v.hook == HookKind::side_branch) {
      int side = v.pos_grid;
      while (side > n.grid && side % 2 == 0) side /= 2;
      if (v.patch != 8 || side != n.grid) return refuse(cat("a side branch needs patches of 8 px (", v.patch, ") and a position table of ", n.grid, " times a power of two (", v.pos_grid, ")"));
      if (v.hook_blocks != v.global_blocks) return refuse("a side branch belongs to every global block and to no other");
    }
    if (v.hook == HookKind::frequency_prompt && int(v.hook_blocks.size()) != v.depth) return refuse("a frequency prompt stands before every block");
    if (n.decoder == DecoderKind::decoupled && (v.global_blocks.size() != 4 || n.out_channels % 64 != 0))
      return refuse(cat("DeSAM's decoder takes the maps behind the first three of four global blocks, and out_channels in multiples of 64; there are ", v.global_blocks.size(), " and ", n.out_channels));
    if (n.decoder == DecoderKind::hq && v.global_blocks.empty()) return refuse("a SAM-HQ decoder takes the map behind the first global block, and there is none");
    if (is_volume(n.encoder) && (v.hook != HookKind::none || v.pads != WindowPads::after_norm)) return refuse("volumes have neither hooks nor windows before the norm");
    if (v.hook == HookKind::conv_adapter && n.grid % 2 != 0) return refuse(cat("a convolutional adapter halves the grid, ", n.grid, " is odd"));
    return {};
  }
  if (n.encoder == EncoderKind::plain_vit) {
    const PlainVitSizes& v = n.plain_vit;
    if (v.patch * n.grid != n.image_size) return refuse(cat("image_size ", n.image_size, " must be patch ", v.patch, " times grid ", n.grid));
    if (v.embed_dim % v.heads != 0) return refuse(cat("embed_dim ", v.embed_dim, " must be a multiple of heads ", v.heads));
    return {};
  }
  if (n.encoder == EncoderKind::efficient_vit) {
    const EfficientVitSizes& v = n.efficient_vit;
    const auto stages = stages_of(v.kind);
    if (v.widths.size() != stages.size() || v.depths.size() != stages.size()) return refuse(cat("widths and depths must have ", stages.size(), " entries"));
    for (std::size_t i = 0; i < stages.size(); ++i) {
      if (v.depths[i] < 0 || v.depths[i] > 64) return refuse("depths from 0 to 64 are possible");
      if (stages[i].block == EfficientVitStage::attention && v.widths[i] % EfficientVitSizes::kHead != 0) return refuse(cat("widths of stage ", i, " must be a multiple of ", EfficientVitSizes::kHead));
    }
    const int strides = 1 << stages.size();
    if (n.image_size % strides != 0 || n.image_size * 4 != n.grid * strides) return refuse(cat("an image of ", n.image_size, " px gives no grid of ", n.grid, " with ", stages.size(), " stages"));
    return {};
  }
  if (n.encoder == EncoderKind::rep_vit) {
    const RepVitSizes& v = n.rep_vit;
    int blocks = 0;
    for (int d : v.depths) blocks += d;
    for (std::size_t i = 0; i < v.se_blocks.size(); ++i)
      if (v.se_blocks[i] >= blocks || (i > 0 && v.se_blocks[i] <= v.se_blocks[i - 1])) return refuse(cat("se_blocks must ascend and stay below ", blocks));
    if (n.image_size % 32 != 0 || n.image_size != 16 * n.grid) return refuse(cat("an image of ", n.image_size, " px gives no grid of ", n.grid));
    return {};
  }
  const TinyVitSizes& t = n.tiny_vit;
  int side = t.stem == TinyStem::conv3x3_stride2 ? n.image_size / 4 : n.image_size;
  for (int s : t.strides) side = (side + s - 1) / s;
  if (side != n.grid || (t.stem == TinyStem::conv3x3_stride2 && n.image_size % 4 != 0)) return refuse(cat("an image of ", n.image_size, " px gives a grid of ", side, ", not ", n.grid));
  if (n.decoder == DecoderKind::hq && t.strides[2] != 1) return refuse("a SAM-HQ decoder takes the map behind layer 1, which must have the embedding's grid");
  for (std::size_t i = 1; i < 4; ++i)
    if (t.dims[i] % t.heads[i] != 0) return refuse(cat("dims of layer ", i, " must be a multiple of its heads"));
  return {};
}


}  // namespace sampan::inline SAMPAN_ABI::weights
