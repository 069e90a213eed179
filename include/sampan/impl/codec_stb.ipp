// Definitions of image/codec_stb.hpp, and stb_image itself, inside our namespace with internal linkage.
// The macros that configure stb_image are saved and restored, so that a program can include its own stb_image.h before or after.
#pragma once
#include <sampan/core/file.hpp>
#include <sampan/image/check_bmp.hpp>
#include <sampan/image/check_jpeg.hpp>
#include <sampan/image/codec_stb.hpp>
#include <sampan/image/read_pnm.hpp>

// With <cstring> and <cstdint>, what stb_image.h includes itself: inside the namespace only its own names may be declared.
#include <climits>
#include <cstdarg>
#include <cstddef>
#include <cstdlib>
#include <vector>

#if __has_include(<stb/stb_image.h>) || __has_include(<stb_image.h>)
#  define SAMPAN_HAS_STB_IMAGE 1
#  pragma push_macro("STBI_INCLUDE_STB_IMAGE_H")
#  pragma push_macro("STB_IMAGE_IMPLEMENTATION")
#  pragma push_macro("STB_IMAGE_STATIC")
#  pragma push_macro("STBIDEF")
#  pragma push_macro("STBI_NO_STDIO")
#  pragma push_macro("STBI_NO_LINEAR")
#  pragma push_macro("STBI_NO_HDR")
#  pragma push_macro("STBI_NO_PSD")
#  pragma push_macro("STBI_NO_TGA")
#  pragma push_macro("STBI_NO_GIF")
#  pragma push_macro("STBI_NO_PIC")
#  pragma push_macro("STBI_NO_PNM")
#  pragma push_macro("STBI_ASSERT")
#  pragma push_macro("STBI_MALLOC")
#  pragma push_macro("STBI_REALLOC")
#  pragma push_macro("STBI_FREE")
#  pragma push_macro("STBI_NO_SIMD")
#  pragma push_macro("_GLIBCXX_INCLUDE_NEXT_C_HEADERS")
#  undef STBI_INCLUDE_STB_IMAGE_H
#  undef STB_IMAGE_IMPLEMENTATION
#  undef STB_IMAGE_STATIC
#  undef STBIDEF
#  undef STBI_NO_STDIO
#  undef STBI_NO_LINEAR
#  undef STBI_NO_HDR
#  undef STBI_NO_PSD
#  undef STBI_NO_TGA
#  undef STBI_NO_GIF
#  undef STBI_NO_PIC
#  undef STBI_NO_PNM
#  undef STBI_ASSERT
#  undef STBI_MALLOC
#  undef STBI_REALLOC
#  undef STBI_FREE
#  undef STBI_NO_SIMD
#  undef _GLIBCXX_INCLUDE_NEXT_C_HEADERS
#  define STB_IMAGE_IMPLEMENTATION
#  define STB_IMAGE_STATIC
#  define STBI_NO_STDIO
#  define STBI_NO_LINEAR
#  define STBI_NO_HDR
#  define STBI_NO_PSD
#  define STBI_NO_TGA
#  define STBI_NO_GIF
#  define STBI_NO_PIC
#  define STBI_NO_PNM
#  define STBI_NO_SIMD  // saves <emmintrin.h> and <arm_neon.h> in every including file; decoding a JPEG takes a tenth of encoding the image either way
#  define STBI_ASSERT(x) static_cast<void>(0)  // a file must not be able to end the process
#  define STBI_MALLOC(n) calloc(1, n)          // zeroed: what a damaged file leaves out must not be whatever was in memory before
#  define STBI_REALLOC(p, n) realloc(p, n)
#  define STBI_FREE(p) free(p)
// <stdlib.h> of libstdc++ is a wrapper that adds abs(double) and the like by using-declarations. Read inside a namespace it would put them there, and a later
// include outside would be empty. With this macro it is the plain C header, which <cstdlib> has already brought.
#  define _GLIBCXX_INCLUDE_NEXT_C_HEADERS
#  pragma GCC diagnostic push
#  pragma GCC diagnostic ignored "-Wall"
#  pragma GCC diagnostic ignored "-Wextra"
#  pragma GCC diagnostic ignored "-Wconversion"
#  pragma GCC diagnostic ignored "-Wsign-conversion"
#  pragma GCC diagnostic ignored "-Wshadow"
#  pragma GCC diagnostic ignored "-Wold-style-cast"
#  pragma GCC diagnostic ignored "-Wunused-function"
#  pragma GCC diagnostic ignored "-Wcast-qual"
#  pragma GCC diagnostic ignored "-Wcast-align"
#  pragma GCC diagnostic ignored "-Wmissing-field-initializers"
// Coefficients of a damaged JPEG overflow int in stb's inverse DCT. They shall wrap around, become wrong pixels and be no finding of a sanitizer.
#  if defined(__clang__)
#    pragma clang attribute push(__attribute__((no_sanitize("signed-integer-overflow", "shift"))), apply_to = function)
#  else
#    pragma GCC push_options
#    pragma GCC optimize("wrapv")
#  endif
namespace sampan::inline SAMPAN_ABI::stb {
#  if __has_include(<stb/stb_image.h>)
#    include <stb/stb_image.h>
#  else
#    include <stb_image.h>
#  endif
}  // namespace sampan::inline SAMPAN_ABI::stb
#  if defined(__clang__)
#    pragma clang attribute pop
#  else
#    pragma GCC pop_options
#  endif
#  pragma GCC diagnostic pop
#  undef STBI_REALLOC_SIZED  // what a second implementation in the same file would stumble over
#  undef stbi__err
#  pragma pop_macro("STBI_INCLUDE_STB_IMAGE_H")
#  pragma pop_macro("STB_IMAGE_IMPLEMENTATION")
#  pragma pop_macro("STB_IMAGE_STATIC")
#  pragma pop_macro("STBIDEF")
#  pragma pop_macro("STBI_NO_STDIO")
#  pragma pop_macro("STBI_NO_LINEAR")
#  pragma pop_macro("STBI_NO_HDR")
#  pragma pop_macro("STBI_NO_PSD")
#  pragma pop_macro("STBI_NO_TGA")
#  pragma pop_macro("STBI_NO_GIF")
#  pragma pop_macro("STBI_NO_PIC")
#  pragma pop_macro("STBI_NO_PNM")
#  pragma pop_macro("STBI_ASSERT")
#  pragma pop_macro("STBI_MALLOC")
#  pragma pop_macro("STBI_REALLOC")
#  pragma pop_macro("STBI_FREE")
#  pragma pop_macro("STBI_NO_SIMD")
#  pragma pop_macro("_GLIBCXX_INCLUDE_NEXT_C_HEADERS")
#else
#  define SAMPAN_HAS_STB_IMAGE 0
#endif

