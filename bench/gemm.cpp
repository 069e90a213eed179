// bench_gemm: linear layers with their fused neighbours (LayerNorm before; bias, activation, residual behind) on the shapes of real networks.
//   bench_gemm --shapes sam_vit_b,sam_vit_h --threads 1,2 --format md        bench_gemm --shapes decoder --only lin1
//   bench_gemm --shapes sam_vit_b --device cuda --precision f32,f16,bf16     (device_case.hpp; the residual stream is float, weights have the precision's width)
// Data flow: bench/shapes/*.txt -> here -> linear() and mlp() of Cpu or Cuda.   FLOP 2 m n k; bytes: x, y, residual and weights once.
// Shown per list: every `linear`, then `mlp` (lin1 and lin2 as one op, hidden layer in cache), then the sum over one image or box (times x median).
#include "device_case.hpp"
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

/// One row through the layer in double. Rounding of inputs and weights to 16 bits widens what is allowed (`fast`: by the largest value of the row and of the column of W).
/// A GELU passes on at most 1.13 times the error of its input.
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
      const double da = rounding(precision, a, most), db = rounding(precision, b, most_w);
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

/// A line of a list as a layer, or as two of an MLP.
struct LinearShape {
  Index m, n, k;
  bool norm, residual;
  Activation act;
  std::string name;
  explicit LinearShape(const OpShape& s) : m(s.at("m")), n(s.at("n")), k(s.at("k")), norm(s.at("norm")), residual(s.at("residual")), act(Activation(s.at("act"))) {
    name = cat(s.network, " linear ", m, "x", n, "x", k, norm ? " norm" : "", activation_text(act), residual ? " +res" : "", " (", s.name, ")");
  }
  double flop() const { return 2.0 * double(m) * double(n) * double(k) + (norm ? 8.0 * double(m) * double(k) : 0); }
  double bytes(double width) const { return 4.0 * (double(m) * double(k) + double(m) * double(n) * (residual ? 2 : 1)) + width * double(n) * double(k); }
};
struct MlpShape {
  Index m, c, hidden;
  bool norm, residual;
  Activation act;
  std::string name;
  explicit MlpShape(const OpShape& s) : m(s.at("m")), c(s.at("c")), hidden(s.at("hidden")), norm(s.at("norm")), residual(s.at("residual")), act(Activation(s.at("act"))) {
    name = cat(s.network, " mlp ", m, "x", c, "x", hidden, norm ? " norm" : "", activation_text(act), residual ? " +res" : "", " (", s.name, ")");
  }
  // The least work, whatever way the op takes (few rows run as two layers): the hidden layer is neither written nor read.
  double flop() const { return 4.0 * double(m) * double(c) * double(hidden) + (norm ? 8.0 * double(m) * double(c) : 0); }
  double bytes(double width) const { return 4.0 * double(m) * double(c) * (residual ? 3 : 2) + 2 * width * double(c) * double(hidden); }
};

/// As judge_rows, of an MLP: the hidden values carry GELU's own 5e-7 into lin2, up to sum |w| of it.
Accuracy judge_mlp(Data& d, std::size_t turn, const MlpShape& s, const Layer& first, const Layer& second, const std::string& precision) {
  return judge_rows(d, turn, s.residual, s.act, [&](const auto& x) {
    auto mid = expected(x, first, s.act, precision);
    if (s.act == Activation::gelu_erf)
      for (auto& v : mid.v) v.worst += 5e-7;
    return expected(mid, second, Activation::none, precision);
  });
}

std::vector<Row> run_linear(Harness& h, const OpShape& s) {
  const LinearShape shape(s);
  const Index m = shape.m, n = shape.n, k = shape.k;
  const bool norm = shape.norm, residual = shape.residual;
  const auto act = shape.act;
  const std::string& name = shape.name;
  if (!h.wanted(name)) return {};
  const std::size_t copies = rotation(shape.bytes(4), !h.option("--hot").empty());
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
  const MlpShape shape(s);
  const Index m = shape.m, c = shape.c, hidden = shape.hidden;
  const bool norm = shape.norm, residual = shape.residual;
  const auto act = shape.act;
  const std::string& name = shape.name;
  if (!h.wanted(name)) return;
  const std::size_t copies = rotation(shape.bytes(4), !h.option("--hot").empty());
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
      const Cost cost{shape.flop(), shape.bytes(4)};
      const auto run = [=] {
        ++v->turn;
        return v->runner.time(op);
      };
      group.push_back({v->runner.row(name, cost), run, [=] {
                         run();
                         return judge_mlp(*data, v->turn, shape, *first, *second, precision);
                       }});
    }
  h.run(std::move(group));
}

#if defined(SAMPAN_CUDA)

