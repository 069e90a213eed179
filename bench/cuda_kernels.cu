// bench_cuda_kernels: the kernels of kernels/ on the shapes of SAM and TinyViT, against the roofs of the device, both measured in this run.
//   bench_cuda_kernels [--json FILE]
// Data flow: launch.hpp -> device; times from events. Roofs: tensor cores by mma_16816 on registers (bf16), memory by copying 512 MiB.
// FLOP: useful multiply-adds of the definition (padding of tiles and masked columns do not count). Bytes: inputs and outputs once.
// Every time is the median of 20 launches after 5, one event pair each; inputs of one layer rotate through 8 copies, so that L2 does not keep them.
// The ladders: the same attention by the naive, the tiled and the tensor-core kernel, and LayerNorm by both, on 32x32 tokens; percent of peak is the bf16 one for all.
// Deliberately absent: whole networks (bench_encoder, bench_decoder).
#include "kernels/launch.hpp"
#include "kernels/ptx.cuh"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include <cuda_runtime.h>

namespace {
using namespace sampan::kernels;

[[noreturn]] void die(const char* what, const char* why) {
  std::fprintf(stderr, "bench: %s: %s\n", what, why);
  std::exit(1);
}
void must(cudaError_t e, const char* what) {
  if (e != cudaSuccess) die(what, cudaGetErrorString(e));
}

/// Device memory filled with small numbers that are finite in every 16-bit format.
class Device {
 public:
  explicit Device(std::size_t bytes) {
    must(cudaMalloc(&p_, bytes), "cudaMalloc");
    must(cudaMemset(p_, 0x2c, bytes), "cudaMemset");  // 0x2c2c: 0.065 in binary16, 2.4e-12 in bfloat16 and float
  }
  Device(const Device&) = delete;
  ~Device() { cudaFree(p_); }
  template <class T>
  T* as() const { return static_cast<T*>(p_); }

 private:
  void* p_ = nullptr;
};

/// Median milliseconds of run(turn).
double time_of(const std::function<int(int)>& run) {
  cudaEvent_t begin, end;
  must(cudaEventCreate(&begin), "cudaEventCreate");
  must(cudaEventCreate(&end), "cudaEventCreate");
  std::vector<float> ms;
  for (int i = 0; i < 25; ++i) {
    must(cudaEventRecord(begin), "cudaEventRecord");
    must(cudaError_t(run(i)), "launch");
    must(cudaEventRecord(end), "cudaEventRecord");
    must(cudaEventSynchronize(end), "kernel");
    float t = 0;
    must(cudaEventElapsedTime(&t, begin, end), "cudaEventElapsedTime");
    if (i >= 5) ms.push_back(t);
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  std::sort(ms.begin(), ms.end());
  return double(ms[ms.size() / 2]);
}

constexpr int kPeakSteps = 4096, kPeakTiles = 8;
__global__ void __launch_bounds__(256) peak_kernel(float* out) {
  std::uint32_t a[4] = {0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u};
  float d[kPeakTiles][4] = {};
  for (int i = 0; i < kPeakSteps; ++i)
#pragma unroll
    for (int j = 0; j < kPeakTiles; ++j) mma_16816<BF16>(d[j], a, a[j % 4], a[(j + 1) % 4], d[j]);
  float sum = 0;
#pragma unroll
  for (int j = 0; j < kPeakTiles; ++j) sum += d[j][0] + d[j][3];
  out[blockIdx.x * 256 + threadIdx.x] = sum;
}

struct Row {
  std::string name;
  double ms, flop, bytes;
};

struct Attention {
  const char* name;
  int height, width, heads, head_dim, window;
  bool table;
};

constexpr int kCopies = 8;

Row attention_row(const Attention& c) {
  const std::size_t tokens = std::size_t(c.height * c.width), qkv = tokens * std::size_t(3 * c.heads * c.head_dim) * 2, out = qkv / 3, n = std::size_t(c.window ? c.window : c.height);
  Device in(qkv * kCopies), to(out), row(tokens * std::size_t(c.heads) * n * 4), column(tokens * std::size_t(c.heads) * n * 4), bias(std::size_t(c.heads) * n * n * n * n * (c.table ? 4 : 0) + 4);
  const auto at = [&](int i) { return in.as<char>() + std::size_t(i % kCopies) * qkv; };
  const float* r = c.table ? nullptr : row.as<float>();
  const double ms = time_of([&](int i) -> int {
    if (c.window) return launch_attention_window({at(i), to.as<void>(), c.height, c.width, c.heads, 0.125f, r, c.table ? nullptr : column.as<float>(), c.table ? bias.as<float>() : nullptr}, Element::bf16, c.head_dim, c.window, nullptr);
    return launch_attention_global({at(i), to.as<void>(), c.height, c.width, c.heads, 0.125f, r, column.as<float>()}, Element::bf16, c.head_dim, nullptr);
  });
  const double keys = c.window ? double(c.window * c.window) : double(tokens);
  return {c.name, ms, 4.0 * double(tokens) * keys * c.heads * c.head_dim, double(qkv + out) + (c.table ? double(c.heads) * keys * keys * 4 : 2.0 * double(tokens) * c.heads * double(n) * 4)};
}

}  // namespace

int main(int argc, char** argv) {
  const char* json = nullptr;
  for (int i = 1; i < argc; ++i) {
    if (!std::strcmp(argv[i], "--json") && i + 1 < argc) {
      json = argv[++i];
    } else {
      std::printf("bench_cuda_kernels [--json FILE]: kernels of sampan against the measured roofs of device 0\n");
      return std::strcmp(argv[i], "--help") ? 2 : 0;
    }
  }
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) die("no CUDA device", "nothing can be measured");
  cudaDeviceProp p{};
  must(cudaGetDeviceProperties(&p, 0), "cudaGetDeviceProperties");

