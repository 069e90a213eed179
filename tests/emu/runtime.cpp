// The CUDA runtime, cuBLASLt and cuDNN of whole models on the CPU: sampan/cuda/runtime.hpp behind which kernels run on the emulator (machine.hpp).
// Stricter than the real ones where that finds mistakes:
//   memory        device memory has no access rights while host code runs: a host read of a device address is a crash at the place; fresh memory is NaN
//   streams       work waits in the stream until somebody synchronises: host memory that is changed or freed too early gives wrong numbers
//   recording     work between begin_capture and end_capture runs only when the graph is launched; synchronising meanwhile is an error
//   failures      any call can be made to fail, to see that its name comes back as an Error and nothing leaks
// Products and convolutions are literal, with float sums and one rounding to the result's type.
#include "runtime.hpp"

#include "warp_math.hpp"

#include <sampan/cuda/runtime.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <utility>
#include <vector>

#include <sys/mman.h>

namespace sampan::emu {
namespace {

struct StreamState {
  std::vector<std::function<void()>> waiting, recorded;
  bool recording = false;
};

struct Runtime {
  RuntimeCounts counts;
  std::string findings;
  std::uint64_t fail_at = 0;
  bool hidden = false;
  int major = 9, minor = 0;
  std::map<char*, std::size_t> heap;  // device memory: begin of the usable part, mapped bytes around it included
};
Runtime& runtime() {
  static Runtime r;
  return r;
}

constexpr std::size_t kPage = 4096, kGuard = 16 * kPage;
std::size_t mapped(std::size_t bytes) { return (bytes + kPage - 1) / kPage * kPage + 2 * kGuard; }

/// While this lives, device memory can be read and written.
class Unlock {
 public:
  Unlock() { set(PROT_READ | PROT_WRITE); }
  ~Unlock() { set(PROT_NONE); }
  Unlock(const Unlock&) = delete;
  Unlock& operator=(const Unlock&) = delete;

 private:
  static void set(int rights) {
    for (const auto& [begin, bytes] : runtime().heap) mprotect(begin, mapped(bytes) - 2 * kGuard, rights);
  }
};

cuda::Answer failure(const char* call, const char* text, int code) { return {code, call, text, false}; }
/// Counts a call; the one that was asked to fail does.
cuda::Answer called(const char* name) {
  Runtime& r = runtime();
  ++r.counts.calls;
  if (r.fail_at && --r.fail_at == 0) return failure(name, "made to fail", 999);
  return {};
}

StreamState& state(cuda::Stream s) { return *static_cast<StreamState*>(s); }
void enqueue(cuda::Stream s, std::function<void()> work) {
  StreamState& st = state(s);
  (st.recording ? st.recorded : st.waiting).push_back(std::move(work));
}

float value(const void* p, std::int64_t i, cuda::Element t) {
  if (t == cuda::Element::f32) return static_cast<const float*>(p)[i];
  const std::uint16_t bits = static_cast<const std::uint16_t*>(p)[i];
  return t == cuda::Element::f16 ? f16_value(bits) : bf16_value(bits);
}
void store(void* p, std::int64_t i, cuda::Element t, float v) {
  if (t == cuda::Element::f32) {
    static_cast<float*>(p)[i] = v;
  } else {
    static_cast<std::uint16_t*>(p)[i] = t == cuda::Element::f16 ? f16_bits(v) : bf16_bits(v);
  }
}

}  // namespace

RuntimeCounts& runtime_counts() { return runtime().counts; }
std::string take_findings() { return std::exchange(runtime().findings, {}); }
void fail_call(std::uint64_t n) { runtime().fail_at = n; }
void hide_device(bool hidden) { runtime().hidden = hidden; }
void set_compute_capability(int major, int minor) { runtime().major = major, runtime().minor = minor; }

namespace {
/// What a block may have, by compute capability (CUDA C++ Programming Guide, technical specifications).
std::size_t most_shared() {
  const int c = runtime().major * 10 + runtime().minor;
  return (c < 80 ? 64 : c == 80 || c == 87 ? 163 : c < 90 || c >= 120 ? 99 : 227) * std::size_t(1024);
}
}  // namespace

int enqueue_launch(void* stream, Dim grid, Dim block, std::size_t shared, std::function<void()> thread) {
  if (const auto a = called("kernel"); !a.ok()) return a.code;
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.y > 65535 || grid.z > 65535 || block.count() == 0 || block.count() > 1024 || shared > most_shared()) return 9;  // cudaErrorInvalidConfiguration
  enqueue(stream, [=] {
    ++runtime().counts.launches;
    const Report r = launch(grid, block, shared, thread);
    for (const auto& f : r.findings) runtime().findings += f.what + "\n";
  });
  return 0;
}

}  // namespace sampan::emu

