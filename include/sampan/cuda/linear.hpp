// Linear layers and the MLP on Cuda. Data flow: ops/linear.hpp, ops/mlp.hpp declare -> here -> cuBLASLt (cuda/runtime.hpp) and kernels/finish_rows.cuh.
// The residual stream stays float; operands of a product have the weights' type. Bias and residual are cuBLASLt's epilogue; an activation is a pass of its own, which
// also converts what the next product reads.
#pragma once
#include <sampan/cuda/elementwise.hpp>
#include <sampan/ops/mlp.hpp>

namespace sampan::inline SAMPAN_ABI {

template <>
struct PackedLinear<Cuda> {
  cuda::Matrix weight;
  cuda::OptionalVector bias;
  cuda::OptionalNorm norm;
  std::string name;
  Index in_features() const { return weight.columns; }
  Index out_features() const { return weight.rows; }
  bool valid() const { return weight.valid() && bias.valid() && norm.valid(); }
};
inline PackedLinear<Cuda> pack(const Cuda& b, const LinearParams& p, const NormParams& norm = {}) {
  return {cuda::Matrix::of(p.weight, cuda::element_of(b.precision)), cuda::OptionalVector::of(p.bias), cuda::OptionalNorm::of(b, norm), p.name};
}

namespace cuda {

/// The left side of a product: rows of a kernel's element type.
struct Operand {
  const void* data = nullptr;
  Index rows = 0, columns = 0, stride = 0;
};
/// x, or norm(x), in the weights' type; scratch comes from `scope`, none where x can be read as it is.
inline Operand operand(Context<Cuda>& ctx, Arena::Scope& scope, const OptionalNorm& norm, const View<const float, 2>& x, Element type) {
  if (!norm.wanted && type == Element::f32) return {x.data(), x.extent(0), x.extent(1), x.stride(0)};
  void* made = scope.make<std::uint8_t>(x.size() * bytes_of(type)).data();
  norm.wanted ? norm_to(ctx, norm.norm, x, made, x.extent(1), type) : finish(ctx, x, {}, made, x.extent(0), x.extent(1), type);
  return {made, x.extent(0), x.extent(1), x.extent(1)};
}

/// What a product writes: rows `stride` elements apart.
struct Target {
  void* data = nullptr;
  Index stride = 0;
  Element type = Element::f32;
};
/// The right side of a product, [rows, columns] without gaps: to has a column for each of its rows.
struct Factor {
  const void* data = nullptr;
  Index rows = 0, columns = 0;
  Element type = Element::f32;
  Factor(const void* d, Index r, Index c, Element t) : data(d), rows(r), columns(c), type(t) {}
  Factor(const Matrix& m) : Factor(m.data(), m.rows, m.columns, m.type) {}
};
/// to = x W^T + bias + residual; bias in the target's type or null, the residual only with a float target.
inline void multiply(Context<Cuda>& ctx, const Operand& x, const Factor& w, const void* bias, const View<const float, 2>& residual, const Target& to) {
  if (!ctx.ok() || x.rows == 0) return;
  ProductShape s{.rows = x.rows, .out = w.rows, .in = w.columns, .x_stride = x.stride, .y_stride = to.stride, .operand = w.type, .result = to.type, .bias = bias != nullptr, .residual = !residual.empty()};
  if (s.rows == 1) s.x_stride = s.in, s.y_stride = s.out;  // the stride of a single row may be anything
  if (s.residual) s.residual_stride = s.rows == 1 ? s.out : residual.stride(0);
  std::uintptr_t bits = 0;  // arenas and allocations keep to their alignment, so that a plan's addresses stand for the run's
  for (const void* p : {x.data, w.data, bias, static_cast<const void*>(residual.data()), static_cast<const void*>(to.data)}) bits |= reinterpret_cast<std::uintptr_t>(p);
  s.alignment = bits % 16 == 0 ? 16 : bits % 4 == 0 ? 4 : 2;
  auto planned = ctx.backend.device->product(s);
  if (!planned) return ctx.fail(std::move(planned).error());
  auto scope = ctx.arena.scope();
  void* workspace = scope.make<std::uint8_t>(Index(planned->workspace)).data();
  if (!ctx.begin(detail::gemm_cost(s.rows, s.out, s.in))) return;
  ran(ctx, run_product(planned->plan, x.data, w.data, bias, residual.data(), to.data, workspace, stream_of(ctx)));
}

}  // namespace cuda

/// As ops/linear.hpp says; channels must lie side by side.
inline void linear(Context<Cuda>& ctx, const PackedLinear<Cuda>& w, const View<const float, 2>& x, const View<float, 2>& y, const Epilogue& e = {}) {
  if (!detail::check_linear(ctx, w, x, y, e)) return;
  if (!ctx.require(cuda::packed_channels(x) && cuda::packed_channels(y) && cuda::packed_channels(e.residual), "linear: the channels of a row must lie side by side")) return;
  auto scope = ctx.arena.scope();
  const cuda::Operand in = cuda::operand(ctx, scope, w.norm, x, w.weight.type);
  if (e.activation == Activation::none) return cuda::multiply(ctx, in, w.weight, w.bias.data(), e.residual, {y.data(), y.stride(0)});
  auto plain = scope.make<float>(y.extent(0), y.extent(1));
  cuda::multiply(ctx, in, w.weight, nullptr, {}, {plain.data(), plain.stride(0)});
  cuda::finish(ctx, plain, {.bias = w.bias.data(), .activation = e.activation, .residual = e.residual}, y);
}

inline PackedMlp<Cuda> pack(const Cuda& b, const MlpParams& p) { return {pack(b, p.lin1, p.norm), pack(b, p.lin2), p.activation, p.name, p.name + ".act"}; }

/// As ops/mlp.hpp says. The hidden layer is activated and converted in one pass.
inline void mlp(Context<Cuda>& ctx, const PackedMlp<Cuda>& w, const View<const float, 2>& x, const View<float, 2>& y, const View<const float, 2>& residual = {}) {
  const Index n = x.extent(0), hidden = w.lin1.out_features();
  if (!ctx.require(x.extent(1) == w.lin1.in_features() && y.extent(0) == n && y.extent(1) == w.lin2.out_features() && w.lin2.in_features() == hidden && (residual.empty() || detail::same(residual, y)),
                   "mlp: x, y and residual disagree with the weights") ||
      !ctx.require(cuda::packed_channels(x) && cuda::packed_channels(y) && cuda::packed_channels(residual), "mlp: the channels of a row must lie side by side"))
    return;
  const cuda::Element type = w.lin2.weight.type;
  auto scope = ctx.arena.scope();
  auto raw = scope.make<float>(n, hidden);
  void* active = raw.data();
  if (type != cuda::Element::f32) active = scope.make<std::uint8_t>(n * hidden * cuda::bytes_of(type)).data();
  {
    auto inner = ctx.arena.scope();
    cuda::multiply(ctx, cuda::operand(ctx, inner, w.lin1.norm, x, w.lin1.weight.type), w.lin1.weight, nullptr, {}, {raw.data(), hidden});
  }
  cuda::finish(ctx, raw, {.bias = w.lin1.bias.data(), .activation = w.activation}, active, n, hidden, type);
  cuda::multiply(ctx, {active, n, hidden, hidden}, w.lin2.weight, w.lin2.bias.data(), residual, {y.data(), y.stride(0)});
}

}  // namespace sampan::inline SAMPAN_ABI
