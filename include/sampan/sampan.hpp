// sampan: promptable medical image segmentation without a framework runtime. This is the public face: std types in, std types out.
// Data flow: your pixels -> Session::set_image (encode once) -> Session::predict (milliseconds per prompt) -> Mask. Weights come from sampan-convert.
// Coordinates are pixels of the original image, x before y; boxes are two corners (core/geometry.hpp says it once for all).
// Every function that can fail exists twice: `f` throws sampan::Error, `try_f` is noexcept and returns Result<T>. Without exceptions only the twins exist.
// Header-only by default; with the CMake target sampan::compiled (or SAMPAN_COMPILED, and SAMPAN_IMPLEMENTATION in one file) this header is light.
// Next: predict/predictor.hpp, the classes.
#pragma once
#include <sampan/predict/predictor.hpp>

#if !defined(SAMPAN_COMPILED) || defined(SAMPAN_IMPLEMENTATION)
#  include <sampan/impl/model.ipp>
#  include <sampan/impl/prompt_check.ipp>
#  include <sampan/impl/session.ipp>
#endif
