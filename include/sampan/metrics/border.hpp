// Where a mask ends: the two published definitions, as a map of bytes in which border samples can be recognised.
// Data flow: mask (grid.hpp) -> here -> distance_transform.hpp (distances between borders), surface.hpp, voxel_surface.hpp.
// corner_border: between the samples (surface-distance): element (z, y, x) is the corner shared by the samples at z-1..z, y-1..y, x-1..x; its byte is the pattern of
//   the 8 (4 in 2D), see surface_tables.hpp. One element more than samples along each axis.
// voxel_border: samples of the object with a neighbour (6, in 2D 4) outside it (MONAI, MedPy: XOR with scipy's binary_erosion); beyond the mask is outside.
// Cost: a few byte operations per sample; rows are independent. Memory: one byte per element.
#pragma once
#include <sampan/core/thread_pool.hpp>
#include <sampan/metrics/grid.hpp>

#include <vector>

namespace sampan::inline SAMPAN_ABI::metrics {

/// A byte per element; border elements are neither 0 nor `full`.
struct Border {
  std::array<Index, 3> extent = {};
  std::uint8_t full = 255;
  std::vector<std::uint8_t> code;
  std::vector<Index> first;  ///< border elements before row (z, y) in raster order; one entry more than rows

  Index rows() const { return extent[0] * extent[1]; }
  const std::uint8_t* row(Index r) const { return code.data() + r * extent[2]; }
  bool is_border(std::uint8_t c) const { return std::uint8_t(c - 1) < std::uint8_t(full - 1); }
  Index size() const { return first.empty() ? 0 : first.back(); }
};

namespace detail {

/// Fills Border::first from the codes.
inline void count_rows(Border& b, ThreadPool& pool) {
  b.first.assign(std::size_t(b.rows() + 1), 0);
  pool.parallel_for(b.rows(), [&](Index r, int) {
    std::uint32_t n = 0;
    const std::uint8_t* c = b.row(r);
    for (Index x = 0; x < b.extent[2]; ++x) n += b.is_border(c[x]);
    b.first[std::size_t(r) + 1] = Index(n);
  });
  for (std::size_t r = 1; r < b.first.size(); ++r) b.first[r] += b.first[r - 1];
}

}  // namespace detail

/// The surface between samples; what lies outside the view counts as outside the object.
inline Border corner_border(const MaskView& m, int rank, ThreadPool& pool) {
  Border b;
  b.extent = {rank == 3 ? m.extent(0) + 1 : 1, m.extent(1) + 1, m.extent(2) + 1};
  b.full = rank == 3 ? 255 : 15;
  b.code.resize(std::size_t(b.rows() * b.extent[2]));
  const Index n = m.extent(2), stride = m.stride(2);
  std::vector<std::uint8_t> scratch(std::size_t(pool.threads()) * std::size_t(n + 2));
  pool.parallel_for(b.rows(), [&](Index r, int slot) {
    const Index z = r / b.extent[1], y = r % b.extent[1];
    // column[x + 1]: the samples above each other at x, later ones (in z, then y) in the lower pairs of bits.
    std::uint8_t* column = scratch.data() + Index(slot) * (n + 2);
    for (Index x = 0; x < n + 2; ++x) column[x] = 0;
    for (Index dz = rank == 3 ? z - 1 : z; dz <= z; ++dz)
      for (Index dy = y - 1; dy <= y; ++dy) {
        if (dz < 0 || dy < 0 || dz >= m.extent(0) || dy >= m.extent(1)) {
          for (Index x = 1; x <= n; ++x) column[x] = std::uint8_t(column[x] << 2);
          continue;
        }
        const std::uint8_t* p = &m(dz, dy, 0);
        if (stride == 1) {
          for (Index x = 0; x < n; ++x) column[x + 1] = std::uint8_t(column[x + 1] << 2 | int(p[x] != 0));
        } else {
          for (Index x = 0; x < n; ++x) column[x + 1] = std::uint8_t(column[x + 1] << 2 | int(p[x * stride] != 0));
        }
      }
    std::uint8_t* to = b.code.data() + r * b.extent[2];
    for (Index x = 0; x <= n; ++x) to[x] = std::uint8_t(column[x] << 1 | column[x + 1]);
  });
  detail::count_rows(b, pool);
  return b;
}

/// Samples of the object that touch the outside: code 1.
inline Border voxel_border(const MaskView& m, int rank, ThreadPool& pool) {
  Border b;
  b.extent = m.extents();
  b.code.resize(std::size_t(m.size()));
  const Index h = m.extent(1), n = m.extent(2), s = m.stride(2);
  pool.parallel_for(b.rows(), [&](Index r, int) {
    const Index z = r / h, y = r % h;
    const std::uint8_t* p = &m(z, y, 0);
    std::uint8_t* to = b.code.data() + r * n;
    for (Index x = 0; x < n; ++x) to[x] = p[x * s] != 0;
    const auto eroded = [&](Index nz, Index ny) { return nz >= 0 && ny >= 0 && nz < m.extent(0) && ny < h ? &m(nz, ny, 0) : nullptr; };
    const std::uint8_t* near[4] = {eroded(z, y - 1), eroded(z, y + 1), rank == 3 ? eroded(z - 1, y) : p, rank == 3 ? eroded(z + 1, y) : p};
    for (const auto* q : near)
      if (!q) return;  // a row at the rim: all of its object samples touch the outside
    for (Index x = 0; x < n; ++x) {
      const bool inner = x > 0 && x + 1 < n && p[(x - 1) * s] && p[(x + 1) * s] && near[0][x * s] && near[1][x * s] && near[2][x * s] && near[3][x * s];
      to[x] = std::uint8_t(to[x] && !inner);
    }
  });
  detail::count_rows(b, pool);
  return b;
}

}  // namespace sampan::inline SAMPAN_ABI::metrics
