// weights/contract.hpp and weights/family.hpp: the record reads back, and every field that is missing, unknown or out of range is an error with its path.
#include "support/tiny_model.hpp"

#include <doctest/doctest.h>
#include <sampan/weights/family.hpp>

using namespace sampan;
using namespace sampan::weights;

namespace {

NetworkSizes sam_b() {
  NetworkSizes n;
  n.encoder = EncoderKind::sam_vit;
  n.image_size = 1024, n.grid = 64, n.out_channels = 256, n.decoder_mlp = 2048, n.iou_hidden = 256;
  n.sam_vit = {16, 768, 12, 12, 3072, 14, {2, 5, 8, 11}};
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

NetworkSizes med3d() {
  NetworkSizes n;
  n.encoder = EncoderKind::sam_vit_3d;
  n.image_size = 128, n.grid = 8, n.out_channels = 384, n.decoder_mlp = 2048, n.iou_hidden = 256;
  n.sam_vit = {16, 768, 12, 12, 3072, 14, {2, 5, 8, 11}};
  return n;
}

/// SAM ViT-B with what a family's files have beside it.
NetworkSizes sam_b_of(std::string_view family) {
  NetworkSizes n = sam_b();
  if (family == "autosam") n.prompt_source = PromptSource::positions, n.decoder = DecoderKind::class_sets, n.class_sets = 3, n.mask_tokens = 2;
  if (family == "autosam_linear" || family == "autosam_cnn") {
    n.prompt_source = PromptSource::nothing, n.mask_tokens = 3, n.decoder_mlp = n.iou_hidden = 0;
    n.decoder = family == "autosam_cnn" ? DecoderKind::plain_cnn : DecoderKind::plain_linear;
    if (n.decoder == DecoderKind::plain_cnn) n.plain_depth = 4, n.plain_width = 64;
  }
  if (family == "finetune_sam") n.decoder = DecoderKind::later_classes, n.decoder_hook = 64, n.decoder_hook_layers = 2;
  if (family == "hsam") n.image_size = 224, n.grid = 14, n.decoder = DecoderKind::guided, n.mask_tokens = 9;
  if (family == "desam") n.decoder = DecoderKind::decoupled;
  if (family == "autosamus") n.prompt_source = PromptSource::generator, n.object_tokens = 50;
  if (family == "samus" || family == "autosamus") {
    n.image_size = 256, n.grid = 32;
    n.sam_vit.patch = 8, n.sam_vit.pos_grid = 64, n.sam_vit.hook = HookKind::side_branch, n.sam_vit.hook_hidden = 192, n.sam_vit.hook_blocks = n.sam_vit.global_blocks;
  }
  if (family == "sam_adapter") {
    n.prompt_source = PromptSource::no_mask;
    n.sam_vit.hook = HookKind::frequency_prompt, n.sam_vit.hook_hidden = 24, n.sam_vit.hook_blocks = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
  }
  return n;
}

NetworkSizes tiny_of(const FamilyRow& f) {
  NetworkSizes n = tiny(f.stem);
  if (f.key == "finetune_sam_tiny") n.decoder = DecoderKind::later_classes, n.mask_tokens = 6, n.decoder_hook = 64, n.decoder_hook_layers = 2;
  return n;
}

NetworkSizes published(const FamilyRow& f) {
  switch (f.encoder) {
    case EncoderKind::sam_vit: return sam_b_of(f.key);
    case EncoderKind::tiny_vit: return tiny_of(f);
    case EncoderKind::efficient_vit: return test::efficient_vit_sizes(test::efficient_vit_published("L1"));
    case EncoderKind::rep_vit: return test::rep_vit_sizes(test::edge_sam_published());
    case EncoderKind::plain_vit: return test::plain_vit_sizes(test::efficient_sam_12(192));
    case EncoderKind::sam_vit_3d: return med3d();
  }
  return {};
}

Contract example(const FamilyRow& f) {
  Contract c = base_contract(f, published(f));
  c.source_file = "a \"b\".pth", c.source_sha256 = "00ff", c.converter = "sampan-convert x", c.data_sha256 = "ff00", c.layout = SourceLayout::hf_sam;
  return c;
}

std::string with(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  REQUIRE_MESSAGE(at != std::string::npos, from);
  return text.replace(at, from.size(), to);
}

}  // namespace

TEST_CASE("every family's record reads back equal") {
  for (const FamilyRow& f : kFamilies) {
    CAPTURE(f.key);
    const Contract c = example(f);
    const auto back = parse_contract(to_json(c));
    REQUIRE_MESSAGE(back, back.error().message());
    CHECK(*back == c);
  }
}

TEST_CASE("names of SAM's sizes") {
  NetworkSizes n = sam_b();
  CHECK(base_contract(*find_family("sam"), n).name == "SAM ViT-B");
  n.image_size = 256;
  CHECK(base_contract(*find_family("sam"), n).name == "SAM ViT-B 256 px");
  n.sam_vit.embed_dim = 168;
  CHECK(base_contract(*find_family("sam"), n).name == "SAM ViT 168x12 256 px");
  CHECK(base_contract(*find_family("medsam"), n).name == "MedSAM");
  for (const char* name : {"L0", "L1", "L2", "XL0", "XL1"}) CHECK(base_contract(*find_family("efficientvit_sam"), test::efficient_vit_sizes(test::efficient_vit_published(name))).name == cat("EfficientViT-SAM ", name));
  CHECK(base_contract(*find_family("efficient_sam"), test::plain_vit_sizes(test::efficient_sam_12(384))).name == "EfficientSAM-S");
  CHECK_FALSE(find_family("nothing"));
  CHECK(family_list() == "sam, medsam, lite_medsam, sam_med2d, sam_med2d_eval, scribbleprompt, mobile_sam, tiny_sam, samed, hsam, finetune_sam, finetune_sam_tiny, medical_sam_adapter, sam_adapter, autosam, autosam_linear, autosam_cnn, desam, samus, autosamus, sam_hq, sam_hq_tiny, efficient_sam, efficientvit_sam, edge_sam, sam_med3d");
}

TEST_CASE("a record has the lowest version that can say it") {
  NetworkSizes n = sam_b();
  const FamilyRow& sam = *find_family("sam");
  CHECK(to_json(base_contract(sam, n)).find("\"version\":1") != std::string::npos);
  CHECK(to_json(base_contract(*find_family("scribbleprompt"), n)).find("\"version\":2") != std::string::npos);
  n.sam_vit.hook = HookKind::conv_adapter, n.sam_vit.hook_hidden = 192, n.sam_vit.hook_blocks = {0, 3, 11};
  const Contract c = base_contract(*find_family("sam_med2d"), n);
  const std::string text = to_json(c);
  CHECK(text.find("\"version\":2") != std::string::npos);
  const auto back = parse_contract(text);
  REQUIRE_MESSAGE(back, back.error().message());
  CHECK(*back == c);
  const std::pair<std::string, const char*> wrong[] = {{with(text, "[0,3,11]", "[0,3,12]"), "hook_blocks"},      {with(text, "[0,3,11]", "[3,0,11]"), "hook_blocks"},
                                                       {with(text, "[0,3,11]", "[]"), "go together"},            {with(text, "\"hook_hidden\":192", "\"hook_hidden\":0"), "go together"},
                                                       {with(text, "conv_adapter", "conv_adaptor"), "hook"},     {with(text, "\"pads\":\"after_norm\"", "\"pads\":1"), "network.pads"},
                                                       {with(text, "\"channels\":\"rgb\"", "\"channels\":\"rbg\""), "image.channels"}, {with(text, "\"version\":2", "\"version\":1"), "unknown to this build"}};
  for (const auto& w : wrong) {
    const auto r = parse_contract(w.first);
    REQUIRE_FALSE_MESSAGE(r.ok(), w.second);
    CHECK_MESSAGE(r.error().message().find(w.second) != std::string::npos, r.error().message());
  }
  n.sam_vit.pads = WindowPads::before_norm, n.image_size = 16 * 63, n.grid = 63;
  CHECK(parse_contract(to_json(base_contract(sam, n))).error().message().find("halves the grid") != std::string::npos);
}

TEST_CASE("the light networks' records are of version 3, and their sizes are checked") {
  struct Case {
    std::string text, says;
  };
  const std::string plain = to_json(example(*find_family("efficient_sam"))), vit = to_json(example(*find_family("efficientvit_sam"))), edge = to_json(example(*find_family("edge_sam")));
  CHECK(plain.find("\"version\":3") != std::string::npos);
  const Case cases[] = {{with(plain, "\"grid\":64", "\"grid\":63"), "patch 16 times grid 63"},
                        {with(plain, "\"heads\":3", "\"heads\":5"), "multiple of heads"},
                        {with(plain, "\"pos_grid\":14", "\"pos_grid\":0"), "network.pos_grid"},
                        {with(plain, "\"decoder\":\"efficient_sam\"", "\"decoder\":\"sam3\""), "network.decoder"},
                        {with(vit, "\"widths\":[32,", "\"widths\":[32,32,"), "must have 5 entries"},
                        {with(vit, "512],\"depths", "500],\"depths"), "widths of stage 4 must be a multiple of 32"},
                        {with(vit, "\"image_size\":512", "\"image_size\":520"), "gives no grid of 64"},
                        {with(vit, "\"grid\":64", "\"grid\":32"), "gives no grid of 32"},
                        {with(vit, "\"kind\":\"large\"", "\"kind\":\"extra_large\""), "must have 6 entries"},
                        {with(vit, "gelu_tanh", "gelu_erf"), "gelu_tanh belongs to encoder efficient_vit"},
                        {with(vit, "\"prompt_size\":1024", "\"prompt_size\":-1"), "network.prompt_size"},
                        {with(edge, "18,20,24]", "18,20,26]"), "se_blocks must ascend and stay below 26"},
                        {with(edge, "\"grid\":64", "\"grid\":32"), "gives no grid of 32"},
                        {with(edge, "\"depths\":[3,", "\"depths\":[0,"), "network.depths"},
                        {with(plain, "\"version\":3", "\"version\":2"), "unknown to this build"}};
  for (const Case& c : cases) {
    const auto r = parse_contract(c.text);
    REQUIRE_FALSE_MESSAGE(r.ok(), c.says);
    CHECK_MESSAGE(r.error().message().find(c.says) != std::string::npos, r.error().message());
  }
}

TEST_CASE("records of version 4: what fine-tunes put into or around SAM's blocks") {
  struct Case {
    std::string text, says;
  };
  const auto record = [](const char* family) { return to_json(example(*find_family(family))); };
  const std::string fine = record("finetune_sam"), on_tiny = record("finetune_sam_tiny"), adapter = record("sam_adapter"), sets = record("autosam"), samus = record("samus"), desam = record("desam");
  for (const auto& text : {fine, on_tiny, adapter, sets, samus}) CHECK(text.find("\"version\":4") != std::string::npos);
  const Case cases[] = {{with(fine, "\"decoder_hook\":64", "\"decoder_hook\":0"), "go together"},
                        {with(fine, "\"decoder_hook_layers\":2", "\"decoder_hook_layers\":3"), "at most 2"},
                        {with(fine, "low_argmax_zoom", "input_crop_original"), "exactly if network.decoder gives classes"},
                        {with(fine, "later_classes", "hq"), "has no bottlenecks"},
                        {with(on_tiny, "\"mask_tokens\":6", "\"mask_tokens\":2"), "1 classes: 2 to 256"},
                        {with(fine, "\"mask_tokens\":4", "\"mask_tokens\":2"), "1 classes: 2 to 256"},
                        {with(adapter, "10,11]", "10]"), "before every block"},
                        {with(adapter, "\"points\":false", "\"points\":true"), "prompts need network.prompt_source clicks"},
                        {with(adapter, "\"prompt_source\":\"no_mask\"", "\"prompt_source\":\"none\""), "network.prompt_source"},
                        {with(sets, "\"class_sets\":3", "\"class_sets\":0"), "0 classes: 2 to 256"},
                        {with(sets, "\"decoder\":\"class_sets\"", "\"decoder\":\"later_classes\""), "1 classes: 2 to 256"},
                        {with(record("hsam"), "\"mask_tokens\":9", "\"mask_tokens\":4"), "9 classes (4)"},
                        {with(with(record("hsam"), "\"image_size\":224", "\"image_size\":256"), "\"grid\":14", "\"grid\":16"), "14 or 32 (16)"},
                        {with(record("autosam_cnn"), "\"plain_depth\":4", "\"plain_depth\":3"), "3 blocks"},
                        {with(record("autosam_cnn"), "\"plain_depth\":4,", ""), "network.plain_depth: is missing"},
                        {with(record("autosam_linear"), "\"prompt_source\":\"nothing\"", "\"prompt_source\":\"positions\""), "go together"},
                        {with(record("autosam_linear"), "\"decoder_mlp\":0", "\"decoder_mlp\":2048"), "network.decoder_mlp"},
                        {with(record("autosamus"), "\"object_tokens\":50", "\"object_tokens\":0"), "object_tokens go together"},
                        {with(desam, "\"global_blocks\":[2,5,8,11]", "\"global_blocks\":[2,5,11]"), "there are 3 and 256"},
                        {with(samus, "\"pos_grid\":64", "\"pos_grid\":0"), "pos_grid go together"},
                        {with(samus, "\"pos_grid\":64", "\"pos_grid\":96"), "a power of two (96)"},
                        {with(samus, "\"hook_blocks\":[2,5,8,11]", "\"hook_blocks\":[2,5,8]"), "every global block"},
                        {with(sets, "\"class_sets\":3,", ""), "network.class_sets: is missing"},
                        {with(sets, "\"version\":4", "\"version\":3"), "unknown to this build"}};
  for (const Case& c : cases) {
    const auto r = parse_contract(c.text);
    REQUIRE_FALSE_MESSAGE(r.ok(), c.says);
    CHECK_MESSAGE(r.error().message().find(c.says) != std::string::npos, r.error().message());
  }
}

TEST_CASE("a record of a volumetric network says what a crop is, instead of what an image is") {
  const FamilyRow& f = *find_family("sam_med3d");
  const std::string text = to_json(base_contract(f, med3d()));
  CHECK(text.find("\"version\":3") != std::string::npos);
  CHECK(text.find("\"volume\":{\"spacing\":1.5,\"axes\":\"right_anterior_superior\",\"normalise\":\"positive_z_score\"}") != std::string::npos);
  CHECK(text.find("\"image\"") == std::string::npos);
  CHECK(text.find("hook") == std::string::npos);
  const std::pair<std::string, const char*> wrong[] = {{with(text, "\"version\":3", "\"version\":2"), "needs a record of version 3"},
                                                       {with(text, "\"spacing\":1.5", "\"spacing\":0"), "volume.spacing"},
                                                       {with(text, "right_anterior_superior", "left_anterior_superior"), "volume.axes"},
                                                       {with(text, "positive_z_score", "z_score"), "volume.normalise"},
                                                       {with(text, "crop_voxels", "scale_per_axis"), "go with volumes"},
                                                       {with(text, "trilinear_input", "input_crop_original"), "go with volumes"},
                                                       {with(text, "\"out_channels\":384", "\"out_channels\":256"), "multiple of 3"},
                                                       {with(text, "\"volume\":", "\"image\":"), "volume: is missing"},
                                                       {with(text, "sam_vit_3d", "sam_vit"), "image: is missing"}};
  for (const auto& w : wrong) {
    const auto r = parse_contract(w.first);
    REQUIRE_FALSE_MESSAGE(r.ok(), w.second);
    CHECK_MESSAGE(r.error().message().find(w.second) != std::string::npos, r.error().message());
  }
  NetworkSizes n = med3d();
  n.image_size = 2048, n.grid = 128;
  CHECK(parse_contract(to_json(base_contract(f, n))).error().message().find("at most 512 and 64") != std::string::npos);
  const std::string flat = to_json(base_contract(*find_family("sam"), sam_b()));
  CHECK(parse_contract(with(flat, "scale_per_axis", "crop_voxels")).error().message().find("only with them") != std::string::npos);
}

TEST_CASE("what the families disagree on") {
  const FamilyRow &sam = *find_family("sam"), &med = *find_family("medsam"), &lite = *find_family("lite_medsam"), &mobile = *find_family("mobile_sam");
  CHECK(sam.eps.encoder_ln == 1e-6);
  CHECK(mobile.eps.encoder_ln == 1e-5);
  CHECK(sam.image.mean[0] == 123.675);
  CHECK(mobile.image == sam.image);
  CHECK(med.image.resize == ResizeKind::skimage_cubic_aa);
  CHECK_FALSE(med.image.keep_aspect);
  CHECK(med.mask.upsample == UpsampleKind::sigmoid_then_original);
  CHECK(med.mask.threshold == 0.5);
  CHECK(lite.image.resize == ResizeKind::cv2_area);
  CHECK(lite.prompt.coordinates == CoordinateKind::truncate_single_factor);
  CHECK(lite.mask.upsample == UpsampleKind::crop_low_original);
  CHECK_FALSE(lite.mask.multimask);
  const FamilyRow &med2d = *find_family("sam_med2d"), &eval = *find_family("sam_med2d_eval"), &scribble = *find_family("scribbleprompt");
  CHECK(med2d.image.resize == ResizeKind::cv2_nearest);
  CHECK(med2d.image.channels == ImageChannels::rgb);
  CHECK(eval.image.channels == ImageChannels::bgr);
  CHECK(eval.image.pad == PadKind::centre_small);
  CHECK(scribble.image.channels == ImageChannels::gray);
  CHECK_FALSE(scribble.mask.single);
  const FamilyRow& efficient = *find_family("efficient_sam");
  CHECK(efficient.image.resize == ResizeKind::torch_bilinear);
  CHECK(efficient.mask.upsample == UpsampleKind::bicubic_original);
  CHECK_FALSE(efficient.prompt.mask_input);
}

TEST_CASE("a wrong record is refused with the path of the field") {
  const std::string good = to_json(example(*find_family("sam"))), lite = to_json(example(*find_family("lite_medsam")));
  struct Case {
    std::string text, says;
  };
  const Case cases[] = {
      {"", "JSON"},
      {"[]", "an object is needed"},
      {"{}", "version"},
      {with(good, "\"version\":1", "\"version\":5"), "version 5, this build reads up to version 4"},
      {with(good, "\"version\":1", "\"version\":2"), "network.hook: is missing"},
      {with(good, "\"version\":1", "\"version\":0"), "version"},
      {with(good, "\"version\":1", "\"version\":\"1\""), "version"},
      {with(good, "\"version\":1,", ""), "version: is missing"},
      {with(good, "\"family\":", "\"famly\":"), "family: is missing"},
      {with(good, "\"activation\":", "\"extra\":1,\"activation\":"), "extra: unknown"},
      {with(good, "\"pad\":\"right", "\"pads\":\"right"), "image.pad: is missing"},
      {with(good, "\"order\":", "\"more\":true,\"order\":"), "image.more: unknown"},
      {with(good, "pillow_bilinear", "pillow_nearest"), "image.resize: \"pillow_nearest\" is unknown to this build; known: pillow_bilinear, cv2_area, skimage_cubic_aa, cv2_nearest, torch_bilinear"},
      {with(good, "gelu_erf", "gelu_tan"), "activation"},
      {with(good, "gelu_erf", "gelu_tanh"), "gelu_tanh belongs to encoder efficient_vit"},
      {with(good, "\"keep_aspect\":true", "\"keep_aspect\":1"), "image.keep_aspect: true or false"},
      {with(good, "\"keep_aspect\":true", "\"keep_aspect\":false"), "image.pad must be right_bottom exactly if"},
      {with(good, "\"mean\":[123.675,", "\"mean\":["), "image.mean: a list of 3 numbers"},
      {with(good, "\"std\":[58.395,", "\"std\":[0,"), "image.std"},
      {with(good, "\"decoder_ln\":1e-05", "\"decoder_ln\":1"), "eps.decoder_ln"},
      {with(good, "\"decoder_ln\":1e-05", "\"decoder_ln\":null"), "eps.decoder_ln"},
      {with(good, "\"depth\":12", "\"depth\":0"), "network.depth"},
      {with(good, "\"depth\":12", "\"depth\":12.0"), "network.depth"},
      {with(good, "\"depth\":12", "\"depth\":100000"), "network.depth"},
      {with(good, "\"heads\":12", "\"heads\":13"), "multiple of heads"},
      {with(good, "\"grid\":64", "\"grid\":63"), "patch 16 times grid 63"},
      {with(good, "[2,5,8,11]", "[2,5,8,12]"), "global_blocks"},
      {with(good, "[2,5,8,11]", "[5,2,8,11]"), "global_blocks"},
      {with(good, "\"out_channels\":256", "\"out_channels\":250"), "out_channels"},
      {with(good, "\"encoder\":\"sam_vit\"", "\"encoder\":\"tiny_vit\""), "network.stem: is missing"},
      {with(good, "\"single\":true,\"multimask\":true", "\"single\":false,\"multimask\":false"), "both false"},
      {with(good, "\"source\":{\"file\":\"a \\\"b\\\".pth\",\"sha256\":\"00ff\",\"layout\":\"hf_sam\"}", "\"source\":7"), "source: an object is needed"},
      {with(lite, "\"dims\":[64,128,160,320]", "\"dims\":[64,128,160]"), "network.dims: a list of 4"},
      {with(lite, "\"strides\":[2,2,1]", "\"strides\":[2,2,2]"), "gives a grid of 32, not 64"},
      {with(lite, "\"heads\":[2,4,5,10]", "\"heads\":[2,4,7,10]"), "layer 2"},
      {with(lite, "\"windows\":[7,7,14,7]", "\"windows\":[7,7,14,0]"), "network.windows"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.text.substr(0, 60));
    const auto r = parse_contract(c.text);
    REQUIRE_FALSE_MESSAGE(r.ok(), c.says);
    CHECK(r.error().code() == ErrorCode::bad_model);
    CHECK_MESSAGE(r.error().message().find(c.says) != std::string::npos, r.error().message(), "   wanted: ", c.says);
  }
}
