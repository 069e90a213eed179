// weights/identify.hpp and weights/network_shapes.hpp: sizes back from shapes; parameter totals of published files; wrong files are told what is wrong.
#include "support/tiny_model.hpp"

#include <doctest/doctest.h>
#include <sampan/weights/identify.hpp>

#include <functional>
#include <numeric>

using namespace sampan;
using namespace sampan::weights;

namespace {

NetworkSizes sam(int embed, int depth, int heads, int image, std::vector<int> global, int mlp = 0) {
  NetworkSizes n;
  n.image_size = image, n.grid = image / 16, n.out_channels = 256, n.decoder_mlp = 2048, n.iou_hidden = 256;
  n.sam_vit = {16, embed, depth, heads, mlp ? mlp : 4 * embed, 14, std::move(global)};
  return n;
}

NetworkSizes med2d() {
  NetworkSizes n = sam(768, 12, 12, 256, {2, 5, 8, 11});
  n.sam_vit.hook = HookKind::conv_adapter, n.sam_vit.hook_hidden = 192;
  n.sam_vit.hook_blocks = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
  return n;
}

NetworkSizes med3d(int embed = 768, int depth = 12, int heads = 12, int image = 128, std::vector<int> global = {2, 5, 8, 11}, int out = 384) {
  NetworkSizes n = sam(embed, depth, heads, image, std::move(global));
  n.encoder = EncoderKind::sam_vit_3d, n.out_channels = out;
  return n;
}

NetworkSizes tiny(TinyStem stem) {
  NetworkSizes n;
  n.encoder = EncoderKind::tiny_vit;
  n.image_size = stem == TinyStem::conv1x1_stride1 ? 256 : 1024;
  n.grid = 64, n.out_channels = 256, n.decoder_mlp = 2048, n.iou_hidden = 256;
  n.tiny_vit = {stem, {64, 128, 160, 320}, {2, 2, 6, 2}, {2, 4, 5, 10}, {7, 7, 14, 7}, {2, 2, 1}};
  return n;
}

std::int64_t parameters(const std::vector<TensorShape>& rows) {
  return std::accumulate(rows.begin(), rows.end(), std::int64_t(0), [](std::int64_t n, const TensorShape& t) { return n + *element_count(t.shape); });
}

TensorShape& row(std::vector<TensorShape>& rows, const std::string& name) {
  for (TensorShape& t : rows)
    if (t.name == name) return t;
  FAIL("no such tensor: ", name);
  return rows[0];
}

}  // namespace

TEST_CASE("tensor and parameter counts of the published checkpoints") {
  struct Case {
    NetworkSizes sizes;
    std::size_t tensors;
    std::int64_t parameters;
  };
  const Case cases[] = {
      {sam(768, 12, 12, 1024, {2, 5, 8, 11}), 314, 93'735'728},     // sam_vit_b_01ec64.pth
      {sam(1024, 24, 16, 1024, {5, 11, 17, 23}), 482, 312'343'088}, // sam_vit_l_0b3195.pth
      {sam(1280, 32, 16, 1024, {7, 15, 23, 31}), 594, 641'090'864}, // sam_vit_h_4b8939.pth
      {sam(384, 12, 12, 1024, {2, 5, 8, 11}), 314, 27'962'032},     // SlimSAM-50-uniform
      {sam(168, 12, 12, 1024, {2, 5, 8, 11}, 696), 314, 9'723'784}, // SlimSAM-77-uniform
      {med2d(), 386, 271'242'032},                                 // sam-med2d_b.pth
      {med3d(), 324, 100'509'616},                                 // sam_med3d.pth, sam_med3d_turbo.pth
      {tiny(TinyStem::conv1x1_stride1), 435 - 27, 9'801'439 - 27},  // lite_medsam.pth without its 27 num_batches_tracked
      {tiny(TinyStem::conv3x3_stride2), 435 - 27, 9'801'439 - 27 + 8 * (3 * 32 + 32 * 64)},  // MobileSAM's 3x3 stem instead of 1x1
  };
  for (const Case& c : cases) {
    const auto rows = expected_tensors(c.sizes);
    CAPTURE(c.sizes.sam_vit.embed_dim);
    CHECK(rows.size() == c.tensors);
    CHECK(parameters(rows) == c.parameters);
    const auto id = identify(rows);
    REQUIRE_MESSAGE(id, id.error().message());
    CHECK(id->sizes == c.sizes);
  }
}

