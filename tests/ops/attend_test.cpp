// attend, the core of self-attention, on every backend against pad, partition, attend, unpartition in double: global and windowed, SAM's relative positions,
// TinyViT's bias table, pad tokens, both qkv layouts, grids and head sizes around every boundary, strided outputs, NaN.
#include "support/for_each_backend.hpp"
#include "support/oracle/attention.hpp"

using namespace sampan;
using namespace sampan::test;

namespace {

enum class Bias { none, rel_pos, table };

struct Case {
  Index h, w, heads, d, window = 0;
  Bias bias = Bias::none;
  bool pad = false, per_head = false;
  Layout qkv = {}, out = {};
};

/// Random inputs of a case, with their views.
struct Inputs {
  AttendShape shape;
  GuardBuffer<2> buffer, rel_h, rel_w, table, pad_k, pad_v;
  QkvView qkv;
  AttendBias bias;
  PadToken pad;
  Inputs(const Case& c, Rng& rng)
      : shape{c.h, c.w, c.heads, c.d, c.window, 1 / std::sqrt(float(c.d))}, buffer({c.h * c.w, 3 * c.heads * c.d}, c.qkv, rng, -2, 2),
        rel_h({2 * (c.window ? c.window : c.h) - 1, c.d}, {1, 0}, rng, -0.5f, 0.5f), rel_w({2 * (c.window ? c.window : c.w) - 1, c.d}, {3, 0}, rng, -0.5f, 0.5f),
        table({c.heads, (c.window ? c.window * c.window : c.h * c.w)}, {1, 0}, rng), pad_k({c.heads, c.d}, {1, 0}, rng, -2, 2), pad_v({c.heads, c.d}, {2, 0}, rng, -2, 2) {
    const Index n = c.h * c.w, inner = c.heads * c.d;
    auto part = [&](Index which) {  // split: [q | k | v], each head after head; per head: q k v of head 0, q k v of head 1, ...
      const Index first = c.per_head ? which * c.d : which * inner, between = c.per_head ? 3 * c.d : c.d;
      return View<const float, 3>(buffer.in().data() + first, {n, c.heads, c.d}, {buffer.in().stride(0), between, 1});
    };
    qkv = {part(0), part(1), part(2)};
    if (c.bias == Bias::rel_pos) bias.rel_h = rel_h.in(), bias.rel_w = rel_w.in();
    if (c.bias == Bias::table) bias.table = table.in();
    if (c.pad) pad = {pad_k.in(), pad_v.in()};
  }
  void check(Sweep& sweep, const std::string& what, Layout out, double flop) const {
    const Tensor64 expected = oracle::attend(shape, exact(qkv.q), exact(qkv.k), exact(qkv.v), bias, pad);
    const Index n = shape.h * shape.w, heads = shape.heads, d = shape.d;
    sweep.check<2>(what, expected, flop, {{n, heads * d}, out}, [](const auto&) { return 0; },
                   [&](auto& ctx, int, const View<float, 2>& y) { attend(ctx, shape, qkv, bias, pad, View<float, 3>(y.data(), {n, heads, d}, {y.stride(0), d, 1})); });
  }
};

/// 4 FLOP per real query-key pair and component, counted one by one.
double flop_of(const Case& c) {
  double pairs = 0;
  for (Index y = 0; y < c.h; ++y)
    for (Index x = 0; x < c.w; ++x) {
      const Index rows = c.window ? std::min(c.window, c.h - y / c.window * c.window) : c.h, columns = c.window ? std::min(c.window, c.w - x / c.window * c.window) : c.w;
      pairs += double(rows * columns);
    }
  return 4 * pairs * double(c.heads * c.d);
}

void check(Sweep& sweep, const Case& c, Seed seed) {
  Rng rng(seed);
  const Inputs in(c, rng);
  in.check(sweep, cat(c.h, "x", c.w, ", window ", c.window, ", ", c.heads, " heads of ", c.d, c.bias == Bias::rel_pos ? ", rel pos" : c.bias == Bias::table ? ", table" : "", c.pad ? ", pad" : "", c.per_head ? ", per head" : ""), c.out, flop_of(c));
}

Case varied(Case c, std::uint64_t s) {
  c.bias = Bias(s % 3), c.pad = s % 4 != 0, c.per_head = s % 2 == 0;
  c.qkv = kLayouts[s % std::size(kLayouts)], c.out = kLayouts[(s / 2) % std::size(kLayouts)];
  return c;
}

}  // namespace

