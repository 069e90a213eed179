// Linear layer with its neighbours: y = act(norm(x) W^T + b) + residual.
// Data flow: every projection of encoder and decoder -> here -> cpu/gemm.hpp or ops/eigen_gemm.hpp.
// Shapes: x [n, in], y [n, out], residual [n, out] (may be y), W [out, in], b [out].   Cost: 2 n in out FLOP; bytes 4 (n in + n out + in out).
// Source: torch.nn.Linear; the fused neighbours are architecture.md's seam (prologue none or norm; epilogue bias, activation, residual).
// Error: vs fp64 <= 2 x Reference (plain float32 sums in index order).
#pragma once
#include <sampan/ops/elementwise.hpp>
#include <sampan/ops/layer_norm.hpp>

namespace sampan::inline SAMPAN_ABI {

/// What a backend keeps of a linear layer; specialised by each backend. Must offer in_features(), out_features(), valid(), name.
template <class B>
struct PackedLinear;

/// What follows the matrix product, in this order.
struct Epilogue {
  Activation activation = Activation::none;
  View<const float, 2> residual = {};  ///< added last; empty: none
};

template <>
struct PackedLinear<Reference> {
  Tensor<float, 2, Reference> weight;
  Tensor<float, 1, Reference> bias;
  PackedNorm<Reference> norm;
  std::string name;
  Index in_features() const { return weight.extent(1); }
  Index out_features() const { return weight.extent(0); }
  bool valid() const { return weight.valid(); }
};

inline PackedLinear<Reference> pack(const Reference& b, const LinearParams& p, const NormParams& norm = {}) {
  PackedLinear<Reference> w{Tensor<float, 2, Reference>::copy_of(p.weight), Tensor<float, 1, Reference>::copy_of(p.bias), {}, p.name};
  if (norm.present()) w.norm = pack(b, norm);
  return w;
}

namespace detail {
template <class B>
bool check_linear(Context<B>& ctx, const PackedLinear<B>& w, const View<const float, 2>& x, const View<float, 2>& y, const Epilogue& e) {
  return ctx.require(x.extent(0) == y.extent(0), "linear: x and y differ in rows") && ctx.require(x.extent(1) == w.in_features(), "linear: x has another width than the weights") &&
         ctx.require(y.extent(1) == w.out_features(), "linear: y has another width than the weights") &&
         ctx.require(e.residual.empty() || same(e.residual, y), "linear: residual and y differ in shape");
}
inline Cost gemm_cost(Index m, Index n, Index k) { return {2.0 * double(m) * double(n) * double(k), 4.0 * (double(m) * double(k) + double(m) * double(n) + double(n) * double(k))}; }

/// A wanted layer output is what PyTorch's module gives: before activation and residual. Computes it alone, taps it, then applies the rest.
template <class B>
bool linear_unfused(Context<B>& ctx, const PackedLinear<B>& w, const View<const float, 2>& x, const View<float, 2>& y, const Epilogue& e) {
  if (!ctx.traced(w.name)) return false;
  auto scope = ctx.arena.scope();
  auto plain = scope.template make<float>(y.extent(0), y.extent(1));
  if (w.norm.present() && ctx.traced(w.norm.name)) {  // the fused norm is silenced below
    auto inner = ctx.arena.scope();
    layer_norm(ctx, w.norm, x, inner.template make<float>(x.extent(0), x.extent(1)));
  }
  {
    TraceOff off(ctx);
    linear(ctx, w, x, plain, Epilogue{});
  }
  ctx.tap_rows(w.name, plain);
  if (e.activation != Activation::none) activate(ctx, e.activation, plain, plain);
  if (e.residual.empty()) {
    copy(ctx, plain, y);
  } else {
    add(ctx, plain, e.residual, y);
  }
  return true;
}
}  // namespace detail

/// y = act(norm(x) W^T + b) + residual. Fails the context if extents disagree; y may be the residual, never x.
inline void linear(Context<Reference>& ctx, const PackedLinear<Reference>& w, const View<const float, 2>& x, const View<float, 2>& y, const Epilogue& e = {}) {
  if (!detail::check_linear(ctx, w, x, y, e) || detail::linear_unfused(ctx, w, x, y, e)) return;
  auto scope = ctx.arena.scope();
  View<const float, 2> in = x;
  if (w.norm.present()) {
    auto normed = scope.make<float>(x.extent(0), x.extent(1));
    layer_norm(ctx, w.norm, x, normed);
    in = normed;
  }
  if (!ctx.begin(detail::gemm_cost(x.extent(0), w.out_features(), w.in_features()))) return;
  const auto weight = w.weight.view();
  const auto bias = w.bias.view();
  for (Index i = 0; i < in.extent(0); ++i)
    for (Index o = 0; o < weight.extent(0); ++o) {
      float sum = 0;
      for (Index k = 0; k < weight.extent(1); ++k) sum += in(i, k) * weight(o, k);
      if (!bias.empty()) sum += bias(o);
      sum = reference::activate(sum, e.activation);
      y(i, o) = e.residual.empty() ? sum : sum + e.residual(i, o);
    }
}

}  // namespace sampan::inline SAMPAN_ABI
