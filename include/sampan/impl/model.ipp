// Definitions of Model (predict/predictor.hpp): reading a weight file, choosing the backend, packing, and what `info` says.
#pragma once
#include <sampan/core/sha256.hpp>
#include <sampan/predict/model_state.hpp>
#include <sampan/weights/open.hpp>
#if defined(SAMPAN_CUDA)
#  include <sampan/predict/device_masks.hpp>
#  include <sampan/predict/device_pixels.hpp>
#endif

#include <thread>

namespace sampan::inline SAMPAN_ABI {
namespace detail {

inline Status check_supported(const LoadOptions& o) {
#if !defined(SAMPAN_CUDA)
  if (o.device == Device::cuda) return Error(ErrorCode::unsupported, "device cuda: this build has no CUDA backend; use device cpu");
#endif
  if (o.device == Device::cuda) {
    if (o.precision == Precision::int8 || o.precision == Precision::fast) return Error(ErrorCode::unsupported, cat("precision ", precision_name(o.precision), ": device cuda computes in f32, f16 and bf16"));
  } else if (o.precision == Precision::int8 || o.precision == Precision::f16) {
    return Error(ErrorCode::unsupported, cat("precision ", precision_name(o.precision), ": device ", o.device == Device::cpu ? "cpu" : "reference", " computes in f32, fast and bf16"));
  }
  if (o.device == Device::reference && o.precision != Precision::f32) return Error(ErrorCode::unsupported, cat("precision ", precision_name(o.precision), ": device reference computes in f32 only"));
  if (o.threads < 0 || o.threads > 256) return Error(ErrorCode::invalid_argument, cat("threads ", o.threads, ": 0 (all cores) to 256 are possible"));
  return {};
}

inline std::string preprocessing_text(const weights::Contract& c) {
  const auto& i = c.image;
  const char* channels = i.channels == weights::ImageChannels::bgr ? "BGR, " : i.channels == weights::ImageChannels::gray ? "luma, " : "";
  std::string s = cat(channels, "resize ", weights::to_text(i.resize), i.keep_aspect ? ", longest side to " : ", both sides to ", c.network.image_size, ", ");
  s += i.normalise == weights::NormaliseKind::min_max ? "min-max of the image to [0,1]" : "(x - mean) / std per channel";
  if (i.pad == weights::PadKind::right_bottom) s += ", then zeros right and below";
  if (i.pad == weights::PadKind::centre_small) s += "; an image smaller than that in both sides is centred among zeros instead";
  if (c.network.prompt_size) s += cat("; prompts and masks in a frame of ", c.network.prompt_size);
  return s;
}

inline std::string encoder_text(const weights::NetworkSizes& n) {
  switch (n.encoder) {
    case weights::EncoderKind::sam_vit: {
      const auto& v = n.sam_vit;
      return cat("sam_vit: width ", v.embed_dim, ", depth ", v.depth, ", ", v.heads, " heads, window ", v.window, ", ", v.global_blocks.size(), " global blocks",
                 v.hook == weights::HookKind::none ? std::string() : cat(", ", weights::to_text(v.hook), " of width ", v.hook_hidden, " in ", v.hook_blocks.size(), " blocks"));
    }
    case weights::EncoderKind::tiny_vit: {
      const auto& t = n.tiny_vit;
      return cat("tiny_vit: widths ", t.dims[0], ",", t.dims[1], ",", t.dims[2], ",", t.dims[3], ", stem ", weights::to_text(t.stem));
    }
    case weights::EncoderKind::efficient_vit: {
      std::string widths, depths;
      for (int v : n.efficient_vit.widths) widths += cat(widths.empty() ? "" : ",", v);
      for (int v : n.efficient_vit.depths) depths += cat(depths.empty() ? "" : ",", v);
      return cat("efficient_vit: ", weights::to_text(n.efficient_vit.kind), ", widths ", widths, ", depths ", depths, ", neck of ", n.efficient_vit.head_depth, " blocks");
    }
    case weights::EncoderKind::rep_vit: {
      const auto& v = n.rep_vit;
      return cat("rep_vit: widths ", v.widths[0], ",", v.widths[1], ",", v.widths[2], ",", v.widths[3], ", depths ", v.depths[0], ",", v.depths[1], ",", v.depths[2], ",", v.depths[3], ", ", v.se_blocks.size(), " with squeeze and excite");
    }
    case weights::EncoderKind::sam_vit_3d: break;  // Model3d's
    case weights::EncoderKind::plain_vit: return cat("plain_vit: width ", n.plain_vit.embed_dim, ", depth ", n.plain_vit.depth, ", ", n.plain_vit.heads, " heads, every block global");
  }
  return {};
}

template <class B>
Result<ModelInfo> describe(const models::Network<B>& net, const weights::Contract& c, const TensorTable& table, ThreadPool& pool) {
  ModelInfo m;
  m.family = c.family;
  m.name = c.name;
  m.licence = c.licence;
  const auto& n = c.network;
  m.encoder = encoder_text(n);
  m.preprocessing = preprocessing_text(c);
#if defined(SAMPAN_CUDA)
  if constexpr (on_device<B>) m.preprocessing += cat(predict::pixels_on_device(c) ? "; on the device" : "; on the host", predict::masks_on_device(c) ? "" : ", and masks at full size too");
#endif
  m.image_size = n.image_size;
  m.embedding_grid = n.grid;
  m.low_res = n.low_res();
  for (const auto& r : table.rows()) m.parameters += weights::element_count(r.entry->shape).value_or(0);
  m.points = c.prompt.points;
  m.boxes = c.prompt.boxes;
  m.mask_input = c.prompt.mask_input;
  m.most_tokens = net.prompt_encoder.sizes.fixed_tokens;
  m.single_mask = c.mask.single;
  m.multimask = c.mask.multimask;
  m.classes = n.classes();
  m.hq_token = n.decoder == weights::DecoderKind::hq;
  m.lacks_on_cuda = weights::lacks_on_cuda(n);
  const Index g = net.grid(), s = net.image_size(), ch = net.channels();
  SAMPAN_TRY(whole, plan(net.backend, pool, [&](Context<B>& ctx) {
    auto scope = ctx.arena.scope();
    net.encode(ctx, scope.template make<float>(s, s, 3), scope.template make<float>(g, g, ch), scope.template make<float>(4 * g, 4 * g, net.detail_channels()));
  }));
  SAMPAN_TRY(one, plan(net.backend, pool, [&](Context<B>& ctx) {
    auto scope = ctx.arena.scope();
    const auto embedding = scope.template make<float>(g, g, ch);
    const auto sparse = scope.template make<float>(1, m.points || m.boxes || m.mask_input ? 2 : 0, ch), dense = scope.template make<float>(1, g * g, ch), masks = scope.template make<float>(1, net.mask_decoder.mask_count(false), m.low_res * m.low_res);
    net.prompt_encoder.encode_dense(ctx, {}, as_map(dense[0], g, g));
    net.decode(ctx, {.embedding = embedding, .dense_pe = net.prompt_encoder.dense_pe.view(), .sparse = sparse, .dense = dense, .detail = scope.template make<float>(4 * g, 4 * g, net.detail_channels())}, false, masks, scope.template make<float>(1, net.mask_decoder.mask_count(false)));
  }));
  m.embedding_bytes = std::uint64_t(g * g * (ch + 16 * net.detail_channels())) * sizeof(float);
  m.encode_flop = whole.cost.flop, m.encode_bytes = whole.arena_bytes;
  m.decode_flop = one.cost.flop, m.decode_bytes = one.arena_bytes;
  return m;
}

template <class B>
Result<std::shared_ptr<const ModelState>> build(B backend, weights::OpenModel& file, const LoadOptions& options) {
  int threads = options.threads;
  if (threads == 0) threads = int(std::thread::hardware_concurrency());
  const std::ptrdiff_t before = tensor_bytes();
  SAMPAN_TRY(net, models::Network<B>::load(std::move(backend), file.contract, file.table));
  const std::uint64_t weight_bytes = std::uint64_t(tensor_bytes() - before);
  if (options.max_memory && weight_bytes > options.max_memory) return Error(ErrorCode::limit, cat(file.file.path(), ": the weights alone need ", weight_bytes >> 20, " MiB, the memory limit is ", options.max_memory >> 20, " MiB"));
  auto state = std::make_shared<ModelState>(file.file.path(), file.contract, models::AnyNetwork(std::move(net)), ThreadPool(threads));
  state->options = options;
  auto info = describe(std::get<models::Network<B>>(state->network), state->contract, file.table, state->pool);  // plans both halves: an op that the backend lacks shows here
  if (!info) return std::move(info).error().at(cat(file.file.path(), ", ", state->contract.name));
  state->info = std::move(*info);
  state->info.weight_bytes = weight_bytes;
  return std::shared_ptr<const ModelState>(std::move(state));
}

inline Result<Model> load_model(const std::string& path, const LoadOptions& options) {
  SAMPAN_CHECK(check_supported(options));
  SAMPAN_TRY(file, weights::open_model(path));
  if (weights::is_volume(file->contract.network.encoder))
    return Error(ErrorCode::unsupported, cat(path, ": ", file->contract.name, " segments volumes, not images; Model3d (sampan/predict/model_3d.hpp) and `sampan volume` take it"));
  std::uint64_t bytes = 0;
  for (const auto& r : file->table.rows()) bytes += std::uint64_t(weights::element_count(r.entry->shape).value_or(0)) * sizeof(float);
  if (options.max_memory && bytes > options.max_memory)
    return Error(ErrorCode::limit, cat(path, ": the weights alone need ", bytes >> 20, " MiB, the memory limit is ", options.max_memory >> 20, " MiB"));
  if (options.device == Device::reference) {
    SAMPAN_TRY(state, build(Reference{}, *file, options));
    return Access::make(std::move(state));
  }
#if defined(SAMPAN_CUDA)
  if (options.device == Device::cuda) {
    if (const std::string lacks = weights::lacks_on_cuda(file->contract.network); !lacks.empty()) return Error(ErrorCode::unsupported, cat(file->contract.name, ": device cuda has no ", lacks, "; use device cpu"));
    SAMPAN_TRY(backend, models::make_cuda(options.isa, options.precision));
    auto state = build(std::move(backend), *file, options);
    if (!state) return cuda::with_cause(std::move(state).error());
    return Access::make(*std::move(state));
  }
#endif
  SAMPAN_TRY(backend, models::make_cpu(options.isa, options.precision));
  SAMPAN_TRY(state, build(std::move(backend), *file, options));
  return Access::make(std::move(state));
}

}  // namespace detail

SAMPAN_INLINE Result<Model> Model::try_load(const std::string& path, const LoadOptions& options) noexcept {
  return detail::guarded([&] { return detail::load_model(path, options); });
}

SAMPAN_INLINE const ModelInfo& Model::info() const noexcept { return state_->info; }

SAMPAN_INLINE Result<std::string> Model::try_sha256() const noexcept {
  return detail::guarded([&]() -> Result<std::string> {
    SAMPAN_TRY(file, MappedFile::open(state_->path));
    return sha256_of_file(file);
  });
}

SAMPAN_INLINE std::vector<std::string> available_isas() { return models::cpu_isa_names(); }

SAMPAN_INLINE std::vector<std::string> available_precisions(const std::string& isa) {
  std::vector<std::string> names;
  for (Precision p : {Precision::f32, Precision::fast, Precision::bf16})
    if (models::make_cpu(isa, p)) names.push_back(precision_name(p));
  return names;
}

SAMPAN_INLINE Result<std::vector<std::string>> available_precisions(Device device, const std::string& isa) noexcept {
  return detail::guarded([&]() -> Result<std::vector<std::string>> {
    SAMPAN_CHECK(detail::check_supported({.device = device}));
    if (device == Device::cpu) return available_precisions(isa);
    std::vector<std::string> names{"f32"};
#if defined(SAMPAN_CUDA)
    if (device == Device::cuda) {
      SAMPAN_TRY(d, cuda::usable_device());
      names.push_back("f16");
      if (d.major >= 8) names.push_back("bf16");
    }
#endif
    return names;
  });
}

SAMPAN_INLINE std::vector<std::string> available_devices() {
  std::vector<std::string> names{"cpu", "reference"};
#if defined(SAMPAN_CUDA)
  cuda::DeviceInfo d;
  if (cuda::find_device(d).ok()) names.push_back(cat("cuda: ", d.name, ", compute capability ", d.major, ".", d.minor, ", ", d.memory >> 20, " MiB, ", d.versions));
#endif
  return names;
}

SAMPAN_INLINE std::string build_info() {
  std::string s = cat("sampan ", SAMPAN_VERSION, "\n");
#if defined(__clang__)
  s += cat("compiler clang ", __clang_major__, ".", __clang_minor__, ".", __clang_patchlevel__, "\n");
#elif defined(__GNUC__)
  s += cat("compiler g++ ", __GNUC__, ".", __GNUC_MINOR__, ".", __GNUC_PATCHLEVEL__, "\n");
#endif
#if defined(__AVX512F__)
  s += "baseline AVX-512\n";
#elif defined(__AVX2__)
  s += "baseline AVX2\n";
#elif defined(__x86_64__)
  s += "baseline x86-64\n";
#endif
#if defined(__FAST_MATH__)
  s += "fast-math yes: results differ from the parity build\n";
#endif
#if defined(SAMPAN_CHECKS)
  s += "checks on\n";
#else
  s += "checks off\n";
#endif
#if defined(SAMPAN_COMPILED)
  s += "mode compiled\n";
#else
  s += "mode header-only\n";
#endif
  s += "isa";
  for (const auto& isa : available_isas()) s += " " + isa;
#if defined(SAMPAN_CUDA)
  const auto devices = available_devices();
  return s + "\n" + (devices.size() > 2 ? devices.back() : std::string("cuda: no device answers")) + "\n";
#else
  return s + "\ncuda not in this build\n";
#endif
}

}  // namespace sampan::inline SAMPAN_ABI
