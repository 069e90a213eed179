// What a prompt must be before any work is done: against the image, and against what the network was trained with.
// Data flow: Session::predict and the public check() (predict/predictor.hpp) -> here. Every message names the value, and what was expected.
#pragma once
#include <sampan/predict/predictor.hpp>

namespace sampan::inline SAMPAN_ABI::detail {

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
  const bool alone = !m.points && !m.boxes && !m.mask_input;  // it takes no prompt at all
  const auto untrained = [&](std::string_view what) { return unsupported(alone ? std::string(" takes no prompts: it gives one mask of the whole image") : cat(" takes no ", what, "; it was trained with ", m.boxes ? "boxes" : "points", " only")); };
  if (m.classes) return unsupported(cat(" takes no prompts: it gives each pixel one of ", m.classes, " classes (class_map)"));
  if (!p.points.empty() && !m.points) return untrained("points");
  if (p.box && !m.boxes) return untrained("boxes");
  if (!p.mask_input.empty() && !m.mask_input) return untrained("mask input");
  if (p.points.empty() && !p.box && p.mask_input.empty() && !m.points && !alone) return Error(ErrorCode::invalid_argument, cat(m.name, " needs a box"));
  if (const auto tokens = std::int64_t(p.points.size()) + (p.box ? 2 : 0); m.most_tokens && tokens > m.most_tokens)
    return unsupported(cat(" takes at most ", m.most_tokens, " points, a box counting as two; the prompt has ", tokens));
  if (o.multimask && !m.multimask) return unsupported(" gives one mask per prompt, not three; leave multimask off");
  if (!o.multimask && !m.single_mask) return unsupported(" gives three masks per prompt only; switch multimask on");
  if (o.hq_token_only && !m.hq_token) return unsupported(" has no token of SAM-HQ; leave hq_token_only off");
  if (!p.mask_input.empty() && p.mask_input.size() != std::size_t(m.low_res * m.low_res))
    return Error(ErrorCode::invalid_argument, cat("mask input has ", p.mask_input.size(), " values; low_res_logits of this model are ", m.low_res, "x", m.low_res));
  return {};
}

}  // namespace sampan::inline SAMPAN_ABI::detail
