// A restricted unpickler: reads the object tree of a torch checkpoint without being able to call anything.
// Data flow: data.pkl of a .pth zip, or the stream of a legacy file -> here -> torch_file.hpp turns persistent storages and tensors into bytes.
// examples/medical/npy.hpp reads numpy's object arrays with it: lists and dicts of plain numbers.
// Globals are looked up in an allow-list (kAllowedGlobals; object arrays have a shorter one) and become data; everything else is refused by name, with opcode and byte offset. Nothing is imported,
// nothing is executed; the machine is a loop over opcodes, not recursive, with caps on values, stack, marks, memo and bytes (PickleLimits).
// Source: CPython Lib/pickletools.py (protocols 2 to 5), torch/_utils.py, torch/serialization.py. Cost: a few tens of ns per opcode, about 90 bytes per value.
// Deliberately absent: protocols 0 and 1, sets, extension codes, out-of-band buffers, objects of unknown classes.
#pragma once
#include <sampan/core/dtype.hpp>
#include <sampan/core/file.hpp>

#include <algorithm>
#include <cstring>
#include <vector>

namespace sampan::inline SAMPAN_ABI::tools {

struct PickleLimits {
  std::size_t max_bytes = std::size_t(64) << 20;
  std::size_t max_values = 2'000'000;
  std::size_t max_stack = 1'000'000;
  std::size_t max_marks = 256;  ///< nesting depth of containers under construction
  std::size_t max_memo = 2'000'000;
  std::size_t max_rank = 8;  ///< axes of a tensor
  bool arrays_only = false;  ///< of the allowed names only those of numpy's object arrays (AllowedGlobal::in_arrays)
};

/// What an allowed global stands for.
enum class GlobalKind {
  ordered_dict,    ///< a dict
  storage,         ///< element type of a persistent storage
  rebuild_tensor,  ///< storage, offset, sizes, strides, ... -> tensor
  rebuild_parameter,
  size,            ///< torch.Size -> tuple
  skip,            ///< a harmless object of a training file: kept as `opaque`, with what it was made from
};

struct AllowedGlobal {
  std::string_view module, name;
  GlobalKind kind;
  DType dtype = DType::f32;  ///< for storage
  bool in_arrays = false;    ///< on the second list as well: what numpy's object arrays are made of
};

inline constexpr AllowedGlobal kAllowedGlobals[] = {
    {"collections", "OrderedDict", GlobalKind::ordered_dict},
    {"torch._utils", "_rebuild_tensor_v2", GlobalKind::rebuild_tensor},
    {"torch._utils", "_rebuild_tensor", GlobalKind::rebuild_tensor},
    {"torch._utils", "_rebuild_parameter", GlobalKind::rebuild_parameter},
    {"torch._utils", "_rebuild_parameter_with_state", GlobalKind::rebuild_parameter},
    {"torch", "DoubleStorage", GlobalKind::storage, DType::f64},
    {"torch", "FloatStorage", GlobalKind::storage, DType::f32},
    {"torch", "HalfStorage", GlobalKind::storage, DType::f16},
    {"torch", "BFloat16Storage", GlobalKind::storage, DType::bf16},
    {"torch", "LongStorage", GlobalKind::storage, DType::i64},
    {"torch", "IntStorage", GlobalKind::storage, DType::i32},
    {"torch", "ShortStorage", GlobalKind::storage, DType::i16},
    {"torch", "CharStorage", GlobalKind::storage, DType::i8},
    {"torch", "ByteStorage", GlobalKind::storage, DType::u8},
    {"torch", "BoolStorage", GlobalKind::storage, DType::boolean},
    {"torch", "Size", GlobalKind::size},
    // Beside the weights in training checkpoints: walked over, never looked into.
    {"torch", "device", GlobalKind::skip},
    {"torch.serialization", "_get_layout", GlobalKind::skip},
    {"argparse", "Namespace", GlobalKind::skip},
    {"collections", "defaultdict", GlobalKind::ordered_dict},
    {"builtins", "dict", GlobalKind::skip},
    {"builtins", "list", GlobalKind::skip},
    {"__builtin__", "dict", GlobalKind::skip},
    {"__builtin__", "list", GlobalKind::skip},
    {"_codecs", "encode", GlobalKind::skip, DType::f32, true},
    {"numpy", "dtype", GlobalKind::skip, DType::f32, true},
    {"numpy", "ndarray", GlobalKind::skip, DType::f32, true},
    {"numpy.core.multiarray", "scalar", GlobalKind::skip, DType::f32, true},
    {"numpy.core.multiarray", "_reconstruct", GlobalKind::skip, DType::f32, true},
    {"numpy._core.multiarray", "scalar", GlobalKind::skip, DType::f32, true},
    {"numpy._core.multiarray", "_reconstruct", GlobalKind::skip, DType::f32, true},
};

enum class PickleKind : std::uint8_t { none, boolean, integer, big_integer, real, text, bytes, list, tuple, dict, global, storage, tensor, opaque };

constexpr const char* to_string(PickleKind k) {
  constexpr const char* names[] = {"None", "bool", "int", "long int", "float", "str", "bytes", "list", "tuple", "dict", "global", "storage", "tensor", "object"};
  return names[static_cast<std::size_t>(k)];
}

using PickleRef = std::uint32_t;  ///< index into Pickle::values

struct PickleValue {
  PickleKind kind = PickleKind::none;
  std::int64_t integer = 0;        ///< boolean, integer; index for storage, tensor and global; opaque: index of its class in kAllowedGlobals
  double real = 0;
  std::string_view text;           ///< text, bytes, big_integer: a view into the pickle
  std::vector<PickleRef> items;    ///< list, tuple: elements; dict: key, value, key, value, ...; opaque: the tuple of arguments, then each state
};

struct PickleStorage {
  DType dtype = DType::f32;
  std::string_view key;
  std::int64_t elements = 0;
  std::size_t offset = 0;  ///< of the opcode that named it, for messages
};

struct PickleTensor {
  std::size_t storage = 0;  ///< index into Pickle::storages
  std::int64_t first = 0;   ///< element of the storage
  std::vector<std::int64_t> sizes, strides;
  std::size_t offset = 0;
};

/// The result; views point into the bytes that were read.
struct Pickle {
  std::vector<PickleValue> values;
  std::vector<PickleStorage> storages;
  std::vector<PickleTensor> tensors;
  PickleRef root = 0;
  std::size_t end = 0;  ///< first byte behind the STOP opcode

