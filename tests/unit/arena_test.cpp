// Arena of core/arena.hpp: scopes, alignment, peak, exhaustion, planning.
#include "support/sanitizers.hpp"

#include <sampan/core/arena.hpp>

#include <doctest/doctest.h>

#include <cstdint>

using namespace sampan;

TEST_CASE("pieces are aligned, disjoint and given back at the end of their scope") {
  Arena arena;
  REQUIRE(arena.reserve(4096));
  float* first = nullptr;
  {
    auto scope = arena.scope();
    auto a = scope.make<float>(3, 5);
    auto b = scope.make<std::uint8_t>(1);
    auto c = scope.make<double>(2, 2, 2);
    first = a.data();
    CHECK(a.contiguous());
    for (auto p : {reinterpret_cast<std::uintptr_t>(a.data()), reinterpret_cast<std::uintptr_t>(b.data()), reinterpret_cast<std::uintptr_t>(c.data())}) CHECK(p % kAlignment == 0);
    CHECK(reinterpret_cast<std::byte*>(b.data()) >= reinterpret_cast<std::byte*>(a.data() + 15));
    CHECK(reinterpret_cast<std::byte*>(c.data()) >= reinterpret_cast<std::byte*>(b.data() + 1));
    for (Index i = 0; i < 3; ++i)
      for (Index j = 0; j < 5; ++j) a(i, j) = 1;
    c(1, 1, 1) = 2;
    CHECK(a(2, 4) == 1);
  }
  auto scope = arena.scope();
  CHECK(scope.make<float>(1).data() == first);
  CHECK(arena.peak() == 64 + 64 + 64);
  CHECK_FALSE(arena.exhausted());
}

TEST_CASE("nested scopes stack; the peak is the most that was in use at once") {
  Arena arena;
  REQUIRE(arena.reserve(1 << 16));
  auto outer = arena.scope();
  (void)outer.make<float>(16);
  for (int i = 0; i < 3; ++i) {
    auto inner = arena.scope();
    (void)inner.make<float>(160);
  }
  CHECK(arena.peak() == 64 + 640);
  arena.reset_peak();
  CHECK(arena.peak() == 64);
  (void)outer.make<float>(16);
  CHECK(arena.peak() == 128);
}

TEST_CASE("the last byte can be had, one more is exhaustion and stays so; nothing overlaps") {
  Arena arena;
  REQUIRE(arena.reserve(256));
  auto scope = arena.scope();
  auto all = scope.make<float>(64);
  all(63) = 7;
  CHECK_FALSE(arena.exhausted());
  CHECK(scope.make<float>(0).empty());
  CHECK_FALSE(arena.exhausted());
  (void)scope.make<std::uint8_t>(1);
  CHECK(arena.exhausted());
  CHECK(arena.peak() == 256);
  CHECK(all(63) == 7);
  (void)scope.make<float>(0);
  CHECK(arena.exhausted());
}

TEST_CASE("sizes that wrap or that nobody has exhaust the arena instead of handing out less") {
  Arena arena;
  REQUIRE(arena.reserve(1024));
  SUBCASE("a terabyte") { (void)arena.make<float>(Index(1) << 38); }
  SUBCASE("a negative extent, the largest size there is") { (void)arena.make<std::uint8_t>(Index(-1)); }
  CHECK(arena.exhausted());
}

TEST_CASE("an arena without memory is exhausted at once; reserve keeps a larger block and grows a smaller one") {
  Arena none;
  CHECK(none.capacity() == 0);
  (void)none.make<float>(1);
  CHECK(none.exhausted());

  Arena arena;
  REQUIRE(arena.reserve(1024));
  REQUIRE(arena.reserve(64));
  CHECK(arena.capacity() == 1024);
  REQUIRE(arena.reserve(4096));
  CHECK(arena.capacity() == 4096);
  if (!test::kSanitized) {
    CHECK_FALSE(arena.reserve(std::size_t(1) << 62));  // no such memory: false, not an exception
    CHECK(arena.capacity() == 0);
  }
  REQUIRE(arena.reserve(128));  // and usable again
}

TEST_CASE("a planner has no memory, never runs out, and finds the same peak") {
  auto use = [](Arena& a) {
    auto scope = a.scope();
    auto x = scope.make<float>(1000, 1000, 1000);
    {
      auto inner = a.scope();
      (void)inner.make<double>(123);
    }
    (void)scope.make<std::uint8_t>(5);
    return x;
  };
  Arena planner = Arena::planner();
  CHECK(planner.planning());
  const auto x = use(planner);
  CHECK(x.extent(2) == 1000);
  CHECK(x.data() != nullptr);  // empty views mean "absent": a planned one must not look so
  CHECK_FALSE(planner.exhausted());
  CHECK(planner.peak() == 4000000000u + 1024u);  // 123 doubles are 984 bytes, rounded to 1024; the 5 bytes came after they were given back

  Arena real;
  CHECK_FALSE(real.planning());
  REQUIRE(real.reserve(planner.peak() / 1000));
  auto small = [](Arena& a) {
    auto scope = a.scope();
    (void)scope.make<float>(1000, 1000);
    auto inner = a.scope();
    (void)inner.make<float>(7);
  };
  Arena plan2 = Arena::planner();
  small(plan2);
  Arena exact;
  REQUIRE(exact.reserve(plan2.peak()));
  small(exact);
  CHECK_FALSE(exact.exhausted());
  CHECK(exact.peak() == plan2.peak());
}

TEST_CASE("arenas move: the new one has the memory, the old one none") {
  Arena a;
  REQUIRE(a.reserve(512));
  Arena b(std::move(a));
  CHECK(b.capacity() == 512);
  CHECK(a.capacity() == 0);
  Arena c;
  REQUIRE(c.reserve(64));
  c = std::move(b);
  CHECK(c.capacity() == 512);
  Arena planner = Arena::planner();
  Arena moved(std::move(planner));
  CHECK(moved.planning());
  (void)moved.make<float>(1 << 20);
  CHECK_FALSE(moved.exhausted());
}
