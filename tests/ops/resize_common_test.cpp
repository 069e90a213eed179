// The size rule of SAM and LiteMedSAM against values of the Python originals.
#include <sampan/ops/resize_common.hpp>

#include <doctest/doctest.h>

using namespace sampan;

TEST_CASE("longest_side_size is int(side * (target / longer) + 0.5)") {
  // ResizeLongestSide(1024).get_preprocess_shape and int(x * 256 / longer + 0.5), computed in Python.
  CHECK(longest_side_size({1200, 1800}, 1024) == Extent2{683, 1024});
  CHECK(longest_side_size({181, 258}, 320) == Extent2{224, 320});
  CHECK(longest_side_size({181, 258}, 256) == Extent2{180, 256});
  CHECK(longest_side_size({512, 512}, 1024) == Extent2{1024, 1024});
  CHECK(longest_side_size({3, 2}, 1024) == Extent2{1024, 683});
  CHECK(longest_side_size({1411, 1411}, 256) == Extent2{256, 256});
  CHECK(longest_side_size({1024, 1024}, 1024) == Extent2{1024, 1024});
  CHECK(longest_side_size({1, 1}, 1024) == Extent2{1024, 1024});
}

TEST_CASE("longest_side_size keeps at least one pixel") {
  CHECK(longest_side_size({1, 20000}, 1024) == Extent2{1, 1024});
  CHECK(longest_side_size({20000, 1}, 256) == Extent2{256, 1});
  CHECK(longest_side_size({Index(1) << 30, 1}, 256) == Extent2{256, 1});
}

TEST_CASE("longest_side_size: the longer side is the target for every size") {
  for (std::int64_t n = 1; n <= 5000; ++n)
    for (int target : {224, 256, 1024}) {
      const Extent2 s = longest_side_size({n, n / 2 + 1}, target);
      if (s.height != target) FAIL(n << " gives " << s.height << " instead of " << target);
    }
}
