// Cuda, the backend type; Device, what stands behind it: stream, libraries, and the products and convolutions that were planned. Data flow: models/any_model.hpp makes
// one Device per model; cuda/*.hpp run on it. Host C++ only: no CUDA header, so that everything but kernels/runtime.cpp compiles without the toolkit.
// Planning (core/context.hpp) chooses the algorithms, so that a run finds each in a table and allocates nothing.
// Deliberately absent: more than one device, unified memory (host code never sees a device address that it may read).
#pragma once
#include <sampan/core/context.hpp>
#include <sampan/core/dtype.hpp>
#include <sampan/core/precision.hpp>
#include <sampan/cpu/cpu.hpp>
#include <sampan/cuda/runtime.hpp>
#include <sampan/ops/layer_norm.hpp>

#include <map>
#include <memory>
#include <mutex>
#include <vector>

namespace sampan::inline SAMPAN_ABI {
namespace cuda {

inline Error to_error(const Answer& a) { return Error(a.out_of_memory ? ErrorCode::out_of_memory : ErrorCode::internal, cat("CUDA: ", a.call, ": ", a.text, " (", a.code, ")")); }
inline Status checked(const Answer& a) {
  if (a.ok()) return {};
  return to_error(a);
}

struct DeviceMemory {
  static void* allocate(std::size_t bytes) noexcept {
    void* p = nullptr;
    return keep(cuda::allocate(p, bytes)) ? p : nullptr;
  }
  static void release(void* p) noexcept { cuda::release(p); }
  static bool upload(void* to, const void* from, std::size_t bytes) noexcept { return keep(cuda::upload(to, from, bytes)); }
  /// The last of this thread's calls that gave no memory or did not fill it: tensors and arenas only tell that there is none.
  static Answer& failure() noexcept {
    static thread_local Answer a;
    return a;
  }

 private:
  static bool keep(const Answer& a) noexcept {
    if (!a.ok()) failure() = a;
    return a.ok();
  }
};
/// An error that says that there was no memory, with the call that was behind it, whose fault may be another; every other error as it is.
inline Error with_cause(Error e) {
  const Answer a = std::exchange(DeviceMemory::failure(), {});
  if (a.ok() || e.code() != ErrorCode::out_of_memory) return e;
  const Error cause = to_error(a);
  return Error(cause.code(), cat(e.message(), ": ", cause.message()));
}

/// Host memory that copies run from and to without a detour. Grows, never shrinks.
class Pinned {
 public:
  Pinned() = default;
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;
  ~Pinned() { release_pinned(data_); }
  Status reserve(std::size_t bytes) {
    if (bytes <= bytes_) return {};
    release_pinned(std::exchange(data_, nullptr));
    bytes_ = 0;
    SAMPAN_CHECK(checked(allocate_pinned(data_, bytes)));
    bytes_ = bytes;
    return {};
  }
  std::size_t bytes() const { return bytes_; }
  float* floats() const { return static_cast<float*>(data_); }

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

/// Error{unsupported} where no device answers or it is older than compute capability 7.5. Opens nothing.
inline Result<DeviceInfo> usable_device() {
  DeviceInfo d;
  if (const Answer a = find_device(d); !a.ok()) return Error(ErrorCode::unsupported, cat("device cuda: no usable CUDA device (", a.call, ": ", a.text, "); use device cpu"));
  if (d.major * 10 + d.minor < 75) return Error(ErrorCode::unsupported, cat("device cuda: ", d.name, " has compute capability ", d.major, ".", d.minor, ", at least 7.5 is needed; use device cpu"));
  return d;
}

class Device {
 public:
  template <class T>
  struct Planned {
    T* plan = nullptr;
    std::size_t workspace = 0;
  };

  /// Errors of usable_device(), and those of the calls.
  static Result<std::shared_ptr<Device>> open() {
    SAMPAN_TRY(info, usable_device());
    auto d = std::shared_ptr<Device>(new Device);
    d->info_ = std::move(info);
    SAMPAN_CHECK(checked(create_stream(d->stream_)));
    SAMPAN_CHECK(checked(open_libraries(d->libraries_)));
    return d;
  }
  ~Device() {
    for (auto& [shape, p] : products_) destroy_product(p.plan);
    for (auto& [shape, c] : convolutions_) destroy_convolution(c.plan);
    close_libraries(libraries_);
    destroy_stream(stream_);
  }
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const DeviceInfo& info() const { return info_; }
  Stream stream() const { return stream_; }
  /// One call at a time: sessions of one model share the stream, and recording a graph must not catch another's work.
  std::mutex& busy() { return busy_; }

  Result<Planned<Product>> product(const ProductShape& s) {
    const std::lock_guard lock(tables_);
    auto [at, fresh] = products_.try_emplace(s);
    if (fresh) SAMPAN_CHECK(keep(products_, at, create_product(libraries_, s, at->second.plan, at->second.workspace)));
    return at->second;
  }
  Result<Planned<Convolution>> convolution(const ConvolutionShape& s) {
    const std::lock_guard lock(tables_);
    auto [at, fresh] = convolutions_.try_emplace(s);
    if (fresh) SAMPAN_CHECK(keep(convolutions_, at, create_convolution(libraries_, s, at->second.plan, at->second.workspace)));
    return at->second;
  }

