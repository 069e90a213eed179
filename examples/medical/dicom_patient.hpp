// What of a patient and a study goes along when a caller asks for it (SeriesOptions::keep_patient): nine elements by name, in UTF-8, nothing else of the file.
// Data flow: DicomData -> dicom_patient -> DicomSource::patient (dicom_series.hpp) -> dicom_seg.hpp, whose files are in UTF-8. Source: DICOM PS3.3 C.12.1.1.2, PS3.5 6.1.
// Read: ASCII, ISO_IR 192 (UTF-8), ISO_IR 100 (Latin-1). Deliberately absent: other character sets and escape sequences. Names in them are an error, never a guess.
#pragma once
#include "dicom_parse.hpp"

namespace sampan::inline SAMPAN_ABI::medical {

namespace detail {

/// True for whole, shortest UTF-8 sequences without surrogates.
inline bool is_utf8(std::string_view s) {
  for (std::size_t i = 0; i < s.size();) {
    const auto byte = [&](std::size_t at) { return static_cast<unsigned>(static_cast<unsigned char>(s[at])); };
    const unsigned a = byte(i);
    const std::size_t n = a < 0x80 ? 1 : a >= 0xC2 && a < 0xE0 ? 2 : a >= 0xE0 && a < 0xF0 ? 3 : a >= 0xF0 && a < 0xF5 ? 4 : 0;
    if (n == 0 || n > s.size() - i) return false;
    unsigned code = n == 1 ? a : a & (0xFFu >> (n + 1));
    for (std::size_t k = 1; k < n; ++k) {
      if ((byte(i + k) & 0xC0u) != 0x80u) return false;
      code = code << 6 | (byte(i + k) & 0x3Fu);
    }
    if ((n == 3 && code < 0x800) || (n == 4 && (code < 0x10000 || code > 0x10FFFF)) || (code >= 0xD800 && code < 0xE000)) return false;
    i += n;
  }
  return true;
}

/// `s`, which a file writes in `set` (0008,0005), in UTF-8; nothing if it cannot be told what it means.
inline std::optional<std::string> dicom_utf8(std::string_view s, std::string_view set) {
  const bool ascii = std::all_of(s.begin(), s.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80 && c != 0x1b; });
  if (ascii || (set == "ISO_IR 192" && is_utf8(s))) return std::string(s);
  if (set != "ISO_IR 100" || s.find('\x1b') != std::string_view::npos) return std::nullopt;
  std::string out;
  for (const char c : s) {
    const auto u = static_cast<unsigned char>(c);
    if (u < 0x80) out += c;
    else out += static_cast<char>(0xC0u | u >> 6), out += static_cast<char>(0x80u | (u & 0x3Fu));
  }
  return out;
}

}  // namespace detail

/// Tag and text of what the file has of: name, id, birth date, sex; dates, number, id and referring physician of the study. Error{unsupported}: a character set that is not read.
inline Result<std::vector<std::pair<std::uint32_t, std::string>>> dicom_patient(const DicomData& d) {
  std::vector<std::pair<std::uint32_t, std::string>> out;
  for (const std::uint32_t t : {tag::study_date, tag::study_time, tag::accession, tag::referring, tag::patient_name, tag::patient_id, tag::patient_birth, tag::patient_sex, tag::study_id}) {
    const auto* e = d.find(t);
    if (!e) continue;
    auto text = detail::dicom_utf8(dicom_text(e), dicom_view(d.find(tag::character_set)));
    if (!text) return Error(ErrorCode::unsupported, "its patient data are in a character set that is not read (ASCII, ISO_IR 192 and ISO_IR 100 are); leave the patient out, or convert the files to ISO_IR 192 first (dcmconv +U8)");
    out.emplace_back(t, std::move(*text));
  }
  return out;
}

}  // namespace sampan::inline SAMPAN_ABI::medical
