// sampan volume: a scan in, labels on the same grid out. Data flow: file -> examples/medical -> recipe -> SliceReader -> VolumeSession per plane -> masks -> overlap, tidying -> writers;
// with a volumetric network (volume_clicks.hpp) the middle is a Session3d per object.
// Cheap checks come first (words, outputs, prompts, memory), then the model; nothing is written before everything is computed. A run that is stopped leaves no file but the cache.
// Memory: the scan in its own type (or mapped), 4 bytes per voxel for labels, the mask at work and the file that is written, 4 more with --overlap confident, the model, and encoded slices in what is left.
// The provenance file holds how the labels were made and nothing about whom: no names of files, no patient.
#include "commands.hpp"
#include "label_names.hpp"
#include "report.hpp"
#include "volume_clicks.hpp"
#include "volume_prompts.hpp"

#include "examples/medical/clean.hpp"
#include "examples/medical/dicom_seg.hpp"
#include "examples/medical/montage.hpp"
#include "examples/medical/read_volume.hpp"
#include "examples/medical/recipe.hpp"

#include <sampan/core/sha256.hpp>

#include <cstring>
#include <ctime>
#include <future>

#if defined(__GLIBC__)
#  include <malloc.h>
#endif

namespace sampan::cli {
namespace {

using medical::Plane;
using medical::Vec3;

enum class Overlap { later, first, confident };

/// The words of the command line, read.
struct Plan {
  std::vector<Plane> planes;
  Overlap overlap = Overlap::later;
  medical::CleanOptions clean;
  double min_ml = 0;
  bool segmentation = false;                    ///< DICOM output
  medical::FileFormat format = medical::FileFormat::nifti_gz;
  std::string provenance;                       ///< empty: none
  medical::ReadOptions read;
};

std::optional<std::size_t> optional_number(std::string_view option, const std::string& text) { return text.empty() ? std::nullopt : std::optional(std::size_t(whole_number(option, text, 0, 1'000'000))); }

Plan volume_plan(const Options& o) {
  const VolumeWords& w = o.volume;
  Plan p;
  if (w.plane == "axial") p.planes = {Plane::axial};
  else if (w.plane == "coronal") p.planes = {Plane::coronal};
  else if (w.plane == "sagittal") p.planes = {Plane::sagittal};
  else if (w.plane == "fused") p.planes = {Plane::axial, Plane::coronal, Plane::sagittal};
  else usage(cat("--plane ", w.plane, ": unknown; known: axial, coronal, sagittal, fused"));
  if (w.overlap == "first") p.overlap = Overlap::first;
  else if (w.overlap == "confident") p.overlap = Overlap::confident;
  else if (w.overlap != "later") usage(cat("--overlap ", w.overlap, ": unknown; known: later, first, confident"));
  if (p.overlap == Overlap::confident && p.planes.size() > 1) usage("--overlap confident compares slices of one plane; it does not go with --plane fused");
  p.clean.largest = w.largest, p.clean.fill_holes = w.fill_holes;
  if (!w.min_size.empty() && (!read_number(w.min_size, p.min_ml) || !(p.min_ml > 0 && p.min_ml < 1e9))) usage(cat("--min-size ", w.min_size, ": millilitres above 0 are needed"));
  if (!w.recipe.empty() && std::find(std::begin(medical::kRecipes), std::end(medical::kRecipes), w.recipe) == std::end(medical::kRecipes)) usage(cat("--recipe ", w.recipe, ": unknown; known: auto, percentile, pet, full, file, as-is (CT: --window-preset)"));
  p.segmentation = o.output.size() > 4 && medical::detail::lower(o.output.substr(o.output.size() - 4)) == ".dcm";
  if (!p.segmentation) {
    auto f = medical::format_of_name(o.output);
    if (!f) usage(cat("-o ", o.output, ": the name must end in .nii, .nii.gz, .nrrd, .npz or .dcm"));
    p.format = *f;
  }
  if (w.keep_patient && !p.segmentation) usage("--keep-patient belongs to a .dcm output; other formats never hold patient data");
  p.provenance = w.provenance == "none" ? std::string() : w.provenance.empty() ? o.output + ".json" : w.provenance;
  p.read.series = optional_number("--series", w.series);
  p.read.dicom.volume = optional_number("--frame", w.frame);
  if (p.read.dicom.volume) p.read.frame = std::int64_t(*p.read.dicom.volume);
  p.read.dicom.fill_gaps = w.fill_gaps;
  p.read.dicom.keep_patient = w.keep_patient;
  p.read.dicom.decoder = medical::default_decoder();
  if (o.load.max_memory) p.read.limits.max_bytes = p.read.dicom.limits.max_bytes = p.read.dicom.dicom.max_bytes = o.load.max_memory;
  return p;
}

/// The scan, and what came along with it.
struct Scan {
  medical::Volume volume;
  std::optional<medical::DicomSource> dicom;
  std::optional<medical::GreyRange> window;
  std::optional<medical::NpzCase> npz;          ///< its image has moved to `volume`
};

/// A choice that the user must make is a matter of usage; `options` names what makes it.
[[noreturn]] void refuse_scan(const Error& e, std::string_view options) {
  if (e.code() == ErrorCode::invalid_argument) usage(cat(e.message(), options));
  throw Failure{exit_code(e.code(), Source::file), e.message()};
}

Scan read_scan(const Options& o, const Plan& p) {
  Scan s;
  std::error_code ignored;
  const bool folder = std::filesystem::is_directory(o.image, ignored);
  bool npz = false, dicom = folder;
  if (!folder) {
    const auto file = must(MappedFile::open(o.image), Source::file);
    npz = medical::looks_like_npz(file.bytes());
    dicom = medical::looks_like_dicom(file.bytes());
  }
  if (npz) {
    auto c = medical::read_npz(o.image, p.read.limits);
    if (!c) refuse_scan(c.error(), "");
    s.npz = std::move(*c);
    s.volume = std::move(s.npz->image);
  } else if (dicom) {
    auto v = medical::read_dicom_volume(o.image, p.read.series, p.read.dicom);
    if (!v) refuse_scan(v.error(), "; --series N, --frame N");
    s.volume = std::move(v->image);
    s.dicom = std::move(v->source);
    s.window = v->window;
  } else {
    auto v = medical::read_volume(o.image, p.read);
    if (!v) refuse_scan(v.error(), "; --frame N");
    s.volume = std::move(*v);
  }
  if (p.segmentation && !s.dicom) usage(cat("-o ", o.output, ": a DICOM segmentation needs a DICOM scan; ", o.image, " is none"));
  return s;
}

medical::Recipe read_recipe(const Options& o, const Scan& s) {
  if (o.window) return {"window", medical::GreyRange{o.window->center - o.window->width / 2, o.window->center + o.window->width / 2}};
  auto r = medical::choose_recipe(s.volume, o.volume.recipe.empty() ? "auto" : o.volume.recipe, s.window);
  if (!r) usage(cat(o.image, ": ", r.error().message(), " (--window-preset NAME or --window LEVEL,WIDTH for CT, --recipe percentile for MR, --recipe full for all of it)"));
  return std::move(*r);
}

std::vector<VolumeObjectPrompt> read_prompts(const Options& o, const Scan& s, bool points_possible) {
  const VolumeWords& w = o.volume;
  if (!o.prompts_file.empty()) {
    if (!w.boxes.empty() || !w.points.empty()) usage("--prompts cannot be mixed with --box or --point: put all objects into the file");
    const auto file = must(MappedFile::open(o.prompts_file), Source::file);
    const std::string name = medical::detail::lower(o.prompts_file);
    if (name.size() > 4 && name.substr(name.size() - 4) == ".csv") return parse_volume_csv(as_text(file.bytes()), o.prompts_file);
    return parse_volume_prompts(as_text(file.bytes()), o.prompts_file, s.volume.grid.affine);
  }
  std::vector<VolumeObjectPrompt> out;
  if (w.boxes.size() > 1 && !w.points.empty()) usage(cat(w.boxes.size(), " boxes together with points: which object is meant? Write the objects to a file and use --prompts FILE.json"));
  if (w.boxes.size() > kMaxObjects) throw Failure{Exit::refused, cat(w.boxes.size(), " boxes, at most ", kMaxObjects, " are possible")};
  for (const auto& text : w.boxes) {
    const auto v = numbers("--box", text, "X0,Y0,Z0,X1,Y1,Z1");
    VolumeObjectPrompt p;
    p.label = int(out.size()) + 1;
    p.said = cat("--box ", text);
    VoxelBox b{{v[0], v[1], v[2]}, {v[3], v[4], v[5]}};
    for (std::size_t i = 0; i < 3; ++i)
      if (!std::isfinite(b.low[i]) || !std::isfinite(b.high[i]) || b.low[i] > b.high[i]) usage(cat(p.said, ": is inverted or not finite: x0 <= x1, y0 <= y1, z0 <= z1 are needed"));
    p.boxes.push_back(b);
    out.push_back(std::move(p));
  }
  add_points(w.points, out);
  if (out.empty() && s.npz) out = prompts_of_case(*s.npz, points_possible);
  if (out.empty()) usage("what is to be segmented? --box X0,Y0,Z0,X1,Y1,Z1, --point X,Y,Z,LABEL or --prompts FILE.json");
  return out;
}

/// One plane at work.
struct View3 {
  medical::SlicePlan plan;
  medical::SliceReader reader;
  std::optional<VolumeSession> session;
  static Status read(void* user, std::int64_t z, std::uint8_t* out) {
    static_cast<View3*>(user)->reader.read(z, out);
    return {};
  }
};

/// What is found of one object.
struct Found {
  std::int64_t voxels = 0, slices = 0;
  double iou = std::numeric_limits<double>::quiet_NaN();
  medical::CleanReport cleaned;
};

/// f(from, to, slot) for pieces of [0, n), on all threads.
template <class F>
void in_pieces(ThreadPool& pool, std::size_t n, F&& f) {
  constexpr std::size_t kPiece = std::size_t(1) << 18;
  pool.parallel_for(Index((n + kPiece - 1) / kPiece), [&](Index piece, int slot) { f(std::size_t(piece) * kPiece, std::min(n, std::size_t(piece + 1) * kPiece), slot); });
}
void clear(ThreadPool& pool, std::vector<std::uint8_t>& mask) {
  in_pieces(pool, mask.size(), [&](std::size_t from, std::size_t to, int) { std::memset(mask.data() + from, 0, to - from); });
}

/// Masks of one object in all planes -> 0 and 1 per voxel; the mean of the predicted IoU over its slices.
void collect(ThreadPool& pool, const std::vector<std::unique_ptr<View3>>& views, int label, std::vector<std::uint8_t>& mask, Found& f, std::vector<float>& slice_iou) {
  clear(pool, mask);
  double sum = 0;
  std::int64_t n = 0;
  std::vector<std::uint8_t> votes = views.size() > 1 ? std::vector<std::uint8_t>(mask.size(), 0) : std::vector<std::uint8_t>();
  for (const auto& v : views) {
    const std::size_t count = std::size_t(v->plan.size[2]), area = std::size_t(v->plan.size[0] * v->plan.size[1]);
    std::vector<std::uint8_t> slices(area * std::size_t(pool.threads())), there(count, 0);
    std::vector<Status> said(count);
    slice_iou.assign(count, 0);
    if (views.size() > 1) clear(pool, mask);
    pool.parallel_for(Index(count), [&](Index z, int slot) {
      const std::span slice(slices.data() + area * std::size_t(slot), area);
      const auto has = v->session->try_mask(label, z, slice);
      if (!has) said[std::size_t(z)] = has.error();
      if (!has || !*has || !std::memchr(slice.data(), 1, area)) return;
      medical::put_slice(mask, v->plan, z, slice.data(), 1);
      there[std::size_t(z)] = 1;
    });
    for (std::size_t z = 0; z < count; ++z) {
      must(std::move(said[z]), Source::arguments);
      if (!there[z]) continue;
      slice_iou[z] = v->session->predicted_iou(label, std::int64_t(z));
      if (std::isfinite(slice_iou[z])) sum += double(slice_iou[z]), ++n;
    }
    for (std::size_t i = 0; i < votes.size(); ++i) votes[i] = std::uint8_t(votes[i] + mask[i]);
  }
  for (std::size_t i = 0; i < votes.size(); ++i) mask[i] = votes[i] >= 2;
  f.slices = n;
  if (n) f.iou = sum / double(n);
}

Report vector_report(const Vec3& v) { return Report::array({v[0], v[1], v[2]}); }

/// Positions in voxels and in RAS millimetres.
Report prompts_report(const std::vector<VolumeObjectPrompt>& objects, const medical::Affine& a) {
  Report all = Report::array();
  for (const auto& o : objects) {
    Report j;
    j["label"] = o.label;
    const auto boxes = [&](const char* key, const std::vector<VoxelBox>& list) {
      for (const auto& b : list) j[key].push_back({{"voxel", Report::array({vector_report(b.low), vector_report(b.high)})}, {"mm", Report::array({vector_report(a.apply(b.low)), vector_report(a.apply(b.high))})}});
    };
    boxes("boxes", o.boxes);
    boxes("lines", o.lines);
    for (const auto& [p, label] : o.points) j["points"].push_back({{"voxel", vector_report(p)}, {"mm", vector_report(a.apply(p))}, {"label", label}});
    all.push_back(std::move(j));
  }
  return all;
}

/// --montage and --animation, of the first plane. A volumetric network has no range of grey values of its own: then what suits the scan, or all of it.
void draw_pictures(const Options& o, const Scan& scan, Plane plane, const medical::Recipe& recipe, const medical::LabelMap& labels, OutputFiles& files) {
  if (o.volume.montage.empty() && o.volume.animation.empty()) return;
  std::optional<medical::GreyRange> range = recipe.range;
  for (const char* name : {"auto", "full"})
    if (!range && scan.volume.type != medical::VoxelType::u8)
      if (const auto r = medical::choose_recipe(scan.volume, name, scan.window)) range = r->range;
  const medical::SlicePlan sp = medical::slice_plan(labels.grid, plane);
  const auto reader = must(medical::SliceReader::make(scan.volume, sp, range), Source::arguments);
  std::vector<std::uint8_t> png;
  if (!o.volume.montage.empty()) {
    must(medical::Album(reader, sp, labels, {.side = 256}).montage(png), Source::arguments);
    files.bytes(o.volume.montage, png);
  }
  if (o.volume.animation.empty()) return;
  ProgressSink sink(o, "animation");
  const Progress progress = sink.progress();
  const Status drawn = medical::Album(reader, sp, labels, {.side = 512}).animation(png, [&](double done) { return !progress.report || progress.report(progress.user, "slice", done); });
  if (!drawn && drawn.error().code() == ErrorCode::cancelled) throw Cancelled{};
  must(Status(drawn), Source::arguments);
  files.bytes(o.volume.animation, png);
}

/// How much is left for encoded slices, and what the model may take. Throws Failure{refused} before anything large is asked for.
std::uint64_t budget_without_scan(const Options& o, const Plan& p, const Scan& s) {
  const std::uint64_t limit = o.load.max_memory;
  if (!limit) return 0;
  const std::uint64_t voxels = medical::voxel_count(s.volume.grid.size);
  // A mapped scan counts as well: its pages are resident while it is read.
  const std::uint64_t mine = s.volume.data.size() + voxels * (4u + (p.overlap == Overlap::confident ? 4u : 0u) + (p.planes.size() > 1 ? 1u : 0u)) + (std::uint64_t(24) << 20);  // 24 MiB: the program itself
  if (mine >= limit) throw Failure{Exit::refused, cat("--max-memory: the scan and its labels alone need ", mine >> 20, " MiB, the limit is ", limit >> 20, " MiB")};
  return limit - mine;
}

/// What segmented, and what is said of it: sessions per plane, or per object.
struct Network {
  std::vector<std::unique_ptr<View3>> views;
  std::unique_ptr<ClickedObjects> clicked;
  VolumeStats stats;
  std::string name, preprocessing;
  ModelIdentity identity;
  std::future<Result<std::string>> digest;  ///< of the model file, made while it is loaded; none where nobody is told

