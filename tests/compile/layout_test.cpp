// Rules of the tree that can be read from its text: include directions, who may include what, no printing or exiting, ASCII, header comments, lengths.
// Data flow: reads every source file below the repository root as text; compiles and runs nothing of it. Cost: milliseconds.
// Each rule is first shown to find a planted violation, so that an empty result means something.
// Deliberately not here: what a compiler can tell (headers alone, misuse): tests/compile/CMakeLists.txt.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;
using Lines = std::vector<std::string>;
using Files = std::map<std::string, std::string>;  // path below the root -> text

// The arrows of the architecture: a folder of include/sampan and what its files may include, themselves and core apart. "" is the top: sampan.hpp, c_api.h.
const std::map<std::string, std::set<std::string>> kArrows = {
    {"core", {}},
    {"ops", {}},
    {"cpu", {"ops"}},
    {"cuda", {"ops", "cpu"}},  // cpu: what stays on the host
    {"weights", {"ops"}},
    {"nn", {"ops", "weights"}},
    {"models", {"ops", "weights", "nn"}},
    {"image", {"ops"}},
    {"predict", {"ops", "weights", "nn", "models", "image"}},
    {"metrics", {}},
    {"", {"ops", "cpu", "cuda", "weights", "nn", "models", "image", "predict", "metrics"}},
};

// Heavy or platform headers, and the files that may include them (a regular expression on the path). Anything else without a dot is the standard library.
const std::vector<std::pair<std::string, std::string>> kRestricted = {
    {"iostream|regex|cassert|assert\\.h|ostream|istream|iomanip", "(?!)"},
    {"filesystem|functional|thread|chrono|format|ranges|fstream|sstream|future|locale", ".*\\.ipp"},
    {"sys/.*|fcntl\\.h|unistd\\.h", "include/sampan/core/file\\.hpp|.*\\.ipp"},
    {"immintrin\\.h|x86intrin\\.h|cpuid\\.h|arm_neon\\.h", "include/sampan/cpu/.*"},
    {"Eigen/Core", "include/sampan/ops/eigen_gemm\\.hpp"},
    {"(stb/)?stb_.*\\.h", "include/sampan/(image/codec_stb\\.hpp|impl/codec_stb\\.ipp)"},
    {"cuda.*|cublas.*|cudnn.*", "(?!)"},  // kernels/runtime.cpp has them
    {"kernels/launch\\.hpp", "include/sampan/cuda/runtime\\.hpp"},
};

bool starts(const std::string& s, const std::string& prefix) { return s.rfind(prefix, 0) == 0; }
bool ends(const std::string& s, const std::string& suffix) { return s.size() >= suffix.size() && s.compare(s.size() - suffix.size(), suffix.size(), suffix) == 0; }
bool matches(const std::string& s, const std::string& pattern) { return std::regex_match(s, std::regex(pattern)); }

std::string folder_of(const std::string& path) {  // "include/sampan/nn/mlp.hpp" -> "nn"
  if (path == "include/sampan/version.hpp" || path == "include/sampan/build_config.hpp") return "core";  // config.hpp begins with them
  const std::string rest = path.substr(std::string("include/sampan/").size());
  const auto slash = rest.find('/');
  return slash == std::string::npos ? "" : rest.substr(0, slash);
}

struct Include {
  std::string name;
  bool quoted;
};
std::vector<Include> includes_of(const std::string& text) {
  static const std::regex line("^[ \t]*#[ \t]*include[ \t]*([<\"])([^>\"]+)[>\"]");
  std::vector<Include> out;
  std::istringstream in(text);
  for (std::string s; std::getline(in, s);)
    if (std::smatch m; std::regex_search(s, m, line)) out.push_back({m[2], m[1] == "\""});
  return out;
}

// Code without comments and without the contents of string and character literals.
std::string code_of(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    if (text.compare(i, 2, "//") == 0) {
      i = std::min(text.find('\n', i), text.size());
    } else if (text.compare(i, 2, "/*") == 0) {
      const auto end = text.find("*/", i + 2);
      i = end == std::string::npos ? text.size() : end + 2;
    } else if (text[i] == '"' || (text[i] == '\'' && (i == 0 || !std::isalnum(static_cast<unsigned char>(text[i - 1]))))) {  // not 1'000'000
      const char quote = text[i++];
      while (i < text.size() && text[i] != quote && text[i] != '\n') i += text[i] == '\\' ? 2 : 1;
      ++i;
      out += "\"\"";
    } else {
      out += text[i++];
    }
  }
  return out;
}

