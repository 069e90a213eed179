// The emulated GPU: runs a kernel's threads as fibers, block after block, and watches every access. Data flow: tests -> launch() -> kernel -> device.hpp -> here.
//
// What it finds (Finding::what begins with these words)
//   race          two threads of a block touch a byte, one writes, and no barrier or collective lies between; two blocks of one launch likewise
//   uninitialised a read of shared or global memory that nobody has written
//   in flight     a read of the target of an asynchronous copy before the wait, or before the barrier that follows it
//   outside       an access beyond a buffer or beyond the shared memory that the launch asked for; a write to memory that is no buffer
//   misaligned    matrix loads and asynchronous copies off their 16 bytes
//   divergence    a barrier from different places, or with threads that have ended; a collective that not every lane of the warp calls
//   deadlock      nobody can run
// What it counts: Counters. Accesses come from -fsanitize=thread: the kernel's file is compiled with it and hooks.cpp defines the calls; no sanitizer is linked.
// Order: three schedules, which must give the same bits. A site of a barrier or wait can be ignored, to show that its absence is found (mutation).
// Deliberately absent: memory order across fences, named barriers, clusters, caches, time.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace sampan::emu {

struct Dim {
  unsigned x = 1, y = 1, z = 1;
  unsigned count() const { return x * y * z; }
};

struct Finding {
  std::string what;  ///< kind and place: "race: ..."
  int thread = -1, other = -1;
};

struct Counters {
  std::uint64_t block_syncs = 0, collectives = 0, mma = 0, mma_flop = 0;
  std::uint64_t matrix_loads = 0, matrix_wavefronts = 0;    ///< per 8x8 matrix of 16-bit values; 1 wavefront each is ideal
  std::uint64_t shared_requests = 0, shared_wavefronts = 0, shared_ideal = 0;  ///< of plain accesses, per warp
  std::uint64_t global_requests = 0, global_sectors = 0, global_ideal = 0;     ///< 32-byte sectors
  std::uint64_t async_bytes = 0;
};

enum class Order { forward, backward, random };
/// exact: the sum in double, one rounding. hardware: products and sum aligned to the largest exponent, truncated to 24 fractional bits, two halves of k in turn,
/// rounded toward zero, as measured for Ampere (MMA-Sim).
enum class MmaRounding { exact, hardware };

struct Settings {
  Order order = Order::forward;
  MmaRounding rounding = MmaRounding::exact;
  int ignore_site = -1;  ///< index into Report::sites: that barrier or wait does nothing
};

struct Report {
  std::vector<Finding> findings;    ///< one per kind and place
  Counters count;
  std::vector<const void*> sites;   ///< of block_sync, warp_sync and copy_wait, in the order of their first call
  bool has(const std::string& kind) const {
    for (const auto& f : findings)
      if (f.what.rfind(kind, 0) == 0) return true;
    return false;
  }
  std::string text() const {
    std::string s;
    for (const auto& f : findings) s += f.what + "\n";
    return s;
  }
};

/// Global memory with a red zone on both sides. Everything is uninitialised until written or given.
class Memory {
 public:
  explicit Memory(std::size_t bytes);
  Memory(const void* data, std::size_t bytes);  ///< initialised, and read-only for kernels
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  void* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  bool fully_written() const;
  void make_writable();  ///< keeps the content, for results that are updated in place

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

template <class T>
class Buffer {
 public:
  explicit Buffer(std::size_t n) : memory_(n * sizeof(T)) {}
  explicit Buffer(const std::vector<T>& v) : memory_(v.data(), v.size() * sizeof(T)) {}
  T* data() { return static_cast<T*>(memory_.data()); }
  std::size_t size() const { return memory_.bytes() / sizeof(T); }
  std::vector<T> values() const { return {static_cast<const T*>(memory_.data()), static_cast<const T*>(memory_.data()) + size()}; }
  bool fully_written() const { return memory_.fully_written(); }
  void make_writable() { memory_.make_writable(); }

 private:
  Memory memory_;
};

/// Runs thread() once per thread of the grid, with `shared` bytes of dynamic shared memory. block.count() is a multiple of 32, at most 1024.
Report launch(Dim grid, Dim block, std::size_t shared, const std::function<void()>& thread, const Settings& settings = {});

/// Memory that kernels may touch anywhere inside, without shadow: the device heap of whole models (runtime.cpp). Its neighbourhood (64 KiB) is nobody's.
void add_plain_memory(void* begin, std::size_t bytes);
void remove_plain_memory(void* begin);

/// Kernels may also write host memory (tests of ops that give them host buffers with guards of their own).
void use_host_memory(bool on);

/// Puts a launch into a stream of the emulated runtime (runtime.cpp); 0, or a cudaError_t.
int enqueue_launch(void* stream, Dim grid, Dim block, std::size_t shared, std::function<void()> thread);

// ---- what a running kernel asks for (device.hpp) ------------------------------------------------------------------------------------
Dim thread_index();
Dim block_index();
Dim block_extent();
Dim grid_extent();
void* shared_memory();
void block_sync(const void* site);
void warp_sync(const void* site);
float shuffle_xor(float v, int mask, const void* site);
float shuffle(float v, int lane, const void* site);
void load_matrix_x4(std::uint32_t (&r)[4], const void* row, bool transposed, const void* site);
enum class Pair { f16, bf16 };
void mma_16816(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1, const float (&c)[4], Pair type, const void* site);
void copy_async_16(void* to, const void* from, int bytes, const void* site);
void copy_commit();
void copy_wait(int groups, const void* site);
void atomic_add(float* p, float v, const void* site);

// ---- hooks.cpp ------------------------------------------------------------------------------------------------------------------------
void access(const void* p, std::size_t n, bool write, const void* site);

}  // namespace sampan::emu
