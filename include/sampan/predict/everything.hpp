// Everything mode: a grid of clicks over an image and its crops, every good mask once. Declarations, and header-only the definitions (impl/everything.ipp).
// Data flow: image -> per crop: Session (encode once, clicks decoded in batches) -> filters -> box NMS -> run lengths -> FoundMask, best first.
// Source: segment_anything/automatic_mask_generator.py, SamAutomaticMaskGenerator, and utils/amg.py: parameters by the same names and with the same defaults,
//   filters in the same order with the same comparisons, so that counts, boxes, areas and runs are those of the reference.
// Cost: points_per_side^2 decodings per crop (ViT-B: 3.6 GFLOP each); masks whose predicted IoU is too low are dropped before they are made at full size.
// Needs a model that takes clicks and gives three masks. In header-only mode include <sampan/sampan.hpp> as well.
#pragma once
#include <sampan/image/rle.hpp>
#include <sampan/predict/predictor.hpp>

namespace sampan::inline SAMPAN_ABI {

struct EverythingOptions {
  int points_per_side = 32;            ///< the grid of layer 0 has its square of clicks
  int points_per_batch = 64;           ///< clicks between two reports of progress; neither results nor memory depend on it
  double pred_iou_thresh = 0.88;       ///< kept: predicted IoU above it; 0 or less: no filter
  double stability_score_thresh = 0.95;  ///< kept: stability of at least this; 0 or less: no filter
  double stability_score_offset = 1.0;   ///< stability = |logit > offset| / |logit > -offset|
  double box_nms_thresh = 0.7;           ///< within a crop: of boxes with a larger IoU only the one with the best predicted IoU stays
  int crop_n_layers = 0;                 ///< layer i adds 4^i overlapping crops
  double crop_nms_thresh = 0.7;          ///< between crops: the one from the smaller crop stays
  double crop_overlap_ratio = 512.0 / 1500;     ///< of the image's short side, at layer 1
  int crop_n_points_downscale_factor = 1;       ///< layer i has points_per_side / factor^i clicks per side
  std::int64_t min_mask_region_area = 0;        ///< above 0: smaller holes are filled, smaller islands go, then boxes are compared once more
};

/// One mask that was found. Boxes are [x, y, width, height] in pixels of the image, as the reference writes them: width = last column - first column.
struct FoundMask {
  RunLengths segmentation;
  std::int64_t area = 0;
  std::array<std::int64_t, 4> bbox{};
  float predicted_iou = 0, stability_score = 0;
  double point_x = 0, point_y = 0;  ///< the click
  std::array<std::int64_t, 4> crop_box{};
};

/// Sizes that make no sense: Error{invalid_argument} with the parameter's name; more than 2^24 clicks in all: Error{limit}. try_everything asks first.
Status check(const EverythingOptions& options) noexcept;

/// Masks of everything in the image, best first; the session then holds the last crop's image. Pixels other than 8-bit need a window.
/// Error{unsupported}: a model without clicks or without three masks; else as Session::try_set_image. `progress` gets the fraction of all work; false cancels.
Result<std::vector<FoundMask>> try_everything(Session& session, const ImageView& image, const EverythingOptions& options = {}, const std::optional<WindowLevel>& window = {},
                                              const Progress& progress = {}) noexcept;
#if SAMPAN_EXCEPTIONS
inline std::vector<FoundMask> everything(Session& session, const ImageView& image, const EverythingOptions& options = {}, const std::optional<WindowLevel>& window = {},
                                         const Progress& progress = {}) {
  return try_everything(session, image, options, window, progress).value();
}
#endif

}  // namespace sampan::inline SAMPAN_ABI

#if !defined(SAMPAN_COMPILED) || defined(SAMPAN_IMPLEMENTATION)
#  include <sampan/impl/everything.ipp>
#endif
