// examples/medical/volume.hpp, slices.hpp, byte_stream.hpp, read_volume.hpp: affines, 48 orders of axes x uneven steps x oblique angles, slices out and labels back, gzip.
#include <doctest/doctest.h>

#include "examples/medical/read_volume.hpp"
#include "examples/medical/slices.hpp"
#include "support/rng.hpp"
#include "support/volume_files.hpp"

#include <limits>

using namespace sampan;
using namespace sampan::medical;
using namespace sampan::test;

namespace {

using Matrix = std::array<std::array<double, 3>, 3>;

Matrix times(const Matrix& a, const Matrix& b) {
  Matrix c{};
  for (std::size_t i = 0; i < 3; ++i)
    for (std::size_t j = 0; j < 3; ++j)
      for (std::size_t k = 0; k < 3; ++k) c[i][j] += a[i][k] * b[k][j];
  return c;
}
/// Rotation by `angle` about the axis (x, y, z) of length 1 (Rodrigues).
Matrix rotation(double x, double y, double z, double angle) {
  const Matrix k{{{0, -z, y}, {z, 0, -x}, {-y, x, 0}}}, k2 = times(k, k);
  Matrix r{{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}};
  for (std::size_t i = 0; i < 3; ++i)
    for (std::size_t j = 0; j < 3; ++j) r[i][j] += std::sin(angle) * k[i][j] + (1 - std::cos(angle)) * k2[i][j];
  return r;
}
const std::size_t kOrders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};

/// An anatomical phantom in its own axes (right, anterior, superior), 7 x 6 x 5 cells.
constexpr std::int64_t kSides[3] = {7, 6, 5};
constexpr std::uint16_t cell(std::int64_t r, std::int64_t a, std::int64_t s) { return std::uint16_t(1 + r + 7 * (a + 6 * s)); }

/// The phantom stored with voxel axis c along anatomical axis order[c], reversed where bit c of `flips` is set; the body turned by `turn`.
struct Stored {
  Volume volume;
  std::vector<std::uint16_t> voxels;
};
Stored store(const std::size_t* order, unsigned flips, const Vec3& step, const Matrix& turn, VoxelType type = VoxelType::u16) {
  Stored out;
  Grid& g = out.volume.grid;
  Matrix m{};
  Vec3 origin{-31.5, 12.25, 80};
  for (std::size_t c = 0; c < 3; ++c) {
    const std::size_t w = order[c];
    const bool reversed = flips >> c & 1u;
    g.size[c] = kSides[w];
    m[w][c] = reversed ? -step[w] : step[w];
  }
  const Matrix t = times(turn, m);
  for (std::size_t r = 0; r < 3; ++r) {
    for (std::size_t c = 0; c < 3; ++c) g.affine.m[r][c] = t[r][c];
    g.affine.m[r][3] = origin[r];
  }
  for (std::int64_t k = 0; k < g.size[2]; ++k)
    for (std::int64_t j = 0; j < g.size[1]; ++j)
      for (std::int64_t i = 0; i < g.size[0]; ++i) {
        const std::int64_t ijk[3] = {i, j, k};
        std::int64_t at[3] = {};
        for (std::size_t c = 0; c < 3; ++c) at[order[c]] = flips >> c & 1u ? g.size[c] - 1 - ijk[c] : ijk[c];
        out.voxels.push_back(cell(at[0], at[1], at[2]));
      }
  out.volume.type = type;
  with_voxel_type(type, [&](auto z) {
    using T = decltype(z);
    out.volume.data = std::move(*VoxelData::allocate(out.voxels.size() * sizeof(T)));
    for (std::size_t n = 0; n < out.voxels.size(); ++n) {
      const T v = static_cast<T>(out.voxels[n]);
      std::memcpy(out.volume.data.writable() + n * sizeof(T), &v, sizeof(T));
    }
  });
  return out;
}

const Vec3 kSteps[] = {{1, 1, 1}, {0.7, 0.9, 3}, {4, 0.5, 0.5}};
// None, 15 and 33 degrees about odd axes: below 45 degrees each voxel axis stays nearest to its own anatomical one.
const Matrix kTurns[] = {rotation(0, 0, 1, 0), rotation(0.6, 0, 0.8, 0.26), rotation(0.36, 0.48, -0.8, 0.58)};

}  // namespace

