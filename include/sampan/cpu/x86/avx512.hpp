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

inline constexpr int kMr = 6, kMrSmall = 3, kNv = 4;

#include <sampan/cpu/micro/vec.inl>
//
#include <sampan/cpu/micro/vec_common.inl>
//
#include <sampan/cpu/micro/vmath.inl>
//
#include <sampan/cpu/micro/bias.inl>
#include <sampan/cpu/micro/depthwise.inl>
#include <sampan/cpu/micro/finish.inl>
#include <sampan/cpu/micro/rows.inl>
//
#include <sampan/cpu/micro/decoder.inl>
//
#include <sampan/cpu/micro/panel.inl>
//
#include <sampan/cpu/micro/attend.inl>
#include <sampan/cpu/micro/gemm.inl>

inline constexpr Kernels kTable{"avx512", weights_size, pack_weights, rows_size, pack_rows, gemm_scratch, gemm, layer_norm_rows, activate_row, add_row, scale_row, bias_tile, softmax_block, depthwise_row, softmax_groups, dot_rows,
                                panels_size, gather_rows, pack_keys, pack_values, attend_block, attend_pads, attend_finish};

}  // namespace sampan::inline SAMPAN_ABI::cpu::avx512

#  if defined(__clang__)
#    pragma clang attribute pop
#  else
#    pragma GCC pop_options
#  endif
#undef SAMPAN_VECTOR_BYTES
#include <sampan/cpu/micro/end.inl>
#endif
