// Pillow's bilinear resize: every golden to the last bit, the order of the passes, structure.
#include "ops/resize_cases.hpp"

#include <sampan/ops/resize_pillow_bilinear.hpp>

using namespace sampan;
using namespace sampan::test;

namespace {
const auto kOp = [](auto& ctx, const View<const std::uint8_t, 3>& in, const View<std::uint8_t, 3>& out) { resize_pillow_bilinear(ctx, in, out); };
const auto kAcrossFirst = [](auto& ctx, const View<const std::uint8_t, 3>& in, const View<std::uint8_t, 3>& out) {
  resize_pillow_bilinear(ctx, in, out, PillowOrder::horizontal_first);
};
}  // namespace

TEST_CASE("resize_pillow_bilinear equals Pillow 13 bit for bit") {
  const auto cases = resize_cases("pillow_bilinear");
  each_pixel_level([&] {
    for (const ResizeCase& c : cases) {
      CAPTURE(c.name);
      CHECK(resize_guarded<std::uint8_t>(kOp, c.input, c.in, c.oh, c.ow) == c.bytes);
    }
  });
}

TEST_CASE("resize_pillow_bilinear: two passes are two resizes of one axis, in the order that each Pillow has") {
  // A resize of one axis skips the other pass, so it is the pass itself; what Pillow changed in version 13 is only which one comes first.
  int differ = 0;
  for (const Sizes& s : {Sizes{60, 20, 3, 20, 13}, {60, 20, 3, 30, 40}, {61, 20, 1, 35, 7}, {61, 20, 1, 36, 7}, {20, 60, 3, 13, 20}, {40, 40, 3, 20, 20}, {10, 10, 3, 30, 25}, {64, 64, 3, 20, 64}}) {
    CAPTURE(s.h); CAPTURE(s.w); CAPTURE(s.oh); CAPTURE(s.ow);
    const auto in = hash_noise_u8(9, "order", {s.h, s.w, s.c});
    const auto across = resize_guarded<std::uint8_t>(kOp, in, {s.h, s.w, s.c}, s.h, s.ow);
    const auto across_down = resize_guarded<std::uint8_t>(kOp, across, {s.h, s.ow, s.c}, s.oh, s.ow);
    const auto down = resize_guarded<std::uint8_t>(kOp, in, {s.h, s.w, s.c}, s.oh, s.w);
    const auto down_across = resize_guarded<std::uint8_t>(kOp, down, {s.oh, s.w, s.c}, s.oh, s.ow);
    const bool down_first = s.h > s.oh && s.h - s.oh > 2 * (s.w - s.ow);
    CHECK(resize_guarded<std::uint8_t>(kAcrossFirst, in, {s.h, s.w, s.c}, s.oh, s.ow) == across_down);
    CHECK(resize_guarded<std::uint8_t>(kOp, in, {s.h, s.w, s.c}, s.oh, s.ow) == (down_first ? down_across : across_down));
    differ += across_down != down_across;
    for (std::size_t i = 0; i < across_down.size(); ++i) CHECK(std::abs(across_down[i] - down_across[i]) <= 1);
  }
  CHECK(differ >= 5);  // otherwise this test could not tell the orders apart
}

TEST_CASE("resize_pillow_bilinear keeps constant images and equal sizes") {
  sweep_identity(kOp);
  for (const int v : {0, 1, 127, 200, 255}) each_pixel_level([&] {
    const std::vector<std::uint8_t> in(37 * 53 * 3, std::uint8_t(v));
    for (const auto& [oh, ow] : {std::array<Index, 2>{18, 26}, {64, 20}, {1, 1}, {100, 111}}) {
      const auto out = resize_guarded<std::uint8_t>(kOp, in, {37, 53, 3}, oh, ow);
      CHECK(out == std::vector<std::uint8_t>(out.size(), std::uint8_t(v)));
    }
  });
}

TEST_CASE("resize_pillow_bilinear: threads, strides, guards, plan") { sweep_structure<std::uint8_t>(kOp); }

TEST_CASE("resize_pillow_bilinear refuses bad extents") { refuses_bad_extents(kOp); }
