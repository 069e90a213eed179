// Exact GELU by table: relu(x) - g(|x|), g(a) = a erfc(a / sqrt 2) / 2 from one polynomial per segment of a. Included inside the namespace of one level, after vmath.inl.
// Data flow: activate.inl -> here. Levels with a permutation of 8 or 16 floats: one register holds a coefficient of all segments, one permutation picks it per lane.
// Cost, Zen 4, per 16 floats: 12 cycles on AVX-512 and 16 on AVX2; with a division and exp (gelu_division.inl) 31 and 38.
// Accuracy: g within 1.2e-8 (16 segments, degree 5) or 3.3e-9 (8, degree 7) before rounding; the sum then rounds once: 2.4e-7 at most, 2.3e-8 for negative x.
// Source: our own minimax fits (Remez in 40 digits). g(0) = 0 holds exactly; the last segment ends in 0, 4.7e-9 (16) or 6.3e-9 (8) early.

/// Segment i is |a kGeluScale - i| <= 1/2; the first is half as wide. Beyond kGeluEnd, g is as good as 0.
#if SAMPAN_VECTOR_BYTES == 32
inline constexpr int kGeluDegree = 7;
inline constexpr float kGeluScale = 1.25f, kGeluEnd = 5.99f;
alignas(64) inline constexpr float kGeluTable[kGeluDegree + 1][kLanes] = {
    {0.000367947592f, 0.00051442493f, -0.000330801267f, -1.35210894e-05f, 5.53614991e-05f, -3.52099983e-06f, -2.48288507e-06f, -1.97215286e-07f},
    {-0.00289888121f, 0.000826161006f, 0.000979211996f, -0.000500157534f, -9.23287371e-05f, 3.80240199e-05f, 7.35295998e-06f, 4.12552737e-07f},
    {0.0001154571f, -0.00719147688f, 0.00174433691f, 0.00178909919f, -0.000212778774f, -0.000143377445f, -1.53283581e-05f, -6.175934e-07f},
    {0.0272085238f, -0.000339656195f, -0.0139434887f, -0.00120437297f, 0.00151358848f, 0.000338173093f, 2.52092104e-05f, 8.04476485e-07f},
    {3.12772022e-06f, 0.0664479956f, 0.021808194f, -0.00807215646f, -0.00406234013f, -0.000548158656f, -3.08940653e-05f, -8.08591665e-07f},
    {-0.255323231f, -0.12607418f, 0.019876942f, 0.026945265f, 0.00628631935f, 0.000599552586f, 2.66729239e-05f, 5.81161601e-07f},
    {0.400000006f, -0.0159182679f, -0.0981392413f, -0.0364394672f, -0.00555355521f, -0.000402919948f, -1.4576709e-05f, -2.68401664e-07f},
    {0.0f, 0.169484317f, 0.0876788646f, 0.0196740851f, 0.00219884166f, 0.000126685016f, 3.80795723e-06f, 5.37314797e-08f},
};
#else
inline constexpr int kGeluDegree = 5;
inline constexpr float kGeluScale = 2.5625f, kGeluEnd = 6.04f;
alignas(64) inline constexpr float kGeluTable[kGeluDegree + 1][kLanes] = {
    {-5.12381484e-05f, -0.000175867244f, -0.000200299924f, -8.52008452e-05f, 3.87044784e-05f, 8.13454317e-05f, 5.55397382e-05f, 1.67991329e-05f, -3.94298786e-06f, -7.56680447e-06f, -4.77865615e-06f, -2.0120458e-06f, -6.38573567e-07f, -1.60150677e-07f, -3.25117746e-08f, -5.4194067e-09f},
    {0.00156996853f, 0.00104927376f, 3.4342891e-05f, -0.000712891691f, -0.000806075288f, -0.000468597253f, -0.000109965818f, 6.68447392e-05f, 9.00756058e-05f, 5.64913607e-05f, 2.47993958e-05f, 8.37319021e-06f, 2.26049224e-06f, 4.98008717e-07f, 9.06425868e-08f, 1.37406202e-08f},
    {-6.91401601e-06f, 0.00549809961f, 0.00771165732f, 0.00612990744f, 0.0028519053f, 0.000221567621f, -0.000884559762f, -0.000895721954f, -0.000542231952f, -0.000242478665f, -8.54081154e-05f, -2.43909071e-05f, -5.73780744e-06f, -1.12278428e-06f, -1.83953404e-07f, -2.53498253e-08f},
    {-0.0607542917f, -0.052012898f, -0.0311570652f, -0.00963570271f, 0.00392204151f, 0.00818157755f, 0.00682265637f, 0.00397686288f, 0.00179984106f, 0.000658046687f, 0.000198196314f, 4.97289802e-05f, 1.04679757e-05f, 1.85747467e-06f, 2.78777208e-07f, 3.54770222e-08f},
    {0.195121929f, 0.0795738101f, -0.00470717996f, -0.0446876511f, -0.0487396419f, -0.0353134088f, -0.0197610557f, -0.00896304753f, -0.0033667651f, -0.00105932867f, -0.000281086948f, -6.31711737e-05f, -1.20597551e-05f, -1.95975781e-06f, -2.71503296e-07f, -3.21040474e-08f},
    {0.0f, 0.135874376f, 0.169796616f, 0.141486824f, 0.0925108418f, 0.0497862808f, 0.0224877726f, 0.00860584341f, 0.00280439644f, 0.000780447735f, 0.000185811456f, 3.78888908e-05f, 6.6218995e-06f, 9.92435957e-07f, 1.27592088e-07f, 9.42097422e-09f},
};
#endif