  const PickleValue& at(PickleRef r) const { return values[r]; }
  const PickleValue& top() const { return values[root]; }
};

class Unpickler {
 public:
  /// `label` stands before "byte N" in messages: "FILE: archive/data.pkl". Offsets count from the start of `bytes`.
  static Result<Pickle> read(Bytes bytes, std::string label, const PickleLimits& limits = {}) {
    Unpickler u(bytes, std::move(label), limits);
    SAMPAN_CHECK(u.run());
    return std::move(u.out_);
  }

 private:
  Unpickler(Bytes b, std::string label, const PickleLimits& limits) : bytes_(b), label_(std::move(label)), limits_(limits) {}

  // ---- opcodes (pickletools.py) ----
  enum Op : std::uint8_t {
    kMark = '(', kStop = '.', kPop = '0', kPopMark = '1', kDup = '2', kNone = 'N', kNewTrue = 0x88, kNewFalse = 0x89, kBinInt = 'J', kBinInt1 = 'K', kBinInt2 = 'M',
    kLong1 = 0x8a, kLong4 = 0x8b, kBinFloat = 'G', kBinString = 'T', kShortBinString = 'U', kBinUnicode = 'X', kShortBinUnicode = 0x8c, kBinUnicode8 = 0x8d, kBinBytes = 'B',
    kShortBinBytes = 'C', kBinBytes8 = 0x8e, kEmptyList = ']', kAppend = 'a', kAppends = 'e', kEmptyTuple = ')', kTuple = 't', kTuple1 = 0x85, kTuple2 = 0x86, kTuple3 = 0x87,
    kEmptyDict = '}', kSetItem = 's', kSetItems = 'u', kGlobal = 'c', kStackGlobal = 0x93, kReduce = 'R', kBuild = 'b', kNewObj = 0x81, kBinPersId = 'Q', kBinPut = 'q',
    kLongBinPut = 'r', kBinGet = 'h', kLongBinGet = 'j', kMemoize = 0x94, kProto = 0x80, kFrame = 0x95,
  };

