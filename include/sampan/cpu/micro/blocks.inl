// The loops around register tiles: blocks of rows against panels. Included inside the namespace of one level, after panel.inl and finish.inl.
// Data flow: gemm.inl (f32), dot.inl (fast, bf16) -> here.   A `step` is one row of a panel: one k in f32, a pair of k in 16-bit precisions.
// Blocking: all steps up to kDepth in one go, so that kMr rows (18 KiB) stay in L1 and the sums never leave the registers before they are finished; beyond, kDepth steps
// at a time over kGroup columns, whose sums wait in scratch (L2) in the order in which the tiles come.

inline constexpr Index kDepth = 768, kGroup = 768;

/// What a register tile does with its sums: they wait for the next part of k, or end as y = act(sums + bias) + residual.
struct TileEnd {
  float* sums;       ///< [MR, NV vectors] of this tile, between parts of k
  bool first, last;  ///< part of k
  Index valid;       ///< rows that exist
  Index columns;     ///< columns of y, <= NV vectors
  const float* bias;
  const float* residual;
  Index ldr;
  float* y;
  Index ldy;
  int activation;
  Ahead ahead;
  const KeyColumns* keys = nullptr;  ///< null: no column of this tile is one of them
  Index column = 0, key = 0;         ///< of W at the tile's first column; of its first row
};

/// Where column c of W stands in y beside the columns that became keys.
SAMPAN_KERNEL_INLINE Index beside_keys(const KeyColumns& keys, Index c) { return c < keys.begin ? c : c - (keys.end - keys.begin); }

/// `rows` <= 4 keys from key on, all in one panel: channels [channel, channel + n) of a head from sums [rows, row_step] + bias.
SAMPAN_KERNEL_INLINE void store_keys(const KeyColumns& keys, Index key, Index rows, Index head, Index channel, Index n, const float* sums, Index row_step, const float* bias) {
  const Index block = key / kKeyBlock * kKeyBlock, left = keys.keys - block, in_block = key - block, panel = in_block / kPanel * kPanel;
  const Index stored = panel_columns(left < kKeyBlock ? left : kKeyBlock, panel);
  float* to = keys.panels + head * keys.head_step + block / kKeyBlock * keys.block_step + panel * keys.d + (in_block - panel) + channel * stored;
  Index i = 0;
  for (; rows == 4 && i + 4 <= n; i += 4) {
    const Quad b = bias ? load_quad(bias + i) : Quad{};
    const float* s = sums + i;
    transpose_quads(load_quad(s) + b, load_quad(s + row_step) + b, load_quad(s + 2 * row_step) + b, load_quad(s + 3 * row_step) + b, to + i * stored, stored);
  }
  for (; i < n; ++i)
    for (Index r = 0; r < rows; ++r) to[i * stored + r] = bias ? sums[r * row_step + i] + bias[i] : sums[r * row_step + i];
}

/// The end of a tile with columns of keys: sums [valid, row_step] + bias, runs of channels of one head at a time.
inline void finish_keys(const float* sums, Index row_step, const TileEnd& e) {
  const KeyColumns& keys = *e.keys;
  for (Index j = 0, run = 0; j < e.columns; j += run) {
    const Index c = e.column + j, left = e.columns - j;
    const float* bias = e.bias ? e.bias + j : nullptr;
    if (c < keys.begin || c >= keys.end) {
      run = c < keys.begin && keys.begin - c < left ? keys.begin - c : left;
      for (Index i = 0; i < e.valid; ++i) finish_row(sums + i * row_step + j, bias, kPlain, nullptr, e.y + i * e.ldy + beside_keys(keys, c), run);
      continue;
    }
    const Index head = (c - keys.begin) / keys.d, channel = (c - keys.begin) % keys.d;
    run = keys.d - channel < left ? keys.d - channel : left;
    for (Index i = 0, rows = 0; i < e.valid; i += rows) {
      const Index in_block = (e.key + i) % kKeyBlock, in_panel = in_block % kPanel;
      rows = e.valid - i < 4 ? e.valid - i : 4;
      if (rows > kPanel - in_panel) rows = kPanel - in_panel;
      if (rows > kKeyBlock - in_block) rows = kKeyBlock - in_block;
      store_keys(keys, e.key + i, rows, head, channel, run, sums + i * row_step + j, row_step, bias);
    }
  }
}

