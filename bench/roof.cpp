// bench_roof: the ceilings of this machine, every vector level and thread count. Data flow: roof.hpp -> here; the other programs measure theirs themselves.
//   bench_roof --threads 1,2 --format md
// Percent of peak stands at 100 for the widest level of each precision. Rows of multiply-adds and memory carry the FLOP or bytes of one second at the measured rate, so that the columns mean the same as in every other table.
#include "harness.hpp"

int main(int argc, char** argv) {
  bench::Harness h(argc, argv, "peak of multiply-adds at each vector level, in f32 and on 16-bit pairs; memory read and copy");
  for (const int threads : h.threads()) {
    const auto row = [&](std::string name, double gflops, double gbs, int repeats, const char* precision = "f32") {
      bench::Row r;
      r.name = std::move(name);
      r.threads = threads;
      r.precision = precision;
      r.repeats = repeats;
      r.flop = gflops * 1e9, r.bytes = gbs * 1e9;
      r.median_ms = r.min_ms = 1000;
      h.add(std::move(r));
    };
    for (const auto& level : bench::fma_levels())
      if (level.runs) row(std::string(level.precision == std::string("f32") ? "fma " : "pairs ") + level.name, bench::measure_fma(level, threads), 0, bench::kBursts, level.precision);
    row("read", 0, bench::measure_read(threads), bench::kPasses);
    row("copy", 0, bench::measure_copy(threads), bench::kPasses);
  }
  return h.report();
}
