// Parameters of layers as PyTorch stores them: views into the weight file, with the layer's full name for errors and traces.
// Data flow: weights/loader.hpp fills these; pack(backend, params) turns them into the backend's own Packed type, once, at load.
// Scaling, reversal, folding of BatchNorm and of biases happen in the fast backends' pack, never here.
#pragma once
#include <sampan/core/context.hpp>

#include <string>

namespace sampan::inline SAMPAN_ABI {

enum class Activation { none, relu, gelu_erf, gelu_tanh };

/// LayerNorm over the last (channel) axis: y = (x - mean) / sqrt(var + eps) * weight + bias, biased variance. Empty weight: no norm.
struct NormParams {
  View<const float, 1> weight, bias;
  float eps = 1e-5f;
  std::string name;
  bool present() const { return !weight.empty(); }
};

/// BatchNorm at inference: y = (x - mean) / sqrt(var + eps) * weight + bias per channel. Empty weight: no norm.
struct BatchNormParams {
  View<const float, 1> weight, bias, mean, var;
  float eps = 1e-5f;
  std::string name;
  bool present() const { return !weight.empty(); }
};

/// y = x W^T + b, W [out, in]; bias may be empty.
struct LinearParams {
  View<const float, 2> weight;
  View<const float, 1> bias;
  std::string name;
};

/// Convolution, PyTorch's weight order [out, in/groups, kh, kw] (transposed: [in, out, kh, kw]); bias may be empty; BatchNorm may follow.
struct ConvParams {
  View<const float, 4> weight;
  View<const float, 1> bias;
  BatchNormParams bn;
  int stride = 1, pad = 0;
  std::string name;
};

/// Convolution of volumes: [out, in, kd, kh, kw] (transposed: [in, out, kd, kh, kw]); bias may be empty.
struct Conv3dParams {
  View<const float, 5> weight;
  View<const float, 1> bias;
  int stride = 1, pad = 0;
  std::string name;
};

namespace detail {
inline bool same(const View<const float, 2>& a, const View<float, 2>& b) { return a.extents() == b.extents(); }
/// True if the first axes are one sequence of rows, as tokens() needs.
template <class T>
bool rows_follow(const View<T, 3>& v) {
  return v.empty() || v.extent(0) <= 1 || v.stride(0) == v.extent(1) * v.stride(1);
}
template <class T>
bool rows_follow(const View<T, 4>& v) {
  return v.empty() || ((v.extent(1) <= 1 || v.stride(1) == v.extent(2) * v.stride(2)) && (v.extent(0) <= 1 || v.stride(0) == v.extent(1) * v.extent(2) * v.stride(2)));
}
}  // namespace detail

}  // namespace sampan::inline SAMPAN_ABI
