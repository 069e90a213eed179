// --json: what a run found, how long it took, what it ran on. Data flow: segment.cpp, encode.cpp -> here -> stdout.
// {"objects": [{"label", "box", "area", "predicted_iou", "stability"}], "timings_ms": {...}, "peak_memory_mib", "model": {...}, "engine": {...}}
// "box" is the extent of the mask, first and one past the last pixel, null if the mask is empty; "load" is reading weights and image (or embedding);
// the other times are medians over --repeat. A number that does not exist is null. Objects of a prompts file keep their "name"; --multimask adds "candidates".
#pragma once
#include "engine.hpp"

#include <sampan/version.hpp>

#include <sys/resource.h>

namespace sampan::cli {

using Report = nlohmann::ordered_json;

/// The shortest decimal that is this f32: 0.93 instead of 0.93000000715.
inline double short_decimal(float f) {
  char digits[32];
  const auto r = std::to_chars(digits, digits + sizeof digits, f);
  double v = f;
  std::from_chars(digits, r.ptr, v);
  return v;
}

inline Report candidate_report(const Candidate& c) {
  Report j;
  j["box"] = c.area ? Report::array({c.extent.x0, c.extent.y0, c.extent.x1, c.extent.y1}) : Report(nullptr);
  j["area"] = c.area;
  j["predicted_iou"] = short_decimal(c.predicted_iou);
  j["stability"] = short_decimal(c.stability);
  return j;
}

inline Report object_report(int label, const std::string& name, const Prediction& p) {
  Report j;
  j["label"] = label;
  if (!name.empty()) j["name"] = name;
  j.update(candidate_report(p.best()));
  if (p.candidates.size() > 1) {
    j["selected"] = p.selected;
    for (const Candidate& c : p.candidates) j["candidates"].push_back(candidate_report(c));
  }
  return j;
}

/// Highest resident memory of this process so far.
inline double peak_memory_mib() {
  struct rusage u = {};
  getrusage(RUSAGE_SELF, &u);
  return double(u.ru_maxrss) / 1024;  // Linux counts in KiB
}

/// What a report says of a model.
struct ModelIdentity {
  std::string family, sha256, licence;
};

inline Report run_report(const Options& o, const ModelIdentity& model, const Times& t, Report objects) {
  Report j;
  j["objects"] = std::move(objects);
  j["timings_ms"] = {{"load", t.load},           {"preprocess", median(t.preprocess)},   {"encode", median(t.encode)},
                     {"decode", median(t.decode)}, {"postprocess", median(t.postprocess)}, {"write", t.write}};
  j["peak_memory_mib"] = peak_memory_mib();
  j["model"] = {{"family", model.family}, {"sha256", model.sha256}, {"licence", model.licence}};
  const auto isas = available_isas();
  const std::string isa = o.load.device == Device::reference ? "none" : o.load.isa == "auto" && !isas.empty() ? isas.back() : o.load.isa;
  j["engine"] = {{"version", SAMPAN_VERSION}, {"device", o.device}, {"isa", isa}, {"threads", o.load.threads}, {"precision", o.precision}};
  return j;
}

inline Report run_report(const Options& o, const Model& model, const Times& t, Report objects) {
  return run_report(o, {model.info().family, must(model.try_sha256(), Source::model), model.info().licence}, t, std::move(objects));
}

/// One object on stdout. Throws Failure{bad_file} if stdout does not take it.
inline void print(const Report& j) {
  const std::string text = j.dump(2, ' ', false, Report::error_handler_t::replace) + "\n";
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) throw Failure{Exit::bad_file, "cannot write the JSON to stdout"};
}

}  // namespace sampan::cli
