// sampan metrics: pictures and scans of labels, equal to the library's numbers; and what it refuses.
#include "cli/program.hpp"

#include "examples/medical/nifti.hpp"
#include "examples/medical/npz.hpp"
#include "examples/medical/nrrd.hpp"

#include <sampan/image/mask_codec.hpp>
#include <sampan/metrics/compare.hpp>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include <cmath>

using namespace sampan;
using namespace sampan::test;

namespace {

constexpr Index kH = 24, kW = 30;

/// Discs of label 1 and 2; the prediction's are moved.
std::vector<std::uint16_t> discs(int move) {
  std::vector<std::uint16_t> v(std::size_t(kH * kW));
  for (Index y = 0; y < kH; ++y)
    for (Index x = 0; x < kW; ++x) {
      if ((y - 10) * (y - 10) + (x - 9 - move) * (x - 9 - move) < 36) v[std::size_t(y * kW + x)] = 1;
      if ((y - 14) * (y - 14) + (x - 22) * (x - 22) < 16 + 3 * move) v[std::size_t(y * kW + x)] = 300;
    }
  return v;
}

void write_png(const Folder& f, const char* name, const std::vector<std::uint16_t>& v, Index h = kH, Index w = kW) {
  std::vector<std::uint8_t> png;
  REQUIRE(encode_labels_png(View<const std::uint16_t, 2>(v.data(), {h, w}), png).ok());
  REQUIRE(write_atomically((f / name).string(), png).ok());
}

void write_scan(const Folder& f, const char* name, const std::vector<std::uint16_t>& v, double move = 0) {
  medical::Grid grid;
  grid.size = {kW, kH, 1};
  grid.affine.m = {{{0.5, 0, 0, move}, {0, 0.75, 0, 0}, {0, 0, 3, 0}}};
  const medical::LabelMap labels{grid, v, {}};
  AtomicFile out = AtomicFile::create((f / name).string()).value();
  REQUIRE(medical::write_nifti_labels(out, true, labels).ok());
  REQUIRE(out.commit().ok());
}

}  // namespace

TEST_CASE("metrics: pictures, every label of both files, numbers of the library") {
  Folder f;
  const auto p = discs(2), g = discs(0);
  write_png(f, "p.png", p);
  write_png(f, "g.png", g);
  const auto j = nlohmann::json::parse(f.ok({"metrics", "p.png", "g.png", "--json", "--spacing", "0.5,0.75", "--tolerance", "1", "--published"}).out);
  REQUIRE(j["labels"].size() == 2);
  CHECK(j["unit"] == "pixel");
  ThreadPool pool(1);
  for (const auto& row : j["labels"]) {
    const int label = row["label"];
    std::vector<std::uint8_t> a, b;
    for (std::size_t i = 0; i < p.size(); ++i) a.push_back(p[i] == label), b.push_back(g[i] == label);
    const metrics::CompareOptions o{.tolerance = 1, .published_variants = true};
    const auto s = metrics::compare({a.data(), {1, kH, kW}}, {b.data(), {1, kH, kW}}, {2, {1, 0.75, 0.5}}, o, pool);
    REQUIRE(s);
    for (const auto& [name, value] : metrics::named_scores(*s, o)) {
      const std::string metric = name;
      CAPTURE(metric);
      CHECK(row[metric].get<double>() == value);
    }
  }
  const std::string text = f.ok({"metrics", "p.png", "g.png"}).out;
  for (const char* word : {"label", "300", "dice", "hd95", "volume_gt"}) CHECK(text.find(word) != std::string::npos);
}

TEST_CASE("metrics: scans take their voxel size from the file; undefined is null") {
  Folder f;
  auto p = discs(2), g = discs(0);
  for (auto& x : g) x = x == 300 ? std::uint16_t(7) : x;  // 300 only in the prediction, 7 only in the truth
  write_scan(f, "p.nii.gz", p);
  write_scan(f, "g.nii.gz", g);
  const auto j = nlohmann::json::parse(f.ok({"metrics", "p.nii.gz", "g.nii.gz", "--json"}).out);
  CHECK(j["unit"] == "mm");
  CHECK(j["spacing"] == nlohmann::json::array({0.5, 0.75, 3.0}));
  REQUIRE(j["labels"].size() == 3);
  for (const auto& row : j["labels"]) {
    if (row["label"] == 1) {
      const auto n = double(std::count(g.begin(), g.end(), 1));
      CHECK(row["volume_gt"].get<double>() == doctest::Approx(n * 0.5 * 0.75 * 3));
      CHECK(row["dice"].get<double>() > 0.5);
    } else {
      CHECK(row["dice"] == 0.0);
      CHECK(row["hd95"] == "inf");
    }
    if (row["label"] == 300) CHECK(row["relative_volume_difference"].is_null());
  }
  f.ok({"metrics", "p.nii.gz", "p.nii.gz"});
}

TEST_CASE("metrics: nothing but background is no error") {
  Folder f;
  write_png(f, "e.png", std::vector<std::uint16_t>(std::size_t(kH * kW)));
  CHECK(f.ok({"metrics", "e.png", "e.png"}).out.find("background only") != std::string::npos);
  CHECK(nlohmann::json::parse(f.ok({"metrics", "e.png", "e.png", "--json"}).out)["labels"].empty());
}

