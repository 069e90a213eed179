// examples/medical/dicom_*.hpp: transfer syntaxes and pixel formats, series by geometry, multi-frame files, segmentations, and the table of lies.
#include <doctest/doctest.h>

#include "examples/medical/dicom_seg.hpp"
#include "examples/medical/read_volume.hpp"
#include "support/dicom_files.hpp"

#include <fstream>
#include <functional>

#include <sys/resource.h>

using namespace sampan;
using namespace sampan::medical;
using namespace sampan::test;

namespace {

std::string u16s(std::initializer_list<int> values, bool big = false) {
  std::string s;
  for (const int v : values) s += number(static_cast<std::uint16_t>(v), big);
  return s;
}
std::vector<double> values_of(const Volume& v) {
  std::vector<double> out;
  for (std::size_t n = 0; n < voxel_count(v.grid.size); ++n) out.push_back(value_at(v, n));
  return out;
}
/// The volume of files in a folder of their own.
Result<DicomVolume> read_files(const std::vector<std::string>& files, const SeriesOptions& o = {}, std::optional<std::size_t> which = {}) {
  const TempDir dir;
  for (std::size_t i = 0; i < files.size(); ++i) put_file(dir.path(cat("f", i * 7 % 5, "_", i)), files[i]);
  auto v = read_dicom_volume(dir.path(), which, o);
  if (!v) {
    std::string m = v.error().message();
    if (const auto at = m.find(dir.path()); at != std::string::npos) m.replace(at, dir.path().size(), "DIR");
    return Error(v.error().code(), m);
  }
  return v;
}
DicomImage slice_at(double z, int n, int value) {
  DicomImage i;
  i.position = cat("-10\\5\\", medical::detail::real_text(z));
  i.instance = cat("1.2.3.", n);
  i.number = cat(n);
  i.pixels = u16s({value, value + 1, value + 2, value + 3, value + 4, value + 5});
  return i;
}
double formula(std::int64_t k, std::int64_t i, std::int64_t j, int stored) { return double((7 * j + 31 * i + 111 * k + 5) % (1 << stored) - (1 << (stored - 1))); }

}  // namespace

TEST_CASE("dicom: the same image in five transfer syntaxes, as pydicom writes them") {
  for (const char* name : {"i12_explicit.dcm", "i12_implicit.dcm", "i12_big.dcm", "i12_deflated.dcm", "i12_rle.dcm"}) {
    CAPTURE(name);
    const auto v = read_dicom_volume(dicom_fixture(name));
    REQUIRE_MESSAGE(v, v.error().message());
    CHECK(v->image.grid.size == Extent3{5, 6, 1});
    CHECK(v->image.type == VoxelType::i16);
    CHECK(v->image.modality == "CT");
    const auto values = values_of(v->image);
    for (std::int64_t i = 0; i < 6; ++i)
      for (std::int64_t j = 0; j < 5; ++j) CHECK(values[std::size_t(5 * i + j)] == 2 * formula(0, i, j, 12) - 1024);
    // LPS directions (0.96, 0.28, 0) and (0, 0, 1), steps 0.5 and 0.75, origin -20.5, 10.25, -7
    CHECK(v->image.grid.affine.column(0) == Vec3{-0.48, -0.14, 0});
    CHECK(v->image.grid.affine.column(1) == Vec3{-0.0, -0.0, 0.75});
    CHECK(v->image.grid.affine.column(3) == Vec3{20.5, -10.25, -7});
    CHECK(v->source.patient.empty());
  }
}

TEST_CASE("dicom: the same formula as JPEG, JPEG-LS and JPEG 2000: decoded by GDCM, or named") {
  struct Case {
    const char *file, *name;
    std::int64_t rows, columns;
  };
  for (const Case& c : {Case{"i12_jpeg_lossless.dcm", "JPEG lossless (1.2.840.10008.1.2.4.70)", 6, 5}, {"i12_jpeg_ls.dcm", "JPEG-LS lossless (1.2.840.10008.1.2.4.80)", 6, 5}, {"i12_jpeg_2000.dcm", "JPEG 2000 lossless (1.2.840.10008.1.2.4.90)", 32, 32}}) {
    CAPTURE(c.file);
    const auto plain = read_dicom_volume(dicom_fixture(c.file));
    REQUIRE_FALSE(plain.ok());
    CHECK(plain.error().code() == ErrorCode::unsupported);
    CHECK(plain.error().message().find(cat("compressed as ", c.name)) != std::string::npos);
    if (!default_decoder().decode) continue;  // a build with -DSAMPAN_GDCM=ON goes on
    const auto v = read_dicom_volume(dicom_fixture(c.file), {}, {.decoder = default_decoder()});
    REQUIRE_MESSAGE(v, v.error().message());
    REQUIRE(v->image.grid.size == Extent3{c.columns, c.rows, 1});
    const auto values = values_of(v->image);
    bool same = true;
    for (std::int64_t i = 0; i < c.rows; ++i)
      for (std::int64_t j = 0; j < c.columns; ++j) same = same && values[std::size_t(c.columns * i + j)] == 2 * formula(0, i, j, 12) - 1024;
    CHECK(same);
    // Damaged and cut frames are errors and nothing else.
    const std::string whole = get_file(dicom_fixture(c.file));
    for (std::size_t n = whole.size() - 40; n > whole.size() / 2; n -= 7) {
      std::string bad = whole;
      bad[n] = char(bad[n] ^ 0x55);
      (void)read_files({bad}, {.decoder = default_decoder()}).ok();
      CHECK_FALSE(read_files({whole.substr(0, n)}, {.decoder = default_decoder()}).ok());
    }
  }
}

