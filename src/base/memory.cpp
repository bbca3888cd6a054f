// Asking the C library to let go of free pages.
#include "base/memory.hpp"

#include <cstdlib>
#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace deepwell {

void return_large_memory() {
#if defined(__GLIBC__)
  ::mallopt(M_MMAP_THRESHOLD,
            128 * 1024);  // its own first value; given, it no longer grows (mallopt(3))
#endif
}

void release_free_memory() {
#if defined(__GLIBC__)
  ::malloc_trim(0);
#endif
}

}  // namespace deepwell
