// DicomData: the elements of one DICOM file that place and describe its pixels, and where the pixels lie. A parser of our own, bounded in every direction.
// Data flow: file bytes -> parse_dicom -> DicomData -> dicom_pixels.hpp (frames), dicom_series.hpp (volume). Source: DICOM PS3.5 sections 7 and 8, PS3.10 section 7.
// Transfer syntaxes: implicit and explicit little endian, explicit big endian, deflated; encapsulated ones are parsed, who can decode them is another matter.
// Kept: the tags of kWanted, at the top level and inside the functional groups of multi-frame files (kSequences). Everything else (patient, private tags, other
//   sequences, overlays) is stepped over by its length and never copied. Values are views into the file.
// Bounded: elements, items, depth of nesting, inflated size (DicomLimits). Cost: one pass over the element headers.
// Deliberately absent: files without the DICM prefix, character sets, writing (dicom_seg.hpp).
#pragma once
#include "byte_stream.hpp"

#include <charconv>

namespace sampan::inline SAMPAN_ABI::medical {

struct DicomLimits {
  std::size_t max_elements = 1'000'000;  ///< that are looked at, in all levels together
  int max_depth = 16;                    ///< of sequences inside items; real files need 6
  std::uint64_t max_bytes = std::uint64_t(8) << 30;  ///< of a deflated data set
};

constexpr std::uint32_t dicom_tag(std::uint32_t group, std::uint32_t element) { return group << 16 | element; }

namespace tag {
inline constexpr std::uint32_t transfer_syntax = dicom_tag(0x0002, 0x0010), character_set = dicom_tag(0x0008, 0x0005), sop_class = dicom_tag(0x0008, 0x0016), sop_instance = dicom_tag(0x0008, 0x0018), modality = dicom_tag(0x0008, 0x0060),
                               patient_name = dicom_tag(0x0010, 0x0010), patient_id = dicom_tag(0x0010, 0x0020), patient_birth = dicom_tag(0x0010, 0x0030), patient_sex = dicom_tag(0x0010, 0x0040),
                               study_date = dicom_tag(0x0008, 0x0020), study_time = dicom_tag(0x0008, 0x0030), accession = dicom_tag(0x0008, 0x0050), referring = dicom_tag(0x0008, 0x0090),
                               study_id = dicom_tag(0x0020, 0x0010), slice_thickness = dicom_tag(0x0018, 0x0050), slice_spacing = dicom_tag(0x0018, 0x0088), imager_spacing = dicom_tag(0x0018, 0x1164),
                               echo = dicom_tag(0x0018, 0x0086), study = dicom_tag(0x0020, 0x000D), series = dicom_tag(0x0020, 0x000E), series_number = dicom_tag(0x0020, 0x0011),
                               acquisition = dicom_tag(0x0020, 0x0012), instance_number = dicom_tag(0x0020, 0x0013), position = dicom_tag(0x0020, 0x0032), orientation = dicom_tag(0x0020, 0x0037),
                               frame_of_reference = dicom_tag(0x0020, 0x0052), temporal = dicom_tag(0x0020, 0x0100), samples = dicom_tag(0x0028, 0x0002), photometric = dicom_tag(0x0028, 0x0004),
                               planar = dicom_tag(0x0028, 0x0006), frames = dicom_tag(0x0028, 0x0008), rows = dicom_tag(0x0028, 0x0010), columns = dicom_tag(0x0028, 0x0011), pixel_spacing = dicom_tag(0x0028, 0x0030),
                               bits_allocated = dicom_tag(0x0028, 0x0100), bits_stored = dicom_tag(0x0028, 0x0101), high_bit = dicom_tag(0x0028, 0x0102), pixel_sign = dicom_tag(0x0028, 0x0103),
                               window_center = dicom_tag(0x0028, 0x1050), window_width = dicom_tag(0x0028, 0x1051), intercept = dicom_tag(0x0028, 0x1052), slope = dicom_tag(0x0028, 0x1053),
                               modality_lut = dicom_tag(0x0028, 0x3000), lossy = dicom_tag(0x0028, 0x2110), lossy_ratio = dicom_tag(0x0028, 0x2112),
                               lossy_method = dicom_tag(0x0028, 0x2114), frame_offsets = dicom_tag(0x3004, 0x000C), pixel_measures = dicom_tag(0x0028, 0x9110), frame_window = dicom_tag(0x0028, 0x9132),
                               pixel_values = dicom_tag(0x0028, 0x9145), plane_position = dicom_tag(0x0020, 0x9113), plane_orientation = dicom_tag(0x0020, 0x9116), shared_groups = dicom_tag(0x5200, 0x9229),
                               frame_groups = dicom_tag(0x5200, 0x9230), float_pixels = dicom_tag(0x7FE0, 0x0008), double_pixels = dicom_tag(0x7FE0, 0x0009), pixels = dicom_tag(0x7FE0, 0x0010), item = 0xFFFEE000,
                               item_end = 0xFFFEE00D, sequence_end = 0xFFFEE0DD;
}  // namespace tag

/// Sequences that are opened; in implicit VR a sequence of known length cannot be told from a value otherwise.
inline constexpr std::uint32_t kSequences[] = {tag::pixel_measures, tag::frame_window, tag::pixel_values, tag::plane_position, tag::plane_orientation, tag::shared_groups, tag::frame_groups};
/// Values that are kept.
inline constexpr std::uint32_t kWanted[] = {tag::sop_class,       tag::sop_instance, tag::modality,      tag::patient_name,   tag::patient_id,    tag::patient_birth,      tag::patient_sex,     tag::study_date,
                                            tag::study_time,      tag::accession,    tag::referring,     tag::study_id,       tag::slice_thickness, tag::slice_spacing,    tag::imager_spacing,  tag::echo,
                                            tag::study,           tag::series,       tag::series_number, tag::acquisition,    tag::instance_number, tag::position,         tag::orientation,     tag::frame_of_reference,
                                            tag::temporal,        tag::samples,      tag::photometric,   tag::planar,         tag::frames,        tag::rows,               tag::columns,         tag::pixel_spacing,
                                            tag::bits_allocated,  tag::bits_stored,  tag::high_bit,      tag::pixel_sign,     tag::window_center, tag::window_width,       tag::intercept,       tag::slope,
                                            tag::frame_offsets,   tag::character_set, tag::lossy,        tag::lossy_ratio,    tag::lossy_method};

struct DicomElement {
  std::uint32_t tag = 0;
  Bytes value;
};
/// Elements of one item, its opened sequences flattened into it (each of them has one item, but for frame_groups).
struct DicomItem {
  std::vector<DicomElement> elements;
  const DicomElement* find(std::uint32_t t) const {
    for (const auto& e : elements)
      if (e.tag == t) return &e;
    return nullptr;
  }
};

enum class TransferSyntax { implicit_little, explicit_little, explicit_big, deflated, rle, compressed };

struct DicomData {
  MappedFile file;                    ///< keeps the views alive; empty if the caller keeps the bytes
  std::vector<std::uint8_t> inflated; ///< of a deflated file
  TransferSyntax syntax = TransferSyntax::explicit_little;
  std::string syntax_uid;
  bool big = false;                   ///< numbers in values
  DicomItem top, shared;
  std::vector<DicomItem> per_frame;
  Bytes pixels;                       ///< native: the value; encapsulated: all fragments with their headers
  bool has_pixels = false, encapsulated = false, float_pixels = false, modality_lut = false;
  bool pixel_words = false;           ///< OW: in big endian files even 8-bit pixels lie in words of two bytes, swapped

