// examples/medical/nifti.hpp: every type, byte order and version in and out, the place to the bit, files of nibabel and SimpleITK, and the table of lies.
#include <doctest/doctest.h>

#include "examples/medical/nifti.hpp"
#include "support/volume_files.hpp"

#include <functional>

using namespace sampan;
using namespace sampan::medical;
using namespace sampan::test;

namespace {

Result<Volume> parse(const std::string& file, const NiftiOptions& o = {}) { return parse_nifti(as_bytes(file), "x.nii", o); }

void check_phantom(const Volume& v, VoxelType t, double slope = 1, double intercept = 0) {
  CHECK(v.grid.size == kPhantom);
  CHECK(v.type == t);
  std::size_t at = 0;
  bool same = true;
  for (std::int64_t k = 0; k < kPhantom[2]; ++k)
    for (std::int64_t j = 0; j < kPhantom[1]; ++j)
      for (std::int64_t i = 0; i < kPhantom[0]; ++i) same = same && value_at(v, at++) == slope * phantom_value(t, i, j, k) + intercept;
  CHECK(same);
}

/// A volume written to a file and the bytes of it (inflated).
std::string written(const Volume& v, bool gz) {
  const TempDir dir;
  const std::string path = dir.path(gz ? "a.nii.gz" : "a.nii");
  auto out = AtomicFile::create(path);
  REQUIRE(out);
  const Status s = write_nifti(*out, gz, v.grid, {v.type, v.components, v.slope, v.intercept, v.data.bytes()});
  REQUIRE_MESSAGE(s, s.error().message());
  REQUIRE(out->commit());
  return gz ? gunzip(get_file(path)) : get_file(path);
}

double column_error(const Affine& a, const Affine& b) {
  double worst = 0;
  for (std::size_t r = 0; r < 3; ++r)
    for (std::size_t c = 0; c < 4; ++c) worst = std::max(worst, std::abs(a.m[r][c] - b.m[r][c]));
  return worst;
}

}  // namespace

TEST_CASE("nifti: every type, byte order, version, plain and gzip, in and out") {
  for (const VoxelType t : kAllVoxelTypes)
    for (const bool big : {false, true})
      for (const int version : {1, 2})
        for (const bool gz : {false, true}) {
          CAPTURE(to_string(t));
          CAPTURE(big);
          CAPTURE(version);
          const std::string file = nifti_of(t, version, big).file(phantom_bytes(t, big));
          const auto v = parse(gz ? gzip(file) : file);
          REQUIRE_MESSAGE(v, v.error().message());
          check_phantom(*v, t);
          CHECK(v->grid.affine == quarter_turn());
          CHECK(v->notes.empty());
          const std::string out = written(*v, gz);
          const auto again = parse(out);
          REQUIRE_MESSAGE(again, again.error().message());
          check_phantom(*again, t);
          CHECK(again->grid.nifti == v->grid.nifti);
          // What we write is, field for field, what the builder makes of the same facts (38: "regular", which we set).
          NiftiBuilder same = nifti_of(t, version);
          same.slope = 1;
          std::string expected = same.file(phantom_bytes(t, false));
          if (version == 1) expected[38] = 'r';
          for (const std::size_t unused : {92u, 96u, 100u, 104u}) // pixdim of axes that do not exist: 1
            if (version == 1) expected.replace(unused, 4, le(1.0f));
          for (const std::size_t unused : {136u, 144u, 152u, 160u})
            if (version == 2) expected.replace(unused, 8, le(1.0));
          CHECK(out == expected);
        }
}

TEST_CASE("nifti: an uncompressed file stays mapped; a path is read like its bytes") {
  const TempDir dir;
  const std::string file = nifti_of(VoxelType::i16).file(phantom_bytes(VoxelType::i16, false));
  auto v = read_nifti(put_file(dir.path("a.nii"), file));
  REQUIRE_MESSAGE(v, v.error().message());
  check_phantom(*v, VoxelType::i16);
  CHECK(v->data.writable() == nullptr);
  auto big = read_nifti(put_file(dir.path("b.nii"), nifti_of(VoxelType::i16, 1, true).file(phantom_bytes(VoxelType::i16, true))));
  REQUIRE(big);
  check_phantom(*big, VoxelType::i16);
  CHECK(big->data.writable() != nullptr);
  CHECK(read_nifti(dir.path("none.nii")).error().code() == ErrorCode::io);
}

