// The drill on the network between front and remote workers: net-cut.
#include <fcntl.h>
#include <net/if.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "apps/drill_worker.hpp"
#include "base/concat.hpp"
#include "base/file.hpp"
#include "base/scoped_fd.hpp"

namespace deepwell::apps {
namespace {

/// The front's numbers for workers of other machines begin here.
constexpr std::uint32_t kFirstRemoteIndex = 1000;

std::vector<WorkerView> remote_workers(const SystemView& view) {
  std::vector<WorkerView> found;
  std::copy_if(view.health.workers.begin(), view.health.workers.end(), std::back_inserter(found),
               [](const WorkerView& worker) { return worker.index >= kFirstRemoteIndex; });
  return found;
}

std::string find_ss() {
  for (const char* path : {"/usr/bin/ss", "/bin/ss", "/usr/sbin/ss", "/sbin/ss"}) {
    if (::access(path, X_OK) == 0) return path;
  }
  return {};
}

// "HOST:PORT" of each --worker that the server was called with.
std::vector<std::string> remote_addresses(const SystemView& view) {
  const ProcessView* supervisor = view.find("supervisor", 0);
  if (supervisor == nullptr) return {};
  constexpr std::size_t kMaxBytes = 1 << 20;
  const auto text = read_file(concat("/proc/", supervisor->pid, "/cmdline"), kMaxBytes);
  std::vector<std::string> found;
  bool is_next = false;
  for (std::string_view rest = text ? std::string_view(*text) : std::string_view();
       !rest.empty();) {
    const std::string_view argument = rest.substr(0, rest.find('\0'));
    rest.remove_prefix(std::min(argument.size() + 1, rest.size()));
    if (is_next) found.emplace_back(argument);
    is_next = argument == "--worker";
    if (argument.starts_with("--worker=")) found.emplace_back(argument.substr(9));
  }
  return found;
}

Status check_net(const Scene& scene) {
  if (remote_workers(scene.before).empty()) {
    return cannot_drill(
        "every worker of this server is on this machine, so there is no network to "
        "cut; give it a remote one with --worker HOST:PORT");
  }
  if (::geteuid() != 0) return cannot_drill("only root may cut connections of other processes");
  const std::string& interface = scene.options.interface;
  if (!interface.empty()) {
    const std::string directory = concat("/sys/class/net/", interface);
    if (!is_directory(directory)) return cannot_drill(concat("there is no interface ", interface));
    // A real card would cut more than this drill, perhaps the one who started it.
    if (is_directory(join_path(directory, "device")) || interface == "lo") {
      return cannot_drill(concat("the interface ", interface, " is not a virtual one of its own"));
    }
    return {};
  }
  if (find_ss().empty()) return cannot_drill("ss is not installed (Debian: iproute2)");
  if (remote_addresses(scene.before).empty()) {
    return cannot_drill(
        "the server's command line names no --worker, so their addresses are unknown; "
        "name the interface towards them with --cut-interface");
  }
  return {};
}

Status set_link(const std::string& interface, bool is_up) {
  const ScopedFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  interface.copy(request.ifr_name, sizeof request.ifr_name - 1);
  if (::ioctl(fd.get(), SIOCGIFFLAGS, &request) != 0)
    return errno_error(errno, "look at", interface);
  const int flags = is_up ? request.ifr_flags | IFF_UP : request.ifr_flags & ~IFF_UP;
  request.ifr_flags = static_cast<short>(flags);
  if (::ioctl(fd.get(), SIOCSIFFLAGS, &request) == 0) return {};
  return cannot_drill(errno_error(errno, "change the link of", interface).message);
}

// `ss -K dst HOST dport = PORT`: the kernel resets those connections.
Status reset_connections(const std::string& address) {
  const std::size_t colon = address.rfind(':');
  if (colon == std::string::npos) return cannot_drill(concat("'", address, "' has no port"));
  std::vector<std::string> words = {find_ss(),
                                    "-K",
                                    "-t",
                                    "dst",
                                    address.substr(0, colon),
                                    "dport",
                                    "=",
                                    address.substr(colon + 1)};
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  pid_t pid = 0;
  char* no_environment[] = {nullptr};
  const int failed =
      ::posix_spawn(&pid, words[0].c_str(), &actions, nullptr, arguments.data(), no_environment);
  ::posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) return errno_error(failed, "run", words[0]);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  return cannot_drill(concat("ss -K failed for ", address));
}

Result<Strike> cut_network(const Scene& scene, const SystemView& now) {
  const std::vector<WorkerView> workers = remote_workers(now);
  if (workers.empty()) return cannot_drill("the front sees no remote worker");
  Strike strike;
  strike.victim.kind = "worker";
  strike.victim.index = workers.front().index;
  strike.victim.epoch = workers.front().epoch;
  for (const WorkerView& worker : workers) strike.n_hit += worker.n_running;
  strike.at = std::chrono::steady_clock::now();
  const std::string interface = scene.options.interface;
  if (!interface.empty()) {
    strike.what = concat("take the link of ", interface, " down");
    strike.is_lasting = true;
    strike.undo = [interface] { return set_link(interface, true); };
    DW_TRY(set_link(interface, false));
    return strike;
  }
  const std::vector<std::string> addresses = remote_addresses(now);
  strike.what = concat("reset the connections to ", addresses.size(), " remote workers");
  for (const std::string& address : addresses) DW_TRY(reset_connections(address));
  return strike;
}

bool is_remote_away(const Strike& strike, const SystemView& now) {
  if (now.health.http_status == 0) return false;
  const WorkerView* seen = now.find_worker(strike.victim.index, strike.victim.epoch);
  return seen == nullptr || (seen->state != "ready" && seen->state != "busy");
}

bool is_remote_back(const Strike& strike, const SystemView& now) {
  const WorkerView* seen = now.find_worker(strike.victim.index, strike.victim.epoch);
  return seen != nullptr && (seen->state == "ready" || seen->state == "busy");
}

DrillLimits cut_limits(const Scene& scene) {
  constexpr double kDetectionMs = 1000;
  return {.pause_p99_ms = kDetectionMs + 100 + 1.1 * scene.undisturbed_ttft_ms,
          .detection_ms = kDetectionMs,
          .may_restart_workers = false};
}

}  // namespace

extern const Drill kDrill_net_cut;
const Drill kDrill_net_cut = {
    .name = "net-cut",
    .summary = {"cut the network to remote workers", "切断与远程工作进程之间的网络"},
    .check = check_net,
    .strike = cut_network,
    .is_noticed = is_remote_away,
    .is_recovered = is_remote_back,
    .limits = cut_limits,
    .is_void_unless_noticed = true};

}  // namespace deepwell::apps
