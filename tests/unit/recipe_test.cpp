// examples/medical/recipe.hpp and clean.hpp: percentiles as numpy has them, recipes by modality; components, holes and sizes on small shapes.
#include <doctest/doctest.h>

#include <cstdio>

#include "examples/medical/clean.hpp"
#include "examples/medical/recipe.hpp"
#include "support/rng.hpp"
#include "support/volume_files.hpp"

using namespace sampan;
using namespace sampan::medical;
using namespace sampan::test;

namespace {

template <class T>
Volume volume_of(const std::vector<T>& values, VoxelType type) {
  Volume v;
  v.grid.size = {std::int64_t(values.size()), 1, 1};
  v.type = type;
  v.data = std::move(*VoxelData::allocate(values.size() * sizeof(T)));
  std::memcpy(v.data.writable(), values.data(), values.size() * sizeof(T));
  return v;
}
/// numpy.percentile (linear) of the values above `above`, by its definition.
double numpy_percentile(std::vector<double> x, double p, double above) {
  x.erase(std::remove_if(x.begin(), x.end(), [&](double v) { return !(v > above); }), x.end());
  std::sort(x.begin(), x.end());
  const double at = p / 100 * double(x.size() - 1);
  const std::size_t i = std::size_t(at);
  return i + 1 < x.size() ? x[i] + (at - double(i)) * (x[i + 1] - x[i]) : x[i];
}

/// Masks drawn as text: planes separated by '/', rows by ' '.
std::vector<std::uint8_t> drawn(const std::string& text, Extent3& size) {
  std::vector<std::uint8_t> m;
  size = {0, 1, 1};
  for (const char c : text) {
    if (c == '/') ++size[2];
    if (c == ' ' && size[2] == 1) ++size[1];
    if (c == '#' || c == '.') m.push_back(c == '#');
  }
  size[0] = std::int64_t(m.size()) / (size[1] * size[2]);
  return m;
}
std::string cleaned(const std::string& text, const CleanOptions& o, CleanReport* report = nullptr) {
  Extent3 size;
  auto m = drawn(text, size);
  const CleanReport r = clean(m, size, o);
  if (report) *report = r;
  std::string out = text;
  std::size_t at = 0;
  for (char& c : out)
    if (c == '#' || c == '.') c = m[at++] ? '#' : '.';
  return out;
}

}  // namespace

TEST_CASE("percentiles are numpy's, exact for 8 and 16 bits, within a bin for wider types") {
  Rng rng(Seed{5});
  for (const double slope : {1.0, 0.5, -2.0}) {
    std::vector<std::int16_t> x;
    std::vector<double> values;
    for (int i = 0; i < 1001; ++i) x.push_back(std::int16_t(rng.below(4000) - 1500));
    Volume v = volume_of(x, VoxelType::i16);
    v.slope = slope, v.intercept = 3;
    for (const auto s : x) values.push_back(slope * s + 3);
    for (const double above : {0.0, -1e9}) {
      const auto p = percentiles(v, {0, 0.5, 33.3, 50, 99.5, 100}, above);
      REQUIRE(p);
      std::size_t n = 0;
      for (const double q : {0.0, 0.5, 33.3, 50.0, 99.5, 100.0}) CHECK((*p)[n++] == doctest::Approx(numpy_percentile(values, q, above)).epsilon(1e-12));
    }
  }
  std::vector<float> f;
  std::vector<double> values;
  for (int i = 0; i < 5000; ++i) f.push_back(rng.uniform(-10, 500)), values.push_back(double(f.back()));
  f.push_back(std::numeric_limits<float>::quiet_NaN());
  f.push_back(std::numeric_limits<float>::infinity());
  const Volume v = volume_of(f, VoxelType::f32);
  const auto p = percentiles(v, {0.5, 99.5}, 0);
  REQUIRE(p);
  CHECK(std::abs((*p)[0] - numpy_percentile(values, 0.5, 0)) <= 500.0 / 65535);
  CHECK(std::abs((*p)[1] - numpy_percentile(values, 99.5, 0)) <= 500.0 / 65535);
  CHECK(extremes(v).odd == 2);
  CHECK_FALSE(percentiles(volume_of(std::vector<std::uint8_t>{0, 0}, VoxelType::u8), {50}, 0));
}