TEST_CASE("nifti: files of nibabel and SimpleITK") {
  // tests/oracle_volumes.py: rotation about an odd axis, steps 0.7, 1.1, 2.5, origin -90.5, 31.25, 10.125
  const auto v = read_nifti(volume_fixture("nibabel_i16_be.nii"));
  REQUIRE_MESSAGE(v, v.error().message());
  check_phantom(*v, VoxelType::i16);
  const Vec3 s = spacing(v->grid.affine);
  CHECK(s[0] == doctest::Approx(0.7).epsilon(1e-6));
  CHECK(s[1] == doctest::Approx(1.1).epsilon(1e-6));
  CHECK(s[2] == doctest::Approx(2.5).epsilon(1e-6));
  CHECK(v->grid.affine.column(3) == Vec3{-90.5, 31.25, 10.125});
  CHECK(determinant(v->grid.affine) > 0);
  struct Row {
    const char* name;
    VoxelType type;
    double slope, intercept;
  };
  for (const Row& r : {Row{"nibabel_f64_n2.nii.gz", VoxelType::f64, 1, 0}, Row{"nibabel_u16_scaled.nii.gz", VoxelType::u16, 0.5, -1024}, Row{"nibabel_qform.nii", VoxelType::u8, 1, 0}, Row{"sitk_i16.nii.gz", VoxelType::i16, 1, 0}}) {
    CAPTURE(r.name);
    const auto f = read_nifti(volume_fixture(r.name));
    REQUIRE_MESSAGE(f, f.error().message());
    if (r.slope == 1) check_phantom(*f, r.type);
    else CHECK(value_at(*f, 7) == r.slope * double([&] { std::uint16_t raw; std::memcpy(&raw, f->data.data() + 14, 2); return raw; }()) + r.intercept);
    CHECK(column_error(f->grid.affine, v->grid.affine) < 3e-6);  // float32 numbers of magnitude 31 and below: half an ulp is 1e-6
  }
}

TEST_CASE("nifti: which matrix counts") {
  const std::string voxels = phantom_bytes(VoxelType::i16, false);
  NiftiBuilder b = nifti_of(VoxelType::i16);
  b.quaternion = {0, 0, -std::sqrt(0.5)};  // -90 degrees about z: i to -y, j to x
  b.offset = {-10, 20, 30};
  b.qform_code = 1;
  SUBCASE("both, and they agree") {
    const auto v = parse(b.file(voxels));
    REQUIRE(v);
    CHECK(v->grid.affine == quarter_turn());
    CHECK(v->notes.empty());
  }
  SUBCASE("qform alone") {
    b.sform_code = 0;
    b.srow = Affine{};
    const auto v = parse(b.file(voxels));
    REQUIRE_MESSAGE(v, v.error().message());
    CHECK(column_error(v->grid.affine, quarter_turn()) < 1e-5);
  }
  SUBCASE("qfac -1 mirrors k") {
    b.sform_code = 0;
    b.qfac = -1;
    const auto v = parse(b.file(voxels));
    REQUIRE(v);
    CHECK(v->grid.affine.m[2][2] == doctest::Approx(-4));
  }
  SUBCASE("they disagree: the sform, and a note") {
    b.srow.m[0][3] = 500;
    const auto v = parse(b.file(voxels));
    REQUIRE(v);
    CHECK(v->grid.affine.m[0][3] == 500);
    REQUIRE(v->notes.size() == 1);
    CHECK(v->notes[0].find("qform and sform") == 0);
  }
  SUBCASE("neither: voxel sizes, and a note") {
    b.qform_code = b.sform_code = 0;
    const auto v = parse(b.file(voxels));
    REQUIRE(v);
    CHECK(spacing(v->grid.affine) == Vec3{2, 3, 4});
    CHECK(v->notes.size() == 1);
  }
  SUBCASE("metres and microns become millimetres; the file's own numbers stay") {
    b.qform_code = 0;
    for (const auto& [units, factor] : {std::pair{1, 1000.0}, {2, 1.0}, {3, 0.001}, {2 | 8, 1.0}, {0, 1.0}}) {
      b.units = units;
      const auto v = parse(b.file(voxels));
      REQUIRE(v);
      CHECK(v->grid.affine.m[2][2] == doctest::Approx(4 * factor));
      CHECK(v->grid.nifti->srow[2][2] == 4);
      CHECK(v->grid.nifti->units == units);
    }
  }
}

