// Kernels around the network on the emulator: patches, depthwise convolution; and to the last bit of the host's: resizes, normalisation, bilinear logits.
#include "cases.hpp"

#include <sampan/ops/resize_pillow_bilinear.hpp>
#include <sampan/ops/resize_skimage_cubic.hpp>
#include <sampan/ops/resize_torch_bilinear.hpp>

#include <algorithm>

using namespace sampan;
using namespace sampan::emu;

namespace {

struct Host {
  using Memory = HostMemory;
};
template <class Op>
void on_host(Op&& op) {
  const Host b;
  ThreadPool pool(1);
  const auto plan = sampan::plan(b, pool, [&](Context<Host>& ctx) { op(ctx); });
  REQUIRE(plan.ok());
  Arena arena;
  REQUIRE(arena.reserve(plan->arena_bytes));
  Context<Host> ctx(b, pool, arena);
  op(ctx);
  REQUIRE(ctx.ok());
}

std::vector<std::uint8_t> noise(std::size_t n) {
  test::Rng rng(test::Seed{11});
  std::vector<std::uint8_t> v(n);
  for (auto& x : v) x = std::uint8_t(rng.below(256));
  return v;
}
Dim pixel_grid(int rows, int columns) { return {unsigned(columns + 31) / 32, unsigned(rows + 7) / 8}; }

/// A launch whose output is bytes; sound in every order.
std::vector<std::uint8_t> bytes_of_launch(Dim grid, std::size_t n, const std::function<Work(std::uint8_t*)>& make) {
  std::vector<std::uint8_t> first;
  for (const Order order : {Order::forward, Order::backward, Order::random}) {
    Buffer<std::uint8_t> out(n);
    const emu::Report r = launch(grid, {256}, 0, make(out.data()), {.order = order});
    CHECK_MESSAGE(r.findings.empty(), r.text());
    CHECK(out.fully_written());
    if (first.empty()) first = out.values();
    CHECK(first == out.values());
  }
  return first;
}

}  // namespace

TEST_CASE("patch_gather: rows in the order of PyTorch's weights") {
  const int height = 12, width = 8, patch = 4, n = 3 * patch * patch;
  const auto image = random_values(1, std::size_t(height * width * 3));
  Buffer<float> d(image);
  for (const Type t : {Type::f32, Type::f16, Type::bf16}) {
    std::vector<double> got;
    run_sound({{6}, {256}}, t, std::size_t(6 * n), got, [&](void* out) { return patch_gather({d.data(), out, height, width, patch}, t); });
    for (int token = 0; token < 6; ++token)
      for (int i = 0; i < n; ++i) {
        const int y = token / 2 * patch + i / patch % patch, x = token % 2 * patch + i % patch;
        const double want = double(image[std::size_t((y * width + x) * 3 + i / (patch * patch))]);
        CHECK(std::fabs(got[std::size_t(token * n + i)] - want) <= unit_of(t) * std::fabs(want));
      }
  }
}

