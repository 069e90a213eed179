// bench_encoder: whole image encoders through the public API: one image of the network's own size, time of Session::set_image's encode stage; of volumetric networks one cube, Session3d.
//   bench_encoder --shapes lite_medsam,sam_vit_b --threads 1,2            random weights of published networks (networks.hpp)
//   bench_encoder --model medsam.safetensors                              real weights
//   bench_encoder --device cuda --precision f32,f16,bf16 --threads 1      on the device; with copies from and to it
//   bench_encoder --batch 8 --device cuda --precision bf16                eight images together (set_images); ms, FLOP and rate are those of all
//   bench_encoder --precision f32,fast,bf16 --threads 2                   the ratio column compares with the first
// Data flow: bench/networks.cpp or a file -> Model, Session -> here.   FLOP: useful ones (ModelInfo::encode_flop), not what a reference implementation pads.
// Error: the embedding against the Reference backend. For random networks on a twin with the same widths, heads and windows but fewer tokens and layers (the
// whole network would take Reference minutes); the full embedding must be finite and the same for every thread count. For --model: finite only, tests do parity.
// Extra: load_ms (map, check, pack), peak_mib (resident growth from before the load to after the first image), all_ms (set_image with preprocessing).
#include "harness.hpp"
#include "machine.hpp"
#include "networks.hpp"

#include <sampan/core/trace.hpp>
#include <sampan/predict/model_3d.hpp>
#include <sampan/sampan.hpp>
#include <sampan/weights/open.hpp>

#include "support/hashgen.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
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

/// A cube of the network's own size and spacing, of whole numbers above 0.
struct Cube {
  std::int64_t side;
  std::vector<std::uint8_t> voxels;
  sampan::VolumeSource source;
  explicit Cube(const sampan::Model3dInfo& m) : side(m.side), voxels(sampan::test::hash_noise_u8(1, "bench.cube", {m.side, m.side, m.side})) {
    source.integers = true;
    source.user = this;
    for (std::size_t a = 0; a < 3; ++a) source.size[a] = side, source.to_world[a][a] = m.spacing;
    source.read = [](void* user, std::int64_t k, float* plane) -> sampan::Status {
      const auto& c = *static_cast<const Cube*>(user);
      const auto n = c.side * c.side;
      for (std::int64_t i = 0; i < n; ++i) plane[i] = float(c.voxels[std::size_t(k * n + i)]);
      return {};
    };
  }
  Cube(const Cube&) = delete;
  Cube& operator=(const Cube&) = delete;
};

struct NamedPrecision {
  const char* name;
  sampan::Precision value;
  double bound;  ///< of the embedding's relative L2 error: parity in f32; in the others ten times what the real LiteMedSAM shows (tests/parity/precision_test.cpp)
};
constexpr NamedPrecision kPrecisions[] = {{"f32", sampan::Precision::f32, 1e-5}, {"fast", sampan::Precision::fast, 2e-2}, {"bf16", sampan::Precision::bf16, 1.4e-1}, {"f16", sampan::Precision::f16, 2e-2}};

/// A network with one image or cube, encoded again and again.
class Subject {
 public:
  Subject(bool volume, const std::string& path, const std::string& isa, int threads, sampan::Precision precision, sampan::Device device, int batch = 1) : device_(device) {
    sampan::LoadOptions o;
    o.isa = isa, o.threads = threads, o.device = device, o.precision = precision;
    const double start = seconds();
    if (volume) {
      const auto model = take(sampan::Model3d::try_load(path, o));
      load_ms = (seconds() - start) * 1e3;
      flop = model.info().encode_flop, weight_bytes = double(model.info().weight_bytes);
      cube_ = std::make_unique<Cube>(model.info());
      session3d_.emplace(take(sampan::Session3d::try_open(model, cube_->source)));
    } else {
      const auto model = take(sampan::Model::try_load(path, o));
      load_ms = (seconds() - start) * 1e3;
      flop = model.info().encode_flop, weight_bytes = double(model.info().weight_bytes);
      image_.emplace(model.info().image_size);
      for (int i = 0; i < batch; ++i) sessions_.emplace_back(model), views_.push_back(image_->view);
      flop *= batch;
    }
  }
  /// Milliseconds of the encoder alone; all_ms: with what prepares its input.
  double encode() {
    all_ms = milliseconds_of([&] {
      if (!sessions_.empty()) take(sampan::try_set_images(sessions_, views_));
      else take(session3d_->try_set_centre(double(cube_->side / 2), double(cube_->side / 2), double(cube_->side / 2)));
    });
    if (sessions_.empty()) return session3d_->timings().encode;
    if (device_ == sampan::Device::cuda) return sessions_[0].timings().encode;  // one call: the time of all
    double all = 0;
    for (const auto& s : sessions_) all += s.timings().encode;
    return all;
  }
  std::vector<float> embedding() {
    if (!sessions_.empty()) {
      encode();
      return take(sessions_.back().try_image_embedding());
    }
    sampan::Trace trace({"image_encoder"});
    session3d_->set_trace(&trace);
    encode();
    session3d_->set_trace(nullptr);
    if (trace.records().size() != 1) die("the encoder was traced " + std::to_string(trace.records().size()) + " times");
    return trace.records()[0].data;
  }
  double flop = 0, weight_bytes = 0, load_ms = 0, all_ms = 0;

