// Definitions of Session (predict/predictor.hpp): the noexcept border, embeddings.
#pragma once
#include <sampan/predict/prompt_check.hpp>
#include <sampan/predict/session_state.hpp>
#if defined(SAMPAN_CUDA)
#  include <sampan/predict/device_session.hpp>
#endif

namespace sampan::inline SAMPAN_ABI {
namespace detail {

inline Status SessionState::check_prompt(const Prompt& p, const PredictOptions& o) const {
  SAMPAN_CHECK(check_capability(p, model->info, o));
  return check_geometry(p, size);
}

}  // namespace detail

SAMPAN_INLINE Session::Session(const Model& model) : state_(std::make_unique<detail::SessionState>(detail::Access::state(model))) {}
SAMPAN_INLINE Session::Session(Session&&) noexcept = default;
SAMPAN_INLINE Session& Session::operator=(Session&&) noexcept = default;
SAMPAN_INLINE Session::~Session() = default;

SAMPAN_INLINE Status Session::try_set_image(const ImageView& image, const std::optional<WindowLevel>& window, const Progress& progress) noexcept {
  return detail::guarded([&]() -> Status { return detail::with_network(*state_, [&](const auto& net) { return state_->set_image(net, image, window, progress.report ? &progress : nullptr); }); });
}

namespace detail {

/// The sessions' images together, if there is a way: sessions of one model on a device, without a trace. False: there is none, and nothing was done.
template <class B>
Result<bool> set_images_together(const models::Network<B>& net, std::span<Session> sessions, std::span<const ImageView> images, const std::optional<WindowLevel>& window, const Progress* progress) {
  if constexpr (on_device<B>) {
    std::vector<SessionState*> states;
    std::vector<SessionState::ImageCall> calls;
    for (std::size_t i = 0; i < sessions.size(); ++i) {
      states.push_back(&Access::state(sessions[i]));
      calls.push_back({images[i], window, progress});
      if (Status s = states[i]->begin_image(net, calls[i]); !s) return std::move(s).error().at(cat("image ", i + 1));
    }
    SAMPAN_CHECK(encode_batch_on_device(states, net, calls));
    for (std::size_t i = 0; i < sessions.size(); ++i) states[i]->end_image(calls[i]);
    return true;
  } else {
    (void)net, (void)sessions, (void)images, (void)window, (void)progress;
    return false;
  }
}

}  // namespace detail

SAMPAN_INLINE Status try_set_images(std::span<Session> sessions, std::span<const ImageView> images, const std::optional<WindowLevel>& window, const Progress& progress) noexcept {
  return detail::guarded([&]() -> Status {
    if (sessions.size() != images.size()) return Error(ErrorCode::invalid_argument, cat("set_images: ", sessions.size(), " sessions and ", images.size(), " images, as many are needed"));
    if (sessions.empty()) return {};
    const auto& model = detail::Access::state(sessions[0]).model;
    for (Session& s : sessions)
      if (detail::Access::state(s).model != model) return Error(ErrorCode::invalid_argument, "set_images: the sessions are of different models");
    if (sessions.size() > 1) {
      SAMPAN_TRY(done, detail::with_network(detail::Access::state(sessions[0]), [&](const auto& net) { return detail::set_images_together(net, sessions, images, window, progress.report ? &progress : nullptr); }));
      if (done) return {};
    }
    for (std::size_t i = 0; i < sessions.size(); ++i)
      if (Status s = sessions[i].try_set_image(images[i], window, progress); !s) return sessions.size() > 1 ? std::move(s).error().at(cat("image ", i + 1)) : s;
    return {};
  });
}

SAMPAN_INLINE Status Session::try_predict_into(std::span<const Prompt> prompts, std::span<Prediction> out, const PredictOptions& options) noexcept {
  return detail::guarded([&]() -> Status { return detail::with_network(*state_, [&](const auto& net) { return state_->predict(net, prompts, out, options); }); });
}

SAMPAN_INLINE Status Session::try_predict_into(const Prompt& prompt, Prediction& out, const PredictOptions& options) noexcept {
  return try_predict_into(std::span(&prompt, 1), std::span(&out, 1), options);
}

SAMPAN_INLINE Result<Prediction> Session::try_predict(const Prompt& prompt, const PredictOptions& options) noexcept {
  return detail::guarded([&]() -> Result<Prediction> {
    Prediction p;
    SAMPAN_CHECK(try_predict_into(prompt, p, options));
    return p;
  });
}

SAMPAN_INLINE Status Session::try_predict_ensemble(std::span<const Prompt> members, Ensemble& out, const PredictOptions& options) noexcept {
  return detail::guarded([&] { return detail::with_network(*state_, [&](const auto& net) { return state_->predict_ensemble(net, members, out, options); }); });
}

SAMPAN_INLINE Status Session::try_class_map(ClassMap& out) noexcept {
  return detail::guarded([&] { return detail::with_network(*state_, [&](const auto& net) { return state_->class_map(net, out); }); });
}

SAMPAN_INLINE Status Session::try_save_embedding(const std::string& path) const noexcept {
  return detail::guarded([&]() -> Status {
    if (!state_->has_image) return Error(ErrorCode::invalid_argument, "save_embedding: the session holds no image");
    SAMPAN_CHECK(detail::with_network(*state_, [&](const auto& net) { return state_->embedding_here(net); }));
    SAMPAN_TRY(identity, detail::model_identity(*state_->model));
    return state_->embedding.save(path, state_->size, state_->frame.resized, identity, weights::to_json(state_->model->contract));
  });
}

SAMPAN_INLINE Status Session::try_load_embedding(const std::string& path) noexcept {
  return detail::guarded([&]() -> Status {
    auto& s = *state_;
    s.has_image = s.image_side_ready = s.embedding_elsewhere = false;
    const auto& n = s.model->contract.network;
    SAMPAN_CHECK(s.embedding.reserve(n.grid, n.out_channels, n.detail_channels()));
    SAMPAN_TRY(identity, detail::model_identity(*s.model));
    SAMPAN_TRY(size, s.embedding.load(path, identity));
    s.size = size;
    s.frame = predict::make_frame(s.model->contract, {size.height, size.width});
    s.timings = {};
    s.has_image = true;
    return {};
  });
}

SAMPAN_INLINE Result<std::vector<float>> Session::try_image_embedding() const noexcept {
  return detail::guarded([&]() -> Result<std::vector<float>> {
    if (!state_->has_image) return Error(ErrorCode::invalid_argument, "image_embedding: the session holds no image");
    SAMPAN_CHECK(detail::with_network(*state_, [&](const auto& net) { return state_->embedding_here(net); }));
    return state_->embedding.nchw();
  });
}

SAMPAN_INLINE bool Session::has_image() const noexcept { return state_->has_image; }
SAMPAN_INLINE ImageSize Session::image_size() const noexcept { return state_->has_image ? state_->size : ImageSize{}; }
SAMPAN_INLINE const Timings& Session::timings() const noexcept { return state_->timings; }
SAMPAN_INLINE void Session::set_trace(Trace* trace) noexcept { state_->trace = trace; }

}  // namespace sampan::inline SAMPAN_ABI
