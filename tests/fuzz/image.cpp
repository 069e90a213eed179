// Fuzz target: image files of every kind that is read. Data flow: bytes -> decode_image (checks, stb_image, PNM reader) -> to_rgb8, every byte looked at.
// It holds: no crash, no leak, no read outside the input, no memory beyond the limits, and an image that is accepted has the size that it says.
// PNG files are tried twice, as they come and with right chunk checksums, because no mutation finds those by chance.
// The limits are small, so that time goes into parsing and not into pixels.
#include <sampan/image/codec_stb.hpp>
#include <sampan/image/window_level.hpp>

#include <algorithm>
#include <vector>

namespace {

using namespace sampan;
using Input = std::span<const std::uint8_t>;

void decode_and_look(Input file) {
  const DecodeLimits limits{.side = 4096, .bytes = 1 << 20};
  const auto image = decode_image(file, "fuzz", limits);
  if (!image) {
    if (image.error().message().empty() || image.error().code() == ErrorCode::internal || image.error().code() == ErrorCode::invalid_argument) __builtin_trap();
    return;
  }
  const ImageView v = image->view();
  if (!check(v) || v.size.width > limits.side || v.size.height > limits.side || std::int64_t(image->bytes()) > limits.bytes) __builtin_trap();
  std::vector<std::uint8_t> rgb(std::size_t(v.size.width * v.size.height * 3));
  if (!to_rgb8(v, WindowLevel{30000, 60000}, View<std::uint8_t, 3>(rgb.data(), {v.size.height, v.size.width, 3}))) __builtin_trap();
  std::uint32_t sum = 0;
  for (const std::uint8_t b : rgb) sum = sum * 31 + b;
  volatile std::uint32_t keep = sum;
  static_cast<void>(keep);
}

/// The same chunks with the CRCs that they should have.
std::vector<std::uint8_t> with_checksums(Input file) {
  std::vector<std::uint8_t> out(file.begin(), file.end());
  for (std::size_t at = 8; out.size() - at >= 12;) {
    const std::size_t length = detail::big_endian_32(out.data() + at);
    if (length > out.size() - at - 12) break;
    const std::uint32_t crc = png_crc32(Input(out).subspan(at + 4, length + 4));
    for (std::size_t i = 0; i < 4; ++i) out[at + 8 + length + i] = std::uint8_t(crc >> (24 - 8 * i));
    at += 12 + length;
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  decode_and_look({data, size});
  if (size > 8 && std::equal(kPngSignature, kPngSignature + 8, data)) decode_and_look(with_checksums({data, size}));
  return 0;
}
