// Context of core/context.hpp: sticky failure, begin and its cost, planning, exhaustion, progress and cancellation, taps and spans.
#include <sampan/core/context.hpp>

#include <doctest/doctest.h>

#include <vector>

using namespace sampan;

namespace {

struct Any {
  using Memory = HostMemory;
};

/// An op as every op is written: validate, take scratch, begin, work.
void doubled(Context<Any>& ctx, View<const float, 1> x, View<float, 1> y) {
  if (!ctx.require(x.extent(0) == y.extent(0), "doubled: x and y differ in length")) return;
  auto scope = ctx.arena.scope();
  auto t = scope.make<float>(x.extent(0));
  if (!ctx.begin({double(x.extent(0)), 8.0 * double(x.extent(0))})) return;
  for (Index i = 0; i < x.extent(0); ++i) t(i) = x(i) + x(i);
  for (Index i = 0; i < x.extent(0); ++i) y(i) = t(i);
}

struct Rig {
  Any backend;
  ThreadPool pool;
  Arena arena;
  float x[4] = {1, 2, 3, 4}, y[4] = {};
  View<const float, 1> in() const { return View<const float, 1>(x, {4}); }
  View<float, 1> out() { return View<float, 1>(y, {4}); }
  explicit Rig(std::size_t bytes = 1024) { REQUIRE(arena.reserve(bytes)); }
};

struct Log {
  std::vector<std::string> stages;
  std::vector<double> fractions;
  int stop_at = -1;
  static bool report(void* user, std::string_view stage, double fraction) {
    auto& log = *static_cast<Log*>(user);
    log.stages.emplace_back(stage);
    log.fractions.push_back(fraction);
    return int(log.stages.size()) != log.stop_at;
  }
};

}  // namespace

TEST_CASE("an op runs, counts its cost and gives its scratch back") {
  Rig r;
  Context<Any> ctx(r.backend, r.pool, r.arena);
  CHECK(ctx.ok());
  CHECK(ctx.status().ok());
  doubled(ctx, r.in(), r.out());
  doubled(ctx, r.in(), r.out());
  CHECK(r.y[3] == 8);
  CHECK(ctx.cost().flop == 8);
  CHECK(ctx.cost().bytes == 64);
  CHECK(r.arena.peak() == 64);
}

TEST_CASE("the first error stays, and every later op does nothing") {
  Rig r;
  Context<Any> ctx(r.backend, r.pool, r.arena);
  doubled(ctx, r.in(), View<float, 1>(r.y, {3}));
  CHECK_FALSE(ctx.ok());
  doubled(ctx, r.in(), r.out());
  ctx.fail(Error(ErrorCode::internal, "later"));
  CHECK_FALSE(ctx.require(false, "later still"));
  CHECK(ctx.require(true, "x"));
  CHECK(r.y[0] == 0);
  CHECK(ctx.cost().flop == 0);
  REQUIRE_FALSE(ctx.status().ok());
  CHECK(ctx.status().error().code() == ErrorCode::invalid_argument);
  CHECK(ctx.status().error().message() == "doubled: x and y differ in length");
}

TEST_CASE("an exhausted arena stops every op with one internal error") {
  Rig r(64);
  Context<Any> ctx(r.backend, r.pool, r.arena);
  auto scope = ctx.arena.scope();
  (void)scope.make<float>(1);
  doubled(ctx, r.in(), r.out());
  CHECK(r.y[0] == 0);
  CHECK_FALSE(ctx.ok());
  CHECK(ctx.status().error().code() == ErrorCode::internal);
  CHECK(ctx.cost().flop == 0);
  Rig other(64);
  Context<Any> both(other.backend, other.pool, other.arena);
  both.fail(Error(ErrorCode::io, "first"));
  (void)both.arena.make<float>(1000);
  CHECK(both.status().error().code() == ErrorCode::io);  // the cause, not the consequence
}

TEST_CASE("plan runs without arithmetic and finds scratch, cost and errors") {
  Rig r;
  volatile std::uintptr_t address = 64;
  float* nowhere = reinterpret_cast<float*>(address);  // reading or writing it would crash
  int calls = 0;
  const auto p = plan(r.backend, r.pool, [&](Context<Any>& ctx) {
    ++calls;
    CHECK(ctx.planning());
    auto scope = ctx.arena.scope();
    auto mid = scope.make<float>(1000);
    doubled(ctx, View<const float, 1>(nowhere, {1000}), mid);
    doubled(ctx, mid, View<float, 1>(nowhere, {1000}));
  });
  REQUIRE(p.ok());
  CHECK(calls == 1);
  CHECK(p->arena_bytes == 2 * 4032);  // 4000 rounded up to lines, twice at once
  CHECK(p->cost.flop == 2000);
  CHECK(p->cost.bytes == 16000);

  const auto bad = plan(r.backend, r.pool, [&](Context<Any>& ctx) {
    doubled(ctx, View<const float, 1>(nowhere, {3}), View<float, 1>(nowhere, {4}));
    doubled(ctx, View<const float, 1>(nowhere, {4}), View<float, 1>(nowhere, {4}));
  });
  REQUIRE_FALSE(bad.ok());
  CHECK(bad.error().code() == ErrorCode::invalid_argument);
}

TEST_CASE("step reports the fraction of the planned work, at most 1, and nothing while planning") {
  Rig r;
  Log log;
  const Progress progress{Log::report, &log};
  {
    Context<Any> ctx(r.backend, r.pool, r.arena);
    ctx.step("no listener");
    ctx.progress = &progress;
    ctx.step("no plan");
    ctx.planned_flop = 8;
    doubled(ctx, r.in(), r.out());
    ctx.step("half");
    doubled(ctx, r.in(), r.out());
    ctx.step("all");
    doubled(ctx, r.in(), r.out());
    ctx.step("more than planned");
    CHECK(ctx.ok());
  }
  CHECK(log.stages == std::vector<std::string>{"no plan", "half", "all", "more than planned"});
  CHECK(log.fractions == std::vector<double>{0, 0.5, 1, 1});
  (void)plan(r.backend, r.pool, [&](Context<Any>& ctx) {
    ctx.progress = &progress;
    ctx.step("planning");
  });
  CHECK(log.stages.size() == 4);
}

