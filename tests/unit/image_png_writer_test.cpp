// The PNG writer: what is written is read back equal, by our reader and by zlib; masks, label maps, colour; what is refused.
#include "unit/image_fixture.hpp"

#include "support/rng.hpp"

#include <sampan/image/mask_codec.hpp>

using namespace sampan;
using namespace sampan::test;

namespace {

Blob random_bytes(std::size_t n, std::uint64_t seed) {
  Rng rng(Seed{seed});
  Blob b(n);
  for (auto& v : b) v = std::uint8_t(rng.below(256));
  return b;
}

}  // namespace

TEST_CASE("grey, 16-bit grey and RGB survive the way to PNG and back, also with rows apart") {
  for (const auto& [w, h] : {std::pair{1, 1}, {1, 50}, {50, 1}, {13, 7}, {64, 65}, {300, 200}})
    for (const auto& [channels, type] : {std::pair{1, PixelType::u8}, {1, PixelType::u16}, {3, PixelType::u8}})
      for (const int gap : {0, 6}) {
        ImageView v{nullptr, {w, h, channels}, type, 0};
        if (gap) v.row_stride = std::ptrdiff_t(v.row_bytes()) + gap;
        const Blob pixels = random_bytes((v.row_bytes() + std::size_t(gap)) * std::size_t(h), std::uint64_t(w * h));
        v.pixels = pixels.data();
        Blob file;
        REQUIRE(encode_png(v, file));
        const auto back = decode_image(file, "back");
        REQUIRE_MESSAGE(back, back.error().what());
        CHECK(back->size() == v.size);
        CHECK(back->type() == type);
        for (int y = 0; y < h; ++y) CHECK(std::equal(v.row(y), v.row(y) + v.row_bytes(), back->view().row(y)));
      }
}

TEST_CASE("the file is the plain PNG that the specification describes") {
  const std::uint16_t pixels[] = {0x0102, 0xFFFE};
  Blob file;
  REQUIRE(encode_png({pixels, {2, 1, 1}, PixelType::u16}, file));
  const Blob head = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n', 0, 0, 0, 13, 'I', 'H', 'D', 'R', 0, 0, 0, 2, 0, 0, 0, 1, 16, 0, 0, 0, 0};
  CHECK(std::equal(head.begin(), head.end(), file.begin()));
  CHECK(file[29] == std::uint8_t(::crc32(0, head.data() + 12, 17) >> 24));
  const std::size_t length = file[36];  // of the image data, small here
  CHECK(std::string(file.begin() + 37, file.begin() + 41) == "IDAT");
  Blob raw(100);
  uLongf n = uLongf(raw.size());
  REQUIRE(uncompress(raw.data(), &n, file.data() + 41, uLong(length)) == Z_OK);
  raw.resize(n);
  CHECK(raw == Blob{0, 1, 2, 0xFF, 0xFE});  // filter byte, then big-endian samples
  const Blob end = {0, 0, 0, 0, 'I', 'E', 'N', 'D', 0xAE, 0x42, 0x60, 0x82};
  CHECK(std::equal(end.begin(), end.end(), file.end() - 12));
}

TEST_CASE("row filters: a smooth colour picture becomes smaller than its bytes, and still comes back") {
  Blob pixels;
  for (int y = 0; y < 256; ++y)
    for (int x = 0; x < 256; ++x)
      for (int c = 0; c < 3; ++c) pixels.push_back(std::uint8_t((x * x + y * y) / 600 + c * 20));
  Blob file;
  REQUIRE(encode_png({pixels.data(), {256, 256, 3}}, file));
  CHECK(file.size() < pixels.size() / 8);
  const auto back = decode_image(file, "back");
  REQUIRE(back);
  CHECK(std::equal(pixels.begin(), pixels.end(), back->data()));
}

TEST_CASE("masks: any non-zero value becomes 255") {
  const std::uint8_t mask[] = {0, 1, 2, 255, 0, 7, 0, 0};
  Blob file;
  REQUIRE(encode_mask_png(View<const std::uint8_t, 2>(mask, {2, 3}, {4, 1}), file));  // the fourth column is no part of it
  const auto back = decode_image(file, "mask");
  REQUIRE(back);
  CHECK(back->size() == ImageSize{3, 2, 1});
  CHECK(Blob(back->data(), back->data() + 6) == Blob{0, 255, 255, 0, 255, 0});
}

TEST_CASE("label maps: 8 bits up to 255, 16 bits above") {
  std::uint16_t labels[] = {0, 1, 255, 3};
  Blob file;
  REQUIRE(encode_labels_png(View<const std::uint16_t, 2>(labels, {2, 2}), file));
  auto back = decode_image(file, "labels");
  REQUIRE(back);
  CHECK(back->type() == PixelType::u8);
  CHECK(sample(*back, 0, 1, 0) == 255);
  labels[3] = 256;
  REQUIRE(encode_labels_png(View<const std::uint16_t, 2>(labels, {2, 2}), file));
  back = decode_image(file, "labels");
  REQUIRE(back);
  CHECK(back->type() == PixelType::u16);
  CHECK(sample(*back, 1, 1, 0) == 256);
  CHECK(sample(*back, 0, 1, 0) == 255);
}

TEST_CASE("the same pixels give the same bytes, and the buffer is reused") {
  const Blob pixels = random_bytes(100 * 100, 1);
  Blob a, b(5, 99);
  REQUIRE(encode_png({pixels.data(), {100, 100}}, a));
  REQUIRE(encode_png({pixels.data(), {100, 100}}, b));
  CHECK(a == b);
  const auto* memory = a.data();
  REQUIRE(encode_png({pixels.data(), {50, 50}}, a));
  CHECK(a.data() == memory);
}

TEST_CASE("what cannot be written is an error and leaves nothing in the buffer") {
  const float f[4] = {};
  for (const ImageView& v : {ImageView{f, {1, 1}, PixelType::f32}, {f, {1, 1}, PixelType::i16}, {f, {1, 1, 2}}, {f, {1, 1, 4}}, {f, {1, 1, 3}, PixelType::u16}, {nullptr, {1, 1}}, {f, {0, 1}}}) {
    Blob file(10);
    const Status s = encode_png(v, file);
    REQUIRE(!s);
    CHECK(s.error().code() == ErrorCode::invalid_argument);
    CHECK(file.empty());
  }
  Blob file;
  CHECK(!encode_mask_png({}, file));
  CHECK(!encode_labels_png({}, file));
}
