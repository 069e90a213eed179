// The one unit that nvcc compiles: kernels and their launchers (kernels are static: CUDA 13 gives their stubs internal linkage, so launcher and kernel share a unit).
// Data flow: include/sampan/cuda calls launch.hpp -> here -> *.cuh.
#include "launch.hpp"

#include "attention_global.cuh"
#include "attention_window.cuh"
#include "byte_range.cuh"
#include "channel_gate.cuh"
#include "cross_attention.cuh"
#include "cubic_lines.cuh"
#include "depthwise_conv.cuh"
#include "finish_rows.cuh"
#include "image.cuh"
#include "layer_norm.cuh"
#include "mask_head.cuh"
#include "mask_rows.cuh"
#include "naive/attention.cuh"
#include "naive/cross_attention.cuh"
#include "naive/layer_norm.cuh"
#include "patch_gather.cuh"
#include "rel_pos.cuh"
#include "resample.cuh"
#include "scatter_taps.cuh"
#include "tiled/attention.cuh"
#include "window_partition.cuh"

namespace sampan::inline SAMPAN_ABI::kernels {
namespace {

/// f(element) with the C++ type of `t`.
template <class F>
cudaError_t with_type(Element t, F&& f) {
  switch (t) {
    case Element::f32: return f(0.0f);
    case Element::f16: return f(F16{});
    case Element::bf16: return f(BF16{});
  }
  return cudaErrorInvalidValue;
}

template <class F>
cudaError_t with_head_dim(int d, F&& f) {
  switch (d) {
    case 32: return f(std::integral_constant<int, 32>{});
    case 64: return f(std::integral_constant<int, 64>{});
    case 80: return f(std::integral_constant<int, 80>{});
  }
  return cudaErrorInvalidValue;
}

bool aligned(const void* p) { return reinterpret_cast<std::uintptr_t>(p) % 16 == 0; }
cudaStream_t of(Stream s) { return static_cast<cudaStream_t>(s); }
bool some_images(int n) { return n >= 1 && n <= 65535; }
unsigned blocks(long long n, long long each) { return unsigned((n + each - 1) / each); }

}  // namespace

static_assert(kLayerNormChannels == 32 * kLayerNormSteps);
Status launch_layer_norm(const LayerNormParams& p, Element out, Stream s) {
  if (p.rows < 1 || p.channels < 32 || p.channels % 32 || p.channels > kLayerNormChannels) return cudaErrorInvalidValue;
  return with_type(out, [&](auto v) { return run(layer_norm_kernel<decltype(v)>, blocks(p.rows, 4), 128, 0, of(s), p); });
}
Status launch_layer_norm_naive(const LayerNormParams& p, Element out, Stream s) {
  if (p.rows < 1 || p.channels < 1) return cudaErrorInvalidValue;
  return with_type(out, [&](auto v) { return run(layer_norm_naive_kernel<decltype(v)>, blocks(p.rows, 32), 32, 0, of(s), p); });
}
Status launch_finish_rows(const FinishParams& p, Element out, Stream s) {
  if (p.rows < 1 || p.channels < 1 || p.x_rows < 1 || (p.residual && p.residual_rows < 1)) return cudaErrorInvalidValue;
  return with_type(out, [&](auto v) { return run(finish_rows_kernel<decltype(v)>, blocks(p.rows * p.channels, 1024), 256, 0, of(s), p); });
}
Status launch_scatter_taps(const ScatterParams& p, Stream s) {
  if (p.height < 1 || p.width < 1 || p.channels < 1 || p.stride < 1 || p.kernel < 1 || p.pad < 0) return cudaErrorInvalidValue;
  return run(scatter_taps_kernel, blocks((long long)p.height * p.width * p.stride * p.stride * p.channels, 256), 256, 0, of(s), p);
}
Status launch_channel_mean(const GateParams& p, Stream s) {
  if (p.rows < 1 || p.channels < 1) return cudaErrorInvalidValue;
  return run(channel_mean_kernel, blocks(p.channels, 32), 256, kMeanSharedBytes, of(s), p);
}
Status launch_gate_rows(const GateParams& p, Stream s) {
  if (p.rows < 1 || p.channels < 1) return cudaErrorInvalidValue;
  return run(gate_rows_kernel, blocks((long long)p.rows * p.channels, 256), 256, 0, of(s), p);
}

namespace {
unsigned window_tokens(const WindowParams& p) { return unsigned(((p.height + p.window - 1) / p.window) * ((p.width + p.window - 1) / p.window) * p.window * p.window); }
bool sound(const WindowParams& p) { return p.height >= 1 && p.width >= 1 && p.channels >= 1 && p.window >= 1; }
}  // namespace
Status launch_window_partition(const WindowParams& p, Element t, Stream s) {
  if (!sound(p)) return cudaErrorInvalidValue;
  return with_type(t, [&](auto v) { return run(window_partition_kernel<decltype(v)>, window_tokens(p), 128, 0, of(s), p); });
}
Status launch_window_unpartition(const WindowParams& p, Element t, Stream s) {
  if (!sound(p)) return cudaErrorInvalidValue;
  return with_type(t, [&](auto v) { return run(window_unpartition_kernel<decltype(v)>, window_tokens(p), 128, 0, of(s), p); });
}

Status launch_attention_naive(const AttentionParams& p, Element t, Stream s) {
  if (!some_images(p.images) || p.height < 1 || p.width < 1 || p.heads < 1 || p.head_dim < 1 || p.head_dim > kNaiveHeadDim || p.window < 0 || (p.rel_h == nullptr) != (p.rel_w == nullptr)) return cudaErrorInvalidValue;
  return with_type(t, [&](auto v) { return run(attention_naive_kernel<decltype(v)>, dim3(blocks((long long)p.height * p.width, 32), unsigned(p.heads), unsigned(p.images)), 32, 0, of(s), p); });
}
Status launch_rel_pos(const RelPosParams& p, Element t, Stream s) {
  if (!some_images(p.images) || p.height < 1 || p.width < 1 || p.heads < 1 || p.head_dim < 1 || p.head_dim > 128 || p.window < 0) return cudaErrorInvalidValue;
  return with_type(t, [&](auto v) { return run(rel_pos_kernel<decltype(v)>, dim3(unsigned(p.height * p.width), unsigned(p.heads), unsigned(p.images)), 128, sizeof(float) * std::size_t(p.head_dim), of(s), p); });
}

Status launch_attention_global(const AttentionGlobalParams& p, Element t, int head_dim, Stream s) {
  if (!some_images(p.images) || p.height < 1 || p.width < 1 || p.heads < 1 || !aligned(p.qkv) || !aligned(p.out) || (p.row == nullptr) != (p.column == nullptr)) return cudaErrorInvalidValue;
  const auto go = [&](auto v) {
    return with_head_dim(head_dim, [&](auto d) {
      using T = decltype(v);
      constexpr int kD = decltype(d)::value;
      const long long tokens = (long long)p.height * p.width, terms = p.row ? tokens * p.heads : 0;
      const dim3 grid(blocks(tokens, 64), unsigned(p.heads));
      AttentionGlobalParams one = p;
      cudaError_t done = cudaSuccess;
      for (int i = 0; i < p.images && done == cudaSuccess; ++i) {  // a launch fills the device; a third axis of the grid would cost the kernel registers that it does not have
        one.qkv = static_cast<const T*>(p.qkv) + i * tokens * 3 * p.heads * kD;
        one.out = static_cast<T*>(p.out) + i * tokens * p.heads * kD;
        one.row = p.row + i * terms * p.height, one.column = p.column + i * terms * p.width;
        done = p.width == 64 ? run(attention_global_kernel<T, kD, true>, grid, 128, kGlobalSharedBytes<kD>, of(s), one) : run(attention_global_kernel<T, kD, false>, grid, 128, kGlobalSharedBytes<kD>, of(s), one);
      }
      return done;
    });
  };
  return t == Element::f16 ? go(F16{}) : t == Element::bf16 ? go(BF16{}) : cudaErrorInvalidValue;
}

Status launch_attention_tiled(const AttentionGlobalParams& p, Element t, int head_dim, Stream s) {
  if (p.images != 1 || p.height < 1 || p.width < 1 || p.heads < 1 || (p.row == nullptr) != (p.column == nullptr) || t != Element::f32) return cudaErrorInvalidValue;
  return with_head_dim(head_dim, [&](auto d) {
    constexpr int kD = decltype(d)::value;
    return run(attention_tiled_kernel<float, kD>, dim3(blocks((long long)p.height * p.width, kTiledQueries), unsigned(p.heads)), kTiledQueries, kTiledSharedBytes<kD>, of(s), p);
  });
}

Status launch_attention_window(const AttentionWindowParams& p, Element t, int head_dim, int window, Stream s) {
  if (!some_images(p.images) || p.height < 1 || p.width < 1 || p.heads < 1 || !aligned(p.qkv) || !aligned(p.out) || (p.row == nullptr) != (p.column == nullptr) || (p.row && p.bias)) return cudaErrorInvalidValue;
  const auto go = [&](auto v) {
    return with_head_dim(head_dim, [&](auto d) {
      using T = decltype(v);
      constexpr int kD = decltype(d)::value;
      const dim3 grid(unsigned(((p.height + window - 1) / window) * ((p.width + window - 1) / window)), unsigned(p.heads), unsigned(p.images));
      const auto with = [&](auto w) {
        constexpr int kW = decltype(w)::value;
        const dim3 block(32 * kWindowWarps<kW>);
        return p.bias ? run(attention_window_kernel<T, kD, kW, true>, grid, block, kWindowSharedBytes<kW, kD>, of(s), p) : run(attention_window_kernel<T, kD, kW, false>, grid, block, kWindowSharedBytes<kW, kD>, of(s), p);
      };
      return window == 14 ? with(std::integral_constant<int, 14>{}) : window == 7 ? with(std::integral_constant<int, 7>{}) : cudaErrorInvalidValue;
    });
  };
  return t == Element::f16 ? go(F16{}) : t == Element::bf16 ? go(BF16{}) : cudaErrorInvalidValue;
}

Status launch_patch_gather(const PatchParams& p, Element out, Stream s) {
  if (p.patch < 1 || p.height < 1 || p.width < 1 || p.height % p.patch || p.width % p.patch) return cudaErrorInvalidValue;
  return with_type(out, [&](auto v) { return run(patch_gather_kernel<decltype(v)>, unsigned(p.height / p.patch * (p.width / p.patch)), 256, 0, of(s), p); });
}
Status launch_depthwise_conv(const DepthwiseParams& p, Element t, Stream s) {
  if (p.height < 1 || p.width < 1 || p.channels < 1 || p.stride < 1 || p.height > 65535 || p.width > 65535) return cudaErrorInvalidValue;
  const dim3 grid(blocks(p.channels, 128), unsigned((p.width - 1) / p.stride + 1), unsigned((p.height - 1) / p.stride + 1));
  return with_type(t, [&](auto v) { return run(depthwise_conv_kernel<decltype(v)>, grid, 128, 0, of(s), p); });
}
Status launch_cross_attention(const CrossAttentionParams& p, Element t, Stream s) {
  if (p.queries < 1 || p.keys < 1 || p.heads < 1 || p.batch < 1 || p.batch > 65535) return cudaErrorInvalidValue;
  const long long shared = 8LL * p.keys * p.head_dim;
  if (p.queries > kCrossQueries && shared > kCrossSharedBytes) return cudaErrorInvalidValue;
  return with_type(t, [&](auto v) {
    const auto go = [&](auto d) {
      using T = decltype(v);
      constexpr int kD = decltype(d)::value;
      if (p.queries <= kCrossQueries) return run(cross_attention_tokens_kernel<T, kD>, dim3(unsigned(p.queries), unsigned(p.heads), unsigned(p.batch)), 128, kTokensAskSharedBytes<kD>, of(s), p);
      return run(cross_attention_pixels_kernel<T, kD>, dim3(blocks(p.queries, 128), unsigned(p.heads), unsigned(p.batch)), 128, std::size_t(shared), of(s), p);
    };
    return p.head_dim == 16 ? go(std::integral_constant<int, 16>{}) : p.head_dim == 32 ? go(std::integral_constant<int, 32>{}) : p.head_dim == 64 ? go(std::integral_constant<int, 64>{}) : cudaErrorInvalidValue;
  });
}
static_assert(kNaiveCrossHeadDim == kNaiveHeadDim);
Status launch_cross_attention_naive(const CrossAttentionParams& p, Element t, Stream s) {
  if (p.queries < 1 || p.keys < 1 || p.heads < 1 || p.head_dim < 1 || p.head_dim > kNaiveHeadDim || p.batch < 1 || p.batch > 65535) return cudaErrorInvalidValue;
  return with_type(t, [&](auto v) { return run(cross_attention_naive_kernel<decltype(v)>, dim3(blocks(p.queries, 32), unsigned(p.heads), unsigned(p.batch)), 32, 0, of(s), p); });
}
static_assert(kMaskHeadChannels == kMaskChannels && kMaskHeadCount == kMaskCount);
Status launch_mask_head(const MaskHeadParams& p, Element t, Stream s) {
  if (p.pixels < 1 || p.channels < 1 || p.channels > kMaskChannels || p.count < 1 || p.count > kMaskCount) return cudaErrorInvalidValue;
  return with_type(t, [&](auto v) { return run(mask_head_kernel<decltype(v)>, blocks(p.pixels, 128), 128, sizeof(float) * std::size_t(p.count * p.channels), of(s), p); });
}

namespace {
dim3 pixel_grid(int rows, int columns) { return dim3(blocks(columns, 32), blocks(rows, 8)); }
bool sides(int a, int b) { return a >= 1 && b >= 1 && a <= 500000 && b <= 500000; }  // 65535 blocks of 8 rows
}  // namespace
Status launch_pillow_pass(const PillowParams& p, Stream s) {
  if (!sides(p.height, p.width) || !sides(p.size, 1) || p.taps < 1) return cudaErrorInvalidValue;
  return run(pillow_pass_kernel, p.across ? pixel_grid(p.height, p.size) : pixel_grid(p.size, p.width), 256, 0, of(s), p);
}
Status launch_resize_bilinear(const ResizeParams& p, Stream s) {
  if (!sides(p.height, p.width) || !sides(p.out_height, p.out_width) || p.stride < p.width || (!p.out && !p.mask)) return cudaErrorInvalidValue;
  return run(resize_bilinear_kernel, pixel_grid(p.out_height, p.out_width), 256, 0, of(s), p);
}

Status launch_gather_pixels(const GatherParams& p, Stream s) {
  if (!sides(p.out_height, p.out_width) || p.width < 1) return cudaErrorInvalidValue;
  return run(gather_pixels_kernel, pixel_grid(p.out_height, p.out_width), 256, 0, of(s), p);
}
Status launch_area_sum(const AreaSumParams& p, Stream s) {
  if (!sides(p.out_height, p.out_width) || p.width < 1) return cudaErrorInvalidValue;
  return run(area_sum_kernel, pixel_grid(p.out_height, p.out_width), 256, 0, of(s), p);
}
Status launch_area_block(const AreaBlockParams& p, Stream s) {
  if (!sides(p.out_height, p.out_width) || p.block_height < 1 || p.block_width < 1 || (long long)p.out_width * p.block_width > p.width) return cudaErrorInvalidValue;
  if ((long long)p.block_height * p.block_width > kAreaBlock || (p.quarter && p.block_height * p.block_width != 4)) return cudaErrorInvalidValue;
  return run(area_block_kernel, pixel_grid(p.out_height, p.out_width), 256, 0, of(s), p);
}
Status launch_area_linear(const AreaLinearParams& p, Stream s) {
  if (!sides(p.out_height, p.out_width) || p.width < 1) return cudaErrorInvalidValue;
  return run(area_linear_kernel, pixel_grid(p.out_height, p.out_width), 256, 0, of(s), p);
}

namespace {
/// At most 2^31 values, and mirrored indices that fit.
bool lines(const CubicParams& p) { return p.outer >= 1 && p.n >= 1 && p.inner >= 1 && p.n < 1 << 28 && (long long)p.outer * p.n * p.inner <= kCubicValues; }
}  // namespace
Status launch_cubic_gauss(const CubicParams& p, bool bytes, Stream s) {
  if (!lines(p) || p.radius < 0 || p.radius >= 1 << 28) return cudaErrorInvalidValue;
  const unsigned grid = blocks((long long)p.outer * p.n * p.inner, 256);
  return bytes ? run(cubic_gauss_kernel<std::uint8_t>, grid, 256, 0, of(s), p) : run(cubic_gauss_kernel<double>, grid, 256, 0, of(s), p);
}
Status launch_cubic_recursion(const CubicParams& p, Stream s) {
  if (!lines(p) || p.n < 2) return cudaErrorInvalidValue;
  return run(cubic_recursion_kernel, blocks((long long)p.outer * p.inner, 64), 64, 0, of(s), p);
}
Status launch_cubic_taps(const CubicParams& p, bool bytes, Stream s) {
  if (!lines(p) || p.size < 1 || (long long)p.outer * p.size * p.inner > kCubicValues || bytes != (p.range != nullptr)) return cudaErrorInvalidValue;
  const unsigned grid = blocks((long long)p.outer * p.size * p.inner, 256);
  return bytes ? run(cubic_taps_kernel<std::uint8_t>, grid, 256, 0, of(s), p) : run(cubic_taps_kernel<double>, grid, 256, 0, of(s), p);
}

Status launch_byte_range(const ByteRangeParams& p, Stream s) {
  if (p.n < 1 || p.blocks < 1 || p.blocks > kRangeBlocks) return cudaErrorInvalidValue;
  return run(byte_range_kernel, unsigned(p.blocks), 256, kByteRangeSharedBytes, of(s), p);
}
Status launch_range_table(const RangeTableParams& p, Stream s) {
  if (p.blocks < 1 || p.blocks > kRangeBlocks) return cudaErrorInvalidValue;
  return run(range_table_kernel, 1, 256, 0, of(s), p);
}
Status launch_map_bytes(const MapBytesParams& p, Stream s) {
  if (!sides(p.height, p.width) || !sides(p.side, 1) || p.top < 0 || p.left < 0 || p.top + p.height > p.side || p.left + p.width > p.side) return cudaErrorInvalidValue;
  return run(map_bytes_kernel, pixel_grid(p.side, p.side), 256, 0, of(s), p);
}

Status launch_sigmoid(const SigmoidParams& p, Stream s) {
  if (p.n < 1 || p.n > 1LL << 38) return cudaErrorInvalidValue;
  return run(sigmoid_kernel, blocks(p.n, 256), 256, 0, of(s), p);
}
Status launch_mask_rows(const MaskRowsParams& p, Stream s) {
  if (p.planes < 1 || p.planes > 65535 || !sides(p.height, p.width) || p.stride < p.width || p.out_height < 1 || p.out_width < 1 || p.out_width > 1 << 24) return cudaErrorInvalidValue;
  return run(mask_rows_kernel, dim3(unsigned(p.out_height), unsigned(p.planes)), 256, kMaskRowsSharedBytes, of(s), p);
}

}  // namespace sampan::inline SAMPAN_ABI::kernels
