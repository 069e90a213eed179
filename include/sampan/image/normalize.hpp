// From resized RGB bytes to the network's input: mean and standard deviation (SAM) or the range of the image (MedSAM, LiteMedSAM), then zeros to the right
// and below. Data flow: ops/resize_*.hpp -> here -> models/ encoder. Shapes: in [h, w, 3] uint8, out [H, W, 3] float with H >= h, W >= w.
// Source: Sam.preprocess of segment_anything/modeling/sam.py; MedSAM_Inference.py and CVPR24_LiteMedSAM_infer.py (min-max in float64, then float32).
// Cost: one table look-up per sample, because there are only 256 values: exact, and no division per pixel. No scratch.
// Deliberately absent: BGR, other numbers of channels, float input (the family starts from bytes).
#pragma once
#include <sampan/core/context.hpp>

#include <cstdint>
#include <cstring>

namespace sampan::inline SAMPAN_ABI {
namespace detail {

/// table[c][v] is the float of byte v in channel c. Padding comes after the mapping, as in the originals: 0 in the network's units, not black.
template <class B>
void map_and_pad(Context<B>& ctx, const View<const std::uint8_t, 3>& in, const float (&table)[3][256], const View<float, 3>& out) {
  constexpr Index kRows = 32;  // fixed, so that results do not depend on the number of threads
  const Index h = in.extent(0), w = in.extent(1), big_h = out.extent(0), big_w = out.extent(1);
  ctx.pool.parallel_for((big_h + kRows - 1) / kRows, [&](Index block, int) {
    for (Index y = block * kRows; y < (block + 1) * kRows && y < big_h; ++y) {
      float* to = out.data() + y * out.stride(0);
      const Index real = y < h ? w : 0, sx = out.stride(1), sc = out.stride(2);
      const std::uint8_t* from = in.data() + (y < h ? y * in.stride(0) : 0);
      if (sx == 3 && sc == 1 && in.stride(1) == 3 && in.stride(2) == 1) {
        for (Index i = 0; i < 3 * real; i += 3) to[i] = table[0][from[i]], to[i + 1] = table[1][from[i + 1]], to[i + 2] = table[2][from[i + 2]];
        std::memset(to + 3 * real, 0, std::size_t(3 * (big_w - real)) * sizeof(float));
        continue;
      }
      for (Index x = 0; x < real; ++x)
        for (int c = 0; c < 3; ++c) to[x * sx + c * sc] = table[c][from[x * in.stride(1) + c * in.stride(2)]];
      for (Index x = real; x < big_w; ++x)
        for (int c = 0; c < 3; ++c) to[x * sx + c * sc] = 0;
    }
  });
}

template <class B>
bool check_normalize(Context<B>& ctx, const View<const std::uint8_t, 3>& in, const View<float, 3>& out, const char* rule) {
  return ctx.require(in.extent(0) >= 1 && in.extent(1) >= 1 && in.extent(2) == 3 && out.extent(2) == 3 && out.extent(0) >= in.extent(0) && out.extent(1) >= in.extent(1),
                     rule);
}

}  // namespace detail

/// Channel means and standard deviations on the 0..255 scale.
struct MeanStd {
  float mean[3] = {123.675f, 116.28f, 103.53f};
  float std[3] = {58.395f, 57.12f, 57.375f};  ///< ImageNet's, as in SAM
};

/// out = (in - mean) / std in float32, zero outside [h, w]. Error{invalid_argument} (in ctx): extents, or a std of 0.
template <class B>
void normalize_mean_std(Context<B>& ctx, View<const std::uint8_t, 3> in, const MeanStd& m, View<float, 3> out) {
  if (!detail::check_normalize(ctx, in, out, "normalize_mean_std: in [h,w,3] must fit into out [H,W,3]")) return;
  if (!ctx.require(m.std[0] != 0 && m.std[1] != 0 && m.std[2] != 0, "normalize_mean_std: a standard deviation is 0")) return;
  if (!ctx.begin({2.0 * double(in.size()), double(in.size()) + 4.0 * double(out.size())})) return;
  float table[3][256];
  for (int c = 0; c < 3; ++c)
    for (int v = 0; v < 256; ++v) table[c][v] = (float(v) - m.mean[c]) / m.std[c];
  detail::map_and_pad(ctx, in, table, out);
}

/// out = float32((in - low) / max(high - low, 1e-8)) in float64, low and high over all pixels and channels of `in`; zero outside [h, w].
/// An image of one value becomes 0. Error{invalid_argument} (in ctx): extents.
template <class B>
void normalize_min_max(Context<B>& ctx, View<const std::uint8_t, 3> in, View<float, 3> out) {
  if (!detail::check_normalize(ctx, in, out, "normalize_min_max: in [h,w,3] must fit into out [H,W,3]")) return;
  if (!ctx.begin({2.0 * double(in.size()), 2.0 * double(in.size()) + 4.0 * double(out.size())})) return;
  std::uint8_t low = 255, high = 0;
  const bool packed = in.stride(1) == 3 && in.stride(2) == 1;  // then the values of a row lie side by side, and the inner loop is vector code
  const Index n = packed ? 3 * in.extent(1) : 1, sx = packed ? n : in.stride(1), sc = packed ? n : in.stride(2);
  for (Index y = 0; y < in.extent(0); ++y)
    for (Index x = 0; x < (packed ? 1 : in.extent(1)); ++x)
      for (Index c = 0; c < (packed ? 1 : 3); ++c) {
        const std::uint8_t* from = in.data() + y * in.stride(0) + x * sx + c * sc;
        for (Index i = 0; i < n; ++i) low = from[i] < low ? from[i] : low, high = from[i] > high ? from[i] : high;
      }
  const double range = high > low ? double(high - low) : 1e-8;
  float table[3][256];
  for (int v = 0; v < 256; ++v) table[0][v] = table[1][v] = table[2][v] = float(double(v - low) / range);  // below `low` nobody looks
  detail::map_and_pad(ctx, in, table, out);
}

}  // namespace sampan::inline SAMPAN_ABI
