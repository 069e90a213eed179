// Convolution of neighbouring pixels of one output row without a copy of the input. Included inside the namespace of one level, after panel.inl (panels of W) and activate.inl.
// Data flow: cpu/conv.hpp through the level's table -> here.
// kMr pixels x one panel of output channels are sums in registers over all taps: channels-last makes the taps of one kernel row a run of kw * in floats of the map itself.
// For weights that fit L2: nothing is cut along k. Every sum is taps in the order (ky, kx, in), then bias (a bias at first would coarsen every rounding).

/// MR pixels from `pixel` on x the NV vectors of the panel at column `column`.
template <int MR, int NV>
static __attribute__((noinline)) void direct_tile(const DirectConv& p, const float* w, Index pixel, Index column) {
  Vec sum[MR][NV];
  const Index left = p.n - column, columns = left < NV * kLanes ? left : NV * kLanes;
  SAMPAN_UNROLL
  for (int i = 0; i < MR; ++i) {
    SAMPAN_UNROLL
    for (int v = 0; v < NV; ++v) sum[i][v] = Vec{};
  }
  for (Index ky = 0; ky < p.kh; ++ky, w += p.run * NV * kLanes) {
    if (!p.rows[ky]) continue;
    const float* row[MR];
    SAMPAN_UNROLL
    for (int i = 0; i < MR; ++i) row[i] = p.rows[ky] + (pixel + i) * p.step;
    accumulate_steps(row, 0, w, p.run, sum);
  }
  SAMPAN_UNROLL
  for (int v = 0; v < NV; ++v) {
    const Index rest = columns - v * kLanes;
    const Vec bias = rest >= kLanes ? load(p.bias + column + v * kLanes) : load_part(p.bias + column + v * kLanes, rest);
    SAMPAN_UNROLL
    for (int i = 0; i < MR; ++i) sum[i][v] += bias;
  }
  float* y = p.y + pixel * p.y_stride + column;
  if (p.activation == kPlain && columns == NV * kLanes) {
    SAMPAN_UNROLL
    for (int i = 0; i < MR; ++i) {
      SAMPAN_UNROLL
      for (int v = 0; v < NV; ++v) store(y + i * p.y_stride + v * kLanes, sum[i][v]);
    }
    return;
  }
  alignas(64) float local[MR][NV * kLanes];  // a loop over pixels keeps the code of the activation small
  SAMPAN_UNROLL
  for (int i = 0; i < MR; ++i) {
    SAMPAN_UNROLL
    for (int v = 0; v < NV; ++v) store(&local[i][v * kLanes], sum[i][v]);
  }
  for (int i = 0; i < MR; ++i, y += p.y_stride) {
    Vec one[NV];
    SAMPAN_UNROLL
    for (int v = 0; v < NV; ++v) one[v] = load(&local[i][v * kLanes]);
    activate(one, p.activation);
    SAMPAN_UNROLL
    for (int v = 0; v < NV; ++v) {
      if (const Index rest = columns - v * kLanes; rest >= kLanes) {
        store(y + v * kLanes, one[v]);
      } else if (rest > 0) {
        store_part(y + v * kLanes, one[v], rest);
      }
    }
  }
}

/// The instance for a panel of `vectors` <= NV vectors; pixels [begin, end).
template <int NV>
SAMPAN_KERNEL_INLINE void direct_panel(const DirectConv& p, const float* w, Index vectors, Index begin, Index end, Index column) {
  if constexpr (NV > 1) {
    if (vectors < NV) {
      direct_panel<NV - 1>(p, w, vectors, begin, end, column);
      return;
    }
  }
  for (; begin + kMr <= end; begin += kMr) direct_tile<kMr, NV>(p, w, begin, column);
  for (; begin < end; ++begin) direct_tile<1, NV>(p, w, begin, column);
}

inline void direct_conv(const DirectConv& p) {
  constexpr Index kBlock = 8 * kMr;  // pixels whose input stays in L1 over all panels
  for (Index i = 0; i < p.count; i += kBlock) {
    const Index end = i + kBlock < p.count ? i + kBlock : p.count;
    for (Index j = 0; j < p.n; j += kPanel) direct_panel<kNv>(p, p.w + j * p.kh * p.run, panel_columns(p.n, j) / kLanes, i, end, j);
  }
}
