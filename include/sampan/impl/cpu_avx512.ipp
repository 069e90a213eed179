// Definition of cpu::avx512_kernels (cpu/cpu.hpp): the level's tile arithmetic, compiled here and nowhere else in a compiled build.
#pragma once
#include <sampan/cpu/cpu.hpp>

#if defined(__x86_64__)
#include <sampan/cpu/x86/avx512.hpp>

namespace sampan::inline SAMPAN_ABI::cpu {
SAMPAN_INLINE const Kernels& avx512_kernels(Isa isa) { return isa == Isa::avx512bf16 ? avx512::kBf16Table : isa == Isa::avx512vnni ? avx512::kVnniTable : avx512::kTable; }
}  // namespace sampan::inline SAMPAN_ABI::cpu
#endif
