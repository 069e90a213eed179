// Contract: everything a checkpoint's numbers do not say themselves: sizes, eps, resize, normalisation, prompt scaling, mask rules, origin, licence.
// Data flow: sampan-convert writes it as versioned JSON under the metadata key `sampan.contract`; models/ and predict/ are built from it and from nothing else.
// Reading is strict: an unknown version, key or value is an error, because a wrong entry here gives plausible wrong masks.
// Source of the values: weights/family.hpp (one row per family). Deliberately absent: defaults for missing fields.
#pragma once
#include <sampan/weights/field_reader.hpp>

#include <optional>

namespace sampan::inline SAMPAN_ABI::weights {

inline constexpr const char* kContractKey = "sampan.contract";
/// A record has the lowest version that can say it, so that files without newer parts stay readable by older builds.
inline constexpr int kContractVersion = 4;

// Each enum's texts stand in its order in Names below; they are the words in the file. Those of the sizes: weights/network_sizes.hpp.
enum class Activation {
  gelu_erf,
  gelu_tanh,  ///< efficient_vit's encoder; decoders have the other
};
enum class ImageChannels {
  rgb,
  bgr,   ///< fed in reverse order under the constants of RGB, as cv2.imread leaves it
  gray,  ///< luma, three times
};
enum class ResizeKind {
  pillow_bilinear, cv2_area, skimage_cubic_aa, cv2_nearest, torch_bilinear,
  scipy_zoom_224,  ///< floats by scipy.ndimage.zoom of order 3, to 224 x 224 and from there to the input (SAMed)
  torch_bilinear_256,  ///< floats by bilinear interpolation, to 256 x 256 and from there to the input (AutoSAM)
};
enum class PadKind {
  none,          ///< the image fills the square input, aspect ratio not kept
  right_bottom,  ///< longest side fills the input, zeros to the right and below
  centre_small,  ///< an image smaller than the input in both sides keeps its pixels and stands in the middle of zeros; any other fills the square
};
enum class NormaliseKind {
  mean_std,  ///< (x - mean) / std per channel on 0..255
  min_max,   ///< (x - min) / max(max - min, 1e-8) over all pixels and channels of the resized image; of the image itself where floats are resized
};
enum class PadOrder { normalise_then_pad, pad_then_normalise };
enum class CoordinateKind {
  scale_per_axis,          ///< x * (resized width / width), y * (resized height / height), in f64
  truncate_single_factor,  ///< int(v * (input size / longest side)) for both axes
  crop_voxels,             ///< of volumes: voxels of the resampled crop that the network sees
};
/// What the axes of a volume's crop are: anatomical directions in the order of memory.
enum class VolumeAxes { right_anterior_superior };
enum class VolumeNormalise {
  positive_z_score,  ///< (x - mean) / std with mean and unbiased std over the crop's voxels above 0, applied to all
};
enum class MaskSelect { iou, first, stability, largest };
enum class UpsampleKind {
  input_crop_original,    ///< low-res logits -> input size -> crop the padding -> original size, then compare
  crop_low_original,      ///< crop the padding at low resolution -> original size, then compare
  sigmoid_then_original,  ///< sigmoid at low resolution -> original size, then compare
  input_argmax_zoom,      ///< classes: low-res logits -> input size, largest class, nearest pixel of the original by scipy's zoom
  bicubic_original,       ///< low-res logits -> original size, bicubic, no padding to crop; then compare with >= instead of >
  trilinear_input,        ///< of volumes: low-res logits -> input size, then compare; the mask goes back to the original grid by nearest neighbour
  low_argmax_zoom,        ///< classes: largest class of the low-res logits, nearest pixel of the original by scipy's zoom
};
enum class SourceLayout { meta_sam, hf_sam, tiny_vit_sam, efficient_sam, efficientvit_sam, edge_sam, medical_sam_adapter };

namespace detail {
#define SAMPAN_NAMES(E, ...)                                     \
  template <>                                                    \
  struct Names<E> {                                              \
    static constexpr std::string_view kAll[] = {__VA_ARGS__};    \
  }
SAMPAN_NAMES(VolumeAxes, "right_anterior_superior");
SAMPAN_NAMES(VolumeNormalise, "positive_z_score");
SAMPAN_NAMES(Activation, "gelu_erf", "gelu_tanh");
SAMPAN_NAMES(ImageChannels, "rgb", "bgr", "gray");
SAMPAN_NAMES(ResizeKind, "pillow_bilinear", "cv2_area", "skimage_cubic_aa", "cv2_nearest", "torch_bilinear", "scipy_zoom_224", "torch_bilinear_256");
SAMPAN_NAMES(PadKind, "none", "right_bottom", "centre_small");
SAMPAN_NAMES(NormaliseKind, "mean_std", "min_max");
SAMPAN_NAMES(PadOrder, "normalise_then_pad", "pad_then_normalise");
SAMPAN_NAMES(CoordinateKind, "scale_per_axis", "truncate_single_factor", "crop_voxels");
SAMPAN_NAMES(MaskSelect, "iou", "first", "stability", "largest");
SAMPAN_NAMES(UpsampleKind, "input_crop_original", "crop_low_original", "sigmoid_then_original", "input_argmax_zoom", "bicubic_original", "trilinear_input", "low_argmax_zoom");
SAMPAN_NAMES(SourceLayout, "meta_sam", "hf_sam", "tiny_vit_sam", "efficient_sam", "efficientvit_sam", "edge_sam", "medical_sam_adapter");
#undef SAMPAN_NAMES
}  // namespace detail

struct Eps {
  double encoder_ln = 0, decoder_ln = 0, decoder_final_ln = 0, ln2d = 0, bn = 0;
  friend bool operator==(const Eps&, const Eps&) = default;
};

struct ImageContract {
  ResizeKind resize = ResizeKind::pillow_bilinear;
  bool keep_aspect = true;
  PadKind pad = PadKind::right_bottom;
  PadOrder order = PadOrder::normalise_then_pad;
  NormaliseKind normalise = NormaliseKind::mean_std;
  std::array<double, 3> mean{}, std{};  ///< RGB on 0..255; zeros and ones for min_max
  ImageChannels channels = ImageChannels::rgb;
  friend bool operator==(const ImageContract&, const ImageContract&) = default;
};

/// Of a volumetric network, in place of ImageContract.
struct VolumeContract {
  double spacing = 0;  ///< edge of a voxel of the crop in millimetres
  VolumeAxes axes = VolumeAxes::right_anterior_superior;
  VolumeNormalise normalise = VolumeNormalise::positive_z_score;
  friend bool operator==(const VolumeContract&, const VolumeContract&) = default;
};

struct PromptContract {
  CoordinateKind coordinates = CoordinateKind::scale_per_axis;
  bool points = true, boxes = true, mask_input = true;  ///< what the checkpoint was trained for
  friend bool operator==(const PromptContract&, const PromptContract&) = default;
};

struct MaskContract {
  bool single = true, multimask = true;  ///< which outputs the checkpoint was trained for: mask 0; masks 1..3
  MaskSelect select = MaskSelect::iou;   ///< how one of several masks is chosen unless the caller says otherwise
  UpsampleKind upsample = UpsampleKind::input_crop_original;
  double threshold = 0;  ///< a pixel belongs to the mask if its value is greater (logit, or probability after sigmoid_then_original)
  friend bool operator==(const MaskContract&, const MaskContract&) = default;
};

struct Contract {
  std::string family;   ///< key of weights/family.hpp: "sam", "lite_medsam", ...
  std::string name;     ///< for people: "SAM ViT-B"
  std::string licence;  ///< of the family's published weights
  std::string source_file, source_sha256;
  SourceLayout layout = SourceLayout::meta_sam;  ///< key names of the source
  std::string converter;                         ///< program and version
  std::string data_sha256;                       ///< of all bytes behind the header of the converted file; identifies the model
  NetworkSizes network;
  Eps eps;
  Activation activation = Activation::gelu_erf;
  ImageContract image;    ///< of images
  VolumeContract volume;  ///< of volumes
  PromptContract prompt;
  MaskContract mask;
  friend bool operator==(const Contract&, const Contract&) = default;
};

/// The lowest record version that can say all of `c`.
inline int contract_version(const Contract& c) {
  const NetworkSizes& n = c.network;
  const bool newer = n.encoder > EncoderKind::tiny_vit || n.decoder != DecoderKind::sam || n.prompt_size != 0 || c.mask.upsample == UpsampleKind::bicubic_original;
  const bool newest = n.decoder > DecoderKind::efficient_sam || n.decoder_hook != 0 || n.prompt_source != PromptSource::clicks || n.sam_vit.hook > HookKind::bottleneck;
  if (newest) return 4;
  if (newer) return 3;
  const bool first = n.sam_vit.hook == HookKind::none && n.sam_vit.pads == WindowPads::after_norm && c.image.channels == ImageChannels::rgb;
  return first ? 1 : 2;
}

inline std::string to_json(const Contract& c) {
  JsonWriter w;
  const int version = contract_version(c);
  w.begin_object().member("version", version).member("family", c.family).member("name", c.name).member("licence", c.licence);
  w.key("source").begin_object().member("file", c.source_file).member("sha256", c.source_sha256).member("layout", to_text(c.layout)).end_object();
  w.member("converter", c.converter).member("data_sha256", c.data_sha256);
  const NetworkSizes& n = c.network;
  w.key("network").begin_object().member("encoder", to_text(n.encoder)).member("image_size", n.image_size).member("grid", n.grid);
  w.member("out_channels", n.out_channels).member("decoder_mlp", n.decoder_mlp).member("iou_hidden", n.iou_hidden);
  const bool volume = is_volume(n.encoder);
  if (version >= 3) w.member("decoder", to_text(n.decoder)).member("mask_tokens", n.mask_tokens).member("prompt_size", n.prompt_size);
  if (version >= 4) w.member("class_sets", n.class_sets).member("decoder_hook", n.decoder_hook).member("decoder_hook_layers", n.decoder_hook_layers).member("prompt_source", to_text(n.prompt_source)).member("object_tokens", n.object_tokens);
  if (n.decoder == DecoderKind::plain_cnn) w.member("plain_depth", n.plain_depth).member("plain_width", n.plain_width);
  if (n.encoder == EncoderKind::sam_vit || volume) {
    const SamVitSizes& v = n.sam_vit;
    w.member("patch", v.patch).member("embed_dim", v.embed_dim).member("depth", v.depth).member("heads", v.heads).member("mlp_dim", v.mlp_dim);
    w.member("window", v.window).list("global_blocks", v.global_blocks);
    if (version >= 2 && !volume) w.member("hook", to_text(v.hook)).member("hook_hidden", v.hook_hidden).list("hook_blocks", v.hook_blocks).member("pads", to_text(v.pads));
    if (version >= 4 && !volume) w.member("pos_grid", v.pos_grid);
  } else if (n.encoder == EncoderKind::plain_vit) {
    const PlainVitSizes& v = n.plain_vit;
    w.member("patch", v.patch).member("embed_dim", v.embed_dim).member("depth", v.depth).member("heads", v.heads).member("mlp_dim", v.mlp_dim).member("pos_grid", v.pos_grid);
  } else if (n.encoder == EncoderKind::efficient_vit) {
    const EfficientVitSizes& v = n.efficient_vit;
    w.member("kind", to_text(v.kind)).list("widths", v.widths).list("depths", v.depths).member("head_width", v.head_width).member("head_depth", v.head_depth);
  } else if (n.encoder == EncoderKind::rep_vit) {
    w.list("widths", n.rep_vit.widths).list("depths", n.rep_vit.depths).list("se_blocks", n.rep_vit.se_blocks);
  } else {
    const TinyVitSizes& t = n.tiny_vit;
    w.member("stem", to_text(t.stem)).list("dims", t.dims).list("depths", t.depths).list("heads", t.heads).list("windows", t.windows).list("strides", t.strides);
  }
  w.end_object();
  w.key("eps").begin_object().member("encoder_ln", c.eps.encoder_ln).member("decoder_ln", c.eps.decoder_ln).member("decoder_final_ln", c.eps.decoder_final_ln);
  w.member("ln2d", c.eps.ln2d).member("bn", c.eps.bn).end_object();
  w.member("activation", to_text(c.activation));
  if (volume) {
    w.key("volume").begin_object().member("spacing", c.volume.spacing).member("axes", to_text(c.volume.axes)).member("normalise", to_text(c.volume.normalise)).end_object();
  } else {
    w.key("image").begin_object().member("resize", to_text(c.image.resize)).member("keep_aspect", c.image.keep_aspect).member("pad", to_text(c.image.pad));
    w.member("order", to_text(c.image.order)).member("normalise", to_text(c.image.normalise)).list("mean", c.image.mean).list("std", c.image.std);
    if (version >= 2) w.member("channels", to_text(c.image.channels));
    w.end_object();
  }
  w.key("prompt").begin_object().member("coordinates", to_text(c.prompt.coordinates)).member("points", c.prompt.points).member("boxes", c.prompt.boxes);
  w.member("mask_input", c.prompt.mask_input).end_object();
  w.key("mask").begin_object().member("single", c.mask.single).member("multimask", c.mask.multimask).member("select", to_text(c.mask.select));
  w.member("upsample", to_text(c.mask.upsample)).member("threshold", c.mask.threshold).end_object();
  return w.end_object().text();
}

/// Error{bad_model} with the path of the first field that is missing, unknown or out of range.
inline Result<Contract> parse_contract(std::string_view text) {
  auto parsed = Json::parse(text, JsonLimits{.max_bytes = 1 << 20, .max_values = 20'000, .max_depth = 8});
  if (!parsed) return Error(ErrorCode::bad_model, cat("contract record: ", parsed.error().message()));
  Contract c;
  detail::FieldReader r(&*parsed, "");
  int version = 0;
  r.integer("version", version, 0, 1'000'000);
  if (version > kContractVersion || (version < 1 && r.ok()))
    return Error(ErrorCode::bad_model, cat("contract record: version ", version, ", this build reads up to version ", kContractVersion, ": update sampan, or convert the weights again with this one"));
  r.text("family", c.family);
  r.text("name", c.name);
  r.text("licence", c.licence);
  auto source = r.object("source");
  source.text("file", c.source_file);
  source.text("sha256", c.source_sha256);
  source.choice("layout", c.layout);
  r.text("converter", c.converter);
  r.text("data_sha256", c.data_sha256);
  auto n = r.object("network");
  n.choice("encoder", c.network.encoder);
  n.integer("image_size", c.network.image_size, 16, 8192);
  n.integer("grid", c.network.grid, 1, 512);
  n.integer("out_channels", c.network.out_channels, 16, 4096);
  const bool volume = is_volume(c.network.encoder);
  if (volume && version < 3) return Error(ErrorCode::bad_model, cat("contract record: network.encoder ", to_text(c.network.encoder), " needs a record of version 3, this one is of version ", version));
  if (version >= 3) n.choice("decoder", c.network.decoder);
  const bool plain = is_plain(c.network.decoder);
  n.integer("decoder_mlp", c.network.decoder_mlp, plain ? 0 : 1, plain ? 0 : 65536);
  n.integer("iou_hidden", c.network.iou_hidden, plain ? 0 : 1, plain ? 0 : 65536);
  if (version >= 3) {
    n.integer("mask_tokens", c.network.mask_tokens, 2, 256);
    n.integer("prompt_size", c.network.prompt_size, 0, 8192);
  }
  if (version >= 4) {
    n.integer("class_sets", c.network.class_sets, 0, 256);
    n.integer("decoder_hook", c.network.decoder_hook, 0, 65536);
    n.integer("decoder_hook_layers", c.network.decoder_hook_layers, 0, 256);
    n.choice("prompt_source", c.network.prompt_source);
    n.integer("object_tokens", c.network.object_tokens, 0, 4096);
    if (c.network.decoder == DecoderKind::plain_cnn) {
      n.integer("plain_depth", c.network.plain_depth, 1, 16);
      n.integer("plain_width", c.network.plain_width, 1, 1024);
    }
  }
  if (c.network.encoder == EncoderKind::sam_vit || volume) {
    SamVitSizes& v = c.network.sam_vit;
    n.integer("patch", v.patch, 1, 256);
    n.integer("embed_dim", v.embed_dim, 1, 16384);
    n.integer("depth", v.depth, 1, 256);
    n.integer("heads", v.heads, 1, 256);
    n.integer("mlp_dim", v.mlp_dim, 1, 65536);
    n.integer("window", v.window, 1, 512);
    n.integers("global_blocks", v.global_blocks, 0, 255);
    if (version >= 2 && !volume) {
      n.choice("hook", v.hook);
      n.integer("hook_hidden", v.hook_hidden, 0, 65536);
      n.integers("hook_blocks", v.hook_blocks, 0, 255);
      n.choice("pads", v.pads);
    }
    if (version >= 4 && !volume) n.integer("pos_grid", v.pos_grid, 0, 512);
  } else if (c.network.encoder == EncoderKind::plain_vit) {
    PlainVitSizes& v = c.network.plain_vit;
    n.integer("patch", v.patch, 1, 256);
    n.integer("embed_dim", v.embed_dim, 1, 16384);
    n.integer("depth", v.depth, 1, 256);
    n.integer("heads", v.heads, 1, 256);
    n.integer("mlp_dim", v.mlp_dim, 1, 65536);
    n.integer("pos_grid", v.pos_grid, 1, 512);
  } else if (c.network.encoder == EncoderKind::efficient_vit) {
    EfficientVitSizes& v = c.network.efficient_vit;
    n.choice("kind", v.kind);
    n.integers("widths", v.widths, 1, 4096);
    n.integers("depths", v.depths, 0, 64);
    n.integer("head_width", v.head_width, 1, 4096);
    n.integer("head_depth", v.head_depth, 0, 64);
  } else if (c.network.encoder == EncoderKind::rep_vit) {
    n.integers("widths", c.network.rep_vit.widths, 2, 4096);
    n.integers("depths", c.network.rep_vit.depths, 1, 64);
    n.integers("se_blocks", c.network.rep_vit.se_blocks, 0, 255);
  } else {
    TinyVitSizes& t = c.network.tiny_vit;
    n.choice("stem", t.stem);
    n.integers("dims", t.dims, 1, 4096);
    n.integers("depths", t.depths, 1, 64);
    n.integers("heads", t.heads, 1, 256);
    n.integers("windows", t.windows, 1, 64);
    n.integers("strides", t.strides, 1, 2);
  }
  auto eps = r.object("eps");
  for (auto [key, field] : {std::pair("encoder_ln", &c.eps.encoder_ln), std::pair("decoder_ln", &c.eps.decoder_ln), std::pair("decoder_final_ln", &c.eps.decoder_final_ln),
                            std::pair("ln2d", &c.eps.ln2d), std::pair("bn", &c.eps.bn)})
    eps.real(key, *field, 1e-12, 1e-2);
  r.choice("activation", c.activation);
  auto image = r.object(volume ? "volume" : "image");
  if (volume) {
    image.real("spacing", c.volume.spacing, 1e-3, 1e3);
    image.choice("axes", c.volume.axes);
    image.choice("normalise", c.volume.normalise);
  } else {
    image.choice("resize", c.image.resize);
    image.flag("keep_aspect", c.image.keep_aspect);
    image.choice("pad", c.image.pad);
    image.choice("order", c.image.order);
    image.choice("normalise", c.image.normalise);
    image.reals("mean", c.image.mean, -1e6, 1e6);
    image.reals("std", c.image.std, 1e-6, 1e6);
    if (version >= 2) image.choice("channels", c.image.channels);
  }
  auto prompt = r.object("prompt");
  prompt.choice("coordinates", c.prompt.coordinates);
  prompt.flag("points", c.prompt.points);
  prompt.flag("boxes", c.prompt.boxes);
  prompt.flag("mask_input", c.prompt.mask_input);
  auto mask = r.object("mask");
  mask.flag("single", c.mask.single);
  mask.flag("multimask", c.mask.multimask);
  mask.choice("select", c.mask.select);
  mask.choice("upsample", c.mask.upsample);
  mask.real("threshold", c.mask.threshold, -1e6, 1e6);
  SAMPAN_CHECK(r.finish());
  for (auto* inner : {&source, &n, &eps, &image, &prompt, &mask}) SAMPAN_CHECK(inner->finish());
  SAMPAN_CHECK(check_sizes(c.network));
  if ((c.activation == Activation::gelu_tanh) != (c.network.encoder == EncoderKind::efficient_vit)) return Error(ErrorCode::bad_model, "contract record: activation gelu_tanh belongs to encoder efficient_vit");
  if (c.network.prompt_size && c.image.pad == PadKind::centre_small) return Error(ErrorCode::bad_model, "contract record: image.pad centre_small needs prompts in the frame of the image");
  if (volume != (c.prompt.coordinates == CoordinateKind::crop_voxels) || volume != (c.mask.upsample == UpsampleKind::trilinear_input))
    return Error(ErrorCode::bad_model, cat("contract record: ", to_text(CoordinateKind::crop_voxels), " and ", to_text(UpsampleKind::trilinear_input), " go with volumes, and only with them"));
  if (!volume && c.image.keep_aspect != (c.image.pad == PadKind::right_bottom)) return Error(ErrorCode::bad_model, "contract record: image.pad must be right_bottom exactly if image.keep_aspect is true");
  const bool classes = gives_classes(c.network.decoder);
  if (classes != (c.mask.upsample == UpsampleKind::input_argmax_zoom || c.mask.upsample == UpsampleKind::low_argmax_zoom))
    return Error(ErrorCode::bad_model, "contract record: mask.upsample must be input_argmax_zoom or low_argmax_zoom exactly if network.decoder gives classes");
  if (c.network.prompt_source != PromptSource::clicks && (c.prompt.points || c.prompt.boxes || c.prompt.mask_input)) return Error(ErrorCode::bad_model, "contract record: prompts need network.prompt_source clicks");
  if (!classes && !c.mask.single && !c.mask.multimask) return Error(ErrorCode::bad_model, "contract record: mask.single and mask.multimask are both false");
  return c;
}

}  // namespace sampan::inline SAMPAN_ABI::weights
