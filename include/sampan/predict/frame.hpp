// InputFrame: how one image lies inside the network's square input, and how prompts get there.
// Data flow: predict/preprocess.hpp and predict/postprocess.hpp share it; the contract record decides (weights/contract.hpp).
// Source: SamPredictor / ResizeLongestSide (scale per axis by the rounded sizes); MedSAM_Inference.py (stretch); CVPR24_LiteMedSAM_infer.py (one factor, truncated);
// SAM-Med2D test.py (small images centred).
#pragma once
#include <sampan/ops/resize_common.hpp>
#include <sampan/weights/contract.hpp>

#include <cmath>

namespace sampan::inline SAMPAN_ABI::predict {

struct InputFrame {
  Extent2 original;  ///< the image
  Extent2 resized;   ///< its part of the input square
  Index side = 0;    ///< of the square that prompts and masks live in; the network's input too, unless the contract has a prompt_size
  Index top = 0, left = 0;  ///< where it begins there; 0 but for small images that are centred
};

inline InputFrame make_frame(const weights::Contract& c, Extent2 original) {
  const int side = c.network.frame_size();
  if (c.image.pad == weights::PadKind::centre_small && original.height < side && original.width < side) return {original, original, side, (side - original.height) / 2, (side - original.width) / 2};
  return {original, c.image.keep_aspect ? longest_side_size(original, side) : Extent2{side, side}, side};
}

/// Size of the image inside the network's input: what make_frame says, unless prompts live in a frame of another size (EfficientViT-SAM).
inline Extent2 shown_size(const weights::Contract& c, const InputFrame& f) {
  if (!c.network.prompt_size) return f.resized;
  return c.image.keep_aspect ? longest_side_size(f.original, c.network.image_size) : Extent2{c.network.image_size, c.network.image_size};
}

/// Original pixels -> model pixels, rounded to float32 as the prompt encoder gets them.
inline float to_model(const weights::Contract& c, const InputFrame& f, double v, bool is_x) {
  if (c.prompt.coordinates == weights::CoordinateKind::truncate_single_factor)
    return float(std::trunc(v * (double(f.side) / double(std::max(f.original.height, f.original.width)))));
  const double factor = is_x ? double(f.resized.width) / double(f.original.width) : double(f.resized.height) / double(f.original.height);
  return float(v * factor + double(is_x ? f.left : f.top));
}

}  // namespace sampan::inline SAMPAN_ABI::predict
