// The one unit that nvcc compiles: kernels and their launchers (kernels are static: CUDA 13 gives their stubs internal linkage, so launcher and kernel share a unit).
// Data flow: include/sampan/cuda calls launch.hpp -> here -> *.cuh.
#include "launch.hpp"

#include "attention_global.cuh"
#include "attention_window.cuh"
#include "bias_gelu.cuh"
#include "layer_norm.cuh"
#include "naive/attention.cuh"
#include "naive/layer_norm.cuh"
#include "rel_pos.cuh"
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

/// Launch, and the error of the launch itself; what happens inside comes with the next synchronising call.
template <class K, class P>
cudaError_t run(K kernel, dim3 grid, dim3 block, std::size_t shared, cudaStream_t stream, const P& p) {
  if (shared > 48 * 1024)
    if (const cudaError_t e = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared)); e != cudaSuccess) return e;
  kernel<<<grid, block, shared, stream>>>(p);
  return cudaGetLastError();
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
unsigned blocks(long long n, long long each) { return unsigned((n + each - 1) / each); }

}  // namespace

Status launch_layer_norm(const LayerNormParams& p, Element out, Stream s) {
  if (p.rows < 1 || p.channels < 32 || p.channels % 32 || p.channels > 32 * kLayerNormSteps) return cudaErrorInvalidValue;
  return with_type(out, [&](auto v) { return run(layer_norm_kernel<decltype(v)>, blocks(p.rows, 4), 128, 0, of(s), p); });
}
Status launch_layer_norm_naive(const LayerNormParams& p, Element out, Stream s) {
  if (p.rows < 1 || p.channels < 1) return cudaErrorInvalidValue;
  return with_type(out, [&](auto v) { return run(layer_norm_naive_kernel<decltype(v)>, blocks(p.rows, 32), 32, 0, of(s), p); });
}
Status launch_bias_gelu(const BiasParams& p, Element out, Stream s) {
  if (p.count < 1 || p.channels < 1) return cudaErrorInvalidValue;
  return with_type(out, [&](auto v) { return run(bias_gelu_kernel<decltype(v)>, blocks(p.count, 1024), 256, 0, of(s), p); });
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
  if (p.height < 1 || p.width < 1 || p.heads < 1 || p.head_dim < 1 || p.head_dim > kNaiveHeadDim || p.window < 0 || (p.rel_h == nullptr) != (p.rel_w == nullptr)) return cudaErrorInvalidValue;
  return with_type(t, [&](auto v) { return run(attention_naive_kernel<decltype(v)>, dim3(blocks((long long)p.height * p.width, 32), unsigned(p.heads)), 32, 0, of(s), p); });
}
Status launch_rel_pos(const RelPosParams& p, Element t, Stream s) {
  if (p.height < 1 || p.width < 1 || p.heads < 1 || p.head_dim < 1 || p.head_dim > 128 || p.window < 0) return cudaErrorInvalidValue;
  return with_type(t, [&](auto v) { return run(rel_pos_kernel<decltype(v)>, dim3(unsigned(p.height * p.width), unsigned(p.heads)), 128, sizeof(float) * std::size_t(p.head_dim), of(s), p); });
}

Status launch_attention_global(const AttentionGlobalParams& p, Element t, int head_dim, Stream s) {
  if (p.height < 1 || p.width < 1 || p.heads < 1 || !aligned(p.qkv) || !aligned(p.out) || (p.row == nullptr) != (p.column == nullptr)) return cudaErrorInvalidValue;
  const auto go = [&](auto v) {
    return with_head_dim(head_dim, [&](auto d) {
      using T = decltype(v);
      constexpr int kD = decltype(d)::value;
      const dim3 grid(blocks((long long)p.height * p.width, 64), unsigned(p.heads));
      return p.width == 64 ? run(attention_global_kernel<T, kD, true>, grid, 128, kGlobalSharedBytes<kD>, of(s), p) : run(attention_global_kernel<T, kD, false>, grid, 128, kGlobalSharedBytes<kD>, of(s), p);
    });
  };
  return t == Element::f16 ? go(F16{}) : t == Element::bf16 ? go(BF16{}) : cudaErrorInvalidValue;
}

Status launch_attention_window(const AttentionWindowParams& p, Element t, int head_dim, int window, Stream s) {
  if (p.height < 1 || p.width < 1 || p.heads < 1 || !aligned(p.qkv) || !aligned(p.out) || (p.row == nullptr) != (p.column == nullptr) || (p.row && p.bias)) return cudaErrorInvalidValue;
  const auto go = [&](auto v) {
    return with_head_dim(head_dim, [&](auto d) {
      using T = decltype(v);
      constexpr int kD = decltype(d)::value;
      const dim3 grid(unsigned(((p.height + window - 1) / window) * ((p.width + window - 1) / window)), unsigned(p.heads));
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

}  // namespace sampan::inline SAMPAN_ABI::kernels
