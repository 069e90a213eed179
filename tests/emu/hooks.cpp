// The calls that -fsanitize=thread puts before every access of a kernel's file; nothing of the real sanitizer is linked. Data flow: kernel -> here -> machine.cpp.
#include "machine.hpp"

#define SITE __builtin_return_address(0)
#define HOOK(N)                                                                                         \
  extern "C" void __tsan_read##N(void* p) { sampan::emu::access(p, N, false, SITE); }                   \
  extern "C" void __tsan_write##N(void* p) { sampan::emu::access(p, N, true, SITE); }                   \
  extern "C" void __tsan_unaligned_read##N(void* p) { sampan::emu::access(p, N, false, SITE); }         \
  extern "C" void __tsan_unaligned_write##N(void* p) { sampan::emu::access(p, N, true, SITE); }         \
  extern "C" void __tsan_read_write##N(void* p) { sampan::emu::access(p, N, false, SITE), sampan::emu::access(p, N, true, SITE); } \
  extern "C" void __tsan_unaligned_read_write##N(void* p) { sampan::emu::access(p, N, false, SITE), sampan::emu::access(p, N, true, SITE); }
HOOK(1)
HOOK(2)
HOOK(4)
HOOK(8)
HOOK(16)
extern "C" void __tsan_read_range(void* p, std::size_t n) { sampan::emu::access(p, n, false, SITE); }
extern "C" void __tsan_write_range(void* p, std::size_t n) { sampan::emu::access(p, n, true, SITE); }
extern "C" void __tsan_vptr_update(void**, void*) {}
extern "C" void __tsan_vptr_read(void**) {}
extern "C" void __tsan_init() {}
extern "C" void __tsan_func_entry(void*) {}
extern "C" void __tsan_func_exit() {}
