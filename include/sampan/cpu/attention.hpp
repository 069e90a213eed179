// attend on Cpu: windowed and global self-attention of the encoders, without a partition copy.
// Data flow: ops/attend.hpp declares; self_attention.hpp (the whole layer) -> here -> the level's attend (cpu/kernels.hpp) and gemm.hpp.
// Identities of architecture.md: 1 (softmax does not see a constant per query, probabilities sum to 1: subtracting the pad token's key from all keys and its value
// from all values makes pads zero; the attention op folds the difference into the qkv and proj biases when it packs), 2 (the position bias is the initial
// accumulator), 3 (rel-pos tables are multiplied with q as one product per tile, rows reversed so that a query reads a contiguous slice), 4 (TinyViT's pads as 1).
// Volumes: rows are counted through all planes of a window; their position bias is made for every pair, and their pads are sums in closed form (volume_bias.hpp).
// Work items: (window, head) where windows are many; otherwise keys are packed first, then (window, head, block of queries). Borders depend on the shape only.
#pragma once
#include <sampan/cpu/gemm.hpp>
#include <sampan/cpu/volume_bias.hpp>
#include <sampan/ops/attention.hpp>

namespace sampan::inline SAMPAN_ABI {
namespace cpu {

/// Scores and biases are in units of log2, so that softmax takes powers of two.
inline constexpr float kLog2E = 1.44269504f;
/// Queries of one tile at most: a whole window of 14 x 14, or parts of a global block.
inline constexpr Index kWindowQueries = 196, kGlobalQueries = 96;
/// Places of a window along one axis of a volume at most.
inline constexpr Index kMostLine = 64;
/// Floats that may be read behind a run of bias (AttendBlock).
inline constexpr Index kReadBeyond = 15;

/// Packed keys and values of one head: blocks of kKeyBlock at fixed distances.
struct HeadPanels {
  float* k;
  float* v;
  static Index k_step(const AttendProducts& level, Index d) { return (level.keys_size(kKeyBlock, d) + 15) / 16 * 16; }
  static Index v_step(const AttendProducts& level, Index d) { return (level.values_size(kKeyBlock, d) + 15) / 16 * 16; }
  static Index k_size(const AttendProducts& level, Index n, Index d) { return n <= kKeyBlock ? (level.keys_size(n, d) + 15) / 16 * 16 : blocks_of(n, kKeyBlock) * k_step(level, d); }
  static Index v_size(const AttendProducts& level, Index n, Index d) { return n <= kKeyBlock ? (level.values_size(n, d) + 15) / 16 * 16 : blocks_of(n, kKeyBlock) * v_step(level, d); }
  static Index size(const AttendProducts& level, Index n, Index d) { return k_size(level, n, d) + v_size(level, n, d); }
};

/// Position bias as the tiles read it, in units of log2.
struct BiasPanels {
  const float* rel_h = nullptr;  ///< packed weights [2 wh - 1, d], rows reversed
  const float* rel_w = nullptr;  ///< packed weights [2 ww - 1, d], rows reversed
  const float* rel_d = nullptr;  ///< of volumes: packed weights [2 wd - 1, d], rows reversed
  const float* table = nullptr;  ///< [heads, 2 wh - 1, 2 ww - 1], mirrored around dy = 0 and dx = 0
  const float* pairs = nullptr;  ///< [heads, wh ww, pairs_row]: the bias of every pair, for windows without pads; null: not worth it
  static Index pairs_row(Index keys) { return (keys + 15) / 16 * 16; }
  bool any() const { return rel_h || table; }
};

/// Floats that `pack_bias` writes, and the scratch it needs behind them.
struct BiasSize {
  Index rel_h = 0, rel_w = 0, table = 0, pairs = 0, rel_d = 0, scratch = 0;
  Index total() const { return rel_h + rel_w + table + pairs + rel_d + scratch; }
};
inline BiasSize bias_size(const Kernels& level, const AttendBias& b, Index ww) {
  auto up = [](Index n) { return (n + 15) / 16 * 16; };
  BiasSize s;
  if (!b.table.empty() && b.table.extent(1) <= kKeyBlock) s.pairs = up(b.table.extent(0) * b.table.extent(1) * BiasPanels::pairs_row(b.table.extent(1)));
  if (!b.table.empty()) s.table = up(b.table.extent(0) * (2 * (b.table.extent(1) / ww) - 1) * (2 * ww - 1) + kReadBeyond);
  if (b.rel_h.empty()) return s;
  const Index nh = b.rel_h.extent(0), nw = b.rel_w.extent(0), nd = b.rel_d.extent(0), d = b.rel_h.extent(1), most = nh > nw ? nh : nw;
  s.rel_h = up(level.weights_size(nh, d)), s.rel_w = up(level.weights_size(nw, d)), s.scratch = (most > nd ? most : nd) * d;
  if (nd > 0) s.rel_d = up(level.weights_size(nd, d));
  return s;
}
inline BiasPanels bias_panels(const BiasSize& s, const float* base) {
  BiasPanels p;
  if (s.rel_h) p.rel_h = base, p.rel_w = base + s.rel_h;
  if (s.table) p.table = base + s.rel_h + s.rel_w;
  if (s.pairs) p.pairs = base + s.rel_h + s.rel_w + s.table;
  if (s.rel_d) p.rel_d = base + s.rel_h + s.rel_w + s.table + s.pairs;
  return p;
}
/// `scale` is that of the scores: it stands in the queries already, so the rel-pos tables are divided by it.
inline void pack_bias(const Kernels& level, const AttendBias& b, Index ww, float scale, const BiasSize& s, float* out) {
  float* scratch = out + s.rel_h + s.rel_w + s.table + s.pairs + s.rel_d;
  auto reversed = [&](const View<const float, 2>& rel, float* to) {
    const Index n = rel.extent(0), d = rel.extent(1);
    for (Index i = 0; i < n; ++i)
      for (Index j = 0; j < d; ++j) scratch[i * d + j] = rel(n - 1 - i, j) / scale;
    level.pack_weights(scratch, d, false, n, d, to);
  };
  if (s.rel_h) reversed(b.rel_h, out), reversed(b.rel_w, out + s.rel_h);
  if (s.rel_d) reversed(b.rel_d, scratch - s.rel_d);
  if (s.table) {
    float* to = out + s.rel_h + s.rel_w;
    for (Index head = 0; head < b.table.extent(0); ++head)
      for (Index wh = b.table.extent(1) / ww, dy = 1 - wh; dy < wh; ++dy)
        for (Index dx = 1 - ww; dx < ww; ++dx) *to++ = b.table(head, (dy < 0 ? -dy : dy) * ww + (dx < 0 ? -dx : dx)) * kLog2E;
    for (Index i = 0; i < kReadBeyond; ++i) *to++ = 0;
  }
  if (s.pairs) {
    const Index keys = b.table.extent(1), wh = keys / ww, row = BiasPanels::pairs_row(keys);
    float* to = out + s.rel_h + s.rel_w + s.table;
    for (Index head = 0; head < b.table.extent(0); ++head)
      for (Index q = 0; q < keys; ++q, to += row) {
        for (Index ky = 0; ky < wh; ++ky) {
          const float* from = out + s.rel_h + s.rel_w + (head * (2 * wh - 1) + wh - 1 - q / ww + ky) * (2 * ww - 1) + ww - 1 - q % ww;
          std::memcpy(to + ky * ww, from, std::size_t(ww) * sizeof(float));
        }
        for (Index i = keys; i < row; ++i) to[i] = 0;
      }
  }
}

/// One window of the grid: its real tokens, and the places in it that no token fills.
struct Window {
  Index z, y, x, planes, rows, cols;  ///< first token and real extents; rows of one plane
  Index wd, wh, ww;                   ///< full extents
  Index grid_h, grid_w;
  Index tokens() const { return planes * rows * cols; }
  Index pads() const { return wd * wh * ww - tokens(); }
  /// Of the grid: the token in row `ky` (through all planes) and column `kx` of the window.
  Index token(Index ky, Index kx) const { return ((z + ky / rows) * grid_h + y + ky % rows) * grid_w + x + kx; }

