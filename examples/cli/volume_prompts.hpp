// Prompts of `sampan volume`: from options, a JSON or CSV file, or the boxes and clicks of an npz case; in voxels of the file or millimetres; turned into what VolumeSession takes.
// Data flow: VolumeWords (options.cpp), FILE.json, FILE.csv, NpzCase -> VolumeObjectPrompt (voxels) -> apply_prompts -> VolumeSession (slices of a plane).
// FILE.json: {"units": "voxel" | "mm", "space": "RAS" | "LPS", "objects": [{"label": 1, "name": "liver", "boxes": [[x0,y0,z0,x1,y1,z1], ...], "points": [[x,y,z,label], ...],
//   "lines": [[x0,y0,z0,x1,y1,z1], ...]}]}; "space" belongs to "mm". FILE.csv: the header label,name,x0,y0,z0,x1,y1,z1 and one box a line, in voxels.
// A box with an extent across the slices gives the object's range; a flat one is a prompt on its slice. A line (RECIST) lies in one slice and becomes the box of the circle over it.
// Ends of boxes are the last voxel inside. Bounds: as cli/prompts.hpp. Deliberately absent: masks as prompts.
#pragma once
#include "prompts.hpp"

#include "examples/medical/npz.hpp"
#include "examples/medical/slices.hpp"

#include <sampan/predict/volume.hpp>

#include <functional>
#include <map>

