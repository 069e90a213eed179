// Image pixels -> the network's input: RGB bytes, resize, normalise, pad, each as the checkpoint's contract says.
// Data flow: Session::set_image -> here -> image/window_level.hpp, ops/resize_*.hpp, image/normalize.hpp -> encoder.
// Shapes: any image -> input [s, s, 3] float.   Source: SamPredictor.set_image; MedSAM_Inference.py; CVPR24_LiteMedSAM_infer.py (weights/contract.hpp).
// Cost: bandwidth of the image and of the resized image; scratch from the arena.
#pragma once
#include <sampan/image/normalize.hpp>
#include <sampan/image/window_level.hpp>
#include <sampan/ops/resize_cv2_area.hpp>
#include <sampan/ops/resize_pillow_bilinear.hpp>
#include <sampan/ops/resize_skimage_cubic.hpp>
#include <sampan/predict/frame.hpp>

namespace sampan::inline SAMPAN_ABI::predict {

inline Status check_window(const ImageView& image, const std::optional<WindowLevel>& window) { return check_rgb8(image, window ? &*window : nullptr); }

/// The image as RGB bytes: the caller's own memory where it already is that.
template <class B>
View<const std::uint8_t, 3> rgb_bytes(Context<B>& ctx, Arena::Scope& scope, const ImageView& image, const std::optional<WindowLevel>& window) {
  const Index h = image.size.height, w = image.size.width;
  if (image.type == PixelType::u8 && image.size.channels == 3 && !window)
    return {static_cast<const std::uint8_t*>(image.pixels), {h, w, 3}, {image.row_stride ? Index(image.row_stride) : 3 * w, 3, 1}};
  const auto rgb = scope.make<std::uint8_t>(h, w, 3);
  to_rgb8(ctx, image, window, rgb);
  return rgb;
}

/// input [s, s, 3]. Error{invalid_argument} (in ctx) for pixels that need a window or hold NaN.
template <class B>
void prepare_image(Context<B>& ctx, const weights::Contract& c, const ImageView& image, const std::optional<WindowLevel>& window, const InputFrame& frame, const View<float, 3>& input) {
  auto scope = ctx.arena.scope();
  const auto rgb = rgb_bytes(ctx, scope, image, window);
  const auto resized = scope.template make<std::uint8_t>(frame.resized.height, frame.resized.width, 3);
  switch (c.image.resize) {
    case weights::ResizeKind::pillow_bilinear: resize_pillow_bilinear(ctx, rgb, resized); break;
    case weights::ResizeKind::cv2_area: resize_cv2_area(ctx, rgb, resized); break;
    case weights::ResizeKind::skimage_cubic_aa: resize_skimage_cubic_aa(ctx, rgb, resized); break;
  }
  const View<const std::uint8_t, 3> pixels = resized;
  if (c.image.order != weights::PadOrder::normalise_then_pad) return ctx.fail(Error(ErrorCode::unsupported, "contract: image.order pad_then_normalise is used by no supported network"));
  if (c.image.normalise == weights::NormaliseKind::min_max) {
    normalize_min_max(ctx, pixels, input);
  } else {
    const auto &mean = c.image.mean, &std = c.image.std;
    normalize_mean_std(ctx, pixels, {{float(mean[0]), float(mean[1]), float(mean[2])}, {float(std[0]), float(std[1]), float(std[2])}}, input);
  }
}

}  // namespace sampan::inline SAMPAN_ABI::predict
