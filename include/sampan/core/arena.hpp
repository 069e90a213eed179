// Arena: one block of memory for all activations of a forward. Data flow: Session owns it, ops and layers take scratch from it in scopes.
// A planning arena has no memory: it hands out addresses that nobody may read and records the high-water mark, so that a session knows what it needs
// before the start. Overflow is not undefined: the arena says `exhausted()`, and Context refuses every further op.
// Pieces are 64-byte aligned. No thread safety: the thread that owns the session allocates, workers only use what they are given.
#pragma once
#include <sampan/core/memory.hpp>

#include <cstdint>

namespace sampan::inline SAMPAN_ABI {

class Arena {
 public:
  Arena() = default;
  /// An arena for Context::plan: addresses only, no memory.
  static Arena planner() {
    Arena a;
    a.planning_ = true;
    a.base_ = reinterpret_cast<std::byte*>(kPlanBase);
    a.capacity_ = std::size_t(-1) - kPlanBase - kAlignment;
    return a;
  }
  Arena(Arena&& o) noexcept { *this = std::move(o); }
  Arena& operator=(Arena&& o) noexcept {
    if (this != &o) {
      free();
      base_ = std::exchange(o.base_, nullptr);
      capacity_ = std::exchange(o.capacity_, 0);
      used_ = std::exchange(o.used_, 0);
      peak_ = std::exchange(o.peak_, 0);
      planning_ = o.planning_;
      exhausted_ = o.exhausted_;
      release_ = o.release_;
    }
    return *this;
  }
  ~Arena() { free(); }

  /// Makes room for at least `bytes` of a backend's memory; keeps a larger block. Nothing may be in use. False if the system gives no memory.
  template <class Memory = HostMemory>
  bool reserve(std::size_t bytes) {
    SAMPAN_ASSERT(!planning_ && used_ == 0);
    if (bytes <= capacity_) return true;
    free();
    base_ = static_cast<std::byte*>(Memory::allocate(bytes));
    release_ = &Memory::release;
    capacity_ = base_ ? bytes : 0;
    return base_ != nullptr;
  }

  /// Gives back, when it ends, what was taken since it began.
  class Scope {
   public:
    explicit Scope(Arena& a) : arena_(a), mark_(a.used_) {}
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    ~Scope() { arena_.used_ = mark_; }
    template <class T, class... E>
    View<T, int(sizeof...(E))> make(E... extents) {
      return arena_.make<T>(extents...);
    }

   private:
    Arena& arena_;
    std::size_t mark_;
  };
  Scope scope() { return Scope(*this); }

  /// Uninitialised, contiguous, valid until the enclosing scope ends.
  template <class T, class... E>
  View<T, int(sizeof...(E))> make(E... extents) {
    View<T, int(sizeof...(E))> v(nullptr, {Index(extents)...});
    T* p = static_cast<T*>(take(std::size_t(v.size()) * sizeof(T)));
    return {p, v.extents()};
  }

  bool planning() const { return planning_; }
  bool exhausted() const { return exhausted_; }
  std::size_t peak() const { return peak_; }
  std::size_t capacity() const { return capacity_; }
  void reset_peak() { peak_ = used_; }

 private:
  static constexpr std::uintptr_t kPlanBase = std::uintptr_t(1) << 20;
  void* take(std::size_t bytes) {
    const std::size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    if (rounded < bytes || rounded > capacity_ - used_) {
      exhausted_ = true;
      return reinterpret_cast<void*>(kPlanBase);  // never read: Context refuses every op from here on
    }
    void* p = base_ + used_;
    used_ += rounded;
    if (used_ > peak_) peak_ = used_;
    return p;
  }
  void free() {
    if (!planning_) release_(base_);
  }

  std::byte* base_ = nullptr;
  std::size_t capacity_ = 0, used_ = 0, peak_ = 0;
  bool planning_ = false, exhausted_ = false;
  void (*release_)(void*) noexcept = &HostMemory::release;
};

}  // namespace sampan::inline SAMPAN_ABI
