// Recorder: a backend that computes nothing and writes down which ops a network calls with which shapes. Data flow: models/*.hpp -> here -> shapes.cpp.
// It is the planning pass with a log: the network's own forward runs on a planning arena, so the lists in bench/shapes cannot differ from what is executed.
// Composite ops (mlp, mbconv, attention, cross_attention) run as their literal parts; mlp and mbconv are logged as a whole too, their parts with part=1.
// It stands in the library's namespace, as every backend must (qualified calls in nn/ and weights/ find overloads there), and must be included before models/.
// Deliberately absent: arithmetic, elementwise ops in the log (add, copy, activate: bandwidth only, and fused in the long run).
#pragma once
#include <sampan/ops/volume_backend.hpp>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace sampan::inline SAMPAN_ABI {

/// What was called, in the order of the first call; equal shapes are counted.
struct ShapeLog {
  struct Line {
    std::string op, sizes, name;
    int times = 0;
  };
  std::vector<Line> lines;
  int inside = 0;  ///< of a composite that is logged as a whole

  using Sizes = std::initializer_list<std::pair<const char*, Index>>;
  void add(const char* op, const std::string& name, Sizes sizes) {
    std::string text;
    for (const auto& [key, value] : sizes) text += cat(text.empty() ? "" : " ", key, "=", value);
    if (inside > 0) text += " part=1";
    const auto same = std::find_if(lines.begin(), lines.end(), [&](const Line& l) { return l.op == op && l.sizes == text; });
    if (same == lines.end()) {
      lines.push_back({op, text, name, 1});
    } else {
      ++same->times;
    }
  }
};

struct Recorder {
  using Memory = HostMemory;
  static constexpr const char* kName = "recorder";
  ShapeLog* log;
};

template <>
struct PackedLinear<Recorder> {
  Index in = 0, out = 0;
  bool bias = false, norm = false;
  std::string name;
  Index in_features() const { return in; }
  Index out_features() const { return out; }
  bool valid() const { return true; }
};
inline PackedLinear<Recorder> pack(const Recorder&, const LinearParams& p, const NormParams& norm = {}) { return {p.weight.extent(1), p.weight.extent(0), !p.bias.empty(), norm.present(), p.name}; }

/// Extents of a convolution; the three kinds differ in the order of their weights.
struct RecordedConv {
  Index in = 0, out = 0, kh = 0, kw = 0;
  int stride = 1, pad = 0;
  std::string name, bn_name;
  Index in_channels() const { return in; }
  Index out_channels() const { return out; }
  Index kernel_h() const { return kh; }
  Index kernel_w() const { return kw; }
  bool valid() const { return true; }
  static RecordedConv from(const ConvParams& p, Index in, Index out) { return {in, out, p.weight.extent(2), p.weight.extent(3), p.stride, p.pad, p.name, p.bn.name}; }
  /// PyTorch's module name: Conv2d_BN is traced under the name of the whole.
  const std::string& module() const { return bn_name.empty() ? name : bn_name; }
  bool bn() const { return !bn_name.empty(); }
};
template <>
struct PackedConv<Recorder> : RecordedConv {};
template <>
struct PackedDepthwise<Recorder> : RecordedConv {};
template <>
struct PackedConvTranspose<Recorder> : RecordedConv {};
inline PackedConv<Recorder> pack_conv(const Recorder&, const ConvParams& p) { return {RecordedConv::from(p, p.weight.extent(1), p.weight.extent(0))}; }
inline PackedDepthwise<Recorder> pack_depthwise(const Recorder&, const ConvParams& p) { return {RecordedConv::from(p, p.weight.extent(0), p.weight.extent(0))}; }
inline PackedConvTranspose<Recorder> pack_conv_transpose(const Recorder&, const ConvParams& p) { return {RecordedConv::from(p, p.weight.extent(0), p.weight.extent(1))}; }