TEST_CASE("slices look the same whatever the order, direction, steps and angle of the voxel axes, and labels go back exactly") {
  int cases = 0;
  for (const auto& order : kOrders)
    for (unsigned flips = 0; flips < 8; ++flips)
      for (const Vec3& step : kSteps)
        for (const Matrix& turn : kTurns) {
          CAPTURE(flips);
          const Stored s = store(order, flips, step, turn);
          const Volume& v = s.volume;
          REQUIRE(check(v.grid.affine, "a"));
          ++cases;
          // Codes: voxel axis c runs along anatomical axis order[c].
          std::string codes;
          for (std::size_t c = 0; c < 3; ++c) codes += flips >> c & 1u ? "LPI"[order[c]] : "RAS"[order[c]];
          CHECK(axis_codes(v.grid.affine) == codes);
          for (const Plane plane : {Plane::axial, Plane::coronal, Plane::sagittal}) {
            const SlicePlan p = slice_plan(v.grid, plane);
            // Anatomical cell of picture (x, y, n), from the convention in the header of slices.hpp.
            const auto expected = [&](std::int64_t x, std::int64_t y, std::int64_t n) {
              switch (plane) {
                case Plane::axial: return cell(6 - x, 5 - y, n);
                case Plane::coronal: return cell(6 - x, 5 - n, 4 - y);
                default: return cell(6 - n, 5 - x, 4 - y);
              }
            };
            const Extent3 sides = plane == Plane::axial ? Extent3{7, 6, 5} : plane == Plane::coronal ? Extent3{7, 5, 6} : Extent3{6, 5, 7};
            REQUIRE(p.size == sides);
            const std::size_t world[3][3] = {{0, 1, 2}, {0, 2, 1}, {1, 2, 0}};
            for (std::size_t a = 0; a < 3; ++a) CHECK(p.step[a] == doctest::Approx(step[world[static_cast<std::size_t>(plane)][a]]));
            const auto reader = SliceReader::make(v, p, GreyRange{0, 255});
            REQUIRE_MESSAGE(reader, reader.error().message());
            std::vector<std::uint16_t> back(s.voxels.size(), 0);
            bool same = true, exact = true;
            for (std::int64_t n = 0; n < sides[2]; ++n) {
              std::vector<std::uint8_t> picture(reader->bytes());
              reader->read(n, picture.data());
              for (std::int64_t y = 0; y < sides[1]; ++y)
                for (std::int64_t x = 0; x < sides[0]; ++x) {
                  same = same && picture[std::size_t(y * sides[0] + x)] == std::uint8_t(double(expected(x, y, n)) / 255.0 * 255.0);
                  const Vec3 voxel = to_voxel(p, {double(x), double(y), double(n)});
                  const std::size_t flat = std::size_t(voxel[0]) + std::size_t(v.grid.size[0]) * (std::size_t(voxel[1]) + std::size_t(v.grid.size[1]) * std::size_t(voxel[2]));
                  exact = exact && s.voxels[flat] == expected(x, y, n) && to_slice(p, voxel) == Vec3{double(x), double(y), double(n)} && std::int64_t(flat) == p.index(x, y, n);
                }
              for (std::uint16_t label = 1; label <= 210; ++label) {
                std::vector<std::uint8_t> mask(picture.size());
                bool any = false;
                for (std::int64_t y = 0; y < sides[1]; ++y)
                  for (std::int64_t x = 0; x < sides[0]; ++x) any |= (mask[std::size_t(y * sides[0] + x)] = expected(x, y, n) == label);
                if (any) put_slice(back, p, n, mask.data(), label);
              }
            }
            CHECK(same);
            CHECK(exact);
            CHECK(back == s.voxels);
          }
          // World positions do not depend on the order of axes either: the superior cell lies higher.
          const Affine inv = inverse(v.grid.affine);
          const Vec3 q = inv.apply(v.grid.affine.apply({1.25, 2.5, -3}));
          CHECK(q[0] == doctest::Approx(1.25));
          CHECK(q[1] == doctest::Approx(2.5));
          CHECK(q[2] == doctest::Approx(-3));
        }
  CHECK(cases == 6 * 8 * 3 * 3);
}

