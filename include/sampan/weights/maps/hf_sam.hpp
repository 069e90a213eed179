// Key map of Hugging Face `SamModel` files to Meta's names. Data flow: weights/maps/all.hpp lists it. Shapes are the same in both.
// The random matrix of the position encoding stands twice in HF's module tree and, being tied, once or twice in files: both rows lead to one tensor, and
// sampan-convert accepts two equal copies. Source: transformers, models/sam/convert_sam_to_hf.py and modeling_sam.py.
#pragma once
#include <sampan/weights/key_map.hpp>

namespace sampan::inline SAMPAN_ABI::weights {

inline constexpr KeyRow kHfSamRows[] = {
    {"vision_encoder.pos_embed", "image_encoder.pos_embed"},
    {"vision_encoder.patch_embed.projection.*", "image_encoder.patch_embed.proj.*"},
    {"vision_encoder.layers.{i}.layer_norm{i}.*", "image_encoder.blocks.{i}.norm{i}.*"},
    {"vision_encoder.layers.{i}.attn.*", "image_encoder.blocks.{i}.attn.*"},
    {"vision_encoder.layers.{i}.mlp.*", "image_encoder.blocks.{i}.mlp.*"},
    {"vision_encoder.neck.conv1.weight", "image_encoder.neck.0.weight"},
    {"vision_encoder.neck.layer_norm1.*", "image_encoder.neck.1.*"},
    {"vision_encoder.neck.conv2.weight", "image_encoder.neck.2.weight"},
    {"vision_encoder.neck.layer_norm2.*", "image_encoder.neck.3.*"},

    {"shared_image_embedding.positional_embedding", "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"},
    {"prompt_encoder.shared_embedding.positional_embedding", "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"},
    {"prompt_encoder.point_embed.{i}.weight", "prompt_encoder.point_embeddings.{i}.weight"},
    {"prompt_encoder.not_a_point_embed.weight", "prompt_encoder.not_a_point_embed.weight"},
    {"prompt_encoder.no_mask_embed.weight", "prompt_encoder.no_mask_embed.weight"},
    {"prompt_encoder.mask_embed.conv1.*", "prompt_encoder.mask_downscaling.0.*"},
    {"prompt_encoder.mask_embed.layer_norm1.*", "prompt_encoder.mask_downscaling.1.*"},
    {"prompt_encoder.mask_embed.conv2.*", "prompt_encoder.mask_downscaling.3.*"},
    {"prompt_encoder.mask_embed.layer_norm2.*", "prompt_encoder.mask_downscaling.4.*"},
    {"prompt_encoder.mask_embed.conv3.*", "prompt_encoder.mask_downscaling.6.*"},

    {"mask_decoder.iou_token.weight", "mask_decoder.iou_token.weight"},
    {"mask_decoder.mask_tokens.weight", "mask_decoder.mask_tokens.weight"},
    {"mask_decoder.transformer.layers.{i}.layer_norm{i}.*", "mask_decoder.transformer.layers.{i}.norm{i}.*"},
    {"mask_decoder.transformer.layers.{i}.*", "mask_decoder.transformer.layers.{i}.*"},
    {"mask_decoder.transformer.final_attn_token_to_image.*", "mask_decoder.transformer.final_attn_token_to_image.*"},
    {"mask_decoder.transformer.layer_norm_final_attn.*", "mask_decoder.transformer.norm_final_attn.*"},
    {"mask_decoder.upscale_conv1.*", "mask_decoder.output_upscaling.0.*"},
    {"mask_decoder.upscale_layer_norm.*", "mask_decoder.output_upscaling.1.*"},
    {"mask_decoder.upsacle_layer_norm.*", "mask_decoder.output_upscaling.1.*"},  // an early version's spelling
    {"mask_decoder.upscale_conv2.*", "mask_decoder.output_upscaling.3.*"},
    {"mask_decoder.output_hypernetworks_mlps.{i}.proj_in.*", "mask_decoder.output_hypernetworks_mlps.{i}.layers.0.*"},
    {"mask_decoder.output_hypernetworks_mlps.{i}.layers.0.*", "mask_decoder.output_hypernetworks_mlps.{i}.layers.1.*"},
    {"mask_decoder.output_hypernetworks_mlps.{i}.proj_out.*", "mask_decoder.output_hypernetworks_mlps.{i}.layers.2.*"},
    {"mask_decoder.iou_prediction_head.proj_in.*", "mask_decoder.iou_prediction_head.layers.0.*"},
    {"mask_decoder.iou_prediction_head.layers.0.*", "mask_decoder.iou_prediction_head.layers.1.*"},
    {"mask_decoder.iou_prediction_head.proj_out.*", "mask_decoder.iou_prediction_head.layers.2.*"},
};

}  // namespace sampan::inline SAMPAN_ABI::weights
