// Layer parameters with random values and the storage behind them. Data flow: tests/ops/*_test.cpp -> here -> pack(backend, params).
// Weights are scaled by 1/sqrt(inputs), as trained layers are, so that a chain of layers keeps its magnitude; they start off a 64-byte boundary, as in a file.
#pragma once
#include "support/guard_buffer.hpp"

#include <sampan/ops/params.hpp>

#include <cmath>
#include <optional>

namespace sampan::test {

inline constexpr Layout kInFile{1, 0};

struct RandomLinear {
  GuardBuffer<2> weight;
  std::optional<GuardBuffer<1>> bias;
  LinearParams p;
  RandomLinear(Rng& rng, Index out, Index in, bool with_bias = true, std::string name = {}) : weight({out, in}, kInFile, rng, -scale(in), scale(in)) {
    if (with_bias) bias.emplace(std::array<Index, 1>{out}, kInFile, rng);
    p.weight = weight.in();
    if (with_bias) p.bias = bias->in();
    p.name = std::move(name);
  }
  static float scale(Index in) { return 1.7f / std::sqrt(float(in)); }
};

struct RandomNorm {
  GuardBuffer<1> weight, bias;
  NormParams p;
  RandomNorm(Rng& rng, Index c, float eps, std::string name = {}) : weight({c}, kInFile, rng, 0.5f, 1.5f), bias({c}, kInFile, rng) {
    p = {weight.in(), bias.in(), eps, std::move(name)};
  }
};

/// Weight [out, in, kh, kw] in PyTorch's order; for depthwise layers in = 1, for transposed ones the caller swaps out and in.
struct RandomConv {
  struct Options {
    int stride = 1, pad = 0;
    bool bias = false, bn = false;
    std::string name = {}, bn_name = {};
  };
  GuardBuffer<4> weight;
  std::optional<GuardBuffer<1>> bias, bn_weight, bn_bias, bn_mean, bn_var;
  ConvParams p;
  RandomConv(Rng& rng, std::array<Index, 4> shape, Options o) : weight(shape, kInFile, rng, -RandomLinear::scale(shape[1] * shape[2] * shape[3]), RandomLinear::scale(shape[1] * shape[2] * shape[3])) {
    const std::array<Index, 1> c{shape[0]};
    p.weight = weight.in();
    if (o.bias) p.bias = bias.emplace(c, kInFile, rng).in();
    if (o.bn) {
      p.bn.weight = bn_weight.emplace(c, kInFile, rng, 0.5f, 1.5f).in();
      p.bn.bias = bn_bias.emplace(c, kInFile, rng).in();
      p.bn.mean = bn_mean.emplace(c, kInFile, rng, -0.5f, 0.5f).in();
      p.bn.var = bn_var.emplace(c, kInFile, rng, 0.2f, 2.0f).in();
    }
    p.stride = o.stride, p.pad = o.pad, p.name = std::move(o.name), p.bn.name = std::move(o.bn_name);
  }
};

}  // namespace sampan::test
