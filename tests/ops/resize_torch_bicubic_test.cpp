// PyTorch's bicubic interpolation against its definition in double, strided maps, threads. The goldens of EfficientSAM, EdgeSAM and EfficientViT-SAM hold PyTorch's own values.
#include "ops/resize_cases.hpp"

#include <sampan/ops/resize_torch_bicubic.hpp>

using namespace sampan;
using namespace sampan::test;

namespace {

const auto kOp = [](auto& ctx, const View<const float, 3>& in, const View<float, 3>& out) { resize_torch_bicubic(ctx, in, out); };

/// Keys' kernel with a = -0.75 at the exact position, taps clamped to the map.
double oracle(const std::vector<float>& in, std::array<Index, 3> shape, Index oh, Index ow, Index y, Index x, Index c) {
  const auto kernel = [](double d) {
    const double a = -0.75;
    d = std::abs(d);
    return d <= 1 ? (a + 2) * d * d * d - (a + 3) * d * d + 1 : d < 2 ? a * d * d * d - 5 * a * d * d + 8 * a * d - 4 * a : 0;
  };
  const double py = (double(y) + 0.5) * double(shape[0]) / double(oh) - 0.5, px = (double(x) + 0.5) * double(shape[1]) / double(ow) - 0.5;
  double sum = 0;
  for (Index v = Index(std::floor(py)) - 1; v <= Index(std::floor(py)) + 2; ++v)
    for (Index u = Index(std::floor(px)) - 1; u <= Index(std::floor(px)) + 2; ++u) {
      const Index cv = std::clamp<Index>(v, 0, shape[0] - 1), cu = std::clamp<Index>(u, 0, shape[1] - 1);
      sum += kernel(py - double(v)) * kernel(px - double(u)) * double(in[std::size_t((cv * shape[1] + cu) * shape[2] + c)]);
    }
  return sum;
}

}  // namespace

TEST_CASE("resize_torch_bicubic against the definition in double") {
  // u = 2^-24, R the largest input. The weights of an axis sum to at most 1.375 in magnitude. A position rounds twice, scale and result: at most 2 n u off, where the
  // four weights together change by at most 3 per unit: 3 * 1.375 * 2 n u R per axis. Each weight is a cubic of coefficients up to 6 with some six roundings (36 u at
  // most), and four products and sums round as well (8 u), on both axes: 1.375 * 4 * 44 u R each.
  for (const Sizes& s : kResizeSizes) {
    CAPTURE(s.h);
    CAPTURE(s.w);
    const auto in = hash_fill(9, "definition", {s.h, s.w, s.c});
    double top = 0;
    for (const float v : in) top = std::max(top, double(std::abs(v)));
    const auto out = resize_guarded<float>(kOp, in, {s.h, s.w, s.c}, s.oh, s.ow, 2);
    const double bound = top * 0x1p-24 * (8.25 * double(s.h + s.w) + 2 * 242);
    for (Index y = 0; y < s.oh; ++y)
      for (Index x = 0; x < s.ow; ++x)
        for (Index c = 0; c < s.c; ++c) CHECK(std::abs(double(out[std::size_t((y * s.ow + x) * s.c + c)]) - oracle(in, {s.h, s.w, s.c}, s.oh, s.ow, y, x, c)) <= bound);
  }
}

TEST_CASE("resize_torch_bicubic keeps a map of the same size") {
  const auto in = hash_fill(9, "same", {6, 9, 5});
  CHECK(resize_guarded<float>(kOp, in, {6, 9, 5}, 6, 9) == in);
}

TEST_CASE("resize_torch_bicubic reads and writes any strides, with the same bits for any number of threads") {
  const Index h = 9, w = 7, c = 3, oh = 40, ow = 5;
  const auto planes = hash_fill(9, "planes", {c, h, w});  // as PyTorch holds it: [c, h, w]
  std::vector<float> packed, seen(std::size_t(c * oh * ow), -1.0f);
  for (Index i = 0; i < h * w; ++i)
    for (Index k = 0; k < c; ++k) packed.push_back(planes[std::size_t(k * h * w + i)]);
  const auto want = resize_guarded<float>(kOp, packed, {h, w, c}, oh, ow);
  const View<const float, 3> in(planes.data(), {h, w, c}, {w, 1, h * w});
  const View<float, 3> out(seen.data(), {oh, ow, c}, {ow, 1, oh * ow});
  for (const int threads : kPoolSizes) {
    REQUIRE(planned_run(threads, [&](auto& ctx) { resize_torch_bicubic(ctx, in, out); }));
    for (Index i = 0; i < oh * ow; ++i)
      for (Index k = 0; k < c; ++k) CHECK(seen[std::size_t(k * oh * ow + i)] == want[std::size_t(i * c + k)]);
  }
}

TEST_CASE("resize_torch_bicubic refuses what disagrees") {
  float v[64] = {};
  const View<const float, 3> in(v, {2, 2, 3});
  CHECK_FALSE(planned_run(1, [&](auto& ctx) { resize_torch_bicubic(ctx, in, View<float, 3>(v + 16, {2, 2, 2})); }));
  CHECK_FALSE(planned_run(1, [&](auto& ctx) { resize_torch_bicubic(ctx, in, View<float, 3>(v + 16, {0, 2, 3})); }));
}
