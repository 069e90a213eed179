// support/hashgen.hpp against its published check values, and its shape lists against the library's own table of expected tensors.
// Data flow: the values come from the documentation of the shared goldens (seed 1, config tiny320); nothing is read from files.
#include "support/tiny_model.hpp"

#include <doctest/doctest.h>

#include <numeric>

using namespace sampan;
using namespace sampan::test;

namespace {

const NamedShapes kTiny320 = sam_shapes(96, 4, 3, 320, {1, 3});

std::vector<float> tensor(const std::string& name) {
  for (const auto& t : kTiny320)
    if (t.name == name) return hash_values(1, name, t.shape);
  FAIL("no tensor " << name);
  return {};
}

void check_same(NamedShapes a, NamedShapes b) {
  const auto by_name = [](const TensorShape& x, const TensorShape& y) { return x.name < y.name; };
  std::sort(a.begin(), a.end(), by_name);
  std::sort(b.begin(), b.end(), by_name);
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    CAPTURE(a[i].name);
    CHECK(a[i].name == b[i].name);
    CHECK(a[i].shape == b[i].shape);
  }
}

}  // namespace

TEST_CASE("values equal the published ones to the last bit") {
  struct Row {
    const char* name;
    float first, second;
    double sum;
  };
  for (const Row& r : {Row{"image_encoder.pos_embed", -0x1.0bd76cp-7f, 0x1.c9e366p-8f, -3.180785207058591},
                       Row{"image_encoder.blocks.1.attn.rel_pos_h", -0x1.11c60cp-3f, 0x1.bc3p-8f, -10.863262144906912},
                       Row{"mask_decoder.output_upscaling.0.weight", -0x1.ba0f0ep-4f, 0x1.15d10ap-8f, -5.893769419685668},
                       Row{"image_encoder.neck.1.weight", 0x1.efc15ap-1f, 0x1.e566dp-1f, 255.81545066833496},
                       Row{"mask_decoder.iou_prediction_head.layers.2.bias", 0x1.2373ccp-6f, -0x1.2db706p-7f, -0.00978099461644888}}) {
    CAPTURE(r.name);
    const auto v = tensor(r.name);
    CHECK(v[0] == r.first);
    CHECK(v[1] == r.second);
    // The published sum was added in another order: n values of size s differ by at most n * 2^-53 * sum |v|.
    const double total = std::accumulate(v.begin(), v.end(), 0.0), size = std::accumulate(v.begin(), v.end(), 0.0, [](double a, float x) { return a + std::abs(x); });
    CHECK(std::abs(total - r.sum) <= double(v.size()) * 0x1p-53 * size);
  }
}

TEST_CASE("all values of tiny320 in file order have the published digest") {
  CHECK(kTiny320.size() == 202);
  Sha256 sha;
  std::size_t bytes = 0;
  for (const auto& t : kTiny320) {
    const auto v = hash_values(1, t.name, t.shape);
    sha.update({reinterpret_cast<const std::uint8_t*>(v.data()), v.size() * sizeof(float)});
    bytes += v.size() * sizeof(float);
  }
  CHECK(bytes == 20'993'088);
  CHECK(sha.hex() == "619bb2278e443db580e79aec4af1589915defa83adedee1d05fecd02cf8403f3");
}

TEST_CASE("the shape lists are the library's") {
  check_same(kTiny320, weights::expected_tensors(tiny_sam({.width = 96, .depth = 4, .heads = 3, .image = 320, .global_blocks = {1, 3}, .channels = 256, .decoder_mlp = 2048, .iou_hidden = 256}).network));
  const SamConfig small;
  check_same(sam_encoder_shapes(small.width, small.depth, small.heads, small.image, small.global_blocks, small.window, small.channels) + decoder_shapes(small.channels, small.decoder_mlp, small.iou_hidden),
             weights::expected_tensors(tiny_sam(small).network));
  for (const auto stem : {weights::TinyStem::conv1x1_stride1, weights::TinyStem::conv3x3_stride2}) {
    const TinyVitConfig t = tiny_vit_5m(stem);
    check_same(tinyvit_shapes(t.dims, t.depths, t.heads, t.windows, stem == weights::TinyStem::conv1x1_stride1 ? 1 : 3) + decoder_shapes(), weights::expected_tensors(tiny_vit_sizes(t)));
    CHECK(tiny_vit_sizes(t).grid == 64);
  }
}

TEST_CASE("sizes of the small models are consistent") {
  for (const auto& c : {tiny_sam(), tiny_medsam(), tiny_lite_medsam(), tiny_mobile_sam()}) {
    CAPTURE(c.name);
    CHECK(weights::check_sizes(c.network).ok());
    CHECK(weights::parse_contract(weights::to_json(c)).ok());
  }
}
