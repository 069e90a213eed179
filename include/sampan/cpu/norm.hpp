// layer_norm on Cpu: blocks of rows over the threads. Data flow: ops/layer_norm.hpp declares -> here -> micro/rows.inl.
// Inside transformer blocks the norm runs in the row packing of linear instead (gemm.hpp).
#pragma once
#include <sampan/cpu/elementwise.hpp>
#include <sampan/ops/layer_norm.hpp>

namespace sampan::inline SAMPAN_ABI {

/// As ops/layer_norm.hpp says; rows may be strided, channels must lie side by side.
inline void layer_norm(Context<Cpu>& ctx, const PackedNorm<Cpu>& w, const View<const float, 2>& x, const View<float, 2>& y, Activation a = Activation::none) {
  if (!detail::check_layer_norm(ctx, w, x, y)) return;
  if (!ctx.require(cpu::packed_channels(x) && cpu::packed_channels(y), "layer_norm: channels must lie side by side")) return;
  if (detail::layer_norm_unfused(ctx, w, x, y, a) || !ctx.begin(detail::layer_norm_cost(x))) return;
  const cpu::Kernels& level = ctx.backend.kernels();
  const Index m = x.extent(0), c = x.extent(1);
  cpu::for_row_blocks(ctx.pool, m, c, [&](Index i, Index rows) {
    level.layer_norm({x.data() + i * x.stride(0), x.stride(0), y.data() + i * y.stride(0), y.stride(0), rows, c, w.weight.view().data(), w.bias.view().data(), w.eps, cpu::kernel_activation(a)});
  });
}

namespace cpu {
/// A norm that is fused into the op behind it, computed on its own because the trace wants it.
inline void tap_norm(Context<Cpu>& ctx, const PackedNorm<Cpu>& norm, const View<const float, 2>& x) {
  if (!norm.present() || !ctx.traced(norm.name)) return;
  auto scope = ctx.arena.scope();
  layer_norm(ctx, norm, x, scope.make<float>(x.extent(0), x.extent(1)));
}
}  // namespace cpu

}  // namespace sampan::inline SAMPAN_ABI
