// JSON: a bounded reader into a small document (Json), and JsonWriter. Data flow: headers of safetensors files, contract records, embedding files.
// Grammar of RFC 8259 and nothing more (no comments, no NaN); duplicate keys are errors; strings must be UTF-8 and stay UTF-8.
// Every refusal is one line with the byte offset. Cost: one pass, about 60 bytes of memory per value, bounded by JsonLimits before it is spent.
// Deliberately absent: streaming, editing, numbers beyond double and int64 (an error, never a rounded integer).
#pragma once
#include <sampan/core/error.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace sampan::inline SAMPAN_ABI {

/// Refusals are Error{limit}; the defaults hold any header or record of this project with room to spare.
struct JsonLimits {
  std::size_t max_bytes = std::size_t(100) << 20;
  std::size_t max_values = 1'000'000;
  int max_depth = 32;
};

class Json {
 public:
  using Array = std::vector<Json>;
  /// Keys and values side by side, in the order of the text.
  struct Object {
    std::vector<std::string> keys;
    std::vector<Json> values;
  };

  /// A number; `integer` is exact and valid only if is_integer (written without fraction and exponent, within int64).
  struct Number {
    double value = 0;
    std::int64_t integer = 0;
    bool is_integer = false;
  };

  Json() = default;
  explicit Json(bool b) : value_(b) {}
  explicit Json(Number n) : value_(n) {}
  explicit Json(std::string s) : value_(std::move(s)) {}
  explicit Json(Array a) : value_(std::move(a)) {}
  explicit Json(Object o) : value_(std::move(o)) {}

  static Result<Json> parse(std::string_view text, const JsonLimits& limits = {});

  // Typed access: nullptr if the value is of another type.
  const bool* boolean() const { return std::get_if<bool>(&value_); }
  const Number* number() const { return std::get_if<Number>(&value_); }
  const std::int64_t* integer() const {
    const Number* n = number();
    return n && n->is_integer ? &n->integer : nullptr;
  }
  const std::string* string() const { return std::get_if<std::string>(&value_); }
  const Array* array() const { return std::get_if<Array>(&value_); }
  const Object* object() const { return std::get_if<Object>(&value_); }
  bool is_null() const { return std::holds_alternative<std::monostate>(value_); }
  /// Member of an object by name; linear, nullptr if absent or not an object.
  const Json* find(std::string_view key) const {
    if (const Object* o = object())
      for (std::size_t i = 0; i < o->keys.size(); ++i)
        if (o->keys[i] == key) return &o->values[i];
    return nullptr;
  }
  /// "object", "number", ...: for error messages.
  const char* type_name() const {
    constexpr const char* names[] = {"null", "boolean", "number", "string", "array", "object"};
    return names[value_.index()];
  }

 private:
  std::variant<std::monostate, bool, Number, std::string, Array, Object> value_;
};

namespace detail {

/// Length of the well-formed UTF-8 sequence at s[i] (1..4), or 0. Refuses overlong forms, surrogates and values above U+10FFFF.
inline std::size_t utf8_length(std::string_view s, std::size_t i) {
  const auto at = [&](std::size_t k) { return i + k < s.size() ? static_cast<unsigned char>(s[i + k]) : 0u; };
  const auto tail = [&](std::size_t k) { return (at(k) & 0xC0u) == 0x80u; };
  const unsigned a = at(0), b = at(1);
  if (a < 0x80) return 1;
  if (a >= 0xC2 && a <= 0xDF) return tail(1) ? 2 : 0;
  if (a >= 0xE0 && a <= 0xEF) {
    const bool bad = (a == 0xE0 && b < 0xA0) || (a == 0xED && b > 0x9F);
    return !bad && tail(1) && tail(2) ? 3 : 0;
  }
  if (a >= 0xF0 && a <= 0xF4) {
    const bool bad = (a == 0xF0 && b < 0x90) || (a == 0xF4 && b > 0x8F);
    return !bad && tail(1) && tail(2) && tail(3) ? 4 : 0;
  }
  return 0;
}

inline void append_utf8(std::string& s, std::uint32_t c) {
  const auto put = [&s](std::uint32_t v) { s += static_cast<char>(static_cast<unsigned char>(v)); };
  if (c < 0x80) return put(c);
  if (c < 0x800) return put(0xC0 | c >> 6), put(0x80 | (c & 63));
  if (c < 0x10000) return put(0xE0 | c >> 12), put(0x80 | (c >> 6 & 63)), put(0x80 | (c & 63));
  put(0xF0 | c >> 18), put(0x80 | (c >> 12 & 63)), put(0x80 | (c >> 6 & 63)), put(0x80 | (c & 63));
}

/// Recursive descent; the depth limit bounds the stack.
class JsonParser {
 public:
  JsonParser(std::string_view text, const JsonLimits& limits) : text_(text), limits_(limits) {}

