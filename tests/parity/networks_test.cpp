// Whole networks against PyTorch: random weights from the generator, the image through our own preprocessing, every stored intermediate by its name,
// logits and masks of every prompt; on the scalar definition and on every level of the fast backend. Ends with the table that README shows.
#include "parity/golden.hpp"

#include <sampan/image/codec_stb.hpp>

#include <set>

using namespace sampan;
using namespace sampan::test;

namespace {

weights::Contract contract_of(const nlohmann::json& c) {
  const std::string profile = c.value("profile", "");
  const auto decoder = c.value("decoder", "") == "hq" ? weights::DecoderKind::hq : weights::DecoderKind::sam;
  if (c.at("family") == "sam_vit") {
    SamConfig s{.width = c["embed"], .depth = c["depth"], .heads = c["heads"], .image = c["img"], .global_blocks = c["global_blocks"].get<std::vector<int>>(), .window = c["window"]};
    s.channels = kUsualChannels, s.decoder_mlp = kUsualDecoderMlp, s.iou_hidden = kUsualIouHidden;
    auto n = sam_sizes(s);
    n.sam_vit.mlp_dim = c["mlp"];
    if (c.contains("hook")) {
      n.sam_vit.hook = c["hook"] == "conv_adapter" ? weights::HookKind::conv_adapter : weights::HookKind::bottleneck;
      n.sam_vit.hook_hidden = c["hook_hidden"];
      n.sam_vit.hook_blocks = c["hook_blocks"].get<std::vector<int>>();
      if (c.value("pads", "") == "before_norm") n.sam_vit.pads = weights::WindowPads::before_norm;
    }
    n.decoder = decoder;
    return random_contract(profile.empty() ? "sam" : profile, n);
  }
  if (c.at("family") == "plain_vit") {
    auto n = sam_sizes({.image = c["img"], .channels = kUsualChannels, .decoder_mlp = kUsualDecoderMlp, .iou_hidden = kUsualIouHidden});
    n.encoder = weights::EncoderKind::plain_vit;
    n.decoder = weights::DecoderKind::efficient_sam;
    n.sam_vit = {};
    n.plain_vit = {16, c["embed"], c["depth"], c["heads"], c["mlp"], c["pos_grid"]};
    return random_contract("efficient_sam", n);
  }
  if (c.at("family") == "efficient_vit") {
    weights::NetworkSizes n;
    n.encoder = weights::EncoderKind::efficient_vit;
    n.image_size = c["img"], n.grid = c["grid"];
    n.prompt_size = c["prompt"] == c["img"] ? 0 : c["prompt"].get<int>();
    n.out_channels = kUsualChannels, n.decoder_mlp = kUsualDecoderMlp, n.iou_hidden = kUsualIouHidden;
    n.efficient_vit = {c["kind"] == "large" ? weights::EfficientVitKind::large : weights::EfficientVitKind::extra_large, c["widths"].get<std::vector<int>>(), c["depths"].get<std::vector<int>>(), c["head_width"], c["head_depth"]};
    return random_contract("efficientvit_sam", n);
  }
  if (c.at("family") == "rep_vit")
    return random_contract("edge_sam", rep_vit_sizes({c["widths"].get<std::array<int, 4>>(), c["depths"].get<std::array<int, 4>>(), c["se_blocks"].get<std::vector<int>>(), c["img"], kUsualChannels, kUsualDecoderMlp, kUsualIouHidden}));
  const bool wide = c.at("stem") == "3x3_s2";
  TinyVitConfig t = tiny_vit_5m(wide ? weights::TinyStem::conv3x3_stride2 : weights::TinyStem::conv1x1_stride1);
  t.dims = c["dims"], t.depths = c["depths"], t.heads = c["heads"], t.windows = c["windows"];
  auto n = tiny_vit_sizes(t);
  n.decoder = decoder;
  return random_contract(!profile.empty() ? profile : wide ? "mobile_sam" : "lite_medsam", n);
}

struct Pixels {
  std::vector<std::uint8_t> data;
  ImageSize size;
};

Pixels image_of(const Golden& g, const std::string& shared) {
  const auto info = g.meta("image");
  const ImageSize size{info["width"], info["height"], info["channels"]};
  if (g.find("image_u8")) return {g.bytes("image_u8"), size};
  const std::string source = info["source"];
  auto image = load_image(shared + "/" + source.substr(source.find("images/")));
  REQUIRE_MESSAGE(image, image.error().what());
  return {{image->data(), image->data() + image->bytes()}, image->size()};
}

/// Names of layers among the golden's tensors, for the trace.
std::vector<std::string> layer_names(const Golden& g) {
  std::vector<std::string> names{"input"};
  for (const auto& t : g.file().tensors())
    if (t.name.rfind("image_encoder.", 0) == 0) names.push_back(t.name);
  return names;
}

void run_network(const std::string& golden_name, const std::string& title, bool small, const std::string& shared = {}) {
  CAPTURE(golden_name);
  const Golden g = Golden::committed(golden_name);
  const auto config = g.meta("config");
  const auto contract = contract_of(config);
  TempFolder folder;
  const std::string path = folder.file("model.safetensors");
  NamedShapes tensors;  // surplus tensors of a checkpoint (a classifier head) are what sampan-convert leaves out
  for (const auto& t : g.weight_shapes())
    if (t.name.find("norm_head") == std::string::npos && t.name.rfind("image_encoder.head", 0) != 0) tensors.push_back(t);
  const bool as_published = config.value("as_published", false);  // the publisher's names: the file must be recognised
  const auto seed = g.meta("seed").get<std::uint64_t>();
  const Status written = as_published ? write_unconverted(path, tensors, seed) : write_model(path, contract, seed, tensors);
  REQUIRE_MESSAGE(written, written.error().what());
  const Pixels image = image_of(g, shared);

  const auto all = places(small);
  for (const Place& place : all) {
    CAPTURE(place.name);
    if (!small && place.name == "scalar") continue;  // the small networks run there
    // portable512 has the tiles of avx512, and Light HQ-SAM runs this encoder there at this size; where it is the best level, this one does too.
    if (&place != &all.back() && place.name == "portable512" && golden_name == "mobile_sam_phantom") continue;
    if (&place != &all.back() && golden_name == "mobile_sam_s0114_111") continue;  // the same network as mobile_sam_phantom, which runs on more levels
    auto model = Model::try_load(path, place.options);
    REQUIRE_MESSAGE(model, model.error().what());
    if (as_published) CHECK(model->info().family == config["profile"].get<std::string>());
    Session session(*model);
    Trace trace(layer_names(g));
    session.set_trace(&trace);
    session.set_image({image.data.data(), image.size});
    std::set<std::string> seen;
    for (const auto& r : trace.records()) {
      seen.insert(r.name);
      check_tensor(g, r.name, r.data, r.shape);
    }
    for (const auto& name : trace.names()) {
      CAPTURE(name);
      CHECK(seen.count(name) == (g.find(name) || name == "input" ? 1u : 0u));
    }
    // The fused path, without a trace, is what a product runs; Reference has none.
    session.set_trace(nullptr);
    if (place.options.device != Device::reference) session.set_image({image.data.data(), image.size});
    const auto embedding = session.try_image_embedding();
    REQUIRE(embedding);
    const std::int64_t grid = model->info().embedding_grid;
    const double e = check_tensor(g, "image_embedding", *embedding, {1, as_published ? kUsualChannels : contract.network.out_channels, grid, grid});
    CHECK(e <= 1e-5);
    const std::string features_name = g.find("hq_features") ? "hq_features" : "pimm_features";
    if (g.find(features_name)) {
      const std::string kept = folder.file("embedding.safetensors");
      REQUIRE(session.try_save_embedding(kept));
      const auto file = weights::Safetensors::open(kept);
      REQUIRE(file);
      const auto* t = file->find(features_name);
      REQUIRE(t);
      std::vector<float> features(std::size_t(*weights::element_count(t->shape)));
      weights::convert_to_f32(t->dtype, t->data.data(), features.size(), features.data());
      CHECK(check_tensor(g, features_name, features, t->shape) <= 1e-5);
      session.set_image(ImageView{image.data.data() + 3, {image.size.width - 1, image.size.height, image.size.channels}, PixelType::u8, image.size.width * image.size.channels});
      REQUIRE(session.try_load_embedding(kept));  // the prompts below run on what the file kept
    }

    double worst_logits = 0, worst_iou = 1;
    const auto prompts = g.meta("prompts");
    for (const auto& entry : prompts.items()) {
      const std::string& name = entry.key();
      const auto& p = entry.value();
      CAPTURE(name);
      const std::int64_t low = model->info().low_res;
      std::vector<float> mask;
      if (p.contains("mask")) {
        mask = hash_fill(seed, "mask_input", {low, low}, 0, 8);
      }
      const Prediction got = session.predict(parse_prompt(p, mask), {.multimask = p.value("multi", false), .hq_token_only = p.value("hq_token_only", false)});
      const std::int64_t m = std::int64_t(got.candidates.size());
      const double l = check_tensor(g, name + ".low_res_logits", got.low_res_logits, {m, low, low}, worst_of_kind(g, ".low_res_logits", "rel_l2"));
      CHECK(l <= 1e-4);
      worst_logits = std::max(worst_logits, l);
      std::vector<float> scores;
      for (const auto& c : got.candidates) scores.push_back(c.predicted_iou);
      check_scores(g, name + ".iou_predictions", scores);
      const std::size_t pixels = got.mask().data.size();
      const auto wanted = unpack_bits(g.bytes(name + ".mask_bits"), pixels * std::size_t(m));
      for (std::size_t i = 0; i < std::size_t(m); ++i) {
        CAPTURE(i);
        const auto d = compare_masks(got.candidates[i].mask.data.data(), wanted.data() + i * pixels, pixels);
        CHECK(d.pixels <= p["near_tie_pixels"][i].get<std::int64_t>());
        CHECK(d.iou >= 0.999);
        worst_iou = std::min(worst_iou, d.iou);
        if (p.contains("stability_score")) {
          // A pixel within a near tie of +-1 may fall on either side; the score is a ratio of pixel counts.
          CHECK(std::abs(double(got.candidates[i].stability) - p["stability_score"][i].get<double>()) <= 2e-3);
        }
      }
    }
    parity_table().push_back({title, place.name, short_error(e), short_error(worst_logits), std::to_string(worst_iou).substr(0, 6)});
  }
}

}  // namespace

