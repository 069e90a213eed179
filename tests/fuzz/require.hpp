// What a fuzz target promises: a broken promise is a finding, as a crash is.
#pragma once

namespace sampan::fuzz {
inline void require(bool promise) {
  if (!promise) __builtin_trap();
}
}  // namespace sampan::fuzz
