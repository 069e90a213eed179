// Definitions of Model3d and Session3d (predict/model_3d.hpp): reading a weight file, checks, the noexcept border.
#pragma once
#include <sampan/core/sha256.hpp>
#include <sampan/predict/session_3d_state.hpp>
#include <sampan/weights/open.hpp>

#include <thread>

namespace sampan::inline SAMPAN_ABI {
namespace detail {

template <class B>
Result<Model3dInfo> describe_3d(const models::VolumeNetwork<B>& net, const weights::Contract& c, const TensorTable& table, ThreadPool& pool) {
  Model3dInfo m;
  m.family = c.family, m.name = c.name, m.licence = c.licence;
  const auto& v = c.network.sam_vit;
  m.encoder =
      cat("sam_vit_3d: width ", v.embed_dim, ", depth ", v.depth, ", ", v.heads, " heads, window ", v.window, ", ", v.global_blocks.size(), " global blocks");
  m.preprocessing = cat("linear to ", predict::short_number(c.volume.spacing), " mm, axes right, anterior, superior, a cube of ", c.network.image_size,
                        " voxels around the first click, (x - mean) / std over voxels above 0");
  m.side = c.network.image_size, m.spacing = c.volume.spacing, m.low_res = 4 * c.network.grid;
  for (const auto& r : table.rows()) m.parameters += weights::element_count(r.entry->shape).value_or(0);
  const Index g = net.grid(), s = net.image_size(), ch = net.channels(), n = 64 * g * g * g;
  SAMPAN_TRY(whole, plan(net.backend, pool, [&](Context<B>& ctx) {
               auto scope = ctx.arena.scope();
               net.encoder.forward(ctx, scope.template make<float>(s, s, s), scope.template make<float>(g, g, g, ch));
             }));
  SAMPAN_TRY(one, plan(net.backend, pool, [&](Context<B>& ctx) {
               auto scope = ctx.arena.scope();
               const auto embedding = scope.template make<float>(g, g, g, ch), dense = scope.template make<float>(g, g, g, ch);
               const auto sparse = scope.template make<float>(2, ch), masks = scope.template make<float>(1, n);
               net.prompt_encoder.encode_dense(ctx, View<const float, 3>(masks.data(), {4 * g, 4 * g, 4 * g}), dense);
               net.mask_decoder.forward(ctx, {embedding, net.prompt_encoder.dense_pe.view(), sparse, dense}, false, masks, scope.template make<float>(1));
             }));
  m.encode_flop = whole.cost.flop, m.encode_bytes = whole.arena_bytes;
  m.decode_flop = one.cost.flop, m.decode_bytes = one.arena_bytes;
  return m;
}

template <class B>
Result<Model3d> build_3d(B backend, weights::OpenModel& file, const LoadOptions& options) {
  const int threads = options.threads ? options.threads : int(std::thread::hardware_concurrency());
  const std::ptrdiff_t before = tensor_bytes();
  SAMPAN_TRY(net, models::VolumeNetwork<B>::load(std::move(backend), file.contract, file.table));
  const std::uint64_t weight_bytes = std::uint64_t(tensor_bytes() - before);
  auto state = std::make_shared<Model3dState>(file.file.path(), file.contract, models::AnyVolumeNetwork(std::move(net)), ThreadPool(threads));
  state->options = options;
  SAMPAN_TRY(info, describe_3d(std::get<models::VolumeNetwork<B>>(state->network), state->contract, file.table, state->pool));
  state->info = std::move(info);
  state->info.weight_bytes = weight_bytes;
  return Access3d::make(std::move(state));
}

inline Result<Model3d> load_model_3d(const std::string& path, const LoadOptions& o) {
  if (o.device == Device::cuda) return Error(ErrorCode::unsupported, "device cuda: volumetric networks run on the processor only; use device cpu");
  if (o.device == Device::reference && o.precision != Precision::f32)
    return Error(ErrorCode::unsupported, cat("precision ", precision_name(o.precision), ": device reference computes in f32 only"));
  if (o.precision == Precision::int8 || o.precision == Precision::f16)
    return Error(ErrorCode::unsupported, cat("precision ", precision_name(o.precision), ": device cpu computes in f32, fast and bf16"));
  if (o.threads < 0 || o.threads > 256) return Error(ErrorCode::invalid_argument, cat("threads ", o.threads, ": 0 (all cores) to 256 are possible"));
  SAMPAN_TRY(file, weights::open_model(path));
  if (!weights::is_volume(file->contract.network.encoder))
    return Error(ErrorCode::unsupported, cat(path, ": ", file->contract.name, " segments images, not volumes; Model (sampan/sampan.hpp) takes it"));
  std::uint64_t bytes = 0;
  for (const auto& r : file->table.rows()) bytes += std::uint64_t(weights::element_count(r.entry->shape).value_or(0)) * sizeof(float);
  if (o.max_memory && bytes > o.max_memory)
    return Error(ErrorCode::limit, cat(path, ": the weights alone need ", bytes >> 20, " MiB, the memory limit is ", o.max_memory >> 20, " MiB"));
  if (o.device == Device::reference) return build_3d(Reference{}, *file, o);
  SAMPAN_TRY(backend, models::make_cpu(o.isa, o.precision));
  return build_3d(std::move(backend), *file, o);
}

inline Status check_inside(const Session3dState& s, double i, double j, double k) {
  const double at[] = {i, j, k};
  for (std::size_t a = 0; a < 3; ++a)
    if (!(at[a] >= -0.5 && at[a] <= double(s.source.size[a]) - 0.5))
      return Error(ErrorCode::invalid_argument, cat("voxel ", predict::short_number(i), ",", predict::short_number(j), ",", predict::short_number(k),
                                                    ": outside the volume of ", s.source.size[0], "x", s.source.size[1], "x", s.source.size[2], " voxels"));
  return {};
}

template <class F>
Status with_volume_network(const Session3dState& s, F&& f) {
  return std::visit(f, s.model->network);
}

inline Status check_room(const Session3dState& s, std::size_t bytes) {
  const std::uint64_t n = std::uint64_t(s.source.size[0]) * std::uint64_t(s.source.size[1]) * std::uint64_t(s.source.size[2]);
  if (bytes == n) return {};
  return Error(ErrorCode::invalid_argument, cat("a mask of the volume has ", n, " bytes, room for ", bytes, " was given"));
}

}  // namespace detail

SAMPAN_INLINE Result<Model3d> Model3d::try_load(const std::string& path, const LoadOptions& options) noexcept {
  return detail::guarded([&] { return detail::load_model_3d(path, options); });
}
SAMPAN_INLINE const Model3dInfo& Model3d::info() const noexcept { return state_->info; }
SAMPAN_INLINE Result<std::string> Model3d::try_sha256() const noexcept {
  return detail::guarded([&]() -> Result<std::string> {
    SAMPAN_TRY(file, MappedFile::open(state_->path));
    return sha256_of_file(file);
  });
}

SAMPAN_INLINE Session3d::Session3d(std::unique_ptr<detail::Session3dState> state) : state_(std::move(state)) {}
SAMPAN_INLINE Session3d::Session3d(Session3d&&) noexcept = default;
SAMPAN_INLINE Session3d& Session3d::operator=(Session3d&&) noexcept = default;
SAMPAN_INLINE Session3d::~Session3d() = default;

SAMPAN_INLINE Result<Session3d> Session3d::try_open(const Model3d& model, const VolumeSource& volume) noexcept {
  return detail::guarded([&]() -> Result<Session3d> {
    const auto& m = detail::Access3d::state(model);
    if (!volume.read) return Error(ErrorCode::invalid_argument, "a volume without a function that reads it");
    SAMPAN_TRY(grid, predict::make_crop_grid(volume.size, volume.to_world, m->info.spacing, m->info.side));
    const std::uint64_t plane = std::uint64_t(volume.size[0]) * std::uint64_t(volume.size[1]);
    if (plane > (std::uint64_t(1) << 32) || plane * std::uint64_t(volume.size[2]) > (std::uint64_t(1) << 40))
      return Error(ErrorCode::limit, cat("a volume of ", volume.size[0], "x", volume.size[1], "x", volume.size[2], " voxels is too large"));
    return Session3d(std::make_unique<detail::Session3dState>(m, volume, grid));
  });
}

SAMPAN_INLINE Status Session3d::try_set_centre(double i, double j, double k, const Progress& progress) noexcept {
  return detail::guarded([&]() -> Status {
    SAMPAN_CHECK(detail::check_inside(*state_, i, j, k));
    return detail::with_volume_network(*state_, [&](const auto& net) { return state_->set_centre(net, {i, j, k}, &progress); });
  });
}

SAMPAN_INLINE Status Session3d::try_click(const Click3d& click, const Progress& progress) noexcept {
  return detail::guarded([&]() -> Status {
    SAMPAN_CHECK(detail::check_inside(*state_, click.i, click.j, click.k));
    if (click.label != 0 && click.label != 1)
      return Error(ErrorCode::invalid_argument, cat("label ", click.label, " of a click: 1 (object) or 0 (background) is needed"));
    if (state_->cubes.empty() && click.label == 0)
      return Error(ErrorCode::invalid_argument, "the first click must be on the object (label 1), or a centre must be set before it");
    return detail::with_volume_network(*state_, [&](const auto& net) -> Status {
      if (state_->cubes.empty()) SAMPAN_CHECK(state_->set_centre(net, {click.i, click.j, click.k}, &progress));
      return state_->click(net, click, &progress);
    });
  });
}

SAMPAN_INLINE Result<std::int64_t> Session3d::try_cover(std::int64_t most_cubes, const Progress& progress) noexcept {
  return detail::guarded([&]() -> Result<std::int64_t> {
    if (most_cubes < 1 || most_cubes > kMostCubes) return Error(ErrorCode::invalid_argument, cat(most_cubes, " cubes: 1 to ", kMostCubes, " are possible"));
    if (clicks() == 0) return Error(ErrorCode::invalid_argument, "the object must have been clicked on before it can be followed");
    return std::visit([&](const auto& net) { return state_->cover(net, most_cubes, &progress); }, state_->model->network);
  });
}

SAMPAN_INLINE bool Session3d::undo() noexcept {
  auto& s = *state_;
  if (s.cubes.empty() || s.cubes.back().steps.empty()) return false;
  auto& cube = s.cubes.back();
  cube.steps.pop_back();
  cube.mask.clear();
  if (cube.steps.empty()) {
    if (s.cubes.size() > 1) s.cubes.pop_back();
    return true;
  }
  // The logits made this mask before, in the same memory: it cannot fail again.
  return detail::guarded([&] { return detail::with_volume_network(s, [&](const auto& net) { return s.make_mask(net.backend, cube); }); }).ok();
}

SAMPAN_INLINE void Session3d::clear() noexcept {
  auto& cubes = state_->cubes;
  if (cubes.empty()) return;
  cubes.erase(cubes.begin() + 1, cubes.end());
  cubes[0].steps.clear();
  cubes[0].mask.clear();
}

SAMPAN_INLINE Status Session3d::try_mask(std::span<std::uint8_t> out) const noexcept {
  return detail::guarded([&]() -> Status {
    SAMPAN_CHECK(detail::check_room(*state_, out.size()));
    std::fill(out.begin(), out.end(), std::uint8_t(0));
    SAMPAN_CHECK(try_paint(out, 1));
    return {};
  });
}

SAMPAN_INLINE Result<std::int64_t> Session3d::try_paint(std::span<std::uint8_t> out, std::uint8_t value) const noexcept {
  return detail::guarded([&]() -> Result<std::int64_t> {
    const auto& s = *state_;
    SAMPAN_CHECK(detail::check_room(s, out.size()));
    std::int64_t count = 0;
    const auto taken = [&](const detail::Cube3d& cube, std::size_t crop, std::size_t cubes_before) {  // voxels that an earlier cube has painted are not counted again
      if (cubes_before == 0) return false;
      const auto side = std::size_t(cube.grid.side);
      const std::array<std::int64_t, 3> p{cube.grid.begin[0] + std::int64_t(crop / (side * side)), cube.grid.begin[1] + std::int64_t(crop / side % side), cube.grid.begin[2] + std::int64_t(crop % side)};
      for (std::size_t n = 0; n < cubes_before; ++n)
        if (const auto at = detail::Session3dState::voxel_of(s.cubes[n], p); at && !s.cubes[n].mask.empty() && s.cubes[n].mask[*at]) return true;
      return false;
    };
    for (std::size_t n = 0; n < s.cubes.size(); ++n)
      if (const auto& cube = s.cubes[n]; !cube.mask.empty())
        predict::for_voxels_in_crop(cube.grid, [&](std::size_t voxel, std::size_t crop) {
          if (cube.mask[crop] && !taken(cube, crop, n)) out[voxel] = value, ++count;
        });
    return count;
  });
}

SAMPAN_INLINE bool Session3d::has_crop() const noexcept { return !state_->cubes.empty(); }
SAMPAN_INLINE std::size_t Session3d::cubes() const noexcept { return state_->cubes.size(); }
SAMPAN_INLINE std::size_t Session3d::clicks() const noexcept {
  std::size_t n = 0;
  for (const auto& cube : state_->cubes) n += cube.steps.size();
  return n;
}
SAMPAN_INLINE float Session3d::predicted_iou() const noexcept {
  return clicks() == 0 ? std::numeric_limits<float>::quiet_NaN() : state_->cubes.back().steps.back().iou;
}
SAMPAN_INLINE std::span<const float> Session3d::low_res_logits() const noexcept {
  return clicks() == 0 ? std::span<const float>() : std::span<const float>(state_->cubes.back().steps.back().logits);
}
SAMPAN_INLINE const Timings& Session3d::timings() const noexcept { return state_->timings; }
SAMPAN_INLINE void Session3d::set_trace(Trace* trace) noexcept { state_->trace = trace; }

}  // namespace sampan::inline SAMPAN_ABI
