// Model, Session and what goes in and comes out: the public classes, declarations only.
// Data flow: sampan.hpp (include that one) -> here -> impl/model.ipp, impl/session.ipp -> predict/preprocess.hpp, models/any_model.hpp, predict/postprocess.hpp.
// Coordinates are pixels of the original image, x before y; boxes are two corners (core/geometry.hpp says it once for all).
// Every function that can fail exists twice: `f` throws sampan::Error, `try_f` is noexcept and returns Result<T>. Without exceptions only the twins exist.
// Source of the behaviour: segment_anything/predictor.py (SamPredictor), with each checkpoint's own contract (weights/contract.hpp).
#pragma once
#include <sampan/core/error.hpp>
#include <sampan/core/precision.hpp>
#include <sampan/core/geometry.hpp>
#include <sampan/core/progress.hpp>
#include <sampan/image/image.hpp>
#include <sampan/image/window_level.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sampan::inline SAMPAN_ABI {

class Trace;
namespace detail {
struct ModelState;
struct SessionState;
struct Access;
}  // namespace detail

/// Where it computes. `cuda` needs a build with SAMPAN_CUDA and a device of compute capability 7.5 or more. `reference` is the scalar definition of every op: for tiny models, tests and teaching.
enum class Device { cpu, cuda, reference };

struct LoadOptions {
  Precision precision = Precision::f32;
  Device device = Device::cpu;
  int threads = 0;            ///< 0: all cores. The result does not depend on it.
  std::string isa = "auto";   ///< a name from available_isas(), or "auto"
  std::uint64_t max_memory = 0;  ///< bytes for weights and activations together, checked before they are taken; 0: no limit
};

/// What a model is and what it accepts.
struct ModelInfo {
  std::string family;        ///< a key of weights/family.hpp: sam, medsam, lite_medsam, ...
  std::string name;          ///< "SAM ViT-B"
  std::string licence;       ///< of the weights, as the file says
  std::string encoder;       ///< "sam_vit", "tiny_vit", "plain_vit", ..., with its sizes
  std::string preprocessing; ///< resize, normalisation and padding in words
  std::int64_t image_size = 0;      ///< side of the square that the network sees
  std::int64_t embedding_grid = 0;  ///< the embedding is [1, 256, grid, grid]
  std::int64_t low_res = 0;         ///< side of low_res_logits
  std::int64_t parameters = 0;
  bool points = false, boxes = false, mask_input = false;  ///< prompts that it was trained with
  std::int64_t most_tokens = 0;  ///< points and box corners (two) of a prompt at most; 0: any number
  bool single_mask = false, multimask = false;             ///< masks per prompt that it can give: one, three
  int classes = 0;                                         ///< of a decoder with one token per class, background included: class_map() and no prompts; else 0
  bool hq_token = false;                                   ///< SAM-HQ: takes PredictOptions::hq_token_only
  std::string lacks_on_cuda;                               ///< what Device::cuda has no kernel for; empty: the model runs there too
  double encode_flop = 0, decode_flop = 0;           ///< useful FLOP of one image, of one box
  std::uint64_t embedding_bytes = 0;                 ///< what an encoded image keeps for its prompts
  std::uint64_t weight_bytes = 0;                    ///< packed weights in memory
  std::uint64_t encode_bytes = 0, decode_bytes = 0;  ///< activations of set_image (a square image of image_size) and of one box
};

/// Weights of one network, packed once; immutable, cheap to copy, shared between threads.
class Model {
 public:
  /// Reads a file written by sampan-convert (or any safetensors file of a known network). Error{io | bad_file | bad_model | unsupported | limit | out_of_memory}.
  static Result<Model> try_load(const std::string& path, const LoadOptions& options = {}) noexcept;
#if SAMPAN_EXCEPTIONS
  static Model load(const std::string& path, const LoadOptions& options = {}) { return try_load(path, options).value(); }
#endif
  const ModelInfo& info() const noexcept;
  /// Hex SHA-256 of the weight file; read on the first call.
  Result<std::string> try_sha256() const noexcept;

 private:
  friend struct detail::Access;
  explicit Model(std::shared_ptr<const detail::ModelState> s) : state_(std::move(s)) {}
  std::shared_ptr<const detail::ModelState> state_;
};

