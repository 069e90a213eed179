// Frames of a DICOM file as plain voxels: native in both byte orders, RLE; 8, 16 and 32 bits, signed and unsigned, fewer bits stored than allocated, colour.
// Data flow: DicomData -> pixel_format (checked) -> FrameReader -> one frame at a time -> dicom_series.hpp. Source: DICOM PS3.3 C.7.6.3, PS3.5 8.1 and annex G (RLE).
// Out: rows x columns x components in the machine's byte order. Stored bits are cut out of their word and extended by their sign; bits outside (old overlays) vanish.
//   MONOCHROME1 (0 is white) is turned into MONOCHROME2 by reversing the stored range; YBR_FULL becomes RGB (PS3.3 C.7.6.3.1.2).
// Compressed frames (JPEG, JPEG-LS, JPEG 2000) go to a FrameDecoder if the caller has one (dicom_gdcm.hpp); otherwise a clear error.
// Deliberately absent: palettes, subsampled colour, 1-bit frames (segmentations), float pixels: clear errors.
#pragma once
#include "dicom_parse.hpp"

namespace sampan::inline SAMPAN_ABI::medical {

struct PixelFormat {
  std::int64_t rows = 0, columns = 0, frames = 1;
  int samples = 1, allocated = 16, stored = 16, high_bit = 15;
  bool is_signed = false, planar = false, inverted = false, ybr = false;
  VoxelType type = VoxelType::u16;     ///< after the stored bits are cut out
  std::size_t frame_bytes = 0;         ///< of a decoded frame
  std::uint64_t lowest = 0;            ///< reversed range of MONOCHROME1: lowest + highest, modulo the word
  friend bool operator==(const PixelFormat&, const PixelFormat&) = default;
};

/// What decodes one compressed frame: bytes of the frame (all fragments joined) -> frame_bytes in `out`, laid out as a native frame. nullptr: nothing can.
struct FrameDecoder {
  Status (*decode)(void* user, const DicomData& file, const PixelFormat& format, Bytes frame, std::uint8_t* out) = nullptr;
  void* user = nullptr;
};

/// How pixels are compressed, by the transfer syntax.
struct Compression {
  std::string_view end, name;
  bool gdcm = false, lossy = false;    ///< GDCM decodes it; what is decoded is not what was encoded (or may not be)
  std::string_view method = {};        ///< of LossyImageCompressionMethod (PS3.3 C.7.6.1.1.5.1)
};
/// The row of a UID 1.2.840.10008.1.2.4.N (PS3.6 table A-1); unknown numbers get a row without GDCM.
inline Compression compression_of(std::string_view uid) {
  constexpr std::string_view jpeg = "ISO_10918_1", jpeg_ls = "ISO_14495_1", j2k = "ISO_15444_1";
  constexpr Compression rows[] = {{"50", "JPEG baseline", true, true, jpeg}, {"51", "JPEG extended", true, true, jpeg}, {"53", "JPEG spectral selection", true, true, jpeg}, {"55", "JPEG full progression", true, true, jpeg},
                                  {"57", "JPEG lossless", true}, {"70", "JPEG lossless", true}, {"80", "JPEG-LS lossless", true}, {"81", "JPEG-LS near-lossless", true, true, jpeg_ls}, {"90", "JPEG 2000 lossless", true}, {"91", "JPEG 2000", true, true, j2k},
                                  {"92", "JPEG 2000 multi-component"}, {"93", "JPEG 2000 multi-component"}, {"94", "a JPIP reference to pixels elsewhere"}, {"95", "a JPIP reference to pixels elsewhere"},
                                  {"100", "MPEG-2 video"}, {"101", "MPEG-2 video"}, {"102", "H.264 video"}, {"103", "H.264 video"}, {"104", "H.264 video"}, {"105", "H.264 video"}, {"106", "H.264 video"},
                                  {"107", "HEVC video"}, {"108", "HEVC video"}, {"110", "JPEG XL lossless"}, {"111", "JPEG XL"}, {"112", "JPEG XL"}, {"201", "HTJ2K lossless"}, {"202", "HTJ2K lossless"}, {"203", "HTJ2K"}};
  std::string_view end = uid.substr(std::min(uid.size(), std::string_view("1.2.840.10008.1.2.4.").size()));
  end = end.substr(0, end.find('.'));  // 102.1: the same format in fragments
  for (const Compression& r : rows)
    if (r.end == end) return r;
  return {end, "an unknown format"};
}
/// Names the format, its transfer syntax, and what to do about it.
inline Error cannot_decompress(std::string_view uid) {
  const Compression c = compression_of(uid);
  std::string shown(uid.substr(0, 64));
  for (char& ch : shown) ch = (ch >= '0' && ch <= '9') || ch == '.' ? ch : '?';
  return Error(ErrorCode::unsupported, cat("compressed as ", c.name, " (", shown, "), which ", c.gdcm ? "this build cannot decode; decompress it first (gdcmconv --raw IN OUT), or build with -DSAMPAN_GDCM=ON"
                                                                                                      : "neither this program nor GDCM decodes; convert it to explicit VR little endian with another tool first"));
}

/// Sizes and layout, checked against each other and against the limits. Error{bad_file | unsupported | limit}; messages begin with `label`.
inline Result<PixelFormat> pixel_format(const DicomData& d, const std::string& label, const VolumeLimits& limits = {}) {
  const auto refuse = [&](const std::string& what, ErrorCode code = ErrorCode::bad_file) { return Error(code, cat(label, ": ", what)); };
  if (!d.has_pixels) return refuse("holds no pixel data");
  if (d.float_pixels) return refuse("float pixel data", ErrorCode::unsupported);
  PixelFormat f;
  const auto rows = dicom_us(d, tag::rows), columns = dicom_us(d, tag::columns), allocated = dicom_us(d, tag::bits_allocated);
  if (!rows || !columns || !allocated || *rows < 1 || *columns < 1) return refuse("rows, columns or bits allocated are missing or 0");
  f.rows = *rows, f.columns = *columns, f.allocated = *allocated;
  f.samples = dicom_us(d, tag::samples).value_or(1);
  f.stored = dicom_us(d, tag::bits_stored).value_or(f.allocated);
  f.high_bit = dicom_us(d, tag::high_bit).value_or(f.stored - 1);
  f.is_signed = dicom_us(d, tag::pixel_sign).value_or(0) == 1;
  f.planar = dicom_us(d, tag::planar).value_or(0) == 1;
  f.frames = 1;
  if (const auto* e = d.find(tag::frames)) {
    const auto n = dicom_is(e);
    if (!n || *n < 1 || *n > (std::int64_t(1) << 20)) return refuse(cat("number of frames: ", dicom_text(e).substr(0, 20)));
    f.frames = *n;
  }
  if (f.allocated == 1) return refuse("pixels of one bit (a segmentation)", ErrorCode::unsupported);
  if (f.allocated != 8 && f.allocated != 16 && f.allocated != 32) return refuse(cat(f.allocated, " bits allocated; 8, 16 and 32 are read"), ErrorCode::unsupported);
  if (f.stored < 1 || f.stored > f.allocated || f.high_bit < f.stored - 1 || f.high_bit >= f.allocated)
    return refuse(cat(f.stored, " bits stored up to bit ", f.high_bit, " do not fit ", f.allocated, " bits allocated"));
  const std::string photometric = dicom_text(d.find(tag::photometric));
  if (f.samples == 1) {
    if (photometric == "PALETTE COLOR") return refuse("pixels that index a palette", ErrorCode::unsupported);
    if (photometric != "MONOCHROME1" && photometric != "MONOCHROME2") return refuse("photometric interpretation does not fit one sample per pixel");
    f.inverted = photometric == "MONOCHROME1";
  } else if (f.samples == 3) {
    if (f.allocated != 8 || f.is_signed) return refuse("colours of more than 8 bits", ErrorCode::unsupported);
    // Compressed colours are decoded to RGB by their decoder.
    f.ybr = photometric == "YBR_FULL" && d.syntax != TransferSyntax::compressed;
    if (photometric != "RGB" && photometric != "YBR_FULL" && d.syntax != TransferSyntax::compressed) return refuse("colours stored neither as RGB nor as YBR_FULL", ErrorCode::unsupported);
  } else {
    return refuse(cat(f.samples, " samples per pixel; 1 and 3 are read"), ErrorCode::unsupported);
  }
  f.type = f.allocated == 8 ? f.is_signed ? VoxelType::i8 : VoxelType::u8 : f.allocated == 16 ? f.is_signed ? VoxelType::i16 : VoxelType::u16 : f.is_signed ? VoxelType::i32 : VoxelType::u32;
  // Reversing: v -> lowest + highest - v; unsigned 0 + 2^n - 1, signed -2^(n-1) + 2^(n-1) - 1 = -1.
  f.lowest = f.is_signed ? ~std::uint64_t(0) : f.stored == 64 ? ~std::uint64_t(0) : (std::uint64_t(1) << f.stored) - 1;
  SAMPAN_TRY(bytes, volume_bytes({f.columns, f.rows, 1}, f.samples, f.type, limits, label));
  f.frame_bytes = bytes;
  if (!d.encapsulated) {
    const auto all = product(bytes, std::uint64_t(f.frames));
    if (!all || *all > d.pixels.size()) return refuse(cat("its header announces ", f.frames, " frames of ", bytes, " bytes, ", d.pixels.size(), " are there: truncated, or a lying header"));
  }
  if (d.encapsulated && std::uint64_t(f.frames) > d.pixels.size() / 8) return refuse(cat("its header announces ", f.frames, " frames, the file cannot hold that many: truncated, or a lying header"));  // a fragment has a head of 8 bytes
  if (d.syntax == TransferSyntax::rle && bytes > std::uint64_t(d.pixels.size()) * 64)  // two bytes make 128 at most
    return refuse("its header announces more pixels than its compressed data can hold: truncated, or a lying header");
  return f;
}

namespace detail {

/// One plane of `count` bytes, written `step` apart. False if the segment is damaged or too short.
inline bool unpack_bits(Bytes in, std::uint8_t* out, std::size_t count, std::size_t step) {
  std::size_t made = 0;
  for (std::size_t at = 0; made < count && at < in.size();) {
    const std::uint8_t n = in[at++];
    if (n < 128) {
      if (std::size_t(n) + 1 > in.size() - at) return false;
      for (std::size_t i = 0; i <= n && made < count; ++i) out[step * made++] = in[at + i];
      at += std::size_t(n) + 1;
    } else if (n > 128) {
      if (at == in.size()) return false;
      for (std::size_t i = 0; i < std::size_t(257 - n) && made < count; ++i) out[step * made++] = in[at];
      ++at;
    }
  }
  return made == count;
}

inline std::uint32_t le32(Bytes b, std::size_t at) { return b[at] | std::uint32_t(b[at + 1]) << 8 | std::uint32_t(b[at + 2]) << 16 | std::uint32_t(b[at + 3]) << 24; }

/// Cuts out stored bits, extends the sign, reverses MONOCHROME1.
template <class T>
void finish_samples(std::uint8_t* p, std::size_t count, const PixelFormat& f) {
  using U = std::make_unsigned_t<T>;
  const int width = int(sizeof(T)) * 8, shift = f.high_bit + 1 - f.stored;
  const U mask = f.stored == width ? U(~U(0)) : U((U(1) << f.stored) - 1), sign = U(U(1) << (f.stored - 1));
  if (f.stored == width && !f.inverted) return;
  for (std::size_t i = 0; i < count; ++i, p += sizeof(T)) {
    U v;
    std::memcpy(&v, p, sizeof v);
    v = U(U(v >> shift) & mask);
    if (f.is_signed && (v & sign)) v = U(v | U(~mask));
    if (f.inverted) v = U(U(f.lowest) - v);
    std::memcpy(p, &v, sizeof v);
  }
}

}  // namespace detail

/// Decodes frames of one file. The file outlives it.
class FrameReader {
 public:
  static Result<FrameReader> make(const DicomData& d, const PixelFormat& f, std::string label, FrameDecoder decoder = {}) {
    FrameReader r(d, f, std::move(label), decoder);
    if (d.syntax == TransferSyntax::compressed && !decoder.decode) return cannot_decompress(d.syntax_uid).at(r.label_);
    if (d.encapsulated) SAMPAN_CHECK(r.find_fragments());
    return r;
  }

