// What prompt simulators ask about a mask: pixels in order, bounding box, components, how deep a pixel lies, and the resize that SAM-Med2D's evaluation does.
// Data flow: sampan::Mask (bytes, 0 is background) -> here -> simulators.hpp.
// Shapes: masks [height, width], row-major; raster order is y, then x, as numpy.argwhere gives it. Cost: a few passes over the pixels.
// Deliberately absent: three dimensions (examples/medical/clean.hpp), contours.
#pragma once
#include <sampan/metrics/distance_transform.hpp>
#include <sampan/ops/resize_cv2_nearest.hpp>
#include <sampan/predict/predictor.hpp>

#include <algorithm>
#include <optional>
#include <span>
#include <vector>

namespace sampan::inline SAMPAN_ABI::evaluate {

struct Pixel {
  std::int64_t x = 0, y = 0;
  friend bool operator==(const Pixel&, const Pixel&) = default;
};

/// First and last pixel.
struct PixelBox {
  std::int64_t x0 = 0, y0 = 0, x1 = 0, y1 = 0;
  friend bool operator==(const PixelBox&, const PixelBox&) = default;
};

inline std::int64_t area(const Mask& m) { return std::int64_t(m.data.size()) - std::count(m.data.begin(), m.data.end(), std::uint8_t(0)); }

/// Pixels for which test(value) holds, in raster order.
template <class Test>
std::vector<Pixel> pixels_where(const Mask& m, const Test& test) {
  std::vector<Pixel> out;
  for (std::int64_t y = 0; y < m.height; ++y)
    for (std::int64_t x = 0; x < m.width; ++x)
      if (test(m.data[std::size_t(y * m.width + x)])) out.push_back({x, y});
  return out;
}
inline std::vector<Pixel> pixels_of(const Mask& m) {
  return pixels_where(m, [](std::uint8_t v) { return v != 0; });
}

/// Nothing if the mask is empty.
inline std::optional<PixelBox> bounds(const Mask& m) {
  PixelBox b{m.width, m.height, -1, -1};
  for (std::int64_t y = 0; y < m.height; ++y)
    for (std::int64_t x = 0; x < m.width; ++x)
      if (m.data[std::size_t(y * m.width + x)]) b = {std::min(b.x0, x), std::min(b.y0, y), std::max(b.x1, x), std::max(b.y1, y)};
  if (b.x1 < 0) return std::nullopt;
  return b;
}

struct Component {
  std::int64_t area = 0;
  PixelBox box;
};

/// Components that touch with sides or corners (8 neighbours), numbered from 1 in raster order of their first pixel, as skimage.measure.label numbers them.
struct Components {
  std::int64_t height = 0, width = 0;
  std::vector<std::int32_t> labels;  ///< 0: background
  std::vector<Component> list;       ///< number i + 1

  Mask mask(std::size_t i) const {
    Mask m{width, height, std::vector<std::uint8_t>(labels.size())};
    for (std::size_t k = 0; k < labels.size(); ++k) m.data[k] = labels[k] == std::int32_t(i) + 1;
    return m;
  }
  /// Positions in `list`, largest area first; of equals the earlier, or the later one.
  std::vector<std::size_t> by_area(bool later_first) const {
    std::vector<std::size_t> order(list.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return list[a].area != list[b].area ? list[a].area > list[b].area : later_first ? a > b : a < b; });
    return order;
  }
};

inline Components components(const Mask& m) {
  Components c{m.height, m.width, std::vector<std::int32_t>(m.data.size(), 0), {}};
  std::vector<std::int64_t> stack;
  for (std::int64_t start = 0; start < std::int64_t(m.data.size()); ++start) {
    if (!m.data[std::size_t(start)] || c.labels[std::size_t(start)]) continue;
    Component found{0, {m.width, m.height, -1, -1}};
    const auto number = std::int32_t(c.list.size()) + 1;
    stack.assign(1, start);
    c.labels[std::size_t(start)] = number;
    while (!stack.empty()) {
      const std::int64_t at = stack.back(), x = at % m.width, y = at / m.width;
      stack.pop_back();
      ++found.area;
      found.box = {std::min(found.box.x0, x), std::min(found.box.y0, y), std::max(found.box.x1, x), std::max(found.box.y1, y)};
      for (std::int64_t v = std::max<std::int64_t>(0, y - 1); v <= std::min(m.height - 1, y + 1); ++v)
        for (std::int64_t u = std::max<std::int64_t>(0, x - 1); u <= std::min(m.width - 1, x + 1); ++u) {
          const std::size_t next = std::size_t(v * m.width + u);
          if (!m.data[next] || c.labels[next]) continue;
          c.labels[next] = number;
          stack.push_back(std::int64_t(next));
        }
    }
    c.list.push_back(found);
  }
  return c;
}

