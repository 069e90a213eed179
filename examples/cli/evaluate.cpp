// sampan evaluate: a data set and a model to the numbers of a published protocol. Data flow: DATASET.json -> images, masks -> Evaluator -> journal -> tables, page.
// Cheap checks come first (words, data set, capabilities of the model); each image is encoded once, or taken from the cache; each mask that is done is in the journal, from which
// everything is written at the end: masks.csv, report.json, report.html appear complete or not at all. A run that is stopped continues when it is called again.
// Scans become slices first (dataset_volumes.hpp); what was found in the slices of one is put together again and scored as a volume (evaluate_volumes.hpp).
// An image that cannot be read is named, the others go on, and the exit code is 7. Deliberately absent: volumetric networks.
#include "commands.hpp"
#include "evaluate_cvpr24.hpp"
#include "evaluate_html.hpp"
#include "volumetric.hpp"

#include <sampan/image/mask_codec.hpp>

#include <array>

namespace sampan::cli {
namespace {

namespace fs = std::filesystem;

bool is_cache_name(const fs::path& p) {
  const std::string s = p.stem().string();
  return p.extension() == ".safetensors" && s.size() == 64 && s.find_first_not_of("0123456789abcdef") == std::string::npos;
}

/// Encoded images in a folder, at most `limit` bytes of them; the ones that were not used for longest go first.
class EmbeddingCache {
 public:
  EmbeddingCache(std::string folder, std::uint64_t limit, std::string identity) : folder_(std::move(folder)), limit_(limit), identity_(std::move(identity)) {
    std::error_code ignored;
    if (!folder_.empty() && !fs::is_directory(folder_, ignored)) usage(cat("--cache ", folder_, ": is no folder, create it first"));
  }
  /// True if the session now holds this picture.
  bool load(Session& session, const ImageView& rgb) {
    if (folder_.empty()) return false;
    Sha256 sha;
    sha.update(as_bytes(cat(identity_, "\n", rgb.size.width, "x", rgb.size.height, "\n")));
    for (std::int64_t y = 0; y < rgb.size.height; ++y) sha.update({rgb.row(y), rgb.row_bytes()});
    path_ = cat(folder_, "/", sha.hex(), ".safetensors");
    std::error_code ignored;
    if (!fs::exists(path_, ignored) || !session.try_load_embedding(path_)) return false;  // a damaged file counts as none, and is written anew
    fs::last_write_time(path_, fs::file_time_type::clock::now(), ignored);
    return true;
  }
  /// The picture that load() did not find.
  void save(const Session& session) {
    if (folder_.empty()) return;
    must(session.try_save_embedding(path_), Source::file);
    struct Row {
      fs::file_time_type used;
      fs::path path;
      std::uint64_t bytes;
    };
    std::vector<Row> rows;
    std::uint64_t all = 0;
    for (const auto& e : fs::directory_iterator(folder_)) {
      std::error_code error;
      const auto bytes = is_cache_name(e.path()) ? e.file_size(error) : 0;
      if (bytes == 0 || error) continue;
      rows.push_back({e.last_write_time(error), e.path(), bytes});
      all += bytes;
    }
    std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.used < b.used; });
    for (const Row& r : rows) {
      if (all <= limit_) break;
      std::error_code ignored;
      fs::remove(r.path, ignored);
      all -= r.bytes;
    }
  }

 private:
  std::string folder_;
  std::uint64_t limit_;
  std::string identity_, path_;
};

