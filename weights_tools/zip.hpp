// ZipArchive: a bounded reader of zip files over bytes in memory. Data flow: .pth/.pt/.whl bytes -> here -> torch_file.hpp, checkpoint.hpp.
// Reads the central directory (zip64 too) and checks it against every local header; members are stored (a view into the file) or deflated (zlib, owned).
// Source: PKWARE APPNOTE 6.3.9. Cost: one pass over the directory; a CRC pass over each member that is read.
// Refused, each with member and byte offset: encryption, other methods, several disks, duplicate names, overlapping members, directories that do not end at
// the end record, sizes that lie, and members that would grow beyond ZipLimits. Deliberately absent: writing, extracting to disk.
#pragma once
#include <sampan/core/file.hpp>

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <vector>

namespace sampan::inline SAMPAN_ABI::tools {

/// Refusals are Error{limit}. Weights hardly compress (2:1 at most), so the ratio is generous; small members may compress better.
struct ZipLimits {
  std::size_t max_members = 100'000;
  std::uint64_t max_inflated_bytes = std::uint64_t(8) << 30;  ///< of one member
  std::uint64_t max_ratio = 100;                              ///< inflated : deflated, for members above ratio_free_bytes
  std::uint64_t ratio_free_bytes = std::uint64_t(16) << 20;
};

/// Bytes that are a view into something else or owned; moving keeps the view valid.
struct Blob {
  std::vector<std::uint8_t> owned;
  Bytes bytes;
  Blob() = default;
  explicit Blob(Bytes view) : bytes(view) {}
  explicit Blob(std::vector<std::uint8_t> v) : owned(std::move(v)), bytes(owned) {}
  Blob(Blob&&) = default;
  Blob& operator=(Blob&&) = default;
};

struct ZipMember {
  std::string name;
  bool deflated = false;
  std::uint32_t crc = 0;
  std::uint64_t stored_size = 0, size = 0;
  std::uint64_t header_offset = 0, data_offset = 0;
};

/// Little-endian number at `at`; the caller has checked the range.
template <class T>
T load_le(Bytes b, std::size_t at) {
  T v;
  std::memcpy(&v, b.data() + at, sizeof(T));
  return v;
}

class ZipArchive {
 public:
  /// `file` must outlive the archive and every stored member read from it.
  static Result<ZipArchive> open(Bytes file, std::string label, const ZipLimits& limits = {}) {
    ZipArchive z;
    z.file_ = file;
    z.label_ = std::move(label);
    z.limits_ = limits;
    SAMPAN_CHECK(z.read_directory());
    return z;
  }
  static bool looks_like(Bytes b) { return b.size() >= 4 && (load_le<std::uint32_t>(b, 0) == kLocal || load_le<std::uint32_t>(b, 0) == kEnd); }

  const std::vector<ZipMember>& members() const { return members_; }  ///< sorted by name
  const ZipMember* find(std::string_view name) const {
    const auto it = std::lower_bound(members_.begin(), members_.end(), name, [](const ZipMember& m, std::string_view n) { return m.name < n; });
    return it != members_.end() && it->name == name ? &*it : nullptr;
  }
  const std::string& label() const { return label_; }

  /// Content of a member, CRC checked.
  Result<Blob> read(const ZipMember& m) const {
    const Bytes stored = file_.subspan(static_cast<std::size_t>(m.data_offset), static_cast<std::size_t>(m.stored_size));
    Blob content(stored);
    if (m.deflated) {
      SAMPAN_TRY(inflated, inflate(m, stored));
      content = Blob(std::move(inflated));
    }
#if !defined(FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION)  // a fuzzer cannot guess sums; what lies behind them must be safe as well
    if (crc_of(content.bytes) != m.crc) return refuse(m, "its CRC does not match its content: the file is damaged, get it again");
#endif
    return content;
  }

 private:
  static constexpr std::uint32_t kLocal = 0x04034b50, kCentral = 0x02014b50, kEnd = 0x06054b50, kEnd64 = 0x06064b50, kLocator64 = 0x07064b50;

  Error refuse(std::uint64_t offset, std::string_view what, ErrorCode code = ErrorCode::bad_file) const { return Error(code, cat(label_, ": zip, byte ", offset, ": ", what)); }
  Error refuse(const ZipMember& m, std::string_view what, ErrorCode code = ErrorCode::bad_file) const {
    return Error(code, cat(label_, ": zip member ", m.name.substr(0, 200), " (byte ", m.header_offset, "): ", what));
  }

  struct Directory {
    std::uint64_t offset = 0, size = 0, entries = 0, end = 0;  ///< end: where the next record must begin
  };

