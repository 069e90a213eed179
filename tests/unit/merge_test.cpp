// weights_tools/fold.hpp and merge.hpp: folded weights equal what adding at run time computes, in each layout; what does not fit is refused by name.
#include "support/tiny_model.hpp"
#include "support/weight_files.hpp"
#include "weights_tools/merge.hpp"
#include "weights_tools/verify.hpp"

#include <doctest/doctest.h>

using namespace sampan;
using namespace sampan::test;

namespace {

constexpr std::int64_t kWidth = 32, kRank = 4;
constexpr int kDepth = 2;

NamedShapes base_shapes() { return weights::expected_tensors(tiny_sam().network); }

/// Writes tensors whose values are the generator's under `seed`; a name may take another name's values.
void write(const std::string& path, const NamedShapes& tensors, std::uint64_t seed, const std::function<std::string(const std::string&)>& values_of = {}, const std::string& nan = {}) {
  std::vector<weights::TensorSpec> specs;
  for (const auto& t : tensors) specs.push_back({t.name, DType::f32, t.shape});
  auto file = weights::SafetensorsWriter::create(path, specs);
  REQUIRE_MESSAGE(file, file.error().message());
  for (const auto& t : file->specs()) {
    auto v = hash_values(seed, values_of ? values_of(t.name) : t.name, t.shape);
    if (t.name == nan) v[0] = std::nanf("");
    REQUIRE(file->write(std::span<const float>(v)));
  }
  REQUIRE(file->commit());
}

std::vector<float> values(const weights::Safetensors& f, const std::string& name) {
  const auto* t = f.find(name);
  REQUIRE_MESSAGE(t, name);
  std::vector<float> v(t->data.size() / sizeof(float));
  std::memcpy(v.data(), t->data.data(), t->data.size());
  return v;
}

std::string qkv(int block) { return cat("image_encoder.blocks.", block, ".attn.qkv.weight"); }
std::string pair_name(char letter, int index) { return cat("w_", letter, "_00", index); }

/// LoRA of SAMed's layout for every block.
NamedShapes lora_shapes() {
  NamedShapes rows;
  for (int i = 0; i < 2 * kDepth; ++i) {
    rows.push_back({pair_name('a', i), {kRank, kWidth}});
    rows.push_back({pair_name('b', i), {kWidth, kRank}});
  }
  return rows;
}

/// y = W x, in double.
std::vector<double> times(const std::vector<float>& w, std::size_t first_row, std::size_t rows, const std::vector<double>& x) {
  std::vector<double> y(rows);
  for (std::size_t i = 0; i < rows; ++i)
    for (std::size_t j = 0; j < x.size(); ++j) y[i] += double(w[(first_row + i) * x.size() + j]) * x[j];
  return y;
}

double difference(const std::vector<double>& a, const std::vector<double>& b) {
  double d = 0, n = 0;
  for (std::size_t i = 0; i < a.size(); ++i) d += (a[i] - b[i]) * (a[i] - b[i]), n += b[i] * b[i];
  return std::sqrt(d / n);
}

/// Folded rows of part 0 (q) and 2 (v) against base plus up(down(x)) at run time; k untouched.
void check_qkv(const weights::Safetensors& merged, int block, const std::vector<float>& base, const std::function<std::vector<double>(int, const std::vector<double>&)>& added) {
  const auto w = values(merged, qkv(block));
  REQUIRE(w.size() == base.size());
  std::vector<double> x;
  for (float v : hash_fill(9, "x", {kWidth})) x.push_back(double(v));
  for (const int part : {0, 1, 2}) {
    CAPTURE(part);
    auto expected = times(base, std::size_t(part * kWidth), kWidth, x);
    if (part != 1) {
      const auto more = added(part, x);
      for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += more[i];
    }
    CHECK(difference(times(w, std::size_t(part * kWidth), kWidth, x), expected) <= (part == 1 ? 0 : 1e-6));
  }
}

}  // namespace

