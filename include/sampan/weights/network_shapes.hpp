// The complete tensor list (name, shape) of a network of given sizes, in PyTorch's names, and the check of a file against it.
// Data flow: sampan-convert and sampan-verify compare every tensor of a checkpoint with this list; sizes come from weights/identify.hpp or the contract.
// Here are prompt encoder and decoders; the encoders stand in weights/encoder_shapes.hpp.
// Source: segment_anything/modeling/*.py; MedIM sam_med3d.py; of other decoders what their headers in models/ name.
#pragma once
#include <sampan/weights/encoder_shapes.hpp>

namespace sampan::inline SAMPAN_ABI::weights {

namespace detail {

inline void prompt_encoder_shapes(const ShapeList& p, std::int64_t c, DecoderKind kind, PromptSource source) {
  p.add("pe_layer.positional_encoding_gaussian_matrix", {2, c / 2});
  if (source == PromptSource::no_mask) p.add("no_mask_embed.weight", {1, c});
  if (source == PromptSource::no_mask || source == PromptSource::positions) return;
  const bool efficient = kind == DecoderKind::efficient_sam;  // no background label, no mask input
  for (int i = efficient ? 1 : 0; i < 4; ++i) p.add(cat("point_embeddings.", i, ".weight"), {1, c});
  p.add("not_a_point_embed.weight", {1, c});
  if (efficient) return;
  p.conv("mask_downscaling.0", 1, 4, 2);
  p.norm("mask_downscaling.1", 4);
  p.conv("mask_downscaling.3", 4, 16, 2);
  p.norm("mask_downscaling.4", 16);
  p.conv("mask_downscaling.6", 16, c, 1);
  p.add("no_mask_embed.weight", {1, c});
}

/// Of volumes: two point embeddings only, so no boxes; three blocks of c / 3 in a position's encoding.
inline void prompt_encoder_3d_shapes(const ShapeList& p, std::int64_t c) {
  p.add("pe_layer.positional_encoding_gaussian_matrix", {3, c / 3});
  for (int i = 0; i < 2; ++i) p.add(cat("point_embeddings.", i, ".weight"), {1, c});
  p.add("not_a_point_embed.weight", {1, c});
  p.conv3d("mask_downscaling.0", 1, 4, 2);
  p.norm("mask_downscaling.1", 4);
  p.conv3d("mask_downscaling.3", 4, 16, 2);
  p.norm("mask_downscaling.4", 16);
  p.conv3d("mask_downscaling.6", 16, c, 1);
  p.add("no_mask_embed.weight", {1, c});
}

/// H-SAM's second decoder: layers among class features are as wide as the grid has tokens; the norms of its attention, of one width each at every size, are never used.
inline void guided_shapes(const ShapeList& m, const NetworkSizes& n) {
  const std::int64_t c = n.out_channels, classes = n.mask_tokens, tokens = std::int64_t(n.grid) * n.grid;
  const auto attention = [](const ShapeList& a, std::int64_t width, std::int64_t inner) {
    for (const char* part : {"q_proj", "k_proj", "v_proj"}) a.linear(part, width, inner);
    a.linear("out_proj", inner, width);
  };
  m.add("mask_tokens.weight", {classes, c});
  for (int l = 0; l < NetworkSizes::kDecoderDepth; ++l) {
    const ShapeList b = m / "transformer2.layers" / l;
    attention(b / "self_attn", c, c);
    for (const char* place : {"cross_attn_token_to_image", "cross_attn_image_to_token"}) {
      attention(b / place, c, c);
      (b / place).norm("norm1", 196);
      (b / place).norm("norm2", classes);
      (b / place).norm("norm3", 1024);
    }
    for (const char* norm : {"norm1", "norm2", "norm3", "norm4"}) b.norm(norm, c);
    b.linear("mlp.lin1", c, n.decoder_mlp);
    b.linear("mlp.lin2", n.decoder_mlp, c);
  }
  attention(m / "transformer2.final_attn_token_to_image", c, c / 2);
  m.norm("transformer2.norm_final_attn", c);
  m.conv_transpose("output_upscaling.0", c, c / 4, 2);
  m.norm("output_upscaling.1", c / 4);
  m.conv_transpose("output_upscaling.3", c / 4, c / 8, 2);
  m.conv_transpose("skip_connect.0", c / 4, c / 8, 2);
  m.norm("skip_connect.1", c / 8);
  m.conv_transpose("skip_connect.3", c / 8, c / 16, 2);
  m.norm("skip_connect.4", c / 16);
  for (int i = 0; i < classes; ++i)
    for (int l = 0; l < 5; ++l) (m / "output_hypernetworks_mlps2" / i / "layers").linear(std::to_string(l), c, l == 4 ? c / 16 : c);
  const ShapeList iou = m / "iou_prediction_head.layers";
  iou.linear("0", c, n.iou_hidden);
  iou.linear("1", n.iou_hidden, n.iou_hidden);
  iou.linear("2", n.iou_hidden, classes);
  attention(m / "self_attn", tokens, tokens);
  attention(m / "self_attn2", tokens, tokens);
  m.norm("norm1", tokens);
  m.norm("norm2", tokens);
  m.linear("mlp.lin1", tokens, n.decoder_mlp);
  m.linear("mlp.lin2", n.decoder_mlp, tokens);
  m.linear("med_sel.0", classes, 1);
}

/// AutoSAMUS: depth 2, 8 heads of 64, an MLP of 1024 in each of its transformers (nn/prompt_generator.hpp).
inline void prompt_generator_shapes(const ShapeList& top, const NetworkSizes& n) {
  const ShapeList p = top / "prompt_generator";
  const std::int64_t c = n.out_channels, inner = 512, mlp = 1024;
  p.add("object_token", {1, n.object_tokens, c});
  for (const char* name : {"cross_token_token", "cross_image_token"})
    for (int l = 0; l < 2; ++l) {
      const ShapeList layer = p / name / "layers" / l;
      for (int k = 0; k < 4; ++k) {
        const ShapeList at = layer / k, f = at / "fn";
        if (k < 2) {
          at.norm("norm1", c);
          at.norm("norm2", c);
          f.add("to_q.weight", {inner, c});
          f.add("to_kv.weight", {2 * inner, c});
          f.linear("to_out.0", inner, c);
        } else {
          at.norm("norm", c);
          f.linear("net.0", c, mlp);
          f.linear("net.3", mlp, c);
        }
      }
    }
  p.linear("token_proj", c, c);
  for (int i = 0; i < 4; ++i) top.conv_norm("feature_adapter", 3 * i, i == 0 ? c : c / 4, i == 3 ? c : c / 4);
}

/// DeSAM's U-Net: blocks of `SqueezeBlock` in models/pimm_head.hpp.
inline void pimm_shapes(const ShapeList& p, std::int64_t c, std::int64_t early) {
  const auto block = [](const ShapeList& b, std::int64_t in, std::int64_t out) {
    b.add("conv1.conv.weight", {out, in, 3, 3});
    b.add("conv2.conv.weight", {out, out, 3, 3});
    b.add("conv3.conv.weight", {out, in, 1, 1});
    b.add("se.fc.0.weight", {out / 16, out});
    b.add("se.fc.2.weight", {out, out / 16});
  };
  for (int d = 0; d < 3; ++d) {
    const ShapeList k = p / "conv_blocks_context" / d;
    const std::int64_t out = c >> d;
    block(k / "block_init", early, out);
    for (int i = 0; i < d; ++i) {
      (k / "residual_block" / i / 0).add("conv.weight", {out, out, 2, 2});
      block(k / "residual_block" / i / 1, out, out);
    }
  }
  for (int u = 0; u < 2; ++u) {
    const ShapeList k = p / "conv_blocks_localization" / u;
    const std::int64_t out = c >> (u + 1);
    (k / "transp_conv").add("conv.weight", {2 * out, out, 2, 2});
    block(k / "res_block", 2 * out, out);
    p.add(cat("seg_outputs.", u, ".weight"), {1, out, 1, 1});
  }
  block(p / "mask_embedding_fusion", 2 * c, c);
}

/// AutoSAM's linear and CNN heads: `PlainHead` in models/plain_head.hpp.
inline void plain_head_shapes(const ShapeList& m, const NetworkSizes& n) {
  const std::int64_t c = n.out_channels, top = n.plain_width, widest = top << n.plain_depth;
  if (n.decoder == DecoderKind::plain_linear) {
    m.conv_transpose("output_upscaling.0", c, c / 4, 2);
    m.norm("output_upscaling.1", c / 4);
    m.conv_transpose("output_upscaling.3", c / 4, c / 8, 2);
    m.conv("final.0", c / 8, c / 8, 1);
    m.conv("final.2", c / 8, n.mask_tokens, 1);
    return;
  }
  m.conv("input_block.0", c, widest, 1);
  m.conv("input_block.2", widest, widest, 1);
  for (int i = 0; i < n.plain_depth; ++i) {
    const ShapeList b = m / "blocks" / i;
    const std::int64_t width = widest >> i;
    const bool doubles = n.plain_depth <= 2 || i >= 2;
    b.conv("0", width, width, 3);
    b.conv("2", width, doubles ? width : width / 2, 3);
    if (doubles) b.conv_transpose("4", width, width / 2, 2);
  }
  m.conv("final.0", top, top, 3);
  m.conv("final.1", top, n.mask_tokens, 1);
}

inline void mask_decoder_shapes(const ShapeList& m, const NetworkSizes& n) {
  const std::int64_t c = n.out_channels;
  const auto attention = [c](const ShapeList& a, std::int64_t inner) {
    for (const char* part : {"q_proj", "k_proj", "v_proj"}) a.linear(part, c, inner);
    a.linear("out_proj", inner, c);
  };
  for (int l = 0; l < NetworkSizes::kDecoderDepth; ++l) {
    const ShapeList b = m / "transformer.layers" / l;
    attention(b / "self_attn", c);
    attention(b / "cross_attn_token_to_image", c / 2);
    attention(b / "cross_attn_image_to_token", c / 2);
    for (const char* norm : {"norm1", "norm2", "norm3", "norm4"}) b.norm(norm, c);
    b.linear("mlp.lin1", c, n.decoder_mlp);
    b.linear("mlp.lin2", n.decoder_mlp, c);
    for (const char* place : {"Adapter", "MLP_Adapter"}) {
      if (l >= n.decoder_hook_layers) break;
      (b / place).linear("D_fc1", c, n.decoder_hook);
      (b / place).linear("D_fc2", n.decoder_hook, c);
    }
  }
  attention(m / "transformer.final_attn_token_to_image", c / 2);
  m.norm("transformer.norm_final_attn", c);
  const int sets = std::max(1, n.class_sets);
  m.add("iou_token.weight", {sets, c});
  m.add("mask_tokens.weight", {sets * n.mask_tokens, c});
  const bool volume = is_volume(n.encoder);
  volume ? m.conv_transpose3d("output_upscaling.0", c, c / 4, 2) : m.conv_transpose("output_upscaling.0", c, c / 4, 2);
  m.norm("output_upscaling.1", c / 4);
  volume ? m.conv_transpose3d("output_upscaling.3", c / 4, c / 8, 2) : m.conv_transpose("output_upscaling.3", c / 4, c / 8, 2);
  const auto mlp = [](const ShapeList& s, std::int64_t in, std::int64_t hidden, std::int64_t out) {
    s.linear("layers.0", in, hidden);
    s.linear("layers.1", hidden, hidden);
    s.linear("layers.2", hidden, out);
  };
  for (int i = 0; i < n.mask_tokens; ++i) mlp(m / "output_hypernetworks_mlps" / i, c, c, c / 8);
  mlp(m / "iou_prediction_head", c, n.iou_hidden, n.mask_tokens);
  if (n.decoder == DecoderKind::decoupled) pimm_shapes(m / "pimm", c, n.sam_vit.embed_dim);
  if (n.decoder != DecoderKind::hq) return;
  const std::int64_t early = n.encoder == EncoderKind::sam_vit ? n.sam_vit.embed_dim : n.tiny_vit.dims[2];
  m.add("hf_token.weight", {1, c});
  mlp(m / "hf_mlp", c, c, c / 8);
  const auto upscale = [c](const ShapeList& s, std::int64_t in, std::int64_t mid) {
    s.conv_transpose("0", in, mid, 2);
    s.norm("1", mid);
    s.conv_transpose("3", mid, c / 8, 2);
  };
  upscale(m / "compress_vit_feat", early, c);
  upscale(m / "embedding_encoder", c, c / 4);
  m.conv("embedding_maskfeature.0", c / 8, c / 4, 3);
  m.norm("embedding_maskfeature.1", c / 4);
  m.conv("embedding_maskfeature.3", c / 4, c / 8, 3);
}

}  // namespace detail

/// Every tensor that a network of these sizes needs, and no other. The sizes must have passed check_sizes().
inline std::vector<TensorShape> expected_tensors(const NetworkSizes& n) {
  std::vector<TensorShape> rows;
  const detail::ShapeList encoder(rows, "image_encoder.");
  switch (n.encoder) {
    case EncoderKind::sam_vit:
    case EncoderKind::sam_vit_3d: detail::sam_vit_shapes(encoder, n); break;
    case EncoderKind::tiny_vit: detail::tiny_vit_shapes(encoder, n); break;
    case EncoderKind::plain_vit: detail::plain_vit_shapes(encoder, n); break;
    case EncoderKind::efficient_vit: detail::efficient_vit_shapes(encoder, n); break;
    case EncoderKind::rep_vit: detail::rep_vit_shapes(encoder, n); break;
  }
  if (is_plain(n.decoder)) {
    detail::plain_head_shapes({rows, "mask_decoder."}, n);
    return rows;
  }
  const detail::ShapeList prompts(rows, "prompt_encoder.");
  is_volume(n.encoder) ? detail::prompt_encoder_3d_shapes(prompts, n.out_channels) : detail::prompt_encoder_shapes(prompts, n.out_channels, n.decoder, n.prompt_source);
  detail::mask_decoder_shapes({rows, "mask_decoder."}, n);
  if (n.decoder == DecoderKind::guided) detail::guided_shapes({rows, "mask_decoder2."}, n);
  if (n.object_tokens) detail::prompt_generator_shapes({rows, ""}, n);
  return rows;
}

/// Up to five names and the count: "a, b, c, d, e and 12 more".
inline std::string name_some(const std::vector<std::string>& names) {
  std::string s;
  for (std::size_t i = 0; i < names.size() && i < 5; ++i) s += cat(i ? ", " : "", names[i].substr(0, 200));
  if (names.size() > 5) s += cat(" and ", names.size() - 5, " more");
  return s;
}

/// Missing and surplus tensors and wrong shapes, all kinds in one message. Error{bad_model}.
inline Status check_complete(const std::vector<TensorShape>& have, const NetworkSizes& n) {
  std::vector<TensorShape> want = expected_tensors(n), got = have;
  const auto by_name = [](const TensorShape& a, const TensorShape& b) { return a.name < b.name; };
  std::sort(want.begin(), want.end(), by_name);
  std::sort(got.begin(), got.end(), by_name);
  std::vector<std::string> missing, surplus, wrong;
  std::size_t w = 0, g = 0;
  while (w < want.size() || g < got.size()) {
    if (g == got.size() || (w < want.size() && want[w].name < got[g].name)) {
      missing.push_back(want[w++].name);
    } else if (w == want.size() || got[g].name < want[w].name) {
      surplus.push_back(got[g++].name);
    } else {
      if (want[w].shape != got[g].shape) wrong.push_back(cat(want[w].name, " is ", to_string(got[g].shape), ", expected ", to_string(want[w].shape)));
      ++w, ++g;
    }
  }
  std::string what;
  const auto report = [&what](std::string_view kind, const std::vector<std::string>& names) {
    if (!names.empty()) what += cat(what.empty() ? "" : "; ", names.size(), names.size() == 1 ? " tensor " : " tensors ", kind, ": ", name_some(names));
  };
  report("missing", missing);
  report("of another network", surplus);
  report("of wrong shape", wrong);
  if (what.empty()) return {};
  return Error(ErrorCode::bad_model, what);
}

}  // namespace sampan::inline SAMPAN_ABI::weights
