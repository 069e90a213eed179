// Compresses bytes to a zlib stream: LZ77 with a hash chain, then per block the shortest of stored, fixed and dynamic Huffman codes. The same bytes give
// the same stream on every machine. Data flow: image/mask_codec.hpp -> here. Source: RFC 1950, RFC 1951.
// Cost: about 50 ns per byte of a photograph; 300 KiB of tables on the heap. A mask of a million pixels becomes 2 to 5 KiB.
// Deliberately absent: lazy matching and optimal parsing (a few percent), streaming, levels.
#pragma once
#include <sampan/image/checksum.hpp>

#include <algorithm>
#include <cstring>
#include <vector>

namespace sampan::inline SAMPAN_ABI {
namespace detail {

/// Code lengths of a Huffman code for these frequencies, none above `limit`. A frequency of 0 gives length 0; a lone symbol gets length 1.
inline void huffman_lengths(const std::uint32_t* frequency, int symbols, int limit, std::uint8_t* lengths) {
  std::uint32_t f[288];
  for (int s = 0; s < symbols; ++s) f[s] = frequency[s];
  for (;;) {
    int order[288], leaves = 0;
    for (int s = 0; s < symbols; ++s) {
      lengths[s] = 0;
      if (f[s]) order[leaves++] = s;
    }
    if (leaves <= 1) {
      if (leaves) lengths[order[0]] = 1;
      return;
    }
    std::sort(order, order + leaves, [&](int a, int b) { return f[a] != f[b] ? f[a] < f[b] : a < b; });
    // Two queues: leaves in order, and inner nodes, which come into being in order of weight.
    std::uint64_t weight[576];
    int parent[576];
    for (int i = 0; i < leaves; ++i) weight[i] = f[order[i]];
    int leaf = 0, inner = leaves, made = leaves;
    for (; made < 2 * leaves - 1; ++made) {
      weight[made] = 0;
      for (int k = 0; k < 2; ++k) {
        const bool take_leaf = leaf < leaves && (inner >= made || weight[leaf] <= weight[inner]);
        const int child = take_leaf ? leaf++ : inner++;
        weight[made] += weight[child];
        parent[child] = made;
      }
    }
    int depth[576], deepest = 0;
    depth[made - 1] = 0;
    for (int i = made - 2; i >= 0; --i) depth[i] = depth[parent[i]] + 1, deepest = std::max(deepest, depth[i]);
    if (deepest <= limit) {
      for (int i = 0; i < leaves; ++i) lengths[order[i]] = std::uint8_t(depth[i]);
      return;
    }
    for (int s = 0; s < symbols; ++s) f[s] = (f[s] + 1) / 2;  // flatter frequencies give a shallower tree; all ones would be 9 deep at most
  }
}

/// Canonical codes of RFC 1951 3.2.2, with the bits in the order in which they are written.
inline void huffman_codes(const std::uint8_t* lengths, int symbols, std::uint16_t* codes) {
  int count[16] = {}, next[16] = {};
  for (int s = 0; s < symbols; ++s) ++count[lengths[s]];
  count[0] = 0;
  for (int l = 1; l < 16; ++l) next[l] = (next[l - 1] + count[l - 1]) << 1;
  for (int s = 0; s < symbols; ++s) {
    int code = lengths[s] ? next[lengths[s]]++ : 0, reversed = 0;
    for (int b = 0; b < lengths[s]; ++b, code >>= 1) reversed = reversed << 1 | (code & 1);
    codes[s] = std::uint16_t(reversed);
  }
}

/// The zlib container and its blocks: tokens in, the shortest coding of each block out.
class DeflateBlocks {
 protected:
  static constexpr std::size_t kTokens = 1 << 14;
  struct Token {
    std::uint16_t value, distance;  // distance 0: a literal byte; else a match of `value` bytes
  };

  explicit DeflateBlocks(std::vector<std::uint8_t>& out) : out_(out) {
    tokens_.reserve(kTokens + 1);
    put_byte(0x78), put_byte(0x9C);  // deflate, 32 KiB window, default level, no dictionary
  }
  void finish(std::uint32_t adler32) {
    flush();
    for (int shift = 24; shift >= 0; shift -= 8) put_byte(std::uint8_t(adler32 >> shift));
  }

  /// The tokens as one block, and none are left; `bytes` are what they stand for, or empty if the caller never had them side by side.
  void write_block(std::span<const std::uint8_t> bytes, bool last) {
    code_block(bytes, last);
    tokens_.clear();
  }

  std::vector<Token> tokens_;

 private:
  static int length_symbol(int length) {
    if (length == 258) return 285;
    if (length < 11) return 254 + length;
    int bits = 1;
    while ((length - 3) >> (bits + 3)) ++bits;  // 4 symbols per number of extra bits
    return 257 + 4 * (bits + 1) + (((length - 3) >> bits) & 3);
  }
  static int length_bits(int symbol) { return symbol < 265 || symbol == 285 ? 0 : (symbol - 261) / 4; }
  static int distance_symbol(int distance) {
    const int d = distance - 1;
    if (d < 4) return d;
    int bits = 1;
    while (d >> (bits + 2)) ++bits;  // 2 symbols per number of extra bits
    return 2 * (bits + 1) + ((d >> bits) & 1);
  }
  static int distance_bits(int symbol) { return symbol < 4 ? 0 : symbol / 2 - 1; }

