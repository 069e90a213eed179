// Where a mask ends: the two published definitions, as a map of bytes in which border samples can be recognised.
// Data flow: mask (grid.hpp) -> here -> distance_transform.hpp (distances between borders), surface.hpp, voxel_surface.hpp.
// corner_border: between the samples (surface-distance): element (z, y, x) is the corner shared by the samples at z-1..z, y-1..y, x-1..x; its byte is the pattern of
//   the 8 (4 in 2D), see surface_tables.hpp. One element more than samples along each axis.
// voxel_border: samples of the object with a neighbour (6, in 2D 4) outside it (MONAI, MedPy: XOR with scipy's binary_erosion); beyond the mask is outside.
// Cost: a few byte operations per sample; rows are independent. Memory: one byte per element.
#pragma once
#include <sampan/metrics/grid.hpp>

#include <algorithm>
#include <cstring>

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
  bool any(Index r) const { return first[std::size_t(r)] != first[std::size_t(r) + 1]; }
  /// f(x, i) for the border elements of a row, x growing; i counts them in raster order. Eight elements that all lie inside or all outside are passed over at once.
  template <class F>
  void each(Index r, F&& f) const {
    if (!any(r)) return;
    const std::uint8_t* c = row(r);
    const std::uint64_t inside = 0x0101010101010101u * full;
    Index i = first[std::size_t(r)], x = 0;
    for (; x + 8 <= extent[2]; x += 8) {
      std::uint64_t eight;
      std::memcpy(&eight, c + x, 8);
      if (eight == 0 || eight == inside) continue;
      for (Index k = x; k < x + 8; ++k)
        if (is_border(c[k])) f(k, i++);
    }
    for (; x < extent[2]; ++x)
      if (is_border(c[x])) f(x, i++);
  }
};

// Inner loops are functions of their own: a store of a byte may alias whatever a lambda refers to, and then nothing is done sixteen at a time.
namespace detail {

inline Index count_border(const std::uint8_t* c, Index n, std::uint8_t full) {
  Index sum = 0;
  for (Index x0 = 0; x0 < n; x0 += 255) {
    std::uint8_t part = 0;
    const Index end = x0 + 255 < n ? x0 + 255 : n;
    for (Index x = x0; x < end; ++x) part = std::uint8_t(part + (std::uint8_t(c[x] - 1) < std::uint8_t(full - 1)));
    sum += part;
  }
  return sum;
}

/// Fills Border::first from counts of the rows before.
inline void sum_rows(Border& b) {
  for (std::size_t r = 1; r < b.first.size(); ++r) b.first[r] += b.first[r - 1];
}

/// Samples that are not 0 as ones, packed.
inline void object_row(const std::uint8_t* p, Index stride, Index n, std::uint8_t* to) {
  if (stride == 1) {
    for (Index x = 0; x < n; ++x) to[x] = p[x] != 0;
  } else {
    for (Index x = 0; x < n; ++x) to[x] = p[x * stride] != 0;
  }
}

/// Clears what has all of its neighbours inside: beside it in the row, and in the four rows around.
inline void keep_outer(const std::uint8_t* p, const std::uint8_t* const* near, Index s, Index n, std::uint8_t* __restrict to) {
  const std::uint8_t *a = near[0], *b = near[1], *c = near[2], *d = near[3];
  for (Index x = 1; x + 1 < n; ++x) {
    const bool inner = (p[(x - 1) * s] != 0) & (p[(x + 1) * s] != 0) & (a[x * s] != 0) & (b[x * s] != 0) & (c[x * s] != 0) & (d[x * s] != 0);
    to[x] = std::uint8_t(to[x] & std::uint8_t(!inner));
  }
}

/// Two rows of ones -> the bits of both, `a` in the higher pair.
inline void join_rows(const std::uint8_t* a, const std::uint8_t* b, int shift, Index n, std::uint8_t* __restrict to) {
  for (Index x = 0; x < n; ++x) to[x] = std::uint8_t(a[x] << shift | b[x]);
}
/// column: n + 2 patterns of the samples above each other, 0 at both ends -> n + 1 corners.
inline void corner_row(const std::uint8_t* column, Index n, std::uint8_t* __restrict to) {
  for (Index x = 0; x <= n; ++x) to[x] = std::uint8_t(column[x] << 1 | column[x + 1]);
}

}  // namespace detail

