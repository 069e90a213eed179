// Kernels of the mask decoder: softmax over interleaved groups and over columns, and dot products of many rows with few vectors.
// Included inside the namespace of one level, after rows.inl and panel.inl.   Data flow: cpu/absorbed_attention.hpp, cpu/mask_upscale.hpp through the level's table -> here.
// Groups lie side by side so that no vector is ever partly filled: 7 keys of 8 heads are 56 neighbours, where a row per head would have 7.

SAMPAN_KERNEL_INLINE void store_quad(float* p, Quad v) { *reinterpret_cast<QuadMemory*>(p) = v; }

/// Both combine the entries t * groups + h over t and write the result to every t, so that the vector loops behind them need no remainder of groups.
SAMPAN_KERNEL_INLINE void spread_largest(const float* s, Index n, Index groups, float* to) {
  Index h = 0;
  for (; h + 4 <= groups; h += 4) {
    Quad top = load_quad(s + h);
    for (Index t = h + groups; t < n; t += groups) top = larger_quad(top, load_quad(s + t));
    for (Index t = h; t < n; t += groups) store_quad(to + t, top);
  }
  for (; h < groups; ++h) {
    float top = s[h];
    for (Index t = h + groups; t < n; t += groups) top = top < s[t] ? s[t] : top;
    for (Index t = h; t < n; t += groups) to[t] = top;
  }
}
SAMPAN_KERNEL_INLINE void spread_reciprocal_sum(const float* s, Index n, Index groups, float* to) {
  Index h = 0;
  for (; h + 4 <= groups; h += 4) {
    Quad sum = load_quad(s + h);
    for (Index t = h + groups; t < n; t += groups) sum += load_quad(s + t);
    sum = 1.0f / sum;
    for (Index t = h; t < n; t += groups) store_quad(to + t, sum);
  }
  for (; h < groups; ++h) {
    float sum = s[h];
    for (Index t = h + groups; t < n; t += groups) sum += s[t];
    for (Index t = h; t < n; t += groups) to[t] = 1.0f / sum;
  }
}

inline void softmax_groups(const SoftmaxGroups& p) {
  for (Index i = 0; i < p.m; ++i) {
    float* s = p.scores + i * p.ld;
    spread_largest(s, p.n, p.groups, p.scratch);
    Index j = 0;
    for (; j + kLanes <= p.n; j += kLanes) store(s + j, exp_negative(load(s + j) - load(p.scratch + j)));
    if (const Index n = p.n - j; n > 0) store_part(s + j, exp_negative(load_part(s + j, n) - load_part(p.scratch + j, n)), n);
    spread_reciprocal_sum(s, p.n, p.groups, p.scratch);
    for (j = 0; j + kLanes <= p.n; j += kLanes) store(s + j, load(s + j) * load(p.scratch + j));
    for (; j < p.n; ++j) s[j] *= p.scratch[j];
  }
}

/// Largest of each column, then powers and their sums: no lane ever meets another one.
SAMPAN_KERNEL_INLINE void softmax_column(const SoftmaxColumns& p, Index c) {
  float* s = p.scores + c;
  const Vec before = load(p.top + c);
  Vec even = before, odd = before;
  Index i = 0;
  for (; i + 2 <= p.n; i += 2) even = larger(even, load(s + i * p.ld)), odd = larger(odd, load(s + (i + 1) * p.ld));
  if (i < p.n) even = larger(even, load(s + i * p.ld));
  const Vec top = larger(even, odd), alpha = exp_negative(before - top);
  store(p.top + c, top);
  store(p.alpha + c, alpha);
  even = odd = Vec{};
  for (i = 0; i + 2 <= p.n; i += 2, s += 2 * p.ld) {
    const Vec a = exp_negative(load(s) - top), b = exp_negative(load(s + p.ld) - top);
    store(s, a);
    store(s + p.ld, b);
    even += a;
    odd += b;
  }
  if (i < p.n) {
    const Vec a = exp_negative(load(s) - top);
    store(s, a);
    even += a;
  }
  store(p.sum + c, load(p.sum + c) * alpha + (even + odd));
}

inline void softmax_columns(const SoftmaxColumns& p) {
  for (Index c = 0; c < p.m; c += kLanes) softmax_column(p, c);
  Index i = 0;
  for (; i + kLanes <= p.n; i += kLanes) {
    const float* rows[kLanes];
    for (Index r = 0; r < kLanes; ++r) rows[r] = p.scores + (i + r) * p.ld;
    Index j = 0;
    for (; j + 4 <= p.m; j += 4) {
      Vec v[4];
      transpose_rows(rows, j, v);
      SAMPAN_UNROLL
      for (int e = 0; e < 4; ++e) store(p.out + (j + e) * p.ldo + i, v[e]);
    }
    for (; j < p.m; ++j)
      for (Index r = 0; r < kLanes; ++r) p.out[j * p.ldo + i + r] = rows[r][j];
  }
  for (; i < p.n; ++i)
    for (Index j = 0; j < p.m; ++j) p.out[j * p.ldo + i] = p.scores[i * p.ld + j];
}

/// x w, summed down to four lanes.
SAMPAN_KERNEL_INLINE Quad dot_quad(const float* x, const float* w, Index c) {
  Vec sum{};
  Index j = 0;
  for (; j + kLanes <= c; j += kLanes) sum += load(x + j) * load(w + j);
  if (j < c) sum += load_part(x + j, c - j) * load_part(w + j, c - j);
  float lanes[kLanes];
  store(lanes, sum);
  Quad q = load_quad(lanes);
  for (Index l = 4; l < kLanes; l += 4) q += load_quad(lanes + l);
  return q;
}

inline void dot_rows(const DotRows& p) {
  for (Index k = 0; k < p.m; ++k) {
    const float* w = p.w + k * p.ldw;
    float* y = p.y + k * p.ldy;
    Index i = 0;
    for (; i + 4 <= p.n; i += 4) {
      const float* x = p.x + i * p.ldx;
      const Quad a = dot_quad(x, w, p.c), b = dot_quad(x + p.ldx, w, p.c), c = dot_quad(x + 2 * p.ldx, w, p.c), d = dot_quad(x + 3 * p.ldx, w, p.c);
      const Quad ab = __builtin_shufflevector(a, b, 0, 4, 1, 5) + __builtin_shufflevector(a, b, 2, 6, 3, 7);  // a0 + a2, b0 + b2, a1 + a3, b1 + b3
      const Quad cd = __builtin_shufflevector(c, d, 0, 4, 1, 5) + __builtin_shufflevector(c, d, 2, 6, 3, 7);
      store_quad(y + i, __builtin_shufflevector(ab, cd, 0, 1, 4, 5) + __builtin_shufflevector(ab, cd, 2, 3, 6, 7));
    }
    for (; i < p.n; ++i) {
      const Quad q = dot_quad(p.x + i * p.ldx, w, p.c);
      y[i] = (q[0] + q[2]) + (q[1] + q[3]);
    }
  }
}