  struct Codes {
    std::uint8_t literal_length[288] = {}, distance_length[32] = {};
    std::uint16_t literal[288] = {}, distance[32] = {};
    void finish() {
      huffman_codes(literal_length, 288, literal);
      huffman_codes(distance_length, 30, distance);
    }
  };

  void code_block(std::span<const std::uint8_t> bytes, bool last) {
    std::uint32_t lf[288] = {}, df[32] = {};
    lf[256] = 1;
    std::uint64_t extra = 0;
    for (const Token& t : tokens_) {
      if (t.distance == 0) {
        ++lf[t.value];
        continue;
      }
      const int ls = length_symbol(t.value), ds = distance_symbol(t.distance);
      ++lf[ls], ++df[ds];
      extra += std::uint64_t(length_bits(ls) + distance_bits(ds));
    }
    Codes fixed, own;
    for (int s = 0; s < 288; ++s) fixed.literal_length[s] = s < 144 ? 8 : s < 256 ? 9 : s < 280 ? 7 : 8;
    for (int s = 0; s < 30; ++s) fixed.distance_length[s] = 5;
    huffman_lengths(lf, 286, 15, own.literal_length);
    huffman_lengths(df, 30, 15, own.distance_length);
    if (std::none_of(df, df + 30, [](std::uint32_t n) { return n != 0; })) own.distance_length[0] = 1;  // one distance code must exist

    // The lengths themselves are run-length coded with an alphabet of 19 symbols and a code of its own.
    int nl = 286, nd = 30;
    while (nl > 257 && own.literal_length[nl - 1] == 0) --nl;
    while (nd > 1 && own.distance_length[nd - 1] == 0) --nd;
    std::uint8_t all[316];
    std::copy(own.literal_length, own.literal_length + nl, all);
    std::copy(own.distance_length, own.distance_length + nd, all + nl);
    struct Run {
      std::uint8_t symbol, bits, extra;
    } runs[316];
    int count = 0;
    std::uint32_t cf[19] = {};
    const auto emit = [&](int symbol, int bits, int value) {
      runs[count++] = {std::uint8_t(symbol), std::uint8_t(bits), std::uint8_t(value)};
      ++cf[symbol];
    };
    for (int i = 0; i < nl + nd;) {
      int n = 1;
      while (i + n < nl + nd && all[i + n] == all[i]) ++n;
      i += n;
      if (all[i - 1] == 0) {
        for (; n >= 11; n -= std::min(n, 138)) emit(18, 7, std::min(n, 138) - 11);
        if (n >= 3) emit(17, 3, n - 3), n = 0;
      } else {
        emit(all[i - 1], 0, 0), --n;
        while (n >= 3) {
          const int k = std::min(n, 6);
          emit(16, 2, k - 3), n -= k;
        }
      }
      while (n-- > 0) emit(all[i - 1], 0, 0);
    }
    static constexpr std::uint8_t kOrder[19] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
    std::uint8_t cl[19];
    std::uint16_t cc[19];
    huffman_lengths(cf, 19, 7, cl);
    huffman_codes(cl, 19, cc);
    int nc = 19;
    while (nc > 4 && cl[kOrder[nc - 1]] == 0) --nc;

    const auto cost = [&](const Codes& c) {
      std::uint64_t bits = extra;
      for (int s = 0; s < 288; ++s) bits += std::uint64_t(lf[s]) * c.literal_length[s];
      for (int s = 0; s < 30; ++s) bits += std::uint64_t(df[s]) * c.distance_length[s];
      return bits;
    };
    std::uint64_t head = 14 + 3 * std::uint64_t(nc);
    for (int i = 0; i < count; ++i) head += std::uint64_t(cl[runs[i].symbol]) + runs[i].bits;
    const std::uint64_t dynamic_bits = head + cost(own), fixed_bits = cost(fixed), stored_bits = (bytes.size() / 65535 + 1) * 40 + 8 * bytes.size();
    if ((!bytes.empty() || tokens_.empty()) && stored_bits <= dynamic_bits && stored_bits <= fixed_bits) return write_stored(bytes, last);
    put(last ? 1 : 0, 1);
    if (fixed_bits <= dynamic_bits) {
      put(1, 2);
      fixed.finish();
      return write_tokens(fixed);
    }
    put(2, 2);
    put(std::uint32_t(nl - 257), 5), put(std::uint32_t(nd - 1), 5), put(std::uint32_t(nc - 4), 4);
    for (int i = 0; i < nc; ++i) put(cl[kOrder[i]], 3);
    for (int i = 0; i < count; ++i) put(cc[runs[i].symbol], cl[runs[i].symbol]), put(runs[i].extra, runs[i].bits);
    own.finish();
    write_tokens(own);
  }

