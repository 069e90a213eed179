// mask_head: masks = hyper map^T on every backend, against the formula in double; and upscale_masks, the decoder's whole end on Cpu, against its four parts.
#include "support/for_each_backend.hpp"
#include "support/oracle/conv.hpp"
#include "support/oracle/layers.hpp"
#include "support/random_layers.hpp"

using namespace sampan;
using namespace sampan::test;

namespace {
auto no_weights = [](const auto&) { return 0; };
}

TEST_CASE("mask_head: masks, pixels, channels, layouts") {
  Sweep sweep("mask_head");
  std::uint64_t seed = 1;
  for (Index m : {1, 3, 4, 5})
    for (Index n : {1, 7, 8, 9, 33, 300})
      for (Index c : {1, 3, 8, 31, 32, 33, 257}) {
        const auto s = seed++;
        if (!kThorough && s % 5) continue;
        Rng rng(Seed{s});
        GuardBuffer<2> hyper({m, c}, kLayouts[s % std::size(kLayouts)], rng), map({n, c}, kLayouts[(s + 1) % std::size(kLayouts)], rng);
        sweep.check<2>(cat("[", m, ",", c, "] x [", n, ",", c, "]"), oracle::mask_head(exact(hyper.in()), exact(map.in())), 2.0 * double(m * n * c), {{m, n}, kLayouts[(s + 2) % std::size(kLayouts)]}, no_weights,
                       [&](auto& ctx, int, const View<float, 2>& y) { mask_head(ctx, hyper.in(), map.in(), y); });
      }
  Rng rng(Seed{999});  // the decoder's: 64 x 64 pixels, 32 channels
  GuardBuffer<2> hyper({4, 32}, {}, rng), map({4096, 32}, {}, rng);
  sweep.check<2>("decoder", oracle::mask_head(exact(hyper.in()), exact(map.in())), 2.0 * 4 * 4096 * 32, {{4, 4096}}, no_weights,
                 [&](auto& ctx, int, const View<float, 2>& y) { mask_head(ctx, hyper.in(), map.in(), y); });
}

TEST_CASE("mask_head: NaN fills its mask or its pixel and no other") {
  Rng rng(Seed{3});
  GuardBuffer<2> hyper({4, 9}, {}, rng), map({20, 9}, {}, rng);
  hyper.view()(2, 8) = std::nanf(""), map.view()(13, 0) = std::nanf("");
  Sweep sweep("mask_head, NaN");
  sweep.check<2>("NaN", oracle::mask_head(exact(hyper.in()), exact(map.in())), -1, {{4, 20}}, no_weights, [&](auto& ctx, int, const View<float, 2>& y) { mask_head(ctx, hyper.in(), map.in(), y); });
}

TEST_CASE("mask_head refuses extents that disagree, and is inert on a failed context") {
  Rng rng(Seed{1});
  GuardBuffer<2> hyper({4, 9}, {}, rng), map({20, 9}, {}, rng), wide({20, 8}, {}, rng);
  check_refused<2>("channels", {4, 20}, no_weights, [&](auto& ctx, int, const View<float, 2>& y) { mask_head(ctx, hyper.in(), wide.in(), y); });
  check_refused<2>("masks", {3, 20}, no_weights, [&](auto& ctx, int, const View<float, 2>& y) { mask_head(ctx, hyper.in(), map.in(), y); });
  check_refused<2>("pixels", {4, 19}, no_weights, [&](auto& ctx, int, const View<float, 2>& y) { mask_head(ctx, hyper.in(), map.in(), y); });
  check_inert<2>({4, 20}, no_weights, [&](auto& ctx, int, const View<float, 2>& y) { mask_head(ctx, hyper.in(), map.in(), y); });
}

namespace {

/// The decoder's end with random weights: transposed convolutions of strides s1 and s2 around a norm.
struct RandomUpscaling {
  GuardBuffer<4> k0, k3;
  GuardBuffer<1> b0, b3;
  RandomNorm norm;
  ConvParams up0, up3;
  RandomUpscaling(Rng& rng, Index c, Index mid, Index fine, int s1, int s2)
      : k0({c, mid, s1, s1}, kInFile, rng, -RandomLinear::scale(c), RandomLinear::scale(c)), k3({mid, fine, s2, s2}, kInFile, rng, -RandomLinear::scale(mid), RandomLinear::scale(mid)), b0({mid}, kInFile, rng), b3({fine}, kInFile, rng),
        norm(rng, mid, 1e-6f) {
    up0.weight = k0.in(), up0.bias = b0.in(), up0.stride = s1;
    up3.weight = k3.in(), up3.bias = b3.in(), up3.stride = s2;
  }
};

template <class B>
struct Upscaling {
  PackedConvTranspose<B> up0, up3;
  PackedNorm<B> norm;
};

/// Reference runs the four parts, Cpu the one op.
template <class B>
void upscale(Context<B>& ctx, const Upscaling<B>& w, const View<const float, 3>& x, Index width, const View<const float, 3>& hyper, const View<float, 3>& masks) {
  if constexpr (std::is_same_v<B, Cpu>) {
    upscale_masks(ctx, w.up0, w.norm, w.up3, x, width, hyper, masks);
  } else {
    const Index h = x.extent(1) / width, s1 = w.up0.stride, s2 = w.up3.stride;
    auto scope = ctx.arena.scope();
    const auto mid = scope.template make<float>(s1 * h, s1 * width, w.up0.out_channels()), fine = scope.template make<float>(s1 * s2 * h, s1 * s2 * width, w.up3.out_channels());
    for (Index i = 0; i < x.extent(0); ++i) {
      conv_transpose2d(ctx, w.up0, as_map(x[i], h, width), mid);
      layer_norm(ctx, w.norm, tokens(View<const float, 3>(mid)), tokens(mid), Activation::gelu_erf);
      conv_transpose2d(ctx, w.up3, View<const float, 3>(mid), fine, Activation::gelu_erf);
      mask_head(ctx, hyper[i], tokens(View<const float, 3>(fine)), masks[i]);
    }
  }
}

Tensor64 one_of(const Tensor64& t, Index i) {
  Tensor64 one(t.e[1], t.e[2]);
  std::copy_n(t.v.begin() + i * one.size(), one.size(), one.v.begin());
  return one;
}

Tensor64 expected_masks(const RandomUpscaling& w, const Tensor64& x, Index width, const Tensor64& hyper) {
  Tensor64 all;
  for (Index i = 0; i < x.e[0]; ++i) {
    Tensor64 mid = oracle::conv_transpose2d(one_of(x, i).shaped(x.e[1] / width, width, x.e[2]), w.up0);
    const auto e = mid.e;
    mid = oracle::activation(oracle::layer_norm(mid.shaped(e[0] * e[1], e[2]), w.norm.p), Activation::gelu_erf).shaped(e[0], e[1], e[2]);
    const Tensor64 fine = oracle::conv_transpose2d(mid, w.up3, Activation::gelu_erf);
    const Tensor64 masks = oracle::mask_head(one_of(hyper, i), fine.shaped(fine.e[0] * fine.e[1], fine.e[2]));
    all.v.insert(all.v.end(), masks.v.begin(), masks.v.end());
  }
  all.e = {x.e[0], hyper.e[1], Index(all.v.size()) / x.e[0] / hyper.e[1], 1};
  return all;
}

}  // namespace

