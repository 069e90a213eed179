// bench_metrics: NSD, HD95, ASSD and the rest of a pair of masks of 512x512x200 voxels, as `sampan metrics` and `sampan evaluate` ask for them.
//   bench_metrics --threads 1,2            bench_metrics --shapes organ,far
// Data flow: two masks made here -> metrics/compare.hpp. Bytes: both masks read once, which is the floor; what lies around the surfaces is far less.
// Shapes: organ (a large object, prediction a few voxels off), small (the same at a fifth), far (two objects that share nothing), noise (islands everywhere).
// Error: 200 distances of border elements against every border element of the other mask (must be equal but for rounding).
// Deliberately absent: the package itself (peers/metrics.py runs it in turn with the command line).
#include "harness.hpp"

#include <sampan/metrics/compare.hpp>
#include <sampan/metrics/distance_transform.hpp>

#include <cmath>

#include "support/rng.hpp"

#include <memory>

namespace {
using namespace bench;
using namespace sampan;

constexpr Index kWidth = 512, kHeight = 512, kDepth = 200;
constexpr std::array<double, 3> kSpacing{2.5, 0.8, 0.8};

struct Pair {
  std::vector<std::uint8_t> pred = std::vector<std::uint8_t>(std::size_t(kWidth * kHeight * kDepth)), gt = pred;
  metrics::MaskView view(const std::vector<std::uint8_t>& v) const { return {v.data(), {kDepth, kHeight, kWidth}}; }
};

/// An ellipsoid with waves on its surface; `scale` 1 has half axes of 135, 115 and 65 voxels.
void blob(std::vector<std::uint8_t>& mask, double cx, double cy, double cz, double scale, double waves) {
  for (Index z = 0; z < kDepth; ++z)
    for (Index y = 0; y < kHeight; ++y)
      for (Index x = 0; x < kWidth; ++x) {
        const double u = (double(x) - cx) / (135 * scale), v = (double(y) - cy) / (115 * scale), w = (double(z) - cz) / (65 * scale);
        const double r = u * u + v * v + w * w;
        if (r > 1.5) continue;
        if (r < 1 + waves * std::sin(9 * u) * std::sin(7 * v + 1) * std::cos(5 * w)) mask[std::size_t((z * kHeight + y) * kWidth + x)] = 1;
      }
}

Pair make(const std::string& shape) {
  Pair p;
  if (shape == "organ") blob(p.gt, 230, 260, 100, 1, 0.15), blob(p.pred, 233, 258, 101, 0.98, 0.1);
  else if (shape == "small") blob(p.gt, 230, 260, 100, 0.2, 0.15), blob(p.pred, 231, 259, 100, 0.2, 0.1);
  else if (shape == "far") blob(p.gt, 140, 130, 60, 0.6, 0.15), blob(p.pred, 370, 380, 140, 0.6, 0.1);
  else if (shape == "noise") {
    test::Rng rng(test::Seed{7});
    for (auto* mask : {&p.gt, &p.pred})
      for (int i = 0; i < 3000; ++i) (*mask)[std::size_t(rng.below(std::ptrdiff_t(mask->size())))] = 1;
  } else {
    die("--shapes: organ, small, far, noise");
  }
  return p;
}

/// Distances of some border elements by looking at all others.
Accuracy check(const Pair& p) {
  ThreadPool pool(1);
  const metrics::Grid grid{3, kSpacing};
  const metrics::Region box = metrics::bounds(p.view(p.pred), p.view(p.gt), pool);
  const auto a = metrics::corner_border(metrics::crop(p.view(p.pred), box), 3, pool), b = metrics::corner_border(metrics::crop(p.view(p.gt), box), 3, pool);
  const auto d = metrics::border_distances(a, b, grid, pool);
  const auto places = [](const metrics::Border& border) {
    std::vector<std::array<double, 3>> out;
    for (Index r = 0; r < border.rows(); ++r)
      border.each(r, [&](Index x, Index) { out.push_back({double(r / border.extent[1]) * kSpacing[0], double(r % border.extent[1]) * kSpacing[1], double(x) * kSpacing[2]}); });
    return out;
  };
  const auto from = places(a), to = places(b);
  double worst = 0;
  for (std::size_t i = 0; i < from.size(); i += 1 + from.size() / 200) {
    double least = std::numeric_limits<double>::infinity();
    for (const auto& t : to) least = (std::min)(least, std::hypot(from[i][0] - t[0], from[i][1] - t[1], from[i][2] - t[2]));
    worst = (std::max)(worst, std::fabs(d[i] - least) / (1 + least));
  }
  return {worst, "brute force", worst <= 1e-12 ? "" : "a distance is not the least"};
}

void run_shape(Harness& h, const std::string& shape) {
  if (!h.wanted(shape)) return;
  const auto pair = std::make_shared<const Pair>(make(shape));
  std::vector<Case> group;
  for (const int threads : h.threads()) {
    const auto pool = std::make_shared<ThreadPool>(threads);
    Row row;
    row.name = cat(shape, ", ", kWidth, "x", kHeight, "x", kDepth), row.threads = threads;
    row.bytes = double(pair->pred.size() + pair->gt.size());
    const auto run = [=] { return milliseconds_of([&] { take(metrics::compare(pair->view(pair->pred), pair->view(pair->gt), {3, kSpacing}, {}, *pool)); }); };
    group.push_back({std::move(row), run, [=] { return check(*pair); }});
  }
  h.run(std::move(group));
}

}  // namespace

int main(int argc, char** argv) {
  Harness h(argc, argv, "metrics of a pair of masks of 512x512x200 voxels (--shapes organ,small,far,noise)");
  for (const auto& shape : h.shapes({"organ", "small", "far", "noise"})) run_shape(h, shape);
  return h.report();
}
