// Key map of checkpoints in Meta's own names: SAM and its fine-tunes. Data flow: weights/maps/all.hpp lists it.
// The names are the project's names already; weights/network_shapes.hpp checks each one, so whole parts may pass here.
// Source: facebookresearch/segment-anything, segment_anything/modeling/; tianrun-chen/SAM-Adapter-PyTorch, models/sam.py; xhu248/AutoSAM, models/AutoSamSeg.py.
#pragma once
#include <sampan/weights/key_map.hpp>

namespace sampan::inline SAMPAN_ABI::weights {

inline constexpr KeyRow kMetaSamRows[] = {
    {"image_encoder.*", "image_encoder.*"},
    {"prompt_encoder.*", "prompt_encoder.*"},
    {"mask_decoder.*", "mask_decoder.*"},
    {"pe_layer.*", "prompt_encoder.pe_layer.*"},  // SAM-Adapter, AutoSAM: no prompt encoder, its remains stand alone
    {"no_mask_embed.*", "prompt_encoder.no_mask_embed.*"},
    {"mask_decoder2.*", "mask_decoder2.*"},  // H-SAM, whose second prompt encoder is the first under another name
    {"prompt_encoder2.*", ""},
    {"prompt_generator.*", "prompt_generator.*"},  // AutoSAMUS
    {"feature_adapter.*", "feature_adapter.*"},
    {"pixel_mean", ""},  // buffers that some re-saved files carry; the contract holds these numbers
    {"pixel_std", ""},
};

}  // namespace sampan::inline SAMPAN_ABI::weights
