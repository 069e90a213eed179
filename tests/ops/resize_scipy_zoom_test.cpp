// scipy.ndimage.zoom of order 3 and 0: values that scipy 1.17 gives, an independent solution in one dimension, the lost last row, structure.
#include "ops/resize_cases.hpp"

#include <sampan/ops/resize_scipy_zoom.hpp>

using namespace sampan;
using namespace sampan::test;

namespace {

/// One channel after the other.
const auto kCubic = [](auto& ctx, const View<const float, 3>& in, const View<float, 3>& out) {
  for (Index c = 0; c < in.extent(2); ++c)
    resize_scipy_zoom(ctx, View<const float, 2>(in.data() + c, {in.extent(0), in.extent(1)}, {in.stride(0), in.stride(1)}), View<float, 2>(out.data() + c, {out.extent(0), out.extent(1)}, {out.stride(0), out.stride(1)}));
};
const auto kNearest = [](auto& ctx, const View<const std::uint8_t, 3>& in, const View<std::uint8_t, 3>& out) {
  for (Index c = 0; c < in.extent(2); ++c)
    resize_scipy_zoom_nearest(ctx, View<const std::uint8_t, 2>(in.data() + c, {in.extent(0), in.extent(1)}, {in.stride(0), in.stride(1)}), View<std::uint8_t, 2>(out.data() + c, {out.extent(0), out.extent(1)}, {out.stride(0), out.stride(1)}));
};

/// The natural definition: coefficients c with (c[i-1] + 4 c[i] + c[i+1]) / 6 = v[i] under reflection, by Gauss; the cubic B-spline at o (n - 1) / (on - 1).
std::vector<double> line_by_definition(const std::vector<float>& v, Index out) {
  const Index n = Index(v.size());
  const auto reflect = [n](Index i) { return std::size_t(n == 1 ? 0 : i < 0 ? -i : i >= n ? 2 * (n - 1) - i : i); };
  std::vector<std::vector<double>> a(std::size_t(n), std::vector<double>(std::size_t(n + 1)));
  for (Index i = 0; i < n; ++i) {
    auto& row = a[std::size_t(i)];
    row[reflect(i - 1)] += 1.0 / 6, row[std::size_t(i)] += 4.0 / 6, row[reflect(i + 1)] += 1.0 / 6, row[std::size_t(n)] = double(v[std::size_t(i)]);
  }
  for (std::size_t i = 0; i < a.size(); ++i)  // diagonally dominant: no pivoting
    for (std::size_t j = 0; j < a.size(); ++j)
      if (j != i && a[j][i] != 0) {
        const double m = a[j][i] / a[i][i];
        for (std::size_t k = i; k < a[j].size(); ++k) a[j][k] -= m * a[i][k];
      }
  std::vector<double> result;
  for (Index o = 0; o < out; ++o) {
    const double at = out > 1 ? double(o * (n - 1)) / double(out - 1) : 0.0;
    double s = 0;
    for (Index k = Index(at) - 1; k <= Index(at) + 2; ++k) {
      const double d = std::abs(at - double(k)), b = d < 1 ? (4 - 6 * d * d + 3 * d * d * d) / 6 : d < 2 ? (2 - d) * (2 - d) * (2 - d) / 6 : 0;
      if (b > 0) s += b * a[reflect(k)][std::size_t(n)] / a[reflect(k)][reflect(k)];
    }
    result.push_back(s);
  }
  return result;
}

}  // namespace

