// Writes PNG: masks (8-bit grey, 0 and 255), label maps (8 or 16-bit grey), overlays (RGB). Every reader takes them; the same pixels give the same bytes.
// Data flow: predict/ (masks) and image/overlay.hpp -> here -> core/file.hpp (write_atomically) or a socket. Source: PNG specification (ISO/IEC 15948).
// Cost: a mask is read once and coded by runs (image/deflate_runs.hpp); else one copy of the image, then image/deflate.hpp. Masks and labels use no row filter (runs compress best), RGB the filter of least absolute sum per row.
// Deliberately absent: palettes, alpha, interlacing, metadata; RLE of the COCO format (everything mode brings it).
#pragma once
#include <sampan/core/view.hpp>
#include <sampan/image/check_png.hpp>
#include <sampan/image/deflate_runs.hpp>

namespace sampan::inline SAMPAN_ABI {
namespace detail {

inline std::uint8_t paeth(int a, int b, int c) {
  const int p = a + b - c, pa = p > a ? p - a : a - p, pb = p > b ? p - b : b - p, pc = p > c ? p - c : c - p;
  return std::uint8_t(pa <= pb && pa <= pc ? a : pb <= pc ? b : c);
}

/// Filter byte and filtered row to `to` [n + 1]; `up` is the row above or zeros. Filters: 0 none, 1 left, 2 up, 3 mean of both, 4 Paeth.
inline void png_filter_row(int filter, const std::uint8_t* row, const std::uint8_t* up, std::size_t n, std::size_t pixel, std::uint8_t* to) {
  to[0] = std::uint8_t(filter);
  for (std::size_t i = 0; i < n; ++i) {
    const int a = i >= pixel ? row[i - pixel] : 0, b = up[i], c = i >= pixel ? up[i - pixel] : 0;
    const int guess = filter == 1 ? a : filter == 2 ? b : filter == 3 ? (a + b) / 2 : filter == 4 ? paeth(a, b, c) : 0;
    to[i + 1] = std::uint8_t(row[i] - guess);
  }
}

inline void append_chunk(std::vector<std::uint8_t>& out, const char (&type)[5], std::span<const std::uint8_t> data) {
  const auto put_32 = [&out](std::uint32_t v) {
    for (int shift = 24; shift >= 0; shift -= 8) out.push_back(std::uint8_t(v >> shift));
  };
  put_32(std::uint32_t(data.size()));
  const std::size_t begin = out.size();
  for (int i = 0; i < 4; ++i) out.push_back(std::uint8_t(type[i]));
  out.insert(out.end(), data.begin(), data.end());
  put_32(png_crc32(std::span(out).subspan(begin)));
}

/// Signature, header, data and end around a zlib stream. Colour: 0 grey, 2 RGB.
inline void png_file(ImageSize size, int depth, int colour, std::span<const std::uint8_t> packed, std::vector<std::uint8_t>& out) {
  out.insert(out.end(), kPngSignature, kPngSignature + 8);
  std::uint8_t header[13] = {0, 0, 0, 0, 0, 0, 0, 0, std::uint8_t(depth), std::uint8_t(colour), 0, 0, 0};
  for (int i = 0; i < 4; ++i) {
    header[i] = std::uint8_t(size.width >> (24 - 8 * i));
    header[4 + i] = std::uint8_t(size.height >> (24 - 8 * i));
  }
  append_chunk(out, "IHDR", header);
  constexpr std::size_t kMost = std::size_t(1) << 30;  // a chunk's length must stay below 2^31
  for (std::size_t at = 0; at < packed.size(); at += kMost) append_chunk(out, "IDAT", packed.subspan(at, std::min(kMost, packed.size() - at)));
  append_chunk(out, "IEND", {});
}

/// Bytes at the front of [p, p + n) that are 0, or that are not.
inline std::size_t run_length(const std::uint8_t* p, std::size_t n, bool zeros) {
  if (!zeros) {
    const auto* end = static_cast<const std::uint8_t*>(std::memchr(p, 0, n));
    return end ? std::size_t(end - p) : n;
  }
  std::size_t i = 0;
  for (std::uint64_t word[4]; i + 32 <= n; i += 32) {
    std::memcpy(word, p + i, 32);
    if (word[0] | word[1] | word[2] | word[3]) break;
  }
  while (i < n && p[i] == 0) ++i;
  return i;
}

}  // namespace detail

/// The PNG file of an image, into `out` (its content is replaced, its capacity reused).
/// 1 channel of u8 or u16, or 3 channels of u8. Error{invalid_argument} for anything else and for a view that check() refuses; `out` is empty then.
inline Status encode_png(const ImageView& image, std::vector<std::uint8_t>& out) {
  out.clear();
  SAMPAN_CHECK(check(image));
  const bool grey = image.size.channels == 1 && (image.type == PixelType::u8 || image.type == PixelType::u16), rgb = image.size.channels == 3 && image.type == PixelType::u8;
  if (!grey && !rgb) return Error(ErrorCode::invalid_argument, cat("cannot write ", to_string(image.type), " pixels with ", image.size.channels, " channels as PNG: 8 and 16-bit grey and 8-bit RGB are possible"));
  const std::size_t n = image.row_bytes(), h = std::size_t(image.size.height), pixel = n / std::size_t(image.size.width);
  std::vector<std::uint8_t> raw(h * (n + 1)), rows(2 * n + 5 * (n + 1));
  std::uint8_t *row = rows.data(), *up = row + n, *tries = up + n;
  for (std::size_t y = 0; y < h; ++y, std::swap(row, up)) {
    const std::uint8_t* from = image.row(std::int64_t(y));
    for (std::size_t i = 0; i < n; ++i) row[i] = from[i];
    if (image.type == PixelType::u16)  // PNG is big-endian
      for (std::size_t i = 0; i < n; i += 2) {
        std::uint16_t v;
        std::memcpy(&v, from + i, 2);
        row[i] = std::uint8_t(v >> 8), row[i + 1] = std::uint8_t(v);
      }
    std::size_t best = 0;
    std::uint64_t least = ~std::uint64_t(0);
    for (int f = 0; f < (grey ? 1 : 5); ++f) {
      std::uint8_t* t = tries + std::size_t(f) * (n + 1);
      detail::png_filter_row(f, row, up, n, pixel, t);
      std::uint64_t sum = 0;
      for (std::size_t i = 1; i <= n; ++i) sum += t[i] < 128 ? t[i] : 256u - t[i];
      if (sum < least) least = sum, best = std::size_t(f);
    }
    std::memcpy(raw.data() + y * (n + 1), tries + best * (n + 1), n + 1);
  }
  std::vector<std::uint8_t> packed;
  deflate(raw, packed);
  detail::png_file(image.size, image.type == PixelType::u16 ? 16 : 8, rgb ? 2 : 0, packed, out);
  return {};
}

/// A mask [h, w] as 8-bit grey: 0 stays 0, everything else becomes 255.
inline Status encode_mask_png(View<const std::uint8_t, 2> mask, std::vector<std::uint8_t>& out) {
  out.clear();
  const ImageSize size{mask.extent(1), mask.extent(0), 1};
  SAMPAN_CHECK(check(size));
  const std::size_t w = std::size_t(size.width);
  std::vector<std::uint8_t> packed, copy(mask.stride(1) == 1 ? 0 : w);
  RunDeflater stream(packed);
  for (Index y = 0; y < mask.extent(0); ++y) {
    const std::uint8_t* row = mask.data() + y * mask.stride(0);
    if (!copy.empty()) {
      for (Index x = 0; x < mask.extent(1); ++x) copy[std::size_t(x)] = mask(y, x);
      row = copy.data();
    }
    stream.append(0, 1);  // the row's filter: none
    bool zeros = row[0] == 0;
    for (std::size_t x = 0; x < w; zeros = !zeros) {
      const std::size_t n = detail::run_length(row + x, w - x, zeros);
      stream.append(zeros ? 0 : 255, n);
      x += n;
    }
  }
  stream.finish();
  detail::png_file(size, 8, 0, packed, out);
  return {};
}

/// A label map [h, w], values as they are: 8-bit grey if none is above 255, else 16-bit grey.
inline Status encode_labels_png(View<const std::uint16_t, 2> labels, std::vector<std::uint8_t>& out) {
  out.clear();
  const ImageSize size{labels.extent(1), labels.extent(0), 1};
  SAMPAN_CHECK(check(size));
  std::vector<std::uint16_t> wide(std::size_t(size.width * size.height));
  std::uint16_t *to = wide.data(), most = 0;
  for (Index y = 0; y < labels.extent(0); ++y)
    for (Index x = 0; x < labels.extent(1); ++x) most = std::max(most, *to++ = labels(y, x));
  if (most > 255) return encode_png({wide.data(), size, PixelType::u16}, out);
  std::vector<std::uint8_t> narrow(wide.begin(), wide.end());
  return encode_png({narrow.data(), size, PixelType::u8}, out);
}

}  // namespace sampan::inline SAMPAN_ABI
