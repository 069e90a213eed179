// Small multi-layer perceptron with an activation between its layers: the hypernetwork heads and the IoU head of the mask decoder (ReLU; GELU in EfficientSAM).
// Data flow: models/mask_decoder.hpp -> here -> ops/linear.hpp.   Shapes: x [n, in], y [n, out]; hidden widths come from the file.
// Source: segment_anything/modeling/mask_decoder.py, class MLP (sigmoid_output=False).
#pragma once
#include <sampan/weights/loader.hpp>

#include <vector>

namespace sampan::inline SAMPAN_ABI::nn {

template <Backend B>
struct ReluMlp {
  std::vector<PackedLinear<B>> layers;
  Activation between = Activation::relu;
  std::string name;

  static ReluMlp load(const Loader<B>& w, Index in, Index hidden, Index out, int depth, Activation between = Activation::relu) {
    ReluMlp m;
    m.between = between;
    m.name = w.path();
    for (int i = 0; i < depth; ++i) m.layers.push_back(w.pack(w.linear("layers." + std::to_string(i), i == 0 ? in : hidden, i + 1 == depth ? out : hidden)));
    return m;
  }

  void forward(Context<B>& ctx, const View<const float, 2>& x, const View<float, 2>& y) const {
    auto scope = ctx.arena.scope();
    View<const float, 2> in = x;
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const bool last = i + 1 == layers.size();
      const auto out = last ? y : scope.template make<float>(x.extent(0), layers[i].out_features());
      linear(ctx, layers[i], in, out, {.activation = last ? Activation::none : between});
      in = out;
    }
    ctx.tap(name, View<const float, 2>(y), TraceLayout::batch);
  }
};

}  // namespace sampan::inline SAMPAN_ABI::nn
