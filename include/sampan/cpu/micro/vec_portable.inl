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

SAMPAN_KERNEL_INLINE Vec magnitude(Vec v) {
  for (int i = 0; i < 4; ++i) v.part[i] = reinterpret_cast<Four>(reinterpret_cast<FourInt>(v.part[i]) & 0x7fffffff);
  return v;
}
/// The same value, rounded: the compiler may not merge what comes before with what follows.
SAMPAN_KERNEL_INLINE Vec opaque(Vec v) {
#if defined(__x86_64__)
  for (int i = 0; i < 4; ++i) asm("" : "+x"(v.part[i]));
#else
  for (int i = 0; i < 4; ++i) asm("" : "+m"(v.part[i]));
#endif
  return v;
}
typedef int FourIntMemory __attribute__((vector_size(16), aligned(4), may_alias));
SAMPAN_KERNEL_INLINE VecInt load_ints(const float* p) {
  VecInt r;
  for (int i = 0; i < 4; ++i) r.part[i] = *reinterpret_cast<const FourIntMemory*>(p + 4 * i);
  return r;
}
SAMPAN_KERNEL_INLINE VecInt splat_int(int x) {
  VecInt r;
  for (int i = 0; i < 4; ++i) r.part[i] = x - FourInt{};
  return r;
}
SAMPAN_KERNEL_INLINE Vec to_float(VecInt v) {
  Vec r;
  for (int i = 0; i < 4; ++i) r.part[i] = __builtin_convertvector(v.part[i], Four);
  return r;
}
/// The low halves of the lanes, side by side.
SAMPAN_KERNEL_INLINE void store_shorts(void* to, Vec v) {
  short values[16];
  for (int i = 0; i < 16; ++i) values[i] = static_cast<short>(reinterpret_cast<FourInt>(v.part[i / 4])[i % 4]);
  __builtin_memcpy(to, values, sizeof values);
}
/// acc += lo(a) lo(b) + hi(a) hi(b) of the int16 halves.
SAMPAN_KERNEL_INLINE void add_pair_products(VecInt& acc, VecInt a, VecInt b) {
  for (int i = 0; i < 4; ++i) acc.part[i] += ((a.part[i] << 16) >> 16) * ((b.part[i] << 16) >> 16) + (a.part[i] >> 16) * (b.part[i] >> 16);
}
/// acc = (acc + hi(a) hi(b)) + lo(a) lo(b) of the bfloat16 halves; the products are exact, so an FMA would give the same.
SAMPAN_KERNEL_INLINE void add_bf16_products(Vec& acc, VecInt a, VecInt b) {
  for (int i = 0; i < 4; ++i) {
    const FourInt high = {-65536, -65536, -65536, -65536};
    acc.part[i] += reinterpret_cast<Four>(a.part[i] & high) * reinterpret_cast<Four>(b.part[i] & high);
    acc.part[i] += reinterpret_cast<Four>(a.part[i] << 16) * reinterpret_cast<Four>(b.part[i] << 16);
  }
}
/// bfloat16 of the lanes, to nearest even; NaN stays NaN.
SAMPAN_KERNEL_INLINE void store_bf16(void* to, Vec v) {
  short values[16];
  for (int i = 0; i < 16; ++i) {
    const int bits = reinterpret_cast<FourInt>(v.part[i / 4])[i % 4];
    values[i] = static_cast<short>(((bits & 0x7fffffff) > 0x7f800000 ? (bits | 0x400000) : bits + 0x7fff + (bits >> 16 & 1)) >> 16);
  }
  __builtin_memcpy(to, values, sizeof values);
}
/// Low halves of a below low halves of b, lane by lane.
SAMPAN_KERNEL_INLINE void store_pairs(float* to, Vec a, Vec b) {
  for (int i = 0; i < 4; ++i) *reinterpret_cast<FourIntMemory*>(to + 4 * i) = (reinterpret_cast<FourInt>(a.part[i]) & 0xffff) | (reinterpret_cast<FourInt>(b.part[i]) << 16);
}
SAMPAN_KERNEL_INLINE void store_bf16_pairs(float* to, Vec a, Vec b) {
  short low[16], high[16];
  store_bf16(low, a), store_bf16(high, b);
  for (int i = 0; i < 16; ++i) {
    const short pair[2] = {low[i], high[i]};
    __builtin_memcpy(to + i, pair, 4);
  }
}
