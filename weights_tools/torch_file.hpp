// Torch checkpoints as tables of tensors: the zip format (PyTorch 1.6 and later) and the legacy stream of pickles.
// Data flow: bytes -> zip.hpp, pickle.hpp -> here (storages get their bytes, tensors are checked against them, wrappers are taken off) -> checkpoint.hpp.
// zip: <name>/data.pkl, <name>/byteorder, <name>/data/<key>.  legacy: magic, protocol 1001, system info, object, list of keys, then per key i64 elements + bytes.
// Checked: a storage has exactly elements * item size bytes; offset and strides stay inside the storage; a tensor has no more elements than its storage.
// Source: torch/serialization.py, torch/_utils.py. Cost: no copy for stored members and contiguous tensors.
// Deliberately absent: TorchScript, big-endian files, the tar format of 2016, storages that are views of others; all are refused by name.
#pragma once
#include "pickle.hpp"
#include "zip.hpp"

#include <sampan/weights/safetensors.hpp>

namespace sampan::inline SAMPAN_ABI::tools {

/// A tensor of a source file, still as it is stored there.
struct SourceTensor {
  std::string name;
  DType dtype = DType::f32;
  weights::Shape shape;
  weights::Shape strides;  ///< in elements; empty: contiguous
  Bytes storage;           ///< from the tensor's first element on; exactly the tensor if contiguous
  std::string where;       ///< for messages: "archive/data/17" or "byte 4096"

  std::size_t count() const { return static_cast<std::size_t>(*weights::element_count(shape)); }
  std::size_t byte_size() const { return count() * size_of(dtype); }

  /// Its elements in row-major order; gathered into `scratch` if they do not lie so.
  Bytes contiguous(std::vector<std::uint8_t>& scratch) const {
    if (strides.empty()) return storage.first(byte_size());
    scratch.resize(byte_size());
    std::uint8_t* out = scratch.data();
    if (!scratch.empty()) gather(0, storage.data(), out);
    return scratch;
  }

