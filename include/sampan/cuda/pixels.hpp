// Pixels before the network, on Cuda. Data flow: predict/device_pixels.hpp -> here -> kernels/{image,resample,cubic_lines,byte_range}.cuh.   Shapes: RGB bytes [h, w, 3] without gaps.
// The definitions are those of ops/resize_*.hpp and image/normalize.hpp, with their bits: the host makes the tables of a size once, the device does the sums.
// Deliberately absent: resizes whose sums the host may fuse or that run on floats (torch bilinear, scipy zoom): they stay on the host.
#pragma once
#include <sampan/cuda/elementwise.hpp>
#include <sampan/ops/resize_cv2_area.hpp>
#include <sampan/ops/resize_cv2_nearest.hpp>
#include <sampan/ops/resize_pillow_bilinear.hpp>
#include <sampan/ops/resize_skimage_cubic.hpp>

namespace sampan::inline SAMPAN_ABI::cuda {

/// Places in one block of bytes, each on 16 of them.
struct Places {
  Index bytes = 0;
  template <class T>
  Index take(Index n) {
    const Index at = bytes;
    bytes += (n * Index(sizeof(T)) + 15) / 16 * 16;
    return at;
  }
};
template <class T>
T* at(std::uint8_t* block, Index place) {
  return reinterpret_cast<T*>(block + place);
}
template <class T>
const T* at(const std::uint8_t* block, Index place) {
  return reinterpret_cast<const T*>(block + place);
}

enum class ResizeBytes { pillow_bilinear, cv2_area, cv2_nearest, skimage_cubic_aa };

/// One resize: its sizes, and where its tables lie in a block that has a copy on the device.
struct ResizeTables {
  ResizeBytes kind = ResizeBytes::pillow_bilinear;
  Index h = 0, w = 0, oh = 0, ow = 0;
  detail::AreaWay way = detail::AreaWay::copy;  // of cv2_area
  struct Axis {
    Index a = 0, b = 0, c = 0;  // places; of pillow first, count, weights; of area sums begin, from, weight; of cubic gauss, position, weight
    Index taps = 0;             // of an output; of cubic the Gaussian's radius
  } x, y;

