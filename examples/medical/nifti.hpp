// NIfTI-1 and NIfTI-2 (.nii, .nii.gz): header, place, voxels; and the writer of label maps and volumes on a known grid.
// Data flow: file -> read_nifti -> Volume; Grid and labels -> write_nifti -> AtomicFile.
// Source: nifti1.h and nifti2.h (nifti.nimh.nih.gov); which matrix counts follows nibabel: sform if its code is above 0, else qform, else the voxel sizes alone.
// Bounded: header fixed, extensions skipped unread, voxels as many as the dimensions say and the file can hold (byte_stream.hpp).
// Out goes what places the voxels: dims, pixdim, both matrices with their codes, units. Descriptions, names, intents and extensions stay behind: they may name
// the patient. Deliberately absent: .hdr/.img pairs and ANALYZE (no safe orientation), complex, 128-bit and 1-bit voxels: clear errors.
#pragma once
#include "byte_stream.hpp"

namespace sampan::inline SAMPAN_ABI::medical {

namespace detail {

/// Where each field lies in the two versions of the header.
struct NiftiLayout {
  std::size_t bytes, magic, datatype, bitpix, dim, pixdim, vox_offset, slope, intercept, units, qform, sform, quaternion, srow;
};
inline constexpr NiftiLayout kNifti1{348, 344, 70, 72, 40, 76, 108, 112, 116, 123, 252, 254, 256, 280};
inline constexpr NiftiLayout kNifti2{540, 4, 12, 14, 16, 104, 168, 176, 184, 500, 344, 348, 352, 400};

struct NiftiType {
  int code;
  VoxelType type;
  int components;
};
inline constexpr NiftiType kNiftiTypes[] = {{2, VoxelType::u8, 1},    {256, VoxelType::i8, 1},   {512, VoxelType::u16, 1}, {4, VoxelType::i16, 1},   {768, VoxelType::u32, 1},  {8, VoxelType::i32, 1},
                                            {1280, VoxelType::u64, 1}, {1024, VoxelType::i64, 1}, {16, VoxelType::f32, 1},  {64, VoxelType::f64, 1},   {128, VoxelType::u8, 3},   {2304, VoxelType::u8, 4}};

/// Numbers of a header in either byte order.
class NiftiFields {
 public:
  NiftiFields(Bytes header, bool swapped, int version) : b_(header), swapped_(swapped), version_(version) {}
  template <class T>
  T at(std::size_t offset) const {
    std::uint8_t raw[sizeof(T)];
    std::memcpy(raw, b_.data() + offset, sizeof raw);
    if (swapped_) std::reverse(raw, raw + sizeof raw);
    T v;
    std::memcpy(&v, raw, sizeof v);
    return v;
  }
  /// Field i of a list whose elements are float in version 1 and double in version 2.
  double real(std::size_t offset, std::size_t i = 0) const { return version_ == 1 ? double(at<float>(offset + 4 * i)) : at<double>(offset + 8 * i); }
  std::int64_t extent(std::size_t offset, std::size_t i) const { return version_ == 1 ? at<std::int16_t>(offset + 2 * i) : at<std::int64_t>(offset + 8 * i); }
  int code(std::size_t offset) const { return version_ == 1 ? at<std::int16_t>(offset) : at<std::int32_t>(offset); }

