// conv3d and conv_transpose3d on every host backend, against the definitions of torch.nn.Conv3d and ConvTranspose3d in double: the kernels, strides and pads of SAM-Med3D,
// odd sizes, channels around the tiles, misaligned and strided volumes.
#include "support/for_each_backend.hpp"
#include "support/oracle/conv.hpp"
#include "support/random_layers.hpp"

#include <sampan/cpu/conv3d.hpp>

using namespace sampan;
using namespace sampan::test;

namespace {

/// Weight [first, second, k, k, k] with the bias of `outputs`.
struct RandomConv3d {
  GuardBuffer<5> weight;
  GuardBuffer<1> bias;
  Conv3dParams p;
  RandomConv3d(Rng& rng, Index first, Index second, Index kernel, Index inputs, Index outputs, int stride, int pad, bool with_bias)
      : weight({first, second, kernel, kernel, kernel}, kInFile, rng, -RandomLinear::scale(inputs), RandomLinear::scale(inputs)),
        bias({outputs}, kInFile, rng) {
    p.weight = weight.in(), p.stride = stride, p.pad = pad;
    if (with_bias) p.bias = bias.in();
  }
};
RandomConv3d random_conv(Rng& rng, Index in, Index out, int kernel, int stride, int pad, bool bias) {
  return {rng, out, in, kernel, in * kernel * kernel * kernel, out, stride, pad, bias};
}
RandomConv3d random_transposed(Rng& rng, Index in, Index out, int stride, bool bias) { return {rng, in, out, stride, in, out, stride, 0, bias}; }

/// Rows [d*h*w, c] of a volume as GuardBuffer<2> lays them out, seen as the volume.
template <class T>
View<T, 4> volume(const View<T, 2>& rows, std::array<Index, 3> size) {
  return as_volume(rows, size[0], size[1], size[2]);
}

struct Case {
  std::array<Index, 3> size;
  Index in, out;
  int kernel = 3, stride = 1, pad = 1;
  bool bias = false;
  Activation activation = Activation::none;
  Layout x = {}, y = {};
};

void check(Sweep& sweep, const Case& c, Seed seed) {
  std::array<Index, 3> o{};
  for (std::size_t i = 0; i < 3; ++i) {
    if (c.size[i] + 2 * c.pad < c.kernel) return;
    o[i] = (c.size[i] + 2 * c.pad - c.kernel) / c.stride + 1;
  }
  Rng rng(seed);
  const RandomConv3d w = random_conv(rng, c.in, c.out, c.kernel, c.stride, c.pad, c.bias);
  GuardBuffer<2> x({c.size[0] * c.size[1] * c.size[2], c.in}, c.x, rng);
  const Tensor64 expected = oracle::conv3d(exact(x.in()), c.size, w.p, c.activation);
  const double flop = 2.0 * double(expected.size() * c.in) * c.kernel * c.kernel * c.kernel;
  sweep.check<2>(
      cat("[", c.size[0], ",", c.size[1], ",", c.size[2], ",", c.in, "] -> ", c.out, ", kernel ", c.kernel, " stride ", c.stride, " pad ", c.pad), expected,
      flop, {{o[0] * o[1] * o[2], c.out}, c.y}, [&](const auto& b) { return pack_conv3d(b, w.p); },
      [&](auto& ctx, const auto& p, const View<float, 2>& y) { conv3d(ctx, p, volume(x.in(), c.size), volume(y, o), c.activation); });
}

}  // namespace

TEST_CASE("conv3d: kernels, strides, pads, sizes, channels") {
  Sweep sweep("conv3d");
  std::uint64_t seed = 1;
  struct Kind {
    int kernel, stride, pad;
  };
  for (Kind k : {Kind{1, 1, 0}, {2, 2, 0}, {3, 1, 1}, {3, 2, 1}, {4, 4, 0}, {1, 2, 0}})
    for (const std::array<Index, 3>& size : {std::array<Index, 3>{1, 1, 1}, {2, 4, 6}, {5, 3, 4}, {4, 8, 5}})
      for (const auto& [in, out] : {std::array<Index, 2>{1, 4}, {3, 5}, {16, 33}}) {
        const auto s = seed++;
        if (!kThorough && s % 7) continue;
        check(sweep,
              {size, in, out, k.kernel, k.stride, k.pad, s % 3 == 0,
               s % 5 == 0   ? Activation::gelu_erf
               : s % 7 == 0 ? Activation::relu
                            : Activation::none,
               kLayouts[s % std::size(kLayouts)], kLayouts[(s / 2) % std::size(kLayouts)]},
              {s});
      }
  check(sweep, {{32, 16, 32}, 1, 24, 16, 16, 0, true}, {901});  // patch embedding
  check(sweep, {{4, 5, 6}, 70, 40}, {902});                     // neck; 120 voxels: more than one block of rows
  check(sweep, {{9, 10, 9}, 20, 200, 1, 1, 0, true}, {903});    // 810 voxels: above eight blocks of rows
  check(sweep, {{4, 4, 4}, 30, 210, 1, 1, 0}, {904});           // columns are cut
}

