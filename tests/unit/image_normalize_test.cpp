// Normalisation: both kinds against their formulas, padding, threads; and the whole way from file to network input against PyTorch's goldens.
#include "unit/image_fixture.hpp"

#include "support/rng.hpp"

#include <sampan/image/normalize.hpp>
#include <sampan/image/window_level.hpp>
#include <sampan/ops/resize_cv2_area.hpp>
#include <sampan/ops/resize_pillow_bilinear.hpp>
#include <sampan/weights/safetensors.hpp>

#include <bit>
#include <cstdlib>

using namespace sampan;
using namespace sampan::test;

namespace {

struct HostBackend {
  using Memory = HostMemory;
};

/// Plans, reserves, runs.
template <class F>
Status run(int threads, F&& f) {
  const HostBackend b;
  ThreadPool pool(threads);
  const auto p = plan(b, pool, [&](Context<HostBackend>& ctx) { f(ctx); });
  if (!p) return p.error();
  Arena arena;
  REQUIRE(arena.reserve(p->arena_bytes));
  Context<HostBackend> ctx(b, pool, arena);
  f(ctx);
  CHECK(ctx.cost().bytes == p->cost.bytes);
  return ctx.status();
}

Blob noise(std::size_t n, int low, int high) {
  Rng rng(Seed{n});
  Blob b(n);
  for (auto& v : b) v = std::uint8_t(low + rng.below(high - low + 1));
  return b;
}

}  // namespace

TEST_CASE("mean and standard deviation: (x - mean) / std in float, zeros outside") {
  const Index h = 37, w = 41, s = 64;
  const Blob in = noise(std::size_t(h * w * 3), 0, 255);
  const MeanStd m;
  std::vector<float> first;
  for (const int threads : {1, 2, 3, 8}) {
    std::vector<float> out(std::size_t(s * s * 3), -9.0f);
    REQUIRE(run(threads, [&](auto& ctx) { normalize_mean_std(ctx, View<const std::uint8_t, 3>(in.data(), {h, w, 3}), m, View<float, 3>(out.data(), {s, s, 3})); }));
    int wrong = 0;
    for (Index y = 0; y < s; ++y)
      for (Index x = 0; x < s; ++x)
        for (Index c = 0; c < 3; ++c) {
          const float want = y < h && x < w ? (float(in[std::size_t((y * w + x) * 3 + c)]) - m.mean[c]) / m.std[c] : 0.0f;
          wrong += std::bit_cast<std::uint32_t>(out[std::size_t((y * s + x) * 3 + c)]) != std::bit_cast<std::uint32_t>(want);
        }
    CHECK(wrong == 0);
    if (first.empty()) first = out;
    CHECK(first == out);
  }
}

