// Options and measurement of harness.hpp; the tables are in report.cpp. Data flow: every bench program -> here -> machine.hpp, roof.hpp.
#include "harness.hpp"

#include "machine.hpp"

#include <sampan/cpu/isa.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <sstream>
#include <tuple>

namespace bench {

void die(const std::string& text) {
  std::fprintf(stderr, "bench: %s\n", text.c_str());
  std::exit(1);
}

double milliseconds_of(const std::function<void()>& f) {
  const double start = seconds();
  f();
  return (seconds() - start) * 1e3;
}

namespace {

constexpr double kShortestTurn = 2e-4;  // seconds; the clock itself costs 3e-8
constexpr double kMaxDrift = 0.02, kMaxWaited = 0.02, kMaxSpread = 0.05;

[[noreturn]] void usage(const std::string& text) {
  std::fprintf(stderr, "bench: %s (--help shows the options)\n", text.c_str());
  std::exit(2);
}

std::vector<std::string> split(const std::string& list) {
  std::vector<std::string> out;
  std::istringstream in(list);
  for (std::string item; std::getline(in, item, ',');)
    if (!item.empty()) out.push_back(item);
  return out;
}

int whole_number(const std::string& option, const std::string& text, int least, int most) {
  char* end = nullptr;
  const long v = std::strtol(text.c_str(), &end, 10);
  if (text.empty() || *end || v < least || v > most) usage(option + " " + text + ": a whole number from " + std::to_string(least) + " to " + std::to_string(most) + " is needed");
  return int(v);
}

double median(std::vector<double> v) {
  if (v.empty()) return kNaN;
  std::sort(v.begin(), v.end());
  const std::size_t n = v.size();
  return n % 2 ? v[n / 2] : 0.5 * (v[n / 2 - 1] + v[n / 2]);
}
double median_deviation(const std::vector<double>& v, double centre) {
  std::vector<double> d;
  for (const double x : v) d.push_back(std::abs(x - centre));
  return median(std::move(d));
}

/// 95% interval of the median by resampling with a fixed generator (splitmix64): the same samples give the same interval.
std::pair<double, double> median_interval(const std::vector<double>& v) {
  constexpr int kDraws = 2000;
  std::uint64_t state = 1;
  const auto next = [&] {
    std::uint64_t z = state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  };
  std::vector<double> medians, sample(v.size());
  for (int i = 0; i < kDraws; ++i) {
    for (double& x : sample) x = v[next() % v.size()];
    medians.push_back(median(sample));
  }
  std::sort(medians.begin(), medians.end());
  return {medians[kDraws / 40], medians[kDraws - 1 - kDraws / 40]};
}

std::string percent(double share) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f%%", share * 100);
  return text;
}

}  // namespace

