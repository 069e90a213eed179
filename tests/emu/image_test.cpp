// Kernels around the network on the emulator: patches, depthwise convolution, Pillow's resize against the CPU's to the last bit, normalisation, bilinear logits.
#include "cases.hpp"

#include <sampan/image/normalize.hpp>
#include <sampan/ops/resize_pillow_bilinear.hpp>
#include <sampan/ops/resize_torch_bilinear.hpp>

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

TEST_CASE("normalize: equal to the CPU's, zeros outside") {
  const int h = 5, w = 9, side = 12;
  const auto image = noise(std::size_t(3 * h * w));
  std::vector<float> want(std::size_t(3 * side * side));
  on_host([&](auto& ctx) { normalize_mean_std(ctx, View<const std::uint8_t, 3>(image.data(), {h, w, 3}), MeanStd{}, View<float, 3>(want.data(), {side, side, 3})); });
  Buffer<std::uint8_t> d(image);
  const MeanStd m;
  std::vector<double> got;
  run_sound({pixel_grid(side, side), {256}}, Type::f32, want.size(), got,
            [&](void* out) { return normalize({d.data(), static_cast<float*>(out), h, w, side, {m.mean[0], m.mean[1], m.mean[2]}, {m.std[0], m.std[1], m.std[2]}}); });
  for (std::size_t i = 0; i < want.size(); ++i) CHECK(got[i] == double(want[i]));
}

TEST_CASE("resize_bilinear: values within rounding of the CPU's, the mask agrees with the values") {
  for (const auto& [h, w, oh, ow] : {std::array<int, 4>{8, 10, 33, 21}, {7, 5, 3, 4}, {1, 6, 5, 6}}) {
    const int stride = w + 3;  // a crop
    const auto plane = random_values(6, std::size_t(h * stride));
    std::vector<float> want(std::size_t(oh * ow));
    on_host([&, a = h, b = w, c = oh, e = ow](auto& ctx) { resize_torch_bilinear(ctx, View<const float, 2>(plane.data(), {a, b}, {stride, 1}), View<float, 2>(want.data(), {c, e})); });
    Buffer<float> d(plane);
    std::vector<double> got;
    run_sound({pixel_grid(oh, ow), {256}}, Type::f32, want.size(), got,
              [&, a = h, b = w, c = oh, e = ow](void* out) { return resize_bilinear({d.data(), a, b, stride, static_cast<float*>(out), nullptr, c, e, 0.1f}); });
    for (std::size_t i = 0; i < want.size(); ++i) CHECK(std::fabs(got[i] - double(want[i])) <= 6 * 0x1p-24);
    const auto mask = bytes_of_launch(pixel_grid(oh, ow), want.size(), [&, a = h, b = w, c = oh, e = ow](std::uint8_t* out) { return resize_bilinear({d.data(), a, b, stride, nullptr, out, c, e, 0.1f}); });
    for (std::size_t i = 0; i < want.size(); ++i) CHECK(mask[i] == (got[i] > double(0.1f) ? 1 : 0));
  }
}
