// Attention between few tokens and a small map, with the two rules that published prompt generators and decoders add to it:
//   out_i = sum_j w_ij e_ij v_j / (extra + sum_j e_ij),   e_ij = exp(s_ij - max_j s_ij),   s = q k^T / sqrt(d)
// extra = 1: a query may attend to nothing (AutoSAMUS, softmax_one; quirk kept: the one is not scaled by exp(-max)); a guide w [nq, nk]: weights are multiplied behind the softmax
// (H-SAM, Attention2). Without both it is the usual attention, which ops/cross_attention.hpp does faster.
// Data flow: nn/prompt_generator.hpp, models/guided_head.hpp -> here.   Shapes: q, out [nq, heads*d], k, v [nk, heads*d]; out may be q.   Cost: 4 nq nk heads d FLOP.
// Source: AutoSAMUS modeling/common.py, softmax_one; H-SAM modeling/transformer.py, Attention2.   Error: vs fp64 <= 2 x plain float32 sums.
// Few hundred MFLOP where it is used, so one implementation serves every host backend; a device has none.
#pragma once
#include <sampan/ops/params.hpp>
#include <sampan/ops/reference_backend.hpp>

#include <cmath>
#include <limits>

namespace sampan::inline SAMPAN_ABI {

struct AttendPlain {
  float extra = 0;                    ///< in the denominator
  View<const float, 2> guide = {};    ///< [nq, nk], any strides; empty: ones
};

namespace detail {
inline constexpr Index kPlainQueries = 32;  // of a work item; fixed, so that results never depend on the number of threads
}

/// Fails the context if extents disagree.
template <class B>
  requires(!on_device<B>)
void attend_plain(Context<B>& ctx, Index heads, const View<const float, 2>& q, const View<const float, 2>& k, const View<const float, 2>& v, const View<float, 2>& out, const AttendPlain& rule = {}) {
  const Index nq = q.extent(0), nk = k.extent(0), c = q.extent(1);
  if (!ctx.require(heads > 0 && c % heads == 0 && nk > 0 && same_extents(k, v) && k.extent(1) == c && same_extents(q, out), "attend_plain: q, out [nq,c] and k, v [nk,c] disagree, or c is no multiple of heads") ||
      !ctx.require(rule.guide.empty() || (rule.guide.extent(0) == nq && rule.guide.extent(1) == nk), "attend_plain: the guide must be [nq,nk]"))
    return;
  const Index d = c / heads, blocks = (nq + detail::kPlainQueries - 1) / detail::kPlainQueries;
  auto scope = ctx.arena.scope();
  const auto turned = scope.template make<float>(c, nk);  // keys, so that the sums over a head's channels run side by side over keys
  const auto rows = scope.template make<float>(Index(ctx.pool.threads()), nk + d);
  if (!ctx.begin({4.0 * double(nq) * double(nk) * double(c), 4.0 * double(c) * double(2 * nq + 2 * nk)})) return;
  ctx.pool.parallel_for(c, [&](Index j, int) {
    for (Index i = 0; i < nk; ++i) turned(j, i) = k(i, j);
  });
  const float root = std::sqrt(float(d));
  ctx.pool.parallel_for(heads * blocks, [&](Index item, int slot) {
    const Index head = item / blocks, first = item % blocks * detail::kPlainQueries;
    float *s = &rows(slot, 0), *sum = s + nk;
    for (Index i = first; i < nq && i < first + detail::kPlainQueries; ++i) {
      for (Index j = 0; j < nk; ++j) s[j] = 0;
      for (Index e = head * d; e < (head + 1) * d; ++e) {
        const float x = q(i, e);
        const float* keys = &turned(e, 0);
        for (Index j = 0; j < nk; ++j) s[j] += x * keys[j];
      }
      float top = -std::numeric_limits<float>::infinity(), total = 0;
      for (Index j = 0; j < nk; ++j) s[j] /= root, top = s[j] > top ? s[j] : top;
      for (Index j = 0; j < nk; ++j) total += s[j] = std::exp(s[j] - top);
      for (Index j = 0; !rule.guide.empty() && j < nk; ++j) s[j] *= rule.guide(i, j);
      for (Index e = 0; e < d; ++e) sum[e] = 0;
      for (Index j = 0; j < nk; ++j) {
        const float* value = v.data() + j * v.stride(0) + head * d * v.stride(1);
        for (Index e = 0; e < d; ++e) sum[e] += s[j] * value[e * v.stride(1)];
      }
      for (Index e = 0; e < d; ++e) out(i, head * d + e) = sum[e] / (rule.extra + total);
    }
  });
}

}  // namespace sampan::inline SAMPAN_ABI
