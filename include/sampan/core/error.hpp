// Errors as values: ErrorCode, Error and Result<T>. Data flow: below everything; every function that reads bytes or arguments returns a Result.
// The library's inside throws nothing itself; the public face (sampan.hpp) throws Error and has a noexcept try_ twin that returns Result<T>.
// An Error says what was wrong, where (file, tensor, byte offset), and what would be right, in one line.
#pragma once
#include <sampan/core/config.hpp>

#include <exception>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace sampan::inline SAMPAN_ABI {

enum class ErrorCode {
  invalid_argument,  ///< a value that the caller passed: box outside the image, unknown option, extents that disagree
  io,                ///< a file that cannot be opened, read, or written
  bad_file,          ///< bytes that are not what they claim to be: truncated PNG, lying header, refused pickle opcode
  limit,             ///< refused because of a limit: image too large, memory limit, nesting depth, decompressed size
  bad_model,         ///< weights or model: missing or surplus tensor, wrong shape, NaN, unknown family
  out_of_memory,     ///< the system gave no memory
  unsupported,       ///< known, but this build, machine or model cannot do it
  cancelled,         ///< the caller's Progress asked to stop
  internal,          ///< a broken invariant of the library: please report
};

constexpr const char* to_string(ErrorCode c) {
  switch (c) {
    case ErrorCode::invalid_argument: return "invalid_argument";
    case ErrorCode::io: return "io";
    case ErrorCode::bad_file: return "bad_file";
    case ErrorCode::limit: return "limit";
    case ErrorCode::bad_model: return "bad_model";
    case ErrorCode::out_of_memory: return "out_of_memory";
    case ErrorCode::unsupported: return "unsupported";
    case ErrorCode::cancelled: return "cancelled";
    case ErrorCode::internal: return "internal";
  }
  return "unknown";
}

/// What went wrong, as one line: "FILE: tensor NAME is [1,32,32,768], expected [1,64,64,768]".
class Error : public std::exception {
 public:
  Error(ErrorCode code, std::string message) : code_(code), message_(std::move(message)) {}
  ErrorCode code() const noexcept { return code_; }
  const char* what() const noexcept override { return message_.c_str(); }
  const std::string& message() const noexcept { return message_; }
  /// The same error with "prefix: " before the message, for the caller who knows the file or the tensor.
  Error at(std::string_view prefix) && {
    message_.insert(0, ": ");
    message_.insert(0, prefix);
    return std::move(*this);
  }

 private:
  ErrorCode code_;
  std::string message_;
};

/// A value or an Error. `if (auto r = f()) use(*r); else report(r.error());`
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}
  bool ok() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return ok(); }
  T& operator*() & noexcept { return *std::get_if<0>(&state_); }
  const T& operator*() const& noexcept { return *std::get_if<0>(&state_); }
  T&& operator*() && noexcept { return std::move(*std::get_if<0>(&state_)); }
  T* operator->() noexcept { return std::get_if<0>(&state_); }
  const T* operator->() const noexcept { return std::get_if<0>(&state_); }
  const Error& error() const& noexcept { return *std::get_if<1>(&state_); }
  Error&& error() && noexcept { return std::move(*std::get_if<1>(&state_)); }
#if SAMPAN_EXCEPTIONS
  /// The value; throws the Error if there is none.
  T value() && {
    if (!ok()) throw std::move(*this).error();
    return std::move(**this);
  }
#endif

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}
  bool ok() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return ok(); }
  const Error& error() const& noexcept { return *std::get_if<1>(&state_); }
  Error&& error() && noexcept { return std::move(*std::get_if<1>(&state_)); }
#if SAMPAN_EXCEPTIONS
  void value() && {
    if (!ok()) throw std::move(*this).error();
  }
#endif

 private:
  std::variant<std::monostate, Error> state_;
};

using Status = Result<void>;

namespace detail {
inline void append(std::string& s, std::string_view v) { s += v; }
inline void append(std::string& s, char v) { s += v; }
template <class N>
  requires std::is_arithmetic_v<N>
void append(std::string& s, N v) { s += std::to_string(v); }
}  // namespace detail

/// Concatenates text and numbers: cat("row ", 3, " of ", name).
template <class... A>
std::string cat(const A&... a) {
  std::string s;
  (detail::append(s, a), ...);
  return s;
}

}  // namespace sampan::inline SAMPAN_ABI

// Unwraps a Result or returns its Error from the enclosing function:  SAMPAN_TRY(file, MappedFile::open(path));
#define SAMPAN_TRY(var, ...)                                      \
  auto var##_result = (__VA_ARGS__);                              \
  if (!var##_result) return std::move(var##_result).error();      \
  auto& var = *var##_result
#define SAMPAN_CHECK(...)                                                  \
  do {                                                                     \
    if (auto sampan_status = (__VA_ARGS__); !sampan_status) return std::move(sampan_status).error(); \
  } while (false)