EvaluatePlan evaluate_plan(const Options& o) {
  const EvaluateWords& w = o.evaluate;
  EvaluatePlan p;
  p.compare.published_variants = w.published;
  std::string list = w.prompts;
  if (!w.protocol.empty()) {
    p.profile = evaluate::find_profile(w.protocol);
    if (!p.profile) {
      std::string known;
      for (const auto& row : evaluate::kProfiles) known += cat(known.empty() ? "" : ", ", row.name);
      usage(cat("--protocol ", w.protocol, ": unknown; known: ", known));
    }
    if (!list.empty()) usage("--protocol and --prompts both say which prompts are made: give one");
    list = p.profile->prompts;
    for (const auto& q : evaluate::words(p.profile->quirks)) p.quirks.insert(q);
    p.min_area = p.profile->min_area, p.one_stream = p.profile->one_stream, p.seed = p.profile->seed;
  }
  for (const auto& q : w.without)
    if (p.quirks.erase(q) == 0) usage(cat("--without ", q, ": ", p.profile ? cat("the protocol ", p.profile->name, p.quirks.empty() ? " has no quirks left" : " has no such quirk") : "quirks belong to a --protocol"));
  if (list.empty() && !p.profile) list = "box,box-jitter:5%x3,box-jitter:10%x3,box-jitter:20%x3";
  std::set<std::string> names;
  for (const auto& word : evaluate::words(list)) {
    auto s = evaluate::parse_prompt(word);
    if (!s) usage(cat("--prompts: ", s.error().message()));
    if (!names.insert(s->name).second) usage(cat("--prompts: ", s->name, " is given twice"));
    p.prompts.push_back(std::move(*s));
  }
  if (p.prompts.size() > 100) throw Failure{Exit::refused, cat("--prompts: ", p.prompts.size(), " prompts, at most 100 are possible")};
  if (!w.seed.empty()) {
    double v = 0;
    if (!read_number(w.seed, v) || v != std::floor(v) || v < 0 || v > 4294967295.0) usage(cat("--seed ", w.seed, ": a whole number from 0 to 4294967295 is needed"));
    p.seed = std::uint32_t(v);
  }
  if (!w.min_area.empty()) p.min_area = whole_number("--min-area", w.min_area, 1, 1 << 30);
  if (!w.bootstrap.empty()) p.bootstrap.repeats = std::size_t(whole_number("--bootstrap", w.bootstrap, 0, 1'000'000));
  if (!w.tolerance.empty()) p.compare.tolerance = numbers("--tolerance", w.tolerance, "T")[0];
  if (!(p.compare.tolerance >= 0 && p.compare.tolerance < 1e12)) usage(cat("--tolerance ", w.tolerance, ": a distance from 0 is needed"));
  return p;
}

/// One or three masks, and whether the model takes the prompts at all: before any image is read.
void fit_to_model(EvaluatePlan& p, const Options& o, const ModelInfo& m) {
  const std::string& word = o.evaluate.masks;
  const bool single = p.profile && p.profile->single;
  if (word == "auto") p.multimask = single && m.single_mask ? false : m.multimask;
  else p.multimask = word == "multi";
  for (const PromptSpec& s : p.prompts) {
    Prompt example;
    if (s.needs_boxes()) example.box = Box{0, 0, 1, 1};
    example.points.assign(std::size_t(s.most_points()), {0, 0, 1});
    if (s.needs_mask() && s.count > 1) example.mask_input.assign(std::size_t(m.low_res * m.low_res), 0.0f);
    must(named(check(example, m, {p.multimask, Select::iou}), cat("prompt ", s.name)), Source::arguments);
    if (s.kind == PromptKind::everything && !m.multimask) usage(cat("prompt ", s.name, ": everything mode needs three masks per click; ", m.name, " gives one"));
  }
}

Report settings_report(const EvaluatePlan& p, const Options& o, const Dataset& d, const Report& engine) {
  Report prompts = Report::array();
  for (const PromptSpec& s : p.prompts) prompts.push_back(s.repeat > 1 ? cat(s.name, "x", s.repeat) : s.name);
  Report j = {{"version", SAMPAN_VERSION}, {"dataset", d.sha256}, {"model", engine["model"]["sha256"]}};
  for (const char* key : {"device", "isa", "precision"}) j[key] = engine["engine"][key];
  j["protocol"] = p.profile ? Report(p.profile->name) : Report(nullptr);
  j["prompts"] = prompts;
  j["quirks"] = p.quirks;
  j["masks"] = p.multimask ? "multi" : "single";
  j["seed"] = p.seed, j["one_stream"] = p.one_stream, j["min_area"] = p.min_area;
  j["tolerance"] = p.compare.tolerance, j["published_variants"] = p.compare.published_variants;
  j["window"] = o.window ? Report{o.window->center, o.window->width} : Report(nullptr);
  return j;
}

