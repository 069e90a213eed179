// Sessions and threads: results do not depend on their number, and sessions that share a model do not disturb each other.
#include "support/model_file.hpp"

#include <doctest/doctest.h>

#include <thread>

using namespace sampan;
using namespace sampan::test;

TEST_CASE("results are bit-identical for any number of threads") {
  TempFolder folder;
  for (const auto& contract : {tiny_sam({.width = 64, .depth = 2, .heads = 2, .image = 320}), tiny_lite_medsam()}) {
    std::vector<float> first_embedding, first_logits;
    for (int threads : {1, 2, 3, 8}) {
      CAPTURE(contract.family);
      CAPTURE(threads);
      const Model model = load_random(folder, contract, {.threads = threads});
      Session session(model);
      const auto pixels = test_image(131, 97, 3);
      session.set_image({pixels.data(), {131, 97, 3}});
      auto embedding = session.try_image_embedding();
      REQUIRE(embedding);
      const auto logits = session.predict({.box = Box{10, 10, 100, 80}}).low_res_logits;
      if (threads == 1) {
        first_embedding = *embedding;
        first_logits = logits;
      }
      CHECK(first_embedding == *embedding);
      CHECK(first_logits == logits);
    }
  }
}

TEST_CASE("two sessions on one model in two threads do not disturb each other") {
  TempFolder folder;
  const Model model = load_random(folder, tiny_sam(), {.threads = 2});
  const auto a = test_image(64, 48, 3, 1), b = test_image(50, 70, 3, 2);
  const auto work = [&](const std::vector<std::uint8_t>& pixels, ImageSize size) {
    Session s(model);
    std::vector<float> all;
    for (int i = 0; i < 3; ++i) {
      s.set_image({pixels.data(), size});
      const auto p = s.predict({.box = Box{4, 4, 40, 40}});
      all.insert(all.end(), p.low_res_logits.begin(), p.low_res_logits.end());
    }
    return all;
  };
  const auto alone_a = work(a, {64, 48, 3}), alone_b = work(b, {50, 70, 3});
  std::vector<float> beside_a, beside_b;
  std::thread other([&] { beside_b = work(b, {50, 70, 3}); });
  beside_a = work(a, {64, 48, 3});
  other.join();
  CHECK(alone_a == beside_a);
  CHECK(alone_b == beside_b);
}
