// scikit-image's cubic resize with antialiasing: goldens, an independent solution in one dimension, structure.
#include "ops/resize_cases.hpp"

#include <sampan/ops/resize_skimage_cubic.hpp>

using namespace sampan;
using namespace sampan::test;

namespace {

const auto kBytes = [](auto& ctx, const View<const std::uint8_t, 3>& in, const View<std::uint8_t, 3>& out) { resize_skimage_cubic_aa(ctx, in, out); };
const auto kFloats = [](auto& ctx, const View<const std::uint8_t, 3>& in, const View<float, 3>& out) { resize_skimage_cubic_aa(ctx, in, out); };

/// One axis by the definitions: the Gaussian as a sum over reflected samples, the spline coefficients by solving the interpolation equations.
std::vector<double> line_by_definition(const std::vector<std::uint8_t>& in, Index out) {
  const Index n = Index(in.size());
  const auto reflect = [n](Index i) {
    while (i < 0 || i >= n) i = n == 1 ? 0 : i < 0 ? -i : 2 * (n - 1) - i;
    return std::size_t(i);
  };
  const double f = double(n) / double(out), sigma = std::max(0.0, (f - 1) / 2);
  std::vector<double> v(in.begin(), in.end());
  if (sigma > 0) {
    const Index r = Index(4 * sigma + 0.5);
    double total = 0;
    for (Index k = -r; k <= r; ++k) total += std::exp(-double(k * k) / (2 * sigma * sigma));
    for (Index i = 0; i < n; ++i) {
      v[std::size_t(i)] = 0;
      for (Index k = -r; k <= r; ++k) v[std::size_t(i)] += in[reflect(i + k)] * std::exp(-double(k * k) / (2 * sigma * sigma)) / total;
    }
  }
  std::vector<std::vector<double>> a(std::size_t(n), std::vector<double>(std::size_t(n + 1)));
  for (Index i = 0; i < n; ++i) {  // (c[i-1] + 4 c[i] + c[i+1]) / 6 = v[i]
    auto& row = a[std::size_t(i)];
    row[reflect(i - 1)] += 1.0 / 6, row[std::size_t(i)] += 4.0 / 6, row[reflect(i + 1)] += 1.0 / 6, row[std::size_t(n)] = v[std::size_t(i)];
  }
  for (std::size_t i = 0; i < std::size_t(n); ++i)  // diagonally dominant: no pivoting
    for (std::size_t j = 0; j < std::size_t(n); ++j)
      if (j != i && a[j][i] != 0) {
        const double m = a[j][i] / a[i][i];
        for (std::size_t k = i; k <= std::size_t(n); ++k) a[j][k] -= m * a[i][k];
      }
  std::vector<double> result;
  const double low = *std::min_element(in.begin(), in.end()), high = *std::max_element(in.begin(), in.end());
  for (Index o = 0; o < out; ++o) {
    const double at = (double(o) + 0.5) * f - 0.5;
    double s = 0;
    for (Index k = Index(std::floor(at)) - 1; k <= Index(std::floor(at)) + 2; ++k) {
      const double d = std::abs(at - double(k)), b = d < 1 ? (4 - 6 * d * d + 3 * d * d * d) / 6 : d < 2 ? (2 - d) * (2 - d) * (2 - d) / 6 : 0;
      s += b * a[reflect(k)][std::size_t(n)] / a[reflect(k)][reflect(k)];
    }
    result.push_back(std::clamp(s, low, high));
  }
  return result;
}

}  // namespace

TEST_CASE("resize_skimage_cubic_aa equals scikit-image within 1e-4 before the cast, within one grey level after it") {
  for (const ResizeCase& c : resize_cases("skimage_cubic_aa")) {
    CAPTURE(c.name);
    const auto floats = resize_guarded<float>(kFloats, c.input, c.in, c.oh, c.ow);
    const auto bytes = resize_guarded<std::uint8_t>(kBytes, c.input, c.in, c.oh, c.ow);
    double worst = 0;
    int wrong = 0;
    c.each([&](std::size_t k, std::size_t i) {
      const double e = std::abs(double(floats[i]) - double(c.floats[k]));
      if (!(e <= worst)) worst = e;
      const double golden = double(c.floats[k]), fraction = golden - std::floor(golden);
      const int level = int(bytes[i]) - int(golden);
      // Next to a whole number the truncation may go either way; everywhere else the byte is the same.
      wrong += fraction > 1e-4 && fraction < 1 - 1e-4 ? level != 0 : std::abs(level) > 1;
    });
    CHECK(worst <= 1e-4);
    CHECK(wrong == 0);
  }
}

TEST_CASE("resize_skimage_cubic_aa on one axis equals its definition") {
  // Doubles on both sides: 1e-9 leaves room for 2^-53 * 255 * the few hundred operations of a line. The op returns float: half an ulp of 255 is 2^-17.
  for (const Index n : {1, 2, 3, 5, 12, 40})
    for (const Index out : {1, 2, 3, 7, 12, 25, 80}) {
      CAPTURE(n); CAPTURE(out);
      const auto in = hash_noise_u8(12, "line", {n});
      const auto want = line_by_definition(in, out);
      const auto across = resize_guarded<float>(kFloats, in, {1, n, 1}, 1, out), down = resize_guarded<float>(kFloats, in, {n, 1, 1}, out, 1);
      for (std::size_t i = 0; i < want.size(); ++i) {
        CHECK(std::abs(double(across[i]) - want[i]) <= 0x1p-17 + 1e-9);
        CHECK(std::abs(double(down[i]) - want[i]) <= 0x1p-17 + 1e-9);
      }
    }
}

TEST_CASE("resize_skimage_cubic_aa keeps constant images exactly and never leaves the range of the input") {
  for (const int v : {0, 1, 200, 255}) {
    const auto out = resize_guarded<std::uint8_t>(kBytes, std::vector<std::uint8_t>(37 * 53 * 3, std::uint8_t(v)), {37, 53, 3}, 18, 80);
    CHECK(out == std::vector<std::uint8_t>(out.size(), std::uint8_t(v)));
  }
  std::vector<std::uint8_t> edge;
  for (int i = 0; i < 40 * 40; ++i) edge.push_back(i % 40 < 20 ? 50 : 180);  // a step makes every cubic overshoot
  for (const float v : resize_guarded<float>(kFloats, edge, {40, 40, 1}, 97, 55)) CHECK((v >= 50 && v <= 180));
}

TEST_CASE("resize_skimage_cubic_aa: threads, strides, guards, plan") { sweep_structure<std::uint8_t>(kBytes); }

TEST_CASE("resize_skimage_cubic_aa refuses bad extents") { refuses_bad_extents(kBytes); }
