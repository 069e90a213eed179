// window_partition and window_unpartition on every backend: bit-exact against pad, view, permute; pads from a row or zeros; round trip; NaN is moved like any value.
#include "support/for_each_backend.hpp"
#include "support/oracle/attention.hpp"

using namespace sampan;
using namespace sampan::test;

namespace {
auto no_weights = [](const auto&) { return 0; };
}

TEST_CASE("window_partition and back: grids around every window edge, layouts, pad rows") {
  Sweep sweep("window_partition");
  std::uint64_t seed = 1;
  for (Index win : {1, 2, 7, 14})
    for (auto [h, w] : {std::pair<Index, Index>{1, 1}, {13, 14}, {14, 13}, {14, 14}, {15, 16}, {20, 9}, {28, 15}, {3, 30}}) {
      const auto s = seed++;
      Rng rng(Seed{s});
      const Index c = std::array<Index, 4>{1, 3, 8, 33}[s % 4];
      const Layout l1 = kLayouts[s % std::size(kLayouts)], l2 = kLayouts[(s + 1) % std::size(kLayouts)];
      GuardBuffer<3> map({h, w, c}, l1, rng);
      GuardBuffer<1> pad({c}, {}, rng);
      map.view()(h - 1, w - 1, 0) = std::nanf("");
      const bool with_pad = s % 2 == 0;
      const Tensor64 pad_row = exact(pad.in()), windows = oracle::window_partition(exact(map.in()), win, with_pad ? &pad_row : nullptr);
      const std::string what = cat("[", h, ",", w, ",", c, "], window ", win);
      sweep.check<3>(what, windows, 0, {{windows.e[0], windows.e[1], c}, l2}, no_weights,
                     [&](auto& ctx, int, const View<float, 3>& y) { window_partition(ctx, map.in(), win, with_pad ? pad.in() : View<const float, 1>(), y); });
      GuardBuffer<3> cut({windows.e[0], windows.e[1], c}, l2);
      std::size_t i = 0;
      cut.each([&](float& x) { x = float(windows.v[i++].v); });
      sweep.check<3>(what + " back", exact(map.in()), 0, {{h, w, c}, l1}, no_weights, [&](auto& ctx, int, const View<float, 3>& y) { window_unpartition(ctx, cut.in(), win, y); });
    }
}

TEST_CASE("window_partition refuses extents that disagree, and is inert on a failed context") {
  Rng rng(Seed{1});
  GuardBuffer<3> map({5, 8, 3}, {}, rng), windows({6, 9, 3}, {}, rng);
  auto cut = [&](Index win) { return [&, win](auto& ctx, int, const View<float, 3>& y) { window_partition(ctx, map.in(), win, View<const float, 1>(), y); }; };
  auto join = [&](Index win) { return [&, win](auto& ctx, int, const View<float, 3>& y) { window_unpartition(ctx, windows.in(), win, y); }; };
  check_refused<3>("window 0", {6, 9, 3}, no_weights, cut(0));
  check_refused<3>("window -3", {6, 9, 3}, no_weights, cut(-3));
  check_refused<3>("number of windows", {5, 9, 3}, no_weights, cut(3));
  check_refused<3>("tokens of a window", {6, 8, 3}, no_weights, cut(3));
  check_refused<3>("channels", {6, 9, 4}, no_weights, cut(3));
  GuardBuffer<1> pad({4}, {}, rng);
  check_refused<3>("pad row of another width", {6, 9, 3}, no_weights, [&](auto& ctx, int, const View<float, 3>& y) { window_partition(ctx, map.in(), 3, pad.in(), y); });
  check_refused<3>("back, window", {5, 8, 3}, no_weights, join(2));
  check_refused<3>("back, map", {7, 8, 3}, no_weights, join(3));
  check_inert<3>({6, 9, 3}, no_weights, cut(3));
  check_inert<3>({5, 8, 3}, no_weights, join(3));
}
