// What was found in the slices of a scan, put together and scored as a volume. Data flow: results, Scans -> here -> objects.csv, "objects" of report.json, page, terminal.
// An object is everything of one name in one scan. Its prediction: the headline rule's masks after the last click, of one prompt and repetition, on all its slices.
// Its truth: its voxels in the slices that the data set chose; those of slices that were left out (fewer pixels than --min-area) count, as missed.
// Distances in 3D, in the scan's millimetres; undefined unless all slices were asked for: slices that stand apart have a surface of their own. Deliberately absent: other rules (masks.csv has their numbers per slice, not their masks).
#pragma once
#include "dataset_volumes.hpp"
#include "evaluate_tables.hpp"

namespace sampan::cli {

struct ObjectScore {
  std::size_t image = 0;  ///< its first slice in the data set
  std::string label, prompt, patient, scan;
  int repetition = 0;
  std::size_t slices = 0, left_out = 0;
  Index voxels_truth = 0, voxels = 0;
  std::vector<double> scores;  ///< in the order of metrics::named_scores
};

/// In the order of scans, labels, prompts, repetitions. Throws Failure, Cancelled.
inline std::vector<ObjectScore> score_objects(const std::vector<EvaluateResult>& results, const Dataset& d, const EvaluatePlan& plan, Scans& scans, ThreadPool& pool) {
  std::map<std::tuple<std::string, std::string, std::string>, std::vector<const EvaluateResult*>> by_object;  // scan, plane, label
  std::vector<const std::vector<const EvaluateResult*>*> order;
  for (const EvaluateResult& r : results) {
    const ImageEntry& e = d.images[r.image];
    if (!e.volume) continue;
    auto& list = by_object[{e.scan_name, medical::to_string(e.volume->plane), r.label}];
    if (list.empty()) order.push_back(&list);
    list.push_back(&r);
  }
  std::stable_sort(order.begin(), order.end(), [&](const auto* a, const auto* b) { return d.images[a->front()->image].scan_name < d.images[b->front()->image].scan_name; });  // a scan is opened once
  std::vector<ObjectScore> out;
  std::vector<std::uint8_t> truth, mask;
  for (const auto* object : order) {
    stop_if_interrupted();
    const ImageEntry& first = d.images[object->front()->image];
    const Scans::Open& scan = scans.open(first);
    const auto& size = scan.image.grid.size;
    const medical::Vec3 step = medical::spacing(scan.image.grid.affine);
    const std::array<Index, 3> shape{Index(size[2]), Index(size[1]), Index(size[0])};
    const metrics::Grid grid{3, {step[2], step[1], step[0]}};
    metrics::CompareOptions compare = plan.compare;
    if (first.volume->slices != VolumeEntry::Slices::all) compare.surfaces = compare.published_variants = false;
    truth.assign(medical::voxel_count(size), 0);
    std::set<std::size_t> slices, left_out;
    for (const EvaluateResult* r : *object) {
      (r->rows.empty() ? left_out : slices).insert(r->image);
      const ImageEntry& slice = d.images[r->image];
      for (const int value : slice.values)
        if (Scans::name_of(d, value) == r->label) medical::put_slice(truth, scan.plan, slice.slice, Scans::mask(scan, slice.slice, value).data.data(), 1);
    }
    for (const PromptSpec& spec : plan.prompts)
      for (int repetition = 0; repetition < spec.repeat; ++repetition) {
        mask.assign(truth.size(), 0);
        bool any = false;
        for (const EvaluateResult* r : *object)
          for (const EvaluateRow& w : r->rows) {
            if (w.prompt != spec.name || w.repetition != repetition || w.rle.empty()) continue;
            const auto pixels = must(mask_of(must(from_coco_text(w.rle, scan.plan.size[1], scan.plan.size[0]), Source::file)), Source::file);
            medical::put_slice(mask, scan.plan, d.images[r->image].slice, pixels.data(), 1);
            any = true;
          }
        if (!any) continue;  // every slice was left out
        const auto s = must(metrics::compare({mask.data(), shape}, {truth.data(), shape}, grid, compare, pool), Source::file);
        ObjectScore o{object->front()->image, object->front()->label, spec.name, first.patient, first.scan, repetition, slices.size(), left_out.size(), s.counts.gt, s.counts.pred, {}};
        for (const auto& named : metrics::named_scores(s, plan.compare)) o.scores.push_back(named.second);
        out.push_back(std::move(o));
      }
  }
  return out;
}

/// In the order of the prompts.
inline std::vector<std::pair<std::string, std::vector<const ObjectScore*>>> objects_by_prompt(const std::vector<ObjectScore>& objects, const EvaluatePlan& plan) {
  std::vector<std::pair<std::string, std::vector<const ObjectScore*>>> out;
  for (const PromptSpec& s : plan.prompts) {
    out.emplace_back(s.name, std::vector<const ObjectScore*>());
    for (const ObjectScore& o : objects)
      if (o.prompt == s.name) out.back().second.push_back(&o);
    if (out.back().second.empty()) out.pop_back();
  }
  return out;
}

inline std::vector<evaluate::Score> object_scores(const std::vector<const ObjectScore*>& objects, std::size_t score, const std::string& label = {}) {
  std::vector<evaluate::Score> out;
  for (const ObjectScore* o : objects)
    if (label.empty() || o->label == label) out.push_back({o->scores[score], o->patient, o->label, o->scan});
  return out;
}

inline std::string objects_csv(const std::vector<ObjectScore>& objects, const Dataset& d, const ScoreNames& names) {
  std::string out = "scan,plane,case,patient,modality,label,prompt,repetition,slices,slices_left_out,voxels_truth,voxels";
  for (const auto& n : names.all) out += "," + n;
  out += "\n";
  for (const ObjectScore& o : objects) {
    const ImageEntry& e = d.images[o.image];
    for (const std::string& s : {e.scan_name, std::string(medical::to_string(e.volume->plane)), e.scan, e.patient, e.modality, o.label, o.prompt}) out += csv_cell(s) + ",";
    out += cat(o.repetition, ",", o.slices, ",", o.left_out, ",", o.voxels_truth, ",", o.voxels);
    for (const double v : o.scores) out += "," + csv_cell(v);
    out += "\n";
  }
  return out;
}

/// "objects" of report.json: summaries per prompt, over all and per label.
inline Report objects_report(const std::vector<ObjectScore>& objects, const EvaluatePlan& plan, const ScoreNames& names) {
  Report all = Report::array();
  for (const auto& [prompt, list] : objects_by_prompt(objects, plan)) {
    Report j = {{"prompt", prompt}, {"rule", evaluate::to_string(plan.headline())}, {"objects", list.size()}};
    std::set<std::string> labels;
    for (const ObjectScore* o : list) labels.insert(o->label);
    for (const std::size_t i : names.summarized) {
      j[names.all[i]] = summary_report(evaluate::summarize(object_scores(list, i), plan.bootstrap), true);
      for (const auto& label : labels) j["labels"][label][names.all[i]] = summary_report(evaluate::summarize(object_scores(list, i, label), {0, 0, 0.95}), false);
    }
    all.push_back(std::move(j));
  }
  return all;
}

/// Means in 3D for the terminal; nothing without scans.
inline std::string objects_table(const std::vector<ObjectScore>& objects, const EvaluatePlan& plan, const ScoreNames& names) {
  std::string out;
  for (const auto& [prompt, list] : objects_by_prompt(objects, plan)) {
    const auto mean = [&names, &l = list](const char* name) { return evaluate::summarize(object_scores(l, names.find(name)), {0, 0, 0.95}).mean; };
    out += cat("whole objects, ", prompt, ": ", list.size(), ", Dice ", fixed(mean("dice"), 3), ", NSD ", fixed(mean("nsd"), 3), ", HD95 ", fixed(mean("hd95"), 1), " mm\n");
  }
  return out;
}

}  // namespace sampan::cli