TEST_CASE("metrics: NRRD, and npz with its segs or gts") {
  Folder f;
  const auto p = discs(2), g = discs(0);
  write_scan(f, "p.nii.gz", p);
  write_scan(f, "g.nii.gz", g);
  const auto want = nlohmann::json::parse(f.ok({"metrics", "p.nii.gz", "g.nii.gz", "--json"}).out);
  CHECK((want["unit"] == "mm" && want["timings_ms"]["metrics"] > 0 && want["threads"] > 0));
  medical::Grid grid;
  grid.size = {kW, kH, 1};
  grid.affine.m = {{{0.5, 0, 0, 0}, {0, 0.75, 0, 0}, {0, 0, 3, 0}}};
  for (const auto& [name, v] : {std::pair("p.nrrd", &p), std::pair("g.nrrd", &g)}) {
    AtomicFile out = AtomicFile::create((f / name).string()).value();
    REQUIRE(medical::write_nrrd_labels(out, {grid, *v, {}}).ok());
    REQUIRE(out.commit().ok());
  }
  for (const auto& [name, member, v] : {std::tuple("p.npz", "segs", &p), std::tuple("g.npz", "gts", &g)}) {
    AtomicFile out = AtomicFile::create((f / name).string()).value();
    REQUIRE(medical::write_npz(out, member, medical::VoxelType::u16, {1, std::int64_t(kH), std::int64_t(kW)}, as_bytes(std::string_view(reinterpret_cast<const char*>(v->data()), v->size() * 2))).ok());
    REQUIRE(out.commit().ok());
  }
  for (const Words& files : {Words{"p.nrrd", "g.nrrd"}, {"p.nii.gz", "g.nrrd"}, {"p.npz", "g.nrrd"}, {"p.nii.gz", "g.npz"}}) {
    const auto j = nlohmann::json::parse(f.ok({"metrics", files[0], files[1], "--json"}).out);
    CHECK((j["labels"] == want["labels"] && j["unit"] == "mm"));
  }
  CHECK(nlohmann::json::parse(f.ok({"metrics", "p.npz", "g.npz", "--json"}).out)["unit"] == "voxel");
  write_png(f, "p.png", p);
  check_refused(f.run({"metrics", "p.npz", "p.png"}), 3, "a scan and a picture cannot be compared");
  AtomicFile out = AtomicFile::create((f / "no.npz").string()).value();
  REQUIRE(medical::write_npz(out, "other", medical::VoxelType::u16, {1, 1, 1}, as_bytes(std::string_view("ab"))).ok());
  REQUIRE(out.commit().ok());
  check_refused(f.run({"metrics", "no.npz", "p.npz"}), 3, "has neither segs.npy nor gts.npy");
}

TEST_CASE("metrics: what cannot be compared is refused with a code and one line") {
  Folder f;
  write_png(f, "p.png", discs(0));
  write_png(f, "small.png", std::vector<std::uint16_t>(20 * 30, 1), 20, 30);
  write_scan(f, "g.nii.gz", discs(0));
  write_scan(f, "moved.nii.gz", discs(0), 1);
  const std::vector<std::uint8_t> rgb(12, 5);
  std::vector<std::uint8_t> png;
  REQUIRE(encode_png({rgb.data(), {2, 2, 3}}, png).ok());
  REQUIRE(write_atomically((f / "rgb.png").string(), png).ok());
  REQUIRE(write_atomically((f / "cut.nii.gz").string(), std::vector<std::uint8_t>{0x1f, 0x8b, 8, 0}).ok());
  REQUIRE(write_atomically((f / "empty.png").string(), std::vector<std::uint8_t>{}).ok());
  const struct {
    Words call;
    int code;
    const char* word;
  } table[] = {
      {{"metrics"}, 2, "two files"},
      {{"metrics", "p.png"}, 2, "two files"},
      {{"metrics", "p.png", "p.png", "p.png"}, 2, "p.png"},
      {{"metrics", "p.png", "nowhere.png"}, 3, "nowhere.png"},
      {{"metrics", "p.png", "small.png"}, 3, "30x20"},
      {{"metrics", "p.png", "g.nii.gz"}, 3, "scan and a picture"},
      {{"metrics", "g.nii.gz", "moved.nii.gz"}, 3, "affines"},
      {{"metrics", "rgb.png", "rgb.png"}, 3, "grey"},
      {{"metrics", "cut.nii.gz", "cut.nii.gz"}, 3, "cut.nii.gz"},
      {{"metrics", "empty.png", "p.png"}, 3, "empty.png"},
      {{"metrics", "p.png", "p.png", "--tolerance", "-1"}, 2, "--tolerance"},
      {{"metrics", "p.png", "p.png", "--tolerance", "nan"}, 2, "--tolerance"},
      {{"metrics", "p.png", "p.png", "--spacing", "1"}, 2, "--spacing"},
      {{"metrics", "p.png", "p.png", "--spacing", "0,1"}, 2, "--spacing"},
      {{"metrics", "p.png", "p.png", "--spacing", "1,2,3,4"}, 2, "--spacing"},
      {{"metrics", "p.png", "p.png", "--threads", "0"}, 2, "--threads"},
      {{"metrics", "p.png", "p.png", "--model", "x"}, 2, "--model"},
  };
  for (const auto& row : table) {
    const Ran r = f.run(row.call);
    std::string shown;
    for (const auto& w : row.call) shown += w + " ";
    CAPTURE(shown);
    CAPTURE(r.err);
    CHECK(r.code == row.code);
    CHECK(r.err.find(row.word) != std::string::npos);
    CHECK(std::count(r.err.begin(), r.err.end(), '\n') == 1);
    CHECK(r.out.empty());
  }
}
