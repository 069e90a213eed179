// bench_encoder: whole image encoders through the public API: one image of the network's own size, time of Session::set_image's encode stage.
//   bench_encoder --shapes lite_medsam,sam_vit_b --threads 1,2            random weights of published networks (networks.hpp)
//   bench_encoder --model medsam.safetensors                              real weights
//   bench_encoder --device cuda --precision f32,f16,bf16 --threads 1      on the device; with copies from and to it
//   bench_encoder --precision f32,fast,bf16 --threads 2                   the ratio column compares with the first
// Data flow: bench/networks.cpp or a file -> Model, Session -> here.   FLOP: useful ones (ModelInfo::encode_flop), not what a reference implementation pads.
// Error: the embedding against the Reference backend. For random networks on a twin with the same widths, heads and windows but fewer tokens and layers (the
// whole network would take Reference minutes); the full embedding must be finite and the same for every thread count. For --model: finite only, tests do parity.
// Extra: load_ms (map, check, pack), peak_mib (resident growth from before the load to after the first image), all_ms (set_image with preprocessing).
#include "harness.hpp"
#include "machine.hpp"
#include "networks.hpp"

#include <sampan/sampan.hpp>

#include "support/hashgen.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <cstring>
#include <memory>
#include <optional>

namespace {
using namespace bench;

struct Image {
  std::vector<std::uint8_t> pixels;
  sampan::ImageView view;
  explicit Image(std::int64_t side) : pixels(sampan::test::phantom_rgb(side, side)) { view = {pixels.data(), {side, side, 3}}; }
};

struct NamedPrecision {
  const char* name;
  sampan::Precision value;
  double bound;  ///< of the embedding's relative L2 error: parity in f32; in the others ten times what the real LiteMedSAM shows (tests/parity/precision_test.cpp)
};
constexpr NamedPrecision kPrecisions[] = {{"f32", sampan::Precision::f32, 1e-5}, {"fast", sampan::Precision::fast, 2e-2}, {"bf16", sampan::Precision::bf16, 1.4e-1}, {"f16", sampan::Precision::f16, 2e-2}};

sampan::Model load(const std::string& path, const std::string& isa, int threads, sampan::Precision precision, sampan::Device device = sampan::Device::cpu) {
  sampan::LoadOptions o;
  o.isa = isa, o.threads = threads, o.device = device, o.precision = precision;
  return take(sampan::Model::try_load(path, o));
}

std::vector<float> embedding(const sampan::Model& m) {
  sampan::Session s(m);
  const Image image(m.info().image_size);
  take(s.try_set_image(image.view));
  return take(s.try_image_embedding());
}

double relative_l2(const std::vector<float>& got, const std::vector<float>& want) {
  double error = 0, norm = 0;
  for (std::size_t i = 0; i < want.size(); ++i) error += std::pow(double(got[i]) - double(want[i]), 2), norm += std::pow(double(want[i]), 2);
  return std::sqrt(error / norm);
}

/// The fast backend on the twin against Reference on the twin. Reference's own float32 error is of the same size, so the bound is loose here; tests/parity is strict.
class Twin {
 public:
  explicit Twin(const std::string& network) : file_("-twin.safetensors") {
    write_network(file_.path(), twin_contract(network));
    want_ = embedding(load(file_.path(), "auto", 1, sampan::Precision::f32, sampan::Device::reference));
  }
  double error(const std::string& isa, int threads, sampan::Precision precision, sampan::Device device) const { return relative_l2(embedding(load(file_.path(), isa, threads, precision, device)), want_); }

