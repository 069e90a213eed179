// After one run of a shape, every op of Cpu runs again without a single heap allocation, on every level and for one and several threads; Reference too.
// malloc itself is counted (support/count_allocations.hpp): Eigen, std::function or a growing vector anywhere below would show. Shapes are large enough for
// Eigen to leave its stack buffers if it were called with whole matrices.
#include "support/count_allocations.hpp"
#include "support/for_each_backend.hpp"
#include "support/random_layers.hpp"

using namespace sampan;
using namespace sampan::test;

namespace {

template <class Pack, class Op>
void check_no_heap(const char* what, Pack&& pack_weights, Op&& op) {
  for_each_backend([&]<class B>(const std::string& who, const B& b, ThreadPool& pool) {
    if (pool.threads() == 2 || pool.threads() == 8) return;
    const auto w = pack_weights(b);
    const auto planned = plan(b, pool, [&](Context<B>& ctx) { op(ctx, w); });
    REQUIRE(planned.ok());
    Arena arena;
    REQUIRE(arena.reserve(planned->arena_bytes));
    std::int64_t made[2] = {};
    bool ok = true;
    for (auto& n : made) {
      Context<B> ctx(b, pool, arena);
      const auto before = allocations();
      op(ctx, w);
      n = allocations() - before;
      ok = ok && ctx.ok();
    }
    INFO(what << " on " << who);
    CHECK(ok);
    CHECK(made[1] == 0);
    CHECK(made[0] == 0);  // nothing is set up lazily either
  });
}

}  // namespace

