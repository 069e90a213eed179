// mask_head: masks = hyper map^T on every backend, against the formula in double.
#include "support/for_each_backend.hpp"
#include "support/oracle/layers.hpp"

using namespace sampan;
using namespace sampan::test;

namespace {
auto no_weights = [](const auto&) { return 0; };
}

TEST_CASE("mask_head: masks, pixels, channels, layouts") {
  Sweep sweep("mask_head");
  std::uint64_t seed = 1;
  for (Index m : {1, 3, 4, 5})
    for (Index n : {1, 7, 8, 9, 33, 300})
      for (Index c : {1, 3, 8, 31, 32, 33, 257}) {
        const auto s = seed++;
        if (!kThorough && s % 5) continue;
        Rng rng(Seed{s});
        GuardBuffer<2> hyper({m, c}, kLayouts[s % std::size(kLayouts)], rng), map({n, c}, kLayouts[(s + 1) % std::size(kLayouts)], rng);
        sweep.check<2>(cat("[", m, ",", c, "] x [", n, ",", c, "]"), oracle::mask_head(exact(hyper.in()), exact(map.in())), 2.0 * double(m * n * c), {{m, n}, kLayouts[(s + 2) % std::size(kLayouts)]}, no_weights,
                       [&](auto& ctx, int, const View<float, 2>& y) { mask_head(ctx, hyper.in(), map.in(), y); });
      }
  Rng rng(Seed{999});  // the decoder's: 64 x 64 pixels, 32 channels
  GuardBuffer<2> hyper({4, 32}, {}, rng), map({4096, 32}, {}, rng);
  sweep.check<2>("decoder", oracle::mask_head(exact(hyper.in()), exact(map.in())), 2.0 * 4 * 4096 * 32, {{4, 4096}}, no_weights,
                 [&](auto& ctx, int, const View<float, 2>& y) { mask_head(ctx, hyper.in(), map.in(), y); });
}

TEST_CASE("mask_head: NaN fills its mask or its pixel and no other") {
  Rng rng(Seed{3});
  GuardBuffer<2> hyper({4, 9}, {}, rng), map({20, 9}, {}, rng);
  hyper.view()(2, 8) = std::nanf(""), map.view()(13, 0) = std::nanf("");
  Sweep sweep("mask_head, NaN");
  sweep.check<2>("NaN", oracle::mask_head(exact(hyper.in()), exact(map.in())), -1, {{4, 20}}, no_weights, [&](auto& ctx, int, const View<float, 2>& y) { mask_head(ctx, hyper.in(), map.in(), y); });
}

TEST_CASE("mask_head refuses extents that disagree, and is inert on a failed context") {
  Rng rng(Seed{1});
  GuardBuffer<2> hyper({4, 9}, {}, rng), map({20, 9}, {}, rng), wide({20, 8}, {}, rng);
  check_refused<2>("channels", {4, 20}, no_weights, [&](auto& ctx, int, const View<float, 2>& y) { mask_head(ctx, hyper.in(), wide.in(), y); });
  check_refused<2>("masks", {3, 20}, no_weights, [&](auto& ctx, int, const View<float, 2>& y) { mask_head(ctx, hyper.in(), map.in(), y); });
  check_refused<2>("pixels", {4, 19}, no_weights, [&](auto& ctx, int, const View<float, 2>& y) { mask_head(ctx, hyper.in(), map.in(), y); });
  check_inert<2>({4, 20}, no_weights, [&](auto& ctx, int, const View<float, 2>& y) { mask_head(ctx, hyper.in(), map.in(), y); });
}
