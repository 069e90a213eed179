// Key map of EfficientViT-SAM's files. Data flow: weights/maps/all.hpp lists it. Names are the project's already; counters of training are left behind.
// Source: mit-han-lab/efficientvit, efficientvit/models/efficientvit/sam.py.
#pragma once
#include <sampan/weights/key_map.hpp>

namespace sampan::inline SAMPAN_ABI::weights {

inline constexpr KeyRow kEfficientVitSamRows[] = {
    {"image_encoder.*.num_batches_tracked", ""},  // BatchNorm's training counter
    {"image_encoder.*", "image_encoder.*"},
    {"prompt_encoder.*", "prompt_encoder.*"},
    {"mask_decoder.*", "mask_decoder.*"},
    {"pixel_mean", ""},
    {"pixel_std", ""},
};

}  // namespace sampan::inline SAMPAN_ABI::weights