Harness::Harness(int argc, char** argv, const std::string& about, std::vector<ExtraOption> extra, bool measure_roofs)
    : program_(argv[0]), measure_roofs_(measure_roofs), load_at_start_(load_average()), clock_at_start_(chain_ghz()) {
  program_ = program_.substr(program_.find_last_of('/') + 1);
  std::vector<std::string> known;
  for (int i = 0; i < sampan::kIsaCount; ++i)
    if (sampan::isa_available(sampan::Isa(i))) known.push_back(sampan::isa_name(sampan::Isa(i)));
  std::string isa = "auto", threads = cpu_count() > 1 ? "1," + std::to_string(cpu_count()) : "1";
  std::vector<ExtraOption> options = {
      {"--isa", "LIST", "instruction set levels, from: " + [&] {
         std::string s;
         for (const auto& k : known) s += k + " ";
         return s;
       }() + "auto (the best) all"},
      {"--threads", "LIST", "thread counts (now " + threads + ")"},
      {"--shapes", "LIST", "which networks or shape files"},
      {"--format", "F", "text, json, csv or md"},
      {"--repeat", "N", "measured turns of each row (default: 3 to 15, by duration)"},
      {"--only", "TEXT", "rows whose name contains TEXT"},
  };
  options.insert(options.end(), extra.begin(), extra.end());
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--help" || name == "-h") {
      std::printf("%s: %s\n\n", program_.c_str(), about.c_str());
      for (const auto& o : options) std::printf("  %-22s %s\n", (o.name + " " + o.value).c_str(), o.help.c_str());
      std::exit(0);
    }
    const auto o = std::find_if(options.begin(), options.end(), [&](const ExtraOption& e) { return e.name == name; });
    if (o == options.end()) usage("unknown option " + name);
    std::string value = "yes";
    if (!o->value.empty()) {
      if (i + 1 == argc) usage(name + " needs a value");
      value = argv[++i];
    }
    if (name == "--isa") {
      isa = value;
    } else if (name == "--threads") {
      threads = value;
    } else if (name == "--shapes") {
      shapes_ = split(value);
    } else if (name == "--only") {
      only_ = value;
    } else if (name == "--repeat") {
      repeat_ = whole_number(name, value, 1, 100'000);
    } else if (name == "--format") {
      const auto formats = {std::pair("text", Format::text), std::pair("json", Format::json), std::pair("csv", Format::csv), std::pair("md", Format::md)};
      const auto f = std::find_if(formats.begin(), formats.end(), [&](const auto& p) { return value == p.first; });
      if (f == formats.end()) usage("--format " + value + ": text, json, csv or md");
      format_ = f->second;
    } else {
      given_.emplace_back(name, value);
    }
  }
  for (const auto& name : split(isa == "all" ? [&] {
         std::string s;
         for (const auto& k : known) s += k + ",";
         return s;
       }() : isa)) {
    const std::string level = name == "auto" ? sampan::isa_name(sampan::best_isa()) : name;
    if (std::find(known.begin(), known.end(), level) == known.end()) usage("--isa " + name + ": this machine and build have" + [&] {
      std::string s;
      for (const auto& k : known) s += " " + k;
      return s;
    }());
    isas_.push_back(level);
  }
  for (const auto& t : split(threads)) threads_.push_back(whole_number("--threads", t, 1, 256));
  if (isas_.empty() || threads_.empty()) usage("--isa and --threads need at least one entry");
  if (measure_roofs_ && option(kDevice.name) != kDeviceRow)
    for (const int t : threads_)
      if (std::none_of(roofs_.begin(), roofs_.end(), [&](const Roof& r) { return r.threads == t; })) roofs_.push_back(measure_roof(t));
}

std::string Harness::option(const std::string& name, const std::string& otherwise) const {
  for (const auto& [key, value] : given_)
    if (key == name) return value;
  return otherwise;
}

void Harness::use_device(const std::vector<std::string>& precisions) {
  device_ = measure_device_roof(precisions, whole_number(kRoofSide.name, option(kRoofSide.name, "8192"), 16, 32768));
}

std::vector<Row> Harness::run(std::vector<Case> group) {
  if (group.empty()) return {};
  std::vector<int> calls;  // a turn of something short is the mean of as many calls as fill a fifth of a millisecond
  double slowest = 0;      // the first warm-up turn also tells how long things take
  for (auto& c : group) {
    double s = c.run() * 1e-3;
    if (s < 1) s = c.run() * 1e-3;
    slowest = std::max(slowest, s);
    calls.push_back(int(std::clamp(kShortestTurn / s, 1.0, 1000.0)));
  }
  const auto turn = [&](std::size_t c) {
    double sum = 0;
    for (int i = 0; i < calls[c]; ++i) sum += group[c].run();
    return sum / calls[c];
  };
  const int more = slowest > 1 ? 0 : int(std::clamp(0.5 / slowest, 1.0, 3.0));
  for (int i = 0; i < more; ++i)
    for (std::size_t c = 0; c < group.size(); ++c) turn(c);
  const int repeats = repeat_ ? repeat_ : int(std::clamp(std::floor(6 / slowest), 3.0, 15.0));

  const double clock = chain_ghz(), waited = seconds_waited(), stolen = seconds_stolen(), start = seconds();
  std::vector<std::vector<double>> times(group.size());
  for (int i = 0; i < repeats; ++i)
    for (std::size_t c = 0; c < group.size(); ++c) times[c].push_back(turn(c));
  const int most_threads = std::max_element(group.begin(), group.end(), [](const Case& a, const Case& b) { return a.row.threads < b.row.threads; })->row.threads;
  const double wall = seconds() - start, waited_share = (seconds_waited() - waited) / wall / std::max(most_threads, 1), stolen_share = (seconds_stolen() - stolen) / wall / cpu_count();
  const double drift = chain_ghz() / clock - 1;

  std::vector<Row> rows;
  for (std::size_t c = 0; c < group.size(); ++c) {
    Row r = std::move(group[c].row);
    r.repeats = repeats;
    r.median_ms = median(times[c]);
    r.mad_ms = median_deviation(times[c], r.median_ms);
    r.min_ms = *std::min_element(times[c].begin(), times[c].end());
    if (group.size() > 1) {
      std::vector<double> ratios;
      for (std::size_t i = 0; i < times[c].size(); ++i) ratios.push_back(times[c][i] / times[0][i]);
      r.ratio = median(ratios);
      std::tie(r.ratio_low, r.ratio_high) = median_interval(ratios);
    }
    r.clock_ghz = clock, r.clock_drift = drift, r.waited = waited_share, r.stolen = stolen_share, r.load = load_average();
    if (group[c].check) {
      const Accuracy e = group[c].check();
      r.error = e.relative_l2, r.against = e.against, r.wrong = e.wrong;
      if (r.wrong.empty() && !std::isfinite(r.error)) r.wrong = "the error is not a number";
    }
    judge(r);
    if (!r.wrong.empty()) std::fprintf(stderr, "bench: %s %s, %d threads: WRONG: %s\n", r.name.c_str(), r.isa.c_str(), r.threads, r.wrong.c_str());
    rows.push_back(r);
    rows_.push_back(std::move(r));
  }
  return rows;
}

