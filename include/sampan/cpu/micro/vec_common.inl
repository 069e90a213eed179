// Helpers on any level's vectors. Included inside the namespace of one level, after vec.inl.
// Partial vectors touch exactly `n` floats, so that no kernel reads or writes outside its views.

typedef float Quad __attribute__((vector_size(16)));
typedef float QuadMemory __attribute__((vector_size(16), aligned(4), may_alias));
typedef int IntMemory __attribute__((may_alias));
typedef short ShortMemory __attribute__((may_alias));

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
SAMPAN_KERNEL_INLINE Quad load_quad(const float* p) { return *reinterpret_cast<const QuadMemory*>(p); }
/// Lanes added in a fixed order: quarters of four lanes pairwise, then these four.
SAMPAN_KERNEL_INLINE float sum_lanes(Vec v) {
  alignas(64) float buffer[kLanes];
  store(buffer, v);
  Quad q = load_quad(buffer);
  if constexpr (kLanes == 8) q += load_quad(buffer + 4);
  if constexpr (kLanes == 16) q = (q + load_quad(buffer + 4)) + (load_quad(buffer + 8) + load_quad(buffer + 12));
  return (q[0] + q[2]) + (q[1] + q[3]);
}
SAMPAN_KERNEL_INLINE Quad larger_quad(Quad a, Quad b) { return a < b ? b : a; }
SAMPAN_KERNEL_INLINE float max_lanes(Vec v) {
  alignas(64) float buffer[kLanes];
  store(buffer, v);
  Quad q = load_quad(buffer);
  for (Index i = 4; i < kLanes; i += 4) q = larger_quad(q, load_quad(buffer + i));
  const float a = q[0] < q[2] ? q[2] : q[0], b = q[1] < q[3] ? q[3] : q[1];
  return a < b ? b : a;
}
/// Lane 0 of a, then the lanes of b.
SAMPAN_KERNEL_INLINE Vec select_first(Vec a, Vec b) {
  alignas(64) float buffer[kLanes];
  store(buffer, b);
  buffer[0] = a[0];
  return load(buffer);
}
