// examples/medical/nrrd.hpp: every type, byte order and encoding in and out, spaces, detached data, files of SimpleITK and pynrrd, segments, and the table of lies.
#include <doctest/doctest.h>

#include "examples/medical/nrrd.hpp"
#include "support/volume_files.hpp"

using namespace sampan;
using namespace sampan::medical;
using namespace sampan::test;

namespace {

Result<Volume> parse(const std::string& file, const NrrdOptions& o = {}) { return parse_nrrd(as_bytes(file), std::nullopt, "x.nrrd", o); }

/// A header of the phantom; each field may be replaced ("" removes it), others are appended.
std::string header(std::vector<std::pair<std::string, std::string>> changes = {}, const std::string& type = "int16") {
  std::vector<std::pair<std::string, std::string>> fields = {{"type", type}, {"dimension", "3"}, {"space", "left-posterior-superior"}, {"sizes", "5 4 3"}, {"space directions", "(0,2,0) (-3,0,0) (0,0,4)"},
                                                              {"space origin", "(10,-20,30)"}, {"endian", "little"}, {"encoding", "raw"}};
  for (auto& [k, v] : changes) {
    const auto it = std::find_if(fields.begin(), fields.end(), [&, &name = k](const auto& f) { return f.first == name; });
    if (it == fields.end()) fields.emplace_back(k, v);
    else it->second = v;
  }
  std::string s = "NRRD0004\n";
  for (const auto& [k, v] : fields)
    if (!v.empty()) s += k + ": " + v + "\n";
  return s + "\n";
}

void check_phantom(const Volume& v, VoxelType t) {
  CHECK(v.grid.size == kPhantom);
  CHECK(v.type == t);
  bool same = true;
  for (std::size_t n = 0; n < 60; ++n) same = same && value_at(v, n) == phantom_value(t, std::int64_t(n % 5), std::int64_t(n / 5 % 4), std::int64_t(n / 20));
  CHECK(same);
}

std::string written(const LabelMap& labels) {
  const TempDir dir;
  auto out = AtomicFile::create(dir.path("l.nrrd"));
  REQUIRE(out);
  REQUIRE(write_nrrd_labels(*out, labels));
  REQUIRE(out->commit());
  return get_file(dir.path("l.nrrd"));
}

}  // namespace

TEST_CASE("nrrd: every type by every name, byte order and encoding, in and out") {
  struct Row {
    VoxelType type;
    std::vector<std::string> names;
  };
  const Row rows[] = {{VoxelType::u8, {"uchar", "unsigned char", "uint8", "uint8_t"}},
                      {VoxelType::i8, {"signed char", "int8", "int8_t"}},
                      {VoxelType::u16, {"ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"}},
                      {VoxelType::i16, {"short", "short int", "signed short", "signed short int", "int16", "int16_t", "SHORT"}},
                      {VoxelType::u32, {"uint", "unsigned int", "uint32", "uint32_t"}},
                      {VoxelType::i32, {"int", "signed int", "int32", "int32_t"}},
                      {VoxelType::u64, {"ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"}},
                      {VoxelType::i64, {"longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"}},
                      {VoxelType::f32, {"float"}},
                      {VoxelType::f64, {"double"}}};
  for (const Row& row : rows)
    for (const std::string& name : row.names)
      for (const bool big : {false, true})
        for (const bool gz : {false, true}) {
          CAPTURE(name);
          const std::string voxels = phantom_bytes(row.type, big);
          const auto v = parse(header({{"endian", big ? "big" : "little"}, {"encoding", gz ? "gzip" : "raw"}}, name) + (gz ? gzip(voxels) : voxels));
          REQUIRE_MESSAGE(v, v.error().message());
          check_phantom(*v, row.type);
          CHECK(v->grid.affine == quarter_turn());
          CHECK(v->notes.empty());
          const TempDir dir;
          auto out = AtomicFile::create(dir.path("a.nrrd"));
          REQUIRE(write_nrrd(*out, gz, v->grid, {v->type, 1, v->data.bytes()}));
          REQUIRE(out->commit());
          auto again = read_nrrd(dir.path("a.nrrd"));
          REQUIRE_MESSAGE(again, again.error().message());
          check_phantom(*again, row.type);
          CHECK(again->grid.affine == v->grid.affine);
          CHECK((again->data.writable() == nullptr) == !gz);  // raw stays mapped
        }
}

