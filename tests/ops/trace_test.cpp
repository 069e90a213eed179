// Taps inside whole ops: on every backend a requested name gives PyTorch's tensor (biases in, before activation and residual, raster order without pads, PyTorch's
// shape), whatever else is requested, and the result of the op stays right; fused backends take their unfused paths here.
#include "support/for_each_backend.hpp"
#include "support/oracle/attention.hpp"
#include "support/oracle/conv.hpp"
#include "support/random_layers.hpp"

#include <map>

using namespace sampan;
using namespace sampan::test;

namespace {

struct Expected {
  std::vector<std::int64_t> shape;
  Tensor64 values;  // in the order of that shape
};
using Taps = std::map<std::string, Expected>;

/// [h, w, c] -> [c, h, w].
Tensor64 channels_first(const Tensor64& x) {
  Tensor64 t(x.e[2], x.e[0], x.e[1]);
  for (Index c = 0; c < x.e[2]; ++c)
    for (Index y = 0; y < x.e[0]; ++y)
      for (Index i = 0; i < x.e[1]; ++i) t(c, y, i) = x(y, i, c);
  return t;
}

std::string judge(const float* got, Index n, const Tensor64& want, Errors& e) {
  if (n != want.size()) return cat(n, " values, expected ", want.size());
  e = compare(got, want);
  return e.nonfinite;
}

/// For every tap alone and for all together: names, shapes and values of the records, and the op's own output.
template <int R, class Pack, class Op>
void check_taps(const std::string& what, const Taps& taps, const Tensor64& result, std::array<Index, std::size_t(R)> out, Extent2 grid, Pack&& pack_weights, Op&& op) {
  std::vector<std::vector<std::string>> requests;
  for (const auto& [name, x] : taps) requests.push_back({name});
  requests.push_back({"*"});
  for (const auto& names : requests) {
    std::map<std::string, Errors> plain;  // of Reference, by name; "" is the result
    for_each_backend([&]<class B>(const std::string& who, const B& b, ThreadPool& pool) {
      if (pool.threads() == 2 || pool.threads() == 8) return;
      const bool reference = std::is_same_v<B, Reference>;
      INFO(what << ", " << names[0] << " on " << who);
      Trace trace(names);
      const auto w = pack_weights(b);
      GuardBuffer<R> y(out);
      const Outcome o = run(b, pool, [&](Context<B>& ctx) {
        ctx.grid = grid;
        op(ctx, w, y.view());
      }, &trace);
      CHECK_MESSAGE(test::judge(o, -1).empty(), test::judge(o, -1));
      CHECK(y.guards_intact());
      const std::size_t wanted = names[0] == "*" ? taps.size() : 1;
      CHECK(trace.records().size() == wanted);
      auto check_one = [&](const std::string& name, const float* got, Index n, const Tensor64& want) {
        Errors e;
        std::string wrong = judge(got, n, want, e);
        if (reference) plain[name] = e;
        if (wrong.empty() && reference && e.worst > 1) wrong = cat("off by ", e.worst, " times the derived bound");
        if (wrong.empty() && !reference && e.floor > 2 * plain[name].floor + 2) wrong = cat("off by ", e.floor, " floors, Reference by ", plain[name].floor);
        CHECK_MESSAGE(wrong.empty(), std::string(cat(name.empty() ? "result" : name, ": ", wrong)));
      };
      for (const auto& r : trace.records()) {
        const auto it = taps.find(r.name);
        CHECK_MESSAGE(it != taps.end(), std::string("unexpected tap " + r.name));
        if (it == taps.end()) continue;
        CHECK_MESSAGE(r.shape == it->second.shape, r.name);
        check_one(r.name, r.data.data(), Index(r.data.size()), it->second.values);
      }
      std::vector<float> values;
      y.each([&](float& x) { values.push_back(x); });
      check_one("", values.data(), Index(values.size()), result);
    });
  }
}

}  // namespace