  template <class M>
  const M& take(const M& model) {
    const auto& m = model.info();
    name = m.name, preprocessing = m.preprocessing;
    identity = {m.family, digest.valid() ? must(digest.get(), Source::model) : std::string(), m.licence};
    return model;
  }
  /// 0 and 1 per voxel of object n.
  void collect(ThreadPool& pool, std::size_t n, int label, std::vector<std::uint8_t>& mask, Found& f, std::vector<float>& slice_iou) const {
    if (!clicked) return cli::collect(pool, views, label, mask, f, slice_iou);
    clicked->mask(n, mask);
    f.iou = clicked->predicted_iou(n);
    const auto plane = std::ptrdiff_t(mask.size()) / std::ptrdiff_t(slices);
    for (auto from = mask.begin(); from != mask.end(); from += plane) f.slices += std::find(from, from + plane, 1) != from + plane;
  }
  std::int64_t slices = 1;  ///< of the scan, along k
};

/// Gives freed memory to the system: the encoded slices lay between other things on the heap, and the labels want pages of their own.
void trim_heap() {
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
}

/// Points in time of a run, milliseconds.
struct Marks {
  double start, loaded, segmented;
};

/// Masks -> labels, files, reports.
void write_result(const Options& o, const Options& with_rest, const Plan& plan, const Scan& scan, const medical::Recipe& recipe,
                  const std::vector<VolumeObjectPrompt>& objects, const LabelNames& names, const Network& network, const Times& t, const Marks& marks) {
  const auto& grid = scan.volume.grid;
  ThreadPool pool(std::min(o.load.threads, 4));  // passes over memory, and each thread has room for a slice
  // Objects one by one into the label map.
  medical::LabelMap labels{grid, std::vector<std::uint16_t>(medical::voxel_count(grid.size), 0), {}};
  std::vector<std::uint8_t> mask(labels.voxels.size());
  std::vector<float> best(plan.overlap == Overlap::confident ? labels.voxels.size() : 0, -std::numeric_limits<float>::infinity()), slice_iou;
  const double mm3 = medical::voxel_mm3(grid.affine);
  medical::CleanOptions clean = plan.clean;
  if (plan.min_ml > 0) clean.min_voxels = std::int64_t(std::ceil(plan.min_ml * 1000 / mm3));
  std::vector<Found> found(objects.size());
  for (std::size_t n = 0; n < objects.size(); ++n) {
    stop_if_interrupted();
    const auto label = std::uint16_t(objects[n].label);
    network.collect(pool, n, label, mask, found[n], slice_iou);
    found[n].cleaned = medical::clean(mask, grid.size, clean);
    in_pieces(pool, mask.size(), [&](std::size_t from, std::size_t to, int) {
      for (std::size_t i = from; i < to; ++i) {
        if (std::uint64_t eight = 0; i + 8 <= to && (std::memcpy(&eight, mask.data() + i, 8), eight == 0)) {  // most of a scan is no object
          i += 7;
          continue;
        }
        if (!mask[i]) continue;
        if (plan.overlap == Overlap::first && labels.voxels[i]) continue;
        if (plan.overlap == Overlap::confident) {
          const auto& sp = network.views[0]->plan;
          const std::int64_t row = grid.size[0], area = row * grid.size[1], at = std::int64_t(i);
          const Vec3 voxel{double(at % row), double(at % area / row), double(at / area)};
          const float iou = slice_iou[std::size_t(medical::to_slice(sp, voxel)[2])];
          if (!(iou > best[i])) continue;
          best[i] = iou;
        }
        labels.voxels[i] = label;
      }
    });
    labels.segments.push_back({label, objects[n].name, names.colour(label).value_or(medical::label_colour(label))});
  }
  std::vector<std::vector<std::int64_t>> counts(std::size_t(pool.threads()), std::vector<std::int64_t>(65536, 0));  // background counts in part only
  in_pieces(pool, labels.voxels.size(), [&](std::size_t from, std::size_t to, int slot) {
    auto& mine = counts[std::size_t(slot)];
    for (std::size_t i = from; i < to; ++i) {
      if (std::uint64_t four = 0; i + 4 <= to && (std::memcpy(&four, labels.voxels.data() + i, 8), four == 0)) i += 3;
      else ++mine[labels.voxels[i]];
    }
  });

  // What is said about it.
  Report list = Report::array();
  std::vector<std::string> warnings = scan.volume.notes;
  for (std::size_t n = 0; n < objects.size(); ++n) {
    Found& f = found[n];
    for (const auto& of_slot : counts) f.voxels += of_slot[std::size_t(objects[n].label)];
    Report j;
    j["label"] = objects[n].label;
    if (!objects[n].name.empty()) j["name"] = objects[n].name;
    if (const auto colour = names.colour(objects[n].label)) j["colour"] = *colour;
    j["voxels"] = f.voxels, j["ml"] = double(f.voxels) * mm3 / 1000, j["slices"] = f.slices;
    j["predicted_iou"] = std::isfinite(f.iou) ? Report(f.iou) : Report(nullptr);
    if (clean.largest || clean.min_voxels > 0) j["components"] = f.cleaned.components, j["removed_voxels"] = f.cleaned.removed;
    if (clean.fill_holes) j["filled_voxels"] = f.cleaned.filled;
    if (network.clicked) j["cubes"] = network.clicked->cubes(n);
    if (f.voxels == 0) warnings.push_back(cat("object ", objects[n].label, " is empty"));
    list.push_back(std::move(j));
  }
  Report engine = run_report(with_rest, network.identity, t, Report::array());
  Report provenance;
  {
    provenance["tool"] = {{"name", "sampan"}, {"version", SAMPAN_VERSION}};
    provenance["model"] = engine["model"];
    provenance["model"]["name"] = network.name, provenance["model"]["preprocessing"] = network.preprocessing;
    provenance["engine"] = engine["engine"];
    provenance["determinism"] = "the same bits for any number of threads on one instruction set level";
    provenance["scan"] = {{"size", grid.size}, {"spacing_mm", vector_report(medical::spacing(grid.affine))}, {"axes", medical::axis_codes(grid.affine)}, {"voxels", medical::to_string(scan.volume.type)}, {"sha256_of_voxels", ""}};
    if (!scan.volume.modality.empty()) provenance["scan"]["modality"] = scan.volume.modality;
    provenance["recipe"] = {{"name", recipe.name}};
    if (recipe.range) provenance["recipe"]["low"] = recipe.range->low, provenance["recipe"]["high"] = recipe.range->high;
    if (network.clicked) provenance["extend"] = o.volume.extend;
    if (!network.clicked) provenance["plane"] = o.volume.plane, provenance["interpolate"] = o.volume.interpolate;
    provenance["overlap"] = o.volume.overlap;
    provenance["tidying"] = {{"keep_largest", clean.largest}, {"fill_holes", clean.fill_holes}, {"min_voxels", clean.min_voxels}};
    provenance["prompts"] = prompts_report(objects, grid.affine);
    provenance["objects"] = list;
    provenance["warnings"] = warnings;
  }

  const double composed = now_ms();
  std::vector<std::uint8_t>().swap(mask);  // the file that is written needs as much
  std::future<std::string> digest;         // beside the writing of the labels
  if (!plan.provenance.empty()) digest = std::async(std::launch::async, [&] { return sha256_hex(scan.volume.data.bytes()); });
  OutputFiles files;
  files.written(o.output, [&](AtomicFile& out) -> Status {
    if (!plan.segmentation) return medical::write_labels(out, plan.format, labels, scan.npz && scan.npz->flat);
    const std::time_t now = std::time(nullptr);
    char date[16], time[16];
    std::strftime(date, sizeof date, "%Y%m%d", std::gmtime(&now));
    std::strftime(time, sizeof time, "%H%M%S", std::gmtime(&now));
    return medical::write_dicom_seg(out, labels, *scan.dicom, {date, time});
  });
  if (!plan.provenance.empty()) {
    provenance["scan"]["sha256_of_voxels"] = digest.get();
    const std::string text = provenance.dump(2, ' ', false, Report::error_handler_t::replace) + "\n";
    files.bytes(plan.provenance, as_bytes(text));
  }
  draw_pictures(o, scan, plan.planes[0], recipe, labels, files);
  if (o.trace && network.clicked) write_trace(*o.trace, network.clicked->trace, files);
  files.commit();
  if (o.json) {
    Report j;
    j["objects"] = std::move(list);
    const VolumeStats& s = network.stats;
    if (!network.clicked) j["slices"] = {{"encoded", s.encoded}, {"from_memory", s.from_memory}, {"from_folder", s.from_folder}, {"decoded", s.decoded}};
    std::array<double, 3> parts{s.read_ms, s.encode_ms, s.decode_ms};
    if (network.clicked) parts = {network.clicked->read_ms, network.clicked->encode_ms, network.clicked->decode_ms};
    j["timings_ms"] = {{"load", marks.loaded - marks.start}, {"read", parts[0]}, {"encode", parts[1]}, {"decode", parts[2]}, {"segment", marks.segmented - marks.loaded}, {"compose", composed - marks.segmented}, {"write", now_ms() - composed}};
    for (const char* key : {"peak_memory_mib", "model", "engine"}) j[key] = engine[key];
    j["peak_memory_mib"] = peak_memory_mib();
    j["warnings"] = warnings;
    print(j);
  }
  for (std::size_t n = 0; n < std::min<std::size_t>(objects.size(), 10); ++n) {
    char text[80];
    std::snprintf(text, sizeof text, "%lld voxels, %.2f ml, predicted IoU %.3f", static_cast<long long>(found[n].voxels), double(found[n].voxels) * mm3 / 1000, found[n].iou);
    note(o, cat("object ", objects[n].label, objects[n].name.empty() ? std::string() : cat(" (", objects[n].name, ")"), ": ", found[n].voxels ? text : "empty"));
  }
  for (const auto& w : warnings) note(o, cat("note: ", w));
}

}  // namespace

void run_volume(const Options& o) {
  const Plan plan = volume_plan(o);
  const LabelNames names = LabelNames::read(o.label_names);
  OutputPlan outputs;
  for (const std::string& path : {o.image, o.model, o.prompts_file, o.label_names}) outputs.input(path);
  outputs.output("-o", o.output);
  if (!plan.provenance.empty()) outputs.output("--provenance", plan.provenance);
  if (o.trace) outputs.output("--trace", o.trace->path);
  if (!o.volume.montage.empty()) outputs.png("--montage", o.volume.montage);
  if (!o.volume.animation.empty()) outputs.png("--animation", o.volume.animation);

  const double start = now_ms();
  Scan scan = read_scan(o, plan);
  const auto& grid = scan.volume.grid;
  const bool volumetric = takes_volumes(o.model);
  if (volumetric) check_volumetric_words(o);
  else if (o.trace) usage("--trace of a volume belongs to networks that see volumes; of a slice: sampan segment");
  else if (o.volume.extend) usage("--extend belongs to networks that see volumes; this one goes from slice to slice, as far as the object goes");
  const medical::Recipe recipe = volumetric ? medical::Recipe{"the network's own"} : read_recipe(o, scan);
  Options with_rest = o;
  with_rest.load.max_memory = budget_without_scan(o, plan, scan);
  std::vector<VolumeObjectPrompt> objects = read_prompts(o, scan, true);  // what does not fit is told before the weights are read
  const auto give_names = [&] {
    for (auto& object : objects) object.name = names.name(object.label, object.name);
  };
  give_names();
  Times t;
  Network network;
  if (o.json || !plan.provenance.empty())
    network.digest = std::async(std::launch::async, [&o]() -> Result<std::string> {
      SAMPAN_TRY(file, MappedFile::open(o.model));
      return sha256_of_file(file);
    });
  if (volumetric) {
    if (scan.npz && o.prompts_file.empty() && o.volume.boxes.empty() && o.volume.points.empty())
      clicks_of_case(objects);
    else
      check_volumetric_prompts(objects);
    network.slices = grid.size[2];
    network.clicked = std::make_unique<ClickedObjects>(network.take(read_model_3d(with_rest, t)), scan.volume);
    const double loaded = now_ms();
    network.clicked->segment(objects, o);
    return write_result(o, with_rest, plan, scan, recipe, objects, names, network, t, {start, loaded, now_ms()});
  }
  const Model model = read_model(with_rest, t);
  network.take(model);
  if (!o.volume.cache.empty()) {
    std::error_code error;
    std::filesystem::create_directories(o.volume.cache, error);
    if (error || !std::filesystem::is_directory(o.volume.cache, error)) throw Failure{Exit::bad_file, cat("--cache ", o.volume.cache, ": not a folder that can be made or used")};
  }
  if (scan.npz && !model.info().points) objects = read_prompts(o, scan, false), give_names();
  const double loaded = now_ms();

  // One session per plane; what the limit leaves is shared between their caches.
  const ModelInfo& m = model.info();
  std::uint64_t cache = (std::uint64_t(512) << 20) / plan.planes.size();
  if (with_rest.load.max_memory) {
    const std::uint64_t taken = m.weight_bytes + plan.planes.size() * std::max(m.encode_bytes, m.decode_bytes);
    cache = with_rest.load.max_memory > taken ? (with_rest.load.max_memory - taken) / plan.planes.size() : 1;
  }
  auto& views = network.views;
  for (const Plane plane : plan.planes) {
    const medical::SlicePlan sp = medical::slice_plan(grid, plane);
    auto reader = must(medical::SliceReader::make(scan.volume, sp, recipe.range), Source::arguments);
    views.push_back(std::make_unique<View3>(View3{sp, std::move(reader), std::nullopt}));
    View3& v = *views.back();
    const std::uint64_t slice = m.embedding_bytes;  // one is at work beside the cache
    v.session.emplace(must(VolumeSession::try_open(model, {v.reader.size(), sp.size[2], View3::read, &v}, {.cache_bytes = cache > slice ? cache - slice : 1, .cache_folder = o.volume.cache, .interpolate = o.volume.interpolate, .keep_all = false}), Source::arguments));
    apply_prompts(*v.session, objects, sp);
  }

  VolumeStats& stats = network.stats;
  for (std::size_t i = 0; i < views.size(); ++i) {
    ProgressSink sink(o, views.size() > 1 ? cat(medical::to_string(plan.planes[i]), " ", i + 1, " of ", views.size()) : std::string("slices"));
    const Status status = views[i]->session->try_propagate(sink.progress());
    if (!status && status.error().code() == ErrorCode::cancelled) throw Cancelled{};
    must(Status(status), Source::arguments);
    views[i]->session->forget_slices();  // what follows needs the memory
    trim_heap();
    const VolumeStats& s = views[i]->session->stats();
    stats.encoded += s.encoded, stats.from_memory += s.from_memory, stats.from_folder += s.from_folder, stats.decoded += s.decoded;
    stats.read_ms += s.read_ms, stats.encode_ms += s.encode_ms, stats.decode_ms += s.decode_ms;
  }
  write_result(o, with_rest, plan, scan, recipe, objects, names, network, t, {start, loaded, now_ms()});
}

}  // namespace sampan::cli
