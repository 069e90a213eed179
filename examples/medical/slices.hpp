// Slices of a volume as a doctor sees them, whatever the order of its voxels: which voxel axis is which, pictures out, labels back in.
// Data flow: Volume -> slice_plan -> SliceReader -> 8-bit pictures -> engine -> masks -> put_slice -> LabelMap on the untouched grid.
// Convention (radiological, as on a light box and as in DICOM): axial x to the patient's left, y to posterior, slices upward; coronal x to left, y downward,
//   slices to posterior; sagittal x to posterior, y downward, slices to left. Oblique grids: each voxel axis counts as the anatomical one it is nearest to;
//   nothing is resampled, so a picture's pixel is a voxel and a mask goes back exactly.
// Window: (v - low) / (high - low) * 255, truncated, as image/window_level.hpp; NaN becomes 0 (black). Cost: one table look-up (8 and 16 bits) or division per pixel.
#pragma once
#include "volume.hpp"

#include <sampan/image/window_level.hpp>

namespace sampan::inline SAMPAN_ABI::medical {

enum class Plane { axial, coronal, sagittal };
constexpr const char* to_string(Plane p) { return p == Plane::axial ? "axial" : p == Plane::coronal ? "coronal" : "sagittal"; }

/// For each world axis (x right, y anterior, z superior): the voxel axis nearest to it, and whether it runs the other way.
struct Orientation {
  std::array<std::size_t, 3> axis{0, 1, 2};
  std::array<bool, 3> reversed{};
  friend bool operator==(const Orientation&, const Orientation&) = default;
};

/// The assignment of axes with the largest sum of |cos|; of equal ones the first in the order of the file. `a` has passed check().
inline Orientation orientation(const Affine& a) {
  constexpr std::size_t orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
  const Vec3 s = spacing(a);
  double best = -1;
  Orientation out;
  for (const auto& order : orders) {
    double sum = 0;
    for (std::size_t w = 0; w < 3; ++w) sum += std::abs(a.m[w][order[w]]) / s[order[w]];
    if (sum > best + 1e-9) {  // rounding must not decide between equal ones
      best = sum;
      for (std::size_t w = 0; w < 3; ++w) out.axis[w] = order[w], out.reversed[w] = a.m[w][order[w]] < 0;
    }
  }
  return out;
}

/// "RAS", "LPS", ...: where each voxel axis points to, as nibabel's aff2axcodes.
inline std::string axis_codes(const Affine& a) {
  const Orientation o = orientation(a);
  std::string s(3, '?');
  for (std::size_t w = 0; w < 3; ++w) s[o.axis[w]] = o.reversed[w] ? "LPI"[w] : "RAS"[w];
  return s;
}

/// Where the slices of one plane lie among the voxels. Picture coordinates: x, y, slice number, from 0.
struct SlicePlan {
  std::array<std::size_t, 3> axis{};  ///< voxel axis along picture x, picture y, slice number
  std::array<bool, 3> reversed{};     ///< runs against it
  Extent3 size{};                     ///< width, height, slices
  Vec3 step{};                        ///< mm per pixel in x, y, between slices
  Extent3 stride{};                   ///< of a flat voxel index
  std::int64_t first = 0;             ///< flat index of picture (0, 0, 0)

