// Volume: voxels with their place in the patient, as every reader here makes it and every writer takes it; and the small linear algebra they share.
// Data flow: nifti.hpp, nrrd.hpp, npz.hpp, dicom.hpp -> here -> slices.hpp -> engine -> label map -> writers.
// Memory order: i fastest, then j, then k (NIfTI's order; numpy sees [k][j][i]). World: millimetres, RAS+ (x grows to the patient's right, y to
//   anterior, z to superior, as in NIfTI and nibabel). Affine: index (i, j, k) of a voxel's CENTRE -> world.
// Exactness: voxels keep the type of the file; value = slope * stored + intercept in double. What a file said about its grid is kept beside the affine
//   (NiftiGrid, NrrdGrid), so that a label map on the same grid carries the very same bits.
// Deliberately absent: resampling, time series (one frame is chosen while reading), complex and bit-packed voxels, patient data: no reader keeps any.
#pragma once
#include <sampan/core/file.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <vector>

namespace sampan::inline SAMPAN_ABI::medical {

// ---- voxel types -------------------------------------------------------------------------------------------------------------------

enum class VoxelType { u8, i8, u16, i16, u32, i32, u64, i64, f32, f64 };

constexpr std::size_t size_of(VoxelType t) {
  constexpr std::size_t sizes[] = {1, 1, 2, 2, 4, 4, 8, 8, 4, 8};
  return sizes[static_cast<std::size_t>(t)];
}
constexpr const char* to_string(VoxelType t) {
  constexpr const char* names[] = {"uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"};
  return names[static_cast<std::size_t>(t)];
}
constexpr bool is_floating(VoxelType t) { return t == VoxelType::f32 || t == VoxelType::f64; }

/// f(T{}) with the C++ type of the voxels.
template <class F>
auto with_voxel_type(VoxelType t, F&& f) {
  switch (t) {
    case VoxelType::u8: return f(std::uint8_t());
    case VoxelType::i8: return f(std::int8_t());
    case VoxelType::u16: return f(std::uint16_t());
    case VoxelType::i16: return f(std::int16_t());
    case VoxelType::u32: return f(std::uint32_t());
    case VoxelType::i32: return f(std::int32_t());
    case VoxelType::u64: return f(std::uint64_t());
    case VoxelType::i64: return f(std::int64_t());
    case VoxelType::f32: return f(float());
    default: return f(double());
  }
}

/// Reverses the bytes of each of `count` numbers of `width` bytes.
inline void swap_bytes(std::uint8_t* p, std::size_t count, std::size_t width) {
  if (width < 2) return;
  for (std::size_t i = 0; i < count; ++i, p += width) std::reverse(p, p + width);
}

namespace detail {
/// The shortest decimal that is this number, whatever the locale.
inline std::string real_text(double v) {
  char digits[32];
  const auto r = std::to_chars(digits, digits + sizeof digits, v);
  return {digits, r.ptr};
}
inline std::string lower(std::string_view s) {
  std::string out(s);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c;
  return out;
}
}  // namespace detail

// ---- sizes -------------------------------------------------------------------------------------------------------------------------

using Extent3 = std::array<std::int64_t, 3>;
using Vec3 = std::array<double, 3>;

/// What a reader may take. Refusals are Error{limit}, before any memory is asked for.
struct VolumeLimits {
  std::int64_t max_side = std::int64_t(1) << 20;      ///< as core images; keeps every product of two sides far below 2^63
  std::uint64_t max_bytes = std::uint64_t(8) << 30;   ///< voxels in memory, in the type of the file
  std::uint64_t max_header_bytes = std::uint64_t(1) << 20;
};

/// a * b, or nothing if that is beyond 64 bits.
inline std::optional<std::uint64_t> product(std::uint64_t a, std::uint64_t b) {
  std::uint64_t p = 0;
  if (__builtin_mul_overflow(a, b, &p)) return std::nullopt;
  return p;
}

/// Bytes of a volume. Error{bad_file} for sides below 1, Error{limit} for what is too large; the numbers are in the message.
inline Result<std::size_t> volume_bytes(const Extent3& size, int components, VoxelType type, const VolumeLimits& limits, const std::string& label) {
  std::uint64_t n = std::uint64_t(components) * size_of(type);
  const auto shown = [&] { return cat(label, ": ", size[0], "x", size[1], "x", size[2], " voxels of ", to_string(type)); };
  for (const std::int64_t s : size)
    if (s < 1) return Error(ErrorCode::bad_file, cat(shown(), ": every side must be at least 1"));
  for (const std::int64_t s : size) {
    const auto p = product(n, std::uint64_t(s));
    if (s > limits.max_side || !p || *p > limits.max_bytes)
      return Error(ErrorCode::limit, cat(shown(), ": more than the limit of ", limits.max_bytes >> 20, " MiB (or ", limits.max_side, " voxels a side)"));
    n = *p;
  }
  return static_cast<std::size_t>(n);
}

inline std::size_t voxel_count(const Extent3& s) { return std::size_t(s[0]) * std::size_t(s[1]) * std::size_t(s[2]); }

// ---- place in the patient ----------------------------------------------------------------------------------------------------------

/// Rows x, y, z; columns: step along i, j, k, then the centre of voxel (0,0,0).
struct Affine {
  std::array<std::array<double, 4>, 3> m{{{1, 0, 0, 0}, {0, 1, 0, 0}, {0, 0, 1, 0}}};
  Vec3 apply(const Vec3& v) const {
    Vec3 r{};
    for (std::size_t a = 0; a < 3; ++a) r[a] = m[a][0] * v[0] + m[a][1] * v[1] + m[a][2] * v[2] + m[a][3];
    return r;
  }
  Vec3 column(std::size_t c) const { return {m[0][c], m[1][c], m[2][c]}; }
  friend bool operator==(const Affine&, const Affine&) = default;
};

inline double dot(const Vec3& a, const Vec3& b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }
inline double norm(const Vec3& a) { return std::sqrt(dot(a, a)); }
inline Vec3 cross(const Vec3& a, const Vec3& b) { return {a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]}; }
inline bool finite(double v) { return v - v == 0; }

