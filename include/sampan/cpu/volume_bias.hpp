// Missing tokens of a window in a volume, without one key for each: identity 1 of cpu/attention.hpp makes them keys of zeros, so their scores are bias alone. For the query
// at (z, y, x) and the key at (kz, ky, kx) that is a(kx) + p(kz, kx) + r(ky, kx) (ops/attend.hpp), where p and r are the same for all queries of a line (z, y). So for each kx
//   sum over pads of 2^(p + r) = pad(p) all(r) + real(p) pad(r)   if kx is a column with tokens,   all(p) all(r)   otherwise,
// with real, pad and all the sums of powers over the planes or rows that tokens fill, that none fills, and over both. Sums of positive terms: nothing cancels.
// For a grid of 8 in windows of 14 (SAM-Med3D) a query has 512 keys and 63 powers here, instead of 2744 keys.
// Data flow: cpu/attention.hpp -> here.   Source: none, it is arithmetic.
#pragma once
#include <sampan/core/view.hpp>

#include <cmath>

namespace sampan::inline SAMPAN_ABI::cpu {

/// sum * 2^top, with sum at least about 1; no terms: sum is 0. NaN among the terms: sum is NaN.
struct PowerSum {
  float top = 0, sum = 0;
};
inline PowerSum operator*(PowerSum a, PowerSum b) { return {a.top + b.top, a.sum * b.sum}; }
inline PowerSum operator+(PowerSum a, PowerSum b) {
  if (a.sum == 0) return b;
  if (b.sum == 0) return a;
  const float top = a.top < b.top ? b.top : a.top;
  return {top, a.sum * std::exp2(a.top - top) + b.sum * std::exp2(b.top - top)};
}

/// Bias of one line of queries along one axis of the keys: at[place][kx]; `real` places with tokens come first.
struct LineBias {
  const float* const* at;
  Index real, all;
};

/// Sum of the powers of at[begin .. end)[kx].
inline PowerSum power_sum(const LineBias& b, Index begin, Index end, Index kx) {
  if (begin >= end) return {};
  PowerSum s{b.at[begin][kx], 0};
  for (Index i = begin + 1; i < end; ++i) s.top = b.at[i][kx] > s.top ? b.at[i][kx] : s.top;
  for (Index i = begin; i < end; ++i) s.sum += std::exp2(b.at[i][kx] - s.top);
  return s;
}

/// out[kx]: the pads of column kx, before the query's own term; columns below `cols` have tokens.
inline void line_pads(const LineBias& planes, const LineBias& rows, Index cols, PowerSum* out) {
  for (Index kx = 0; kx < planes.all; ++kx) {
    const PowerSum p = power_sum(planes, 0, planes.real, kx), p_pad = power_sum(planes, planes.real, planes.all, kx);
    const PowerSum r = power_sum(rows, 0, rows.real, kx), r_pad = power_sum(rows, rows.real, rows.all, kx), r_all = r + r_pad;
    out[kx] = kx < cols ? p_pad * r_all + p * r_pad : (p + p_pad) * r_all;
  }
}

/// The pads' share of one query's softmax: sum over n columns of 2^own[kx] times the line's.
inline PowerSum query_pads(const PowerSum* line, const float* own, Index n) {
  PowerSum s;
  bool any = false;
  for (Index kx = 0; kx < n; ++kx)
    if (line[kx].sum != 0 && (!any || own[kx] + line[kx].top > s.top)) s.top = own[kx] + line[kx].top, any = true;
  for (Index kx = 0; kx < n; ++kx)
    if (line[kx].sum != 0) s.sum += line[kx].sum * std::exp2(own[kx] + line[kx].top - s.top);
  return s;
}

}  // namespace sampan::inline SAMPAN_ABI::cpu
