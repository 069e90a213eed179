// What follows a product, per row: y = act(sums + bias) + residual. Included inside the namespace of one level, after activate.inl.
// Data flow: gemm.inl, scalar.hpp -> here, while the sums are in cache.

SAMPAN_KERNEL_INLINE void finish_row(const float* sums, const float* bias, int activation, const float* residual, float* y, Index n) {
  Index j = 0;
  for (; (activation == kGelu || activation == kGeluShort) && j + 4 * kLanes <= n; j += 4 * kLanes) {
    Vec v[4];
    SAMPAN_UNROLL
    for (int i = 0; i < 4; ++i) v[i] = bias ? load(sums + j + i * kLanes) + load(bias + j + i * kLanes) : load(sums + j + i * kLanes);
    activation == kGelu ? gelu(v) : gelu_short(v);
    SAMPAN_UNROLL
    for (int i = 0; i < 4; ++i) store(y + j + i * kLanes, residual ? v[i] + load(residual + j + i * kLanes) : v[i]);
  }
  for (; j + kLanes <= n; j += kLanes) {
    Vec v = load(sums + j);
    if (bias) v += load(bias + j);
    v = activate(v, activation);
    if (residual) v += load(residual + j);
    store(y + j, v);
  }
  if (const Index left = n - j; left > 0) {
    Vec v = load_part(sums + j, left);
    if (bias) v += load_part(bias + j, left);
    v = activate(v, activation);
    if (residual) v += load_part(residual + j, left);
    store_part(y + j, v, left);
  }
}
