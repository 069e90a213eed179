// Builders of DICOM files in memory, right ones and hostile ones: three encodings, sequences of known and unknown length, fragments.
// Data flow: tests of examples/medical/dicom_*.hpp -> here -> bytes in a std::string. Written from PS3.5, not with the writer under test.
#pragma once
#include "support/volume_files.hpp"

namespace sampan::test {

/// Elements of one data set or item.
class DicomBytes {
 public:
  explicit DicomBytes(bool explicit_vr = true, bool big = false) : explicit_(explicit_vr), big_(big) {}
  const std::string& bytes() const { return b_; }
  DicomBytes& add(std::uint32_t tag, const std::string& vr, std::string value) {
    if (value.size() % 2) value += vr == "UI" || vr == "OB" ? '\0' : ' ';
    return head(tag, vr, static_cast<std::uint32_t>(value.size())).raw(value);
  }
  DicomBytes& us(std::uint32_t tag, int v) { return add(tag, "US", number(static_cast<std::uint16_t>(v), big_)); }
  /// Items as they are; `unknown`: no lengths, but delimiters.
  DicomBytes& sequence(std::uint32_t tag, const std::vector<std::string>& items, bool unknown = false, const std::string& vr = "SQ") {
    std::string s;
    for (const std::string& i : items) s += item(0xFFFEE000, unknown ? 0xFFFFFFFF : static_cast<std::uint32_t>(i.size())) + i + (unknown ? item(0xFFFEE00D, 0) : std::string());
    return head(tag, vr, unknown ? 0xFFFFFFFF : static_cast<std::uint32_t>(s.size())).raw(s + (unknown ? item(0xFFFEE0DD, 0) : std::string()));
  }
  DicomBytes& head(std::uint32_t tag, const std::string& vr, std::uint32_t length) {
    b_ += number(static_cast<std::uint16_t>(tag >> 16), big_) + number(static_cast<std::uint16_t>(tag & 0xFFFF), big_);
    if (!explicit_) return raw(number(length, big_));
    b_ += vr;
    const bool wide = std::string("OB OD OF OL OV OW SQ SV UC UN UR UT UV").find(vr) != std::string::npos;
    return wide ? raw(std::string(2, '\0') + number(length, big_)) : raw(number(static_cast<std::uint16_t>(length), big_));
  }
  DicomBytes& raw(const std::string& s) {
    b_ += s;
    return *this;
  }
  std::string item(std::uint32_t tag, std::uint32_t length) const { return number(static_cast<std::uint16_t>(tag >> 16), big_) + number(static_cast<std::uint16_t>(tag & 0xFFFF), big_) + number(length, big_); }

 private:
  bool explicit_, big_;
  std::string b_;
};

inline std::string dicom_file(const std::string& syntax, const std::string& data_set) {
  DicomBytes meta;
  meta.add(0x00020010, "UI", syntax);
  return std::string(128, '\0') + "DICM" + DicomBytes().add(0x00020000, "UL", le(static_cast<std::uint32_t>(meta.bytes().size()))).bytes() + meta.bytes() + data_set;
}
inline const std::string kImplicit = "1.2.840.10008.1.2", kExplicit = "1.2.840.10008.1.2.1", kBigEndian = "1.2.840.10008.1.2.2", kRle = "1.2.840.10008.1.2.5", kJpeg2000 = "1.2.840.10008.1.2.4.90";

/// One image; fields are changed before data_set() is called.
struct DicomImage {
  int rows = 2, columns = 3, samples = 1, allocated = 16, stored = 12, high = 11, sign = 0;
  std::string photometric = "MONOCHROME2", series = "1.2.3", instance = "1.2.3.1", number = "1", position = "0\\0\\0", orientation = "1\\0\\0\\0\\1\\0", spacing = "0.75\\0.5", thickness = "2.5", slope, intercept, frames,
              modality = "CT";
  std::string pixels = std::string(12, '\0');
  std::string before_pixels;  ///< more elements, encoded already
  bool with_pixels = true;

  std::string data_set(bool explicit_vr = true, bool big = false) const {
    DicomBytes d(explicit_vr, big);
    const auto text = [&](std::uint32_t tag, const char* vr, const std::string& v) {
      if (!v.empty()) d.add(tag, vr, v);
    };
    text(0x00080018, "UI", instance), text(0x00080060, "CS", modality), text(0x00100010, "PN", "Doe^Jane"), text(0x00180050, "DS", thickness), text(0x0020000D, "UI", "1.2"), text(0x0020000E, "UI", series);
    text(0x00200013, "IS", number), text(0x00200032, "DS", position), text(0x00200037, "DS", orientation), text(0x00200052, "UI", "1.2.9");
    d.us(0x00280002, samples);
    text(0x00280004, "CS", photometric), text(0x00280008, "IS", frames);
    d.us(0x00280010, rows).us(0x00280011, columns);
    text(0x00280030, "DS", spacing);
    d.us(0x00280100, allocated).us(0x00280101, stored).us(0x00280102, high).us(0x00280103, sign);
    text(0x00281052, "DS", intercept), text(0x00281053, "DS", slope);
    d.raw(before_pixels);
    if (with_pixels) d.add(0x7FE00010, allocated == 8 ? "OB" : "OW", pixels);
    return d.bytes();
  }
  std::string file() const { return dicom_file(kExplicit, data_set()); }
};

/// Pixel data of undefined length: an offset table, then fragments (padded to even lengths).
inline std::string dicom_fragments(const std::vector<std::string>& fragments, const std::string& table = {}) {
  DicomBytes d;
  d.head(0x7FE00010, "OB", 0xFFFFFFFF).raw(d.item(0xFFFEE000, static_cast<std::uint32_t>(table.size())) + table);
  for (std::string f : fragments) {
    if (f.size() % 2) f += '\0';
    d.raw(d.item(0xFFFEE000, static_cast<std::uint32_t>(f.size())) + f);
  }
  return d.raw(d.item(0xFFFEE0DD, 0)).bytes();
}
/// An RLE frame of literal runs: a header of 16 numbers, then segments.
inline std::string rle_frame(const std::vector<std::string>& segments) {
  std::string head = le(static_cast<std::uint32_t>(segments.size())), body;
  for (std::size_t i = 0; i < 15; ++i) {
    head += le(static_cast<std::uint32_t>(i < segments.size() ? 64 + body.size() : 0));
    if (i < segments.size()) body += segments[i];
  }
  return head + body;
}

inline std::string dicom_fixture(const std::string& name) { return std::string(SAMPAN_TEST_DIR) + "/unit/dicom_fixtures/" + name; }

}  // namespace sampan::test