/// |x|, at most `end`; NaN becomes `end`. (Magnitudes order as integers: one instruction, where a selection of floats takes two.)
SAMPAN_KERNEL_INLINE Vec magnitude(Vec x, float end) {
  const VecInt a = reinterpret_cast<VecInt>(x) & 0x7fffffff, b = reinterpret_cast<VecInt>(splat(end));
  return reinterpret_cast<Vec>(a < b ? a : b);
}
/// table[low bits of v], per lane. vpermps, Intel SDM vol. 2: the index counts modulo kLanes.
SAMPAN_KERNEL_INLINE Vec lookup(const float* table, Vec v) {
#if SAMPAN_VECTOR_BYTES == 32
  return __builtin_ia32_permvarsf256(load(table), reinterpret_cast<VecInt>(v));
#elif defined(__clang__)
  return __builtin_ia32_permvarsf512(load(table), reinterpret_cast<VecInt>(v));
#else
  return __builtin_ia32_permvarsf512_mask(load(table), reinterpret_cast<VecInt>(v), Vec{}, static_cast<unsigned short>(0xffff));
#endif
}

/// 0.5 x (1 + erf(x / sqrt 2)) of N vectors at once, so that N chains of dependent instructions overlap; no cancellation for negative x. NaN stays NaN (by relu).
template <int N>
SAMPAN_KERNEL_INLINE void gelu(Vec (&x)[N]) {
  const Vec magic = splat(12582912.0f);  // 1.5 * 2^23: the sum's low bits are the rounded number
  Vec segment[N], r[N], g[N];
  SAMPAN_UNROLL
  for (int i = 0; i < N; ++i) {
    const Vec a = magnitude(x[i], kGeluEnd);
    segment[i] = a * splat(kGeluScale) + magic;
    r[i] = a * splat(kGeluScale) - (segment[i] - magic);
    g[i] = lookup(kGeluTable[0], segment[i]);
  }
  SAMPAN_UNROLL
  for (int d = 1; d <= kGeluDegree; ++d) {
    SAMPAN_UNROLL
    for (int i = 0; i < N; ++i) g[i] = g[i] * r[i] + lookup(kGeluTable[d], segment[i]);
  }
  SAMPAN_UNROLL
  for (int i = 0; i < N; ++i) x[i] = relu(x[i]) - g[i];
}
