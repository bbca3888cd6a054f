// Drills on processes: kill-worker, stall-worker, kill-front, stall-front.
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "apps/drill_worker.hpp"
#include "base/concat.hpp"
#include "base/file.hpp"
#include "base/ids.hpp"
#include "base/scoped_fd.hpp"

namespace deepwell::apps {
namespace {

bool has_one_worker(const Scene& scene) { return scene.before.ready("worker").size() == 1; }

bool is_victim_out(const Strike& strike, const SystemView& now) {
  const ProcessView* process = now.find(strike.victim.kind, strike.victim.epoch);
  return process == nullptr || process->state != "ready";
}

}  // namespace

Result<BusyWorker> pick_busy_worker(const SystemView& now) {
  std::vector<BusyWorker> busy;
  for (const ProcessView& worker : now.ready("worker")) {
    const WorkerView* seen = now.find_worker(worker.index, worker.epoch);
    if (seen != nullptr && seen->n_running > 0) busy.push_back({worker, seen->n_running});
  }
  if (busy.empty()) return cannot_drill("no worker is busy, so there is nobody to hit");
  return busy[random_u64() % busy.size()];
}

Status check_workers(const Scene& scene) {
  if (!scene.before.ready("worker").empty()) return {};
  return cannot_drill("the server has no worker of its own that is ready");
}

Status check_nothing(const Scene&) { return {}; }

Result<bool> is_server_process(int pid) {
  constexpr std::size_t kMaxBytes = 1 << 20;
  DW_ASSIGN(const std::string arguments, read_file(concat("/proc/", pid, "/cmdline"), kMaxBytes));
  return arguments.find("--control-fd") != std::string::npos;
}

bool is_worker_noticed(const Strike& strike, const SystemView& now) {
  if (is_victim_out(strike, now)) return true;
  const WorkerView* seen = now.find_worker(strike.victim.index, strike.victim.epoch);
  return seen != nullptr && seen->state != "ready" && seen->state != "busy";
}

bool is_worker_replaced(const Strike& strike, const SystemView& now) {
  const std::vector<ProcessView> workers = now.ready("worker");
  return std::any_of(workers.begin(), workers.end(), [&](const ProcessView& worker) {
    if (worker.index != strike.victim.index || worker.epoch <= strike.victim.epoch) return false;
    const WorkerView* seen = now.find_worker(worker.index, worker.epoch);
    return seen != nullptr && (seen->state == "ready" || seen->state == "busy");
  });
}

double pause_limit_ms(const Scene& scene) {
  constexpr double kSingleWorkerMs = 1500;
  if (has_one_worker(scene)) return kSingleWorkerMs;
  return 100 + 1.1 * scene.undisturbed_ttft_ms;
}

DrillLimits lost_worker_limits(const Scene& scene) {
  return {.pause_p99_ms = pause_limit_ms(scene), .detection_ms = 1000};
}

DrillLimits unharmed_limits(const Scene& scene) {
  return {.pause_p99_ms = 100 + 1.1 * scene.undisturbed_ttft_ms, .may_restart_workers = false};
}

namespace {

// By pidfd, after a look at what the pid is now: it may have been given to somebody else meanwhile.
Status signal_server_process(int pid, int signal_number) {
  const ScopedFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd.is_open()) return errno_error(errno, "open process", concat(pid));
  DW_ASSIGN(const bool is_ours, is_server_process(pid));
  if (!is_ours)
    return cannot_drill(concat("process ", pid, " is no process of the server any more"));
  if (::syscall(SYS_pidfd_send_signal, pidfd.get(), signal_number, nullptr, 0) != 0) {
    return errno_error(errno, "signal process", concat(pid));
  }
  return {};
}

Result<Strike> strike_process(const ProcessView& victim, std::uint32_t n_hit, int signal_number) {
  Strike strike;
  strike.victim = victim;
  strike.n_hit = n_hit;
  strike.what = concat(signal_number == SIGKILL ? "SIGKILL" : "SIGSTOP", " to ", victim.kind, " ",
                       victim.index, " (epoch ", victim.epoch, ", pid ", victim.pid, ")");
  strike.at = std::chrono::steady_clock::now();
  DW_TRY(signal_server_process(victim.pid, signal_number));
  if (signal_number == SIGSTOP) {
    // A server that did not replace it shall not keep a stopped process. Usually it is long gone.
    strike.undo = [pid = victim.pid] {
      static_cast<void>(signal_server_process(pid, SIGCONT));
      return Status();
    };
  }
  return strike;
}

template <int kSignal>
Result<Strike> strike_worker(const Scene&, const SystemView& now) {
  DW_ASSIGN(const BusyWorker victim, pick_busy_worker(now));
  return strike_process(victim.process, victim.n_running, kSignal);
}

template <int kSignal>
Result<Strike> strike_front(const Scene&, const SystemView& now) {
  const std::vector<ProcessView> fronts = now.ready("front");
  if (fronts.empty()) return cannot_drill("the server has no ready front");
  return strike_process(fronts.front(), 0, kSignal);
}

// Back is a front when it answers, not when it lives.
bool is_front_replaced(const Strike& strike, const SystemView& now) {
  const std::vector<ProcessView> fronts = now.ready("front");
  return now.health.http_status == 200 &&
         std::any_of(fronts.begin(), fronts.end(),
                     [&](const ProcessView& front) { return front.epoch > strike.victim.epoch; });
}

double stall_limit_ms(const Scene& scene) { return has_one_worker(scene) ? 3000 : 1000; }

DrillLimits stall_worker_limits(const Scene& scene) {
  return {.pause_p99_ms = stall_limit_ms(scene) + pause_limit_ms(scene),
          .detection_ms = stall_limit_ms(scene)};
}

// A client that comes back asks again every 50 ms.
constexpr double kRetryMs = 50;

DrillLimits kill_front_limits(const Scene&) {
  return {.pause_p99_ms = 1000 + kRetryMs,
          .detection_ms = 1000,
          .recovery_ms = 1000,
          .may_restart_workers = false,
          .may_restart_front = true};
}

}  // namespace

