// Reading /proc and the limits of cgroups (kernel documentation: admin-guide/cgroup-v2, cgroup-v1/memory, scheduler/sched-bwc).
#include "engine/runtime/host_limits.hpp"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string_view>

#include "base/cgroup.hpp"

namespace deepwell::engine {

namespace {

/// The number after `key` in a file of "key number" lines; 0 if there is none.
std::uint64_t number_after(const std::string& path, std::string_view key) {
  std::ifstream file(path);
  std::string name;
  for (std::string line; std::getline(file, line);) {
    const std::size_t end = line.find_first_of(": ");
    if (std::string_view(line).substr(0, end) != key) continue;
    const std::size_t digits = line.find_first_of("0123456789", end);
    return digits == std::string::npos ? 0 : std::stoull(line.substr(digits));
  }
  return 0;
}

/// The files of one version.
struct MemoryFiles {
  std::string_view controller, limit, used, inactive_file, active_file;
};
constexpr MemoryFiles kMemoryFiles[] = {
    {kUnifiedHierarchy, "memory.max", "memory.current", "inactive_file", "active_file"},
    {"memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file",
     "total_active_file"}};

/// What a cgroup's limit leaves: pages of files can be dropped, so they count as free, as in MemAvailable.
std::uint64_t room_in_cgroup(const std::string& folder, const MemoryFiles& files) {
  const auto limit = cgroup_number(folder, files.limit);
  if (!limit) return UINT64_MAX;
  std::uint64_t used = cgroup_number(folder, files.used).value_or(0);
  for (const std::string_view droppable : {files.inactive_file, files.active_file})
    used -= std::min(used, number_after(folder + "/memory.stat", droppable));
  return *limit - std::min(*limit, used);
}

std::uint64_t cpus_of(std::uint64_t quota, std::uint64_t period) {
  return period == 0 ? UINT32_MAX : std::clamp<std::uint64_t>(quota / period, 1, UINT32_MAX);
}

/// By the CPU quotas of the process's cgroups.
std::uint64_t n_cpus_of_quota(const std::string& root) {
  std::uint64_t n = UINT32_MAX;
  for (const std::string& folder : cgroup_folders(kUnifiedHierarchy, "self", root)) {
    std::ifstream file(folder + "/cpu.max");  // "150000 100000" in µs; "max 100000" is no limit
    std::uint64_t quota = 0, period = 0;
    if (file >> quota >> period) n = std::min(n, cpus_of(quota, period));
  }
  for (const std::string& folder : cgroup_folders("cpu", "self", root)) {
    const auto quota = cgroup_number(folder, "cpu.cfs_quota_us");
    const auto period = cgroup_number(folder, "cpu.cfs_period_us");
    if (quota && period) n = std::min(n, cpus_of(*quota, *period));
  }
  return n;
}

}  // namespace

std::uint32_t n_usable_cpus(const std::string& root) {
  cpu_set_t set;
  CPU_ZERO(&set);
  const int n_allowed = ::sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  const auto n = static_cast<std::uint64_t>(std::max(1, n_allowed));
  return static_cast<std::uint32_t>(std::min(n, n_cpus_of_quota(root)));
}

std::uint64_t available_memory_bytes(const std::string& root) {
  std::uint64_t n = number_after(root + "/proc/meminfo", "MemAvailable") << 10;
  if (n == 0) {  // a kernel that does not tell: half of what there is
    n = static_cast<std::uint64_t>(std::max(0L, ::sysconf(_SC_PHYS_PAGES))) *
        static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)) / 2;
  }
  for (const MemoryFiles& files : kMemoryFiles) {
    for (const std::string& folder : cgroup_folders(files.controller, "self", root))
      n = std::min(n, room_in_cgroup(folder, files));
  }
  return n;
}

}  // namespace deepwell::engine