TEST_CASE("upscale_masks: prompts, masks, pixels around a block, channels, strides") {
  Sweep sweep("upscale_masks");
  std::uint64_t seed = 1;
  for (Index b : {1, 2})
    for (Index m : {1, 3})
      for (const auto& size : {std::pair<Index, Index>{1, 1}, {3, 5}, {6, 8}, {7, 7}, {5, 29}})  // 48 pixels are a block
        for (auto [c, mid, fine, s1, s2] : {std::array<Index, 5>{64, 16, 8, 2, 2}, {33, 9, 5, 2, 2}, {16, 12, 3, 3, 2}, {8, 20, 17, 1, 3}}) {
          const auto s = seed++;
          if (s % (kThorough ? 3 : 13)) continue;
          const Index h = size.first, width = size.second;
          Rng rng(Seed{s});
          const RandomUpscaling w(rng, c, mid, fine, int(s1), int(s2));
          GuardBuffer<3> x({b, h * width, c}, kLayouts[s % std::size(kLayouts)], rng), hyper({b, m, fine}, kLayouts[(s + 1) % std::size(kLayouts)], rng);
          const double pixels = double(b * h * width), sub = pixels * double(s1 * s1), last = sub * double(s2 * s2);
          const double flop = 2 * sub * double(c * mid) + 8 * sub * double(mid) + 2 * last * double(mid * fine) + 2 * last * double(m * fine);
          sweep.check<3>(cat(b, " x ", h, "x", width, "x", c, " -> ", mid, " -> ", fine, ", ", m, " masks, strides ", s1, " ", s2), expected_masks(w, exact(x.in()), width, exact(hyper.in())), flop,
                         {{b, m, h * width * s1 * s1 * s2 * s2}, kLayouts[(s + 2) % std::size(kLayouts)]},
                         [&]<class B>(const B& backend) { return Upscaling<B>{pack_conv_transpose(backend, w.up0), pack_conv_transpose(backend, w.up3), pack(backend, w.norm.p)}; },
                         [&](auto& ctx, const auto& p, const View<float, 3>& y) { upscale(ctx, p, x.in(), width, hyper.in(), y); });
        }
}

TEST_CASE("upscale_masks refuses extents that disagree") {
  Rng rng(Seed{1});
  const RandomUpscaling w(rng, 8, 6, 4, 2, 2);
  GuardBuffer<3> x({2, 6, 8}, {}, rng), hyper({2, 3, 4}, {}, rng), wide({2, 6, 9}, {}, rng), narrow({2, 3, 5}, {}, rng), one({1, 3, 4}, {}, rng);
  for (auto& level : cpu_levels()) {
    const Upscaling<Cpu> p{pack_conv_transpose(level.backend, w.up0), pack_conv_transpose(level.backend, w.up3), pack(level.backend, w.norm.p)};
    const auto refused = [&](const GuardBuffer<3>& a, Index width, const GuardBuffer<3>& h, std::array<Index, 3> masks) {
      GuardBuffer<3> y(masks);
      const auto planned = plan(level.backend, pool_of(1), [&](Context<Cpu>& ctx) { upscale(ctx, p, a.in(), width, h.in(), y.view()); });
      return !planned && planned.error().code() == ErrorCode::invalid_argument;
    };
    CHECK(!refused(x, 3, hyper, {2, 3, 96}));
    CHECK(refused(wide, 3, hyper, {2, 3, 96}));
    CHECK(refused(x, 4, hyper, {2, 3, 96}));
    CHECK(refused(x, 0, hyper, {2, 3, 96}));
    CHECK(refused(x, 3, narrow, {2, 3, 96}));
    CHECK(refused(x, 3, one, {2, 3, 96}));
    CHECK(refused(x, 3, hyper, {2, 3, 95}));
    CHECK(refused(x, 3, hyper, {2, 2, 96}));
  }
}
