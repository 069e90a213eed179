// Exact Euclidean distances to the nearest element of a set, where they are asked for: separable, threaded, anisotropic.
// Data flow: Border (border.hpp) or a mask -> here -> surface distances (surface.hpp, voxel_surface.hpp), centres of objects (prompt simulators).
// Method: z by two running minima for the whole volume; in the slices, what is wanted and near by a search in small windows (near_search.hpp), the rest by Felzenszwalb and
//   Huttenlocher 2012 (lower envelope of parabolas): y column by column, then x row by row. Squares are summed in the order z, y, x, as scipy's distance_transform_edt does.
// Cost: a few byte operations per element; about 25 operations per element of slices with far places. Memory: 1, 2 or 4 bytes per element (by depth), a slice of doubles per thread.
// Deliberately absent: which element is the nearest; distances beyond the grid (nothing wraps).
#pragma once
#include <sampan/metrics/near_search.hpp>

#include <memory>
#include <optional>

namespace sampan::inline SAMPAN_ABI::metrics {
namespace detail {

/// f(j) + (step (i - j))^2, smallest over j, for chosen i. Reused by one thread.
class Envelope {
 public:
  explicit Envelope(Index n) : height_(std::size_t(n)), at_(std::size_t(n)), from_(std::size_t(n)) {}

  /// f is infinite where there is nothing. False if it is so everywhere.
  bool build(const double* f, Index n, double step) {
    step_ = step, count_ = 0;
    const double w = step * step;
    for (Index j = 0; j < n; ++j) {
      if (!(f[j] < std::numeric_limits<double>::infinity())) continue;
      double begin = -std::numeric_limits<double>::infinity();
      while (count_ > 0) {
        const Index i = at_[last()];
        begin = (f[j] - height_[last()] + w * double(j - i) * double(j + i)) / (2 * w * double(j - i));
        if (begin > from_[last()]) break;
        --count_;
        begin = -std::numeric_limits<double>::infinity();
      }
      height_[std::size_t(count_)] = f[j], at_[std::size_t(count_)] = j, from_[std::size_t(count_)] = begin;
      ++count_;
    }
    walk_ = 0;
    return count_ > 0;
  }
  /// Positions must not decrease between calls.
  double value(Index i) {
    while (walk_ + 1 < count_ && from_[std::size_t(walk_) + 1] < double(i)) ++walk_;
    const double d = double(i - at_[std::size_t(walk_)]) * step_;
    return d * d + height_[std::size_t(walk_)];
  }

 private:
  std::size_t last() const { return std::size_t(count_ - 1); }
  std::vector<double> height_;
  std::vector<Index> at_;
  std::vector<double> from_;  // where each parabola becomes the lowest
  Index count_ = 0, walk_ = 0;
  double step_ = 1;
};

/// One row of column_steps(), downward: `before` is the row of the slice before, nullptr for the first. The functions stand alone for border.hpp's reason.
template <class K>
void steps_after(const std::uint8_t* code, std::uint8_t full, const K* before, K none, Index n, K* __restrict to) {
  const auto border = [full](std::uint8_t c) { return std::uint8_t(c - 1) < std::uint8_t(full - 1); };
  if (!before) {
    for (Index x = 0; x < n; ++x) to[x] = border(code[x]) ? K(0) : none;
    return;
  }
  for (Index x = 0; x < n; ++x) {
    const K k = K(before[x] + (before[x] < none));
    to[x] = border(code[x]) ? K(0) : k;
  }
}
template <class K>
void steps_before(const K* behind, K none, Index n, K* __restrict to) {
  for (Index x = 0; x < n; ++x) {
    const K k = K(behind[x] + (behind[x] < none));
    to[x] = k < to[x] ? k : to[x];
  }
}

/// Steps along z to the nearest element in the same column; the depth where the column has none. K must hold it.
template <class K>
std::unique_ptr<K[]> column_steps(const Border& set, ThreadPool& pool) {
  const auto [depth, height, width] = set.extent;
  const Index plane = height * width;
  auto steps = std::make_unique_for_overwrite<K[]>(std::size_t(depth * plane));
  pool.parallel_for(height, [&, depth = depth, height = height, width = width](Index y, int) {
    const auto row = [&](Index z) { return steps.get() + z * plane + y * width; };
    for (Index z = 0; z < depth; ++z) steps_after(set.row(z * height + y), set.full, z ? row(z - 1) : nullptr, K(depth), width, row(z));
    for (Index z = depth - 2; z >= 0; --z) steps_before(row(z + 1), K(depth), width, row(z));
  });
  return steps;
}

/// The passes over y and x of one slice. Reused by one thread.
template <class K>
class PlanePasses {
 public:
  PlanePasses(const std::array<Index, 3>& extent, const Grid& grid)
      : depth_(extent[0]), height_(extent[1]), width_(extent[2]), grid_(grid), envelope_((std::max)(height_, width_)), columns_(std::size_t(kBlock * height_)), slice_(std::size_t(height_ * width_)) {}