  const DicomElement* find(std::uint32_t t) const { return top.find(t); }
  /// The value in the frame's own group, else in the shared one, else at the top.
  const DicomElement* find(std::uint32_t t, std::size_t frame) const {
    if (frame < per_frame.size())
      if (const auto* e = per_frame[frame].find(t)) return e;
    if (const auto* e = shared.find(t)) return e;
    return top.find(t);
  }
};

/// The text of a value, padding cut off (blanks, and the zero byte of UIDs). Empty without an element.
inline std::string_view dicom_view(const DicomElement* e) {
  if (!e) return {};
  std::string_view s = as_text(e->value);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\0')) s.remove_suffix(1);
  while (!s.empty() && s.front() == ' ') s.remove_prefix(1);
  return s;
}
/// The same as an owned text of at most 1024 bytes.
inline std::string dicom_text(const DicomElement* e) { return std::string(dicom_view(e).substr(0, 1024)); }
/// Decimal strings "1.5\-2\3e-1"; false for anything else or another count.
inline bool dicom_decimals(const DicomElement* e, double* out, std::size_t count) {
  const std::string_view s = dicom_view(e);
  std::size_t at = 0;
  for (std::size_t n = 0; n < count; ++n) {
    while (at < s.size() && (s[at] == ' ' || s[at] == '+')) ++at;
    const auto r = std::from_chars(s.data() + at, s.data() + s.size(), out[n]);
    if (r.ec != std::errc() || !finite(out[n])) return false;
    at = std::size_t(r.ptr - s.data());
    while (at < s.size() && s[at] == ' ') ++at;
    if (n + 1 < count) {
      if (at >= s.size() || s[at] != '\\') return false;
      ++at;
    }
  }
  return at == s.size() || s[at] == '\\';  // more values may follow (windows)
}
/// A whole number: unsigned short (US) in the file's byte order.
inline std::optional<int> dicom_us(const DicomData& d, std::uint32_t t) {
  const auto* e = d.find(t);
  if (!e || e->value.size() < 2) return std::nullopt;
  return d.big ? e->value[0] << 8 | e->value[1] : e->value[1] << 8 | e->value[0];
}
/// A whole number written as text (IS); `missing` without one.
inline std::optional<std::int64_t> dicom_is(const DicomElement* e) {
  double v = 0;
  if (!dicom_decimals(e, &v, 1) || v != std::floor(v) || std::abs(v) > 0x1p31) return std::nullopt;
  return static_cast<std::int64_t>(v);
}

namespace detail {

class DicomParser {
 public:
  DicomParser(DicomData& out, const std::string& label, const DicomLimits& limits) : d_(out), label_(label), limits_(limits) {}

