// examples/medical/npy.hpp and npz.hpp: numpy's arrays of every type and order, the challenges' cases as numpy writes them, label maps out, and the table of lies.
#include <doctest/doctest.h>

#include "examples/medical/npz.hpp"
#include "support/volume_files.hpp"

#include <limits>

using namespace sampan;
using namespace sampan::medical;
using namespace sampan::test;
namespace pk = sampan::test::pickle;

namespace {

Result<NpzCase> parse(const std::string& file, bool flat = false, const VolumeLimits& limits = {}) { return parse_npz(as_bytes(file), "x.npz", flat, limits); }
const char* descr_of(VoxelType t, bool big) {
  static constexpr const char* little_names[] = {"|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f4", "<f8"};
  static constexpr const char* big_names[] = {"|u1", "|i1", ">u2", ">i2", ">u4", ">i4", ">u8", ">i8", ">f4", ">f8"};
  return (big ? big_names : little_names)[static_cast<std::size_t>(t)];
}
std::string literal(const std::string& descr, const std::string& shape, bool fortran = false) { return "{'descr': '" + descr + "', 'fortran_order': " + (fortran ? "True" : "False") + ", 'shape': " + shape + ", }"; }
std::string phantom_npy(VoxelType t = VoxelType::u8) { return npy(literal(descr_of(t, false), "(3, 4, 5)"), phantom_bytes(t, false)); }

bool is_phantom(const Volume& v, VoxelType t) {
  bool same = v.grid.size == kPhantom && v.type == t;
  for (std::size_t n = 0; same && n < 60; ++n) same = value_at(v, n) == phantom_value(t, std::int64_t(n % 5), std::int64_t(n / 5 % 4), std::int64_t(n / 20));
  return same;
}

/// A pickled object array of one axis.
std::string object_npy(const std::string& elements, int count) {
  const std::string array = pk::global("numpy.core.multiarray", "_reconstruct") + pk::global("numpy", "ndarray") + pk::tuple_of({0}) + pk::text("b") + "\x87" + pk::reduce + pk::mark + pk::integer(1) + pk::tuple_of({count}) +
                            pk::global("numpy", "dtype") + pk::mark + pk::text("O8") + pk::no + pk::yes + pk::tuple + pk::reduce + pk::no + pk::empty_list + pk::mark + elements + pk::appends + pk::tuple + pk::build;
  return npy(literal("|O", cat("(", count, ",)")), pk::file(array));
}

}  // namespace

TEST_CASE("npy: every type, byte order, memory order and version") {
  for (const VoxelType t : kAllVoxelTypes)
    for (const bool big : {false, true})
      for (const int v : {1, 2, 3}) {
        const char version = char(v);
        const std::string file = npy(literal(descr_of(t, big), "(3, 4, 5)"), phantom_bytes(t, big), version);
        const auto a = parse_npy(as_bytes(file), "a");
        REQUIRE_MESSAGE(a, a.error().message());
        CHECK(a->shape == std::vector<std::int64_t>{3, 4, 5});
        for (std::size_t n = 0; n < 60; ++n) REQUIRE(a->at(n) == phantom_value(t, std::int64_t(n % 5), std::int64_t(n / 5 % 4), std::int64_t(n / 20)));
        // Fortran order: the same memory is an array of the reversed shape.
        const std::string reversed = npy(literal(descr_of(t, big), "(5, 4, 3)", true), phantom_bytes(t, big), version);
        const auto f = parse_npy(as_bytes(reversed), "f");
        REQUIRE(f);
        for (std::size_t i = 0, n = 0; i < 5; ++i)
          for (std::size_t j = 0; j < 4; ++j)
            for (std::size_t k = 0; k < 3; ++k) REQUIRE(f->at(n++) == phantom_value(t, std::int64_t(i), std::int64_t(j), std::int64_t(k)));
        const std::string again = npy_header(t, {3, 4, 5}) + phantom_bytes(t, false);
        const auto w = parse_npy(as_bytes(again), "w");
        REQUIRE_MESSAGE(w, w.error().message());
        CHECK(w->type == t);
        CHECK((again.size() - w->data.size()) % 64 == 0);
      }
  CHECK(parse_npy(as_bytes(npy("{\"shape\": (), 'descr': '<i4' ,\n 'fortran_order' : False}", le(7))), "a")->at(0) == 7);
  CHECK(parse_npy(as_bytes(npy("{'descr': '|b1', 'fortran_order': False, 'shape': (2L,)}", std::string("\1\0", 2))), "a")->count == 2);
}

