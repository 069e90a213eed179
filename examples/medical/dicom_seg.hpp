// DICOM segmentations (SOP class 1.2.840.10008.5.1.4.1.1.66.4): a label map on the grid of a DICOM volume becomes one multi-frame binary object that refers to its source images.
// Data flow: LabelMap + DicomSource (dicom_series.hpp) -> write_dicom_seg -> AtomicFile; viewers lay it over the scan. Source: DICOM PS3.3 A.51 and C.8.20, PS3.16 (codes).
// One frame per segment and slice that holds it, bits packed across frames as PS3.5 8.1.1 says; planes are placed by the texts of the source files, to the letter.
// Identity: study, series, frame of reference and instance UIDs are needed to find the scan; name, id, dates only if DicomSource has them (SeriesOptions::keep_patient).
// Images that were compressed with a loss say so, and so does what is derived from them (C.7.6.1.1.5).
// The same labels give the same UIDs and (for the same date) the same bytes. Deliberately absent: fractional segmentations, other transfer syntaxes.
#pragma once
#include "dicom_series.hpp"
#include "dicom_write.hpp"

#include <sampan/core/sha256.hpp>
#include <sampan/version.hpp>

namespace sampan::inline SAMPAN_ABI::medical {

struct SegOptions {
  std::string date = "20000101", time = "000000";  ///< of the content, YYYYMMDD and HHMMSS; the caller knows the clock
  std::string series_description = "Segmentation";
};

namespace detail {

/// 2.25. and the decimal value of 128 bits of a digest: a UID that depends on nothing but `seed`.
inline std::string dicom_uid(std::string_view seed) {
  Sha256 sha;
  sha.update(as_bytes(seed));
  const std::string hex = sha.hex().substr(0, 32);
  std::vector<int> digits{0};
  for (const char c : hex) {
    int carry = c <= '9' ? c - '0' : c - 'a' + 10;
    for (int& d : digits) {
      const int v = d * 16 + carry;
      d = v % 10;
      carry = v / 10;
    }
    while (carry) digits.push_back(carry % 10), carry /= 10;
  }
  std::string s = "2.25.";
  for (auto it = digits.rbegin(); it != digits.rend(); ++it) s += char('0' + *it);
  return s;
}

/// A decimal string: at most 16 characters.
inline std::string dicom_ds(double v) {
  char text[40];
  for (int digits = 15; digits > 0; --digits) {
    std::snprintf(text, sizeof text, "%.*g", digits, v);
    if (std::strlen(text) <= 16) break;
  }
  for (char* p = text; *p; ++p)
    if (*p == ',') *p = '.';  // a caller's locale
  return text;
}

inline DicomOut dicom_code(std::string_view value, std::string_view scheme, std::string_view meaning) {
  DicomOut c;
  c.text(dicom_tag(0x0008, 0x0100), "SH", std::string(value)).text(dicom_tag(0x0008, 0x0102), "SH", std::string(scheme)).text(dicom_tag(0x0008, 0x0104), "LO", std::string(meaning));
  return c;
}

struct SegCode {
  std::string_view word, value, meaning;
};
/// SNOMED CT codes of common structures, found by a word of the segment's name; others are "Tissue".
inline constexpr SegCode kSegCodes[] = {{"liver", "10200004", "Liver"},       {"spleen", "78961009", "Spleen"},      {"kidney", "64033007", "Kidney"},  {"pancreas", "15776009", "Pancreas"}, {"stomach", "69695003", "Stomach"},
                                        {"gallbladder", "28231008", "Gallbladder"}, {"bladder", "89837001", "Urinary bladder"}, {"aorta", "15825003", "Aorta"}, {"heart", "80891009", "Heart"}, {"lung", "39607008", "Lung"},
                                        {"brain", "12738006", "Brain"},       {"prostate", "41216001", "Prostate"},  {"bone", "272673000", "Bone"},      {"tumor", "108369006", "Neoplasm"},   {"tumour", "108369006", "Neoplasm"}};

/// 16-bit CIELab (D50) of an sRGB colour, as DICOM encodes it: L 0..100, a and b -128..127 onto 0..65535.
inline std::array<int, 3> dicom_lab(const std::array<std::uint8_t, 3>& rgb) {
  double c[3];
  for (std::size_t i = 0; i < 3; ++i) {
    const double v = rgb[i] / 255.0;
    c[i] = v <= 0.04045 ? v / 12.92 : std::pow((v + 0.055) / 1.055, 2.4);
  }
  const double xyz[3] = {(0.4360747 * c[0] + 0.3850649 * c[1] + 0.1430804 * c[2]) / 0.96422, 0.2225045 * c[0] + 0.7168786 * c[1] + 0.0606169 * c[2], (0.0139322 * c[0] + 0.0971045 * c[1] + 0.7141733 * c[2]) / 0.82521};
  double f[3];
  for (std::size_t i = 0; i < 3; ++i) f[i] = xyz[i] > 216.0 / 24389 ? std::cbrt(xyz[i]) : (24389.0 / 27 * xyz[i] + 16) / 116;
  const auto scaled = [](double v, double low, double range) { return int(std::lround(std::clamp((v - low) / range, 0.0, 1.0) * 65535)); };
  return {scaled(116 * f[1] - 16, 0, 100), scaled(500 * (f[0] - f[1]), -128, 255), scaled(200 * (f[1] - f[2]), -128, 255)};
}

}  // namespace detail

/// Not committed. Error{invalid_argument}: a grid that is not the source's, no label at all, a source without frame of reference or positions; Error{limit} from 4 GiB.
inline Status write_dicom_seg(AtomicFile& out, const LabelMap& labels, const DicomSource& source, const SegOptions& o = {}) {
  using detail::DicomOut;
  const auto refuse = [&](std::string_view what, ErrorCode code = ErrorCode::invalid_argument) { return Error(code, cat(out.path(), ": DICOM segmentation: ", what)); };
  const auto& size = labels.grid.size;
  if (std::int64_t(source.slices.size()) != size[2] || voxel_count(size) != labels.voxels.size()) return refuse("the labels are not on the grid of the DICOM images");
  const std::pair<const std::string*, const char*> needed[] = {{&source.study, "study"}, {&source.series, "series"}, {&source.frame_of_reference, "frame of reference"}, {&source.orientation, "orientation"}};
  for (const auto& [text, name] : needed)
    if (text->empty()) return refuse(cat("the images have no ", name, " to refer to"));
  if (size[0] > 65535 || size[1] > 65535) return refuse("more than 65535 rows or columns", ErrorCode::limit);
  const std::vector<int> present = labels_present(labels.voxels);
  if (present.empty()) return refuse("no voxel has a label; the format has no empty segmentation");

  // Frames: segment by segment, slice by slice, only where there is something.
  struct Frame {
    std::size_t segment, slice;
  };
  std::vector<Frame> frames;
  const std::size_t plane = std::size_t(size[0] * size[1]);
  std::vector<std::size_t> number_of(65536, 0);
  for (std::size_t i = 0; i < present.size(); ++i) number_of[std::size_t(present[i])] = i + 1;
  {
    std::vector<std::vector<bool>> holds(present.size(), std::vector<bool>(std::size_t(size[2])));
    for (std::size_t n = 0; n < labels.voxels.size(); ++n)
      if (const std::uint16_t l = labels.voxels[n]) holds[number_of[l] - 1][n / plane] = true;
    for (std::size_t s = 0; s < present.size(); ++s)
      for (std::size_t k = 0; k < holds[s].size(); ++k)
        if (holds[s][k]) frames.push_back({s, k});
  }
  const std::uint64_t bits = std::uint64_t(frames.size()) * plane;
  if (bits / 8 >= 0xFFFFFFF0u) return refuse("more than 4 GiB of pixel data", ErrorCode::limit);
  std::string packed(static_cast<std::size_t>((bits + 15) / 16 * 2), '\0');  // an even number of bytes
  for (std::size_t f = 0; f < frames.size(); ++f) {
    const std::uint16_t label = std::uint16_t(present[frames[f].segment]);
    const std::uint16_t* from = labels.voxels.data() + frames[f].slice * plane;
    for (std::size_t p = 0; p < plane; ++p)
      if (from[p] == label) {
        const std::size_t bit = f * plane + p;
        packed[bit / 8] = char(static_cast<unsigned char>(packed[bit / 8]) | 1u << (bit % 8));
      }
  }
  Sha256 sha;
  sha.update(as_bytes(packed));
  const std::string seed = cat(source.series, " ", sha.hex());
  const std::string instance = detail::dicom_uid(seed + " instance"), organization = detail::dicom_uid(seed + " dimensions");
  const auto patient = [&](std::uint32_t t) {
    for (const auto& [k, v] : source.patient)
      if (k == t) return v;
    return std::string();
  };

  std::vector<DicomOut> referenced, segments, groups;
  std::set<std::string> instances;  // a multi-frame file once
  for (const auto& s : source.slices) {
    if (s.sop_instance.empty() || !instances.insert(s.sop_instance).second) continue;
    DicomOut r;
    r.text(dicom_tag(0x0008, 0x1150), "UI", source.sop_class).text(dicom_tag(0x0008, 0x1155), "UI", s.sop_instance);
    referenced.push_back(std::move(r));
  }
  for (std::size_t i = 0; i < present.size(); ++i) {
    const auto known = std::find_if(labels.segments.begin(), labels.segments.end(), [&](const Segment& s) { return s.label == present[i]; });
    const bool named = known != labels.segments.end() && !known->name.empty();
    std::string name = named ? known->name.substr(0, 60) : cat("label ", present[i]);
    while (!name.empty() && named && known->name.size() > 60 && (static_cast<unsigned char>(name.back()) & 0xC0u) == 0x80u) name.pop_back();  // no half characters
    std::string word = name;
    for (char& c : name)
      if (static_cast<unsigned char>(c) < 0x20 || c == '\\' || c == 0x7f) c = ' ';
    for (char& c : word) c = c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c;
    const auto* code = std::find_if(std::begin(detail::kSegCodes), std::end(detail::kSegCodes), [&](const auto& row) { return word.find(row.word) != std::string::npos; });
    const bool coded = code != std::end(detail::kSegCodes);
    const bool lesion = coded && code->value == "108369006";
    const auto lab = detail::dicom_lab(known != labels.segments.end() ? known->colour : label_colour(present[i]));
    DicomOut s;
    s.sequence(dicom_tag(0x0062, 0x0003), lesion ? detail::dicom_code("49755003", "SCT", "Morphologically Abnormal Structure") : coded ? detail::dicom_code("123037004", "SCT", "Anatomical Structure") : detail::dicom_code("85756007", "SCT", "Tissue"));
    s.us(dicom_tag(0x0062, 0x0004), {int(i) + 1}).text(dicom_tag(0x0062, 0x0005), "LO", name).text(dicom_tag(0x0062, 0x0008), "CS", "SEMIAUTOMATIC").text(dicom_tag(0x0062, 0x0009), "LO", "sampan");
    s.us(dicom_tag(0x0062, 0x000D), {lab[0], lab[1], lab[2]});
    s.sequence(dicom_tag(0x0062, 0x000F), coded ? detail::dicom_code(code->value, "SCT", code->meaning) : detail::dicom_code("85756007", "SCT", "Tissue"));
    segments.push_back(std::move(s));
  }
  const Affine lps = ras_to_lps(labels.grid.affine);
  const Vec3 step = spacing(labels.grid.affine);
  for (const Frame& f : frames) {
    const auto& slice = source.slices[f.slice];
    DicomOut group;
    if (!slice.sop_instance.empty()) {
      DicomOut image, derivation;
      image.text(dicom_tag(0x0008, 0x1150), "UI", source.sop_class).text(dicom_tag(0x0008, 0x1155), "UI", slice.sop_instance);
      if (slice.frame > 0) image.text(dicom_tag(0x0008, 0x1160), "IS", cat(slice.frame));
      image.text(dicom_tag(0x0028, 0x135A), "CS", "YES");  // spatial locations preserved
      image.sequence(dicom_tag(0x0040, 0xA170), detail::dicom_code("121322", "DCM", "Source image for image processing operation"));
      derivation.sequence(dicom_tag(0x0008, 0x2112), image).sequence(dicom_tag(0x0008, 0x9215), detail::dicom_code("113076", "DCM", "Segmentation"));
      group.sequence(dicom_tag(0x0008, 0x9124), derivation);
    }
    DicomOut content, position, identification;
    content.ul(dicom_tag(0x0020, 0x9157), {f.segment + 1, f.slice + 1});
    const Vec3 p = lps.apply({0, 0, double(f.slice)});
    position.text(tag::position, "DS", !slice.position.empty() ? slice.position : cat(detail::dicom_ds(p[0]), "\\", detail::dicom_ds(p[1]), "\\", detail::dicom_ds(p[2])));
    identification.us(dicom_tag(0x0062, 0x000B), {int(f.segment) + 1});
    group.sequence(dicom_tag(0x0020, 0x9111), content).sequence(tag::plane_position, position).sequence(dicom_tag(0x0062, 0x000A), identification);
    groups.push_back(std::move(group));
  }
  const auto dimension = [&](std::uint32_t pointer, std::uint32_t group, std::string_view label) {
    DicomOut d;
    d.text(dicom_tag(0x0020, 0x9164), "UI", organization).pointer(dicom_tag(0x0020, 0x9165), pointer).pointer(dicom_tag(0x0020, 0x9167), group).text(dicom_tag(0x0020, 0x9421), "LO", std::string(label));
    return d;
  };
  DicomOut organizations, orientation, measures, shared, series;
  organizations.text(dicom_tag(0x0020, 0x9164), "UI", organization);
  orientation.text(tag::orientation, "DS", source.orientation);
  measures.text(tag::slice_thickness, "DS", detail::dicom_ds(step[2])).text(tag::slice_spacing, "DS", detail::dicom_ds(step[2]));
  measures.text(tag::pixel_spacing, "DS", !source.pixel_spacing.empty() ? source.pixel_spacing : cat(detail::dicom_ds(step[1]), "\\", detail::dicom_ds(step[0])));
  shared.sequence(tag::plane_orientation, orientation).sequence(tag::pixel_measures, measures);
  series.sequence(dicom_tag(0x0008, 0x114A), referenced).text(tag::series, "UI", source.series);

  DicomOut d;
  d.text(dicom_tag(0x0008, 0x0005), "CS", "ISO_IR 192").text(dicom_tag(0x0008, 0x0008), "CS", "DERIVED\\PRIMARY").text(tag::sop_class, "UI", "1.2.840.10008.5.1.4.1.1.66.4").text(tag::sop_instance, "UI", instance);
  d.text(tag::study_date, "DA", patient(tag::study_date)).text(dicom_tag(0x0008, 0x0023), "DA", o.date).text(tag::study_time, "TM", patient(tag::study_time)).text(dicom_tag(0x0008, 0x0033), "TM", o.time);
  d.text(tag::accession, "SH", patient(tag::accession)).text(tag::modality, "CS", "SEG").text(dicom_tag(0x0008, 0x0070), "LO", "sampan").text(tag::referring, "PN", patient(tag::referring));
  d.text(dicom_tag(0x0008, 0x103E), "LO", o.series_description).text(dicom_tag(0x0008, 0x1090), "LO", "sampan").sequence(dicom_tag(0x0008, 0x1115), series);
  d.text(tag::patient_name, "PN", patient(tag::patient_name)).text(tag::patient_id, "LO", patient(tag::patient_id)).text(tag::patient_birth, "DA", patient(tag::patient_birth)).text(tag::patient_sex, "CS", patient(tag::patient_sex));
  d.text(dicom_tag(0x0018, 0x1000), "LO", "1").text(dicom_tag(0x0018, 0x1020), "LO", SAMPAN_VERSION);
  d.text(tag::study, "UI", source.study).text(tag::series, "UI", detail::dicom_uid(seed + " series")).text(tag::study_id, "SH", patient(tag::study_id)).text(tag::series_number, "IS", "300").text(tag::instance_number, "IS", "1");
  d.text(tag::frame_of_reference, "UI", source.frame_of_reference).text(dicom_tag(0x0020, 0x1040), "LO", "").sequence(dicom_tag(0x0020, 0x9221), organizations);
  d.sequence(dicom_tag(0x0020, 0x9222), {dimension(dicom_tag(0x0062, 0x000B), dicom_tag(0x0062, 0x000A), "Segment"), dimension(tag::position, tag::plane_position, "Position")});
  d.us(tag::samples, {1}).text(tag::photometric, "CS", "MONOCHROME2").text(tag::frames, "IS", cat(frames.size())).us(tag::rows, {int(size[1])}).us(tag::columns, {int(size[0])});
  d.us(tag::bits_allocated, {1}).us(tag::bits_stored, {1}).us(tag::high_bit, {0}).us(tag::pixel_sign, {0}).text(tag::lossy, "CS", source.lossy ? "01" : "00");
  if (!source.lossy_ratio.empty()) d.text(tag::lossy_ratio, "DS", source.lossy_ratio);
  if (!source.lossy_method.empty()) d.text(tag::lossy_method, "CS", source.lossy_method);
  d.text(dicom_tag(0x0062, 0x0001), "CS", "BINARY").sequence(dicom_tag(0x0062, 0x0002), segments);
  d.text(dicom_tag(0x0070, 0x0080), "CS", "SEGMENTATION").text(dicom_tag(0x0070, 0x0081), "LO", "").text(dicom_tag(0x0070, 0x0084), "PN", "");
  d.sequence(tag::shared_groups, shared).sequence(tag::frame_groups, groups).raw(tag::pixels, "OB", packed);

  SAMPAN_CHECK(out.write(detail::dicom_head("1.2.840.10008.5.1.4.1.1.66.4", instance, "1.2.840.10008.1.2.1", detail::dicom_uid("sampan implementation"))));
  return out.write(d.bytes());
}

}  // namespace sampan::inline SAMPAN_ABI::medical