TEST_CASE("a label map comes back on the same grid through every format that has one, from all 48 orders of axes") {
  const TempDir dir;
  for (const auto& order : kOrders)
    for (unsigned flips = 0; flips < 8; ++flips) {
      Stored s = store(order, flips, kSteps[1], kTurns[2]);
      // First as a file has it: NIfTI-1 rounds to float, NRRD does not.
      const LabelMap labels{s.volume.grid, s.voxels, {}};
      for (const char* name : {"a.nii", "a.nii.gz", "a.nrrd"}) {
        auto out = AtomicFile::create(dir.path(name));
        REQUIRE(write_labels(*out, *format_of_name(name), labels));
        REQUIRE(out->commit());
        const auto first = read_volume(dir.path(name));
        REQUIRE_MESSAGE(first, first.error().message());
        auto labels_again = to_labels(*first);
        REQUIRE(labels_again);
        CHECK(labels_again->voxels == s.voxels);
        for (std::size_t r = 0; r < 3; ++r)
          for (std::size_t c = 0; c < 4; ++c) {
            const double exact = s.volume.grid.affine.m[r][c];
            CHECK(first->grid.affine.m[r][c] == (name == std::string("a.nrrd") ? exact : double(float(exact))));
          }
        // From there on every bit stays.
        auto second = AtomicFile::create(dir.path(std::string("b") + name));
        REQUIRE(write_labels(*second, *format_of_name(name), *labels_again));
        REQUIRE(second->commit());
        const auto again = read_volume(dir.path(std::string("b") + name));
        REQUIRE(again);
        CHECK(again->grid.affine == first->grid.affine);
        CHECK(again->grid.nifti == first->grid.nifti);
        CHECK(again->grid.nrrd == first->grid.nrrd);
        if (name == std::string("a.nii")) CHECK(get_file(dir.path("a.nii")) == get_file(dir.path("ba.nii")));
      }
    }
}

TEST_CASE("slices of every type: windows, NaN, slopes, colours") {
  for (const VoxelType t : kAllVoxelTypes) {
    Stored s = store(kOrders[0], 3, kSteps[0], kTurns[0], t);  // axes as pictures have them: left, posterior, superior
    Volume& v = s.volume;
    v.slope = 0.5, v.intercept = -20;
    const auto reader = SliceReader::make(v, slice_plan(v.grid, Plane::axial), GreyRange{-10, 50});
    REQUIRE(reader);
    std::vector<std::uint8_t> picture(42);
    reader->read(1, picture.data());
    for (std::size_t n = 0; n < 42; ++n) {
      const double x = value_at(v, 42 + n);
      CHECK(picture[n] == (x <= -10 ? 0 : x >= 50 ? 255 : std::uint8_t((x + 10) / 60 * 255)));
    }
    CHECK_FALSE(SliceReader::make(v, slice_plan(v.grid, Plane::axial), std::nullopt).ok());
    for (const GreyRange bad : {GreyRange{1, 1}, {2, 1}, {0, std::numeric_limits<double>::infinity()}, {std::nan(""), 1}, {-1e308, 1e308}}) CHECK_FALSE(SliceReader::make(v, slice_plan(v.grid, Plane::axial), bad).ok());
  }
  Stored f = store(kOrders[0], 3, kSteps[0], kTurns[0], VoxelType::f32);
  for (const float odd : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
    std::memcpy(f.volume.data.writable(), &odd, 4);
    std::vector<std::uint8_t> picture(42);
    SliceReader::make(f.volume, slice_plan(f.volume.grid, Plane::axial), GreyRange{0, 100})->read(0, picture.data());
    CHECK(picture[0] == (odd > 0 ? 255 : 0));
  }
  Stored b = store(kOrders[0], 3, kSteps[0], kTurns[0], VoxelType::u8);
  std::vector<std::uint8_t> picture(42);
  SliceReader::make(b.volume, slice_plan(b.volume.grid, Plane::axial), std::nullopt)->read(2, picture.data());
  CHECK(std::equal(picture.begin(), picture.end(), b.voxels.begin() + 84));
  Volume rgb;
  rgb.grid.size = {3, 2, 1};
  rgb.grid.affine.m = {{{-1, 0, 0, 0}, {0, -1, 0, 0}, {0, 0, 1, 0}}};
  rgb.components = 4;
  rgb.data = VoxelData::adopt({1, 2, 3, 99, 4, 5, 6, 99, 7, 8, 9, 99, 10, 11, 12, 99, 13, 14, 15, 99, 16, 17, 18, 99}, 0, 24);
  const auto colours = SliceReader::make(rgb, slice_plan(rgb.grid, Plane::axial), std::nullopt);
  REQUIRE(colours);
  CHECK(colours->channels() == 3);
  std::vector<std::uint8_t> three(colours->bytes());
  colours->read(0, three.data());
  for (std::size_t i = 0; i < 18; ++i) CHECK(three[i] == i + 1);
}

