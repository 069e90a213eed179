// sampan segment: image, model and prompts to a mask. Data flow, which is the way of one image:
//   check words and outputs -> read image -> check prompts against it -> read model -> encode -> decode each object -> compose masks -> write all files -> report.
// Cheap checks come first, so that a slip costs no minute; nothing is written before everything is computed.
// Objects go through in small groups: only what is written is kept of them (label map, overlay, numbers; logits if --dump asks).
#include "commands.hpp"
#include "ensemble.hpp"
#include "label_names.hpp"
#include "segment_classes.hpp"

#include <sampan/image/mask_codec.hpp>
#include <sampan/image/overlay.hpp>

#include <array>

namespace sampan::cli {
namespace {

constexpr std::size_t kGroup = 4;  // the library decodes that many alike prompts together (predict/session_state.hpp)

std::vector<ObjectPrompt> read_objects(const Options& o) {
  if (o.prompts_file.empty()) return o.objects;
  const auto file = must(MappedFile::open(o.prompts_file), Source::file);
  return parse_prompts(as_text(file.bytes()), o.prompts_file);
}

/// low_res_logits of a --dump, one map. Throws Failure{bad_file}.
std::vector<float> read_mask_input(const std::string& path, std::int64_t side) {
  const auto refuse = [&](std::string_view what) { throw Failure{Exit::bad_file, cat(path, ": ", what)}; };
  const auto file = must(weights::Safetensors::open(path), Source::file);
  const auto* t = file.find("low_res_logits");
  if (!t) refuse("no tensor low_res_logits; segment --dump writes it");
  const auto count = std::size_t(weights::element_count(t->shape).value_or(0));
  const auto rank = t->shape.size();
  if (!is_floating(t->dtype)) refuse(cat("low_res_logits is ", to_string(t->dtype), ", f32 is needed"));
  if (rank < 2 || t->shape[rank - 1] != side || t->shape[rank - 2] != side) refuse(cat("low_res_logits is ", weights::to_string(t->shape), ", this model needs [1,1,", side, ",", side, "]"));
  if (count != std::size_t(side * side)) refuse(cat("low_res_logits is ", weights::to_string(t->shape), ", one map is needed: dump one object without --multimask"));
  std::vector<float> v(count);
  weights::convert_to_f32(t->dtype, t->data.data(), count, v.data());
  if (!std::all_of(v.begin(), v.end(), [](float f) { return std::isfinite(f); })) refuse("low_res_logits holds NaN or Inf");
  return v;
}

std::string numbered(const std::string& path, std::size_t i) { return cat(path.substr(0, path.size() - 4), "_", i, path.substr(path.size() - 4)); }

/// What remains of the objects: composed while they are decoded, written at the end.
class Results {
 public:
  Results(const Options& o, const std::vector<ObjectPrompt>& objects, const LabelNames& names, const Image* image, ImageSize size) : o_(o), objects_(objects), names_(names), size_(size) {
    const std::size_t pixels = std::size_t(size.width * size.height);
    files_ = o.output.empty() ? 0 : o.select == Masks::all ? 3 : 1;
    map_.assign(files_, std::vector<std::uint16_t>(pixels, 0));
    if (o.overlay.empty()) return;
    overlay_.resize(pixels * 3);
    must(to_rgb8(image->view(), o.window, overlay_view()), Source::arguments);
  }

  /// Value of object i in the label map.
  int label(std::size_t i) const { return objects_[i].label.value_or(int(i) + 1); }

  void add(std::size_t i, const Prediction& p) {
    for (std::size_t f = 0; f < files_; ++f) paint(map_[f], written(p, f).mask, std::uint16_t(label(i)));
    if (!o_.overlay.empty()) draw(i, p);
    if (!o_.dump.empty()) {
      logits_.insert(logits_.end(), p.low_res_logits.begin(), p.low_res_logits.end());
      for (const auto& c : p.candidates) iou_.push_back(c.predicted_iou);
      candidates_ = std::int64_t(p.candidates.size()), side_ = p.low_res;
    }
    report_.push_back(object_report(label(i), name(i), p));
    if (const auto c = names_.colour(label(i))) report_.back()["colour"] = *c;
    if (i < 10) notes_.push_back(summary(i, p));
    if (i == 10) notes_.push_back(cat("... ", objects_.size() - 10, " more"));
  }

