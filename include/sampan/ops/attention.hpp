// Self-attention layer of an encoder block as one op: y = residual + proj(attend(qkv(norm(x)))).
// Data flow: nn/block.hpp (SAM), models/tiny_vit.hpp -> here -> ops/linear.hpp, ops/attend.hpp; fast backends fuse behind this seam.
// Shapes: x, y, residual [h, w, c], of volumes [planes*h, w, c].   Cost: 8 n c^2 + attend.   Error: vs fp64 <= 2 x Reference.
// Source: segment_anything/modeling/image_encoder.py, Block and Attention; MobileSAM tiny_vit_sam.py, TinyViTBlock and Attention.
// Pads: SAM pads after the norm with zeros, so a missing token has k = b_k, v = b_v. TinyViT pads before its norm: norm(0) = beta, so k = W_k beta + b_k.
#pragma once
#include <sampan/ops/attend.hpp>
#include <sampan/ops/linear.hpp>

namespace sampan::inline SAMPAN_ABI {

/// Order of the qkv layer's outputs.
enum class QkvLayout {
  split,     ///< [q all heads | k all heads | v all heads] (SAM)
  per_head,  ///< [q k v] of head 0, then of head 1, ... (TinyViT)
};

enum class PadRule { after_norm, before_norm };

struct AttentionParams {
  NormParams norm;  ///< may be absent
  LinearParams qkv, proj;
  View<const float, 2> rel_pos_h, rel_pos_w;  ///< [2*size-1, d], or empty
  View<const float, 2> bias_table;            ///< [heads, win*win], or empty
  Index heads = 0;
  Index window = 0;  ///< 0: global
  QkvLayout layout = QkvLayout::split;
  PadRule pad_rule = PadRule::after_norm;
  std::string name;
  Index planes = 0;                     ///< > 0: the map is a volume of so many planes, one below the other
  View<const float, 2> rel_pos_d = {};  ///< of volumes, with the other two; ops/attend.hpp says what each of them multiplies
};

template <class B>
struct PackedAttention;

template <>
struct PackedAttention<Reference> {
  PackedLinear<Reference> qkv, proj;
  Tensor<float, 2, Reference> rel_h, rel_w, table, rel_d;
  Tensor<float, 2, Reference> pad;  // [1, 3c]: qkv of a missing token
  Index heads = 0, window = 0, planes = 0;
  QkvLayout layout = QkvLayout::split;
  std::string name;
  bool valid() const { return qkv.valid() && proj.valid() && pad.valid(); }
};

namespace detail {
/// Queries, keys, values of a [n, 3c] buffer as [n, heads, d] views.
inline QkvView split_qkv(const View<const float, 2>& buffer, Index heads, QkvLayout layout) {
  const Index c = buffer.extent(1) / 3, d = c / heads, n = buffer.extent(0);
  const Index between = layout == QkvLayout::split ? c : d, head = layout == QkvLayout::split ? d : 3 * d;
  auto at = [&](Index i) { return View<const float, 3>(buffer.data() + i * between, {n, heads, d}, {buffer.stride(0), head, 1}); };
  return {at(0), at(1), at(2)};
}
/// The qkv row of a missing token, by the rule of the published code.
inline void pad_row(const AttentionParams& p, const View<float, 2>& row) {
  for (Index o = 0; o < row.extent(1); ++o) {
    float sum = 0;
    if (p.pad_rule == PadRule::before_norm && p.norm.present())
      for (Index k = 0; k < p.qkv.weight.extent(1); ++k) sum += p.norm.bias(k) * p.qkv.weight(o, k);
    row(0, o) = p.qkv.bias.empty() ? sum : sum + p.qkv.bias(o);
  }
}
template <class B, class W>
bool check_attention(Context<B>& ctx, const W& w, const View<const float, 3>& x, const View<float, 3>& y, const View<const float, 3>& residual) {
  return ctx.require(same_extents(x, y) && (residual.empty() || same_extents(x, residual)), "attention: x, y and residual differ in shape") &&
         ctx.require(rows_follow(x) && rows_follow(y) && rows_follow(residual), "attention: rows of the map must follow one another") &&
         ctx.require(w.heads > 0 && w.qkv.out_features() % (3 * w.heads) == 0, "attention: the width of qkv is no multiple of 3 * heads") &&
         ctx.require(w.planes == 0 || x.extent(0) % w.planes == 0, "attention: the rows of a volume must be a multiple of its planes");
}
/// What the core sees of a map x [h, w, c], or of a volume [planes*h, w, c].
template <class W>
AttendShape attend_shape(const W& w, const View<const float, 3>& x) {
  const Index d = w.qkv.out_features() / 3 / w.heads;
  return {w.planes ? x.extent(0) / w.planes : x.extent(0), x.extent(1), w.heads, d, w.window, 1.0f / std::sqrt(float(d)), w.planes};
}
/// The module's own output is wanted: computed without the residual, tapped, then added.
template <class B>
bool attention_unfused(Context<B>& ctx, const PackedAttention<B>& w, const View<const float, 3>& x, const View<float, 3>& y, const View<const float, 3>& residual) {
  if (residual.empty() || !ctx.traced(w.name)) return false;
  auto scope = ctx.arena.scope();
  auto out = scope.template make<float>(y.extent(0), y.extent(1), y.extent(2));
  attention(ctx, w, x, out);
  add(ctx, tokens(View<const float, 3>(out)), tokens(residual), tokens(y));
  return true;
}
}  // namespace detail

inline PackedAttention<Reference> pack(const Reference& b, const AttentionParams& p) {
  using T = Tensor<float, 2, Reference>;
  PackedAttention<Reference> w{pack(b, p.qkv, p.norm), pack(b, p.proj), T::copy_of(p.rel_pos_h), T::copy_of(p.rel_pos_w), T::copy_of(p.bias_table), T::copy_of(p.rel_pos_d),
                               T({1, p.qkv.weight.extent(0)}), p.heads, p.window, p.planes, p.layout, p.name};
  if (w.pad.valid()) detail::pad_row(p, w.pad.view());
  return w;
}

/// Fails the context if extents disagree; y may be the residual, not x unless x is the residual too.
inline void attention(Context<Reference>& ctx, const PackedAttention<Reference>& w, const View<const float, 3>& x, const View<float, 3>& y, const View<const float, 3>& residual = {}) {
  if (!detail::check_attention(ctx, w, x, y, residual) || detail::attention_unfused(ctx, w, x, y, residual)) return;
  const Index n = x.extent(0) * x.extent(1), c3 = w.qkv.out_features();
  const AttendShape s = detail::attend_shape(w, x);
  auto scope = ctx.arena.scope();
  auto qkv = scope.make<float>(n, c3);
  auto mixed = scope.make<float>(n, c3 / 3);
  linear(ctx, w.qkv, tokens(x), qkv);
  const auto pad = detail::split_qkv(w.pad.view(), w.heads, w.layout);
  attend(ctx, s, detail::split_qkv(qkv, w.heads, w.layout), {w.rel_h.view(), w.rel_w.view(), w.table.view(), w.rel_d.view()}, {pad.k[0], pad.v[0], pad.q[0]}, mixed.reshape<3>({n, w.heads, s.d}));
  linear(ctx, w.proj, mixed, tokens(y), {.residual = residual.empty() ? View<const float, 2>() : tokens(residual)});
  if (residual.empty()) ctx.tap_rows(w.name, tokens(View<const float, 3>(y)));
}

}  // namespace sampan::inline SAMPAN_ABI
