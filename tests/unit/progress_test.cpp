// Progress of core/progress.hpp: a plain pair of pointers that costs nothing; what Context does with it is in context_test.cpp.
#include <sampan/core/progress.hpp>

#include <doctest/doctest.h>

#include <type_traits>

using namespace sampan;

static_assert(std::is_trivially_copyable_v<Progress> && std::is_aggregate_v<Progress>);
static_assert(sizeof(Progress) == 2 * sizeof(void*));

TEST_CASE("a progress carries its user pointer to the function, and no function is the default") {
  CHECK((Progress{}.report == nullptr));
  CHECK(Progress{}.user == nullptr);
  double seen = 0;
  const Progress p{[](void* user, std::string_view stage, double fraction) {
                     *static_cast<double*>(user) = fraction;
                     return stage == "go on";
                   },
                   &seen};
  CHECK(p.report(p.user, "go on", 0.25));
  CHECK(seen == 0.25);
  CHECK_FALSE(p.report(p.user, "stop", 0.5));
}
