// NRRD (.nrrd, .nhdr with its data beside it): header, place, voxels; and the writer of label maps as 3D Slicer's .seg.nrrd, with names and colours.
// Data flow: file -> read_nrrd -> Volume; LabelMap -> write_nrrd_labels -> AtomicFile.
// Source: teem.sourceforge.net/nrrd/format.html; segment keys as 3D Slicer's vtkMRMLSegmentationStorageNode writes them.
// Encodings raw and gzip; spaces RAS, LAS, LPS, or none. Up to four axes: the three of space, and one without a direction that is RGB(A) or of length 1.
// A detached data file must lie beside or below its header: a header must not make the program read /etc/passwd.
// Numbers are read and written independently of the locale, and written so that they come back bit by bit.
// Deliberately absent: hex, text and bzip2 encodings, data split over several files, key/value pairs (they may hold patient data, so none is kept).
#pragma once
#include "byte_stream.hpp"

#include <charconv>

namespace sampan::inline SAMPAN_ABI::medical {

namespace detail {

inline std::string_view trim(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t' || s.back() == '\r')) s.remove_suffix(1);
  return s;
}
/// Words between blanks; a vector "(1, 0, 0)" is one word whatever blanks it holds.
inline std::vector<std::string_view> words(std::string_view s) {
  std::vector<std::string_view> out;
  for (std::size_t i = 0; i < s.size();) {
    if (s[i] == ' ' || s[i] == '\t') {
      ++i;
      continue;
    }
    std::size_t end = s[i] == '(' ? s.find(')', i) : s.find_first_of(" \t", i);
    end = end == std::string_view::npos ? s.size() : end + (s[i] == '(');
    out.push_back(s.substr(i, end - i));
    i = end;
  }
  return out;
}
template <class T>
bool read_exact(std::string_view s, T& v) {
  if (s.size() > 1 && s[0] == '+') s.remove_prefix(1);
  const auto r = std::from_chars(s.data(), s.data() + s.size(), v);
  return r.ec == std::errc() && r.ptr == s.data() + s.size();
}
/// "(x,y,z)" or nothing.
inline std::optional<Vec3> read_vector(std::string_view s) {
  if (s.size() < 2 || s.front() != '(' || s.back() != ')') return std::nullopt;
  s = s.substr(1, s.size() - 2);
  Vec3 v{};
  for (std::size_t i = 0; i < 3; ++i) {
    const std::size_t comma = s.find(',');
    if ((comma == std::string_view::npos) != (i == 2) || !read_exact(trim(s.substr(0, comma)), v[i])) return std::nullopt;
    s = i < 2 ? s.substr(comma + 1) : std::string_view();
  }
  return v;
}

struct NrrdType {
  std::string_view names;  ///< separated by '|'
  VoxelType type;
};
inline constexpr NrrdType kNrrdTypes[] = {
    {"|uchar|unsigned char|uint8|uint8_t|", VoxelType::u8},
    {"|signed char|int8|int8_t|", VoxelType::i8},
    {"|ushort|unsigned short|unsigned short int|uint16|uint16_t|", VoxelType::u16},
    {"|short|short int|signed short|signed short int|int16|int16_t|", VoxelType::i16},
    {"|uint|unsigned int|uint32|uint32_t|", VoxelType::u32},
    {"|int|signed int|int32|int32_t|", VoxelType::i32},
    {"|ulonglong|unsigned long long|unsigned long long int|uint64|uint64_t|", VoxelType::u64},
    {"|longlong|long long|long long int|signed long long|signed long long int|int64|int64_t|", VoxelType::i64},
    {"|float|", VoxelType::f32},
    {"|double|", VoxelType::f64},
};
constexpr std::string_view nrrd_type_name(VoxelType t) {
  constexpr std::string_view names[] = {"uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float", "double"};
  return names[static_cast<std::size_t>(t)];
}

/// Signs that turn a space's axes into RAS; nothing for a space without anatomy.
inline std::optional<Vec3> nrrd_signs(std::string_view space) {
  if (space == "right-anterior-superior" || space == "ras") return Vec3{1, 1, 1};
  if (space == "left-anterior-superior" || space == "las") return Vec3{-1, 1, 1};
  if (space == "left-posterior-superior" || space == "lps") return Vec3{-1, -1, 1};
  return std::nullopt;
}

/// Fields of a header, names in small letters.
struct NrrdHeader {
  std::vector<std::pair<std::string, std::string>> fields;
  std::size_t end = 0;  ///< first byte behind the blank line (or the end of a detached header)
  const std::string* find(std::string_view name) const {
    for (const auto& [k, v] : fields)
      if (k == name) return &v;
    return nullptr;
  }
};

inline Result<NrrdHeader> parse_nrrd_header(Bytes file, const std::string& label, const VolumeLimits& limits) {
  const auto refuse = [&](const std::string& what, ErrorCode code = ErrorCode::bad_file) { return Error(code, cat(label, ": ", what)); };
  const std::string_view text = as_text(file.first(std::min<std::size_t>(file.size(), static_cast<std::size_t>(limits.max_header_bytes))));
  NrrdHeader h;
  std::size_t line_number = 0;
  for (std::size_t at = 0;;) {
    if (at >= text.size()) {
      if (text.size() < file.size()) return refuse(cat("its header does not end within ", limits.max_header_bytes, " bytes"), ErrorCode::limit);
      h.end = file.size();
      break;
    }
    const std::size_t newline = text.find('\n', at);
    if (newline == std::string_view::npos && text.size() < file.size()) return refuse(cat("its header does not end within ", limits.max_header_bytes, " bytes"), ErrorCode::limit);
    std::string_view line = text.substr(at, newline == std::string_view::npos ? newline : newline - at);
    at = newline == std::string_view::npos ? text.size() : newline + 1;
    ++line_number;
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (line_number == 1) {
      if (line.size() != 8 || line.substr(0, 7) != "NRRD000" || line[7] < '1' || line[7] > '5') return refuse("not a NRRD file of version 1 to 5: its first line must be NRRD0005 or older");
      continue;
    }
    if (line.empty()) {
      h.end = at;
      break;
    }
    if (line[0] == '#') continue;
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos || colon + 1 >= line.size()) return refuse(cat("line ", line_number, ": neither 'field: value' nor 'key:=value'"));
    if (line[colon + 1] == '=') continue;  // key/value pair: not kept
    std::string name = lower(trim(line.substr(0, colon)));
    if (name == "datafile") name = "data file";
    if (name == "centerings") name = "centers";
    if (name == "byteskip") name = "byte skip";
    if (name == "lineskip") name = "line skip";
    if (h.find(name)) return refuse(cat("line ", line_number, ": the field \"", name.substr(0, 60), "\" is given twice"));
    h.fields.emplace_back(std::move(name), std::string(trim(line.substr(colon + 1))));
  }
  return h;
}

}  // namespace detail