  struct OpName {
    std::uint8_t op;
    std::string_view name;
  };
  static std::string op_name(std::uint8_t op) {
    static constexpr OpName kNames[] = {
        {kAppend, "APPEND"}, {kAppends, "APPENDS"}, {kSetItem, "SETITEM"}, {kSetItems, "SETITEMS"}, {kGlobal, "GLOBAL"}, {kStackGlobal, "STACK_GLOBAL"}, {kReduce, "REDUCE"},
        {kBuild, "BUILD"}, {kNewObj, "NEWOBJ"}, {kBinPersId, "BINPERSID"}, {kBinGet, "BINGET"}, {kLongBinGet, "LONG_BINGET"}, {kBinPut, "BINPUT"}, {kLongBinPut, "LONG_BINPUT"},
        {kMemoize, "MEMOIZE"}, {kPop, "POP"}, {kPopMark, "POP_MARK"}, {kDup, "DUP"}, {kMark, "MARK"}, {kStop, "STOP"}, {kTuple, "TUPLE"}, {kProto, "PROTO"}, {kFrame, "FRAME"},
        {'i', "INST"}, {'o', "OBJ"}, {0x82, "EXT1"}, {0x83, "EXT2"}, {0x84, "EXT4"}, {0x92, "NEWOBJ_EX"}, {'P', "PERSID"}, {0x8f, "EMPTY_SET"}, {0x90, "ADDITEMS"}, {0x91, "FROZENSET"},
        {0x96, "BYTEARRAY8"}, {0x97, "NEXT_BUFFER"}, {0x98, "READONLY_BUFFER"}, {'I', "INT"}, {'L', "LONG"}, {'F', "FLOAT"}, {'S', "STRING"}, {'V', "UNICODE"}, {'g', "GET"}, {'p', "PUT"},
        {'l', "LIST"}, {'d', "DICT"}};
    for (const OpName& n : kNames)
      if (n.op == op) return std::string(n.name);
    return cat("0x", "0123456789abcdef"[op >> 4], "0123456789abcdef"[op & 15]);
  }

  Error refuse(std::string_view what, ErrorCode code = ErrorCode::bad_file) const {
    return Error(code, cat(label_, ", byte ", op_at_, ", opcode ", op_name(op_), ": ", what));
  }
  Error truncated() const { return refuse("the pickle ends inside this opcode: truncated file"); }

