// cross_attention of the mask decoder on every backend, against out_proj(softmax(Q K^T / sqrt d) V) in double: token to image, image to token, among tokens;
// batches that share keys or not, encodings or not, residual in place, heads and sizes around every boundary. Lopsided shapes take Cpu's absorbed forms, which the
// test states case by case; cross_attention_norm and ready projections likewise.
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
  cpu::AttentionForm form = cpu::AttentionForm::composed;  // what Cpu must choose, if `lopsided`
  bool lopsided = false, ready = false;
};

/// Projections as a caller might keep them: exact, rounded once.
std::vector<float> projected(const Tensor64& x, const Tensor64& pe, const LinearParams& p) {
  Tensor64 sum = x.shaped(x.e[0] * x.e[1], x.e[2]);
  if (pe.size()) sum = oracle::add(sum, pe.shaped(pe.e[0] * pe.e[1], pe.e[2]));
  std::vector<float> v;
  for (const Num& n : oracle::linear(sum, p).v) v.push_back(float(n.v));
  return v;
}

void check(Sweep& sweep, const Case& c, Seed seed) {
  Rng rng(seed);
  RandomCrossAttention w(rng, c.c, c.inner, c.heads);
  const Index kb = c.shared_keys ? 1 : c.b;
  GuardBuffer<3> q({c.b, c.nq, c.c}, {1, 0}, rng), k({kb, c.nk, c.c}, {3, 0}, rng), v({kb, c.nk, c.c}, {0, 0, true}, rng), residual({c.b, c.nq, c.c}, {}, rng);
  GuardBuffer<3> q_pe({c.q_pe ? c.b : 0, c.nq, c.c}, {2, 0}, rng), k_pe({c.k_pe ? (c.shared_pe ? 1 : kb) : 0, c.nk, c.c}, {5, 0}, rng);
  const Tensor64 r = exact(residual.in());
  const Tensor64 expected = oracle::cross_attention(w.p, exact(q.in()), exact(q_pe.in()), exact(k.in()), exact(k_pe.in()), exact(v.in()), c.residual ? &r : nullptr);
  const double b = double(c.b), keys = double(kb * c.nk), queries = b * double(c.nq);
  double flop = 4 * queries * double(c.c * c.inner) + 4 * keys * double(c.c * c.inner) + 4 * queries * double(c.nk * c.inner) + (c.q_pe ? queries * double(c.c) : 0) + (c.k_pe ? keys * double(c.c) : 0);
  const std::string what = cat(c.b, " x ", c.nq, " queries, ", c.nk, " keys, c ", c.c, " inner ", c.inner, " heads ", c.heads, c.shared_keys ? " shared" : "", c.residual ? " residual" : "");
  auto pack_weights = [&](const auto& backend) { return pack(backend, w.p); };
  CrossAttentionInput in{q.in(), c.q_pe ? q_pe.in() : View<const float, 3>(), k.in(), c.k_pe ? k_pe.in() : View<const float, 3>(), v.in()};
  const std::vector<float> q_ready = c.ready ? projected(exact(q.in()), exact(q_pe.in()), w.p.q_proj) : std::vector<float>();
  const std::vector<float> k_ready = c.ready ? projected(exact(k.in()), exact(k_pe.in()), w.p.k_proj) : q_ready, v_ready = c.ready ? projected(exact(v.in()), {}, w.p.v_proj) : q_ready;
  Flop counted(flop);
  if (c.ready) {  // tokens ask: k and v are kept; pixels ask: q is
    const bool tokens_ask = c.nq < c.nk;
    if (tokens_ask) in.k_ready = {k_ready.data(), {kb, c.nk, c.inner}}, in.v_ready = {v_ready.data(), {kb, c.nk, c.inner}};
    if (!tokens_ask) in.q_ready = {q_ready.data(), {c.b, c.nq, c.inner}};
    counted = Flop(flop - (tokens_ask ? 4 * keys * double(c.c * c.inner) + (c.k_pe ? keys * double(c.c) : 0) : 2 * queries * double(c.c * c.inner) + (c.q_pe ? queries * double(c.c) : 0)), flop);
  }
  if (c.lopsided) CHECK_MESSAGE(cpu::cheapest_form(pack(Cpu{.isa = Isa::scalar}, w.p), in, c.b) == c.form, what);
  const std::array<Index, 3> extents{c.b, c.nq, c.c};
  sweep.check<3>(what, expected, counted, {extents, {3, 0}}, pack_weights,
                 [&](auto& ctx, const auto& p, const View<float, 3>& y) { cross_attention(ctx, p, in, y, c.residual ? residual.in() : View<const float, 3>()); });
  if (!c.residual) return;
  sweep.check<3>(what + ", y is the residual", expected, counted, {extents, {1, 0}, &residual}, pack_weights, [&](auto& ctx, const auto& p, const View<float, 3>& y) { cross_attention(ctx, p, in, y, y); });
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

TEST_CASE("cross_attention: few tokens, many pixels") {
  using cpu::AttentionForm;
  Sweep sweep("cross_attention, absorbed");
  std::uint64_t seed = 1;
  // Pixels around the borders of a block of keys (144), of a chunk (576), and of a block of rows (96).
  for (Index b : {1, 2, 3})
    for (auto [t, heads, inner] : {std::array<Index, 3>{1, 4, 32}, {3, 2, 28}, {7, 8, 128}, {13, 8, 128}, {5, 3, 96}})
      for (Index pixels : {95, 97, 144, 145, 577, 721}) {
        const auto s = seed++;
        if (s % (kThorough ? 3 : 23)) continue;
        const Case keys{.b = b, .nq = t, .nk = pixels, .c = s % 2 ? 33 : 64, .inner = inner, .heads = heads, .shared_keys = b == 1 || t * heads * b < inner / 4, .q_pe = s % 4 != 0, .k_pe = s % 5 != 0, .residual = s % 2 == 0,
                        .shared_pe = s % 7 == 0, .form = AttentionForm::absorb_keys, .lopsided = true};
        check(sweep, keys, {s});
        Case queries = keys;
        queries.nq = pixels, queries.nk = t, queries.form = AttentionForm::absorb_queries, queries.shared_keys = s % 3 == 0;
        check(sweep, queries, {s + 1000});
        queries.ready = true, queries.c = 160, queries.lopsided = t * heads <= 56;  // of more tokens the kept projection is worth more than its absorption
        check(sweep, queries, {s + 2000});
        if (t != 7) continue;
        Case kept = keys;
        kept.ready = true, kept.form = AttentionForm::composed;
        check(sweep, kept, {s + 3000});
      }
}

TEST_CASE("cross_attention_norm: pixels ask, and their norm follows at once") {
  Sweep sweep("cross_attention_norm");
  std::uint64_t seed = 1;
  for (Index b : {1, 2, 3})
    for (const auto& sizes : {std::array<Index, 3>{7, 8, 128}, {2, 2, 28}, {40, 8, 32}})  // the last is composed
      for (Index pixels : {95, 96, 97, 300})
        for (const bool ready : {false, true}) {
          const auto s = seed++;
          if (s % (kThorough ? 2 : 11)) continue;
          Rng rng(Seed{s});
          const Index t = sizes[0], heads = sizes[1], inner = sizes[2], c = 64, qb = s % 4 < 2 ? 1 : b;
          RandomCrossAttention w(rng, c, inner, heads);
          RandomNorm norm(rng, c, 1e-5f);
          GuardBuffer<3> q({qb, pixels, c}, {1, 0}, rng), pe({1, pixels, c}, {3, 0}, rng), k({b, t, c}, {}, rng), v({b, t, c}, {}, rng);
          Tensor64 one = exact(q.in()), each(b, pixels, c);
          for (Index i = 0; i < each.size(); ++i) each.v[std::size_t(i)] = one.v[std::size_t(i % one.size())];
          const Tensor64 sum = oracle::cross_attention(w.p, each, exact(pe.in()), exact(k.in()), {}, exact(v.in()), &each);
          const Tensor64 expected = oracle::layer_norm(sum.shaped(b * pixels, c), norm.p);
          const std::vector<float> kept = projected(one, exact(pe.in()), w.p.q_proj);
          const double rows = double(b * pixels), wide = double(c), asked = qb == 1 ? double(pixels) : rows;  // pixels whose queries differ
          const double in_q = 2 * rows * wide * double(inner), in_asked = 2 * asked * wide * double(inner), adds = asked * wide;
          const double least = 2 * rows * wide * double(inner) + 4 * double(b * t) * wide * double(inner) + 4 * rows * double(t * inner) + 8 * rows * wide;
          sweep.check<3>(cat(b, " x ", pixels, " pixels of batch ", qb, ", ", t, " tokens", ready ? ", ready" : ""), expected, ready ? Flop(least, least + in_q + rows * wide) : Flop(least + in_asked + adds, least + in_q + rows * wide), {{b, pixels, c}, {2, 0}},
                         [&](const auto& backend) { return std::pair(pack(backend, w.p), pack(backend, norm.p)); },
                         [&](auto& ctx, const auto& p, const View<float, 3>& y) {
                           CrossAttentionInput in{q.in(), pe.in(), k.in(), {}, v.in()};
                           if (ready) in.q_ready = View<const float, 3>(kept.data(), {qb, pixels, inner});
                           cross_attention_norm(ctx, p.first, in, y, p.second);
                         });
        }
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

TEST_CASE("cross_attention: NaN and scores far apart in the absorbed forms") {
  Sweep sweep("cross_attention, absorbed, hard");
  Rng rng(Seed{4});
  RandomCrossAttention w(rng, 32, 32, 2);
  GuardBuffer<3> q({2, 5, 32}, {}, rng), pixels({2, 530, 32}, {}, rng);
  const auto check_now = [&](const char* what, bool tokens_ask) {
    const GuardBuffer<3>&a = tokens_ask ? q : pixels, &b = tokens_ask ? pixels : q;
    const CrossAttentionInput in{a.in(), {}, b.in(), {}, b.in()};
    CHECK(cpu::cheapest_form(pack(Cpu{.isa = Isa::scalar}, w.p), in, 2) == (tokens_ask ? cpu::AttentionForm::absorb_keys : cpu::AttentionForm::absorb_queries));
    const Tensor64 expected = oracle::cross_attention(w.p, exact(a.in()), {}, exact(b.in()), {}, exact(b.in()), nullptr);
    sweep.check<3>(what, expected, -1, {{2, tokens_ask ? 5 : 530, 32}}, [&](const auto& backend) { return pack(backend, w.p); }, [&](auto& ctx, const auto& p, const View<float, 3>& y) { cross_attention(ctx, p, in, y); });
  };
  const auto check_both = [&](const char* what) { check_now(what, true), check_now(what, false); };
  q.each([](float& x) { x *= 30; });
  pixels.each([](float& x) { x *= 30; });
  check_both("peaked");
  q.view()(0, 3, 0) = std::nanf("");
  check_both("NaN token");
  pixels.view()(1, 520, 2) = std::nanf("");
  check_both("NaN pixel");
}

TEST_CASE("cross_attention refuses ready projections of another shape") {
  Rng rng(Seed{1});
  RandomCrossAttention w(rng, 8, 6, 2);
  GuardBuffer<3> q({3, 2, 8}, {}, rng), k({3, 5, 8}, {}, rng), k_ready({3, 5, 6}, {}, rng), q_ready({3, 2, 6}, {}, rng), few({2, 5, 6}, {}, rng);
  const auto pack_w = [&](const auto& b) { return pack(b, w.p); };
  const auto with = [&](View<const float, 3> a, View<const float, 3> b, View<const float, 3> c) {
    return [=, &q, &k](auto& ctx, const auto& p, const View<float, 3>& y) { cross_attention(ctx, p, {q.in(), {}, k.in(), {}, k.in(), a, b, c}, y); };
  };
  check_refused<3>("width of q", {3, 2, 8}, pack_w, with(q.in(), {}, {}));
  check_refused<3>("k without v", {3, 2, 8}, pack_w, with({}, k_ready.in(), {}));
  check_refused<3>("batch of k and v", {3, 2, 8}, pack_w, with({}, few.in(), few.in()));
  check_refused<3>("rows of q", {3, 2, 8}, pack_w, with(k_ready.in(), {}, {}));
  check_inert<3>({3, 2, 8}, pack_w, with(q_ready.in(), k_ready.in(), k_ready.in()));
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
