// Image pixels -> the network's input on a device: the recipes of predict/preprocess.hpp whose resize the device has to the last bit.
// Data flow: predict/device_session.hpp -> here -> cuda/pixels.hpp.   Shapes: RGB bytes [h, w, 3] -> input [s, s, 3] float.
// The host makes RGB bytes of whatever the image is (window, grey, order of channels) right into the memory that is copied; everything behind is the device's.
#pragma once
#include <sampan/models/any_model.hpp>
#include <sampan/predict/preprocess.hpp>

namespace sampan::inline SAMPAN_ABI::predict {

/// Does the device prepare the images of this contract? Else predict/preprocess.hpp does, on the host.
inline bool pixels_on_device(const weights::Contract& c) {
  using weights::ResizeKind;
  const auto r = c.image.resize;
  return (r == ResizeKind::pillow_bilinear || r == ResizeKind::cv2_area || r == ResizeKind::cv2_nearest || r == ResizeKind::skimage_cubic_aa) && c.image.order == weights::PadOrder::normalise_then_pad;
}

/// What one size of image needs: a block of bytes with tables, and behind them the pixels.
struct DevicePixels {
  cuda::ResizeTables resize;
  InputFrame frame;
  Extent2 shown;
  Index values = 0, pixels = 0;  ///< places of the table of mean and standard deviation and of the pixels
  Index bytes = 0;               ///< of the block

  static DevicePixels plan(const weights::Contract& c, const InputFrame& frame) {
    using weights::ResizeKind;
    DevicePixels d;
    const auto r = c.image.resize;
    using R = cuda::ResizeBytes;
    const auto kind = r == ResizeKind::pillow_bilinear ? R::pillow_bilinear : r == ResizeKind::cv2_area ? R::cv2_area : r == ResizeKind::cv2_nearest ? R::cv2_nearest : R::skimage_cubic_aa;
    cuda::Places places;
    d.frame = frame, d.shown = shown_size(c, frame);
    d.resize = cuda::ResizeTables::plan(kind, frame.original.height, frame.original.width, d.shown.height, d.shown.width, places);
    d.values = places.take<float>(3 * 256);
    d.pixels = places.take<std::uint8_t>(3 * frame.original.height * frame.original.width);
    d.bytes = places.bytes;
    return d;
  }

  /// Everything of the block but the pixels.
  Status fill(const weights::Contract& c, std::uint8_t* block) const {
    resize.fill(block);
    float* table = cuda::at<float>(block, values);
    for (std::size_t k = 0; k < 3; ++k) {
      const float mean = float(c.image.mean[k]), std = float(c.image.std[k]);
      if (c.image.normalise == weights::NormaliseKind::mean_std && std == 0) return Error(ErrorCode::invalid_argument, "contract: a standard deviation is 0");
      for (int v = 0; v < 256; ++v) *table++ = c.image.normalise == weights::NormaliseKind::mean_std ? (float(v) - mean) / std : 0.0f;
    }
    return {};
  }

  /// The device's copy of the block -> input [s, s, 3].
  void run(Context<Cuda>& ctx, const weights::Contract& c, const std::uint8_t* block, const View<float, 3>& input) const {
    auto scope = ctx.arena.scope();
    std::uint8_t* room = scope.make<std::uint8_t>(3 * shown.height * shown.width).data();
    const std::uint8_t* resized = cuda::resize_bytes(ctx, resize, block, block + pixels, room);
    const float* table = cuda::at<float>(block, values);
    if (c.image.normalise == weights::NormaliseKind::min_max) table = cuda::byte_range(ctx, scope, resized, 3 * shown.height * shown.width).table;
    cuda::map_bytes(ctx, resized, shown.height, shown.width, frame.top, frame.left, table, input);
  }
};

}  // namespace sampan::inline SAMPAN_ABI::predict
