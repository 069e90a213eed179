// PyTorch's trilinear interpolation: the definition in double, threads, bad extents. PyTorch's own numbers: tests/parity/med3d_test.cpp.
#include "ops/resize_cases.hpp"

#include <sampan/ops/resize_torch_trilinear.hpp>

using namespace sampan;
using namespace sampan::test;

namespace {

struct Tap {
  Index i0, i1;
  double w1;
};
Tap tap(Index o, Index in, Index out) {
  const double at = std::max(0.0, (double(o) + 0.5) * double(in) / double(out) - 0.5);
  const Index i = std::min(Index(at), in - 1);
  return {i, std::min(i + 1, in - 1), at - double(i)};
}

std::vector<float> resized(const std::vector<float>& in, std::array<Index, 3> from, std::array<Index, 3> to, int threads) {
  std::vector<float> out(std::size_t(to[0] * to[1] * to[2]), -7.0f);
  REQUIRE(planned_run(threads, [&](auto& ctx) { resize_torch_trilinear(ctx, View<const float, 3>(in.data(), from), View<float, 3>(out.data(), to)); }));
  return out;
}

}  // namespace

TEST_CASE("resize_torch_trilinear against the definition in double, the same for any number of threads") {
  struct Sizes {
    std::array<Index, 3> from, to;
  };
  for (const Sizes& s : {Sizes{{4, 5, 6}, {16, 20, 24}}, {{1, 1, 1}, {3, 2, 4}}, {{7, 6, 5}, {3, 4, 2}}, {{3, 9, 2}, {8, 5, 2}}, {{2, 3, 4}, {2, 3, 4}}})
    each_pixel_level([&] {
      const auto in = hash_fill(8, "volume", {s.from[0], s.from[1], s.from[2]});
      const auto out = resized(in, s.from, s.to, 1);
      for (int threads : {2, 3}) CHECK(out == resized(in, s.from, s.to, threads));
      // u = 2^-24: the float scale moves a position by n u, a value by 2 n u; each axis rounds two weights, two products and a sum: 5 u (values are below 1).
      const double bound = 0x1p-24 * double(2 * (s.from[0] + s.from[1] + s.from[2]) + 15);
      for (Index z = 0; z < s.to[0]; ++z)
        for (Index y = 0; y < s.to[1]; ++y)
          for (Index x = 0; x < s.to[2]; ++x) {
            const Tap t[] = {tap(z, s.from[0], s.to[0]), tap(y, s.from[1], s.to[1]), tap(x, s.from[2], s.to[2])};
            double want = 0;
            for (int corner = 0; corner < 8; ++corner) {
              double weight = 1;
              Index at = 0;
              for (int a = 0; a < 3; ++a) {
                const bool second = (corner >> a & 1) != 0;
                weight *= second ? t[a].w1 : 1 - t[a].w1;
                at = at * s.from[std::size_t(a)] + (second ? t[a].i1 : t[a].i0);
              }
              want += weight * double(in[std::size_t(at)]);
            }
            CHECK(std::abs(double(out[std::size_t((z * s.to[1] + y) * s.to[2] + x)]) - want) <= bound);
          }
    });
}

TEST_CASE("resize_torch_trilinear refuses empty and strided volumes and writes nothing") {
  std::vector<float> in(300, 1.0f), out(64, -7.0f);
  const auto refused = [&](View<const float, 3> a, View<float, 3> b) {
    const Status s = planned_run(1, [&](auto& ctx) { resize_torch_trilinear(ctx, a, b); });
    REQUIRE(!s);
    CHECK(s.error().code() == ErrorCode::invalid_argument);
  };
  refused({in.data(), {0, 5, 3}}, {out.data(), {4, 4, 4}});
  refused({in.data(), {5, 5, 3}}, {out.data(), {4, 0, 4}});
  refused({in.data(), {5, 5, 3}, {15, 3, 2}}, {out.data(), {4, 4, 4}});
  CHECK(out == std::vector<float>(64, -7.0f));
}