TEST_CASE("depthwise_conv: strides, borders, GELU") {
  for (const auto& [height, width, channels, stride] : {std::array<int, 4>{5, 7, 130, 1}, {6, 5, 32, 2}, {1, 1, 8, 1}, {7, 4, 16, 2}})
    for (const bool gelu : {false, true})
      for (const Type t : {Type::f32, Type::f16}) {
        const int oh = (height - 1) / stride + 1, ow = (width - 1) / stride + 1;
        const auto w = random_values(2, std::size_t(9 * channels)), b = random_values(3, std::size_t(channels));
        Elements x(t, random_values(4, std::size_t(height * width * channels)));
        Buffer<float> dw(w), db(b);
        std::vector<double> got;
        run_sound({{unsigned(channels + 127) / 128, unsigned(ow), unsigned(oh)}, {128}}, t, std::size_t(oh * ow * channels), got,
                  [&, h = height, ww = width, c = channels, s = stride](void* y) { return depthwise_conv({x.data(), y, dw.data(), db.data(), h, ww, c, s, gelu ? Activate::gelu : Activate::none}, t); });
        for (int y = 0; y < oh; ++y)
          for (int xx = 0; xx < ow; ++xx)
            for (int c = 0; c < channels; ++c) {
              double v = double(b[std::size_t(c)]);
              for (int tap = 0; tap < 9; ++tap) {
                const int iy = y * stride - 1 + tap / 3, ix = xx * stride - 1 + tap % 3;
                if (iy >= 0 && iy < height && ix >= 0 && ix < width) v += x.at(std::size_t((iy * width + ix) * channels + c)) * double(w[std::size_t(tap * channels + c)]);
              }
              if (gelu) v = 0.5 * v * (1 + std::erf(v / std::sqrt(2.0)));
              CHECK(std::fabs(got[std::size_t((y * ow + xx) * channels + c)] - v) <= 16 * 0x1p-24 * 10 + unit_of(t) * std::fabs(v));
            }
      }
}

TEST_CASE("pillow_pass: equal to the CPU's resize, byte for byte") {
  for (const auto& [h, w, oh, ow] : {std::array<int, 4>{40, 60, 13, 21}, {9, 5, 20, 33}, {33, 50, 33, 20}}) {
    const auto image = noise(std::size_t(3 * h * w));
    std::vector<std::uint8_t> want(std::size_t(3 * oh * ow));
    on_host([&, a = h, b = w, c = oh, d = ow](auto& ctx) { resize_pillow_bilinear(ctx, View<const std::uint8_t, 3>(image.data(), {a, b, 3}), View<std::uint8_t, 3>(want.data(), {c, d, 3}), PillowOrder::horizontal_first); });
    const auto pass = [](const std::vector<std::uint8_t>& in, int height, int width, int size, bool across) {
      const int from = across ? width : height, taps = int(sampan::detail::pillow_taps(from, size));
      std::vector<std::int32_t> first(static_cast<std::size_t>(size)), count(first), weights(std::size_t(size * taps));
      sampan::detail::pillow_weights(from, size, {View<std::int32_t, 1>(first.data(), {size}), View<std::int32_t, 1>(count.data(), {size}), View<std::int32_t, 2>(weights.data(), {size, taps})});
      Buffer<std::uint8_t> d(in);
      Buffer<std::int32_t> df(first), dc(count), dw(weights);
      const int rows = across ? height : size, columns = across ? size : width;
      return bytes_of_launch(pixel_grid(rows, columns), std::size_t(3 * rows * columns),
                             [&](std::uint8_t* out) { return pillow_pass({d.data(), out, height, width, size, across, df.data(), dc.data(), dw.data(), taps}); });
    };
    auto got = pass(image, h, w, ow, true);
    if (h != oh) got = pass(got, h, ow, oh, false);
    CHECK(got == want);
  }
}

TEST_CASE("resize_bilinear: the values of the literal definition to the last bit, the mask agrees with them") {
  for (const auto& [h, w, oh, ow] : {std::array<int, 4>{8, 10, 33, 21}, {7, 5, 3, 4}, {1, 6, 5, 6}}) {
    const int stride = w + 3;  // a crop
    const auto plane = random_values(6, std::size_t(h * stride));
    std::vector<float> want(std::size_t(oh * ow));
    on_host([&, a = h, b = w, c = oh, e = ow](auto& ctx) { resize_torch_bilinear(ctx, View<const float, 2>(plane.data(), {a, b}, {stride, 1}), View<float, 2>(want.data(), {c, e})); });
    Buffer<float> d(plane);
    std::vector<double> got;
    run_sound({pixel_grid(oh, ow), {256}}, Type::f32, want.size(), got,
              [&, a = h, b = w, c = oh, e = ow](void* out) { return resize_bilinear({d.data(), a, b, stride, static_cast<float*>(out), nullptr, c, e, 0.1f}); });
    for (std::size_t i = 0; i < want.size(); ++i) CHECK(got[i] == double(want[i]));
    const auto mask = bytes_of_launch(pixel_grid(oh, ow), want.size(), [&, a = h, b = w, c = oh, e = ow](std::uint8_t* out) { return resize_bilinear({d.data(), a, b, stride, nullptr, out, c, e, 0.1f}); });
    for (std::size_t i = 0; i < want.size(); ++i) CHECK(mask[i] == (got[i] > double(0.1f) ? 1 : 0));
  }
}

