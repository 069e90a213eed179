// GELU for precision `fast`: one cubic per segment of x, within 7.7e-6 everywhere. Included inside the namespace of one level, after gelu_table.inl or gelu_division.inl.
// Data flow: activate.inl -> here, for hidden layers whose rounding (up to 1/8190 of a row's largest value) follows at once or behind a depthwise convolution.
// Cost per 16 floats: 9 instructions on the ports of the products instead of 18 (clamp, segment, four permutations of 32 coefficients, three FMA).
// Levels of 8 floats have no permutation of 32 floats: they take the exact one.
// Source: our own minimax fits. gelu_short(0) = 0; below -4.68 it is 0, above 4.68 x. NaN stays NaN; an infinity becomes NaN (0 times infinity), as its whole row does in `fast`.

#if SAMPAN_VECTOR_BYTES == 64
/// Segment i is |x kShortScale - i| <= 1/2, stored at i modulo 32; the outermost (15 and -15) reach to infinity.
inline constexpr float kShortScale = 3.1f, kShortEnd = 4.96f;
alignas(64) inline constexpr float kShortTable[4][32] = {  // of x^3, x^2, x, 1
    {0.0f, -0.078658976f, -0.12392992f, -0.122744225f, -0.086961046f, -0.04106274f, -0.0053729885f, 0.01261332f,
     0.016208367f, 0.012616122f, 0.007584355f, 0.003770921f, 0.0015976808f, 0.0005861391f, 0.00018801753f, 0.0f,
     0.0f, 0.0f, -0.00018801753f, -0.0005861391f, -0.0015976808f, -0.003770921f, -0.007584355f, -0.012616122f,
     -0.016208367f, -0.01261332f, 0.0053729885f, 0.04106274f, 0.086961046f, 0.122744225f, 0.12392992f, 0.078658976f},
    {0.39751443f, 0.43379104f, 0.49598232f, 0.4896181f, 0.36660948f, 0.16689193f, -0.021775346f, -0.13354422f,
     -0.15878285f, -0.12893952f, -0.08271342f, -0.04409824f, -0.02002733f, -0.007858507f, -0.0026885404f, 0.0f,
     0.0f, 0.0f, -0.0026885404f, -0.007858507f, -0.02002733f, -0.04409824f, -0.08271342f, -0.12893952f,
     -0.15878285f, -0.13354422f, -0.021775346f, 0.16689193f, 0.36660948f, 0.4896181f, 0.49598232f, 0.43379104f},
    {0.5f, 0.49334455f, 0.46437794f, 0.47233486f, 0.61370254f, 0.9039612f, 1.2368562f, 1.4685731f,
     1.5276197f, 1.4449419f, 1.3033209f, 1.1729327f, 1.0840359f, 1.035227f, 1.0128435f, 1.0f,
     0.0f, 0.0f, -0.012843434f, -0.03522694f, -0.0840359f, -0.17293273f, -0.30332085f, -0.44494182f,
     -0.52761966f, -0.46857315f, -0.23685619f, 0.09603882f, 0.38629743f, 0.52766514f, 0.53562206f, 0.50665545f},
    {0.0f, 0.00045646998f, 0.0050374535f, 0.0021348621f, -0.05217348f, -0.19306986f, -0.3891271f, -0.5494013f,
     -0.59543633f, -0.51905507f, -0.37436405f, -0.22755347f, -0.11808466f, -0.052810967f, -0.020500882f, 0.0f,
     0.0f, 0.0f, -0.020500882f, -0.052810967f, -0.11808466f, -0.22755347f, -0.37436405f, -0.51905507f,
     -0.59543633f, -0.5494013f, -0.3891271f, -0.19306986f, -0.05217348f, 0.0021348621f, 0.0050374535f, 0.00045646998f},
};

/// x, at least -end and at most end; NaN becomes a number.
SAMPAN_KERNEL_INLINE Vec clamped(Vec x, float end) {
#  if defined(SAMPAN_PLAIN_VECTORS)
  const Vec low = select(x < splat(end), x, splat(end));
  return select(splat(-end) < low, low, splat(-end));
#  else
  Vec r;
  asm("vrangeps $2, %2, %1, %0" : "=v"(r) : "v"(x), "v"(splat(end)));  // the smaller magnitude, with the sign of x
  return r;
#  endif
}
/// table[low five bits of v], per lane.
SAMPAN_KERNEL_INLINE Vec lookup32(const float* table, Vec v) {
#  if defined(SAMPAN_PLAIN_VECTORS)
  Vec r;
  for (int i = 0; i < kLanes; ++i) r[i] = table[reinterpret_cast<VecInt>(v)[i] & 31];
  return r;
#  else
  Vec r = load(table);
  asm("vpermt2ps %2, %1, %0" : "+v"(r) : "v"(v), "v"(load(table + 16)));
  return r;
#  endif
}

template <int N>
SAMPAN_KERNEL_INLINE void gelu_short(Vec (&x)[N]) {
  Vec segment[N], g[N];
  SAMPAN_UNROLL
  for (int i = 0; i < N; ++i) {
    segment[i] = clamped(x[i], kShortEnd) * splat(kShortScale) + splat(12582912.0f);  // 1.5 * 2^23: the sum's low bits are the rounded number
    g[i] = lookup32(kShortTable[0], segment[i]);
  }
  SAMPAN_UNROLL
  for (int d = 1; d < 4; ++d) {
    SAMPAN_UNROLL
    for (int i = 0; i < N; ++i) g[i] = g[i] * x[i] + lookup32(kShortTable[d], segment[i]);
  }
  SAMPAN_UNROLL
  for (int i = 0; i < N; ++i) x[i] = g[i];
}
#else
template <int N>
SAMPAN_KERNEL_INLINE void gelu_short(Vec (&x)[N]) { gelu(x); }
#endif