inline double determinant(const Affine& a) { return dot(a.column(0), cross(a.column(1), a.column(2))); }
/// Distance of neighbours along i, j, k in mm.
inline Vec3 spacing(const Affine& a) { return {norm(a.column(0)), norm(a.column(1)), norm(a.column(2))}; }
/// Volume of one voxel in mm^3 (of the parallelepiped, so right for sheared grids as well).
inline double voxel_mm3(const Affine& a) { return std::abs(determinant(a)); }

/// Steps shorter than a nanometre or longer than a kilometre are not those of a scanner, and would overflow further on.
inline constexpr double kSmallestStep = 1e-6, kLargestStep = 1e6, kFarthest = 1e9;
/// Volume of the cell over the volume of a box with the same edges. Below this the three axes lie (nearly) in a plane: nothing can be located.
inline constexpr double kFlattest = 1e-4;

/// Error{bad_file}: NaN, infinite, zero or absurd steps, singular. `what` names the matrix: "sform".
inline Status check(const Affine& a, std::string_view what) {
  const auto refuse = [&](std::string_view why) { return Error(ErrorCode::bad_file, cat(what, ": ", why)); };
  for (const auto& row : a.m)
    for (const double v : row)
      if (!finite(v)) return refuse("NaN or infinite numbers: the place of the voxels is unknown");
  const Vec3 s = spacing(a);
  for (std::size_t c = 0; c < 3; ++c) {
    if (!(s[c] >= kSmallestStep && s[c] <= kLargestStep)) return refuse(cat("the step along ", "ijk"[c], " is ", detail::real_text(s[c]), " mm"));
    if (!(std::abs(a.m[c][3]) <= kFarthest)) return refuse("the origin is farther than a million metres away");
  }
  if (!(std::abs(determinant(a)) > kFlattest * s[0] * s[1] * s[2])) return refuse("singular: the three axes lie in one plane");
  return {};
}

/// World -> voxel index. `a` has passed check().
inline Affine inverse(const Affine& a) {
  const double d = determinant(a);
  const Vec3 r[3] = {cross(a.column(1), a.column(2)), cross(a.column(2), a.column(0)), cross(a.column(0), a.column(1))};
  Affine out;
  for (std::size_t i = 0; i < 3; ++i) {
    for (std::size_t c = 0; c < 3; ++c) out.m[i][c] = r[i][c] / d;
    out.m[i][3] = -(out.m[i][0] * a.m[0][3] + out.m[i][1] * a.m[1][3] + out.m[i][2] * a.m[2][3]);
  }
  return out;
}

/// The same place in LPS+ (DICOM, ITK): x and y change sign. Exact, and its own inverse.
inline Affine ras_to_lps(Affine a) {
  for (std::size_t r = 0; r < 2; ++r)
    for (double& v : a.m[r]) v = -v;
  return a;
}

/// What a NIfTI header says about its grid, number by number (NIfTI-1's floats are exact in double).
struct NiftiGrid {
  int version = 1;                       ///< 1 or 2
  int qform_code = 0, sform_code = 0, units = 0;
  double qfac = 1;                       ///< pixdim[0]
  Vec3 pixdim{1, 1, 1}, quaternion{}, offset{};
  std::array<std::array<double, 4>, 3> srow{};
  friend bool operator==(const NiftiGrid&, const NiftiGrid&) = default;
};

/// The space a NRRD header names; its directions follow from the affine by changes of sign, which are exact.
struct NrrdGrid {
  std::string space;                     ///< "left-posterior-superior", ...; empty: the file names none
  friend bool operator==(const NrrdGrid&, const NrrdGrid&) = default;
};

struct Grid {
  Extent3 size{};
  Affine affine;                         ///< voxel -> RAS mm
  std::optional<NiftiGrid> nifti = {};
  std::optional<NrrdGrid> nrrd = {};
};

// ---- the voxels --------------------------------------------------------------------------------------------------------------------

