// Image pixels -> the network's input: RGB bytes, resize, normalise, pad, each as the checkpoint's contract says.
// Data flow: Session::set_image -> here -> image/window_level.hpp, ops/resize_*.hpp, image/normalize.hpp -> encoder.
// Shapes: any image -> input [s, s, 3] float.   Source: SamPredictor.set_image; MedSAM_Inference.py; CVPR24_LiteMedSAM_infer.py (weights/contract.hpp).
// Cost: bandwidth of the image and of the resized image; scratch from the arena.
#pragma once
#include <sampan/image/normalize.hpp>
#include <sampan/image/window_level.hpp>
#include <sampan/ops/resize_cv2_area.hpp>
#include <sampan/ops/resize_cv2_nearest.hpp>
#include <sampan/ops/resize_pillow_bilinear.hpp>
#include <sampan/ops/resize_scipy_zoom.hpp>
#include <sampan/ops/resize_skimage_cubic.hpp>
#include <sampan/ops/resize_torch_bilinear.hpp>
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

/// The channels in the order that the network was trained with, from RGB bytes; the same memory if that is RGB. Luma as Pillow's convert("L").
template <class B>
View<const std::uint8_t, 3> order_channels(Context<B>& ctx, Arena::Scope& scope, weights::ImageChannels channels, const View<const std::uint8_t, 3>& rgb) {
  if (channels == weights::ImageChannels::rgb) return rgb;
  const auto out = scope.make<std::uint8_t>(rgb.extent(0), rgb.extent(1), 3);
  if (!ctx.begin({0, 6.0 * double(rgb.extent(0) * rgb.extent(1))})) return out;
  for (Index y = 0; y < rgb.extent(0); ++y)
    for (Index x = 0; x < rgb.extent(1); ++x) {
      const unsigned r = rgb(y, x, 0), g = rgb(y, x, 1), b = rgb(y, x, 2);
      const auto luma = std::uint8_t((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16);
      const bool gray = channels == weights::ImageChannels::gray;
      out(y, x, 0) = gray ? luma : std::uint8_t(b), out(y, x, 1) = gray ? luma : std::uint8_t(g), out(y, x, 2) = gray ? luma : std::uint8_t(r);
    }
  return out;
}

/// The same without gaps in memory of the caller, for a device: out [h, w, 3].
template <class B>
void raw_pixels(Context<B>& ctx, const weights::Contract& c, const ImageView& image, const std::optional<WindowLevel>& window, const View<std::uint8_t, 3>& out) {
  const bool ready = image.type == PixelType::u8 && image.size.channels == 3 && !window;
  if (!ready && c.image.channels == weights::ImageChannels::rgb) return to_rgb8(ctx, image, window, out);
  auto scope = ctx.arena.scope();
  const auto rgb = order_channels(ctx, scope, c.image.channels, rgb_bytes(ctx, scope, image, window));
  if (!ctx.begin({0, 2.0 * double(out.size())})) return;
  sampan::detail::for_row_blocks(ctx, out.extent(0), [&](Index y0, Index y1, int) {
    for (Index y = y0; y < y1; ++y) std::memcpy(out.data() + y * out.stride(0), rgb.data() + y * rgb.stride(0), std::size_t(3 * out.extent(1)));
  });
}

/// Grey pixels in [0, 1] through 224 x 224, which is skipped where a side's size is already right, as SAMed's script does.
template <class B>
void zoom_via_224(Context<B>& ctx, const View<const float, 3>& unit, const View<float, 3>& input) {
  auto scope = ctx.arena.scope();
  const auto plane = [&](Index h, Index w) { return scope.template make<float>(h, w); };
  const auto in = plane(unit.extent(0), unit.extent(1)), between = plane(224, 224), out = plane(input.extent(0), input.extent(1));
  if (ctx.begin({0, 8.0 * double(in.size())}))
    for (Index i = 0; i < in.size(); ++i) in.data()[i] = unit.data()[3 * i];
  const auto zoom = [&](const View<float, 2>& from, const View<float, 2>& to) {
    if (same_extents(from, to)) return from;
    resize_scipy_zoom(ctx, View<const float, 2>(from), to);
    return to;
  };
  const auto done = zoom(zoom(in, between), out);
  if (ctx.begin({0, 16.0 * double(done.size())}))
    for (Index i = 0; i < done.size(); ++i)
      for (Index k = 0; k < 3; ++k) input.data()[3 * i + k] = done.data()[i];
}

/// Floats through 256 x 256, bilinear both times, as AutoSAM's loader and forward do (its loader's own resize differs from this in the outermost pixels).
template <class B>
void stretch_via_256(Context<B>& ctx, const View<const float, 3>& unit, const View<float, 3>& input) {
  auto scope = ctx.arena.scope();
  const auto between = scope.template make<float>(Index(256), Index(256), Index(3));
  resize_torch_bilinear(ctx, unit, between);
  resize_torch_bilinear(ctx, View<const float, 3>(between), input);
}

/// To [0, 1] by the extremes of the pixels.
template <class B>
void unit_by_extremes(Context<B>& ctx, const View<const std::uint8_t, 3>& pixels, const View<float, 3>& unit) {
  if (!ctx.begin({2.0 * double(unit.size()), 6.0 * double(unit.size())})) return;
  const auto each = [&](auto&& f) {
    for (Index y = 0; y < pixels.extent(0); ++y)
      for (Index x = 0; x < pixels.extent(1); ++x)
        for (Index k = 0; k < 3; ++k) f(pixels(y, x, k), unit(y, x, k));
  };
  std::uint8_t least = 255, most = 0;
  each([&](std::uint8_t p, float) { least = std::min(least, p), most = std::max(most, p); });
  const float range = std::max(float(most) - float(least), 1e-8f);
  each([&](std::uint8_t p, float& u) { u = (float(p) - float(least)) / range; });
}

/// Images that are resized as floats of [0, 1]: no rounding between resize and normalisation.
template <class B>
void prepare_float(Context<B>& ctx, const weights::Contract& c, const View<const std::uint8_t, 3>& pixels, const View<float, 3>& input) {
  auto scope = ctx.arena.scope();
  const auto unit = scope.template make<float>(pixels.extent(0), pixels.extent(1), 3);
  if (c.image.resize == weights::ResizeKind::torch_bilinear_256) {
    if (!ctx.require(c.image.normalise == weights::NormaliseKind::min_max, "contract: image.resize torch_bilinear_256 goes with image.normalise min_max")) return;
    unit_by_extremes(ctx, pixels, unit);
    return stretch_via_256(ctx, View<const float, 3>(unit), input);
  }
  if (ctx.begin({double(unit.size()), 5.0 * double(unit.size())}))
    for (Index y = 0; y < pixels.extent(0); ++y)
      for (Index x = 0; x < pixels.extent(1); ++x)
        for (Index k = 0; k < 3; ++k) unit(y, x, k) = float(pixels(y, x, k)) / 255.0f;
  c.image.resize == weights::ResizeKind::scipy_zoom_224 ? zoom_via_224(ctx, View<const float, 3>(unit), input) : resize_torch_bilinear(ctx, View<const float, 3>(unit), input);
  if (!ctx.begin({2.0 * double(input.size()), 8.0 * double(input.size())})) return;
  for (Index y = 0; y < input.extent(0); ++y)
    for (Index x = 0; x < input.extent(1); ++x)
      for (Index k = 0; k < 3; ++k) input(y, x, k) = (255.0f * input(y, x, k) - float(c.image.mean[std::size_t(k)])) / float(c.image.std[std::size_t(k)]);
}

/// input [s, s, 3]. Error{invalid_argument} (in ctx) for pixels that need a window or hold NaN.
template <class B>
void prepare_image(Context<B>& ctx, const weights::Contract& c, const ImageView& image, const std::optional<WindowLevel>& window, const InputFrame& frame, const View<float, 3>& input) {
  auto scope = ctx.arena.scope();
  const auto rgb = order_channels(ctx, scope, c.image.channels, rgb_bytes(ctx, scope, image, window));
  if (c.image.resize == weights::ResizeKind::torch_bilinear || c.image.resize == weights::ResizeKind::scipy_zoom_224 || c.image.resize == weights::ResizeKind::torch_bilinear_256) return prepare_float(ctx, c, rgb, input);
  const Extent2 shown = shown_size(c, frame);
  const auto resized = scope.template make<std::uint8_t>(shown.height, shown.width, 3);
  switch (c.image.resize) {
    case weights::ResizeKind::pillow_bilinear: resize_pillow_bilinear(ctx, rgb, resized); break;
    case weights::ResizeKind::cv2_area: resize_cv2_area(ctx, rgb, resized); break;
    case weights::ResizeKind::skimage_cubic_aa: resize_skimage_cubic_aa(ctx, rgb, resized); break;
    case weights::ResizeKind::cv2_nearest: resize_cv2_nearest(ctx, rgb, resized); break;
    case weights::ResizeKind::torch_bilinear:
    case weights::ResizeKind::scipy_zoom_224:
    case weights::ResizeKind::torch_bilinear_256: break;
  }
  View<float, 3> part = input;
  if (frame.top || frame.left) {
    if (ctx.begin({0, 4.0 * double(input.size())})) std::memset(input.data(), 0, std::size_t(input.size()) * sizeof(float));
    part = input.slice(0, frame.top, frame.resized.height).slice(1, frame.left, frame.resized.width);
  }
  const View<const std::uint8_t, 3> pixels = resized;
  if (c.image.order != weights::PadOrder::normalise_then_pad) return ctx.fail(Error(ErrorCode::unsupported, "contract: image.order pad_then_normalise is used by no supported network"));
  if (c.image.normalise == weights::NormaliseKind::min_max) {
    normalize_min_max(ctx, pixels, part);
  } else {
    const auto &mean = c.image.mean, &std = c.image.std;
    normalize_mean_std(ctx, pixels, {{float(mean[0]), float(mean[1]), float(mean[2])}, {float(std[0]), float(std[1]), float(std[2])}}, part);
  }
}

}  // namespace sampan::inline SAMPAN_ABI::predict
