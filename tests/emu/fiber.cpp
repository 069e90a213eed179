// Definitions of fiber.hpp. System V ABI: rbx, rbp, r12 to r15 and rsp belong to the caller; everything else is lost across a call anyway.
#include "fiber.hpp"

#include <new>

#include <sys/mman.h>

namespace sampan::emu {

Fiber::Fiber() {
  char* base = static_cast<char*>(mmap(nullptr, kStack + kGuard, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  if (base == MAP_FAILED) throw std::bad_alloc();
  mprotect(base, kGuard, PROT_NONE);
  stack_ = base + kGuard;
}

Fiber::~Fiber() {
  if (stack_) munmap(static_cast<char*>(stack_) - kGuard, kStack + kGuard);
}

#if defined(__x86_64__)
extern "C" void sampan_emu_swap(void** save, void* load);
asm(R"(.text
.type sampan_emu_swap, @function
sampan_emu_swap:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size sampan_emu_swap, .-sampan_emu_swap
)");

void Fiber::start(void (*entry)()) {
  void** top = reinterpret_cast<void**>(static_cast<char*>(stack_) + kStack - 64);  // 16-byte aligned; at entry rsp is 8 below, as after a call
  *--top = nullptr;                                                                   // a return address for unwinders
  *--top = reinterpret_cast<void*>(entry);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  sp_ = top;
}
void Fiber::switch_from(Fiber& from) { sampan_emu_swap(&from.sp_, sp_); }
#else
void Fiber::start(void (*entry)()) {
  getcontext(&context_);
  context_.uc_stack.ss_sp = stack_;
  context_.uc_stack.ss_size = kStack;
  context_.uc_link = nullptr;
  makecontext(&context_, entry, 0);
}
void Fiber::switch_from(Fiber& from) { swapcontext(&from.context_, &context_); }
#endif

}  // namespace sampan::emu