TEST_CASE("resize_scipy_zoom gives scipy's values") {
  const auto got = resize_guarded<float>(kCubic, std::vector<float>{0, 1, 4, 9, 2, 5.5f}, {2, 3, 1}, 4, 5);
  const double wanted[] = {0.0, 0.125, 1.0, 2.875, 4.0, 2.3333332538604736, 1.6035879850387573, 1.2592592239379883, 3.016782522201538, 4.388888835906982,
                           6.666666507720947, 4.349536895751953, 1.7407407760620117, 3.280092477798462, 5.111111164093018, 9.0, 5.828125, 2.0, 3.421875, 5.5};
  REQUIRE(got.size() == std::size(wanted));
  for (std::size_t i = 0; i < got.size(); ++i) {
    CAPTURE(i);
    CHECK(std::abs(double(got[i]) - wanted[i]) <= 1e-6);  // one rounding of float at 9
  }
  CHECK(resize_guarded<std::uint8_t>(kNearest, std::vector<std::uint8_t>{0, 1, 2, 3, 4, 5}, {2, 3, 1}, 4, 5) == std::vector<std::uint8_t>{0, 1, 1, 2, 2, 0, 1, 1, 2, 2, 3, 4, 4, 5, 5, 3, 4, 4, 5, 5});
  CHECK(resize_guarded<std::uint8_t>(kNearest, std::vector<std::uint8_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, {3, 4, 1}, 2, 3) == std::vector<std::uint8_t>{0, 2, 3, 8, 10, 11});
}

TEST_CASE("each axis is the spline of its definition") {
  for (const std::array<Index, 2>& sizes : {std::array<Index, 2>{1, 1}, {1, 4}, {2, 7}, {9, 30}, {40, 13}, {31, 31}, {17, 1}}) {
    const Index n = sizes[0], out = sizes[1];
    CAPTURE(n);
    CAPTURE(out);
    const auto v = hash_fill(5, "line", {n}, 0, 3);
    const auto wanted = line_by_definition(v, out);
    const auto row = resize_guarded<float>(kCubic, v, {1, n, 1}, 1, out), column = resize_guarded<float>(kCubic, v, {n, 1, 1}, out, 1);
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      CHECK(std::abs(double(row[i]) - wanted[i]) <= 1e-6 * 3);
      CHECK(row[i] == column[i]);
    }
  }
}

TEST_CASE("the last row is lost where scipy loses it: the position passes the last sample by a bit") {
  for (const std::array<Index, 2>& sizes : {std::array<Index, 2>{4, 188}, {4, 274}, {6, 148}, {7, 188}}) {
    const Index n = sizes[0], out = sizes[1];
    CAPTURE(n);
    CAPTURE(out);
    const auto grey = resize_guarded<float>(kCubic, std::vector<float>(std::size_t(n), 1.0f), {n, 1, 1}, out, 1);
    const auto label = resize_guarded<std::uint8_t>(kNearest, std::vector<std::uint8_t>(std::size_t(n), 1), {n, 1, 1}, out, 1);
    CHECK(grey.back() == 0);
    CHECK(label.back() == 0);
    CHECK(grey[grey.size() - 2] == doctest::Approx(1));
    CHECK(label[label.size() - 2] == 1);
  }
  CHECK(resize_guarded<std::uint8_t>(kNearest, std::vector<std::uint8_t>(5, 1), {5, 1, 1}, 188, 1).back() == 1);
}

TEST_CASE("any threads, rows apart, nothing outside") {
  sweep_structure<float>(kCubic);
  sweep_structure<std::uint8_t>(kNearest);
}

TEST_CASE("bad extents are refused") {
  float f[8] = {};
  const Status s = planned_run(1, [&](Context<HostBackend>& ctx) { resize_scipy_zoom(ctx, View<const float, 2>(f, {0, 4}), View<float, 2>(f, {2, 2})); });
  REQUIRE_FALSE(s);
  CHECK(s.error().code() == ErrorCode::invalid_argument);
  std::uint8_t b[8] = {};
  CHECK_FALSE(planned_run(1, [&](Context<HostBackend>& ctx) { resize_scipy_zoom_nearest(ctx, View<const std::uint8_t, 2>(b, {2, 4}), View<std::uint8_t, 2>(b, {2, Index(1) << 30})); }));
}
