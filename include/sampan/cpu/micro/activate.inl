// The activations by number. Included inside the namespace of one level, after gelu_table.inl or gelu_division.inl.
// Data flow: epilogues in finish.inl, depthwise.inl, narrow_conv.inl, rows.inl -> here.

/// N vectors at once: gelu_table.inl says why.
template <int N>
SAMPAN_KERNEL_INLINE void activate(Vec (&x)[N], int activation) {
  if (activation == kGelu) gelu(x);
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
