// Pictures of a labelled scan: sizes and places of a montage, an animated PNG chunk by chunk and picture by picture, thin slices made square.
#include "examples/medical/montage.hpp"

#include <sampan/image/codec_stb.hpp>

#include <doctest/doctest.h>
#include <zlib.h>

using namespace sampan;
namespace md = sampan::medical;

namespace {

struct Scene {
  md::Volume volume;
  md::LabelMap labels;
  md::SlicePlan plan;
};

/// 20 x 12 x 9 voxels, grey by position; label 1 in slices 3 to 5, label 2 in slice 4.
Scene scene(double dx = 1, double dy = 1, md::Plane plane = md::Plane::axial) {
  Scene s;
  auto& g = s.volume.grid;
  g.size = {20, 12, 9};
  g.affine.m[0] = {dx, 0, 0, 0}, g.affine.m[1] = {0, dy, 0, 0}, g.affine.m[2] = {0, 0, 2, 0};
  s.volume.type = md::VoxelType::u8;
  std::vector<std::uint8_t> v(20 * 12 * 9);
  for (std::size_t i = 0; i < v.size(); ++i) v[i] = std::uint8_t(40 + i * 7 % 90);
  const std::size_t bytes = v.size();
  s.volume.data = md::VoxelData::adopt(std::move(v), 0, bytes);
  s.labels = {g, std::vector<std::uint16_t>(20 * 12 * 9, 0), {}};
  for (std::size_t z = 3; z <= 5; ++z)
    for (std::size_t y = 4; y < 9; ++y)
      for (std::size_t x = 5; x < 15; ++x) s.labels.voxels[(z * 12 + y) * 20 + x] = std::uint16_t(z == 4 && x > 10 ? 2 : 1);
  s.plan = md::slice_plan(g, plane);
  return s;
}

std::vector<std::uint8_t> drawn(const md::Album& a, std::int64_t z) {
  std::vector<std::uint8_t> p(std::size_t(a.width() * a.height() * 3));
  REQUIRE(a.draw(z, View<std::uint8_t, 3>(p.data(), {Index(a.height()), Index(a.width()), 3})));
  return p;
}
std::vector<std::uint8_t> decoded(const std::vector<std::uint8_t>& png, ImageSize& size) {
  const auto image = decode_image(Bytes(png), "montage");
  REQUIRE_MESSAGE(image, image.error().message());
  size = image->size();
  return {image->data(), image->data() + image->bytes()};
}

}  // namespace

TEST_CASE("a montage holds the labelled slices and two more at both ends, each where it belongs") {
  const Scene s = scene();
  const auto reader = md::SliceReader::make(s.volume, s.plan, md::GreyRange{0, 255});
  REQUIRE(reader);
  const md::Album a(*reader, s.plan, s.labels, {.columns = 3, .rows = 4});
  CHECK(a.first() == 1);
  CHECK(a.last() == 7);
  CHECK(a.width() == 20);
  CHECK(a.height() == 12);
  std::vector<std::uint8_t> png;
  REQUIRE(a.montage(png));
  ImageSize size;
  const auto page = decoded(png, size);
  CHECK(size.width == 3 * 24 - 4);
  CHECK(size.height == 3 * 16 - 4);
  for (std::int64_t i = 0; i < 7; ++i) {  // all seven fit
    CAPTURE(i);
    const auto tile = drawn(a, 1 + i);
    bool same = true;
    for (std::int64_t y = 0; y < 12; ++y) same &= std::memcmp(&page[std::size_t(((i / 3 * 16 + y) * size.width + i % 3 * 24) * 3)], &tile[std::size_t(y * 60)], 60) == 0;
    CHECK(same);
  }
  CHECK(drawn(a, 1) != drawn(a, 2));
  // Fewer places than slices: the first and the last are among them.
  const md::Album few(*reader, s.plan, s.labels, {.columns = 2, .rows = 1});
  REQUIRE(few.montage(png));
  const auto two = decoded(png, size);
  CHECK(size.width == 44);
  CHECK(std::memcmp(two.data(), drawn(few, 1).data(), 60) == 0);
  CHECK(std::memcmp(two.data() + 72, drawn(few, 7).data(), 60) == 0);
}