 private:
  void gather(std::size_t axis, const std::uint8_t* from, std::uint8_t*& out) const {
    const std::size_t item = size_of(dtype);
    if (axis == shape.size()) {
      std::memcpy(out, from, item);
      out += item;
      return;
    }
    for (std::int64_t i = 0; i < shape[axis]; ++i) gather(axis + 1, from + static_cast<std::size_t>(i * strides[axis]) * item, out);
  }
};

/// Tensors and whatever keeps their bytes alive.
struct SourceTensors {
  std::vector<SourceTensor> tensors;  ///< in the order of the file
  std::vector<std::string> skipped;   ///< keys beside the tensors whose values are no tensors
  std::string wrapper;                ///< key that was unwrapped ("model"), or empty
  std::vector<Blob> blobs;
};

namespace detail {

/// Keys under which training programs keep the weights; the first whose value is a dict of tensors is taken. Up to three levels.
inline constexpr std::string_view kWrapperKeys[] = {"model", "model_state_dict", "state_dict", "model_state", "net", "teacher", "ema"};

inline bool has_tensors(const Pickle& p, const PickleValue& v) {
  if (v.kind != PickleKind::dict) return false;
  for (std::size_t i = 1; i < v.items.size(); i += 2)
    if (p.at(v.items[i]).kind == PickleKind::tensor) return true;
  return false;
}

inline const PickleValue* dict_find(const Pickle& p, const PickleValue& d, std::string_view key) {
  for (std::size_t i = 0; i + 1 < d.items.size(); i += 2)
    if (p.at(d.items[i]).kind == PickleKind::text && p.at(d.items[i]).text == key) return &p.at(d.items[i + 1]);
  return nullptr;
}

inline const PickleValue* unwrap(const Pickle& p, std::string& wrapper) {
  const PickleValue* v = &p.top();
  for (int level = 0; level < 3 && v->kind == PickleKind::dict; ++level) {
    const PickleValue* inner = nullptr;
    for (std::string_view key : kWrapperKeys) {
      const PickleValue* found = dict_find(p, *v, key);
      if (inner || !found || found->kind != PickleKind::dict) continue;
      inner = found;
      wrapper += cat(wrapper.empty() ? "" : ".", key);
    }
    if (!inner) break;
    v = inner;
  }
  return v;
}

/// Fills in one tensor from its storage; every range is checked here.
inline Status bind_tensor(const Pickle& p, const PickleTensor& t, const std::vector<Bytes>& storages, std::string_view label, SourceTensor& out) {
  const PickleStorage& s = p.storages[t.storage];
  const auto refuse = [&](std::string_view what, ErrorCode code = ErrorCode::bad_file) {
    return Error(code, cat(label, ", byte ", t.offset, ": tensor ", out.name.substr(0, 200), ": ", what));
  };
  out.dtype = s.dtype;
  out.shape = t.sizes;
  const auto count = weights::element_count(t.sizes);
  if (!count) return refuse(cat("sizes ", weights::to_string(t.sizes), " overflow"));
  if (*count > s.elements)
    return refuse(cat("has ", *count, " elements ", weights::to_string(t.sizes), ", its storage ", s.key.substr(0, 40), " only ", s.elements, "; expanded tensors are not read: call .contiguous() before saving"));
  std::int64_t last = t.first, dense = 1;
  bool contiguous = true;
  for (std::size_t a = t.sizes.size(); a-- > 0;) {
    std::int64_t reach = 0;
    if (*count > 0 && (__builtin_mul_overflow(t.sizes[a] - 1, t.strides[a], &reach) || __builtin_add_overflow(last, reach, &last))) return refuse("strides overflow");
    if (t.sizes[a] != 1 && t.strides[a] != dense) contiguous = false;
    if (*count > 0) dense *= t.sizes[a];  // <= count
  }
  if (*count > 0 && last >= s.elements) return refuse(cat("reaches element ", last, " of storage ", s.key.substr(0, 40), ", which has ", s.elements));
  if (*count == 0) {
    out.storage = {};
    return {};
  }
  const std::size_t item = size_of(s.dtype);
  out.storage = storages[t.storage].subspan(static_cast<std::size_t>(t.first) * item);
  if (contiguous) {
    out.storage = out.storage.first(out.byte_size());
  } else {
    out.strides = t.strides;
  }
  return {};
}

/// All tensors of the (unwrapped) top-level dict.
inline Status collect_tensors(const Pickle& p, const std::vector<Bytes>& storages, std::string_view label, SourceTensors& out) {
  const PickleValue* dict = unwrap(p, out.wrapper);
  if (!has_tensors(p, *dict))
    return Error(ErrorCode::bad_model, cat(label, ": ", out.wrapper.empty() ? "the file" : "its entry ", out.wrapper, " holds a ", to_string(dict->kind),
                                           dict->kind == PickleKind::dict ? " without tensors" : "", ", a dict of tensors is needed (a state_dict)"));
  for (std::size_t i = 0; i + 1 < dict->items.size(); i += 2) {
    const PickleValue &key = p.at(dict->items[i]), &value = p.at(dict->items[i + 1]);
    if (key.kind != PickleKind::text) return Error(ErrorCode::bad_file, cat(label, ": a key of the state_dict is a ", to_string(key.kind), ", str is needed"));
    for (std::size_t k = 0; k < key.text.size();) {
      const std::size_t n = sampan::detail::utf8_length(key.text, k);
      if (n == 0 || static_cast<unsigned char>(key.text[k]) < 0x20) return Error(ErrorCode::bad_file, cat(label, ": a key of the state_dict is not printable UTF-8"));
      k += n;
    }
    if (value.kind != PickleKind::tensor) {
      out.skipped.emplace_back(key.text);
      continue;
    }
    const PickleTensor& t = p.tensors[static_cast<std::size_t>(value.integer)];
    SourceTensor s;
    s.name = key.text;
    s.where = cat("storage ", p.storages[t.storage].key.substr(0, 40));
    SAMPAN_CHECK(bind_tensor(p, t, storages, label, s));
    out.tensors.push_back(std::move(s));
  }
  std::vector<std::string_view> names;
  for (const SourceTensor& t : out.tensors) names.push_back(t.name);
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end()) return Error(ErrorCode::bad_file, cat(label, ": tensor ", *twice, " appears twice"));
  return {};
}

/// One storage may be named by many tensors: indices of the storages with the same key, first one first; their types and sizes must agree.
inline Result<std::vector<std::size_t>> first_of_key(const Pickle& p, std::string_view label) {
  std::vector<std::size_t> order(p.storages.size()), first(p.storages.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return p.storages[a].key < p.storages[b].key; });
  for (std::size_t i = 0; i < order.size(); ++i) {
    const bool repeated = i > 0 && p.storages[order[i]].key == p.storages[order[i - 1]].key;
    first[order[i]] = repeated ? first[order[i - 1]] : order[i];
    const PickleStorage &a = p.storages[order[i]], &b = p.storages[first[order[i]]];
    if (a.dtype != b.dtype || a.elements != b.elements)
      return Error(ErrorCode::bad_file, cat(label, ", byte ", a.offset, ": storage ", a.key.substr(0, 40), " is named again with another type or size"));
  }
  return first;
}