TEST_CASE("nrrd: spaces turn into RAS, and back by the same signs; numbers to the last bit") {
  const std::string voxels = phantom_bytes(VoxelType::i16, false);
  const Vec3 p{0.1, 1.0 / 3, 2e-5};
  for (const auto& [space, x, y] : {std::tuple{"right-anterior-superior", 1.0, 1.0}, {"RAS", 1.0, 1.0}, {"left-anterior-superior", -1.0, 1.0}, {"left-posterior-superior", -1.0, -1.0}, {"Left-Posterior-Superior", -1.0, -1.0}, {"LPS", -1.0, -1.0}}) {
    const auto v = parse(header({{"space", space}, {"space origin", cat("(", medical::detail::real_text(p[0]), ", ", medical::detail::real_text(p[1]), " ,", medical::detail::real_text(p[2]), ")")}}) + voxels);
    REQUIRE_MESSAGE(v, v.error().message());
    CHECK(v->grid.affine.column(3) == Vec3{x * p[0], y * p[1], p[2]});
    LabelMap labels{v->grid, std::vector<std::uint16_t>(60, 1), {}};
    const auto again = parse(written(labels));
    REQUIRE(again);
    CHECK(again->grid.affine == v->grid.affine);
    CHECK(again->grid.nrrd == v->grid.nrrd);
  }
  const auto none = parse(header({{"space", ""}, {"space dimension", "3"}}) + voxels);
  REQUIRE(none);
  CHECK(none->grid.affine.column(0) == Vec3{0, 2, 0});
  CHECK(none->notes.size() == 1);
  CHECK(parse(written({none->grid, std::vector<std::uint16_t>(60, 1), {}}))->grid.affine == none->grid.affine);
  const auto spaced = parse(header({{"space", ""}, {"space directions", ""}, {"space origin", ""}, {"spacings", "0.5 NaN 2"}}) + voxels);
  REQUIRE_MESSAGE(spaced, spaced.error().message());
  CHECK(spacing(spaced->grid.affine) == Vec3{0.5, 1, 2});
}

TEST_CASE("nrrd: colours, extra axes of length 1, pictures, skips") {
  std::string rgb;
  for (int i = 0; i < 60; ++i) rgb += std::string{char(i), char(i + 1), char(i + 2)};
  const auto v = parse(header({{"dimension", "4"}, {"sizes", "3 5 4 3"}, {"space directions", "none (0,2,0) (-3,0,0) (0,0,4)"}, {"kinds", "RGB-color domain domain domain"}}, "uchar") + rgb);
  REQUIRE_MESSAGE(v, v.error().message());
  CHECK(v->components == 3);
  CHECK(v->grid.size == kPhantom);
  const std::string voxels = phantom_bytes(VoxelType::i16, false);
  check_phantom(*parse(header({{"dimension", "4"}, {"sizes", "1 5 4 3"}, {"space directions", "none (0,2,0) (-3,0,0) (0,0,4)"}}) + voxels), VoxelType::i16);
  check_phantom(*parse(header({{"dimension", "4"}, {"sizes", "5 4 3 1"}, {"space directions", "(0,2,0) (-3,0,0) (0,0,4) (nan,nan,nan)"}}) + voxels), VoxelType::i16);
  const auto flat = parse(header({{"dimension", "2"}, {"sizes", "5 12"}, {"space directions", ""}, {"space", ""}, {"space origin", ""}, {"spacings", "1 2"}}) + voxels);
  REQUIRE_MESSAGE(flat, flat.error().message());
  CHECK(flat->grid.size == Extent3{5, 12, 1});
  check_phantom(*parse(header({{"byte skip", "7"}}) + "1234567" + voxels), VoxelType::i16);
  check_phantom(*parse(header({{"byte skip", "-1"}}) + std::string(1000, 'x') + voxels), VoxelType::i16);
  check_phantom(*parse(header({{"line skip", "2"}, {"byte skip", "1"}}) + "a\nbc\nd" + voxels), VoxelType::i16);
  check_phantom(*parse(header({{"byte skip", "3"}, {"encoding", "gz"}}) + gzip("abc" + voxels)), VoxelType::i16);
  const auto behind = parse(header() + voxels + "abc");
  REQUIRE(behind);
  CHECK(behind->notes.at(0) == "3 bytes follow the voxels; they were not read");
  // \r\n, comments, key/value pairs (with a colon in them), odd names of fields
  check_phantom(*parse("NRRD0005\r\n# a comment\r\nTYPE: short\r\nDimension: 3\r\nsizes: 5 4 3\r\nPatient:=Jane: Doe\r\nencoding: raw\r\nendian: little\r\n\r\n" + voxels), VoxelType::i16);
}

