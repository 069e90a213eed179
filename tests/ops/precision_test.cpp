// linear in 16-bit precisions: `fast` must give the same bits on every level and equal its definition (cpu/micro/dot.inl), computed here in integers;
// `bf16` must equal its definition where a level has it. Then what both may differ from f32 by, derived from their steps.
#include "support/precision_run.hpp"
#include "support/random_layers.hpp"

#include <cstdint>
#include <cstring>
#include <utility>

using namespace sampan;
using namespace sampan::test;

namespace {

float rounded(double x) { return float(x); }

/// One row or column as `fast` sees it.
struct Quantised {
  std::vector<int> values;
  float scale = 0;
  Quantised(const std::vector<float>& x, float levels) {
    float most = 0;
    for (float v : x) most = std::max(most, std::abs(v));
    scale = most / levels;
    const float inverse = most > 0 ? levels / most : 0.0f;
    for (float v : x) values.push_back(int(std::nearbyint(rounded(double(v) * double(inverse)))));
  }
  /// The largest sum of magnitudes over a chunk.
  std::int64_t sum() const {
    std::int64_t most = 0, sum = 0;
    for (std::size_t i = 0; i < values.size(); ++i) sum = (i % 128 ? sum : 0) + std::abs(values[i]), most = std::max(most, sum);
    return most;
  }
};

/// All columns of a layer, and what is left for rows.
struct QuantisedColumns {
  std::vector<Quantised> columns;
  float row_levels = 0;
  explicit QuantisedColumns(const std::vector<std::vector<float>>& w) {
    for (float levels : {8191.0f, 4095.0f}) {
      columns.clear();
      std::int64_t most = 1;
      for (const auto& c : w) most = std::max(most, columns.emplace_back(c, levels).sum());
      row_levels = float(std::min<std::int64_t>(2147483647 / most, 32767));
      if (row_levels >= 4095) return;
    }
  }
};

float fast_product(const Quantised& x, const Quantised& w, float bias) {
  float total = 0;
  for (std::size_t from = 0; from < x.values.size(); from += 128) {
    std::int64_t sum = 0;
    for (std::size_t i = from; i < std::min(from + 128, x.values.size()); ++i) sum += std::int64_t(x.values[i]) * w.values[i];
    REQUIRE(std::abs(sum) < (std::int64_t(1) << 31));
    const float part = float(std::int32_t(sum));
    total = from == 0 ? part : rounded(double(total) + double(part));
  }
  return rounded(double(rounded(double(total) * double(rounded(double(x.scale) * double(w.scale))))) + double(bias));
}

float bf16(float x) {
  std::uint32_t u;
  std::memcpy(&u, &x, 4);
  u = (u + 0x7fffu + (u >> 16 & 1u)) & 0xffff0000u;
  std::memcpy(&x, &u, 4);
  return x;
}
float bf16_product(const std::vector<float>& x, const std::vector<float>& w, float bias) {
  float total = 0;
  for (std::size_t from = 0; from < x.size(); from += 1536) {  // parts of 768 pairs
    float part = 0;
    for (std::size_t i = from; i < std::min(from + 1536, x.size()); i += 2) {
      if (i + 1 < x.size()) part = rounded(double(part) + double(bf16(x[i + 1])) * double(bf16(w[i + 1])));
      part = rounded(double(part) + double(bf16(x[i])) * double(bf16(w[i])));
    }
    total = from == 0 ? part : rounded(double(total) + double(part));
  }
  return rounded(double(total) + double(bias));
}

struct Problem {
  Index m, n, k;
  RandomLinear w;
  std::vector<float> x;
  Problem(Rng& rng, Index rows, Index out, Index in) : m(rows), n(out), k(in), w(rng, out, in, true, "lin"), x(std::size_t(rows * in)) {
    for (auto& v : x) v = rng.uniform(-2, 2);
  }
  View<const float, 2> in() const { return {x.data(), {m, k}}; }
  std::vector<float> row(Index i) const { return {x.begin() + i * k, x.begin() + (i + 1) * k}; }
  std::vector<float> column(Index j) const {
    std::vector<float> c;
    for (Index i = 0; i < k; ++i) c.push_back(w.p.weight(j, i));
    return c;
  }
  std::vector<float> run(const Cpu& b, int threads = 1, const Epilogue& e = {}, const NormParams& norm = {}) const {
    const auto packed = pack(b, w.p, norm);
    REQUIRE(packed.valid());
    std::vector<float> y(std::size_t(m * n), -1.0f);
    auto call = [&](Context<Cpu>& ctx) { linear(ctx, packed, in(), View<float, 2>(y.data(), {m, n}), e); };
    run_planned(b, threads, call);
    return y;
  }
};

constexpr Index kShapes[][3] = {{1, 1, 1}, {3, 5, 2}, {7, 17, 3}, {6, 64, 127}, {13, 65, 128}, {5, 63, 129}, {9, 48, 255}, {4, 33, 257}, {97, 50, 64}, {2, 200, 1535}, {7, 9, 1537}, {3, 780, 1700}};

}  // namespace

