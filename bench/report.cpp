// Tables of harness.hpp: text, Markdown, CSV, JSON. Data flow: Harness::report -> here -> stdout. Column meanings: README.md.
// Commit, compiler and flags come from CMake (configure time); a build without git says "unknown".
#include "harness.hpp"
#include "machine.hpp"

#include <sampan/version.hpp>

#include <nlohmann/json.hpp>

#include <cmath>

namespace bench {
namespace {

std::string number(double v, const char* format, double factor = 1) {
  if (!std::isfinite(v)) return "-";
  char text[64];
  std::snprintf(text, sizeof text, format, v * factor);
  return text;
}
std::string number_unless_zero(double v, const char* format, double factor = 1) { return v > 0 ? number(v, format, factor) : "-"; }

std::string joined(const std::vector<std::string>& parts) {
  std::string s;
  for (const auto& p : parts) s += (s.empty() ? "" : "; ") + p;
  return s;
}

constexpr const char* kCompiler = SAMPAN_BENCH_COMPILER;
constexpr const char* kFlags = SAMPAN_BENCH_FLAGS;
constexpr const char* kCommit = SAMPAN_BENCH_COMMIT;

/// What a row means against the roof.
struct Derived {
  double gflops, gbs, of_peak, of_roof;
  const char* bound;
};
Derived derive(const Row& r, double fma, double gbs) {
  const double s = r.median_ms * 1e-3;
  Derived d{r.flop / s * 1e-9, r.bytes / s * 1e-9, kNaN, kNaN, "-"};
  const double by_fma = r.flop * 1e-9 / fma, by_memory = r.bytes * 1e-9 / gbs, floor = std::max(by_fma, by_memory);
  if (r.flop > 0) d.of_peak = by_fma / s;
  if (floor > 0) d.of_roof = floor / s, d.bound = by_fma >= by_memory ? "peak" : "memory";
  return d;
}

nlohmann::json or_null(double v) { return std::isfinite(v) ? nlohmann::json(v) : nlohmann::json(); }

}  // namespace

void Harness::print_table(bool markdown) const {
  const char* item = markdown ? "- " : "";
  std::printf("%s%s of sampan %s, commit %s\n", item, program_.c_str(), SAMPAN_VERSION, kCommit);
  std::printf("%s%s, %d cores, last-level cache %zu MiB\n", item, cpu_name().c_str(), cpu_count(), last_level_cache() >> 20);
  std::printf("%sclock %s GHz at the start, %s at the end; load average %s and %s\n", item, number(clock_at_start_, "%.2f").c_str(), number(chain_ghz(), "%.2f").c_str(), number(load_at_start_, "%.2f").c_str(),
              number(load_average(), "%.2f").c_str());
  std::printf("%s%s, %s\n", item, kCompiler, kFlags);
  for (const Roof& r : roofs_)
    std::printf("%sroof, %d thread%s: %.1f GFLOP/s (%s)%s%s, read %.1f GB/s, copy %.1f GB/s\n", item, r.threads, r.threads > 1 ? "s" : "", r.fma_gflops, r.level.c_str(),
                r.fast_gflops > 0 ? number(r.fast_gflops, ", fast %.1f").c_str() : "", r.bf16_gflops > 0 ? number(r.bf16_gflops, ", bf16 %.1f").c_str() : "", r.read_gbs, r.copy_gbs);
  if (!device_.peaks.empty()) {
    std::string peaks;
    for (const auto& [name, value] : device_.peaks) peaks += name + number(value, " %.1f TFLOP/s, ", 1e-3);
    std::printf("%sroof, %s: %scopy %.0f GB/s (%s)\n", item, device_.device.c_str(), peaks.c_str(), device_.copy_gbs, device_.versions.c_str());
  }
  std::printf("\n");

  const bool roofed = !roofs_.empty() || !device_.peaks.empty();
  std::vector<std::vector<std::string>> lines{{"name", "isa", "thr", "n", "median ms", "MAD", "min"}};
  if (roofed) lines[0].insert(lines[0].end(), {"GFLOP", "MB", "GFLOP/s", "% peak", "GB/s", "% roof", "bound"});
  lines[0].insert(lines[0].end(), {"ratio", "error", "notes"});
  for (const Row& r : rows_) {
    const Derived d = derive(r, fma(r), gbs(r));
    const char* ms = r.median_ms < 0.1 ? "%.5f" : r.median_ms < 10 ? "%.3f" : r.median_ms < 1000 ? "%.1f" : "%.0f";
    std::vector<std::string> l{r.name, r.isa.empty() ? "-" : r.isa + " " + r.precision, number_unless_zero(r.threads, "%.0f"), std::to_string(r.repeats), number(r.median_ms, ms), number(r.mad_ms, ms), number(r.min_ms, ms)};
    if (roofed)
      l.insert(l.end(), {number_unless_zero(r.flop, "%.3g", 1e-9), number_unless_zero(r.bytes, "%.3g", 1e-6), number_unless_zero(d.gflops, "%.1f"), number(d.of_peak, "%.1f", 100), number_unless_zero(d.gbs, "%.1f"),
                         number(d.of_roof, "%.1f", 100), d.bound});
    std::string notes;
    for (const auto& [key, value] : r.extra) notes += (notes.empty() ? "" : ", ") + key + " " + number(value, "%.4g");
    if (r.budget_ms > 0) notes += (notes.empty() ? "budget " : ", budget ") + number(r.budget_ms, "%.0f") + " ms";
    if (!r.noise.empty()) notes += (notes.empty() ? "REJECTED: " : ", REJECTED: ") + joined(r.noise);
    if (!r.wrong.empty()) notes += (notes.empty() ? "WRONG: " : ", WRONG: ") + r.wrong;
    const std::string ratio = std::isfinite(r.ratio) ? number(r.ratio, "%.3f") + " [" + number(r.ratio_low, "%.3f") + "," + number(r.ratio_high, "%.3f") + "]" : "-";
    l.insert(l.end(), {ratio, std::isfinite(r.error) ? number(r.error, "%.1e") + " vs " + r.against : "-", notes});
    lines.push_back(std::move(l));
  }
  std::vector<std::size_t> width(lines[0].size());
  for (const auto& l : lines)
    for (std::size_t i = 0; i < l.size(); ++i) width[i] = std::max(width[i], l[i].size());
  const auto is_text = [&](std::size_t i) { return i < 2 || i + 3 >= width.size() || lines[0][i] == "bound"; };
  for (std::size_t n = 0; n < lines.size(); ++n) {
    std::string out = markdown ? "|" : "";
    for (std::size_t i = 0; i < width.size(); ++i) {
      const std::string pad(width[i] - lines[n][i].size(), ' ');
      const std::string cell = is_text(i) ? (i + 1 == width.size() && !markdown ? lines[n][i] : lines[n][i] + pad) : pad + lines[n][i];
      out += markdown ? " " + cell + " |" : (i ? "  " : "") + cell;
    }
    std::printf("%s\n", out.c_str());
    if (markdown && n == 0) {
      std::string rule = "|";
      for (std::size_t i = 0; i < width.size(); ++i) rule += is_text(i) ? "---|" : "--:|";
      std::printf("%s\n", rule.c_str());
    }
  }
}

void Harness::print_csv() const {
  std::printf("program,version,commit,compiler,flags,cpu,name,isa,precision,threads,repeats,median_ms,mad_ms,min_ms,flop,bytes,gflops,of_peak,gbs,of_roof,bound,roof_gflops,roof_gbs,ratio,ratio_low,ratio_high,"
              "error,against,clock_ghz,clock_drift,waited,stolen,load,budget_ms,noise,wrong,extra\n");
  const auto text = [](std::string s) {
    for (std::size_t i = 0; (i = s.find('"', i)) != std::string::npos; i += 2) s.insert(i, 1, '"');
    return "\"" + s + "\"";
  };
  const auto n = [](double v) { return std::isfinite(v) ? number(v, "%.9g") : std::string(); };
  for (const Row& r : rows_) {
    const Derived d = derive(r, fma(r), gbs(r));
    std::string extra;
    for (const auto& [key, value] : r.extra) extra += (extra.empty() ? "" : ";") + key + "=" + n(value);
    std::string line;
    for (const std::string& field :
         {text(program_), text(SAMPAN_VERSION), text(kCommit), text(kCompiler), text(kFlags), text(cpu_name()), text(r.name), text(r.isa), text(r.precision), n(r.threads), n(r.repeats), n(r.median_ms), n(r.mad_ms),
          n(r.min_ms), n(r.flop), n(r.bytes), n(d.gflops), n(d.of_peak), n(d.gbs), n(d.of_roof), text(d.bound), n(fma(r)), n(gbs(r)), n(r.ratio), n(r.ratio_low), n(r.ratio_high), n(r.error),
          text(r.against), n(r.clock_ghz), n(r.clock_drift), n(r.waited), n(r.stolen), n(r.load), n(r.budget_ms), text(joined(r.noise)), text(r.wrong), text(extra)})
      line += (line.empty() ? "" : ",") + field;
    std::printf("%s\n", line.c_str());
  }
}

void Harness::print_json() const {
  nlohmann::json j;
  j["program"] = program_;
  j["build"] = {{"version", SAMPAN_VERSION}, {"commit", kCommit}, {"compiler", kCompiler}, {"flags", kFlags}};
  j["machine"] = {{"cpu", cpu_name()},
                  {"cores", cpu_count()},
                  {"last_level_cache", last_level_cache()},
                  {"clock_ghz", {or_null(clock_at_start_), or_null(chain_ghz())}},
                  {"load_average", {or_null(load_at_start_), or_null(load_average())}}};
  j["roofs"] = nlohmann::json::array();
  for (const Roof& r : roofs_) j["roofs"].push_back({{"threads", r.threads}, {"level", r.level}, {"fma_gflops", r.fma_gflops}, {"fast_gflops", r.fast_gflops}, {"bf16_gflops", r.bf16_gflops}, {"read_gbs", r.read_gbs}, {"copy_gbs", r.copy_gbs}});
  if (!device_.peaks.empty()) {
    j["device"] = {{"name", device_.device}, {"versions", device_.versions}, {"copy_gbs", device_.copy_gbs}};
    for (const auto& [name, value] : device_.peaks) j["device"]["gflops"][name] = value;
  }
  j["rows"] = nlohmann::json::array();
  for (const Row& r : rows_) {
    const Derived d = derive(r, fma(r), gbs(r));
    nlohmann::json row = {{"name", r.name},
                          {"isa", r.isa},
                          {"precision", r.precision},
                          {"threads", r.threads},
                          {"repeats", r.repeats},
                          {"median_ms", or_null(r.median_ms)},
                          {"mad_ms", or_null(r.mad_ms)},
                          {"min_ms", or_null(r.min_ms)},
                          {"flop", r.flop},
                          {"bytes", r.bytes},
                          {"gflops", or_null(d.gflops)},
                          {"of_peak", or_null(d.of_peak)},
                          {"gbs", or_null(d.gbs)},
                          {"of_roof", or_null(d.of_roof)},
                          {"bound", d.bound},
                          {"ratio", {or_null(r.ratio), or_null(r.ratio_low), or_null(r.ratio_high)}},
                          {"error", or_null(r.error)},
                          {"against", r.against},
                          {"clock_ghz", or_null(r.clock_ghz)},
                          {"clock_drift", or_null(r.clock_drift)},
                          {"waited", r.waited},
                          {"stolen", r.stolen},
                          {"load", or_null(r.load)},
                          {"rejected", !r.noise.empty()},
                          {"noise", r.noise},
                          {"wrong", r.wrong}};
    if (r.budget_ms > 0) row["budget_ms"] = r.budget_ms;
    for (const auto& [key, value] : r.extra) row["extra"][key] = or_null(value);
    j["rows"].push_back(std::move(row));
  }
  std::printf("%s\n", j.dump(1).c_str());
}

}  // namespace bench
