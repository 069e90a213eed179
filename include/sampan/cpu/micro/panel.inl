// Panels and register tiles: the heart of every matrix product of a level. Included inside the namespace of one level, after vec_common.inl; the level defines
// kMr (rows of a register tile), kMrSmall (for fringes) and kNv (vectors across): kMr * kNv accumulators, kNv vectors of W and one broadcast fit its registers.
// Data flow: gemm.inl (linear layers), attend.inl (scores and mixed values) -> here.
// Layout of W [n, k]: panels of kNv vectors of columns, [k][columns], the last one as many vectors as it needs, zero-padded.
// Rows of x stay as they are: a tile reads kMr rows in parallel and broadcasts, which needs no transposition.

inline constexpr Index kPanel = kNv * kLanes;
static_assert(kColumnBlock % kPanel == 0);

/// Columns of a panel that begins at column j, as stored.
SAMPAN_KERNEL_INLINE Index panel_columns(Index n, Index j) {
  const Index left = n - j;
  return left >= kPanel ? kPanel : (left + kLanes - 1) / kLanes * kLanes;
}

inline Index panels_size(Index n, Index k) { return (n / kPanel * kPanel + (n % kPanel + kLanes - 1) / kLanes * kLanes) * k; }

/// Four rows of four floats, transposed.
SAMPAN_KERNEL_INLINE void transpose_quads(Quad a, Quad b, Quad c, Quad d, float* to, Index ldt) {
  const Quad ab0 = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab1 = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const Quad cd0 = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd1 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  *reinterpret_cast<QuadMemory*>(to) = __builtin_shufflevector(ab0, cd0, 0, 1, 4, 5);
  *reinterpret_cast<QuadMemory*>(to + ldt) = __builtin_shufflevector(ab0, cd0, 2, 3, 6, 7);
  *reinterpret_cast<QuadMemory*>(to + 2 * ldt) = __builtin_shufflevector(ab1, cd1, 0, 1, 4, 5);
  *reinterpret_cast<QuadMemory*>(to + 3 * ldt) = __builtin_shufflevector(ab1, cd1, 2, 3, 6, 7);
}

#if SAMPAN_VECTOR_BYTES > 16 && !defined(SAMPAN_PLAIN_VECTORS)
/// Four floats of kLanes rows, transposed: to[j] holds rows[0 .. kLanes)[at + j].
SAMPAN_KERNEL_INLINE void transpose_rows(const float* const* rows, Index at, Vec (&to)[4]) {
  typedef float Oct __attribute__((vector_size(32)));
  Vec r[4];  // quarter q of r[i]: row 4 q + i
  SAMPAN_UNROLL
  for (int i = 0; i < 4; ++i) {
    const Oct low = __builtin_shufflevector(load_quad(rows[i] + at), load_quad(rows[i + 4] + at), 0, 1, 2, 3, 4, 5, 6, 7);
#  if SAMPAN_VECTOR_BYTES == 64
    const Oct high = __builtin_shufflevector(load_quad(rows[i + 8] + at), load_quad(rows[i + 12] + at), 0, 1, 2, 3, 4, 5, 6, 7);
    r[i] = __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#  else
    r[i] = low;
#  endif
  }
#  if SAMPAN_VECTOR_BYTES == 64
#    define SAMPAN_QUARTERS(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l, i + 4, j + 4, k + 4, l + 4, i + 8, j + 8, k + 8, l + 8, i + 12, j + 12, k + 12, l + 12)
  constexpr int b = 16;
#  else
#    define SAMPAN_QUARTERS(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l, i + 4, j + 4, k + 4, l + 4)
  constexpr int b = 8;
#  endif
  const Vec t0 = SAMPAN_QUARTERS(r[0], r[1], 0, b, 1, b + 1), t1 = SAMPAN_QUARTERS(r[0], r[1], 2, b + 2, 3, b + 3);
  const Vec t2 = SAMPAN_QUARTERS(r[2], r[3], 0, b, 1, b + 1), t3 = SAMPAN_QUARTERS(r[2], r[3], 2, b + 2, 3, b + 3);
  to[0] = SAMPAN_QUARTERS(t0, t2, 0, 1, b, b + 1), to[1] = SAMPAN_QUARTERS(t0, t2, 2, 3, b + 2, b + 3);
  to[2] = SAMPAN_QUARTERS(t1, t3, 0, 1, b, b + 1), to[3] = SAMPAN_QUARTERS(t1, t3, 2, 3, b + 2, b + 3);
#  undef SAMPAN_QUARTERS
}
#else
SAMPAN_KERNEL_INLINE void transpose_rows(const float* const* rows, Index at, Vec (&to)[4]) {
  for (int j = 0; j < 4; ++j) {
    float lanes[kLanes];
    for (Index i = 0; i < kLanes; ++i) lanes[i] = rows[i][at + j];
    to[j] = load(lanes);
  }
}
#endif

/// What comes to L2 while a register tile is computed: `lines` cache lines for every kAheadSteps steps of its product. The tiles of a block of rows share one panel;
/// without this the first of them would wait for the memory behind L2, line after line (bench/README.md, "Fetched ahead").
struct Ahead {
  const float* at = nullptr;
  Index lines = 0;
};
inline constexpr Index kAheadSteps = 16, kLineFloats = 16;

/// The part of tile `tile` of `tiles` in fetching the panel at `next`, [depth, vectors], during its own product of the same depth.
SAMPAN_KERNEL_INLINE Ahead share_of(const float* next, Index depth, Index vectors, Index tile, Index tiles) {
  if (!next || tiles < 4) return {};  // few rows: the panel itself is what everybody waits for
  const Index lines = (vectors * kLanes * kAheadSteps / kLineFloats + tiles - 1) / tiles;
  return {next + tile * (depth / kAheadSteps) * lines * kLineFloats, lines};
}
SAMPAN_KERNEL_INLINE void fetch(Ahead& a) {
  for (Index i = 0; i < a.lines; ++i, a.at += kLineFloats) __builtin_prefetch(a.at, 0, 2);
}

/// `steps` steps of a product from step `k` on: sum [MR, NV vectors] += rows [MR] x w [steps, NV vectors].
template <int MR, int NV>
SAMPAN_KERNEL_INLINE void accumulate_steps(const float* const (&row)[MR], Index k, const float* w, Index steps, Vec (&sum)[MR][NV]) {
  for (const Index stop = k + steps; k < stop; ++k) {
    Vec b[NV];
    SAMPAN_UNROLL
    for (int v = 0; v < NV; ++v) b[v] = load(w + v * kLanes);
    w += NV * kLanes;
    SAMPAN_UNROLL
    for (int i = 0; i < MR; ++i) {
      const Vec a = splat(row[i][k]);
      SAMPAN_UNROLL
      for (int v = 0; v < NV; ++v) sum[i][v] += a * b[v];
    }
  }
}

/// sum [MR, NV vectors] += rows [MR] x w [depth, NV vectors].
template <int MR, int NV>
SAMPAN_KERNEL_INLINE void accumulate(const float* const (&row)[MR], const float* w, Index depth, Vec (&sum)[MR][NV], Ahead ahead) {
  Index k = 0;
  for (; depth - k >= kAheadSteps; k += kAheadSteps) {
    fetch(ahead);
    accumulate_steps<MR, NV>(row, k, w + k * NV * kLanes, kAheadSteps, sum);
  }
  accumulate_steps<MR, NV>(row, k, w + k * NV * kLanes, depth - k, sum);
}
