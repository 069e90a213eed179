// Random Fourier positional encoding of SAM's prompt encoder: PE(u, v) = [sin(2 pi t G) ; cos(2 pi t G)], t = 2 (u, v) - 1.
// Data flow: models/prompt_encoder.hpp (points, box corners, the dense grid) -> here.
// Shapes: coords [n, 2] in [0, 1], x before y; gauss [2, f] as stored, row 0 multiplies x; out [n, 2 f].   Cost: 6 n f FLOP and 2 n f sine evaluations.
// Source: segment_anything/modeling/prompt_encoder.py, PositionEmbeddingRandom._pe_encoding: 2 pi is multiplied after the matrix product, all in float32.
// Small (a dozen tokens per prompt; the dense grid once per model), so one implementation serves every host backend.
#pragma once
#include <sampan/ops/params.hpp>
#include <sampan/ops/reference_backend.hpp>

#include <cmath>

namespace sampan::inline SAMPAN_ABI {

template <class B>
  requires(!on_device<B>)
void fourier_encoding(Context<B>& ctx, const View<const float, 2>& coords, const View<const float, 2>& gauss, const View<float, 2>& out) {
  const Index n = coords.extent(0), f = gauss.extent(1);
  if (!ctx.require(coords.extent(1) == 2 && gauss.extent(0) == 2 && out.extent(0) == n && out.extent(1) == 2 * f, "fourier_encoding: coords [n,2], gauss [2,f], out [n,2f] disagree")) return;
  if (!ctx.begin({6.0 * double(n * f), 4.0 * double(2 * n + 2 * f + 2 * n * f)})) return;
  for (Index i = 0; i < n; ++i) {
    const float x = 2 * coords(i, 0) - 1, y = 2 * coords(i, 1) - 1;
    for (Index j = 0; j < f; ++j) {
      const float angle = 6.28318530717958647692f * (x * gauss(0, j) + y * gauss(1, j));
      out(i, j) = std::sin(angle);
      out(i, f + j) = std::cos(angle);
    }
  }
}

}  // namespace sampan::inline SAMPAN_ABI
