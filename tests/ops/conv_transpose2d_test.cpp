// conv_transpose2d with kernel = stride on every backend, against the scatter definition of torch.nn.ConvTranspose2d in double.
#include "support/for_each_backend.hpp"
#include "support/oracle/conv.hpp"
#include "support/random_layers.hpp"

using namespace sampan;
using namespace sampan::test;

namespace {

/// Weight [in, out, s, s]; the bias belongs to the outputs.
struct RandomTransposed {
  GuardBuffer<4> weight;
  GuardBuffer<1> bias;
  ConvParams p;
  RandomTransposed(Rng& rng, Index in, Index out, int stride, bool with_bias)
      : weight({in, out, stride, stride}, kInFile, rng, -RandomLinear::scale(in), RandomLinear::scale(in)), bias({out}, kInFile, rng) {
    p.weight = weight.in(), p.stride = stride;
    if (with_bias) p.bias = bias.in();
  }
};

}  // namespace

TEST_CASE("conv_transpose2d: sizes, channels, strides, layouts") {
  Sweep sweep("conv_transpose2d");
  std::uint64_t seed = 1;
  const Index channels[] = {1, 3, 8, 31, 32, 33, 80};
  for (Index in : channels)
    for (Index out : channels)
      for (int stride : {2, 1, 3}) {
        const auto s = seed++;
        if (stride != 2 && s % 4) continue;
        if (!kThorough && s % 5) continue;
        Rng rng(Seed{s});
        const Index h = 1 + rng.below(7), w = 1 + rng.below(9);
        RandomTransposed t(rng, in, out, stride, s % 3 != 0);
        const Activation a = s % 5 == 0 ? Activation::gelu_erf : s % 7 == 0 ? Activation::relu : Activation::none;
        GuardBuffer<3> x({h, w, in}, kLayouts[s % std::size(kLayouts)], rng);
        const Tensor64 expected = oracle::conv_transpose2d(exact(x.in()), t.p, a);
        sweep.check<3>(cat("[", h, ",", w, ",", in, "] -> ", out, ", stride ", stride), expected, 2.0 * double(h * w * in * out) * stride * stride,
                       {{expected.e[0], expected.e[1], out}, {kLayouts[s % std::size(kLayouts)].offset, 0, s % 4 == 0}}, [&](const auto& b) { return pack_conv_transpose(b, t.p); },
                       [&](auto& ctx, const auto& p, const View<float, 3>& y) { conv_transpose2d(ctx, p, x.in(), y, a); });
      }
  Rng rng(Seed{999});  // the decoder's first upscaling on a small grid
  RandomTransposed t(rng, 256, 64, 2, true);
  GuardBuffer<3> x({9, 7, 256}, {}, rng);
  const Tensor64 expected = oracle::conv_transpose2d(exact(x.in()), t.p);
  sweep.check<3>("decoder", expected, 2.0 * 9 * 7 * 256 * 64 * 4, {{18, 14, 64}}, [&](const auto& b) { return pack_conv_transpose(b, t.p); },
                 [&](auto& ctx, const auto& p, const View<float, 3>& y) { conv_transpose2d(ctx, p, x.in(), y); });
}

TEST_CASE("conv_transpose2d: 4x4 with stride 2 and padding 1, where outputs overlap") {
  Sweep sweep("conv_transpose2d, 4x4 s2 p1");
  std::uint64_t seed = 500;
  for (const auto& [h, w] : {std::array<Index, 2>{1, 1}, {1, 4}, {5, 1}, {3, 4}, {8, 7}})
    for (const auto& [in, out] : {std::array<Index, 2>{1, 1}, {3, 5}, {16, 33}, {70, 48}}) {
      const auto s = seed++;
      Rng rng(Seed{s});
      RandomTransposed t(rng, in, out, 4, s % 2 != 0);
      t.p.stride = 2, t.p.pad = 1;
      const Activation a = s % 3 == 0 ? Activation::relu : Activation::none;
      GuardBuffer<3> x({h, w, in}, {}, rng);
      ConvParams whole = t.p;
      whole.pad = 0;
      const Tensor64 all = oracle::conv_transpose2d(exact(x.in()), whole, a);  // padding takes the outermost ring of the scatter away
      Tensor64 expected(2 * h, 2 * w, out);
      for (Index y = 0; y < 2 * h; ++y)
        for (Index i = 0; i < 2 * w; ++i)
          for (Index o = 0; o < out; ++o) expected.v[std::size_t((y * 2 * w + i) * out + o)] = all.v[std::size_t(((y + 1) * all.e[1] + i + 1) * out + o)];
      sweep.check<3>(cat("[", h, ",", w, ",", in, "] -> ", out), expected, -1, {{2 * h, 2 * w, out}}, [&](const auto& b) { return pack_conv_transpose(b, t.p); },
                     [&](auto& ctx, const auto& p, const View<float, 3>& y) { conv_transpose2d(ctx, p, x.in(), y, a); });
    }
}

TEST_CASE("conv_transpose2d: NaN reaches exactly its own output pixels") {
  Rng rng(Seed{3});
  RandomTransposed t(rng, 5, 9, 2, true);
  GuardBuffer<3> x({4, 3, 5}, {}, rng);
  x.view()(2, 1, 4) = std::nanf("");
  Sweep sweep("conv_transpose2d, NaN");
  sweep.check<3>("NaN", oracle::conv_transpose2d(exact(x.in()), t.p), -1, {{8, 6, 9}}, [&](const auto& b) { return pack_conv_transpose(b, t.p); },
                 [&](auto& ctx, const auto& p, const View<float, 3>& y) { conv_transpose2d(ctx, p, x.in(), y); });
}

TEST_CASE("conv_transpose2d refuses what it cannot do, and is inert on a failed context") {
  Rng rng(Seed{1});
  RandomTransposed t(rng, 4, 6, 2, true), three(rng, 4, 6, 3, true), padded(rng, 4, 6, 2, true);
  three.p.stride = 2;  // overlapping outputs
  padded.p.pad = 1;
  GuardBuffer<3> x({3, 5, 4}, {}, rng), deep({3, 5, 5}, {}, rng);
  auto packs = [](const RandomTransposed& w) { return [&](const auto& b) { return pack_conv_transpose(b, w.p); }; };
  auto with = [&](const GuardBuffer<3>& in) { return [&](auto& ctx, const auto& p, const View<float, 3>& y) { conv_transpose2d(ctx, p, in.in(), y); }; };
  check_refused<3>("channels of x", {6, 10, 6}, packs(t), with(deep));
  check_refused<3>("channels of y", {6, 10, 5}, packs(t), with(x));
  check_refused<3>("rows of y", {5, 10, 6}, packs(t), with(x));
  check_refused<3>("columns of y", {6, 11, 6}, packs(t), with(x));
  check_refused<3>("kernel 3, stride 2", {6, 10, 6}, packs(three), with(x));
  check_refused<3>("padding", {6, 10, 6}, packs(padded), with(x));
  check_inert<3>({6, 10, 6}, packs(t), with(x));
}
