// Random Fourier positional encoding of SAM's prompt encoder: PE(u, v) = [sin(2 pi t G) ; cos(2 pi t G)], t = 2 (u, v) - 1.
// In volumes (SAM-Med3D) there are three coordinates and the sines once more behind the cosines: [sin ; cos ; sin].
// Data flow: models/prompt_encoder.hpp, models/prompt_encoder_3d.hpp (points, box corners, the dense grid) -> here.
// Shapes: coords [n, a] in [0, 1], a = 2 (x before y) or 3; gauss [a, f] as stored, row i multiplies coordinate i; out [n, a f].   Cost: (2 a + 2) n f FLOP and 2 n f sine evaluations.
// Source: segment_anything/modeling/prompt_encoder.py, PositionEmbeddingRandom._pe_encoding; MedIM sam_med3d.py, PositionEmbeddingRandom3D.
// 2 pi is multiplied after the matrix product, all in float32.
// Small (a dozen tokens per prompt; the dense grid once per model), so one implementation serves every host backend.
#pragma once
#include <sampan/ops/params.hpp>
#include <sampan/ops/reference_backend.hpp>

#include <cmath>

namespace sampan::inline SAMPAN_ABI {

template <class B>
  requires(!on_device<B>)
void fourier_encoding(Context<B>& ctx, const View<const float, 2>& coords, const View<const float, 2>& gauss, const View<float, 2>& out) {
  const Index n = coords.extent(0), axes = coords.extent(1), f = gauss.extent(1);
  if (!ctx.require((axes == 2 || axes == 3) && gauss.extent(0) == axes && out.extent(0) == n && out.extent(1) == axes * f,
                   "fourier_encoding: coords [n,a], gauss [a,f], out [n,a*f] with a = 2 or 3 disagree"))
    return;
  if (!ctx.begin({double((2 * axes + 2) * n * f), 4.0 * double(axes * (n + f + n * f))})) return;
  for (Index i = 0; i < n; ++i)
    for (Index j = 0; j < f; ++j) {
      float turns = 0;
      for (Index a = 0; a < axes; ++a) turns += (2 * coords(i, a) - 1) * gauss(a, j);
      const float angle = 6.28318530717958647692f * turns;
      out(i, j) = std::sin(angle);
      out(i, f + j) = std::cos(angle);
      if (axes == 3) out(i, 2 * f + j) = out(i, j);
    }
}

}  // namespace sampan::inline SAMPAN_ABI
