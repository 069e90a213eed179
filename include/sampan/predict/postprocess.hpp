// Low-resolution logits -> mask of the original size, with its area, extent and stability score.
// Data flow: models/mask_decoder.hpp -> here -> Prediction.   Shapes: low [l, l] logits, mask [h, w] bytes 0/1.
// Published orders (weights/contract.hpp, UpsampleKind): SAM resizes to the input square, crops the padding, resizes to the image; LiteMedSAM crops first;
// MedSAM applies the sigmoid first; EfficientSAM resizes at once, bicubically, and compares with >=. Bilinear, align_corners=False; comparison is strict (> threshold).
// Source: SamPredictor / Sam.postprocess_masks; MedSAM_Inference.py; CVPR24_LiteMedSAM_infer.py; utils/amg.py, calculate_stability_score (offset 1.0 unless everything mode says otherwise).
// Cost: 6 FLOP per pixel; the full-size logits never exist as a whole: rows are compared as they are made.
#pragma once
#include <sampan/ops/resize_torch_bicubic.hpp>
#include <sampan/ops/resize_torch_bilinear.hpp>
#include <sampan/predict/frame.hpp>
#include <sampan/predict/predictor.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

namespace sampan::inline SAMPAN_ABI::predict {

namespace detail {
struct RowCount {
  Index area, inner, outer, first, last;  // pixels above the threshold, above +1, above -1; first and last column of the mask
};
inline float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }
}  // namespace detail

/// What is resized to the original image: logits or probabilities at the network's or the input's size, without padding.
struct MaskSource {
  View<const float, 2> map;
  bool probability = false;  ///< the sigmoid is done
  bool bicubic = false;      ///< else bilinear
};
template <class B>
MaskSource mask_source(Context<B>& ctx, Arena::Scope& scope, const weights::Contract& c, const InputFrame& f, const View<const float, 2>& low) {
  using weights::UpsampleKind;
  const Index l = low.extent(0);
  if (c.mask.upsample == UpsampleKind::bicubic_original) return {low, false, true};
  if (c.mask.upsample == UpsampleKind::input_crop_original) {
    const auto square = scope.make<float>(f.side, f.side);
    resize_torch_bilinear(ctx, low, square);
    return {View<const float, 2>(square).slice(0, f.top, f.resized.height).slice(1, f.left, f.resized.width)};
  }
  if (c.mask.upsample == UpsampleKind::crop_low_original) {
    if (!ctx.require(l == f.side, "postprocess: cropping at low resolution needs logits of the input's size")) return {low};
    return {low.slice(0, 0, f.resized.height).slice(1, 0, f.resized.width)};
  }
  const auto probability = scope.make<float>(l, l);
  if (ctx.begin({double(l * l) * 10, double(l * l) * 8}))
    for (Index y = 0; y < l; ++y)
      for (Index x = 0; x < l; ++x) probability(y, x) = detail::sigmoid(low(y, x));
  return {probability, true};
}

/// What values are compared with: the mask's threshold, and those of the stability score.
struct MaskLimits {
  float threshold = 0, inner = 0, outer = 0;
};
inline MaskLimits mask_limits(const weights::Contract& c, float stability_offset) {
  using weights::UpsampleKind;
  // v >= t is v > the float below t.
  const float t = c.mask.upsample == UpsampleKind::bicubic_original ? std::nextafter(float(c.mask.threshold), -std::numeric_limits<float>::infinity()) : float(c.mask.threshold);
  const bool logits = c.mask.upsample == UpsampleKind::bicubic_original || c.mask.upsample == UpsampleKind::input_crop_original || c.mask.upsample == UpsampleKind::crop_low_original;
  if (logits) return {t, t + stability_offset, t - stability_offset};
  return {t, detail::sigmoid(stability_offset), detail::sigmoid(-stability_offset)};
}