TEST_CASE("fast: the bits of its definition on every level, for any number of threads") {
  Rng rng({1});
  std::list<Problem> problems;
  for (const auto& s : kShapes) problems.emplace_back(rng, s[0], s[1], s[2]);
  for (Index k : {1, 64, 128, 300}) {  // the largest sums there are: every column would leave rows too few levels
    Problem& p = problems.emplace_back(rng, 2, 3, k);
    p.w.weight.each([](float& v) { v = 1; });
    for (auto& v : p.x) v = -2;
  }
  for (const Problem& p : problems) {
    std::vector<std::vector<float>> all;
    for (Index j = 0; j < p.n; ++j) all.push_back(p.column(j));
    const QuantisedColumns w(all);
    std::vector<float> expected;
    for (Index i = 0; i < p.m; ++i) {
      const Quantised row(p.row(i), w.row_levels);
      for (Index j = 0; j < p.n; ++j) expected.push_back(fast_product(row, w.columns[std::size_t(j)], p.w.p.bias(j)));
    }
    for (const Cpu& b : levels(Precision::fast))
      for (int threads : {1, 3}) {
        CAPTURE(isa_name(b.isa));
        CAPTURE(p.k);
        CAPTURE(threads);
        CHECK(same_bits(p.run(b, threads), expected));
      }
  }
  CHECK(levels(Precision::fast).size() >= 2);
}

TEST_CASE("bf16: the bits of its definition where a level has it, and nowhere else") {
  Rng rng({2});
  for (const auto& s : kShapes) {
    const Problem p(rng, s[0], s[1], s[2]);
    std::vector<float> expected;
    for (Index i = 0; i < p.m; ++i)
      for (Index j = 0; j < p.n; ++j) expected.push_back(bf16_product(p.row(i), p.column(j), p.w.p.bias(j)));
    for (const Cpu& b : levels(Precision::bf16)) {
      CAPTURE(isa_name(b.isa));
      CAPTURE(p.k);
      CHECK(same_bits(p.run(b), expected));
    }
  }
  for (const Cpu& b : levels(Precision::bf16)) CHECK((b.isa == Isa::portable512 || b.isa == Isa::avx512bf16));
  CHECK_FALSE(levels(Precision::bf16).empty());
  CHECK(levels(Precision::int8).empty());
}

TEST_CASE("fast and bf16: error of a layer with norm and activation within the sum of its rounding steps") {
  Rng rng({3});
  const Problem p(rng, 23, 70, 96);
  RandomNorm norm(rng, p.k, 1e-5f, "norm");
  const Epilogue relu{.activation = Activation::relu};
  const auto exact = p.run(Cpu{.isa = Isa::scalar}, 1, relu, norm.p);
  std::vector<float> normalised(p.x.size());
  for (Index i = 0; i < p.m; ++i) {
    double mean = 0, var = 0;
    for (Index j = 0; j < p.k; ++j) mean += double(p.x[std::size_t(i * p.k + j)]) / double(p.k);
    for (Index j = 0; j < p.k; ++j) var += std::pow(double(p.x[std::size_t(i * p.k + j)]) - mean, 2) / double(p.k);
    for (Index j = 0; j < p.k; ++j)
      normalised[std::size_t(i * p.k + j)] = float((double(p.x[std::size_t(i * p.k + j)]) - mean) / std::sqrt(var + 1e-5) * double(norm.p.weight(j)) + double(norm.p.bias(j)));
  }
  for (Precision precision : {Precision::fast, Precision::bf16})
    for (const Cpu& b : levels(precision)) {
      const auto y = p.run(b, 2, relu, norm.p);
      for (Index i = 0; i < p.m; ++i)
        for (Index j = 0; j < p.n; ++j) {
          double x_most = 0, w_most = 0, bound = 0;
          for (Index l = 0; l < p.k; ++l) x_most = std::max(x_most, std::abs(double(normalised[std::size_t(i * p.k + l)]))), w_most = std::max(w_most, std::abs(double(p.w.p.weight(j, l))));
          for (Index l = 0; l < p.k; ++l) {
            const double x = std::abs(double(normalised[std::size_t(i * p.k + l)])), w = std::abs(double(p.w.p.weight(j, l)));
            const double dx = precision == Precision::fast ? x_most / 4095 / 2 : x / 512, dw = precision == Precision::fast ? w_most / 4095 / 2 : w / 512;  // half a step each
            bound += x * dw + w * dx + dx * dw;
            bound += 128 * 1.2e-7 * x * w;  // float32: norm, sums and epilogue of both sides
          }
          const double error = std::abs(double(y[std::size_t(i * p.n + j)]) - double(exact[std::size_t(i * p.n + j)]));
          CHECK_MESSAGE(error <= bound, isa_name(b.isa), " ", precision_name(precision), " row ", i, " column ", j, ": ", error, " > ", bound);
        }
    }
}

