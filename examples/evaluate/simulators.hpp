// Prompt simulators: a ground-truth mask -> the prompt that somebody who knew it would have given. Data flow: regions.hpp, numpy_random.hpp -> here -> protocol.hpp.
// Each function is one published rule under its name; what it draws, it draws in the order stated, so that a seed means the same prompts as in NumPy.
// Coordinates are pixels of the image (core/geometry.hpp). Masks must not be empty. Boxes lie inside the image with x0 < x1 and y0 < y1: where a rule gives a box without
// width (an object one pixel wide whose last pixel is its end), its end moves on by one pixel, because no model takes the other.
// Sources: Mazurowski et al. 2023 (segment-anything-medical-evaluation, prompt_gen_and_exec_v1/v2), Huang et al. 2023 (Segment-Anything-Model-for-Medical-Images,
//   utils/get_prompts.py), Ma et al. 2024 (MedSAM, comparisons/SAM/infer_SAM_2D_npz.py), Cheng et al. 2023 (SAM-Med2D, utils.py, DataLoader.py). Own code.
#pragma once
#include "numpy_random.hpp"
#include "regions.hpp"

#include <cmath>

namespace sampan::inline SAMPAN_ABI::evaluate {

/// Does a box end at the last pixel (numpy.where(...).max(), most published code) or one past it (skimage's bbox)?
enum class BoxEnd { inclusive, exclusive };

/// Into the image, and at least one pixel wide and high.
inline Box inside(Box b, std::int64_t width, std::int64_t height) {
  const auto fit = [](double& low, double& high, double size) {
    if (low > high) std::swap(low, high);
    low = std::clamp(low, 0.0, size - 1), high = std::clamp(high, 0.0, size);
    if (!(high > low)) high = low + 1;
  };
  fit(b.x0, b.x1, double(width)), fit(b.y0, b.y1, double(height));
  return b;
}

inline Box to_box(const PixelBox& p, BoxEnd end) {
  const double one = end == BoxEnd::exclusive ? 1 : 0;
  return {double(p.x0), double(p.y0), double(p.x1) + one, double(p.y1) + one};
}

inline Box tight_box(const Mask& m, BoxEnd end = BoxEnd::inclusive) { return inside(to_box(*bounds(m), end), m.width, m.height); }

/// Pixels, or a share of the box's width and height.
struct Amount {
  double value = 0;
  bool share = false;
  double of(double size) const { return share ? value * size : value; }
};

/// Every side outward by the same amount.
inline Box box_with_margin(const Mask& m, const Amount& by) {
  const Box b = to_box(*bounds(m), BoxEnd::inclusive);
  const double dx = by.of(b.x1 - b.x0), dy = by.of(b.y1 - b.y0);
  return inside({b.x0 - dx, b.y0 - dy, b.x1 + dx, b.y1 + dy}, m.width, m.height);
}

/// Every side on its own, inward or outward: pixels by randint(-n, n + 1), shares by uniform(-f, f) of the side's length. Draws x0, y0, x1, y1.
inline Box jittered_box(const Mask& m, const Amount& by, RandomState& rng) {
  Box b = to_box(*bounds(m), BoxEnd::inclusive);
  const double width = b.x1 - b.x0, height = b.y1 - b.y0;
  const auto draw = [&](double size) { return by.share ? rng.uniform(-by.value, by.value) * size : double(rng.randint(-std::int64_t(by.value), std::int64_t(by.value) + 1)); };
  b.x0 += draw(width), b.y0 += draw(height), b.x1 += draw(width), b.y1 += draw(height);
  return inside(b, m.width, m.height);
}

/// MedSAM's training boxes: every side outward by randint(0, n + 1) pixels. Draws x0, x1, y0, y1.
inline Box grown_box(const Mask& m, std::int64_t most, RandomState& rng) {
  Box b = to_box(*bounds(m), BoxEnd::inclusive);
  const auto draw = [&] { return double(rng.randint(0, most + 1)); };
  b.x0 -= draw(), b.x1 += draw(), b.y0 -= draw(), b.y1 += draw();
  return inside(b, m.width, m.height);
}

/// MedSAM's evaluation boxes: tight on the ground truth stretched to 1024 x 1024 (nearest neighbour), 20 pixels larger there, at most the image.
/// Nothing if the object vanishes in the resize.
inline std::optional<Box> medsam_box(const Mask& m) {
  constexpr std::int64_t shift = 20;
  const ModelFrame f{1024, m.width, m.height, false};
  const auto b = bounds(to_model(m, f));
  if (!b) return std::nullopt;
  const auto low = [](std::int64_t v) { return double(std::max<std::int64_t>(0, v - shift)); };
  const auto high = [&](std::int64_t v) { return double(std::min(f.side, v + shift)); };
  return inside({f.x(low(b->x0)), f.y(low(b->y0)), f.x(high(b->x1)), f.y(high(b->y1))}, m.width, m.height);
}

/// SAM-Med2D's evaluation boxes: of the largest component (of equals the first) of the ground truth at the model's size, its end one past the last pixel. `at_model` must not be empty.
inline Box sammed2d_box(const Mask& at_model, const ModelFrame& f) {
  const Components c = components(at_model);
  const Box b = to_box(c.list[c.by_area(false)[0]].box, BoxEnd::exclusive);
  return inside({f.x(b.x0), f.y(b.y0), f.x(b.x1), f.y(b.y1)}, f.width, f.height);
}

/// One box per component, largest first (of equals the later one, as Mazurowski et al. have it), at most `most` of them.
inline std::vector<Box> component_boxes(const Mask& m, std::size_t most) {
  const Components c = components(m);
  std::vector<Box> out;
  for (const std::size_t i : c.by_area(true)) {
    if (out.size() == most) break;
    out.push_back(inside(to_box(c.list[i].box, BoxEnd::inclusive), m.width, m.height));
  }
  return out;
}

inline LabeledPoint point_at(const Pixel& p, int label = 1) { return {double(p.x), double(p.y), label}; }

/// The pixel farthest from everything outside the mask; of equals the first in raster order.
inline LabeledPoint center_point(const Mask& m) { return point_at(deepest(exact_distance(m), m.width).front()); }

/// The same by cv2's chamfer distance; of equals one by randint(0, n).
inline Pixel center_by_chamfer(const Mask& m, RandomState& rng) {
  const auto all = deepest(chamfer_distance(m), m.width);
  return all[std::size_t(rng.randint(0, std::int64_t(all.size())))];
}

/// cv2.moments: the mean of the pixels, truncated. It may lie outside the mask.
inline Pixel centroid(const Mask& m) {
  double x = 0, y = 0, n = 0;
  for (const Pixel& p : pixels_of(m)) x += double(p.x), y += double(p.y), n += 1;
  return {std::int64_t(x / n), std::int64_t(y / n)};
}

/// Any pixel of the mask, by randint(0, n) over them in raster order.
inline LabeledPoint random_point(const Mask& m, RandomState& rng) {
  const auto all = pixels_of(m);
  return point_at(all[std::size_t(rng.randint(0, std::int64_t(all.size())))]);
}

/// Different pixels of the mask, then different pixels outside it within its box of twice the size; fewer where there are fewer. Draws permutation(n) of each.
inline std::vector<LabeledPoint> random_points(const Mask& m, std::size_t positive, std::size_t negative, RandomState& rng) {
  std::vector<LabeledPoint> out;
  const auto take = [&](const std::vector<Pixel>& from, std::size_t n, int label) {
    if (n == 0 || from.empty()) return;
    for (const std::int64_t i : rng.choice_distinct(std::int64_t(from.size()), std::min(n, from.size()))) out.push_back(point_at(from[std::size_t(i)], label));
  };
  take(pixels_of(m), positive, 1);
  const Box near = box_with_margin(m, {0.5, true});
  auto outside = pixels_where(m, [](std::uint8_t v) { return v == 0; });
  std::erase_if(outside, [&](const Pixel& p) { return double(p.x) < near.x0 || double(p.x) > near.x1 || double(p.y) < near.y0 || double(p.y) > near.y1; });
  take(outside, negative, 0);
  return out;
}

/// Huang et al.: the centroid, then every n-th pixel of the mask in raster order; then every n-th pixel outside it within its box of twice the size; n is a fifth of them.
/// A list whose length is no multiple of five gives a sixth pixel. The published code labels by position, the first five 1 and the next five 0, so that the sixth positive
/// one becomes a negative click on the object (`by_position`); without that, five of each. The centroid counts even where it lies outside the object.
inline std::vector<LabeledPoint> huang_points(const Mask& m, std::size_t positive, std::size_t negative, bool by_position) {
  constexpr std::size_t n = 5;
  const auto every = [](const std::vector<Pixel>& all) {
    std::vector<Pixel> out;
    for (std::size_t i = 0; i < all.size(); i += std::max<std::size_t>(1, all.size() / n)) out.push_back(all[i]);
    return out;
  };
  std::vector<Pixel> object = every(pixels_of(m));
  object[0] = centroid(m);
  const PixelBox b = *bounds(m);
  const double w = double(b.x1 - b.x0), h = double(b.y1 - b.y0);
  double x0 = double(b.x0) - w + w / 2, y0 = double(b.y0) - h + h / 2, x1 = x0 + 2 * w, y1 = y0 + 2 * h;
  x0 = std::max(0.0, x0), y0 = std::max(0.0, y0);
  if (x1 >= double(m.width)) x1 = double(m.width);
  if (y1 >= double(m.height)) y1 = double(m.height);
  const auto left = std::int64_t(x0), top = std::int64_t(y0), right = left + std::int64_t(x1 - x0), bottom = top + std::int64_t(y1 - y0);
  auto outside = pixels_where(m, [](std::uint8_t v) { return v == 0; });
  std::erase_if(outside, [&](const Pixel& p) { return p.x < left || p.x >= right || p.y < top || p.y >= bottom; });
  outside = every(outside);
  std::vector<LabeledPoint> out;
  if (by_position) {
    object.insert(object.end(), outside.begin(), outside.end());
    for (std::size_t i = 0; i < std::min(positive + negative, object.size()); ++i) out.push_back(point_at(object[i], i < n ? 1 : 0));
    return out;
  }
  for (std::size_t i = 0; i < std::min(positive, object.size()); ++i) out.push_back(point_at(object[i], 1));
  for (std::size_t i = 0; i < std::min(negative, outside.size()); ++i) out.push_back(point_at(outside[i], 0));
  return out;
}

/// Where two masks differ.
inline Mask difference(const Mask& a, const Mask& b) {
  Mask m{a.width, a.height, std::vector<std::uint8_t>(a.data.size())};
  for (std::size_t i = 0; i < m.data.size(); ++i) m.data[i] = (a.data[i] != 0) != (b.data[i] != 0);
  return m;
}

/// The next click of Mazurowski et al.: in the middle (chamfer) of everything that is wrong; of equals one by randint(0, n), drawn even if nothing is wrong.
/// Label 1 where `object` holds: the ground truth, or, as their multi-class code has it, any class.
inline LabeledPoint click_on_all_errors(const Mask& prediction, const Mask& truth, const Mask& object, RandomState& rng) {
  const Pixel p = center_by_chamfer(difference(prediction, truth), rng);
  return point_at(p, object.data[std::size_t(p.y * object.width + p.x)] != 0);
}

/// The next click of interactive segmentation: in the middle (exact distance, first in raster order) of the largest region that is wrong, missing and surplus pixels kept
/// apart. Nothing if all is right.
inline std::optional<LabeledPoint> click_on_largest_error(const Mask& prediction, const Mask& truth) {
  std::optional<LabeledPoint> best;
  std::int64_t most = 0;
  for (const int label : {1, 0}) {
    Mask wrong = difference(prediction, truth);
    for (std::size_t i = 0; i < wrong.data.size(); ++i) wrong.data[i] = wrong.data[i] && (truth.data[i] != 0) == (label == 1);
    const Components c = components(wrong);
    if (c.list.empty()) continue;
    const std::size_t largest = c.by_area(false)[0];
    if (c.list[largest].area <= most) continue;
    most = c.list[largest].area;
    best = center_point(c.mask(largest));
    best->label = label;
  }
  return best;
}

/// The next click of SAM-Med2D's evaluation, both masks at the model's size: any pixel that is wrong, by choice(n, 1). Nothing if all is right; its code then draws a pixel of the
/// image by randint(0, side, 2) and gives it the label of padding, which changes nothing.
inline std::optional<LabeledPoint> sammed2d_click(const Mask& prediction, const Mask& truth, const ModelFrame& f, RandomState& rng) {
  const auto wrong = pixels_of(difference(prediction, truth));
  if (wrong.empty()) {
    rng.randint(0, f.side, 2);
    return std::nullopt;
  }
  const Pixel p = wrong[std::size_t(rng.choice(std::int64_t(wrong.size()), 1)[0])];
  return LabeledPoint{f.x(double(p.x)), f.y(double(p.y)), truth.data[std::size_t(p.y * truth.width + p.x)] != 0};
}

/// The first click there: any pixel of the ground truth at the model's size.
inline LabeledPoint sammed2d_point(const Mask& at_model, const ModelFrame& f, RandomState& rng) {
  const LabeledPoint p = random_point(at_model, rng);
  return {f.x(p.x), f.y(p.y), 1};
}

}  // namespace sampan::inline SAMPAN_ABI::evaluate
