// Definition of core/clock.hpp.
#pragma once
#include <sampan/core/clock.hpp>

#include <chrono>

namespace sampan::inline SAMPAN_ABI {
SAMPAN_INLINE double now_ms() {
  using namespace std::chrono;
  return duration<double, std::milli>(steady_clock::now().time_since_epoch()).count();
}
}  // namespace sampan::inline SAMPAN_ABI
