// Overlay: where contours, fill, boxes and points go, what stays as it was, and what is refused.
#include <sampan/image/overlay.hpp>

#include <doctest/doctest.h>

#include <limits>
#include <vector>

using namespace sampan;

namespace {

struct Scene {
  Index h, w;
  std::vector<std::uint8_t> pixels, mask;
  Scene(Index rows, Index columns) : h(rows), w(columns), pixels(std::size_t(h * w * 3), 100), mask(std::size_t(h * w), 0) {}
  View<std::uint8_t, 3> image() { return {pixels.data(), {h, w, 3}}; }
  View<std::uint8_t, 2> mask_view() { return {mask.data(), {h, w}}; }
  void fill(Index y0, Index x0, Index y1, Index x1) {
    for (Index y = y0; y < y1; ++y)
      for (Index x = x0; x < x1; ++x) mask[std::size_t(y * w + x)] = 1;
  }
  Rgb at(Index y, Index x) {
    const auto v = image();
    return {v(y, x, 0), v(y, x, 1), v(y, x, 2)};
  }
  Status draw(OverlayObject o, OverlayStyle s = {}) { return draw_overlay(image(), {&o, 1}, s); }
};

constexpr Rgb kGrey = {100, 100, 100};

}  // namespace

TEST_CASE("the contour runs on the outermost mask pixels, the fill inside, nothing outside") {
  Scene s(20, 30);
  s.fill(5, 10, 15, 22);
  REQUIRE(s.draw({.mask = s.mask_view()}, {.fill = 0.5}));
  const Rgb line = overlay_colour(0), inside = {93, 140, 167};  // halves of 100 and (86, 180, 233), rounded
  int outside = 0;
  for (Index y = 0; y < 20; ++y)
    for (Index x = 0; x < 30; ++x) {
      const bool in = y >= 5 && y < 15 && x >= 10 && x < 22, edge = in && (y == 5 || y == 14 || x == 10 || x == 21);
      CHECK(s.at(y, x) == (edge ? line : in ? inside : kGrey));
      outside += !in;
    }
  CHECK(outside > 0);
}

TEST_CASE("a mask at the border is closed along the border, a single pixel is a contour, an empty mask draws nothing") {
  Scene s(8, 8);
  s.fill(0, 0, 8, 8);
  REQUIRE(s.draw({.mask = s.mask_view()}, {.fill = 0}));
  for (Index i = 0; i < 8; ++i) CHECK(s.at(0, i) == overlay_colour(0));
  CHECK(s.at(4, 4) == kGrey);
  Scene dot(5, 5);
  dot.fill(2, 3, 3, 4);
  REQUIRE(dot.draw({.mask = dot.mask_view()}));
  CHECK(dot.at(2, 3) == overlay_colour(0));
  CHECK(dot.at(2, 2) == kGrey);
  Scene none(5, 5);
  REQUIRE(none.draw({.mask = none.mask_view()}));
  REQUIRE(none.draw({}));
  CHECK(none.pixels == std::vector<std::uint8_t>(75, 100));
}

TEST_CASE("line width follows the longer side, or the style") {
  const auto width = [](int line) {
    Scene s(60, 100);
    s.fill(0, 50, 60, 100);
    REQUIRE(s.draw({.mask = s.mask_view()}, {.fill = 0, .line = line}));
    int n = 0;
    for (Index x = 30; x < 70; ++x) n += s.at(30, x) == overlay_colour(0);
    return n;
  };
  for (const int line : {1, 2, 3, 5, 10}) CHECK(width(line) == line);
  CHECK(width(0) == 1);
  Scene s(900, 900);
  s.fill(300, 300, 600, 600);
  REQUIRE(s.draw({.mask = s.mask_view()}, {.fill = 0}));
  int n = 0;
  for (Index x = 280; x < 320; ++x) n += s.at(450, x) == overlay_colour(0);
  CHECK(n == 2);  // 900 / 400
}

