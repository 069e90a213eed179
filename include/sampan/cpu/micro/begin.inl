// Opens the kernel bodies of a level: macros that they need. Closed by end.inl, so that nothing leaks.
#define SAMPAN_KERNEL_INLINE static inline __attribute__((always_inline))
#if defined(SAMPAN_KEEP_LOOPS)  // a level of many small vectors: unrolled bodies would cost a minute of compile time
#  if defined(__clang__)
#    define SAMPAN_UNROLL _Pragma("clang loop unroll(disable)")
#  else
#    define SAMPAN_UNROLL _Pragma("GCC unroll 1")
#  endif
#elif defined(__clang__)
#  define SAMPAN_UNROLL _Pragma("clang loop unroll(full)")
#else
#  define SAMPAN_UNROLL _Pragma("GCC unroll 16")
#endif
