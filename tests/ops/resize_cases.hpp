// What the resizer tests share: golden cases, a runner that plans first and guards every byte around the output, and structural sweeps.
// Data flow: tests/ops/resize_*_test.cpp -> here -> parity/goldens/resize_cases and ops/goldens/resize_extra (committed) and, where present, resize_golden of the shared data.
// Inputs are generated (support/hashgen.hpp); large float outputs are stored thinned, with their strides in the metadata.
// Deliberately absent: tolerances; each test states and derives its own.
#pragma once
#include "support/for_each_backend.hpp"
#include "support/hashgen.hpp"

#include <sampan/core/context.hpp>
#include <sampan/weights/safetensors.hpp>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include <cstdlib>
#include <cstring>
#include <functional>

namespace sampan::test {

/// The inner loops that a run uses: the plain ones of the op, or those of a level of Cpu.
struct PixelLevel {
  std::string name;
  const PixelKernels* kernels;
};
inline std::vector<PixelLevel> pixel_levels() {
  std::vector<PixelLevel> all{{"plain", nullptr}};
  for (const CpuLevel& l : cpu_levels()) all.push_back({l.name, l.backend.kernels().pixels});
  return all;
}
inline const PixelKernels*& current_pixels() {
  static const PixelKernels* kernels = nullptr;
  return kernels;
}
/// f() with the loops of every level in turn.
template <class F>
void each_pixel_level(F&& f) {
  for (const auto& level : pixel_levels()) {
    INFO("level " << level.name);
    current_pixels() = level.kernels;
    f();
  }
  current_pixels() = nullptr;
}

struct HostBackend {
  using Memory = HostMemory;
  const PixelKernels* pixels = current_pixels();
};
inline const PixelKernels* pixel_kernels(const HostBackend& b) { return b.pixels; }

inline constexpr int kPoolSizes[] = {1, 2, 3, 8};

/// [h, w, c] in memory with poison before, behind, and between the rows.
template <class T>
class Picture {
 public:
  Picture(Index h, Index w, Index c, Index gap = 0, std::uint8_t poison = 0xA5) : gap_(gap), poison_(poison), memory_(std::size_t(2 * kMargin + h * (w * c + gap)) * sizeof(T), poison) {
    view_ = View<T, 3>(reinterpret_cast<T*>(memory_.data()) + kMargin, {h, w, c}, {w * c + gap, c, 1});
  }
  Picture(Index h, Index w, Index c, const std::vector<T>& values, Index gap = 0) : Picture(h, w, c, gap) {
    REQUIRE(Index(values.size()) == h * w * c);
    for (Index y = 0; y < h; ++y) std::memcpy(&view_(y, 0, 0), values.data() + y * w * c, std::size_t(w * c) * sizeof(T));
  }
  View<T, 3> view() { return view_; }
  View<const T, 3> in() const { return view_; }
  std::vector<T> values() const {
    std::vector<T> v;
    for (Index y = 0; y < view_.extent(0); ++y) v.insert(v.end(), &view_(y, 0, 0), &view_(y, 0, 0) + view_.extent(1) * view_.extent(2));
    return v;
  }
  /// Everything outside the image still holds poison.
  bool guards_intact() const {
    std::vector<std::uint8_t> copy = memory_;
    const std::size_t row = std::size_t(view_.extent(1) * view_.extent(2)) * sizeof(T);
    for (Index y = 0; y < view_.extent(0); ++y) std::memset(copy.data() + std::size_t(kMargin + y * view_.stride(0)) * sizeof(T), poison_, row);
    return copy == std::vector<std::uint8_t>(memory_.size(), poison_);
  }
  bool untouched() const { return memory_ == std::vector<std::uint8_t>(memory_.size(), poison_); }

