// The ceilings of a machine: multiply-adds per second in each precision and bytes per second, measured in the run whose rows are compared with them.
// Data flow: harness.cpp measures at the start and at the end and keeps the better; roof.cpp prints every level. Kernels: roof_kernels.cpp; of a CUDA device: device_roof.cpp.
// GFLOP/s count a multiply-add as 2. Bandwidth counts bytes that the program moves (copy: read plus written), on buffers of four last-level caches.
// Precisions: f32 (FMA), fast (products of int16 pairs summed in int32), bf16 (products of bfloat16 pairs summed in float).
// Deliberately absent: cache bandwidths, latency.
#pragma once
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace bench {

/// One kind of multiply-add at one vector level of the processor. `runs`: CPUID has it and the operating system saves its registers (XCR0).
struct FmaLevel {
  const char* name;
  const char* precision;                               ///< f32, fast, bf16
  bool runs;
  double flop_per_step;                                ///< of one step of the kernel
  float (*kernel)(long steps, float a, float b);       ///< steps of acc = acc * a + b on as many independent accumulators as the latency needs
  float (*read)(const float* p, std::size_t floats);   ///< sums a buffer; null except for f32
};

/// Weakest first within a precision; the last one that runs is the machine's best.
const std::vector<FmaLevel>& fma_levels();

struct Roof {
  int threads = 1;
  std::string level;  ///< widest level of the machine
  double fma_gflops = 0, fast_gflops = 0, bf16_gflops = 0;  ///< 0: the machine has no such instruction
  double read_gbs = 0, copy_gbs = 0;
  double gflops(const std::string& precision) const { return precision == "fast" ? fast_gflops : precision == "bf16" ? bf16_gflops : fma_gflops; }
  double gbs() const { return read_gbs > copy_gbs ? read_gbs : copy_gbs; }
};

inline constexpr int kBursts = 40;  ///< of 2 ms for FMA: short and many, so that on a busy machine the best is one that nobody interrupted
inline constexpr int kPasses = 7;   ///< over the buffers for memory

double measure_fma(const FmaLevel& level, int threads);  ///< GFLOP/s, best of several bursts; about 0.2 s
double measure_read(int threads);                        ///< GB/s
double measure_copy(int threads);                        ///< GB/s

/// About a second.
Roof measure_roof(int threads);

/// Of a CUDA device: square products of `side` by cuBLASLt (operands of each precision, sums in float, no TF32), and a copy of 4 side^2 bytes from the device to itself.
struct DeviceRoof {
  std::string device, versions;  ///< with its compute capability; of driver and libraries
  std::vector<std::pair<std::string, double>> peaks;  ///< precision, GFLOP/s
  double copy_gbs = 0;                                ///< bytes read plus written
  double gflops(const std::string& precision) const {
    for (const auto& [name, value] : peaks)
      if (name == precision) return value;
    return 0;
  }
};
/// Best of several recorded runs. Ends the program where the build or the machine has no CUDA.
DeviceRoof measure_device_roof(const std::vector<std::string>& precisions, long side);

}  // namespace bench