TEST_CASE("npy: hostile arrays") {
  struct Case {
    const char* what;
    std::string file;
    ErrorCode code;
    const char* says;
  };
  constexpr auto bad = ErrorCode::bad_file, unsupported = ErrorCode::unsupported;
  const auto head = [](const std::string& h) { return npy(h, std::string(8, 'x')); };
  const char* grammar = "its header must hold exactly";
  const Case cases[] = {
      {"empty", "", bad, "not a .npy array"},
      {"text", "hello, hello", bad, "not a .npy array"},
      {"version 9", npy(literal("|u1", "(8,)"), "12345678", 9), unsupported, "version 9"},
      {"header longer than the file", std::string("\x93NUMPY\1\0\xff\xff", 10), bad, "a header of 65535 bytes"},
      {"header of 4 GB", std::string("\x93NUMPY\2\0\xff\xff\xff\xff", 12), bad, "a header of 4294967295 bytes"},
      {"version 2 cut", std::string("\x93NUMPY\2\0\1\0", 10), bad, "truncated header"},
      {"no literal", head("hello"), bad, grammar},
      {"a key missing", head("{'descr': '|u1', 'shape': (8,)}"), bad, grammar},
      {"a key twice", head("{'descr': '|u1', 'descr': '|u1', 'fortran_order': False, 'shape': (8,)}"), bad, grammar},
      {"a key more", head("{'descr': '|u1', 'fortran_order': False, 'shape': (8,), 'x': 1}"), bad, grammar},
      {"structured", head("{'descr': [('a', '<i4')], 'fortran_order': False, 'shape': (2,)}"), bad, grammar},
      {"a call", head("{'descr': '|u1', 'fortran_order': False, 'shape': exit()}"), bad, grammar},
      {"negative side", head(literal("|u1", "(-8,)")), bad, grammar},
      {"nine axes", head(literal("|u1", "(1,1,1,1,1,1,1,1,8)")), bad, grammar},
      {"side of 2^64", head(literal("|u1", "(18446744073709551616,)")), bad, grammar},
      {"text behind", head(literal("|u1", "(8,)") + "x"), bad, grammar},
      {"complex", head(literal("<c8", "(1,)")), unsupported, "'<c8'"},
      {"half", head(literal("<f2", "(1,)")), unsupported, "'<f2'"},
      {"no byte order", head(literal("|i2", "(4,)")), unsupported, "'|i2'"},
      {"unicode", head(literal("<U4", "(1,)")), unsupported, "'<U4'"},
      {"one element too many", head(literal("<i2", "(5,)")), bad, "needs 5 elements, 4 are there"},
      {"shape that wraps", head(literal("<i2", "(4294967296, 4294967296)")), bad, "overflows"},
      {"shape that wraps in bytes", head(literal("<f8", "(2305843009213693952,)")), bad, "truncated, or a lying header"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.what);
    const auto a = parse_npy(as_bytes(c.file), "x");
    REQUIRE_FALSE(a.ok());
    CAPTURE(a.error().message());
    CHECK(a.error().code() == c.code);
    CHECK(a.error().message().find(c.says) != std::string::npos);
  }
}

TEST_CASE("npz: cases as numpy writes them") {
  // tests/oracle_volumes.py
  const auto a = read_npz(volume_fixture("cvpr24_3D.npz"));
  REQUIRE_MESSAGE(a, a.error().message());
  CHECK_FALSE(a->flat);
  CHECK(is_phantom(a->image, VoxelType::u8));
  CHECK(spacing(a->image.grid.affine) == Vec3{0.5, 0.75, 2});
  CHECK(a->image.grid.affine.m[0][0] == -0.5);  // x to the left
  REQUIRE(a->boxes.size() == 2);
  CHECK(a->boxes[0].low == Vec3{0, 1, 0});
  CHECK(a->boxes[0].high == Vec3{3, 3, 2});
  CHECK(a->boxes[1].low == Vec3{1, 0, 0});
  CHECK(a->boxes[1].high == Vec3{4, 2, 1});
  REQUIRE(a->truth);
  CHECK(a->truth->voxels[7] == std::uint16_t(phantom_value(VoxelType::u8, 2, 1, 0)) % 3);

  const auto b = read_npz(volume_fixture("2D_cvpr24.npz"));
  REQUIRE_MESSAGE(b, b.error().message());
  CHECK(b->flat);
  CHECK(b->image.components == 3);
  CHECK(b->image.grid.size == Extent3{5, 4, 1});
  REQUIRE(b->boxes.size() == 1);
  CHECK(b->boxes[0].high == Vec3{3, 3, 0});

  const auto c = read_npz(volume_fixture("cvpr25_3D.npz"));
  REQUIRE_MESSAGE(c, c.error().message());
  REQUIRE(c->boxes.size() == 2);
  CHECK(c->boxes[0].low == Vec3{1, 0, 0});
  CHECK(c->boxes[0].high == Vec3{4, 3, 2});
  CHECK(c->boxes[1].middle == 1.0);
  REQUIRE(c->clicks.size() == 2);
  CHECK(c->clicks[0].foreground == std::vector<Vec3>{{2, 1, 0}, {4, 3, 2}});
  CHECK(c->clicks[1].background == std::vector<Vec3>{{0, 0, 1}});
}

