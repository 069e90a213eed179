// main of test_gpu: says which device answers, or ends with code 77 (skipped) and the reason.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>

#include <cuda_runtime.h>

int main(int argc, char** argv) {
  int count = 0;
  const cudaError_t e = cudaGetDeviceCount(&count);
  if (e != cudaSuccess || count == 0) {
    std::printf("gpu tests skipped: %s\n", e == cudaSuccess ? "no CUDA device" : cudaGetErrorString(e));
    return 77;
  }
  cudaDeviceProp p{};
  cudaGetDeviceProperties(&p, 0);
  std::printf("gpu tests on %s, compute capability %d.%d\n", p.name, p.major, p.minor);
  if (p.major < 8) {
    std::printf("gpu tests skipped: bf16 cases need compute capability 8.0\n");
    return 77;
  }
  return doctest::Context(argc, argv).run();
}
