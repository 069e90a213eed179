// Fuzz target: any bytes as COCO's compressed run lengths. Data flow: four bytes of sizes, then text -> image/rle.hpp.
// Allowed outcomes: runs that cover the image, come back from their text and from their mask; or an Error{bad_file} in one line. Anything else traps.
#include "tests/fuzz/require.hpp"

#include <sampan/image/rle.hpp>

using namespace sampan;
using fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 4) return 0;
  const std::int64_t height = data[0] + 256 * (data[1] & 3), width = data[2] + 256 * (data[3] & 3);
  const auto runs = from_coco_text({reinterpret_cast<const char*>(data) + 4, size - 4}, height, width);
  if (!runs) {
    require(runs.error().code() == ErrorCode::bad_file && runs.error().message().find('\n') == std::string::npos);
    return 0;
  }
  const auto again = from_coco_text(to_coco_text(*runs), height, width);
  require(again && *again == *runs);
  const auto mask = mask_of(*runs);
  require(bool(mask) && std::int64_t(mask->size()) == height * width);
  std::int64_t area = 0;
  for (const auto v : *mask) area += v;
  require(area == runs->area());
  RunLengths shortest;  // the given runs may hold empty ones
  run_lengths(View<const std::uint8_t, 2>(mask->data(), {Index(height), Index(width)}), 0, 0, height, width, shortest);
  const auto same = mask_of(shortest);
  require(same && *same == *mask && shortest.counts.size() <= runs->counts.size() + 1);
  return 0;
}
