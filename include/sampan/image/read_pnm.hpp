// Reads binary PGM and PPM (P5, P6), 8 and 16 bit. Own code, because stb_image leaves 16-bit samples in the file's byte order, takes a cut file for a whole
// one and ignores the maximum value. Data flow: image/codec_stb.hpp -> here -> Image. Source: netpbm's pgm(5) and ppm(5). Cost: one copy.
// Deliberately absent: text variants (P2, P3), bitmaps (P1, P4), PAM (P7), more than the first image of a file.
#pragma once
#include <sampan/image/check_png.hpp>

#include <cstring>

namespace sampan::inline SAMPAN_ABI {

/// Grey or RGB. A maximum of 255 or less: 8-bit, scaled to 0..255 if it is less; above: 16-bit, values as stored (12-bit data keep their numbers).
/// Error{bad_file} with the offset, Error{limit}, Error{unsupported}.
inline Result<Image> read_pnm(std::span<const std::uint8_t> file, const DecodeLimits& limits = {}) {
  const auto bad = [](auto&&... what) { return Error(ErrorCode::bad_file, cat("PNM is damaged: ", what...)); };
  if (file.size() < 3 || file[0] != 'P' || file[1] < '1' || file[1] > '7') return bad("no signature");
  if (file[1] != '5' && file[1] != '6')
    return Error(ErrorCode::unsupported, cat("PNM of kind P", char(file[1]), ": P5 (grey) and P6 (RGB) are read; save it as one of them or as PNG"));
  std::size_t at = 2;
  const auto space = [](std::uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); };
  std::int64_t header[3] = {};
  for (std::int64_t& value : header) {
    if (at >= file.size() || !(space(file[at]) || file[at] == '#')) return bad("header ends at byte ", at);
    while (at < file.size() && (space(file[at]) || file[at] == '#')) {
      if (file[at] == '#')
        while (at < file.size() && file[at] != '\n' && file[at] != '\r') ++at;
      if (at < file.size() && file[at] != '#') ++at;
    }
    const std::size_t digits = at;
    for (; at < file.size() && file[at] >= '0' && file[at] <= '9'; ++at) {
      value = value * 10 + (file[at] - '0');
      if (value > std::int64_t(1) << 31) return Error(ErrorCode::limit, cat("PNM with an absurd number in its header at byte ", digits));
    }
    if (at == digits) return bad("no number at byte ", at);
  }
  if (at >= file.size() || !space(file[at])) return bad("no pixels after the header at byte ", at);
  ++at;
  const std::int64_t width = header[0], height = header[1], maximum = header[2];
  if (maximum < 1 || maximum > 65535) return bad("maximum value ", maximum, ", 1 to 65535 are possible");
  const int channels = file[1] == '6' ? 3 : 1, bytes = maximum > 255 ? 2 : 1;
  SAMPAN_CHECK(detail::check_decoded(width, height, channels, bytes, limits));
  const std::size_t samples = std::size_t(width * height * channels), need = samples * std::size_t(bytes);
  if (file.size() - at < need) return Error(ErrorCode::bad_file, cat("PNM is truncated: ", width, "x", height, " pixels need ", need, " bytes, ", file.size() - at, " are left"));
  SAMPAN_TRY(image, Image::allocate({width, height, channels}, bytes == 2 ? PixelType::u16 : PixelType::u8));
  const std::uint8_t* from = file.data() + at;
  for (std::size_t i = 0; i < samples; ++i) {
    if (bytes == 2) {
      const std::uint16_t v = std::uint16_t(from[2 * i] << 8 | from[2 * i + 1]);
      std::memcpy(image.data() + 2 * i, &v, 2);
    } else {
      const std::int64_t v = from[i] < maximum ? from[i] : maximum;
      image.data()[i] = std::uint8_t((v * 255 + maximum / 2) / maximum);
    }
  }
  return std::move(image);
}

}  // namespace sampan::inline SAMPAN_ABI
