// Walks through a zlib stream and counts what it would inflate to, without storing a byte of it.
// Data flow: image/check_png.hpp asks before stb_image decodes: stb grows its buffer without bound (a decompression bomb) and reads past a cut stream as zeros.
// Source: RFC 1950 and 1951. Cost: one table look-up per symbol; 5 KiB of stack; no heap.
// Deliberately absent: the data itself, and so the Adler-32 of it (PNG's chunk CRCs cover the compressed bytes); preset dictionaries (PNG forbids them).
#pragma once
#include <sampan/core/config.hpp>

#include <cstdint>
#include <span>

namespace sampan::inline SAMPAN_ABI {
namespace detail {

/// Canonical Huffman code: a table for codes up to kFast bits, the counting method of RFC 1951 3.2.2 for longer ones.
class HuffmanCounts {
 public:
  /// lengths[i] of symbol i, 0 = unused, at most 15. False if the code is over-subscribed, or incomplete with more than one symbol.
  bool build(const std::uint8_t* lengths, int symbols) {
    for (auto& c : count_) c = 0;
    for (int s = 0; s < symbols; ++s) ++count_[lengths[s]];
    count_[0] = 0;
    int left = 1, used = 0;
    for (int l = 1; l <= 15; ++l) {
      left = left * 2 - count_[l];
      used += count_[l];
      if (left < 0) return false;
    }
    if (left > 0 && used > 1) return false;
    std::uint16_t next[16] = {};
    for (int l = 1; l < 15; ++l) next[l + 1] = std::uint16_t(next[l] + count_[l]);
    for (int s = 0; s < symbols; ++s)
      if (lengths[s]) symbol_[next[lengths[s]]++] = std::uint16_t(s);
    for (auto& f : fast_) f = 0;
    int code = 0, index = 0;
    for (int l = 1; l <= kFast; ++l, code <<= 1)
      for (int i = 0; i < count_[l]; ++i, ++code, ++index)
        for (int rest = reversed(code, l); rest < 1 << kFast; rest += 1 << l) fast_[rest] = std::uint16_t(l << 9 | symbol_[index]);
    return true;
  }
  /// The next symbol, or -1 if no code matches.
  template <class Bits>
  int decode(Bits& bits) const {
    const std::uint16_t f = fast_[bits.peek(kFast)];
    if (f) {
      bits.drop(f >> 9);
      return f & 511;
    }
    int code = 0, first = 0, index = 0;
    for (int l = 1; l <= 15; ++l) {
      code |= int(bits.take(1));
      if (code - first < count_[l]) return symbol_[index + code - first];
      index += count_[l];
      first = (first + count_[l]) << 1;
      code <<= 1;
    }
    return -1;
  }

 private:
  static constexpr int kFast = 10;
  static int reversed(int code, int length) {
    int r = 0;
    for (int i = 0; i < length; ++i) r |= ((code >> i) & 1) << (length - 1 - i);
    return r;
  }
  std::uint16_t count_[16] = {}, symbol_[288] = {}, fast_[1 << kFast] = {};
};

/// Bits, lowest first, from pieces: next() gives the next one, an empty one at the end. Reading past the end gives zeros and sets over().
template <class Next>
class PieceBits {
 public:
  explicit PieceBits(Next next) : next_(next) {}
  std::uint32_t peek(int n) {
    if (have_ < n) refill();
    return std::uint32_t(bits_ & ((std::uint64_t(1) << n) - 1));
  }
  void drop(int n) { bits_ >>= n, have_ -= n; }
  std::uint32_t take(int n) {
    const std::uint32_t v = peek(n);
    drop(n);
    return v;
  }
  void to_byte() { drop(have_ % 8); }
  /// Leaves out whole bytes, from a byte border. False if they are not all there.
  bool skip(std::size_t bytes) {
    for (; bytes && have_; --bytes) drop(8);
    while (bytes && !ended_) {
      const std::size_t n = bytes < piece_.size() ? bytes : piece_.size();
      piece_ = piece_.subspan(n);
      bytes -= n;
      if (piece_.empty()) piece_ = next_(), ended_ = piece_.empty();
    }
    return bytes == 0 && !over();
  }
  bool over() const { return padding_ > have_; }  // some of the made-up zeros were used

