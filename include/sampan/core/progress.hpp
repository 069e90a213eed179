// Progress and cancellation, in one callback. Data flow: the caller gives it to Session or a tool; Context reports to it between ops.
// Deliberately not a std::function: a pointer and a context cost nothing to include and never allocate.
#pragma once
#include <sampan/core/config.hpp>

#include <string_view>

namespace sampan::inline SAMPAN_ABI {

/// Called between layers, on the thread that runs the forward. `fraction` goes from 0 to 1 in useful FLOP.
/// Returning false cancels: the call then ends with Error{cancelled} before the next op, and the session stays usable.
struct Progress {
  bool (*report)(void* user, std::string_view stage, double fraction) = nullptr;
  void* user = nullptr;
};

}  // namespace sampan::inline SAMPAN_ABI