TEST_CASE("gather_pixels, area sums, blocks and linear: what their tables say") {
  const int h = 7, w = 9, oh = 5, ow = 34;
  const auto image = noise(std::size_t(3 * h * w));
  const auto value = [&](int y, int x, int c) { return int(image[std::size_t(3 * (y * w + x) + c)]); };
  Buffer<std::uint8_t> d(image);
  std::vector<std::int32_t> row(static_cast<std::size_t>(oh)), column(static_cast<std::size_t>(ow));
  for (int y = 0; y < oh; ++y) row[std::size_t(y)] = 3 * y % h;
  for (int x = 0; x < ow; ++x) column[std::size_t(x)] = 5 * x % w;
  Buffer<std::int32_t> dr(row), dc(column);
  const auto gathered = bytes_of_launch(pixel_grid(oh, ow), std::size_t(3 * oh * ow), [&](std::uint8_t* out) { return gather_pixels({d.data(), out, w, oh, ow, dr.data(), dc.data()}); });
  for (int y = 0; y < oh; ++y)
    for (int x = 0; x < ow; ++x)
      for (int c = 0; c < 3; ++c) CHECK(gathered[std::size_t(3 * (y * ow + x) + c)] == value(row[std::size_t(y)], column[std::size_t(x)], c));

  const auto blocks = bytes_of_launch(pixel_grid(3, 3), 27, [&](std::uint8_t* out) { return area_block({d.data(), out, w, 3, 3, 2, 3, false}); });
  const auto quarters = bytes_of_launch(pixel_grid(3, 4), 36, [&](std::uint8_t* out) { return area_block({d.data(), out, w, 3, 4, 2, 2, true}); });
  const auto sum = [&](int y0, int x0, int n, int m, int c) {
    int s = 0;
    for (int y = y0; y < y0 + n; ++y)
      for (int x = x0; x < x0 + m; ++x) s += value(y, x, c);
    return s;
  };
  for (int i = 0; i < 27; ++i) CHECK(blocks[std::size_t(i)] == int(std::nearbyint(float(sum(i / 9 * 2, i / 3 % 3 * 3, 2, 3, i % 3)) * (1.0f / 6.0f))));
  for (int i = 0; i < 36; ++i) CHECK(quarters[std::size_t(i)] == (sum(i / 12 * 2, i / 3 % 4 * 2, 2, 2, i % 3) + 2) / 4);

  // Rows 0-2 and 2-6, columns 1-3 and 3-8, with weights that do not sum to one: the result is cut to a byte.
  const std::vector<std::int32_t> rb{0, 3, 8}, rf{0, 2}, cb{0, 3, 9}, cf{1, 3};
  const auto rw = random_values(5, 8), cw = random_values(6, 9);
  Buffer<std::int32_t> drb(rb), drf(rf), dcb(cb), dcf(cf);
  Buffer<float> drw(rw), dcw(cw);
  const auto sums = bytes_of_launch(pixel_grid(2, 2), 12, [&](std::uint8_t* out) { return area_sum({d.data(), out, w, 2, 2, {drb.data(), drf.data(), drw.data()}, {dcb.data(), dcf.data(), dcw.data()}}); });
  for (int i = 0; i < 12; ++i) {
    const auto y = std::size_t(i / 6), x = std::size_t(i / 3 % 2);
    double v = 0;
    for (int k = rb[y]; k < rb[y + 1]; ++k)
      for (int j = cb[x]; j < cb[x + 1]; ++j) v += double(rw[std::size_t(k)]) * double(cw[std::size_t(j)]) * value(rf[y] + k - rb[y], cf[x] + j - cb[x], i % 3);
    CHECK(std::fabs(double(sums[std::size_t(i)]) - std::clamp(v, 0.0, 255.0)) <= 0.5 + 1e-3);
  }

  const std::vector<std::int32_t> rows{0, 1, 2048, 0, 5, 6, 512, 1536}, columns{2, 3, 1000, 1048, 8, 8, 2048, 0};
  Buffer<std::int32_t> lr(rows), lc(columns);
  const auto linear = bytes_of_launch(pixel_grid(2, 2), 12, [&](std::uint8_t* out) { return area_linear({d.data(), out, w, 2, 2, lr.data(), lc.data()}); });
  for (int i = 0; i < 12; ++i) {
    const std::int32_t *v = &rows[std::size_t(i / 6 * 4)], *t = &columns[std::size_t(i / 3 % 2 * 4)];
    const auto across = [&](int y) { return double(value(y, t[0], i % 3) * t[2] + value(y, t[1], i % 3) * t[3]) / 2048; };
    CHECK(std::fabs(double(linear[std::size_t(i)]) - (across(v[0]) * v[2] + across(v[1]) * v[3]) / 2048) <= 0.5 + 3.0 / 4);  // two truncations below the last rounding
  }
}

