// What the command line can ask for, typed and checked as far as words alone go. Data flow: main.cpp -> parse_arguments (options.cpp, the only user of CLI11) -> segment.cpp, encode.cpp, volume.cpp, info.cpp.
// The options are a public interface that scripts depend on. An option is listed here when it works, not before.
#pragma once
#include "prompts.hpp"

#include <array>
#include <optional>
#include <string>
#include <vector>

namespace sampan::cli {

enum class Command { none, segment, encode, volume, everything, info, metrics, evaluate };  ///< none: help or version was printed

/// Select of the library, or all candidates, one file each.
enum class Masks { iou, first, stability, largest, all };

enum class ProgressMode { terminal, json };

/// --trace T.safetensors[:names]
struct TraceRequest {
  std::string path;
  std::vector<std::string> names;  ///< with '*' for any run of characters; empty: everything
};

/// What only `volume` takes, as given; volume.cpp reads it.
struct VolumeWords {
  std::vector<std::string> boxes, points;
  std::string plane = "axial", recipe, series, frame, cache, overlap = "later", min_size, provenance, montage, animation;
  bool interpolate = false, extend = false, largest = false, fill_holes = false, fill_gaps = false, keep_patient = false;
};

/// What only `everything` takes, as given; everything.cpp reads it. Empty: the library's default.
struct EverythingWords {
  std::string points_per_side, points_per_batch, pred_iou_thresh, stability_score_thresh, stability_score_offset, box_nms_thresh;
  std::string crop_n_layers, crop_nms_thresh, crop_overlap_ratio, crop_n_points_downscale_factor, min_mask_region_area;
  std::string labels, rle = "coco";
};

/// What only `evaluate` takes, as given; evaluate.cpp reads it. Options::image is the data set, Options::output the folder.
struct EvaluateWords {
  std::string prompts, protocol, masks = "auto", seed, min_area, tolerance, bootstrap, cache, cache_limit = "4G", truth;
  std::vector<std::string> without;
  bool published = false, restart = false;
};

struct Options {
  Command command = Command::none;

  // input
  std::string image, model;
  std::optional<WindowLevel> window;
  std::string embedding;  ///< segment: an encoded image instead of encoding

  // prompts of segment; mask files are not read yet
  std::vector<ObjectPrompt> objects;  ///< from options; one empty prompt if none is given
  std::string prompts_file;           ///< then objects is empty
  bool multimask = false, hq_token_only = false;
  int ensemble = 0;          ///< members; 0: none
  std::string jitter, mean_map, variance_map;
  std::uint64_t seed = 0;
  Masks select = Masks::iou;

  VolumeWords volume;
  EverythingWords everything;
  EvaluateWords evaluate;

  // output
  std::string output;  ///< segment: mask or label map; encode: embedding
  bool labels = false;
  std::string label_names;  ///< segment, volume
  std::string overlay, dump;
  std::optional<TraceRequest> trace;
  bool json = false, quiet = false;
  ProgressMode progress = ProgressMode::terminal;
  int repeat = 1;

  // metrics
  struct Compare {
    std::string prediction, truth;
    double tolerance = 2;
    std::optional<std::array<double, 3>> spacing;  ///< z, y, x; instead of the files'
    bool published = false;
  } metrics;

  // engine
  LoadOptions load;
  std::string precision = "f32", device = "cpu";  ///< the words, for the report
};

/// Prints help or version to stdout if asked (command none). Throws Failure{usage}.
Options parse_arguments(int argc, const char* const* argv);

}  // namespace sampan::cli
