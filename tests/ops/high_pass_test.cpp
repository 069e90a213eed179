// high_pass against the transforms' definition in double on every host backend: sizes, channels, constant and single-wave images, the same bits for any number of threads, refusals.
#include "support/for_each_backend.hpp"

#include <sampan/ops/high_pass.hpp>

#include <complex>

using namespace sampan;
using namespace sampan::test;

namespace {

constexpr double kPi2 = 6.283185307179586477;

/// All frequencies of one channel by the double sum, the low box left out, and back by the double sum.
std::vector<double> by_definition(const View<const float, 3>& x, Index c, Index keep) {
  const Index n = x.extent(0);
  const auto e = [&](Index k) { return std::polar(1.0, kPi2 * double(((k % n) + n) % n) / double(n)); };
  std::vector<std::complex<double>> f(std::size_t(n * n));
  for (Index u = 0; u < n; ++u)
    for (Index v = 0; v < n; ++v) {
      const Index su = u < n - n / 2 ? u : u - n, sv = v < n - n / 2 ? v : v - n;  // signed frequencies
      if (su >= -keep && su < keep && sv >= -keep && sv < keep) continue;
      std::complex<double> sum = 0;
      for (Index i = 0; i < n; ++i)
        for (Index j = 0; j < n; ++j) sum += double(x(i, j, c)) * e(-(u * i + v * j));
      f[std::size_t(u * n + v)] = sum;
    }
  std::vector<double> y(std::size_t(n * n));
  for (Index i = 0; i < n; ++i)
    for (Index j = 0; j < n; ++j) {
      std::complex<double> sum = 0;
      for (Index u = 0; u < n; ++u)
        for (Index v = 0; v < n; ++v) sum += f[std::size_t(u * n + v)] * e(u * i + v * j);
      y[std::size_t(i * n + j)] = std::abs(sum.real()) / double(n * n);
    }
  return y;
}

void check(Index n, Index c, Index keep, GuardBuffer<3>& x) {
  CAPTURE(n);
  CAPTURE(keep);
  // A product with D has an error of at most n roundings of sum |D| |x|; two products, then a few roundings at the size of the image.
  double row = 0, top = 0;
  for (Index i = 0; i < n; ++i) {
    double d = 0;
    for (Index f = -keep; f < keep; ++f) d += std::cos(kPi2 * double(f * i) / double(n));
    row += std::abs(d) / double(n);
  }
  for (Index i = 0; i < n * n * c; ++i) top = std::max(top, std::abs(double(x.in().data()[i])));
  std::vector<std::vector<double>> want;
  for (Index k = 0; k < c; ++k) want.push_back(by_definition(x.in(), k, keep));
  for_each_backend([&]<class B>(const std::string& who, const B& b, ThreadPool& pool) {
    if constexpr (!on_device<B>) {
      INFO(who);
      GuardBuffer<3> y({n, n, c});
      y.poison();
      const auto w = pack(b, HighPassParams{n, keep, "fft"});
      REQUIRE(w.valid());
      REQUIRE(run(b, pool, [&](Context<B>& ctx) { high_pass(ctx, w, x.in(), y.view()); }).status);
      CHECK(y.guards_intact());
      const double bound = 0x1p-24 * top * (std::is_same_v<B, Reference> ? 4.0 : 2 * double(n + 4) * std::max(1.0, row * row));
      double worst = 0;
      for (Index i = 0; i < n; ++i)
        for (Index j = 0; j < n; ++j)
          for (Index k = 0; k < c; ++k) {
            const double d = std::abs(double(y.view()(i, j, k)) - want[std::size_t(k)][std::size_t(i * n + j)]);
            worst = d <= worst ? worst : d;  // a NaN stays
          }
      CHECK(worst <= bound);
      ThreadPool one(1);
      GuardBuffer<3> again({n, n, c});
      REQUIRE(run(b, one, [&](Context<B>& ctx) { high_pass(ctx, w, x.in(), again.view()); }).status);
      CHECK(again.bits() == y.bits());
    }
  });
}

}  // namespace

TEST_CASE("high_pass: noise") {
  std::uint64_t seed = 1;
  for (const auto& [n, c, keep] : {std::array<Index, 3>{16, 3, 4}, {20, 1, 5}, {17, 2, 4}, {16, 1, 0}, {12, 2, 5}}) {
    Rng rng(Seed{seed++});
    GuardBuffer<3> x({n, n, c}, {}, rng);
    check(n, c, keep, x);
  }
}

TEST_CASE("high_pass: the edge frequency is low on one side only") {
  const Index n = 16, keep = 4;
  GuardBuffer<3> x({n, n, 1});
  for (const Index f : {0, 3, 4, 5}) {
    for (Index i = 0; i < n; ++i)
      for (Index j = 0; j < n; ++j) x.view()(i, j, 0) = float(std::cos(kPi2 * double(f * j) / double(n)));
    check(n, 1, keep, x);
    const Reference b;
    ThreadPool pool(1);
    GuardBuffer<3> y({n, n, 1});
    const auto w = pack(b, HighPassParams{n, keep, "fft"});
    REQUIRE(run(b, pool, [&](Context<Reference>& ctx) { high_pass(ctx, w, x.in(), y.view()); }).status);
    // -4 is cut, 4 is not: of cos(4 t) the half with e^(4it) stays, whose real part is half the wave
    CHECK(double(y.view()(0, 0, 0)) == doctest::Approx(f < 4 ? 0.0 : f == 4 ? 0.5 : 1.0).epsilon(1e-6));
  }
}

TEST_CASE("high_pass refuses what disagrees") {
  const Reference b;
  ThreadPool pool(1);
  GuardBuffer<3> x({16, 16, 3}), y({16, 16, 3});
  const auto refused = [&](Index n, Index keep) { return !plan(b, pool, [&](Context<Reference>& ctx) { high_pass(ctx, pack(b, HighPassParams{n, keep, {}}), x.in(), y.view()); }); };
  CHECK(refused(15, 3));
  CHECK(refused(16, 8));
  CHECK(refused(16, -1));
  CHECK_FALSE(refused(16, 7));
}
