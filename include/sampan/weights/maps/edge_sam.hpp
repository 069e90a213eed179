// Key map of EdgeSAM's files. Data flow: weights/maps/all.hpp lists it. Names are the project's already; counters of training and the box proposals' head, which no prompt
// needs, are left behind. Source: chongzhou96/EdgeSAM, edge_sam/modeling/rep_vit.py and sam.py.
#pragma once
#include <sampan/weights/key_map.hpp>

namespace sampan::inline SAMPAN_ABI::weights {

inline constexpr KeyRow kEdgeSamRows[] = {
    {"image_encoder.*.num_batches_tracked", ""},  // BatchNorm's training counter
    {"image_encoder.*", "image_encoder.*"},
    {"prompt_encoder.*", "prompt_encoder.*"},
    {"mask_decoder.*", "mask_decoder.*"},
    {"fpn.*", ""},
    {"rpn_head.*", ""},
    {"pixel_mean", ""},
    {"pixel_std", ""},
};

}  // namespace sampan::inline SAMPAN_ABI::weights
