// Oracles in double for attention, from the published PyTorch code's definitions: pad, partition, attend, unpartition, always literally.
// Data flow: tests/ops/{window_partition,attend,attention,cross_attention}_test.cpp -> here. Written from the definitions, not from ops/*.hpp.
//   SAM      (image_encoder.py)      norm, then pad with zeros, partition, qkv of the padded windows [q | k | v], scores (q s) k + q Rh + q Rw, proj, unpartition, crop
//   TinyViT  (tiny_vit_sam.py)       pad raw tokens, partition, norm inside the windows, qkv per head [q k v], scores q k s + ab[head, idx], proj, unpartition, crop
//   decoder  (transformer.py)        out_proj(softmax(Q K^T / sqrt d) V)
#pragma once
#include "support/oracle/layers.hpp"

#include <sampan/ops/attention.hpp>
#include <sampan/ops/cross_attention.hpp>

#include <map>

namespace sampan::test::oracle {

/// [h, w, c] zero-padded on the right and at the bottom (or with the row `pad` [c]) -> [windows, win*win, c], as view and permute do it in PyTorch.
inline Tensor64 window_partition(const Tensor64& x, Index win, const Tensor64* pad = nullptr) {
  const Index h = x.e[0], w = x.e[1], c = x.e[2], hp = h + (win - h % win) % win, wp = w + (win - w % win) % win;
  Tensor64 padded(hp, wp, c);
  for (Index y = 0; y < hp; ++y)
    for (Index i = 0; i < wp; ++i)
      for (Index k = 0; k < c; ++k) padded(y, i, k) = y < h && i < w ? x(y, i, k) : pad ? (*pad)(k) : Num{};
  Tensor64 windows(hp / win * (wp / win), win * win, c);
  std::size_t at = 0;  // view(hp/win, win, wp/win, win, c).permute(0, 2, 1, 3, 4): walk the permuted axes in order
  for (Index a = 0; a < hp / win; ++a)
    for (Index b = 0; b < wp / win; ++b)
      for (Index i = 0; i < win; ++i)
        for (Index j = 0; j < win; ++j)
          for (Index k = 0; k < c; ++k) windows.v[at++] = padded(a * win + i, b * win + j, k);
  return windows;
}

/// The inverse, cropped to [h, w, c].
inline Tensor64 window_unpartition(const Tensor64& windows, Index win, Index h, Index w) {
  const Index c = windows.e[2], across = (w + win - 1) / win;
  Tensor64 x(h, w, c);
  for (Index n = 0; n < windows.e[0]; ++n)
    for (Index t = 0; t < win * win; ++t) {
      const Index y = n / across * win + t / win, i = n % across * win + t % win;
      if (y < h && i < w)
        for (Index k = 0; k < c; ++k) x(y, i, k) = windows(n, t, k);
    }
  return x;
}

/// window_partition3D of sam_med3d.py: [d, h, w, c] zero-padded (or with `pad`) behind each axis -> [windows, win^3, c], as view and permute do it.
inline Tensor64 window_partition_3d(const Tensor64& x, Index win, const Tensor64* pad = nullptr) {
  const auto up = [&](Index n) { return (n + win - 1) / win; };
  const Index c = x.e[3], nd = up(x.e[0]), nh = up(x.e[1]), nw = up(x.e[2]);
  Tensor64 windows(nd * nh * nw, win * win * win, c);
  std::size_t at = 0;  // view(nd, win, nh, win, nw, win, c).permute(0, 2, 4, 1, 3, 5, 6)
  for (Index a = 0; a < nd; ++a)
    for (Index b = 0; b < nh; ++b)
      for (Index g = 0; g < nw; ++g)
        for (Index i = 0; i < win * win * win; ++i)
          for (Index k = 0; k < c; ++k) {
            const Index z = a * win + i / (win * win), y = b * win + i / win % win, u = g * win + i % win;
            windows.v[at++] = z < x.e[0] && y < x.e[1] && u < x.e[2] ? x(z, y, u, k) : pad ? (*pad)(k) : Num{};
          }
  return windows;
}

/// The inverse, cropped to [d, h, w, c].
inline Tensor64 window_unpartition_3d(const Tensor64& windows, Index win, Index d, Index h, Index w) {
  const auto up = [&](Index n) { return (n + win - 1) / win; };
  const Index c = windows.e[2];
  Tensor64 x(d, h, w, c);
  for (Index z = 0; z < d; ++z)
    for (Index y = 0; y < h; ++y)
      for (Index u = 0; u < w; ++u)
        for (Index k = 0; k < c; ++k) x(z, y, u, k) = windows((z / win * up(h) + y / win) * up(w) + u / win, (z % win * win + y % win) * win + u % win, k);
  return x;
}

/// sum of softmax(scores)_j v_j for one query and one value component. Score errors of different keys are taken as independent, those of `same` keys (the pad
/// tokens of a window: one key, many times) as one error.
class SoftmaxMean {
 public:
  explicit SoftmaxMean(const std::vector<Num>& scores) {
    double top = scores[0].v;
    bool nan = false;
    for (const Num& s : scores) top = std::max(top, s.v), nan = nan || std::isnan(s.v);
    for (const Num& s : scores) {
      const double e = nan ? std::nan("") : std::exp(s.v - top);
      p_.push_back(e), total_ += e;
      // exp of an argument that is off by its own error and one rounding of (score - top); the maximum cancels between numerator and denominator.
      worst_.push_back(std::expm1(s.worst + kUnit * std::abs(s.v - top)) + 2 * kUnit);
      floor_.push_back(std::sqrt(square(s.floor) + square(kUnit * std::abs(s.v - top)) + square(2 * kUnit)));
    }
    for (double& e : p_) e /= total_;
    for (std::size_t j = 0; j < p_.size(); ++j) total_worst_ += p_[j] * worst_[j];
    total_worst_ += gamma_n(Index(p_.size()));
  }
  template <class V, class Same>
  Num of(V&& value, Same&& same) const {
    double v = 0, magnitude = 0, worst = 0, floor2 = 0, shared = 0, partial2 = 0;
    for (std::size_t j = 0; j < p_.size(); ++j) {
      const Num& x = value(Index(j));
      v += p_[j] * x.v, partial2 += v * v, magnitude += p_[j] * std::abs(x.v), worst += p_[j] * (x.worst + worst_[j] * (std::abs(x.v) + x.worst));
    }
    for (std::size_t j = 0; j < p_.size(); ++j) {
      const Num& x = value(Index(j));
      const double moved = p_[j] * floor_[j] * (x.v - v);  // by an error of score j
      if (same(Index(j))) {
        shared += moved;
      } else {
        floor2 += square(moved);
      }
      floor2 += square(p_[j] * x.floor);
    }
    floor2 += square(shared);
    worst += (gamma_n(Index(p_.size()) + 3) + total_worst_ * (1 + 2 * total_worst_)) * (magnitude + worst);
    return {v, worst, std::sqrt(floor2 + square(kUnit) * (square(magnitude) + partial2 / 3))};
  }

