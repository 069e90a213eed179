// The data set of `sampan evaluate`: images, their masks, and whose they are. Data flow: DATASET.json -> Dataset -> evaluate.cpp.
// {"name": "...", "labels": {"1": "liver"}, "images": [{"image": "ct.png", "case": "c1", "patient": "p1", "modality": "CT", "spacing": [0.7, 0.7], "window": [40, 400],
//   "label_map": "ct_labels.png", "masks": [{"file": "ct_liver.png", "label": "liver", "value": 255}]}]}
// Paths are relative to the file. An image has masks (one file per object; with "value" only these pixels, else all that are not 0), or a label map, or both; "labels" names the
// values of label maps (others are left out), without it they are called by their numbers. "case" is by default the image's path, "patient" the case; "spacing" is x, y in
// millimetres, for all images or none; "window" is [level, width] or a preset's name, for images of more than 8 bits.
// A scan stands as {"volume": "ct.nii.gz", "label_map": "ct_labels.nii.gz", "plane": "axial", "slices": "all", "recipe": "percentile"}: NIfTI, NRRD, npz or DICOM, both on one grid (an npz
// case may hold its own truth, gts). dataset_volumes.hpp makes pictures of it; "slices" says which: "all" that hold a label, "every:N" of them by number, each label's "largest".
// Every refusal names the file and the key. Unknown and repeated keys, wrong types, paths that leave nothing, are errors. Bounds: 64 MiB, 200000 images, 1000000 masks.
// Deliberately absent: globs, downloads.
#pragma once
#include "prompts.hpp"

#include "examples/medical/recipe.hpp"

#include <sampan/core/sha256.hpp>
#include <sampan/image/window_level.hpp>

#include <filesystem>
#include <map>

