// Attention kernels over several images, one below the other in memory: the bits of each image alone. Data flow: kernels' third axis of the grid.
#include "cases.hpp"

#include <memory>

using namespace sampan::emu;

namespace {

/// run(input, output, images) on two images together and on each alone. `in` and `out`: elements per image.
template <class Run>
void check_batch(Type t, const Launch& one, std::size_t in, std::size_t out, Run&& run) {
  const auto values = random_values(7, 2 * in);
  std::vector<double> together;
  Elements both(t, values);
  Launch two = one;
  two.grid.z = 2;
  run_sound(two, t, 2 * out, together, [&](void* to) { return run(both.data(), to, 2, std::size_t(0)); });
  for (std::size_t i = 0; i < 2; ++i) {
    std::vector<double> alone;
    Elements single(t, std::vector<float>(values.begin() + std::ptrdiff_t(i * in), values.begin() + std::ptrdiff_t((i + 1) * in)));
    run_sound(one, t, out, alone, [&](void* to) { return run(single.data(), to, 1, i); });
    for (std::size_t k = 0; k < out; ++k) CHECK(together[i * out + k] == alone[k]);
  }
}

}  // namespace

TEST_CASE("attention over several images: naive and windowed kernels, and the position terms") {
  const int d = 32;
  const float scale = 0.2f;
  for (const int window : {0, 7}) {
    CAPTURE(window);
    // Two tiles of keys, or two windows; two heads, so that an image's terms are not a head's.
    const int height = window ? 5 : 9, width = window ? 9 : 8, heads = 2, few = 3;
    const std::size_t tokens = std::size_t(height * width), channels = std::size_t(heads * d);
    const int ny = window ? window : height, nx = window ? window : width;
    const auto rel_h = random_values(2, std::size_t((2 * ny - 1) * d), 0.3f), rel_w = random_values(3, std::size_t((2 * nx - 1) * d), 0.3f);
    Buffer<float> dh(rel_h), dw(rel_w);
    // The slow literal kernels on a map of 3 x 3, in windows of 2 or whole.
    const int side = window ? 2 : few;
    const std::size_t little = std::size_t(few * few);
    check_batch(Type::f32, {{1, unsigned(heads)}, {32}}, 3 * little * channels, little * channels, [&](const void* qkv, void* to, int images, std::size_t) {
      AttentionParams p{qkv, to, few, few, heads, d, window ? side : 0, scale, dh.data(), dw.data(), nullptr};
      p.images = images;
      return attention_naive(p, Type::f32);
    });
    std::vector<std::unique_ptr<Buffer<float>>> columns;  // what rel_pos writes beside its rows
    const std::size_t terms = std::size_t(heads) * little * std::size_t(side);
    check_batch(Type::f32, {{unsigned(little), unsigned(heads)}, {128}, std::size_t(4 * d)}, 3 * little * channels, terms, [&](const void* qkv, void* to, int images, std::size_t) {
      columns.push_back(std::make_unique<Buffer<float>>(std::size_t(images) * terms));
      RelPosParams p{qkv, few, few, heads, d, window ? side : 0, dh.data(), dw.data(), static_cast<float*>(to), columns.back()->data()};
      p.images = images;
      return rel_pos(p, Type::f32);
    });
    // The terms of two images, given to the kernels as if made by rel_pos: [images, heads, tokens, n].
    const std::size_t row_terms = std::size_t(heads) * tokens * std::size_t(ny), column_terms = std::size_t(heads) * tokens * std::size_t(nx);
    const auto row = random_values(4, 2 * row_terms), column = random_values(5, 2 * column_terms);
    Buffer<float> dr(row), dc(column);
    if (!window) continue;  // the launcher of attention_global takes the images one by one (tests/cuda/model_test.cpp)
    const Launch one{{unsigned(((height + 6) / 7) * ((width + 6) / 7)), unsigned(heads)}, attention_window_block(window), attention_window_shared(d, window)};
    check_batch(Type::f16, one, 3 * tokens * channels, tokens * channels, [&](const void* qkv, void* to, int images, std::size_t i) {
      AttentionWindowParams p{qkv, to, height, width, heads, scale, dr.data() + i * row_terms, dc.data() + i * column_terms, nullptr};
      p.images = images;
      return attention_window(p, Type::f16, d, window, false);
    });
  }
}
