// From a mask to the scores of everything that a protocol asks about it. Data flow: ground truth (Mask), plan -> simulators -> Session -> candidates -> rules -> Row.
// One forward pass serves all rules: its candidates are scored once each, and every rule picks from them. Several boxes of one prompt are decoded one by one and their masks
// joined candidate by candidate, as Mazurowski et al. do.
// Random prompts: from a generator of their own per mask, prompt and repetition (seeded by SHA-256 of the image's file name, label, number, prompt, repetition and --seed), so that
// neither the order of masks nor a resumed run matters; or, for profiles whose code has one stream, from that stream.
// Deliberately absent: files (evaluate_journal.hpp, evaluate.cpp).
#pragma once
#include "engine.hpp"

#include "examples/evaluate/protocol.hpp"
#include "examples/evaluate/statistics.hpp"

#include <sampan/core/sha256.hpp>
#include <sampan/image/rle.hpp>
#include <sampan/metrics/compare.hpp>
#include <sampan/predict/everything.hpp>

namespace sampan::cli {

using evaluate::PromptKind;
using evaluate::PromptSpec;
using evaluate::RandomState;
using evaluate::Rule;

/// The words of the command line, read.
struct EvaluatePlan {
  std::vector<PromptSpec> prompts;
  const evaluate::Profile* profile = nullptr;
  std::set<std::string> quirks;
  bool multimask = false;
  std::uint32_t seed = 0;
  bool one_stream = false;
  std::int64_t min_area = 1;
  metrics::CompareOptions compare;
  evaluate::BootstrapOptions bootstrap;
  bool quirk(const char* name) const { return quirks.count(name) != 0; }
  /// The rule that summaries, plots and the gallery show first.
  Rule headline() const { return !multimask ? Rule::single : profile ? profile->headline : Rule::iou; }
};

/// One mask, prompt, step of a dialogue, and rule.
struct EvaluateRow {
  std::string prompt;
  int repetition = 0, step = 1;  ///< step: clicks so far
  Rule rule = Rule::single;
  int candidate = 0;
  double predicted_iou = 0, stability = 0;
  std::int64_t area = 0;       ///< of the prediction
  std::vector<double> scores;  ///< in the order of metrics::named_scores
  std::string said;            ///< the prompt: "box 1,2,3,4"
  std::string rle;             ///< the prediction, of the headline rule's last step; COCO text
};

/// One mask of the data set.
struct EvaluateTruth {
  std::string image, label;  ///< the image's name in the data set
  int instance = 1;          ///< counts masks of one label in one image
  Mask mask;
  metrics::Grid grid;
};

class Evaluator {
 public:
  Evaluator(Session& session, const ModelInfo& info, const EvaluatePlan& plan, ThreadPool& pool) : session_(session), info_(info), plan_(plan), pool_(pool), stream_(plan.seed) {}

  RandomState& stream() { return stream_; }
  /// All masks of the current image in everything mode.
  void found(std::vector<FoundMask> masks) { found_ = std::move(masks); }

  /// `any` is the union of all masks of the image. A reason instead of rows if the mask cannot be asked about. Throws Failure, Cancelled.
  std::string evaluate(const EvaluateTruth& t, const Mask& any, std::vector<EvaluateRow>& rows) {
    const std::int64_t area = sampan::evaluate::area(t.mask);
    if (area == 0) return "no pixel";
    if (area < plan_.min_area) return cat("fewer than ", plan_.min_area, " pixels");
    for (const PromptSpec& s : plan_.prompts)
      for (int r = 0; r < s.repeat; ++r) {
        stop_if_interrupted();
        RandomState own(plan_.one_stream ? 0 : own_seed(t, s, r));
        At at{t, any, s, r, plan_.one_stream ? stream_ : own, rows};
        const std::string why = s.kind == PromptKind::everything ? from_everything(at) : s.iterative() ? dialogue(at) : once(at);
        if (!why.empty()) return why;
      }
    return {};
  }

