// Copies a scan from one format to another with its place: medical_copy IN OUT.nrrd (IN may be a DICOM folder). The smallest program on the readers and writers of this folder;
// tests/oracle_volumes.py and oracle_dicom.py hold what it reads and writes against nibabel, SimpleITK, pynrrd, pydicom and highdicom.
// medical_copy DICOM_DIR OUT.dcm --segments LABELS.nii.gz writes a DICOM segmentation of a scan; patient data go along only with --keep-patient.
// Voxels keep their type; a slope and intercept go along where the format has them (NIfTI), else values are stored as float64. --labels: a label map with names.
#include "dicom_seg.hpp"
#include "nifti.hpp"
#include "npz.hpp"
#include "nrrd.hpp"
#include "read_volume.hpp"
#include "slices.hpp"

#include <cstdio>
#include <ctime>

using namespace sampan;
using namespace sampan::medical;

namespace {

Status write_image(AtomicFile& out, FileFormat format, const Volume& v) {
  std::vector<double> values;
  Bytes voxels = v.data.bytes();
  VoxelType type = v.type;
  const bool scaled = v.slope != 1 || v.intercept != 0;
  if (scaled && format != FileFormat::nifti && format != FileFormat::nifti_gz) {
    for (std::size_t i = 0; i < voxel_count(v.grid.size); ++i) values.push_back(value_at(v, i));
    voxels = {reinterpret_cast<const std::uint8_t*>(values.data()), values.size() * sizeof(double)};
    type = VoxelType::f64;
  }
  switch (format) {
    case FileFormat::nifti:
    case FileFormat::nifti_gz: return write_nifti(out, format == FileFormat::nifti_gz, v.grid, {type, v.components, v.slope, v.intercept, voxels});
    case FileFormat::nrrd: return write_nrrd(out, true, v.grid, {type, v.components, voxels});
    default: {
      std::vector<std::int64_t> shape{v.grid.size[2], v.grid.size[1], v.grid.size[0]};
      if (v.components > 1) shape.push_back(v.components);
      return write_npz(out, "imgs", type, shape, voxels);
    }
  }
}

struct Words {
  std::string from, to, segments;
  bool labels = false;
  ReadOptions read;
};

/// The labels of `w.segments` as a DICOM segmentation of the scan `w.from`.
Status write_segmentation(const Words& w) {
  SeriesOptions dicom = w.read.dicom;
  dicom.decoder = default_decoder();
  SAMPAN_TRY(scan, read_dicom_volume(w.from, w.read.series, dicom));
  SAMPAN_TRY(volume, read_volume(w.segments));
  SAMPAN_TRY(map, to_labels(volume));
  if (map.grid.size != scan.image.grid.size) return Error(ErrorCode::invalid_argument, cat(w.segments, ": its grid is not that of ", w.from));
  map.grid = scan.image.grid;
  for (const int l : labels_present(map.voxels)) map.segments.push_back({l, cat("label ", l), label_colour(l)});
  SAMPAN_TRY(out, AtomicFile::create(w.to));
  const std::time_t now = std::time(nullptr);
  char date[16], time[16];
  std::strftime(date, sizeof date, "%Y%m%d", std::gmtime(&now));
  std::strftime(time, sizeof time, "%H%M%S", std::gmtime(&now));
  SAMPAN_CHECK(write_dicom_seg(out, map, scan.source, {date, time}));
  return out.commit();
}

Status copy(const Words& w) {
  if (!w.segments.empty()) return write_segmentation(w);
  SAMPAN_TRY(format, format_of_name(w.to));
  SAMPAN_TRY(volume, read_volume(w.from, w.read));
  SAMPAN_TRY(out, AtomicFile::create(w.to));
  if (w.labels) {
    SAMPAN_TRY(map, to_labels(volume));
    for (const int l : labels_present(map.voxels)) map.segments.push_back({l, cat("label ", l), label_colour(l)});
    SAMPAN_CHECK(write_labels(out, format, map));
  } else {
    SAMPAN_CHECK(write_image(out, format, volume));
  }
  SAMPAN_CHECK(out.commit());
  const auto& s = volume.grid.size;
  std::printf("%lldx%lldx%lld %s %s\n", static_cast<long long>(s[0]), static_cast<long long>(s[1]), static_cast<long long>(s[2]), to_string(volume.type), axis_codes(volume.grid.affine).c_str());
  for (const std::string& note : volume.notes) std::printf("note: %s\n", note.c_str());
  return {};
}

/// A whole number behind an option, or nothing.
std::optional<std::size_t> number(const char* text) {
  std::size_t v = 0;
  const auto end = text + std::strlen(text);
  const auto r = std::from_chars(text, end, v);
  return r.ec == std::errc() && r.ptr == end && v <= 1'000'000 ? std::optional(v) : std::nullopt;
}

bool parse(int argc, char** argv, Words& w) {
  if (argc < 3) return false;
  w.from = argv[1], w.to = argv[2];
  for (int i = 3; i < argc; ++i) {
    const std::string_view word = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : nullptr;
    if (word == "--labels") w.labels = true;
    else if (word == "--fill-gaps") w.read.dicom.fill_gaps = true;
    else if (word == "--keep-patient") w.read.dicom.keep_patient = true;
    else if (word == "--segments" && value) w.segments = argv[++i];
    else if (word == "--series" && value && number(value)) w.read.series = number(argv[++i]);
    else if (word == "--volume" && value && number(value)) w.read.frame = std::int64_t(*number(value)), w.read.dicom.volume = number(argv[++i]);
    else return false;
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  Words w;
  if (!parse(argc, argv, w)) {
    std::fprintf(stderr, "usage: %s IN OUT [--labels] [--series N] [--volume N] [--fill-gaps]\n       %s DICOM_DIR OUT.dcm --segments LABELS [--keep-patient]\nIN: .nii, .nii.gz, .nrrd, .nhdr, .npz, DICOM file or folder; OUT: .nii, .nii.gz, .nrrd, .npz\n", argv[0], argv[0]);
    return 2;
  }
  if (const Status s = copy(w); !s) {
    std::fprintf(stderr, "%s\n", s.error().what());
    return 3;
  }
}
