// Safetensors files: a bounded reader (over a mapped file or over bytes) and a streaming writer.
// Data flow: weights file -> here -> weights/loader.hpp -> packed layers; sampan-convert, embeddings, --dump and --trace end in the writer.
// Format: u64 little-endian header length, JSON header {name: {dtype, shape, data_offsets}, "__metadata__": {text: text}}, then the data without gaps.
// Every field is checked before use; a refusal names file, tensor, byte offset in the file, and what would be right. Cost: the header only; data pages are
// read when touched. Deliberately absent: big-endian machines (refused at compile time), fp8 and complex types, lenient reading of files with gaps.
#pragma once
#include <sampan/core/dtype.hpp>
#include <sampan/core/file.hpp>
#include <sampan/core/json.hpp>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <optional>

namespace sampan::inline SAMPAN_ABI::weights {

static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian");

using Shape = std::vector<std::int64_t>;

/// "[1,64,64,768]"
inline std::string to_string(const Shape& s) {
  std::string t = "[";
  for (std::size_t i = 0; i < s.size(); ++i) t += cat(i ? "," : "", s[i]);
  return t += ']';
}

/// Product of the extents; nothing if an extent is negative or the product passes int64. An empty shape is a scalar: 1.
inline std::optional<std::int64_t> element_count(const Shape& s) {
  std::int64_t n = 1;
  bool zero = false;
  for (std::int64_t e : s) {
    if (e < 0) return std::nullopt;
    if (e == 0) zero = true;
    if (e > 0 && __builtin_mul_overflow(n, e, &n)) return std::nullopt;  // also when another extent is 0: no reader should meet such a shape
  }
  return zero ? 0 : n;
}

/// One tensor of a file. `data` has element_count(shape) * size_of(dtype) bytes, not necessarily aligned to the element.
struct TensorEntry {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  Bytes data;
  std::uint64_t file_offset = 0;  ///< of data[0] from the start of the file
};

/// Copies and converts `count` elements to float; every dtype is legal (f64 and integers round to nearest).
inline void convert_to_f32(DType from, const std::uint8_t* bytes, std::size_t count, float* out) {
  const auto each = [&]<class T>(T, auto&& convert) {
    for (std::size_t i = 0; i < count; ++i) {
      T v;
      std::memcpy(&v, bytes + i * sizeof(T), sizeof(T));
      out[i] = convert(v);
    }
  };
  const auto cast = [](auto v) { return static_cast<float>(v); };
  switch (from) {
    case DType::f32:
      if (count) std::memcpy(out, bytes, count * sizeof(float));
      return;
    case DType::f64: return each(double{}, cast);
    case DType::f16: return each(std::uint16_t{}, f16_to_f32);
    case DType::bf16: return each(std::uint16_t{}, bf16_to_f32);
    case DType::i64: return each(std::int64_t{}, cast);
    case DType::i32: return each(std::int32_t{}, cast);
    case DType::i16: return each(std::int16_t{}, cast);
    case DType::i8: return each(std::int8_t{}, cast);
    case DType::u64: return each(std::uint64_t{}, cast);
    case DType::u32: return each(std::uint32_t{}, cast);
    case DType::u16: return each(std::uint16_t{}, cast);
    case DType::u8: return each(std::uint8_t{}, cast);
    case DType::boolean: return each(std::uint8_t{}, [](std::uint8_t v) { return v ? 1.0f : 0.0f; });
  }
}

inline constexpr std::uint64_t kMaxHeaderBytes = std::uint64_t(100) << 20;  // the format's own limit
inline constexpr int kMaxTensorRank = 8;

struct MetadataEntry {
  std::string key, value;
};

class Safetensors {
 public:
  Safetensors() = default;
  /// Maps the file and reads its header. Error{io | bad_file | limit}.
  static Result<Safetensors> open(std::string path) {
    SAMPAN_TRY(file, MappedFile::open(std::move(path)));
    Safetensors s;
    s.file_ = std::move(file);
    s.label_ = s.file_.path();
    SAMPAN_CHECK(s.read(s.file_.bytes()));
    return s;
  }
  /// Reads bytes that the caller keeps alive; `label` stands for the file name in messages.
  static Result<Safetensors> parse(Bytes bytes, std::string label) {
    Safetensors s;
    s.label_ = std::move(label);
    SAMPAN_CHECK(s.read(bytes));
    return s;
  }

