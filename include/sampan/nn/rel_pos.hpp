// Stored position tables brought to the size a model runs at: absolute embeddings and relative-position rows.
// Data flow: models/sam_vit.hpp and nn/block.hpp at load. A file fine-tuned at another input size holds its own tables and nothing happens here.
// Source: segment_anything/modeling/image_encoder.py, get_rel_pos (linear over rows, align_corners=False); SAM-Med2D and SAMed loaders (bilinear pos_embed,
// align_corners=False, no antialias): models that keep the tables of 1024 px and run at 256 or 512 px.   Cost: once per load.
#pragma once
#include <sampan/ops/resize_torch_bicubic.hpp>
#include <sampan/ops/resize_torch_bilinear.hpp>
#include <sampan/weights/loader.hpp>

namespace sampan::inline SAMPAN_ABI::nn {

/// Linear resampling along axis 0 of [in, c] to [out, c]: torch's "linear", align_corners=False (ops/resize_torch_bilinear.hpp has the taps).
inline void resample_rows(const View<const float, 2>& in, const View<float, 2>& out) {
  for (Index o = 0; o < out.extent(0); ++o) {
    const auto t = sampan::detail::bilinear_tap(in.extent(0), out.extent(0), o);
    for (Index c = 0; c < in.extent(1); ++c) out(o, c) = t.w0 * in(t.i0, c) + t.w1 * in(t.i1, c);
  }
}

/// The table `name` [2*size-1, d]; resampled if the file holds another number of rows.
template <Backend B>
View<const float, 2> load_rel_pos(const Loader<B>& w, std::string_view name, Index size, Index d) {
  const auto stored = w.template tensor<2>(name, {kAnyExtent, d});
  if (!w.ok() || stored.extent(0) == 2 * size - 1) return stored;
  const auto table = w.template scratch<2>({2 * size - 1, d});
  if (w.ok()) resample_rows(stored, table);
  return table;
}

/// The absolute embedding `pos_embed` [1, g, g, c] as [grid, grid, c]; resampled bilinearly if the file holds another grid.
template <Backend B>
View<const float, 3> load_pos_embed(const Loader<B>& w, Index grid, Index c) {
  const auto stored = w.template tensor<4>("pos_embed", {1, kAnyExtent, kAnyExtent, c});
  if (!w.ok() || (stored.extent(1) == grid && stored.extent(2) == grid)) return stored[0];
  const Index g0 = stored.extent(1), g1 = stored.extent(2);
  const auto rows = w.template scratch<3>({grid, g1, c}), out = w.template scratch<3>({grid, grid, c});
  if (!w.ok()) return stored[0];
  resample_rows(stored[0].template reshape<2>({g0, g1 * c}), rows.template reshape<2>({grid, g1 * c}));
  for (Index y = 0; y < grid; ++y) resample_rows(View<const float, 2>(rows[y]), out[y]);
  return out;
}

/// EfficientSAM's `pos_embed` [1, 1 + stored^2, c]: the class token's row is dropped, the rest resampled bicubically to [grid, grid, c] (get_abs_pos).
template <Backend B>
View<const float, 3> load_class_pos_embed(const Loader<B>& w, Index stored, Index grid, Index c) {
  const auto table = w.template tensor<3>("pos_embed", {1, 1 + stored * stored, c});
  const auto out = w.template scratch<3>({grid, grid, c});
  if (!w.ok()) return {};
  const View<const float, 3> in(table.data() + c, {stored, stored, c});
  if (stored == grid) return in;
  for (Index y = 0; y < grid; ++y) {
    const auto ty = sampan::detail::bicubic_tap(stored, grid, y);
    for (Index x = 0; x < grid; ++x) {
      const auto tx = sampan::detail::bicubic_tap(stored, grid, x);
      for (Index k = 0; k < c; ++k) {
        float sum = 0;
        for (int j = 0; j < 4; ++j) sum += ty.w[j] * (tx.w[0] * in(ty.i[j], tx.i[0], k) + tx.w[1] * in(ty.i[j], tx.i[1], k) + tx.w[2] * in(ty.i[j], tx.i[2], k) + tx.w[3] * in(ty.i[j], tx.i[3], k));
        out(y, x, k) = sum;
      }
    }
  }
  return out;
}

}  // namespace sampan::inline SAMPAN_ABI::nn