  const int blocks = p.multiProcessorCount * 8;
  Device peak_out(std::size_t(blocks) * 256 * 4);
  const double peak_ms = time_of([&](int) -> int {
    peak_kernel<<<blocks, 256>>>(peak_out.as<float>());
    return cudaGetLastError();
  });
  const double peak = 2.0 * 16 * 8 * 16 * kPeakTiles * kPeakSteps * 8 * blocks / (peak_ms * 1e-3);  // 8 warps per block
  const std::size_t half = std::size_t(256) << 20;
  Device big(2 * half);
  const double copy_ms = time_of([&](int) -> int { return cudaMemcpyAsync(big.as<char>() + half, big.as<char>(), half, cudaMemcpyDeviceToDevice); });
  const double bandwidth = 2.0 * double(half) / (copy_ms * 1e-3);

  std::vector<Row> rows;
  for (const Attention& c : {Attention{"ViT-B global, 64x64, 12 heads of 64, rel-pos", 64, 64, 12, 64, 0, false}, {"ViT-H global, 64x64, 16 heads of 80, rel-pos", 64, 64, 16, 80, 0, false},
                             {"ViT-B window 14, 64x64, 12 heads of 64, rel-pos", 64, 64, 12, 64, 14, false}, {"ViT-H window 14, 64x64, 16 heads of 80, rel-pos", 64, 64, 16, 80, 14, false},
                             {"TinyViT window 7, 128x128, 4 heads of 32, table", 128, 128, 4, 32, 7, true}, {"TinyViT window 14, 64x64, 5 heads of 32, table", 64, 64, 5, 32, 14, true}})
    rows.push_back(attention_row(c));
  {
    const int side = 32, tokens = side * side, heads = 12, d = 64, width = heads * d;
    Device qkv(std::size_t(tokens * 3 * width) * 4), out(std::size_t(tokens * width) * 4), tables(std::size_t((2 * side - 1) * d) * 4), g(std::size_t(width) * 4);
    Device row(std::size_t(tokens * heads * side) * 4), column(std::size_t(tokens * heads * side) * 4);
    const double flop = 4.0 * tokens * tokens * width, operands = 4.0 * tokens * width, moved = 8.0 * tokens * width;
    const float* t = tables.as<float>();
    const AttentionGlobalParams one{qkv.as<void>(), out.as<void>(), side, side, heads, 0.125f, row.as<float>(), column.as<float>()};
    const LayerNormParams norm{qkv.as<float>(), out.as<void>(), g.as<float>(), g.as<float>(), tokens, width, 1e-6f, width, width};
    const auto add = [&](const char* name, double work, double bytes, auto&& launch) { rows.push_back({name, time_of([&](int) { return launch(); }), work, bytes}); };
    add("ladder: global attention 32x32, naive, f32", flop, 4 * operands, [&] { return launch_attention_naive({one.qkv, one.out, side, side, heads, d, 0, 0.125f, t, t, nullptr}, Element::f32, nullptr); });
    add("ladder: global attention 32x32, tiled, f32", flop, 4 * operands, [&] { return launch_attention_tiled(one, Element::f32, d, nullptr); });
    add("ladder: global attention 32x32, tensor cores, bf16", flop, 2 * operands, [&] { return launch_attention_global(one, Element::bf16, d, nullptr); });
    add("ladder: layer_norm 1024x768, naive", moved, moved, [&] { return launch_layer_norm_naive(norm, Element::f32, nullptr); });
    add("ladder: layer_norm 1024x768, a warp per row", moved, moved, [&] { return launch_layer_norm(norm, Element::f32, nullptr); });
  }
  {
    const int tokens = 4096, width = 768;
    Device x(std::size_t(tokens * width) * 4 * kCopies), y(std::size_t(tokens * width) * 4), g(std::size_t(width) * 4);
    const auto at = [&](int i) { return x.as<float>() + std::size_t(i % kCopies) * std::size_t(tokens * width); };
    rows.push_back({"layer_norm 4096x768 to bf16", time_of([&](int i) { return launch_layer_norm({at(i), y.as<void>(), g.as<float>(), g.as<float>(), tokens, width, 1e-6f, width, width}, Element::bf16, nullptr); }), 8.0 * tokens * width, 6.0 * tokens * width});
    rows.push_back({"bias, GELU 4096x768 to bf16", time_of([&](int i) { return launch_finish_rows({at(i), tokens, width, g.as<float>(), nullptr, 0, 0, 0, y.as<void>(), tokens, width, width, Activate::gelu}, Element::bf16, nullptr); }), 10.0 * tokens * width, 6.0 * tokens * width});
  }
  {
    const int tokens = 4096, heads = 12, d = 64;
    Device qkv(std::size_t(tokens * 3 * heads * d) * 2), tables(std::size_t(127 * d) * 4), row(std::size_t(tokens * heads) * 64 * 4), column(std::size_t(tokens * heads) * 64 * 4);
    rows.push_back({"rel_pos 64x64, 12 heads of 64", time_of([&](int) { return launch_rel_pos({qkv.as<void>(), 64, 64, heads, d, 0, tables.as<float>(), tables.as<float>(), row.as<float>(), column.as<float>()}, Element::bf16, nullptr); }),
                    4.0 * tokens * heads * 64 * d, 2.0 * tokens * heads * d + 8.0 * tokens * heads * 64});
  }