TEST_CASE("a report of false cancels: the next op does nothing, no further report comes, another context is untouched") {
  Rig r;
  Log log;
  log.stop_at = 2;
  const Progress progress{Log::report, &log};
  {
    Context<Any> ctx(r.backend, r.pool, r.arena);
    ctx.progress = &progress;
    ctx.step("one");
    doubled(ctx, r.in(), r.out());
    CHECK(r.y[0] == 2);
    ctx.step("two");
    r.y[0] = -1;
    doubled(ctx, r.in(), r.out());
    ctx.step("three");
    CHECK(r.y[0] == -1);
    REQUIRE_FALSE(ctx.status().ok());
    CHECK(ctx.status().error().code() == ErrorCode::cancelled);
    CHECK(log.stages.size() == 2);
  }
  Context<Any> again(r.backend, r.pool, r.arena);
  doubled(again, r.in(), r.out());
  CHECK(again.ok());
  CHECK(r.y[0] == 2);
}

TEST_CASE("a progress without a function reports nothing and cancels nothing") {
  Rig r;
  const Progress silent;
  Context<Any> ctx(r.backend, r.pool, r.arena);
  ctx.progress = &silent;
  ctx.step("x");
  CHECK(ctx.ok());
}

TEST_CASE("traced asks the trace; names that are empty are never traced; TraceOff silences a block") {
  Rig r;
  Trace trace({"a.*"});
  Context<Any> ctx(r.backend, r.pool, r.arena);
  CHECK_FALSE(ctx.traced("a.b"));
  ctx.trace = &trace;
  CHECK(ctx.traced("a.b"));
  CHECK_FALSE(ctx.traced("b"));
  CHECK_FALSE(ctx.traced(""));
  {
    TraceOff off(ctx);
    CHECK_FALSE(ctx.traced("a.b"));
    ctx.tap("a.b", r.in());
  }
  CHECK(ctx.traced("a.b"));
  CHECK(trace.records().empty());
}

TEST_CASE("tap_rows gives token rows the shape they have in PyTorch") {
  Rig r;
  Trace trace;
  float rows[24];
  for (int i = 0; i < 24; ++i) rows[i] = float(i);
  const View<const float, 2> v(rows, {6, 4}), gap(rows, {6, 3}, {4, 1});
  Context<Any> ctx(r.backend, r.pool, r.arena);
  ctx.trace = &trace;
  ctx.tap_rows("plain", v);
  ctx.grid = {2, 3};
  ctx.tap_rows("grid", v);
  ctx.tap_rows("gap", gap);
  ctx.grid = {1, 2};
  ctx.planes = 3;
  ctx.tap_rows("volume", gap);
  ctx.planes = 0;
  ctx.grid = {5, 3};
  ctx.batch = 2;
  ctx.tap_rows("batch", v);
  ctx.batch = 4;
  ctx.tap_rows("no multiple", v);
  const auto& rec = trace.records();
  REQUIRE(rec.size() == 6);
  CHECK(rec[3].shape == std::vector<std::int64_t>{1, 3, 1, 2, 3});
  CHECK(rec[3].data == rec[2].data);
  CHECK(rec[0].shape == std::vector<std::int64_t>{1, 6, 4});
  CHECK(rec[1].shape == std::vector<std::int64_t>{1, 2, 3, 4});
  CHECK(rec[2].shape == std::vector<std::int64_t>{1, 2, 3, 3});
  CHECK(rec[2].data == std::vector<float>{0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 16, 17, 18, 20, 21, 22});
  CHECK(rec[4].shape == std::vector<std::int64_t>{2, 3, 4});
  CHECK(rec[4].data[23] == 23);
  CHECK(rec[5].shape == std::vector<std::int64_t>{1, 6, 4});
}

TEST_CASE("nothing is tapped while planning or after a failure") {
  Rig r;
  Trace trace;
  volatile std::uintptr_t address = 64;
  (void)plan(r.backend, r.pool, [&](Context<Any>& ctx) { ctx.tap("x", View<const float, 1>(reinterpret_cast<float*>(address), {5})); }, &trace);
  Context<Any> ctx(r.backend, r.pool, r.arena);
  ctx.trace = &trace;
  ctx.fail(Error(ErrorCode::io, "x"));
  ctx.tap("x", r.in());
  auto span = ctx.span("x");
  span.out(r.in());
  CHECK(trace.records().empty());
}

TEST_CASE("a span records time and cost of what ran in it, and only if its name is wanted") {
  Rig r;
  Trace trace({"layer"});
  Context<Any> ctx(r.backend, r.pool, r.arena);
  ctx.trace = &trace;
  doubled(ctx, r.in(), r.out());
  auto span = ctx.span("layer");
  auto other = ctx.span("other");
  doubled(ctx, r.in(), r.out());
  span.out(View<const float, 1>(r.out()));
  other.out(View<const float, 1>(r.out()));
  REQUIRE(trace.records().size() == 1);
  const auto& rec = trace.records()[0];
  CHECK(rec.name == "layer");
  CHECK(rec.cost.flop == 4);
  CHECK(rec.cost.bytes == 32);
  CHECK(rec.ms >= 0);
  CHECK(rec.ms < 60000);
  CHECK(rec.data == std::vector<float>{2, 4, 6, 8});
}
