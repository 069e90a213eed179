// The core of self-attention on a token grid of two or three axes: scores, position bias, softmax, weighted sum; global or inside windows.
// Data flow: ops/attention.hpp (which adds qkv and proj) -> here -> cpu/attention.hpp, kernels/.
//   q, k, v   [h*w, heads, d]  raster order, strided views into one qkv buffer as the qkv layer gives it (biases included, q unscaled)
//   rel_h/_w  [2*size-1, d]    decomposed relative positions as stored (SAM): score += q.rel_h[qy-ky+H-1] + q.rel_w[qx-kx+W-1], with the unscaled q
//   table     [heads, win*win] bias per |offset| (TinyViT): score += table[head, |dy|*win + |dx|]
//   volumes   n = planes*h*w tokens, plane after plane; windows have win planes as well; no table. With q(z,y,x) the query at a place of the window (pad.q where no token is):
//             score += q(qz,qy,qx).rel_d[qz-kx+W-1] + q(qz,qy,kz).rel_h[qy-kx+W-1] + q(qz,qy,ky).rel_w[ky-kx+W-1], in windows with three edges of W.
//             Not what the names say: sam_med3d.py broadcasts its three terms over other axes than meant, and the published weights were trained with that.
//   pad       [heads, d]       key and value of missing tokens: windows that stick out of the grid see them as keys, as the published code does
//   out       [h*w, heads, d]  may not alias q, k, v
// Source: segment_anything/modeling/image_encoder.py (Attention, window_partition); MobileSAM tiny_vit_sam.py (Attention); MedIM sam_med3d.py (Attention).
// Cost: 4 * tokens * keys * heads * d FLOP, keys = those of the window (real ones only) or all.  Error: vs fp64 <= 2 x Reference.
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
  Index planes = 0;  ///< > 0: a volume [planes, h, w]

  Index depth() const { return planes ? planes : 1; }
  Index tokens() const { return depth() * h * w; }
  Index window_d() const { return planes == 0 ? 1 : window ? window : planes; }  ///< a map's window has one plane
  Index window_h() const { return window ? window : h; }
  Index window_w() const { return window ? window : w; }
};

/// Queries, keys and values in one buffer.
struct QkvView {
  View<const float, 3> q, k, v;
};

struct AttendBias {
  View<const float, 2> rel_h, rel_w;  ///< both or none
  View<const float, 2> table;         ///< exclusive with rel_h, rel_w
  View<const float, 2> rel_d = {};    ///< of volumes, with rel_h and rel_w
};

struct PadToken {
  View<const float, 2> k, v;    ///< [heads, d]; empty: zeros
  View<const float, 2> q = {};  ///< the same; only the position bias of volumes reads it
};

namespace detail {
/// Real query-key pairs: what the arithmetic needs, whatever a backend pads.
inline double attend_pairs(const AttendShape& s) {
  const auto along = [](Index extent, Index window) {  // sum over windows of the squared edge along one axis
    double sum = 0;
    for (Index i = 0; i < extent; i += window) sum += double(std::min(window, extent - i)) * double(std::min(window, extent - i));
    return sum;
  };
  return along(s.depth(), s.window_d()) * along(s.h, s.window_h()) * along(s.w, s.window_w());
}
inline Cost attend_cost(const AttendShape& s) { return {4.0 * attend_pairs(s) * double(s.heads * s.d), 16.0 * double(s.tokens() * s.heads * s.d)}; }

template <class B>
bool check_attend(Context<B>& ctx, const AttendShape& s, const QkvView& qkv, const AttendBias& bias, const PadToken& pad, const View<float, 3>& out) {
  const View<const float, 3>::Extents e{s.tokens(), s.heads, s.d};
  const bool rel = !bias.rel_h.empty() || !bias.rel_w.empty() || !bias.rel_d.empty();
  const auto table = [&](const View<const float, 2>& t, Index size) { return t.extent(0) == 2 * size - 1 && t.extent(1) == s.d; };
  return ctx.require(s.h > 0 && s.w > 0 && s.heads > 0 && s.d > 0 && s.window >= 0 && s.planes >= 0, "attend: grid, heads and head size must be positive") &&
         ctx.require(qkv.q.extents() == e && qkv.k.extents() == e && qkv.v.extents() == e && out.extents() == e, "attend: q, k, v and out must be [tokens, heads, d]") &&
         ctx.require(!rel || (table(bias.rel_h, s.window_h()) && table(bias.rel_w, s.window_w())), "attend: rel_h and rel_w must be [2*size-1, d]") &&
         ctx.require(s.planes > 0 && rel ? table(bias.rel_d, s.window_d()) : bias.rel_d.empty(), "attend: rel_d must be [2*size-1, d] of a volume, and absent on a map") &&
         ctx.require(bias.rel_d.empty() || (s.window_d() == s.window_h() && s.window_h() == s.window_w()), "attend: relative positions of a volume need three equal edges") &&
         ctx.require(pad.q.empty() || (pad.q.extent(0) == s.heads && pad.q.extent(1) == s.d), "attend: a pad token must be [heads, d]") &&
         ctx.require(bias.table.empty() || (!rel && s.planes == 0 && bias.table.extent(0) == s.heads && bias.table.extent(1) == s.window_h() * s.window_w()), "attend: the bias table must be [heads, win*win]") &&
         ctx.require(pad.k.extents() == pad.v.extents() && (pad.k.empty() || (pad.k.extent(0) == s.heads && pad.k.extent(1) == s.d)), "attend: a pad token must be [heads, d]");
}
}  // namespace detail