  Result<Directory> find_directory() const {
    if (file_.size() < 22) return refuse(0, cat("only ", file_.size(), " bytes, truncated"));
    const std::size_t last = file_.size() - 22, first = last > 0xFFFF ? last - 0xFFFF : 0;
    std::size_t at = last + 1;
    while (at-- > first)
      if (load_le<std::uint32_t>(file_, at) == kEnd && at + 22 + load_le<std::uint16_t>(file_, at + 20) == file_.size()) break;
    if (at + 1 == first) return refuse(file_.size(), "no end record: the file is truncated or not a zip file");
    if (load_le<std::uint16_t>(file_, at + 4) != 0 || load_le<std::uint16_t>(file_, at + 6) != 0) return refuse(at, "an archive of several disks, one file is needed");
    Directory d{load_le<std::uint32_t>(file_, at + 16), load_le<std::uint32_t>(file_, at + 12), load_le<std::uint16_t>(file_, at + 10), at};
    if (at >= 20 && load_le<std::uint32_t>(file_, at - 20) == kLocator64) {
      const std::uint64_t where = load_le<std::uint64_t>(file_, at - 20 + 8);
      if (where > at - 20 || at - 20 - where < 56 || load_le<std::uint32_t>(file_, static_cast<std::size_t>(where)) != kEnd64)
        return refuse(at - 20, "the zip64 locator points to no zip64 end record");
      const std::size_t w = static_cast<std::size_t>(where);
      d = {load_le<std::uint64_t>(file_, w + 48), load_le<std::uint64_t>(file_, w + 40), load_le<std::uint64_t>(file_, w + 32), where};
    }
    return d;
  }

  Status read_directory() {
    SAMPAN_TRY(d, find_directory());
    if (d.entries > limits_.max_members) return refuse(d.end, cat(d.entries, " members, at most ", limits_.max_members, " are read"), ErrorCode::limit);
    if (d.size > d.end || d.offset != d.end - d.size) return refuse(d.end, cat("the directory (byte ", d.offset, ", ", d.size, " bytes) must end where its end record begins"));
    std::uint64_t at = d.offset;
    members_.reserve(static_cast<std::size_t>(std::min<std::uint64_t>(d.entries, d.size / 46)));
    for (std::uint64_t i = 0; i < d.entries; ++i) SAMPAN_CHECK(read_entry(at, d.end));
    if (at != d.end) return refuse(at, "the directory is longer than its entries");
    return check_members(d.offset);
  }

  /// One central entry at `at`, which is moved behind it.
  Status read_entry(std::uint64_t& at, std::uint64_t end) {
    if (end - at < 46 || load_le<std::uint32_t>(file_, static_cast<std::size_t>(at)) != kCentral) return refuse(at, "a directory entry is needed here");
    const std::size_t e = static_cast<std::size_t>(at);
    const std::uint16_t flags = load_le<std::uint16_t>(file_, e + 8), method = load_le<std::uint16_t>(file_, e + 10);
    const std::size_t name = load_le<std::uint16_t>(file_, e + 28), extra = load_le<std::uint16_t>(file_, e + 30), comment = load_le<std::uint16_t>(file_, e + 32);
    if (end - at - 46 < name + extra + comment) return refuse(at, "a directory entry reaches beyond the directory");
    ZipMember m;
    m.name = as_text(file_.subspan(e + 46, name));
    m.crc = load_le<std::uint32_t>(file_, e + 16);
    m.stored_size = load_le<std::uint32_t>(file_, e + 20);
    m.size = load_le<std::uint32_t>(file_, e + 24);
    m.header_offset = load_le<std::uint32_t>(file_, e + 42);
    SAMPAN_CHECK(read_zip64(m, file_.subspan(e + 46 + name, extra), at));
    if (m.name.empty()) return refuse(at, "a member without a name");
    if (flags & 0x2061u) return refuse(m, "is encrypted or patched; only plain members are read", ErrorCode::unsupported);  // bits 0, 5, 6, 13
    if (method != 0 && method != 8) return refuse(m, cat("compression method ", method, ", only stored (0) and deflated (8) are read"), ErrorCode::unsupported);
    m.deflated = method == 8;
    if (!m.deflated && m.size != m.stored_size) return refuse(m, cat("stored, but its two sizes differ: ", m.stored_size, " and ", m.size));
    at += 46 + name + extra + comment;
    members_.push_back(std::move(m));
    return {};
  }

  /// Extra field 1 holds, in this order, those of size, stored size and offset whose 32-bit field is all ones.
  Status read_zip64(ZipMember& m, Bytes extra, std::uint64_t at) const {
    constexpr std::uint64_t kAll = 0xFFFFFFFFu;
    if (m.size != kAll && m.stored_size != kAll && m.header_offset != kAll) return {};
    while (extra.size() >= 4) {
      const std::uint16_t id = load_le<std::uint16_t>(extra, 0), size = load_le<std::uint16_t>(extra, 2);
      if (size > extra.size() - 4) break;
      Bytes body = extra.subspan(4, size);
      if (id == 1) {
        for (std::uint64_t* field : {&m.size, &m.stored_size, &m.header_offset}) {
          if (*field != kAll) continue;
          if (body.size() < 8) return refuse(at, "a zip64 field is too short");
          *field = load_le<std::uint64_t>(body, 0);
          body = body.subspan(8);
        }
        return {};
      }
      extra = extra.subspan(4 + std::size_t(size));
    }
    return {};  // no zip64 field: the value really is 2^32 - 1, and the range checks decide
  }

