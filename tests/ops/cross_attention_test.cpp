// cross_attention of the mask decoder on every backend, against out_proj(softmax(Q K^T / sqrt d) V) in double: token to image, image to token, among tokens;
// batches that share keys or not, encodings or not, residual in place, heads and sizes around every boundary.
#include "support/for_each_backend.hpp"
#include "support/oracle/attention.hpp"
#include "support/random_layers.hpp"

using namespace sampan;
using namespace sampan::test;

namespace {

struct RandomCrossAttention {
  RandomLinear q, k, v, out;
  CrossAttentionParams p;
  RandomCrossAttention(Rng& rng, Index c, Index inner, Index heads)
      : q(rng, inner, c), k(rng, inner, c), v(rng, inner, c), out(rng, c, inner) {
    p = {q.p, k.p, v.p, out.p, heads, "cross"};
  }
};

struct Case {
  Index b, nq, nk, c, inner, heads;
  bool shared_keys = true, q_pe = true, k_pe = true, residual = true, shared_pe = false;
};

void check(Sweep& sweep, const Case& c, Seed seed) {
  Rng rng(seed);
  RandomCrossAttention w(rng, c.c, c.inner, c.heads);
  const Index kb = c.shared_keys ? 1 : c.b;
  GuardBuffer<3> q({c.b, c.nq, c.c}, {1, 0}, rng), k({kb, c.nk, c.c}, {3, 0}, rng), v({kb, c.nk, c.c}, {0, 0, true}, rng), residual({c.b, c.nq, c.c}, {}, rng);
  GuardBuffer<3> q_pe({c.q_pe ? c.b : 0, c.nq, c.c}, {2, 0}, rng), k_pe({c.k_pe ? (c.shared_pe ? 1 : kb) : 0, c.nk, c.c}, {5, 0}, rng);
  const Tensor64 r = exact(residual.in());
  const Tensor64 expected = oracle::cross_attention(w.p, exact(q.in()), exact(q_pe.in()), exact(k.in()), exact(k_pe.in()), exact(v.in()), c.residual ? &r : nullptr);
  const double b = double(c.b), keys = double(kb * c.nk), queries = b * double(c.nq);
  const double flop = 4 * queries * double(c.c * c.inner) + 4 * keys * double(c.c * c.inner) + 4 * queries * double(c.nk * c.inner) + (c.q_pe ? queries * double(c.c) : 0) + (c.k_pe ? keys * double(c.c) : 0);
  const std::string what = cat(c.b, " x ", c.nq, " queries, ", c.nk, " keys, c ", c.c, " inner ", c.inner, " heads ", c.heads, c.shared_keys ? " shared" : "", c.residual ? " residual" : "");
  auto pack_weights = [&](const auto& backend) { return pack(backend, w.p); };
  const CrossAttentionInput in{q.in(), c.q_pe ? q_pe.in() : View<const float, 3>(), k.in(), c.k_pe ? k_pe.in() : View<const float, 3>(), v.in()};
  const std::array<Index, 3> extents{c.b, c.nq, c.c};
  sweep.check<3>(what, expected, flop, {extents, {3, 0}}, pack_weights,
                 [&](auto& ctx, const auto& p, const View<float, 3>& y) { cross_attention(ctx, p, in, y, c.residual ? residual.in() : View<const float, 3>()); });
  if (!c.residual) return;
  sweep.check<3>(what + ", y is the residual", expected, flop, {extents, {1, 0}, &residual}, pack_weights, [&](auto& ctx, const auto& p, const View<float, 3>& y) { cross_attention(ctx, p, in, y, y); });
}

}  // namespace

TEST_CASE("cross_attention: batches, queries, keys, heads") {
  Sweep sweep("cross_attention");
  std::uint64_t seed = 1;
  for (Index b : {1, 2, 3})
    for (auto [nq, nk] : {std::pair<Index, Index>{1, 1}, {5, 7}, {7, 64}, {8, 65}, {64, 9}, {33, 8}, {1, 300}})
      for (auto [inner, heads] : {std::pair<Index, Index>{16, 1}, {32, 8}, {28, 2}, {96, 3}}) {
        const auto s = seed++;
        if (!kThorough && s % 7) continue;
        check(sweep, {.b = b, .nq = nq, .nk = nk, .c = s % 2 ? 33 : 64, .inner = inner, .heads = heads, .shared_keys = s % 3 != 0, .q_pe = s % 4 != 0, .k_pe = s % 5 != 0, .residual = s % 2 == 0, .shared_pe = s % 6 == 0}, {s});
      }
  // The decoder's three uses on a 12 x 12 image with 3 prompts.
  check(sweep, {.b = 3, .nq = 7, .nk = 7, .c = 256, .inner = 256, .heads = 8, .shared_keys = false, .q_pe = true, .k_pe = true}, {901});
  check(sweep, {.b = 3, .nq = 7, .nk = 144, .c = 256, .inner = 128, .heads = 8, .shared_keys = false, .shared_pe = true}, {902});
  check(sweep, {.b = 3, .nq = 144, .nk = 7, .c = 256, .inner = 128, .heads = 8, .shared_keys = false}, {903});
}

