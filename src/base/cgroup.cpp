// Reading /proc/PID/cgroup: lines "5:cpu,cpuacct:/path", and "0::/path" for version 2.
#include "base/cgroup.hpp"

#include <algorithm>
#include <charconv>

#include "base/concat.hpp"
#include "base/file.hpp"

namespace deepwell {

namespace {

constexpr std::size_t kMaxBytes = 64 * 1024;
// Version 1 says "unlimited" by the highest multiple of a page.
constexpr std::uint64_t kUnlimited = std::uint64_t{1} << 62;

bool is_one_of(std::string_view names, std::string_view name) {
  while (!names.empty()) {
    const std::size_t end = std::min(names.find(','), names.size());
    if (names.substr(0, end) == name) return true;
    names.remove_prefix(std::min(end + 1, names.size()));
  }
  return false;
}

/// The line's path if it is of this hierarchy.
std::optional<std::string> path_in(std::string_view line, std::string_view controller) {
  const std::size_t names = line.find(':');
  const std::size_t path = names == line.npos ? line.npos : line.find(":/", names + 1);
  if (path == line.npos) return std::nullopt;
  const std::string_view controllers = line.substr(names + 1, path - names - 1);
  const bool is_it = controller == kUnifiedHierarchy ? line.starts_with("0::/")
                                                     : is_one_of(controllers, controller);
  return is_it ? std::optional(std::string(line.substr(path + 1))) : std::nullopt;
}

std::string mount_of(std::string_view controller, const std::string& root) {
  const std::string mounts = root + "/sys/fs/cgroup";
  if (controller != kUnifiedHierarchy) return join_path(mounts, controller);
  const std::string beside = join_path(mounts, "unified");
  return is_directory(beside) ? beside : mounts;
}

}  // namespace

std::vector<std::string> cgroup_folders(std::string_view controller, std::string_view pid,
                                        const std::string& root) {
  const auto text = read_file(concat(root, "/proc/", pid, "/cgroup"), kMaxBytes);
  if (!text) return {};
  std::optional<std::string> path;
  for (std::string_view rest = *text; !rest.empty() && !path;) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    path = path_in(rest.substr(0, end), controller);
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  if (!path) return {};
  const std::string mount = mount_of(controller, root);
  std::vector<std::string> folders;
  for (;;) {
    while (!path->empty() && path->back() == '/') path->pop_back();
    folders.push_back(mount + *path);
    if (path->empty()) return folders;
    path->erase(path->rfind('/'));
  }
}

std::optional<std::uint64_t> cgroup_number(const std::string& folder, std::string_view file) {
  const auto text = read_file(join_path(folder, file), kMaxBytes);
  std::uint64_t number = 0;
  if (!text || std::from_chars(text->data(), text->data() + text->size(), number).ec != std::errc())
    return std::nullopt;
  return number >= kUnlimited ? std::nullopt : std::optional(number);
}

}  // namespace deepwell
