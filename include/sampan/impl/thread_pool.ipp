// Definitions of core/thread_pool.hpp. A job stands on the caller's stack and is linked into a list; workers take items with one atomic add.
// A worker pins a job (`users`) under the lock before it touches it, and the caller leaves only when no worker pins it: no job outlives its stack frame.
// Calling threads work too, so with several at once workers step back: callers and busy workers together are at most threads(), or the callers alone.
#pragma once
#include <sampan/core/thread_pool.hpp>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace sampan::inline SAMPAN_ABI {
namespace detail {

struct PoolTicket {
  PoolJob job;
  std::atomic<Index> next{0};
  std::atomic<int> users{0};  // workers inside; changed under the pool's mutex, read by the caller that waits
  PoolTicket* link = nullptr;
};

struct PoolState {
  std::mutex mutex;
  std::condition_variable work, left;
  PoolTicket* head = nullptr;
  std::atomic<unsigned> posted{0};  // counts jobs: idle workers spin on it before they park
  std::atomic<bool> stop{false};
  std::atomic<int> callers{0}, busy{0};  // threads inside run(), workers at a job
  int threads = 1;
  std::vector<std::thread> workers;

  bool crowded() const { return callers.load(std::memory_order_relaxed) + busy.load(std::memory_order_relaxed) > threads; }
  static bool step(PoolTicket& t, int slot) {
    const Index i = t.next.fetch_add(1, std::memory_order_relaxed);
    if (i >= t.job.items) return false;
    t.job.run(t.job.closure, i, slot);
    return true;
  }
  template <class F>
  static bool spin_until(F&& done) {  // about 25 microseconds: longer than an op's serial part, shorter than anyone would notice
    for (int spin = 0; spin < 2000; ++spin) {
      if (done()) return true;
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }
    return false;
  }
  PoolTicket* claim() {  // a job with items left; mutex held
    for (PoolTicket* t = head; t; t = t->link)
      if (t->next.load(std::memory_order_relaxed) < t->job.items) return t;
    return nullptr;
  }
  void worker(int slot) {
    std::unique_lock lock(mutex);
    while (!stop) {
      PoolTicket* t = claim();
      if (t && callers + busy < threads) {
        ++t->users;
        ++busy;
        lock.unlock();
        while (step(*t, slot) && !crowded()) {}
        lock.lock();
        --busy;
        if (--t->users == 0) left.notify_all();
        continue;
      }
      const unsigned seen = posted.load(std::memory_order_relaxed);
      const auto news = [&] { return posted.load(std::memory_order_acquire) != seen || stop.load(std::memory_order_relaxed); };
      lock.unlock();
      const bool again = spin_until(news);
      lock.lock();
      if (!again) work.wait(lock, news);
    }
  }
};

}  // namespace detail

SAMPAN_INLINE ThreadPool::ThreadPool(int threads) : threads_(threads < 1 ? 1 : threads > 256 ? 256 : threads) {
  if (threads_ == 1) return;
  state_ = std::make_unique<detail::PoolState>();
  state_->threads = threads_;
  state_->workers.reserve(std::size_t(threads_ - 1));
  for (int i = 1; i < threads_; ++i) state_->workers.emplace_back([s = state_.get(), i] { s->worker(i); });
}

SAMPAN_INLINE ThreadPool::ThreadPool(ThreadPool&&) noexcept = default;

SAMPAN_INLINE ThreadPool& ThreadPool::operator=(ThreadPool&& o) noexcept {
  std::swap(state_, o.state_);
  std::swap(threads_, o.threads_);
  return *this;
}

SAMPAN_INLINE ThreadPool::~ThreadPool() {
  if (!state_) return;
  {
    std::lock_guard lock(state_->mutex);
    state_->stop = true;
  }
  state_->work.notify_all();
  for (auto& w : state_->workers) w.join();
}

SAMPAN_INLINE void ThreadPool::run(const detail::PoolJob& job) {
  detail::PoolTicket ticket;
  ticket.job = job;
  auto& s = *state_;
  s.callers.fetch_add(1, std::memory_order_relaxed);
  {
    std::lock_guard lock(s.mutex);
    ticket.link = s.head;
    s.head = &ticket;
    s.posted.fetch_add(1, std::memory_order_release);
  }
  s.work.notify_all();
  while (detail::PoolState::step(ticket, 0)) {}
  const auto alone = [&] { return ticket.users.load(std::memory_order_acquire) == 0; };
  detail::PoolState::spin_until(alone);
  std::unique_lock lock(s.mutex);
  s.left.wait(lock, alone);
  s.callers.fetch_sub(1, std::memory_order_relaxed);
  detail::PoolTicket** p = &s.head;
  while (*p != &ticket) p = &(*p)->link;
  *p = ticket.link;
}

}  // namespace sampan::inline SAMPAN_ABI
