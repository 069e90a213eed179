// ByteStream: the bytes of a file in order, inflated on the way if they are gzip; ByteSink: the way out, deflated if wanted.
// Data flow: MappedFile -> ByteStream -> nifti.hpp, nrrd.hpp; writers -> ByteSink -> AtomicFile. Source: RFC 1952 by zlib. Cost: zlib, or a copy.
// Bounded: nothing is held beyond zlib's 64 KiB; most_left() says how much can still come, so that a reader never asks for memory that the file cannot fill.
// Several gzip members in a row are one stream (RFC 1952 2.2; pigz and bgzip write them). Their sums are checked. Deliberately absent: seeking back.
#pragma once
#include "volume.hpp"

#include <zlib.h>

namespace sampan::inline SAMPAN_ABI::medical {

/// zlib counts in 32 bits.
inline constexpr std::size_t kZlibPiece = std::size_t(1) << 28;

class ByteStream {
 public:
  static bool is_gzip(Bytes b) { return b.size() >= 2 && b[0] == 0x1f && b[1] == 0x8b; }

  /// `file` outlives the stream; `gzip` says whether it is inflated. Error{out_of_memory}.
  static Result<ByteStream> open(Bytes file, std::string label, bool gzip) {
    ByteStream s;
    s.rest_ = file;
    s.label_ = std::move(label);
    if (gzip) {
      s.z_.reset(new (std::nothrow) z_stream{});
      if (!s.z_ || inflateInit2(s.z_.get(), 15 + 16) != Z_OK) return Error(ErrorCode::out_of_memory, cat(s.label_, ": no memory to inflate"));  // 16: gzip, with its checks
    }
    return s;
  }

  /// No more than this many bytes can follow: deflate makes at most 258 bytes of 2 bits.
  std::uint64_t most_left() const {
    if (!z_) return rest_.size();
    const std::uint64_t in = rest_.size() + z_->avail_in;
    return in > (std::uint64_t(1) << 50) ? ~std::uint64_t(0) : in * 1032 + 65536;
  }

  /// Exactly n bytes. Error{bad_file}: the file ends before, or its gzip part is damaged.
  Status read(std::uint8_t* to, std::size_t n) {
    SAMPAN_TRY(got, read_some(to, n));
    if (got != n) return Error(ErrorCode::bad_file, cat(label_, ": ends at byte ", at_, z_ ? " of the inflated data, " : ", ", n - got, " bytes too early: truncated"));
    return {};
  }
  Status skip(std::uint64_t n) {
    if (n > most_left()) return Error(ErrorCode::bad_file, cat(label_, ": ends before byte ", n, ": truncated"));
    std::uint8_t bin[4096];
    for (; n > 0;) {
      const std::size_t piece = static_cast<std::size_t>(std::min<std::uint64_t>(n, sizeof bin));
      SAMPAN_CHECK(read(bin, piece));
      n -= piece;
    }
    return {};
  }
  /// To the end, so that the sums are checked; how many bytes came beyond those read. Error{bad_file} above `most`: a bomb, not padding.
  Result<std::uint64_t> finish(std::uint64_t most) {
    std::uint8_t bin[4096];
    std::uint64_t extra = 0;
    if (!z_) return std::uint64_t(rest_.size());
    for (;;) {
      SAMPAN_TRY(got, read_some(bin, sizeof bin));
      extra += got;
      if (extra > most) return Error(ErrorCode::bad_file, cat(label_, ": more than ", most, " bytes follow the voxels that its header announces"));
      if (got < sizeof bin) return extra;
    }
  }
  std::uint64_t position() const { return at_; }

 private:
  struct End {
    void operator()(z_stream* z) const noexcept {
      inflateEnd(z);
      delete z;
    }
  };

  Result<std::size_t> read_some(std::uint8_t* to, std::size_t n) {
    std::size_t got = 0;
    if (!z_) {
      got = std::min(n, rest_.size());
      if (got) std::memcpy(to, rest_.data(), got);
      rest_ = rest_.subspan(got);
    } else {
      while (got < n && !ended_) {
        if (z_->avail_in == 0) {
          const std::size_t piece = std::min(kZlibPiece, rest_.size());
          z_->next_in = const_cast<Bytef*>(rest_.data());  // zlib's interface lacks const; it only reads
          z_->avail_in = static_cast<uInt>(piece);
          rest_ = rest_.subspan(piece);
        }
        const std::size_t room = std::min(kZlibPiece, n - got);
        z_->next_out = to + got;
        z_->avail_out = static_cast<uInt>(room);
        const int status = inflate(z_.get(), Z_NO_FLUSH);
        got += room - z_->avail_out;
        if (status == Z_STREAM_END) {
          SAMPAN_CHECK(next_member());
        } else if (status == Z_BUF_ERROR && z_->avail_in == 0 && rest_.empty()) {
          return Error(ErrorCode::bad_file, cat(label_, ": the gzip data ends at byte ", at_ + got, " of the inflated data: truncated"));
        } else if (status == Z_MEM_ERROR) {
          return Error(ErrorCode::out_of_memory, cat(label_, ": no memory to inflate"));
        } else if (status != Z_OK && status != Z_BUF_ERROR) {
          return Error(ErrorCode::bad_file, cat(label_, ": damaged gzip data near byte ", at_ + got, " of the inflated data"));
        }
      }
    }
    at_ += got;
    return got;
  }

