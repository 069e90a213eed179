// bench_attention: the core of attention (scores, position bias, softmax, weighted sum) on the shapes of real networks, without the projections around it.
//   bench_attention --shapes sam_vit_b,lite_medsam --threads 1,2
//   bench_attention --shapes sam_vit_b --only attend --precision f32,fast,bf16     (networks take 16 bits only for heads and windows where it pays: cpu/attention.hpp)
//   bench_attention --shapes sam_vit_b --device cuda --precision f32,f16,bf16      (what attention() launches between its products, cuda/attention.hpp; device_case.hpp)
// Data flow: bench/shapes/*.txt -> here -> attend() (encoders) and mix() (decoder) of Cpu, or Cuda.   FLOP 4 * real query-key pairs * width; bytes: q, k, v, out once.
// Results are compared with fp64 at sampled queries and heads, from the definitions in ops/attend.hpp and ops/cross_attention.hpp.
#include "device_case.hpp"
#include "op_case.hpp"
#include "shape_list.hpp"

#include "support/oracle/attention.hpp"

#include <sampan/cpu/attention.hpp>
#include <sampan/cpu/cross_attention.hpp>

namespace {
using namespace bench;
using oracle_test::Num;
using oracle_test::Sum;

constexpr Index kQueries = 6;
// The rounding errors of two scores have nothing in common; only the typical error would change, and the judge uses the worst one.
constexpr auto kIndependent = [](Index) { return false; };

Num dot(const float* a, const float* b, Index d) {
  Sum s;
  for (Index e = 0; e < d; ++e) s.term({double(a[e]), 0, 0}, {double(b[e]), 0, 0});
  return s.get();
}

/// Self-attention of one token grid, or of a volume of them.
struct Grid {
  AttendShape s;
  QkvLayout layout;
  std::vector<float> rel_h, rel_w, rel_d, table;
  AttendBias bias;
  Rotating qkv, out;
  Grid(const OpShape& o, std::size_t copies)
      : s{o.at("h"), o.at("w"), o.at("heads"), o.at("d"), o.at("window"), 1.0f / std::sqrt(float(o.at("d"))), o.at("planes", 0)}, layout(o.at("per_head") ? QkvLayout::per_head : QkvLayout::split),
        qkv(random_floats(1, 3 * s.tokens() * s.heads * s.d), copies), out(std::vector<float>(std::size_t(s.tokens() * s.heads * s.d)), copies) {
    const Index wh = s.window ? s.window : s.h, ww = s.window ? s.window : s.w;
    if (o.at("rel")) {
      rel_h = random_floats(2, (2 * wh - 1) * s.d, -0.2f, 0.2f), rel_w = random_floats(3, (2 * ww - 1) * s.d, -0.2f, 0.2f);
      bias.rel_h = {rel_h.data(), {2 * wh - 1, s.d}}, bias.rel_w = {rel_w.data(), {2 * ww - 1, s.d}};
      if (s.planes) {
        rel_d = random_floats(5, (2 * s.window_d() - 1) * s.d, -0.2f, 0.2f);
        bias.rel_d = {rel_d.data(), {2 * s.window_d() - 1, s.d}};
      }
    }
    if (o.at("table")) {
      table = random_floats(4, s.heads * wh * ww, -0.5f, 0.5f);
      bias.table = {table.data(), {s.heads, wh * ww}};
    }
  }
  QkvView in(std::size_t turn) { return sampan::detail::split_qkv(View<const float, 2>(qkv.at(turn), {s.tokens(), 3 * s.heads * s.d}), s.heads, layout); }
  View<float, 3> result(std::size_t turn) { return {out.at(turn), {s.tokens(), s.heads, s.d}}; }

