// Resizing and mask making. Included inside the namespace of one level, after vec_common.inl. Data flow: ops/resize_*.hpp, predict/postprocess.hpp -> here.
// Integer kernels and area sums equal the plain loops of their ops bit for bit; `opaque` keeps products and sums of floats apart where that matters.

typedef unsigned char Byte;
typedef Byte VecBytes __attribute__((vector_size(kLanes)));
typedef Byte VecBytesMemory __attribute__((vector_size(kLanes), aligned(1), may_alias));

// gcc 12 takes conversions between bytes and int32 apart, one element at a time: instructions where the level has them.
#if SAMPAN_VECTOR_BYTES > 16 && !defined(SAMPAN_PLAIN_VECTORS)
SAMPAN_KERNEL_INLINE VecInt load_bytes(const Byte* p) {
  VecInt v;
  asm("vpmovzxbd %1, %0" : "=v"(v) : "m"(*reinterpret_cast<const VecBytesMemory*>(p)));
  return v;
}
#else
SAMPAN_KERNEL_INLINE VecInt load_bytes(const Byte* p) { return __builtin_convertvector(*reinterpret_cast<const VecBytesMemory*>(p), VecInt); }
#endif
/// The low bytes of 4 vectors whose values are 0 .. 255.
SAMPAN_KERNEL_INLINE void store_bytes(Byte* p, const VecInt (&v)[4]) {
#if SAMPAN_VECTOR_BYTES == 64 && !defined(SAMPAN_PLAIN_VECTORS)
  for (int i = 0; i < 4; ++i) asm("vpmovdb %1, %0" : "=m"(*reinterpret_cast<VecBytesMemory*>(p + i * kLanes)) : "v"(v[i]));
#elif SAMPAN_VECTOR_BYTES == 32
  typedef short Shorts __attribute__((vector_size(32)));
  typedef int IntsMemory __attribute__((vector_size(32), aligned(1), may_alias));
  const Shorts low = __builtin_ia32_packssdw256(v[0], v[1]), high = __builtin_ia32_packssdw256(v[2], v[3]);
  const VecInt halves = reinterpret_cast<VecInt>(__builtin_ia32_packuswb256(low, high));  // each half has its own 4 + 4 + 4 + 4
  *reinterpret_cast<IntsMemory*>(p) = __builtin_ia32_permvarsi256(halves, VecInt{0, 4, 1, 5, 2, 6, 3, 7});
#else
  for (int i = 0; i < 4; ++i) *reinterpret_cast<VecBytesMemory*>(p + i * kLanes) = __builtin_convertvector(v[i], VecBytes);
#endif
}

inline void pillow_column(const PillowColumn& p) {
  constexpr int kHalf = 1 << 21;
  Index i = 0;
  for (; i + 4 * kLanes <= p.n; i += 4 * kLanes) {
    VecInt acc[4];
    SAMPAN_UNROLL
    for (int v = 0; v < 4; ++v) acc[v] = splat_int(kHalf);
    for (int k = 0; k < p.count; ++k) {
      const Byte* in = p.in + k * p.in_stride + i;
      SAMPAN_UNROLL
      for (int v = 0; v < 4; ++v) acc[v] += load_bytes(in + v * kLanes) * p.w[k];
    }
    SAMPAN_UNROLL
    for (int v = 0; v < 4; ++v) acc[v] >>= 22;  // at most 255: weights are not negative, and their sum is 2^22 but for rounding
    store_bytes(p.out + i, acc);
  }
  for (; i < p.n; ++i) {
    int acc = kHalf;
    for (int k = 0; k < p.count; ++k) acc += p.in[k * p.in_stride + i] * p.w[k];
    p.out[i] = static_cast<Byte>(acc >> 22);
  }
}

