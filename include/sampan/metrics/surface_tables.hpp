// How much surface passes between 2x2 or 2x2x2 neighbouring samples, for every pattern of inside and outside: marching squares and marching cubes, derived here.
// Data flow: spacing -> here -> surface.hpp (weights of surface elements). Code: bit 7 - p (3 - p in 2D) is corner p, p = 4 dz + 2 dy + dx; a set bit is inside.
// The rule, chosen so that all 256 patterns equal the published surface-distance package at every spacing (tests/unit/metrics_test.cpp):
//   1. the surface crosses an edge of the cube in its middle; 2. on a face with two opposite inside corners, the corners of the rarer kind (inside or outside)
//   stay apart; 3. the closed lines that result are cut into triangles so that their total area on the unit cube is largest (lines are not always flat).
// Cost: 256 patterns, at most 14 triangulations each by dynamic programming; 0.1 ms per call, so nothing is kept.
#pragma once
#include <sampan/metrics/grid.hpp>

#include <bit>
#include <cmath>

namespace sampan::inline SAMPAN_ABI::metrics {

/// Length of the contour for each of the 16 patterns; spacing of y and x.
inline std::array<double, 16> contour_lengths(double dy, double dx) {
  std::array<double, 16> length{};
  for (unsigned code = 1; code < 15; ++code) {
    const bool in[4] = {(code & 8) != 0, (code & 4) != 0, (code & 2) != 0, (code & 1) != 0};  // (0,0) (0,1) (1,0) (1,1)
    const bool top = in[0] != in[1], bottom = in[2] != in[3], left = in[0] != in[2], right = in[1] != in[3];
    const double corner = std::sqrt(dy * dy + dx * dx) / 2;  // from the middle of one side to the middle of the next
    length[code] = top && bottom && left && right ? 2 * corner : top && bottom ? dy : left && right ? dx : corner;
  }
  return length;
}

namespace detail {

using Point3 = std::array<double, 3>;

/// Area of a triangle after the axes were scaled.
inline double triangle_area(const Point3& a, const Point3& b, const Point3& c, const Point3& scale) {
  Point3 u, v;
  for (std::size_t i = 0; i < 3; ++i) u[i] = (b[i] - a[i]) * scale[i], v[i] = (c[i] - a[i]) * scale[i];
  const double x = u[1] * v[2] - u[2] * v[1], y = u[2] * v[0] - u[0] * v[2], z = u[0] * v[1] - u[1] * v[0];
  return std::sqrt(x * x + y * y + z * z) / 2;
}

/// Rule 3. Corners of one closed line in order -> its area at `scale`, cut as it is largest on the unit cube.
inline double largest_cut(const Point3* line, int n, const Point3& scale) {
  struct Best {
    double unit = 0, scaled = 0;
  } best[12][12] = {};  // [i][j]: the part between i and j, both included
  for (int span = 2; span < n; ++span)
    for (int i = 0; i + span < n; ++i) {
      const int j = i + span;
      Best& b = best[i][j];
      b.unit = -1;
      for (int k = i + 1; k < j; ++k) {
        const double unit = best[i][k].unit + best[k][j].unit + triangle_area(line[i], line[k], line[j], {1, 1, 1});
        // Flat lines give the same area however they are cut; a difference beyond rounding decides.
        if (unit > b.unit + 1e-9) b = {unit, best[i][k].scaled + best[k][j].scaled + triangle_area(line[i], line[k], line[j], scale)};
      }
    }
  return best[0][n - 1].scaled;
}

/// An edge of the cube by its lower corner and its axis bit (4 z, 2 y, 1 x): 8 * axis + corner.
constexpr int edge_id(int p, int q) { return 8 * (p ^ q) + (p & q); }

inline double surface_area(unsigned code, const Point3& scale) {
  if (std::popcount(code) > 4) code ^= 255;  // the rarer kind; both sides see the same surface
  const auto inside = [&](int p) { return (code >> (7 - p) & 1) != 0; };
  // Rule 2: `next` holds the two crossings that each crossing is joined to, one on each of its faces.
  int next[40][2], joined[40] = {};
  const auto join = [&](int a, int b) { next[a][joined[a]++] = b, next[b][joined[b]++] = a; };
  for (int axis : {1, 2, 4})
    for (int side : {0, axis}) {
      const int u = axis == 1 ? 2 : 1, v = 7 ^ axis ^ u;
      const int corner[4] = {side, side | u, side | u | v, side | v};  // around the face
      int crossed[4], crossings = 0;
      for (int i = 0; i < 4; ++i)
        if (inside(corner[i]) != inside(corner[(i + 1) & 3])) crossed[crossings++] = edge_id(corner[i], corner[(i + 1) & 3]);
      if (crossings == 2) join(crossed[0], crossed[1]);
      for (int i = 0; crossings == 4 && i < 4; ++i)
        if (inside(corner[i])) join(edge_id(corner[i], corner[(i + 1) & 3]), edge_id(corner[i], corner[(i + 3) & 3]));
    }
  double area = 0;
  bool seen[40] = {};
  for (int start = 0; start < 40; ++start) {
    if (!joined[start] || seen[start]) continue;
    Point3 line[12];
    int n = 0;
    for (int at = start; !seen[at];) {
      seen[at] = true;
      const int axis = at / 8, low = at % 8;
      const auto coordinate = [&](int bit) { return (axis == bit ? 0.5 : 0.0) + ((low & bit) ? 1.0 : 0.0); };
      line[n++] = {coordinate(4), coordinate(2), coordinate(1)};
      at = seen[next[at][0]] ? next[at][1] : next[at][0];
    }
    area += largest_cut(line, n, scale);
  }
  return area;
}

}  // namespace detail

/// Area of the surface for each of the 256 patterns; spacing of z, y and x.
inline std::array<double, 256> surface_areas(const std::array<double, 3>& spacing) {
  std::array<double, 256> area{};
  for (unsigned code = 1; code < 255; ++code) area[code] = detail::surface_area(code, spacing);
  return area;
}

}  // namespace sampan::inline SAMPAN_ABI::metrics
