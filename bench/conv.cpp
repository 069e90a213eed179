// bench_conv: convolutions on the shapes of real networks: patch embed and neck, TinyViT's stem, depthwise 3x3, whole inverted bottlenecks (mbconv), the
// decoder's transposed convolutions; conv3d and conv_transpose3d of volumes.
//   bench_conv --shapes lite_medsam --only mbconv --threads 1,2
// Data flow: bench/shapes/*.txt -> here -> conv2d(), depthwise_conv(), mbconv(), conv_transpose2d() of Cpu.   Bytes: input, output and weights once; of mbconv
// that is far below what its parts move, because a good kernel never writes the two wide maps in between.
// Results are compared with fp64 on two windows of the output: the corner (padding) and the middle; of a volume on two voxels.
#include "op_case.hpp"
#include "shape_list.hpp"

#include "support/oracle/conv.hpp"

#include <sampan/cpu/conv3d.hpp>
#include <sampan/cpu/depthwise.hpp>
#include <sampan/cpu/mbconv.hpp>

namespace {
using namespace bench;
using oracle_test::Tensor64;
namespace oracle = oracle_test::oracle;

/// Random weights of one convolution with or without BatchNorm.
struct ConvWeights {
  std::vector<float> weight, bias, gamma, beta, mean, var;
  ConvParams p;
  ConvWeights(std::uint64_t seed, std::array<Index, 4> shape, Index inputs, Index channels, int stride, int pad, bool bn)
      : weight(random_weights(seed, shape[0] * shape[1] * shape[2] * shape[3] / inputs, inputs)), bias(random_floats(seed + 1, bn ? 0 : channels)) {
    p.weight = {weight.data(), shape};
    p.stride = stride, p.pad = pad;
    if (!bn) {
      p.bias = {bias.data(), {channels}};
      return;
    }
    gamma = random_floats(seed + 2, channels, 0.5f, 1.5f), beta = random_floats(seed + 3, channels), mean = random_floats(seed + 4, channels, -0.5f, 0.5f), var = random_floats(seed + 5, channels, 0.2f, 2.0f);
    p.bn = {{gamma.data(), {channels}}, {beta.data(), {channels}}, {mean.data(), {channels}}, {var.data(), {channels}}, 1e-5f, {}};
  }
};

struct Maps {
  Index h, w, in, oh, ow, out;
  Rotating x, y;
  Maps(Index rows, Index columns, Index channels_in, Index out_rows, Index out_columns, Index channels_out, bool hot)
      : h(rows), w(columns), in(channels_in), oh(out_rows), ow(out_columns), out(channels_out), x(random_floats(7, rows * columns * channels_in), copies(hot)), y(std::vector<float>(std::size_t(oh * ow * out)), copies(hot)) {}
  std::size_t copies(bool hot) const { return rotation(bytes(), hot); }
  double bytes() const { return 4.0 * (double(h * w * in) + double(oh * ow * out)); }
  View<const float, 3> x_view(std::size_t turn) { return {x.at(turn), {h, w, in}}; }
  View<float, 3> y_view(std::size_t turn) { return {y.at(turn), {oh, ow, out}}; }
};

/// Compares output windows of 2 x 2 pixels. An input window that reaches `halo` pixels further than the taps of these outputs need is cut out and given to the
/// oracle, which pads it with zeros: right at the map's own border, and not used elsewhere, because outputs near a cut border are skipped.
template <class Oracle>
void judge_windows(Judge& judge, Maps& m, std::size_t turn, Index kernel, Index stride, Index pad, Oracle&& expected) {
  for (const bool middle : {false, true}) {
    const Index oy = middle ? m.oh / 2 : 0, ox = middle ? m.ow / 2 : 0;                         // first output of the window
    const Index skip = middle ? (pad + stride - 1) / stride : 0;                                // outputs of the cut that see its zeros
    const Index y0 = (oy - skip) * stride, x0 = (ox - skip) * stride, side = (skip + 2) * stride + kernel;
    const auto cut = m.x_view(turn).slice(0, y0, std::min(side, m.h - y0)).slice(1, x0, std::min(side, m.w - x0));
    const Tensor64 want = expected(oracle_test::exact(cut));
    for (Index i = 0; i < 2 && oy + i < m.oh; ++i)
      for (Index j = 0; j < 2 && ox + j < m.ow; ++j)
        for (Index c = 0; c < m.out; ++c) judge.value(m.y_view(turn)(oy + i, ox + j, c), want(skip + i, skip + j, c));
  }
}

/// The variants of one shape: pack(backend) -> weights; op(ctx, weights, x, y); check(judge, maps, turn).
template <class M, class Pack, class Op, class Check>
void run_variants(Harness& h, const std::string& name, const std::shared_ptr<M>& maps, const Cost* least, Judge judge, Pack pack_weights, Op call, Check check) {
  std::vector<Case> group;
  for (const auto& isa : h.isas())
    for (const int threads : h.threads()) {
      using Weights = decltype(pack_weights(std::declval<const Cpu&>()));
      struct Variant {
        Runner runner;
        Weights weights;
        std::size_t turn = 0;
      };
      Runner runner(isa, threads);
      Weights weights = pack_weights(runner.backend());
      const auto v = std::make_shared<Variant>(Variant{std::move(runner), std::move(weights), 0});
      const auto op = [=](Context<Cpu>& ctx) { call(ctx, v->weights, maps->x_view(v->turn), maps->y_view(v->turn)); };
      const Cost planned = v->runner.plan(op);
      const auto run = [=] {
        ++v->turn;
        return v->runner.time(op);
      };
      group.push_back({v->runner.row(name, least ? *least : planned), run, [=] {
                         run();
                         Judge j = judge;
                         check(j, *maps, v->turn);
                         return j.error();
                       }});
    }
  h.run(std::move(group));
}

void run_conv(Harness& h, const OpShape& s) {
  const bool depthwise = s.op == "depthwise", transpose = s.op == "conv_transpose", bn = s.at("bn");
  const Index height = s.at("h"), width = s.at("w"), in = s.at("in"), out = s.at("out"), k = s.at("k"), stride = s.at("stride"), pad = s.at("pad");
  const auto act = Activation(s.at("act"));
  const std::string name = cat(s.network, " ", s.op, " ", height, "x", width, "x", in, " -> ", out, ", ", k, "x", k, stride > 1 ? cat(" stride ", stride) : std::string(), activation_text(act), " (", s.name, ")");
  if (!h.wanted(name)) return;
  const Index oh = transpose ? height * stride : sampan::detail::conv_out(height, k, int(stride), int(pad)), ow = transpose ? width * stride : sampan::detail::conv_out(width, k, int(stride), int(pad));
  const auto maps = std::make_shared<Maps>(height, width, in, oh, ow, out, !h.option("--hot").empty());
  const std::array<Index, 4> shape = depthwise ? std::array<Index, 4>{out, 1, k, k} : transpose ? std::array<Index, 4>{in, out, k, k} : std::array<Index, 4>{out, in, k, k};
  const Index inputs = depthwise ? k * k : transpose ? in : in * k * k;
  const auto weights = std::make_shared<ConvWeights>(1, shape, inputs, out, int(stride), int(pad), bn);
  const Judge judge(act, bn ? 2 : 1);
  if (depthwise) {
    run_variants(
        h, name, maps, nullptr, judge, [=](const Cpu& b) { return pack_depthwise(b, weights->p); }, [=](Context<Cpu>& ctx, const auto& w, const auto& x, const auto& y) { depthwise_conv(ctx, w, x, y, act); },
        [=](Judge& j, Maps& m, std::size_t turn) { judge_windows(j, m, turn, k, stride, pad, [&](const Tensor64& x) { return oracle::conv2d(x, weights->p, act, true); }); });
  } else if (transpose) {
    run_variants(
        h, name, maps, nullptr, judge, [=](const Cpu& b) { return pack_conv_transpose(b, weights->p); }, [=](Context<Cpu>& ctx, const auto& w, const auto& x, const auto& y) { conv_transpose2d(ctx, w, x, y, act); },
        [=](Judge& j, Maps& m, std::size_t turn) {
          for (const Index at : {Index(0), std::min(m.h, m.w) / 2}) {  // outputs of one input pixel overlap no others
            const Tensor64 want = oracle::conv_transpose2d(oracle_test::exact(m.x_view(turn).slice(0, at, 1).slice(1, at, 1)), weights->p, act);
            for (Index i = 0; i < stride * stride; ++i)
              for (Index c = 0; c < out; ++c) j.value(m.y_view(turn)(at * stride + i / stride, at * stride + i % stride, c), want(i / stride, i % stride, c));
          }
        });
  } else {
    run_variants(
        h, name, maps, nullptr, judge, [=](const Cpu& b) { return pack_conv(b, weights->p); }, [=](Context<Cpu>& ctx, const auto& w, const auto& x, const auto& y) { conv2d(ctx, w, x, y, act); },
        [=](Judge& j, Maps& m, std::size_t turn) { judge_windows(j, m, turn, k, stride, pad, [&](const Tensor64& x) { return oracle::conv2d(x, weights->p, act); }); });
  }
}

void run_mbconv(Harness& h, const OpShape& s) {
  const Index height = s.at("h"), width = s.at("w"), in = s.at("in"), hidden = s.at("hidden"), out = s.at("out"), stride = s.at("stride");
  const bool residual = s.at("residual");
  const auto last = Activation(s.at("act"));
  const std::string name = cat(s.network, " mbconv ", height, "x", width, "x", in, " -> ", hidden, " -> ", out, stride > 1 ? cat(" stride ", stride) : std::string(), residual ? " +res" : "", activation_text(last), " (", s.name, ")");
  if (!h.wanted(name)) return;
  const Index oh = sampan::detail::conv_out(height, 3, int(stride), 1), ow = sampan::detail::conv_out(width, 3, int(stride), 1);
  const auto maps = std::make_shared<Maps>(height, width, in, oh, ow, out, !h.option("--hot").empty());
  struct Weights {
    ConvWeights a, b, c;
    MbConvParams p;
  };
  const auto w = std::make_shared<Weights>(Weights{ConvWeights(1, {hidden, in, 1, 1}, in, hidden, 1, 0, true), ConvWeights(11, {hidden, 1, 3, 3}, 9, hidden, int(stride), 1, true), ConvWeights(21, {out, hidden, 1, 1}, hidden, out, 1, 0, true), {}});
  w->p = {w->a.p, w->b.p, w->c.p, residual, last, {}};
  const double pixels = double(height * width), outputs = double(oh * ow);
  const Cost least{2 * (pixels * double(in * hidden) + outputs * 9 * double(hidden) + outputs * double(hidden * out)), maps->bytes() + 4.0 * double(in * hidden + 9 * hidden + hidden * out)};
  run_variants(
      h, name, maps, &least, Judge(Activation::gelu_erf, 2), [=](const Cpu& b) { return pack(b, w->p); }, [=](Context<Cpu>& ctx, const auto& packed, const auto& x, const auto& y) { mbconv(ctx, packed, x, y); },
      [=](Judge& j, Maps& m, std::size_t turn) { judge_windows(j, m, turn, 3, stride, 1, [&](const Tensor64& x) { return oracle::mbconv(x, w->a.p, w->b.p, w->c.p, residual, last); }); });
}

struct Volumes {
  std::array<Index, 4> in, out;  // extents, channels last
  Rotating x, y;
  Volumes(std::array<Index, 4> from, std::array<Index, 4> to, bool hot)
      : in(from), out(to), x(random_floats(7, size(from)), rotation(4.0 * double(size(from) + size(to)), hot)), y(std::vector<float>(std::size_t(size(to))), rotation(4.0 * double(size(from) + size(to)), hot)) {}
  static Index size(const std::array<Index, 4>& e) { return e[0] * e[1] * e[2] * e[3]; }
  View<const float, 4> x_view(std::size_t turn) { return {x.at(turn), in}; }
  View<float, 4> y_view(std::size_t turn) { return {y.at(turn), out}; }
};

void run_conv3d(Harness& h, const OpShape& s) {
  const bool transpose = s.op == "conv_transpose3d";
  const Index in = s.at("in"), out = s.at("out"), k = s.at("k"), stride = s.at("stride"), pad = s.at("pad");
  const std::array<Index, 4> from{s.at("d"), s.at("h"), s.at("w"), in};
  std::array<Index, 4> to{0, 0, 0, out};
  for (std::size_t a = 0; a < 3; ++a) to[a] = transpose ? from[a] * stride : sampan::detail::conv_out(from[a], k, int(stride), int(pad));
  const auto act = Activation(s.at("act"));
  const std::string name = cat(s.network, " ", s.op, " ", from[0], "x", from[1], "x", from[2], "x", in, " -> ", out, ", ", k, "^3", stride > 1 ? cat(" stride ", stride) : std::string(), activation_text(act), " (", s.name, ")");
  if (!h.wanted(name)) return;
  struct Weights {
    std::vector<float> weight, bias;
    Conv3dParams p;
  };
  const auto weights = std::make_shared<Weights>();
  weights->weight = transpose ? random_weights(1, out * k * k * k, in) : random_weights(1, out, in * k * k * k);
  weights->bias = random_floats(2, out);
  weights->p = {{weights->weight.data(), transpose ? View<const float, 5>::Extents{in, out, k, k, k} : View<const float, 5>::Extents{out, in, k, k, k}}, {weights->bias.data(), {out}}, int(stride), int(pad), {}};
  const auto volumes = std::make_shared<Volumes>(from, to, !h.option("--hot").empty());
  const auto check = [=](Judge& j, Volumes& v, std::size_t turn) {
    const auto x = v.x_view(turn);
    const auto num = [](float f) { return oracle_test::Num{double(f), 0, 0}; };
    for (const bool middle : {false, true}) {
      std::array<Index, 3> at{};  // of the output
      for (std::size_t a = 0; a < 3; ++a) at[a] = middle ? to[a] / 2 : 0;
      for (Index o = 0; o < out; ++o) {
        oracle_test::Sum sum;
        for (Index t = 0; t < (transpose ? 1 : k * k * k); ++t) {
          std::array<Index, 3> tap{t / (k * k), t / k % k, t % k}, place{};
          bool inside = true;
          for (std::size_t a = 0; a < 3; ++a) {
            if (transpose) tap[a] = at[a] % stride, place[a] = at[a] / stride;
            else place[a] = at[a] * stride + tap[a] - pad;
            inside = inside && place[a] >= 0 && place[a] < from[a];
          }
          for (Index c = 0; inside && c < in; ++c)
            sum.term(num(x(place[0], place[1], place[2], c)), num(transpose ? weights->p.weight(c, o, tap[0], tap[1], tap[2]) : weights->p.weight(o, c, tap[0], tap[1], tap[2])));
        }
        j.value(v.y_view(turn)(at[0], at[1], at[2], o), oracle::detail::after_conv(sum, {{}, weights->p.bias, {}, 1, 0, {}}, o, act));
      }
    }
  };
  if (transpose)
    run_variants(
        h, name, volumes, nullptr, Judge(act, 1), [=](const Cpu& b) { return pack_conv_transpose3d(b, weights->p); }, [=](Context<Cpu>& ctx, const auto& w, const auto& x, const auto& y) { conv_transpose3d(ctx, w, x, y, act); }, check);
  else
    run_variants(
        h, name, volumes, nullptr, Judge(act, 1), [=](const Cpu& b) { return pack_conv3d(b, weights->p); }, [=](Context<Cpu>& ctx, const auto& w, const auto& x, const auto& y) { conv3d(ctx, w, x, y, act); }, check);
}

}  // namespace

int main(int argc, char** argv) {
  Harness h(argc, argv, "convolutions on the shapes of real networks (bench/shapes)", {kHot});
  for (const auto& list : h.shapes(shape_lists()))
    for (const auto& s : read_shapes(list)) {
      if (s.op == "conv2d" || s.op == "depthwise" || s.op == "conv_transpose") run_conv(h, s);
      if (s.op == "mbconv") run_mbconv(h, s);
      if (s.op == "conv3d" || s.op == "conv_transpose3d") run_conv3d(h, s);
    }
  return h.report();
}
