// bench_gemm: linear layers with their fused neighbours (LayerNorm before; bias, activation, residual behind) on the shapes of real networks.
//   bench_gemm --shapes sam_vit_b,sam_vit_h --threads 1,2 --format md        bench_gemm --shapes decoder --only lin1
// Data flow: bench/shapes/*.txt -> here -> linear() and mlp() of Cpu.   FLOP 2 m n k; bytes: x, y, residual and weights once.
// Shown per list: every `linear`, then `mlp` (lin1 and lin2 as one op, hidden layer in cache), then the sum over one image or box (times x median).
#include "op_case.hpp"
#include "shape_list.hpp"

#include "support/oracle/layers.hpp"

#include <sampan/cpu/gemm.hpp>

namespace {
using namespace bench;
using oracle_test::exact;

struct Layer {
  std::vector<float> weight, bias, gamma, beta;
  LinearParams p;
  NormParams n;
  Layer(std::uint64_t seed, Index out, Index in, bool with_norm, bool with_bias)
      : weight(random_weights(seed, out, in)), bias(random_floats(seed + 1, with_bias ? out : 0)), gamma(random_floats(seed + 2, with_norm ? in : 0, 0.5f, 1.5f)), beta(random_floats(seed + 3, with_norm ? in : 0)) {
    p.weight = {weight.data(), {out, in}};
    if (with_bias) p.bias = {bias.data(), {out}};
    if (with_norm) n = {{gamma.data(), {in}}, {beta.data(), {in}}, 1e-6f, {}};
  }
};

/// One row through the layer in double. Rounding of inputs and weights to 16 bits widens what is allowed: `fast` has steps of max/4095 per row and per column of W,
/// so half a step each; bf16 keeps 8 bits of every value. A GELU passes on at most 1.13 times the error of its input.
oracle_test::Tensor64 expected(const oracle_test::Tensor64& x, const Layer& layer, Activation act, const std::string& precision) {
  auto want = oracle_test::oracle::linear(x, layer.p, layer.n, act);
  if (precision == "f32") return want;
  const Index n = layer.p.weight.extent(0), k = layer.p.weight.extent(1);
  const auto row = layer.gamma.empty() ? x : oracle_test::oracle::layer_norm(x, layer.n);
  double most = 0;
  for (const auto& v : row.v) most = std::max(most, std::abs(v.v));
  for (Index j = 0; j < n; ++j) {
    const float* w = layer.p.weight.data() + j * k;
    double most_w = 0, sum = 0;
    for (Index i = 0; i < k; ++i) most_w = std::max(most_w, std::abs(double(w[i])));
    for (Index i = 0; i < k; ++i) {
      const double a = std::abs(row.v[std::size_t(i)].v), b = std::abs(double(w[i]));
      const double da = precision == "fast" ? most / 8190 : a / 256, db = precision == "fast" ? most_w / 8190 : b / 256;
      sum += a * db + b * da + da * db;
    }
    want.v[std::size_t(j)].worst += 1.13 * sum;
  }
  return want;
}

/// Input, output and residual, shared by the variants of a shape: each writes y before it is judged.
struct Data {
  Index m, in, out;
  Rotating x, y, residual;
  Data(Index rows, Index width_in, Index width_out, bool with_residual, std::size_t copies)
      : m(rows), in(width_in), out(width_out), x(random_floats(10, rows * width_in), copies), y(std::vector<float>(std::size_t(rows * width_out)), copies),
        residual(random_floats(11, with_residual ? rows * width_out : 0), copies) {}
  View<const float, 2> x_view(std::size_t turn) { return {x.at(turn), {m, in}}; }
  View<float, 2> y_view(std::size_t turn) { return {y.at(turn), {m, out}}; }
};

/// Compares sampled rows of y with expected(rows of x), plus the residual.
template <class Expected>
Accuracy judge_rows(Data& d, std::size_t turn, bool with_residual, Activation a, Expected&& expected) {
  Judge judge(a);
  for (const Index row : samples(d.m, 4)) {
    oracle_test::Tensor64 want = expected(exact(d.x_view(turn).slice(0, row, 1)));
    if (with_residual) want = oracle_test::oracle::add(want, exact(View<const float, 2>(d.residual.at(turn) + row * d.out, {1, d.out})));
    judge.values(d.y.at(turn) + row * d.out, want);
  }
  return judge.error();
}

std::vector<Row> run_linear(Harness& h, const OpShape& s) {
  const Index m = s.at("m"), n = s.at("n"), k = s.at("k");
  const bool norm = s.at("norm"), residual = s.at("residual"), hot = !h.option("--hot").empty();
  const auto act = Activation(s.at("act"));
  const std::string name = cat(s.network, " linear ", m, "x", n, "x", k, norm ? " norm" : "", activation_text(act), residual ? " +res" : "", " (", s.name, ")");
  if (!h.wanted(name)) return {};
  const std::size_t copies = rotation(4.0 * (double(m) * double(k) + double(m) * double(n) * (residual ? 2 : 1) + double(n) * double(k)), hot);
  const auto layer = std::make_shared<Layer>(1, n, k, norm, s.at("bias") != 0);
  const auto data = std::make_shared<Data>(m, k, n, residual, copies);
  std::vector<Case> group;
  for (const auto& isa : h.isas())
    for (const auto& way : ways(h)) {
      const std::string precision = way.first;
      const int threads = way.second;
      struct Variant {
        Runner runner;
        std::vector<PackedLinear<Cpu>> weights;
        std::size_t turn = 0;
      };
      const auto v = std::make_shared<Variant>(Variant{Runner(isa, threads, precision), {}, 0});
      for (std::size_t i = 0; i < copies; ++i) v->weights.push_back(pack(v->runner.backend(), layer->p, layer->n));
      const auto op = [=](Context<Cpu>& ctx) {
        Epilogue e{.activation = act};
        if (residual) e.residual = {data->residual.at(v->turn), {m, n}};
        linear(ctx, v->weights[v->turn % copies], data->x_view(v->turn), data->y_view(v->turn), e);
      };
      Cost cost = v->runner.plan(op);
      if (residual) cost.bytes += 4.0 * double(m) * double(n);
      const auto run = [=] {
        ++v->turn;
        return v->runner.time(op);
      };
      group.push_back({v->runner.row(name, cost), run, [=] {
                         run();
                         return judge_rows(*data, v->turn, residual, act, [&](const auto& x) { return expected(x, *layer, act, precision); });
                       }});
    }
  return h.run(std::move(group));
}

void run_mlp(Harness& h, const OpShape& s) {
  const Index m = s.at("m"), c = s.at("c"), hidden = s.at("hidden");
  const bool norm = s.at("norm"), residual = s.at("residual"), hot = !h.option("--hot").empty();
  const auto act = Activation(s.at("act"));
  const std::string name = cat(s.network, " mlp ", m, "x", c, "x", hidden, norm ? " norm" : "", activation_text(act), residual ? " +res" : "", " (", s.name, ")");
  if (!h.wanted(name)) return;
  const std::size_t copies = rotation(4.0 * (double(m) * double(c) * (residual ? 3 : 2) + 2 * double(c) * double(hidden)), hot);
  const auto first = std::make_shared<Layer>(1, hidden, c, norm, true), second = std::make_shared<Layer>(5, c, hidden, false, true);
  const auto data = std::make_shared<Data>(m, c, c, residual, copies);
  std::vector<Case> group;
  for (const auto& isa : h.isas())
    for (const auto& way : ways(h)) {
      const std::string precision = way.first;
      const int threads = way.second;
      struct Variant {
        Runner runner;
        std::vector<PackedMlp<Cpu>> weights;
        std::size_t turn = 0;
      };
      const auto v = std::make_shared<Variant>(Variant{Runner(isa, threads, precision), {}, 0});
      for (std::size_t i = 0; i < copies; ++i) v->weights.push_back(pack(v->runner.backend(), MlpParams{first->n, first->p, second->p, act, {}}));
      const auto op = [=](Context<Cpu>& ctx) {
        const View<const float, 2> r = residual ? View<const float, 2>(data->residual.at(v->turn), {m, c}) : View<const float, 2>();
        mlp(ctx, v->weights[v->turn % copies], data->x_view(v->turn), data->y_view(v->turn), r);
      };
      v->runner.plan(op);
      // The least work, whatever way the op takes (few rows run as two layers): the hidden layer is neither written nor read.
      const Cost cost{4.0 * double(m) * double(c) * double(hidden) + (norm ? 8.0 * double(m) * double(c) : 0),
                      4.0 * (double(m) * double(c) * (residual ? 3 : 2) + 2 * double(c) * double(hidden))};
      const auto run = [=] {
        ++v->turn;
        return v->runner.time(op);
      };
      group.push_back({v->runner.row(name, cost), run, [=] {
                         run();
                         // The hidden values carry GELU's own 5e-7 into lin2: up to sum |w| of it.
                         Judge judge(act);
                         for (const Index row : samples(m, 4)) {
                           auto mid = expected(exact(data->x_view(v->turn).slice(0, row, 1)), *first, act, precision);
                           if (act == Activation::gelu_erf)
                             for (auto& x : mid.v) x.worst += 5e-7;
                           auto want = expected(mid, *second, Activation::none, precision);
                           if (residual) want = oracle_test::oracle::add(want, exact(View<const float, 2>(data->residual.at(v->turn) + row * c, {1, c})));
                           judge.values(data->y.at(v->turn) + row * c, want);
                         }
                         return judge.error();
                       }});
    }
  h.run(std::move(group));
}

}  // namespace

