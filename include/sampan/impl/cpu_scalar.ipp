// Definition of cpu::scalar_kernels (cpu/cpu.hpp): the level's tile arithmetic, compiled here and nowhere else in a compiled build.
#pragma once
#include <sampan/cpu/cpu.hpp>

#include <sampan/cpu/scalar.hpp>

namespace sampan::inline SAMPAN_ABI::cpu {
SAMPAN_INLINE const Kernels& scalar_kernels() { return scalar::kTable; }
}  // namespace sampan::inline SAMPAN_ABI::cpu
