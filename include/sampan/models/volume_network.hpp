// VolumeNetwork<B>: encoder, prompt encoder and mask decoder of a volumetric checkpoint on backend B; the sibling of Network<B> (models/any_model.hpp) for volumes.
// Data flow: predict/ loads it and runs it. AnyVolumeNetwork: the one variant over backends; Cuda is not among them.
// Sizes come from the contract record (weights/contract.hpp) and from nothing else.
#pragma once
#include <sampan/models/any_model.hpp>
#include <sampan/models/mask_decoder_3d.hpp>
#include <sampan/models/prompt_encoder_3d.hpp>
#include <sampan/models/sam_vit_3d.hpp>

namespace sampan::inline SAMPAN_ABI::models {

inline PromptEncoder3dSizes prompt_encoder_3d_sizes(const weights::Contract& c) {
  return {.channels = c.network.out_channels, .grid = c.network.grid, .image_size = c.network.image_size, .eps = float(c.eps.ln2d)};
}

template <VolumeBackend B>
struct VolumeNetwork {
  B backend;
  SamVit3d<B> encoder;
  PromptEncoder3d<B> prompt_encoder;
  MaskDecoder3d<B> mask_decoder;

  /// Every tensor of the table must be used. Error{bad_model | out_of_memory}; `c` must be of a volumetric network.
  static Result<VolumeNetwork> load(B backend, const weights::Contract& c, TensorTable& table) {
    VolumeNetwork n{std::move(backend), {}, {}, {}};
    typename Loader<B>::Load load{table, n.backend, {}, {}, {}};
    const Loader<B> w(load);
    n.encoder = SamVit3d<B>::load(w / "image_encoder", sam_vit_sizes(c));
    n.prompt_encoder = PromptEncoder3d<B>::load(w.exact() / "prompt_encoder", prompt_encoder_3d_sizes(c));
    n.mask_decoder = MaskDecoder3d<B>::load(w.exact() / "mask_decoder", mask_decoder_sizes(c));
    w.check_all_used();
    SAMPAN_CHECK(w.status());
    return n;
  }

  Index image_size() const { return encoder.sizes.image_size; }
  Index grid() const { return prompt_encoder.sizes.grid; }
  Index channels() const { return prompt_encoder.sizes.channels; }
};

using AnyVolumeNetwork = std::variant<VolumeNetwork<Reference>, VolumeNetwork<Cpu>>;

}  // namespace sampan::inline SAMPAN_ABI::models
