// sampan metrics: two label maps on one grid -> the published metrics of every label. Data flow: files -> LabelFile -> metrics/compare.hpp -> table or JSON.
// A 2D file is a grey picture (PNG, BMP, PNM; 8 or 16 bits, a value is a label); a scan is NIfTI, NRRD or DICOM (examples/medical/read_volume.hpp), or an npz with segs or gts, which says
// nothing of places: then sizes alone must be equal, and millimetres come from whichever file has them.
// Labels are the union of both files, 0 is background. Distances are in pixels or in the millimetres of the scan. An undefined number is null (-) and says why in the
// library's headers (metrics/overlap.hpp, surface.hpp, voxel_surface.hpp).
// Deliberately absent: JPEG (its values are no labels), resampling: both files must lie on the same grid.
#include "commands.hpp"
#include "console.hpp"
#include "npz_labels.hpp"
#include "report.hpp"

#include "examples/medical/nifti.hpp"
#include "examples/medical/nrrd.hpp"
#include "examples/medical/read_volume.hpp"

#include <sampan/image/codec_stb.hpp>
#include <sampan/metrics/compare.hpp>

#include <cmath>
#include <map>

namespace sampan::cli {
namespace {

struct LabelFile {
  std::array<Index, 3> shape{1, 1, 1};  ///< z, y, x
  std::array<double, 3> spacing{1, 1, 1};
  bool scan = false, flat = true, spaced = false;  ///< spaced: the file says the spacing
  std::optional<medical::Affine> affine;  ///< of a scan that says where it lies
  std::vector<std::uint16_t> labels;
};

bool is_scan(const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) return true;
  const MappedFile file = must(MappedFile::open(path), Source::file);
  const auto b = file.bytes();
  return medical::looks_like_npz(b) || medical::looks_like_nrrd(b) || medical::looks_like_dicom(b) || medical::looks_like_nifti(b) || medical::ByteStream::is_gzip(b);
}

LabelFile read_npz(const std::string& path) {
  auto labels = read_npz_labels(path, "segs");
  if (!labels) labels = read_npz_labels(path, "gts");
  if (!labels) throw Failure{Exit::bad_file, cat(path, ": has neither segs.npy nor gts.npy")};
  LabelFile f;
  f.scan = true, f.flat = labels->flat, f.shape = labels->shape, f.labels = std::move(labels->voxels);
  if (const auto s = labels->spacing; s && !f.flat) {
    f.spaced = true;
    f.spacing = {(*s)[2], (*s)[1], (*s)[0]};
    for (const double v : *s)
      if (!(v >= 1e-6 && v <= 1e6)) throw Failure{Exit::bad_file, cat(path, ": spacing: numbers from 0.000001 to 1000000 are needed")};
  }
  return f;
}

LabelFile read_scan(const std::string& path) {
  if (is_npz_file(path)) return read_npz(path);
  const medical::Volume v = must(medical::read_volume(path), Source::file);
  if (v.components != 1) throw Failure{Exit::bad_file, cat(path, ": ", v.components, " values per voxel; a label map has one")};
  LabelFile f;
  f.affine = v.grid.affine;
  f.scan = f.spaced = true, f.flat = false;
  for (std::size_t a = 0; a < 3; ++a) f.shape[2 - a] = v.grid.size[a], f.spacing[2 - a] = medical::norm(v.grid.affine.column(a));
  const std::size_t n = std::size_t(f.shape[0] * f.shape[1] * f.shape[2]);
  f.labels.resize(n);
  for (std::size_t i = 0; i < n; ++i) {
    const double x = medical::value_at(v, i);
    if (!(x >= 0 && x <= 65535 && x == std::floor(x))) throw Failure{Exit::bad_file, cat(path, ": voxel ", i, " holds ", x, "; labels are whole numbers from 0 to 65535")};
    f.labels[i] = std::uint16_t(x);
  }
  return f;
}

LabelFile read_picture(const std::string& path) {
  const Image image = must(load_image(path), Source::file);
  const ImageView v = image.view();
  if (v.size.channels != 1) throw Failure{Exit::bad_file, cat(path, ": ", v.size.channels, " channels; a label map is a grey picture")};
  LabelFile f;
  f.shape = {1, v.size.height, v.size.width};
  f.labels.resize(std::size_t(v.size.height * v.size.width));
  std::uint16_t* to = f.labels.data();
  for (std::int64_t y = 0; y < v.size.height; ++y)
    for (std::int64_t x = 0; x < v.size.width; ++x) {
      const std::uint8_t* row = v.row(y);
      if (v.type == PixelType::u16) {
        std::memcpy(to++, row + 2 * x, 2);
      } else {
        *to++ = row[x];
      }
    }
  return f;
}

bool only_background(const std::uint16_t* v, Index n) {
  std::uint16_t any = 0;
  for (Index x = 0; x < n; ++x) any = std::uint16_t(any | v[x]);
  return any == 0;
}

/// For each label of either file the box around it in both.
std::map<std::uint16_t, metrics::Region> boxes_of(const LabelFile& p, const LabelFile& g) {
  struct Corners {
    std::array<Index, 3> low{-1, -1, -1}, high{-1, -1, -1};
    void include(const std::array<Index, 3>& at) {
      for (std::size_t i = 0; i < 3; ++i) low[i] = low[i] < 0 ? at[i] : std::min(low[i], at[i]), high[i] = std::max(high[i], at[i]);
    }
  };
  std::vector<Corners> all(65536);
  for (const LabelFile* f : {&p, &g}) {
    const std::uint16_t* v = f->labels.data();
    for (Index z = 0; z < f->shape[0]; ++z)
      for (Index y = 0; y < f->shape[1]; ++y, v += f->shape[2]) {
        if (only_background(v, f->shape[2])) continue;
        for (Index x = 0; x < f->shape[2];) {  // a run of one label at once
          const std::uint16_t label = v[x];
          const Index first = x;
          while (x < f->shape[2] && v[x] == label) ++x;
          if (label) all[label].include({z, y, first}), all[label].include({z, y, x - 1});
        }
      }
  }
  std::map<std::uint16_t, metrics::Region> out;
  for (std::size_t label = 1; label < all.size(); ++label)
    if (const Corners& c = all[label]; c.low[0] >= 0) out[std::uint16_t(label)] = {c.low, {c.high[0] - c.low[0] + 1, c.high[1] - c.low[1] + 1, c.high[2] - c.low[2] + 1}};
  return out;
}

/// The box of one label as a mask.
void only(const LabelFile& f, std::uint16_t label, const metrics::Region& box, std::vector<std::uint8_t>& mask) {
  mask.resize(std::size_t(box.count[0] * box.count[1] * box.count[2]));
  std::uint8_t* to = mask.data();
  for (Index z = 0; z < box.count[0]; ++z)
    for (Index y = 0; y < box.count[1]; ++y, to += box.count[2]) {
      const std::uint16_t* from = f.labels.data() + ((box.first[0] + z) * f.shape[1] + box.first[1] + y) * f.shape[2] + box.first[2];
      for (Index x = 0; x < box.count[2]; ++x) to[x] = from[x] == label;
    }
}

/// Both on one grid: sizes equal, and for scans every element of the matrices within a thousandth of a voxel's side.
void check_same_grid(const Options& o, const LabelFile& p, const LabelFile& g) {
  const auto refuse = [&](const std::string& why) { throw Failure{Exit::bad_file, cat(o.metrics.prediction, " and ", o.metrics.truth, ": ", why)}; };
  if (p.scan != g.scan || p.flat != g.flat) refuse("a scan and a picture cannot be compared");
  if (p.shape != g.shape) refuse(cat("sizes ", p.shape[2], "x", p.shape[1], "x", p.shape[0], " and ", g.shape[2], "x", g.shape[1], "x", g.shape[0], " differ; resample one of them first"));
  if (!p.affine || !g.affine) return;
  for (std::size_t i = 0; i < 3; ++i)
    for (std::size_t j = 0; j < 4; ++j)
      if (std::fabs(p.affine->m[i][j] - g.affine->m[i][j]) > 1e-3 * (j < 3 ? p.spacing[2 - j] : p.spacing[0])) refuse("the voxels lie at different places (their affines differ); resample one of them first");
}

Report number_or_null(double v) { return std::isfinite(v) ? Report(v) : std::isnan(v) ? Report(nullptr) : Report("inf"); }
std::string cell(double v) {
  if (std::isnan(v)) return "-";
  char text[32];
  std::snprintf(text, sizeof text, std::isinf(v) ? "inf" : std::fabs(v) < 1e5 ? "%.4f" : "%.0f", v);
  return text;
}

}  // namespace

