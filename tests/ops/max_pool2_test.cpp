// max_pool2 against its definition on every host backend: odd sides, strided maps, NaN, refusals.
#include "support/for_each_backend.hpp"

#include <sampan/ops/max_pool2.hpp>

using namespace sampan;
using namespace sampan::test;

TEST_CASE("max_pool2: sides, channels, layouts") {
  std::uint64_t seed = 1;
  for (const auto& e : {std::array<Index, 3>{2, 2, 1}, {5, 4, 3}, {8, 9, 64}, {3, 3, 17}}) {
    Rng rng(Seed{seed});
    GuardBuffer<3> x(e, kLayouts[seed++ % std::size(kLayouts)], rng);
    const auto in = x.in();
    for_each_backend([&]<class B>(const std::string& who, const B& b, ThreadPool& pool) {
      if constexpr (!on_device<B>) {
        INFO(who);
        GuardBuffer<3> y({e[0] / 2, e[1] / 2, e[2]});
        y.poison();
        const Outcome o = run(b, pool, [&](Context<B>& ctx) { max_pool2(ctx, x.in(), y.view()); });
        CHECK(judge(o, 3.0 * double(y.view().size())).empty());
        CHECK(y.guards_intact());
        Index wrong = 0;
        for (Index i = 0; i < e[0] / 2; ++i)
          for (Index j = 0; j < e[1] / 2; ++j)
            for (Index k = 0; k < e[2]; ++k) wrong += y.view()(i, j, k) != std::max({in(2 * i, 2 * j, k), in(2 * i, 2 * j + 1, k), in(2 * i + 1, 2 * j, k), in(2 * i + 1, 2 * j + 1, k)});
        CHECK(wrong == 0);
      }
    });
  }
}

TEST_CASE("max_pool2 keeps NaN and refuses what disagrees") {
  const Reference b;
  ThreadPool pool(1);
  GuardBuffer<3> x({4, 2, 1}), y({2, 1, 1}), small({1, 1, 1});
  for (Index i = 0; i < 8; ++i) x.view().data()[i] = float(i);
  for (Index place = 0; place < 4; ++place) {
    const float kept = std::exchange(x.view()(place / 2, place % 2, 0), std::numeric_limits<float>::quiet_NaN());
    REQUIRE(run(b, pool, [&](Context<Reference>& ctx) { max_pool2(ctx, x.in(), y.view()); }).status);
    CHECK(y.view()(0, 0, 0) != y.view()(0, 0, 0));
    CHECK(y.view()(1, 0, 0) == 7);
    x.view()(place / 2, place % 2, 0) = kept;
  }
  CHECK_FALSE(plan(b, pool, [&](Context<Reference>& ctx) { max_pool2(ctx, x.in(), small.view()); }));
}
