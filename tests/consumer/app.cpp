// The program of a consumer, first of two files. Data flow: each way of consuming the library (run.sh) compiles it together with second.cpp and runs it.
//   app                  a missing file must end in a clear Error
//   app MODEL.safetensors   loads it, segments a synthetic image; the second file does the same and must get the same
// Prints the ABI namespaces of the two files, so that mixed_flags can compare them. Uses only the try_ twins, which exist with and without exceptions.
#include "segment.hpp"

#include <cstdio>

#define TEXT2(...) #__VA_ARGS__
#define TEXT(...) TEXT2(__VA_ARGS__)

const char* second_abi();
std::string second_result(const char* model_path);

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
    const std::string mine = segment(argv[1]), other = second_result(argv[1]);
    std::printf("%s\n", mine.c_str());
    if (mine != other) ok = failed(other.c_str());
    if (mine.rfind("score ", 0) != 0) ok = failed("no mask");
  }
  if (ok) std::printf("ok\n");
  return ok ? 0 : 1;
}
