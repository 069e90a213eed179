// depthwise_conv: each channel with its own kernel, on every backend, against the definition in double; odd sizes with stride 2, channels around every
// boundary, maps narrower than the kernel, misaligned and strided maps.
#include "support/for_each_backend.hpp"
#include "support/oracle/conv.hpp"
#include "support/random_layers.hpp"

using namespace sampan;
using namespace sampan::test;

namespace {

struct Case {
  Index h, w, c;
  int kernel = 3, stride = 1, pad = 1;
  bool bias = false, bn = true;
  Activation activation = Activation::none;
  Layout x = {}, y = {};
};

void check(Sweep& sweep, const Case& c, Seed seed) {
  if (c.h + 2 * c.pad < c.kernel || c.w + 2 * c.pad < c.kernel) return;
  Rng rng(seed);
  RandomConv w(rng, {c.c, 1, c.kernel, c.kernel}, {c.stride, c.pad, c.bias, c.bn});
  GuardBuffer<3> x({c.h, c.w, c.c}, c.x, rng);
  const Tensor64 expected = oracle::conv2d(exact(x.in()), w.p, c.activation, true);
  sweep.check<3>(cat("[", c.h, ",", c.w, ",", c.c, "], kernel ", c.kernel, " stride ", c.stride, " pad ", c.pad, c.bn ? " bn" : ""), expected, 2.0 * double(expected.size()) * c.kernel * c.kernel,
                 {{expected.e[0], expected.e[1], expected.e[2]}, c.y}, [&](const auto& b) { return pack_depthwise(b, w.p); },
                 [&](auto& ctx, const auto& p, const View<float, 3>& y) { depthwise_conv(ctx, p, x.in(), y, c.activation); });
}

}  // namespace

TEST_CASE("depthwise_conv: sizes, strides, channels, layouts") {
  Sweep sweep("depthwise_conv");
  std::uint64_t seed = 1;
  const Index channels[] = {1, 3, 7, 8, 9, 16, 31, 32, 33, 80, 257};
  for (Index h : {1, 2, 3, 4, 7, 8, 15, 16, 17})
    for (Index w : {1, 2, 3, 8, 13, 14})
      for (int stride : {1, 2}) {
        const auto s = seed++;
        if (!kThorough && s % 5) continue;
        Case c{.h = h, .w = w, .c = channels[s % std::size(channels)], .stride = stride, .bias = s % 3 == 0, .bn = s % 4 != 0};
        c.activation = s % 5 == 0 ? Activation::gelu_erf : s % 7 == 0 ? Activation::relu : Activation::none;
        c.x = kMapLayouts[s % std::size(kMapLayouts)], c.y = kMapLayouts[(s / 2) % std::size(kMapLayouts)];
        check(sweep, c, {s});
        if (s % 4 == 0) c.kernel = 5, c.pad = 2, check(sweep, c, {s});
        if (s % 6 == 0) c.kernel = 3, c.pad = 0, check(sweep, c, {s});
      }
  check(sweep, {.h = 65, .w = 33, .c = 64, .stride = 2}, {5001});
  check(sweep, {.h = 64, .w = 64, .c = 20}, {5002});
}

TEST_CASE("depthwise_conv: NaN stays in its channel and window") {
  Rng rng(Seed{3});
  RandomConv w(rng, {9, 1, 3, 3}, {2, 1, false, true});
  GuardBuffer<3> x({9, 8, 9}, {}, rng);
  x.view()(4, 3, 2) = std::nanf(""), x.view()(0, 0, 8) = std::nanf("");
  const Tensor64 expected = oracle::conv2d(exact(x.in()), w.p, Activation::none, true);
  Sweep sweep("depthwise_conv, NaN");
  sweep.check<3>("NaN", expected, -1, {{expected.e[0], expected.e[1], expected.e[2]}}, [&](const auto& b) { return pack_depthwise(b, w.p); },
                 [&](auto& ctx, const auto& p, const View<float, 3>& y) { depthwise_conv(ctx, p, x.in(), y); });
}

TEST_CASE("depthwise_conv refuses extents that disagree, and is inert on a failed context") {
  Rng rng(Seed{1});
  RandomConv w(rng, {4, 1, 3, 3}, {2, 1});
  GuardBuffer<3> x({7, 9, 4}, {}, rng), deep({7, 9, 5}, {}, rng);
  auto pack_weights = [&](const auto& b) { return pack_depthwise(b, w.p); };
  auto with = [&](const GuardBuffer<3>& in) { return [&](auto& ctx, const auto& p, const View<float, 3>& y) { depthwise_conv(ctx, p, in.in(), y); }; };
  check_refused<3>("channels of x", {4, 5, 4}, pack_weights, with(deep));
  check_refused<3>("channels of y", {4, 5, 5}, pack_weights, with(x));
  check_refused<3>("rows of y", {3, 5, 4}, pack_weights, with(x));
  check_refused<3>("columns of y", {4, 4, 4}, pack_weights, with(x));
  check_inert<3>({4, 5, 4}, pack_weights, with(x));
}
