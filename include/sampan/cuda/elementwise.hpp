// Sums, copies, activations, norms and channel gates on Cuda. Data flow: ops/*.hpp declare -> here -> kernels/finish_rows.cuh, layer_norm.cuh, channel_gate.cuh.
// Channels must lie side by side; rows may be strided, but for gates, which take whole maps.
#pragma once
#include <sampan/cuda/device.hpp>
#include <sampan/ops/channel_gate.hpp>
#include <sampan/ops/elementwise.hpp>

namespace sampan::inline SAMPAN_ABI {
namespace cuda {

inline kernels::Activate activate_of(Activation a) { return a == Activation::relu ? kernels::Activate::relu : a == Activation::gelu_erf ? kernels::Activate::gelu : kernels::Activate::none; }

template <class T>
bool packed_channels(const View<T, 2>& v) {
  return v.empty() || v.extent(1) == 1 || v.stride(1) == 1;
}
template <class T>
bool packed_rows(const View<T, 2>& v) {
  return packed_channels(v) && (v.extent(0) <= 1 || v.stride(0) == v.extent(1));
}

inline void refuse_tanh(Context<Cuda>& ctx) { ctx.fail(Error(ErrorCode::unsupported, "activate: device cuda has no GELU in its tanh form; use device cpu")); }

/// What finish_rows does besides reading x.
struct Finish {
  const float* bias = nullptr;
  Activation activation = Activation::none;
  View<const float, 2> residual = {};
  float factor = 1;
  double flop = 0;  ///< that this pass counts for itself; else they belong to the product before it
};
/// y [rows, c] of `type`, rows `stride` elements apart, from x [rows or fewer, c].
inline void finish(Context<Cuda>& ctx, const View<const float, 2>& x, const Finish& f, void* y, Index rows, Index stride, Element type) {
  if (!ctx.require(packed_channels(x) && packed_channels(f.residual), "cuda: the channels of a row must lie side by side")) return;
  if (f.activation == Activation::gelu_tanh) return refuse_tanh(ctx);
  if (!ctx.begin({f.flop, double(rows * x.extent(1)) * (f.residual.empty() ? 8.0 : 12.0)}) || rows * x.extent(1) == 0) return;
  const bool residual = !f.residual.empty();
  ran(ctx, "finish_rows",
      kernels::launch_finish_rows({x.data(), x.extent(0), x.stride(0), f.bias, residual ? f.residual.data() : nullptr, residual ? f.residual.extent(0) : 0, residual ? f.residual.stride(0) : 0, f.factor, y, rows, stride,
                                   int(x.extent(1)), activate_of(f.activation)},
                                  type, stream_of(ctx)));
}
inline void finish(Context<Cuda>& ctx, const View<const float, 2>& x, const Finish& f, const View<float, 2>& y) {
  if (!ctx.require(packed_channels(y), "cuda: the channels of a row must lie side by side")) return;
  finish(ctx, x, f, y.data(), y.extent(0), y.stride(0), Element::f32);
}

/// norm(x) in a kernel's element type, rows `stride` elements apart.
inline void norm_to(Context<Cuda>& ctx, const PackedNorm<Cuda>& w, const View<const float, 2>& x, void* y, Index stride, Element type) {
  const Index c = x.extent(1);
  if (!ctx.require(packed_channels(x), "cuda: the channels of a row must lie side by side") || !ctx.begin(detail::layer_norm_cost(x)) || x.empty()) return;
  const kernels::LayerNormParams p{x.data(), y, w.weight.view().data(), w.bias.view().data(), int(x.extent(0)), int(c), w.eps, x.stride(0), stride};
  const bool warps = c % 32 == 0 && c <= kernels::kLayerNormChannels;
  ran(ctx, "layer_norm", warps ? kernels::launch_layer_norm(p, type, stream_of(ctx)) : kernels::launch_layer_norm_naive(p, type, stream_of(ctx)));
}

}  // namespace cuda

inline void activate(Context<Cuda>& ctx, Activation a, const View<const float, 2>& x, const View<float, 2>& y) {
  if (ctx.require(same_extents(x, y), "activate: x and y differ in shape")) cuda::finish(ctx, x, {.activation = a, .flop = double(x.size())}, y);
}
inline void add(Context<Cuda>& ctx, const View<const float, 2>& x, const View<const float, 2>& b, const View<float, 2>& y) {
  if (detail::check_add(ctx, x, b, y)) cuda::finish(ctx, x, {.residual = b, .flop = double(x.size())}, y);
}
inline void copy(Context<Cuda>& ctx, const View<const float, 2>& x, const View<float, 2>& y) {
  if (ctx.require(x.extent(1) == y.extent(1) && x.extent(0) > 0 && y.extent(0) % x.extent(0) == 0, "copy: the rows of x must divide those of y")) cuda::finish(ctx, x, {}, y);
}

inline void layer_norm(Context<Cuda>& ctx, const PackedNorm<Cuda>& w, const View<const float, 2>& x, const View<float, 2>& y, Activation a = Activation::none) {
  if (!detail::check_layer_norm(ctx, w, x, y) || !ctx.require(cuda::packed_channels(y), "layer_norm: the channels of a row must lie side by side")) return;
  cuda::norm_to(ctx, w, x, y.data(), y.stride(0), cuda::Element::f32);
  if (a != Activation::none) cuda::finish(ctx, y, {.activation = a}, y);
}

inline void mean_rows(Context<Cuda>& ctx, const View<const float, 2>& x, const View<float, 2>& mean) {
  if (!detail::check_mean_rows(ctx, x, mean) || !ctx.require(ctx.backend.images == 1, "mean_rows: of one image at a time on cuda") || !ctx.require(cuda::packed_rows(x) && cuda::packed_rows(mean), "cuda: rows of a mean must follow one another")) return;
  if (!ctx.begin(detail::mean_rows_cost(x))) return;
  cuda::ran(ctx, "channel_mean", kernels::launch_channel_mean({x.data(), nullptr, mean.data(), nullptr, int(x.extent(0)), int(x.extent(1))}, cuda::stream_of(ctx)));
}
inline void gate_rows(Context<Cuda>& ctx, const View<const float, 2>& x, const View<const float, 2>& gate, const View<float, 2>& y) {
  if (!detail::check_gate_rows(ctx, x, gate, y) || !ctx.require(cuda::packed_rows(x) && cuda::packed_rows(gate) && cuda::packed_rows(y), "cuda: rows of a gate must follow one another")) return;
  if (!ctx.begin(detail::gate_rows_cost(x)) || x.empty()) return;
  cuda::ran(ctx, "gate_rows", kernels::launch_gate_rows({x.data(), gate.data(), nullptr, y.data(), int(x.extent(0)), int(x.extent(1))}, cuda::stream_of(ctx)));
}

}  // namespace sampan::inline SAMPAN_ABI