 private:
  struct Forward {
    std::vector<Candidate> candidates;
    std::vector<float> logits;  ///< of the last box
    std::string said;
  };
  struct At {
    const EvaluateTruth& truth;
    const Mask& any;
    const PromptSpec& spec;
    int repetition;
    RandomState& rng;
    std::vector<EvaluateRow>& rows;
  };

  std::uint32_t own_seed(const EvaluateTruth& t, const PromptSpec& s, int repetition) const {
    const std::string key = cat(plan_.seed, '\n', std::filesystem::path(t.image).filename().string(), '\n', t.label, '\n', t.instance, '\n', s.name, '\n', repetition), hex = sha256_hex(as_bytes(key));
    std::uint32_t v = 0;
    std::from_chars(hex.data(), hex.data() + 8, v, 16);
    return v;
  }

  static std::string shown(const Prompt& p) {
    std::string s;
    const auto number = [](double v) {
      char text[32];
      std::snprintf(text, sizeof text, "%.6g", v);
      return std::string(text);
    };
    if (p.box) s = cat("box ", number(p.box->x0), ",", number(p.box->y0), ",", number(p.box->x1), ",", number(p.box->y1));
    for (const LabeledPoint& q : p.points) s += cat(s.empty() ? "" : " ", "point ", number(q.x), ",", number(q.y), ",", q.label);
    if (!p.mask_input.empty()) s += " mask";
    return s;
  }

  Forward forward(const std::vector<Prompt>& prompts) {
    Forward f;
    const PredictOptions options{plan_.multimask, Select::iou};
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      must(session_.try_predict_into(prompts[i], prediction_, options), Source::model);
      f.said += cat(i ? " " : "", shown(prompts[i]));
      f.logits = prediction_.low_res_logits;
      if (i == 0) {
        f.candidates = prediction_.candidates;
        continue;
      }
      for (std::size_t c = 0; c < f.candidates.size(); ++c) {  // joined; the network's guesses are averaged
        Candidate &to = f.candidates[c], &from = prediction_.candidates[c];
        for (std::size_t k = 0; k < to.mask.data.size(); ++k) to.mask.data[k] |= from.mask.data[k];
        const float n = float(i);
        to.predicted_iou = (to.predicted_iou * n + from.predicted_iou) / (n + 1);
        to.stability = (to.stability * n + from.stability) / (n + 1);
        to.area = sampan::evaluate::area(to.mask);
      }
    }
    return f;
  }

  metrics::Scores score(const Mask& m, const EvaluateTruth& t) const {
    const Index h = t.mask.height, w = t.mask.width;
    return must(metrics::compare({m.data.data(), {1, h, w}}, {t.mask.data.data(), {1, h, w}}, t.grid, plan_.compare, pool_), Source::file);
  }

  /// First of the largest; NaN loses.
  template <class Value>
  static std::size_t best(std::size_t n, const Value& value) {
    std::size_t at = 0;
    for (std::size_t i = 1; i < n; ++i)
      if (value(i) > value(at) || (std::isnan(value(at)) && !std::isnan(value(i)))) at = i;
    return at;
  }

  static std::size_t choose(Rule rule, const std::vector<Candidate>& c, const std::vector<double>& dice) {
    switch (rule) {
      case Rule::oracle: return best(c.size(), [&](std::size_t i) { return dice[i]; });
      case Rule::iou: return best(c.size(), [&](std::size_t i) { return double(c[i].predicted_iou); });
      case Rule::stability: return best(c.size(), [&](std::size_t i) { return double(c[i].stability); });
      case Rule::largest: return best(c.size(), [&](std::size_t i) { return double(c[i].area); });
      default: return 0;
    }
  }

  std::string text_of(const Mask& m) const {
    RunLengths r;
    run_lengths(View<const std::uint8_t, 2>(m.data.data(), {Index(m.height), Index(m.width)}), 0, 0, m.height, m.width, r);
    return to_coco_text(r);
  }

