// struct Cpu: the fast host backend, as a type. Data flow: Context<Cpu> selects the overloads of cpu/*.hpp; cpu_backend.hpp includes them all.
#pragma once
#include <sampan/core/context.hpp>
#include <sampan/core/precision.hpp>
#include <sampan/cpu/isa.hpp>
#include <sampan/cpu/kernels.hpp>

namespace sampan::inline SAMPAN_ABI {

namespace cpu {
// The levels' tables. A compiled build has their code once (impl/cpu_*.ipp); header-only, they come in below.
const Kernels& scalar_kernels();
const Kernels& portable512_kernels();
const Kernels& avx2_kernels(Isa isa);
const Kernels& avx512_kernels(Isa isa);
}  // namespace cpu

/// Threads, packed weights and fused ops on the host's cores. Results are bit-identical for any number of threads on one level.
/// `Cpu{}` takes the machine's best level, `Cpu{.isa = Isa::avx2}` a given one, for which isa_available() must hold.
/// Packed weights belong to the level that packed them: a model and its contexts use one Cpu.
struct Cpu {
  using Memory = HostMemory;
  static constexpr const char* kName = "cpu";

  Isa isa = best_isa();
  /// Of what is packed with this Cpu as linear layers; packed weights remember it.
  Precision precision = Precision::f32;

  /// The level's tile arithmetic.
  const cpu::Kernels& kernels() const {
    switch (isa) {
#if defined(SAMPAN_PORTABLE512)
      case Isa::portable512: return cpu::portable512_kernels();
#endif
#if defined(__x86_64__)
      case Isa::avx2:
      case Isa::avx2vnni: return cpu::avx2_kernels(isa);
      case Isa::avx512:
      case Isa::avx512vnni:
      case Isa::avx512bf16: return cpu::avx512_kernels(isa);
#endif
      default: return cpu::scalar_kernels();
    }
  }
};

/// The same backend in f32: for layers that stay exact.
inline Cpu exact_backend(const Cpu& b) { return {.isa = b.isa}; }
/// The same backend in `fast` or f32: for layers that bfloat16 would cost too much.
inline Cpu integer_backend(const Cpu& b) { return b.precision == Precision::fast ? b : exact_backend(b); }

inline const PixelKernels* pixel_kernels(const Cpu& b) { return b.kernels().pixels; }

namespace cpu {
/// The level's products in one precision; null functions where it has none.
inline Products products(const Kernels& level, Precision p) { return p == Precision::fast ? level.fast : p == Precision::bf16 ? level.bf16 : p == Precision::f32 ? level.f32() : Products{}; }
inline AttendProducts attend_products(const Kernels& level, Precision p) { return p == Precision::fast ? level.fast_attend : p == Precision::bf16 ? level.bf16_attend : p == Precision::f32 ? level.attend : AttendProducts{}; }
}  // namespace cpu

}  // namespace sampan::inline SAMPAN_ABI

#if !defined(SAMPAN_COMPILED) || defined(SAMPAN_IMPLEMENTATION)
#  include <sampan/impl/cpu_avx2.ipp>
#  include <sampan/impl/cpu_avx512.ipp>
#  include <sampan/impl/cpu_portable512.ipp>
#  include <sampan/impl/cpu_scalar.ipp>
#endif
