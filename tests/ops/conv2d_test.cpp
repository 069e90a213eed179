// conv2d: y = act(bn(conv(x) + b)) on every backend, against torch.nn.Conv2d's definition in double; the kernels, strides and pads that the networks use,
// odd sizes, channels around every boundary, misaligned and strided maps.
#include "support/for_each_backend.hpp"
#include "support/oracle/conv.hpp"
#include "support/random_layers.hpp"

#include <bit>
#include <utility>

using namespace sampan;
using namespace sampan::test;

namespace {

struct Case {
  Index h, w, in, out;
  int kernel = 3, stride = 1, pad = 1;
  bool bias = false, bn = false;
  Activation activation = Activation::none;
  Layout x = {}, y = {};
};

void check(Sweep& sweep, const Case& c, Seed seed) {
  if (c.h + 2 * c.pad < c.kernel || c.w + 2 * c.pad < c.kernel) return;
  Rng rng(seed);
  RandomConv w(rng, {c.out, c.in, c.kernel, c.kernel}, {c.stride, c.pad, c.bias, c.bn});
  GuardBuffer<3> x({c.h, c.w, c.in}, c.x, rng);
  const Tensor64 expected = oracle::conv2d(exact(x.in()), w.p, c.activation);
  const double flop = 2.0 * double(expected.size()) * double(c.in) * c.kernel * c.kernel;
  sweep.check<3>(cat("[", c.h, ",", c.w, ",", c.in, "] -> ", c.out, ", kernel ", c.kernel, " stride ", c.stride, " pad ", c.pad, c.bias ? " bias" : "", c.bn ? " bn" : "", c.activation != Activation::none ? " act" : ""),
                 expected, flop, {{expected.e[0], expected.e[1], expected.e[2]}, c.y}, [&](const auto& b) { return pack_conv(b, w.p); },
                 [&](auto& ctx, const auto& p, const View<float, 3>& y) { conv2d(ctx, p, x.in(), y, c.activation); });
}

/// Everything that is not the subject of a sweep varies with the seed.
Case varied(Case c, std::uint64_t s) {
  c.bias = s % 3 == 0, c.bn = s % 2 == 0;
  c.activation = s % 5 == 0 ? Activation::gelu_erf : s % 7 == 0 ? Activation::relu : Activation::none;
  c.x = kMapLayouts[s % std::size(kMapLayouts)], c.y = kMapLayouts[(s / 2) % std::size(kMapLayouts)];
  return c;
}

}  // namespace

TEST_CASE("conv2d: kernels, strides and pads on all small sizes") {
  Sweep sweep("conv2d, sizes");
  std::uint64_t seed = 1;
  struct Kind {
    int kernel, stride, pad;
  };
  for (Kind k : {Kind{1, 1, 0}, {1, 2, 0}, {2, 2, 0}, {3, 1, 1}, {3, 2, 1}, {3, 1, 0}, {4, 4, 0}, {5, 3, 2}, {16, 16, 0}})
    for (Index h : {1, 2, 3, 5, 8, 13, 16, 17, 33})
      for (Index w : {1, 2, 7, 14, 16, 35}) {
        const auto s = seed++;
        if (!kThorough && s % 7) continue;
        check(sweep, varied({.h = h, .w = w, .in = 3, .out = 5, .kernel = k.kernel, .stride = k.stride, .pad = k.pad}, s), {s});
      }
}

TEST_CASE("conv2d: channels around every boundary") {
  Sweep sweep("conv2d, channels");
  std::uint64_t seed = 1000;
  const Index channels[] = {1, 3, 4, 8, 16, 31, 32, 33, 80, 96};
  for (Index in : channels)
    for (Index out : channels)
      for (int kernel : {1, 3}) {
        const auto s = seed++;
        if (!kThorough && s % 9) continue;
        const bool strided = s % 4 == 0;
        check(sweep, varied({.h = 5, .w = 6, .in = in, .out = out, .kernel = kernel, .stride = strided ? 2 : 1, .pad = kernel / 2}, s), {s});
      }
  for (Index out : {31, 96, 257}) {  // patch embedding and the first convolutions of mask_downscaling
    check(sweep, {.h = 33, .w = 48, .in = 3, .out = out, .kernel = 16, .stride = 16, .pad = 0, .bias = true}, {seed++});
    check(sweep, {.h = 6, .w = 4, .in = 1, .out = out, .kernel = 2, .stride = 2, .pad = 0, .bias = true}, {seed++});
  }
  check(sweep, {.h = 3, .w = 3, .in = 257, .out = 31}, {seed++});
}

