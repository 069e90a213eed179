// Walks through the entropy-coded data of JPEG scans without decoding a pixel: does the data hold every block that the header promises?
// Data flow: image/check_jpeg.hpp asks per scan. stb_image reads zeros behind the end of the data, so a cut file would come out grey from some row on.
// Source: ITU-T T.81, F.2.2 (baseline), G.1.2 and G.2 (progressive), C (codes), B.1.1.5 (stuffed bytes), E.1.4 (restarts). Cost: one table look-up per code.
// Deliberately absent: the coefficients. A progressive refinement only needs to know which ones are nonzero: one bit each.
#pragma once
#include <sampan/core/config.hpp>

#include <bit>
#include <cstdint>
#include <span>

namespace sampan::inline SAMPAN_ABI::detail {

/// Bits of entropy-coded data, highest first, stuffed zero bytes taken out. Behind the data (a marker, the end) it gives zeros and sets over().
class JpegBits {
 public:
  JpegBits() = default;
  explicit JpegBits(std::span<const std::uint8_t> data) : at_(data.data()), end_(data.data() + data.size()) {}
  /// At least 32 bits: one code and the bits that follow it.
  void refill() {
    if (have_ >= 32) return;
    if (end_ - at_ >= 8) {
      std::uint64_t v = 0;
      for (int i = 0; i < 8; ++i) v = v << 8 | at_[i];  // one load on machines with a byte swap
      const std::uint64_t inverse = ~v;
      if (!((inverse - 0x0101010101010101u) & ~inverse & 0x8080808080808080u)) {  // no byte is 0xFF
        bits_ |= v >> have_;  // the bits beyond whole bytes come once more with the next refill: the same ones
        at_ += (63 - have_) / 8;
        have_ += (63 - have_) / 8 * 8;
        return;
      }
    }
    for (; have_ <= 56; have_ += 8) {
      if (at_ == end_ || (*at_ == 0xFF && (at_ + 1 == end_ || at_[1] != 0))) {
        padding_ += 8;
        continue;
      }
      bits_ |= std::uint64_t(*at_) << (56 - have_);
      at_ += *at_ == 0xFF ? 2 : 1;
    }
  }
  std::uint32_t peek(int n) const { return std::uint32_t(bits_ >> (64 - n)); }  // n from 1
  void drop(int n) { bits_ <<= n, have_ -= n; }
  std::uint32_t take(int n) {
    refill();
    const std::uint32_t v = n ? peek(n) : 0;
    drop(n);
    return v;
  }
  void skip(int n) {
    for (; n > 32; n -= 32) refill(), drop(32);
    refill();
    drop(n);
  }
  bool over() const { return padding_ > have_; }  // some of the made-up zeros were used
  /// At the end of an interval: nothing but padding of the last byte is left, and restart marker `number` follows. Then the next interval begins.
  bool restart(int number) {
    if (over() || have_ - padding_ >= 8) return false;
    while (end_ - at_ > 1 && at_[0] == 0xFF && at_[1] == 0xFF) ++at_;
    if (end_ - at_ < 2 || at_[0] != 0xFF || at_[1] != 0xD0 + number) return false;
    *this = JpegBits({at_ + 2, end_});
    return true;
  }
  /// The first byte that was not looked at; all before it belong to the data.
  const std::uint8_t* at() const { return at_; }

