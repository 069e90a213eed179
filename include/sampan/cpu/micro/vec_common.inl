// Helpers on any level's vectors. Included inside the namespace of one level, after vec.inl or vec_portable.inl.
// Partial vectors touch exactly `n` floats, so that no kernel reads or writes outside its views.

typedef float Quad __attribute__((vector_size(16)));
typedef float QuadMemory __attribute__((vector_size(16), aligned(4), may_alias));

SAMPAN_KERNEL_INLINE Vec load_part(const float* p, Index n, float rest = 0) {
  float buffer[kLanes];
  for (Index i = 0; i < kLanes; ++i) buffer[i] = i < n ? p[i] : rest;
  return load(buffer);
}
SAMPAN_KERNEL_INLINE void store_part(float* p, Vec v, Index n) {
  float buffer[kLanes];
  store(buffer, v);
  for (Index i = 0; i < n; ++i) p[i] = buffer[i];
}
/// Lanes added in a fixed order.
SAMPAN_KERNEL_INLINE float sum_lanes(Vec v) {
  float s = 0;
  for (Index i = 0; i < kLanes; ++i) s += v[i];
  return s;
}
/// The larger one; a NaN in `b` is ignored, as in std::max(a, b).
SAMPAN_KERNEL_INLINE Vec larger(Vec a, Vec b) { return select(a < b, b, a); }
SAMPAN_KERNEL_INLINE float max_lanes(Vec v) {
  float m = v[0];
  for (Index i = 1; i < kLanes; ++i) m = v[i] > m ? v[i] : m;
  return m;
}
