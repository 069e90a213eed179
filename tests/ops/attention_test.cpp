// attention, the whole layer, on every backend against its published form in double (identity 1 and TinyViT's pad key of kernels 0.1 and 0.6 are tested here):
//   SAM       norm, pad with zeros, partition, qkv, attend with relative positions, proj, unpartition, crop, + residual
//   TinyViT   pad raw tokens, partition, norm, qkv per head, attend with the bias table, proj, unpartition, crop, + residual
#include "support/for_each_backend.hpp"
#include "support/oracle/attention.hpp"
#include "support/random_layers.hpp"

using namespace sampan;
using namespace sampan::test;

namespace {

struct Case {
  Index h, w, heads, d, window = 0;
  Index c = 0;                     // 0: heads * d
  bool tiny_vit = false;           // its pad rule, layout and table; else SAM's
  bool norm = true, bias = true;   // bias: relative positions or table
  bool qkv_bias = true, proj_bias = true;
  Layout x = {}, y = {};
};

struct RandomAttention {
  RandomNorm norm;
  RandomLinear qkv, proj;
  GuardBuffer<2> rel_h, rel_w, table;
  AttentionParams p;
  RandomAttention(Rng& rng, const Case& k, Index c)
      : norm(rng, c, k.tiny_vit ? 1e-5f : 1e-6f), qkv(rng, 3 * k.heads * k.d, c, k.qkv_bias), proj(rng, c, k.heads * k.d, k.proj_bias),
        rel_h({2 * (k.window ? k.window : k.h) - 1, k.d}, kInFile, rng, -0.5f, 0.5f), rel_w({2 * (k.window ? k.window : k.w) - 1, k.d}, kInFile, rng, -0.5f, 0.5f),
        table({k.heads, k.window ? k.window * k.window : k.h * k.w}, kInFile, rng) {
    if (k.norm) p.norm = norm.p;
    p.qkv = qkv.p, p.proj = proj.p;
    if (k.bias && !k.tiny_vit) p.rel_pos_h = rel_h.in(), p.rel_pos_w = rel_w.in();
    if (k.bias && k.tiny_vit) p.bias_table = table.in();
    p.heads = k.heads, p.window = k.window, p.name = "attn";
    if (k.tiny_vit) p.layout = QkvLayout::per_head, p.pad_rule = PadRule::before_norm;
  }
};

double flop_of(const Case& k, Index c) {
  double pairs = 0;
  const Index win_h = k.window ? k.window : k.h, win_w = k.window ? k.window : k.w;
  for (Index y = 0; y < k.h; ++y)
    for (Index x = 0; x < k.w; ++x) pairs += double(std::min(win_h, k.h - y / win_h * win_h) * std::min(win_w, k.w - x / win_w * win_w));
  const double n = double(k.h * k.w), inner = double(k.heads * k.d);
  return 8 * n * double(c) * inner + 4 * pairs * inner + (k.norm ? 8 * n * double(c) : 0);
}

void check(Sweep& sweep, const Case& k, Seed seed) {
  Rng rng(seed);
  const Index c = k.c ? k.c : k.heads * k.d;
  const RandomAttention w(rng, k, c);
  GuardBuffer<3> x({k.h, k.w, c}, k.x, rng), residual({k.h, k.w, c}, k.y, rng);
  const Tensor64 in = exact(x.in()), r = exact(residual.in());
  const std::array<Index, 3> extents{k.h, k.w, c};
  const std::string what = cat(k.tiny_vit ? "TinyViT " : "SAM ", k.h, "x", k.w, ", window ", k.window, ", ", k.heads, " heads of ", k.d, ", c ", c, k.norm ? "" : ", no norm", k.qkv_bias ? "" : ", no qkv bias", k.proj_bias ? "" : ", no proj bias", k.bias ? "" : ", no position bias");
  auto pack_weights = [&](const auto& b) { return pack(b, w.p); };
  sweep.check<3>(what, oracle::attention(in, w.p, nullptr).y, flop_of(k, c), {extents, k.y}, pack_weights, [&](auto& ctx, const auto& p, const View<float, 3>& y) { attention(ctx, p, x.in(), y); });
  const Tensor64 with_residual = oracle::add(oracle::attention(in, w.p, nullptr).proj, r);
  sweep.check<3>(what + ", residual", with_residual, flop_of(k, c), {extents, k.y}, pack_weights, [&](auto& ctx, const auto& p, const View<float, 3>& y) { attention(ctx, p, x.in(), y, residual.in()); });
  sweep.check<3>(what + ", y is the residual", with_residual, flop_of(k, c), {extents, k.y, &residual}, pack_weights, [&](auto& ctx, const auto& p, const View<float, 3>& y) { attention(ctx, p, x.in(), y, y); });
  sweep.check<3>(what + ", y is x and the residual", oracle::attention(r, w.p, &r).y, flop_of(k, c), {extents, k.y, &residual}, pack_weights, [&](auto& ctx, const auto& p, const View<float, 3>& y) { attention(ctx, p, y, y, y); });
}

// Maps of the network are contiguous over rows; a gap after each pixel is the only stride that layers see.
Case varied(Case k, std::uint64_t s) {
  k.tiny_vit = s % 2 == 0, k.norm = s % 5 != 0, k.bias = s % 7 != 0, k.qkv_bias = s % 3 != 0, k.proj_bias = s % 4 != 0;
  k.x = kLayouts[s % std::size(kLayouts)], k.y = kLayouts[(s / 2) % std::size(kLayouts)];
  return k;
}

}  // namespace

