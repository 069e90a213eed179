// Milliseconds since some fixed moment. Data flow: Trace and Session timings. Declared here without <chrono>, which is heavy; defined in impl/clock.ipp.
#pragma once
#include <sampan/core/config.hpp>

namespace sampan::inline SAMPAN_ABI {
double now_ms();
}  // namespace sampan::inline SAMPAN_ABI

#if !defined(SAMPAN_COMPILED) || defined(SAMPAN_IMPLEMENTATION)
#  include <sampan/impl/clock.ipp>
#endif
