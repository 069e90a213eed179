// `sampan volume` with a volumetric network (SAM-Med3D): clicks instead of boxes on slices, a cube around each object's first click instead of slices.
// Data flow: VolumeObjectPrompt (points in voxels) -> Session3d per object -> mask on the scan's grid. Voxels are read plane by plane in the scan's own type.
// What belongs to slices (planes, grey recipes, propagation, cache of slices) is refused here with a word on why.
#pragma once
#include "volume_prompts.hpp"
#include "volumetric.hpp"

namespace sampan::cli {

/// Throws Failure{usage} for words that mean nothing to such a network.
inline void check_volumetric_words(const Options& o) {
  const VolumeWords& w = o.volume;
  const char* why = "this network sees volumes, not slices";
  if (o.window) usage(cat("--window (or --window-preset): ", why, ", and normalises them itself"));
  if (!w.recipe.empty()) usage(cat("--recipe: ", why, ", and normalises them itself"));
  if (w.plane != "axial") usage(cat("--plane: ", why));
  if (w.interpolate) usage(cat("--interpolate: ", why));
  if (!w.cache.empty()) usage(cat("--cache: ", why));
  if (w.overlap == "confident") usage(cat("--overlap confident compares slices; ", why));
}

/// Throws Failure{usage}: an object without a click on it, or with boxes or lines.
inline void check_volumetric_prompts(const std::vector<VolumeObjectPrompt>& objects) {
  for (const VolumeObjectPrompt& o : objects) {
    if (!o.boxes.empty() || !o.lines.empty()) usage(cat(o.said, ": this network takes clicks, not boxes: --point X,Y,Z,1"));
    if (o.points.empty() || o.points[0].second != 1)
      usage(cat(o.said, ": the first click must be on the object (label 1): the network looks at the cube around it"));
  }
}

/// Prompts of a case: its boxes become clicks in their middles where no click on the object stands beside them, as the challenge's container for this network does.
/// Throws Failure{usage} as check_volumetric_prompts.
inline void clicks_of_case(std::vector<VolumeObjectPrompt>& objects) {
  for (VolumeObjectPrompt& o : objects) {
    const auto on = std::find_if(o.points.begin(), o.points.end(), [](const auto& p) { return p.second == 1; });
    if (on == o.points.end() && !o.boxes.empty()) {
      const VoxelBox& b = o.boxes[0];
      o.points.insert(o.points.begin(), {{(b.low[0] + b.high[0]) / 2, (b.low[1] + b.high[1]) / 2, (b.low[2] + b.high[2]) / 2}, 1});
    }
    o.boxes.clear();
  }
  check_volumetric_prompts(objects);
}

/// Objects of one scan, each with its own cube; masks stay in memory as runs.
class ClickedObjects {
 public:
  ClickedObjects(const Model3d& model, const medical::Volume& volume) : model_(model), volume_(&volume) {
    if (volume.components != 1) throw Failure{Exit::bad_file, "the scan has colours; a volumetric network takes one value per voxel"};
    for (std::size_t a = 0; a < 3; ++a) source_.size[a] = volume.grid.size[a], source_.to_world[a] = volume.grid.affine.m[a];
    source_.integers = !medical::is_floating(volume.type) && volume.slope == std::floor(volume.slope) && volume.intercept == std::floor(volume.intercept);
    source_.user = const_cast<medical::Volume*>(volume_);
    source_.read = [](void* user, std::int64_t k, float* plane) -> Status {
      const auto& v = *static_cast<const medical::Volume*>(user);
      const std::size_t n = std::size_t(v.grid.size[0] * v.grid.size[1]), first = std::size_t(k) * n;
      medical::with_voxel_type(v.type, [&](auto t) {
        for (std::size_t i = 0; i < n; ++i) {
          std::memcpy(&t, v.data.data() + (first + i) * sizeof t, sizeof t);
          const double x = v.slope * double(t) + v.intercept;
          plane[i] = medical::finite(x) ? float(x) : 0.0f;  // holes of a scan
        }
      });
      return {};
    };
  }
  ClickedObjects(const ClickedObjects&) = delete;
  ClickedObjects& operator=(const ClickedObjects&) = delete;

  void segment(const std::vector<VolumeObjectPrompt>& objects, const Options& o) {
    Session3d session = must(Session3d::try_open(model_, source_), Source::file);
    if (o.trace) {
      trace = Trace(o.trace->names);
      session.set_trace(&trace);
    }
    std::vector<std::uint8_t> mask(medical::voxel_count(volume_->grid.size));
    for (const VolumeObjectPrompt& object : objects) {
      stop_if_interrupted();
      ProgressSink sink(o, objects.size() > 1 ? cat("object ", found_.size() + 1, " of ", objects.size()) : std::string("volume"));
      const auto done = [&](Status status) {
        if (!status && status.error().code() == ErrorCode::cancelled) throw Cancelled{};
        must(named(std::move(status), object.said), Source::arguments);
      };
      const medical::Vec3& first = object.points[0].first;
      done(session.try_set_centre(first[0], first[1], first[2], sink.progress()));
      read_ms += session.timings().preprocess, encode_ms += session.timings().encode;
      for (const auto& [at, label] : object.points) {
        const std::size_t cubes = session.cubes();
        done(session.try_click({at[0], at[1], at[2], label}, sink.progress()));
        if (session.cubes() > cubes) read_ms += session.timings().preprocess, encode_ms += session.timings().encode;
        decode_ms += session.timings().decode + session.timings().postprocess;
      }
      if (o.volume.extend) {
        auto opened = session.try_cover(kMostCubes, sink.progress());
        done(opened ? Status() : Status(opened.error()));
        read_ms += session.timings().preprocess, encode_ms += session.timings().encode, decode_ms += session.timings().decode + session.timings().postprocess;
      }
      must(session.try_mask(mask), Source::arguments);
      found_.push_back({runs_of(mask), double(session.predicted_iou()), session.cubes()});
    }
  }
  /// 0 and 1 per voxel of object n.
  void mask(std::size_t n, std::vector<std::uint8_t>& out) const {
    std::fill(out.begin(), out.end(), std::uint8_t(0));
    for (const auto& [first, count] : found_[n].runs) std::fill_n(out.begin() + first, count, std::uint8_t(1));
  }
  double predicted_iou(std::size_t n) const { return found_[n].iou; }
  std::size_t cubes(std::size_t n) const { return found_[n].cubes; }

  double read_ms = 0, encode_ms = 0, decode_ms = 0;
  Trace trace;  ///< of all cubes and clicks, if the options ask for it

 private:
  static constexpr std::int64_t kMostCubes = 27;
  using Runs = std::vector<std::pair<std::ptrdiff_t, std::ptrdiff_t>>;  // first voxel, count
  struct Object {
    Runs runs;
    double iou;
    std::size_t cubes;
  };
  static Runs runs_of(const std::vector<std::uint8_t>& mask) {
    Runs runs;
    for (auto from = std::find(mask.begin(), mask.end(), 1); from != mask.end();) {
      const auto to = std::find(from, mask.end(), 0);
      runs.emplace_back(from - mask.begin(), to - from);
      from = std::find(to, mask.end(), 1);
    }
    return runs;
  }

  Model3d model_;
  const medical::Volume* volume_;
  VolumeSource source_;
  std::vector<Object> found_;
};

}  // namespace sampan::cli
