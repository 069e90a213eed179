// Replays files through a fuzz target, for builds without libFuzzer: every file of the folder, each cut at a few places, and the empty input.
// Data flow: tests/fuzz/<name>.cpp defines LLVMFuzzerTestOneInput; the folder is tests/fuzz/corpus/<name>. Passes if nothing crashes or hangs.
// Deliberately not a fuzzer: it invents nothing. An empty or missing folder is a failure, so that the test cannot pass by doing nothing.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

int main(int argc, char** argv) {
  std::vector<std::filesystem::path> files;
  if (argc == 2 && std::filesystem::is_directory(argv[1]))
    for (const auto& e : std::filesystem::directory_iterator(argv[1]))
      if (e.is_regular_file()) files.push_back(e.path());
  if (files.empty()) {
    std::fprintf(stderr, "usage: %s FOLDER (with at least one file)\n", argv[0]);
    return 2;
  }
  std::sort(files.begin(), files.end());
  LLVMFuzzerTestOneInput(nullptr, 0);
  for (const auto& file : files) {
    std::ifstream in(file, std::ios::binary);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(in), {}};
    for (const std::size_t size : {bytes.size(), bytes.size() / 2, bytes.size() / 8 * 7, bytes.size() - !bytes.empty()}) {
      // An exact heap copy, so that asan sees a read behind the end.
      const std::vector<std::uint8_t> copy(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
      LLVMFuzzerTestOneInput(copy.data(), copy.size());
    }
  }
  std::printf("%zu files replayed\n", files.size());
}
