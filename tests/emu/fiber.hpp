// Fibers: one stack per emulated CUDA thread, switched by hand. Data flow: machine.cpp -> here.
// x86-64: six registers and the stack pointer (4 ns); elsewhere ucontext. Each stack lies above a page without access, so that an overflow ends the test.
// Deliberately absent: exceptions across fibers, floating-point modes (all fibers share one).
#pragma once
#include <cstddef>
#include <memory>

#if !defined(__x86_64__)
#  include <ucontext.h>
#endif

namespace sampan::emu {

class Fiber {
 public:
  Fiber();  ///< allocates the stack
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// The next switch to this fiber begins `entry`, which must not return (it switches away for good instead).
  void start(void (*entry)());
  /// Leaves `from` and continues here; returns when somebody switches back to `from`.
  void switch_from(Fiber& from);
  bool on_stack(const void* p) const { return p >= stack_ && p < static_cast<const char*>(stack_) + kStack; }

  /// A fiber without a stack of its own: the caller that starts the others.
  struct Main {};
  explicit Fiber(Main) {}

 private:
  static constexpr std::size_t kStack = 256 * 1024, kGuard = 4096;
  void* stack_ = nullptr;
#if defined(__x86_64__)
  void* sp_ = nullptr;
#else
  ucontext_t context_{};
#endif
};

}  // namespace sampan::emu
