// Trace of core/trace.hpp: which names are wanted, shapes and order of what is kept, numbering of repeated names.
#include <sampan/core/trace.hpp>

#include <doctest/doctest.h>

using namespace sampan;

namespace {
using Shape = std::vector<std::int64_t>;
using Data = std::vector<float>;
}  // namespace

TEST_CASE("wanted names: exact, with stars, or everything") {
  CHECK(Trace().wants("anything"));
  CHECK(Trace().wants(""));
  const Trace t({"neck.0", "blocks.*.attn", "*qkv", "a**b*c"});
  CHECK(t.wants("neck.0"));
  CHECK_FALSE(t.wants("neck.01"));
  CHECK_FALSE(t.wants("xneck.0"));
  CHECK_FALSE(t.wants("neck"));
  CHECK(t.wants("blocks.3.attn"));
  CHECK(t.wants("blocks..attn"));
  CHECK(t.wants("blocks.3.attn.x.attn"));
  CHECK_FALSE(t.wants("blocks.3.attn.proj"));
  CHECK(t.wants("qkv"));
  CHECK(t.wants("blocks.3.attn.qkv"));
  CHECK_FALSE(t.wants("blocks.3.attn.qkv.x"));
  CHECK(t.wants("abc"));
  CHECK(t.wants("a-b-b-c-c"));
  CHECK_FALSE(t.wants("a-c"));
  CHECK_FALSE(t.wants(""));
  CHECK(Trace({"*"}).wants(""));
  CHECK(Trace({"*"}).wants("x"));
  CHECK(Trace({"[a].?"}).wants("[a].?"));  // nothing but the star is special
  CHECK_FALSE(Trace({"[a].?"}).wants("a.x"));
  CHECK_FALSE(Trace({""}).wants("x"));
  const std::string stars(30, '*'), as(3000, 'a');
  CHECK_FALSE(Trace({stars + "b"}).wants(as));  // linear retries, no explosion
}

TEST_CASE("shapes: a batch axis in front, the view's own batch, or channels first") {
  float x[24];
  for (int i = 0; i < 24; ++i) x[i] = float(i);
  Trace t;
  t.record("map", View<const float, 3>(x, {2, 3, 4}), TraceLayout::as_is);
  t.record("batch", View<const float, 3>(x, {2, 3, 4}), TraceLayout::batch);
  t.record("nchw", View<const float, 3>(x, {2, 3, 4}), TraceLayout::nchw);
  t.record("rows", View<const float, 2>(x, {2, 12}), TraceLayout::as_is);
  t.record("flat", View<const float, 1>(x, {5}), TraceLayout::batch);
  t.record("ncdhw", View<const float, 4>(x, {2, 3, 2, 2}), TraceLayout::nchw);
  const auto& r = t.records();
  REQUIRE(r.size() == 6);
  CHECK(r[5].shape == Shape{1, 2, 2, 3, 2});
  CHECK(Data(r[5].data.begin(), r[5].data.begin() + 13) == Data{0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 1});
  CHECK(r[0].shape == Shape{1, 2, 3, 4});
  CHECK(r[0].data[23] == 23);
  CHECK(r[1].shape == Shape{2, 3, 4});
  CHECK(r[2].shape == Shape{1, 4, 2, 3});
  CHECK(Data(r[2].data.begin(), r[2].data.begin() + 7) == Data{0, 4, 8, 12, 16, 20, 1});
  CHECK(r[3].shape == Shape{1, 2, 12});
  CHECK(r[4].shape == Shape{5});
}

TEST_CASE("strided views are kept in row-major order, without the gaps") {
  float x[24];
  for (int i = 0; i < 24; ++i) x[i] = float(i);
  Trace t;
  t.record("gap", View<const float, 2>(x + 1, {2, 3}, {10, 2}), TraceLayout::as_is);
  t.record("nchw", View<const float, 3>(x, {2, 2, 2}, {12, 4, 1}), TraceLayout::nchw);
  CHECK(t.records()[0].data == Data{1, 3, 5, 11, 13, 15});
  CHECK(t.records()[1].data == Data{0, 4, 12, 16, 1, 5, 13, 17});
}

TEST_CASE("a name met again gets #2, #3; names that merely begin alike do not count") {
  float x[1] = {};
  const View<const float, 1> v(x, {1});
  Trace t;
  for (const char* name : {"a", "ab", "a", "a.b", "a", "ab"}) t.record(name, v, TraceLayout::as_is);
  std::vector<std::string> names;
  for (const auto& r : t.records()) names.push_back(r.name);
  CHECK(names == std::vector<std::string>{"a", "ab", "a#2", "a.b", "a#3", "ab#2"});
  t.clear();
  CHECK(t.records().empty());
  t.record("a", v, TraceLayout::as_is);
  CHECK(t.records()[0].name == "a");
}

TEST_CASE("only wanted names are kept; time and cost stay with the record") {
  float x[2] = {1, 2};
  Trace t({"yes"});
  t.record("no", View<const float, 1>(x, {2}), TraceLayout::as_is);
  t.record("yes", View<const float, 1>(x, {2}), TraceLayout::as_is, 1.5, {10, 20});
  REQUIRE(t.records().size() == 1);
  CHECK(t.records()[0].ms == 1.5);
  CHECK(t.records()[0].cost.flop == 10);
  CHECK(t.records()[0].cost.bytes == 20);
  CHECK((Cost{10, 20} - Cost{1, 2}).bytes == 18);
  CHECK(t.names() == std::vector<std::string>{"yes"});
}
