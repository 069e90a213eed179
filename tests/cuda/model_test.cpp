// Whole models on the Cuda backend, through the public classes, against Reference: emulated runtime and kernels (tests/emu/runtime.hpp) or, with SAMPAN_TEST_GPU, a real
// device. Emulated device memory has no access rights while host code runs, so that these tests also show that no host code reads a device address.
#include "support/model_file.hpp"

#if !defined(SAMPAN_TEST_GPU)
#  include "emu/runtime.hpp"
#endif

#include <cmath>
#include <cstdio>
#include <set>

using namespace sampan;
using namespace sampan::test;

namespace {

double relative_l2(const std::vector<float>& got, const std::vector<float>& want) {
  REQUIRE(got.size() == want.size());
  double d = 0, s = 0;
  for (std::size_t i = 0; i < got.size(); ++i) d += std::pow(double(got[i]) - double(want[i]), 2), s += std::pow(double(want[i]), 2);
  return std::sqrt(d / s);
}

/// Nothing that the emulator finds in kernels may have been found.
void check_findings() {
#if !defined(SAMPAN_TEST_GPU)
  const std::string found = emu::take_findings();
  CHECK_MESSAGE(found.empty(), found);
#endif
}

ImageView view_of(const std::vector<std::uint8_t>& pixels) { return {pixels.data(), {90, 70, 3}}; }

/// Prompts that `info` allows: boxes, points, both, a mask from an earlier call; alone and as a batch.
std::vector<Prediction> answers(Session& s, const ModelInfo& info) {
  std::vector<Prediction> all;
  const auto ask = [&](const Prompt& p) {
    all.push_back(s.predict(p));
    if (info.multimask) all.push_back(s.predict(p, {.multimask = true}));
  };
  ask({.box = Box{10, 12, 60, 55}});
  if (info.points) ask({.points = {{30, 20, 1}, {70, 60, 0}}});
  if (info.points) ask({.points = {{30, 20, 1}}, .box = Box{5, 6, 70, 60}});
  if (info.mask_input) {
    Prompt again{.box = Box{10, 12, 60, 55}};
    again.mask_input.assign(all[0].low_res_logits.begin(), all[0].low_res_logits.begin() + info.low_res * info.low_res);
    ask(again);
  }
  std::vector<Prompt> batch(5, Prompt{.box = Box{10, 12, 60, 55}});
  for (std::size_t i = 0; i < batch.size(); ++i) batch[i].box->x1 += double(i);
  std::vector<Prediction> together(batch.size());
  s.predict_into(batch, together);
  for (auto& p : together) all.push_back(std::move(p));
  return all;
}

struct Network {
  const char* name;
  weights::Contract contract;
  bool like_another = false;
};
std::vector<Network> networks() {
  return {{"SAM, a window that sticks out and a global block", tiny_sam({.width = 64, .depth = 3, .heads = 2, .image = 256, .global_blocks = {2}})},
          {"SAM, heads of 16", tiny_sam(), true},
          {"MedSAM, heads of 64", tiny_medsam({.width = 64, .depth = 2, .heads = 1})},
          {"LiteMedSAM", tiny_lite_medsam({.dims = {32, 32, 64, 96}, .heads = {1, 1, 2, 3}})},
          {"LiteMedSAM, heads of other sizes", tiny_lite_medsam(), true},
          {"MobileSAM", tiny_mobile_sam(), true},
          {"SAM-Med2D's adapters", tiny_med2d(), true}};
}

struct Distance {
  double embedding = 0, logits = 0;
};
/// Image and prompts on two models of the same network: relative L2 of the embedding, and the largest of the logits.
Distance between(const Model& got, const Model& want) {
  const auto pixels = test_image(90, 70, 3);
  Session x(got), y(want);
  x.set_image(view_of(pixels));
  y.set_image(view_of(pixels));
  Distance d{relative_l2(x.try_image_embedding().value(), y.try_image_embedding().value()), 0};
  const auto a = answers(x, got.info()), b = answers(y, want.info());
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    d.logits = std::max(d.logits, relative_l2(a[i].low_res_logits, b[i].low_res_logits));
    REQUIRE(a[i].candidates.size() == b[i].candidates.size());
  }
  return d;
}

