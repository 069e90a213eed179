// attend_plain against its formula in double on every host backend, with and without one more in the denominator and a guide: sizes around a work item, slices of one buffer, q and out the same, scores far apart, refusals.
#include "support/for_each_backend.hpp"

#include <sampan/ops/attend_plain.hpp>

using namespace sampan;
using namespace sampan::test;

namespace {

/// Error against fp64 at most twice that of plain float32 sums, which is bounded by (d + nk + 10) roundings of what is summed.
void check(Index nq, Index nk, Index heads, Index d, float range, std::uint64_t seed, bool guided) {
  CAPTURE(nq);
  CAPTURE(nk);
  const Index c = heads * d;
  Rng rng(Seed{seed});
  GuardBuffer<2> q({nq, c}, {}, rng, -range, range), kv({nk, 2 * c}, {}, rng);
  GuardBuffer<2> guide({nk, nq}, {}, rng, 0, 1);
  AttendPlain rule{.extra = guided ? 0.0f : 1.0f};
  if (guided) rule.guide = View<const float, 2>(guide.in().data(), {nq, nk}, {guide.in().stride(1), guide.in().stride(0)});
  const auto k = kv.in().slice(1, 0, c), v = kv.in().slice(1, c, c);
  for_each_backend([&]<class B>(const std::string& who, const B& b, ThreadPool& pool) {
    if constexpr (!on_device<B>) {
      INFO(who);
      GuardBuffer<2> y({nq, c}), place({nq, c});
      y.poison();
      const Outcome o = run(b, pool, [&](Context<B>& ctx) { attend_plain(ctx, heads, q.in(), k, v, y.view(), rule); });
      CHECK(judge(o, 4.0 * double(nq * nk * c)).empty());
      CHECK(y.guards_intact());
      for (Index i = 0; i < nq; ++i)
        for (Index j = 0; j < c; ++j) place.view()(i, j) = q.in()(i, j);
      REQUIRE(run(b, pool, [&](Context<B>& ctx) { attend_plain(ctx, heads, place.in(), k, v, place.view(), rule); }).status);
      CHECK(place.bits() == y.bits());
      Index wrong = 0;
      for (Index h = 0; h < heads; ++h)
        for (Index i = 0; i < nq; ++i) {
          std::vector<double> s(std::size_t(nk), 0.0);
          double top = -1e300, size = 0, total = double(rule.extra);
          for (Index j = 0; j < nk; ++j) {
            double at = 0;
            for (Index e = h * d; e < (h + 1) * d; ++e) s[std::size_t(j)] += double(q.in()(i, e)) * double(k(j, e)), at += std::abs(double(q.in()(i, e)) * double(k(j, e)));
            s[std::size_t(j)] /= std::sqrt(double(d));
            top = std::max(top, s[std::size_t(j)]), size = std::max(size, at / std::sqrt(double(d)));
          }
          for (double& x : s) total += x = std::exp(x - top);
          for (Index j = 0; guided && j < nk; ++j) s[std::size_t(j)] *= double(rule.guide(i, j));
          for (Index e = h * d; e < (h + 1) * d; ++e) {
            double want = 0, sum = 0;
            for (Index j = 0; j < nk; ++j) want += s[std::size_t(j)] * double(v(j, e)) / total, sum += s[std::size_t(j)] * std::abs(double(v(j, e))) / total;
            // scores carry (d + 3) roundings of their size, which exp turns into relative errors of the weights
            wrong += !(std::abs(double(y.view()(i, e)) - want) <= 2 * 0x1p-24 * sum * (2 * double(d + 3) * size + double(nk) + 10));
          }
        }
      CHECK(wrong == 0);
    }
  });
}

}  // namespace

TEST_CASE("attend_plain: queries, keys, heads, ranges") {
  std::uint64_t seed = 1;
  for (const bool guided : {false, true}) {
    for (const auto& [nq, nk] : {std::pair<Index, Index>{1, 1}, {5, 50}, {31, 3}, {32, 5}, {33, 64}, {65, 7}}) check(nq, nk, 2, 8, 1, seed++, guided);
    check(40, 9, 8, 64, 1, seed++, guided);
    check(6, 20, 1, 5, 30, seed++, guided);
  }
}

TEST_CASE("attend_plain: a single key gets one half, and what disagrees is refused") {
  const Reference b;
  ThreadPool pool(1);
  GuardBuffer<2> q({1, 4}), k({1, 4}), v({1, 4}), y({1, 4}), wide({1, 6});
  for (Index j = 0; j < 4; ++j) q.view()(0, j) = float(j), k.view()(0, j) = 3, v.view()(0, j) = float(1 + j);
  REQUIRE(run(b, pool, [&](Context<Reference>& ctx) { attend_plain(ctx, 1, q.in(), k.in(), v.in(), y.view(), {.extra = 1}); }).status);
  for (Index j = 0; j < 4; ++j) CHECK(y.view()(0, j) == float(1 + j) / 2);
  CHECK_FALSE(plan(b, pool, [&](Context<Reference>& ctx) { attend_plain(ctx, 1, q.in(), k.in(), v.in(), y.view(), {.guide = wide.in()}); }));
  CHECK_FALSE(plan(b, pool, [&](Context<Reference>& ctx) { attend_plain(ctx, 3, q.in(), k.in(), v.in(), y.view()); }));
  CHECK_FALSE(plan(b, pool, [&](Context<Reference>& ctx) { attend_plain(ctx, 1, q.in(), k.in(), wide.in(), y.view()); }));
  CHECK_FALSE(plan(b, pool, [&](Context<Reference>& ctx) { attend_plain(ctx, 1, q.in(), k.in(), v.in(), wide.view()); }));
}