 private:
  const std::uint8_t *at_ = nullptr, *end_ = nullptr;
  std::uint64_t bits_ = 0;
  int have_ = 0;
  std::int64_t padding_ = 0;
};

/// One Huffman code of a DHT segment. Symbols are bytes: a run of zeros (high half) and the number of bits that follow (low half).
class JpegCode {
 public:
  /// lengths[i] codes of i + 1 bits each, their symbols in order. False if there are more codes than bits can tell apart.
  bool build(const std::uint8_t* lengths, const std::uint8_t* symbols) {
    *this = {};
    int code = 0, n = 0;
    for (int l = 1; l <= 16; ++l, code <<= 1) {
      offset_[l] = n - code;
      for (int i = 0; i < lengths[l - 1]; ++i, ++n, ++code) {
        if (code >> l || n > 255) return false;
        symbol_[n] = symbols[n];
        if (l <= kPeek)
          for (int rest = 0; rest < 1 << (kPeek - l); ++rest) one_[code << (kPeek - l) | rest] = std::uint16_t(l << 8 | symbols[n]);
      }
      end_[l] = std::uint32_t(code) << (16 - l);
    }
    // Many AC codes at once: as many as lie in kPeek bits (the bits behind the last code may lie beyond) and end the block at most once.
    for (int v = 0; v < 1 << kPeek; ++v) {
      int used = 0, run = 0;
      bool last = false;
      while (used < kPeek && !last) {
        const int entry = one_[(v << used) & ((1 << kPeek) - 1)], length = entry >> 8, symbol = entry & 255, extra = symbol & 15;
        if (entry == 0 || used + length > kPeek) break;
        last = !extra && symbol != 0xF0;
        used += length + extra;
        run += last ? 0 : (symbol >> 4) + 1;
        if (run > 63) break;
      }
      many_[v] = run > 63 ? std::uint16_t(0) : std::uint16_t(run << 6 | int(last) << 5 | used);
    }
    return true;
  }
  /// The next symbol, or -1 if no code matches (always for a code that no segment defined). The bits behind it are for the caller.
  int symbol(JpegBits& bits) const {
    bits.refill();
    const int entry = one_[bits.peek(kPeek)];
    if (entry) {
      bits.drop(entry >> 8);
      return entry & 255;
    }
    const std::uint32_t v = bits.peek(16);
    for (int l = kPeek + 1; l <= 16; ++l)
      if (v < end_[l]) {
        bits.drop(l);
        return symbol_[(int(v >> (16 - l)) + offset_[l]) & 255];
      }
    return -1;
  }
  /// The AC codes of a baseline block. False if no code matches.
  bool skip_block(JpegBits& bits) const {
    for (int k = 1; k < 64;) {
      bits.refill();
      const int entry = many_[bits.peek(kPeek)], next = k + (entry >> 6);
      if (entry && next < 64) {
        bits.drop(entry & 31);
        if (entry & 32) return true;
        k = next;
        continue;
      }
      const int s = symbol(bits);
      if (s < 0) return false;
      bits.drop(s & 15);
      if (!(s & 15) && s != 0xF0) return true;
      k += (s >> 4) + 1;
    }
    return true;
  }

 private:
  static constexpr int kPeek = 10;
  std::uint16_t one_[1 << kPeek] = {};   // length << 8 | symbol; 0: a longer code, or none
  std::uint16_t many_[1 << kPeek] = {};  // coefficients << 6 | end of block << 5 | bits; 0: take one code
  std::uint32_t end_[17] = {};           // of the codes of a length, shifted to 16 bits
  int offset_[17] = {};
  std::uint8_t symbol_[256] = {};
};

/// What a scan does to each of its blocks.
struct JpegPass {
  bool progressive = false;
  int begin = 0, end = 63;  ///< coefficients in zigzag order
  bool refine = false;      ///< one more bit of each, instead of the first ones
};

/// AC codes of one block of a progressive scan; `nonzero` has bit k for coefficient k, `eob_run` counts blocks without codes of their own.
inline bool skip_progressive(JpegBits& bits, const JpegCode& ac, const JpegPass& pass, std::uint64_t& nonzero, int& eob_run) {
  const auto from = [&](int k) { return k > pass.end ? 0 : ~std::uint64_t(0) << k & ~std::uint64_t(0) >> (63 - pass.end); };  // k..end
  int k = pass.begin;
  while (eob_run == 0 && k <= pass.end) {
    const int s = ac.symbol(bits), size = s & 15;
    if (s < 0 || (pass.refine && size > 1)) return false;
    int zeros = s >> 4;
    if (size == 0 && zeros < 15) {
      eob_run = (1 << zeros) + int(bits.take(zeros));
      break;
    }
    bits.drop(size);
    if (!pass.refine) {
      k += zeros;
      if (size && k < 64) nonzero |= std::uint64_t(1) << k;
      ++k;
      continue;
    }
    std::uint64_t free = from(k) & ~nonzero;  // the run counts these; every nonzero one on the way has a correction bit
    for (; zeros && free; --zeros) free &= free - 1;
    const int place = free ? std::countr_zero(free) : pass.end + 1;
    if (const std::uint64_t passed = nonzero & from(k) & ~from(place)) bits.skip(std::popcount(passed));
    if (size && place <= pass.end) nonzero |= std::uint64_t(1) << place;
    k = place + 1;
  }
  if (eob_run == 0) return true;
  if (const std::uint64_t rest = nonzero & from(k); pass.refine && rest) bits.skip(std::popcount(rest));
  --eob_run;
  return true;
}

}  // namespace sampan::inline SAMPAN_ABI::detail
