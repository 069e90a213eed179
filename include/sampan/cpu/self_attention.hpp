// attention on Cpu, the whole layer: norm, qkv, attend, proj, residual.
// Data flow: ops/attention.hpp declares -> here -> attention.hpp (attend), gemm.hpp.
// Windows of few tokens (TinyViT's) go one by one through the whole layer: their rows of qkv, 0.1 to 0.5 MB, never leave the L2 of their core, where a layer at a time
// would write and read 3 c floats per token behind it. Larger windows and global layers take the products over the whole map.
// Work items: groups of windows with about kRowBlock tokens. Borders depend on the shape only; every token's arithmetic is the same either way.
#pragma once
#include <sampan/cpu/attention.hpp>

namespace sampan::inline SAMPAN_ABI {

template <>
struct PackedAttention<Cpu> {
  PackedLinear<Cpu> qkv, proj;      // biases folded: pads are zero
  Tensor<float, 2, Cpu> shift;      // [1, 3c]: what the fold took from qkv's output; the trace adds it back
  Tensor<float, 1, Cpu> rel;        // panels of the rel-pos tables, and of the table where the window is known
  cpu::BiasSize rel_size;
  View<float, 2>::Extents rel_h{}, rel_w{}, rel_d{};  // shapes of the tables, to check a grid against
  Tensor<float, 2, Cpu> table;
  Tensor<float, 1, Cpu> pad_q;  // [c] of volumes: the query of a missing token
  Index heads = 0, window = 0, planes = 0;
  QkvLayout layout = QkvLayout::split;
  std::string name;
  bool valid() const { return qkv.valid() && proj.valid() && shift.valid() && rel.valid() && table.valid() && pad_q.valid() && !qkv.bias.empty() && !proj.bias.empty(); }
};

/// Folds the pad token: qkv gives k - pad.k and v - pad.v, and proj's bias takes W_proj pad.v.
inline PackedAttention<Cpu> pack(const Cpu& b, const AttentionParams& p) {
  const Index c3 = p.qkv.weight.extent(0), c = c3 / 3;
  PackedAttention<Cpu> w;
  w.heads = p.heads, w.window = p.window, w.planes = p.planes, w.layout = p.layout, w.name = p.name;
  w.rel_h = p.rel_pos_h.extents(), w.rel_w = p.rel_pos_w.extents(), w.rel_d = p.rel_pos_d.extents();
  w.table = Tensor<float, 2, Cpu>::copy_of(p.bias_table);
  w.qkv = pack(b, p.qkv, p.norm);
  w.proj = pack(b, p.proj);
  w.shift = Tensor<float, 2, Cpu>({1, c3});
  w.qkv.bias = Tensor<float, 1, Cpu>({c3});
  w.proj.bias = Tensor<float, 1, Cpu>({p.proj.weight.extent(0)});
  w.pad_q = Tensor<float, 1, Cpu>({p.rel_pos_d.empty() ? 0 : c});
  const bool fixed = p.window > 0 && p.bias_table.extent(1) == p.window * p.window;  // else the table's panels depend on the map
  const AttendBias rel{p.rel_pos_h, p.rel_pos_w, fixed ? p.bias_table : View<const float, 2>(), p.rel_pos_d};
  const Index ww = fixed ? p.window : 1;
  w.rel_size = cpu::bias_size(b.kernels(), rel, ww);
  w.rel = Tensor<float, 1, Cpu>({w.rel_size.total()});
  if (!w.valid() || p.heads <= 0 || c3 % (3 * p.heads) != 0) return w;  // attention() refuses the widths
  cpu::pack_bias(b.kernels(), rel, ww, 1.0f / std::sqrt(float(c / p.heads)), w.rel_size, w.rel.view().data());

  auto shift = w.shift.view();
  detail::pad_row(p, shift);
  const QkvView pad = detail::split_qkv(View<const float, 2>(shift), p.heads, p.layout);
  const Index d = c / p.heads;
  for (Index i = 0; i < w.pad_q.view().extent(0); ++i) w.pad_q.view()(i) = pad.q(0, i / d, i % d);
  for (Index h = 0; h < p.heads; ++h)
    for (Index i = 0; i < d; ++i) shift(0, pad.q.data() - shift.data() + h * pad.q.stride(1) + i) = 0;  // queries stay as they are
  auto bias = w.qkv.bias.view();
  for (Index o = 0; o < c3; ++o) bias(o) = (p.qkv.bias.empty() ? 0.0f : p.qkv.bias(o)) - shift(0, o);
  for (Index o = 0; o < p.proj.weight.extent(0); ++o) {
    double sum = p.proj.bias.empty() ? 0.0 : double(p.proj.bias(o));
    for (Index i = 0; i < c && i < p.proj.weight.extent(1); ++i) sum += double(p.proj.weight(o, i)) * double(pad.v(0, i / d, i % d));
    w.proj.bias.view()(o) = float(sum);
  }
  return w;
}

namespace cpu {
/// The keys of a global layer in f32 go from the product straight into the panels of attention: K is neither written as rows nor read again (4 c bytes per token less).
inline bool keys_from_product(const Kernels& level, const PackedAttention<Cpu>& w, const AttendShape& s, Precision precision) {
  return level.keys_from_products && s.window == 0 && !AttendJob::by_window(1, s.heads, s.tokens()) && precision == Precision::f32 && w.qkv.weight.precision == Precision::f32 && w.layout == QkvLayout::split;
}

/// q and v of x as rows [n, 2c], k in panels; their columns beyond the last key are zero.
inline void qkv_with_panels(Context<Cpu>& ctx, const PackedAttention<Cpu>& w, const View<const float, 2>& x, const View<float, 2>& qv, const AttendShape& s, const AttendProducts& level, float* panels) {
  const Index n = x.extent(0), c = s.heads * s.d, k_step = HeadPanels::k_step(level, s.d), head_step = HeadPanels::size(level, n, s.d);
  const KeyColumns keys{c, 2 * c, s.d, n, panels, head_step, k_step};
  tap_norm(ctx, w.qkv.norm, x);
  const Index last = n % kKeyBlock, at = n / kKeyBlock * k_step;
  for (Index h = 0; ctx.ok() && !ctx.planning() && last > 0 && h < s.heads; ++h) std::memset(panels + h * head_step + at, 0, std::size_t(level.keys_size(last, s.d)) * sizeof(float));
  multiply(ctx, w.qkv, x, qv, {}, &keys);
}
}  // namespace cpu

namespace cpu {

/// Floats of a group of windows that stay in a core's L2 with their rows of x, qkv and mixed values.
inline constexpr Index kWindowFloats = 192 * 1024;

/// The whole layer, window by window; plain maps only.
struct WindowLayer {
  const Kernels& level;
  const PackedAttention<Cpu>& w;
  Products qkv, proj;
  AttendJob job;  ///< without qkv and out: each window has its own
  Precision precision;
  View<const float, 3> x, residual;
  View<float, 3> y;
  Index c, inner, d, group, most;  ///< channels of x and y, of q; windows of an item, and their tokens at most

