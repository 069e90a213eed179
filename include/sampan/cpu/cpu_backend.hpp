// The Cpu backend, complete: every op of ops/backend.hpp and ops/volume_backend.hpp for Context<Cpu>. Data flow: models/any_model.hpp and tests include this one header.
// Reading order: cpu.hpp (the type), kernels.hpp (what a level offers), gemm.hpp, attention.hpp, conv.hpp, mbconv.hpp; then scalar.hpp and micro/ (the arithmetic).
#pragma once
#include <sampan/cpu/conv.hpp>
#include <sampan/cpu/conv3d.hpp>
#include <sampan/cpu/cross_attention.hpp>
#include <sampan/cpu/depthwise.hpp>
#include <sampan/cpu/elementwise.hpp>
#include <sampan/cpu/gemm.hpp>
#include <sampan/cpu/local_mlp.hpp>
#include <sampan/cpu/mask_upscale.hpp>
#include <sampan/cpu/mbconv.hpp>
#include <sampan/cpu/norm.hpp>
#include <sampan/cpu/self_attention.hpp>
#include <sampan/ops/volume_backend.hpp>

namespace sampan::inline SAMPAN_ABI {
static_assert(VolumeBackend<Cpu>);
}  // namespace sampan::inline SAMPAN_ABI
