// PyTorch's bicubic interpolation of float maps: F.interpolate(mode="bicubic", align_corners=False, antialias=False).
// Data flow: EfficientSAM's position table (nn/rel_pos.hpp) and mask logits (predict/postprocess.hpp); the necks of EdgeSAM and EfficientViT-SAM.
// Source: ATen native/UpSample.h (get_cubic_upsample_coefficients, a = -0.75; the position may be negative, its four taps are clamped to the map).
// Cost: 8 FLOP per output value and axis; scratch: one blended row [w, c] per thread and the taps. One implementation serves every host backend; a device refuses.
// Deliberately absent: align_corners=True, antialias, Pillow's bicubic (a = -0.5, on bytes).
#pragma once
#include <sampan/ops/reference_backend.hpp>
#include <sampan/ops/resize_common.hpp>

#include <cmath>

namespace sampan::inline SAMPAN_ABI {
namespace detail {

/// Output o of `out` = sum of w[k] * in[i[k]], in float as in PyTorch.
struct BicubicTap {
  std::int32_t i[4];
  float w[4];
};
inline BicubicTap bicubic_tap(Index in, Index out, Index o) {
  const float a = -0.75f;
  const float at = float(double(float(in) / float(out)) * (double(o) + 0.5) - 0.5);
  const float floor = std::floor(at), t = at - floor;
  const auto inner = [a](float x) { return ((a + 2) * x - (a + 3)) * x * x + 1; };             // |x| <= 1
  const auto outer = [a](float x) { return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a; };  // 1 < |x| < 2
  BicubicTap tap{{}, {outer(t + 1), inner(t), inner(1 - t), outer(2 - t)}};
  for (Index k = 0; k < 4; ++k) {
    const Index i = Index(floor) + k - 1;
    tap.i[k] = std::int32_t(i < 0 ? 0 : i < in ? i : in - 1);
  }
  return tap;
}

/// The body of every bicubic op: sink(y, row) gets each output row packed [ow*c], or lets room(y) say where it is wanted. First down, then across.
/// Rows come from several threads, each row once.
template <class B, class Room, class Sink>
void bicubic_rows(Context<B>& ctx, const View<const float, 3>& in, Index oh, Index ow, Room&& room, Sink&& sink) {
  const Index h = in.extent(0), w = in.extent(1), c = in.extent(2);
  Arena::Scope scope(ctx.arena);
  const auto tx = scope.make<BicubicTap>(ow), ty = scope.make<BicubicTap>(oh);
  const auto blended = scope.make<float>(ctx.pool.threads(), w * c), own = scope.make<float>(ctx.pool.threads(), ow * c);
  if (!ctx.begin({8.0 * double(oh) * double(w + ow) * double(c), 4.0 * (double(in.size()) + double(oh * ow * c))})) return;
  for (Index o = 0; o < ow; ++o) tx(o) = bicubic_tap(w, ow, o);
  for (Index o = 0; o < oh; ++o) ty(o) = bicubic_tap(h, oh, o);
  const bool packed = packed_rows(in);
  for_row_blocks(ctx, oh, [&](Index y0, Index y1, int slot) {
    float* mid = &blended(slot, 0);
    for (Index y = y0; y < y1; ++y) {
      const BicubicTap& t = ty(y);
      const float* rows[4];
      for (int k = 0; k < 4; ++k) rows[k] = in.data() + t.i[k] * in.stride(0);
      const float w0 = t.w[0], w1 = t.w[1], w2 = t.w[2], w3 = t.w[3];
      if (packed) {
        for (Index i = 0; i < w * c; ++i) mid[i] = w0 * rows[0][i] + w1 * rows[1][i] + w2 * rows[2][i] + w3 * rows[3][i];
      } else {
        for (Index x = 0; x < w; ++x)
          for (Index i = 0; i < c; ++i) {
            const Index at = x * in.stride(1) + i * in.stride(2);
            mid[x * c + i] = w0 * rows[0][at] + w1 * rows[1][at] + w2 * rows[2][at] + w3 * rows[3][at];
          }
      }
      float* const to = room(y, &own(slot, 0));
      for (Index x = 0; x < ow; ++x) {
        const BicubicTap& s = tx(x);
        const float *a = mid + s.i[0] * c, *b = mid + s.i[1] * c, *d = mid + s.i[2] * c, *e = mid + s.i[3] * c;
        for (Index i = 0; i < c; ++i) to[x * c + i] = s.w[0] * a[i] + s.w[1] * b[i] + s.w[2] * d[i] + s.w[3] * e[i];
      }
      sink(y, to);
    }
  });
}

}  // namespace detail

/// Bicubic, align_corners=False: output o reads at (o + 0.5) * in/out - 0.5 with the four taps around it.
///
///   in   [h, w, c]    any strides
///   out  [oh, ow, c]  any strides; may not overlap `in`
///
/// Error{invalid_argument} (in ctx) if a side is not 1 .. 2^30-1 or channels differ; nothing is written then.
/// Exactness: within 2e-6 of PyTorch relative to the largest input (tests/ops/resize_torch_bicubic_test.cpp).
template <class B>
  requires(!on_device<B>)
void resize_torch_bicubic(Context<B>& ctx, View<const float, 3> in, View<float, 3> out) {
  if (!detail::check_resize(ctx, in, out, "resize_torch_bicubic: in [h,w,c] and out [oh,ow,c] need equal c and sides from 1 to 2^30-1")) return;
  const bool packed = detail::packed_rows(out);
  const Index ow = out.extent(1), c = out.extent(2);
  detail::bicubic_rows(
      ctx, in, out.extent(0), ow, [&](Index y, float* own) { return packed ? out.data() + y * out.stride(0) : own; },
      [&](Index y, const float* row) {
        for (Index x = 0; !packed && x < ow; ++x)
          for (Index i = 0; i < c; ++i) out(y, x, i) = *row++;
      });
}

/// A device has no kernel for it yet.
template <class B>
  requires(on_device<B>)
void resize_torch_bicubic(Context<B>& ctx, View<const float, 3>, View<float, 3>) {
  ctx.fail(Error(ErrorCode::unsupported, cat("resize_torch_bicubic: device ", B::kName, " has no bicubic interpolation; use device cpu")));
}

}  // namespace sampan::inline SAMPAN_ABI