TEST_CASE("cross_attention: scores far apart, and NaN") {
  Sweep sweep("cross_attention, hard");
  Rng rng(Seed{3});
  RandomCrossAttention w(rng, 16, 16, 2);
  GuardBuffer<3> q({2, 5, 16}, {}, rng), k({2, 9, 16}, {}, rng), v({2, 9, 16}, {}, rng);
  auto check_now = [&](const char* what) {
    const Tensor64 expected = oracle::cross_attention(w.p, exact(q.in()), {}, exact(k.in()), {}, exact(v.in()), nullptr);
    sweep.check<3>(what, expected, -1, {{2, 5, 16}}, [&](const auto& b) { return pack(b, w.p); },
                   [&](auto& ctx, const auto& p, const View<float, 3>& y) { cross_attention(ctx, p, {q.in(), {}, k.in(), {}, v.in()}, y); });
  };
  q.each([](float& x) { x *= 30; });
  k.each([](float& x) { x *= 30; });  // scores of some hundred: softmax is a maximum, exp underflows for the rest
  check_now("peaked");
  q.view()(0, 3, 0) = std::nanf("");  // one query
  check_now("NaN query");
  v.view()(1, 8, 2) = std::nanf("");  // every query of its batch entry
  check_now("NaN value");
  k.view()(1, 0, 2) = std::nanf("");
  check_now("NaN key");
}

TEST_CASE("cross_attention refuses extents that disagree, and is inert on a failed context") {
  Rng rng(Seed{1});
  RandomCrossAttention w(rng, 8, 6, 2), odd(rng, 8, 6, 4), none(rng, 8, 6, 0);
  GuardBuffer<3> q({3, 2, 8}, {}, rng), k({3, 5, 8}, {}, rng), two({2, 5, 8}, {}, rng), short_({3, 4, 8}, {}, rng), wide({3, 5, 9}, {}, rng), narrow_q({3, 2, 7}, {}, rng);
  auto packs = [](const RandomCrossAttention& a) { return [&](const auto& b) { return pack(b, a.p); }; };
  auto with = [](CrossAttentionInput in, View<const float, 3> residual = {}) { return [=](auto& ctx, const auto& p, const View<float, 3>& y) { cross_attention(ctx, p, in, y, residual); }; };
  const std::array<Index, 3> y{3, 2, 8};
  check_refused<3>("batch of k", y, packs(w), with({q.in(), {}, two.in(), {}, two.in()}));
  check_refused<3>("v and k differ in keys", y, packs(w), with({q.in(), {}, k.in(), {}, short_.in()}));
  check_refused<3>("v and k differ in batch", y, packs(w), with({q.in(), {}, k.in(), {}, two.in()}));
  check_refused<3>("width of k", y, packs(w), with({q.in(), {}, wide.in(), {}, k.in()}));
  check_refused<3>("width of v", y, packs(w), with({q.in(), {}, k.in(), {}, wide.in()}));
  check_refused<3>("width of q", {3, 2, 7}, packs(w), with({narrow_q.in(), {}, k.in(), {}, k.in()}));
  check_refused<3>("encoding of q", y, packs(w), with({q.in(), k.in(), k.in(), {}, k.in()}));
  check_refused<3>("encoding of k", y, packs(w), with({q.in(), {}, k.in(), q.in(), k.in()}));
  check_refused<3>("y", {3, 3, 8}, packs(w), with({q.in(), {}, k.in(), {}, k.in()}));
  check_refused<3>("residual", y, packs(w), with({q.in(), {}, k.in(), {}, k.in()}, k.in()));
  check_refused<3>("heads that do not divide", y, packs(odd), with({q.in(), {}, k.in(), {}, k.in()}));
  check_refused<3>("no heads", y, packs(none), with({q.in(), {}, k.in(), {}, k.in()}));
  GuardBuffer<3> gaps({3, 5, 8}, {0, 0, false, 4}, rng);
  check_refused<3>("entries of v with gaps", y, packs(w), with({q.in(), {}, k.in(), {}, gaps.in()}));
  check_inert<3>(y, packs(w), with({q.in(), q.in(), k.in(), k.in(), k.in()}, q.in()));
}
