// depthwise_conv on Cpu: direct loops over channels-last rows, BatchNorm folded at pack. Data flow: ops/depthwise_conv.hpp declares -> here -> micro/depthwise.inl.
// Bound by bandwidth (9 FMA per output, 8 bytes): while a row is computed, the next one is fetched. Three input rows of the networks (64 KiB each) stay in L2.
#pragma once
#include <sampan/cpu/conv.hpp>
#include <sampan/ops/depthwise_conv.hpp>

namespace sampan::inline SAMPAN_ABI {

template <>
struct PackedDepthwise<Cpu> {
  Tensor<float, 2, Cpu> weight;  // [kh * kw, c]
  Tensor<float, 1, Cpu> bias;
  Index c = 0, kh = 0, kw = 0;
  int stride = 1, pad = 0;
  std::string name, bn_name;
  bool valid() const { return weight.valid() && bias.valid(); }
  Index in_channels() const { return c; }
  Index out_channels() const { return c; }
  Index kernel_h() const { return kh; }
  Index kernel_w() const { return kw; }
};

/// A kernel higher than cpu::kMostTaps gives an invalid result.
inline PackedDepthwise<Cpu> pack_depthwise(const Cpu&, const ConvParams& p);

namespace cpu {

inline constexpr Index kDepthwiseRows = 8;  ///< rows of a work item: a thread reads (8 + 2) / 8 of the input, and finds prefetched what it read ahead

/// What of the row does not change along the map.
inline DepthwiseRow depthwise_row(const PackedDepthwise<Cpu>& w, Index x_stride, Index x_begin, Index x_end, Activation a) {
  DepthwiseRow r{};
  r.x_stride = x_stride, r.x_begin = x_begin, r.x_end = x_end;
  r.kh = w.kh, r.kw = w.kw, r.stride = w.stride, r.c = w.c;
  r.w = w.weight.view().data(), r.bias = w.bias.view().data();
  r.activation = kernel_activation(a);
  return r;
}

}  // namespace cpu

inline PackedDepthwise<Cpu> pack_depthwise(const Cpu&, const ConvParams& p) {
  const auto& k = p.weight;
  PackedDepthwise<Cpu> w;
  w.c = k.extent(0), w.kh = k.extent(2), w.kw = k.extent(3);
  w.stride = p.stride, w.pad = p.pad, w.name = p.name, w.bn_name = p.bn.name;
  if (w.kh > cpu::kMostTaps) return w;
  w.weight = Tensor<float, 2, Cpu>({w.kh * w.kw, w.c});
  w.bias = Tensor<float, 1, Cpu>({w.c});
  if (!w.valid()) return w;
  for (Index c = 0; c < w.c; ++c) {
    const detail::BatchNormFold fold = detail::fold_batch_norm(p, c);
    w.bias.view()(c) = float(fold.bias);
    for (Index t = 0; t < w.kh * w.kw; ++t) w.weight.view()(t, c) = float(double(k(c, 0, t / w.kw, t % w.kw)) * fold.factor);
  }
  return w;
}

/// As ops/depthwise_conv.hpp says; channels must lie side by side.
inline void depthwise_conv(Context<Cpu>& ctx, const PackedDepthwise<Cpu>& w, const View<const float, 3>& x, const View<float, 3>& y, Activation a = Activation::none) {
  if (!detail::check_conv(ctx, w, x, y)) return;
  if (!ctx.require(cpu::packed_channels(x) && cpu::packed_channels(y), "depthwise_conv: channels must lie side by side")) return;
  if (detail::conv_unfused(ctx, w, y, a, [&](Activation n) { depthwise_conv(ctx, w, x, y, n); })) return;
  if (!ctx.begin(detail::conv_cost(w, x, y, 1))) return;
  const cpu::Kernels& level = ctx.backend.kernels();
  ctx.pool.parallel_for(cpu::blocks_of(y.extent(0), cpu::kDepthwiseRows), [&](Index band, int) {
    const Index first = band * cpu::kDepthwiseRows, end = cpu::smaller(first + cpu::kDepthwiseRows, y.extent(0));
    for (Index oy = first; oy < end; ++oy) {
      const Index top = oy * w.stride - w.pad, next = top + w.stride + w.kh - 1;
      const float* rows[cpu::kMostTaps];
      for (Index ky = 0; ky < w.kh; ++ky) rows[ky] = top + ky >= 0 && top + ky < x.extent(0) ? x.data() + (top + ky) * x.stride(0) : nullptr;
      cpu::DepthwiseRow r = cpu::depthwise_row(w, x.stride(1), 0, x.extent(1), a);
      r.rows = rows, r.x0 = -w.pad, r.count = y.extent(1);
      r.y = y.data() + oy * y.stride(0), r.y_stride = y.stride(1);
      if (oy + 1 < end && next >= 0 && next < x.extent(0)) r.next_x = x.data() + next * x.stride(0), r.next_y = r.y + y.stride(0);
      level.depthwise(r);
    }
  });
}

}  // namespace sampan::inline SAMPAN_ABI
