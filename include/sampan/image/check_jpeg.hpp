// Is this a whole JPEG of bearable size, with tables that stb_image can hold? stb reads a cut file as if zeros followed, takes a header's word for any size,
// and its releases before 2.28 write past their tables when a Huffman table announces more than 256 codes.
// Data flow: image/codec_stb.hpp calls it before stb_image decodes. Source: ITU-T T.81 annex B (markers, headers), F.1, G.1. Cost: one pass, no heap.
// Deliberately absent: the entropy-coded symbols. JPEG has no checksum: flipped bits inside a complete file stay a damaged picture, as in every decoder.
#pragma once
#include <sampan/image/check_png.hpp>

namespace sampan::inline SAMPAN_ABI {

/// Largest number of scans. Encoders write about ten; each costs a pass over all blocks, and a scan of a few bytes can ask for it.
inline constexpr int kMaxJpegScans = 64;

namespace detail {

class JpegWalk {
 public:
  JpegWalk(std::span<const std::uint8_t> file, const DecodeLimits& limits) : file_(file), limits_(limits) {}

  Result<ImageSize> run() {
    for (at_ = 2;;) {
      // Between segments: bytes until a marker are filler (some cameras write zeros), 0xFF may repeat.
      while (at_ < file_.size() && file_[at_] != 0xFF) ++at_;
      while (at_ < file_.size() && file_[at_] == 0xFF) ++at_;
      if (at_ >= file_.size()) return truncated();
      const int marker = file_[at_++];
      if (marker == 0xD9) break;
      if (marker == 0 || marker == 1 || (marker >= 0xD0 && marker <= 0xD8)) continue;  // no length follows
      if (file_.size() - at_ < 2) return truncated();
      const std::size_t length = big_endian_16(file_.data() + at_);
      if (length < 2) return bad("segment of impossible length");
      if (length > file_.size() - at_) return truncated();
      const auto segment = file_.subspan(at_ + 2, length - 2);
      const bool frame = marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
      if (frame) SAMPAN_CHECK(frame_header(marker, segment));
      if (marker == 0xC4) SAMPAN_CHECK(huffman_tables(segment));
      if (marker == 0xDD) {
        if (segment.size() != 2) return bad("misshapen restart interval");
        restart_ = big_endian_16(segment.data());
      }
      at_ += length;
      if (marker == 0xDA) SAMPAN_CHECK(scan(segment));
    }
    for (int c = 0; c < count_; ++c)
      if (!part_[c].seen) return bad("component without data");
    if (!count_) return bad("file without image data");
    return ImageSize{width_, height_, count_};
  }

 private:
  struct Part {
    int id = 0, h = 1, v = 1;
    bool seen = false;
    std::int64_t blocks = 0;  // when it is alone in a scan
  };

  static std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
  Error bad(const char* what) const { return Error(ErrorCode::bad_file, cat("JPEG is damaged: ", what, " near byte ", at_)); }
  Error truncated() const { return Error(ErrorCode::bad_file, cat("JPEG is truncated at byte ", file_.size(), " (no end marker)")); }

  Status frame_header(int marker, std::span<const std::uint8_t> p) {
    if (marker > 0xC2) return Error(ErrorCode::unsupported, "JPEG with lossless, hierarchical or arithmetic coding: save it as baseline JPEG or PNG");
    if (count_) return bad("second frame header");
    if (p.size() < 6) return bad("misshapen frame header");
    if (p[0] != 8) return Error(ErrorCode::unsupported, cat("JPEG with ", int(p[0]), " bits per sample: only 8 are read; save it as 16-bit PNG"));
    height_ = big_endian_16(p.data() + 1), width_ = big_endian_16(p.data() + 3);
    const int n = p[5];
    if (n == 4) return Error(ErrorCode::unsupported, "JPEG in CMYK colours: convert it to RGB first (which RGB depends on its ink profile)");
    if (n != 1 && n != 3) return Error(ErrorCode::unsupported, cat("JPEG with ", n, " components: grey (1) and colour (3) are read"));
    if (p.size() != std::size_t(6 + 3 * n)) return bad("misshapen frame header");
    SAMPAN_CHECK(check_decoded(width_, height_, n, 1, limits_));
    int hmax = 1, vmax = 1;
    for (int c = 0; c < n; ++c) {
      part_[c] = {p[std::size_t(6 + 3 * c)], p[std::size_t(7 + 3 * c)] >> 4, p[std::size_t(7 + 3 * c)] & 15, false, 0};
      if (part_[c].h < 1 || part_[c].h > 4 || part_[c].v < 1 || part_[c].v > 4) return bad("impossible sampling factors");
      hmax = part_[c].h > hmax ? part_[c].h : hmax, vmax = part_[c].v > vmax ? part_[c].v : vmax;
    }
    const auto blocks = [](std::int64_t side, int factor, int most) { return ceil_div(ceil_div(side * factor, most), 8); };
    for (int c = 0; c < n; ++c) part_[c].blocks = blocks(width_, part_[c].h, hmax) * blocks(height_, part_[c].v, vmax);
    units_ = ceil_div(width_, 8 * hmax) * ceil_div(height_, 8 * vmax);
    count_ = n;
    progressive_ = marker == 0xC2;
    return {};
  }

