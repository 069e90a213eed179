// Definitions of everything mode (predict/everything.hpp): grids, crops, filters, box NMS, small regions; the noexcept border.
// Numbers follow the reference's types: grids and clicks in double, boxes and IoU in float, comparisons as strict as there.
#pragma once
#include <sampan/predict/everything.hpp>
#include <sampan/predict/guarded.hpp>
#include <sampan/predict/session_state.hpp>
#include <sampan/predict/small_regions.hpp>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace sampan::inline SAMPAN_ABI {
namespace detail {

using PixelBox = std::array<std::int64_t, 4>;  // x0, y0, x1, y1; of masks the last column and row are inside, of crops they are not

struct Crop {
  PixelBox box;
  int layer;
};

/// The image, then the crops of every layer: columns outer, rows inner.
inline std::vector<Crop> crops_of(std::int64_t width, std::int64_t height, const EverythingOptions& o) {
  std::vector<Crop> out{{{0, 0, width, height}, 0}};
  for (int layer = 1; layer <= o.crop_n_layers; ++layer) {
    const std::int64_t n = std::int64_t(1) << layer, overlap = std::int64_t(o.crop_overlap_ratio * double(std::min(width, height)) * (2.0 / double(n)));
    const auto length = [&](std::int64_t side) { return std::int64_t(std::ceil(double(overlap * (n - 1) + side) / double(n))); };
    const std::int64_t w = length(width), h = length(height);
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t k = 0; k < n; ++k) {
        const std::int64_t x = (w - overlap) * i, y = (h - overlap) * k;
        out.push_back({{x, y, std::min(x + w, width), std::min(y + h, height)}, layer});
      }
  }
  return out;
}

inline int points_of_layer(const EverythingOptions& o, int layer) { return int(double(o.points_per_side) / std::pow(double(o.crop_n_points_downscale_factor), double(layer))); }

/// Clicks at the middles of n x n cells, rows outer.
inline std::vector<LabeledPoint> grid_of(int n, std::int64_t width, std::int64_t height) {
  const double first = 1.0 / (2.0 * n), last = 1 - first, step = n > 1 ? (last - first) / (n - 1) : 0;
  const auto at = [&](int i) { return n > 1 && i == n - 1 ? last : first + i * step; };
  std::vector<LabeledPoint> out;
  for (int y = 0; y < n; ++y)
    for (int x = 0; x < n; ++x) out.push_back({at(x) * double(width), at(y) * double(height), 1});
  return out;
}

/// A mask on its way through the filters; its box is [x0, y0, last x, last y] in the image.
struct Found {
  FoundMask mask;
  PixelBox box;
};

inline PixelBox xywh(const PixelBox& b) { return {b[0], b[1], b[2] - b[0], b[3] - b[1]}; }

/// Boxes in the order of their scores; of those that overlap more than `threshold` the first stays. Boxes without area overlap nothing (0 / 0).
inline std::vector<std::size_t> box_nms(const std::vector<Found>& all, const std::vector<float>& scores, double threshold) {
  std::vector<std::size_t> order(all.size()), keep;
  std::iota(order.begin(), order.end(), std::size_t(0));
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return scores[a] > scores[b]; });
  const auto area = [](const PixelBox& b) { return float(b[2] - b[0]) * float(b[3] - b[1]); };
  for (const std::size_t i : order) {
    const PixelBox& a = all[i].box;
    const bool covered = std::any_of(keep.begin(), keep.end(), [&](std::size_t k) {
      const PixelBox& b = all[k].box;
      const float w = std::max(0.0f, float(std::min(a[2], b[2]) - std::max(a[0], b[0]))), h = std::max(0.0f, float(std::min(a[3], b[3]) - std::max(a[1], b[1])));
      return double(w * h / (area(a) + area(b) - w * h)) > threshold;
    });
    if (!covered) keep.push_back(i);
  }
  return keep;
}
inline std::vector<Found> pick(std::vector<Found>& all, const std::vector<std::size_t>& which) {
  std::vector<Found> out;
  out.reserve(which.size());
  for (const std::size_t i : which) out.push_back(std::move(all[i]));
  return out;
}

