// Reading /proc and /sys/fs/cgroup (proc(5), Documentation/admin-guide/cgroup-v2.rst).
#include "cluster/front/process_state.hpp"

#include <string>
#include <vector>

#include "base/cgroup.hpp"
#include "base/concat.hpp"
#include "base/file.hpp"

namespace deepwell::cluster {

namespace {

constexpr std::size_t kMaxBytes = 64 * 1024;

// "pid (name with any bytes) S ...": the state follows the last parenthesis.
bool is_stopped_by_signal(const std::string& stat) {
  const std::size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos || name_end + 2 >= stat.size()) return false;
  const char state = stat[name_end + 2];
  return state == 'T' || state == 't';
}

bool is_in_frozen_cgroup(std::uint32_t pid) {
  const std::vector<std::string> folders = cgroup_folders(kUnifiedHierarchy, concat(pid));
  if (folders.empty()) return false;
  const auto events = read_file(join_path(folders.front(), "cgroup.events"), kMaxBytes);
  return events && events->find("frozen 1") != std::string::npos;
}

}  // namespace

bool is_process_stopped(std::uint32_t pid) {
  const auto stat = read_file(concat("/proc/", pid, "/stat"), kMaxBytes);
  if (!stat) return false;
  if (is_stopped_by_signal(*stat)) return true;
  return is_in_frozen_cgroup(pid);
}

}  // namespace deepwell::cluster
