// Metrics against the packages that define them (metric_fixtures/metrics.json, by make_metric_goldens.py), against brute force, for any thread count and layout.
#include "support/rng.hpp"

#include <sampan/metrics/compare.hpp>
#include <sampan/metrics/surface.hpp>
#include <sampan/metrics/surface_tables.hpp>
#include <sampan/metrics/voxel_surface.hpp>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <fstream>
#include <map>

using namespace sampan;
using namespace sampan::metrics;

namespace {

const nlohmann::json& goldens() {
  static const nlohmann::json j = [] {
    std::ifstream in(std::string(SAMPAN_TEST_DIR) + "/unit/metric_fixtures/metrics.json");
    REQUIRE(in.good());
    return nlohmann::json::parse(in);
  }();
  return j;
}

struct MaskData {
  std::array<Index, 3> shape;
  std::vector<std::uint8_t> v;
  MaskView view() const { return {v.data(), shape}; }
};
MaskData mask_of(const nlohmann::json& shape, const std::string& bits, std::uint8_t object = 1) {
  MaskData m{shape.get<std::array<Index, 3>>(), {}};
  for (const char c : bits) m.v.push_back(c == '1' ? object : std::uint8_t(0));
  REQUIRE(Index(m.v.size()) == m.shape[0] * m.shape[1] * m.shape[2]);
  return m;
}
Grid grid_of(const nlohmann::json& c) { return {c.value("rank", 3), c["spacing"].get<std::array<double, 3>>()}; }

MaskData random_mask(test::Rng& rng, std::array<Index, 3> shape, int of_ten) {
  MaskData m{shape, std::vector<std::uint8_t>(std::size_t(shape[0] * shape[1] * shape[2]))};
  for (auto& x : m.v) x = rng.below(10) < of_ten ? std::uint8_t(1 + rng.below(255)) : std::uint8_t(0);
  return m;
}

/// Equal within 1e-6 relative; NaN with NaN, infinity with infinity.
void check_equal(double got, const nlohmann::json& want) {
  if (want.is_string()) {
    CHECK((want == "nan" ? std::isnan(got) : std::isinf(got) && got > 0));
    return;
  }
  CHECK(std::fabs(got - want.get<double>()) <= 1e-6 * (1 + std::fabs(want.get<double>())));
}

}  // namespace

TEST_CASE("metrics: equal to surface-distance, MONAI and MedPy, every empty case among them") {
  int compared = 0;
  for (const auto& c : goldens()["cases"]) {
    const std::string name = c["name"];
    CAPTURE(name);
    const MaskData p = mask_of(c["shape"], c["pred"], 7), g = mask_of(c["shape"], c["gt"], 255);
    const CompareOptions o{.tolerance = c["tolerance"], .published_variants = true};
    for (const int threads : {1, 3}) {
      ThreadPool pool(threads);
      const auto s = compare(p.view(), g.view(), grid_of(c), o, pool);
      REQUIRE(s);
      std::map<std::string, double> got;
      for (const auto& [key, value] : named_scores(*s, o)) got[key] = value;
      for (const auto& [key, want] : c["scores"].items()) {
        const std::string metric = key;
        CAPTURE(metric);
        REQUIRE(got.count(metric) == 1);
        check_equal(got[metric], want);
        ++compared;
      }
      if (!c["scores"].contains("hd95_medpy")) CHECK(std::isnan(s->hd95_medpy));  // MedPy raises an exception there
    }
  }
  CHECK(compared > 500);
}

TEST_CASE("metrics: the distance transform is scipy's") {
  for (const auto& c : goldens()["edt"]) {
    ThreadPool pool(2);
    const auto d = distance_transform(mask_of(c["shape"], c["mask"]).view(), {3, c["spacing"].get<std::array<double, 3>>()}, pool);
    REQUIRE(d.size() == c["distances"].size());
    for (std::size_t i = 0; i < d.size(); ++i) CHECK(std::fabs(d[i] - c["distances"][i].get<double>()) <= 1e-12 * (1 + d[i]));
  }
}

TEST_CASE("metrics: the areas of all 256 patterns are the published ones, at two spacings") {
  for (const auto& c : goldens()["areas"]) {
    const auto areas = surface_areas(c["spacing"].get<std::array<double, 3>>());
    REQUIRE(c["area"].size() == 256);
    for (std::size_t i = 0; i < 256; ++i) {
      CAPTURE(i);
      CHECK(std::fabs(areas[i] - c["area"][i].get<double>()) <= 1e-5);  // the package's table holds five digits
    }
  }
}

