// The nearest element of a set for a few wanted places, near by: windows that double until nothing beyond them can be nearer.
// Data flow: steps along z (distance_transform.hpp), wanted places of a slice -> here -> distances; what is too far for a small window is left to the lower envelope.
// Identity: the square is the least of steps(z, y', x')^2 sz^2 + (y - y')^2 sy^2 + (x - x')^2 sx^2 over the slice. Beyond a window of ry rows and rx columns each term is
//   at least the smaller of ((ry + 1) sy)^2 and ((rx + 1) sx)^2, so a least value inside that does not exceed it is the least of all; rounding keeps the order.
// Cost: masks that resemble each other lie a few samples apart: tens of operations per border element, where the envelope takes 25 per element of the slice.
// Squares are summed in the order z, y, x. Deliberately absent: far distances, see NearSearch::row.
#pragma once
#include <sampan/metrics/border.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

namespace sampan::inline SAMPAN_ABI::metrics::detail {

/// A wanted place of a row, and where its answer goes.
struct Wanted {
  Index x = 0, to = 0;
};

/// Reused by one thread for the rows of slices of one size. K: whole steps along z; `depth` stands for a column without an element.
template <class K>
class NearSearch {
 public:
  NearSearch(const std::array<Index, 3>& extent, const Grid& grid) : height_(extent[1]), width_(extent[2]), sy_(grid.spacing[1]), sx_(grid.spacing[2]) {
    for (Index k = 0; k < extent[0]; ++k) z_.push_back(square(double(k) * grid.spacing[0]));
    z_.push_back(std::numeric_limits<double>::infinity());
    for (Index x = 0; x < width_; ++x) x_.push_back(square(double(x) * sx_));
    least_.resize(std::size_t(width_));
  }

  /// Operations for a slice, about half of what its envelopes take.
  void begin_slice(const K* steps) { steps_ = steps, operations_ = 12 * height_ * width_; }

  /// Distances of the wanted places of row y, x growing; those that are left when the slice's operations are used up stay in `wanted`.
  void row(Index y, std::vector<Wanted>& wanted, double* out) {
    for (double reach = 2 * (std::max)(sy_, sx_); !wanted.empty(); reach *= 2) {
      const Index ry = samples(reach, sy_, height_), rx = samples(reach, sx_, width_);
      const double beyond = (std::min)(ry < height_ ? square(double(ry + 1) * sy_) : kNothing, rx < width_ ? square(double(rx + 1) * sx_) : kNothing);
      std::size_t left = 0;
      for (std::size_t i = 0; i < wanted.size();) {
        // Windows that touch share their columns.
        const Index from = (std::max)(wanted[i].x - rx, Index(0));
        std::size_t j = i + 1;
        while (j < wanted.size() && wanted[j].x - rx <= wanted[j - 1].x + rx) ++j;
        const Index end = (std::min)(wanted[j - 1].x + rx + 1, width_);
        operations_ -= (end - from) * (2 * ry + 1) + Index(j - i) * (2 * rx + 1);
        if (operations_ < 0) {
          for (; i < wanted.size(); ++i) wanted[left++] = wanted[i];
          wanted.resize(left);
          return;
        }
        columns(y, ry, from, end);
        for (; i < j; ++i) {
          const double d = along(wanted[i].x, rx, from, end);
          if (d <= beyond) out[wanted[i].to] = std::sqrt(d);
          else wanted[left++] = wanted[i];
        }
      }
      wanted.resize(left);
    }
  }

 private:
  static constexpr double kNothing = std::numeric_limits<double>::infinity();
  static double square(double v) { return v * v; }
  static Index samples(double reach, double spacing, Index side) { return reach / spacing < double(side) ? Index(reach / spacing) : side; }

  /// least_[x - from]: the least square over rows within ry, same column.
  void columns(Index y, Index ry, Index from, Index end) {
    const Index first = (std::max)(y - ry, Index(0)), last = (std::min)(y + ry, height_ - 1);
    std::fill_n(least_.begin(), end - from, kNothing);
    for (Index row = first; row <= last; ++row) {
      const double dy = square(double(row - y) * sy_);
      const K* k = steps_ + row * width_ + from;
      for (Index i = 0; i < end - from; ++i) least_[std::size_t(i)] = (std::min)(least_[std::size_t(i)], z_[k[i]] + dy);
    }
  }
  double along(Index x, Index rx, Index from, Index end) const {
    double best = kNothing;
    for (Index i = (std::max)(x - rx, from); i < (std::min)(x + rx + 1, end); ++i) best = (std::min)(best, least_[std::size_t(i - from)] + x_[std::size_t(i < x ? x - i : i - x)]);
    return best;
  }

  Index height_, width_;
  double sy_, sx_;
  std::vector<double> z_, x_, least_;  // squares by steps along z and along x
  const K* steps_ = nullptr;
  Index operations_ = 0;
};

}  // namespace sampan::inline SAMPAN_ABI::metrics::detail
