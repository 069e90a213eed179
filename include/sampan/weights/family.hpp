// The families of checkpoints, one row each: what a network's weights mean besides their numbers.
// Data flow: weights/identify.hpp picks a row from shapes, sampan-convert writes it into the contract record, models/zoo.hpp lists the checkpoints.
// Sources: facebookresearch/segment-anything (SAM), bowang-lab/MedSAM (MedSAM_Inference.py; branch LiteMedSAM, CVPR24_LiteMedSAM_infer.py),
// ChaoningZhang/MobileSAM, xinghaochen/TinySAM, SysCV/sam-hq, OpenGVLab/SAM-Med2D (predictor_sammed.py, test.py), halleewong/ScribblePrompt, yformer/EfficientSAM, mit-han-lab/efficientvit,
// chongzhou96/EdgeSAM, hitachinsk/SAMed, mazurowski-lab/finetune-SAM (utils/dataset.py), tianrun-chen/SAM-Adapter-PyTorch (datasets/wrappers.py, models/sam.py), xhu248/AutoSAM (dataset/ACDC.py, models/AutoSamSeg.py), xianlin7/SAMUS (utils/data_us.py), yifangao112/DeSAM (precompute_embeddings.py),
// uni-medical/SAM-Med3D (utils/infer_utils.py). A new family of a known network is one row here.
#pragma once
#include <sampan/weights/contract.hpp>

