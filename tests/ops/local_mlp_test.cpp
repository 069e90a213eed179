// local_mlp: m = depthwise(x), y = m + lin2(act(lin1(norm(m)))) on every backend, against the formula in double; maps around a block of rows and around an item,
// and the bits of its two ops apart.
#include "support/for_each_backend.hpp"
#include "support/oracle/conv.hpp"
#include "support/oracle/layers.hpp"
#include "support/random_layers.hpp"

#include <cstring>

using namespace sampan;
using namespace sampan::test;

namespace {

struct RandomLocalMlp {
  RandomConv local;
  RandomNorm norm;
  RandomLinear lin1, lin2;
  MlpParams p;
  RandomLocalMlp(Rng& rng, Index c, Index hidden) : local(rng, {c, 1, 3, 3}, {1, 1, false, true}), norm(rng, c, 1e-5f), lin1(rng, hidden, c), lin2(rng, c, hidden), p{norm.p, lin1.p, lin2.p, Activation::gelu_erf, "mlp"} {}
  Tensor64 expected(const Tensor64& x) const {
    const Tensor64 map = oracle::conv2d(x, local.p, Activation::none, true), m = map.shaped(map.e[0] * map.e[1], map.e[2]);
    return oracle::linear(oracle::linear(m, p.lin1, p.norm, p.activation), p.lin2, {}, Activation::none, &m).shaped(map.e[0], map.e[1], map.e[2]);
  }
  template <class B>
  auto packed(const B& b) const { return std::pair(pack_depthwise(b, local.p), pack(b, p)); }
};

void check(Sweep& sweep, Index h, Index w, Index c, Index hidden, const Layout& lx, Seed seed) {
  Rng rng(seed);
  RandomLocalMlp layers(rng, c, hidden);
  GuardBuffer<3> x({h, w, c}, lx, rng);
  const double pixels = double(h * w);
  sweep.check<3>(cat("[", h, ",", w, ",", c, "] hidden ", hidden), layers.expected(exact(x.in())), pixels * double(c) * (18 + 4 * double(hidden) + 8), {{h, w, c}}, [&](const auto& b) { return layers.packed(b); },
                 [&](auto& ctx, const auto& p, const View<float, 3>& y) { local_mlp(ctx, p.first, p.second, x.in(), y); });
}

}  // namespace

TEST_CASE("local_mlp: few rows, and maps around a block of rows and an item of three lines") {
  Sweep sweep("local_mlp");
  std::uint64_t seed = 1;
  for (auto [h, w] : {std::pair<Index, Index>{1, 1}, {3, 5}, {14, 48}, {15, 48}, {29, 24}, {11, 66}, {6, 130}, {700, 1}, {2, 350}})
    for (auto [c, hidden] : {std::pair<Index, Index>{8, 31}, {20, 40}, {33, 70}}) {
      const auto s = seed++;
      if (!kThorough && s % 2) continue;
      check(sweep, h, w, c, hidden, kMapLayouts[s % std::size(kMapLayouts)], {s});
    }
}

TEST_CASE("local_mlp: the bits of a depthwise convolution and an mlp, in every precision and for several threads") {
  Rng rng(Seed{5});
  RandomLocalMlp layers(rng, 48, 96);
  GuardBuffer<3> x({40, 33, 48}, {}, rng), mixed({40, 33, 48}, {}, rng), apart({40, 33, 48}, {}, rng), fused({40, 33, 48}, {}, rng);
  for (Cpu b : f32_levels())
    for (const Precision precision : {Precision::f32, Precision::fast})
      for (int threads : {1, 3}) {
        b.precision = precision;
        INFO(isa_name(b.isa), " ", precision_name(precision), ", threads: ", threads);
        const auto p = layers.packed(b);
        REQUIRE(run(b, pool_of(threads), [&](Context<Cpu>& ctx) {
                  depthwise_conv(ctx, p.first, x.in(), mixed.view());
                  mlp(ctx, p.second, tokens(mixed.in()), tokens(apart.view()), tokens(mixed.in()));
                }).status);
        fused.poison();
        REQUIRE(run(b, pool_of(threads), [&](Context<Cpu>& ctx) { local_mlp(ctx, p.first, p.second, x.in(), fused.view()); }).status);
        CHECK(std::memcmp(apart.view().data(), fused.view().data(), std::size_t(apart.view().size()) * sizeof(float)) == 0);
      }
}

TEST_CASE("local_mlp: NaN reaches the pixels of its 3x3 window and no other") {
  Rng rng(Seed{3});
  RandomLocalMlp layers(rng, 9, 20);
  GuardBuffer<3> x({30, 25, 9}, {}, rng);
  x.view()(8, 3, 2) = std::nanf("");
  Sweep sweep("local_mlp, NaN");
  sweep.check<3>("NaN", layers.expected(exact(x.in())), -1, {{30, 25, 9}}, [&](const auto& b) { return layers.packed(b); },
                 [&](auto& ctx, const auto& p, const View<float, 3>& y) { local_mlp(ctx, p.first, p.second, x.in(), y); });
}

TEST_CASE("local_mlp refuses extents that disagree, and is inert on a failed context") {
  Rng rng(Seed{1});
  RandomLocalMlp layers(rng, 4, 6);
  GuardBuffer<3> x({30, 25, 4}, {}, rng), wide({30, 25, 5}, {}, rng);
  auto packs = [&](const auto& b) { return layers.packed(b); };
  auto with = [&](const GuardBuffer<3>& in) { return [&](auto& ctx, const auto& p, const View<float, 3>& y) { local_mlp(ctx, p.first, p.second, in.in(), y); }; };
  check_refused<3>("channels of x", {30, 25, 4}, packs, with(wide));
  check_refused<3>("channels of y", {30, 25, 5}, packs, with(x));
  check_refused<3>("lines of y", {29, 25, 4}, packs, with(x));
  check_inert<3>({30, 25, 4}, packs, with(x));
}