namespace sampan::cli {

struct VoxelBox {
  medical::Vec3 low{}, high{};
  std::optional<double> middle = {};  ///< slice in which the sides are those of the object (CVPR 2025)
};
struct VolumeObjectPrompt {
  int label = 0;
  std::string name, said;
  std::vector<VoxelBox> boxes, lines;  ///< of a line: its two ends
  std::vector<std::pair<medical::Vec3, int>> points;
};

namespace detail {

/// A position in the file's voxels.
using ToVoxel = std::function<medical::Vec3(const medical::Vec3&)>;

inline VoxelBox box_of_numbers(const Json& v, const std::string& where, const ToVoxel& to_voxel, bool ordered) {
  if (!v.is_array() || v.size() != 6) bad_prompts(where, "[x0,y0,z0,x1,y1,z1] is needed");
  double n[6];
  for (std::size_t i = 0; i < 6; ++i) n[i] = coordinate(v[i], where);
  const medical::Vec3 a = to_voxel({n[0], n[1], n[2]}), b = to_voxel({n[3], n[4], n[5]});
  if (!ordered) return {a, b};
  VoxelBox box;
  for (std::size_t i = 0; i < 3; ++i) {
    if (n[i] > n[i + 3]) bad_prompts(where, "is inverted: x0 <= x1, y0 <= y1, z0 <= z1 are needed");
    box.low[i] = std::min(a[i], b[i]), box.high[i] = std::max(a[i], b[i]);  // millimetres may run against the voxels
  }
  return box;
}

}  // namespace detail

/// Objects of a JSON prompts file. Throws Failure{bad_file | refused}.
inline std::vector<VolumeObjectPrompt> parse_volume_prompts(std::string_view text, const std::string& file, const medical::Affine& affine) {
  using detail::bad_prompts;
  const auto root = detail::parse_strict(text, file);
  if (!root.is_object()) bad_prompts(file, cat("holds a ", root.type_name(), ", {\"objects\": [...]} is needed"));
  for (const auto& [key, v] : root.items())
    if (key != "objects" && key != "units" && key != "space") bad_prompts(file, cat("unknown key \"", key.substr(0, 60), "\"; known: units, space, objects"));
  const auto word = [&](const char* key) { return root.contains(key) && root[key].is_string() ? root[key].get<std::string>() : root.contains(key) ? std::string("?") : std::string(); };
  const std::string units = word("units"), space = word("space");
  if (!units.empty() && units != "voxel" && units != "mm") bad_prompts(file, "units: \"voxel\" or \"mm\" is needed");
  if (units == "mm" && space != "RAS" && space != "LPS") bad_prompts(file, "space: \"RAS\" or \"LPS\" is needed with millimetres");
  if (units != "mm" && !space.empty()) bad_prompts(file, "space belongs to \"units\": \"mm\"");
  const medical::Affine to_index = medical::inverse(affine);
  const detail::ToVoxel to_voxel = [&](const medical::Vec3& p) {
    if (units != "mm") return p;
    return to_index.apply(space == "LPS" ? medical::Vec3{-p[0], -p[1], p[2]} : p);
  };
  if (!root.contains("objects") || !root["objects"].is_array() || root["objects"].empty()) bad_prompts(file, "\"objects\": [...] with at least one object is needed");
  if (root["objects"].size() > kMaxObjects) throw Failure{Exit::refused, cat(file, ": ", root["objects"].size(), " objects, at most ", kMaxObjects, " are possible")};
  std::vector<VolumeObjectPrompt> out;
  std::size_t parts = 0;
  for (const auto& j : root["objects"]) {
    VolumeObjectPrompt o;
    o.said = cat(file, ": object ", out.size() + 1);
    o.label = int(out.size()) + 1;
    if (!j.is_object()) bad_prompts(o.said, cat("is a ", j.type_name(), ", an object in braces is needed"));
    for (const auto& item : j.items()) {
      const std::string& key = item.key();
      const detail::Json& v = item.value();
      const std::string where = cat(o.said, ": ", key);
      const auto list = [&]() -> const detail::Json& {
        if (!v.is_array() || v.empty()) bad_prompts(where, "a list with at least one entry is needed");
        if ((parts += v.size()) > kMaxPoints) throw Failure{Exit::refused, cat(file, ": more than ", kMaxPoints, " prompts in one file")};
        return v;
      };
      if (key == "label") {
        if (!v.is_number_integer() || v.get<double>() < 1 || v.get<double>() > kMaxLabel) bad_prompts(where, cat("a whole number from 1 to ", kMaxLabel, " is needed"));
        o.label = v.get<int>();
      } else if (key == "name") {
        if (!v.is_string()) bad_prompts(where, "text is needed");
        o.name = v.get<std::string>();
      } else if (key == "boxes") {
        for (const auto& b : list()) o.boxes.push_back(detail::box_of_numbers(b, where, to_voxel, true));
      } else if (key == "lines") {
        for (const auto& b : list()) o.lines.push_back(detail::box_of_numbers(b, where, to_voxel, false));
      } else if (key == "points") {
        for (const auto& p : list()) {
          if (!p.is_array() || p.size() != 4 || !p[3].is_number_integer() || (p[3].get<double>() != 0 && p[3].get<double>() != 1)) bad_prompts(where, "[[x,y,z,label],...] is needed, label 1 (object) or 0 (background)");
          o.points.emplace_back(to_voxel({detail::coordinate(p[0], where), detail::coordinate(p[1], where), detail::coordinate(p[2], where)}), p[3].get<int>());
        }
      } else {
        bad_prompts(o.said, cat("unknown key \"", key.substr(0, 60), "\"; known: label, name, boxes, points, lines"));
      }
    }
    if (o.boxes.empty() && o.points.empty() && o.lines.empty()) bad_prompts(o.said, "is empty: boxes, points or lines are needed");
    out.push_back(std::move(o));
  }
  return out;
}

/// Boxes of a CSV file. Several lines of one label are several boxes of one object.
inline std::vector<VolumeObjectPrompt> parse_volume_csv(std::string_view text, const std::string& file) {
  using detail::bad_prompts;
  if (text.size() > kMaxPromptBytes) throw Failure{Exit::refused, cat(file, ": ", text.size(), " bytes of prompts, at most ", kMaxPromptBytes, " are read")};
  std::vector<VolumeObjectPrompt> out;
  std::size_t number = 0, boxes = 0;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    ++number;
    if (number == 1) {
      if (line != "label,name,x0,y0,z0,x1,y1,z1") bad_prompts(file, "the first line must be label,name,x0,y0,z0,x1,y1,z1");
      continue;
    }
    if (line.empty()) continue;
    const std::string where = cat(file, ": line ", number);
    std::vector<std::string_view> fields;
    for (std::size_t from = 0; from <= line.size();) {
      const std::size_t to = std::min(line.find(',', from), line.size());
      fields.push_back(line.substr(from, to - from));
      from = to + 1;
    }
    double n[7] = {};
    bool good = fields.size() == 8;
    for (std::size_t i = 0; good && i < 7; ++i) good = read_number(fields[i == 0 ? 0 : i + 1], n[i]) && std::isfinite(n[i]);
    if (!good || n[0] < 1 || n[0] > kMaxLabel || n[0] != std::floor(n[0])) bad_prompts(where, "label,name,x0,y0,z0,x1,y1,z1 is needed: a label from 1 to 65535, any text without commas, six numbers");
    VoxelBox b{{n[1], n[2], n[3]}, {n[4], n[5], n[6]}};
    for (std::size_t i = 0; i < 3; ++i)
      if (b.low[i] > b.high[i]) bad_prompts(where, "the box is inverted: x0 <= x1, y0 <= y1, z0 <= z1 are needed");
    if (++boxes > kMaxPoints) throw Failure{Exit::refused, cat(file, ": more than ", kMaxPoints, " prompts in one file")};
    auto it = std::find_if(out.begin(), out.end(), [&](const auto& o) { return o.label == int(n[0]); });
    if (it == out.end()) {
      out.push_back({int(n[0]), std::string(fields[1]), where, {}, {}, {}});
      it = out.end() - 1;
    }
    it->boxes.push_back(b);
  }
  if (out.empty()) bad_prompts(file, "no box");
  return out;
}

