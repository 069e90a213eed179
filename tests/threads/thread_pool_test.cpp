// ThreadPool of core/thread_pool.hpp: every item once, slots unique, concurrent and nested calls, moves, many small jobs. Meant to run under -fsanitize=thread too.
#include <sampan/core/thread_pool.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <numeric>
#include <set>
#include <thread>
#include <vector>

using namespace sampan;

namespace {

/// Plain (not atomic) counters: a second visit or a missing happens-before is a data race that tsan reports.
void check_each_once(ThreadPool& pool, Index items) {
  std::vector<int> visits(static_cast<std::size_t>(items), 0);
  pool.parallel_for(items, [&](Index i, int) { ++visits[std::size_t(i)]; });
  CHECK(std::accumulate(visits.begin(), visits.end(), Index(0)) == items);
  CHECK(std::all_of(visits.begin(), visits.end(), [](int v) { return v == 1; }));
}

}  // namespace

TEST_CASE("thread counts are clamped to 1 .. 256") {
  CHECK(ThreadPool().threads() == 1);
  CHECK(ThreadPool(0).threads() == 1);
  CHECK(ThreadPool(-5).threads() == 1);
  CHECK(ThreadPool(3).threads() == 3);
  CHECK(ThreadPool(100000).threads() == 256);
}

TEST_CASE("every item runs exactly once, for any number of threads and items") {
  for (int threads : {1, 2, 3, 4, 5, 6, 7, 8}) {
    CAPTURE(threads);
    ThreadPool pool(threads);
    for (Index items : {0, 1, 2, 3, 7, 8, 9, 100, 10007}) check_each_once(pool, items);
  }
}

TEST_CASE("no items, no call; negative counts neither") {
  ThreadPool pool(4);
  bool called = false;
  pool.parallel_for(0, [&](Index, int) { called = true; });
  pool.parallel_for(-3, [&](Index, int) { called = true; });
  CHECK_FALSE(called);
}

TEST_CASE("slots are in range and unique among the threads of a call") {
  for (int threads : {1, 2, 5, 8}) {
    ThreadPool pool(threads);
    std::vector<std::atomic<int>> inside(static_cast<std::size_t>(threads));
    std::atomic<int> collisions{0}, out_of_range{0};
    pool.parallel_for(2000, [&](Index, int slot) {
      if (slot < 0 || slot >= threads) {
        ++out_of_range;
        return;
      }
      if (inside[std::size_t(slot)].fetch_add(1) != 0) ++collisions;
      for (int spin = 0; spin < 50; ++spin) std::this_thread::yield();
      inside[std::size_t(slot)].fetch_sub(1);
    });
    CHECK(collisions == 0);
    CHECK(out_of_range == 0);
  }
}

TEST_CASE("a pool really uses its threads, the caller among them") {
  ThreadPool pool(3);
  std::atomic<int> waiting{0};
  std::set<std::thread::id> ids;
  std::vector<std::thread::id> seen(3);
  pool.parallel_for(3, [&](Index i, int) {  // each item waits for the others: only three threads can finish this
    seen[std::size_t(i)] = std::this_thread::get_id();
    ++waiting;
    while (waiting < 3) std::this_thread::yield();
  });
  ids.insert(seen.begin(), seen.end());
  CHECK(ids.size() == 3);
  CHECK(ids.count(std::this_thread::get_id()) == 1);
}

TEST_CASE("what items wrote is visible after the call, what the caller wrote before is visible inside") {
  ThreadPool pool(4);
  std::vector<double> x(1000, 0), y(1000, 0);
  for (int round = 0; round < 200; ++round) {
    for (double& v : x) v = round;
    pool.parallel_for(1000, [&](Index i, int) { y[std::size_t(i)] = x[std::size_t(i)] + 1; });
    CHECK(std::accumulate(y.begin(), y.end(), 0.0) == 1000.0 * (round + 1));
  }
}

