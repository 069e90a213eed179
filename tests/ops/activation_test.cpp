// activate: ReLU and the exact (erf) GELU on every backend: against the formula in double over all magnitudes, NaN, in place, strided.
#include "support/for_each_backend.hpp"
#include "support/oracle/layers.hpp"

using namespace sampan;
using namespace sampan::test;

namespace {
constexpr Activation kAll[] = {Activation::none, Activation::relu, Activation::gelu_erf, Activation::gelu_tanh};
auto no_weights = [](const auto&) { return 0; };
}  // namespace

TEST_CASE("activate: widths, layouts, in place") {
  Sweep sweep("activate");
  std::uint64_t seed = 1;
  for (Index c : {1, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 257})
    for (Activation a : kAll) {
      const auto s = seed++;
      Rng rng(Seed{s});
      const Layout lx = kLayouts[s % std::size(kLayouts)], ly = kLayouts[(s + 2) % std::size(kLayouts)];
      GuardBuffer<2> x({1 + rng.below(9), c}, lx, rng, -6, 6);
      const auto extents = x.in().extents();
      const Tensor64 expected = oracle::activation(exact(x.in()), a);
      const double flop = double(x.in().size());
      sweep.check<2>(cat("width ", c), expected, flop, {extents, ly}, no_weights, [&](auto& ctx, int, const View<float, 2>& y) { activate(ctx, a, x.in(), y); });
      sweep.check<2>(cat("width ", c, " in place"), expected, flop, {extents, lx, &x}, no_weights, [&](auto& ctx, int, const View<float, 2>& y) { activate(ctx, a, y, y); });
    }
}

TEST_CASE("activate: every magnitude, both signs; GELU within 5e-7 where it bends, within its bound elsewhere") {
  std::vector<float> points;
  for (float x = -12; x <= 12; x += 1.0f / 512) points.push_back(x);
  for (int e = -140; e <= 120; ++e)
    for (float m : {1.0f, 1.3f, -1.0f, -1.7f}) points.push_back(std::ldexp(m, e));
  points.insert(points.end(), {0.0f, -0.0f, std::numeric_limits<float>::max(), -std::numeric_limits<float>::max(), std::numeric_limits<float>::infinity()});
  GuardBuffer<2> x({1, Index(points.size())});
  std::size_t i = 0;
  x.each([&](float& v) { v = points[i++]; });
  const Tensor64 in = exact(x.in());
  for_each_backend([&]<class B>(const std::string& who, const B& b, ThreadPool& pool) {
    for (Activation a : kAll) {
      if (on_device<B> && a == Activation::gelu_tanh) continue;  // refused there
      INFO(who);
      const Tensor64 expected = oracle::activation(in, a);
      GuardBuffer<2> y(x.in().extents());
      CHECK(run(b, pool, [&](Context<B>& ctx) { activate(ctx, a, x.in(), y.view()); }).status.ok());
      CHECK(y.fully_written());
      int wrong = 0;
      for (Index j = 0; j < expected.size(); ++j) {
        const double want = expected.v[std::size_t(j)].v, got = double(y.in()(0, j)), size = std::abs(points[std::size_t(j)]);
        // The contract's 5e-7 holds on [-12, 12] (kernels 1.6); beyond, y = x or 0 to one rounding of x.
        const double allowed = a < Activation::gelu_erf ? 0 : std::max(5e-7, 2 * kUnit * size);
        if (std::isinf(want) ? got == want : std::abs(got - want) <= allowed) continue;
        if (wrong++ == 0) FAIL_CHECK(std::string(cat("activate(", points[std::size_t(j)], ") is ", got, ", expected ", want)));
      }
      CHECK(wrong == 0);
    }
  });
}

TEST_CASE("activate: NaN stays NaN") {
  GuardBuffer<2> x({1, 40});
  x.each([](float& v) { v = 1; });
  for (Index i : {0, 7, 8, 31, 32, 39}) x.view()(0, i) = std::nanf("");
  Sweep sweep("activate, NaN");
  for (Activation a : kAll)
    sweep.check<2>("NaN", oracle::activation(exact(x.in()), a), -1, {{1, 40}}, no_weights, [&](auto& ctx, int, const View<float, 2>& y) { activate(ctx, a, x.in(), y); });
}

TEST_CASE("activate refuses extents that disagree, and is inert on a failed context") {
  Rng rng(Seed{1});
  GuardBuffer<2> x({3, 4}, {}, rng);
  auto relu = [&](auto& ctx, int, const View<float, 2>& y) { activate(ctx, Activation::relu, x.in(), y); };
  check_refused<2>("rows", {2, 4}, no_weights, relu);
  check_refused<2>("width", {3, 5}, no_weights, relu);
  check_inert<2>({3, 4}, no_weights, relu);
}

TEST_CASE("GELU of fast's hidden layers: within 7.8e-6 of the formula, 0 at 0, NaN stays; exact on levels without it") {
  std::vector<float> points;
  for (float x = -8; x <= 8; x += 1.0f / 1024) points.push_back(x);
  points.insert(points.end(), {0.0f, -0.0f, 1e-30f, -1e-30f, 1e30f, -1e30f, std::nanf("")});
  for (const Cpu& b : f32_levels()) {
    INFO(isa_name(b.isa));
    std::vector<float> y(points.size());
    b.kernels().activate(cpu::kGeluShort, points.data(), y.data(), Index(points.size()));
    double worst = 0;
    for (std::size_t i = 0; i + 1 < points.size(); ++i) {
      const double x = double(points[i]), error = std::abs(double(y[i]) - 0.5 * x * std::erfc(-x / std::sqrt(2.0))) / std::max(1.0, std::abs(x) / 8);
      if (!(error <= worst)) worst = error;
      if (points[i] == 0) CHECK(y[i] == 0);
    }
    CHECK(worst <= 7.8e-6);
    CHECK(std::isnan(y.back()));
  }
}
