// The npz files of the CVPR 2024 and 2025 challenges ("MedSAM on Laptop", "Interactive 3D Segmentation"): a case in, `segs` out.
// Data flow: zip (weights_tools/zip.hpp) -> npy.hpp -> NpzCase (Volume, boxes, clicks, truth); label map -> write_npz_labels -> AtomicFile.
// Source: CVPR24_LiteMedSAM_infer.py (bowang-lab/MedSAM, branch LiteMedSAM) and CVPR25_iter_eval.py (JunMa11/CVPR-MedSegFMCompetition):
//   imgs      (D,H,W) grey, or (H,W,3) when the file's name begins with 2D     spacing (x,y,z) as SimpleITK gives it
//   boxes     2024: (N,6) x_min y_min z_min x_max y_max z_max, 2D: (N,4) x_min y_min x_max y_max; 2025: dicts with z_min z_max z_mid z_mid_x_min ...
//   clicks    2025: per label a dict of fg and bg, each a list of [z,y,x]      gts: labels, the same shape as imgs
// Box i belongs to label i + 1. Ends are the last voxel inside. The array has no orientation: axes are taken as left, posterior, superior (DICOM's order).
// Deliberately absent: prev_pred, text prompts and every other member: ignored.
#pragma once
#include "npy.hpp"
#include "weights_tools/zip.hpp"