  Status file(Bytes bytes) {
    if (bytes.size() < 132 || as_text(bytes.subspan(128, 4)) != "DICM") return Error(ErrorCode::bad_file, cat(label_, ": not a DICOM file: no DICM at byte 128"));
    b_ = bytes;
    at_ = 132;
    // File meta information: group 0002, always explicit little endian.
    while (b_.size() - at_ >= 8 && u16(at_, false) == 0x0002) {
      SAMPAN_TRY(h, header(true, false));
      if (h.length == kUndefined) return refuse("undefined length in the file meta information");
      SAMPAN_CHECK(fits(h));
      if (h.tag == tag::transfer_syntax) {
        const DicomElement e{h.tag, b_.subspan(at_, h.length)};
        d_.syntax_uid = dicom_text(&e);
      }
      at_ += h.length;
    }
    const std::string& uid = d_.syntax_uid;
    bool explicit_vr = true;
    if (uid == "1.2.840.10008.1.2") d_.syntax = TransferSyntax::implicit_little, explicit_vr = false;
    else if (uid == "1.2.840.10008.1.2.1") d_.syntax = TransferSyntax::explicit_little;
    else if (uid == "1.2.840.10008.1.2.2") d_.syntax = TransferSyntax::explicit_big, d_.big = true;
    else if (uid == "1.2.840.10008.1.2.1.99") d_.syntax = TransferSyntax::deflated;
    else if (uid == "1.2.840.10008.1.2.5") d_.syntax = TransferSyntax::rle;
    else if (uid.rfind("1.2.840.10008.1.2.4.", 0) == 0) d_.syntax = TransferSyntax::compressed;
    else return Error(uid.empty() ? ErrorCode::bad_file : ErrorCode::unsupported, cat(label_, ": ", uid.empty() ? "its file meta information names no transfer syntax" : cat("unknown transfer syntax ", one_line(uid), "; convert it to explicit VR little endian first")));
    if (d_.syntax == TransferSyntax::deflated) SAMPAN_CHECK(inflate_rest());
    return data_set(d_.top, b_.size(), explicit_vr, 0, Level::top);
  }

