// Hostile image files: each is read right or refused with the documented code and one line, within 5 seconds of processor time, before memory is taken for it.
// Cut files, damaged bytes, lying headers, decompression bombs, formats that are not read. The rules of one format: image_codec_test.cpp.
#include "unit/image_fixture.hpp"

#include "support/sanitizers.hpp"

#include <sampan/image/check_jpeg.hpp>
#include <sampan/image/window_level.hpp>

#include <ctime>
#include <filesystem>

using namespace sampan;
using namespace sampan::test;

namespace {

/// The code of the error, or "read". Every message must be one line that begins with the name; nothing may take 5 seconds.
std::string outcome(const Blob& file) {
  const std::clock_t start = std::clock();
  const auto r = decode_image(file, "f.img");
  CHECK(double(std::clock() - start) / CLOCKS_PER_SEC < (kSanitized ? 25 : 5));  // the instrumented walk takes about five times as long
  if (r) return "read";
  CHECK(r.error().message().rfind("f.img: ", 0) == 0);
  CHECK(r.error().message().find('\n') == std::string::npos);
  CHECK(r.error().message().size() < 200);
  return to_string(r.error().code());
}

std::vector<std::string> fixture_names() {
  std::vector<std::string> names;
  for (const auto& e : std::filesystem::directory_iterator(std::string(SAMPAN_TEST_DIR) + "/unit/image_fixtures")) names.push_back(e.path().filename().string());
  std::sort(names.begin(), names.end());
  CHECK(names.size() >= 39);
  return names;
}

Blob bytes(const std::string& s) { return {s.begin(), s.end()}; }
Blob patched(Blob b, std::size_t at, std::initializer_list<int> values) {
  for (const int v : values) b[at++] = std::uint8_t(v);
  return b;
}
/// Inserts a JPEG segment behind the start marker.
Blob with_segment(const Blob& jpeg, int marker, const Blob& body) {
  Blob out(jpeg.begin(), jpeg.begin() + 2);
  for (const std::size_t v : {std::size_t(0xFF), std::size_t(marker), (body.size() + 2) >> 8, body.size() + 2}) out.push_back(std::uint8_t(v));
  out.insert(out.end(), body.begin(), body.end());
  out.insert(out.end(), jpeg.begin() + 2, jpeg.end());
  return out;
}
/// A segment, to build a file of.
void append_segment(Blob& out, int marker, const Blob& body) {
  for (const std::size_t v : {std::size_t(0xFF), std::size_t(marker), (body.size() + 2) >> 8, body.size() + 2}) out.push_back(std::uint8_t(v));
  out.insert(out.end(), body.begin(), body.end());
}
/// Begin and end of the entropy-coded data of each scan, restart markers included.
std::vector<std::pair<std::size_t, std::size_t>> scan_data(const Blob& jpeg) {
  std::vector<std::pair<std::size_t, std::size_t>> found;
  for (std::size_t at = 2; at + 4 <= jpeg.size() && jpeg[at + 1] != 0xD9;) {
    const bool scan = jpeg[at + 1] == 0xDA;
    at += 2 + std::size_t(jpeg[at + 2] << 8 | jpeg[at + 3]);
    if (!scan) continue;
    std::size_t end = at;
    while (end + 1 < jpeg.size() && !(jpeg[end] == 0xFF && jpeg[end + 1] != 0 && (jpeg[end + 1] & 0xF8) != 0xD0)) ++end;
    found.emplace_back(at, end);
    at = end;
  }
  return found;
}
/// The file up to `keep`, with an end marker behind it: what an interrupted transfer becomes when a tool repairs it.
Blob cut_jpeg(const Blob& b, std::size_t keep) {
  Blob out(b.begin(), b.begin() + std::ptrdiff_t(keep));
  out.insert(out.end(), {0xFF, 0xD9});
  return out;
}
std::size_t marker_at(const Blob& jpeg, int marker) {
  for (std::size_t i = 2; i + 1 < jpeg.size(); ++i)
    if (jpeg[i] == 0xFF && jpeg[i + 1] == marker) return i;
  FAIL("no such marker");
  return 0;
}

}  // namespace

