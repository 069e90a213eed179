// group_norm against its formula in double on every host backend: sizes around a block, an offset far larger than the spread, layouts, refusals.
#include "support/for_each_backend.hpp"
#include "support/random_layers.hpp"

#include <sampan/ops/group_norm.hpp>

using namespace sampan;
using namespace sampan::test;

namespace {

/// Four roundings: the difference from the mean (at the offset's magnitude, because the mean is rounded to float), the product, the factor, the sum.
void check(Index n, Index c, float low, float high, Layout layout, std::uint64_t seed) {
  Rng rng(Seed{seed});
  GuardBuffer<2> x({n, c}, layout, rng, low, high);
  const RandomNorm norm(rng, c, 1e-5f);
  double mean = 0, var = 0, top = 0;
  const auto in = x.in();
  const auto all = [&](auto&& f) {
    for (Index i = 0; i < n; ++i)
      for (Index j = 0; j < c; ++j) f(double(in(i, j)));
  };
  all([&](double v) { mean += v / double(n * c), top = std::max(top, std::abs(v)); });
  all([&](double v) { var += (v - mean) * (v - mean) / double(n * c); });
  const double scale = 1 / std::sqrt(var + double(norm.p.eps));
  for_each_backend([&]<class B>(const std::string& who, const B& b, ThreadPool& pool) {
    if constexpr (!on_device<B>) {
      INFO(who);
      GuardBuffer<2> y({n, c}, layout);
      y.poison();
      const auto w = pack(b, norm.p);
      const Outcome o = run(b, pool, [&](Context<B>& ctx) { group_norm(ctx, w, x.in(), y.view()); });
      CHECK(judge(o, 8.0 * double(n * c)).empty());
      CHECK(y.guards_intact());
      for (Index i = 0; i < n; ++i)
        for (Index j = 0; j < c; ++j) {
          const double g = double(norm.p.weight(j)) * scale, want = (double(in(i, j)) - mean) * g + double(norm.p.bias(j));
          CHECK(std::abs(double(y.view()(i, j)) - want) <= 0x1p-24 * (2 * top * std::abs(g) + 3 * std::abs((double(in(i, j)) - mean) * g) + 2 * std::abs(want)) + 1e-30);
        }
    }
  });
}

}  // namespace

TEST_CASE("group_norm: pixels, channels, layouts") {
  std::uint64_t seed = 1;
  for (Index n : {1, 2, 63, 64, 65, 200})
    for (Index c : {1, 3, 64}) {
      if (n * c > 1) check(n, c, -1, 1, kLayouts[seed % std::size(kLayouts)], seed);
      ++seed;
    }
  check(100, 16, 1000, 1001, {}, 99);
}

TEST_CASE("group_norm works in place and refuses what disagrees") {
  const Reference b;
  ThreadPool pool(1);
  Rng rng(Seed{5});
  GuardBuffer<2> x({30, 8}, {}, rng), y({30, 8});
  const RandomNorm norm(rng, 8, 1e-5f), wide(rng, 9, 1e-5f);
  const auto w = pack(b, norm.p), other = pack(b, wide.p);
  REQUIRE(run(b, pool, [&](Context<Reference>& ctx) { group_norm(ctx, w, x.in(), y.view()); }).status);
  REQUIRE(run(b, pool, [&](Context<Reference>& ctx) { group_norm(ctx, w, x.in(), x.view()); }).status);
  CHECK(x.bits() == y.bits());
  CHECK_FALSE(plan(b, pool, [&](Context<Reference>& ctx) { group_norm(ctx, other, x.in(), y.view()); }));
  CHECK_FALSE(plan(b, pool, [&](Context<Reference>& ctx) { group_norm(ctx, w, x.in(), y.view().slice(0, 0, 29)); }));
}
