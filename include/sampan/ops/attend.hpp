// The core of self-attention on a token grid: scores, position bias, softmax, weighted sum; global or inside windows.
// Data flow: ops/attention.hpp (which adds qkv and proj) -> here -> cpu/attention.hpp, kernels/.
//   q, k, v   [h*w, heads, d]  raster order, strided views into one qkv buffer as the qkv layer gives it (biases included, q unscaled)
//   rel_h/_w  [2*size-1, d]    decomposed relative positions as stored (SAM): score += q.rel_h[qy-ky+H-1] + q.rel_w[qx-kx+W-1], with the unscaled q
//   table     [heads, win*win] bias per |offset| (TinyViT): score += table[head, |dy|*win + |dx|]
//   pad       [heads, d]       key and value of missing tokens: windows that stick out of the grid see them as keys, as the published code does
//   out       [h*w, heads, d]  may not alias q, k, v
// Source: segment_anything/modeling/image_encoder.py (Attention, window_partition); MobileSAM tiny_vit_sam.py (Attention).
// Cost: 4 * tokens * keys * heads * d FLOP, keys = win^2 (real ones only) or h*w.   Error: vs fp64 <= 2 x Reference.
#pragma once
#include <sampan/ops/window_partition.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

namespace sampan::inline SAMPAN_ABI {

struct AttendShape {
  Index h = 0, w = 0;  ///< token grid
  Index heads = 0, d = 0;
  Index window = 0;  ///< window edge in tokens; 0: one global window
  float scale = 0;   ///< of q.k, 1/sqrt(d)
};

/// Queries, keys and values in one buffer.
struct QkvView {
  View<const float, 3> q, k, v;
};

struct AttendBias {
  View<const float, 2> rel_h, rel_w;  ///< both or none
  View<const float, 2> table;         ///< exclusive with rel_h, rel_w
};

struct PadToken {
  View<const float, 2> k, v;  ///< [heads, d]; empty: zeros
};

namespace detail {
/// Real query-key pairs: what the arithmetic needs, whatever a backend pads.
inline double attend_pairs(const AttendShape& s) {
  if (s.window == 0) return double(s.h * s.w) * double(s.h * s.w);
  double rows = 0, cols = 0;  // sum over windows of the squared edge along each axis
  for (Index y = 0; y < s.h; y += s.window) rows += double(std::min(s.window, s.h - y)) * double(std::min(s.window, s.h - y));
  for (Index x = 0; x < s.w; x += s.window) cols += double(std::min(s.window, s.w - x)) * double(std::min(s.window, s.w - x));
  return rows * cols;
}
inline Cost attend_cost(const AttendShape& s) { return {4.0 * attend_pairs(s) * double(s.heads * s.d), 16.0 * double(s.h * s.w * s.heads * s.d)}; }

template <class B>
bool check_attend(Context<B>& ctx, const AttendShape& s, const QkvView& qkv, const AttendBias& bias, const PadToken& pad, const View<float, 3>& out) {
  const View<const float, 3>::Extents e{s.h * s.w, s.heads, s.d};
  const Index wh = s.window ? s.window : s.h, ww = s.window ? s.window : s.w;
  const bool rel = !bias.rel_h.empty() || !bias.rel_w.empty();
  return ctx.require(s.h > 0 && s.w > 0 && s.heads > 0 && s.d > 0 && s.window >= 0, "attend: grid, heads and head size must be positive") &&
         ctx.require(qkv.q.extents() == e && qkv.k.extents() == e && qkv.v.extents() == e && out.extents() == e, "attend: q, k, v and out must be [h*w, heads, d]") &&
         ctx.require(!rel || (bias.rel_h.extent(0) == 2 * wh - 1 && bias.rel_w.extent(0) == 2 * ww - 1 && bias.rel_h.extent(1) == s.d && bias.rel_w.extent(1) == s.d),
                     "attend: rel_h and rel_w must be [2*size-1, d]") &&
         ctx.require(bias.table.empty() || (!rel && bias.table.extent(0) == s.heads && bias.table.extent(1) == wh * ww), "attend: the bias table must be [heads, win*win]") &&
         ctx.require(pad.k.extents() == pad.v.extents() && (pad.k.empty() || (pad.k.extent(0) == s.heads && pad.k.extent(1) == s.d)), "attend: a pad token must be [heads, d]");
}
}  // namespace detail

/// The definition: pad, partition, attend, unpartition. Fails the context if extents disagree; nothing is written then.
inline void attend(Context<Reference>& ctx, const AttendShape& s, const QkvView& qkv, const AttendBias& bias, const PadToken& pad, const View<float, 3>& out) {
  if (!detail::check_attend(ctx, s, qkv, bias, pad, out)) return;
  const Index wh = s.window ? s.window : s.h, ww = s.window ? s.window : s.w, n = wh * ww, c = s.heads * s.d;
  const Index windows = windows_along(s.h, wh) * windows_along(s.w, ww);
  auto scope = ctx.arena.scope();
  auto flat = scope.make<float>(s.h, s.w, 3 * c);  // q | k | v, each [heads, d]
  auto pad_row = scope.make<float>(3 * c);
  auto in = scope.make<float>(windows, n, 3 * c);
  auto result = scope.make<float>(windows, n, c);
  auto scores = scope.make<float>(n);
  if (!ctx.begin(detail::attend_cost(s))) return;
  for (Index t = 0; t < s.h * s.w; ++t)
    for (Index head = 0; head < s.heads; ++head)
      for (Index i = 0; i < s.d; ++i) {
        const Index at = head * s.d + i;
        flat(t / s.w, t % s.w, at) = qkv.q(t, head, i);
        flat(t / s.w, t % s.w, c + at) = qkv.k(t, head, i);
        flat(t / s.w, t % s.w, 2 * c + at) = qkv.v(t, head, i);
        pad_row(at) = 0;  // the query of a missing token does not matter: its output is dropped
        pad_row(c + at) = pad.k.empty() ? 0.0f : pad.k(head, i);
        pad_row(2 * c + at) = pad.v.empty() ? 0.0f : pad.v(head, i);
      }
  if (s.window) {
    reference::partition(flat, s.window, pad_row, in);
  } else {
    for (Index t = 0; t < n; ++t)
      for (Index i = 0; i < 3 * c; ++i) in(0, t, i) = flat(t / s.w, t % s.w, i);
  }
  for (Index win = 0; win < windows; ++win)
    for (Index head = 0; head < s.heads; ++head)
      for (Index q = 0; q < n; ++q) {
        const Index h0 = head * s.d, qy = q / ww, qx = q % ww;
        float top = -std::numeric_limits<float>::max();
        for (Index k = 0; k < n; ++k) {
          const Index ky = k / ww, kx = k % ww;
          float dot = 0, rel = 0;
          for (Index i = 0; i < s.d; ++i) dot += in(win, q, h0 + i) * in(win, k, c + h0 + i);
          if (!bias.rel_h.empty()) {
            float rh = 0, rw = 0;
            for (Index i = 0; i < s.d; ++i) rh += in(win, q, h0 + i) * bias.rel_h(qy - ky + wh - 1, i);
            for (Index i = 0; i < s.d; ++i) rw += in(win, q, h0 + i) * bias.rel_w(qx - kx + ww - 1, i);
            rel = rh + rw;
          } else if (!bias.table.empty()) {
            rel = bias.table(head, (qy > ky ? qy - ky : ky - qy) * ww + (qx > kx ? qx - kx : kx - qx));
          }
          scores(k) = dot * s.scale + rel;
          top = std::max(top, scores(k));
        }
        float total = 0;
        for (Index k = 0; k < n; ++k) total += scores(k) = std::exp(scores(k) - top);
        for (Index i = 0; i < s.d; ++i) {
          float sum = 0;
          for (Index k = 0; k < n; ++k) sum += scores(k) / total * in(win, k, 2 * c + h0 + i);
          result(win, q, h0 + i) = sum;
        }
      }
  for (Index t = 0; t < s.h * s.w; ++t) {
    const Index y = t / s.w, x = t % s.w, nw = windows_along(s.w, ww);
    for (Index i = 0; i < c; ++i) out(t, i / s.d, i % s.d) = result(y / wh * nw + x / ww, y % wh * ww + x % ww, i);
  }
}

}  // namespace sampan::inline SAMPAN_ABI
