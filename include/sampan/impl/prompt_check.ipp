// Definitions of check() (predict/predictor.hpp): apart from session.ipp, so that a reader of prompts needs no network.
#pragma once
#include <sampan/predict/guarded.hpp>
#include <sampan/predict/prompt_check.hpp>

namespace sampan::inline SAMPAN_ABI {

SAMPAN_INLINE Status check(const Prompt& prompt, const ImageSize& image) noexcept {
  return detail::guarded([&] { return detail::check_geometry(prompt, image); });
}

SAMPAN_INLINE Status check(const Prompt& prompt, const ModelInfo& model, const PredictOptions& options) noexcept {
  return detail::guarded([&] { return detail::check_capability(prompt, model, options); });
}

}  // namespace sampan::inline SAMPAN_ABI
