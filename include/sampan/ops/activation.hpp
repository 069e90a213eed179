// Activations: ReLU; GELU in the exact erf form, y = 0.5 x (1 + erf(x / sqrt 2)); and its tanh form, y = 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).
// Data flow: epilogue of linear.hpp and conv2d.hpp, or alone after a LayerNorm2d (mask decoder).   Shapes: x, y [n, c], y may be x.
// Source: torch.nn.ReLU, torch.nn.GELU(approximate="none"), and approximate="tanh" (EfficientViT-SAM).   Cost: counted as 1 FLOP per element (bandwidth decides).
// Error: Reference is std::erf in float32 (4.5e-7 absolute, kernels.md 1.6); a backend may use any form with absolute error <= 5e-7.
#pragma once
#include <sampan/ops/params.hpp>
#include <sampan/ops/reference_backend.hpp>

#include <cmath>

namespace sampan::inline SAMPAN_ABI {

namespace reference {
inline float activate(float x, Activation a) {
  switch (a) {
    case Activation::none: return x;
    case Activation::relu: return x > 0 ? x : x != x ? x : 0;  // NaN stays NaN, as in PyTorch
    case Activation::gelu_erf: return 0.5f * x * (1.0f + std::erf(x * 0.70710678f));
    case Activation::gelu_tanh: return 0.5f * x * (1.0f + std::tanh(0.79788456f * (x + 0.044715f * (x * x * x))));
  }
  return x;
}
}  // namespace reference

/// y = a(x), elementwise. Fails the context if the extents differ.
inline void activate(Context<Reference>& ctx, Activation a, const View<const float, 2>& x, const View<float, 2>& y) {
  if (!ctx.require(same_extents(x, y), "activate: x and y differ in shape")) return;
  if (!ctx.begin({double(x.size()), 8.0 * double(x.size())})) return;
  for (Index i = 0; i < x.extent(0); ++i)
    for (Index j = 0; j < x.extent(1); ++j) y(i, j) = reference::activate(x(i, j), a);
}

}  // namespace sampan::inline SAMPAN_ABI
