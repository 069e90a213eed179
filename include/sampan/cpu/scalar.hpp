// Level `scalar`: what the compiler's baseline gives (SSE2 on x86-64, NEON on AArch64, SIMD128 on WebAssembly); matrix products on Eigen.
// Data flow: cpu/cpu.hpp -> here -> cpu/micro/*.inl, ops/eigen_gemm.hpp.
// The floor under every other level: runs everywhere, needs no dispatch. Its layouts (blocks of 192 x 256) are eigen_gemm.hpp's.
#pragma once
#include <sampan/cpu/kernels.hpp>
#include <sampan/ops/eigen_gemm.hpp>

#include <sampan/cpu/micro/begin.inl>
#define SAMPAN_VECTOR_BYTES 16

namespace sampan::inline SAMPAN_ABI::cpu::scalar {

inline constexpr int kMr = 4, kMrSmall = 2, kNv = 2, kStrip = 4;  // of attention and depthwise

#include <sampan/cpu/micro/vec.inl>
//
#include <sampan/cpu/micro/vec_common.inl>
//
#include <sampan/cpu/micro/vmath.inl>
//
#include <sampan/cpu/micro/gelu_division.inl>
//
#include <sampan/cpu/micro/gelu_short.inl>
//
#include <sampan/cpu/micro/activate.inl>
//
#include <sampan/cpu/micro/bias.inl>
#include <sampan/cpu/micro/depthwise.inl>
#include <sampan/cpu/micro/finish.inl>
#include <sampan/cpu/micro/pixels.inl>
#include <sampan/cpu/micro/rows.inl>
#include <sampan/cpu/micro/winograd.inl>
//
#include <sampan/cpu/micro/panel.inl>
//
#include <sampan/cpu/micro/decoder.inl>
//
#include <sampan/cpu/micro/attend.inl>
#include <sampan/cpu/micro/blocks.inl>
//
#include <sampan/cpu/micro/dot.inl>
//
#include <sampan/cpu/micro/attend_pairs.inl>

/// Multiplications of pairs in plain vectors: the same bits as the instructions of other levels.
struct Madd {
  SAMPAN_KERNEL_INLINE void dot(VecInt& acc, VecInt a, VecInt b) { add_pair_products(acc, a, b); }
};

static_assert(kColumnBlock == eigen_gemm::kN);

inline Index weights_size(Index n, Index k) { return n * k; }
inline void pack_weights(const float* w, Index ld, bool transposed, Index n, Index k, float* out) {
  transposed ? eigen_gemm::pack_transposed(w, ld, n, k, out) : eigen_gemm::pack_weights(w, ld, n, k, out);
}

/// The packed rows, then room for one block of normalised columns and the moments of each row.
inline Index rows_size(Index m, Index k) { return (m * k + m * eigen_gemm::kK + 2 * m + 15) / 16 * 16; }
inline void pack_rows(const PackRows& p) {
  float* block = p.out + p.m * p.k;
  float* moments = block + p.m * eigen_gemm::kK;
  if (p.gamma)
    for (Index i = 0; i < p.m; ++i) row_moments(p.x + i * p.ldx, p.k, p.eps, moments[2 * i], moments[2 * i + 1]);
  for (Index k0 = 0; k0 < p.k; k0 += eigen_gemm::kK) {
    const Index k1 = p.k - k0 < eigen_gemm::kK ? p.k : k0 + eigen_gemm::kK;
    if (p.gamma) {
      for (Index i = 0; i < p.m; ++i) normalise(p.x + i * p.ldx, moments[2 * i], moments[2 * i + 1], p.gamma, p.beta, k0, k1, kPlain, block + i * eigen_gemm::kK);
      eigen_gemm::pack_rows(block, eigen_gemm::kK, p.m, k1 - k0, p.out + p.m * k0);
    } else if (p.plus) {
      for (Index i = 0; i < p.m; ++i) add_row(p.x + i * p.ldx + k0, p.plus + i * p.ld_plus + k0, block + i * eigen_gemm::kK, k1 - k0);
      eigen_gemm::pack_rows(block, eigen_gemm::kK, p.m, k1 - k0, p.out + p.m * k0);
    } else {
      eigen_gemm::pack_rows(p.x + k0, p.ldx, p.m, k1 - k0, p.out + p.m * k0);
    }
  }
}

inline Index row_stride(Index) { return 0; }

inline Index gemm_scratch(Index m) { return m * eigen_gemm::kN; }
inline void gemm(const Gemm& p) {
  for (Index j = 0; j < p.count; j += eigen_gemm::kN) {
    const Index n = p.count - j < eigen_gemm::kN ? p.count - j : eigen_gemm::kN;
    for (Index i = 0; i < p.m * n; ++i) p.scratch[i] = 0;
    eigen_gemm::multiply(p.x, p.w, p.m, p.n, p.k, p.n0 + j, n, p.scratch, n);
    for (Index i = 0; i < p.m; ++i)
      finish_row(p.scratch + i * n, p.bias ? p.bias + j : nullptr, p.activation, p.residual ? p.residual + i * p.ldr + j : nullptr, p.y + i * p.ldy + j, n);
  }
}

inline constexpr PixelKernels kPixels{nullptr, pillow_column, area_rows, nullptr, blend_row, mask_row};
inline constexpr Kernels kTable{"scalar", weights_size, pack_weights, rows_size, pack_rows, gemm_scratch, gemm, layer_norm_rows, activate_row, add_row, scale_row, bias_tile, softmax_block, depthwise_row, row_stride, nullptr, winograd_rows, winograd_sums, softmax_groups, softmax_columns, dot_rows,
                                gather_rows, attend_pads, attend_finish, {keys_size, pack_keys, values_size, pack_values, attend_block},
                                kFastProducts<Madd>, kFastAttend<Madd>, {}, {}, &kPixels};

}  // namespace sampan::inline SAMPAN_ABI::cpu::scalar

#undef SAMPAN_VECTOR_BYTES
#include <sampan/cpu/micro/end.inl>