  Result<Json> document() {
    if (text_.size() > limits_.max_bytes) return Error(ErrorCode::limit, cat("JSON of ", text_.size(), " bytes, at most ", limits_.max_bytes, " are read"));
    Result<Json> root = value(0);
    if (!root) return root;
    skip_space();
    if (at_ != text_.size()) return fail("text after the end of the document");
    return root;
  }

 private:
  Error fail(std::string_view what, ErrorCode code = ErrorCode::bad_file) const { return Error(code, cat("JSON byte ", at_, ": ", what)); }

  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r')) ++at_;
  }
  bool take(char c) {
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  Result<Json> value(int depth) {
    if (depth > limits_.max_depth) return fail(cat("nested deeper than ", limits_.max_depth, " levels"), ErrorCode::limit);
    if (++values_ > limits_.max_values) return fail(cat("more than ", limits_.max_values, " values"), ErrorCode::limit);
    skip_space();
    if (at_ >= text_.size()) return fail("ends where a value is needed");
    const char c = text_[at_];
    if (c == '{') return object(depth);
    if (c == '[') return array(depth);
    if (c == '"') {
      SAMPAN_TRY(s, string());
      return Json(std::move(s));
    }
    if (c == '-' || (c >= '0' && c <= '9')) return number();
    if (word("true")) return Json(true);
    if (word("false")) return Json(false);
    if (word("null")) return Json();
    return fail("a value is needed: object, array, string, number, true, false or null");
  }

  bool word(std::string_view w) {
    if (text_.substr(at_, w.size()) != w) return false;
    at_ += w.size();
    return true;
  }

  Result<Json> array(int depth) {
    ++at_;
    Json::Array items;
    skip_space();
    if (take(']')) return Json(std::move(items));
    for (;;) {
      SAMPAN_TRY(v, value(depth + 1));
      items.push_back(std::move(v));
      skip_space();
      if (take(']')) return Json(std::move(items));
      if (!take(',')) return fail("',' or ']' is needed");
    }
  }

  Result<Json> object(int depth) {
    ++at_;
    Json::Object members;
    skip_space();
    if (take('}')) return Json(std::move(members));
    for (;;) {
      skip_space();
      if (at_ >= text_.size() || text_[at_] != '"') return fail("a key in quotes is needed");
      SAMPAN_TRY(key, string());
      skip_space();
      if (!take(':')) return fail("':' is needed after a key");
      SAMPAN_TRY(v, value(depth + 1));
      members.keys.push_back(std::move(key));
      members.values.push_back(std::move(v));
      skip_space();
      if (take('}')) break;
      if (!take(',')) return fail("',' or '}' is needed");
    }
    std::vector<std::string_view> keys(members.keys.begin(), members.keys.end());  // sorted: finds duplicates in n log n
    std::sort(keys.begin(), keys.end());
    const auto twice = std::adjacent_find(keys.begin(), keys.end());
    if (twice != keys.end()) return fail(cat("key \"", twice->substr(0, 200), "\" appears twice in the object that ends here"));
    return Json(std::move(members));
  }

  Result<std::string> string() {
    ++at_;
    std::string out;
    for (;;) {
      if (at_ >= text_.size()) return fail("string without an end");
      const unsigned char c = static_cast<unsigned char>(text_[at_]);
      if (c == '"') {
        ++at_;
        return out;
      }
      if (c < 0x20) return fail("control character in a string, write it as \\u00XX");
      if (c == '\\') {
        SAMPAN_CHECK(escape(out));
        continue;
      }
      const std::size_t n = utf8_length(text_, at_);
      if (n == 0) return fail("not UTF-8");
      out.append(text_, at_, n);
      at_ += n;
    }
  }

  Status escape(std::string& out) {
    ++at_;
    const char c = at_ < text_.size() ? text_[at_] : '\0';
    constexpr std::string_view from = "\"\\/bfnrt", to = "\"\\/\b\f\n\r\t";
    if (const std::size_t k = c ? from.find(c) : std::string_view::npos; k != std::string_view::npos) {
      ++at_;
      out += to[k];
      return {};
    }
    if (c != 'u') return fail("unknown escape");
    SAMPAN_TRY(first, hex4());
    std::uint32_t code = first;
    if (code >= 0xDC00 && code < 0xE000) return fail("second half of a surrogate pair alone");
    if (code >= 0xD800 && code < 0xDC00) {
      if (text_.substr(at_, 2) != "\\u") return fail("first half of a surrogate pair alone");
      ++at_;
      SAMPAN_TRY(second, hex4());
      if (second < 0xDC00 || second >= 0xE000) return fail("first half of a surrogate pair alone");
      code = 0x10000 + ((code - 0xD800) << 10) + (second - 0xDC00);
    }
    append_utf8(out, code);
    return {};
  }

  Result<std::uint32_t> hex4() {  // at 'u'
    ++at_;
    std::uint32_t v = 0;
    const std::string_view digits = text_.substr(std::min(at_, text_.size()), 4);
    const auto [end, e] = std::from_chars(digits.data(), digits.data() + digits.size(), v, 16);
    if (e != std::errc() || digits.size() != 4 || end != digits.data() + 4) return fail("four hexadecimal digits are needed after \\u");
    at_ += 4;
    return v;
  }

  Result<Json> number() {
    const std::size_t start = at_;
    const auto digits = [&] {
      const std::size_t from = at_;
      while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') ++at_;
      return at_ - from;
    };
    take('-');
    const bool zero = at_ < text_.size() && text_[at_] == '0';
    const std::size_t whole = digits();
    if (whole == 0 || (zero && whole > 1)) return fail("not a number");
    bool integral = true;
    if (take('.')) {
      integral = false;
      if (digits() == 0) return fail("a digit is needed after '.'");
    }
    if (take('e') || take('E')) {
      integral = false;
      if (!take('+')) take('-');
      if (digits() == 0) return fail("a digit is needed in the exponent");
    }
    const char *first = text_.data() + start, *last = text_.data() + at_;
    Json::Number n;
    if (integral) {
      const auto r = std::from_chars(first, last, n.integer);
      if (r.ec != std::errc()) return fail("integer beyond 64 bits");
      n.is_integer = true;
      n.value = static_cast<double>(n.integer);
      return Json(n);
    }
    const auto r = std::from_chars(first, last, n.value);
    if (r.ec != std::errc() || r.ptr != last || !std::isfinite(n.value)) return fail("number beyond the range of double");
    return Json(n);
  }

  std::string_view text_;
  JsonLimits limits_;
  std::size_t at_ = 0, values_ = 0;
};

}  // namespace detail

