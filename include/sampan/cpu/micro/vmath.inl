// exp and ReLU on vectors. Included inside the namespace of one level, after vec.inl.
// Data flow: gelu_division.inl, activate.inl, rows.inl -> here.   Polynomials are our own minimax fits (Remez in 40 digits, weighted as said below).

/// e^x for x <= 0 (softmax and GELU need no more); 0 below -87, NaN stays NaN. Relative error <= 2 ulp.
/// x = n ln 2 + r: n from the low bits of x log2(e) + 1.5 * 2^23, ln 2 in two parts so that the product with n is exact;
/// e^r = 1 + r + r^2 p(r) with p of degree 4: 3.1e-9 relative on |r| <= 0.347.
SAMPAN_KERNEL_INLINE Vec exp_negative(Vec x) {
  const Vec magic = splat(12582912.0f);
  const Vec biased = x * splat(1.44269504f) + magic;
  const Vec n = biased - magic;
  const Vec r = (x - n * splat(0.693359375f)) + n * splat(2.12194440e-4f);
  Vec p = splat(1.38144670593e-3f);
  p = p * r + splat(8.36878041118e-3f);
  p = p * r + splat(4.16683942109e-2f);
  p = p * r + splat(1.66665201078e-1f);
  p = p * r + splat(4.99999934125e-1f);
  const Vec e = (p * (r * r) + r) + splat(1.0f);
  return select(x < splat(-87.0f), Vec{}, e * power_of_low_bits(biased));
}

/// NaN stays NaN.
SAMPAN_KERNEL_INLINE Vec relu(Vec x) { return larger(x, Vec{}); }
