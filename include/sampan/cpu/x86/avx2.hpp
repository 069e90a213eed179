// Level `avx2`: AVX2 and FMA, 8 floats per vector. Data flow: cpu/cpu.hpp -> here -> cpu/micro/*.inl.
// Register tile 6 x 16: 12 accumulators + 2 of W + 1 broadcast <= 16 ymm.
// Everything between the pragmas is compiled for this target: plain pointers and functions of this namespace only, nothing of std or Eigen (style.md section 5, trap 1).
#pragma once
#include <sampan/cpu/kernels.hpp>

#if defined(__x86_64__)
#include <sampan/cpu/micro/begin.inl>
#define SAMPAN_VECTOR_BYTES 32
#  if defined(__clang__)
#    pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#  else
#    pragma GCC push_options
#    pragma GCC target("avx2,fma")
#  endif

namespace sampan::inline SAMPAN_ABI::cpu::avx2 {

inline constexpr int kMr = 6, kMrSmall = 3, kNv = 2, kStrip = 4;

#include <sampan/cpu/micro/vec.inl>
//
#include <sampan/cpu/micro/vec_common.inl>
//
#include <sampan/cpu/micro/vmath.inl>
//
#include <sampan/cpu/micro/gelu_table.inl>
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
#include <sampan/cpu/micro/pixels_x86.inl>
//
#include <sampan/cpu/micro/panel.inl>
//
#include <sampan/cpu/micro/decoder.inl>
//
#include <sampan/cpu/micro/attend.inl>
#include <sampan/cpu/micro/blocks.inl>
//
#include <sampan/cpu/micro/gemm.inl>
//
#include <sampan/cpu/micro/direct_conv.inl>
#include <sampan/cpu/micro/dot.inl>
//
#include <sampan/cpu/micro/attend_pairs.inl>

inline Index row_stride(Index k) { return row_length(k); }

/// int32 += two products of int16: multiplication and addition, or one instruction with VNNI. As single statements: the compiler would spill between them.
struct Madd {
  SAMPAN_KERNEL_INLINE void dot(VecInt& acc, VecInt a, VecInt b) {
    VecInt t;
    asm("vpmaddwd %2, %3, %1\n\tvpaddd %1, %0, %0" : "+x"(acc), "=&x"(t) : "x"(b), "x"(a));
  }
};
struct Vnni {
  SAMPAN_KERNEL_INLINE void dot(VecInt& acc, VecInt a, VecInt b) { asm("%{vex%} vpdpwssd %1, %2, %0" : "+x"(acc) : "x"(b), "x"(a)); }
};

inline constexpr PixelKernels kPixels{pillow_rows, pillow_column, area_rows, stretch_row, blend_row, mask_row};
inline constexpr Kernels kTable{"avx2", weights_size, pack_weights, rows_size, pack_rows, gemm_scratch, gemm, layer_norm_rows, activate_row, add_row, scale_row, bias_tile, softmax_block, depthwise_row, row_stride, direct_conv, winograd_rows, winograd_sums, softmax_groups, softmax_columns, dot_rows,
                                gather_rows, attend_pads, attend_finish, {keys_size, pack_keys, values_size, pack_values, attend_block},
                                kFastProducts<Madd>, kFastAttend<Madd>, {}, {}, &kPixels, true};
inline constexpr Kernels kVnniTable = kTable.with_fast("avx2vnni", kFastProducts<Vnni>, kFastAttend<Vnni>);

}  // namespace sampan::inline SAMPAN_ABI::cpu::avx2

#  if defined(__clang__)
#    pragma clang attribute pop
#  else
#    pragma GCC pop_options
#  endif
#undef SAMPAN_VECTOR_BYTES
#include <sampan/cpu/micro/end.inl>
#endif
