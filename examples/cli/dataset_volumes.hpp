// Scans of a data set as pictures: which slices are evaluated, their grey values, their masks. Data flow: Dataset -> expand() -> one entry per slice -> picture(), truths() -> evaluate.cpp.
// One scan is open at a time: slices of one stand together, so each is read once. Masks are pixels of the untouched grid; distances are in the scan's millimetres.
// Deliberately absent: resampling (image and labels lie on one grid, or it is an error), slices without a label: no prompt can be simulated there.
#pragma once
#include "dataset.hpp"
#include "evaluate_run.hpp"
#include "npz_labels.hpp"

#include "examples/medical/read_volume.hpp"

namespace sampan::cli {

class Scans {
 public:
  explicit Scans(const Options& o) : options_(o) {}

  /// Each scan of the data set replaced by its slices. What cannot be read is told to failed(entry, message) and left out. Throws Failure{refused} beyond kMaxDatasetImages.
  template <class Failed>
  void expand(Dataset& d, const Failed& failed) {
    std::vector<ImageEntry> out;
    for (ImageEntry& e : d.images) {
      if (!e.volume) {
        out.push_back(std::move(e));
        continue;
      }
      stop_if_interrupted();
      try {
        for (auto& slice : slices_of(e, d)) out.push_back(std::move(slice));
      } catch (const Failure& f) {
        if (f.code != Exit::bad_file) throw;
        failed(e, f.message);
      }
      if (out.size() > kMaxDatasetImages) throw Failure{Exit::refused, cat("more than ", kMaxDatasetImages, " slices; \"slices\": \"every:N\" or \"largest\" takes fewer")};
    }
    d.images = std::move(out);
  }

  /// RGB of a slice.
  std::vector<std::uint8_t> picture(const ImageEntry& e, ImageSize& size) {
    const Open& s = open(e);
    const auto reader = must(medical::SliceReader::make(s.image, s.plan, s.recipe.range), Source::file);
    std::vector<std::uint8_t> pixels(reader.bytes());
    reader.read(e.slice, pixels.data());
    size = {s.plan.size[0], s.plan.size[1], 3};
    if (reader.channels() == 3) return pixels;
    std::vector<std::uint8_t> rgb(pixels.size() * 3);
    for (std::size_t i = 0; i < rgb.size(); ++i) rgb[i] = pixels[i / 3];
    return rgb;
  }

  std::vector<EvaluateTruth> truths(const Dataset& d, const ImageEntry& e) {
    const Open& s = open(e);
    std::vector<EvaluateTruth> out;
    std::map<std::string, int> seen;  // values may share a name
    for (const int value : e.values) {
      const std::string name = name_of(d, value);
      out.push_back({e.name, name, ++seen[name], mask(s, e.slice, value), {2, {1, s.plan.step[1], s.plan.step[0]}}});
    }
    return out;
  }

  /// Labels and geometry of the scan that a slice belongs to.
  struct Open {
    std::string file;
    medical::Volume image;
    medical::LabelMap truth;
    medical::SlicePlan plan;
    medical::Recipe recipe;
  };
  const Open& open(const ImageEntry& e) {
    if (!open_ || open_->file != e.image || plane_ != e.volume->plane || labels_ != e.label_map) {
      open_.reset();  // two scans never stand in memory
      open_ = read(e);
      plane_ = e.volume->plane, labels_ = e.label_map;
    }
    return *open_;
  }

  static std::string name_of(const Dataset& d, int value) {
    const auto at = d.labels.find(value);
    return at == d.labels.end() ? std::to_string(value) : at->second;
  }

  /// Pixels of one value in a slice.
  static Mask mask(const Open& s, std::int64_t n, int value) {
    Mask m{s.plan.size[0], s.plan.size[1], std::vector<std::uint8_t>(std::size_t(s.plan.size[0] * s.plan.size[1]))};
    std::uint8_t* to = m.data.data();
    for (std::int64_t y = 0; y < m.height; ++y)
      for (std::int64_t x = 0; x < m.width; ++x) *to++ = s.truth.voxels[std::size_t(s.plan.index(x, y, n))] == value;
    return m;
  }

