// Whole models on the Cuda backend, through the public classes, against Reference: emulated runtime and kernels (tests/emu/runtime.hpp) or, with SAMPAN_TEST_GPU, a real
// device. Emulated device memory has no access rights while host code runs, so that these tests also show that no host code reads a device address.
#include "support/model_file.hpp"

#if !defined(SAMPAN_TEST_GPU)
#  include "emu/runtime.hpp"
#endif

#include <sampan/predict/volume.hpp>

#include <algorithm>
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

/// Prompts that `info` allows: boxes, points, both, a mask from an earlier call; alone and as a batch. Or a box alone.
std::vector<Prediction> answers(Session& s, const ModelInfo& info, bool box_alone) {
  std::vector<Prediction> all;
  const auto ask = [&](const Prompt& p) {
    all.push_back(s.predict(p));
    if (info.multimask) all.push_back(s.predict(p, {.multimask = true}));
  };
  ask({.box = Box{10, 12, 60, 55}});
  if (box_alone) return all;
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

/// A prediction's masks are those of the host's literal code on the prediction's own logits, to the last bit. Only a sigmoid leaves the device a choice: its exp is within two
/// units in the last place, so that probabilities differ by at most a quarter of that (p (1 - p)), a rounding of the sum and one of the quotient: 3 2^-24, and what they are blended to
/// by that and the roundings of the blend, 3 2^-24 more. A mask may differ where the threshold lies that near.
void check_masks(Session& s, const Prediction& p) {
  const sampan::detail::SessionState& state = sampan::detail::Access::state(s);
  const double band = state.model->contract.mask.upsample == weights::UpsampleKind::sigmoid_then_original ? 6 * 0x1p-24 : 0;
  const Index low = Index(p.low_res);
  const auto literal = [&](std::size_t m, double shift, Candidate& out) {
    weights::Contract c = state.model->contract;
    c.mask.threshold += shift;
    const auto finish = [&](Context<Reference>& ctx) { predict::finish_mask(ctx, c, state.frame, View<const float, 2>(p.low_res_logits.data() + Index(m) * low * low, {low, low}), out); };
    ThreadPool pool(1);
    Arena arena;
    const Reference backend;
    REQUIRE(arena.reserve(plan(backend, pool, finish).value().arena_bytes));
    Context<Reference> ctx(backend, pool, arena);
    finish(ctx);
    REQUIRE(ctx.ok());
  };
  for (std::size_t m = 0; m < p.candidates.size(); ++m) {
    const Candidate& got = p.candidates[m];
    Candidate want, most;
    literal(m, band, want);
    literal(m, -band, most);
    REQUIRE(got.mask.data.size() == want.mask.data.size());
    Index outside = 0;
    for (std::size_t i = 0; i < got.mask.data.size(); ++i) outside += got.mask.data[i] < want.mask.data[i] || got.mask.data[i] > most.mask.data[i];
    CHECK(outside == 0);
    if (want.mask.data != most.mask.data) continue;  // a pixel in the band
    CHECK(got.area == want.area);
    CHECK(got.extent == want.extent);
    CHECK((got.stability == want.stability || (got.stability != got.stability && want.stability != want.stability)));
  }
}

struct Network {
  const char* name;
  weights::Contract contract;
  bool like_another = false;
  bool box_alone = false;  ///< its decoder is another's: every kind of prompt there
};
std::vector<Network> networks() {
  return {{"SAM, a window that sticks out and a global block", tiny_sam({.width = 64, .depth = 2, .heads = 2, .image = 256, .global_blocks = {1}}), false, true},
          {"SAM, heads of 16", tiny_sam(), true},
          {"MedSAM, heads of 64", tiny_medsam({.width = 64, .depth = 2, .heads = 1})},
          {"LiteMedSAM", tiny_lite_medsam({.dims = {32, 32, 64, 96}, .heads = {1, 1, 2, 3}})},
          {"LiteMedSAM, heads of other sizes", tiny_lite_medsam({.image = 32}), true},
          {"MobileSAM", tiny_mobile_sam({.stem = weights::TinyStem::conv3x3_stride2}), true, true},
          {"SAM-Med2D's adapters", tiny_med2d(), true}};
}

struct Distance {
  double embedding = 0, logits = 0;
};
/// Image and prompts on two models of the same network: relative L2 of the embedding, and the largest of the logits.
Distance between(const Model& got, const Model& want, bool box_alone = false) {
  const auto pixels = test_image(90, 70, 3);
  Session x(got), y(want);
  x.set_image(view_of(pixels));
  y.set_image(view_of(pixels));
  Distance d{relative_l2(x.try_image_embedding().value(), y.try_image_embedding().value()), 0};
  const auto a = answers(x, got.info(), box_alone), b = answers(y, want.info(), box_alone);
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    d.logits = std::max(d.logits, relative_l2(a[i].low_res_logits, b[i].low_res_logits));
    REQUIRE(a[i].candidates.size() == b[i].candidates.size());
    check_masks(x, a[i]);
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
    check_distance(cat(n.name, ", f32"), between(got, want, n.box_alone), {1e-5, 1e-4});
  }
}

