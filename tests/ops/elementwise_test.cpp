// add (with repeated rows) and copy on every backend: exact to the rounding of one addition; in place, strided, NaN.
#include "support/for_each_backend.hpp"
#include "support/oracle/layers.hpp"

using namespace sampan;
using namespace sampan::test;

namespace {
auto no_weights = [](const auto&) { return 0; };

/// Row i of the result is row i mod m of x.
Tensor64 repeated(const Tensor64& x, Index rows) {
  Tensor64 y(rows, x.e[1]);
  for (std::size_t i = 0; i < y.v.size(); ++i) y.v[i] = x.v[i % x.v.size()];
  return y;
}
}  // namespace

TEST_CASE("add: widths, repeated rows, layouts, in place") {
  Sweep sweep("add");
  std::uint64_t seed = 1;
  for (Index c : {1, 3, 7, 8, 9, 31, 32, 33, 257})
    for (auto [rows, m] : {std::pair<Index, Index>{1, 1}, {6, 6}, {6, 1}, {6, 2}, {34, 17}}) {
      const auto s = seed++;
      Rng rng(Seed{s});
      const Layout lx = kLayouts[s % std::size(kLayouts)], lb = kLayouts[(s + 1) % std::size(kLayouts)], ly = kLayouts[(s + 2) % std::size(kLayouts)];
      GuardBuffer<2> x({rows, c}, lx, rng), b({m, c}, lb, rng);
      const Tensor64 expected = oracle::add(exact(x.in()), exact(b.in()));
      const double flop = double(rows * c);
      const std::string what = cat("[", rows, ",", c, "] + [", m, ",", c, "]");
      sweep.check<2>(what, expected, flop, {{rows, c}, ly}, no_weights, [&](auto& ctx, int, const View<float, 2>& y) { add(ctx, x.in(), b.in(), y); });
      sweep.check<2>(what + " in place", expected, flop, {{rows, c}, lx, &x}, no_weights, [&](auto& ctx, int, const View<float, 2>& y) { add(ctx, y, b.in(), y); });
    }
}

TEST_CASE("copy: exact, repeated rows, layouts") {
  Sweep sweep("copy");
  std::uint64_t seed = 1;
  for (Index c : {1, 3, 8, 33, 257})
    for (auto [rows, m] : {std::pair<Index, Index>{1, 1}, {6, 6}, {6, 1}, {6, 3}, {40, 20}}) {
      const auto s = seed++;
      Rng rng(Seed{s});
      GuardBuffer<2> x({m, c}, kLayouts[s % std::size(kLayouts)], rng);
      Tensor64 expected = repeated(exact(x.in()), rows);  // no rounding at all: worst and floor stay 0
      sweep.check<2>(cat("[", m, ",", c, "] to ", rows, " rows"), expected, 0, {{rows, c}, kLayouts[(s + 3) % std::size(kLayouts)]}, no_weights,
                     [&](auto& ctx, int, const View<float, 2>& y) { copy(ctx, x.in(), y); });
    }
}

TEST_CASE("add and copy: NaN only where an input has it") {
  Rng rng(Seed{7});
  GuardBuffer<2> x({5, 37}, {}, rng), b({1, 37}, {}, rng);
  x.view()(3, 2) = std::nanf(""), b.view()(0, 33) = std::nanf("");
  Sweep sweep("add and copy, NaN");
  sweep.check<2>("add", oracle::add(exact(x.in()), exact(b.in())), -1, {{5, 37}}, no_weights, [&](auto& ctx, int, const View<float, 2>& y) { add(ctx, x.in(), b.in(), y); });
  sweep.check<2>("copy", exact(x.in()), -1, {{5, 37}}, no_weights, [&](auto& ctx, int, const View<float, 2>& y) { copy(ctx, x.in(), y); });
}

TEST_CASE("add and copy refuse extents that disagree, and are inert on a failed context") {
  Rng rng(Seed{1});
  GuardBuffer<2> x({6, 4}, {}, rng), four({4, 4}, {}, rng), wide({6, 5}, {}, rng), none({0, 4});
  check_refused<2>("add, rows that do not divide", {6, 4}, no_weights, [&](auto& ctx, int, const View<float, 2>& y) { add(ctx, x.in(), four.in(), y); });
  check_refused<2>("add, width of b", {6, 4}, no_weights, [&](auto& ctx, int, const View<float, 2>& y) { add(ctx, x.in(), wide.in(), y); });
  check_refused<2>("add, nothing to add", {6, 4}, no_weights, [&](auto& ctx, int, const View<float, 2>& y) { add(ctx, x.in(), none.in(), y); });
  check_refused<2>("add, y", {5, 4}, no_weights, [&](auto& ctx, int, const View<float, 2>& y) { add(ctx, x.in(), x.in(), y); });
  check_refused<2>("copy, rows that do not divide", {7, 4}, no_weights, [&](auto& ctx, int, const View<float, 2>& y) { copy(ctx, x.in(), y); });
  check_refused<2>("copy, width", {6, 5}, no_weights, [&](auto& ctx, int, const View<float, 2>& y) { copy(ctx, x.in(), y); });
  check_refused<2>("copy, from nothing", {6, 4}, no_weights, [&](auto& ctx, int, const View<float, 2>& y) { copy(ctx, none.in(), y); });
  check_inert<2>({6, 4}, no_weights, [&](auto& ctx, int, const View<float, 2>& y) { add(ctx, x.in(), x.in(), y); });
  check_inert<2>({6, 4}, no_weights, [&](auto& ctx, int, const View<float, 2>& y) { copy(ctx, x.in(), y); });
}