  /// Rows of all rules; the candidate that `drive` picks.
  std::size_t judge(const At& at, const Forward& f, int step, bool last, Rule drive) {
    std::vector<double> dice;
    for (const Candidate& c : f.candidates) {
      const Index h = c.mask.height, w = c.mask.width;
      dice.push_back(metrics::overlap({c.mask.data.data(), {1, h, w}}, {at.truth.mask.data.data(), {1, h, w}}).dice());
    }
    std::vector<std::vector<double>> scores(f.candidates.size());
    const auto rules = f.candidates.size() == 1 ? std::vector{Rule::single} : std::vector{Rule::oracle, Rule::iou, Rule::first, Rule::stability, Rule::largest};
    for (const Rule rule : rules) {
      const std::size_t k = choose(rule, f.candidates, dice);
      const Candidate& c = f.candidates[k];
      if (scores[k].empty())
        for (const auto& named : metrics::named_scores(score(c.mask, at.truth), plan_.compare)) scores[k].push_back(named.second);
      const bool shown = last && rule == (rules.size() == 1 ? Rule::single : plan_.headline());
      at.rows.push_back({at.spec.name, at.repetition, step, rule, int(k), short_number(c.predicted_iou), short_number(c.stability), c.area, scores[k], f.said, shown ? text_of(c.mask) : std::string()});
    }
    return f.candidates.size() == 1 ? 0 : choose(drive, f.candidates, dice);
  }
  static double short_number(float f) {
    char digits[32];
    const auto r = std::to_chars(digits, digits + sizeof digits, f);
    double v = double(f);
    std::from_chars(digits, r.ptr, v);
    return v;
  }

  static std::vector<Prompt> boxes(const std::vector<Box>& all) {
    std::vector<Prompt> out;
    for (const Box& b : all) out.push_back({{}, b, {}});
    return out;
  }

  std::string once(const At& at) {
    using namespace sampan::evaluate;
    const Mask& m = at.truth.mask;
    std::vector<Prompt> p(1);
    const auto count = std::size_t(at.spec.count), negatives = std::size_t(at.spec.negatives);
    switch (at.spec.kind) {
      case PromptKind::box:
      case PromptKind::huang_box:
      case PromptKind::mazurowski_whole_box: p[0].box = tight_box(m); break;
      case PromptKind::box_exclusive: p[0].box = tight_box(m, BoxEnd::exclusive); break;
      case PromptKind::box_margin: p[0].box = box_with_margin(m, at.spec.amount); break;
      case PromptKind::box_jitter: p[0].box = jittered_box(m, at.spec.amount, at.rng); break;
      case PromptKind::box_grow: p[0].box = grown_box(m, std::int64_t(at.spec.amount.value), at.rng); break;
      case PromptKind::boxes:
      case PromptKind::mazurowski_boxes: p = boxes(component_boxes(m, count)); break;
      case PromptKind::mazurowski_box: p = boxes(component_boxes(m, 1)); break;
      case PromptKind::center: p[0].points = {center_point(m)}; break;
      case PromptKind::center_chamfer: p[0].points = {point_at(center_by_chamfer(m, at.rng))}; break;
      case PromptKind::centroid: p[0].points = {point_at(centroid(m))}; break;
      case PromptKind::random_point: p[0].points = {random_point(m, at.rng)}; break;
      case PromptKind::points: p[0].points = random_points(m, count, negatives, at.rng); break;
      case PromptKind::mazurowski_points: {
        const Components c = components(m);
        for (const std::size_t i : c.by_area(true))
          if (p[0].points.size() < count) p[0].points.push_back(point_at(center_by_chamfer(c.mask(i), at.rng)));
        break;
      }
      case PromptKind::huang_points: p[0].points = huang_points(m, count, negatives, plan_.quirk("label-by-position")); break;
      case PromptKind::huang_box_point: p[0].box = tight_box(m), p[0].points = huang_points(m, 1, 0, false); break;
      case PromptKind::medsam_box:
        p[0].box = medsam_box(m);
        if (!p[0].box) return "vanishes at 1024 x 1024 pixels";
        break;
      case PromptKind::sammed2d_box: {
        const ModelFrame f = model_frame(m, info_.image_size);
        const Mask small = to_model(m, f);
        if (sampan::evaluate::area(small) == 0) return cat("vanishes at ", f.side, " x ", f.side, " pixels");
        p[0].box = sammed2d_box(small, f);
        if (plan_.one_stream) random_point(small, at.rng);  // the published loader draws a point beside every box
        break;
      }
      default: break;
    }
    judge(at, forward(p), 1, true, Rule::iou);
    return {};
  }

