// Which sanitizer this program was built with. Data flow: sweeps become thinner under one (they look for other faults and are ten times slower), and requests
// for impossible amounts of memory are left out (their allocators end the program instead of returning null).
#pragma once

namespace sampan::test {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)  // g++
inline constexpr bool kSanitized = true;
#elif defined(__has_feature)  // clang++
#  if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
inline constexpr bool kSanitized = true;
#  else
inline constexpr bool kSanitized = false;
#  endif
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace sampan::test
