// Compiler and mode macros; the only header of the library with #ifdef forests.
// Data flow: the first include of every other header. Every helper macro that must not leak is undefined by core/config_undef.hpp.
// SAMPAN_COMPILED         set by the CMake target sampan::compiled (or by hand for a whole project): expensive definitions live in one place.
// SAMPAN_IMPLEMENTATION   in one file of a compiled build without CMake: emits those definitions there.
#pragma once
#include <sampan/version.hpp>

#if defined(_MSVC_LANG) ? _MSVC_LANG < 202002L : __cplusplus < 202002L
#  error "sampan needs C++20 (g++ 12, clang 14 or later, -std=c++20)"
#endif

#if defined(SAMPAN_COMPILED)
#  define SAMPAN_INLINE
#else
#  define SAMPAN_INLINE inline
#endif

#if defined(__cpp_exceptions) || defined(_CPPUNWIND)
#  define SAMPAN_EXCEPTIONS 1
#else
#  define SAMPAN_EXCEPTIONS 0
#endif

// The inline namespace makes different settings different symbols, so mixed flags cannot break the one-definition rule:
//   v0_1   version           bN   baseline instruction set that the compiler was allowed to use (0 plain, 2 AVX2, 3 AVX-512)
//   f      -ffast-math       d    SAMPAN_CHECKS on (internal invariants)         n    no exceptions
// In compiled mode the tags come from the library's own build (build_config.hpp, generated and installed), never from the consumer's flags.
#if defined(SAMPAN_COMPILED) && __has_include(<sampan/build_config.hpp>)
#  include <sampan/build_config.hpp>
#endif
#if !defined(SAMPAN_ABI)
#  if defined(__AVX512F__)
#    define SAMPAN_TAG_BASELINE b3
#  elif defined(__AVX2__)
#    define SAMPAN_TAG_BASELINE b2
#  else
#    define SAMPAN_TAG_BASELINE b0
#  endif
#  if defined(__FAST_MATH__)
#    define SAMPAN_TAG_MATH f
#  else
#    define SAMPAN_TAG_MATH p
#  endif
#  if defined(SAMPAN_CHECKS)
#    define SAMPAN_TAG_CHECKS d
#  else
#    define SAMPAN_TAG_CHECKS r
#  endif
#  if SAMPAN_EXCEPTIONS
#    define SAMPAN_TAG_EXCEPTIONS e
#  else
#    define SAMPAN_TAG_EXCEPTIONS n
#  endif
#  define SAMPAN_ABI_CAT2(a, b, c, d) v0_1_##a##b##c##d
#  define SAMPAN_ABI_CAT(a, b, c, d) SAMPAN_ABI_CAT2(a, b, c, d)
#  define SAMPAN_ABI SAMPAN_ABI_CAT(SAMPAN_TAG_BASELINE, SAMPAN_TAG_MATH, SAMPAN_TAG_CHECKS, SAMPAN_TAG_EXCEPTIONS)
#endif

// Kernels keep NaN, infinities and the order of sums; -ffast-math in the user's flags changes all three.
#if defined(__FAST_MATH__) && !defined(SAMPAN_ALLOW_FAST_MATH)
#  error "sampan: -ffast-math changes results; define SAMPAN_ALLOW_FAST_MATH to accept that (build_info() then says so)"
#endif

// Our own invariants only; anything a caller or a file can cause is an Error. Off unless SAMPAN_CHECKS is defined.
#if defined(SAMPAN_CHECKS)
#  define SAMPAN_ASSERT(x) ((x) ? void(0) : __builtin_trap())
#else
#  define SAMPAN_ASSERT(x) void(0)
#endif

namespace sampan::inline SAMPAN_ABI {}