  /// In the order of their data in the file.
  const std::vector<TensorEntry>& tensors() const { return tensors_; }
  /// nullptr if absent; log n.
  const TensorEntry* find(std::string_view name) const {
    const auto it = std::lower_bound(by_name_.begin(), by_name_.end(), name, [this](std::size_t i, std::string_view n) { return tensors_[i].name < n; });
    return it != by_name_.end() && tensors_[*it].name == name ? &tensors_[*it] : nullptr;
  }
  const std::vector<MetadataEntry>& metadata() const { return metadata_; }
  /// nullptr if absent.
  const std::string* metadata(std::string_view key) const {
    for (const MetadataEntry& m : metadata_)
      if (m.key == key) return &m.value;
    return nullptr;
  }
  /// File name, or the label given to parse().
  const std::string& path() const { return label_; }
  /// Everything behind the header.
  Bytes data() const { return data_; }
  /// Gives the memory of a tensor's pages back after it was packed (MappedFile::release).
  void release(const TensorEntry& t) const { file_.release(static_cast<std::size_t>(t.file_offset), t.data.size()); }

 private:
  Status read(Bytes all) {
    const auto refuse = [this](ErrorCode code, std::string_view what) { return Error(code, cat(label_, ": ", what)); };
    if (all.size() < 8)
      return refuse(ErrorCode::bad_file, cat(all.size(), " bytes are too few for a safetensors file: it begins with an 8-byte header length"));
    std::uint64_t header = 0;
    std::memcpy(&header, all.data(), 8);
    if (header > kMaxHeaderBytes)
      return refuse(ErrorCode::bad_file, cat("byte 0: a header of ", header, " bytes, at most ", kMaxHeaderBytes, " are legal: not a safetensors file"));
    if (header > all.size() - 8)
      return refuse(ErrorCode::bad_file, cat("byte 0: a header of ", header, " bytes, but only ", all.size() - 8, " follow: truncated or not a safetensors file"));
    const std::string_view text = as_text(all.subspan(8, static_cast<std::size_t>(header)));
    if (text.empty() || text[0] != '{') return refuse(ErrorCode::bad_file, "byte 8: the header must begin with '{': not a safetensors file");
    auto json = Json::parse(text);
    if (!json) return std::move(json).error().at(cat(label_, ": safetensors header (from byte 8)"));
    data_ = all.subspan(8 + static_cast<std::size_t>(header));
    const Json::Object& entries = *json->object();
    for (std::size_t i = 0; i < entries.keys.size(); ++i)
      SAMPAN_CHECK(entries.keys[i] == "__metadata__" ? read_metadata(entries.values[i]) : read_tensor(entries.keys[i], entries.values[i], 8 + header));
    std::stable_sort(tensors_.begin(), tensors_.end(), [](const TensorEntry& a, const TensorEntry& b) {
      return a.file_offset != b.file_offset ? a.file_offset < b.file_offset : a.data.size() < b.data.size();  // empty tensors first
    });
    std::uint64_t end = 8 + header;
    for (const TensorEntry& t : tensors_) {
      if (t.file_offset != end)
        return refuse(ErrorCode::bad_file, cat("tensor ", t.name.substr(0, 200), " begins at byte ", t.file_offset, t.file_offset < end ? ", inside the tensor before it; " : ", after a gap; ",
                                               "byte ", end, " would be right"));
      end += t.data.size();
    }
    if (end != all.size()) return refuse(ErrorCode::bad_file, cat("the tensors end at byte ", end, ", but the file has ", all.size(), " bytes"));
    by_name_.resize(tensors_.size());
    std::iota(by_name_.begin(), by_name_.end(), std::size_t(0));
    std::sort(by_name_.begin(), by_name_.end(), [this](std::size_t a, std::size_t b) { return tensors_[a].name < tensors_[b].name; });
    return {};
  }

