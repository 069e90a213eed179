// Images as the caller has them (ImageView) and as a decoder makes them (Image), and the one check that everything passes before it is read.
// Data flow: file bytes -> image/codec_stb.hpp -> Image -> image/window_level.hpp (to_rgb8) -> ops/resize_*.hpp -> image/normalize.hpp -> encoder.
// Shapes: row-major, channels last, 1 grey, 2 grey+alpha, 3 RGB, 4 RGBA; samples in the machine's byte order, rows may lie apart.
// Deliberately absent: colour spaces, orientation tags, physical spacing (a mask has the geometry of the pixels it was given), planar layouts.
#pragma once
#include <sampan/core/error.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>

namespace sampan::inline SAMPAN_ABI {

enum class PixelType { u8, u16, i16, f32 };

constexpr std::size_t bytes_per_sample(PixelType t) { return t == PixelType::u8 ? 1 : t == PixelType::f32 ? 4 : 2; }
constexpr const char* to_string(PixelType t) { return t == PixelType::u8 ? "8-bit" : t == PixelType::u16 ? "unsigned 16-bit" : t == PixelType::i16 ? "signed 16-bit" : "float"; }

/// Pixels across and down, samples per pixel.
struct ImageSize {
  std::int64_t width = 0, height = 0;
  int channels = 1;
  friend bool operator==(const ImageSize&, const ImageSize&) = default;
};

/// Largest side of an image: 2^20 is beyond any scanner and keeps every product of sides below 2^63.
inline constexpr std::int64_t kMaxImageSide = std::int64_t(1) << 20;
/// Most pixels of an image given by a caller: 2^30, a gigapixel.
inline constexpr std::int64_t kMaxImagePixels = std::int64_t(1) << 30;

/// Somebody else's pixels: `ImageView{pixels, {.width = 512, .height = 512}, PixelType::i16}`. They must outlive the call they are given to.
struct ImageView {
  const void* pixels = nullptr;
  ImageSize size;
  PixelType type = PixelType::u8;
  std::ptrdiff_t row_stride = 0;  ///< bytes from one row to the next; 0: rows follow each other

  std::size_t row_bytes() const { return std::size_t(size.width) * std::size_t(size.channels) * bytes_per_sample(type); }
  const std::uint8_t* row(std::int64_t y) const {
    return static_cast<const std::uint8_t*>(pixels) + y * (row_stride ? row_stride : std::ptrdiff_t(row_bytes()));
  }
};

/// Sides from 1 to kMaxImageSide, pixels up to kMaxImagePixels, 1 to 4 channels. Error{invalid_argument} or Error{limit}, with the numbers.
inline Status check(const ImageSize& s) {
  if (s.width < 1 || s.height < 1) return Error(ErrorCode::invalid_argument, cat("image of ", s.width, "x", s.height, " pixels: both sides must be at least 1"));
  if (s.channels < 1 || s.channels > 4) return Error(ErrorCode::invalid_argument, cat("image with ", s.channels, " channels: 1 (grey), 2 (grey+alpha), 3 (RGB) or 4 (RGBA) are possible"));
  if (s.width > kMaxImageSide || s.height > kMaxImageSide)
    return Error(ErrorCode::limit, cat("image of ", s.width, "x", s.height, " pixels: a side may have at most ", kMaxImageSide));
  if (s.width * s.height > kMaxImagePixels)
    return Error(ErrorCode::limit, cat("image of ", s.width, "x", s.height, " pixels: at most ", kMaxImagePixels, " pixels are possible"));
  return {};
}

/// The size as above, pixels not null, row_stride 0 or at least one row. What it cannot see: whether the memory is as long as the view says.
inline Status check(const ImageView& v) {
  SAMPAN_CHECK(check(v.size));
  if (!v.pixels) return Error(ErrorCode::invalid_argument, "image without pixels (null pointer)");
  if (v.row_stride < 0 || (v.row_stride != 0 && std::size_t(v.row_stride) < v.row_bytes()))
    return Error(ErrorCode::invalid_argument, cat("image rows ", v.row_stride, " bytes apart: a row of this image has ", v.row_bytes(), " bytes (0 means rows follow each other)"));
  return {};
}

/// Owned pixels, rows packed. Empty after a move.
class Image {
 public:
  Image() = default;
  /// Uninitialised pixels. Error{out_of_memory} instead of an exception.
  static Result<Image> allocate(const ImageSize& size, PixelType type) {
    SAMPAN_CHECK(check(size));
    Image m(nullptr, size, type);
    m.pixels_.reset(static_cast<std::uint8_t*>(std::malloc(m.bytes())));
    if (!m.pixels_) return Error(ErrorCode::out_of_memory, cat("no memory for an image of ", size.width, "x", size.height, "x", size.channels, ", ", m.bytes(), " bytes"));
    return m;
  }
  /// Takes over packed pixels that came from malloc.
  static Image adopt(void* from_malloc, const ImageSize& size, PixelType type) { return Image(static_cast<std::uint8_t*>(from_malloc), size, type); }

  const ImageSize& size() const { return size_; }
  PixelType type() const { return type_; }
  std::size_t bytes() const { return std::size_t(size_.width) * std::size_t(size_.height) * std::size_t(size_.channels) * bytes_per_sample(type_); }
  std::uint8_t* data() { return pixels_.get(); }
  const std::uint8_t* data() const { return pixels_.get(); }
  ImageView view() const { return {pixels_.get(), size_, type_, 0}; }

 private:
  struct Free {
    void operator()(std::uint8_t* p) const noexcept { std::free(p); }
  };
  Image(std::uint8_t* pixels, const ImageSize& size, PixelType type) : pixels_(pixels), size_(size), type_(type) {}
  std::unique_ptr<std::uint8_t, Free> pixels_;
  ImageSize size_;
  PixelType type_ = PixelType::u8;
};

}  // namespace sampan::inline SAMPAN_ABI
