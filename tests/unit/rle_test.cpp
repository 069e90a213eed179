// Run lengths: against the definition on random masks and placements, COCO's text against values made by pycocotools' published rule, refusals.
#include "support/hashgen.hpp"

#include <sampan/image/rle.hpp>

#include <doctest/doctest.h>

using namespace sampan;
using namespace sampan::test;

namespace {

/// The definition: columns one after another, runs of equal values, zeros first.
std::vector<std::int64_t> by_definition(const std::vector<std::uint8_t>& mask, std::int64_t h, std::int64_t w) {
  std::vector<std::int64_t> counts{0};
  std::uint8_t value = 0;
  for (std::int64_t x = 0; x < w; ++x)
    for (std::int64_t y = 0; y < h; ++y) {
      const std::uint8_t v = mask[std::size_t(y * w + x)];
      if (v != value) counts.push_back(0), value = v;
      ++counts.back();
    }
  return counts;
}

RunLengths runs_of(const std::vector<std::uint8_t>& mask, std::int64_t h, std::int64_t w) {
  RunLengths r;
  run_lengths(View<const std::uint8_t, 2>(mask.data(), {Index(h), Index(w)}), 0, 0, h, w, r);
  return r;
}

}  // namespace

TEST_CASE("run lengths: equal to the definition, back from mask and text, for sparse, dense and striped masks") {
  for (const auto& size : {std::pair<std::int64_t, std::int64_t>{1, 1}, {1, 9}, {9, 1}, {7, 64}, {13, 65}, {40, 130}})
    for (const int rule : {0, 1, 2, 3, 4}) {
      const std::int64_t h = size.first, w = size.second;
      CAPTURE(h);
      CAPTURE(w);
      CAPTURE(rule);
      const auto noise = hash_noise_u8(std::uint64_t(rule) + 1, "mask", {h, w});
      std::vector<std::uint8_t> mask(noise.size());
      for (std::size_t i = 0; i < mask.size(); ++i) mask[i] = rule == 0 ? 0 : rule == 1 ? 1 : rule == 2 ? noise[i] < 20 : rule == 3 ? noise[i] < 236 : std::uint8_t(std::int64_t(i) % w / 3 % 2);
      const RunLengths r = runs_of(mask, h, w);
      CHECK(r.counts == by_definition(mask, h, w));
      std::int64_t area = 0;
      for (const auto v : mask) area += v;
      CHECK(r.area() == area);
      CHECK(mask_of(r).value() == mask);
      CHECK(from_coco_text(to_coco_text(r), h, w).value() == r);
    }
}

TEST_CASE("run lengths: a part of a larger mask, at every place of it") {
  const std::int64_t h = 6, w = 70, height = 9, width = 73;
  const auto noise = hash_noise_u8(3, "part", {h, w});
  std::vector<std::uint8_t> part(noise.size());
  for (std::size_t i = 0; i < part.size(); ++i) part[i] = noise[i] < 128;
  for (std::int64_t y = 0; y <= height - h; ++y)
    for (std::int64_t x = 0; x <= width - w; ++x) {
      std::vector<std::uint8_t> whole(std::size_t(height * width));
      for (std::int64_t i = 0; i < h; ++i)
        for (std::int64_t k = 0; k < w; ++k) whole[std::size_t((y + i) * width + x + k)] = part[std::size_t(i * w + k)];
      RunLengths r;
      run_lengths(View<const std::uint8_t, 2>(part.data(), {Index(h), Index(w)}), x, y, height, width, r);
      CHECK(r.counts == by_definition(whole, height, width));
    }
}

TEST_CASE("run lengths: COCO's text by hand") {
  // 4 = '4'; 100 = 4 + 3 * 32: 'T' (4 | more), '3'; the fourth run is a difference: 5 - 7 = -2 = 30 | sign: 'N' (30 + 48)
  CHECK(to_coco_text({10, 10, {100}}) == "T3");
  CHECK(to_coco_text({4, 4, {4, 7, 3, 2}}) == "473K");
  CHECK(from_coco_text("473K", 4, 4).value().counts == std::vector<std::int64_t>{4, 7, 3, 2});
  CHECK(to_coco_text({4, 4, {4, 7, 0, 5}}) == "470N");
}

TEST_CASE("run lengths: what is refused") {
  const auto code = [](const auto& r) {
    REQUIRE_FALSE(bool(r));
    CHECK(r.error().message().find('\n') == std::string::npos);
    return r.error().code();
  };
  for (const char* text : {"", "T", "T3T3", "473", "473L", "\x7f", "4 3", "oooooooooooooooo", "N"}) {
    CAPTURE(text);
    CHECK(code(from_coco_text(text, 4, 4)) == ErrorCode::bad_file);
  }
  CHECK(code(from_coco_text("T3", 0, 10)) == ErrorCode::bad_file);
  CHECK(code(from_coco_text("T3", std::int64_t(1) << 40, std::int64_t(1) << 40)) == ErrorCode::bad_file);
  CHECK(code(mask_of({4, 4, {-1, 17}})) == ErrorCode::bad_file);
  CHECK(code(mask_of({4, 4, {17}})) == ErrorCode::bad_file);
  CHECK(code(mask_of({4, 4, {8, 7}})) == ErrorCode::bad_file);
  CHECK(code(mask_of({4, 4, {std::int64_t(1) << 62, std::int64_t(1) << 62}})) == ErrorCode::bad_file);
}
