// Instantiates the kernels for kernels.hpp. On the emulator compiled with -fsanitize=thread, so that every access of a kernel calls hooks.cpp;
// tests/gpu/kernels.cu compiles the same text with nvcc, where SAMPAN_RUN launches natively.
#include "kernels.hpp"

#if defined(SAMPAN_EMULATOR)
#  include "mistakes.cuh"

/// The body of one thread.
#  define SAMPAN_RUN(KERNEL, PARAMS) [p = PARAMS] { KERNEL(p); }
#endif

#include "kernels/attention_global.cuh"
#include "kernels/attention_window.cuh"
#include "kernels/byte_range.cuh"
#include "kernels/channel_gate.cuh"
#include "kernels/cross_attention.cuh"
#include "kernels/cubic_lines.cuh"
#include "kernels/depthwise_conv.cuh"
#include "kernels/finish_rows.cuh"
#include "kernels/image.cuh"
#include "kernels/layer_norm.cuh"
#include "kernels/mask_head.cuh"
#include "kernels/mask_rows.cuh"
#include "kernels/naive/attention.cuh"
#include "kernels/naive/cross_attention.cuh"
#include "kernels/naive/layer_norm.cuh"
#include "kernels/patch_gather.cuh"
#include "kernels/rel_pos.cuh"
#include "kernels/resample.cuh"
#include "kernels/scatter_taps.cuh"
#include "kernels/tiled/attention.cuh"
#include "kernels/window_partition.cuh"

#include <stdexcept>

