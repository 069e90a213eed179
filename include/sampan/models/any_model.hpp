// Network<B>: encoder, prompt encoder and mask decoder of one checkpoint on backend B; AnyNetwork: the one variant over backends.
// Data flow: impl/model.ipp loads it, impl/session.ipp visits it. The seam between templates and the public class; the only model header that sees cpu/ and cuda/.
// Sizes come from the contract record (weights/contract.hpp) and from nothing else; a new encoder is one more alternative of Network::encoder.
#pragma once
#include <sampan/cpu/cpu_backend.hpp>
#if defined(SAMPAN_CUDA)
#  include <sampan/cuda/cuda_backend.hpp>
#endif
// The layers behind: qualified calls find only the overloads above.
#include <sampan/models/efficient_vit.hpp>
#include <sampan/models/mask_decoder.hpp>
#include <sampan/models/prompt_encoder.hpp>
#include <sampan/models/rep_vit.hpp>
#include <sampan/models/sam_vit.hpp>
#include <sampan/models/tiny_vit.hpp>
#include <sampan/nn/prompt_generator.hpp>
#include <sampan/weights/contract.hpp>

#include <variant>

namespace sampan::inline SAMPAN_ABI::models {

inline SamVitSizes sam_vit_sizes(const weights::Contract& c) {
  const auto& n = c.network;
  const auto& v = n.sam_vit;
  SamVitSizes s;
  s.image_size = n.image_size;
  s.out = n.out_channels;
  s.eps = float(c.eps.encoder_ln);
  s.eps_neck = float(c.eps.ln2d);
  if (n.encoder == weights::EncoderKind::plain_vit) {
    const auto& p = n.plain_vit;
    s.patch = p.patch, s.width = p.embed_dim, s.depth = p.depth, s.heads = p.heads, s.mlp = p.mlp_dim;
    s.rel_pos = false;
    s.class_grid = p.pos_grid;
    for (Index i = 0; i < s.depth; ++i) s.global_blocks.push_back(i);
    return s;
  }
  s.patch = v.patch;
  s.width = v.embed_dim;
  s.depth = v.depth;
  s.heads = v.heads;
  s.mlp = v.mlp_dim;
  s.window = v.window;
  s.global_blocks.assign(v.global_blocks.begin(), v.global_blocks.end());
  s.hook = {v.hook, v.hook_hidden};
  s.branch_grid = v.pos_grid;
  s.hook_blocks.assign(v.hook_blocks.begin(), v.hook_blocks.end());
  s.pads = v.pads == weights::WindowPads::before_norm ? PadRule::before_norm : PadRule::after_norm;
  return s;
}

inline TinyVitSizes tiny_vit_sizes(const weights::Contract& c) {
  const auto& n = c.network;
  const auto& t = n.tiny_vit;
  const bool wide_stem = t.stem == weights::TinyStem::conv3x3_stride2;
  TinyVitSizes s;
  s.image_size = n.image_size;
  s.stem_kernel = wide_stem ? 3 : 1;
  s.stem_stride = wide_stem ? 2 : 1;
  s.stem_pad = wide_stem ? 1 : 0;
  s.dims.assign(t.dims.begin(), t.dims.end());
  s.depths.assign(t.depths.begin(), t.depths.end());
  s.heads.assign(t.heads.begin(), t.heads.end());
  s.windows.assign(t.windows.begin(), t.windows.end());
  s.strides.assign(t.strides.begin(), t.strides.end());
  s.out = n.out_channels;
  s.eps = float(c.eps.encoder_ln);
  s.eps_bn = float(c.eps.bn);
  s.eps_neck = float(c.eps.ln2d);
  return s;
}

inline EfficientVitSizes efficient_vit_sizes(const weights::Contract& c) {
  return {.image_size = c.network.image_size, .grid = c.network.grid, .out = c.network.out_channels, .backbone = c.network.efficient_vit, .eps_bn = float(c.eps.bn), .eps_norm = float(c.eps.ln2d)};
}

inline RepVitSizes rep_vit_sizes(const weights::Contract& c) {
  return {.image_size = c.network.image_size, .out = c.network.out_channels, .blocks = c.network.rep_vit, .eps_bn = float(c.eps.bn), .eps_neck = float(c.eps.ln2d)};
}

inline PromptEncoderSizes prompt_encoder_sizes(const weights::Contract& c) {
  return {.channels = c.network.out_channels, .grid = c.network.grid, .image_size = c.network.frame_size(), .fixed_tokens = c.network.decoder == weights::DecoderKind::efficient_sam ? kEfficientSamTokens : 0,
          .eps = float(c.eps.ln2d), .source = c.network.prompt_source};
}

inline MaskDecoderSizes mask_decoder_sizes(const weights::Contract& c) {
  using N = weights::NetworkSizes;
  MaskDecoderSizes s;
  s.channels = c.network.out_channels;
  s.grid = c.network.grid;
  s.masks = c.network.mask_tokens;
  s.classes = weights::gives_classes(c.network.decoder);
  s.skip_first = c.network.decoder == weights::DecoderKind::later_classes;
  s.sets = c.network.class_sets;
  s.guided = c.network.decoder == weights::DecoderKind::guided;
  s.plain = weights::is_plain(c.network.decoder);
  s.plain_depth = c.network.plain_depth, s.plain_width = c.network.plain_width;
  s.hook = c.network.decoder_hook, s.hooked_layers = c.network.decoder_hook_layers;
  s.depth = N::kDecoderDepth;
  s.heads = N::kDecoderHeads;
  s.mlp = c.network.decoder_mlp;
  s.iou_hidden = c.network.iou_hidden;
  if (c.network.decoder == weights::DecoderKind::hq) s.hq_early = c.network.encoder == weights::EncoderKind::sam_vit ? c.network.sam_vit.embed_dim : c.network.tiny_vit.dims[2];
  if (c.network.decoder == weights::DecoderKind::decoupled) s.pimm_early = c.network.sam_vit.embed_dim;
  s.eps = float(c.eps.decoder_ln);
  s.eps_final = float(c.eps.decoder_final_ln);
  s.eps_upscale = float(c.eps.ln2d);
  if (c.network.decoder == weights::DecoderKind::efficient_sam) {
    s.efficient = true;
    s.eps_upscale = float(c.eps.decoder_ln);  // nn.GroupNorm's default, like nn.LayerNorm's
  }
  return s;
}

template <Backend B>
struct Network {
  B backend;
  std::variant<SamVit<B>, TinyVit<B>, EfficientVit<B>, RepVit<B>> encoder;
  PromptEncoder<B> prompt_encoder;
  MaskDecoder<B> mask_decoder;
  std::optional<nn::PromptGenerator<B>> generator;  // prompt_generator, feature_adapter

