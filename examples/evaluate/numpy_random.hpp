// Random numbers as NumPy and Python draw them, bit for bit, so that a published protocol with a published seed gives the published prompts.
// Data flow: a seed -> RandomState (numpy.random.seed, the legacy generator), Pcg64 (numpy.random.default_rng) or PythonRandom (random.seed) -> simulators.hpp, statistics.hpp.
// Source: MT19937 (Matsumoto and Nishimura 1998), PCG XSL-RR 128/64 (O'Neill 2014), and the rules of NumPy for ranges: masked rejection (legacy), Lemire 2019 (Generator).
//   tests/unit/evaluate_random_test.cpp compares with what NumPy and Python themselves draw.
// Deliberately absent: distributions, ranges of 2^32 and more, Generator.choice without replacement.
#pragma once
#include <sampan/core/config.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace sampan::inline SAMPAN_ABI::evaluate {

/// The 32-bit Mersenne twister. Counts what it draws, so that a run that continues can stand where the last one stopped.
class Mt19937 {
 public:
  /// init_genrand
  explicit Mt19937(std::uint32_t seed) { start(seed); }
  /// init_by_array
  explicit Mt19937(std::span<const std::uint32_t> key) {
    start(19650218u);
    std::size_t i = 1, j = 0;
    for (std::size_t k = std::max(kSize, key.size()); k > 0; --k) {
      state_[i] = (state_[i] ^ ((state_[i - 1] ^ (state_[i - 1] >> 30)) * 1664525u)) + key[j] + std::uint32_t(j);
      advance(i);
      if (++j >= key.size()) j = 0;
    }
    for (std::size_t k = kSize - 1; k > 0; --k) {
      state_[i] = (state_[i] ^ ((state_[i - 1] ^ (state_[i - 1] >> 30)) * 1566083941u)) - std::uint32_t(i);
      advance(i);
    }
    state_[0] = 0x80000000u;
  }

  std::uint32_t next32() {
    if (at_ == kSize) refill();
    ++drawn_;
    std::uint32_t y = state_[at_++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
  }
  /// In [0, 1), 53 bits of two draws.
  double next_double() {
    const std::uint32_t a = next32() >> 5, b = next32() >> 6;
    return (a * 67108864.0 + b) / 9007199254740992.0;
  }
  std::uint64_t drawn() const { return drawn_; }
  void skip(std::uint64_t n) {
    while (n-- > 0) next32();
  }

 private:
  static constexpr std::size_t kSize = 624, kShift = 397;
  void start(std::uint32_t seed) {
    state_[0] = seed;
    for (std::size_t i = 1; i < kSize; ++i) state_[i] = 1812433253u * (state_[i - 1] ^ (state_[i - 1] >> 30)) + std::uint32_t(i);
  }
  void advance(std::size_t& i) {
    if (++i >= kSize) state_[0] = state_[kSize - 1], i = 1;
  }
  void refill() {
    for (std::size_t i = 0; i < kSize; ++i) {
      const std::uint32_t y = (state_[i] & 0x80000000u) | (state_[(i + 1) % kSize] & 0x7fffffffu);
      state_[i] = state_[(i + kShift) % kSize] ^ (y >> 1) ^ ((y & 1) ? 0x9908b0dfu : 0u);
    }
    at_ = 0;
  }
  std::array<std::uint32_t, kSize> state_{};
  std::size_t at_ = kSize;
  std::uint64_t drawn_ = 0;
};

/// numpy.random.RandomState(seed), which is also what numpy.random.seed(seed) starts.
class RandomState {
 public:
  explicit RandomState(std::uint32_t seed) : bits_(seed) {}

  /// randint(low, high): from low to high - 1. A range of one value draws nothing.
  std::int64_t randint(std::int64_t low, std::int64_t high) {
    SAMPAN_ASSERT(high > low && high - low <= (std::int64_t(1) << 32));
    return low + std::int64_t(below(std::uint32_t(high - low - 1)));
  }
  std::vector<std::int64_t> randint(std::int64_t low, std::int64_t high, std::size_t size) {
    std::vector<std::int64_t> v(size);
    for (auto& x : v) x = randint(low, high);
    return v;
  }
  double random_sample() { return bits_.next_double(); }
  double uniform(double low, double high) { return low + (high - low) * bits_.next_double(); }
  /// permutation(n)
  std::vector<std::int64_t> permutation(std::int64_t n) {
    std::vector<std::int64_t> v(static_cast<std::size_t>(n));
    for (std::size_t i = 0; i < v.size(); ++i) v[i] = std::int64_t(i);
    for (std::size_t i = v.size(); i-- > 1;) std::swap(v[i], v[below(std::uint32_t(i))]);
    return v;
  }
  /// choice(n, size, replace=True)
  std::vector<std::int64_t> choice(std::int64_t n, std::size_t size) { return randint(0, n, size); }
  /// choice(n, size, replace=False); size at most n
  std::vector<std::int64_t> choice_distinct(std::int64_t n, std::size_t size) {
    auto v = permutation(n);
    v.resize(size);
    return v;
  }
  std::uint64_t drawn() const { return bits_.drawn(); }
  void skip(std::uint64_t n) { bits_.skip(n); }

