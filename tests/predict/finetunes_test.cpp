// Networks around SAM's blocks through the public classes: every precision of every level within reach of f32, the same bits for any number of threads, what info says of devices,
// refusals. Values against PyTorch are parity/'s; here sizes are the smallest possible.
#include "support/levels.hpp"
#include "support/model_file.hpp"

#include <cmath>

using namespace sampan;
using namespace sampan::test;

namespace {

constexpr const char* kFinetunes[] = {"hsam", "finetune_sam", "finetune_sam_tiny", "sam_adapter", "autosam", "autosam_linear", "autosam_cnn", "desam", "samus", "autosamus"};

struct Answer {
  std::vector<float> embedding, logits;
  std::vector<std::uint8_t> pixels;
};
Answer ask(const Model& m, const std::vector<std::uint8_t>& image, const ImageSize& size) {
  Session s(m);
  s.set_image({image.data(), size});
  Answer a{s.try_image_embedding().value(), {}, {}};
  if (m.info().classes) {
    a.pixels = s.class_map().labels;
  } else {
    const Prediction p = s.predict(m.info().points ? Prompt{.points = {{20, 15, 1}}} : Prompt{});
    a.logits = p.low_res_logits, a.pixels = p.mask().data;
  }
  return a;
}
double distance(const std::vector<float>& a, const std::vector<float>& b) {
  double d = 0, n = 0;
  for (std::size_t i = 0; i < b.size(); ++i) d += (double(a[i]) - double(b[i])) * (double(a[i]) - double(b[i])), n += double(b[i]) * double(b[i]);
  return a.size() == b.size() ? std::sqrt(d / n) : INFINITY;
}

}  // namespace

TEST_CASE("fine-tunes: every level and precision, any number of threads") {
  const TempFolder folder;
  const ImageSize size{50, 40, 3};
  const auto image = test_image(50, 40, 3);
  for (const char* family : kFinetunes) {
    CAPTURE(family);
    const auto contract = tiny_finetune(family);
    const Answer want = ask(load_random(folder, contract, {.device = Device::reference}), image, size);
    for (const auto& isa : available_isas())
      for (const auto& name : available_precisions(isa)) {
        CAPTURE(isa);
        CAPTURE(name);
        const Precision p = name == "fast" ? Precision::fast : name == "bf16" ? Precision::bf16 : Precision::f32;
        const Answer one = ask(load_random(folder, contract, {.precision = p, .threads = 1, .isa = isa}), image, size), three = ask(load_random(folder, contract, {.precision = p, .threads = 3, .isa = isa}), image, size);
        CHECK(one.embedding == three.embedding);
        CHECK(one.logits == three.logits);
        CHECK(one.pixels == three.pixels);
        CHECK(distance(one.embedding, want.embedding) <= (p == Precision::f32 ? 1e-5 : p == Precision::fast ? 2e-3 : 3e-2));  // f32: the project's bound; the others: the roundings of operands, ten times
      }
  }
}

TEST_CASE("fine-tunes: what info says, and refusals") {
  const TempFolder folder;
  for (const char* family : kFinetunes) {
    CAPTURE(family);
    const Model m = load_random(folder, tiny_finetune(family));
    CHECK_FALSE(m.info().lacks_on_cuda.empty());
    const bool alone = !m.info().points && !m.info().classes;
    const Status boxed = check({.box = Box{1, 1, 5, 5}}, m.info());
    CHECK(boxed.ok() == m.info().boxes);
    CHECK(check(Prompt{}, m.info()).ok() == (m.info().classes == 0));
    if (alone) CHECK(boxed.error().message().find("takes no prompts") != std::string::npos);
    if (m.info().classes) CHECK(boxed.error().message().find("class_map") != std::string::npos);
    CHECK_FALSE(check({.points = {{1, 1, 1}}}, m.info(), {.multimask = true}));
  }
  CHECK(load_random(folder, tiny_sam()).info().lacks_on_cuda.empty());
}
