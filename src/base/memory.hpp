// What this process holds of the system's memory.
#pragma once

namespace deepwell {

/// Gives back to the system what was freed in this process. Takes milliseconds: for after the making of something large.
void release_free_memory();

}  // namespace deepwell