TEST_CASE("fast and bf16: a row that is not finite gives NaN, or stays infinite, and touches no other row") {
  Rng rng({4});
  Problem p(rng, 8, 20, 65);
  const float bad[] = {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()};
  for (Index at : {0, 40, 64})
    for (float value : bad) {
      for (Precision precision : {Precision::fast, Precision::bf16})
        for (const Cpu& b : levels(precision)) {
          const auto good = p.run(b);
          float& place = p.x[std::size_t(3 * p.k + at)];
          const float kept = std::exchange(place, value);
          const auto y = p.run(b);
          place = kept;
          for (Index i = 0; i < p.m; ++i)
            for (Index j = 0; j < p.n; ++j) {
              const float v = y[std::size_t(i * p.n + j)];
              if (i == 3) {
                CHECK_FALSE(std::isfinite(v));
              } else {
                CHECK(v == good[std::size_t(i * p.n + j)]);
              }
            }
        }
    }
  for (auto& v : p.x) v = 0;  // no scale at all
  for (const Cpu& b : levels(Precision::fast)) {
    const auto y = p.run(b);
    for (Index i = 0; i < p.m; ++i)
      for (Index j = 0; j < p.n; ++j) CHECK(y[std::size_t(i * p.n + j)] == p.w.p.bias(j));
  }
}

namespace {

struct Heads {
  Index h, w, heads, d, window;
  bool rel = false, table = false, pads = false;
};

/// Self-attention of random tokens on one level and precision, below the rule that picks the precision per shape.
std::vector<float> attend_in(const Cpu& b, const Heads& s, int threads, float poison = 0) {
  Rng rng({99});
  const Index n = s.h * s.w, c = s.heads * s.d, wh = s.window ? s.window : s.h, ww = s.window ? s.window : s.w;
  auto random = [&](Index count, float range) {
    std::vector<float> v(static_cast<std::size_t>(count));
    for (auto& x : v) x = rng.uniform(-range, range);
    return v;
  };
  auto qkv = random(n * 3 * c, 1.5f);
  const auto rel_h = random((2 * wh - 1) * s.d, 0.3f), rel_w = random((2 * ww - 1) * s.d, 0.3f), table = random(s.heads * wh * ww, 1), pad = random(2 * c, 1);
  if (poison != 0) qkv[std::size_t(c + 1)] = poison;  // one key of the first token
  std::vector<float> out(static_cast<std::size_t>(n * c), -1.0f);
  AttendBias bias;
  if (s.rel) bias.rel_h = {rel_h.data(), {2 * wh - 1, s.d}}, bias.rel_w = {rel_w.data(), {2 * ww - 1, s.d}};
  if (s.table) bias.table = {table.data(), {s.heads, wh * ww}};
  auto call = [&](Context<Cpu>& ctx) {
    auto scope = ctx.arena.scope();
    cpu::AttendJob job(b.kernels(), b.precision, {s.h, s.w, s.heads, s.d, s.window, 1.0f / std::sqrt(float(s.d))}, sampan::detail::split_qkv(View<const float, 2>(qkv.data(), {n, 3 * c}), s.heads, QkvLayout::split),
                       View<float, 3>(out.data(), {n, s.heads, s.d}));
    if (s.pads) job.minus_pad_k = pad.data(), job.minus_pad_v = pad.data() + c, job.plus_pad_v = pad.data() + c;
    const cpu::BiasSize size = cpu::bias_size(job.level, bias, job.ww);
    float* panels = scope.make<float>(size.total()).data();
    job.bias = cpu::bias_panels(size, panels);
    cpu::run_attend(ctx, job, [&] { cpu::pack_bias(job.level, bias, job.ww, job.s.scale, size, panels); });
  };
  run_planned(b, threads, call);
  return out;
}

constexpr Heads kHeads[] = {{1, 1, 1, 16, 0}, {3, 5, 2, 7, 0}, {14, 14, 1, 64, 0, true}, {20, 17, 2, 33, 14, true, false, true}, {9, 16, 1, 80, 7, false, true}, {24, 24, 1, 130, 0, true}, {16, 33, 1, 12, 0}};

}  // namespace

