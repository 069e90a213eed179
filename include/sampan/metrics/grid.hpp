// Grid and MaskView: what every metric is given. Data flow: label files or predictions -> here -> overlap.hpp, border.hpp, compare.hpp.
// Shapes: masks [z, y, x] bytes, 0 is background, everything else the object; a 2D image has rank 2 and one z. Spacing in the order of memory: z, y, x.
// A unit is not stored: distances come out in the unit of the spacing (millimetres from a volume; pixels with the default of 1).
// Deliberately absent: orientation and origin (both masks lie on the same grid; whoever resamples does it before).
#pragma once
#include <sampan/core/error.hpp>
#include <sampan/core/thread_pool.hpp>
#include <sampan/core/view.hpp>

#include <array>
#include <cstdint>
#include <vector>

namespace sampan::inline SAMPAN_ABI::metrics {

using MaskView = View<const std::uint8_t, 3>;

/// Distance between neighbours along z, y, x. Rank 2 is not rank 3 with one slice: its surface is a contour, without a top and a bottom.
struct Grid {
  int rank = 2;
  std::array<double, 3> spacing = {1, 1, 1};
};

/// 2^20 per side, as images; 2^33 samples keep every product and every byte count far from overflow.
inline constexpr Index kMaxSide = Index(1) << 20, kMaxSamples = Index(1) << 33;

/// Rank 2 or 3 (rank 2: one z), spacing from 1e-6 to 1e6, sides from 1. Error{invalid_argument | limit} with the numbers.
inline Status check(const MaskView& m, const Grid& g) {
  if (g.rank != 2 && g.rank != 3) return Error(ErrorCode::invalid_argument, cat("rank ", g.rank, ": masks have rank 2 or 3"));
  Index samples = 1;
  for (int a = 0; a < 3; ++a) {
    const double s = g.spacing[std::size_t(a)];
    if (!(s >= 1e-6 && s <= 1e6)) return Error(ErrorCode::invalid_argument, cat("spacing ", s, ": a number from 0.000001 to 1000000 is needed"));
    if (m.extent(a) < 1) return Error(ErrorCode::invalid_argument, cat("mask of ", m.extent(2), "x", m.extent(1), "x", m.extent(0), ": every side must be at least 1"));
    if (m.extent(a) > kMaxSide || (samples *= m.extent(a)) > kMaxSamples) return Error(ErrorCode::limit, cat("mask of ", m.extent(2), "x", m.extent(1), "x", m.extent(0), ": at most ", kMaxSide, " per side and ", kMaxSamples, " samples are possible"));
  }
  if (g.rank == 2 && m.extent(0) != 1) return Error(ErrorCode::invalid_argument, cat("a mask of rank 2 has one slice, this one has ", m.extent(0)));
  if (!m.data()) return Error(ErrorCode::invalid_argument, "mask without samples (null pointer)");
  return {};
}

/// Both as above, and of one size.
inline Status check(const MaskView& pred, const MaskView& gt, const Grid& g) {
  SAMPAN_CHECK(check(pred, g));
  SAMPAN_CHECK(check(gt, g));
  if (same_extents(pred, gt)) return {};
  return Error(ErrorCode::invalid_argument, cat("the prediction is ", pred.extent(2), "x", pred.extent(1), "x", pred.extent(0), ", the ground truth ", gt.extent(2), "x", gt.extent(1), "x", gt.extent(0), ": both must lie on one grid"));
}

/// First sample and number of samples along z, y, x; no samples if nothing is inside.
struct Region {
  std::array<Index, 3> first = {}, count = {};
  bool empty() const { return count[0] == 0; }
};

namespace detail {

/// The bytes of a row joined by or, so that rows without an object cost one pass at the speed of memory.
inline bool any_in_row(const std::uint8_t* p, Index sp, const std::uint8_t* q, Index sq, Index n) {
  std::uint8_t any = 0;
  if (sp == 1 && sq == 1) {
    for (Index x = 0; x < n; ++x) any = std::uint8_t(any | p[x] | q[x]);
  } else {
    for (Index x = 0; x < n; ++x) any = std::uint8_t(any | p[x * sp] | q[x * sq]);
  }
  return any != 0;
}

}  // namespace detail

/// The smallest region that holds every object sample of both masks. One pass.
inline Region bounds(const MaskView& a, const MaskView& b, ThreadPool& pool) {
  struct Corners {
    std::array<Index, 3> low, high{-1, -1, -1};
    void include(const std::array<Index, 3>& from, const std::array<Index, 3>& to) {
      for (std::size_t i = 0; i < 3; ++i) {
        low[i] = low[i] < from[i] ? low[i] : from[i];
        high[i] = high[i] > to[i] ? high[i] : to[i];
      }
    }
  };
  std::vector<Corners> slices(std::size_t(a.extent(0)), Corners{a.extents()});
  pool.parallel_for(a.extent(0), [&](Index z, int) {
    const Index n = a.extent(2), sp = a.stride(2), sq = b.stride(2);
    for (Index y = 0; y < a.extent(1); ++y) {
      const std::uint8_t *p = &a(z, y, 0), *q = &b(z, y, 0);
      if (!detail::any_in_row(p, sp, q, sq, n)) continue;
      const auto object = [&](Index x) { return (p[x * sp] | q[x * sq]) != 0; };
      Index first = 0, last = n - 1;
      while (!object(first)) ++first;
      while (!object(last)) --last;
      slices[std::size_t(z)].include({z, y, first}, {z, y, last});
    }
  });
  Corners all{a.extents()};
  for (const Corners& c : slices)
    if (c.high[0] >= 0) all.include(c.low, c.high);
  Region r;
  if (all.high[0] < 0) return r;
  for (std::size_t i = 0; i < 3; ++i) r.first[i] = all.low[i], r.count[i] = all.high[i] - all.low[i] + 1;
  return r;
}

inline MaskView crop(MaskView m, const Region& r) {
  for (int a = 0; a < 3; ++a) m = m.slice(a, r.first[std::size_t(a)], r.count[std::size_t(a)]);
  return m;
}

}  // namespace sampan::inline SAMPAN_ABI::metrics
