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

/// sum [MR, NV vectors] += rows [MR] x w [depth, NV vectors].
template <int MR, int NV>
SAMPAN_KERNEL_INLINE void accumulate(const float* const (&row)[MR], const float* w, Index depth, Vec (&sum)[MR][NV]) {
  for (Index k = 0; k < depth; ++k) {
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