  void write(OutputFiles& out, const Session& session) const {
    std::vector<std::uint8_t> png;
    for (std::size_t f = 0; f < files_; ++f) {
      const View<const std::uint16_t, 2> map(map_[f].data(), {Index(size_.height), Index(size_.width)});
      if (objects_.size() > 1 || o_.labels) {
        must(encode_labels_png(map, png), Source::arguments);
      } else {
        std::vector<std::uint8_t> mask(map_[f].size());
        std::transform(map_[f].begin(), map_[f].end(), mask.begin(), [](std::uint16_t v) { return std::uint8_t(v != 0); });
        must(encode_mask_png(View<const std::uint8_t, 2>(mask.data(), {Index(size_.height), Index(size_.width)}), png), Source::arguments);
      }
      out.bytes(o_.select == Masks::all ? numbered(o_.output, f) : o_.output, png);
    }
    if (!o_.overlay.empty()) {
      must(encode_png({overlay_.data(), {size_.width, size_.height, 3}, PixelType::u8}, png), Source::arguments);
      out.bytes(o_.overlay, png);
    }
    if (!o_.dump.empty()) {
      const auto embedding = must(session.try_image_embedding(), Source::arguments);
      const std::int64_t n = std::int64_t(objects_.size()), g = side_ / 4;  // the decoder upsamples the grid four times
      out.tensors(o_.dump,
                  {{"image_embedding", {1, std::int64_t(embedding.size()) / (g * g), g, g}, embedding},
                   {"low_res_logits", {n, candidates_, side_, side_}, logits_},
                   {"iou_predictions", {n, candidates_}, iou_}},
                  {});
    }
  }

  Report report() const { return report_; }
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  const Candidate& written(const Prediction& p, std::size_t file) const { return o_.select == Masks::all ? p.candidates[file] : p.best(); }
  static void paint(std::vector<std::uint16_t>& map, const Mask& mask, std::uint16_t value) {
    for (std::size_t k = 0; k < map.size(); ++k)
      if (mask.data[k]) map[k] = value;
  }
  View<std::uint8_t, 3> overlay_view() { return {overlay_.data(), {Index(size_.height), Index(size_.width), 3}}; }

  /// Every mask that is written gets its own colour. Colours go by position (overlay_colour), so the object stands at its place among empty ones.
  void draw(std::size_t i, const Prediction& p) {
    const ObjectPrompt& said = objects_[i];
    std::vector<OverlayPoint> points;
    for (const auto& q : said.prompt.points) points.push_back({{q.x, q.y}, q.label});
    const std::size_t masks = o_.select == Masks::all ? p.candidates.size() : 1;
    for (std::size_t m = 0; m < masks; ++m) {
      std::array<OverlayObject, std::size(kOverlayColours)> row{};
      OverlayObject& mine = row[(i * masks + m) % row.size()];
      mine.mask = {written(p, m).mask.data.data(), {Index(size_.height), Index(size_.width)}};
      if (masks == 1) mine.colour = names_.colour(label(i));  // candidates of one object stay apart
      if (m == 0) mine.box = said.prompt.box, mine.points = points;
      must(draw_overlay(overlay_view(), row), Source::arguments);
    }
  }

  std::string name(std::size_t i) const { return names_.name(label(i), objects_[i].name); }
  std::string summary(std::size_t i, const Prediction& p) const {
    const std::string who = objects_.size() == 1 ? std::string("object") : cat("object ", label(i));
    const std::string called = name(i).empty() ? std::string() : cat(" (", name(i), ")");
    if (p.best().area == 0) return cat(who, called, ": empty mask: no pixel is above the threshold");
    char numbers[64];
    std::snprintf(numbers, sizeof numbers, "predicted IoU %.3f, stability %.3f", double(p.best().predicted_iou), double(p.best().stability));
    return cat(who, called, ": ", p.best().area, " pixels, ", numbers);
  }

