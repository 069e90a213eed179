// VolumeSession: prompts on some slices of a volume, masks on all of them, with any 2D model. Declarations; impl/volume.ipp defines them.
// Data flow: SliceSource (8-bit pictures, read one at a time) -> encoder, once per slice for all objects -> decoder per object -> masks, which also make the next slice's box.
// Propagation is LiteMedSAM's rule (CVPR24_LiteMedSAM_infer.py): the box of a slice is that of its neighbour's mask, 3 pixels of a 256-pixel input wider; an empty
//   neighbour hands on the prompt's own box. Outward from each prompted slice, in both directions; between two prompted slices they meet in the middle, or boxes are interpolated.
// Encoded slices stay in memory up to a limit (or as long as they are wanted), and in a folder if one is named: later prompts, undo, and a run after a crash encode nothing twice.
// Shapes: slices [height, width] or [height, width, 3]; masks one byte per pixel. Cost: one encoding per slice, one decoding per object and slice.
// Deliberately absent: file formats and planes (examples/medical), 3D networks, label maps: objects are kept apart, so that overlaps are the caller's decision.
// In header-only mode include <sampan/sampan.hpp> as well.
#pragma once
#include <sampan/predict/predictor.hpp>

namespace sampan::inline SAMPAN_ABI {

namespace detail {
struct VolumeState;
}

/// Somebody else's slices. `read` fills height * width * channels bytes (channels 1 or 3) and is called on the thread that calls the session.
struct SliceSource {
  ImageSize size;
  std::int64_t count = 0;
  Status (*read)(void* user, std::int64_t slice, std::uint8_t* pixels) = nullptr;
  void* user = nullptr;
};

struct VolumeOptions {
  std::uint64_t cache_bytes = std::uint64_t(512) << 20;  ///< encoded slices in memory; the oldest go first. At least one slice is kept.
  std::string cache_folder = {};  ///< exists; one file per encoded slice, named by a digest of pixels, model, precision and instruction set. Empty: none.
  bool interpolate = false;       ///< between two prompted slices: boxes between theirs (both need one), instead of propagation to the middle
  int margin = 3;                 ///< pixels of a 256-pixel input around the neighbour's mask
  bool keep_all = true;           ///< for later prompts; false: in memory stay only slices that the same propagation wants once more
};

/// Corners in voxels of the slices: x and y in pixels, z a slice number; the last slice belongs to it.
struct VolumeBox {
  double x0 = 0, y0 = 0, x1 = 0, y1 = 0;
  std::int64_t z0 = 0, z1 = 0;
};

struct VolumeStats {
  std::int64_t encoded = 0, from_memory = 0, from_folder = 0, decoded = 0;  ///< slices, slices, slices, prompts
  std::uint64_t cache_bytes = 0;
  double read_ms = 0, encode_ms = 0, decode_ms = 0;
};

/// One volume and its objects; belongs to one thread. Objects are known by a number from 1 to 65535 (their label).
/// Every change is a step that undo() takes back. A failed or cancelled call changes nothing but the cache.
class VolumeSession {
 public:
  /// Error{invalid_argument}: no slices, sizes out of range, a model without boxes; Error{limit}: LoadOptions::max_memory does not hold weights, activations and cache.
  static Result<VolumeSession> try_open(const Model& model, const SliceSource& slices, const VolumeOptions& options = {}) noexcept;
  VolumeSession(VolumeSession&&) noexcept;
  VolumeSession& operator=(VolumeSession&&) noexcept;
  ~VolumeSession();

  /// What is said about an object on one slice (in place of what was said there before). Checked as Session does.
  Status try_set_prompt(int object, std::int64_t slice, const Prompt& prompt) noexcept;
  /// Slices outside are never touched. Without a range an object ends, in each direction, at the first slice where nothing is found.
  Status try_set_range(int object, std::int64_t first, std::int64_t last) noexcept;
  /// A 3D box: its range, and its sides as the prompt of slice (z0 + z1) / 2.
  Status try_set_box(int object, const VolumeBox& box) noexcept;
  Status try_remove(int object) noexcept;

  /// Segments every object that changed since the last time. `progress` gets the fraction of slices done; false cancels.
  Status try_propagate(const Progress& progress = {}) noexcept;
  /// Takes the last step back; false if there is none.
  bool undo() noexcept;
  /// Gives back the memory of encoded slices; masks and prompts stay. Later prompts encode anew, or read the folder.
  void forget_slices() noexcept;

  /// The object's mask on a slice, height * width bytes of 0 and 1; false (and zeros) if it has none there.
  Result<bool> try_mask(int object, std::int64_t slice, std::span<std::uint8_t> out) const noexcept;
  /// The network's own guess of the mask's quality on that slice; NaN without a mask.
  float predicted_iou(int object, std::int64_t slice) const noexcept;
  std::vector<int> objects() const;
  const VolumeStats& stats() const noexcept;

#if SAMPAN_EXCEPTIONS
  static VolumeSession open(const Model& model, const SliceSource& slices, const VolumeOptions& options = {}) { return try_open(model, slices, options).value(); }
  void set_prompt(int object, std::int64_t slice, const Prompt& prompt) { try_set_prompt(object, slice, prompt).value(); }
  void set_range(int object, std::int64_t first, std::int64_t last) { try_set_range(object, first, last).value(); }
  void set_box(int object, const VolumeBox& box) { try_set_box(object, box).value(); }
  void remove(int object) { try_remove(object).value(); }
  void propagate(const Progress& progress = {}) { try_propagate(progress).value(); }
  bool mask(int object, std::int64_t slice, std::span<std::uint8_t> out) const { return try_mask(object, slice, out).value(); }
#endif

 private:
  explicit VolumeSession(std::unique_ptr<detail::VolumeState> state);
  std::unique_ptr<detail::VolumeState> state_;
};

}  // namespace sampan::inline SAMPAN_ABI