/// Of volumes; kernels are cubes.
struct RecordedConv3d : RecordedConv {
  Index kd = 0;
  Index kernel_d() const { return kd; }
  static RecordedConv3d from(const Conv3dParams& p, Index in, Index out) { return {{in, out, p.weight.extent(3), p.weight.extent(4), p.stride, p.pad, p.name, {}}, p.weight.extent(2)}; }
};
template <>
struct PackedConv3d<Recorder> : RecordedConv3d {};
template <>
struct PackedConvTranspose3d<Recorder> : RecordedConv3d {};
inline PackedConv3d<Recorder> pack_conv3d(const Recorder&, const Conv3dParams& p) { return {RecordedConv3d::from(p, p.weight.extent(1), p.weight.extent(0))}; }
inline PackedConvTranspose3d<Recorder> pack_conv_transpose3d(const Recorder&, const Conv3dParams& p) { return {RecordedConv3d::from(p, p.weight.extent(0), p.weight.extent(1))}; }

inline PackedMbConv<Recorder> pack(const Recorder& b, const MbConvParams& p) { return {pack_conv(b, p.conv1), pack_conv(b, p.conv3), pack_depthwise(b, p.conv2), p.residual, p.last, p.name}; }

inline PackedMlp<Recorder> pack(const Recorder& b, const MlpParams& p) { return {pack(b, p.lin1, p.norm), pack(b, p.lin2), p.activation, p.name, p.name + ".act"}; }

template <>
struct PackedAttention<Recorder> {
  PackedLinear<Recorder> qkv, proj;
  View<const float, 2>::Extents rel_h{}, table{};
  Index heads = 0, window = 0, planes = 0;
  QkvLayout layout = QkvLayout::split;
  std::string name;
  bool valid() const { return true; }
};
inline PackedAttention<Recorder> pack(const Recorder& b, const AttentionParams& p) {
  return {pack(b, p.qkv, p.norm), pack(b, p.proj), p.rel_pos_h.extents(), p.bias_table.extents(), p.heads, p.window, p.planes, p.layout, p.name};
}

inline PackedCrossAttention<Recorder> pack(const Recorder& b, const CrossAttentionParams& p) { return {pack(b, p.q_proj), pack(b, p.k_proj), pack(b, p.v_proj), pack(b, p.out_proj), p.heads, p.name}; }

using RecorderContext = Context<Recorder>;

inline void activate(RecorderContext& ctx, Activation, const View<const float, 2>& x, const View<float, 2>&) { ctx.begin({double(x.size()), 8.0 * double(x.size())}); }
inline void add(RecorderContext& ctx, const View<const float, 2>& x, const View<const float, 2>&, const View<float, 2>&) { ctx.begin({double(x.size()), 12.0 * double(x.size())}); }
inline void copy(RecorderContext& ctx, const View<const float, 2>&, const View<float, 2>& y) { ctx.begin({0, 8.0 * double(y.size())}); }

inline void layer_norm(RecorderContext& ctx, const PackedNorm<Recorder>& w, const View<const float, 2>& x, const View<float, 2>&, Activation a = Activation::none) {
  ctx.backend.log->add("layer_norm", w.name, {{"n", x.extent(0)}, {"c", x.extent(1)}, {"act", Index(a)}});
  ctx.begin(detail::layer_norm_cost(x));
}

inline void linear(RecorderContext& ctx, const PackedLinear<Recorder>& w, const View<const float, 2>& x, const View<float, 2>& y, const Epilogue& e = {}) {
  if (!detail::check_linear(ctx, w, x, y, e)) return;
  ctx.backend.log->add("linear", w.name, {{"m", x.extent(0)}, {"n", w.out}, {"k", w.in}, {"norm", w.norm}, {"bias", w.bias}, {"act", Index(e.activation)}, {"residual", !e.residual.empty()}});
  Cost cost = detail::gemm_cost(x.extent(0), w.out, w.in);
  if (w.norm) cost.flop += 8.0 * double(x.size());
  ctx.begin(cost);
}