/// --point X,Y,Z,LABEL[,OBJECT]: without a number of their own, clicks belong to the one object there is, or make it.
inline void add_points(const std::vector<std::string>& words, std::vector<VolumeObjectPrompt>& out) {
  const auto numbered = [](const std::string& text) { return std::count(text.begin(), text.end(), ',') == 4; };
  const auto with = std::count_if(words.begin(), words.end(), numbered);
  if (with != 0 && (with != std::ptrdiff_t(words.size()) || !out.empty()))
    usage(out.empty() ? "some --point name an object and some do not: all or none" : "--point with an object does not go with --box: put the objects into a file and use --prompts FILE.json");
  for (const auto& text : words) {
    const auto v = numbers("--point", text, with ? "X,Y,Z,LABEL,OBJECT" : "X,Y,Z,LABEL");
    if (v[3] != 0 && v[3] != 1) usage(cat("--point ", text, ": the label must be 1 (object) or 0 (background)"));
    const double object = with ? v[4] : out.empty() ? 1 : out[0].label;
    if (!(object >= 1 && object <= kMaxLabel) || object != std::floor(object)) usage(cat("--point ", text, ": the object is a whole number from 1 to ", kMaxLabel));
    auto it = std::find_if(out.begin(), out.end(), [&](const auto& o) { return o.label == int(object); });
    if (it == out.end()) it = out.insert(out.end(), {int(object), "", with ? cat("--point of object ", int(object)) : std::string("--point"), {}, {}, {}});
    it->points.push_back({{v[0], v[1], v[2]}, int(v[3])});
  }
}

/// Box i and clicks i of a case belong to label i + 1. Clicks go only to models that take points: a box is the protocol's first prompt.
inline std::vector<VolumeObjectPrompt> prompts_of_case(const medical::NpzCase& c, bool points) {
  std::vector<VolumeObjectPrompt> out;
  for (std::size_t i = 0; i < std::max(c.boxes.size(), points ? c.clicks.size() : 0); ++i) {
    VolumeObjectPrompt o;
    o.label = int(i) + 1;
    o.said = cat("object ", i + 1, " of the case");
    if (i < c.boxes.size()) o.boxes.push_back({c.boxes[i].low, c.boxes[i].high, c.boxes[i].middle});
    if (points && i < c.clicks.size()) {
      for (const auto& p : c.clicks[i].foreground) o.points.emplace_back(p, 1);
      for (const auto& p : c.clicks[i].background) o.points.emplace_back(p, 0);
    }
    if (!o.boxes.empty() || !o.points.empty()) out.push_back(std::move(o));
  }
  return out;
}

