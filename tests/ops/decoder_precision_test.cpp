// The mask decoder's ops in `fast`: products over pixels in 16-bit integers, those over tokens in f32. Near f32 on every level, the same bits for any number of threads,
// and what is not finite stays with its prompt. The products themselves are tested bit by bit in precision_test.cpp.
#include "support/precision_run.hpp"
#include "support/random_layers.hpp"

#include <limits>
#include <utility>

using namespace sampan;
using namespace sampan::test;

namespace {

/// Three prompts of 7 tokens and an image of 200 pixels (a block of keys and a part), 64 channels; 4 heads of 32.
struct Scene {
  static constexpr Index b = 3, t = 7, p = 200, c = 64, inner = 128, heads = 4;
  RandomLinear q, k, v, out;
  RandomNorm norm;
  std::vector<float> tokens, pixels, pe;
  explicit Scene(Rng& rng, Index images) : q(rng, inner, c), k(rng, inner, c), v(rng, inner, c), out(rng, c, inner), norm(rng, c, 1e-5f) {
    const auto fill = [&](std::vector<float>& x, Index n) {
      x.resize(std::size_t(n));
      for (auto& e : x) e = rng.uniform(-1, 1);
    };
    fill(tokens, b * t * c), fill(pixels, images * p * c), fill(pe, p * c);
  }
  CrossAttentionParams params(PixelSide side) const { return {q.p, k.p, v.p, out.p, heads, "cross", side}; }
  View<const float, 3> asked() const { return {tokens.data(), {b, t, c}}; }
  View<const float, 3> image() const { return {pixels.data(), {Index(pixels.size()) / (p * c), p, c}}; }
  View<const float, 3> encoding() const { return {pe.data(), {1, p, c}}; }

  std::vector<float> tokens_ask(const Cpu& backend, int threads) const {
    const auto w = pack(backend, params(PixelSide::keys));
    const CrossAttentionInput in{asked(), {}, image(), encoding(), image()};
    CHECK(cpu::cheapest_form(w, in, b) == cpu::AttentionForm::absorb_keys);
    std::vector<float> y(std::size_t(b * t * c), -1.0f);
    auto call = [&](Context<Cpu>& ctx) { cross_attention(ctx, w, in, View<float, 3>(y.data(), {b, t, c})); };
    run_planned(backend, threads, call);
    return y;
  }
  std::vector<float> pixels_ask(const Cpu& backend, int threads) const {
    const auto w = pack(backend, params(PixelSide::queries));
    const auto n = pack(backend, norm.p);
    const CrossAttentionInput in{image(), encoding(), asked(), {}, asked()};
    CHECK(cpu::cheapest_form(w, in, b) == cpu::AttentionForm::absorb_queries);
    std::vector<float> y(std::size_t(b * p * c), -1.0f);
    auto call = [&](Context<Cpu>& ctx) { cross_attention_norm(ctx, w, in, View<float, 3>(y.data(), {b, p, c}), n); };
    run_planned(backend, threads, call);
    return y;
  }
};

}  // namespace

TEST_CASE("cross_attention in fast: near f32 whoever asks, the same bits for any number of threads") {
  for (Index images : {Index(1), Scene::b}) {
    Rng rng({std::uint64_t(images)});
    const Scene s(rng, images);
    for (const Cpu& b : levels(Precision::fast)) {
      CAPTURE(isa_name(b.isa));
      CAPTURE(images);
      const Cpu exact = exact_backend(b);
      const auto keys = s.tokens_ask(b, 1), queries = s.pixels_ask(b, 1);
      // As for attention in precision_test.cpp: half a step of at most 1/4095 per operand, times the spread of the scores; a mean shrinks the result and not the error.
      CHECK(relative_distance(keys, s.tokens_ask(exact, 1)) <= 12.0 / 8190);
      CHECK(relative_distance(queries, s.pixels_ask(exact, 1)) <= 12.0 / 8190);
      CHECK(relative_distance(keys, s.tokens_ask(exact, 1)) > 0);
      CHECK(relative_distance(queries, s.pixels_ask(exact, 1)) > 0);
      CHECK(same_bits(keys, s.tokens_ask(b, 3)));
      CHECK(same_bits(queries, s.pixels_ask(b, 3)));
    }
  }
}

