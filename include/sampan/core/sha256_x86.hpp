// The compression of SHA-256 with the processor's own instructions (SHA extensions). Data flow: core/sha256.hpp -> here, where sha256_instructions() says so.
// Shapes: state a..h, whole blocks of 64 bytes.   Cost: 1 to 2 GB/s on one core, six times the plain rounds; a model of 400 MB is hashed in 0.3 s instead of 1.9.
// Source: Intel SDM volume 2, SHA256RNDS2, SHA256MSG1, SHA256MSG2. The state lies as those take it: f e b a and h g d c, lowest first.
// Builtins and vector types instead of <immintrin.h>: that header is large, and this one is read by many files.
// Deliberately absent: other architectures; they have the plain rounds.
#pragma once
#include <sampan/core/config.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace sampan::inline SAMPAN_ABI::detail {

#if defined(__x86_64__)

/// CPUID: SSSE3, SSE4.1, and SHA in leaf 7. No register state beyond SSE's, so the operating system has no say.
inline bool sha256_instructions() {
  static const bool has = [] {  // CPUID leaves a virtual machine: tens of microseconds
    unsigned a, b, c, d;
    const auto cpuid = [&](unsigned leaf) { __asm__ volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(leaf), "c"(0)); };
    cpuid(0);
    if (a < 7) return false;
    cpuid(1);
    const bool sse = (c >> 9 & 1u) && (c >> 19 & 1u);
    cpuid(7);
    return sse && (b >> 29 & 1u);
  }();
  return has;
}

using Sha256Words = int __attribute__((vector_size(16)));
using Sha256Bytes = char __attribute__((vector_size(16)));

/// `count` blocks at p into the state; `rounds` are the 64 constants.
__attribute__((target("sha,ssse3,sse4.1"))) inline void sha256_compress_x86(std::uint32_t* state, const std::uint32_t* rounds, const std::uint8_t* p, std::size_t count) {
  const auto word = [&](std::size_t i) { return int(state[i]); };
  Sha256Words feba{word(5), word(4), word(1), word(0)}, hgdc{word(7), word(6), word(3), word(2)};
  for (; count > 0; --count, p += 64) {
    const Sha256Words feba_before = feba, hgdc_before = hgdc;
    Sha256Words w[4];  // the last sixteen words of the schedule
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) {  // four rounds each
      if (i < 4) {
        Sha256Bytes bytes;
        std::memcpy(&bytes, p + 16 * i, 16);
        bytes = __builtin_shufflevector(bytes, bytes, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12);
        w[i] = reinterpret_cast<Sha256Words>(bytes);
      } else {
        const Sha256Words a = w[i & 3], b = w[(i + 1) & 3], c = w[(i + 2) & 3], d = w[(i + 3) & 3];
        w[i & 3] = __builtin_ia32_sha256msg2(__builtin_ia32_sha256msg1(a, b) + __builtin_shufflevector(c, d, 1, 2, 3, 4), d);
      }
      Sha256Words constants;
      std::memcpy(&constants, rounds + 4 * i, 16);
      const Sha256Words sum = w[i & 3] + constants;
      hgdc = __builtin_ia32_sha256rnds2(hgdc, feba, sum);  // two rounds: what was f e b a is h g d c now, and the other way round
      feba = __builtin_ia32_sha256rnds2(feba, hgdc, __builtin_shufflevector(sum, sum, 2, 3, 2, 3));
    }
    feba += feba_before, hgdc += hgdc_before;
  }
  const int out[] = {feba[3], feba[2], hgdc[3], hgdc[2], feba[1], feba[0], hgdc[1], hgdc[0]};
  for (std::size_t i = 0; i < 8; ++i) state[i] = std::uint32_t(out[i]);
}

#else

inline bool sha256_instructions() { return false; }
inline void sha256_compress_x86(std::uint32_t*, const std::uint32_t*, const std::uint8_t*, std::size_t) {}

#endif

}  // namespace sampan::inline SAMPAN_ABI::detail
