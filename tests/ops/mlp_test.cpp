// mlp: y = residual + lin2(act(lin1(norm(x)))) on every backend, against the formula in double; SAM (no norm, GELU), TinyViT (norm), decoder (ReLU).
#include "support/for_each_backend.hpp"
#include "support/oracle/layers.hpp"
#include "support/random_layers.hpp"

using namespace sampan;
using namespace sampan::test;

namespace {

struct RandomMlp {
  RandomNorm norm;
  RandomLinear lin1, lin2;
  MlpParams p;
  RandomMlp(Rng& rng, Index c, Index m, bool with_norm, Activation a) : norm(rng, c, 1e-5f), lin1(rng, m, c), lin2(rng, c, m) {
    p = {with_norm ? norm.p : NormParams{}, lin1.p, lin2.p, a, "mlp"};
  }
  Tensor64 expected(const Tensor64& x, const Tensor64* residual) const {
    return oracle::linear(oracle::linear(x, p.lin1, p.norm, p.activation), p.lin2, {}, Activation::none, residual);
  }
};

}  // namespace

TEST_CASE("mlp: rows, widths, norm, activation, residual, in place") {
  Sweep sweep("mlp");
  std::uint64_t seed = 1;
  for (Index n : {1, 7, 8, 9, 33, 64, 65, 130})
    for (auto [c, m] : {std::pair<Index, Index>{1, 4}, {8, 31}, {31, 96}, {33, 132}, {80, 257}})
      for (bool with_residual : {false, true}) {
        const auto s = seed++;
        if (!kThorough && s % 5) continue;
        Rng rng(Seed{s});
        const Layout lx = kLayouts[s % std::size(kLayouts)], ly = kLayouts[(s + 3) % std::size(kLayouts)];
        RandomMlp w(rng, c, m, s % 3 == 0, s % 4 == 0 ? Activation::relu : Activation::gelu_erf);
        GuardBuffer<2> x({n, c}, lx, rng), residual({n, c}, ly, rng);
        const Tensor64 r = exact(residual.in());
        const double flop = 4.0 * double(n) * double(c) * double(m) + (w.p.norm.present() ? 8.0 * double(n) * double(c) : 0);
        const std::string what = cat("[", n, ",", c, "] hidden ", m, with_residual ? " residual" : "", w.p.norm.present() ? " norm" : "");
        auto pack_weights = [&](const auto& b) { return pack(b, w.p); };
        sweep.check<2>(what, w.expected(exact(x.in()), with_residual ? &r : nullptr), flop, {{n, c}, ly}, pack_weights, [&](auto& ctx, const auto& p, const View<float, 2>& y) {
          mlp(ctx, p, x.in(), y, with_residual ? residual.in() : View<const float, 2>());
        });
        if (!with_residual) continue;
        sweep.check<2>(what + ", y is the residual", w.expected(exact(x.in()), &r), flop, {{n, c}, ly, &residual}, pack_weights,
                       [&](auto& ctx, const auto& p, const View<float, 2>& y) { mlp(ctx, p, x.in(), y, y); });
        sweep.check<2>(what + ", y is x and the residual", w.expected(r, &r), flop, {{n, c}, ly, &residual}, pack_weights,
                       [&](auto& ctx, const auto& p, const View<float, 2>& y) { mlp(ctx, p, y, y, y); });
      }
}

TEST_CASE("mlp: enough rows to keep a block's hidden layer, and one block less") {
  Sweep sweep("mlp, blocks");
  for (Index n : {95, 96, 97, 672, 673, 700})
    for (bool with_norm : {false, true}) {
      Rng rng(Seed{std::uint64_t(n)});
      RandomMlp w(rng, 20, n < 100 ? 200 : 40, with_norm, Activation::gelu_erf);
      GuardBuffer<2> x({n, 20}, {1, 3}, rng);
      const Tensor64 r = exact(x.in());
      sweep.check<2>(cat(n, " rows"), w.expected(r, &r), -1, {{n, 20}, {1, 3}, &x}, [&](const auto& b) { return pack(b, w.p); }, [&](auto& ctx, const auto& p, const View<float, 2>& y) { mlp(ctx, p, y, y, y); });
    }
}

TEST_CASE("mlp: NaN fills its row and no other") {
  Rng rng(Seed{9});
  RandomMlp w(rng, 33, 70, true, Activation::relu);
  GuardBuffer<2> x({9, 33}, {}, rng), residual({9, 33}, {}, rng);
  x.view()(3, 4) = std::nanf(""), residual.view()(7, 1) = std::nanf("");
  const Tensor64 r = exact(residual.in());
  Sweep sweep("mlp, NaN");
  sweep.check<2>("NaN", w.expected(exact(x.in()), &r), -1, {{9, 33}}, [&](const auto& b) { return pack(b, w.p); },
                 [&](auto& ctx, const auto& p, const View<float, 2>& y) { mlp(ctx, p, x.in(), y, residual.in()); });
}

TEST_CASE("mlp refuses extents that disagree, and is inert on a failed context") {
  Rng rng(Seed{1});
  RandomMlp w(rng, 4, 6, true, Activation::gelu_erf);
  GuardBuffer<2> x({3, 4}, {}, rng), wide({3, 5}, {}, rng);
  auto pack_weights = [&](const auto& b) { return pack(b, w.p); };
  check_refused<2>("rows", {2, 4}, pack_weights, [&](auto& ctx, const auto& p, const View<float, 2>& y) { mlp(ctx, p, x.in(), y); });
  check_refused<2>("width of x", {3, 4}, pack_weights, [&](auto& ctx, const auto& p, const View<float, 2>& y) { mlp(ctx, p, wide.in(), y); });
  check_refused<2>("width of y", {3, 5}, pack_weights, [&](auto& ctx, const auto& p, const View<float, 2>& y) { mlp(ctx, p, x.in(), y); });
  check_refused<2>("residual", {3, 4}, pack_weights, [&](auto& ctx, const auto& p, const View<float, 2>& y) { mlp(ctx, p, x.in(), y, wide.in()); });
  check_inert<2>({3, 4}, pack_weights, [&](auto& ctx, const auto& p, const View<float, 2>& y) { mlp(ctx, p, x.in(), y, x.in()); });
}
