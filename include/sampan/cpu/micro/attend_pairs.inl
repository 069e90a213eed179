// Fused attention in 16-bit precisions: the blocks, softmax and biases of attend.inl, with products of pairs. Included inside the namespace of one level, after dot.inl.
// Data flow: cpu/attention.hpp through the level's table -> here.
// fast: q and each key have a scale; a score is one exact sum (128 channels at most; more go in chunks) times both scales, plus the bias. Probabilities are whole numbers
// 0 .. 4095 relative to the largest one of their block of keys, so that a block far from the row's maximum keeps its precision; the denominator sums the same
// whole numbers, so the result stays a weighted mean. V has one scale per channel and block.
// bf16: q, k, probabilities and v are rounded, sums are float32.

template <bool fast>
inline Index pair_keys_size(Index n, Index d) { return pair_weights_size<fast>(n, d); }
template <bool fast>
inline Index pair_values_size(Index n, Index d) { return pair_weights_size<fast>(d, n); }

/// Keys as panels of pairs of channels: K [count, d] + shift.
template <bool fast>
inline void pack_pair_keys(const HeadRows& p, float* out) {
  const Index pairs = pairs_of(p.d);
  constexpr Index kWidest = 512;  // channels of a head that fit here; wider ones go through value()
  alignas(64) short packed[kWidest];
  for (Index j = 0; j < p.count; j += kPanel) {
    const Index stored = panel_columns(p.count, j), columns = p.count - j < stored ? p.count - j : stored;
    for (Index i = 0; columns < stored && i < pairs + (fast ? 1 : 0); ++i)
      for (Index c = columns; c < stored; ++c) out[i * stored + c] = 0;
    for (Index c = 0; c < columns; ++c) {
      const float* x = p.rows[j + c];
      auto value = [&](Index i) { return p.shift ? x[i] + p.shift[i] : x[i]; };
      auto vector = [&](Index i) { return p.shift ? load(x + i) + load(p.shift + i) : load(x + i); };
      float inverse = 0;
      if constexpr (fast) {
        Vec most{}, poison{};
        Index i = 0;
        for (; i + kLanes <= p.d; i += kLanes) most = larger(most, magnitude(vector(i))), poison += vector(i) * Vec{};
        float m = max_lanes(most), bad = sum_lanes(poison);
        for (; i < p.d; ++i) {
          const float v = value(i), a = v < 0 ? -v : v;
          m = a > m ? a : m, bad += v * 0;
        }
        inverse = inverse_of(m);
        out[pairs * stored + c] = scale_of(m) + bad;
      }
      for (Index at = 0; at < p.d; at += kWidest) {
        const Index end = p.d - at < kWidest ? p.d : at + kWidest;
        Index i = at;
        for (; i + kLanes <= end; i += kLanes) {
          if constexpr (fast) {
            store_shorts(packed + (i - at), opaque(vector(i) * splat(inverse)) + splat(kWhole));
          } else {
            store_bf16(packed + (i - at), vector(i));
          }
        }
        for (; i < end; ++i) packed[i - at] = fast ? quantised(value(i), inverse) : static_cast<short>(to_bf16(value(i)));
        if (end % 2) packed[end - at] = 0;
        for (Index pair = at / 2; pair < pairs_of(end); ++pair) __builtin_memcpy(out + pair * stored + c, packed + (2 * pair - at), 4);
      }
    }
    out += stored * (pairs + (fast ? 1 : 0));
  }
}

/// Values as panels of pairs of keys: V^T [d, count] + shift.
template <bool fast>
inline void pack_pair_values(const HeadRows& p, float* out) {
  const Index pairs = pairs_of(p.count);
  for (Index j = 0; j < p.d; j += kPanel) {
    const Index stored = panel_columns(p.d, j);
    for (Index c = 0; c < stored; c += kLanes) {
      const Index left = p.d - j - c, n = left < kLanes ? left : kLanes;
      auto part = [&](const float* x) { return n == kLanes ? load(x) : load_part(x, n); };
      const Vec shift = p.shift ? part(p.shift + j + c) : Vec{};
      auto value = [&](Index i) { return i < p.count ? part(p.rows[i] + j + c) + shift : Vec{}; };
      Vec inverse{};
      if constexpr (fast) {
        Vec most{}, poison{};
        for (Index i = 0; i < p.count; ++i) most = larger(most, magnitude(value(i))), poison += value(i) * Vec{};
        inverse = select(Vec{} < most, splat(kFastLevels) / most, Vec{});
        store(out + pairs * stored + c, most / splat(kFastLevels) + poison);
      }
      for (Index i = 0; i < pairs; ++i) {
        if constexpr (fast) {
          const Vec magic = splat(kWhole);
          store_pairs(out + i * stored + c, opaque(value(2 * i) * inverse) + magic, opaque(value(2 * i + 1) * inverse) + magic);
        } else {
          store_bf16_pairs(out + i * stored + c, value(2 * i), value(2 * i + 1));
        }
      }
    }
    out += stored * (pairs + (fast ? 1 : 0));
  }
}