TEST_CASE("taps of linear: before activation and residual, the norm before it") {
  Rng rng(Seed{1});
  RandomLinear w(rng, 7, 5, true, "lin");
  RandomNorm norm(rng, 5, 1e-5f, "norm");
  GuardBuffer<2> x({6, 5}, {}, rng), residual({6, 7}, {}, rng);
  const Tensor64 in = exact(x.in()), r = exact(residual.in());
  const Taps taps{{"lin", {{1, 6, 7}, oracle::linear(in, w.p, norm.p)}}, {"norm", {{1, 6, 5}, oracle::layer_norm(in, norm.p)}}};
  check_taps<2>("linear", taps, oracle::linear(in, w.p, norm.p, Activation::gelu_erf, &r), {6, 7}, {}, [&](const auto& b) { return pack(b, w.p, norm.p); },
                [&](auto& ctx, const auto& p, const View<float, 2>& y) { linear(ctx, p, x.in(), y, {Activation::gelu_erf, residual.in()}); });
}

TEST_CASE("taps of layer_norm: before its activation") {
  Rng rng(Seed{2});
  RandomNorm norm(rng, 5, 1e-5f, "norm");
  GuardBuffer<2> x({6, 5}, {}, rng);
  const Tensor64 n = oracle::layer_norm(exact(x.in()), norm.p);
  check_taps<2>("layer_norm", {{"norm", {{1, 6, 5}, n}}}, oracle::activation(n, Activation::gelu_erf), {6, 5}, {}, [&](const auto& b) { return pack(b, norm.p); },
                [&](auto& ctx, const auto& p, const View<float, 2>& y) { layer_norm(ctx, p, x.in(), y, Activation::gelu_erf); });
}

TEST_CASE("taps of mlp: norm, lin1 before and act after the activation, lin2, and the module without the residual") {
  Rng rng(Seed{3});
  RandomNorm norm(rng, 6, 1e-5f, "mlp.norm");
  RandomLinear lin1(rng, 24, 6, true, "mlp.fc1"), lin2(rng, 6, 24, true, "mlp.fc2");
  for (Index n : {12, 700}) {  // few rows, and enough for a fused path
    GuardBuffer<2> x({n, 6}, {}, rng);
    const Tensor64 in = exact(x.in()), h = oracle::linear(in, lin1.p, norm.p), a = oracle::activation(h, Activation::gelu_erf), out = oracle::linear(a, lin2.p);
    const Extent2 grid{n / 4, 4};
    const std::vector<std::int64_t> wide{1, n / 4, 4, 24}, narrow{1, n / 4, 4, 6};
    const Taps taps{{"mlp.norm", {narrow, oracle::layer_norm(in, norm.p)}}, {"mlp.fc1", {wide, h}}, {"mlp.act", {wide, a}}, {"mlp.fc2", {narrow, out}}, {"mlp", {narrow, out}}};
    check_taps<2>("mlp", taps, oracle::add(out, in), {n, 6}, grid, [&](const auto& b) { return pack(b, MlpParams{norm.p, lin1.p, lin2.p, Activation::gelu_erf, "mlp"}); },
                  [&](auto& ctx, const auto& p, const View<float, 2>& y) { mlp(ctx, p, x.in(), y, x.in()); });
  }
}

TEST_CASE("taps of attention: norm, qkv with biases, proj, the module without the residual; raster order, no pads, [1,h,w,c]") {
  for (bool tiny_vit : {false, true})
    for (Index window : {0, 3}) {
      Rng rng(Seed{4});
      const Index h = 5, w = 7, heads = 2, d = 4, c = heads * d, size_h = window ? window : h, size_w = window ? window : w;
      RandomNorm norm(rng, c, 1e-6f, "attn.norm");
      RandomLinear qkv(rng, 3 * c, c, true, "attn.qkv"), proj(rng, c, c, true, "attn.proj");
      GuardBuffer<2> rel_h({2 * size_h - 1, d}, kInFile, rng), rel_w({2 * size_w - 1, d}, kInFile, rng), table({heads, size_h * size_w}, kInFile, rng);
      AttentionParams p{norm.p, qkv.p, proj.p, rel_h.in(), rel_w.in(), {}, heads, window, QkvLayout::split, PadRule::after_norm, "attn"};
      if (tiny_vit) p.rel_pos_h = p.rel_pos_w = {}, p.bias_table = table.in(), p.layout = QkvLayout::per_head, p.pad_rule = PadRule::before_norm;
      GuardBuffer<3> x({h, w, c}, {}, rng), residual({h, w, c}, {}, rng);
      const Tensor64 r = exact(residual.in());
      const auto with = oracle::attention(exact(x.in()), p, &r);
      const Taps taps{{"attn.norm", {{1, h, w, c}, with.norm}}, {"attn.qkv", {{1, h, w, 3 * c}, with.qkv}}, {"attn.proj", {{1, h, w, c}, with.proj}}, {"attn", {{1, h, w, c}, with.proj}}};
      auto pack_weights = [&](const auto& b) { return pack(b, p); };
      const std::string what = cat(tiny_vit ? "TinyViT" : "SAM", ", window ", window);
      check_taps<3>(what + ", residual", taps, with.y, {h, w, c}, {h, w}, pack_weights, [&](auto& ctx, const auto& a, const View<float, 3>& y) { attention(ctx, a, x.in(), y, residual.in()); });
      check_taps<3>(what, taps, with.proj, {h, w, c}, {h, w}, pack_weights, [&](auto& ctx, const auto& a, const View<float, 3>& y) { attention(ctx, a, x.in(), y); });
    }
}