  std::int64_t index(std::int64_t x, std::int64_t y, std::int64_t n) const { return first + x * stride[0] + y * stride[1] + n * stride[2]; }
};

inline SlicePlan slice_plan(const Grid& g, Plane plane) {
  // World axis (0 x, 1 y, 2 z) and direction of picture x, picture y, slices.
  struct Row {
    std::size_t world[3];
    bool negative[3];
  };
  constexpr Row rows[] = {{{0, 1, 2}, {true, true, false}}, {{0, 2, 1}, {true, true, true}}, {{1, 2, 0}, {true, true, true}}};
  const Row& row = rows[static_cast<std::size_t>(plane)];
  const Orientation o = orientation(g.affine);
  const Vec3 steps = spacing(g.affine);
  const Extent3 strides{1, g.size[0], g.size[0] * g.size[1]};
  SlicePlan p;
  for (std::size_t i = 0; i < 3; ++i) {
    const std::size_t a = p.axis[i] = o.axis[row.world[i]];
    p.reversed[i] = o.reversed[row.world[i]] != row.negative[i];
    p.size[i] = g.size[a];
    p.step[i] = steps[a];
    p.stride[i] = p.reversed[i] ? -strides[a] : strides[a];
    if (p.reversed[i]) p.first += (g.size[a] - 1) * strides[a];
  }
  return p;
}

/// Voxel index (i, j, k) -> picture coordinates, and back; both exact for whole numbers.
inline Vec3 to_slice(const SlicePlan& p, const Vec3& voxel) {
  Vec3 r{};
  for (std::size_t i = 0; i < 3; ++i) r[i] = p.reversed[i] ? double(p.size[i] - 1) - voxel[p.axis[i]] : voxel[p.axis[i]];
  return r;
}
inline Vec3 to_voxel(const SlicePlan& p, const Vec3& slice) {
  Vec3 r{};
  for (std::size_t i = 0; i < 3; ++i) r[p.axis[i]] = p.reversed[i] ? double(p.size[i] - 1) - slice[i] : slice[i];
  return r;
}

/// Grey values from `low` (black) to `high` (white).
struct GreyRange {
  double low = 0, high = 255;
};

/// 8-bit pictures of a volume. The volume outlives it.
class SliceReader {
 public:
  /// No range: 8-bit voxels are taken as they are. Error{invalid_argument}: another type without a range, or an empty or infinite one.
  static Result<SliceReader> make(const Volume& v, const SlicePlan& plan, std::optional<GreyRange> range) {
    SliceReader r(v, plan);
    if (v.components > 1) return r;  // colours are taken as they are
    if (!range) {
      if (v.type != VoxelType::u8 || v.slope != 1 || v.intercept != 0) return Error(ErrorCode::invalid_argument, cat(to_string(v.type), " voxels need a range of grey values"));
      range = GreyRange{0, 255};
      r.table_.resize(256);
      for (std::size_t i = 0; i < 256; ++i) r.table_[i] = std::uint8_t(i);
      return r;
    }
    if (!finite(range->low) || !finite(range->high) || !finite(range->high - range->low) || !(range->low < range->high))
      return Error(ErrorCode::invalid_argument, cat("grey values from ", detail::real_text(range->low), " to ", detail::real_text(range->high), ": two finite numbers, the lower first, are needed"));
    r.range_ = *range;
    with_voxel_type(v.type, [&](auto t) {
      using T = decltype(t);
      if constexpr (sizeof(T) <= 2) {
        r.table_.resize(std::size_t(1) << (8 * sizeof(T)));
        for (std::size_t i = 0; i < r.table_.size(); ++i) r.table_[i] = r.grey(v.slope * double(static_cast<T>(i)) + v.intercept);
      }
    });
    return r;
  }

  int channels() const { return volume_->components > 1 ? 3 : 1; }
  std::size_t bytes() const { return std::size_t(plan_.size[0] * plan_.size[1]) * std::size_t(channels()); }
  ImageSize size() const { return {plan_.size[0], plan_.size[1], channels()}; }

  /// Picture `n` into bytes() bytes, row by row. 0 <= n < plan.size[2].
  void read(std::int64_t n, std::uint8_t* out) const {
    const Volume& v = *volume_;
    if (v.components > 1) {
      for (std::int64_t y = 0; y < plan_.size[1]; ++y)
        for (std::int64_t x = 0; x < plan_.size[0]; ++x, out += 3) std::memcpy(out, v.data.data() + plan_.index(x, y, n) * v.components, 3);
      return;
    }
    with_voxel_type(v.type, [&](auto t) {
      using T = decltype(t);
      const std::int64_t step = plan_.stride[0] * std::int64_t(sizeof(T)), width = plan_.size[0];
      const std::uint8_t* table = table_.data();
      for (std::int64_t y = 0; y < plan_.size[1]; ++y, out += width) {
        const std::uint8_t* from = v.data.data() + plan_.index(0, y, n) * std::int64_t(sizeof(T));
        for (std::int64_t x = 0; x < width; ++x) {
          T s;
          std::memcpy(&s, from + x * step, sizeof(T));
          if constexpr (sizeof(T) == 1) out[x] = table[std::uint8_t(s)];
          else if constexpr (sizeof(T) == 2) out[x] = table[std::uint16_t(s)];
          else out[x] = grey(v.slope * double(s) + v.intercept);
        }
      }
    });
  }

 private:
  SliceReader(const Volume& v, const SlicePlan& p) : volume_(&v), plan_(p) {}
  std::uint8_t grey(double v) const {
    if (!(v > range_.low)) return 0;  // NaN too
    return v >= range_.high ? std::uint8_t(255) : std::uint8_t((v - range_.low) / (range_.high - range_.low) * 255.0);
  }
  const Volume* volume_;
  SlicePlan plan_;
  GreyRange range_;
  std::vector<std::uint8_t> table_;  // of 8- and 16-bit voxels, by their bits
};

/// Sets `label` where the picture's mask is not 0.
template <class T>
void put_slice(std::vector<T>& voxels, const SlicePlan& p, std::int64_t n, const std::uint8_t* mask, std::type_identity_t<T> label) {
  for (std::int64_t y = 0; y < p.size[1]; ++y, mask += p.size[0])
    for (std::int64_t x = 0; x < p.size[0]; ++x) {
      if (std::uint64_t eight = 0; x + 8 <= p.size[0] && (std::memcpy(&eight, mask + x, 8), eight == 0)) x += 7;  // most of a slice is no object
      else if (mask[x]) voxels[std::size_t(p.index(x, y, n))] = label;
    }
}

}  // namespace sampan::inline SAMPAN_ABI::medical