TEST_CASE("nrrd: detached data beside the header, and nowhere else") {
  const TempDir dir;
  std::filesystem::create_directory(dir.path("sub"));
  const std::string voxels = phantom_bytes(VoxelType::i16, false);
  put_file(dir.path("sub/a.raw"), voxels);
  put_file(dir.path("a.raw.gz"), gzip(voxels));
  const auto read = [&](const std::string& name, const std::string& encoding = "raw") {
    put_file(dir.path("a.nhdr"), header({{"data file", name}, {"encoding", encoding}}));
    return read_nrrd(dir.path("a.nhdr"));
  };
  check_phantom(*read("sub/a.raw"), VoxelType::i16);
  check_phantom(*read("./sub/a.raw"), VoxelType::i16);
  check_phantom(*read("a.raw.gz", "gzip"), VoxelType::i16);
  put_file(dir.path("b.nhdr"), header() + "");  // the older spelling, no blank line at the end
  put_file(dir.path("b.nhdr"), "NRRD0004\ntype: short\ndimension: 3\nsizes: 5 4 3\nendian: little\nencoding: raw\ndatafile: sub/a.raw");
  check_phantom(*read_nrrd(dir.path("b.nhdr")), VoxelType::i16);
  for (const char* name : {"/etc/passwd", "../a.raw", "sub/../../a.raw", "sub/..", "C:a.raw", "sub\\a.raw"}) {
    CAPTURE(name);
    const auto v = read(name);
    REQUIRE_FALSE(v.ok());
    CHECK(v.error().message().find("must be a relative path beside or below the header") != std::string::npos);
  }
  CHECK(read("LIST").error().code() == ErrorCode::unsupported);
  CHECK(read("a%03d.raw 1 3 1").error().code() == ErrorCode::unsupported);
  CHECK(read("none.raw").error().code() == ErrorCode::io);
  CHECK(parse(header({{"data file", "a.raw"}})).error().message() == "x.nrrd: its voxels are in another file");
}

TEST_CASE("nrrd: files of SimpleITK and pynrrd") {
  // tests/oracle_volumes.py; the same grid as in nifti_test.cpp
  for (const auto& [name, type] : {std::pair{"sitk_u8.nrrd", VoxelType::u8}, {"sitk_f32.nhdr", VoxelType::f32}}) {
    const auto v = read_nrrd(volume_fixture(name));
    REQUIRE_MESSAGE(v, v.error().message());
    check_phantom(*v, type);
    CHECK(spacing(v->grid.affine)[2] == doctest::Approx(2.5));
    CHECK(v->grid.affine.column(3) == Vec3{-90.5, 31.25, 10.125});
  }
  const auto rgb = read_nrrd(volume_fixture("sitk_rgb.nrrd"));
  REQUIRE_MESSAGE(rgb, rgb.error().message());
  CHECK(rgb->components == 3);
  CHECK(rgb->data.data()[3 * 7 + 2] == phantom_value(VoxelType::u8, 2, 1, 0) + 2);
  const auto v = read_nrrd(volume_fixture("pynrrd_i32_be.nrrd"));
  REQUIRE_MESSAGE(v, v.error().message());
  check_phantom(*v, VoxelType::i32);
  CHECK(v->grid.affine.m == std::array<std::array<double, 4>, 3>{{{0.71, -0.22, 0.31, -12.5}, {0.18, 0.93, 0.12, 40.25}, {-0.4, 0.05, 2.9, 7.125}}});
}

