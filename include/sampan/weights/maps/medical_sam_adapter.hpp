// Key map of Medical SAM Adapter: SAM's names but for the tables of relative positions, and an adapter that only its mode for volumes runs.
// Data flow: weights/maps/all.hpp lists it. Source: names and order of operations of the published files (behaviour only; its code is GPL-3.0).
#pragma once
#include <sampan/weights/key_map.hpp>

namespace sampan::inline SAMPAN_ABI::weights {

inline constexpr KeyRow kMedicalSamAdapterRows[] = {
    {"image_encoder.blocks.{i}.attn.rel_h", "image_encoder.blocks.{i}.attn.rel_pos_h"},
    {"image_encoder.blocks.{i}.attn.rel_w", "image_encoder.blocks.{i}.attn.rel_pos_w"},
    {"image_encoder.blocks.{i}.Depth_Adapter.*", ""},  // in every file; runs with slices as a batch only
    {"image_encoder.*", "image_encoder.*"},
    {"prompt_encoder.*", "prompt_encoder.*"},
    {"mask_decoder.*", "mask_decoder.*"},
    {"pixel_mean", ""},
    {"pixel_std", ""},
};

}  // namespace sampan::inline SAMPAN_ABI::weights
