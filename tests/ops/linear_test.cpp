// linear: y = act(norm(x) W^T + b) + residual on every backend, against the formula in double; sizes around every boundary, misaligned and strided views.
#include "support/for_each_backend.hpp"
#include "support/oracle/layers.hpp"
#include "support/random_layers.hpp"

using namespace sampan;
using namespace sampan::test;

namespace {

struct Case {
  Index n, in, out;
  bool bias = true, norm = false, residual = false;
  Activation activation = Activation::none;
  Layout x = {}, y = {};
};

void check(Sweep& sweep, const Case& c, Seed seed) {
  Rng rng(seed);
  RandomLinear w(rng, c.out, c.in, c.bias, "lin");
  std::optional<RandomNorm> norm;
  if (c.norm) norm.emplace(rng, c.in, 1e-6f, "norm");
  const NormParams norm_p = c.norm ? norm->p : NormParams{};
  GuardBuffer<2> x({c.n, c.in}, c.x, rng), residual({c.n, c.out}, c.y, rng);
  const Tensor64 r = exact(residual.in());
  const Tensor64 expected = oracle::linear(exact(x.in()), w.p, norm_p, c.activation, c.residual ? &r : nullptr);
  const double flop = 2.0 * double(c.n) * double(c.in) * double(c.out) + (c.norm ? 8.0 * double(c.n) * double(c.in) : 0);
  const std::string what = cat("[", c.n, ",", c.in, "] -> ", c.out, c.bias ? " bias" : "", c.norm ? " norm" : "", c.activation != Activation::none ? " act" : "", c.residual ? " residual" : "",
                               ", x offset ", c.x.offset, " gap ", c.x.gap, ", y offset ", c.y.offset, " gap ", c.y.gap);
  auto pack_weights = [&](const auto& b) { return pack(b, w.p, norm_p); };
  sweep.check<2>(what, expected, flop, {{c.n, c.out}, c.y}, pack_weights, [&](auto& ctx, const auto& packed, const View<float, 2>& y) {
    linear(ctx, packed, x.in(), y, {c.activation, c.residual ? residual.in() : View<const float, 2>()});
  });
  if (c.residual)  // the usual call: y is the residual
    sweep.check<2>(what + " in place", expected, flop, {{c.n, c.out}, c.y, &residual}, pack_weights, [&](auto& ctx, const auto& packed, const View<float, 2>& y) {
      linear(ctx, packed, x.in(), y, {c.activation, y});
    });
}

}  // namespace

TEST_CASE("linear: widths around every boundary") {
  Sweep sweep("linear");
  const Index widths[] = {1, 3, 8, 31, 32, 33, 80, 96, 257};
  const Index rows[] = {1, 7, 8, 9, 33, 2};
  std::uint64_t seed = 1;
  for (Index in : widths)
    for (Index out : widths) {
      const auto s = seed++;
      if (!kThorough && s % 5) continue;
      Case c{.n = rows[s % 6], .in = in, .out = out, .bias = s % 4 != 0, .norm = s % 3 == 0, .residual = s % 5 == 0};
      c.activation = s % 2 ? Activation::none : s % 4 ? Activation::relu : Activation::gelu_erf;
      c.x = kLayouts[s % std::size(kLayouts)], c.y = kLayouts[(s / 2) % std::size(kLayouts)];
      check(sweep, c, {s});
    }
}

TEST_CASE("linear: rows around every boundary, all epilogues") {
  Sweep sweep("linear");
  std::uint64_t seed = 1000;
  for (Index n : {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 95, 96, 97, 191, 192, 193, 257})
    for (int variant = 0; variant < 4; ++variant) {
      const auto s = seed++;
      if (!kThorough && s % 5) continue;
      check(sweep,
            {.n = n, .in = 33, .out = 47, .bias = variant != 2, .norm = variant >= 2, .residual = variant % 2 == 1, .activation = variant == 0 ? Activation::gelu_erf : variant == 3 ? Activation::relu : Activation::none,
             .x = kLayouts[s % std::size(kLayouts)], .y = kLayouts[(s + 1) % std::size(kLayouts)]},
            {s});
    }
}

