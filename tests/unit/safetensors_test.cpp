// weights/safetensors.hpp: reading, finding, converting, writing. Hostile files are in hostile_weights_test.cpp.
#include <doctest/doctest.h>
#include <sampan/weights/safetensors.hpp>

#include "support/weight_files.hpp"

#include <cmath>

using namespace sampan;
using namespace sampan::weights;
using namespace sampan::test;

TEST_CASE("a file with several types, a scalar and an empty tensor") {
  const std::string header =
      R"({"b":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"s":{"dtype":"I64","shape":[],"data_offsets":[8,16]},)"
      R"("e":{"dtype":"F16","shape":[0,3],"data_offsets":[16,16]},"a":{"dtype":"BF16","shape":[3],"data_offsets":[16,22]},"__metadata__":{"k":"v","q":"\u00e9"}}  )";
  const std::string file = safetensors(header, bytes_of<float>({1.5f, -2}) + le(std::int64_t(7)) + bytes_of<std::uint16_t>({0x3F80, 0x4000, 0xBF80}));
  const auto s = Safetensors::parse(as_bytes(file), "x");
  REQUIRE_MESSAGE(s, s.error().message());
  REQUIRE(s->tensors().size() == 4);
  CHECK(s->tensors()[0].name == "b");  // in the order of the data
  CHECK(s->tensors()[3].name == "a");
  const TensorEntry* b = s->find("b");
  REQUIRE(b);
  CHECK(b->shape == Shape{2, 1});
  CHECK(b->file_offset == 8 + header.size());
  CHECK(b->data.size() == 8);
  CHECK(s->find("s")->shape.empty());
  CHECK(s->find("e")->data.empty());
  CHECK_FALSE(s->find("c"));
  CHECK(*s->metadata("k") == "v");
  CHECK(*s->metadata("q") == "\xC3\xA9");
  CHECK_FALSE(s->metadata("z"));
  float a[3];
  convert_to_f32(DType::bf16, s->find("a")->data.data(), 3, a);
  CHECK(a[0] == 1.0f);
  CHECK(a[1] == 2.0f);
  CHECK(a[2] == -1.0f);
}

TEST_CASE("a file without tensors") {
  const auto s = Safetensors::parse(as_bytes(safetensors("{}")), "x");
  REQUIRE(s);
  CHECK(s->tensors().empty());
}

TEST_CASE("every type converts to f32, from any alignment") {
  const auto check = [](DType t, const std::string& bytes, const std::vector<float>& want) {
    CAPTURE(to_string(t));
    REQUIRE(bytes.size() == want.size() * size_of(t));
    for (std::size_t shift = 0; shift < 4; ++shift) {
      const std::string moved = std::string(shift, 'x') + bytes;
      std::vector<float> out(want.size());
      convert_to_f32(t, as_bytes(moved).data() + shift, want.size(), out.data());
      CHECK(out == want);
    }
  };
  check(DType::f64, bytes_of<double>({0.1, -2, 1e-300, 16777217}), {0.1f, -2, 0, 16777216});
  check(DType::f32, bytes_of<float>({0.1f, -2}), {0.1f, -2});
  check(DType::f16, bytes_of<std::uint16_t>({0x3C00, 0xC000, 0x0001}), {1, -2, 0x1p-24f});
  check(DType::bf16, bytes_of<std::uint16_t>({0x3F80, 0xC000}), {1, -2});
  check(DType::i64, bytes_of<std::int64_t>({-5, 1LL << 40}), {-5, 0x1p40f});
  check(DType::i32, bytes_of<std::int32_t>({-5, INT32_MAX}), {-5, 2147483648.0f});
  check(DType::i16, bytes_of<std::int16_t>({-5, 300}), {-5, 300});
  check(DType::i8, bytes_of<std::int8_t>({-5, 127}), {-5, 127});
  check(DType::u64, bytes_of<std::uint64_t>({5, ~std::uint64_t(0)}), {5, 0x1p64f});
  check(DType::u32, bytes_of<std::uint32_t>({5, ~0u}), {5, 4294967296.0f});
  check(DType::u16, bytes_of<std::uint16_t>({5, 65535}), {5, 65535});
  check(DType::u8, bytes_of<std::uint8_t>({5, 255}), {5, 255});
  check(DType::boolean, bytes_of<std::uint8_t>({0, 1, 7}), {0, 1, 1});
}

