// layer_norm, finish_rows, scatter_taps, channel_gate, window_partition on the emulator: against the definition in double, accesses, and both steps of a ladder against each other.
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
      const auto params = [&](void* y) { return LayerNormParams{dx.data(), y, dg.data(), db.data(), z.rows, z.channels, 1e-6f, z.channels, z.channels}; };
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

TEST_CASE("finish_rows: every combination of its terms, strides, rows that repeat, partial blocks") {
  const int rows = 6, channels = 160, x_rows = 3, residual_rows = 2, x_stride = 170, residual_stride = 161, y_stride = 163;
  const auto x = random_values(1, std::size_t(x_rows * x_stride), 4), bias = random_values(2, std::size_t(channels)), residual = random_values(3, std::size_t(residual_rows * residual_stride));
  Buffer<float> dx(x), db(bias), dr(residual);
  for (int terms = 0; terms < 12; ++terms)
    for (const Type t : {Type::f32, Type::f16, Type::bf16}) {
      CAPTURE(terms); CAPTURE(name_of(t));
      const auto a = Activate(terms / 4);
      for (const Order order : {Order::forward, Order::backward}) {
        Elements y(t, std::size_t(rows * y_stride));
        const FinishParams p{dx.data(), x_rows, x_stride, terms & 1 ? db.data() : nullptr, terms & 2 ? dr.data() : nullptr, residual_rows, residual_stride, -0.5f, y.data(), rows, y_stride, channels, a};
        const Report r = launch({unsigned(rows * channels + 1023) / 1024}, {256}, 0, finish_rows(p, t), {.order = order});
        CHECK_MESSAGE(r.findings.empty(), r.text());
        const auto got = y.read();
        for (int row = 0; row < rows; ++row)
          for (int c = 0; c < channels; ++c) {
            double v = double(x[std::size_t(row % x_rows * x_stride + c)]) + (terms & 1 ? double(bias[std::size_t(c)]) : 0);
            if (a == Activate::gelu) v = 0.5 * v * (1 + std::erf(v / std::sqrt(2.0)));
            if (a == Activate::relu) v = v > 0 ? v : 0;
            if (terms & 2) v -= 0.5 * double(residual[std::size_t(row % residual_rows * residual_stride + c)]);
            CHECK(std::fabs(got[std::size_t(row * y_stride + c)] - v) <= unit_of(t) * std::fabs(v) + 8 * 0x1p-24 * 6);  // values are below 6
          }
        if (kEmulated && y_stride > channels) CHECK(!y.fully_written());  // nothing between the rows
      }
    }
}

TEST_CASE("finish_rows: rows side by side move no byte twice, and relu keeps NaN") {
  const std::size_t n = 7 * 160;
  auto x = random_values(1, n, 4);
  Buffer<float> dx(x);
  std::vector<double> got;
  const Report r = run_sound({{unsigned(n + 1023) / 1024}, {256}}, Type::f32, n, got, [&](void* y) { return finish_rows({dx.data(), 7, 160, nullptr, nullptr, 0, 0, 0, y, 7, 160, 160, Activate::none}, Type::f32); });
  CHECK(r.count.global_sectors == r.count.global_ideal);
  x[5] = std::nanf("");
  Buffer<float> with_nan(x);
  run_sound({{unsigned(n + 1023) / 1024}, {256}}, Type::f32, n, got, [&](void* y) { return finish_rows({with_nan.data(), 7, 160, nullptr, nullptr, 0, 0, 0, y, 7, 160, 160, Activate::relu}, Type::f32); });
  for (std::size_t i = 0; i < n; ++i) CHECK((i == 5 ? got[i] != got[i] : got[i] == (x[i] > 0 ? double(x[i]) : 0.0)));
}

TEST_CASE("scatter_taps: against the definition of the transposed convolution, kernels 2 and 4") {
  for (const auto& [kernel, stride, pad] : {std::array<int, 3>{2, 2, 0}, {4, 2, 1}, {3, 3, 0}}) {
    const int height = 3, width = 5, channels = 6, oh = height * stride, ow = width * stride;
    const auto columns = random_values(1, std::size_t(height * width * kernel * kernel * channels)), bias = random_values(2, std::size_t(channels));
    Buffer<float> dc(columns), db(bias);
    for (const bool with_bias : {false, true}) {
      CAPTURE(kernel); CAPTURE(with_bias);
      std::vector<double> got, want(std::size_t(oh * ow * channels));
      run_sound({{unsigned(oh * ow * channels + 255) / 256}, {256}}, Type::f32, want.size(), got, [&, k = kernel, s = stride, q = pad](void* y) {
        return scatter_taps({dc.data(), with_bias ? db.data() : nullptr, static_cast<float*>(y), height, width, channels, k, s, q, Activate::relu});
      });
      for (int iy = 0; iy < height; ++iy)
        for (int ix = 0; ix < width; ++ix)
          for (int tap = 0; tap < kernel * kernel; ++tap)
            for (int c = 0; c < channels; ++c) {
              const int oy = iy * stride + tap / kernel - pad, ox = ix * stride + tap % kernel - pad;
              if (oy >= 0 && oy < oh && ox >= 0 && ox < ow) want[std::size_t((oy * ow + ox) * channels + c)] += double(columns[std::size_t(((iy * width + ix) * kernel * kernel + tap) * channels + c)]);
            }
      for (std::size_t i = 0; i < want.size(); ++i) {
        const double v = want[i] + (with_bias ? double(bias[i % std::size_t(channels)]) : 0);
        CHECK(std::fabs(got[i] - (v > 0 ? v : 0)) <= 5 * 0x1p-24 * 5);  // at most five addends below 1
      }
    }
  }
}

