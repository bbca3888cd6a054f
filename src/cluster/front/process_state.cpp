// Reading /proc and /sys/fs/cgroup (proc(5), Documentation/admin-guide/cgroup-v2.rst).
#include "cluster/front/process_state.hpp"

#include <string>

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

// A line "0::/path" names the cgroup of the unified hierarchy, which lies in a folder of its own where version 1 is
// mounted too.
bool is_in_frozen_cgroup(const std::string& cgroup) {
  std::size_t begin = cgroup.rfind("0::/");
  if (begin == std::string::npos || (begin > 0 && cgroup[begin - 1] != '\n')) return false;
  begin += 3;
  const std::string path = cgroup.substr(begin, cgroup.find('\n', begin) - begin);
  for (const std::string_view root : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}) {
    const auto events = read_file(concat(root, path, "/cgroup.events"), kMaxBytes);
    if (events) return events->find("frozen 1") != std::string::npos;
  }
  return false;
}

}  // namespace

bool is_process_stopped(std::uint32_t pid) {
  const auto stat = read_file(concat("/proc/", pid, "/stat"), kMaxBytes);
  if (!stat) return false;
  if (is_stopped_by_signal(*stat)) return true;
  const auto cgroup = read_file(concat("/proc/", pid, "/cgroup"), kMaxBytes);
  return cgroup && is_in_frozen_cgroup(*cgroup);
}

}  // namespace deepwell::cluster
