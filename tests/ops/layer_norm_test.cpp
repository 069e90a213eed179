// layer_norm on every backend, against (x - E x) / sqrt(Var x + eps) * gamma + beta in double: widths, layouts, large means, constant rows, NaN, in place.
#include "support/for_each_backend.hpp"
#include "support/oracle/layers.hpp"
#include "support/random_layers.hpp"

using namespace sampan;
using namespace sampan::test;

TEST_CASE("layer_norm: widths, layouts, activations, in place") {
  Sweep sweep("layer_norm");
  std::uint64_t seed = 1;
  for (Index c : {1, 2, 3, 4, 7, 8, 9, 31, 32, 33, 80, 96, 257, 768})
    for (Activation a : {Activation::none, Activation::relu, Activation::gelu_erf}) {
      const auto s = seed++;
      Rng rng(Seed{s});
      const Layout lx = kLayouts[s % std::size(kLayouts)], ly = kLayouts[(s + 1) % std::size(kLayouts)];
      const Index n = s % 7 == 0 ? 0 : 1 + rng.below(40);
      RandomNorm w(rng, c, s % 2 ? 1e-6f : 1e-5f);
      GuardBuffer<2> x({n, c}, lx, rng);
      const Tensor64 expected = oracle::activation(oracle::layer_norm(exact(x.in()), w.p), a);
      const double flop = 8.0 * double(n * c);
      const std::string what = cat("[", n, ",", c, "]");
      auto pack_weights = [&](const auto& b) { return pack(b, w.p); };
      sweep.check<2>(what, expected, flop, {{n, c}, ly}, pack_weights, [&](auto& ctx, const auto& p, const View<float, 2>& y) { layer_norm(ctx, p, x.in(), y, a); });
      sweep.check<2>(what + " in place", expected, flop, {{n, c}, lx, &x}, pack_weights, [&](auto& ctx, const auto& p, const View<float, 2>& y) { layer_norm(ctx, p, y, y, a); });
    }
}

// E x^2 - (E x)^2 loses all digits here; two passes do not.
TEST_CASE("layer_norm: mean far larger than the spread, constant rows, tiny and huge rows") {
  Sweep sweep("layer_norm, hard rows");
  Rng rng(Seed{77});
  const Index c = 320;
  RandomNorm w(rng, c, 1e-6f);
  GuardBuffer<2> x({6, c}, {}, rng);
  for (Index j = 0; j < c; ++j) {
    x.view()(0, j) += 1000.0f;
    x.view()(1, j) = 1000.0f + x.view()(1, j) * 0.01f;
    x.view()(2, j) = 3.7f;
    x.view()(3, j) = 0;
    x.view()(4, j) *= 1e-6f;
    x.view()(5, j) *= 1e8f;
  }
  for (Index row = 0; row < 6; ++row) {  // one by one, so that the easy rows are not judged by the error of the hard ones
    const View<const float, 2> one = x.in().slice(0, row, 1);
    sweep.check<2>(cat("row ", row), oracle::layer_norm(exact(one), w.p), -1, {{1, c}}, [&](const auto& b) { return pack(b, w.p); },
                   [&](auto& ctx, const auto& p, const View<float, 2>& y) { layer_norm(ctx, p, one, y); });
  }
}

TEST_CASE("layer_norm: a NaN fills its row and no other") {
  Rng rng(Seed{5});
  RandomNorm w(rng, 35, 1e-6f);
  GuardBuffer<2> x({4, 35}, {}, rng);
  x.view()(1, 34) = std::nanf(""), x.view()(2, 0) = std::numeric_limits<float>::infinity();
  Sweep sweep("layer_norm, NaN");
  sweep.check<2>("NaN and infinity", oracle::layer_norm(exact(x.in()), w.p), -1, {{4, 35}}, [&](const auto& b) { return pack(b, w.p); },
                 [&](auto& ctx, const auto& p, const View<float, 2>& y) { layer_norm(ctx, p, x.in(), y); });
}

TEST_CASE("layer_norm refuses extents that disagree, and is inert on a failed context") {
  Rng rng(Seed{1});
  RandomNorm w(rng, 4, 1e-5f);
  GuardBuffer<2> x({3, 4}, {}, rng), wide({3, 5}, {}, rng);
  auto pack_weights = [&](const auto& b) { return pack(b, w.p); };
  check_refused<2>("rows", {2, 4}, pack_weights, [&](auto& ctx, const auto& p, const View<float, 2>& y) { layer_norm(ctx, p, x.in(), y); });
  check_refused<2>("width of the weights", {3, 5}, pack_weights, [&](auto& ctx, const auto& p, const View<float, 2>& y) { layer_norm(ctx, p, wide.in(), y); });
  check_inert<2>({3, 4}, pack_weights, [&](auto& ctx, const auto& p, const View<float, 2>& y) { layer_norm(ctx, p, x.in(), y, Activation::relu); });
}