  std::string dialogue(const At& at) {
    using namespace sampan::evaluate;
    const Mask& truth = at.truth.mask;
    const PromptKind kind = at.spec.kind;
    const bool sammed2d = kind == PromptKind::sammed2d_clicks, mazurowski = kind == PromptKind::mazurowski_clicks || kind == PromptKind::mazurowski_oracle_clicks;
    const Rule drive = kind == PromptKind::mazurowski_clicks ? Rule::first : kind == PromptKind::mazurowski_oracle_clicks ? Rule::oracle : Rule::iou;
    const ModelFrame frame = model_frame(truth, info_.image_size);
    const Mask small = sammed2d ? to_model(truth, frame) : Mask{};
    if (sammed2d && sampan::evaluate::area(small) == 0) return cat("vanishes at ", frame.side, " x ", frame.side, " pixels");
    std::vector<Prompt> p(1);
    p[0].points = {sammed2d ? sammed2d_point(small, frame, at.rng) : mazurowski ? point_at(center_by_chamfer(truth, at.rng)) : center_point(truth)};
    Forward f = forward(p);
    for (int step = 1;; ++step) {
      stop_if_interrupted();
      const bool last = step == at.spec.count;
      const std::size_t driver = judge(at, f, step, last, drive);
      if (last) return {};
      const Mask& now = f.candidates[driver].mask;
      const auto low = std::span<const float>(f.logits).subspan(driver * std::size_t(info_.low_res * info_.low_res), std::size_t(info_.low_res * info_.low_res));
      std::optional<LabeledPoint> next;
      if (sammed2d) next = sammed2d_click(positive_at(low, info_.low_res, frame.side), small, frame, at.rng);
      else if (mazurowski) next = click_on_all_errors(now, truth, plan_.quirk("any-class-label") ? at.any : truth, at.rng);
      else next = click_on_largest_error(now, truth);
      if (!next) continue;  // all is right: the same mask again
      p[0].points.push_back(*next);
      if (at.spec.needs_mask()) {
        p[0].mask_input.assign(low.begin(), low.end());
        if (sammed2d && plan_.quirk("sigmoid-mask-input"))
          for (float& v : p[0].mask_input) v = 1 / (1 + std::exp(-v));
      }
      f = forward(p);
    }
  }

  std::string from_everything(const At& at) {
    const Mask& truth = at.truth.mask;
    Forward f;
    double most = -1;
    for (const FoundMask& m : found_) {
      Candidate c;
      c.mask = {truth.width, truth.height, must(mask_of(m.segmentation), Source::model)};
      const double dice = metrics::overlap({c.mask.data.data(), {1, Index(truth.height), Index(truth.width)}}, {truth.data.data(), {1, Index(truth.height), Index(truth.width)}}).dice();
      if (!(dice > most)) continue;
      most = dice;
      c.predicted_iou = m.predicted_iou, c.stability = m.stability_score, c.area = m.area;
      f.candidates = {std::move(c)};
    }
    const bool none = f.candidates.empty();
    if (none) {
      f.candidates.resize(1);
      f.candidates[0].mask = {truth.width, truth.height, std::vector<std::uint8_t>(truth.data.size())};
      f.candidates[0].predicted_iou = f.candidates[0].stability = std::numeric_limits<float>::quiet_NaN();
    }
    f.said = cat("everything: ", found_.size(), " masks");
    judge(at, f, 1, true, Rule::oracle);
    at.rows.back().rule = Rule::oracle;  // the only rule there is
    return {};
  }

  Session& session_;
  const ModelInfo& info_;
  const EvaluatePlan& plan_;
  ThreadPool& pool_;
  RandomState stream_;
  Prediction prediction_;
  std::vector<FoundMask> found_;
};

}  // namespace sampan::cli
