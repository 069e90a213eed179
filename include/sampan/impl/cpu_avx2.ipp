// Definition of cpu::avx2_kernels (cpu/cpu.hpp): the level's tile arithmetic, compiled here and nowhere else in a compiled build.
#pragma once
#include <sampan/cpu/cpu.hpp>

#if defined(__x86_64__)
#include <sampan/cpu/x86/avx2.hpp>

namespace sampan::inline SAMPAN_ABI::cpu {
SAMPAN_INLINE const Kernels& avx2_kernels(Isa isa) { return isa == Isa::avx2vnni ? avx2::kVnniTable : avx2::kTable; }
}  // namespace sampan::inline SAMPAN_ABI::cpu
#endif
