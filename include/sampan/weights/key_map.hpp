// Key maps: rows that turn a checkpoint's key names into the project's (Meta's PyTorch names), and the rules around them.
// Data flow: names in a .pth or safetensors file -> prefixes off -> choose_key_map -> map_keys -> weights/identify.hpp.
// A pattern is literal text with {i} for a number and at most one * for any text; what they matched is put, in order, into the same marks of the target.
// The first row that matches decides. An empty target means: known and not needed. Cost: rows times keys, a few hundred each.
// Deliberately absent: transposes and splits (no supported layout needs one; a row kind enters with the first that does), regular expressions.
#pragma once
#include <sampan/core/error.hpp>

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <vector>

namespace sampan::inline SAMPAN_ABI::weights {

struct KeyRow {
  std::string_view theirs;
  std::string_view ours;  ///< empty: ignore the tensor
};

namespace detail {

inline constexpr std::size_t kMaxCaptures = 6;
struct Captures {
  std::array<std::string_view, kMaxCaptures> text;
  std::size_t count = 0;
};

/// Does `key` match `pattern` from here to both ends? Captures are valid if it does.
inline bool match_pattern(std::string_view pattern, std::string_view key, Captures& c) {
  while (!pattern.empty()) {
    if (pattern.substr(0, 3) == "{i}") {
      std::size_t n = 0;
      while (n < key.size() && key[n] >= '0' && key[n] <= '9') ++n;
      if (n == 0 || c.count == kMaxCaptures) return false;
      c.text[c.count++] = key.substr(0, n);
      pattern.remove_prefix(3);
      key.remove_prefix(n);
    } else if (pattern[0] == '*') {
      if (c.count == kMaxCaptures) return false;
      const std::size_t slot = c.count++;
      for (std::size_t n = 0; n <= key.size(); ++n) {
        Captures rest = c;
        if (!match_pattern(pattern.substr(1), key.substr(n), rest)) continue;
        rest.text[slot] = key.substr(0, n);
        c = rest;
        return true;
      }
      return false;
    } else {
      if (key.empty() || key[0] != pattern[0]) return false;
      pattern.remove_prefix(1);
      key.remove_prefix(1);
    }
  }
  return key.empty();
}

inline std::string fill_pattern(std::string_view pattern, const Captures& c) {
  std::string out;
  std::size_t next = 0;
  while (!pattern.empty()) {
    const bool number = pattern.substr(0, 3) == "{i}";
    if (number || pattern[0] == '*') {
      if (next < c.count) out += c.text[next++];
      pattern.remove_prefix(number ? 3 : 1);
    } else {
      out += pattern[0];
      pattern.remove_prefix(1);
    }
  }
  return out;
}

}  // namespace detail

/// The project's name for `key`; an empty text if it is to be ignored; nothing if no row knows it.
inline std::optional<std::string> map_key(std::span<const KeyRow> rows, std::string_view key) {
  for (const KeyRow& r : rows) {
    detail::Captures c;
    if (detail::match_pattern(r.theirs, key, c)) return detail::fill_pattern(r.ours, c);
  }
  return std::nullopt;
}

/// Prefixes that training wrappers put before every key; removed while every key has the same one.
inline constexpr std::string_view kWrapperPrefixes[] = {"module.", "model.", "sam.", "_orig_mod."};

/// How many leading characters of every key are wrapper prefixes.
inline std::size_t common_prefix_length(const std::vector<std::string>& keys) {
  std::size_t length = 0;
  for (bool found = !keys.empty(); found;) {
    found = false;
    for (std::string_view p : kWrapperPrefixes) {
      if (!std::all_of(keys.begin(), keys.end(), [&](const std::string& k) { return std::string_view(k).substr(length, p.size()) == p; })) continue;
      length += p.size();
      found = true;
    }
  }
  return length;
}

}  // namespace sampan::inline SAMPAN_ABI::weights
