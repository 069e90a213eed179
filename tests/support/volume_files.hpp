// Builders of scans in memory, right ones and hostile ones: NIfTI-1/2 in both byte orders, NRRD, npy, gzip.
// Data flow: tests of examples/medical -> here -> bytes in a std::string. Written from the formats' documents, not with the writers under test.
// The phantom: value(i, j, k) = (i + 10 j + 60 k) mod 120, minus 60 for signed types, plus 0.25 for floats (as tests/oracle_volumes.py makes the fixtures).
#pragma once
#include "examples/medical/volume.hpp"
#include "support/weight_files.hpp"

namespace sampan::test {

using medical::Affine;
using medical::Extent3;
using medical::VoxelType;

inline constexpr Extent3 kPhantom{5, 4, 3};
inline constexpr VoxelType kAllVoxelTypes[] = {VoxelType::u8,  VoxelType::i8,  VoxelType::u16, VoxelType::i16, VoxelType::u32,
                                               VoxelType::i32, VoxelType::u64, VoxelType::i64, VoxelType::f32, VoxelType::f64};

/// The bytes of v in either byte order.
template <class T>
std::string number(T v, bool big) {
  std::string s = le(v);
  if (big) std::reverse(s.begin(), s.end());
  return s;
}
inline double phantom_value(VoxelType t, std::int64_t i, std::int64_t j, std::int64_t k) {
  const double v = double((i + 10 * j + 60 * k) % 120);
  const bool is_signed = t != VoxelType::u8 && t != VoxelType::u16 && t != VoxelType::u32 && t != VoxelType::u64;
  return v - (is_signed ? 60 : 0) + (medical::is_floating(t) ? 0.25 : 0);
}
inline std::string phantom_bytes(VoxelType t, bool big, const Extent3& size = kPhantom) {
  std::string s;
  for (std::int64_t k = 0; k < size[2]; ++k)
    for (std::int64_t j = 0; j < size[1]; ++j)
      for (std::int64_t i = 0; i < size[0]; ++i) s += medical::with_voxel_type(t, [&](auto z) { return number(static_cast<decltype(z)>(phantom_value(t, i, j, k)), big); });
  return s;
}

/// 90 degrees about z with steps 2, 3, 4, exact in float: i runs to -y, j to x, k to z.
inline Affine quarter_turn() {
  Affine a;
  a.m = {{{0, 3, 0, -10}, {-2, 0, 0, 20}, {0, 0, 4, 30}}};
  return a;
}

/// A NIfTI header; every field can be made to lie.
struct NiftiBuilder {
  int version = 1;
  bool big = false;
  std::array<std::int64_t, 8> dim{3, kPhantom[0], kPhantom[1], kPhantom[2], 1, 1, 1, 1};
  int datatype = 4, bitpix = 16, qform_code = 0, sform_code = 1, units = 2;
  double vox_offset = -1;  ///< -1: behind header, extension flag and extension
  double slope = 0, intercept = 0, qfac = 1;
  std::array<double, 3> pixdim{2, 3, 4}, quaternion{0, 0, 0}, offset{0, 0, 0};
  Affine srow = quarter_turn();
  std::string magic, descrip, extension;