 private:
  /// At least 56 bits, whole bytes. Eight bytes at once where the piece has them: one symbol needs up to 48.
  void refill() {
    if (piece_.size() >= 8) {
      std::uint64_t v = 0;
      for (std::size_t i = 0; i < 8; ++i) v |= std::uint64_t(piece_[i]) << (8 * i);  // one load on little-endian machines
      bits_ |= v << have_;
      const int bytes = (63 - have_) / 8;
      piece_ = piece_.subspan(std::size_t(bytes));
      have_ += 8 * bytes;
      bits_ &= ~std::uint64_t(0) >> (64 - have_);
      return;
    }
    while (have_ <= 56) {
      while (piece_.empty() && !ended_) piece_ = next_(), ended_ = piece_.empty();
      if (ended_) {
        padding_ += 8;
      } else {
        bits_ |= std::uint64_t(piece_.front()) << have_;
        piece_ = piece_.subspan(1);
      }
      have_ += 8;
    }
  }
  Next next_;
  std::span<const std::uint8_t> piece_;
  std::uint64_t bits_ = 0;
  int have_ = 0;
  long padding_ = 0;
  bool ended_ = false;
};

}  // namespace detail

enum class InflateVerdict {
  exact,    ///< a sound stream of exactly the expected length
  ends,     ///< the stream or its checksum is cut off
  shorter,  ///< sound, but inflates to fewer bytes
  longer,   ///< inflates to more bytes; the walk stopped there
  corrupt,  ///< not zlib, or an impossible code
};

/// Walks the zlib stream whose pieces next() returns (std::span<const std::uint8_t>, empty at the end). Time is bounded by input and `expected` together.
template <class Next>
InflateVerdict inflate_check(Next next, std::uint64_t expected) {
  using detail::HuffmanCounts;
  static constexpr std::uint16_t kLengthBase[29] = {3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
  static constexpr std::uint8_t kLengthBits[29] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
  static constexpr std::uint16_t kDistanceBase[30] = {1,   2,   3,   4,   5,   7,    9,    13,   17,   25,   33,   49,   65,    97,    129,
                                                      193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
  static constexpr std::uint8_t kOrder[19] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
  detail::PieceBits<Next> bits(next);
  const auto bad = [&bits] { return bits.over() ? InflateVerdict::ends : InflateVerdict::corrupt; };
  const std::uint32_t cmf = bits.take(8), flags = bits.take(8);
  if ((cmf & 15) != 8 || cmf >> 4 > 7 || (cmf * 256 + flags) % 31 != 0 || (flags & 32)) return bad();
  std::uint64_t made = 0;
  HuffmanCounts literals, distances;
  for (bool last = false; !last;) {
    last = bits.take(1) != 0;
    const std::uint32_t kind = bits.take(2);
    if (bits.over() || kind == 3) return bad();
    if (kind == 0) {
      bits.to_byte();
      const std::uint32_t length = bits.take(16), complement = bits.take(16);
      if (bits.over() || length != (complement ^ 0xFFFFu)) return bad();
      if (!bits.skip(length)) return InflateVerdict::ends;
      made += length;
      if (made > expected) return InflateVerdict::longer;
      continue;
    }
    std::uint8_t lengths[320] = {};
    if (kind == 1) {
      for (int s = 0; s < 288; ++s) lengths[s] = s < 144 ? 8 : s < 256 ? 9 : s < 280 ? 7 : 8;
      literals.build(lengths, 288);
      for (int s = 0; s < 32; ++s) lengths[s] = 5;
      distances.build(lengths, 32);
    } else {
      const int nl = int(bits.take(5)) + 257, nd = int(bits.take(5)) + 1, nc = int(bits.take(4)) + 4;
      std::uint8_t code_lengths[19] = {};
      for (int i = 0; i < nc; ++i) code_lengths[kOrder[i]] = std::uint8_t(bits.take(3));
      if (bits.over() || nl > 286 || nd > 30 || !literals.build(code_lengths, 19)) return bad();
      for (int i = 0; i < nl + nd;) {
        const int s = literals.decode(bits);
        if (s < 0 || bits.over()) return bad();
        if (s < 16) {
          lengths[i++] = std::uint8_t(s);
          continue;
        }
        if (s == 16 && i == 0) return bad();
        const std::uint8_t value = s == 16 ? lengths[i - 1] : std::uint8_t(0);
        int repeat = s == 16 ? 3 + int(bits.take(2)) : s == 17 ? 3 + int(bits.take(3)) : 11 + int(bits.take(7));
        if (i + repeat > nl + nd) return bad();
        while (repeat-- > 0) lengths[i++] = value;
      }
      if (lengths[256] == 0 || !literals.build(lengths, nl) || !distances.build(lengths + nl, nd)) return bad();
    }
    for (;;) {
      const int s = literals.decode(bits);
      if (s < 0 || bits.over()) return bad();
      if (s == 256) break;
      if (s < 256) {
        ++made;
      } else {
        if (s > 285) return bad();
        const std::uint32_t length = kLengthBase[s - 257] + bits.take(kLengthBits[s - 257]);
        const int d = distances.decode(bits);
        if (d < 0 || d > 29 || bits.over()) return bad();
        const std::uint32_t distance = kDistanceBase[d] + bits.take(d < 2 ? 0 : d / 2 - 1);
        if (distance > made) return bad();
        made += length;
      }
      if (made > expected) return InflateVerdict::longer;
    }
  }
  bits.to_byte();
  bits.take(16), bits.take(16);  // the Adler-32: present, though there is no data to compare it with
  if (bits.over()) return InflateVerdict::ends;
  return made == expected ? InflateVerdict::exact : InflateVerdict::shorter;
}

}  // namespace sampan::inline SAMPAN_ABI
