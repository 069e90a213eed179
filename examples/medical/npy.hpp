// NpyArray: one array of numpy, from the bytes of a .npy file, and its header for writing.
// Data flow: npz.hpp (a member of the zip) -> parse_npy -> numbers, or the tree of an object array; write: npy_header in front of raw voxels.
// Source: numpy/lib/format.py (versions 1.0 to 3.0). The header is a Python literal; it is read by a grammar of exactly its three keys, never evaluated.
// Object arrays are pickles: they pass through the restricted unpickler (weights_tools/pickle.hpp), which cannot call anything, with an allow-list of their own.
// Deliberately absent: structured types, text, dates, complex, float16 and 128-bit floats: clear errors.
#pragma once
#include "volume.hpp"
#include "weights_tools/pickle.hpp"

#include <charconv>

namespace sampan::inline SAMPAN_ABI::medical {

struct NpyArray {
  VoxelType type = VoxelType::u8;
  bool object = false;               ///< then `data` is a pickle
  bool swapped = false, fortran = false;
  std::vector<std::int64_t> shape;   ///< at most 8 axes
  Bytes data;                        ///< a view into what was parsed
  std::size_t count = 1;             ///< elements

  /// Element by its C-order index, whatever the order in memory. Not for object arrays.
  double at(std::size_t index) const {
    if (fortran) {
      std::size_t flat = 0, stride = 1, rest = index, below = count;
      for (const std::int64_t n : shape) {
        below /= std::size_t(n);
        flat += rest / below * stride;
        rest %= below;
        stride *= std::size_t(n);
      }
      index = flat;
    }
    return with_voxel_type(type, [&](auto t) {
      std::uint8_t raw[sizeof t];
      std::memcpy(raw, data.data() + index * sizeof t, sizeof t);
      if (swapped) std::reverse(raw, raw + sizeof t);
      std::memcpy(&t, raw, sizeof t);
      return double(t);
    });
  }
};

namespace detail {

/// The literal {'descr': '<i2', 'fortran_order': False, 'shape': (3, 4), }: keys in any order, each exactly once.
class NpyHeader {
 public:
  explicit NpyHeader(std::string_view text) : s_(text) {}
  bool read(std::string_view& descr, bool& fortran, std::vector<std::int64_t>& shape) {
    int seen = 0;
    if (!take('{')) return false;
    while (!take('}')) {
      std::string_view key;
      if (!quoted(key) || !take(':')) return false;
      const int bit = key == "descr" ? 1 : key == "fortran_order" ? 2 : key == "shape" ? 4 : 0;
      if (bit == 0 || (seen & bit)) return false;
      seen |= bit;
      if (bit == 1 ? !quoted(descr) : bit == 2 ? !boolean(fortran) : !tuple(shape)) return false;
      if (!take(',') && !peek('}')) return false;
    }
    blanks();
    return seen == 7 && at_ == s_.size();
  }