  /// Takes the tables' places.
  static ResizeTables plan(ResizeBytes kind, Index h, Index w, Index oh, Index ow, Places& places);
  /// Writes the tables into the host's copy of the block. Allocates.
  void fill(std::uint8_t* block) const;
};

namespace detail_pixels {

inline ResizeTables::Axis plan_axis(const ResizeTables& r, Index in, Index out, Places& p) {
  ResizeTables::Axis a;
  const auto three = [&](auto t, Index na, Index nb, Index nc) {
    a.a = p.take<std::int32_t>(na), a.b = p.take<std::int32_t>(nb), a.c = p.take<decltype(t)>(nc);
  };
  switch (r.kind) {
    case ResizeBytes::pillow_bilinear:
      a.taps = detail::pillow_taps(in, out);
      if (in != out) three(std::int32_t(), out, out, out * a.taps);
      break;
    case ResizeBytes::cv2_nearest: a.a = p.take<std::int32_t>(out); break;
    case ResizeBytes::cv2_area:
      if (r.way == detail::AreaWay::sums) three(float(), out + 1, out, in + 2 * out);
      if (r.way == detail::AreaWay::linear) a.a = p.take<detail::AreaLinearTap>(out);
      break;
    case ResizeBytes::skimage_cubic_aa:
      a.taps = detail::CubicAxis{in, out, 0, {}, {}, {}}.gauss_radius();
      a.a = p.take<double>(a.taps + 1), a.b = p.take<std::int32_t>(out), a.c = p.take<double>(4 * out);
      break;
  }
  return a;
}

inline void fill_axis(const ResizeTables& r, const ResizeTables::Axis& a, Index in, Index out, std::uint8_t* block) {
  auto *first = at<std::int32_t>(block, a.a), *second = at<std::int32_t>(block, a.b);
  if (r.kind == ResizeBytes::pillow_bilinear && in != out) {
    detail::pillow_weights(in, out, {View<std::int32_t, 1>(first, {out}), View<std::int32_t, 1>(second, {out}), View<std::int32_t, 2>(at<std::int32_t>(block, a.c), {out, a.taps})});
  } else if (r.kind == ResizeBytes::cv2_nearest) {
    for (Index o = 0; o < out; ++o) first[o] = std::int32_t(detail::nearest_source(in, out, o));
  } else if (r.kind == ResizeBytes::cv2_area && r.way == detail::AreaWay::linear) {
    detail::area_linear_taps(in, out, View<detail::AreaLinearTap, 1>(at<detail::AreaLinearTap>(block, a.a), {out}));
  } else if (r.kind == ResizeBytes::cv2_area && r.way == detail::AreaWay::sums) {
    std::vector<AreaTap> taps(std::size_t(in + 2 * out));
    const Index n = detail::area_taps(in, out, detail::area_scale(in, out), View<AreaTap, 1>(taps.data(), {in + 2 * out}));
    for (Index k = 0; k < n; ++k) {
      const AreaTap& t = taps[std::size_t(k)];
      if (k == 0 || t.to != taps[std::size_t(k - 1)].to) first[t.to] = std::int32_t(k), second[t.to] = t.from;  // inputs of an output are neighbours
      at<float>(block, a.c)[k] = t.weight;
    }
    first[out] = std::int32_t(n);
  } else if (r.kind == ResizeBytes::skimage_cubic_aa) {
    detail::CubicAxis axis{in, out, a.taps, View<double, 1>(at<double>(block, a.a), {a.taps + 1}), View<std::int32_t, 1>(second, {out}), View<double, 2>(at<double>(block, a.c), {out, 4})};
    detail::fill_cubic_axis(axis);
  }
}

}  // namespace detail_pixels

inline ResizeTables ResizeTables::plan(ResizeBytes kind, Index h, Index w, Index oh, Index ow, Places& places) {
  static_assert(sizeof(detail::AreaLinearTap) == 4 * sizeof(std::int32_t));  // the kernel reads four numbers
  ResizeTables r;
  r.kind = kind, r.h = h, r.w = w, r.oh = oh, r.ow = ow, r.way = detail::area_way(h, w, oh, ow);
  r.x = detail_pixels::plan_axis(r, w, ow, places);
  r.y = detail_pixels::plan_axis(r, h, oh, places);
  return r;
}
inline void ResizeTables::fill(std::uint8_t* block) const {
  detail_pixels::fill_axis(*this, x, w, ow, block);
  detail_pixels::fill_axis(*this, y, h, oh, block);
}

/// Least and largest of n bytes, and the table that maps them to 0 .. 1.
struct ByteRange {
  const float *range, *table;
};
inline ByteRange byte_range(Context<Cuda>& ctx, Arena::Scope& scope, const std::uint8_t* bytes, Index n) {
  const Index blocks = std::min<Index>(kernels::kRangeBlocks, (n + 4095) / 4096);
  auto partial = scope.make<float>(blocks, 2), range = scope.make<float>(Index(2)).template reshape<2>({1, 2}), table = scope.make<float>(Index(3), Index(256));
  if (!ctx.begin({0, double(n)})) return {range.data(), table.data()};
  ran(ctx, "byte_range", kernels::launch_byte_range({bytes, n, partial.data(), int(blocks)}, stream_of(ctx)));
  ran(ctx, "range_table", kernels::launch_range_table({partial.data(), int(blocks), range.data(), table.data()}, stream_of(ctx)));
  return {range.data(), table.data()};
}

/// The image's lines along one axis through the three steps of the cubic resize; T: what comes in, U: what goes out.
template <class T, class U>
void cubic_axis(Context<Cuda>& ctx, const ResizeTables::Axis& a, const std::uint8_t* tables, const T* in, Index outer, Index n, Index inner, Index size, const float* range, double* line, U* out) {
  const double z = std::sqrt(3.0) - 2.0;
  double zn = 1;
  for (Index i = 1; i < n && std::abs(zn) > 0x1p-200; ++i) zn *= z;
  kernels::CubicParams p{in, line, int(outer), int(n), int(inner), at<double>(tables, a.a), int(a.taps), z, zn, int(size), at<std::int32_t>(tables, a.b), at<double>(tables, a.c), nullptr};
  ran(ctx, "cubic_gauss", kernels::launch_cubic_gauss(p, sizeof(T) == 1, stream_of(ctx)));
  if (n > 1) ran(ctx, "cubic_recursion", kernels::launch_cubic_recursion(p, stream_of(ctx)));
  p.in = line, p.out = out, p.range = range;
  ran(ctx, "cubic_taps", kernels::launch_cubic_taps(p, sizeof(U) == 1, stream_of(ctx)));
}

inline void resize_cubic(Context<Cuda>& ctx, const ResizeTables& r, const std::uint8_t* tables, const std::uint8_t* in, std::uint8_t* out) {
  auto scope = ctx.arena.scope();
  const ByteRange extremes = byte_range(ctx, scope, in, 3 * r.h * r.w);
  const Index band = std::clamp<Index>((Index(1) << 22) / (3 * r.w), 1, r.h);  // rows at once: 32 MiB of doubles
  auto line = scope.make<double>(std::max(band * r.w, r.h * r.ow), 3), mid = scope.make<double>(r.h, 3 * r.ow);
  if (!ctx.begin({3.0 * double(r.h * r.w) * double(3 * r.x.taps + 6) + 3.0 * double(r.h * r.ow) * double(3 * r.y.taps + 14), double(3 * r.h * r.w) * 25 + 64.0 * double(r.h * r.ow)})) return;
  for (Index y = 0; y < r.h; y += band) cubic_axis(ctx, r.x, tables, in + 3 * y * r.w, std::min(band, r.h - y), r.w, 3, r.ow, nullptr, line.data(), mid.data() + 3 * y * r.ow);
  cubic_axis(ctx, r.y, tables, static_cast<const double*>(mid.data()), 1, r.h, 3 * r.ow, r.oh, extremes.range, line.data(), out);
}

/// in [h, w, 3] -> [oh, ow, 3], in `out` or, where nothing changes, in `in`. `tables`: the device's copy of the block.
inline const std::uint8_t* resize_bytes(Context<Cuda>& ctx, const ResizeTables& r, const std::uint8_t* tables, const std::uint8_t* in, std::uint8_t* out) {
  const auto ints = [&](Index place) { return at<std::int32_t>(tables, place); };
  const int w = int(r.w), oh = int(r.oh), ow = int(r.ow);
  if (r.kind == ResizeBytes::skimage_cubic_aa) {
    resize_cubic(ctx, r, tables, in, out);
  } else if (r.kind == ResizeBytes::cv2_nearest) {
    if (ctx.begin({0, 6.0 * double(r.oh * r.ow)})) ran(ctx, "gather_pixels", kernels::launch_gather_pixels({in, out, w, oh, ow, ints(r.y.a), ints(r.x.a)}, stream_of(ctx)));
  } else if (r.kind == ResizeBytes::cv2_area) {
    if (r.way == detail::AreaWay::copy) return in;
    if (!ctx.begin({r.way == detail::AreaWay::linear ? 24.0 * double(r.oh * r.ow) : 6.0 * double(r.h * r.w), 3.0 * double(r.h * r.w + r.oh * r.ow)})) return out;
    const auto axis = [&](const ResizeTables::Axis& a) { return kernels::AreaAxis{ints(a.a), ints(a.b), at<float>(tables, a.c)}; };
    const int fy = int(r.h / r.oh), fx = int(r.w / r.ow);
    if (r.way == detail::AreaWay::blocks) ran(ctx, "area_block", kernels::launch_area_block({in, out, w, oh, ow, fy, fx, fy == 2 && fx == 2}, stream_of(ctx)));
    if (r.way == detail::AreaWay::sums) ran(ctx, "area_sum", kernels::launch_area_sum({in, out, w, oh, ow, axis(r.y), axis(r.x)}, stream_of(ctx)));
    if (r.way == detail::AreaWay::linear) ran(ctx, "area_linear", kernels::launch_area_linear({in, out, w, oh, ow, ints(r.y.a), ints(r.x.a)}, stream_of(ctx)));
  } else {
    const bool across = r.w != r.ow, down = r.h != r.oh, both = across && down, down_first = both && pillow_down_first(r.h, r.w, r.oh, r.ow, PillowOrder::pillow_13);
    if (!across && !down) return in;
    auto scope = ctx.arena.scope();
    std::uint8_t* mid = scope.make<std::uint8_t>(both ? 3 * (down_first ? r.oh * r.w : r.h * r.ow) : Index(0)).data();
    const double rows = double(down_first ? r.oh : r.h), columns = double(down_first ? r.w : r.ow);
    if (!ctx.begin({6.0 * (across ? rows * double(r.ow * r.x.taps) : 0) + 6.0 * (down ? columns * double(r.oh * r.y.taps) : 0), 3.0 * double(r.h * r.w + r.oh * r.ow)})) return out;
    const auto pass = [&](const std::uint8_t* from, std::uint8_t* to, Index height, Index width, bool x) {
      const auto& a = x ? r.x : r.y;
      ran(ctx, "pillow_pass", kernels::launch_pillow_pass({from, to, int(height), int(width), x ? ow : oh, x, ints(a.a), ints(a.b), ints(a.c), int(a.taps)}, stream_of(ctx)));
    };
    if (!both) {
      pass(in, out, r.h, r.w, across);
    } else {
      pass(in, mid, r.h, r.w, !down_first);
      pass(mid, out, down_first ? r.oh : r.h, down_first ? r.w : r.ow, down_first);
    }
  }
  return out;
}

/// bytes [h, w, 3] -> table [3, 256] of the device, at (top, left) of input [s, s, 3], zeros around.
inline void map_bytes(Context<Cuda>& ctx, const std::uint8_t* bytes, Index h, Index w, Index top, Index left, const float* table, const View<float, 3>& input) {
  if (!ctx.begin({0, 3.0 * double(h * w) + 4.0 * double(input.size())})) return;
  ran(ctx, "map_bytes", kernels::launch_map_bytes({bytes, input.data(), int(h), int(w), int(input.extent(0)), int(top), int(left), table}, stream_of(ctx)));
}

}  // namespace sampan::inline SAMPAN_ABI::cuda
