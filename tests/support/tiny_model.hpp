// Whole models with random weights, small enough to run in milliseconds, and their files as sampan-convert would write them.
// Data flow: a test states sizes -> NetworkSizes -> Contract (the family's row of weights/family.hpp) -> values from support/hashgen.hpp -> a safetensors file.
// tiny_sam(): SAM's ViT of any size; tiny_efficient_sam(): a plain ViT; tiny_efficient_vit(): EfficientViT; tiny_edge_sam(): RepViT; tiny_lite_medsam(), tiny_mobile_sam(): TinyViT with small widths;
// tiny_med3d(): a cube; *_5m(): the published sizes.
// Cost: hashing about 100 M values/s, twice (the contract record holds the digest of the data). Deliberately absent: PyTorch files.
#pragma once
#include "support/hashgen.hpp"

#include <sampan/core/sha256.hpp>
#include <sampan/weights/family.hpp>

#include <functional>

namespace sampan::test {

struct SamConfig {
  int width = 32, depth = 2, heads = 2, image = 128;
  std::vector<int> global_blocks = {1};
  int window = 14;
  int channels = 32, decoder_mlp = 64, iou_hidden = 32;  ///< the decoder; 256, 2048, 256 in every published file
};
inline constexpr int kUsualChannels = 256, kUsualDecoderMlp = 2048, kUsualIouHidden = 256;

inline weights::NetworkSizes sam_sizes(const SamConfig& s) {
  weights::NetworkSizes n;
  n.encoder = weights::EncoderKind::sam_vit;
  n.image_size = s.image;
  n.grid = s.image / 16;
  n.out_channels = s.channels;
  n.decoder_mlp = s.decoder_mlp;
  n.iou_hidden = s.iou_hidden;
  n.sam_vit = {.patch = 16, .embed_dim = s.width, .depth = s.depth, .heads = s.heads, .mlp_dim = 4 * s.width, .window = s.window, .global_blocks = s.global_blocks};
  return n;
}

struct TinyVitConfig {
  weights::TinyStem stem = weights::TinyStem::conv1x1_stride1;
  int image = 64;
  std::array<int, 4> dims{16, 32, 48, 64}, depths{1, 1, 2, 1}, heads{2, 1, 3, 2}, windows{7, 7, 14, 7};
  std::array<int, 3> strides{2, 2, 1};
  int channels = 32, decoder_mlp = 64, iou_hidden = 32;
};
/// TinyViT-5M as published in MobileSAM (1024 px) and LiteMedSAM (256 px): embedding [1, 256, 64, 64].
inline TinyVitConfig tiny_vit_5m(weights::TinyStem stem) {
  const bool wide = stem == weights::TinyStem::conv3x3_stride2;
  return {.stem = stem, .image = wide ? 1024 : 256, .dims = {64, 128, 160, 320}, .depths = {2, 2, 6, 2}, .heads = {2, 4, 5, 10}, .windows = {7, 7, 14, 7}, .strides = {2, 2, 1}, .channels = kUsualChannels,
          .decoder_mlp = kUsualDecoderMlp, .iou_hidden = kUsualIouHidden};
}

inline weights::NetworkSizes tiny_vit_sizes(const TinyVitConfig& t) {
  weights::NetworkSizes n;
  n.encoder = weights::EncoderKind::tiny_vit;
  n.image_size = t.image;
  int side = t.stem == weights::TinyStem::conv3x3_stride2 ? t.image / 4 : t.image;
  for (const int s : t.strides) side = (side + s - 1) / s;
  n.grid = side;
  n.out_channels = t.channels;
  n.decoder_mlp = t.decoder_mlp;
  n.iou_hidden = t.iou_hidden;
  n.tiny_vit = {.stem = t.stem, .dims = t.dims, .depths = t.depths, .heads = t.heads, .windows = t.windows, .strides = t.strides};
  return n;
}

struct PlainVitConfig {
  int width = 64, depth = 2, heads = 2, image = 128, pos_grid = 5;
  int channels = 32, decoder_mlp = 64, iou_hidden = 32;
};
/// EfficientSAM-Ti (192, 3 heads) and -S (384, 6 heads) as published.
inline PlainVitConfig efficient_sam_12(int width) { return {width, 12, width / 64, 1024, 14, kUsualChannels, kUsualDecoderMlp, kUsualIouHidden}; }
inline weights::NetworkSizes plain_vit_sizes(const PlainVitConfig& p) {
  weights::NetworkSizes n;
  n.encoder = weights::EncoderKind::plain_vit;
  n.decoder = weights::DecoderKind::efficient_sam;
  n.image_size = p.image, n.grid = p.image / 16;
  n.out_channels = p.channels, n.decoder_mlp = p.decoder_mlp, n.iou_hidden = p.iou_hidden;
  n.plain_vit = {16, p.width, p.depth, p.heads, 4 * p.width, p.pos_grid};
  return n;
}

struct EfficientVitConfig {
  weights::EfficientVitKind kind = weights::EfficientVitKind::large;
  std::vector<int> widths{8, 12, 16, 24, 32}, depths{1, 1, 1, 1, 1};
  int head_width = 16, head_depth = 1, image = 128, prompt = 256;
  int channels = 32, decoder_mlp = 64, iou_hidden = 32;
};
/// EfficientViT-SAM as published: "L0", "L1", "L2", "XL0", "XL1".
inline EfficientVitConfig efficient_vit_published(std::string_view name) {
  const bool large = name[0] == 'L';
  EfficientVitConfig e{.kind = large ? weights::EfficientVitKind::large : weights::EfficientVitKind::extra_large, .widths = {32, 64, 128, 256, 512}};
  if (!large) e.widths.push_back(1024);
  e.depths = name == "L0" ? std::vector{1, 1, 1, 4, 4} : name == "L1" ? std::vector{1, 1, 1, 6, 6} : name == "L2" ? std::vector{1, 2, 2, 8, 8} : name == "XL0" ? std::vector{0, 1, 1, 2, 3, 3} : std::vector{1, 2, 2, 4, 6, 6};
  e.head_width = 256, e.head_depth = name == "L0" ? 4 : name == "L1" ? 8 : name == "XL0" ? 6 : 12;
  e.image = large ? 512 : 1024, e.prompt = large ? 1024 : 0;
  e.channels = kUsualChannels, e.decoder_mlp = kUsualDecoderMlp, e.iou_hidden = kUsualIouHidden;
  return e;
}
inline weights::NetworkSizes efficient_vit_sizes(const EfficientVitConfig& e) {
  weights::NetworkSizes n;
  n.encoder = weights::EncoderKind::efficient_vit;
  n.image_size = e.image, n.prompt_size = e.prompt, n.grid = (4 * e.image) >> e.widths.size();
  n.out_channels = e.channels, n.decoder_mlp = e.decoder_mlp, n.iou_hidden = e.iou_hidden;
  n.efficient_vit = {e.kind, e.widths, e.depths, e.head_width, e.head_depth};
  return n;
}

struct RepVitConfig {
  std::array<int, 4> widths{8, 16, 24, 32}, depths{2, 2, 3, 2};
  std::vector<int> se_blocks{0, 3, 5};
  int image = 128, channels = 32, decoder_mlp = 64, iou_hidden = 32;
};
/// EdgeSAM as published: RepViT-M1.
inline RepVitConfig edge_sam_published() { return {{48, 96, 192, 384}, {3, 4, 16, 3}, {0, 4, 8, 10, 12, 14, 16, 18, 20, 24}, 1024, kUsualChannels, kUsualDecoderMlp, kUsualIouHidden}; }
inline weights::NetworkSizes rep_vit_sizes(const RepVitConfig& r) {
  weights::NetworkSizes n;
  n.encoder = weights::EncoderKind::rep_vit;
  n.image_size = r.image, n.grid = r.image / 16;
  n.out_channels = r.channels, n.decoder_mlp = r.decoder_mlp, n.iou_hidden = r.iou_hidden;
  n.rep_vit = {r.widths, r.depths, r.se_blocks};
  return n;
}

/// The family's published contract on a network of any size. `family` is a key of weights/family.hpp.
inline weights::Contract random_contract(std::string_view family, const weights::NetworkSizes& n) {
  weights::Contract c = weights::base_contract(*weights::find_family(family), n);
  c.source_file = "random weights";
  c.converter = "tests/support/tiny_model.hpp";
  c.layout = n.encoder == weights::EncoderKind::tiny_vit ? weights::SourceLayout::tiny_vit_sam : weights::SourceLayout::meta_sam;
  return c;
}
inline weights::Contract tiny_sam(const SamConfig& s = {}) { return random_contract("sam", sam_sizes(s)); }
/// SAM's encoder with MedSAM's image, prompt and mask rules.
inline weights::Contract tiny_medsam(const SamConfig& s = {}) { return random_contract("medsam", sam_sizes(s)); }
/// SAM's encoder with SAM-Med2D's adapter in each block; the input of 128 px is larger than small test images, so that the evaluation profile centres them.
inline weights::Contract tiny_med2d(std::string_view family = "sam_med2d", const SamConfig& s = {}) {
  auto n = sam_sizes(s);
  n.sam_vit.hook = weights::HookKind::conv_adapter, n.sam_vit.hook_hidden = 8;
  for (int i = 0; i < s.depth; ++i) n.sam_vit.hook_blocks.push_back(i);
  return random_contract(family, n);
}
/// SAM-HQ's decoder behind SAM's encoder.
inline weights::Contract tiny_sam_hq(const SamConfig& s = {}) {
  auto n = sam_sizes(s);
  n.decoder = weights::DecoderKind::hq;
  return random_contract("sam_hq", n);
}
/// SAM's encoder with a decoder of `classes` tokens, background included.
inline weights::Contract tiny_samed(int classes = 5, const SamConfig& s = {}) {
  auto n = sam_sizes(s);
  n.decoder = weights::DecoderKind::classes, n.mask_tokens = classes;
  return random_contract("samed", n);
}
/// What fine-tunes put into or around SAM's blocks: `family` is hsam, finetune_sam, finetune_sam_tiny, sam_adapter, autosam, autosam_linear, autosam_cnn, desam, samus or autosamus.
inline weights::Contract tiny_finetune(std::string_view family) {
  using namespace weights;
  if (family == "finetune_sam_tiny") {
    auto n = tiny_vit_sizes({.stem = TinyStem::conv3x3_stride2, .image = 128});
    n.decoder = DecoderKind::later_classes, n.mask_tokens = 5, n.decoder_hook = 8, n.decoder_hook_layers = 1;
    return random_contract(family, n);
  }
  const bool wide = family == "desam", ultrasound = family == "samus" || family == "autosamus";
  SamConfig s{.depth = wide ? 4 : 2, .image = family == "hsam" ? 224 : 64, .global_blocks = {1}, .channels = wide ? 64 : 32};
  if (wide) s.global_blocks = {0, 1, 2, 3};
  if (family == "hsam") s.global_blocks = {0, 1};
  auto n = sam_sizes(s);
  auto& v = n.sam_vit;
  if (family == "hsam") n.decoder = DecoderKind::guided, n.mask_tokens = 9;
  if (family == "finetune_sam") n.decoder = DecoderKind::later_classes, n.mask_tokens = 5, n.decoder_hook = 8, n.decoder_hook_layers = 2, v.hook = HookKind::bottleneck, v.hook_hidden = 8, v.hook_blocks = {0};
  if (family == "sam_adapter") n.prompt_source = PromptSource::no_mask, v.hook = HookKind::frequency_prompt, v.hook_hidden = 4, v.hook_blocks = {0, 1};
  if (family == "autosam") n.prompt_source = PromptSource::positions, n.decoder = DecoderKind::class_sets, n.class_sets = 3, n.mask_tokens = 2;
  if (family == "autosam_linear" || family == "autosam_cnn") {
    n.prompt_source = PromptSource::nothing, n.mask_tokens = 3, n.decoder_mlp = n.iou_hidden = 0;
    n.decoder = family == "autosam_cnn" ? DecoderKind::plain_cnn : DecoderKind::plain_linear;
    if (n.decoder == DecoderKind::plain_cnn) n.plain_depth = 4, n.plain_width = 4;
  }
  if (wide) n.decoder = DecoderKind::decoupled;
  if (ultrasound) n.image_size = 32, v.patch = 8, v.pos_grid = 8, v.hook = HookKind::side_branch, v.hook_hidden = 8, v.hook_blocks = v.global_blocks;
  if (family == "autosamus") n.prompt_source = PromptSource::generator, n.object_tokens = 5;
  return random_contract(family, n);
}
inline weights::Contract tiny_efficient_sam(const PlainVitConfig& p = {}) { return random_contract("efficient_sam", plain_vit_sizes(p)); }
inline weights::Contract tiny_efficient_vit(const EfficientVitConfig& e = {}) { return random_contract("efficientvit_sam", efficient_vit_sizes(e)); }
inline weights::Contract tiny_edge_sam(const RepVitConfig& r = {}) { return random_contract("edge_sam", rep_vit_sizes(r)); }
inline weights::Contract tiny_lite_medsam(TinyVitConfig t = {}) { return random_contract("lite_medsam", tiny_vit_sizes(t)); }
inline weights::Contract tiny_mobile_sam(TinyVitConfig t = {.stem = weights::TinyStem::conv3x3_stride2, .image = 128}) { return random_contract("mobile_sam", tiny_vit_sizes(t)); }

/// SAM-Med3D on cubes of 32 voxels, with windows of 3 that its grid of 2 does not fill.
inline weights::Contract tiny_med3d() {
  weights::NetworkSizes n;
  n.encoder = weights::EncoderKind::sam_vit_3d;
  n.image_size = 32, n.grid = 2, n.out_channels = 48, n.decoder_mlp = 64, n.iou_hidden = 32;
  n.sam_vit = {.patch = 16, .embed_dim = 24, .depth = 2, .heads = 2, .mlp_dim = 48, .window = 3, .global_blocks = {1}};
  return random_contract("sam_med3d", n);
}

/// Changes the values of a tensor before they are written: (name, values).
using Damage = std::function<void(const std::string&, std::vector<float>&)>;

/// Writes `tensors` (default: exactly what a network of c's sizes needs) with c's record, as sampan-convert does. Error{io | ...}.
inline Status write_model(const std::string& path, weights::Contract c, std::uint64_t seed, const NamedShapes& tensors, const Damage& damage = {}) {
  std::vector<weights::TensorSpec> specs;
  for (const auto& t : tensors) specs.push_back({t.name, DType::f32, t.shape});
  weights::SafetensorsWriter::sort(specs);
  const auto values = [&](const weights::TensorSpec& t) {
    auto v = hash_values(seed, t.name, t.shape);
    if (damage) damage(t.name, v);
    return v;
  };
  Sha256 sha;
  for (const auto& t : specs) {
    const auto v = values(t);
    sha.update({reinterpret_cast<const std::uint8_t*>(v.data()), v.size() * sizeof(float)});
  }
  c.data_sha256 = sha.hex();
  SAMPAN_TRY(file, weights::SafetensorsWriter::create(path, specs, {{weights::kContractKey, weights::to_json(c)}}));
  for (const auto& t : file.specs()) SAMPAN_CHECK(file.write(std::span<const float>(values(t))));
  return file.commit();
}
inline Status write_model(const std::string& path, const weights::Contract& c, std::uint64_t seed = 1) { return write_model(path, c, seed, weights::expected_tensors(c.network)); }

/// The same tensors without a contract record, as a foreign safetensors file (Meta's names) comes.
inline Status write_unconverted(const std::string& path, const NamedShapes& tensors, std::uint64_t seed = 1) {
  std::vector<weights::TensorSpec> specs;
  for (const auto& t : tensors) specs.push_back({t.name, DType::f32, t.shape});
  SAMPAN_TRY(file, weights::SafetensorsWriter::create(path, specs));
  for (const auto& t : file.specs()) SAMPAN_CHECK(file.write(std::span<const float>(hash_values(seed, t.name, t.shape))));
  return file.commit();
}

}  // namespace sampan::test