TEST_CASE("npz: stored and deflated, Fortran order, other types; label maps out") {
  for (const bool deflate : {false, true})
    for (const VoxelType t : kAllVoxelTypes) {
      const auto v = parse(ZipBuilder().add("imgs.npy", phantom_npy(t), {.deflate = deflate}).finish());
      REQUIRE_MESSAGE(v, v.error().message());
      CHECK(is_phantom(v->image, t));
      const auto big = parse(ZipBuilder().add("imgs.npy", npy(literal(descr_of(t, true), "(3, 4, 5)"), phantom_bytes(t, true)), {.deflate = deflate}).finish());
      REQUIRE(big);
      CHECK(is_phantom(big->image, t));
      std::string fortran;  // memory order k fastest, then j, then i
      const std::string c = phantom_bytes(t, true);
      const std::size_t w = medical::size_of(t);
      for (std::size_t i = 0; i < 5; ++i)
        for (std::size_t j = 0; j < 4; ++j)
          for (std::size_t k = 0; k < 3; ++k) fortran += c.substr((i + 5 * (j + 4 * k)) * w, w);
      const auto f = parse(ZipBuilder().add("imgs.npy", npy(literal(descr_of(t, true), "(3, 4, 5)", true), fortran), {.deflate = deflate}).finish());
      REQUIRE(f);
      CHECK(is_phantom(f->image, t));
    }
  const Grid grid{kPhantom, {}};  // apart: gcc 12 takes a nested aggregate for uninitialised
  LabelMap labels{grid, std::vector<std::uint16_t>(60, 0), {}};
  for (const int top : {1, 255, 300}) {
    labels.voxels[7] = std::uint16_t(top);
    for (const bool flat : {false, true}) {
      const TempDir dir;
      labels.grid.size = flat ? Extent3{15, 4, 1} : kPhantom;
      auto out = AtomicFile::create(dir.path("s.npz"));
      REQUIRE(write_npz_labels(*out, labels, flat));
      REQUIRE(out->commit());
      const std::string file = get_file(dir.path("s.npz"));
      const auto zip = tools::ZipArchive::open(as_bytes(file), "s");
      REQUIRE_MESSAGE(zip, zip.error().message());
      REQUIRE(zip->members().size() == 1);
      const auto member = zip->read(*zip->find("segs.npy"));
      REQUIRE_MESSAGE(member, member.error().message());
      const auto segs = parse_npy(member->bytes, "segs");
      REQUIRE(segs);
      CHECK(segs->type == (top > 255 ? VoxelType::u16 : VoxelType::u8));
      CHECK(segs->shape == (flat ? std::vector<std::int64_t>{4, 15} : std::vector<std::int64_t>{3, 4, 5}));
      for (std::size_t n = 0; n < 60; ++n) CHECK(segs->at(n) == labels.voxels[n]);
    }
  }
}