TEST_CASE("byte_range and range_table: the extremes of any number of bytes, and their table") {
  for (const auto& [n, blocks] : {std::pair(5000, 3), {1, 1}, {257, 2}}) {
    auto bytes = noise(std::size_t(n));
    for (auto& b : bytes) b = std::uint8_t(20 + b / 2);
    Buffer<std::uint8_t> d(bytes);
    std::vector<double> partial;
    const Launch l{{unsigned(blocks)}, {256}, byte_range_shared()};
    const auto make = [&, n = n, blocks = blocks](void* out) { return byte_range({d.data(), n, static_cast<float*>(out), blocks}); };
    run_sound(l, Type::f32, std::size_t(2 * blocks), partial, make);
    if (n == 5000) every_sync_is_needed(l, Type::f32, std::size_t(2 * blocks), make);
    std::vector<float> pairs(partial.begin(), partial.end());
    Buffer<float> dp(pairs), range(2);
    std::vector<double> table;
    run_sound({{1}, {256}}, Type::f32, 768, table, [&, blocks = blocks](void* out) { return range_table({dp.data(), blocks, range.data(), static_cast<float*>(out)}); });
    const int low = *std::min_element(bytes.begin(), bytes.end()), high = *std::max_element(bytes.begin(), bytes.end());
    CHECK(range.values() == std::vector<float>{float(low), float(high)});
    for (int v = 0; v < 256; ++v)
      for (int c = 0; c < 3; ++c) CHECK(table[std::size_t(256 * c + v)] == double(float(double(v - low) / (high > low ? double(high - low) : 1e-8))));
  }
}

TEST_CASE("map_bytes: by the table of each channel, zeros around") {
  const int h = 5, w = 9, side = 12, top = 3, left = 2;
  const auto image = noise(std::size_t(3 * h * w));
  const auto table = random_values(3, 768);
  Buffer<std::uint8_t> d(image);
  Buffer<float> dt(table);
  std::vector<double> got;
  run_sound({pixel_grid(side, side), {256}}, Type::f32, std::size_t(3 * side * side), got, [&](void* out) { return map_bytes({d.data(), static_cast<float*>(out), h, w, side, top, left, dt.data()}); });
  for (int i = 0; i < 3 * side * side; ++i) {
    const int y = i / 3 / side - top, x = i / 3 % side - left;
    const bool in = y >= 0 && y < h && x >= 0 && x < w;
    CHECK(got[std::size_t(i)] == (in ? double(table[std::size_t(256 * (i % 3) + image[std::size_t(3 * (y * w + x) + i % 3)])]) : 0.0));
  }
}

