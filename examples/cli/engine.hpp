// The steps that segment and encode share: reading model and image, encoding with progress, timings over repetitions, intermediate tensors.
// Data flow: Options -> here -> Session; Times and Trace -> report.hpp, outputs.hpp.
#pragma once
#include "outputs.hpp"

#include <sampan/core/trace.hpp>
#include <sampan/image/codec_stb.hpp>
#include <sampan/sampan.hpp>

#include <algorithm>

namespace sampan::cli {

/// Milliseconds; lists have one entry per repetition.
struct Times {
  double load = 0, write = 0;
  std::vector<double> preprocess, encode, decode, postprocess;
};

/// Of nothing: 0.
inline double median(std::vector<double> v) {
  if (v.empty()) return 0;
  std::sort(v.begin(), v.end());
  return (v[(v.size() - 1) / 2] + v[v.size() / 2]) / 2;
}

/// Decoded, and known to be showable: 16-bit pixels come with a window.
inline Image read_image(const Options& o, Times& t) {
  const double start = now_ms();
  Image image = must(load_image(o.image), Source::file);
  t.load += now_ms() - start;
  if (const Status s = check_rgb8(image.view(), o.window ? &*o.window : nullptr); !s && o.embedding.empty())
    throw Failure{exit_code(s.error().code(), Source::arguments), cat(o.image, ": ", s.error().message(), "; --window LEVEL,WIDTH or --window-preset NAME")};
  return image;
}

inline Model read_model(const Options& o, Times& t) {
  const double start = now_ms();
  auto r = Model::try_load(o.model, o.load);
  // The words --isa, --threads, --device were checked before (options.cpp); what is left of invalid arguments lies in the file.
  Model model = must(std::move(r), Source::model);
  t.load += now_ms() - start;
  stop_if_interrupted();
  return model;
}

/// `n` of Options::repeat counts from 0.
inline void encode_image(Session& session, const Image& image, const Options& o, int n, Times& t) {
  ProgressSink sink(o, o.repeat > 1 ? cat("encode ", n + 1, " of ", o.repeat) : std::string("encode"));
  auto status = session.try_set_image(image.view(), o.window, sink.progress());
  if (!status && status.error().code() == ErrorCode::cancelled) throw Cancelled{};
  if (!status && status.error().code() == ErrorCode::invalid_argument) throw Failure{Exit::usage, cat(o.image, ": ", status.error().message())};
  must(std::move(status), Source::arguments);
  t.preprocess.push_back(session.timings().preprocess);
  t.encode.push_back(session.timings().encode);
}

/// Writes the recorded tensors. A name that met nothing is an error: a file without it would look complete.
inline void write_trace(const TraceRequest& request, const Trace& trace, OutputFiles& files) {
  for (const auto& name : request.names) {
    const Trace one({name});
    if (std::none_of(trace.records().begin(), trace.records().end(), [&](const TraceRecord& r) { return one.wants(r.name); }))
      usage(cat("--trace: no tensor is called ", name, "; --trace ", request.path, " without names writes all of them"));
  }
  std::vector<OutputFiles::TensorOut> tensors;
  auto costs = nlohmann::ordered_json::array();
  for (const TraceRecord& r : trace.records()) {
    tensors.push_back({r.name, r.shape, r.data});
    if (r.cost.bytes > 0) costs.push_back({{"name", r.name}, {"ms", r.ms}, {"flop", r.cost.flop}, {"bytes", r.cost.bytes}});  // a layer; others are only looked at on the way
  }
  files.tensors(request.path, tensors, {{"sampan.trace", costs.dump()}});
}

}  // namespace sampan::cli
