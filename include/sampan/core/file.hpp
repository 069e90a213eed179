// Files: MappedFile (read-only bytes of a whole file) and AtomicFile (a file that appears complete or not at all).
// Data flow: weights/safetensors.hpp and weights_tools/ read through MappedFile; every writer of the project ends in AtomicFile::commit.
// Errors are ErrorCode::io with the path and what would be right. Cost: one mmap; pages are read when touched.
// Deliberately absent: directories, searching, encodings of names (a path is the bytes the system gets), protection against a file that another
// process truncates while it is mapped (the system kills the reader then; copy such files first). The POSIX calls are all in this file.
#pragma once
#include <sampan/core/error.hpp>

#include <cstdint>
#include <span>

#include <cerrno>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace sampan::inline SAMPAN_ABI {

using Bytes = std::span<const std::uint8_t>;

inline Bytes as_bytes(std::string_view s) { return {reinterpret_cast<const std::uint8_t*>(s.data()), s.size()}; }
inline std::string_view as_text(Bytes b) { return {reinterpret_cast<const char*>(b.data()), b.size()}; }

namespace detail {

/// Fixed English words for the error numbers that a user can do something about (strerror follows the locale and is not thread-safe everywhere).
inline std::string errno_text(int e) {
  switch (e) {
    case ENOENT: return "no such file or directory";
    case EACCES:
    case EPERM: return "permission denied";
    case EISDIR: return "is a directory";
    case ENOTDIR: return "a part of the path is not a directory";
    case ENOSPC: return "no space left on the device";
    case EDQUOT: return "disk quota exceeded";
    case EROFS: return "the file system is read-only";
    case ENAMETOOLONG: return "the name is too long";
    case ELOOP: return "too many symbolic links";
    case EMFILE:
    case ENFILE: return "too many open files";
    case EFBIG: return "file too large for this file system";
    case ENOMEM: return "not enough memory or address space";
    case EIO: return "input/output error of the device";
    default: return cat("system error ", e);
  }
}

/// Owns a descriptor; -1 is none.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) noexcept : fd_(fd) {}
  Descriptor(Descriptor&& o) noexcept : fd_(std::exchange(o.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& o) noexcept {
    std::swap(fd_, o.fd_);
    return *this;
  }
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const noexcept { return fd_; }
  int close() noexcept { return ::close(std::exchange(fd_, -1)); }

 private:
  int fd_;
};

}  // namespace detail

/// A regular file, mapped read-only. Views into bytes() live as long as the MappedFile, also after it was moved. An empty file gives no bytes.
class MappedFile {
 public:
  MappedFile() = default;
  /// Error{io}: missing, not readable, a directory, or not a regular file; Error{out_of_memory}: no address space.
  static Result<MappedFile> open(std::string path) {
    if (path.empty()) return Error(ErrorCode::io, "cannot open a file with an empty name");
    if (path.find('\0') != std::string::npos) return Error(ErrorCode::io, "cannot open a file whose name contains a zero byte");
    // O_NONBLOCK: opening a pipe without a writer must not hang; it has no effect on regular files.
    const detail::Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (fd.get() < 0) return Error(ErrorCode::io, cat("cannot open ", path, ": ", detail::errno_text(errno)));
    struct stat s {};
    if (::fstat(fd.get(), &s) != 0) return Error(ErrorCode::io, cat("cannot read ", path, ": ", detail::errno_text(errno)));
    if (S_ISDIR(s.st_mode)) return Error(ErrorCode::io, cat("cannot read ", path, ": is a directory, a file is needed"));
    if (!S_ISREG(s.st_mode)) return Error(ErrorCode::io, cat("cannot read ", path, ": not a regular file; write a pipe or device to a file first"));
    MappedFile f;
    f.path_ = std::move(path);
    f.size_ = static_cast<std::size_t>(s.st_size);
    if (f.size_ == 0) return f;
    void* p = ::mmap(nullptr, f.size_, PROT_READ, MAP_PRIVATE, fd.get(), 0);
    if (p == MAP_FAILED) return Error(errno == ENOMEM ? ErrorCode::out_of_memory : ErrorCode::io, cat("cannot map ", f.path_, ": ", detail::errno_text(errno)));
    f.data_ = static_cast<std::uint8_t*>(p);
    return f;
  }
  MappedFile(MappedFile&& o) noexcept : path_(std::move(o.path_)), data_(std::exchange(o.data_, nullptr)), size_(std::exchange(o.size_, 0)) {}
  MappedFile& operator=(MappedFile&& o) noexcept {
    std::swap(path_, o.path_);
    std::swap(data_, o.data_);
    std::swap(size_, o.size_);
    return *this;
  }
  ~MappedFile() {
    if (data_) ::munmap(data_, size_);
  }