TEST_CASE("cubic_lines: the steps of the host's cubic_line, to the last bit") {
  for (const auto& [n, size] : {std::pair(23, 9), {6, 17}, {1, 4}, {2, 2}}) {
    const int outer = 2, inner = 3;
    const auto image = noise(std::size_t(outer * n * inner));
    std::vector<double> want(std::size_t(outer * size * inner));
    const Index radius = sampan::detail::CubicAxis{n, size, 0, {}, {}, {}}.gauss_radius();
    std::vector<double> gauss(std::size_t(radius + 1)), weight(std::size_t(4 * size));
    std::vector<std::int32_t> position(static_cast<std::size_t>(size));
    sampan::detail::CubicAxis axis{n, size, radius, View<double, 1>(gauss.data(), {radius + 1}), View<std::int32_t, 1>(position.data(), {size}), View<double, 2>(weight.data(), {size, 4})};
    sampan::detail::fill_cubic_axis(axis);
    std::vector<double> scratch(std::size_t(sampan::detail::cubic_scratch(axis, 3)));
    for (int o = 0; o < outer; ++o)
      sampan::detail::cubic_line<3>(
          axis, scratch.data(), [&, n = n](Index i, double* v) { for (int l = 0; l < 3; ++l) v[l] = image[std::size_t((o * n + i) * 3 + l)]; },
          [&, size = size](Index i, const double* v) { for (int l = 0; l < 3; ++l) want[std::size_t((o * size + i) * 3 + l)] = v[l]; });
    Buffer<std::uint8_t> d(image);
    Buffer<double> dg(gauss), dw(weight);
    Buffer<std::int32_t> dp(position);
    const double z = std::sqrt(3.0) - 2.0;
    double zn = 1;
    for (int i = 1; i < n; ++i) zn *= z;
    CubicParams p{d.data(), nullptr, outer, n, inner, dg.data(), int(radius), z, zn, size, dp.data(), dw.data(), nullptr};
    const unsigned threads = unsigned(outer * inner);
    for (const Order order : {Order::forward, Order::backward, Order::random}) {
      Buffer<double> line(image.size()), out(want.size());
      p.in = d.data(), p.out = line.data();
      const emu::Report first = launch({unsigned(image.size() + 255) / 256}, {256}, 0, cubic_gauss(p, true), {.order = order});
      CHECK_MESSAGE(first.findings.empty(), first.text());
      line.make_writable();
      if (n > 1) {
        const emu::Report second = launch({(threads + 63) / 64}, {64}, 0, cubic_recursion(p), {.order = order});
        CHECK_MESSAGE(second.findings.empty(), second.text());
      }
      p.in = line.data(), p.out = out.data();
      const emu::Report third = launch({unsigned(want.size() + 255) / 256}, {256}, 0, cubic_taps(p, false), {.order = order});
      CHECK_MESSAGE(third.findings.empty(), third.text());
      CHECK(out.fully_written());
      CHECK(out.values() == want);
      // The last step of an image: clipped, cut off.
      const std::vector<float> extremes{60, 200};
      Buffer<float> range(extremes);
      p.range = range.data();
      const auto bytes = bytes_of_launch({unsigned(want.size() + 255) / 256}, want.size(), [&](std::uint8_t* to) {
        p.out = to;
        return cubic_taps(p, true);
      });
      for (std::size_t i = 0; i < want.size(); ++i) CHECK(bytes[i] == std::uint8_t(std::clamp(want[i], 60.0, 200.0)));
      p.range = nullptr;
    }
  }
}
