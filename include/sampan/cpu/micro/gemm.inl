// Blocked matrix product of a level. Included inside the namespace of one level, after finish.inl; the level defines kMr (rows of a register tile),
// kMrSmall (for fringes) and kNv (vectors across): kMr * kNv accumulators, kNv vectors of W and one broadcast fit its registers.
// Data flow: cpu/gemm.hpp, attend_tile.hpp, conv.hpp, ... through the level's table -> here.
// Layouts: W in panels of kNv vectors of columns, [k][columns], the last one as many vectors as it needs, zero-padded. Rows of x as they are, in a buffer of
// ours: a register tile reads kMr rows in parallel and broadcasts, which needs no transposition; the row length is padded so that rows do not share cache sets.
// Blocking: kDepth of k at a time, so that kMr rows (12 KiB) stay in L1 and kColumnBlock columns of W (288 KiB) in L2; sums in between live in the scratch tile.

inline constexpr Index kPanel = kNv * kLanes;
inline constexpr Index kDepth = 384;
static_assert(kColumnBlock % kPanel == 0);

SAMPAN_KERNEL_INLINE Index row_length(Index k) { return (k + 15) / 16 * 16 + 16; }
/// Columns of a panel that begins at column j, as stored.
SAMPAN_KERNEL_INLINE Index panel_columns(Index n, Index j) {
  const Index left = n - j;
  return left >= kPanel ? kPanel : (left + kLanes - 1) / kLanes * kLanes;
}

inline Index weights_size(Index n, Index k) { return (n / kPanel * kPanel + (n % kPanel + kLanes - 1) / kLanes * kLanes) * k; }

/// Four rows of four floats, transposed.
SAMPAN_KERNEL_INLINE void transpose_4x4(const float* from, Index ld, float* to, Index ldt) {
  const Quad a = *reinterpret_cast<const QuadMemory*>(from), b = *reinterpret_cast<const QuadMemory*>(from + ld);
  const Quad c = *reinterpret_cast<const QuadMemory*>(from + 2 * ld), d = *reinterpret_cast<const QuadMemory*>(from + 3 * ld);
  const Quad ab0 = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab1 = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const Quad cd0 = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd1 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  *reinterpret_cast<QuadMemory*>(to) = __builtin_shufflevector(ab0, cd0, 0, 1, 4, 5);
  *reinterpret_cast<QuadMemory*>(to + ldt) = __builtin_shufflevector(ab0, cd0, 2, 3, 6, 7);
  *reinterpret_cast<QuadMemory*>(to + 2 * ldt) = __builtin_shufflevector(ab1, cd1, 0, 1, 4, 5);
  *reinterpret_cast<QuadMemory*>(to + 3 * ldt) = __builtin_shufflevector(ab1, cd1, 2, 3, 6, 7);
}

inline void pack_weights(const float* w, Index ld, bool transposed, Index n, Index k, float* out) {
  for (Index j = 0; j < n; j += kPanel) {
    const Index stored = panel_columns(n, j), columns = n - j < stored ? n - j : stored;
    for (Index i = 0; columns < stored && i < k; ++i)
      for (Index c = columns; c < stored; ++c) out[i * stored + c] = 0;
    if (transposed) {
      for (Index i = 0; i < k; ++i) {
        Index c = 0;
        for (; c + kLanes <= columns; c += kLanes) store(out + i * stored + c, load(w + i * ld + j + c));
        for (; c < columns; ++c) out[i * stored + c] = w[i * ld + j + c];
      }
    } else {
      const Index c4 = columns / 4 * 4, k4 = k / 4 * 4;
      for (Index c = 0; c < c4; c += 4) {
        const float* from = w + (j + c) * ld;
        for (Index i = 0; i < k4; i += 4) transpose_4x4(from + i, ld, out + i * stored + c, stored);
        for (Index i = k4; i < k; ++i)
          for (Index r = 0; r < 4; ++r) out[i * stored + c + r] = from[r * ld + i];
      }
      for (Index c = c4; c < columns; ++c)
        for (Index i = 0; i < k; ++i) out[i * stored + c] = w[(j + c) * ld + i];
    }
    out += stored * k;
  }
}