TEST_CASE("attention in fast and bf16: near f32 on every level, the same for any number of threads") {
  for (const Heads& s : kHeads) {
    const auto exact = attend_in(Cpu{.isa = Isa::scalar}, s, 1);
    for (Precision precision : {Precision::fast, Precision::bf16})
      for (const Cpu& b : levels(precision)) {
        const auto y = attend_in(b, s, 1);
        const double relative = relative_distance(y, exact);
        CAPTURE(isa_name(b.isa));
        CAPTURE(s.d);
        // Half a step per operand, independent: fast 1/8190 of the largest value of a row, bf16 2^-9 of each value; scores multiply the error by their spread
        // (|score| < 4 here), and a mean over n values shrinks the result, but not the error, by up to sqrt(n).
        const double step = precision == Precision::fast ? 1.0 / 8190 : 1.0 / 512;
        CHECK_MESSAGE(relative <= 12 * step, precision_name(precision), ": ", relative);
        CHECK(same_bits(y, attend_in(b, s, 3)));
      }
  }
}

TEST_CASE("attention in fast and bf16: a key that is NaN shows in its window and nowhere else") {
  const Heads s{8, 16, 1, 48, 8};
  for (Precision precision : {Precision::fast, Precision::bf16})
    for (const Cpu& b : levels(precision)) {
      const auto good = attend_in(b, s, 1), y = attend_in(b, s, 1, std::numeric_limits<float>::quiet_NaN());
      for (Index t = 0; t < s.h * s.w; ++t)
        for (Index i = 0; i < s.d; ++i) {
          const auto at = std::size_t(t * s.d + i);
          if (t % s.w < s.window) {
            CHECK(std::isnan(y[at]));
          } else {
            CHECK(y[at] == good[at]);
          }
        }
    }
}

TEST_CASE("conv2d in fast: the same bits on every level, near f32; small weights and bf16 stay f32") {
  Rng rng({7});
  double row_levels = 0;  // the fewest of a Winograd position
  const auto run = [&](const Cpu& b, const ConvParams& p, const std::vector<float>& x, Index h, Index w, int threads = 2) {
    const auto packed = pack_conv(b, p);
    REQUIRE(packed.valid());
    const Index in = p.weight.extent(1), out = p.weight.extent(0), oh = h + 2 * p.pad - p.weight.extent(2) + 1, ow = w + 2 * p.pad - p.weight.extent(3) + 1;
    row_levels = 32767;
    for (const auto& position : packed.winograd.at) row_levels = std::min(row_levels, double(position.row_levels));
    std::vector<float> y(static_cast<std::size_t>(oh * ow * out), -1.0f);
    auto call = [&](Context<Cpu>& ctx) { conv2d(ctx, packed, View<const float, 3>(x.data(), {h, w, in}), View<float, 3>(y.data(), {oh, ow, out})); };
    run_planned(b, threads, call);
    return y;
  };
  struct Conv {
    Index out, in, kernel;
    int pad;
    bool in_fast;
    Index h = 6, w = 9;
  };
  // 3x3 with many channels: tiles of 2x2 outputs at every border, one block of them and several.
  for (const Conv& c : {Conv{128, 64, 3, 1, true}, Conv{37, 97, 1, 0, true}, Conv{16, 32, 3, 1, false}, Conv{128, 64, 3, 1, true, 1, 1}, Conv{80, 113, 3, 1, true, 2, 5}, Conv{117, 81, 3, 1, true, 15, 14},
                        Conv{64, 64, 3, 1, false, 3, 4}, Conv{256, 256, 3, 1, true, 5, 3}}) {
    const Index h = c.h, w = c.w;
    std::vector<float> x(static_cast<std::size_t>(h * w * c.in)), weight(static_cast<std::size_t>(c.out * c.in * c.kernel * c.kernel)), bias(static_cast<std::size_t>(c.out));
    for (auto* v : {&x, &weight, &bias})
      for (auto& e : *v) e = rng.uniform(-1, 1);
    const ConvParams p{View<const float, 4>(weight.data(), {c.out, c.in, c.kernel, c.kernel}), View<const float, 1>(bias.data(), {c.out}), {}, 1, c.pad, "conv"};
    const auto all = levels(Precision::fast);
    const auto first = run(all.front(), p, x, h, w);
    for (const Cpu& b : all) {
      const auto exact = run(Cpu{.isa = b.isa}, p, x, h, w), y = run(b, p, x, h, w);
      CAPTURE(isa_name(b.isa));
      // Half a step on each side, relative to values of a third of the largest: sqrt(2) * sqrt(3) / 3 steps. Tiles of 2x2: rows are sums of four values, so the largest is up
      // to 2 sqrt(3) times their root mean square and half a step rounds off 1 / levels; columns are sums of nine, 1.5 / levels. An output sums nine products with squares
      // of 25 where those of the taps have 9, and 16 to 4 in a corner: twice the error.
      const bool tiles = c.kernel == 3 && c.in_fast;
      CHECK(relative_distance(y, exact) <= (tiles ? 2 * std::hypot(1 / row_levels, 1.5 / 8191) : 2.0 / 8190));
      CHECK(same_bits(y, exact) == !c.in_fast);
      CHECK(same_bits(y, run(b, p, x, h, w, 3)));
      if (c.in_fast) CHECK(same_bits(y, first));
    }
    for (const Cpu& b : levels(Precision::bf16)) CHECK(same_bits(run(b, p, x, h, w), run(Cpu{.isa = b.isa}, p, x, h, w)));
  }
}