// impl/x.ipp holds definitions of one header, which includes it at its end; it counts as a part of that header's folder.
std::map<std::string, std::string> owners_of(const Files& files, Lines& found) {
  std::map<std::string, std::string> owner;
  for (const auto& [path, text] : files) {
    if (!starts(path, "include/sampan/") || starts(path, "include/sampan/impl/")) continue;
    for (const auto& i : includes_of(text))
      if (starts(i.name, "sampan/impl/"))
        if (!owner.emplace("include/" + i.name, path).second) found.push_back(path + ": a second header includes " + i.name);
  }
  for (const auto& [path, text] : files)
    if (starts(path, "include/sampan/impl/") && !owner.count(path)) found.push_back(path + ": no header includes it, so header-only users miss its definitions");
  return owner;
}

Lines direction_violations(const Files& files) {
  Lines found;
  const auto owner = owners_of(files, found);
  for (const auto& [path, text] : files) {
    const bool engine = starts(path, "include/");
    for (const auto& i : includes_of(text)) {
      if (engine && i.quoted) {
        found.push_back(path + ": \"" + i.name + "\" in quotes; the library includes <sampan/...>");
        continue;
      }
      if (starts(i.name, "sampan/")) {
        if (!files.count("include/" + i.name) && i.name != "sampan/build_config.hpp") found.push_back(path + ": <" + i.name + "> does not exist");
        if (!engine || starts(i.name, "sampan/impl/")) continue;
        const std::string from = folder_of(owner.count(path) ? owner.at(path) : path), to = folder_of("include/" + i.name);
        if (!kArrows.count(from)) {
          found.push_back(path + ": folder '" + from + "' is not in the architecture");
          continue;
        }
        const bool seam = path == "include/sampan/models/any_model.hpp" || (owner.count(path) && owner.at(path) == "include/sampan/models/any_model.hpp");
        const bool allowed = to == from || to == "core" || kArrows.at(from).count(to) || (seam && (to == "cpu" || to == "cuda"));
        if (!allowed) found.push_back(path + ": <" + i.name + "> goes against the arrows: " + from + " may not see " + (to.empty() ? "the top" : to));
        continue;
      }
      if (engine) {
        bool known = false;
        for (const auto& [header, where] : kRestricted)
          if (matches(i.name, header)) {
            known = true;
            if (!matches(path, where)) found.push_back(path + ": <" + i.name + "> may not be included here");
          }
        if (!known && i.name.find_first_of("./") != std::string::npos) found.push_back(path + ": <" + i.name + "> is not the C++ standard library");
        continue;
      }
      // Programs see the library; only tests and benches also see the programs' own headers.
      const std::string top = path.substr(0, path.find('/'));
      // The bounded readers of zip and pickle files serve both: checkpoints, and the npz files of examples/medical.
      const bool container = starts(path, "examples/medical/") && (i.name == "weights_tools/zip.hpp" || i.name == "weights_tools/pickle.hpp");
      for (const char* other : {"weights_tools", "examples", "tests", "bench"})
        if (!container && top != other && top != "tests" && top != "bench" && starts(i.name, std::string(other) + "/"))
          found.push_back(path + ": \"" + i.name + "\" goes against the arrows: " + top + " may not see " + other);
    }
  }
  return found;
}

// A cycle of headers works by luck of the order in which a user includes them.
Lines cycles(const Files& files) {
  Lines found;
  std::map<std::string, int> state;  // 1 on the way, 2 done
  auto visit = [&](auto&& self, const std::string& path) -> void {
    state[path] = 1;
    for (const auto& i : includes_of(files.at(path))) {
      const std::string next = "include/" + i.name;
      if (!files.count(next) || starts(i.name, "sampan/impl/")) continue;
      if (state[next] == 1) found.push_back(path + ": <" + i.name + "> closes a cycle");
      if (state[next] == 0) self(self, next);
    }
    state[path] = 2;
  };
  for (const auto& [path, text] : files)
    if (starts(path, "include/") && state[path] == 0) visit(visit, path);
  return found;
}

