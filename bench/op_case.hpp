// What the op benchmarks share: one op on one variant (level, threads) run again and again, buffers that rotate, and the judgement of results.
// Data flow: gemm.cpp, attention.cpp, norms.cpp, conv.cpp -> here -> an op of include/sampan on Cpu; oracles in double from tests/support/oracle.
// Rotation: consecutive runs use different buffers, together more than two last-level caches, so that inputs come from memory as they do inside a network
// that has other layers in between; --hot switches it off (one set of buffers, as in a micro-benchmark).
#pragma once
#include "harness.hpp"
#include "machine.hpp"

#include "support/error_bound.hpp"

#include <sampan/cpu/cpu.hpp>
#include <sampan/ops/params.hpp>

#include <cmath>
#include <cstdint>
#include <memory>
#include <sstream>

namespace bench {

using namespace sampan;  // the op benchmarks are written in the library's vocabulary
namespace oracle_test = sampan::test;

inline const ExtraOption kHot{"--hot", "", "the same buffers in every run instead of rotating ones"};

inline const ExtraOption kPrecision{"--precision", "LIST", "of the weights: f32, fast, bf16; f32, f16, bf16 on cuda (default: f32)"};

/// How far rounding may move a value: `fast` has steps of most/4095 at most, so half a step; bf16 keeps 8 bits, f16 11, and no step below 2^-24.
inline double rounding(const std::string& precision, double value, double most) {
  if (precision == "f32") return 0;
  return precision == "fast" ? most / 8190 : precision == "f16" ? std::fmax(value / 2048, 0x1p-25) : value / 256;
}

/// --precision as words; ends the program for one that a level or the device does not have.
inline std::vector<std::string> precisions(const Harness& h) {
  std::vector<std::string> out;
  const std::string own = h.option(kDevice.name) == kDeviceRow ? "f16" : "fast";
  std::istringstream in(h.option("--precision", "f32"));
  for (std::string p; std::getline(in, p, ',');) {
    if (p != "f32" && p != own && p != "bf16") die("--precision " + p + ": f32, " + own + " or bf16");
    out.push_back(p);
  }
  return out;
}

inline Cpu make_backend(const std::string& isa, const std::string& precision = "f32") {
  Isa level = Isa::scalar;
  if (!parse_isa(isa, level) || !isa_available(level)) die("this machine has no level " + isa);  // the harness has refused it already
  const Cpu backend{.isa = level, .precision = precision == "fast" ? Precision::fast : precision == "bf16" ? Precision::bf16 : Precision::f32};
  if (!cpu::products(backend.kernels(), backend.precision).gemm) die("level " + isa + " has no products in " + precision);
  return backend;
}

/// Level, threads and scratch of one variant.
class Runner {
 public:
  Runner(const std::string& isa, int threads, const std::string& precision = "f32") : isa_(isa), precision_(precision), threads_(threads), backend_(make_backend(isa, precision)), pool_(threads) {}
  const Cpu& backend() const { return backend_; }
  Row row(std::string name, Cost cost) const {
    Row r;
    r.name = std::move(name), r.isa = isa_, r.precision = precision_, r.threads = threads_, r.flop = cost.flop, r.bytes = cost.bytes;
    return r;
  }
  /// Sizes the scratch; the cost of one run.
  template <class Op>
  Cost plan(Op&& op) {
    const Plan p = take(sampan::plan(backend_, pool_, op));
    if (!arena_.reserve(p.arena_bytes)) die("no memory for scratch");
    return p.cost;
  }
  /// Milliseconds of op(ctx).
  template <class Op>
  double time(Op&& op) {
    Context<Cpu> ctx(backend_, pool_, arena_);
    const double start = seconds();
    op(ctx);
    const double ms = (seconds() - start) * 1e3;
    take(ctx.status());
    return ms;
  }