  /// Frame n (from 0) into format.frame_bytes bytes.
  Status read(std::int64_t n, std::uint8_t* out) const {
    const std::size_t pixels = std::size_t(f_.rows * f_.columns), width = size_of(f_.type);
    if (!d_->encapsulated) {
      std::memcpy(out, d_->pixels.data() + std::size_t(n) * f_.frame_bytes, f_.frame_bytes);
      if (d_->big && width > 1) swap_bytes(out, f_.frame_bytes / width, width);
      if (d_->big && width == 1 && d_->pixel_words) {
        const std::size_t at = std::size_t(n) * f_.frame_bytes;
        for (std::size_t i = 0; i < f_.frame_bytes; ++i)
          if (const std::size_t pair = (at + i) ^ 1u; pair < d_->pixels.size()) out[i] = d_->pixels[pair];
      }
      if (f_.samples > 1 && f_.planar) interleave(out, pixels);
    } else {
      SAMPAN_TRY(frame, frame_bytes(n));
      if (d_->syntax == TransferSyntax::rle) SAMPAN_CHECK(read_rle(Bytes(frame), out, n));
      else if (Status s = decoder_.decode(decoder_.user, *d_, f_, Bytes(frame), out); !s) return std::move(s).error().at(label_);
    }
    if (f_.samples > 1) {
      if (f_.ybr) to_rgb(out, pixels);
    } else if (width == 1) {
      detail::finish_samples<std::uint8_t>(out, pixels, f_);
    } else if (width == 2) {
      detail::finish_samples<std::uint16_t>(out, pixels, f_);
    } else {
      detail::finish_samples<std::uint32_t>(out, pixels, f_);
    }
    return {};
  }

