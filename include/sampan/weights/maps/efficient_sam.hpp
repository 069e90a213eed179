// Key map of EfficientSAM's files to Meta's names. Data flow: weights/maps/all.hpp lists it. Shapes are the same in both.
// Its prompt encoder has one tensor per label (1 object, 2 and 3 box corners, -1 no point) and none for background; the decoder's modules are SAM's under other names.
// Source: yformer/EfficientSAM, efficient_sam/efficient_sam_encoder.py, efficient_sam_decoder.py, two_way_transformer.py, mlp.py.
#pragma once
#include <sampan/weights/key_map.hpp>

namespace sampan::inline SAMPAN_ABI::weights {

inline constexpr KeyRow kEfficientSamRows[] = {
    {"image_encoder.blocks.{i}.mlp.fc{i}.*", "image_encoder.blocks.{i}.mlp.lin{i}.*"},
    {"image_encoder.*", "image_encoder.*"},

    {"prompt_encoder.pe_layer.positional_encoding_gaussian_matrix", "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"},
    {"prompt_encoder.invalid_points.weight", "prompt_encoder.not_a_point_embed.weight"},
    {"prompt_encoder.point_embeddings.weight", "prompt_encoder.point_embeddings.1.weight"},
    {"prompt_encoder.bbox_top_left_embeddings.weight", "prompt_encoder.point_embeddings.2.weight"},
    {"prompt_encoder.bbox_bottom_right_embeddings.weight", "prompt_encoder.point_embeddings.3.weight"},

    {"mask_decoder.transformer.layers.{i}.mlp.layers.0.0.*", "mask_decoder.transformer.layers.{i}.mlp.lin1.*"},
    {"mask_decoder.transformer.layers.{i}.mlp.fc.*", "mask_decoder.transformer.layers.{i}.mlp.lin2.*"},
    {"mask_decoder.transformer.*", "mask_decoder.transformer.*"},
    {"mask_decoder.iou_token.weight", "mask_decoder.iou_token.weight"},
    {"mask_decoder.mask_tokens.weight", "mask_decoder.mask_tokens.weight"},
    {"mask_decoder.final_output_upscaling_layers.0.0.*", "mask_decoder.output_upscaling.0.*"},
    {"mask_decoder.final_output_upscaling_layers.0.1.*", "mask_decoder.output_upscaling.1.*"},
    {"mask_decoder.final_output_upscaling_layers.1.0.*", "mask_decoder.output_upscaling.3.*"},
    {"mask_decoder.output_hypernetworks_mlps.{i}.layers.{i}.0.*", "mask_decoder.output_hypernetworks_mlps.{i}.layers.{i}.*"},
    {"mask_decoder.output_hypernetworks_mlps.{i}.fc.*", "mask_decoder.output_hypernetworks_mlps.{i}.layers.2.*"},
    {"mask_decoder.iou_prediction_head.layers.{i}.0.*", "mask_decoder.iou_prediction_head.layers.{i}.*"},
    {"mask_decoder.iou_prediction_head.fc.*", "mask_decoder.iou_prediction_head.layers.2.*"},
    {"pixel_mean", ""},
    {"pixel_std", ""},
};

}  // namespace sampan::inline SAMPAN_ABI::weights