TEST_CASE("cuda, 16-bit operands: whole models within what rounded weights do to Reference") {
  // The yardstick is Reference with the encoder's weights rounded to the type: an error with as many independent roundings as there are weights of products, amplified
  // by this network on the way. Cuda rounds those and the other operand of every product; in attention q, k, v and the softmax's weights as well: of twelve
  // roundings of a block four are weights. Independent errors add in squares: sqrt(12 / 4) times the yardstick is expected, twice that is the bound.
  for (const Network& n : networks()) {
    if (n.like_another) continue;  // the same kernels: f32 above, and the ops' own tests. The decoder is float here as well: a box shows what it makes of the embedding.
    for (const Precision p : {Precision::f16, Precision::bf16}) {
      const TempFolder folder;
      const Model want = load_random(folder, n.contract, {.device = Device::reference}), got = load_random(folder, n.contract, {.precision = p, .device = Device::cuda});
      const auto round = [&](const std::string& name, std::vector<float>& values) {
        if (name.rfind("image_encoder.", 0) != 0) return;
        for (float& v : values) v = p == Precision::f16 ? f16_to_f32(f32_to_f16(v)) : bf16_to_f32(f32_to_bf16(v));
      };
      REQUIRE(write_model(folder.file("rounded.safetensors"), n.contract, 1, weights::expected_tensors(n.contract.network), round));
      const Distance yard = between(Model::load(folder.file("rounded.safetensors"), {.device = Device::reference}), want, true);
      const double factor = 2 * std::sqrt(3.0);
      check_distance(cat(n.name, ", ", precision_name(p)), between(got, want, true), {factor * yard.embedding, factor * yard.logits});
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
  b.set_image(view_of(other));
  CHECK(sampan::detail::Access::state(b).embedding_elsewhere);  // it is copied when somebody asks
  const auto copied = b.try_image_embedding().value();
  CHECK_FALSE(sampan::detail::Access::state(b).embedding_elsewhere);
  CHECK(copied == c.try_image_embedding().value());
  check_findings();
}

#if !defined(SAMPAN_TEST_GPU)
TEST_CASE("cuda: the network's input has the bits of the host's, for every recipe that the device has") {
  auto device = cuda::Device::open();
  REQUIRE(device);
  const Cuda backend{*device};
  const Cpu host{.isa = best_isa()};
  ThreadPool pool(1);
  using R = weights::ResizeKind;
  using N = weights::NormaliseKind;
  // Larger and smaller than the input, whole factors (of area sums), sides that are right already, one pixel, and heights that make Pillow go down first.
  const Extent2 sizes[] = {{50, 37}, {20, 27}, {64, 96}, {32, 32}, {32, 45}, {1, 3}, {90, 33}};
  for (const R resize : {R::pillow_bilinear, R::cv2_area, R::cv2_nearest, R::skimage_cubic_aa})
    for (const Extent2 size : sizes)
      for (const bool other : {false, true}) {
        weights::Contract c = tiny_sam();
        c.network.image_size = 32;
        c.image.resize = resize;
        c.image.normalise = other == (resize == R::cv2_area || resize == R::skimage_cubic_aa) ? N::mean_std : N::min_max;
        if (other) c.image.keep_aspect = false, c.image.pad = weights::PadKind::centre_small, c.image.channels = weights::ImageChannels::bgr;
        CAPTURE(weights::to_text(resize));
        CAPTURE(size.height);
        CAPTURE(size.width);
        CAPTURE(other);
        REQUIRE(predict::pixels_on_device(c));
        const auto pixels = test_image(size.width, size.height, 3);
        const ImageView image{pixels.data(), {size.width, size.height, 3}};
        const auto frame = predict::make_frame(c, size);
        const auto on_host = [&](auto&& f) {
          Arena arena;
          REQUIRE(arena.reserve(plan(host, pool, f).value().arena_bytes));
          Context<Cpu> ctx(host, pool, arena);
          f(ctx);
          REQUIRE(ctx.ok());
        };
        std::vector<float> want(32 * 32 * 3), got(want.size());
        on_host([&](Context<Cpu>& ctx) { predict::prepare_image(ctx, c, image, {}, frame, View<float, 3>(want.data(), {32, 32, 3})); });
        const auto there = predict::DevicePixels::plan(c, frame);
        std::vector<std::uint8_t> block(std::size_t(there.bytes));
        REQUIRE(there.fill(c, block.data()));
        on_host([&](Context<Cpu>& ctx) { predict::raw_pixels(ctx, c, image, {}, View<std::uint8_t, 3>(block.data() + there.pixels, {size.height, size.width, 3})); });
        const auto copied = Tensor<std::uint8_t, 1, Cuda>::copy_of(View<const std::uint8_t, 1>(block.data(), {there.bytes}));
        Tensor<float, 3, Cuda> input({32, 32, 3});
        const auto run = [&](Context<Cuda>& ctx) { there.run(ctx, c, copied.view().data(), input.view()); };
        Arena arena;
        REQUIRE(arena.reserve<cuda::DeviceMemory>(plan(backend, pool, run).value().arena_bytes));
        Context<Cuda> ctx(backend, pool, arena);
        run(ctx);
        REQUIRE(ctx.ok());
        REQUIRE(cuda::copy_out(got.data(), input.view().data(), got.size() * sizeof(float), (*device)->stream()).ok());
        REQUIRE(cuda::synchronize((*device)->stream()).ok());
        CHECK(std::memcmp(got.data(), want.data(), got.size() * sizeof(float)) == 0);
        check_findings();
      }
}

TEST_CASE("cuda: several images together are the bits of one after the other") {
  struct Case {
    weights::Contract contract;
    Precision precision;
    bool together;
  };
  const Case cases[] = {{tiny_sam({.width = 64, .depth = 2, .heads = 2, .image = 128, .global_blocks = {1}}), Precision::f16, true},
                        {tiny_sam(), Precision::f32, true},  // and what a second call costs
                        {tiny_lite_medsam({.dims = {32, 32, 64, 96}, .heads = {1, 1, 2, 3}}), Precision::bf16, true},
                        {tiny_med2d(), Precision::f16, false}};
  for (const Case& k : cases) {
    CAPTURE(k.contract.name);
    const TempFolder folder;
    const Model model = load_random(folder, k.contract, {.precision = k.precision, .device = Device::cuda});
    const auto first = test_image(90, 70, 3), second = test_image(61, 83, 3, 9);
    const ImageView images[] = {view_of(first), {second.data(), {61, 83, 3}}};
    std::vector<Session> sessions;
    sessions.emplace_back(model);
    sessions.emplace_back(model);
    Session alone(model);
    const auto before = emu::runtime_counts();
    set_images(sessions, images);
    const auto products = emu::runtime_counts().products - before.products;
    std::uint64_t single = 0;
    for (std::size_t i = 0; i < 2; ++i) {
      const auto start = emu::runtime_counts().products;
      alone.set_image(images[i]);
      single += emu::runtime_counts().products - start;
      CHECK(sessions[i].try_image_embedding().value() == alone.try_image_embedding().value());
      CHECK(sessions[i].image_size().width == images[i].size.width);
      if (k.precision != Precision::f32) continue;
      const Prompt box{.box = Box{10, 12, 55, 60}};
      CHECK(sessions[i].predict(box).low_res_logits == alone.predict(box).low_res_logits);
    }
    CHECK((products < single) == k.together);  // one product of both images instead of two
    if (k.precision == Precision::f32) {
      set_images(sessions, images);  // the prompts had made more room
      const auto warm = emu::runtime_counts();
      set_images(sessions, images);
      CHECK(emu::runtime_counts().allocations == warm.allocations);
      CHECK(emu::runtime_counts().living == warm.living);
    }
    check_findings();
  }
  const TempFolder folder;
  const Model model = load_random(folder, tiny_sam(), {.device = Device::cuda}), other = load_random(folder, tiny_sam());
  std::vector<Session> two;
  two.emplace_back(model);
  two.emplace_back(other);
  const auto pixels = test_image(90, 70, 3);
  const ImageView images[] = {view_of(pixels), view_of(pixels)};
  CHECK(try_set_images(two, images).error().code() == ErrorCode::invalid_argument);
  CHECK(try_set_images(std::span(two).first(1), images).error().code() == ErrorCode::invalid_argument);
  CHECK(try_set_images(std::span(two).first(0), std::span(images).first(0)));
  std::vector<Session> hosts;  // one after the other there
  hosts.emplace_back(other);
  hosts.emplace_back(other);
  set_images(hosts, images);
  CHECK(hosts[0].has_image());
  CHECK(hosts[0].try_image_embedding().value() == hosts[1].try_image_embedding().value());
}

TEST_CASE("cuda: of many sizes the last ones stay recorded") {
  const TempFolder folder;
  const Model model = load_random(folder, tiny_sam(), {.device = Device::cuda});
  Session session(model);
  sampan::detail::SessionState& state = sampan::detail::Access::state(session);
  const auto& net = std::get<models::Network<Cuda>>(state.model->network);
  sampan::detail::DeviceSession d(net.backend.device);
  REQUIRE(d.reserve(state, d.prompts, 64));
  REQUIRE(d.reserve(state, d.results, 64));
  const auto run = [&](Index i) {
    *d.prompts.host<float>() = float(i);
    const sampan::detail::DevicePart part{{9, i, 0, 0, 0, 0}, {&d.prompts, 64}, {&d.results, 64}, [&](Context<Cuda>& ctx) { copy(ctx, View<const float, 2>(d.prompts.device_floats(), {4, 4}), View<float, 2>(d.results.device_floats(), {4, 4})); }};
    REQUIRE(d.run(state, net.backend, part));
    CHECK(*d.results.host<float>() == float(i));
  };
  const auto living = emu::runtime_counts().living;
  for (Index i = 0; i < 40; ++i) run(i);
  CHECK(emu::runtime_counts().living == living + sampan::detail::kKeptParts);
  for (Index i = 39; i >= 0; --i) run(i);
  CHECK(emu::runtime_counts().living == living + sampan::detail::kKeptParts);
  check_findings();
}
#endif

TEST_CASE("cuda: a volume's slices go to its cache and come back") {
  const TempFolder folder;
  const Model model = load_random(folder, tiny_sam(), {.device = Device::cuda});
  SliceSource source{{40, 36, 1}, 2, nullptr, nullptr};
  source.read = [](void*, std::int64_t z, std::uint8_t* pixels) -> Status {
    const auto slice = test_image(40, 36, 1, std::uint64_t(z) + 3);
    std::copy(slice.begin(), slice.end(), pixels);
    return {};
  };
  VolumeSession v = VolumeSession::open(model, source);
  const VolumeBox box{6, 8, 33, 30, 0, 1};
  std::vector<std::uint8_t> one(40 * 36), other(one);
  v.set_box(1, box);
  v.propagate();
  REQUIRE(v.stats().encoded == 2);
  v.set_box(2, box);
  v.propagate();
  CHECK(v.stats().encoded == 2);
  CHECK(v.stats().from_memory >= 1);
  for (std::int64_t z = 0; z < 2; ++z) {
    CHECK(v.mask(1, z, one) == v.mask(2, z, other));
    CHECK(one == other);
  }
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
TEST_CASE("cuda: after the first image and prompts nothing is allocated, and a call is two graphs and one wait") {
  const TempFolder folder;
  const Model cuda = load_random(folder, tiny_lite_medsam({.image = 32}), {.device = Device::cuda});
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
  const emu::RuntimeCounts encoded = emu::runtime_counts();
  s.predict_into(boxes, out);
  const emu::RuntimeCounts batch = emu::runtime_counts();
  s.predict_into(boxes[0], one);
  const emu::RuntimeCounts after = emu::runtime_counts();
  CHECK(after.allocations == before.allocations);
  CHECK(after.living == before.living);
  CHECK(after.graph_launches == before.graph_launches + 6);  // of each call the part of the image's size and the network
  CHECK(after.synchronizations == before.synchronizations + 3);
  CHECK(encoded.launches > before.launches);
  // What a prompt costs beside those that it shares a call with: two transposed convolutions (a product and a kernel each), its tokens, norm, GELU, masks. Not attention, which
  // has 7 launches for all. Several prompts also have an image each for the first layer's queries: a copy, the encoding, a product.
  const std::uint64_t kernels = after.launches - batch.launches, products = after.products - batch.products;
  CHECK(batch.launches - encoded.launches < kernels + 2 * (7 + 7) + 2);
  CHECK(batch.products - encoded.products == products + 2 * 2 + 1);
  MESSAGE("a prompt alone: " << kernels << " kernels and " << products << " products");
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

TEST_CASE("cuda: windows of 14 and heads of 80 on compute capability 7.5, where they do not fit into shared memory") {
  const TempFolder folder;
  const auto contract = tiny_sam({.width = 80, .depth = 1, .heads = 1, .global_blocks = {}});
  const Model want = load_random(folder, contract, {.device = Device::reference});
  const auto pixels = test_image(90, 70, 3);
  const auto embedding = [&](const Model& m) {
    Session s(m);
    s.set_image(view_of(pixels));
    return s.try_image_embedding().value();
  };
  const auto exact = embedding(want), newer = embedding(load_random(folder, contract, {.precision = Precision::f16, .device = Device::cuda}));
  emu::set_compute_capability(7, 5);
  const auto old = embedding(load_random(folder, contract, {.precision = Precision::f16, .device = Device::cuda}));
  emu::set_compute_capability(9, 0);
  CHECK(old != newer);  // another kernel
  CHECK(relative_l2(old, exact) <= 2 * relative_l2(newer, exact));  // on the same rounded values
  check_findings();
}

TEST_CASE("cuda: any call may fail: its name comes back, nothing leaks, and the next call works") {
  const TempFolder folder;
  const auto contract = tiny_sam({.depth = 1, .image = 64, .global_blocks = {0}});  // the smallest that calls products, convolutions, kernels and graphs
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
    CHECK_MESSAGE((s.error().message().find("CUDA: ") != std::string::npos || s.error().message().find("device cuda: ") == 0), s.error().message());
    said.insert(s.error().message());
    CHECK(emu::runtime_counts().living == living);
  }
  CHECK(said.size() >= 8);
  (void)emu::take_findings();  // a graph that was cut off may have read what was never written
}
#endif