TEST_CASE("several threads may call at once, each gets its own items") {
  ThreadPool pool(4);
  std::vector<std::thread> callers;
  std::vector<int> wrong(6, 0);
  for (std::size_t c = 0; c < wrong.size(); ++c)
    callers.emplace_back([&, c] {
      for (int round = 0; round < 100; ++round) {
        const Index items = Index(1 + (round * 7 + int(c)) % 40);
        std::vector<int> visits(static_cast<std::size_t>(items), 0), slots(4, 0);
        pool.parallel_for(items, [&](Index i, int slot) {
          ++visits[std::size_t(i)];
          ++slots[std::size_t(slot)];  // plain: two threads with one slot in this call would race
        });
        for (int v : visits) wrong[c] += v != 1;
        wrong[c] += std::accumulate(slots.begin(), slots.end(), 0) != int(items);
      }
    });
  for (auto& t : callers) t.join();
  for (int w : wrong) CHECK(w == 0);
}

TEST_CASE("calls may be nested, also from workers") {
  ThreadPool pool(3);
  std::vector<std::vector<int>> visits(17, std::vector<int>(23, 0));
  pool.parallel_for(17, [&](Index i, int) { pool.parallel_for(23, [&, i](Index j, int) { ++visits[std::size_t(i)][std::size_t(j)]; }); });
  for (const auto& row : visits)
    for (int v : row) CHECK(v == 1);

  std::atomic<int> leaves{0};  // three deep
  pool.parallel_for(4, [&](Index, int) { pool.parallel_for(4, [&](Index, int) { pool.parallel_for(4, [&](Index, int) { ++leaves; }); }); });
  CHECK(leaves == 64);
}

TEST_CASE("many small jobs, and pauses in which the workers park") {
  ThreadPool pool(4);
  Index total = 0;
  for (int round = 0; round < 5000; ++round) {
    std::atomic<int> n{0};
    pool.parallel_for(5, [&](Index, int) { n.fetch_add(1, std::memory_order_relaxed); });
    total += n;
    if (round % 1000 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(3));
  }
  CHECK(total == 25000);
}

TEST_CASE("pools move and swap; closures may be temporary, const, and own things that cannot be copied") {
  ThreadPool a(3);
  ThreadPool b(std::move(a));
  CHECK(b.threads() == 3);
  check_each_once(b, 50);
  ThreadPool c(2);
  c = std::move(b);
  CHECK(c.threads() == 3);
  check_each_once(c, 50);
  std::atomic<int> sum{0};
  c.parallel_for(10, [p = std::make_unique<int>(4), &sum](Index, int) { sum += *p; });
  CHECK(sum == 40);
  const auto constant = [&sum](Index, int) { ++sum; };
  c.parallel_for(10, constant);
  CHECK(sum == 50);
}

TEST_CASE("pools that are never used, or used once, end cleanly") {
  for (int i = 0; i < 30; ++i) {
    ThreadPool idle(1 + i % 8);
    if (i % 2) check_each_once(idle, 3);
  }
}

TEST_CASE("callers at once displace workers: no more threads run than the pool has") {
  ThreadPool pool(2);
  std::atomic<int> entered{0}, beside{0};  // beside: items that the worker began while both callers were at work
  std::atomic<bool> both{false}, ending{false};
  const auto call = [&] {
    const auto me = std::this_thread::get_id();
    bool first = true;
    pool.parallel_for(400, [&](Index i, int) {
      if (i >= 300) ending = true;  // items are handed out in order: a hundred are left, so this caller is still inside
      if (std::this_thread::get_id() != me) {
        if (both && !ending) ++beside;
      } else if (first) {
        first = false;
        ++entered;
        while (entered < 2) std::this_thread::yield();
        both = true;
      }
      std::this_thread::sleep_for(std::chrono::microseconds(20));
    });
  };
  std::thread other(call);
  call();
  other.join();
  CHECK(beside <= 1);  // one that it had just taken
}