void check_distance(const std::string& what, const Distance& d, const Distance& bound) {
  CAPTURE(what);
  CHECK(d.embedding <= bound.embedding);
  CHECK(d.logits <= bound.logits);
  check_findings();
  char line[300];
  std::snprintf(line, sizeof line, "%s: embedding %.2g (bound %.2g), logits at most %.2g (bound %.2g)", what.c_str(), d.embedding, bound.embedding, d.logits, bound.logits);
  MESSAGE(std::string(line));
}

}  // namespace

TEST_CASE("cuda, f32: whole models within the parity bounds of Reference") {
  for (const Network& n : networks()) {
    const TempFolder folder;
    const Model want = load_random(folder, n.contract, {.device = Device::reference}), got = load_random(folder, n.contract, {.device = Device::cuda});
    check_distance(cat(n.name, ", f32"), between(got, want), {1e-5, 1e-4});
  }
}

TEST_CASE("cuda, 16-bit operands: whole models within what rounded weights do to Reference") {
  // The yardstick is Reference with the encoder's weights rounded to the type: an error with as many independent roundings as there are weights of products, amplified
  // by this network on the way. Cuda rounds those and the other operand of every product; in attention q, k, v and the softmax's weights as well: of twelve
  // roundings of a block four are weights. Independent errors add in squares: sqrt(12 / 4) times the yardstick is expected, twice that is the bound.
  for (const Network& n : networks()) {
    if (n.like_another) continue;  // the same kernels: f32 above, and the ops' own tests
    for (const Precision p : {Precision::f16, Precision::bf16}) {
      const TempFolder folder;
      const Model want = load_random(folder, n.contract, {.device = Device::reference}), got = load_random(folder, n.contract, {.precision = p, .device = Device::cuda});
      const auto round = [&](const std::string& name, std::vector<float>& values) {
        if (name.rfind("image_encoder.", 0) != 0) return;
        for (float& v : values) v = p == Precision::f16 ? f16_to_f32(f32_to_f16(v)) : bf16_to_f32(f32_to_bf16(v));
      };
      REQUIRE(write_model(folder.file("rounded.safetensors"), n.contract, 1, weights::expected_tensors(n.contract.network), round));
      const Distance yard = between(Model::load(folder.file("rounded.safetensors"), {.device = Device::reference}), want);
      const double factor = 2 * std::sqrt(3.0);
      check_distance(cat(n.name, ", ", precision_name(p)), between(got, want), {factor * yard.embedding, factor * yard.logits});
    }
  }
}

TEST_CASE("cuda: networks that need an op without a kernel are refused at load, by name") {
  const std::pair<weights::Contract, const char*> cases[] = {{tiny_efficient_sam(), "group_norm"}, {tiny_efficient_vit(), "tanh"}, {tiny_edge_sam(), "resize_torch_bicubic"},
                                                             {tiny_samed(), "classes"}, {tiny_sam_hq(), "hq"}, {tiny_finetune("hsam"), "guided"}, {tiny_finetune("finetune_sam"), "later_classes"}, {tiny_finetune("finetune_sam_tiny"), "later_classes"},
                                                             {tiny_finetune("sam_adapter"), "frequency_prompt"}, {tiny_finetune("autosam"), "class_sets"}, {tiny_finetune("autosam_linear"), "plain_linear"}, {tiny_finetune("autosam_cnn"), "plain_cnn"}, {tiny_finetune("desam"), "decoupled"},
                                                             {tiny_finetune("samus"), "side_branch"}, {tiny_finetune("autosamus"), "prompt generator"}};
  for (const auto& c : cases) {
    const TempFolder folder;
    const std::string path = folder.file("m.safetensors");
    REQUIRE(write_model(path, c.first));
    const auto model = Model::try_load(path, {.device = Device::cuda});
    REQUIRE_FALSE(model);
    CHECK(model.error().code() == ErrorCode::unsupported);
    for (const char* part : {c.second, "device cuda", "use device cpu"}) CHECK_MESSAGE(model.error().message().find(part) != std::string::npos, model.error().message());
    CHECK(model.error().message().find(c.first.name) != std::string::npos);
  }
}

