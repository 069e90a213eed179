// Labels in the npz files of the CVPR challenges: gts of a case, segs of an answer. Data flow: file -> NpzLabels -> metrics.cpp, evaluate_cvpr24.hpp.
// Deliberately absent: imgs and prompts (examples/medical/npz.hpp reads whole cases).
#pragma once
#include "failure.hpp"

#include "examples/medical/npz.hpp"

#include <filesystem>

namespace sampan::cli {

/// Does the file at `path` begin as an npz does? A folder (of DICOM files) does not. Throws Failure{bad_file}.
inline bool is_npz_file(const std::string& path) {
  std::error_code ignored;
  return !std::filesystem::is_directory(path, ignored) && medical::looks_like_npz(must(MappedFile::open(path), Source::file).bytes());
}

struct NpzLabels {
  std::array<Index, 3> shape{1, 1, 1};
  bool flat = false;
  std::vector<std::uint16_t> voxels;
  std::optional<std::array<double, 3>> spacing;  ///< as it is stored: x, y, z
};

/// Member `name` of an npz, [D, H, W] or [H, W]; nothing if it has none. Throws Failure{bad_file | refused}.
inline std::optional<NpzLabels> read_npz_labels(const std::string& path, const char* name) {
  const auto file = must(MappedFile::open(path), Source::file);
  const medical::VolumeLimits limits;
  const auto zip = must(tools::ZipArchive::open(file.bytes(), path, {.max_members = 1000, .max_inflated_bytes = limits.max_bytes + 65536, .max_ratio = 1100}), Source::file);
  auto member = must(medical::detail::npz_member(zip, name), Source::file);
  if (!member) return std::nullopt;
  const auto shape = member->array.shape;
  const std::size_t axes = shape.size();
  if (member->array.object || axes < 2 || axes > 3 || (member->array.fortran && axes != 3)) throw Failure{Exit::bad_file, cat(path, ": ", name, " must be (D,H,W) or (H,W)")};
  NpzLabels out;
  out.flat = axes == 2;
  for (std::size_t i = 0; i < axes; ++i) out.shape[3 - axes + i] = shape[i];
  medical::Volume v;
  v.grid.size = {out.shape[2], out.shape[1], out.shape[0]};
  v.type = member->array.type;
  v.data = must(medical::detail::npz_voxels(std::move(*member)), Source::file);
  auto labels = medical::to_labels(v);
  if (!labels) throw Failure{Exit::bad_file, cat(path, ": ", name, ": ", labels.error().message())};
  out.voxels = std::move(labels->voxels);
  if (const auto spacing = must(medical::detail::npz_member(zip, "spacing"), Source::file); spacing && !spacing->array.object && spacing->array.count == 3)
    out.spacing = {spacing->array.at(0), spacing->array.at(1), spacing->array.at(2)};
  return out;
}

}  // namespace sampan::cli