void run_metrics(const Options& o) {
  const double begin = now_ms();
  const bool scan = is_scan(o.metrics.prediction), truth_scan = is_scan(o.metrics.truth);
  LabelFile p = scan ? read_scan(o.metrics.prediction) : read_picture(o.metrics.prediction), g = truth_scan ? read_scan(o.metrics.truth) : read_picture(o.metrics.truth);
  check_same_grid(o, p, g);
  if (!p.spaced) p.spacing = g.spacing;
  if (o.metrics.spacing) p.spacing = *o.metrics.spacing;
  const bool flat = p.flat, millimetres = p.spaced || g.spaced;
  const metrics::Grid grid{flat ? 2 : 3, p.spacing};
  const metrics::CompareOptions options{o.metrics.tolerance, true, o.metrics.published};

  const double start = now_ms();
  ThreadPool pool(o.load.threads);
  std::vector<std::uint8_t> a, b;
  std::vector<std::vector<std::string>> rows;
  Report list = Report::array();
  for (const auto& [label, box] : boxes_of(p, g)) {
    if (interrupted()) throw Cancelled{};
    only(p, label, box, a), only(g, label, box, b);
    const metrics::Scores s = must(metrics::compare({a.data(), box.count}, {b.data(), box.count}, grid, options, pool), Source::arguments);
    const auto named = metrics::named_scores(s, options);
    if (rows.empty()) {
      rows.push_back({"label"});
      for (const auto& [name, value] : named) rows[0].push_back(name);
    }
    Report j;
    j["label"] = label;
    rows.push_back({std::to_string(label)});
    for (const auto& [name, value] : named) j[name] = number_or_null(value), rows.back().push_back(cell(value));
    list.push_back(std::move(j));
  }
  const double done = now_ms();
  if (o.json) {
    Report j;
    j["prediction"] = o.metrics.prediction, j["truth"] = o.metrics.truth;
    j["unit"] = millimetres ? "mm" : flat ? "pixel" : "voxel";
    j["spacing"] = !flat ? Report{p.spacing[2], p.spacing[1], p.spacing[0]} : Report{p.spacing[2], p.spacing[1]};
    j["tolerance"] = o.metrics.tolerance;
    j["labels"] = std::move(list);
    j["timings_ms"] = {{"read", start - begin}, {"metrics", done - start}};
    j["threads"] = pool.threads();
    return print(j);
  }
  if (rows.empty()) {
    std::puts("both files hold background only: nothing to compare");
  }
  // One column per label, so that many metrics stay readable.
  for (std::size_t m = 0; !rows.empty() && m < rows[0].size(); ++m) {
    std::printf("%-28s", rows[0][m].c_str());
    for (std::size_t r = 1; r < rows.size(); ++r) std::printf(" %12s", rows[r][m].c_str());
    std::printf("\n");
  }
  if (std::fflush(stdout) != 0 || std::ferror(stdout)) throw Failure{Exit::bad_file, "cannot write to stdout"};
}

}  // namespace sampan::cli
