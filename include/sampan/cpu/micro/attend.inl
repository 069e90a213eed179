// Fused attention of one head: a tile of queries against one block of keys, online softmax in base 2; scores live in L1 for the few rows of a register tile.
// Included inside the namespace of one level, after panel.inl and vmath.inl. Data flow: cpu/attention.hpp through the level's table -> here.
// Shapes: queries [m, d], keys and values as panels (K [n, d], V^T [d, n]), out [m, d] not yet divided by the sums.
// Per register tile of rows: scores begin as the position bias (identity 2 of architecture.md), += q K^T, maximum, 2^x, sums, out = alpha out + P V. P is read where it was
// written, row by row, so it needs no packing. Scores are in units of log2: the caller scales q by log2(e) / sqrt(d), the bias likewise.

inline constexpr float kNoScore = -1e30f;  // of a lane without key: 2^(that - top) is nothing beside a sum >= 1; infinity would make NaN of its differences

/// 2^x for x < 127, at least 2^-125; NaN stays NaN. Relative error <= 1 ulp: x = n + f, |f| <= 1/2, 2^f = 1 + f p(f), p of degree 5 (2.0e-9 relative, our fit).
SAMPAN_KERNEL_INLINE Vec exp2_bounded(Vec x) {
  const Vec bounded = larger(x, splat(-125.0f));
  Vec power;
  const Vec f = split_whole(bounded, power);
  Vec p = splat(1.535335323e-4f);
  p = p * f + splat(1.339887269e-3f);
  p = p * f + splat(9.618437849e-3f);
  p = p * f + splat(5.550332367e-2f);
  p = p * f + splat(2.402264774e-1f);
  p = p * f + splat(6.931471825e-1f);
  return times_power(p * f + splat(1.0f), power);
}

/// out [count, d] (rows follow one another) = rows * factor.
inline void gather_rows(const HeadRows& p, float factor, float* out) {
  const Vec s = splat(factor);
  for (Index i = 0; i < p.count; ++i, out += p.d) {
    const float* x = p.rows[i];
    Index j = 0;
    for (; j + kLanes <= p.d; j += kLanes) store(out + j, load(x + j) * s);
    for (; j < p.d; ++j) out[j] = x[j] * factor;
  }
}

inline Index keys_size(Index n, Index d) { return panels_size(n, d); }
inline Index values_size(Index n, Index d) { return panels_size(d, n); }

/// Keys as panels: K [count, d] + shift. Columns behind the last key repeat it: their scores are overwritten.
inline void pack_keys(const HeadRows& p, float* out) {
  for (Index j = 0; j < p.count; j += kPanel) {
    const Index stored = panel_columns(p.count, j), columns = p.count - j < stored ? p.count - j : stored;
    for (Index c = 0; c < stored; c += kLanes) {
      const float* rows[kLanes];
      for (Index r = 0; r < kLanes; ++r) rows[r] = p.rows[j + (c + r < columns ? c + r : columns - 1)];
      float* to = out + c;
      Index i = 0;
      for (; i + 4 <= p.d; i += 4, to += 4 * stored) {
        Vec v[4];
        transpose_rows(rows, i, v);
        SAMPAN_UNROLL
        for (int e = 0; e < 4; ++e) store(to + e * stored, p.shift ? v[e] + splat(p.shift[i + e]) : v[e]);
      }
      for (; i < p.d; ++i, to += stored)
        for (Index r = 0; r < kLanes; ++r) to[r] = rows[r][i] + (p.shift ? p.shift[i] : 0.0f);
    }
    out += stored * p.d;
  }
}

/// Values as panels: V^T [d, count] + shift.
inline void pack_values(const HeadRows& p, float* out) {
  for (Index j = 0; j < p.d; j += kPanel) {
    const Index stored = panel_columns(p.d, j), columns = p.d - j < stored ? p.d - j : stored;
    for (Index i = 0; i < p.count; ++i, out += stored) {
      const float* x = p.rows[i] + j;
      Index c = 0;
      for (; c + kLanes <= columns; c += kLanes) store(out + c, p.shift ? load(x + c) + load(p.shift + j + c) : load(x + c));
      for (; c < columns; ++c) out[c] = x[c] + (p.shift ? p.shift[j + c] : 0.0f);
      for (; c < stored; ++c) out[c] = 0;
    }
  }
}

