// Is this a whole, sound PNG of bearable size? Everything that stb_image does not ask: chunk borders, CRCs, IEND, the length of the inflated data.
// Data flow: image/codec_stb.hpp calls it before stb_image decodes; a truncated PNG would otherwise come out as an image that is black from some row on,
// and a mask of it would look like a mask. Source: PNG specification (ISO/IEC 15948), sections 5, 7.3, 11.2. Cost: one CRC and one inflate walk, no heap.
// Deliberately absent: the pixels; ancillary chunks (their CRCs too: nothing here depends on them); text, gamma and colour profiles (samples stay as stored).
#pragma once
#include <sampan/core/error.hpp>
#include <sampan/image/checksum.hpp>
#include <sampan/image/image.hpp>
#include <sampan/image/inflate_check.hpp>

namespace sampan::inline SAMPAN_ABI {

/// What a decoder may be asked to make. The defaults refuse bombs (a few KiB that ask for gigabytes) and still admit 13,000 x 13,000 RGB.
struct DecodeLimits {
  std::int64_t side = kMaxImageSide;              ///< pixels
  std::int64_t bytes = std::int64_t(1) << 29;     ///< of the decoded image; decoding needs up to three times as much for a moment
};

struct PngInfo {
  ImageSize size;                         ///< channels as stb_image gives them: palettes are expanded, tRNS adds alpha
  int bits = 8;                           ///< per sample of the decoded image: 8 or 16
  std::size_t palette_at = 0;             ///< offset of the PLTE chunk if there is one
  std::size_t palette_bytes = 0;
};

namespace detail {

inline std::uint32_t big_endian_32(const std::uint8_t* p) { return std::uint32_t(p[0]) << 24 | std::uint32_t(p[1]) << 16 | std::uint32_t(p[2]) << 8 | p[3]; }
inline std::uint32_t big_endian_16(const std::uint8_t* p) { return std::uint32_t(p[0]) << 8 | p[1]; }

/// Error{invalid_argument} never comes from a file: sides of 0 are bad_file, sides and bytes above the limits are Error{limit}.
inline Status check_decoded(std::int64_t width, std::int64_t height, int channels, int bytes_per_channel, const DecodeLimits& limits) {
  if (width < 1 || height < 1) return Error(ErrorCode::bad_file, cat("image of ", width, "x", height, " pixels"));
  if (width > limits.side || height > limits.side)
    return Error(ErrorCode::limit, cat("image of ", width, "x", height, " pixels: at most ", limits.side, " a side are decoded"));
  if (width > limits.bytes / height / channels / bytes_per_channel)
    return Error(ErrorCode::limit, cat("image of ", width, "x", height, "x", channels, " would need more than ", limits.bytes >> 20, " MiB: crop it, scale it down, or pass its pixels"));
  return {};
}

/// The chunks of a PNG in order.
struct PngChunk {
  std::uint32_t type = 0;
  std::span<const std::uint8_t> data;
  std::size_t at = 0;  // of the length field
  std::size_t next = 0;
};
constexpr std::uint32_t png_type(const char (&n)[5]) {
  return std::uint32_t(n[0]) << 24 | std::uint32_t(n[1]) << 16 | std::uint32_t(n[2]) << 8 | std::uint32_t(n[3]);
}
inline Result<PngChunk> png_chunk(std::span<const std::uint8_t> file, std::size_t at) {
  if (file.size() - at < 12) return Error(ErrorCode::bad_file, cat("PNG is truncated at byte ", file.size(), " (no end chunk)"));
  const std::uint32_t length = big_endian_32(file.data() + at);
  if (length > file.size() - at - 12) return Error(ErrorCode::bad_file, cat("PNG is truncated: the chunk at byte ", at, " says ", length, " bytes, ", file.size() - at - 12, " are left"));
  PngChunk c{big_endian_32(file.data() + at + 4), file.subspan(at + 8, length), at, at + 12 + length};
  const bool critical = !(c.type & (std::uint32_t(0x20) << 24));
  if (critical && png_crc32(file.subspan(at + 4, length + 4)) != big_endian_32(file.data() + at + 8 + length))
    return Error(ErrorCode::bad_file, cat("PNG is damaged: wrong checksum of the chunk at byte ", at));
  return c;
}

/// Bytes that the image data must inflate to: a filter byte and the packed samples per row, for each of Adam7's seven passes if interlaced.
inline std::uint64_t png_raw_bytes(std::uint64_t w, std::uint64_t h, std::uint64_t bits_per_pixel, bool interlaced) {
  const auto pass = [&](std::uint64_t pw, std::uint64_t ph) { return pw && ph ? ph * (1 + (pw * bits_per_pixel + 7) / 8) : 0; };
  if (!interlaced) return pass(w, h);
  constexpr std::uint64_t x0[7] = {0, 4, 0, 2, 0, 1, 0}, y0[7] = {0, 0, 4, 0, 2, 0, 1}, dx[7] = {8, 8, 4, 4, 2, 2, 1}, dy[7] = {8, 8, 8, 4, 4, 2, 2};
  std::uint64_t n = 0;
  for (int p = 0; p < 7; ++p) n += pass((w + dx[p] - 1 - x0[p]) / dx[p], (h + dy[p] - 1 - y0[p]) / dy[p]);
  return n;
}

}  // namespace detail

inline constexpr std::uint8_t kPngSignature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};

