// Kernels behind the network on the emulator: mask bytes and the counts of their rows against the literal comparison, sigmoid.
#include "cases.hpp"

#include <sampan/ops/resize_torch_bilinear.hpp>

using namespace sampan;
using namespace sampan::emu;

TEST_CASE("mask_rows: bytes and counts of the literal definition; planes without the least score are left out") {
  for (const auto& [height, width, oh, ow] : {std::array<int, 4>{6, 7, 5, 300}, {9, 5, 4, 3}, {1, 1, 2, 33}}) {
    const int planes = 3, stride = width + 2;
    const long long plane = static_cast<long long>(height) * stride + 5;
    const auto values = random_values(4, std::size_t(planes * plane));
    // The third plane has nothing above the threshold: an empty mask; the second is left out.
    std::vector<float> in(values);
    for (long long i = 2 * plane; i < 3 * plane; ++i) in[std::size_t(i)] = -std::fabs(in[std::size_t(i)]);
    const std::vector<float> limits{0.1f, 0.4f, -0.2f, 0.5f}, score{0.9f, 0.5f, 0.7f};
    Buffer<float> d(in), dl(limits), ds(score);
    const std::size_t pixels = std::size_t(oh * ow), rows = std::size_t(oh * 5);
    const Launch l{{unsigned(oh), unsigned(planes)}, {256}, mask_rows_shared()};
    std::vector<std::uint8_t> first;
    const auto params = [&, h = height, w = width, a = oh, b = ow](std::uint8_t* mask, std::int32_t* counts) {
      return MaskRowsParams{d.data(), planes, h, w, stride, plane, a, b, mask, counts, dl.data(), ds.data()};
    };
    for (const Order order : {Order::forward, Order::backward, Order::random}) {
      Buffer<std::uint8_t> mask(planes * pixels);
      Buffer<std::int32_t> counts(planes * rows);
      const Report r = launch(l.grid, l.block, l.shared, mask_rows(params(mask.data(), counts.data())), {.order = order});
      CHECK_MESSAGE(r.findings.empty(), r.text());
      const auto got = mask.values();
      const auto numbers = counts.values();
      if (first.empty()) first = got;
      CHECK(first == got);
      for (const int i : {0, 2})
        for (int y = 0; y < oh; ++y) {
          const auto ty = sampan::detail::bilinear_tap(height, oh, y);
          std::int32_t area = 0, above = 0, around = 0, from = ow, to = -1;
          for (int x = 0; x < ow; ++x) {
            const auto tx = sampan::detail::bilinear_tap(width, ow, x);
            const auto at = [&](Index row, Index column) { return in[std::size_t(i * plane + row * stride + column)]; };
            const float a = tx.w0 * at(ty.i0, tx.i0) + tx.w1 * at(ty.i0, tx.i1), b = tx.w0 * at(ty.i1, tx.i0) + tx.w1 * at(ty.i1, tx.i1), v = ty.w0 * a + ty.w1 * b;
            CHECK(got[std::size_t(i) * pixels + std::size_t(y * ow + x)] == (v > limits[0] ? 1 : 0));
            area += v > limits[0], above += v > limits[1], around += v > limits[2];
            if (v > limits[0]) from = from == ow ? x : from, to = x;
          }
          const std::int32_t* n = &numbers[std::size_t(i) * rows + std::size_t(5 * y)];
          CHECK(std::vector<std::int32_t>(n, n + 5) == std::vector<std::int32_t>{area, above, around, from, to});
        }
      for (std::size_t k = pixels; k < 2 * pixels; ++k) CHECK(got[k] == got[pixels]);  // as it was allocated
    }
    if (ow == 300) {
      Buffer<std::uint8_t> mask(planes * pixels);
      every_sync_is_needed(l, Type::f32, planes * rows, [&](void* counts) { return mask_rows(params(mask.data(), static_cast<std::int32_t*>(counts))); });
    }
  }
}

TEST_CASE("sigmoid: within two roundings of the definition") {
  const auto x = random_values(2, 300, 20);
  Buffer<float> d(x);
  std::vector<double> got;
  run_sound({{2}, {256}}, Type::f32, x.size(), got, [&](void* y) { return sigmoid({d.data(), static_cast<float*>(y), 300}); });
  // exp within one unit in the last place, then a sum and a quotient: relative error of at most 2 (one for exp, counted whole) + 1/2 + 1/2 units of 2^-23.
  for (std::size_t i = 0; i < x.size(); ++i) CHECK(std::fabs(got[i] * (1 + std::exp(-double(x[i]))) - 1) <= 3 * 0x1p-23);
}
