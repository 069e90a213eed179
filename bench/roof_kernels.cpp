// Kernels and measurement of roof.hpp: peak of multiply-adds at each vector level and precision, memory read and copy.
// Data flow: roof.cpp and harness.cpp -> here. This file is compiled for the baseline; each level's functions carry their own target attribute and call nothing
// of std, so that no wide instruction can leak into shared code (style.md 5). Accumulators: latency 4 to 5 times 2 per cycle, as many as the registers allow:
//   sse2    14 of 16 xmm, multiply and add separate (acc * a, then + b)     avx2_fma  14 of 16 ymm     avx512  24 of 32 zmm
#include "roof.hpp"

#include "machine.hpp"

#include <sampan/cpu/isa.hpp>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <string_view>
#include <thread>
#include <utility>

#if defined(__x86_64__)
#  include <immintrin.h>
#endif

#if defined(__clang__)
#  define BENCH_UNROLL _Pragma("clang loop unroll(full)")
#else
#  define BENCH_UNROLL _Pragma("GCC unroll 32")
#endif

namespace bench {

#if defined(__x86_64__)
namespace roof_sse2 {
constexpr int kAccumulators = 14;
__attribute__((noinline)) static float fma(long steps, float a, float b) {
  const __m128 va = _mm_set1_ps(a), vb = _mm_set1_ps(b);
  __m128 acc[kAccumulators];
  BENCH_UNROLL
  for (int i = 0; i < kAccumulators; ++i) acc[i] = _mm_set1_ps(float(i));
  for (long s = 0; s < steps; ++s) {
    BENCH_UNROLL
    for (int i = 0; i < kAccumulators; ++i) acc[i] = _mm_add_ps(_mm_mul_ps(acc[i], va), vb);
  }
  BENCH_UNROLL
  for (int i = 1; i < kAccumulators; ++i) acc[0] = _mm_add_ps(acc[0], acc[i]);
  return _mm_cvtss_f32(acc[0]);
}
__attribute__((noinline)) static float read(const float* p, std::size_t n) {
  __m128 acc[8];
  BENCH_UNROLL
  for (int i = 0; i < 8; ++i) acc[i] = _mm_setzero_ps();
  for (std::size_t at = 0; at + 32 <= n; at += 32) {
    BENCH_UNROLL
    for (int i = 0; i < 8; ++i) acc[i] = _mm_add_ps(acc[i], _mm_loadu_ps(p + at + 4 * i));
  }
  BENCH_UNROLL
  for (int i = 1; i < 8; ++i) acc[0] = _mm_add_ps(acc[0], acc[i]);
  return _mm_cvtss_f32(acc[0]);
}
}  // namespace roof_sse2

namespace roof_avx2 {
constexpr int kAccumulators = 14;
__attribute__((target("avx2,fma"), noinline)) static float fma(long steps, float a, float b) {
  const __m256 va = _mm256_set1_ps(a), vb = _mm256_set1_ps(b);
  __m256 acc[kAccumulators];
  BENCH_UNROLL
  for (int i = 0; i < kAccumulators; ++i) acc[i] = _mm256_set1_ps(float(i));
  for (long s = 0; s < steps; ++s) {
    BENCH_UNROLL
    for (int i = 0; i < kAccumulators; ++i) acc[i] = _mm256_fmadd_ps(acc[i], va, vb);
  }
  BENCH_UNROLL
  for (int i = 1; i < kAccumulators; ++i) acc[0] = _mm256_add_ps(acc[0], acc[i]);
  return _mm256_cvtss_f32(acc[0]);
}
__attribute__((target("avx2,fma"), noinline)) static float read(const float* p, std::size_t n) {
  __m256 acc[8];
  BENCH_UNROLL
  for (int i = 0; i < 8; ++i) acc[i] = _mm256_setzero_ps();
  for (std::size_t at = 0; at + 64 <= n; at += 64) {
    BENCH_UNROLL
    for (int i = 0; i < 8; ++i) acc[i] = _mm256_add_ps(acc[i], _mm256_loadu_ps(p + at + 8 * i));
  }
  BENCH_UNROLL
  for (int i = 1; i < 8; ++i) acc[0] = _mm256_add_ps(acc[0], acc[i]);
  return _mm256_cvtss_f32(acc[0]);
}
}  // namespace roof_avx2

namespace roof_avx512 {
constexpr int kAccumulators = 24;
__attribute__((target("avx512f"), noinline)) static float fma(long steps, float a, float b) {
  const __m512 va = _mm512_set1_ps(a), vb = _mm512_set1_ps(b);
  __m512 acc[kAccumulators];
  BENCH_UNROLL
  for (int i = 0; i < kAccumulators; ++i) acc[i] = _mm512_set1_ps(float(i));
  for (long s = 0; s < steps; ++s) {
    BENCH_UNROLL
    for (int i = 0; i < kAccumulators; ++i) acc[i] = _mm512_fmadd_ps(acc[i], va, vb);
  }
  BENCH_UNROLL
  for (int i = 1; i < kAccumulators; ++i) acc[0] = _mm512_add_ps(acc[0], acc[i]);
  return _mm512_cvtss_f32(acc[0]);
}
__attribute__((target("avx512f"), noinline)) static float read(const float* p, std::size_t n) {
  __m512 acc[8];
  BENCH_UNROLL
  for (int i = 0; i < 8; ++i) acc[i] = _mm512_setzero_ps();
  for (std::size_t at = 0; at + 128 <= n; at += 128) {
    BENCH_UNROLL
    for (int i = 0; i < 8; ++i) acc[i] = _mm512_add_ps(acc[i], _mm512_loadu_ps(p + at + 16 * i));
  }
  BENCH_UNROLL
  for (int i = 1; i < 8; ++i) acc[0] = _mm512_add_ps(acc[0], acc[i]);
  return _mm512_cvtss_f32(acc[0]);
}
}  // namespace roof_avx512

// Products of 16-bit pairs: each lane of an accumulator takes two multiply-adds per instruction.
#  define BENCH_PAIRS(NAME, TARGET, COUNT, BYTES, INSTRUCTIONS)                                                  \
    namespace NAME {                                                                                             \
    typedef unsigned Lanes __attribute__((vector_size(BYTES)));                                                  \
    constexpr int kAccumulators = COUNT;                                                                         \
    constexpr double kFlop = 4.0 * BYTES / 4 * COUNT;                                                            \
    __attribute__((target(TARGET), noinline)) static float fma(long steps, float a, float) {                     \
      Lanes acc[kAccumulators] = {}, x = Lanes{} + unsigned(a * 100), t{};                                       \
      for (long s = 0; s < steps; ++s) {                                                                         \
        BENCH_UNROLL                                                                                             \
        for (int i = 0; i < kAccumulators; ++i) asm(INSTRUCTIONS : "+v"(acc[i]), "=&v"(t) : "v"(x));             \
      }                                                                                                          \
      BENCH_UNROLL                                                                                               \
      for (int i = 1; i < kAccumulators; ++i) acc[0] += acc[i];                                                  \
      return float(acc[0][0]) + float(t[0]) * 0;                                                                 \
    }                                                                                                            \
    }
BENCH_PAIRS(roof_avx2_pairs, "avx2", 12, 32, "vpmaddwd %2, %2, %1\n\tvpaddd %1, %0, %0")
BENCH_PAIRS(roof_avx2_vnni, "avx2", 14, 32, "%{vex%} vpdpwssd %2, %2, %0")
BENCH_PAIRS(roof_avx512_pairs, "avx512f,avx512bw", 24, 64, "vpmaddwd %2, %2, %1\n\tvpaddd %1, %0, %0")
BENCH_PAIRS(roof_avx512_vnni, "avx512f", 24, 64, "vpdpwssd %2, %2, %0")
BENCH_PAIRS(roof_avx512_bf16, "avx512f", 24, 64, "vdpbf16ps %2, %2, %0")
#  undef BENCH_PAIRS

const std::vector<FmaLevel>& fma_levels() {
  const auto has = [](sampan::Isa isa) { return sampan::isa_available(isa); };  // CPUID and XCR0
  static const std::vector<FmaLevel> levels = {
      {"sse2", "f32", true, 2.0 * 4 * roof_sse2::kAccumulators, roof_sse2::fma, roof_sse2::read},
      {"avx2_fma", "f32", has(sampan::Isa::avx2), 2.0 * 8 * roof_avx2::kAccumulators, roof_avx2::fma, roof_avx2::read},
      {"avx512", "f32", has(sampan::Isa::avx512), 2.0 * 16 * roof_avx512::kAccumulators, roof_avx512::fma, roof_avx512::read},
      {"avx2 int16", "fast", has(sampan::Isa::avx2), roof_avx2_pairs::kFlop, roof_avx2_pairs::fma, nullptr},
      {"avx2vnni int16", "fast", has(sampan::Isa::avx2vnni), roof_avx2_vnni::kFlop, roof_avx2_vnni::fma, nullptr},
      {"avx512 int16", "fast", has(sampan::Isa::avx512), roof_avx512_pairs::kFlop, roof_avx512_pairs::fma, nullptr},
      {"avx512vnni int16", "fast", has(sampan::Isa::avx512vnni), roof_avx512_vnni::kFlop, roof_avx512_vnni::fma, nullptr},
      {"avx512bf16 bf16", "bf16", has(sampan::Isa::avx512bf16), roof_avx512_bf16::kFlop, roof_avx512_bf16::fma, nullptr},
  };
  return levels;
}
#else
namespace roof_portable {
constexpr int kAccumulators = 64;  // 16 vectors of 4 floats, left to the compiler
__attribute__((noinline)) static float fma(long steps, float a, float b) {
  float acc[kAccumulators];
  for (int i = 0; i < kAccumulators; ++i) acc[i] = float(i);
  for (long s = 0; s < steps; ++s)
    for (int i = 0; i < kAccumulators; ++i) acc[i] = acc[i] * a + b;
  float sum = 0;
  for (int i = 0; i < kAccumulators; ++i) sum += acc[i];
  return sum;
}
__attribute__((noinline)) static float read(const float* p, std::size_t n) {
  float acc[kAccumulators] = {};
  for (std::size_t at = 0; at + kAccumulators <= n; at += kAccumulators)
    for (int i = 0; i < kAccumulators; ++i) acc[i] += p[at + std::size_t(i)];
  float sum = 0;
  for (int i = 0; i < kAccumulators; ++i) sum += acc[i];
  return sum;
}
}  // namespace roof_portable

const std::vector<FmaLevel>& fma_levels() {
  static const std::vector<FmaLevel> levels = {{"portable", "f32", true, 2.0 * roof_portable::kAccumulators, roof_portable::fma, roof_portable::read}};
  return levels;
}
#endif

namespace {

/// The last one of a precision that runs; null: none.
const FmaLevel* best_level(std::string_view precision) {
  const FmaLevel* best = nullptr;
  for (const auto& l : fma_levels())
    if (l.runs && l.precision == precision) best = &l;
  return best;
}
double best_rate(std::string_view precision, int threads) {
  const FmaLevel* level = best_level(precision);
  return level ? measure_fma(*level, threads) : 0;
}

std::atomic<float> sink;  // keeps results alive

/// Seconds from the common start of `threads` threads to the end of the last; work(thread) runs on each, this thread included.
template <class F>
double together(int threads, F&& work) {
  std::atomic<int> ready = 0;
  std::atomic<bool> go = false;
  std::vector<std::thread> others;
  for (int t = 1; t < threads; ++t)
    others.emplace_back([&, t] {
      ++ready;
      while (!go.load(std::memory_order_acquire)) {
      }
      work(t);
    });
  while (ready.load() + 1 < threads) {
  }
  const double start = seconds();
  go.store(true, std::memory_order_release);
  work(0);
  for (auto& t : others) t.join();
  return seconds() - start;
}

constexpr double kBurst = 2e-3;  // seconds

/// Two buffers of four last-level caches, first touched by the thread that uses each slice.
struct Memory {
  std::size_t floats;
  std::unique_ptr<float[]> a, b;
  explicit Memory(int threads) : floats(std::max<std::size_t>(last_level_cache() * 4, std::size_t(128) << 20) / sizeof(float)), a(new float[floats]), b(new float[floats]) {
    together(threads, [&](int t) {
      const auto [first, count] = slice(t, threads);
      for (std::size_t i = first; i < first + count; ++i) a[i] = 1, b[i] = 0;
    });
  }
  std::pair<std::size_t, std::size_t> slice(int t, int threads) const {
    const std::size_t each = floats / std::size_t(threads) / 128 * 128;
    return {each * std::size_t(t), each};
  }
};

}  // namespace

double measure_fma(const FmaLevel& level, int threads) {
  const volatile float hidden[] = {0.999f, 0.5f};  // the accumulators approach 500: no overflow, no subnormals
  const float a = hidden[0], b = hidden[1];
  long steps = 1000;
  for (double t = 0; t < kBurst / 2; steps *= 2) {
    const double start = seconds();
    sink = level.kernel(steps, a, b);
    t = seconds() - start;
  }
  double best = 0;
  for (int i = 0; i < kBursts; ++i) {
    const double t = together(threads, [&](int) { sink = level.kernel(steps, a, b); });
    best = std::max(best, level.flop_per_step * double(steps) * threads / t * 1e-9);
  }
  return best;
}

double measure_read(int threads) {
  const Memory m(threads);
  double best = 0;
  for (int i = 0; i < kPasses; ++i) {
    const double t = together(threads, [&](int k) {
      const auto [first, count] = m.slice(k, threads);
      sink = best_level("f32")->read(m.a.get() + first, count);
    });
    best = std::max(best, double(m.slice(0, threads).second) * threads * sizeof(float) / t * 1e-9);
  }
  return best;
}

double measure_copy(int threads) {
  const Memory m(threads);
  double best = 0;
  for (int i = 0; i < kPasses; ++i) {
    const double t = together(threads, [&](int k) {
      const auto [first, count] = m.slice(k, threads);
      std::memcpy(m.b.get() + first, m.a.get() + first, count * sizeof(float));
    });
    sink = m.b[0];
    best = std::max(best, 2.0 * double(m.slice(0, threads).second) * threads * sizeof(float) / t * 1e-9);
  }
  return best;
}

Roof measure_roof(int threads) {
  return {threads, best_level("f32")->name, best_rate("f32", threads), best_rate("fast", threads), best_rate("bf16", threads), measure_read(threads), measure_copy(threads)};
}

}  // namespace bench