TEST_CASE("dicom: multi-frame files, frames in any order, functional groups shared or not; colours") {
  for (const char* name : {"enhanced.dcm", "enhanced_implicit.dcm"}) {
    CAPTURE(name);
    const auto v = read_dicom_volume(dicom_fixture(name));
    REQUIRE_MESSAGE(v, v.error().message());
    CHECK(v->image.grid.size == Extent3{5, 6, 4});
    const auto values = values_of(v->image);
    bool same = true;
    for (std::int64_t k = 0; k < 4; ++k)
      for (std::int64_t i = 0; i < 6; ++i)
        for (std::int64_t j = 0; j < 5; ++j) same = same && values[std::size_t(j + 5 * (i + 6 * k))] == 2 * formula(k, i, j, 16) - 100;
    CHECK(same);
    const Vec3 step = v->image.grid.affine.column(2);
    CHECK(step[0] == doctest::Approx(-0.8));
    CHECK(step[1] == doctest::Approx(2.4));
    CHECK(step[2] == doctest::Approx(0.2));
    CHECK(v->source.slices[0].frame == 2);  // the order of frames in the file is 2, 0, 3, 1
    CHECK(v->source.slices[3].frame == 3);
  }
  const auto rgb = read_dicom_volume(dicom_fixture("rgb_rle_2frame.dcm"));
  REQUIRE_MESSAGE(rgb, rgb.error().message());
  CHECK(rgb->image.components == 3);
  CHECK(rgb->image.grid.size == Extent3{5, 6, 2});
  CHECK(rgb->image.data.data()[3 * (4 + 5 * (3 + 6))] == (7 * 4 + 31 * 3 + 111 + 5) % 256);
  CHECK(rgb->image.notes.at(0).find("no positions") != std::string::npos);
}

TEST_CASE("dicom: bits, signs, MONOCHROME1, planes, palettes") {
  DicomImage i;
  const auto raw = [&](const DicomImage& image, const std::string& syntax = kExplicit) {
    const bool big = syntax == kBigEndian;
    const auto v = read_files({dicom_file(syntax, image.data_set(syntax != kImplicit, big))});
    REQUIRE_MESSAGE(v, v.error().message());
    return values_of(v->image);
  };
  i.pixels = u16s({0xF001, 0x0FFF, 0x1800, 0x07FF, 0, 0xF800});  // the four highest bits: an old overlay
  CHECK(raw(i) == std::vector<double>{1, 4095, 2048, 2047, 0, 2048});
  i.sign = 1;
  CHECK(raw(i) == std::vector<double>{1, -1, -2048, 2047, 0, -2048});
  i.photometric = "MONOCHROME1";
  CHECK(raw(i) == std::vector<double>{-2, 0, 2047, -2048, -1, 2047});
  i.sign = 0;
  CHECK(raw(i) == std::vector<double>{4094, 0, 2047, 2048, 4095, 2047});
  i.photometric = "MONOCHROME2";
  i.high = 15;  // the four lowest bits are not the image's
  i.pixels = u16s({0x001F, 0xFFF0, 0x8003, 0, 0x7FF1, 0x0010});
  CHECK(raw(i) == std::vector<double>{1, 4095, 2048, 0, 2047, 1});
  i.pixels = u16s({0x001F, 0xFFF0, 0x8003, 0, 0x7FF1, 0x0010}, true);
  CHECK(raw(i, kBigEndian) == std::vector<double>{1, 4095, 2048, 0, 2047, 1});
  i.slope = "0.5", i.intercept = "-10";
  CHECK(raw(i, kBigEndian) == std::vector<double>{-9.5, 2037.5, 1014, -10, 1013.5, -9.5});
  DicomImage b;
  b.allocated = b.stored = 8, b.high = 7;
  b.pixels = "\1\2\3\4\5\6";
  CHECK(raw(b) == std::vector<double>{1, 2, 3, 4, 5, 6});
  CHECK(raw(b, kBigEndian) == std::vector<double>{1, 2, 3, 4, 5, 6});
  DicomImage c = b;  // RGB by planes; one row of two pixels
  c.samples = 3, c.rows = 1, c.columns = 2, c.photometric = "RGB", c.pixels = "rsgtbu";
  c.before_pixels = DicomBytes().bytes();
  std::string planar = c.data_set();
  const std::string anchor = DicomBytes().us(0x00280010, 1).bytes();
  planar.insert(planar.find(anchor), DicomBytes().us(0x00280006, 1).bytes());
  const auto v = read_files({dicom_file(kExplicit, planar)});
  REQUIRE_MESSAGE(v, v.error().message());
  CHECK(as_text(v->image.data.bytes()) == "rgbstu");
  c.photometric = "YBR_FULL", c.pixels = std::string("\x4c\x55\xff\x80\x80\x80", 6);  // red, and mid-grey
  const auto y = read_files({c.file()});
  REQUIRE_MESSAGE(y, y.error().message());
  CHECK(y->image.data.data()[0] == 254);
  CHECK(y->image.data.data()[1] == 0);
  CHECK(y->image.data.data()[2] == 0);
  CHECK(y->image.data.data()[3] == 128);
}