/// Reads the header and walks through the whole file. Error{bad_file} with the offset: truncated, damaged, or against the specification;
/// Error{limit}: larger than the limits (before anything is inflated); Error{unsupported}: a critical chunk that nobody knows.
inline Result<PngInfo> check_png(std::span<const std::uint8_t> file, const DecodeLimits& limits = {}) {
  using namespace detail;
  const auto bad = [](auto&&... what) { return Error(ErrorCode::bad_file, cat(what...)); };
  SAMPAN_TRY(header, png_chunk(file, 8));
  if (header.type == png_type("CgBI")) return Error(ErrorCode::unsupported, "Apple's CgBI variant of PNG: save it as a standard PNG");
  if (header.type != png_type("IHDR") || header.data.size() != 13) return bad("PNG does not begin with a header chunk of 13 bytes");
  const std::uint8_t* d = header.data.data();
  const std::int64_t width = big_endian_32(d), height = big_endian_32(d + 4);
  const int depth = d[8], colour = d[9];
  const bool depth_known = depth == 1 || depth == 2 || depth == 4 || depth == 8 || depth == 16;
  const bool pair_known = colour == 0 || (colour == 3 && depth <= 8) || ((colour == 2 || colour == 4 || colour == 6) && depth >= 8);
  if (!depth_known || !pair_known) return bad("PNG with bit depth ", depth, " and colour type ", colour, ", a pair that the format does not have");
  if (d[10] != 0 || d[11] != 0 || d[12] > 1) return bad("PNG with unknown compression, filter or interlace method");
  const int stored = colour == 2 ? 3 : colour == 4 ? 2 : colour == 6 ? 4 : 1;  // samples per pixel in the file
  PngInfo info;
  info.bits = depth == 16 ? 16 : 8;
  info.size = {width, height, colour == 3 ? 3 : stored};
  SAMPAN_CHECK(check_decoded(width, height, info.size.channels, info.bits / 8, limits));

  std::size_t at = header.next, data_at = 0, data_end = 0;
  for (;;) {
    SAMPAN_TRY(c, png_chunk(file, at));
    if (c.type == png_type("IEND")) break;
    if (c.type == png_type("IDAT")) {
      if (data_at && data_end != c.at) return bad("PNG with other chunks between its image data, at byte ", c.at);
      if (!data_at) data_at = c.at;
      data_end = c.next;
    } else if (c.type == png_type("PLTE")) {
      if (data_at || info.palette_at || c.data.empty() || c.data.size() > 768 || c.data.size() % 3 != 0) return bad("PNG with a misplaced or misshapen palette at byte ", c.at);
      info.palette_at = c.at, info.palette_bytes = c.data.size();
    } else if (c.type == png_type("tRNS")) {
      if (!data_at && colour != 4 && colour != 6) info.size.channels = colour == 3 ? 4 : stored + 1;
    } else if (c.type == png_type("IHDR")) {
      return bad("PNG with a second header at byte ", c.at);
    } else if (!(c.type & (std::uint32_t(0x20) << 24))) {
      return Error(ErrorCode::unsupported, cat("PNG with an unknown critical chunk at byte ", c.at));
    }
    at = c.next;
  }
  if (colour == 3 && !info.palette_at) return bad("PNG with palette colours but no palette");
  if (!data_at) return bad("PNG without image data");
  SAMPAN_CHECK(check_decoded(width, height, info.size.channels, info.bits / 8, limits));

  std::size_t piece = data_at;
  const auto next = [&]() -> std::span<const std::uint8_t> {
    while (piece < data_end) {  // borders and CRCs were checked above
      const std::size_t length = big_endian_32(file.data() + piece), begin = piece + 8;
      piece = begin + length + 4;
      if (length) return file.subspan(begin, length);
    }
    return {};
  };
  const std::uint64_t raw = png_raw_bytes(std::uint64_t(width), std::uint64_t(height), std::uint64_t(stored * depth), d[12] == 1);
  switch (inflate_check(next, raw)) {
    case InflateVerdict::exact: return info;
    case InflateVerdict::ends:
    case InflateVerdict::shorter: return bad("PNG is incomplete: its image data end early, ", width, "x", height, " pixels need ", raw, " bytes");
    case InflateVerdict::longer: return bad("PNG holds more image data than ", width, "x", height, " pixels need (", raw, " bytes)");
    default: return bad("PNG with damaged compressed data");
  }
}

}  // namespace sampan::inline SAMPAN_ABI
