// What the command-line tools share: one-line errors on stderr, results on stdout, CLI11's outcomes mapped. Data flow: main() of each tool calls run_tool.
// A failing call's error is the only line on stderr: what, where, what would be right. Exit codes: outcome.hpp.
#pragma once
#include "outcome.hpp"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <new>
#include <stdexcept>

namespace sampan::inline SAMPAN_ABI::tools {

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

/// Lines for people, on stderr.
inline void tell(const std::vector<std::string>& lines) {
  for (const std::string& l : lines) std::fprintf(stderr, "%s\n", one_line(l).c_str());
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
