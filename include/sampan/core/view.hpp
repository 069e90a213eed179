// View<T, Rank>: a non-owning, strided window on memory. Data flow: every op takes and gives views.
// Row-major by default, last index fastest; strides count elements, not bytes. Vocabulary as std::mdspan: extent(i), stride(i).
// Legend of the project's shapes: n tokens, c channels, h w grid, heads, d head size, win window edge; feature maps are channels-last [h,w,c].
// Deliberately absent: bounds checks in release (ops check extents once, at their entry), negative strides, ownership (tensor.hpp).
#pragma once
#include <sampan/core/config.hpp>

#include <array>
#include <cstddef>
#include <type_traits>

namespace sampan::inline SAMPAN_ABI {

using Index = std::ptrdiff_t;

template <class T, int Rank>
class View {
  static_assert(Rank >= 1 && Rank <= 6);

 public:
  using Extents = std::array<Index, Rank>;
  constexpr View() = default;
  /// Contiguous, row-major.
  constexpr View(T* data, const Extents& extents) : data_(data), extents_(extents) {
    Index s = 1;
    for (int i = Rank - 1; i >= 0; --i) strides_[std::size_t(i)] = s, s *= extents_[std::size_t(i)];
  }
  constexpr View(T* data, const Extents& extents, const Extents& strides) : data_(data), extents_(extents), strides_(strides) {}
  /// View<float> -> View<const float>.
  template <class U>
    requires(std::is_same_v<const U, T> && !std::is_const_v<U>)
  constexpr View(const View<U, Rank>& o) : data_(o.data()), extents_(o.extents()), strides_(o.strides()) {}

  constexpr T* data() const { return data_; }
  constexpr Index extent(int i) const { return extents_[std::size_t(i)]; }
  constexpr Index stride(int i) const { return strides_[std::size_t(i)]; }
  constexpr const Extents& extents() const { return extents_; }
  constexpr const Extents& strides() const { return strides_; }
  constexpr Index size() const {
    Index n = 1;
    for (Index e : extents_) n *= e;
    return n;
  }
  constexpr bool empty() const { return size() == 0; }
  /// True if the elements lie one after another, so that the view is also a flat array of size() elements.
  constexpr bool contiguous() const {
    Index s = 1;
    for (int i = Rank - 1; i >= 0; --i) {
      if (extent(i) != 1 && stride(i) != s) return false;
      s *= extent(i);
    }
    return true;
  }

  template <class... I>
    requires(sizeof...(I) == Rank)
  constexpr T& operator()(I... i) const {
    const Index at[] = {Index(i)...};
    Index o = 0;
    for (int a = 0; a < Rank; ++a) {
      SAMPAN_ASSERT(at[a] >= 0 && at[a] < extent(a));
      o += at[a] * stride(a);
    }
    return data_[o];
  }
  /// The sub-view at position i of the first axis.
  constexpr auto operator[](Index i) const {
    SAMPAN_ASSERT(i >= 0 && i < extent(0));
    if constexpr (Rank == 1) {
      return View<T, 1>(data_ + i * stride(0), {1}, {1});
    } else {
      typename View<T, Rank - 1>::Extents e{}, s{};
      for (std::size_t a = 1; a < std::size_t(Rank); ++a) e[a - 1] = extents_[a], s[a - 1] = strides_[a];
      return View<T, Rank - 1>(data_ + i * stride(0), e, s);
    }
  }
  /// Positions [begin, begin + count) of one axis.
  constexpr View slice(int axis, Index begin, Index count) const {
    SAMPAN_ASSERT(begin >= 0 && count >= 0 && begin + count <= extent(axis));
    View v = *this;
    v.data_ += begin * stride(axis);
    v.extents_[std::size_t(axis)] = count;
    return v;
  }
  /// Another shape of the same elements; only for contiguous views.
  template <int R>
  constexpr View<T, R> reshape(const std::array<Index, std::size_t(R)>& extents) const {
    View<T, R> v(data_, extents);
    SAMPAN_ASSERT(contiguous() && v.size() == size());
    return v;
  }

 private:
  T* data_ = nullptr;
  Extents extents_{};
  Extents strides_{};
};

template <class T, class U, int R>
constexpr bool same_extents(const View<T, R>& a, const View<U, R>& b) {
  return a.extents() == b.extents();
}

/// [h, w, c] seen as [h*w, c] tokens; the view must be contiguous over rows.
template <class T>
constexpr View<T, 2> tokens(const View<T, 3>& v) {
  SAMPAN_ASSERT(v.extent(0) <= 1 || v.stride(0) == v.extent(1) * v.stride(1));
  return View<T, 2>(v.data(), {v.extent(0) * v.extent(1), v.extent(2)}, {v.stride(1), v.stride(2)});
}

/// [d, h, w, c] seen as [d*h*w, c] tokens; the view must be contiguous over voxels.
template <class T>
constexpr View<T, 2> tokens(const View<T, 4>& v) {
  SAMPAN_ASSERT(v.extent(1) <= 1 || v.stride(1) == v.extent(2) * v.stride(2));
  SAMPAN_ASSERT(v.extent(0) <= 1 || v.stride(0) == v.extent(1) * v.extent(2) * v.stride(2));
  return View<T, 2>(v.data(), {v.extent(0) * v.extent(1) * v.extent(2), v.extent(3)}, {v.stride(2), v.stride(3)});
}

/// [n, c] tokens seen as an [h, w, c] map with n = h*w.
template <class T>
constexpr View<T, 3> as_map(const View<T, 2>& v, Index h, Index w) {
  SAMPAN_ASSERT(h * w == v.extent(0));
  return View<T, 3>(v.data(), {h, w, v.extent(1)}, {w * v.stride(0), v.stride(0), v.stride(1)});
}

/// [n, c] tokens seen as a [d, h, w, c] volume with n = d*h*w.
template <class T>
constexpr View<T, 4> as_volume(const View<T, 2>& v, Index d, Index h, Index w) {
  SAMPAN_ASSERT(d * h * w == v.extent(0));
  return View<T, 4>(v.data(), {d, h, w, v.extent(1)}, {h * w * v.stride(0), w * v.stride(0), v.stride(0), v.stride(1)});
}

}  // namespace sampan::inline SAMPAN_ABI