namespace sampan::inline SAMPAN_ABI::weights {

struct FamilyRow {
  std::string_view key;      ///< for --family and the contract
  std::string_view display;  ///< for people; SAM's rows get their size appended
  std::string_view licence;  ///< of the published weights
  EncoderKind encoder;
  TinyStem stem;  ///< for tiny_vit
  Eps eps;
  ImageContract image;
  PromptContract prompt;
  MaskContract mask;
  DecoderKind decoder = DecoderKind::sam;
  VolumeContract volume = {};  ///< for volumes; then `image` is not used
};

namespace detail {
inline constexpr Eps kSamEps{.encoder_ln = 1e-6, .decoder_ln = 1e-5, .decoder_final_ln = 1e-5, .ln2d = 1e-6, .bn = 1e-5};
inline constexpr Eps kTinyVitEps{.encoder_ln = 1e-5, .decoder_ln = 1e-5, .decoder_final_ln = 1e-5, .ln2d = 1e-6, .bn = 1e-5};
inline constexpr Eps kEfficientVitEps{.encoder_ln = 1e-6, .decoder_ln = 1e-6, .decoder_final_ln = 1e-6, .ln2d = 1e-6, .bn = 1e-6};  // set_norm_eps(1e-6) of its builder
inline constexpr ImageContract kSamImage{.resize = ResizeKind::pillow_bilinear,
                                         .keep_aspect = true,
                                         .pad = PadKind::right_bottom,
                                         .order = PadOrder::normalise_then_pad,
                                         .normalise = NormaliseKind::mean_std,
                                         .mean = {123.675, 116.28, 103.53},
                                         .std = {58.395, 57.12, 57.375}};
inline constexpr PromptContract kSamPrompt{.coordinates = CoordinateKind::scale_per_axis, .points = true, .boxes = true, .mask_input = true};
inline constexpr ImageContract kMed2dImage{.resize = ResizeKind::cv2_nearest,
                                           .keep_aspect = false,
                                           .pad = PadKind::none,
                                           .order = PadOrder::normalise_then_pad,
                                           .normalise = NormaliseKind::mean_std,
                                           .mean = {123.675, 116.28, 103.53},
                                           .std = {58.395, 57.12, 57.375}};
inline constexpr ImageContract kMed2dEvalImage{.resize = ResizeKind::cv2_nearest,
                                               .keep_aspect = false,
                                               .pad = PadKind::centre_small,
                                               .order = PadOrder::normalise_then_pad,
                                               .normalise = NormaliseKind::mean_std,
                                               .mean = {123.675, 116.28, 103.53},
                                               .std = {58.395, 57.12, 57.375},
                                               .channels = ImageChannels::bgr};
/// An image that is stretched to the network's square.
constexpr ImageContract stretched(ResizeKind resize, NormaliseKind normalise, const std::array<double, 3>& mean, const std::array<double, 3>& std, ImageChannels channels = ImageChannels::rgb) {
  return {.resize = resize, .keep_aspect = false, .pad = PadKind::none, .order = PadOrder::normalise_then_pad, .normalise = normalise, .mean = mean, .std = std, .channels = channels};
}
inline constexpr std::array<double, 3> kZeros{0, 0, 0}, kBytes{255, 255, 255};  // x / 255
inline constexpr ImageContract kStretchedImage = stretched(ResizeKind::pillow_bilinear, NormaliseKind::mean_std, kSamImage.mean, kSamImage.std);
inline constexpr ImageContract kUltrasoundImage = stretched(ResizeKind::pillow_bilinear, NormaliseKind::mean_std, kZeros, kBytes, ImageChannels::gray);
inline constexpr ImageContract kZoomedImage = stretched(ResizeKind::scipy_zoom_224, NormaliseKind::mean_std, kZeros, kBytes, ImageChannels::gray);
inline constexpr ImageContract kTwoStepImage = stretched(ResizeKind::torch_bilinear_256, NormaliseKind::min_max, kZeros, {1, 1, 1});
inline constexpr PromptContract kNoPrompt{.coordinates = CoordinateKind::scale_per_axis, .points = false, .boxes = false, .mask_input = false};
inline constexpr MaskContract kSamMask{.single = true, .multimask = true, .select = MaskSelect::iou, .upsample = UpsampleKind::input_crop_original, .threshold = 0};
// Label maps: the largest class of the logits, at the input's size or as they are, then the nearest pixel.
inline constexpr MaskContract kInputLabels{.single = false, .multimask = false, .select = MaskSelect::first, .upsample = UpsampleKind::input_argmax_zoom, .threshold = 0};
inline constexpr MaskContract kLowLabels{.single = false, .multimask = false, .select = MaskSelect::first, .upsample = UpsampleKind::low_argmax_zoom, .threshold = 0};
inline constexpr MaskContract kThreeMasks{.single = false, .multimask = true, .select = MaskSelect::iou, .upsample = UpsampleKind::input_crop_original, .threshold = 0};
}  // namespace detail

inline constexpr FamilyRow kFamilies[] = {
    {"sam", "SAM", "Apache-2.0", EncoderKind::sam_vit, {}, detail::kSamEps, detail::kSamImage, detail::kSamPrompt, detail::kSamMask},

    // SAM ViT-B, fine-tuned with boxes and one mask; its own image and mask path.
    {"medsam",
     "MedSAM",
     "Apache-2.0",
     EncoderKind::sam_vit,
     {},
     detail::kSamEps,
     {.resize = ResizeKind::skimage_cubic_aa,
      .keep_aspect = false,
      .pad = PadKind::none,
      .order = PadOrder::normalise_then_pad,
      .normalise = NormaliseKind::min_max,
      .mean = {0, 0, 0},
      .std = {1, 1, 1}},
     {.coordinates = CoordinateKind::scale_per_axis, .points = false, .boxes = true, .mask_input = false},
     {.single = true, .multimask = false, .select = MaskSelect::first, .upsample = UpsampleKind::sigmoid_then_original, .threshold = 0.5}},

    {"lite_medsam",
     "LiteMedSAM",
     "Apache-2.0",
     EncoderKind::tiny_vit,
     TinyStem::conv1x1_stride1,
     detail::kTinyVitEps,
     {.resize = ResizeKind::cv2_area,
      .keep_aspect = true,
      .pad = PadKind::right_bottom,
      .order = PadOrder::normalise_then_pad,
      .normalise = NormaliseKind::min_max,
      .mean = {0, 0, 0},
      .std = {1, 1, 1}},
     {.coordinates = CoordinateKind::truncate_single_factor, .points = false, .boxes = true, .mask_input = false},
     {.single = true, .multimask = false, .select = MaskSelect::first, .upsample = UpsampleKind::crop_low_original, .threshold = 0}},

    // 256 px, an adapter in each block (or none: the same file without them). The predictor class of its code.
    {"sam_med2d", "SAM-Med2D", "Apache-2.0", EncoderKind::sam_vit, {}, detail::kSamEps, detail::kMed2dImage, detail::kSamPrompt, detail::kSamMask},
    // The same weights as its evaluation script feeds them: channels as cv2.imread leaves them, small images centred. Published numbers come from here.
    {"sam_med2d_eval", "SAM-Med2D (evaluation)", "Apache-2.0", EncoderKind::sam_vit, {}, detail::kSamEps, detail::kMed2dEvalImage, detail::kSamPrompt, detail::kSamMask},

    // SAM ViT-B, fine-tuned with scribbles (every pixel of one is a click), boxes and clicks; a grey image, stretched; always the best of three masks.
    {"scribbleprompt",
     "ScribblePrompt-SAM",
     "Apache-2.0",
     EncoderKind::sam_vit,
     {},
     detail::kSamEps,
     {.resize = ResizeKind::torch_bilinear,
      .keep_aspect = false,
      .pad = PadKind::none,
      .order = PadOrder::normalise_then_pad,
      .normalise = NormaliseKind::mean_std,
      .mean = {123.675, 116.28, 103.53},
      .std = {58.395, 57.12, 57.375},
      .channels = ImageChannels::gray},
     detail::kSamPrompt,
     detail::kThreeMasks},

    {"mobile_sam", "MobileSAM", "Apache-2.0", EncoderKind::tiny_vit, TinyStem::conv3x3_stride2, detail::kTinyVitEps, detail::kSamImage, detail::kSamPrompt, detail::kSamMask},
    // The shapes of MobileSAM; its code has no single-mask mode.
    {"tiny_sam", "TinySAM", "Apache-2.0", EncoderKind::tiny_vit, TinyStem::conv3x3_stride2, detail::kTinyVitEps, detail::kSamImage, detail::kSamPrompt, detail::kThreeMasks},

    // SAM's encoder with LoRA folded in, a token per class, no prompts; CT windowed to [0, 1] before.
    {"samed",
     "SAMed",
     "MIT",
     EncoderKind::sam_vit,
     {},
     detail::kSamEps,
     detail::kZoomedImage,
     detail::kNoPrompt,
     detail::kInputLabels,
     DecoderKind::classes},

    // SAMed's encoder and image path at 224 px, and a second decoder (models/guided_head.hpp).
    {"hsam",
     "H-SAM",
     "MIT",
     EncoderKind::sam_vit,
     {},
     detail::kSamEps,
     detail::kZoomedImage,
     detail::kNoPrompt,
     detail::kInputLabels,
     DecoderKind::guided},

    // SAM with adapters in its encoder, its decoder or both (or none: fine-tuned as it is); a token per class behind token 0; its 'sam' normalisation.
    {"finetune_sam",
     "finetune-SAM",
     "Apache-2.0 (code); weights are the user's own",
     EncoderKind::sam_vit,
     {},
     detail::kSamEps,
     detail::kStretchedImage,
     detail::kNoPrompt,
     detail::kLowLabels,
     DecoderKind::later_classes},
    // The same decoder on MobileSAM's encoder (its vit_t), without adapters in the encoder.
    {"finetune_sam_tiny",
     "finetune-SAM on TinyViT",
     "Apache-2.0 (code); weights are the user's own",
     EncoderKind::tiny_vit,
     TinyStem::conv3x3_stride2,
     detail::kTinyVitEps,
     detail::kStretchedImage,
     detail::kNoPrompt,
     detail::kLowLabels,
     DecoderKind::later_classes},

    // SAM with adapters in its encoder, whose windows are cut before the norm; an image in [0, 1], stretched; SAM's prompts. One slice at a time.
    {"medical_sam_adapter",
     "Medical SAM Adapter",
     "GPL-3.0 (code); weights are the user's own",
     EncoderKind::sam_vit,
     {},
     detail::kSamEps,
     detail::stretched(ResizeKind::pillow_bilinear, NormaliseKind::mean_std, detail::kZeros, detail::kBytes),
     detail::kSamPrompt,
     detail::kSamMask},

    // SAM with a prompt from the image's high frequencies before each block, and no other prompt: one mask.
    {"sam_adapter",
     "SAM-Adapter",
     "MIT",
     EncoderKind::sam_vit,
     {},
     detail::kSamEps,
     detail::kStretchedImage,
     detail::kNoPrompt,
     {.single = true, .multimask = false, .select = MaskSelect::first, .upsample = UpsampleKind::input_crop_original, .threshold = 0}},

    // SAM's encoder as it is, tokens for each class, no prompts; an image in [0, 1] by its own extremes, at 256 px before the encoder's size, labels at 256 px.
    {"autosam",
     "AutoSAM",
     "Apache-2.0 (code); weights are the user's own",
     EncoderKind::sam_vit,
     {},
     detail::kSamEps,
     detail::kTwoStepImage,
     detail::kNoPrompt,
     detail::kLowLabels,
     DecoderKind::class_sets},
    // The same image path in front of its two other heads.
    {"autosam_linear",
     "AutoSAM, linear head",
     "Apache-2.0 (code); weights are the user's own",
     EncoderKind::sam_vit,
     {},
     detail::kSamEps,
     detail::kTwoStepImage,
     detail::kNoPrompt,
     detail::kLowLabels,
     DecoderKind::plain_linear},
    {"autosam_cnn",
     "AutoSAM, CNN head",
     "Apache-2.0 (code); weights are the user's own",
     EncoderKind::sam_vit,
     {},
     detail::kSamEps,
     detail::kTwoStepImage,
     detail::kNoPrompt,
     detail::kLowLabels,
     DecoderKind::plain_cnn},

    // SAM's frozen encoder and a decoder that keeps prompt and mask apart: clicks on a grid or a box around the whole image, one mask, meant to find an organ without help.
    // Its scripts cut slices to 256 x 256 (MedSAM's way) before SAM's own preprocessing, which is what stands here.
    {"desam",
     "DeSAM",
     "MIT",
     EncoderKind::sam_vit,
     {},
     detail::kSamEps,
     detail::kSamImage,
     {.coordinates = CoordinateKind::scale_per_axis, .points = true, .boxes = true, .mask_input = false},
     {.single = true, .multimask = false, .select = MaskSelect::first, .upsample = UpsampleKind::input_crop_original, .threshold = 0},
     DecoderKind::decoupled},

    // SAM's encoder with a second branch, for ultrasound: a grey image of 256 px in [0, 1], clicks, one mask.
    {"samus",
     "SAMUS",
     "MIT",
     EncoderKind::sam_vit,
     {},
     detail::kSamEps,
     detail::kUltrasoundImage,
     {.coordinates = CoordinateKind::scale_per_axis, .points = true, .boxes = false, .mask_input = false},
     {.single = true, .multimask = false, .select = MaskSelect::first, .upsample = UpsampleKind::input_crop_original, .threshold = 0}},

    // SAMUS with a prompt made from the image: no clicks.
    {"autosamus",
     "AutoSAMUS",
     "MIT",
     EncoderKind::sam_vit,
     {},
     detail::kSamEps,
     detail::kUltrasoundImage,
     detail::kNoPrompt,
     {.single = true, .multimask = false, .select = MaskSelect::first, .upsample = UpsampleKind::input_crop_original, .threshold = 0}},

    // SAM and MobileSAM's encoder with a decoder of its own (models/hq_head.hpp).
    {"sam_hq", "SAM-HQ", "Apache-2.0", EncoderKind::sam_vit, {}, detail::kSamEps, detail::kSamImage, detail::kSamPrompt, detail::kSamMask, DecoderKind::hq},
    {"sam_hq_tiny", "Light HQ-SAM", "Apache-2.0", EncoderKind::tiny_vit, TinyStem::conv3x3_stride2, detail::kTinyVitEps, detail::kSamImage, detail::kSamPrompt, detail::kSamMask, DecoderKind::hq},

    // A plain ViT of 1024 px; a stretched float image, up to six points or box corners, always three masks, bicubic at the end.
    {"efficient_sam",
     "EfficientSAM",
     "Apache-2.0",
     EncoderKind::plain_vit,
     {},
     detail::kSamEps,
     {.resize = ResizeKind::torch_bilinear,
      .keep_aspect = false,
      .pad = PadKind::none,
      .order = PadOrder::normalise_then_pad,
      .normalise = NormaliseKind::mean_std,
      .mean = {123.675, 116.28, 103.53},
      .std = {58.395, 57.12, 57.375}},
     {.coordinates = CoordinateKind::scale_per_axis, .points = true, .boxes = true, .mask_input = false},
     {.single = false, .multimask = true, .select = MaskSelect::iou, .upsample = UpsampleKind::bicubic_original, .threshold = 0},
     DecoderKind::efficient_sam},

    // Convolutions and linear attention on an image of 512 (L) or 1024 px (XL); prompts and masks live in 1024 px either way.
    {"efficientvit_sam", "EfficientViT-SAM", "Apache-2.0", EncoderKind::efficient_vit, {}, detail::kEfficientVitEps, detail::kSamImage, detail::kSamPrompt, detail::kSamMask},

    {"edge_sam", "EdgeSAM", "S-Lab License 1.0 (non-commercial)", EncoderKind::rep_vit, {}, detail::kSamEps, detail::kSamImage, detail::kSamPrompt, detail::kSamMask},

    // SAM's ViT-B with three axes on crops of 128^3 voxels of 1.5 mm. Its pipeline asks with clicks and the logits of the click before, and takes mask 0.
    {"sam_med3d",
     "SAM-Med3D",
     "Apache-2.0",
     EncoderKind::sam_vit_3d,
     {},
     detail::kSamEps,
     {},
     {.coordinates = CoordinateKind::crop_voxels, .points = true, .boxes = false, .mask_input = true},
     {.single = true, .multimask = false, .select = MaskSelect::first, .upsample = UpsampleKind::trilinear_input, .threshold = 0},
     DecoderKind::sam,
     {.spacing = 1.5, .axes = VolumeAxes::right_anterior_superior, .normalise = VolumeNormalise::positive_z_score}},
};

/// nullptr if unknown.
constexpr const FamilyRow* find_family(std::string_view key) {
  for (const FamilyRow& f : kFamilies)
    if (f.key == key) return &f;
  return nullptr;
}

/// May a network of these sizes, as shapes alone tell them, be one of family f? Some shapes belong to several families: three classes and background have SAM's.
inline bool fits(const FamilyRow& f, const NetworkSizes& n) {
  const auto one_of = [&](std::initializer_list<DecoderKind> alike) { return std::find(alike.begin(), alike.end(), f.decoder) != alike.end() && std::find(alike.begin(), alike.end(), n.decoder) != alike.end(); };
  const bool decoder = f.decoder == n.decoder || one_of({DecoderKind::classes, DecoderKind::later_classes}) || (n.mask_tokens == 4 && one_of({DecoderKind::sam, DecoderKind::classes, DecoderKind::later_classes}));
  const bool hook = (f.key == "sam_adapter") == (n.sam_vit.hook == HookKind::frequency_prompt) && (f.key == "samus" || f.key == "autosamus") == (n.sam_vit.hook == HookKind::side_branch) &&
                    (f.key == "autosamus") == (n.prompt_source == PromptSource::generator) && (f.key == "medical_sam_adapter") == (n.sam_vit.pads == WindowPads::before_norm);
  return f.encoder == n.encoder && decoder && hook && (n.encoder != EncoderKind::tiny_vit || f.stem == n.tiny_vit.stem);
}

/// "sam, medsam, ...": for messages and help.
inline std::string family_list() {
  std::string s;
  for (const FamilyRow& f : kFamilies) s += cat(s.empty() ? "" : ", ", f.key);
  return s;
}

/// The part of the contract that family, sizes and key layout decide; origin and digests are the converter's.
inline Contract base_contract(const FamilyRow& f, const NetworkSizes& n, SourceLayout layout = SourceLayout::meta_sam) {
  Contract c;
  c.layout = layout;
  c.family = f.key;
  c.name = f.display;
  if (f.key == "sam" || f.key == "sam_hq") {
    const SamVitSizes& v = n.sam_vit;
    const char* size = v.embed_dim == 768 && v.depth == 12 ? "B" : v.embed_dim == 1024 && v.depth == 24 ? "L" : v.embed_dim == 1280 && v.depth == 32 ? "H" : nullptr;
    c.name += size ? cat(" ViT-", size) : cat(" ViT ", v.embed_dim, "x", v.depth);
    if (n.image_size != 1024) c.name += cat(" ", n.image_size, " px");
  }
  if (f.key == "efficient_sam" && n.plain_vit.embed_dim == 192) c.name += "-Ti";
  if (f.key == "efficient_sam" && n.plain_vit.embed_dim == 384) c.name += "-S";
  if (n.encoder == EncoderKind::efficient_vit && f.encoder == n.encoder) {
    const EfficientVitSizes& v = n.efficient_vit;
    const bool xl = v.kind == EfficientVitKind::extra_large;
    const int which = !xl && v.depths.size() == 5 ? (v.depths[3] == 4 ? 0 : v.depths[3] == 6 ? 1 : v.depths[3] == 8 ? 2 : -1) : xl && v.depths.size() == 6 ? (v.depths[3] == 2 ? 0 : v.depths[3] == 4 ? 1 : -1) : -1;
    c.name += which < 0 ? std::string() : cat(xl ? " XL" : " L", which);
    c.activation = Activation::gelu_tanh;
  }
  c.licence = f.licence;
  c.network = n;
  c.network.decoder = f.decoder;
  c.eps = f.eps;
  if (layout == SourceLayout::hf_sam) c.eps.decoder_ln = 1e-6;  // Hugging Face's SamModel: norm1..4 with its layer_norm_eps; its final norm keeps PyTorch's default
  c.image = f.image;
  c.volume = f.volume;
  c.prompt = f.prompt;
  c.mask = f.mask;
  return c;
}

}  // namespace sampan::inline SAMPAN_ABI::weights