// The library never prints, exits, aborts, or reads the environment: a product decides that.
Lines conduct_violations(const Files& files) {
  static const std::regex banned("\\b(getenv|secure_getenv|setenv|v?f?printf|f?puts|putchar|perror|exit|_exit|_Exit|quick_exit|abort|terminate|assert|system|popen)[ \t]*\\(|\\b(cout|cerr|clog)\\b");
  Lines found;
  for (const auto& [path, text] : files) {
    if (!starts(path, "include/")) continue;
    std::istringstream in(code_of(text));
    for (std::string s; std::getline(in, s);)
      if (std::smatch m; std::regex_search(s, m, banned)) found.push_back(path + ": " + m.str() + " in: " + s);
  }
  return found;
}

Lines text_violations(const Files& files) {
  Lines found;
  for (const auto& [path, text] : files) {
    int number = 1;
    for (const char c : text) {
      if (c == '\n') ++number;
      if ((static_cast<unsigned char>(c) >= 0x7f || static_cast<unsigned char>(c) < 0x20) && c != '\n') {
        found.push_back(path + ":" + std::to_string(number) + ": not plain ASCII (a tab, a carriage return, or beyond)");
        break;
      }
    }
    if (!text.empty() && text.back() != '\n') found.push_back(path + ": no newline at the end");
    const bool hash = ends(path, ".txt") || ends(path, ".sh") || ends(path, ".py") || path == ".ci/run";
    std::string first = text.substr(0, text.find('\n'));
    if (hash && starts(first, "#!")) first = text.substr(std::min(text.size(), first.size() + 1)), first = first.substr(0, first.find('\n'));
    const bool docstring = ends(path, ".py") && starts(first, "\"\"\"");
    if ((!starts(first, hash ? "# " : "// ") && !docstring) || first.size() < 20) found.push_back(path + ": does not open with a comment that says what it is");
  }
  return found;
}

// A file that can be reviewed in one sitting.
Lines length_violations(const Files& files) {
  Lines found;
  for (const auto& [path, text] : files) {
    const long limit = starts(path, "include/sampan/models/") ? 400 : starts(path, "include/sampan/nn/") ? 150 : starts(path, "include/sampan/ops/") ? 200 : 1000;
    const long lines = std::count(text.begin(), text.end(), '\n');
    if (lines > limit) found.push_back(path + ": " + std::to_string(lines) + " lines, at most " + std::to_string(limit) + " here; split it by meaning");
  }
  return found;
}

Files read_tree() {
  Files files;
  const fs::path root = SAMPAN_ROOT_DIR;
  const std::set<std::string> kinds = {".hpp", ".h", ".ipp", ".inl", ".cpp", ".c", ".cu", ".cuh", ".py", ".sh"};
  auto add = [&](const fs::path& p) {
    std::ifstream in(p, std::ios::binary);
    std::ostringstream text;
    text << in.rdbuf();
    files[p.lexically_relative(root).generic_string()] = text.str();
  };
  for (const char* top : {"include", "kernels", "weights_tools", "examples", "tests", "bench"})
    if (fs::exists(root / top))
      for (const auto& e : fs::recursive_directory_iterator(root / top))
        if (e.is_regular_file() && (kinds.count(e.path().extension().string()) || e.path().filename() == "CMakeLists.txt")) add(e.path());
  add(root / "CMakeLists.txt");
  add(root / ".ci/run");
  return files;
}

const Files& tree() {
  static const Files files = read_tree();
  return files;
}

void check_none(const Lines& found) {
  for (const auto& line : found) MESSAGE(line);
  CHECK(found.empty());
}

}  // namespace

