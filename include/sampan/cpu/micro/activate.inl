// The activations by number. Included inside the namespace of one level, after gelu_short.inl.
// Data flow: epilogues in finish.inl, depthwise.inl, narrow_conv.inl, rows.inl -> here.

/// x sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3): equal to the tanh form, and without its cancellation at negative x.
SAMPAN_KERNEL_INLINE Vec gelu_tanh(Vec x) {
  const Vec z = splat(1.59576912f) * (x + splat(0.044715f) * (x * x * x));
  const Vec e = exp_negative(Vec{} - magnitude(z));
  return x * (select(z < Vec{}, e, splat(1.0f)) / (splat(1.0f) + e));
}

/// N vectors at once: gelu_table.inl says why.
template <int N>
SAMPAN_KERNEL_INLINE void activate(Vec (&x)[N], int activation) {
  if (activation == kGelu) gelu(x);
  if (activation == kGeluShort) gelu_short(x);
  if (activation == kGeluTanh) {
    for (int i = 0; i < N; ++i) x[i] = gelu_tanh(x[i]);
  }
  if (activation == kRelu) {
    SAMPAN_UNROLL
    for (int i = 0; i < N; ++i) x[i] = relu(x[i]);
  }
}

SAMPAN_KERNEL_INLINE Vec activate(Vec x, int activation) {
  Vec one[1] = {x};
  activate(one, activation);
  return one[0];
}
