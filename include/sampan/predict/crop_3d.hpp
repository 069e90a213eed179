// The crop that a volumetric network sees: where it lies in a volume, its voxels by linear interpolation, its normalisation, and masks back onto the volume.
// Data flow: planes of a volume (predict/session_3d.hpp) -> here -> models/sam_vit_3d.hpp; mask of the crop -> here -> the volume's own grid.
// Steps and their sources (utils/infer_utils.py of SAM-Med3D with torchio's transforms): Resample to the network's spacing, sizes rounded down, centre kept (SimpleITK,
//   linear, double); ToCanonical: axes in the order right, anterior, superior; CropOrPad around a voxel, zeros outside; ZNormalization over what is above 0; back by nearest neighbour.
// Both grids have the volume's directions, so every step is separable: a table per axis, no affine per voxel. Integer voxels stay integers: resampled ones are cut towards zero, as ITK casts.
// Coordinates: (i, j, k) of the volume, i fastest, voxel centres are whole numbers; crop [a0, a1, a2], a2 fastest.
// Deliberately absent: sheared grids (directions are taken as they are), label maps as input, antialiasing (the pipeline has none).
#pragma once
#include <sampan/core/error.hpp>
#include <sampan/core/view.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

namespace sampan::inline SAMPAN_ABI::predict {

using Voxel = std::array<double, 3>;

/// The shortest decimal that is this number.
inline std::string short_number(double v) {
  char digits[32];
  const auto r = std::to_chars(digits, digits + sizeof digits, v);
  return {digits, r.ptr};
}

/// Where the crop lies. Arrays named `of_axis` belong to the canonical axes (right, anterior, superior), the others to i, j, k.
struct CropGrid {
  std::array<std::int64_t, 3> size{}, resampled{};  ///< of the volume; of the volume at the network's spacing
  std::array<double, 3> ratio{};                    ///< voxels of the volume per resampled voxel
  std::array<int, 3> of_axis{};                     ///< 0, 1, 2 for i, j, k
  std::array<bool, 3> flipped{};                    ///< of a canonical axis: it runs against i, j or k
  std::array<std::int64_t, 3> begin{};              ///< canonical resampled index of the crop's first voxel
  std::int64_t side = 0;