namespace sampan::inline SAMPAN_ABI {
namespace detail {

inline bool begins_with(Bytes file, std::size_t at, std::string_view magic) {
  return file.size() >= at + magic.size() && as_text(file.subspan(at, magic.size())) == magic;
}

/// stb_image on a file that has passed its check. `size` is what the check found: stb must agree on the sides.
inline Result<Image> stb_decode(Bytes file, const ImageSize& size, bool wide) {
#if SAMPAN_HAS_STB_IMAGE
  if (file.size() > std::size_t(INT_MAX)) return Error(ErrorCode::limit, "compressed image file above 2 GiB");
  int w = 0, h = 0, c = 0;
  void* p = wide ? static_cast<void*>(stb::stbi_load_16_from_memory(file.data(), int(file.size()), &w, &h, &c, 0))
                 : static_cast<void*>(stb::stbi_load_from_memory(file.data(), int(file.size()), &w, &h, &c, 0));
  if (!p) {
    const char* why = stb::stbi_failure_reason();
    const std::string_view reason = why ? why : "unknown reason";
    if (reason == "outofmem") return Error(ErrorCode::out_of_memory, cat("no memory to decode ", size.width, "x", size.height, " pixels"));
    return Error(ErrorCode::bad_file, cat("damaged image data (", reason, ")"));
  }
  Image image = Image::adopt(p, {w, h, c}, wide ? PixelType::u16 : PixelType::u8);
  if (w != size.width || h != size.height || c < 1 || c > 4) return Error(ErrorCode::bad_file, "damaged image: its header and its data disagree about the size");
  return image;
#else
  static_cast<void>(file), static_cast<void>(size), static_cast<void>(wide);
  return Error(ErrorCode::unsupported, "this build cannot decode PNG, JPEG or BMP: stb_image.h was not found when it was compiled; PGM and PPM are read");
#endif
}

inline Result<Image> decode_png(Bytes file, const DecodeLimits& limits) {
  SAMPAN_TRY(info, check_png(file, limits));
  if (info.palette_at == 0 || info.palette_bytes == 768) return stb_decode(file, info.size, info.bits == 16);
  // stb_image keeps the palette on its stack, uninitialised beyond the colours given. Padded with black, a damaged index reads the same every time.
  std::vector<std::uint8_t> padded;
  padded.reserve(file.size() + 768);
  const auto append = [&](Bytes b) { padded.insert(padded.end(), b.begin(), b.end()); };
  append(file.first(info.palette_at));
  const std::uint8_t head[8] = {0, 0, 3, 0, 'P', 'L', 'T', 'E'};
  append(head);
  append(file.subspan(info.palette_at + 8, info.palette_bytes));
  padded.resize(info.palette_at + 8 + 768 + 4);  // the CRC stays 0: stb does not look at it, check_png has
  append(file.subspan(info.palette_at + 12 + info.palette_bytes));
  return stb_decode(padded, info.size, info.bits == 16);
}

/// A format that people bring along, with what to do about it; nullptr if nothing is recognised.
inline const char* known_format(Bytes file) {
  if (begins_with(file, 0, std::string_view("II*\0", 4)) || begins_with(file, 0, std::string_view("MM\0*", 4))) return "a TIFF image: convert it to PNG (16-bit stays 16-bit)";
  if (begins_with(file, 0, "GIF8")) return "a GIF image: convert it to PNG";
  if (begins_with(file, 0, "RIFF") && begins_with(file, 8, "WEBP")) return "a WebP image: convert it to PNG";
  if (begins_with(file, 4, "ftyp") || begins_with(file, 0, std::string_view("\0\0\0\x0CjP  ", 8))) return "a HEIF, AVIF or JPEG 2000 image: convert it to PNG";
  if (begins_with(file, 128, "DICM")) return "a DICOM file: export the image as 16-bit PNG";
  if (begins_with(file, 0, "\x1F\x8B")) return "a gzip file (a compressed NIfTI?): export a slice as 16-bit PNG";
  if (begins_with(file, 344, "n+1") || begins_with(file, 344, "ni1")) return "a NIfTI volume: export a slice as 16-bit PNG";
  if (begins_with(file, 0, "PK\x03\x04")) return "a zip archive";
  if (begins_with(file, 0, "\x93NUMPY")) return "a NumPy array: save it as PNG";
  return nullptr;
}

inline Result<Image> decode_any(Bytes file, const DecodeLimits& limits) {
  if (file.empty()) return Error(ErrorCode::bad_file, "the file is empty");
  if (begins_with(file, 0, std::string_view(reinterpret_cast<const char*>(kPngSignature), 8))) return decode_png(file, limits);
  if (begins_with(file, 0, "\xFF\xD8\xFF")) {
    SAMPAN_TRY(size, check_jpeg(file, limits));
    return stb_decode(file, size, false);
  }
  if (begins_with(file, 0, "BM")) {
    SAMPAN_TRY(size, check_bmp(file, limits));
    return stb_decode(file, size, false);
  }
  if (file.size() >= 3 && file[0] == 'P' && file[1] >= '1' && file[1] <= '7' && (file[2] == '#' || file[2] == ' ' || (file[2] >= '\t' && file[2] <= '\r'))) return read_pnm(file, limits);
  const char* other = known_format(file);
  if (other) return Error(ErrorCode::unsupported, cat("this is ", other));
  return Error(ErrorCode::bad_file, "not an image: PNG, JPEG, BMP, PGM and PPM are read");
}

}  // namespace detail

SAMPAN_INLINE Result<Image> decode_image(std::span<const std::uint8_t> file, std::string_view name, const DecodeLimits& limits) {
  Result<Image> r = detail::decode_any(file, limits);
  if (!r && !name.empty()) return std::move(r).error().at(name);
  return r;
}

SAMPAN_INLINE Result<Image> load_image(const std::string& path, const DecodeLimits& limits) {
  SAMPAN_TRY(file, MappedFile::open(path));
  return decode_image(file.bytes(), path, limits);
}

}  // namespace sampan::inline SAMPAN_ABI
