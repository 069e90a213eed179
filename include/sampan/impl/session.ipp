// Definitions of Session (predict/predictor.hpp): the noexcept border, prompt checks, embeddings.
#pragma once
#include <sampan/core/sha256.hpp>
#include <sampan/predict/session_state.hpp>

namespace sampan::inline SAMPAN_ABI {
namespace detail {

inline Status check_geometry(const Prompt& p, const ImageSize& size) {
  const auto refuse = [](std::string text) { return Error(ErrorCode::invalid_argument, std::move(text)); };
  const double w = double(size.width), h = double(size.height);
  const auto finite = [](double v) { return v - v == 0; };
  const auto text = [](double v) { return short_number(v); };
  const auto image = [&] { return cat("the image is ", size.width, "x", size.height, " pixels"); };
  if (p.points.size() > 100'000) return Error(ErrorCode::limit, cat(p.points.size(), " points for one object; at most 100000 are accepted"));
  for (const auto& q : p.points) {
    const auto shown = [&] { return cat("point ", text(q.x), ",", text(q.y)); };
    if (q.label != 0 && q.label != 1) return refuse(cat(shown(), " has label ", q.label, ": 1 (object) or 0 (background) is needed"));
    if (!finite(q.x) || !finite(q.y)) return refuse(cat(shown(), " is not finite"));
    // A click just outside is legal in the reference; one that is off by more than the image itself is a mistake (wrong unit, wrong image).
    if (!(q.x >= -w && q.x <= 2 * w && q.y >= -h && q.y <= 2 * h)) return refuse(cat(shown(), " lies far outside: ", image()));
  }
  if (p.box) {
    const Box& b = *p.box;
    const auto shown = [&] { return cat("box ", text(b.x0), ",", text(b.y0), ",", text(b.x1), ",", text(b.y1)); };
    if (!finite(b.x0) || !finite(b.y0) || !finite(b.x1) || !finite(b.y1)) return refuse(cat(shown(), " is not finite: four numbers x0,y0,x1,y1 are needed"));
    if (!(b.x0 < b.x1 && b.y0 < b.y1)) return refuse(cat(shown(), " is empty or inverted: x0 < x1 and y0 < y1 are needed"));
    if (!(b.x0 >= 0 && b.y0 >= 0 && b.x1 <= w && b.y1 <= h)) return refuse(cat(shown(), " is outside the image: ", image()));
  }
  for (float v : p.mask_input)
    if (!finite(double(v))) return refuse("mask input holds NaN or Inf");
  return {};
}

inline Status check_capability(const Prompt& p, const ModelInfo& m, const PredictOptions& o) {
  const auto unsupported = [&](std::string_view what) { return Error(ErrorCode::unsupported, cat(m.name, what)); };
  const auto untrained = [&](std::string_view what) { return unsupported(cat(" takes no ", what, "; it was trained with ", m.boxes ? "boxes" : "points", " only")); };
  if (!p.points.empty() && !m.points) return untrained("points");
  if (p.box && !m.boxes) return untrained("boxes");
  if (!p.mask_input.empty() && !m.mask_input) return untrained("mask input");
  if (p.points.empty() && !p.box && p.mask_input.empty() && !m.points) return Error(ErrorCode::invalid_argument, cat(m.name, " needs a box"));
  if (o.multimask && !m.multimask) return unsupported(" gives one mask per prompt, not three; leave multimask off");
  if (!o.multimask && !m.single_mask) return unsupported(" gives three masks per prompt only; switch multimask on");
  if (!p.mask_input.empty() && p.mask_input.size() != std::size_t(m.low_res * m.low_res))
    return Error(ErrorCode::invalid_argument, cat("mask input has ", p.mask_input.size(), " values; low_res_logits of this model are ", m.low_res, "x", m.low_res));
  return {};
}

inline Status SessionState::check_prompt(const Prompt& p, const PredictOptions& o) const {
  SAMPAN_CHECK(check_capability(p, model->info, o));
  return check_geometry(p, size);
}

/// Names the weights in embedding files: the digest in the contract record, or the whole file's for a file that sampan-convert did not write.
inline Result<std::string> model_identity(const ModelState& m) {
  if (!m.contract.data_sha256.empty()) return m.contract.data_sha256;
  SAMPAN_TRY(file, MappedFile::open(m.path));
  return sha256_of_file(file);
}

template <class F>
auto with_network(const SessionState& s, F&& f) {
  return std::visit([&](const auto& net) { return f(net); }, s.model->network);
}

}  // namespace detail

SAMPAN_INLINE Status check(const Prompt& prompt, const ImageSize& image) noexcept {
  return detail::guarded([&] { return detail::check_geometry(prompt, image); });
}

SAMPAN_INLINE Status check(const Prompt& prompt, const ModelInfo& model, const PredictOptions& options) noexcept {
  return detail::guarded([&] { return detail::check_capability(prompt, model, options); });
}

SAMPAN_INLINE Session::Session(const Model& model) : state_(std::make_unique<detail::SessionState>(detail::Access::state(model))) {}
SAMPAN_INLINE Session::Session(Session&&) noexcept = default;
SAMPAN_INLINE Session& Session::operator=(Session&&) noexcept = default;
SAMPAN_INLINE Session::~Session() = default;

SAMPAN_INLINE Status Session::try_set_image(const ImageView& image, const std::optional<WindowLevel>& window, const Progress& progress) noexcept {
  return detail::guarded([&]() -> Status { return detail::with_network(*state_, [&](const auto& net) { return state_->set_image(net, image, window, progress.report ? &progress : nullptr); }); });
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

SAMPAN_INLINE Status Session::try_save_embedding(const std::string& path) const noexcept {
  return detail::guarded([&]() -> Status {
    if (!state_->has_image) return Error(ErrorCode::invalid_argument, "save_embedding: the session holds no image");
    SAMPAN_TRY(identity, detail::model_identity(*state_->model));
    return state_->embedding.save(path, state_->size, state_->frame.resized, identity, weights::to_json(state_->model->contract));
  });
}

SAMPAN_INLINE Status Session::try_load_embedding(const std::string& path) noexcept {
  return detail::guarded([&]() -> Status {
    auto& s = *state_;
    s.has_image = s.image_side_ready = false;
    const auto& n = s.model->contract.network;
    SAMPAN_CHECK(s.embedding.reserve(n.grid, n.out_channels));
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
    return state_->embedding.nchw();
  });
}

SAMPAN_INLINE bool Session::has_image() const noexcept { return state_->has_image; }
SAMPAN_INLINE ImageSize Session::image_size() const noexcept { return state_->has_image ? state_->size : ImageSize{}; }
SAMPAN_INLINE const Timings& Session::timings() const noexcept { return state_->timings; }
SAMPAN_INLINE void Session::set_trace(Trace* trace) noexcept { state_->trace = trace; }

}  // namespace sampan::inline SAMPAN_ABI