inline Status check_storage_size(const PickleStorage& s, std::uint64_t bytes, std::string_view label, std::string_view where) {
  std::uint64_t want = 0;
  if (__builtin_mul_overflow(static_cast<std::uint64_t>(s.elements), size_of(s.dtype), &want) || want != bytes)
    return Error(ErrorCode::bad_file, cat(label, ": ", where, " has ", bytes, " bytes, but the pickle (byte ", s.offset, ") says ", s.elements, " elements of ", sampan::to_string(s.dtype)));
  return {};
}

}  // namespace detail

/// A .pth or .pt that is a zip archive.
inline Result<SourceTensors> read_torch_zip(const ZipArchive& zip) {
  const auto refuse = [&](std::string_view what, ErrorCode code = ErrorCode::bad_file) { return Error(code, cat(zip.label(), ": ", what)); };
  const ZipMember* pickle = nullptr;
  constexpr std::string_view kPickle = "data.pkl";
  for (const ZipMember& m : zip.members()) {
    const std::string_view name = m.name;
    if (name.size() >= kPickle.size() && name.substr(name.size() - kPickle.size()) == kPickle && (name.size() == kPickle.size() || name[name.size() - kPickle.size() - 1] == '/')) {
      if (pickle) return refuse(cat("two members data.pkl: ", pickle->name, " and ", m.name));
      pickle = &m;
    }
  }
  if (!pickle) return refuse("a zip file without data.pkl: not a PyTorch checkpoint");
  const std::string prefix = pickle->name.substr(0, pickle->name.size() - kPickle.size());
  if (zip.find(prefix + "constants.pkl"))
    return refuse("a TorchScript archive (it has constants.pkl): it holds a program. Take the model's state_dict or safetensors file instead", ErrorCode::unsupported);
  if (const ZipMember* order = zip.find(prefix + "byteorder")) {
    SAMPAN_TRY(text, zip.read(*order));
    if (as_text(text.bytes) != "little") return refuse("written on a big-endian machine, little-endian is read", ErrorCode::unsupported);
  }
  SourceTensors out;
  const std::string label = cat(zip.label(), ": ", pickle->name);
  const PickleLimits limits;
  if (pickle->size > limits.max_bytes) return refuse(cat(pickle->name, " has ", pickle->size, " bytes, at most ", limits.max_bytes, " are read"), ErrorCode::limit);
  SAMPAN_TRY(content, zip.read(*pickle));
  SAMPAN_TRY(p, Unpickler::read(content.bytes, label, limits));
  SAMPAN_TRY(first, detail::first_of_key(p, label));
  std::vector<Bytes> storages(p.storages.size());
  for (std::size_t i = 0; i < storages.size(); ++i) {
    if (first[i] != i) {
      storages[i] = storages[first[i]];
      continue;
    }
    const std::string name = cat(prefix, "data/", p.storages[i].key);
    const ZipMember* m = zip.find(name);
    if (!m) return refuse(cat("member ", name.substr(0, 200), " is missing"));
    SAMPAN_CHECK(detail::check_storage_size(p.storages[i], m->size, zip.label(), cat("member ", m->name)));
    SAMPAN_TRY(data, zip.read(*m));
    storages[i] = data.bytes;
    if (!data.owned.empty()) out.blobs.push_back(std::move(data));
  }
  SAMPAN_CHECK(detail::collect_tensors(p, storages, label, out));
  return out;
}

/// True if the bytes begin with a pickle of protocol 2 or later.
inline bool looks_like_pickle(Bytes b) { return b.size() > 2 && b[0] == 0x80 && b[1] >= 2 && b[1] <= 5; }