TEST_CASE("the rules find planted violations") {
  const std::string path = "include/sampan/ops/x.hpp";
  const Files targets = {{"include/sampan/core/a.hpp", ""}, {"include/sampan/nn/b.hpp", ""}, {"include/sampan/cpu/c.hpp", ""}, {"include/sampan/sampan.hpp", ""}};
  auto direction = [&](const std::string& from, const std::string& line) {
    Files f = targets;
    f[from] = "// A planted file.\n" + line + "\n";
    return direction_violations(f).size();
  };
  CHECK(direction(path, "#include <sampan/core/a.hpp>") == 0);
  CHECK(direction(path, "#include <vector>") == 0);
  CHECK(direction("include/sampan/models/any_model.hpp", "#include <sampan/cpu/c.hpp>") == 0);
  CHECK(direction("weights_tools/t.cpp", "#include <sampan/nn/b.hpp>\n#include <zlib.h>") == 0);
  for (const char* bad : {"#include <sampan/nn/b.hpp>", "  #  include <sampan/sampan.hpp>", "#include <sampan/core/missing.hpp>", "#include \"a.hpp\"", "#include <iostream>",
                          "#include <thread>", "#include <Eigen/Core>", "#include <immintrin.h>", "#include <stb/stb_image.h>", "#include <zlib.h>", "#include <sys/mman.h>",
                          "#include <cuda_runtime.h>"}) {
    CAPTURE(bad);
    CHECK(direction(path, bad) == 1);
  }
  CHECK(direction("include/sampan/models/m.hpp", "#include <sampan/cpu/c.hpp>") == 1);
  CHECK(direction("include/sampan/odd/m.hpp", "#include <sampan/core/a.hpp>") == 1);
  CHECK(direction("include/sampan/impl/orphan.ipp", "") == 1);
  CHECK(direction("include/sampan/ops/eigen_gemm.hpp", "#include <Eigen/Dense>") == 1);
  CHECK(direction("examples/cli/x.cpp", "#include \"weights_tools/zip.hpp\"") == 1);
  CHECK(direction("examples/medical/x.hpp", "#include \"weights_tools/zip.hpp\"") == 0);
  CHECK(direction("examples/medical/x.hpp", "#include \"weights_tools/torch_file.hpp\"") == 1);
  CHECK(direction("weights_tools/x.cpp", "#include \"tests/support/rng.hpp\"") == 1);
  CHECK(direction_violations({{"include/sampan/core/a.hpp", "#include <sampan/impl/a.ipp>\n"}, {"include/sampan/impl/a.ipp", "#include <sampan/nn/b.hpp>\n"}, {"include/sampan/nn/b.hpp", ""}}).size() == 1);
  CHECK(cycles({{"include/sampan/ops/a.hpp", "#include <sampan/ops/b.hpp>\n"}, {"include/sampan/ops/b.hpp", "#include <sampan/ops/a.hpp>\n"}}).size() == 1);

  auto conduct = [&](const std::string& code) { return conduct_violations({{path, code}}).size(); };
  CHECK(conduct("// printf(x)\nconst char* s = \"exit(1)\"; snprintf(b, 3, s); on_exit (1); int n = 1'000; char q = '\"';\n") == 0);
  for (const char* bad : {"std::getenv(\"X\");", "printf (\"\");", "std::fprintf(f, s);", "std::cerr << 1;", "std::exit(1);", "abort();", "assert(x);", "std::terminate();", "/* */ puts(s);"}) {
    CAPTURE(bad);
    CHECK(conduct(bad) == 1);
  }

  auto text = [&](const std::string& content, const std::string& name = "include/sampan/ops/x.hpp") { return text_violations({{name, content}}).size(); };
  CHECK(text("// Matrix product of two views.\n") == 0);
  CHECK(text("#!/usr/bin/env bash\n# Builds and tests everything.\n", "tests/run.sh") == 0);
  CHECK(text("#pragma once\n") == 1);
  CHECK(text("// x\n") == 1);
  CHECK(text("// Matrix product \xC2\xB5 of two views.\n") == 1);
  CHECK(text("// Matrix product of two views.\r\n") == 1);
  CHECK(text("// Matrix product of two views.") == 1);
  CHECK(text("#!/usr/bin/env bash\nset -e\n", "tests/run.sh") == 1);
  CHECK(length_violations({{"include/sampan/nn/x.hpp", std::string(151, '\n')}}).size() == 1);
  CHECK(length_violations({{"include/sampan/nn/x.hpp", std::string(150, '\n')}}).empty());
}

TEST_CASE("the tree is read") {
  CHECK(tree().count("include/sampan/core/config.hpp") == 1);
  CHECK(tree().count("tests/compile/layout_test.cpp") == 1);
}
TEST_CASE("includes follow the arrows") { check_none(direction_violations(tree())); }
TEST_CASE("no cycles") { check_none(cycles(tree())); }
TEST_CASE("the library never prints, exits, aborts or reads the environment") { check_none(conduct_violations(tree())); }
TEST_CASE("plain ASCII, and each file says what it is") { check_none(text_violations(tree())); }
TEST_CASE("files can be read in one sitting") { check_none(length_violations(tree())); }
