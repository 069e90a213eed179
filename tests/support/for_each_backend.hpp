// Runs an op on every backend that this machine has, on several thread counts, and judges the results. Data flow: tests/ops/*_test.cpp -> here.
//   run           plan (with every test buffer locked away), reserve exactly what the plan said, poison the scratch, run
//   Sweep::check  Reference within its derived bound; Cpu within twice Reference's error (support/error_bound.hpp), bit-identical for 1, 2, 3, 8 threads;
//                 outputs fully written, guards intact; the plan's bytes equal the real peak, its cost the real cost, its FLOP the documented formula
//   check_refused invalid_argument from the plan and from the run, nothing written
//   check_inert   a failed, cancelled or exhausted context makes the op do nothing
// New instruction set levels enter in one place: cpu_levels(). With SAMPAN_TEST_CUDA (test_cuda_ops) the levels give way to Cuda on the emulated runtime, whose device
// reads and writes the tests' host memory: the same cases, twice Reference's error; a layout that Cuda does not take must be refused.
#pragma once
#include "support/error_bound.hpp"
#include "support/guard_buffer.hpp"
#include "support/levels.hpp"
#include "support/sanitizers.hpp"

#include <sampan/cpu/cpu_backend.hpp>
#include <sampan/ops/backend.hpp>

#if defined(SAMPAN_TEST_CUDA)
#  include "emu/runtime.hpp"

#  include <sampan/cuda/cuda_backend.hpp>
#endif

#include <doctest/doctest.h>

#include <cstdlib>
#include <list>
#include <optional>

namespace sampan::test {

inline constexpr int kThreadCounts[] = {1, 2, 3, 8};

/// Thinner sweeps under sanitizers; thread counts, levels and layouts stay.
#if defined(SAMPAN_TEST_CUDA)
inline constexpr bool kThorough = false, kCuda = true;
inline const Cuda& cuda_backend() {
  static const Cuda b = [] {
    emu::use_host_memory(true);
    return Cuda{cuda::Device::open().value()};
  }();
  return b;
}
/// Work of a backend that returns before it is done.
inline void settle(const Cuda& b) { REQUIRE(cuda::synchronize(b.device->stream()).ok()); }
/// What the emulator found since the last call.
inline std::string findings() { return emu::take_findings(); }
#else
inline constexpr bool kThorough = !kSanitized, kCuda = false;
#endif
template <class B>
void settle(const B&) {}

struct CpuLevel {
  std::string name;
  Cpu backend;
};
/// The levels of Cpu that this machine can run and whose f32 kernels differ (levels.hpp).
inline std::list<CpuLevel>& cpu_levels() {
  static std::list<CpuLevel> levels = [] {
    std::list<CpuLevel> l;
    if constexpr (!kCuda)
      for (const Cpu& b : f32_levels()) l.push_back({isa_name(b.isa), b});
    return l;
  }();
  return levels;
}
inline std::string level_names() {
  std::string s;
  for (const auto& l : cpu_levels()) s += (s.empty() ? "" : ", ") + l.name;
  return s;
}
/// One pool per thread count for the whole program; parked between uses.
inline ThreadPool& pool_of(int threads) {
  static ThreadPool pools[] = {ThreadPool(1), ThreadPool(2), ThreadPool(3), ThreadPool(8)};
  for (auto& p : pools)
    if (p.threads() == threads) return p;
  return pools[0];
}

/// f(name, backend, pool) for Reference and every level and thread count of Cpu.
template <class F>
void for_each_backend(F&& f) {
  f(std::string("Reference"), Reference{}, pool_of(1));
  for (auto& level : cpu_levels())
    for (int t : kThreadCounts) f("Cpu " + level.name + ", " + std::to_string(t) + " threads", level.backend, pool_of(t));
#if defined(SAMPAN_TEST_CUDA)
  f(std::string("Cuda"), cuda_backend(), pool_of(1));
#endif
}

/// What an op's docstring says that it costs; negative: whatever the plan says. `most`: elementwise work that a backend may count if it does it as an op of its own.
struct Flop {
  double least, most;
  Flop(double exactly) : least(exactly), most(exactly) {}
  Flop(double l, double m) : least(l), most(m) {}
};

struct Outcome {
  Status status;
  Plan plan;
  std::size_t peak = 0;
  Cost cost;
};

/// Fills an arena with NaN, so that scratch that is read before it is written shows.
inline void poison(Arena& arena, std::size_t bytes) {
  auto scope = arena.scope();
  auto all = scope.make<float>(bytes / sizeof(float));
  for (Index i = 0; i < all.size(); ++i) all(i) = std::bit_cast<float>(0x7FE5A5A5u);
}

/// Plans, reserves, runs. The planning pass may not touch any GuardBuffer.
template <class B, class F>
Outcome run(const B& backend, ThreadPool& pool, F&& forward, Trace* trace = nullptr) {
  Outcome o;
  const Result<Plan> planned = [&] {
    Locked locked;
    return plan(backend, pool, forward, trace);
  }();
  if (!planned) {
    o.status = planned.error();
    return o;
  }
  o.plan = *planned;
  Arena arena;
  if (!arena.reserve(o.plan.arena_bytes)) {
    o.status = Error(ErrorCode::out_of_memory, "the test has no memory for the arena");
    return o;
  }
  poison(arena, o.plan.arena_bytes);
  arena.reset_peak();
  Context<B> ctx(backend, pool, arena);
  ctx.trace = trace;
  forward(ctx);
  settle(backend);
  o.status = ctx.status();
  o.peak = arena.peak();
  o.cost = ctx.cost();
  return o;
}

/// Empty, or what is wrong with an outcome whatever the numbers are.
inline std::string judge(const Outcome& o, Flop flop) {
  if (!o.status) return "failed: " + o.status.error().message();
  if (o.peak != o.plan.arena_bytes) return cat("the plan says ", o.plan.arena_bytes, " bytes of scratch, the run took ", o.peak);
  if (o.cost.flop != o.plan.cost.flop || o.cost.bytes != o.plan.cost.bytes)
    return cat("planned ", o.plan.cost.flop, " FLOP and ", o.plan.cost.bytes, " bytes, ran ", o.cost.flop, " and ", o.cost.bytes);
  if (flop.least >= 0 && (o.cost.flop < flop.least * (1 - 1e-12) || o.cost.flop > flop.most * (1 + 1e-12))) return cat("reports ", o.cost.flop, " FLOP, the formula gives ", flop.least, flop.most > flop.least ? cat(" to ", flop.most) : "");
  return {};
}

/// Shape and place of an op's output; `initial` (the residual) lies in it before the op if given.
template <int R>
struct Output {
  std::array<Index, std::size_t(R)> extents;
  Layout layout = {};
  const GuardBuffer<R>* initial = nullptr;
  GuardBuffer<R> make() const {
    return GuardBuffer<R>(extents, layout);
  }
  void prepare(GuardBuffer<R>& b) const {
    b.poison();
    if (!initial) return;
    std::vector<float> values;
    initial->each([&](float& x) { values.push_back(x); });
    std::size_t i = 0;
    b.each([&](float& x) { x = values[i++]; });
  }
};

class Sweep {
 public:
  explicit Sweep(const char* op) : op_(op) {}
  Sweep(const Sweep&) = delete;
  Sweep& operator=(const Sweep&) = delete;
  ~Sweep() {
    const std::string fast = kCuda ? cat("Cuda (", refused_, " layouts or sizes refused)") : cat("Cpu (", level_names(), ")");
    MESSAGE(std::string(cat(op_, ": ", cases_, " cases on Reference and ", fast, "; errors: Reference ", reference_, " of its bound, ", kCuda ? "Cuda " : "Cpu ", cpu_, " of its")));
    if (kCuda) CHECK(refused_ < cases_);
  }