/// A click: label 1 on the object, 0 on the background.
struct LabeledPoint {
  double x = 0, y = 0;
  int label = 1;
};

/// Everything said about one object. At least one part; an entirely empty prompt is allowed (the network then decides alone).
struct Prompt {
  std::vector<LabeledPoint> points = {};
  std::optional<Box> box = {};
  std::vector<float> mask_input = {};  ///< low_res_logits of an earlier prediction, low_res * low_res values
};

/// Rule that picks one of several candidate masks.
enum class Select { iou, first, stability, largest };

struct PredictOptions {
  bool multimask = false;  ///< three candidates (whole, part, subpart) instead of one
  Select select = Select::iou;
  bool hq_token_only = false;  ///< SAM-HQ: the mask of its own token alone, without SAM's
};

/// Is the prompt possible on an image of this size (channels do not matter)? Needs no model, so a slip can be found before any weight is read.
/// Boxes lie inside the image with x0 < x1 and y0 < y1, points at most one image size outside it, labels are 0 or 1, all numbers are finite.
/// Error{invalid_argument} that shows the part and what would be right; Error{limit} above 100000 points.
Status check(const Prompt& prompt, const ImageSize& image) noexcept;
/// Can this model take it, with these options? Kinds of prompts and masks that it was trained with, size of the mask input.
/// Error{unsupported}, or Error{invalid_argument} if a needed part is missing or a mask input has not low_res * low_res values.
/// try_predict and try_predict_into ask both before they compute anything.
Status check(const Prompt& prompt, const ModelInfo& model, const PredictOptions& options = {}) noexcept;

/// One byte per pixel of the original image, 0 or 1, row-major.
struct Mask {
  std::int64_t width = 0, height = 0;
  std::vector<std::uint8_t> data;
};

struct Candidate {
  Mask mask;
  float predicted_iou = 0;  ///< the network's own guess; may exceed 1
  float stability = 0;      ///< |logit > 1| / |logit > -1| at image size; NaN if nothing is above -1
  std::int64_t area = 0;    ///< pixels of the mask
  Box extent;               ///< first and one past the last pixel; all 0 if the mask is empty
};

struct Prediction {
  std::vector<Candidate> candidates;  ///< 1, or 3 with multimask
  std::size_t selected = 0;
  std::int64_t low_res = 0;           ///< side of each low-resolution logit map
  std::vector<float> low_res_logits;  ///< [candidates, low_res, low_res], before any resize; good as the next prompt's mask_input
  const Candidate& best() const { return candidates[selected]; }
  const Mask& mask() const { return best().mask; }
  float score() const { return best().predicted_iou; }
};

/// Several answers about one object of the original image, row-major.
struct Ensemble {
  Mask mask;                    ///< where the mean probability is above one half
  std::vector<float> mean;      ///< probability of each pixel, averaged over the members
  std::vector<float> variance;  ///< of the members' probabilities, 0 to 0.25: where they disagree
  std::vector<float> predicted_iou;  ///< of each member's chosen mask
  std::int64_t area = 0;        ///< pixels of the mask
};

/// A class for each pixel of the original image, row-major; 0 is background.
struct ClassMap {
  std::int64_t width = 0, height = 0;
  std::vector<std::uint8_t> labels;
  std::vector<std::int64_t> areas;  ///< pixels of each class
};

/// Milliseconds of the last calls.
struct Timings {
  double preprocess = 0, encode = 0, decode = 0, postprocess = 0;
};

/// One image and its prompts; belongs to one thread. Sessions of one model may run side by side.
class Session {
 public:
  explicit Session(const Model& model);
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;
  ~Session();

  /// Encodes an image. Pixels other than 8-bit need a window. The second image of the same size allocates nothing.
  /// On an error or a cancellation the session holds no image.
  Status try_set_image(const ImageView& image, const std::optional<WindowLevel>& window = {}, const Progress& progress = {}) noexcept;
  /// Segments one object; `out` keeps its memory between calls.
  Status try_predict_into(const Prompt& prompt, Prediction& out, const PredictOptions& options = {}) noexcept;
  Result<Prediction> try_predict(const Prompt& prompt, const PredictOptions& options = {}) noexcept;
  /// Several objects of one image; equal prompts are decoded together. `out` has one entry per prompt.
  Status try_predict_into(std::span<const Prompt> prompts, std::span<Prediction> out, const PredictOptions& options = {}) noexcept;

