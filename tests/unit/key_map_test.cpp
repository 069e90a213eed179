// weights/key_map.hpp and weights/maps/: patterns, prefixes, the three layouts, and what a foreign file is told.
#include <doctest/doctest.h>
#include <sampan/weights/maps/all.hpp>

using namespace sampan;
using namespace sampan::weights;

namespace {
std::string mapped(std::span<const KeyRow> rows, std::string_view key) { return map_key(rows, key).value_or("(unknown)"); }
}  // namespace

TEST_CASE("patterns") {
  constexpr KeyRow rows[] = {{"a.{i}.b{i}.*", "x.{i}.y{i}.*"}, {"a.*.end", "m.*"}, {"drop.*", ""}, {"exact", "same"}};
  CHECK(mapped(rows, "a.12.b3.weight") == "x.12.y3.weight");
  CHECK(mapped(rows, "a.12.b.weight") == "(unknown)");
  CHECK(mapped(rows, "a..b3.weight") == "(unknown)");
  CHECK(mapped(rows, "a.p.q.end") == "m.p.q");
  CHECK(mapped(rows, "a.end.end") == "m.end");
  CHECK(mapped(rows, "a.x.ending") == "(unknown)");
  CHECK(mapped(rows, "drop.this").empty());
  CHECK(mapped(rows, "exact") == "same");
  CHECK(mapped(rows, "exactly") == "(unknown)");
  CHECK(mapped(rows, "xexact") == "(unknown)");
  CHECK(mapped(rows, "") == "(unknown)");
}

TEST_CASE("prefixes come off only while every key has one") {
  CHECK(common_prefix_length({"module.a", "module.b"}) == 7);
  CHECK(common_prefix_length({"module.a", "b"}) == 0);
  CHECK(common_prefix_length({"module.sam.a", "module.sam.b"}) == 11);
  CHECK(common_prefix_length({"model._orig_mod.a", "model._orig_mod.b"}) == 16);
  CHECK(common_prefix_length({"module.sam.a", "module.b"}) == 7);
  CHECK(common_prefix_length({"a", "b"}) == 0);
  CHECK(common_prefix_length({}) == 0);
}

TEST_CASE("Hugging Face's names") {
  const auto hf = [](std::string_view key) { return mapped(kHfSamRows, key); };
  CHECK(hf("vision_encoder.layers.11.layer_norm2.bias") == "image_encoder.blocks.11.norm2.bias");
  CHECK(hf("vision_encoder.layers.3.attn.rel_pos_h") == "image_encoder.blocks.3.attn.rel_pos_h");
  CHECK(hf("vision_encoder.patch_embed.projection.weight") == "image_encoder.patch_embed.proj.weight");
  CHECK(hf("mask_decoder.transformer.layers.1.layer_norm4.weight") == "mask_decoder.transformer.layers.1.norm4.weight");
  CHECK(hf("mask_decoder.transformer.layers.1.self_attn.q_proj.weight") == "mask_decoder.transformer.layers.1.self_attn.q_proj.weight");
  CHECK(hf("mask_decoder.transformer.layer_norm_final_attn.bias") == "mask_decoder.transformer.norm_final_attn.bias");
  CHECK(hf("mask_decoder.output_hypernetworks_mlps.2.layers.0.weight") == "mask_decoder.output_hypernetworks_mlps.2.layers.1.weight");
  CHECK(hf("mask_decoder.output_hypernetworks_mlps.2.proj_out.weight") == "mask_decoder.output_hypernetworks_mlps.2.layers.2.weight");
  CHECK(hf("mask_decoder.upsacle_layer_norm.weight") == "mask_decoder.output_upscaling.1.weight");
  CHECK(hf("shared_image_embedding.positional_embedding") == hf("prompt_encoder.shared_embedding.positional_embedding"));
  CHECK(hf("vision_encoder.other") == "(unknown)");
}

