// Level `portable512`: the tiles and layouts of avx512 in whatever vectors the baseline has. Data flow: cpu/cpu.hpp -> here -> cpu/micro/*.inl.
// Not for speed: it runs the wide logic (packing, panels, fringes) on machines without AVX-512, so that tests cover it everywhere.
#pragma once
#include <sampan/cpu/kernels.hpp>

#define SAMPAN_KEEP_LOOPS
#define SAMPAN_PLAIN_VECTORS
#define SAMPAN_VECTOR_BYTES 64
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"  // nothing passes such vectors between functions that are not inlined
#include <sampan/cpu/micro/begin.inl>

namespace sampan::inline SAMPAN_ABI::cpu::portable512 {

inline constexpr int kMr = 6, kMrSmall = 3, kNv = 4, kStrip = 4;

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
#include <sampan/cpu/micro/gemm.inl>
//
#include <sampan/cpu/micro/direct_conv.inl>
#include <sampan/cpu/micro/dot.inl>
//
#include <sampan/cpu/micro/attend_pairs.inl>

inline Index row_stride(Index k) { return row_length(k); }

/// Multiplications of pairs in plain vectors: the same bits as the instructions of other levels.
struct Madd {
  SAMPAN_KERNEL_INLINE void dot(VecInt& acc, VecInt a, VecInt b) { add_pair_products(acc, a, b); }
};
/// For tests of the 16-bit paths on machines without the instruction.
struct Bf16Pairs {
  SAMPAN_KERNEL_INLINE void dot(Vec& acc, VecInt a, VecInt b) { add_bf16_products(acc, a, b); }
};

inline constexpr PixelKernels kPixels{nullptr, pillow_column, area_rows, nullptr, blend_row, mask_row};
inline constexpr Kernels kTable{"portable512", weights_size, pack_weights, rows_size, pack_rows, gemm_scratch, gemm, layer_norm_rows, activate_row, add_row, scale_row, bias_tile, softmax_block, depthwise_row, row_stride, direct_conv, winograd_rows, winograd_sums, softmax_groups, softmax_columns, dot_rows,
                                gather_rows, attend_pads, attend_finish, {keys_size, pack_keys, values_size, pack_values, attend_block},
                                kFastProducts<Madd>, kFastAttend<Madd>, kBf16Products<Bf16Pairs>, kBf16Attend<Bf16Pairs>, &kPixels, true};

}  // namespace sampan::inline SAMPAN_ABI::cpu::portable512

#include <sampan/cpu/micro/end.inl>
#pragma GCC diagnostic pop
#undef SAMPAN_VECTOR_BYTES
#undef SAMPAN_PLAIN_VECTORS
#undef SAMPAN_KEEP_LOOPS