/// True if a side lies at a side of the crop (20 pixels) that is none of the image.
inline bool near_crop_edge(const PixelBox& b, const PixelBox& crop, std::int64_t width, std::int64_t height) {
  const PixelBox image{0, 0, width, height};
  for (std::size_t i = 0; i < 4; ++i)
    if (std::abs(b[i] - crop[i]) <= 20 && std::abs(b[i] - image[i]) > 20) return true;
  return false;
}

/// The box [x0, y0, last x, last y] of a mask; all 0 without a pixel.
inline PixelBox box_of(const std::vector<std::uint8_t>& mask, std::int64_t height, std::int64_t width) {
  PixelBox b{width, height, -1, -1};
  for (std::int64_t y = 0; y < height; ++y)
    for (std::int64_t x = 0; x < width; ++x)
      if (mask[std::size_t(y * width + x)]) b = {std::min(b[0], x), std::min(b[1], y), std::max(b[2], x), std::max(b[3], y)};
  return b[2] < 0 ? PixelBox{} : b;
}

/// Sets what everything mode asks of a session's decoder, and takes it back.
class DecodeRules {
 public:
  DecodeRules(SessionState& s, const EverythingOptions& o) : s_(s) {
    if (o.pred_iou_thresh > 0) s.least_iou = float(o.pred_iou_thresh);
    s.stability_offset = float(o.stability_score_offset);
  }
  DecodeRules(const DecodeRules&) = delete;
  DecodeRules& operator=(const DecodeRules&) = delete;
  ~DecodeRules() { s_.least_iou = -std::numeric_limits<float>::infinity(), s_.stability_offset = 1; }

 private:
  SessionState& s_;
};

/// Progress of the whole, from that of its parts.
struct Share {
  const Progress& outer;
  double begin = 0, part = 1;
  static bool report(void* user, std::string_view stage, double fraction) {
    const auto& s = *static_cast<const Share*>(user);
    return !s.outer.report || s.outer.report(s.outer.user, stage, s.begin + s.part * fraction);
  }
};