TEST_CASE("SAMed's layout: LoRA folded into q and v, tensors of the fine-tune replace the base's") {
  const TempDir dir;
  write(dir.path("base"), base_shapes(), 1);
  auto tuned = lora_shapes();
  tuned.push_back({"mask_decoder.iou_token.weight", {1, 32}});
  write(dir.path("tuned"), tuned, 2);
  const auto report = tools::merge({dir.path("base"), dir.path("tuned"), dir.path("out"), "", 0});
  REQUIRE_MESSAGE(report, report.error().message());
  CHECK(report->contract.family == "sam");
  CHECK(report->notes.size() == 1);
  const auto verified = tools::verify_model(dir.path("out"));
  REQUIRE_MESSAGE(verified, verified.error().message());
  auto merged = weights::Safetensors::open(dir.path("out"));
  REQUIRE(merged);
  for (int block = 0; block < kDepth; ++block) {
    CAPTURE(block);
    check_qkv(*merged, block, hash_values(1, qkv(block), {3 * kWidth, kWidth}), [&](int part, const std::vector<double>& x) {
      const int index = 2 * block + part / 2;
      return times(hash_values(2, pair_name('b', index), {kWidth, kRank}), 0, kWidth, times(hash_values(2, pair_name('a', index), {kRank, kWidth}), 0, kRank, x));
    });
  }
  CHECK(values(*merged, "mask_decoder.iou_token.weight") == hash_values(2, "mask_decoder.iou_token.weight", {1, 32}));
  CHECK(values(*merged, "image_encoder.blocks.1.attn.proj.weight") == hash_values(1, "image_encoder.blocks.1.attn.proj.weight", {kWidth, kWidth}));
}

TEST_CASE("wrapped layers in one file: the encoder's qkv and a decoder's projection, under a prefix") {
  const TempDir dir;
  const std::string proj = "mask_decoder.transformer.layers.0.self_attn.q_proj";
  NamedShapes tensors;
  for (auto t : base_shapes()) {
    if (t.name.find(".attn.qkv.") != std::string::npos) t.name.insert(t.name.rfind('.'), ".qkv");
    if (t.name.rfind(proj + ".", 0) == 0) t.name.insert(t.name.rfind('.'), ".proj");
    tensors.push_back(t);
  }
  for (int block = 0; block < kDepth; ++block)
    for (const char part : {'q', 'v'}) {
      const std::string place = cat("image_encoder.blocks.", block, ".attn.qkv.linear_");
      tensors.push_back({cat(place, "a_", part, ".weight"), {kRank, kWidth}});
      tensors.push_back({cat(place, "b_", part, ".weight"), {kWidth, kRank}});
    }
  tensors.push_back({proj + ".w_a.weight", {kRank, 32}});
  tensors.push_back({proj + ".w_b.weight", {32, kRank}});
  for (auto& t : tensors) t.name = "sam." + t.name;
  write(dir.path("wrapped"), tensors, 3, [](const std::string& name) { return name.substr(4); });
  const auto report = tools::convert({dir.path("wrapped"), dir.path("out"), ""});
  REQUIRE_MESSAGE(report, report.error().message());
  REQUIRE(tools::verify_model(dir.path("out")));
  auto merged = weights::Safetensors::open(dir.path("out"));
  REQUIRE(merged);
  for (int block = 0; block < kDepth; ++block)
    check_qkv(*merged, block, hash_values(3, cat("image_encoder.blocks.", block, ".attn.qkv.qkv.weight"), {3 * kWidth, kWidth}), [&](int part, const std::vector<double>& x) {
      const std::string place = cat("image_encoder.blocks.", block, ".attn.qkv.linear_"), letter = part == 0 ? "q" : "v";
      return times(hash_values(3, cat(place, "b_", letter, ".weight"), {kWidth, kRank}), 0, kWidth, times(hash_values(3, cat(place, "a_", letter, ".weight"), {kRank, kWidth}), 0, kRank, x));
    });
  const auto w = values(*merged, proj + ".weight"), b = hash_values(3, proj + ".proj.weight", {32, 32}), up = hash_values(3, proj + ".w_b.weight", {32, kRank}), down = hash_values(3, proj + ".w_a.weight", {kRank, 32});
  std::vector<double> x;
  for (float v : hash_fill(9, "x", {32})) x.push_back(double(v));
  auto expected = times(b, 0, 32, x);
  const auto more = times(up, 0, 32, times(down, 0, kRank, x));
  for (std::size_t i = 0; i < 32; ++i) expected[i] += more[i];
  CHECK(difference(times(w, 0, 32, x), expected) <= 1e-6);
}