  /// Planes to pixels, YBR_FULL to RGB, in place.
  static void interleave(std::uint8_t* p, std::size_t pixels) {
    const std::vector<std::uint8_t> planes(p, p + 3 * pixels);
    for (std::size_t i = 0; i < pixels; ++i)
      for (std::size_t c = 0; c < 3; ++c) p[3 * i + c] = planes[c * pixels + i];
  }
  static void to_rgb(std::uint8_t* p, std::size_t pixels) {
    const auto clip = [](double v) { return std::uint8_t(v < 0 ? 0 : v > 255 ? 255 : std::lround(v)); };
    for (std::size_t i = 0; i < pixels; ++i, p += 3) {
      const double y = p[0], b = p[1] - 128.0, r = p[2] - 128.0;
      p[0] = clip(y + 1.402 * r), p[1] = clip(y - 0.344136 * b - 0.714136 * r), p[2] = clip(y + 1.772 * b);
    }
  }

 private:
  FrameReader(const DicomData& d, const PixelFormat& f, std::string label, FrameDecoder decoder) : d_(&d), f_(f), label_(std::move(label)), decoder_(decoder) {}
  Error refuse(std::string_view what) const { return Error(ErrorCode::bad_file, cat(label_, ": pixel data: ", what)); }

  /// Items up to the sequence delimiter; which of them belong to which frame.
  Status find_fragments() {
    const Bytes b = d_->pixels;
    std::vector<std::size_t> starts;  // offset of each fragment's item from the first fragment's item
    std::size_t at = 0, base = 0;
    bool table = true;
    Bytes offsets;
    for (;;) {
      if (b.size() - at < 8) return refuse("a fragment needs 8 bytes: truncated");
      const std::uint32_t t = detail::le32(b, at), length = detail::le32(b, at + 4);
      if (t == 0xE0DDFFFE) break;
      if (t != 0xE000FFFE) return refuse("something else than a fragment");
      if (length > b.size() - at - 8) return refuse(cat("a fragment of ", length, " bytes, ", b.size() - at - 8, " are left: truncated, or a lying length"));
      if (table) {
        offsets = b.subspan(at + 8, length);
        base = at + 8 + length;
        table = false;
      } else {
        if (fragments_.size() >= (std::size_t(1) << 22)) return refuse("too many fragments");
        starts.push_back(at - base);
        fragments_.push_back(b.subspan(at + 8, length));
      }
      at += 8 + std::size_t(length);
    }
    const std::size_t frames = std::size_t(f_.frames);
    if (fragments_.size() == frames) {
      for (std::size_t i = 0; i <= frames; ++i) first_.push_back(i);
    } else if (frames == 1 && !fragments_.empty()) {
      first_ = {0, fragments_.size()};
    } else if (offsets.size() == 4 * frames && !fragments_.empty()) {
      for (std::size_t i = 0; i < frames; ++i) {
        const auto it = std::lower_bound(starts.begin(), starts.end(), std::size_t(detail::le32(offsets, 4 * i)));
        if (it == starts.end() || *it != detail::le32(offsets, 4 * i)) return refuse("its offset table points to no fragment");
        first_.push_back(std::size_t(it - starts.begin()));
        if (i > 0 && first_[i] <= first_[i - 1]) return refuse("its offset table is not in order");
      }
      first_.push_back(fragments_.size());
    } else {
      return refuse(cat(fragments_.size(), " fragments for ", frames, " frames, and no offset table that says which belong together"));
    }
    return {};
  }
  /// A frame's fragments, joined if there are several.
  Result<std::vector<std::uint8_t>> frame_bytes(std::int64_t n) const {
    std::vector<std::uint8_t> out;
    for (std::size_t i = first_[std::size_t(n)]; i < first_[std::size_t(n) + 1]; ++i) out.insert(out.end(), fragments_[i].begin(), fragments_[i].end());
    return out;
  }