struct NrrdOptions {
  VolumeLimits limits;
};

inline bool looks_like_nrrd(Bytes b) { return b.size() >= 8 && as_text(b.first(7)) == "NRRD000"; }

/// The data file that a detached header names, or empty. Error{bad_file | unsupported} for a name that leaves the header's folder or for several files.
inline Result<std::string> nrrd_data_file(Bytes header, const std::string& label, const NrrdOptions& o = {}) {
  SAMPAN_TRY(h, detail::parse_nrrd_header(header, label, o.limits));
  const std::string* name = h.find("data file");
  if (!name) return std::string();
  const auto refuse = [&](std::string_view what, ErrorCode code) { return Error(code, cat(label, ": data file \"", name->substr(0, 120), "\": ", what)); };
  if (name->rfind("LIST", 0) == 0 || name->find('%') != std::string::npos) return refuse("data split over several files; join them first", ErrorCode::unsupported);
  if (name->empty() || (*name)[0] == '/' || name->find('\\') != std::string::npos || name->find(':') != std::string::npos || ("/" + *name + "/").find("/../") != std::string::npos)
    return refuse("must be a relative path beside or below the header", ErrorCode::bad_file);
  return *name;
}

/// Header and data as bytes; `data` is the content of the detached file, or nothing if the voxels follow the header in the same file.
/// `keep`: the mapped file that holds the voxels. Error{bad_file | limit | unsupported | out_of_memory}; every message begins with `label`.
inline Result<Volume> parse_nrrd(Bytes header, std::optional<Bytes> data, const std::string& label, const NrrdOptions& o = {}, MappedFile* keep = nullptr) {
  using detail::words;
  const auto refuse = [&](const std::string& what, ErrorCode code = ErrorCode::bad_file) { return Error(code, cat(label, ": ", what)); };
  SAMPAN_TRY(h, detail::parse_nrrd_header(header, label, o.limits));
  const auto field = [&](std::string_view name) { return h.find(name); };
  for (const char* needed : {"type", "dimension", "sizes", "encoding"})
    if (!field(needed)) return refuse(cat("its header has no field \"", needed, "\""));
  if (!data && field("data file")) return refuse("its voxels are in another file");

  Volume v;
  const std::string type = cat("|", detail::lower(*field("type")), "|");
  const auto* row = std::find_if(std::begin(detail::kNrrdTypes), std::end(detail::kNrrdTypes), [&](const auto& t) { return t.names.find(type) != std::string_view::npos; });
  if (row == std::end(detail::kNrrdTypes)) return refuse(cat("voxels of type \"", field("type")->substr(0, 60), "\"; integers and floats of 8 to 64 bits are read"), ErrorCode::unsupported);
  v.type = row->type;

  std::size_t rank = 0;
  if (!detail::read_exact(*field("dimension"), rank) || rank < 1 || rank > 4) return refuse(cat("dimension ", field("dimension")->substr(0, 20), ": 1 to 4 axes are read"), ErrorCode::unsupported);
  std::vector<std::int64_t> sizes(rank);
  const auto size_words = words(*field("sizes"));
  for (std::size_t a = 0; a < rank; ++a)
    if (size_words.size() != rank || !detail::read_exact(size_words[a], sizes[a]) || sizes[a] < 1) return refuse(cat("sizes: ", rank, " whole numbers above 0 are needed"));

  // Which axes lie in space. Without directions: the first three, or the last three of four (colour comes first).
  std::vector<std::optional<Vec3>> direction(rank);
  std::vector<std::size_t> spatial;
  const bool directed = field("space directions") != nullptr;
  if (directed) {
    const auto w = words(*field("space directions"));
    if (w.size() != rank) return refuse(cat("space directions: ", rank, " vectors are needed"));
    for (std::size_t a = 0; a < rank; ++a) {
      const std::string word = detail::lower(w[a]);
      direction[a] = detail::read_vector(w[a]);
      if (!direction[a] && word != "none") return refuse(cat("space directions: vector ", a + 1, " is neither (x,y,z) nor none"));
      if (direction[a] && !finite((*direction[a])[0])) direction[a].reset();  // (nan,nan,nan): an older way to say none
      if (direction[a]) spatial.push_back(a);
    }
  } else {
    const std::size_t first = rank == 4 ? 1 : 0;
    for (std::size_t a = first; a < std::min<std::size_t>(rank, first + 3); ++a) spatial.push_back(a);
  }
  if (spatial.empty() || spatial.size() > 3 || spatial.back() - spatial.front() + 1 != spatial.size()) return refuse("the axes of space must follow each other, three at most", ErrorCode::unsupported);
  for (std::size_t a = 0; a < rank; ++a) {
    if (std::find(spatial.begin(), spatial.end(), a) != spatial.end()) continue;
    const bool colour = a < spatial.front() && v.type == VoxelType::u8 && (sizes[a] == 3 || sizes[a] == 4);
    if (!colour && sizes[a] != 1) return refuse(cat("axis ", a + 1, " of length ", sizes[a], " is not in space: time, layers or vectors; store one volume"), ErrorCode::unsupported);
    if (colour) v.components = int(sizes[a]);
  }
  for (std::size_t i = 0; i < 3; ++i) v.grid.size[i] = i < spatial.size() ? sizes[spatial[i]] : 1;
  SAMPAN_TRY(bytes, volume_bytes(v.grid.size, v.components, v.type, o.limits, label));

  // Place.
  const std::string space = field("space") ? detail::lower(*field("space")) : std::string();
  const auto signs = detail::nrrd_signs(space);
  if (!signs) {
    if (space.find("time") != std::string::npos) return refuse(cat("space \"", space.substr(0, 60), "\" has a time axis; store one volume"), ErrorCode::unsupported);
    v.notes.push_back("no anatomical space: left and right are unknown, axes are taken as right, anterior, superior");
  }
  if (const std::string* n = field("space dimension"); n && *n != "3") return refuse(cat("space dimension ", n->substr(0, 20), ", 3 is needed"), ErrorCode::unsupported);
  const Vec3 sign = signs.value_or(Vec3{1, 1, 1});
  Affine& m = v.grid.affine;
  if (directed) {
    if (spatial.size() < 3) return refuse("space directions: three axes of space are needed", ErrorCode::unsupported);
    for (std::size_t c = 0; c < 3; ++c)
      for (std::size_t r = 0; r < 3; ++r) m.m[r][c] = sign[r] * (*direction[spatial[c]])[r];
  } else if (const std::string* spacings = field("spacings")) {
    const auto w = words(*spacings);
    if (w.size() != rank) return refuse(cat("spacings: ", rank, " numbers are needed"));
    for (std::size_t c = 0; c < spatial.size(); ++c) {
      double s = 0;
      if (!detail::read_exact(w[spatial[c]], s)) return refuse(cat("spacings: \"", w[spatial[c]].substr(0, 30), "\" is no number"));
      m.m[c][c] = sign[c] * (s != s ? 1 : s);  // NaN: not known
    }
  } else {
    v.notes.push_back("no voxel sizes: 1 mm is taken");
    for (std::size_t c = 0; c < 3; ++c) m.m[c][c] = sign[c];
  }
  if (const std::string* origin = field("space origin")) {
    const auto p = detail::read_vector(*origin);
    if (!p) return refuse("space origin: (x,y,z) is needed");
    for (std::size_t r = 0; r < 3; ++r) m.m[r][3] = sign[r] * (*p)[r];
  }
  SAMPAN_CHECK(check(m, cat(label, ": space directions")));
  v.grid.nrrd = NrrdGrid{signs ? space : std::string()};

  // Voxels.
  const std::string encoding = detail::lower(*field("encoding"));
  const bool gzip = encoding == "gzip" || encoding == "gz";
  if (!gzip && encoding != "raw") return refuse(cat("encoding \"", encoding.substr(0, 30), "\"; raw and gzip are read"), ErrorCode::unsupported);
  bool swapped = false;
  if (size_of(v.type) > 1) {
    const std::string endian = field("endian") ? detail::lower(*field("endian")) : std::string();
    if (endian != "little" && endian != "big") return refuse("its header must say endian: little or endian: big");
    swapped = endian == "big";
  }
  Bytes body = data ? *data : header.subspan(h.end);
  const std::size_t body_at = data ? 0 : h.end;
  std::int64_t line_skip = 0, byte_skip = 0;
  if (const auto* n = field("line skip"); n && (!detail::read_exact(*n, line_skip) || line_skip < 0)) return refuse("line skip: a whole number from 0 is needed");
  if (const auto* n = field("byte skip"); n && (!detail::read_exact(*n, byte_skip) || byte_skip < -1)) return refuse("byte skip: a whole number from -1 is needed");
  std::size_t skipped = 0;
  for (std::int64_t n = 0; n < line_skip; ++n) {
    const std::size_t end = as_text(body).find('\n', skipped);
    if (end == std::string_view::npos) return refuse(cat("line skip ", line_skip, ": its data have fewer lines"));
    skipped = end + 1;
  }
  body = body.subspan(skipped);
  if (byte_skip == -1) {
    if (gzip) return refuse("byte skip -1 with gzip: the size of the inflated data is not known before", ErrorCode::unsupported);
    if (body.size() < bytes) return refuse(cat("its header announces ", bytes, " bytes of voxels, ", body.size(), " are there: truncated, or a lying header"));
    byte_skip = static_cast<std::int64_t>(body.size() - bytes);
  }
  if (keep && !gzip && !swapped && std::uint64_t(byte_skip) <= body.size() && body.size() - std::uint64_t(byte_skip) >= bytes) {
    if (body.size() - std::uint64_t(byte_skip) > bytes) v.notes.push_back(cat(body.size() - std::uint64_t(byte_skip) - bytes, " bytes follow the voxels; they were not read"));
    v.data = VoxelData::map(std::move(*keep), body_at + skipped + std::size_t(byte_skip), bytes);
    return v;
  }
  SAMPAN_TRY(in, ByteStream::open(body, label, gzip));
  SAMPAN_CHECK(in.skip(std::uint64_t(byte_skip)));
  SAMPAN_TRY(voxels, read_voxels(in, bytes, label));
  SAMPAN_TRY(extra, in.finish(std::uint64_t(1) << 20));
  if (extra) v.notes.push_back(cat(extra, " bytes follow the voxels; they were not read"));
  if (swapped) swap_bytes(voxels.writable(), bytes / size_of(v.type), size_of(v.type));
  v.data = std::move(voxels);
  return v;
}

