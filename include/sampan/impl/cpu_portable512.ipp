// Definition of cpu::portable512_kernels (cpu/cpu.hpp): the level's tile arithmetic, compiled here and nowhere else in a compiled build.
#pragma once
#include <sampan/cpu/cpu.hpp>

#if defined(SAMPAN_PORTABLE512)
#include <sampan/cpu/portable512.hpp>

namespace sampan::inline SAMPAN_ABI::cpu {
SAMPAN_INLINE const Kernels& portable512_kernels() { return portable512::kTable; }
}  // namespace sampan::inline SAMPAN_ABI::cpu
#endif
