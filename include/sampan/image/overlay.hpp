// Draws what was found over the image, for people: contours, a light fill, the boxes and points that were asked with.
// Data flow: predict/ (masks) and to_rgb8 (image) -> here -> image/mask_codec.hpp. Shapes: image [h, w, 3] uint8, masks [h, w], 0 is outside.
// Cost: one pass over the image per object, plus contour length times line width squared. No heap.
// Deliberately absent: text, antialiasing, transparency in the file. An overlay is for looking; measure on the mask.
#pragma once
#include <sampan/core/error.hpp>
#include <sampan/core/geometry.hpp>
#include <sampan/core/view.hpp>

#include <cmath>
#include <cstdint>
#include <optional>
#include <span>

namespace sampan::inline SAMPAN_ABI {

/// A point of a prompt: label 1 object, 0 background.
struct OverlayPoint {
  Point at;
  int label = 1;
};

using Rgb = std::array<std::uint8_t, 3>;

/// One object and what it was asked with; each part may be missing (an empty mask view, no box, no points). Without a colour its place among the objects gives one.
struct OverlayObject {
  View<const std::uint8_t, 2> mask = {};
  std::optional<Box> box = {};
  std::span<const OverlayPoint> points = {};
  std::optional<Rgb> colour = {};
};

struct OverlayStyle {
  double fill = 0.25;  ///< share of the object's colour inside the mask, 0 to 1
  int line = 0;        ///< contour width in pixels; 0: the longer side / 400, at least 1
};

/// Colours that stay apart for colour-blind readers (Okabe and Ito 2008), in an order that begins with those that stand out on grey and on red tissue.
inline constexpr Rgb kOverlayColours[] = {{86, 180, 233}, {230, 159, 0}, {0, 158, 115}, {240, 228, 66}, {204, 121, 167}, {213, 94, 0}, {0, 114, 178}};
/// The colour of the i-th object; after seven they begin again.
constexpr const Rgb& overlay_colour(std::size_t i) { return kOverlayColours[i % std::size(kOverlayColours)]; }

namespace detail {

class Canvas {
 public:
  explicit Canvas(const View<std::uint8_t, 3>& image) : image_(image), h_(image.extent(0)), w_(image.extent(1)) {}
  void blend(Index y, Index x, const Rgb& colour, double share) {
    for (std::size_t c = 0; c < 3; ++c) {
      std::uint8_t& p = image_(y, x, Index(c));
      p = std::uint8_t(double(p) * (1 - share) + double(colour[c]) * share + 0.5);
    }
  }
  void set(Index y, Index x, const Rgb& colour) {
    if (y < 0 || x < 0 || y >= h_ || x >= w_) return;
    for (std::size_t c = 0; c < 3; ++c) image_(y, x, Index(c)) = colour[c];
  }
  /// A filled disc of that diameter around a pixel; even diameters reach one pixel further to the left and up.
  void dot(Index y, Index x, Index diameter, const Rgb& colour) {
    const Index low = -(diameter / 2), high = low + diameter;
    const double centre = double(low + high - 1) / 2, radius = double(diameter) / 2;
    for (Index dy = low; dy < high; ++dy)
      for (Index dx = low; dx < high; ++dx) {
        const double a = double(dy) - centre, b = double(dx) - centre;
        if (a * a + b * b <= radius * radius) set(y + dy, x + dx, colour);
      }
  }
  void rectangle(const Box& box, Index line, const Rgb& colour) {
    const Index x0 = pixel(box.x0, w_), x1 = pixel(box.x1, w_), y0 = pixel(box.y0, h_), y1 = pixel(box.y1, h_);
    for (Index t = 0; t < line; ++t) {
      for (Index x = x0; x <= x1; ++x) set(y0 + t, x, colour), set(y1 - t, x, colour);
      for (Index y = y0; y <= y1; ++y) set(y, x0 + t, colour), set(y, x1 - t, colour);
    }
  }
  static Index pixel(double v, Index n) { return v < 0 ? 0 : v > double(n - 1) ? n - 1 : Index(v + 0.5); }
  Index height() const { return h_; }
  Index width() const { return w_; }