TEST_CASE("metrics: distances between borders by brute force, anisotropic, any number of threads, strided views") {
  test::Rng rng(test::Seed{3});
  for (const auto& shape : {std::array<Index, 3>{1, 9, 40}, {7, 5, 18}, {1, 1, 30}, {20, 3, 2}, {3, 17, 1}}) {
    const Grid grid{shape[0] == 1 ? 2 : 3, {2.5, 0.7, 1.3}};
    const MaskData a = random_mask(rng, shape, 3), b = random_mask(rng, shape, 6);
    ThreadPool one(1);
    const Border p = voxel_border(a.view(), grid.rank, one), q = voxel_border(b.view(), grid.rank, one);
    const auto points = [&](const Border& border) {
      std::vector<std::array<double, 3>> v;
      for (Index i = 0; i < Index(border.code.size()); ++i)
        if (border.is_border(border.code[std::size_t(i)])) v.push_back({double(i / (shape[1] * shape[2])) * grid.spacing[0], double(i / shape[2] % shape[1]) * grid.spacing[1], double(i % shape[2]) * grid.spacing[2]});
      return v;
    };
    const auto from = points(p), to = points(q);
    REQUIRE(!to.empty());
    std::vector<double> first;
    for (const int threads : {1, 2, 3, 8}) {
      ThreadPool pool(threads);
      const auto d = border_distances(p, q, grid, pool);
      REQUIRE(d.size() == from.size());
      for (std::size_t i = 0; i < d.size(); ++i) {
        double least = 1e300;
        for (const auto& t : to) least = std::min(least, std::hypot(std::hypot(from[i][0] - t[0], from[i][1] - t[1]), from[i][2] - t[2]));
        CHECK(std::fabs(d[i] - least) <= 1e-12 * (1 + least));
      }
      if (first.empty()) first = d;
      CHECK(d == first);
    }
    // Every second sample of a row in a wider one: the same scores.
    std::vector<std::uint8_t> wide_a(a.v.size() * 2, 9), wide_b(b.v.size() * 2, 9);
    for (std::size_t i = 0; i < a.v.size(); ++i) wide_a[2 * i] = a.v[i], wide_b[2 * i] = b.v[i];
    const std::array<Index, 3> strides{2 * shape[1] * shape[2], 2 * shape[2], 2};
    const CompareOptions o{.tolerance = 1, .published_variants = true};
    const auto packed = compare(a.view(), b.view(), grid, o, one), strided = compare(MaskView(wide_a.data(), shape, strides), MaskView(wide_b.data(), shape, strides), grid, o, one);
    REQUIRE((packed && strided));
    const auto x = named_scores(*packed, o), y = named_scores(*strided, o);
    for (std::size_t i = 0; i < x.size(); ++i) CHECK((x[i].second == y[i].second || (std::isnan(x[i].second) && std::isnan(y[i].second))));
  }
}

