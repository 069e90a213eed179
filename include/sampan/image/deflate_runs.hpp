// Compresses runs of equal bytes to a zlib stream: each run is a literal and matches of distance 1. For masks, whose rows are a few long runs: nobody needs
// the bytes side by side, and checksum and matches cost the same for a run of any length. Data flow: image/mask_codec.hpp -> here. Source: RFC 1950, RFC 1951.
// Cost: per run and per 258 bytes, not per byte. Size: about that of image/deflate.hpp, which also finds repeated rows.
#pragma once
#include <sampan/image/deflate.hpp>

namespace sampan::inline SAMPAN_ABI {

/// append() the bytes in order, then finish() once: the stream stands at the end of `out`.
class RunDeflater : detail::DeflateBlocks {
 public:
  explicit RunDeflater(std::vector<std::uint8_t>& out) : DeflateBlocks(out) {}

  void append(std::uint8_t value, std::uint64_t count) {
    if (value != value_) {
      emit();
      value_ = value;
    }
    count_ += count;
  }
  void finish() {
    emit();
    write_block({}, true);
    DeflateBlocks::finish(std::uint32_t(b_ << 16 | a_));
  }

 private:
  void emit() {
    constexpr std::uint64_t kBase = 65521, kStep = 1u << 20;  // Adler-32 of n times v: a += n v, b += n a + v n (n + 1) / 2, with sums below 2^64
    for (std::uint64_t left = count_; left;) {
      const std::uint64_t n = std::min(left, kStep);
      b_ = (b_ + n * a_ + value_ * (n * (n + 1) / 2)) % kBase;
      a_ = (a_ + n * value_) % kBase;
      left -= n;
    }
    if (count_) put(1);
    while (count_) put(count_ < 3 ? 1 : std::min<std::uint64_t>(count_, 258));
  }
  void put(std::uint64_t n) {
    tokens_.push_back(n == 1 ? Token{value_, 0} : Token{std::uint16_t(n), 1});
    count_ -= n;
    if (tokens_.size() == kTokens) write_block({}, false);
  }

  std::uint8_t value_ = 0;
  std::uint64_t count_ = 0, a_ = 1, b_ = 0;
};

}  // namespace sampan::inline SAMPAN_ABI
