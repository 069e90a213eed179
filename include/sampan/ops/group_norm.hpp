// GroupNorm with one group: mean and variance over a whole map, weight and bias per channel.
// Data flow: models/mask_decoder.hpp (EfficientSAM's upscaling) -> here.   Shapes: x, y [n, c] (pixels as rows); y may be x.   Cost: 8 n c FLOP, 16 n c bytes.
// Source: torch.nn.GroupNorm(1, c), biased variance. Sums are kept in double, so there is no order to argue about; bound by bandwidth, so one implementation serves every
// host backend, and a device refuses. Error: vs fp64 four roundings of the result.
#pragma once
#include <sampan/ops/layer_norm.hpp>

namespace sampan::inline SAMPAN_ABI {
namespace detail {
inline constexpr Index kGroupNormRows = 64;  // rows of a work item; fixed, so that results never depend on the number of threads
}  // namespace detail

/// y = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias. Fails the context if extents disagree.
template <class B>
  requires(!on_device<B>)
void group_norm(Context<B>& ctx, const PackedNorm<B>& w, const View<const float, 2>& x, const View<float, 2>& y) {
  if (!ctx.require(same_extents(x, y) && x.extent(1) == w.weight.extent(0) && x.size() > 0, "group_norm: x, y [n,c] and the weights [c] disagree")) return;
  const Index n = x.extent(0), c = x.extent(1), blocks = (n + detail::kGroupNormRows - 1) / detail::kGroupNormRows;
  auto scope = ctx.arena.scope();
  const auto part = scope.template make<double>(blocks);
  const auto factor = scope.template make<float>(c);
  if (!ctx.begin({8.0 * double(x.size()), 16.0 * double(x.size())})) return;
  const auto each_block = [&](auto&& f) {
    ctx.pool.parallel_for(blocks, [&](Index block, int) {
      const Index first = block * detail::kGroupNormRows;
      f(block, first, first + detail::kGroupNormRows < n ? first + detail::kGroupNormRows : n);
    });
  };
  const auto average = [&] {
    double sum = 0;
    for (Index i = 0; i < blocks; ++i) sum += part(i);
    return sum / double(x.size());
  };
  each_block([&](Index block, Index first, Index last) {
    double sum = 0;
    for (Index i = first; i < last; ++i)
      for (Index j = 0; j < c; ++j) sum += double(x.data()[i * x.stride(0) + j * x.stride(1)]);
    part(block) = sum;
  });
  const double mean = average();
  each_block([&](Index block, Index first, Index last) {
    double sum = 0;
    for (Index i = first; i < last; ++i)
      for (Index j = 0; j < c; ++j) {
        const double d = double(x.data()[i * x.stride(0) + j * x.stride(1)]) - mean;
        sum += d * d;
      }
    part(block) = sum;
  });
  const double scale = 1.0 / std::sqrt(average() + double(w.eps));
  const auto gamma = w.weight.view(), beta = w.bias.view();
  for (Index j = 0; j < c; ++j) factor(j) = float(double(gamma(j)) * scale);
  const float centre = float(mean);
  each_block([&](Index, Index first, Index last) {
    for (Index i = first; i < last; ++i)
      for (Index j = 0; j < c; ++j) y.data()[i * y.stride(0) + j * y.stride(1)] = (x.data()[i * x.stride(0) + j * x.stride(1)] - centre) * factor.data()[j] + beta.data()[j];
  });
}

/// A device has no kernel for it yet.
template <class B>
  requires(on_device<B>)
void group_norm(Context<B>& ctx, const PackedNorm<B>&, const View<const float, 2>&, const View<float, 2>&) {
  ctx.fail(Error(ErrorCode::unsupported, cat("group_norm: device ", B::kName, " has no norm over whole maps; use device cpu")));
}

}  // namespace sampan::inline SAMPAN_ABI
