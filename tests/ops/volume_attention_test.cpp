// attend and attention on volumes [planes, h, w], on every host backend, against pad, partition3D, attend, unpartition3D in double (sam_med3d.py of MedIM): global and
// windowed, windows larger than the grid along any axis (SAM-Med3D: 8 in 14), pad tokens, relative positions as that file adds them, NaN. This tests the sums over pads of
// cpu/volume_bias.hpp, which no key stands for.
#include "support/for_each_backend.hpp"
#include "support/oracle/attention.hpp"
#include "support/random_layers.hpp"

using namespace sampan;
using namespace sampan::test;

namespace {

struct Case {
  Index planes, h, w, heads, d, window = 0;
  bool rel = true, pad = true;
  Layout qkv = {}, out = {};
  Index window_d() const { return window ? window : planes; }
  Index window_h() const { return window ? window : h; }
  Index window_w() const { return window ? window : w; }
  Index tokens() const { return planes * h * w; }
  std::string text() const {
    return cat(planes, "x", h, "x", w, ", window ", window, ", ", heads, " heads of ", d, rel ? ", rel pos" : "", pad ? ", pad" : "");
  }
  /// Keys that each token sees, added up one by one.
  double pairs() const {
    double sum = 0;
    const auto seen = [&](Index at, Index extent) { return window ? std::min(window, extent - at / window * window) : extent; };
    for (Index t = 0; t < tokens(); ++t) sum += double(seen(t / (h * w), planes) * seen(t / w % h, h) * seen(t % w, w));
    return sum;
  }
};

/// Random inputs of a case, with their views.
struct Inputs {
  AttendShape shape;
  GuardBuffer<2> buffer, rel_d, rel_h, rel_w, pad_k, pad_v, pad_q;
  QkvView qkv;
  AttendBias bias;
  PadToken pad;
  Inputs(const Case& c, Rng& rng, float rel = 0.5f)
      : shape{c.h, c.w, c.heads, c.d, c.window, 1 / std::sqrt(float(c.d)), c.planes},
        buffer({c.tokens(), 3 * c.heads * c.d}, c.qkv, rng, -2, 2),
        rel_d({2 * c.window_d() - 1, c.d}, {2, 0}, rng, -rel, rel),
        rel_h({2 * c.window_h() - 1, c.d}, {1, 0}, rng, -rel, rel),
        rel_w({2 * c.window_w() - 1, c.d}, {3, 0}, rng, -rel, rel),
        pad_k({c.heads, c.d}, {1, 0}, rng, -2, 2),
        pad_v({c.heads, c.d}, {2, 0}, rng, -2, 2),
        pad_q({c.heads, c.d}, {3, 0}, rng, -2, 2) {
    const auto part = [&](Index which) {
      return View<const float, 3>(buffer.in().data() + which * c.heads * c.d, {c.tokens(), c.heads, c.d}, {buffer.in().stride(0), c.d, 1});
    };
    qkv = {part(0), part(1), part(2)};
    if (c.rel) bias = {rel_h.in(), rel_w.in(), {}, rel_d.in()};
    if (c.pad) pad = {pad_k.in(), pad_v.in(), pad_q.in()};
  }
  void check(Sweep& sweep, const std::string& what, Layout out, Flop flop) const {
    const Tensor64 expected = oracle::attend(shape, exact(qkv.q), exact(qkv.k), exact(qkv.v), bias, pad);
    const Index n = shape.tokens(), heads = shape.heads, d = shape.d;
    sweep.check<2>(
        what, expected, flop, {{n, heads * d}, out}, [](const auto&) { return 0; },
        [&](auto& ctx, int, const View<float, 2>& y) {
          attend(ctx, shape, qkv, bias, pad, View<float, 3>(y.data(), {n, heads, d}, {y.stride(0), d, 1}));
        });
  }
};

void check(Sweep& sweep, const Case& c, Seed seed) {
  Rng rng(seed);
  Inputs(c, rng).check(sweep, c.text(), c.out, 4 * c.pairs() * double(c.heads * c.d));
}

struct RandomAttention {
  RandomNorm norm;
  RandomLinear qkv, proj;
  GuardBuffer<2> rel_d, rel_h, rel_w;
  AttentionParams p;
  RandomAttention(Rng& rng, const Case& k)
      : norm(rng, k.heads * k.d, 1e-6f),
        qkv(rng, 3 * k.heads * k.d, k.heads * k.d),
        proj(rng, k.heads * k.d, k.heads * k.d),
        rel_d({2 * k.window_d() - 1, k.d}, kInFile, rng, -0.5f, 0.5f),
        rel_h({2 * k.window_h() - 1, k.d}, kInFile, rng, -0.5f, 0.5f),
        rel_w({2 * k.window_w() - 1, k.d}, kInFile, rng, -0.5f, 0.5f) {
    p.norm = norm.p, p.qkv = qkv.p, p.proj = proj.p;
    if (k.rel) p.rel_pos_d = rel_d.in(), p.rel_pos_h = rel_h.in(), p.rel_pos_w = rel_w.in();
    p.heads = k.heads, p.window = k.window, p.planes = k.planes, p.name = "attn";
  }
};

void check_layer(Sweep& sweep, const Case& k, Seed seed) {
  Rng rng(seed);
  const Index c = k.heads * k.d;
  const RandomAttention w(rng, k);
  GuardBuffer<3> x({k.planes * k.h, k.w, c}, {}, rng);
  const std::array<Index, 3> extents{k.planes * k.h, k.w, c};
  const Tensor64 in = exact(x.in());
  const double n = double(k.tokens()), flop = 8 * n * double(c * c) + 4 * k.pairs() * double(c) + 8 * n * double(c);
  const auto pack_weights = [&](const auto& b) { return pack(b, w.p); };
  sweep.check<3>(k.text(), oracle::attention(in, w.p, nullptr).y, flop, {extents}, pack_weights,
                 [&](auto& ctx, const auto& p, const View<float, 3>& y) { attention(ctx, p, x.in(), y); });
  sweep.check<3>(k.text() + ", y is x and the residual", oracle::attention(in, w.p, &in).y, flop, {extents, {}, &x}, pack_weights,
                 [&](auto& ctx, const auto& p, const View<float, 3>& y) { attention(ctx, p, y, y, y); });
}

}  // namespace