  WindowLayer(const Kernels& kernels, const PackedAttention<Cpu>& weights, const AttendShape& s, Precision of_attend, const View<const float, 3>& from, const View<const float, 3>& plus, const View<float, 3>& to)
      : level(kernels), w(weights), qkv(products(kernels, weights.qkv.weight.precision)), proj(products(kernels, weights.proj.weight.precision)), job(kernels, of_attend, s, {}, {}), precision(of_attend), x(from), residual(plus), y(to),
        c(from.extent(2)), inner(s.heads * s.d), d(s.d), group(smaller((kRowBlock + job.most_keys / 2) / job.most_keys, job.windows / kFewest)), most(0) {
    if (group < 1) group = 1;
    most = group * job.most_keys;
  }
  static constexpr Index kFewest = 8;  ///< items for several threads
  bool fits() const { return job.s.window > 0 && !job.volume() && job.windows >= kFewest && most * (c + 4 * inner) <= kWindowFloats; }
  Index items() const { return blocks_of(job.windows, group); }

  struct Scratch {
    float *rows, *qkv, *mixed, *packed, *gemm, *keys, *attend;
    Index used;
    Scratch(float* base, const WindowLayer& l) {
      Carver a(base);
      const Index p = l.qkv.rows_size(l.most, l.c), q = l.proj.rows_size(l.most, l.inner), g = l.qkv.gemm_scratch(l.most), h = l.proj.gemm_scratch(l.most);
      rows = a.take(l.most * l.c), qkv = a.take(3 * l.most * l.inner), mixed = a.take(l.most * l.inner);
      packed = a.take(p > q ? p : q), gemm = a.take(g > h ? g : h);
      keys = a.take(HeadPanels::size(l.job.products, l.job.most_keys, l.d));
      Carver sizes;
      AttendScratch(sizes, l.job);
      attend = a.take(sizes.used());
      used = a.used();
    }
  };

