// Window and level, grey to RGB, alpha, value ranges: to_rgb8 against its formula for every pixel type.
#include <sampan/image/window_level.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

using namespace sampan;

namespace {

struct HostBackend {
  using Memory = HostMemory;
};

std::vector<std::uint8_t> rgb_of(const ImageView& v, std::optional<WindowLevel> w, int threads = 0, Status* status = nullptr) {
  std::vector<std::uint8_t> out(std::size_t(v.size.width * v.size.height * 3), 0xA5);
  const View<std::uint8_t, 3> to(out.data(), {v.size.height, v.size.width, 3});
  Status s;
  if (threads == 0) {
    s = to_rgb8(v, w, to);
  } else {
    const HostBackend b;
    ThreadPool pool(threads);
    Arena arena;
    Context<HostBackend> ctx(b, pool, arena);
    to_rgb8(ctx, v, w, to);
    s = ctx.status();
  }
  if (status) {
    *status = s;
  } else {
    REQUIRE_MESSAGE(s, s.error().what());
  }
  return out;
}

// (clip(x) - low) / (high - low) * 255 truncated, as MedSAM's pre_CT_MR.py computes it with numpy in double.
int windowed(double x, WindowLevel w) {
  const double low = w.center - w.width / 2, high = w.center + w.width / 2;
  return int((std::fmin(std::fmax(x, low), high) - low) / (high - low) * 255.0);
}

}  // namespace

TEST_CASE("a window maps every 16-bit value by the formula, on any number of threads") {
  for (const WindowLevel w : {WindowLevel{40, 400}, {-600, 1500}, {0.5, 1}, {1000, 65535}, {40, 80}}) {
    std::vector<std::int16_t> pixels;
    for (int v = -32768; v < 32768; ++v) pixels.push_back(std::int16_t(v));
    const ImageView view{pixels.data(), {.width = 256, .height = 256}, PixelType::i16};
    const auto one = rgb_of(view, w);
    int wrong = 0;
    for (std::size_t i = 0; i < pixels.size(); ++i)
      for (std::size_t c = 0; c < 3; ++c) wrong += one[3 * i + c] != windowed(pixels[i], w);
    CHECK(wrong == 0);
    for (const int threads : {1, 2, 3, 8}) CHECK(rgb_of(view, w, threads) == one);
  }
}

TEST_CASE("the ends of a window: black at and below, white at and above") {
  const std::int16_t p[] = {-161, -160, -159, 40, 239, 240, 241};
  const auto out = rgb_of({p, {7, 1}, PixelType::i16}, WindowLevel{40, 400});
  CHECK(out[0] == 0);
  CHECK(out[3] == 0);
  CHECK(out[6] == 0);     // 1/400 * 255 = 0.6, truncated
  CHECK(out[9] == 127);   // the level: 127.5, truncated
  CHECK(out[12] == 254);
  CHECK(out[15] == 255);
  CHECK(out[18] == 255);
}

TEST_CASE("unsigned, float and 8-bit pixels take windows too; infinities are clipped") {
  const std::uint16_t u[] = {0, 40000, 65535};
  CHECK(rgb_of({u, {3, 1}, PixelType::u16}, WindowLevel{40000, 20000}) == std::vector<std::uint8_t>{0, 0, 0, 127, 127, 127, 255, 255, 255});
  const float inf = std::numeric_limits<float>::infinity(), f[] = {-inf, 0.5f, inf, 0.25f};
  CHECK(rgb_of({f, {4, 1}, PixelType::f32}, WindowLevel{0.5, 1}) == std::vector<std::uint8_t>{0, 0, 0, 127, 127, 127, 255, 255, 255, 63, 63, 63});
  const std::uint8_t b[] = {0, 100, 255};
  CHECK(rgb_of({b, {3, 1}, PixelType::u8}, WindowLevel{100, 100}) == std::vector<std::uint8_t>{0, 0, 0, 127, 127, 127, 255, 255, 255});
}

TEST_CASE("channels: grey becomes three, alpha is dropped, colour stays") {
  const std::uint8_t p[] = {10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120};
  CHECK(rgb_of({p, {2, 1, 1}}, {}) == std::vector<std::uint8_t>{10, 10, 10, 20, 20, 20});
  CHECK(rgb_of({p, {2, 1, 2}}, {}) == std::vector<std::uint8_t>{10, 10, 10, 30, 30, 30});
  CHECK(rgb_of({p, {2, 1, 3}}, {}) == std::vector<std::uint8_t>{10, 20, 30, 40, 50, 60});
  CHECK(rgb_of({p, {2, 1, 4}}, {}) == std::vector<std::uint8_t>{10, 20, 30, 50, 60, 70});
  // Rows that lie apart, and pixels at an odd address.
  CHECK(rgb_of({p, {1, 2, 3}, PixelType::u8, 5}, {}) == std::vector<std::uint8_t>{10, 20, 30, 60, 70, 80});
  alignas(2) std::uint8_t odd[5] = {0, 0x10, 0x27, 0, 0};  // 10000 in little-endian, one byte off
  CHECK(rgb_of({odd + 1, {1, 1}, PixelType::u16}, WindowLevel{10000, 2})[0] == 127);
}