TEST_CASE("free sizes come back from their shapes") {
  for (const NetworkSizes& n : {sam(96, 4, 3, 320, {1, 3}), sam(64, 3, 2, 256, {}), sam(48, 2, 3, 128, {0, 1}, 100), sam(32, 2, 1, 512, {1})}) {
    CAPTURE(n.sam_vit.embed_dim);
    const auto id = identify(expected_tensors(n));
    REQUIRE_MESSAGE(id, id.error().message());
    CHECK(id->sizes == n);
    CHECK(id->family->key == "sam");
    CHECK(id->twins.empty());
  }
  for (const NetworkSizes& n : {med3d(), med3d(48, 2, 3, 64, {1}, 48), med3d(32, 3, 2, 256, {}, 96)}) {
    const auto id = identify(expected_tensors(n));
    REQUIRE_MESSAGE(id, id.error().message());
    CHECK(id->sizes == n);
    CHECK(id->family->key == "sam_med3d");
  }
  // At 224 px a window covers the grid: both kinds of block have 27 rows and are the same computation; all count as global.
  const auto id = identify(expected_tensors(sam(32, 2, 1, 224, {1})));
  REQUIRE(id);
  CHECK(id->sizes.sam_vit.global_blocks == std::vector<int>{0, 1});
  NetworkSizes window = sam(32, 2, 1, 512, {1});
  window.sam_vit.window = 8;
  CHECK(identify(expected_tensors(window))->sizes == window);
}

TEST_CASE("families and twins") {
  const auto b = identify(expected_tensors(sam(768, 12, 12, 1024, {2, 5, 8, 11})));
  CHECK(b->family->key == "sam");
  CHECK(b->twins.find("--family medsam") != std::string::npos);
  CHECK(identify(expected_tensors(med2d()))->family->key == "sam_med2d");
  NetworkSizes bottlenecks = sam(96, 4, 3, 320, {1, 3});
  bottlenecks.sam_vit.hook = HookKind::bottleneck, bottlenecks.sam_vit.hook_hidden = 24, bottlenecks.sam_vit.hook_blocks = {0, 3};
  const auto found = identify(expected_tensors(bottlenecks));
  REQUIRE_MESSAGE(found, found.error().message());
  CHECK(found->family->key == "sam");
  CHECK(found->sizes == bottlenecks);
  auto mixed = expected_tensors(bottlenecks);
  mixed.push_back({"image_encoder.blocks.1.Adapter.channel.0.weight", {24, 96}});
  CHECK_FALSE(identify(mixed));
  CHECK(identify(expected_tensors(tiny(TinyStem::conv1x1_stride1)))->family->key == "lite_medsam");
  const auto m = identify(expected_tensors(tiny(TinyStem::conv3x3_stride2)));
  CHECK(m->family->key == "mobile_sam");
  for (NetworkSizes n : {sam(96, 4, 3, 320, {1, 3}), tiny(TinyStem::conv3x3_stride2)}) {
    n.decoder = DecoderKind::hq;
    const auto hq = identify(expected_tensors(n));
    REQUIRE_MESSAGE(hq, hq.error().message());
    CHECK(hq->family->key == (n.encoder == EncoderKind::sam_vit ? "sam_hq" : "sam_hq_tiny"));
    CHECK(hq->sizes == n);
    CHECK(contract_version(base_contract(*hq->family, n)) == 3);
    const auto read = parse_contract(to_json(base_contract(*hq->family, n)));
    REQUIRE_MESSAGE(read, read.error().message());
    CHECK(read->network == n);
  }
  NetworkSizes no_global = sam(96, 4, 3, 320, {});
  no_global.decoder = DecoderKind::hq;
  CHECK(identify(expected_tensors(no_global)).error().message().find("first global block") != std::string::npos);
  CHECK(m->twins.find("TinySAM") != std::string::npos);
}