SAMPAN_KERNEL_INLINE Quad load_pixel(const Byte* p, bool last) {  // `last`: nothing behind the third byte may be read
  if (last) return Quad{static_cast<float>(p[0]), static_cast<float>(p[1]), static_cast<float>(p[2]), 0};
#if SAMPAN_VECTOR_BYTES > 16 && !defined(SAMPAN_PLAIN_VECTORS)
  typedef int QuadInt __attribute__((vector_size(16)));
  QuadInt v;
  asm("vpmovzxbd %1, %0" : "=v"(v) : "m"(*reinterpret_cast<const IntMemory*>(p)));
  return __builtin_convertvector(v, Quad);
#else
  return Quad{static_cast<float>(p[0]), static_cast<float>(p[1]), static_cast<float>(p[2]), static_cast<float>(p[3])};
#endif
}
/// The same value, rounded (see opaque of vec.inl).
SAMPAN_KERNEL_INLINE Quad opaque_quad(Quad v) {
#if defined(__x86_64__)
  asm("" : "+x"(v));
#else
  asm("" : "+m"(v));
#endif
  return v;
}

template <int R>
SAMPAN_KERNEL_INLINE void area_some_rows(const AreaRows& p) {
  const Byte* in[R];
  float weights[R];
  SAMPAN_UNROLL
  for (int r = 0; r < R; ++r) in[r] = p.in + r * p.in_stride, weights[r] = p.weights[r];
  const AreaTap *tap = p.taps, *end = tap + p.count;
  const int last = static_cast<int>(p.width) - 1;
  float* sum = p.sum;
  while (tap != end) {
    const int to = tap->to;
    Quad row[R];  // independent chains of additions
    SAMPAN_UNROLL
    for (int r = 0; r < R; ++r) row[r] = Quad{};
    for (; tap != end && tap->to == to; ++tap) {
      const float w = tap->weight;
      const Index at = 3 * static_cast<Index>(tap->from);
      const bool border = tap->from == last;
      SAMPAN_UNROLL
      for (int r = 0; r < R; ++r) row[r] += opaque_quad(load_pixel(in[r] + at, border) * w);
    }
    float* s = sum + 3 * static_cast<Index>(to);
    Quad all = load_quad(s);
    SAMPAN_UNROLL
    for (int r = 0; r < R; ++r) all += opaque_quad(row[r] * weights[r]);
    s[0] = all[0], s[1] = all[1], s[2] = all[2];
  }
}
inline void area_rows(const AreaRows& p) {
  switch (p.rows) {
    case 4: return area_some_rows<4>(p);
    case 3: return area_some_rows<3>(p);
    case 2: return area_some_rows<2>(p);
    default: return area_some_rows<1>(p);
  }
}

inline void blend_row(const BlendRow& p) {
  Index i = 0;
  for (; i + kLanes <= p.n; i += kLanes) store(p.y + i, load(p.a + i) * p.wa + load(p.b + i) * p.wb);
  for (; i < p.n; ++i) p.y[i] = p.a[i] * p.wa + p.b[i] * p.wb;
}

SAMPAN_KERNEL_INLINE Index count_lanes(VecInt minus_counts) {
  Index n = 0;
  for (Index i = 0; i < kLanes; ++i) n -= minus_counts[i];
  return n;
}

inline void mask_row(MaskRow& p) {
  VecInt area{}, above{}, around{};
  Index i = 0;
  for (; i + 4 * kLanes <= p.n; i += 4 * kLanes) {
    VecInt in[4];
    SAMPAN_UNROLL
    for (int j = 0; j < 4; ++j) {
      const Vec v = load(p.a + i + j * kLanes) * p.wa + load(p.b + i + j * kLanes) * p.wb;
      in[j] = v > p.threshold;
      area += in[j], above += v > p.inner, around += v > p.outer;
      in[j] &= 1;
    }
    store_bytes(p.mask + i, in);
  }
  for (; i < p.n; ++i) {
    const float v = p.a[i] * p.wa + p.b[i] * p.wb;
    p.mask[i] = v > p.threshold ? 1 : 0;
    p.area += p.mask[i];
    p.above += v > p.inner ? 1 : 0;
    p.around += v > p.outer ? 1 : 0;
  }
  p.area += count_lanes(area), p.above += count_lanes(above), p.around += count_lanes(around);
}