  /// Position along canonical axis a in voxels of the crop, of position x along the axis of the volume that it is.
  double to_crop(int a, double x) const {
    const std::size_t n = std::size_t(a), i = std::size_t(of_axis[n]);
    const double r = (x - double(size[i] - 1) / 2) / ratio[i] + double(resampled[i] - 1) / 2;
    return (flipped[n] ? double(resampled[i] - 1) - r : r) - double(begin[n]);
  }
  Voxel to_crop(const Voxel& v) const {
    Voxel p{};
    for (int a = 0; a < 3; ++a) p[std::size_t(a)] = to_crop(a, v[std::size_t(of_axis[std::size_t(a)])]);
    return p;
  }
  /// The voxel of the volume at a position of the crop, in fractions.
  Voxel to_volume(const std::array<std::int64_t, 3>& p) const {
    Voxel v{};
    for (std::size_t a = 0; a < 3; ++a) {
      const std::size_t i = std::size_t(of_axis[a]);
      const double at = double(begin[a] + p[a]), r = flipped[a] ? double(resampled[i] - 1) - at : at;
      v[i] = (r - double(resampled[i] - 1) / 2) * ratio[i] + double(size[i] - 1) / 2;
    }
    return v;
  }
};

/// `to_world`: rows x, y, z of RAS millimetres; columns: steps along i, j, k, and the centre of voxel (0,0,0). The crop still stands at 0; see centre_crop.
/// Error{invalid_argument}: sides below 1, a step of zero or no number, two axes that run the same way.
inline Result<CropGrid> make_crop_grid(const std::array<std::int64_t, 3>& size, const std::array<std::array<double, 4>, 3>& to_world, double spacing,
                                       std::int64_t side) {
  CropGrid g;
  g.size = size, g.side = side;
  std::array<std::array<double, 3>, 3> share{};  // [i, j, k][x, y, z]: of a step of length one
  for (std::size_t i = 0; i < 3; ++i) {
    const double step = std::hypot(to_world[0][i], to_world[1][i], to_world[2][i]);
    if (size[i] < 1 || size[i] > (std::int64_t(1) << 20))
      return Error(ErrorCode::invalid_argument,
                   cat("a volume of ", size[0], "x", size[1], "x", size[2], " voxels: sides from 1 to ", 1 << 20, " are possible"));
    if (!(step > 1e-6 && step < 1e6))
      return Error(ErrorCode::invalid_argument, cat("axis ", i, " of the volume has a step of ", short_number(step), " mm: more than 0 is needed"));
    for (std::size_t x = 0; x < 3; ++x) share[i][x] = to_world[x][i] / step;
    g.ratio[i] = spacing / step;
    // The 1e-6: 40 steps of 2.7 mm are 72 voxels of 1.5, also where an oblique affine gives the step as 2.6999999999.
    g.resampled[i] = std::max<std::int64_t>(1, size[i] == 1 ? 1 : std::int64_t(std::floor(double(size[i]) * step / spacing + 1e-6)));
  }
  // The assignment of axes to directions that keeps most of each.
  std::array<int, 3> order{0, 1, 2};
  double best = -1;
  do {
    double product = 1;
    for (std::size_t a = 0; a < 3; ++a) product *= std::abs(share[std::size_t(order[a])][a]);
    if (product > best) best = product, g.of_axis = order;
  } while (std::next_permutation(order.begin(), order.end()));
  if (!(best > 1e-3)) return Error(ErrorCode::invalid_argument, "the axes of the volume do not span space");
  for (std::size_t a = 0; a < 3; ++a) g.flipped[a] = share[std::size_t(g.of_axis[a])][a] < 0;
  return g;
}

/// The crop with the resampled voxel nearest to `at` as its voxel side / 2: torchio's CropOrPad around a label of this one voxel.
inline void centre_crop(CropGrid& g, const Voxel& at) {
  g.begin = {};
  const Voxel p = g.to_crop(at);
  for (std::size_t a = 0; a < 3; ++a) g.begin[a] = std::int64_t(std::floor(p[a] + 0.5)) - g.side / 2;
}

/// Linear taps of one position of the crop along one axis of the volume; i0 < 0: outside, zero.
struct CropTap {
  std::int64_t i0 = -1, i1 = -1;
  double w = 0;
};
inline std::vector<CropTap> crop_taps(const CropGrid& g, int a) {
  const std::size_t n = std::size_t(a), i = std::size_t(g.of_axis[n]);
  std::vector<CropTap> taps(static_cast<std::size_t>(g.side));
  for (std::int64_t p = 0; p < g.side; ++p) {
    const std::int64_t c = g.begin[n] + p;
    if (c < 0 || c >= g.resampled[i]) continue;
    const double r = double(g.flipped[n] ? g.resampled[i] - 1 - c : c), x = (r - double(g.resampled[i] - 1) / 2) * g.ratio[i] + double(g.size[i] - 1) / 2;
    CropTap& t = taps[std::size_t(p)];
    t.i0 = std::clamp<std::int64_t>(std::int64_t(std::floor(x)), 0, g.size[i] - 1);
    t.i1 = std::min(t.i0 + 1, g.size[i] - 1);
    t.w = std::clamp(x - double(t.i0), 0.0, 1.0);
  }
  return taps;
}

/// Fills crop [side, side, side]. read(k, plane) -> Status gives the floats of plane k, i fastest; planes are asked for in one direction, each once.
template <class Read>
Status resample_crop(const CropGrid& g, bool integers, Read&& read, float* crop) {
  const Index side = Index(g.side), ni = Index(g.size[0]);
  std::fill(crop, crop + side * side * side, 0.0f);
  std::array<std::vector<CropTap>, 3> taps;  // of i, j, k
  std::array<Index, 3> stride{};             // of the crop along them
  const Index strides[] = {side * side, side, 1};
  for (int a = 0; a < 3; ++a) {
    const std::size_t i = std::size_t(g.of_axis[std::size_t(a)]);
    taps[i] = crop_taps(g, a), stride[i] = strides[a];
  }
  const std::size_t plane = std::size_t(g.size[0] * g.size[1]);
  std::array<std::vector<float>, 2> planes{std::vector<float>(plane), std::vector<float>(plane)};
  std::array<std::int64_t, 2> held{-1, -1};
  const auto plane_of = [&](std::int64_t k, std::int64_t keep) -> Result<const float*> {
    for (std::size_t n = 0; n < 2; ++n)
      if (held[n] == k) return static_cast<const float*>(planes[n].data());
    const std::size_t n = held[0] == keep ? 1 : 0;
    held[n] = -1;
    SAMPAN_CHECK(read(k, planes[n].data()));
    held[n] = k;
    return static_cast<const float*>(planes[n].data());
  };
  bool down = false;
  for (std::size_t a = 0; a < 3; ++a) down = down || (g.of_axis[a] == 2 && g.flipped[a]);
  for (Index p = 0; p < side; ++p) {
    const CropTap& tk = taps[2][std::size_t(p)];
    if (tk.i0 < 0) continue;
    const std::int64_t first = down ? tk.i1 : tk.i0, second = down ? tk.i0 : tk.i1;
    SAMPAN_TRY(one, plane_of(first, second));
    SAMPAN_TRY(other, plane_of(second, first));
    const float *low = down ? other : one, *high = down ? one : other;
    for (Index q = 0; q < side; ++q) {
      const CropTap& tj = taps[1][std::size_t(q)];
      if (tj.i0 < 0) continue;
      float* to = crop + p * stride[2] + q * stride[1];
      const float *r00 = low + tj.i0 * ni, *r10 = low + tj.i1 * ni, *r01 = high + tj.i0 * ni, *r11 = high + tj.i1 * ni;
      for (Index s = 0; s < side; ++s) {
        const CropTap& ti = taps[0][std::size_t(s)];
        if (ti.i0 < 0) continue;
        const auto along = [&](const float* r) { return double(r[ti.i0]) + (double(r[ti.i1]) - double(r[ti.i0])) * ti.w; };
        const double a = along(r00), b = along(r01), y0 = a + (along(r10) - a) * tj.w, y1 = b + (along(r11) - b) * tj.w, v = y0 + (y1 - y0) * tk.w;
        to[s * stride[0]] = float(integers ? std::trunc(v + std::copysign(1e-7, v)) : v);  // a whole number that rounding left just below itself stays it
      }
    }
  }
  return {};
}

/// (x - mean) / std with mean and unbiased std over the voxels above 0. Error{invalid_argument} if there are none or all are equal.
inline Status normalise_crop(float* crop, std::size_t n) {
  double sum = 0, squares = 0;
  std::size_t count = 0;
  for (std::size_t i = 0; i < n; ++i)
    if (crop[i] > 0) sum += double(crop[i]), ++count;
  const double mean = sum / double(count);
  for (std::size_t i = 0; i < n; ++i)
    if (crop[i] > 0) squares += (double(crop[i]) - mean) * (double(crop[i]) - mean);
  const double std = std::sqrt(squares / double(count - 1));
  if (count < 2 || !(std > 0))
    return Error(ErrorCode::invalid_argument,
                 count < 2 ? "the crop has no voxels above 0, which this network normalises by" : "the voxels above 0 in the crop are all equal or not finite");
  for (std::size_t i = 0; i < n; ++i) crop[i] = (crop[i] - float(mean)) / float(std);
  return {};
}

/// f(voxel of the volume [i fastest], voxel of the crop) for every voxel of the volume that lies in the crop, by nearest neighbour, halves upwards.
template <class F>
void for_voxels_in_crop(const CropGrid& g, F&& f) {
  std::array<std::vector<std::int64_t>, 3> place;  // of i, j, k: offset in the crop, or -1
  const std::int64_t strides[] = {g.side * g.side, g.side, 1};
  for (int a = 0; a < 3; ++a) {
    const std::size_t i = std::size_t(g.of_axis[std::size_t(a)]);
    place[i].assign(std::size_t(g.size[i]), -1);
    for (std::int64_t x = 0; x < g.size[i]; ++x) {
      const double p = g.to_crop(a, double(x));
      if (p >= -0.5 && p < double(g.side) - 0.5) place[i][std::size_t(x)] = std::int64_t(std::floor(p + 0.5)) * strides[a];
    }
  }
  std::size_t row = 0;
  for (const std::int64_t k : place[2])
    for (const std::int64_t j : place[1]) {
      for (std::size_t i = 0; k >= 0 && j >= 0 && i < place[0].size(); ++i)
        if (place[0][i] >= 0) f(row + i, std::size_t(k + j + place[0][i]));
      row += place[0].size();
    }
}

}  // namespace sampan::inline SAMPAN_ABI::predict