TEST_CASE("FacT: one shared pair, a small matrix per block") {
  const TempDir dir;
  write(dir.path("base"), base_shapes(), 1);
  NamedShapes tuned{{"FacTu.weight", {kRank, kWidth}}, {"FacTv.weight", {kWidth, kRank}}};
  for (int block = 0; block < kDepth; ++block)
    for (const char part : {'q', 'v'}) tuned.push_back({cat(part, "_FacTs_00", block), {kRank, kRank}});
  write(dir.path("tuned"), tuned, 4);
  const auto report = tools::merge({dir.path("base"), dir.path("tuned"), dir.path("out"), "", 0});
  REQUIRE_MESSAGE(report, report.error().message());
  auto merged = weights::Safetensors::open(dir.path("out"));
  REQUIRE(merged);
  for (int block = 0; block < kDepth; ++block)
    check_qkv(*merged, block, hash_values(1, qkv(block), {3 * kWidth, kWidth}), [&](int part, const std::vector<double>& x) {
      const auto u = hash_values(4, "FacTu.weight", {kRank, kWidth}), v = hash_values(4, "FacTv.weight", {kWidth, kRank}), s = hash_values(4, cat(part == 0 ? "q" : "v", "_FacTs_00", block), {kRank, kRank});
      return times(v, 0, kWidth, times(s, 0, kRank, times(u, 0, kRank, x)));
    });
}

TEST_CASE("tables go to the fine-tune's input size") {
  const TempDir dir;
  write(dir.path("base"), base_shapes(), 1);
  write(dir.path("tuned"), lora_shapes(), 2);
  const auto report = tools::merge({dir.path("base"), dir.path("tuned"), dir.path("out"), "", 320});
  REQUIRE_MESSAGE(report, report.error().message());
  CHECK(report->contract.network.image_size == 320);
  CHECK(report->contract.network.sam_vit.global_blocks == std::vector<int>{1});
  const auto verified = tools::verify_model(dir.path("out"));
  CHECK_MESSAGE(verified, verified.error().message());
  const auto odd = tools::merge({dir.path("base"), dir.path("tuned"), dir.path("other"), "", 321});
  REQUIRE_FALSE(odd);
  CHECK(odd.error().code() == ErrorCode::invalid_argument);
}

TEST_CASE("LoRA on TinyViT's qkv, whose rows go head by head, is refused instead of folded into other rows") {
  const TempDir dir;
  const std::string place = "image_encoder.layers.1.blocks.0.attn.qkv";
  NamedShapes tensors = weights::expected_tensors(tiny_finetune("finetune_sam_tiny").network);
  std::int64_t width = 0;
  for (auto& t : tensors)
    if (t.name.rfind(place + ".", 0) == 0) t.name.insert(t.name.rfind('.'), ".qkv"), width = t.shape[0] / 3;
  REQUIRE(width > 0);
  for (const char part : {'q', 'v'}) {
    tensors.push_back({cat(place, ".linear_a_", part, ".weight"), {kRank, width}});
    tensors.push_back({cat(place, ".linear_b_", part, ".weight"), {width, kRank}});
  }
  write(dir.path("in"), tensors, 3);
  const auto r = tools::convert({dir.path("in"), dir.path("out"), ""});
  REQUIRE_FALSE(r);
  CHECK(r.error().code() == ErrorCode::unsupported);
  CHECK_MESSAGE(r.error().message().find(cat("belong to ", place, ".weight: LoRA on TinyViT's attention")) != std::string::npos, r.error().message());
  CHECK(dir.file_count() == 1);
}