  /// f(ky, kx, at, n): runs of neighbours among real tokens [first, first + count), ky through all planes; `at` counts from 0.
  template <class F>
  void runs(Index first, Index count, F&& f) const {
    for (Index at = 0; at < count;) {
      const Index j = first + at, kx = j % cols, n = smaller(cols - kx, count - at);
      f(j / cols, kx, at, n);
      at += n;
    }
  }
  /// The same for the empty places of a map's window: right of the real rows, then the rows below.
  template <class F>
  void pad_runs(Index first, Index count, F&& f) const {
    const Index side = ww - cols, right = rows * side;
    for (Index at = 0; at < count;) {
      const Index j = first + at;
      const bool beside = j < right;
      const Index ky = beside ? j / side : rows + (j - right) / ww, kx = beside ? cols + j % side : (j - right) % ww;
      const Index n = smaller(ww - kx, count - at);
      f(ky, kx, at, n);
      at += n;
    }
  }
};

/// Everything the work items share.
struct AttendJob {
  const Kernels& level;
  AttendProducts products;
  Products rows;    ///< 16-bit precisions pack the queries as rows of a product; in f32 they stay as they are
  bool pack_queries;
  Index query_row;  ///< floats from one query to the next
  AttendShape s;
  QkvView qkv;
  View<float, 3> out;
  BiasPanels bias;
  const float* minus_pad_k = nullptr;  ///< [heads, d]; null: pads are zero already
  const float* minus_pad_v = nullptr;
  const float* plus_pad_v = nullptr;  ///< added back to the mixed values
  const float* pad_q = nullptr;       ///< [heads, d], of volumes with position bias; null: zeros
  Index wd, wh, ww, down, across, windows, most_keys, tile_rows;
  float* panels = nullptr;  ///< of all heads, if the keys stand in them already

