// Whole models with random weights, small enough to run in milliseconds, and their files as sampan-convert would write them.
// Data flow: a test states sizes -> NetworkSizes -> Contract (the family's row of weights/family.hpp) -> values from support/hashgen.hpp -> a safetensors file.
// tiny_sam(): SAM's ViT of any size; tiny_lite_medsam(), tiny_mobile_sam(): TinyViT with small widths; tiny_med3d(): a cube; *_5m(): the published sizes.
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
