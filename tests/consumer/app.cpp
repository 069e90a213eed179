// The program of a consumer, first of two files. Data flow: each way of consuming the library (run.sh) compiles it together with second.cpp and runs it.
//   app                  a missing file must end in a clear Error
//   app MODEL.safetensors   loads it, segments a synthetic image; the second file does the same and must get the same
// Prints the ABI namespaces of the two files, so that mixed_flags can compare them. Uses only the try_ twins, which exist with and without exceptions.
#include "segment.hpp"

#include <cmath>
#include <cstdio>
#include <cstdlib>

#define TEXT2(...) #__VA_ARGS__
#define TEXT(...) TEXT2(__VA_ARGS__)

const char* second_abi();
std::string second_segment(const char* path, float& score, long& area);

namespace {

bool failed(const char* what) {
  std::printf("FAILED: %s\n", what);
  return false;
}

bool missing_file_is_a_clear_error() {
  const auto model = sampan::Model::try_load("no/such/model.safetensors");
  if (model) return failed("a missing file was loaded");
  std::printf("%s\n", model.error().what());
  if (model.error().code() != sampan::ErrorCode::io) return failed("a missing file is not an io error");
  if (model.error().message().find("no/such/model.safetensors") == std::string::npos) return failed("the error does not name the file");
#if SAMPAN_EXCEPTIONS
  try {
    sampan::Model::load("no/such/model.safetensors");
    return failed("load did not throw");
  } catch (const sampan::Error& e) {
    if (e.message() != model.error().message()) return failed("load and try_load say different things");
  }
#endif
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  std::printf("abi %s %s\n%s", TEXT(SAMPAN_ABI), second_abi(), sampan::build_info().c_str());
  bool ok = missing_file_is_a_clear_error();
  if (argc > 1) {
    float mine = 0, other = 1;
    long my_area = 0, other_area = -1;
    for (const auto& error : {segment(argv[1], mine, my_area), second_segment(argv[1], other, other_area)})
      if (!error.empty()) ok = failed(error.c_str());
    std::printf("score %.7f %.7f, area %ld %ld\n", double(mine), double(other), my_area, other_area);
    // The files may have different flags, so sums may be rounded in a different order: 1e-5 is 100 ulp of a score, and a few pixels may lie on the threshold.
    if (!(std::abs(mine - other) <= 1e-5f) || std::labs(my_area - other_area) > 6) ok = failed("the two files disagree");
  }
  if (ok) std::printf("ok\n");
  return ok ? 0 : 1;
}
