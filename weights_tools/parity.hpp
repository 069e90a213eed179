// compare_with_golden(): runs a converted model on the tensors of a golden file and compares with what PyTorch gave. Data flow: verify.hpp -> here -> sampan-verify.
// A golden is a safetensors file with `input` [1,3,S,S] and `image_embedding` [1,C,G,G], and any number of pairs PREFIXsparse [n,C] or [b,n,C] and
// PREFIXlow_res_logits [.., 4G, 4G] (one mask: token 0; three: tokens 1..3); masks as prompts are not in it. tests/parity and `sampan segment --dump` use these names.
// Source of the limits: relative L2 1e-5 for embeddings, 1e-4 for logits, the project's parity gate. Cost: one encoder pass.
#pragma once
#include <sampan/predict/model_state.hpp>
#include <sampan/weights/safetensors.hpp>

#include <cmath>

namespace sampan::inline SAMPAN_ABI::tools {

inline constexpr double kEmbeddingLimit = 1e-5, kLogitsLimit = 1e-4;

struct ParityReport {
  double embedding = 0, logits = 0;
  int prompts = 0;
};

namespace detail {

inline Result<std::vector<float>> golden_values(const weights::Safetensors& g, const weights::TensorEntry& t) {
  if (t.dtype != DType::f32) return Error(ErrorCode::bad_file, cat(g.path(), ": tensor ", t.name, " must be F32"));
  std::vector<float> v(t.data.size() / sizeof(float));
  weights::convert_to_f32(t.dtype, t.data.data(), v.size(), v.data());
  return v;
}

inline double relative_l2(const std::vector<float>& ours, const std::vector<float>& wanted) {
  double d = 0, n = 0;
  for (std::size_t i = 0; i < wanted.size(); ++i) d += (double(ours[i]) - double(wanted[i])) * (double(ours[i]) - double(wanted[i])), n += double(wanted[i]) * double(wanted[i]);
  const double r = std::sqrt(d / n);
  return r >= 0 ? r : HUGE_VAL;
}

/// Plans, reserves, runs.
template <class B, class F>
Status run(const B& backend, ThreadPool& pool, F&& forward) {
  SAMPAN_TRY(p, plan(backend, pool, forward));
  Arena arena;
  if (!arena.reserve(p.arena_bytes)) return Error(ErrorCode::out_of_memory, "no memory for the activations");
  Context<B> ctx(backend, pool, arena);
  forward(ctx);
  return ctx.status();
}

template <class B>
Result<ParityReport> compare(const models::Network<B>& net, ThreadPool& pool, const weights::Safetensors& g) {
  const Index s = net.image_size(), grid = net.grid(), c = net.channels(), low = 4 * grid;
  const auto* input = g.find("input");
  const auto* embedding = g.find("image_embedding");
  if (!input || input->shape != weights::Shape{1, 3, s, s} || !embedding || embedding->shape != weights::Shape{1, c, grid, grid})
    return Error(ErrorCode::bad_file, cat(g.path(), ": a golden of this model holds input [1,3,", s, ",", s, "] and image_embedding [1,", c, ",", grid, ",", grid, "]"));
  SAMPAN_TRY(nchw, golden_values(g, *input));
  std::vector<float> image(nchw.size()), ours(std::size_t(grid * grid * c)), first(ours.size());
  for (Index k = 0; k < 3; ++k)
    for (Index i = 0; i < s * s; ++i) image[std::size_t(i * 3 + k)] = nchw[std::size_t(k * s * s + i)];
  SAMPAN_CHECK(run(net.backend, pool, [&](Context<B>& ctx) { net.encode(ctx, View<const float, 3>(image.data(), {s, s, 3}), View<float, 3>(ours.data(), {grid, grid, c})); }));
  for (Index k = 0; k < c; ++k)
    for (Index i = 0; i < grid * grid; ++i) first[std::size_t(k * grid * grid + i)] = ours[std::size_t(i * c + k)];
  SAMPAN_TRY(wanted, golden_values(g, *embedding));
  ParityReport r;
  r.embedding = relative_l2(first, wanted);

  std::vector<float> dense(std::size_t(grid * grid * c));
  SAMPAN_CHECK(run(net.backend, pool, [&](Context<B>& ctx) { net.prompt_encoder.encode_dense(ctx, {}, View<float, 3>(dense.data(), {grid, grid, c})); }));
  constexpr std::string_view kSparse = "sparse";
  for (const auto& t : g.tensors()) {
    const std::string_view name = t.name;
    if (name.size() < kSparse.size() || name.substr(name.size() - kSparse.size()) != kSparse || name.find("mask") != std::string_view::npos) continue;
    const auto* logits = g.find(cat(name.substr(0, name.size() - kSparse.size()), "low_res_logits"));
    const std::size_t rank = t.shape.size();
    if (!logits || (rank != 2 && rank != 3) || t.shape.back() != c || logits->shape.size() < 3) continue;
    const Index b = rank == 3 ? t.shape[0] : 1, n = t.shape[rank - 2];
    const Index masks = logits->shape[logits->shape.size() - 3] * (rank == 2 && logits->shape.size() == 4 ? logits->shape[0] : 1);
    if (logits->shape[logits->shape.size() - 1] != low || logits->shape[logits->shape.size() - 2] != low || (masks != 1 && masks != net.mask_decoder.mask_count(true))) continue;
    SAMPAN_TRY(tokens, golden_values(g, t));
    SAMPAN_TRY(want, golden_values(g, *logits));
    std::vector<float> got(std::size_t(b * masks * low * low)), iou(std::size_t(b * masks));
    if (want.size() != got.size()) return Error(ErrorCode::bad_file, cat(g.path(), ": tensor ", logits->name, " is ", weights::to_string(logits->shape), ", ", got.size(), " values are needed for ", name));
    for (Index i = 0; i < b; ++i)
      SAMPAN_CHECK(run(net.backend, pool, [&](Context<B>& ctx) {
        net.mask_decoder.forward(ctx, {View<const float, 3>(ours.data(), {grid, grid, c}), net.prompt_encoder.dense_pe.view(), View<const float, 3>(tokens.data() + i * n * c, {1, n, c}), View<const float, 3>(dense.data(), {1, grid * grid, c})},
                                 masks > 1, View<float, 3>(got.data() + i * masks * low * low, {1, masks, low * low}), View<float, 2>(iou.data() + i * masks, {1, masks}));
      }));
    r.logits = std::max(r.logits, relative_l2(got, want));
    r.prompts += int(b);
  }
  return r;
}

}  // namespace detail

/// Error{bad_file} if the golden does not belong to this model, Error{bad_model} with the numbers if a limit is passed.
inline Result<ParityReport> compare_with_golden(const std::string& model_path, const std::string& golden_path) {
  SAMPAN_TRY(golden, weights::Safetensors::open(golden_path));
  SAMPAN_TRY(model, Model::try_load(model_path));
  const auto& state = sampan::detail::Access::state(model);
  auto report = std::visit([&](const auto& net) { return detail::compare(net, state->pool, golden); }, state->network);
  if (!report) return std::move(report).error();
  if (!(report->embedding <= kEmbeddingLimit) || !(report->logits <= kLogitsLimit))
    return Error(ErrorCode::bad_model, cat(model_path, ": differs from ", golden_path, ": embedding ", std::to_string(report->embedding * 1e6), "e-6 (limit 10e-6), logits ", std::to_string(report->logits * 1e6), "e-6 (limit 100e-6), relative L2"));
  return report;
}

}  // namespace sampan::inline SAMPAN_ABI::tools
