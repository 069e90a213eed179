// Numbers of the command line: strict and independent of the locale. Data flow: options.cpp -> here.
// "12.5" and "-3" are numbers; "", " 1", "1 ", "1,5" (a list), "0x10" and "+1" are not. "nan" and "inf" are read, so that the check of the prompt can name them.
// Every refusal says which option, what was given, and the form that would be right.
#pragma once
#include "failure.hpp"

#include <charconv>
#include <cstdint>
#include <vector>

namespace sampan::cli {

[[noreturn]] inline void usage(std::string message) { throw Failure{Exit::usage, std::move(message)}; }

/// False if `text` is not exactly one number, or one that double cannot hold.
inline bool read_number(std::string_view text, double& out) {
  const auto r = std::from_chars(text.data(), text.data() + text.size(), out);
  return r.ec == std::errc() && r.ptr == text.data() + text.size();
}

/// Comma-separated numbers, exactly as many as the form has: numbers("--box", "1,2,3,4", "X0,Y0,X1,Y1").
inline std::vector<double> numbers(std::string_view option, std::string_view text, std::string_view form) {
  const auto refuse = [&] { usage(cat(option, " ", text, ": ", form, " is needed, numbers separated by commas without spaces")); };
  std::size_t count = 1;
  for (const char c : form) count += c == ',';
  std::vector<double> out;
  for (std::size_t from = 0; from <= text.size();) {
    const std::size_t end = std::min(text.find(',', from), text.size());
    double v = 0;
    if (out.size() == count || !read_number(text.substr(from, end - from), v)) refuse();
    out.push_back(v);
    from = end + 1;
  }
  if (out.size() != count) refuse();
  return out;
}

inline int whole_number(std::string_view option, std::string_view text, int lowest, int highest) {
  int v = 0;
  const auto r = std::from_chars(text.data(), text.data() + text.size(), v);
  if (r.ec != std::errc() || r.ptr != text.data() + text.size() || v < lowest || v > highest) usage(cat(option, " ", text, ": a whole number from ", lowest, " to ", highest, " is needed"));
  return v;
}

/// "4G", "512M", "64K" (powers of 1024) or plain bytes; decimals are allowed before a unit ("1.5G").
inline std::uint64_t byte_size(std::string_view option, std::string_view text) {
  std::string_view digits = text;
  double unit = 1;
  if (!digits.empty()) {
    const std::size_t at = std::string_view("KMGT").find(digits.back());
    if (at != std::string_view::npos) {
      for (std::size_t i = 0; i <= at; ++i) unit *= 1024;
      digits.remove_suffix(1);
    }
  }
  double v = 0;
  // 2^63: what any machine can address; also keeps the conversion defined.
  if (!read_number(digits, v) || !(v * unit >= 1 && v * unit < 0x1p63)) usage(cat(option, " ", text, ": a size above 0 such as 4G, 512M or 64K is needed"));
  return std::uint64_t(v * unit);
}

}  // namespace sampan::cli
