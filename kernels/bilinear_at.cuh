// bilinear_at: where an output of PyTorch's bilinear resize lies between inputs, and its value. Data flow: image.cuh, mask_rows.cuh -> here.
// Computes ops/resize_torch_bilinear.hpp (bilinear_tap) to the last bit: the position in double, as PyTorch 1.13 has it; nothing is fused.
#pragma once
#include "ptx.cuh"

namespace sampan::inline SAMPAN_ABI::kernels {

/// in[i0] w0 + in[i1] w1 for output o of `out`.
struct BilinearAt {
  int i0, i1;
  float w0, w1;
};
SAMPAN_PTX BilinearAt bilinear_at(int in, int out, int o) {
  double at = add_exact(mul_exact(double(float(in) / float(out)), double(o) + 0.5), -0.5);
  if (at < 0) at = 0;
  int i = int(at);
  if (i > in - 1) i = in - 1;
  float w1 = float(at - double(i));
  if (w1 > 1) w1 = 1;
  return {i, i + 1 < in ? i + 1 : i, 1.0f - w1, w1};
}
SAMPAN_PTX float bilinear_value(const float* above, const float* below, const BilinearAt& y, const BilinearAt& x) {
  const float a = add_exact(mul_exact(x.w0, above[x.i0]), mul_exact(x.w1, above[x.i1])), b = add_exact(mul_exact(x.w0, below[x.i0]), mul_exact(x.w1, below[x.i1]));
  return add_exact(mul_exact(y.w0, a), mul_exact(y.w1, b));
}

}  // namespace sampan::inline SAMPAN_ABI::kernels
