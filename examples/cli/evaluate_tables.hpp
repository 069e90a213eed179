// From rows to what is published: CSV with one line per mask, prompt and rule; JSON with every setting and all summaries; a short table for the terminal.
// Data flow: journal -> here -> masks.csv, report.json, stdout; evaluate_html.hpp draws the same groups.
// An undefined number is an empty cell in CSV and null in JSON; an infinite distance is "inf". A failure is a mask whose Dice is below 0.5.
#pragma once
#include "dataset.hpp"
#include "evaluate_journal.hpp"

namespace sampan::cli {

inline constexpr double kFailureDice = 0.5;

/// Rows that are summarized together.
struct EvaluateGroup {
  std::string prompt;
  int step = 1;
  Rule rule = Rule::single;
  struct Entry {
    const EvaluateResult* mask;
    const EvaluateRow* row;
  };
  std::vector<Entry> entries;

  std::size_t failures() const {
    return std::size_t(std::count_if(entries.begin(), entries.end(), [](const Entry& e) { return e.row->scores[0] < kFailureDice; }));
  }
};

/// Names of the scores, and which of them are summarized.
struct ScoreNames {
  std::vector<std::string> all;
  std::vector<std::size_t> summarized;
  explicit ScoreNames(const metrics::CompareOptions& o) {
    for (const auto& named : metrics::named_scores(metrics::Scores{}, o)) {
      const std::string name = named.first;
      if (name.rfind("volume", 0) != 0 && name.rfind("relative", 0) != 0 && name.rfind("asd", 0) != 0) summarized.push_back(all.size());
      all.push_back(name);
    }
  }
  std::size_t find(std::string_view name) const { return std::size_t(std::find(all.begin(), all.end(), name) - all.begin()); }
};

/// In the order of the prompts, then steps, then rules.
inline std::vector<EvaluateGroup> group_rows(const std::vector<EvaluateResult>& results, const EvaluatePlan& plan) {
  std::vector<EvaluateGroup> out;
  for (const PromptSpec& s : plan.prompts) {
    std::map<std::pair<int, Rule>, EvaluateGroup> groups;
    for (const EvaluateResult& r : results)
      for (const EvaluateRow& w : r.rows)
        if (w.prompt == s.name) groups[{w.step, w.rule}].entries.push_back({&r, &w});
    for (auto& [key, g] : groups) {
      g.prompt = s.name, g.step = key.first, g.rule = key.second;
      out.push_back(std::move(g));
    }
  }
  return out;
}

inline std::vector<evaluate::Score> scores_of(const EvaluateGroup& g, std::size_t score, const Dataset& d, const std::string& label = {}) {
  std::vector<evaluate::Score> out;
  for (const auto& e : g.entries) {
    const ImageEntry& image = d.images[e.mask->image];
    if (label.empty() || e.mask->label == label) out.push_back({e.row->scores[score], image.patient, e.mask->label, image.scan});
  }
  return out;
}

/// Labels in the order in which they appear.
inline std::vector<std::string> labels_of(const std::vector<EvaluateResult>& results) {
  std::vector<std::string> out;
  for (const EvaluateResult& r : results)
    if (!r.rows.empty() && std::find(out.begin(), out.end(), r.label) == out.end()) out.push_back(r.label);
  std::sort(out.begin(), out.end());
  return out;
}

/// Is this the group of its prompt that stands for it: the headline rule, or the only one, after the last click?
inline bool stands_for_prompt(const EvaluateGroup& g, const EvaluatePlan& plan) {
  for (const PromptSpec& s : plan.prompts)
    if (s.name == g.prompt && g.step == (s.iterative() ? s.count : 1)) return g.rule == plan.headline() || g.rule == Rule::single || (s.kind == PromptKind::everything);
  return false;
}

inline std::string csv_cell(const std::string& s) {
  if (s.find_first_of(",\"\n\r") == std::string::npos) return s;
  std::string out = "\"";
  for (const char c : s) out += c == '"' ? std::string("\"\"") : std::string(1, c);
  return out + "\"";
}
inline std::string csv_cell(double v) {
  if (std::isnan(v)) return {};
  if (std::isinf(v)) return v > 0 ? "inf" : "-inf";
  char digits[32];
  return std::string(digits, std::to_chars(digits, digits + sizeof digits, v).ptr);
}

inline std::string csv_of(const std::vector<EvaluateResult>& results, const Dataset& d, const ScoreNames& names) {
  std::string out = "image,case,patient,modality,label,instance,prompt,repetition,step,rule,candidate,predicted_iou,stability,area_truth,area";
  for (const auto& n : names.all) out += "," + n;
  out += ",given\n";
  for (const EvaluateResult& r : results) {
    const ImageEntry& image = d.images[r.image];
    for (const EvaluateRow& w : r.rows) {
      for (const std::string& s : {image.name, image.scan, image.patient, image.modality, r.label}) out += csv_cell(s) + ",";
      out += cat(r.instance, ",", csv_cell(w.prompt), ",", w.repetition, ",", w.step, ",", evaluate::to_string(w.rule), ",", w.candidate, ",", csv_cell(w.predicted_iou), ",", csv_cell(w.stability), ",", r.area, ",", w.area);
      for (const double v : w.scores) out += "," + csv_cell(v);
      out += "," + csv_cell(w.said) + "\n";
    }
  }
  return out;
}

inline Report summary_report(const evaluate::Summary& s, bool whole) {
  const auto number = [](double v) { return std::isfinite(v) ? Report(v) : Report(nullptr); };
  Report j = {{"count", s.count}, {"undefined", s.undefined}, {"infinite", s.infinite}, {"mean", number(s.mean)}, {"std", number(s.deviation)}, {"min", number(s.low)}, {"q25", number(s.quarter)}, {"median", number(s.median)}, {"q75", number(s.three_quarters)}, {"max", number(s.high)}};
  if (whole) j["class_mean"] = number(s.class_mean), j["case_mean"] = number(s.case_mean);
  j["interval"] = s.interval ? Report{s.interval->low, s.interval->high} : Report(nullptr);
  return j;
}

/// "results" of report.json.
inline Report results_report(const std::vector<EvaluateGroup>& groups, const std::vector<EvaluateResult>& results, const Dataset& d, const EvaluatePlan& plan, const ScoreNames& names) {
  const auto labels = labels_of(results);
  Report all = Report::array();
  for (const EvaluateGroup& g : groups) {
    stop_if_interrupted();
    Report j = {{"prompt", g.prompt}, {"step", g.step}, {"rule", evaluate::to_string(g.rule)}, {"headline", stands_for_prompt(g, plan)}, {"masks", g.entries.size()}, {"failures", g.failures()}};
    for (const std::size_t i : names.summarized) j[names.all[i]] = summary_report(evaluate::summarize(scores_of(g, i, d), plan.bootstrap), true);
    for (const auto& label : labels)
      for (const std::size_t i : names.summarized) {
        const bool main = names.all[i] == "dice" || names.all[i] == "nsd";  // intervals where people look for them: drawing costs
        j["labels"][label][names.all[i]] = summary_report(evaluate::summarize(scores_of(g, i, d, label), main ? plan.bootstrap : evaluate::BootstrapOptions{0, 0, 0.95}), false);
      }
    std::map<std::string, std::vector<evaluate::Score>> modalities, cases;
    for (const auto& e : g.entries) {
      const ImageEntry& image = d.images[e.mask->image];
      const evaluate::Score s{e.row->scores[0], image.patient, e.mask->label, image.scan};
      modalities[image.modality].push_back(s), cases[image.scan].push_back(s);
    }
    for (const auto& [name, s] : modalities)
      if (!name.empty()) j["modalities"][name] = {{"dice", summary_report(evaluate::summarize(s, plan.bootstrap), false)}};
    for (const auto& [name, s] : cases) {
      const auto c = evaluate::summarize(s, {0, 0, 0.95});
      j["cases"][name] = {{"masks", c.count}, {"dice", std::isfinite(c.mean) ? Report(c.mean) : Report(nullptr)}};
    }
    all.push_back(std::move(j));
  }
  return all;
}

inline std::string fixed(double v, int digits) {
  if (std::isnan(v)) return "-";
  char text[40];
  std::snprintf(text, sizeof text, "%.*f", digits, v);
  return text;
}

/// Mean Dice per label and prompt; the last lines are over all masks.
inline std::string terminal_table(const std::vector<EvaluateGroup>& groups, const std::vector<EvaluateResult>& results, const Dataset& d, const EvaluatePlan& plan, const ScoreNames& names) {
  std::vector<std::vector<std::string>> rows = {{"mean Dice", "masks"}};
  const auto labels = labels_of(results);
  for (const auto& label : labels) rows.push_back({label, ""});
  for (const char* last : {"all masks", "95% interval", "every class once", "NSD, all masks", "Dice below 0.5"}) rows.push_back({last, ""});
  for (const EvaluateGroup& g : groups) {
    if (!stands_for_prompt(g, plan)) continue;
    std::size_t at = 0;
    rows[at++].push_back(cat(g.prompt, " (", evaluate::to_string(g.rule), ")"));
    for (const auto& label : labels) {
      const auto s = scores_of(g, 0, d, label);
      std::set<std::pair<std::size_t, int>> masks;
      for (const auto& e : g.entries)
        if (e.mask->label == label) masks.insert({e.mask->image, e.mask->instance});
      rows[at][1] = std::to_string(masks.size());
      rows[at++].push_back(fixed(evaluate::summarize(s, {0, 0, 0.95}).mean, 3));
    }
    const auto all = evaluate::summarize(scores_of(g, 0, d), plan.bootstrap);
    rows[at].push_back(fixed(all.mean, 3));
    rows[at++][1] = std::to_string(std::count_if(results.begin(), results.end(), [](const auto& r) { return !r.rows.empty(); }));
    rows[at++].push_back(all.interval ? cat(fixed(all.interval->low, 3), "-", fixed(all.interval->high, 3)) : std::string("-"));
    rows[at++].push_back(fixed(all.class_mean, 3));
    rows[at++].push_back(fixed(evaluate::summarize(scores_of(g, names.find("nsd"), d), {0, 0, 0.95}).mean, 3));
    rows[at].push_back(cat(g.failures(), " of ", g.entries.size()));
  }
  std::vector<std::size_t> width(rows[0].size(), 0);
  for (const auto& r : rows)
    for (std::size_t i = 0; i < r.size(); ++i) width[i] = std::max(width[i], r[i].size());
  std::string out;
  for (const auto& r : rows) {
    for (std::size_t i = 0; i < r.size(); ++i) out += (i ? "  " + std::string(width[i] - r[i].size(), ' ') : std::string()) + r[i] + (i ? std::string() : std::string(width[i] - r[i].size(), ' '));
    out += "\n";
  }
  return out;
}

}  // namespace sampan::cli