  /// A header of 16 numbers, then one segment per sample and byte, the most significant byte first.
  Status read_rle(Bytes frame, std::uint8_t* out, std::int64_t n) const {
    const std::size_t width = size_of(f_.type), segments = std::size_t(f_.samples) * width, pixels = std::size_t(f_.rows * f_.columns);
    if (frame.size() < 64 || detail::le32(frame, 0) != segments) return refuse(cat("frame ", n, ": an RLE header with ", segments, " segments is needed"));
    for (std::size_t s = 0; s < segments; ++s) {
      const std::size_t begin = detail::le32(frame, 4 + 4 * s), end = s + 1 < segments ? detail::le32(frame, 8 + 4 * s) : frame.size();
      if (begin < 64 || begin > end || end > frame.size()) return refuse(cat("frame ", n, ": RLE segment ", s, " lies outside the frame"));
      const std::size_t sample = s / width, byte = width - 1 - s % width;
      if (!detail::unpack_bits(frame.subspan(begin, end - begin), out + sample * width + byte, pixels, std::size_t(f_.samples) * width)) return refuse(cat("frame ", n, ": RLE segment ", s, " is damaged or too short"));
    }
    return {};
  }

  const DicomData* d_;
  PixelFormat f_;
  std::string label_;
  FrameDecoder decoder_;
  std::vector<Bytes> fragments_;
  std::vector<std::size_t> first_;  // index of each frame's first fragment, and one past the last
};

}  // namespace sampan::inline SAMPAN_ABI::medical