TEST_CASE("what fine-tunes put into or around SAM's blocks comes back from its shapes") {
  NetworkSizes adapter = sam(64, 2, 2, 128, {1}), fine = sam(64, 3, 2, 128, {1}), sets = sam(64, 2, 2, 128, {1}), three = fine;
  adapter.sam_vit.hook = HookKind::frequency_prompt, adapter.sam_vit.hook_hidden = 6, adapter.sam_vit.hook_blocks = {0, 1}, adapter.prompt_source = PromptSource::no_mask;
  fine.sam_vit.hook = HookKind::bottleneck, fine.sam_vit.hook_hidden = 16, fine.sam_vit.hook_blocks = {0, 2};
  fine.decoder = DecoderKind::later_classes, fine.mask_tokens = 6;
  three.decoder = DecoderKind::later_classes, three.decoder_hook = 20, three.decoder_hook_layers = 1;
  sets.decoder = DecoderKind::class_sets, sets.class_sets = 5, sets.mask_tokens = 2, sets.prompt_source = PromptSource::positions;
  NetworkSizes samus = sam(64, 3, 2, 128, {1, 2});
  samus.image_size = 64, samus.sam_vit.patch = 8, samus.sam_vit.pos_grid = 32, samus.sam_vit.hook = HookKind::side_branch, samus.sam_vit.hook_hidden = 16, samus.sam_vit.hook_blocks = {1, 2};
  NetworkSizes desam = sam(64, 5, 2, 128, {0, 1, 3, 4});
  desam.decoder = DecoderKind::decoupled;
  NetworkSizes autosamus = samus;
  autosamus.prompt_source = PromptSource::generator, autosamus.object_tokens = 7;
  NetworkSizes hsam = sam(64, 2, 2, 224, {0, 1});
  hsam.decoder = DecoderKind::guided, hsam.mask_tokens = 9;
  NetworkSizes large = sam(64, 2, 2, 512, {0, 1});
  large.decoder = DecoderKind::guided, large.mask_tokens = 9;
  NetworkSizes linear = sam(64, 2, 2, 128, {1});
  linear.decoder = DecoderKind::plain_linear, linear.prompt_source = PromptSource::nothing, linear.mask_tokens = 3, linear.decoder_mlp = linear.iou_hidden = 0;
  NetworkSizes cnn = linear, shallow = linear;
  cnn.decoder = shallow.decoder = DecoderKind::plain_cnn, cnn.plain_depth = 4, shallow.plain_depth = 2, cnn.plain_width = shallow.plain_width = 64;
  for (const auto& [n, family] : {std::pair(linear, "autosam_linear"), std::pair(cnn, "autosam_cnn"), std::pair(shallow, "autosam_cnn"), std::pair(hsam, "hsam"), std::pair(large, "hsam"), std::pair(autosamus, "autosamus"), std::pair(desam, "desam"), std::pair(samus, "samus"), std::pair(adapter, "sam_adapter"), std::pair(fine, "finetune_sam"), std::pair(three, "finetune_sam"), std::pair(sets, "autosam")}) {
    const auto id = identify(expected_tensors(n));
    REQUIRE_MESSAGE(id, id.error().message());
    CHECK(id->family->key == std::string_view(family));
    CHECK(id->sizes == n);
    CHECK(fits(*id->family, n));
    CHECK(fits(*find_family("sam"), n) == (n.mask_tokens == 4 && n.sam_vit.hook == HookKind::none && n.decoder != DecoderKind::decoupled));
    const auto read = parse_contract(to_json(base_contract(*id->family, n)));
    REQUIRE_MESSAGE(read, read.error().message());
    CHECK(read->network == n);
  }
  shallow.plain_depth = 3;
  CHECK(identify(expected_tensors(shallow)).error().message().find("3 blocks") != std::string::npos);
  auto older = expected_tensors(large);  // the class features of its first revision for 512 px
  for (auto& t : older)
    if (t.name.rfind("mask_decoder2.self_attn", 0) == 0 || t.name.rfind("mask_decoder2.norm", 0) == 0 || t.name.rfind("mask_decoder2.mlp", 0) == 0)
      for (auto& extent : t.shape) extent = extent == 1024 ? 196 : extent;
  CHECK(identify(older).error().message().find("older revision") != std::string::npos);
  CHECK(identify(expected_tensors(three))->twins.find("--family sam") != std::string::npos);
  NetworkSizes plain = sam(64, 2, 2, 128, {1});
  plain.decoder = DecoderKind::classes, plain.mask_tokens = 6;
  CHECK(identify(expected_tensors(plain))->twins.find("--family finetune_sam") != std::string::npos);
  // On MobileSAM's encoder: classes told by their number, by the decoder's bottlenecks, or not at all.
  NetworkSizes on_tiny = tiny(TinyStem::conv3x3_stride2), hooked = on_tiny;
  on_tiny.decoder = DecoderKind::later_classes, on_tiny.mask_tokens = 6;
  hooked.decoder = DecoderKind::later_classes, hooked.decoder_hook = 20, hooked.decoder_hook_layers = 1;
  for (const NetworkSizes& n : {on_tiny, hooked}) {
    const auto id = identify(expected_tensors(n));
    REQUIRE_MESSAGE(id, id.error().message());
    CHECK(id->family->key == "finetune_sam_tiny");
    CHECK(id->sizes == n);
    CHECK(fits(*id->family, n));
    CHECK_FALSE(fits(*find_family("finetune_sam"), n));
    CHECK(fits(*find_family("mobile_sam"), n) == (n.mask_tokens == 4));
    const auto read = parse_contract(to_json(base_contract(*id->family, n)));
    REQUIRE_MESSAGE(read, read.error().message());
    CHECK(read->network == n);
  }
  CHECK(identify(expected_tensors(hooked))->twins.find("--family mobile_sam") != std::string::npos);
  CHECK(fits(*find_family("finetune_sam_tiny"), tiny(TinyStem::conv3x3_stride2)));
  CHECK_FALSE(fits(*find_family("finetune_sam_tiny"), tiny(TinyStem::conv1x1_stride1)));
  NetworkSizes other_stem = tiny(TinyStem::conv1x1_stride1), edge = test::rep_vit_sizes(test::edge_sam_published());
  for (NetworkSizes* n : {&other_stem, &edge}) {
    n->decoder = DecoderKind::later_classes, n->mask_tokens = 6, n->decoder_hook = 20, n->decoder_hook_layers = 2;
    CHECK(identify(expected_tensors(*n)).error().message().find("a decoder of classes (6 mask tokens)") != std::string::npos);
  }
  auto in_encoder = expected_tensors(on_tiny);
  in_encoder.push_back({"image_encoder.layers.1.blocks.0.MLP_Adapter.D_fc1.weight", {20, 128}});
  CHECK(identify(in_encoder).error().message().find("of another network: image_encoder.layers.1.blocks.0.MLP_Adapter.D_fc1.weight") != std::string::npos);
  auto cut = expected_tensors(adapter);
  std::erase_if(cut, [](const TensorShape& t) { return t.name == "image_encoder.prompt_generator.lightweight_mlp_1.0.bias"; });
  CHECK(identify(cut).error().message().find("lightweight_mlp_1.0.bias") != std::string::npos);
}