 private:
  std::string isa_, precision_;
  int threads_;
  Cpu backend_;
  ThreadPool pool_;
  Arena arena_;
};

/// Reproducible floats in [lo, hi) (splitmix64).
inline std::vector<float> random_floats(std::uint64_t seed, Index count, float lo = -1, float hi = 1) {
  std::vector<float> v(static_cast<std::size_t>(count));
  std::uint64_t state = seed * 0x9E3779B97F4A7C15u;
  for (float& x : v) {
    std::uint64_t z = state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    x = lo + (hi - lo) * float((z ^ (z >> 31)) >> 40) * 0x1p-24f;
  }
  return v;
}
/// Weights of `in` inputs, scaled as trained layers are, so that results keep the magnitude of the inputs.
inline std::vector<float> random_weights(std::uint64_t seed, Index out, Index in) {
  const float s = 1.7f / std::sqrt(float(in));
  return random_floats(seed, out * in, -s, s);
}

/// How many copies of buffers with `bytes` together exceed two last-level caches; at most 64, and never above 1 GiB.
inline std::size_t rotation(double bytes, bool hot) {
  if (hot) return 1;
  const double need = std::ceil(2 * double(last_level_cache()) / bytes), room = std::floor(double(std::size_t(1) << 30) / bytes);
  return std::size_t(std::fmax(1, std::fmin(64, std::fmin(need, room))));
}

/// Copies of one buffer in turn.
class Rotating {
 public:
  Rotating(std::vector<float> first, std::size_t copies) : copies_(copies, std::move(first)) {}
  float* at(std::size_t turn) { return copies_[turn % copies_.size()].data(); }

 private:
  std::vector<std::vector<float>> copies_;
};

/// Collects compared values; the bounds are those of tests/support/error_bound.hpp. GELU may be any form within 5e-7 (ops/activation.hpp).
class Judge {
 public:
  /// `roundings`: how often a correct result may round where the bound counts once (2 where BatchNorm is folded into the weights).
  explicit Judge(Activation a = Activation::none, double roundings = 1) : gelu_(a == Activation::gelu_erf ? 5e-7 : 0), roundings_(roundings) {}
  void value(float got, oracle_test::Num expected) {
    const double error = double(got) - expected.v, limit = roundings_ * expected.worst + gelu_ + oracle_test::kTiny;
    ++count_;
    if (!std::isfinite(double(got))) wrong_ = "NaN or infinity in the result";
    if (wrong_.empty() && !(std::abs(error) <= limit)) wrong_ = "off by " + std::to_string(std::abs(error) / limit) + " times what rounding can explain";
    error2_ += error * error, value2_ += expected.v * expected.v;
  }
  void values(const float* got, const oracle_test::Tensor64& expected) {
    for (const auto& e : expected.v) value(*got++, e);
  }
  Accuracy error() const { return {count_ ? std::sqrt(error2_ / value2_) : kNaN, "fp64", count_ ? wrong_ : "nothing was compared"}; }

 private:
  double gelu_, roundings_, error2_ = 0, value2_ = 0;
  Index count_ = 0;
  std::string wrong_;
};

/// Precisions and thread counts, combined.
inline std::vector<std::pair<std::string, int>> ways(const Harness& h) {
  std::vector<std::pair<std::string, int>> all;
  for (const auto& precision : precisions(h))
    for (const int threads : h.threads()) all.emplace_back(precision, threads);
  return all;
}

/// A few indices of [0, n): both ends and some between.
inline std::vector<Index> samples(Index n, Index count) {
  std::vector<Index> v;
  for (Index i = 0; i < count; ++i)
    if (const Index at = count > 1 ? i * (n - 1) / (count - 1) : 0; v.empty() || at != v.back()) v.push_back(at);
  return v;
}

inline const char* activation_text(Activation a) { return a == Activation::gelu_erf ? " gelu" : a == Activation::relu ? " relu" : ""; }

}  // namespace bench