TEST_CASE("cuda: an embedding goes from the host to the device and back") {
  const TempFolder folder;
  const Model cpu = load_random(folder, tiny_sam()), cuda = load_random(folder, tiny_sam(), {.device = Device::cuda});
  const auto pixels = test_image(90, 70, 3);
  Session a(cpu), b(cuda), c(cuda);
  a.set_image(view_of(pixels));
  a.save_embedding(folder.file("cpu.safetensors"));
  b.load_embedding(folder.file("cpu.safetensors"));
  const Prompt box{.box = Box{10, 12, 60, 55}};
  CHECK(relative_l2(b.predict(box).low_res_logits, a.predict(box).low_res_logits) <= 1e-5);
  const auto other = test_image(90, 70, 3, 9);
  b.set_image(view_of(other));
  b.load_embedding(folder.file("cpu.safetensors"));  // over an image that the device holds
  CHECK(relative_l2(b.predict(box).low_res_logits, a.predict(box).low_res_logits) <= 1e-5);
  b.set_image(view_of(other));
  b.save_embedding(folder.file("cuda.safetensors"));
  c.load_embedding(folder.file("cuda.safetensors"));
  CHECK(c.predict(box).low_res_logits == b.predict(box).low_res_logits);
  check_findings();
}

TEST_CASE("cuda: what it refuses, and says") {
  const TempFolder folder;
  const Model cuda = load_random(folder, tiny_sam(), {.device = Device::cuda});
  for (const Precision p : {Precision::int8, Precision::fast}) {
    const auto m = Model::try_load(folder.file("sam1.safetensors"), {.precision = p, .device = Device::cuda});
    REQUIRE_FALSE(m);
    CHECK(m.error().code() == ErrorCode::unsupported);
    CHECK(m.error().message().find("f16") != std::string::npos);
  }
  const auto on_cpu = Model::try_load(folder.file("sam1.safetensors"), {.precision = Precision::f16});
  REQUIRE_FALSE(on_cpu);
  CHECK(on_cpu.error().code() == ErrorCode::unsupported);
  const std::uint64_t all = cuda.info().weight_bytes + cuda.info().encode_bytes;
  const Model limited = Model::load(folder.file("sam1.safetensors"), {.device = Device::cuda, .max_memory = all - 1});
  Session little(limited);
  const auto pixels = test_image(90, 70, 3);
  const Status beyond = little.try_set_image(view_of(pixels));
  REQUIRE_FALSE(beyond);
  CHECK(beyond.error().code() == ErrorCode::limit);
  Session s(cuda);
  Trace trace;
  s.set_trace(&trace);
  const Status traced = s.try_set_image(view_of(pixels));
  REQUIRE_FALSE(traced);
  CHECK(traced.error().code() == ErrorCode::unsupported);
  s.set_trace(nullptr);
  const Progress stop{[](void*, std::string_view stage, double) { return stage != "image_encoder"; }, nullptr};
  const Status cancelled = s.try_set_image(view_of(pixels), {}, stop);
  REQUIRE_FALSE(cancelled);
  CHECK(cancelled.error().code() == ErrorCode::cancelled);
  CHECK_FALSE(s.has_image());
  s.set_image(view_of(pixels));
  CHECK(s.predict({.box = Box{10, 12, 60, 55}}).candidates.size() == 1);
  CHECK(available_devices().size() == 3);
  CHECK(available_precisions(Device::cuda).value() == std::vector<std::string>{"f32", "f16", "bf16"});
  CHECK(available_precisions(Device::reference).value() == std::vector<std::string>{"f32"});
  check_findings();
}