/// Position bias of one row of scores. A run is written in whole vectors: what it writes too much, the next run or the mark behind the last key overwrites.
SAMPAN_KERNEL_INLINE void begin_scores(const AttendBlock& p, Index i, float* s) {
  for (Index r = 0; r < p.run_count; ++r) {
    const BiasRun run = p.runs[r];
    const float* b = p.b[i] + run.ky * p.b_stride + run.kx;
    const Vec a = splat(p.a ? p.a[i][run.ky] : 0.0f);
    for (Index j = 0; j < run.n; j += kLanes) store(s + run.at + j, load(b + j) + a);
  }
}

/// How far the largest score of a row may lie from `top` before what was summed is rescaled. A power of two costs no precision, 2^64 times thousands of keys no overflow,
/// and 2^-64 is far from the smallest number: so most tiles need no maximum per row, and start at a top of 0.
inline constexpr float kTopSlack = 64.0f, kNoTop = -3.402823466e38f;

/// The largest lanes of the n scores of a row.
SAMPAN_KERNEL_INLINE Vec largest_score(const float* r, Index n) {
  Vec even = load(r), odd = even;
  Index j = kLanes;
  for (; j + 2 * kLanes <= n; j += 2 * kLanes) even = larger(even, load(r + j)), odd = larger(odd, load(r + j + kLanes));
  for (; j < n; j += kLanes) even = larger(even, load(r + j));
  return larger(even, odd);
}

/// r = 2^(r - top); returns the lanes' sums. Two vectors at a time: one alone waits for its own chain.
SAMPAN_KERNEL_INLINE Vec power_scores(float* r, Index n, float top) {
  const Vec shift = splat(top);
  Vec even{}, odd{};
  Index j = 0;
  for (; j + 2 * kLanes <= n; j += 2 * kLanes) {
    const Vec a = exp2_bounded(load(r + j) - shift), b = exp2_bounded(load(r + j + kLanes) - shift);
    store(r + j, a);
    store(r + j + kLanes, b);
    even += a;
    odd += b;
  }
  for (; j < n; j += kLanes) {
    const Vec a = exp2_bounded(load(r + j) - shift);
    store(r + j, a);
    even += a;
  }
  return even + odd;
}

/// One step of online softmax over the n scores of `valid` <= MR rows, whose top is kNoTop at first; alpha: the factors for what was summed before. Rows go in step, so that
/// their chains overlap.
template <int MR>
SAMPAN_KERNEL_INLINE void softmax_rows(float* s, Index n, Index valid, float* top, float* sum, float* alpha) {
  constexpr Index kPadded = (MR + kLanes - 1) / kLanes * kLanes;
  Vec most[MR], highest = splat(kNoTop), lowest = splat(-kNoTop);  // of the rows' largest scores above their tops, in every lane
  for (Index i = 0; i < valid; ++i) {
    most[i] = largest_score(s + i * kScoreRow, n);
    const Vec above = most[i] - splat(top[i] > kNoTop ? top[i] : 0.0f);
    highest = larger(highest, above);
    lowest = select(above < lowest, above, lowest);
    alpha[i] = 1;
  }
  if (max_lanes(highest) <= kTopSlack && max_lanes(lowest) >= -kTopSlack) {  // a lane in which all rows are high enough proves it for each
    for (Index i = 0; i < valid; ++i) top[i] = top[i] > kNoTop ? top[i] : 0.0f;
  } else {
    alignas(64) float fall[kPadded] = {};
    for (Index i = 0; i < valid; ++i) {
      const float m = max_lanes(most[i]), t = top[i] < m ? m : top[i];
      fall[i] = top[i] - t;
      top[i] = t;
    }
    for (Index i = 0; i < kPadded; i += kLanes) store(fall + i, exp2_bounded(load(fall + i)));
    for (Index i = 0; i < valid; ++i) alpha[i] = fall[i];
  }
  for (Index i = 0; i < valid; ++i) most[i] = power_scores(s + i * kScoreRow, n, top[i]);
  for (Index i = 0; i < valid; ++i) sum[i] = sum[i] * alpha[i] + sum_lanes(most[i]);
}

