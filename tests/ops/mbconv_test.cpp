// mbconv: y = last(bn3(1x1(gelu(bn2(dw3x3(gelu(bn1(1x1 x))))))) [+ x]) on every backend, against the formula in double:
// MBConv (residual, GELU) and PatchMerging (stride 2 or 1) on odd sizes, maps of one and of several row tiles.
#include "support/for_each_backend.hpp"
#include "support/oracle/conv.hpp"
#include "support/random_layers.hpp"

using namespace sampan;
using namespace sampan::test;

namespace {

struct RandomMbConv {
  RandomConv conv1, conv2, conv3;
  MbConvParams p;
  RandomMbConv(Rng& rng, Index in, Index hidden, Index out, int stride, bool residual, Activation last, Activation inner = Activation::gelu_erf)
      : conv1(rng, {hidden, in, 1, 1}, {1, 0, false, true}), conv2(rng, {hidden, 1, 3, 3}, {stride, 1, false, true}), conv3(rng, {out, hidden, 1, 1}, {1, 0, false, true}) {
    p = {conv1.p, conv2.p, conv3.p, residual, last, "mbconv", inner};
  }
  Tensor64 expected(const Tensor64& x) const { return oracle::mbconv(x, p.conv1, p.conv2, p.conv3, p.residual, p.last, p.inner); }
};

struct Case {
  Index h, w, in, hidden, out;
  int stride = 1;
  bool residual = false;
  Activation inner = Activation::gelu_erf;
  Layout x = {}, y = {};
};

void check(Sweep& sweep, const Case& c, Seed seed) {
  Rng rng(seed);
  RandomMbConv w(rng, c.in, c.hidden, c.out, c.stride, c.residual, c.residual ? Activation::gelu_erf : Activation::none, c.inner);
  GuardBuffer<3> x({c.h, c.w, c.in}, c.x, rng);
  const Tensor64 expected = w.expected(exact(x.in()));
  const double in_pixels = double(c.h * c.w), out_pixels = double(expected.e[0] * expected.e[1]);
  const double elementwise = c.residual ? 2 * out_pixels * double(c.out) : 0;  // the addition and the last activation
  const double flop = 2 * in_pixels * double(c.in * c.hidden) + 18 * out_pixels * double(c.hidden) + 2 * out_pixels * double(c.hidden * c.out);
  sweep.check<3>(cat("[", c.h, ",", c.w, ",", c.in, "] -> ", c.hidden, " -> ", c.out, " stride ", c.stride, c.residual ? " residual" : ""), expected, {flop, flop + elementwise}, {{expected.e[0], expected.e[1], c.out}, c.y},
                 [&](const auto& b) { return pack(b, w.p); }, [&](auto& ctx, const auto& p, const View<float, 3>& y) { mbconv(ctx, p, x.in(), y); });
}

}  // namespace

TEST_CASE("mbconv: sizes, channels, strides, layouts") {
  Sweep sweep("mbconv");
  std::uint64_t seed = 1;
  for (Index h : {1, 2, 3, 7, 8, 9, 15, 17})
    for (Index w : {1, 2, 5, 14, 16}) {
      const auto s = seed++;
      if (!kThorough && s % 5) continue;
      const Layout lx = kMapLayouts[s % std::size(kMapLayouts)], ly = kMapLayouts[(s / 2) % std::size(kMapLayouts)];
      check(sweep, {.h = h, .w = w, .in = 8, .hidden = 33, .out = 8, .residual = true, .x = lx, .y = ly}, {s});
      check(sweep, {.h = h, .w = w, .in = 5, .hidden = 12, .out = 12, .stride = 2, .x = lx, .y = ly}, {s + 1000});
      if (s % 3 == 0) check(sweep, {.h = h, .w = w, .in = 31, .hidden = 64, .out = 33, .stride = 1, .x = lx, .y = ly}, {s + 2000});
    }
  for (auto [h, w] : {std::pair<Index, Index>{15, 95}, {16, 96}, {33, 97}, {65, 289}})  // tiles of 16 x 96 output pixels, at last of 64 x 96 (stride 1)
    for (int stride : {1, 2}) {
      if (!kThorough && h > 32) continue;
      check(sweep, {.h = h, .w = w, .in = 3, .hidden = 5, .out = 3, .stride = stride, .residual = stride == 1, .x = {1, 2}}, {std::uint64_t(h)});
    }
  check(sweep, {.h = 33, .w = 40, .in = 16, .hidden = 64, .out = 16, .residual = true}, {3001});
  check(sweep, {.h = 17, .w = 21, .in = 16, .hidden = 40, .out = 16, .residual = true, .inner = Activation::gelu_tanh}, {3003});
  check(sweep, {.h = 17, .w = 21, .in = 16, .hidden = 40, .out = 24, .stride = 2, .inner = Activation::gelu_tanh}, {3004});
  check(sweep, {.h = 65, .w = 31, .in = 8, .hidden = 20, .out = 24, .stride = 2}, {3002});
  check(sweep, {.h = 4, .w = 4, .in = 64, .hidden = 257, .out = 64, .residual = true}, {3003});
}

TEST_CASE("mbconv: NaN reaches the pixels of its 3x3 window and no other") {
  Rng rng(Seed{3});
  RandomMbConv w(rng, 5, 9, 5, 1, true, Activation::relu);
  GuardBuffer<3> x({11, 8, 5}, {}, rng);
  x.view()(8, 3, 2) = std::nanf("");
  Sweep sweep("mbconv, NaN");
  sweep.check<3>("NaN", w.expected(exact(x.in())), -1, {{11, 8, 5}}, [&](const auto& b) { return pack(b, w.p); }, [&](auto& ctx, const auto& p, const View<float, 3>& y) { mbconv(ctx, p, x.in(), y); });
}

TEST_CASE("mbconv refuses extents that disagree, and is inert on a failed context") {
  Rng rng(Seed{1});
  RandomMbConv plain(rng, 4, 6, 5, 2, false, Activation::none), residual(rng, 4, 6, 4, 1, true, Activation::gelu_erf);
  GuardBuffer<3> x({5, 7, 4}, {}, rng), deep({5, 7, 5}, {}, rng);
  auto packs = [](const RandomMbConv& w) { return [&](const auto& b) { return pack(b, w.p); }; };
  auto with = [&](const GuardBuffer<3>& in) { return [&](auto& ctx, const auto& p, const View<float, 3>& y) { mbconv(ctx, p, in.in(), y); }; };
  check_refused<3>("channels of x", {3, 4, 5}, packs(plain), with(deep));
  check_refused<3>("channels of y", {3, 4, 4}, packs(plain), with(x));
  check_refused<3>("rows of y", {5, 4, 5}, packs(plain), with(x));
  check_refused<3>("columns of y", {3, 7, 5}, packs(plain), with(x));
  check_refused<3>("residual of another shape", {5, 6, 4}, packs(residual), with(x));
  check_inert<3>({3, 4, 5}, packs(plain), with(x));
  check_inert<3>({5, 7, 4}, packs(residual), with(x));
}
