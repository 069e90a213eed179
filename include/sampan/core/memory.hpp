// Aligned host memory, and Tensor<T, Rank, B>: an owning, contiguous tensor in the memory of backend B.
// Data flow: weights and cached constants live in tensors; activations live in the arena (arena.hpp).
// A backend names its memory: `using Memory = HostMemory`. Memory::allocate gives nullptr instead of throwing.
#pragma once
#include <sampan/core/view.hpp>

#include <cstdlib>
#include <cstring>
#include <utility>

namespace sampan::inline SAMPAN_ABI {

inline constexpr std::size_t kAlignment = 64;  // one cache line, one zmm register

/// Host memory in cache-line alignment.
struct HostMemory {
  static void* allocate(std::size_t bytes) noexcept {
    const std::size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    return rounded < bytes ? nullptr : std::aligned_alloc(kAlignment, rounded ? rounded : kAlignment);
  }
  static void release(void* p) noexcept { std::free(p); }
  /// False if the copy failed, which only other memories can.
  static bool upload(void* to, const void* from, std::size_t bytes) noexcept { return std::memcpy(to, from, bytes) == to; }
};

/// Bytes of this thread's living tensors: the difference around a load is what its weights take.
inline std::ptrdiff_t& tensor_bytes() noexcept {
  static thread_local std::ptrdiff_t bytes = 0;
  return bytes;
}

/// Owning tensor, row-major. Empty if the memory could not be had: the owner checks `valid()` once after filling in a model.
template <class T, int Rank, class B>
class Tensor {
  static_assert(std::is_trivially_copyable_v<T>);
  using Memory = typename B::Memory;

 public:
  Tensor() = default;
  explicit Tensor(const std::array<Index, std::size_t(Rank)>& extents) : view_(nullptr, extents) {
    void* p = Memory::allocate(std::size_t(view_.size()) * sizeof(T));
    view_ = p ? View<T, Rank>(static_cast<T*>(p), extents) : View<T, Rank>();
    tensor_bytes() += view_.size() * Index(sizeof(T));
  }
  /// A copy of host data (any strides).
  static Tensor copy_of(const View<const T, Rank>& from) {
    Tensor t(from.extents());
    if (!t.valid()) return t;
    const std::size_t bytes = std::size_t(from.size()) * sizeof(T);
    if (from.contiguous()) {
      if (!Memory::upload(t.view_.data(), from.data(), bytes)) return {};
      return t;
    }
    if constexpr (std::is_same_v<Memory, HostMemory>) {
      gather(t.view_.data(), from.data(), from, 0, 0);
      return t;
    } else {
      T* packed = static_cast<T*>(HostMemory::allocate(bytes));
      if (!packed) return {};
      gather(packed, from.data(), from, 0, 0);
      const bool done = Memory::upload(t.view_.data(), packed, bytes);
      HostMemory::release(packed);
      if (!done) return {};
      return t;
    }
  }
  Tensor(Tensor&& o) noexcept : view_(std::exchange(o.view_, {})) {}
  Tensor& operator=(Tensor&& o) noexcept {
    if (this != &o) {
      release();
      view_ = std::exchange(o.view_, {});
    }
    return *this;
  }
  ~Tensor() { release(); }

  bool valid() const { return view_.data() != nullptr; }
  bool empty() const { return view_.empty(); }
  Index extent(int i) const { return view_.extent(i); }
  View<T, Rank> view() { return view_; }
  View<const T, Rank> view() const { return view_; }

 private:
  void release() noexcept {
    tensor_bytes() -= view_.size() * Index(sizeof(T));
    Memory::release(view_.data());
  }
  static Index gather(T* to, const T* from, const View<const T, Rank>& shape, int axis, Index at) {
    for (Index i = 0; i < shape.extent(axis); ++i) {
      const T* p = from + i * shape.stride(axis);
      if (axis + 1 == Rank) {
        to[at++] = *p;
      } else {
        at = gather(to, p, shape, axis + 1, at);
      }
    }
    return at;
  }
  View<T, Rank> view_;
};

}  // namespace sampan::inline SAMPAN_ABI