TEST_CASE("every fixture cut at every eighth, and by one byte, is an error and never a partly black image") {
  for (const std::string& name : fixture_names()) {
    CAPTURE(name);
    const Blob whole = fixture(name);
    CHECK(outcome(whole) == (name == "cmyk.jpg" ? "unsupported" : "read"));
    for (std::size_t k = 0; k < 8; ++k) {
      const std::string o = outcome(Blob(whole.begin(), whole.begin() + std::ptrdiff_t(whole.size() * k / 8)));
      CHECK((o == "bad_file" || (name == "cmyk.jpg" && o == "unsupported")));
    }
    const std::string o = outcome(Blob(whole.begin(), whole.end() - 1));
    CHECK((o == "bad_file" || (name == "cmyk.jpg" && o == "unsupported")));
  }
}

TEST_CASE("PNG: any damaged byte of a file without ancillary chunks is an error") {
  for (const char* name : {"grey8.png", "rgb16.png", "palette4.png", "grey8_interlaced.png"}) {
    const Blob whole = fixture(name);
    for (std::size_t at = 0; at < whole.size(); ++at)
      for (const int flip : {0x01, 0x20, 0xFF}) {
        Blob damaged = whole;
        damaged[at] = std::uint8_t(damaged[at] ^ flip);
        if (outcome(damaged) == "read") FAIL(name << " with byte " << at << " flipped by " << flip << " was read");
      }
  }
}

TEST_CASE("PNG: lies and oddities") {
  const auto absurd = [](std::uint32_t w, std::uint32_t h, int colour) { return png_of({.width = w, .height = h, .colour = colour}); };
  CHECK(outcome(png_of({})) == "read");  // the builder's own file is sound
  CHECK(outcome(absurd(65535, 65535, 6)) == "limit");
  CHECK(outcome(absurd(0x7FFFFFFF, 0x7FFFFFFF, 0)) == "limit");
  CHECK(outcome(absurd(0x80000000u, 1, 0)) == "limit");
  CHECK(outcome(absurd(0xFFFFFFFFu, 0xFFFFFFFFu, 2)) == "limit");
  CHECK(outcome(absurd(1 << 20, 1 << 10, 0)) == "limit");
  CHECK(outcome(absurd(0, 2, 0)) == "bad_file");
  CHECK(outcome(absurd(2, 0, 0)) == "bad_file");
  CHECK(outcome(absurd(3, 3, 0)) == "bad_file");    // the data are for 2x2
  CHECK(outcome(absurd(1, 2, 0)) == "bad_file");
  CHECK(outcome(png_of({.depth = 3})) == "bad_file");
  CHECK(outcome(png_of({.depth = 16, .colour = 3})) == "bad_file");
  CHECK(outcome(png_of({.depth = 4, .colour = 2})) == "bad_file");
  CHECK(outcome(png_of({.colour = 5})) == "bad_file");
  CHECK(outcome(png_of({.interlace = 2})) == "bad_file");
  CHECK(outcome(png_of({.colour = 3})) == "bad_file");  // no palette
  CHECK(outcome(png_of({.colour = 3, .before = {{"PLTE", Blob(7)}}})) == "bad_file");
  CHECK(outcome(png_of({.colour = 3, .before = {{"PLTE", Blob(771)}}})) == "bad_file");
  CHECK(outcome(png_of({.colour = 3, .before = {{"PLTE", Blob(9)}}})) == "read");
  CHECK(outcome(png_of({.colour = 3, .before = {{"PLTE", Blob(9)}, {"PLTE", Blob(9)}}})) == "bad_file");
  CHECK(outcome(png_of({.colour = 3, .before = {{"tRNS", Blob(2)}, {"PLTE", Blob(9)}}})) == "bad_file");
  CHECK(outcome(png_of({.before = {{"tRNS", Blob(5)}}})) == "bad_file");
  CHECK(outcome(png_of({.before = {{"tEXt", Blob(5)}}})) == "read");
  CHECK(outcome(png_of({.before = {{"ABCD", Blob(5)}}})) == "unsupported");
  CHECK(outcome(png_of({.after = {{"IDAT", Blob(5)}}})) == "read");                      // bytes behind the checksum
  CHECK(outcome(png_of({.after = {{"tEXt", Blob(5)}, {"IDAT", Blob(5)}}})) == "bad_file");
  CHECK(outcome(png_of({.after = {{"IHDR", Blob(13)}}})) == "bad_file");
  CHECK(outcome(png_of({.end = false})) == "bad_file");
  CHECK(outcome(png_of({.raw = {0, 10, 20, 0, 30}})) == "bad_file");                     // one byte short
  CHECK(outcome(png_of({.raw = {0, 10, 20, 0, 30, 40, 0}})) == "bad_file");              // one too many
  CHECK(outcome(png_of({.raw = {0, 10, 20, 9, 30, 40}})) == "bad_file");                 // filter 9
  CHECK(outcome(png_of({.packed = bytes("this is not zlib")})) == "bad_file");
  // stb_image would refuse some of these by itself; the check must not rely on that.
  CHECK(check_png(png_of({})));
  CHECK(!check_png(png_of({.raw = {0, 10, 20, 0, 30}})));
  CHECK(!check_png(png_of({.raw = {0, 10, 20, 0, 30, 40, 0}})));
  Blob cgbi = fixture("rgb8.png");
  Blob apple(cgbi.begin(), cgbi.begin() + 8);
  append_chunk_of(apple, "CgBI", Blob(4));
  apple.insert(apple.end(), cgbi.begin() + 8, cgbi.end());
  CHECK(outcome(apple) == "unsupported");
  Blob trailing = fixture("grey8.png");
  trailing.resize(trailing.size() + 1000);
  CHECK(outcome(trailing) == "read");
}