  /// pack(backend) -> weights, kept for all runs; op(ctx, weights, output view). `flop`: the documented formula.
  template <int R, class Pack, class Op>
  void check(const std::string& what, const Tensor64& expected, Flop flop, const Output<R>& out, Pack&& pack_weights, Op&& op) {
    ++cases_;
    GuardBuffer<R> y = out.make();
    Errors plain;
    {
      const Reference b;
      const auto w = pack_weights(b);
      out.prepare(y);
      const Outcome o = run(b, pool_of(1), [&](Context<Reference>& ctx) { op(ctx, w, y.view()); });
      std::string wrong = judge(o, flop);
      if (o.status) wrong += judge(y, out, expected, plain);
      if (wrong.empty() && plain.worst > 1) wrong = cat("element ", plain.worst_at, " is off by ", plain.worst, " times its derived bound");
      if (plain.worst > reference_) reference_ = plain.worst;
      say("Reference", what, wrong);
    }
    for (auto& level : cpu_levels()) {
      const auto w = pack_weights(level.backend);
      std::vector<std::uint32_t> first;
      for (int threads : kThreadCounts) {
        out.prepare(y);
        const Outcome o = run(level.backend, pool_of(threads), [&](Context<Cpu>& ctx) { op(ctx, w, y.view()); });
        std::string wrong = judge(o, flop);
        if (wrong.empty() && threads == kThreadCounts[0]) {
          Errors fast;
          wrong = judge(y, out, expected, fast);
          const double share = fast.floor / (2 * plain.floor + 2);
          if (wrong.empty() && share > 1) wrong = cat("element ", fast.floor_at, " is off by ", fast.floor, " floors, Reference at most by ", plain.floor);
          if (share > cpu_) cpu_ = share;
          first = y.bits();
        } else if (wrong.empty() && (first != y.bits() || !y.guards_intact())) {
          wrong = "the result differs from that of one thread";
        }
        say("Cpu " + level.name + ", " + std::to_string(threads) + " threads", what, wrong);
      }
    }
#if defined(SAMPAN_TEST_CUDA)
    const auto w = pack_weights(cuda_backend());
    out.prepare(y);
    const Outcome o = run(cuda_backend(), pool_of(1), [&](Context<Cuda>& ctx) { op(ctx, w, y.view()); });
    const std::string found = findings();
    if (!o.status && (o.status.error().code() == ErrorCode::invalid_argument || o.status.error().code() == ErrorCode::unsupported) && o.plan.arena_bytes == 0) {  // refused in the plan: a layout or a size
      ++refused_;
      return say("Cuda", what, y.guards_intact() && found.empty() ? "" : "wrote although it refused");
    }
    std::string wrong = judge(o, flop) + found;
    Errors fast;
    if (o.status) wrong += judge(y, out, expected, fast);
    const double share = fast.floor / (2 * plain.floor + 2);
    if (wrong.empty() && share > 1) wrong = cat("element ", fast.floor_at, " is off by ", fast.floor, " floors, Reference at most by ", plain.floor);
    if (share > cpu_) cpu_ = share;
    say("Cuda", what, wrong);
#endif
  }

