// DicomOut: elements of a DICOM data set as bytes, explicit VR little endian; and the head of a file.
// Data flow: dicom_seg.hpp (segmentations), dicom_gdcm.hpp (one frame for a decoder) -> here -> bytes. Source: DICOM PS3.5 7.1, PS3.10 7.1.
// Deliberately absent: other encodings, checks of order: the caller adds elements in the order of their tags.
#pragma once
#include "dicom_parse.hpp"

namespace sampan::inline SAMPAN_ABI::medical::detail {

/// Elements in explicit VR little endian; the caller keeps the order of tags.
class DicomOut {
 public:
  const std::string& bytes() const { return b_; }
  DicomOut& text(std::uint32_t t, std::string_view vr, std::string value) {
    if (value.size() % 2) value += vr == "UI" ? '\0' : ' ';
    return raw(t, vr, value);
  }
  DicomOut& us(std::uint32_t t, std::initializer_list<int> values) {
    std::string s;
    for (const int v : values) number(s, std::uint32_t(v), 2);
    return raw(t, "US", s);
  }
  DicomOut& ul(std::uint32_t t, std::initializer_list<std::size_t> values) {
    std::string s;
    for (const std::size_t v : values) number(s, std::uint32_t(v), 4);
    return raw(t, "UL", s);
  }
  DicomOut& pointer(std::uint32_t t, std::uint32_t to) {
    std::string s;
    number(s, to >> 16, 2), number(s, to & 0xFFFF, 2);
    return raw(t, "AT", s);
  }
  DicomOut& sequence(std::uint32_t t, const std::vector<DicomOut>& items) {
    std::string s;
    for (const DicomOut& i : items) {
      number(s, 0xFFFE, 2), number(s, 0xE000, 2), number(s, std::uint32_t(i.b_.size()), 4);
      s += i.b_;
    }
    return raw(t, "SQ", s);
  }
  DicomOut& sequence(std::uint32_t t, const DicomOut& item) { return sequence(t, std::vector<DicomOut>{item}); }
  DicomOut& raw(std::uint32_t t, std::string_view vr, std::string_view value) {
    number(b_, t >> 16, 2), number(b_, t & 0xFFFF, 2);
    b_ += vr;
    if (vr == "SQ" || vr == "OB" || vr == "OW") number(b_, 0, 2), number(b_, std::uint32_t(value.size()), 4);
    else number(b_, std::uint32_t(value.size()), 2);
    b_ += value;
    return *this;
  }
  /// Pixel data of one compressed frame: an empty offset table, one fragment, the delimiter.
  DicomOut& fragment(std::uint32_t t, Bytes frame) {
    number(b_, t >> 16, 2), number(b_, t & 0xFFFF, 2);
    b_ += "OB";
    number(b_, 0, 2), number(b_, 0xFFFFFFFFu, 4);
    number(b_, 0xE000FFFEu, 4), number(b_, 0, 4);
    number(b_, 0xE000FFFEu, 4), number(b_, std::uint32_t(frame.size() + frame.size() % 2), 4);
    b_ += as_text(frame);
    if (frame.size() % 2) b_ += '\0';
    number(b_, 0xE0DDFFFEu, 4), number(b_, 0, 4);
    return *this;
  }
  static void number(std::string& to, std::uint32_t v, int bytes) {
    for (int i = 0; i < bytes; ++i) to += char(v >> (8 * i) & 255);
  }

 private:
  std::string b_;
};

/// Preamble, prefix and file meta information.
inline std::string dicom_head(const std::string& sop_class, const std::string& instance, const std::string& syntax, const std::string& implementation) {
  DicomOut meta, length;
  meta.raw(dicom_tag(0x0002, 0x0001), "OB", std::string_view("\0\1", 2)).text(dicom_tag(0x0002, 0x0002), "UI", sop_class).text(dicom_tag(0x0002, 0x0003), "UI", instance);
  meta.text(tag::transfer_syntax, "UI", syntax).text(dicom_tag(0x0002, 0x0012), "UI", implementation).text(dicom_tag(0x0002, 0x0013), "SH", "SAMPAN");
  length.ul(dicom_tag(0x0002, 0x0000), {meta.bytes().size()});
  return std::string(128, '\0') + "DICM" + length.bytes() + meta.bytes();
}

}  // namespace sampan::inline SAMPAN_ABI::medical::detail
