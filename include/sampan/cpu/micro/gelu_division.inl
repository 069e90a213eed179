// Exact GELU by division and exp, for levels without a permutation of floats (scalar, portable512). Included inside the namespace of one level, after vmath.inl.
// Data flow: activate.inl -> here; the x86 levels have gelu_table.inl instead.   Source: our own minimax fit.

/// 0.5 x (1 + erf(x / sqrt 2)) as relu(x) - |x| erfc(|x| / sqrt 2) / 2: no cancellation for negative x.
/// erfc(z) = t q(t) e^(-z^2) with t = 1 / (1 + 0.4 z), q of degree 5: absolute error of the whole 4.3e-9 before rounding.
SAMPAN_KERNEL_INLINE Vec gelu_of(Vec x) {
  const Vec r = relu(x);
  Vec a = select(x < Vec{}, -x, x);
  a = select(splat(16.0f) < a, splat(16.0f), a);  // the tail is 0 there; keeps infinity * 0 out
  const Vec t = splat(1.0f) / (splat(1.0f) + a * splat(0.4f * 0.70710678f));
  Vec q = splat(-0.206961183532f);
  q = q * t + splat(0.73605045637f);
  q = q * t + splat(-0.413842646878f);
  q = q * t + splat(0.50231710557f);
  q = q * t + splat(0.148415794614f);
  q = q * t + splat(0.234019994229f);
  return r - (a * splat(0.5f)) * (t * q) * exp_negative(a * a * splat(-0.5f));
}

template <int N>
SAMPAN_KERNEL_INLINE void gelu(Vec (&x)[N]) {
  for (int i = 0; i < N; ++i) x[i] = gelu_of(x[i]);
}
