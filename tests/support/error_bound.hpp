// How much error a float32 result may have, derived and carried along with the value (running error analysis; Higham, Accuracy and Stability, ch. 3).
// Data flow: support/oracle/*.hpp compute ops in double on `Num`; compare() judges a float32 result of a backend against them.
//
// A Num is a value in double and two error measures of a float32 evaluation, u = 2^-24 (half an ulp of 1):
//   worst   what no correct evaluation in any order of summation exceeds. A sum of n products: gamma_n * sum |a||b|, gamma_n = n u / (1 - n u), and the
//           errors of its inputs weighted with the other factor; other functions: |f'| times the error of the argument, plus their own roundings.
//   floor   the typical error of an evaluation in order, stages combined in quadrature, because independent roundings do. A sum of n products rounds once at
//           the magnitude of its terms (u * sum |a||b|, products and reordering) and n times at its partial sums, uniformly within u of each (u^2 s^2 / 3).
//           It is the unit ("ulp of the derived kind") in which errors are compared.
// Rules (style.md 32):
//   Reference    |error| <= worst, for every element
//   fast         max(|error| / floor) <= 2 * the same of Reference + 2. The 2: each term is rounded once as a product and once when it is added, so even where
//                Reference is exact by luck (one element, powers of two) two floors are legal.
// NaN: where the oracle is NaN the result must be NaN, elsewhere it must not; infinities must be equal.
#pragma once
#include <sampan/core/view.hpp>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

namespace sampan::test {

inline constexpr double kUnit = 0x1p-24;
inline constexpr double kTiny = 0x1p-120;  // far above subnormal rounding and flushed exponentials, far below everything compared

struct Num {
  double v = 0, worst = 0, floor = 0;
};

inline double square(double x) { return x * x; }
inline double gamma_n(Index n) { return double(n) * kUnit / (1 - double(n) * kUnit); }

/// a + b, rounded once.
inline Num operator+(const Num& a, const Num& b) {
  const double v = a.v + b.v;
  return {v, a.worst + b.worst + kUnit * (std::abs(v) + a.worst + b.worst), std::sqrt(square(a.floor) + square(b.floor) + square(kUnit * v))};
}
/// a * k for a float k whose own relative error is `rel`.
inline Num scaled(const Num& a, double k, double rel = 0) {
  const double v = a.v * k;
  return {v, (std::abs(k) * a.worst + std::abs(v) * rel) * (1 + kUnit) + kUnit * std::abs(v), std::sqrt(square(k * a.floor) + square((kUnit + rel) * v))};
}

/// A sum of products and plain terms, in any order.
class Sum {
 public:
  void term(const Num& a, const Num& b) {
    const double p = a.v * b.v, aa = std::abs(a.v), ab = std::abs(b.v);
    v_ += p;
    partial2_ += v_ * v_;
    magnitude_ += std::abs(p);
    inherited_ += aa * b.worst + ab * a.worst + a.worst * b.worst;
    floor2_ += square(a.v * b.floor) + square(b.v * a.floor);
    ++n_;
  }
  void term(const Num& a) { term(a, {1, 0, 0}); }
  /// `start`: a constant (bias) that a backend may begin its sum with, so that every partial sum holds it.
  Num get(double start = 0) const {
    if (n_ == 0) return {};
    return {v_, gamma_n(n_) * (magnitude_ + inherited_) + inherited_, std::sqrt(floor2_ + square(kUnit) * (square(magnitude_) + (partial2_ + double(n_) * square(start)) / 3))};
  }
  Index terms() const { return n_; }

 private:
  double v_ = 0, magnitude_ = 0, inherited_ = 0, floor2_ = 0, partial2_ = 0;
  Index n_ = 0;
};

/// Row-major values of an oracle; unused trailing extents are 1.
struct Tensor64 {
  Tensor64() = default;
  explicit Tensor64(Index a, Index b = 1, Index c = 1, Index d = 1) : e{a, b, c, d}, v(std::size_t(a * b * c * d)) {}
  std::array<Index, 4> e{0, 1, 1, 1};
  std::vector<Num> v;
  Index size() const { return Index(v.size()); }
  Num& operator()(Index a, Index b = 0, Index c = 0, Index d = 0) { return v.at(std::size_t(((a * e[1] + b) * e[2] + c) * e[3] + d)); }
  const Num& operator()(Index a, Index b = 0, Index c = 0, Index d = 0) const { return v.at(std::size_t(((a * e[1] + b) * e[2] + c) * e[3] + d)); }
  /// The same values in another shape.
  Tensor64 shaped(Index a, Index b = 1, Index c = 1, Index d = 1) const {
    Tensor64 t = *this;
    t.e = {a, b, c, d};
    return t;
  }
};

/// Float inputs as exact numbers.
template <int R>
Tensor64 exact(const View<const float, R>& x) {
  Tensor64 t;
  for (std::size_t i = 0; i < std::size_t(R); ++i) t.e[i] = x.extent(int(i));
  t.v.reserve(std::size_t(x.size()));
  auto walk = [&](auto& self, const float* p, int axis) -> void {
    for (Index i = 0; i < x.extent(axis); ++i) {
      const float* q = p + i * x.stride(axis);
      axis + 1 == R ? t.v.push_back({double(*q), 0, 0}) : self(self, q, axis + 1);
    }
  };
  walk(walk, x.data(), 0);
  return t;
}

/// Largest errors of a result in units of the two measures; `nonfinite` says where NaN or infinity disagree (empty: nowhere).
struct Errors {
  double worst = 0, floor = 0;
  Index worst_at = -1, floor_at = -1;
  std::string nonfinite;
};

/// `got`: the elements of the result, row-major.
inline Errors compare(const float* got, const Tensor64& expected) {
  Errors e;
  for (Index i = 0; i < expected.size(); ++i) {
    const Num& x = expected.v[std::size_t(i)];
    const double g = double(got[i]);
    if (!std::isfinite(x.v) || !std::isfinite(g)) {
      const bool same = std::isnan(x.v) ? std::isnan(g) : g == x.v;
      if (!same && e.nonfinite.empty()) e.nonfinite = "element " + std::to_string(i) + " is " + std::to_string(g) + ", the oracle has " + std::to_string(x.v);
      continue;
    }
    if (!std::isfinite(x.worst) || !std::isfinite(x.floor)) e.nonfinite = "the bound of element " + std::to_string(i) + " is no number";  // a test that could not fail
    const double error = std::abs(g - x.v);
    if (const double r = error / (x.worst + kUnit * 0x1p-20 * std::abs(x.v) + kTiny); r > e.worst) e.worst = r, e.worst_at = i;  // 2^-44: the oracle's own sums in double
    if (const double r = error / (x.floor + kTiny); r > e.floor) e.floor = r, e.floor_at = i;
  }
  return e;
}

}  // namespace sampan::test