 private:
  static constexpr Index kMargin = 64;
  Index gap_;
  std::uint8_t poison_;
  std::vector<std::uint8_t> memory_;
  View<T, 3> view_;
};

/// Plans, reserves exactly what the plan says, runs. Peak and cost of the run must be those of the plan.
template <class Op>
Status planned_run(int threads, Op&& op) {
  const HostBackend b;
  ThreadPool pool(threads);
  const auto p = plan(b, pool, [&](Context<HostBackend>& ctx) { op(ctx); });
  Arena arena;
  if (p) REQUIRE(arena.reserve(p->arena_bytes));
  Context<HostBackend> ctx(b, pool, arena);
  op(ctx);
  const Status s = ctx.status();
  CHECK(s.ok() == p.ok());
  if (p) {
    CHECK(arena.peak() == p->arena_bytes);
    CHECK(ctx.cost().flop == p->cost.flop);
    CHECK(ctx.cost().bytes == p->cost.bytes);
    CHECK(ctx.cost().bytes > 0);
  }
  return s;
}

/// op(ctx, in, out) on guarded memory, twice with different poison: equal results mean that every element was written.
template <class Out, class In, class Op>
std::vector<Out> resize_guarded(Op&& op, const std::vector<In>& values, std::array<Index, 3> in, Index oh, Index ow, int threads = 1, Index gap = 0) {
  const Picture<In> from(in[0], in[1], in[2], values, gap);
  std::vector<Out> results[2];
  for (int i = 0; i < 2; ++i) {
    Picture<Out> to(oh, ow, in[2], gap, i ? 0x5A : 0xA5);
    const Status s = planned_run(threads, [&](Context<HostBackend>& ctx) { op(ctx, from.in(), to.view()); });
    REQUIRE_MESSAGE(s, s.error().what());
    CHECK(to.guards_intact());
    results[i] = to.values();
  }
  CHECK(std::memcmp(results[0].data(), results[1].data(), results[0].size() * sizeof(Out)) == 0);
  return results[0];
}

struct ResizeCase {
  std::string name;            ///< "odd31x47.62x20"
  std::array<Index, 3> in{};   ///< h, w, c
  std::vector<std::uint8_t> input;
  Index oh = 0, ow = 0;
  std::array<Index, 3> step{1, 1, 1};  ///< the golden holds every step-th element of [oh, ow, c]
  std::vector<std::uint8_t> bytes;     ///< u8 goldens
  std::vector<float> floats;           ///< float goldens