TEST_CASE("attend on volumes: windows and grids around each other's edges") {
  Sweep sweep("attend, windows of volumes");
  std::uint64_t seed = 1;
  const std::pair<Index, Index> head_sizes[] = {{1, 16}, {2, 8}, {1, 33}, {3, 5}, {1, 64}};
  for (Index window : {1, 2, 3, 5})
    for (auto [p, h, w] : {std::array<Index, 3>{1, 1, 1}, {2, 3, 4}, {3, 3, 3}, {4, 5, 2}, {5, 4, 6}, {1, 6, 5}, {6, 1, 1}, {7, 5, 3}}) {
      const auto s = seed++;
      if (!kThorough && s % 5) continue;
      const auto [heads, d] = head_sizes[s % std::size(head_sizes)];
      check(sweep, {p, h, w, heads, d, window, s % 4 != 0, s % 3 != 0, kLayouts[s % std::size(kLayouts)], kLayouts[(s / 2) % std::size(kLayouts)]}, {s});
    }
  check(sweep, {5, 5, 5, 1, 8, 9}, {901});                // as SAM-Med3D: one window, a fifth of it tokens
  check(sweep, {2, 3, 2, 2, 64, 14}, {902});              // a crop of 32 voxels
  check(sweep, {3, 4, 5, 2, 8, 6, false}, {903});         // pads without position bias
  check(sweep, {9, 10, 11, 8, 4, 4, true, true}, {904});  // 27 windows of 8 heads: many work items
}

TEST_CASE("attend on volumes: global") {
  Sweep sweep("attend, whole volumes");
  for (auto [p, h, w] : {std::array<Index, 3>{1, 5, 7}, {2, 3, 4}, {4, 1, 3}, {3, 9, 11}})
    check(sweep, {p, h, w, 2, 16, 0, false}, {std::uint64_t(p * 100 + h)});
  for (Index n : {1, 2, 3, 5, 7, 8}) check(sweep, {n, n, n, 2, 16}, {std::uint64_t(n)});
}