/// Area, extent and stability from what the rows of a mask count; row(y) gives those of one.
template <class F>
void sum_rows(Index h, Index w, Candidate& out, F&& row) {
  Index area = 0, above = 0, around = 0, x0 = w, x1 = 0, y0 = h, y1 = 0;
  for (Index y = 0; y < h; ++y) {
    const detail::RowCount r = row(y);
    area += r.area, above += r.inner, around += r.outer;
    if (r.area) x0 = std::min(x0, r.first), x1 = std::max(x1, r.last + 1), y0 = std::min(y0, y), y1 = y + 1;
  }
  out.area = area;
  out.extent = area ? Box{double(x0), double(y0), double(x1), double(y1)} : Box{};
  out.stability = around ? float(double(above) / double(around)) : std::numeric_limits<float>::quiet_NaN();
}

/// Fills `out` (its mask keeps its memory); while planning only the scratch is counted.
template <class B>
void finish_mask(Context<B>& ctx, const weights::Contract& c, const InputFrame& f, const View<const float, 2>& low, Candidate& out, float stability_offset = 1) {
  const Index h = f.original.height, w = f.original.width;
  const MaskLimits limits = mask_limits(c, stability_offset);
  auto scope = ctx.arena.scope();
  const auto counts = scope.template make<detail::RowCount>(h);
  const MaskSource from = mask_source(ctx, scope, c, f, low);
  if (!ctx.ok()) return;
  const View<const float, 2>& source = from.map;
  std::uint8_t* mask = nullptr;
  if (!ctx.planning() && ctx.ok()) {
    out.mask.width = w;
    out.mask.height = h;
    out.mask.data.resize(std::size_t(h * w));
    mask = out.mask.data.data();
  }
  const View<const float, 3> plane(source.data(), {source.extent(0), source.extent(1), 1}, {source.stride(0), source.stride(1), 1});
  const PixelKernels* kernels = pixel_kernels(ctx.backend);
  const auto finish_row = [&](Index y, const BlendRow& row) {
    MaskRow m{row.a, row.b, row.wa, row.wb, w, limits.threshold, limits.inner, limits.outer, mask + y * w};
    if (kernels && kernels->mask_row) {
      kernels->mask_row(m);
    } else {
      for (Index x = 0; x < w; ++x) {
        const float v = row.wa * row.a[x] + row.wb * row.b[x];
        m.mask[x] = v > limits.threshold;
        m.area += m.mask[x];
        m.above += v > limits.inner;
        m.around += v > limits.outer;
      }
    }
    const auto* first = m.area ? static_cast<const std::uint8_t*>(std::memchr(m.mask, 1, std::size_t(w))) : m.mask;
    Index last = w - 1;
    while (m.area && m.mask[last] == 0) --last;
    counts(y) = {m.area, m.above, m.around, first - m.mask, last};
  };
  if (from.bicubic) {
    sampan::detail::bicubic_rows(ctx, plane, h, w, [](Index, float* own) { return own; }, [&](Index y, float* row) { finish_row(y, {row, row, 1, 0, w, row}); });
  } else {
    sampan::detail::bilinear_rows(ctx, plane, h, w, finish_row);
  }
  if (ctx.planning() || !ctx.ok()) return;
  sum_rows(h, w, out, [&](Index y) { return counts(y); });
}

/// Index of the candidate that a rule picks; ties and NaN go to the earlier one.
inline std::size_t select(const std::vector<Candidate>& all, Select rule) {
  const auto value = [&](const Candidate& c) { return rule == Select::iou ? double(c.predicted_iou) : rule == Select::stability ? double(c.stability) : rule == Select::largest ? double(c.area) : 0.0; };
  std::size_t best = 0;
  for (std::size_t i = 1; i < all.size(); ++i) {
    const double a = value(all[best]), b = value(all[i]);
    if (b > a || (a != a && b == b)) best = i;
  }
  return best;
}

}  // namespace sampan::inline SAMPAN_ABI::predict