/// What a crop's clicks found, filtered and without doubles.
inline Result<std::vector<Found>> everything_in_crop(Session& session, const ImageView& image, const Crop& crop, const EverythingOptions& o, const std::optional<WindowLevel>& window, double encode_share, Share share) {
  const auto [x0, y0, x1, y1] = crop.box;
  const std::int64_t w = x1 - x0, h = y1 - y0, width = image.size.width, height = image.size.height;
  ImageView part = image;
  part.pixels = image.row(y0) + x0 * std::int64_t(bytes_per_sample(image.type)) * image.size.channels;
  part.row_stride = image.row_stride ? image.row_stride : std::ptrdiff_t(image.row_bytes());
  part.size.width = w, part.size.height = h;
  const double begin = share.begin, whole = share.part;
  share.part = whole * encode_share;
  SAMPAN_CHECK(session.try_set_image(part, window, {Share::report, &share}));

  DecodeRules rules(Access::state(session), o);
  const std::vector<LabeledPoint> points = grid_of(points_of_layer(o, crop.layer), w, h);
  const bool best_only = Access::state(session).model->info.hq_token;  // SAM-HQ's code picks before its filters
  std::vector<Found> found;
  constexpr std::size_t kTogether = std::size_t(kPromptBatch);
  std::array<Prompt, kTogether> prompts;
  std::array<Prediction, kTogether> predictions;
  for (std::size_t i = 0; i < points.size(); i += kTogether) {
    if (i % std::size_t(o.points_per_batch) < kTogether) {
      share.begin = begin + whole * (encode_share + (1 - encode_share) * double(i) / double(points.size())), share.part = 0;
      if (!Share::report(&share, "clicks", 0)) return Error(ErrorCode::cancelled, "cancelled by the caller");
    }
    const std::size_t n = std::min(kTogether, points.size() - i);
    for (std::size_t k = 0; k < n; ++k) prompts[k].points.assign(1, points[i + k]);
    SAMPAN_CHECK(session.try_predict_into(std::span<const Prompt>(prompts).first(n), std::span(predictions).first(n), {.multimask = true}));
    for (std::size_t k = 0; k < n; ++k)
      for (const Candidate& c : predictions[k].candidates) {
        if (best_only && &c != &predictions[k].best()) continue;
        if (c.mask.data.empty() || (o.pred_iou_thresh > 0 && !(c.predicted_iou > float(o.pred_iou_thresh)))) continue;
        if (o.stability_score_thresh > 0 && !(c.stability >= float(o.stability_score_thresh))) continue;
        Found f;
        if (c.area > 0) f.box = {std::int64_t(c.extent.x0), std::int64_t(c.extent.y0), std::int64_t(c.extent.x1) - 1, std::int64_t(c.extent.y1) - 1};
        for (std::size_t side = 0; side < 4; ++side) f.box[side] += crop.box[side % 2];
        if (near_crop_edge(f.box, crop.box, width, height)) continue;
        run_lengths(View<const std::uint8_t, 2>(c.mask.data.data(), {Index(h), Index(w)}), x0, y0, height, width, f.mask.segmentation);
        f.mask.area = c.area, f.mask.predicted_iou = c.predicted_iou, f.mask.stability_score = c.stability;
        f.mask.point_x = points[i + k].x + double(x0), f.mask.point_y = points[i + k].y + double(y0);
        f.mask.crop_box = xywh(crop.box);
        found.push_back(std::move(f));
      }
  }
  std::vector<float> scores;
  for (const Found& f : found) scores.push_back(f.mask.predicted_iou);
  return pick(found, box_nms(found, scores, o.box_nms_thresh));
}

/// min_mask_region_area: masks that had to be changed give way to those that did not.
inline Status clean_regions(std::vector<Found>& found, const EverythingOptions& o, std::int64_t height, std::int64_t width) {
  std::vector<float> unchanged;
  for (Found& f : found) {
    SAMPAN_TRY(mask, mask_of(f.mask.segmentation));
    bool changed = predict::remove_small_regions(mask, height, width, o.min_mask_region_area, predict::SmallRegions::holes);
    changed |= predict::remove_small_regions(mask, height, width, o.min_mask_region_area, predict::SmallRegions::islands);
    unchanged.push_back(changed ? 0.0f : 1.0f);
    if (!changed) continue;
    f.box = box_of(mask, height, width);
    run_lengths(View<const std::uint8_t, 2>(mask.data(), {Index(height), Index(width)}), 0, 0, height, width, f.mask.segmentation);
    f.mask.area = f.mask.segmentation.area();
  }
  found = pick(found, box_nms(found, unchanged, std::max(o.box_nms_thresh, o.crop_nms_thresh)));
  return {};
}

}  // namespace detail

