// Session from outside: what it accepts, what it refuses, what it keeps; on every family, with random weights.
#include "support/model_file.hpp"

#include <sampan/core/trace.hpp>
#include <sampan/predict/postprocess.hpp>

#include <cmath>
#include <limits>

using namespace sampan;
using namespace sampan::test;

namespace {

const double kNaN = std::numeric_limits<double>::quiet_NaN();
const double kInf = std::numeric_limits<double>::infinity();

ErrorCode code_of(const Status& s) {
  REQUIRE_FALSE(s.ok());
  CHECK(s.error().message().find('\n') == std::string::npos);
  return s.error().code();
}

ErrorCode predict_code(Session& s, const Prompt& p, const PredictOptions& o = {}) {
  Prediction out;
  return code_of(s.try_predict_into(p, out, o));
}

double relative_l2(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  double d = 0, n = 0;
  for (std::size_t i = 0; i < a.size(); ++i) d += double(a[i] - b[i]) * double(a[i] - b[i]), n += double(b[i]) * double(b[i]);
  return std::sqrt(d / n);
}

std::int64_t count(const Mask& m) {
  std::int64_t n = 0;
  for (auto v : m.data) n += v;
  return n;
}

}  // namespace

TEST_CASE("predict: every family gives masks of the image's size, consistent with their numbers") {
  TempFolder folder;
  for (const auto& contract : {tiny_sam(), tiny_medsam(), tiny_med2d(), tiny_med2d("sam_med2d_eval"), tiny_lite_medsam(), tiny_mobile_sam(), tiny_efficient_vit(), tiny_edge_sam()}) {
    CAPTURE(contract.family);
    const Model model = load_random(folder, contract);
    Session session(model);
    CHECK_FALSE(session.has_image());
    const auto pixels = test_image(93, 61, 3);
    session.set_image({pixels.data(), {93, 61, 3}});
    const Prediction p = session.predict({.box = Box{10, 8.5, 70, 50}});
    REQUIRE(p.candidates.size() == 1);
    CHECK(p.mask().width == 93);
    CHECK(p.mask().height == 61);
    CHECK(p.mask().data.size() == 93 * 61);
    CHECK(p.best().area == count(p.mask()));
    CHECK(p.low_res == model.info().low_res);
    CHECK(p.low_res_logits.size() == std::size_t(p.low_res * p.low_res));
    const Candidate& c = p.best();
    if (c.area > 0) {
      CHECK(c.extent.x0 < c.extent.x1);
      CHECK(c.extent.x1 <= 93);
      CHECK(c.extent.y1 <= 61);
    }
    if (model.info().multimask) {
      const Prediction three = session.predict({.box = Box{10, 8.5, 70, 50}}, {.multimask = true, .select = Select::largest});
      REQUIRE(three.candidates.size() == 3);
      for (const auto& other : three.candidates) CHECK(three.best().area >= other.area);
    } else {
      CHECK(predict_code(session, {.box = Box{1, 1, 20, 20}}, {.multimask = true}) == ErrorCode::unsupported);
      CHECK(predict_code(session, {.points = {{5, 5, 1}}}) == ErrorCode::unsupported);
      CHECK(predict_code(session, {}) == ErrorCode::invalid_argument);
    }
  }
}

TEST_CASE("predict: EfficientSAM gives three masks for up to six points, a box counting as two") {
  TempFolder folder;
  const Model model = load_random(folder, tiny_efficient_sam());
  CHECK(model.info().most_tokens == 6);
  Session session(model);
  const auto pixels = test_image(93, 61, 3);
  session.set_image({pixels.data(), {93, 61, 3}});
  const PredictOptions three{.multimask = true, .select = Select::largest};
  Prompt p{.points = {{40, 30, 1}, {20, 10, 0}, {80, 50, 1}, {5, 5, 0}}, .box = Box{10, 8.5, 70, 50}};
  const Prediction got = session.predict(p, three);
  REQUIRE(got.candidates.size() == 3);
  for (const auto& c : got.candidates) {
    CHECK(c.mask.data.size() == 93 * 61);
    CHECK(c.area == count(c.mask));
    CHECK(got.best().area >= c.area);
  }
  p.points.push_back({6, 6, 1});
  const auto refused = session.try_predict(p, three);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == ErrorCode::unsupported);
  CHECK(refused.error().message().find("at most 6 points") != std::string::npos);
  CHECK(predict_code(session, {.box = Box{10, 8.5, 70, 50}}) == ErrorCode::unsupported);  // one mask
  CHECK(predict_code(session, {.mask_input = std::vector<float>(std::size_t(got.low_res * got.low_res))}, three) == ErrorCode::unsupported);
}

