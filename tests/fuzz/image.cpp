// Fuzz target: image files of every kind that is read. Data flow: bytes -> decode_image (checks, stb_image, PNM reader) -> to_rgb8, every byte looked at.
// It holds: no crash, no leak, no read outside the input, no memory beyond the limits, and an image that is accepted has the size that it says.
// The limits are small, so that time goes into parsing and not into pixels.
#include <sampan/image/codec_stb.hpp>
#include <sampan/image/window_level.hpp>

#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sampan;
  const DecodeLimits limits{.side = 4096, .bytes = 1 << 20};
  const auto image = decode_image({data, size}, "fuzz", limits);
  if (!image) {
    if (image.error().message().empty() || image.error().code() == ErrorCode::internal || image.error().code() == ErrorCode::invalid_argument) __builtin_trap();
    return 0;
  }
  const ImageView v = image->view();
  if (!check(v) || v.size.width > limits.side || v.size.height > limits.side || std::int64_t(image->bytes()) > limits.bytes) __builtin_trap();
  std::vector<std::uint8_t> rgb(std::size_t(v.size.width * v.size.height * 3));
  const Status s = to_rgb8(v, WindowLevel{30000, 60000}, View<std::uint8_t, 3>(rgb.data(), {v.size.height, v.size.width, 3}));
  if (!s) __builtin_trap();
  std::uint32_t sum = 0;
  for (const std::uint8_t b : rgb) sum = sum * 31 + b;
  volatile std::uint32_t keep = sum;
  static_cast<void>(keep);
  return 0;
}
