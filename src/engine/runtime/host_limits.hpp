// What this process may use of the machine: processors and memory, within its cgroup.
#pragma once

#include <cstdint>
#include <string>

namespace deepwell::engine {

/// Processors that this process may run on, by affinity and by the CPU quota of its cgroups (v1, v2).
std::uint32_t n_usable_cpus(const std::string& root = "");

/// Memory that can still be had: what the kernel calls available, or less where a cgroup (v1, v2) of this process or one
/// above it leaves less. Pages of files, which the kernel drops when it needs them, count as free. `root` is where /proc and /sys lie.
std::uint64_t available_memory_bytes(const std::string& root = "");

}  // namespace deepwell::engine
