// MemoryLimit: keeps each worker's memory within a bound by cgroup v2, where we may.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.hpp"

namespace deepwell::cluster {

/// RLIMIT_AS would not do: it counts the mapped model file, which is shared and can be dropped.
class MemoryLimit {
 public:
  /// Our own cgroup as /proc/self/cgroup names it, under the mount point of cgroup v2. Error:
  /// kUnimplemented if this system does not use v2.
  static Result<std::string> own_group();

  /// Prepares `group` (a directory of cgroup v2): moves this process into a group below it, since a
  /// group with limited children may not hold processes itself. Error: the group is not ours to
  /// divide; the message says how to get one that is.
  static Result<MemoryLimit> open(std::string group, std::uint64_t max_bytes);

  /// Moves a process into the group `name` below ours. Its successors in it share the bound with what
  /// it leaves behind (the KV arena).
  Status add(const std::string& name, int pid);
  /// Removes the group; nothing there is fine. Its processes must have ended.
  void remove(const std::string& name);

 private:
  MemoryLimit(std::string group, std::uint64_t max_bytes)
      : group_(std::move(group)), max_bytes_(max_bytes) {}

  std::string group_;
  std::uint64_t max_bytes_;
};

}  // namespace deepwell::cluster
