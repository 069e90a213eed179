// report.html of `sampan evaluate`: one file to look at and to send. Data flow: groups (evaluate_tables.hpp), pictures of the worst cases -> examples/evaluate/page.hpp -> text.
// Plots: Dice of every mask by label; against how much a box was moved; against clicks. Below them the worst masks with truth and prediction, tables, settings.
// Deliberately absent: anything that report.json does not hold, except the pictures.
#pragma once
#include "evaluate_volumes.hpp"

#include "examples/evaluate/page.hpp"

#include <sampan/image/mask_codec.hpp>
#include <sampan/image/overlay.hpp>

namespace sampan::cli {

inline constexpr std::size_t kWorstCases = 12;

namespace detail {

using evaluate::decimal;
using evaluate::escaped;

inline const EvaluateGroup* headline_group(const std::vector<EvaluateGroup>& groups, const EvaluatePlan& plan, const std::string& prompt) {
  for (const EvaluateGroup& g : groups)
    if (g.prompt == prompt && stands_for_prompt(g, plan)) return &g;
  return nullptr;
}

/// 2, not 2.000000
inline std::string short_text(double v) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", v);
  return text;
}

inline std::string interval_text(const std::optional<evaluate::Interval>& i) { return i ? cat(" <small>", decimal(i->low), "&ndash;", decimal(i->high), "</small>") : std::string(); }

/// The last step of a prompt's dialogue; 1 without one.
inline int last_step(const EvaluatePlan& plan, const std::string& prompt) {
  for (const PromptSpec& p : plan.prompts)
    if (p.name == prompt && p.iterative()) return p.count;
  return 1;
}

inline std::string prompt_cell(const EvaluateGroup& g, int last) { return cat(escaped(g.prompt), last > 1 ? cat(" <small>", g.step, g.step == 1 ? " click" : " clicks", "</small>") : std::string()); }

/// The headline rule of each prompt, after the first and the last click.
inline std::string overall_table(const std::vector<EvaluateGroup>& groups, const Dataset& d, const EvaluatePlan& plan, const ScoreNames& names) {
  std::string s = "<div class=\"wide\"><table><thead><tr><th>prompt</th><th>scores</th><th>Dice, mean and 95&nbsp;% interval</th><th>every class once</th><th>median</th><th>IoU</th><th>NSD</th><th>HD95</th><th>Dice &lt; 0.5</th></tr></thead><tbody>";
  for (const EvaluateGroup& g : groups) {
    const int last = last_step(plan, g.prompt);
    const bool everything = g.prompt.rfind("everything", 0) == 0;
    if ((g.step != 1 && g.step != last) || (g.rule != plan.headline() && g.rule != Rule::single && !everything)) continue;
    const auto dice = evaluate::summarize(scores_of(g, 0, d), plan.bootstrap);
    const auto mean = [&](const char* name) { return evaluate::summarize(scores_of(g, names.find(name), d), {0, 0, 0.95}); };
    const auto hd = mean("hd95");
    s += cat("<tr><td>", prompt_cell(g, last), "</td><td>", g.entries.size(), "</td><td>", decimal(dice.mean), interval_text(dice.interval), "</td><td>", decimal(dice.class_mean), "</td><td>", decimal(dice.median), "</td><td>",
             decimal(mean("iou").mean), "</td><td>", decimal(mean("nsd").mean), "</td><td", hd.infinite ? cat(" title=\"", hd.infinite, " predictions are empty and have no surface\"") : std::string(), ">", decimal(hd.mean, 1), hd.infinite ? "*" : "",
             "</td><td", g.failures() ? " class=\"bad\"" : "", ">", decimal(100 * double(g.failures()) / double(g.entries.size()), 0), "&nbsp;%</td></tr>");
  }
  return s + "</tbody></table></div>";
}

/// Mean Dice of every rule, where a model gives several masks.
inline std::string rule_table(const std::vector<EvaluateGroup>& groups, const Dataset& d, const EvaluatePlan& plan) {
  constexpr Rule kShown[] = {Rule::oracle, Rule::iou, Rule::first, Rule::stability, Rule::largest};
  std::string s = "<div class=\"wide\"><table><thead><tr><th>prompt</th>";
  for (const Rule r : kShown) s += cat("<th>", evaluate::to_string(r), "</th>");
  s += "</tr></thead><tbody>";
  std::map<std::pair<std::string, int>, std::map<Rule, double>> cells;
  for (const EvaluateGroup& g : groups) cells[{g.prompt, g.step}][g.rule] = evaluate::summarize(scores_of(g, 0, d), {0, 0, 0.95}).mean;
  for (const EvaluateGroup& g : groups) {
    const auto& row = cells[{g.prompt, g.step}];
    const int last = last_step(plan, g.prompt);
    if (g.rule != Rule::first || (g.step != 1 && g.step != last)) continue;  // one line per prompt
    s += cat("<tr><td>", prompt_cell(g, last), "</td>");
    for (const Rule r : kShown) s += cat("<td>", decimal(row.at(r)), "</td>");
    s += "</tr>";
  }
  return s + "</tbody></table></div>";
}

/// Means over objects in 3D: a line per prompt.
inline std::string object_table(const std::vector<ObjectScore>& objects, const EvaluatePlan& plan, const ScoreNames& names) {
  std::string s = "<div class=\"wide\"><table><thead><tr><th>prompt</th><th>objects</th><th>Dice, mean and 95&nbsp;% interval</th><th>median</th><th>NSD</th><th>HD95</th><th>Dice &lt; 0.5</th></tr></thead><tbody>";
  for (const auto& [prompt, list] : objects_by_prompt(objects, plan)) {
    const auto dice = evaluate::summarize(object_scores(list, names.find("dice")), plan.bootstrap);
    const auto mean = [&names, &l = list](const char* name) { return evaluate::summarize(object_scores(l, names.find(name)), {0, 0, 0.95}).mean; };
    const auto failures = std::count_if(list.begin(), list.end(), [](const ObjectScore* o) { return o->scores[0] < kFailureDice; });
    s += cat("<tr><td>", escaped(prompt), "</td><td>", list.size(), "</td><td>", decimal(dice.mean), interval_text(dice.interval), "</td><td>", decimal(dice.median), "</td><td>", decimal(mean("nsd")), "</td><td>", decimal(mean("hd95"), 1), "</td><td",
             failures ? " class=\"bad\"" : "", ">", decimal(100 * double(failures) / double(list.size()), 0), "&nbsp;%</td></tr>");
  }
  return s + "</tbody></table></div>";
}

inline std::string label_table(const std::vector<const EvaluateGroup*>& shown, const std::vector<EvaluateResult>& results, const Dataset& d, const EvaluatePlan& plan) {
  std::string s = "<div class=\"wide\"><table><thead><tr><th>label</th><th>masks</th>";
  for (const auto* g : shown) s += cat("<th>", escaped(g->prompt), "</th>");
  s += "</tr></thead><tbody>";
  for (const auto& label : labels_of(results)) {
    const auto n = std::count_if(results.begin(), results.end(), [&](const EvaluateResult& r) { return r.label == label && !r.rows.empty(); });
    s += cat("<tr><td>", escaped(label), "</td><td>", n, "</td>");
    for (const auto* g : shown) {
      const auto x = evaluate::summarize(scores_of(*g, 0, d, label), plan.bootstrap);
      s += cat("<td", x.mean < kFailureDice ? " class=\"bad\"" : "", ">", decimal(x.mean), interval_text(x.interval), "</td>");
    }
    s += "</tr>";
  }
  s += "<tr class=\"sum\"><td>all masks</td><td></td>";
  for (const auto* g : shown) s += cat("<td>", decimal(evaluate::summarize(scores_of(*g, 0, d), {0, 0, 0.95}).mean), "</td>");
  return s + "</tr></tbody></table></div>";
}

/// What the dots show: boxes that are moved more and more have a plot of their own, so only the one that moves farthest; at most four prompts stay readable.
inline std::vector<const EvaluateGroup*> spread(const std::vector<const EvaluateGroup*>& shown, const EvaluatePlan& plan) {
  std::map<std::pair<PromptKind, bool>, const PromptSpec*> farthest;
  const auto find = [&](const std::string& name) { return &*std::find_if(plan.prompts.begin(), plan.prompts.end(), [&](const PromptSpec& s) { return s.name == name; }); };
  const auto moved = [](const PromptSpec& s) { return s.kind == PromptKind::box_jitter || s.kind == PromptKind::box_margin || s.kind == PromptKind::box_grow; };
  for (const auto* g : shown) {
    const PromptSpec* s = find(g->prompt);
    auto& f = farthest[{s->kind, s->amount.share}];
    if (!f || s->amount.value > f->amount.value) f = s;
  }
  std::vector<const EvaluateGroup*> out;
  for (const auto* g : shown) {
    const PromptSpec* s = find(g->prompt);
    if (out.size() < 4 && (!moved(*s) || farthest[{s->kind, s->amount.share}] == s)) out.push_back(g);
  }
  return out;
}

inline std::string dots_of_labels(const std::vector<const EvaluateGroup*>& shown, const std::vector<EvaluateResult>& results, const Dataset& d) {
  std::vector<evaluate::DotRow> rows;
  for (const auto& label : labels_of(results)) {
    evaluate::DotRow row{label, {}};
    for (const auto* g : shown) {
      auto& dots = row.series.emplace_back();
      for (const auto& e : g->entries)
        if (e.mask->label == label) dots.push_back({e.row->scores[0], cat(d.images[e.mask->image].name, ", ", g->prompt, ": Dice ", decimal(e.row->scores[0]))});
    }
    rows.push_back(std::move(row));
  }
  return evaluate::dot_plot(rows);
}

inline evaluate::Curve::Point curve_point(double x, const EvaluateGroup& g, const Dataset& d, const EvaluatePlan& plan, const std::string& what) {
  const auto s = evaluate::summarize(scores_of(g, 0, d), plan.bootstrap);
  const double nan = std::numeric_limits<double>::quiet_NaN();
  return {x, s.mean, s.interval ? s.interval->low : nan, s.interval ? s.interval->high : nan, cat(what, ": Dice ", decimal(s.mean), s.interval ? cat(", 95 % interval ", decimal(s.interval->low), " to ", decimal(s.interval->high)) : std::string())};
}

/// Against how far boxes were moved: one plot for pixels, one for shares; the tight box stands at 0.
inline std::string jitter_plots(const std::vector<EvaluateGroup>& groups, const Dataset& d, const EvaluatePlan& plan) {
  std::string out;
  for (const bool share : {false, true}) {
    std::map<std::string, evaluate::Curve> curves;
    std::vector<double> ticks;
    for (const PromptSpec& s : plan.prompts) {
      const bool jitter = s.kind == PromptKind::box_jitter, margin = s.kind == PromptKind::box_margin, grow = s.kind == PromptKind::box_grow;
      const auto* g = headline_group(groups, plan, s.name);
      if (!g || !(jitter || margin || grow) || s.amount.share != share) continue;
      const char* name = jitter ? "moved at random (box-jitter)" : margin ? "larger on all sides (box-margin)" : "larger at random (box-grow)";
      const double x = s.amount.value * (share ? 100 : 1);
      curves[name].points.push_back(curve_point(x, *g, d, plan, s.name));
      ticks.push_back(x);
    }
    const auto* tight = headline_group(groups, plan, "box");
    std::vector<evaluate::Curve> list;
    std::vector<std::string> labels;
    for (auto& [name, c] : curves) {
      if (tight) c.points.push_back(curve_point(0, *tight, d, plan, "box"));
      std::sort(c.points.begin(), c.points.end(), [](const auto& a, const auto& b) { return a.x < b.x; });
      if (c.points.size() < 2) continue;
      list.push_back(c), labels.push_back(name);
    }
    if (list.empty()) continue;
    if (tight) ticks.push_back(0);
    std::sort(ticks.begin(), ticks.end());
    ticks.erase(std::unique(ticks.begin(), ticks.end()), ticks.end());
    out += cat("<div>", evaluate::legend(labels), evaluate::line_plot(list, ticks, share ? "%" : " px", share ? "how far a side may move, in parts of the box" : "how far a side may move, in pixels of the image"), "</div>");
  }
  return out;
}

inline std::string click_plot(const std::vector<EvaluateGroup>& groups, const Dataset& d, const EvaluatePlan& plan) {
  std::vector<evaluate::Curve> curves;
  std::vector<std::string> names;
  std::vector<double> ticks;
  for (const PromptSpec& s : plan.prompts) {
    if (!s.iterative() || s.count < 2) continue;
    for (const Rule rule : {plan.headline(), Rule::oracle}) {
      if (rule == Rule::oracle && plan.headline() == Rule::oracle && !curves.empty() && names.back() == cat(s.name, ", oracle")) continue;
      evaluate::Curve c;
      for (const EvaluateGroup& g : groups)
        if (g.prompt == s.name && g.rule == rule) {
          c.points.push_back(curve_point(g.step, g, d, plan, cat(s.name, ", ", g.step, g.step == 1 ? " click" : " clicks")));
          ticks.push_back(g.step);
        }
      if (c.points.empty()) continue;
      curves.push_back(c), names.push_back(cat(s.name, ", ", evaluate::to_string(rule)));
    }
  }
  if (curves.empty()) return {};
  std::sort(ticks.begin(), ticks.end());
  ticks.erase(std::unique(ticks.begin(), ticks.end()), ticks.end());
  return cat("<div>", evaluate::legend(names), evaluate::line_plot(curves, ticks, "", "clicks"), "</div>");
}

/// A prompt as the rows hold it, read back for drawing.
inline void read_said(const std::string& said, std::optional<Box>& box, std::vector<OverlayPoint>& points) {
  for (std::size_t at = 0; at < said.size();) {
    double v[4];
    if (std::sscanf(said.c_str() + at, "box %lf,%lf,%lf,%lf", &v[0], &v[1], &v[2], &v[3]) == 4) box = Box{v[0], v[1], v[2], v[3]};
    else if (std::sscanf(said.c_str() + at, "point %lf,%lf,%lf", &v[0], &v[1], &v[2]) == 3) points.push_back({{v[0], v[1]}, v[2] != 0});
    const std::size_t space = said.find_first_of("bp", at + 1);
    if (space == std::string::npos) return;
    at = space;
  }
}

/// The part of the picture around truth, prediction and prompt, enlarged by a whole number if it is small, shrunk by one if it is large.
inline std::vector<std::uint8_t> worst_picture(const std::vector<std::uint8_t>& rgb, const ImageSize& size, const Mask& truth, const Mask& prediction, const std::string& said) {
  constexpr std::int64_t kSide = 224;
  std::optional<Box> box;
  std::vector<OverlayPoint> points;
  read_said(said, box, points);
  double x0 = double(size.width), y0 = double(size.height), x1 = 0, y1 = 0;
  const auto cover = [&](double a, double b, double c, double e) { x0 = std::min(x0, a), y0 = std::min(y0, b), x1 = std::max(x1, c), y1 = std::max(y1, e); };
  for (const Mask* m : {&truth, &prediction})
    if (const auto b = evaluate::bounds(*m)) cover(double(b->x0), double(b->y0), double(b->x1) + 1, double(b->y1) + 1);
  if (box) cover(box->x0, box->y0, box->x1, box->y1);
  for (const auto& p : points) cover(p.at.x, p.at.y, p.at.x + 1, p.at.y + 1);
  // A square, a quarter larger than what it shows and no smaller than 40 pixels, moved into the image.
  const double want = std::max(40.0, 1.3 * std::max(x1 - x0, y1 - y0));
  const std::int64_t w = std::min(size.width, std::int64_t(want)), h = std::min(size.height, std::int64_t(want));
  const std::int64_t left = std::clamp(std::int64_t((x0 + x1 - double(w)) / 2), std::int64_t(0), size.width - w), top = std::clamp(std::int64_t((y0 + y1 - double(h)) / 2), std::int64_t(0), size.height - h);
  const std::int64_t longer = std::max(w, h), up = std::max<std::int64_t>(1, kSide / longer), down = std::max<std::int64_t>(1, (longer + kSide) / (2 * kSide) + (longer > 2 * kSide));
  const std::int64_t ow = w * up / down, oh = h * up / down;
  std::vector<std::uint8_t> out(std::size_t(ow * oh * 3)), t(std::size_t(ow * oh)), p(std::size_t(ow * oh));
  for (std::int64_t y = 0; y < oh; ++y)
    for (std::int64_t x = 0; x < ow; ++x) {
      const std::int64_t sx = left + x * down / up, sy = top + y * down / up;
      const auto from = std::size_t(sy * size.width + sx), to = std::size_t(y * ow + x);
      for (std::int64_t v = 0; v < down; ++v)  // a thin object stays visible
        for (std::int64_t u = 0; u < down; ++u)
          if (sy + v < size.height && sx + u < size.width) t[to] |= truth.data[from + std::size_t(v * size.width + u)], p[to] |= prediction.data[from + std::size_t(v * size.width + u)];
      for (std::size_t c = 0; c < 3; ++c) {
        int sum = 0, n = 0;
        for (std::int64_t v = 0; v < down; ++v)
          for (std::int64_t u = 0; u < down; ++u)
            if (sy + v < size.height && sx + u < size.width) sum += rgb[(from + std::size_t(v * size.width + u)) * 3 + c], ++n;
        out[to * 3 + c] = std::uint8_t(sum / n);
      }
    }
  const double scale = double(up) / double(down);
  if (box) box = Box{(box->x0 - double(left)) * scale, (box->y0 - double(top)) * scale, (box->x1 - double(left)) * scale, (box->y1 - double(top)) * scale};
  for (auto& q : points) q.at = {(q.at.x + 0.5 - double(left)) * scale, (q.at.y + 0.5 - double(top)) * scale};
  std::array<OverlayObject, 3> objects{};  // colours go by the place: prompt blue, prediction orange, truth green
  objects[0].box = box, objects[0].points = points;
  objects[1].mask = {p.data(), {Index(oh), Index(ow)}};
  objects[2].mask = {t.data(), {Index(oh), Index(ow)}};
  must(draw_overlay({out.data(), {Index(oh), Index(ow), 3}}, objects, {0.12, 1}), Source::arguments);
  std::vector<std::uint8_t> png;
  must(encode_png({out.data(), {ow, oh, 3}, PixelType::u8, 0}, png), Source::arguments);
  return png;
}

inline std::string definition(const std::string& name, const std::string& value) { return cat("<dt>", escaped(name), "</dt><dd>", escaped(value), "</dd>"); }

}  // namespace detail

