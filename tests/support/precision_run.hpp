// What the tests of 16-bit precisions share: the levels that have one, a planned run, equality of bits.
#pragma once
#include "support/for_each_backend.hpp"

#include <cmath>
#include <cstring>

namespace sampan::test {

inline std::vector<Cpu> levels(Precision p) {
  std::vector<Cpu> all;
  for (int i = 0; i < kIsaCount; ++i) {
    const Cpu b{.isa = Isa(i), .precision = p};
    if (isa_available(b.isa) && cpu::products(b.kernels(), p).gemm) all.push_back(b);
  }
  return all;
}

/// call(ctx) on a level and precision, as a model runs it: planned first.
template <class F>
void run_planned(const Cpu& b, int threads, F&& call) {
  ThreadPool pool(threads);
  Arena arena;
  const auto planned = plan(b, pool, call);
  REQUIRE(planned);
  REQUIRE(arena.reserve(planned->arena_bytes));
  Context<Cpu> ctx(b, pool, arena);
  call(ctx);
  REQUIRE(ctx.ok());
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) { return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * 4) == 0; }

/// |y - exact| / |exact|.
inline double relative_distance(const std::vector<float>& y, const std::vector<float>& exact) {
  double error = 0, norm = 0;
  for (std::size_t i = 0; i < y.size(); ++i) error += std::pow(double(y[i]) - double(exact[i]), 2), norm += std::pow(double(exact[i]), 2);
  return std::sqrt(error / norm);
}

}  // namespace sampan::test