TEST_CASE("taps of cross_attention: projections of a batch of prompts as [batch, tokens, c], and the module without the residual") {
  Rng rng(Seed{5});
  const Index b = 3, nq = 4, nk = 5, c = 6, inner = 4;
  RandomLinear q(rng, inner, c, true, "x.q_proj"), k(rng, inner, c, true, "x.k_proj"), v(rng, inner, c, true, "x.v_proj"), out(rng, c, inner, true, "x.out_proj");
  const CrossAttentionParams p{q.p, k.p, v.p, out.p, 2, "x"};
  GuardBuffer<3> qs({b, nq, c}, {}, rng), q_pe({b, nq, c}, {}, rng), ks({b, nk, c}, {}, rng), k_pe({1, nk, c}, {}, rng), residual({b, nq, c}, {}, rng);
  const Tensor64 q_sum = oracle::add(exact(qs.in()), exact(q_pe.in())).shaped(b * nq, c), k_sum = oracle::add(exact(ks.in()), exact(k_pe.in())).shaped(b * nk, c), r = exact(residual.in()).shaped(b * nq, c);
  const Tensor64 y = oracle::cross_attention(p, exact(qs.in()), exact(q_pe.in()), exact(ks.in()), exact(k_pe.in()), exact(ks.in()), nullptr);
  const Taps taps{{"x.q_proj", {{b, nq, inner}, oracle::linear(q_sum, q.p)}}, {"x.k_proj", {{b, nk, inner}, oracle::linear(k_sum, k.p)}}, {"x.v_proj", {{b, nk, inner}, oracle::linear(exact(ks.in()).shaped(b * nk, c), v.p)}},
                  {"x.out_proj", {{b, nq, c}, y}}, {"x", {{b, nq, c}, y}}};
  const CrossAttentionInput in{qs.in(), q_pe.in(), ks.in(), k_pe.in(), ks.in()};
  auto pack_weights = [&](const auto& backend) { return pack(backend, p); };
  check_taps<3>("cross_attention", taps, oracle::add(y, r), {b, nq, c}, {}, pack_weights, [&](auto& ctx, const auto& w, const View<float, 3>& to) {
    ctx.batch = b;
    cross_attention(ctx, w, in, to, residual.in());
  });
  check_taps<3>("cross_attention, no residual", taps, y, {b, nq, c}, {}, pack_weights, [&](auto& ctx, const auto& w, const View<float, 3>& to) {
    ctx.batch = b;
    cross_attention(ctx, w, in, to);
  });
}