/// Error{io} too. Uncompressed voxels in the machine's byte order stay mapped.
inline Result<Volume> read_nrrd(const std::string& path, const NrrdOptions& o = {}) {
  SAMPAN_TRY(file, MappedFile::open(path));
  const Bytes bytes = file.bytes();
  SAMPAN_TRY(name, nrrd_data_file(bytes, path, o));
  if (name.empty()) return parse_nrrd(bytes, std::nullopt, path, o, &file);
  const std::size_t slash = path.rfind('/');
  auto data = MappedFile::open(slash == std::string::npos ? name : path.substr(0, slash + 1) + name);
  if (!data) return std::move(data).error().at(path);
  const Bytes content = data->bytes();
  return parse_nrrd(bytes, content, path, o, &*data);
}

// ---- writing -----------------------------------------------------------------------------------------------------------------------

struct NrrdImage {
  VoxelType type = VoxelType::u8;
  int components = 1;
  Bytes voxels;
};

/// NRRD0004 with the voxels behind the header, in the space of the source (LPS for grids from elsewhere). `extra`: key/value lines. Not committed.
inline Status write_nrrd(AtomicFile& out, bool gzip, const Grid& grid, const NrrdImage& image, const std::string& extra = {}) {
  if (image.voxels.size() != voxel_count(grid.size) * size_of(image.type) * std::size_t(image.components)) return Error(ErrorCode::invalid_argument, cat(out.path(), ": the voxels do not fit the grid"));
  const bool anatomical = !grid.nrrd || !grid.nrrd->space.empty();
  const std::string space = grid.nrrd && anatomical ? grid.nrrd->space : "left-posterior-superior";
  const Vec3 sign = anatomical ? detail::nrrd_signs(space).value_or(Vec3{1, 1, 1}) : Vec3{1, 1, 1};
  const auto vector = [&](const Vec3& p) { return cat("(", detail::real_text(sign[0] * p[0]), ",", detail::real_text(sign[1] * p[1]), ",", detail::real_text(sign[2] * p[2]), ")"); };
  const bool colour = image.components > 1;
  std::string h = cat("NRRD0004\ntype: ", detail::nrrd_type_name(image.type), "\ndimension: ", colour ? 4 : 3, "\n");
  h += anatomical ? cat("space: ", space, "\n") : std::string("space dimension: 3\n");
  h += cat("sizes: ", colour ? cat(image.components, " ") : std::string(), grid.size[0], " ", grid.size[1], " ", grid.size[2], "\n");
  h += cat("space directions: ", colour ? "none " : "", vector(grid.affine.column(0)), " ", vector(grid.affine.column(1)), " ", vector(grid.affine.column(2)), "\n");
  h += cat("kinds: ", colour ? image.components == 3 ? "RGB-color " : "RGBA-color " : "", "domain domain domain\n");
  if (size_of(image.type) > 1) h += "endian: little\n";
  h += cat("encoding: ", gzip ? "gzip" : "raw", "\nspace origin: ", vector(grid.affine.column(3)), "\n", extra, "\n");
  SAMPAN_CHECK(out.write(h));
  SAMPAN_TRY(sink, ByteSink::open(out, gzip));
  SAMPAN_CHECK(sink.write(image.voxels));
  return sink.finish();
}