TEST_CASE("attend: windows of 7 and 14 on grids around their edges, head sizes") {
  Sweep sweep("attend, windows");
  std::uint64_t seed = 1;
  const std::pair<Index, Index> head_sizes[] = {{1, 64}, {3, 16}, {2, 32}, {1, 80}, {2, 14}, {1, 1}, {3, 33}, {2, 8}};
  for (Index window : {7, 14, 1, 3})
    for (auto [h, w] : {std::pair<Index, Index>{1, 1}, {1, 15}, {6, 8}, {7, 7}, {13, 14}, {14, 13}, {14, 14}, {15, 15}, {16, 3}, {20, 28}, {28, 15}})
      for (int repeat = 0; repeat < 3; ++repeat) {
        const auto s = seed++;
        if (!kThorough && s % 9) continue;
        const auto [heads, d] = head_sizes[s % std::size(head_sizes)];
        check(sweep, varied({.h = h, .w = w, .heads = heads, .d = d, .window = window}, s * 7 + std::uint64_t(repeat)), {s});
      }
  for (Index heads : {3, 4, 5})  // 60, 80, 100 pairs of window and head: few and many work items
    check(sweep, {.h = 26, .w = 33, .heads = heads, .d = 4, .window = 7, .bias = Bias::table, .pad = true}, {std::uint64_t(heads)});
  check(sweep, {.h = 15, .w = 29, .heads = 2, .d = 64, .window = 14, .bias = Bias::rel_pos, .pad = true}, {901});                      // SAM-B
  check(sweep, {.h = 15, .w = 29, .heads = 2, .d = 80, .window = 14, .bias = Bias::rel_pos, .pad = true}, {902});                      // SAM-H
  check(sweep, {.h = 16, .w = 15, .heads = 4, .d = 32, .window = 14, .bias = Bias::table, .pad = true, .per_head = true}, {903});      // TinyViT
  check(sweep, {.h = 15, .w = 16, .heads = 5, .d = 32, .window = 7, .bias = Bias::table, .pad = true, .per_head = true}, {904});
}

TEST_CASE("attend: global, square and oblong grids, head sizes") {
  Sweep sweep("attend, global");
  std::uint64_t seed = 1;
  const std::pair<Index, Index> head_sizes[] = {{2, 64}, {1, 80}, {3, 16}, {2, 32}, {2, 14}, {1, 33}};
  for (auto [h, w] : {std::pair<Index, Index>{1, 1}, {1, 9}, {9, 1}, {2, 3}, {7, 9}, {8, 8}, {13, 5}, {14, 14}, {15, 17}})
    for (int repeat = 0; repeat < 3; ++repeat) {
      const auto s = seed++;
      if (!kThorough && s % 5) continue;
      const auto [heads, d] = head_sizes[s % std::size(head_sizes)];
      check(sweep, varied({.h = h, .w = w, .heads = heads, .d = d}, s * 5 + std::uint64_t(repeat)), {s});
    }
  for (auto [h, w] : {std::pair<Index, Index>{15, 17}, {16, 16}, {1, 257}, {19, 27}})  // around one and two blocks of 256 keys
    check(sweep, {.h = h, .w = w, .heads = 2, .d = 8, .bias = h == 16 ? Bias::table : Bias::rel_pos}, {std::uint64_t(h)});
  for (Index n : {95, 96, 97, 191, 193}) check(sweep, {.h = 1, .w = n, .heads = 1, .d = 9}, {std::uint64_t(n)});  // around blocks of queries
  check(sweep, {.h = 20, .w = 28, .heads = 1, .d = 64, .bias = Bias::rel_pos}, {901});
  if (kThorough) check(sweep, {.h = 28, .w = 33, .heads = 2, .d = 16, .bias = Bias::rel_pos, .qkv = {1, 3}, .out = {1, 1}}, {902});
}

TEST_CASE("attend: pads that dominate, pads that vanish, scores far apart, shifted keys") {
  Sweep sweep("attend, hard");
  for (Bias bias : {Bias::rel_pos, Bias::table})
    for (float size : {30.0f, 1e-3f}) {
      const Case c{.h = 9, .w = 15, .heads = 2, .d = 32, .window = 7, .bias = bias, .pad = true};
      Rng rng(Seed{5});
      Inputs in(c, rng);
      in.pad_k.each([&](float& x) { x *= size; });
      in.check(sweep, cat("pad keys times ", size), {}, -1);
    }
  for (Bias bias : {Bias::none, Bias::rel_pos, Bias::table}) {
    Rng rng(Seed{6});
    Inputs in({.h = 8, .w = 9, .heads = 2, .d = 32, .window = 7, .bias = bias, .pad = true}, rng);
    in.buffer.each([](float& x) { x *= 12; });  // softmax is a maximum, exp underflows for the rest
    in.check(sweep, "peaked", {}, -1);
  }
  Rng rng(Seed{7});  // a constant in all keys and values, pads included: what a large bias of the qkv layer gives; scores shift by a constant per query
  Inputs in({.h = 9, .w = 8, .heads = 1, .d = 16, .window = 7, .bias = Bias::rel_pos, .pad = true}, rng);
  for (Index t = 0; t < 72; ++t)
    for (Index e = 16; e < 48; ++e) in.buffer.view()(t, e) += 20.0f;
  in.pad_k.each([](float& x) { x = 20; });
  in.pad_v.each([](float& x) { x = 20; });
  in.check(sweep, "shifted keys and values", {}, -1);
}

