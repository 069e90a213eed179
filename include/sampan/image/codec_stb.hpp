// Image files to pixels: PNG, JPEG, BMP through stb_image, PGM and PPM by image/read_pnm.hpp; 8 and 16 bit kept as stored.
// Data flow: file bytes -> check_png/check_jpeg/check_bmp (structure, size, truncation: what stb_image does not ask) -> stb_image -> Image.
// Optional: a product that has pixels includes image/image.hpp and never this file. stb_image is compiled with internal linkage and in our namespace, so a
// program may have its own copy. Where no stb_image.h was found, PNG, JPEG and BMP end in Error{unsupported}, PNM still works.
// Cost: the decoder's, one CRC and one inflate walk for PNG; memory for the image up to three times for a moment.
// Deliberately absent: EXIF orientation and colour profiles (samples stay as stored, as in the Python originals), TIFF, GIF, WebP, DICOM, NIfTI, animation.
#pragma once
#include <sampan/image/check_png.hpp>

#include <span>
#include <string>
#include <string_view>

namespace sampan::inline SAMPAN_ABI {

/// Decodes a whole file that lies in memory. `name` begins every error message.
/// Palette images become RGB (RGBA with transparency); 1, 2 and 4 bits become 8; a damaged palette index reads as black.
/// Error{bad_file}: empty, truncated, damaged, or no image at all; Error{limit}: above `limits`, found before any pixel is decoded;
/// Error{unsupported}: a known format or variant that is not read; Error{out_of_memory}.
Result<Image> decode_image(std::span<const std::uint8_t> file, std::string_view name, const DecodeLimits& limits = {});

/// Opens, checks and decodes a file. Additional Error{io}: missing, unreadable, a directory.
Result<Image> load_image(const std::string& path, const DecodeLimits& limits = {});

}  // namespace sampan::inline SAMPAN_ABI

#if !defined(SAMPAN_COMPILED) || defined(SAMPAN_IMPLEMENTATION)
#  include <sampan/impl/codec_stb.ipp>
#endif