namespace sampan::inline SAMPAN_ABI::medical {

struct NpzBox {
  Vec3 low{}, high{};                 ///< x, y, z of the first and last voxel
  std::optional<double> middle = {};  ///< 2025: the slice in which the sides in x and y are those of the object
};
struct NpzClicks {
  std::vector<Vec3> foreground, background;  ///< x, y, z
};
struct NpzCase {
  Volume image;
  bool flat = false;                  ///< one picture (2D), not a volume
  std::vector<NpzBox> boxes;
  std::vector<NpzClicks> clicks;
  std::optional<LabelMap> truth;
};

inline bool looks_like_npz(Bytes b) { return tools::ZipArchive::looks_like(b); }

namespace detail {

inline constexpr std::size_t kMostPrompts = 10'000;

/// One member `name`.npy with the memory it views.
struct NpzMember {
  tools::Blob blob;
  NpyArray array;
};
inline Result<std::optional<NpzMember>> npz_member(const tools::ZipArchive& zip, std::string_view name) {
  const auto* m = zip.find(cat(name, ".npy"));
  if (!m) return std::optional<NpzMember>();
  SAMPAN_TRY(blob, zip.read(*m));
  NpzMember out;
  out.blob = std::move(blob);
  SAMPAN_TRY(array, parse_npy(out.blob.bytes, cat(zip.label(), ": ", name)));
  out.array = std::move(array);
  return std::optional<NpzMember>(std::move(out));
}

/// Voxels of a member; its own memory is taken over if it already lies right.
inline Result<VoxelData> npz_voxels(NpzMember m) {
  const std::size_t width = size_of(m.array.type), bytes = m.array.count * width;
  if (!m.array.fortran && !m.blob.owned.empty()) {
    const std::size_t offset = std::size_t(m.array.data.data() - m.blob.owned.data());
    VoxelData d = VoxelData::adopt(std::move(m.blob.owned), offset, bytes);
    if (m.array.swapped) swap_bytes(d.writable(), m.array.count, width);
    return d;
  }
  SAMPAN_TRY(d, VoxelData::allocate(bytes));
  if (!m.array.fortran) {
    std::memcpy(d.writable(), m.array.data.data(), bytes);
  } else {
    const auto& s = m.array.shape;  // three axes, as the caller has checked
    const std::size_t a = std::size_t(s[0]), b = std::size_t(s[1]), c = std::size_t(s[2]);
    for (std::size_t i = 0, at = 0; i < a; ++i)
      for (std::size_t j = 0; j < b; ++j)
        for (std::size_t k = 0; k < c; ++k, at += width) std::memcpy(d.writable() + at, m.array.data.data() + (i + a * (j + b * k)) * width, width);
  }
  if (m.array.swapped) swap_bytes(d.writable(), m.array.count, width);
  return std::move(d);
}

inline Result<std::vector<NpzBox>> npz_boxes(const NpyArray& a, bool flat, const std::string& label) {
  const auto refuse = [&](const std::string& what, ErrorCode code = ErrorCode::bad_file) { return Error(code, cat(label, ": boxes: ", what)); };
  std::vector<NpzBox> out;
  if (a.count > 6 * kMostPrompts) return refuse("too many", ErrorCode::limit);
  if (!a.object) {
    const std::size_t n = flat ? 4 : 6;
    if (a.shape.size() != 2 || a.shape[1] != std::int64_t(n)) return refuse(cat("a table with ", n, " columns is needed"));
    if (std::size_t(a.shape[0]) > kMostPrompts) return refuse("too many", ErrorCode::limit);
    for (std::size_t i = 0; i < std::size_t(a.shape[0]); ++i) {
      NpzBox b;
      for (std::size_t c = 0; c < n / 2; ++c) b.low[c] = a.at(i * n + c), b.high[c] = a.at(i * n + n / 2 + c);
      out.push_back(b);
    }
  } else {
    SAMPAN_TRY(objects, NpyObjects::read(a, cat(label, ": boxes")));
    if (objects.size() > kMostPrompts) return refuse("too many", ErrorCode::limit);
    for (std::size_t i = 0; i < objects.size(); ++i) {
      const auto& dict = objects.element(i);
      bool complete = true;
      const auto get = [&](std::string_view key) {
        const auto* v = objects.find(dict, key);
        const auto n = v ? objects.number(*v) : std::nullopt;
        complete = complete && n.has_value();
        return n.value_or(0);
      };
      NpzBox b{{get("z_mid_x_min"), get("z_mid_y_min"), get("z_min")}, {get("z_mid_x_max"), get("z_mid_y_max"), get("z_max")}};
      if (!complete) return refuse(cat("box ", i + 1, " is no dict of z_min, z_max, z_mid_x_min, z_mid_y_min, z_mid_x_max, z_mid_y_max"));
      if (const auto* m = objects.find(dict, "z_mid")) b.middle = objects.number(*m);
      out.push_back(b);
    }
  }
  return out;
}

inline Result<std::vector<NpzClicks>> npz_clicks(const NpyArray& a, const std::string& label) {
  const auto refuse = [&](const std::string& what, ErrorCode code = ErrorCode::bad_file) { return Error(code, cat(label, ": clicks: ", what)); };
  if (!a.object) return refuse("an array of dicts with fg and bg is needed");
  SAMPAN_TRY(objects, NpyObjects::read(a, cat(label, ": clicks")));
  if (objects.size() > kMostPrompts) return refuse("too many", ErrorCode::limit);
  std::vector<NpzClicks> out(objects.size());
  std::size_t total = 0;
  for (std::size_t i = 0; i < objects.size(); ++i)
    for (const bool fg : {true, false}) {
      const auto* list = objects.find(objects.element(i), fg ? "fg" : "bg");
      if (!list || list->kind != tools::PickleKind::list) return refuse(cat("entry ", i + 1, " is no dict of lists fg and bg"));
      if ((total += list->items.size()) > kMostPrompts) return refuse("too many", ErrorCode::limit);
      for (const auto ref : list->items) {
        const auto& click = objects.at(ref);
        Vec3 zyx{};
        bool good = (click.kind == tools::PickleKind::list || click.kind == tools::PickleKind::tuple) && click.items.size() == 3;
        for (std::size_t c = 0; good && c < 3; ++c) {
          const auto n = objects.number(objects.at(click.items[c]));
          good = n.has_value();
          zyx[c] = n.value_or(0);
        }
        if (!good) return refuse(cat("entry ", i + 1, ": each click is [z,y,x]"));
        (fg ? out[i].foreground : out[i].background).push_back({zyx[2], zyx[1], zyx[0]});
      }
    }
  return out;
}

}  // namespace detail

/// A case from the bytes of an .npz file. `flat`: a 2D case, `imgs` is (H,W,3) or (H,W). Error{bad_file | limit | unsupported}; messages begin with `label`.
inline Result<NpzCase> parse_npz(Bytes file, const std::string& label, bool flat, const VolumeLimits& limits = {}) {
  const auto refuse = [&](const std::string& what, ErrorCode code = ErrorCode::bad_file) { return Error(code, cat(label, ": ", what)); };
  // Background hardly costs anything in deflate, so the ratio says nothing; the size does.
  SAMPAN_TRY(zip, tools::ZipArchive::open(file, label, {.max_members = 1000, .max_inflated_bytes = limits.max_bytes + 65536, .max_ratio = 1100}));
  NpzCase out;
  out.flat = flat;
  SAMPAN_TRY(imgs, detail::npz_member(zip, "imgs"));
  if (!imgs) return refuse("has no member imgs.npy");
  const auto shape = imgs->array.shape;
  const bool colour = flat && shape.size() == 3;
  if (imgs->array.object || (colour ? shape[2] != 3 || imgs->array.type != VoxelType::u8 : shape.size() != (flat ? 2u : 3u)))
    return refuse(flat ? "imgs must be (H,W) or (H,W,3) uint8 in a 2D case" : "imgs must be (D,H,W); 2D cases have names that begin with 2D");
  Volume& v = out.image;
  v.type = imgs->array.type;
  v.components = colour ? 3 : 1;
  v.grid.size = flat ? Extent3{shape[1], shape[0], 1} : Extent3{shape[2], shape[1], shape[0]};
  SAMPAN_CHECK(volume_bytes(v.grid.size, v.components, v.type, limits, label));
  if (imgs->array.fortran && shape.size() != 3) return refuse("imgs in Fortran order", ErrorCode::unsupported);
  SAMPAN_TRY(voxels, detail::npz_voxels(std::move(*imgs)));
  v.data = std::move(voxels);

  Vec3 steps{1, 1, 1};
  SAMPAN_TRY(spacing_member, detail::npz_member(zip, "spacing"));
  if (spacing_member && !spacing_member->array.object && spacing_member->array.count == 3) {
    for (std::size_t c = 0; c < 3; ++c) steps[c] = spacing_member->array.at(c);
  } else {
    v.notes.push_back("no voxel sizes: 1 mm is taken");
  }
  v.grid.affine.m = {{{-steps[0], 0, 0, 0}, {0, -steps[1], 0, 0}, {0, 0, steps[2], 0}}};
  SAMPAN_CHECK(check(v.grid.affine, cat(label, ": spacing")));
  v.notes.push_back("npz holds no orientation: axes are taken as left, posterior, superior");

  SAMPAN_TRY(boxes, detail::npz_member(zip, "boxes"));
  if (boxes) {
    SAMPAN_TRY(list, detail::npz_boxes(boxes->array, flat, label));
    out.boxes = std::move(list);
  }
  SAMPAN_TRY(clicks, detail::npz_member(zip, "clicks"));
  if (clicks) {
    SAMPAN_TRY(list, detail::npz_clicks(clicks->array, label));
    out.clicks = std::move(list);
  }
  SAMPAN_TRY(gts, detail::npz_member(zip, "gts"));
  if (gts) {
    const std::vector<std::int64_t> needed = flat ? std::vector<std::int64_t>{shape[0], shape[1]} : shape;
    if (gts->array.object || gts->array.shape != needed || (gts->array.fortran && needed.size() != 3)) return refuse("gts must have the shape of imgs");
    Volume truth;
    truth.grid = v.grid;
    truth.type = gts->array.type;
    SAMPAN_TRY(data, detail::npz_voxels(std::move(*gts)));
    truth.data = std::move(data);
    auto labels = to_labels(truth);
    if (!labels) return std::move(labels).error().at(cat(label, ": gts"));
    out.truth = std::move(*labels);
  }
  return out;
}

/// Error{io} too. 2D cases by the challenge's rule: the file's name begins with 2D.
inline Result<NpzCase> read_npz(const std::string& path, const VolumeLimits& limits = {}) {
  SAMPAN_TRY(file, MappedFile::open(path));
  const std::size_t slash = path.rfind('/');
  return parse_npz(file.bytes(), path, path.compare(slash == std::string::npos ? 0 : slash + 1, 2, "2D") == 0, limits);
}

// ---- writing -----------------------------------------------------------------------------------------------------------------------

/// Writes a zip of one deflated member NAME.npy, as numpy.savez_compressed does. Error{limit} from 4 GiB: that would be another format (zip64). Not committed.
inline Status write_npz(AtomicFile& out, std::string_view name, VoxelType type, const std::vector<std::int64_t>& shape, Bytes data) {
  const std::string header = npy_header(type, shape);
  const std::uint64_t size = header.size() + data.size();
  if (size >= 0xFFFFFFFFu) return Error(ErrorCode::limit, cat(out.path(), ": ", size >> 20, " MiB do not fit an npz without zip64; write NIfTI"));
  uLong crc = crc32(0, reinterpret_cast<const Bytef*>(header.data()), static_cast<uInt>(header.size()));
  crc = crc32(crc, data.data(), static_cast<uInt>(data.size()));
  z_stream z{};
  if (deflateInit2(&z, 1, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY) != Z_OK) return Error(ErrorCode::out_of_memory, cat(out.path(), ": no memory to deflate"));
  std::vector<std::uint8_t> packed;
  std::uint8_t piece[1 << 16];
  int status = Z_OK;
  for (const bool last : {false, true}) {
    z.next_in = const_cast<Bytef*>(last ? data.data() : reinterpret_cast<const Bytef*>(header.data()));
    z.avail_in = static_cast<uInt>(last ? data.size() : header.size());
    do {
      z.next_out = piece;
      z.avail_out = sizeof piece;
      status = deflate(&z, last ? Z_FINISH : Z_NO_FLUSH);
      packed.insert(packed.end(), piece, piece + (sizeof piece - z.avail_out));
    } while (z.avail_out == 0);
  }
  deflateEnd(&z);
  if (status != Z_STREAM_END || packed.size() >= 0xFFFF0000u) return Error(ErrorCode::internal, cat(out.path(), ": zlib did not finish"));
  const std::string member = cat(name, ".npy");
  const auto number = [](std::string& to, std::uint64_t v, int bytes) {
    for (int i = 0; i < bytes; ++i) to += char(v >> (8 * i) & 255);
  };
  // The fields that local and central header share, from "version needed" to "length of the name": deflated, 1980-01-01.
  std::string shared;
  number(shared, 20, 2), number(shared, 0, 2), number(shared, 8, 2), number(shared, 0, 2), number(shared, 0x21, 2), number(shared, crc, 4), number(shared, packed.size(), 4), number(shared, size, 4), number(shared, member.size(), 2);
  std::string local = cat(std::string_view("PK\x03\x04", 4), shared);
  number(local, 0, 2);
  local += member;
  std::string central = std::string("PK\x01\x02", 4);
  number(central, 20, 2);
  central += shared;
  number(central, 0, 2), number(central, 0, 2), number(central, 0, 2), number(central, 0, 2), number(central, 0, 4), number(central, 0, 4);
  central += member;
  std::string end = std::string("PK\x05\x06", 4);
  number(end, 0, 4), number(end, 1, 2), number(end, 1, 2), number(end, central.size(), 4), number(end, local.size() + packed.size(), 4), number(end, 0, 2);
  SAMPAN_CHECK(out.write(local));
  SAMPAN_CHECK(out.write(Bytes(packed)));
  return out.write(central + end);
}

/// `segs` with imgs's shape, uint8 or (above label 255) uint16. Not committed.
inline Status write_npz_labels(AtomicFile& out, const LabelMap& labels, bool flat) {
  const auto& s = labels.grid.size;
  const std::vector<std::int64_t> shape = flat ? std::vector<std::int64_t>{s[1], s[0]} : std::vector<std::int64_t>{s[2], s[1], s[0]};
  const bool wide = std::any_of(labels.voxels.begin(), labels.voxels.end(), [](std::uint16_t v) { return v > 255; });
  if (wide) return write_npz(out, "segs", VoxelType::u16, shape, {reinterpret_cast<const std::uint8_t*>(labels.voxels.data()), labels.voxels.size() * 2});
  const std::vector<std::uint8_t> bytes(labels.voxels.begin(), labels.voxels.end());
  return write_npz(out, "segs", VoxelType::u8, shape, Bytes(bytes));
}

}  // namespace sampan::inline SAMPAN_ABI::medical