TEST_CASE("channel_mean and gate_rows: against double; the barrier is needed") {
  for (const auto& [rows, channels] : {std::array<int, 2>{1, 1}, {37, 40}, {64, 96}}) {
    CAPTURE(rows); CAPTURE(channels);
    const std::size_t n = std::size_t(rows * channels);
    const auto x = random_values(1, n, 3), gate = random_values(2, std::size_t(channels), 4);
    Buffer<float> dx(x), dg(gate);
    const Launch mean_launch{{unsigned(channels + 31) / 32}, {256}, 256 * 8}, gate_launch{{unsigned(n + 255) / 256}, {256}};
    const auto mean_of = [&, r = rows, c = channels](void* out) { return channel_mean({dx.data(), nullptr, static_cast<float*>(out), nullptr, r, c}); };
    std::vector<double> mean, gated;
    run_sound(mean_launch, Type::f32, std::size_t(channels), mean, mean_of);
    if (rows > 8) every_sync_is_needed(mean_launch, Type::f32, std::size_t(channels), mean_of);
    run_sound(gate_launch, Type::f32, n, gated, [&, r = rows, c = channels](void* out) { return gate_rows({dx.data(), dg.data(), nullptr, static_cast<float*>(out), r, c}); });
    for (int c = 0; c < channels; ++c) {
      double sum = 0;
      for (int r = 0; r < rows; ++r) sum += double(x[std::size_t(r * channels + c)]);
      CHECK(std::fabs(mean[std::size_t(c)] - sum / rows) <= 0x1p-24 * 3);
      for (int r = 0; r < rows; ++r) {
        const std::size_t at = std::size_t(r * channels + c);
        const double v = double(x[at]) / (1 + std::exp(-double(gate[std::size_t(c)])));
        CHECK(std::fabs(gated[at] - v) <= 8 * 0x1p-24 * (std::fabs(v) + 0x1p-24));  // exp 2 ulp, a sum, a quotient
      }
    }
  }
}

TEST_CASE("window_partition and unpartition: padding is zeros or a row, there and back is the map") {
  for (const auto& [height, width, window] : {std::array<int, 3>{7, 7, 7}, {5, 9, 4}, {15, 3, 14}, {1, 1, 2}}) {
    const int channels = 10, windows = ((height + window - 1) / window) * ((width + window - 1) / window);
    const unsigned tokens = unsigned(windows * window * window);
    const std::size_t n = std::size_t(height * width * channels);
    for (const Type t : {Type::f32, Type::f16, Type::bf16}) {
      Elements x(t, random_values(5, n));
      std::vector<double> cut;
      run_sound({{tokens}, {128}}, t, tokens * std::size_t(channels), cut, [&, h = height, w = width, s = window](void* y) { return window_partition({x.data(), y, h, w, channels, s}, t); });
      Elements pad(t, random_values(6, std::size_t(channels)));
      std::vector<double> padded;
      run_sound({{tokens}, {128}}, t, tokens * std::size_t(channels), padded, [&, h = height, w = width, s = window](void* y) { return window_partition({x.data(), y, h, w, channels, s, pad.data()}, t); });
      const int across = (width + window - 1) / window;
      for (unsigned i = 0; i < tokens; ++i) {
        const int place = int(i) % (window * window), at = int(i) / (window * window), y = at / across * window + place / window, xx = at % across * window + place % window;
        for (int c = 0; c < channels; ++c) {
          const bool real = y < height && xx < width;
          const double value = real ? x.at(std::size_t((y * width + xx) * channels + c)) : 0.0;
          CHECK(cut[i * std::size_t(channels) + std::size_t(c)] == value);
          CHECK(padded[i * std::size_t(channels) + std::size_t(c)] == (real ? value : pad.at(std::size_t(c))));
        }
      }
      std::vector<float> windowed(cut.begin(), cut.end());
      Elements z(t, windowed);
      std::vector<double> back;
      run_sound({{tokens}, {128}}, t, n, back, [&, h = height, w = width, s = window](void* y) { return window_unpartition({z.data(), y, h, w, channels, s}, t); });
      for (std::size_t i = 0; i < n; ++i) CHECK(back[i] == x.at(i));
    }
  }
}
