// Reading /proc and cgroup v2 (kernel documentation: admin-guide/cgroup-v2).
#include "engine/runtime/host_limits.hpp"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string_view>
#include <vector>

#include "base/concat.hpp"

namespace deepwell::engine {

namespace {

/// Folders of this process's cgroup and of those above it, up to the one that is mounted.
std::vector<std::string> own_cgroups(const std::string& root) {
  std::ifstream file(root + "/proc/self/cgroup");
  std::string path;
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("0::/", 0) == 0) path = line.substr(3);
  }
  std::vector<std::string> folders;
  for (;;) {
    while (!path.empty() && path.back() == '/') path.pop_back();
    folders.push_back(concat(root, "/sys/fs/cgroup", path));
    if (path.empty()) return folders;
    path.erase(path.rfind('/'));
  }
}

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

/// What a cgroup's limit leaves: pages of files that were not used lately can be dropped, so they count as free.
std::uint64_t room_in_cgroup(const std::string& folder) {
  std::uint64_t limit = 0, used = 0;
  // "max", or no such file, is no limit.
  if (!(std::ifstream(folder + "/memory.max") >> limit)) return UINT64_MAX;
  if (!(std::ifstream(folder + "/memory.current") >> used)) return limit;
  used -= std::min(used, number_after(folder + "/memory.stat", "inactive_file"));
  return limit - std::min(limit, used);
}

/// "150000 100000": quota and period in µs. "max 100000" is no limit.
std::uint32_t n_cpus_of_quota(const std::string& folder) {
  std::ifstream file(folder + "/cpu.max");
  std::uint64_t quota = 0, period = 0;
  if (!(file >> quota >> period) || period == 0) return UINT32_MAX;
  return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(quota / period, 1, UINT32_MAX));
}

}  // namespace

std::uint32_t n_usable_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  const int n_allowed = ::sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  auto n = static_cast<std::uint32_t>(std::max(1, n_allowed));
  for (const std::string& folder : own_cgroups("")) n = std::min(n, n_cpus_of_quota(folder));
  return n;
}

std::uint64_t available_memory_bytes(const std::string& root) {
  std::uint64_t n = number_after(root + "/proc/meminfo", "MemAvailable") << 10;
  if (n == 0) {  // a kernel that does not tell: half of what there is
    n = static_cast<std::uint64_t>(std::max(0L, ::sysconf(_SC_PHYS_PAGES))) *
        static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)) / 2;
  }
  for (const std::string& folder : own_cgroups(root)) n = std::min(n, room_in_cgroup(folder));
  return n;
}

}  // namespace deepwell::engine