TEST_CASE("mbconv in fast: near f32, a merging block nearer since its projection is exact; bf16 stays f32") {
  const Index h = 9, w = 11, hidden = 80;
  Index in = 0;
  const auto run = [&](const Cpu& b, const MbConvParams& p, const std::vector<float>& x) {
    const auto packed = pack(b, p);
    REQUIRE(packed.valid());
    std::vector<float> y(x.size(), -1.0f);
    auto call = [&](Context<Cpu>& ctx) { mbconv(ctx, packed, View<const float, 3>(x.data(), {h, w, in}), View<float, 3>(y.data(), {h, w, in})); };
    run_planned(b, 2, call);
    return y;
  };
  Rng rng({11});
  for (Index channels : {12, 72}) {  // the first: expansions of small weights, which are f32 in every precision
    in = channels;
    std::vector<float> x(static_cast<std::size_t>(h * w * in));
    for (auto& v : x) v = rng.uniform(-2, 2);
    const RandomConv conv1(rng, {hidden, in, 1, 1}, {1, 0, false, true}), conv2(rng, {hidden, 1, 3, 3}, {1, 1, false, true}), conv3(rng, {in, hidden, 1, 1}, {1, 0, false, true});
    for (bool residual : {true, false}) {
      const MbConvParams p{conv1.p, conv2.p, conv3.p, residual, Activation::none, "mbconv", Activation::gelu_erf};
      for (const Cpu& b : levels(Precision::fast)) {
        CAPTURE(isa_name(b.isa));
        const auto y = run(b, p, x), exact = run(Cpu{.isa = b.isa}, p, x);
        CHECK(same_bits(y, exact) == (!residual && in == 12));
        double error = 0, norm = 0;  // against what the projection adds
        for (std::size_t i = 0; i < y.size(); ++i) error += std::pow(double(y[i]) - double(exact[i]), 2), norm += std::pow(double(exact[i]) - (residual ? double(x[i]) : 0), 2);
        // A step of at most 1 / 4095 of the largest value, which is at most sqrt(inputs) times the root mean square, rounds off by 1 / sqrt(12) of itself, on both sides
        // of a product; of two products the errors add in the mean square. Most steps are half as large (few columns are long).
        const double inputs = double((residual ? hidden : 0) + (in == 12 ? 0 : in));
        CHECK(std::sqrt(error / norm) <= std::sqrt(2.0 * inputs / 12) / 4095);
      }
      for (const Cpu& b : levels(Precision::bf16)) CHECK(same_bits(run(b, p, x), run(Cpu{.isa = b.isa}, p, x)));
    }
  }
}
