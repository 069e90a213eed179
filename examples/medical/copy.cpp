// Copies a scan from one format to another with its place: medical_copy IN OUT.nrrd (IN may be a DICOM folder). The smallest program on the readers and writers of this folder;
// tests/oracle_volumes.py holds what it reads and writes against nibabel, SimpleITK and pynrrd.
// Voxels keep their type; a slope and intercept go along where the format has them (NIfTI), else values are stored as float64. --labels: a label map with names.
#include "read_volume.hpp"
#include "slices.hpp"

#include <cstdio>

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

Status copy(const std::string& from, const std::string& to, bool labels) {
  SAMPAN_TRY(format, format_of_name(to));
  SAMPAN_TRY(volume, read_volume(from));
  SAMPAN_TRY(out, AtomicFile::create(to));
  if (labels) {
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

}  // namespace

int main(int argc, char** argv) {
  const bool labels = argc == 4 && std::string_view(argv[3]) == "--labels";
  if (argc != 3 && !labels) {
    std::fprintf(stderr, "usage: %s IN OUT [--labels]; .nii, .nii.gz, .nrrd, .npz\n", argv[0]);
    return 2;
  }
  if (const Status s = copy(argv[1], argv[2], labels); !s) {
    std::fprintf(stderr, "%s\n", s.error().what());
    return 3;
  }
}
