// fourier_encoding: [sin(2 pi t G) ; cos(2 pi t G)], t = 2 (u, v) - 1, against the formula in double; corners of the range, strided views, NaN.
#include "support/for_each_backend.hpp"
#include "support/oracle/layers.hpp"

using namespace sampan;
using namespace sampan::test;

namespace {
auto no_weights = [](const auto&) { return 0; };
}

TEST_CASE("fourier_encoding: points, frequencies, layouts") {
  Sweep sweep("fourier_encoding");
  std::uint64_t seed = 1;
  for (Index n : {0, 1, 2, 9, 64})
    for (Index f : {1, 3, 8, 33, 128}) {
      const auto s = seed++;
      Rng rng(Seed{s});
      const Index axes = s % 3 == 1 ? 3 : 2;
      GuardBuffer<2> coords({n, axes}, kLayouts[s % std::size(kLayouts)], rng, 0, 1), gauss({axes, f}, kLayouts[(s + 1) % std::size(kLayouts)], rng, -3, 3);  // N(0, 1) at 3 sigma
      if (n > 3) coords.view()(0, 0) = 0, coords.view()(0, 1) = 1, coords.view()(1, 0) = 0.5f, coords.view()(2, 1) = -0.25f;  // boxes may stick out of the image
      sweep.check<2>(cat(n, " points, ", axes, " axes, ", f, " frequencies"), oracle::fourier(exact(coords.in()), exact(gauss.in())), double((2 * axes + 2) * n * f), {{n, axes * f}, kLayouts[(s + 2) % std::size(kLayouts)]}, no_weights,
                     [&](auto& ctx, int, const View<float, 2>& y) { fourier_encoding(ctx, coords.in(), gauss.in(), y); });
    }
}

TEST_CASE("fourier_encoding: known values") {
  GuardBuffer<2> coords({2, 2}), gauss({2, 2});
  float c[] = {1, 0.5f, 0.75f, 0.5f}, g[] = {0.25f, 1, 0, 0};
  std::size_t i = 0, j = 0;
  coords.each([&](float& x) { x = c[i++]; });
  gauss.each([&](float& x) { x = g[j++]; });
  for_each_backend([&]<class B>(const std::string& who, const B& b, ThreadPool& pool) {
    INFO(who);
    GuardBuffer<2> y({2, 4});
    REQUIRE(run(b, pool, [&](Context<B>& ctx) { fourier_encoding(ctx, coords.in(), gauss.in(), y.view()); }).status.ok());
    const float root = 0.70710678f;  // t = 1: angles pi/2 and 2 pi; t = 1/2: pi/4 and pi; row 0 of G multiplies x, and y is in the middle
    const float want[] = {1, 0, 0, 1, root, 0, root, -1};
    std::size_t k = 0;
    y.each([&](float& x) { CHECK(std::abs(x - want[k++]) <= 4e-7f); });  // 2 pi in float32 is off by 1.7e-7, one rounding each for product and sine
  });
}

TEST_CASE("fourier_encoding: NaN fills its point, and a column of G its frequency") {
  Rng rng(Seed{3});
  GuardBuffer<2> coords({5, 2}, {}, rng, 0, 1), gauss({2, 9}, {}, rng);
  coords.view()(3, 1) = std::nanf(""), gauss.view()(0, 8) = std::nanf("");
  Sweep sweep("fourier_encoding, NaN");
  sweep.check<2>("NaN", oracle::fourier(exact(coords.in()), exact(gauss.in())), -1, {{5, 18}}, no_weights, [&](auto& ctx, int, const View<float, 2>& y) { fourier_encoding(ctx, coords.in(), gauss.in(), y); });
}

TEST_CASE("fourier_encoding refuses extents that disagree, and is inert on a failed context") {
  Rng rng(Seed{1});
  GuardBuffer<2> coords({5, 2}, {}, rng), three({5, 3}, {}, rng), gauss({2, 4}, {}, rng), one({1, 4}, {}, rng);
  auto with = [](const GuardBuffer<2>& c, const GuardBuffer<2>& g) { return [&](auto& ctx, int, const View<float, 2>& y) { fourier_encoding(ctx, c.in(), g.in(), y); }; };
  check_refused<2>("coordinates", {5, 8}, no_weights, with(three, gauss));
  GuardBuffer<2> four({5, 4}, {}, rng), square({4, 4}, {}, rng), cube({3, 4}, {}, rng);
  check_refused<2>("four axes", {5, 16}, no_weights, with(four, square));
  check_refused<2>("width of three axes", {5, 8}, no_weights, with(three, cube));
  check_refused<2>("G", {5, 8}, no_weights, with(coords, one));
  check_refused<2>("rows", {4, 8}, no_weights, with(coords, gauss));
  check_refused<2>("width", {5, 4}, no_weights, with(coords, gauss));
  check_inert<2>({5, 8}, no_weights, with(coords, gauss));
}
