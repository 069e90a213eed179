// Kernels of ops/pixel_kernels.hpp on every level: against their definitions, with inputs and outputs that end where the pages end.
// (The resizers' own tests run every level through whole images and goldens.)
#include "ops/resize_cases.hpp"

#include <sampan/ops/resize_cv2_area.hpp>
#include <sampan/ops/resize_pillow_bilinear.hpp>
#include <sampan/ops/resize_torch_bilinear.hpp>

using namespace sampan;
using namespace sampan::test;

namespace {

/// n values, the last one at the end of the accessible memory.
template <class T>
class AtTheEnd {
 public:
  explicit AtTheEnd(std::size_t n) : pages_(n * sizeof(T)), data_(reinterpret_cast<T*>(pages_.data() + pages_.bytes()) - n) {}
  AtTheEnd(const std::vector<T>& v) : AtTheEnd(v.size()) { std::copy(v.begin(), v.end(), data_); }
  T* data() { return data_; }

 private:
  GuardedPages pages_;
  T* data_;
};

std::vector<float> numbers(std::string_view name, Index n) { return hash_fill(12, name, {n}); }

}  // namespace

TEST_CASE("blend_row and mask_row: sums within their rounding, counts that agree with the mask, nothing outside") {
  MESSAGE("levels: " << level_names());
  for (const Index n : {1, 3, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 200}) {
    const auto av = numbers("a", n), bv = numbers("b", n);
    AtTheEnd<float> a(av), b(bv), y(static_cast<std::size_t>(n));
    AtTheEnd<std::uint8_t> mask(static_cast<std::size_t>(n));
    for (const auto& level : pixel_levels()) {
      if (!level.kernels) continue;
      CAPTURE(level.name);
      CAPTURE(n);
      const float wa = 0.3f, wb = 0.7f;
      level.kernels->blend_row({a.data(), b.data(), wa, wb, n, y.data()});
      MaskRow m{a.data(), b.data(), wa, wb, n, 0.01f, 0.4f, -0.4f, mask.data()};
      level.kernels->mask_row(m);
      Index area = 0, above = 0, around = 0, near = 0;
      for (Index i = 0; i < n; ++i) {
        const double exact = double(wa) * double(av[std::size_t(i)]) + double(wb) * double(bv[std::size_t(i)]);
        const double slack = 2 * 0x1p-24 * (std::abs(double(wa) * double(av[std::size_t(i)])) + std::abs(double(wb) * double(bv[std::size_t(i)])));  // two products and a sum, or less
        CHECK(std::abs(double(y.data()[i]) - exact) <= slack);
        CHECK(mask.data()[i] <= 1);
        near += std::abs(exact - double(0.01f)) <= slack;
        if (std::abs(exact - double(0.01f)) > slack) CHECK(mask.data()[i] == (exact > double(0.01f)));
        area += mask.data()[i], above += exact > double(0.4f), around += exact > double(-0.4f);
      }
      CHECK(near == 0);  // no tie in this data, so the counts below are certain
      CHECK(m.area == area);
      CHECK(m.above == above);
      CHECK(m.around == around);
    }
  }
}

TEST_CASE("mask_row: NaN is outside, infinities are what they are") {
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  std::vector<float> a(70, 1.0f), b(70, 1.0f);
  a[0] = nan, a[33] = nan, b[69] = nan, a[5] = inf, a[6] = -inf;
  for (const auto& level : pixel_levels()) {
    if (!level.kernels) continue;
    CAPTURE(level.name);
    std::vector<std::uint8_t> mask(70, 9);
    MaskRow m{a.data(), b.data(), 0.5f, 0.5f, 70, 0, 1, -1, mask.data()};
    level.kernels->mask_row(m);
    for (std::size_t i = 0; i < 70; ++i) CHECK(mask[i] == (i == 0 || i == 33 || i == 69 || i == 6 ? 0 : 1));
    CHECK(m.area == 66);
    CHECK(m.above == 1);    // only the infinity exceeds 1
    CHECK(m.around == 66);
  }
}

TEST_CASE("resizers read and write up to the last byte and not beyond") {
  for (const Sizes& s : kResizeSizes) {
    CAPTURE(s.h); CAPTURE(s.w); CAPTURE(s.c); CAPTURE(s.oh); CAPTURE(s.ow);
    const auto bytes = hash_noise_u8(13, "end", {s.h, s.w, s.c});
    AtTheEnd<std::uint8_t> in(bytes), out(static_cast<std::size_t>(s.oh * s.ow * s.c));
    AtTheEnd<float> floats_in(std::vector<float>(bytes.begin(), bytes.end())), floats_out(static_cast<std::size_t>(s.oh * s.ow * s.c));
    const View<const std::uint8_t, 3> from(in.data(), {s.h, s.w, s.c});
    const View<std::uint8_t, 3> to(out.data(), {s.oh, s.ow, s.c});
    each_pixel_level([&] {
      CHECK(planned_run(2, [&](auto& ctx) { resize_pillow_bilinear(ctx, from, to); }).ok());
      CHECK(planned_run(2, [&](auto& ctx) { resize_cv2_area(ctx, from, to); }).ok());
      CHECK(planned_run(2, [&](auto& ctx) { resize_torch_bilinear(ctx, View<const float, 3>(floats_in.data(), {s.h, s.w, s.c}), View<float, 3>(floats_out.data(), {s.oh, s.ow, s.c})); }).ok());
    });
  }
}
