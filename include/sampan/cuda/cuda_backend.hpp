// The Cuda backend, complete: every op of ops/backend.hpp for Context<Cuda>. Data flow: models/any_model.hpp (with SAMPAN_CUDA) and tests include this one header.
// Reading order: runtime.hpp (the seam to the libraries), device.hpp (the type), linear.hpp, attention.hpp, conv.hpp, decoder.hpp, pixels.hpp, masks.hpp; then kernels/.
// No traces: a name asks for tensors that fused kernels never have. Session refuses them on this device; take them on cpu or reference.
#pragma once
#include <sampan/cuda/attention.hpp>
#include <sampan/cuda/conv.hpp>
#include <sampan/cuda/decoder.hpp>
#include <sampan/cuda/masks.hpp>
#include <sampan/cuda/pixels.hpp>
#include <sampan/ops/backend.hpp>

namespace sampan::inline SAMPAN_ABI {
static_assert(Backend<Cuda>);
}  // namespace sampan::inline SAMPAN_ABI