  Status huffman_tables(std::span<const std::uint8_t> p) const {
    while (!p.empty()) {
      if (p.size() < 17) return bad("misshapen Huffman table");
      std::size_t codes = 0;
      for (std::size_t i = 1; i <= 16; ++i) codes += p[i];
      if (codes > 256 || p.size() < 17 + codes) return bad("Huffman table with too many codes");
      p = p.subspan(17 + codes);
    }
    return {};
  }

  /// The header of a scan, then its entropy-coded data up to the next marker; at_ is behind the header.
  Status scan(std::span<const std::uint8_t> p) {
    if (!count_) return bad("scan before the frame header");
    if (++scans_ > kMaxJpegScans) return Error(ErrorCode::limit, cat("JPEG with more than ", kMaxJpegScans, " scans: save it as baseline JPEG or PNG"));
    const int n = p.empty() ? 0 : p[0];
    if (n < 1 || n > count_ || p.size() != std::size_t(4 + 2 * n)) return bad("misshapen scan header");
    std::int64_t in_unit = 0;
    const bool dc = p[std::size_t(1 + 2 * n)] == 0, first = dc && p[std::size_t(3 + 2 * n)] >> 4 == 0;
    std::int64_t blocks = 0;
    for (int i = 0; i < n; ++i) {
      int c = 0;
      while (c < count_ && part_[c].id != p[std::size_t(1 + 2 * i)]) ++c;
      if (c == count_) return bad("scan of an unknown component");
      if (!first && !part_[c].seen) return bad("refinement before the first scan of a component");
      part_[c].seen = true;
      in_unit += part_[c].h * part_[c].v;
      blocks = part_[c].blocks;
    }
    const std::int64_t units = n == 1 ? blocks : units_;
    blocks = n == 1 ? blocks : units_ * in_unit;
    const std::size_t begin = at_;
    std::int64_t restarts = 0;
    for (; at_ < file_.size(); ++at_) {
      if (file_[at_] != 0xFF || at_ + 1 == file_.size() || file_[at_ + 1] == 0) continue;  // 0xFF 0x00 is a data byte
      if (file_[at_ + 1] < 0xD0 || file_[at_ + 1] > 0xD7) break;
      ++restarts;
    }
    // The least that a complete scan can hold: two bits per baseline block (a DC and an AC code), one per block of a progressive DC scan. Less means
    // that the data were cut and an end marker was put behind them; so do missing restart markers.
    const std::int64_t bits = progressive_ ? (dc ? blocks : 0) : 2 * blocks;
    if (std::int64_t(at_ - begin) < bits / 8) return Error(ErrorCode::bad_file, cat("JPEG is incomplete: ", at_ - begin, " bytes of data cannot hold ", width_, "x", height_, " pixels"));
    if (restart_ && restarts != (units - 1) / restart_)
      return Error(ErrorCode::bad_file, cat("JPEG is incomplete: ", restarts, " restart markers instead of ", (units - 1) / restart_));
    return {};
  }

  std::span<const std::uint8_t> file_;
  DecodeLimits limits_;
  std::size_t at_ = 2;
  std::int64_t width_ = 0, height_ = 0, units_ = 0, restart_ = 0;
  int count_ = 0, scans_ = 0;
  bool progressive_ = false;
  Part part_[3];
};

}  // namespace detail

/// Size and channels (1 or 3) of the decoded image. Error{bad_file}: no end marker, a segment beyond the file, too little data for the size in the header,
/// tables or scans against the standard; Error{limit}: too large, too many scans; Error{unsupported}: CMYK, lossless, arithmetic or 12-bit files.
inline Result<ImageSize> check_jpeg(std::span<const std::uint8_t> file, const DecodeLimits& limits = {}) { return detail::JpegWalk(file, limits).run(); }

}  // namespace sampan::inline SAMPAN_ABI
