// Counts every allocation of the test program by standing in for malloc: operator new, std::aligned_alloc and Eigen all end there.
// Data flow: included by exactly one file of a test program (it defines malloc). Under sanitizers, which bring their own malloc, it stands back and
// counting() is false. Deliberately absent: sizes and places; a debugger's breakpoint on `note_allocation` shows who allocates.
#pragma once
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#  define SAMPAN_TEST_COUNTS 0
#elif defined(__has_feature)
#  if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#    define SAMPAN_TEST_COUNTS 0
#  else
#    define SAMPAN_TEST_COUNTS 1
#  endif
#else
#  define SAMPAN_TEST_COUNTS 1
#endif

namespace sampan::test {
inline std::atomic<std::int64_t> allocation_count{0};
inline void note_allocation() { allocation_count.fetch_add(1, std::memory_order_relaxed); }
inline std::int64_t allocations() { return allocation_count.load(); }
constexpr bool counting() { return SAMPAN_TEST_COUNTS; }
}  // namespace sampan::test

#if SAMPAN_TEST_COUNTS
extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);

void* malloc(std::size_t n) noexcept {
  sampan::test::note_allocation();
  return __libc_malloc(n);
}
void* calloc(std::size_t n, std::size_t size) noexcept {
  sampan::test::note_allocation();
  return __libc_calloc(n, size);
}
void* realloc(void* p, std::size_t n) noexcept {
  sampan::test::note_allocation();
  return __libc_realloc(p, n);
}
void* aligned_alloc(std::size_t alignment, std::size_t n) noexcept {
  sampan::test::note_allocation();
  return __libc_memalign(alignment, n);
}
int posix_memalign(void** out, std::size_t alignment, std::size_t n) noexcept {
  sampan::test::note_allocation();
  *out = __libc_memalign(alignment, n);
  return *out ? 0 : ENOMEM;
}
}
#endif