/// The surface between samples; what lies outside the view counts as outside the object.
inline Border corner_border(const MaskView& m, int rank, ThreadPool& pool) {
  Border b;
  b.extent = {rank == 3 ? m.extent(0) + 1 : 1, m.extent(1) + 1, m.extent(2) + 1};
  b.full = rank == 3 ? 255 : 15;
  b.code.resize(std::size_t(b.rows() * b.extent[2]));
  b.first.assign(std::size_t(b.rows() + 1), 0);
  const Index height = m.extent(1), n = m.extent(2), slots = pool.threads();
  // Per thread: rows y - 1 and y of the slices z - 1 and z as ones, in pairs of bits; a column pattern with a rim.
  const Index scratch_row = n + 2;
  std::vector<std::uint8_t> scratch(std::size_t(slots * 6 * scratch_row));
  pool.parallel_for(b.extent[0], [&](Index z, int slot) {
    std::uint8_t* const mine = scratch.data() + Index(slot) * 6 * scratch_row;
    const auto line = [&](int i) { return mine + i * scratch_row; };
    std::uint8_t *before = line(0), *after = line(1), *const lower = line(2), *const upper = line(3), *const column = line(4);
    std::fill(mine, mine + 6 * scratch_row, std::uint8_t(0));
    // before, after: for rows y - 1 and y the ones of slice z - 1, shifted by 4, and of slice z.
    for (Index y = 0; y <= height; ++y) {
      const auto ones = [&](Index slice, std::uint8_t* to) {
        if (y < height && slice >= 0 && slice < m.extent(0)) detail::object_row(&m(slice, y, 0), m.stride(2), n, to);
        else std::fill(to, to + n, std::uint8_t(0));
      };
      ones(rank == 3 ? z - 1 : -1, lower);
      ones(z, upper);
      detail::join_rows(lower, upper, 4, n, after);
      detail::join_rows(before, after, 2, n, column + 1);
      const Index r = z * b.extent[1] + y;
      std::uint8_t* const to = b.code.data() + r * b.extent[2];
      detail::corner_row(column, n, to);
      b.first[std::size_t(r) + 1] = detail::count_border(to, n + 1, b.full);
      std::swap(before, after);
    }
  });
  detail::sum_rows(b);
  return b;
}

/// Samples of the object that touch the outside: code 1.
inline Border voxel_border(const MaskView& m, int rank, ThreadPool& pool) {
  Border b;
  b.extent = m.extents();
  b.code.resize(std::size_t(m.size()));
  b.first.assign(std::size_t(b.rows() + 1), 0);
  const Index h = m.extent(1), n = m.extent(2), s = m.stride(2);
  pool.parallel_for(b.rows(), [&](Index r, int) {
    const Index z = r / h, y = r % h;
    const auto row = [&](Index nz, Index ny) { return nz >= 0 && ny >= 0 && nz < m.extent(0) && ny < h ? &m(nz, ny, 0) : nullptr; };
    const std::uint8_t* const p = row(z, y);
    std::uint8_t* const to = b.code.data() + r * n;
    detail::object_row(p, s, n, to);
    const std::uint8_t* const near[4] = {row(z, y - 1), row(z, y + 1), rank == 3 ? row(z - 1, y) : p, rank == 3 ? row(z + 1, y) : p};
    // At the rim all object samples of a row touch the outside.
    if (near[0] && near[1] && near[2] && near[3]) detail::keep_outer(p, near, s, n, to);
    b.first[std::size_t(r) + 1] = detail::count_border(to, n, b.full);
  });
  detail::sum_rows(b);
  return b;
}

}  // namespace sampan::inline SAMPAN_ABI::metrics
