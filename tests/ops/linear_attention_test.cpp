// linear_attention on every backend against its formula in double: tokens around a block, head sizes, heads, strided rows; queries without a positive part; refusals.
#include "support/for_each_backend.hpp"

#include <sampan/ops/linear_attention.hpp>

using namespace sampan;
using namespace sampan::test;

namespace {

const auto kNoWeights = [](const auto&) { return 0; };

/// a / b, rounded once.
Num quotient(const Num& a, const Num& b) {
  const double v = a.v / b.v, room = std::abs(b.v) - b.worst;
  return {v, (a.worst + std::abs(v) * b.worst) / room + kUnit * std::abs(v), std::sqrt(square(a.floor / b.v) + square(v * b.floor / b.v) + square(kUnit * v))};
}

Tensor64 expected(const View<const float, 2>& qkv, Index heads) {
  const Index n = qkv.extent(0), d = qkv.extent(1) / 3 / heads;
  const auto positive = [](float x) { return Num{x > 0 ? double(x) : 0.0, 0, 0}; };
  Tensor64 out(n, heads * d);
  for (Index h = 0; h < heads; ++h) {
    const Index q = 3 * d * h;
    std::vector<Num> vk;
    for (Index e = 0; e <= d; ++e)
      for (Index c = 0; c < d; ++c) {
        Sum s;
        for (Index t = 0; t < n; ++t) s.term(e < d ? Num{double(qkv(t, q + 2 * d + e)), 0, 0} : Num{1, 0, 0}, positive(qkv(t, q + d + c)));
        vk.push_back(s.get());
      }
    for (Index t = 0; t < n; ++t) {
      const auto product = [&](Index e) {
        Sum s;
        for (Index c = 0; c < d; ++c) s.term(vk[std::size_t(e * d + c)], positive(qkv(t, q + c)));
        return s.get();
      };
      const Num total = product(d) + Num{1e-15, 1e-22, 1e-22};
      for (Index e = 0; e < d; ++e) out(t, h * d + e) = quotient(product(e), total);
    }
  }
  return out;
}

}  // namespace

TEST_CASE("linear_attention: tokens, heads, head sizes, layouts") {
  Sweep sweep("linear_attention");
  std::uint64_t seed = 1;
  for (Index n : {1, 2, 36, 63, 64, 65, 200})
    for (Index heads : {1, 3})
      for (Index d : {1, 5, 8, 32}) {
        const auto s = seed++;
        if (!kThorough && s % 5) continue;
        Rng rng(Seed{s});
        GuardBuffer<2> qkv({n, heads * 3 * d}, kLayouts[s % std::size(kLayouts)], rng);
        for (Index c = 0; c < d; ++c) qkv.view()(0, c) = -0.5f;  // the first token's query has no positive part: zero over eps
        sweep.check<2>(cat(n, " tokens, ", heads, " heads of ", d), expected(qkv.in(), heads), 4.0 * double(n * heads * d) * double(d + 1), {{n, heads * d}, kLayouts[(s + 1) % std::size(kLayouts)]}, kNoWeights,
                       [&](auto& ctx, int, const View<float, 2>& y) { linear_attention(ctx, heads, qkv.in(), y); });
      }
}

TEST_CASE("linear_attention refuses extents that disagree, and is inert on a failed context") {
  Rng rng(Seed{1});
  GuardBuffer<2> qkv({9, 24}, {}, rng);
  const auto op = [&](Index heads) { return [&qkv, heads](auto& ctx, int, const View<float, 2>& y) { linear_attention(ctx, heads, qkv.in(), y); }; };
  check_refused<2>("rows", {8, 8}, kNoWeights, op(2));
  check_refused<2>("width", {9, 7}, kNoWeights, op(1));
  check_refused<2>("heads", {9, 8}, kNoWeights, op(3));
  check_inert<2>({9, 8}, kNoWeights, op(2));
}
