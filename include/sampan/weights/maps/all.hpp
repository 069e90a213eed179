// The list of key maps, how a file's map is recognised, and the mapping of a whole file. Data flow: sampan-convert and sampan-inspect call map_keys.
// Networks that are known but not supported are recognised by a telling key, so that the error says what the file is instead of listing strange names.
#pragma once
#include <sampan/weights/family.hpp>
#include <sampan/weights/maps/edge_sam.hpp>
#include <sampan/weights/maps/efficient_sam.hpp>
#include <sampan/weights/maps/efficientvit_sam.hpp>
#include <sampan/weights/maps/hf_sam.hpp>
#include <sampan/weights/maps/lite_medsam.hpp>
#include <sampan/weights/maps/medical_sam_adapter.hpp>
#include <sampan/weights/maps/meta_sam.hpp>
#include <sampan/weights/network_shapes.hpp>

namespace sampan::inline SAMPAN_ABI::weights {

struct KeyMap {
  SourceLayout layout;
  std::string_view telling;  ///< part of a key that only this layout has
  std::span<const KeyRow> rows;
};

inline constexpr KeyMap kKeyMaps[] = {
    {SourceLayout::hf_sam, "vision_encoder.patch_embed.projection.", kHfSamRows},
    {SourceLayout::tiny_vit_sam, "image_encoder.patch_embed.seq.", kTinyVitSamRows},
    {SourceLayout::efficient_sam, "prompt_encoder.bbox_top_left_embeddings.", kEfficientSamRows},
    {SourceLayout::efficientvit_sam, "image_encoder.backbone.stages.", kEfficientVitSamRows},
    {SourceLayout::edge_sam, "image_encoder.features.", kEdgeSamRows},
    {SourceLayout::medical_sam_adapter, ".attn.rel_h", kMedicalSamAdapterRows},
    {SourceLayout::meta_sam, "image_encoder.patch_embed.proj.", kMetaSamRows},
};

struct UnsupportedRow {
  std::string_view telling, what;
};

inline constexpr UnsupportedRow kUnsupportedNetworks[] = {
    {"image_encoder.trunk.", "a SAM 2 checkpoint"},
    {"vision_encoder.backbone.", "a SAM 2 checkpoint in Hugging Face's names"},
    {"w_a_000", "a SAMed LoRA file without the network it belongs to (sampan-merge adds it to its base)"},
    {"lora_A", "a file of LoRA matrices"},
    {"linear_a_q", "a SAM with unmerged LoRA matrices (sampan-convert folds them)"},
};

struct MappedKeys {
  SourceLayout layout = SourceLayout::meta_sam;
  std::vector<std::string> names;  ///< parallel to the input; empty text: ignored
};

/// Error{unsupported} for a recognised foreign network, Error{bad_model} for unknown files and surplus keys.
inline Result<MappedKeys> map_keys(const std::vector<std::string>& keys) {
  if (keys.empty()) return Error(ErrorCode::bad_model, "the file holds no tensors");
  const std::size_t prefix = common_prefix_length(keys);
  const auto any = [&](std::string_view part) {
    return std::any_of(keys.begin(), keys.end(), [&](const std::string& k) { return std::string_view(k).substr(prefix).find(part) != std::string_view::npos; });
  };
  for (const UnsupportedRow& u : kUnsupportedNetworks)
    if (any(u.telling)) return Error(ErrorCode::unsupported, cat("this is ", u.what, " (it has keys with \"", u.telling, "\"); supported families: ", family_list()));
  const KeyMap* map = nullptr;
  for (const KeyMap& m : kKeyMaps)
    if (!map && any(m.telling)) map = &m;
  if (!map)
    return Error(ErrorCode::bad_model, cat("not a network this program knows: none of its ", keys.size(), " keys belongs to a SAM image encoder; the first are ",
                                           name_some({keys.begin(), keys.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(keys.size(), 5))})));
  MappedKeys out;
  out.layout = map->layout;
  std::vector<std::string> surplus;
  for (const std::string& k : keys) {
    auto name = map_key(map->rows, std::string_view(k).substr(prefix));
    if (!name) surplus.push_back(k);
    out.names.push_back(name ? std::move(*name) : std::string());
  }
  if (!surplus.empty()) return Error(ErrorCode::bad_model, cat(surplus.size(), surplus.size() == 1 ? " tensor" : " tensors", " of another network: ", name_some(surplus)));
  return out;
}

}  // namespace sampan::inline SAMPAN_ABI::weights
