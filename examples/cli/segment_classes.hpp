// The part of `sampan segment` for models with one token per class. Data flow: segment.cpp -> here -> segment_classes.cpp.
#pragma once
#include "label_names.hpp"
#include "report.hpp"

namespace sampan::cli {

/// Labels of the whole image, which `session` holds already if --embedding was given (then `image` may be null). Writes -o and --overlay, prints --json.
void segment_classes(const Options& o, const Model& model, Session& session, const Image* image, const LabelNames& names, Times& t);

}  // namespace sampan::cli
