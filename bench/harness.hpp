// The harness of every benchmark: options, timing, noise, report. Data flow: gemm.cpp, encoder.cpp, ... -> here -> a table on stdout.
//
// How it measures (kernels.md section 5; README.md says how to read the result):
//   group       variants of one thing (ISA levels, thread counts) run in turn, A B A B, so that a disturbance hits all of them; the ratio of each row to the first
//               row of its group is the median of the per-turn ratios, with a 95% interval from resampling them
//   warm-up     1 to 5 turns; then 3 to 15 measured turns, fewer for slow things (--repeat N overrides); the row says how many
//   turn        one call; of something shorter than 0.2 ms the mean of enough calls to fill that
//   time        median, median absolute deviation, minimum
//   roof        measured at the start and at the end of the run (roof.hpp); the better one counts
//   noise       clock before and after a group (a drift above 2%), time that other processes took from our threads or the hypervisor from the machine (above 2%),
//               spread of the turns (MAD above 5%): such rows are marked as rejected, with the reason, and stay in the table
//   error       every row carries the error of the same build; a NaN or an error beyond its derived bound fails the program (exit 1)
// Deliberately absent: pinning (the engine's threads are its own), outlier removal.
#pragma once
#include "roof.hpp"

#include <sampan/core/error.hpp>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace bench {

inline constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// `isa` of a row that ran on a CUDA device, whose roofs use_device() measures.
inline constexpr const char* kDeviceRow = "cuda";

/// One line of the table. Sizes 0 and NaN mean "does not apply" and print as a dash.
struct Row {
  std::string name, isa, precision = "f32";
  int threads = 0;
  double flop = 0, bytes = 0;  ///< useful FLOP and least bytes of one run
  double error = kNaN;         ///< relative L2 error of this build's result...
  std::string against;         ///< ... against this
  std::string wrong;           ///< why the result cannot be right; fails the program
  double budget_ms = 0;        ///< above it the program fails; 0: none
  std::vector<std::pair<std::string, double>> extra;  ///< more numbers: peak_mib, load_ms, ...
  // Filled by the harness.
  int repeats = 0;
  double median_ms = kNaN, mad_ms = kNaN, min_ms = kNaN;
  double ratio = kNaN, ratio_low = kNaN, ratio_high = kNaN;  ///< time over that of the group's first row
  double clock_ghz = kNaN, clock_drift = kNaN, waited = 0, stolen = 0, load = kNaN;
  std::vector<std::string> noise;  ///< empty: accepted
};

/// Error of a result: relative L2 against `against`, and `wrong` if it is NaN or beyond what rounding can explain.
struct Accuracy {
  double relative_l2 = kNaN;
  std::string against, wrong;
};

/// One thing to measure. `run` does it once and gives the milliseconds; `check` judges the result that the last run left.
struct Case {
  Row row;
  std::function<double()> run;
  std::function<Accuracy()> check;
};

/// Milliseconds of f().
double milliseconds_of(const std::function<void()>& f);

struct ExtraOption {
  std::string name, value, help;  ///< "--model", "FILE", "..."; an empty value makes it a switch
};
inline const ExtraOption kDevice{"--device", "NAME", "cpu, or cuda where build and machine have it (default cpu)"};
inline const ExtraOption kRoofSide{"--roof-side", "N", "side of the products that measure the peak of a device (default 8192)"};

class Harness {
 public:
  /// Parses the options; --help and mistakes end the program (0, 2). Measures the roof of each thread count unless `measure_roofs` is false or --device says cuda.
  Harness(int argc, char** argv, const std::string& about, std::vector<ExtraOption> extra = {}, bool measure_roofs = true);

  const std::vector<std::string>& isas() const { return isas_; }   ///< names that LoadOptions::isa accepts
  const std::vector<int>& threads() const { return threads_; }
  /// --shapes, or `all` if not given.
  std::vector<std::string> shapes(const std::vector<std::string>& all) const { return shapes_.empty() ? all : shapes_; }
  /// Value of an extra option, or `otherwise`; a switch that is given has the value "yes".
  std::string option(const std::string& name, const std::string& otherwise = {}) const;
  /// False if --only TEXT is given and does not occur in `name`.
  bool wanted(const std::string& name) const { return only_.empty() || name.find(only_) != std::string::npos; }

  /// Rows of kDeviceRow are compared with the device's roofs in these precisions. Ends the program where there is no device.
  void use_device(const std::vector<std::string>& precisions);

  /// Measures a group and appends its rows; gives them back.
  std::vector<Row> run(std::vector<Case> group);
  /// Appends a row that was measured elsewhere.
  void add(Row row) { rows_.push_back(std::move(row)); }
  /// Adds numbers to the last row.
  void note(std::vector<std::pair<std::string, double>> extra) { rows_.back().extra.insert(rows_.back().extra.end(), extra.begin(), extra.end()); }
  /// Prints everything; 0, or 1 if a row is wrong or above its budget.
  int report();

 private:
  enum class Format { text, json, csv, md };
  void judge(Row& row) const;
  double fma(const Row& row) const;
  double gbs(const Row& row) const;
  void print_table(bool markdown) const;
  void print_csv() const;
  void print_json() const;

  std::string program_, only_;
  std::vector<std::string> isas_, shapes_;
  std::vector<int> threads_;
  std::vector<std::pair<std::string, std::string>> given_;
  Format format_ = Format::text;
  int repeat_ = 0;
  bool measure_roofs_;
  double load_at_start_, clock_at_start_;
  std::vector<Roof> roofs_;
  DeviceRoof device_;  // no device: no peaks
  std::vector<Row> rows_;
};

/// Prints "bench: TEXT" to stderr and ends the program with code 1.
[[noreturn]] void die(const std::string& text);

/// The value of a Result, or the end of the program with its message.
template <class T>
T take(sampan::Result<T> r) {
  if (!r) die(r.error().message());
  return *std::move(r);
}
inline void take(const sampan::Status& s) {
  if (!s) die(s.error().message());
}

}  // namespace bench
