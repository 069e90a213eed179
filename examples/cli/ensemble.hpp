// --ensemble: one object asked several times with prompts moved a little, the mean of the answers as the mask, heat maps of mean and variance.
// Data flow: segment.cpp -> moved_prompts -> Session::predict_ensemble -> here -> masks and PNG. The first member is the prompt as given.
// Random numbers: splitmix64 of the seed, the object and the member, so that neither order nor number of the others matters.
#pragma once
#include "options.hpp"

#include <sampan/image/mask_codec.hpp>

#include <algorithm>
#include <limits>

namespace sampan::cli {

/// How far a coordinate may be moved.
struct Jitter {
  double value = 5;
  bool percent = true;  ///< of the box's side; points without a box: of the image's shorter side
};

inline Jitter parse_jitter(const std::string& text) {
  if (text.empty()) return {};
  const bool percent = text.back() == '%', pixels = text.size() > 2 && text.substr(text.size() - 2) == "px";
  Jitter j{0, percent};
  if (!(percent || pixels) || !read_number(text.substr(0, text.size() - (percent ? 1 : 2)), j.value) || !(j.value > 0 && j.value <= (percent ? 50.0 : 10'000.0)))
    usage(cat("--jitter ", text, ": 5% (of the box's sides, up to 50%) or 8px is needed"));
  return j;
}

/// `count` prompts: p itself, then p with every coordinate moved by up to the jitter, inside the image. Mask inputs and labels stay.
inline std::vector<Prompt> moved_prompts(const Prompt& p, std::size_t count, const Jitter& jitter, std::uint64_t seed, std::size_t object, const ImageSize& image) {
  std::vector<Prompt> members(count, p);
  const double w = double(image.width), h = double(image.height);
  for (std::size_t m = 1; m < count; ++m) {
    std::uint64_t state = seed * 0x9E3779B97F4A7C15u + object * 0xD1B54A32D192ED03u + m;
    const auto unit = [&] {  // in [-1, 1)
      std::uint64_t z = state += 0x9E3779B97F4A7C15u;
      z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u, z = (z ^ z >> 27) * 0x94D049BB133111EBu, z ^= z >> 31;
      return double(z >> 11) * 0x1p-52 - 1;
    };
    const auto move = [&](double v, double side, double most) { return std::clamp(v + unit() * (jitter.percent ? jitter.value / 100 * side : jitter.value), 0.0, most); };
    Prompt& moved = members[m];
    double across = std::min(w, h), down = across;
    if (p.box) {
      const Box& b = *p.box;
      across = b.x1 - b.x0, down = b.y1 - b.y0;
      Box n{move(b.x0, across, w), move(b.y0, down, h), move(b.x1, across, w), move(b.y1, down, h)};
      if (!(n.x0 < n.x1)) n.x0 = b.x0, n.x1 = b.x1;  // a box of a pixel or two that turned over
      if (!(n.y0 < n.y1)) n.y0 = b.y0, n.y1 = b.y1;
      moved.box = n;
    }
    for (auto& q : moved.points) q.x = move(q.x, across, w), q.y = move(q.y, down, h);
  }
  return members;
}

/// Black, blue, violet, orange, white: rises evenly in lightness, so that it reads in grey as well.
inline std::array<std::uint8_t, 3> heat(double v) {
  constexpr double stops[5][3] = {{0, 0, 0}, {40, 40, 150}, {170, 60, 130}, {245, 150, 50}, {255, 255, 240}};
  v = v > 0 ? std::min(v, 1.0) * 4 : 0.0;  // NaN too
  const auto i = std::min(std::size_t(v), std::size_t(3));
  std::array<std::uint8_t, 3> c{};
  for (std::size_t k = 0; k < 3; ++k) c[k] = std::uint8_t(stops[i][k] + (v - double(i)) * (stops[i + 1][k] - stops[i][k]) + 0.5);
  return c;
}

/// `most` is white.
inline std::vector<std::uint8_t> heat_png(const std::vector<float>& map, std::int64_t width, std::int64_t height, double most) {
  std::vector<std::uint8_t> rgb, png;
  rgb.reserve(map.size() * 3);
  for (const float v : map)
    for (const std::uint8_t c : heat(double(v) / most)) rgb.push_back(c);
  must(encode_png({rgb.data(), {width, height, 3}, PixelType::u8}, png), Source::arguments);
  return png;
}

/// As one prediction, for everything that is written of objects: mean predicted IoU, no stability, no logits.
inline Prediction as_prediction(const Ensemble& e) {
  Prediction p;
  p.candidates.resize(1);
  Candidate& c = p.candidates[0];
  c.mask = e.mask, c.area = e.area, c.stability = std::numeric_limits<float>::quiet_NaN();
  double iou = 0;
  for (const float v : e.predicted_iou) iou += double(v);
  c.predicted_iou = float(iou / double(e.predicted_iou.size()));
  std::int64_t x0 = e.mask.width, x1 = 0, y0 = e.mask.height, y1 = 0;
  for (std::int64_t y = 0; y < e.mask.height; ++y)
    for (std::int64_t x = 0; x < e.mask.width; ++x)
      if (e.mask.data[std::size_t(y * e.mask.width + x)]) x0 = std::min(x0, x), x1 = std::max(x1, x + 1), y0 = std::min(y0, y), y1 = y + 1;
  if (e.area > 0) c.extent = {double(x0), double(y0), double(x1), double(y1)};
  return p;
}

}  // namespace sampan::cli
