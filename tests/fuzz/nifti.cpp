// Fuzz target: any bytes as a NIfTI file, plain or gzip. Data flow: bytes -> examples/medical/nifti.hpp -> slices.hpp.
// What is accepted must hold the reader's promises: voxels inside the memory, a usable place, slices that cover every voxel once; else it traps.
#include "support/fuzz_volume.hpp"

#include "examples/medical/nifti.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sampan::medical;
  const auto v = parse_nifti({data, size}, "f", {{.max_bytes = std::size_t(1) << 22}, size > 0 && data[size - 1] & 1 ? std::optional<std::int64_t>(0) : std::nullopt});
  if (!v) {
    sampan::test::require(v.error().message().rfind("f: ", 0) == 0);
    return 0;
  }
  sampan::test::check_volume(*v);
  sampan::test::require(v->grid.nifti.has_value());
  return 0;
}
