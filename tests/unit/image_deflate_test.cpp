// deflate against zlib's inflate, inflate_check against zlib on sound and damaged streams, both checksums.
#include "unit/image_fixture.hpp"

#include "support/rng.hpp"

#include <sampan/image/deflate_runs.hpp>
#include <sampan/image/inflate_check.hpp>

using namespace sampan;
using namespace sampan::test;

namespace {

Blob noise(std::size_t n, int values, std::uint64_t seed) {
  Rng rng(Seed{seed});
  Blob b(n);
  for (auto& v : b) v = std::uint8_t(rng.below(values));
  return b;
}

Blob zlib_inflate(const Blob& packed, std::size_t n) {
  Blob out(n + 1);
  uLongf got = uLongf(out.size());
  REQUIRE(uncompress(out.data(), &got, packed.data(), uLong(packed.size())) == Z_OK);  // also compares the Adler-32
  out.resize(got);
  return out;
}

/// The stream in pieces of `piece` bytes, with empty ones between them only where next() may give none.
InflateVerdict walk(const Blob& packed, std::uint64_t expected, std::size_t piece = 1 << 30) {
  std::size_t at = 0;
  return inflate_check(
      [&]() -> std::span<const std::uint8_t> {
        const std::size_t n = std::min(piece, packed.size() - at);
        at += n;
        return std::span(packed).subspan(at - n, n);
      },
      expected);
}

}  // namespace

TEST_CASE("checksums: published values, zlib's values, in one piece and in two") {
  const std::string digits = "123456789", wiki = "Wikipedia";
  const auto bytes = [](const std::string& s) { return Blob(s.begin(), s.end()); };
  CHECK(png_crc32(bytes(digits)) == 0xCBF43926u);
  CHECK(png_adler32(bytes(wiki)) == 0x11E60398u);
  CHECK(png_crc32({}) == 0);
  CHECK(png_adler32({}) == 1);
  for (const std::size_t n : {1u, 5551u, 5552u, 5553u, 100000u}) {
    const Blob b(n, 255);  // the largest sums
    CHECK(png_crc32(b) == ::crc32(0, b.data(), uInt(n)));
    CHECK(png_adler32(b) == ::adler32(1, b.data(), uInt(n)));
    const std::span s(b);
    CHECK(png_crc32(s.subspan(n / 3), png_crc32(s.first(n / 3))) == png_crc32(b));
    CHECK(png_adler32(s.subspan(n / 3), png_adler32(s.first(n / 3))) == png_adler32(b));
  }
}

TEST_CASE("deflate: zlib inflates every stream to the same bytes") {
  std::vector<Blob> inputs = {{}, {0}, {1, 2}, {1, 2, 3}, Blob(3, 7), Blob(257), Blob(258), Blob(259, 255), Blob(1000000)};
  for (const std::size_t n : {4u, 300u, 32767u, 32768u, 32769u, 65535u, 65536u, 200000u})
    for (const int values : {2, 3, 17, 256}) inputs.push_back(noise(n, values, n + std::uint64_t(values)));
  Blob all;  // every byte value, every match length, distances up to the window
  for (int v = 0; v < 256; ++v) all.push_back(std::uint8_t(v));
  for (std::size_t n = 3; n <= 300; ++n) {
    const Blob unique = noise(n, 256, n);
    all.insert(all.end(), unique.begin(), unique.end());
    all.insert(all.end(), unique.begin(), unique.end());
  }
  const Blob far = noise(32700, 256, 5);
  for (int i = 0; i < 2; ++i) all.insert(all.end(), far.begin(), far.end());
  inputs.push_back(all);
  Blob steep;  // Fibonacci frequencies: an unlimited code would be 24 bits deep
  for (std::size_t s = 0, a = 1, b = 1; s < 24 && steep.size() < 200000; ++s, b += a, a = b - a)
    for (std::size_t i = 0; i < a; ++i) steep.push_back(std::uint8_t(s * 10));
  Rng rng(Seed{3});
  for (std::size_t i = steep.size(); i > 1; --i) std::swap(steep[i - 1], steep[std::size_t(rng.below(std::ptrdiff_t(i)))]);
  inputs.push_back(steep);
  for (const Blob& in : inputs) {
    CAPTURE(in.size());
    Blob packed = {1, 2, 3};
    deflate(in, packed);
    CHECK(packed[2] == 3);  // appended, not replaced
    packed.erase(packed.begin(), packed.begin() + 3);
    CHECK(zlib_inflate(packed, in.size()) == in);
    CHECK(walk(packed, in.size()) == InflateVerdict::exact);
    Blob again;
    deflate(in, again);
    CHECK(again == packed);
    CHECK(packed.size() <= in.size() + in.size() / 1000 + 64);  // never much larger than stored
  }
}

TEST_CASE("deflate makes masks small") {
  Blob mask;
  for (int y = -500; y < 500; ++y)
    for (int x = -500; x < 500; ++x) mask.push_back(x * x + 2 * y * y < 90000 ? 255 : 0);
  Blob packed;
  deflate(mask, packed);
  CHECK(packed.size() < 8000);
}