/// to [MR, NV vectors] = rows x panel over `depth` pairs. A function of its own: with an epilogue beside the loop, g++ keeps the sums on the stack.
template <class Dot, int MR, int NV>
static __attribute__((noinline)) void pair_sums(const float* x, Index row_step, Index valid, const float* w, Index depth, float* to) {
  const IntMemory* row[MR];
  typename Dot::Acc sum[MR][NV];
  SAMPAN_UNROLL
  for (int i = 0; i < MR; ++i) {
    row[i] = reinterpret_cast<const IntMemory*>(x + (i < valid ? i : valid - 1) * row_step);
    SAMPAN_UNROLL
    for (int v = 0; v < NV; ++v) sum[i][v] = typename Dot::Acc{};
  }
  accumulate_pair_steps<Dot, MR, NV>(row, 0, w, depth, sum);
  SAMPAN_UNROLL
  for (int i = 0; i < MR; ++i) {
    SAMPAN_UNROLL
    for (int v = 0; v < NV; ++v) store(to + (i * NV + v) * kLanes, Dot::value(sum[i][v]));
  }
}

/// Scores of `valid` <= MR rows against one panel of keys; `begin`: bias, or null.
template <class Dot, int MR, int NV>
SAMPAN_KERNEL_INLINE void pair_score_tile(const AttendBlock& p, const float* q, const float* k, Index valid, const float* begin, Index begin_row, float* s) {
  const Index pairs = pairs_of(p.d);
  const float* scales = k + pairs * NV * kLanes;
  alignas(64) float sums[MR * NV * kLanes];
  for (Index from = 0; from < pairs; from += Dot::kChunk) {  // one chunk up to 128 channels
    const Index n = pairs - from < Dot::kChunk ? pairs - from : Dot::kChunk;
    pair_sums<Dot, MR, NV>(q + from, p.q_row, valid, k + from * NV * kLanes, n, sums);
    for (Index i = 0; i < valid; ++i) {
      const Vec scale = splat(Dot::kScaled ? q[i * p.q_row + p.q_row - 16] : 1.0f);
      const float* before = from > 0 ? s + i * kScoreRow : begin ? begin + i * begin_row : nullptr;
      SAMPAN_UNROLL
      for (int v = 0; v < NV; ++v) {
        Vec score = load(sums + (i * NV + v) * kLanes);
        if constexpr (Dot::kScaled) score = score * (scale * load(scales + v * kLanes));
        store(s + i * kScoreRow + v * kLanes, before ? score + load(before + v * kLanes) : score);
      }
    }
  }
}

/// One step of online softmax; leaves pairs of probabilities at the start of each row. out = alpha out + beta P V.
template <class Dot, int MR>
SAMPAN_KERNEL_INLINE void pair_softmax_rows(float* s, Index n, Index valid, float* top, float* sum, float* alpha, float* beta) {
  for (Index i = 0; i < valid; ++i) {
    const float* r = s + i * kScoreRow;
    Vec most = load(r);
    for (Index j = kLanes; j < n; j += kLanes) most = larger(most, load(r + j));
    const float m = max_lanes(most), t = top[i] < m ? m : top[i];
    alpha[i] = top[i] - t;
    beta[i] = m - t;
    top[i] = t;
  }
  for (Index i = 0; i < valid; ++i) {
    const Vec both = exp2_bounded(select_first(splat(alpha[i]), splat(beta[i])));
    float* r = s + i * kScoreRow;
    // fast: 2^(score - block's maximum) * 4095; log2(4095) = 11.99965
    const Vec shift = splat(Dot::kScaled ? (top[i] + beta[i]) - 11.99964773652837f : top[i]);
    alpha[i] = both[0];
    beta[i] = Dot::kScaled ? both[1] / kFastLevels : 1.0f;
    Vec total{};
    for (Index j = 0; j < n; j += kLanes) {
      const Vec e = exp2_bounded(load(r + j) - shift);
      if constexpr (Dot::kScaled) {
        const Vec biased = e + splat(kWhole);
        total += biased - splat(kWhole);  // exact: at most 256 * 4096
        store_shorts(reinterpret_cast<char*>(r) + 2 * j, biased);
      } else {
        total += e;
        store_bf16(reinterpret_cast<char*>(r) + 2 * j, e);
      }
    }
    sum[i] = sum[i] * alpha[i] + sum_lanes(total) * beta[i];
  }
}