TEST_CASE("dicom: RLE by the rules of annex G") {
  DicomImage i;
  i.with_pixels = false;
  // High bytes 0, low bytes 1..6: a run, no-ops (128), literals.
  const std::string high = "\xFB" + std::string(1, '\0') + "\x80", low = "\x80\x02\x01\x02\x03\x02\x04\x05\x06";
  const auto read = [&](const std::vector<std::string>& fragments, const std::string& table = {}, const std::string& frames = {}) {
    DicomImage j = i;
    j.frames = frames;
    return read_files({dicom_file(kRle, j.data_set() + dicom_fragments(fragments, table))});
  };
  const auto v = read({rle_frame({high, low})});
  REQUIRE_MESSAGE(v, v.error().message());
  CHECK(values_of(v->image) == std::vector<double>{1, 2, 3, 4, 5, 6});
  const std::string whole = rle_frame({high, low});
  CHECK(values_of(read({whole.substr(0, 70), whole.substr(70)})->image) == std::vector<double>{1, 2, 3, 4, 5, 6});  // one frame in two fragments
  const auto two = read({whole.substr(0, 70), whole.substr(70), whole}, le(std::uint32_t(0)) + le(std::uint32_t(70 + 8 + 8 + (whole.size() - 70 + 1) / 2 * 2)), "2");
  REQUIRE_MESSAGE(two, two.error().message());
  CHECK(values_of(two->image) == std::vector<double>{1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6});
  struct Case {
    std::vector<std::string> fragments;
    const char* says;
  };
  std::string outside = whole, backwards = whole;
  outside.replace(8, 4, le(std::uint32_t(100'000)));
  backwards.replace(4, 4, le(std::uint32_t(70)));
  for (const Case& c : {Case{{}, "0 fragments for 1 frames"}, {{"short"}, "an RLE header with 2 segments"}, {{rle_frame({high})}, "an RLE header with 2 segments"}, {{rle_frame({high, low.substr(0, 4)})}, "segment 1 is damaged or too short"},
                        {{rle_frame({"\x05\x01", low})}, "segment 0 is damaged"}, {{rle_frame({"\xFB", low})}, "segment 0 is damaged"}, {{outside}, "lies outside the frame"}, {{backwards}, "lies outside the frame"}}) {
    const auto bad = read(c.fragments);
    REQUIRE_FALSE(bad.ok());
    CAPTURE(bad.error().message());
    CHECK(bad.error().message().find(c.says) != std::string::npos);
  }
  CHECK(read({whole, whole, whole}, {}, "2").error().message().find("3 fragments for 2 frames, and no offset table") != std::string::npos);
}

TEST_CASE("dicom: a series is put in order by place, not by names or numbers") {
  std::vector<std::string> files;
  for (const int n : {3, 0, 4, 1, 2}) files.push_back(slice_at(10 - 2.5 * n, 100 - n, 100 * n).file());
  files.push_back("notes: nothing to see here");
  const auto v = read_files(files);
  REQUIRE_MESSAGE(v, v.error().message());
  CHECK(v->image.grid.size == Extent3{3, 2, 5});
  CHECK(v->image.notes.empty());
  const auto values = values_of(v->image);
  for (std::size_t k = 0; k < 5; ++k) CHECK(values[6 * k] == 100.0 * (4 - double(k)));
  CHECK(v->image.grid.affine.m == std::array<std::array<double, 4>, 3>{{{-0.5, -0.0, -0.0, 10}, {-0.0, -0.75, -0.0, -5}, {0, 0, 2.5, 0}}});
  CHECK(v->source.slices[0].sop_instance == "1.2.3.96");
  CHECK(v->source.slices[0].position == "-10\\5\\0");  // the text of the file, to the letter

  SUBCASE("a gap is an error that says where, or empty slices on request") {
    files.erase(files.begin() + 3);
    const auto gap = read_files(files);
    CHECK(gap.error().message() == "DIR: 1 slices are missing (1 between 5.00 and 10.00 mm, counted along the normal); get them, or fill the gaps with empty slices");
    const auto filled = read_files(files, {.fill_gaps = true});
    REQUIRE_MESSAGE(filled, filled.error().message());
    CHECK(filled->image.grid.size[2] == 5);
    CHECK(values_of(filled->image)[18] == 0);  // the lowest value of the other slices
    CHECK(values_of(filled->image)[24] == 0);
    CHECK(filled->source.slices[3].sop_instance.empty());
    CHECK(filled->image.notes.at(0).find("1 slices were missing") == 0);
  }
  SUBCASE("copies of a file are left out; a second image at one place is said") {
    files.push_back(files[0]);
    CHECK(read_files(files)->image.notes.at(0) == "1 files are copies of others and were left out");
    files.back() = slice_at(10 - 2.5 * 3, 500, 7).file();
    const auto twice = read_files(files);
    REQUIRE_MESSAGE(twice, twice.error().message());
    CHECK(twice->image.notes.at(0).find("1 of 5 positions have more than one image") == 0);
    CHECK(values_of(twice->image)[6] == 300);  // the lower instance number
  }
  SUBCASE("several images at every place are several volumes") {
    for (const int n : {3, 0, 4, 1, 2}) files.push_back(slice_at(10 - 2.5 * n, 200 - n, 100 * n + 50).file());
    CHECK(read_files(files).error().message() == "DIR: holds 2 images at every position (times, echoes or repeats); choose one of 0 to 1");
    CHECK(values_of(read_files(files, {.volume = 0})->image)[0] == 400);
    CHECK(values_of(read_files(files, {.volume = 1})->image)[0] == 450);
    CHECK(read_files(files, {.volume = 2}).error().code() == ErrorCode::invalid_argument);
  }
  SUBCASE("other orientations, matrices and series are other stacks") {
    DicomImage scout = slice_at(0, 900, 1), other = slice_at(0, 901, 2);
    scout.orientation = "1\\0\\0\\0\\0\\-1";
    other.series = "1.2.4", other.modality = "MR";
    files.push_back(scout.file()), files.push_back(other.file());
    CHECK(read_files(files).error().message() == "DIR: holds 3 series; choose one by its number (0: CT 5 images of 3x2; 1: CT 1 images of 3x2; 2: MR 1 images of 3x2)");
    CHECK(read_files(files, {}, 0)->image.grid.size[2] == 5);
    CHECK(read_files(files, {}, 2)->image.modality == "MR");
    CHECK(read_files(files, {}, 3).error().code() == ErrorCode::invalid_argument);
  }
  SUBCASE("uneven, shifted, half placed") {
    files.push_back(slice_at(1.3, 77, 0).file());
    CHECK(read_files(files).error().message().find("unevenly spaced: 1.20 to 2.50 mm") != std::string::npos);
    DicomImage shifted = slice_at(12.5, 77, 0);
    shifted.position = "-13\\5\\12.5";
    files.back() = shifted.file();
    CHECK(read_files(files).error().message().find("shifted against each other") != std::string::npos);
    shifted.position = "";
    files.back() = shifted.file();
    CHECK(read_files(files).error().message().find("some of its images have a position and some have none") != std::string::npos);
  }
  SUBCASE("each slice its own slope") {
    DicomImage more = slice_at(12.5, 77, 8);
    more.slope = "0.5", more.intercept = "1";
    files.push_back(more.file());
    const auto f = read_files(files);
    REQUIRE_MESSAGE(f, f.error().message());
    CHECK(f->image.type == VoxelType::f32);
    CHECK(values_of(f->image)[30] == 5);
    CHECK(values_of(f->image)[0] == 400);
  }
}

TEST_CASE("dicom: rounded positions are even steps, a tilted gantry keeps its shear, private data and deep trees are stepped over") {
  std::vector<std::string> files;
  for (int n = 0; n < 9; ++n) {
    DicomImage i = slice_at(0, n + 1, n);
    const double z = std::round(12.5 * n) / 10;  // 1.25 mm, rounded to a tenth
    i.position = cat("0\\", 0.4 * n, "\\", z);
    i.before_pixels = DicomBytes().add(0x00290010, "LO", "ACME").add(0x00291010, "UN", std::string(5000, 'p')).sequence(0x00291020, {DicomBytes().sequence(0x00291030, {DicomBytes().add(0x00100010, "PN", "Doe").bytes()}, true).bytes()}, true).bytes();
    files.push_back(i.file());
  }
  const auto v = read_files(files);
  REQUIRE_MESSAGE(v, v.error().message());
  CHECK(v->image.grid.affine.column(2)[2] == doctest::Approx(1.25));
  CHECK(v->image.grid.affine.column(2)[1] == doctest::Approx(-0.4));
  CHECK(v->image.notes.size() == 1);
  // UN of undefined length holds items in implicit VR.
  DicomImage i;
  i.before_pixels = DicomBytes().sequence(0x00291010, {DicomBytes(false).add(0x00291020, "", "xx").bytes()}, true, "UN").bytes();
  CHECK(read_files({i.file()}).ok());
}

TEST_CASE("dicom: hostile files") {
  struct Case {
    const char* what;
    std::string file;
    ErrorCode code;
    const char* says;
  };
  constexpr auto bad = ErrorCode::bad_file, unsupported = ErrorCode::unsupported, limit = ErrorCode::limit;
  std::vector<Case> cases;
  const auto add = [&](const char* what, const std::function<void(DicomImage&)>& lie, ErrorCode code, const char* says) {
    DicomImage i;
    lie(i);
    cases.push_back({what, i.file(), code, says});
  };
  const auto before = [&](const char* what, const std::string& elements, ErrorCode code, const char* says) { add(what, [&](auto& i) { i.before_pixels = elements; }, code, says); };
  add("no rows", [](auto& i) { i.rows = 0; }, bad, "rows, columns or bits allocated");
  add("more rows than bytes", [](auto& i) { i.rows = 60000; }, bad, "truncated, or a lying header");
  add("2^32 pixels", [](auto& i) { i.rows = i.columns = 65535; i.allocated = i.stored = 32; i.high = 31; i.frames = "1000"; }, limit, "more than the limit");
  add("a million frames", [](auto& i) { i.frames = "1000000"; }, bad, "announces 1000000 frames");
  add("2^40 voxels", [](auto& i) { i.rows = i.columns = 32768, i.frames = "1024"; }, bad, "announces 1024 frames of 2147483648 bytes");
  add("2^31 frames", [](auto& i) { i.frames = "2147483647"; }, bad, "number of frames");
  add("-1 frames", [](auto& i) { i.frames = "-1"; }, bad, "number of frames");
  add("1.5 frames", [](auto& i) { i.frames = "1.5"; }, bad, "number of frames");
  add("bits of one", [](auto& i) { i.allocated = 1; }, unsupported, "pixels of one bit");
  add("12 bits allocated", [](auto& i) { i.allocated = 12; }, unsupported, "12 bits allocated");
  add("more stored than allocated", [](auto& i) { i.stored = 17; }, bad, "do not fit");
  add("no bit stored", [](auto& i) { i.stored = 0; }, bad, "do not fit");
  add("high bit beyond", [](auto& i) { i.high = 16; }, bad, "do not fit");
  add("high bit below", [](auto& i) { i.high = 3; }, bad, "do not fit");
  add("palette", [](auto& i) { i.photometric = "PALETTE COLOR"; }, unsupported, "palette");
  add("no photometric interpretation", [](auto& i) { i.photometric = ""; }, bad, "photometric interpretation");
  add("two samples", [](auto& i) { i.samples = 2; }, unsupported, "2 samples per pixel");
  add("subsampled colour", [](auto& i) { i.samples = 3, i.allocated = i.stored = 8, i.high = 7, i.rows = 1, i.columns = 2, i.photometric = "YBR_FULL_422"; }, unsupported, "neither as RGB nor as YBR_FULL");
  add("no pixels", [](auto& i) { i.with_pixels = false; }, bad, "no DICOM image");
  add("far position", [](auto& i) { i.position = "0\\0\\1e30"; }, bad, "farther");
  add("orientation of zeros", [](auto& i) { i.orientation = "0\\0\\0\\0\\0\\0"; }, bad, "no pair of orthogonal directions");
  add("parallel directions", [](auto& i) { i.orientation = "1\\0\\0\\1\\0\\0"; }, bad, "no pair of orthogonal directions");
  add("long directions", [](auto& i) { i.orientation = "2\\0\\0\\0\\0.5\\0"; }, bad, "no pair of orthogonal directions");
  add("absurd pixel size", [](auto& i) { i.spacing = "1e9\\1"; }, bad, "the step along j");
  add("slope of words", [](auto& i) { i.slope = "steep"; }, bad, "rescale slope");
  before("an element twice", DicomBytes().us(0x00280010, 5).bytes(), bad, "(0028,0010) appears twice");
  before("a modality table", DicomBytes().sequence(0x00283000, {DicomBytes().add(0x00283006, "OW", "12").bytes()}).bytes(), unsupported, "modality look-up table");
  before("a length beyond the file", DicomBytes().head(0x00291010, "UN", 0xFFFFFFF0).bytes(), bad, "(0029,1010) of 4294967280 bytes");
  before("an item alone", DicomBytes().raw(DicomBytes().item(0xFFFEE000, 0)).bytes(), bad, "an item where none may be");
  before("the end of an item alone", DicomBytes().raw(DicomBytes().item(0xFFFEE00D, 0)).bytes(), bad, "where none is open");
  before("the end of a sequence alone", DicomBytes().raw(DicomBytes().item(0xFFFEE0DD, 0)).bytes(), bad, "an item where none may be");
  before("no VR", std::string("\x29\0\x10\x10\0\0\0\0", 8), bad, "has no value representation");
  before("a sequence of values", DicomBytes().head(0x00291010, "SQ", 0xFFFFFFFF).add(0x00100010, "PN", "x").bytes(), bad, "where an item of (0029,1010) is needed");
  before("an item longer than its sequence", DicomBytes().head(tag::shared_groups, "SQ", 8).raw(DicomBytes().item(0xFFFEE000, 100)).bytes(), bad, "an item reaches beyond its sequence");
  before("an element longer than its item", DicomBytes().sequence(tag::shared_groups, {DicomBytes().head(0x00280030, "DS", 20).bytes()}).bytes(), bad, "reaches beyond its item");
  before("groups in groups", DicomBytes().sequence(tag::shared_groups, {DicomBytes().sequence(tag::frame_groups, {""}).bytes()}).bytes(), bad, "functional groups inside");
  std::string deep, deeper;
  for (int i = 0; i < 100; ++i) deep += DicomBytes().head(0x00291010, "SQ", 0xFFFFFFFF).raw(DicomBytes().item(0xFFFEE000, 0xFFFFFFFF)).bytes();
  before("deep nesting", deep, limit, "nested deeper than 16");
  for (int i = 0; i < 10'000; ++i) deeper += DicomBytes(false).head(0x00291010, "", 0xFFFFFFFF).raw(DicomBytes().item(0xFFFEE000, 0xFFFFFFFF)).bytes();
  cases.push_back({"deeper nesting, implicit", dicom_file(kImplicit, deeper), limit, "nested deeper than 16"});
  std::string many;
  for (int i = 0; i < 1'000'001; ++i) many += std::string("\x29\0\x10\x10LO\0\0", 8);
  before("a million elements", many, limit, "more than 1000000 elements");
  before("a sequence without an end", DicomBytes().head(0x00291010, "SQ", 0xFFFFFFFF).bytes(), bad, "where an item of");
  const std::string good = DicomImage().file();
  cases.push_back({"empty", "", bad, "no DICOM image"});
  cases.push_back({"no DICM", good.substr(1), bad, "no DICOM image"});
  cases.push_back({"no transfer syntax", std::string(128, '\0') + "DICM" + DicomImage().data_set(), bad, "names no transfer syntax"});
  cases.push_back({"an unknown syntax", dicom_file("1.2.3.4", DicomImage().data_set()), unsupported, "unknown transfer syntax 1.2.3.4"});
  cases.push_back({"a syntax that lies", dicom_file(kExplicit, DicomImage().data_set(false)), bad, "no value representation"});
  cases.push_back({"deflate that is not", dicom_file("1.2.840.10008.1.2.1.99", DicomImage().data_set()), bad, "damaged or truncated"});
  cases.push_back({"native pixels in RLE", dicom_file(kRle, DicomImage().data_set()), bad, "do not fit the transfer syntax"});
  DicomImage none;
  none.with_pixels = false;
  cases.push_back({"fragments in explicit", dicom_file(kExplicit, none.data_set() + dicom_fragments({"xx"})), bad, "do not fit the transfer syntax"});
  none.rows = none.columns = 1024, none.frames = "1048576";
  cases.push_back({"2^40 voxels in one RLE fragment", dicom_file(kRle, none.data_set() + dicom_fragments({std::string(100'000, 'x')})), bad, "announces 1048576 frames, the file cannot hold that many"});
  none.rows = none.columns = 65535, none.frames = "";
  cases.push_back({"2^32 pixels in 100 kB of RLE", dicom_file(kRle, none.data_set() + dicom_fragments({std::string(100'000, 'x')})), bad, "more pixels than its compressed data can hold"});
  none = DicomImage();
  none.with_pixels = false;
  cases.push_back({"JPEG 2000 without a decoder", dicom_file(kJpeg2000, none.data_set() + dicom_fragments({"xx"})), unsupported, "compressed as JPEG 2000"});
  cases.push_back({"fragments without an end", dicom_file(kRle, none.data_set() + dicom_fragments({std::string(64, 'x')}).substr(0, 60)), bad, "truncated"});
  for (const Case& c : cases) {
    CAPTURE(c.what);
    const auto v = read_files({c.file});
    REQUIRE_FALSE(v.ok());
    CAPTURE(v.error().message());
    CHECK(v.error().code() == c.code);
    CHECK(v.error().message().find(c.says) != std::string::npos);
    CHECK(v.error().message().rfind("DIR", 0) == 0);
    CHECK(v.error().message().find("Doe") == std::string::npos);
  }
  // What cannot be decompressed is named, with what to do about it; GDCM is offered only where it helps.
  struct Syntax {
    const char *uid, *says, *not_says;
  };
  for (const Syntax& y : {Syntax{"50", "JPEG baseline (1.2.840.10008.1.2.4.50), which this build cannot decode; decompress it first (gdcmconv --raw IN OUT)", "neither"}, {"55", "JPEG full progression", "neither"}, {"70", "JPEG lossless", "neither"},
                          {"80", "JPEG-LS lossless", "neither"}, {"91", "JPEG 2000 (", "neither"}, {"93", "JPEG 2000 multi-component", "gdcmconv"}, {"102.1", "H.264 video", "gdcmconv"}, {"108", "HEVC video", "gdcmconv"},
                          {"110", "JPEG XL lossless", "gdcmconv"}, {"203", "HTJ2K (1.2.840.10008.1.2.4.203), which neither this program nor GDCM decodes; convert it", "gdcmconv"}, {"999", "an unknown format", "gdcmconv"}}) {
    const auto v = read_files({dicom_file(cat("1.2.840.10008.1.2.4.", y.uid), none.data_set() + dicom_fragments({"xx"}))});
    REQUIRE_FALSE(v.ok());
    CAPTURE(v.error().message());
    CHECK(v.error().code() == unsupported);
    CHECK(v.error().message().find(cat("compressed as ", y.says)) != std::string::npos);
    CHECK(v.error().message().find(y.not_says) == std::string::npos);
  }
  // A position that is no decimal string is no position: said, not guessed.
  for (const char* odd : {"nan\\0\\0", "1\\2", "a\\b\\c", "inf\\0\\0"}) {
    DicomImage i;
    i.position = odd;
    CHECK(read_files({i.file()})->image.notes.at(0).find("no position") == 0);
  }
  // A deflated bomb meets its limit, not the memory.
  std::string bomb = gzip(std::string(std::size_t(8) << 20, '\0'));
  CHECK(parse_dicom(as_bytes(dicom_file("1.2.840.10008.1.2.1.99", bomb.substr(10, bomb.size() - 18))), "f", {.max_bytes = 1 << 20}).error().code() == limit);
  // Every cut of a good file is an error and nothing else.
  for (const char* name : {"i12_rle.dcm", "i12_deflated.dcm", "enhanced_implicit.dcm", "i12_big.dcm"}) {
    const std::string whole = get_file(dicom_fixture(name));
    int accepted = 0;
    for (std::size_t n = 0; n < whole.size(); ++n) {
      const std::string cut = whole.substr(0, n);
      const auto d = parse_dicom(as_bytes(cut), "f");
      if (!d || !d->has_pixels) continue;
      const auto f = pixel_format(*d, "f");
      if (!f) continue;
      const auto r = FrameReader::make(*d, *f, "f");
      std::vector<std::uint8_t> frame(f->frame_bytes);
      accepted += r.ok() && r->read(f->frames - 1, frame.data()).ok();
    }
    CHECK_MESSAGE(accepted <= 1, name);  // RLE ends in a delimiter, deflate in padding: the last byte may be missing without harm
  }
  CHECK(read_files({DicomImage().file()}, {.max_files = 0}).error().code() == limit);
  // Small files that would make a careless reader slow or fat.
  std::string again;
  for (int i = 0; i < 300'000; ++i) again += DicomBytes().add(0x00180050, "DS", "2.5 ").bytes();
  DicomImage many_frames;
  many_frames.rows = 1, many_frames.columns = 1, many_frames.allocated = many_frames.stored = 8, many_frames.high = 7, many_frames.frames = "100000", many_frames.pixels = std::string(100'000, 'x');
  many_frames.before_pixels = DicomBytes().sequence(tag::shared_groups, {DicomBytes().sequence(tag::pixel_measures, {again}).bytes()}).bytes();
  CHECK(read_files({many_frames.file()})->image.grid.size == Extent3{1, 1, 100'000});
  std::vector<std::string> far;
  double z = 0;
  for (int i = 0; i < 40; ++i) far.push_back(slice_at(z, i + 1, i).file()), z += i % 2 ? 90'000 : 1;
  CHECK(read_files(far, {.fill_gaps = true}).error().message().find("slices are missing between 40: more than a million in all") != std::string::npos);
}

TEST_CASE("dicom: a private element of 3 GiB and deep trees cost no memory") {
  // A file with a hole: nothing is on the disk, and nothing of it may be read into memory.
  const TempDir dir;
  const std::uint32_t huge = 3u << 30;
  std::string tree;  // 14 levels, lengths unknown
  for (int i = 0; i < 14; ++i) tree += DicomBytes().head(0x00291010, "SQ", 0xFFFFFFFF).raw(DicomBytes().item(0xFFFEE000, 0xFFFFFFFF)).bytes();
  for (int i = 0; i < 14; ++i) tree += DicomBytes().item(0xFFFEE00D, 0) + DicomBytes().item(0xFFFEE0DD, 0);
  DicomImage image;
  image.pixels = u16s({1, 2, 3, 4, 5, 6});
  image.before_pixels = "HOLE";
  const std::string whole = image.file();
  const std::size_t at = whole.find("HOLE");
  const std::string head = whole.substr(0, at) + DicomBytes().add(0x00290010, "LO", "ACME").bytes() + tree + DicomBytes().head(0x00291011, "OB", huge).bytes(), tail = whole.substr(at + 4);
  put_file(dir.path("hole.dcm"), head);
  {
    std::fstream f(dir.path("hole.dcm"), std::ios::in | std::ios::out | std::ios::binary);
    f.seekp(std::streamoff(head.size()) + std::streamoff(huge));
    f << tail;
    REQUIRE(f.good());
  }
  rusage before{}, after{};
  getrusage(RUSAGE_SELF, &before);
  const auto v = read_dicom_volume(dir.path("hole.dcm"));
  getrusage(RUSAGE_SELF, &after);
  REQUIRE_MESSAGE(v, v.error().message());
  CHECK(values_of(v->image) == std::vector<double>{1, 2, 3, 4, 5, 6});
  CHECK(after.ru_maxrss - before.ru_maxrss < 64 * 1024);  // KiB
}

TEST_CASE("dicom: segmentations of multi-frame files, of grids with offsets, of lossy images; character sets") {
  const TempDir dir;
  const auto seg_of = [&](const DicomVolume& v) {
    LabelMap labels{v.image.grid, std::vector<std::uint16_t>(voxel_count(v.image.grid.size), 1), {}};
    auto out = AtomicFile::create(dir.path("s.dcm"));
    REQUIRE(out);
    const Status s = write_dicom_seg(*out, labels, v.source, {});
    REQUIRE_MESSAGE(s, s.error().message());
    REQUIRE(out->commit());
    return get_file(dir.path("s.dcm"));
  };
  const auto count = [](const std::string& s, const std::string& word) {
    int n = 0;
    for (auto at = s.find(word); at != std::string::npos; at = s.find(word, at + 1)) ++n;
    return n;
  };
  // A multi-frame file, frames out of order: named once for the series and once per frame.
  const auto enhanced = read_dicom_volume(dicom_fixture("enhanced.dcm"));
  REQUIRE_MESSAGE(enhanced, enhanced.error().message());
  CHECK(count(seg_of(*enhanced), enhanced->source.slices[0].sop_instance) == 5);
  // A grid with offsets (doses): each frame has its own place.
  DicomImage dose;
  dose.frames = "3", dose.pixels = std::string(36, 'x'), dose.before_pixels = DicomBytes().add(0x3004000C, "DS", "0\\2\\4").bytes();
  const auto grid = read_files({dose.file()});
  REQUIRE_MESSAGE(grid, grid.error().message());
  const std::string placed = seg_of(*grid);
  const auto d = parse_dicom(as_bytes(placed), "s");
  REQUIRE(d);
  for (std::size_t k = 0; k < 3; ++k) {
    double at[3] = {};
    REQUIRE(dicom_decimals(d->find(tag::position, k), at, 3));
    CHECK(at[2] == 2.0 * double(k));
  }
  CHECK(dicom_text(d->find(tag::lossy)) == "00");
  // A loss is said: as the file says it, or as its transfer syntax means.
  DicomImage lossy;
  lossy.before_pixels = DicomBytes().add(0x00282110, "CS", "01").add(0x00282112, "DS", "12.5").add(0x00282114, "CS", "ISO_10918_1").bytes();
  const auto once = read_files({lossy.file()});
  REQUIRE_MESSAGE(once, once.error().message());
  const std::string said = seg_of(*once);
  const auto e = parse_dicom(as_bytes(said), "s");
  REQUIRE(e);
  CHECK(dicom_text(e->find(tag::lossy)) == "01");
  CHECK(dicom_text(e->find(tag::lossy_ratio)) == "12.5");
  CHECK(dicom_text(e->find(tag::lossy_method)) == "ISO_10918_1");
  const FrameDecoder zeros{[](void*, const DicomData&, const PixelFormat& f, Bytes, std::uint8_t* out) { std::fill_n(out, f.frame_bytes, std::uint8_t(0)); return Status(); }, nullptr};
  lossy.before_pixels.clear(), lossy.with_pixels = false;
  for (const char* end : {"51", "81", "91", "57", "90"}) {
    const auto v = read_files({dicom_file(cat("1.2.840.10008.1.2.4.", end), lossy.data_set() + dicom_fragments({"xx"}))}, {.decoder = zeros});
    REQUIRE_MESSAGE(v, v.error().message());
    CHECK(v->source.lossy == (std::string(end) != "57" && std::string(end) != "90"));
    CHECK(v->source.lossy_method.empty() != v->source.lossy);
  }
  // Patient data are written in UTF-8, whatever the images are in; what cannot be told is an error, and reading without them is none.
  struct Case {
    const char *set, *name, *becomes;
  };
  for (const Case& c : {Case{"ISO_IR 100", "M\xfcller^J\xf6rg", "M\xc3\xbcller^J\xc3\xb6rg"}, {"ISO_IR 192", "M\xc3\xbcller^Y", "M\xc3\xbcller^Y"}, {"ISO_IR 144", "Doe^Jane", "Doe^Jane"}, {"ISO_IR 144", "\xbb\xee^X", nullptr}, {"", "M\xfcller", nullptr},
                        {"ISO_IR 192", "M\xfcller", nullptr}, {"ISO_IR 100", "Y\x1b$B", nullptr}}) {
    CAPTURE(c.name);
    DicomImage i;
    std::string data = i.data_set();
    const std::string old = DicomBytes().add(0x00100010, "PN", "Doe^Jane").bytes(), set = c.set;
    data.replace(data.find(old), old.size(), DicomBytes().add(0x00100010, "PN", c.name).bytes());
    const std::string file = dicom_file(kExplicit, (set.empty() ? std::string() : DicomBytes().add(0x00080005, "CS", set).bytes()) + data);
    CHECK(read_files({file})->source.patient.empty());
    const auto v = read_files({file}, {.keep_patient = true});
    REQUIRE(v.ok() == (c.becomes != nullptr));
    if (c.becomes) CHECK(v->source.patient.at(0) == std::pair(tag::patient_name, std::string(c.becomes)));
    else CHECK(v.error().message().find("character set") != std::string::npos);
    if (!c.becomes) CHECK(v.error().message().find("ller") == std::string::npos);
  }
  // A segmentation is no image.
  CHECK(read_files({placed}).error().message() == "DIR: no DICOM image (1 segmentations, 0 other files)");
}

TEST_CASE("dicom: segmentations refer to their images and to nobody else") {
  std::vector<std::string> files;
  for (int n = 0; n < 4; ++n) files.push_back(slice_at(2.5 * n, n + 1, n).file());
  const TempDir dir;
  const auto write = [&](const DicomVolume& v, const LabelMap& labels, std::string& bytes) -> Status {
    auto out = AtomicFile::create(dir.path("s.dcm"));
    REQUIRE(out);
    SAMPAN_CHECK(write_dicom_seg(*out, labels, v.source, {"20260102", "030405"}));
    REQUIRE(out->commit());
    bytes = get_file(dir.path("s.dcm"));
    return Status();
  };
  for (const bool keep : {false, true}) {
    const auto v = read_files(files, {.keep_patient = keep});
    REQUIRE_MESSAGE(v, v.error().message());
    LabelMap labels{v->image.grid, std::vector<std::uint16_t>(24, 0), {{2, "Liver, left lobe", {255, 0, 0}}}};
    labels.voxels[6] = labels.voxels[11] = 2, labels.voxels[12] = 2;  // slices 1 and 2
    labels.voxels[23] = 9;                                            // slice 3
    std::string a, b;
    REQUIRE(write(*v, labels, a));
    REQUIRE(write(*v, labels, b));
    CHECK(a == b);
    CHECK((a.find("Jane") != std::string::npos) == keep);
    const auto d = parse_dicom(as_bytes(a), "s");
    REQUIRE_MESSAGE(d, d.error().message());
    CHECK(dicom_text(d->find(tag::frames)) == "3");
    CHECK(dicom_text(d->find(tag::modality)) == "SEG");
    CHECK(dicom_text(d->find(tag::study)) == "1.2");
    CHECK(dicom_text(d->find(tag::frame_of_reference)) == "1.2.9");
    CHECK(dicom_text(d->find(tag::orientation, 0)) == "1\\0\\0\\0\\1\\0");
    CHECK(dicom_text(d->find(tag::position, 0)) == "-10\\5\\2.5");
    CHECK(dicom_text(d->find(tag::position, 2)) == "-10\\5\\7.5");
    // Bits run across frames of 6 pixels: frame 0 pixels 0 and 5, frame 1 pixel 0, frame 2 pixel 5.
    CHECK(d->pixels.size() == 4);
    CHECK(int(d->pixels[0]) == (1 | 1 << 5 | 1 << 6));
    CHECK(int(d->pixels[1]) == 0);
    CHECK(int(d->pixels[2]) == 1 << 1);
    for (const char* text : {"Liver, left lobe", "label 9", "10200004", "1.2.3.2", "BINARY", "20260102"}) CHECK_MESSAGE(a.find(text) != std::string::npos, text);
    CHECK(a.find("ACME") == std::string::npos);
    labels.voxels[23] = 8;
    REQUIRE(write(*v, labels, b));
    CHECK(a != b);
  }
  const auto v = read_files(files);
  std::string unused;
  LabelMap labels{v->image.grid, std::vector<std::uint16_t>(24, 0), {}};
  CHECK(write(*v, labels, unused).error().message().find("no voxel has a label") != std::string::npos);
  labels.voxels[0] = 1;
  labels.grid.size = {3, 2, 3};
  CHECK(write(*v, labels, unused).error().message().find("not on the grid") != std::string::npos);
  DicomVolume bare = std::move(*read_files(files));
  bare.source.frame_of_reference.clear();
  labels.grid.size = {3, 2, 4};
  CHECK(write(bare, labels, unused).error().message().find("the images have no frame of reference") != std::string::npos);
  CHECK(dir.file_count() == 1);  // the last good one; no temporary file is left
}
