// Sixteen floats as four vectors of four: the arithmetic type of level `portable512`, with the interface of vec.inl.
// Data flow: cpu/portable512.hpp -> here -> vec_common.inl and the other .inl files.
// A struct, since a 64-byte vector type in a signature has no fixed calling convention below AVX-512 (g++ warns about each).

inline constexpr Index kLanes = 16;
typedef float Four __attribute__((vector_size(16)));
typedef int FourInt __attribute__((vector_size(16)));
typedef float FourMemory __attribute__((vector_size(16), aligned(4), may_alias));

struct VecInt {
  FourInt part[4];
};
struct Vec {
  Four part[4];
  float operator[](Index i) const { return part[i / 4][i % 4]; }
};

#define SAMPAN_EACH(expression)                 \
  for (int i = 0; i < 4; ++i) r.part[i] = expression; \
  return r
SAMPAN_KERNEL_INLINE Vec operator+(Vec a, Vec b) { Vec r; SAMPAN_EACH(a.part[i] + b.part[i]); }
SAMPAN_KERNEL_INLINE Vec operator-(Vec a, Vec b) { Vec r; SAMPAN_EACH(a.part[i] - b.part[i]); }
SAMPAN_KERNEL_INLINE Vec operator*(Vec a, Vec b) { Vec r; SAMPAN_EACH(a.part[i] * b.part[i]); }
SAMPAN_KERNEL_INLINE Vec operator/(Vec a, Vec b) { Vec r; SAMPAN_EACH(a.part[i] / b.part[i]); }
SAMPAN_KERNEL_INLINE Vec operator-(Vec a) { Vec r; SAMPAN_EACH(-a.part[i]); }
SAMPAN_KERNEL_INLINE VecInt operator<(Vec a, Vec b) { VecInt r; SAMPAN_EACH(a.part[i] < b.part[i]); }
SAMPAN_KERNEL_INLINE Vec splat(float x) { Vec r; SAMPAN_EACH(x - Four{}); }
SAMPAN_KERNEL_INLINE Vec load(const float* p) { Vec r; SAMPAN_EACH(*reinterpret_cast<const FourMemory*>(p + 4 * i)); }
SAMPAN_KERNEL_INLINE Vec select(VecInt mask, Vec yes, Vec no) { Vec r; SAMPAN_EACH(mask.part[i] ? yes.part[i] : no.part[i]); }
SAMPAN_KERNEL_INLINE Vec power_of_low_bits(Vec v) { Vec r; SAMPAN_EACH(reinterpret_cast<Four>((reinterpret_cast<FourInt>(v.part[i]) << 23) + (127 << 23))); }
SAMPAN_KERNEL_INLINE Vec times_power_of_low_bits(Vec v, Vec biased) { Vec r; SAMPAN_EACH(reinterpret_cast<Four>(reinterpret_cast<FourInt>(v.part[i]) + (reinterpret_cast<FourInt>(biased.part[i]) << 23))); }
#undef SAMPAN_EACH
SAMPAN_KERNEL_INLINE Vec& operator+=(Vec& a, Vec b) { return a = a + b; }
SAMPAN_KERNEL_INLINE void store(float* p, Vec v) {
  for (int i = 0; i < 4; ++i) *reinterpret_cast<FourMemory*>(p + 4 * i) = v.part[i];
}
SAMPAN_KERNEL_INLINE Vec larger(Vec a, Vec b) { return select(a < b, b, a); }
