// Pillow's BILINEAR resize of 8-bit images, to the last bit: the resizer of SAM, MobileSAM and their relatives.
// Data flow: predict/ calls it on the decoded RGB image; image/normalize.hpp turns the result into the network's input.
// Source: Pillow src/libImaging/Resample.c (precompute_coeffs, normalize_coeffs_8bpc, ImagingResampleHorizontal_8bpc, ..Vertical_8bpc); sam.md 7.
// Cost: about 2*max(in/out, 1) multiply-adds per value and pass; scratch: the image after the first pass, and the tables of weights.
// Deliberately absent: bicubic, premultiplied alpha (Pillow resizes RGBA that way; alpha is dropped before), the box argument.
#pragma once
#include <sampan/ops/pixel_kernels.hpp>
#include <sampan/ops/resize_common.hpp>

#include <cstring>

namespace sampan::inline SAMPAN_ABI {
namespace detail {

inline constexpr int kPillowBits = 22;  // Pillow's PRECISION_BITS = 32 - 8 - 2: sum of weights 2^22 times 255 stays below 2^31

/// Taps of one axis: output o is the sum over k < count[o] of weights[o][k] * in[first[o] + k].
struct PillowTaps {
  View<std::int32_t, 1> first, count;
  View<std::int32_t, 2> weights;
};

/// Widest support of one output, as Pillow computes it: ceil(max(in/out, 1)) * 2 + 1.
inline Index pillow_taps(Index in, Index out) { return 2 * (in > out ? ceil_div(in, out) : 1) + 1; }

SAMPAN_EXACT_FP inline void pillow_weights(Index in, Index out, const PillowTaps& t) {
  SAMPAN_EXACT_FP_BODY
  const double scale = double(in) / double(out), filter_scale = scale < 1 ? 1 : scale, support = filter_scale, step = 1.0 / filter_scale;
  for (Index o = 0; o < out; ++o) {
    const double center = (double(o) + 0.5) * scale;
    Index first = Index(center - support + 0.5), last = Index(center + support + 0.5);  // truncation, as the C cast
    first = first < 0 ? 0 : first;
    last = last > in ? in : last;
    std::int32_t* w = &t.weights(o, 0);
    double sum = 0;
    for (int pass = 0; pass < 2; ++pass) {  // first the sum, then the integers: the doubles need no table of their own
      for (Index x = 0; x < last - first; ++x) {
        double d = (double(x + first) - center + 0.5) * step;
        d = d < 0 ? -d : d;
        const double v = d < 1 ? 1 - d : 0;
        if (pass == 0) {
          sum += v;
        } else {
          w[x] = std::int32_t(0.5 + (sum != 0 ? v / sum : v) * double(1 << kPillowBits));
        }
      }
    }
    t.first(o) = std::int32_t(first);
    t.count(o) = std::int32_t(last - first);
  }
}

inline std::uint8_t pillow_clip(std::int32_t acc) {
  acc >>= kPillowBits;
  return std::uint8_t(acc < 0 ? 0 : acc > 255 ? 255 : acc);
}

/// The weights of PillowRows: groups of 4 taps, the missing ones 0.
inline Index pillow_groups(Index in, Index out) { return ceil_div(pillow_taps(in, out), 4); }
inline void split_weights(const PillowTaps& t, const View<SplitWeights, 2>& split) {
  for (Index o = 0; o < split.extent(0); ++o)
    for (Index g = 0; g < split.extent(1); ++g) {
      std::int32_t w[4];
      for (Index k = 0; k < 4; ++k) w[k] = 4 * g + k < t.count(o) ? t.weights(o, 4 * g + k) : 0;
      const auto pair = [](std::int32_t even, std::int32_t odd) { return even | odd << 16; };
      split(o, g) = {pair(w[0] >> 11, w[1] >> 11), pair(w[2] >> 11, w[3] >> 11), pair(w[0] & 2047, w[1] & 2047), pair(w[2] & 2047, w[3] & 2047)};
    }
}

/// One row: in [w, c] -> out [ow, c]. C is c for the usual counts, 0 for any other.
template <int C>
void pillow_row(const std::uint8_t* in, std::uint8_t* out, Index ow, Index channels, const PillowTaps& t) {
  const Index c = C ? C : channels;
  for (Index o = 0; o < ow; ++o, out += c) {
    const std::uint8_t* p = in + Index(t.first(o)) * c;
    const std::int32_t *w = &t.weights(o, 0), n = t.count(o);
    if constexpr (C != 0) {
      std::int32_t acc[C];
      for (auto& a : acc) a = 1 << (kPillowBits - 1);
      for (std::int32_t k = 0; k < n; ++k)
        for (int i = 0; i < C; ++i) acc[i] += *p++ * w[k];
      for (int i = 0; i < C; ++i) out[i] = pillow_clip(acc[i]);
    } else {
      for (Index i = 0; i < c; ++i) {
        std::int32_t acc = 1 << (kPillowBits - 1);
        for (std::int32_t k = 0; k < n; ++k) acc += p[k * c + i] * w[k];
        out[i] = pillow_clip(acc);
      }
    }
  }
}

/// One output row from `count` input rows of n bytes, in pieces whose accumulators stay in the first-level cache.
inline void pillow_column(const std::uint8_t* in, Index row_stride, const std::int32_t* w, std::int32_t count, std::uint8_t* out, Index n) {
  constexpr Index kPiece = 512;
  for (Index i0 = 0; i0 < n; i0 += kPiece) {
    const Index m = n - i0 < kPiece ? n - i0 : kPiece;
    std::int32_t acc[kPiece];
    for (Index i = 0; i < m; ++i) acc[i] = 1 << (kPillowBits - 1);
    for (std::int32_t k = 0; k < count; ++k) {
      const std::uint8_t* p = in + k * row_stride + i0;
      for (Index i = 0; i < m; ++i) acc[i] += p[i] * w[k];
    }
    for (Index i = 0; i < m; ++i) out[i0 + i] = pillow_clip(acc[i]);
  }
}

}  // namespace detail

/// Which pass runs first; the results differ by at most one grey level, and only when both sides change.
enum class PillowOrder {
  pillow_13,         ///< Pillow 13: vertical first if the height loses more than twice as many rows as the width loses columns, else horizontal
  horizontal_first,  ///< every Pillow before 12.3 (2026), so the one of published SAM results; differs only for tall images and when the width grows
};

/// Where both sides change: does the vertical pass run first?
inline bool pillow_down_first(Index h, Index w, Index oh, Index ow, PillowOrder order) { return order == PillowOrder::pillow_13 && h > oh && h - oh > 2 * (w - ow); }

/// out = Image.fromarray(in).resize((ow, oh), BILINEAR), bit for bit.
///
///   in   [h, w, c]    uint8, pixels of a row packed, rows may lie apart
///   out  [oh, ow, c]  uint8, likewise; may not overlap `in`
///
/// A triangle filter, widened by the scale when shrinking (antialias); weights in double, rounded to 22 bits; the result of the first pass is rounded to
/// uint8, then the other pass; a pass whose side does not change is skipped.
/// Error{invalid_argument} (in ctx) if a side is not 1 .. 2^30-1, channels differ, or pixels of a row lie apart; nothing is written then.
/// Exactness: equal to Pillow 13.0 and, with horizontal_first, to Pillow 9.4 (tests/ops/resize_pillow_bilinear_test.cpp).
template <class B>
void resize_pillow_bilinear(Context<B>& ctx, View<const std::uint8_t, 3> in, View<std::uint8_t, 3> out, PillowOrder order = PillowOrder::pillow_13) {
  using namespace detail;
  const char* rule = "resize_pillow_bilinear: in [h,w,c] and out [oh,ow,c] need equal c and sides from 1 to 2^30-1, with packed rows";
  if (!check_resize(ctx, in, out, rule) || !ctx.require(packed_rows(in) && packed_rows(out), rule)) return;
  const Index h = in.extent(0), w = in.extent(1), c = in.extent(2), oh = out.extent(0), ow = out.extent(1);
  const bool across = w != ow, down = h != oh, both = across && down;
  const bool down_first = both && pillow_down_first(h, w, oh, ow, order);
  const PixelKernels* kernels = pixel_kernels(ctx.backend);
  const bool rgb_rows = kernels && kernels->pillow_rows && c == 3, columns = kernels && kernels->pillow_column;
  Arena::Scope scope(ctx.arena);
  PillowTaps tx, ty;
  View<SplitWeights, 2> split;
  View<std::uint8_t, 3> mid;
  if (across) tx = {scope.make<std::int32_t>(ow), scope.make<std::int32_t>(ow), scope.make<std::int32_t>(ow, pillow_taps(w, ow))};
  if (across && rgb_rows) split = scope.make<SplitWeights>(ow, pillow_groups(w, ow));
  if (down) ty = {scope.make<std::int32_t>(oh), scope.make<std::int32_t>(oh), scope.make<std::int32_t>(oh, pillow_taps(h, oh))};
  if (both) mid = down_first ? scope.make<std::uint8_t>(oh, w, c) : scope.make<std::uint8_t>(h, ow, c);
  const double kx = across ? double(pillow_taps(w, ow)) : 0, ky = down ? double(pillow_taps(h, oh)) : 0;
  const double rows_across = double(down_first ? oh : h), columns_down = double(down_first ? w : ow);
  if (!ctx.begin({2.0 * double(c) * (rows_across * double(ow) * kx + double(oh) * columns_down * ky), double(in.size() + out.size())})) return;

  const auto pass_across = [&](const View<const std::uint8_t, 3>& from, const View<std::uint8_t, 3>& to) {
    pillow_weights(w, ow, tx);
    if (rgb_rows) split_weights(tx, split);
    for_row_blocks(ctx, to.extent(0), [&](Index y0, Index y1, int) {
      if (rgb_rows) {
        kernels->pillow_rows({from.data() + y0 * from.stride(0), from.stride(0), w, to.data() + y0 * to.stride(0), to.stride(0), ow, y1 - y0, tx.first.data(), tx.count.data(), split.data(), split.extent(1)});
        return;
      }
      for (Index y = y0; y < y1; ++y) {
        const std::uint8_t* row = from.data() + y * from.stride(0);
        std::uint8_t* at = to.data() + y * to.stride(0);
        if (c == 3) {
          pillow_row<3>(row, at, ow, c, tx);
        } else if (c == 1) {
          pillow_row<1>(row, at, ow, c, tx);
        } else {
          pillow_row<0>(row, at, ow, c, tx);
        }
      }
    });
  };
  const auto pass_down = [&](const View<const std::uint8_t, 3>& from, const View<std::uint8_t, 3>& to) {
    pillow_weights(h, oh, ty);
    for_row_blocks(ctx, oh, [&](Index y0, Index y1, int) {
      for (Index y = y0; y < y1; ++y) {
        const PillowColumn column{from.data() + ty.first(y) * from.stride(0), from.stride(0), &ty.weights(y, 0), ty.count(y), to.data() + y * to.stride(0), to.extent(1) * c};
        if (columns) {
          kernels->pillow_column(column);
        } else {
          pillow_column(column.in, column.in_stride, column.w, column.count, column.out, column.n);
        }
      }
    });
  };
  if (down_first) {
    pass_down(in, mid);
    pass_across(mid, out);
  } else if (both) {
    pass_across(in, mid);
    pass_down(mid, out);
  } else if (across) {
    pass_across(in, out);
  } else if (down) {
    pass_down(in, out);
  } else {
    for (Index y = 0; y < h; ++y) std::memcpy(out.data() + y * out.stride(0), in.data() + y * in.stride(0), std::size_t(w * c));
  }
}

}  // namespace sampan::inline SAMPAN_ABI
