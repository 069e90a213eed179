// Definitions of Session (predict/predictor.hpp): the noexcept border, prompt checks, embeddings.
#pragma once
#include <sampan/core/sha256.hpp>
#include <sampan/predict/session_state.hpp>

namespace sampan::inline SAMPAN_ABI {
namespace detail {

inline Status SessionState::check_prompt(const Prompt& p, const PredictOptions& o) const {
  const auto& c = model->contract;
  const auto refuse = [](std::string text) { return Error(ErrorCode::invalid_argument, std::move(text)); };
  const auto unsupported = [&](std::string_view what) { return Error(ErrorCode::unsupported, cat(c.name, " takes no ", what, "; it was trained with ", c.prompt.boxes ? "boxes" : "points", " only")); };
  if (!p.points.empty() && !c.prompt.points) return unsupported("points");
  if (p.box && !c.prompt.boxes) return unsupported("boxes");
  if (!p.mask_input.empty() && !c.prompt.mask_input) return unsupported("mask input");
  if (p.points.empty() && !p.box && p.mask_input.empty() && !c.prompt.points) return refuse(cat(c.name, " needs a box"));
  if (o.multimask && !c.mask.multimask) return Error(ErrorCode::unsupported, cat(c.name, " gives one mask per prompt, not three; leave multimask off"));
  if (!o.multimask && !c.mask.single) return Error(ErrorCode::unsupported, cat(c.name, " gives three masks per prompt only; switch multimask on"));
  const double w = double(size.width), h = double(size.height);
  const auto text = [](double v) { return short_number(v); };
  const auto image = [&] { return cat("the image is ", size.width, "x", size.height, " pixels"); };
  if (p.points.size() > 100'000) return Error(ErrorCode::limit, cat(p.points.size(), " points for one object; at most 100000 are accepted"));
  for (const auto& q : p.points) {
    if (q.label != 0 && q.label != 1) return refuse(cat("point label ", q.label, ": 1 (object) or 0 (background) is needed"));
    // A click just outside is legal in the reference; one that is off by more than the image itself is a mistake (wrong unit, wrong image).
    if (!(q.x >= -w && q.x <= 2 * w && q.y >= -h && q.y <= 2 * h)) return refuse(cat("point ", text(q.x), ",", text(q.y), " lies far outside: ", image()));
  }
  if (p.box) {
    const Box& b = *p.box;
    const auto shown = [&] { return cat("box ", text(b.x0), ",", text(b.y0), ",", text(b.x1), ",", text(b.y1)); };
    if (!(b.x0 - b.x0 == 0 && b.y0 - b.y0 == 0 && b.x1 - b.x1 == 0 && b.y1 - b.y1 == 0)) return refuse(cat(shown(), " is not finite: four numbers x0,y0,x1,y1 are needed"));
    if (!(b.x0 < b.x1 && b.y0 < b.y1)) return refuse(cat(shown(), " is empty or inverted: x0 < x1 and y0 < y1 are needed"));
    if (!(b.x0 >= 0 && b.y0 >= 0 && b.x1 <= w && b.y1 <= h)) return refuse(cat(shown(), " is outside the image: ", image()));
  }
  const std::size_t low = std::size_t(4 * c.network.grid);
  if (!p.mask_input.empty() && p.mask_input.size() != low * low) return refuse(cat("mask input has ", p.mask_input.size(), " values; low_res_logits of this model are ", low, "x", low));
  for (float v : p.mask_input)
    if (!(v - v == 0)) return refuse("mask input holds NaN or Inf");
  return {};
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