/// The definition: pad, partition, attend, unpartition. Fails the context if extents disagree; nothing is written then.
inline void attend(Context<Reference>& ctx, const AttendShape& s, const QkvView& qkv, const AttendBias& bias, const PadToken& pad, const View<float, 3>& out) {
  if (!detail::check_attend(ctx, s, qkv, bias, pad, out)) return;
  const Index wd = s.window_d(), wh = s.window_h(), ww = s.window_w(), n = wd * wh * ww, c = s.heads * s.d;
  const Index down = windows_along(s.h, wh), across = windows_along(s.w, ww), windows = windows_along(s.depth(), wd) * down * across;
  auto scope = ctx.arena.scope();
  auto pad_row = scope.make<float>(3 * c);
  auto in = scope.make<float>(windows, n, 3 * c);  // q | k | v, each [heads, d]
  auto result = scope.make<float>(windows, n, c);
  auto scores = scope.make<float>(n);
  if (!ctx.begin(detail::attend_cost(s))) return;
  for (Index i = 0; i < c; ++i) {
    pad_row(i) = pad.q.empty() ? 0.0f : pad.q(i / s.d, i % s.d);  // its output is dropped; the position bias of volumes reads it
    pad_row(c + i) = pad.k.empty() ? 0.0f : pad.k(i / s.d, i % s.d);
    pad_row(2 * c + i) = pad.v.empty() ? 0.0f : pad.v(i / s.d, i % s.d);
  }
  for (Index win = 0; win < windows; ++win)
    for (Index p = 0; p < n; ++p) {
      const Index z = win / (down * across) * wd + p / (wh * ww), y = win / across % down * wh + p / ww % wh, x = win % across * ww + p % ww;
      const bool real = z < s.depth() && y < s.h && x < s.w;
      const Index t = (z * s.h + y) * s.w + x;
      for (Index i = 0; i < c; ++i) {
        in(win, p, i) = real ? qkv.q(t, i / s.d, i % s.d) : pad_row(i);
        in(win, p, c + i) = real ? qkv.k(t, i / s.d, i % s.d) : pad_row(c + i);
        in(win, p, 2 * c + i) = real ? qkv.v(t, i / s.d, i % s.d) : pad_row(2 * c + i);
      }
    }
  for (Index win = 0; win < windows; ++win)
    for (Index head = 0; head < s.heads; ++head)
      for (Index q = 0; q < n; ++q) {
        const Index h0 = head * s.d, qz = q / (wh * ww), qy = q / ww % wh, qx = q % ww;
        float top = -std::numeric_limits<float>::max();
        for (Index k = 0; k < n; ++k) {
          const Index kz = k / (wh * ww), ky = k / ww % wh, kx = k % ww;
          float dot = 0, rel = 0;
          for (Index i = 0; i < s.d; ++i) dot += in(win, q, h0 + i) * in(win, k, c + h0 + i);
          if (!bias.rel_d.empty()) {
            const Index line = (qz * wh + qy) * ww;
            float rd = 0, rh = 0, rw = 0;
            for (Index i = 0; i < s.d; ++i) rd += in(win, q, h0 + i) * bias.rel_d(qz - kx + wd - 1, i);
            for (Index i = 0; i < s.d; ++i) rh += in(win, line + kz, h0 + i) * bias.rel_h(qy - kx + wh - 1, i);
            for (Index i = 0; i < s.d; ++i) rw += in(win, line + ky, h0 + i) * bias.rel_w(ky - kx + ww - 1, i);
            rel = rd + rh + rw;
          } else if (!bias.rel_h.empty()) {
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
  for (Index t = 0; t < s.tokens(); ++t) {
    const Index z = t / (s.h * s.w), y = t / s.w % s.h, x = t % s.w;
    for (Index i = 0; i < c; ++i) out(t, i / s.d, i % s.d) = result((z / wd * down + y / wh) * across + x / ww, (z % wd * wh + y % wh) * ww + x % ww, i);
  }
}

}  // namespace sampan::inline SAMPAN_ABI
