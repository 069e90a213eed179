// A golden of PyTorch: tensors (often strided), and metadata that says what was run and how exact PyTorch itself was.
// Data flow: tests/parity/goldens/*.safetensors -> here -> *_test.cpp. The format is described in tests/parity/README.md.
// Tolerance: e is PyTorch's own float32 error against float64, measured when the golden was made. Ours may be 2 e against float64, so 3 e + floor against the golden.
#pragma once
#include "support/levels.hpp"
#include "support/model_file.hpp"

#include <sampan/core/trace.hpp>

#include <nlohmann/json.hpp>

#include <cmath>
#include <map>

namespace sampan::test {

/// Where float32 sums of different order may end even if PyTorch happened to be exact: four units in the last place, relative to the whole tensor.
inline constexpr double kFloor = 4 * 1.1920929e-7;

class Golden {
 public:
  explicit Golden(const std::string& path) : file_([&] {
      auto f = weights::Safetensors::open(path);
      REQUIRE_MESSAGE(f, f.error().what());
      return std::move(*f);
    }()) {}
  static Golden committed(const std::string& name) { return Golden(std::string(SAMPAN_TEST_DIR) + "/parity/goldens/" + name + ".safetensors"); }

  nlohmann::json meta(const char* key) const {
    const std::string* text = file_.metadata(key);
    REQUIRE_MESSAGE(text, "the golden has no metadata ", key);
    return nlohmann::json::parse(*text);
  }
  const weights::TensorEntry* find(const std::string& name) const { return file_.find(name); }
  const weights::Safetensors& file() const { return file_; }
  std::vector<float> floats(const std::string& name) const {
    const auto* t = file_.find(name);
    REQUIRE_MESSAGE(t, "the golden has no tensor ", name);
    std::vector<float> v(std::size_t(*weights::element_count(t->shape)));
    weights::convert_to_f32(t->dtype, t->data.data(), v.size(), v.data());
    return v;
  }
  std::vector<std::uint8_t> bytes(const std::string& name) const {
    const auto* t = file_.find(name);
    REQUIRE_MESSAGE(t, "the golden has no tensor ", name);
    return {t->data.begin(), t->data.end()};
  }
  /// The weights as [[name, shape], ...].
  NamedShapes weight_shapes() const {
    NamedShapes out;
    const auto rows = meta("weights");
    for (const auto& row : rows) out.push_back({row[0].get<std::string>(), row[1].get<std::vector<std::int64_t>>()});
    return out;
  }

 private:
  weights::Safetensors file_;
};

/// full[::stride...] of a row-major tensor.
inline std::vector<float> strided(const std::vector<float>& full, const std::vector<std::int64_t>& shape, const std::vector<std::int64_t>& stride) {
  std::vector<float> out;
  std::vector<std::int64_t> at(shape.size(), 0);
  for (;;) {
    std::int64_t flat = 0;
    for (std::size_t a = 0; a < shape.size(); ++a) flat = flat * shape[a] + at[a];
    out.push_back(full[std::size_t(flat)]);
    std::size_t a = shape.size();
    while (a-- > 0) {
      at[a] += stride[a];
      if (at[a] < shape[a]) break;
      at[a] = 0;
      if (a == 0) return out;
    }
  }
}

/// |a - b| / |b|; infinity if sizes differ or a NaN is among them.
inline double relative_error(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size() || a.empty()) return INFINITY;
  double d = 0, n = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    d += (double(a[i]) - double(b[i])) * (double(a[i]) - double(b[i]));
    n += double(b[i]) * double(b[i]);
  }
  const double r = std::sqrt(d) / std::sqrt(n);
  return r >= 0 ? r : INFINITY;
}

/// The largest error (`rel_l2` or `max_abs`) that PyTorch itself made in tensors of one kind, such as ".low_res_logits" of every prompt. One prompt's error is
/// one draw; the rounding of another summation order is another draw, so the worst of the kind is the honest e for each of them.
inline double worst_of_kind(const Golden& g, std::string_view suffix, const char* measure) {
  double worst = 0;
  const auto all = g.meta("tensors");
  for (const auto& [name, info] : all.items())
    if (name.size() >= suffix.size() && name.compare(name.size() - suffix.size(), suffix.size(), suffix) == 0) worst = std::max(worst, info.value(measure, 0.0));
  return worst;
}

