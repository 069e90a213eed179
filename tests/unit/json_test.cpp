// core/json.hpp: the grammar from both sides, limits, and that the writer's text reads back.
#include <doctest/doctest.h>
#include <sampan/core/json.hpp>

#include <cmath>

using namespace sampan;

namespace {
std::string error_of(std::string_view text, const JsonLimits& limits = {}) {
  const auto j = Json::parse(text, limits);
  return j ? "(accepted)" : j.error().message();
}
bool accepted(std::string_view text) { return Json::parse(text).ok(); }
}  // namespace

TEST_CASE("values") {
  const auto j = Json::parse(" {\"a\": [1, -2.5e1, true, false, null, \"x\"], \"b\": {}, \"c\": []} \n");
  REQUIRE(j);
  REQUIRE(j->object());
  CHECK(j->object()->keys == std::vector<std::string>{"a", "b", "c"});
  const Json::Array& a = *j->find("a")->array();
  REQUIRE(a.size() == 6);
  CHECK(*a[0].integer() == 1);
  CHECK(a[1].number()->value == -25.0);
  CHECK_FALSE(a[1].integer());
  CHECK(*a[2].boolean());
  CHECK_FALSE(*a[3].boolean());
  CHECK(a[4].is_null());
  CHECK(*a[5].string() == "x");
  CHECK_FALSE(j->find("d"));
  CHECK_FALSE(a[0].find("a"));
  CHECK(std::string(j->type_name()) == "object");
  CHECK(std::string(a[4].type_name()) == "null");
}

TEST_CASE("integers are exact to 64 bits, never rounded") {
  CHECK(*Json::parse("9223372036854775807")->integer() == INT64_MAX);
  CHECK(*Json::parse("-9223372036854775808")->integer() == INT64_MIN);
  CHECK_FALSE(accepted("9223372036854775808"));
  CHECK_FALSE(Json::parse("1.0")->integer());
  CHECK_FALSE(Json::parse("1e3")->integer());
  CHECK(Json::parse("1e3")->number()->value == 1000.0);
  CHECK(std::signbit(Json::parse("-0.0")->number()->value));
}

TEST_CASE("strings: escapes and UTF-8") {
  CHECK(*Json::parse(R"("\"\\\/\b\f\n\r\t")")->string() == "\"\\/\b\f\n\r\t");
  CHECK(*Json::parse(R"("\u00e9\u20ac\ud83d\ude00")")->string() == "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80");
  CHECK(*Json::parse("\"\xC3\xA9\xF4\x8F\xBF\xBF\"")->string() == "\xC3\xA9\xF4\x8F\xBF\xBF");
  CHECK(Json::parse(R"("\u0000")")->string()->size() == 1);
}

TEST_CASE("everything else is refused") {
  for (const char* bad : {"", " ", "{", "[", "[1", "[1,", "[1,]", "[,]", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{a:1}", "{1:2}", "{\"a\":1 \"b\":2}", "01", "-", "-01", "1.", ".5", "1e", "1e+", "+1",
                          "0x10", "NaN", "Infinity", "-Infinity", "1e999", "nul", "truefalse", "True", "'a'", "\"a", "\"\\x\"", "\"\\", "\"\\u12\"", "\"\\u12g4\"", "\"\\ud800\"", "\"\\ud800x\"",
                          "\"\\ud800\\u0041\"", "\"\\udc00\"", "\"\x01\"", "\"\n\"", "\"\xFF\"", "\"\xC0\xAF\"", "\"\xED\xA0\x80\"", "\"\xF5\x80\x80\x80\"", "\"\xE2\x82\"", "[1] x", "{} {}", "/**/1",
                          "[1 2]", "\"a\" \"b\"", "\xEF\xBB\xBF{}"}) {
    CAPTURE(bad);
    CHECK_FALSE(accepted(bad));
  }
  CHECK_FALSE(accepted(std::string_view("\0", 1)));
  CHECK_FALSE(accepted(std::string_view("1\0", 2)));
}

TEST_CASE("errors say where") {
  CHECK(error_of("[1, x]") == "JSON byte 4: a value is needed: object, array, string, number, true, false or null");
  CHECK(error_of("{\"k\": 1, \"k\": 2}").find("\"k\" appears twice") != std::string::npos);
  CHECK(error_of("{\"a\": {\"k\": 1}, \"b\": {\"k\": 1}}") == "(accepted)");
}

TEST_CASE("limits") {
  const auto code = [](std::string_view text, const JsonLimits& l) { return Json::parse(text, l).error().code(); };
  CHECK(code("[[[1]]]", {.max_depth = 2}) == ErrorCode::limit);
  CHECK(Json::parse("[[1]]", {.max_depth = 2}));
  CHECK(code("[1,2,3]", {.max_values = 3}) == ErrorCode::limit);
  CHECK(Json::parse("[1,2,3]", {.max_values = 4}));
  CHECK(code("[1,2,3]", {.max_bytes = 6}) == ErrorCode::limit);
  CHECK(code(std::string(100'000, '['), {}) == ErrorCode::limit);  // would be 100000 stack frames
}

TEST_CASE("the writer's text reads back") {
  JsonWriter w;
  w.begin_object().member("text", "a\"b\\c\n\x01").member("i", -7).member("u", ~std::uint64_t(0) >> 1).member("d", 0.1).member("b", true).list("l", std::vector<int>{1, 2, 3});
  w.list("none", std::vector<int>{}).key("o").begin_object().end_object().member("inf", INFINITY).key("raw").json("[1]").end_object();
  const auto j = Json::parse(w.text());
  REQUIRE_MESSAGE(j, w.text());
  CHECK(*j->find("text")->string() == "a\"b\\c\n\x01");
  CHECK(*j->find("i")->integer() == -7);
  CHECK(*j->find("u")->integer() == INT64_MAX);
  CHECK(j->find("d")->number()->value == 0.1);
  CHECK(*j->find("b")->boolean());
  CHECK(j->find("l")->array()->size() == 3);
  CHECK(j->find("none")->array()->empty());
  CHECK(j->find("inf")->is_null());
  CHECK(j->find("raw")->array()->size() == 1);
  for (const double d : {1e-300, 5e-324, 1.7976931348623157e308, 1.0 / 3, 123456789.123})
    CHECK(Json::parse(JsonWriter().begin_array().value(d).end_array().text())->array()->at(0).number()->value == d);
}

TEST_CASE("quoting makes any bytes valid UTF-8") {
  CHECK(json_quote("a\xFF" "b") == "\"a\xEF\xBF\xBD" "b\"");
  CHECK(json_quote("\xC3\xA9") == "\"\xC3\xA9\"");
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  CHECK(Json::parse(json_quote(all)));
}
