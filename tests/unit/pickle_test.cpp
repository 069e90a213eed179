// weights_tools/pickle.hpp: what it builds, and that nothing outside the allow-list, of a wrong type or beyond a cap gets through.
#include <doctest/doctest.h>

#include "support/weight_files.hpp"
#include "weights_tools/pickle.hpp"

using namespace sampan;
using namespace sampan::tools;
using namespace sampan::test;
namespace pk = sampan::test::pickle;

namespace {

Result<Pickle> read(const std::string& bytes, const PickleLimits& limits = {}) { return Unpickler::read(as_bytes(bytes), "f", limits); }
std::string error_of(const std::string& bytes, const PickleLimits& limits = {}) {
  const auto p = read(bytes, limits);
  return p ? "(accepted)" : p.error().message();
}

const std::string kGoodTensor = pk::tensor(pk::storage("0", 6), 0, {2, 3}, {3, 1});
std::string repeat(const std::string& s, std::size_t n) {
  std::string out;
  for (std::size_t i = 0; i < n; ++i) out += s;
  return out;
}

}  // namespace

TEST_CASE("scalars and containers") {
  // Made by hand from pickletools: (-1, 70000, 300, True, None, 2.5, b"ab", "\xe9", [1, 2], 10-byte int)
  const std::string p = "\x80\x04\x95" + le(std::uint64_t(99)) + "(J" + le(std::int32_t(-1)) + "J" + le(std::int32_t(70000)) + "M" + le(std::uint16_t(300)) + "\x88N" + "G" + std::string("\x40\x04\0\0\0\0\0\0", 8) +
                        std::string("C\x02" "ab", 4) + std::string("\x8c\x02\xC3\xA9", 4) + "](K\x01K\x02" "e" + std::string("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 12) + std::string("\x8a\0", 2) +
                        std::string("\x8a\x01\xff", 3) + "t.";
  const auto r = read(p);
  REQUIRE_MESSAGE(r, r.error().message());
  const PickleValue& t = r->top();
  REQUIRE(t.kind == PickleKind::tuple);
  REQUIRE(t.items.size() == 12);
  const auto at = [&](std::size_t i) -> const PickleValue& { return r->at(t.items[i]); };
  CHECK(at(0).integer == -1);
  CHECK(at(1).integer == 70000);
  CHECK(at(2).integer == 300);
  CHECK(at(3).kind == PickleKind::boolean);
  CHECK(at(4).kind == PickleKind::none);
  CHECK(at(5).real == 2.5);
  CHECK(at(6).kind == PickleKind::bytes);
  CHECK(at(7).text == "\xC3\xA9");
  CHECK(at(8).items.size() == 2);
  CHECK(at(9).kind == PickleKind::big_integer);
  CHECK(at(10).integer == 0);
  CHECK(at(11).integer == -1);
  CHECK(r->end == p.size());
}

TEST_CASE("dicts, memo, tensors and storages") {
  const std::string bytes = pk::file(pk::dict({{"w", kGoodTensor}, {"p", pk::global("torch._utils", "_rebuild_parameter") + pk::mark + kGoodTensor + pk::yes + pk::none + pk::tuple + pk::reduce}}));
  const auto r = read(bytes);  // texts are views into the bytes
  REQUIRE_MESSAGE(r, r.error().message());
  REQUIRE(r->tensors.size() == 2);
  CHECK(r->tensors[0].sizes == std::vector<std::int64_t>{2, 3});
  CHECK(r->storages[0].key == "0");
  CHECK(r->storages[0].elements == 6);
  REQUIRE(r->top().items.size() == 4);
  CHECK(r->at(r->top().items[3]).kind == PickleKind::tensor);
  // A list that contains itself is legal Python; nothing here follows it.
  const auto self = read(pk::file(pk::empty_list + pk::put(1) + pk::get(1) + pk::append));
  REQUIRE(self);
  CHECK(self->top().items == std::vector<PickleRef>{self->root});
  // Python 2's OrderedDict([[k, v]]), torch.Size, a skipped object with state, OrderedDict with attributes.
  CHECK(read(pk::file(pk::global("collections", "OrderedDict") + pk::empty_list + pk::mark + pk::text("a") + pk::integer(1) + "l" + pk::append + pk::tuple1 + pk::reduce)).error().message().find("LIST") !=
        std::string::npos);  // LIST belongs to protocol 0
  const auto ordered = read(pk::file(pk::global("collections", "OrderedDict") + pk::empty_list + pk::text("a") + pk::integer(1) + pk::tuple2 + pk::append + pk::tuple1 + pk::reduce));
  REQUIRE_MESSAGE(ordered, ordered.error().message());
  CHECK(ordered->top().kind == PickleKind::dict);
  CHECK(ordered->top().items.size() == 2);
  CHECK(read(pk::file(pk::global("argparse", "Namespace") + pk::empty_tuple + "\x81" + pk::dict({{"lr", pk::integer(1)}}) + pk::build))->top().kind == PickleKind::opaque);
  CHECK(read(pk::file(pk::global("collections", "OrderedDict") + pk::empty_tuple + pk::reduce + pk::dict({{"_metadata", pk::none}}) + pk::build))->top().kind == PickleKind::dict);
  CHECK(read(pk::file(pk::global("torch", "Size") + pk::tuple_of({1, 2}) + pk::tuple1 + pk::reduce))->top().kind == PickleKind::tuple);
}

TEST_CASE("names outside the allow-list are refused, with opcode and offset") {
  for (const auto& row : {std::pair("os", "system"), {"posix", "system"}, {"builtins", "eval"}, {"builtins", "getattr"}, {"__builtin__", "exec"}, {"subprocess", "Popen"}, {"torch", "load"},
                                     {"torch._utils", "_rebuild_tensor_v2 "}, {"collections", "OrderedDict.fromkeys"}, {"torch.storage", "_load_from_bytes"}, {"numpy", "load"}, {"", ""}}) {
    const auto& module = row.first;
    const auto& name = row.second;
    CAPTURE(module);
    const auto r = read(pk::file(pk::global(module, name) + pk::text("echo") + pk::tuple1 + pk::reduce));
    REQUIRE_FALSE(r);
    CHECK(r.error().code() == ErrorCode::bad_file);
    CHECK_MESSAGE(r.error().message().find("f, byte 2, opcode GLOBAL: the file asks for " + std::string(module) + "." + std::string(name).substr(0, 3)) == 0, r.error().message());
    CHECK(r.error().message().find("nothing was run") != std::string::npos);
    const auto stack = read("\x80\x04" + pk::text(module) + pk::text(name) + "\x93.");
    REQUIRE_FALSE(stack);
    CHECK(stack.error().message().find("opcode STACK_GLOBAL") != std::string::npos);
  }
  const auto module = read(pk::file(pk::global("torch.nn.modules.linear", "Linear") + pk::empty_tuple + "\x81"));
  REQUIRE_FALSE(module);
  CHECK(module.error().code() == ErrorCode::unsupported);
  CHECK(module.error().message().find("safetensors") != std::string::npos);
}

TEST_CASE("wrong types and wrong order") {
  const std::string list = pk::empty_list, dict = pk::empty_dict, one = pk::integer(1), ordered = pk::global("collections", "OrderedDict");
  const std::string rebuild = pk::global("torch._utils", "_rebuild_tensor_v2");
  struct Case {
    const char* what;
    std::string object;
    const char* says;
  };
  const Case cases[] = {
      {"SETITEM on a list", list + one + one + pk::setitem, "opcode SETITEM: sets items of a list, a dict is needed"},
      {"SETITEM on an int", one + one + one + pk::setitem, "sets items of a int"},
      {"SETITEMS on None", pk::none + pk::mark + one + one + pk::setitems, "sets items of a None"},
      {"SETITEMS on a tensor", kGoodTensor + pk::mark + one + one + pk::setitems, "sets items of a tensor"},
      {"SETITEMS on a skipped object", pk::global("argparse", "Namespace") + pk::empty_tuple + "\x81" + pk::mark + one + one + pk::setitems, "sets items of a object"},
      {"SETITEMS on a global", ordered + pk::mark + one + one + pk::setitems, "sets items of a global"},
      {"SETITEMS with an odd number", dict + pk::mark + one + pk::setitems, "a key without a value"},
      {"SETITEMS without a mark", dict + one + one + pk::setitems, "no MARK"},
      {"SETITEMS without a container", pk::mark + one + one + pk::setitems, "no container below the MARK"},
      {"SETITEMS below an outer mark", dict + pk::mark + pk::mark + one + one + pk::setitems, "no container below the MARK"},
      {"a list as a key", dict + list + one + pk::setitem, "a list as a key"},
      {"APPEND to a dict", dict + one + pk::append, "opcode APPEND: appends to a dict, a list is needed"},
      {"APPENDS to a tuple", pk::empty_tuple + pk::mark + one + pk::appends, "appends to a tuple"},
      {"BUILD on a list", list + dict + pk::build, "opcode BUILD: sets attributes (a dict) of a list"},
      {"BUILD on a tensor", kGoodTensor + dict + pk::build, "of a tensor"},
      {"BUILD on a global", ordered + dict + pk::build, "of a global"},
      {"BUILD a dict from a tuple", dict + pk::empty_tuple + pk::build, "sets attributes (a tuple) of a dict"},
      {"REDUCE of a str", pk::text("os.system") + pk::text("x") + pk::tuple1 + pk::reduce, "calls a str"},
      {"REDUCE without a tuple", ordered + list + pk::reduce, "arguments are a list, a tuple is needed"},
      {"REDUCE of a storage type", pk::global("torch", "FloatStorage") + one + pk::tuple1 + pk::reduce, "storages must be persistent"},
      {"NEWOBJ of a function", rebuild + pk::empty_tuple + "\x81", "something else than a harmless class"},
      {"NEWOBJ of an int", one + pk::empty_tuple + "\x81", "something else than a harmless class"},
      {"tensor from an int", rebuild + pk::mark + one + one + pk::tuple_of({1}) + pk::tuple_of({1}) + pk::tuple + pk::reduce, "a tensor from a int, a storage is needed"},
      {"tensor from nothing", rebuild + pk::empty_tuple + pk::reduce, "a tensor from 0 arguments"},
      {"negative offset", pk::tensor(pk::storage("0", 6), -1, {2}, {1}), "must be an int >= 0"},
      {"negative size", pk::tensor(pk::storage("0", 6), 0, {-2}, {1}), "tuples of equally many ints >= 0"},
      {"negative stride", pk::tensor(pk::storage("0", 6), 0, {2}, {-1}), "tuples of equally many ints >= 0"},
      {"sizes and strides of other length", pk::tensor(pk::storage("0", 6), 0, {2, 3}, {1}), "tuples of equally many ints >= 0"},
      {"nine axes", pk::tensor(pk::storage("0", 6), 0, {1, 1, 1, 1, 1, 1, 1, 1, 1}, {1, 1, 1, 1, 1, 1, 1, 1, 1}), "at most 8"},
      {"sizes as a list", rebuild + pk::mark + pk::storage("0", 6) + pk::integer(0) + list + pk::empty_tuple + pk::tuple + pk::reduce, "tuples of equally many"},
      {"parameter of an int", pk::global("torch._utils", "_rebuild_parameter") + one + pk::tuple1 + pk::reduce, "a parameter needs a tensor"},
      {"persistent id of an int", one + pk::persid, "a persistent id must be"},
      {"persistent id of another kind", pk::mark + pk::text("module") + one + one + one + one + pk::tuple + pk::persid, "a persistent id must be"},
      {"storage of a non-type", pk::mark + pk::text("storage") + ordered + pk::text("0") + pk::text("cpu") + one + pk::tuple + pk::persid, "typed storages"},
      {"storage of a negative size", pk::storage("0", -1), "its size an int >= 0"},
      {"storage view", pk::mark + pk::text("storage") + pk::global("torch", "FloatStorage") + pk::text("0") + pk::text("cpu") + one + one + pk::tuple + pk::persid, "view of another one"},
      {"memo never set", pk::get(3), "memo entry 3 was never set"},
      {"put of nothing", pk::put(0), "too few values"},
      {"POP of nothing", pk::pop, "too few values"},
      {"POP through a mark", one + pk::mark + pk::pop, "too few values"},
      {"TUPLE2 through a mark", one + one + pk::mark + pk::tuple2, "too few values"},
      {"TUPLE without a mark", one + pk::tuple, "no MARK"},
      {"PROTO in the middle", one + "\x80\x02", "only legal at the start"},
      {"two values left", one + one, "leaves 2 values"},
      {"no value left", "", "leaves 0 values"},
      {"an open mark", one + pk::mark, "1 is needed"},
      {"dict from pairs of three", ordered + list + pk::tuple_of({1, 2, 3}) + pk::append + pk::tuple1 + pk::reduce, "something else than pairs"},
      {"dict from two arguments", ordered + list + list + pk::tuple2 + pk::reduce, "more than one argument"},
      {"torch.Size of an int", pk::global("torch", "Size") + one + pk::tuple1 + pk::reduce, "torch.Size needs a tuple"},
      {"STACK_GLOBAL of ints", one + one + "\x93", "module and name must be str"},
      {"INST", pk::mark + "ios\nsystem\n", "opcode INST"},
      {"OBJ", pk::mark + ordered + "o", "opcode OBJ"},
      {"EXT1", "\x82\x01", "opcode EXT1"},
      {"NEWOBJ_EX", ordered + pk::empty_tuple + dict + "\x92", "opcode NEWOBJ_EX"},
      {"PERSID", "Pabc\n", "opcode PERSID"},
      {"EMPTY_SET", "\x8f", "opcode EMPTY_SET"},
      {"BYTEARRAY8", "\x96", "opcode BYTEARRAY8"},
      {"NEXT_BUFFER", "\x97", "opcode NEXT_BUFFER"},
      {"protocol 0 INT", "I1\n", "opcode INT"},
      {"an unknown opcode", "\xff", "opcode 0xff"},
      {"GLOBAL without end", "c" + std::string(5000, 'a'), "does not end within 1024 bytes"},
      {"negative LONG4", "\x8b\xff\xff\xff\xff", "negative length"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.what);
    const std::string message = error_of(pk::file(c.object));
    CHECK_MESSAGE(message.find(c.says) != std::string::npos, message);
    CHECK(message.find("f, byte ") == 0);
  }
  CHECK(error_of("") == "f, byte 0: a pickle of protocol 2 to 5 must begin with the opcode PROTO");
  CHECK(error_of("(lp0\n.").find("must begin with the opcode PROTO") != std::string::npos);
  CHECK(error_of("\x80\x06N.").find("protocol 6") != std::string::npos);
  CHECK(error_of(std::string("\x80\0N.", 4)).find("protocol 0") != std::string::npos);
}

TEST_CASE("every truncation is refused, every changed byte survives") {
  const std::string good = "\x80\x04" + pk::dict({{"weight", kGoodTensor}, {"x", "\x8b" + le(std::int32_t(3)) + "abc"}, {"y", "\x8d" + le(std::uint64_t(2)) + "zz"}, {"z", "G12345678"}, {"b", "B" + le(std::uint32_t(1)) + "q"}}) + ".";
  REQUIRE_MESSAGE(read(good), error_of(good));
  for (std::size_t n = 0; n < good.size(); ++n) {
    CAPTURE(n);
    const std::string cut(good, 0, n);
    std::vector<std::uint8_t> exact(cut.begin(), cut.end());  // asan sees a read behind it
    REQUIRE_FALSE(Unpickler::read(exact, "f"));
  }
  for (std::size_t i = 0; i < good.size(); ++i)
    for (int v = 0; v < 256; ++v) {
      std::string bad = good;
      bad[i] = static_cast<char>(v);
      (void)read(bad).ok();
    }
}

TEST_CASE("caps") {
  const auto code = [](const std::string& bytes, const PickleLimits& l) {
    const auto r = read(bytes, l);
    return r ? ErrorCode::internal : r.error().code();
  };
  CHECK(code(pk::file(repeat("N", 11)), {.max_values = 10}) == ErrorCode::limit);
  CHECK(code(pk::file("N" + repeat("2", 10)), {.max_stack = 10}) == ErrorCode::limit);
  CHECK(code(pk::file(repeat("(", 300)), {}) == ErrorCode::limit);
  CHECK(code(pk::file("Nr" + le(std::uint32_t(0xFFFFFFFF))), {}) == ErrorCode::limit);
  CHECK(code(pk::file("Nr" + le(std::uint32_t(5))), {.max_memo = 5}) == ErrorCode::limit);
  CHECK(code(pk::file(repeat("N0", 60)), {.max_bytes = 100}) == ErrorCode::limit);
  // Nested lists do not recurse: a million levels are just a million values.
  CHECK(code(pk::file(repeat("]", 100'000) + repeat("a", 99'999)), {}) == ErrorCode::internal);
  // OrderedDict from one list of pairs, named again and again, must not multiply it.
  const std::string pairs = pk::empty_list + pk::mark + repeat(pk::tuple_of({1, 2}), 1000) + pk::appends + pk::put(0);
  const std::string bomb = pairs + repeat(pk::global("collections", "OrderedDict") + pk::get(0) + pk::tuple1 + pk::reduce + pk::pop, 2000);
  CHECK(code(pk::file(bomb), {}) == ErrorCode::limit);
  // Lengths beyond the file cost nothing.
  CHECK(error_of(pk::file("X" + le(std::uint32_t(0xFFFFFFFF)))).find("truncated") != std::string::npos);
  CHECK(error_of(pk::file("\x8d" + le(~std::uint64_t(0)))).find("truncated") != std::string::npos);
  CHECK(error_of(pk::file("\x8b" + le(std::int32_t(0x7FFFFFFF)))).find("truncated") != std::string::npos);
}