 private:
  Device() = default;
  template <class M>
  static Status keep(M& table, typename M::iterator at, const Answer& a) {
    if (!a.ok()) table.erase(at);
    return checked(a);
  }
  DeviceInfo info_;
  Stream stream_ = nullptr;
  Libraries* libraries_ = nullptr;
  std::map<ProductShape, Planned<Product>> products_;
  std::map<ConvolutionShape, Planned<Convolution>> convolutions_;
  std::mutex busy_, tables_;
};

}  // namespace cuda

/// The backend: f32 without TF32, or matrix products, attention and windows of the encoder on 16-bit operands with sums in float.
struct Cuda {
  using Memory = cuda::DeviceMemory;
  static constexpr const char* kName = "cuda";
  std::shared_ptr<cuda::Device> device;
  Precision precision = Precision::f32;
  Cpu host = {.isa = best_isa()};  ///< pixels before the network and masks behind it
  Index images = 1;                ///< that the maps of an encoder's ops hold, one below the other (models/any_model.hpp, encode_batch)
};
inline Cuda exact_backend(const Cuda& b) { return {b.device, Precision::f32, b.host}; }
inline Cuda batch_backend(const Cuda& b, Index images) {
  Cuda many = b;
  many.images = images;
  return many;
}
inline const Cpu& host_backend(const Cuda& b) { return b.host; }

namespace cuda {

inline Element element_of(Precision p) { return p == Precision::f16 ? Element::f16 : p == Precision::bf16 ? Element::bf16 : Element::f32; }
inline Index bytes_of(Element e) { return e == Element::f32 ? 4 : 2; }

/// Fails the context if a call did not succeed.
inline void ran(Context<Cuda>& ctx, const Answer& a) {
  if (!a.ok()) ctx.fail(to_error(a));
}
inline void ran(Context<Cuda>& ctx, const char* kernel, kernels::Status s) {
  if (s != 0) ran(ctx, launched(kernel, s));
}
inline Stream stream_of(const Context<Cuda>& ctx) { return ctx.backend.device->stream(); }

/// Rows of a map of one image.
inline Index rows_of_image(Context<Cuda>& ctx, Index rows) {
  const Index n = ctx.backend.images;
  return ctx.require(n >= 1 && rows % n == 0, "cuda: the rows of a map are no multiple of the images in it") ? rows / n : rows;
}

/// A matrix of weights in a kernel's element type, or a vector (one row).
struct Matrix {
  Tensor<std::uint8_t, 1, Cuda> memory;
  Index rows = 0, columns = 0;
  Element type = Element::f32;
  const void* data() const { return memory.view().data(); }
  const float* floats() const { return static_cast<const float*>(data()); }
  bool valid() const { return memory.valid() || rows * columns == 0; }

  static Matrix of(const View<const float, 2>& v, Element type) {
    Matrix m;
    m.rows = v.extent(0), m.columns = v.extent(1), m.type = type;
    if (v.empty()) return m;
    std::vector<std::uint8_t> bytes(std::size_t(v.size() * bytes_of(type)));
    for (Index i = 0, at = 0; i < m.rows; ++i)
      for (Index j = 0; j < m.columns; ++j, at += bytes_of(type)) {
        const float f = v(i, j);
        const std::uint16_t half = type == Element::f16 ? f32_to_f16(f) : f32_to_bf16(f);
        type == Element::f32 ? std::memcpy(&bytes[std::size_t(at)], &f, 4) : std::memcpy(&bytes[std::size_t(at)], &half, 2);
      }
    m.memory = Tensor<std::uint8_t, 1, Cuda>::copy_of(View<const std::uint8_t, 1>(bytes.data(), {Index(bytes.size())}));
    return m;
  }
  static Matrix of(const View<const float, 1>& v, Element type) { return of(View<const float, 2>(v.data(), {v.empty() ? 0 : 1, v.extent(0)}, {0, v.stride(0)}), type); }
};

/// A vector that a layer may do without: valid() tells one that is not there from one that could not be had.
struct OptionalVector {
  Tensor<float, 1, Cuda> memory;
  bool wanted = false;
  const float* data() const { return wanted ? memory.view().data() : nullptr; }
  bool valid() const { return !wanted || memory.valid(); }
  static OptionalVector of(const View<const float, 1>& v) { return {Tensor<float, 1, Cuda>::copy_of(v), !v.empty()}; }
};

/// A norm that a layer may do without.
struct OptionalNorm {
  PackedNorm<Cuda> norm;
  bool wanted = false;
  bool valid() const { return !wanted || norm.valid(); }
  static OptionalNorm of(const Cuda& b, const NormParams& p) {
    if (!p.present()) return {};
    return {pack(b, p), true};
  }
};

}  // namespace cuda
}  // namespace sampan::inline SAMPAN_ABI
