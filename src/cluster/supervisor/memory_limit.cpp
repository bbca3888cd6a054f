// Memory limits through the files of cgroup v2 (Documentation/admin-guide/cgroup-v2.rst of Linux).
#include "cluster/supervisor/memory_limit.hpp"

#include <unistd.h>

#include <utility>
#include <vector>

#include "base/cgroup.hpp"
#include "base/concat.hpp"
#include "base/file.hpp"

namespace deepwell::cluster {

namespace {

constexpr std::size_t kMaxFileBytes = 64 * 1024;

Status write_value(const std::string& group, std::string_view file, const std::string& value) {
  DW_ASSIGN(FileWriter writer,
            FileWriter::open(join_path(group, file), FileWriter::Mode::kTruncate));
  return writer.write(value);
}

}  // namespace

Result<std::string> MemoryLimit::own_group() {
  std::vector<std::string> folders = cgroup_folders(kUnifiedHierarchy);
  if (folders.empty() || !is_file(join_path(folders.back(), "cgroup.controllers")))
    return Error{Code::kUnimplemented, "this system does not use cgroup v2"};
  return std::move(folders.front());
}

Result<MemoryLimit> MemoryLimit::open(std::string group, std::uint64_t max_bytes) {
  DW_ASSIGN(const std::string controllers,
            read_file(join_path(group, "cgroup.controllers"), kMaxFileBytes));
  if (concat(" ", controllers.substr(0, controllers.find('\n')), " ").find(" memory ") ==
      std::string::npos) {
    return Error{Code::kFailedPrecondition, concat("the group ", group,
                                                   " has no memory controller; with systemd, set "
                                                   "Delegate=memory in the unit")};
  }
  const std::string own = join_path(group, "supervisor");
  Status prepared = make_directories(own);
  if (prepared) prepared = write_value(own, "cgroup.procs", concat(::getpid()));
  if (prepared) prepared = write_value(group, "cgroup.subtree_control", "+memory");
  if (!prepared) {
    return Error{prepared.error().code, concat(prepared.error().message,
                                               "; with systemd, set Delegate=memory in the unit")};
  }
  return MemoryLimit(std::move(group), max_bytes);
}

Status MemoryLimit::add(const std::string& name, int pid) {
  const std::string group = join_path(group_, name);
  DW_TRY(make_directories(group));
  DW_TRY(write_value(group, "memory.max", concat(max_bytes_)));
  return write_value(group, "cgroup.procs", concat(pid));
}

void MemoryLimit::remove(const std::string& name) { ::rmdir(join_path(group_, name).c_str()); }

}  // namespace deepwell::cluster
