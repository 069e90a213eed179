// The zoo's rows agree with the families they point to and with the networks' own tensor lists: a wrong row would be a wrong README table.
#include "support/tiny_model.hpp"

#include <sampan/models/zoo.hpp>

#include <doctest/doctest.h>

using namespace sampan;
using namespace sampan::test;

namespace {

std::int64_t parameters(const weights::NetworkSizes& n) {
  std::int64_t sum = 0;
  for (const auto& t : weights::expected_tensors(n)) sum += weights::element_count(t.shape).value();
  return sum;
}

weights::NetworkSizes sam(int width, int depth, int heads, std::vector<int> global_blocks) {
  SamConfig s{.width = width, .depth = depth, .heads = heads, .image = 1024, .global_blocks = std::move(global_blocks)};
  s.channels = kUsualChannels, s.decoder_mlp = kUsualDecoderMlp, s.iou_hidden = kUsualIouHidden;
  return sam_sizes(s);
}

weights::NetworkSizes hq(weights::NetworkSizes n) {
  n.decoder = weights::DecoderKind::hq;
  return n;
}

weights::NetworkSizes samed() {
  auto n = sam(768, 12, 12, {2, 5, 8, 11});
  n.image_size = 512, n.grid = 32;
  n.decoder = weights::DecoderKind::classes, n.mask_tokens = 9;
  return n;
}

weights::NetworkSizes slim77() {
  auto n = sam(168, 12, 12, {2, 5, 8, 11});
  n.sam_vit.mlp_dim = 696;
  return n;
}

weights::NetworkSizes med2d() {
  auto n = sam(768, 12, 12, {2, 5, 8, 11});
  n.image_size = 256, n.grid = 16;
  n.sam_vit.hook = weights::HookKind::conv_adapter, n.sam_vit.hook_hidden = 192;
  n.sam_vit.hook_blocks = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
  return n;
}

weights::NetworkSizes med3d() {
  auto n = sam(768, 12, 12, {2, 5, 8, 11});
  n.encoder = weights::EncoderKind::sam_vit_3d;
  n.image_size = 128, n.grid = 8, n.out_channels = 384;
  return n;
}

}  // namespace

TEST_CASE("every checkpoint of the zoo has a family, its licence, and the number of parameters of its network") {
  const std::int64_t counted[] = {parameters(sam(768, 12, 12, {2, 5, 8, 11})),
                                  parameters(sam(1024, 24, 16, {5, 11, 17, 23})),
                                  parameters(sam(1280, 32, 16, {7, 15, 23, 31})),
                                  parameters(sam(768, 12, 12, {2, 5, 8, 11})),
                                  parameters(sam(768, 12, 12, {2, 5, 8, 11})),
                                  parameters(sam(384, 12, 12, {2, 5, 8, 11})),
                                  parameters(slim77()),
                                  parameters(med2d()),
                                  parameters(tiny_vit_sizes(tiny_vit_5m(weights::TinyStem::conv1x1_stride1))),
                                  parameters(med3d()),
                                  parameters(med3d()),
                                  parameters(tiny_vit_sizes(tiny_vit_5m(weights::TinyStem::conv3x3_stride2))),
                                  parameters(samed()),
                                  parameters(tiny_vit_sizes(tiny_vit_5m(weights::TinyStem::conv3x3_stride2))),
                                  parameters(hq(sam(768, 12, 12, {2, 5, 8, 11}))),
                                  parameters(hq(sam(1024, 24, 16, {5, 11, 17, 23}))),
                                  parameters(hq(sam(1280, 32, 16, {7, 15, 23, 31}))),
                                  parameters(hq(tiny_vit_sizes(tiny_vit_5m(weights::TinyStem::conv3x3_stride2)))),
                                  parameters(plain_vit_sizes(efficient_sam_12(192))),
                                  parameters(plain_vit_sizes(efficient_sam_12(384))),
                                  parameters(efficient_vit_sizes(efficient_vit_published("L0"))),
                                  parameters(efficient_vit_sizes(efficient_vit_published("L1"))),
                                  parameters(efficient_vit_sizes(efficient_vit_published("L2"))),
                                  parameters(efficient_vit_sizes(efficient_vit_published("XL0"))),
                                  parameters(efficient_vit_sizes(efficient_vit_published("XL1"))),
                                  parameters(rep_vit_sizes(edge_sam_published())),
                                  parameters(rep_vit_sizes(edge_sam_published()))};
  REQUIRE(std::size(models::kZoo) == std::size(counted));
  for (std::size_t i = 0; i < std::size(counted); ++i) {
    const auto& row = models::kZoo[i];
    CAPTURE(std::string(row.name));
    const auto* family = weights::find_family(row.family);
    REQUIRE(family != nullptr);
    CHECK(family->licence == row.licence);
    CHECK(row.parameters == counted[i]);
  }
}
