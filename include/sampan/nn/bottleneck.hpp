// Bottleneck adapter: y = residual + scale * up(GELU(down(x))), the commonest thing that fine-tuning puts into a frozen block.
// Data flow: nn/block_hooks.hpp -> here -> ops/mlp.hpp.   Shapes: x, y [n, c], hidden width from the file.   Cost: 4 n c hidden FLOP.
// Source: the formulas of models such as finetune-SAM and Medical SAM Adapter (design notes; behaviour only). Keys: D_fc1 (down), D_fc2 (up), both with bias.
// A scale of 0.5 is folded into `up` at load: a power of two changes no rounding, so this equals multiplying afterwards to the last bit.
#pragma once
#include <sampan/weights/loader.hpp>

namespace sampan::inline SAMPAN_ABI::nn {

template <Backend B>
struct Bottleneck {
  PackedMlp<B> layers;

  static Bottleneck load(const Loader<B>& w, Index c, Index hidden, float scale) {
    MlpParams p;
    p.lin1 = w.linear("D_fc1", c, hidden);
    p.lin2 = w.linear("D_fc2", hidden, c);
    p.name = w.path();
    if (scale != 1 && w.ok()) {
      const auto weight = w.template scratch<2>({c, hidden});
      const auto bias = w.template scratch<1>({c});
      for (Index o = 0; w.ok() && o < c; ++o) {
        bias(o) = p.lin2.bias(o) * scale;
        for (Index i = 0; i < hidden; ++i) weight(o, i) = p.lin2.weight(o, i) * scale;
      }
      if (w.ok()) p.lin2.weight = weight, p.lin2.bias = bias;
    }
    return {w.pack(p)};
  }

  void forward(Context<B>& ctx, const View<const float, 2>& x, const View<float, 2>& y, const View<const float, 2>& residual) const { sampan::mlp(ctx, layers, x, y, residual); }
};

}  // namespace sampan::inline SAMPAN_ABI::nn
