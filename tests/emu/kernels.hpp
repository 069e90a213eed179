// The kernels as functions that a test can launch. Data flow: *_test.cpp -> here -> kernels.cpp (compiled with instrumented accesses) -> kernels/*.cuh.
#pragma once
#include "machine.hpp"

#include "kernels/params.hpp"

namespace sampan::emu {

using namespace sampan::kernels;

enum class Type { f32, f16, bf16 };

using Work = std::function<void()>;
Work layer_norm_naive(const LayerNormParams& p, Type out);
Work layer_norm(const LayerNormParams& p, Type out);
Work finish_rows(const FinishParams& p, Type out);
Work scatter_taps(const ScatterParams& p);
Work channel_mean(const GateParams& p);
Work gate_rows(const GateParams& p);
Work window_partition(const WindowParams& p, Type t);
Work window_unpartition(const WindowParams& p, Type t);
Work attention_naive(const AttentionParams& p, Type t);
Work rel_pos(const RelPosParams& p, Type t);
/// head_dim 32, 64 or 80.
Work attention_tiled(const AttentionGlobalParams& p, Type t, int head_dim);
std::size_t attention_tiled_shared(int head_dim);
/// head_dim 32, 64 or 80; row64: the map is 64 wide.
Work attention_global(const AttentionGlobalParams& p, Type t, int head_dim, bool row64);
std::size_t attention_global_shared(int head_dim);
/// window 7 or 14; table: positions come from p.bias.
Work attention_window(const AttentionWindowParams& p, Type t, int head_dim, int window, bool table);
std::size_t attention_window_shared(int head_dim, int window);
Dim attention_window_block(int window);

Work patch_gather(const PatchParams& p, Type out);
Work depthwise_conv(const DepthwiseParams& p, Type t);
Work cross_attention_naive(const CrossAttentionParams& p, Type t);
Work cross_attention_tokens(const CrossAttentionParams& p, Type t);
std::size_t cross_attention_tokens_shared(int head_dim);
Work cross_attention_pixels(const CrossAttentionParams& p, Type t);
std::size_t cross_attention_pixels_shared(int keys, int head_dim);
Work mask_head(const MaskHeadParams& p, Type t);
Work pillow_pass(const PillowParams& p);
Work resize_bilinear(const ResizeParams& p);
Work gather_pixels(const GatherParams& p);
Work area_sum(const AreaSumParams& p);
Work area_block(const AreaBlockParams& p);
Work area_linear(const AreaLinearParams& p);
Work cubic_gauss(const CubicParams& p, bool bytes);
Work cubic_recursion(const CubicParams& p);
Work cubic_taps(const CubicParams& p, bool bytes);
Work byte_range(const ByteRangeParams& p);
std::size_t byte_range_shared();
Work range_table(const RangeTableParams& p);
Work map_bytes(const MapBytesParams& p);
Work sigmoid(const SigmoidParams& p);
Work mask_rows(const MaskRowsParams& p);
std::size_t mask_rows_shared();

// Small kernels with known mistakes, and their sound twins: what the emulator must find, and not find.
Work sum_of_block(const float* x, float* y, bool with_barriers);
Work pass_through_shared(const float* x, float* y, int mistake);  ///< 0 none, 1 no barrier, 2 reads a neighbour's unwritten word, 3 beyond the shared memory, 4 beyond y
Work copy_through_shared(const float* x, float* y, int mistake);  ///< asynchronous: 0 none, 1 no wait, 2 wait off by one group, 3 no barrier behind the wait
Work diverging(int mistake);                                      ///< 1 barrier in a branch, 2 collective in a branch, 3 early end before a barrier
Work blocks_overlap(float* y);                                    ///< two blocks write one word
Work strided(const float* x, float* y, int stride);               ///< reads shared memory at a stride: bank conflicts
}  // namespace sampan::emu