inline void mlp(RecorderContext& ctx, const PackedMlp<Recorder>& w, const View<const float, 2>& x, const View<float, 2>& y, const View<const float, 2>& residual = {}) {
  ctx.backend.log->add("mlp", w.name, {{"m", x.extent(0)}, {"c", w.lin1.in}, {"hidden", w.lin1.out}, {"norm", w.lin1.norm}, {"act", Index(w.activation)}, {"residual", !residual.empty()}});
  ++ctx.backend.log->inside;
  detail::mlp_composed(ctx, w, x, y, residual);
  --ctx.backend.log->inside;
}

namespace detail {
inline void record_conv(RecorderContext& ctx, const char* op, const RecordedConv& w, const View<const float, 3>& x, Activation a) {
  ctx.backend.log->add(op, w.module(), {{"h", x.extent(0)}, {"w", x.extent(1)}, {"in", w.in}, {"out", w.out}, {"k", w.kh}, {"stride", w.stride}, {"pad", w.pad}, {"bn", w.bn()}, {"act", Index(a)}});
}
}  // namespace detail

inline void conv2d(RecorderContext& ctx, const PackedConv<Recorder>& w, const View<const float, 3>& x, const View<float, 3>& y, Activation a = Activation::none) {
  if (!detail::check_conv(ctx, w, x, y)) return;
  detail::record_conv(ctx, "conv2d", w, x, a);
  ctx.begin(detail::conv_cost(w, x, y, w.in));
}
inline void depthwise_conv(RecorderContext& ctx, const PackedDepthwise<Recorder>& w, const View<const float, 3>& x, const View<float, 3>& y, Activation a = Activation::none) {
  if (!detail::check_conv(ctx, w, x, y)) return;
  detail::record_conv(ctx, "depthwise", w, x, a);
  ctx.begin(detail::conv_cost(w, x, y, 1));
}
inline void conv_transpose2d(RecorderContext& ctx, const PackedConvTranspose<Recorder>& w, const View<const float, 3>& x, const View<float, 3>& y, Activation a = Activation::none) {
  if (!detail::check_conv_transpose(ctx, w, x, y)) return;
  detail::record_conv(ctx, "conv_transpose", w, x, a);
  ctx.begin(detail::conv_transpose_cost(w, x, y));
}
namespace detail {
inline void record_conv3d(RecorderContext& ctx, const char* op, const RecordedConv3d& w, const View<const float, 4>& x, Activation a) {
  ctx.backend.log->add(op, w.name, {{"d", x.extent(0)}, {"h", x.extent(1)}, {"w", x.extent(2)}, {"in", w.in}, {"out", w.out}, {"k", w.kd}, {"stride", w.stride}, {"pad", w.pad}, {"act", Index(a)}});
}
}  // namespace detail

inline void conv3d(RecorderContext& ctx, const PackedConv3d<Recorder>& w, const View<const float, 4>& x, const View<float, 4>& y, Activation a = Activation::none) {
  if (!detail::check_conv3d(ctx, w, x, y)) return;
  detail::record_conv3d(ctx, "conv3d", w, x, a);
  ctx.begin(detail::conv3d_cost(w, x, y));
}
inline void conv_transpose3d(RecorderContext& ctx, const PackedConvTranspose3d<Recorder>& w, const View<const float, 4>& x, const View<float, 4>& y, Activation a = Activation::none) {
  if (!detail::check_conv_transpose3d(ctx, w, x, y)) return;
  detail::record_conv3d(ctx, "conv_transpose3d", w, x, a);
  ctx.begin(detail::conv_transpose3d_cost(w, x, y));
}

inline void mbconv(RecorderContext& ctx, const PackedMbConv<Recorder>& w, const View<const float, 3>& x, const View<float, 3>& y) {
  ctx.backend.log->add("mbconv", w.name, {{"h", x.extent(0)}, {"w", x.extent(1)}, {"in", w.conv1.in}, {"hidden", w.conv1.out}, {"out", w.conv3.out}, {"stride", w.stride()}, {"residual", w.residual}, {"act", Index(w.last)}});
  ++ctx.backend.log->inside;
  detail::mbconv_composed(ctx, w, x, y);
  --ctx.backend.log->inside;
}

