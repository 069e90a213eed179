// Reproducible random weights, inputs and images: the C++ twin of tests/parity/hashgen.py, bit for bit. Data flow: tests -> here -> tensors; no weight file is stored.
// A value depends only on (seed, tensor name, flat index):
//   key = fnv1a64(utf8(seed ":" name)),  h(i) = splitmix64(key + i),  u(i) = (h >> 40) / 2^23 - 1 in [-1, 1),  value(i) = float(add + scale * u), f64 until the end.
// Shapes are PyTorch's, row-major; names are the checkpoints' own. Checked against the published check values by tests/cli/hashgen_test.cpp.
// The shape lists are written from the checkpoints, not from weights/network_shapes.hpp, so that each can be held against the other.
// Deliberately absent: files (support/tiny_model.hpp), networks of other families, num_batches_tracked.
#pragma once
#include <sampan/weights/network_shapes.hpp>

#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sampan::test {

using weights::Shape;
using weights::TensorShape;
using NamedShapes = std::vector<TensorShape>;

/// The numbers u(0), u(1), ... of one tensor.
class HashStream {
 public:
  HashStream(std::uint64_t seed, std::string_view name) {
    key_ = 0xcbf29ce484222325u;
    for (const char c : std::to_string(seed) + ":" + std::string(name)) key_ = (key_ ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  }
  std::uint64_t key() const { return key_; }
  double u(std::uint64_t i) const {
    std::uint64_t x = key_ + i + 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    x ^= x >> 31;
    return double(x >> 40) / 8388608.0 - 1.0;
  }
  float value(std::uint64_t i, double add, double scale) const {
    // Product and sum round separately in the definition; a compiler that fuses them would change the last bit. With add = 0 there is nothing to fuse.
    if (add == 0) return float(scale * u(i));
    const volatile double product = scale * u(i);
    return float(add + product);
  }

 private:
  std::uint64_t key_;
};

struct HashRule {
  double add, scale;
};

/// Spread of a tensor by its name and shape, so that random networks keep their magnitudes; first match wins.
inline HashRule hash_rule(std::string_view name, const Shape& shape) {
  const auto ends = [&](std::string_view s) { return name.size() >= s.size() && name.substr(name.size() - s.size()) == s; };
  const auto has = [&](std::string_view s) { return name.find(s) != std::string_view::npos; };
  if (ends("running_var")) return {1, 0.25};
  if (ends("running_mean")) return {0, 0.1};
  if (ends("rel_pos_d") || ends("rel_pos_h") || ends("rel_pos_w")) return {0, 0.2};
  if (ends("pos_embed")) return {0, 0.02};
  if (ends("attention_biases")) return {0, 0.5};
  if (ends("positional_encoding_gaussian_matrix")) return {0, 1};
  for (const char* part : {"point_embeddings", "not_a_point_embed", "no_mask_embed", "iou_token", "mask_tokens", "hf_token"})
    if (has(part)) return {0, 0.5};
  if (shape.size() == 1) return ends(".weight") ? HashRule{1, 0.1} : HashRule{0, 0.02};
  if (ends("output_upscaling.0.weight") || ends("output_upscaling.3.weight")) return {0, std::sqrt(3.0 / double(shape[0]))};
  if (ends("Adapter.spatial.2.weight")) return {0, std::sqrt(3.0 / double(shape[0] * 4))};
  std::int64_t fan = 1;
  for (std::size_t i = 1; i < shape.size(); ++i) fan *= shape[i];
  return {0, std::sqrt(3.0 / double(fan))};
}

/// f32_input of the goldens: add and scale stand in their metadata.
inline std::vector<float> hash_fill(std::uint64_t seed, std::string_view name, const Shape& shape, double add = 0, double scale = 1) {
  const HashStream s(seed, name);
  std::vector<float> out(std::size_t(weights::element_count(shape).value_or(0)));
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = s.value(i, add, scale);
  return out;
}
/// The values of one weight tensor.
inline std::vector<float> hash_values(std::uint64_t seed, std::string_view name, const Shape& shape) {
  const HashRule r = hash_rule(name, shape);
  return hash_fill(seed, name, shape, r.add, r.scale);
}
/// 0..255, floor((u + 1) * 128).
inline std::vector<std::uint8_t> hash_noise_u8(std::uint64_t seed, std::string_view name, const Shape& shape) {
  const HashStream s(seed, name);
  std::vector<std::uint8_t> out(std::size_t(weights::element_count(shape).value_or(0)));
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = std::uint8_t(std::floor((s.u(i) + 1) * 128));
  return out;
}
/// 255 where u >= 0, else 0.
inline std::vector<std::uint8_t> hash_binary_u8(std::uint64_t seed, std::string_view name, const Shape& shape) {
  const HashStream s(seed, name);
  std::vector<std::uint8_t> out(std::size_t(weights::element_count(shape).value_or(0)));
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = s.u(i) >= 0 ? 255 : 0;
  return out;
}

/// [h, w] bytes: two ramps and an inverted ellipse in the middle; smooth with one edge, like a slice of soft tissue. h, w >= 2.
inline std::vector<std::uint8_t> phantom_gray(std::int64_t h, std::int64_t w) {
  std::vector<std::uint8_t> out;
  out.reserve(std::size_t(h * w));
  for (std::int64_t y = 0; y < h; ++y)
    for (std::int64_t x = 0; x < w; ++x) {
      const std::int64_t base = (x * 255 / (w - 1) + y * 255 / (h - 1)) / 2, dx = 2 * x - w, dy = 2 * y - h;
      const bool inside = dx * dx * h * h * 4 + dy * dy * w * w * 9 < h * h * w * w * 2;
      out.push_back(std::uint8_t(inside ? 255 - base : base / 3));
    }
  return out;
}
/// [h, w, 3] bytes: red = phantom_gray, green = ramps with jumps, blue = steps of 16 pixels; three channels that differ.
inline std::vector<std::uint8_t> phantom_rgb(std::int64_t h, std::int64_t w) {
  const auto gray = phantom_gray(h, w);
  std::vector<std::uint8_t> out;
  out.reserve(gray.size() * 3);
  for (std::int64_t y = 0; y < h; ++y)
    for (std::int64_t x = 0; x < w; ++x) {
      out.push_back(gray[std::size_t(y * w + x)]);
      out.push_back(std::uint8_t((3 * x + 2 * y + ((x * y) >> 4)) & 255));
      out.push_back(std::uint8_t((x / 16 * 37 + y / 16 * 59) & 255));
    }
  return out;
}

// ---- names and shapes, in the order of the checkpoints ------------------------------------------------------------------------------

namespace detail {
struct ShapeWriter {
  NamedShapes& rows;
  void one(const std::string& name, Shape s) const { rows.push_back({name, std::move(s)}); }
  void wb(const std::string& name, Shape s) const {  // weight, and a bias of its first extent
    const std::int64_t out = s[0];
    one(name + ".weight", std::move(s));
    one(name + ".bias", {out});
  }
  void neck(const std::string& e, std::int64_t width, std::int64_t out) const {
    one(e + "neck.0.weight", {out, width, 1, 1});
    wb(e + "neck.1", {out});
    one(e + "neck.2.weight", {out, out, 3, 3});
    wb(e + "neck.3", {out});
  }
  void conv_bn(const std::string& n, std::int64_t out, std::int64_t in, std::int64_t k) const {
    one(n + ".c.weight", {out, in, k, k});
    wb(n + ".bn", {out});
    one(n + ".bn.running_mean", {out});
    one(n + ".bn.running_var", {out});
  }
};
}  // namespace detail

/// SAM's image encoder.
inline NamedShapes sam_encoder_shapes(std::int64_t embed, int depth, std::int64_t heads, std::int64_t image, const std::vector<int>& global_blocks, std::int64_t window = 14, std::int64_t out = 256,
                                      std::int64_t mlp = 0, std::int64_t patch = 16) {
  NamedShapes rows;
  const detail::ShapeWriter w{rows};
  const std::int64_t g = image / patch, d = embed / heads;
  if (mlp == 0) mlp = 4 * embed;
  const std::string e = "image_encoder.";
  w.one(e + "pos_embed", {1, g, g, embed});
  w.wb(e + "patch_embed.proj", {embed, 3, patch, patch});
  for (int i = 0; i < depth; ++i) {
    const std::string b = e + "blocks." + std::to_string(i) + ".";
    const bool global = std::find(global_blocks.begin(), global_blocks.end(), i) != global_blocks.end();
    const std::int64_t r = 2 * (global ? g : window) - 1;
    w.wb(b + "norm1", {embed});
    w.one(b + "attn.rel_pos_h", {r, d});
    w.one(b + "attn.rel_pos_w", {r, d});
    w.wb(b + "attn.qkv", {3 * embed, embed});
    w.wb(b + "attn.proj", {embed, embed});
    w.wb(b + "norm2", {embed});
    w.wb(b + "mlp.lin1", {mlp, embed});
    w.wb(b + "mlp.lin2", {embed, mlp});
  }
  w.neck(e, embed, out);
  return rows;
}

/// TinyViT as in MobileSAM (stem 3) and LiteMedSAM (stem 1), without the unused classification head.
inline NamedShapes tinyvit_shapes(const std::array<int, 4>& dims, const std::array<int, 4>& depths, const std::array<int, 4>& heads, const std::array<int, 4>& windows, int stem, std::int64_t out = 256) {
  NamedShapes rows;
  const detail::ShapeWriter w{rows};
  const std::string e = "image_encoder.";
  w.conv_bn(e + "patch_embed.seq.0", dims[0] / 2, 3, stem);
  w.conv_bn(e + "patch_embed.seq.2", dims[0], dims[0] / 2, stem);
  for (std::size_t l = 0; l < 4; ++l) {
    const std::int64_t c = dims[l];
    const std::string layer = e + "layers." + std::to_string(l) + ".";
    for (int b = 0; b < depths[l]; ++b) {
      const std::string n = layer + "blocks." + std::to_string(b) + ".";
      if (l == 0) {
        w.conv_bn(n + "conv1", 4 * c, c, 1);
        w.conv_bn(n + "conv2", 4 * c, 1, 3);
        w.conv_bn(n + "conv3", c, 4 * c, 1);
        continue;
      }
      w.one(n + "attn.attention_biases", {heads[l], std::int64_t(windows[l]) * windows[l]});
      w.wb(n + "attn.norm", {c});
      w.wb(n + "attn.qkv", {3 * c, c});
      w.wb(n + "attn.proj", {c, c});
      w.wb(n + "mlp.norm", {c});
      w.wb(n + "mlp.fc1", {4 * c, c});
      w.wb(n + "mlp.fc2", {c, 4 * c});
      w.conv_bn(n + "local_conv", c, 1, 3);
    }
    if (l == 3) break;
    const std::int64_t next = dims[l + 1];
    w.conv_bn(layer + "downsample.conv1", next, c, 1);
    w.conv_bn(layer + "downsample.conv2", next, 1, 3);
    w.conv_bn(layer + "downsample.conv3", next, next, 1);
  }
  w.neck(e, dims[3], out);
  return rows;
}

/// Prompt encoder (17 tensors) and mask decoder (120 tensors) of SAM.
inline NamedShapes decoder_shapes(std::int64_t out = 256, std::int64_t mlp = 2048, std::int64_t iou_hidden = 256) {
  NamedShapes rows;
  const detail::ShapeWriter w{rows};
  const std::string p = "prompt_encoder.", m = "mask_decoder.", t = m + "transformer.";
  w.one(p + "pe_layer.positional_encoding_gaussian_matrix", {2, out / 2});
  for (int i = 0; i < 4; ++i) w.one(p + "point_embeddings." + std::to_string(i) + ".weight", {1, out});
  w.one(p + "not_a_point_embed.weight", {1, out});
  w.wb(p + "mask_downscaling.0", {4, 1, 2, 2});
  w.wb(p + "mask_downscaling.1", {4});
  w.wb(p + "mask_downscaling.3", {16, 4, 2, 2});
  w.wb(p + "mask_downscaling.4", {16});
  w.wb(p + "mask_downscaling.6", {out, 16, 1, 1});
  w.one(p + "no_mask_embed.weight", {1, out});

  const auto attention = [&](const std::string& n, std::int64_t inner) {
    for (const char* k : {".q_proj", ".k_proj", ".v_proj"}) w.wb(n + k, {inner, out});
    w.wb(n + ".out_proj", {out, inner});
  };
  for (int l = 0; l < 2; ++l) {
    const std::string b = t + "layers." + std::to_string(l) + ".";
    attention(b + "self_attn", out);
    w.wb(b + "norm1", {out});
    attention(b + "cross_attn_token_to_image", out / 2);
    w.wb(b + "norm2", {out});
    w.wb(b + "mlp.lin1", {mlp, out});
    w.wb(b + "mlp.lin2", {out, mlp});
    w.wb(b + "norm3", {out});
    w.wb(b + "norm4", {out});
    attention(b + "cross_attn_image_to_token", out / 2);
  }
  attention(t + "final_attn_token_to_image", out / 2);
  w.wb(t + "norm_final_attn", {out});
  w.one(m + "iou_token.weight", {1, out});
  w.one(m + "mask_tokens.weight", {4, out});
  const auto transposed = [&](const std::string& n, std::int64_t from, std::int64_t to) {  // ConvTranspose2d: [in, out, kh, kw]
    w.one(n + ".weight", {from, to, 2, 2});
    w.one(n + ".bias", {to});
  };
  transposed(m + "output_upscaling.0", out, out / 4);
  w.wb(m + "output_upscaling.1", {out / 4});
  transposed(m + "output_upscaling.3", out / 4, out / 8);
  const auto mlp3 = [&](const std::string& n, std::int64_t in, std::int64_t hidden, std::int64_t last) {
    w.wb(n + ".layers.0", {hidden, in});
    w.wb(n + ".layers.1", {hidden, hidden});
    w.wb(n + ".layers.2", {last, hidden});
  };
  for (int i = 0; i < 4; ++i) mlp3(m + "output_hypernetworks_mlps." + std::to_string(i), out, out, out / 8);
  mlp3(m + "iou_prediction_head", out, iou_hidden, 4);
  return rows;
}

/// Encoder and decoder, as in one checkpoint.
inline NamedShapes operator+(NamedShapes a, const NamedShapes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

/// SAM with the usual decoder: sam_shapes(96, 4, 3, 320, {1, 3}) is "tiny320" of the shared goldens, sam_shapes(768, 12, 12, 1024, {2, 5, 8, 11}) is ViT-B.
inline NamedShapes sam_shapes(std::int64_t embed, int depth, std::int64_t heads, std::int64_t image, const std::vector<int>& global_blocks, std::int64_t window = 14) {
  return sam_encoder_shapes(embed, depth, heads, image, global_blocks, window) + decoder_shapes();
}

}  // namespace sampan::test
