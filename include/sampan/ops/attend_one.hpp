// Attention with one added to the denominator of its softmax, so that a query may attend to nothing: out = sum_j e_j v_j / (1 + sum_j e_j), e_j = exp(s_j - max s), s = q k^T / sqrt(d).
// Data flow: nn/prompt_generator.hpp (AutoSAMUS) -> here.   Shapes: q, out [nq, heads*d], k, v [nk, heads*d]; out may be q.   Cost: 4 nq nk heads d FLOP.
// Source: AutoSAMUS modeling/common.py, softmax_one. Quirk kept: the one is not scaled by exp(-max), so the result is no function of the scores alone but of their differences.
// Error: vs fp64 <= 2 x plain float32 sums. Few hundred MFLOP where it is used, so one implementation serves every host backend; a device has none.
#pragma once
#include <sampan/ops/params.hpp>
#include <sampan/ops/reference_backend.hpp>

#include <cmath>
#include <limits>

namespace sampan::inline SAMPAN_ABI {

namespace detail {
inline constexpr Index kOneQueries = 32;  // of a work item; fixed, so that results never depend on the number of threads
}

/// Fails the context if extents disagree.
template <class B>
  requires(!on_device<B>)
void attend_one(Context<B>& ctx, Index heads, const View<const float, 2>& q, const View<const float, 2>& k, const View<const float, 2>& v, const View<float, 2>& out) {
  const Index nq = q.extent(0), nk = k.extent(0), c = q.extent(1);
  if (!ctx.require(heads > 0 && c % heads == 0 && nk > 0 && same_extents(k, v) && k.extent(1) == c && same_extents(q, out), "attend_one: q, out [nq,c] and k, v [nk,c] disagree, or c is no multiple of heads")) return;
  const Index d = c / heads, blocks = (nq + detail::kOneQueries - 1) / detail::kOneQueries;
  auto scope = ctx.arena.scope();
  const auto turned = scope.template make<float>(c, nk);  // keys, so that the sums over a head's channels run side by side over keys
  const auto rows = scope.template make<float>(Index(ctx.pool.threads()), nk + d);
  if (!ctx.begin({4.0 * double(nq) * double(nk) * double(c), 4.0 * double(c) * double(2 * nq + 2 * nk)})) return;
  ctx.pool.parallel_for(c, [&](Index j, int) {
    for (Index i = 0; i < nk; ++i) turned(j, i) = k(i, j);
  });
  const float root = std::sqrt(float(d));
  ctx.pool.parallel_for(heads * blocks, [&](Index item, int slot) {
    const Index head = item / blocks, first = item % blocks * detail::kOneQueries;
    float *s = &rows(slot, 0), *sum = s + nk;
    for (Index i = first; i < nq && i < first + detail::kOneQueries; ++i) {
      for (Index j = 0; j < nk; ++j) s[j] = 0;
      for (Index e = head * d; e < (head + 1) * d; ++e) {
        const float x = q(i, e);
        const float* keys = &turned(e, 0);
        for (Index j = 0; j < nk; ++j) s[j] += x * keys[j];
      }
      float top = -std::numeric_limits<float>::infinity(), total = 0;
      for (Index j = 0; j < nk; ++j) s[j] /= root, top = s[j] > top ? s[j] : top;
      for (Index j = 0; j < nk; ++j) total += s[j] = std::exp(s[j] - top);
      for (Index e = 0; e < d; ++e) sum[e] = 0;
      for (Index j = 0; j < nk; ++j) {
        const float* value = v.data() + j * v.stride(0) + head * d * v.stride(1);
        for (Index e = 0; e < d; ++e) sum[e] += s[j] * value[e * v.stride(1)];
      }
      for (Index e = 0; e < d; ++e) out(i, head * d + e) = sum[e] / (1 + total);
    }
  });
}

}  // namespace sampan::inline SAMPAN_ABI
