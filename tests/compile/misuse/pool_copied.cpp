// error: use of deleted function|call to implicitly-deleted|call to deleted
// A thread pool has one owner (the model); a copy would double the threads.
#include <sampan/core/thread_pool.hpp>

#include <utility>

sampan::ThreadPool hand_over(sampan::ThreadPool& pool) {
#if defined(SAMPAN_MISUSE)
  return pool;
#else
  return std::move(pool);
#endif
}