  Status read_metadata(const Json& j) {
    if (!j.object()) return Error(ErrorCode::bad_file, cat(label_, ": __metadata__ is of type ", j.type_name(), ", an object of texts is needed"));
    for (std::size_t i = 0; i < j.object()->keys.size(); ++i) {
      const std::string& key = j.object()->keys[i];
      const Json& value = j.object()->values[i];
      if (!value.string()) return Error(ErrorCode::bad_file, cat(label_, ": __metadata__ entry ", key.substr(0, 200), " is of type ", value.type_name(), ", text is needed"));
      metadata_.push_back({key, *value.string()});
    }
    return {};
  }

  Status read_tensor(const std::string& name, const Json& entry, std::uint64_t data_start) {
    const auto refuse = [&](std::string_view what, ErrorCode code = ErrorCode::bad_file) { return Error(code, cat(label_, ": tensor ", name.substr(0, 200), ": ", what)); };
    const Json *dtype = entry.find("dtype"), *shape = entry.find("shape"), *range = entry.find("data_offsets");
    if (!dtype || !dtype->string() || !shape || !shape->array() || !range || !range->array() || entry.object()->keys.size() != 3)
      return refuse("its header entry must hold exactly dtype (text), shape (list) and data_offsets (list)");
    TensorEntry t;
    t.name = name;
    const DTypeRow* row = std::find_if(std::begin(kDTypes), std::end(kDTypes), [&](const DTypeRow& r) { return *dtype->string() == r.name; });
    if (row == std::end(kDTypes)) {
      std::string known;
      for (const DTypeRow& r : kDTypes) known += cat(" ", r.name);
      return refuse(cat("dtype \"", dtype->string()->substr(0, 40), "\" is not supported; known are", known), ErrorCode::unsupported);
    }
    t.dtype = row->type;
    if (shape->array()->size() > kMaxTensorRank) return refuse(cat(shape->array()->size(), " dimensions, at most ", kMaxTensorRank, " are read"), ErrorCode::limit);
    for (const Json& e : *shape->array()) {
      if (!e.integer() || *e.integer() < 0) return refuse("shape must be a list of whole numbers >= 0");
      t.shape.push_back(*e.integer());
    }
    const auto count = element_count(t.shape);
    std::uint64_t bytes = 0;
    if (!count || __builtin_mul_overflow(static_cast<std::uint64_t>(*count), row->bytes, &bytes)) return refuse(cat("shape ", to_string(t.shape), " overflows 64 bits"));
    const Json::Array& ends = *range->array();
    if (ends.size() != 2 || !ends[0].integer() || !ends[1].integer() || *ends[0].integer() < 0) return refuse("data_offsets must be [begin, end], whole numbers >= 0");
    const std::int64_t begin = *ends[0].integer(), end = *ends[1].integer();
    if (end < begin) return refuse(cat("data_offsets [", begin, ",", end, "] are reversed"));
    if (static_cast<std::uint64_t>(end) > data_.size())
      return refuse(cat("data_offsets [", begin, ",", end, "] end at byte ", data_start + static_cast<std::uint64_t>(end), " of a file of ", data_start + data_.size(),
                        " bytes: truncated file or wrong header"));
    if (static_cast<std::uint64_t>(end - begin) != bytes)
      return refuse(cat("holds ", end - begin, " bytes at byte ", data_start + static_cast<std::uint64_t>(begin), ", but ", row->name, " ", to_string(t.shape), " needs ", bytes));
    t.file_offset = data_start + static_cast<std::uint64_t>(begin);
    t.data = data_.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(bytes));
    tensors_.push_back(std::move(t));
    return {};
  }

  MappedFile file_;
  std::string label_;
  Bytes data_;
  std::vector<TensorEntry> tensors_;
  std::vector<std::size_t> by_name_;
  std::vector<MetadataEntry> metadata_;
};

/// What the writer must know before the first byte of data.
struct TensorSpec {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
};

