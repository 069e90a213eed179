// Kernels on rows: activation, add, scale, LayerNorm, the online softmax step. Included inside the namespace of one level, after vmath.inl.
// Data flow: cpu/norm.hpp, elementwise.hpp, attention.hpp through the level's table -> here.   Bandwidth decides; sums run in kLanes * 2 lanes, then in lane order.

inline void activate_row(int activation, const float* x, float* y, Index n) {
  Index i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    Vec v[4] = {load(x + i), load(x + i + kLanes), load(x + i + 2 * kLanes), load(x + i + 3 * kLanes)};
    activate(v, activation);
    store(y + i, v[0]), store(y + i + kLanes, v[1]), store(y + i + 2 * kLanes, v[2]), store(y + i + 3 * kLanes, v[3]);
  }
  for (; i + kLanes <= n; i += kLanes) store(y + i, activate(load(x + i), activation));
  if (i < n) store_part(y + i, activate(load_part(x + i, n - i), activation), n - i);
}

inline void add_row(const float* a, const float* b, float* y, Index n) {
  Index i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, load(a + i) + load(b + i));
  for (; i < n; ++i) y[i] = a[i] + b[i];
}

inline void scale_row(const float* x, float factor, float* y, Index n) {
  Index i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, load(x + i) * splat(factor));
  for (; i < n; ++i) y[i] = x[i] * factor;
}

/// Mean and 1 / sqrt(variance + eps) of a row, in two passes (the variance of centred values does not cancel).
SAMPAN_KERNEL_INLINE void row_moments(const float* x, Index c, float eps, float& mean, float& rstd) {
  Vec s0{}, s1{};
  Index i = 0;
  for (; i + 2 * kLanes <= c; i += 2 * kLanes) s0 += load(x + i), s1 += load(x + i + kLanes);
  float s = sum_lanes(s0 + s1);
  for (; i < c; ++i) s += x[i];
  mean = s / static_cast<float>(c);
  s0 = s1 = Vec{};
  for (i = 0; i + 2 * kLanes <= c; i += 2 * kLanes) {
    const Vec a = load(x + i) - splat(mean), b = load(x + i + kLanes) - splat(mean);
    s0 += a * a, s1 += b * b;
  }
  s = sum_lanes(s0 + s1);
  for (; i < c; ++i) s += (x[i] - mean) * (x[i] - mean);
  rstd = 1.0f / __builtin_sqrtf(s / static_cast<float>(c) + eps);
}

/// y = act((x - mean) * rstd * gamma + beta) for columns [begin, end); y points at column `begin`.
SAMPAN_KERNEL_INLINE void normalise(const float* x, float mean, float rstd, const float* gamma, const float* beta, Index begin, Index end, int activation, float* y) {
  Index i = begin;
  for (; i + kLanes <= end; i += kLanes) store(y + (i - begin), activate((load(x + i) - splat(mean)) * splat(rstd) * load(gamma + i) + load(beta + i), activation));
  if (const Index n = end - i; n > 0) store_part(y + (i - begin), activate((load_part(x + i, n) - splat(mean)) * splat(rstd) * load_part(gamma + i, n) + load_part(beta + i, n), activation), n);
}

/// Rows whose moments are taken side by side: one row alone is a chain of dependent sums.
inline constexpr Index kRowsTogether = 4;

inline void layer_norm_rows(const NormRows& p) {
  for (Index first = 0; first < p.m; first += kRowsTogether) {
    const Index end = p.m - first < kRowsTogether ? p.m : first + kRowsTogether;
    float mean[kRowsTogether], rstd[kRowsTogether];
    for (Index i = first; i < end; ++i) row_moments(p.x + i * p.ldx, p.c, p.eps, mean[i - first], rstd[i - first]);
    for (Index i = first; i < end; ++i) normalise(p.x + i * p.ldx, mean[i - first], rstd[i - first], p.gamma, p.beta, 0, p.c, p.activation, p.y + i * p.ldy);
  }
}

inline void softmax_block(const SoftmaxBlock& p) {
  constexpr float kLowest = -3.402823466e38f;
  for (Index i = 0; i < p.m; ++i) {
    float* s = p.scores + i * p.ld;
    Vec top = splat(p.top[i]);
    Index j = 0;
    for (; j + kLanes <= p.n; j += kLanes) top = larger(top, load(s + j));
    if (j < p.n) top = larger(top, load_part(s + j, p.n - j, kLowest));
    const float t = max_lanes(top);
    Vec total{};
    for (j = 0; j + kLanes <= p.n; j += kLanes) {
      const Vec e = exp_negative(load(s + j) - splat(t));
      store(s + j, e);
      total += e;
    }
    float sum = sum_lanes(total);
    if (const Index n = p.n - j; n > 0) {
      const Vec e = exp_negative(load_part(s + j, n) - splat(t));
      store_part(s + j, e, n);
      for (Index l = 0; l < n; ++l) sum += e[l];
    }
    const float alpha = exp_negative(splat(p.top[i] - t))[0];
    p.alpha[i] = alpha;
    p.sum[i] = p.sum[i] * alpha + sum;
    p.top[i] = t;
  }
}