TEST_CASE("conv2d: maps of several row tiles") {
  Sweep sweep("conv2d, maps");
  check(sweep, {.h = 40, .w = 70, .in = 8, .out = 16, .bn = true, .activation = Activation::gelu_erf}, {2001});
  check(sweep, {.h = 65, .w = 33, .in = 3, .out = 32, .stride = 2, .bn = true, .x = {1, 2}, .y = {3, 1}}, {2002});
  check(sweep, {.h = 27, .w = 25, .in = 4, .out = 200, .kernel = 1, .pad = 0, .x = {0, 0, false, 3}, .y = {0, 0, false, 5}}, {2004});  // 675 pixels: above eight blocks of rows
  check(sweep, {.h = 28, .w = 24, .in = 2, .out = 200, .bias = true}, {2005});                                                      // 672: below
  check(sweep, {.h = 9, .w = 49, .in = 3, .out = 65, .bn = true, .activation = Activation::gelu_erf}, {2007});                        // direct: blocks of 48 pixels, bands of 8 lines
  check(sweep, {.h = 17, .w = 107, .in = 2, .out = 48, .stride = 2, .x = {1, 0}, .y = {0, 0, false, 5}}, {2008});
  check(sweep, {.h = 28, .w = 24, .in = 330, .out = 200, .kernel = 1, .pad = 0, .activation = Activation::relu}, {2009});             // weights too large for the direct kernel
  check(sweep, {.h = 12, .w = 20, .in = 40, .out = 200, .bn = true}, {2010});
  check(sweep, {.h = 2, .w = 97, .in = 30, .out = 193}, {2006});                                                                     // more than 256 inputs per output
  check(sweep, {.h = 37, .w = 64, .in = 32, .out = 33, .kernel = 1, .pad = 0, .bias = true}, {2003});
}

TEST_CASE("conv2d: 3x3 with many channels: 2x2 tiles at every border") {
  if (kCuda) return;  // no form of its own there
  Sweep sweep("conv2d, many channels");
  std::uint64_t seed = 3000;
  constexpr Index channels[][2] = {{64, 64}, {65, 80}, {33, 125}, {80, 65}, {96, 43}};
  for (Index h : {1, 2, 3, 5, 8, 13})
    for (Index w : {1, 2, 3, 5, 8, 14}) {
      const auto s = seed++;
      if (!kThorough && s % 5) continue;
      check(sweep, varied({.h = h, .w = w, .in = channels[s % 5][0], .out = channels[s % 5][1]}, s), {s});
    }
  check(sweep, {.h = 3, .w = 4, .in = 256, .out = 256}, {3100});
  check(sweep, {.h = 14, .w = 27, .in = 40, .out = 120, .bias = true, .activation = Activation::gelu_erf, .x = {0, 0, false, 3}, .y = {0, 0, false, 5}}, {3101});  // 98 tiles: three blocks
}

