// The Backend concept: a type is a backend if every op has an overload for it. A missing one is a compile error that names the op.
// Data flow: layers and models are templates on a Backend (one parameter); Context<B>& as first argument chooses the overloads.
// Includes every op, so including this header declares all of Reference. How to add an op or a backend: ops/README.md.
#pragma once
#include <sampan/ops/activation.hpp>
#include <sampan/ops/attention.hpp>
#include <sampan/ops/conv2d.hpp>
#include <sampan/ops/conv_transpose2d.hpp>
#include <sampan/ops/cross_attention.hpp>
#include <sampan/ops/depthwise_conv.hpp>
#include <sampan/ops/elementwise.hpp>
#include <sampan/ops/layer_norm.hpp>
#include <sampan/ops/linear.hpp>
#include <sampan/ops/local_mlp.hpp>
#include <sampan/ops/mask_head.hpp>
#include <sampan/ops/mbconv.hpp>
#include <sampan/ops/mlp.hpp>
#include <sampan/ops/positional.hpp>
#include <sampan/ops/reference_backend.hpp>
#include <sampan/ops/window_partition.hpp>

namespace sampan::inline SAMPAN_ABI {

// clang-format off
/// Everything a model asks of a backend. The expression that fails is the op that is missing.
template <class B>
concept Backend = requires(Context<B>& ctx, const B& b, View<const float, 1> x1, View<const float, 2> x2, View<float, 2> y2, View<const float, 3> x3, View<float, 3> y3) {
  typename B::Memory;
  activate(ctx, Activation::relu, x2, y2);
  add(ctx, x2, x2, y2);
  copy(ctx, x2, y2);
  layer_norm(ctx, pack(b, NormParams{}), x2, y2, Activation::none);
  linear(ctx, pack(b, LinearParams{}, NormParams{}), x2, y2, Epilogue{});
  mlp(ctx, pack(b, MlpParams{}), x2, y2, x2);
  conv2d(ctx, pack_conv(b, ConvParams{}), x3, y3, Activation::none);
  depthwise_conv(ctx, pack_depthwise(b, ConvParams{}), x3, y3, Activation::none);
  conv_transpose2d(ctx, pack_conv_transpose(b, ConvParams{}), x3, y3, Activation::none);
  mbconv(ctx, pack(b, MbConvParams{}), x3, y3);
  window_partition(ctx, x3, Index(1), x1, y3);
  window_unpartition(ctx, x3, Index(1), y3);
  attend(ctx, AttendShape{}, QkvView{}, AttendBias{}, PadToken{}, y3);
  attention(ctx, pack(b, AttentionParams{}), x3, y3, x3);
  cross_attention(ctx, pack(b, CrossAttentionParams{}), CrossAttentionInput{}, y3, x3);
  mask_head(ctx, x2, x2, y2);
};
// clang-format on

static_assert(Backend<Reference>);

}  // namespace sampan::inline SAMPAN_ABI
