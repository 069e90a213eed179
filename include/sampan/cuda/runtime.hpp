// What the backend asks of CUDA, cuBLASLt and cuDNN, as plain functions without a CUDA type: the seam that an emulator can stand behind.
// Data flow: cuda/*.hpp -> here -> kernels/runtime.cpp (the real libraries) or tests/emu/runtime.cpp (the same on the CPU). Kernels: kernels/launch.hpp.
// Every function answers with the name of the call that failed; nothing throws, prints or exits. One device, number 0 of those that the process sees.
// Work in a stream runs in order; functions with a Stream return at once, the others wait.
#pragma once
#include <sampan/core/config.hpp>

#include <kernels/launch.hpp>

#include <cstddef>
#include <cstdint>
#include <string>

namespace sampan::inline SAMPAN_ABI::cuda {

using kernels::Element;
using kernels::Stream;

/// code 0 is success; else the call and what it said.
struct Answer {
  int code = 0;
  const char* call = "";
  const char* text = "";
  bool out_of_memory = false;
  bool ok() const { return code == 0; }
};

struct DeviceInfo {
  std::string name;
  int major = 0, minor = 0;  ///< compute capability
  std::size_t memory = 0;    ///< bytes
  std::string versions;      ///< of driver, runtime, cuBLASLt, cuDNN
};

/// Finds the device. Not ok where none answers; `text` says why.
Answer find_device(DeviceInfo& out);

/// Memory of the device, 256-byte aligned, from a pool that keeps what was released.
Answer allocate(void*& p, std::size_t bytes);
void release(void* p) noexcept;  ///< null is fine; nothing may still use it
/// Memory of the host that copies run from and to without a detour.
Answer allocate_pinned(void*& p, std::size_t bytes);
void release_pinned(void* p) noexcept;
Answer upload(void* device, const void* host, std::size_t bytes);

Answer create_stream(Stream& s);
void destroy_stream(Stream s) noexcept;
Answer synchronize(Stream s);
Answer copy_in(void* device, const void* host, std::size_t bytes, Stream s);
Answer copy_out(void* host, const void* device, std::size_t bytes, Stream s);
/// Both on the device: what its memory can do at best, for measurements.
Answer copy_across(void* to, const void* from, std::size_t bytes, Stream s);
/// The answer of a kernel's launcher.
Answer launched(const char* kernel, kernels::Status status);

/// What runs in the stream between the two calls is recorded instead of run.
struct Graph;
Answer begin_capture(Stream s);
Answer end_capture(Stream s, Graph*& out);
Answer launch_graph(Graph* g, Stream s);
void destroy_graph(Graph* g) noexcept;

/// Handles of cuBLASLt and cuDNN.
struct Libraries;
Answer open_libraries(Libraries*& out);
void close_libraries(Libraries* l) noexcept;

/// y [rows, out] = x [rows, in] W^T + bias + residual, W [out, in]; strides in elements between rows. Operands of `operand` type, sums in float (never TF32),
/// bias and result of `result` type, the residual a float matrix if the result is float.
struct ProductShape {
  std::int64_t rows = 0, out = 0, in = 0, x_stride = 0, y_stride = 0, residual_stride = 0;
  Element operand = Element::f32, result = Element::f32;
  bool bias = false, residual = false;
  std::uint32_t alignment = 16;  ///< bytes that every pointer of the product is a multiple of: 16, 4 or 2
  auto operator<=>(const ProductShape&) const = default;
};
struct Product;
/// Chooses the algorithm; its workspace is the caller's.
Answer create_product(Libraries* l, const ProductShape& s, Product*& out, std::size_t& workspace);
Answer run_product(const Product* p, const void* x, const void* weight, const void* bias, const void* residual, void* y, void* workspace, Stream s);
void destroy_product(Product* p) noexcept;

/// y [out_height, out_width, out] = x [height, width, in] * W [out, kernel, kernel, in], channels last, zero padding, float without TF32.
struct ConvolutionShape {
  std::int64_t height = 0, width = 0, in = 0, out = 0, kernel_h = 0, kernel_w = 0, stride = 1, pad = 0;
  std::int64_t images = 1;  ///< of these sizes, one below the other
  auto operator<=>(const ConvolutionShape&) const = default;
};
struct Convolution;
Answer create_convolution(Libraries* l, const ConvolutionShape& s, Convolution*& out, std::size_t& workspace);
Answer run_convolution(const Convolution* c, const float* x, const float* weight, float* y, void* workspace, Stream s);
void destroy_convolution(Convolution* c) noexcept;

}  // namespace sampan::inline SAMPAN_ABI::cuda
