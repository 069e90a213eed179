// bench_decoder: prompts of one encoded image through the public API: one box, and sixteen boxes in one call; time of predict's decode stage.
//   bench_decoder --threads 1,2              bench_decoder --model lite_medsam.safetensors
// Data flow: bench/networks.cpp or a file -> Model, Session -> here.   FLOP: ModelInfo::decode_flop per box, the definition's count for one box alone (3.64 GFLOP at
// a 64x64 grid), whatever the backend computes: absorbed projections and work shared by the prompts of an image may bring a row above 100% of the peak.
// Warm rows: the image's shared part (0.8 GFLOP) was made by a call before; the extra first_ms is a call that makes it.
// Rows "1 box" and "16 boxes" are measured in turn; the ratio of the second says what a batch saves (16 would be nothing).
// Error: low-resolution logits of the first and the last box against the Reference backend on the same embedding.
// Extra: post_ms (upsampling to image size, threshold, statistics) of one call.
#include "harness.hpp"
#include "networks.hpp"

#include <sampan/sampan.hpp>
#include <sampan/weights/safetensors.hpp>

#include "support/hashgen.hpp"

#include <cmath>
#include <memory>
#include <optional>

namespace {
using namespace bench;

constexpr int kSide = 512, kBoxes = 16;

/// Boxes of growing size around moving centres, all inside the image.
std::vector<sampan::Prompt> boxes(int count) {
  std::vector<sampan::Prompt> prompts;
  for (int i = 0; i < count; ++i) {
    const double x = 60 + 24 * (i % 4) * 4, y = 60 + 24 * (i / 4) * 4, half = 20 + 2 * i;
    sampan::Prompt p;
    p.box = sampan::Box{x - half, y - half, x + half, y + half};
    prompts.push_back(std::move(p));
  }
  return prompts;
}

sampan::Model load(const std::string& path, const std::string& isa, int threads, sampan::Device device = sampan::Device::cpu) {
  sampan::LoadOptions o;
  o.isa = isa, o.threads = threads, o.device = device;
  return take(sampan::Model::try_load(path, o));
}

/// Least bytes of one call: the weights of prompt encoder and decoder once, the embedding once, the logits of each box.
double least_bytes(const std::string& path, const sampan::ModelInfo& info, int count) {
  const auto file = take(sampan::weights::Safetensors::open(path));
  double bytes = 0;
  for (const auto& t : file.tensors())
    if (t.name.find("mask_decoder") != std::string::npos || t.name.find("prompt_encoder") != std::string::npos) bytes += double(t.data.size());
  const double grid = double(info.embedding_grid), low = double(info.low_res);
  return bytes + 4 * (grid * grid * 256 + count * low * low);
}

/// One encoded image, decoded by Reference for the first and the last box.
struct Expected {
  TemporaryFile embedding{"-embedding.safetensors"};
  std::vector<std::vector<float>> logits;
  explicit Expected(const std::string& path) {
    const sampan::Model fast = load(path, "auto", 0), literal = load(path, "auto", 1, sampan::Device::reference);
    const auto pixels = sampan::test::phantom_rgb(kSide, kSide);
    sampan::Session s(fast), r(literal);
    take(s.try_set_image({pixels.data(), {kSide, kSide, 3}}));
    take(s.try_save_embedding(embedding.path()));
    take(r.try_load_embedding(embedding.path()));
    for (const int i : {0, kBoxes - 1}) logits.push_back(take(r.try_predict(boxes(kBoxes)[std::size_t(i)])).low_res_logits);
  }
};

struct Variant {
  std::optional<sampan::Model> model;
  std::optional<sampan::Session> session;
  std::vector<sampan::Prompt> prompts;
  std::vector<sampan::Prediction> predictions;
};

void run_model(Harness& h, const std::string& name, const std::string& path, sampan::Device device) {
  const auto expected = std::make_shared<const Expected>(path);
  for (const auto& isa : h.isas())
    for (const int threads : h.threads()) {
      const auto shared = std::make_shared<Variant>();
      shared->model.emplace(load(path, isa, threads, device));
      std::vector<Case> group;
      for (const int count : {1, kBoxes}) {
        const auto v = std::make_shared<Variant>();
        v->session.emplace(*shared->model);
        v->prompts = boxes(count);
        v->predictions.resize(std::size_t(count));
        take(v->session->try_load_embedding(expected->embedding.path()));
        const auto run = [=] {
          take(v->session->try_predict_into(v->prompts, v->predictions));
          return v->session->timings().decode;
        };
        const double first = run();
        Row row;
        row.name = name + (count == 1 ? " decoder, 1 box" : " decoder, " + std::to_string(count) + " boxes");
        row.isa = device == sampan::Device::cuda ? kDeviceRow : isa, row.threads = threads;
        row.flop = shared->model->info().decode_flop * count;
        row.bytes = least_bytes(path, shared->model->info(), count);
        row.extra = {{"post_ms", v->session->timings().postprocess}, {"first_ms", first}};
        group.push_back({std::move(row), run, [=] {
                           run();
                           Accuracy a{0, "Reference", {}};
                           double error = 0, norm = 0;
                           const auto compare = [&](const std::vector<float>& got, const std::vector<float>& want) {
                             if (got.size() != want.size()) a.wrong = "another number of logits than Reference";
                             for (std::size_t i = 0; i < std::min(got.size(), want.size()); ++i) error += std::pow(double(got[i]) - double(want[i]), 2), norm += std::pow(double(want[i]), 2);
                           };
                           compare(v->predictions.front().low_res_logits, expected->logits[0]);
                           if (count == kBoxes) compare(v->predictions.back().low_res_logits, expected->logits[1]);
                           a.relative_l2 = std::sqrt(error / norm);
                           if (a.wrong.empty() && !(a.relative_l2 <= 1e-4)) a.wrong = "error above 1e-4, the bound of the parity tests";
                           return a;
                         }});
      }
      h.run(std::move(group));
    }
}

}  // namespace

int main(int argc, char** argv) {
  Harness h(argc, argv, "prompt encoder and mask decoder, one box and sixteen", {{"--model", "FILE", "weights written by sampan-convert, instead of random networks"}, kDevice, kRoofSide});
  const sampan::Device device = device_named(h.option("--device"));
  if (device == sampan::Device::cuda) h.use_device({"f32"});
  if (const auto file = h.option("--model"); !file.empty()) {
    run_model(h, file.substr(file.find_last_of('/') + 1), file, device);
  } else {
    for (const auto& name : h.shapes({"lite_medsam"})) {
      const TemporaryFile weights(".safetensors");
      write_network(weights.path(), network_contract(name));
      run_model(h, name, weights.path(), device);
    }
  }
  return h.report();
}
