// HostMemory and Tensor of core/memory.hpp: alignment, ownership, copies of strided data, memory that is not to be had.
#include "support/sanitizers.hpp"

#include <sampan/core/memory.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <limits>
#include <vector>

using namespace sampan;

namespace {

/// Counts what lives; refuses when told to.
struct CountingMemory {
  static inline int live = 0;
  static inline bool refuse = false;
  static void* allocate(std::size_t bytes) noexcept {
    if (refuse) return nullptr;
    ++live;
    return HostMemory::allocate(bytes);
  }
  static void release(void* p) noexcept {
    if (p) --live;
    HostMemory::release(p);
  }
  static inline int uploads = 0;
  static inline bool lose = false;  // copies fail
  static bool upload(void* to, const void* from, std::size_t bytes) noexcept { return ++uploads, !lose && HostMemory::upload(to, from, bytes); }
};
struct Counting {
  using Memory = CountingMemory;
};
template <int R>
using T = Tensor<float, R, Counting>;

static_assert(!std::is_copy_constructible_v<T<2>>);
static_assert(std::is_nothrow_move_constructible_v<T<2>>);

}  // namespace

TEST_CASE("host memory is cache-line aligned for every size, and impossible sizes give nullptr") {
  for (std::size_t bytes : {std::size_t(0), std::size_t(1), std::size_t(63), std::size_t(64), std::size_t(65), std::size_t(4097)}) {
    void* p = HostMemory::allocate(bytes);
    REQUIRE(p != nullptr);
    CHECK(reinterpret_cast<std::uintptr_t>(p) % kAlignment == 0);
    HostMemory::release(p);
  }
  HostMemory::release(nullptr);
  volatile std::size_t most = std::numeric_limits<std::size_t>::max();  // volatile: the compiler would warn of what is meant
  CHECK(HostMemory::allocate(most) == nullptr);                         // rounding up would wrap
  if (!test::kSanitized) CHECK(HostMemory::allocate(most - 63) == nullptr);  // a multiple of 64, but nobody has it
}

TEST_CASE("a tensor owns its memory: made, moved, assigned, dropped once") {
  CountingMemory::live = 0;
  {
    T<2> a({3, 4});
    CHECK(a.valid());
    CHECK(a.extent(0) == 3);
    CHECK(a.view().contiguous());
    CHECK(CountingMemory::live == 1);
    float* p = a.view().data();
    T<2> b(std::move(a));
    CHECK(b.view().data() == p);
    CHECK_FALSE(a.valid());
    CHECK(a.empty());
    T<2> c({2, 2});
    CHECK(CountingMemory::live == 2);
    c = std::move(b);
    CHECK(c.view().data() == p);
    CHECK(CountingMemory::live == 1);
    T<2>& self = c;
    c = std::move(self);  // keeps what it has
    CHECK(c.view().data() == p);
  }
  CHECK(CountingMemory::live == 0);
}

TEST_CASE("copy_of gathers strided data in row-major order") {
  std::vector<float> data(60);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = float(i);
  const View<const float, 3> strided(data.data() + 1, {2, 3, 4}, {30, 8, 2});
  const auto t = T<3>::copy_of(strided);
  REQUIRE(t.valid());
  CHECK(t.view().contiguous());
  for (Index i = 0; i < 2; ++i)
    for (Index j = 0; j < 3; ++j)
      for (Index k = 0; k < 4; ++k) CHECK(t.view()(i, j, k) == float(1 + 30 * i + 8 * j + 2 * k));
  const auto plain = T<2>::copy_of(View<const float, 2>(data.data(), {5, 12}));
  CHECK(plain.view()(4, 11) == 59);
  CHECK(plain.view().data() != data.data());
}

TEST_CASE("a copy of nothing is empty but valid; a tensor without memory is neither") {
  CHECK(T<1>::copy_of(View<const float, 1>()).valid());
  CHECK(T<1>::copy_of(View<const float, 1>()).empty());
  CHECK_FALSE(T<1>().valid());
  CountingMemory::refuse = true;
  const T<2> refused({3, 4});
  float x[12] = {};
  const auto copy = T<2>::copy_of(View<const float, 2>(x, {3, 4}));
  CountingMemory::refuse = false;
  CHECK_FALSE(refused.valid());
  CHECK(refused.empty());
  CHECK_FALSE(copy.valid());
}

TEST_CASE("other memory: a strided copy travels at once, and a copy that fails leaves an empty tensor") {
  const float values[] = {1, 2, 3, 4, 5, 6};
  const View<const float, 2> columns(values, {2, 2}, {3, 1});
  CountingMemory::live = CountingMemory::uploads = 0;
  {
    const auto t = T<2>::copy_of(columns);
    CHECK(CountingMemory::uploads == 1);
    CHECK(t.view()(1, 0) == 4);
    CHECK(t.view()(1, 1) == 5);
    CountingMemory::lose = true;
    CHECK_FALSE(T<2>::copy_of(columns).valid());
    CHECK_FALSE(T<1>::copy_of(View<const float, 1>(values, {6})).valid());
    CountingMemory::lose = false;
    CHECK(CountingMemory::live == 1);
  }
  CHECK(CountingMemory::live == 0);
}
