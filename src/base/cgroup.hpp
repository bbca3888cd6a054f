// Where a process lies among the kernel's control groups, versions 1 and 2, and the numbers in their files.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace deepwell {

/// Of cgroup version 2, which needs no controller's name.
inline constexpr std::string_view kUnifiedHierarchy;

/// Folders of the process's group in a hierarchy and of those above it, the nearest first, up to the one that is mounted;
/// in a container the near ones may not be visible. `controller`: "memory", "cpu" of version 1, or kUnifiedHierarchy,
/// which lies in a folder of its own where both versions are mounted. Empty if the process is in no such group.
/// `root` is where /proc and /sys lie. Sources: cgroups(7), Documentation/admin-guide/cgroup-v2.rst.
std::vector<std::string> cgroup_folders(std::string_view controller, std::string_view pid = "self",
                                        const std::string& root = "");

/// The first number in a group's file. Nothing for "max", for -1, for version 1's "more than there can be", or if the file
/// is not there.
std::optional<std::uint64_t> cgroup_number(const std::string& folder, std::string_view file);

}  // namespace deepwell
