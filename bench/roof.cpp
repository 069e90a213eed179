// bench_roof: the ceilings of this machine, every vector level and thread count. Data flow: roof.hpp -> here; the other programs measure theirs themselves.
//   bench_roof --threads 1,2 --format md
// Rows of fma and memory carry the FLOP or bytes of one second at the measured rate, so that the columns mean the same as in every other table.
#include "harness.hpp"

int main(int argc, char** argv) {
  bench::Harness h(argc, argv, "FMA peak at each vector level, memory read and copy");
  for (const int threads : h.threads()) {
    const auto row = [&](std::string name, double gflops, double gbs, int repeats) {
      bench::Row r;
      r.name = std::move(name);
      r.threads = threads;
      r.repeats = repeats;
      r.flop = gflops * 1e9, r.bytes = gbs * 1e9;
      r.median_ms = r.min_ms = 1000;
      h.add(std::move(r));
    };
    for (const auto& level : bench::fma_levels())
      if (level.runs) row(std::string("fma ") + level.name, bench::measure_fma(level, threads), 0, bench::kBursts);
    row("read", 0, bench::measure_read(threads), bench::kPasses);
    row("copy", 0, bench::measure_copy(threads), bench::kPasses);
  }
  return h.report();
}