void Harness::judge(Row& r) const {
  if (std::abs(r.clock_drift) > kMaxDrift) r.noise.push_back("clock drift " + percent(r.clock_drift));
  if (r.waited > kMaxWaited) r.noise.push_back("other processes " + percent(r.waited));
  if (r.stolen > kMaxWaited) r.noise.push_back("hypervisor " + percent(r.stolen));
  if (r.mad_ms > kMaxSpread * r.median_ms) r.noise.push_back("spread " + percent(r.mad_ms / r.median_ms));
}

int Harness::report() {
  for (Roof& r : roofs_) {  // again: what the machine could do while the rows were measured
    const Roof now = measure_roof(r.threads);
    r.fma_gflops = std::max(r.fma_gflops, now.fma_gflops);
    r.fast_gflops = std::max(r.fast_gflops, now.fast_gflops);
    r.bf16_gflops = std::max(r.bf16_gflops, now.bf16_gflops);
    r.read_gbs = std::max(r.read_gbs, now.read_gbs);
    r.copy_gbs = std::max(r.copy_gbs, now.copy_gbs);
  }
  if (!device_.peaks.empty()) {
    const DeviceRoof before = device_;
    std::vector<std::string> precisions;
    for (const auto& [name, value] : before.peaks) precisions.push_back(name);
    use_device(precisions);
    for (auto& [name, value] : device_.peaks) value = std::max(value, before.gflops(name));
    device_.copy_gbs = std::max(device_.copy_gbs, before.copy_gbs);
  }
  switch (format_) {
    case Format::text: print_table(false); break;
    case Format::md: print_table(true); break;
    case Format::csv: print_csv(); break;
    case Format::json: print_json(); break;
  }
  bool good = true;
  for (const Row& r : rows_) {
    if (!r.wrong.empty()) good = false;
    if (r.budget_ms > 0 && !(r.median_ms <= r.budget_ms)) {
      std::fprintf(stderr, "bench: %s: %.0f ms are above the budget of %.0f ms\n", r.name.c_str(), r.median_ms, r.budget_ms);
      good = false;
    }
  }
  if (rows_.empty()) std::fprintf(stderr, "bench: no row matched\n");
  return good && !rows_.empty() ? 0 : 1;
}

double Harness::fma(const Row& row) const {
  if (row.isa == kDeviceRow) return device_.gflops(row.precision) > 0 ? device_.gflops(row.precision) : kNaN;
  for (const Roof& r : roofs_)
    if (const double peak = r.gflops(row.precision); r.threads == row.threads && peak > 0) return peak;
  return kNaN;
}
double Harness::gbs(const Row& row) const {
  if (row.isa == kDeviceRow) return device_.copy_gbs > 0 ? device_.copy_gbs : kNaN;
  for (const Roof& r : roofs_)
    if (r.threads == row.threads) return r.gbs();
  return kNaN;
}

}  // namespace bench
