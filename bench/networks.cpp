// Sizes of networks.hpp and their files. Data flow: see there. Sizes as published: segment_anything/build_sam.py, mobile_sam/build_sam.py, LiteMedSAM, MedIM; the others: tests/support/tiny_model.hpp.
#include "networks.hpp"

#include "harness.hpp"
#include "support/tiny_model.hpp"

#include <filesystem>
#include <system_error>

#include <unistd.h>

namespace bench {

namespace {
using namespace sampan::test;
using sampan::weights::Contract;
using sampan::weights::NetworkSizes;
using sampan::weights::TinyStem;

struct Network {
  std::string name, family;
  NetworkSizes whole, twin;
};

SamConfig sam(int width, int depth, int heads, int image, std::vector<int> global_blocks) {
  return {.width = width, .depth = depth, .heads = heads, .image = image, .global_blocks = std::move(global_blocks), .window = 14, .channels = kUsualChannels, .decoder_mlp = kUsualDecoderMlp,
          .iou_hidden = kUsualIouHidden};
}
Network sam_network(std::string name, SamConfig s, bool hq = false) {
  SamConfig small = s;
  small.depth = 2, small.image = 128, small.global_blocks = {1};
  Network n{std::move(name), hq ? "sam_hq" : "sam", sam_sizes(s), sam_sizes(small)};
  if (hq) n.whole.decoder = n.twin.decoder = sampan::weights::DecoderKind::hq;
  return n;
}
Network tiny_network(std::string name, TinyStem stem) {
  TinyVitConfig t = tiny_vit_5m(stem);
  const NetworkSizes whole = tiny_vit_sizes(t);
  t.image /= 8, t.depths = {1, 1, 1, 1};
  return {name, name, whole, tiny_vit_sizes(t)};
}
Network efficient_sam_network(std::string name, int width) {
  PlainVitConfig p = efficient_sam_12(width);
  const NetworkSizes whole = plain_vit_sizes(p);
  p.depth = 2, p.image = 128;
  return {std::move(name), "efficient_sam", whole, plain_vit_sizes(p)};
}
Network efficient_vit_network(std::string name, std::string_view kind) {
  EfficientVitConfig e = efficient_vit_published(kind);
  const NetworkSizes whole = efficient_vit_sizes(e);
  e.image /= 4, e.prompt /= 4, e.head_depth = 1;
  for (int& depth : e.depths) depth = depth > 0;
  return {std::move(name), "efficientvit_sam", whole, efficient_vit_sizes(e)};
}
Network edge_sam_network() {
  RepVitConfig r = edge_sam_published();
  const NetworkSizes whole = rep_vit_sizes(r);
  r.image = 128, r.depths = {2, 2, 2, 2}, r.se_blocks = {0, 3, 5};
  return {"edge_sam", "edge_sam", whole, rep_vit_sizes(r)};
}
/// The twin is smaller in its cube and its windows: 64^3 voxels are 4^3 tokens in one window of 7^3, as 8^3 are in one of 14^3 in the whole network (whose 2744 places take Reference minutes).
Network med3d_network() {
  NetworkSizes n;
  n.encoder = sampan::weights::EncoderKind::sam_vit_3d;
  n.image_size = 128, n.grid = 8, n.out_channels = 384, n.decoder_mlp = kUsualDecoderMlp, n.iou_hidden = kUsualIouHidden;
  n.sam_vit = {.patch = 16, .embed_dim = 768, .depth = 12, .heads = 12, .mlp_dim = 3072, .window = 14, .global_blocks = {2, 5, 8, 11}};
  NetworkSizes twin = n;
  twin.image_size = 64, twin.grid = 4, twin.sam_vit.depth = 2, twin.sam_vit.window = 7, twin.sam_vit.global_blocks = {1};
  return {"sam_med3d", "sam_med3d", n, twin};
}

const std::vector<Network>& networks() {
  static const std::vector<Network> all = {
      sam_network("sam_vit_b", sam(768, 12, 12, 1024, {2, 5, 8, 11})),
      sam_network("sam_vit_l", sam(1024, 24, 16, 1024, {5, 11, 17, 23})),
      sam_network("sam_vit_h", sam(1280, 32, 16, 1024, {7, 15, 23, 31})),
      sam_network("sam_vit_b_256", sam(768, 12, 12, 256, {2, 5, 8, 11})),
      tiny_network("mobile_sam", TinyStem::conv3x3_stride2),
      tiny_network("lite_medsam", TinyStem::conv1x1_stride1),
      sam_network("sam_hq_vit_b", sam(768, 12, 12, 1024, {2, 5, 8, 11}), true),
      efficient_sam_network("efficient_sam_ti", 192),
      efficient_sam_network("efficient_sam_s", 384),
      efficient_vit_network("efficient_vit_sam_l0", "L0"),
      efficient_vit_network("efficient_vit_sam_xl1", "XL1"),
      edge_sam_network(),
      med3d_network(),
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

Contract network_contract(const std::string& name) { return random_contract(find(name).family, find(name).whole); }
Contract twin_contract(const std::string& name) { return random_contract(find(name).family, find(name).twin); }

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
