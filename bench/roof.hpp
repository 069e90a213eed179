// The two ceilings of a machine: multiply-adds per second and bytes per second, measured in the run whose rows are compared with them.
// Data flow: harness.cpp measures at the start and at the end and keeps the better; roof.cpp prints every level. Kernels: roof_kernels.cpp.
// GFLOP/s count a multiply-add as 2. Bandwidth counts bytes that the program moves (copy: read plus written), on buffers of four last-level caches.
// Deliberately absent: cache bandwidths, latency, integer and 16-bit peaks (they enter with the precisions that need them).
#pragma once
#include <cstddef>
#include <string>
#include <vector>

namespace bench {

/// One vector level of the processor. `runs`: CPUID has it and the operating system saves its registers (XCR0).
struct FmaLevel {
  const char* name;
  bool runs;
  double flop_per_step;                                ///< of one step of the kernel
  float (*kernel)(long steps, float a, float b);       ///< steps of acc = acc * a + b on as many independent accumulators as the latency needs
  float (*read)(const float* p, std::size_t floats);   ///< sums a buffer
};

/// Weakest first; the last one that runs is the machine's best.
const std::vector<FmaLevel>& fma_levels();

struct Roof {
  int threads = 1;
  std::string level;  ///< widest level of the machine
  double fma_gflops = 0, read_gbs = 0, copy_gbs = 0;
  double gbs() const { return read_gbs > copy_gbs ? read_gbs : copy_gbs; }
};

inline constexpr int kBursts = 40;  ///< of 2 ms for FMA: short and many, so that on a busy machine the best is one that nobody interrupted
inline constexpr int kPasses = 7;   ///< over the buffers for memory

double measure_fma(const FmaLevel& level, int threads);  ///< GFLOP/s, best of several bursts; about 0.2 s
double measure_read(int threads);                        ///< GB/s
double measure_copy(int threads);                        ///< GB/s

/// About half a second.
Roof measure_roof(int threads);

}  // namespace bench