TEST_CASE("conv3d: lines and planes with gaps") {
  Rng rng(Seed{4});
  const RandomConv3d w = random_conv(rng, 3, 5, 3, 1, 1, true), one = random_conv(rng, 3, 5, 1, 1, 0, true);
  GuardBuffer<4> wide({6, 7, 8, 3}, {}, rng);
  const View<const float, 4> x = wide.in().slice(0, 1, 4).slice(1, 2, 5).slice(2, 1, 6);
  const Tensor64 flat = exact(x).shaped(4 * 5 * 6, 3);
  Sweep sweep("conv3d, crop");
  for (const RandomConv3d* c : {&w, &one})
    sweep.check<2>(
        "crop", oracle::conv3d(flat, {4, 5, 6}, c->p), -1, {{4 * 5 * 6, 5}}, [&](const auto& b) { return pack_conv3d(b, c->p); },
        [&](auto& ctx, const auto& p, const View<float, 2>& y) { conv3d(ctx, p, x, as_volume(y, 4, 5, 6)); });
}

TEST_CASE("conv_transpose3d: sizes, channels, strides, layouts") {
  Sweep sweep("conv_transpose3d");
  std::uint64_t seed = 1;
  for (const std::array<Index, 3>& size : {std::array<Index, 3>{1, 1, 1}, {2, 3, 4}, {5, 4, 7}})
    for (const auto& [in, out] : {std::array<Index, 2>{1, 1}, {3, 5}, {48, 12}, {33, 17}})
      for (int stride : {2, 1, 3}) {
        const auto s = seed++;
        if (stride != 2 && s % 3) continue;
        Rng rng(Seed{s});
        const RandomConv3d t = random_transposed(rng, in, out, stride, s % 3 != 0);
        const Activation a = s % 5 == 0 ? Activation::gelu_erf : s % 7 == 0 ? Activation::relu : Activation::none;
        GuardBuffer<2> x({size[0] * size[1] * size[2], in}, kLayouts[s % std::size(kLayouts)], rng);
        const std::array<Index, 3> to{size[0] * stride, size[1] * stride, size[2] * stride};
        const Tensor64 expected = oracle::conv_transpose3d(exact(x.in()), size, t.p, a);
        sweep.check<2>(
            cat("[", size[0], ",", size[1], ",", size[2], ",", in, "] -> ", out, ", stride ", stride), expected, 2.0 * double(expected.size() * in),
            {{to[0] * to[1] * to[2], out}, {kLayouts[s % std::size(kLayouts)].offset, 0, s % 4 == 0}},
            [&](const auto& b) { return pack_conv_transpose3d(b, t.p); },
            [&](auto& ctx, const auto& p, const View<float, 2>& y) { conv_transpose3d(ctx, p, volume(x.in(), size), volume(y, to), a); });
      }
}

TEST_CASE("conv3d and conv_transpose3d refuse what they cannot do, and are inert on a failed context") {
  Rng rng(Seed{1});
  const RandomConv3d w = random_conv(rng, 4, 6, 2, 2, 0, true), t = random_transposed(rng, 4, 6, 2, true);
  RandomConv3d three = random_transposed(rng, 4, 6, 3, true), padded = random_transposed(rng, 4, 6, 2, true);
  three.p.stride = 2;  // overlapping outputs
  padded.p.pad = 1;
  GuardBuffer<4> x({4, 2, 6, 4}, {}, rng), deep({4, 2, 6, 5}, {}, rng), low({1, 2, 6, 4}, {}, rng);
  const auto packs = [](const RandomConv3d& c) { return [&](const auto& b) { return pack_conv3d(b, c.p); }; };
  const auto packs_t = [](const RandomConv3d& c) { return [&](const auto& b) { return pack_conv_transpose3d(b, c.p); }; };
  const auto with = [](const GuardBuffer<4>& in) { return [&](auto& ctx, const auto& p, const View<float, 4>& y) { conv3d(ctx, p, in.in(), y); }; };
  const auto with_t = [](const GuardBuffer<4>& in) { return [&](auto& ctx, const auto& p, const View<float, 4>& y) { conv_transpose3d(ctx, p, in.in(), y); }; };
  check_refused<4>("channels of x", {2, 1, 3, 6}, packs(w), with(deep));
  check_refused<4>("channels of y", {2, 1, 3, 5}, packs(w), with(x));
  check_refused<4>("planes of y", {3, 1, 3, 6}, packs(w), with(x));
  check_refused<4>("rows of y", {2, 2, 3, 6}, packs(w), with(x));
  check_refused<4>("columns of y", {2, 1, 2, 6}, packs(w), with(x));
  check_refused<4>("x with fewer planes than the kernel", {1, 1, 3, 6}, packs(w), with(low));
  check_inert<4>({2, 1, 3, 6}, packs(w), with(x));
  check_refused<4>("transposed: channels of x", {8, 4, 12, 6}, packs_t(t), with_t(deep));
  check_refused<4>("transposed: planes of y", {7, 4, 12, 6}, packs_t(t), with_t(x));
  check_refused<4>("transposed: columns of y", {8, 4, 11, 6}, packs_t(t), with_t(x));
  check_refused<4>("transposed: kernel 3, stride 2", {8, 4, 12, 6}, packs_t(three), with_t(x));
  check_refused<4>("transposed: padding", {8, 4, 12, 6}, packs_t(padded), with_t(x));
  check_inert<4>({8, 4, 12, 6}, packs_t(t), with_t(x));
}
