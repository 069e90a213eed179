// ThreadPool: parallel_for over fixed work items. Data flow: Model owns one; ops of every session cut their work into items and hand it over.
// Items are cut by the op, never by the number of threads, and each item writes its own part of the output: results are bit-identical for any thread count.
// Several threads (sessions) may call parallel_for at once; the calling threads work too, and workers step back for them, so that no more than threads() run
// (or the callers, if these are more). No heap use per call, no std::function.
// Waiting spins briefly (an op is tens of microseconds), then parks.
#pragma once
#include <sampan/core/view.hpp>

#include <memory>

namespace sampan::inline SAMPAN_ABI {

namespace detail {
struct PoolState;
struct PoolJob {
  void (*run)(void* closure, Index item, int slot);
  void* closure;
  Index items;
};
}  // namespace detail

class ThreadPool {
 public:
  /// `threads` counts the calling thread; 1 means no workers at all. Values below 1 are taken as 1, above 256 as 256.
  explicit ThreadPool(int threads = 1);
  ThreadPool(ThreadPool&&) noexcept;
  ThreadPool& operator=(ThreadPool&&) noexcept;
  ~ThreadPool();

  /// Number of slots: scratch arrays indexed by `slot` need this many entries.
  int threads() const { return threads_; }

  /// f(item, slot) for item = 0 .. items-1, in any order, on any thread; returns when all are done. `slot` is unique among the threads running this call.
  template <class F>
  void parallel_for(Index items, F&& f) {
    if (items <= 1 || threads_ == 1) {
      for (Index i = 0; i < items; ++i) f(i, 0);
      return;
    }
    using Fn = std::remove_reference_t<F>;
    run({[](void* c, Index i, int slot) { (*static_cast<Fn*>(c))(i, slot); }, const_cast<void*>(static_cast<const void*>(&f)), items});
  }

 private:
  void run(const detail::PoolJob& job);
  std::unique_ptr<detail::PoolState> state_;
  int threads_ = 1;
};

}  // namespace sampan::inline SAMPAN_ABI

#if !defined(SAMPAN_COMPILED) || defined(SAMPAN_IMPLEMENTATION)
#  include <sampan/impl/thread_pool.ipp>
#endif