  /// One query: scores of every key of its window, missing tokens included (zero key and value), then the softmax mean of the values.
  /// 16-bit precisions may be off by the rounding of q, k, probabilities and v, and of the result where that has 16 bits as well.
  void judge(Judge& j, std::size_t turn, Index query, Index head, const std::string& precision, bool rounded_result = false) {
    const bool exact = precision == "f32";
    const auto most = [&](const float* x) {
      double m = 0;
      for (Index e = 0; e < s.d; ++e) m = std::max(m, std::abs(double(x[e])));
      return m;
    };
    const QkvView t = in(turn);
    const Index qz = query / (s.h * s.w), qy = query / s.w % s.h, qx = query % s.w, wd = s.window_d(), wh = s.window_h(), ww = s.window_w();
    const Index z0 = qz / wd * wd, y0 = qy / wh * wh, x0 = qx / ww * ww;
    const float* q = &t.q(query, head, 0);
    std::vector<Num> scores;
    std::vector<Index> keys;  // -1: a missing token
    for (Index place = 0; place < wd * wh * ww; ++place) {
      const Index kz = place / (wh * ww), ky = place / ww % wh, kx = place % ww;
      const bool real = z0 + kz < s.depth() && y0 + ky < s.h && x0 + kx < s.w;
      const Index key = real ? ((z0 + kz) * s.h + y0 + ky) * s.w + x0 + kx : -1;
      Num score = real ? oracle_test::scaled(dot(q, &t.k(key, head, 0), s.d), double(s.scale), 2 * oracle_test::kUnit) : Num{};
      if (real && !exact) {
        const float* k = &t.k(key, head, 0);
        const double mq = most(q), mk = most(k);
        double off = 0;
        for (Index e = 0; e < s.d; ++e) {
          const double a = std::abs(double(q[e])), b = std::abs(double(k[e])), da = rounding(precision, a, mq), db = rounding(precision, b, mk);
          off += a * db + b * da + da * db;
        }
        score.worst += off * double(s.scale);
      }
      if (!rel_d.empty()) {  // as ops/attend.hpp says: terms of other queries of the line as well, and of none where no token is
        const auto line = [&](Index x, const std::vector<float>& rel, Index row) {
          return x0 + x < s.w ? dot(&t.q((qz * s.h + qy) * s.w + x0 + x, head, 0), &rel[std::size_t((row - kx + ww - 1) * s.d)], s.d) : Num{};
        };
        score = score + dot(q, &rel_d[std::size_t((qz - z0 - kx + ww - 1) * s.d)], s.d) + line(kz, rel_h, qy - y0) + line(ky, rel_w, ky);
      } else if (!rel_h.empty()) {
        score = score + dot(q, &rel_h[std::size_t((qy - y0 - ky + wh - 1) * s.d)], s.d) + dot(q, &rel_w[std::size_t((qx - x0 - kx + ww - 1) * s.d)], s.d);
      }
      if (!table.empty()) score = score + Num{double(bias.table(head, std::abs(qy - y0 - ky) * ww + std::abs(qx - x0 - kx))), 0, 0};
      scores.push_back(score), keys.push_back(key);
    }
    const oracle_test::oracle::SoftmaxMean mean(scores);
    double top = scores[0].v, sum = 0;
    for (const Num& score : scores) top = std::max(top, score.v);
    for (const Num& score : scores) sum += std::exp(score.v - top);
    std::vector<Num> values(keys.size());
    for (Index e = 0; e < s.d; ++e) {
      double most_v = 0, off = 0;
      for (std::size_t i = 0; i < keys.size(); ++i) values[i] = keys[i] < 0 ? Num{} : Num{double(t.v(keys[i], head, e)), 0, 0}, most_v = std::max(most_v, std::abs(values[i].v));
      for (std::size_t i = 0; !exact && i < keys.size(); ++i) {
        const double p = std::exp(scores[i].v - top), dp = rounding(precision, p, 1), dv = rounding(precision, std::abs(values[i].v), most_v);
        off += (2 * dp * most_v + (p + dp) * dv) / sum;  // the denominator sums the same rounded numbers
      }
      Num want = mean.of([&](Index i) -> const Num& { return values[std::size_t(i)]; }, kIndependent);
      want.worst += off;
      if (rounded_result) want.worst += rounding(precision, std::abs(want.v) + want.worst, 0);
      j.value(result(turn)(query, head, e), want);
    }
  }
};

std::string attend_name(const OpShape& o) {
  const std::string depth = o.at("planes", 0) ? cat(o.at("planes"), "x") : "", where = o.at("window") ? cat(", window ", o.at("window")) : ", global";
  return cat(o.network, " attend ", depth, o.at("h"), "x", o.at("w"), ", ", o.at("heads"), " heads of ", o.at("d"), where, o.at("rel") ? ", rel-pos" : o.at("table") ? ", bias table" : "", " (",
             o.name, ")");
}

void run_attend(Harness& h, const OpShape& o) {
  const Index n = o.at("h") * o.at("w") * std::max<Index>(1, o.at("planes", 0)), width = o.at("heads") * o.at("d");
  const std::string name = attend_name(o);
  if (!h.wanted(name)) return;
  const auto grid = std::make_shared<Grid>(o, rotation(16.0 * double(n) * double(width), !h.option("--hot").empty()));
  std::vector<Case> group;
  for (const auto& isa : h.isas())
    for (const auto& way : ways(h)) {
      struct Variant {
        Runner runner;
        std::size_t turn = 0;
      };
      const std::string precision = way.first;
      const auto v = std::make_shared<Variant>(Variant{Runner(isa, way.second, precision), 0});
      const auto op = [=](Context<Cpu>& ctx) { cpu::attend_in(ctx, ctx.backend.precision, grid->s, grid->in(v->turn), grid->bias, {}, grid->result(v->turn)); };
      const Cost cost = v->runner.plan(op);
      const auto run = [=] {
        ++v->turn;
        return v->runner.time(op);
      };
      group.push_back({v->runner.row(name, cost), run, [=] {
                         run();
                         Judge judge;
                         for (const Index query : samples(n, kQueries)) grid->judge(judge, v->turn, query, query % grid->s.heads, precision);
                         return judge.error();
                       }});
    }
  h.run(std::move(group));
}

/// The decoder's attention of b prompts: tokens to image and back.
struct Mix {
  Index b, nq, nk, heads, c;
  Rotating q, k, v, out;
  Mix(const OpShape& o, std::size_t copies)
      : b(o.at("b")), nq(o.at("nq")), nk(o.at("nk")), heads(o.at("heads")), c(o.at("c")), q(random_floats(1, b * nq * c), copies), k(random_floats(2, b * nk * c), copies), v(random_floats(3, b * nk * c), copies),
        out(std::vector<float>(std::size_t(b * nq * c)), copies) {}
  void judge(Judge& j, std::size_t turn, Index query, Index head) {
    const Index d = c / heads;
    const auto at = [&](Rotating& r, Index row) { return r.at(turn) + row * c + head * d; };
    std::vector<Num> scores;
    for (Index key = 0; key < nk; ++key) scores.push_back(oracle_test::scaled(dot(at(q, query), at(k, key), d), 1 / std::sqrt(double(d)), 2 * oracle_test::kUnit));
    const oracle_test::oracle::SoftmaxMean mean(scores);
    std::vector<Num> values(scores.size());
    for (Index e = 0; e < d; ++e) {
      for (Index key = 0; key < nk; ++key) values[std::size_t(key)] = {double(at(v, key)[e]), 0, 0};
      j.value(at(out, query)[e], mean.of([&](Index i) -> const Num& { return values[std::size_t(i)]; }, kIndependent));
    }
  }
};

std::string mix_name(const OpShape& o) { return cat(o.network, " mix ", o.at("b"), " x ", o.at("nq"), " queries, ", o.at("nk"), " keys, ", o.at("heads"), " heads, width ", o.at("c")); }

void run_mix(Harness& h, const OpShape& o) {
  const std::string name = mix_name(o);
  if (!h.wanted(name)) return;
  const auto m = std::make_shared<Mix>(o, rotation(8.0 * double(o.at("b") * o.at("c")) * double(o.at("nq") + o.at("nk")), !h.option("--hot").empty()));
  std::vector<Case> group;
  for (const auto& isa : h.isas())
    for (const int threads : h.threads()) {
      struct Variant {
        Runner runner;
        std::size_t turn = 0;
      };
      const auto v = std::make_shared<Variant>(Variant{Runner(isa, threads), 0});
      const auto op = [=](Context<Cpu>& ctx) {
        const auto view = [&](Rotating& r, Index n) { return View<float, 3>(r.at(v->turn), {m->b, n, m->c}); };
        mix(ctx, m->heads, view(m->q, m->nq), view(m->k, m->nk), view(m->v, m->nk), view(m->out, m->nq));
      };
      const Cost cost = v->runner.plan(op);
      const auto run = [=] {
        ++v->turn;
        return v->runner.time(op);
      };
      group.push_back({v->runner.row(name, cost), run, [=] {
                         run();
                         Judge judge;
                         for (const Index query : samples(m->nq, kQueries)) m->judge(judge, v->turn, query, query % m->heads);
                         return judge.error();
                       }});
    }
  h.run(std::move(group));
}

#if defined(SAMPAN_CUDA)

float rounded(float x, cuda::Element t) { return t == cuda::Element::f16 ? f16_to_f32(f32_to_f16(x)) : t == cuda::Element::bf16 ? bf16_to_f32(f32_to_bf16(x)) : x; }

/// A grid's operands on the device as attention() has them: rows [q | k | v] in the precision's type, position tables in float, a table of biases for every pair where the kernel
/// wants that. The host's q, k and v are the rounded ones.
struct DeviceGrid {
  Grid host;
  cuda::Element type;
  bool tensor_cores;
  cuda::Matrix rel_h, rel_w, table;
  std::vector<cuda::Matrix> qkv, out;
  DeviceGrid(const OpShape& o, const std::string& precision, std::size_t copies)
      : host(o, 1), type(cuda::element_of(device_precision(precision))) {
    const AttendShape& s = host.s;
    const Index n = s.tokens(), c = s.heads * s.d;
    for (float* x = host.qkv.at(0); x != host.qkv.at(0) + n * 3 * c; ++x) *x = rounded(*x, type);
    AttentionParams p;
    p.window = s.window, p.bias_table = host.bias.table;
    tensor_cores = cuda::has_tensor_kernel(type, p, s.d);
    const QkvView in = host.in(0);
    std::vector<float> rows(std::size_t(n * 3 * c));
    for (Index i = 0; i < n; ++i)
      for (Index head = 0; head < s.heads; ++head)
        for (Index e = 0; e < s.d; ++e) {
          float* to = &rows[std::size_t(i * 3 * c + head * s.d + e)];
          to[0] = in.q(i, head, e), to[c] = in.k(i, head, e), to[2 * c] = in.v(i, head, e);
        }
    for (std::size_t i = 0; i < copies; ++i) {
      qkv.push_back(cuda::Matrix::of(View<const float, 2>(rows.data(), {n, 3 * c}), type));
      out.push_back(cuda::Matrix::of(View<const float, 2>(rows.data(), {n, c}), type));
    }
    rel_h = cuda::Matrix::of(host.bias.rel_h, cuda::Element::f32), rel_w = cuda::Matrix::of(host.bias.rel_w, cuda::Element::f32);
    const auto spread = tensor_cores && !host.table.empty() ? cuda::spread_table(host.bias.table, s.window) : host.table;
    table = cuda::Matrix::of(View<const float, 1>(spread.data(), {Index(spread.size())}), cuda::Element::f32);
    for (const auto* m : {&rel_h, &rel_w, &table})
      if (!m->valid()) die("no memory on the device");
    for (std::size_t i = 0; i < copies; ++i)
      if (!qkv[i].valid() || !out[i].valid()) die("no memory on the device");
  }