 private:
  static constexpr std::uint32_t kUndefined = 0xFFFFFFFFu;
  enum class Level { top, group, skip };
  struct Header {
    std::uint32_t tag = 0, length = 0;
    bool sequence = false, unknown = false, words = false;  ///< VR SQ; UN; OW
  };

  static std::string one_line(const std::string& s) {
    std::string out = s.substr(0, 64);
    for (char& c : out)
      if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) > 0x7e) c = '?';
    return out;
  }
  Error refuse(std::string_view what, ErrorCode code = ErrorCode::bad_file) const { return Error(code, cat(label_, ": byte ", at_, d_.inflated.empty() ? "" : " of the inflated data", ": ", what)); }
  std::uint32_t u16(std::size_t at, bool big) const { return big ? std::uint32_t(b_[at]) << 8 | b_[at + 1] : std::uint32_t(b_[at + 1]) << 8 | b_[at]; }
  std::uint32_t u32(std::size_t at, bool big) const { return big ? u16(at, true) << 16 | u16(at + 2, true) : u16(at + 2, false) << 16 | u16(at, false); }
  Status fits(const Header& h) const {
    if (h.length > b_.size() - at_) return refuse(cat("element ", tag_text(h.tag), " of ", h.length, " bytes, ", b_.size() - at_, " are left: truncated, or a lying length"));
    return {};
  }
  static std::string tag_text(std::uint32_t t) {
    std::string s = "(0000,0000)";
    for (int i = 0; i < 8; ++i) s[std::size_t(i < 4 ? 1 + i : 2 + i)] = "0123456789ABCDEF"[t >> (28 - 4 * i) & 15];
    return s;
  }

  /// Tag, VR and length; at_ is moved to the value.
  Result<Header> header(bool explicit_vr, bool big) {
    if (++elements_ > limits_.max_elements) return refuse(cat("more than ", limits_.max_elements, " elements"), ErrorCode::limit);
    if (b_.size() - at_ < 8) return refuse("an element needs 8 bytes: truncated");
    Header h;
    h.tag = u16(at_, big) << 16 | u16(at_ + 2, big);
    if (!explicit_vr || (h.tag >> 16) == 0xFFFE) {
      h.length = u32(at_ + 4, big);
      at_ += 8;
      return h;
    }
    const std::string_view vr = as_text(b_.subspan(at_ + 4, 2));
    for (const char c : vr)
      if (c < 'A' || c > 'Z') return refuse(cat("element ", tag_text(h.tag), " has no value representation: the transfer syntax lies, or the file is damaged"));
    constexpr std::string_view long_forms = "OB OD OF OL OV OW SQ SV UC UN UR UT UV";
    const bool wide = long_forms.find(vr) % 3 == 0 && long_forms.find(vr) != std::string_view::npos;
    h.sequence = vr == "SQ";
    h.unknown = vr == "UN";
    h.words = vr == "OW";
    if (!wide) {
      h.length = u16(at_ + 6, big);
      at_ += 8;
      return h;
    }
    if (b_.size() - at_ < 12) return refuse("an element needs 12 bytes: truncated");
    h.length = u32(at_ + 8, big);
    at_ += 12;
    return h;
  }