  /// Local headers, ranges, overlaps, duplicates.
  Status check_members(std::uint64_t directory) {
    for (ZipMember& m : members_) {
      if (m.header_offset > directory || directory - m.header_offset < 30) return refuse(m, "lies outside the file");
      const std::size_t h = static_cast<std::size_t>(m.header_offset);
      if (load_le<std::uint32_t>(file_, h) != kLocal) return refuse(m, "no local header there");
      const std::size_t name = load_le<std::uint16_t>(file_, h + 26), extra = load_le<std::uint16_t>(file_, h + 28);
      if (directory - m.header_offset - 30 < name + extra) return refuse(m, "its local header reaches beyond the file");
      if (as_text(file_.subspan(h + 30, name)) != m.name) return refuse(m, "its local header names another member");
      if ((load_le<std::uint16_t>(file_, h + 8) == 8) != m.deflated) return refuse(m, "its local header names another compression method");
      m.data_offset = m.header_offset + 30 + name + extra;
      if (m.stored_size > directory - m.data_offset) return refuse(m, cat("its ", m.stored_size, " bytes reach beyond the file"));
    }
    std::vector<const ZipMember*> order;
    for (const ZipMember& m : members_) order.push_back(&m);
    std::sort(order.begin(), order.end(), [](const ZipMember* a, const ZipMember* b) { return a->header_offset < b->header_offset; });
    for (std::size_t i = 1; i < order.size(); ++i)
      if (order[i]->header_offset < order[i - 1]->data_offset + order[i - 1]->stored_size) return refuse(*order[i], cat("overlaps member ", order[i - 1]->name.substr(0, 200)));
    std::sort(members_.begin(), members_.end(), [](const ZipMember& a, const ZipMember& b) { return a.name < b.name; });
    for (std::size_t i = 1; i < members_.size(); ++i)
      if (members_[i].name == members_[i - 1].name) return refuse(members_[i], "appears twice in the archive");
    return {};
  }

  Result<std::vector<std::uint8_t>> inflate(const ZipMember& m, Bytes stored) const {
    if (m.size > limits_.max_inflated_bytes) return refuse(m, cat("would inflate to ", m.size, " bytes, at most ", limits_.max_inflated_bytes, " are read"), ErrorCode::limit);
    if (m.size > limits_.ratio_free_bytes && m.size / limits_.max_ratio > m.stored_size)
      return refuse(m, cat("would inflate ", m.stored_size, " bytes to ", m.size, ", more than ", limits_.max_ratio, " times"), ErrorCode::limit);
    std::vector<std::uint8_t> out;
    z_stream s{};
    if (inflateInit2(&s, -15) != Z_OK) return Error(ErrorCode::out_of_memory, cat(label_, ": no memory to inflate ", m.name));  // -15: raw deflate, 32 KiB window
    constexpr std::size_t kPiece = std::size_t(1) << 28;  // zlib counts in 32 bits
    std::size_t fed = 0, made = 0;
    int status = Z_OK;
    bool stuck = false;
    while (status == Z_OK && !stuck) {
      if (s.avail_in == 0 && fed < stored.size()) {
        const std::size_t n = std::min(kPiece, stored.size() - fed);
        s.next_in = const_cast<Bytef*>(stored.data() + fed);  // zlib's interface lacks const; it only reads
        s.avail_in = static_cast<uInt>(n);
        fed += n;
      }
      if (made == out.size()) {  // grown as real data comes, so that a lying size costs nothing; one spare byte shows data beyond the size
        const std::size_t want = std::max<std::size_t>(out.size() * 2, 1 << 16);
        out.resize(static_cast<std::size_t>(std::min<std::uint64_t>(want, m.size + 1)));
        if (made == out.size()) break;
      }
      const std::size_t room = std::min(kPiece, out.size() - made);
      s.next_out = out.data() + made;
      s.avail_out = static_cast<uInt>(room);
      status = ::inflate(&s, Z_NO_FLUSH);
      made += room - s.avail_out;
      stuck = status == Z_BUF_ERROR;
    }
    const bool whole = status == Z_STREAM_END && s.avail_in == 0 && fed == stored.size();
    inflateEnd(&s);
    if (status == Z_MEM_ERROR) return Error(ErrorCode::out_of_memory, cat(label_, ": no memory to inflate ", m.name));
    if (!whole || made != m.size) return refuse(m, cat("does not inflate to its ", m.size, " bytes: damaged or lying about its size"));
    out.resize(made);
    return out;
  }

  static std::uint32_t crc_of(Bytes b) {
    uLong crc = crc32(0, nullptr, 0);
    while (!b.empty()) {
      const std::size_t n = std::min(b.size(), std::size_t(1) << 28);
      crc = crc32(crc, b.data(), static_cast<uInt>(n));
      b = b.subspan(n);
    }
    return static_cast<std::uint32_t>(crc);
  }

  Bytes file_;
  std::string label_;
  ZipLimits limits_;
  std::vector<ZipMember> members_;
};

}  // namespace sampan::inline SAMPAN_ABI::tools
