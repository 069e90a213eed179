// Builders of weight files in memory, right ones and hostile ones: safetensors, zip, pickle, torch checkpoints; and a temporary folder.
// Data flow: tests of weights/ and weights_tools/ -> here -> bytes in a std::string. Written from the formats' documents, not with the engine's writers,
// so that each can be held against the other. Deliberately absent: checks; whatever a test asks for is built, however wrong.
#pragma once
#include <sampan/core/file.hpp>

#include <zlib.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

namespace sampan::test {

/// A folder that goes away with the object.
class TempDir {
 public:
  TempDir() {
    const auto base = std::filesystem::temp_directory_path();
    for (int n = 0;; ++n) {
      path_ = base / ("sampan-test-" + std::to_string(::getpid()) + "-" + std::to_string(n));
      if (std::filesystem::create_directory(path_)) return;
    }
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  std::string path(const std::string& name = {}) const { return name.empty() ? path_.string() : (path_ / name).string(); }
  std::size_t file_count() const {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(path_), std::filesystem::directory_iterator()));
  }

 private:
  std::filesystem::path path_;
};

inline std::string put_file(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
  return path;
}
inline std::string get_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// Little-endian bytes of a number.
template <class T>
std::string le(T v) {
  std::string s(sizeof(T), '\0');
  std::memcpy(s.data(), &v, sizeof(T));
  return s;
}
template <class T>
std::string bytes_of(const std::vector<T>& v) {
  std::string s(v.size() * sizeof(T), '\0');
  if (!v.empty()) std::memcpy(s.data(), v.data(), s.size());
  return s;
}

/// A safetensors file from its header text and data.
inline std::string safetensors(const std::string& header, const std::string& data = {}) { return le(std::uint64_t(header.size())) + header + data; }

/// How a zip member deviates from the truth.
struct ZipLies {
  bool deflate = false;
  std::uint16_t flags = 0;
  int method = -1;               ///< -1: as `deflate` says
  std::int64_t size = -1;        ///< announced inflated size
  std::int64_t stored_size = -1;
  bool wrong_crc = false;
  std::string local_name{};      ///< name in the local header; empty: the right one
};

class ZipBuilder {
 public:
  ZipBuilder& add(const std::string& name, const std::string& content, const ZipLies& lies = {}) {
    std::string stored = lies.deflate ? deflated(content) : content;
    Entry e;
    e.name = name;
    e.offset = bytes_.size();
    e.crc = static_cast<std::uint32_t>(crc32(0, reinterpret_cast<const Bytef*>(content.data()), static_cast<uInt>(content.size()))) ^ (lies.wrong_crc ? 1u : 0u);
    e.size = lies.size >= 0 ? static_cast<std::uint32_t>(lies.size) : static_cast<std::uint32_t>(content.size());
    e.stored = lies.stored_size >= 0 ? static_cast<std::uint32_t>(lies.stored_size) : static_cast<std::uint32_t>(stored.size());
    e.flags = lies.flags;
    e.method = static_cast<std::uint16_t>(lies.method >= 0 ? lies.method : lies.deflate ? 8 : 0);
    const std::string local = lies.local_name.empty() ? name : lies.local_name;
    bytes_ += "PK\x03\x04" + le(std::uint16_t(20)) + le(e.flags) + le(e.method) + le(std::uint32_t(0)) + le(e.crc) + le(e.stored) + le(e.size) +
              le(static_cast<std::uint16_t>(local.size())) + le(std::uint16_t(0)) + local + stored;
    entries_.push_back(e);
    return *this;
  }
  /// A second directory entry for an existing member, under another name if given.
  ZipBuilder& repeat(std::size_t entry, const std::string& name = {}) {
    Entry e = entries_[entry];
    if (!name.empty()) e.name = name;
    entries_.push_back(e);
    return *this;
  }
  /// zip64: sizes and offsets move to the extra field, a zip64 end record and a locator are added.
  std::string finish(bool zip64 = false, const std::string& comment = {}) const {
    std::string out = bytes_;
    const std::uint64_t start = out.size();
    for (const Entry& e : entries_) {
      std::string extra;
      const std::uint32_t all = 0xFFFFFFFFu;
      if (zip64) extra = le(std::uint16_t(1)) + le(std::uint16_t(24)) + le(std::uint64_t(e.size)) + le(std::uint64_t(e.stored)) + le(std::uint64_t(e.offset));
      out += "PK\x01\x02" + le(std::uint16_t(45)) + le(std::uint16_t(45)) + le(e.flags) + le(e.method) + le(std::uint32_t(0)) + le(e.crc) + le(zip64 ? all : e.stored) +
             le(zip64 ? all : e.size) + le(static_cast<std::uint16_t>(e.name.size())) + le(static_cast<std::uint16_t>(extra.size())) + le(std::uint16_t(0)) + le(std::uint16_t(0)) +
             le(std::uint16_t(0)) + le(std::uint32_t(0)) + le(zip64 ? all : static_cast<std::uint32_t>(e.offset)) + e.name + extra;
    }
    const std::uint64_t size = out.size() - start;
    if (zip64) {
      const std::uint64_t record = out.size();
      out += "PK\x06\x06" + le(std::uint64_t(44)) + le(std::uint16_t(45)) + le(std::uint16_t(45)) + le(std::uint32_t(0)) + le(std::uint32_t(0)) + le(std::uint64_t(entries_.size())) +
             le(std::uint64_t(entries_.size())) + le(size) + le(start);
      out += "PK\x06\x07" + le(std::uint32_t(0)) + le(record) + le(std::uint32_t(1));
    }
    const std::uint16_t count = zip64 ? std::uint16_t(0xFFFF) : static_cast<std::uint16_t>(entries_.size());
    out += "PK\x05\x06" + le(std::uint16_t(0)) + le(std::uint16_t(0)) + le(count) + le(count) + le(static_cast<std::uint32_t>(size)) + le(static_cast<std::uint32_t>(start)) +
           le(static_cast<std::uint16_t>(comment.size())) + comment;
    return out;
  }