TEST_CASE("conv2d: 3x3 with many channels: NaN reaches every output whose window holds it, and no tile whose patch does not") {
  if (kCuda) return;
  Rng rng(Seed{3});
  const Index h = 9, w = 11, n = 64;
  RandomConv conv(rng, {n, n, 3, 3}, {1, 1, true, false});
  GuardBuffer<3> x({h, w, n}, {}, rng), good({h, w, n}), y({h, w, n});
  for (const auto& level : cpu_levels())
    for (Precision precision : {Precision::f32, Precision::fast})
      for (Index at : {0, 1, 4, 7, 8})
        for (const float value : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
          const Cpu b{.isa = level.backend.isa, .precision = precision};
          const auto packed = pack_conv(b, conv.p);
          REQUIRE(packed.winograd.present());
          CHECK(run(b, pool_of(3), [&](auto& ctx) { conv2d(ctx, packed, x.in(), good.view()); }).status.ok());
          const float kept = std::exchange(x.view()(at, at, 5), value);
          CHECK(run(b, pool_of(3), [&](auto& ctx) { conv2d(ctx, packed, x.in(), y.view()); }).status.ok());
          x.view()(at, at, 5) = kept;
          bool reaches = true, stays = true;
          for (Index i = 0; i < h; ++i)
            for (Index j = 0; j < w; ++j)
              for (Index c = 0; c < n; ++c) {
                const bool window = std::abs(i - at) <= 1 && std::abs(j - at) <= 1;
                const bool patch = at >= i / 2 * 2 - 1 && at <= i / 2 * 2 + 2 && at >= j / 2 * 2 - 1 && at <= j / 2 * 2 + 2;
                if (window) reaches = reaches && !std::isfinite(y.view()(i, j, c));
                if (!patch) stays = stays && std::bit_cast<std::uint32_t>(y.view()(i, j, c)) == std::bit_cast<std::uint32_t>(good.view()(i, j, c));
              }
          CAPTURE(level.name);
          CAPTURE(at);
          CHECK(reaches);
          CHECK(stays);
        }
}

TEST_CASE("conv2d: NaN reaches exactly the outputs whose window holds it") {
  Sweep sweep("conv2d, NaN");
  for (int kernel : {1, 3})
    for (int stride : {1, 2}) {
      Rng rng(Seed{3});
      RandomConv w(rng, {9, 5, kernel, kernel}, {stride, kernel / 2, true, true});
      GuardBuffer<3> x({9, 8, 5}, {}, rng);
      x.view()(4, 4, 2) = std::nanf(""), x.view()(0, 0, 0) = std::nanf("");
      const Tensor64 expected = oracle::conv2d(exact(x.in()), w.p, Activation::relu);
      sweep.check<3>(cat("kernel ", kernel, " stride ", stride), expected, -1, {{expected.e[0], expected.e[1], expected.e[2]}}, [&](const auto& b) { return pack_conv(b, w.p); },
                     [&](auto& ctx, const auto& p, const View<float, 3>& y) { conv2d(ctx, p, x.in(), y, Activation::relu); });
    }
}

TEST_CASE("conv2d refuses extents that disagree, and is inert on a failed context") {
  Rng rng(Seed{1});
  RandomConv w(rng, {5, 4, 3, 3}, {2, 0});
  GuardBuffer<3> x({7, 9, 4}, {}, rng), deep({7, 9, 5}, {}, rng), low({2, 9, 4}, {}, rng), thin({7, 2, 4}, {}, rng);
  auto pack_weights = [&](const auto& b) { return pack_conv(b, w.p); };
  auto with = [&](const GuardBuffer<3>& in) { return [&](auto& ctx, const auto& p, const View<float, 3>& y) { conv2d(ctx, p, in.in(), y); }; };
  check_refused<3>("channels of x", {3, 4, 5}, pack_weights, with(deep));
  check_refused<3>("channels of y", {3, 4, 6}, pack_weights, with(x));
  check_refused<3>("rows of y", {4, 4, 5}, pack_weights, with(x));
  check_refused<3>("columns of y", {3, 5, 5}, pack_weights, with(x));
  check_refused<3>("x lower than the kernel", {0, 4, 5}, pack_weights, with(low));
  check_refused<3>("x lower than the kernel, one row wanted", {1, 4, 5}, pack_weights, with(low));
  check_refused<3>("x narrower than the kernel", {3, 1, 5}, pack_weights, with(thin));
  check_inert<3>({3, 4, 5}, pack_weights, with(x));
}
