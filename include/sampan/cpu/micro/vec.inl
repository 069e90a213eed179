// Portable vectors: the arithmetic type of every level's kernel bodies. Included inside the namespace (and target region) of one level, never on its own.
// Data flow: cpu/scalar.hpp, cpu/x86/*.hpp define SAMPAN_VECTOR_BYTES -> here -> the other .inl files.
// GCC's and clang's vector extension compiles to whatever the region's target has; no intrinsic, nothing of std.
// Partial vectors: load_part / store_part touch exactly `n` floats, so that no kernel reads or writes outside its views.

inline constexpr Index kLanes = SAMPAN_VECTOR_BYTES / 4;
typedef float Vec __attribute__((vector_size(SAMPAN_VECTOR_BYTES)));
typedef int VecInt __attribute__((vector_size(SAMPAN_VECTOR_BYTES)));
typedef float VecMemory __attribute__((vector_size(SAMPAN_VECTOR_BYTES), aligned(4), may_alias));

SAMPAN_KERNEL_INLINE Vec load(const float* p) { return *reinterpret_cast<const VecMemory*>(p); }
SAMPAN_KERNEL_INLINE void store(float* p, Vec v) { *reinterpret_cast<VecMemory*>(p) = v; }
SAMPAN_KERNEL_INLINE Vec splat(float x) { return x - Vec{}; }  // x - 0 is x, bit for bit
SAMPAN_KERNEL_INLINE Vec load_part(const float* p, Index n, float rest = 0) {
  Vec v = splat(rest);
  for (Index i = 0; i < n; ++i) v[i] = p[i];
  return v;
}
SAMPAN_KERNEL_INLINE void store_part(float* p, Vec v, Index n) {
  for (Index i = 0; i < n; ++i) p[i] = v[i];
}
/// Lanes added in a fixed order.
SAMPAN_KERNEL_INLINE float sum_lanes(Vec v) {
  float s = 0;
  for (Index i = 0; i < kLanes; ++i) s += v[i];
  return s;
}
/// The larger one; a NaN in `b` is ignored, as in std::max(a, b).
SAMPAN_KERNEL_INLINE Vec larger(Vec a, Vec b) { return b > a ? b : a; }
SAMPAN_KERNEL_INLINE float max_lanes(Vec v) {
  float m = v[0];
  for (Index i = 1; i < kLanes; ++i) m = v[i] > m ? v[i] : m;
  return m;
}
