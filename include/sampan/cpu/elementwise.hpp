// activate, add, copy, mask_head and the window copies on Cpu: blocks of rows over the threads; bandwidth decides.
// Data flow: ops/activation.hpp, elementwise.hpp, mask_head.hpp, window_partition.hpp declare -> here -> micro/rows.inl.
// Any strides are right: rows whose channels do not lie side by side take a plain loop.
#pragma once
#include <sampan/cpu/pack.hpp>
#include <sampan/ops/mask_head.hpp>
#include <sampan/ops/window_partition.hpp>

namespace sampan::inline SAMPAN_ABI {
namespace cpu {

/// f(first row, rows) over blocks of about 16k elements (64 KiB); borders depend on the shape only.
template <class F>
void for_row_blocks(ThreadPool& pool, Index m, Index c, F&& f) {
  const Index rows = c >= 16384 ? 1 : c > 0 ? 16384 / c : 1;
  pool.parallel_for(blocks_of(m, rows), [&](Index item, int) { f(item * rows, smaller(rows, m - item * rows)); });
}

}  // namespace cpu

inline void activate(Context<Cpu>& ctx, Activation a, const View<const float, 2>& x, const View<float, 2>& y) {
  if (!ctx.require(same_extents(x, y), "activate: x and y differ in shape")) return;
  if (!ctx.begin({double(x.size()), 8.0 * double(x.size())})) return;
  const cpu::Kernels& level = ctx.backend.kernels();
  const bool side_by_side = cpu::packed_channels(x) && cpu::packed_channels(y);
  const Index c = x.extent(1);
  cpu::for_row_blocks(ctx.pool, x.extent(0), c, [&](Index first, Index rows) {
    for (Index i = first; i < first + rows; ++i) {
      if (side_by_side) {
        level.activate(cpu::kernel_activation(a), x.data() + i * x.stride(0), y.data() + i * y.stride(0), c);
      } else {
        for (Index j = 0; j < c; ++j) level.activate(cpu::kernel_activation(a), &x(i, j), &y(i, j), 1);
      }
    }
  });
}

inline void add(Context<Cpu>& ctx, const View<const float, 2>& x, const View<const float, 2>& b, const View<float, 2>& y) {
  if (!detail::check_add(ctx, x, b, y) || !ctx.begin({double(x.size()), 12.0 * double(x.size())})) return;
  const cpu::Kernels& level = ctx.backend.kernels();
  const bool side_by_side = cpu::packed_channels(x) && cpu::packed_channels(b) && cpu::packed_channels(y);
  const Index c = x.extent(1);
  cpu::for_row_blocks(ctx.pool, x.extent(0), c, [&](Index first, Index rows) {
    for (Index i = first; i < first + rows; ++i) {
      const Index r = i % b.extent(0);
      if (side_by_side) {
        level.add(x.data() + i * x.stride(0), b.data() + r * b.stride(0), y.data() + i * y.stride(0), c);
      } else {
        for (Index j = 0; j < c; ++j) y(i, j) = x(i, j) + b(r, j);
      }
    }
  });
}

inline void copy(Context<Cpu>& ctx, const View<const float, 2>& x, const View<float, 2>& y) {
  if (!ctx.require(x.extent(1) == y.extent(1) && x.extent(0) > 0 && y.extent(0) % x.extent(0) == 0, "copy: the rows of x must divide those of y")) return;
  if (!ctx.begin({0, 8.0 * double(y.size())})) return;
  const bool side_by_side = cpu::packed_channels(x) && cpu::packed_channels(y);
  const Index c = y.extent(1);
  cpu::for_row_blocks(ctx.pool, y.extent(0), c, [&](Index first, Index rows) {
    for (Index i = first; i < first + rows; ++i) {
      const Index r = i % x.extent(0);
      if (side_by_side) {
        std::memcpy(y.data() + i * y.stride(0), x.data() + r * x.stride(0), std::size_t(c) * sizeof(float));
      } else {
        for (Index j = 0; j < c; ++j) y(i, j) = x(r, j);
      }
    }
  });
}

/// masks = hyper map^T: each block of pixels is packed as the right-hand side of a product with the few rows of `hyper`.
inline void mask_head(Context<Cpu>& ctx, const View<const float, 2>& hyper, const View<const float, 2>& map, const View<float, 2>& masks) {
  if (!detail::check_mask_head(ctx, hyper, map, masks)) return;
  if (!ctx.require(cpu::packed_channels(hyper) && cpu::packed_channels(map) && cpu::packed_channels(masks), "mask_head: channels must lie side by side")) return;
  const cpu::Kernels& level = ctx.backend.kernels();
  const Index m = hyper.extent(0), c = hyper.extent(1), n = map.extent(0), block = 4 * cpu::kColumnBlock;
  auto scope = ctx.arena.scope();
  const Index weights = level.weights_size(block, c), rows_size = level.rows_size(cpu::kRowBlock, c);
  const cpu::Slots slots(scope, ctx.pool, weights + 16 + rows_size + level.gemm_scratch(cpu::kRowBlock));
  if (!ctx.begin(detail::mask_head_cost(hyper, map))) return;
  ctx.pool.parallel_for(cpu::blocks_of(n, block), [&](Index item, int slot) {
    cpu::Carver carve(slots[slot]);
    float* w = carve.take(weights);
    float* rows = carve.take(rows_size);
    const Index j = item * block, count = cpu::smaller(block, n - j);
    level.pack_weights(map.data() + j * map.stride(0), map.stride(0), false, count, c, w);
    for (Index i = 0; i < m; i += cpu::kRowBlock) {
      const Index some = cpu::smaller(cpu::kRowBlock, m - i);
      level.pack_rows({hyper.data() + i * hyper.stride(0), hyper.stride(0), some, c, rows});
      level.gemm({rows, w, some, count, c, 0, count, masks.data() + i * masks.stride(0) + j, masks.stride(0), carve.take(0)});
    }
  });
}

inline void window_partition(Context<Cpu>& ctx, const View<const float, 3>& map, Index win, const View<const float, 1>& pad, const View<float, 3>& windows) {
  if (!detail::check_windows(ctx, map, windows, win)) return;
  if (!ctx.require(pad.empty() || pad.extent(0) == map.extent(2), "window_partition: the pad row has another number of channels than the map")) return;
  if (!ctx.begin({0, 8.0 * double(windows.size())})) return;
  const Index nw = windows_along(map.extent(1), win);
  ctx.pool.parallel_for(windows.extent(0), [&](Index b, int) {
    for (Index t = 0; t < win * win; ++t) {
      const Index y = b / nw * win + t / win, x = b % nw * win + t % win;
      const bool real = y < map.extent(0) && x < map.extent(1);
      for (Index c = 0; c < map.extent(2); ++c) windows(b, t, c) = real ? map(y, x, c) : pad.empty() ? 0.0f : pad(c);
    }
  });
}

inline void window_unpartition(Context<Cpu>& ctx, const View<const float, 3>& windows, Index win, const View<float, 3>& map) {
  if (!detail::check_windows(ctx, View<const float, 3>(map), windows, win)) return;
  if (!ctx.begin({0, 8.0 * double(map.size())})) return;
  const Index nw = windows_along(map.extent(1), win);
  ctx.pool.parallel_for(map.extent(0), [&](Index y, int) {
    for (Index x = 0; x < map.extent(1); ++x)
      for (Index c = 0; c < map.extent(2); ++c) map(y, x, c) = windows(y / win * nw + x / win, y % win * win + x % win, c);
  });
}

}  // namespace sampan::inline SAMPAN_ABI
