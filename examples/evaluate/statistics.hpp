// Means, quantiles and confidence intervals of scores. Data flow: scores per mask, each with its patient -> here -> tables and report.
// Undefined scores (NaN) are left out and counted; an infinite distance makes a mean infinite, so it is left out of mean and interval and counted apart.
// Bootstrap: patients are drawn with replacement (masks of one patient are not independent), the statistic is the mean over all masks of those drawn, the interval is that of
//   percentiles. Draws: numpy.random.default_rng(seed).integers(0, patients, (repeats, patients)); quantiles as numpy.quantile (linear).
// Cost: repeats * patients draws.
#pragma once
#include "numpy_random.hpp"

#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <string>

namespace sampan::inline SAMPAN_ABI::evaluate {

struct Score {
  double value = 0;
  std::string patient, label, scan;  ///< `scan`: the case
};

/// NaN of nothing. `sorted` ascends.
inline double quantile(const std::vector<double>& sorted, double q) {
  if (sorted.empty()) return std::numeric_limits<double>::quiet_NaN();
  const double at = q * double(sorted.size() - 1);
  const auto low = std::size_t(at);
  const double a = sorted[low], b = sorted[std::min(low + 1, sorted.size() - 1)], t = at - double(low);
  return t >= 0.5 ? b - (b - a) * (1 - t) : a + (b - a) * t;  // numpy's lerp
}

struct Interval {
  double low = 0, high = 0;
};

/// Nothing with fewer than two patients. Values must be finite.
inline std::optional<Interval> bootstrap(const std::vector<Score>& scores, std::size_t repeats, std::uint64_t seed, double confidence) {
  std::map<std::string, std::size_t> number;
  std::vector<double> sum, count;
  for (const Score& s : scores) {  // patients in the order of their first mask
    const auto [at, fresh] = number.emplace(s.patient, sum.size());
    if (fresh) sum.push_back(0), count.push_back(0);
    sum[at->second] += s.value, count[at->second] += 1;
  }
  if (sum.size() < 2 || repeats == 0) return std::nullopt;
  Pcg64 rng(seed);
  std::vector<double> means(repeats);
  for (double& m : means) {
    double a = 0, b = 0;
    for (std::size_t k = 0; k < sum.size(); ++k) {
      const auto i = std::size_t(rng.integers(0, std::int64_t(sum.size())));
      a += sum[i], b += count[i];
    }
    m = a / b;
  }
  std::sort(means.begin(), means.end());
  return Interval{quantile(means, (1 - confidence) / 2), quantile(means, (1 + confidence) / 2)};
}

struct Summary {
  std::size_t count = 0, undefined = 0, infinite = 0, patients = 0;  ///< count: finite values, those of which the numbers below are
  double mean = std::numeric_limits<double>::quiet_NaN(), deviation = mean, low = mean, quarter = mean, median = mean, three_quarters = mean, high = mean;
  double class_mean = mean, case_mean = mean;  ///< every class, or every case, counts once
  std::optional<Interval> interval;            ///< of the mean
};

struct BootstrapOptions {
  std::size_t repeats = 2000;
  std::uint64_t seed = 0;
  double confidence = 0.95;
};

inline Summary summarize(const std::vector<Score>& all, const BootstrapOptions& o) {
  Summary s;
  std::vector<Score> kept;
  for (const Score& x : all) {
    if (std::isnan(x.value)) ++s.undefined;
    else if (std::isinf(x.value)) ++s.infinite;
    else kept.push_back(x);
  }
  s.count = kept.size();
  if (kept.empty()) return s;
  std::vector<double> v;
  double sum = 0;
  std::map<std::string, std::pair<double, double>> classes, cases, patients;
  for (const Score& x : kept) {
    v.push_back(x.value), sum += x.value;
    for (auto [map, key] : {std::pair(&classes, &x.label), std::pair(&cases, &x.scan), std::pair(&patients, &x.patient)}) (*map)[*key].first += x.value, (*map)[*key].second += 1;
  }
  s.patients = patients.size();
  s.mean = sum / double(v.size());
  double squares = 0;
  for (const double x : v) squares += (x - s.mean) * (x - s.mean);
  if (v.size() > 1) s.deviation = std::sqrt(squares / double(v.size() - 1));
  std::sort(v.begin(), v.end());
  s.low = v.front(), s.quarter = quantile(v, 0.25), s.median = quantile(v, 0.5), s.three_quarters = quantile(v, 0.75), s.high = v.back();
  const auto mean_of = [](const auto& groups) {
    double total = 0;
    for (const auto& [key, g] : groups) total += g.first / g.second;
    return total / double(groups.size());
  };
  s.class_mean = mean_of(classes), s.case_mean = mean_of(cases);
  s.interval = bootstrap(kept, o.repeats, o.seed, o.confidence);
  return s;
}

}  // namespace sampan::inline SAMPAN_ABI::evaluate
