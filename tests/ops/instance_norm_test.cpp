// instance_norm and add_leaky against their formulas in double on every host backend: sizes around a work item, an offset far larger than the spread, layouts, in place, NaN, refusals.
#include "support/for_each_backend.hpp"

#include <sampan/ops/instance_norm.hpp>

using namespace sampan;
using namespace sampan::test;

namespace {

double leaky(double x, double slope) { return x >= 0 ? x : x * slope; }

void check(Index n, Index c, float low, float high, Layout layout, float slope, std::uint64_t seed) {
  Rng rng(Seed{seed});
  GuardBuffer<2> x({n, c}, layout, rng, low, high), other({n, c}, layout, rng);
  const auto in = x.in(), b2 = other.in();
  for_each_backend([&]<class B>(const std::string& who, const B& b, ThreadPool& pool) {
    if constexpr (!on_device<B>) {
      INFO(who);
      GuardBuffer<2> y({n, c}, layout), sum({n, c}, layout);
      y.poison(), sum.poison();
      const Outcome o = run(b, pool, [&](Context<B>& ctx) { instance_norm(ctx, x.in(), y.view(), 1e-5f, slope); });
      CHECK(judge(o, 8.0 * double(n * c)).empty());
      REQUIRE(run(b, pool, [&](Context<B>& ctx) { add_leaky(ctx, x.in(), other.in(), sum.view(), slope); }).status);
      CHECK(y.guards_intact());
      CHECK(sum.guards_intact());
      Index wrong = 0;
      for (Index j = 0; j < c; ++j) {
        double mean = 0, var = 0;
        for (Index i = 0; i < n; ++i) mean += double(in(i, j)) / double(n);
        for (Index i = 0; i < n; ++i) var += (double(in(i, j)) - mean) * (double(in(i, j)) - mean) / double(n);
        for (Index i = 0; i < n; ++i) {  // sums in double: two roundings to float at most
          const double want = leaky((double(in(i, j)) - mean) / std::sqrt(var + double(1e-5f)), double(slope)), added = leaky(double(in(i, j)) + double(b2(i, j)), double(slope));
          wrong += !(std::abs(double(y.view()(i, j)) - want) <= 0x1p-23 * std::abs(want) + 1e-9) + !(std::abs(double(sum.view()(i, j)) - added) <= 0x1p-23 * std::abs(added));
        }
      }
      CHECK(wrong == 0);
    }
  });
}

}  // namespace

TEST_CASE("instance_norm and add_leaky: pixels, channels, layouts") {
  std::uint64_t seed = 1;
  for (Index n : {1, 2, 63, 65, 130})
    for (Index c : {1, 31, 33, 64}) check(n, c, -1, 1, kLayouts[seed % std::size(kLayouts)], seed % 2 ? 0.01f : 1.0f, seed), ++seed;
  check(100, 16, 1000, 1001, {}, 0.01f, 99);
}

TEST_CASE("instance_norm and add_leaky work in place, keep NaN, and refuse what disagrees") {
  const Reference b;
  ThreadPool pool(1);
  Rng rng(Seed{5});
  GuardBuffer<2> x({30, 8}, {}, rng), y({30, 8}), small({29, 8});
  REQUIRE(run(b, pool, [&](Context<Reference>& ctx) { instance_norm(ctx, x.in(), y.view(), 1e-5f, 0.01f); }).status);
  REQUIRE(run(b, pool, [&](Context<Reference>& ctx) { instance_norm(ctx, x.in(), x.view(), 1e-5f, 0.01f); }).status);
  CHECK(x.bits() == y.bits());
  y.view()(3, 2) = std::numeric_limits<float>::quiet_NaN();
  REQUIRE(run(b, pool, [&](Context<Reference>& ctx) { add_leaky(ctx, x.in(), y.in(), y.view(), 0.01f); }).status);
  CHECK(y.view()(3, 2) != y.view()(3, 2));
  CHECK(y.view()(3, 1) == y.view()(3, 1));
  CHECK_FALSE(plan(b, pool, [&](Context<Reference>& ctx) { instance_norm(ctx, x.in(), small.view(), 1e-5f, 1); }));
  CHECK_FALSE(plan(b, pool, [&](Context<Reference>& ctx) { add_leaky(ctx, x.in(), small.in(), x.view(), 1); }));
}