 private:
  template <int R>
  static std::string judge(const GuardBuffer<R>& y, const Output<R>& out, const Tensor64& expected, Errors& e) {
    if (!y.guards_intact()) return "wrote outside the output";
    if (!out.initial && !y.fully_written()) return "left elements of the output unwritten";
    if (y.view().size() != expected.size()) return "the test's own shapes disagree";
    std::vector<float> values;
    y.each([&](float& x) { values.push_back(x); });
    e = compare(values.data(), expected);
    return e.nonfinite;
  }
  static std::string judge(const Outcome& o, Flop flop) { return test::judge(o, flop); }
  void say(const std::string& who, const std::string& what, const std::string& wrong) const {
    CHECK_MESSAGE(wrong.empty(), std::string(cat(op_, " ", what, " on ", who, ": ", wrong)));
  }

  const char* op_;
  int cases_ = 0, refused_ = 0;
  double reference_ = 0, cpu_ = 0;
};

/// The op must refuse its arguments: in the plan and in the run, with invalid_argument and one line of text, before it writes anything.
template <int R, class Pack, class Op>
void check_refused(const std::string& what, std::array<Index, std::size_t(R)> out, Pack&& pack_weights, Op&& op) {
  for_each_backend([&]<class B>(const std::string& who, const B& b, ThreadPool& pool) {
    INFO(what << " on " << who);
    GuardBuffer<R> y(out);
    const auto w = pack_weights(b);
    const auto planned = [&] {
      Locked locked;
      return plan(b, pool, [&](Context<B>& ctx) { op(ctx, w, y.view()); });
    }();
    CHECK(!planned);
    if (!planned) CHECK(planned.error().code() == ErrorCode::invalid_argument);
    Arena arena;
    REQUIRE(arena.reserve(std::size_t(4) << 20));
    Context<B> ctx(b, pool, arena);
    op(ctx, w, y.view());
    settle(b);
    CHECK(!ctx.status());
    if (!ctx.status()) {
      CHECK(ctx.status().error().code() == ErrorCode::invalid_argument);
      CHECK(ctx.status().error().message().find(": ") != std::string::npos);
    }
    CHECK(y.untouched());
  });
}

/// A legal call on a context that is beyond use: nothing is written, nothing is counted, the first error stays.
template <int R, class Pack, class Op>
void check_inert(std::array<Index, std::size_t(R)> out, Pack&& pack_weights, Op&& op) {
  for_each_backend([&]<class B>(const std::string& who, const B& b, ThreadPool& pool) {
    INFO(who);
    GuardBuffer<R> y(out);
    const auto w = pack_weights(b);
    const auto planned = plan(b, pool, [&](Context<B>& ctx) { op(ctx, w, y.view()); });
    REQUIRE(planned.ok());
    auto on = [&](std::size_t bytes, ErrorCode code, auto&& spoil) {
      Arena arena;
      REQUIRE(arena.reserve(bytes));
      Context<B> ctx(b, pool, arena);
      spoil(ctx);
      op(ctx, w, y.view());
      settle(b);
      CHECK(!ctx.status());
      if (!ctx.status()) CHECK(ctx.status().error().code() == code);
      CHECK(ctx.cost().flop == 0);
      CHECK(y.untouched());
    };
    on(planned->arena_bytes, ErrorCode::bad_model, [](Context<B>& ctx) { ctx.fail(Error(ErrorCode::bad_model, "x: failed before")); });
    static constexpr Progress stop{[](void*, std::string_view, double) { return false; }, nullptr};
    on(planned->arena_bytes, ErrorCode::cancelled, [](Context<B>& ctx) { ctx.progress = &stop, ctx.step("stage"); });
    on(planned->arena_bytes, ErrorCode::internal, [](Context<B>& ctx) { (void)ctx.arena.template make<float>(std::ptrdiff_t(1) << 40); });
    // Less than planned, so that the memory ends at different pieces: an error, never an overrun.
    for (std::size_t quarter = 0; planned->arena_bytes > 0 && quarter < 5; ++quarter) {
      Arena arena;
      REQUIRE(arena.reserve(quarter == 4 ? planned->arena_bytes - kAlignment : planned->arena_bytes / kAlignment * quarter / 4 * kAlignment));
      Context<B> ctx(b, pool, arena);
      op(ctx, w, y.view());
      settle(b);
      CHECK(!ctx.status());
      CHECK(y.guards_intact());
    }
  });
}

}  // namespace sampan::test