  Bytes bytes() const noexcept { return {data_, size_}; }
  const std::string& path() const noexcept { return path_; }

  /// Gives the memory of the whole pages inside [offset, offset + length) back; reading them again is right, only slower. For weights already packed.
  void release(std::size_t offset, std::size_t length) const noexcept {
    if (!data_ || offset >= size_) return;
    const std::size_t page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    const std::size_t end = length < size_ - offset ? offset + length : size_;
    const std::size_t first = (offset + page - 1) / page * page, last = end == size_ ? end : end / page * page;
    if (first < last) ::madvise(data_ + first, last - first, MADV_DONTNEED);
  }

 private:
  std::string path_;
  std::uint8_t* data_ = nullptr;
  std::size_t size_ = 0;
};

/// Writes to a temporary name in the folder of `path` and renames on commit(); without commit() the destructor removes the temporary file.
/// A symbolic link at `path` is replaced by the file. Existing directories, devices and pipes at `path` are refused before anything is written.
class AtomicFile {
 public:
  static Result<AtomicFile> create(std::string path) {
    const auto refuse = [&path](std::string_view why) { return Error(ErrorCode::io, cat("cannot write ", path, ": ", why)); };
    if (path.empty()) return Error(ErrorCode::io, "cannot write a file with an empty name");
    if (path.find('\0') != std::string::npos) return Error(ErrorCode::io, "cannot write a file whose name contains a zero byte");
    struct stat s {};
    if (::stat(path.c_str(), &s) == 0) {
      if (S_ISDIR(s.st_mode)) return refuse("is a directory, name a file inside it");
      if (!S_ISREG(s.st_mode)) return refuse("not a regular file, choose another name");
    } else if (path.back() == '/') {
      return refuse("names a directory, not a file");
    }
    AtomicFile f;
    for (int n = 0; n < 1000; ++n) {  // O_EXCL decides between writers of the same name; leftovers of killed processes are stepped over
      f.temporary_ = cat(path, ".", static_cast<long>(::getpid()), "-", n, ".part");
      f.fd_ = detail::Descriptor(::open(f.temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
      if (f.fd_.get() >= 0) {
        f.path_ = std::move(path);
        return f;
      }
      if (errno != EEXIST) break;
    }
    const int e = errno;
    f.temporary_.clear();
    return refuse(e == ENOENT ? std::string("its directory does not exist, create it first") : detail::errno_text(e));
  }
  AtomicFile(AtomicFile&& o) noexcept : path_(std::move(o.path_)), temporary_(std::exchange(o.temporary_, {})), fd_(std::move(o.fd_)) {}
  AtomicFile& operator=(AtomicFile&& o) noexcept {
    std::swap(path_, o.path_);
    std::swap(temporary_, o.temporary_);
    std::swap(fd_, o.fd_);
    return *this;
  }
  ~AtomicFile() {
    if (!temporary_.empty()) ::unlink(temporary_.c_str());
  }

  const std::string& path() const noexcept { return path_; }

  /// Appends all bytes or returns Error{io}. Unbuffered: give it large pieces.
  Status write(Bytes b) {
    while (!b.empty()) {
      const ssize_t n = ::write(fd_.get(), b.data(), b.size());  // the kernel may take less (2 GiB at most)
      if (n < 0) {
        if (errno == EINTR) continue;
        return failed();
      }
      b = b.subspan(static_cast<std::size_t>(n));
    }
    return {};
  }
  Status write(std::string_view s) { return write(as_bytes(s)); }

  /// Flushes to the device, then gives the file its name. Call once, last.
  Status commit() {
    if (::fsync(fd_.get()) != 0 && errno != EINVAL) return failed();  // EINVAL: a file system without fsync
    if (fd_.close() != 0 && errno != EINTR) return failed();
    if (::rename(temporary_.c_str(), path_.c_str()) != 0) return failed();
    temporary_.clear();
    return {};
  }

 private:
  AtomicFile() = default;
  Error failed() const { return Error(ErrorCode::io, cat("cannot write ", path_, ": ", detail::errno_text(errno))); }

  std::string path_, temporary_;
  detail::Descriptor fd_;
};

/// The whole content at once.
inline Status write_atomically(std::string path, Bytes content) {
  SAMPAN_TRY(file, AtomicFile::create(std::move(path)));
  SAMPAN_CHECK(file.write(content));
  return file.commit();
}

}  // namespace sampan::inline SAMPAN_ABI