inline Index rows_size(Index m, Index k) { return m * row_length(k); }
inline void pack_rows(const PackRows& p) {
  const Index ld = row_length(p.k);
  for (Index i = 0; i < p.m; ++i) {
    const float* x = p.x + i * p.ldx;
    float* out = p.out + i * ld;
    if (p.gamma) {
      float mean, rstd;
      row_moments(x, p.k, p.eps, mean, rstd);
      normalise(x, mean, rstd, p.gamma, p.beta, 0, p.k, kPlain, out);
    } else {
      Index j = 0;
      for (; j + kLanes <= p.k; j += kLanes) store(out + j, load(x + j));
      for (; j < p.k; ++j) out[j] = x[j];
    }
  }
}

/// c [MR, NV vectors] (+)= x [MR, depth] w [depth, NV vectors]. Rows `valid` .. MR repeat the last one; their sums go nowhere.
template <int MR, int NV>
static __attribute__((noinline)) void multiply_tile(const float* x, Index ldx, const float* w, Index depth, float* c, Index ldc, Index valid, bool accumulate) {
  Vec sum[MR][NV];
  const float* row[MR];
  SAMPAN_UNROLL
  for (int i = 0; i < MR; ++i) {
    row[i] = x + (i < valid ? i : valid - 1) * ldx;
    SAMPAN_UNROLL
    for (int v = 0; v < NV; ++v) sum[i][v] = Vec{};
  }
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
  SAMPAN_UNROLL
  for (int i = 0; i < MR; ++i) {
    if (i < valid) {
      SAMPAN_UNROLL
      for (int v = 0; v < NV; ++v) store(c + i * ldc + v * kLanes, accumulate ? load(c + i * ldc + v * kLanes) + sum[i][v] : sum[i][v]);
    }
  }
}

template <int NV>
SAMPAN_KERNEL_INLINE void multiply_rows(const Gemm& p, const float* w, Index k0, Index depth, float* c) {
  const Index ld = row_length(p.k);
  for (Index i = 0; i < p.m; i += kMr) {
    const Index left = p.m - i, valid = left < kMr ? left : kMr;
    if (valid > kMrSmall) {
      multiply_tile<kMr, NV>(p.x + i * ld + k0, ld, w, depth, c + i * kColumnBlock, kColumnBlock, valid, k0 > 0);
    } else {
      multiply_tile<kMrSmall, NV>(p.x + i * ld + k0, ld, w, depth, c + i * kColumnBlock, kColumnBlock, valid, k0 > 0);
    }
  }
}

/// The instance for a panel of `vectors` <= NV vectors.
template <int NV>
SAMPAN_KERNEL_INLINE void multiply_panel(const Gemm& p, const float* w, Index vectors, Index k0, Index depth, float* c) {
  if constexpr (NV > 1) {
    if (vectors < NV) {
      multiply_panel<NV - 1>(p, w, vectors, k0, depth, c);
      return;
    }
  }
  multiply_rows<NV>(p, w, k0, depth, c);
}

inline Index gemm_scratch(Index m) { return m * kColumnBlock; }
inline void gemm(const Gemm& p) {
  for (Index j0 = 0; j0 < p.count; j0 += kColumnBlock) {
    const Index columns = p.count - j0 < kColumnBlock ? p.count - j0 : kColumnBlock;
    for (Index k0 = 0; k0 < p.k; k0 += kDepth) {
      const Index depth = p.k - k0 < kDepth ? p.k - k0 : kDepth;
      for (Index j = 0; j < columns; j += kPanel) {
        const Index stored = panel_columns(p.n, p.n0 + j0 + j);
        const float* w = p.w + (p.n0 + j0 + j) * p.k + k0 * stored;
        multiply_panel<kNv>(p, w, stored / kLanes, k0, depth, p.scratch + j);
      }
    }
    if (p.k == 0)
      for (Index i = 0; i < p.m * kColumnBlock; ++i) p.scratch[i] = 0;
    for (Index i = 0; i < p.m; ++i)
      finish_row(p.scratch + i * kColumnBlock, p.bias ? p.bias + j0 : nullptr, p.activation, p.residual ? p.residual + i * p.ldr + j0 : nullptr, p.y + i * p.ldy + j0, columns);
  }
}