 private:
  TemporaryFile file_;
  std::vector<float> want_;
};

struct Variant {
  std::optional<sampan::Model> model;
  std::optional<sampan::Session> session;
  double all_ms = 0;
};

void run_model(Harness& h, const std::string& name, const std::string& path, const Twin* twin, const std::vector<NamedPrecision>& precisions, sampan::Device device) {
  std::vector<Case> group;
  const auto first = std::make_shared<std::vector<float>>();  // embedding of the first thread count, per level
  std::shared_ptr<const Image> image;
  for (const auto& isa : h.isas())
    for (const auto& precision : precisions)
      for (const int threads : h.threads()) {
        const auto v = std::make_shared<Variant>();
        const bool resettable = reset_peak();
        const std::size_t before = resident_bytes();
        const double load_ms = milliseconds_of([&] { v->model.emplace(load(path, isa, threads, precision.value, device)); });
        if (!image) image = std::make_shared<Image>(v->model->info().image_size);
        v->session.emplace(*v->model);
        take(v->session->try_set_image(image->view));
        const double peak = double(peak_resident_bytes() - before) / double(1 << 20);

        Row row;
        row.name = name, row.isa = device == sampan::Device::cuda ? kDeviceRow : isa, row.threads = threads, row.precision = precision.name;
        row.flop = v->model->info().encode_flop;
        row.bytes = double(v->model->info().weight_bytes);  // least: every weight once; activations can stay in cache
        row.extra = {{"load_ms", load_ms}, {"peak_mib", resettable ? peak : kNaN}};
        const auto run = [=] {
          v->all_ms = milliseconds_of([&] { take(v->session->try_set_image(image->view)); });
          return v->session->timings().encode;
        };
        const bool new_level = threads == h.threads().front();
        group.push_back({std::move(row), run, [=] {
                           run();
                           const auto got = take(v->session->try_image_embedding());
                           Accuracy a{0, "finite", {}};
                           for (const float x : got)
                             if (!std::isfinite(x)) a.wrong = "NaN or infinity in the embedding";
                           if (new_level) *first = got;
                           if (std::memcmp(got.data(), first->data(), got.size() * sizeof(float)) != 0) a.wrong = "another embedding than with " + std::to_string(h.threads().front()) + " threads";
                           if (twin) a.relative_l2 = twin->error(isa, threads, precision.value, device), a.against = "Reference (twin)";
                           if (a.wrong.empty() && !(a.relative_l2 <= precision.bound)) a.wrong = "error above the bound of this precision";
                           return a;
                         }});
      }
  h.run(std::move(group));
}

}  // namespace

int main(int argc, char** argv) {
  Harness h(argc, argv, "whole image encoders with random or real weights", {{"--model", "FILE", "weights written by sampan-convert, instead of random networks"}, {"--precision", "LIST", "f32, fast, bf16; f16 on cuda (default f32)"}, {"--device", "NAME", "cpu, or cuda where build and machine have it (default cpu)"}});
  const sampan::Device device = device_named(h.option("--device"));
  std::vector<NamedPrecision> precisions;
  std::string words = h.option("--precision").empty() ? "f32" : h.option("--precision");
  for (std::size_t at = 0; at <= words.size();) {
    const std::size_t end = std::min(words.find(',', at), words.size());
    const std::string word = words.substr(at, end - at);
    const auto* known = std::find_if(std::begin(kPrecisions), std::end(kPrecisions), [&](const NamedPrecision& p) { return word == p.name; });
    if (known == std::end(kPrecisions)) die("--precision " + word + ": known are f32, fast, bf16, f16");
    precisions.push_back(*known);
    at = end + 1;
  }
  if (const auto file = h.option("--model"); !file.empty()) {
    run_model(h, file.substr(file.find_last_of('/') + 1), file, nullptr, precisions, device);
  } else {
    for (const auto& name : h.shapes({"lite_medsam", "mobile_sam", "sam_vit_b_256"})) {
      if (!h.wanted(name)) continue;
      const Twin twin(name);
      const TemporaryFile weights(".safetensors");
      write_network(weights.path(), network_contract(name));
      run_model(h, name, weights.path(), &twin, precisions, device);
    }
  }
  return h.report();
}