  // ---- reading ----
  bool has(std::size_t n) const { return bytes_.size() - at_ >= n; }
  template <class T>
  T take() {
    T v;
    std::memcpy(&v, bytes_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return v;
  }
  /// Text of a length that stands before it as T.
  template <class T>
  Status take_text(PickleKind kind) {
    if (!has(sizeof(T))) return truncated();
    const std::uint64_t n = take<T>();
    if (n > bytes_.size() - at_) return truncated();
    PickleValue v;
    v.kind = kind;
    v.text = as_text(bytes_.subspan(at_, static_cast<std::size_t>(n)));
    at_ += static_cast<std::size_t>(n);
    return push(std::move(v));
  }
  Status take_line(std::string_view& out) {
    const std::string_view rest = as_text(bytes_.subspan(at_)).substr(0, 1024);
    const std::size_t n = rest.find('\n');
    if (n == std::string_view::npos) return refuse("a name that does not end within 1024 bytes");
    out = rest.substr(0, n);
    at_ += n + 1;
    return {};
  }

  // ---- stack ----
  std::size_t base() const { return marks_.empty() ? 0 : marks_.back(); }
  std::size_t depth() const { return stack_.size() - base(); }
  PickleValue& top(std::size_t below = 0) { return out_.values[stack_[stack_.size() - 1 - below]]; }
  Status need(std::size_t n) const {
    if (depth() < n) return refuse("too few values on the stack");
    return {};
  }
  Status push_ref(PickleRef r) {
    if (stack_.size() >= limits_.max_stack) return refuse(cat("more than ", limits_.max_stack, " values on the stack"), ErrorCode::limit);
    stack_.push_back(r);
    return {};
  }
  Status push(PickleValue v) {
    if (out_.values.size() >= limits_.max_values) return refuse(cat("more than ", limits_.max_values, " values"), ErrorCode::limit);
    out_.values.push_back(std::move(v));
    return push_ref(static_cast<PickleRef>(out_.values.size() - 1));
  }
  Status push_integer(std::int64_t i, PickleKind kind = PickleKind::integer) {
    PickleValue v;
    v.kind = kind;
    v.integer = i;
    return push(std::move(v));
  }
  Status push_kind(PickleKind k) {
    PickleValue v;
    v.kind = k;
    return push(std::move(v));
  }
  /// Replaces the last n values by a tuple of them.
  Status make_tuple(std::size_t n) {
    SAMPAN_CHECK(need(n));
    PickleValue v;
    v.kind = PickleKind::tuple;
    v.items.assign(stack_.end() - static_cast<std::ptrdiff_t>(n), stack_.end());
    stack_.resize(stack_.size() - n);
    return push(std::move(v));
  }
  Status need_mark() const {
    if (marks_.empty()) return refuse("no MARK before it");
    return {};
  }

  // ---- containers ----
  Status append(PickleRef list, std::size_t first) {
    PickleValue& l = out_.values[list];
    if (l.kind != PickleKind::list) return refuse(cat("appends to a ", to_string(l.kind), ", a list is needed"));
    l.items.insert(l.items.end(), stack_.begin() + static_cast<std::ptrdiff_t>(first), stack_.end());
    stack_.resize(first);
    return {};
  }
  Status set_items(PickleRef dict, std::size_t first) {
    PickleValue& d = out_.values[dict];
    if (d.kind != PickleKind::dict) return refuse(cat("sets items of a ", to_string(d.kind), ", a dict is needed"));
    if ((stack_.size() - first) % 2 != 0) return refuse("a key without a value");
    for (std::size_t i = first; i < stack_.size(); i += 2) {
      const PickleKind k = out_.values[stack_[i]].kind;
      if (k == PickleKind::list || k == PickleKind::dict || k == PickleKind::storage || k == PickleKind::tensor) return refuse(cat("a ", to_string(k), " as a key"));
    }
    d.items.insert(d.items.end(), stack_.begin() + static_cast<std::ptrdiff_t>(first), stack_.end());
    stack_.resize(first);
    return {};
  }

  // ---- globals ----
  Status push_global(std::string_view module, std::string_view name) {
    for (std::size_t i = 0; i < std::size(kAllowedGlobals); ++i)
      if (kAllowedGlobals[i].module == module && kAllowedGlobals[i].name == name && (kAllowedGlobals[i].in_arrays || !limits_.arrays_only)) return push_integer(static_cast<std::int64_t>(i), PickleKind::global);
    const std::string full = cat(module.substr(0, 120), ".", name.substr(0, 120));
    for (std::string_view p : {"torch.nn", "segment_anything", "models.", "networks", "__main__"})
      if (module.substr(0, p.size()) == p)
        return refuse(cat("the file holds a whole Python object (", full, "), not a table of tensors; it cannot be read without running its code. Take the safetensors file of this model instead, "
                          "or save model.state_dict()"),
                      ErrorCode::unsupported);
    return refuse(cat("the file asks for ", full, ", which is not on the list of harmless names: refused, nothing was run"));
  }
  const AllowedGlobal* as_global(const PickleValue& v) const { return v.kind == PickleKind::global ? &kAllowedGlobals[v.integer] : nullptr; }

  /// callable, arguments -> value.
  Status reduce() {
    SAMPAN_CHECK(need(2));
    const AllowedGlobal* g = as_global(top(1));
    if (!g) return refuse(cat("calls a ", to_string(top(1).kind), ", a name from the list of harmless ones is needed"));
    if (top().kind != PickleKind::tuple) return refuse(cat("arguments are a ", to_string(top().kind), ", a tuple is needed"));
    const PickleRef arguments = stack_.back();
    stack_.resize(stack_.size() - 2);
    const std::vector<PickleRef>& a = out_.values[arguments].items;
    switch (g->kind) {
      case GlobalKind::ordered_dict: return make_dict(a);
      case GlobalKind::rebuild_tensor: return make_tensor(a);
      case GlobalKind::rebuild_parameter:
        if (a.empty() || out_.values[a[0]].kind != PickleKind::tensor) return refuse("a parameter needs a tensor");
        return push_ref(a[0]);
      case GlobalKind::size:
        if (a.size() != 1 || out_.values[a[0]].kind != PickleKind::tuple) return refuse("torch.Size needs a tuple");
        return push_ref(a[0]);
      case GlobalKind::skip: return push_opaque(*g, arguments);
      case GlobalKind::storage: return refuse(cat("calls torch.", g->name, "; storages must be persistent"));
    }
    return refuse("unknown kind of name", ErrorCode::internal);
  }

  Status push_opaque(const AllowedGlobal& g, PickleRef arguments) {
    PickleValue v;
    v.kind = PickleKind::opaque;
    v.integer = &g - kAllowedGlobals;
    v.items = {arguments};
    return push(std::move(v));
  }

  /// OrderedDict() or, from Python 2, OrderedDict([[k, v], ...]); defaultdict(factory).
  Status make_dict(const std::vector<PickleRef>& a) {
    PickleValue d;
    d.kind = PickleKind::dict;
    if (a.size() > 1) return refuse("a dict from more than one argument");
    if (a.size() == 1 && out_.values[a[0]].kind != PickleKind::global) {
      const PickleValue& pairs = out_.values[a[0]];
      if (pairs.kind != PickleKind::list) return refuse(cat("a dict from a ", to_string(pairs.kind), ", a list of pairs is needed"));
      for (PickleRef p : pairs.items) {
        const PickleValue& pair = out_.values[p];
        if ((pair.kind != PickleKind::list && pair.kind != PickleKind::tuple) || pair.items.size() != 2) return refuse("a dict from a list of something else than pairs");
        d.items.insert(d.items.end(), pair.items.begin(), pair.items.end());
      }
      copied_ += d.items.size();  // the only op that copies: a list named again and again must not multiply
      if (copied_ > limits_.max_values) return refuse(cat("more than ", limits_.max_values, " items copied"), ErrorCode::limit);
    }
    return push(std::move(d));
  }

  bool read_extents(PickleRef r, std::vector<std::int64_t>& out) const {
    const PickleValue& v = out_.values[r];
    if (v.kind != PickleKind::tuple || v.items.size() > limits_.max_rank) return false;
    for (PickleRef i : v.items) {
      const PickleValue& e = out_.values[i];
      if (e.kind != PickleKind::integer || e.integer < 0) return false;
      out.push_back(e.integer);
    }
    return true;
  }

  /// (storage, offset, sizes, strides[, requires_grad, hooks[, metadata]]). Ranges are checked where the storage's bytes are known (torch_file.hpp).
  Status make_tensor(const std::vector<PickleRef>& a) {
    if (a.size() < 4 || a.size() > 7) return refuse(cat("a tensor from ", a.size(), " arguments, 4 to 7 are needed"));
    const PickleValue &s = out_.values[a[0]], &offset = out_.values[a[1]];
    if (s.kind != PickleKind::storage) return refuse(cat("a tensor from a ", to_string(s.kind), ", a storage is needed"));
    if (offset.kind != PickleKind::integer || offset.integer < 0) return refuse("the storage offset of a tensor must be an int >= 0");
    PickleTensor t;
    t.storage = static_cast<std::size_t>(s.integer);
    t.first = offset.integer;
    t.offset = op_at_;
    if (!read_extents(a[2], t.sizes) || !read_extents(a[3], t.strides) || t.sizes.size() != t.strides.size())
      return refuse(cat("sizes and strides of a tensor must be tuples of equally many ints >= 0, at most ", limits_.max_rank));
    out_.tensors.push_back(std::move(t));
    return push_integer(static_cast<std::int64_t>(out_.tensors.size() - 1), PickleKind::tensor);
  }

  /// ('storage', type, key, location, elements[, view]) -> storage.
  Status persistent() {
    SAMPAN_CHECK(need(1));
    const PickleValue& id = top();
    const auto item = [&](std::size_t i) -> const PickleValue& { return out_.values[id.items[i]]; };
    if (id.kind != PickleKind::tuple || (id.items.size() != 5 && id.items.size() != 6) || item(0).kind != PickleKind::text || item(0).text != "storage")
      return refuse("a persistent id must be ('storage', type, key, location, elements)");
    const AllowedGlobal* type = as_global(item(1));
    if (!type || type->kind != GlobalKind::storage) return refuse("the type of a storage must be one of torch's typed storages");
    if (item(2).kind != PickleKind::text || item(4).kind != PickleKind::integer || item(4).integer < 0) return refuse("the key of a storage must be str and its size an int >= 0");
    if (id.items.size() == 6 && item(5).kind != PickleKind::none)
      return refuse("a storage that is a view of another one (files of PyTorch 0.3 and older): save the file again with a newer PyTorch", ErrorCode::unsupported);
    const PickleStorage s{type->dtype, item(2).text, item(4).integer, op_at_};
    stack_.pop_back();
    out_.storages.push_back(s);
    return push_integer(static_cast<std::int64_t>(out_.storages.size() - 1), PickleKind::storage);
  }

  /// state, object: attributes. Only objects whose attributes nobody reads may have them.
  Status build() {
    SAMPAN_CHECK(need(2));
    const PickleKind object = top(1).kind, state = top().kind;
    const bool fits = object == PickleKind::opaque || (object == PickleKind::dict && (state == PickleKind::dict || state == PickleKind::none));
    if (!fits) return refuse(cat("sets attributes (a ", to_string(state), ") of a ", to_string(object), ", only dicts and skipped objects may have them"));
    if (object == PickleKind::opaque) top(1).items.push_back(stack_.back());
    stack_.pop_back();
    return {};
  }

  Status new_object() {
    SAMPAN_CHECK(need(2));
    const AllowedGlobal* g = as_global(top(1));
    if (!g || (g->kind != GlobalKind::skip && g->kind != GlobalKind::ordered_dict)) return refuse("makes an object of something else than a harmless class");
    if (top().kind != PickleKind::tuple) return refuse(cat("arguments are a ", to_string(top().kind), ", a tuple is needed"));
    const PickleRef arguments = stack_.back();
    stack_.resize(stack_.size() - 2);
    return g->kind == GlobalKind::skip ? push_opaque(*g, arguments) : push_kind(PickleKind::dict);
  }

  // ---- memo ----
  static constexpr PickleRef kUnset = ~PickleRef(0);
  Status put(std::size_t i) {
    SAMPAN_CHECK(need(1));
    if (i >= limits_.max_memo) return refuse(cat("memo entry ", i, ", at most ", limits_.max_memo, " are kept"), ErrorCode::limit);
    if (i >= memo_.size()) memo_.resize(std::max(i + 1, std::min(limits_.max_memo, memo_.size() * 2)), kUnset);
    memo_[i] = stack_.back();
    ++memo_used_;
    return {};
  }
  Status get(std::size_t i) {
    if (i >= memo_.size() || memo_[i] == kUnset) return refuse(cat("memo entry ", i, " was never set"));
    return push_ref(memo_[i]);
  }

  /// Little-endian two's complement of n bytes.
  Status take_long(std::size_t n) {
    if (!has(n)) return truncated();
    const Bytes b = bytes_.subspan(at_, n);
    at_ += n;
    if (n > 8) {
      PickleValue v;
      v.kind = PickleKind::big_integer;
      v.text = as_text(b);
      return push(std::move(v));
    }
    std::uint64_t bits = n > 0 && (b[n - 1] & 0x80u) ? ~std::uint64_t(0) : 0;
    for (std::size_t i = n; i-- > 0;) bits = bits << 8 | b[i];
    return push_integer(static_cast<std::int64_t>(bits));
  }

  Status run() {
    if (bytes_.size() > limits_.max_bytes) bytes_ = bytes_.first(limits_.max_bytes), capped_ = true;
    if (bytes_.size() < 2 || bytes_[0] != kProto) return Error(ErrorCode::bad_file, cat(label_, ", byte 0: a pickle of protocol 2 to 5 must begin with the opcode PROTO"));
    for (;;) {
      op_at_ = at_;
      if (!has(1)) {
        op_ = kStop;
        if (capped_) return Error(ErrorCode::limit, cat(label_, ": a pickle of more than ", limits_.max_bytes, " bytes"));
        return refuse("is missing: truncated file");
      }
      op_ = take<std::uint8_t>();
      if (op_ == kStop) break;
      SAMPAN_CHECK(step());
    }
    if (stack_.size() != 1 || !marks_.empty()) return refuse(cat("leaves ", stack_.size(), " values, 1 is needed"));
    out_.root = stack_[0];
    out_.end = at_;
    return {};
  }

  Status step() {
    switch (op_) {
      case kProto: {
        if (!has(1)) return truncated();
        const int protocol = take<std::uint8_t>();
        if (op_at_ != 0) return refuse("only legal at the start");
        if (protocol < 2 || protocol > 5) return refuse(cat("protocol ", protocol, ", 2 to 5 are read"), ErrorCode::unsupported);
        return {};
      }
      case kFrame:  // a hint for buffering; its length needs no trust
        if (!has(8)) return truncated();
        at_ += 8;
        return {};
      case kMark:
        if (marks_.size() >= limits_.max_marks) return refuse(cat("nested deeper than ", limits_.max_marks, " levels"), ErrorCode::limit);
        marks_.push_back(stack_.size());
        return {};
      case kPop:
        SAMPAN_CHECK(need(1));
        stack_.pop_back();
        return {};
      case kPopMark:
        SAMPAN_CHECK(need_mark());
        stack_.resize(marks_.back());
        marks_.pop_back();
        return {};
      case kDup: SAMPAN_CHECK(need(1)); return push_ref(stack_.back());
      case kNone: return push_kind(PickleKind::none);
      case kNewTrue: return push_integer(1, PickleKind::boolean);
      case kNewFalse: return push_integer(0, PickleKind::boolean);
      case kBinInt: return has(4) ? push_integer(take<std::int32_t>()) : Status(truncated());
      case kBinInt1: return has(1) ? push_integer(take<std::uint8_t>()) : Status(truncated());
      case kBinInt2: return has(2) ? push_integer(take<std::uint16_t>()) : Status(truncated());
      case kLong1: return has(1) ? take_long(take<std::uint8_t>()) : Status(truncated());
      case kLong4: {
        if (!has(4)) return truncated();
        const std::int32_t n = take<std::int32_t>();
        return n >= 0 ? take_long(static_cast<std::size_t>(n)) : Status(refuse("negative length"));
      }
      case kBinFloat: {  // big-endian
        if (!has(8)) return truncated();
        std::uint64_t bits = 0;
        for (int i = 0; i < 8; ++i) bits = bits << 8 | take<std::uint8_t>();
        PickleValue v;
        v.kind = PickleKind::real;
        v.real = std::bit_cast<double>(bits);
        return push(std::move(v));
      }
      case kBinString:
      case kBinUnicode: return take_text<std::uint32_t>(PickleKind::text);
      case kShortBinString:
      case kShortBinUnicode: return take_text<std::uint8_t>(PickleKind::text);
      case kBinUnicode8: return take_text<std::uint64_t>(PickleKind::text);
      case kBinBytes: return take_text<std::uint32_t>(PickleKind::bytes);
      case kShortBinBytes: return take_text<std::uint8_t>(PickleKind::bytes);
      case kBinBytes8: return take_text<std::uint64_t>(PickleKind::bytes);
      case kEmptyList: return push_kind(PickleKind::list);
      case kEmptyDict: return push_kind(PickleKind::dict);
      case kEmptyTuple: return push_kind(PickleKind::tuple);
      case kTuple1: return make_tuple(1);
      case kTuple2: return make_tuple(2);
      case kTuple3: return make_tuple(3);
      case kTuple: {
        SAMPAN_CHECK(need_mark());
        const std::size_t n = depth();
        marks_.pop_back();
        return make_tuple(n);
      }
      case kAppend: SAMPAN_CHECK(need(2)); return append(stack_[stack_.size() - 2], stack_.size() - 1);
      case kSetItem: SAMPAN_CHECK(need(3)); return set_items(stack_[stack_.size() - 3], stack_.size() - 2);
      case kAppends:
      case kSetItems: {
        SAMPAN_CHECK(need_mark());
        const std::size_t first = marks_.back();
        marks_.pop_back();
        if (first <= base()) return refuse("no container below the MARK");
        return op_ == kAppends ? append(stack_[first - 1], first) : set_items(stack_[first - 1], first);
      }
      case kGlobal: {
        std::string_view module, name;
        SAMPAN_CHECK(take_line(module));
        SAMPAN_CHECK(take_line(name));
        return push_global(module, name);
      }
      case kStackGlobal: {
        SAMPAN_CHECK(need(2));
        if (top(1).kind != PickleKind::text || top().kind != PickleKind::text) return refuse("module and name must be str");
        const std::string_view module = top(1).text, name = top().text;
        stack_.resize(stack_.size() - 2);
        return push_global(module, name);
      }
      case kReduce: return reduce();
      case kBuild: return build();
      case kNewObj: return new_object();
      case kBinPersId: return persistent();
      case kBinPut: return has(1) ? put(take<std::uint8_t>()) : Status(truncated());
      case kLongBinPut: return has(4) ? put(take<std::uint32_t>()) : Status(truncated());
      case kMemoize: return put(memo_used_);
      case kBinGet: return has(1) ? get(take<std::uint8_t>()) : Status(truncated());
      case kLongBinGet: return has(4) ? get(take<std::uint32_t>()) : Status(truncated());
      default: return refuse("is not used by files of tensors: refused");
    }
  }

  Bytes bytes_;
  std::string label_;
  PickleLimits limits_;
  bool capped_ = false;
  std::size_t at_ = 0, op_at_ = 0, memo_used_ = 0, copied_ = 0;
  std::uint8_t op_ = 0;
  std::vector<PickleRef> stack_, memo_;
  std::vector<std::size_t> marks_;
  Pickle out_;
};

}  // namespace sampan::inline SAMPAN_ABI::tools