TEST_CASE("inflate_check agrees with zlib on what zlib wrote, in pieces of any size") {
  const Blob raw = noise(30000, 40, 1);
  for (const int strategy : {Z_DEFAULT_STRATEGY, Z_FILTERED, Z_HUFFMAN_ONLY, Z_RLE, Z_FIXED})
    for (const int level : {0, 1, 6, 9}) {
      z_stream z{};
      REQUIRE(deflateInit2(&z, level, Z_DEFLATED, 15, 8, strategy) == Z_OK);
      Blob packed(deflateBound(&z, uLong(raw.size())));
      Blob input = raw;
      z.next_in = input.data(), z.avail_in = uInt(input.size()), z.next_out = packed.data(), z.avail_out = uInt(packed.size());
      REQUIRE(deflate(&z, Z_FINISH) == Z_STREAM_END);
      packed.resize(z.total_out);
      deflateEnd(&z);
      for (const std::size_t piece : {1u, 7u, 1000u, 1u << 30}) {
        CHECK(walk(packed, raw.size(), piece) == InflateVerdict::exact);
        CHECK(walk(packed, raw.size() + 1, piece) == InflateVerdict::shorter);
        CHECK(walk(packed, raw.size() - 1, piece) == InflateVerdict::longer);
      }
      for (std::size_t cut = 0; cut < packed.size(); cut += 1 + cut / 8) CHECK(walk(Blob(packed.begin(), packed.begin() + std::ptrdiff_t(cut)), raw.size()) == InflateVerdict::ends);
      CHECK(walk(Blob(packed.begin(), packed.end() - 1), raw.size()) == InflateVerdict::ends);  // the last byte of the checksum
    }
}

TEST_CASE("inflate_check agrees with zlib on every damaged byte") {
  const Blob raw = noise(700, 30, 2), packed = zlib_compress(raw, 6);
  int sound = 0, refused = 0;
  for (std::size_t at = 2; at + 4 < packed.size(); ++at)
    for (const int flip : {1, 2, 0x10, 0x80, 0xFF}) {
      Blob damaged = packed;
      damaged[at] = std::uint8_t(damaged[at] ^ flip);
      // Raw inflate: zlib would refuse by the Adler-32, which needs the data; the question is whether the stream itself is sound.
      z_stream z{};
      REQUIRE(inflateInit2(&z, -15) == Z_OK);
      Blob out(5000);
      z.next_in = damaged.data() + 2, z.avail_in = uInt(damaged.size() - 2), z.next_out = out.data(), z.avail_out = uInt(out.size());
      const int result = inflate(&z, Z_FINISH);
      const bool zlib_sound = result == Z_STREAM_END && z.total_out == raw.size() && z.avail_in >= 4;
      inflateEnd(&z);
      const bool ours = walk(damaged, raw.size()) == InflateVerdict::exact;
      CHECK(ours == zlib_sound);
      sound += ours, refused += !ours;
    }
  CHECK(sound > 0);
  CHECK(refused > 100);
}

TEST_CASE("inflate_check refuses headers that are not zlib") {
  const Blob good = zlib_compress(Blob(10));
  for (const auto& [first, second] : {std::pair{0x79, 0x9C}, {0x78, 0x9D}, {0x88, 0x1C}, {0x78, 0xBB}, {0, 0}}) {
    Blob bad = good;
    bad[0] = std::uint8_t(first), bad[1] = std::uint8_t(second);
    CHECK(walk(bad, 10) == InflateVerdict::corrupt);
  }
  CHECK(walk({}, 10) == InflateVerdict::ends);
  CHECK(walk({0x78}, 10) == InflateVerdict::ends);
}

TEST_CASE("runs: zlib inflates every stream to the same bytes, whatever the lengths") {
  const auto round_trip = [](const std::vector<std::pair<std::uint8_t, std::size_t>>& runs) {
    Blob packed, plain;
    RunDeflater stream(packed);
    for (const auto& [value, count] : runs) {
      stream.append(value, count);
      plain.insert(plain.end(), count, value);
    }
    stream.finish();
    CHECK(zlib_inflate(packed, plain.size()) == plain);
    return packed.size();
  };
  round_trip({});
  for (const std::size_t n : {1u, 2u, 3u, 4u, 5u, 257u, 258u, 259u, 260u, 261u, 262u, 516u, 517u, 519u, 1048575u, 1048577u, 3000000u}) {
    CAPTURE(n);
    round_trip({{0, n}});
    round_trip({{255, n}, {0, 1}, {7, n}, {7, n}, {0, 0}, {3, 2}});
  }
  CHECK(round_trip({{0, 12000000}}) < 12000000 / 258 / 4 + 100);  // two bits per match, and headers
  Rng rng(Seed{5});
  std::vector<std::pair<std::uint8_t, std::size_t>> many;  // more tokens than a block holds
  for (int i = 0; i < 60000; ++i) many.push_back({std::uint8_t(rng.below(2) * 255), std::size_t(rng.below(i % 7 == 0 ? 700 : 5))});
  round_trip(many);
}