TEST_CASE("the light networks come back from their shapes") {
  for (const int width : {192, 384}) {
    const NetworkSizes n = test::plain_vit_sizes(test::efficient_sam_12(width));
    const auto id = identify(expected_tensors(n));
    REQUIRE_MESSAGE(id, id.error().message());
    CHECK(id->sizes == n);
    CHECK(id->family->key == "efficient_sam");
  }
  for (const char* name : {"L0", "L1", "L2", "XL0", "XL1"}) {
    const NetworkSizes n = test::efficient_vit_sizes(test::efficient_vit_published(name));
    const auto id = identify(expected_tensors(n));
    REQUIRE_MESSAGE(id, id.error().message());
    CHECK(id->sizes == n);
    CHECK(id->family->key == "efficientvit_sam");
  }
  const NetworkSizes edge = test::rep_vit_sizes(test::edge_sam_published());
  auto rows = expected_tensors(edge);
  const auto found = identify(rows);
  REQUIRE_MESSAGE(found, found.error().message());
  CHECK(found->sizes == edge);
  CHECK(found->family->key == "edge_sam");
  CHECK(found->family->licence.find("non-commercial") != std::string_view::npos);
  row(rows, "image_encoder.features.24.token_mixer.2.c.weight").name = "image_encoder.features.24.token_mixer.3.c.weight";
  CHECK(identify(rows).error().message().find("halves the map 2 times") != std::string::npos);
  rows = expected_tensors(test::plain_vit_sizes(test::efficient_sam_12(192)));
  row(rows, "image_encoder.pos_embed").shape = {1, 196, 192};
  CHECK(identify(rows).error().message().find("a class token and a square grid") != std::string::npos);
}

