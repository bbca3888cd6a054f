// The floating-point settings that a thread of the engine must run under.
#pragma once

#include "base/check.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace deepwell::engine {

/// Flushing subnormals or another rounding mode would change results: a library that was built with -ffast-math sets
/// them for the thread that loads it, and threads inherit them.
inline void check_float_environment() {
#if defined(__x86_64__)
  constexpr unsigned kFlushOrRounding = 0x8000U | 0x0040U | 0x6000U;  // MXCSR: FTZ, DAZ, RC
  DW_CHECK((_mm_getcsr() & kFlushOrRounding) == 0,
           "FTZ, DAZ or another rounding mode is set on an engine thread");
#endif
}

}  // namespace deepwell::engine