/// Which slices and masks a run is about: truth that changes them makes another run.
std::string slices_identity(const Dataset& d) {
  Sha256 sha;
  for (const ImageEntry& e : d.images) {
    std::string line = e.name;
    for (const int v : e.values) line += cat(" ", v);
    sha.update(as_bytes(line + "\n"));
  }
  return sha.hex();
}

/// A grey picture as numbers [h, w].
std::vector<std::uint16_t> read_values(const std::string& path, const ImageSize& size) {
  const Image image = must(load_image(path), Source::file);
  const ImageView v = image.view();
  if (v.size.channels != 1) throw Failure{Exit::bad_file, cat(path, ": ", v.size.channels, " channels; a mask is a grey picture")};
  if (v.size.width != size.width || v.size.height != size.height) throw Failure{Exit::bad_file, cat(path, ": ", v.size.width, "x", v.size.height, " pixels, its image has ", size.width, "x", size.height)};
  std::vector<std::uint16_t> out;
  for (std::int64_t y = 0; y < size.height; ++y)
    for (std::int64_t x = 0; x < size.width; ++x) {
      std::uint16_t value = v.row(y)[x];
      if (v.type == PixelType::u16) std::memcpy(&value, v.row(y) + 2 * x, 2);
      out.push_back(value);
    }
  return out;
}

/// The masks of an image, in the order of its entry: its files, then the values of its label map.
std::vector<EvaluateTruth> read_truths(const Dataset& d, const ImageEntry& e, const ImageSize& size, Scans& scans) {
  if (e.volume) return scans.truths(d, e);
  std::vector<EvaluateTruth> out;
  std::map<std::string, int> seen;
  const auto sp = e.spacing.value_or(std::array<double, 2>{1, 1});
  const auto add = [&](const std::string& label, const std::vector<std::uint16_t>& values, std::optional<int> value) {
    Mask m{size.width, size.height, std::vector<std::uint8_t>(values.size())};
    for (std::size_t i = 0; i < values.size(); ++i) m.data[i] = value ? values[i] == *value : values[i] != 0;
    out.push_back({e.name, label, ++seen[label], std::move(m), {2, {1, sp[1], sp[0]}}});
  };
  for (const MaskEntry& m : e.masks) add(m.label, read_values(m.file, size), m.value);
  if (e.label_map.empty()) return out;
  const auto values = read_values(e.label_map, size);
  const std::set<std::uint16_t> present(values.begin(), values.end());
  for (const int v : present) {
    const auto name = d.labels.find(v);
    if (v != 0 && (d.labels.empty() || name != d.labels.end())) add(d.labels.empty() ? std::to_string(v) : name->second, values, v);
  }
  return out;
}

/// The picture as the model is given it: 8-bit RGB.
std::vector<std::uint8_t> read_picture(const ImageEntry& e, const Options& o, const EvaluatePlan& p, ImageSize& size, Scans& scans) {
  std::vector<std::uint8_t> rgb;
  if (e.volume) {
    rgb = scans.picture(e, size);
  } else {
    const Image image = must(load_image(e.image), Source::file);
    size = {image.size().width, image.size().height, 3};
    rgb.resize(std::size_t(size.width * size.height * 3));
    const auto window = e.window ? e.window : o.window;
    must(named(to_rgb8(image.view(), window, View<std::uint8_t, 3>(rgb.data(), {Index(size.height), Index(size.width), 3})), cat(e.image, " (\"window\", or --window-preset, says what 16 bits show)")), Source::file);
  }
  if (p.quirk("rescale-max")) {
    const double most = *std::max_element(rgb.begin(), rgb.end());
    for (auto& v : rgb) v = most > 0 ? std::uint8_t(double(v) / most * 255) : v;
  }
  return rgb;
}