/// Says all of it to the session of one plane. Throws Failure{usage}: outside the volume, several ranges, a line across slices.
inline void apply_prompts(VolumeSession& session, const std::vector<VolumeObjectPrompt>& objects, const medical::SlicePlan& plan) {
  using medical::Vec3;
  for (const VolumeObjectPrompt& o : objects) {
    std::map<std::int64_t, Prompt> on_slice;
    std::optional<VolumeBox> range;
    const auto refuse = [&](const std::string& what) { usage(cat(o.said, ": ", what)); };
    const auto slice_of = [&](double z) {
      const double n = std::round(z);
      if (!(n >= 0 && n < double(plan.size[2]))) refuse(cat("a prompt lies outside the volume (slice ", medical::detail::real_text(n), " of 0 to ", plan.size[2] - 1, " in this plane)"));
      return std::int64_t(n);
    };
    const auto flat = [&](std::int64_t z, const Box& box) {
      if (on_slice[z].box) refuse(cat("two boxes on one slice (", z, "): one object has one box there"));
      on_slice[z].box = box;
    };
    for (const VoxelBox& b : o.boxes) {
      const Vec3 p = medical::to_slice(plan, b.low), q = medical::to_slice(plan, b.high);
      const Box box{std::min(p[0], q[0]), std::min(p[1], q[1]), std::max(p[0], q[0]), std::max(p[1], q[1])};
      const std::int64_t z0 = slice_of(std::min(p[2], q[2])), z1 = slice_of(std::max(p[2], q[2]));
      if (z0 == z1 && plan.size[2] > 1) {
        flat(z0, box);
      } else {
        if (range) refuse("two boxes with an extent across the slices: an object has one range");
        range = VolumeBox{box.x0, box.y0, box.x1, box.y1, z0, z1};
        // 2025 cases say in which slice the sides were measured, along k.
        const bool along_k = plan.axis[2] == 2 && b.middle;
        flat(along_k ? slice_of(medical::to_slice(plan, {0, 0, *b.middle})[2]) : (z1 - z0) / 2 + z0, box);
      }
    }
    for (const VoxelBox& l : o.lines) {
      const Vec3 p = medical::to_slice(plan, l.low), q = medical::to_slice(plan, l.high);
      if (std::abs(p[2] - q[2]) > 0.5) refuse("a line must lie in one slice of the plane");
      const double rx = std::hypot((p[0] - q[0]) * plan.step[0], (p[1] - q[1]) * plan.step[1]) / 2, cx = (p[0] + q[0]) / 2, cy = (p[1] + q[1]) / 2;  // radius in mm
      const Box box{std::max(0.0, cx - rx / plan.step[0]), std::max(0.0, cy - rx / plan.step[1]), std::min(double(plan.size[0]), cx + rx / plan.step[0]), std::min(double(plan.size[1]), cy + rx / plan.step[1])};
      flat(slice_of((p[2] + q[2]) / 2), box);
    }
    for (const auto& [voxel, label] : o.points) {
      const Vec3 p = medical::to_slice(plan, voxel);
      on_slice[slice_of(p[2])].points.push_back({p[0], p[1], label});
    }
    if (range) must(named(session.try_set_range(o.label, range->z0, range->z1), o.said), Source::arguments);
    for (const auto& [z, prompt] : on_slice) must(named(session.try_set_prompt(o.label, z, prompt), o.said), Source::arguments);
  }
}

}  // namespace sampan::cli