 private:
  Bytes b_;
  bool swapped_;
  int version_;
};

inline double nifti_unit_mm(int units) {
  const int space = units & 7;  // the higher bits are units of time
  return space == 1 ? 1000.0 : space == 3 ? 0.001 : 1.0;
}

/// The rotation of a unit quaternion (a, b, c, d), a >= 0 from the other three, times voxel sizes. Nothing if the three are no part of a unit quaternion.
inline std::optional<Affine> qform_affine(const NiftiGrid& g) {
  const double b = g.quaternion[0], c = g.quaternion[1], d = g.quaternion[2], rest = 1 - (b * b + c * c + d * d);
  if (!(rest > -1e-5)) return std::nullopt;  // three float32 values of a unit quaternion miss 1 by some 1e-7
  const double scale = rest < 1e-7 ? 1 / std::sqrt(b * b + c * c + d * d) : 1, a = rest < 1e-7 ? 0 : std::sqrt(rest), x = b * scale, y = c * scale, z = d * scale;
  const double r[3][3] = {{a * a + x * x - y * y - z * z, 2 * (x * y - a * z), 2 * (x * z + a * y)},
                          {2 * (x * y + a * z), a * a + y * y - x * x - z * z, 2 * (y * z - a * x)},
                          {2 * (x * z - a * y), 2 * (y * z + a * x), a * a + z * z - y * y - x * x}};
  Affine m;
  for (std::size_t i = 0; i < 3; ++i) {
    for (std::size_t j = 0; j < 3; ++j) m.m[i][j] = r[i][j] * std::abs(g.pixdim[j]) * (j == 2 && g.qfac < 0 ? -1 : 1);
    m.m[i][3] = g.offset[i];
  }
  return m;
}

/// The matrix that counts. Error{bad_file} if it is unusable; `notes` gets what is odd.
inline Result<Affine> nifti_affine(const NiftiGrid& g, const std::string& label, std::vector<std::string>& notes) {
  const auto in_mm = [&](Affine a) {
    const double f = nifti_unit_mm(g.units);
    for (auto& row : a.m)
      for (double& v : row) v *= f;
    return a;
  };
  const auto sform = [&] {
    Affine a;
    a.m = g.srow;
    return in_mm(a);
  };
  if (g.sform_code > 0) {
    const Affine a = sform();
    SAMPAN_CHECK(check(a, cat(label, ": sform")));
    if (g.qform_code > 0) {
      const auto q = qform_affine(g);
      const Affine b = q ? in_mm(*q) : Affine{};
      const Vec3 far{1000, 1000, 1000};  // voxels; half a voxel there is a direction off by half a thousandth
      bool same = q.has_value() && check(b, "").ok();
      for (std::size_t i = 0; same && i < 3; ++i) same = std::abs(a.apply(far)[i] - b.apply(far)[i]) <= 0.5 * (spacing(a)[0] + spacing(a)[1] + spacing(a)[2]) / 3 + 0.01;
      if (!same) notes.push_back("qform and sform place the voxels differently; the sform counts");
    }
    return a;
  }
  if (g.qform_code > 0) {
    const auto q = qform_affine(g);
    if (!q) return Error(ErrorCode::bad_file, cat(label, ": qform: b, c, d are no part of a unit quaternion"));
    const Affine a = in_mm(*q);
    SAMPAN_CHECK(check(a, cat(label, ": qform")));
    return a;
  }
  Affine a;
  for (std::size_t i = 0; i < 3; ++i) a.m[i][i] = std::abs(g.pixdim[i]);
  a = in_mm(a);
  SAMPAN_CHECK(check(a, cat(label, ": voxel sizes")));
  notes.push_back("neither qform nor sform: left and right are unknown, axes are taken as right, anterior, superior");
  return a;
}

}  // namespace detail

struct NiftiOptions {
  VolumeLimits limits;
  std::optional<std::int64_t> frame = {};  ///< of a time series or vector image, from 0; needed if there are several
};

inline bool looks_like_nifti(Bytes b) {
  if (b.size() < 348) return false;
  std::int32_t n = 0;
  std::memcpy(&n, b.data(), 4);
  return n == 348 || n == 540 || n == 0x5C010000 || n == 0x1C020000;
}

/// Everything of a NIfTI file from its bytes (inflated on the way if `gzip`). `keep`: the mapped file that `file` is, so that voxels need no copy.
/// Error{bad_file | limit | unsupported | out_of_memory}; every message begins with `label`.
inline Result<Volume> parse_nifti(Bytes file, const std::string& label, const NiftiOptions& o = {}, MappedFile* keep = nullptr) {
  const auto refuse = [&](const std::string& what, ErrorCode code = ErrorCode::bad_file) { return Error(code, cat(label, ": ", what)); };
  const bool gzip = ByteStream::is_gzip(file);
  SAMPAN_TRY(in, ByteStream::open(file, label, gzip));
  std::uint8_t header[540] = {};
  SAMPAN_CHECK(in.read(header, 348));
  if (!looks_like_nifti({header, 348})) return refuse("not a NIfTI file: its first number must be 348 or 540");
  const int version = header[0] == 0x5C || header[3] == 0x5C ? 1 : 2;
  const bool swapped = header[0] == 0;
  if (version == 2) SAMPAN_CHECK(in.read(header + 348, 540 - 348));
  const auto& at = version == 1 ? detail::kNifti1 : detail::kNifti2;
  const detail::NiftiFields f({header, at.bytes}, swapped, version);

  const std::string_view magic(reinterpret_cast<const char*>(header + at.magic), version == 1 ? 4 : 8);
  if (magic.substr(0, 3) == "ni1" || magic.substr(0, 3) == "ni2") return refuse("one half of a .hdr/.img pair; store it as a single .nii file", ErrorCode::unsupported);
  if (magic != (version == 1 ? std::string_view("n+1\0", 4) : std::string_view("n+2\0\r\n\x1a\n", 8)))
    return refuse(version == 1 && header[344] == 0 ? "an ANALYZE 7.5 header: it has no orientation, store it as NIfTI" : "its magic is neither n+1 nor n+2", ErrorCode::bad_file);

  Volume v;
  const int rank = int(f.extent(at.dim, 0));
  if (rank < 1 || rank > 7) return refuse(cat("has ", rank, " dimensions, 1 to 7 are possible"));
  std::uint64_t frames = 1;
  for (std::size_t a = 1; a <= 7; ++a) {
    const std::int64_t n = int(a) <= rank ? f.extent(at.dim, a) : 1;
    if (n < 1) return refuse(cat("dimension ", a, " has the length ", n));
    if (a <= 3) {
      v.grid.size[a - 1] = n;
    } else {
      const auto p = product(frames, std::uint64_t(n));
      if (!p || *p > (std::uint64_t(1) << 40)) return refuse("its dimensions beyond the third are absurdly long", ErrorCode::limit);
      frames = *p;
    }
  }
  const int code = f.at<std::int16_t>(at.datatype);
  const auto* type = std::find_if(std::begin(detail::kNiftiTypes), std::end(detail::kNiftiTypes), [&](const auto& t) { return t.code == code; });
  if (type == std::end(detail::kNiftiTypes))
    return refuse(cat("voxels of NIfTI type ", code, code == 32 || code == 1792 || code == 2048 ? " (complex)" : code == 1536 ? " (128-bit float)" : code == 1 ? " (single bits)" : "", "; integers and floats of 8 to 64 bits and RGB are read"), ErrorCode::unsupported);
  v.type = type->type;
  v.components = type->components;
  SAMPAN_TRY(bytes, volume_bytes(v.grid.size, v.components, v.type, o.limits, label));

  NiftiGrid g;
  g.version = version;
  g.qform_code = f.code(at.qform), g.sform_code = f.code(at.sform);
  g.units = version == 1 ? header[at.units] : f.at<std::int32_t>(at.units);
  g.qfac = f.real(at.pixdim);
  for (std::size_t i = 0; i < 3; ++i) g.pixdim[i] = f.real(at.pixdim, i + 1), g.quaternion[i] = f.real(at.quaternion, i), g.offset[i] = f.real(at.quaternion, i + 3);
  for (std::size_t i = 0; i < 12; ++i) g.srow[i / 4][i % 4] = f.real(at.srow, i);
  SAMPAN_TRY(affine, detail::nifti_affine(g, label, v.notes));
  v.grid.affine = affine;
  v.grid.nifti = g;

  const double slope = f.real(at.slope), intercept = f.real(at.intercept);
  if (v.components == 1 && slope == slope && slope != 0) {  // 0 and NaN: no scaling
    if (!finite(slope) || !finite(intercept)) return refuse("its scl_slope or scl_inter is infinite");
    v.slope = slope, v.intercept = intercept;
  }
  if (f.at<std::int16_t>(at.bitpix) != int(size_of(v.type)) * 8 * v.components) v.notes.push_back("bitpix disagrees with datatype; datatype counts");

  const double offset = version == 1 ? double(f.at<float>(at.vox_offset)) : double(f.at<std::int64_t>(at.vox_offset));
  const double lowest = double(at.bytes) + 4;
  if (!(offset == 0 || (offset >= double(at.bytes) && offset < 0x1p40 && offset == std::floor(offset)))) return refuse(cat("its voxels cannot begin at byte ", detail::real_text(offset)));
  const std::uint64_t start = offset == 0 ? std::uint64_t(lowest) : std::uint64_t(offset);  // 0 means directly behind the header
  const std::uint64_t frame = std::uint64_t(o.frame.value_or(0));
  if (frames > 1 && !o.frame) return refuse(cat("holds ", frames, " volumes (a time series or vectors); choose one of 0 to ", frames - 1), ErrorCode::invalid_argument);
  if (o.frame && (*o.frame < 0 || frame >= frames)) return refuse(cat("has no volume ", *o.frame, "; it holds ", frames), ErrorCode::invalid_argument);
  const auto all = product(frames, bytes), before = product(frame, bytes);
  if (!all || !before || *all > in.most_left() || start - at.bytes > in.most_left() - *all)
    return refuse(cat("its header announces ", bytes, " bytes of voxels", frames > 1 ? cat(" in each of ", frames, " volumes") : std::string(), " from byte ", start, "; the file cannot hold them: truncated, or a lying header"));

  if (keep && !gzip && !(swapped && size_of(v.type) > 1)) {
    if (file.size() > start + *all) v.notes.push_back(cat(file.size() - start - *all, " bytes follow the voxels; they were not read"));
    v.data = VoxelData::map(std::move(*keep), static_cast<std::size_t>(start + *before), bytes);
    return v;
  }
  SAMPAN_CHECK(in.skip(start - at.bytes + *before));
  SAMPAN_TRY(data, read_voxels(in, bytes, label));
  if (swapped) swap_bytes(data.writable(), bytes / size_of(v.type), size_of(v.type));
  v.data = std::move(data);
  if (frame + 1 == frames) {
    SAMPAN_TRY(extra, in.finish(std::uint64_t(1) << 20));
    if (extra) v.notes.push_back(cat(extra, " bytes follow the voxels; they were not read"));
  }
  return v;
}

/// Error{io} too. An uncompressed file in the machine's byte order stays mapped.
inline Result<Volume> read_nifti(const std::string& path, const NiftiOptions& o = {}) {
  SAMPAN_TRY(file, MappedFile::open(path));
  const Bytes bytes = file.bytes();
  return parse_nifti(bytes, path, o, &file);
}

// ---- writing -----------------------------------------------------------------------------------------------------------------------

/// A header's numbers for a grid that came from elsewhere: sform exact (as floats), and the same as qform if the axes are orthogonal.
inline NiftiGrid nifti_grid(const Affine& a) {
  NiftiGrid g;
  g.units = 2;
  g.sform_code = 1;
  g.srow = a.m;
  const Vec3 s = spacing(a);
  g.pixdim = s;
  Vec3 r[3];
  for (std::size_t c = 0; c < 3; ++c) {
    r[c] = a.column(c);
    for (double& v : r[c]) v /= s[c];
  }
  if (determinant(a) < 0) {
    g.qfac = -1;
    for (double& v : r[2]) v = -v;
  }
  for (std::size_t i = 0; i < 3; ++i) g.offset[i] = a.m[i][3];
  if (std::abs(dot(r[0], r[1])) > 1e-5 || std::abs(dot(r[0], r[2])) > 1e-5 || std::abs(dot(r[1], r[2])) > 1e-5) return g;  // sheared: no quaternion says it
  g.qform_code = 1;
  // The largest of the four components first: no cancellation. R[row][column] = r[column][row].
  const double xx = r[0][0], yy = r[1][1], zz = r[2][2];
  const double q[4] = {1 + xx + yy + zz, 1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz};
  const std::size_t k = std::size_t(std::max_element(q, q + 4) - q);
  const double p = std::sqrt(q[k]) / 2, n = 1 / (4 * p);
  const double wx = (r[1][2] - r[2][1]) * n, wy = (r[2][0] - r[0][2]) * n, wz = (r[0][1] - r[1][0]) * n;
  const double xy = (r[1][0] + r[0][1]) * n, xz = (r[2][0] + r[0][2]) * n, yz = (r[2][1] + r[1][2]) * n;
  double w = 0;
  switch (k) {
    case 0: w = p, g.quaternion = {wx, wy, wz}; break;
    case 1: w = wx, g.quaternion = {p, xy, xz}; break;
    case 2: w = wy, g.quaternion = {xy, p, yz}; break;
    default: w = wz, g.quaternion = {xz, yz, p}; break;
  }
  if (w < 0)
    for (double& v : g.quaternion) v = -v;
  return g;
}

/// What is written: voxels in the machine's byte order.
struct NiftiImage {
  VoxelType type = VoxelType::u8;
  int components = 1;
  double slope = 1, intercept = 0;
  Bytes voxels;
};

/// Little-endian NIfTI on the grid: version, matrices, codes and units as the source had them, or NIfTI-1 with a new sform. Not committed.
/// A matrix whose numbers are not finite (a code of 0 allowed that) is written as zeros.
inline Status write_nifti(AtomicFile& out, bool gzip, const Grid& grid, const NiftiImage& image) {
  NiftiGrid g = grid.nifti ? *grid.nifti : nifti_grid(grid.affine);
  for (const std::int64_t n : grid.size)
    if (n > 32767) g.version = 2;
  const auto& at = g.version == 1 ? detail::kNifti1 : detail::kNifti2;
  const auto* type = std::find_if(std::begin(detail::kNiftiTypes), std::end(detail::kNiftiTypes), [&](const auto& t) { return t.type == image.type && t.components == image.components; });
  if (type == std::end(detail::kNiftiTypes) || image.voxels.size() != voxel_count(grid.size) * size_of(image.type) * std::size_t(image.components))
    return Error(ErrorCode::invalid_argument, cat(out.path(), ": the voxels do not fit the grid"));
  std::vector<std::uint8_t> h(at.bytes + 4);  // 4: no extensions follow
  const auto put = [&](std::size_t offset, auto v) { std::memcpy(h.data() + offset, &v, sizeof v); };
  const auto real = [&](std::size_t offset, std::size_t i, double v) {
    if (!finite(v)) v = 0;
    if (g.version == 1) put(offset + 4 * i, float(v));
    else put(offset + 8 * i, v);
  };
  const auto extent = [&](std::size_t i, std::int64_t v) {
    if (g.version == 1) put(at.dim + 2 * i, std::int16_t(v));
    else put(at.dim + 8 * i, v);
  };
  put(0, std::int32_t(at.bytes));
  if (g.version == 1) {
    std::memcpy(h.data() + at.magic, "n+1\0", 4);
    h[38] = 'r';  // "regular": required by ANALYZE readers
    put(at.vox_offset, float(h.size()));
    h[at.units] = std::uint8_t(g.units);
    put(at.qform, std::int16_t(g.qform_code)), put(at.sform, std::int16_t(g.sform_code));
  } else {
    std::memcpy(h.data() + at.magic, "n+2\0\r\n\x1a\n", 8);
    put(at.vox_offset, std::int64_t(h.size()));
    put(at.units, std::int32_t(g.units));
    put(at.qform, std::int32_t(g.qform_code)), put(at.sform, std::int32_t(g.sform_code));
  }
  put(at.datatype, std::int16_t(type->code)), put(at.bitpix, std::int16_t(size_of(image.type) * 8 * std::size_t(image.components)));
  extent(0, 3);
  for (std::size_t i = 0; i < 7; ++i) extent(i + 1, i < 3 ? grid.size[i] : 1);
  real(at.pixdim, 0, g.qfac);
  for (std::size_t i = 0; i < 7; ++i) real(at.pixdim, i + 1, i < 3 ? g.pixdim[i] : 1);
  real(at.slope, 0, image.slope), real(at.intercept, 0, image.intercept);
  for (std::size_t i = 0; i < 3; ++i) real(at.quaternion, i, g.quaternion[i]), real(at.quaternion, i + 3, g.offset[i]);
  for (std::size_t i = 0; i < 12; ++i) real(at.srow, i, g.srow[i / 4][i % 4]);
  SAMPAN_TRY(sink, ByteSink::open(out, gzip));
  SAMPAN_CHECK(sink.write(Bytes(h)));
  SAMPAN_CHECK(sink.write(image.voxels));
  return sink.finish();
}

/// A label map: 8 bits if they are enough, else 16; no scaling. Not committed.
inline Status write_nifti_labels(AtomicFile& out, bool gzip, const LabelMap& labels) {
  const std::uint16_t highest = labels.voxels.empty() ? std::uint16_t(0) : *std::max_element(labels.voxels.begin(), labels.voxels.end());
  if (highest > 255) return write_nifti(out, gzip, labels.grid, {VoxelType::u16, 1, 1, 0, {reinterpret_cast<const std::uint8_t*>(labels.voxels.data()), labels.voxels.size() * 2}});
  const std::vector<std::uint8_t> bytes(labels.voxels.begin(), labels.voxels.end());
  return write_nifti(out, gzip, labels.grid, {VoxelType::u8, 1, 1, 0, Bytes(bytes)});
}

}  // namespace sampan::inline SAMPAN_ABI::medical
