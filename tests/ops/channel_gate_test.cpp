// mean_rows and gate_rows against their formulas in double; any number of threads gives the same bits.
#include "support/for_each_backend.hpp"
#include "support/hashgen.hpp"

#include <sampan/ops/channel_gate.hpp>

using namespace sampan;
using namespace sampan::test;

namespace {

template <class F>
void run(int threads, F&& f) {
  const Reference backend;
  ThreadPool pool(threads);
  const auto p = plan(backend, pool, f);
  REQUIRE(p);
  Arena arena;
  REQUIRE(arena.reserve(p->arena_bytes));
  Context<Reference> ctx(backend, pool, arena);
  f(ctx);
  CHECK(ctx.ok());
}

}  // namespace

TEST_CASE("channel gate: mean, sigmoid and product") {
  for (const auto& size : {std::array<Index, 2>{1, 1}, {1, 70}, {33, 64}, {256, 65}, {100, 200}}) {
    const Index n = size[0], c = size[1];
    CAPTURE(n);
    CAPTURE(c);
    const auto x = hash_fill(1, "x", {n, c}, 0.5, 3), gate = hash_fill(1, "gate", {1, c}, 0, 6);
    std::vector<float> first;
    for (const int threads : {1, 2, 3}) {
      std::vector<float> mean = std::vector<float>(std::size_t(c)), y = x;
      const View<const float, 2> in(x.data(), {n, c}), g(gate.data(), {1, c});
      run(threads, [&](Context<Reference>& ctx) {
        mean_rows(ctx, in, View<float, 2>(mean.data(), {1, c}));
        gate_rows(ctx, in, g, View<float, 2>(y.data(), {n, c}));
      });
      for (Index j = 0; j < c; ++j) {
        double sum = 0;
        for (Index i = 0; i < n; ++i) sum += double(in(i, j));
        CHECK(std::abs(double(mean[std::size_t(j)]) - sum / double(n)) <= 1e-7 * (1 + std::abs(sum / double(n))));
        const double f = 1 / (1 + std::exp(-double(g(0, j))));
        // exp, sum and quotient in float cost 3 ulp at most, the product half of one.
        for (Index i = 0; i < n; ++i) CHECK(std::abs(double(y[std::size_t(i * c + j)]) - f * double(in(i, j))) <= 4 * 1.2e-7 * std::abs(f * double(in(i, j))));
      }
      if (first.empty()) first = y;
      CHECK(first == y);
    }
  }
}

TEST_CASE("channel gate: what disagrees is refused") {
  const Reference backend;
  ThreadPool pool(1);
  float v[12] = {};
  const View<float, 2> x(v, {3, 4}), row(v, {1, 4}), narrow(v, {1, 3});
  CHECK_FALSE(plan(backend, pool, [&](Context<Reference>& ctx) { mean_rows(ctx, View<const float, 2>(x), narrow); }));
  CHECK_FALSE(plan(backend, pool, [&](Context<Reference>& ctx) { mean_rows(ctx, View<const float, 2>(x), x); }));
  CHECK_FALSE(plan(backend, pool, [&](Context<Reference>& ctx) { gate_rows(ctx, View<const float, 2>(x), View<const float, 2>(narrow), x); }));
  CHECK_FALSE(plan(backend, pool, [&](Context<Reference>& ctx) { gate_rows(ctx, View<const float, 2>(x), View<const float, 2>(row), row); }));
}
