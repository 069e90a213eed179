// core/file.hpp: mapping, atomic writing, and each way a path can be wrong.
#include <doctest/doctest.h>
#include <sampan/core/file.hpp>

#include "support/weight_files.hpp"

#include <csignal>

#include <sys/resource.h>

using namespace sampan;
using namespace sampan::test;

namespace {
bool says(const Error& e, std::string_view part) { return e.message().find(part) != std::string::npos; }
}  // namespace

TEST_CASE("MappedFile gives the bytes, also after a move and after release") {
  const TempDir dir;
  const std::string content(3 * 4096 + 5, 'x');
  auto f = MappedFile::open(put_file(dir.path("a"), content));
  REQUIRE(f);
  CHECK(as_text(f->bytes()) == content);
  const Bytes view = f->bytes();
  const MappedFile moved = std::move(*f);
  CHECK(as_text(view) == content);
  CHECK(moved.path() == dir.path("a"));
  moved.release(0, content.size());
  moved.release(100, 1 << 30);
  moved.release(1 << 30, 1);
  moved.release(4097, ~std::size_t(0));
  CHECK(as_text(moved.bytes()) == content);
}

TEST_CASE("an empty file is no error and has no bytes") {
  const TempDir dir;
  const auto f = MappedFile::open(put_file(dir.path("empty"), ""));
  REQUIRE(f);
  CHECK(f->bytes().empty());
}

TEST_CASE("paths that cannot be read") {
  const TempDir dir;
  put_file(dir.path("file"), "x");
  const std::pair<std::string, std::string> cases[] = {{dir.path("missing"), "no such file"}, {dir.path(), "is a directory"}, {dir.path("file") + "/x", "not a directory"}, {"", "empty name"},
                                                       {"/dev/null", "not a regular file"},   {std::string("a\0b", 3), "zero byte"}, {dir.path(std::string(300, 'n')), "too long"}};
  for (const auto& row : cases) {
    const auto& path = row.first;
    const auto& what = row.second;
    CAPTURE(path);
    const auto f = MappedFile::open(path);
    REQUIRE_FALSE(f);
    CHECK(f.error().code() == ErrorCode::io);
    CHECK_MESSAGE(says(f.error(), what), f.error().message());
  }
}

TEST_CASE("AtomicFile appears complete, replaces, and leaves nothing behind") {
  const TempDir dir;
  const std::string path = dir.path("out");
  {
    auto f = AtomicFile::create(path);
    REQUIRE(f);
    REQUIRE(f->write("hel"));
    REQUIRE(f->write("lo"));
    CHECK_FALSE(std::filesystem::exists(path));
    REQUIRE(f->commit());
    CHECK(get_file(path) == "hello");
  }
  {
    auto f = AtomicFile::create(path);  // abandoned: the old content stays
    REQUIRE(f);
    REQUIRE(f->write("other"));
    AtomicFile moved = std::move(*f);
  }
  CHECK(get_file(path) == "hello");
  CHECK(dir.file_count() == 1);
  REQUIRE(write_atomically(path, as_bytes("new")));
  CHECK(get_file(path) == "new");
  CHECK(dir.file_count() == 1);
}

TEST_CASE("two writers of one name do not disturb each other") {
  const TempDir dir;
  auto a = AtomicFile::create(dir.path("out")), b = AtomicFile::create(dir.path("out"));
  REQUIRE(a);
  REQUIRE(b);
  REQUIRE(a->write("first"));
  REQUIRE(b->write("second"));
  REQUIRE(a->commit());
  CHECK(get_file(dir.path("out")) == "first");
  REQUIRE(b->commit());
  CHECK(get_file(dir.path("out")) == "second");
  CHECK(dir.file_count() == 1);
}

TEST_CASE("paths that cannot be written") {
  const TempDir dir;
  put_file(dir.path("file"), "x");
  const std::pair<std::string, std::string> cases[] = {{dir.path("no/such/out"), "does not exist"}, {dir.path(), "is a directory"},           {dir.path("file") + "/x", "not a directory"},
                                                       {"", "empty name"},                          {"/dev/null", "not a regular file"},      {dir.path("folder/"), "names a directory"},
                                                       {dir.path(std::string(300, 'n')), "too long"}, {std::string("a\0b", 3), "zero byte"}};
  for (const auto& row : cases) {
    const auto& path = row.first;
    const auto& what = row.second;
    CAPTURE(path);
    const auto f = AtomicFile::create(path);
    REQUIRE_FALSE(f);
    CHECK(f.error().code() == ErrorCode::io);
    CHECK_MESSAGE(says(f.error(), what), f.error().message());
  }
  CHECK(dir.file_count() == 1);
}

TEST_CASE("a file that may not grow further is an error, and nothing is left") {
  const TempDir dir;
  struct rlimit old {};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &old) == 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);  // then write() gives EFBIG, as a full file system gives ENOSPC
  struct rlimit small = old;
  small.rlim_cur = 1000;
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
  const Status s = write_atomically(dir.path("out"), as_bytes(std::string(5000, 'x')));
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &old) == 0);
  std::signal(SIGXFSZ, handler);
  REQUIRE_FALSE(s);
  CHECK(s.error().code() == ErrorCode::io);
  CHECK_MESSAGE(says(s.error(), "too large"), s.error().message());
  CHECK(dir.file_count() == 0);
}