TEST_CASE("labels are drawn in their colours, on grey") {
  const Scene s = scene();
  const auto reader = md::SliceReader::make(s.volume, s.plan, md::GreyRange{0, 255});
  REQUIRE(reader);
  const md::Album a(*reader, s.plan, s.labels);
  const auto with = drawn(a, 4), without = drawn(a, 8);
  int first = 0, second = 0, coloured = 0;
  for (std::size_t i = 0; i < with.size(); i += 3) {
    const Rgb p{with[i], with[i + 1], with[i + 2]};
    first += p == overlay_colour(0), second += p == overlay_colour(1);
    coloured += !(without[i] == without[i + 1] && without[i] == without[i + 2]);
  }
  CHECK(first > 10);
  CHECK(second > 5);
  CHECK(coloured == 0);
  const Scene none = [] {
    Scene empty = scene();
    std::fill(empty.labels.voxels.begin(), empty.labels.voxels.end(), std::uint16_t(0));
    return empty;
  }();
  const md::Album all(*reader, none.plan, none.labels);
  CHECK(all.first() == 0);
  CHECK(all.last() == 8);
}

TEST_CASE("steps that differ become square pixels, and large slices shrink") {
  const Scene s = scene(1, 3);
  const auto reader = md::SliceReader::make(s.volume, s.plan, md::GreyRange{0, 255});
  REQUIRE(reader);
  const md::Album a(*reader, s.plan, s.labels);
  CHECK(a.width() == 20);
  CHECK(a.height() == 36);
  const md::Album small(*reader, s.plan, s.labels, {.side = 18});
  CHECK(small.width() == 10);
  CHECK(small.height() == 18);
  const Scene c = scene(1, 1, md::Plane::coronal);
  const auto coronal = md::SliceReader::make(c.volume, c.plan, md::GreyRange{0, 255});
  REQUIRE(coronal);
  CHECK(md::Album(*coronal, c.plan, c.labels).height() == 18);  // nine slices of 2 mm
}

TEST_CASE("an animated PNG: chunks in order and whole, every slice's picture, a still one for old viewers") {
  const Scene s = scene();
  const auto reader = md::SliceReader::make(s.volume, s.plan, md::GreyRange{0, 255});
  REQUIRE(reader);
  const md::Album a(*reader, s.plan, s.labels);
  std::vector<std::uint8_t> png;
  std::vector<double> steps;
  REQUIRE(a.animation(png, [&](double f) {
    steps.push_back(f);
    return true;
  }));
  CHECK(steps.size() == 7);
  ImageSize size;
  CHECK(decoded(png, size) == drawn(a, 4));
  std::uint32_t sequence = 0, frames = 0;
  std::string names;
  std::vector<std::vector<std::uint8_t>> data;
  std::vector<std::uint8_t> header;
  for (std::size_t at = 8; at < png.size();) {
    const std::uint32_t n = sampan::detail::big_endian_32(&png[at]);
    REQUIRE(at + 12 + n <= png.size());
    CHECK(sampan::detail::big_endian_32(&png[at + 8 + n]) == crc32(0, &png[at + 4], n + 4));
    const std::string name(reinterpret_cast<const char*>(&png[at + 4]), 4);
    const std::uint8_t* d = &png[at + 8];
    names += name + " ";
    if (name == "IHDR") header.assign(d, d + n);
    if (name == "acTL") frames = sampan::detail::big_endian_32(d);
    if (name == "fcTL" || name == "fdAT") CHECK(sampan::detail::big_endian_32(d) == sequence++);
    if (name == "fcTL") {
      CHECK(sampan::detail::big_endian_32(d + 4) == 20);
      CHECK(sampan::detail::big_endian_32(d + 8) == 12);
      CHECK(d[20] * 256 + d[21] == 120);  // thousandths
      CHECK(d[22] * 256 + d[23] == 1000);
      data.emplace_back();
    }
    if (name == "fdAT") data.back().insert(data.back().end(), d + 4, d + n);
    at += 12 + n;
  }
  CHECK(frames == 7);
  REQUIRE(data.size() == 7);
  CHECK(names.rfind("IHDR acTL IDAT fcTL fdAT ", 0) == 0);
  CHECK(names.substr(names.size() - 5) == "IEND ");
  for (std::size_t i = 0; i < data.size(); ++i) {  // each frame as a PNG of its own
    CAPTURE(i);
    std::vector<std::uint8_t> one(png.begin(), png.begin() + 8);
    sampan::detail::append_chunk(one, "IHDR", header);
    sampan::detail::append_chunk(one, "IDAT", data[i]);
    sampan::detail::append_chunk(one, "IEND", {});
    CHECK(decoded(one, size) == drawn(a, 1 + std::int64_t(i)));
  }
  const Status stopped = a.animation(png, [](double f) { return f < 0.5; });
  REQUIRE_FALSE(stopped);
  CHECK(stopped.error().code() == ErrorCode::cancelled);
}
