// Sha256: FIPS 180-4 digest of bytes given in pieces. Data flow: sampan-convert writes digests into the contract, sampan-verify checks them.
// Cost: 1 to 2 GB/s on one core with the processor's own instructions (core/sha256_x86.hpp), else 200-300 MB/s (64 rounds per 64 bytes).
// Deliberately absent: any promise against side channels; this checks files, it keeps no secrets.
#pragma once
#include <sampan/core/config.hpp>
#include <sampan/core/file.hpp>
#include <sampan/core/sha256_x86.hpp>

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

namespace sampan::inline SAMPAN_ABI {

class Sha256 {
 public:
  /// Of `plain` the plain rounds are asked also where the processor has instructions; the digest is the same.
  explicit Sha256(bool plain = false) : instructions_(!plain && detail::sha256_instructions()) {}

  void update(std::span<const std::uint8_t> b) {
    length_ += b.size();
    if (filled_ > 0) {
      const std::size_t take = b.size() < 64 - filled_ ? b.size() : 64 - filled_;
      if (take > 0) std::memcpy(block_ + filled_, b.data(), take);
      filled_ += take;
      b = b.subspan(take);
      if (filled_ < 64) return;
      compress(block_, 1);
      filled_ = 0;
    }
    compress(b.data(), b.size() / 64);
    b = b.subspan(b.size() / 64 * 64);
    if (!b.empty()) std::memcpy(block_, b.data(), b.size());
    filled_ = b.size();
  }

  /// The digest of all bytes so far; the object can take more bytes afterwards.
  std::array<std::uint8_t, 32> digest() const {
    Sha256 end = *this;
    const std::uint64_t bits = length_ * 8;
    const std::uint8_t first[64] = {0x80};
    end.update({first, filled_ < 56 ? 56 - filled_ : 120 - filled_});
    std::uint8_t size[8];
    for (int i = 0; i < 8; ++i) size[i] = std::uint8_t(bits >> (56 - 8 * i));
    end.update(size);
    std::array<std::uint8_t, 32> d{};
    for (std::size_t i = 0; i < 32; ++i) d[i] = std::uint8_t(end.state_[i / 4] >> (24 - 8 * (i % 4)));
    return d;
  }

  /// The digest as 64 lower-case hexadecimal digits.
  std::string hex() const {
    std::string s;
    for (std::uint8_t b : digest()) {
      s += "0123456789abcdef"[b >> 4];
      s += "0123456789abcdef"[b & 15];
    }
    return s;
  }

 private:
  // Fractional parts of the cube roots of the first 64 primes.
  static constexpr std::uint32_t kRound[64] = {
      0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74,
      0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d,
      0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e,
      0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5,
      0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

  void compress(const std::uint8_t* p, std::size_t count) {
    if (instructions_) return detail::sha256_compress_x86(state_.data(), kRound, p, count);
    for (; count > 0; --count, p += 64) compress(p);
  }

  void compress(const std::uint8_t* p) {
    std::uint32_t w[64];
    for (int i = 0; i < 16; ++i) w[i] = std::uint32_t(p[4 * i]) << 24 | std::uint32_t(p[4 * i + 1]) << 16 | std::uint32_t(p[4 * i + 2]) << 8 | p[4 * i + 3];
    for (int i = 16; i < 64; ++i) {
      const std::uint32_t a = w[i - 15], b = w[i - 2];
      w[i] = w[i - 16] + (std::rotr(a, 7) ^ std::rotr(a, 18) ^ (a >> 3)) + w[i - 7] + (std::rotr(b, 17) ^ std::rotr(b, 19) ^ (b >> 10));
    }
    auto [a, b, c, d, e, f, g, h] = state_;
    for (int i = 0; i < 64; ++i) {
      const std::uint32_t t1 = h + (std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25)) + ((e & f) ^ (~e & g)) + kRound[i] + w[i];
      const std::uint32_t t2 = (std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
      h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
    }
    const std::uint32_t add[8] = {a, b, c, d, e, f, g, h};
    for (std::size_t i = 0; i < 8; ++i) state_[i] += add[i];
  }

  std::array<std::uint32_t, 8> state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::uint64_t length_ = 0;
  bool instructions_;
  std::size_t filled_ = 0;
  std::uint8_t block_[64] = {};
};

inline std::string sha256_hex(std::span<const std::uint8_t> b) {
  Sha256 s;
  s.update(b);
  return s.hex();
}

/// Of a whole file; its pages are given back on the way, so that a large file does not stand in memory.
inline std::string sha256_of_file(const MappedFile& file) {
  constexpr std::size_t kPart = std::size_t(4) << 20;
  const auto bytes = file.bytes();
  Sha256 s;
  for (std::size_t at = 0; at < bytes.size(); at += kPart) {
    s.update(bytes.subspan(at, bytes.size() - at < kPart ? bytes.size() - at : kPart));
    file.release(at, kPart);
  }
  return s.hex();
}

}  // namespace sampan::inline SAMPAN_ABI
