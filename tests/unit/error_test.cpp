// Error, Result, Status, cat and the macros of core/error.hpp.
#include <sampan/core/error.hpp>

#include <doctest/doctest.h>

#include <memory>
#include <set>

using namespace sampan;

namespace {

Result<int> half(int x) {
  if (x % 2 != 0) return Error(ErrorCode::invalid_argument, cat(x, " is odd"));
  return x / 2;
}
Result<int> quarter(int x) {
  SAMPAN_TRY(first, half(x));
  SAMPAN_TRY(second, half(first));
  return second;
}
Status even(int x) {
  SAMPAN_CHECK(half(x).ok() ? Status() : Status(Error(ErrorCode::internal, "odd")));
  return {};
}
Result<std::unique_ptr<int>> owned() { return std::make_unique<int>(5); }

}  // namespace

TEST_CASE("a result holds a value or an error") {
  const auto good = half(8), bad = half(7);
  REQUIRE(good.ok());
  CHECK(static_cast<bool>(good));
  CHECK(*good == 4);
  REQUIRE_FALSE(bad.ok());
  CHECK(bad.error().code() == ErrorCode::invalid_argument);
  CHECK(bad.error().message() == "7 is odd");
  CHECK(std::string(bad.error().what()) == "7 is odd");
  Result<std::string> text = std::string("abc");
  CHECK(text->size() == 3);
}

TEST_CASE("results move values that cannot be copied") {
  auto r = owned();
  REQUIRE(r.ok());
  const std::unique_ptr<int> p = *std::move(r);
  CHECK(*p == 5);
}

TEST_CASE("SAMPAN_TRY and SAMPAN_CHECK pass the first error on") {
  CHECK(*quarter(12) == 3);
  CHECK(quarter(10).error().message() == "5 is odd");
  CHECK(quarter(3).error().message() == "3 is odd");
  CHECK(even(2).ok());
  CHECK(even(3).error().code() == ErrorCode::internal);
}

TEST_CASE("a status is ok until it is given an error") {
  CHECK(Status().ok());
  const Status s = Error(ErrorCode::io, "x");
  CHECK_FALSE(s.ok());
  CHECK(s.error().code() == ErrorCode::io);
}

TEST_CASE("at() prefixes the place, outermost first") {
  Error e = Error(ErrorCode::bad_file, "length 9 of 8").at("tensor w").at("model.safetensors");
  CHECK(e.message() == "model.safetensors: tensor w: length 9 of 8");
  CHECK(e.code() == ErrorCode::bad_file);
}

TEST_CASE("cat joins text, characters and numbers") {
  const std::string s = "row ";
  CHECK(cat(s, 3, " of ", std::string_view("x"), '!', -1, 18446744073709551615ull) == "row 3 of x!-118446744073709551615");
  CHECK(cat().empty());
}

TEST_CASE("every code has its own name") {
  std::set<std::string> names;
  for (int c = 0; c <= int(ErrorCode::internal); ++c) names.insert(to_string(ErrorCode(c)));
  CHECK(names.size() == std::size_t(ErrorCode::internal) + 1);
  CHECK(names.count("unknown") == 0);
}

#if SAMPAN_EXCEPTIONS
TEST_CASE("value() throws the error, which is a std::exception") {
  CHECK(half(8).value() == 4);
  CHECK_THROWS_AS((void)half(7).value(), Error);
  CHECK_THROWS_WITH_AS((void)half(7).value(), "7 is odd", std::exception);
  CHECK_NOTHROW(even(2).value());
  CHECK_THROWS_AS(even(3).value(), Error);
}
#endif