TEST_CASE("wrong files") {
  using Rows = std::vector<TensorShape>;
  struct Case {
    const char* what;
    std::function<void(Rows&)> change;
    const char* says;
  };
  const std::string e = "image_encoder.";
  const Case cases[] = {
      {"pos_embed of another input size", [&](Rows& r) { row(r, e + "pos_embed").shape = {1, 32, 32, 96}; }, "position tables of this file belong to different input sizes"},
      {"pos_embed not square", [&](Rows& r) { row(r, e + "pos_embed").shape = {1, 20, 10, 96}; }, "only square"},
      {"pos_embed of 197 rows", [&](Rows& r) { row(r, e + "pos_embed").shape = {1, 197, 96}; }, "4 axes are needed"},
      {"one block's table resized", [&](Rows& r) { row(r, e + "blocks.1.attn.rel_pos_h").shape = {127, 32}; }, "blocks.1.attn.rel_pos_h has 127 rows"},
      {"an even table", [&](Rows& r) { row(r, e + "blocks.0.attn.rel_pos_h").shape = {28, 32}; }, "blocks.0.attn.rel_pos_h has 28 rows"},
      {"h and w disagree", [&](Rows& r) { row(r, e + "blocks.0.attn.rel_pos_w").shape = {39, 32}; }, "blocks.0.attn.rel_pos_w is [39,32], expected [27,32]"},
      {"head size does not divide", [&](Rows& r) { row(r, e + "blocks.0.attn.rel_pos_h").shape = {27, 31}; }, "multiple of the head size"},
      {"a missing tensor", [&](Rows& r) { r.erase(r.begin() + 5); }, "1 tensor missing: image_encoder.blocks.0.attn.rel_pos_h"},
      {"surplus", [&](Rows& r) { r.push_back({"mask_decoder.extra", {1}}); }, "1 tensor of another network: mask_decoder.extra"},
      {"transposed weight", [&](Rows& r) { std::swap(row(r, e + "blocks.2.mlp.lin1.weight").shape[0], row(r, e + "blocks.2.mlp.lin1.weight").shape[1]); }, "lin1.weight is [96,384], expected [384,96]"},
      {"K+1 class tokens, heads of four", [&](Rows& r) { row(r, "mask_decoder.mask_tokens.weight").shape = {9, 256}; }, "30 tensors missing"},
      {"huge extent", [&](Rows& r) { row(r, e + "neck.0.weight").shape[0] = std::int64_t(1) << 40; }, "extents from 1 to 65536"},
      {"huge grid and patch", [&](Rows& r) { row(r, e + "pos_embed").shape = {1, 65536, 65536, 96}, row(r, e + "patch_embed.proj.weight").shape = {96, 3, 65536, 65536}; }, "at most 512 and 256"},
      {"zero extent", [&](Rows& r) { row(r, e + "pos_embed").shape = {1, 0, 0, 96}; }, "extents from 1 to 65536"},
      {"channels for 8 heads", [&](Rows& r) { row(r, e + "neck.0.weight").shape[0] = 250; }, "multiple of 16"},
      {"no encoder", [&](Rows& r) { r.resize(0); }, "neither"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.what);
    Rows rows = expected_tensors(sam(96, 4, 3, 320, {1, 3}));
    if (std::string_view(c.what) == "a missing tensor") REQUIRE(rows[5].name == e + "blocks.0.attn.rel_pos_h");
    c.change(rows);
    const auto id = identify(rows);
    REQUIRE_FALSE(id);
    CHECK(id.error().code() == ErrorCode::bad_model);
    const bool missing = std::string_view(c.what) == "a missing tensor";
    CHECK_MESSAGE(id.error().message().find(missing ? "rel_pos_h is missing" : c.says) != std::string::npos, id.error().message());
  }
  const Case volumes[] = {
      {"a grid that is no cube", [&](Rows& r) { row(r, e + "pos_embed").shape = {1, 4, 5, 4, 48}; }, "pos_embed is [1,4,5,4,48], expected [1,4,4,4,48]"},
      {"a flat pos_embed", [&](Rows& r) { row(r, e + "pos_embed").shape = {1, 4, 4, 48}; }, "5 axes are needed"},
      {"one axis of positions missing", [&](Rows& r) { std::erase_if(r, [](const TensorShape& t) { return t.name.find("blocks.1.attn.rel_pos_w") != std::string::npos; }); }, "missing: image_encoder.blocks.1.attn.rel_pos_w"},
      {"box embeddings", [&](Rows& r) { r.push_back({"prompt_encoder.point_embeddings.2.weight", {1, 48}}); }, "of another network: prompt_encoder.point_embeddings.2.weight"},
      {"flat mask convolutions", [&](Rows& r) { row(r, "prompt_encoder.mask_downscaling.0.weight").shape = {4, 1, 2, 2}; }, "expected [4,1,2,2,2]"},
  };
  for (const Case& c : volumes) {
    CAPTURE(c.what);
    Rows rows = expected_tensors(med3d(48, 2, 3, 64, {1}, 48));
    c.change(rows);
    const auto id = identify(rows);
    REQUIRE_FALSE(id);
    CHECK_MESSAGE(id.error().message().find(c.says) != std::string::npos, id.error().message());
  }
  Rows rows = expected_tensors(tiny(TinyStem::conv1x1_stride1));
  row(rows, e + "layers.1.blocks.0.attn.attention_biases").shape = {4, 50};
  CHECK(identify(rows).error().message().find("a square number is needed") != std::string::npos);
  rows = expected_tensors(tiny(TinyStem::conv1x1_stride1));
  row(rows, e + "patch_embed.seq.0.c.weight").shape = {32, 3, 5, 5};
  CHECK(identify(rows).error().message().find("5x5 kernel") != std::string::npos);
}

TEST_CASE("missing tensors are named, five of them and a count") {
  auto rows = expected_tensors(sam(96, 4, 3, 320, {1, 3}));
  std::erase_if(rows, [](const TensorShape& t) { return t.name.find("output_hypernetworks_mlps.3.") != std::string::npos || t.name.find("hypernetworks_mlps.2.layers.0.bias") != std::string::npos; });
  const Status s = check_complete(rows, sam(96, 4, 3, 320, {1, 3}));
  REQUIRE_FALSE(s);
  CHECK(s.error().message().find("7 tensors missing: ") == 0);
  CHECK(s.error().message().find(" and 2 more") != std::string::npos);
}