int main(int argc, char** argv) {
  Harness h(argc, argv, "linear layers and MLPs on the shapes of real networks (bench/shapes)", {kHot, kPrecision});
  for (const auto& list : h.shapes(shape_lists())) {
    std::vector<Row> sums;
    int missing = 0;
    for (const auto& s : read_shapes(list)) {
      if (s.op != "linear") continue;
      const auto rows = run_linear(h, s);
      if (rows.empty()) ++missing;
      sums.resize(std::max(sums.size(), rows.size()));
      for (std::size_t i = 0; i < rows.size(); ++i) {
        Row& sum = sums[i];
        if (sum.name.empty()) sum = rows[i], sum.name = s.network + " linear, all", sum.flop = sum.bytes = sum.median_ms = sum.mad_ms = sum.min_ms = sum.error = 0, sum.ratio = sum.ratio_low = sum.ratio_high = kNaN, sum.noise.clear();
        const double t = s.times;
        sum.flop += t * rows[i].flop, sum.bytes += t * rows[i].bytes, sum.median_ms += t * rows[i].median_ms, sum.mad_ms += t * rows[i].mad_ms, sum.min_ms += t * rows[i].min_ms;
        sum.error = std::max(sum.error, rows[i].error);
        if (!rows[i].noise.empty() && sum.noise.empty()) sum.noise = {"contains rejected rows"};
      }
    }
    if (missing == 0)
      for (auto& s : sums) h.add(std::move(s));
    for (const auto& s : read_shapes(list))
      if (s.op == "mlp") run_mlp(h, s);
  }
  return h.report();
}