  void run(Context<Cuda>& ctx, std::size_t turn) const {
    const AttendShape& s = host.s;
    const bool rel = rel_h.rows > 0;
    const Index terms = rel && tensor_cores ? s.heads * s.tokens() : 0;
    auto scope = ctx.arena.scope();
    float* row = scope.make<float>(terms * s.window_h()).data();
    float* column = scope.make<float>(terms * s.window_w()).data();
    if (!ctx.begin(detail::attend_cost(s))) return;
    const int h = int(s.h), w = int(s.w), heads = int(s.heads), d = int(s.d), window = int(s.window);
    const void* in = qkv[turn % qkv.size()].data();
    void* to = const_cast<void*>(out[turn % out.size()].data());
    const auto stream = cuda::stream_of(ctx);
    const float *t = table.rows ? table.floats() : nullptr, *rh = rel ? rel_h.floats() : nullptr, *rw = rel ? rel_w.floats() : nullptr;
    const float *r = terms ? row : nullptr, *col = terms ? column : nullptr;
    if (!tensor_cores) return cuda::ran(ctx, "attention_naive", kernels::launch_attention_naive({in, to, h, w, heads, d, window, s.scale, rh, rw, nullptr, t}, type, stream));
    if (terms) cuda::ran(ctx, "rel_pos", kernels::launch_rel_pos({in, h, w, heads, d, window, rh, rw, row, column}, type, stream));
    if (window == 0) return cuda::ran(ctx, "attention_global", kernels::launch_attention_global({in, to, h, w, heads, s.scale, r, col}, type, d, stream));
    cuda::ran(ctx, "attention_window", kernels::launch_attention_window({in, to, h, w, heads, s.scale, r, col, t}, type, d, window, stream));
  }