TEST_CASE("16-bit and float without a window: an error that shows the range") {
  const std::int16_t p[] = {-1024, 17, 3071, 5};
  const std::uint16_t u[] = {7, 7};
  const float f[] = {0.125f, 2.5f};
  for (const int threads : {0, 1, 3}) {
    Status s;
    const auto out = rgb_of({p, {2, 2}, PixelType::i16}, {}, threads, &s);
    REQUIRE(!s);
    CHECK(s.error().code() == ErrorCode::invalid_argument);
    CHECK(s.error().message() == "signed 16-bit image with values from -1024 to 3071 needs a window: pass a level and a width, for example 40 and 400 for soft tissue in CT, or 1023.5 and 4095 for all of it");
    CHECK(out == std::vector<std::uint8_t>(12, 0xA5));
    rgb_of({u, {2, 1}, PixelType::u16}, {}, threads, &s);
    CHECK(s.error().message().find("from 7 to 7 ") != std::string::npos);
    rgb_of({f, {2, 1}, PixelType::f32}, {}, threads, &s);
    CHECK(s.error().message().find("from 0.125 to 2.5 ") != std::string::npos);
  }
}

TEST_CASE("bad windows, NaN and wrong extents are errors") {
  const std::int16_t p[] = {1, 2};
  const double nan = std::nan(""), inf = std::numeric_limits<double>::infinity();
  for (const WindowLevel w : {WindowLevel{40, 0}, {40, -400}, {nan, 400}, {40, nan}, {inf, 1}, {0, inf}, {1.7e308, 1.7e308}, {1e17, 1}}) {
    Status s;
    rgb_of({p, {2, 1}, PixelType::i16}, w, 0, &s);
    REQUIRE(!s);
    CHECK(s.error().code() == ErrorCode::invalid_argument);
  }
  const float f[] = {1, std::nanf(""), 2};
  for (const int threads : {0, 1, 2}) {
    Status s;
    rgb_of({f, {3, 1}, PixelType::f32}, WindowLevel{0, 4}, threads, &s);
    REQUIRE(!s);
    CHECK(s.error().message().find("NaN") != std::string::npos);
  }
  std::uint8_t out[12];
  CHECK(!to_rgb8(ImageView{p, {2, 1}, PixelType::i16}, WindowLevel{0, 4}, View<std::uint8_t, 3>(out, {1, 1, 3})));
  CHECK(!to_rgb8(ImageView{p, {2, 1}, PixelType::i16}, WindowLevel{0, 4}, View<std::uint8_t, 3>(out, {1, 2, 1})));
  CHECK(!to_rgb8(ImageView{nullptr, {2, 1}}, {}, View<std::uint8_t, 3>(out, {1, 2, 3})));
}

TEST_CASE("value_range leaves out alpha and what is not finite") {
  const float f[] = {1, std::numeric_limits<float>::infinity(), -3, std::nanf(""), 2, 0};
  const auto r = value_range({f, {6, 1}, PixelType::f32});
  REQUIRE(r);
  CHECK(r->low == -3);
  CHECK(r->high == 2);
  CHECK(!r->finite);
  const std::uint8_t b[] = {50, 255, 60, 0};
  const auto grey_alpha = value_range({b, {2, 1, 2}});
  CHECK(grey_alpha->low == 50);
  CHECK(grey_alpha->high == 60);
  CHECK(grey_alpha->finite);
  const float none[] = {std::nanf("")};
  CHECK(value_range({none, {1, 1}, PixelType::f32})->high == 0);
}

TEST_CASE("presets are found by name, and an unknown one lists them") {
  CHECK(*window_preset("soft-tissue") == WindowLevel{40, 400});
  CHECK(*window_preset("lung") == WindowLevel{-600, 1500});
  CHECK(*window_preset("brain") == WindowLevel{40, 80});
  CHECK(*window_preset("bone") == WindowLevel{400, 1800});
  for (const WindowPreset& p : kWindowPresets) CHECK(check(*window_preset(p.name)));
  const auto r = window_preset("lungs");
  REQUIRE(!r);
  for (const WindowPreset& p : kWindowPresets) CHECK(r.error().message().find(p.name) != std::string::npos);
}

TEST_CASE("a plan of to_rgb8 needs no pixels and costs what the run costs") {
  const HostBackend b;
  ThreadPool pool(2);
  const std::vector<std::uint8_t> pixels(60 * 70);
  std::vector<std::uint8_t> out(60 * 70 * 3);
  const auto run = [&](const void* p, Context<HostBackend>& ctx) { to_rgb8(ctx, ImageView{p, {70, 60}}, {}, View<std::uint8_t, 3>(out.data(), {60, 70, 3})); };
  const auto planned = plan(b, pool, [&](Context<HostBackend>& ctx) { run(nullptr, ctx); });
  REQUIRE(planned);
  CHECK(planned->arena_bytes == 0);
  Arena arena;
  Context<HostBackend> ctx(b, pool, arena);
  run(pixels.data(), ctx);
  CHECK(ctx.status());
  CHECK(ctx.cost().bytes == planned->cost.bytes);
}