/// One bar over all images that are still to be done; an image counts by the work it needs.
class Course {
 public:
  Course(const Options& o, std::size_t images) : sink_(o, "evaluate"), images_(std::max<std::size_t>(1, images)) {}
  void image(double encode_share) { encode_share_ = encode_share; }
  void next() { ++done_; }
  void masks(std::size_t done, std::size_t all) { tell("decode", encode_share_ + (1 - encode_share_) * double(done) / double(std::max<std::size_t>(1, all))); }
  Progress encoding() { return {[](void* user, std::string_view stage, double f) { return static_cast<Course*>(user)->tell(stage, static_cast<Course*>(user)->encode_share_ * f); }, this}; }

 private:
  bool tell(std::string_view stage, double within) { 
    const Progress p = sink_.progress();
    return p.report(p.user, stage, (double(done_) + within) / double(images_));
  }
  ProgressSink sink_;
  std::size_t images_, done_ = 0;
  double encode_share_ = 0.5;
};

struct FailedImage {
  std::string image, message;
};

void evaluate_image(std::size_t i, const Dataset& d, const Options& o, const EvaluatePlan& p, const ModelInfo& m, Session& session, Evaluator& evaluator, EmbeddingCache& cache, Journal& journal, Course& course, Scans& scans) {
  const ImageEntry& e = d.images[i];
  ImageSize size;
  const auto rgb = read_picture(e, o, p, size, scans);
  auto truths = read_truths(d, e, size, scans);
  Mask any{size.width, size.height, std::vector<std::uint8_t>(std::size_t(size.width * size.height))};
  for (const auto& t : truths)
    for (std::size_t k = 0; k < any.data.size(); ++k) any.data[k] |= t.mask.data[k];
  std::erase_if(truths, [&](const EvaluateTruth& t) { return journal.has(i, t.label, t.instance); });

  double forwards = 0, encode_ms = -1;
  bool everything = false;
  const evaluate::PromptSpec* grid = nullptr;
  for (const PromptSpec& s : p.prompts) {
    if (s.kind == PromptKind::everything) everything = true, grid = &s;
    else forwards += double(s.repeat) * (s.iterative() ? s.count : 1);
  }
  const double decode = forwards * double(truths.size()) * m.decode_flop, encode = m.encode_flop + (grid ? double(grid->count) * grid->count * m.decode_flop : 0);
  course.image(encode / std::max(1.0, encode + decode));
  if (!truths.empty()) {
    const ImageView view{rgb.data(), size, PixelType::u8, 0};
    const double start = now_ms();
    const auto passed = [](const Status& s) {
      if (!s && s.error().code() == ErrorCode::cancelled) throw Cancelled{};
    };
    if (everything) {
      EverythingOptions options;
      options.points_per_side = grid->count;
      auto found = try_everything(session, view, options, {}, course.encoding());
      if (!found) {
        if (found.error().code() == ErrorCode::cancelled) throw Cancelled{};
        must(Status(std::move(found).error()), Source::model);
      }
      evaluator.found(std::move(*found));
      encode_ms = now_ms() - start;
    } else if (!cache.load(session, view)) {
      auto s = session.try_set_image(view, {}, course.encoding());
      passed(s);
      must(std::move(s), Source::model);
      encode_ms = session.timings().encode;
      cache.save(session);
    }
  }
  for (std::size_t k = 0; k < truths.size(); ++k) {
    course.masks(k, truths.size());
    const EvaluateTruth& t = truths[k];
    EvaluateResult r{i, t.label, t.instance, evaluate::area(t.mask), {}, {}};
    r.skipped = evaluator.evaluate(t, any, r.rows);
    if (!r.skipped.empty()) r.rows.clear();
    journal.add(std::move(r), evaluator.stream().drawn());
  }
  journal.image(i, encode_ms);
}

