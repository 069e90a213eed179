// Oracles in double for linear layers, norms and activations, from the formulas that the PyTorch documentation gives. Data flow: tests/ops/*_test.cpp -> here.
// Written from the formulas, not from ops/*.hpp: an error there must not repeat here. Values carry derived error bounds (support/error_bound.hpp).
//   linear      y = x W^T + b, W [out, in]                       layer_norm  (x - E x) / sqrt(Var x + eps) * gamma + beta, biased variance
//   relu        max(x, 0)                                        gelu        x Phi(x), Phi the normal distribution function; its tanh form as stated
//   mask_head   hyper map^T                                      fourier     [sin(2 pi t G) ; cos(2 pi t G)], t = 2 (u, v) - 1
#pragma once
#include "support/error_bound.hpp"

#include <sampan/ops/params.hpp>

#include <limits>
#include <numbers>

namespace sampan::test::oracle {

/// The contract of ops/activation.hpp allows any form of GELU with an absolute error of 5e-7; comparisons allow two floors.
inline constexpr double kGeluFloor = 2.5e-7;

inline Num activation(const Num& x, Activation a) {
  if (a == Activation::relu && x.v == -std::numeric_limits<double>::infinity()) return {};
  if (a == Activation::relu) return x.v > 0 || std::isnan(x.v) ? x : Num{0, std::max(0.0, x.worst + x.v), x.floor};  // near zero the error may still pass
  if (a == Activation::gelu_erf) {
    const double v = std::isinf(x.v) ? (x.v > 0 ? x.v : std::numeric_limits<double>::quiet_NaN()) : 0.5 * x.v * std::erfc(-x.v / std::numbers::sqrt2);
    // Own error of 0.5 x (1 + erf(x / sqrt 2)) in float32: the argument carries 2u (constant, product), d erf of it <= 0.484 * 2u; erff is good to an ulp (2u);
    // the sum rounds by u * 2; the product by u |y|: together less than u (2.5 |x| + |y|). The slope of GELU is at most 1.13.
    return {v, 1.13 * x.worst + kUnit * (2.5 * std::abs(x.v) + std::abs(v)), std::sqrt(square(1.13 * x.floor) + square(kGeluFloor) + square(kUnit * v))};
  }
  if (a == Activation::gelu_tanh) {
    const double c = std::sqrt(2 / std::numbers::pi), u = c * (x.v + 0.044715 * x.v * x.v * x.v), v = std::isinf(x.v) ? (x.v > 0 ? x.v : std::numeric_limits<double>::quiet_NaN()) : x.v / (1 + std::exp(-2 * u));
    // Own error of 0.5 x (1 + tanh(u)): u carries 6u |u| (two constants, two products, the cube, the sum), and |u| sech^2(u) <= 0.45; tanhf is good to an ulp (2u), the sum
    // rounds by 2u, the product by u |y|: together less than u (3.4 |x| + |y|). The slope is at most 1.13.
    return {v, 1.13 * x.worst + kUnit * (3.4 * std::abs(x.v) + std::abs(v)), std::sqrt(square(1.13 * x.floor) + square(kGeluFloor) + square(kUnit * v))};
  }
  return x;
}
inline Tensor64 activation(Tensor64 x, Activation a) {
  for (Num& n : x.v) n = activation(n, a);
  return x;
}

inline Tensor64 add(Tensor64 x, const Tensor64& b) {
  for (std::size_t i = 0; i < x.v.size(); ++i) x.v[i] = x.v[i] + b.v[i % b.v.size()];
  return x;
}

/// Over the last axis of [n, c].
inline Tensor64 layer_norm(const Tensor64& x, const NormParams& p) {
  const Index c = x.e[1];
  const Tensor64 gamma = exact(p.weight), beta = exact(p.bias);
  Tensor64 y(x.e[0], c);
  for (Index i = 0; i < x.e[0]; ++i) {
    double mean = 0, magnitude = 0, partial2 = 0, var = 0;
    for (Index j = 0; j < c; ++j) mean += x(i, j).v, partial2 += mean * mean, magnitude += std::abs(x(i, j).v);
    mean /= double(c), magnitude /= double(c);
    for (Index j = 0; j < c; ++j) var += square(x(i, j).v - mean) / double(c);
    const double d = std::sqrt(var + double(p.eps));
    // Error of the mean, then of the variance (a sum of squares of differences that each carry the mean's error), then of 1 / sqrt.
    auto rest = [&](double mean_error, double sum_error) {
      double dv = sum_error * var;
      for (Index j = 0; j < c; ++j) {
        const double t = std::abs(x(i, j).v - mean), e = mean_error + kUnit * t;
        dv += (2 * t * e + e * e) / double(c);
      }
      const double low = std::max(var - dv, 0.0) + double(p.eps), high = var + dv + double(p.eps);
      return std::pair(mean_error, std::max(d / std::sqrt(low) - 1, 1 - d / std::sqrt(high)) + 3 * kUnit);
    };
    const auto [worst_mean, worst_rstd] = rest(gamma_n(c + 1) * magnitude, gamma_n(c + 2));
    // Typical: the mean is off as a sum is. That moves all differences together and leaves the variance (its minimum is at the mean).
    const double floor_mean = kUnit * std::sqrt(square(magnitude) + partial2 / 3 / square(double(c))), floor_rstd = 2 * kUnit + 0.5 * square(floor_mean) / (var + double(p.eps));
    for (Index j = 0; j < c; ++j) {
      const double t = x(i, j).v - mean, g = gamma(j).v / d, v = t * g + beta(j).v;
      y(i, j) = {v,
                 std::abs(g) * ((worst_mean + kUnit * std::abs(t)) * (1 + worst_rstd) + std::abs(t) * (worst_rstd + 2 * kUnit)) * (1 + 4 * kUnit) + kUnit * std::abs(v),
                 std::sqrt(square(g * floor_mean) + square(t * g * (floor_rstd + kUnit)) + square(kUnit * (std::abs(t * g) + std::abs(beta(j).v))))};
    }
  }
  return y;
}

/// x [n, in]; norm, activation and residual [n, out] may be absent.
inline Tensor64 linear(const Tensor64& x, const LinearParams& p, const NormParams& norm = {}, Activation a = Activation::none, const Tensor64* residual = nullptr) {
  const Tensor64 in = norm.present() ? layer_norm(x, norm) : x, w = exact(p.weight), b = exact(p.bias);
  Tensor64 y(x.e[0], w.e[0]);
  for (Index i = 0; i < y.e[0]; ++i)
    for (Index o = 0; o < y.e[1]; ++o) {
      Sum s;
      for (Index k = 0; k < w.e[1]; ++k) s.term(in(i, k), w(o, k));
      if (b.size()) s.term(b(o));
      y(i, o) = activation(s.get(b.size() ? b(o).v : 0), a);
      if (residual) y(i, o) = y(i, o) + (*residual)(i, o);
    }
  return y;
}

inline Tensor64 mask_head(const Tensor64& hyper, const Tensor64& map) {
  Tensor64 masks(hyper.e[0], map.e[0]);
  for (Index m = 0; m < hyper.e[0]; ++m)
    for (Index i = 0; i < map.e[0]; ++i) {
      Sum s;
      for (Index c = 0; c < map.e[1]; ++c) s.term(hyper(m, c), map(i, c));
      masks(m, i) = s.get();
    }
  return masks;
}

inline Tensor64 fourier(const Tensor64& coords, const Tensor64& gauss) {
  const Index f = gauss.e[1], axes = gauss.e[0];
  Tensor64 out(coords.e[0], axes * f);
  for (Index i = 0; i < coords.e[0]; ++i)
    for (Index j = 0; j < f; ++j) {
      double turns = 0, magnitude = 0;
      for (Index a = 0; a < axes; ++a) {
        const double t = 2 * coords(i, a).v - 1;
        turns += t * gauss(a, j).v, magnitude += (std::abs(t) + 1) * std::abs(gauss(a, j).v);  // the 1: 2 u - 1 rounds at the size of its terms
      }
      const double angle = 2 * std::numbers::pi * turns, e = 2 * std::numbers::pi * magnitude * kUnit;
      // |sin'| <= 1: the argument's error (coordinate, its product, sums, 2 pi and its product: 6 or, on three axes, 7 roundings at most) and an ulp of the sine itself.
      const double roundings = double(4 + axes);
      out(i, j) = {std::sin(angle), roundings * e + 2 * kUnit, e + kUnit};
      out(i, f + j) = {std::cos(angle), roundings * e + 2 * kUnit, e + kUnit};
      if (axes == 3) out(i, 2 * f + j) = out(i, j);  // SAM-Med3D
    }
  return out;
}

}  // namespace sampan::test::oracle
