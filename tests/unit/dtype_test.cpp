// core/dtype.hpp: every f16 and bf16 value, and rounding at every boundary, against the definition in double.
#include <doctest/doctest.h>
#include <sampan/core/dtype.hpp>

#include <cmath>
#include <limits>
#include <string>

using namespace sampan;

namespace {

// The definition: sign, exponent, fraction of IEEE binary16 in double arithmetic.
double f16_value(std::uint16_t h) {
  const int exponent = (h >> 10) & 31, fraction = h & 1023;
  const double magnitude = exponent == 31 ? (fraction ? std::nan("") : INFINITY) : exponent ? std::ldexp(1024 + fraction, exponent - 25) : std::ldexp(fraction, -24);
  return h & 0x8000 ? -magnitude : magnitude;
}

float up(float x) { return std::nextafter(x, INFINITY); }
float down(float x) { return std::nextafter(x, -INFINITY); }

}  // namespace

TEST_CASE("f16 to f32 is exact for all 65536 values, and back") {
  for (std::uint32_t h = 0; h < 65536; ++h) {
    const auto bits = static_cast<std::uint16_t>(h);
    const double want = f16_value(bits);
    const float got = f16_to_f32(bits);
    if (std::isnan(want)) {
      REQUIRE(std::isnan(got));
      REQUIRE(std::isnan(f16_to_f32(f32_to_f16(got))));
      continue;
    }
    REQUIRE(double(got) == want);
    REQUIRE(std::signbit(got) == std::signbit(want));
    REQUIRE(f32_to_f16(got) == bits);
  }
}

TEST_CASE("f32 to f16 rounds to nearest, ties to even, at every midpoint") {
  for (std::uint16_t h = 0; h < 0x7C00; ++h) {  // from each finite value to the next one, the last of which is infinity
    const float a = f16_to_f32(h);
    const double next = h == 0x7BFF ? 65536.0 : f16_value(static_cast<std::uint16_t>(h + 1));
    const float middle = static_cast<float>((double(a) + next) / 2);  // exact: one more bit than f16 has
    const auto even = static_cast<std::uint16_t>(h & 1 ? h + 1 : h);
    REQUIRE(f32_to_f16(middle) == even);
    REQUIRE(f32_to_f16(down(middle)) == h);
    REQUIRE(f32_to_f16(up(middle)) == h + 1);
    REQUIRE(f32_to_f16(-middle) == (even | 0x8000));
  }
  CHECK(f32_to_f16(std::numeric_limits<float>::max()) == 0x7C00);
  CHECK(f32_to_f16(std::numeric_limits<float>::denorm_min()) == 0);
  CHECK(f32_to_f16(-0.0f) == 0x8000);
  CHECK(f32_to_f16(INFINITY) == 0x7C00);
}

TEST_CASE("bf16: exact up, nearest even down, NaN stays NaN") {
  for (std::uint32_t h = 0; h < 65536; ++h) {
    const auto bits = static_cast<std::uint16_t>(h);
    const float f = bf16_to_f32(bits);
    REQUIRE(std::bit_cast<std::uint32_t>(f) == h << 16);
    if (std::isnan(f)) {
      REQUIRE(std::isnan(bf16_to_f32(f32_to_bf16(f))));
      continue;
    }
    REQUIRE(f32_to_bf16(f) == bits);
    if (std::isinf(f) || std::signbit(f)) continue;
    const float middle = std::bit_cast<float>((h << 16) | 0x8000u);
    REQUIRE(f32_to_bf16(middle) == (bits & 1 ? bits + 1 : bits));
    REQUIRE(f32_to_bf16(up(middle)) == bits + 1);
    REQUIRE(f32_to_bf16(down(middle)) == bits);
  }
  CHECK(std::isnan(bf16_to_f32(f32_to_bf16(std::bit_cast<float>(0x7F800001u)))));  // its set bits are all in the half that is cut off
  CHECK(f32_to_bf16(std::numeric_limits<float>::max()) == 0x7F80);
}

TEST_CASE("dtype table") {
  CHECK(std::string(to_string(DType::bf16)) == "BF16");
  CHECK(std::string(to_string(DType::boolean)) == "BOOL");
  CHECK(size_of(DType::f64) == 8);
  CHECK(size_of(DType::f16) == 2);
  CHECK(is_floating(DType::bf16));
  CHECK_FALSE(is_floating(DType::i64));
}
