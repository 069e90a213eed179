// Self-attention and windows on Cuda. Data flow: ops/attention.hpp, ops/attend.hpp, ops/window_partition.hpp declare -> here -> kernels/attention_*.cuh, rel_pos.cuh.
// A missing token of a window has the key b_k and the value b_v (PadRule::after_norm), or W_k beta + b_k and W_v beta + b_v (before_norm). Identity 1 of the design:
// both are taken off every key and value, so that pads are zeros. A constant key changes no softmax, and the value comes back behind the projection:
//   k' = k - pad_k     v' = v - pad_v     proj(mix) = proj(mix') + (b_p + W_p pad_v)
// so the packed qkv bias has zeros for keys and values, and the packed projection's bias holds pad_v.
// Deliberately absent: volumes (AttendShape::planes), which the op refuses.
// 16-bit operands: tensor-core kernels for heads of 32, 64, 80 (global, or windows of 7 and 14; not heads of 80 in windows of 14 on
// compute capability 7.5), else the literal kernel on 16-bit values; f32: the literal kernel.
#pragma once
#include <sampan/cuda/linear.hpp>
#include <sampan/ops/attention.hpp>

namespace sampan::inline SAMPAN_ABI {

template <>
struct PackedAttention<Cuda> {
  cuda::OptionalNorm norm;
  cuda::Matrix qkv, qkv_bias;  // rows [q | k | v] whatever the file's order is; the bias in the operands' type
  PackedLinear<Cuda> proj;
  cuda::Matrix rel_h, rel_w;   // float
  cuda::Matrix table;          // float: as stored, or for the window kernel [heads, n * n * n * n]
  Index heads = 0, window = 0, planes = 0;
  bool tensor_cores = false;
  std::string name;
  bool valid() const { return norm.valid() && qkv.valid() && qkv_bias.valid() && proj.valid() && rel_h.valid() && rel_w.valid() && table.valid(); }
};

namespace cuda {
inline Error no_volumes() { return Error(ErrorCode::unsupported, "attention: volumes run on the processor only; open the model with device cpu"); }
inline bool has_tensor_kernel(Element type, const AttentionParams& p, Index d) {
  const bool heads = d == 32 || d == 64 || d == 80;
  const bool whole = p.bias_table.empty() || p.bias_table.extent(1) == p.window * p.window;
  return type != Element::f32 && heads && whole && (p.window == 0 ? p.bias_table.empty() : p.window == 7 || p.window == 14);
}
/// The bias of every pair of a window.
inline std::vector<float> spread_table(const View<const float, 2>& table, Index n) {
  std::vector<float> out;
  out.reserve(std::size_t(table.extent(0) * n * n * n * n));
  for (Index head = 0; head < table.extent(0); ++head)
    for (Index q = 0; q < n * n; ++q)
      for (Index k = 0; k < n * n; ++k) {
        const Index dy = q / n - k / n, dx = q % n - k % n;
        out.push_back(table(head, (dy < 0 ? -dy : dy) * n + (dx < 0 ? -dx : dx)));
      }
  return out;
}
/// Where part 0, 1, 2 (q, k, v) of channel i of a head stands in the file's rows.
inline Index qkv_row(QkvLayout layout, Index c, Index d, Index part, Index head, Index i) { return layout == QkvLayout::split ? part * c + head * d + i : (head * 3 + part) * d + i; }
}  // namespace cuda

inline PackedAttention<Cuda> pack(const Cuda& b, const AttentionParams& p) {
  const Index c3 = p.qkv.weight.extent(0), c = c3 / 3, in = p.qkv.weight.extent(1), d = p.heads > 0 ? c / p.heads : 0;
  const cuda::Element type = cuda::element_of(b.precision);
  PackedAttention<Cuda> w;
  w.window = p.window, w.planes = p.planes, w.name = p.name;
  if (p.heads <= 0 || c3 % (3 * p.heads) != 0 || p.proj.weight.extent(1) != c) return w;  // no heads: the op refuses it
  w.heads = p.heads;
  // A window of 14 x 14 keys and values of 80 channels takes 77 KiB of shared memory; compute capability 7.5 has 64.
  const bool fits = b.device->info().major >= 8 || d < 80 || p.window < 14;
  w.tensor_cores = fits && cuda::has_tensor_kernel(type, p, d);
  std::vector<float> pad(static_cast<std::size_t>(c3)), weight, bias, values, proj_bias;
  detail::pad_row(p, View<float, 2>(pad.data(), {1, c3}));
  const bool before = p.pad_rule == PadRule::before_norm && p.norm.present();
  for (Index part = 0; part < 3; ++part)
    for (Index head = 0; head < p.heads; ++head)
      for (Index i = 0; i < d; ++i) {
        const Index row = cuda::qkv_row(p.layout, c, d, part, head, i);
        for (Index k = 0; k < in; ++k) weight.push_back(p.qkv.weight(row, k));
        // The query keeps its whole bias; with the norm's beta left out (before_norm) that is what a missing token's query would be.
        bias.push_back(part > 0 ? 0.0f : before ? pad[std::size_t(row)] : p.qkv.bias.empty() ? 0.0f : p.qkv.bias(row));
        if (part == 2) values.push_back(pad[std::size_t(row)]);
      }
  for (Index o = 0; o < p.proj.weight.extent(0); ++o) {
    double sum = p.proj.bias.empty() ? 0.0 : double(p.proj.bias(o));
    for (Index k = 0; k < c; ++k) sum += double(p.proj.weight(o, k)) * double(values[std::size_t(k)]);
    proj_bias.push_back(float(sum));
  }
  const auto vector_of = [](const std::vector<float>& v) { return View<const float, 1>(v.data(), {Index(v.size())}); };
  w.qkv = cuda::Matrix::of(View<const float, 2>(weight.data(), {p.heads * d * 3, in}), type);
  w.qkv_bias = cuda::Matrix::of(vector_of(bias), type);
  LinearParams proj = p.proj;
  proj.bias = vector_of(proj_bias);
  w.proj = pack(b, proj);
  NormParams norm = p.norm;
  const std::vector<float> zeros(static_cast<std::size_t>(norm.bias.extent(0)));
  if (before) norm.bias = vector_of(zeros);
  w.norm = cuda::OptionalNorm::of(b, norm);
  w.rel_h = cuda::Matrix::of(p.rel_pos_h, cuda::Element::f32), w.rel_w = cuda::Matrix::of(p.rel_pos_w, cuda::Element::f32);
  if (!p.bias_table.empty() && w.tensor_cores) {
    const auto spread = cuda::spread_table(p.bias_table, p.window);
    w.table = cuda::Matrix::of(vector_of(spread), cuda::Element::f32);
  } else {
    w.table = cuda::Matrix::of(p.bias_table, cuda::Element::f32);
  }
  return w;
}

/// As ops/attention.hpp says; channels must lie side by side and rows of the map follow one another.
inline void attention(Context<Cuda>& ctx, const PackedAttention<Cuda>& w, const View<const float, 3>& x, const View<float, 3>& y, const View<const float, 3>& residual = {}) {
  if (w.planes > 0) return ctx.fail(cuda::no_volumes());
  const Index images = ctx.backend.images, h = cuda::rows_of_image(ctx, x.extent(0)), wide = x.extent(1), n = images * h * wide, c3 = w.qkv.rows, c = c3 / 3, d = w.heads > 0 ? c / w.heads : 0;
  if (!ctx.require(same_extents(x, y) && (residual.empty() || same_extents(x, residual)), "attention: x, y and residual differ in shape") ||
      !ctx.require(detail::rows_follow(x) && detail::rows_follow(y) && detail::rows_follow(residual), "attention: rows of the map must follow one another") ||
      !ctx.require(w.heads > 0 && x.extent(2) == w.qkv.columns && y.extent(2) == w.proj.out_features() && w.proj.in_features() == c, "attention: x or y has another width than the weights"))
    return;
  const auto xr = tokens(x);
  const auto yr = tokens(y);
  const auto rr = residual.empty() ? View<const float, 2>() : tokens(residual);
  if (!ctx.require(cuda::packed_channels(xr) && cuda::packed_channels(yr) && cuda::packed_channels(rr), "attention: the channels of a row must lie side by side")) return;
  const AttendShape s{h, wide, w.heads, d, w.window, 1.0f / std::sqrt(float(d))};
  const Index wh = w.window ? w.window : h, ww = w.window ? w.window : wide;
  const bool rel = w.rel_h.rows > 0;
  if (!ctx.require(!rel || (w.rel_h.rows == 2 * wh - 1 && w.rel_w.rows == 2 * ww - 1), "attention: rel_h and rel_w must be [2*size-1, d]") ||
      !ctx.require(w.table.rows == 0 || w.tensor_cores || w.table.columns == wh * ww, "attention: the bias table must be [heads, win*win]"))
    return;
  const cuda::Element type = w.qkv.type;
  const Index bytes = cuda::bytes_of(type), terms = rel && w.tensor_cores ? w.heads * n : 0;
  auto scope = ctx.arena.scope();
  void* mixed = scope.make<std::uint8_t>(n * c * bytes).data();
  {
    auto inner = ctx.arena.scope();
    void* qkv = inner.make<std::uint8_t>(n * c3 * bytes).data();
    float* row = inner.make<float>(terms * wh).data();
    float* column = inner.make<float>(terms * ww).data();
    {
      auto normed = ctx.arena.scope();
      cuda::multiply(ctx, cuda::operand(ctx, normed, w.norm, xr, type), w.qkv, w.qkv_bias.data(), {}, {qkv, c3, type});
    }
    Cost cost = detail::attend_cost(s);
    cost.flop *= double(images), cost.bytes *= double(images);
    if (ctx.begin(cost) && n > 0) {
      const int many = int(images), ih = int(h), iw = int(wide), heads = int(w.heads), dim = int(d), window = int(w.window);
      const auto stream = cuda::stream_of(ctx);
      const float *rel_h = rel ? w.rel_h.floats() : nullptr, *rel_w = rel ? w.rel_w.floats() : nullptr, *table = w.table.rows ? w.table.floats() : nullptr;
      if (terms) cuda::ran(ctx, "rel_pos", kernels::launch_rel_pos({qkv, ih, iw, heads, dim, window, rel_h, rel_w, row, column, many}, type, stream));
      const float *r = terms ? row : nullptr, *col = terms ? column : nullptr;
      if (!w.tensor_cores) {
        cuda::ran(ctx, "attention_naive", kernels::launch_attention_naive({qkv, mixed, ih, iw, heads, dim, window, s.scale, rel_h, rel_w, nullptr, table, many}, type, stream));
      } else if (window == 0) {
        cuda::ran(ctx, "attention_global", kernels::launch_attention_global({qkv, mixed, ih, iw, heads, s.scale, r, col, many}, type, dim, stream));
      } else {
        cuda::ran(ctx, "attention_window", kernels::launch_attention_window({qkv, mixed, ih, iw, heads, s.scale, r, col, table, many}, type, dim, window, stream));
      }
    }
  }
  cuda::multiply(ctx, {mixed, n, c, c}, w.proj.weight, w.proj.bias.data(), rr, {yr.data(), yr.stride(0)});
}

/// As ops/attend.hpp says, in float by the literal kernel: the op alone, for tests and teaching; attention() keeps its own layout.
inline void attend(Context<Cuda>& ctx, const AttendShape& s, const QkvView& qkv, const AttendBias& bias, const PadToken& pad, const View<float, 3>& out) {
  if (!detail::check_attend(ctx, s, qkv, bias, pad, out)) return;
  if (s.planes > 0) return ctx.fail(cuda::no_volumes());
  const Index n = s.h * s.w, c = s.heads * s.d;
  const auto packed = [&](const auto& v) { return v.stride(2) == 1 && (s.heads == 1 || v.stride(1) == s.d); };
  const auto whole = [](const auto& v) { return v.empty() || v.contiguous(); };
  const auto per_head = [&](const View<const float, 3>& v, Index head) { return View<const float, 2>(v.data() + head * v.stride(1), {n, s.d}, {v.stride(0), v.stride(2)}); };
  if (!ctx.require(packed(out) && whole(bias.rel_h) && whole(bias.rel_w) && whole(bias.table) && whole(pad.k) && whole(pad.v), "attend: the channels of out, and the tables, must lie side by side")) return;
  auto scope = ctx.arena.scope();
  auto rows = scope.make<float>(n, 3 * c);
  auto mixed = scope.make<float>(n, c);
  const View<const float, 3> parts[] = {qkv.q, qkv.k, qkv.v};
  // Only a window that sticks out has missing tokens.
  const bool missing = s.window > 0 && (s.h % s.window != 0 || s.w % s.window != 0);
  const View<const float, 2> none, pads[] = {none, missing ? pad.k : none, missing ? pad.v : none};
  for (Index part = 0; part < 3; ++part)
    for (Index head = 0; head < s.heads; ++head) {
      const auto& p = pads[part];
      const View<const float, 2> shift = p.empty() ? View<const float, 2>() : View<const float, 2>(p.data() + head * s.d, {1, s.d});
      cuda::finish(ctx, per_head(parts[part], head), {.residual = shift, .factor = -1}, rows.slice(1, part * c + head * s.d, s.d));
    }
  if (ctx.begin(detail::attend_cost(s)))
    cuda::ran(ctx, "attention_naive",
              kernels::launch_attention_naive({rows.data(), mixed.data(), int(s.h), int(s.w), int(s.heads), int(s.d), int(s.window), s.scale, bias.rel_h.empty() ? nullptr : bias.rel_h.data(),
                                               bias.rel_w.empty() ? nullptr : bias.rel_w.data(), nullptr, bias.table.empty() ? nullptr : bias.table.data()},
                                              cuda::Element::f32, cuda::stream_of(ctx)));
  const View<const float, 2> back = pads[2].empty() ? none : View<const float, 2>(pad.v.data(), {1, c});
  cuda::finish(ctx, mixed, {.residual = back}, View<float, 2>(out.data(), {n, c}, {out.stride(0), 1}));
}

namespace cuda {
inline kernels::WindowParams window_params(const View<const float, 3>& from, const View<float, 3>& to, const View<const float, 3>& map, Index win, const float* pad) {
  return {from.data(), to.data(), int(map.extent(0)), int(map.extent(1)), int(map.extent(2)), int(win), pad};
}
}  // namespace cuda

inline void window_partition(Context<Cuda>& ctx, const View<const float, 3>& map, Index win, const View<const float, 1>& pad, const View<float, 3>& windows) {
  if (!detail::check_windows(ctx, map, windows, win) || !detail::check_pad_row(ctx, map, pad)) return;
  if (!ctx.require(map.contiguous() && windows.contiguous() && (pad.empty() || pad.contiguous()), "window_partition: map, windows and pad must be whole on cuda")) return;
  if (!ctx.begin({0, 8.0 * double(windows.size())}) || windows.empty()) return;
  cuda::ran(ctx, "window_partition", kernels::launch_window_partition(cuda::window_params(map, windows, map, win, pad.empty() ? nullptr : pad.data()), cuda::Element::f32, cuda::stream_of(ctx)));
}
inline void window_unpartition(Context<Cuda>& ctx, const View<const float, 3>& windows, Index win, const View<float, 3>& map) {
  if (!detail::check_windows(ctx, View<const float, 3>(map), windows, win)) return;
  if (!ctx.require(map.contiguous() && windows.contiguous(), "window_unpartition: map and windows must be whole on cuda")) return;
  if (!ctx.begin({0, 8.0 * double(map.size())}) || map.empty()) return;
  cuda::ran(ctx, "window_unpartition", kernels::launch_window_unpartition(cuda::window_params(windows, map, map, win, nullptr), cuda::Element::f32, cuda::stream_of(ctx)));
}

}  // namespace sampan::inline SAMPAN_ABI
