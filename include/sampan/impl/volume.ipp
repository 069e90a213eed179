// Definitions of VolumeSession (predict/volume.hpp): checks, steps, the noexcept border.
#pragma once
#include <sampan/predict/volume_state.hpp>
#if defined(SAMPAN_CUDA)
#  include <sampan/predict/device_session.hpp>
#endif

namespace sampan::inline SAMPAN_ABI {
namespace detail {

inline Status check_volume_slices(const ModelState& m, const SliceSource& s, const VolumeOptions& o) {
  SAMPAN_CHECK(check(s.size));
  if (s.size.channels != 1 && s.size.channels != 3) return Error(ErrorCode::invalid_argument, cat("slices with ", s.size.channels, " channels: 1 (grey) or 3 (RGB) are possible"));
  if (s.count < 1 || s.count > kMaxImageSide) return Error(ErrorCode::invalid_argument, cat(s.count, " slices: 1 to ", kMaxImageSide, " are possible"));
  if (!s.read) return Error(ErrorCode::invalid_argument, "slices without a function that reads them");
  if (o.margin < 0 || o.margin > 256) return Error(ErrorCode::invalid_argument, cat("margin ", o.margin, ": 0 to 256 are possible"));
  if (!m.info.boxes) return Error(ErrorCode::unsupported, cat(m.info.name, " takes no boxes; propagation needs them"));
  const auto& n = m.contract.network;
  const std::uint64_t one = std::uint64_t(n.grid) * std::uint64_t(n.grid) * std::uint64_t(n.out_channels) * sizeof(float);
  const std::uint64_t cache = std::min<std::uint64_t>(std::max(o.cache_bytes, one), one * std::uint64_t(s.count));
  const std::uint64_t need = m.info.weight_bytes + std::max(m.info.encode_bytes, m.info.decode_bytes) + cache + one;
  if (const std::uint64_t limit = m.options.max_memory; limit && need > limit)
    return Error(ErrorCode::limit, cat("this volume needs ", need >> 20, " MiB (weights ", m.info.weight_bytes >> 20, ", encoded slices ", cache >> 20, "), the memory limit is ", limit >> 20, " MiB"));
  return {};
}

inline Status check_place(const VolumeState& s, int object, std::int64_t slice) {
  if (object < 1 || object > 65535) return Error(ErrorCode::invalid_argument, cat("object ", object, ": 1 to 65535 are possible"));
  if (slice < 0 || slice >= s.source.count) return Error(ErrorCode::invalid_argument, cat("slice ", slice, ": the volume has the slices 0 to ", s.source.count - 1));
  return {};
}

}  // namespace detail

SAMPAN_INLINE VolumeSession::VolumeSession(std::unique_ptr<detail::VolumeState> state) : state_(std::move(state)) {}
SAMPAN_INLINE VolumeSession::VolumeSession(VolumeSession&&) noexcept = default;
SAMPAN_INLINE VolumeSession& VolumeSession::operator=(VolumeSession&&) noexcept = default;
SAMPAN_INLINE VolumeSession::~VolumeSession() = default;

SAMPAN_INLINE Result<VolumeSession> VolumeSession::try_open(const Model& model, const SliceSource& slices, const VolumeOptions& options) noexcept {
  return detail::guarded([&]() -> Result<VolumeSession> {
    const auto& m = detail::Access::state(model);
    SAMPAN_CHECK(detail::check_volume_slices(*m, slices, options));
    auto s = std::make_unique<detail::VolumeState>(m, slices, options);
    s->pixels.resize(std::size_t(slices.size.width * slices.size.height) * std::size_t(slices.size.channels));
    if (!options.cache_folder.empty()) {
      SAMPAN_TRY(id, detail::model_identity(*m));
      const auto isas = available_isas();
      s->identity = cat(id, " ", weights::to_json(m->contract), " ", precision_name(m->options.precision), " ", int(m->options.device), " ", m->options.isa == "auto" && !isas.empty() ? isas.back() : m->options.isa, " ",
                        slices.size.width, "x", slices.size.height, "x", slices.size.channels, " ");
    }
    return VolumeSession(std::move(s));
  });
}

SAMPAN_INLINE Status VolumeSession::try_set_prompt(int object, std::int64_t slice, const Prompt& prompt) noexcept {
  return detail::guarded([&]() -> Status {
    auto& s = *state_;
    SAMPAN_CHECK(detail::check_place(s, object, slice));
    SAMPAN_CHECK(detail::check_capability(prompt, s.session.model->info, {.multimask = !s.session.model->info.single_mask}));
    SAMPAN_CHECK(detail::check_geometry(prompt, s.source.size));
    if (!prompt.box && prompt.points.empty()) return Error(ErrorCode::invalid_argument, "a prompt on a slice needs a box or points");
    if (const auto* o = s.find(object); o && o->range && (slice < o->range->first || slice > o->range->second))
      return Error(ErrorCode::invalid_argument, cat("slice ", slice, " is outside the range ", o->range->first, " to ", o->range->second, " of object ", object));
    s.remember();
    auto& o = s.at(object);
    o.prompts[slice] = prompt;
    o.changed = true;
    return {};
  });
}

SAMPAN_INLINE Status VolumeSession::try_set_range(int object, std::int64_t first, std::int64_t last) noexcept {
  return detail::guarded([&]() -> Status {
    auto& s = *state_;
    SAMPAN_CHECK(detail::check_place(s, object, first));
    SAMPAN_CHECK(detail::check_place(s, object, last));
    if (first > last) return Error(ErrorCode::invalid_argument, cat("range ", first, " to ", last, ": the first slice must not lie behind the last"));
    if (const auto* o = s.find(object); o && !o->prompts.empty() && (o->prompts.begin()->first < first || o->prompts.rbegin()->first > last))
      return Error(ErrorCode::invalid_argument, cat("range ", first, " to ", last, ": object ", object, " has a prompt outside"));
    s.remember();
    auto& o = s.at(object);
    o.range = {first, last};
    o.changed = true;
    return {};
  });
}

SAMPAN_INLINE Status VolumeSession::try_set_box(int object, const VolumeBox& b) noexcept {
  return detail::guarded([&]() -> Status {
    auto& s = *state_;
    SAMPAN_CHECK(detail::check_place(s, object, b.z0));
    SAMPAN_CHECK(detail::check_place(s, object, b.z1));
    if (b.z0 > b.z1) return Error(ErrorCode::invalid_argument, cat("box from slice ", b.z0, " to ", b.z1, ": the first must not lie behind the last"));
    const Prompt p{.box = Box{b.x0, b.y0, b.x1, b.y1}};
    SAMPAN_CHECK(detail::check_geometry(p, s.source.size));
    s.remember();
    auto& o = s.at(object);
    o.prompts.clear();
    o.prompts[(b.z1 - b.z0) / 2 + b.z0] = p;
    o.range = {b.z0, b.z1};
    o.changed = true;
    return {};
  });
}

SAMPAN_INLINE Status VolumeSession::try_remove(int object) noexcept {
  return detail::guarded([&]() -> Status {
    auto& s = *state_;
    if (!s.find(object)) return Error(ErrorCode::invalid_argument, cat("there is no object ", object));
    s.remember();
    s.objects.erase(s.objects.begin() + (s.find(object) - s.objects.data()));
    return {};
  });
}

SAMPAN_INLINE Status VolumeSession::try_propagate(const Progress& progress) noexcept {
  return detail::guarded([&]() -> Status { return detail::with_network(state_->session, [&](const auto& net) { return state_->propagate(net, progress); }); });
}

SAMPAN_INLINE bool VolumeSession::undo() noexcept {
  auto& s = *state_;
  if (s.history.empty()) return false;
  s.objects = std::move(s.history.back());
  s.history.pop_back();
  return true;
}

SAMPAN_INLINE void VolumeSession::forget_slices() noexcept {
  state_->cache.clear();
  state_->stats.cache_bytes = 0;
}

SAMPAN_INLINE Result<bool> VolumeSession::try_mask(int object, std::int64_t slice, std::span<std::uint8_t> out) const noexcept {
  return detail::guarded([&]() -> Result<bool> {
    auto& s = *state_;
    SAMPAN_CHECK(detail::check_place(s, object, slice));
    const std::size_t n = std::size_t(s.source.size.width * s.source.size.height);
    if (out.size() != n) return Error(ErrorCode::invalid_argument, cat("a mask has ", n, " bytes, room for ", out.size(), " was given"));
    std::fill(out.begin(), out.end(), std::uint8_t(0));
    const auto* o = s.find(object);
    if (!o || !o->masks[std::size_t(slice)]) return false;
    o->masks[std::size_t(slice)]->paint(out.data(), s.source.size.width, 1);
    return true;
  });
}

SAMPAN_INLINE float VolumeSession::predicted_iou(int object, std::int64_t slice) const noexcept {
  auto& s = *state_;
  const auto* o = slice >= 0 && slice < s.source.count ? s.find(object) : nullptr;
  return o && o->masks[std::size_t(slice)] ? o->masks[std::size_t(slice)]->iou : std::numeric_limits<float>::quiet_NaN();
}

SAMPAN_INLINE std::vector<int> VolumeSession::objects() const {
  std::vector<int> out;
  for (const auto& o : state_->objects) out.push_back(o.label);
  return out;
}
SAMPAN_INLINE const VolumeStats& VolumeSession::stats() const noexcept { return state_->stats; }

}  // namespace sampan::inline SAMPAN_ABI
