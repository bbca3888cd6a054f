// `deepwell front`: the HTTP API over workers. Started by the supervisor of `deepwell serve`.
#include <atomic>
#include <csignal>
#include <memory>
#include <thread>
#include <vector>

#include "apps/command.hpp"
#include "apps/serve_settings.hpp"
#include "apps/supervised.hpp"
#include "base/concat.hpp"
#include "base/file.hpp"
#include "base/ids.hpp"
#include "cluster/front/cluster_generator.hpp"
#include "edge/serve.hpp"
#include "edge/stop_signals.hpp"

namespace deepwell::apps {
namespace {

using cluster::ClusterGenerator;
using cluster::ControlKind;
using cluster::ControlMessage;
using cluster::WorkerId;

/// Remote workers have indices of their own, and one epoch: nobody restarts them for us.
constexpr std::uint32_t kFirstRemoteIndex = 1000;

struct Front final : Command {
  ServeSettings settings;
  std::uint64_t epoch = 0;
  int listen_fd = -1;
  int control_fd = -1;

  void declare(OptionTable& table) override {
    settings.declare(table);
    const Text internal = {"given by the supervisor", "由监管进程给出"};
    table.add_integer("--front-epoch", &epoch, 0, INT64_MAX, "N", internal);
    table.add_integer("--listen-fd", &listen_fd, -1, 1 << 20, "N", internal);
    table.add_integer("--control-fd", &control_fd, -1, 1 << 20, "N", internal);
  }

  Status run(const Context& context) override {
    if (control_fd < 0 || listen_fd < 0) {
      return invalid_argument("a front is started by the supervisor: use deepwell serve");
    }
    edge::StopSignals signals;  // before any thread: threads inherit its mask
    DW_TRY(settings.finish(context, "front"));
    DW_TRY(claim_name());

    std::atomic<edge::StopRequest> asked{edge::StopRequest::kNone};
    std::atomic<std::uint32_t> n_ready_workers{0};
    std::atomic<Supervised*> to_supervisor{nullptr};
    cluster::ClusterOptions options;
    options.tls = &settings.worker_tls;
    DW_ASSIGN(options.balance, settings.balance_mode());
    options.kill_worker = [&to_supervisor](WorkerId id, const std::string& reason) {
      Supervised* const supervisor = to_supervisor.load();
      if (supervisor == nullptr) return;
      supervisor->send({.kind = ControlKind::kKillWorker,
                        .worker = id.index,
                        .epoch = id.epoch,
                        .text = reason});
    };
    ClusterGenerator generator(std::move(options), *context.log);
    Supervised supervised(control_fd, *context.log, [&](const ControlMessage& message) {
      if (message.kind == ControlKind::kDrain) asked = edge::StopRequest::kDrain;
      if (message.kind == ControlKind::kHandOver) {
        // Read by the server after it has seen the request.
        settings.serving.drain_timeout = limit_of(message, settings.serving.drain_timeout);
        asked = edge::StopRequest::kHandOver;
      }
      if (message.kind == ControlKind::kWorkerReady) ++n_ready_workers;
      hear(message, generator, *context.log);
    });
    to_supervisor = &supervised;
    for (std::uint32_t i = 0; i < settings.remote_workers.size(); ++i) {
      const cluster::WorkerSpec& remote = settings.remote_workers[i];
      DW_TRY(generator.add_worker({kFirstRemoteIndex + i, 1}, remote.address, false, remote.rules));
    }
    wire(context, generator, supervised);
    wait_for_workers(generator, n_ready_workers);
    settings.serving.wait_stop = [&signals, &asked](std::chrono::milliseconds limit) {
      const edge::StopRequest signalled = signals.wait(limit);
      return signalled == edge::StopRequest::kNone ? asked.exchange(signalled) : signalled;
    };
    const Status served = edge::serve(settings.serving, generator, *context.log);
    to_supervisor = nullptr;  // it goes before the generator does
    return served;
  }

