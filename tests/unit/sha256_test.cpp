// core/sha256.hpp against the published vectors of FIPS 180-4 / NIST CAVS, and in pieces of every size.
#include <doctest/doctest.h>
#include <sampan/core/file.hpp>
#include <sampan/core/sha256.hpp>

#include <string>

using namespace sampan;

TEST_CASE("published vectors") {
  CHECK(sha256_hex({}) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256_hex(as_bytes("abc")) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(sha256_hex(as_bytes("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")) == "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK(sha256_hex(as_bytes(std::string(1'000'000, 'a'))) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("any cut of the input gives the same digest") {
  std::string text;
  for (int i = 0; i < 300; ++i) text += static_cast<char>(i * 7);
  for (std::size_t size = 0; size <= 130; ++size) {  // around the borders 55, 56, 63, 64, 119, 120, 128 of the padding
    const std::string whole = sha256_hex(as_bytes(text.substr(0, size)));
    for (std::size_t cut = 0; cut <= size; ++cut) {
      Sha256 s;
      s.update(as_bytes(text.substr(0, cut)));
      (void)s.hex();  // looking at it changes nothing
      s.update(as_bytes(text.substr(cut, size - cut)));
      REQUIRE(s.hex() == whole);
    }
  }
}

TEST_CASE("the processor's instructions give what the plain rounds give") {
  MESSAGE(std::string(detail::sha256_instructions() ? "this processor has them" : "this processor has none: both are the plain rounds"));
  std::string text;
  std::uint32_t seed = 1;
  for (int i = 0; i < 5000; ++i) text += static_cast<char>((seed = seed * 1664525u + 1013904223u) >> 24);
  for (std::size_t size = 0; size <= text.size(); size += 1 + size / 3) {
    Sha256 fast, plain(true);
    fast.update(as_bytes(text.substr(0, size)));
    plain.update(as_bytes(text.substr(0, size)));
    REQUIRE(fast.hex() == plain.hex());
  }
  Sha256 plain(true);
  plain.update(as_bytes("abc"));
  CHECK(plain.hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}
