// Level `portable512`: the tiles and layouts of avx512 in whatever vectors the baseline has. Data flow: cpu/cpu.hpp -> here -> cpu/micro/*.inl.
// Not for speed: it runs the wide logic (packing, panels, fringes) on machines without AVX-512, so that tests cover it everywhere.
#pragma once
#include <sampan/cpu/kernels.hpp>

#include <sampan/cpu/micro/begin.inl>

namespace sampan::inline SAMPAN_ABI::cpu::portable512 {

inline constexpr int kMr = 6, kMrSmall = 3, kNv = 4;

#include <sampan/cpu/micro/vec_portable.inl>
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

inline constexpr Kernels kTable{"portable512", weights_size, pack_weights, rows_size, pack_rows, gemm_scratch, gemm, layer_norm_rows, activate_row, add_row, scale_row, bias_tile, softmax_block, depthwise_row, softmax_groups, dot_rows,
                                panels_size, gather_rows, pack_keys, pack_values, attend_block, attend_pads, attend_finish};

}  // namespace sampan::inline SAMPAN_ABI::cpu::portable512

#include <sampan/cpu/micro/end.inl>