TEST_CASE("nifti: slope and intercept, 0 and NaN mean none") {
  for (const auto& [slope, intercept, expected_slope, expected_intercept] : {std::array{0.5, -3.0, 0.5, -3.0}, {0.0, -3.0, 1.0, 0.0}, {std::nan(""), -3.0, 1.0, 0.0}, {1.0, 0.0, 1.0, 0.0}}) {
    NiftiBuilder b = nifti_of(VoxelType::u16);
    b.slope = slope;
    b.intercept = intercept;
    const auto v = parse(b.file(phantom_bytes(VoxelType::u16, false)));
    REQUIRE(v);
    check_phantom(*v, VoxelType::u16, expected_slope, expected_intercept);
  }
}

TEST_CASE("nifti: time series by frame, extensions unread, several gzip members, names of patients stay behind") {
  NiftiBuilder b = nifti_of(VoxelType::u8);
  b.dim = {4, 5, 4, 3, 3, 1, 1, 1};
  b.descrip = "Jane Doe 1970-01-01";
  b.extension = std::string("\x20\0\0\0\x06\0\0\0", 8) + "private notes, Jane Doe.";
  const std::string one = phantom_bytes(VoxelType::u8, false), file = b.file(std::string(60, 'a') + one + std::string(60, 'c'));
  CHECK(parse(file).error().message() == "x.nii: holds 3 volumes (a time series or vectors); choose one of 0 to 2");
  for (const std::string& f : {file, gzip(file), gzip(file.substr(0, 100)) + gzip(file.substr(100)) + std::string(512, '\0')}) {
    const auto v = parse(f, {{}, 1});
    REQUIRE_MESSAGE(v, v.error().message());
    check_phantom(*v, VoxelType::u8);
    const std::string out = written(*v, false);
    CHECK(out.find("Jane") == std::string::npos);
    CHECK(out.find("private") == std::string::npos);
  }
  CHECK(parse(file, {{}, 3}).error().code() == ErrorCode::invalid_argument);
  CHECK(parse(file, {{}, -1}).error().code() == ErrorCode::invalid_argument);
}

TEST_CASE("nifti: a label map carries the bits of its grid, odd numbers behind a code of 0 apart") {
  NiftiBuilder b = nifti_of(VoxelType::i16);
  b.srow.m[0][0] = 0.1f, b.srow.m[1][1] = 0.3f;  // not exact in decimal
  b.qform_code = 3, b.sform_code = 4;
  b.quaternion = {0.1, 0.2, 0.3}, b.offset = {1.1, 2.2, 3.3};
  const std::string file = b.file(phantom_bytes(VoxelType::i16, false));
  const auto v = parse(file);
  REQUIRE(v);
  LabelMap labels{v->grid, std::vector<std::uint16_t>(60, 0), {}};
  for (const int top : {1, 255, 256, 65535}) {
    const auto highest = std::uint16_t(top);
    labels.voxels[7] = highest;
    const TempDir dir;
    auto out = AtomicFile::create(dir.path("l.nii.gz"));
    REQUIRE(write_nifti_labels(*out, true, labels));
    CHECK(dir.file_count() == 1);  // the temporary file alone: nothing has the name yet
    REQUIRE(out->commit());
    const std::string raw = gunzip(get_file(dir.path("l.nii.gz")));
    CHECK(raw.substr(252, 76) == file.substr(252, 76));  // codes, quaternion, offsets, sform
    CHECK(raw.substr(76, 16) == file.substr(76, 16));    // qfac and voxel sizes
    CHECK(raw[123] == file[123]);
    CHECK(raw.size() == 352 + 60u * (highest > 255 ? 2u : 1u));
    const auto again = to_labels(*read_nifti(dir.path("l.nii.gz")));
    REQUIRE(again);
    CHECK(again->voxels == labels.voxels);
  }
  b.qform_code = 0;
  b.quaternion = {std::nan(""), 1e30, 0};
  const auto odd = parse(b.file(phantom_bytes(VoxelType::i16, false)));
  REQUIRE(odd);
  const auto again = parse(written(*odd, false));
  REQUIRE(again);
  CHECK(again->grid.nifti->quaternion[0] == 0);
}