TEST_CASE("PNG: decompression bombs end before they grow") {
  const Blob zeros = zlib_compress(Blob(std::size_t(64) << 20));  // 64 MiB in 65 KB
  CHECK(zeros.size() < 100000);
  CHECK(outcome(png_of({.packed = zeros})) == "bad_file");                                              // 6 bytes were promised
  CHECK(outcome(png_of({.width = 20000, .height = 20000, .colour = 2, .packed = zeros})) == "limit");   // 1.2 GB promised
  CHECK(outcome(png_of({.width = 20000, .height = 20000, .packed = zeros})) == "bad_file");             // 400 MB promised, 64 there: before any pixel memory
}

TEST_CASE("JPEG: lies and oddities") {
  const Blob grey = fixture("grey.jpg"), rgb = fixture("rgb420.jpg"), progressive = fixture("progressive.jpg"), restart = fixture("restart.jpg");
  const std::size_t frame = marker_at(grey, 0xC0), scan = marker_at(grey, 0xDA);
  CHECK(outcome(patched(grey, frame + 5, {0xFF, 0xFF, 0xFF, 0xFF})) == "limit");                // 65535 x 65535
  CHECK(outcome(patched(grey, frame + 5, {0x27, 0x10, 0x27, 0x10})) == "bad_file");             // 10000 x 10000 in 534 bytes
  CHECK(outcome(patched(grey, frame + 5, {0, 0, 0, 37})) == "bad_file");
  CHECK(outcome(patched(grey, frame + 5, {0, 19, 0, 0})) == "bad_file");
  CHECK(outcome(patched(grey, frame + 4, {12})) == "unsupported");                              // bits per sample
  CHECK(outcome(patched(grey, frame + 1, {0xC3})) == "unsupported");                            // lossless
  CHECK(outcome(patched(grey, frame + 1, {0xC9})) == "unsupported");                            // arithmetic
  CHECK(outcome(patched(grey, frame + 9, {2})) == "unsupported");                               // two components
  CHECK(outcome(patched(grey, frame + 11, {0x00})) == "bad_file");                              // sampling factors
  CHECK(outcome(patched(grey, frame + 11, {0x51})) == "bad_file");
  CHECK(outcome(patched(grey, frame + 10, {77})) == "bad_file");                                // the scan names another component
  CHECK(outcome(patched(grey, scan + 2, {0, 1})) == "bad_file");                                // segment of length 1
  CHECK(outcome(patched(grey, scan + 4, {2})) == "bad_file");
  CHECK(outcome(patched(grey, scan, {0xFF, 0xFE})) == "bad_file");                              // the scan became a comment
  CHECK(outcome(fixture("cmyk.jpg")) == "unsupported");
  CHECK(outcome(bytes("\xFF\xD8\xFF\xD9")) == "bad_file");
  // A Huffman table of 16 x 255 codes: stb_image before 2.28 writes them behind its table of 256.
  Blob table(17 + 4080, 255);
  table[0] = 0;
  CHECK(check_jpeg(grey));
  CHECK(!check_jpeg(with_segment(grey, 0xC4, table)));
  CHECK(outcome(with_segment(grey, 0xC4, table)) == "bad_file");
  CHECK(outcome(with_segment(grey, 0xC4, Blob(10))) == "bad_file");
  const std::size_t huffman = marker_at(grey, 0xC4);
  CHECK(outcome(patched(grey, huffman + 4, {0x20})) == "bad_file");                             // neither DC nor AC
  CHECK(outcome(patched(grey, huffman + 4, {0x04})) == "bad_file");                             // table 4 of 4
  CHECK(outcome(patched(grey, huffman + 5, {3})) == "bad_file");                                // three codes of one bit
  CHECK(outcome(patched(grey, scan + 6, {0x40})) == "bad_file");                                // the scan uses table 4
  CHECK(outcome(patched(grey, scan + 6, {0x10})) == "bad_file");                                // a table that no segment defines
  CHECK(outcome(patched(grey, scan + 7, {1})) == "bad_file");                                   // a baseline scan without DC
  const std::size_t passes = marker_at(progressive, 0xDA);
  CHECK(outcome(patched(progressive, passes + 12, {5})) == "bad_file");                         // DC together with AC
  CHECK(outcome(patched(progressive, passes + 11, {1, 63})) == "bad_file");                     // AC of three components in one scan
  CHECK(outcome(cut_jpeg(progressive, passes)) == "bad_file");                                  // no scan at all
  // A progressive file that repeats its first scan a thousand times: each costs a pass over the image.
  const auto first = marker_at(progressive, 0xDA), behind_first = scan_data(progressive).front().second;  // DC of all components, which may come again
  Blob scans(progressive.begin(), progressive.end() - 2);
  for (int i = 0; i < 1000; ++i) scans.insert(scans.end(), progressive.begin() + std::ptrdiff_t(first), progressive.begin() + std::ptrdiff_t(behind_first));
  scans.insert(scans.end(), {0xFF, 0xD9});
  CHECK(outcome(scans) == "limit");
  // Harmless: comments, fill bytes, bytes behind the end.
  CHECK(outcome(with_segment(rgb, 0xFE, bytes("a comment with \xFF\xD9 inside"))) == "read");
  Blob trailing = rgb;
  trailing.resize(trailing.size() + 1000);
  CHECK(outcome(trailing) == "read");
}