 private:
  Open read(const ImageEntry& e) const {
    medical::ReadOptions o;
    if (options_.load.max_memory) o.limits.max_bytes = options_.load.max_memory;
    Open s;
    s.file = e.image;
    const std::string& labels = e.label_map.empty() ? e.image : e.label_map;
    if (is_npz_file(labels)) {
      auto c = must(medical::read_npz(labels, o.limits), Source::file);
      if (!c.truth) throw Failure{Exit::bad_file, cat(labels, ": has no member gts.npy", e.label_map.empty() ? "; \"label_map\" names another file" : "")};
      s.truth = std::move(*c.truth);
      if (labels == e.image) s.image = std::move(c.image);
    } else if (e.label_map.empty()) {
      throw Failure{Exit::bad_file, cat(e.said, ": \"label_map\" is missing: without ground truth nothing can be scored")};
    } else {
      auto truth = medical::to_labels(must(medical::read_volume(labels, o), Source::file));
      if (!truth) throw Failure{Exit::bad_file, cat(labels, ": ", truth.error().message())};
      s.truth = std::move(*truth);
    }
    if (labels != e.image) s.image = must(medical::read_volume(e.image, o), Source::file);
    check_same_grid(s, labels);
    if (!e.modality.empty()) s.image.modality = e.modality;
    s.plan = medical::slice_plan(s.image.grid, e.volume->plane);
    if (const auto window = e.window ? e.window : options_.window; window && e.volume->recipe.empty()) {
      s.recipe = {"window", medical::GreyRange{window->center - window->width / 2, window->center + window->width / 2}};
    } else {
      auto r = medical::choose_recipe(s.image, e.volume->recipe.empty() ? "auto" : e.volume->recipe, std::nullopt);
      if (!r) throw Failure{Exit::bad_file, cat(e.image, ": ", r.error().message(), " (\"window\", \"recipe\" or \"modality\" in the data set)")};
      s.recipe = std::move(*r);
    }
    return s;
  }

  /// Sizes equal, and every element of the matrices within a thousandth of a voxel's side.
  static void check_same_grid(const Open& s, const std::string& labels) {
    const auto refuse = [&](const char* why) { throw Failure{Exit::bad_file, cat(s.file, " and ", labels, ": ", why, "; resample one of them first")}; };
    if (s.image.grid.size != s.truth.grid.size) refuse("their sizes differ");
    const medical::Vec3 step = medical::spacing(s.image.grid.affine);
    for (std::size_t i = 0; i < 3; ++i)
      for (std::size_t j = 0; j < 4; ++j)
        if (std::fabs(s.image.grid.affine.m[i][j] - s.truth.grid.affine.m[i][j]) > 1e-3 * step[j < 3 ? j : i]) refuse("their voxels lie at different places (affines)");
  }

  std::vector<ImageEntry> slices_of(const ImageEntry& e, const Dataset& d) {
    const Open& s = open(e);
    std::map<int, std::vector<std::int64_t>> counts;  // per value and slice
    for (std::int64_t n = 0; n < s.plan.size[2]; ++n)
      for (std::int64_t y = 0; y < s.plan.size[1]; ++y)
        for (std::int64_t x = 0; x < s.plan.size[0]; ++x)
          if (const int v = s.truth.voxels[std::size_t(s.plan.index(x, y, n))]; v != 0) {
            auto& list = counts[v];
            if (list.empty()) list.resize(std::size_t(s.plan.size[2]));
            ++list[std::size_t(n)];
          }
    std::map<std::int64_t, std::vector<int>> chosen;
    for (const auto& [value, list] : counts) {
      if (!d.labels.empty() && d.labels.count(value) == 0) continue;
      const auto largest = std::max_element(list.begin(), list.end()) - list.begin();
      for (std::int64_t n = 0; n < s.plan.size[2]; ++n) {
        const bool wanted = e.volume->slices == VolumeEntry::Slices::largest ? n == largest : n % e.volume->step == 0;
        if (wanted && list[std::size_t(n)] > 0) chosen[n].push_back(value);
      }
    }
    if (chosen.empty()) throw Failure{Exit::bad_file, cat(e.said, ": no slice holds a label that is to be evaluated")};
    std::vector<ImageEntry> out;
    for (const auto& [n, values] : chosen) {
      ImageEntry slice = e;
      slice.scan_name = e.name;
      slice.name = cat(e.name, " ", medical::to_string(e.volume->plane), " ", n);
      slice.slice = n, slice.values = values;
      out.push_back(std::move(slice));
    }
    return out;
  }

  const Options& options_;
  std::optional<Open> open_;
  medical::Plane plane_ = medical::Plane::axial;
  std::string labels_;
};

}  // namespace sampan::cli
