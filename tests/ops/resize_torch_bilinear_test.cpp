// PyTorch's bilinear interpolation: goldens, the definition in double, strided maps, the one-dimensional form.
#include "ops/resize_cases.hpp"

#include <sampan/ops/resize_torch_bilinear.hpp>

using namespace sampan;
using namespace sampan::test;

namespace {

const auto kOp = [](auto& ctx, const View<const float, 3>& in, const View<float, 3>& out) { resize_torch_bilinear(ctx, in, out); };

double largest(const std::vector<float>& v) {
  double m = 0;
  for (const float x : v) m = std::max(m, double(std::abs(x)));
  return m;
}

/// The definition with exact positions.
double oracle(const std::vector<float>& in, std::array<Index, 3> shape, Index oh, Index ow, Index y, Index x, Index c) {
  const auto tap = [](Index o, Index n, Index out, Index& i0, Index& i1) {
    const double at = std::max(0.0, (double(o) + 0.5) * double(n) / double(out) - 0.5);
    i0 = std::min(Index(at), n - 1), i1 = std::min(i0 + 1, n - 1);
    return at - double(i0);
  };
  Index y0, y1, x0, x1;
  const double ty = tap(y, shape[0], oh, y0, y1), tx = tap(x, shape[1], ow, x0, x1);
  const auto at = [&](Index v, Index u) { return double(in[std::size_t((v * shape[1] + u) * shape[2] + c)]); };
  return (1 - ty) * ((1 - tx) * at(y0, x0) + tx * at(y0, x1)) + ty * ((1 - tx) * at(y1, x0) + tx * at(y1, x1));
}

}  // namespace

TEST_CASE("resize_torch_bilinear equals PyTorch within 1e-6 of the largest value") {
  const auto cases = resize_cases("torch_bilinear");
  for (const ResizeCase& c : cases) each_pixel_level([&] {
    CAPTURE(c.name);
    const std::vector<float> in(c.input.begin(), c.input.end());
    const auto out = resize_guarded<float>(kOp, in, c.in, c.oh, c.ow);
    double worst = 0;
    c.each([&](std::size_t k, std::size_t i) {
      const double e = std::abs(double(out[i]) - double(c.floats[k]));
      if (!(e <= worst)) worst = e;
    });
    CHECK(worst <= 1e-6 * std::max(1.0, largest(in)));
  });
}

TEST_CASE("resize_torch_bilinear against the definition in double") {
  // u = 2^-24. The float scale moves a position by at most n u, and a value by at most 2 R n u per axis; each axis rounds two weights, two products and a sum
  // of values up to R: 5 R u. A fused multiply-add only drops one of them.
  for (const Sizes& s : kResizeSizes) each_pixel_level([&] {
    const auto in = hash_fill(8, "definition", {s.h, s.w, s.c});
    const auto out = resize_guarded<float>(kOp, in, {s.h, s.w, s.c}, s.oh, s.ow, 2);
    const double bound = largest(in) * 0x1p-24 * double(2 * s.h + 2 * s.w + 10);
    for (Index y = 0; y < s.oh; ++y)
      for (Index x = 0; x < s.ow; ++x)
        for (Index c = 0; c < s.c; ++c) CHECK(std::abs(double(out[std::size_t((y * s.ow + x) * s.c + c)]) - oracle(in, {s.h, s.w, s.c}, s.oh, s.ow, y, x, c)) <= bound);
  });
}

