// layer_norm, bias_gelu, window_partition on the emulator: against the definition in double, accesses, and both steps of a ladder against each other.
#include "cases.hpp"

using namespace sampan::emu;

TEST_CASE("layer_norm: naive and fast, widths of the models, every type") {
  struct Size {
    int rows, channels;
  };
  for (const Size z : {Size{1, 32}, {5, 64}, {6, 256}, {3, 768}, {4, 1280}})
    for (const Type t : {Type::f32, Type::f16, Type::bf16}) {
      CAPTURE(z.rows); CAPTURE(z.channels); CAPTURE(name_of(t));
      const std::size_t n = std::size_t(z.rows * z.channels);
      const auto x = random_values(1, n, 3), gamma = random_values(2, std::size_t(z.channels)), beta = random_values(3, std::size_t(z.channels));
      Buffer<float> dx(x), dg(gamma), db(beta);
      const auto params = [&](void* y) { return LayerNormParams{dx.data(), y, dg.data(), db.data(), z.rows, z.channels, 1e-6f}; };
      std::vector<double> naive, fast;
      run_sound({{unsigned(z.rows + 31) / 32}, {32}}, t, n, naive, [&](void* y) { return layer_norm_naive(params(y), t); });
      const Report r = run_sound({{unsigned(z.rows + 3) / 4}, {128}}, t, n, fast, [&](void* y) { return layer_norm(params(y), t); });
      CHECK(r.count.global_sectors == r.count.global_ideal);
      for (int row = 0; row < z.rows; ++row) {
        double mean = 0, variance = 0;
        for (int i = 0; i < z.channels; ++i) mean += double(x[std::size_t(row * z.channels + i)]) / z.channels;
        for (int i = 0; i < z.channels; ++i) variance += std::pow(double(x[std::size_t(row * z.channels + i)]) - mean, 2) / z.channels;
        for (int i = 0; i < z.channels; ++i) {
          const std::size_t at = std::size_t(row * z.channels + i);
          const double g = std::fabs(double(gamma[std::size_t(i)])), size = 3 / std::sqrt(variance);
          const double want = (double(x[at]) - mean) / std::sqrt(variance + 1e-6) * double(gamma[std::size_t(i)]) + double(beta[std::size_t(i)]);
          // Sums of c addends in float (the naive one in a row): c u of the mean's size; then a few roundings, and one to the type.
          const double limit = (z.channels + 8) * 0x1p-24 * size * g + 4 * 0x1p-24 + unit_of(t) * std::fabs(want);
          CHECK(std::fabs(naive[at] - want) <= limit);
          CHECK(std::fabs(fast[at] - want) <= limit);
        }
      }
    }
}

TEST_CASE("bias_gelu: every combination of its terms, partial blocks") {
  const int rows = 7, channels = 160;
  const std::size_t n = std::size_t(rows * channels);
  const auto x = random_values(1, n, 4), bias = random_values(2, std::size_t(channels)), residual = random_values(3, n);
  Buffer<float> dx(x), db(bias), dr(residual);
  for (int terms = 0; terms < 8; ++terms)
    for (const Type t : {Type::f32, Type::f16, Type::bf16}) {
      CAPTURE(terms); CAPTURE(name_of(t));
      std::vector<double> got;
      const Report r = run_sound({{unsigned(n + 1023) / 1024}, {256}}, t, n, got, [&](void* y) {
        return bias_gelu({dx.data(), terms & 1 ? db.data() : nullptr, terms & 2 ? dr.data() : nullptr, y, (long long)n, channels, (terms & 4) != 0}, t);
      });
      CHECK(r.count.global_sectors == r.count.global_ideal);
      for (std::size_t i = 0; i < n; ++i) {
        double v = double(x[i]) + (terms & 1 ? double(bias[i % std::size_t(channels)]) : 0);
        if (terms & 4) v = 0.5 * v * (1 + std::erf(v / std::sqrt(2.0)));
        if (terms & 2) v += double(residual[i]);
        CHECK(std::fabs(got[i] - v) <= unit_of(t) * std::fabs(v) + 8 * 0x1p-24 * 6);  // values are below 6
      }
    }
}

TEST_CASE("window_partition and unpartition: padding is zeros, there and back is the map") {
  for (const auto& [height, width, window] : {std::array<int, 3>{7, 7, 7}, {5, 9, 4}, {15, 3, 14}, {1, 1, 2}}) {
    const int channels = 10, windows = ((height + window - 1) / window) * ((width + window - 1) / window);
    const unsigned tokens = unsigned(windows * window * window);
    const std::size_t n = std::size_t(height * width * channels);
    for (const Type t : {Type::f32, Type::f16, Type::bf16}) {
      Elements x(t, random_values(5, n));
      std::vector<double> cut;
      run_sound({{tokens}, {128}}, t, tokens * std::size_t(channels), cut, [&, h = height, w = width, s = window](void* y) { return window_partition({x.data(), y, h, w, channels, s}, t); });
      const int across = (width + window - 1) / window;
      for (unsigned i = 0; i < tokens; ++i) {
        const int place = int(i) % (window * window), at = int(i) / (window * window), y = at / across * window + place / window, xx = at % across * window + place % window;
        for (int c = 0; c < channels; ++c) CHECK(cut[i * std::size_t(channels) + std::size_t(c)] == (y < height && xx < width ? x.at(std::size_t((y * width + xx) * channels + c)) : 0.0));
      }
      std::vector<float> windowed(cut.begin(), cut.end());
      Elements z(t, windowed);
      std::vector<double> back;
      run_sound({{tokens}, {128}}, t, n, back, [&, h = height, w = width, s = window](void* y) { return window_unpartition({z.data(), y, h, w, channels, s}, t); });
      for (std::size_t i = 0; i < n; ++i) CHECK(back[i] == x.at(i));
    }
  }
}
