// Definition of metrics/surface.hpp: the pieces of both surfaces and the distances between them.
#pragma once
#include <sampan/metrics/distance_transform.hpp>
#include <sampan/metrics/sort_distances.hpp>
#include <sampan/metrics/surface.hpp>
#include <sampan/metrics/surface_tables.hpp>

namespace sampan::inline SAMPAN_ABI::metrics {
namespace detail {

/// The pieces of `from`, with their distances in raster order.
template <std::size_t N>
std::vector<SurfaceElement> sorted_elements(const Border& from, const std::vector<double>& distances, const std::array<double, N>& sizes) {
  // By size first: the sort by distance keeps that order.
  std::array<std::size_t, N> order, at{};
  for (std::size_t c = 0; c < N; ++c) order[c] = c;
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return sizes[a] < sizes[b]; });
  for (Index r = 0; r < from.rows(); ++r) {
    const std::uint8_t* c = from.row(r);
    from.each(r, [&](Index x, Index) { ++at[c[x]]; });
  }
  std::size_t begin = 0;
  for (const std::size_t c : order) begin += std::exchange(at[c], begin);
  std::vector<SurfaceElement> e(distances.size());
  for (Index r = 0; r < from.rows(); ++r) {
    const std::uint8_t* c = from.row(r);
    from.each(r, [&](Index x, Index i) { e[at[c[x]]++] = {distances[std::size_t(i)], sizes[c[x]]}; });
  }
  sort_by_distance(e, [](const SurfaceElement& s) { return s.distance; });
  return e;
}

template <std::size_t N>
SurfaceDistances surface_distances(const Border& p, const Border& g, const Grid& grid, const std::array<double, N>& sizes, ThreadPool& pool) {
  const std::vector<double> from_g = border_distances(g, p, grid, pool), from_p = border_distances(p, g, grid, pool);
  SurfaceDistances d;
  pool.parallel_for(2, [&](Index i, int) { i == 0 ? d.gt_to_pred = sorted_elements(g, from_g, sizes) : d.pred_to_gt = sorted_elements(p, from_p, sizes); });
  return d;
}

}  // namespace detail

SAMPAN_INLINE SurfaceDistances surface_distances(const MaskView& pred, const MaskView& gt, const Grid& grid, ThreadPool& pool) {
  const Region r = bounds(pred, gt, pool);
  if (r.empty()) return {};
  const Border p = corner_border(crop(pred, r), grid.rank, pool), g = corner_border(crop(gt, r), grid.rank, pool);
  if (grid.rank == 3) return detail::surface_distances(p, g, grid, surface_areas(grid.spacing), pool);
  return detail::surface_distances(p, g, grid, contour_lengths(grid.spacing[1], grid.spacing[2]), pool);
}

}  // namespace sampan::inline SAMPAN_ABI::metrics
