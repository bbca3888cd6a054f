// ClusterGenerator: a Generator over any number of workers. An answer that has begun goes on when its
// worker dies, stalls or is replaced, with the tokens that would have come.
//
//   ClusterGenerator cluster({.kill_worker = ask_supervisor}, log);
//   cluster.add_worker({.index = 0, .epoch = 1}, "unix:/run/worker-0-1.sock");
//   auto id = cluster.submit({.prompt = ids, .max_tokens = 64, .tag = tag}, sink);
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/log.hpp"
#include "cluster/front/round_robin.hpp"
#include "cluster/protocol/peer_tls.hpp"
#include "engine/runtime/generator.hpp"

namespace deepwell::cluster {

/// One process that computes. Epochs are unique over all workers of a host; a restarted worker has the
/// index of the one before it and a higher epoch.
struct WorkerId {
  std::uint32_t index = 0;
  std::uint64_t epoch = 0;
  auto operator<=>(const WorkerId&) const = default;
};

enum class WorkerState : std::uint8_t { kLoading, kReady, kBusy, kStalled, kDraining, kDown };
std::string_view worker_state_name(WorkerState state);

struct WorkerReport {
  WorkerId id;
  WorkerState state = WorkerState::kDown;
  double progress = 0.0;         // while loading
  std::uint32_t n_assigned = 0;  // generations that this front gave it
  bool is_slow = false;          // its tokens come much later than its peers': it gets less
  engine::GeneratorStatus load;  // as its last frame said
  std::int64_t last_frame_age_ms = 0;
};

/// When a silent worker is suspected, and when it is replaced. Silence is counted in ticks of the
/// monitor that came in time: a front that was itself starved accuses nobody.
struct HealthLimits {
  std::chrono::milliseconds suspect_after{400};  // nothing new for it; its work is hedged elsewhere
  std::chrono::milliseconds replace_after{1000};
  // Without another worker, unless the kernel says that it is stopped: then at replace_after.
  std::chrono::milliseconds replace_alone_after{3000};
  // Frames come, work is pending, but no layer is computed and no page is read.
  std::chrono::milliseconds engine_stall_after{10'000};
};

/// Who gets new work.
enum class Balance : std::uint8_t {
  kLeastLoaded,  // fewest answers per place, most free K/V, and whoever has the prompt's beginning
  kRoundRobin,   // as nginx would, whatever the load; but only who is up and has a place
};

struct ClusterOptions {
  HealthLimits health;
  Balance balance = Balance::kLeastLoaded;
  // Placements of one generation without a new token in between.
  std::uint32_t n_max_attempts = 8;
  // Without a worker to go on with.
  std::chrono::milliseconds resume_timeout{120'000};
  // How long workers go on computing when this front is gone.
  std::chrono::milliseconds orphan_grace{60'000};
  std::uint32_t n_verify_tok = 8;  // known tokens chosen anew at each resume (DESIGN rule 10)
  const PeerTls* tls = nullptr;    // for workers that are not on a Unix socket
  /// Asks whoever can to end a local worker that stalls. May be empty.
  std::function<void(WorkerId id, const std::string& reason)> kill_worker;
};

/// Since start.
struct ClusterCounters {
  std::uint64_t n_workers_lost = 0;
  std::uint64_t n_resumed = 0;  // generations placed again after a loss
  std::uint64_t n_hedged = 0;   // computed twice for a while, because a worker was suspected
  std::uint64_t n_mismatched_tok = 0;
  std::uint64_t n_failed = 0;  // generations that could not go on
  std::uint64_t n_suspected = 0;
  std::uint64_t n_refused = 0;  // submissions that a worker refused because it was full or leaving
  std::uint64_t n_retried = 0;  // of those: tried on another worker (RetryBudget)
  std::uint64_t n_slow = 0;     // times that a worker was found slow
};

/// Thread-safe. Sinks are called on internal threads, one call at a time per generation, with a lock
/// held: they must return at once and must not call back.
class ClusterGenerator final : public engine::Generator {
 public:
  ClusterGenerator(ClusterOptions options, Log& log);
  /// Running generations get an error event; workers are told nothing, so that they go on for the
  /// grace.
  ~ClusterGenerator() override;

  // --- what is known of workers, from the supervisor or from a list ---------------------------------
  void worker_loading(WorkerId id, double progress);
  /// `is_supervised`: its death will be told by worker_died(). `rules` are of the index: those of
  /// its first worker hold for all that follow it.
  Status add_worker(WorkerId id, const std::string& address, bool is_supervised,
                    const RoundRobinPeer& rules = {});
  /// Its generations move at once. `suspects` are the tags of the step in which it crashed, empty if
  /// it was killed from outside.
  void worker_died(WorkerId id, const std::vector<std::uint64_t>& suspects);
  /// Gives it nothing new.
  void drain_worker(WorkerId id);

  /// Some worker is up and has described its model: from then on describe() never changes.
  bool is_ready() const;
  std::vector<WorkerReport> workers() const;
  ClusterCounters counters() const;

  // --- Generator --------------------------------------------------------------------------------
  /// An empty description until is_ready().
  const engine::ModelDescription& describe() const override;
  /// Finds a place, or waits for one while workers restart. Errors: kInvalidArgument (empty prompt),
  /// kResourceExhausted (the queues of all workers are full), kUnavailable (no worker is known). What
  /// a worker refuses arrives as an event.
  Result<engine::GenerationId> submit(engine::GenerateRequest request,
                                      std::shared_ptr<engine::GenerationSink> sink) override;
  void cancel(engine::GenerationId id) override;
  Status force(engine::GenerationId id, std::vector<engine::TokenId> ids) override;
  Status attach(engine::GenerationId id, std::uint32_t from,
                std::shared_ptr<engine::GenerationSink> sink) override;
  engine::GeneratorStatus status() const override;

  class Core;

 private:
  std::shared_ptr<Core> core_;  // owners: this, and callbacks that run
};

}  // namespace deepwell::cluster
