// InputFrame: how one image lies inside the network's square input, and how prompts get there.
// Data flow: predict/preprocess.hpp and predict/postprocess.hpp share it; the contract record decides (weights/contract.hpp).
// Source: SamPredictor / ResizeLongestSide (scale per axis by the rounded sizes); MedSAM_Inference.py (stretch); CVPR24_LiteMedSAM_infer.py (one factor, truncated).
#pragma once
#include <sampan/ops/resize_common.hpp>
#include <sampan/weights/contract.hpp>

#include <cmath>

namespace sampan::inline SAMPAN_ABI::predict {

struct InputFrame {
  Extent2 original;  ///< the image
  Extent2 resized;   ///< its part of the input square, top left
  Index side = 0;    ///< of the input square
};

inline InputFrame make_frame(const weights::Contract& c, Extent2 original) {
  const int side = c.network.image_size;
  return {original, c.image.keep_aspect ? longest_side_size(original, side) : Extent2{side, side}, side};
}

/// Original pixels -> model pixels, rounded to float32 as the prompt encoder gets them.
inline float to_model(const weights::Contract& c, const InputFrame& f, double v, bool is_x) {
  if (c.prompt.coordinates == weights::CoordinateKind::truncate_single_factor)
    return float(std::trunc(v * (double(f.side) / double(std::max(f.original.height, f.original.width)))));
  const double factor = is_x ? double(f.resized.width) / double(f.original.width) : double(f.resized.height) / double(f.original.height);
  return float(v * factor);
}

}  // namespace sampan::inline SAMPAN_ABI::predict
