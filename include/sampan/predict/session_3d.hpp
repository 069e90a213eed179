// Model3d and Session3d: clicks in a volume, a mask on its grid, with a volumetric network (SAM-Med3D). Declarations; impl/session_3d.ipp defines them.
// Data flow: VolumeSource (planes, read once per crop) -> predict/crop_3d.hpp -> encoder, once per crop -> decoder per click -> mask.
// The network sees a cube (SAM-Med3D: 192 mm) around the first click; later clicks refine the mask, each with the logits of the one before, as the published pipeline does.
// Larger objects: a click on the object beyond the last cube opens another one around it, with the mask so far (nearest neighbour, 0 and 1) as its mask prompt and one click in its
//   middle; masks are joined. That is the published rule for clicks that follow a segmentation (medim_infer.py of SAM-Med3D, branch CVPR25_3DFM), which moves the cube with every click
//   on the object and hands the mask on through the scan's grid; here it stays in the network's voxels, and clicks inside a cube refine it. try_cover clicks by itself where a mask
//   leaves its cube. (The sliding window of the same project takes these clicks from the truth.)
// Coordinates: (i, j, k) in voxels of the volume, centres are whole numbers; i is the fastest axis in memory.
// Cost on 128^3: 104 GFLOP per crop, 1.5 per click. Deliberately absent: boxes (the network has none), devices other than the processor.
// In header-only mode include <sampan/sampan.hpp> as well.
#pragma once
#include <sampan/predict/predictor.hpp>

#include <array>

namespace sampan::inline SAMPAN_ABI {

namespace detail {
struct Model3dState;
struct Session3dState;
struct Access3d;
}  // namespace detail

struct Model3dInfo {
  std::string family, name, licence;
  std::string encoder, preprocessing;  ///< in words
  std::int64_t side = 0;               ///< of the cube that the network sees, in its own voxels
  double spacing = 0;                  ///< edge of such a voxel in millimetres
  std::int64_t low_res = 0;            ///< side of low_res_logits
  std::int64_t parameters = 0;
  double encode_flop = 0, decode_flop = 0;           ///< useful FLOP of one crop, of one click
  std::uint64_t weight_bytes = 0;                    ///< packed weights in memory
  std::uint64_t encode_bytes = 0, decode_bytes = 0;  ///< activations
};

/// Weights of one volumetric network, packed once; immutable, cheap to copy, shared between threads.
class Model3d {
 public:
  /// Error{io | bad_file | bad_model | unsupported | limit | out_of_memory}; a network for images is refused.
  static Result<Model3d> try_load(const std::string& path, const LoadOptions& options = {}) noexcept;
#if SAMPAN_EXCEPTIONS
  static Model3d load(const std::string& path, const LoadOptions& options = {}) { return try_load(path, options).value(); }
#endif
  const Model3dInfo& info() const noexcept;
  /// Hex SHA-256 of the weight file.
  Result<std::string> try_sha256() const noexcept;

 private:
  friend struct detail::Access3d;
  explicit Model3d(std::shared_ptr<const detail::Model3dState> s) : state_(std::move(s)) {}
  std::shared_ptr<const detail::Model3dState> state_;
};

/// Somebody else's volume. `read` fills size[0] * size[1] floats of plane k, i fastest, and is called on the thread that calls the session.
struct VolumeSource {
  std::array<std::int64_t, 3> size{};               ///< along i, j, k
  std::array<std::array<double, 4>, 3> to_world{};  ///< rows x, y, z of RAS millimetres; columns: steps along i, j, k, and the centre of voxel (0,0,0)
  bool integers = false;  ///< voxels are whole numbers: then resampled ones are cut to whole numbers too, as in the published pipeline
  Status (*read)(void* user, std::int64_t k, float* plane) = nullptr;
  void* user = nullptr;
};

/// A click on the object (label 1) or beside it (0).
struct Click3d {
  double i = 0, j = 0, k = 0;
  int label = 1;
};

/// One volume and one object in it; belongs to one thread.
class Session3d {
 public:
  /// Error{invalid_argument}: sizes, steps or axes that cannot be; no function that reads.
  static Result<Session3d> try_open(const Model3d& model, const VolumeSource& volume) noexcept;
  Session3d(Session3d&&) noexcept;
  Session3d& operator=(Session3d&&) noexcept;
  ~Session3d();

  /// Moves the crop to this voxel, encodes it, and forgets all clicks. Error{invalid_argument}: outside the volume, or nothing in the crop to normalise by.
  Status try_set_centre(double i, double j, double k, const Progress& progress = {}) noexcept;
  /// Adds a click and segments. The first click of a session without a crop must be on the object and becomes the crop's centre; a later one on the object, beyond the last cube,
  /// opens another cube.
  /// Error{invalid_argument}: outside the volume, beside the object and outside the last cube, a label other than 0 and 1. A failed click changes nothing.
  Status try_click(const Click3d& click, const Progress& progress = {}) noexcept;
  /// Opens cubes where the object leaves those there are: around the voxel of a cube's face nearest to the middle of those on the object there, until it leaves none or there are
  /// `most_cubes`. A voxel that several cubes cover is decided by the first of them. Returns how many were opened; each is a click for undo().
  /// Error{invalid_argument}: no click yet, `most_cubes` below 1 or above kMostCubes; or what encoding a cube can fail with. A failed call opens none.
  Result<std::int64_t> try_cover(std::int64_t most_cubes = 27, const Progress& progress = {}) noexcept;
  static constexpr std::int64_t kMostCubes = 1000;
  /// Takes the last click back, and the cube that it opened; false if there is none.
  bool undo() noexcept;
  /// Forgets the clicks; the first cube stays.
  void clear() noexcept;

  /// The mask on the volume's grid, size[0] * size[1] * size[2] bytes of 0 and 1, i fastest; all zeros before the first click.
  Status try_mask(std::span<std::uint8_t> out) const noexcept;
  /// Writes `value` where the mask is; the rest of `out` stays. Returns the number of voxels.
  Result<std::int64_t> try_paint(std::span<std::uint8_t> out, std::uint8_t value) const noexcept;

  bool has_crop() const noexcept;
  std::size_t cubes() const noexcept;
  std::size_t clicks() const noexcept;
  /// The network's own guess of the mask's quality in the last cube; NaN before the first click.
  float predicted_iou() const noexcept;
  /// [low_res, low_res, low_res] over the last cube, axes right, anterior, superior; empty before the first click.
  std::span<const float> low_res_logits() const noexcept;
  const Timings& timings() const noexcept;
  /// Records intermediate tensors of later calls, as Session::set_trace does; nullptr stops.
  void set_trace(Trace* trace) noexcept;

#if SAMPAN_EXCEPTIONS
  static Session3d open(const Model3d& model, const VolumeSource& volume) { return try_open(model, volume).value(); }
  void set_centre(double i, double j, double k, const Progress& progress = {}) { try_set_centre(i, j, k, progress).value(); }
  void click(const Click3d& c, const Progress& progress = {}) { try_click(c, progress).value(); }
  std::int64_t cover(std::int64_t most_cubes = 27, const Progress& progress = {}) { return try_cover(most_cubes, progress).value(); }
  void mask(std::span<std::uint8_t> out) const { try_mask(out).value(); }
  std::int64_t paint(std::span<std::uint8_t> out, std::uint8_t value) const { return try_paint(out, value).value(); }
#endif

 private:
  friend struct detail::Access3d;
  explicit Session3d(std::unique_ptr<detail::Session3dState> state);
  std::unique_ptr<detail::Session3dState> state_;
};

}  // namespace sampan::inline SAMPAN_ABI
