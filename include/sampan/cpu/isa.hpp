// Instruction-set levels of Cpu: names, detection, the best one. Data flow: cpu/cpu.hpp chooses its table by level; tools print and choose levels by name.
// A level counts as available if the processor has its instructions and the operating system saves its registers (XCR0): a virtual machine may have one without the other.
// The f32 kernels of avx2vnni, avx512vnni and avx512bf16 are those of avx2 and avx512: what these levels add are integer and bf16 dot products.
// Deliberately absent: the environment (only tools and tests read SAMPAN_ISA), memory of the result (detection takes a microsecond, models are made rarely).
#pragma once
#include <sampan/core/config.hpp>

#include <string_view>

namespace sampan::inline SAMPAN_ABI {

/// In order of preference.
enum class Isa { scalar, portable512, avx2, avx2vnni, avx512, avx512vnni, avx512bf16 };
inline constexpr int kIsaCount = 7;

constexpr const char* isa_name(Isa isa) {
  constexpr const char* names[kIsaCount] = {"scalar", "portable512", "avx2", "avx2vnni", "avx512", "avx512vnni", "avx512bf16"};
  return names[int(isa)];
}

/// What CPUID and XGETBV report, as raw registers, so that the decision below can be tested without the machine.
struct CpuFeatures {
  unsigned leaf1_ecx = 0, leaf7_ebx = 0, leaf7_ecx = 0, leaf7_1_eax = 0, xcr0 = 0;
};

/// Intel SDM volume 2, CPUID; volume 1, 13.3 (XCR0: bit 1 xmm, 2 ymm, 5 to 7 masks and zmm).
constexpr bool isa_runs(Isa isa, const CpuFeatures& f) {
  constexpr auto bit = [](unsigned word, int i) { return (word >> i & 1u) != 0; };
  const bool ymm = bit(f.leaf1_ecx, 27) && (f.xcr0 & 0x6u) == 0x6u, zmm = ymm && (f.xcr0 & 0xe0u) == 0xe0u;
  const bool avx2 = ymm && bit(f.leaf7_ebx, 5) && bit(f.leaf1_ecx, 12);  // AVX2, FMA
  const bool avx512 = avx2 && zmm && bit(f.leaf7_ebx, 16) && bit(f.leaf7_ebx, 17) && bit(f.leaf7_ebx, 30) && bit(f.leaf7_ebx, 31);  // F, DQ, BW, VL
  switch (isa) {
    case Isa::scalar:
    case Isa::portable512: return true;
    case Isa::avx2: return avx2;
    case Isa::avx2vnni: return avx2 && bit(f.leaf7_1_eax, 4);
    case Isa::avx512: return avx512;
    case Isa::avx512vnni: return avx512 && bit(f.leaf7_ecx, 11);
    case Isa::avx512bf16: return avx512 && bit(f.leaf7_ecx, 11) && bit(f.leaf7_1_eax, 5);
  }
  return false;
}

/// Of this machine. All zero on other architectures: they run `scalar` and `portable512`.
inline CpuFeatures cpu_features() {
  CpuFeatures f;
#if defined(__x86_64__)
  unsigned a, b, c, d;
  auto cpuid = [&](unsigned leaf, unsigned sub) { __asm__ volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(leaf), "c"(sub)); };
  cpuid(0, 0);
  const unsigned last = a;
  cpuid(1, 0);
  f.leaf1_ecx = c;
  if (last >= 7) {
    cpuid(7, 0);
    const unsigned subleaves = a;
    f.leaf7_ebx = b, f.leaf7_ecx = c;
    if (subleaves >= 1) cpuid(7, 1), f.leaf7_1_eax = a;
  }
  if (f.leaf1_ecx >> 27 & 1u) {  // OSXSAVE: xgetbv exists
    __asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    f.xcr0 = a;
  }
#endif
  return f;
}

inline bool isa_available(Isa isa) {
#if !defined(SAMPAN_PORTABLE512)
  if (isa == Isa::portable512) return false;  // a level for tests; the compiled library has it (build_config.hpp)
#endif
  return isa_runs(isa, cpu_features());
}

inline Isa best_isa() {
  const CpuFeatures f = cpu_features();
  Isa best = Isa::scalar;
  for (int i = 0; i < kIsaCount; ++i)
    if (Isa(i) != Isa::portable512 && isa_runs(Isa(i), f)) best = Isa(i);  // portable512 is for tests: plain registers, wide tiles
  return best;
}

/// False if no level has this name.
constexpr bool parse_isa(std::string_view name, Isa& isa) {
  for (int i = 0; i < kIsaCount; ++i)
    if (name == isa_name(Isa(i))) return isa = Isa(i), true;
  return false;
}

}  // namespace sampan::inline SAMPAN_ABI
