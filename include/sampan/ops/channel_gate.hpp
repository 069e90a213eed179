// Squeeze and excite: every channel of a map is weighted by a number in (0, 1) that comes from the means of all channels.
// Data flow: nn/conv_adapter.hpp (SAM-Med2D) -> here; the two small linear layers between mean_rows and gate_rows are ops/linear.hpp.
// Shapes: x, y [n, c] (pixels as rows), mean and gate [1, c].   Cost: n c FLOP each; bound by bandwidth, so one implementation serves every host backend.
// Source: SAM-Med2D image_encoder.py, Adapter_Layer (AdaptiveAvgPool2d, Linear, ReLU, Linear, Sigmoid). Means are summed in double: no order to argue about.
#pragma once
#include <sampan/ops/params.hpp>
#include <sampan/ops/reference_backend.hpp>

#include <cmath>

namespace sampan::inline SAMPAN_ABI {

namespace detail {
inline constexpr Index kGateColumns = 64, kGateRows = 32;  // work items; fixed, so that results never depend on the number of threads
template <class B>
bool check_mean_rows(Context<B>& ctx, const View<const float, 2>& x, const View<float, 2>& mean) {
  return ctx.require(x.extent(0) >= 1 && mean.extent(0) == 1 && mean.extent(1) == x.extent(1), "mean_rows: x [n,c] and mean [1,c] disagree");
}
template <class B>
bool check_gate_rows(Context<B>& ctx, const View<const float, 2>& x, const View<const float, 2>& gate, const View<float, 2>& y) {
  return ctx.require(same_extents(x, y) && gate.extent(0) == 1 && gate.extent(1) == x.extent(1), "gate_rows: x, y [n,c] and gate [1,c] disagree");
}
inline Cost mean_rows_cost(const View<const float, 2>& x) { return {double(x.size()), 4.0 * double(x.size())}; }
inline Cost gate_rows_cost(const View<const float, 2>& x) { return {double(x.size()), 8.0 * double(x.size())}; }
}  // namespace detail

/// mean [1, c] = the mean of the rows of x. Fails the context if extents disagree.
template <class B>
  requires(!on_device<B>)
void mean_rows(Context<B>& ctx, const View<const float, 2>& x, const View<float, 2>& mean) {
  const Index n = x.extent(0), c = x.extent(1);
  if (!detail::check_mean_rows(ctx, x, mean) || !ctx.begin(detail::mean_rows_cost(x))) return;
  ctx.pool.parallel_for((c + detail::kGateColumns - 1) / detail::kGateColumns, [&](Index block, int) {
    const Index first = block * detail::kGateColumns, count = c - first < detail::kGateColumns ? c - first : detail::kGateColumns;
    double sum[detail::kGateColumns] = {};
    for (Index i = 0; i < n; ++i)
      for (Index j = 0; j < count; ++j) sum[j] += double(x.data()[i * x.stride(0) + (first + j) * x.stride(1)]);
    for (Index j = 0; j < count; ++j) mean(0, first + j) = float(sum[j] / double(n));
  });
}

/// y = x * sigmoid(gate), the gate per channel; y may be x. Fails the context if extents disagree.
template <class B>
  requires(!on_device<B>)
void gate_rows(Context<B>& ctx, const View<const float, 2>& x, const View<const float, 2>& gate, const View<float, 2>& y) {
  const Index n = x.extent(0), c = x.extent(1);
  if (!detail::check_gate_rows(ctx, x, gate, y)) return;
  auto scope = ctx.arena.scope();
  const auto factor = scope.template make<float>(c);
  if (!ctx.begin(detail::gate_rows_cost(x))) return;
  for (Index j = 0; j < c; ++j) factor(j) = 1.0f / (1.0f + std::exp(-gate(0, j)));
  ctx.pool.parallel_for((n + detail::kGateRows - 1) / detail::kGateRows, [&](Index block, int) {
    for (Index i = block * detail::kGateRows; i < n && i < (block + 1) * detail::kGateRows; ++i)
      for (Index j = 0; j < c; ++j) y.data()[i * y.stride(0) + j * y.stride(1)] = x.data()[i * x.stride(0) + j * x.stride(1)] * factor.data()[j];
  });
}

}  // namespace sampan::inline SAMPAN_ABI
