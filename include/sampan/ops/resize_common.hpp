// What the resizers share: the size rule of SAM, row blocks, argument checks, and a guard against fused multiply-add.
// Data flow: image/ and predict/ call the resizers of this folder (resize_*.hpp, one per published definition); each includes this header.
// Shapes: images are [h, w, c], channels last; rows may lie apart, pixels of a row may not.
// Deliberately absent: a "generic resize". The definitions differ in the last bit and in the border, and no one may replace another (parity).
#pragma once
#include <sampan/core/context.hpp>
#include <sampan/core/geometry.hpp>

#include <cstdint>

// GCC fuses a*b+c where the target has FMA, also across statements, and then the last bit depends on the compiler flags. Functions whose rounding
// must equal a published implementation are marked: SAMPAN_EXACT_FP before the function, SAMPAN_EXACT_FP_BODY as its first statement.
#if defined(__clang__)
#  define SAMPAN_EXACT_FP
#  define SAMPAN_EXACT_FP_BODY _Pragma("clang fp contract(off)")
#elif defined(__GNUC__)
#  define SAMPAN_EXACT_FP __attribute__((optimize("fp-contract=off")))
#  define SAMPAN_EXACT_FP_BODY
#else
#  define SAMPAN_EXACT_FP
#  define SAMPAN_EXACT_FP_BODY
#endif

namespace sampan::inline SAMPAN_ABI {

/// Size after scaling so that the longer side becomes `target`: int(side * (target / longer) + 0.5), never below 1 (a 20000x1 image keeps its row).
/// Source: ResizeLongestSide.get_preprocess_shape of segment_anything/utils/transforms.py; the same rule in LiteMedSAM. Sides and target are at least 1.
SAMPAN_EXACT_FP inline Extent2 longest_side_size(Extent2 in, int target) {
  SAMPAN_EXACT_FP_BODY
  const double scale = double(target) * 1.0 / double(in.height > in.width ? in.height : in.width);  // PyTorch's order: target * 1.0 / max
  const double h = double(in.height) * scale + 0.5, w = double(in.width) * scale + 0.5;
  return {h < 1 ? 1 : std::int64_t(h), w < 1 ? 1 : std::int64_t(w)};
}

namespace detail {

/// Output rows per work item of the pool; fixed, so that results never depend on the number of threads.
inline constexpr Index kResizeRows = 16;

constexpr Index ceil_div(Index a, Index b) { return (a + b - 1) / b; }

/// f(first row, last row + 1, slot) over all rows, in blocks.
template <class B, class F>
void for_row_blocks(Context<B>& ctx, Index rows, F&& f) {
  ctx.pool.parallel_for(ceil_div(rows, kResizeRows), [&](Index block, int slot) {
    const Index y0 = block * kResizeRows, y1 = y0 + kResizeRows;
    f(y0, y1 < rows ? y1 : rows, slot);
  });
}

template <class T>
bool packed_rows(const View<T, 3>& v) {
  return (v.extent(2) == 1 || v.stride(2) == 1) && (v.extent(1) == 1 || v.stride(1) == v.extent(2));
}

/// Both images non-empty, same channels, sides below 2^30 (so that tap tables fit an int32). False: the error is in ctx.
template <class B, class T, class U>
bool check_resize(Context<B>& ctx, const View<const T, 3>& in, const View<U, 3>& out, const char* name_and_rule) {
  const auto side = [](Index n) { return n >= 1 && n < (Index(1) << 30); };
  return ctx.require(side(in.extent(0)) && side(in.extent(1)) && side(out.extent(0)) && side(out.extent(1)) && in.extent(2) >= 1 && in.extent(2) == out.extent(2),
                     name_and_rule);
}

}  // namespace detail
}  // namespace sampan::inline SAMPAN_ABI