TEST_CASE("JPEG cut at any byte of its data, with an end marker behind it, is an error and never a partly grey image") {
  int files = 0, scans = 0, cuts = 0;
  for (const std::string& name : fixture_names()) {
    if (name.size() < 4 || name.substr(name.size() - 4) != ".jpg" || name == "cmyk.jpg") continue;
    const Blob whole = fixture(name);
    REQUIRE(check_jpeg(whole));
    ++files;
    for (const auto& [begin, end] : scan_data(whole)) {
      ++scans;
      REQUIRE(begin < end);
      for (std::size_t keep = begin; keep < end; ++keep, ++cuts) {
        const auto r = check_jpeg(cut_jpeg(whole, keep));
        if (r || r.error().code() != ErrorCode::bad_file) FAIL_CHECK(name << " cut at byte " << keep << " of " << begin << " to " << end);
      }
      CHECK(outcome(cut_jpeg(whole, (begin + end) / 2)) == "bad_file");
    }
  }
  CHECK(files >= 9);
  CHECK(scans >= 25);  // two progressive files of ten, one of three
  CHECK(cuts > 3000);
}

TEST_CASE("JPEG: restart intervals that are lost, swapped, too short or too long") {
  for (const char* name : {"restart.jpg", "busy_progressive420.jpg"}) {
    CAPTURE(name);
    const Blob whole = fixture(name);
    // Where the intervals of the first scan begin and end.
    const auto [begin, end] = scan_data(whole).front();
    std::vector<std::size_t> markers;
    for (std::size_t at = begin; at + 1 < end; ++at)
      if (whole[at] == 0xFF && (whole[at + 1] & 0xF8) == 0xD0) markers.push_back(at);
    REQUIRE(markers.size() >= 2);
    const auto without = [&](std::size_t from, std::size_t to) {
      Blob out(whole.begin(), whole.begin() + std::ptrdiff_t(from));
      out.insert(out.end(), whole.begin() + std::ptrdiff_t(to), whole.end());
      return out;
    };
    const auto with = [&](std::size_t at, std::initializer_list<std::uint8_t> more) {
      Blob out = whole;
      out.insert(out.begin() + std::ptrdiff_t(at), more);
      return out;
    };
    CHECK(outcome(without(markers[0], markers[1])) == "bad_file");          // an interval is lost
    CHECK(outcome(without(markers[0], markers[0] + 2)) == "bad_file");      // only its marker
    CHECK(outcome(without(markers[1] - 1, markers[1])) == "bad_file");      // its last byte
    CHECK(outcome(with(markers[1], {0x00})) == "bad_file");                 // a byte too many: stb_image would leave the rest of the image grey
    CHECK(outcome(with(end, {0xFF, 0xD0})) == "bad_file");                  // a marker behind the last interval
    CHECK(outcome(patched(whole, markers[0] + 1, {0xD1})) == "bad_file");   // out of order
    CHECK(outcome(with(markers[1], {0xFF, 0xFF})) == "read");               // fill bytes are legal
  }
}

