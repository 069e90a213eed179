// Stretching of rows by permutations, and the first pass of Pillow's resize on 16-bit products. Included inside the namespace of one level with AVX2, after pixels.inl.
// Arithmetic: weights of 22 bits do not fit 16-bit products, so w = 2^11 high + low (both below 2^12), two sums, joined at the end: exact, whatever the order.
// Lanes: 16 bytes of the row hold the 4 RGB pixels of a group of taps; one shuffle puts taps (0, 1) into the lower and (2, 3) into the upper half, as pairs per channel.
// Cost per output pixel and group: 7 operations; 4 rows share the weights' two shuffles.

typedef char Chars32 __attribute__((vector_size(32)));
typedef char Chars16 __attribute__((vector_size(16)));
typedef short Shorts32 __attribute__((vector_size(32)));
typedef int Ints32 __attribute__((vector_size(32)));
typedef int Ints16 __attribute__((vector_size(16)));
typedef Chars16 Chars16Memory __attribute__((aligned(1), may_alias));

alignas(32) inline constexpr char kTapPairs[32] = {0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1, 6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1};
alignas(32) inline constexpr char kHighPairs[32] = {0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7};
alignas(32) inline constexpr char kLowPairs[32] = {8, 9, 10, 11, 8, 9, 10, 11, 8, 9, 10, 11, 8, 9, 10, 11, 12, 13, 14, 15, 12, 13, 14, 15, 12, 13, 14, 15, 12, 13, 14, 15};

SAMPAN_KERNEL_INLINE Chars32 load_chars(const char (&p)[32]) { return *reinterpret_cast<const Chars32*>(&p[0]); }
SAMPAN_KERNEL_INLINE Chars32 broadcast_16(const void* p) {
  Chars32 v;
  asm("vbroadcasti128 %1, %0" : "=x"(v) : "m"(*static_cast<const Chars16Memory*>(p)));
  return v;
}
SAMPAN_KERNEL_INLINE Ints32 pair_products(Chars32 a, Chars32 b) { return __builtin_ia32_pmaddwd256(reinterpret_cast<Shorts32>(a), reinterpret_cast<Shorts32>(b)); }

/// One output pixel of R rows. `edge`: groups may reach behind the row, and the last pixel has no fourth byte; through a buffer then.
template <int R, bool edge>
SAMPAN_KERNEL_INLINE void pillow_pixel(const PillowRows& p, const Byte* const (&in)[R], Byte* const (&out)[R], Index o, Index first, Index groups) {
  const Chars32 pairs = load_chars(kTapPairs), high_pairs = load_chars(kHighPairs), low_pairs = load_chars(kLowPairs);
  const SplitWeights* w = p.weights + o * p.groups;
  Ints32 high[R], low[R];
  SAMPAN_UNROLL
  for (int r = 0; r < R; ++r) high[r] = low[r] = Ints32{};
  for (Index g = 0, at = 3 * first; g < groups; ++g, at += 12) {
    const Chars32 both = broadcast_16(w + g), wh = __builtin_ia32_pshufb256(both, high_pairs), wl = __builtin_ia32_pshufb256(both, low_pairs);
    SAMPAN_UNROLL
    for (int r = 0; r < R; ++r) {
      const Byte* from = in[r] + at;
      Byte buffer[16];
      if constexpr (edge) {
        for (Index i = 0; i < 16; ++i) buffer[i] = at + i < 3 * p.width ? from[i] : 0;
        from = buffer;
      }
      const Chars32 x = __builtin_ia32_pshufb256(broadcast_16(from), pairs);
      high[r] += pair_products(x, wh);
      low[r] += pair_products(x, wl);
    }
  }
  Ints16 value[4];
  SAMPAN_UNROLL
  for (int r = 0; r < 4; ++r) {
    const Ints32 sum = (high[r % R] << 11) + low[r % R];
    Ints16 halves[2];
    __builtin_memcpy(halves, &sum, 32);
    value[r] = (halves[0] + halves[1] + (1 << 21)) >> 22;
  }
  const auto bytes = reinterpret_cast<Ints16>(__builtin_ia32_packuswb128(__builtin_ia32_packssdw128(value[0], value[1]), __builtin_ia32_packssdw128(value[2], value[3])));
  SAMPAN_UNROLL
  for (int r = 0; r < R; ++r) {
    const int pixel = bytes[r];
    __builtin_memcpy(out[r] + 3 * o, &pixel, edge ? 3 : 4);  // a fourth byte belongs to the next output
  }
}

template <int R>
SAMPAN_KERNEL_INLINE void pillow_some_rows(const PillowRows& p, Index y) {
  const Byte* in[R];
  Byte* out[R];
  SAMPAN_UNROLL
  for (int r = 0; r < R; ++r) in[r] = p.in + (y + r) * p.in_stride, out[r] = p.out + (y + r) * p.out_stride;
  const int *first = p.first, *count = p.count;
  Index o = 0;
  for (; o + 1 < p.out_width; ++o) {
    const Index groups = (count[o] + 3) / 4, begin = first[o];
    if (3 * (begin + 4 * groups) + 4 > 3 * p.width) break;
    pillow_pixel<R, false>(p, in, out, o, begin, groups);
  }
  for (; o < p.out_width; ++o) pillow_pixel<R, true>(p, in, out, o, first[o], (count[o] + 3) / 4);
}

inline void pillow_rows(const PillowRows& p) {
  Index y = 0;
  for (; y + 4 <= p.rows; y += 4) pillow_some_rows<4>(p, y);
  for (; y < p.rows; ++y) pillow_some_rows<1>(p, y);
}

/// kLanes outputs read inputs base .. base + kLanes: one permutation of each of two vectors.
inline void stretch_row(const StretchRow& p) {
  Index o = 0;
  for (; o + kLanes <= p.n; o += kLanes) {
    const Index base = p.i0[o];
    if (base + 1 + kLanes > p.width) break;  // then i1 = i0 + 1 does not hold everywhere, and a load would reach behind the row
    const VecInt at = *reinterpret_cast<const VecIntMemory*>(p.i0 + o) - static_cast<int>(base);
    const Vec index = reinterpret_cast<Vec>(at);
    store(p.y + o, lookup(p.in + base, index) * load(p.w0 + o) + lookup(p.in + base + 1, index) * load(p.w1 + o));
  }
  for (; o < p.n; ++o) p.y[o] = p.in[p.i0[o]] * p.w0[o] + p.in[p.i1[o]] * p.w1[o];
}