  /// golden(index in `floats` or `bytes`, index in the full output) for everything stored.
  void each(const std::function<void(std::size_t, std::size_t)>& f) const {
    std::size_t k = 0;
    for (Index y = 0; y < oh; y += step[0])
      for (Index x = 0; x < ow; x += step[1])
        for (Index c = 0; c < in[2]; c += step[2]) f(k++, std::size_t((y * ow + x) * in[2] + c));
    CHECK(k == bytes.size() + floats.size());
  }
};

namespace detail_resize {

inline void take(const weights::TensorEntry& t, ResizeCase& c) {
  const std::size_t n = std::size_t(weights::element_count(t.shape).value_or(0));
  if (t.dtype == DType::u8) {
    c.bytes.assign(t.data.begin(), t.data.end());
  } else {
    c.floats.resize(n);
    weights::convert_to_f32(t.dtype, t.data.data(), n, c.floats.data());
  }
}
inline void sizes_of(const std::string& text, Index& h, Index& w) {
  h = std::stol(text);
  w = std::stol(text.substr(text.find('x') + 1));
}

}  // namespace detail_resize

/// The cases of one resizer in a committed file, appended to `out`.
inline void committed_cases(const std::string& path, const std::string& kind, std::vector<ResizeCase>& out) {
  const auto file = weights::Safetensors::open(std::string(SAMPAN_TEST_DIR) + path);
  REQUIRE_MESSAGE(file, file.error().what());
  const auto config = nlohmann::json::parse(*file->metadata("config")), tensors = nlohmann::json::parse(*file->metadata("tensors"));
  const std::uint64_t seed = std::stoull(*file->metadata("seed"));
  for (const auto& t : file->tensors()) {
    if (t.name.rfind(kind + ".", 0) != 0) continue;
    ResizeCase c;
    c.name = t.name.substr(kind.size() + 1);
    const std::string input = c.name.substr(0, c.name.find('.'));
    detail_resize::sizes_of(c.name.substr(input.size() + 1), c.oh, c.ow);
    const auto& made = config.at("inputs").at(input);
    const auto shape = made.at(1).get<weights::Shape>();
    c.in = {shape[0], shape[1], shape.size() == 3 ? shape[2] : 1};
    const auto generate = made.at(0) == "noise" ? hash_noise_u8 : hash_binary_u8;
    c.input = generate(seed, "resize." + input, shape);
    if (tensors.contains(t.name))
      for (std::size_t i = 0; i < shape.size(); ++i) c.step[i] = tensors.at(t.name).at("stride").at(i).get<Index>();
    detail_resize::take(t, c);
    out.push_back(std::move(c));
  }
}

/// The committed cases of one resizer ("pillow_bilinear"), then those of the shared data if SAMPAN_SHARED_DATA names them.
inline std::vector<ResizeCase> resize_cases(const std::string& kind) {
  std::vector<ResizeCase> out;
  committed_cases("/parity/goldens/resize_cases.safetensors", kind, out);
  committed_cases("/ops/goldens/resize_extra.safetensors", kind, out);
  CHECK(out.size() >= 30);
  if (const char* shared = std::getenv("SAMPAN_SHARED_DATA")) {
    const auto more = weights::Safetensors::open(std::string(shared) + "/resize_golden/resize_golden.safetensors");
    if (!more) {
      MESSAGE("no shared goldens: " << more.error().what());
      return out;
    }
    const std::size_t before = out.size();
    for (const auto& t : more->tensors()) {
      if (t.name.rfind("out." + kind + ".", 0) != 0) continue;
      ResizeCase c;
      c.name = t.name.substr(kind.size() + 5);
      const std::string input = c.name.substr(0, c.name.find('.'));
      detail_resize::sizes_of(c.name.substr(input.size() + 1), c.oh, c.ow);
      const auto* in = more->find("in." + input);
      REQUIRE(in);
      c.in = {in->shape[0], in->shape[1], in->shape.size() == 3 ? in->shape[2] : 1};
      c.input.assign(in->data.begin(), in->data.end());
      detail_resize::take(t, c);
      out.push_back(std::move(c));
    }
    CHECK(out.size() - before >= 10);
  } else {
    MESSAGE("SAMPAN_SHARED_DATA is not set: only the committed goldens are compared");
  }
  return out;
}

/// Sizes around every border of the implementations: row blocks of 16, sides of 1, one axis kept, factors on both sides of 1.
struct Sizes {
  Index h, w, c, oh, ow;
};
inline constexpr Sizes kResizeSizes[] = {{1, 1, 1, 1, 1},   {1, 1, 3, 5, 7},     {1, 40, 3, 1, 17},  {40, 1, 1, 17, 1},  {15, 9, 3, 16, 9},   {16, 9, 1, 15, 20}, {17, 33, 3, 17, 33}, {17, 33, 2, 17, 16},
                                         {31, 47, 4, 62, 20}, {64, 64, 3, 32, 32}, {64, 64, 2, 32, 32}, {49, 50, 1, 1, 25}, {90, 64, 3, 60, 48}, {33, 5, 5, 100, 3}, {200, 3, 3, 16, 1},
                                         {9, 70, 1, 40, 133}, {6, 40, 1, 7, 40}, {21, 150, 3, 9, 37}, {70, 90, 3, 5, 31}};

/// Same bits for every number of threads and with rows that lie apart; the plan holds; nothing outside is touched. Bytes are the same on every level.
template <class Out, class Op>
void sweep_structure(Op&& op) {
  for (const Sizes& s : kResizeSizes) {
    CAPTURE(s.h); CAPTURE(s.w); CAPTURE(s.c); CAPTURE(s.oh); CAPTURE(s.ow);
    const auto input = hash_noise_u8(3, "sweep", {s.h, s.w, s.c});
    std::vector<std::conditional_t<std::is_same_v<Out, float>, float, std::uint8_t>> values(input.begin(), input.end());
    const auto plain = resize_guarded<Out>(op, values, {s.h, s.w, s.c}, s.oh, s.ow, 1);
    each_pixel_level([&] {
      const auto one = resize_guarded<Out>(op, values, {s.h, s.w, s.c}, s.oh, s.ow, 1);
      if constexpr (!std::is_same_v<Out, float>) CHECK(one == plain);
      for (const int threads : kPoolSizes)
        for (const Index gap : {Index(0), Index(3)}) {
          const auto other = resize_guarded<Out>(op, values, {s.h, s.w, s.c}, s.oh, s.ow, threads, gap);
          CHECK(std::memcmp(one.data(), other.data(), one.size() * sizeof(Out)) == 0);
        }
    });
  }
}

/// Equal sizes are a copy.
template <class Op>
void sweep_identity(Op&& op) {
  for (const auto [h, w, c] : {std::array<Index, 3>{1, 1, 1}, {1, 30, 3}, {17, 1, 2}, {33, 20, 3}}) {
    const auto input = hash_noise_u8(4, "identity", {h, w, c});
    CHECK(resize_guarded<std::uint8_t>(op, input, {h, w, c}, h, w, 2, 5) == input);
  }
}

/// What every resizer of bytes must refuse, in the plan and in the run, with nothing written.
template <class Op>
void refuses_bad_extents(Op&& op) {
  const auto refused = [&](View<const std::uint8_t, 3> in, View<std::uint8_t, 3> out) {
    const Status s = planned_run(1, [&](Context<HostBackend>& ctx) { op(ctx, in, out); });
    REQUIRE(!s);
    CHECK(s.error().code() == ErrorCode::invalid_argument);
  };
  std::vector<std::uint8_t> in(1000, 1);
  Picture<std::uint8_t> out(4, 4, 3);
  std::uint8_t *i = in.data(), *o = out.view().data();
  refused({i, {5, 5, 3}}, {o, {4, 4, 1}});              // channels differ
  refused({i, {0, 5, 3}}, {o, {4, 4, 3}});              // no rows
  refused({i, {5, 5, 3}}, {o, {4, 0, 3}});
  refused({i, {5, 5, 0}}, {o, {4, 4, 0}});
  refused({i, {5, -5, 3}}, {o, {4, 4, 3}});
  refused({i, {5, 5, 3}, {30, 6, 2}}, {o, {4, 4, 3}});  // pixels apart
  refused({i, {5, 5, 3}}, {o, {4, 2, 3}, {12, 6, 1}});
  refused({i, {5, Index(1) << 30, 3}}, {o, {4, 4, 3}});
  CHECK(out.untouched());
}

}  // namespace sampan::test