  AttendJob(const Kernels& k, Precision precision, const AttendShape& shape, const QkvView& in, const View<float, 3>& to)
      : level(k), products(attend_products(k, precision)), rows(cpu::products(k, precision)), pack_queries(precision != Precision::f32),
        query_row(pack_queries ? rows.rows_size(2, shape.d) - rows.rows_size(1, shape.d) : shape.d), s(shape), qkv(in), out(to),
        wd(s.window_d()), wh(s.window_h()), ww(s.window_w()), down(windows_along(s.h, wh)), across(windows_along(s.w, ww)),
        windows(windows_along(s.depth(), wd) * down * across), most_keys(smaller(wd, s.depth()) * smaller(wh, s.h) * smaller(ww, s.w)), tile_rows(most_keys <= kWindowQueries ? most_keys : kGlobalQueries) {}
  bool volume() const { return s.planes > 0; }
  Index most_cols() const { return smaller(ww, s.w); }
  /// Floats from the bias of one query of a volume to that of the next.
  Index table_row() const { return BiasPanels::pairs_row(most_keys); }
  Window window(Index i) const {
    const Index z = i / (down * across) * wd, y = i / across % down * wh, x = i % across * ww;
    return {z, y, x, smaller(wd, s.depth() - z), smaller(wh, s.h - y), smaller(ww, s.w - x), wd, wh, ww, s.h, s.w};
  }
  /// Enough windows and heads to fill the threads, and keys that fit a core's cache.
  bool by_window() const { return by_window(windows, s.heads, most_keys); }
  static bool by_window(Index windows, Index heads, Index keys) { return windows * heads >= 64 && keys <= 1024; }
};

/// 16-bit attention pays where products outweigh packing: measured 1.2 to 1.5 times as fast for heads of 64 and windows of 14 or more, a loss for TinyViT's 32 and 7 x 7.
inline Precision attend_precision(Precision p, const AttendShape& s) {
  const Index keys = smaller(s.window_d(), s.depth()) * smaller(s.window_h(), s.h) * smaller(s.window_w(), s.w);
  return s.d >= 48 && keys >= 128 ? p : Precision::f32;
}

/// Scratch of one thread of an AttendJob.
struct AttendScratch {
  float *q, *out, *top, *sum, *scores, *rel_h, *rel_w, *rel_d, *lines, *base, *table, *packed, *gemm;
  AttendScratch(Carver& c, const AttendJob& job) {
    const Index m = job.tile_rows, d = job.s.d;
    const bool rel = job.bias.rel_h != nullptr, volume = job.bias.rel_d != nullptr;
    const Index queries = volume ? m + 2 * job.most_cols() + 1 : m;  // of whole lines, and a missing token's
    q = c.take(m * d), out = c.take(m * d), top = c.take(m), sum = c.take(m);
    scores = c.take(kScoreRows * kScoreRow);
    rel_h = c.take(rel ? queries * (2 * job.wh - 1) : 0);
    rel_w = c.take(rel ? queries * (2 * job.ww - 1) + kReadBeyond : 0);
    rel_d = c.take(volume ? m * (2 * job.wd - 1) : 0);
    lines = c.take(volume ? queries * d : 0);
    base = c.take(volume ? job.most_keys : 0);
    table = c.take(volume ? m * job.table_row() : 0);
    const Index float_rows = rel ? job.level.rows_size(queries, d) : 0, pair_rows = job.pack_queries ? job.rows.rows_size(m, d) : 0;
    packed = c.take(float_rows > pair_rows ? float_rows : pair_rows);
    gemm = c.take(rel ? job.level.gemm_scratch(queries) : 0);
  }
};

/// Packs block b of a window's keys and values.
inline void pack_keys(const AttendJob& job, const Window& win, Index head, Index b, const HeadPanels& to) {
  const Index d = job.s.d, first = b * kKeyBlock, count = smaller(kKeyBlock, win.tokens() - first);
  const float* rows[kKeyBlock];
  auto collect = [&](const View<const float, 3>& from) {
    win.runs(first, count, [&](Index ky, Index kx, Index at, Index n) {
      const float* row = from.data() + win.token(ky, kx) * from.stride(0) + head * from.stride(1);
      for (Index i = 0; i < n; ++i, row += from.stride(0)) rows[at + i] = row;
    });
  };
  if (!job.panels) {
    collect(job.qkv.k);
    job.products.pack_keys({rows, count, d, job.minus_pad_k ? job.minus_pad_k + head * d : nullptr}, to.k + b * HeadPanels::k_step(job.products, d));
  }
  collect(job.qkv.v);
  job.products.pack_values({rows, count, d, job.minus_pad_v ? job.minus_pad_v + head * d : nullptr}, to.v + b * HeadPanels::v_step(job.products, d));
}

/// Position bias of a tile of queries in a volume (ops/attend.hpp): t.table [m, table_row] gets that of every key, t.top and t.sum the pads' share (cpu/volume_bias.hpp).
/// The products of whole lines of queries with rel_h and rel_w are needed, and those of a missing token: they stand behind the lines' own.
inline void bias_of_volume(const AttendJob& job, const Window& win, Index head, Index first, Index m, const AttendScratch& t) {
  const Kernels& level = job.level;
  const auto& q = job.qkv.q;
  const Index d = job.s.d, n = job.ww, width = 2 * n - 1, cols = win.cols, rows = win.planes * win.rows;
  const Index first_line = first / cols, lines = (first + m + cols - 1) / cols - first_line, count = lines * cols;
  level.pack_rows({t.q, d, m, d, t.packed});
  level.gemm({t.packed, job.bias.rel_d, m, width, d, 0, width, t.rel_d, width, t.gemm});
  const float* from[kWindowQueries + 2 * kMostLine];
  win.runs(first_line * cols, count, [&](Index y, Index x, Index at, Index run) {
    const float* row = q.data() + win.token(y, x) * q.stride(0) + head * q.stride(1);
    for (Index i = 0; i < run; ++i) from[at + i] = row + i * q.stride(0);
  });
  const float scale = job.s.scale * kLog2E;
  level.gather_rows({from, count, d, nullptr}, scale, t.lines);
  for (Index i = 0; i < d; ++i) t.lines[count * d + i] = job.pad_q ? job.pad_q[head * d + i] * scale : 0.0f;
  level.pack_rows({t.lines, d, count + 1, d, t.packed});
  level.gemm({t.packed, job.bias.rel_h, count + 1, width, d, 0, width, t.rel_h, width, t.gemm});
  level.gemm({t.packed, job.bias.rel_w, count + 1, width, d, 0, width, t.rel_w, width, t.gemm});
  for (Index line = 0; line < lines; ++line) {
    const Index z = (first_line + line) / win.rows, y = (first_line + line) % win.rows;
    const float *by_plane[kMostLine], *by_row[kMostLine];  // of the keys' planes and rows, each over the keys' columns
    for (Index i = 0; i < n; ++i) {
      const Index query = i < cols ? line * cols + i : count;
      by_plane[i] = t.rel_h + query * width + n - 1 - y;
      by_row[i] = t.rel_w + query * width + n - 1 - i;
    }
    float* base = t.base;
    for (Index row = 0; row < rows; ++row)
      for (Index x = 0; x < cols; ++x) *base++ = by_plane[row / win.rows][x] + by_row[row % win.rows][x];
    PowerSum pads[kMostLine];
    if (win.pads() > 0) line_pads({by_plane, win.planes, n}, {by_row, win.rows, n}, cols, pads);
    const Index begin = (first_line + line) * cols - first, from_query = begin < 0 ? 0 : begin, end = smaller(m, begin + cols);
    for (Index i = from_query; i < end; ++i) {
      const float* own = t.rel_d + i * width + n - 1 - z;
      float* to = t.table + i * job.table_row();
      for (Index row = 0; row < rows; ++row)
        for (Index x = 0; x < cols; ++x) to[row * cols + x] = t.base[row * cols + x] + own[x];
      for (Index j = rows * cols; j < job.table_row(); ++j) to[j] = 0;
      if (win.pads() == 0) continue;
      const PowerSum share = query_pads(pads, own, n);
      t.top[i] = share.top, t.sum[i] = share.sum;
    }
  }
}

/// Queries [first, first + m) of a window against all its keys.
inline void attend_queries(const AttendJob& job, const Window& win, Index head, Index first, Index m, const AttendScratch& t, const HeadPanels& keys) {
  const Kernels& level = job.level;
  const auto& q = job.qkv.q;
  const Index d = job.s.d, nh = 2 * job.wh - 1, nw = 2 * job.ww - 1, tokens = win.tokens();
  const float* from[kWindowQueries];
  win.runs(first, m, [&](Index y, Index x, Index at, Index n) {
    const float* row = q.data() + win.token(y, x) * q.stride(0) + head * q.stride(1);
    for (Index i = 0; i < n; ++i) from[at + i] = row + i * q.stride(0);
  });
  level.gather_rows({from, m, d, nullptr}, job.s.scale * kLog2E, t.q);
  for (Index i = 0; i < m; ++i) t.top[i] = -3.402823466e38f, t.sum[i] = 0;
  const bool volume = job.bias.rel_d != nullptr;
  if (volume) {
    bias_of_volume(job, win, head, first, m, t);
  } else if (job.bias.rel_h) {
    level.pack_rows({t.q, d, m, d, t.packed});
    level.gemm({t.packed, job.bias.rel_h, m, nh, d, 0, nh, t.rel_h, nh, t.gemm});
    level.gemm({t.packed, job.bias.rel_w, m, nw, d, 0, nw, t.rel_w, nw, t.gemm});
  }
  if (job.pack_queries) job.rows.pack_rows({t.q, d, m, d, t.packed});
  // Each query reads contiguous slices: of its own products with the tables, or of the mirrored bias table.
  const float *slice_h[kWindowQueries], *slice_w[kWindowQueries];
  win.runs(first, m, [&](Index y, Index x, Index at, Index n) {
    for (Index i = at; i < at + n; ++i, ++x) {
      if (volume) {
        slice_w[i] = slice_h[i] = nullptr;  // every pair has its bias
      } else if (job.bias.rel_h) {
        slice_h[i] = t.rel_h + i * nh + job.wh - 1 - y;
        slice_w[i] = t.rel_w + i * nw + job.ww - 1 - x;
      } else if (job.bias.table) {
        slice_w[i] = job.bias.table + (head * nh + job.wh - 1 - y) * nw + job.ww - 1 - x;
      }
    }
  });
  for (Index i = 0; job.volume() && !volume && win.pads() > 0 && i < m; ++i) t.top[i] = 0, t.sum[i] = float(win.pads());  // pads without bias: scores of zero
  BiasRun runs[kKeyBlock];
  AttendBlock block{job.pack_queries ? t.packed : t.q, job.query_row, m, d, nullptr, nullptr, 0, runs, 0, job.bias.rel_h ? slice_h : nullptr, job.bias.any() ? slice_w : nullptr, job.bias.rel_h ? 0 : nw, nullptr, 0, true, t.out, t.top, t.sum, t.scores};
  auto note = [&](Index ky, Index kx, Index at, Index n) { runs[block.run_count++] = {ky, kx, at, n}; };
  for (Index p = 0; !job.volume() && p < win.pads(); p += kKeyBlock) {
    block.n = smaller(kKeyBlock, win.pads() - p), block.run_count = 0;
    win.pad_runs(p, block.n, note);
    level.attend_pads(block);
  }
  if (job.bias.pairs && win.pads() == 0) block.table_row = BiasPanels::pairs_row(tokens), block.table = job.bias.pairs + (head * tokens + first) * block.table_row;
  for (Index b = 0; b * kKeyBlock < tokens; ++b) {
    block.n = smaller(kKeyBlock, tokens - b * kKeyBlock), block.run_count = 0;
    win.runs(b * kKeyBlock, block.n, note);
    block.k = keys.k + b * HeadPanels::k_step(job.products, d), block.v = keys.v + b * HeadPanels::v_step(job.products, d);
    if (volume) block.table_row = job.table_row(), block.table = t.table + b * kKeyBlock;
    job.products.attend(block);
    block.first = false;
  }
  float* to[kWindowQueries];
  win.runs(first, m, [&](Index y, Index x, Index at, Index n) {
    float* row = job.out.data() + win.token(y, x) * job.out.stride(0) + head * job.out.stride(1);
    for (Index i = 0; i < n; ++i) to[at + i] = row + i * job.out.stride(0);
  });
  level.attend_finish(block, job.plus_pad_v ? job.plus_pad_v + head * d : nullptr, to);
}

/// Takes the scratch of a checked job, then runs it unless this is a plan. `prepare` fills what the job points to, before the first item.
template <class F>
void run_attend(Context<Cpu>& ctx, AttendJob& job, F&& prepare) {
  const Index d = job.s.d, heads = job.s.heads, k_size = HeadPanels::k_size(job.products, job.most_keys, d), size = HeadPanels::size(job.products, job.most_keys, d);
  const bool by_window = job.by_window();
  Carver sizes;
  AttendScratch(sizes, job);
  auto scope = ctx.arena.scope();
  const Slots slots(scope, ctx.pool, sizes.used() + (by_window ? size : 0));
  float* all = job.panels ? job.panels : scope.template make<float>(by_window ? Index(0) : job.windows * heads * size).data();
  if (!ctx.begin(detail::attend_cost(job.s))) return;
  prepare();
  if (by_window) {
    ctx.pool.parallel_for(job.windows * heads, [&](Index item, int slot) {
      const Window win = job.window(item / heads);
      const Index head = item % heads, tokens = win.tokens();
      Carver carve(slots[slot]);
      const AttendScratch scratch(carve, job);
      float* k = carve.take(size);
      const HeadPanels keys{k, k + k_size};
      for (Index b = 0; b < blocks_of(tokens, kKeyBlock); ++b) pack_keys(job, win, head, b, keys);
      for (Index i = 0; i < tokens; i += job.tile_rows) attend_queries(job, win, head, i, smaller(job.tile_rows, tokens - i), scratch, keys);
    });
    return;
  }
  auto panels = [&](Index pair) { return HeadPanels{all + pair * size, all + pair * size + k_size}; };
  const Index key_blocks = blocks_of(job.most_keys, kKeyBlock), query_blocks = blocks_of(job.most_keys, job.tile_rows);
  ctx.pool.parallel_for(job.windows * heads * key_blocks, [&](Index item, int) {
    const Index pair = item / key_blocks, b = item % key_blocks;
    const Window win = job.window(pair / heads);
    if (b * kKeyBlock >= win.tokens()) return;
    pack_keys(job, win, pair % heads, b, panels(pair));
  });
  ctx.pool.parallel_for(job.windows * heads * query_blocks, [&](Index item, int slot) {
    const Index pair = item / query_blocks, first = item % query_blocks * job.tile_rows;
    const Window win = job.window(pair / heads);
    if (first >= win.tokens()) return;
    Carver carve(slots[slot]);
    attend_queries(job, win, pair % heads, first, smaller(job.tile_rows, win.tokens() - first), AttendScratch(carve, job), panels(pair));
  });
}

inline bool check_attend_layout(Context<Cpu>& ctx, const QkvView& qkv, const View<float, 3>& out) {
  return ctx.require(packed_channels(qkv.q) && packed_channels(qkv.k) && packed_channels(qkv.v) && packed_channels(out), "attend: the elements of a head must lie side by side");
}

inline bool check_line(Context<Cpu>& ctx, const AttendShape& s, const AttendBias& bias) {
  return ctx.require(bias.rel_d.empty() || s.window_w() <= kMostLine, "attend: windows of volumes with relative positions have at most 64 tokens along an axis");
}

/// attend in any precision of the level.
inline void attend_in(Context<Cpu>& ctx, Precision precision, const AttendShape& s, const QkvView& qkv, const AttendBias& bias, const PadToken& pad, const View<float, 3>& out) {
  if (!detail::check_attend(ctx, s, qkv, bias, pad, out) || !check_attend_layout(ctx, qkv, out)) return;
  AttendJob job(ctx.backend.kernels(), precision, s, qkv, out);
  if (!check_line(ctx, s, bias)) return;
  const bool shifted = !pad.k.empty() && (s.depth() % job.wd != 0 || s.h % job.wh != 0 || s.w % job.ww != 0);  // without missing tokens nobody sees the pad
  const BiasSize size = bias_size(job.level, bias, job.ww);
  auto scope = ctx.arena.scope();
  float* panels = scope.make<float>(size.total()).data();
  const Index c = s.heads * s.d;
  float* minus = scope.make<float>(shifted ? 3 * c : Index(0)).data();
  float* pad_q = scope.make<float>(pad.q.empty() ? Index(0) : c).data();
  if (!pad.q.empty()) job.pad_q = pad_q;
  job.bias = bias_panels(size, panels);
  if (shifted) job.minus_pad_k = minus, job.minus_pad_v = minus + c, job.plus_pad_v = minus + 2 * c;
  run_attend(ctx, job, [&] {
    pack_bias(job.level, bias, job.ww, s.scale, size, panels);
    for (Index i = 0; !pad.q.empty() && i < c; ++i) pad_q[i] = pad.q(i / s.d, i % s.d);
    for (Index i = 0; shifted && i < c; ++i) {
      minus[i] = -pad.k(i / s.d, i % s.d);
      minus[c + i] = -pad.v(i / s.d, i % s.d);
      minus[2 * c + i] = pad.v(i / s.d, i % s.d);
    }
  });
}

}  // namespace cpu

/// As ops/attend.hpp says, for any pad token.
inline void attend(Context<Cpu>& ctx, const AttendShape& s, const QkvView& qkv, const AttendBias& bias, const PadToken& pad, const View<float, 3>& out) {
  cpu::attend_in(ctx, Precision::f32, s, qkv, bias, pad, out);
}

}  // namespace sampan::inline SAMPAN_ABI