TEST_CASE("masks: EfficientSAM takes logits of zero, every other family does not; values above and below count alike") {
  for (const auto& contract : {tiny_efficient_sam(), tiny_sam()}) {
    CAPTURE(contract.family);
    const bool zero_counts = contract.family == "efficient_sam";
    const auto frame = predict::make_frame(contract, {5, 7});
    std::vector<float> low(32 * 32, 0.0f);
    const auto area = [&](float value) {
      std::fill(low.begin(), low.end(), value);
      const Reference backend;
      ThreadPool pool(1);
      Candidate out;
      const auto forward = [&](Context<Reference>& ctx) { predict::finish_mask(ctx, contract, frame, View<const float, 2>(low.data(), {32, 32}), out); };
      const auto p = plan(backend, pool, forward);
      REQUIRE(p);
      Arena arena;
      REQUIRE(arena.reserve(p->arena_bytes));
      Context<Reference> ctx(backend, pool, arena);
      forward(ctx);
      REQUIRE(ctx.ok());
      return out.area;
    };
    CHECK(area(0) == (zero_counts ? 35 : 0));
    CHECK(area(0.5f) == 35);
    CHECK(area(-0.5f) == 0);
  }
}

TEST_CASE("predict: wrong prompts are refused by name and leave the session usable") {
  TempFolder folder;
  const Model model = load_random(folder, tiny_sam());
  Session session(model);
  CHECK(predict_code(session, {.box = Box{1, 1, 5, 5}}) == ErrorCode::invalid_argument);  // no image yet
  const auto pixels = test_image(40, 30, 1);
  session.set_image({pixels.data(), {40, 30, 1}});
  const Box boxes[] = {{0, 0, 41, 30}, {-1, 0, 5, 5}, {5, 5, 5, 9}, {9, 5, 5, 9}, {kNaN, 0, 5, 5}, {0, 0, kInf, 5}, {100, 100, 120, 120}};
  for (const Box& b : boxes) {
    CAPTURE(b.x0);
    CAPTURE(b.x1);
    CHECK(predict_code(session, {.box = b}) == ErrorCode::invalid_argument);
  }
  const LabeledPoint points[] = {{5, 5, 7}, {5, 5, -1}, {5, 5, 2}, {kNaN, 5, 1}, {5, kInf, 1}, {1e9, 5, 1}, {5, -1e12, 1}};
  for (const auto& p : points) CHECK(predict_code(session, {.points = {p}}) == ErrorCode::invalid_argument);
  CHECK(predict_code(session, {.mask_input = std::vector<float>(7)}) == ErrorCode::invalid_argument);
  std::vector<float> bad(std::size_t(model.info().low_res * model.info().low_res));
  bad[3] = std::numeric_limits<float>::quiet_NaN();
  CHECK(predict_code(session, {.mask_input = bad}) == ErrorCode::invalid_argument);
  CHECK(session.try_predict({.box = Box{0, 0, 40, 30}}).ok());  // the whole image is a legal box
  CHECK(session.try_predict({}).ok());                           // and so is no prompt at all
}

