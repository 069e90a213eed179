// Arithmetic of tensor cores on one element of the result, and the 16-bit formats. Data flow: machine.cpp -> here.
// Source of the hardware-like mode: MMA-Sim (measured per generation): products and the accumulator are aligned to the largest exponent, cut to 24 fractional bits,
// summed exactly and rounded toward zero; m16n8k16 runs as two halves of k, one after the other.
#pragma once
#include "machine.hpp"

#include <bit>
#include <cmath>

namespace sampan::emu {

inline float f16_value(std::uint16_t bits) {
  const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
  const double magnitude = exponent == 0 ? std::ldexp(mantissa, -24) : exponent == 31 ? (mantissa ? NAN : INFINITY) : std::ldexp(1024 + mantissa, exponent - 25);
  return float(bits & 0x8000 ? -magnitude : magnitude);
}
inline float bf16_value(std::uint16_t bits) { return std::bit_cast<float>(std::uint32_t(bits) << 16); }
inline float half_value(std::uint32_t bits, Pair type) { return type == Pair::f16 ? f16_value(std::uint16_t(bits)) : bf16_value(std::uint16_t(bits)); }

/// To nearest, ties to even; overflow becomes infinity, NaN stays NaN.
inline std::uint16_t f16_bits(float x) {
  const std::uint16_t sign = std::signbit(x) ? 0x8000 : 0;
  if (x != x) return 0x7e00;
  const double a = std::fabs(double(x));
  if (a == 0) return sign;
  if (a >= 65520) return std::uint16_t(sign | 0x7c00);
  int e = 0;
  std::frexp(a, &e);                                                            // a = m 2^e, m in [1/2, 1)
  const int shift = e - 11 < -24 ? -24 : e - 11;                               // value of the last bit: 2^shift
  const auto steps = std::uint32_t(std::nearbyint(std::ldexp(a, -shift)));     // 11 bits; 2048 carries into the exponent by itself
  return std::uint16_t(sign | (shift == -24 ? steps : (std::uint32_t(shift + 24) << 10) + steps));
}
inline std::uint16_t bf16_bits(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  if (x != x) return 0x7fc0;
  return std::uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

inline float sum_exact(const double (&product)[16], float c) {
  double sum = double(c);
  for (const double p : product) sum += p;
  return float(sum);
}

inline float toward_zero(double v) {
  const float f = float(v);
  return std::fabs(double(f)) > std::fabs(v) ? std::nextafter(f, 0.0f) : f;
}
inline float sum_like_hardware(const double (&product)[16], float c) {
  for (int half = 0; half < 2; ++half) {
    double largest = std::fabs(double(c));
    bool finite = std::isfinite(c);
    for (int k = 0; k < 8; ++k) finite = finite && std::isfinite(product[8 * half + k]), largest = std::fmax(largest, std::fabs(product[8 * half + k]));
    if (!finite || largest == 0) {
      double sum = double(c);
      for (int k = 0; k < 8; ++k) sum += product[8 * half + k];
      c = float(sum);
      continue;
    }
    const double step = std::ldexp(1.0, std::ilogb(largest) - 24);
    double sum = std::trunc(double(c) / step);
    for (int k = 0; k < 8; ++k) sum += std::trunc(product[8 * half + k] / step);
    c = toward_zero(sum * step);
  }
  return c;
}

}  // namespace sampan::emu
