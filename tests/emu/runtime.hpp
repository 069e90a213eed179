// What tests ask of the emulated runtime (runtime.cpp): counts, findings of kernels, failures on demand. Data flow: tests -> here; the backend -> cuda/runtime.hpp.
#pragma once
#include "machine.hpp"

#include <string>

namespace sampan::emu {

struct RuntimeCounts {
  std::uint64_t calls = 0;        ///< of cuda/runtime.hpp that may fail
  std::uint64_t allocations = 0;  ///< of device and pinned memory
  std::uint64_t launches = 0;     ///< kernels that ran, in graphs too
  std::uint64_t products = 0, convolutions = 0, graph_launches = 0, synchronizations = 0;
  std::uint64_t living = 0;       ///< blocks of memory, streams, graphs, plans and handles
};
RuntimeCounts& runtime_counts();
/// What the emulator found in kernels since the last call, one a line; empty: nothing.
std::string take_findings();
/// Call number `n` from now on (1: the next) answers with an error; 0: none does.
void fail_call(std::uint64_t n);
/// No device: find_device says so.
void hide_device(bool hidden);
void set_compute_capability(int major, int minor);

}  // namespace sampan::emu
