// What the tests of kernels share: values of each type, a launch under every order and rounding, and the search for barriers that are not needed.
#pragma once
#include "kernels.hpp"

#include "emu/warp_math.hpp"
#include "support/rng.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>

namespace sampan::emu {

/// False on a real device (tests/gpu): there are no counters then, no order to choose, and barriers stay.
#if defined(SAMPAN_EMULATOR)
inline constexpr bool kEmulated = true;
#else
inline constexpr bool kEmulated = false;
#endif

inline std::string name_of(Type t) { return t == Type::f32 ? "f32" : t == Type::f16 ? "f16" : "bf16"; }
inline std::size_t bytes_of(Type t) { return t == Type::f32 ? 4 : 2; }
/// Relative spacing of half a unit in the last place.
inline double unit_of(Type t) { return t == Type::f32 ? 0x1p-24 : t == Type::f16 ? 0x1p-11 : 0x1p-8; }

inline std::vector<float> random_values(std::uint64_t seed, std::size_t n, float scale = 1) {
  test::Rng rng(test::Seed{seed});
  std::vector<float> v(n);
  for (float& x : v) x = scale * rng.uniform(-1, 1);
  return v;
}

/// Values in a kernel's element type, and as the doubles that they stand for.
class Elements {
 public:
  Elements(Type t, const std::vector<float>& v) : type_(t), memory_(encode(t, v)), values_(decode(t, memory_)) {}
  Elements(Type t, std::size_t n) : type_(t), memory_(n * bytes_of(t)) {}
  void* data() { return memory_.data(); }
  double at(std::size_t i) const { return values_[i]; }
  std::size_t size() const { return memory_.size() / bytes_of(type_); }
  std::vector<double> read() const { return decode(type_, memory_); }
  std::vector<std::uint8_t> bytes() const { return memory_.values(); }
  bool fully_written() const { return memory_.fully_written(); }

 private:
  static std::vector<std::uint8_t> encode(Type t, const std::vector<float>& v) {
    std::vector<std::uint8_t> out(v.size() * bytes_of(t));
    for (std::size_t i = 0; i < v.size(); ++i) {
      const std::uint16_t half = t == Type::f16 ? f16_bits(v[i]) : bf16_bits(v[i]);
      t == Type::f32 ? std::memcpy(&out[4 * i], &v[i], 4) : std::memcpy(&out[2 * i], &half, 2);
    }
    return out;
  }
  static std::vector<double> decode(Type t, const Buffer<std::uint8_t>& m) {
    const auto raw = m.values();
    std::vector<double> out(raw.size() / bytes_of(t));
    for (std::size_t i = 0; i < out.size(); ++i) {
      float f;
      std::uint16_t half;
      t == Type::f32 ? std::memcpy(&f, &raw[4 * i], 4) : std::memcpy(&half, &raw[2 * i], 2);
      out[i] = t == Type::f32 ? double(f) : double(t == Type::f16 ? f16_value(half) : bf16_value(half));
    }
    return out;
  }
  Type type_;
  Buffer<std::uint8_t> memory_;
  std::vector<double> values_;
};

struct Launch {
  Dim grid, block;
  std::size_t shared = 0;
};

/// Runs the kernel forward, backward and in random order; no finding, everything written, the same bits each time. Gives the last report.
/// make(out) builds the work for an output of n elements.
template <class Make>
Report run_sound(const Launch& l, Type t, std::size_t n, std::vector<double>& result, Make&& make, MmaRounding rounding = MmaRounding::exact) {
  Report report;
  std::vector<std::uint8_t> first;
  for (const Order order : {Order::forward, Order::backward, Order::random}) {
    CAPTURE(int(order));
    Elements out(t, n);
    report = launch(l.grid, l.block, l.shared, make(out.data()), {.order = order, .rounding = rounding});
    CHECK_MESSAGE(report.findings.empty(), report.text());
    CHECK(out.fully_written());
    if (first.empty()) first = out.bytes();
    CHECK(first == out.bytes());
    result = out.read();
  }
  return report;
}

/// Each barrier and wait in turn does nothing: that must be found (or change nothing and be found by order), else it is not needed.
template <class Make>
void every_sync_is_needed(const Launch& l, Type t, std::size_t n, Make&& make) {
  if (!kEmulated) return;
  Elements out(t, n);
  const Report whole = launch(l.grid, l.block, l.shared, make(out.data()));
  REQUIRE(whole.findings.empty());
  REQUIRE(!whole.sites.empty());
  for (int site = 0; site < int(whole.sites.size()); ++site) {
    CAPTURE(site);
    bool found = false;
    for (const Order order : {Order::forward, Order::backward, Order::random}) {
      Elements other(t, n);
      found = found || !launch(l.grid, l.block, l.shared, make(other.data()), {.order = order, .ignore_site = site}).findings.empty();
    }
    CHECK(found);
  }
}

}  // namespace sampan::emu
