// PyTorch's bilinear interpolation of float maps: F.interpolate(mode="bilinear", align_corners=False, antialias=False).
// Data flow: mask logits on their way to the image size (predict/), position embeddings and rel-pos tables of another grid (models/), SAM's mask chain.
// Source: ATen native/UpSample.h (area_pixel_compute_source_index, guard_index_and_lambda), UpSampleKernel.cpp; sam.md 7 and 9.
// Cost: 6 FLOP per output value at most; scratch: two rows [ow, c] per thread and the taps.
// Deliberately absent: align_corners=True, antialias, bicubic (each its own function when a model needs it).
#pragma once
#include <sampan/ops/pixel_kernels.hpp>
#include <sampan/ops/resize_common.hpp>

namespace sampan::inline SAMPAN_ABI {
namespace detail {

/// Output o of `out` = w0 * in[i0] + w1 * in[i1], in float as in PyTorch.
struct BilinearTap {
  Index i0, i1;
  float w0, w1;
};
inline BilinearTap bilinear_tap(Index in, Index out, Index o) {
  // A float scale but a position in double, as PyTorch 1.13 computes it. PyTorch 2 rounds the position to float: up to 2^-24 of it, so its weights
  // move by 3e-5 at position 500, and the one exact position lies between the two.
  double at = double(float(in) / float(out)) * (double(o) + 0.5) - 0.5;
  at = at < 0 ? 0 : at;
  Index i = Index(at);
  i = i < in - 1 ? i : in - 1;
  float w1 = float(at - double(i));
  w1 = w1 > 1 ? 1 : w1;
  return {i, i + 1 < in ? i + 1 : i, 1.0f - w1, w1};
}

/// The taps of one axis, as vectors take them.
struct BilinearTaps {
  View<std::int32_t, 1> i0, i1;
  View<float, 1> w0, w1;
};
inline BilinearTaps make_bilinear_taps(Arena::Scope& scope, Index out) {
  return {scope.make<std::int32_t>(out), scope.make<std::int32_t>(out), scope.make<float>(out), scope.make<float>(out)};
}
inline void bilinear_taps(Index in, const BilinearTaps& taps) {
  for (Index o = 0; o < taps.i0.extent(0); ++o) {
    const BilinearTap t = bilinear_tap(in, taps.i0.extent(0), o);
    taps.i0(o) = std::int32_t(t.i0), taps.i1(o) = std::int32_t(t.i1), taps.w0(o) = t.w0, taps.w1(o) = t.w1;
  }
}

/// to[ow*c] = one input row, stretched across. C = 0: any number of channels, element by element with stride.
template <int C>
void bilinear_row(const View<const float, 2>& in, const BilinearTaps& taps, float* to) {
  const Index c = C ? C : in.extent(1), sx = in.stride(0), sc = in.stride(1), ow = taps.i0.extent(0);
  for (Index o = 0; o < ow; ++o, to += c) {
    const float *a = in.data() + taps.i0(o) * sx, *b = in.data() + taps.i1(o) * sx;
    const float w0 = taps.w0(o), w1 = taps.w1(o);
    if (sc == 1 || C == 1) {
      for (Index i = 0; i < c; ++i) to[i] = w0 * a[i] + w1 * b[i];
    } else {
      for (Index i = 0; i < c; ++i) to[i] = w0 * a[i * sc] + w1 * b[i * sc];
    }
  }
}

/// The body of every bilinear op: sink(y, row) gets each output row as the sum of two stretched input rows, packed [ow*c]; row.y is room for it.
/// Rows come from several threads, each row once.
template <class B, class Sink>
void bilinear_rows(Context<B>& ctx, const View<const float, 3>& in, Index oh, Index ow, Sink&& sink) {
  const Index h = in.extent(0), w = in.extent(1), c = in.extent(2), n = ow * c;
  Arena::Scope scope(ctx.arena);
  const BilinearTaps tx = make_bilinear_taps(scope, ow), ty = make_bilinear_taps(scope, oh);
  const auto rows = scope.make<float>(ctx.pool.threads(), 3, n);
  if (!ctx.begin({6.0 * double(oh) * double(n), 4.0 * (double(in.size()) + double(oh) * double(n))})) return;
  bilinear_taps(w, tx);
  bilinear_taps(h, ty);
  const PixelKernels* kernels = pixel_kernels(ctx.backend);
  const bool plane = kernels && kernels->stretch_row && c == 1 && in.stride(1) == 1 && w <= ow;
  for_row_blocks(ctx, oh, [&](Index y0, Index y1, int slot) {
    // The two input rows around an output row, already stretched; going down, the lower one becomes the upper one.
    float *upper = &rows(slot, 0, 0), *lower = &rows(slot, 1, 0), *own = &rows(slot, 2, 0);
    Index has_upper = -1, has_lower = -1;
    const auto stretch = [&](Index y, float* to) {
      if (plane) {
        kernels->stretch_row({in.data() + y * in.stride(0), w, tx.i0.data(), tx.i1.data(), tx.w0.data(), tx.w1.data(), ow, to});
      } else if (c == 1) {
        bilinear_row<1>(in[y], tx, to);
      } else if (c == 3) {
        bilinear_row<3>(in[y], tx, to);
      } else {
        bilinear_row<0>(in[y], tx, to);
      }
    };
    for (Index y = y0; y < y1; ++y) {
      const Index above = ty.i0(y), below = ty.i1(y);
      if (above != has_upper && above == has_lower) {
        std::swap(upper, lower);
        std::swap(has_upper, has_lower);
      }
      if (above != has_upper) stretch(has_upper = above, upper);
      if (below != has_lower && below != has_upper) stretch(has_lower = below, lower);
      sink(y, BlendRow{upper, below == has_upper ? upper : lower, ty.w0(y), ty.w1(y), n, own});
    }
  });
}

}  // namespace detail

/// Bilinear, align_corners=False: output o reads at (o + 0.5) * in/out - 0.5, clamped to the map; first across, then down; float throughout.
///
///   in   [h, w, c]    any strides: channels-last maps, or a plane of [c,h,w] through its strides, or a crop
///   out  [oh, ow, c]  any strides; may not overlap `in`
///
/// Error{invalid_argument} (in ctx) if a side is not 1 .. 2^30-1 or channels differ; nothing is written then.
/// Exactness: within 1e-6 of PyTorch relative to the largest input (3 roundings per axis; tests/ops/resize_torch_bilinear_test.cpp).
template <class B>
void resize_torch_bilinear(Context<B>& ctx, View<const float, 3> in, View<float, 3> out) {
  if (!detail::check_resize(ctx, in, out, "resize_torch_bilinear: in [h,w,c] and out [oh,ow,c] need equal c and sides from 1 to 2^30-1")) return;
  const bool packed = detail::packed_rows(out);
  const Index ow = out.extent(1), c = out.extent(2);
  const PixelKernels* kernels = pixel_kernels(ctx.backend);
  detail::bilinear_rows(ctx, in, out.extent(0), ow, [&](Index y, BlendRow row) {
    float* own = row.y;
    if (packed) row.y = out.data() + y * out.stride(0);
    if (kernels && kernels->blend_row) {
      kernels->blend_row(row);
    } else {
      for (Index i = 0; i < row.n; ++i) row.y[i] = row.wa * row.a[i] + row.wb * row.b[i];
    }
    if (packed) return;
    for (Index x = 0; x < ow; ++x)
      for (Index i = 0; i < c; ++i) out(y, x, i) = *own++;
  });
}

/// The same for one plane: in [h, w] -> out [oh, ow].
template <class B>
void resize_torch_bilinear(Context<B>& ctx, View<const float, 2> in, View<float, 2> out) {
  resize_torch_bilinear(ctx, View<const float, 3>(in.data(), {in.extent(0), in.extent(1), 1}, {in.stride(0), in.stride(1), 1}),
                        View<float, 3>(out.data(), {out.extent(0), out.extent(1), 1}, {out.stride(0), out.stride(1), 1}));
}

/// F.interpolate(mode="linear", align_corners=False) over the rows of a table: in [rows, d] -> out [orows, d]. SAM's rel-pos tables of another grid
/// (sam.md 9: bilinear over (rows, cols) with equal cols is this).
template <class B>
void resize_torch_linear(Context<B>& ctx, View<const float, 2> in, View<float, 2> out) {
  resize_torch_bilinear(ctx, View<const float, 3>(in.data(), {in.extent(0), 1, in.extent(1)}, {in.stride(0), in.extent(1), in.stride(1)}),
                        View<float, 3>(out.data(), {out.extent(0), 1, out.extent(1)}, {out.stride(0), out.extent(1), out.stride(1)}));
}

}  // namespace sampan::inline SAMPAN_ABI
