// What the op benchmarks need for rows of a CUDA device: an op of Context<Cuda> recorded as a graph of many runs, device buffers that rotate, results back on the host.
// Data flow: gemm.cpp, attention.cpp, device_roof.cpp -> here -> include/sampan/cuda (kernels and cuBLASLt, or tests/emu/runtime.cpp).
// A time is that of one graph of as many runs as fill 2 ms, from its launch until the stream is empty, over the number of runs: as in a network, kernels follow one
// another without the host, and launch and waiting, some 10 us, are spread over all. Consecutive runs use different buffers (more than two second-level caches).
// Without SAMPAN_CUDA nothing is here but the refusal.
#pragma once
#include "op_case.hpp"

#if defined(SAMPAN_CUDA)
#  include <sampan/cuda/cuda_backend.hpp>
#endif

namespace bench {

#if defined(SAMPAN_CUDA)

inline Precision device_precision(const std::string& word) { return word == "f16" ? Precision::f16 : word == "bf16" ? Precision::bf16 : Precision::f32; }

inline void must(const cuda::Answer& a) { take(cuda::checked(a)); }

/// The device of this program, opened at its first use; ends the program where there is none. Never closed: CUDA's libraries must not be called while a program ends.
inline const std::shared_ptr<cuda::Device>& the_device() {
  static const auto* const device = new std::shared_ptr<cuda::Device>(take(cuda::Device::open()));
  return *device;
}

/// How many copies of buffers with `bytes` together exceed two second-level caches of the largest devices.
inline std::size_t device_rotation(double bytes, bool hot) {
  constexpr double kCache = 128.0 * (1 << 20);
  return hot ? 1 : std::size_t(std::fmax(1, std::fmin(64, std::ceil(2 * kCache / bytes))));
}

/// Copies of one buffer of bytes in turn, on the device.
class DeviceBuffers {
 public:
  DeviceBuffers(const void* first, std::size_t bytes, std::size_t copies) : bytes_(bytes) {
    for (std::size_t i = 0; i < copies; ++i) {
      copies_.push_back(Tensor<std::uint8_t, 1, Cuda>::copy_of(View<const std::uint8_t, 1>(static_cast<const std::uint8_t*>(first), {Index(bytes)})));
      if (!copies_.back().valid()) die("no memory on the device");
    }
  }
  explicit DeviceBuffers(const std::vector<float>& first, std::size_t copies = 1) : DeviceBuffers(first.data(), first.size() * sizeof(float), copies) {}
  void* at(std::size_t turn) const { return const_cast<std::uint8_t*>(copies_[turn % copies_.size()].view().data()); }
  float* floats(std::size_t turn) const { return static_cast<float*>(at(turn)); }
  /// The copy of a turn, on the host.
  template <class T>
  std::vector<T> read(std::size_t turn) const {
    std::vector<T> out(bytes_ / sizeof(T));
    must(cuda::copy_out(out.data(), at(turn), out.size() * sizeof(T), the_device()->stream()));
    must(cuda::synchronize(the_device()->stream()));
    return out;
  }

 private:
  std::size_t bytes_;
  std::vector<Tensor<std::uint8_t, 1, Cuda>> copies_;
};

/// One op, op(ctx, turn), in one precision.
class DeviceRunner {
 public:
  using Op = std::function<void(Context<Cuda>&, std::size_t)>;
  DeviceRunner(const std::string& precision, Op op) : backend_{the_device(), device_precision(precision)}, op_(std::move(op)) {
    const Plan p = take(sampan::plan(backend_, pool_, [&](Context<Cuda>& ctx) { op_(ctx, 0); }));
    if (!arena_.reserve<cuda::DeviceMemory>(p.arena_bytes)) die("no memory for scratch on the device");
  }
  DeviceRunner(const DeviceRunner&) = delete;
  DeviceRunner& operator=(const DeviceRunner&) = delete;
  ~DeviceRunner() { cuda::destroy_graph(graph_); }

  /// Milliseconds of one run; the last one was turn last().
  double time() {
    if (!graph_) {
      record(1);
      launch();
      const double once = launch();
      if (const double more = std::floor(kFill / once); more > 1) record(std::size_t(std::fmin(more, kMost)));
    }
    return launch() / double(runs_);
  }
  std::size_t last() const { return runs_ - 1; }
  const Cuda& backend() const { return backend_; }

 private:
  static constexpr double kFill = 2, kMost = 256;
  double launch() {
    const auto stream = the_device()->stream();
    const double start = seconds();
    must(cuda::launch_graph(graph_, stream));
    must(cuda::synchronize(stream));
    return (seconds() - start) * 1e3;
  }
  void record(std::size_t runs) {
    const auto stream = the_device()->stream();
    cuda::destroy_graph(std::exchange(graph_, nullptr));
    Context<Cuda> ctx(backend_, pool_, arena_);
    must(cuda::begin_capture(stream));
    for (std::size_t i = 0; i < runs; ++i) op_(ctx, i);
    must(cuda::end_capture(stream, graph_));
    take(ctx.status());
    runs_ = runs;
  }

  Cuda backend_;
  Op op_;
  ThreadPool pool_{1};
  Arena arena_;
  cuda::Graph* graph_ = nullptr;
  std::size_t runs_ = 0;
};

inline Row device_row(std::string name, const std::string& precision, Cost cost) {
  Row r;
  r.name = std::move(name), r.isa = kDeviceRow, r.precision = precision, r.flop = cost.flop, r.bytes = cost.bytes;
  return r;
}

#endif

/// --device cuda: measures the device's roofs. Ends the program for another word, and where build or machine have no device.
inline bool wants_device(Harness& h) {
  const std::string word = h.option(kDevice.name, "cpu");
  if (word != "cpu" && word != kDeviceRow) die("--device " + word + ": cpu or cuda");
  if (word != kDeviceRow) return false;
  h.use_device(precisions(h));
  return true;
}

}  // namespace bench