TEST_CASE("nifti: grids from elsewhere get both matrices, NIfTI-2 only where sides need it") {
  Affine lps;
  lps.m = {{{-0.5, 0, 0, 100}, {0, -0.5, 0, 50}, {0, 0, 2, -30}}};
  const NiftiGrid g = nifti_grid(lps);
  CHECK(g.qform_code == 1);
  CHECK(g.sform_code == 1);
  CHECK(column_error(*medical::detail::qform_affine(g), lps) < 1e-12);
  Affine sheared = lps;
  sheared.m[0][1] = 0.2;
  CHECK(nifti_grid(sheared).qform_code == 0);
  Volume v;
  v.grid = {{40000, 1, 1}, lps};
  v.data = std::move(*VoxelData::allocate(40000));
  std::memset(v.data.writable(), 3, 40000);
  const auto again = parse(written(v, true));
  REQUIRE_MESSAGE(again, again.error().message());
  CHECK(again->grid.nifti->version == 2);
  CHECK(again->grid.size == v.grid.size);
  CHECK(again->grid.affine == lps);
}

TEST_CASE("nifti: hostile files") {
  const std::string voxels = phantom_bytes(VoxelType::i16, false);
  struct Case {
    const char* what;
    std::string file;
    ErrorCode code;
    const char* says;
  };
  std::vector<Case> cases;
  const auto add = [&](const char* what, const std::function<void(NiftiBuilder&)>& lie, ErrorCode code, const char* says, int version = 1) {
    NiftiBuilder b = nifti_of(VoxelType::i16, version);
    lie(b);
    cases.push_back({what, b.file(voxels), code, says});
  };
  const double nan = std::nan(""), inf = std::numeric_limits<double>::infinity();
  add("rank 0", [](auto& b) { b.dim[0] = 0; }, ErrorCode::bad_file, "has 0 dimensions");
  add("rank 8", [](auto& b) { b.dim[0] = 8; }, ErrorCode::bad_file, "has 8 dimensions");
  add("side 0", [](auto& b) { b.dim[2] = 0; }, ErrorCode::bad_file, "dimension 2 has the length 0");
  add("negative side", [](auto& b) { b.dim[1] = -5; }, ErrorCode::bad_file, "dimension 1 has the length -5");
  add("one slice too many", [](auto& b) { b.dim[3] = 4; }, ErrorCode::bad_file, "cannot hold them");
  add("2^40 voxels", [](auto& b) { b.dim = {3, 1 << 14, 1 << 13, 1 << 13, 1, 1, 1, 1}; }, ErrorCode::limit, "more than the limit of 8192 MiB");
  add("2^62 voxels a side", [](auto& b) { b.dim[1] = std::int64_t(1) << 62; }, ErrorCode::limit, "more than the limit", 2);
  add("sides whose product wraps to 0", [](auto& b) { b.dim = {3, std::int64_t(1) << 32, std::int64_t(1) << 32, 1, 1, 1, 1, 1}; }, ErrorCode::limit, "more than the limit", 2);
  add("frames whose product wraps", [](auto& b) { b.dim = {7, 5, 4, 3, std::int64_t(1) << 32, std::int64_t(1) << 32, 1, 1}; }, ErrorCode::limit, "absurdly long", 2);
  add("a thousand frames", [](auto& b) { b.dim = {4, 5, 4, 3, 1000, 1, 1, 1}; }, ErrorCode::invalid_argument, "holds 1000 volumes");
  add("complex", [](auto& b) { b.datatype = 32; }, ErrorCode::unsupported, "type 32 (complex)");
  add("long double", [](auto& b) { b.datatype = 1536; }, ErrorCode::unsupported, "128-bit float");
  add("bits", [](auto& b) { b.datatype = 1; }, ErrorCode::unsupported, "single bits");
  add("type 0", [](auto& b) { b.datatype = 0; }, ErrorCode::unsupported, "type 0;");
  add("NaN in the sform", [&](auto& b) { b.srow.m[1][2] = nan; }, ErrorCode::bad_file, "x.nii: sform: NaN or infinite");
  add("infinite origin", [&](auto& b) { b.srow.m[1][3] = inf; }, ErrorCode::bad_file, "sform: NaN or infinite");
  add("far origin", [](auto& b) { b.srow.m[1][3] = 1e12; }, ErrorCode::bad_file, "origin is farther");
  add("zero sform", [](auto& b) { b.srow.m = {}; }, ErrorCode::bad_file, "step along i is 0");
  add("singular sform", [](auto& b) { b.srow.m = {{{1, 2, 0, 0}, {2, 4, 0, 0}, {0, 0, 1, 0}}}; }, ErrorCode::bad_file, "sform: singular");
  add("nearly singular sform", [](auto& b) { b.srow.m = {{{1, 1, 0, 0}, {1, 1.00001, 0, 0}, {0, 0, 1, 0}}}; }, ErrorCode::bad_file, "sform: singular");
  add("tiny steps", [](auto& b) { for (auto& r : b.srow.m) for (double& v : r) v *= 1e-20; }, ErrorCode::bad_file, "the step along i");
  add("no unit quaternion", [](auto& b) { b.sform_code = 0, b.qform_code = 1, b.quaternion = {1, 1, 1}; }, ErrorCode::bad_file, "qform: b, c, d");
  add("NaN quaternion", [&](auto& b) { b.sform_code = 0, b.qform_code = 1, b.quaternion = {nan, 0, 0}; }, ErrorCode::bad_file, "qform: b, c, d");
  add("qform with a step of 0", [](auto& b) { b.sform_code = 0, b.qform_code = 1, b.pixdim[1] = 0; }, ErrorCode::bad_file, "qform: the step along j is 0");
  add("infinite voxel size", [&](auto& b) { b.sform_code = 0, b.pixdim[1] = inf; }, ErrorCode::bad_file, "voxel sizes");
  add("infinite slope", [&](auto& b) { b.slope = inf; }, ErrorCode::bad_file, "scl_slope");
  add("NaN intercept", [&](auto& b) { b.slope = 2, b.intercept = nan; }, ErrorCode::bad_file, "scl_inter");
  add("voxels inside the header", [](auto& b) { b.vox_offset = 100; }, ErrorCode::bad_file, "cannot begin at byte 100");
  add("voxels behind the file", [](auto& b) { b.vox_offset = 1e6; }, ErrorCode::bad_file, "cannot hold them");
  add("voxels at 1e30", [](auto& b) { b.vox_offset = 1e30; }, ErrorCode::bad_file, "cannot begin");
  add("voxels at NaN", [&](auto& b) { b.vox_offset = nan; }, ErrorCode::bad_file, "cannot begin");
  add("a pair", [](auto& b) { b.magic = std::string("ni1\0", 4); }, ErrorCode::unsupported, ".hdr/.img pair");
  add("ANALYZE", [](auto& b) { b.magic = std::string(4, '\0'); }, ErrorCode::bad_file, "ANALYZE");
  add("magic of version 2 in 1", [](auto& b) { b.magic = "n+2"; }, ErrorCode::bad_file, "neither n+1 nor n+2");
  add("magic without line ends", [](auto& b) { b.magic = "n+2"; }, ErrorCode::bad_file, "neither n+1 nor n+2", 2);
  const std::string good = nifti_of(VoxelType::i16).file(voxels);
  const std::string zipped = gzip(good);
  cases.push_back({"empty", "", ErrorCode::bad_file, "truncated"});
  cases.push_back({"header cut", good.substr(0, 347), ErrorCode::bad_file, "truncated"});
  cases.push_back({"voxels cut", good.substr(0, good.size() - 1), ErrorCode::bad_file, "cannot hold them"});
  cases.push_back({"another file", std::string(400, 'x'), ErrorCode::bad_file, "not a NIfTI file"});
  cases.push_back({"gzip of nothing", gzip(""), ErrorCode::bad_file, "truncated"});
  cases.push_back({"gzip cut in its trailer", zipped.substr(0, zipped.size() - 3), ErrorCode::bad_file, "truncated"});
  cases.push_back({"gzip cut in half", zipped.substr(0, zipped.size() / 2), ErrorCode::bad_file, "truncated"});
  cases.push_back({"gzip cut in its header", zipped.substr(0, 5), ErrorCode::bad_file, "truncated"});
  std::string damaged = zipped;
  damaged[damaged.size() - 6] = char(damaged[damaged.size() - 6] ^ 1);  // the stored CRC
  cases.push_back({"gzip with another CRC", damaged, ErrorCode::bad_file, "damaged gzip"});
  cases.push_back({"text behind the gzip data", zipped + "hello", ErrorCode::bad_file, "other data behind"});
  cases.push_back({"a bomb behind the voxels", gzip(good + std::string(std::size_t(2) << 20, '\0')), ErrorCode::bad_file, "more than 1048576 bytes follow"});
  NiftiBuilder huge = nifti_of(VoxelType::i16);
  huge.dim = {3, 1000, 1000, 1000, 1, 1, 1, 1};
  cases.push_back({"2 GB announced by 200 bytes", gzip(huge.file("")), ErrorCode::bad_file, "the file cannot hold them"});
  for (const Case& c : cases) {
    CAPTURE(c.what);
    const auto v = parse(c.file);
    REQUIRE_FALSE(v.ok());
    CAPTURE(v.error().message());
    CHECK(v.error().code() == c.code);
    CHECK(v.error().message().find(c.says) != std::string::npos);
    CHECK(v.error().message().rfind("x.nii: ", 0) == 0);
  }
  CHECK(parse(good));
  // Every cut of a good file, plain and zipped, is an error and nothing else.
  for (std::size_t n = 0; n < good.size(); ++n) CHECK_FALSE(parse(good.substr(0, n)).ok());
  for (std::size_t n = 0; n < zipped.size(); ++n) CHECK_FALSE(parse(zipped.substr(0, n)).ok());
  // Bytes behind the voxels are said, not read.
  CHECK(parse(good + "12345")->notes.at(0) == "5 bytes follow the voxels; they were not read");
  CHECK(parse(gzip(good + "12345"))->notes.at(0) == "5 bytes follow the voxels; they were not read");
  // A caller's limit.
  CHECK(parse(good, {{.max_bytes = 119}, {}}).error().code() == ErrorCode::limit);
}

TEST_CASE("nifti: a writer that is stopped leaves nothing") {
  const TempDir dir;
  {
    auto out = AtomicFile::create(dir.path("a.nii.gz"));
    REQUIRE(out);
    const Grid grid{kPhantom, quarter_turn()};  // apart: gcc 12 takes a nested aggregate for uninitialised
    const LabelMap labels{grid, std::vector<std::uint16_t>(60, 1), {}};
    REQUIRE(write_nifti_labels(*out, true, labels));
    CHECK(dir.file_count() == 1);
  }
  CHECK(dir.file_count() == 0);
  auto out = AtomicFile::create(dir.path("a.nii"));
  CHECK_FALSE(write_nifti(*out, false, {kPhantom, quarter_turn()}, {VoxelType::u8, 1, 1, 0, {}}).ok());  // voxels that do not fit the grid
}
