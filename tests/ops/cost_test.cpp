// What ops report as their work: FLOP and least bytes equal the formulas of their docstrings, on every backend, in the plan as in the run.
// (Every sweep compares FLOP too; here bytes stand in numbers, and the sums of composed ops.)
#include "support/for_each_backend.hpp"
#include "support/random_layers.hpp"

using namespace sampan;
using namespace sampan::test;

namespace {

template <class Pack, class Op>
void check_cost(const char* what, Cost want, Pack&& pack_weights, Op&& op) {
  for_each_backend([&]<class B>(const std::string& who, const B& b, ThreadPool& pool) {
    INFO(std::string(what), " on ", who);
    const auto w = pack_weights(b);
    const auto planned = [&] {
      Locked locked;
      return plan(b, pool, [&](Context<B>& ctx) { op(ctx, w); });
    }();
    REQUIRE(planned.ok());
    CHECK(planned->cost.flop == doctest::Approx(want.flop).epsilon(1e-12));
    CHECK(planned->cost.bytes == doctest::Approx(want.bytes).epsilon(1e-12));
  });
}

}  // namespace

TEST_CASE("FLOP and bytes of single ops") {
  Rng rng(Seed{1});
  const auto nothing = [](const auto&) { return 0; };
  const double n = 6, c = 5, m = 7;
  GuardBuffer<2> x({6, 5}, {}, rng), y({6, 5}), wide({6, 7}), hyper({3, 5}, {}, rng), masks({3, 6}), coords({6, 2}, {}, rng), gauss({2, 4}, {}, rng), pe({6, 8});
  RandomLinear w(rng, 7, 5);
  RandomNorm norm(rng, 5, 1e-6f);
  check_cost("activate", {n * c, 8 * n * c}, nothing, [&](auto& ctx, int) { activate(ctx, Activation::relu, x.in(), y.view()); });
  check_cost("add", {n * c, 12 * n * c}, nothing, [&](auto& ctx, int) { add(ctx, x.in(), x.in(), y.view()); });
  check_cost("copy", {0, 8 * n * c}, nothing, [&](auto& ctx, int) { copy(ctx, x.in(), y.view()); });
  check_cost("layer_norm", {8 * n * c, 8 * n * c}, [&](const auto& b) { return pack(b, norm.p); }, [&](auto& ctx, const auto& p) { layer_norm(ctx, p, x.in(), y.view()); });
  check_cost("linear", {2 * n * c * m, 4 * (n * c + n * m + c * m)}, [&](const auto& b) { return pack(b, w.p); }, [&](auto& ctx, const auto& p) { linear(ctx, p, x.in(), wide.view()); });
  check_cost("mask_head", {2 * 3 * n * c, 4 * (n * c + 3 * n + 3 * c)}, nothing, [&](auto& ctx, int) { mask_head(ctx, hyper.in(), x.in(), masks.view()); });
  check_cost("fourier_encoding", {6 * n * 4, 4 * (2 * n + 2 * 4 + 2 * n * 4)}, nothing, [&](auto& ctx, int) { fourier_encoding(ctx, coords.in(), gauss.in(), pe.view()); });

  GuardBuffer<3> map({5, 6, 3}, {}, rng), out({3, 3, 4}), same({3, 3, 3}), up({10, 12, 4}), windows({9, 4, 3});
  RandomConv conv(rng, {4, 3, 3, 3}, {2, 1}), dw(rng, {3, 1, 3, 3}, {2, 1}), tr(rng, {3, 4, 2, 2}, {2, 0});
  check_cost("conv2d", {2.0 * 36 * 27, 4.0 * (90 + 36 + 108)}, [&](const auto& b) { return pack_conv(b, conv.p); }, [&](auto& ctx, const auto& p) { conv2d(ctx, p, map.in(), out.view()); });
  check_cost("depthwise_conv", {2.0 * 27 * 9, 4.0 * (90 + 27 + 27)}, [&](const auto& b) { return pack_depthwise(b, dw.p); }, [&](auto& ctx, const auto& p) { depthwise_conv(ctx, p, map.in(), same.view()); });
  check_cost("conv_transpose2d", {2.0 * 480 * 3, 4.0 * (90 + 480 + 48)}, [&](const auto& b) { return pack_conv_transpose(b, tr.p); }, [&](auto& ctx, const auto& p) { conv_transpose2d(ctx, p, map.in(), up.view()); });
  check_cost("window_partition", {0, 8.0 * 108}, nothing, [&](auto& ctx, int) { window_partition(ctx, map.in(), Index(2), View<const float, 1>(), windows.view()); });
  check_cost("window_unpartition", {0, 8.0 * 90}, nothing, [&](auto& ctx, int) { window_unpartition(ctx, windows.in(), Index(2), map.view()); });
}

TEST_CASE("attend counts real query-key pairs only, however a grid is cut") {
  Rng rng(Seed{2});
  GuardBuffer<3> q({35, 2, 4}, {}, rng), out({35, 2, 4});
  const QkvView qkv{q.in(), q.in(), q.in()};
  const double bytes = 16.0 * 35 * 8;
  auto nothing = [](const auto&) { return 0; };
  check_cost("global 5x7", {4.0 * 35 * 35 * 8, bytes}, nothing, [&](auto& ctx, int) { attend(ctx, {5, 7, 2, 4, 0, 0.5f}, qkv, {}, {}, out.view()); });
  // Windows of 3 cut 5 into 3 + 2 and 7 into 3 + 3 + 1: (9 + 4) * (9 + 9 + 1) pairs.
  check_cost("windows of 3", {4.0 * 13 * 19 * 8, bytes}, nothing, [&](auto& ctx, int) { attend(ctx, {5, 7, 2, 4, 3, 0.5f}, qkv, {}, {}, out.view()); });
  check_cost("windows of 14", {4.0 * 35 * 35 * 8, bytes}, nothing, [&](auto& ctx, int) { attend(ctx, {5, 7, 2, 4, 14, 0.5f}, qkv, {}, {}, out.view()); });
}
