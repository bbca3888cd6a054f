// What the kernel says of a process: whether it is stopped, so that its silence is no wonder.
#pragma once

#include <cstdint>

namespace deepwell::cluster {

/// Whether the process exists and is stopped by a signal, traced, or in a frozen cgroup (v2). False
/// where the kernel cannot be asked.
bool is_process_stopped(std::uint32_t pid);

}  // namespace deepwell::cluster
