// The emulator's tests on a real GPU: the same kernels and cases, launched natively. Data flow: tests/emu/*_test.cpp -> emu/kernels.hpp -> here -> the device.
// Memory is managed, so that tests read and write it directly. What only the emulator can see (races, counters, order) stays empty; an error of the device is a finding.
// compute-sanitizer sees races and borders natively: run.sh.
#include "emu/kernels.hpp"

#include <cstring>
#include <new>

#include <cuda_runtime.h>

namespace sampan::emu {
namespace {

struct Configuration {
  Dim grid, block;
  std::size_t shared = 0;
} current;

template <class P>
void launch_now(void (*kernel)(P), const P& p) {
  if (current.shared > 48 * 1024) cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(current.shared));
  kernel<<<dim3(current.grid.x, current.grid.y, current.grid.z), dim3(current.block.x, current.block.y, current.block.z), current.shared>>>(p);
}

}  // namespace
}  // namespace sampan::emu

#define SAMPAN_RUN(KERNEL, PARAMS) [p = PARAMS] { launch_now(KERNEL, p); }
#include "emu/kernels.cpp"

namespace sampan::emu {

Memory::Memory(std::size_t bytes) : bytes_(bytes) {
  if (cudaMallocManaged(&data_, bytes ? bytes : 1) != cudaSuccess) throw std::bad_alloc();
  std::memset(data_, 0xff, bytes);
}
Memory::Memory(const void* data, std::size_t bytes) : Memory(bytes) { std::memcpy(data_, data, bytes); }
Memory::~Memory() { cudaFree(data_); }
bool Memory::fully_written() const { return true; }  // the emulator's business
void Memory::make_writable() {}

Report launch(Dim grid, Dim block, std::size_t shared, const std::function<void()>& work, const Settings&) {
  current = {grid, block, shared};
  work();
  cudaError_t e = cudaGetLastError();
  if (e == cudaSuccess) e = cudaDeviceSynchronize();
  Report r;
  if (e != cudaSuccess) r.findings.push_back({std::string("error: ") + cudaGetErrorName(e) + ": " + cudaGetErrorString(e)});
  return r;
}

}  // namespace sampan::emu