TEST_CASE("cross_attention in fast: a token that is not finite makes its prompt NaN and no other") {
  Rng rng({5});
  Scene s(rng, Scene::b);
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    float& place = s.tokens[std::size_t(Scene::t * Scene::c + 2 * Scene::c + 11)];  // prompt 1, token 2
    for (const Cpu& b : levels(Precision::fast)) {
      CAPTURE(isa_name(b.isa));
      const auto keys = s.tokens_ask(b, 2), queries = s.pixels_ask(b, 2);
      const float kept = std::exchange(place, bad);
      const auto bad_keys = s.tokens_ask(b, 2), bad_queries = s.pixels_ask(b, 2);
      place = kept;
      for (std::size_t i = 0; i < keys.size(); ++i) {
        const Index token = Index(i) / Scene::c;
        if (token == Scene::t + 2) {
          CHECK(std::isnan(bad_keys[i]));
        } else {
          CHECK(bad_keys[i] == keys[i]);
        }
      }
      for (std::size_t i = 0; i < queries.size(); ++i) {
        if (Index(i) / (Scene::p * Scene::c) == 1) {
          CHECK(std::isnan(bad_queries[i]));
        } else {
          CHECK(bad_queries[i] == queries[i]);
        }
      }
    }
  }
}

TEST_CASE("upscaling in fast: transposed convolutions have the same bits on every level; with norm, GELU and hypernetwork they are near f32") {
  const Index h = 7, w = 9, c = 64, mid = 32, fine = 16, m = 2;
  Rng rng({6});
  const auto random = [&](Index n) {
    std::vector<float> v(static_cast<std::size_t>(n));
    for (auto& e : v) e = rng.uniform(-1, 1);
    return v;
  };
  const auto x = random(h * w * c), hyper = random(m * fine), w0 = random(c * mid * 4), w3 = random(mid * fine * 4), b0 = random(mid), b3 = random(fine);
  const RandomNorm norm(rng, mid, 1e-6f);
  const ConvParams first{View<const float, 4>(w0.data(), {c, mid, 2, 2}), View<const float, 1>(b0.data(), {mid}), {}, 2, 0, "up0"};
  const ConvParams second{View<const float, 4>(w3.data(), {mid, fine, 2, 2}), View<const float, 1>(b3.data(), {fine}), {}, 2, 0, "up3"};
  const auto convolved = [&](const Cpu& b, int threads) {
    const auto packed = pack_conv_transpose(b, first);
    REQUIRE(packed.valid());
    std::vector<float> y(std::size_t(4 * h * w * mid), -1.0f);
    auto call = [&](Context<Cpu>& ctx) { conv_transpose2d(ctx, packed, View<const float, 3>(x.data(), {h, w, c}), View<float, 3>(y.data(), {2 * h, 2 * w, mid})); };
    run_planned(b, threads, call);
    return y;
  };
  const auto masks = [&](const Cpu& b, int threads) {
    const auto up0 = pack_conv_transpose(b, first), up3 = pack_conv_transpose(b, second);
    const auto up1 = pack(b, norm.p);
    std::vector<float> y(std::size_t(m * 16 * h * w), -1.0f);
    auto call = [&](Context<Cpu>& ctx) { upscale_masks(ctx, up0, up1, up3, View<const float, 3>(x.data(), {1, h * w, c}), w, View<const float, 3>(hyper.data(), {1, m, fine}), View<float, 3>(y.data(), {1, m, 16 * h * w})); };
    run_planned(b, threads, call);
    return y;
  };
  const auto all = levels(Precision::fast);
  const auto bits = convolved(all.front(), 1);
  for (const Cpu& b : all) {
    CAPTURE(isa_name(b.isa));
    CHECK(same_bits(convolved(b, 1), bits));
    CHECK(same_bits(convolved(b, 3), bits));
    const double step = relative_distance(bits, convolved(exact_backend(b), 1));
    CHECK(step > 0);
    CHECK(step <= 2.0 / 8190);  // as conv2d in precision_test.cpp
    const auto y = masks(b, 1);
    CHECK(same_bits(y, masks(b, 3)));
    // Two products, and GELU passes an error on at most 1.13 times; behind a GELU values are half as large in the mean square as the largest asks for.
    CHECK(relative_distance(y, masks(exact_backend(b), 1)) <= 2 * 2.0 / 8190 * 1.13);
    const Cpu bf16{.isa = b.isa, .precision = Precision::bf16};
    if (cpu::products(b.kernels(), Precision::bf16).gemm) CHECK(same_bits(masks(bf16, 1), masks(exact_backend(b), 1)));  // never shorter numbers than these
  }
}
