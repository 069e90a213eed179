// Matrix products in f32. Included inside the namespace of one level, after blocks.inl.
// Data flow: cpu/gemm.hpp, attend_tile.hpp, conv.hpp, ... through the level's table -> here.
// Rows of x stand in a buffer of ours, padded so that they do not share cache sets.

SAMPAN_KERNEL_INLINE Index row_length(Index k) { return (k + 15) / 16 * 16 + 16; }

inline Index weights_size(Index n, Index k) { return panels_size(n, k); }

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
      Index whole = 0;  // columns that fill vectors
      for (; whole + kLanes <= columns; whole += kLanes) {
        const float* rows[kLanes];
        for (Index r = 0; r < kLanes; ++r) rows[r] = w + (j + whole + r) * ld;
        for (Index i = 0; i < k4; i += 4) {
          Vec v[4];
          transpose_rows(rows, i, v);
          SAMPAN_UNROLL
          for (int e = 0; e < 4; ++e) store(out + (i + e) * stored + whole, v[e]);
        }
        for (Index i = k4; i < k; ++i)
          for (Index r = 0; r < kLanes; ++r) out[i * stored + whole + r] = rows[r][i];
      }
      for (Index c = whole; c < c4; c += 4) {
        const float* from = w + (j + c) * ld;
        for (Index i = 0; i < k4; i += 4)
          transpose_quads(load_quad(from + i), load_quad(from + ld + i), load_quad(from + 2 * ld + i), load_quad(from + 3 * ld + i), out + i * stored + c, stored);
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
  if (p.gamma) return layer_norm_rows({p.x, p.ldx, p.out, ld, p.m, p.k, p.gamma, p.beta, p.eps, kPlain});
  for (Index i = 0; i < p.m; ++i) {
    const float* x = p.x + i * p.ldx;
    float* out = p.out + i * ld;
    Index j = 0;
    if (p.plus) {
      const float* plus = p.plus + i * p.ld_plus;
      for (; j + kLanes <= p.k; j += kLanes) store(out + j, load(x + j) + load(plus + j));
      for (; j < p.k; ++j) out[j] = x[j] + plus[j];
    }
    for (; j + kLanes <= p.k; j += kLanes) store(out + j, load(x + j));
    for (; j < p.k; ++j) out[j] = x[j];
  }
}

/// sums [MR, NV vectors] = x [MR, depth] w [depth, NV vectors]. Rows `valid` .. MR repeat the last one; their sums go nowhere.
template <int MR, int NV>
static __attribute__((noinline)) void multiply_tile(const float* x, Index ldx, const float* w, Index depth, const TileEnd& e) {
  Vec sum[MR][NV];
  const float* row[MR];
  SAMPAN_UNROLL
  for (int i = 0; i < MR; ++i) {
    row[i] = x + (i < e.valid ? i : e.valid - 1) * ldx;
    SAMPAN_UNROLL
    for (int v = 0; v < NV; ++v) sum[i][v] = Vec{};
  }
  if (e.last)  // the lines to be written arrive during the products
    for (Index i = 0; i < e.valid; ++i)
      for (Index j = 0; j < e.columns; j += 16) {
        __builtin_prefetch(e.y + i * e.ldy + j, 1);
        if (e.residual) __builtin_prefetch(e.residual + i * e.ldr + j);
      }
  accumulate<MR, NV>(row, w, depth, sum, e.ahead);
  if (!e.first) {
    SAMPAN_UNROLL
    for (int i = 0; i < MR; ++i) {
      SAMPAN_UNROLL
      for (int v = 0; v < NV; ++v) sum[i][v] += load(e.sums + (i * NV + v) * kLanes);
    }
  }
  if (e.last && e.activation == kPlain && e.columns == NV * kLanes && !e.keys) {  // the common case stays in registers
    Vec b[NV];
    SAMPAN_UNROLL
    for (int v = 0; v < NV; ++v) b[v] = e.bias ? load(e.bias + v * kLanes) : Vec{};
    SAMPAN_UNROLL
    for (int i = 0; i < MR; ++i) {
      if (i < e.valid) {
        SAMPAN_UNROLL
        for (int v = 0; v < NV; ++v) sum[i][v] += b[v];
        if (e.residual) {
          SAMPAN_UNROLL
          for (int v = 0; v < NV; ++v) sum[i][v] += load(e.residual + i * e.ldr + v * kLanes);
        }
        SAMPAN_UNROLL
        for (int v = 0; v < NV; ++v) store(e.y + i * e.ldy + v * kLanes, sum[i][v]);
      }
    }
    return;
  }
  alignas(64) float local[MR * NV * kLanes];
  float* sums = e.last ? local : e.sums;
  SAMPAN_UNROLL
  for (int i = 0; i < MR; ++i) {
    SAMPAN_UNROLL
    for (int v = 0; v < NV; ++v) store(sums + (i * NV + v) * kLanes, sum[i][v]);
  }
  if (e.last && e.keys) return finish_keys(local, NV * kLanes, e);
  if (e.last)
    for (Index i = 0; i < e.valid; ++i) finish_row(local + i * NV * kLanes, e.bias, e.activation, e.residual ? e.residual + i * e.ldr : nullptr, e.y + i * e.ldy, e.columns);
}

struct FloatProduct {
  static Index steps(Index k) { return k; }
  static Index row(Index k) { return row_length(k); }
  static Index panel(Index k) { return k; }
  template <int MR, int NV>
  SAMPAN_KERNEL_INLINE void tile(const float* x, Index k, Index k0, const float* w, Index depth, const TileEnd& e) { multiply_tile<MR, NV>(x + k0, row(k), w, depth, e); }
};

inline Index gemm_scratch(Index m) { return panels_scratch(m); }
inline void gemm(const Gemm& p) { gemm_panels<FloatProduct>(p); }
