// Launchers of every kernel, without CUDA syntax: host code needs no CUDA header to call them. Data flow: include/sampan/cuda -> here -> kernels.cu.
// Each checks sizes and alignment and starts the kernel on a stream; it does not wait. The launcher's architecture checks are the caller's: bf16, and asynchronous
// copies that are asynchronous, need compute capability 8.0.
#pragma once
#include "params.hpp"

namespace sampan::inline SAMPAN_ABI::kernels {

/// A cudaStream_t.
using Stream = void*;
/// A cudaError_t: 0 is success, 1 (invalid value) a size, type or alignment that the kernel does not take.
using Status = int;
/// Widest row of launch_layer_norm; others, and those that are no multiple of 32, take the naive kernel.
inline constexpr int kLayerNormChannels = 1280;
/// Of the 16-bit operand or of the result, as the kernel's file says.
enum class Element { f32, f16, bf16 };

Status launch_layer_norm(const LayerNormParams& p, Element out, Stream s);
Status launch_layer_norm_naive(const LayerNormParams& p, Element out, Stream s);
/// y float, or 16-bit for the next product.
Status launch_finish_rows(const FinishParams& p, Element out, Stream s);
Status launch_scatter_taps(const ScatterParams& p, Stream s);
Status launch_channel_mean(const GateParams& p, Stream s);
Status launch_gate_rows(const GateParams& p, Stream s);
Status launch_window_partition(const WindowParams& p, Element t, Stream s);
Status launch_window_unpartition(const WindowParams& p, Element t, Stream s);
Status launch_attention_naive(const AttentionParams& p, Element t, Stream s);
Status launch_rel_pos(const RelPosParams& p, Element t, Stream s);
/// The step between the naive and the global kernel: head_dim 32, 64, 80; f32.
Status launch_attention_tiled(const AttentionGlobalParams& p, Element t, int head_dim, Stream s);
/// head_dim 32, 64, 80; f16 or bf16.
Status launch_attention_global(const AttentionGlobalParams& p, Element t, int head_dim, Stream s);
/// window 7 or 14; head_dim 32, 64, 80; f16 or bf16.
Status launch_attention_window(const AttentionWindowParams& p, Element t, int head_dim, int window, Stream s);
Status launch_patch_gather(const PatchParams& p, Element out, Stream s);
Status launch_depthwise_conv(const DepthwiseParams& p, Element t, Stream s);
/// launch_cross_attention: this many queries at most, or else keys whose K and V of one head fit into this much shared memory.
inline constexpr int kCrossQueries = 64, kCrossSharedBytes = 48 * 1024;
/// Picks the kernel by what is few: up to kCrossQueries queries, or else few keys. head_dim 16, 32, 64.
Status launch_cross_attention(const CrossAttentionParams& p, Element t, Stream s);
inline constexpr int kNaiveCrossHeadDim = 128;
/// head_dim up to kNaiveCrossHeadDim.
Status launch_cross_attention_naive(const CrossAttentionParams& p, Element t, Stream s);
/// Most channels and masks of launch_mask_head.
inline constexpr int kMaskHeadChannels = 32, kMaskHeadCount = 16;
Status launch_mask_head(const MaskHeadParams& p, Element t, Stream s);
Status launch_pillow_pass(const PillowParams& p, Stream s);
Status launch_resize_bilinear(const ResizeParams& p, Stream s);
Status launch_gather_pixels(const GatherParams& p, Stream s);
Status launch_area_sum(const AreaSumParams& p, Stream s);
/// Most pixels of a block: its sum of bytes fits 31 bits.
inline constexpr int kAreaBlock = 1 << 23;
Status launch_area_block(const AreaBlockParams& p, Stream s);
Status launch_area_linear(const AreaLinearParams& p, Stream s);
/// Most values of launch_cubic_*.
inline constexpr long long kCubicValues = 1LL << 31;
/// in: bytes or doubles.
Status launch_cubic_gauss(const CubicParams& p, bool bytes, Stream s);
Status launch_cubic_recursion(const CubicParams& p, Stream s);
/// out: bytes, clipped to p.range, or doubles.
Status launch_cubic_taps(const CubicParams& p, bool bytes, Stream s);
/// Most blocks of launch_byte_range.
inline constexpr int kRangeBlocks = 64;
Status launch_byte_range(const ByteRangeParams& p, Stream s);
Status launch_range_table(const RangeTableParams& p, Stream s);
Status launch_map_bytes(const MapBytesParams& p, Stream s);
Status launch_sigmoid(const SigmoidParams& p, Stream s);
Status launch_mask_rows(const MaskRowsParams& p, Stream s);

}  // namespace sampan::inline SAMPAN_ABI::kernels