/// Where the scores of a panel start: row i with the vectors at rows[i] + at, plus add[i].
template <int MR>
struct ScoreStart {
  const float* rows[MR];
  float add[MR];
  Index at;
};
alignas(64) inline constexpr float kNoBias[kPanel] = {};

/// Scores of `valid` <= MR rows of q, in s (row distance kScoreRow), where they may start.
template <int MR, int NV>
static __attribute__((noinline)) void score_tile(const float* q, Index d, const float* k, Index valid, const ScoreStart<MR>& start, float* s) {
  Vec sum[MR][NV];
  const float* row[MR];
  SAMPAN_UNROLL
  for (int i = 0; i < MR; ++i) {
    row[i] = q + (i < valid ? i : valid - 1) * d;
    const float* begin = start.rows[i] + start.at;
    const Vec plus = splat(start.add[i]);
    SAMPAN_UNROLL
    for (int v = 0; v < NV; ++v) sum[i][v] = load(begin + v * kLanes) + plus;
  }
  accumulate_steps<MR, NV>(row, 0, k, d, sum);
  SAMPAN_UNROLL
  for (int i = 0; i < MR; ++i) {
    SAMPAN_UNROLL
    for (int v = 0; v < NV; ++v) store(s + i * kScoreRow + v * kLanes, sum[i][v]);
  }
}

/// out rows = alpha out + P V for one panel of V.
template <int MR, int NV>
static __attribute__((noinline)) void mix_tile(const float* s, Index n, const float* v_panel, Index valid, const float* alpha, bool first, float* out, Index d, Index columns) {
  Vec sum[MR][NV];
  const float* row[MR];
  const bool whole = columns == NV * kLanes;
  SAMPAN_UNROLL
  for (int i = 0; i < MR; ++i) {
    row[i] = s + i * kScoreRow;
    SAMPAN_UNROLL
    for (int v = 0; v < NV; ++v) sum[i][v] = Vec{};
    if (first || i >= valid) continue;
    const Vec a = splat(alpha[i]);
    SAMPAN_UNROLL
    for (int v = 0; v < NV; ++v) {
      const float* o = out + i * d + v * kLanes;
      const Index left = columns - v * kLanes;
      sum[i][v] = a * (whole || left >= kLanes ? load(o) : load_part(o, left));
    }
  }
  accumulate_steps<MR, NV>(row, 0, v_panel, n, sum);
  SAMPAN_UNROLL
  for (int i = 0; i < MR; ++i) {
    if (i >= valid) continue;
    SAMPAN_UNROLL
    for (int v = 0; v < NV; ++v) {
      float* o = out + i * d + v * kLanes;
      const Index left = columns - v * kLanes;
      if (whole || left >= kLanes) {
        store(o, sum[i][v]);
      } else {
        store_part(o, sum[i][v], left);
      }
    }
  }
}

/// The instances for a panel of `vectors` <= NV vectors.
template <int MR, int NV>
SAMPAN_KERNEL_INLINE void score_panel(const float* q, Index d, const float* k, Index vectors, Index valid, const ScoreStart<MR>& start, float* s) {
  if constexpr (NV > 1) {
    if (vectors < NV) return score_panel<MR, NV - 1>(q, d, k, vectors, valid, start, s);
  }
  score_tile<MR, NV>(q, d, k, valid, start, s);
}
template <int MR, int NV>
SAMPAN_KERNEL_INLINE void mix_panel(const AttendBlock& p, Index vectors, const float* v, Index valid, const float* alpha, float* out, Index columns) {
  if constexpr (NV > 1) {
    if (vectors < NV) return mix_panel<MR, NV - 1>(p, vectors, v, valid, alpha, out, columns);
  }
  mix_tile<MR, NV>(p.scores, p.n, v, valid, alpha, p.first, out, p.d, columns);
}

