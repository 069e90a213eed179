// Matrix product on Eigen: the GEMM of Cpu's level `scalar`, which is also what AArch64 and WebAssembly run. The only header of the tree that includes Eigen.
// Data flow: cpu/scalar.hpp puts these functions into its table (cpu/kernels.hpp) -> here.
// Shapes: y [m, n] += x [m, k] W^T with W [n, k]; W is packed once (weights at load, keys and values per block), x once per block of rows. Plain pointers only:
// no Eigen type in a signature or member, since Eigen's alignment follows the compiler's flags (style.md section 5, trap 2).
// Cost: 2 m n k FLOP. No heap: Eigen's high-level product allocates per call, so this calls its packing and its panel kernel (GeneralBlockPanelKernel.h,
// unchanged in these names since 3.3) with buffers of ours.
// Deliberately absent: threads (the caller cuts the work), instruction sets above the compiler's baseline (cpu/x86).
#pragma once
#include <sampan/core/view.hpp>

#if defined(__GNUC__)
#  pragma GCC diagnostic push
#  pragma GCC diagnostic ignored "-Wconversion"
#  pragma GCC diagnostic ignored "-Wshadow"
#  pragma GCC diagnostic ignored "-Wold-style-cast"
#endif
#include <Eigen/Core>
#if defined(__GNUC__)
#  pragma GCC diagnostic pop
#endif

namespace sampan::inline SAMPAN_ABI::eigen_gemm {

/// Blocks of the packed layouts. W is stored block by block, [kN rows][kK columns] each; a sum runs over kK in registers, then meets memory once.
/// kN: a multiple of Eigen's register tiles (12 rows on SSE, 24 on AVX, 48 on AVX-512); kK: a panel of 12 rows fits 12 KiB of L1.
inline constexpr Index kN = 192, kK = 256;

namespace detail {
using Traits = Eigen::internal::gebp_traits<float, float>;
template <int Order>
using Source = Eigen::internal::const_blas_data_mapper<float, Index, Order>;
using Result = Eigen::internal::blas_data_mapper<float, Index, Eigen::ColMajor, Eigen::Unaligned, 1>;
template <int Order>
using PackLhs = Eigen::internal::gemm_pack_lhs<float, Index, Source<Order>, Traits::mr, Traits::LhsProgress, Traits::LhsPacket4Packing, Order>;
using PackRhs = Eigen::internal::gemm_pack_rhs<float, Index, Source<Eigen::ColMajor>, Traits::nr, Eigen::ColMajor>;
using Panel = Eigen::internal::gebp_kernel<float, float, Index, Result, Traits::mr, Traits::nr, false, false>;
static_assert(kN % Traits::mr == 0 && kK % 16 == 0);

template <int Order>
void pack_weights(const float* w, Index ld, Index n, Index k, float* out) {
  PackLhs<Order> pack;
  const Source<Order> source(w, ld);
  for (Index n0 = 0; n0 < n; n0 += kN)
    for (Index k0 = 0; k0 < k; k0 += kK) {
      const Index rows = n - n0 < kN ? n - n0 : kN, depth = k - k0 < kK ? k - k0 : kK;
      pack(out + n0 * k + k0 * rows, source.getSubMapper(n0, k0), depth, rows);
    }
}
}  // namespace detail

/// W [n, k] with row stride ld; out has n * k floats.
inline void pack_weights(const float* w, Index ld, Index n, Index k, float* out) { detail::pack_weights<Eigen::RowMajor>(w, ld, n, k, out); }
/// The same from W^T [k, n] with row stride ld.
inline void pack_transposed(const float* wt, Index ld, Index n, Index k, float* out) { detail::pack_weights<Eigen::ColMajor>(wt, ld, n, k, out); }

/// Columns [k0, k0 + depth) of the rows x [m, ..], depth <= kK; out has m * depth floats (at offset m * k0 of the packed rows).
inline void pack_rows(const float* x, Index ld, Index m, Index depth, float* out) {
  detail::PackRhs pack;
  const detail::Source<Eigen::ColMajor> source(x, ld);
  pack(out, source, depth, m);
}

/// y [m, rows n0 .. n0 + count of W] += x W^T, n0 a multiple of kN and count <= kN; x and w as packed above, n and k as they were packed.
inline void multiply(const float* x, const float* w, Index m, Index n, Index k, Index n0, Index count, float* y, Index ldy) {
  detail::Panel panel;
  const Index rows = n - n0 < kN ? n - n0 : kN;  // of the packed block
  SAMPAN_ASSERT(n0 % kN == 0 && count == rows);
  const detail::Result result(y, ldy);  // y^T is column-major
  for (Index k0 = 0; k0 < k; k0 += kK) {
    const Index depth = k - k0 < kK ? k - k0 : kK;
    panel(result, w + n0 * k + k0 * rows, x + k0 * m, count, depth, m, 1.0f);
  }
}

}  // namespace sampan::inline SAMPAN_ABI::eigen_gemm