TEST_CASE("attend: NaN goes where PyTorch puts it") {
  Sweep sweep("attend, NaN");
  for (Bias bias : {Bias::none, Bias::rel_pos, Bias::table})
    for (Index window : {0, 7})
      for (int place = 0; place < 4; ++place) {
        Rng rng(Seed{8});
        const Index inner = 2 * 16;
        // A NaN pad token may reach every window (identity 1 subtracts it from all keys and values; weights that are NaN are refused at load): one window then.
        const bool pads = place == 3 && window > 0;
        Inputs in({.h = pads ? 6 : 8, .w = pads ? 5 : 9, .heads = 2, .d = 16, .window = window, .bias = bias, .pad = true}, rng);
        const float nan = std::nanf("");
        if (place == 0) in.buffer.view()(11, 3) = nan;               // query: its own output, head 0
        if (place == 1) in.buffer.view()(70, inner + 17) = nan;      // key: all queries of its window, head 1
        if (place == 2) in.buffer.view()(0, 2 * inner + 4) = nan;    // value: one component of all queries of its window
        if (place == 3) in.pad_v.view()(1, 5) = nan;                 // pad: one component, unless nothing is missing
        in.check(sweep, cat("place ", place, ", window ", window), {}, -1);
      }
}

TEST_CASE("attend refuses extents that disagree, and is inert on a failed context") {
  Rng rng(Seed{1});
  const Case global{.h = 3, .w = 4, .heads = 2, .d = 8, .bias = Bias::rel_pos}, windowed{.h = 3, .w = 4, .heads = 2, .d = 8, .window = 2, .bias = Bias::table, .pad = true};
  const Inputs g(global, rng), t(windowed, rng);
  GuardBuffer<2> other({5, 7}, {}, rng);
  auto none = [](const auto&) { return 0; };
  auto with = [](AttendShape s, QkvView q, AttendBias b, PadToken p) { return [=](auto& ctx, int, const View<float, 3>& y) { attend(ctx, s, q, b, p, y); }; };
  const std::array<Index, 3> y{12, 2, 8};
  auto changed = [](auto s, auto&& f) {
    f(s);
    return s;
  };
  check_refused<3>("no rows", y, none, with(changed(g.shape, [](AttendShape& s) { s.h = 0; }), g.qkv, g.bias, {}));
  check_refused<3>("negative width", y, none, with(changed(g.shape, [](AttendShape& s) { s.w = -4, s.h = -3; }), g.qkv, g.bias, {}));
  check_refused<3>("negative window", y, none, with(changed(g.shape, [](AttendShape& s) { s.window = -1; }), g.qkv, {}, {}));
  check_refused<3>("heads", y, none, with(changed(g.shape, [](AttendShape& s) { s.heads = 4, s.d = 4; }), g.qkv, {}, {}));
  check_refused<3>("grid", y, none, with(changed(g.shape, [](AttendShape& s) { s.h = 4; }), g.qkv, {}, {}));
  check_refused<3>("tokens of v", y, none, with(g.shape, changed(g.qkv, [](QkvView& q) { q.v = q.v.slice(0, 0, 11); }), g.bias, {}));
  check_refused<3>("out", {11, 2, 8}, none, with(g.shape, g.qkv, g.bias, {}));
  check_refused<3>("rel_h alone", y, none, with(g.shape, g.qkv, {g.bias.rel_h, {}, {}}, {}));
  check_refused<3>("rel_w alone", y, none, with(g.shape, g.qkv, {{}, g.bias.rel_w, {}}, {}));
  check_refused<3>("rel_h and rel_w swapped", y, none, with(g.shape, g.qkv, {g.bias.rel_w, g.bias.rel_h, {}}, {}));
  check_refused<3>("rel_h of another head size", y, none, with(g.shape, g.qkv, {other.in(), g.bias.rel_w, {}}, {}));
  check_refused<3>("rel_h of the grid in windows", y, none, with(t.shape, t.qkv, g.bias, t.pad));
  check_refused<3>("table and rel_h", y, none, with(g.shape, g.qkv, {g.bias.rel_h, g.bias.rel_w, t.bias.table}, {}));
  check_refused<3>("table of another window", y, none, with(g.shape, g.qkv, {{}, {}, t.bias.table}, {}));
  check_refused<3>("pad of another shape", y, none, with(t.shape, t.qkv, t.bias, {other.in(), other.in()}));
  check_refused<3>("pad key without value", y, none, with(t.shape, t.qkv, t.bias, {t.pad.k, {}}));
  check_inert<3>(y, none, with(g.shape, g.qkv, g.bias, {}));
  check_inert<3>(y, none, with(t.shape, t.qkv, t.bias, t.pad));
}