TEST_CASE("metrics: near and far distances, deep volumes, long rows: brute force again") {
  test::Rng rng(test::Seed{5});
  // One element in `sparse` belongs to a mask: from distances of a few samples to those that only envelopes reach; more than 255 slices; an object far from the other.
  struct Row {
    std::array<Index, 3> shape;
    Index sparse;
    std::array<double, 3> spacing;
  };
  for (const Row& row : {Row{{2, 70, 90}, 40, {3, 0.5, 0.8}}, Row{{1, 120, 300}, 2000, {1, 1, 1}}, Row{{300, 4, 5}, 60, {0.5, 2, 1}}, Row{{4, 60, 70}, 0, {2, 1, 0.25}}, Row{{6, 40, 300}, 3000, {1, 7, 0.1}}}) {
    const auto& n = row.shape;
    const Grid grid{n[0] == 1 ? 2 : 3, row.spacing};
    MaskData a{n, std::vector<std::uint8_t>(std::size_t(n[0] * n[1] * n[2]))}, b = a;
    for (std::size_t i = 0; i < a.v.size(); ++i) {
      const Index y = Index(i) / n[2] % n[1], x = Index(i) % n[2];
      a.v[i] = row.sparse ? rng.below(row.sparse) == 0 : x < 6 && y < 50;
      b.v[i] = row.sparse ? rng.below(row.sparse) == 0 : x > 60 && y > 10;
    }
    ThreadPool pool(2);
    const Border p = corner_border(a.view(), grid.rank, pool), q = corner_border(b.view(), grid.rank, pool);
    std::vector<std::array<double, 3>> from, to;
    for (const auto& [border, list] : {std::pair(&p, &from), std::pair(&q, &to)})
      for (Index r = 0; r < border->rows(); ++r)
        for (Index x = 0; x < border->extent[2]; ++x)
          if (border->is_border(border->row(r)[x])) list->push_back({double(r / border->extent[1]) * row.spacing[0], double(r % border->extent[1]) * row.spacing[1], double(x) * row.spacing[2]});
    REQUIRE((Index(from.size()) == p.size() && !to.empty() && !from.empty()));
    const auto d = border_distances(p, q, grid, pool);
    REQUIRE(d.size() == from.size());
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < d.size(); ++i) {
      double least = 1e300;
      for (const auto& t : to) least = std::min(least, (from[i][0] - t[0]) * (from[i][0] - t[0]) + (from[i][1] - t[1]) * (from[i][1] - t[1]) + (from[i][2] - t[2]) * (from[i][2] - t[2]));
      wrong += !(std::fabs(d[i] - std::sqrt(least)) <= 1e-12 * (1 + std::sqrt(least)));
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("metrics: long lists are sorted as short ones") {
  test::Rng rng(test::Seed{6});
  std::vector<SurfaceElement> v(20000);
  for (std::size_t i = 0; i < v.size(); ++i) v[i] = {i % 7 == 0 ? std::numeric_limits<double>::infinity() : std::sqrt(double(rng.below(500))) * (i % 3 ? 1e-6 : 1e6), double(i)};
  auto want = v;
  std::stable_sort(want.begin(), want.end(), [](const auto& x, const auto& y) { return x.distance < y.distance; });
  metrics::detail::sort_by_distance(v, [](const SurfaceElement& e) { return e.distance; });
  for (std::size_t i = 0; i < v.size(); ++i) REQUIRE((v[i].distance == want[i].distance && v[i].size == want[i].size));
}

TEST_CASE("metrics: exchanging the masks exchanges the directions; volumes and counts") {
  test::Rng rng(test::Seed{4});
  const MaskData a = random_mask(rng, {6, 8, 9}, 4), b = random_mask(rng, {6, 8, 9}, 5);
  const Grid grid{3, {2, 0.5, 0.25}};
  ThreadPool pool(2);
  const auto s = compare(a.view(), b.view(), grid, {.tolerance = 1}, pool), t = compare(b.view(), a.view(), grid, {.tolerance = 1}, pool);
  REQUIRE((s && t));
  CHECK(s->dice == t->dice);
  CHECK(s->asd_gt_to_pred == t->asd_pred_to_gt);
  CHECK(s->hd95 == t->hd95);
  const Index n = std::count_if(a.v.begin(), a.v.end(), [](auto v) { return v != 0; });
  CHECK(s->counts.pred == n);
  CHECK(s->volume_pred == double(n) * 0.25);
  CHECK(std::isnan(s->hd95_monai));  // not asked for
  CHECK(s->iou == doctest::Approx(s->dice / (2 - s->dice)));
}

TEST_CASE("metrics: what cannot be compared is refused by name") {
  const MaskData a{{1, 4, 5}, std::vector<std::uint8_t>(20, 1)}, b{{1, 5, 4}, std::vector<std::uint8_t>(20, 1)}, c{{2, 2, 5}, std::vector<std::uint8_t>(20, 1)};
  ThreadPool pool(1);
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto refused = [&](const MaskView& p, const MaskView& g, const Grid& grid, const CompareOptions& o, const char* word) {
    const auto s = compare(p, g, grid, o, pool);
    REQUIRE(!s);
    CHECK(s.error().code() == ErrorCode::invalid_argument);
    CHECK_MESSAGE(s.error().message().find(word) != std::string::npos, s.error().message());
  };
  refused(a.view(), b.view(), {}, {}, "one grid");
  refused(c.view(), c.view(), {}, {}, "one slice");
  refused(a.view(), a.view(), {4, {1, 1, 1}}, {}, "rank");
  refused(a.view(), a.view(), {2, {1, 0, 1}}, {}, "spacing");
  refused(a.view(), a.view(), {2, {1, nan, 1}}, {}, "spacing");
  refused(a.view(), a.view(), {}, {.tolerance = nan}, "tolerance");
  refused(a.view(), a.view(), {}, {.tolerance = -1}, "tolerance");
  refused(MaskView(nullptr, {1, 4, 5}), a.view(), {}, {}, "null");
  refused(MaskView(a.v.data(), {1, 0, 5}), a.view(), {}, {}, "at least 1");
}
