// The second image of a size and the second prompt of a shape allocate nothing: every allocation of the process is counted, Eigen's and the pool's included.
#include "support/count_allocations.hpp"
#include "support/model_file.hpp"

using namespace sampan;
using namespace sampan::test;

TEST_CASE("set_image and predict_into allocate nothing once they have seen the shapes") {
  TempFolder folder;
  for (const auto& contract : {tiny_sam({.width = 64, .depth = 2, .heads = 2, .image = 320}), tiny_medsam(), tiny_lite_medsam(), tiny_mobile_sam(), tiny_efficient_vit(), tiny_edge_sam()})
    for (int threads : {1, 2}) {
      CAPTURE(contract.family);
      CAPTURE(threads);
      const Model model = load_random(folder, contract, {.threads = threads});
      Session session(model);
      const auto first = test_image(120, 90, 3, 1), second = test_image(120, 90, 3, 2);
      const std::vector<Prompt> prompts(3, Prompt{.box = Box{10, 10, 80, 70}});
      std::vector<Prediction> out(3);
      Prediction one;
      session.set_image({first.data(), {120, 90, 3}});
      session.predict_into(prompts, out);
      session.predict_into(prompts[0], one);
      const std::int64_t before = allocations();
      session.set_image({second.data(), {120, 90, 3}});
      const std::int64_t after_image = allocations();
      session.predict_into(prompts, out);
      session.predict_into(prompts[0], one);
      const std::int64_t after_prompts = allocations();
      if (!counting()) continue;
      CHECK(after_image - before == 0);
      CHECK(after_prompts - after_image == 0);
    }
}

TEST_CASE("the counter counts") {
  if (!counting()) return;
  const std::int64_t before = allocations();
  void* p = std::malloc(100);
  auto v = std::make_unique<std::vector<int>>(1000);
  __asm__ volatile("" : : "r"(p), "r"(v->data()) : "memory");  // a compiler may drop an allocation that nobody looks at
  CHECK(allocations() - before >= 3);
  v.reset();
  std::free(p);
}
