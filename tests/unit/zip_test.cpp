// weights_tools/zip.hpp: archives of both kinds, and every lie a zip file can tell.
#include <doctest/doctest.h>

#include "support/weight_files.hpp"
#include "weights_tools/zip.hpp"

using namespace sampan;
using namespace sampan::tools;
using namespace sampan::test;

namespace {

std::string error_of(const std::string& bytes, const ZipLimits& limits = {}) {
  const auto z = ZipArchive::open(as_bytes(bytes), "x.zip", limits);
  if (!z) return z.error().message();
  for (const ZipMember& m : z->members())
    if (const auto content = z->read(m); !content) return content.error().message();
  return "(accepted)";
}
ErrorCode code_of(const std::string& bytes, const ZipLimits& limits = {}) {
  const auto z = ZipArchive::open(as_bytes(bytes), "x.zip", limits);
  if (!z) return z.error().code();
  for (const ZipMember& m : z->members())
    if (const auto content = z->read(m); !content) return content.error().code();
  return ErrorCode::internal;
}

}  // namespace

TEST_CASE("stored and deflated members, zip64 or not, with a comment or not") {
  const std::string big(100'000, 'b');
  for (const bool zip64 : {false, true})
    for (const char* comment : {"", "a comment"}) {
      const std::string file = ZipBuilder().add("dir/a", "hello").add("z", big, {.deflate = true}).add("empty", "").add("deflated-empty", "", {.deflate = true}).finish(zip64, comment);
      const auto z = ZipArchive::open(as_bytes(file), "x.zip");
      REQUIRE_MESSAGE(z, z.error().message());
      CHECK(z->members().size() == 4);
      auto a = z->read(*z->find("dir/a"));
      REQUIRE(a);
      CHECK(as_text(a->bytes) == "hello");
      CHECK(a->owned.empty());  // a view into the file
      CHECK(a->bytes.data() > as_bytes(file).data());
      tools::Blob moved = std::move(*z->read(*z->find("z")));
      CHECK(as_text(moved.bytes) == big);
      CHECK(z->read(*z->find("empty"))->bytes.empty());
      CHECK(z->read(*z->find("deflated-empty"))->bytes.empty());
      CHECK_FALSE(z->find("a"));
    }
  CHECK(ZipArchive::open(as_bytes(ZipBuilder().finish()), "x")->members().empty());
}

TEST_CASE("a member of several megabytes inflates piece by piece") {
  std::string noise(5'000'001, '\0');
  std::uint32_t x = 1;
  for (char& c : noise) x = x * 1664525u + 1013904223u, c = static_cast<char>((x >> 24) & 15);
  const std::string file = ZipBuilder().add("n", noise, {.deflate = true}).finish();
  const auto z = ZipArchive::open(as_bytes(file), "x");
  CHECK(as_text(z->read(*z->find("n"))->bytes) == noise);
}

TEST_CASE("every truncation is refused") {
  const std::string file = ZipBuilder().add("a", "hello").add("b", std::string(300, 'x'), {.deflate = true}).finish();
  for (std::size_t n = 0; n < file.size(); ++n) {
    CAPTURE(n);
    REQUIRE_FALSE(ZipArchive::open(as_bytes(file.substr(0, n)), "x"));
  }
  CHECK(error_of(file) == "(accepted)");
}

TEST_CASE("every changed byte is refused or leaves the content as it was") {
  const std::string file = ZipBuilder().add("a", "hello").add("b", std::string(300, 'x'), {.deflate = true}).finish();
  for (std::size_t i = 0; i < file.size(); ++i)
    for (const int bit : {0, 3, 7}) {
      std::string bad = file;
      bad[i] = static_cast<char>(bad[i] ^ (1 << bit));
      const auto z = ZipArchive::open(as_bytes(bad), "x");
      if (!z) continue;
      for (const ZipMember& m : z->members()) {
        const auto content = z->read(m);
        if (!content) continue;
        CAPTURE(i);
        REQUIRE((as_text(content->bytes) == "hello" || as_text(content->bytes) == std::string(300, 'x')));
      }
    }
}

TEST_CASE("lies") {
  const std::string mb(1 << 20, 'x');
  struct Case {
    const char* what;
    std::string file;
    const char* says;
    ErrorCode code = ErrorCode::bad_file;
  };
  std::string prefixed = ZipBuilder().add("a", "hello").finish();
  prefixed.insert(0, "junk");
  std::string disks = ZipBuilder().add("a", "hello").finish();
  disks[disks.size() - 18] = 1;
  std::string locator = ZipBuilder().add("a", "hello").finish(true);
  locator.replace(locator.size() - 22 - 12, 8, le(std::uint64_t(1) << 60));
  std::string many = ZipBuilder().add("a", "hello").finish(true);  // 2^40 entries in the zip64 record
  many.replace(many.size() - 22 - 20 - 56 + 32, 8, le(std::uint64_t(1) << 40));
  const Case cases[] = {
      {"encrypted", ZipBuilder().add("a", "hello", {.flags = 1}).finish(), "zip member a (byte 0): is encrypted", ErrorCode::unsupported},
      {"strong encryption", ZipBuilder().add("a", "hello", {.flags = 0x2000}).finish(), "encrypted", ErrorCode::unsupported},
      {"method 12 (bzip2)", ZipBuilder().add("a", "hello", {.method = 12}).finish(), "compression method 12", ErrorCode::unsupported},
      {"method 93 (zstd)", ZipBuilder().add("a", "hello", {.method = 93}).finish(), "compression method 93", ErrorCode::unsupported},
      {"wrong CRC, stored", ZipBuilder().add("a", "hello", {.wrong_crc = true}).finish(), "CRC"},
      {"wrong CRC, deflated", ZipBuilder().add("a", "hello", {.deflate = true, .wrong_crc = true}).finish(), "CRC"},
      {"twice the same name", ZipBuilder().add("b", "1").add("a", "2").add("b", "3").finish(), "appears twice"},
      {"two entries, one member", ZipBuilder().add("a", "hello").repeat(0).finish(), "overlaps"},
      {"two names, one member", ZipBuilder().add("a", "hello").repeat(0, "b").finish(), "names another member"},
      {"local header with another name", ZipBuilder().add("a", "hello", {.local_name = "b"}).finish(), "names another member"},
      {"no name", ZipBuilder().add("", "hello").finish(), "without a name"},
      {"stored with two sizes", ZipBuilder().add("a", "hello", {.size = 6}).finish(), "its two sizes differ"},
      {"beyond the file", ZipBuilder().add("a", "hello", {.size = 5000, .stored_size = 5000}).finish(), "reach beyond the file"},
      {"over the next member", ZipBuilder().add("a", "hello", {.size = 40, .stored_size = 40}).add("b", std::string(60, 'y')).finish(), "overlaps member a"},
      {"inflates to less", ZipBuilder().add("a", mb, {.deflate = true, .size = (1 << 20) + 1}).finish(), "does not inflate to its"},
      {"inflates to more", ZipBuilder().add("a", mb, {.deflate = true, .size = (1 << 20) - 1}).finish(), "does not inflate to its"},
      {"announces nothing", ZipBuilder().add("a", mb, {.deflate = true, .size = 0}).finish(), "does not inflate to its"},
      {"announces 4 GB", ZipBuilder().add("a", mb, {.deflate = true, .size = 0xFFFFFFF0}).finish(), "more than 100 times", ErrorCode::limit},
      {"garbage as deflate", ZipBuilder().add("a", std::string(100, '\xFF'), {.method = 8}).finish(), "does not inflate"},
      {"bytes before the archive", prefixed, "must end where its end record begins"},
      {"several disks", disks, "several disks"},
      {"zip64 locator to nowhere", locator, "zip64 locator"},
      {"2^40 entries", many, "at most 100000 are read", ErrorCode::limit},
      {"too short", "PK\x05\x06", "truncated"},
      {"not a zip", std::string(100, 'x'), "no end record"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.what);
    const std::string message = error_of(c.file);
    CHECK_MESSAGE(message.find(c.says) != std::string::npos, message);
    CHECK(message.find("x.zip: ") == 0);
    CHECK(code_of(c.file) == c.code);
  }
}

TEST_CASE("bombs stop before they unfold") {
  // 20 MB of zeros deflate 1000:1; the limit is 100:1 above ratio_free_bytes.
  const std::string bomb = ZipBuilder().add("a", std::string(20 << 20, '\0'), {.deflate = true}).finish();
  CHECK(bomb.size() < 40'000);
  CHECK(code_of(bomb) == ErrorCode::limit);
  CHECK(error_of(bomb).find("more than 100 times") != std::string::npos);
  const std::string plain = ZipBuilder().add("a", std::string(5000, 'x'), {.deflate = true}).finish();
  CHECK(code_of(plain, {.max_inflated_bytes = 4999}) == ErrorCode::limit);
  CHECK(error_of(plain, {.max_inflated_bytes = 5000}) == "(accepted)");
  CHECK(code_of(plain, {.max_ratio = 10, .ratio_free_bytes = 4999}) == ErrorCode::limit);
  CHECK(code_of(plain, {.max_members = 0}) == ErrorCode::limit);
}