TEST_CASE("EfficientSAM's names") {
  const auto r = map_keys({"image_encoder.blocks.3.mlp.fc2.weight", "image_encoder.neck.2.weight", "prompt_encoder.invalid_points.weight", "prompt_encoder.point_embeddings.weight",
                           "prompt_encoder.bbox_top_left_embeddings.weight", "prompt_encoder.bbox_bottom_right_embeddings.weight", "mask_decoder.transformer.layers.1.mlp.layers.0.0.bias",
                           "mask_decoder.transformer.layers.1.mlp.fc.weight", "mask_decoder.transformer.layers.0.norm4.weight", "mask_decoder.final_output_upscaling_layers.0.1.bias",
                           "mask_decoder.final_output_upscaling_layers.1.0.weight", "mask_decoder.output_hypernetworks_mlps.2.layers.1.0.weight", "mask_decoder.output_hypernetworks_mlps.2.fc.bias",
                           "mask_decoder.iou_prediction_head.layers.0.0.weight", "mask_decoder.iou_prediction_head.fc.bias"});
  REQUIRE_MESSAGE(r, r.error().message());
  CHECK(r->layout == SourceLayout::efficient_sam);
  CHECK(r->names == std::vector<std::string>{"image_encoder.blocks.3.mlp.lin2.weight", "image_encoder.neck.2.weight", "prompt_encoder.not_a_point_embed.weight", "prompt_encoder.point_embeddings.1.weight",
                                             "prompt_encoder.point_embeddings.2.weight", "prompt_encoder.point_embeddings.3.weight", "mask_decoder.transformer.layers.1.mlp.lin1.bias",
                                             "mask_decoder.transformer.layers.1.mlp.lin2.weight", "mask_decoder.transformer.layers.0.norm4.weight", "mask_decoder.output_upscaling.1.bias",
                                             "mask_decoder.output_upscaling.3.weight", "mask_decoder.output_hypernetworks_mlps.2.layers.1.weight", "mask_decoder.output_hypernetworks_mlps.2.layers.2.bias",
                                             "mask_decoder.iou_prediction_head.layers.0.weight", "mask_decoder.iou_prediction_head.layers.2.bias"});
}

TEST_CASE("an EfficientViT-SAM file loses its counters") {
  const auto r = map_keys({"image_encoder.backbone.stages.0.op_list.0.conv.weight", "image_encoder.backbone.stages.0.op_list.0.norm.num_batches_tracked", "image_encoder.norm.weight", "mask_decoder.iou_token.weight"});
  REQUIRE_MESSAGE(r, r.error().message());
  CHECK(r->layout == SourceLayout::efficientvit_sam);
  CHECK(r->names == std::vector<std::string>{"image_encoder.backbone.stages.0.op_list.0.conv.weight", "", "image_encoder.norm.weight", "mask_decoder.iou_token.weight"});
}

TEST_CASE("an EdgeSAM file loses its counters and its box proposals") {
  const auto r = map_keys({"image_encoder.features.0.0.c.weight", "image_encoder.features.0.0.bn.num_batches_tracked", "rpn_head.conv.weight", "fpn.lateral_convs.0.conv.bias", "mask_decoder.iou_token.weight"});
  REQUIRE_MESSAGE(r, r.error().message());
  CHECK(r->layout == SourceLayout::edge_sam);
  CHECK(r->names == std::vector<std::string>{"image_encoder.features.0.0.c.weight", "", "", "", "mask_decoder.iou_token.weight"});
}

TEST_CASE("a TinyViT file loses its counters and its classification head") {
  const auto r = map_keys({"module.image_encoder.patch_embed.seq.0.c.weight", "module.image_encoder.patch_embed.seq.0.bn.num_batches_tracked", "module.image_encoder.head.weight",
                           "module.image_encoder.norm_head.bias", "module.image_encoder.layers.1.blocks.0.attn.ab", "module.mask_decoder.iou_token.weight"});
  REQUIRE(r);
  CHECK(r->layout == SourceLayout::tiny_vit_sam);
  CHECK(r->names == std::vector<std::string>{"image_encoder.patch_embed.seq.0.c.weight", "", "", "", "", "mask_decoder.iou_token.weight"});
}

TEST_CASE("surplus keys are named, five of them and a count") {
  std::vector<std::string> keys = {"image_encoder.patch_embed.proj.weight"};
  for (int i = 0; i < 8; ++i) keys.push_back("extra." + std::to_string(i));
  const auto r = map_keys(keys);
  REQUIRE_FALSE(r);
  CHECK(r.error().code() == ErrorCode::bad_model);
  CHECK(r.error().message() == "8 tensors of another network: extra.0, extra.1, extra.2, extra.3, extra.4 and 3 more");
}

TEST_CASE("known networks that are not supported are called by name") {
  const std::pair<const char*, const char*> cases[] = {{"image_encoder.trunk.blocks.0.norm1.weight", "SAM 2"}, {"w_a_000", "SAMed"}};
  for (const auto& row : cases) {
    const auto& key = row.first;
    const auto& name = row.second;
    CAPTURE(key);
    const auto r = map_keys({key});
    REQUIRE_FALSE(r);
    CHECK(r.error().code() == ErrorCode::unsupported);
    CHECK_MESSAGE(r.error().message().find(name) != std::string::npos, r.error().message());
  }
}

TEST_CASE("files of nothing known") {
  CHECK_FALSE(map_keys({}));
  const auto r = map_keys({"conv1.weight", "fc.bias"});
  REQUIRE_FALSE(r);
  CHECK(r.error().message().find("conv1.weight, fc.bias") != std::string::npos);
}
