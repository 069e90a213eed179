// Fuzz target: any bytes as a prompts file of the command line, as a data set of `sampan evaluate` and as names of labels, which are read by the same rules.
// Data flow: bytes -> examples/cli/prompts.hpp (parse_prompts, check_geometry) -> check(Prompt, ImageSize) of the library; bytes -> examples/cli/dataset.hpp, label_names.hpp.
// Allowed outcomes: objects that hold the promises of the format, or a Failure with one of the documented codes that names the file. Anything else traps.
#include "examples/cli/dataset.hpp"
#include "examples/cli/label_names.hpp"
#include "examples/cli/prompts.hpp"
#include "tests/fuzz/require.hpp"

#if !defined(SAMPAN_COMPILED)  // the libFuzzer build is header-only and takes no more of the library than this
#  include <sampan/impl/prompt_check.ipp>
#endif

using namespace sampan;
using fuzz::require;

namespace {

void read_dataset(std::string_view text) {
  try {
    const cli::Dataset d = cli::parse_dataset(text, "f");
    require(!d.images.empty() && d.images.size() <= cli::kMaxDatasetImages);
    for (const auto& [value, name] : d.labels) require(value >= 1 && value <= cli::kMaxLabel && !name.empty());
    for (const auto& e : d.images) {
      require(!e.image.empty() && !e.name.empty() && !e.scan.empty() && !e.patient.empty() && (!e.masks.empty() || !e.label_map.empty() || e.volume));
      require((e.spacing || e.volume) == d.millimetres && (!e.volume || (!e.spacing && e.masks.empty() && e.volume->step >= 1)) && e.said.rfind("f: image ", 0) == 0);
      for (const auto& m : e.masks) require(!m.file.empty() && !m.label.empty() && (!m.value || (*m.value >= 1 && *m.value <= cli::kMaxLabel)));
    }
  } catch (const cli::Failure& f) {
    require(f.message.rfind("f: ", 0) == 0 && (f.code == cli::Exit::bad_file || f.code == cli::Exit::refused));
    require(cli::one_line(f.message).find('\n') == std::string::npos);
  }
}

void read_names(std::string_view text) {
  try {
    const cli::LabelNames names = cli::LabelNames::parse(text, "f");
    require(names.given() && names.largest() >= 0 && names.largest() <= cli::kMaxLabel);
    require(names.name(names.largest(), "x") == "x");
  } catch (const cli::Failure& f) {
    require(f.message.rfind("f: ", 0) == 0 && (f.code == cli::Exit::bad_file || f.code == cli::Exit::refused));
    require(cli::one_line(f.message).find('\n') == std::string::npos);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  read_dataset(text);
  read_names(text);
  try {
    const auto objects = cli::parse_prompts(text, "f");
    require(!objects.empty() && objects.size() <= cli::kMaxObjects);
    std::size_t labels = 0, points = 0;
    for (const auto& o : objects) {
      require(o.prompt.box || !o.prompt.points.empty() || !o.mask_file.empty());
      require(!o.label || (*o.label >= 1 && *o.label <= cli::kMaxLabel));
      require(o.prompt.mask_input.empty() && o.said.rfind("f: object ", 0) == 0);
      labels += o.label.has_value();
      points += o.prompt.points.size();
    }
    require((labels == 0 || labels == objects.size()) && points <= cli::kMaxPoints);
    for (const auto& o : objects) {
      cli::check_geometry(o, {640, 480, 1});
      if (const auto& b = o.prompt.box) require(b->x0 >= 0 && b->x0 < b->x1 && b->x1 <= 640 && b->y0 >= 0 && b->y0 < b->y1 && b->y1 <= 480);
      for (const auto& q : o.prompt.points) require((q.label == 0 || q.label == 1) && std::abs(q.x) <= 1280 && std::abs(q.y) <= 960);
    }
  } catch (const cli::Failure& f) {
    require(f.message.rfind("f: ", 0) == 0);
    require(f.code == cli::Exit::usage || f.code == cli::Exit::bad_file || f.code == cli::Exit::refused);
    require(cli::one_line(f.message).find('\n') == std::string::npos);
  }
  return 0;
}
