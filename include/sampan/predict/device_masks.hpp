// Low-resolution logits -> masks of the image's size on a device: what predict/postprocess.hpp does, for the upsamplings that are bilinear.
// Data flow: predict/device_session.hpp -> here -> cuda/masks.hpp.   Shapes: logits [planes, l, l] -> bytes [planes, h, w] and counts of their rows.
// Equal to the host's literal code to the last bit; the host's vector code may fuse multiply-adds, and a sigmoid is as exact as the device's exp.
#pragma once
#include <sampan/models/any_model.hpp>
#include <sampan/predict/postprocess.hpp>

namespace sampan::inline SAMPAN_ABI::predict {

/// Does the device make the masks of this contract? Else the host does.
inline bool masks_on_device(const weights::Contract& c) {
  using weights::UpsampleKind;
  const auto u = c.mask.upsample;
  return u == UpsampleKind::input_crop_original || u == UpsampleKind::crop_low_original || u == UpsampleKind::sigmoid_then_original;
}

/// What comes back of some masks: counts of rows, then the bytes.
struct DeviceMasks {
  Index planes = 0, h = 0, w = 0;
  static constexpr Index kCounts = 5;
  Index bytes_at() const { return planes * h * kCounts * Index(sizeof(std::int32_t)); }
  Index bytes() const { return bytes_at() + planes * h * w; }

  /// limits: threshold, inner, outer, least score; all of it on the device.
  void run(Context<Cuda>& ctx, const weights::Contract& c, const InputFrame& f, const View<const float, 3>& logits, const float* score, const float* limits, std::uint8_t* block) const {
    using weights::UpsampleKind;
    const Index l = logits.extent(1);
    auto scope = ctx.arena.scope();
    const auto target = [&](Index plane) {
      return cuda::MaskTarget{block + bytes_at() + plane * h * w, reinterpret_cast<std::int32_t*>(block) + plane * h * kCounts, limits, score + plane};
    };
    if (c.mask.upsample == UpsampleKind::input_crop_original) {
      const auto square = scope.make<float>(Index(1), f.side, f.side);
      const View<const float, 3> crop = View<const float, 3>(square).slice(1, f.top, f.resized.height).slice(2, f.left, f.resized.width);
      for (Index i = 0; i < planes; ++i) {
        cuda::resize_plane(ctx, logits[i], square[0]);
        cuda::mask_rows(ctx, crop, h, w, target(i));
      }
      return;
    }
    if (c.mask.upsample == UpsampleKind::crop_low_original) {
      if (!ctx.require(l == f.side, "postprocess: cropping at low resolution needs logits of the input's size")) return;
      return cuda::mask_rows(ctx, logits.slice(1, 0, f.resized.height).slice(2, 0, f.resized.width), h, w, target(0));
    }
    const auto probability = scope.make<float>(planes, l, l);
    cuda::sigmoid(ctx, logits.data(), probability.data(), probability.size());
    cuda::mask_rows(ctx, View<const float, 3>(probability), h, w, target(0));
  }

  /// One mask from the host's copy.
  void take(const std::uint8_t* block, Index plane, Candidate& out) const {
    out.mask.width = w, out.mask.height = h;
    const std::uint8_t* mask = block + bytes_at() + plane * h * w;
    out.mask.data.assign(mask, mask + h * w);
    const auto* counts = reinterpret_cast<const std::int32_t*>(block) + plane * h * kCounts;
    sum_rows(h, w, out, [&](Index y) {
      const std::int32_t* r = counts + kCounts * y;
      return detail::RowCount{r[0], r[1], r[2], r[3], r[4]};
    });
  }
};

}  // namespace sampan::inline SAMPAN_ABI::predict