 private:
  void blanks() {
    while (at_ < s_.size() && (s_[at_] == ' ' || s_[at_] == '\n')) ++at_;
  }
  bool peek(char c) {
    blanks();
    return at_ < s_.size() && s_[at_] == c;
  }
  bool take(char c) { return peek(c) && ++at_; }
  bool quoted(std::string_view& out) {
    blanks();
    if (at_ >= s_.size() || (s_[at_] != '\'' && s_[at_] != '"')) return false;
    const std::size_t end = s_.find(s_[at_], at_ + 1);
    if (end == std::string_view::npos) return false;
    out = s_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 1;
    return true;
  }
  bool boolean(bool& out) {
    blanks();
    for (const std::string_view w : {std::string_view("True"), std::string_view("False")})
      if (s_.substr(at_, w.size()) == w) {
        out = w == "True";
        at_ += w.size();
        return true;
      }
    return false;
  }
  bool tuple(std::vector<std::int64_t>& out) {
    if (!take('(')) return false;
    while (!take(')')) {
      blanks();
      std::int64_t n = -1;
      const auto r = std::from_chars(s_.data() + at_, s_.data() + s_.size(), n);
      if (r.ec != std::errc() || n < 0 || out.size() == 8) return false;
      at_ = std::size_t(r.ptr - s_.data());
      if (at_ < s_.size() && s_[at_] == 'L') ++at_;  // Python 2
      out.push_back(n);
      if (!take(',') && !peek(')')) return false;
    }
    return true;
  }
  std::string_view s_;
  std::size_t at_ = 0;
};

}  // namespace detail

/// Error{bad_file | unsupported}; every message begins with `label`. The array views `file`.
inline Result<NpyArray> parse_npy(Bytes file, const std::string& label) {
  const auto refuse = [&](const std::string& what, ErrorCode code = ErrorCode::bad_file) { return Error(code, cat(label, ": ", what)); };
  if (file.size() < 10 || as_text(file.first(6)) != "\x93NUMPY") return refuse("not a .npy array");
  const int major = file[6];
  if (major < 1 || major > 3) return refuse(cat("version ", major, " of the .npy format, 1 to 3 are read"), ErrorCode::unsupported);
  const std::size_t fixed = major == 1 ? 10 : 12;
  if (file.size() < fixed) return refuse("truncated header");
  std::size_t length = file[8] | std::size_t(file[9]) << 8;
  if (major > 1) length |= std::size_t(file[10]) << 16 | std::size_t(file[11]) << 24;
  if (length > file.size() - fixed) return refuse(cat("a header of ", length, " bytes, but only ", file.size() - fixed, " follow"));
  if (length > 65536) return refuse(cat("a header of ", length, " bytes, at most 65536 are read"), ErrorCode::limit);
  NpyArray a;
  std::string_view descr;
  if (!detail::NpyHeader(as_text(file.subspan(fixed, length))).read(descr, a.fortran, a.shape)) return refuse("its header must hold exactly 'descr' (one plain type), 'fortran_order' and 'shape' (at most 8 axes)");
  a.data = file.subspan(fixed + length);
  std::uint64_t count = 1;
  for (const std::int64_t n : a.shape) {
    const auto p = product(count, std::uint64_t(n));
    if (!p) return refuse("its shape overflows 64 bits");
    count = *p;
  }
  if (descr == "|O" || descr == "O") {
    if (count > 1'000'000) return refuse(cat(count, " objects, at most 1000000 are read"), ErrorCode::limit);
    a.object = true;
    a.count = std::size_t(count);
    return a;
  }
  struct Row {
    std::string_view name;
    VoxelType type;
  };
  constexpr Row kRows[] = {{"u1", VoxelType::u8},  {"b1", VoxelType::u8},  {"i1", VoxelType::i8},  {"u2", VoxelType::u16}, {"i2", VoxelType::i16}, {"u4", VoxelType::u32},
                           {"i4", VoxelType::i32}, {"u8", VoxelType::u64}, {"i8", VoxelType::i64}, {"f4", VoxelType::f32}, {"f8", VoxelType::f64}};
  const auto* row = descr.size() != 3 ? std::end(kRows) : std::find_if(std::begin(kRows), std::end(kRows), [&](const Row& r) { return r.name == descr.substr(1); });
  if (row == std::end(kRows) || std::string_view("<>|=").find(descr[0]) == std::string_view::npos || (descr[0] == '|' && size_of(row->type) > 1))
    return refuse(cat("elements of type '", descr.substr(0, 40), "'; integers and floats of 8 to 64 bits are read"), ErrorCode::unsupported);
  a.type = row->type;
  a.swapped = descr[0] == '>' && size_of(a.type) > 1;
  const auto bytes = product(count, size_of(a.type));
  if (!bytes || *bytes > a.data.size()) return refuse(cat("its shape needs ", count, " elements, ", a.data.size() / size_of(a.type), " are there: truncated, or a lying header"));
  a.data = a.data.first(static_cast<std::size_t>(*bytes));
  a.count = std::size_t(count);
  return a;
}

/// What stands before the data of a C-order little-endian array; a multiple of 64 bytes, as numpy writes it.
inline std::string npy_header(VoxelType type, const std::vector<std::int64_t>& shape) {
  constexpr std::string_view names[] = {"|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f4", "<f8"};
  std::string text = cat("{'descr': '", names[static_cast<std::size_t>(type)], "', 'fortran_order': False, 'shape': (");
  for (const std::int64_t n : shape) text += cat(n, ", ");
  text += "), }";
  text.append((64 - (10 + text.size() + 1) % 64) % 64, ' ');
  text += '\n';
  return cat(std::string_view("\x93NUMPY\x01\x00", 8), char(text.size() & 255), char(text.size() >> 8), text);
}

// ---- object arrays -----------------------------------------------------------------------------------------------------------------

/// The elements of an object array as the unpickler left them: numbers, text, lists, dicts. Error{bad_file | limit | unsupported}.
class NpyObjects {
 public:
  static Result<NpyObjects> read(const NpyArray& a, const std::string& label) {
    NpyObjects o;
    SAMPAN_TRY(pickle, tools::Unpickler::read(a.data, label, {.max_bytes = std::size_t(16) << 20, .max_values = 500'000, .max_stack = 500'000, .max_marks = 32, .max_memo = 500'000, .arrays_only = true}));
    o.pickle_ = std::move(pickle);
    // ndarray: _reconstruct(ndarray, (0,), b'b') with the state (version, shape, dtype, fortran, list of elements)
    const auto* state = o.state_of(o.pickle_.top(), "_reconstruct", 5);
    if (!state || o.pickle_.at(state->items[4]).kind != tools::PickleKind::list) return Error(ErrorCode::bad_file, cat(label, ": not an array of plain objects"));
    o.elements_ = o.pickle_.at(state->items[4]).items;
    if (o.elements_.size() != a.count) return Error(ErrorCode::bad_file, cat(label, ": holds ", o.elements_.size(), " objects, its shape needs ", a.count));
    return o;
  }
  using Value = tools::PickleValue;
  std::size_t size() const { return elements_.size(); }
  const Value& element(std::size_t i) const { return pickle_.at(elements_[i]); }
  const Value& at(tools::PickleRef r) const { return pickle_.at(r); }

  /// Value of a dict's key, or nullptr.
  const Value* find(const Value& dict, std::string_view key) const {
    if (dict.kind == tools::PickleKind::dict)
      for (std::size_t i = 0; i + 1 < dict.items.size(); i += 2)
        if (const Value& k = pickle_.at(dict.items[i]); k.kind == tools::PickleKind::text && k.text == key) return &pickle_.at(dict.items[i + 1]);
    return nullptr;
  }
  /// A Python number or a numpy scalar.
  std::optional<double> number(const Value& v) const {
    using tools::PickleKind;
    if (v.kind == PickleKind::integer) return double(v.integer);
    if (v.kind == PickleKind::real) return v.real;
    if (v.kind != PickleKind::opaque || !named(v, "scalar")) return std::nullopt;
    // scalar(dtype('i8'), b'........'); the dtype's state says the byte order
    const Value& arguments = pickle_.at(v.items[0]);
    if (arguments.items.size() != 2 || pickle_.at(arguments.items[1]).kind != PickleKind::bytes) return std::nullopt;
    const Value& dtype = pickle_.at(arguments.items[0]);
    if (dtype.kind != PickleKind::opaque || !named(dtype, "dtype") || dtype.items.empty()) return std::nullopt;
    const Value& made_from = pickle_.at(dtype.items[0]);
    if (made_from.items.empty() || pickle_.at(made_from.items[0]).kind != PickleKind::text) return std::nullopt;
    const Value* state = dtype.items.size() == 2 ? &pickle_.at(dtype.items[1]) : nullptr;
    const bool big = state && state->kind == PickleKind::tuple && state->items.size() > 1 && pickle_.at(state->items[1]).text == ">";
    const std::string_view bytes = pickle_.at(arguments.items[1]).text;
    NpyArray one;
    for (const VoxelType t : {VoxelType::u8, VoxelType::i8, VoxelType::u16, VoxelType::i16, VoxelType::u32, VoxelType::i32, VoxelType::u64, VoxelType::i64, VoxelType::f32, VoxelType::f64}) {
      constexpr std::string_view names[] = {"u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"};
      if (pickle_.at(made_from.items[0]).text != names[static_cast<std::size_t>(t)] || bytes.size() != size_of(t)) continue;
      one.type = t;
      one.swapped = big;
      one.data = as_bytes(bytes);
      return one.at(0);
    }
    return std::nullopt;
  }

 private:
  static bool named(const Value& v, std::string_view name) { return tools::kAllowedGlobals[v.integer].name == name; }
  /// The state tuple of an object that was made by `name`, if it has exactly one with `items` parts.
  const Value* state_of(const Value& v, std::string_view name, std::size_t items) const {
    if (v.kind != tools::PickleKind::opaque || !named(v, name) || v.items.size() != 2) return nullptr;
    const Value& state = pickle_.at(v.items[1]);
    return state.kind == tools::PickleKind::tuple && state.items.size() == items ? &state : nullptr;
  }
  tools::Pickle pickle_;
  std::vector<tools::PickleRef> elements_;
};

}  // namespace sampan::inline SAMPAN_ABI::medical
