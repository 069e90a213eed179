// A temporary folder with a random-weight model in it, loaded once; removed at the end of the test.
// Data flow: tests/predict, tests/cli -> here -> support/tiny_model.hpp. Deliberately absent: anything from outside the test tree.
#pragma once
#include "support/tiny_model.hpp"

#include <sampan/sampan.hpp>

#include <doctest/doctest.h>

#include <filesystem>
#include <unistd.h>

namespace sampan::test {

class TempFolder {
 public:
  TempFolder() {
    static int count = 0;
    path_ = std::filesystem::temp_directory_path() / ("sampan_test_" + std::to_string(::getpid()) + "_" + std::to_string(count++));
    std::filesystem::create_directories(path_);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string file(const std::string& name) const { return (path_ / name).string(); }
  std::size_t files() const { return std::size_t(std::distance(std::filesystem::directory_iterator(path_), std::filesystem::directory_iterator())); }

 private:
  std::filesystem::path path_;
};

inline Model load_random(const TempFolder& folder, const weights::Contract& c, LoadOptions options = {}, std::uint64_t seed = 1) {
  const std::string path = folder.file(c.family + std::to_string(seed) + ".safetensors");
  if (!std::filesystem::exists(path)) {
    const Status written = write_model(path, c, seed);
    REQUIRE_MESSAGE(written, written.error().what());
  }
  auto model = Model::try_load(path, options);
  REQUIRE_MESSAGE(model, model.error().what());
  return std::move(*model);
}

/// A picture with structure: the same for the same size and seed.
inline std::vector<std::uint8_t> test_image(std::int64_t w, std::int64_t h, int channels, std::uint64_t seed = 7) {
  auto v = hash_noise_u8(seed, "image", {h, w, channels});
  for (std::int64_t y = 0; y < h; ++y)
    for (std::int64_t x = 0; x < w; ++x)
      for (int c = 0; c < channels; ++c) {
        auto& p = v[std::size_t((y * w + x) * channels + c)];
        const bool inside = (x - w / 2) * (x - w / 2) + (y - h / 3) * (y - h / 3) < w * h / 16;
        p = std::uint8_t(p / 8 + (inside ? 180 : 40));
      }
  return v;
}

}  // namespace sampan::test