TEST_CASE("no op allocates") {
  if (!counting()) {
    MESSAGE("skipped: a sanitizer replaces malloc, which this test counts");
    return;
  }
  Rng rng(Seed{1});
  const auto nothing = [](const auto&) { return 0; };
  GuardBuffer<2> x({700, 64}, {}, rng), y({700, 64}), wide({700, 300}), few({5, 64}, {}, rng), few_out({5, 300});
  RandomNorm norm(rng, 64, 1e-6f, "norm");
  RandomLinear up(rng, 300, 64, true, "up"), down(rng, 64, 300, true, "down");
  check_no_heap("activate", nothing, [&](auto& ctx, int) { activate(ctx, Activation::gelu_erf, x.in(), y.view()); });
  check_no_heap("add and copy", nothing, [&](auto& ctx, int) {
    add(ctx, x.in(), x.in(), y.view());
    copy(ctx, x.in(), y.view());
  });
  check_no_heap("layer_norm", [&](const auto& b) { return pack(b, norm.p); }, [&](auto& ctx, const auto& w) { layer_norm(ctx, w, x.in(), y.view(), Activation::gelu_erf); });
  check_no_heap("linear", [&](const auto& b) { return pack(b, up.p, norm.p); }, [&](auto& ctx, const auto& w) { linear(ctx, w, x.in(), wide.view(), {Activation::gelu_erf}); });
  check_no_heap("linear, few rows", [&](const auto& b) { return pack(b, up.p); }, [&](auto& ctx, const auto& w) { linear(ctx, w, few.in(), few_out.view()); });
  check_no_heap("mlp", [&](const auto& b) { return pack(b, MlpParams{norm.p, up.p, down.p, Activation::gelu_erf, "mlp"}); }, [&](auto& ctx, const auto& w) { mlp(ctx, w, x.in(), y.view(), x.in()); });

  GuardBuffer<3> map({20, 35, 64}, {}, rng), out({20, 35, 64}), thin({20, 35, 32}), half({10, 18, 64}), twice({40, 70, 64}), windows({15, 49, 64});
  RandomConv conv3(rng, {64, 64, 3, 3}, {1, 1, true, true}), thin3(rng, {32, 64, 3, 3}, {1, 1, true, true}), conv1(rng, {64, 64, 1, 1}, {1, 0, false, true}), dw(rng, {64, 1, 3, 3}, {2, 1, false, true}), dw1(rng, {64, 1, 3, 3}, {1, 1, false, true}), tr(rng, {64, 64, 2, 2}, {2, 0, true, false});
  check_no_heap("conv2d 3x3", [&](const auto& b) { return pack_conv(b, conv3.p); }, [&](auto& ctx, const auto& w) { conv2d(ctx, w, map.in(), out.view()); });
  check_no_heap("conv2d 3x3, few channels", [&](const auto& b) { return pack_conv(b, thin3.p); }, [&](auto& ctx, const auto& w) { conv2d(ctx, w, map.in(), thin.view()); });
  check_no_heap("conv2d 1x1", [&](const auto& b) { return pack_conv(b, conv1.p); }, [&](auto& ctx, const auto& w) { conv2d(ctx, w, map.in(), out.view(), Activation::relu); });
  check_no_heap("depthwise_conv", [&](const auto& b) { return pack_depthwise(b, dw.p); }, [&](auto& ctx, const auto& w) { depthwise_conv(ctx, w, map.in(), half.view()); });
  check_no_heap("conv_transpose2d", [&](const auto& b) { return pack_conv_transpose(b, tr.p); }, [&](auto& ctx, const auto& w) { conv_transpose2d(ctx, w, map.in(), twice.view()); });
  check_no_heap("mbconv", [&](const auto& b) { return pack(b, MbConvParams{conv1.p, dw1.p, conv1.p, true, Activation::gelu_erf, "m"}); }, [&](auto& ctx, const auto& w) { mbconv(ctx, w, map.in(), out.view()); });
  check_no_heap("window_partition and back", nothing, [&](auto& ctx, int) {
    window_partition(ctx, map.in(), Index(7), View<const float, 1>(), windows.view());
    window_unpartition(ctx, windows.in(), Index(7), out.view());
  });

  GuardBuffer<2> qkv({700, 192}, {}, rng), rel({13, 16}, {}, rng), rel_h({39, 16}, {}, rng), rel_w({69, 16}, {}, rng), table({4, 49}, {}, rng), pad({4, 16}, {}, rng);
  auto part = [&](Index i) { return View<const float, 3>(qkv.in().data() + 64 * i, {700, 4, 16}, {192, 16, 1}); };
  const QkvView views{part(0), part(1), part(2)};
  const View<float, 3> mixed(y.view().data(), {700, 4, 16});
  check_no_heap("attend, windows", nothing, [&](auto& ctx, int) {
    attend(ctx, {20, 35, 4, 16, 7, 0.25f}, views, {rel.in(), rel.in(), {}}, {pad.in(), pad.in()}, mixed);
    attend(ctx, {20, 35, 4, 16, 7, 0.25f}, views, {{}, {}, table.in()}, {}, mixed);
  });
  check_no_heap("attend, windows of a volume", nothing, [&](auto& ctx, int) { attend(ctx, {5, 35, 4, 16, 7, 0.25f, 4}, views, {rel.in(), rel.in(), {}, rel.in()}, {pad.in(), pad.in(), pad.in()}, mixed); });
  GuardBuffer<5> cube({64, 64, 3, 3, 3}, kInFile, rng, -0.1f, 0.1f), taps({64, 8, 2, 2, 2}, kInFile, rng);
  GuardBuffer<2> fine({5600, 8});
  Conv3dParams neck{cube.in(), {}, 1, 1, "neck"}, up3{taps.in(), {}, 2, 0, "up"};
  check_no_heap("conv3d", [&](const auto& b) { return pack_conv3d(b, neck); }, [&](auto& ctx, const auto& w) { conv3d(ctx, w, as_volume(x.in(), 4, 5, 35), as_volume(y.view(), 4, 5, 35)); });
  check_no_heap("conv_transpose3d", [&](const auto& b) { return pack_conv_transpose3d(b, up3); }, [&](auto& ctx, const auto& w) { conv_transpose3d(ctx, w, as_volume(x.in(), 4, 5, 35), as_volume(fine.view(), 8, 10, 70)); });
  check_no_heap("attend, global", nothing, [&](auto& ctx, int) { attend(ctx, {20, 35, 4, 16, 0, 0.25f}, views, {rel_h.in(), rel_w.in(), {}}, {}, mixed); });
  RandomLinear in3(rng, 192, 64, true, "qkv"), proj(rng, 64, 64, true, "proj");
  for (Index window : {0, 7})
    check_no_heap(window ? "attention, windows" : "attention, global", [&](const auto& b) {
      return pack(b, AttentionParams{norm.p, in3.p, proj.p, window ? rel.in() : rel_h.in(), window ? rel.in() : rel_w.in(), {}, 4, window, QkvLayout::split, PadRule::after_norm, "attn"});
    }, [&](auto& ctx, const auto& w) { attention(ctx, w, map.in(), out.view(), map.in()); });

  GuardBuffer<3> q({3, 7, 64}, {}, rng), answer({3, 7, 64}), keys({1, 700, 64}, {}, rng);
  RandomLinear narrow(rng, 32, 64, true, "n"), widen(rng, 64, 32, true, "w");
  check_no_heap("cross_attention", [&](const auto& b) { return pack(b, CrossAttentionParams{narrow.p, narrow.p, narrow.p, widen.p, 8, "x"}); },
                [&](auto& ctx, const auto& w) { cross_attention(ctx, w, {q.in(), q.in(), keys.in(), keys.in(), keys.in()}, answer.view(), q.in()); });

  GuardBuffer<2> hyper({4, 64}, {}, rng), masks({4, 700}), coords({700, 2}, {}, rng, 0, 1), gauss({2, 32}, {}, rng);
  check_no_heap("mask_head", nothing, [&](auto& ctx, int) { mask_head(ctx, hyper.in(), x.in(), masks.view()); });
  check_no_heap("fourier_encoding", nothing, [&](auto& ctx, int) { fourier_encoding(ctx, coords.in(), gauss.in(), y.view()); });
}

TEST_CASE("the counter counts what a test allocates" * doctest::skip(!counting())) {
  const auto before = allocations();
  std::vector<float> v(1000);
  auto* p = static_cast<float*>(std::aligned_alloc(64, 640));
  CHECK(v.data() != p);
  std::free(p);
  CHECK(allocations() - before >= 2);
}
