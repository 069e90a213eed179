// sampan/cuda/runtime.hpp with the real libraries: CUDA runtime, cuBLASLt, cuDNN. Data flow: include/sampan/cuda/*.hpp -> here.
// cuBLASLt is column-major: a row-major [rows, n] matrix is its [n, rows], so y^T = W x^T with the weight transposed. Float products use CUBLAS_COMPUTE_32F
// and float convolutions CUDNN_FMA_MATH: no TF32 anywhere.
#include <sampan/cuda/runtime.hpp>

#include <algorithm>
#include <memory>
#include <new>

#include <cublasLt.h>
#include <cuda_runtime.h>
#include <cudnn.h>

namespace sampan::inline SAMPAN_ABI::cuda {
namespace {

Answer say(cudaError_t e, const char* call) { return {int(e), call, e == cudaSuccess ? "" : cudaGetErrorString(e), e == cudaErrorMemoryAllocation}; }
Answer say(cublasStatus_t e, const char* call) { return {int(e), call, e == CUBLAS_STATUS_SUCCESS ? "" : cublasLtGetStatusString(e), e == CUBLAS_STATUS_ALLOC_FAILED}; }
Answer say(cudnnStatus_t e, const char* call) { return {int(e), call, e == CUDNN_STATUS_SUCCESS ? "" : cudnnGetErrorString(e), e == CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED}; }
Answer no_memory(const char* call) { return {1, call, "out of host memory", true}; }

cudaStream_t of(Stream s) { return static_cast<cudaStream_t>(s); }

/// Memory is ordered by this stream; whoever releases has finished with it.
struct Pool {
  cudaStream_t stream = nullptr;
  Answer answer;
  Pool() {
    answer = say(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
    cudaMemPool_t pool = nullptr;
    if (answer.ok()) answer = say(cudaDeviceGetDefaultMemPool(&pool, 0), "cudaDeviceGetDefaultMemPool");
    std::uint64_t keep = ~std::uint64_t(0);
    if (answer.ok()) answer = say(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep), "cudaMemPoolSetAttribute");
  }
};
Pool& pool() {
  static Pool p;
  return p;
}

}  // namespace

#define SAMPAN_ASK(...) \
  if (const Answer sampan_answer = (__VA_ARGS__); !sampan_answer.ok()) return sampan_answer

Answer find_device(DeviceInfo& out) {
  int count = 0;
  SAMPAN_ASK(say(cudaGetDeviceCount(&count), "cudaGetDeviceCount"));
  if (count == 0) return say(cudaErrorNoDevice, "cudaGetDeviceCount");
  SAMPAN_ASK(say(cudaSetDevice(0), "cudaSetDevice"));
  cudaDeviceProp p{};
  SAMPAN_ASK(say(cudaGetDeviceProperties(&p, 0), "cudaGetDeviceProperties"));
  int driver = 0, runtime = 0;
  SAMPAN_ASK(say(cudaDriverGetVersion(&driver), "cudaDriverGetVersion"));
  SAMPAN_ASK(say(cudaRuntimeGetVersion(&runtime), "cudaRuntimeGetVersion"));
  const auto dotted = [](int v) { return std::to_string(v / 1000) + "." + std::to_string(v % 1000 / 10); };
  out = {p.name, p.major, p.minor, p.totalGlobalMem,
         "driver " + dotted(driver) + ", CUDA " + dotted(runtime) + ", cuBLASLt " + std::to_string(cublasLtGetVersion()) + ", cuDNN " + std::to_string(cudnnGetVersion())};
  return {};
}

Answer allocate(void*& p, std::size_t bytes) {
  p = nullptr;
  SAMPAN_ASK(pool().answer);
  SAMPAN_ASK(say(cudaMallocAsync(&p, std::max<std::size_t>(bytes, 256), pool().stream), "cudaMallocAsync"));
  return say(cudaStreamSynchronize(pool().stream), "cudaStreamSynchronize");
}
void release(void* p) noexcept {
  if (p) cudaFreeAsync(p, pool().stream);
}
Answer allocate_pinned(void*& p, std::size_t bytes) { return say(cudaMallocHost(&p, std::max<std::size_t>(bytes, 1)), "cudaMallocHost"); }
void release_pinned(void* p) noexcept {
  if (p) cudaFreeHost(p);
}
Answer upload(void* device, const void* host, std::size_t bytes) {
  SAMPAN_ASK(say(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, pool().stream), "cudaMemcpyAsync"));
  return say(cudaStreamSynchronize(pool().stream), "cudaStreamSynchronize");
}