 private:
  std::vector<double> p_, worst_, floor_;
  double total_ = 0, total_worst_ = 0;
};

/// idx[q * n + k] of TinyViT: offsets (|dy|, |dx|) numbered in the order in which the scan over all pairs of points meets them first.
inline std::vector<Index> tiny_vit_bias_indices(Index h, Index w) {
  std::map<std::pair<Index, Index>, Index> number;
  std::vector<Index> idx;
  for (Index p = 0; p < h * w; ++p)
    for (Index q = 0; q < h * w; ++q) {
      const std::pair offset(std::abs(p / w - q / w), std::abs(p % w - q % w));
      idx.push_back(number.try_emplace(offset, Index(number.size())).first->second);
    }
  return idx;
}

/// One window of h x w tokens, or of planes x h x w: q, k, v [n, heads, d] -> [n, heads, d]. `wanted(token)`: tokens of the grid; the others are pads, whose outputs are cropped away.
/// `shift` [heads, d], if given: backends may compute with k - shift.k and v - shift.v (identity 1: softmax and mean allow it), so the floors hold the roundings
/// of these differences as well; the values and the bound of Reference do not change.
template <class Wanted>
Tensor64 attend_window(Index h, Index w, double scale, const Tensor64& q, const Tensor64& k, const Tensor64& v, const AttendBias& bias, Wanted&& wanted, const PadToken& shift = {}, Index planes = 1) {
  const Index n = planes * h * w, heads = q.e[1], d = q.e[2];
  const Tensor64 rel_h = exact(bias.rel_h), rel_w = exact(bias.rel_w), rel_d = exact(bias.rel_d), table = exact(bias.table);
  const std::vector<Index> idx = table.size() ? tiny_vit_bias_indices(h, w) : std::vector<Index>();
  Tensor64 out(n, heads, d);
  Index last_head = -1, last_line = -1;
  std::vector<Num> scores(static_cast<std::size_t>(n)), by_row, by_column, own, by_plane;
  for (Index head = 0; head < heads; ++head)
    for (Index i = 0; i < n; ++i) {
      if (!wanted(i)) continue;
      auto dot = [&](const auto& other) {
        Sum s;
        for (Index e = 0; e < d; ++e) s.term(q(i, head, e), other(e));
        return s.get();
      };
      // sam_med3d.py adds rel_d [b,d,h,w,k] as [:, :, :, :, None, None], rel_h as [:, :, :, None, :, None], rel_w as [:, :, :, None, None, :] to scores [b,d,h,w,kd,kh,kw]:
      // k of all three meets kw, and the w of rel_h and rel_w, which is the query's, meets kd and kh.
      const Index line = i / w * w;
      const auto dot_of = [&](Index query, const Tensor64& table_row, Index at) {
        Sum s;
        for (Index e = 0; e < d; ++e) s.term(q(query, head, e), table_row(at, e));
        return s.get();
      };
      if (rel_d.size()) {
        own.clear();
        for (Index kw = 0; kw < w; ++kw) own.push_back(dot_of(i, rel_d, i / (h * w) - kw + w - 1));
        if (i % w == 0 || by_plane.empty() || head != last_head || line != last_line) {
          by_plane.clear(), by_row.clear(), last_head = head, last_line = line;
          for (Index other = 0; other < w; ++other)
            for (Index kw = 0; kw < w; ++kw) by_plane.push_back(dot_of(line + other, rel_h, i / w % h - kw + w - 1)), by_row.push_back(dot_of(line + other, rel_w, other - kw + w - 1));
        }
      } else if (rel_h.size()) {  // q . Rh[qy - ky + h - 1] depends on the key's row only: computed once per row, and likewise per column
        by_row.clear(), by_column.clear();
        for (Index ky = 0; ky < h; ++ky) by_row.push_back(dot([&](Index e) -> const Num& { return rel_h(i / w % h - ky + h - 1, e); }));
        for (Index kx = 0; kx < w; ++kx) by_column.push_back(dot([&](Index e) -> const Num& { return rel_w(i % w - kx + w - 1, e); }));
      }
      for (Index j = 0; j < n; ++j) {
        Num s = scaled(dot([&](Index e) -> const Num& { return k(j, head, e); }), scale, 2 * kUnit);  // 1/sqrt(d) in float32: two roundings
        if (!shift.k.empty()) {
          double products = 0;  // of q with (k - shift): their sum rounds at this magnitude, and each difference at its own
          for (Index e = 0; e < d; ++e) products += std::abs(q(i, head, e).v) * (std::abs(k(j, head, e).v) + std::abs(double(shift.k(head, e))));
          s.floor = std::sqrt(square(s.floor) + 2 * square(kUnit * scale * products));
        }
        if (rel_d.size()) s = s + own[std::size_t(j % w)] + by_plane[std::size_t(j / (h * w) * w + j % w)] + by_row[std::size_t(j / w % h * w + j % w)];
        else if (rel_h.size()) s = s + by_row[std::size_t(j / w % h)] + by_column[std::size_t(j % w)];
        if (table.size()) s = s + table(head, idx[std::size_t(i * n + j)]);
        scores[std::size_t(j)] = s;
      }
      const SoftmaxMean mean(scores);
      for (Index e = 0; e < d; ++e) {
        Num& o = out(i, head, e) = mean.of([&](Index j) -> const Num& { return v(j, head, e); }, [&](Index j) { return !wanted(j); });
        // Subtracted from values, added to their mean; and differences that lean to one side make a sum of n terms that grows steadily: its n roundings at
        // k/n of the whole (k = 1 .. n), each uniform within u, have a variance of n/9 in the square of u times the whole.
        if (!shift.v.empty()) o.floor = std::sqrt(square(o.floor) + (2 + double(n) / 9) * square(kUnit * (std::abs(o.v) + std::abs(double(shift.v(head, e))))));
      }
    }
  return out;
}

/// Whether place t of window b belongs to the grid.
inline bool in_volume(Index b, Index t, Index win, Index d, Index h, Index w) {
  const Index nh = (h + win - 1) / win, nw = (w + win - 1) / win;
  return b / (nh * nw) * win + t / (win * win) < d && b / nw % nh * win + t / win % win < h && b % nw * win + t % win < w;
}

/// The core in windows of a volume: q, k, v [planes*h*w, heads, d].
inline Tensor64 attend_3d(const AttendShape& s, const Tensor64& q, const Tensor64& k, const Tensor64& v, const AttendBias& bias, const PadToken& pad) {
  const Index c = s.heads * s.d, win = s.window, n = win * win * win;
  const Tensor64 pad_k = exact(pad.k).shaped(pad.k.size()), pad_v = exact(pad.v).shaped(pad.v.size()), pad_q = exact(pad.q).shaped(pad.q.size());
  const auto cut = [&](const Tensor64& t, const Tensor64* row) { return window_partition_3d(t.shaped(s.planes, s.h, s.w, c), win, row); };
  const Tensor64 wq = cut(q, pad_q.size() ? &pad_q : nullptr), wk = cut(k, pad_k.size() ? &pad_k : nullptr), wv = cut(v, pad_v.size() ? &pad_v : nullptr);
  Tensor64 result(wq.e[0], n, c);
  for (Index b = 0; b < wq.e[0]; ++b) {
    const auto part = [&](const Tensor64& all) {
      Tensor64 t(n, s.heads, s.d);
      std::copy_n(all.v.begin() + b * n * c, n * c, t.v.begin());
      return t;
    };
    const Tensor64 o = attend_window(win, win, double(s.scale), part(wq), part(wk), part(wv), bias, [&](Index t) { return in_volume(b, t, win, s.planes, s.h, s.w); }, pad, win);
    std::copy(o.v.begin(), o.v.end(), result.v.begin() + b * n * c);
  }
  return window_unpartition_3d(result, win, s.planes, s.h, s.w).shaped(s.tokens(), s.heads, s.d);
}

/// The core: q, k, v [h*w, heads, d] -> [h*w, heads, d]; missing tokens of windows have the key and value of `pad` (empty: zeros).
inline Tensor64 attend(const AttendShape& s, const Tensor64& q, const Tensor64& k, const Tensor64& v, const AttendBias& bias, const PadToken& pad) {
  const Index c = s.heads * s.d;
  if (s.planes > 0 && s.window > 0) return attend_3d(s, q, k, v, bias, pad);
  if (s.window == 0) return attend_window(s.h, s.w, double(s.scale), q, k, v, bias, [](Index) { return true; }, {}, s.planes ? s.planes : 1);
  const Tensor64 pad_k = exact(pad.k).shaped(pad.k.size()), pad_v = exact(pad.v).shaped(pad.v.size());
  const Index win = s.window, n = win * win, across = (s.w + win - 1) / win;
  const Tensor64 wq = window_partition(q.shaped(s.h, s.w, c), win), wk = window_partition(k.shaped(s.h, s.w, c), win, pad_k.size() ? &pad_k : nullptr),
                 wv = window_partition(v.shaped(s.h, s.w, c), win, pad_v.size() ? &pad_v : nullptr);
  Tensor64 result(wq.e[0], n, c);
  for (Index b = 0; b < wq.e[0]; ++b) {
    auto part = [&](const Tensor64& all) {
      Tensor64 t(n, s.heads, s.d);
      std::copy_n(all.v.begin() + b * n * c, n * c, t.v.begin());
      return t;
    };
    const Tensor64 o = attend_window(win, win, double(s.scale), part(wq), part(wk), part(wv), bias, [&](Index t) { return b / across * win + t / win < s.h && b % across * win + t % win < s.w; }, pad);
    std::copy(o.v.begin(), o.v.end(), result.v.begin() + b * n * c);
  }
  return window_unpartition(result, win, s.h, s.w).shaped(s.h * s.w, s.heads, s.d);
}

/// What PyTorch's modules give inside an attention layer, in raster order without pads; [n, ...] rows.
struct AttentionTaps {
  Tensor64 norm, qkv, proj, y;
};

/// The whole layer: x [h, w, c]; residual [h, w, c] or null. Every stage on the padded windows, as published.
inline AttentionTaps attention(const Tensor64& x, const AttentionParams& p, const Tensor64* residual) {
  const Index planes = p.planes ? p.planes : 1, h = x.e[0] / planes, w = x.e[1], c = x.e[2], inner = p.qkv.weight.extent(0) / 3, d = inner / p.heads;
  const Index win_h = p.window ? p.window : h, win_w = p.window ? p.window : w, win_d = p.planes && p.window ? p.window : planes, n = win_d * win_h * win_w, across = (w + win_w - 1) / win_w;
  auto rows = [](const Tensor64& t) { return t.shaped(t.e[0] * t.e[1], t.e[2]); };
  auto cut = [&](const Tensor64& t) { return !p.window ? t.shaped(1, n, t.e[2]) : p.planes ? window_partition_3d(t.shaped(planes, h, w, t.e[2]), p.window) : window_partition(t, p.window); };
  auto join = [&](const Tensor64& t, Index width) {
    const Tensor64 windows = t.shaped(t.size() / n / width, n, width);
    return !p.window ? t.shaped(planes * h, w, width) : p.planes ? window_unpartition_3d(windows, p.window, planes, h, w).shaped(planes * h, w, width) : window_unpartition(windows, p.window, h, w);
  };
  auto wanted = [&](Index b, Index t) { return p.planes && p.window ? in_volume(b, t, p.window, planes, h, w) : p.planes || (b / across * win_h + t / win_w < h && b % across * win_w + t % win_w < w); };
  // SAM: norm, pad, partition. TinyViT: pad, partition, norm.
  const bool norm_first = p.pad_rule == PadRule::after_norm;
  Tensor64 windows = norm_first && p.norm.present() ? cut(layer_norm(rows(x), p.norm).shaped(planes * h, w, c)) : cut(x);
  const Index b = windows.e[0];
  if (!norm_first && p.norm.present()) windows = layer_norm(rows(windows), p.norm).shaped(b, n, c);
  const Tensor64 qkv = linear(rows(windows), p.qkv);  // [b*n, 3 inner]
  Tensor64 mixed(b, n, inner);
  for (Index i = 0; i < b; ++i) {
    Tensor64 part[3] = {Tensor64(n, p.heads, d), Tensor64(n, p.heads, d), Tensor64(n, p.heads, d)};
    for (Index t = 0; t < n; ++t)
      for (Index which = 0; which < 3; ++which)
        for (Index head = 0; head < p.heads; ++head)
          for (Index e = 0; e < d; ++e)
            part[which](t, head, e) = qkv(i * n + t, p.layout == QkvLayout::split ? (which * p.heads + head) * d + e    // reshape(n, 3, heads, d)
                                                                                  : (head * 3 + which) * d + e);        // view(n, heads, 3 d).split
    const Tensor64 o = attend_window(win_h, win_w, 1 / std::sqrt(double(d)), part[0], part[1], part[2], {p.rel_pos_h, p.rel_pos_w, p.bias_table, p.rel_pos_d}, [&](Index t) { return wanted(i, t); }, {}, win_d);
    std::copy(o.v.begin(), o.v.end(), mixed.v.begin() + i * n * inner);
  }
  AttentionTaps taps;
  const Tensor64 proj = linear(rows(mixed), p.proj);
  taps.norm = join(windows, c).shaped(planes * h * w, c);
  taps.qkv = join(qkv, 3 * inner).shaped(planes * h * w, 3 * inner);
  taps.proj = join(proj, proj.e[1]).shaped(planes * h * w, proj.e[1]);
  taps.y = residual ? add(taps.proj, *residual) : taps.proj;
  return taps;
}

/// The decoder's attention of one batch entry after another: q [b, nq, c], k, v [b or 1, nk, c]; encodings [b or 1, ...] or empty.
inline Tensor64 cross_attention(const CrossAttentionParams& p, const Tensor64& q, const Tensor64& q_pe, const Tensor64& k, const Tensor64& k_pe, const Tensor64& v, const Tensor64* residual) {
  const Index inner = p.q_proj.weight.extent(0), d = inner / p.heads, nq = q.e[1], nk = k.e[1];
  auto entry = [](const Tensor64& t, Index b) {
    Tensor64 one(t.e[1], t.e[2]);
    std::copy_n(t.v.begin() + (t.e[0] == 1 ? 0 : b) * one.size(), one.size(), one.v.begin());
    return one;
  };
  auto encoded = [&](const Tensor64& t, const Tensor64& pe, Index b) { return pe.size() ? add(entry(t, b), entry(pe, b)) : entry(t, b); };
  Tensor64 y(q.e[0] * nq, q.e[2]);
  for (Index b = 0; b < q.e[0]; ++b) {
    const Tensor64 qs = linear(encoded(q, q_pe, b), p.q_proj), ks = linear(encoded(k, k_pe, b), p.k_proj), vs = linear(entry(v, b), p.v_proj);
    Tensor64 mixed(nq, inner);
    std::vector<Num> scores(static_cast<std::size_t>(nk));
    for (Index head = 0; head < p.heads; ++head)
      for (Index i = 0; i < nq; ++i) {
        for (Index j = 0; j < nk; ++j) {
          Sum s;
          for (Index e = head * d; e < (head + 1) * d; ++e) s.term(qs(i, e), ks(j, e));
          scores[std::size_t(j)] = scaled(s.get(), 1 / std::sqrt(double(d)), 2 * kUnit);
        }
        const SoftmaxMean mean(scores);
        for (Index e = head * d; e < (head + 1) * d; ++e) mixed(i, e) = mean.of([&](Index j) -> const Num& { return vs(j, e); }, [](Index) { return false; });
      }
    const Tensor64 out = linear(mixed, p.out_proj);
    std::copy(out.v.begin(), out.v.end(), y.v.begin() + b * out.size());
  }
  return residual ? add(y, *residual) : y;
}

}  // namespace sampan::test::oracle