/// The rows of a block against one panel of `vectors` <= NV vectors; `next` is the panel that comes after it.
template <class Product, int NV>
SAMPAN_KERNEL_INLINE void multiply_panel(const Gemm& p, const float* w, Index vectors, Index k0, Index depth, Index column, const float* next, TileEnd e) {
  if constexpr (NV > 1) {
    if (vectors < NV) {
      multiply_panel<Product, NV - 1>(p, w, vectors, k0, depth, column, next, e);
      return;
    }
  }
  const Index ld = Product::row(p.k), tiles = (p.m + kMr - 1) / kMr;
  for (Index i = 0; i < p.m; i += kMr) {
    const Index left = p.m - i;
    e.valid = left < kMr ? left : kMr;
    e.ahead = share_of(next, depth, NV, i / kMr, tiles);
    e.y = p.y + i * p.ldy + column, e.key = p.first_key + i;
    if (p.residual) e.residual = p.residual + i * p.ldr + column;
    if (e.valid > kMrSmall) {
      Product::template tile<kMr, NV>(p.x + i * ld, p.k, k0, w, depth, e);
    } else {
      Product::template tile<kMrSmall, NV>(p.x + i * ld, p.k, k0, w, depth, e);
    }
    e.sums += kMr * NV * kLanes;
  }
}

/// Product: steps(k); row(k), floats of a packed row; panel(k), stored steps of a panel; tile(row, k, k0, w, depth, end).
template <class Product>
inline void gemm_panels(const Gemm& p) {
  const Index steps = Product::steps(p.k), group = steps > kDepth ? kGroup : p.count;  // columns whose sums wait in scratch
  for (Index j0 = 0; j0 < p.count; j0 += group) {
    const Index columns = p.count - j0 < group ? p.count - j0 : group;
    Index k0 = 0;
    do {
      const Index depth = steps - k0 < kDepth ? steps - k0 : kDepth;
      auto panel = [&](Index j, Index step) { return p.w + (p.n0 + j0 + j) * Product::panel(p.k) + step * panel_columns(p.n, p.n0 + j0 + j); };
      float* sums = p.scratch;
      for (Index j = 0; j < columns; j += kPanel) {
        const Index stored = panel_columns(p.n, p.n0 + j0 + j), left = columns - j;
        TileEnd e{sums, k0 == 0, k0 + depth == steps, 0, left < stored ? left : stored, p.bias ? p.bias + j0 + j : nullptr, nullptr, p.ldr, nullptr, p.ldy, p.activation, {}};
        const float* next = j + kPanel < columns ? panel(j + kPanel, k0) : k0 + depth < steps ? panel(0, k0 + depth) : nullptr;
        Index column = j0 + j;  // in y
        if (p.keys) {
          const Index c = p.n0 + column;
          const bool some = c < p.keys->end && c + e.columns > p.keys->begin;
          e.keys = some ? p.keys : nullptr, e.column = c;
          column = some ? 0 : beside_keys(*p.keys, c);
        }
        multiply_panel<Product, kNv>(p, panel(j, k0), stored / kLanes, k0, depth, column, next, e);
        sums += (p.m + kMr - 1) / kMr * kMr * stored;
      }
      k0 += depth;
    } while (k0 < steps);
  }
}
/// Scratch of gemm_panels for m rows.
inline Index panels_scratch(Index m) { return (m + kMr - 1) / kMr * kMr * kGroup; }