/// The device's copies of a shape's data, and the results of a run as judge_rows reads them.
struct DeviceData {
  std::shared_ptr<Data> host;
  DeviceBuffers x, y, residual;
  DeviceData(Index m, Index in, Index out, bool with_residual, std::size_t copies)
      : host(std::make_shared<Data>(m, in, out, with_residual, 1)), x(floats(host->x, m * in), copies), y(floats(host->y, m * out), copies),
        residual(floats(host->residual, with_residual ? m * out : 0), copies) {}
  View<const float, 2> x_view(std::size_t turn) const { return {x.floats(turn), {host->m, host->in}}; }
  View<float, 2> y_view(std::size_t turn) const { return {y.floats(turn), {host->m, host->out}}; }
  View<const float, 2> residual_view(std::size_t turn, bool with) const {
    if (!with) return {};
    return {residual.floats(turn), {host->m, host->out}};
  }
  void fetch(std::size_t turn) {
    const auto got = y.read<float>(turn);
    std::copy(got.begin(), got.end(), host->y.at(0));
  }

 private:
  static std::vector<float> floats(Rotating& r, Index n) { return std::vector<float>(r.at(0), r.at(0) + n); }
};

bool has_kernel(Activation a, const std::string& name) {
  if (a == Activation::gelu_tanh) std::fprintf(stderr, "bench: %s: left out, device cuda has no GELU in its tanh form\n", name.c_str());
  return a != Activation::gelu_tanh;
}

/// Rows of a layer in every precision: `pack(backend)` makes the weights of a copy, call(ctx, weights, data, turn) runs it, judge(data, precision) compares what the host holds.
template <class Shape, class Pack, class Call, class JudgeRows>
std::vector<Row> on_cuda(Harness& h, const Shape& shape, Index in, Index out, Pack&& pack_weights, Call&& call, JudgeRows&& judge) {
  if (!h.wanted(shape.name) || !has_kernel(shape.act, shape.name)) return {};
  std::vector<Case> group;
  for (const auto& precision : precisions(h)) {
    const double width = precision == "f32" ? 4 : 2;
    const std::size_t copies = device_rotation(shape.bytes(width), !h.option("--hot").empty());
    const auto data = std::make_shared<DeviceData>(shape.m, in, out, shape.residual, copies);
    const Cuda backend{the_device(), device_precision(precision)};
    using Weights = decltype(pack_weights(backend));
    const auto weights = std::make_shared<std::vector<Weights>>();
    for (std::size_t i = 0; i < copies; ++i) weights->push_back(pack_weights(backend));
    const auto runner = std::make_shared<DeviceRunner>(precision, [=](Context<Cuda>& ctx, std::size_t turn) { call(ctx, (*weights)[turn % copies], *data, turn); });
    group.push_back({device_row(shape.name, precision, {shape.flop(), shape.bytes(width)}), [=] { return runner->time(); }, [=] {
                       runner->time();
                       data->fetch(runner->last());
                       return judge(*data->host, precision);
                     }});
  }
  return h.run(std::move(group));
}

std::vector<Row> run_linear_on_cuda(Harness& h, const OpShape& s) {
  const LinearShape shape(s);
  const auto layer = std::make_shared<Layer>(1, shape.n, shape.k, shape.norm, s.at("bias") != 0);
  return on_cuda(
      h, shape, shape.k, shape.n, [=](const Cuda& b) { return pack(b, layer->p, layer->n); },
      [=](Context<Cuda>& ctx, const PackedLinear<Cuda>& w, const DeviceData& d, std::size_t turn) {
        linear(ctx, w, d.x_view(turn), d.y_view(turn), {.activation = shape.act, .residual = d.residual_view(turn, shape.residual)});
      },
      [=](Data& d, const std::string& precision) { return judge_rows(d, 0, shape.residual, shape.act, [&](const auto& x) { return expected(x, *layer, shape.act, precision); }); });
}

void run_mlp_on_cuda(Harness& h, const OpShape& s) {
  const MlpShape shape(s);
  const auto first = std::make_shared<Layer>(1, shape.hidden, shape.c, shape.norm, true), second = std::make_shared<Layer>(5, shape.c, shape.hidden, false, true);
  on_cuda(
      h, shape, shape.c, shape.c, [=](const Cuda& b) { return pack(b, MlpParams{first->n, first->p, second->p, shape.act, {}}); },
      [=](Context<Cuda>& ctx, const PackedMlp<Cuda>& w, const DeviceData& d, std::size_t turn) {
        mlp(ctx, w, d.x_view(turn), d.y_view(turn), d.residual_view(turn, shape.residual));
      },
      [=](Data& d, const std::string& precision) { return judge_mlp(d, 0, shape, *first, *second, precision); });
}

#else  // wants_device() has ended the program

std::vector<Row> run_linear_on_cuda(Harness&, const OpShape&) { return {}; }
void run_mlp_on_cuda(Harness&, const OpShape&) {}

#endif

}  // namespace

int main(int argc, char** argv) {
  Harness h(argc, argv, "linear layers and MLPs on the shapes of real networks (bench/shapes)", {kHot, kPrecision, kDevice, kRoofSide});
  const bool device = wants_device(h);
  for (const auto& list : h.shapes(shape_lists())) {
    std::vector<Row> sums;
    int missing = 0;
    for (const auto& s : read_shapes(list)) {
      if (s.op != "linear") continue;
      const auto rows = device ? run_linear_on_cuda(h, s) : run_linear(h, s);
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
      if (s.op == "mlp") device ? run_mlp_on_cuda(h, s) : run_mlp(h, s);
  }
  return h.report();
}