TEST_CASE("minimum and maximum: in double over all channels, then float, zeros outside") {
  const Index h = 20, w = 33, s = 40;
  for (const auto& [low, high] : {std::pair{3, 250}, {0, 255}, {17, 18}, {99, 99}}) {
    const Blob in = noise(std::size_t(h * w * 3), low, high);
    const double least = *std::min_element(in.begin(), in.end()), most = *std::max_element(in.begin(), in.end());
    for (const int threads : {1, 3}) {
      std::vector<float> out(std::size_t(s * s * 3), -9.0f);
      REQUIRE(run(threads, [&](auto& ctx) { normalize_min_max(ctx, View<const std::uint8_t, 3>(in.data(), {h, w, 3}), View<float, 3>(out.data(), {s, s, 3})); }));
      int wrong = 0;
      for (Index y = 0; y < s; ++y)
        for (Index x = 0; x < s; ++x)
          for (Index c = 0; c < 3; ++c) {
            const double range = most - least > 1e-8 ? most - least : 1e-8;
            const float want = y < h && x < w ? float((in[std::size_t((y * w + x) * 3 + c)] - least) / range) : 0.0f;
            wrong += out[std::size_t((y * s + x) * 3 + c)] != want;
          }
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE("any strides: a crop in, planes out") {
  const Blob big = noise(50 * 50 * 3, 0, 255);
  const View<const std::uint8_t, 3> crop(big.data() + (7 * 50 + 5) * 3, {10, 12, 3}, {150, 3, 1});
  Blob packed;
  for (Index y = 0; y < 10; ++y)
    for (Index x = 0; x < 12; ++x)
      for (Index c = 0; c < 3; ++c) packed.push_back(crop(y, x, c));
  std::vector<float> planes(3 * 16 * 16), want(16 * 16 * 3);
  REQUIRE(run(1, [&](auto& ctx) { normalize_min_max(ctx, crop, View<float, 3>(planes.data(), {16, 16, 3}, {16, 1, 256})); }));
  REQUIRE(run(1, [&](auto& ctx) { normalize_min_max(ctx, View<const std::uint8_t, 3>(packed.data(), {10, 12, 3}), View<float, 3>(want.data(), {16, 16, 3})); }));
  for (std::size_t i = 0; i < 256; ++i)
    for (std::size_t c = 0; c < 3; ++c) CHECK(planes[c * 256 + i] == want[i * 3 + c]);
}

TEST_CASE("what does not fit is refused") {
  const Blob in(300);
  std::vector<float> out(300, -9.0f);
  const auto refused = [&](std::array<Index, 3> a, std::array<Index, 3> b, MeanStd m = {}) {
    const Status s = run(1, [&](auto& ctx) { normalize_mean_std(ctx, View<const std::uint8_t, 3>(in.data(), a), m, View<float, 3>(out.data(), b)); });
    REQUIRE(!s);
    CHECK(s.error().code() == ErrorCode::invalid_argument);
  };
  refused({5, 5, 3}, {4, 8, 3});
  refused({5, 5, 3}, {8, 4, 3});
  refused({5, 5, 1}, {8, 8, 1});
  refused({0, 5, 3}, {8, 8, 3});
  refused({5, 5, 3}, {5, 5, 3}, {.std = {1, 0, 1}});
  const Status s = run(1, [&](auto& ctx) { normalize_min_max(ctx, View<const std::uint8_t, 3>(in.data(), {5, 5, 3}), View<float, 3>(out.data(), {4, 4, 3})); });
  CHECK(!s);
  CHECK(out == std::vector<float>(300, -9.0f));
}

TEST_CASE("from the file to the network's input, equal to the Python originals bit for bit") {
  const char* shared = std::getenv("SAMPAN_SHARED_DATA");
  if (!shared) {
    MESSAGE("skipped: SAMPAN_SHARED_DATA is not set");
    return;
  }
  const std::string root = shared;
  struct Row {
    const char *image, *golden;
    int side;
    bool sam;  // Pillow and mean/std, else OpenCV and min/max
  };
  for (const Row& r : {Row{"/images/medsam/img_demo.png", "/litemedsam_golden/img_demo.safetensors", 256, false},
                       {"/images/sammed2d/images/s0114_111.png", "/sam_golden/tiny320_seed1_s0114_111.safetensors", 320, true}}) {
    const auto golden = weights::Safetensors::open(root + r.golden);
    if (!golden) {
      MESSAGE("skipped: " << golden.error().what());
      return;
    }
    const auto image = load_image(root + r.image);
    REQUIRE_MESSAGE(image, image.error().what());
    const Extent2 original{image->size().height, image->size().width}, small = longest_side_size(original, r.side);
    Blob rgb(std::size_t(original.height * original.width * 3)), resized(std::size_t(small.height * small.width * 3));
    const View<std::uint8_t, 3> rgb_view(rgb.data(), {original.height, original.width, 3}), resized_view(resized.data(), {small.height, small.width, 3});
    std::vector<float> input(std::size_t(r.side * r.side * 3));
    const View<float, 3> input_view(input.data(), {r.side, r.side, 3});
    REQUIRE(run(2, [&](auto& ctx) {
      to_rgb8(ctx, image->view(), {}, rgb_view);
      if (r.sam) {
        resize_pillow_bilinear(ctx, View<const std::uint8_t, 3>(rgb_view), resized_view);
        normalize_mean_std(ctx, resized_view, MeanStd{}, input_view);
      } else {
        resize_cv2_area(ctx, View<const std::uint8_t, 3>(rgb_view), resized_view);
        normalize_min_max(ctx, resized_view, input_view);
      }
    }));
    if (const auto* t = golden->find("resized_u8")) CHECK(Blob(t->data.begin(), t->data.end()) == resized);
    const auto* t = golden->find("input");  // [1, 3, side, side]
    REQUIRE(t);
    std::vector<float> want(input.size());
    REQUIRE(t->data.size() == want.size() * sizeof(float));
    weights::convert_to_f32(t->dtype, t->data.data(), want.size(), want.data());
    int wrong = 0;
    const std::size_t plane = std::size_t(r.side * r.side);
    for (std::size_t i = 0; i < plane; ++i)
      for (std::size_t c = 0; c < 3; ++c) wrong += input[i * 3 + c] != want[c * plane + i];
    CAPTURE(r.image);
    CHECK(wrong == 0);
  }
}