  /// The result of a turn to where the host's judge looks.
  void fetch(std::size_t turn) {
    const cuda::Matrix& m = out[turn % out.size()];
    std::vector<std::uint8_t> bytes(std::size_t(m.rows * m.columns * cuda::bytes_of(type)));
    must(cuda::copy_out(bytes.data(), m.data(), bytes.size(), the_device()->stream()));
    must(cuda::synchronize(the_device()->stream()));
    for (Index i = 0; i < m.rows * m.columns; ++i) {
      std::uint16_t half = 0;
      float f = 0;
      type == cuda::Element::f32 ? std::memcpy(&f, &bytes[std::size_t(4 * i)], 4) : std::memcpy(&half, &bytes[std::size_t(2 * i)], 2);
      host.out.at(0)[i] = type == cuda::Element::f32 ? f : type == cuda::Element::f16 ? f16_to_f32(half) : bf16_to_f32(half);
    }
  }
};

void run_attend_on_cuda(Harness& h, const OpShape& o) {
  const std::string name = attend_name(o);
  if (!h.wanted(name)) return;
  if (o.at("planes", 0)) return void(std::fprintf(stderr, "bench: %s: left out, volumes run on the processor only\n", name.c_str()));
  std::vector<Case> group;
  for (const auto& precision : precisions(h)) {
    const double tokens = double(o.at("h") * o.at("w")), bytes = 4 * tokens * double(o.at("heads") * o.at("d")) * (precision == "f32" ? 4 : 2);
    const auto grid = std::make_shared<DeviceGrid>(o, precision, device_rotation(bytes, !h.option("--hot").empty()));
    const auto runner = std::make_shared<DeviceRunner>(precision, [=](Context<Cuda>& ctx, std::size_t turn) { grid->run(ctx, turn); });
    group.push_back({device_row(name, precision, {detail::attend_cost(grid->host.s).flop, bytes}), [=] { return runner->time(); }, [=] {
                       runner->time();
                       grid->fetch(runner->last());
                       Judge judge;
                       for (const Index query : samples(grid->host.s.tokens(), kQueries)) grid->host.judge(judge, 0, query, query % grid->host.s.heads, precision, true);
                       return judge.error();
                     }});
  }
  h.run(std::move(group));
}

/// The decoder stays float on the device: one row, whatever --precision says.
void run_mix_on_cuda(Harness& h, const OpShape& o) {
  const std::string name = mix_name(o);
  if (!h.wanted(name)) return;
  struct DeviceMix {
    Mix host;
    DeviceBuffers q, k, v, out;
    DeviceMix(const OpShape& s, std::size_t copies)
        : host(s, 1), q(floats(host.q, host.nq), copies), k(floats(host.k, host.nk), copies), v(floats(host.v, host.nk), copies), out(floats(host.out, host.nq), copies) {}
    std::vector<float> floats(Rotating& r, Index n) const { return std::vector<float>(r.at(0), r.at(0) + host.b * n * host.c); }
  };
  const double bytes = 8.0 * double(o.at("b") * o.at("c")) * double(o.at("nq") + o.at("nk"));
  const auto m = std::make_shared<DeviceMix>(o, device_rotation(bytes, !h.option("--hot").empty()));
  const auto runner = std::make_shared<DeviceRunner>("f32", [=](Context<Cuda>& ctx, std::size_t turn) {
    const auto view = [&](const DeviceBuffers& b, Index n) { return View<float, 3>(b.floats(turn), {m->host.b, n, m->host.c}); };
    mix(ctx, m->host.heads, view(m->q, m->host.nq), view(m->k, m->host.nk), view(m->v, m->host.nk), view(m->out, m->host.nq));
  });
  const double flop = detail::mix_cost(m->host.b, m->host.nq, m->host.nk, m->host.c).flop;
  h.run({{device_row(name, "f32", {flop, bytes}), [=] { return runner->time(); }, [=] {
            runner->time();
            const auto got = m->out.read<float>(runner->last());
            std::copy(got.begin(), got.end(), m->host.out.at(0));
            Judge judge;
            for (const Index query : samples(m->host.nq, kQueries)) m->host.judge(judge, 0, query, query % m->host.heads);
            return judge.error();
          }}});
}

#else  // wants_device() has ended the program

void run_attend_on_cuda(Harness&, const OpShape&) {}
void run_mix_on_cuda(Harness&, const OpShape&) {}

#endif

}  // namespace

int main(int argc, char** argv) {
  Harness h(argc, argv, "attention cores on the shapes of real networks (bench/shapes)", {kHot, kPrecision, kDevice, kRoofSide});
  const bool device = wants_device(h);
  for (const auto& list : h.shapes(shape_lists()))
    for (const auto& o : read_shapes(list)) {
      if (o.op == "attend") device ? run_attend_on_cuda(h, o) : run_attend(h, o);
      if (o.op == "mix") device ? run_mix_on_cuda(h, o) : run_mix(h, o);
    }
  return h.report();
}