TEST_CASE("nrrd: label maps with 3D Slicer's keys") {
  const Grid grid{kPhantom, quarter_turn()};  // apart: gcc 12 takes a nested aggregate for uninitialised
  LabelMap labels{grid, std::vector<std::uint16_t>(60, 0), {{2, "liver", {255, 0, 51}}, {7, "left\nkidney\\", {0, 0, 0}}, {9, "", {1, 2, 3}}}};
  labels.voxels[0] = 2, labels.voxels[21] = 2;  // (0,0,0) and (1,0,1)
  labels.voxels[59] = 7;
  const std::string file = written(labels);
  const std::string text = file.substr(0, file.find("\n\n"));
  for (const char* line : {"type: uint8", "space: left-posterior-superior", "sizes: 5 4 3", "Segment0_Name:=liver", "Segment0_LabelValue:=2", "Segment0_Layer:=0", "Segment0_Color:=1 0 0.2", "Segment0_Extent:=0 1 0 0 0 1",
                           "Segment1_Name:=left kidney ", "Segment1_Extent:=4 4 3 3 2 2", "Segment2_Name:=label 9", "Segment2_Extent:=0 -1 0 -1 0 -1", "Segment2_ID:=Segment_9"}) {
    CAPTURE(line);
    CHECK(text.find(std::string("\n") + line + "\n") != std::string::npos);
  }
  const auto v = parse(file);
  REQUIRE_MESSAGE(v, v.error().message());
  CHECK(v->grid.affine == quarter_turn());
  CHECK(to_labels(*v)->voxels == labels.voxels);
  labels.voxels[1] = 40000;
  CHECK(parse(written(labels))->type == VoxelType::u16);
  CHECK(to_labels(*parse(written(labels)))->voxels == labels.voxels);
}

