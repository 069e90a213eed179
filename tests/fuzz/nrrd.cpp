// Fuzz target: any bytes as a NRRD file, and as a detached header with any data. Data flow: bytes -> examples/medical/nrrd.hpp -> slices.hpp.
// What is accepted must hold the reader's promises, and a data file's name must stay below the header; else it traps.
#include "support/fuzz_volume.hpp"

#include "examples/medical/nrrd.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sampan::medical;
  const sampan::Bytes file(data, size);
  const NrrdOptions o{{.max_bytes = std::size_t(1) << 22}};
  if (const auto name = nrrd_data_file(file, "f", o); name && !name->empty()) {
    sampan::test::require((*name)[0] != '/' && ("/" + *name + "/").find("/../") == std::string::npos);
    if (const auto v = parse_nrrd(file, file, "f", o)) sampan::test::check_volume(*v);  // the header once more, as the data
  }
  const auto v = parse_nrrd(file, std::nullopt, "f", o);
  if (!v) {
    sampan::test::require(v.error().message().rfind("f: ", 0) == 0);
    return 0;
  }
  sampan::test::check_volume(*v);
  return 0;
}