TEST_CASE("affines: what is refused, and inverses of random good ones") {
  const double nan = std::nan(""), inf = std::numeric_limits<double>::infinity();
  const auto matrix = [](double a, double b, double c, double d = 0) {
    Affine m;
    m.m = {{{a, 0, 0, d}, {0, b, 0, 0}, {0, 0, c, 0}}};
    return m;
  };
  for (const Affine& bad : {matrix(nan, 1, 1), matrix(1, inf, 1), matrix(1, 1, 0), matrix(1e-9, 1, 1), matrix(1, 1e9, 1), matrix(1, 1, 1, nan), matrix(1, 1, 1, 1e10)}) CHECK(check(bad, "sform").error().message().rfind("sform: ", 0) == 0);
  CHECK(check(matrix(1e-3, 1, 1000, -1e5), "sform"));
  Rng rng(Seed{7});
  for (int n = 0; n < 200; ++n) {
    Affine a;
    for (auto& row : a.m)
      for (double& v : row) v = rng.uniform(-3, 3);
    if (!check(a, "") || std::abs(determinant(a)) < 0.5) continue;
    const Affine b = inverse(inverse(a));
    for (std::size_t r = 0; r < 3; ++r)
      for (std::size_t c = 0; c < 4; ++c) CHECK(b.m[r][c] == doctest::Approx(a.m[r][c]).epsilon(1e-9));
    CHECK(ras_to_lps(ras_to_lps(a)) == a);
  }
  Affine diagonal;  // 45 degrees: two assignments are equally near; the first in the order of the file counts, whatever the rounding
  diagonal.m = {{{1, -1, 0, 0}, {1, 1, 0, 0}, {0, 0, 1, 0}}};
  CHECK(axis_codes(diagonal) == "RAS");
}

TEST_CASE("streams: gzip by pieces, members, skips, and how much can still come") {
  std::string data(300'000, '\0');
  Rng rng(Seed{3});
  for (char& c : data) c = char(rng.next() & 7);
  const std::string zipped = gzip(data.substr(0, 100'000)) + gzip("") + gzip(data.substr(100'000));
  for (const bool gz : {false, true}) {
    const std::string& file = gz ? zipped : data;
    auto s = ByteStream::open(as_bytes(file), "f", gz);
    REQUIRE(s);
    CHECK(s->most_left() >= data.size());
    std::string got;
    for (const std::size_t n : {1u, 7u, 65'536u, 100'000u}) {
      std::string piece(n, 'x');
      REQUIRE(s->read(reinterpret_cast<std::uint8_t*>(piece.data()), n));
      got += piece;
    }
    CHECK(got == data.substr(0, got.size()));
    REQUIRE(s->skip(1000));
    const auto rest = s->finish(1 << 20);
    REQUIRE(rest);
    CHECK(*rest == data.size() - got.size() - 1000);
    CHECK_FALSE(s->skip(std::uint64_t(1) << 60).ok());
  }
  const TempDir dir;
  for (const bool gz : {false, true})
    for (const std::size_t n : {std::size_t(0), std::size_t(1), data.size()}) {
      auto out = AtomicFile::create(dir.path("o"));
      auto sink = ByteSink::open(*out, gz);
      REQUIRE(sink->write(std::string_view(data).substr(0, n / 2)));
      REQUIRE(sink->write(std::string_view(data).substr(n / 2, n - n / 2)));
      REQUIRE(sink->finish());
      REQUIRE(out->commit());
      const std::string file = get_file(dir.path("o"));
      CHECK((gz ? gunzip(file) : file) == data.substr(0, n));
      if (gz) CHECK(file.substr(4, 4) == std::string(4, '\0'));  // no time of writing
    }
}

TEST_CASE("names and contents decide formats; labels, colours") {
  CHECK(*format_of_name("a/b.NII.GZ") == FileFormat::nifti_gz);
  CHECK(*format_of_name("b.nii") == FileFormat::nifti);
  CHECK(*format_of_name("b.seg.nrrd") == FileFormat::nrrd);
  CHECK(*format_of_name("b.npz") == FileFormat::npz);
  for (const char* bad : {"b.png", "nii", ".nii", "b.nii.gz2", "", "b.nhdr"}) CHECK_FALSE(format_of_name(bad).ok());
  const TempDir dir;
  CHECK(read_volume(put_file(dir.path("a.nii"), "hello")).error().message().find("neither NIfTI") != std::string::npos);
  CHECK(read_volume(put_file(dir.path("wrong.ending"), nifti_of(VoxelType::u8).file(phantom_bytes(VoxelType::u8, false))))->grid.size == kPhantom);
  CHECK(read_volume(volume_fixture("sitk_u8.nrrd"))->grid.size == kPhantom);
  CHECK(read_volume(volume_fixture("cvpr24_3D.npz"))->grid.size == kPhantom);
  CHECK(labels_present({0, 3, 65535, 3, 1}) == std::vector<int>{1, 3, 65535});
  for (int a = 1; a < 12; ++a)
    for (int b = a + 1; b <= 12; ++b) CHECK(label_colour(a) != label_colour(b));
}
