// What this process holds of the system's memory.
#pragma once

namespace deepwell {

/// From now on large memory goes back to the system whenever it is freed. Without this the C library holds on to some
/// megabytes per thread once it has seen such sizes go, and release_free_memory() does not reach them. For main().
void return_large_memory();

/// Gives back to the system what was freed in this process. Takes milliseconds: for after the making of something large.
void release_free_memory();

}  // namespace deepwell
