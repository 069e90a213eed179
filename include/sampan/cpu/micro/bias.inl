// Initial accumulators of a tile of attention scores: the position bias. Included inside the namespace of one level, after vec_common.inl.
// Data flow: cpu/attention.hpp through the level's table -> here.   Runs are short (a window's row of 14 keys), so the ends go four at a time.

inline void bias_tile(const BiasTile& p) {
  for (Index i = 0; i < p.m; ++i)
    for (Index r = 0; r < p.run_count; ++r) {
      const BiasRun run = p.runs[r];
      const float* b = p.b[i] + run.ky * p.b_stride + run.kx;
      const float a = p.a ? p.a[i][run.ky] : 0.0f;
      float* s = p.scores + i * p.ld + run.at;
      Index j = 0;
      for (; j + kLanes <= run.n; j += kLanes) store(s + j, load(b + j) + splat(a));
      for (; j + 4 <= run.n; j += 4) *reinterpret_cast<QuadMemory*>(s + j) = *reinterpret_cast<const QuadMemory*>(b + j) + a;
      for (; j < run.n; ++j) s[j] = b[j] + a;
    }
}