  /// One object asked in several ways (moved boxes, other clicks): each member's chosen mask counts alike. Two members at least.
  Status try_predict_ensemble(std::span<const Prompt> members, Ensemble& out, const PredictOptions& options = {}) noexcept;

  /// The whole image by a model whose decoder has one token per class (ModelInfo::classes > 0); `out` keeps its memory. Error{unsupported} for other models.
  Status try_class_map(ClassMap& out) noexcept;

  /// Writes what decoding needs (safetensors: image_embedding [1,c,g,g] and sizes) / reads it back for the same model.
  Status try_save_embedding(const std::string& path) const noexcept;
  Status try_load_embedding(const std::string& path) noexcept;
  /// The embedding in PyTorch's order [1, c, g, g].
  Result<std::vector<float>> try_image_embedding() const noexcept;

#if SAMPAN_EXCEPTIONS
  void set_image(const ImageView& image, const std::optional<WindowLevel>& window = {}, const Progress& progress = {}) { try_set_image(image, window, progress).value(); }
  Prediction predict(const Prompt& prompt, const PredictOptions& options = {}) { return try_predict(prompt, options).value(); }
  void predict_into(const Prompt& prompt, Prediction& out, const PredictOptions& options = {}) { try_predict_into(prompt, out, options).value(); }
  void predict_into(std::span<const Prompt> prompts, std::span<Prediction> out, const PredictOptions& options = {}) { try_predict_into(prompts, out, options).value(); }
  Ensemble predict_ensemble(std::span<const Prompt> members, const PredictOptions& options = {}) {
    Ensemble out;
    try_predict_ensemble(members, out, options).value();
    return out;
  }
  ClassMap class_map() {
    ClassMap out;
    try_class_map(out).value();
    return out;
  }
  void save_embedding(const std::string& path) const { try_save_embedding(path).value(); }
  void load_embedding(const std::string& path) { try_load_embedding(path).value(); }
#endif

  bool has_image() const noexcept;
  /// Size of the encoded image, all 0 without one.
  ImageSize image_size() const noexcept;
  const Timings& timings() const noexcept;
  /// Records intermediate tensors of later calls (core/trace.hpp); nullptr stops. Traced calls allocate and run unfused where a name asks for it.
  void set_trace(Trace* trace) noexcept;

 private:
  friend struct detail::Access;
  std::unique_ptr<detail::SessionState> state_;
};

/// set_image of several sessions of one model, an image each. On device cuda the encoder runs over all of them at once, where it can (SAM without adapters, TinyViT);
/// else one follows the other. Embeddings are those of set_image. After an error some of the sessions may hold their image (Session::has_image), the others hold none.
Status try_set_images(std::span<Session> sessions, std::span<const ImageView> images, const std::optional<WindowLevel>& window = {}, const Progress& progress = {}) noexcept;
#if SAMPAN_EXCEPTIONS
inline void set_images(std::span<Session> sessions, std::span<const ImageView> images, const std::optional<WindowLevel>& window = {}, const Progress& progress = {}) {
  try_set_images(sessions, images, window, progress).value();
}
#endif

/// Version, compiler, baseline, checks, ISA levels: one fact per line.
std::string build_info();
/// Names that LoadOptions::isa accepts on this machine, best last.
std::vector<std::string> available_isas();
/// Precisions that a level computes in ("f32", "fast", "bf16"); empty for a level that this machine does not have. "auto" is the best level.
std::vector<std::string> available_precisions(const std::string& isa = "auto");
/// Precisions of a device, of which the cpu has those of the level. Error{unsupported} says why a device cannot be used here.
Result<std::vector<std::string>> available_precisions(Device device, const std::string& isa = "auto") noexcept;
/// "cpu" and "reference"; "cuda: NAME, compute capability M.m, ..." where this build and machine have one.
std::vector<std::string> available_devices();

}  // namespace sampan::inline SAMPAN_ABI