extern const Drill kDrill_kill_worker;
const Drill kDrill_kill_worker = {
    .name = "kill-worker",
    .summary = {"SIGKILL to a busy worker", "向忙碌的工作进程发送 SIGKILL"},
    .check = check_workers,
    .strike = strike_worker<SIGKILL>,
    .is_noticed = is_worker_noticed,
    .is_recovered = is_worker_replaced,
    .limits = lost_worker_limits};

extern const Drill kDrill_stall_worker;
const Drill kDrill_stall_worker = {
    .name = "stall-worker",
    .summary = {"SIGSTOP to a busy worker: it falls silent without a reset",
                "向忙碌的工作进程发送 SIGSTOP：静默而不断开"},
    .check = check_workers,
    .strike = strike_worker<SIGSTOP>,
    .is_noticed = is_worker_noticed,
    .is_recovered = is_worker_replaced,
    .limits = stall_worker_limits};

extern const Drill kDrill_kill_front;
const Drill kDrill_kill_front = {.name = "kill-front",
                                 .summary = {"SIGKILL to the front: every connection breaks",
                                             "向前端发送 SIGKILL：所有连接断开"},
                                 .check = check_nothing,
                                 .strike = strike_front<SIGKILL>,
                                 .is_noticed = is_victim_out,
                                 .is_recovered = is_front_replaced,
                                 .limits = kill_front_limits};

extern const Drill kDrill_stall_front;
const Drill kDrill_stall_front = {.name = "stall-front",
                                  .summary = {"SIGSTOP to the front: every connection falls silent",
                                              "向前端发送 SIGSTOP：所有连接静默"},
                                  .check = check_nothing,
                                  .strike = strike_front<SIGSTOP>,
                                  .is_noticed = is_victim_out,
                                  .is_recovered = is_front_replaced,
                                  .limits = kill_front_limits};

}  // namespace deepwell::apps
