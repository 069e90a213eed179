// Decoding: every kind of PNG, JPEG, BMP and PNM that is read gives the right pixels, type and channels.
#include "unit/image_fixture.hpp"

#include "support/weight_files.hpp"

using namespace sampan;
using namespace sampan::test;

namespace {

Image decoded(const std::string& name) {
  auto r = load_image(fixture_path(name));
  REQUIRE_MESSAGE(r, r.error().what());
  return std::move(*r);
}
Image decoded_text(const std::string& file) {
  auto r = decode_image(as_bytes(file), "memory");
  REQUIRE_MESSAGE(r, r.error().what());
  return std::move(*r);
}

/// want(x, y, c) for every sample.
template <class F>
void check_pixels(const Image& m, F&& want, std::int64_t tolerance = 0) {
  std::int64_t worst = 0;
  for (std::int64_t y = 0; y < m.size().height; ++y)
    for (std::int64_t x = 0; x < m.size().width; ++x)
      for (int c = 0; c < m.size().channels; ++c) worst = std::max<std::int64_t>(worst, std::abs(sample(m, x, y, c) - want(x, y, c)));
  CHECK(worst <= tolerance);
}

// The colours of the palette fixtures.
std::int64_t palette_colour(std::int64_t index, int c) { return (c == 0 ? index * 40 : c == 1 ? 255 - index * 20 : index * 7) & 255; }

}  // namespace

TEST_CASE("PNG: every depth and colour type, values as stored") {
  struct Row {
    const char* name;
    int channels;
    PixelType type;
    std::int64_t maximum, scale;  // 1, 2, 4 bits become 8 by an exact factor
  };
  for (const Row& r : {Row{"grey1.png", 1, PixelType::u8, 1, 255}, {"grey2.png", 1, PixelType::u8, 3, 85}, {"grey4.png", 1, PixelType::u8, 15, 17}, {"grey8.png", 1, PixelType::u8, 255, 1},
                       {"grey16.png", 1, PixelType::u16, 65535, 1}, {"rgb8.png", 3, PixelType::u8, 255, 1}, {"rgb16.png", 3, PixelType::u16, 65535, 1}, {"grey_alpha8.png", 2, PixelType::u8, 255, 1},
                       {"grey_alpha16.png", 2, PixelType::u16, 65535, 1}, {"rgba8.png", 4, PixelType::u8, 255, 1}, {"rgba16.png", 4, PixelType::u16, 65535, 1},
                       {"grey8_interlaced.png", 1, PixelType::u8, 255, 1}, {"grey8_pieces.png", 1, PixelType::u8, 255, 1}}) {
    CAPTURE(r.name);
    const Image m = decoded(r.name);
    CHECK(m.size() == ImageSize{13, 7, r.channels});
    CHECK(m.type() == r.type);
    check_pixels(m, [&](auto x, auto y, auto c) { return pattern(x, y, c, r.maximum) * r.scale; });
  }
  const Image rgb16 = decoded("rgb16_interlaced.png");
  CHECK(rgb16.size() == ImageSize{11, 9, 3});
  CHECK(rgb16.type() == PixelType::u16);
  check_pixels(rgb16, [](auto x, auto y, auto c) { return pattern(x, y, c, 65535); });
  const Image bits = decoded("grey1_interlaced.png");
  CHECK(bits.size() == ImageSize{3, 5, 1});
  check_pixels(bits, [](auto x, auto y, auto c) { return pattern(x, y, c, 1) * 255; });
}