/// picture(image, size&) -> RGB bytes; truth(image, label, instance, size) -> Mask. Throws what they throw.
template <class Picture, class Truth>
std::string evaluate_page(const Report& report, const std::vector<EvaluateGroup>& groups, const std::vector<EvaluateResult>& results, const std::vector<ObjectScore>& objects, const Dataset& d, const EvaluatePlan& plan,
                          const ScoreNames& names, const Picture& picture, const Truth& truth) {
  using namespace detail;
  const std::string title = cat(d.name.empty() ? report["dataset"]["file"].get<std::string>() : d.name);
  const std::string model = report["model"]["name"].get<std::string>();
  std::vector<const EvaluateGroup*> shown;
  for (const EvaluateGroup& g : groups)
    if (stands_for_prompt(g, plan)) shown.push_back(&g);
  std::string s = cat("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>", escaped(title), " - ", escaped(model), "</title><style>", evaluate::kPageStyle, "</style></head><body>\n");
  const auto counted = [&](const char* key, const char* one) {
    const auto n = report["dataset"][key].get<std::size_t>();
    return cat(n, one, n == 1 ? "" : "s");
  };
  s += cat("<h1>", escaped(model), " on ", escaped(title), "</h1><p class=\"soft\">", counted("masks", " mask"), " in ", counted("images", " image"), " of ", counted("patients", " patient"),
           plan.profile ? cat(". Protocol ", escaped(plan.profile->name), ": ", escaped(plan.profile->about)) : std::string(), ".</p>\n");
  const std::size_t skipped = report["skipped"].size(), failed = report["failed"].size();
  if (skipped + failed > 0) s += cat("<p class=\"bad\">", skipped, " masks were left out, ", failed, " images could not be read; the settings below say which.</p>\n");
  s += cat("<h2>All masks</h2><p class=\"soft\">NSD within ", short_text(plan.compare.tolerance), d.millimetres ? " mm; HD95 in mm" : " pixels; HD95 in pixels", ", over masks that have one. ", report["dataset"]["patients"] == 1 ? "One patient says nothing about others: there are no intervals." : "Intervals come from drawing patients with replacement.", plan.multimask ? cat(" Of the masks of a prompt the rule &ldquo;", evaluate::to_string(plan.headline()), "&rdquo; picks one.") : std::string(), "</p>", overall_table(groups, d, plan, names), "\n");
  if (!objects.empty()) s += cat("<h2>Whole objects</h2><p class=\"soft\">The masks of an object's slices put together and compared as volumes; pixels of slices that were left out count as missed.</p>", object_table(objects, plan, names), "\n");
  if (std::any_of(groups.begin(), groups.end(), [](const EvaluateGroup& g) { return g.rule == Rule::first; }))
    s += cat("<h2>Mean Dice by rule</h2><p class=\"soft\">All rules pick from the same forward pass: oracle takes the best Dice, which nobody knows; iou the network's own guess; first the first mask.</p>", rule_table(groups, d, plan), "\n");
  if (!shown.empty()) {
    const auto few = spread(shown, plan);
    std::vector<std::string> few_names;
    for (const auto* g : few) few_names.push_back(cat(g->prompt, g->step > 1 ? cat(" (", g->step, " clicks)") : std::string()));
    s += cat("<h2>Dice by label</h2><p class=\"soft\">A dot is a prompt on one mask, the stroke and the number are their mean.", shown.size() > few.size() ? " Other prompts are in the table below." : "", "</p>", evaluate::legend(few_names), "<div class=\"wide\">", dots_of_labels(few, results, d), "</div>\n");
  }
  const std::string jitter = jitter_plots(groups, d, plan), clicks = click_plot(groups, d, plan);
  if (!jitter.empty()) s += cat("<h2>Dice when the box is not tight</h2><p class=\"soft\">Mean over all masks; the band is the 95 % interval.</p><div class=\"plots\">", jitter, "</div>\n");
  if (!clicks.empty()) s += cat("<h2>Dice over clicks</h2><p class=\"soft\">Mean over all masks; the band is the 95 % interval.</p><div class=\"plots\">", clicks, "</div>\n");

  // The worst masks: each once, with the prompt that did worst.
  std::map<const EvaluateResult*, EvaluateGroup::Entry> worst;
  for (const auto* g : shown)
    for (const auto& e : g->entries) {
      if (e.row->rle.empty() || std::isnan(e.row->scores[0])) continue;
      const auto at = worst.find(e.mask);
      if (at == worst.end() || e.row->scores[0] < at->second.row->scores[0]) worst[e.mask] = e;
    }
  std::vector<EvaluateGroup::Entry> order;
  for (const auto& [mask, e] : worst) order.push_back(e);
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    if (a.row->scores[0] != b.row->scores[0]) return a.row->scores[0] < b.row->scores[0];
    return std::tuple(a.mask->image, a.mask->label, a.mask->instance) < std::tuple(b.mask->image, b.mask->label, b.mask->instance);
  });
  if (order.size() > kWorstCases) order.resize(kWorstCases);
  if (!order.empty()) s += "<h2>Worst masks</h2><p class=\"soft\">Each with the prompt that did worst. Truth green, prediction orange, prompt blue.</p><div class=\"gallery\">\n";
  for (const auto& e : order) {
    stop_if_interrupted();
    ImageSize size;
    const auto rgb = picture(e.mask->image, size);
    const Mask t = truth(e.mask->image, e.mask->label, e.mask->instance, size);
    const Mask p{size.width, size.height, must(mask_of(must(from_coco_text(e.row->rle, size.height, size.width), Source::file)), Source::file)};
    s += cat("<figure><img alt=\"\" src=\"data:image/png;base64,", evaluate::base64(worst_picture(rgb, size, t, p, e.row->said)), "\"><figcaption><b>", escaped(e.mask->label), "</b><br>Dice ", decimal(e.row->scores[0]), ", ", escaped(e.row->prompt), "<br>predicted IoU ", decimal(e.row->predicted_iou, 2), ", ", e.mask->area, " pixels<br>",
             escaped(std::filesystem::path(d.images[e.mask->image].name).filename().string()), "</figcaption></figure>\n");
  }
  if (!order.empty()) s += "</div>\n";
  if (!shown.empty()) s += cat("<h2>Mean Dice by label</h2>", label_table(shown, results, d, plan), "\n");

  s += "<h2>Settings</h2><dl>";
  for (const auto& item : report["settings"].items()) s += definition(item.key(), item.value().is_string() ? item.value().template get<std::string>() : item.value().dump());
  for (const char* key : {"family", "licence", "preprocessing"}) s += definition(cat("model ", key), report["model"][key].get<std::string>());
  if (report["encode_ms"]["median"].is_number()) s += definition("encoding", cat(decimal(report["encode_ms"]["median"].get<double>(), 0), " ms per image, median of ", report["encode_ms"]["images"].get<std::size_t>()));
  s += "</dl>";
  for (const auto& q : plan.quirks)
    for (const auto& known : evaluate::kQuirks)
      if (q == known.name) s += cat("<p class=\"soft\">Quirk ", escaped(q), ": ", escaped(known.about), ".</p>");
  for (const auto& [key, what] : {std::pair("skipped", "Left out"), std::pair("failed", "Not read")}) {
    if (report[key].empty()) continue;
    s += cat("<details><summary>", what, ": ", report[key].size(), "</summary><ul>");
    for (const auto& j : report[key]) s += cat("<li>", escaped(j["image"].template get<std::string>()), j.contains("label") ? cat(", ", escaped(j["label"].template get<std::string>())) : std::string(), ": ", escaped(j["why"].template get<std::string>()), "</li>");
    s += "</ul></details>";
  }
  s += cat("<footer>sampan ", SAMPAN_VERSION, ". Not a medical device. All numbers: report.json, masks.csv.</footer></body></html>\n");
  return s;
}

}  // namespace sampan::cli