namespace sampan::inline SAMPAN_ABI::cuda {
namespace {
using emu::called;
using emu::runtime;
template <class T>
T* living(T* p) {
  ++runtime().counts.living;
  return p;
}
template <class T>
void gone(T* p) {
  if (p) --runtime().counts.living;
  delete p;
}
}  // namespace

#define SAMPAN_CALL(NAME) \
  if (const Answer sampan_answer = called(NAME); !sampan_answer.ok()) return sampan_answer

Answer find_device(DeviceInfo& out) {
  if (runtime().hidden) return emu::failure("cudaGetDeviceCount", "no CUDA-capable device is detected", 100);
  SAMPAN_CALL("cudaGetDeviceCount");
  out = {"emulated device", runtime().major, runtime().minor, std::size_t(1) << 30, "emulated runtime"};
  return {};
}

Answer allocate(void*& p, std::size_t bytes) {
  p = nullptr;
  SAMPAN_CALL("cudaMallocAsync");
  ++runtime().counts.allocations;
  const std::size_t whole = emu::mapped(bytes);
  char* base = static_cast<char*>(mmap(nullptr, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  if (base == MAP_FAILED) return {2, "cudaMallocAsync", "out of memory", true};
  char* begin = base + emu::kGuard;
  mprotect(begin, whole - 2 * emu::kGuard, PROT_READ | PROT_WRITE);
  std::memset(begin, 0xff, whole - 2 * emu::kGuard);
  mprotect(begin, whole - 2 * emu::kGuard, PROT_NONE);
  runtime().heap.emplace(begin, bytes);
  emu::add_plain_memory(begin, bytes);
  ++runtime().counts.living;
  p = begin;
  return {};
}
void release(void* p) noexcept {
  if (!p) return;
  const auto at = runtime().heap.find(static_cast<char*>(p));
  munmap(at->first - emu::kGuard, emu::mapped(at->second));
  emu::remove_plain_memory(p);
  runtime().heap.erase(at);
  --runtime().counts.living;
}
Answer allocate_pinned(void*& p, std::size_t bytes) {
  SAMPAN_CALL("cudaMallocHost");
  ++runtime().counts.allocations;
  p = living(new char[bytes + 1]);
  std::memset(p, 0xff, bytes);
  return {};
}
void release_pinned(void* p) noexcept {
  if (p) --runtime().counts.living;
  delete[] static_cast<char*>(p);
}
Answer upload(void* device, const void* host, std::size_t bytes) {
  SAMPAN_CALL("cudaMemcpyAsync");
  const emu::Unlock open;
  if (bytes) std::memcpy(device, host, bytes);
  return {};
}

Answer create_stream(Stream& s) {
  SAMPAN_CALL("cudaStreamCreateWithFlags");
  s = living(new emu::StreamState);
  return {};
}
void destroy_stream(Stream s) noexcept { gone(static_cast<emu::StreamState*>(s)); }
Answer synchronize(Stream s) {
  SAMPAN_CALL("cudaStreamSynchronize");
  ++runtime().counts.synchronizations;
  auto& st = emu::state(s);
  if (st.recording) return emu::failure("cudaStreamSynchronize", "operation not permitted when stream is capturing", 900);
  const emu::Unlock open;
  for (const auto& work : std::exchange(st.waiting, {})) work();
  return {};
}
Answer copy_in(void* device, const void* host, std::size_t bytes, Stream s) {
  SAMPAN_CALL("cudaMemcpyAsync to the device");
  emu::enqueue(s, [=] { std::memcpy(device, host, bytes); });
  return {};
}
Answer copy_out(void* host, const void* device, std::size_t bytes, Stream s) {
  SAMPAN_CALL("cudaMemcpyAsync to the host");
  emu::enqueue(s, [=] { std::memcpy(host, device, bytes); });
  return {};
}
Answer copy_across(void* to, const void* from, std::size_t bytes, Stream s) {
  SAMPAN_CALL("cudaMemcpyAsync on the device");
  emu::enqueue(s, [=] { std::memcpy(to, from, bytes); });
  return {};
}
Answer launched(const char* kernel, kernels::Status status) { return {status, kernel, status == 1 ? "invalid argument" : "launch failed", false}; }

struct Graph {
  std::vector<std::function<void()>> work;
};
Answer begin_capture(Stream s) {
  SAMPAN_CALL("cudaStreamBeginCapture");
  emu::state(s).recording = true;
  return {};
}
Answer end_capture(Stream s, Graph*& out) {
  out = nullptr;
  auto& st = emu::state(s);
  st.recording = false;
  auto recorded = std::exchange(st.recorded, {});
  SAMPAN_CALL("cudaStreamEndCapture");
  out = living(new Graph{std::move(recorded)});
  return {};
}
Answer launch_graph(Graph* g, Stream s) {
  SAMPAN_CALL("cudaGraphLaunch");
  ++runtime().counts.graph_launches;
  for (const auto& work : g->work) emu::enqueue(s, work);
  return {};
}
void destroy_graph(Graph* g) noexcept { gone(g); }

struct Libraries {};
Answer open_libraries(Libraries*& out) {
  out = nullptr;
  SAMPAN_CALL("cublasLtCreate");
  out = living(new Libraries);
  return {};
}
void close_libraries(Libraries* l) noexcept { gone(l); }

struct Product {
  ProductShape s;
};
Answer create_product(Libraries*, const ProductShape& s, Product*& out, std::size_t& workspace) {
  out = nullptr;
  SAMPAN_CALL("cublasLtMatmulAlgoGetHeuristic");
  // What cuBLASLt asks of leading dimensions, and what runtime.hpp promises about the residual.
  if (s.rows < 1 || s.out < 1 || s.in < 1 || s.x_stride < s.in || s.y_stride < s.out || (s.residual && (s.residual_stride < s.out || s.result != Element::f32))) return emu::failure("cublasLtMatmulAlgoGetHeuristic", "invalid value", 7);
  out = living(new Product{s});
  workspace = 1024;
  return {};
}
Answer run_product(const Product* p, const void* x, const void* weight, const void* bias, const void* residual, void* y, void* workspace, Stream stream) {
  SAMPAN_CALL("cublasLtMatmul");
  for (const void* pointer : {x, weight, bias, residual, static_cast<const void*>(y)})
    if (reinterpret_cast<std::uintptr_t>(pointer) % p->s.alignment) return emu::failure("cublasLtMatmul", "a pointer is not aligned as the plan says", 7);
  emu::enqueue(stream, [s = p->s, x, weight, bias, residual, y, workspace] {
    ++runtime().counts.products;
    std::memset(workspace, 0xff, 1024);
    std::vector<float> w(std::size_t(s.out * s.in)), row(static_cast<std::size_t>(s.in));
    for (std::int64_t i = 0; i < s.out * s.in; ++i) w[std::size_t(i)] = emu::value(weight, i, s.operand);
    for (std::int64_t r = 0; r < s.rows; ++r) {
      for (std::int64_t k = 0; k < s.in; ++k) row[std::size_t(k)] = emu::value(x, r * s.x_stride + k, s.operand);
      for (std::int64_t o = 0; o < s.out; ++o) {
        float sum = 0;
        for (std::int64_t k = 0; k < s.in; ++k) sum += row[std::size_t(k)] * w[std::size_t(o * s.in + k)];
        if (s.bias) sum += emu::value(bias, o, s.result);
        if (s.residual) sum += static_cast<const float*>(residual)[r * s.residual_stride + o];
        emu::store(y, r * s.y_stride + o, s.result, sum);
      }
    }
  });
  return {};
}
void destroy_product(Product* p) noexcept { gone(p); }

struct Convolution {
  ConvolutionShape s;
};
Answer create_convolution(Libraries*, const ConvolutionShape& s, Convolution*& out, std::size_t& workspace) {
  out = nullptr;
  SAMPAN_CALL("cudnnGetConvolutionForwardAlgorithm_v7");
  out = living(new Convolution{s});
  workspace = 2048;
  return {};
}
Answer run_convolution(const Convolution* c, const float* x, const float* weight, float* y, void* workspace, Stream stream) {
  SAMPAN_CALL("cudnnConvolutionForward");
  emu::enqueue(stream, [s = c->s, x, weight, y, workspace] {
    ++runtime().counts.convolutions;
    std::memset(workspace, 0xff, 2048);
    const std::int64_t oh = (s.height + 2 * s.pad - s.kernel_h) / s.stride + 1, ow = (s.width + 2 * s.pad - s.kernel_w) / s.stride + 1;
    for (std::int64_t image = 0; image < s.images; ++image) {
      const float* from = x + image * s.height * s.width * s.in;
      float* to = y + image * oh * ow * s.out;
      for (std::int64_t oy = 0; oy < oh; ++oy)
        for (std::int64_t ox = 0; ox < ow; ++ox)
          for (std::int64_t o = 0; o < s.out; ++o) {
            float sum = 0;
            for (std::int64_t ky = 0; ky < s.kernel_h; ++ky)
              for (std::int64_t kx = 0; kx < s.kernel_w; ++kx) {
                const std::int64_t iy = oy * s.stride + ky - s.pad, ix = ox * s.stride + kx - s.pad;
                if (iy < 0 || iy >= s.height || ix < 0 || ix >= s.width) continue;
                for (std::int64_t i = 0; i < s.in; ++i) sum += from[(iy * s.width + ix) * s.in + i] * weight[((o * s.kernel_h + ky) * s.kernel_w + kx) * s.in + i];
              }
            to[(oy * ow + ox) * s.out + o] = sum;
          }
    }
  });
  return {};
}
void destroy_convolution(Convolution* c) noexcept { gone(c); }

}  // namespace sampan::inline SAMPAN_ABI::cuda
