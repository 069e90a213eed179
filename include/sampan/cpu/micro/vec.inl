// Vectors of a level: the arithmetic type of its kernel bodies. Included inside the namespace (and target region) of one level, never on its own.
// Data flow: cpu/scalar.hpp, cpu/x86/*.hpp define SAMPAN_VECTOR_BYTES -> here -> vec_common.inl and the other .inl files.
// SAMPAN_PLAIN_VECTORS: vectors wider than the registers (level portable512), without instructions of their own.
// GCC's and clang's vector extension compiles to whatever the region's target has; no intrinsic, nothing of std.

inline constexpr Index kLanes = SAMPAN_VECTOR_BYTES / 4;
typedef float Vec __attribute__((vector_size(SAMPAN_VECTOR_BYTES)));
typedef int VecInt __attribute__((vector_size(SAMPAN_VECTOR_BYTES)));
typedef unsigned VecBits __attribute__((vector_size(SAMPAN_VECTOR_BYTES)));  // where sums may wrap: lanes of NaN hold anything
typedef float VecMemory __attribute__((vector_size(SAMPAN_VECTOR_BYTES), aligned(4), may_alias));

SAMPAN_KERNEL_INLINE Vec load(const float* p) { return *reinterpret_cast<const VecMemory*>(p); }
SAMPAN_KERNEL_INLINE void store(float* p, Vec v) { *reinterpret_cast<VecMemory*>(p) = v; }
SAMPAN_KERNEL_INLINE Vec splat(float x) { return x - Vec{}; }  // x - 0 is x, bit for bit
SAMPAN_KERNEL_INLINE Vec select(VecInt mask, Vec yes, Vec no) { return mask ? yes : no; }
/// v * 2^n where n stands in the low bits of `biased`; the result must be a normal number.
SAMPAN_KERNEL_INLINE Vec times_power_of_low_bits(Vec v, Vec biased) { return reinterpret_cast<Vec>(reinterpret_cast<VecBits>(v) + (reinterpret_cast<VecBits>(biased) << 23)); }
/// x = n + f with n whole and |f| <= 1/2, for |x| < 2^22: returns f; `power` is what times_power takes for 2^n.
SAMPAN_KERNEL_INLINE Vec split_whole(Vec x, Vec& power) {
#if SAMPAN_VECTOR_BYTES == 64 && !defined(SAMPAN_PLAIN_VECTORS)
  asm("vrndscaleps $8, %1, %0" : "=v"(power) : "v"(x));
  return x - power;
#else
  power = x + splat(12582912.0f);
  return x - (power - splat(12582912.0f));
#endif
}
/// v * 2^n; the result must be a normal number.
SAMPAN_KERNEL_INLINE Vec times_power(Vec v, Vec power) {
#if SAMPAN_VECTOR_BYTES == 64 && !defined(SAMPAN_PLAIN_VECTORS)
  Vec r;
  asm("vscalefps %2, %1, %0" : "=v"(r) : "v"(v), "v"(power));
  return r;
#else
  return times_power_of_low_bits(v, power);
#endif
}
/// 2^n where n stands in the low bits of v.
SAMPAN_KERNEL_INLINE Vec power_of_low_bits(Vec v) { return reinterpret_cast<Vec>((reinterpret_cast<VecBits>(v) << 23) + (127u << 23)); }
/// The larger one; a NaN in `b` is ignored, as in std::max(a, b). One instruction where the level has it: the compilers make two of a selection.
SAMPAN_KERNEL_INLINE Vec larger(Vec a, Vec b) {
#if SAMPAN_VECTOR_BYTES > 16 && !defined(SAMPAN_PLAIN_VECTORS)
  Vec r;
  asm("vmaxps %1, %2, %0" : "=v"(r) : "v"(a), "v"(b));
  return r;
#else
  return select(a < b, b, a);
#endif
}