  /// each(y, f) calls f(x, to) for the wanted places of row y, x growing; any(y) says whether there are some.
  template <class Any, class Each>
  void run(const K* steps, const Any& any, const Each& each, double* out) {
    for (Index x0 = 0; x0 < width_; x0 += kBlock) {
      const Index n = width_ - x0 < kBlock ? width_ - x0 : kBlock;
      for (Index y = 0; y < height_; ++y)
        for (Index i = 0; i < n; ++i) {
          const K k = steps[y * width_ + x0 + i];
          const double d = double(k) * grid_.spacing[0];
          columns_[std::size_t(i * height_ + y)] = Index(k) < depth_ ? d * d : kNothing;
        }
      for (Index i = 0; i < n; ++i) {
        const bool some = envelope_.build(columns_.data() + i * height_, height_, grid_.spacing[1]);
        for (Index y = 0; y < height_; ++y) slice_[std::size_t(y * width_ + x0 + i)] = some ? envelope_.value(y) : kNothing;
      }
    }
    for (Index y = 0; y < height_; ++y) {
      if (!any(y)) continue;
      const bool some = envelope_.build(slice_.data() + y * width_, width_, grid_.spacing[2]);
      each(y, [&](Index x, Index to) { out[to] = some ? std::sqrt(envelope_.value(x)) : kNothing; });
    }
  }

 private:
  static constexpr double kNothing = std::numeric_limits<double>::infinity();
  static constexpr Index kBlock = 16;  // columns gathered together: two cache lines of doubles per row
  Index depth_, height_, width_;
  Grid grid_;
  Envelope envelope_;
  std::vector<double> columns_, slice_;
};

/// What a thread needs for slices; made when it meets the first one that needs it.
template <class K>
struct SliceWork {
  std::optional<NearSearch<K>> near;
  std::optional<PlanePasses<K>> passes;
  std::vector<Wanted> row, far;  ///< far: raster order
  std::vector<Index> far_from;   ///< far places before row y
};

template <class K>
void border_slices(const Border& from, const Border& to, const Grid& grid, ThreadPool& pool, double* out) {
  const auto steps = column_steps<K>(to, pool);
  const Index height = to.extent[1], plane = height * to.extent[2];
  std::vector<SliceWork<K>> work(std::size_t(pool.threads()));
  pool.parallel_for(to.extent[0], [&](Index z, int slot) {
    if (from.first[std::size_t(z * height)] == from.first[std::size_t((z + 1) * height)]) return;
    SliceWork<K>& w = work[std::size_t(slot)];
    if (!w.near) w.near.emplace(to.extent, grid);
    w.far.clear();
    w.far_from.assign(1, 0);
    w.near->begin_slice(steps.get() + z * plane);
    for (Index y = 0; y < height; ++y) {
      w.row.clear();
      from.each(z * height + y, [&](Index x, Index i) { w.row.push_back({x, i}); });
      if (!w.row.empty()) w.near->row(y, w.row, out);
      w.far.insert(w.far.end(), w.row.begin(), w.row.end());
      w.far_from.push_back(Index(w.far.size()));
    }
    if (w.far.empty()) return;
    if (!w.passes) w.passes.emplace(to.extent, grid);
    const auto range = [&w](Index y) { return std::pair{w.far_from[std::size_t(y)], w.far_from[std::size_t(y) + 1]}; };
    w.passes->run(
        steps.get() + z * plane, [&](Index y) { return range(y).first != range(y).second; },
        [&](Index y, const auto& f) {
          for (Index i = range(y).first; i < range(y).second; ++i) f(w.far[std::size_t(i)].x, w.far[std::size_t(i)].to);
        },
        out);
  });
}

template <class K>
void all_slices(const Border& set, const Grid& grid, ThreadPool& pool, double* out) {
  const auto steps = column_steps<K>(set, pool);
  const Index height = set.extent[1], width = set.extent[2];
  std::vector<std::optional<PlanePasses<K>>> work(std::size_t(pool.threads()));
  pool.parallel_for(set.extent[0], [&](Index z, int slot) {
    auto& w = work[std::size_t(slot)];
    if (!w) w.emplace(set.extent, grid);
    w->run(
        steps.get() + z * height * width, [](Index) { return true; },
        [&](Index y, const auto& f) {
          for (Index x = 0; x < width; ++x) f(x, (z * height + y) * width + x);
        },
        out);
  });
}

/// f with a type that holds the depth.
template <class F>
void with_steps(Index depth, const F& f) {
  if (depth <= 0xff) f(std::uint8_t());
  else if (depth <= 0xffff) f(std::uint16_t());
  else f(std::uint32_t());
}

}  // namespace detail

/// For each border element of `from`, in raster order, the distance to the nearest border element of `to`; infinite if `to` has none. Equal extents.
inline std::vector<double> border_distances(const Border& from, const Border& to, const Grid& grid, ThreadPool& pool) {
  std::vector<double> d(std::size_t(from.size()));
  if (to.size() == 0) std::fill(d.begin(), d.end(), std::numeric_limits<double>::infinity());
  else if (!d.empty()) detail::with_steps(to.extent[0], [&](auto k) { detail::border_slices<decltype(k)>(from, to, grid, pool, d.data()); });
  return d;
}

/// scipy.ndimage.distance_transform_edt(mask, sampling=spacing): for each object sample the distance to the nearest sample outside the object, 0 elsewhere.
/// [z, y, x] doubles. Beyond the mask lies nothing; a mask without a single outside sample gives infinity.
inline std::vector<double> distance_transform(const MaskView& m, const Grid& grid, ThreadPool& pool) {
  Border outside;
  outside.extent = m.extents();
  outside.code.resize(std::size_t(m.size()));
  const Index n = m.extent(2);
  for (Index r = 0; r < outside.rows(); ++r)
    for (Index x = 0; x < n; ++x) outside.code[std::size_t(r * n + x)] = m(r / m.extent(1), r % m.extent(1), x) == 0;
  std::vector<double> d(outside.code.size());
  detail::with_steps(outside.extent[0], [&](auto k) { detail::all_slices<decltype(k)>(outside, grid, pool, d.data()); });
  return d;
}

}  // namespace sampan::inline SAMPAN_ABI::metrics
