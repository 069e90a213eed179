// sampan evaluate --protocol cvpr24-laptop: a folder of npz cases to segmentations, scores and wall time per case, as the CVPR 2024 challenge "MedSAM on Laptop" measures them.
// Data flow: FOLDER/*.npz -> run_volume, once per case -> OUT/segs/*.npz -> scores against `gts` of the case, or of the file of the same name in --truth -> cases.csv, report.json.
// Time is that of a whole call, reading the weights included, since the challenge starts a container per case; the start of the process (milliseconds) is not in it.
// Sources: CVPR24_time_eval.py and evaluation/compute_metrics.py of bowang-lab/MedSAM. Scores are means over labels 1 to the largest of the truth; a label that neither holds
// makes the case undefined, as there. Quirks of that code (examples/evaluate/protocol.hpp) are on unless --without names them.
// Deliberately absent: containers, the 2025 challenge's rounds of clicks.
#pragma once
#include "commands.hpp"
#include "evaluate_tables.hpp"
#include "npz_labels.hpp"

#include <sampan/metrics/surface.hpp>

namespace sampan::cli {
namespace cvpr24 {

struct CaseScores {
  double dsc = metrics::kUndefined, nsd = metrics::kUndefined;
};

inline CaseScores score(const NpzLabels& seg, NpzLabels truth, const std::string& path, const EvaluatePlan& plan, ThreadPool& pool) {
  if (seg.voxels.size() != truth.voxels.size() || seg.shape != truth.shape) throw Failure{Exit::bad_file, cat(path, ": the truth has another shape than the segmentation")};
  // [H, W] as a volume whose last axis has one voxel: its surface has a top and a bottom, all of it within reach.
  if (truth.flat && plan.quirk("flat-as-volume")) truth.shape = {truth.shape[1], truth.shape[2], 1};
  metrics::Grid grid{truth.flat && !plan.quirk("flat-as-volume") ? 2 : 3, {1, 1, 1}};
  const std::array<double, 3> stored = truth.spacing.value_or(std::array<double, 3>{1, 1, 1});
  if (!truth.flat) grid.spacing = plan.quirk("spacing-as-stored") ? stored : std::array<double, 3>{stored[2], stored[1], stored[0]};
  const int labels = truth.voxels.empty() ? 0 : *std::max_element(truth.voxels.begin(), truth.voxels.end());
  if (labels == 0) return {};
  std::vector<std::uint8_t> p(seg.voxels.size()), g(p);
  const metrics::MaskView pv(p.data(), truth.shape), gv(g.data(), truth.shape);
  const auto select = [&](int label) {
    for (std::size_t i = 0; i < p.size(); ++i) p[i] = seg.voxels[i] == label, g[i] = truth.voxels[i] == label;
    must(metrics::check(pv, gv, grid), Source::file);
  };
  double dice = 0, nsd = 0;
  for (int label = 1; label <= labels; ++label) select(label), dice += metrics::overlap(pv, gv).dice();
  dice /= labels;
  if (plan.quirk("nsd-needs-dice") && !(dice > 0.2)) return {dice, 0};
  for (int label = 1; label <= labels; ++label) {
    stop_if_interrupted();
    select(label);
    nsd += metrics::surface_dice(metrics::surface_distances(pv, gv, grid, pool), plan.compare.tolerance);
  }
  return {dice, nsd / labels};
}

/// "CT" of 3DBox_CT_0001.npz; the challenge's names.
inline std::string modality_of(const std::string& name) {
  const auto from = name.find('_');
  const auto to = from == std::string::npos ? from : name.find('_', from + 1);
  return to == std::string::npos ? std::string() : name.substr(from + 1, to - from - 1);
}

}  // namespace cvpr24

inline void run_cvpr24(const Options& o, const EvaluatePlan& plan) {
  namespace fs = std::filesystem;
  const EvaluateWords& w = o.evaluate;
  if (w.masks != "auto" || !w.seed.empty() || !w.min_area.empty() || !w.cache.empty() || w.published) usage("--protocol cvpr24-laptop takes none of --masks, --seed, --min-area, --cache, --published");
  std::error_code error;
  if (!fs::is_directory(o.image, error)) usage(cat(o.image, ": a folder of npz cases is needed for --protocol cvpr24-laptop"));
  if (!w.truth.empty() && !fs::is_directory(w.truth, error)) usage(cat("--truth ", w.truth, ": a folder of npz files with gts is needed"));
  std::vector<std::string> names;
  for (const auto& e : fs::directory_iterator(o.image))
    if (e.path().extension() == ".npz") names.push_back(e.path().filename().string());
  std::sort(names.begin(), names.end());
  if (names.empty()) throw Failure{Exit::bad_file, cat(o.image, ": no .npz file in this folder")};

  Times t;
  Report engine;
  {
    const Model model = read_model(o, t);
    engine = run_report(o, model, t, Report::array());
  }
  const fs::path folder = o.output;
  for (const fs::path& p : {folder, folder / "segs"})
    if (!fs::is_directory(p, error) && !fs::create_directory(p, error)) throw Failure{Exit::bad_file, cat("-o ", p.string(), ": cannot create this folder", error ? cat(": ", error.message()) : std::string())};
  const auto path = [&](const char* name) { return (folder / name).string(); };
  OutputPlan outputs;
  for (const char* name : {"cases.csv", "report.json"}) outputs.output("-o", path(name));
  std::string list;
  for (const auto& n : names) list += n + "\n";
  Report settings = {{"version", SAMPAN_VERSION}, {"protocol", plan.profile->name}, {"cases", sha256_hex(as_bytes(list))}, {"model", engine["model"]["sha256"]}, {"quirks", plan.quirks}, {"tolerance", plan.compare.tolerance}};
  for (const char* key : {"device", "isa", "precision", "threads"}) settings[key] = engine["engine"][key];
  constexpr std::size_t kScores = 3;  // dsc, nsd, seconds
  Journal journal(path("journal.jsonl"), settings, w.restart, names.size(), kScores);
  if (journal.images() > 0) note(o, cat(path("journal.jsonl"), " holds ", journal.images(), " finished cases: the run continues"));

  std::vector<std::pair<std::string, std::string>> failed;
  ThreadPool pool(o.load.threads);
  try {
    ProgressSink sink(o, "cvpr24-laptop");
    const Progress progress = sink.progress();
    const std::size_t before = journal.images();
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (journal.image_done(i)) continue;
      progress.report(progress.user, names[i], double(journal.images() - before) / double(names.size() - before));
      stop_if_interrupted();
      try {
        Options c = o;
        c.image = (fs::path(o.image) / names[i]).string();
        c.output = (folder / "segs" / names[i]).string();
        c.volume.provenance = "none";
        c.json = false, c.quiet = true;
        const double start = now_ms();
        run_volume(c);
        const double seconds = (now_ms() - start) / 1000;
        cvpr24::CaseScores s;
        const std::string truth_path = w.truth.empty() ? c.image : (fs::path(w.truth) / names[i]).string();
        if (auto truth = read_npz_labels(truth_path, "gts")) {
          s = cvpr24::score(*read_npz_labels(c.output, "segs"), std::move(*truth), truth_path, plan, pool);
        } else if (!w.truth.empty()) {
          throw Failure{Exit::bad_file, cat(truth_path, ": has no member gts.npy")};
        }
        journal.add({i, names[i], 1, 0, {}, {{"case", 0, 1, Rule::single, 0, metrics::kUndefined, metrics::kUndefined, 0, {s.dsc, s.nsd, seconds}, {}, {}}}}, 0);
        journal.image(i, -1);
      } catch (const Failure& f) {
        if (f.code != Exit::bad_file && f.code != Exit::usage) throw;
        failed.emplace_back(names[i], f.message);
      }
    }
  } catch (const Cancelled&) {
    throw Cancelled{cat(journal.images(), " cases are done; the same command continues")};
  }