TEST_CASE("objects get different colours, in order, and fills never cover contours") {
  Scene s(20, 20);
  std::vector<std::uint8_t> second(400, 0);
  s.fill(2, 2, 12, 12);
  for (Index y = 8; y < 18; ++y)
    for (Index x = 8; x < 18; ++x) second[std::size_t(y * 20 + x)] = 1;
  const OverlayObject objects[] = {{.mask = s.mask_view()}, {.mask = View<const std::uint8_t, 2>(second.data(), {20, 20})}};
  REQUIRE(draw_overlay(s.image(), objects));
  CHECK(s.at(2, 2) == overlay_colour(0));
  CHECK(s.at(11, 9) == overlay_colour(0));  // inside the second object
  CHECK(s.at(17, 17) == overlay_colour(1));
  const OverlayObject own[] = {{.mask = s.mask_view(), .colour = Rgb{1, 2, 3}}, {.mask = View<const std::uint8_t, 2>(second.data(), {20, 20})}};
  CHECK(draw_overlay(s.image(), own).ok());
  CHECK((s.at(2, 2) == Rgb{1, 2, 3} && s.at(17, 17) == overlay_colour(1)));  // the other one keeps that of its place
  for (std::size_t i = 0; i < 7; ++i)
    for (std::size_t j = 0; j < i; ++j) CHECK(overlay_colour(i) != overlay_colour(j));
  CHECK(overlay_colour(7) == overlay_colour(0));
}

TEST_CASE("boxes and points are drawn, and cut at the border") {
  Scene s(40, 40);
  const OverlayPoint points[] = {{{20, 12}, 1}, {{30, 30}, 0}, {{-50, 1e9}, 1}};
  REQUIRE(s.draw({.box = Box{5, 6, 25, 26}, .points = points}));
  CHECK(s.at(6, 5) == overlay_colour(0));
  CHECK(s.at(26, 25) == overlay_colour(0));
  CHECK(s.at(6, 15) == overlay_colour(0));
  CHECK(s.at(16, 15) == kGrey);
  CHECK(s.at(12, 20) == overlay_colour(0));
  CHECK(s.at(30, 30) == Rgb{0, 0, 0});
  CHECK(s.at(30, 34) == Rgb{255, 255, 255});
  CHECK(s.at(39, 0) == overlay_colour(0));  // clamped into the picture
  Scene wide(10, 10);
  REQUIRE(wide.draw({.box = Box{-100, -100, 1e12, 1e12}}));
  CHECK(wide.at(0, 5) == overlay_colour(0));
  CHECK(wide.at(9, 9) == overlay_colour(0));
  Scene one(1, 1);
  one.fill(0, 0, 1, 1);
  REQUIRE(one.draw({.mask = one.mask_view(), .box = Box{0, 0, 1, 1}, .points = points}));
}

TEST_CASE("what is wrong is refused, with nothing drawn") {
  Scene s(10, 10);
  s.fill(0, 0, 10, 10);
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const OverlayPoint bad[] = {{{nan, 1}, 1}};
  CHECK(!s.draw({.mask = s.mask_view()}, {.fill = 1.5}));
  CHECK(!s.draw({.mask = s.mask_view()}, {.fill = nan}));
  CHECK(!s.draw({.mask = s.mask_view()}, {.line = -1}));
  CHECK(!s.draw({.mask = s.mask_view(), .box = Box{0, 0, nan, 1}}));
  CHECK(!s.draw({.mask = s.mask_view(), .points = bad}));
  const Status size = s.draw({.mask = View<const std::uint8_t, 2>(s.mask.data(), {10, 9})});
  REQUIRE(!size);
  CHECK(size.error().message() == "draw_overlay: mask of 9x10 pixels on an image of 10x10");
  CHECK(!draw_overlay(View<std::uint8_t, 3>(s.pixels.data(), {10, 10, 1}), {}));
  CHECK(s.pixels == std::vector<std::uint8_t>(300, 100));
}
