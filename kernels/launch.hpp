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
/// Of the 16-bit operand or of the result, as the kernel's file says.
enum class Element { f32, f16, bf16 };

Status launch_layer_norm(const LayerNormParams& p, Element out, Stream s);
Status launch_layer_norm_naive(const LayerNormParams& p, Element out, Stream s);
Status launch_bias_gelu(const BiasParams& p, Element out, Stream s);
Status launch_window_partition(const WindowParams& p, Element t, Stream s);
Status launch_window_unpartition(const WindowParams& p, Element t, Stream s);
Status launch_attention_naive(const AttentionParams& p, Element t, Stream s);
Status launch_rel_pos(const RelPosParams& p, Element t, Stream s);
/// head_dim 32, 64, 80; f16 or bf16.
Status launch_attention_global(const AttentionGlobalParams& p, Element t, int head_dim, Stream s);
/// window 7 or 14; head_dim 32, 64, 80; f16 or bf16.
Status launch_attention_window(const AttentionWindowParams& p, Element t, int head_dim, int window, Stream s);
Status launch_patch_gather(const PatchParams& p, Element out, Stream s);
Status launch_depthwise_conv(const DepthwiseParams& p, Element t, Stream s);
/// Picks the kernel by what is few: up to 64 queries, or else keys whose K and V of one head fit into 48 KB of shared memory. head_dim 16, 32, 64.
Status launch_cross_attention(const CrossAttentionParams& p, Element t, Stream s);
Status launch_mask_head(const MaskHeadParams& p, Element t, Stream s);
Status launch_pillow_pass(const PillowParams& p, Stream s);
Status launch_normalize(const NormalizeParams& p, Stream s);
Status launch_resize_bilinear(const ResizeParams& p, Stream s);

}  // namespace sampan::inline SAMPAN_ABI::kernels