  /// f(run in the map, run in the rows of the item, floats) for what lies side by side, token by token where pixels of the map do not.
  template <class M, class F>
  void runs(Index first, Index last, const M& map, F&& f) const {
    Index at = 0;
    for (Index i = first; i < last; ++i) {
      const Window win = job.window(i);
      const bool joined = map.stride(1) == c;
      for (Index line = 0; line < win.rows; ++line) {
        auto* from = map.data() + win.token(line, 0) * map.stride(1);
        for (Index t = 0; t < (joined ? 1 : win.cols); ++t) f(from + t * map.stride(1), (at + t) * c, std::size_t((joined ? win.cols : 1) * c) * sizeof(float));
        at += win.cols;
      }
    }
  }

  void product(const Products& level_of, const PackedLinear<Cpu>& layer, const float* from, Index m, float* to, const float* plus, const Scratch& s) const {
    const Index n = layer.out_features();
    pack_block(level_of, layer, from, layer.in_features(), m, s.packed);
    Gemm g{s.packed, layer.weight.get(), m, n, layer.in_features(), 0, n, to, n, s.gemm};
    g.bias = layer.bias_at(0);
    g.residual = plus, g.ldr = n;
    level_of.gemm(g);
  }

  void run(Index item, float* scratch) const {
    const Scratch s(scratch, *this);
    const Index first = item * group, last = smaller(first + group, job.windows);
    Index m = 0;
    for (Index i = first; i < last; ++i) m += job.window(i).tokens();
    runs(first, last, x, [&](const float* map, Index at, std::size_t bytes) { std::memcpy(s.rows + at, map, bytes); });
    product(qkv, w.qkv, s.rows, m, s.qkv, nullptr, s);
    for (Index i = first, at = 0; i < last; ++i) {
      const Window in_map = job.window(i);
      AttendShape shape = job.s;  // this window alone
      shape.h = in_map.rows, shape.w = in_map.cols;
      const Index tokens = in_map.tokens();
      AttendJob one(level, precision, shape, detail::split_qkv(View<const float, 2>(s.qkv + at * 3 * inner, {tokens, 3 * inner}), shape.heads, w.layout), View<float, 3>(s.mixed + at * inner, {tokens, shape.heads, d}));
      one.bias = job.bias;
      const Window win = one.window(0);
      Carver carve(s.attend);
      const AttendScratch t(carve, job);
      const HeadPanels keys{s.keys, s.keys + HeadPanels::k_size(job.products, job.most_keys, d)};
      for (Index head = 0; head < shape.heads; ++head) {
        for (Index b = 0; b < blocks_of(tokens, kKeyBlock); ++b) pack_keys(one, win, head, b, keys);
        for (Index q = 0; q < tokens; q += one.tile_rows) attend_queries(one, win, head, q, smaller(one.tile_rows, tokens - q), t, keys);
      }
      at += tokens;
    }
    if (!residual.empty() && residual.data() != x.data()) runs(first, last, residual, [&](const float* map, Index at, std::size_t bytes) { std::memcpy(s.rows + at, map, bytes); });
    product(proj, w.proj, s.mixed, m, s.rows, residual.empty() ? nullptr : s.rows, s);
    runs(first, last, y, [&](float* map, Index at, std::size_t bytes) { std::memcpy(map, s.rows + at, bytes); });
  }
};

inline bool attention_traced(const Context<Cpu>& ctx, const PackedAttention<Cpu>& w) { return ctx.traced(w.qkv.name) || ctx.traced(w.proj.name) || ctx.traced(w.qkv.norm.name); }

/// The table that is left to expand for a map.
inline AttendBias table_of_map(const PackedAttention<Cpu>& w) { return {{}, {}, w.rel_size.table ? View<const float, 2>() : View<const float, 2>(w.table.view()), {}}; }
/// `job` gets the layer's panels, and those of the table that `mirrored` has room for.
inline void use_bias(const PackedAttention<Cpu>& w, const BiasSize& size, const float* mirrored, AttendJob& job) {
  job.bias = bias_panels(w.rel_size, w.rel.view().data());
  const BiasPanels tables = bias_panels(size, mirrored);
  if (size.table) job.bias.table = tables.table, job.bias.pairs = tables.pairs;
}

/// The layer by windows, if it may: false leaves it to the products over the whole map.
inline bool attention_by_windows(Context<Cpu>& ctx, const PackedAttention<Cpu>& w, const View<const float, 3>& x, const View<float, 3>& y, const View<const float, 3>& residual, const AttendShape& s, Precision precision) {
  if (attention_traced(ctx, w) || !packed_channels(x) || !packed_channels(y) || !packed_channels(residual)) return false;
  if (w.qkv.in_features() != x.extent(2) || w.proj.in_features() != s.heads * s.d || w.proj.out_features() != y.extent(2)) return false;  // linear() says so
  if (!residual.empty() && residual.data() == x.data() && residual.stride(1) != x.stride(1)) return false;
  WindowLayer layer(ctx.backend.kernels(), w, s, precision, x, residual, y);
  if (!layer.fits()) return false;
  auto scope = ctx.arena.scope();
  const AttendBias table = table_of_map(w);
  const BiasSize size = bias_size(layer.level, table, layer.job.ww);
  float* mirrored = scope.make<float>(size.total()).data();
  use_bias(w, size, mirrored, layer.job);
  const Slots slots(scope, ctx.pool, WindowLayer::Scratch(nullptr, layer).used);
  const Index n = s.h * s.w;
  const Cost a = detail::gemm_cost(n, w.qkv.out_features(), w.qkv.in_features()), b = detail::attend_cost(s), c = detail::gemm_cost(n, w.proj.out_features(), w.proj.in_features());
  const double norm = w.qkv.norm.present() ? 8.0 * double(x.size()) : 0;
  if (!ctx.begin({a.flop + b.flop + c.flop + norm, 8.0 * double(x.size()) + 4.0 * double(w.qkv.weight.data.view().size() + w.proj.weight.data.view().size())})) return true;
  pack_bias(layer.level, table, layer.job.ww, s.scale, size, mirrored);
  ctx.pool.parallel_for(layer.items(), [&](Index item, int slot) { layer.run(item, slots[slot]); });
  return true;
}
}  // namespace cpu

/// As ops/attention.hpp says.
inline void attention(Context<Cpu>& ctx, const PackedAttention<Cpu>& w, const View<const float, 3>& x, const View<float, 3>& y, const View<const float, 3>& residual = {}) {
  if (!detail::check_attention(ctx, w, x, y, residual)) return;
  if (!ctx.require(cpu::packed_rows(x) && cpu::packed_rows(y) && (residual.empty() || cpu::packed_rows(residual)), "attention: rows of the map must follow one another")) return;
  if (detail::attention_unfused(ctx, w, x, y, residual)) return;
  const Index n = x.extent(0) * x.extent(1), c3 = w.qkv.out_features(), c = c3 / 3, d = c / w.heads;
  const AttendShape s = detail::attend_shape(w, x);
  const Precision precision = cpu::attend_precision(w.qkv.weight.precision, s);
  const View<const float, 3> shapes(nullptr, {n, w.heads, d});
  if (!detail::check_attend(ctx, s, {shapes, shapes, shapes}, {{nullptr, w.rel_h}, {nullptr, w.rel_w}, w.table.view(), {nullptr, w.rel_d}}, {}, View<float, 3>(nullptr, {n, w.heads, d}))) return;
  if (cpu::attention_by_windows(ctx, w, x, y, residual, s, precision)) {
    if (residual.empty()) ctx.tap_rows(w.name, tokens(View<const float, 3>(y)));
    return;
  }
  const bool direct = cpu::keys_from_product(ctx.backend.kernels(), w, s, precision) && !ctx.traced(w.qkv.name);
  const cpu::AttendProducts products = cpu::attend_products(ctx.backend.kernels(), precision);
  auto scope = ctx.arena.scope();
  auto qkv = scope.make<float>(n, direct ? 2 * c : c3);
  auto mixed = scope.make<float>(n, c);
  float* panels = direct ? scope.make<float>(w.heads * cpu::HeadPanels::size(products, n, d)).data() : nullptr;
  if (direct) {
    cpu::qkv_with_panels(ctx, w, tokens(x), qkv, s, products, panels);
  } else if (ctx.traced(w.qkv.name)) {  // PyTorch's qkv has its biases
    cpu::tap_norm(ctx, w.qkv.norm, tokens(x));
    {
      TraceOff off(ctx);
      linear(ctx, w.qkv, tokens(x), qkv);
    }
    auto inner = ctx.arena.scope();
    auto plain = inner.make<float>(n, c3);
    add(ctx, qkv, w.shift.view(), plain);
    ctx.tap_rows(w.qkv.name, plain);
  } else {
    linear(ctx, w.qkv, tokens(x), qkv);
  }
  QkvView in;
  if (direct) {
    auto at = [&](Index column) { return View<const float, 3>(qkv.data() + column, {n, w.heads, d}, {qkv.stride(0), d, 1}); };
    in = {at(0), at(0), at(c)};  // k is not read
  } else {
    in = detail::split_qkv(View<const float, 2>(qkv), w.heads, w.layout);
  }
  const View<float, 3> out = mixed.reshape<3>({n, w.heads, d});
  if (!cpu::check_line(ctx, s, {{}, {}, {}, {nullptr, w.rel_d}})) return;
  cpu::AttendJob job(ctx.backend.kernels(), precision, s, in, out);
  job.panels = panels;
  const AttendBias table = cpu::table_of_map(w);
  const cpu::BiasSize size = cpu::bias_size(job.level, table, job.ww);
  float* mirrored = scope.make<float>(size.total()).data();
  cpu::use_bias(w, size, mirrored, job);
  if (!w.pad_q.empty()) job.pad_q = w.pad_q.view().data();
  cpu::run_attend(ctx, job, [&] { cpu::pack_bias(job.level, table, job.ww, s.scale, size, mirrored); });
  linear(ctx, w.proj, mixed, tokens(y), {.residual = residual.empty() ? View<const float, 2>() : tokens(residual)});
  if (residual.empty()) ctx.tap_rows(w.name, tokens(View<const float, 3>(y)));
}

}  // namespace sampan::inline SAMPAN_ABI
