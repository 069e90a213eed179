// Kernels: inner loops of resizing and mask making, as a backend may offer them. Data flow: resize_*.hpp and predict/postprocess.hpp ask pixel_kernels(backend);
// where a member is null, or the whole table, they run their plain loop. Integers and exact sums give the same bits either way; bilinear sums may be fused.
// Units: bytes of pixels, floats, pixels. A kernel touches nothing outside the sizes it is given and allocates nothing.
// Deliberately absent: threads, views, error handling; arguments were checked by the op.
#pragma once
#include <sampan/core/view.hpp>

#include <cstdint>

namespace sampan::inline SAMPAN_ABI {

/// Weights of 4 taps for two channels of 16-bit products: w = 2^11 high + low, taps (0, 1) and (2, 3) side by side in one int32 each, the even one in the low half.
struct SplitWeights {
  std::int32_t high01, high23, low01, low23;
};

/// Rows of RGB bytes, stretched across with weights of 22 bits: out[o] = clip((2^21 + sum of w in) >> 22), groups of 4 taps from pixel first[o] on.
struct PillowRows {
  const std::uint8_t* in;
  Index in_stride, width;  ///< bytes from a row to the next; pixels of a row
  std::uint8_t* out;
  Index out_stride, out_width;
  Index rows;
  const std::int32_t *first, *count;  ///< [out_width]
  const SplitWeights* weights;  ///< [out_width, groups]; taps that do not exist weigh 0
  Index groups;
};

/// One row of n bytes from `count` rows: out[i] = clip((2^21 + sum over k of w[k] in[k][i]) >> 22).
struct PillowColumn {
  const std::uint8_t* in;
  Index in_stride;
  const std::int32_t* w;
  std::int32_t count;
  std::uint8_t* out;
  Index n;
};

/// One term of an area sum: out[to] += weight * in[from].
struct AreaTap {
  std::int32_t from, to;
  float weight;
};

/// For each of `rows` rows of RGB bytes in turn: sum[i] += weights[row] * (area sums of the row)[i]. Every product and sum is rounded, in the order of the taps.
struct AreaRows {
  const std::uint8_t* in;
  Index in_stride, width;
  Index rows;            ///< at most kAreaRows
  const AreaTap* taps;   ///< ascending `from` and `to`
  Index count;
  const float* weights;  ///< [rows]
  float* sum;            ///< [3 outputs + 1]: one float behind the row may be read
};
inline constexpr Index kAreaRows = 4;

/// y[o] = w0[o] in[i0[o]] + w1[o] in[i1[o]]; i0 and i1 ascend by at most 1 from one output to the next.
struct StretchRow {
  const float* in;
  Index width;
  const std::int32_t *i0, *i1;
  const float *w0, *w1;
  Index n;
  float* y;
};

/// y[i] = wa a[i] + wb b[i].
struct BlendRow {
  const float *a, *b;
  float wa, wb;
  Index n;
  float* y;
};

/// mask[i] = wa a[i] + wb b[i] > threshold, and how many exceed each of three values.
struct MaskRow {
  const float *a, *b;
  float wa, wb;
  Index n;
  float threshold, inner, outer;
  std::uint8_t* mask;
  Index area = 0, above = 0, around = 0;  ///< results: above threshold, inner, outer
};

struct PixelKernels {
  void (*pillow_rows)(const PillowRows&);
  void (*pillow_column)(const PillowColumn&);
  void (*area_rows)(const AreaRows&);
  void (*stretch_row)(const StretchRow&);
  void (*blend_row)(const BlendRow&);
  void (*mask_row)(MaskRow&);
};

/// The backend's kernels; null: it has none. A backend overloads this in its own header.
template <class B>
const PixelKernels* pixel_kernels(const B&) {
  return nullptr;
}

}  // namespace sampan::inline SAMPAN_ABI
