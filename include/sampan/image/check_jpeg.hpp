// Is this a whole JPEG of bearable size, with every block of its image, and with tables that stb_image can hold? stb reads a cut file as if zeros followed
// (grey below the cut), takes a header's word for any size, and its releases before 2.28 write past their tables when a Huffman table announces more than 256 codes.
// Data flow: image/codec_stb.hpp calls it before stb_image decodes. Source: ITU-T T.81 annex B (markers, headers), F.1, G.1; scans: image/jpeg_entropy.hpp.
// Cost: one walk over the entropy-coded data; of stb's decoding time 5 to 14% for a baseline photograph, 10 to 29% for a progressive one, a third for pure noise.
// 45 KiB of heap, and one bit per coefficient of a progressive file.
// Deliberately absent: the pixels. JPEG has no checksum: flipped bits inside a complete file stay a damaged picture, as in every decoder; and a progressive
// file whose last scans are missing as a whole is a legal, coarser picture.
#pragma once
#include <sampan/image/check_png.hpp>
#include <sampan/image/jpeg_entropy.hpp>

#include <memory>
#include <new>

namespace sampan::inline SAMPAN_ABI {

/// Largest number of scans. Encoders write about ten; each costs a pass over all blocks, and a scan of a few bytes can ask for it.
inline constexpr int kMaxJpegScans = 64;
/// Most blocks that refinement scans may visit, together. stb looks at each of 63 coefficients there; a 170-megapixel colour photograph needs a third of this.
inline constexpr std::int64_t kMaxJpegRefinements = std::int64_t(1) << 25;

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
    std::int64_t blocks = 0;                            // when it is alone in a scan
    std::unique_ptr<std::uint64_t[]> nonzero = nullptr;  // of each block, for progressive AC scans
  };
  /// A component of a scan with its tables.
  struct Member {
    Part* part = nullptr;
    const JpegCode *dc = nullptr, *ac = nullptr;
    int blocks = 1;  // per unit
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
      part_[c] = {p[std::size_t(6 + 3 * c)], p[std::size_t(7 + 3 * c)] >> 4, p[std::size_t(7 + 3 * c)] & 15};
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

  Status huffman_tables(std::span<const std::uint8_t> p) {
    while (!p.empty()) {
      if (p.size() < 17) return bad("misshapen Huffman table");
      std::size_t codes = 0;
      for (std::size_t i = 1; i <= 16; ++i) codes += p[i];
      if (codes > 256 || p.size() < 17 + codes) return bad("Huffman table with too many codes");
      if (p[0] >> 4 > 1 || (p[0] & 15) > 3) return bad("Huffman table of unknown kind");
      if (!code_[p[0] >> 4][p[0] & 3].build(p.data() + 1, p.data() + 17)) return bad("Huffman table with impossible lengths");
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
    const std::uint8_t* last = p.data() + 1 + 2 * n;
    JpegPass pass{progressive_, last[0], progressive_ ? last[1] : 63, last[2] >> 4 != 0};
    if (pass.begin > pass.end || pass.end > 63 || (!progressive_ && (pass.begin || last[2]))) return bad("impossible coefficients in a scan header");
    if (progressive_ && (pass.begin ? n > 1 : pass.end > 0)) return bad("scan that mixes what progressive files keep apart");
    Member members[3];
    for (int i = 0; i < n; ++i) {
      const std::uint8_t id = p[std::size_t(1 + 2 * i)], tables = p[std::size_t(2 + 2 * i)];
      int c = 0;
      while (c < count_ && part_[c].id != id) ++c;
      if (c == count_) return bad("scan of an unknown component");
      if (tables >> 4 > 3 || (tables & 15) > 3) return bad("scan with an unknown Huffman table");
      Part& part = part_[c];
      if ((pass.begin || pass.refine) && !part.seen) return bad("refinement before the first scan of a component");
      part.seen = true;
      members[i] = {&part, &code_[0][tables >> 4], &code_[1][tables & 3], n == 1 ? 1 : part.h * part.v};
    }
    if (pass.begin && !members[0].part->nonzero) {
      members[0].part->nonzero.reset(new (std::nothrow) std::uint64_t[std::size_t(members[0].part->blocks)]());
      if (!members[0].part->nonzero) return Error(ErrorCode::out_of_memory, cat("no memory to check ", width_, "x", height_, " pixels"));
    }
    if (pass.begin && pass.refine && (refinements_ += members[0].part->blocks) > kMaxJpegRefinements)
      return Error(ErrorCode::limit, cat("JPEG whose refinement scans visit more than ", kMaxJpegRefinements, " blocks: save it as baseline JPEG or PNG"));
    SAMPAN_CHECK(walk({members, std::size_t(n)}, pass, n == 1 ? members[0].part->blocks : units_));
    for (; at_ < file_.size(); ++at_) {
      if (file_[at_] != 0xFF || at_ + 1 == file_.size() || file_[at_ + 1] == 0) continue;  // 0xFF 0x00 is a data byte
      if (file_[at_ + 1] >= 0xD0 && file_[at_ + 1] <= 0xD7) return bad("restart marker behind the last interval");
      break;
    }
    return {};
  }

  /// Every block of every unit must be there, and every interval must end at its restart marker.
  Status walk(std::span<const Member> members, const JpegPass& pass, std::int64_t units) {
    JpegBits bits(file_.subspan(at_));
    std::int64_t left = restart_ ? restart_ : units;  // of this interval
    int number = 0, eob_run = 0;
    for (std::int64_t unit = 0; unit < units; ++unit, --left) {
      const char* wrong = nullptr;
      if (left == 0) {
        if (!bits.restart(number)) wrong = "restart marker missing";
        left = restart_, number = (number + 1) & 7, eob_run = 0;
      }
      if (eob_run > 1 && !pass.refine) {  // blocks without codes of their own: a few bytes can stand for a whole scan
        const std::int64_t rest = left < units - unit ? left : units - unit, jump = (eob_run < rest ? eob_run : rest) - 1;
        unit += jump, left -= jump, eob_run -= int(jump);
      }
      for (const Member& m : members)
        for (int b = 0; b < m.blocks; ++b)
          if (!wrong && !block(bits, m, pass, unit, eob_run)) wrong = "impossible code";
      if (!wrong && !bits.over()) continue;
      at_ = std::size_t(bits.at() - file_.data());
      if (bits.over()) return Error(ErrorCode::bad_file, cat("JPEG is incomplete: its data end at byte ", at_, ", with ", unit, " of ", units, " blocks of ", width_, "x", height_, " pixels"));
      return bad(wrong);
    }
    at_ = std::size_t(bits.at() - file_.data());
    return {};
  }

  bool block(JpegBits& bits, const Member& m, const JpegPass& pass, std::int64_t unit, int& eob_run) const {
    if (pass.begin) return skip_progressive(bits, *m.ac, pass, m.part->nonzero[std::size_t(unit)], eob_run);
    if (pass.refine) return bits.skip(1), true;
    const int size = m.dc->symbol(bits);
    if (size < 0 || size > 15) return false;
    bits.drop(size);
    return pass.progressive || m.ac->skip_block(bits);
  }

  std::span<const std::uint8_t> file_;
  DecodeLimits limits_;
  std::size_t at_ = 2;
  std::int64_t width_ = 0, height_ = 0, units_ = 0, restart_ = 0, refinements_ = 0;
  int count_ = 0, scans_ = 0;
  bool progressive_ = false;
  Part part_[3];
  JpegCode code_[2][4];  // DC and AC
};

}  // namespace detail

/// Size and channels (1 or 3) of the decoded image. Error{bad_file}: no end marker, a segment beyond the file, blocks or restart markers missing,
/// codes, tables or scans against the standard; Error{limit}: too large, too many scans; Error{unsupported}: CMYK, lossless, arithmetic or 12-bit files.
inline Result<ImageSize> check_jpeg(std::span<const std::uint8_t> file, const DecodeLimits& limits = {}) {
  const std::unique_ptr<detail::JpegWalk> walk(new (std::nothrow) detail::JpegWalk(file, limits));  // too large for a small thread's stack
  if (!walk) return Error(ErrorCode::out_of_memory, "no memory to check a JPEG");
  return walk->run();
}

}  // namespace sampan::inline SAMPAN_ABI