namespace sampan::emu {
namespace {

template <class F>
Work with_type(Type t, F&& f) {
  switch (t) {
    case Type::f16: return f(F16{});
    case Type::bf16: return f(BF16{});
    default: return f(0.0f);
  }
}
template <class F>
Work with_half(Type t, F&& f) {
  if (t == Type::f32) throw std::invalid_argument("this kernel computes on 16-bit operands");
  return t == Type::f16 ? f(F16{}) : f(BF16{});
}
template <int... kDims, class F>
auto with_head_dim(int d, F&& f) {
  using R = decltype(f(std::integral_constant<int, 32>{}));
  switch (d) {
    case 32: return f(std::integral_constant<int, 32>{});
    case 64: return f(std::integral_constant<int, 64>{});
    case 80: return f(std::integral_constant<int, 80>{});
  }
  throw std::invalid_argument("head_dim 32, 64 or 80");
  return R{};
}

}  // namespace

Work layer_norm_naive(const LayerNormParams& p, Type out) {
  return with_type(out, [&](auto v) -> Work { return SAMPAN_RUN((layer_norm_naive_kernel<decltype(v)>), p); });
}
Work layer_norm(const LayerNormParams& p, Type out) {
  return with_type(out, [&](auto v) -> Work { return SAMPAN_RUN((layer_norm_kernel<decltype(v)>), p); });
}
Work finish_rows(const FinishParams& p, Type out) {
  return with_type(out, [&](auto v) -> Work { return SAMPAN_RUN((finish_rows_kernel<decltype(v)>), p); });
}
Work scatter_taps(const ScatterParams& p) { return SAMPAN_RUN((scatter_taps_kernel), p); }
Work channel_mean(const GateParams& p) { return SAMPAN_RUN((channel_mean_kernel), p); }
Work gate_rows(const GateParams& p) { return SAMPAN_RUN((gate_rows_kernel), p); }
Work window_partition(const WindowParams& p, Type t) {
  return with_type(t, [&](auto v) -> Work { return SAMPAN_RUN((window_partition_kernel<decltype(v)>), p); });
}
Work window_unpartition(const WindowParams& p, Type t) {
  return with_type(t, [&](auto v) -> Work { return SAMPAN_RUN((window_unpartition_kernel<decltype(v)>), p); });
}
Work attention_naive(const AttentionParams& p, Type t) {
  return with_type(t, [&](auto v) -> Work { return SAMPAN_RUN((attention_naive_kernel<decltype(v)>), p); });
}
Work rel_pos(const RelPosParams& p, Type t) {
  return with_type(t, [&](auto v) -> Work { return SAMPAN_RUN((rel_pos_kernel<decltype(v)>), p); });
}

Work attention_global(const AttentionGlobalParams& p, Type t, int head_dim, bool row64) {
  return with_half(t, [&](auto v) {
    return with_head_dim(head_dim, [&](auto d) -> Work {
      if (row64) return SAMPAN_RUN((attention_global_kernel<decltype(v), decltype(d)::value, true>), p);
      return SAMPAN_RUN((attention_global_kernel<decltype(v), decltype(d)::value, false>), p);
    });
  });
}
Work attention_tiled(const AttentionGlobalParams& p, Type t, int head_dim) {
  return with_type(t, [&](auto v) { return with_head_dim(head_dim, [&](auto d) -> Work { return SAMPAN_RUN((attention_tiled_kernel<decltype(v), decltype(d)::value>), p); }); });
}
std::size_t attention_tiled_shared(int head_dim) {
  return with_head_dim(head_dim, [](auto d) { return std::size_t(kTiledSharedBytes<decltype(d)::value>); });
}
std::size_t attention_global_shared(int head_dim) {
  return with_head_dim(head_dim, [](auto d) { return std::size_t(kGlobalSharedBytes<decltype(d)::value>); });
}

Work attention_window(const AttentionWindowParams& p, Type t, int head_dim, int window, bool table) {
  return with_half(t, [&](auto v) {
    return with_head_dim(head_dim, [&](auto d) -> Work {
      constexpr int kD = decltype(d)::value;
      using T = decltype(v);
      if (window == 14 && table) return SAMPAN_RUN((attention_window_kernel<T, kD, 14, true>), p);
      if (window == 14) return SAMPAN_RUN((attention_window_kernel<T, kD, 14, false>), p);
      if (table) return SAMPAN_RUN((attention_window_kernel<T, kD, 7, true>), p);
      return SAMPAN_RUN((attention_window_kernel<T, kD, 7, false>), p);
    });
  });
}
std::size_t attention_window_shared(int head_dim, int window) {
  return with_head_dim(head_dim, [&](auto d) { return std::size_t(window == 14 ? kWindowSharedBytes<14, decltype(d)::value> : kWindowSharedBytes<7, decltype(d)::value>); });
}
Dim attention_window_block(int window) { return {unsigned(32 * (window == 14 ? kWindowWarps<14> : kWindowWarps<7>))}; }

Work patch_gather(const PatchParams& p, Type out) {
  return with_type(out, [&](auto v) -> Work { return SAMPAN_RUN((patch_gather_kernel<decltype(v)>), p); });
}
Work depthwise_conv(const DepthwiseParams& p, Type t) {
  return with_type(t, [&](auto v) -> Work { return SAMPAN_RUN((depthwise_conv_kernel<decltype(v)>), p); });
}
namespace {
template <class F>
auto with_decoder_dim(int d, F&& f) {
  if (d != 16 && d != 32 && d != 64) throw std::invalid_argument("head_dim 16, 32 or 64");
  return d == 16 ? f(std::integral_constant<int, 16>{}) : d == 32 ? f(std::integral_constant<int, 32>{}) : f(std::integral_constant<int, 64>{});
}
}  // namespace
Work cross_attention_naive(const CrossAttentionParams& p, Type t) {
  return with_type(t, [&](auto v) -> Work { return SAMPAN_RUN((cross_attention_naive_kernel<decltype(v)>), p); });
}
Work cross_attention_tokens(const CrossAttentionParams& p, Type t) {
  return with_type(t, [&](auto v) { return with_decoder_dim(p.head_dim, [&](auto d) -> Work { return SAMPAN_RUN((cross_attention_tokens_kernel<decltype(v), decltype(d)::value>), p); }); });
}
std::size_t cross_attention_tokens_shared(int head_dim) {
  return with_decoder_dim(head_dim, [](auto d) { return std::size_t(kTokensAskSharedBytes<decltype(d)::value>); });
}
Work cross_attention_pixels(const CrossAttentionParams& p, Type t) {
  return with_type(t, [&](auto v) { return with_decoder_dim(p.head_dim, [&](auto d) -> Work { return SAMPAN_RUN((cross_attention_pixels_kernel<decltype(v), decltype(d)::value>), p); }); });
}
std::size_t cross_attention_pixels_shared(int keys, int head_dim) { return std::size_t(pixels_ask_shared_bytes(keys, head_dim)); }
Work mask_head(const MaskHeadParams& p, Type t) {
  return with_type(t, [&](auto v) -> Work { return SAMPAN_RUN((mask_head_kernel<decltype(v)>), p); });
}
Work pillow_pass(const PillowParams& p) { return SAMPAN_RUN((pillow_pass_kernel), p); }
Work resize_bilinear(const ResizeParams& p) { return SAMPAN_RUN((resize_bilinear_kernel), p); }
Work gather_pixels(const GatherParams& p) { return SAMPAN_RUN((gather_pixels_kernel), p); }
Work area_sum(const AreaSumParams& p) { return SAMPAN_RUN((area_sum_kernel), p); }
Work area_block(const AreaBlockParams& p) { return SAMPAN_RUN((area_block_kernel), p); }
Work area_linear(const AreaLinearParams& p) { return SAMPAN_RUN((area_linear_kernel), p); }
Work cubic_gauss(const CubicParams& p, bool bytes) {
  if (bytes) return SAMPAN_RUN((cubic_gauss_kernel<std::uint8_t>), p);
  return SAMPAN_RUN((cubic_gauss_kernel<double>), p);
}
Work cubic_recursion(const CubicParams& p) { return SAMPAN_RUN((cubic_recursion_kernel), p); }
Work cubic_taps(const CubicParams& p, bool bytes) {
  if (bytes) return SAMPAN_RUN((cubic_taps_kernel<std::uint8_t>), p);
  return SAMPAN_RUN((cubic_taps_kernel<double>), p);
}
Work byte_range(const ByteRangeParams& p) { return SAMPAN_RUN((byte_range_kernel), p); }
std::size_t byte_range_shared() { return std::size_t(kByteRangeSharedBytes); }
Work range_table(const RangeTableParams& p) { return SAMPAN_RUN((range_table_kernel), p); }
Work map_bytes(const MapBytesParams& p) { return SAMPAN_RUN((map_bytes_kernel), p); }
Work sigmoid(const SigmoidParams& p) { return SAMPAN_RUN((sigmoid_kernel), p); }
Work mask_rows(const MaskRowsParams& p) { return SAMPAN_RUN((mask_rows_kernel), p); }
std::size_t mask_rows_shared() { return std::size_t(kMaskRowsSharedBytes); }

#if defined(SAMPAN_EMULATOR)
// ---- known mistakes -------------------------------------------------------------------------------------------------------------------
Work sum_of_block(const float* x, float* y, bool with_barriers) { return [=] { sum_of_block_kernel(x, y, with_barriers); }; }
Work pass_through_shared(const float* x, float* y, int mistake) { return [=] { pass_through_shared_kernel(x, y, mistake); }; }
Work copy_through_shared(const float* x, float* y, int mistake) { return [=] { copy_through_shared_kernel(x, y, mistake); }; }
Work diverging(int mistake) { return [=] { diverging_kernel(mistake); }; }
Work blocks_overlap(float* y) { return [=] { blocks_overlap_kernel(y); }; }
Work strided(const float* x, float* y, int stride) { return [=] { strided_kernel(x, y, stride); }; }
#endif

}  // namespace sampan::emu
