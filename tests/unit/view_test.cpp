// View: strides, sub-views, shapes, conversions of core/view.hpp. Data flow: none; pure index arithmetic.
#include <sampan/core/view.hpp>

#include <doctest/doctest.h>

#include <numeric>
#include <vector>

using namespace sampan;

namespace {
std::vector<float> counting(std::size_t n) {
  std::vector<float> v(n);
  std::iota(v.begin(), v.end(), 0.0f);
  return v;
}
}  // namespace

static_assert(std::is_trivially_copyable_v<View<float, 3>>);
static_assert(std::is_convertible_v<View<float, 2>, View<const float, 2>>);
static_assert(!std::is_convertible_v<View<const float, 2>, View<float, 2>>);
static_assert(!std::is_convertible_v<View<float, 2>, View<float, 3>>);

TEST_CASE("a fresh view is row-major and contiguous") {
  auto data = counting(24);
  const View<float, 3> v(data.data(), {2, 3, 4});
  CHECK(v.stride(0) == 12);
  CHECK(v.stride(1) == 4);
  CHECK(v.stride(2) == 1);
  CHECK(v.size() == 24);
  CHECK(v.contiguous());
  CHECK_FALSE(v.empty());
  CHECK(v(1, 2, 3) == 23);
  v(0, 1, 2) = -1;
  CHECK(data[6] == -1);
  const View<const float, 3> c = v;
  CHECK(c.data() == v.data());
  CHECK(c.strides() == v.strides());
}

TEST_CASE("default views and views with an empty axis are empty") {
  CHECK(View<float, 2>().empty());
  CHECK(View<float, 2>().data() == nullptr);
  CHECK(View<float, 3>(nullptr, {3, 0, 4}).empty());
  CHECK(View<float, 3>(nullptr, {3, 0, 4}).size() == 0);
}

TEST_CASE("sub-views: first axis, slices of every axis, and their strides") {
  auto data = counting(24);
  const View<float, 3> v(data.data(), {2, 3, 4});
  const View<float, 2> second = v[1];
  CHECK(second.extents() == std::array<Index, 2>{3, 4});
  CHECK(second(0, 0) == 12);
  CHECK(second[2](1) == 21);
  const auto middle = v.slice(1, 1, 2).slice(2, 2, 2);
  CHECK(middle.extents() == std::array<Index, 3>{2, 2, 2});
  CHECK(middle(0, 0, 0) == 6);
  CHECK(middle(1, 1, 1) == 23);
  CHECK_FALSE(middle.contiguous());
  CHECK(v.slice(0, 1, 1).contiguous());        // one row block of a contiguous view
  CHECK(v.slice(0, 2, 0).empty());             // an empty slice at the end is legal
  CHECK(v.slice(1, 0, 1).slice(0, 0, 1).contiguous());
}

TEST_CASE("contiguous looks at extents that matter: an axis of one element may have any stride") {
  float x[8] = {};
  CHECK(View<float, 3>(x, {1, 2, 4}, {100, 4, 1}).contiguous());
  CHECK(View<float, 3>(x, {2, 1, 4}, {4, 77, 1}).contiguous());
  CHECK_FALSE(View<float, 2>(x, {2, 2}, {3, 1}).contiguous());
  CHECK_FALSE(View<float, 2>(x, {2, 2}, {1, 2}).contiguous());
}

TEST_CASE("reshape keeps the order of elements; tokens and as_map are inverse, also with a gap after each pixel") {
  auto data = counting(24);
  const View<float, 3> v(data.data(), {2, 3, 4});
  const auto flat = v.reshape<2>({6, 4});
  CHECK(flat(5, 3) == 23);
  CHECK(v.reshape<1>({24})(13) == 13);
  const auto rows = tokens(v);
  CHECK(rows.extents() == std::array<Index, 2>{6, 4});
  CHECK(rows(4, 1) == v(1, 1, 1));
  const auto map = as_map(rows, 2, 3);
  CHECK(map.extents() == v.extents());
  CHECK(map.strides() == v.strides());

  const View<float, 3> gap(data.data(), {2, 3, 2}, {12, 4, 1});  // two channels of four
  const auto gap_rows = tokens(gap);
  CHECK(gap_rows.stride(0) == 4);
  CHECK(gap_rows(4, 1) == gap(1, 1, 1));
  CHECK(as_map(gap_rows, 2, 3)(1, 2, 1) == gap(1, 2, 1));
}

TEST_CASE("same_extents compares extents, not strides or constness") {
  float x[64] = {};
  const View<float, 2> a(x, {2, 3}), b(x, {3, 2});
  const View<const float, 2> c(x, {2, 3}, {10, 1});
  CHECK(same_extents(a, c));
  CHECK_FALSE(same_extents(a, b));
}

TEST_CASE("volumes as tokens and back, also with gaps between voxels") {
  float x[120] = {};
  for (int i = 0; i < 120; ++i) x[i] = float(i);
  const View<float, 4> v(x, {2, 3, 4, 5}), gap(x, {2, 3, 4, 3}, {60, 20, 5, 1});
  const auto rows = tokens(gap);
  CHECK(rows.extents() == View<float, 2>::Extents{24, 3});
  CHECK(rows(23, 2) == gap(1, 2, 3, 2));
  const auto back = as_volume(rows, 2, 3, 4);
  CHECK(back.strides() == gap.strides());
  CHECK(back(1, 0, 2, 1) == v(1, 0, 2, 1));
}