TEST_CASE("attention: grids around the window edges, both pad rules, with and without biases") {
  Sweep sweep("attention, windows");
  std::uint64_t seed = 1;
  const std::pair<Index, Index> head_sizes[] = {{2, 16}, {1, 32}, {3, 14}, {1, 64}, {2, 8}};
  for (Index window : {7, 14, 3})
    for (auto [h, w] : {std::pair<Index, Index>{1, 1}, {6, 8}, {7, 7}, {13, 14}, {14, 14}, {15, 13}, {16, 20}})
      for (int repeat = 0; repeat < 2; ++repeat) {
        const auto s = seed++;
        if (!kThorough && s % 9) continue;
        const auto [heads, d] = head_sizes[s % std::size(head_sizes)];
        check(sweep, varied({.h = h, .w = w, .heads = heads, .d = d, .window = window}, s), {s});
      }
  check(sweep, {.h = 15, .w = 16, .heads = 2, .d = 64, .window = 14}, {901});
  check(sweep, {.h = 15, .w = 14, .heads = 1, .d = 80, .window = 14}, {902});
  check(sweep, {.h = 16, .w = 15, .heads = 2, .d = 32, .window = 7, .tiny_vit = true}, {903});
  check(sweep, {.h = 15, .w = 15, .heads = 2, .d = 32, .window = 14, .tiny_vit = true}, {904});
  // Eight windows and more go one by one through the whole layer (cpu/self_attention.hpp), alone or in groups of two and seven.
  check(sweep, {.h = 16, .w = 22, .heads = 2, .d = 16, .window = 7, .tiny_vit = true}, {905});
  check(sweep, {.h = 29, .w = 29, .heads = 1, .d = 16, .window = 7, .tiny_vit = true, .x = kLayouts[1], .y = kLayouts[2]}, {906});
  check(sweep, {.h = 20, .w = 22, .heads = 2, .d = 7, .window = 3, .c = 11}, {907});
  check(sweep, {.h = 30, .w = 44, .heads = 1, .d = 8, .window = 14, .qkv_bias = false}, {908});
}

TEST_CASE("attention: global") {
  Sweep sweep("attention, global");
  std::uint64_t seed = 1;
  const std::pair<Index, Index> head_sizes[] = {{2, 16}, {1, 32}, {3, 14}, {1, 80}};
  for (auto [h, w] : {std::pair<Index, Index>{1, 1}, {3, 7}, {8, 8}, {9, 5}, {14, 15}})
    for (int repeat = 0; repeat < 2; ++repeat) {
      const auto s = seed++;
      if (!kThorough && s % 5) continue;
      const auto [heads, d] = head_sizes[s % std::size(head_sizes)];
      check(sweep, varied({.h = h, .w = w, .heads = heads, .d = d}, s), {s});
    }
  check(sweep, {.h = 6, .w = 7, .heads = 2, .d = 12, .c = 40}, {901});  // the inner width may differ from c
  check(sweep, {.h = 16, .w = 16, .heads = 2, .d = 64}, {902});
  check(sweep, {.h = 17, .w = 19, .heads = 3, .d = 20}, {903});  // more than one block of keys, and a fringe of 67
}