Answer create_stream(Stream& s) {
  cudaStream_t made = nullptr;
  SAMPAN_ASK(say(cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking), "cudaStreamCreateWithFlags"));
  s = made;
  return {};
}
void destroy_stream(Stream s) noexcept {
  if (s) cudaStreamDestroy(of(s));
}
Answer synchronize(Stream s) { return say(cudaStreamSynchronize(of(s)), "cudaStreamSynchronize"); }
Answer copy_in(void* device, const void* host, std::size_t bytes, Stream s) { return say(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, of(s)), "cudaMemcpyAsync to the device"); }
Answer copy_out(void* host, const void* device, std::size_t bytes, Stream s) { return say(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, of(s)), "cudaMemcpyAsync to the host"); }
Answer copy_across(void* to, const void* from, std::size_t bytes, Stream s) { return say(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, of(s)), "cudaMemcpyAsync on the device"); }
Answer launched(const char* kernel, kernels::Status status) { return say(cudaError_t(status), kernel); }

struct Graph {
  cudaGraphExec_t exec = nullptr;
};
// Only this thread's calls are recorded, and another session's copies do not break the recording.
Answer begin_capture(Stream s) { return say(cudaStreamBeginCapture(of(s), cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture"); }
Answer end_capture(Stream s, Graph*& out) {
  out = nullptr;
  cudaGraph_t graph = nullptr;
  SAMPAN_ASK(say(cudaStreamEndCapture(of(s), &graph), "cudaStreamEndCapture"));
  std::unique_ptr<Graph> made(new (std::nothrow) Graph);
  const Answer a = made ? say(cudaGraphInstantiate(&made->exec, graph, 0), "cudaGraphInstantiate") : no_memory("cudaGraphInstantiate");
  cudaGraphDestroy(graph);
  if (a.ok()) out = made.release();
  return a;
}
Answer launch_graph(Graph* g, Stream s) { return say(cudaGraphLaunch(g->exec, of(s)), "cudaGraphLaunch"); }
void destroy_graph(Graph* g) noexcept {
  if (g) cudaGraphExecDestroy(g->exec);
  delete g;
}

struct Libraries {
  cublasLtHandle_t blas = nullptr;
  cudnnHandle_t dnn = nullptr;
};
Answer open_libraries(Libraries*& out) {
  out = new (std::nothrow) Libraries;
  if (!out) return no_memory("open_libraries");
  Answer a = say(cublasLtCreate(&out->blas), "cublasLtCreate");
  if (a.ok()) a = say(cudnnCreate(&out->dnn), "cudnnCreate");
  if (!a.ok()) close_libraries(out), out = nullptr;
  return a;
}
void close_libraries(Libraries* l) noexcept {
  if (!l) return;
  if (l->dnn) cudnnDestroy(l->dnn);
  if (l->blas) cublasLtDestroy(l->blas);
  delete l;
}

namespace {
cudaDataType type_of(Element e) { return e == Element::f16 ? CUDA_R_16F : e == Element::bf16 ? CUDA_R_16BF : CUDA_R_32F; }
constexpr std::size_t kWorkspace = std::size_t(32) << 20;  // what cuBLASLt recommends for Hopper
}  // namespace

struct Product {
  cublasLtHandle_t handle = nullptr;
  cublasLtMatmulDesc_t description = nullptr;
  cublasLtMatrixLayout_t weight = nullptr, x = nullptr, y = nullptr, residual = nullptr;
  cublasLtMatmulAlgo_t algorithm{};
  std::size_t workspace = 0;
  bool has_bias = false, has_residual = false;
  ~Product() {
    for (auto l : {weight, x, y, residual})
      if (l) cublasLtMatrixLayoutDestroy(l);
    if (description) cublasLtMatmulDescDestroy(description);
  }
};
Answer create_product(Libraries* l, const ProductShape& s, Product*& out, std::size_t& workspace) {
  out = nullptr;
  std::unique_ptr<Product> p(new (std::nothrow) Product);
  if (!p) return no_memory("create_product");
  p->handle = l->blas, p->has_bias = s.bias, p->has_residual = s.residual;
  SAMPAN_ASK(say(cublasLtMatmulDescCreate(&p->description, CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate"));
  const auto set = [&](cublasLtMatmulDescAttributes_t name, const auto& value) { return say(cublasLtMatmulDescSetAttribute(p->description, name, &value, sizeof value), "cublasLtMatmulDescSetAttribute"); };
  SAMPAN_ASK(set(CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T));
  if (s.bias) {
    SAMPAN_ASK(set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS));
    SAMPAN_ASK(set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, type_of(s.result)));
  }
  const auto layout = [](cublasLtMatrixLayout_t& to, Element t, std::int64_t columns, std::int64_t rows, std::int64_t stride) {
    return say(cublasLtMatrixLayoutCreate(&to, type_of(t), std::uint64_t(columns), std::uint64_t(rows), stride), "cublasLtMatrixLayoutCreate");
  };
  SAMPAN_ASK(layout(p->weight, s.operand, s.in, s.out, s.in));
  SAMPAN_ASK(layout(p->x, s.operand, s.in, s.rows, s.x_stride));
  SAMPAN_ASK(layout(p->y, s.result, s.out, s.rows, s.y_stride));
  SAMPAN_ASK(layout(p->residual, s.result, s.out, s.rows, s.residual ? s.residual_stride : s.y_stride));
  cublasLtMatmulPreference_t preference = nullptr;
  SAMPAN_ASK(say(cublasLtMatmulPreferenceCreate(&preference), "cublasLtMatmulPreferenceCreate"));
  Answer a = say(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &kWorkspace, sizeof kWorkspace), "cublasLtMatmulPreferenceSetAttribute");
  // Without these the library takes every pointer for a multiple of 256.
  for (const auto name : {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
    if (a.ok()) a = say(cublasLtMatmulPreferenceSetAttribute(preference, name, &s.alignment, sizeof s.alignment), "cublasLtMatmulPreferenceSetAttribute");
  cublasLtMatmulHeuristicResult_t found{};
  int count = 0;
  if (a.ok()) a = say(cublasLtMatmulAlgoGetHeuristic(l->blas, p->description, p->weight, p->x, p->residual, p->y, preference, 1, &found, &count), "cublasLtMatmulAlgoGetHeuristic");
  cublasLtMatmulPreferenceDestroy(preference);
  SAMPAN_ASK(a);
  if (count == 0) return say(CUBLAS_STATUS_NOT_SUPPORTED, "cublasLtMatmulAlgoGetHeuristic");
  p->algorithm = found.algo, p->workspace = workspace = found.workspaceSize;
  out = p.release();
  return {};
}
Answer run_product(const Product* p, const void* x, const void* weight, const void* bias, const void* residual, void* y, void* workspace, Stream s) {
  if (p->has_bias) SAMPAN_ASK(say(cublasLtMatmulDescSetAttribute(p->description, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias), "cublasLtMatmulDescSetAttribute"));
  const float one = 1, beta = p->has_residual ? 1.0f : 0.0f;
  return say(cublasLtMatmul(p->handle, p->description, &one, weight, p->weight, x, p->x, &beta, p->has_residual ? residual : y, p->residual, y, p->y, &p->algorithm, workspace, p->workspace, of(s)), "cublasLtMatmul");
}
void destroy_product(Product* p) noexcept { delete p; }

struct Convolution {
  cudnnHandle_t handle = nullptr;
  cudnnTensorDescriptor_t x = nullptr, y = nullptr;
  cudnnFilterDescriptor_t weight = nullptr;
  cudnnConvolutionDescriptor_t description = nullptr;
  cudnnConvolutionFwdAlgo_t algorithm{};
  std::size_t workspace = 0;
  ~Convolution() {
    if (x) cudnnDestroyTensorDescriptor(x);
    if (y) cudnnDestroyTensorDescriptor(y);
    if (weight) cudnnDestroyFilterDescriptor(weight);
    if (description) cudnnDestroyConvolutionDescriptor(description);
  }
};
Answer create_convolution(Libraries* l, const ConvolutionShape& s, Convolution*& out, std::size_t& workspace) {
  out = nullptr;
  std::unique_ptr<Convolution> c(new (std::nothrow) Convolution);
  if (!c) return no_memory("create_convolution");
  c->handle = l->dnn;
  const int oh = int((s.height + 2 * s.pad - s.kernel_h) / s.stride + 1), ow = int((s.width + 2 * s.pad - s.kernel_w) / s.stride + 1);
  SAMPAN_ASK(say(cudnnCreateTensorDescriptor(&c->x), "cudnnCreateTensorDescriptor"));
  SAMPAN_ASK(say(cudnnCreateTensorDescriptor(&c->y), "cudnnCreateTensorDescriptor"));
  SAMPAN_ASK(say(cudnnCreateFilterDescriptor(&c->weight), "cudnnCreateFilterDescriptor"));
  SAMPAN_ASK(say(cudnnCreateConvolutionDescriptor(&c->description), "cudnnCreateConvolutionDescriptor"));
  SAMPAN_ASK(say(cudnnSetTensor4dDescriptor(c->x, CUDNN_TENSOR_NHWC, CUDNN_DATA_FLOAT, int(s.images), int(s.in), int(s.height), int(s.width)), "cudnnSetTensor4dDescriptor"));
  SAMPAN_ASK(say(cudnnSetTensor4dDescriptor(c->y, CUDNN_TENSOR_NHWC, CUDNN_DATA_FLOAT, int(s.images), int(s.out), oh, ow), "cudnnSetTensor4dDescriptor"));
  SAMPAN_ASK(say(cudnnSetFilter4dDescriptor(c->weight, CUDNN_DATA_FLOAT, CUDNN_TENSOR_NHWC, int(s.out), int(s.in), int(s.kernel_h), int(s.kernel_w)), "cudnnSetFilter4dDescriptor"));
  SAMPAN_ASK(say(cudnnSetConvolution2dDescriptor(c->description, int(s.pad), int(s.pad), int(s.stride), int(s.stride), 1, 1, CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT), "cudnnSetConvolution2dDescriptor"));
  SAMPAN_ASK(say(cudnnSetConvolutionMathType(c->description, CUDNN_FMA_MATH), "cudnnSetConvolutionMathType"));
  cudnnConvolutionFwdAlgoPerf_t found[CUDNN_CONVOLUTION_FWD_ALGO_COUNT];
  int count = 0;
  SAMPAN_ASK(say(cudnnGetConvolutionForwardAlgorithm_v7(l->dnn, c->x, c->weight, c->description, c->y, CUDNN_CONVOLUTION_FWD_ALGO_COUNT, &count, found), "cudnnGetConvolutionForwardAlgorithm_v7"));
  for (int i = 0; i < count; ++i) {  // ordered by expected time; some ask for more memory than the layer is worth, some for tensor cores
    const bool tensor_cores = found[i].mathType == CUDNN_TENSOR_OP_MATH || found[i].mathType == CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION;
    if (found[i].status != CUDNN_STATUS_SUCCESS || found[i].memory > std::size_t(256) << 20 || tensor_cores) continue;
    c->algorithm = found[i].algo, c->workspace = workspace = found[i].memory;
    out = c.release();
    return {};
  }
  return say(CUDNN_STATUS_NOT_SUPPORTED, "cudnnGetConvolutionForwardAlgorithm_v7");
}
Answer run_convolution(const Convolution* c, const float* x, const float* weight, float* y, void* workspace, Stream s) {
  SAMPAN_ASK(say(cudnnSetStream(c->handle, of(s)), "cudnnSetStream"));
  const float one = 1, zero = 0;
  return say(cudnnConvolutionForward(c->handle, &one, c->x, x, c->weight, weight, c->description, c->algorithm, workspace, c->workspace, &zero, c->y, y), "cudnnConvolutionForward");
}
void destroy_convolution(Convolution* c) noexcept { delete c; }

}  // namespace sampan::inline SAMPAN_ABI::cuda