  /// Elements up to `end` (or, inside an item of undefined length, to its delimiter).
  Status data_set(DicomItem& into, std::size_t end, bool explicit_vr, int depth, Level level, bool delimited = false) {
    if (depth > limits_.max_depth) return refuse(cat("sequences nested deeper than ", limits_.max_depth, " levels"), ErrorCode::limit);
    while (at_ < end) {
      if (level == Level::top && end - at_ < 8 && all_zero(end)) break;  // padding behind the last element
      SAMPAN_TRY(h, header(explicit_vr, d_.big));
      if (at_ > end) return refuse("an element reaches beyond its item");
      if (h.tag == tag::item_end) {
        if (!delimited) return refuse("the end of an item where none is open");
        return {};
      }
      if (h.tag == tag::item || h.tag == tag::sequence_end) return refuse("an item where none may be");
      if (level == Level::top && (h.tag == tag::pixels || h.tag == tag::float_pixels || h.tag == tag::double_pixels)) {
        d_.has_pixels = true;
        d_.float_pixels = h.tag != tag::pixels;
        d_.pixel_words = h.words;
        d_.encapsulated = h.length == kUndefined;
        if (d_.encapsulated != (d_.syntax == TransferSyntax::rle || d_.syntax == TransferSyntax::compressed)) return refuse("pixel data that do not fit the transfer syntax: of undefined length only if they are compressed");
        if (!d_.encapsulated) SAMPAN_CHECK(fits(h));
        d_.pixels = d_.encapsulated ? b_.subspan(at_) : b_.subspan(at_, h.length);
        return {};  // what may follow describes no pixel
      }
      const bool opened = level != Level::skip && std::find(std::begin(kSequences), std::end(kSequences), h.tag) != std::end(kSequences);
      if (h.length == kUndefined) {
        // UN of undefined length is a sequence in implicit VR (PS3.5 6.2.2, note); everything else must be a sequence as well.
        SAMPAN_CHECK(sequence(into, h.tag, kUndefined, end, explicit_vr && !h.unknown, depth, opened ? level : Level::skip));
        continue;
      }
      if (h.length > end - at_) {
        SAMPAN_CHECK(fits(h));
        return refuse(cat("element ", tag_text(h.tag), " reaches beyond its item"));
      }
      if (opened && (h.sequence || !explicit_vr)) {
        SAMPAN_CHECK(sequence(into, h.tag, h.length, end, explicit_vr, depth, level));
        continue;
      }
      if (level == Level::top && h.tag == tag::modality_lut && h.length > 0) d_.modality_lut = true;
      if (level != Level::skip && std::find(std::begin(kWanted), std::end(kWanted), h.tag) != std::end(kWanted)) {
        const bool again = into.find(h.tag) != nullptr;
        if (level == Level::top && again) return refuse(cat("element ", tag_text(h.tag), " appears twice"));
        if (!again) into.elements.push_back({h.tag, b_.subspan(at_, h.length)});  // a million of them in a group would make every look-up long
      }
      at_ += h.length;
    }
    if (delimited) return refuse("an item without its end: truncated");
    return {};
  }
  bool all_zero(std::size_t end) const {
    return std::all_of(b_.begin() + static_cast<std::ptrdiff_t>(at_), b_.begin() + static_cast<std::ptrdiff_t>(end), [](std::uint8_t v) { return v == 0; });
  }

