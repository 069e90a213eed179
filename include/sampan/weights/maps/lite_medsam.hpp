// Key map of SAMs with a TinyViT encoder: LiteMedSAM, MobileSAM, TinySAM. Data flow: weights/maps/all.hpp lists it.
// Names are the project's already; ImageNet's classification head and counters of training are left behind.
// Source: bowang-lab/MedSAM branch LiteMedSAM, tiny_vit_sam.py; ChaoningZhang/MobileSAM, mobile_sam/modeling/tiny_vit_sam.py.
#pragma once
#include <sampan/weights/key_map.hpp>

namespace sampan::inline SAMPAN_ABI::weights {

inline constexpr KeyRow kTinyVitSamRows[] = {
    {"image_encoder.*.num_batches_tracked", ""},           // BatchNorm's training counter
    {"image_encoder.norm_head.*", ""},                     // ImageNet head, unused by the encoder's forward
    {"image_encoder.head.*", ""},
    {"image_encoder.*.attn.attention_bias_idxs", ""},      // derived from the window size
    {"image_encoder.*.attn.ab", ""},                       // attention_biases gathered by those indices
    {"image_encoder.*", "image_encoder.*"},
    {"prompt_encoder.*", "prompt_encoder.*"},
    {"mask_decoder.*", "mask_decoder.*"},
    {"pixel_mean", ""},
    {"pixel_std", ""},
};

}  // namespace sampan::inline SAMPAN_ABI::weights
