// InstanceNorm without parameters, and LeakyReLU behind it or behind a sum: what a U-Net's residual block has between its convolutions.
// Data flow: models/pimm_head.hpp (DeSAM) -> here.   Shapes: x, b, y [n, c] (pixels as rows); y may be x or b.   Cost: 8 n c and 2 n c FLOP; bound by bandwidth, so one
// implementation serves every host backend. A device has no kernel for them: no overload there.
// Source: torch.nn.InstanceNorm2d(affine=False) (biased variance, eps 1e-5), torch.nn.LeakyReLU. Sums are kept in double, so there is no order to argue about.
#pragma once
#include <sampan/ops/params.hpp>
#include <sampan/ops/reference_backend.hpp>

#include <cmath>

namespace sampan::inline SAMPAN_ABI {

namespace detail {
inline constexpr Index kInstanceColumns = 32, kInstanceRows = 64;  // work items; fixed, so that results never depend on the number of threads
inline float leaky(float x, float slope) { return x >= 0 || x != x ? x : x * slope; }
}  // namespace detail

/// y = leaky((x - mean) / sqrt(var + eps)) per channel over all pixels; a slope of 1 is no activation. Fails the context if extents disagree.
template <class B>
  requires(!on_device<B>)
void instance_norm(Context<B>& ctx, const View<const float, 2>& x, const View<float, 2>& y, float eps, float slope) {
  if (!ctx.require(same_extents(x, y) && x.size() > 0, "instance_norm: x and y must be [n,c] alike") || !ctx.begin({8.0 * double(x.size()), 16.0 * double(x.size())})) return;
  const Index n = x.extent(0), c = x.extent(1);
  ctx.pool.parallel_for((c + detail::kInstanceColumns - 1) / detail::kInstanceColumns, [&](Index block, int) {
    const Index first = block * detail::kInstanceColumns, count = c - first < detail::kInstanceColumns ? c - first : detail::kInstanceColumns;
    double mean[detail::kInstanceColumns] = {}, var[detail::kInstanceColumns] = {};
    const auto at = [&](Index i, Index j) { return double(x.data()[i * x.stride(0) + (first + j) * x.stride(1)]); };
    for (Index i = 0; i < n; ++i)
      for (Index j = 0; j < count; ++j) mean[j] += at(i, j);
    for (Index j = 0; j < count; ++j) mean[j] /= double(n);
    for (Index i = 0; i < n; ++i)
      for (Index j = 0; j < count; ++j) var[j] += (at(i, j) - mean[j]) * (at(i, j) - mean[j]);
    for (Index j = 0; j < count; ++j) var[j] = 1.0 / std::sqrt(var[j] / double(n) + double(eps));
    for (Index i = 0; i < n; ++i)
      for (Index j = 0; j < count; ++j) y.data()[i * y.stride(0) + (first + j) * y.stride(1)] = detail::leaky(float((at(i, j) - mean[j]) * var[j]), slope);
  });
}

/// y = leaky(x + b). Fails the context if extents disagree.
template <class B>
  requires(!on_device<B>)
void add_leaky(Context<B>& ctx, const View<const float, 2>& x, const View<const float, 2>& b, const View<float, 2>& y, float slope) {
  if (!ctx.require(same_extents(x, y) && same_extents(b, y), "add_leaky: x, b and y must be [n,c] alike") || !ctx.begin({2.0 * double(x.size()), 12.0 * double(x.size())})) return;
  const Index n = x.extent(0), c = x.extent(1);
  ctx.pool.parallel_for((n + detail::kInstanceRows - 1) / detail::kInstanceRows, [&](Index block, int) {
    for (Index i = block * detail::kInstanceRows; i < n && i < (block + 1) * detail::kInstanceRows; ++i)
      for (Index j = 0; j < c; ++j)
        y.data()[i * y.stride(0) + j * y.stride(1)] = detail::leaky(x.data()[i * x.stride(0) + j * x.stride(1)] + b.data()[i * b.stride(0) + j * b.stride(1)], slope);
  });
}

}  // namespace sampan::inline SAMPAN_ABI
