// OpenCV's INTER_NEAREST: every golden to the last bit, and every source position against its definition.
#include "ops/resize_cases.hpp"

#include <sampan/ops/resize_cv2_nearest.hpp>

using namespace sampan;
using namespace sampan::test;

namespace {
const auto kOp = [](auto& ctx, const View<const std::uint8_t, 3>& in, const View<std::uint8_t, 3>& out) { resize_cv2_nearest(ctx, in, out); };
}

TEST_CASE("resize_cv2_nearest equals OpenCV bit for bit") {
  const auto cases = resize_cases("cv2_nearest");
  CHECK(cases.size() >= 10);
  for (const ResizeCase& c : cases) {
    CAPTURE(c.name);
    const auto out = resize_guarded<std::uint8_t>(kOp, c.input, c.in, c.oh, c.ow);
    int wrong = 0;
    c.each([&](std::size_t k, std::size_t i) { wrong += out[i] != c.bytes[k]; });
    CHECK(wrong == 0);
  }
}

TEST_CASE("positions ascend, start at 0 and stay inside") {
  for (const Index in : {1, 2, 3, 49, 98, 255, 1003, 4097})
    for (const Index out : {1, 2, 7, 64, 256, 1024}) {
      CAPTURE(in);
      CAPTURE(out);
      CHECK(sampan::detail::nearest_source(in, out, 0) == 0);
      for (Index o = 1; o < out; ++o) {
        const Index s = sampan::detail::nearest_source(in, out, o);
        CHECK(s >= sampan::detail::nearest_source(in, out, o - 1));
        CHECK(s < in);
        CHECK(std::abs(double(s) - double(o) * double(in) / double(out)) <= 1);
      }
    }
}
