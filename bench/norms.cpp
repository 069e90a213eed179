// bench_norms: LayerNorm over channels (alone, as the neck and the decoder use it) on the shapes of real networks.
//   bench_norms --threads 1,2
// Data flow: bench/shapes/*.txt -> here -> layer_norm() of Cpu.   FLOP 8 n c; bytes 8 n c: bound by memory when cold, by arithmetic with GELU when --hot.
// LayerNorm in front of linear layers is fused into their A-pack and measured by bench_gemm.
#include "op_case.hpp"
#include "shape_list.hpp"

#include "support/oracle/layers.hpp"

#include <sampan/cpu/norm.hpp>

namespace {
using namespace bench;

void run_norm(Harness& h, const OpShape& s) {
  const Index n = s.at("n"), c = s.at("c");
  const auto act = Activation(s.at("act"));
  const std::string name = cat(s.network, " layer_norm ", n, "x", c, activation_text(act), " (", s.name, ")");
  if (!h.wanted(name)) return;
  struct Data {
    std::vector<float> gamma, beta;
    Rotating x, y;
    NormParams p;
  };
  const std::size_t copies = rotation(8.0 * double(n) * double(c), !h.option("--hot").empty());
  const auto d = std::make_shared<Data>(Data{random_floats(1, c, 0.5f, 1.5f), random_floats(2, c), {random_floats(3, n * c), copies}, {std::vector<float>(std::size_t(n * c)), copies}, {}});
  d->p = {{d->gamma.data(), {c}}, {d->beta.data(), {c}}, 1e-6f, {}};
  std::vector<Case> group;
  for (const auto& isa : h.isas())
    for (const int threads : h.threads()) {
      struct Variant {
        Runner runner;
        PackedNorm<Cpu> weights;
        std::size_t turn = 0;
      };
      const auto v = std::make_shared<Variant>(Variant{Runner(isa, threads), {}, 0});
      v->weights = pack(v->runner.backend(), d->p);
      const auto op = [=](Context<Cpu>& ctx) { layer_norm(ctx, v->weights, View<const float, 2>(d->x.at(v->turn), {n, c}), View<float, 2>(d->y.at(v->turn), {n, c}), act); };
      const Cost cost = v->runner.plan(op);
      const auto run = [=] {
        ++v->turn;
        return v->runner.time(op);
      };
      group.push_back({v->runner.row(name, cost), run, [=] {
                         run();
                         Judge judge(act);
                         for (const Index row : samples(n, 16)) {
                           const auto x = oracle_test::exact(View<const float, 2>(d->x.at(v->turn) + row * c, {1, c}));
                           judge.values(d->y.at(v->turn) + row * c, oracle_test::oracle::activation(oracle_test::oracle::layer_norm(x, d->p), act));
                         }
                         return judge.error();
                       }});
    }
  h.run(std::move(group));
}

}  // namespace

int main(int argc, char** argv) {
  Harness h(argc, argv, "LayerNorm on the shapes of real networks (bench/shapes)", {kHot});
  for (const auto& list : h.shapes(shape_lists()))
    for (const auto& s : read_shapes(list))
      if (s.op == "layer_norm") run_norm(h, s);
  return h.report();
}
