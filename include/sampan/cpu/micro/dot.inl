// Products of 16-bit pairs: precision `fast` (int16, exact sums) and `bf16`. Included inside the namespace of one level, after blocks.inl.
// Data flow: cpu/gemm.hpp through the level's table -> here.   Blocks, panels and epilogues are those of f32; a lane holds two neighbours of k.
// fast: a row of x and a column of W each get one scale, max |.| / levels, and whole numbers up to `levels`. Columns: 8191. Rows: as many as the sum of any column's
// magnitudes over any chunk of 128 leaves below 2^31 (32767 at most, 4095 at least: columns that would leave less get 4095 themselves). So a chunk is summed exactly in
// int32, whatever the order; then float += chunk, in order of k, and at the end one product with (row scale * column scale), then bias. Nothing of it
// depends on the level, the tile or the number of threads: results are bit-equal everywhere (an FMA would spoil that, hence `opaque`).
// bf16: inputs rounded to nearest even, products exact, two float additions per pair, odd element first, as VDPBF16PS does.
// Source: kernels.md sections 1.4 and 8 (measured errors per number of bits).

inline constexpr Index kFastChunk = 64;  // pairs
inline constexpr float kFastLevels = kFewestRowLevels, kColumnLevels = 8191.0f, kMostRowLevels = 32767.0f;

SAMPAN_KERNEL_INLINE Index pairs_of(Index k) { return (k + 1) / 2; }
SAMPAN_KERNEL_INLINE Index padded_pairs(Index k) { return (pairs_of(k) + 15) / 16 * 16; }

inline constexpr float kWhole = 12582912.0f;  // 1.5 * 2^23: a sum with it has the rounded number in its low bits

/// One value of at most 16 bits; to nearest, ties to even.
SAMPAN_KERNEL_INLINE short quantised(float x, float inverse) {
  volatile float scaled = x * inverse;  // no FMA with the next line
  const float biased = scaled + kWhole;
  int bits;
  __builtin_memcpy(&bits, &biased, 4);
  return static_cast<short>(bits);
}
/// Scale of a column or row whose largest magnitude is `most`: value = quantised * scale.
SAMPAN_KERNEL_INLINE float scale_of(float most, float levels = kFastLevels) { return most / levels; }
SAMPAN_KERNEL_INLINE float inverse_of(float most, float levels = kFastLevels) { return most > 0 ? levels / most : 0.0f; }

