// How a command ends: the exit codes of the command line and the one error line. Data flow: everything in cli/ throws Failure; main.cpp prints it and returns its code.
// 0 ok, 2 usage, 3 bad input file or output that cannot be written, 4 refused (a limit), 5 model or weights, 6 out of memory; 1 is never used,
// 7 part of a batch failed, the rest is written. The library's ErrorCode says what happened; Source says to whom.
#pragma once
#include <sampan/core/error.hpp>

#include <string>
#include <string_view>

namespace sampan::cli {

enum class Exit { ok = 0, usage = 2, bad_file = 3, refused = 4, bad_model = 5, out_of_memory = 6, partly = 7 };

struct Failure {
  Exit code;
  std::string message;
};

/// What the library was working on when it failed.
enum class Source { arguments, file, model };

inline Exit exit_code(ErrorCode e, Source s) {
  switch (e) {
    case ErrorCode::limit: return Exit::refused;
    case ErrorCode::out_of_memory: return Exit::out_of_memory;
    case ErrorCode::bad_model:
    case ErrorCode::internal: return Exit::bad_model;
    default: return s == Source::arguments ? Exit::usage : s == Source::file ? Exit::bad_file : Exit::bad_model;
  }
}

/// The value of a Result, or the Failure that its Error means here.
template <class T>
T must(Result<T> r, Source s) {
  if (!r) throw Failure{exit_code(r.error().code(), s), r.error().message()};
  return std::move(*r);
}
inline void must(Status s, Source from) {
  if (!s) throw Failure{exit_code(s.error().code(), from), s.error().message()};
}

/// The same Status, its message beginning with "who: ".
inline Status named(Status s, std::string_view who) {
  if (!s) return std::move(s).error().at(who);
  return s;
}

/// File names may hold line breaks; the error must not: control characters become '?'.
inline std::string one_line(std::string_view text) {
  std::string s(text);
  for (char& c : s)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  return s;
}

}  // namespace sampan::cli
