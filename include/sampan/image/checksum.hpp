// CRC-32 and Adler-32, the two checksums of the PNG format (named png_ so that they never hide those of zlib). Data flow: image/check_png.hpp verifies with them, image/mask_codec.hpp writes them.
// Source: RFC 1950 (Adler-32), PNG specification section 5.5 and annex D (CRC-32, reflected polynomial 0xEDB88320). Cost: one table look-up per byte.
#pragma once
#include <sampan/core/config.hpp>

#include <array>
#include <cstdint>
#include <span>

namespace sampan::inline SAMPAN_ABI {
namespace detail {

consteval std::array<std::uint32_t, 256> make_crc_table() {
  std::array<std::uint32_t, 256> t{};
  for (std::uint32_t n = 0; n < 256; ++n) {
    std::uint32_t c = n;
    for (int k = 0; k < 8; ++k) c = (c & 1) ? 0xEDB88320u ^ (c >> 1) : c >> 1;
    t[n] = c;
  }
  return t;
}
inline constexpr std::array<std::uint32_t, 256> kCrcTable = make_crc_table();

}  // namespace detail

/// CRC-32 of the bytes; give the result of the first part as `crc` to go on with a second one.
constexpr std::uint32_t png_crc32(std::span<const std::uint8_t> bytes, std::uint32_t crc = 0) {
  std::uint32_t c = ~crc;
  for (std::uint8_t b : bytes) c = detail::kCrcTable[(c ^ b) & 255u] ^ (c >> 8);
  return ~c;
}

/// Adler-32 of the bytes, likewise.
constexpr std::uint32_t png_adler32(std::span<const std::uint8_t> bytes, std::uint32_t adler = 1) {
  std::uint32_t a = adler & 0xFFFFu, b = adler >> 16;
  while (!bytes.empty()) {
    const std::size_t n = bytes.size() < 5552 ? bytes.size() : 5552;  // the most bytes before b can pass 2^32
    for (std::uint8_t v : bytes.first(n)) a += v, b += a;
    a %= 65521, b %= 65521;
    bytes = bytes.subspan(n);
  }
  return b << 16 | a;
}

}  // namespace sampan::inline SAMPAN_ABI