TEST_CASE("taps of convolutions: [1,c,h,w], before the activation, behind the BatchNorm under its name or the convolution's own") {
  Rng rng(Seed{6});
  RandomConv plain(rng, {5, 3, 3, 3}, {2, 1, true, false, "conv", ""}), bn(rng, {5, 3, 3, 3}, {1, 1, false, true, "c", "bn"}), dw(rng, {3, 1, 3, 3}, {1, 1, false, true, "dw.c", "dw.bn"});
  RandomConv up(rng, {3, 3, 2, 2}, {2, 0, true, false, "up", ""});
  GuardBuffer<3> x({5, 6, 3}, {}, rng);
  const Tensor64 in = exact(x.in());
  const Tensor64 a = oracle::conv2d(in, plain.p), b = oracle::conv2d(in, bn.p), d = oracle::conv2d(in, dw.p, Activation::none, true), t = oracle::conv_transpose2d(in, up.p);
  check_taps<3>("conv2d", {{"conv", {{1, 5, 3, 3}, channels_first(a)}}}, oracle::activation(a, Activation::relu), {3, 3, 5}, {}, [&](const auto& be) { return pack_conv(be, plain.p); },
                [&](auto& ctx, const auto& w, const View<float, 3>& y) { conv2d(ctx, w, x.in(), y, Activation::relu); });
  check_taps<3>("conv2d with bn", {{"bn", {{1, 5, 5, 6}, channels_first(b)}}}, oracle::activation(b, Activation::gelu_erf), {5, 6, 5}, {}, [&](const auto& be) { return pack_conv(be, bn.p); },
                [&](auto& ctx, const auto& w, const View<float, 3>& y) { conv2d(ctx, w, x.in(), y, Activation::gelu_erf); });
  check_taps<3>("depthwise_conv", {{"dw.bn", {{1, 3, 5, 6}, channels_first(d)}}}, oracle::activation(d, Activation::gelu_erf), {5, 6, 3}, {}, [&](const auto& be) { return pack_depthwise(be, dw.p); },
                [&](auto& ctx, const auto& w, const View<float, 3>& y) { depthwise_conv(ctx, w, x.in(), y, Activation::gelu_erf); });
  check_taps<3>("conv_transpose2d", {{"up", {{1, 3, 10, 12}, channels_first(t)}}}, oracle::activation(t, Activation::gelu_erf), {10, 12, 3}, {}, [&](const auto& be) { return pack_conv_transpose(be, up.p); },
                [&](auto& ctx, const auto& w, const View<float, 3>& y) { conv_transpose2d(ctx, w, x.in(), y, Activation::gelu_erf); });
}

TEST_CASE("taps of mbconv: each BatchNorm's output") {
  Rng rng(Seed{7});
  RandomConv c1(rng, {9, 4, 1, 1}, {1, 0, false, true, "m.conv1.c", "m.conv1.bn"}), c2(rng, {9, 1, 3, 3}, {1, 1, false, true, "m.conv2.c", "m.conv2.bn"}), c3(rng, {4, 9, 1, 1}, {1, 0, false, true, "m.conv3.c", "m.conv3.bn"});
  GuardBuffer<3> x({5, 6, 4}, {}, rng);
  const Tensor64 in = exact(x.in()), a = oracle::conv2d(in, c1.p), b = oracle::conv2d(oracle::activation(a, Activation::gelu_erf), c2.p, Activation::none, true), c = oracle::conv2d(oracle::activation(b, Activation::gelu_erf), c3.p);
  const Taps taps{{"m.conv1.bn", {{1, 9, 5, 6}, channels_first(a)}}, {"m.conv2.bn", {{1, 9, 5, 6}, channels_first(b)}}, {"m.conv3.bn", {{1, 4, 5, 6}, channels_first(c)}}};
  check_taps<3>("mbconv", taps, oracle::mbconv(in, c1.p, c2.p, c3.p, true, Activation::gelu_erf), {5, 6, 4}, {}, [&](const auto& be) { return pack(be, MbConvParams{c1.p, c2.p, c3.p, true, Activation::gelu_erf, "m"}); },
                [&](auto& ctx, const auto& w, const View<float, 3>& y) { mbconv(ctx, w, x.in(), y); });
}

TEST_CASE("a layer that runs twice taps its name, then name#2, each with its own values") {
  Rng rng(Seed{8});
  RandomLinear w(rng, 4, 4, true, "lin");
  GuardBuffer<2> x({3, 4}, {}, rng), other({3, 4}, {}, rng);
  const Tensor64 first = oracle::linear(exact(x.in()), w.p), second = oracle::linear(exact(other.in()), w.p);
  for_each_backend([&]<class B>(const std::string& who, const B& b, ThreadPool& pool) {
    INFO(who);
    Trace trace({"lin"});
    GuardBuffer<2> y({3, 4});
    const auto packed = pack(b, w.p);
    REQUIRE(run(b, pool, [&](Context<B>& ctx) {
              linear(ctx, packed, x.in(), y.view(), {Activation::relu});
              linear(ctx, packed, other.in(), y.view());
            }, &trace).status.ok());
    REQUIRE(trace.records().size() == 2);
    CHECK(trace.records()[0].name == "lin");
    CHECK(trace.records()[1].name == "lin#2");
    CHECK(compare(trace.records()[0].data.data(), first).worst <= 1);
    CHECK(compare(trace.records()[1].data.data(), second).worst <= 1);
  });
}