TEST_CASE("recipes: by name, by modality, by the file; never by a guess") {
  Volume v = volume_of(std::vector<std::int16_t>{-1000, 0, 100, 200, 300, 1000}, VoxelType::i16);
  const auto chosen = [&](const std::string& name, std::optional<GreyRange> in_file = {}) -> std::string {
    const auto r = choose_recipe(v, name, in_file);
    if (!r) return r.error().message();
    char range[64] = "-";
    if (r->range) std::snprintf(range, sizeof range, "%.9g %.9g", r->range->low, r->range->high);
    return cat(r->name, " ", range);
  };
  CHECK(chosen("auto") == "int16 voxels with values from -1000 to 1000: say what they are");
  CHECK(chosen("auto", GreyRange{-10, 90}) == "window of the file -10 90");
  v.modality = "CT";
  CHECK(chosen("auto", GreyRange{-10, 90}) == "ct soft-tissue -160 240");
  CHECK(chosen("lung") == "ct lung -1350 150");
  CHECK(chosen("brain") == "ct brain 0 80");
  CHECK(chosen("bone") == "ct bone -500 1300");
  CHECK(chosen("liver") == "ct liver -45 105");
  v.modality = "MR";
  CHECK(chosen("auto") == "percentile 101.5 989.5");  // of 100 200 300 1000: 100 + 0.015 * 100, 300 + 0.985 * 700
  v.modality = "PT";
  CHECK(chosen("auto") == "pet 0 989.5");
  CHECK(chosen("full") == "full -1000 1000");
  CHECK(chosen("file") == "recipe file: the file holds no window");
  CHECK(chosen("as-is").find("it is for plain 8-bit voxels") != std::string::npos);
  CHECK(chosen("purple").find("unknown window preset \"purple\"") == 0);
  v = volume_of(std::vector<std::uint8_t>{1, 2}, VoxelType::u8);
  CHECK(chosen("auto") == "as is -");
  v = volume_of(std::vector<std::uint8_t>{0, 0}, VoxelType::u8);
  CHECK(chosen("percentile") == "recipe percentile: no voxel is above 0");
  CHECK(chosen("full") == "full 0 1");
}

TEST_CASE("cleaning: the largest of 26-connected components, sizes, holes that no path of faces opens") {
  CleanReport r;
  CHECK(cleaned("##..# ##..#/##..# ....#", {}, &r) == "##..# ##..#/##..# ....#");
  CHECK(cleaned("##..# ##..#/##..# ....#", {.largest = true}, &r) == "##... ##.../##... .....");
  CHECK(r.components == 2);
  CHECK(r.removed == 4);
  CHECK(cleaned("#.... .#.../..#.. ...#.", {.largest = true}, &r) == "#.... .#.../..#.. ...#.");  // corners join
  CHECK(r.components == 1);
  CHECK(cleaned("#.#.## ......", {.min_voxels = 2}, &r) == "....## ......");
  CHECK(r.removed_components == 2);
  CHECK(cleaned("#.#", {.largest = true}) == "#..");  // of equal ones the first
  CHECK(cleaned("#.#", {.min_voxels = 5}) == "...");
  CHECK(cleaned("###.. #.#.. ###..", {.fill_holes = true}) == "###.. #.#.. ###..");  // one plane: open above and below
  const std::string shell = "##### ##### ##### ##### #####/##### #...# #...# #...# #####/##### ##### ##### ##### #####";
  CHECK(cleaned(shell, {.fill_holes = true}, &r) == "##### ##### ##### ##### #####/##### ##### ##### ##### #####/##### ##### ##### ##### #####");
  CHECK(r.filled == 9);
  std::string corner = shell;
  corner[0] = '.';  // a missing corner opens nothing: (0,0,0) touches the cavity by no face
  CHECK(cleaned(corner, {.fill_holes = true}, &r) == ".#### ##### ##### ##### #####/##### ##### ##### ##### #####/##### ##### ##### ##### #####");
  std::string open = shell;
  open[14] = '.';  // above the middle: a door
  CHECK(cleaned(open, {.fill_holes = true}, &r) == open);
  CHECK(cleaned("..... .....", {.largest = true, .fill_holes = true, .min_voxels = 3}) == "..... .....");
}