 private:
  /// 0 .. most
  std::uint32_t below(std::uint32_t most) {
    if (most == 0) return 0;
    std::uint32_t mask = most;
    for (int s = 1; s < 32; s *= 2) mask |= mask >> s;
    std::uint32_t v = bits_.next32() & mask;
    while (v > most) v = bits_.next32() & mask;
    return v;
  }
  Mt19937 bits_;
};

/// Python's random.seed(n) with a whole number from 0 to 2^32 - 1.
class PythonRandom {
 public:
  explicit PythonRandom(std::uint32_t seed) : bits_(std::span<const std::uint32_t>(&seed, 1)) {}
  double random() { return bits_.next_double(); }
  /// randint(a, b): both ends belong to it; fewer than 2^32 - 1 values
  std::int64_t randint(std::int64_t a, std::int64_t b) {
    const std::uint64_t n = std::uint64_t(b - a) + 1;
    SAMPAN_ASSERT(b >= a && n < (std::uint64_t(1) << 32));
    int width = 0;
    while ((n >> width) != 0) ++width;
    std::uint64_t v = bits_.next32() >> (32 - width);
    while (v >= n) v = bits_.next32() >> (32 - width);
    return a + std::int64_t(v);
  }

 private:
  Mt19937 bits_;
};

/// numpy.random.default_rng(seed)
class Pcg64 {
 public:
  explicit Pcg64(std::uint64_t seed) {
    const auto words = seed_words(seed);
    const auto joined = [&](std::size_t i) { return U128(words[i]) << 64 | words[i + 1]; };
    increment_ = joined(2) << 1 | 1;
    step();
    state_ += joined(0);
    step();
  }
  std::uint64_t next64() {
    step();
    const std::uint64_t high = std::uint64_t(state_ >> 64), x = high ^ std::uint64_t(state_);
    const int turn = int(high >> 58);
    return x >> turn | x << ((64 - turn) & 63);
  }
  /// Low half of a draw, then its high half.
  std::uint32_t next32() {
    if (kept_) {
      kept_ = false;
      return half_;
    }
    const std::uint64_t v = next64();
    half_ = std::uint32_t(v >> 32), kept_ = true;
    return std::uint32_t(v);
  }
  /// random(): in [0, 1)
  double random() { return double(next64() >> 11) / 9007199254740992.0; }
  /// integers(low, high): from low to high - 1
  std::int64_t integers(std::int64_t low, std::int64_t high) {
    SAMPAN_ASSERT(high > low && high - low < (std::int64_t(1) << 32));
    const std::uint32_t n = std::uint32_t(high - low);
    if (n == 1) return low;
    std::uint64_t m = std::uint64_t(next32()) * n;
    if (std::uint32_t(m) < n)
      for (const std::uint32_t threshold = (0u - n) % n; std::uint32_t(m) < threshold;) m = std::uint64_t(next32()) * n;
    return low + std::int64_t(m >> 32);
  }

 private:
  __extension__ using U128 = unsigned __int128;
  void step() { state_ = state_ * (U128(0x2360ed051fc65da4ull) << 64 | 0x4385df649fccf645ull) + increment_; }

  /// numpy.random.SeedSequence(seed).generate_state(4, uint64)
  static std::array<std::uint64_t, 4> seed_words(std::uint64_t seed) {
    std::array<std::uint32_t, 4> pool = {std::uint32_t(seed), std::uint32_t(seed >> 32), 0, 0};
    std::uint32_t constant = 0x43b0d7e5u;
    const auto hash = [&](std::uint32_t v) {
      v ^= constant;
      constant *= 0x931e8875u;
      v *= constant;
      return v ^ v >> 16;
    };
    for (auto& p : pool) p = hash(p);
    for (std::size_t from = 0; from < 4; ++from)
      for (std::size_t to = 0; to < 4; ++to) {
        if (from == to) continue;
        const std::uint32_t v = 0xca01f9ddu * pool[to] - 0x4973f715u * hash(pool[from]);
        pool[to] = v ^ v >> 16;
      }
    std::array<std::uint64_t, 4> out{};
    constant = 0x8b51f9ddu;
    for (std::size_t i = 0; i < 8; ++i) {
      std::uint32_t v = pool[i % 4] ^ constant;
      constant *= 0x58f38dedu;
      v *= constant;
      v ^= v >> 16;
      out[i / 2] |= std::uint64_t(v) << (32 * (i % 2));
    }
    return out;
  }

  U128 state_ = 0, increment_ = 0;
  bool kept_ = false;
  std::uint32_t half_ = 0;
};

}  // namespace sampan::inline SAMPAN_ABI::evaluate
