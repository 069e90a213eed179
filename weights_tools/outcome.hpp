// How an Error leaves a command-line tool: its exit code and its one line. Data flow: tool.hpp -> here; tests hold every hostile file against it.
// Contract: 0 ok, 2 usage, 3 bad input file or output that cannot be written, 4 refused by a limit, 5 model or weights, 6 out of memory; 1 is never used.
#pragma once
#include <sampan/core/error.hpp>

namespace sampan::inline SAMPAN_ABI::tools {

inline int exit_code(ErrorCode c) {
  switch (c) {
    case ErrorCode::invalid_argument: return 2;
    case ErrorCode::io:
    case ErrorCode::bad_file: return 3;
    case ErrorCode::limit: return 4;
    case ErrorCode::out_of_memory: return 6;
    case ErrorCode::bad_model:
    case ErrorCode::unsupported:
    case ErrorCode::cancelled:
    case ErrorCode::internal: return 5;
  }
  return 5;
}

/// Names from files and paths may hold line breaks and escape sequences or be a megabyte long; a terminal gets neither.
inline std::string one_line(std::string_view s) {
  constexpr std::size_t kLongest = 2000;
  std::string out;
  for (char c : s.substr(0, kLongest)) out += static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? '?' : c;
  return s.size() > kLongest ? out + "..." : out;
}

}  // namespace sampan::inline SAMPAN_ABI::tools
