// README.md against the tree: its program is examples/minimal.cpp (which the build compiles), and every `sampan` call in it is one the program knows.
// Data flow: README.md, examples/minimal.cpp -> here. The commands are only parsed: their weights are not in the repository.
#include "cli/program.hpp"

#include <regex>

using namespace sampan::test;

namespace {

const fs::path kRoot = fs::path(SAMPAN_TEST_DIR).parent_path();

/// Contents of the fenced blocks of one language.
Words blocks(const std::string& text, const std::string& language) {
  Words found;
  const std::string open = "```" + language + "\n", close = "\n```";
  for (auto at = text.find(open); at != std::string::npos; at = text.find(open, at)) {
    at += open.size();
    const auto end = text.find(close, at);
    REQUIRE(end != std::string::npos);
    found.push_back(text.substr(at, end - at + 1));
    at = end + close.size();
  }
  return found;
}

}  // namespace

TEST_CASE("README shows examples/minimal.cpp, character by character") {
  const Words programs = blocks(read_text(kRoot / "README.md"), "cpp");
  REQUIRE(programs.size() >= 1);
  CHECK(programs[0] == read_text(kRoot / "examples" / "minimal.cpp"));
}

TEST_CASE("the program that README shows works") {
  const Folder f;
  f.model("m.safetensors", tiny_sam({.image = 64}));
  f.rgb("a.png", 48, 64);
  const Ran r = f.run({"m.safetensors", "a.png", "4", "4", "30", "30", "minimal.png"}, {.program = "example_minimal"});
  CHECK(r.code == 0);
  CHECK(r.err.empty());
  f.ok({"segment", "a.png", "--model", "m.safetensors", "--box", "4,4,30,30", "-o", "cli.png"});
  CHECK(f.values("minimal.png") == f.values("cli.png"));
  CHECK(f.run({"nowhere.safetensors", "a.png", "4", "4", "30", "30", "x.png"}, {.program = "example_minimal"}).err.find("nowhere.safetensors") != std::string::npos);
}

TEST_CASE("README's and the help's sampan calls use commands and options that exist") {
  const Folder f;
  std::string text = read_text(kRoot / "README.md") + read_text(kRoot / "examples" / "README.md");
  for (const char* command : {"segment", "encode", "volume", "everything", "info", "metrics", "evaluate"}) text += f.ok({command, "--help"}).out;
  int calls = 0;
  // "sampan segment ARGUMENTS" up to the end of the line, at a line's start or after the words of a help example.
  const std::regex call("(?:^|\n|  |/)sampan ((?:segment|encode|volume|everything|info|metrics|evaluate)(?: [^ \n#]+)*)");
  for (std::sregex_iterator it(text.begin(), text.end(), call), end; it != end; ++it) {
    std::istringstream words((*it)[1].str());
    Words arguments;
    for (std::string w; words >> w;) arguments.push_back(w);
    if (arguments.back() == "--help" || (arguments.size() > 1 && arguments[1] == "[OPTIONS]")) continue;
    CAPTURE((*it)[1].str());
    const Ran r = f.run(arguments);
    // The files do not exist here, so the call fails on its first file: 3 or 5, and only a wrong word would give 2.
    CHECK_MESSAGE((r.code == 3 || r.code == 5 || r.code == 0), r.err);
    ++calls;
  }
  CHECK(calls >= 15);
}

TEST_CASE("files that README links to exist") {
  for (const char* file : {"README.md", "examples/README.md"}) {
    const std::string text = read_text(kRoot / file);
    const std::regex link("\\]\\(([^)#:]+)\\)");
    for (std::sregex_iterator it(text.begin(), text.end(), link), end; it != end; ++it) {
      CAPTURE((*it)[1].str());
      CHECK(fs::exists((kRoot / file).parent_path() / (*it)[1].str()));
    }
  }
}