TEST_CASE("check says before the work what predict would say, with and without a model") {
  TempFolder folder;
  const ImageSize size{40, 30, 1};
  const auto pixels = test_image(40, 30, 1);
  const std::vector<Prompt> prompts = {
      {},
      {.points = {{5, 5, 1}}},
      {.points = {{5, 5, 1}, {-40, 60, 0}}},
      {.points = {{5, 5, 1}, {-40.5, 5, 0}}},
      {.points = {{5, 60.5, 1}}},
      {.points = {{5, 5, 2}}},
      {.points = {{kNaN, 5, 1}}},
      {.points = {{5, kInf, 1}}},
      {.points = std::vector<LabeledPoint>(100'001)},
      {.box = Box{0, 0, 40, 30}},
      {.box = Box{0, 0, 40.5, 30}},
      {.box = Box{-0.5, 0, 40, 30}},
      {.box = Box{5, 5, 5, 9}},
      {.box = Box{9, 5, 5, 9}},
      {.box = Box{0, kNaN, 40, 30}},
      {.box = Box{0, 0, kInf, 30}},
      {.points = {{5, 5, 1}}, .box = Box{1, 1, 20, 20}},
      {.mask_input = std::vector<float>(7)},
      {.box = Box{1, 1, 20, 20}, .mask_input = std::vector<float>(1, std::numeric_limits<float>::infinity())},
  };
  int accepted = 0, refused = 0;
  for (const auto& contract : {tiny_sam(), tiny_medsam(), tiny_lite_medsam()}) {
    const Model model = load_random(folder, contract);
    const ModelInfo& info = model.info();
    Session session(model);
    session.set_image({pixels.data(), size});
    auto all = prompts;
    all.push_back({.mask_input = std::vector<float>(std::size_t(info.low_res * info.low_res))});
    all.push_back({.mask_input = std::vector<float>(std::size_t(info.low_res * info.low_res), std::numeric_limits<float>::quiet_NaN())});
    for (const bool multimask : {false, true})
      for (std::size_t i = 0; i < all.size(); ++i) {
        CAPTURE(contract.family);
        CAPTURE(multimask);
        CAPTURE(i);
        const PredictOptions options{.multimask = multimask};
        const Status fits_image = check(all[i], size), fits_model = check(all[i], info, options);
        Prediction p;
        const Status done = session.try_predict_into(all[i], p, options);
        CHECK(done.ok() == (fits_image.ok() && fits_model.ok()));
        if (done) {
          ++accepted;
        } else {
          ++refused;
          const Error& expected = fits_model ? fits_image.error() : fits_model.error();
          CHECK(done.error().code() == expected.code());
          CHECK(done.error().message() == expected.message());
        }
      }
  }
  CHECK(accepted > 5);
  CHECK(refused > 50);
  // Each part is shown with what would be right; an image that is not there holds no box.
  CHECK(check(Prompt{.box = Box{0, 0, 41, 30}}, size).error().message() == "box 0,0,41,30 is outside the image: the image is 40x30 pixels");
  CHECK(check(Prompt{.points = {{1.5, kInf, 1}}}, size).error().message() == "point 1.5,inf is not finite");
  CHECK(code_of(check(Prompt{.points = std::vector<LabeledPoint>(100'001)}, size)) == ErrorCode::limit);
  CHECK(code_of(check(Prompt{.box = Box{0, 0, 1, 1}}, ImageSize{})) == ErrorCode::invalid_argument);
  ModelInfo three;
  three.name = "X", three.points = true, three.multimask = true;
  CHECK(code_of(check(Prompt{.points = {{1, 1, 1}}}, three)) == ErrorCode::unsupported);
  CHECK(check(Prompt{.points = {{1, 1, 1}}}, three, {.multimask = true}).ok());
  CHECK(check(Prompt{.box = Box{0, 0, 1, 1}}, three, {.multimask = true}).error().message() == "X takes no boxes; it was trained with points only");
}

TEST_CASE("set_image: what it refuses leaves no image behind") {
  TempFolder folder;
  const Model model = load_random(folder, tiny_sam());
  Session session(model);
  const auto pixels = test_image(40, 30, 3);
  session.set_image({pixels.data(), {40, 30, 3}});
  CHECK(code_of(session.try_set_image({nullptr, {40, 30, 3}})) == ErrorCode::invalid_argument);
  CHECK_FALSE(session.has_image());
  CHECK(code_of(session.try_set_image({pixels.data(), {0, 30, 3}})) == ErrorCode::invalid_argument);
  CHECK(code_of(session.try_set_image({pixels.data(), {40, 30, 5}})) == ErrorCode::invalid_argument);
  CHECK(code_of(session.try_set_image({pixels.data(), {std::int64_t(1) << 40, 30, 3}})) == ErrorCode::limit);
  const std::vector<std::uint16_t> deep(40 * 30, 1000);
  const Status no_window = session.try_set_image({deep.data(), {40, 30, 1}, PixelType::u16});
  CHECK(code_of(no_window) == ErrorCode::invalid_argument);
  CHECK(no_window.error().message().find("1000") != std::string::npos);  // shows the image's range
  CHECK(code_of(session.try_set_image({deep.data(), {40, 30, 1}, PixelType::u16}, WindowLevel{40, 0})) == ErrorCode::invalid_argument);
  CHECK(session.try_set_image({deep.data(), {40, 30, 1}, PixelType::u16}, WindowLevel{1000, 400}).ok());
  for (const auto& size : {ImageSize{1, 1, 3}, ImageSize{2000, 1, 3}, ImageSize{1, 500, 1}}) {
    const auto odd = test_image(size.width, size.height, size.channels);
    CHECK(session.try_set_image({odd.data(), size}).ok());
    CHECK(session.try_predict({.box = Box{0, 0, double(size.width), double(size.height)}}).ok());
  }
}

TEST_CASE("the same prompts one by one, together, and with a mask prompt between them") {
  TempFolder folder;
  const Model model = load_random(folder, tiny_sam());
  Session session(model);
  const auto pixels = test_image(90, 120, 3);
  session.set_image({pixels.data(), {90, 120, 3}});
  std::vector<Prompt> prompts;
  for (int i = 0; i < 6; ++i) prompts.push_back({.box = Box{5.0 + i, 10, 60, 90.0 + i}});
  prompts.push_back({.points = {{30, 40, 1}, {80, 100, 0}}});
  prompts.push_back({.points = {{31, 44, 1}, {70, 10, 0}}});
  prompts.push_back({.points = {{31, 44, 1}}, .box = Box{5, 10, 60, 90}, .mask_input = session.predict(prompts[0]).low_res_logits});
  prompts.push_back({});
  std::vector<Prediction> together(prompts.size());
  session.predict_into(prompts, together, {.multimask = true});
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    CAPTURE(i);
    const Prediction alone = session.predict(prompts[i], {.multimask = true});
    // The rows of a batch share one matrix product, whose blocking may depend on its height: equal to rounding, not to the bit.
    CHECK(relative_l2(alone.low_res_logits, together[i].low_res_logits) < 2e-6);
    for (std::size_t m = 0; m < 3; ++m) CHECK(std::abs(alone.candidates[m].area - together[i].candidates[m].area) <= 2);
    CHECK(alone.selected == together[i].selected);
  }
  CHECK(session.predict(prompts[8]).low_res_logits != session.predict({.points = {{31, 44, 1}}, .box = Box{5, 10, 60, 90}}).low_res_logits);
}

TEST_CASE("what the prompts of an image share is made anew for the next image, however it comes") {
  TempFolder folder;
  const Model model = load_random(folder, tiny_sam());
  const auto first = test_image(90, 70, 3, 1), second = test_image(90, 70, 3, 2);
  const Prompt box{.box = Box{5, 10, 60, 50}}, points{.points = {{30, 40, 1}}};
  const auto answers = [&](Session& s) {
    auto all = s.predict(box).low_res_logits;
    for (float v : s.predict(points).low_res_logits) all.push_back(v);
    return all;
  };
  Session fresh(model);
  fresh.set_image({second.data(), {90, 70, 3}});
  const auto masked = fresh.predict({.box = box.box, .mask_input = std::vector<float>(std::size_t(16 * 8 * 8), 1.0f)}).low_res_logits;  // shares nothing; the boxes after it do
  const auto expected = answers(fresh);
  fresh.save_embedding(folder.file("second.safetensors"));
  Session used(model);
  used.set_image({first.data(), {90, 70, 3}});
  CHECK(answers(used) != expected);
  used.set_image({second.data(), {90, 70, 3}});
  CHECK(answers(used) == expected);
  CHECK(used.predict({.box = box.box, .mask_input = std::vector<float>(std::size_t(16 * 8 * 8), 1.0f)}).low_res_logits == masked);
  CHECK(answers(used) == expected);
  used.set_image({first.data(), {90, 70, 3}});
  answers(used);
  used.load_embedding(folder.file("second.safetensors"));
  CHECK(answers(used) == expected);
}

TEST_CASE("shared work of an image changes rounding only: Cpu against the literal definition") {
  TempFolder folder;
  const auto contract = tiny_sam();
  const Model fast = load_random(folder, contract), literal = load_random(folder, contract, {.device = Device::reference});
  const auto pixels = test_image(90, 70, 3);
  Session a(fast), b(literal);
  a.set_image({pixels.data(), {90, 70, 3}});
  a.save_embedding(folder.file("image.safetensors"));
  b.load_embedding(folder.file("image.safetensors"));
  std::vector<Prompt> prompts(5, Prompt{.box = Box{5, 10, 60, 50}});
  for (std::size_t i = 0; i < prompts.size(); ++i) prompts[i].box->x1 += double(i);
  std::vector<Prediction> got(prompts.size());
  a.predict_into(prompts, got, {.multimask = true});
  for (std::size_t i = 0; i < prompts.size(); ++i) CHECK(relative_l2(got[i].low_res_logits, b.predict(prompts[i], {.multimask = true}).low_res_logits) < 1e-5);
}

TEST_CASE("an embedding survives its file, and only for its own model") {
  TempFolder folder;
  const Model model = load_random(folder, tiny_sam()), other = load_random(folder, tiny_sam(), {}, 2);
  Session session(model);
  CHECK_FALSE(session.try_save_embedding(folder.file("none.safetensors")).ok());
  const auto pixels = test_image(75, 55, 3);
  session.set_image({pixels.data(), {75, 55, 3}});
  session.save_embedding(folder.file("e.safetensors"));
  const auto logits = session.predict({.points = {{20, 20, 1}}}).low_res_logits;
  Session again(model);
  again.load_embedding(folder.file("e.safetensors"));
  CHECK(again.image_size().width == 75);
  CHECK(again.image_size().height == 55);
  CHECK(again.predict({.points = {{20, 20, 1}}}).low_res_logits == logits);
  Session stranger(other);
  CHECK(code_of(stranger.try_load_embedding(folder.file("e.safetensors"))) == ErrorCode::bad_file);
  CHECK_FALSE(stranger.has_image());
  CHECK(code_of(again.try_load_embedding(folder.file("missing.safetensors"))) == ErrorCode::io);
  CHECK(code_of(again.try_load_embedding(folder.file("sam1.safetensors"))) == ErrorCode::bad_file);  // weights, not an embedding
  CHECK_FALSE(again.has_image());
  CHECK(code_of(session.try_save_embedding(folder.file("no_such_folder/e.safetensors"))) == ErrorCode::io);
  const auto as_model = Model::try_load(folder.file("e.safetensors"));
  REQUIRE_FALSE(as_model);
  CHECK(as_model.error().code() == ErrorCode::bad_model);
}

TEST_CASE("progress rises to the end and can cancel; a cancelled session is usable again") {
  TempFolder folder;
  const Model model = load_random(folder, tiny_sam({.width = 32, .depth = 4, .heads = 2, .image = 128}));
  Session session(model);
  const auto pixels = test_image(60, 60, 3);
  struct Log {
    std::vector<double> fractions;
    std::size_t stop_at = 0;
  } log;
  const auto report = [](void* user, std::string_view stage, double f) {
    auto& l = *static_cast<Log*>(user);
    CHECK_FALSE(stage.empty());
    l.fractions.push_back(f);
    return l.stop_at == 0 || l.fractions.size() < l.stop_at;
  };
  session.set_image({pixels.data(), {60, 60, 3}}, {}, {report, &log});
  REQUIRE(log.fractions.size() >= 6);
  for (std::size_t i = 1; i < log.fractions.size(); ++i) CHECK(log.fractions[i] >= log.fractions[i - 1]);
  CHECK(log.fractions.back() > 0.99);
  for (const std::size_t stop : {std::size_t(1), std::size_t(2), std::size_t(4)}) {
    Log l{{}, stop};
    CHECK(code_of(session.try_set_image({pixels.data(), {60, 60, 3}}, {}, {report, &l})) == ErrorCode::cancelled);
    CHECK(l.fractions.size() == stop);
    CHECK_FALSE(session.has_image());
  }
  CHECK(session.try_set_image({pixels.data(), {60, 60, 3}}).ok());
}

TEST_CASE("a memory limit is checked before the memory is taken") {
  TempFolder folder;
  const auto contract = tiny_sam({.width = 64, .depth = 2, .heads = 2, .image = 320});
  const Model free_model = load_random(folder, contract);
  const auto& info = free_model.info();
  const std::string path = folder.file("sam1.safetensors");
  const auto none = Model::try_load(path, {.max_memory = info.weight_bytes / 2});
  REQUIRE_FALSE(none);
  CHECK(none.error().code() == ErrorCode::limit);
  const Model tight = load_random(folder, contract, {.max_memory = info.weight_bytes + info.encode_bytes / 2});
  Session session(tight);
  const auto pixels = test_image(50, 50, 3);
  CHECK(code_of(session.try_set_image({pixels.data(), {50, 50, 3}})) == ErrorCode::limit);
  CHECK_FALSE(session.has_image());
  // Enough for the image, not for what its prompts share: two and a half times the embedding.
  Session wide(free_model);
  wide.set_image({pixels.data(), {50, 50, 3}});
  wide.save_embedding(folder.file("image.safetensors"));
  const std::uint64_t embedding = std::uint64_t(info.embedding_grid * info.embedding_grid * contract.network.out_channels) * sizeof(float);
  const Model close = load_random(folder, contract, {.max_memory = info.weight_bytes + 3 * embedding});
  Session decoder(close);
  decoder.load_embedding(folder.file("image.safetensors"));
  CHECK(predict_code(decoder, {.box = Box{5, 5, 40, 40}}) == ErrorCode::limit);
}

TEST_CASE("what this build cannot do is said, not replaced") {
  TempFolder folder;
  load_random(folder, tiny_sam());
  const std::string path = folder.file("sam1.safetensors");
  for (Precision p : {Precision::int8, Precision::f16}) {
    const auto m = Model::try_load(path, {.precision = p});
    REQUIRE_FALSE(m);
    CHECK(m.error().code() == ErrorCode::unsupported);
  }
  const auto cuda = Model::try_load(path, {.device = Device::cuda});
  REQUIRE_FALSE(cuda);
  CHECK(cuda.error().code() == ErrorCode::unsupported);
  const auto isa = Model::try_load(path, {.isa = "avx9000"});
  REQUIRE_FALSE(isa);
  CHECK(isa.error().code() == ErrorCode::unsupported);
  CHECK(isa.error().message().find(available_isas().front()) != std::string::npos);
}

TEST_CASE("a trace shows PyTorch's names and shapes without changing the result") {
  TempFolder folder;
  const Model model = load_random(folder, tiny_sam({.width = 32, .depth = 2, .heads = 2, .image = 256}));
  Session session(model);
  const auto pixels = test_image(60, 80, 3);
  session.set_image({pixels.data(), {60, 80, 3}});
  const auto plain = session.try_image_embedding();
  const auto plain_logits = session.predict({.box = Box{5, 5, 50, 70}}).low_res_logits;
  Trace trace({"image_encoder.blocks.0.attn", "image_encoder.blocks.*.mlp.lin1", "image_encoder", "mask_decoder.transformer.layers.1.norm4"});
  session.set_trace(&trace);
  session.set_image({pixels.data(), {60, 80, 3}});
  const auto traced = session.try_image_embedding();
  const auto traced_logits = session.predict({.box = Box{5, 5, 50, 70}}).low_res_logits;
  session.predict({.box = Box{5, 5, 50, 70}});
  REQUIRE(trace.records().size() == 6);
  using Extents = std::vector<std::int64_t>;
  const std::vector<std::pair<std::string, Extents>> expected{{"image_encoder.blocks.0.attn", {1, 16, 16, 32}},     {"image_encoder.blocks.0.mlp.lin1", {1, 16, 16, 128}},
                                                            {"image_encoder.blocks.1.mlp.lin1", {1, 16, 16, 128}}, {"image_encoder", {1, 32, 16, 16}},
                                                            {"mask_decoder.transformer.layers.1.norm4", {1, 256, 32}}, {"mask_decoder.transformer.layers.1.norm4#2", {1, 256, 32}}};
  for (std::size_t i = 0; i < expected.size(); ++i) {
    CHECK(trace.records()[i].name == expected[i].first);
    CHECK(trace.records()[i].shape == expected[i].second);
  }
  CHECK(trace.records()[3].data == *traced);
  // The unfused path sums in another order at most at the tapped places: equal to rounding, not to the bit.
  CHECK(relative_l2(*traced, *plain) < 1e-5);
  CHECK(relative_l2(traced_logits, plain_logits) < 1e-5);
}