TEST_CASE("npz: hostile cases") {
  struct Case {
    const char* what;
    std::string file;
    ErrorCode code;
    const char* says;
  };
  constexpr auto bad = ErrorCode::bad_file, limit = ErrorCode::limit;
  const std::string imgs = phantom_npy();
  const auto with = [&](const char* name, const std::string& content) { return ZipBuilder().add("imgs.npy", imgs).add(name, content).finish(); };
  const auto table = [](const std::string& descr, const std::string& shape, const std::string& data) { return npy(literal(descr, shape), data); };
  const auto nan = std::numeric_limits<double>::quiet_NaN();
  std::string deep, many;
  for (int i = 0; i < 100; ++i) deep += pk::empty_list + pk::mark;
  for (int i = 0; i < 600'000; ++i) many += pk::none;
  const std::string cyclic = pk::empty_list + pk::put(9) + pk::get(9) + pk::append;
  const std::vector<Case> cases = {
      {"empty", "", bad, "truncated"},
      {"no imgs", ZipBuilder().add("image.npy", imgs).finish(), bad, "no member imgs.npy"},
      {"imgs of two axes", ZipBuilder().add("imgs.npy", table("|u1", "(4, 5)", std::string(20, 'x'))).finish(), bad, "imgs must be (D,H,W)"},
      {"imgs of objects", ZipBuilder().add("imgs.npy", object_npy(pk::none, 1)).finish(), bad, "imgs must be (D,H,W)"},
      {"an empty volume", ZipBuilder().add("imgs.npy", table("|u1", "(0, 4, 5)", "")).finish(), bad, "every side must be at least 1"},
      {"2^40 voxels", ZipBuilder().add("imgs.npy", table("|u1", "(1024, 1048576, 1024)", "xx")).finish(), bad, "truncated, or a lying header"},
      {"a bomb", ZipBuilder().add("imgs.npy", "x", {.deflate = true, .size = 0xFFFFFFF0}).finish(), limit, "more than 1100 times"},
      {"CRC of imgs", ZipBuilder().add("imgs.npy", imgs, {.wrong_crc = true}).finish(), bad, "CRC"},
      {"NaN spacing", with("spacing.npy", table("<f8", "(3,)", le(nan) + le(1.0) + le(1.0))), bad, "spacing: NaN"},
      {"zero spacing", with("spacing.npy", table("<f8", "(3,)", le(1.0) + le(0.0) + le(1.0))), bad, "the step along j is 0"},
      {"boxes of four columns", with("boxes.npy", table("<i4", "(1, 4)", std::string(16, '\0'))), bad, "boxes: a table with 6 columns"},
      {"boxes as a list", with("boxes.npy", table("<i4", "(6,)", std::string(24, '\0'))), bad, "boxes: a table with 6 columns"},
      {"100001 boxes", with("boxes.npy", table("|u1", "(100001, 6)", std::string(600'006, '\0'))), limit, "boxes: too many"},
      {"a box without z_max", with("boxes.npy", object_npy(pk::dict({{"z_min", pk::integer(0)}}), 1)), bad, "box 1 is no dict of z_min, z_max"},
      {"a box that is a number", with("boxes.npy", object_npy(pk::integer(3), 1)), bad, "box 1 is no dict"},
      {"objects that run code", with("boxes.npy", npy(literal("|O", "(1,)"), pk::file(pk::global("os", "system") + pk::text("x") + pk::tuple1 + pk::reduce))), bad, "os.system, which is not on the list"},
      {"objects of a checkpoint", with("boxes.npy", object_npy(pk::global("torch", "Size") + pk::tuple_of({1}) + pk::tuple1 + pk::reduce, 1)), bad, "torch.Size, which is not on the list"},
      {"objects that are no array", with("boxes.npy", npy(literal("|O", "(1,)"), pk::file(pk::integer(1)))), bad, "not an array of plain objects"},
      {"fewer objects than the shape", with("boxes.npy", object_npy(pk::none, 2)), bad, "holds 1 objects, its shape needs 2"},
      {"deep nesting", with("boxes.npy", object_npy(deep, 1)), limit, "nested deeper than 32"},
      {"half a million values", with("clicks.npy", object_npy(many, 1)), limit, "more than 500000 values"},
      {"pickle cut", with("clicks.npy", object_npy(pk::none, 1).substr(0, object_npy(pk::none, 1).size() - 1)), bad, "truncated"},
      {"clicks of numbers", with("clicks.npy", table("<i4", "(3,)", std::string(12, '\0'))), bad, "clicks: an array of dicts"},
      {"clicks without bg", with("clicks.npy", object_npy(pk::dict({{"fg", pk::empty_list}}), 1)), bad, "no dict of lists fg and bg"},
      {"a click of two numbers", with("clicks.npy", object_npy(pk::dict({{"fg", pk::empty_list + pk::tuple_of({1, 2}) + pk::append}, {"bg", pk::empty_list}}), 1)), bad, "each click is [z,y,x]"},
      {"a click that holds itself", with("clicks.npy", object_npy(pk::dict({{"fg", pk::empty_list + cyclic + pk::append}, {"bg", pk::empty_list}}), 1)), bad, "each click is [z,y,x]"},
      {"gts of another shape", with("gts.npy", table("|u1", "(4, 3, 5)", std::string(60, '\1'))), bad, "gts must have the shape of imgs"},
      {"gts of fractions", with("gts.npy", phantom_npy(VoxelType::f32)), bad, "labels are whole numbers"},
      {"negative gts", with("gts.npy", phantom_npy(VoxelType::i16)), bad, "labels are whole numbers"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.what);
    const auto v = parse(c.file);
    REQUIRE_FALSE(v.ok());
    CAPTURE(v.error().message());
    CHECK(v.error().code() == c.code);
    CHECK(v.error().message().find(c.says) != std::string::npos);
    CHECK(v.error().message().rfind("x.npz: ", 0) == 0);
  }
  const std::string good = get_file(volume_fixture("cvpr25_3D.npz"));
  for (std::size_t n = 0; n < good.size(); ++n) CHECK_FALSE(parse(good.substr(0, n)).ok());
  CHECK(parse(good));
  CHECK(parse(good, false, {.max_bytes = 59}).error().code() == limit);
}
