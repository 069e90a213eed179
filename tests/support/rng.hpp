// Reproducible random numbers for tests. Data flow: every sweep -> here; the same seed gives the same floats on every compiler and machine
// (std::uniform_real_distribution does not promise that). Generator: splitmix64 (Steele, Lea, Flood 2014), public domain constants.
#pragma once
#include <cstddef>
#include <cstdint>

namespace sampan::test {

struct Seed {
  std::uint64_t value = 1;
};

class Rng {
 public:
  explicit Rng(Seed s) : state_(s.value * 0x9E3779B97F4A7C15u + 1) {}
  std::uint64_t next() {
    std::uint64_t z = state_ += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  /// In [lo, hi]; 53 random bits rounded to float, so that small numbers have full mantissas too (24 bits would put all on one grid, where sums are exact).
  float uniform(float lo = -1, float hi = 1) { return float(double(lo) + (double(hi) - double(lo)) * (double(next() >> 11) * 0x1p-53)); }
  /// In [0, n).
  std::ptrdiff_t below(std::ptrdiff_t n) { return std::ptrdiff_t(next() % std::uint64_t(n)); }

 private:
  std::uint64_t state_;
};

}  // namespace sampan::test