TEST_CASE("JPEG: few bytes cannot ask for minutes") {
  // 23000 x 23000 grey, progressive; every code is one bit. A scan of 512 bytes says "nothing here" for all blocks, and stb_image needs half a second to see it.
  const auto file = [](int scans, bool refine) {
    const std::size_t blocks = 2875 * 2875;
    Blob out = {0xFF, 0xD8};
    append_segment(out, 0xC2, {8, 23000 >> 8, 23000 & 255, 23000 >> 8, 23000 & 255, 1, 1, 0x11, 0});
    Blob quantities(65, 1), table(18, 0);
    quantities[0] = 0;
    append_segment(out, 0xDB, quantities);
    table[1] = 1;
    append_segment(out, 0xC4, table);  // DC: no difference
    table[0] = 0x10, table[17] = 0xE0;
    append_segment(out, 0xC4, table);  // AC: a run of 2^14 + 14 bits of empty blocks
    append_segment(out, 0xDA, {1, 1, 0, 0, 0, 0});
    out.resize(out.size() + (blocks + 7) / 8);
    std::vector<bool> bits;
    for (std::size_t k = 0; k < blocks; k += 32767) bits.push_back(false), bits.insert(bits.end(), 14, true);
    for (int i = 0; i < scans; ++i) {
      append_segment(out, 0xDA, {1, 1, 0, 1, 63, std::uint8_t(refine && i ? 0x10 : 0x01)});
      for (std::size_t at = 0; at < bits.size(); at += 8) {
        int byte = 0;
        for (std::size_t b = 0; b < 8; ++b) byte = byte << 1 | int(at + b < bits.size() && bits[at + b]);
        out.push_back(std::uint8_t(byte));
        if (byte == 0xFF) out.push_back(0);
      }
    }
    out.insert(out.end(), {0xFF, 0xD9});
    return out;
  };
  const std::clock_t start = std::clock();
  CHECK(check_jpeg(file(1, true)));
  CHECK(check_jpeg(file(5, true)));
  CHECK(check_jpeg(file(60, false)));
  const auto r = check_jpeg(file(6, true));
  CHECK(double(std::clock() - start) / CLOCKS_PER_SEC < (kSanitized ? 25 : 5));  // the instrumented walk takes about five times as long
  REQUIRE(!r);
  CHECK(r.error().code() == ErrorCode::limit);
}

TEST_CASE("JPEG: damaged bytes never crash, and what is read has the size of the header") {
  for (const char* name : {"grey.jpg", "rgb420.jpg", "progressive.jpg", "restart.jpg"}) {
    const Blob whole = fixture(name);
    for (std::size_t at = 2; at < whole.size(); ++at)
      for (const int flip : {0x01, 0x80, 0xFF}) {
        Blob damaged = whole;
        damaged[at] = std::uint8_t(damaged[at] ^ flip);
        const auto r = decode_image(damaged, "f", {.side = 5000, .bytes = 1 << 24});
        if (r) CHECK(check(r->view()));
      }
  }
}

TEST_CASE("BMP: lies and oddities") {
  const Blob rgb = fixture("rgb24.bmp"), grey = fixture("grey8.bmp"), bits = fixture("bits1.bmp");
  CHECK(outcome(patched(rgb, 18, {0xFF, 0xFF, 0, 0, 0xFF, 0xFF, 0, 0})) == "limit");
  CHECK(outcome(patched(rgb, 18, {0xFF, 0xFF, 0xFF, 0x7F})) == "limit");
  CHECK(outcome(patched(rgb, 18, {0xFF, 0xFF, 0xFF, 0xFF})) == "bad_file");       // width -1
  CHECK(outcome(patched(rgb, 22, {0, 0, 0, 0x80})) == "limit");                   // height -2^31
  CHECK(outcome(patched(rgb, 22, {0, 0, 0, 0})) == "bad_file");
  CHECK(outcome(patched(rgb, 22, {8})) == "bad_file");                            // one row more than the file has
  CHECK(outcome(patched(rgb, 10, {0xFF, 0xFF, 0xFF, 0xFF})) == "bad_file");       // pixels beyond the end
  CHECK(outcome(patched(rgb, 10, {0, 0, 0, 0})) == "bad_file");                   // pixels inside the header
  CHECK(outcome(patched(rgb, 28, {7})) == "bad_file");                            // bits per pixel
  CHECK(outcome(patched(rgb, 30, {1})) == "unsupported");                         // run lengths
  CHECK(outcome(patched(rgb, 30, {4})) == "unsupported");                         // a JPEG inside
  CHECK(outcome(patched(rgb, 14, {41})) == "unsupported");
  CHECK(outcome(patched(rgb, 26, {2})) == "bad_file");                            // planes
  CHECK(outcome(patched(grey, 10, {54 + 4 * 3, 0})) == "bad_file");               // three colours, indices up to 255
  CHECK(outcome(patched(bits, 10, {54, 0})) == "bad_file");                       // no colours
  CHECK(outcome(bytes("BM")) == "bad_file");
}