  /// Behind the end of a member: another one, padding of zeros (tape blocks), or nothing.
  Status next_member() {
    if (z_->avail_in == 0 && !rest_.empty()) {
      const std::size_t piece = std::min(kZlibPiece, rest_.size());
      z_->next_in = const_cast<Bytef*>(rest_.data());
      z_->avail_in = static_cast<uInt>(piece);
      rest_ = rest_.subspan(piece);
    }
    if (z_->avail_in >= 2 && z_->next_in[0] == 0x1f && z_->next_in[1] == 0x8b) {
      if (inflateReset(z_.get()) != Z_OK) return Error(ErrorCode::internal, cat(label_, ": zlib refuses to start again"));
      return {};
    }
    ended_ = true;
    const Bytes tail(z_->next_in, z_->avail_in);
    const auto zero = [](std::uint8_t b) { return b == 0; };
    if (!std::all_of(tail.begin(), tail.end(), zero) || !std::all_of(rest_.begin(), rest_.end(), zero)) return Error(ErrorCode::bad_file, cat(label_, ": other data behind the gzip data"));
    z_->avail_in = 0;
    rest_ = {};
    return {};
  }

  Bytes rest_;
  std::string label_;
  std::unique_ptr<z_stream, End> z_;
  bool ended_ = false;
  std::uint64_t at_ = 0;
};

/// Writes to an AtomicFile that outlives it. The same bytes give the same file: no time and no name in the gzip header.
class ByteSink {
 public:
  /// Level 1: label maps shrink a hundredfold at any level, and images must be written fast.
  static Result<ByteSink> open(AtomicFile& out, bool gzip, int level = 1) {
    ByteSink s(out);
    if (gzip) {
      s.z_.reset(new (std::nothrow) z_stream{});
      if (!s.z_ || deflateInit2(s.z_.get(), level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) return Error(ErrorCode::out_of_memory, cat(out.path(), ": no memory to deflate"));
      s.buffer_.resize(std::size_t(1) << 18);
    }
    return s;
  }
  Status write(Bytes b) { return z_ ? deflate_all(b, Z_NO_FLUSH) : out_->write(b); }
  Status write(std::string_view s) { return write(as_bytes(s)); }
  /// Call once, last; the AtomicFile's commit() stays the caller's.
  Status finish() { return z_ ? deflate_all({}, Z_FINISH) : Status{}; }

 private:
  struct End {
    void operator()(z_stream* z) const noexcept {
      deflateEnd(z);
      delete z;
    }
  };
  explicit ByteSink(AtomicFile& out) : out_(&out) {}

  Status deflate_all(Bytes b, int flush) {
    for (;;) {
      const std::size_t piece = std::min(kZlibPiece, b.size());
      z_->next_in = const_cast<Bytef*>(b.data());
      z_->avail_in = static_cast<uInt>(piece);
      b = b.subspan(piece);
      int status = Z_OK;
      do {
        z_->next_out = buffer_.data();
        z_->avail_out = static_cast<uInt>(buffer_.size());
        status = deflate(z_.get(), flush);
        if (status == Z_STREAM_ERROR) return Error(ErrorCode::internal, cat(out_->path(), ": zlib refuses to deflate"));
        const std::size_t made = buffer_.size() - z_->avail_out;
        if (made) SAMPAN_CHECK(out_->write(Bytes(buffer_.data(), made)));
      } while (z_->avail_out == 0);
      if (b.empty()) return {};
    }
  }

  AtomicFile* out_;
  std::unique_ptr<z_stream, End> z_;
  std::vector<std::uint8_t> buffer_;
};

/// Voxels of `from` (already at the right place) into memory that only grows to what the file can hold.
inline Result<VoxelData> read_voxels(ByteStream& from, std::size_t bytes, const std::string& label) {
  if (bytes > from.most_left()) return Error(ErrorCode::bad_file, cat(label, ": its header announces ", bytes, " bytes of voxels, at most ", from.most_left(), " can follow: truncated, or a lying header"));
  SAMPAN_TRY(data, VoxelData::allocate(bytes));
  SAMPAN_CHECK(from.read(data.writable(), bytes));
  return std::move(data);
}

}  // namespace sampan::inline SAMPAN_ABI::medical
