// What the command-line tools share: exit codes, one-line errors, CLI11's outcomes mapped. Data flow: main() of each tool calls run_tool.
// Contract: 0 ok, 2 usage, 3 bad input file or output that cannot be written, 4 refused by a limit, 5 model or weights, 6 out of memory; 1 is never used.
// A failing call's error is the only line on stderr: what, where, what would be right.
#pragma once
#include <sampan/core/error.hpp>

#include <CLI/CLI.hpp>

#include <cstdio>
#include <new>
#include <stdexcept>

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

/// Names from files and paths may hold line breaks and escape sequences; a terminal gets neither.
inline std::string one_line(std::string_view s) {
  std::string out;
  for (char c : s) out += static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? '?' : c;
  return out;
}

inline int fail(std::string_view tool, int code, std::string_view message) {
  std::fprintf(stderr, "%.*s: %s\n", static_cast<int>(tool.size()), tool.data(), one_line(message).c_str());
  return code;
}
inline int fail(std::string_view tool, const Error& e) { return fail(tool, exit_code(e.code()), e.message()); }

/// Results on stdout; a full disk or closed pipe must not look like success.
inline Status print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) return Error(ErrorCode::io, "cannot write to standard output");
  return {};
}

/// Parses, then runs `body` (a callable that returns Status). Adds --version and the examples to the help.
template <class F>
int run_tool(CLI::App& app, const char* name, const char* examples, int argc, char** argv, F&& body) {
  app.name(name);
  app.set_version_flag("--version", cat(name, " ", SAMPAN_VERSION), "Print the version and exit");
  app.footer(examples);
  try {
    app.parse(argc, argv);
    const Status s = body();
    return s ? 0 : fail(name, s.error());
  } catch (const CLI::CallForVersion& v) {
    const Status s = print(cat(v.what(), "\n"));
    return s ? 0 : fail(name, s.error());
  } catch (const CLI::Success&) {
    const Status s = print(app.help());
    return s ? 0 : fail(name, s.error());
  } catch (const CLI::ParseError& e) {
    return fail(name, 2, cat(e.what(), " (", name, " --help shows how to call it)"));
  } catch (const std::bad_alloc&) {
    return fail(name, 6, "out of memory: close other programs or use a machine with more memory");
  } catch (const std::length_error&) {
    return fail(name, 6, "out of memory: a size beyond what this machine can hold");
  }
}

}  // namespace sampan::inline SAMPAN_ABI::tools