  std::string csv = "case,seconds,dsc,nsd\n";
  std::map<std::string, std::array<std::vector<evaluate::Score>, kScores>> groups;  // "" is all
  auto results = journal.results();
  std::sort(results.begin(), results.end(), [](const auto& a, const auto& b) { return a.image < b.image; });
  for (const EvaluateResult& r : results) {
    if (r.rows.empty()) continue;
    const auto& s = r.rows[0].scores;
    csv += cat(csv_cell(r.label), ",", csv_cell(s[2]), ",", csv_cell(s[0]), ",", csv_cell(s[1]), "\n");
    for (const std::string& key : std::set<std::string>{"", cvpr24::modality_of(r.label)})
      for (std::size_t k = 0; k < kScores; ++k) groups[key][k].push_back({s[k], r.label, "", r.label});
  }
  Report report;
  report["tool"] = {{"name", "sampan"}, {"version", SAMPAN_VERSION}};
  report["model"] = engine["model"], report["engine"] = engine["engine"];
  report["settings"] = settings;
  report["cases"] = names.size();
  report["failed"] = Report::array();
  for (const auto& [name, why] : failed) report["failed"].push_back({{"case", name}, {"why", why}});
  std::string table = cat("modality", std::string(12, ' '), "  cases     DSC     NSD  seconds\n");
  for (auto& [key, g] : groups) {
    const std::string name = key.empty() ? "all" : key;
    const evaluate::Summary dsc = evaluate::summarize(g[0], plan.bootstrap), nsd = evaluate::summarize(g[1], plan.bootstrap), seconds = evaluate::summarize(g[2], {0, 0, 0.95});
    Report j = {{"dsc", summary_report(dsc, false)}, {"nsd", summary_report(nsd, false)}, {"seconds", summary_report(seconds, false)}};
    if (key.empty()) report["all"] = std::move(j);
    else report["modalities"][name] = std::move(j);
    char line[128];
    std::snprintf(line, sizeof line, "%-20.20s  %5zu  %6s  %6s  %7.2f\n", name.c_str(), g[2].size(), fixed(dsc.mean, 3).c_str(), fixed(nsd.mean, 3).c_str(), seconds.mean);
    table += line;
  }
  OutputFiles files;
  const std::string text = report.dump(1, ' ', false, Report::error_handler_t::replace) + "\n";
  files.bytes(path("cases.csv"), as_bytes(csv));
  files.bytes(path("report.json"), as_bytes(text));
  files.commit();
  if (o.json) print(report);
  else if (std::fwrite(table.data(), 1, table.size(), stdout) != table.size() || std::fflush(stdout) != 0) throw Failure{Exit::bad_file, "cannot write to stdout"};
  if (!failed.empty()) throw Failure{Exit::partly, cat(failed.size(), " of ", names.size(), " cases failed, the rest is in ", o.output, "; the first: ", failed[0].second)};
}

}  // namespace sampan::cli