  /// Items of a sequence. Level::skip walks over them; else the elements of the items are kept where they belong.
  Status sequence(DicomItem& into, std::uint32_t t, std::uint32_t length, std::size_t outer_end, bool explicit_vr, int depth, Level level) {
    const bool delimited = length == kUndefined;
    const std::size_t end = delimited ? outer_end : at_ + length;
    std::size_t count = 0;
    while (at_ < end) {
      SAMPAN_TRY(h, header(explicit_vr, d_.big));
      if (at_ > end) return refuse("an item reaches beyond its sequence");
      if (delimited && h.tag == tag::sequence_end) return {};
      if (h.tag != tag::item) return refuse(cat("element ", tag_text(h.tag), " where an item of ", tag_text(t), " is needed"));
      if (h.length != kUndefined && h.length > end - at_) return refuse("an item reaches beyond its sequence");
      DicomItem unused;
      DicomItem* target = &unused;
      if (level != Level::skip) {
        if (t == tag::frame_groups) {
          if (level != Level::top) return refuse("functional groups inside functional groups");
          d_.per_frame.emplace_back();
          target = &d_.per_frame.back();
        } else if (t == tag::shared_groups) {
          target = count == 0 && level == Level::top ? &d_.shared : &unused;
        } else {
          target = count == 0 ? &into : &unused;  // macros have one item; more would be alternatives
        }
      }
      ++count;
      const Level inner = level == Level::skip || target == &unused ? Level::skip : Level::group;
      SAMPAN_CHECK(data_set(*target, h.length == kUndefined ? end : at_ + h.length, explicit_vr, depth + 1, inner, h.length == kUndefined));
    }
    if (delimited) return refuse("a sequence without its end: truncated");
    return {};
  }

  /// The data set behind the file meta information is one raw deflate stream.
  Status inflate_rest() {
    const Bytes packed = b_.subspan(at_);
    z_stream z{};
    if (inflateInit2(&z, -15) != Z_OK) return Error(ErrorCode::out_of_memory, cat(label_, ": no memory to inflate"));
    std::vector<std::uint8_t> out;
    std::size_t fed = 0, made = 0;
    int status = Z_OK;
    while (status == Z_OK) {
      if (z.avail_in == 0) {
        const std::size_t n = std::min(kZlibPiece, packed.size() - fed);
        z.next_in = const_cast<Bytef*>(packed.data() + fed);
        z.avail_in = static_cast<uInt>(n);
        fed += n;
      }
      if (made == out.size()) {
        if (out.size() >= limits_.max_bytes) break;
        out.resize(static_cast<std::size_t>(std::min<std::uint64_t>(limits_.max_bytes, std::max<std::uint64_t>(1 << 16, 2 * out.size()))));
      }
      const std::size_t room = std::min(kZlibPiece, out.size() - made);
      z.next_out = out.data() + made;
      z.avail_out = static_cast<uInt>(room);
      status = inflate(&z, Z_NO_FLUSH);
      made += room - z.avail_out;
    }
    inflateEnd(&z);
    if (status == Z_OK) return Error(ErrorCode::limit, cat(label_, ": inflates to more than ", limits_.max_bytes >> 20, " MiB"));
    if (status == Z_MEM_ERROR) return Error(ErrorCode::out_of_memory, cat(label_, ": no memory to inflate"));
    if (status != Z_STREAM_END) return Error(ErrorCode::bad_file, cat(label_, ": its deflated data set is damaged or truncated"));
    out.resize(made);
    d_.inflated = std::move(out);
    b_ = Bytes(d_.inflated);
    at_ = 0;
    return {};
  }

  DicomData& d_;
  const std::string& label_;
  const DicomLimits& limits_;
  Bytes b_;
  std::size_t at_ = 0, elements_ = 0;
};

}  // namespace detail

inline bool looks_like_dicom(Bytes b) { return b.size() >= 132 && as_text(b.subspan(128, 4)) == "DICM"; }

/// Views into `file`, which outlives the result (or into the result's own inflated data). Error{bad_file | limit | unsupported | out_of_memory}.
inline Result<DicomData> parse_dicom(Bytes file, const std::string& label, const DicomLimits& limits = {}) {
  DicomData d;
  SAMPAN_CHECK(detail::DicomParser(d, label, limits).file(file));
  return d;
}
/// Error{io} too; the file stays mapped inside the result.
inline Result<DicomData> read_dicom(const std::string& path, const DicomLimits& limits = {}) {
  SAMPAN_TRY(file, MappedFile::open(path));
  SAMPAN_TRY(d, parse_dicom(file.bytes(), path, limits));
  d.file = std::move(file);
  return std::move(d);
}

}  // namespace sampan::inline SAMPAN_ABI::medical