  /// Every tensor of the table must be used. Error{bad_model | out_of_memory}.
  static Result<Network> load(B backend, const weights::Contract& c, TensorTable& table) {
    Network n{std::move(backend), {}, {}, {}, {}};
    typename Loader<B>::Load load{table, n.backend, {}, {}, {}};
    const Loader<B> w(load);
    const Loader<B> e = w / "image_encoder";
    switch (c.network.encoder) {
      case weights::EncoderKind::sam_vit:
      case weights::EncoderKind::plain_vit: n.encoder.template emplace<SamVit<B>>(SamVit<B>::load(e, sam_vit_sizes(c))); break;
      case weights::EncoderKind::tiny_vit: n.encoder.template emplace<TinyVit<B>>(TinyVit<B>::load(e, tiny_vit_sizes(c))); break;
      case weights::EncoderKind::rep_vit: n.encoder.template emplace<RepVit<B>>(RepVit<B>::load(e, rep_vit_sizes(c))); break;
      case weights::EncoderKind::efficient_vit: n.encoder.template emplace<EfficientVit<B>>(EfficientVit<B>::load(e, efficient_vit_sizes(c))); break;
      case weights::EncoderKind::sam_vit_3d: return Error(ErrorCode::unsupported, cat(c.name, ": a network of volumes (models/volume_network.hpp)"));
    }
    n.prompt_encoder = PromptEncoder<B>::load(w.exact() / "prompt_encoder", prompt_encoder_sizes(c));
    n.mask_decoder = MaskDecoder<B>::load(w.integer() / "mask_decoder", mask_decoder_sizes(c));
    if (n.mask_decoder.sizes.guided) {
      const MaskDecoderSizes& d = n.mask_decoder.sizes;
      n.mask_decoder.second = GuidedHead<B>::load(w.exact() / "mask_decoder2", d.channels, d.masks, d.grid, d.heads, d.mlp, d.iou_hidden, d.eps, d.eps_upscale);
    }
    if (c.network.object_tokens) n.generator = nn::PromptGenerator<B>::load(w.exact(), c.network.object_tokens, c.network.out_channels);
    w.check_all_used();
    SAMPAN_CHECK(w.status());
    return n;
  }

  Index image_size() const {
    return std::visit([](const auto& e) { return e.input_size().height; }, encoder);
  }
  Index grid() const { return prompt_encoder.sizes.grid; }
  Index channels() const { return prompt_encoder.sizes.channels; }

  /// Channels of what the decoder wants of an image beside its embedding, a map of four times the grid (SAM-HQ; DeSAM's maps have as many values); 0: nothing.
  Index detail_channels() const { return mask_decoder.detail_channels(); }

  /// image [s, s, 3], normalised and padded -> embedding [g, g, c], detail [4g, 4g, detail_channels()].
  void encode(Context<B>& ctx, const View<const float, 3>& image, const View<float, 3>& embedding, const View<float, 3>& detail = {}) const {
    std::visit(
        [&](const auto& e) {
          if constexpr (requires { e.early_channels(); }) {
            if (const Index maps = mask_decoder.early_maps()) {
              auto scope = ctx.arena.scope();
              const auto early = scope.template make<float>(maps * grid(), grid(), e.early_channels());
              e.forward(ctx, image, embedding, early);
              return mask_decoder.prepare_detail(ctx, embedding, early, detail);
            }
          }
          e.forward(ctx, image, embedding);
        },
        encoder);
  }