TEST_CASE("what does not fit is refused with the tensor's name, and no file is left") {
  const TempDir dir;
  write(dir.path("base"), base_shapes(), 1);
  struct Case {
    const char* what;
    std::function<void(NamedShapes&)> change;
    const char* says;
  };
  const auto row = [](NamedShapes& r, const std::string& name) -> TensorShape& { return *std::find_if(r.begin(), r.end(), [&](const TensorShape& t) { return t.name == name; }); };
  const Case cases[] = {
      {"no up matrix", [](NamedShapes& r) { std::erase_if(r, [](const TensorShape& t) { return t.name == "w_b_001"; }); }, "w_a_001 has no partner w_b_001"},
      {"no down matrix", [](NamedShapes& r) { std::erase_if(r, [](const TensorShape& t) { return t.name == "w_a_001"; }); }, "w_b_001 has no partner w_a_001"},
      {"a block too many", [](NamedShapes& r) { r.push_back({"w_a_008", {kRank, kWidth}}), r.push_back({"w_b_008", {kWidth, kRank}}); }, "belongs to image_encoder.blocks.4.attn.qkv.weight"},
      {"other width", [&](NamedShapes& r) { row(r, "w_a_002").shape = {kRank, kWidth + 1}; }, "do not fit image_encoder.blocks.1.attn.qkv.weight"},
      {"other rank", [&](NamedShapes& r) { row(r, "w_b_002").shape = {kWidth, kRank + 1}; }, "do not fit"},
      {"a vector", [&](NamedShapes& r) { row(r, "w_a_000").shape = {kRank * kWidth}; }, "a matrix of floating type is needed"},
      {"a stranger", [](NamedShapes& r) { r.push_back({"extra.weight", {2}}); }, "extra.weight"},
      {"FacT without its pair", [](NamedShapes& r) { r.push_back({"q_FacTs_000", {kRank, kRank}}); }, "has no partners FacTu and FacTv"},
      {"FacT pair alone", [](NamedShapes& r) { r = {{"FacTu.weight", {kRank, kWidth}}, {"FacTv.weight", {kWidth, kRank}}}; }, "no q_FacTs_000"},
      {"a number of five digits", [](NamedShapes& r) { r.push_back({"w_a_00001", {kRank, kWidth}}); }, "w_a_000"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.what);
    NamedShapes tuned = lora_shapes();
    c.change(tuned);
    write(dir.path("tuned"), tuned, 2);
    const auto r = tools::merge({dir.path("base"), dir.path("tuned"), dir.path("out"), "", 0});
    REQUIRE_FALSE(r);
    CHECK_MESSAGE(r.error().message().find(c.says) != std::string::npos, r.error().message());
    CHECK(r.error().message().find('\n') == std::string::npos);
    CHECK_FALSE(MappedFile::open(dir.path("out")));
  }
  write(dir.path("tuned"), lora_shapes(), 2, {}, "w_a_003");
  const auto nan = tools::merge({dir.path("base"), dir.path("tuned"), dir.path("out"), "", 0});
  REQUIRE_FALSE(nan);
  CHECK(nan.error().code() == ErrorCode::bad_model);
  CHECK(nan.error().message().find("image_encoder.blocks.1.attn.qkv.weight") != std::string::npos);
  CHECK_FALSE(tools::merge({dir.path("base"), dir.path("tuned"), dir.path("base"), "", 0}));
  CHECK_FALSE(tools::merge({dir.path("base"), dir.path("tuned"), dir.path("out"), "nonsense", 0}));
  CHECK_FALSE(tools::merge({dir.path("base"), dir.path("nothing"), dir.path("out"), "", 0}));
}