inline void window_partition(RecorderContext& ctx, const View<const float, 3>&, Index, const View<const float, 1>&, const View<float, 3>& windows) { ctx.begin({0, 8.0 * double(windows.size())}); }
inline void window_unpartition(RecorderContext& ctx, const View<const float, 3>&, Index, const View<float, 3>& map) { ctx.begin({0, 8.0 * double(map.size())}); }

namespace detail {
inline void record_attend(RecorderContext& ctx, const AttendShape& s, bool rel, bool table, QkvLayout layout, const std::string& name) {
  const bool per_head = layout == QkvLayout::per_head;
  if (s.planes) ctx.backend.log->add("attend", name, {{"d", s.d}, {"planes", s.planes}, {"h", s.h}, {"w", s.w}, {"heads", s.heads}, {"window", s.window}, {"rel", rel}, {"table", table}, {"per_head", per_head}});
  else ctx.backend.log->add("attend", name, {{"h", s.h}, {"w", s.w}, {"heads", s.heads}, {"d", s.d}, {"window", s.window}, {"rel", rel}, {"table", table}, {"per_head", per_head}});
  ctx.begin(attend_cost(s));
}
}  // namespace detail

inline void attend(RecorderContext& ctx, const AttendShape& s, const QkvView&, const AttendBias& bias, const PadToken&, const View<float, 3>&) {
  detail::record_attend(ctx, s, !bias.rel_h.empty(), !bias.table.empty(), QkvLayout::split, "attend");
}
inline void attention(RecorderContext& ctx, const PackedAttention<Recorder>& w, const View<const float, 3>& x, const View<float, 3>& y, const View<const float, 3>& residual = {}) {
  if (!detail::check_attention(ctx, w, x, y, residual)) return;
  const Index n = x.extent(0) * x.extent(1), c = w.qkv.out / 3, d = c / w.heads;
  auto scope = ctx.arena.scope();
  const auto qkv = scope.make<float>(n, 3 * c), mixed = scope.make<float>(n, c);
  linear(ctx, w.qkv, tokens(x), qkv);
  detail::record_attend(ctx, {w.planes ? x.extent(0) / w.planes : x.extent(0), x.extent(1), w.heads, d, w.window, 1, w.planes}, w.rel_h[0] > 0, w.table[0] > 0, w.layout, w.name);
  linear(ctx, w.proj, mixed, tokens(y), {.residual = residual.empty() ? View<const float, 2>() : tokens(residual)});
}

inline void mix(RecorderContext& ctx, Index heads, const View<const float, 3>& q, const View<const float, 3>& k, const View<const float, 3>&, const View<float, 3>&) {
  ctx.backend.log->add("mix", "cross_attention", {{"b", q.extent(0)}, {"nq", q.extent(1)}, {"nk", k.extent(1)}, {"heads", heads}, {"c", q.extent(2)}});
  ctx.begin(detail::mix_cost(q.extent(0), q.extent(1), k.extent(1), q.extent(2)));
}
inline void cross_attention(RecorderContext& ctx, const PackedCrossAttention<Recorder>& w, const CrossAttentionInput& in, const View<float, 3>& y, const View<const float, 3>& residual = {}) {
  detail::cross_attention_composed(ctx, w, in, y, residual);
}

inline void mask_head(RecorderContext& ctx, const View<const float, 2>& hyper, const View<const float, 2>& map, const View<float, 2>& masks) {
  if (!detail::check_mask_head(ctx, hyper, map, masks)) return;
  ctx.backend.log->add("mask_head", "mask_decoder", {{"m", hyper.extent(0)}, {"n", map.extent(0)}, {"c", map.extent(1)}});
  ctx.begin(detail::mask_head_cost(hyper, map));
}

static_assert(VolumeBackend<Recorder>);

}  // namespace sampan::inline SAMPAN_ABI