namespace sampan::cli {

struct MaskEntry {
  std::string file;  ///< as it can be opened
  std::string label;
  std::optional<int> value;
};

/// How a scan becomes pictures.
struct VolumeEntry {
  enum class Slices { all, every, largest };
  medical::Plane plane = medical::Plane::axial;
  Slices slices = Slices::all;
  std::int64_t step = 1;  ///< of Slices::every
  std::string recipe;     ///< empty: "auto"
};

struct ImageEntry {
  std::string image;  ///< as it can be opened
  std::string name;   ///< as the file says it
  std::string scan, patient, modality;
  std::optional<std::array<double, 2>> spacing;  ///< x, y
  std::optional<WindowLevel> window;
  std::string label_map;
  std::vector<MaskEntry> masks;
  std::string said;  ///< "d.json: image 3 (ct.png)"
  std::optional<VolumeEntry> volume;
  // Of a slice of a scan:
  std::string scan_name;     ///< the scan as the file says it
  std::int64_t slice = 0;    ///< as medical/slices.hpp counts
  std::vector<int> values;   ///< of the label map that are evaluated in it
};

struct Dataset {
  std::string name, sha256;
  std::map<int, std::string> labels;
  std::vector<ImageEntry> images;
  bool millimetres = false;
};

inline constexpr std::size_t kMaxDatasetBytes = std::size_t(64) << 20, kMaxDatasetImages = 200'000, kMaxDatasetMasks = 1'000'000;

namespace detail {

/// Text with at least one character and without control characters: it goes into tables.
inline std::string text_of(const Json& v, const std::string& where) {
  if (!v.is_string() || v.get_ref<const std::string&>().empty()) bad_prompts(where, "text is needed, at least one character");
  std::string s = v.get<std::string>();
  if (s.size() > 1000) bad_prompts(where, cat(s.size(), " bytes of text, at most 1000 are possible"));
  if (std::any_of(s.begin(), s.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; })) bad_prompts(where, "holds a control character");
  return s;
}

inline std::string path_of(const Json& v, const std::string& where, const std::filesystem::path& folder) {
  const std::filesystem::path p = text_of(v, where);
  return p.is_absolute() ? p.string() : (folder / p).string();
}

inline int label_value(const Json& v, const std::string& where) {
  if (!v.is_number_integer() || v.get<double>() < 1 || v.get<double>() > kMaxLabel) bad_prompts(where, cat("a whole number from 1 to ", kMaxLabel, " is needed"));
  return v.get<int>();
}

inline MaskEntry read_mask_entry(const Json& j, const std::string& said, const std::filesystem::path& folder) {
  MaskEntry m;
  if (!j.is_object()) bad_prompts(said, cat("is a ", j.type_name(), ", an object in braces is needed"));
  for (const auto& [key, v] : j.items()) {
    const std::string where = cat(said, ": ", key);
    if (key == "file") m.file = path_of(v, where, folder);
    else if (key == "label") m.label = text_of(v, where);
    else if (key == "value") m.value = label_value(v, where);
    else bad_prompts(said, cat("unknown key \"", key.substr(0, 60), "\"; known: file, label, value"));
  }
  for (const auto& [key, text] : {std::pair("file", &m.file), std::pair("label", &m.label)})
    if (text->empty()) bad_prompts(said, cat("\"", key, "\" is missing"));
  return m;
}

inline WindowLevel read_window(const Json& v, const std::string& where) {
  if (v.is_string()) {
    auto preset = window_preset(v.get<std::string>());
    if (!preset) bad_prompts(where, preset.error().message());
    return *preset;
  }
  if (!v.is_array() || v.size() != 2) bad_prompts(where, "[level, width] or the name of a preset is needed");
  const WindowLevel w{coordinate(v[0], where), coordinate(v[1], where)};
  if (const Status s = check(w); !s) bad_prompts(where, s.error().message());
  return w;
}

inline medical::Plane plane_of(const std::string& word, const std::string& where) {
  for (const auto p : {medical::Plane::axial, medical::Plane::coronal, medical::Plane::sagittal})
    if (word == medical::to_string(p)) return p;
  bad_prompts(where, "axial, coronal or sagittal is needed");
}

/// "all", "largest", "every:5"
inline void read_slices(const std::string& word, const std::string& where, VolumeEntry& v) {
  if (word == "all") return;
  if (word == "largest") {
    v.slices = VolumeEntry::Slices::largest;
    return;
  }
  constexpr std::string_view every = "every:";
  const char* end = word.data() + word.size();
  if (word.rfind(every, 0) != 0) bad_prompts(where, "all, largest or every:N is needed");
  const auto r = std::from_chars(word.data() + every.size(), end, v.step);
  if (r.ec != std::errc() || r.ptr != end || v.step < 1 || v.step > 100'000) bad_prompts(where, "every:N needs a whole number from 1 to 100000");
  v.slices = VolumeEntry::Slices::every;
}

inline ImageEntry read_image_entry(const Json& j, std::size_t number, const std::string& file, const std::filesystem::path& folder) {
  ImageEntry e;
  e.said = cat(file, ": image ", number);
  if (!j.is_object()) bad_prompts(e.said, cat("is a ", j.type_name(), ", an object in braces is needed"));
  for (const char* key : {"image", "volume"})
    if (j.contains(key) && j[key].is_string()) e.said += cat(" (", one_line(j[key].get<std::string>().substr(0, 200)), ")");
  if (j.contains("volume")) e.volume.emplace();
  for (const auto& [key, v] : j.items()) {
    const std::string where = cat(e.said, ": ", key);
    if (key == "image" || key == "volume") e.name = text_of(v, where), e.image = path_of(v, where, folder);
    else if (key == "case") e.scan = text_of(v, where);
    else if (key == "patient") e.patient = text_of(v, where);
    else if (key == "modality") e.modality = text_of(v, where);
    else if (key == "label_map") e.label_map = path_of(v, where, folder);
    else if (key == "window") e.window = read_window(v, where);
    else if (e.volume && key == "plane") e.volume->plane = plane_of(text_of(v, where), where);
    else if (e.volume && key == "slices") read_slices(text_of(v, where), where, *e.volume);
    else if (e.volume && key == "recipe") {
      e.volume->recipe = text_of(v, where);
      if (std::find(std::begin(medical::kRecipes), std::end(medical::kRecipes), e.volume->recipe) == std::end(medical::kRecipes)) bad_prompts(where, "auto, as-is, percentile, pet or full is needed (CT: \"window\")");
    } else if (key == "spacing" && !e.volume) {
      if (!v.is_array() || v.size() != 2) bad_prompts(where, "[x, y] in millimetres is needed");
      e.spacing = {coordinate(v[0], where), coordinate(v[1], where)};
      for (const double s : *e.spacing)
        if (!(s >= 1e-6 && s <= 1e6)) bad_prompts(where, "numbers from 0.000001 to 1000000 are needed");
    } else if (key == "masks" && !e.volume) {
      if (!v.is_array() || v.empty()) bad_prompts(where, "[{\"file\": ..., \"label\": ...}, ...] with at least one mask is needed");
      for (const Json& m : v) e.masks.push_back(read_mask_entry(m, cat(e.said, ": mask ", e.masks.size() + 1), folder));
    } else {
      bad_prompts(e.said, cat("unknown key \"", key.substr(0, 60), "\"; known: ", e.volume ? "volume, case, patient, modality, label_map, plane, slices, window, recipe" : "image, case, patient, modality, spacing, window, label_map, masks"));
    }
  }
  if (j.contains("image") && e.volume) bad_prompts(e.said, "\"image\" and \"volume\" both name the picture: give one");
  if (e.image.empty()) bad_prompts(e.said, "\"image\" is missing (or \"volume\")");
  if (e.volume && e.window && !e.volume->recipe.empty()) bad_prompts(e.said, "\"window\" and \"recipe\" both say what is black and white: give one");
  if (!e.volume && e.masks.empty() && e.label_map.empty()) bad_prompts(e.said, "\"masks\" or \"label_map\" is missing: without ground truth nothing can be scored");
  if (e.scan.empty()) e.scan = e.name;
  if (e.patient.empty()) e.patient = e.scan;
  return e;
}

}  // namespace detail

/// `file` names it in messages; its folder is where paths begin. Throws Failure{bad_file | refused}.
inline Dataset parse_dataset(std::string_view text, const std::string& file) {
  using detail::bad_prompts;
  const nlohmann::json root = detail::parse_strict(text, file, "dataset", kMaxDatasetBytes);
  if (!root.is_object()) bad_prompts(file, cat("holds a ", root.type_name(), ", {\"images\": [...]} is needed"));
  const auto folder = std::filesystem::path(file).parent_path();
  Dataset d;
  d.sha256 = sha256_hex(as_bytes(text));
  std::set<std::string> names;
  std::size_t masks = 0, spaced = 0;
  for (const auto& [key, v] : root.items()) {
    const std::string where = cat(file, ": ", key);
    if (key == "name") d.name = detail::text_of(v, where);
    else if (key == "labels") {
      if (!v.is_object() || v.empty()) bad_prompts(where, "{\"1\": \"liver\", ...} is needed");
      for (const auto& [number, name] : v.items()) {
        int value = 0;
        const auto r = std::from_chars(number.data(), number.data() + number.size(), value);
        if (r.ec != std::errc() || r.ptr != number.data() + number.size() || value < 1 || value > kMaxLabel || number[0] == '0') bad_prompts(where, cat("key \"", number.substr(0, 60), "\": a whole number from 1 to ", kMaxLabel, " is needed"));
        d.labels[value] = detail::text_of(name, cat(where, ": ", number));
      }
    } else if (key == "images") {
      if (!v.is_array() || v.empty()) bad_prompts(where, "[{\"image\": ..., \"masks\": ...}, ...] with at least one image is needed");
      if (v.size() > kMaxDatasetImages) throw Failure{Exit::refused, cat(where, ": ", v.size(), " images, at most ", kMaxDatasetImages, " are possible")};
      for (const auto& j : v) {
        d.images.push_back(detail::read_image_entry(j, d.images.size() + 1, file, folder));
        const ImageEntry& e = d.images.back();
        if (!names.insert(e.name).second) bad_prompts(e.said, "this image is given twice; put all its masks into one entry");
        masks += e.masks.size();
        spaced += e.spacing || e.volume;  // a scan says it
        if (masks > kMaxDatasetMasks) throw Failure{Exit::refused, cat(where, ": more than ", kMaxDatasetMasks, " masks")};
      }
    } else {
      bad_prompts(file, cat("unknown key \"", key.substr(0, 60), "\"; known: name, labels, images"));
    }
  }
  if (d.images.empty()) bad_prompts(file, "\"images\" is missing");
  if (spaced != 0 && spaced != d.images.size()) bad_prompts(file, cat("\"spacing\" is given for ", spaced, " of ", d.images.size(), " images (a scan has one): give it for all or none, or distances would be in two units"));
  d.millimetres = spaced != 0;
  return d;
}

}  // namespace sampan::cli
