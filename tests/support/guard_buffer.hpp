// Buffers that notice what an op does to memory that is not its own. Data flow: tests put inputs and outputs here and hand views to ops.
//   outside the view   poison; an output's poison must survive (guards_intact), an input's poison is a NaN that shows up in results
//   inside an output   poison before the op; every element must be overwritten (fully_written) or, after a refusal, none (untouched)
//   pages around it    no access: a read or write beyond the last page ends the test; layouts can place the last element at the very end
//   while planning     Locked takes the access away from every live buffer: a planning pass that touches memory ends the test
// A layout chooses the misalignment of the first element and the gap between rows of the last axis.
#pragma once
#include "support/rng.hpp"

#include <sampan/core/view.hpp>

#include <bit>
#include <cstdint>
#include <cstring>
#include <new>
#include <vector>

#include <sys/mman.h>
#include <unistd.h>

namespace sampan::test {

/// Where a view lies in its buffer.
struct Layout {
  Index offset = 0;        ///< elements from a 64-byte boundary to the first element
  Index gap = 0;           ///< unused elements after each row of the last axis
  bool at_the_end = false; ///< the last element is the last of its page (offset is ignored)
  Index line_gap = 0;      ///< of maps [h, w, c]: unused elements after each line
};

inline constexpr Layout kLayouts[] = {{}, {1, 0}, {3, 5}, {0, 0, true}, {0, 1, true}, {4, 12}};
/// For ops on maps that take strided lines as well.
inline constexpr Layout kMapLayouts[] = {{}, {1, 0}, {3, 5}, {0, 0, true}, {2, 0, false, 7}, {0, 3, true, 1}, {4, 12}};

/// Memory between two pages without access, registered so that Locked can take the access away.
class GuardedPages {
 public:
  explicit GuardedPages(std::size_t bytes) {
    const std::size_t page = std::size_t(sysconf(_SC_PAGESIZE));
    bytes_ = (bytes + page - 1) / page * page + (bytes == 0 ? page : 0);
    whole_ = bytes_ + 2 * page;
    void* p = mmap(nullptr, whole_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) throw std::bad_alloc();
    base_ = static_cast<std::byte*>(p);
    data_ = base_ + page;
    access(true);
    live().push_back(this);
  }
  GuardedPages(const GuardedPages&) = delete;
  GuardedPages& operator=(const GuardedPages&) = delete;
  ~GuardedPages() {
    std::erase(live(), this);
    munmap(base_, whole_);
  }
  std::byte* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  void access(bool on) const { mprotect(data_, bytes_, on ? PROT_READ | PROT_WRITE : PROT_NONE); }
  static std::vector<GuardedPages*>& live() {
    static std::vector<GuardedPages*> all;
    return all;
  }

 private:
  std::byte *base_ = nullptr, *data_ = nullptr;
  std::size_t bytes_ = 0, whole_ = 0;
};

/// While it lives, no buffer of the test may be read or written.
struct Locked {
  Locked() {
    for (auto* p : GuardedPages::live()) p->access(false);
  }
  ~Locked() {
    for (auto* p : GuardedPages::live()) p->access(true);
  }
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;
};

template <int R>
class GuardBuffer {
 public:
  using Extents = typename View<float, R>::Extents;

  explicit GuardBuffer(const Extents& extents, Layout layout = {}) : pages_(bytes_for(extents, layout)), total_(Index(pages_.bytes() / sizeof(float))) {
    const Index span = span_of(extents, layout);
    auto strides = strides_of(extents, layout);
    first_ = layout.at_the_end ? total_ - span : kMargin + layout.offset;
    view_ = View<float, R>(reinterpret_cast<float*>(pages_.data()) + first_, extents, strides);
    poison();
  }
  /// Filled with random numbers in [lo, hi).
  GuardBuffer(const Extents& extents, Layout layout, Rng& rng, float lo = -1, float hi = 1) : GuardBuffer(extents, layout) {
    each([&](float& x) { x = rng.uniform(lo, hi); });
  }

  View<float, R> view() const { return view_; }
  View<const float, R> in() const { return view_; }

  void poison() {
    float* p = reinterpret_cast<float*>(pages_.data());
    for (Index i = 0; i < total_; ++i) p[i] = std::bit_cast<float>(kPoison);
  }
  template <class F>
  void each(F&& f) const {
    walk(view_.data(), 0, f);
  }
  bool fully_written() const { return poisoned_inside() == 0; }
  bool untouched() const { return poisoned_inside() == view_.size() && guards_intact(); }
  bool guards_intact() const {
    const float* p = reinterpret_cast<const float*>(pages_.data());
    Index poisoned = 0;
    for (Index i = 0; i < total_; ++i) poisoned += is_poison(p[i]);
    return poisoned == total_ - view_.size() + poisoned_inside();
  }
  /// The bits of the view's elements, in row-major order.
  std::vector<std::uint32_t> bits() const {
    std::vector<std::uint32_t> b;
    b.reserve(std::size_t(view_.size()));
    each([&](const float& x) { b.push_back(std::bit_cast<std::uint32_t>(x)); });
    return b;
  }

 private:
  static constexpr std::uint32_t kPoison = 0x7FE5A5A5;  // a quiet NaN with a payload that arithmetic on finite numbers cannot give
  static constexpr Index kMargin = 64;                  // poison before and after the view
  static bool is_poison(float x) { return std::bit_cast<std::uint32_t>(x) == kPoison; }
  static typename View<float, R>::Extents strides_of(const Extents& e, const Layout& l) {
    Extents s{};
    Index step = 1;
    for (int i = R - 1; i >= 0; --i) {
      s[std::size_t(i)] = step;
      step *= e[std::size_t(i)];
      if (i == R - 1) step += l.gap;
      if (i == R - 2 && R >= 3) step += l.line_gap;
    }
    return s;
  }
  static Index span_of(const Extents& e, const Layout& l) {
    const auto s = strides_of(e, l);
    Index span = 1;
    for (std::size_t i = 0; i < std::size_t(R); ++i) {
      if (e[i] == 0) return 0;
      span += (e[i] - 1) * s[i];
    }
    return span;
  }
  static std::size_t bytes_for(const Extents& e, const Layout& l) { return std::size_t(span_of(e, l) + l.offset + 2 * kMargin) * sizeof(float); }
  Index poisoned_inside() const {
    Index n = 0;
    each([&](const float& x) { n += is_poison(x); });
    return n;
  }
  template <class F>
  void walk(float* p, int axis, F& f) const {
    for (Index i = 0; i < view_.extent(axis); ++i) {
      if (axis + 1 == R) {
        f(p[i * view_.stride(axis)]);
      } else {
        walk(p + i * view_.stride(axis), axis + 1, f);
      }
    }
  }

  GuardedPages pages_;
  Index total_ = 0, first_ = 0;
  View<float, R> view_;
};

}  // namespace sampan::test
