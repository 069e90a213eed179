// The tools of the op tests notice what they are for: values that are off, NaN on the wrong side, writes outside a view, elements left out, memory touched while
// planning, bounds that are too small for a plain float32 evaluation. Without this a sweep that cannot fail would look like one that passes.
#include "support/error_bound.hpp"
#include "support/guard_buffer.hpp"
#include "support/oracle/layers.hpp"

#include <doctest/doctest.h>

#include <csignal>

#include <sys/wait.h>

using namespace sampan;
using namespace sampan::test;

namespace {
Tensor64 one(double v, double worst, double floor) {
  Tensor64 t(1);
  t(0) = {v, worst, floor};
  return t;
}
/// True if f() dies of a forbidden memory access.
template <class F>
bool crashes(F&& f) {
  const pid_t child = fork();
  if (child == 0) {
    std::signal(SIGSEGV, SIG_DFL), std::signal(SIGBUS, SIG_DFL);
    f();
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
}  // namespace

TEST_CASE("compare measures errors in units of worst and floor") {
  const float got[] = {1.25f};
  const Errors e = compare(got, one(1.0, 0.5, 0.125));
  CHECK(e.worst == doctest::Approx(0.5));
  CHECK(e.floor == doctest::Approx(2));
  CHECK(e.nonfinite.empty());
  CHECK(compare(got, one(1.0, 0, 0)).worst > 1e6);  // nothing is allowed where nothing rounds
  const float same[] = {1.0f};
  CHECK(compare(same, one(1.0, 0, 0)).worst == 0);
}

TEST_CASE("compare sees NaN and infinity on either side, and bounds that are no numbers") {
  const double nan = std::nan(""), inf = std::numeric_limits<double>::infinity();
  const float got_nan[] = {std::nanf("")}, got_one[] = {1}, got_inf[] = {std::numeric_limits<float>::infinity()};
  CHECK_FALSE(compare(got_nan, one(1, 1, 1)).nonfinite.empty());
  CHECK_FALSE(compare(got_one, one(nan, 1, 1)).nonfinite.empty());
  CHECK(compare(got_nan, one(nan, 1, 1)).nonfinite.empty());
  CHECK_FALSE(compare(got_inf, one(1, 1, 1)).nonfinite.empty());
  CHECK_FALSE(compare(got_inf, one(-inf, 1, 1)).nonfinite.empty());
  CHECK(compare(got_inf, one(inf, 1, 1)).nonfinite.empty());
  CHECK_FALSE(compare(got_nan, one(inf, 1, 1)).nonfinite.empty());
  CHECK_FALSE(compare(got_one, one(1, nan, 1)).nonfinite.empty());
  CHECK_FALSE(compare(got_one, one(1, 1, inf)).nonfinite.empty());
}

TEST_CASE("a float32 sum in any order stays within its worst bound, and one wrong term does not") {
  Rng rng(Seed{1});
  for (Index n : {1, 2, 10, 300, 3000}) {
    std::vector<float> a, b;
    Sum s;
    for (Index i = 0; i < n; ++i) {
      a.push_back(rng.uniform()), b.push_back(rng.uniform());
      s.term({double(a.back()), 0, 0}, {double(b.back()), 0, 0});
    }
    Tensor64 t(1);
    t(0) = s.get();
    float forward = 0, backward = 0, pairs[8] = {}, wrong = 0;
    for (Index i = 0; i < n; ++i) {
      const auto f = std::size_t(i), r = std::size_t(n - 1 - i);
      forward += a[f] * b[f], backward += a[r] * b[r], pairs[i % 8] += a[f] * b[f], wrong += (i == n / 2 ? 0.99f : 1.0f) * a[f] * b[f];
    }
    const float lanes = ((pairs[0] + pairs[1]) + (pairs[2] + pairs[3])) + ((pairs[4] + pairs[5]) + (pairs[6] + pairs[7]));
    for (const float& x : {forward, backward, lanes}) CHECK(compare(&x, t).worst <= 1);
    if (std::abs(a[std::size_t(n / 2)] * b[std::size_t(n / 2)]) > 0.1f && n <= 300) CHECK(compare(&wrong, t).worst > 1);
  }
}

TEST_CASE("a guard buffer notices writes outside its view and elements left out, in every layout") {
  for (const Layout& layout : kMapLayouts) {
    INFO("offset " << layout.offset << ", gap " << layout.gap << ", at the end " << layout.at_the_end << ", line gap " << layout.line_gap);
    GuardBuffer<3> b({2, 3, 4}, layout);
    CHECK(b.untouched());
    CHECK_FALSE(b.fully_written());
    CHECK(b.view().stride(2) == 1);
    CHECK(b.view().stride(1) == 4 + layout.gap);
    CHECK(b.view().stride(0) == 3 * (4 + layout.gap) + layout.line_gap);
    Index left = b.view().size();
    b.each([&](float& x) {
      CHECK(b.guards_intact());
      CHECK_FALSE(b.fully_written());
      x = float(left--);
    });
    CHECK(b.fully_written());
    CHECK(b.guards_intact());
    CHECK_FALSE(b.untouched());
    const float kept = b.view().data()[-1];
    b.view().data()[-1] = 0;
    CHECK_FALSE(b.guards_intact());
    b.view().data()[-1] = kept;
    CHECK(b.guards_intact());
    if (layout.gap > 0) {
      (&b.view()(0, 0, 3))[1] = 0;
      CHECK_FALSE(b.guards_intact());
      b.poison();
    }
    CHECK(b.bits().size() == 24);
  }
}

TEST_CASE("views of nothing are legal") {
  GuardBuffer<2> none({0, 5}), narrow({5, 0}, {0, 0, true});
  CHECK(none.untouched());
  CHECK(none.fully_written());
  CHECK(narrow.view().empty());
}

TEST_CASE("reading past a buffer's last page, or any buffer while locked, ends the program") {
  GuardBuffer<1> b({8}, {0, 0, true});
  volatile float sink = 0;
  CHECK_FALSE(crashes([&] { sink = b.view()(7); }));
  CHECK(crashes([&] { sink = b.view().data()[8]; }));
  CHECK(crashes([&] {
    Locked locked;
    sink = b.view()(0);
  }));
  {
    Locked locked;
  }
  b.view()(0) = 3;
  CHECK(b.view()(0) == 3);
}

TEST_CASE("random numbers are in range, reproducible, and use their whole mantissa") {
  Rng a(Seed{5}), b(Seed{5}), c(Seed{6});
  int differ = 0, fine = 0;
  for (int i = 0; i < 1000; ++i) {
    const float x = a.uniform(-2, 3);
    CHECK(x == b.uniform(-2, 3));
    CHECK(x >= -2);
    CHECK(x <= 3);
    differ += x != c.uniform(-2, 3);
    fine += std::bit_cast<std::uint32_t>(x) & 1u;
  }
  CHECK(differ > 990);
  CHECK(fine > 400);
  CHECK(fine < 600);
}

TEST_CASE("oracles: known values") {
  CHECK(oracle::activation(Num{0, 0, 0}, Activation::gelu_erf).v == 0);
  CHECK(oracle::activation(Num{1, 0, 0}, Activation::gelu_erf).v == doctest::Approx(0.8413447460685429).epsilon(1e-14));   // Phi(1)
  CHECK(oracle::activation(Num{-2, 0, 0}, Activation::gelu_erf).v == doctest::Approx(-0.04550026389635842).epsilon(1e-13));  // -2 Phi(-2)
  CHECK(oracle::activation(Num{-3, 0, 0}, Activation::relu).v == 0);
  GuardBuffer<2> x({1, 4});
  float values[] = {1, 2, 3, 6};
  std::size_t i = 0;
  x.each([&](float& v) { v = values[i++]; });
  GuardBuffer<1> gamma({4}), beta({4});
  gamma.each([](float& v) { v = 2; });
  beta.each([](float& v) { v = 1; });
  const Tensor64 y = oracle::layer_norm(exact(x.in()), {gamma.in(), beta.in(), 0.5f, {}});  // mean 3, variance 3.5, with eps 4
  CHECK(y(0, 0).v == -1);
  CHECK(y(0, 3).v == 4);
}