/// Bytes that are owned, or a part of a mapped file (then nothing is copied and the system may drop pages).
class VoxelData {
 public:
  VoxelData() = default;
  static Result<VoxelData> allocate(std::size_t bytes) {
    VoxelData d;
    d.owned_.reset(static_cast<std::uint8_t*>(std::malloc(bytes ? bytes : 1)));
    if (!d.owned_) return Error(ErrorCode::out_of_memory, cat("no memory for ", bytes >> 20, " MiB of voxels"));
    d.size_ = bytes;
    return d;
  }
  /// The range lies inside the file.
  static VoxelData map(MappedFile file, std::size_t offset, std::size_t bytes) {
    VoxelData d;
    d.mapped_ = std::move(file);
    d.offset_ = offset;
    d.size_ = bytes;
    return d;
  }
  /// Takes over memory; the range lies inside it.
  static VoxelData adopt(std::vector<std::uint8_t> memory, std::size_t offset, std::size_t bytes) {
    VoxelData d;
    d.adopted_ = std::move(memory);
    d.offset_ = offset;
    d.size_ = bytes;
    return d;
  }
  std::size_t size() const { return size_; }
  const std::uint8_t* data() const { return owned_ ? owned_.get() : (adopted_.empty() ? mapped_.bytes().data() : adopted_.data()) + offset_; }
  std::uint8_t* writable() { return owned_ ? owned_.get() : adopted_.empty() ? nullptr : adopted_.data() + offset_; }  ///< nullptr for a mapped file
  Bytes bytes() const { return {data(), size_}; }

 private:
  struct Free {
    void operator()(std::uint8_t* p) const noexcept { std::free(p); }
  };
  std::unique_ptr<std::uint8_t, Free> owned_;
  std::vector<std::uint8_t> adopted_;
  MappedFile mapped_;
  std::size_t offset_ = 0, size_ = 0;
};

struct Volume {
  Grid grid;
  VoxelType type = VoxelType::u8;
  int components = 1;                    ///< interleaved; 3 and 4: RGB(A) bytes
  double slope = 1, intercept = 0;       ///< value = slope * stored + intercept; both finite
  VoxelData data;                        ///< in the machine's byte order
  std::string modality = {};             ///< "CT", "MR", ... if the file says so; else empty
  std::vector<std::string> notes = {};   ///< what a careful reader would want to know about this file; no patient data
};

/// Value at a flat index (component 0 of several).
inline double value_at(const Volume& v, std::size_t index) {
  return with_voxel_type(v.type, [&](auto t) {
    std::memcpy(&t, v.data.data() + index * std::size_t(v.components) * sizeof t, sizeof t);
    return v.slope * double(t) + v.intercept;
  });
}

// ---- labels ------------------------------------------------------------------------------------------------------------------------

/// One structure of a label map.
struct Segment {
  int label = 0;                         ///< its value in the map, 1..65535
  std::string name;
  std::array<std::uint8_t, 3> colour{};
};

/// Labels in the order of Volume; 0 is background.
struct LabelMap {
  Grid grid;
  std::vector<std::uint16_t> voxels;
  std::vector<Segment> segments;
};

/// A colour for label n: 24 hues that neighbours in number do not share, repeated; for files whose labels have none.
inline std::array<std::uint8_t, 3> label_colour(int label) {
  const double hue = std::fmod(0.61803398875 * label, 1.0) * 6;  // golden ratio: successive hues lie far apart
  const auto channel = [&](double shift) {
    const double h = std::fmod(hue + shift, 6.0), v = h < 1 ? h : h < 3 ? 1 : h < 4 ? 4 - h : 0;
    return std::uint8_t(std::lround(50 + 190 * v));
  };
  return {channel(2), channel(0), channel(4)};
}

/// Labels of a volume. Error{bad_file}: colours, a value that is no whole number from 0 to 65535.
inline Result<LabelMap> to_labels(const Volume& v) {
  if (v.components != 1) return Error(ErrorCode::bad_file, "a colour volume, labels are needed");
  LabelMap out{v.grid, std::vector<std::uint16_t>(voxel_count(v.grid.size)), {}};
  for (std::size_t i = 0; i < out.voxels.size(); ++i) {
    const double x = value_at(v, i);
    if (!(x >= 0 && x <= 65535) || x != std::floor(x)) return Error(ErrorCode::bad_file, cat("voxel ", i, " has the value ", detail::real_text(x), ": labels are whole numbers from 0 to 65535"));
    out.voxels[i] = std::uint16_t(x);
  }
  return out;
}

/// Distinct labels above 0, in order.
inline std::vector<int> labels_present(const std::vector<std::uint16_t>& voxels) {
  std::vector<bool> seen(65536);
  for (const std::uint16_t v : voxels) seen[v] = true;
  std::vector<int> out;
  for (int l = 1; l < 65536; ++l)
    if (seen[std::size_t(l)]) out.push_back(l);
  return out;
}

}  // namespace sampan::inline SAMPAN_ABI::medical