  const Options& o_;
  const std::vector<ObjectPrompt>& objects_;
  const LabelNames& names_;
  ImageSize size_;
  std::size_t files_ = 0;
  std::vector<std::vector<std::uint16_t>> map_;  // one per written file
  std::vector<std::uint8_t> overlay_;
  std::vector<float> logits_, iou_;
  std::int64_t candidates_ = 0, side_ = 0;
  Report report_ = Report::array();
  std::vector<std::string> notes_;
};

Select rule(Masks m) {
  switch (m) {
    case Masks::first: return Select::first;
    case Masks::stability: return Select::stability;
    case Masks::largest: return Select::largest;
    default: return Select::iou;
  }
}

/// Each object as an ensemble; maps are those of the only object.
void decode_ensembles(Session& session, const Options& o, const std::vector<ObjectPrompt>& objects, Times& t, Results* results, Ensemble& e) {
  const Jitter jitter = parse_jitter(o.jitter);
  double decode = 0, postprocess = 0;
  for (std::size_t i = 0; i < objects.size(); ++i) {
    stop_if_interrupted();
    const auto members = moved_prompts(objects[i].prompt, std::size_t(o.ensemble), jitter, o.seed, i, session.image_size());
    must(session.try_predict_ensemble(members, e, {.multimask = o.multimask, .select = rule(o.select), .hq_token_only = o.hq_token_only}), Source::arguments);
    decode += session.timings().decode, postprocess += session.timings().postprocess;
    if (results) results->add(i, as_prediction(e));
  }
  t.decode.push_back(decode);
  t.postprocess.push_back(postprocess);
}

/// All objects once; `results` may be null for a run that is only measured.
void decode_all(Session& session, const Options& o, const std::vector<ObjectPrompt>& objects, Times& t, Results* results) {
  std::array<Prompt, kGroup> prompts;
  std::array<Prediction, kGroup> predictions;
  double decode = 0, postprocess = 0;
  for (std::size_t i = 0; i < objects.size(); i += kGroup) {
    stop_if_interrupted();
    const std::size_t n = std::min(kGroup, objects.size() - i);
    for (std::size_t k = 0; k < n; ++k) prompts[k] = objects[i + k].prompt;
    must(session.try_predict_into(std::span<const Prompt>(prompts).first(n), std::span(predictions).first(n), {.multimask = o.multimask, .select = rule(o.select), .hq_token_only = o.hq_token_only}), Source::arguments);
    decode += session.timings().decode;
    postprocess += session.timings().postprocess;
    for (std::size_t k = 0; results && k < n; ++k) results->add(i + k, predictions[k]);
  }
  t.decode.push_back(decode);
  t.postprocess.push_back(postprocess);
}

void plan_files(OutputPlan& plan, const Options& o, const std::vector<ObjectPrompt>& objects) {
  for (const std::string& path : {o.image, o.model, o.embedding, o.prompts_file, o.label_names}) plan.input(path);
  for (const auto& p : objects) plan.input(p.mask_file);
  if (o.select == Masks::all) {
    for (std::size_t f = 0; f < 3; ++f) plan.png("-o", o.output.size() < 4 ? o.output : numbered(o.output, f));
  } else if (!o.output.empty()) {
    plan.png("-o", o.output);
  }
  if (!o.overlay.empty()) plan.png("--overlay", o.overlay);
  if (!o.mean_map.empty()) plan.png("--mean-map", o.mean_map);
  if (!o.variance_map.empty()) plan.png("--variance-map", o.variance_map);
  if (!o.dump.empty()) plan.output("--dump", o.dump);
  if (o.trace) plan.output("--trace", o.trace->path);
}

}  // namespace

void run_segment(const Options& o) {
  std::vector<ObjectPrompt> objects = read_objects(o);
  const LabelNames names = LabelNames::read(o.label_names);
  OutputPlan plan;
  plan_files(plan, o, objects);

  Times t;
  std::optional<Image> image;
  if (!o.image.empty()) {
    image = read_image(o, t);
    for (auto& p : objects) resolve_recist(p, image->size()), check_geometry(p, image->size());
  }
  const Model model = read_model(o, t);
  const bool classes = model.info().classes > 0;
  if (classes) {
    for (const auto& p : objects)
      if (!p.prompt.points.empty() || p.prompt.box || p.recist || !p.mask_file.empty()) check_capability(p, model.info(), {});
    if (o.multimask || o.hq_token_only || o.ensemble || o.select != Masks::iou || !o.dump.empty() || o.trace || !o.prompts_file.empty())
      usage(cat(model.info().name, " gives each pixel a class: leave --prompts, --multimask, --select, --hq-token-only, --ensemble, --dump and --trace out"));
  }
  for (auto& p : objects) {
    if (classes) break;
    check_capability(p, model.info(), {.multimask = o.multimask, .hq_token_only = o.hq_token_only});
    if (!p.mask_file.empty()) p.prompt.mask_input = read_mask_input(p.mask_file, model.info().low_res);
  }

  Session session(model);
  Trace trace(o.trace ? o.trace->names : std::vector<std::string>());
  if (o.trace) session.set_trace(&trace);
  if (!o.embedding.empty()) {
    const double start = now_ms();
    must(session.try_load_embedding(o.embedding), Source::file);
    t.load += now_ms() - start;
    const ImageSize size = session.image_size();
    if (image && (image->size().width != size.width || image->size().height != size.height))
      throw Failure{Exit::bad_file, cat(o.embedding, ": encoded from an image of ", size.width, "x", size.height, " pixels, ", o.image, " is ", image->size().width, "x", image->size().height)};
    for (auto& p : objects) resolve_recist(p, size), check_geometry(p, size);
  }
  if (classes) return segment_classes(o, model, session, image ? &*image : nullptr, names, t);
  if ((!o.mean_map.empty() || !o.variance_map.empty()) && objects.size() != 1) usage(cat("--mean-map and --variance-map show one object, there are ", objects.size()));
  Ensemble ensemble;
  std::optional<Results> results;
  for (int n = 0; n < o.repeat; ++n) {
    if (o.embedding.empty()) encode_image(session, *image, o, n, t);
    const bool last = n + 1 == o.repeat;
    if (last) results.emplace(o, objects, names, image ? &*image : nullptr, session.image_size());
    o.ensemble ? decode_ensembles(session, o, objects, t, last ? &*results : nullptr, ensemble) : decode_all(session, o, objects, t, last ? &*results : nullptr);
  }

  const double start = now_ms();
  OutputFiles files;
  results->write(files, session);
  if (!o.mean_map.empty()) files.bytes(o.mean_map, heat_png(ensemble.mean, ensemble.mask.width, ensemble.mask.height, 1));
  if (!o.variance_map.empty()) files.bytes(o.variance_map, heat_png(ensemble.variance, ensemble.mask.width, ensemble.mask.height, 0.25));
  if (o.trace) write_trace(*o.trace, trace, files);
  files.commit();
  t.write = now_ms() - start;
  if (o.json) print(run_report(o, model, t, results->report()));
  for (const auto& line : results->notes()) note(o, line);  // last: after a failure the error is the only line
}

}  // namespace sampan::cli