inline Result<Json> Json::parse(std::string_view text, const JsonLimits& limits) { return detail::JsonParser(text, limits).document(); }

/// Text in JSON quotes. Bytes that are not UTF-8 (file names may hold any) become U+FFFD, so that the output is always valid.
inline std::string json_quote(std::string_view s) {
  std::string out = "\"";
  for (std::size_t i = 0; i < s.size();) {
    const unsigned char c = static_cast<unsigned char>(s[i]);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += s[i++];
    } else if (c < 0x20) {
      out += "\\u00";
      out += "0123456789abcdef"[c >> 4];
      out += "0123456789abcdef"[c & 15];
      ++i;
    } else if (const std::size_t n = detail::utf8_length(s, i); n > 0) {
      out.append(s, i, n);
      i += n;
    } else {
      out += "\xEF\xBF\xBD";
      ++i;
    }
  }
  return out += '"';
}

/// Builds one JSON text; commas are its business, matching begin/end the caller's. Numbers round-trip; a non-finite number becomes null.
class JsonWriter {
 public:
  JsonWriter& begin_object() { return open('{'); }
  JsonWriter& end_object() { return close('}'); }
  JsonWriter& begin_array() { return open('['); }
  JsonWriter& end_array() { return close(']'); }
  JsonWriter& key(std::string_view k) {
    separate();
    text_ += json_quote(k);
    text_ += ':';
    fresh_ = true;
    return *this;
  }
  JsonWriter& value(std::string_view s) { return raw(json_quote(s)); }
  JsonWriter& value(const char* s) { return raw(json_quote(s)); }
  template <class T>
    requires std::is_arithmetic_v<T>
  JsonWriter& value(T v) {
    if constexpr (std::is_same_v<T, bool>) {
      return raw(v ? "true" : "false");
    } else {
      if constexpr (std::is_floating_point_v<T>)
        if (!std::isfinite(v)) return raw("null");
      char digits[32];
      const auto r = std::to_chars(digits, digits + sizeof digits, v);
      return raw({digits, static_cast<std::size_t>(r.ptr - digits)});
    }
  }
  template <class V>
  JsonWriter& member(std::string_view k, const V& v) {
    return key(k).value(v);
  }
  /// A whole list of numbers or texts.
  template <class Range>
  JsonWriter& list(std::string_view k, const Range& items) {
    key(k).begin_array();
    for (const auto& v : items) value(v);
    return end_array();
  }
  /// Text that is JSON already (a record kept as a string).
  JsonWriter& json(std::string_view text) { return raw(text); }
  const std::string& text() const { return text_; }

 private:
  void separate() {
    if (!fresh_) text_ += ',';
    fresh_ = false;
  }
  JsonWriter& raw(std::string_view s) {
    separate();
    text_ += s;
    return *this;
  }
  JsonWriter& open(char c) {
    separate();
    text_ += c;
    fresh_ = true;
    return *this;
  }
  JsonWriter& close(char c) {
    text_ += c;
    fresh_ = false;
    return *this;
  }

  std::string text_;
  bool fresh_ = true;
};

}  // namespace sampan::inline SAMPAN_ABI
