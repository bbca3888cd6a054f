// Drills that take resources away: oom, fd-exhaust, clock-step.
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <ctime>
#include <optional>
#include <vector>

#include "apps/drill_worker.hpp"
#include "base/cgroup.hpp"
#include "base/concat.hpp"
#include "base/file.hpp"

namespace deepwell::apps {
namespace {

// Lowers the soft limit alone, so that it can be raised again.
Result<rlimit> lower_limit(int pid, __rlimit_resource resource, rlim_t value) {
  rlimit before{};
  if (::prlimit(pid, resource, nullptr, &before) != 0) {
    return errno_error(errno, "read the limits of process", concat(pid));
  }
  const rlimit lowered{value, before.rlim_max};
  if (::prlimit(pid, resource, &lowered, nullptr) != 0) {
    return errno_error(errno, "lower the limits of process", concat(pid));
  }
  return before;
}

// Nothing if the process is gone.
Status restore_limit(int pid, __rlimit_resource resource, const rlimit& before) {
  const auto is_ours = is_server_process(pid);
  if (!is_ours || !*is_ours) return {};
  if (::prlimit(pid, resource, &before, nullptr) == 0 || errno == ESRCH) return {};
  return errno_error(errno, "restore the limits of process", concat(pid));
}

// The memory limit of a worker that has a group for itself.
struct MemoryGroup {
  std::string limit_file;
  std::string usage_file;
};

std::optional<MemoryGroup> own_memory_group(int pid) {
  constexpr std::size_t kMaxBytes = 64 * 1024;
  const auto usable = [&](std::string_view hierarchy, const char* limit,
                          const char* usage) -> std::optional<MemoryGroup> {
    const std::vector<std::string> folders = cgroup_folders(hierarchy, concat(pid));
    if (folders.empty()) return std::nullopt;
    const auto members = read_file(join_path(folders.front(), "cgroup.procs"), kMaxBytes);
    if (!members || *members != concat(pid, "\n")) return std::nullopt;
    MemoryGroup found{join_path(folders.front(), limit), join_path(folders.front(), usage)};
    if (::access(found.limit_file.c_str(), W_OK) != 0) return std::nullopt;
    return found;
  };
  const auto in_version_1 = usable("memory", "memory.limit_in_bytes", "memory.usage_in_bytes");
  return in_version_1 ? in_version_1 : usable(kUnifiedHierarchy, "memory.max", "memory.current");
}

Status write_text(const std::string& path, const std::string& text) {
  DW_ASSIGN(FileWriter writer, FileWriter::open(path, FileWriter::Mode::kTruncate));
  return writer.write(text);
}

// Version 2 kills a group that is above its new limit. Version 1 refuses such a limit; one at what is used now is
// taken, and the next page is one too many.
Status lower_memory_limit(const MemoryGroup& group) {
  constexpr std::size_t kMaxBytes = 64;
  constexpr std::uint64_t kMaxTries = 100;
  if (write_text(group.limit_file, "1048576")) return {};
  Status written;
  for (std::uint64_t i = 0; i < kMaxTries; ++i) {
    DW_ASSIGN(const std::string usage, read_file(group.usage_file, kMaxBytes));
    written = write_text(group.limit_file, usage);
    if (written) return {};
  }
  return written;
}

Result<Strike> starve_by_group(Strike strike, const MemoryGroup& group) {
  constexpr std::size_t kMaxBytes = 64;
  const std::string& file = group.limit_file;
  DW_ASSIGN(const std::string before, read_file(file, kMaxBytes));
  strike.what = concat(file.substr(file.rfind('/') + 1), " of ", strike.what, " to the lowest");
  strike.undo = [file, before] {
    const Status written = write_text(file, before);
    return is_file(file) ? written : Status();  // the group may be gone with its worker
  };
  strike.at = std::chrono::steady_clock::now();
  DW_TRY(lower_memory_limit(group));
  return strike;
}

Result<Strike> starve_worker(const Scene&, const SystemView& now) {
  DW_ASSIGN(const BusyWorker chosen, pick_busy_worker(now));
  Strike strike;
  strike.victim = chosen.process;
  strike.n_hit = chosen.n_running;
  const int pid = chosen.process.pid;
  strike.what =
      concat("worker ", chosen.process.index, " (epoch ", chosen.process.epoch, ", pid ", pid, ")");
  const std::optional<MemoryGroup> group = own_memory_group(pid);
  if (group) return starve_by_group(std::move(strike), *group);
  strike.what = concat("RLIMIT_AS of ", strike.what, " to 1 MiB: no further allocation succeeds");
  strike.at = std::chrono::steady_clock::now();
  DW_ASSIGN(const rlimit before, lower_limit(pid, RLIMIT_AS, 1 << 20));
  strike.undo = [pid, before] { return restore_limit(pid, RLIMIT_AS, before); };
  return strike;
}

Result<Strike> exhaust_fds(const Scene&, const SystemView& now) {
  const std::vector<ProcessView> fronts = now.ready("front");
  if (fronts.empty()) return cannot_drill("the server has no ready front");
  const int pid = fronts.front().pid;
  DW_ASSIGN(const std::vector<std::string> open, list_directory(concat("/proc/", pid, "/fd")));
  Strike strike;
  strike.victim = fronts.front();
  strike.is_lasting = true;
  strike.what = concat("no further file descriptor than its ", open.size(), " for front ",
                       strike.victim.index, " (pid ", pid, ")");
  strike.at = std::chrono::steady_clock::now();
  DW_ASSIGN(const rlimit before, lower_limit(pid, RLIMIT_NOFILE, open.size()));
  strike.undo = [pid, before] { return restore_limit(pid, RLIMIT_NOFILE, before); };
  return strike;
}

bool is_front_well(const Strike&, const SystemView& now) { return now.health.http_status == 200; }

constexpr time_t kStepSeconds = 3600;

Status step_clock(time_t seconds) {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  now.tv_sec += seconds;
  if (::clock_settime(CLOCK_REALTIME, &now) == 0) return {};
  return cannot_drill(errno_error(errno, "set", "the clock").message);
}

Status check_clock(const Scene& scene) {
  if (!scene.options.may_step_clock) {
    return cannot_drill(
        "this drill sets the clock of the whole machine by an hour and back, which "
        "every program on it notices; --may-step-clock allows it");
  }
  if (::geteuid() != 0) return cannot_drill("only root may set the clock");
  return {};
}

Result<Strike> step_clock_ahead(const Scene&, const SystemView&) {
  DW_TRY(step_clock(kStepSeconds));
  Strike strike;
  strike.what = concat("set the clock ahead by ", kStepSeconds, " s");
  strike.is_lasting = true;
  strike.at = std::chrono::steady_clock::now();
  strike.undo = [] { return step_clock(-kStepSeconds); };
  return strike;
}

}  // namespace

extern const Drill kDrill_oom;
const Drill kDrill_oom = {
    .name = "oom",
    .summary = {"take a busy worker's memory away", "使忙碌的工作进程内存不足"},
    .check = check_workers,
    .strike = starve_worker,
    .is_noticed = is_worker_noticed,
    .is_recovered = is_worker_replaced,
    .limits = lost_worker_limits,
    .is_void_unless_noticed = true};

extern const Drill kDrill_fd_exhaust;
const Drill kDrill_fd_exhaust = {
    .name = "fd-exhaust",
    .summary = {"leave the front without a free file descriptor", "耗尽前端的文件描述符"},
    .check = check_nothing,
    .strike = exhaust_fds,
    .is_noticed = nullptr,
    .is_recovered = is_front_well,
    .limits = unharmed_limits};

extern const Drill kDrill_clock_step;
const Drill kDrill_clock_step = {
    .name = "clock-step",
    .summary = {"set the clock of this machine ahead by an hour and back (as root)",
                "将本机时钟拨快一小时再拨回（需 root）"},
    .check = check_clock,
    .strike = step_clock_ahead,
    .is_noticed = nullptr,
    .is_recovered = is_front_well,
    .limits = unharmed_limits};

}  // namespace deepwell::apps