  static std::string deflated(const std::string& content) {
    z_stream s{};
    deflateInit2(&s, 9, Z_DEFLATED, -15, 9, Z_DEFAULT_STRATEGY);
    std::string out(deflateBound(&s, static_cast<uLong>(content.size())), '\0');
    s.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
    s.avail_in = static_cast<uInt>(content.size());
    s.next_out = reinterpret_cast<Bytef*>(out.data());
    s.avail_out = static_cast<uInt>(out.size());
    deflate(&s, Z_FINISH);
    out.resize(s.total_out);
    deflateEnd(&s);
    return out;
  }

 private:
  struct Entry {
    std::string name;
    std::size_t offset = 0;
    std::uint32_t crc = 0, size = 0, stored = 0;
    std::uint16_t flags = 0, method = 0;
  };
  std::string bytes_;
  std::vector<Entry> entries_;
};

// Pickle opcodes as text; concatenate them. Names as in CPython's pickletools.
namespace pickle {
inline const std::string proto = "\x80\x02", stop = ".", mark = "(", none = "N", yes = "\x88", no = "\x89", empty_dict = "}", empty_list = "]", empty_tuple = ")", tuple = "t", tuple1 = "\x85",
                         tuple2 = "\x86", setitem = "s", setitems = "u", append = "a", appends = "e", reduce = "R", build = "b", persid = "Q", pop = "0";
inline std::string text(const std::string& s) { return "X" + le(static_cast<std::uint32_t>(s.size())) + s; }
inline std::string integer(std::int32_t i) { return "J" + le(i); }
inline std::string global(const std::string& module, const std::string& name) { return "c" + module + "\n" + name + "\n"; }
inline std::string put(std::uint8_t i) { return "q" + le(i); }
inline std::string get(std::uint8_t i) { return "h" + le(i); }
inline std::string tuple_of(const std::vector<std::int32_t>& v) {
  std::string s = mark;
  for (std::int32_t i : v) s += integer(i);
  return s + tuple;
}
/// ('storage', torch.<type>, key, 'cpu', elements) -> storage
inline std::string storage(const std::string& key, std::int32_t elements, const std::string& type = "FloatStorage") {
  return mark + text("storage") + global("torch", type) + text(key) + text("cpu") + integer(elements) + tuple + persid;
}
inline std::string tensor(const std::string& storage, std::int32_t offset, const std::vector<std::int32_t>& sizes, const std::vector<std::int32_t>& strides) {
  return global("torch._utils", "_rebuild_tensor_v2") + mark + storage + integer(offset) + tuple_of(sizes) + tuple_of(strides) + no + global("collections", "OrderedDict") + empty_tuple +
         reduce + tuple + reduce;
}
inline std::string dict(const std::vector<std::pair<std::string, std::string>>& items) {
  std::string s = empty_dict + mark;
  for (const auto& [k, v] : items) s += text(k) + v;
  return s + setitems;
}
inline std::string file(const std::string& object) { return proto + object + stop; }
}  // namespace pickle

/// A float tensor of a checkpoint under construction.
struct NamedTensor {
  std::string name;
  std::vector<std::int32_t> shape;
  std::vector<float> values;
};

/// A .pth as torch.save writes it (zip, stored), one storage per tensor.
inline std::string torch_zip(const std::vector<NamedTensor>& tensors) {
  std::vector<std::pair<std::string, std::string>> items;
  ZipBuilder z;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const NamedTensor& t = tensors[i];
    std::vector<std::int32_t> strides(t.shape.size(), 1);
    for (std::size_t a = t.shape.size(); a-- > 1;) strides[a - 1] = strides[a] * t.shape[a];
    items.emplace_back(t.name, pickle::tensor(pickle::storage(std::to_string(i), static_cast<std::int32_t>(t.values.size())), 0, t.shape, strides));
  }
  z.add("archive/data.pkl", pickle::file(pickle::dict(items)));
  for (std::size_t i = 0; i < tensors.size(); ++i) z.add("archive/data/" + std::to_string(i), bytes_of(tensors[i].values));
  return z.add("archive/version", "3\n").finish();
}

}  // namespace sampan::test
