// Runs the built command line as a user's shell does, and looks at everything it leaves: exit code, both streams, files, time.
// Data flow: *_test.cpp -> Folder (a temporary directory with a tiny model and images) -> run(): fork, exec, wait -> Ran.
// The program lies in SAMPAN_BIN_DIR, which comes from CMake. Deliberately absent: a shell (arguments arrive as given), terminals.
#pragma once
#include "support/tiny_model.hpp"

#include <sampan/image/codec_stb.hpp>
#include <sampan/image/mask_codec.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace sampan::test {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

struct Ran {
  int code = -1;    ///< exit code; -1 if a signal ended it
  int signal = 0;   ///< that signal
  std::string out, err;
  double seconds = 0;
};

struct How {
  std::string program = "sampan";
  int signal = 0;          ///< send this one as soon as something stands on stderr (--progress json)
  std::string out = {};    ///< where stdout goes instead of Ran::out
};

inline std::string read_text(const fs::path& p) {
  std::ifstream in(p, std::ios::binary);
  std::ostringstream s;
  s << in.rdbuf();
  return s.str();
}
inline void write_text(const fs::path& p, std::string_view text) {
  std::ofstream(p, std::ios::binary).write(text.data(), std::streamsize(text.size()));
}

/// A temporary directory; relative names in arguments mean files in it. Gone at the end.
class Folder {
 public:
  Folder() {
    std::string name = (fs::temp_directory_path() / "sampan_cli_XXXXXX").string();
    REQUIRE(mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() {
    std::error_code ignored;
    fs::permissions(path_, fs::perms::owner_all, ignored);
    fs::remove_all(path_, ignored);
  }
  fs::path operator/(const std::string& name) const { return path_ / name; }
  const fs::path& path() const { return path_; }
  /// Names of everything inside.
  std::set<std::string> files() const {
    std::set<std::string> s;
    for (const auto& e : fs::recursive_directory_iterator(path_)) s.insert(e.path().lexically_relative(path_).string());
    return s;
  }

  void gray(const std::string& name, std::int64_t h, std::int64_t w) const {
    const auto pixels = phantom_gray(h, w);
    png(name, {pixels.data(), {w, h, 1}, PixelType::u8});
  }
  void rgb(const std::string& name, std::int64_t h, std::int64_t w) const {
    const auto pixels = phantom_rgb(h, w);
    png(name, {pixels.data(), {w, h, 3}, PixelType::u8});
  }
  void png(const std::string& name, const ImageView& v) const {
    std::vector<std::uint8_t> bytes;
    REQUIRE(encode_png(v, bytes).ok());
    write_text(path_ / name, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }
  void model(const std::string& name, const weights::Contract& c, std::uint64_t seed = 1) const {
    const Status s = write_model((path_ / name).string(), c, seed);
    REQUIRE_MESSAGE(s.ok(), name);
  }

  /// Starts a program of the build here.
  Ran run(const Words& arguments, const How& how = {}) const {
    const fs::path out = how.out.empty() ? path_.string() + ".out" : how.out, err = path_.string() + ".err";  // beside the folder, so that files() stays clean
    std::vector<char*> argv;
    Words words{how.program};
    words.insert(words.end(), arguments.begin(), arguments.end());
    for (auto& w : words) argv.push_back(w.data());
    argv.push_back(nullptr);
    const auto start = std::chrono::steady_clock::now();
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      const int files[] = {::open("/dev/null", O_RDONLY), ::open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), ::open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600)};
      for (int i = 0; i < 3; ++i)
        if (files[i] < 0 || dup2(files[i], i) < 0) _exit(126);
      if (chdir(path_.c_str()) != 0) _exit(126);
      execv((std::string(SAMPAN_BIN_DIR "/") + how.program).c_str(), argv.data());
      _exit(127);
    }
    int status = 0;
    pid_t ended = 0;
    std::error_code none_yet;
    while (how.signal && ended == 0 && (!fs::exists(err) || fs::file_size(err, none_yet) == 0)) {
      usleep(1000);
      ended = waitpid(child, &status, WNOHANG);
    }
    if (how.signal && ended == 0) kill(child, how.signal);
    if (ended == 0) ended = waitpid(child, &status, 0);
    REQUIRE(ended == child);
    Ran r;
    r.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    r.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    r.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    r.err = read_text(err);
    fs::remove(err);
    if (how.out.empty()) r.out = read_text(out), fs::remove(out);
    return r;
  }
  /// The same, and it must succeed.
  Ran ok(const Words& arguments) const {
    const Ran r = run(arguments);
    REQUIRE_MESSAGE(r.code == 0, r.err);
    return r;
  }

  Image image(const std::string& name) const {
    auto r = load_image((path_ / name).string());
    REQUIRE_MESSAGE(r.ok(), name);
    return std::move(*r);
  }
  /// A grey PNG as numbers.
  std::vector<int> values(const std::string& name) const {
    const Image m = image(name);
    REQUIRE(m.size().channels == 1);
    std::vector<int> v;
    for (std::size_t i = 0; i < std::size_t(m.size().width * m.size().height); ++i) {
      if (m.type() == PixelType::u8) {
        v.push_back(m.data()[i]);
      } else {
        std::uint16_t x;
        std::memcpy(&x, m.data() + 2 * i, 2);
        v.push_back(x);
      }
    }
    return v;
  }

 private:
  fs::path path_;
};

/// A failing call: this code, exactly one line on stderr that begins with the program's name, nothing on stdout, quickly.
inline void check_refused(const Ran& r, int code, const std::string& words) {
  CHECK(r.code == code);
  CHECK(r.signal == 0);
  CHECK(r.out.empty());
  CHECK(std::count(r.err.begin(), r.err.end(), '\n') == 1);
  CHECK(!r.err.empty());
  if (!r.err.empty()) CHECK(r.err.back() == '\n');
  CHECK_MESSAGE(r.err.rfind("sampan: ", 0) == 0, r.err);
  CHECK_MESSAGE(r.err.find(words) != std::string::npos, r.err);
  CHECK(r.seconds < 5);
}

}  // namespace sampan::test