/// How far each pixel lies from the nearest pixel outside the mask; the image is surrounded by outside, 0 outside the mask.
/// cv2.distanceTransform(mask, DIST_L2, 5) as the packages on PyPI compute it (x86: in float32, steps 1, 1.4 and 2.1969).
inline std::vector<float> chamfer_distance(const Mask& m) {
  constexpr float side = 1.0f, diagonal = 1.4f, knight = 2.1969f, far = 1e6f;
  const std::int64_t w = m.width + 4, h = m.height + 4;
  std::vector<float> d(std::size_t(w * h), far);
  for (std::int64_t y = 0; y < h; ++y)
    for (std::int64_t x = 0; x < w; ++x) {
      const bool rim = y == 1 || y == h - 2 || x == 1 || x == w - 2, inner = y > 1 && y < h - 2 && x > 1 && x < w - 2;
      if ((rim && y > 0 && y < h - 1 && x > 0 && x < w - 1) || (inner && !m.data[std::size_t((y - 2) * m.width + x - 2)])) d[std::size_t(y * w + x)] = 0;
    }
  const std::int64_t steps[8] = {-1, -w, -w - 1, -w + 1, -w - 2, -w + 2, -2 * w - 1, -2 * w + 1};
  const float lengths[8] = {side, side, diagonal, diagonal, knight, knight, knight, knight};
  for (const std::int64_t sign : {1, -1})
    for (std::int64_t k = 0; k < m.height * m.width; ++k) {
      const std::int64_t i = sign > 0 ? k : m.height * m.width - 1 - k, at = (i / m.width + 2) * w + i % m.width + 2;
      float best = d[std::size_t(at)];
      for (int s = 0; s < 8; ++s) best = std::min(best, d[std::size_t(at + sign * steps[s])] + lengths[s]);
      d[std::size_t(at)] = best;
    }
  std::vector<float> out(m.data.size());
  for (std::int64_t y = 0; y < m.height; ++y) std::copy_n(d.begin() + (y + 2) * w + 2, m.width, out.begin() + y * m.width);
  return out;
}

/// The same without the error of the chamfer steps, up to 2 % : scipy.ndimage.distance_transform_edt of the mask with a rim of zeros.
inline std::vector<double> exact_distance(const Mask& m) {
  const std::int64_t w = m.width + 2, h = m.height + 2;
  std::vector<std::uint8_t> padded(std::size_t(w * h));
  for (std::int64_t y = 0; y < m.height; ++y) std::copy_n(m.data.begin() + y * m.width, m.width, padded.begin() + (y + 1) * w + 1);
  ThreadPool pool(1);
  const auto d = metrics::distance_transform({padded.data(), {1, h, w}}, metrics::Grid{}, pool);
  std::vector<double> out(m.data.size());
  for (std::int64_t y = 0; y < m.height; ++y) std::copy_n(d.begin() + (y + 1) * w + 1, m.width, out.begin() + y * m.width);
  return out;
}

/// All pixels of the largest value, in raster order.
template <class T>
std::vector<Pixel> deepest(const std::vector<T>& distance, std::int64_t width) {
  std::vector<Pixel> out;
  if (distance.empty()) return out;
  const T most = *std::max_element(distance.begin(), distance.end());
  for (std::size_t i = 0; i < distance.size(); ++i)
    if (distance[i] == most) out.push_back({std::int64_t(i) % width, std::int64_t(i) / width});
  return out;
}

/// A mask as a network of `side` pixels is asked about it: stretched by cv2's nearest neighbour, or, where both sides are smaller, in the middle of zeros (albumentations' PadIfNeeded).
struct ModelFrame {
  std::int64_t side = 0, width = 0, height = 0;
  bool centred = false;
  std::int64_t left() const { return centred ? (side - width) / 2 : 0; }
  std::int64_t top() const { return centred ? (side - height) / 2 : 0; }
  /// To pixels of the image.
  double x(double v) const { return centred ? v - double(left()) : v * double(width) / double(side); }
  double y(double v) const { return centred ? v - double(top()) : v * double(height) / double(side); }
};

inline ModelFrame model_frame(const Mask& m, std::int64_t side) { return {side, m.width, m.height, m.width < side && m.height < side}; }

inline Mask to_model(const Mask& m, const ModelFrame& f) {
  Mask out{f.side, f.side, std::vector<std::uint8_t>(std::size_t(f.side * f.side))};
  for (std::int64_t y = 0; y < f.side; ++y)
    for (std::int64_t x = 0; x < f.side; ++x) {
      const std::int64_t u = f.centred ? x - f.left() : sampan::detail::nearest_source(f.width, f.side, x);
      const std::int64_t v = f.centred ? y - f.top() : sampan::detail::nearest_source(f.height, f.side, y);
      if (u >= 0 && v >= 0 && u < f.width && v < f.height) out.data[std::size_t(y * f.side + x)] = m.data[std::size_t(v * f.width + u)] != 0;
    }
  return out;
}

/// Where a low-resolution map of logits [n, n], stretched to side x side (bilinear, align_corners False, in float as PyTorch does it), is above 0.
inline Mask positive_at(std::span<const float> logits, std::int64_t n, std::int64_t side) {
  struct Tap {
    std::size_t low, high;
    float t;
  };
  std::vector<Tap> taps;
  const float scale = float(n) / float(side);
  for (std::int64_t o = 0; o < side; ++o) {
    const float at = std::max(0.0f, scale * (float(o) + 0.5f) - 0.5f);
    const auto low = std::size_t(at);
    taps.push_back({low, std::min(low + 1, std::size_t(n - 1)), at - float(low)});
  }
  Mask m{side, side, {}};
  for (const Tap& v : taps)
    for (const Tap& u : taps) {
      const float* a = logits.data() + v.low * std::size_t(n);
      const float* b = logits.data() + v.high * std::size_t(n);
      const float above = (1 - v.t) * ((1 - u.t) * a[u.low] + u.t * a[u.high]) + v.t * ((1 - u.t) * b[u.low] + u.t * b[u.high]);
      m.data.push_back(above > 0);
    }
  return m;
}

}  // namespace sampan::inline SAMPAN_ABI::evaluate
