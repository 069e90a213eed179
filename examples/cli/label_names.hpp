// Names and colours of labels. Data flow: --label-names FILE.json -> LabelNames -> overlay, --json, provenance, segments of NRRD and DICOM.
// {"labels": {"1": "liver", "2": {"name": "spleen", "colour": [220, 130, 60]}}}: "labels" as in data sets (dataset.hpp), with colours (red, green, blue, 0 to 255) where they matter.
// A name in the prompts wins; labels that nothing has are no error (one file serves a whole study). Unknown and repeated keys, wrong types, are errors. Bounds: 16 MiB.
#pragma once
#include "prompts.hpp"

#include <sampan/core/file.hpp>

#include <map>

namespace sampan::cli {

struct LabelName {
  std::string name;
  std::optional<std::array<std::uint8_t, 3>> colour;
};

class LabelNames {
 public:
  bool given() const { return given_; }
  /// Of the prompts, else of the file, else nothing.
  std::string name(int label, const std::string& prompted) const {
    const auto at = rows_.find(label);
    return !prompted.empty() || at == rows_.end() ? prompted : at->second.name;
  }
  std::optional<std::array<std::uint8_t, 3>> colour(int label) const {
    const auto at = rows_.find(label);
    return at == rows_.end() ? std::nullopt : at->second.colour;
  }
  int largest() const { return rows_.empty() ? 0 : rows_.rbegin()->first; }

  /// Throws Failure{bad_file}. An empty path gives no names.
  static LabelNames read(const std::string& path) {
    if (path.empty()) return {};
    const auto file = must(MappedFile::open(path), Source::file);
    return parse(as_text(file.bytes()), path);
  }

  static LabelNames parse(std::string_view text, const std::string& file) {
    using detail::bad_prompts;
    const detail::Json root = detail::parse_strict(text, file, "label names");
    if (!root.is_object() || root.size() != 1 || !root.contains("labels") || !root["labels"].is_object()) bad_prompts(file, "{\"labels\": {\"1\": \"liver\", ...}} is needed");
    LabelNames out;
    out.given_ = true;
    for (const auto& [key, v] : root["labels"].items()) {
      const std::string where = cat(file, ": labels: ", one_line(key.substr(0, 60)));
      int label = 0;
      const auto r = std::from_chars(key.data(), key.data() + key.size(), label);
      if (r.ec != std::errc() || r.ptr != key.data() + key.size() || label < 1 || label > kMaxLabel || key[0] == '0') bad_prompts(where, cat("a whole number from 1 to ", kMaxLabel, " is needed as key"));
      out.rows_[label] = read_row(v, where);
    }
    return out;
  }

 private:
  static std::string text_of(const detail::Json& v, const std::string& where) {
    if (!v.is_string() || v.get_ref<const std::string&>().empty() || v.get_ref<const std::string&>().size() > 1000) detail::bad_prompts(where, "a name is needed, 1 to 1000 bytes");
    return v.get<std::string>();
  }
  static LabelName read_row(const detail::Json& v, const std::string& where) {
    if (!v.is_object()) return {text_of(v, where), {}};
    LabelName row;
    for (const auto& [key, value] : v.items()) {
      const std::string at = cat(where, ": ", key);
      if (key == "name") {
        row.name = text_of(value, at);
      } else if (key == "colour") {
        const bool numbers = value.is_array() && value.size() == 3 && std::all_of(value.begin(), value.end(), [](const auto& c) { return c.is_number_integer() && c >= 0 && c <= 255; });
        if (!numbers) detail::bad_prompts(at, "[red, green, blue], whole numbers from 0 to 255, is needed");
        row.colour = {value[0].get<std::uint8_t>(), value[1].get<std::uint8_t>(), value[2].get<std::uint8_t>()};
      } else {
        detail::bad_prompts(where, cat("unknown key \"", one_line(key.substr(0, 60)), "\"; known: name, colour"));
      }
    }
    return row;
  }

  std::map<int, LabelName> rows_;
  bool given_ = false;
};

}  // namespace sampan::cli