/// A legacy .pth: several pickles, then the storages.
inline Result<SourceTensors> read_torch_legacy(Bytes file, const std::string& label) {
  std::size_t at = 0;
  const auto next = [&](std::string_view part) { return Unpickler::read(file.subspan(at), cat(label, ": ", part, at ? cat(" (from byte ", at, ")") : std::string())); };
  SAMPAN_TRY(magic, next("header"));
  constexpr std::string_view kMagic("\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 10);  // 0x1950a86a20f9469cfc6c, little-endian
  if (magic.top().kind != PickleKind::big_integer || magic.top().text != kMagic)
    return Error(ErrorCode::bad_file, cat(label, ": a Python pickle, but not a PyTorch checkpoint (its first object is a ", to_string(magic.top().kind), ", not PyTorch's magic number)"));
  at += magic.end;
  SAMPAN_TRY(protocol, next("protocol"));
  if (protocol.top().kind != PickleKind::integer || protocol.top().integer != 1001) return Error(ErrorCode::unsupported, cat(label, ", byte ", at, ": PyTorch's protocol 1001 is needed"));
  at += protocol.end;
  SAMPAN_TRY(system, next("system info"));
  const PickleValue* little = system.top().kind == PickleKind::dict ? detail::dict_find(system, system.top(), "little_endian") : nullptr;
  if (!little || little->kind != PickleKind::boolean) return Error(ErrorCode::bad_file, cat(label, ", byte ", at, ": system info without little_endian"));
  if (little->integer != 1) return Error(ErrorCode::unsupported, cat(label, ": written on a big-endian machine, little-endian is read"));
  at += system.end;
  const std::string object_label = cat(label, ": object (from byte ", at, ")");
  SAMPAN_TRY(p, next("object"));
  at += p.end;
  SAMPAN_TRY(keys, next("storage keys"));
  at += keys.end;
  if (keys.top().kind != PickleKind::list) return Error(ErrorCode::bad_file, cat(label, ": the storage keys are a ", to_string(keys.top().kind), ", a list is needed"));

  SAMPAN_TRY(first, detail::first_of_key(p, object_label));
  std::vector<std::size_t> by_key;  // distinct storages, sorted by key
  for (std::size_t i = 0; i < first.size(); ++i)
    if (first[i] == i) by_key.push_back(i);
  std::sort(by_key.begin(), by_key.end(), [&](std::size_t a, std::size_t b) { return p.storages[a].key < p.storages[b].key; });
  if (keys.top().items.size() != by_key.size())
    return Error(ErrorCode::bad_file, cat(label, ": the list of storages has ", keys.top().items.size(), " keys, the tensors name ", by_key.size()));
  std::vector<Bytes> storages(p.storages.size());
  std::vector<bool> seen(p.storages.size());
  for (PickleRef r : keys.top().items) {
    const std::string_view key = keys.at(r).text;
    const auto it = std::lower_bound(by_key.begin(), by_key.end(), key, [&](std::size_t i, std::string_view k) { return p.storages[i].key < k; });
    if (keys.at(r).kind != PickleKind::text || it == by_key.end() || p.storages[*it].key != key || seen[*it])
      return Error(ErrorCode::bad_file, cat(label, ": storage key ", key.substr(0, 40), " is listed twice or belongs to no tensor"));
    seen[*it] = true;
    const PickleStorage& s = p.storages[*it];
    if (file.size() - at < 8) return Error(ErrorCode::bad_file, cat(label, ", byte ", at, ": storage ", key.substr(0, 40), " is missing: truncated file"));
    const std::int64_t elements = load_le<std::int64_t>(file, at);
    at += 8;
    std::uint64_t bytes = 0;
    if (elements != s.elements || __builtin_mul_overflow(static_cast<std::uint64_t>(elements), size_of(s.dtype), &bytes))
      return Error(ErrorCode::bad_file, cat(label, ", byte ", at - 8, ": storage ", key.substr(0, 40), " has ", elements, " elements, but the pickle says ", s.elements));
    if (bytes > file.size() - at)
      return Error(ErrorCode::bad_file, cat(label, ", byte ", at, ": storage ", key.substr(0, 40), " needs ", bytes, " bytes, only ", file.size() - at, " follow: truncated file"));
    storages[*it] = file.subspan(at, static_cast<std::size_t>(bytes));
    at += static_cast<std::size_t>(bytes);
  }
  if (at != file.size()) return Error(ErrorCode::bad_file, cat(label, ", byte ", at, ": ", file.size() - at, " bytes follow the last storage"));
  for (std::size_t i = 0; i < storages.size(); ++i) storages[i] = storages[first[i]];
  SourceTensors out;
  SAMPAN_CHECK(detail::collect_tensors(p, storages, object_label, out));
  return out;
}

}  // namespace sampan::inline SAMPAN_ABI::tools