TEST_CASE("PNG: palettes become RGB, transparency an alpha channel, a damaged index black") {
  const std::pair<const char*, std::int64_t> rows[] = {{"palette1.png", 2}, {"palette2.png", 4}, {"palette4.png", 6}, {"palette8.png", 6}};
  for (const auto& row : rows) {
    const char* name = row.first;
    const std::int64_t n = row.second;
    CAPTURE(name);
    const Image m = decoded(name);
    CHECK(m.size() == ImageSize{13, 7, 3});
    check_pixels(m, [n](auto x, auto y, auto c) { return palette_colour(pattern(x, y, 0, n - 1), int(c)); });
  }
  const Image clear = decoded("palette4_transparent.png");
  CHECK(clear.size().channels == 4);
  check_pixels(clear, [](auto x, auto y, auto c) {
    const auto index = pattern(x, y, 0, 5);
    return c < 3 ? palette_colour(index, int(c)) : index == 0 ? 0 : index == 1 ? 128 : 255;
  });
  const Image broken = decoded("palette8_out_of_range.png");
  check_pixels(broken, [](auto x, auto y, auto c) {
    const auto index = pattern(x, y, 0, 9);
    return index < 6 ? palette_colour(index, int(c)) : 0;
  });
  const Image keyed = decoded("rgb8_transparent.png");
  CHECK(keyed.size().channels == 4);
  check_pixels(keyed, [](auto x, auto y, auto c) {
    const auto key = pattern(x, y, 0, 255) == 0 && pattern(x, y, 1, 255) == 59 && pattern(x, y, 2, 255) == 118;
    return c < 3 ? pattern(x, y, c, 255) : key ? 0 : 255;
  });
}

TEST_CASE("extreme shapes: one pixel, one row, one column") {
  check_pixels(decoded("grey8_1x1.png"), [](auto, auto, auto) { return 0; });
  const Image row = decoded("grey8_20000x1.png"), column = decoded("grey8_1x20000.png");
  CHECK(row.size() == ImageSize{20000, 1, 1});
  CHECK(column.size() == ImageSize{1, 20000, 1});
  check_pixels(row, [](auto x, auto y, auto c) { return pattern(x, y, c, 3); });
  check_pixels(column, [](auto x, auto y, auto c) { return pattern(x, y, c, 3); });
  CHECK(decoded("grey_1x1.jpg").size() == ImageSize{1, 1, 1});
}

TEST_CASE("JPEG: grey, both subsamplings, progressive, restart markers") {
  // Quality 100 quantises by 1, so a plane is off by less than one level, and the conversion to RGB rounds once more: two levels. libjpeg stays within one
  // here; other decoders may round the inverse DCT differently.
  for (const char* name : {"grey.jpg", "rgb444.jpg", "rgb420.jpg", "progressive.jpg", "restart.jpg"}) {
    CAPTURE(name);
    const Image m = decoded(name);
    CHECK(m.size() == ImageSize{37, 19, name[0] == 'g' ? 1 : 3});
    CHECK(m.type() == PixelType::u8);
    check_pixels(m, [](auto x, auto y, auto c) { return smooth(x, y, c); }, 2);
  }
}

TEST_CASE("JPEG with a scan per component and halved, neutral chroma") {
  const Image m = decoded("separate_scans.jpg");
  CHECK(m.size() == ImageSize{37, 19, 3});
  check_pixels(m, [](auto x, auto y, auto) { return smooth(x, y, 0); }, 2);  // as above; neutral chroma adds nothing
}

TEST_CASE("BMP: 24 and 32 bits, palettes of 8 and 1 bit") {
  const Image rgb = decoded("rgb24.bmp"), rgba = decoded("rgba32.bmp"), grey = decoded("grey8.bmp"), bits = decoded("bits1.bmp");
  check_pixels(rgb, [](auto x, auto y, auto c) { return pattern(x, y, c, 255); });
  CHECK(rgb.size() == ImageSize{13, 7, 3});
  CHECK(rgba.size().channels >= 3);
  check_pixels(rgba, [](auto x, auto y, auto c) { return pattern(x, y, c, 255); });
  check_pixels(grey, [](auto x, auto y, auto) { return pattern(x, y, 0, 255); });
  check_pixels(bits, [](auto x, auto y, auto) { return pattern(x, y, 0, 1) * 255; });
}

