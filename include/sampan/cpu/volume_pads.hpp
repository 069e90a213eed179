// Missing tokens of a window in a volume, without one key for each: identity 1 of cpu/attention.hpp makes them keys of zeros, so their scores are bias alone, and the
// bias is a sum of one term per axis. Data flow: cpu/attention.hpp -> here.
//   sum over pads of 2^(e_z + f_y + g_x) = pad(e) all(f) all(g) + real(e) pad(f) all(g) + real(e) real(f) pad(g)
// with real, pad and all the sums of 2^x over the places of an axis that tokens fill, that none fills, and over both. A sum of positive terms: nothing cancels.
// For a grid of 8 in windows of 14 (SAM-Med3D) a query has 512 keys and 42 powers here, instead of 2744 keys.   Source: none, it is arithmetic.
#pragma once
#include <sampan/core/view.hpp>

#include <cmath>

namespace sampan::inline SAMPAN_ABI::cpu {

/// sum * 2^top, with 1 <= sum <= number of terms; no terms: sum is 0. NaN among the terms: sum is NaN.
struct PowerSum {
  float top = 0, sum = 0;
};

/// Of the powers of two of n numbers.
inline PowerSum power_sum(const float* x, Index n) {
  if (n <= 0) return {};
  PowerSum s{x[0], 0};
  for (Index i = 1; i < n; ++i) s.top = x[i] > s.top ? x[i] : s.top;
  for (Index i = 0; i < n; ++i) s.sum += std::exp2(x[i] - s.top);
  return s;
}
inline PowerSum operator*(PowerSum a, PowerSum b) { return {a.top + b.top, a.sum * b.sum}; }
inline PowerSum operator+(PowerSum a, PowerSum b) {
  if (a.sum == 0) return b;
  if (b.sum == 0) return a;
  const float top = a.top < b.top ? b.top : a.top;
  return {top, a.sum * std::exp2(a.top - top) + b.sum * std::exp2(b.top - top)};
}

/// Bias of one query along one axis of its window, in units of log2: `real` places with tokens, then those without.
struct AxisBias {
  const float* at;
  Index real, all;
  PowerSum tokens() const { return power_sum(at, real); }
  PowerSum pads() const { return power_sum(at + real, all - real); }
};

/// The pads' share of a query's softmax.
inline PowerSum pad_powers(const AxisBias& planes, const AxisBias& rows, const AxisBias& columns) {
  const PowerSum e = planes.tokens(), f = rows.tokens(), g = columns.tokens(), ep = planes.pads(), fp = rows.pads(), gp = columns.pads();
  const PowerSum all_columns = g + gp;
  return ep * (f + fp) * all_columns + e * fp * all_columns + e * f * gp;
}

}  // namespace sampan::inline SAMPAN_ABI::cpu