TEST_CASE("linear: several blocks in every direction") {
  Sweep sweep("linear, blocks");
  for (Index out : {11, 12, 13, 15, 16, 17, 47, 48, 49, 63, 64, 65, 95, 97}) check(sweep, {.n = 9, .in = 5, .out = out, .y = {1, 1}}, {std::uint64_t(out)});  // panels of every level
  for (Index k : {255, 256, 257, 383, 384, 385, 513, 769}) check(sweep, {.n = 5, .in = k, .out = 31, .norm = k == 257}, {std::uint64_t(k)});
  for (Index out : {191, 192, 193, 383, 385, 600}) check(sweep, {.n = 13, .in = 17, .out = out, .residual = out == 193}, {std::uint64_t(out)});
  for (Index n : {672, 673, 769}) check(sweep, {.n = n, .in = 9, .out = 200, .activation = Activation::gelu_erf}, {std::uint64_t(n)});  // below and above eight blocks of rows
  check(sweep, {.n = 200, .in = 21, .out = 390, .norm = true, .residual = true, .x = {3, 1}}, {2004});  // rows packed once for three blocks of columns
  check(sweep, {.n = 2, .in = 3072, .out = 5}, {2001});
  if (kThorough) check(sweep, {.n = 300, .in = 16, .out = 1100, .activation = Activation::relu}, {2002});
  if (kThorough) check(sweep, {.n = 530, .in = 400, .out = 130, .norm = true, .residual = true, .x = {3, 1}, .y = {1, 2}}, {2003});
  if (kThorough) check(sweep, {.n = 70, .in = 1300, .out = 257, .activation = Activation::gelu_erf, .y = {0, 0, true}}, {2004});
}

TEST_CASE("linear: NaN and infinity go where PyTorch puts them") {
  Sweep sweep("linear, NaN");
  for (Activation a : {Activation::none, Activation::relu, Activation::gelu_erf})
    for (bool norm : {false, true}) {
      Rng rng(Seed{3000});
      RandomLinear w(rng, 40, 33);
      RandomNorm n(rng, 33, 1e-5f);
      const NormParams norm_p = norm ? n.p : NormParams{};
      GuardBuffer<2> x({9, 33}, {}, rng), residual({9, 40}, {}, rng);
      x.view()(2, 5) = std::nanf("");          // the whole row
      residual.view()(4, 7) = std::nanf("");   // one element
      if (!norm) x.view()(6, 0) = std::numeric_limits<float>::infinity(), w.weight.view()(3, 0) = 0;  // inf * 0 is NaN, the rest infinite
      Tensor64 r = exact(residual.in());
      Tensor64 expected = oracle::linear(exact(x.in()), w.p, norm_p, a, &r);
      if (a == Activation::gelu_erf && !norm)  // GELU(-inf): PyTorch's formula gives NaN, the limit is 0; not fixed by the contract
        for (Index o = 0; o < 40; ++o) x.view()(6, 0) = 1, expected = oracle::linear(exact(x.in()), w.p, norm_p, a, &r);
      sweep.check<2>("NaN", expected, -1, {{9, 40}}, [&](const auto& b) { return pack(b, w.p, norm_p); },
                     [&](auto& ctx, const auto& packed, const View<float, 2>& y) { linear(ctx, packed, x.in(), y, {a, residual.in()}); });
    }
}

TEST_CASE("linear refuses extents that disagree, and writes nothing") {
  Rng rng(Seed{1});
  RandomLinear w(rng, 5, 4);
  GuardBuffer<2> x({3, 4}, {}, rng), wide({3, 5}, {}, rng), tall({2, 4}, {}, rng), residual({3, 4}, {}, rng);
  auto pack_weights = [&](const auto& b) { return pack(b, w.p); };
  check_refused<2>("rows", {3, 5}, pack_weights, [&](auto& ctx, const auto& p, const View<float, 2>& y) { linear(ctx, p, tall.in(), y); });
  check_refused<2>("width of x", {3, 5}, pack_weights, [&](auto& ctx, const auto& p, const View<float, 2>& y) { linear(ctx, p, wide.in(), y); });
  check_refused<2>("width of y", {3, 6}, pack_weights, [&](auto& ctx, const auto& p, const View<float, 2>& y) { linear(ctx, p, x.in(), y); });
  check_refused<2>("residual", {3, 5}, pack_weights, [&](auto& ctx, const auto& p, const View<float, 2>& y) { linear(ctx, p, x.in(), y, {Activation::none, residual.in()}); });
}

TEST_CASE("linear does nothing on a context that is beyond use") {
  Rng rng(Seed{1});
  RandomLinear w(rng, 5, 4);
  RandomNorm norm(rng, 4, 1e-5f);
  GuardBuffer<2> x({3, 4}, {}, rng);
  check_inert<2>({3, 5}, [&](const auto& b) { return pack(b, w.p, norm.p); }, [&](auto& ctx, const auto& p, const View<float, 2>& y) { linear(ctx, p, x.in(), y, {Activation::gelu_erf}); });
}