TEST_CASE("attend on volumes: pads that dominate, scores far apart, NaN") {
  Sweep sweep("attend on volumes, hard");
  for (float size : {1e-3f, 6.0f, 30.0f}) {
    Rng rng(Seed{5});
    const Case c{3, 4, 5, 2, 16, 7};
    Inputs(c, rng, size).check(sweep, cat("positions up to ", size), {}, -1);  // the largest bias lies at a pad, or far above every pad
  }
  Rng rng(Seed{6});
  Inputs peaked({2, 4, 3, 2, 32, 6}, rng);
  peaked.buffer.each([](float& x) { x *= 12; });
  peaked.check(sweep, "peaked", {}, -1);
  for (Index window : {0, 3})
    for (int place = 0; place < 3; ++place) {
      Inputs in(window ? Case{4, 3, 2, 2, 16, window} : Case{3, 3, 3, 2, 16}, rng);
      const float nan = std::nanf("");
      if (place == 0) in.buffer.view()(11, 3) = nan;          // query: its own output, head 0
      if (place == 1) in.buffer.view()(20, 32 + 17) = nan;    // key: all queries of its window, head 1
      if (place == 2) in.buffer.view()(0, 2 * 32 + 4) = nan;  // value: one component of all queries of its window
      in.check(sweep, cat("NaN, place ", place, ", window ", window), {}, -1);
    }
}

TEST_CASE("attention on volumes: the whole layer") {
  Sweep sweep("attention on volumes");
  check_layer(sweep, {4, 5, 4, 1, 16, 9}, {1});
  check_layer(sweep, {2, 3, 4, 2, 16, 14}, {2});
  check_layer(sweep, {5, 4, 3, 3, 8, 3}, {3});
  check_layer(sweep, {7, 7, 7, 2, 12}, {4});  // more than one block of keys, in panels from the product
  check_layer(sweep, {2, 2, 2, 2, 32}, {5});
  check_layer(sweep, {3, 2, 4, 2, 8, 4, false}, {6});
}

TEST_CASE("attend and attention on volumes refuse extents that disagree, and are inert on a failed context") {
  Rng rng(Seed{1});
  const Inputs g({2, 3, 4, 2, 8, 3}, rng);
  const auto none = [](const auto&) { return 0; };
  const auto with = [](AttendShape s, QkvView q, AttendBias b) { return [=](auto& ctx, int, const View<float, 3>& y) { attend(ctx, s, q, b, {}, y); }; };
  const std::array<Index, 3> y{24, 2, 8};
  const auto changed = [](auto s, auto&& f) {
    f(s);
    return s;
  };
  check_refused<3>("planes", y, none, with(changed(g.shape, [](AttendShape& s) { s.planes = 3; }), g.qkv, g.bias));
  check_refused<3>("negative planes", y, none, with(changed(g.shape, [](AttendShape& s) { s.planes = -2, s.h = -3; }), g.qkv, g.bias));
  check_refused<3>("rel_d missing", y, none, with(g.shape, g.qkv, {g.bias.rel_h, g.bias.rel_w, {}, {}}));
  check_refused<3>("rel_d alone", y, none, with(g.shape, g.qkv, {{}, {}, {}, g.bias.rel_d}));
  check_refused<3>("rel_d of another size", y, none, with(g.shape, g.qkv, {g.bias.rel_h, g.bias.rel_w, {}, g.bias.rel_d.slice(0, 0, 3)}));
  const Inputs oblong({2, 3, 4, 2, 8}, rng);
  check_refused<3>("edges that differ", y, none, with(oblong.shape, oblong.qkv, oblong.bias));
  check_refused<3>("rel_d on a map", y, none, with(changed(g.shape, [](AttendShape& s) { s.h *= s.planes, s.planes = 0; }), g.qkv, {{}, {}, {}, g.bias.rel_d}));
  const Case wide{1, 1, 2, 1, 2, 65};
  const Inputs far(wide, rng);
  CHECK(!plan(Cpu{}, pool_of(1), [&](Context<Cpu>& ctx) { attend(ctx, far.shape, far.qkv, far.bias, {}, View<float, 3>(nullptr, {2, 1, 2})); }));
  check_refused<3>("a table", y, none, with(g.shape, g.qkv, {{}, {}, g.bias.rel_h.slice(0, 0, 2), {}}));
  check_inert<3>(y, none, with(g.shape, g.qkv, g.bias));
  const Case k{2, 3, 4, 2, 4, 3};
  RandomAttention w(rng, k), odd(rng, k);
  odd.p.planes = 4;
  GuardBuffer<3> x({6, 4, 8}, {}, rng);
  const auto packs = [](const RandomAttention& a) { return [&](const auto& b) { return pack(b, a.p); }; };
  const auto layer = [&](auto& ctx, const auto& p, const View<float, 3>& out) { attention(ctx, p, x.in(), out); };
  check_refused<3>("rows that are no multiple of the planes", {6, 4, 8}, packs(odd), layer);
  check_inert<3>({6, 4, 8}, packs(w), layer);
}