Report skipped_report(const std::vector<EvaluateResult>& results, const Dataset& d) {
  Report j = Report::array();
  for (const auto& r : results)
    if (!r.skipped.empty()) j.push_back({{"image", d.images[r.image].name}, {"label", r.label}, {"instance", r.instance}, {"why", r.skipped}});
  return j;
}

}  // namespace

void run_evaluate(const Options& o) {
  EvaluatePlan plan = evaluate_plan(o);
  if (takes_volumes(o.model)) usage(cat(o.model, " holds a volumetric network, evaluate prompts slices: segment with sampan volume, then score with sampan metrics"));
  if (plan.profile && plan.prompts.empty()) return run_cvpr24(o, plan);
  if (!o.evaluate.truth.empty()) usage("--truth belongs to --protocol cvpr24-laptop; a data set names its masks");
  Dataset dataset = [&] {
    const auto file = must(MappedFile::open(o.image), Source::file);
    return parse_dataset(as_text(file.bytes()), o.image);
  }();
  Times t;
  const Model model = read_model(o, t);
  const ModelInfo info = model.info();
  fit_to_model(plan, o, info);
  const Report engine = run_report(o, model, t, Report::array());
  Scans scans(o);
  std::vector<FailedImage> failed;
  const std::size_t scan_count = std::size_t(std::count_if(dataset.images.begin(), dataset.images.end(), [](const ImageEntry& e) { return e.volume.has_value(); }));
  scans.expand(dataset, [&](const ImageEntry& e, const std::string& why) {
    if (plan.one_stream) throw Failure{Exit::bad_file, why};
    failed.push_back({e.name, why});
  });
  if (dataset.images.empty()) throw Failure{Exit::bad_file, failed[0].message};
  const std::size_t asked = dataset.images.size() + failed.size();
  Report settings = settings_report(plan, o, dataset, engine);
  if (scan_count > 0) settings["slices"] = slices_identity(dataset);
  const ScoreNames names(plan.compare);

  std::error_code error;
  const fs::path folder = o.output;
  if (!fs::is_directory(folder, error) && !fs::create_directory(folder, error)) throw Failure{Exit::bad_file, cat("-o ", o.output, ": cannot create this folder", error ? cat(": ", error.message()) : std::string())};
  const auto path = [&](const char* name) { return (folder / name).string(); };
  OutputPlan outputs;
  outputs.input(o.image);
  outputs.input(o.model);
  for (const char* name : {"masks.csv", "report.json", "report.html"}) outputs.output("-o", path(name));
  if (scan_count > 0) outputs.output("-o", path("objects.csv"));
  EmbeddingCache cache(o.evaluate.cache, byte_size("--cache-limit", o.evaluate.cache_limit), cat(settings["model"].dump(), settings["device"].dump(), settings["isa"].dump(), settings["precision"].dump(), SAMPAN_VERSION));
  Journal journal(path("journal.jsonl"), settings, o.evaluate.restart, dataset.images.size(), names.all.size());

  const std::size_t before = journal.results().size(), images_before = journal.images();
  if (before > 0) note(o, cat(path("journal.jsonl"), " holds ", before, " masks of ", images_before, " finished images: the run continues"));
  Session session(model);
  ThreadPool pool(o.load.threads);
  Evaluator evaluator(session, info, plan, pool);
  evaluator.stream().skip(journal.drawn());
  try {
    Course course(o, dataset.images.size() - images_before);
    for (std::size_t i = 0; i < dataset.images.size(); ++i) {
      if (journal.image_done(i)) continue;
      stop_if_interrupted();
      try {
        evaluate_image(i, dataset, o, plan, info, session, evaluator, cache, journal, course, scans);
      } catch (const Failure& f) {
        if (f.code != Exit::bad_file || plan.one_stream) throw;  // a stream of random numbers goes through all images: none can be stepped over
        failed.push_back({dataset.images[i].name, f.message});
      }
      course.next();
    }
  } catch (const Cancelled&) {
    throw Cancelled{cat(journal.results().size(), " masks are done; the same command continues")};
  }

  auto results = journal.results();
  std::stable_sort(results.begin(), results.end(), [](const EvaluateResult& a, const EvaluateResult& b) { return a.image < b.image; });  // an image that was repaired comes last in the journal
  const auto groups = group_rows(results, plan);
  Report report;
  report["tool"] = {{"name", "sampan"}, {"version", SAMPAN_VERSION}};
  report["model"] = engine["model"];
  report["model"]["name"] = info.name, report["model"]["preprocessing"] = info.preprocessing;
  report["engine"] = engine["engine"];
  report["settings"] = settings;
  report["settings"]["bootstrap"] = {{"repeats", plan.bootstrap.repeats}, {"seed", plan.bootstrap.seed}, {"confidence", plan.bootstrap.confidence}, {"clusters", "patients"}};
  report["settings"]["failure_dice"] = kFailureDice;
  report["settings"]["unit"] = dataset.millimetres ? "mm" : "pixel";
  std::set<std::string> patients;
  for (const auto& e : dataset.images) patients.insert(e.patient);
  report["dataset"] = {{"name", dataset.name}, {"file", fs::path(o.image).filename().string()}, {"sha256", dataset.sha256}, {"images", dataset.images.size()}, {"patients", patients.size()}, {"masks", results.size()}};
  report["skipped"] = skipped_report(results, dataset);
  report["failed"] = Report::array();
  for (const FailedImage& f : failed) report["failed"].push_back({{"image", f.image}, {"why", f.message}});
  report["encode_ms"] = {{"images", journal.encode_ms().size()}, {"median", journal.encode_ms().empty() ? Report(nullptr) : Report(median(journal.encode_ms()))}};
  OutputFiles files;
  const auto put = [&](const char* name, const std::string& text) { files.bytes(path(name), as_bytes(text)); };
  const auto picture = [&](std::size_t i, ImageSize& size) { return read_picture(dataset.images[i], o, plan, size, scans); };
  const auto truth = [&](std::size_t i, const std::string& label, int instance, const ImageSize& size) {
    for (auto& m : read_truths(dataset, dataset.images[i], size, scans))
      if (m.label == label && m.instance == instance) return std::move(m.mask);
    throw Failure{Exit::bad_file, cat(dataset.images[i].said, ": its masks changed while the run was stopped; --restart begins anew")};
  };
  std::vector<ObjectScore> objects;
  try {
    report["results"] = results_report(groups, results, dataset, plan, names);
    put("masks.csv", csv_of(results, dataset, names));
    if (scan_count > 0) {
      objects = score_objects(results, dataset, plan, scans, pool);
      report["objects"] = objects_report(objects, plan, names);
      put("objects.csv", objects_csv(objects, dataset, names));
    }
    put("report.json", report.dump(1, ' ', false, Report::error_handler_t::replace) + "\n");
    put("report.html", evaluate_page(report, groups, results, objects, dataset, plan, names, picture, truth));
    files.commit();
  } catch (const Cancelled&) {
    throw Cancelled{"all masks are done; the same command writes the tables"};
  }
  if (o.json) {
    print(report);
  } else {
    const std::string table = terminal_table(groups, results, dataset, plan, names) + objects_table(objects, plan, names);
    if (std::fwrite(table.data(), 1, table.size(), stdout) != table.size() || std::fflush(stdout) != 0) throw Failure{Exit::bad_file, "cannot write to stdout"};
  }
  if (!failed.empty()) throw Failure{Exit::partly, cat(failed.size(), " of ", asked, " images could not be evaluated, the rest is in ", o.output, "; the first: ", failed[0].message)};
}

}  // namespace sampan::cli
