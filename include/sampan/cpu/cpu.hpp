// struct Cpu: the fast host backend, as a type. Data flow: Context<Cpu> selects the overloads of cpu/*.hpp; cpu_backend.hpp includes them all.
#pragma once
#include <sampan/core/context.hpp>
#include <sampan/cpu/scalar.hpp>

namespace sampan::inline SAMPAN_ABI {

/// Threads, packed weights and fused ops on the host's cores. Results are bit-identical for any number of threads.
struct Cpu {
  using Memory = HostMemory;
  static constexpr const char* kName = "cpu";

  /// The level's tile arithmetic.
  const cpu::Kernels& kernels() const { return cpu::scalar::kTable; }
};

}  // namespace sampan::inline SAMPAN_ABI
