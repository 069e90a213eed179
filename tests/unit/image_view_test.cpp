// ImageView, ImageSize and Image: what check() refuses, and that owned pixels behave as values.
#include <sampan/image/image.hpp>

#include <doctest/doctest.h>

#include <limits>

using namespace sampan;

TEST_CASE("ImageView is an aggregate that reads like a call") {
  const std::int16_t pixels[6] = {};
  const ImageView v{pixels, {.width = 3, .height = 2}, PixelType::i16};
  CHECK(check(v));
  CHECK(v.size.channels == 1);
  CHECK(v.row_bytes() == 6);
  CHECK(v.row(1) == static_cast<const void*>(pixels + 3));
  const ImageView apart{pixels, {.width = 2, .height = 2}, PixelType::i16, 6};
  CHECK(apart.row(1) == static_cast<const void*>(pixels + 3));
}

TEST_CASE("check refuses impossible images with the right code") {
  const std::uint8_t p[64] = {};
  const auto code = [&](ImageView v) {
    const Status s = check(v);
    return s ? std::string("ok") : std::string(to_string(s.error().code()));
  };
  CHECK(code({p, {1, 1, 1}}) == "ok");
  CHECK(code({p, {4, 4, 4}}) == "ok");
  CHECK(code({nullptr, {1, 1, 1}}) == "invalid_argument");
  CHECK(code({p, {0, 1, 1}}) == "invalid_argument");
  CHECK(code({p, {1, -5, 1}}) == "invalid_argument");
  CHECK(code({p, {1, 1, 0}}) == "invalid_argument");
  CHECK(code({p, {1, 1, 5}}) == "invalid_argument");
  CHECK(code({p, {4, 2, 3}, PixelType::u8, 11}) == "invalid_argument");   // a row has 12 bytes
  CHECK(code({p, {4, 2, 3}, PixelType::u8, 12}) == "ok");
  CHECK(code({p, {4, 2, 3}, PixelType::u8, -12}) == "invalid_argument");
  CHECK(code({p, {4, 2, 1}, PixelType::f32, 15}) == "invalid_argument");
  CHECK(code({p, {kMaxImageSide + 1, 1, 1}}) == "limit");
  CHECK(code({p, {1, std::numeric_limits<std::int64_t>::max(), 1}}) == "limit");
  CHECK(code({p, {kMaxImageSide, kMaxImageSide, 4}}) == "limit");
  CHECK(code({p, {kMaxImageSide, kMaxImagePixels / kMaxImageSide, 1}}) == "ok");
}

TEST_CASE("Image owns its pixels, moves, and refuses what cannot be") {
  auto image = Image::allocate({5, 4, 3}, PixelType::u16);
  REQUIRE(image);
  CHECK(image->bytes() == 120);
  std::uint8_t* p = image->data();
  p[119] = 7;
  Image moved = std::move(*image);
  CHECK(moved.data() == p);
  CHECK(moved.view().row(3) == p + 90);
  CHECK(image->data() == nullptr);
  CHECK(Image::allocate({0, 4, 3}, PixelType::u8).error().code() == ErrorCode::invalid_argument);
  CHECK(Image::allocate({kMaxImageSide, kMaxImageSide, 3}, PixelType::u8).error().code() == ErrorCode::limit);
  void* raw = std::malloc(4);
  const Image adopted = Image::adopt(raw, {2, 2, 1}, PixelType::u8);
  CHECK(adopted.data() == raw);
}