  /// A front that lives holds the lock of its name; the names of the others are those of the dead.
  Status claim_name() {
    const std::string directory = join_path(settings.run_directory, "fronts");
    DW_TRY(make_directories(directory, 0700));
    DW_ASSIGN(const std::vector<std::string> names, list_directory(directory));
    for (const std::string& name : names) {
      const std::string path = join_path(directory, name);
      const auto lock = FileLock::try_acquire(path);
      if (!lock) continue;
      settings.serving.dead_fronts.push_back(name);
      DW_TRY(remove_file(path));
    }
    settings.serving.front_id = concat("front-", epoch, "-", random_hex(4));
    DW_ASSIGN(FileLock mine,
              FileLock::try_acquire(join_path(directory, settings.serving.front_id)));
    name_lock_.emplace(std::move(mine));
    return {};
  }

  /// Where workers are up already (after a front's death, or in a reload), connections wait in the
  /// backlog for the moment that it takes to reach them, instead of being told that a model loads.
  static void wait_for_workers(const ClusterGenerator& generator,
                               const std::atomic<std::uint32_t>& n_ready_workers) {
    using Clock = std::chrono::steady_clock;
    constexpr std::chrono::milliseconds kGreeting{50};
    constexpr std::chrono::milliseconds kReach{5000};
    const auto start = Clock::now();
    while (!generator.is_ready()) {
      const auto waited = Clock::now() - start;
      if (waited >= kReach || (n_ready_workers == 0 && waited >= kGreeting)) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  static void hear(const ControlMessage& message, ClusterGenerator& generator, Log& log) {
    const WorkerId id{message.worker, message.epoch};
    switch (message.kind) {
      case ControlKind::kWorkerLoading:
        generator.worker_loading(id, message.progress);
        break;
      case ControlKind::kWorkerReady: {
        const Status added = generator.add_worker(id, concat("unix:", message.text), true);
        if (!added) log.error("cannot use worker ", id.index, ": ", added.error().message);
        break;
      }
      case ControlKind::kWorkerDied:
        // Who was killed from outside did not die of what it computed.
        generator.worker_died(
            id, message.signal == SIGKILL ? std::vector<std::uint64_t>() : message.tags);
        break;
      case ControlKind::kWorkerDraining:
        generator.drain_worker(id);
        break;
      default:
        break;
    }
  }

  void wire(const Context& context, ClusterGenerator& generator, Supervised& supervised) {
    edge::ServeOptions& serving = settings.serving;
    serving.listen_fd = listen_fd;
    serving.readiness = [&generator, &settings = settings] {
      edge::Readiness readiness;
      readiness.is_ready = generator.is_ready();
      readiness.text = concat("loading ", settings.model.model);
      for (const cluster::WorkerReport& worker : generator.workers()) {
        readiness.progress = std::max(readiness.progress, worker.progress);
      }
      return readiness;
    };
    serving.workers = [&generator] {
      std::vector<edge::WorkerReport> reports;
      for (const cluster::WorkerReport& worker : generator.workers()) {
        reports.push_back({.index = worker.id.index,
                           .epoch = worker.id.epoch,
                           .state = std::string(worker_state_name(worker.state)),
                           .progress = worker.progress,
                           .n_running = worker.load.n_running,
                           .n_waiting = worker.load.n_waiting,
                           .last_token_age_ms = worker.load.last_step_age_ms,
                           .is_slow = worker.is_slow});
      }
      return reports;
    };
    serving.balance = [&generator] {
      const cluster::ClusterCounters counters = generator.counters();
      return edge::BalanceReport{.n_lost = counters.n_workers_lost,
                                 .n_suspected = counters.n_suspected,
                                 .n_slow = counters.n_slow,
                                 .n_resumed = counters.n_resumed,
                                 .n_hedged = counters.n_hedged,
                                 .n_refused = counters.n_refused,
                                 .n_retried = counters.n_retried,
                                 .n_failed = counters.n_failed};
    };
    serving.on_listening = [&context, &supervised](const edge::Listening& listening) {
      supervised.send({.kind = ControlKind::kReady});
      report_listening(context, listening);
    };
    serving.on_drained = [&supervised] { supervised.send({.kind = ControlKind::kDrained}); };
  }

  std::optional<FileLock> name_lock_;
};

}  // namespace

extern const CommandEntry kCommand_front;
const CommandEntry kCommand_front = make_command<Front>(
    "front",
    {"the HTTP API over workers (started by serve)", "工作进程之上的 HTTP 接口（由 serve 启动）"});

}  // namespace deepwell::apps
