// From DICOM files to a volume: which files belong together, in which order their frames lie in the patient, and what is missing or there twice.
// Data flow: folder or file -> scan_dicom -> DicomStacks -> read_dicom_stack -> DicomVolume (Volume + what a segmentation must refer to).
// Order comes from ImagePositionPatient along the slices' normal, never from names or numbers of files. k grows along row x column; a tilted gantry keeps its shear.
// One stack: same series, orientation, matrix and pixel format. Several images at every position (times, echoes) are several volumes: one must be chosen.
// Source: DICOM PS3.3 C.7.6.2 (plane), C.7.6.16 (functional groups), C.8.8.3 (grid frame offsets). LPS in the files, RAS in Volume.
// Cost: headers of all files once, pixels of the chosen stack once; one file is open at a time.
// Deliberately absent: DICOMDIR, modality look-up tables, SUV; patient data are read only when a caller asks to keep them (SeriesOptions::keep_patient).
#pragma once
#include "dicom_patient.hpp"
#include "dicom_pixels.hpp"
#include "slices.hpp"

#include <filesystem>
#include <set>

namespace sampan::inline SAMPAN_ABI::medical {

struct SeriesOptions {
  VolumeLimits limits = {};
  DicomLimits dicom = {};
  std::size_t max_files = 100'000;
  std::optional<std::size_t> volume = {};  ///< which of several images at every position, from 0
  bool fill_gaps = false;                  ///< missing slices become empty ones; without it they are an error
  bool keep_patient = false;               ///< name, id, birth date, sex and study data into DicomSource, for outputs that should carry them
  FrameDecoder decoder = {};
};

/// What a derived object (DICOM SEG) says about its source. Texts as they stand in the files.
struct DicomSource {
  struct Slice {
    std::string sop_instance, position;
    std::int64_t frame = 0;                ///< from 1 in a multi-frame file, 0 in a file of one frame
  };
  std::string study, series, frame_of_reference, sop_class, orientation, pixel_spacing, thickness;
  std::vector<Slice> slices;               ///< one per k; without sop_instance where a gap was filled
  bool lossy = false;                      ///< the images were compressed with a loss at some time
  std::string lossy_ratio, lossy_method;   ///< empty if nobody knows
  std::vector<std::pair<std::uint32_t, std::string>> patient;  ///< tag, value in UTF-8; empty unless asked for
};

struct DicomVolume {
  Volume image;
  DicomSource source;
  std::optional<GreyRange> window = {};    ///< of the first slice, if the file has one
};

/// Files whose frames can lie in one volume.
struct DicomStack {
  std::string series, modality;
  PixelFormat format;                      ///< frames counts those of all files
  std::optional<std::array<double, 6>> orientation = {};
  std::vector<std::string> files;
};
struct DicomScan {
  std::vector<DicomStack> stacks;          ///< the one with most frames first
  std::size_t other_files = 0;             ///< no DICOM, or without pixels
  std::size_t segmentations = 0;           ///< of others: they are no images
  std::vector<Error> unreadable;           ///< the first 20
};

namespace detail {

inline std::optional<std::array<double, 6>> dicom_orientation(const DicomData& d, std::size_t frame) {
  std::array<double, 6> o{};
  if (!dicom_decimals(d.find(tag::orientation, frame), o.data(), 6)) return std::nullopt;
  return o;
}
inline bool same_orientation(const std::optional<std::array<double, 6>>& a, const std::optional<std::array<double, 6>>& b) {
  if (!a || !b) return a.has_value() == b.has_value();
  for (std::size_t i = 0; i < 6; ++i)
    if (!(std::abs((*a)[i] - (*b)[i]) <= 1e-3)) return false;  // a thousandth: half a pixel over 512
  return true;
}

/// A frame and its place.
struct DicomFrame {
  std::size_t file = 0;
  std::int64_t frame = 0;                  ///< from 0
  std::optional<Vec3> position = {};       ///< LPS
  double along = 0;                        ///< position along the normal
  double slope = 1, intercept = 0;
  std::int64_t order = 0;                  ///< instance number: decides between frames at one position
  std::string position_text, sop_instance;
};

/// Where a value lies among sorted positions: number of a slice.
struct Placement {
  std::vector<std::size_t> frame;          ///< chosen frame of each distinct position
  std::vector<std::int64_t> slice;         ///< its slice; gaps leave numbers out
  double step = 0;
};

inline std::string mm(double v) {
  char text[40];
  std::snprintf(text, sizeof text, "%.2f", v);
  return text;
}

/// Whether pixels have lost something: what the file says, else what its transfer syntax means.
inline void note_loss(const DicomData& d, const PixelFormat& f, DicomSource& s) {
  const std::string said = dicom_text(d.find(tag::lossy));
  const Compression c = d.syntax == TransferSyntax::compressed ? compression_of(d.syntax_uid) : Compression{};
  s.lossy = said == "01" || (c.lossy && said != "00");
  if (!s.lossy) return;
  s.lossy_ratio = dicom_text(d.find(tag::lossy_ratio)), s.lossy_method = dicom_text(d.find(tag::lossy_method));
  if (!c.lossy || !s.lossy_ratio.empty() || !s.lossy_method.empty()) return;
  s.lossy_method = c.method;
  s.lossy_ratio = mm(double(f.frame_bytes) * double(f.frames) / double(std::max<std::size_t>(d.pixels.size(), 1)));
}

/// Frames sorted by `along`. Error{bad_file | invalid_argument} as the header of this file says.
inline Result<Placement> place_frames(const std::vector<DicomFrame>& f, const SeriesOptions& o, const std::string& label, std::vector<std::string>& notes) {
  const auto refuse = [&](const std::string& what, ErrorCode code = ErrorCode::bad_file) { return Error(code, cat(label, ": ", what)); };
  constexpr double kSame = 1e-3;  // mm: two positions closer than a micrometre-scale rounding are one
  std::vector<std::vector<std::size_t>> at;  // frames of each distinct position
  for (std::size_t i = 0; i < f.size(); ++i) {
    if (i > 0 && f[i].along - f[i - 1].along <= kSame) at.back().push_back(i);
    else at.push_back({i});
  }
  const auto [fewest, most] = std::minmax_element(at.begin(), at.end(), [](const auto& a, const auto& b) { return a.size() < b.size(); });
  const std::size_t copies = fewest->size();
  std::size_t pick = 0;
  if (most->size() == copies && copies > 1) {
    if (!o.volume) return refuse(cat("holds ", copies, " images at every position (times, echoes or repeats); choose one of 0 to ", copies - 1), ErrorCode::invalid_argument);
    if (*o.volume >= copies) return refuse(cat("has no volume ", *o.volume, "; it holds ", copies), ErrorCode::invalid_argument);
    pick = *o.volume;
  } else if (most->size() > 1) {
    std::size_t doubled = 0;
    for (const auto& p : at) doubled += p.size() > 1;
    notes.push_back(cat(doubled, " of ", at.size(), " positions have more than one image; the one with the lowest instance number counts"));
  } else if (o.volume && *o.volume > 0) {
    return refuse(cat("has no volume ", *o.volume, "; it holds 1"), ErrorCode::invalid_argument);
  }
  Placement p;
  std::vector<double> t;
  for (const auto& frames : at) p.frame.push_back(frames[pick]), t.push_back(f[frames[0]].along);
  const std::size_t n = t.size();
  p.slice.resize(n);
  if (n < 2) return p;
  std::vector<double> d;
  for (std::size_t i = 1; i < n; ++i) d.push_back(t[i] - t[i - 1]);
  std::vector<double> sorted = d;
  std::sort(sorted.begin(), sorted.end());
  const double median = sorted[sorted.size() / 2], mean = (t.back() - t.front()) / double(n - 1);
  double worst = 0;
  for (std::size_t i = 0; i < n; ++i) worst = std::max(worst, std::abs(t[i] - (t.front() + double(i) * mean)));
  if (worst <= 0.1 * mean + 0.01) {  // rounded positions of real scanners miss the line by a few hundredths of a step
    for (std::size_t i = 0; i < n; ++i) p.slice[i] = std::int64_t(i);
    p.step = mean;
    if (worst > 0.02 * mean + 0.01) notes.push_back(cat("slices lie up to ", mm(worst), " mm beside even steps of ", mm(mean), " mm"));
    return p;
  }
  std::string gaps;
  std::int64_t missing = 0;
  std::size_t count = 0;
  for (std::size_t i = 0; i < d.size(); ++i) {
    const double m = std::round(d[i] / median);
    if (!(m >= 1 && m < 1e5 && std::abs(d[i] - m * median) <= 0.2 * median)) return refuse(cat("its slices are unevenly spaced: ", mm(sorted.front()), " to ", mm(sorted.back()), " mm"));
    p.slice[i + 1] = p.slice[i] + std::int64_t(m);
    if (m > 1) {
      missing += std::int64_t(m) - 1;
      if (++count <= 5) gaps += cat(gaps.empty() ? "" : ", ", std::int64_t(m) - 1, " between ", mm(t[i]), " and ", mm(t[i + 1]), " mm");
    }
  }
  if (count > 5) gaps += cat(", and ", count - 5, " more gaps");
  if (missing == 0) return refuse(cat("its slices are unevenly spaced: ", mm(sorted.front()), " to ", mm(sorted.back()), " mm"));
  if (p.slice.back() >= (std::int64_t(1) << 20)) return refuse(cat(missing, " slices are missing between ", n, ": more than a million in all"), ErrorCode::limit);
  if (!o.fill_gaps) return refuse(cat(missing, " slices are missing (", gaps, ", counted along the normal); get them, or fill the gaps with empty slices"));
  notes.push_back(cat(missing, " slices were missing and are empty: ", gaps));
  p.step = (t.back() - t.front()) / double(p.slice.back());
  return p;
}

}  // namespace detail

/// Puts the readable images of `paths` into stacks. Never an error for a single file: what cannot be used is counted. Error{limit}: more files than allowed.
inline Result<DicomScan> scan_dicom_files(const std::vector<std::string>& paths, const SeriesOptions& o = {}) {
  DicomScan out;
  if (paths.size() > o.max_files) return Error(ErrorCode::limit, cat(paths.size(), " files, at most ", o.max_files, " are looked at"));
  for (const std::string& path : paths) {
    const auto file = MappedFile::open(path);
    if (!file || !looks_like_dicom(file->bytes())) {
      ++out.other_files;
      continue;
    }
    const auto d = parse_dicom(file->bytes(), path, o.dicom);
    if (d && dicom_text(d->find(tag::modality)) == "SEG") {
      ++out.segmentations;
      continue;
    }
    const auto format = d ? d->has_pixels ? pixel_format(*d, path, o.limits) : Result<PixelFormat>(Error(ErrorCode::unsupported, "")) : Result<PixelFormat>(d.error());
    if (d && !d->has_pixels) {
      ++out.other_files;
      continue;
    }
    if (!format) {
      if (out.unreadable.size() < 20) out.unreadable.push_back(format.error());
      continue;
    }
    PixelFormat f = *format;
    const std::int64_t frames = f.frames;
    f.frames = 0;  // files of one stack may have different numbers
    const auto orientation = detail::dicom_orientation(*d, 0);
    const std::string series = dicom_text(d->find(tag::series));
    auto it = std::find_if(out.stacks.begin(), out.stacks.end(), [&](const DicomStack& s) {
      PixelFormat g = s.format;
      g.frames = 0;
      return s.series == series && g == f && detail::same_orientation(s.orientation, orientation);
    });
    if (it == out.stacks.end()) {
      out.stacks.push_back({series, dicom_text(d->find(tag::modality)), f, orientation, {}});
      it = out.stacks.end() - 1;
    }
    it->format.frames += frames;
    it->files.push_back(path);
  }
  std::stable_sort(out.stacks.begin(), out.stacks.end(), [](const DicomStack& a, const DicomStack& b) { return a.format.frames != b.format.frames ? a.format.frames > b.format.frames : a.series < b.series; });
  return out;
}

/// A file, or a folder with everything below it (links to folders are not followed). Names are sorted, so that the result does not depend on the file system.
inline Result<std::vector<std::string>> files_below(const std::string& path, std::size_t most) {
  namespace fs = std::filesystem;
  std::error_code error;
  std::vector<std::string> out;
  if (!fs::is_directory(path, error)) {
    out.push_back(path);
    return out;
  }
  for (auto it = fs::recursive_directory_iterator(path, fs::directory_options::skip_permission_denied, error); !error && it != fs::recursive_directory_iterator(); it.increment(error)) {
    std::error_code ignored;
    if (!it->is_regular_file(ignored)) continue;
    if (out.size() == most) return Error(ErrorCode::limit, cat(path, ": more than ", most, " files"));
    out.push_back(it->path().string());
  }
  if (error) return Error(ErrorCode::io, cat("cannot read ", path, ": ", error.message()));
  std::sort(out.begin(), out.end());
  return out;
}

/// The volume of one stack. `label` begins every message. Error{bad_file | unsupported | limit | invalid_argument | io | out_of_memory}.
inline Result<DicomVolume> read_dicom_stack(const DicomStack& stack, const std::string& label, const SeriesOptions& o = {}) {
  const auto refuse = [&](const std::string& what, ErrorCode code = ErrorCode::bad_file) { return Error(code, cat(label, ": ", what)); };
  if (stack.files.empty()) return refuse("no images");
  DicomVolume out;
  Volume& v = out.image;
  v.modality = stack.modality;
  std::vector<detail::DicomFrame> frames;
  std::set<std::string> seen;
  std::array<double, 6> axes{1, 0, 0, 0, 1, 0};
  std::array<double, 2> pixel{1, 1};  // between rows, between columns
  double thickness = 0, between = 0;
  bool oriented = false, sized = false;
  std::size_t copies = 0;
  std::vector<double> offsets;

  for (std::size_t n = 0; n < stack.files.size(); ++n) {
    SAMPAN_TRY(d, read_dicom(stack.files[n], o.dicom));
    SAMPAN_TRY(format, pixel_format(d, stack.files[n], o.limits));
    if (d.modality_lut) return refuse("its values need a modality look-up table", ErrorCode::unsupported);
    const std::string uid = dicom_text(d.find(tag::sop_instance));
    if (!uid.empty() && !seen.insert(uid).second) {
      ++copies;
      continue;
    }
    if (frames.empty()) {
      const auto orientation = detail::dicom_orientation(d, 0);
      oriented = orientation.has_value();
      if (oriented) axes = *orientation;
      const auto read_size = [&](std::uint32_t t) {  // zeros stand for "unknown" in some projections
        std::array<double, 2> size{};
        if (!dicom_decimals(d.find(t, 0), size.data(), 2) || !(size[0] > 0 && size[1] > 0)) return false;
        pixel = size;
        return true;
      };
      sized = read_size(tag::pixel_spacing);
      if (!sized && read_size(tag::imager_spacing)) sized = true, v.notes.push_back("pixel sizes are those at the detector, not in the patient");
      (void)dicom_decimals(d.find(tag::slice_thickness, 0), &thickness, 1);
      (void)dicom_decimals(d.find(tag::slice_spacing, 0), &between, 1);
      double window[2] = {};
      if (dicom_decimals(d.find(tag::window_center, 0), window, 1) && dicom_decimals(d.find(tag::window_width, 0), window + 1, 1) && window[1] > 0) out.window = GreyRange{window[0] - window[1] / 2, window[0] + window[1] / 2};
      auto& s = out.source;
      s.study = dicom_text(d.find(tag::study)), s.series = dicom_text(d.find(tag::series)), s.frame_of_reference = dicom_text(d.find(tag::frame_of_reference)), s.sop_class = dicom_text(d.find(tag::sop_class));
      s.orientation = dicom_text(d.find(tag::orientation, 0)), s.pixel_spacing = dicom_text(d.find(tag::pixel_spacing, 0)), s.thickness = dicom_text(d.find(tag::slice_thickness, 0));
      if (o.keep_patient) {
        auto patient = dicom_patient(d);
        if (!patient) return std::move(patient).error().at(label);
        s.patient = std::move(*patient);
      }
      if (format.frames > 1 && d.per_frame.empty() && d.find(tag::frame_offsets)) {
        offsets.resize(std::size_t(format.frames));
        if (!dicom_decimals(d.find(tag::frame_offsets), offsets.data(), offsets.size())) return refuse("its grid frame offset vector does not have a number for each frame");
      }
    }
    if (!out.source.lossy) detail::note_loss(d, format, out.source);
    for (std::int64_t k = 0; k < format.frames; ++k) {
      const auto index = std::size_t(k);
      detail::DicomFrame f;
      f.file = n, f.frame = k, f.sop_instance = uid;
      if (!detail::same_orientation(detail::dicom_orientation(d, index), oriented ? std::optional(axes) : std::nullopt)) return refuse("its frames have several orientations; split it first", ErrorCode::unsupported);
      std::array<double, 2> own{1, 1};
      if (dicom_decimals(d.find(tag::pixel_spacing, index), own.data(), 2) && sized && (std::abs(own[0] - pixel[0]) > 1e-3 * pixel[0] || std::abs(own[1] - pixel[1]) > 1e-3 * pixel[1]))
        return refuse("its images have several pixel sizes");
      Vec3 p{};
      const auto* e = d.find(tag::position, index);
      const bool in_group = index < d.per_frame.size() && d.per_frame[index].find(tag::position);
      if (dicom_decimals(e, p.data(), 3) && (in_group || format.frames == 1 || !offsets.empty())) f.position = p;
      if (f.position && offsets.empty()) f.position_text = dicom_text(e);  // with offsets the text is that of the first frame alone
      const auto* slope = d.find(tag::slope, index);
      const auto* intercept = d.find(tag::intercept, index);
      if ((slope && !dicom_view(slope).empty() && !dicom_decimals(slope, &f.slope, 1)) || (intercept && !dicom_view(intercept).empty() && !dicom_decimals(intercept, &f.intercept, 1))) return refuse("its rescale slope or intercept is no number");
      f.order = dicom_is(d.find(tag::instance_number)).value_or(std::int64_t(n)) * (std::int64_t(1) << 21) + k;
      frames.push_back(std::move(f));
      if (frames.size() > (std::size_t(1) << 20)) return refuse("more than a million frames", ErrorCode::limit);
    }
  }
  if (copies) v.notes.push_back(cat(copies, " files are copies of others and were left out"));

  // Order along the normal.
  const Vec3 along_row{axes[0], axes[1], axes[2]}, along_column{axes[3], axes[4], axes[5]};
  Vec3 normal = cross(along_row, along_column);
  const double length = norm(normal);
  if (!(length > 0.99 && length < 1.01) || !(std::abs(norm(along_row) - 1) < 0.01) || !(std::abs(norm(along_column) - 1) < 0.01)) return refuse("its image orientation is no pair of orthogonal directions of length 1");
  for (double& c : normal) c /= length;
  const std::size_t placed = std::size_t(std::count_if(frames.begin(), frames.end(), [](const auto& f) { return f.position.has_value(); }));
  const bool stacked = oriented && placed == frames.size();
  double step = between > 0 ? between : thickness > 0 ? thickness : 1;
  if (!stacked) {
    if (placed > 0 && frames.size() > 1) return refuse("some of its images have a position and some have none");
    std::sort(frames.begin(), frames.end(), [](const auto& a, const auto& b) { return a.order < b.order; });
    for (std::size_t i = 0; i < frames.size(); ++i) frames[i].along = double(i) * step;
    if (frames.size() > 1) v.notes.push_back(cat("its frames have no positions: taken as slices ", detail::mm(step), " mm apart, in their own order; they may be times"));
    else v.notes.push_back("no position: left and right are unknown, axes are taken as left, posterior");
  } else {
    for (auto& f : frames) {
      if (!offsets.empty())
        for (std::size_t c = 0; c < 3; ++c) (*f.position)[c] += normal[c] * (offsets[std::size_t(f.frame)] - offsets[0]);
      f.along = dot(*f.position, normal);
      if (!(std::abs(f.along) < kFarthest)) return refuse("a position farther than a million metres away");
    }
    std::sort(frames.begin(), frames.end(), [](const auto& a, const auto& b) { return a.along != b.along ? a.along < b.along : a.order < b.order; });
    // Positions that are one up to rounding: by number again.
    for (std::size_t i = 0; i < frames.size();) {
      std::size_t e = i + 1;
      while (e < frames.size() && frames[e].along - frames[e - 1].along <= 1e-3) ++e;
      std::sort(frames.begin() + std::ptrdiff_t(i), frames.begin() + std::ptrdiff_t(e), [](const auto& a, const auto& b) { return a.order < b.order; });
      for (std::size_t k = i; k < e; ++k) frames[k].along = frames[i].along;
      i = e;
    }
  }
  SAMPAN_TRY(place, detail::place_frames(frames, o, label, v.notes));
  if (place.frame.size() > 1) step = place.step;
  else if (thickness <= 0 && between <= 0) v.notes.push_back("one slice of unknown thickness: 1 mm is taken");

  // The grid, LPS first.
  v.grid.size = {stack.format.columns, stack.format.rows, place.slice.back() + 1};
  Vec3 origin{}, slices = normal;
  if (stacked) {
    const Vec3 a = *frames[place.frame.front()].position, b = *frames[place.frame.back()].position;
    origin = a;
    for (std::size_t c = 0; c < 3; ++c) slices[c] = place.frame.size() > 1 ? (b[c] - a[c]) / double(place.slice.back()) : normal[c] * step;
    for (std::size_t i = 0; i < place.frame.size(); ++i)
      for (std::size_t c = 0; c < 3; ++c)
        if (!(std::abs((*frames[place.frame[i]].position)[c] - a[c] - double(place.slice[i]) * slices[c]) <= 0.1 * step + 0.1)) return refuse("its slices are shifted against each other: not one block");
  } else {
    for (double& c : slices) c *= step;
  }
  Affine lps;
  for (std::size_t r = 0; r < 3; ++r) lps.m[r] = {along_row[r] * pixel[1], along_column[r] * pixel[0], slices[r], origin[r]};
  v.grid.affine = ras_to_lps(lps);
  if (!sized) v.notes.push_back("no pixel sizes: 1 mm is taken");
  SAMPAN_CHECK(check(v.grid.affine, cat(label, ": positions")));

  // Voxels.
  v.components = stack.format.samples;
  const auto& one = frames[place.frame[0]];
  const bool even = std::all_of(place.frame.begin(), place.frame.end(), [&](std::size_t i) { return frames[i].slope == one.slope && frames[i].intercept == one.intercept; });
  v.type = even || v.components > 1 ? stack.format.type : VoxelType::f32;
  if (even && v.components == 1) v.slope = one.slope, v.intercept = one.intercept;
  if (!even && v.components == 1) v.notes.push_back("each slice has its own slope and intercept; values are stored as float32");
  SAMPAN_TRY(bytes, volume_bytes(v.grid.size, v.components, v.type, o.limits, label));
  SAMPAN_TRY(data, VoxelData::allocate(bytes));
  const std::size_t slice_bytes = bytes / std::size_t(v.grid.size[2]), stored_bytes = stack.format.frame_bytes;
  std::vector<std::uint8_t> stored(stored_bytes);
  std::vector<bool> filled(std::size_t(v.grid.size[2]), false);
  out.source.slices.resize(std::size_t(v.grid.size[2]));
  std::optional<DicomData> open;
  std::optional<FrameReader> reader;
  std::size_t open_file = ~std::size_t(0);
  for (std::size_t i = 0; i < place.frame.size(); ++i) {
    const auto& f = frames[place.frame[i]];
    const std::string& path = stack.files[f.file];
    if (open_file != f.file) {
      reader.reset();
      SAMPAN_TRY(d, read_dicom(path, o.dicom));
      open.emplace(std::move(d));
      SAMPAN_TRY(format, pixel_format(*open, path, o.limits));
      if (format.frame_bytes != stored_bytes || format.frames <= f.frame) return Error(ErrorCode::io, cat(path, ": changed while it was read"));
      SAMPAN_TRY(r, FrameReader::make(*open, format, path, o.decoder));
      reader.emplace(std::move(r));
      open_file = f.file;
    }
    const std::size_t k = std::size_t(place.slice[i]);
    std::uint8_t* to = data.writable() + k * slice_bytes;
    SAMPAN_CHECK(reader->read(f.frame, v.type == stack.format.type ? to : stored.data()));
    if (v.type != stack.format.type)
      with_voxel_type(stack.format.type, [&](auto t) {
        for (std::size_t p = 0; p < slice_bytes / sizeof(float); ++p) {
          std::memcpy(&t, stored.data() + p * sizeof t, sizeof t);
          const float value = float(f.slope * double(t) + f.intercept);
          std::memcpy(to + p * sizeof value, &value, sizeof value);
        }
      });
    filled[k] = true;
    out.source.slices[k] = {f.sop_instance, f.position_text, open->per_frame.empty() && stack.format.frames == std::int64_t(stack.files.size()) ? 0 : f.frame + 1};
  }
  // Empty slices hold the lowest stored value of the others.
  if (std::find(filled.begin(), filled.end(), false) != filled.end())
    with_voxel_type(v.type, [&](auto t) {
      using T = decltype(t);
      T lowest = std::numeric_limits<T>::max();
      const auto each = [&](bool have, auto&& f) {
        for (std::size_t k = 0; k < filled.size(); ++k)
          if (filled[k] == have)
            for (std::size_t p = 0; p < slice_bytes; p += sizeof(T)) f(data.writable() + k * slice_bytes + p);
      };
      each(true, [&](std::uint8_t* p) { std::memcpy(&t, p, sizeof t), lowest = std::min(lowest, t); });
      each(false, [&](std::uint8_t* p) { std::memcpy(p, &lowest, sizeof lowest); });
    });
  if (stack.format.inverted) v.notes.push_back("MONOCHROME1: grey values were reversed");
  v.data = std::move(data);
  return out;
}

/// A DICOM file, or the only (or `which`-th) stack below a folder. Error{invalid_argument} that lists the stacks if there are several and none is chosen.
inline Result<DicomVolume> read_dicom_volume(const std::string& path, std::optional<std::size_t> which = {}, const SeriesOptions& o = {}) {
  SAMPAN_TRY(files, files_below(path, o.max_files));
  SAMPAN_TRY(scan, scan_dicom_files(files, o));
  if (scan.stacks.empty()) return scan.unreadable.empty() ? Error(ErrorCode::bad_file, cat(path, ": no DICOM image (", scan.segmentations, " segmentations, ", scan.other_files, " other files)")) : scan.unreadable[0];
  if (!which && scan.stacks.size() > 1) {
    std::string list;
    for (std::size_t i = 0; i < std::min<std::size_t>(scan.stacks.size(), 20); ++i) {
      const auto& s = scan.stacks[i];
      list += cat(i ? "; " : "", i, ": ", s.modality.empty() ? "?" : s.modality, " ", s.format.frames, " images of ", s.format.columns, "x", s.format.rows);
    }
    return Error(ErrorCode::invalid_argument, cat(path, ": holds ", scan.stacks.size(), " series; choose one by its number (", list, ")"));
  }
  if (which && *which >= scan.stacks.size()) return Error(ErrorCode::invalid_argument, cat(path, ": has no series ", *which, "; it holds ", scan.stacks.size()));
  auto v = read_dicom_stack(scan.stacks[which.value_or(0)], path, o);
  if (v && !scan.unreadable.empty()) v->image.notes.push_back(cat(scan.unreadable.size(), " files could not be read"));
  return v;
}

}  // namespace sampan::inline SAMPAN_ABI::medical