 private:
  View<std::uint8_t, 3> image_;
  Index h_, w_;
};

}  // namespace detail

/// Draws all objects into `image`: fills first, then contours, then boxes (thin, in the object's colour), then points (a disc in the object's colour with a
/// white rim for label 1, a white ring around black for label 0). The contour runs on the outermost pixels of the mask, also along the image border.
/// Error{invalid_argument}: image not [h, w, 3], a mask of another size, a coordinate that is not finite, a style out of range; nothing is drawn then.
inline Status draw_overlay(View<std::uint8_t, 3> image, std::span<const OverlayObject> objects, const OverlayStyle& style = {}) {
  const Index h = image.extent(0), w = image.extent(1);
  if (h < 1 || w < 1 || image.extent(2) != 3) return Error(ErrorCode::invalid_argument, "draw_overlay: the image must be [h, w, 3]");
  if (!(style.fill >= 0 && style.fill <= 1) || style.line < 0 || style.line > 1000) return Error(ErrorCode::invalid_argument, "draw_overlay: fill must be 0 to 1, line 0 to 1000");
  for (const OverlayObject& o : objects) {
    if (!o.mask.empty() && (o.mask.extent(0) != h || o.mask.extent(1) != w))
      return Error(ErrorCode::invalid_argument, cat("draw_overlay: mask of ", o.mask.extent(1), "x", o.mask.extent(0), " pixels on an image of ", w, "x", h));
    bool finite = !o.box || (std::isfinite(o.box->x0) && std::isfinite(o.box->y0) && std::isfinite(o.box->x1) && std::isfinite(o.box->y1));
    for (const OverlayPoint& p : o.points) finite = finite && std::isfinite(p.at.x) && std::isfinite(p.at.y);
    if (!finite) return Error(ErrorCode::invalid_argument, "draw_overlay: a coordinate is not finite");
  }
  const auto colour_of = [&](std::size_t i) { return objects[i].colour.value_or(overlay_colour(i)); };
  detail::Canvas canvas(image);
  const Index longer = h > w ? h : w, line = style.line ? style.line : longer / 400 > 1 ? longer / 400 : 1, thin = line > 2 ? line / 2 : 1;
  for (std::size_t i = 0; i < objects.size(); ++i) {
    const auto& mask = objects[i].mask;
    if (mask.empty() || style.fill == 0) continue;
    for (Index y = 0; y < h; ++y)
      for (Index x = 0; x < w; ++x)
        if (mask(y, x)) canvas.blend(y, x, colour_of(i), style.fill);
  }
  for (std::size_t i = 0; i < objects.size(); ++i) {
    const auto& mask = objects[i].mask;
    if (mask.empty()) continue;
    const auto inside = [&](Index y, Index x) { return y >= 0 && x >= 0 && y < h && x < w && mask(y, x); };
    for (Index y = 0; y < h; ++y)
      for (Index x = 0; x < w; ++x)
        if (mask(y, x) && !(inside(y - 1, x) && inside(y + 1, x) && inside(y, x - 1) && inside(y, x + 1))) canvas.dot(y, x, line, colour_of(i));
  }
  constexpr Rgb white = {255, 255, 255}, black = {0, 0, 0};
  for (std::size_t i = 0; i < objects.size(); ++i) {
    if (objects[i].box) canvas.rectangle(*objects[i].box, thin, colour_of(i));
    for (const OverlayPoint& p : objects[i].points) {
      const Index y = detail::Canvas::pixel(p.at.y, h), x = detail::Canvas::pixel(p.at.x, w), size = 6 * line + 1;
      canvas.dot(y, x, size + 2 * thin, white);
      canvas.dot(y, x, size, p.label == 0 ? black : colour_of(i));
    }
  }
  return {};
}

}  // namespace sampan::inline SAMPAN_ABI
