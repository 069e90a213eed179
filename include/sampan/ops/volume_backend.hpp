// The VolumeBackend concept: a backend that also has the ops of volumetric networks. Data flow: models/sam_vit_3d.hpp and what stands behind it are templates on it.
// Beside these ops, attention must take volumes (AttentionParams::planes); a backend without them (Cuda) refuses such a layer and is no VolumeBackend.
#pragma once
#include <sampan/ops/backend.hpp>
#include <sampan/ops/conv3d.hpp>
#include <sampan/ops/conv_transpose3d.hpp>

namespace sampan::inline SAMPAN_ABI {

// clang-format off
template <class B>
concept VolumeBackend = Backend<B> && requires(Context<B>& ctx, const B& b, View<const float, 4> x4, View<float, 4> y4) {
  conv3d(ctx, pack_conv3d(b, Conv3dParams{}), x4, y4, Activation::none);
  conv_transpose3d(ctx, pack_conv_transpose3d(b, Conv3dParams{}), x4, y4, Activation::none);
};
// clang-format on

static_assert(VolumeBackend<Reference>);

}  // namespace sampan::inline SAMPAN_ABI
