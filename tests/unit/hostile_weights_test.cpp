// Hostile weight files, end to end: each must end in the documented exit code with one line that names file and place, within 5 seconds,
// without a partial output, and without running anything. The parts have their own tables: safetensors, zip, pickle, torch_file, convert, contract tests.
#include <doctest/doctest.h>

#include "support/weight_files.hpp"
#include "weights_tools/inspect.hpp"
#include "weights_tools/outcome.hpp"
#include "weights_tools/verify.hpp"

#include <chrono>
#include <cmath>

using namespace sampan;
using namespace sampan::test;
namespace pk = sampan::test::pickle;

namespace {

std::string fixture(const std::string& name) { return std::string(SAMPAN_TEST_DIR) + "/unit/weight_fixtures/" + name; }

struct Case {
  const char* what;
  std::string file;
  int exit_code;
  const char* says;
};

// A header of one tensor.
std::string one(const std::string& dtype, const std::string& shape, const std::string& offsets, const std::string& data) {
  return safetensors("{\"t\":{\"dtype\":" + dtype + ",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}}", data);
}
std::string two(const std::string& a, const std::string& b, const std::string& data) {
  return safetensors("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" + a + "},\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" + b + "}}", data);
}

const std::string kEight = "12345678";
const std::string kTensor = pk::tensor(pk::storage("0", 2), 0, {2}, {1});
std::string torch_file(const std::string& object, const std::string& data = bytes_of<float>({1, 2})) { return ZipBuilder().add("a/data.pkl", pk::file(object)).add("a/data/0", data).finish(); }

std::vector<Case> safetensors_cases() {
  std::string deep;
  for (int i = 0; i < 2000; ++i) deep += "[";
  std::string many = "{\"__metadata__\":{\"k\":[";
  for (int i = 0; i < 1'100'000; ++i) many += "0,";
  return {
      {"empty file", "", 3, "0 bytes are too few"},
      {"seven bytes", "1234567", 3, "7 bytes are too few"},
      {"only a length", le(std::uint64_t(2)), 3, "byte 0: a header of 2 bytes, but only 0 follow"},
      {"header longer than the file", le(std::uint64_t(1000)) + "{}", 3, "byte 0: a header of 1000 bytes, but only 2 follow"},
      {"header beyond the format's limit", le(std::uint64_t(100) << 21) + "{}", 3, "at most 104857600 are legal"},
      {"header of 2^64 - 1 bytes", le(~std::uint64_t(0)) + "{}", 3, "a header of 18446744073709551615 bytes"},
      {"header of zero bytes", le(std::uint64_t(0)), 3, "must begin with '{'"},
      {"header that is a list", safetensors("[]"), 3, "must begin with '{'"},
      {"header that is no JSON", safetensors("{\"a\":"), 3, "JSON byte 5: ends where a value is needed"},
      {"header with text behind", safetensors("{}x"), 3, "text after the end"},
      {"header cut in the middle", safetensors(R"({"t":{"dtype":"F32","shape":[2],"data_of)"), 3, "JSON byte"},
      {"nested headers", safetensors("{\"a\":" + deep), 4, "nested deeper than 32"},
      {"a million values", safetensors(many), 4, "more than 1000000 values"},
      {"tensor twice", safetensors(R"({"t":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"t":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})"), 3, "\"t\" appears twice"},
      {"tensor that is a number", safetensors(R"({"t":1})"), 3, "tensor t: its header entry must hold exactly"},
      {"no dtype", safetensors(R"({"t":{"shape":[0],"data_offsets":[0,0]}})"), 3, "must hold exactly"},
      {"one key too many", safetensors(R"({"t":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"x":1}})"), 3, "must hold exactly"},
      {"metadata that is a list", safetensors(R"({"__metadata__":[]})"), 3, "__metadata__ is of type array"},
      {"metadata of numbers", safetensors(R"({"__metadata__":{"k":1}})"), 3, "__metadata__ entry k is of type number"},
      {"unknown dtype", one("\"F8_E4M3\"", "[8]", "[0,8]", kEight), 5, "dtype \"F8_E4M3\" is not supported; known are F64 F32 F16"},
      {"dtype of another case", one("\"f32\"", "[2]", "[0,8]", kEight), 5, "not supported"},
      {"negative extent", one("\"U8\"", "[-8]", "[0,8]", kEight), 3, "whole numbers >= 0"},
      {"fractional extent", one("\"U8\"", "[8.0]", "[0,8]", kEight), 3, "whole numbers >= 0"},
      {"shape that is text", one("\"U8\"", "\"8\"", "[0,8]", kEight), 3, "must hold exactly"},
      {"extent of 2^64", one("\"U8\"", "[18446744073709551616]", "[0,8]", kEight), 3, "beyond 64 bits"},
      {"shape that overflows", one("\"F32\"", "[4294967296,4294967296]", "[0,8]", kEight), 3, "overflows 64 bits"},
      {"shape that overflows in bytes", one("\"F64\"", "[2305843009213693952]", "[0,8]", kEight), 3, "overflows 64 bits"},
      {"shape that overflows to zero", one("\"F32\"", "[0,4294967296,4294967296]", "[0,0]", ""), 3, "overflows 64 bits"},
      {"nine axes", one("\"U8\"", "[1,1,1,1,1,1,1,1,8]", "[0,8]", kEight), 4, "9 dimensions"},
      {"offsets reversed", one("\"U8\"", "[8]", "[8,0]", kEight), 3, "are reversed"},
      {"offsets negative", one("\"U8\"", "[8]", "[-8,0]", kEight), 3, "whole numbers >= 0"},
      {"one offset", one("\"U8\"", "[8]", "[8]", kEight), 3, "must be [begin, end]"},
      {"three offsets", one("\"U8\"", "[8]", "[0,8,8]", kEight), 3, "must be [begin, end]"},
      {"end beyond the file", one("\"U8\"", "[9]", "[0,9]", kEight), 3, "end at byte"},
      {"begin beyond the file", one("\"U8\"", "[0]", "[9,9]", kEight), 3, "end at byte"},
      {"end near 2^63", one("\"U8\"", "[8]", "[9223372036854775799,9223372036854775807]", kEight), 3, "end at byte"},
      {"fewer bytes than the shape", one("\"F32\"", "[3]", "[0,8]", kEight), 3, "holds 8 bytes at byte "},
      {"more bytes than the shape", one("\"F32\"", "[1]", "[0,8]", kEight), 3, "but F32 [1] needs 4"},
      {"truncated data", one("\"U8\"", "[8]", "[0,8]", "1234567"), 3, "truncated file or wrong header"},
      {"bytes behind the data", one("\"U8\"", "[8]", "[0,8]", kEight + "9"), 3, "the tensors end at byte"},
      {"data without tensors", safetensors("{}", "x"), 3, "the tensors end at byte 10, but the file has 11"},
      {"overlapping tensors", two("[0,4]", "[2,6]", kEight), 3, "inside the tensor before it"},
      {"two tensors at one place", two("[0,4]", "[0,4]", "1234"), 3, "inside the tensor before it"},
      {"a gap", two("[0,4]", "[5,9]", "123456789"), 3, "after a gap"},
      {"a gap at the start", two("[1,5]", "[5,9]", "123456789"), 3, "after a gap"},
      {"no tensors at all", safetensors("{}"), 5, "holds no tensors"},
      {"tensors of nothing known", one("\"U8\"", "[8]", "[0,8]", kEight), 5, "not a network this program knows"},
      {"header not UTF-8", safetensors("{\"a\xFF\":1}"), 3, "not UTF-8"},
  };
}

std::vector<Case> torch_cases(const std::string& proof) {
  const std::string command = "touch " + proof;
  std::string nulls(20 << 20, '\0');
  std::string local = ZipBuilder().add("a/data.pkl", pk::file(pk::none)).finish();
  return {
      {"os.system", torch_file(pk::global("os", "system") + pk::text(command) + pk::tuple1 + pk::reduce), 3, "opcode GLOBAL: the file asks for os.system"},
      {"posix.system", torch_file(pk::dict({{"w", pk::global("posix", "system") + pk::text(command) + pk::tuple1 + pk::reduce}})), 3, "the file asks for posix.system"},
      {"builtins.eval", torch_file(pk::global("builtins", "eval") + pk::text("__import__('os').system('" + command + "')") + pk::tuple1 + pk::reduce), 3, "builtins.eval"},
      {"a bare legacy pickle that calls", pk::file(pk::global("os", "system") + pk::text(command) + pk::tuple1 + pk::reduce), 3, "the file asks for os.system"},
      {"INST", torch_file("(X" + le(std::uint32_t(command.size())) + command + "ios\nsystem\n"), 3, "opcode INST"},
      {"SETITEM on a tensor", torch_file(kTensor + pk::integer(1) + pk::integer(1) + pk::setitem), 3, "opcode SETITEM: sets items of a tensor"},
      {"SETITEMS on a list", torch_file(pk::empty_list + pk::mark + pk::text("a") + kTensor + pk::setitems), 3, "sets items of a list, a dict is needed"},
      {"APPEND to a dict", torch_file(pk::empty_dict + kTensor + pk::append), 3, "appends to a dict"},
      {"BUILD on a tensor", torch_file(kTensor + pk::empty_dict + pk::build), 3, "of a tensor"},
      {"storage size lies", torch_file(pk::dict({{"w", pk::tensor(pk::storage("0", 1000000), 0, {1000000}, {1})}})), 3, "member a/data/0 has 8 bytes"},
      {"offset outside the storage", torch_file(pk::dict({{"w", pk::tensor(pk::storage("0", 2), 1, {2}, {1})}})), 3, "reaches element 2"},
      {"stride outside the storage", torch_file(pk::dict({{"w", pk::tensor(pk::storage("0", 2), 0, {2}, {1000000000})}})), 3, "reaches element 1000000000"},
      {"an expanded scalar of 2^31 elements", torch_file(pk::dict({{"w", pk::tensor(pk::storage("0", 2), 0, {2147483647}, {0})}})), 3, "expanded tensors"},
      {"2^30 levels", torch_file(std::string(1000, '(')), 4, "nested deeper than 256"},
      {"memo index 2^32 - 1", torch_file("Nr\xff\xff\xff\xff"), 4, "memo entry 4294967295"},
      {"zip bomb as storage", ZipBuilder().add("a/data.pkl", pk::file(pk::dict({{"w", pk::tensor(pk::storage("0", 5 << 20), 0, {5 << 20}, {1})}}))).add("a/data/0", nulls, {.deflate = true}).finish(), 4,
       "zip member a/data/0"},
      {"zip bomb as pickle", ZipBuilder().add("a/data.pkl", nulls, {.deflate = true}).finish(), 4, "more than 100 times"},
      {"zip bomb in a wheel", ZipBuilder().add("x/model.pth", nulls, {.deflate = true}).finish(), 4, "more than 100 times"},
      {"duplicate members", ZipBuilder().add("a/data.pkl", pk::file(pk::dict({{"w", kTensor}}))).add("a/data/0", kEight).add("a/data/0", kEight).finish(), 3, "appears twice in the archive"},
      {"overlapping members", ZipBuilder().add("a/data.pkl", pk::file(pk::dict({{"w", kTensor}}))).add("a/data/0", kEight).repeat(1).finish(), 3, "overlaps"},
      {"encrypted", ZipBuilder().add("a/data.pkl", pk::file(pk::none), {.flags = 1}).finish(), 5, "encrypted"},
      {"truncated zip", local.substr(0, local.size() - 5), 3, "no end record"},
      {"damaged data", ZipBuilder().add("a/data.pkl", pk::file(pk::dict({{"w", kTensor}}))).add("a/data/0", kEight, {.wrong_crc = true}).finish(), 3, "CRC"},
      {"a whole module", get_file(fixture("module.pth")), 5, "Take the safetensors file"},
      {"a checkpoint of something else", get_file(fixture("dtypes_zip.pth")), 5, "not a network this program knows"},
      {"a picture", "\x89PNG\r\n\x1a\n" + std::string(100, 'x'), 3, "not a .pth, .pt, .safetensors or .whl file"},
      {"a line break in a tensor's name", torch_file(pk::dict({{"a\nb", kTensor}})), 3, "not printable"},
  };
}

// What main() would do with the outcome of convert and inspect.
void check_case(const Case& c) {
  CAPTURE(c.what);
  const TempDir in, out;
  const std::string path = put_file(in.path("model"), c.file);
  const auto start = std::chrono::steady_clock::now();
  const auto r = tools::convert({path, out.path("converted"), ""});
  const auto i = tools::inspect(path);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  REQUIRE_FALSE(r);
  CHECK_MESSAGE(tools::exit_code(r.error().code()) == c.exit_code, r.error().message());
  CHECK_MESSAGE(r.error().message().find(c.says) != std::string::npos, r.error().message());
  CHECK_MESSAGE(r.error().message().rfind(path, 0) == 0, r.error().message());  // the file comes first
  const std::string line = tools::one_line(r.error().message());
  CHECK(line.find('\n') == std::string::npos);
  CHECK(line.size() < 1500);
  CHECK(out.file_count() == 0);
  CHECK(in.file_count() == 1);
  CHECK(seconds < 5);
  if (!i) CHECK(i.error().message() == r.error().message());  // inspect shows what it can, and refuses what cannot be read
  CHECK_FALSE(tools::verify_model(path));
}

}  // namespace

TEST_CASE("hostile safetensors") {
  for (const Case& c : safetensors_cases()) {
    // The converter tells kinds of files apart first, the engine reads safetensors only: both must refuse.
    const TempDir dir;
    const auto direct = weights::Safetensors::open(put_file(dir.path("m"), c.file));
    CAPTURE(c.what);
    if (c.exit_code != 5 || !direct) {
      REQUIRE_FALSE(direct);
      CHECK_MESSAGE(direct.error().message().find(c.says) != std::string::npos, direct.error().message());
      CHECK(tools::exit_code(direct.error().code()) == c.exit_code);
      const auto r = tools::convert({dir.path("m"), dir.path("out"), ""});
      REQUIRE_FALSE(r);
      CHECK(tools::exit_code(r.error().code()) == c.exit_code);
      CHECK(dir.file_count() == 1);
    } else {
      check_case(c);
    }
  }
}

TEST_CASE("hostile PyTorch files") {
  const TempDir dir;
  const std::string proof = dir.path("executed");
  for (const Case& c : torch_cases(proof)) check_case(c);
  CHECK_FALSE(std::filesystem::exists(proof));
}

TEST_CASE("a network with one thing wrong") {
  const auto c = tools::open_checkpoint(fixture("tiny_sam.whl"));
  REQUIRE(c);
  std::vector<NamedTensor> sam;
  std::vector<std::uint8_t> scratch;
  for (const tools::SourceTensor& t : c->source.tensors) {
    NamedTensor n{t.name, {t.shape.begin(), t.shape.end()}, std::vector<float>(t.count())};
    weights::convert_to_f32(t.dtype, t.contiguous(scratch).data(), t.count(), n.values.data());
    sam.push_back(n);
  }
  const auto find = [](std::vector<NamedTensor>& v, const std::string& name) -> NamedTensor& {
    for (NamedTensor& t : v)
      if (t.name == name) return t;
    FAIL("no tensor ", name);
    return v[0];
  };
  {
    const TempDir dir;
    const auto r = tools::convert({put_file(dir.path("good"), torch_zip(sam)), dir.path("out"), ""});
    REQUIRE_MESSAGE(r, r.error().message());  // what follows is wrong in one place only
  }
  const std::string token = "mask_decoder.iou_token.weight", pos = "image_encoder.pos_embed";
  auto bad = sam;
  std::erase_if(bad, [&](const NamedTensor& t) { return t.name == token; });
  check_case({"missing tensor", torch_zip(bad), 5, "1 tensor missing: mask_decoder.iou_token.weight"});
  bad = sam;
  bad.push_back({"image_encoder.extra", {1}, {1}});
  check_case({"surplus tensor", torch_zip(bad), 5, "1 tensor of another network: image_encoder.extra"});
  bad = sam;
  bad.push_back({"optimizer.state", {1}, {1}});
  check_case({"foreign tensor", torch_zip(bad), 5, "1 tensor of another network: optimizer.state"});
  bad = sam;
  find(bad, token).shape = {16, 1};
  check_case({"wrong shape", torch_zip(bad), 5, "mask_decoder.iou_token.weight is [16,1], expected [1,16]"});
  bad = sam;
  find(bad, pos).shape = {1, 2, 2, 32};
  check_case({"position table of another size", torch_zip(bad), 5, "image_encoder"});
  bad = sam;
  find(bad, token).values[3] = NAN;
  check_case({"NaN", torch_zip(bad), 5, "tensor mask_decoder.iou_token.weight (storage "});
  bad = sam;
  find(bad, token).values[15] = -INFINITY;
  check_case({"infinity", torch_zip(bad), 5, "element 15 is NaN or infinite"});
}

TEST_CASE("paths instead of files") {
  const TempDir dir;
  const auto code = [](const auto& r) { return r ? 0 : tools::exit_code(r.error().code()); };
  CHECK(code(tools::convert({dir.path(), dir.path("out"), ""})) == 3);
  CHECK(code(tools::convert({dir.path("missing"), dir.path("out"), ""})) == 3);
  CHECK(code(tools::convert({fixture("tiny_sam.whl"), dir.path(), ""})) == 3);
  CHECK(code(tools::convert({fixture("tiny_sam.whl"), dir.path("no/such/folder"), ""})) == 3);
  CHECK(code(tools::convert({fixture("tiny_sam.whl"), "/dev/null", ""})) == 3);
  CHECK(code(tools::convert({"/dev/null", dir.path("out"), ""})) == 3);
  CHECK(code(tools::convert({fixture("tiny_sam.whl"), dir.path("out"), "sam2"})) == 2);
  CHECK(code(tools::verify_model(dir.path())) == 3);
  CHECK(code(tools::inspect(dir.path())) == 3);
  CHECK(dir.file_count() == 0);
}

TEST_CASE("exit codes are those of the contract, and 1 is never one") {
  using enum ErrorCode;
  const std::pair<ErrorCode, int> want[] = {{invalid_argument, 2}, {io, 3}, {bad_file, 3}, {limit, 4}, {bad_model, 5}, {unsupported, 5}, {cancelled, 5}, {internal, 5}, {out_of_memory, 6}};
  for (const auto& [code, exit] : want) CHECK(tools::exit_code(code) == exit);
  CHECK(tools::one_line("a\nb\x1b[31m\tc") == "a?b?[31m?c");
  CHECK(tools::one_line(std::string(1 << 20, 'x')).size() == 2003);
}
