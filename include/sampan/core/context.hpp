// Context<B>: what a forward needs besides weights and data: backend, thread pool, arena, trace, progress, and a sticky status.
// Data flow: Session makes one per call; every op takes it first, and overload resolution on B chooses the implementation.
//
// Planning: with a planning arena the same forward runs without arithmetic; ops validate, take their scratch and report their cost, nothing else.
// Failing: the first failed op leaves its Error here, and every later op returns at once without touching memory; the caller looks once, at the end.
// So layers need neither exceptions nor checks, and shape errors already show in the plan, before any work.
#pragma once
#include <sampan/core/arena.hpp>
#include <sampan/core/clock.hpp>
#include <sampan/core/error.hpp>
#include <sampan/core/geometry.hpp>
#include <sampan/core/progress.hpp>
#include <sampan/core/thread_pool.hpp>
#include <sampan/core/trace.hpp>

#include <string>

namespace sampan::inline SAMPAN_ABI {

/// What a planning pass finds out.
struct Plan {
  std::size_t arena_bytes = 0;  ///< high-water mark of scratch
  Cost cost;
};

template <class B>
class Context {
 public:
  Context(const B& b, ThreadPool& p, Arena& a) : backend(b), pool(p), arena(a) {}
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  const B& backend;
  ThreadPool& pool;
  Arena& arena;
  Trace* trace = nullptr;
  const Progress* progress = nullptr;
  double planned_flop = 0;  ///< of the whole call, so that progress can be a fraction
  Extent2 grid;             ///< shape of traced token rows: set by encoders that keep [h,w,c] as PyTorch does
  Index planes = 0;         ///< > 0: they are a volume [planes,h,w,c]
  Index batch = 1;          ///< else the batch axis of traced token rows: prompts of the decoder

  bool planning() const { return arena.planning(); }
  const Cost& cost() const { return cost_; }

  /// First line of an op's arithmetic, after validation and scratch: true if it must run.
  bool begin(Cost c) {
    if (!ok()) return false;
    cost_.flop += c.flop;
    cost_.bytes += c.bytes;
    return !planning();
  }

  /// Between layers: reports progress and honours cancellation.
  void step(std::string_view stage) {
    if (!progress || !progress->report || planning() || !ok()) return;
    const double f = planned_flop > 0 ? cost_.flop / planned_flop : 0;
    if (!progress->report(progress->user, stage, f < 1 ? f : 1)) fail(Error(ErrorCode::cancelled, "cancelled by the caller"));
  }

  bool ok() const { return !failed_ && !arena.exhausted(); }
  /// Keeps the first error; later ones are consequences.
  void fail(Error e) {
    if (!failed_) status_ = std::move(e), failed_ = true;
  }
  /// `condition` or an invalid_argument error that begins with the op's name.
  bool require(bool condition, const char* what) {
    if (!condition) fail(Error(ErrorCode::invalid_argument, what));
    return condition;
  }
  Status status() const {
    if (failed_) return status_.error();
    if (arena.exhausted()) return Error(ErrorCode::internal, "the arena is smaller than the plan said; please report this");
    return {};
  }

  /// True if the named tensor is wanted, so that it must be computed on its own (also while planning: the unfused path needs its scratch).
  bool traced(std::string_view name) const { return trace && !name.empty() && trace->wants(name); }

  template <int R>
  void tap(std::string_view name, const View<const float, R>& v, TraceLayout layout = TraceLayout::as_is) {
    if (traced(name) && !planning() && ok()) trace->record(name, v, layout);
  }
  /// Taps token rows [n, c] in the shape PyTorch has at this place: [1,h,w,c] or [1,planes,h,w,c] inside a `grid`, [batch, n/batch, c] otherwise.
  void tap_rows(std::string_view name, const View<const float, 2>& v) {
    const Index n = v.extent(0);
    if (planes > 0 && planes * grid.height * grid.width == n) {
      const Index row = v.stride(0);
      tap(name, View<const float, 4>(v.data(), {planes, grid.height, grid.width, v.extent(1)}, {grid.height * grid.width * row, grid.width * row, row, v.stride(1)}));
    } else if (grid.height * grid.width == n && n > 0) {
      tap(name, as_map(v, grid.height, grid.width));
    } else {
      const Index b = batch > 0 && n % batch == 0 ? batch : 1;
      tap(name, View<const float, 3>(v.data(), {b, n / b, v.extent(1)}, {n / b * v.stride(0), v.stride(0), v.stride(1)}), TraceLayout::batch);
    }
  }

  /// Times a layer: `auto span = ctx.span(name); ...; span.out(y)`. Does nothing without a trace.
  class Span {
   public:
    Span(Context& ctx, std::string_view name) : ctx_(ctx), name_(name), active_(ctx.traced(name) && !ctx.planning()) {
      if (active_) start_ = now_ms(), before_ = ctx.cost();
    }
    template <int R>
    void out(const View<const float, R>& v, TraceLayout layout = TraceLayout::as_is) {
      if (active_ && ctx_.trace && ctx_.ok()) ctx_.trace->record(name_, v, layout, now_ms() - start_, ctx_.cost() - before_);
    }

   private:
    Context& ctx_;
    std::string_view name_;
    bool active_;
    double start_ = 0;
    Cost before_;
  };
  Span span(std::string_view name) { return Span(*this, name); }

 private:
  Cost cost_;
  bool failed_ = false;
  Status status_;
};

/// Silences the trace for a block: an unfused path calls the fused one for its parts without tapping them twice.
template <class B>
class TraceOff {
 public:
  explicit TraceOff(Context<B>& ctx) : ctx_(ctx), kept_(ctx.trace) { ctx.trace = nullptr; }
  TraceOff(const TraceOff&) = delete;
  TraceOff& operator=(const TraceOff&) = delete;
  ~TraceOff() { ctx_.trace = kept_; }

 private:
  Context<B>& ctx_;
  Trace* kept_;
};

/// Runs `forward(ctx)` without arithmetic and reports what it needs.
/// Returns the error of the first op that would refuse its arguments.
template <class B, class F>
Result<Plan> plan(const B& backend, ThreadPool& pool, F&& forward, Trace* trace = nullptr) {
  Arena arena = Arena::planner();
  Context<B> ctx(backend, pool, arena);
  ctx.trace = trace;
  forward(ctx);
  SAMPAN_CHECK(ctx.status());
  return Plan{arena.peak(), ctx.cost()};
}

}  // namespace sampan::inline SAMPAN_ABI