  std::string header() const {
    const bool one = version == 1;
    std::string h;
    const auto i16 = [&](std::int64_t v) { h += number(static_cast<std::int16_t>(v), big); };
    const auto i32 = [&](std::int64_t v) { h += number(static_cast<std::int32_t>(v), big); };
    const auto i64 = [&](std::int64_t v) { h += number(v, big); };
    const auto real = [&](double v) { h += one ? number(static_cast<float>(v), big) : number(v, big); };
    const auto text = [&](const std::string& s, std::size_t n) { h += (s + std::string(n, '\0')).substr(0, n); };
    const auto end = [&] { return vox_offset != -1 ? vox_offset : double((one ? 352 : 544) + extension.size()); };
    const std::string m = !magic.empty() ? magic : one ? std::string("n+1\0", 4) : std::string("n+2\0\r\n\x1a\n", 8);
    if (one) {
      i32(348), text("", 35), h += '\0';
      for (const auto d : dim) i16(d);
      text("", 14);                 // three intent numbers and the intent code
      i16(datatype), i16(bitpix), i16(0);
      real(qfac), real(pixdim[0]), real(pixdim[1]), real(pixdim[2]);
      for (int i = 0; i < 4; ++i) real(0);
      real(end()), real(slope), real(intercept), i16(0), h += '\0', h += char(units);
      for (int i = 0; i < 4; ++i) real(0);
      i32(0), i32(0), text(descrip, 80), text("", 24), i16(qform_code), i16(sform_code);
      for (const double q : quaternion) real(q);
      for (const double o : offset) real(o);
      for (const auto& row : srow.m)
        for (const double v : row) real(v);
      text("", 16), text(m, 4);
    } else {
      i32(540), text(m, 8), i16(datatype), i16(bitpix);
      for (const auto d : dim) i64(d);
      for (int i = 0; i < 3; ++i) real(0);
      real(qfac), real(pixdim[0]), real(pixdim[1]), real(pixdim[2]);
      for (int i = 0; i < 4; ++i) real(0);
      i64(static_cast<std::int64_t>(end())), real(slope), real(intercept);
      for (int i = 0; i < 4; ++i) real(0);
      i64(0), i64(0), text(descrip, 80), text("", 24), i32(qform_code), i32(sform_code);
      for (const double q : quaternion) real(q);
      for (const double o : offset) real(o);
      for (const auto& row : srow.m)
        for (const double v : row) real(v);
      i32(0), i32(units), i32(0), text("", 16), text("", 16);
    }
    return h;
  }
  std::string file(const std::string& voxels) const { return header() + (extension.empty() ? std::string(4, '\0') : std::string("\1\0\0\0", 4)) + extension + voxels; }
};
/// NIfTI's code of a voxel type.
inline int nifti_code(VoxelType t) {
  constexpr int codes[] = {2, 256, 512, 4, 768, 8, 1280, 1024, 16, 64};
  return codes[static_cast<std::size_t>(t)];
}
inline NiftiBuilder nifti_of(VoxelType t, int version = 1, bool big = false) {
  NiftiBuilder b;
  b.version = version;
  b.big = big;
  b.datatype = nifti_code(t);
  b.bitpix = int(medical::size_of(t)) * 8;
  return b;
}

/// One gzip member of `data`.
inline std::string gzip(const std::string& data, int level = 6) {
  z_stream z{};
  deflateInit2(&z, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&z, static_cast<uLong>(data.size())) + 64, '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data.data()));
  z.avail_in = static_cast<uInt>(data.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  deflate(&z, Z_FINISH);
  out.resize(out.size() - z.avail_out);
  deflateEnd(&z);
  return out;
}
inline std::string gunzip(const std::string& data, std::size_t most = std::size_t(1) << 24) {
  z_stream z{};
  inflateInit2(&z, 15 + 16);
  std::string out(most, '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data.data()));
  z.avail_in = static_cast<uInt>(data.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  const int status = inflate(&z, Z_FINISH);
  out.resize(status == Z_STREAM_END ? out.size() - z.avail_out : 0);
  inflateEnd(&z);
  return out;
}

/// A .npy file; `header` is the Python literal.
inline std::string npy(const std::string& header, const std::string& data, char version = 1) {
  const std::string text = header + "\n";
  std::string s = std::string("\x93NUMPY", 6) + version + '\0' + char(text.size() & 255) + char(text.size() >> 8);
  if (version > 1) s += std::string(2, '\0');
  return s + text + data;
}

inline std::string volume_fixture(const std::string& name) { return std::string(SAMPAN_TEST_DIR) + "/unit/volume_fixtures/" + name; }

}  // namespace sampan::test
