// merge(): a base checkpoint and a file of what fine-tuning changed become one converted model: replaced tensors, LoRA and FacT folded, tables for another input size.
// Data flow: checkpoint.hpp (twice) -> fold.hpp -> convert.hpp. sampan-merge is the command line around it; tests call it in process.
// LoRA files of SAMed's kind hold a complete prompt encoder and mask decoder and additions to the encoder; the encoder itself is SAM's.
// Position tables go to another grid as SAMed's loader does it, once: bilinear, align_corners=False (nn/rel_pos.hpp).
#pragma once
#include "convert.hpp"

#include <sampan/nn/rel_pos.hpp>

namespace sampan::inline SAMPAN_ABI::tools {

struct MergeOptions {
  std::string base, tuned, output;
  std::string family;  ///< as for convert()
  int image_size = 0;  ///< of the fine-tune; 0: as the base
};

namespace detail {

inline Result<std::vector<float>> table_values(const SourceTensor& t, std::size_t rank) {
  if (t.shape.size() != rank || !is_floating(t.dtype) || t.count() == 0) return Error(ErrorCode::bad_model, cat("tensor ", t.name, " is ", weights::to_string(t.shape), ", ", rank, " axes of floating type are needed"));
  std::vector<std::uint8_t> scratch;
  const Bytes b = t.contiguous(scratch);
  std::vector<float> v(t.count());
  weights::convert_to_f32(t.dtype, b.data(), v.size(), v.data());
  return v;
}

/// pos_embed and the tables of global blocks (2g - 1 rows) for an input of `image_size`. Tables that fit already stay.
inline Status resize_tables(Checkpoint& c, int image_size) {
  const auto find = [&](std::string_view name) -> SourceTensor* {
    for (SourceTensor& t : c.source.tensors)
      if (t.name == name) return &t;
    return nullptr;
  };
  SourceTensor *pos = find("image_encoder.pos_embed"), *patch = find("image_encoder.patch_embed.proj.weight");
  if (!pos || !patch || pos->shape.size() != 4 || patch->shape.size() != 4 || patch->shape[3] < 1) return Error(ErrorCode::bad_model, "--image-size needs a SAM encoder with pos_embed and patch_embed");
  const Index from = Index(pos->shape[1]), to = image_size / Index(patch->shape[3]), width = Index(pos->shape[3]);
  if (to < 1 || to > 512 || to * Index(patch->shape[3]) != image_size || from < 1 || from > 512 || pos->shape[2] != from) return Error(ErrorCode::invalid_argument, cat("--image-size ", image_size, " must be a multiple of the patch of ", patch->shape[3], " px, up to 512 patches"));
  if (from == to) return {};
  SAMPAN_TRY(stored, table_values(*pos, 4));
  std::vector<float> rows(std::size_t(to * from * width)), all(std::size_t(to * to * width));
  nn::resample_rows(View<const float, 2>(stored.data(), {from, from * width}), View<float, 2>(rows.data(), {to, from * width}));
  for (Index y = 0; y < to; ++y) nn::resample_rows(View<const float, 2>(rows.data() + y * from * width, {from, width}), View<float, 2>(all.data() + y * to * width, {to, width}));
  replace_values(c, *pos, {1, to, to, width}, all);
  for (SourceTensor& t : c.source.tensors) {
    const bool table = ends_with(t.name, ".attn.rel_pos_h") || ends_with(t.name, ".attn.rel_pos_w");
    if (!table || t.shape.size() != 2 || t.shape[0] != 2 * from - 1) continue;
    SAMPAN_TRY(v, table_values(t, 2));
    const Index d = Index(t.shape[1]);
    std::vector<float> out(std::size_t((2 * to - 1) * d));
    nn::resample_rows(View<const float, 2>(v.data(), {2 * from - 1, d}), View<float, 2>(out.data(), {2 * to - 1, d}));
    replace_values(c, t, {2 * to - 1, d}, out);
  }
  return {};
}

}  // namespace detail

/// Error codes as convert()'s; bad_model also for additions that fit no tensor of the base. Nothing is left behind on failure.
inline Result<ConvertReport> merge(const MergeOptions& o) {
  for (const std::string& in : {o.base, o.tuned})
    if (detail::same_file(in, o.output)) return Error(ErrorCode::invalid_argument, cat(o.output, " is an input itself: give the output another name"));
  if (!o.family.empty() && !weights::find_family(o.family)) return detail::unknown_family(o.family);
  SAMPAN_TRY(base, open_checkpoint(o.base));
  SAMPAN_TRY(c, open_checkpoint(o.tuned));
  strip_prefixes(base);
  strip_prefixes(c);
  const auto tuned_has = [&](std::string_view part) {
    return std::any_of(c.source.tensors.begin(), c.source.tensors.end(), [&](const SourceTensor& t) { return t.name.rfind(part, 0) == 0; });
  };
  constexpr std::string_view kHeads = "mask_decoder.output_hypernetworks_mlps.";  // a decoder of few classes has fewer than SAM's four
  const bool other_heads = tuned_has(kHeads);
  std::vector<SourceTensor> kept;
  for (SourceTensor& t : base.source.tensors) {
    const bool replaced = std::any_of(c.source.tensors.begin(), c.source.tensors.end(), [&](const SourceTensor& n) { return n.name == t.name; });
    if (!replaced && !(other_heads && t.name.rfind(kHeads, 0) == 0)) kept.push_back(std::move(t));
  }
  if (c.source.tensors.empty()) return Error(ErrorCode::bad_model, cat(o.tuned, ": holds no tensors"));
  for (SourceTensor& t : c.source.tensors) kept.push_back(std::move(t));
  c.source.tensors = std::move(kept);
  if (o.image_size != 0)
    if (auto s = detail::resize_tables(c, o.image_size); !s) return std::move(s).error().at(o.base);
  c.label = cat(o.tuned, " on ", o.base);
  SAMPAN_TRY(report, convert_checkpoint(c, {.input = cat(detail::base_name(o.tuned), " on ", detail::base_name(o.base)), .output = o.output, .family = o.family}));
  return report;
}

}  // namespace sampan::inline SAMPAN_ABI::tools