TEST_CASE("resize_torch_bilinear reads and writes any strides") {
  const Index h = 9, w = 7, c = 3, oh = 20, ow = 5;
  const auto planes = hash_fill(8, "planes", {c, h, w});  // as PyTorch holds it: [c, h, w]
  std::vector<float> packed, seen(std::size_t(c * oh * ow), -1.0f);
  for (Index i = 0; i < h * w; ++i)
    for (Index k = 0; k < c; ++k) packed.push_back(planes[std::size_t(k * h * w + i)]);
  const auto want = resize_guarded<float>(kOp, packed, {h, w, c}, oh, ow);
  const View<const float, 3> in(planes.data(), {h, w, c}, {w, 1, h * w});
  const View<float, 3> out(seen.data(), {oh, ow, c}, {ow, 1, oh * ow});
  REQUIRE(planned_run(3, [&](auto& ctx) { resize_torch_bilinear(ctx, in, out); }));
  for (Index i = 0; i < oh * ow; ++i)
    for (Index k = 0; k < c; ++k) CHECK(seen[std::size_t(k * oh * ow + i)] == want[std::size_t(i * c + k)]);
  // One plane as rank 2, and a crop of a larger plane.
  const auto big = hash_fill(8, "crop", {30, 40});
  const View<const float, 2> crop(big.data() + 5 * 40 + 3, {h, w}, {40, 1});
  std::vector<float> cropped, plane(std::size_t(oh * ow));
  for (Index y = 0; y < h; ++y)
    for (Index x = 0; x < w; ++x) cropped.push_back(crop(y, x));
  REQUIRE(planned_run(2, [&](auto& ctx) { resize_torch_bilinear(ctx, crop, View<float, 2>(plane.data(), {oh, ow})); }));
  CHECK(plane == resize_guarded<float>(kOp, cropped, {h, w, 1}, oh, ow));
}

TEST_CASE("resize_torch_linear is the bilinear resize of a table with equal columns") {
  for (const auto& pair : {std::array<Index, 2>{127, 63}, {39, 27}, {27, 127}, {5, 5}, {1, 3}}) {
    const Index rows = pair[0], out_rows = pair[1], d = 8;
    const auto table = hash_fill(8, "table", {rows, d});
    std::vector<float> out(std::size_t(out_rows * d));
    REQUIRE(planned_run(2, [&](auto& ctx) { resize_torch_linear(ctx, View<const float, 2>(table.data(), {rows, d}), View<float, 2>(out.data(), {out_rows, d})); }));
    CHECK(out == resize_guarded<float>(kOp, table, {rows, d, 1}, out_rows, d));
  }
}

TEST_CASE("resize_torch_bilinear: equal sizes are a copy, a NaN stays a NaN and does not spread beyond its two neighbours") {
  const auto in = hash_fill(8, "same", {13, 9, 4});
  CHECK(resize_guarded<float>(kOp, in, {13, 9, 4}, 13, 9) == in);
  const auto out = resize_guarded<float>(kOp, std::vector<float>{1, 2, 3, std::numeric_limits<float>::quiet_NaN()}, {1, 4, 1}, 1, 8);
  CHECK(out[1] == 1.25f);
  CHECK(out[4] == 2.75f);
  for (std::size_t i = 5; i < 8; ++i) CHECK(std::isnan(out[i]));
}

TEST_CASE("resize_torch_bilinear: threads, strides, guards, plan") { sweep_structure<float>(kOp); }

TEST_CASE("resize_torch_bilinear refuses bad extents and writes nothing") {
  std::vector<float> in(300, 1.0f);
  Picture<float> out(4, 4, 3);
  float *i = in.data(), *o = out.view().data();
  const auto refused = [&](View<const float, 3> a, View<float, 3> b) {
    const Status s = planned_run(1, [&](auto& ctx) { resize_torch_bilinear(ctx, a, b); });
    REQUIRE(!s);
    CHECK(s.error().code() == ErrorCode::invalid_argument);
  };
  refused({i, {5, 5, 3}}, {o, {4, 4, 2}});
  refused({i, {0, 5, 3}}, {o, {4, 4, 3}});
  refused({i, {5, 5, 3}}, {o, {0, 4, 3}});
  refused({i, {5, Index(1) << 30, 3}}, {o, {4, 4, 3}});
  CHECK(out.untouched());
}