  /// Several images, one below the other: images [n s, s, 3] -> embeddings [n g, g, c]. On a device products and attention run over all of them at once where the
  /// encoder can (takes_batches), else one image follows the other; so that the embeddings are those of encode(). Not for networks with a detail map.
  void encode_batch(Context<B>& ctx, const View<const float, 3>& images, const View<float, 3>& embeddings) const {
    const Index s = image_size(), g = grid(), n = images.extent(0) / s;
    if (!ctx.require(n >= 1 && images.extent(0) == n * s && embeddings.extent(0) == n * g && detail_channels() == 0, "encode_batch: images [n s, s, 3], embeddings [n g, g, c], and no detail map")) return;
    if constexpr (on_device<B>) {
      const bool together = std::visit([](const auto& e) { if constexpr (requires { e.takes_batches(); }) return e.takes_batches(); else return false; }, encoder);
      if (together && n > 1) {
        const B many = batch_backend(ctx.backend, n);
        Context<B> all(many, ctx.pool, ctx.arena);
        std::visit([&](const auto& e) { e.forward(all, images, embeddings); }, encoder);
        if (const Status status = all.status(); !status) return ctx.fail(status.error());
        ctx.begin(all.cost());
        return;
      }
    }
    for (Index i = 0; i < n; ++i) encode(ctx, images.slice(0, i * s, s), embeddings.slice(0, i * g, g));
  }

  /// The mask decoder, behind a prompt generator if there is one: then every prompt of the batch is what it made of the image, and what the caller has of prompts is not used.
  void decode(Context<B>& ctx, MaskDecoderInput in, bool multimask, const View<float, 3>& masks, const View<float, 2>& iou) const {
    if (!generator) return mask_decoder.forward(ctx, in, multimask, masks, iou);
    auto scope = ctx.arena.scope();
    const Index g = grid(), c = channels(), b = masks.extent(0);
    const auto image = scope.template make<float>(g, g, c), sparse = scope.template make<float>(b, Index(1), c), dense = scope.template make<float>(Index(1), g * g, c);
    generator->forward(ctx, in.embedding, mask_decoder.fixed_tokens.view(), image, sparse[0], dense[0]);
    for (Index i = 1; i < b; ++i) copy(ctx, View<const float, 2>(sparse[0]), sparse[i]);
    in.embedding = image, in.sparse = sparse, in.dense = dense, in.side = {};
    mask_decoder.forward(ctx, in, multimask, masks, iou);
  }
};

/// Names of the fast backend's levels that this build has and this machine can run, in order of preference.
inline std::vector<std::string> cpu_isa_names() {
  std::vector<std::string> names;
  for (int i = 0; i < kIsaCount; ++i)
    if (isa_available(Isa(i))) names.push_back(isa_name(Isa(i)));
  return names;
}

/// The fast backend on a level by name; "auto" takes the best. Error{unsupported} names what is possible here.
inline Result<Cpu> make_cpu(std::string_view name, Precision precision = Precision::f32) {
  Isa isa = best_isa();
  if (name == "auto" || (parse_isa(name, isa) && isa_available(isa))) {
    const Cpu backend{.isa = isa, .precision = precision};
    if (cpu::products(backend.kernels(), precision).gemm) return backend;
    return Error(ErrorCode::unsupported, cat("precision ", precision_name(precision), ": level ", isa_name(isa), precision == Precision::bf16 ? " has no bfloat16 instructions (avx512bf16 has); use precision fast or f32" : " does not compute in it; use precision f32 or fast"));
  }
  std::string known;
  for (const auto& n : cpu_isa_names()) known += ", " + n;
  return Error(ErrorCode::unsupported, cat("isa ", name, ": this build and machine have auto", known));
}

#if defined(SAMPAN_CUDA)
/// The device, with the level `isa` for what stays on the host. Error{unsupported} without a device, or for bf16 before compute capability 8.0.
inline Result<Cuda> make_cuda(std::string_view isa, Precision precision = Precision::f32) {
  SAMPAN_TRY(host, make_cpu(isa));
  SAMPAN_TRY(device, cuda::Device::open());
  if (precision == Precision::bf16 && device->info().major < 8) return Error(ErrorCode::unsupported, cat("precision bf16: ", device->info().name, " has compute capability ", device->info().major, ".", device->info().minor, ", bfloat16 needs 8.0; use precision f16"));
  return Cuda{std::move(device), precision, host};
}

using AnyNetwork = std::variant<Network<Reference>, Network<Cpu>, Network<Cuda>>;
#else
using AnyNetwork = std::variant<Network<Reference>, Network<Cpu>>;
#endif

}  // namespace sampan::inline SAMPAN_ABI::models
