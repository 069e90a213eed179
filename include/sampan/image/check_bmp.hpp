// Is this a whole BMP of bearable size? stb_image fills missing rows with zeros and looks colours up beyond the end of a short palette.
// Data flow: image/codec_stb.hpp calls it before stb_image decodes. Source: the BITMAPFILEHEADER/BITMAPINFOHEADER layouts that stb reads. Cost: for palette
// images one pass over the indices, else constant. Deliberately absent: run-length compression, embedded JPEG and PNG (stb does not read them either).
#pragma once
#include <sampan/image/check_png.hpp>

namespace sampan::inline SAMPAN_ABI {

/// Size and channels (3; 4 if the header names an alpha mask). Error{bad_file}, Error{limit}, Error{unsupported} as in check_png.
inline Result<ImageSize> check_bmp(std::span<const std::uint8_t> file, const DecodeLimits& limits = {}) {
  const auto bad = [](auto&&... what) { return Error(ErrorCode::bad_file, cat("BMP is damaged: ", what...)); };
  const auto u16 = [&](std::size_t at) { return std::uint32_t(file[at]) | std::uint32_t(file[at + 1]) << 8; };
  const auto u32 = [&](std::size_t at) { return u16(at) | u16(at + 2) << 16; };
  if (file.size() < 26) return Error(ErrorCode::bad_file, cat("BMP is truncated at byte ", file.size(), " (no header)"));
  const std::uint64_t offset = u32(10), header = u32(14);
  const bool known = header == 12 || header == 40 || header == 56 || header == 108 || header == 124;
  if (!known) return Error(ErrorCode::unsupported, cat("BMP with a header of ", header, " bytes: save it as PNG"));
  if (file.size() < 14 + header) return Error(ErrorCode::bad_file, cat("BMP is truncated at byte ", file.size(), " (half a header)"));
  const bool old = header == 12;
  const auto i32 = [&](std::size_t at) { return std::int64_t(std::int32_t(u32(at))); };
  const std::int64_t width = old ? std::int64_t(u16(18)) : i32(18), signed_height = old ? std::int64_t(u16(20)) : i32(22);
  const std::int64_t height = signed_height < 0 ? -signed_height : signed_height;
  const std::uint32_t bits = u16(old ? 24 : 28), compression = old ? 0 : u32(30);
  if (compression != 0 && compression != 3) return Error(ErrorCode::unsupported, "BMP with compression: save it uncompressed or as PNG");
  if (bits != 1 && bits != 4 && bits != 8 && bits != 16 && bits != 24 && bits != 32) return bad(bits, " bits per pixel");
  const int channels = header >= 108 && (bits == 16 || bits == 32) ? 4 : 3;
  SAMPAN_CHECK(detail::check_decoded(width, height, 4, 1, limits));
  const std::uint64_t stride = (std::uint64_t(width) * bits + 31) / 32 * 4;
  const std::uint64_t masks = header == 40 && compression == 3 ? 12 : 0, table_at = 14 + header + masks;
  if (offset < table_at) return bad("pixels inside the header");
  if (offset > file.size() || stride * std::uint64_t(height) > file.size() - offset)
    return Error(ErrorCode::bad_file, cat("BMP is truncated at byte ", file.size(), ": ", width, "x", height, " pixels need ", stride * std::uint64_t(height), " bytes from byte ", offset));
  if (bits <= 8) {
    const std::uint64_t colours = (offset - table_at) / (old ? 3 : 4);
    if (colours == 0 || colours > 256) return bad("palette of ", colours, " colours");
    for (std::int64_t y = 0; y < height && colours < (1u << bits); ++y)
      for (std::int64_t x = 0; x < width; ++x) {
        const std::uint64_t bit = std::uint64_t(x) * bits;
        const std::uint32_t index = file[std::size_t(offset + std::uint64_t(y) * stride + bit / 8)] >> (8 - bits - bit % 8) & ((1u << bits) - 1);
        if (index >= colours) return bad("colour ", index, " of a palette of ", colours);
      }
  }
  return ImageSize{width, height, channels};
}

}  // namespace sampan::inline SAMPAN_ABI
