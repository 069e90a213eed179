// Element types and their exact conversions. Data flow: weights/safetensors.hpp and the packing of backends use it; kernels/ may include it too.
// f16 is IEEE binary16, bf16 the upper half of an f32. Every rounding is to nearest, ties to even, subnormals kept; a NaN stays a NaN.
// Cost: a few integer operations per element, no table. Deliberately absent: arithmetic in these types (ops compute in f32).
#pragma once
#include <sampan/core/config.hpp>

#include <bit>
#include <cstddef>
#include <cstdint>

namespace sampan::inline SAMPAN_ABI {

/// Element types that files may hold; the names are those of the safetensors format ("F32").
enum class DType : std::uint8_t { f64, f32, f16, bf16, i64, i32, i16, i8, u64, u32, u16, u8, boolean };

struct DTypeRow {
  DType type;
  const char* name;   ///< as in a safetensors header
  std::size_t bytes;  ///< of one element
  bool floating;
};

inline constexpr DTypeRow kDTypes[] = {
    {DType::f64, "F64", 8, true},  {DType::f32, "F32", 4, true},   {DType::f16, "F16", 2, true},   {DType::bf16, "BF16", 2, true},  {DType::i64, "I64", 8, false},
    {DType::i32, "I32", 4, false}, {DType::i16, "I16", 2, false},  {DType::i8, "I8", 1, false},    {DType::u64, "U64", 8, false},   {DType::u32, "U32", 4, false},
    {DType::u16, "U16", 2, false}, {DType::u8, "U8", 1, false},    {DType::boolean, "BOOL", 1, false},
};

constexpr const DTypeRow& row_of(DType t) { return kDTypes[static_cast<std::size_t>(t)]; }
constexpr std::size_t size_of(DType t) { return row_of(t).bytes; }
constexpr const char* to_string(DType t) { return row_of(t).name; }
constexpr bool is_floating(DType t) { return row_of(t).floating; }

constexpr bool dtype_rows_in_order() {
  std::size_t i = 0;
  for (const DTypeRow& r : kDTypes)
    if (static_cast<std::size_t>(r.type) != i++) return false;
  return true;
}
static_assert(dtype_rows_in_order(), "row_of indexes the table by the enum");

constexpr float bf16_to_f32(std::uint16_t h) { return std::bit_cast<float>(std::uint32_t(h) << 16); }

constexpr std::uint16_t f32_to_bf16(float f) {
  const std::uint32_t b = std::bit_cast<std::uint32_t>(f);
  if ((b & 0x7FFFFFFFu) > 0x7F800000u) return std::uint16_t((b >> 16) | 0x40u);  // NaN: keep sign and payload, set quiet so that it cannot become infinity
  return std::uint16_t((b + 0x7FFFu + ((b >> 16) & 1u)) >> 16);                    // half of the last place, minus one if it is even
}

constexpr float f16_to_f32(std::uint16_t h) {
  const std::uint32_t sign = std::uint32_t(h & 0x8000u) << 16, exponent = (h >> 10) & 31u, mantissa = h & 0x3FFu;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7F800000u | (mantissa << 13));
  if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));  // 112 = 127 - 15, the two biases
  const float magnitude = float(mantissa) * 0x1p-24f;                                                   // subnormal or zero: exact in f32
  return sign ? -magnitude : magnitude;
}

constexpr std::uint16_t f32_to_f16(float f) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(f), sign = (bits >> 16) & 0x8000u, a = bits & 0x7FFFFFFFu;
  if (a > 0x7F800000u) return std::uint16_t(sign | 0x7E00u | ((a >> 13) & 0x3FFu));  // NaN
  if (a >= 0x477FF000u) return std::uint16_t(sign | 0x7C00u);                        // >= 65520, the midpoint above the largest f16: infinity
  if (a >= 0x38800000u) return std::uint16_t(sign | ((a - 0x38000000u + 0xFFFu + ((a >> 13) & 1u)) >> 13));  // >= 2^-14: normal; a carry may raise the exponent
  if (a < 0x33000000u) return std::uint16_t(sign);                                                            // < 2^-25: nearest is zero
  // Subnormal: value = m * 2^(e-150) in units of 2^-24, so shift right by 126 - e (14..24) and round.
  const std::uint32_t m = (a & 0x7FFFFFu) | 0x800000u, shift = 126u - (a >> 23);
  const std::uint32_t whole = m >> shift, rest = m & ((1u << shift) - 1u), half = 1u << (shift - 1);
  return std::uint16_t(sign | (whole + ((rest > half || (rest == half && (whole & 1u))) ? 1u : 0u)));
}

}  // namespace sampan::inline SAMPAN_ABI