/// Writes one file: create() takes all names and shapes, then write() the data of specs() in that order, in pieces of any size; commit() finishes.
/// Order is larger elements first, then by name: every tensor is aligned to its element and equal content gives equal bytes.
class SafetensorsWriter {
 public:
  static Result<SafetensorsWriter> create(std::string path, std::vector<TensorSpec> specs, const std::vector<MetadataEntry>& metadata = {}) {
    sort(specs);
    std::vector<std::string_view> names;
    for (const TensorSpec& t : specs) names.push_back(t.name);
    std::sort(names.begin(), names.end());
    if (const auto twice = std::adjacent_find(names.begin(), names.end()); twice != names.end())
      return Error(ErrorCode::invalid_argument, cat("cannot write ", path, ": tensor ", *twice, " is given twice"));
    std::uint64_t total = 0;
    JsonWriter header;
    header.begin_object();
    if (!metadata.empty()) {
      header.key("__metadata__").begin_object();
      for (const MetadataEntry& m : metadata) header.member(m.key, m.value);
      header.end_object();
    }
    for (const TensorSpec& t : specs) {
      const auto refuse = [&](std::string_view what) { return Error(ErrorCode::invalid_argument, cat("cannot write ", path, ": tensor ", t.name, ": ", what)); };
      if (t.name == "__metadata__") return refuse("this name is reserved");
      const auto count = element_count(t.shape);
      std::uint64_t bytes = 0, end = 0;
      if (!count || __builtin_mul_overflow(static_cast<std::uint64_t>(*count), size_of(t.dtype), &bytes) || __builtin_add_overflow(total, bytes, &end))
        return refuse(cat("shape ", to_string(t.shape), " overflows 64 bits"));
      header.key(t.name).begin_object().member("dtype", row_of(t.dtype).name).list("shape", t.shape);
      header.list("data_offsets", std::initializer_list<std::uint64_t>{total, end}).end_object();
      total = end;
    }
    std::string text = header.end_object().text();
    text.append((8 - text.size() % 8) % 8, ' ');
    if (text.size() > kMaxHeaderBytes) return Error(ErrorCode::limit, cat("cannot write ", path, ": a header of ", text.size(), " bytes, at most ", kMaxHeaderBytes, " are legal"));
    SAMPAN_TRY(file, AtomicFile::create(std::move(path)));
    const std::uint64_t length = text.size();
    std::uint8_t prefix[8];
    std::memcpy(prefix, &length, 8);
    SAMPAN_CHECK(file.write(Bytes(prefix)));
    SAMPAN_CHECK(file.write(text));
    return SafetensorsWriter(std::move(file), std::move(specs), total);
  }

  /// The order in which data must come.
  static void sort(std::vector<TensorSpec>& specs) {
    std::sort(specs.begin(), specs.end(), [](const TensorSpec& a, const TensorSpec& b) {
      if (size_of(a.dtype) != size_of(b.dtype)) return size_of(a.dtype) > size_of(b.dtype);
      return a.name != b.name ? a.name < b.name : a.dtype < b.dtype;
    });
  }
  const std::vector<TensorSpec>& specs() const { return specs_; }

  Status write(Bytes piece) {
    if (piece.size() > left_) return Error(ErrorCode::invalid_argument, cat("cannot write ", file_.path(), ": more data than the shapes announce"));
    left_ -= piece.size();
    return file_.write(piece);
  }
  template <class T>
    requires std::is_arithmetic_v<T>
  Status write(std::span<const T> piece) {
    return write(Bytes(reinterpret_cast<const std::uint8_t*>(piece.data()), piece.size_bytes()));
  }
  Status commit() {
    if (left_ != 0) return Error(ErrorCode::invalid_argument, cat("cannot write ", file_.path(), ": ", left_, " bytes of data are missing"));
    return file_.commit();
  }

 private:
  SafetensorsWriter(AtomicFile f, std::vector<TensorSpec> s, std::uint64_t total) : file_(std::move(f)), specs_(std::move(s)), left_(total) {}

  AtomicFile file_;
  std::vector<TensorSpec> specs_;
  std::uint64_t left_;
};

}  // namespace sampan::inline SAMPAN_ABI::weights
