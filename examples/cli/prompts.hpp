// Prompts as the command line has them: one ObjectPrompt per object, from options or from a prompts file, and the check against image and model.
// Data flow: --box, --point, --mask-input (options.cpp) or FILE.json -> here -> Prompt (predict/predictor.hpp).
// FILE.json: {"objects": [{"label": 1, "name": "liver", "box": [x0,y0,x1,y1], "recist": [x0,y0,x1,y1], "points": [[x,y,1]], "scribbles": [{"label": 1, "path": [[x,y], [x,y]]}],
// "mask_input": "f.safetensors"}]}; every part of an object is optional, but one of box, recist, points, scribbles and mask_input must be there. Unknown and repeated keys, wrong types, numbers beyond double are errors: a typing mistake must
// not become another mask. Coordinates: pixels of the original image. Bounds: 16 MiB of text, 10000 objects, 100000 points.
// Deliberately absent: relative paths resolved against FILE.json (a path means what it means to the shell), prompts of volumes.
#pragma once
#include "numbers.hpp"

#include <sampan/predict/predictor.hpp>

#include <nlohmann/json.hpp>

#include <cmath>
#include <set>

namespace sampan::cli {

struct ObjectPrompt {
  std::optional<int> label;  ///< 1..65535 in the label map; without it the position counts
  std::string name;
  Prompt prompt;             ///< mask_input is still empty: mask_file names it
  std::string mask_file;
  std::optional<std::array<double, 4>> recist;  ///< two ends of a diameter: becomes a box when the image is known (resolve_recist)
  std::string said;          ///< how the user said it, to begin messages with: "--box 1,2,3,4" or "p.json: object 2"
};

inline constexpr std::size_t kMaxPromptBytes = std::size_t(16) << 20, kMaxObjects = 10'000, kMaxPoints = 100'000;
inline constexpr int kMaxLabel = 65535;  // of a 16-bit label map

namespace detail {

using Json = nlohmann::json;

[[noreturn]] inline void bad_prompts(const std::string& where, std::string_view what) { throw Failure{Exit::bad_file, cat(where, ": ", what)}; }

/// Parses text, and refuses what nlohmann-json would let pass: a key given twice, deep nesting (the schemas need 5 levels). `what` the file holds.
inline Json parse_strict(std::string_view text, const std::string& file, std::string_view what = "prompts", std::size_t most = kMaxPromptBytes) {
  if (text.size() > most) throw Failure{Exit::refused, cat(file, ": ", text.size(), " bytes of ", what, ", at most ", most, " are read")};
  std::vector<std::set<std::string>> open;  // keys of the objects that are being read
  const auto watch = [&](int depth, Json::parse_event_t event, Json& value) {
    if (depth > 8) bad_prompts(file, cat("nested too deeply for a ", what, " file"));
    if (event == Json::parse_event_t::object_start) open.emplace_back();
    if (event == Json::parse_event_t::object_end) open.pop_back();
    if (event == Json::parse_event_t::key && !open.back().insert(value.get<std::string>()).second) bad_prompts(file, cat("key \"", value.get<std::string>().substr(0, 60), "\" is given twice"));
    return true;
  };
  try {
    return Json::parse(text, watch);
  } catch (const nlohmann::json::parse_error& e) {
    std::size_t line = 1, column = 1;
    for (std::size_t i = 0; i + 1 < e.byte && i < text.size(); ++i) text[i] == '\n' ? (++line, column = 1) : ++column;
    bad_prompts(file, cat("line ", line, ", column ", column, ": not JSON"));
  } catch (const nlohmann::json::exception&) {  // a number beyond double
    bad_prompts(file, "not JSON: a number is out of range");
  }
}

inline double coordinate(const Json& v, const std::string& where) {
  if (!v.is_number()) bad_prompts(where, cat("is a ", v.type_name(), ", a number is needed"));
  return v.get<double>();
}

/// Every pixel along each path becomes a click, once per path, as ScribblePrompt feeds scribbles.
inline void read_scribbles(const Json& v, const std::string& where, ObjectPrompt& o, std::size_t& points) {
  if (!v.is_array() || v.empty()) bad_prompts(where, "[{\"label\": 1, \"path\": [[x,y],...]},...] is needed");
  for (const Json& s : v) {
    if (!s.is_object() || s.size() != 2 || !s.contains("label") || !s.contains("path")) bad_prompts(where, "{\"label\": 1, \"path\": [[x,y],...]} is needed");
    if (!s["label"].is_number_integer() || (s["label"] != 0 && s["label"] != 1)) bad_prompts(where, "label: 1 (object) or 0 (background) is needed");
    const Json& path = s["path"];
    if (!path.is_array() || path.empty()) bad_prompts(where, "path: at least one [x,y] is needed");
    std::optional<std::array<double, 2>> last;
    std::set<std::pair<double, double>> seen;
    for (const Json& q : path) {
      if (!q.is_array() || q.size() != 2) bad_prompts(where, "path: [x,y] is needed");
      const std::array<double, 2> at{std::round(coordinate(q[0], where)), std::round(coordinate(q[1], where))};
      if (!(std::abs(at[0]) <= 1e6 && std::abs(at[1]) <= 1e6)) bad_prompts(where, "path: a coordinate is out of range");
      const std::array<double, 2> from = last.value_or(at);
      const double steps = std::max({1.0, std::abs(at[0] - from[0]), std::abs(at[1] - from[1])});
      if (double(points) + steps > double(kMaxPoints)) throw Failure{Exit::refused, cat(where, ": more than ", kMaxPoints, " points in one file")};
      for (double i = last ? 1 : steps; i <= steps; ++i) {
        const double x = std::round(from[0] + (at[0] - from[0]) * i / steps), y = std::round(from[1] + (at[1] - from[1]) * i / steps);
        if (seen.insert({x, y}).second) o.prompt.points.push_back({x, y, s["label"].get<int>()}), ++points;
      }
      last = at;
    }
  }
}

inline void read_object(const Json& j, ObjectPrompt& o, std::size_t& points) {
  if (!j.is_object()) bad_prompts(o.said, cat("is a ", j.type_name(), ", an object in braces is needed"));
  for (const auto& [key, v] : j.items()) {
    const std::string where = cat(o.said, ": ", key);
    if (key == "label") {
      if (!v.is_number_integer() || v.get<double>() < 1 || v.get<double>() > kMaxLabel) bad_prompts(where, cat("a whole number from 1 to ", kMaxLabel, " is needed"));
      o.label = v.get<int>();
    } else if (key == "name") {
      if (!v.is_string()) bad_prompts(where, "text is needed");
      o.name = v.get<std::string>();
    } else if (key == "mask_input") {
      if (!v.is_string() || v.get<std::string>().empty()) bad_prompts(where, "the name of a safetensors file is needed");
      o.mask_file = v.get<std::string>();
    } else if (key == "box") {
      if (!v.is_array() || v.size() != 4) bad_prompts(where, "[x0,y0,x1,y1] is needed");
      o.prompt.box = Box{coordinate(v[0], where), coordinate(v[1], where), coordinate(v[2], where), coordinate(v[3], where)};
    } else if (key == "recist") {
      if (!v.is_array() || v.size() != 4) bad_prompts(where, "[x0,y0,x1,y1], the ends of a diameter, is needed");
      o.recist = std::array<double, 4>{coordinate(v[0], where), coordinate(v[1], where), coordinate(v[2], where), coordinate(v[3], where)};
    } else if (key == "scribbles") {
      read_scribbles(v, where, o, points);
    } else if (key == "points") {
      if (!v.is_array() || v.empty()) bad_prompts(where, "[[x,y,label],...] with at least one point is needed");
      if ((points += v.size()) > kMaxPoints) throw Failure{Exit::refused, cat(where, ": more than ", kMaxPoints, " points in one file")};
      for (const Json& p : v) {
        if (!p.is_array() || p.size() != 3 || !p[2].is_number_integer()) bad_prompts(where, "[[x,y,label],...] is needed, label 1 (object) or 0 (background)");
        if (std::abs(p[2].get<double>()) > 1000) bad_prompts(where, cat("label ", p[2].dump(), ": 1 (object) or 0 (background) is needed"));  // must fit int; 0 or 1 is check_geometry's business
        o.prompt.points.push_back({coordinate(p[0], where), coordinate(p[1], where), p[2].get<int>()});
      }
    } else {
      bad_prompts(o.said, cat("unknown key \"", key.substr(0, 60), "\"; known: label, name, box, recist, points, scribbles, mask_input"));
    }
  }
  if (o.prompt.box && o.recist) bad_prompts(o.said, "has a box and a recist line, which becomes a box: give one");
  if (!o.prompt.box && !o.recist && o.prompt.points.empty() && o.mask_file.empty()) bad_prompts(o.said, "is empty: a box, recist, points, scribbles or a mask_input is needed");
}

}  // namespace detail

/// The objects of a prompts file; `file` names it in messages. Throws Failure{bad_file | refused}.
inline std::vector<ObjectPrompt> parse_prompts(std::string_view text, const std::string& file) {
  const nlohmann::json root = detail::parse_strict(text, file);
  if (!root.is_object()) detail::bad_prompts(file, cat("holds a ", root.type_name(), ", {\"objects\": [...]} is needed"));
  for (const auto& [key, v] : root.items())
    if (key != "objects") detail::bad_prompts(file, cat("unknown key \"", key.substr(0, 60), "\"; known: objects"));
  if (!root.contains("objects") || !root["objects"].is_array() || root["objects"].empty()) detail::bad_prompts(file, "\"objects\": [...] with at least one object is needed");
  if (root["objects"].size() > kMaxObjects) throw Failure{Exit::refused, cat(file, ": ", root["objects"].size(), " objects, at most ", kMaxObjects, " are possible")};
  std::vector<ObjectPrompt> objects;
  std::size_t points = 0, labels = 0;
  for (const auto& j : root["objects"]) {
    objects.emplace_back();
    objects.back().said = cat(file, ": object ", objects.size());
    detail::read_object(j, objects.back(), points);
    labels += objects.back().label.has_value();
  }
  if (labels != 0 && labels != objects.size()) detail::bad_prompts(file, "some objects have a label and some have none: give all or none");
  return objects;
}

/// A diameter becomes the box around the circle on it, inside the image. Throws Failure{usage} if an end lies outside.
inline void resolve_recist(ObjectPrompt& o, const ImageSize& image) {
  if (!o.recist) return;
  const auto [x0, y0, x1, y1] = *o.recist;
  const double w = double(image.width), h = double(image.height), r = std::hypot(x1 - x0, y1 - y0) / 2, cx = (x0 + x1) / 2, cy = (y0 + y1) / 2;
  const auto in = [](double v, double most) { return v >= 0 && v <= most; };
  if (!in(x0, w) || !in(x1, w) || !in(y0, h) || !in(y1, h)) usage(cat(o.said, ": an end of the diameter lies outside the image of ", image.width, "x", image.height, " pixels"));
  if (!(r > 0)) usage(cat(o.said, ": the ends of the diameter are one point"));
  o.prompt.box = Box{std::max(0.0, cx - r), std::max(0.0, cy - r), std::min(w, cx + r), std::min(h, cy + r)};
}

/// The library's own rules (predict/predictor.hpp), asked as soon as the image is known and before the weights are read, so that a slip costs no minute.
/// Throws Failure{usage | refused} that begins with what the user said.
inline void check_geometry(const ObjectPrompt& o, const ImageSize& image) { must(named(check(o.prompt, image), o.said), Source::arguments); }

/// The same against the model. A mask file is not read yet (it must fit the model): zeros of the right size stand for it.
inline void check_capability(const ObjectPrompt& o, const ModelInfo& m, const PredictOptions& options) {
  Prompt p = o.prompt;
  if (o.recist && !p.box) p.box = Box{0, 0, 1, 1};  // with --embedding the image is not known yet
  if (!o.mask_file.empty()) p.mask_input.assign(std::size_t(m.low_res * m.low_res), 0.0f);
  must(named(check(p, m, options), o.said), Source::arguments);
}

}  // namespace sampan::cli