  std::printf("- bench_cuda_kernels on %s (compute capability %d.%d, %d multiprocessors)\n- roof: bf16 %.1f TFLOP/s, copy %.0f GB/s\n\n", p.name, p.major, p.minor, p.multiProcessorCount, peak * 1e-12, bandwidth * 1e-9);
  std::printf("| kernel | median us | GFLOP | MB | TFLOP/s | %% of bf16 peak | GB/s | %% of its roof |\n|---|--:|--:|--:|--:|--:|--:|--:|\n");
  std::FILE* file = json ? std::fopen(json, "w") : nullptr;
  if (json && !file) die(json, "cannot be written");
  if (file) std::fprintf(file, "{\"device\": \"%s\", \"bf16_tflops\": %.2f, \"copy_gbs\": %.1f, \"rows\": [", p.name, peak * 1e-12, bandwidth * 1e-9);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const Row& r = rows[i];
    const double s = r.ms * 1e-3, floor = std::max(r.flop / peak, r.bytes / bandwidth);
    std::printf("| %s | %.1f | %.3g | %.3g | %.1f | %.1f | %.0f | %.1f |\n", r.name.c_str(), r.ms * 1e3, r.flop * 1e-9, r.bytes * 1e-6, r.flop / s * 1e-12, 100 * r.flop / s / peak, r.bytes / s * 1e-9, 100 * floor / s);
    if (file) std::fprintf(file, "%s{\"name\": \"%s\", \"ms\": %.6f, \"flop\": %.0f, \"bytes\": %.0f, \"of_roof\": %.4f}", i ? ", " : "", r.name.c_str(), r.ms, r.flop, r.bytes, floor / s);
  }
  if (file) {
    std::fprintf(file, "]}\n");
    if (std::fclose(file) != 0) die(json, "cannot be written");
  }
  return 0;
}
