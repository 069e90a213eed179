// The emulator itself: known mistakes are found, sound kernels are not accused, formats and tensor-core arithmetic are right.
#include "cases.hpp"

using namespace sampan::emu;

namespace {

std::vector<float> counting(std::size_t n) {
  std::vector<float> v(n);
  for (std::size_t i = 0; i < n; ++i) v[i] = float(i + 1);
  return v;
}

}  // namespace

TEST_CASE("emulator: a sum over a block; warps do not run in lock step") {
  Buffer<float> x(counting(128)), y(1);
  const Report sound = launch({1}, {128}, 512, sum_of_block(x.data(), y.data(), true));
  CHECK_MESSAGE(sound.findings.empty(), sound.text());
  CHECK(y.values()[0] == 128 * 129 / 2);
  CHECK(sound.count.block_syncs == 8);
  const Report broken = launch({1}, {128}, 512, sum_of_block(x.data(), y.data(), false));
  CHECK(broken.has("race"));
}

TEST_CASE("emulator: barriers, uninitialised words and borders of shared and global memory") {
  Buffer<float> x(counting(64));
  const char* const kinds[] = {"", "race", "uninitialised", "outside", "outside"};
  for (int mistake = 0; mistake < 5; ++mistake) {
    CAPTURE(mistake);
    for (const Order order : {Order::forward, Order::backward, Order::random}) {
      Buffer<float> y(64);
      const Report r = launch({1}, {64}, 256, pass_through_shared(x.data(), y.data(), mistake), {.order = order});
      if (mistake == 0) {
        CHECK_MESSAGE(r.findings.empty(), r.text());
        CHECK(y.fully_written());
        for (int i = 0; i < 64; ++i) CHECK(y.values()[std::size_t(i)] == float(64 - i));
      } else if (mistake == 1 && !r.has("race")) {
        CHECK(r.has("uninitialised"));  // in an order in which the reader comes first
      } else {
        CHECK_MESSAGE(r.has(kinds[mistake]), r.text());
      }
    }
  }
}

TEST_CASE("emulator: asynchronous copies arrive at the wait, and for others at the barrier behind it") {
  Buffer<float> x(counting(256));
  for (int mistake = 0; mistake < 4; ++mistake) {
    CAPTURE(mistake);
    Buffer<float> y(256);
    const Report r = launch({1}, {32}, 1024, copy_through_shared(x.data(), y.data(), mistake));
    if (mistake == 0) {
      CHECK_MESSAGE(r.findings.empty(), r.text());
      CHECK(y.values()[0] == 125);
      CHECK(y.values()[127] == 4);
      CHECK(y.values()[130] == 0);  // the second half of a copy of 8 bytes is zeros
      CHECK(r.count.async_bytes == 32 * 16 + 16 * 16 + 16 * 8);
    } else {
      CHECK_MESSAGE(r.has(mistake == 3 ? "race" : "in flight"), r.text());
    }
  }
}

TEST_CASE("emulator: divergence ends with a finding, not with a hang") {
  CHECK(launch({1}, {64}, 0, diverging(1)).has("divergence"));
  CHECK(launch({1}, {64}, 0, diverging(2)).has("divergence"));
  CHECK(launch({1}, {64}, 0, diverging(3)).has("divergence"));
  CHECK(launch({1}, {64}, 0, diverging(0)).findings.empty());
}

TEST_CASE("emulator: blocks of one launch may not write the same word, blocks of two launches may") {
  Buffer<float> y(2);
  CHECK(launch({2}, {32}, 0, blocks_overlap(y.data())).has("race"));
  Buffer<float> z(1);
  CHECK(launch({1}, {32}, 0, blocks_overlap(z.data())).findings.empty());
  CHECK(launch({1}, {32}, 0, blocks_overlap(z.data())).findings.empty());
}

TEST_CASE("emulator: read-only buffers, impossible launches") {
  Buffer<float> x(counting(2));
  CHECK(launch({2}, {32}, 0, blocks_overlap(x.data())).has("outside"));
  CHECK_THROWS(launch({1}, {33}, 0, diverging(0)));
  CHECK_THROWS(launch({0}, {32}, 0, diverging(0)));
  CHECK_THROWS(launch({1}, {32}, 1 << 20, diverging(0)));
}

TEST_CASE("emulator: bank conflicts and sectors are counted") {
  Buffer<float> x(counting(32 * 33));
  for (const int stride : {1, 2, 8, 32, 33}) {
    CAPTURE(stride);
    Buffer<float> y(32);
    const Report r = launch({1}, {32}, 32 * 33 * 4, strided(x.data(), y.data(), stride));
    CHECK(r.findings.empty());
    const auto extra = r.count.shared_wavefronts - r.count.shared_ideal;
    CHECK(extra == std::uint64_t(stride == 33 ? 0 : stride - 1));  // lanes of one bank queue
    CHECK(r.count.global_sectors == r.count.global_ideal);         // neighbouring lanes read neighbouring words
  }
}

TEST_CASE("emulator: binary16 and bfloat16, every value there and back, ties to even") {
  for (std::uint32_t b = 0; b < 65536; ++b) {
    const auto bits = std::uint16_t(b);
    const float f = f16_value(bits), g = bf16_value(bits);
    CHECK((std::isnan(f) ? std::isnan(f16_value(f16_bits(f))) : f16_bits(f) == bits));
    CHECK((std::isnan(g) ? std::isnan(bf16_value(bf16_bits(g))) : bf16_bits(g) == bits));
  }
  CHECK(f16_bits(1.0f + 0x1p-11f) == 0x3c00);       // tie: to even, down
  CHECK(f16_bits(1.0f + 3 * 0x1p-11f) == 0x3c02);   // tie: to even, up
  CHECK(f16_bits(65519.0f) == 0x7bff);
  CHECK(f16_bits(65520.0f) == 0x7c00);
  CHECK(f16_bits(0x1p-25f) == 0);
  CHECK(f16_bits(0x1.8p-25f) == 1);
  CHECK(bf16_bits(1.0f + 0x1p-8f) == 0x3f80);
  CHECK(bf16_bits(1.0f + 3 * 0x1p-8f) == 0x3f82);
}

TEST_CASE("emulator: sums of tensor cores, exact and like hardware") {
  double p[16] = {};
  p[0] = 1, p[1] = 0x1p-30;
  CHECK(sum_exact(p, 0) == 1.0f);
  CHECK(sum_like_hardware(p, 0) == 1.0f);
  p[1] = 0x1.8p-24;  // more than half a unit of float: exact rounds up, hardware cuts
  CHECK(sum_exact(p, 0) == 1.0f + 0x1p-23f);
  CHECK(sum_like_hardware(p, 0) == 1.0f);
  double q[16] = {};
  q[0] = 0x1p24, q[1] = 1, q[2] = -0x1p24;
  CHECK(sum_exact(q, 0) == 1.0f);
  CHECK(sum_like_hardware(q, 0) == 1.0f);  // 1 is the last bit that is kept beside 2^24
  q[1] = 0.5;
  CHECK(sum_like_hardware(q, 0) == 0.0f);
  q[1] = NAN;
  CHECK(std::isnan(sum_like_hardware(q, 0)));
}