SAMPAN_INLINE Status check(const EverythingOptions& o) noexcept {
  return detail::guarded([&]() -> Status {
    const auto refuse = [](std::string_view name, auto value, std::string_view what) { return Error(ErrorCode::invalid_argument, cat(name, " ", value, ": ", what)); };
    if (o.points_per_side < 1 || o.points_per_side > 4096) return refuse("points_per_side", o.points_per_side, "1 to 4096 are possible");
    if (o.points_per_batch < 1) return refuse("points_per_batch", o.points_per_batch, "at least 1");
    if (o.crop_n_layers < 0 || o.crop_n_layers > 6) return refuse("crop_n_layers", o.crop_n_layers, "0 to 6 are possible");
    if (o.crop_n_points_downscale_factor < 1) return refuse("crop_n_points_downscale_factor", o.crop_n_points_downscale_factor, "at least 1");
    if (!(o.crop_overlap_ratio >= 0 && o.crop_overlap_ratio < 1)) return refuse("crop_overlap_ratio", o.crop_overlap_ratio, "0 or more and below 1");
    if (!(o.stability_score_offset >= 0 && o.stability_score_offset < 1e6)) return refuse("stability_score_offset", o.stability_score_offset, "a number of at least 0");
    if (o.min_mask_region_area < 0) return refuse("min_mask_region_area", o.min_mask_region_area, "at least 0");
    for (const auto& [name, value] : {std::pair("pred_iou_thresh", o.pred_iou_thresh), std::pair("stability_score_thresh", o.stability_score_thresh), std::pair("box_nms_thresh", o.box_nms_thresh), std::pair("crop_nms_thresh", o.crop_nms_thresh)})
      if (!std::isfinite(value)) return refuse(name, value, "a finite number is needed");
    std::int64_t clicks = 0;
    for (int layer = 0; layer <= o.crop_n_layers; ++layer) {
      const std::int64_t n = detail::points_of_layer(o, layer);
      if (n < 1) return refuse("crop_n_points_downscale_factor", o.crop_n_points_downscale_factor, cat("leaves no click in layer ", layer));
      clicks += n * n << 2 * layer;
    }
    if (clicks > std::int64_t(1) << 24) return Error(ErrorCode::limit, cat(clicks, " clicks: at most 2^24 are possible; lower points_per_side or crop_n_layers"));
    return {};
  });
}

SAMPAN_INLINE Result<std::vector<FoundMask>> try_everything(Session& session, const ImageView& image, const EverythingOptions& o, const std::optional<WindowLevel>& window, const Progress& progress) noexcept {
  return detail::guarded([&]() -> Result<std::vector<FoundMask>> {
    SAMPAN_CHECK(check(o));
    SAMPAN_CHECK(check(image));
    const ModelInfo& model = detail::Access::state(session).model->info;
    if (!model.points) return Error(ErrorCode::unsupported, cat(model.name, " takes no clicks; everything mode asks with a grid of them"));
    if (!model.multimask) return Error(ErrorCode::unsupported, cat(model.name, " gives one mask per prompt; everything mode takes three"));
    const std::int64_t width = image.size.width, height = image.size.height;
    const std::vector<detail::Crop> crops = detail::crops_of(width, height, o);
    const auto work = [&](const detail::Crop& c) { return model.encode_flop + std::pow(double(detail::points_of_layer(o, c.layer)), 2) * model.decode_flop; };
    double all = 0, done = 0;
    for (const auto& c : crops) {
      if (c.box[2] <= c.box[0] || c.box[3] <= c.box[1]) return Error(ErrorCode::invalid_argument, cat("crop_n_layers ", o.crop_n_layers, ": a crop of this ", width, "x", height, " image would be empty"));
      all += work(c);
    }
    std::vector<detail::Found> found;
    for (const auto& c : crops) {
      SAMPAN_TRY(more, detail::everything_in_crop(session, image, c, o, window, model.encode_flop / work(c), {progress, done / all, work(c) / all}));
      std::move(more.begin(), more.end(), std::back_inserter(found));
      done += work(c);
    }
    if (crops.size() > 1) {
      std::vector<float> scores;
      for (const auto& f : found) scores.push_back(1.0f / float(f.mask.crop_box[2] * f.mask.crop_box[3]));
      found = detail::pick(found, detail::box_nms(found, scores, o.crop_nms_thresh));
    }
    if (o.min_mask_region_area > 0) SAMPAN_CHECK(detail::clean_regions(found, o, height, width));
    std::vector<FoundMask> out;
    out.reserve(found.size());
    for (auto& f : found) {
      f.mask.bbox = detail::xywh(f.box);
      out.push_back(std::move(f.mask));
    }
    return out;
  });
}

}  // namespace sampan::inline SAMPAN_ABI