SAMPAN_KERNEL_INLINE Vec magnitude(Vec v) { return reinterpret_cast<Vec>(reinterpret_cast<VecInt>(v) & 0x7fffffff); }
/// The same value, rounded: the compiler may not merge what comes before with what follows.
SAMPAN_KERNEL_INLINE Vec opaque(Vec v) {
#if defined(SAMPAN_PLAIN_VECTORS)
  asm("" : "+m"(v));
#elif defined(__x86_64__) && SAMPAN_VECTOR_BYTES == 64
  asm("" : "+v"(v));
#elif defined(__x86_64__)
  asm("" : "+x"(v));
#else
  asm("" : "+m"(v));
#endif
  return v;
}
typedef int VecIntMemory __attribute__((vector_size(SAMPAN_VECTOR_BYTES), aligned(2), may_alias));
typedef short VecShort __attribute__((vector_size(SAMPAN_VECTOR_BYTES / 2)));
typedef short VecShortMemory __attribute__((vector_size(SAMPAN_VECTOR_BYTES / 2), aligned(2), may_alias));
SAMPAN_KERNEL_INLINE VecInt load_ints(const float* p) { return *reinterpret_cast<const VecIntMemory*>(p); }
SAMPAN_KERNEL_INLINE VecInt splat_int(int x) { return x - VecInt{}; }
SAMPAN_KERNEL_INLINE Vec to_float(VecInt v) { return __builtin_convertvector(v, Vec); }
/// The low halves of the lanes, side by side.
SAMPAN_KERNEL_INLINE void store_shorts(void* to, Vec v) { *static_cast<VecShortMemory*>(to) = __builtin_convertvector(reinterpret_cast<VecInt>(v), VecShort); }
/// a, then b, rounded to the nearest even whole number, as neighbouring int16; lanes beyond 2^15 hold anything.
SAMPAN_KERNEL_INLINE void store_rounded(short* to, Vec a, Vec b) {
#if SAMPAN_VECTOR_BYTES > 16 && !defined(SAMPAN_PLAIN_VECTORS)
  typedef long long VecQuads __attribute__((vector_size(SAMPAN_VECTOR_BYTES)));
  VecInt low, high;
  VecQuads both;
  asm("vcvtps2dq %1, %0" : "=v"(low) : "v"(a));
  asm("vcvtps2dq %1, %0" : "=v"(high) : "v"(b));
  asm("vpackssdw %2, %1, %0" : "=v"(both) : "v"(low), "v"(high));  // quarters of a and b in turn
#  if SAMPAN_VECTOR_BYTES == 64
  both = __builtin_shufflevector(both, both, 0, 2, 4, 6, 1, 3, 5, 7);
#  else
  both = __builtin_shufflevector(both, both, 0, 2, 1, 3);
#  endif
  *reinterpret_cast<VecIntMemory*>(to) = reinterpret_cast<VecInt>(both);
#else
  store_shorts(to, opaque(a) + splat(12582912.0f));
  store_shorts(to + kLanes, opaque(b) + splat(12582912.0f));
#endif
}
/// acc += lo(a) lo(b) + hi(a) hi(b) of the int16 halves.
SAMPAN_KERNEL_INLINE void add_pair_products(VecInt& acc, VecInt a, VecInt b) { acc += ((a << 16) >> 16) * ((b << 16) >> 16) + (a >> 16) * (b >> 16); }
/// bfloat16 in the high halves, to nearest even; NaN stays NaN.
SAMPAN_KERNEL_INLINE VecInt bf16_bits(Vec v) {
  const VecBits bits = reinterpret_cast<VecBits>(v);
  const VecBits rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
  return (reinterpret_cast<VecInt>(bits) & 0x7fffffff) > 0x7f800000 ? reinterpret_cast<VecInt>(bits) | 0x400000 : reinterpret_cast<VecInt>(rounded);
}
/// bfloat16 of the lanes, side by side.
SAMPAN_KERNEL_INLINE void store_bf16(void* to, Vec v) {
  *static_cast<VecShortMemory*>(to) = __builtin_convertvector(bf16_bits(v) >> 16, VecShort);
}
/// Low halves of a below low halves of b, lane by lane.
SAMPAN_KERNEL_INLINE void store_pairs(float* to, Vec a, Vec b) { *reinterpret_cast<VecIntMemory*>(to) = (reinterpret_cast<VecInt>(a) & 0xffff) | (reinterpret_cast<VecInt>(b) << 16); }
SAMPAN_KERNEL_INLINE void store_bf16_pairs(float* to, Vec a, Vec b) { *reinterpret_cast<VecIntMemory*>(to) = ((bf16_bits(a) >> 16) & 0xffff) | (bf16_bits(b) & -65536); }
/// acc = (acc + hi(a) hi(b)) + lo(a) lo(b) of the bfloat16 halves; the products are exact, so an FMA would give the same.
SAMPAN_KERNEL_INLINE void add_bf16_products(Vec& acc, VecInt a, VecInt b) {
  acc += reinterpret_cast<Vec>(a & -65536) * reinterpret_cast<Vec>(b & -65536);
  acc += reinterpret_cast<Vec>(a << 16) * reinterpret_cast<Vec>(b << 16);
}
