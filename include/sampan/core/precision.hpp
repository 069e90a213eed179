// Precision: how a network's matrix products compute. A light header, read by the public options and by the backends.
#pragma once
#include <sampan/core/config.hpp>

namespace sampan::inline SAMPAN_ABI {

/// f32 is the parity path. `fast`: the encoder's wide products and those of the mask decoder over pixels in 16-bit integers with exact sums (cpu/README.md names the layers): a product has the same bits on every level.
/// `bf16`: the encoder's linear layers in bfloat16 where the processor has it. Norms, softmax, prompts and tokens stay in float32 in all of them, in bf16 convolutions and the decoder as well.
/// int8 and f16 are refused with Error{unsupported}.
enum class Precision { f32, fast, bf16, int8, f16 };

constexpr const char* precision_name(Precision p) {
  switch (p) {
    case Precision::f32: return "f32";
    case Precision::fast: return "fast";
    case Precision::bf16: return "bf16";
    case Precision::int8: return "int8";
    case Precision::f16: return "f16";
  }
  return "?";
}

}  // namespace sampan::inline SAMPAN_ABI