/// bfloat16 of x, to nearest even; NaN stays NaN.
SAMPAN_KERNEL_INLINE unsigned short to_bf16(float x) {
  unsigned bits;
  __builtin_memcpy(&bits, &x, 4);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<unsigned short>(bits >> 16 | 0x40u);
  return static_cast<unsigned short>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

/// Panels of pairs [pairs][columns]; with `fast`, each panel is followed by its columns' scales, and behind the last one stand the levels of rows.
template <bool fast>
inline Index pair_weights_size(Index n, Index k) { return panels_size(n, pairs_of(k) + (fast ? 1 : 0)) + (fast ? 16 : 0); }
inline float row_levels(const float* packed, Index n, Index k) { return packed[pair_weights_size<true>(n, k) - 16]; }

/// The bits of the largest magnitude of x [k].
SAMPAN_KERNEL_INLINE int largest_magnitude(const float* x, Index k) {
  VecInt most{};
  Index j = 0;
  for (; j + kLanes <= k; j += kLanes) {
    const VecInt a = load_ints(x + j) & 0x7fffffff;
    most = most < a ? a : most;
  }
  alignas(64) float lanes[kLanes];
  store(lanes, reinterpret_cast<Vec>(most));
  typedef int QuadInt __attribute__((vector_size(16), may_alias));
  QuadInt q = *reinterpret_cast<const QuadInt*>(lanes);
  for (Index i = 4; i < kLanes; i += 4) {
    const QuadInt a = *reinterpret_cast<const QuadInt*>(lanes + i);
    q = q < a ? a : q;
  }
  const int even = q[0] < q[2] ? q[2] : q[0], odd = q[1] < q[3] ? q[3] : q[1];
  int m = even < odd ? odd : even;
  for (; j < k; ++j) {
    int a;
    __builtin_memcpy(&a, x + j, 4);
    a &= 0x7fffffff;
    m = m < a ? a : m;
  }
  return m;
}

inline constexpr int kInfinity = 0x7f800000;  // its bits; those of NaN are above them

/// Of a row or column whose largest magnitude has these bits: NaN unless all of it is finite.
SAMPAN_KERNEL_INLINE float scale_of_bits(int most, float levels) {
  float m;
  __builtin_memcpy(&m, &most, 4);
  return most < kInfinity ? scale_of(m, levels) : __builtin_nanf("");
}
SAMPAN_KERNEL_INLINE float inverse_of_bits(int most, float levels) {
  float m;
  __builtin_memcpy(&m, &most, 4);
  return most < kInfinity ? inverse_of(m, levels) : 0.0f;
}
/// The magnitudes of whole numbers that stand in sums with kWhole.
SAMPAN_KERNEL_INLINE Vec magnitude_of_whole(Vec biased) { return reinterpret_cast<Vec>(reinterpret_cast<VecInt>(biased - splat(kWhole)) & 0x7fffffff); }

/// A column of k floats that follow one another -> out[pair * stored], zeros before, then its scale. Returns the largest sum of its magnitudes over a chunk.
SAMPAN_KERNEL_INLINE Index pack_fast_column(const float* w, Index k, float levels, float* out, Index stored) {
  const int most = largest_magnitude(w, k);
  const float inverse = inverse_of_bits(most, levels);
  Index largest = 0;
  out[pairs_of(k) * stored] = scale_of_bits(most, levels);
  for (Index begin = 0; begin < k && inverse > 0; begin += 2 * kFastChunk) {
    const Index end = k - begin < 2 * kFastChunk ? k : begin + 2 * kFastChunk;
    short whole[2 * kFastChunk];
    Vec sums{};
    Index j = begin;
    for (; j + kLanes <= end; j += kLanes) {
      const Vec biased = opaque(load(w + j) * splat(inverse)) + splat(kWhole);
      store_shorts(whole + (j - begin), biased);
      sums += magnitude_of_whole(biased);  // exact: below 2^24
    }
    Index sum = static_cast<Index>(sum_lanes(sums));
    for (; j < end; ++j) {
      const short value = quantised(w[j], inverse);
      whole[j - begin] = value;
      sum += value < 0 ? -value : value;
    }
    if (end % 2) whole[end - begin] = 0;
    for (j = begin; j < end; j += 2) __builtin_memcpy(out + j / 2 * stored, whole + (j - begin), 4);
    largest = sum > largest ? sum : largest;
  }
  return largest;
}

/// The same for n <= kLanes columns that stand side by side, row i at w + i * ld; out is written for kLanes columns.
SAMPAN_KERNEL_INLINE Index pack_fast_columns(const float* w, Index ld, Index k, Index n, float levels, float* out, Index stored) {
  auto row = [&](Index i) { return n == kLanes ? load(w + i * ld) : load_part(w + i * ld, n); };
  VecInt most{};
  for (Index i = 0; i < k; ++i) {
    const VecInt a = reinterpret_cast<VecInt>(row(i)) & 0x7fffffff;
    most = most < a ? a : most;
  }
  alignas(64) float inverse[kLanes];
  for (Index c = 0; c < kLanes; ++c) inverse[c] = inverse_of_bits(most[c], levels), out[pairs_of(k) * stored + c] = scale_of_bits(most[c], levels);
  auto whole = [&](Index i) { return opaque(select(most < kInfinity, row(i) * load(inverse), Vec{})) + splat(kWhole); };
  Index largest = 0;
  for (Index begin = 0; begin < k; begin += 2 * kFastChunk) {
    const Index end = k - begin < 2 * kFastChunk ? k : begin + 2 * kFastChunk;
    Vec sums{};
    for (Index i = begin; i < end; i += 2) {
      const Vec even = whole(i), odd = i + 1 < end ? whole(i + 1) : splat(kWhole);
      store(out + i / 2 * stored, reinterpret_cast<Vec>((reinterpret_cast<VecInt>(even) & 0xffff) | (reinterpret_cast<VecInt>(odd) << 16)));
      sums += magnitude_of_whole(even) + magnitude_of_whole(odd);
    }
    const Index sum = static_cast<Index>(max_lanes(sums));
    largest = sum > largest ? sum : largest;
  }
  return largest;
}

/// The panels of a level in `fast`; `levels` of the columns. Returns the largest sum of a column's magnitudes over a chunk.
inline Index pack_fast_panels(const float* w, Index ld, bool transposed, Index n, Index k, float* out, float levels) {
  const Index rows = pairs_of(k) + 1;
  Index largest = 0;
  for (Index j = 0; j < n; j += kPanel) {
    const Index stored = panel_columns(n, j), columns = n - j < stored ? n - j : stored;
    for (Index i = 0; i < rows * stored; ++i) out[i] = 0;
    for (Index c = 0, sum = 0; c < columns; c += transposed ? kLanes : 1) {
      const Index left = columns - c;
      sum = transposed ? pack_fast_columns(w + j + c, ld, k, left < kLanes ? left : kLanes, levels, out + c, stored) : pack_fast_column(w + (j + c) * ld, k, levels, out + c, stored);
      largest = sum > largest ? sum : largest;
    }
    out += stored * rows;
  }
  return largest;
}
inline void pack_fast_weights(const float* w, Index ld, bool transposed, Index n, Index k, float* out) {
  constexpr Index kMost = 2147483647;
  Index sum = pack_fast_panels(w, ld, transposed, n, k, out, kColumnLevels);
  if (sum * static_cast<Index>(kFewestRowLevels) > kMost) sum = pack_fast_panels(w, ld, transposed, n, k, out, kFewestRowLevels);
  const Index left = sum > 0 ? kMost / sum : kMost;
  out += pair_weights_size<true>(n, k) - 16;
  for (Index i = 0; i < 16; ++i) out[i] = left < static_cast<Index>(kMostRowLevels) ? static_cast<float>(left) : kMostRowLevels;
}
inline void pack_bf16_weights(const float* w, Index ld, bool transposed, Index n, Index k, float* out) {
  const Index pairs = pairs_of(k), step = transposed ? ld : 1, next = transposed ? 1 : ld;
  for (Index j = 0; j < n; j += kPanel) {
    const Index stored = panel_columns(n, j), columns = n - j < stored ? n - j : stored;
    for (Index i = 0; i < pairs * stored; ++i) out[i] = 0;
    for (Index c = 0; c < columns; ++c)
      for (Index i = 0; i < k; ++i) {
        const unsigned short value = to_bf16(w[(j + c) * next + i * step]);
        __builtin_memcpy(reinterpret_cast<char*>(out + i / 2 * stored + c) + i % 2 * 2, &value, 2);
      }
    out += stored * pairs;
  }
}

/// Rows of pairs, each followed by its scale; behind them room for kRowsTogether rows of floats.
inline Index pair_rows_size(Index m, Index k) { return m * (padded_pairs(k) + 16) + kRowsTogether * ((k + 15) / 16 * 16); }
template <bool fast>
inline void pack_pair_rows(const PackRows& p) {
  const Index ld = padded_pairs(p.k) + 16, row = (p.k + 15) / 16 * 16;
  float* plain = p.out + p.m * ld;
  for (Index first = 0; first < p.m; first += kRowsTogether) {
    const Index rows = p.m - first < kRowsTogether ? p.m - first : kRowsTogether;
    const float* x = p.x + first * p.ldx;
    Index ldx = p.ldx;
    if (p.gamma) {
      float mean[kRowsTogether], rstd[kRowsTogether];
      for (Index i = 0; i < rows; ++i) row_moments(x + i * ldx, p.k, p.eps, mean[i], rstd[i]);
      for (Index i = 0; i < rows; ++i) normalise(x + i * ldx, mean[i], rstd[i], p.gamma, p.beta, 0, p.k, kPlain, plain + i * row);
      x = plain, ldx = row;
    } else if (p.plus) {
      for (Index i = 0; i < rows; ++i) add_row(x + i * ldx, p.plus + (first + i) * p.ld_plus, plain + i * row, p.k);
      x = plain, ldx = row;
    }
    int most[kRowsTogether];
    for (Index i = 0; fast && i < rows; ++i) most[i] = largest_magnitude(x + i * ldx, p.k);
    for (Index i = 0; i < rows; ++i, x += ldx) {
      float* out = p.out + (first + i) * ld;
      ShortMemory* to = reinterpret_cast<ShortMemory*>(out);
      Index j = 0;
      if constexpr (fast) {
        const float inverse = inverse_of_bits(most[i], p.levels);
        for (; j + 2 * kLanes <= p.k; j += 2 * kLanes) store_rounded(to + j, load(x + j) * splat(inverse), load(x + j + kLanes) * splat(inverse));
        for (; j + kLanes <= p.k; j += kLanes) store_shorts(to + j, opaque(load(x + j) * splat(inverse)) + splat(kWhole));
        for (; j < p.k; ++j) to[j] = quantised(x[j], inverse);
        out[ld - 16] = scale_of_bits(most[i], p.levels);
      } else {
        for (; j + kLanes <= p.k; j += kLanes) store_bf16(to + j, load(x + j));
        for (; j < p.k; ++j) to[j] = static_cast<short>(to_bf16(x[j]));
      }
      if (p.k % 2) to[p.k] = 0;
    }
  }
}

/// As accumulate_steps of panel.inl, in pairs.
template <class Dot, int MR, int NV>
SAMPAN_KERNEL_INLINE void accumulate_pair_steps(const IntMemory* const (&row)[MR], Index k, const float* w, Index steps, typename Dot::Acc (&sum)[MR][NV]) {
  for (const Index stop = k + steps; k < stop; ++k) {
    VecInt b[NV];
    SAMPAN_UNROLL
    for (int v = 0; v < NV; ++v) b[v] = load_ints(w + v * kLanes);
    w += NV * kLanes;
    SAMPAN_UNROLL
    for (int i = 0; i < MR; ++i) {
      const VecInt a = splat_int(row[i][k]);
      SAMPAN_UNROLL
      for (int v = 0; v < NV; ++v) Dot::dot(sum[i][v], a, b[v]);
    }
  }
}

/// sum [MR, NV vectors] += rows [MR] x w [depth, NV vectors], all in pairs.
template <class Dot, int MR, int NV>
SAMPAN_KERNEL_INLINE void accumulate_pairs(const IntMemory* const (&row)[MR], const float* w, Index depth, typename Dot::Acc (&sum)[MR][NV], Ahead& ahead) {
  Index k = 0;
  for (; depth - k >= kAheadSteps; k += kAheadSteps) {
    fetch(ahead);
    accumulate_pair_steps<Dot, MR, NV>(row, k, w + k * NV * kLanes, kAheadSteps, sum);
  }
  accumulate_pair_steps<Dot, MR, NV>(row, k, w + k * NV * kLanes, depth - k, sum);
}

/// The last sums of a tile: scaled, then y = act(sums + bias) + residual; `before`: float sums of earlier chunks, or null.
template <class Dot, int MR, int NV>
SAMPAN_KERNEL_INLINE void finish_pairs(const float* x, Index ldx, Index scale_at, const float* column_scales, const float* before, const typename Dot::Acc (&sum)[MR][NV], const TileEnd& e) {
  const bool plain = e.activation == kPlain && e.columns == NV * kLanes;
  alignas(64) float local[MR * NV * kLanes];
  SAMPAN_UNROLL
  for (int i = 0; i < MR; ++i) {
    if (i >= e.valid) continue;
    const Vec row_scale = splat(Dot::kScaled ? x[i * ldx + scale_at] : 1.0f);
    SAMPAN_UNROLL
    for (int v = 0; v < NV; ++v) {
      const Index at = (i * NV + v) * kLanes;
      Vec s = Dot::value(sum[i][v]);
      if (before) s = load(before + at) + s;
      if constexpr (Dot::kScaled) s = opaque(s * (row_scale * load(column_scales + v * kLanes)));
      if (plain) {  // the common case stays in registers
        if (e.bias) s += load(e.bias + v * kLanes);
        if (e.residual) s += load(e.residual + i * e.ldr + v * kLanes);
        store(e.y + i * e.ldy + v * kLanes, s);
      } else {
        store(local + at, s);
      }
    }
  }
  if (plain) return;
  for (Index i = 0; i < e.valid; ++i) finish_row(local + i * NV * kLanes, e.bias, e.activation, e.residual ? e.residual + i * e.ldr : nullptr, e.y + i * e.ldy, e.columns);
}

/// float += pairs, for one register tile; Dot: Acc zero, dot(acc, a, b), value(acc), kChunk pairs without rounding trouble, kScaled.
template <class Dot, int MR, int NV>
static __attribute__((noinline)) void dot_tile(const float* x, Index ldx, Index scale_at, const float* w, Index depth, const float* column_scales, const TileEnd& e) {
  alignas(64) float local[MR * NV * kLanes];
  float* sums = e.last ? local : e.sums;
  const float* before = e.first ? nullptr : e.sums;
  const IntMemory* row[MR];
  Ahead ahead = e.ahead;
  SAMPAN_UNROLL
  for (int i = 0; i < MR; ++i) row[i] = reinterpret_cast<const IntMemory*>(x + (i < e.valid ? i : e.valid - 1) * ldx);
  for (Index begin = 0;;) {
    const Index end = depth - begin < Dot::kChunk ? depth : begin + Dot::kChunk;
    typename Dot::Acc sum[MR][NV];
    SAMPAN_UNROLL
    for (int i = 0; i < MR; ++i) {
      SAMPAN_UNROLL
      for (int v = 0; v < NV; ++v) sum[i][v] = typename Dot::Acc{};
    }
    accumulate_pairs<Dot, MR, NV>(row, w, end - begin, sum, ahead);
    if (end == depth && e.last) return finish_pairs<Dot, MR, NV>(x, ldx, scale_at, column_scales, before, sum, e);
    SAMPAN_UNROLL
    for (int i = 0; i < MR; ++i) {
      SAMPAN_UNROLL
      for (int v = 0; v < NV; ++v) {
        const Index at = (i * NV + v) * kLanes;
        const Vec s = Dot::value(sum[i][v]);
        store(sums + at, before ? load(before + at) + s : s);
      }
    }
    if (end == depth) return;
    before = sums;
    w += (end - begin) * NV * kLanes;
    SAMPAN_UNROLL
    for (int i = 0; i < MR; ++i) row[i] += end - begin;
    begin = end;
  }
}

/// The product of one panel for gemm_panels: rows and depth in pairs.
template <class Dot>
struct PairProduct {
  static Index steps(Index k) { return pairs_of(k); }
  static Index row(Index k) { return padded_pairs(k) + 16; }
  static Index panel(Index k) { return pairs_of(k) + (Dot::kScaled ? 1 : 0); }
  template <int MR, int NV>
  SAMPAN_KERNEL_INLINE void tile(const float* x, Index k, Index k0, const float* w, Index depth, const TileEnd& e) {
    dot_tile<Dot, MR, NV>(x + k0, row(k), padded_pairs(k) - k0, w, depth, w + (pairs_of(k) - k0) * NV * kLanes, e);
  }
};

/// Precision `fast` with the level's multiplication of pairs.
template <class Multiply>
struct FastDot {
  using Acc = VecInt;
  static constexpr Index kChunk = kFastChunk;
  static constexpr bool kScaled = true;
  SAMPAN_KERNEL_INLINE void dot(Acc& acc, VecInt a, VecInt b) { Multiply::dot(acc, a, b); }
  SAMPAN_KERNEL_INLINE Vec value(Acc acc) { return to_float(acc); }
};
template <class Multiply>
struct Bf16Dot {
  using Acc = Vec;
  static constexpr Index kChunk = Index(1) << 40;
  static constexpr bool kScaled = false;
  SAMPAN_KERNEL_INLINE void dot(Acc& acc, VecInt a, VecInt b) { Multiply::dot(acc, a, b); }
  SAMPAN_KERNEL_INLINE Vec value(Acc acc) { return acc; }
};

template <class Dot>
inline void pair_gemm(const Gemm& p) { gemm_panels<PairProduct<Dot>>(p); }

template <class Multiply>
inline constexpr Products kFastProducts{pair_weights_size<true>, pack_fast_weights, pair_rows_size, pack_pair_rows<true>, panels_scratch, pair_gemm<FastDot<Multiply>>, row_levels};
template <class Multiply>
inline constexpr Products kBf16Products{pair_weights_size<false>, pack_bf16_weights, pair_rows_size, pack_pair_rows<false>, panels_scratch, pair_gemm<Bf16Dot<Multiply>>};