TEST_CASE("attention: NaN stays in its window") {
  Sweep sweep("attention, NaN");
  for (bool tiny_vit : {false, true}) {
    const Case k{.h = 9, .w = 8, .heads = 2, .d = 8, .window = 7, .tiny_vit = tiny_vit};
    Rng rng(Seed{3});
    const RandomAttention w(rng, k, 16);
    GuardBuffer<3> x({9, 8, 16}, {}, rng);
    x.view()(8, 2, 5) = std::nanf("");
    sweep.check<3>(tiny_vit ? "TinyViT" : "SAM", oracle::attention(exact(x.in()), w.p, nullptr).y, -1, {{9, 8, 16}}, [&](const auto& b) { return pack(b, w.p); },
                   [&](auto& ctx, const auto& p, const View<float, 3>& y) { attention(ctx, p, x.in(), y); });
  }
}

TEST_CASE("attention refuses extents that disagree, and is inert on a failed context") {
  Rng rng(Seed{1});
  const Case k{.h = 5, .w = 6, .heads = 2, .d = 4, .window = 3};
  const RandomAttention w(rng, k, 8);
  RandomAttention odd(rng, k, 8), none(rng, k, 8), table(rng, k, 8);
  odd.p.heads = 5, none.p.heads = 0, table.p.window = 4;
  GuardBuffer<3> x({5, 6, 8}, {}, rng), wide({5, 6, 9}, {}, rng), low({4, 6, 8}, {}, rng);
  auto packs = [](const RandomAttention& a) { return [&](const auto& b) { return pack(b, a.p); }; };
  auto with = [](View<const float, 3> in, View<const float, 3> residual = {}) { return [=](auto& ctx, const auto& p, const View<float, 3>& y) { attention(ctx, p, in, y, residual); }; };
  check_refused<3>("y", {5, 7, 8}, packs(w), with(x.in()));
  check_refused<3>("width", {5, 6, 9}, packs(w), with(wide.in()));
  check_refused<3>("residual", {5, 6, 8}, packs(w), with(x.in(), low.in()));
  check_refused<3>("heads that do not divide", {5, 6, 8}, packs(odd), with(x.in()));
  check_refused<3>("no heads", {5, 6, 8}, packs(none), with(x.in()));
  check_refused<3>("relative positions of another window", {5, 6, 8}, packs(table), with(x.in()));
  GuardBuffer<3> lines({5, 6, 8}, {0, 0, false, 4}, rng);
  check_refused<3>("lines with gaps", {5, 6, 8}, packs(w), with(lines.in()));
  check_refused<3>("residual lines with gaps", {5, 6, 8}, packs(w), with(x.in(), lines.in()));
  check_inert<3>({5, 6, 8}, packs(w), with(x.in()));
  check_inert<3>({5, 6, 8}, packs(w), with(x.in(), x.in()));
  RandomAttention global(rng, {.h = 5, .w = 6, .heads = 2, .d = 4}, 8);  // its keys leave the product as panels
  check_inert<3>({5, 6, 8}, packs(global), with(x.in()));
}

#if defined(SAMPAN_TEST_CUDA)
TEST_CASE("attend and attention refuse volumes on Cuda, with a word on where they run") {
  Rng rng(Seed{1});
  RandomAttention w(rng, {.h = 2, .w = 3, .heads = 2, .d = 4, .bias = false}, 8);
  w.p.planes = 2;
  GuardBuffer<3> x({4, 3, 8}, {}, rng), y({4, 3, 8});
  const auto p = pack(cuda_backend(), w.p);
  const Outcome layer = run(cuda_backend(), pool_of(1), [&](Context<Cuda>& ctx) { attention(ctx, p, x.in(), y.view()); });
  const View<const float, 3> rows(x.in().data(), {12, 2, 4});
  const Outcome core = run(cuda_backend(), pool_of(1), [&](Context<Cuda>& ctx) { attend(ctx, {2, 3, 2, 4, 0, 0.5f, 2}, {rows, rows, rows}, {}, {}, View<float, 3>(y.view().data(), {12, 2, 4})); });
  for (const Outcome* o : {&layer, &core}) {
    REQUIRE(!o->status);
    CHECK(o->status.error().code() == ErrorCode::unsupported);
    CHECK(o->status.error().message().find("volumes") != std::string::npos);
  }
  CHECK(y.untouched());
}
#endif