/// A full tensor of ours against a golden's slice: relative L2 within 3 e + floor, and the sum over what the stride leaves out. e: the tensor's own, or given.
inline double check_tensor(const Golden& g, const std::string& name, const std::vector<float>& ours, const std::vector<std::int64_t>& shape, double given_e = 0) {
  CAPTURE(name);
  const auto info = g.meta("tensors").at(name);
  CHECK(info.at("shape").get<std::vector<std::int64_t>>() == shape);
  if (info.at("shape").get<std::vector<std::int64_t>>() != shape) return INFINITY;
  const auto wanted = g.floats(name), got = strided(ours, shape, info.at("stride").get<std::vector<std::int64_t>>());
  REQUIRE(wanted.size() == got.size());
  // e speaks of the whole tensor, so the slice's difference is measured against the whole tensor's root mean square, not against what the slice happens to hold.
  double squares = 0;
  for (std::size_t i = 0; i < got.size(); ++i) squares += (double(got[i]) - double(wanted[i])) * (double(got[i]) - double(wanted[i]));
  const double rms = info.at("l2").get<double>() / std::sqrt(double(ours.size()));
  const double error = squares >= 0 ? std::sqrt(squares / double(got.size())) / rms : INFINITY;
  const double e = std::max(given_e, info.value("rel_l2", 0.0)), bound = 3 * e + kFloor;
  CHECK(error <= bound);
  double sum = 0;
  for (float v : ours) sum += double(v);
  CHECK(std::abs(sum - info.at("sum").get<double>()) <= std::sqrt(double(ours.size())) * bound * info.at("l2").get<double>() + 1e-12);
  return error;
}

/// Predicted IoUs: a few single values, which PyTorch may hit by luck. They come from the same tokens as the logits, so float32 costs them at least the relative error
/// that the logits' tensor shows; and they may cancel to almost nothing, so the floor belongs to the sum they come from (magnitude 1), not to the result.
inline void check_scores(const Golden& g, const std::string& name, const std::vector<float>& ours) {
  CAPTURE(name);
  const auto wanted = g.floats(name);
  REQUIRE(wanted.size() == ours.size());
  const double alone = worst_of_kind(g, ".iou_predictions", "max_abs"), tokens = worst_of_kind(g, ".low_res_logits", "rel_l2");
  for (std::size_t i = 0; i < ours.size(); ++i) CHECK(std::abs(double(ours[i]) - double(wanted[i])) <= 3 * std::max(alone, tokens * std::abs(double(wanted[i]))) + kFloor);
}

/// Bits of numpy.packbits.
inline std::vector<std::uint8_t> unpack_bits(const std::vector<std::uint8_t>& bits, std::size_t count) {
  std::vector<std::uint8_t> out(count);
  REQUIRE(bits.size() == (count + 7) / 8);
  for (std::size_t i = 0; i < count; ++i) out[i] = (bits[i / 8] >> (7 - i % 8)) & 1;
  return out;
}

struct MaskDifference {
  std::int64_t pixels = 0;
  double iou = 1;  ///< 1 if both are empty
};
inline MaskDifference compare_masks(const std::uint8_t* a, const std::uint8_t* b, std::size_t n) {
  std::int64_t both = 0, any = 0, differ = 0;
  for (std::size_t i = 0; i < n; ++i) both += a[i] & b[i], any += a[i] | b[i], differ += a[i] != b[i];
  return {differ, any ? double(both) / double(any) : 1.0};
}

/// A prompt of the metadata, in pixels of the original image. `mask` is given by the case where the metadata names it.
inline Prompt parse_prompt(const nlohmann::json& p, const std::vector<float>& mask = {}) {
  Prompt out;
  if (p.contains("points"))
    for (std::size_t i = 0; i < p["points"].size(); ++i) out.points.push_back({p["points"][i][0], p["points"][i][1], p["labels"][i]});
  if (p.contains("box")) out.box = Box{p["box"][0], p["box"][1], p["box"][2], p["box"][3]};
  if (p.contains("mask")) out.mask_input = mask;
  return out;
}

/// Where a model runs in a parity test.
struct Place {
  std::string name;
  LoadOptions options;
};
/// Every level of the fast backend on this machine whose f32 kernels differ; the scalar definition too where the network is small.
inline std::vector<Place> places(bool with_reference) {
  std::vector<Place> out;
  if (with_reference) out.push_back({"reference", {.device = Device::reference, .threads = 1}});
  for (const Cpu& b : f32_levels()) out.push_back({isa_name(b.isa), {.threads = 2, .isa = isa_name(b.isa)}});
  return out;
}

/// One line of the parity table.
struct ParityRow {
  std::string network, place, embedding, logits, masks;
};
inline std::vector<ParityRow>& parity_table() {
  static std::vector<ParityRow> rows;
  return rows;
}

/// Prints the rows as Markdown; README shows them.
inline void print_parity_table() {
  std::printf("\n| network | runs on | embedding, relative L2 | logits, relative L2 | worst mask IoU |\n|---|---|---|---|---|\n");
  for (const auto& r : parity_table()) std::printf("| %s | %s | %s | %s | %s |\n", r.network.c_str(), r.place.c_str(), r.embedding.c_str(), r.logits.c_str(), r.masks.c_str());
}

inline std::string short_error(double e) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1e", e);
  return text;
}

/// The shared data folder, or empty: then a test says so and ends.
inline std::string shared_data() {
  const char* v = std::getenv("SAMPAN_SHARED_DATA");
  return v ? v : "";
}

}  // namespace sampan::test