TEST_CASE("element_count sees overflow") {
  CHECK(*element_count({}) == 1);
  CHECK(*element_count({3, 4}) == 12);
  CHECK(*element_count({3, 0, 4}) == 0);
  CHECK_FALSE(element_count({-1}));
  CHECK_FALSE(element_count({1LL << 32, 1LL << 31}));
  CHECK_FALSE(element_count({0, 1LL << 32, 1LL << 31}));
  CHECK(*element_count({1LL << 31, 1LL << 31}) == 1LL << 62);
}

TEST_CASE("what the writer writes, the reader reads: order, alignment, metadata, same bytes again") {
  const TempDir dir;
  const std::vector<TensorSpec> specs = {{"z", DType::f32, {2}}, {"a", DType::u8, {3}}, {"b", DType::f16, {1, 2}}, {"c", DType::f32, {}}, {"wide", DType::f64, {1}}, {"empty", DType::f32, {0, 5}}};
  const auto write = [&](const std::string& name, std::vector<TensorSpec> order) {
    auto w = SafetensorsWriter::create(dir.path(name), std::move(order), {{"key", "a \"quoted\" value"}});
    REQUIRE_MESSAGE(w, w.error().message());
    for (const TensorSpec& t : w->specs()) {
      const std::string data(static_cast<std::size_t>(*element_count(t.shape)) * size_of(t.dtype), t.name[0]);
      REQUIRE(w->write(as_bytes(data.substr(0, data.size() / 2))));  // in pieces
      REQUIRE(w->write(as_bytes(data.substr(data.size() / 2))));
    }
    CHECK_FALSE(std::filesystem::exists(dir.path(name)));
    REQUIRE(w->commit());
  };
  write("one", specs);
  write("two", {specs.rbegin(), specs.rend()});
  CHECK(get_file(dir.path("one")) == get_file(dir.path("two")));
  const auto s = Safetensors::open(dir.path("one"));
  REQUIRE_MESSAGE(s, s.error().message());
  CHECK(*s->metadata("key") == "a \"quoted\" value");
  REQUIRE(s->tensors().size() == specs.size());
  for (const TensorSpec& t : specs) {
    const TensorEntry* e = s->find(t.name);
    REQUIRE(e);
    CHECK(e->shape == t.shape);
    CHECK(e->dtype == t.dtype);
    CHECK(e->file_offset % size_of(t.dtype) == 0);
    CHECK(as_text(e->data) == std::string(e->data.size(), t.name[0]));
    s->release(*e);
    CHECK(as_text(e->data) == std::string(e->data.size(), t.name[0]));
  }
}

TEST_CASE("the writer refuses wrong use, and leaves no file") {
  const TempDir dir;
  CHECK_FALSE(SafetensorsWriter::create(dir.path("x"), {{"a", DType::f32, {1}}, {"a", DType::f32, {1}}}));
  CHECK_FALSE(SafetensorsWriter::create(dir.path("x"), {{"a", DType::f32, {1}}, {"a", DType::u8, {1}}}));
  CHECK_FALSE(SafetensorsWriter::create(dir.path("x"), {{"__metadata__", DType::f32, {1}}}));
  CHECK_FALSE(SafetensorsWriter::create(dir.path("x"), {{"a", DType::f32, {-1}}}));
  CHECK_FALSE(SafetensorsWriter::create(dir.path("x"), {{"a", DType::f32, {1LL << 61}}, {"b", DType::f32, {1LL << 61}}}));
  {
    auto w = SafetensorsWriter::create(dir.path("x"), {{"a", DType::f32, {2}}});
    REQUIRE(w);
    CHECK_FALSE(w->write(as_bytes("123456789")));
    REQUIRE(w->write(as_bytes("1234567")));
    CHECK_FALSE(w->commit());  // one byte is missing
  }
  CHECK(dir.file_count() == 0);
  const auto w = SafetensorsWriter::create(dir.path("no/such/x"), {});
  REQUIRE_FALSE(w);
  CHECK(w.error().code() == ErrorCode::io);
}
