// Feed-forward part of a block: y = residual + lin2(act(lin1(norm(x)))).
// Data flow: nn/block.hpp -> here -> ops/linear.hpp.   Shapes: x, y, residual [n, c]; hidden [n, m].   Cost: 4 n c m FLOP.
// Source: segment_anything/modeling/common.py, class MLPBlock (SAM: lin1, lin2; the norm stands outside); TinyViT class Mlp (norm, fc1, fc2).
// A whole op, so that a backend may keep the hidden activations in its own format; Reference composes the literal parts.
#pragma once
#include <sampan/ops/linear.hpp>

namespace sampan::inline SAMPAN_ABI {

struct MlpParams {
  NormParams norm;  ///< may be absent
  LinearParams lin1, lin2;
  Activation activation = Activation::gelu_erf;
  std::string name;
};

template <class B>
struct PackedMlp {
  PackedLinear<B> lin1, lin2;
  Activation activation = Activation::none;
  std::string name, act_name;
  bool valid() const { return lin1.valid() && lin2.valid(); }
};

inline PackedMlp<Reference> pack(const Reference& b, const MlpParams& p) {
  return {pack(b, p.lin1, p.norm), pack(b, p.lin2), p.activation, p.name, p.name + ".act"};
}

namespace detail {
/// The literal composition; also what a fused backend does when the inside is traced.
template <class B>
void mlp_composed(Context<B>& ctx, const PackedMlp<B>& w, const View<const float, 2>& x, const View<float, 2>& y, const View<const float, 2>& residual) {
  auto scope = ctx.arena.scope();
  auto hidden = scope.template make<float>(x.extent(0), w.lin1.out_features());
  linear(ctx, w.lin1, x, hidden, {.activation = w.activation});
  ctx.tap_rows(w.act_name, hidden);
  if (ctx.traced(w.name)) {
    auto out = scope.template make<float>(y.extent(0), y.extent(1));
    linear(ctx, w.lin2, hidden, out);
    ctx.tap_rows(w.name, out);
    residual.empty() ? copy(ctx, out, y) : add(ctx, out, residual, y);
  } else {
    linear(ctx, w.lin2, hidden, y, {.residual = residual});
  }
}
}  // namespace detail

/// Fails the context if extents disagree; y may be the residual, never x unless x is the residual too (the hidden layer stands between).
inline void mlp(Context<Reference>& ctx, const PackedMlp<Reference>& w, const View<const float, 2>& x, const View<float, 2>& y, const View<const float, 2>& residual = {}) {
  detail::mlp_composed(ctx, w, x, y, residual);
}

}  // namespace sampan::inline SAMPAN_ABI