/// out = alpha out + beta P V for one panel of values.
template <class Dot, int MR, int NV>
SAMPAN_KERNEL_INLINE void pair_mix_tile(const AttendBlock& p, const float* v_panel, Index valid, const float* alpha, const float* beta, float* out, Index columns) {
  const Index pairs = pairs_of(p.n);
  const float* scales = v_panel + pairs * NV * kLanes;
  alignas(64) float sums[MR * NV * kLanes];
  for (Index from = 0; from < pairs; from += Dot::kChunk) {
    const Index n = pairs - from < Dot::kChunk ? pairs - from : Dot::kChunk;
    pair_sums<Dot, MR, NV>(p.scores + from, kScoreRow, valid, v_panel + from * NV * kLanes, n, sums);
    for (Index i = 0; i < valid; ++i) {
      const Vec a = splat(from > 0 ? 1.0f : alpha[i]), b = splat(beta[i]);
      SAMPAN_UNROLL
      for (int v = 0; v < NV; ++v) {
        float* o = out + i * p.d + v * kLanes;
        const Index left = columns - v * kLanes;
        Vec sum = load(sums + (i * NV + v) * kLanes);
        if constexpr (Dot::kScaled) sum = sum * (b * load(scales + v * kLanes));
        const bool empty = p.first && from == 0;
        if (left >= kLanes) {
          store(o, empty ? sum : a * load(o) + sum);
        } else {
          store_part(o, empty ? sum : a * load_part(o, left) + sum, left);
        }
      }
    }
  }
}

template <class Dot, int MR, int NV>
SAMPAN_KERNEL_INLINE void pair_score_panel(const AttendBlock& p, const float* q, const float* k, Index vectors, Index valid, const float* begin, Index begin_row, float* s) {
  if constexpr (NV > 1) {
    if (vectors < NV) return pair_score_panel<Dot, MR, NV - 1>(p, q, k, vectors, valid, begin, begin_row, s);
  }
  pair_score_tile<Dot, MR, NV>(p, q, k, valid, begin, begin_row, s);
}
template <class Dot, int MR, int NV>
SAMPAN_KERNEL_INLINE void pair_mix_panel(const AttendBlock& p, Index vectors, const float* v, Index valid, const float* alpha, const float* beta, float* out, Index columns) {
  if constexpr (NV > 1) {
    if (vectors < NV) return pair_mix_panel<Dot, MR, NV - 1>(p, vectors, v, valid, alpha, beta, out, columns);
  }
  pair_mix_tile<Dot, MR, NV>(p, v, valid, alpha, beta, out, columns);
}

template <class Dot, int MR>
SAMPAN_KERNEL_INLINE void pair_attend_rows(const AttendBlock& p, Index from, Index valid) {
  constexpr Index kExtra = Dot::kScaled ? 1 : 0;
  float alpha[MR], beta[MR];
  const float* begin = p.table ? p.table + from * p.table_row : p.b ? p.scores : nullptr;
  const Index begin_row = p.table ? p.table_row : kScoreRow;
  for (Index i = 0; begin == p.scores && i < valid; ++i) begin_scores(p, from + i, p.scores + i * kScoreRow);
  const float* k = p.k;
  for (Index j = 0; j < p.n; j += kPanel) {
    const Index stored = panel_columns(p.n, j);
    pair_score_panel<Dot, MR, kNv>(p, p.q + from * p.q_row, k, stored / kLanes, valid, begin ? begin + j : nullptr, begin_row, p.scores + j);
    k += stored * (pairs_of(p.d) + kExtra);
  }
  for (Index i = 0; i < valid; ++i) store(p.scores + i * kScoreRow + p.n, splat(kNoScore));
  pair_softmax_rows<Dot, MR>(p.scores, p.n, valid, p.top + from, p.sum + from, alpha, beta);
  const float* v = p.v;
  for (Index j = 0; j < p.d; j += kPanel) {
    const Index stored = panel_columns(p.d, j), left = p.d - j;
    pair_mix_panel<Dot, MR, kNv>(p, stored / kLanes, v, valid, alpha, beta, p.out + from * p.d + j, left < stored ? left : stored);
    v += stored * (pairs_of(p.n) + kExtra);
  }
}

template <class Dot>
inline void pair_attend_block(const AttendBlock& p) {
  for (Index i = 0; i < p.m; i += kMr) {
    const Index left = p.m - i;
    if (left > kMrSmall) {
      pair_attend_rows<Dot, kMr>(p, i, left < kMr ? left : kMr);
    } else {
      pair_attend_rows<Dot, kMrSmall>(p, i, left);
    }
  }
}

template <class Multiply>
inline constexpr AttendProducts kFastAttend{pair_keys_size<true>, pack_pair_keys<true>, pair_values_size<true>, pack_pair_values<true>, pair_attend_block<FastDot<Multiply>>};
template <class Multiply>
inline constexpr AttendProducts kBf16Attend{pair_keys_size<false>, pack_pair_keys<false>, pair_values_size<false>, pack_pair_values<false>, pair_attend_block<Bf16Dot<Multiply>>};
