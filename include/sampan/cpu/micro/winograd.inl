// The sums around the products of a Winograd convolution. Included inside the namespace of one level, after rows.inl.
// Data flow: cpu/winograd.hpp through the level's table -> here.   Additions only, in a fixed order: the same bits on every level.

/// One line of positions from two lines of pixels: t = a - b or a + b for the four columns of a patch, then t0 - t2, t1 + t2, t2 - t1, t1 - t3.
template <bool minus>
SAMPAN_KERNEL_INLINE void winograd_patches(const WinogradRows& p) {
  for (Index i = 0; i < p.count; ++i) {
    const float* const* a = p.pixels + 8 * i;
    const float* const* b = a + 4;
    float* v = p.v + i * p.ld;
    Index c = 0;
    for (; c + kLanes <= p.c; c += kLanes) {
      Vec t[4];
      SAMPAN_UNROLL
      for (int j = 0; j < 4; ++j) t[j] = minus ? load(a[j] + c) - load(b[j] + c) : load(a[j] + c) + load(b[j] + c);
      store(v + c, t[0] - t[2]), store(v + p.step + c, t[1] + t[2]), store(v + 2 * p.step + c, t[2] - t[1]), store(v + 3 * p.step + c, t[1] - t[3]);
    }
    for (; c < p.c; ++c) {
      float t[4];
      for (int j = 0; j < 4; ++j) t[j] = minus ? a[j][c] - b[j][c] : a[j][c] + b[j][c];
      v[c] = t[0] - t[2], v[p.step + c] = t[1] + t[2], v[2 * p.step + c] = t[2] - t[1], v[3 * p.step + c] = t[1] - t[3];
    }
  }
}

inline void winograd_rows(const WinogradRows& p) { p.minus ? winograd_patches<true>(p) : winograd_patches<false>(p); }

/// What line `line` of positions adds to the two output lines of a tile: upper = s0 + s1 + s2 + bias, lower = s1 - s2 - s3 + bias, where s = m0 + m1 + m2 in the left
/// column of a tile and m1 - m2 - m3 in the right one.
template <int line>
SAMPAN_KERNEL_INLINE void winograd_line(const WinogradSums& p) {
  for (Index i = 0; i < p.count; ++i) {
    const float* m = p.m + i * p.ld;
    float* const* y = p.y + 4 * i;
    Index c = 0;
    for (; c + kLanes <= p.n; c += kLanes) {
      const Vec m1 = load(m + p.step + c), m2 = load(m + 2 * p.step + c);
      const Vec s[2] = {load(m + c) + m1 + m2, m1 - m2 - load(m + 3 * p.step + c)};
      SAMPAN_UNROLL
      for (int x = 0; x < 2; ++x) {
        if constexpr (line == 0) store(y[x] + c, s[x]);
        if constexpr (line == 1) store(y[x] + c, load(y[x] + c) + s[x]), store(y[2 + x] + c, s[x]);
        if constexpr (line == 2) store(y[x] + c, load(y[x] + c) + s[x] + load(p.bias + c)), store(y[2 + x] + c, load(y[2 + x] + c) - s[x]);
        if constexpr (line == 3) store(y[2 + x] + c, load(y[2 + x] + c) - s[x] + load(p.bias + c));
      }
    }
    for (; c < p.n; ++c) {
      const float m1 = m[p.step + c], m2 = m[2 * p.step + c], s[2] = {m[c] + m1 + m2, m1 - m2 - m[3 * p.step + c]};
      for (int x = 0; x < 2; ++x) {
        if constexpr (line == 0) y[x][c] = s[x];
        if constexpr (line == 1) y[x][c] += s[x], y[2 + x][c] = s[x];
        if constexpr (line == 2) y[x][c] = y[x][c] + s[x] + p.bias[c], y[2 + x][c] -= s[x];
        if constexpr (line == 3) y[2 + x][c] = y[2 + x][c] - s[x] + p.bias[c];
      }
    }
    for (int x = 0; line >= 2 && p.activation != kPlain && x < 2; ++x) {
      float* done = y[line == 2 ? x : 2 + x];
      activate_row(p.activation, done, done, p.n);
    }
  }
}

inline void winograd_sums(const WinogradSums& p) {
  if (p.line == 0) winograd_line<0>(p);
  if (p.line == 1) winograd_line<1>(p);
  if (p.line == 2) winograd_line<2>(p);
  if (p.line == 3) winograd_line<3>(p);
}
