// What every accepted scan must be, for the fuzz targets of its readers: traps otherwise.
// Data flow: tests/fuzz/{nifti,nrrd,npz,dicom}.cpp -> here. Cost: one pass over the voxels of three planes.
#pragma once
#include "examples/medical/slices.hpp"

namespace sampan::test {

inline void require(bool promise) {
  if (!promise) __builtin_trap();
}

inline void check_volume(const medical::Volume& v) {
  using namespace medical;
  require(check(v.grid.affine, "").ok());
  require(v.data.size() == voxel_count(v.grid.size) * size_of(v.type) * std::size_t(v.components));
  require(v.components == 1 || v.components == 3 || v.components == 4);
  require(finite(v.slope) && finite(v.intercept));
  (void)value_at(v, 0);
  (void)value_at(v, voxel_count(v.grid.size) - 1);
  if (voxel_count(v.grid.size) > 100'000) return;
  for (const Plane plane : {Plane::axial, Plane::coronal, Plane::sagittal}) {
    const SlicePlan p = slice_plan(v.grid, plane);
    const auto reader = SliceReader::make(v, p, GreyRange{0, 100});
    require(reader.ok());
    std::vector<std::uint8_t> picture(reader->bytes()), mask(std::size_t(p.size[0] * p.size[1]), 1);
    std::vector<std::uint16_t> seen(voxel_count(v.grid.size), 0);
    for (std::int64_t n = 0; n < p.size[2]; ++n) {
      reader->read(n, picture.data());
      put_slice(seen, p, n, mask.data(), 1);
    }
    require(std::find(seen.begin(), seen.end(), 0) == seen.end());  // every voxel lies in exactly one slice
  }
}

}  // namespace sampan::test