  void write_stored(std::span<const std::uint8_t> bytes, bool last) {
    do {
      const std::size_t n = std::min<std::size_t>(65535, bytes.size());
      put(last && n == bytes.size() ? 1 : 0, 1), put(0, 2);
      flush();
      for (std::uint32_t v : {std::uint32_t(n), std::uint32_t(n) ^ 0xFFFFu}) put_byte(std::uint8_t(v)), put_byte(std::uint8_t(v >> 8));
      out_.insert(out_.end(), bytes.begin(), bytes.begin() + std::ptrdiff_t(n));
      bytes = bytes.subspan(n);
    } while (!bytes.empty());
  }

  void write_tokens(const Codes& c) {
    for (const Token& t : tokens_) {
      if (t.distance == 0) {
        put(c.literal[t.value], c.literal_length[t.value]);
        continue;
      }
      const int ls = length_symbol(t.value), lb = length_bits(ls), ds = distance_symbol(t.distance), db = distance_bits(ds);
      put(c.literal[ls], c.literal_length[ls]);
      put(std::uint32_t(t.value - 3) & ((1u << lb) - 1), lb);
      put(c.distance[ds], c.distance_length[ds]);
      put(std::uint32_t(t.distance - 1) & ((1u << db) - 1), db);
    }
    put(c.literal[256], c.literal_length[256]);
  }

  void put_byte(std::uint8_t b) { out_.push_back(b); }
  void put(std::uint32_t value, int n) {
    bits_ |= std::uint64_t(value) << have_;
    have_ += n;
    for (; have_ >= 8; have_ -= 8, bits_ >>= 8) put_byte(std::uint8_t(bits_));
  }
  void flush() {
    if (have_) put_byte(std::uint8_t(bits_));
    bits_ = 0, have_ = 0;
  }

  std::vector<std::uint8_t>& out_;
  std::uint64_t bits_ = 0;
  int have_ = 0;
};

/// LZ77 with a hash chain.
class Deflater : DeflateBlocks {
 public:
  Deflater(std::span<const std::uint8_t> data, std::vector<std::uint8_t>& out) : DeflateBlocks(out), data_(data), head_(kHash), previous_(kWindow) {}

  void run() {
    std::size_t at = 0, block = 0;
    do {
      while (at < data_.size() && tokens_.size() < kTokens) {
        const Match m = longest(at);
        const std::size_t step = m.length >= 3 ? m.length : 1;
        tokens_.push_back(m.length >= 3 ? Token{std::uint16_t(m.length), std::uint16_t(m.distance)} : Token{data_[at], 0});
        for (std::size_t i = 0; i < step; ++i) remember(at + i);
        at += step;
      }
      write_block(data_.subspan(block, at - block), at == data_.size());
      block = at;
    } while (at < data_.size());
    finish(png_adler32(data_));
  }

 private:
  static constexpr std::size_t kWindow = 32768, kHash = 1 << 15;
  static constexpr int kChain = 24;  // candidates per position: more costs time and gains about a percent
  struct Match {
    std::size_t length = 0, distance = 0;
  };

  std::size_t hash(std::size_t at) const {
    const std::uint32_t v = std::uint32_t(data_[at]) | std::uint32_t(data_[at + 1]) << 8 | std::uint32_t(data_[at + 2]) << 16;
    return (v * 0x9E3779B1u) >> 17;
  }
  void remember(std::size_t at) {
    if (at + 3 > data_.size()) return;
    const std::size_t h = hash(at);
    previous_[at % kWindow] = head_[h];
    head_[h] = std::uint32_t(at + 1);
  }
  static std::size_t common(const std::uint8_t* a, const std::uint8_t* b, std::size_t most) {
    std::size_t n = 0;
    for (std::uint64_t x, y; n + 8 <= most; n += 8) {
      std::memcpy(&x, a + n, 8), std::memcpy(&y, b + n, 8);
      if (x != y) break;
    }
    while (n < most && a[n] == b[n]) ++n;
    return n;
  }
  Match longest(std::size_t at) const {
    Match best;
    const std::size_t most = std::min<std::size_t>(258, data_.size() - at);
    if (most < 3) return best;
    std::uint32_t next = head_[hash(at)];
    for (int tries = 0; tries < kChain && next && at - (next - 1) < kWindow; ++tries) {
      const std::size_t candidate = next - 1;
      const std::uint8_t *a = data_.data() + at, *b = data_.data() + candidate;
      if (b[best.length] == a[best.length]) {
        const std::size_t n = common(a, b, most);
        if (n > best.length) best = {n, at - candidate};
        if (n == most) break;
      }
      const std::uint32_t older = previous_[candidate % kWindow];
      if (older >= next) break;  // the slot belongs to a newer position by now
      next = older;
    }
    return best;
  }

  std::span<const std::uint8_t> data_;
  std::vector<std::uint32_t> head_, previous_;  // position + 1, 0 none; beyond 2^32 bytes nothing is found any more, which stays right
};

}  // namespace detail

/// Appends the zlib stream of `data` to `out`. Any length, also 0.
inline void deflate(std::span<const std::uint8_t> data, std::vector<std::uint8_t>& out) { detail::Deflater(data, out).run(); }

}  // namespace sampan::inline SAMPAN_ABI
