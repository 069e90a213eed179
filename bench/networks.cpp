// Sizes of networks.hpp and their files. Data flow: see there. Sizes as published: segment_anything/build_sam.py, mobile_sam/build_sam.py, LiteMedSAM.
#include "networks.hpp"

#include "harness.hpp"
#include "support/tiny_model.hpp"

#include <filesystem>
#include <system_error>

#include <unistd.h>

namespace bench {

namespace {
using sampan::test::SamConfig;
using sampan::test::TinyVitConfig;
using sampan::weights::TinyStem;

struct Network {
  std::string name, family;
  SamConfig sam = {};
  bool tiny = false;
  TinyStem stem = {};
};

SamConfig sam(int width, int depth, int heads, int image, std::vector<int> global_blocks) {
  return {.width = width, .depth = depth, .heads = heads, .image = image, .global_blocks = std::move(global_blocks), .window = 14, .channels = sampan::test::kUsualChannels,
          .decoder_mlp = sampan::test::kUsualDecoderMlp, .iou_hidden = sampan::test::kUsualIouHidden};
}

const std::vector<Network>& networks() {
  static const std::vector<Network> all = {
      {"sam_vit_b", "sam", sam(768, 12, 12, 1024, {2, 5, 8, 11})},
      {"sam_vit_l", "sam", sam(1024, 24, 16, 1024, {5, 11, 17, 23})},
      {"sam_vit_h", "sam", sam(1280, 32, 16, 1024, {7, 15, 23, 31})},
      {"sam_vit_b_256", "sam", sam(768, 12, 12, 256, {2, 5, 8, 11})},
      {"mobile_sam", "mobile_sam", {}, true, TinyStem::conv3x3_stride2},
      {"lite_medsam", "lite_medsam", {}, true, TinyStem::conv1x1_stride1},
  };
  return all;
}

const Network& find(const std::string& name) {
  for (const Network& n : networks())
    if (n.name == name) return n;
  std::string known;
  for (const Network& n : networks()) known += " " + n.name;
  die("unknown network " + name + "; known are" + known);
}
}  // namespace

const std::vector<std::string>& network_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> v;
    for (const Network& n : networks()) v.push_back(n.name);
    return v;
  }();
  return names;
}

sampan::weights::Contract network_contract(const std::string& name) {
  const Network& n = find(name);
  return sampan::test::random_contract(n.family, n.tiny ? sampan::test::tiny_vit_sizes(sampan::test::tiny_vit_5m(n.stem)) : sampan::test::sam_sizes(n.sam));
}

sampan::weights::Contract twin_contract(const std::string& name) {
  const Network& n = find(name);
  if (n.tiny) {
    TinyVitConfig t = sampan::test::tiny_vit_5m(n.stem);
    t.image /= 8;
    t.depths = {1, 1, 1, 1};
    return sampan::test::random_contract(n.family, sampan::test::tiny_vit_sizes(t));
  }
  SamConfig s = n.sam;
  s.depth = 2, s.image = 128, s.global_blocks = {1};
  return sampan::test::random_contract(n.family, sampan::test::sam_sizes(s));
}

TemporaryFile::TemporaryFile(const std::string& suffix) {
  static int count = 0;
  std::error_code failed;
  const auto folder = std::filesystem::temp_directory_path(failed);
  if (failed) die("no folder for temporary files: " + failed.message());
  path_ = (folder / ("sampan-bench-" + std::to_string(getpid()) + "-" + std::to_string(count++) + suffix)).string();
}
TemporaryFile::~TemporaryFile() {
  std::error_code ignored;
  std::filesystem::remove(path_, ignored);
}

void write_network(const std::string& path, const sampan::weights::Contract& c) { take(sampan::test::write_model(path, c)); }

sampan::Device device_named(const std::string& word) {
  if (word != "" && word != "cpu" && word != "cuda") die("--device " + word + ": cpu or cuda");
  return word == "cuda" ? sampan::Device::cuda : sampan::Device::cpu;
}

}  // namespace bench