/// A label map with the keys of 3D Slicer's segmentations: name, colour and value of each segment, all on layer 0. Gzip. Not committed.
inline Status write_nrrd_labels(AtomicFile& out, const LabelMap& labels) {
  std::string keys;
  const auto clean = [](const std::string& name) {  // one line, no escapes: what a name cannot hold in a NRRD header becomes a blank
    std::string s = name.substr(0, 256);
    for (char& c : s)
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f || c == '\\') c = ' ';
    return s;
  };
  std::vector<std::array<std::int64_t, 6>> extent(65536, {INT64_MAX, -1, INT64_MAX, -1, INT64_MAX, -1});
  std::size_t at = 0;
  std::uint16_t highest = 0;
  for (std::int64_t k = 0; k < labels.grid.size[2]; ++k)
    for (std::int64_t j = 0; j < labels.grid.size[1]; ++j)
      for (std::int64_t i = 0; i < labels.grid.size[0]; ++i)
        if (const std::uint16_t l = labels.voxels[at++]; l) {
          auto& e = extent[l];
          highest = std::max(highest, l);
          e = {std::min(e[0], i), std::max(e[1], i), std::min(e[2], j), std::max(e[3], j), std::min(e[4], k), std::max(e[5], k)};
        }
  for (std::size_t n = 0; n < labels.segments.size(); ++n) {
    const Segment& s = labels.segments[n];
    const auto& e = extent[std::size_t(s.label & 65535)];
    const std::string key = cat("Segment", n, "_");
    const auto channel = [&](std::size_t c) { return detail::real_text(double(s.colour[c]) / 255); };
    keys += cat(key, "Color:=", channel(0), " ", channel(1), " ", channel(2), "\n", key, "ColorAutoGenerated:=0\n");
    keys += e[1] < 0 ? cat(key, "Extent:=0 -1 0 -1 0 -1\n") : cat(key, "Extent:=", e[0], " ", e[1], " ", e[2], " ", e[3], " ", e[4], " ", e[5], "\n");
    keys += cat(key, "ID:=Segment_", s.label, "\n", key, "LabelValue:=", s.label, "\n", key, "Layer:=0\n");
    keys += cat(key, "Name:=", clean(s.name.empty() ? cat("label ", s.label) : s.name), "\n", key, "NameAutoGenerated:=0\n", key, "Tags:=\n");
  }
  if (!labels.segments.empty()) keys += "Segmentation_ContainedRepresentationNames:=Binary labelmap|\nSegmentation_ConversionParameters:=\nSegmentation_MasterRepresentation:=Binary labelmap\nSegmentation_ReferenceImageExtentOffset:=0 0 0\n";
  if (highest > 255) return write_nrrd(out, true, labels.grid, {VoxelType::u16, 1, {reinterpret_cast<const std::uint8_t*>(labels.voxels.data()), labels.voxels.size() * 2}}, keys);
  const std::vector<std::uint8_t> bytes(labels.voxels.begin(), labels.voxels.end());
  return write_nrrd(out, true, labels.grid, {VoxelType::u8, 1, Bytes(bytes)}, keys);
}

}  // namespace sampan::inline SAMPAN_ABI::medical
