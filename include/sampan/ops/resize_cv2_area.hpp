// OpenCV's INTER_AREA resize of 8-bit images, to the last bit: the resizer of LiteMedSAM and the CVPR 2024 container.
// Data flow: predict/ calls it on the decoded RGB image; image/normalize.hpp turns the result into the network's input.
// Source: OpenCV modules/imgproc/src/resize.cpp (hal::resize, computeResizeAreaTab, ResizeArea_Invoker, resizeAreaFast_Invoker, HResizeLinear, VResizeLinear).
// Cost: 2 FLOP per input value when shrinking, about 8 integer operations per output value when an axis grows; scratch: two output rows per thread and tables.
// Deliberately absent: other element types, explicit scale factors (cv2.resize called with fx, fy), the OpenCL and IPP variants.
#pragma once
#include <sampan/ops/pixel_kernels.hpp>
#include <sampan/ops/resize_common.hpp>

#include <algorithm>
#include <bit>
#include <cstring>

namespace sampan::inline SAMPAN_ABI {
namespace detail {

/// OpenCV's scale: the reciprocal of the rounded inverse. Not always the rounded in/out: 49 pixels to 1 give 49.000000000000007, no whole number.
inline double area_scale(Index in, Index out) { return 1.0 / (double(out) / double(in)); }

/// Which of its resizes OpenCV takes: it copies, means whole blocks, sums areas where no axis grows, else interpolates.
enum class AreaWay { copy, blocks, sums, linear };
inline AreaWay area_way(Index h, Index w, Index oh, Index ow) {
  const double y = area_scale(h, oh), x = area_scale(w, ow);
  return h == oh && w == ow ? AreaWay::copy : !(x >= 1 && y >= 1) ? AreaWay::linear : x == double(w / ow) && y == double(h / oh) ? AreaWay::blocks : AreaWay::sums;
}

/// Taps of one axis in ascending order of `to`; at most in + 2*out of them. Returns their number. scale >= 1.
SAMPAN_EXACT_FP inline Index area_taps(Index in, Index out, double scale, const View<AreaTap, 1>& taps) {
  SAMPAN_EXACT_FP_BODY
  Index n = 0;
  for (Index o = 0; o < out; ++o) {
    const double begin = double(o) * scale, end = begin + scale, rest = double(in) - begin, cell = scale < rest ? scale : rest;
    Index last = Index(end), first = Index(begin);
    first += double(first) < begin;
    last = last < in - 1 ? last : in - 1;
    first = first < last ? first : last;
    // OpenCV's threshold: slivers below a thousandth of a pixel are dropped, not spread over the other weights.
    if (double(first) - begin > 1e-3) taps(n++) = {std::int32_t(first - 1), std::int32_t(o), float((double(first) - begin) / cell)};
    for (Index x = first; x < last; ++x) taps(n++) = {std::int32_t(x), std::int32_t(o), float(1.0 / cell)};
    if (end - double(last) > 1e-3) {
      const double part = std::min({end - double(last), 1.0, cell});
      taps(n++) = {std::int32_t(last), std::int32_t(o), float(part / cell)};
    }
  }
  return n;
}

/// Nearest integer, ties to even (cvRound). Adding 1.5 * 2^23 leaves the integer in the low bits; needs |v| < 2^22.
inline std::int32_t round_even(float v) { return std::bit_cast<std::int32_t>(v + 12582912.0f) - std::bit_cast<std::int32_t>(12582912.0f); }
inline std::uint8_t round_to_u8(float v) {
  const std::int32_t i = round_even(v);
  return std::uint8_t(i < 0 ? 0 : i > 255 ? 255 : i);
}

/// sums[ow*c] = weighted sums along one input row; every product and every sum is rounded to float, in the order of the taps.
template <int C>
SAMPAN_EXACT_FP void area_row(const std::uint8_t* in, const AreaTap* taps, Index n, Index channels, float* sums) {
  SAMPAN_EXACT_FP_BODY
  const Index c = C ? C : channels;
  for (Index k = 0; k < n; ++k) {
    const std::uint8_t* p = in + taps[k].from * c;
    float* s = sums + taps[k].to * c;
    const float weight = taps[k].weight;
    for (Index i = 0; i < c; ++i) s[i] += float(p[i]) * weight;
  }
}

SAMPAN_EXACT_FP inline void area_accumulate(float* sum, const float* row, float weight, Index n) {
  SAMPAN_EXACT_FP_BODY
  for (Index i = 0; i < n; ++i) sum[i] += weight * row[i];
}

/// Whole-number factors fx, fy: the mean of a block. 2x2 is rounded in integers, (sum + 2) / 4; everything else (also 2x2 of two or more than four
/// channels) multiplies the integer sum by the float reciprocal and rounds ties to even.
SAMPAN_EXACT_FP inline void area_blocks_row(const std::uint8_t* in, Index stride, std::uint8_t* out, Index ow, Index c, Index fx, Index fy) {
  SAMPAN_EXACT_FP_BODY
  const float scale = 1.0f / float(fx * fy);
  const bool quarter = fx == 2 && fy == 2 && (c == 1 || c == 3 || c == 4);
  for (Index o = 0; o < ow; ++o)
    for (Index i = 0; i < c; ++i) {
      std::int64_t sum = 0;
      const std::uint8_t* p = in + o * fx * c + i;
      for (Index y = 0; y < fy; ++y)
        for (Index x = 0; x < fx; ++x) sum += p[y * stride + x * c];
      out[o * c + i] = quarter ? std::uint8_t((sum + 2) >> 2) : round_to_u8(float(sum) * scale);
    }
}

/// When an axis grows, OpenCV interpolates between two neighbours; the weights come from how far output cell o reaches into input cell from+1.
struct AreaLinearTap {
  std::int32_t from, next;  // next == from at the border
  std::int32_t w0, w1;      // 11-bit fixed point: w0 + w1 = 2048 up to rounding
};

SAMPAN_EXACT_FP inline void area_linear_taps(Index in, Index out, const View<AreaLinearTap, 1>& taps) {
  SAMPAN_EXACT_FP_BODY
  const double inverse = double(out) / double(in), scale = area_scale(in, out);
  for (Index o = 0; o < out; ++o) {
    Index from = Index(double(o) * scale);
    float part = float(double(o + 1) - double(from + 1) * inverse);
    part = part <= 0 ? 0.0f : part - float(Index(part));
    from = from < in - 1 ? from : in - 1;
    taps(o) = {std::int32_t(from), std::int32_t(from + 1 < in ? from + 1 : from), round_even((1.0f - part) * 2048.0f), round_even(part * 2048.0f)};
  }
}

inline void area_linear_row(const std::uint8_t* r0, const std::uint8_t* r1, const AreaLinearTap& v, const AreaLinearTap* taps, std::uint8_t* out, Index ow, Index c) {
  for (Index o = 0; o < ow; ++o) {
    const AreaLinearTap& t = taps[o];
    for (Index i = 0; i < c; ++i) {
      const Index a = t.from * c + i, b = t.next * c + i;
      const std::int32_t h0 = r0[a] * t.w0 + r0[b] * t.w1, h1 = r1[a] * t.w0 + r1[b] * t.w1;
      // OpenCV's own truncations between the two passes: 4 bits, then 16, then 2 with rounding.
      out[o * c + i] = std::uint8_t((((v.w0 * (h0 >> 4)) >> 16) + ((v.w1 * (h1 >> 4)) >> 16) + 2) >> 2);
    }
  }
}

}  // namespace detail

/// out = cv2.resize(in, (ow, oh), interpolation=cv2.INTER_AREA), bit for bit.
///
///   in   [h, w, c]    uint8, pixels of a row packed, rows may lie apart
///   out  [oh, ow, c]  uint8, likewise; may not overlap `in`
///
/// Equal sizes: a copy. Neither axis grows and both factors are whole: block means. Neither axis grows: area-weighted sums in float. Else: the 11-bit
/// bilinear that OpenCV puts in place of area sums.
/// Error{invalid_argument} (in ctx) if a side is not 1 .. 2^30-1, channels differ, or pixels of a row lie apart; nothing is written then.
/// Exactness: equal to OpenCV 4.11 and 5.0 built for plain x86-64 (tests/ops/resize_cv2_area_test.cpp); their ARM builds fuse multiply-adds.
template <class B>
void resize_cv2_area(Context<B>& ctx, View<const std::uint8_t, 3> in, View<std::uint8_t, 3> out) {
  using namespace detail;
  const char* rule = "resize_cv2_area: in [h,w,c] and out [oh,ow,c] need equal c and sides from 1 to 2^30-1, with packed rows";
  if (!check_resize(ctx, in, out, rule) || !ctx.require(packed_rows(in) && packed_rows(out), rule)) return;
  const Index h = in.extent(0), w = in.extent(1), c = in.extent(2), oh = out.extent(0), ow = out.extent(1), n = ow * c;
  const AreaWay way = area_way(h, w, oh, ow);
  const PixelKernels* kernels = pixel_kernels(ctx.backend);
  Arena::Scope scope(ctx.arena);
  View<AreaTap, 1> tx, ty;
  View<AreaLinearTap, 1> lx, ly;
  View<std::int32_t, 1> first;
  View<float, 3> rows;
  if (way == AreaWay::sums) {
    tx = scope.make<AreaTap>(w + 2 * ow), ty = scope.make<AreaTap>(h + 2 * oh);
    first = scope.make<std::int32_t>(oh + 1);
    rows = scope.make<float>(ctx.pool.threads(), 2, n + 1);
  } else if (way == AreaWay::linear) {
    lx = scope.make<AreaLinearTap>(ow), ly = scope.make<AreaLinearTap>(oh);
  }
  if (!ctx.begin({way == AreaWay::copy ? 0 : way != AreaWay::linear ? 2.0 * double(in.size()) : 8.0 * double(out.size()), double(in.size() + out.size())})) return;

  const auto row_in = [&](Index y) { return in.data() + y * in.stride(0); };
  const auto row_out = [&](Index y) { return out.data() + y * out.stride(0); };
  if (way == AreaWay::copy) {
    for (Index y = 0; y < h; ++y) std::memcpy(row_out(y), row_in(y), std::size_t(w * c));
  } else if (way == AreaWay::blocks) {
    for_row_blocks(ctx, oh, [&](Index y0, Index y1, int) {
      for (Index y = y0; y < y1; ++y) area_blocks_row(row_in(y * (h / oh)), in.stride(0), row_out(y), ow, c, w / ow, h / oh);
    });
  } else if (way == AreaWay::sums) {
    const Index nx = area_taps(w, ow, area_scale(w, ow), tx), ny = area_taps(h, oh, area_scale(h, oh), ty);
    for (Index k = 0; k < ny; ++k)
      if (k == 0 || ty(k).to != ty(k - 1).to) first(ty(k).to) = std::int32_t(k);
    first(oh) = std::int32_t(ny);
    for_row_blocks(ctx, oh, [&](Index y0, Index y1, int slot) {
      float *row = &rows(slot, 0, 0), *sum = &rows(slot, 1, 0);
      for (Index y = y0; y < y1; ++y) {
        std::memset(sum, 0, std::size_t(n) * sizeof(float));
        for (Index k = first(y); k < first(y + 1); ++k) {
          if (kernels && kernels->area_rows && c == 3) {
            const Index count = std::min(kAreaRows, first(y + 1) - k);
            float weights[kAreaRows];
            for (Index i = 0; i < count; ++i) weights[i] = ty(k + i).weight;  // rows of neighbouring taps are neighbours
            kernels->area_rows({row_in(ty(k).from), in.stride(0), w, count, tx.data(), nx, weights, sum});
            k += count - 1;
            continue;
          }
          std::memset(row, 0, std::size_t(n) * sizeof(float));
          if (c == 3) {
            area_row<3>(row_in(ty(k).from), tx.data(), nx, c, row);
          } else if (c == 1) {
            area_row<1>(row_in(ty(k).from), tx.data(), nx, c, row);
          } else {
            area_row<0>(row_in(ty(k).from), tx.data(), nx, c, row);
          }
          area_accumulate(sum, row, ty(k).weight, n);
        }
        for (Index i = 0; i < n; ++i) row_out(y)[i] = round_to_u8(sum[i]);
      }
    });
  } else {
    area_linear_taps(w, ow, lx);
    area_linear_taps(h, oh, ly);
    for_row_blocks(ctx, oh, [&](Index y0, Index y1, int) {
      for (Index y = y0; y < y1; ++y) area_linear_row(row_in(ly(y).from), row_in(ly(y).next), ly(y), lx.data(), row_out(y), ow, c);
    });
  }
}

}  // namespace sampan::inline SAMPAN_ABI
