// The image files of tests/unit/image_fixtures and the formula that their pixels follow (tests/make_image_fixtures.py).
// Data flow: image_codec_test.cpp, hostile_image_test.cpp -> here. Also: a PNG builder with right checksums, for files that no encoder would write.
#pragma once
#include <sampan/core/file.hpp>
#include <sampan/image/checksum.hpp>
#include <sampan/image/codec_stb.hpp>

#include <doctest/doctest.h>
#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

namespace sampan::test {

using Blob = std::vector<std::uint8_t>;

inline std::string fixture_path(const std::string& name) { return std::string(SAMPAN_TEST_DIR) + "/unit/image_fixtures/" + name; }

inline Blob fixture(const std::string& name) {
  const auto file = MappedFile::open(fixture_path(name));
  REQUIRE_MESSAGE(file, file.error().what());
  return {file->bytes().begin(), file->bytes().end()};
}

/// Sample at (x, y, c) of the lossless fixtures.
inline std::int64_t pattern(std::int64_t x, std::int64_t y, std::int64_t c, std::int64_t maximum) { return (37 * x + 101 * y + 59 * c + 7 * x * y) % (maximum + 1); }
/// Of the JPEG fixtures, up to the losses.
inline std::int64_t smooth(std::int64_t x, std::int64_t y, std::int64_t c) { return 40 + 3 * x + 2 * y + 20 * c; }

inline std::int64_t sample(const Image& m, std::int64_t x, std::int64_t y, std::int64_t c) {
  const std::size_t i = std::size_t((y * m.size().width + x) * m.size().channels + c);
  if (m.type() == PixelType::u8) return m.data()[i];
  std::uint16_t v;
  std::memcpy(&v, m.data() + 2 * i, 2);
  return v;
}

inline void append_32(Blob& out, std::uint32_t v) {
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(std::uint8_t(v >> shift));
}
inline void append_chunk_of(Blob& out, const std::string& type, const Blob& data) {
  append_32(out, std::uint32_t(data.size()));
  Blob body(type.begin(), type.end());
  body.insert(body.end(), data.begin(), data.end());
  out.insert(out.end(), body.begin(), body.end());
  append_32(out, std::uint32_t(::crc32(0, body.data(), uInt(body.size()))));  // zlib's, not ours
}

inline Blob zlib_compress(const Blob& raw, int level = 9) {
  uLongf n = compressBound(uLong(raw.size()));
  Blob out(n);
  REQUIRE(compress2(out.data(), &n, raw.data(), uLong(raw.size()), level) == Z_OK);
  out.resize(n);
  return out;
}

struct PngParts {
  std::uint32_t width = 2, height = 2;
  int depth = 8, colour = 0, interlace = 0;
  Blob raw = {0, 10, 20, 0, 30, 40};   ///< filter bytes and samples, before compression
  Blob packed = {};                    ///< instead of the compressed `raw` if not empty
  std::vector<std::pair<std::string, Blob>> before = {}, after = {};  ///< chunks around the image data
  bool end = true;
};
inline Blob png_of(const PngParts& p) {
  Blob out = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'}, header;
  append_32(header, p.width), append_32(header, p.height);
  for (const int v : {p.depth, p.colour, 0, 0, p.interlace}) header.push_back(std::uint8_t(v));
  append_chunk_of(out, "IHDR", header);
  for (const auto& [type, data] : p.before) append_chunk_of(out, type, data);
  append_chunk_of(out, "IDAT", p.packed.empty() ? zlib_compress(p.raw) : p.packed);
  for (const auto& [type, data] : p.after) append_chunk_of(out, type, data);
  if (p.end) append_chunk_of(out, "IEND", {});
  return out;
}

}  // namespace sampan::test