/// True if every run is as long as the first and holds whole panels (a global block whose grid is 64 wide): the bias then goes straight into the accumulators.
SAMPAN_KERNEL_INLINE bool whole_runs(const AttendBlock& p) {
  return p.run_count > 0 && p.runs[0].n % kPanel == 0 && p.n == p.runs[0].n * p.run_count;
}

/// MR rows of the tile.
template <int MR>
SAMPAN_KERNEL_INLINE void attend_rows(const AttendBlock& p, Index from, Index valid) {
  float alpha[MR];
  ScoreStart<MR> start;
  const bool runs = !p.table && p.b && whole_runs(p);
  for (Index i = 0; i < MR; ++i) {
    const Index r = i < valid ? i : valid - 1;  // rows beyond repeat the last one; nobody reads what becomes of them
    start.rows[i] = p.table ? p.table + (from + r) * p.table_row : !p.b ? kNoBias : runs ? p.b[from + r] : p.scores + r * kScoreRow;
    start.add[i] = 0;
  }
  for (Index i = 0; !p.table && p.b && !runs && i < valid; ++i) begin_scores(p, from + i, p.scores + i * kScoreRow);
  const float* k = p.k;
  for (Index j = 0, left_of_run = 0, r = -1; j < p.n; j += kPanel, left_of_run -= kPanel) {
    const Index stored = panel_columns(p.n, j);
    start.at = p.table || p.b ? j : 0;
    if (runs) {
      if (left_of_run == 0) {
        const BiasRun& run = p.runs[++r];
        left_of_run = run.n;
        for (Index i = 0; p.a && i < MR; ++i) start.add[i] = p.a[from + (i < valid ? i : valid - 1)][run.ky];
      }
      start.at = p.runs[r].ky * p.b_stride + p.runs[r].kx + j - p.runs[r].at;
    }
    score_panel<MR, kNv>(p.q + from * p.q_row, p.d, k, stored / kLanes, valid, start, p.scores + j);
    k += stored * p.d;
  }
  for (Index i = 0; i < valid; ++i) store(p.scores + i * kScoreRow + p.n, splat(kNoScore));
  softmax_rows<MR>(p.scores, p.n, valid, p.top + from, p.sum + from, alpha);
  const float* v = p.v;
  for (Index j = 0; j < p.d; j += kPanel) {
    const Index stored = panel_columns(p.d, j), left = p.d - j;
    mix_panel<MR, kNv>(p, stored / kLanes, v, valid, alpha, p.out + from * p.d + j, left < stored ? left : stored);
    v += stored * p.n;
  }
}

inline void attend_block(const AttendBlock& p) {
  for (Index i = 0; i < p.m; i += kMr) {
    const Index left = p.m - i;
    if (left > kMrSmall) {
      attend_rows<kMr>(p, i, left < kMr ? left : kMr);
    } else {
      attend_rows<kMrSmall>(p, i, left);
    }
  }
}

/// Keys that are zero and have a bias (identity 1): only the denominator sees them.
inline void attend_pads(const AttendBlock& p) {
  float alpha[kMr];
  for (Index i = 0; i < p.m; i += kMr) {
    const Index rows = p.m - i < kMr ? p.m - i : kMr;
    for (Index r = 0; r < rows; ++r) {
      float* s = p.scores + r * kScoreRow;
      if (p.b) {
        begin_scores(p, i + r, s);
      } else {
        for (Index j = 0; j < p.n; j += kLanes) store(s + j, Vec{});
      }
      store(s + p.n, splat(kNoScore));
    }
    softmax_rows<kMr>(p.scores, p.n, rows, p.top + i, p.sum + i, alpha);
  }
}

/// to[i] = out row i / sum[i] + plus.
inline void attend_finish(const AttendBlock& p, const float* plus, float* const* to) {
  for (Index i = 0; i < p.m; ++i) {
    const float* o = p.out + i * p.d;
    const float factor = 1.0f / p.sum[i];
    Index j = 0;
    for (; j + kLanes <= p.d; j += kLanes) {
      Vec v = load(o + j) * splat(factor);
      if (plus) v += load(plus + j);
      store(to[i] + j, v);
    }
    for (; j < p.d; ++j) to[i][j] = o[j] * factor + (plus ? plus[j] : 0.0f);
  }
}