 private:
  sampan::Device device_;
  std::optional<Image> image_;
  std::unique_ptr<Cube> cube_;
  std::vector<sampan::Session> sessions_;
  std::vector<sampan::ImageView> views_;
  std::optional<sampan::Session3d> session3d_;
};

double relative_l2(const std::vector<float>& got, const std::vector<float>& want) {
  double error = 0, norm = 0;
  for (std::size_t i = 0; i < want.size(); ++i) error += std::pow(double(got[i]) - double(want[i]), 2), norm += std::pow(double(want[i]), 2);
  return std::sqrt(error / norm);
}

/// The fast backend on the twin against Reference on the twin. Reference's own float32 error is of the same size, so the bound is loose here; tests/parity is strict.
class Twin {
 public:
  Twin(bool volume, const std::string& network) : volume_(volume), file_("-twin.safetensors") {
    write_network(file_.path(), twin_contract(network));
    want_ = Subject(volume, file_.path(), "auto", 1, sampan::Precision::f32, sampan::Device::reference).embedding();
  }
  double error(const std::string& isa, int threads, sampan::Precision precision, sampan::Device device) const { return relative_l2(Subject(volume_, file_.path(), isa, threads, precision, device).embedding(), want_); }

 private:
  bool volume_;
  TemporaryFile file_;
  std::vector<float> want_;
};

void run_model(Harness& h, const std::string& name, bool volume, const std::string& path, const Twin* twin, const std::vector<NamedPrecision>& precisions, sampan::Device device, int batch) {
  std::vector<Case> group;
  const auto first = std::make_shared<std::vector<float>>();  // embedding of the first thread count, per level
  for (const auto& isa : h.isas())
    for (const auto& precision : precisions)
      for (const int threads : h.threads()) {
        const bool resettable = reset_peak();
        const std::size_t before = resident_bytes();
        const auto v = std::make_shared<Subject>(volume, path, isa, threads, precision.value, device, batch);
        v->encode();
        const double peak = double(peak_resident_bytes() - before) / double(1 << 20);

        Row row;
        row.name = batch > 1 ? name + " x" + std::to_string(batch) : name, row.isa = device == sampan::Device::cuda ? kDeviceRow : isa, row.threads = threads, row.precision = precision.name;
        row.flop = v->flop;
        row.bytes = v->weight_bytes;  // least: every weight once; activations can stay in cache
        row.extra = {{"load_ms", v->load_ms}, {"peak_mib", resettable ? peak : kNaN}};
        const bool new_level = threads == h.threads().front();
        group.push_back({std::move(row), [=] { return v->encode(); }, [=] {
                           const auto got = v->embedding();
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

/// Whether the file holds a volumetric network; a file that cannot be read ends the program.
bool holds_volumes(const std::string& path) { return sampan::weights::is_volume(take(sampan::weights::open_model(path))->contract.network.encoder); }

}  // namespace

int main(int argc, char** argv) {
  Harness h(argc, argv, "whole image encoders with random or real weights", {{"--model", "FILE", "weights written by sampan-convert, instead of random networks"}, {"--precision", "LIST", "f32, fast, bf16; f16 on cuda (default f32)"}, kDevice, kRoofSide,
                                                                              {"--batch", "N", "images of one call (default 1); on the processor one follows the other"}});
  const int batch = h.option("--batch").empty() ? 1 : std::atoi(h.option("--batch").c_str());
  if (batch < 1 || batch > 1024) die("--batch: 1 to 1024 are possible");
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
  if (device == sampan::Device::cuda) {
    std::vector<std::string> names;
    for (const auto& p : precisions) names.push_back(p.name);
    h.use_device(names);
  }
  if (const auto file = h.option("--model"); !file.empty()) {
    run_model(h, file.substr(file.find_last_of('/') + 1), holds_volumes(file), file, nullptr, precisions, device, batch);
  } else {
    for (const auto& name : h.shapes({"lite_medsam", "mobile_sam", "sam_vit_b_256"})) {
      if (!h.wanted(name)) continue;
      const auto contract = network_contract(name);
      const bool volume = sampan::weights::is_volume(contract.network.encoder);
      if (volume && batch > 1) die(name + ": --batch is of images");
      if (volume && device == sampan::Device::cuda) die(name + ": volumetric networks run on the processor only");
      const Twin twin(volume, name);
      const TemporaryFile weights(".safetensors");
      write_network(weights.path(), contract);
      run_model(h, name, volume, weights.path(), &twin, precisions, device, batch);
    }
  }
  return h.report();
}