TEST_CASE("nrrd: hostile files") {
  const std::string voxels = phantom_bytes(VoxelType::i16, false), good = header() + voxels;
  struct Case {
    const char* what;
    std::string file;
    ErrorCode code;
    const char* says;
  };
  const auto with = [&](const std::string& field, const std::string& value) { return header({{field, value}}) + voxels; };
  constexpr auto bad = ErrorCode::bad_file, unsupported = ErrorCode::unsupported, limit = ErrorCode::limit;
  const std::vector<Case> cases = {
      {"empty", "", bad, "has no field"},
      {"another file", "hello world, this is text\n", bad, "not a NRRD file"},
      {"version 6", "NRRD0006\n\n", bad, "not a NRRD file of version 1 to 5"},
      {"no type", with("type", ""), bad, "no field \"type\""},
      {"no sizes", with("sizes", ""), bad, "no field \"sizes\""},
      {"no encoding", with("encoding", ""), bad, "no field \"encoding\""},
      {"no endian", with("endian", ""), bad, "must say endian"},
      {"odd endian", with("endian", "middle"), bad, "must say endian"},
      {"a field twice", "NRRD0004\ntype: short\nTYPE: short\n\n", bad, "line 3: the field \"type\" is given twice"},
      {"a line of nothing", "NRRD0004\nnonsense\n\n", bad, "line 2: neither"},
      {"block type", with("type", "block"), unsupported, "type \"block\""},
      {"text encoding", with("encoding", "txt"), unsupported, "encoding \"txt\""},
      {"bzip2", with("encoding", "bzip2"), unsupported, "encoding \"bzip2\""},
      {"dimension 0", with("dimension", "0"), unsupported, "dimension 0"},
      {"dimension 16", with("dimension", "16"), unsupported, "dimension 16"},
      {"dimension three", with("dimension", "three"), unsupported, "dimension three"},
      {"two sizes", with("sizes", "5 4"), bad, "3 whole numbers above 0"},
      {"size 0", with("sizes", "5 0 3"), bad, "3 whole numbers above 0"},
      {"negative size", with("sizes", "5 -4 3"), bad, "3 whole numbers above 0"},
      {"size of 2^64", with("sizes", "5 18446744073709551616 3"), bad, "3 whole numbers above 0"},
      {"size 4.0", with("sizes", "5 4.0 3"), bad, "3 whole numbers above 0"},
      {"2^40 voxels", with("sizes", "1048576 1048576 1"), limit, "more than the limit"},
      {"sizes whose product wraps", with("sizes", "4294967296 4294967296 1"), limit, "more than the limit"},
      {"one slice too many", with("sizes", "5 4 4"), bad, "its header announces 160 bytes"},
      {"one slice too many, from the end", header({{"sizes", "5 4 4"}, {"byte skip", "-1"}}) + voxels, bad, "120 are there"},
      {"two directions", with("space directions", "(1,0,0) (0,1,0)"), bad, "3 vectors are needed"},
      {"directions of two numbers", with("space directions", "(1,0) (0,1) (0,0)"), bad, "vector 1 is neither"},
      {"directions of four numbers", with("space directions", "(1,0,0,0) (0,1,0,0) (0,0,1,0)"), bad, "vector 1 is neither"},
      {"directions of words", with("space directions", "(a,b,c) (0,1,0) (0,0,1)"), bad, "vector 1 is neither"},
      {"directions without end", with("space directions", "(1,0,0) (0,1,0) (0,0,1"), bad, "vector 3 is neither"},
      {"NaN inside", with("space directions", "(1,nan,0) (0,1,0) (0,0,1)"), bad, "NaN or infinite"},
      {"all NaN", with("space directions", "(nan,nan,nan) (nan,nan,nan) (nan,nan,nan)"), unsupported, "axes of space"},
      {"infinite", with("space directions", "(1,0,0) (0,inf,0) (0,0,1)"), bad, "NaN or infinite"},
      {"none between", with("space directions", "(1,0,0) none (0,0,1)"), unsupported, "axes of space must follow"},
      {"singular", with("space directions", "(1,0,0) (2,0,0) (0,0,1)"), bad, "singular"},
      {"zero", with("space directions", "(1,0,0) (0,0,0) (0,0,1)"), bad, "the step along j is 0"},
      {"origin of words", with("space origin", "here"), bad, "space origin"},
      {"infinite origin", with("space origin", "(1,2,inf)"), bad, "NaN or infinite"},
      {"four axes of time", header({{"dimension", "4"}, {"sizes", "5 4 3 2"}, {"space directions", "(1,0,0) (0,1,0) (0,0,1) none"}}) + voxels, unsupported, "axis 4 of length 2 is not in space"},
      {"vectors", header({{"dimension", "4"}, {"sizes", "3 5 4 1"}, {"space directions", "none (1,0,0) (0,1,0) (0,0,1)"}}) + voxels, unsupported, "axis 1 of length 3 is not in space"},
      {"a space with time", with("space", "right-anterior-superior-time"), unsupported, "has a time axis"},
      {"space of two dimensions", header({{"space", ""}, {"space dimension", "2"}}) + voxels, unsupported, "space dimension 2"},
      {"spacings of words", header({{"space directions", ""}, {"spacings", "1 x 1"}}) + voxels, bad, "\"x\" is no number"},
      {"line skip too far", with("line skip", "5"), bad, "have fewer lines"},
      {"line skip of 2^62", with("line skip", "4611686018427387904"), bad, "have fewer lines"},
      {"byte skip too far", with("byte skip", "1000000"), bad, "truncated"},
      {"byte skip -2", with("byte skip", "-2"), bad, "byte skip"},
      {"byte skip -1 with gzip", header({{"byte skip", "-1"}, {"encoding", "gzip"}}) + gzip(voxels), unsupported, "byte skip -1"},
      {"gzip that is not", with("encoding", "gzip"), bad, "damaged gzip"},
      {"gzip cut", header({{"encoding", "gzip"}}) + gzip(voxels).substr(0, 30), bad, "truncated"},
      {"2 GB announced by a few bytes", header({{"encoding", "gzip"}, {"sizes", "1000 1000 1000"}}) + gzip(voxels), bad, "can follow"},
      {"a header without end", "NRRD0004\n" + std::string(std::size_t(2) << 20, '#'), limit, "does not end within 1048576 bytes"},
      {"many lines", "NRRD0004\n" + [] { std::string s; for (int i = 0; i < 300'000; ++i) s += "a:=b\n"; return s; }(), limit, "does not end within"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.what);
    const auto v = parse(c.file);
    REQUIRE_FALSE(v.ok());
    CAPTURE(v.error().message());
    CHECK(v.error().code() == c.code);
    CHECK(v.error().message().find(c.says) != std::string::npos);
    CHECK(v.error().message().rfind("x.nrrd: ", 0) == 0);
  }
  for (std::size_t n = 0; n < good.size(); ++n) CHECK_FALSE(parse(good.substr(0, n)).ok());
  CHECK(parse(good, {{.max_bytes = 119}}).error().code() == limit);
}