TEST_CASE("BMP: a negative height means top down") {
  Blob file = fixture("rgb24.bmp");
  const auto normal = decode_image(file, "up");
  for (std::size_t i = 0; i < 4; ++i) file[22 + i] = std::uint8_t(std::uint32_t(-7) >> (8 * i));
  const auto flipped = decode_image(file, "down");
  REQUIRE(normal);
  REQUIRE(flipped);
  CHECK(flipped->size() == normal->size());
  for (std::int64_t y = 0; y < 7; ++y)
    for (std::int64_t x = 0; x < 13; ++x) CHECK(sample(*flipped, x, y, 1) == sample(*normal, x, 6 - y, 1));
}

TEST_CASE("PNM: comments, maximum values, byte order") {
  const Image plain = decoded_text(std::string("P5\n# a comment\n3 #another\n 2\n255\n") + "\x01\x02\x03\x04\x05\x06");
  CHECK(plain.size() == ImageSize{3, 2, 1});
  check_pixels(plain, [](auto x, auto y, auto) { return 1 + x + 3 * y; });
  const Image colour = decoded_text(std::string("P6 1 2 255\n") + "abcdef" + "trailing bytes are no part of the image");
  CHECK(colour.size() == ImageSize{1, 2, 3});
  check_pixels(colour, [](auto, auto y, auto c) { return 'a' + 3 * y + c; });
  const Image twelve = decoded_text(std::string("P5 2 1 4095\n") + std::string("\x0F\xFF\x01\x00", 4));  // big-endian in the file
  CHECK(twelve.type() == PixelType::u16);
  CHECK(sample(twelve, 0, 0, 0) == 4095);
  CHECK(sample(twelve, 1, 0, 0) == 256);
  const Image small = decoded_text(std::string("P5 4 1 15\n") + std::string("\x00\x07\x0F\x20", 4));  // 0..15 stands for 0..255; above is clamped
  CHECK(sample(small, 0, 0, 0) == 0);
  CHECK(sample(small, 1, 0, 0) == 119);
  CHECK(sample(small, 2, 0, 0) == 255);
  CHECK(sample(small, 3, 0, 0) == 255);
}

TEST_CASE("load_image names the file, decode_image the given name") {
  const TempDir dir;
  const auto missing = load_image(dir.path("none.png")), folder = load_image(dir.path()), text = load_image(put_file(dir.path("notes.txt"), "hello, this is text"));
  REQUIRE(!missing);
  CHECK(missing.error().code() == ErrorCode::io);
  CHECK(missing.error().message().find("none.png") != std::string::npos);
  REQUIRE(!folder);
  CHECK(folder.error().code() == ErrorCode::io);
  REQUIRE(!text);
  CHECK(text.error().code() == ErrorCode::bad_file);
  CHECK(text.error().message() == dir.path("notes.txt") + ": not an image: PNG, JPEG, BMP, PGM and PPM are read");
  CHECK(decode_image({}, "nothing").error().message() == "nothing: the file is empty");
}

TEST_CASE("DecodeLimits: at the limit is accepted, one beyond is not") {
  const Blob rgb = fixture("rgb8.png");  // 13 x 7 x 3 = 273 bytes
  CHECK(decode_image(rgb, "x", {.side = 13, .bytes = 273}));
  CHECK(decode_image(rgb, "x", {.side = 12, .bytes = 273}).error().code() == ErrorCode::limit);
  CHECK(decode_image(rgb, "x", {.side = 13, .bytes = 272}).error().code() == ErrorCode::limit);
  for (const char* name : {"grey.jpg", "rgb24.bmp"}) CHECK(decode_image(fixture(name), "x", {.side = 12, .bytes = 1 << 20}).error().code() == ErrorCode::limit);
  CHECK(decode_image(as_bytes("P5 20 1 255\n01234567890123456789"), "x", {.side = 19, .bytes = 100}).error().code() == ErrorCode::limit);
}
