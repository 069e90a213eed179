// Run lengths of a mask, column after column, as segment-anything and COCO write them; and COCO's compressed text.
// Data flow: predict/everything.hpp, examples/cli -> here -> JSON; foreign JSON -> here -> masks (bytes from outside: everything is checked).
// Layout: the first run counts zeros (it is 0 if the first pixel is set), runs alternate, their sum is height * width; pixel order is y fastest.
// Source: segment_anything/utils/amg.py (mask_to_rle_pytorch, rle_to_mask, area_from_rle); COCO's maskApi (rleToString, rleFrString). Own code.
// Cost: one pass over the pixels of the given part, in strips of columns.
#pragma once
#include <sampan/core/view.hpp>
#include <sampan/image/image.hpp>

#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace sampan::inline SAMPAN_ABI {

struct RunLengths {
  std::int64_t height = 0, width = 0;
  std::vector<std::int64_t> counts;
  friend bool operator==(const RunLengths&, const RunLengths&) = default;
  /// Pixels of the mask.
  std::int64_t area() const {
    std::int64_t n = 0;
    for (std::size_t i = 1; i < counts.size(); i += 2) n += counts[i];
    return n;
  }
};

namespace detail {
/// Collects runs in order; neighbours of the same value grow together.
class RunWriter {
 public:
  explicit RunWriter(std::vector<std::int64_t>& counts) : counts_(counts) {}
  void add(bool value, std::int64_t n) {
    if (n == 0) return;
    if (value != value_) counts_.push_back(length_), length_ = 0, value_ = value;
    length_ += n;
  }
  void finish() { counts_.push_back(length_); }

 private:
  std::vector<std::int64_t>& counts_;
  bool value_ = false;
  std::int64_t length_ = 0;
};
}  // namespace detail

/// Runs of `mask` [h, w] (bytes, 0 or 1; rows of neighbouring bytes) that stands at (x, y) in an otherwise empty mask of height x width, into `out`, which keeps its memory.
/// The part must lie inside and be at least one pixel large.
inline void run_lengths(const View<const std::uint8_t, 2>& mask, std::int64_t x, std::int64_t y, std::int64_t height, std::int64_t width, RunLengths& out) {
  constexpr Index kStrip = 64;
  const Index h = mask.extent(0), w = mask.extent(1);
  SAMPAN_ASSERT(h > 0 && w > 0 && x >= 0 && y >= 0 && y + h <= height && x + w <= width && (w == 1 || mask.stride(1) == 1));
  out.height = height, out.width = width;
  out.counts.clear();
  detail::RunWriter runs(out.counts);
  std::vector<std::uint8_t> columns(std::size_t(kStrip * h));
  runs.add(false, x * height);
  for (Index first = 0; first < w; first += kStrip) {
    const Index n = w - first < kStrip ? w - first : kStrip;
    for (Index row = 0; row < h; ++row) {
      const std::uint8_t* from = mask.data() + row * mask.stride(0) + first;
      for (Index c = 0; c < n; ++c) columns[std::size_t(c * h + row)] = from[c];
    }
    for (Index c = 0; c < n; ++c) {
      const std::uint8_t *at = columns.data() + c * h, *const end = at + h;
      runs.add(false, y);
      for (bool value = false; at != end; value = !value) {
        const void* next = std::memchr(at, value ? 0 : 1, std::size_t(end - at));
        const std::uint8_t* stop = next ? static_cast<const std::uint8_t*>(next) : end;
        runs.add(value, stop - at);
        at = stop;
      }
      runs.add(false, height - y - h);
    }
  }
  runs.add(false, (width - x - w) * height);
  runs.finish();
}

/// Sides within an image's limits, no negative run, runs that sum up to the pixels. Error{bad_file}.
inline Status check(const RunLengths& r) {
  if (auto s = check(ImageSize{r.width, r.height, 1}); !s) return Error(ErrorCode::bad_file, cat("run lengths: ", s.error().message()));
  std::int64_t left = r.height * r.width;
  for (const std::int64_t n : r.counts) {
    if (n < 0 || n > left) return Error(ErrorCode::bad_file, cat("run lengths: a run of ", n, " where ", left, " pixels are left of ", r.width, "x", r.height));
    left -= n;
  }
  if (left != 0) return Error(ErrorCode::bad_file, cat("run lengths: ", left, " pixels of ", r.width, "x", r.height, " are in no run"));
  return {};
}

/// The mask, one byte (0 or 1) per pixel, row-major. Error{bad_file} as check() says.
inline Result<std::vector<std::uint8_t>> mask_of(const RunLengths& r) {
  SAMPAN_CHECK(check(r));
  std::vector<std::uint8_t> mask(std::size_t(r.height * r.width));
  std::int64_t at = 0;
  bool value = false;
  for (const std::int64_t n : r.counts) {
    for (std::int64_t i = at; value && i < at + n; ++i) mask[std::size_t(i % r.height * r.width + i / r.height)] = 1;
    at += n;
    value = !value;
  }
  return mask;
}

/// COCO's text: from the fourth run on the difference to the run two before; 5 bits a character (48 is 0), lowest first, bit 5 says that more follow, the last one's sign is extended.
inline std::string to_coco_text(const RunLengths& r) {
  std::string text;
  for (std::size_t i = 0; i < r.counts.size(); ++i) {
    std::int64_t x = i > 2 ? r.counts[i] - r.counts[i - 2] : r.counts[i];
    for (bool more = true; more;) {
      int c = int(x & 31);
      x >>= 5;
      more = c & 16 ? x != -1 : x != 0;
      text += char((more ? c | 32 : c) + 48);
    }
  }
  return text;
}

/// Back from COCO's text. Error{bad_file}: other characters, a number that does not end or is too large, runs that check() refuses.
inline Result<RunLengths> from_coco_text(std::string_view text, std::int64_t height, std::int64_t width) {
  constexpr int kMostBits = 40;  // more than any number of pixels, and its difference, needs
  RunLengths r{height, width, {}};
  for (std::size_t at = 0; at < text.size();) {
    std::int64_t x = 0;
    for (int bits = 0;; bits += 5) {
      if (at == text.size()) return Error(ErrorCode::bad_file, "run lengths: the text ends within a number");
      if (bits >= kMostBits) return Error(ErrorCode::bad_file, cat("run lengths: the number before character ", at + 1, " is too large"));
      const int c = static_cast<unsigned char>(text[at++]) - 48;
      if (c < 0 || c > 63) return Error(ErrorCode::bad_file, cat("run lengths: character ", at, " is none of the text's ('0' to 'o')"));
      x |= std::int64_t(c & 31) << bits;
      if (c & 32) continue;
      if (c & 16) x -= std::int64_t(1) << (bits + 5);
      break;
    }
    if (r.counts.size() > 2) x += r.counts[r.counts.size() - 2];
    if (x < 0 || x > kMaxImagePixels) return Error(ErrorCode::bad_file, cat("run lengths: run ", r.counts.size() + 1, " has ", x, " pixels"));
    r.counts.push_back(x);
  }
  SAMPAN_CHECK(check(r));
  return r;
}

}  // namespace sampan::inline SAMPAN_ABI
