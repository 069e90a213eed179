// Points, boxes, extents and the conventions of coordinates; the one place that states them.
// Data flow: prompts come in as these types (predict/) and reach the prompt encoder after scaling to model pixels.
//
// Coordinates are pixel positions of the ORIGINAL image, x before y, 0-based, decimals allowed. Pixel (0,0) covers [0,1) x [0,1) but is addressed by its
// integer position, as in the reference; the half-pixel shift (+0.5) happens once, inside the prompt encoder. Boxes are XYXY: two corner points.
// Extents are written height before width (tensors are row-major); only coordinates are x before y.
#pragma once
#include <sampan/core/config.hpp>

#include <cstddef>
#include <cstdint>

namespace sampan::inline SAMPAN_ABI {

/// A position in the original image, in pixels.
struct Point {
  double x = 0, y = 0;
  friend bool operator==(const Point&, const Point&) = default;
};

/// Two corners in the original image, in pixels: (x0, y0) top left, (x1, y1) bottom right.
struct Box {
  double x0 = 0, y0 = 0, x1 = 0, y1 = 0;
  friend bool operator==(const Box&, const Box&) = default;
};

/// Size of an image or of a grid: rows, then columns.
struct Extent2 {
  std::int64_t height = 0, width = 0;
  friend bool operator==(const Extent2&, const Extent2&) = default;
};

}  // namespace sampan::inline SAMPAN_ABI
