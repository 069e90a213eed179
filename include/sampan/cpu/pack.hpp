// Packing and scratch helpers of Cpu. Data flow: weights/loader.hpp -> pack(Cpu, params) in each op's file -> here -> the level's layout (cpu/kernels.hpp).
// Packing happens once per model, so it may allocate; an allocation that fails shows as !valid(), which the loader checks.
#pragma once
#include <sampan/cpu/cpu.hpp>
#include <sampan/ops/linear.hpp>

#include <cmath>

namespace sampan::inline SAMPAN_ABI::cpu {

/// W [n, k] in the layout of the backend's level.
struct PackedMatrix {
  Tensor<float, 1, Cpu> data;
  Index n = 0, k = 0;
  Precision precision = Precision::f32;
  float row_levels = kFewestRowLevels;  ///< for PackRows
  bool valid() const { return data.valid(); }
  const float* get() const { return data.view().data(); }
  /// m rows at distance ldx, to be packed for a product with these weights.
  PackRows rows(const float* x, Index ldx, Index m, float* out) const {
    PackRows r{x, ldx, m, k, out};
    r.levels = row_levels;
    return r;
  }
};

/// In f32 unless said otherwise.
inline PackedMatrix pack_matrix(const Cpu& b, const View<const float, 2>& w, Precision precision = Precision::f32) {
  const Products level = products(b.kernels(), precision);
  PackedMatrix m{Tensor<float, 1, Cpu>({level.weights_size(w.extent(0), w.extent(1))}), w.extent(0), w.extent(1), precision};
  if (!m.valid() || w.empty()) return m;
  if (w.stride(1) == 1) {
    level.pack_weights(w.data(), w.stride(0), false, m.n, m.k, m.data.view().data());
  } else {
    const auto copy = Tensor<float, 2, Cpu>::copy_of(w);
    if (!copy.valid()) return {};
    level.pack_weights(copy.view().data(), m.k, false, m.n, m.k, m.data.view().data());
  }
  if (level.row_levels) m.row_levels = level.row_levels(m.get(), m.n, m.k);
  return m;
}

/// Scratch of each thread: `floats` for every slot of the pool, each on its own cache lines.
class Slots {
 public:
  Slots(Arena::Scope& scope, const ThreadPool& pool, Index floats) : size_((floats + 15) / 16 * 16), base_(scope.make<float>(Index(pool.threads()), size_).data()) {}
  float* operator[](int slot) const { return base_ + slot * size_; }

 private:
  Index size_;
  float* base_;
};

/// Cuts one thread's scratch into pieces on cache lines. With a null base it only adds up: the size is `used()`.
class Carver {
 public:
  explicit Carver(float* base = nullptr) : base_(base) {}
  float* take(Index floats) {
    float* p = base_ ? base_ + used_ : nullptr;
    used_ += (floats + 15) / 16 * 16;
    return p;
  }
  Index used() const { return used_; }

 private:
  float* base_;
  Index used_ = 0;
};

constexpr Index blocks_of(Index n, Index block) { return (n + block - 1) / block; }
constexpr Index smaller(Index a, Index b) { return a < b ? a : b; }

/// True if the channels of every row lie side by side, as the kernels need them.
template <class T, int R>
constexpr bool packed_channels(const View<T, R>& v) {
  return v.extent(R - 1) <= 1 || v.stride(R - 1) == 1;
}
/// True if an [h, w, c] map can be seen as [h*w, c] rows.
template <class T>
constexpr bool packed_rows(const View<T, 3>& v) {
  return v.extent(0) <= 1 || v.stride(0) == v.extent(1) * v.stride(1);
}

}  // namespace sampan::inline SAMPAN_ABI::cpu