TEST_CASE("parity: SAM, 128 px, every module") { run_network("sam_tiny128_trace", "SAM ViT 64x2, 128 px", true); }
TEST_CASE("parity: SAM, 256 px, eight prompts") { run_network("sam_tiny256", "SAM ViT 128x2, 256 px", true); }
TEST_CASE("parity: SAM, 224 px, window = grid") { run_network("sam_tiny224", "SAM ViT 96x2, 224 px", true); }
TEST_CASE("parity: SAM, head size 80") { run_network("sam_head80", "SAM ViT 160x2, head size 80", true); }
TEST_CASE("parity: SAM, tables of a larger input") { run_network("sam_tables_64_to_16", "SAM ViT, tables 64 -> 16", true); }
TEST_CASE("parity: SAM, tables of a smaller input") { run_network("sam_tables_12_to_20", "SAM ViT, tables 12 -> 20", true); }
TEST_CASE("parity: MedSAM's image and mask path, grey") { run_network("medsam_tiny256_gray", "MedSAM path, 256 px", true); }
TEST_CASE("parity: MedSAM's image and mask path, colour") { run_network("medsam_tiny128_rgb", "MedSAM path, 128 px", true); }
TEST_CASE("parity: SAM-Med2D, adapters") { run_network("sam_med2d_tiny256", "SAM-Med2D path, adapters, 256 px", true); }
TEST_CASE("parity: SAM-Med2D, evaluation profile") { run_network("sam_med2d_eval_small", "SAM-Med2D evaluation, small image", true); }
TEST_CASE("parity: bottleneck adapters") { run_network("sam_bottleneck_tiny160", "SAM with bottlenecks (finetune-SAM)", true); }
TEST_CASE("parity: bottleneck adapters, windows before the norm") { run_network("sam_msa_tiny160", "SAM with bottlenecks (Medical SAM Adapter)", true); }
TEST_CASE("parity: SAM-Adapter") { run_network("sam_adapter_tiny128", "SAM-Adapter ViT 64x2, 128 px", true); }
TEST_CASE("parity: AutoSAMUS") { run_network("autosamus_tiny64", "AutoSAMUS ViT 64x2, 64 px", true); }
TEST_CASE("parity: DeSAM") { run_network("desam_tiny64", "DeSAM ViT 64x5, 64 px", true); }
TEST_CASE("parity: SAMUS") { run_network("samus_tiny64", "SAMUS ViT 64x3, 64 px", true); }
TEST_CASE("parity: ScribblePrompt-SAM") { run_network("scribbleprompt_tiny128", "ScribblePrompt path, 60 clicks", true); }
TEST_CASE("parity: SlimSAM, head size 14") { run_network("slimsam_head14", "SAM ViT 42x2, head size 14", true); }
TEST_CASE("parity: SAM-HQ") { run_network("sam_hq_tiny160", "SAM-HQ ViT 64x4, 160 px", true); }
TEST_CASE("parity: Light HQ-SAM, 1024 px") { run_network("light_hq_small", "Light HQ-SAM, small widths, 1024 px", false); }
TEST_CASE("parity: EfficientSAM") { run_network("efficient_sam_tiny256", "EfficientSAM 128x2, 256 px", true); }
TEST_CASE("parity: EfficientViT-SAM, L form") { run_network("efficient_vit_large192", "EfficientViT-SAM, L form, 192 px", true); }
TEST_CASE("parity: EfficientViT-SAM, XL form") { run_network("efficient_vit_xl256", "EfficientViT-SAM, XL form, 256 px", true); }
TEST_CASE("parity: EdgeSAM") { run_network("edge_sam_tiny256", "EdgeSAM 16..64, 256 px", true); }
TEST_CASE("parity: MobileSAM, 1024 px") { run_network("mobile_sam_phantom", "MobileSAM, 1024 px", false); }
TEST_CASE("parity: MobileSAM on a CT slice") {
  if (shared_data().empty()) {
    MESSAGE("skipped: SAMPAN_SHARED_DATA is not set");
    return;
  }
  run_network("mobile_sam_s0114_111", "MobileSAM, CT slice", false, shared_data());
}

TEST_CASE("parity table of the networks") {
  print_parity_table();
  CHECK(parity_table().size() >= 9);
}
