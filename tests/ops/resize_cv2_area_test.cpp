// OpenCV's INTER_AREA: every golden to the last bit, its three paths against their definitions, structure.
#include "ops/resize_cases.hpp"

#include <sampan/ops/resize_cv2_area.hpp>

using namespace sampan;
using namespace sampan::test;

namespace {
const auto kOp = [](auto& ctx, const View<const std::uint8_t, 3>& in, const View<std::uint8_t, 3>& out) { resize_cv2_area(ctx, in, out); };
}

TEST_CASE("resize_cv2_area equals OpenCV bit for bit") {
  const auto cases = resize_cases("cv2_area");
  for (const ResizeCase& c : cases) each_pixel_level([&] {
    CAPTURE(c.name);
    const auto out = resize_guarded<std::uint8_t>(kOp, c.input, c.in, c.oh, c.ow);
    int wrong = 0;
    c.each([&](std::size_t k, std::size_t i) { wrong += out[i] != c.bytes[k]; });
    CHECK(wrong == 0);
  });
}

TEST_CASE("resize_cv2_area with whole factors is the rounded mean of the block") {
  for (const auto& [fy, fx] : {std::array<Index, 2>{2, 2}, {3, 2}, {1, 5}, {7, 1}, {4, 4}})
    for (const Index c : {1, 2, 3, 4}) {
      const Index oh = 9, ow = 11, h = oh * fy, w = ow * fx;
      const auto in = hash_noise_u8(5, "blocks", {h, w, c});
      const auto out = resize_guarded<std::uint8_t>(kOp, in, {h, w, c}, oh, ow);
      for (Index y = 0; y < oh; ++y)
        for (Index x = 0; x < ow; ++x)
          for (Index k = 0; k < c; ++k) {
            Index sum = 0;
            for (Index dy = 0; dy < fy; ++dy)
              for (Index dx = 0; dx < fx; ++dx) sum += in[std::size_t(((y * fy + dy) * w + x * fx + dx) * c + k)];
            // Within half a level; an exact half may go either way (integers round up, floats to even).
            CHECK(std::abs(2 * out[std::size_t((y * ow + x) * c + k)] * fy * fx - 2 * sum) <= fy * fx);
          }
    }
}

TEST_CASE("resize_cv2_area shrinking conserves the mean") {
  // Area sums: each input counts by its overlap, so the mean over a whole image is kept up to the rounding of the outputs (half a level each).
  for (const auto& [oh, ow] : {std::array<Index, 2>{31, 47}, {64, 50}, {7, 90}}) {
    const auto in = hash_noise_u8(6, "mean", {97, 101});
    const auto out = resize_guarded<std::uint8_t>(kOp, in, {97, 101, 1}, oh, ow);
    const auto mean = [](const std::vector<std::uint8_t>& v) {
      double s = 0;
      for (const auto x : v) s += x;
      return s / double(v.size());
    };
    CHECK(std::abs(mean(in) - mean(out)) < 0.5);
  }
}

TEST_CASE("resize_cv2_area keeps constant images and equal sizes") {
  sweep_identity(kOp);
  for (const int v : {0, 1, 127, 200, 255}) {
    const std::vector<std::uint8_t> in(37 * 53 * 3, std::uint8_t(v));
    for (const auto& [oh, ow] : {std::array<Index, 2>{18, 26}, {64, 20}, {1, 1}, {100, 111}}) {
      const auto out = resize_guarded<std::uint8_t>(kOp, in, {37, 53, 3}, oh, ow);
      CHECK(out == std::vector<std::uint8_t>(out.size(), std::uint8_t(v)));
    }
  }
}

TEST_CASE("resize_cv2_area: threads, strides, guards, plan") { sweep_structure<std::uint8_t>(kOp); }

TEST_CASE("resize_cv2_area refuses bad extents") { refuses_bad_extents(kOp); }