TEST_CASE("PNM: lies and oddities") {
  CHECK(outcome(bytes("P5 99999999999999999999 1 255\n")) == "limit");
  CHECK(outcome(bytes("P5 65535 65535 255\n")) == "limit");
  CHECK(outcome(bytes("P6 20000 20000 65535\n")) == "limit");
  CHECK(outcome(bytes("P5 0 5 255\n")) == "bad_file");
  CHECK(outcome(bytes("P5 2 2 0\nabcd")) == "bad_file");
  CHECK(outcome(bytes("P5 2 2 65536\nabcdefgh")) == "bad_file");
  CHECK(outcome(bytes("P5 2 2 255\nabc")) == "bad_file");
  CHECK(outcome(bytes("P5 2 2 256\nabcdefg")) == "bad_file");
  CHECK(outcome(bytes("P5 -2 2 255\nabcd")) == "bad_file");
  CHECK(outcome(bytes("P5 2 2 255")) == "bad_file");
  CHECK(outcome(bytes("P5 # no end")) == "bad_file");
  CHECK(outcome(bytes("P5\n")) == "bad_file");
  CHECK(outcome(bytes("P2\n2 2\n255\n1 2 3 4\n")) == "unsupported");
  CHECK(outcome(bytes("P7\nWIDTH 2\n")) == "unsupported");
}

TEST_CASE("other formats are named, with what to do") {
  const auto message = [](const Blob& b) {
    const auto r = decode_image(b, "f");
    REQUIRE(!r);
    return r.error().message();
  };
  const auto with = [](std::size_t at, const std::string& s, std::size_t size = 400) {
    Blob b(size);
    std::copy(s.begin(), s.end(), b.begin() + std::ptrdiff_t(at));
    return b;
  };
  const std::pair<Blob, const char*> rows[] = {{with(0, std::string("II*\0", 4)), "TIFF"}, {with(0, std::string("MM\0*", 4)), "TIFF"}, {with(0, "GIF89a"), "GIF"},      {with(128, "DICM"), "DICOM"},
                                               {with(0, "\x1F\x8B"), "gzip"},              {with(344, "n+1"), "NIfTI"},                {with(0, "PK\x03\x04"), "zip"}, {with(0, "\x93NUMPY"), "NumPy"},
                                               {with(0, "RIFF....WEBP"), "WebP"},          {with(4, "ftypheic"), "HEIF"}};
  for (const auto& [file, name] : rows) {
    CHECK(message(file).find(name) != std::string::npos);
    CHECK(outcome(file) == "unsupported");
  }
  CHECK(outcome(Blob(1000)) == "bad_file");
  CHECK(outcome(bytes("x")) == "bad_file");
  CHECK(outcome(bytes("<html>not found</html>")) == "bad_file");
  CHECK(outcome({}) == "bad_file");
}

TEST_CASE("16-bit files come to the window check with their range") {
  const auto image = decode_image(fixture("grey16.png"), "f");
  REQUIRE(image);
  std::vector<std::uint8_t> out(13 * 7 * 3);
  const View<std::uint8_t, 3> to(out.data(), {7, 13, 3});
  const Status s = to_rgb8(image->view(), {}, to);
  REQUIRE(!s);
  CHECK(s.error().code() == ErrorCode::invalid_argument);
  CHECK(s.error().message().find("from 0 to 1554 needs a window") != std::string::npos);
  CHECK(to_rgb8(image->view(), WindowLevel{800, 1600}, to));
}