#if !defined(SAMPAN_TEST_GPU)
TEST_CASE("cuda: after the first image and prompts nothing is allocated, and a call is one graph") {
  const TempFolder folder;
  const Model cuda = load_random(folder, tiny_lite_medsam(), {.device = Device::cuda});
  Session s(cuda);
  const auto first = test_image(90, 70, 3), second = test_image(90, 70, 3, 9);
  const std::vector<Prompt> boxes(3, Prompt{.box = Box{10, 12, 60, 55}});
  std::vector<Prediction> out(boxes.size());
  Prediction one;
  s.set_image(view_of(first));
  s.predict_into(boxes, out);
  s.predict_into(boxes[0], one);
  const emu::RuntimeCounts before = emu::runtime_counts();
  s.set_image(view_of(second));
  s.predict_into(boxes, out);
  s.predict_into(boxes[0], one);
  const emu::RuntimeCounts after = emu::runtime_counts();
  CHECK(after.allocations == before.allocations);
  CHECK(after.living == before.living);
  CHECK(after.graph_launches == before.graph_launches + 3);
  CHECK(after.synchronizations == before.synchronizations + 3);
  CHECK(after.launches > before.launches);
  Session fresh(cuda);  // the recorded graphs read the new image, not the old one
  fresh.set_image(view_of(second));
  CHECK(fresh.predict(boxes[0]).low_res_logits == one.low_res_logits);
  check_findings();
}

TEST_CASE("cuda: without a device, or with an old one, the error says what to do") {
  const TempFolder folder;
  (void)load_random(folder, tiny_sam());
  const auto load = [&](Precision p) { return Model::try_load(folder.file("sam1.safetensors"), {.precision = p, .device = Device::cuda}); };
  emu::hide_device(true);
  const auto none = load(Precision::f32);
  CHECK(available_devices().size() == 2);
  emu::hide_device(false);
  REQUIRE_FALSE(none);
  CHECK(none.error().code() == ErrorCode::unsupported);
  CHECK(none.error().message().find("use device cpu") != std::string::npos);
  emu::set_compute_capability(7, 0);
  const auto old = load(Precision::f32);
  emu::set_compute_capability(7, 5);
  const auto no_bf16 = load(Precision::bf16);
  const bool f16 = bool(load(Precision::f16));
  emu::set_compute_capability(9, 0);
  REQUIRE_FALSE(old);
  CHECK(old.error().message().find("7.5") != std::string::npos);
  REQUIRE_FALSE(no_bf16);
  CHECK(no_bf16.error().message().find("f16") != std::string::npos);
  CHECK(f16);
}

TEST_CASE("cuda: any call may fail: its name comes back, nothing leaks, and the next call works") {
  const TempFolder folder;
  const auto contract = tiny_sam();  // the smallest that calls products, convolutions, kernels and graphs
  (void)load_random(folder, contract);
  const std::string path = folder.file("sam1.safetensors");
  const auto pixels = test_image(90, 70, 3);
  const std::uint64_t living = emu::runtime_counts().living;
  const auto whole = [&]() -> Status {
    SAMPAN_TRY(model, Model::try_load(path, {.device = Device::cuda}));
    Session s(model);
    Prediction p;
    const Prompt box{.box = Box{10, 12, 60, 55}};
    Status status = s.try_set_image(view_of(pixels));
    if (status) status = s.try_predict_into(box, p);
    if (!status) {  // whatever failed, the session is usable again
      CHECK(s.try_set_image(view_of(pixels)).ok());
      CHECK(s.try_predict_into(box, p).ok());
    }
    return status;
  };
  const std::uint64_t before = emu::runtime_counts().calls;
  REQUIRE(whole());
  const std::uint64_t calls = emu::runtime_counts().calls - before;
  CHECK(emu::runtime_counts().living == living);
  std::set<std::string> said;
  // Every one of the first and last, steps between: the middle is one upload or kernel after another.
  for (std::uint64_t n = 1; n <= calls; n += n < 10 || n + 10 > calls ? 1 : calls / 11) {
    CAPTURE(n);
    emu::fail_call(n);
    const Status s = whole();
    emu::fail_call(0);
    REQUIRE_FALSE(s);
    CHECK(s.error().message().find('\n') == std::string::npos);
    said.insert(s.error().message());
    CHECK(emu::runtime_counts().living == living);
  }
  CHECK(said.size() >= 8);
  (void)emu::take_findings();  // a graph that was cut off may have read what was never written
}
#endif
