// Level `avx512`: AVX-512 F, BW, DQ, VL, 16 floats per vector. Data flow: cpu/cpu.hpp -> here -> cpu/micro/*.inl.
// Register tile 6 x 64: 24 accumulators + 4 of W + 1 broadcast <= 32 zmm. (8 x 48 is 2% faster on wide layers, but head sizes and TinyViT's widths are multiples of 64.)
// Everything between the pragmas is compiled for this target: plain pointers and functions of this namespace only, nothing of std or Eigen (style.md section 5, trap 1).
#pragma once
#include <sampan/cpu/kernels.hpp>

#if defined(__x86_64__)
#include <sampan/cpu/micro/begin.inl>
#define SAMPAN_VECTOR_BYTES 64
#  if defined(__clang__)
#    pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"))), apply_to = function)
#  else
#    pragma GCC push_options
#    pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")
#  endif

namespace sampan::inline SAMPAN_ABI::cpu::avx512 {

inline constexpr int kMr = 6, kMrSmall = 3, kNv = 4, kStrip = 4;

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

/// int32 += two products of int16: multiplication and addition, or one instruction with VNNI.
struct Madd {
  SAMPAN_KERNEL_INLINE void dot(VecInt& acc, VecInt a, VecInt b) {
    VecInt t;
    asm("vpmaddwd %2, %3, %1\n\tvpaddd %1, %0, %0" : "+v"(acc), "=&v"(t) : "v"(b), "v"(a));
  }
};
struct Vnni {
  SAMPAN_KERNEL_INLINE void dot(VecInt& acc, VecInt a, VecInt b) { asm("vpdpwssd %1, %2, %0" : "+v"(acc) : "v"(b), "v"(a)); }
};
/// float += two products of bfloat16.
struct Bf16Pairs {
  SAMPAN_KERNEL_INLINE void dot(Vec& acc, VecInt a, VecInt b) { asm("vdpbf16ps %1, %2, %0" : "+v"(acc) : "v"(b), "v"(a)); }
};

inline constexpr PixelKernels kPixels{pillow_rows, pillow_column, area_rows, stretch_row, blend_row, mask_row};
inline constexpr Kernels kTable{"avx512", weights_size, pack_weights, rows_size, pack_rows, gemm_scratch, gemm, layer_norm_rows, activate_row, add_row, scale_row, bias_tile, softmax_block, depthwise_row, row_stride, direct_conv, winograd_rows, winograd_sums, softmax_groups, softmax_columns, dot_rows,
                                gather_rows, attend_pads, attend_finish, {keys_size, pack_keys, values_size, pack_values, attend_block},
                                kFastProducts<Madd>, kFastAttend<Madd>, {}, {}, &kPixels, true};
inline constexpr Kernels kVnniTable = kTable.with_fast("avx512vnni", kFastProducts<Vnni>, kFastAttend<Vnni>);
inline constexpr Kernels kBf16Table = kVnniTable.with_bf16("avx512bf16", kBf16Products<Bf16Pairs>, kBf16Attend<Bf16Pairs>);

}  // namespace sampan::inline SAMPAN_ABI::cpu::avx512

#  if defined(__clang__)
#    pragma clang attribute pop
#  else
#    pragma GCC pop_options
#  endif
#undef SAMPAN_VECTOR_BYTES
#include <sampan/cpu/micro/end.inl>
#endif
