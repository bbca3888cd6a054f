// ClusterGenerator::Core: workers and flights under one lock, and the monitor that watches them.
// Internal to cluster. Which function does what: placing.cpp puts flights on workers and takes them
// off, cluster_core.cpp hears what links and the supervisor say, monitor.cpp is the clock.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "cluster/front/balance.hpp"
#include "cluster/front/cluster_generator.hpp"
#include "cluster/front/fair_order.hpp"
#include "cluster/front/flights.hpp"
#include "cluster/front/retry_budget.hpp"
#include "cluster/front/round_robin.hpp"
#include "cluster/front/token_pace.hpp"
#include "cluster/front/worker_link.hpp"

namespace deepwell::cluster {

class ClusterGenerator::Core : public std::enable_shared_from_this<Core> {
 public:
  using Tag = std::uint64_t;  // of a flight; also its GenerationId

  struct Worker {
    enum class Link : std::uint8_t { kNone, kConnecting, kUp, kLost };

    WorkerId id;
    std::string address;  // "unix:/path" or "host:port"
    bool is_supervised = false;
    bool is_draining = false;
    bool is_suspected = false;
    bool is_being_killed = false;
    double progress = 0.0;  // while loading
    Link link_state = Link::kNone;
    std::shared_ptr<WorkerLink> link;  // owners: this and its running callbacks
    bool has_model = false;            // its description agreed with ours
    std::string fingerprint;
    std::uint32_t pid = 0;
    std::uint32_t n_parallel = 1;
    std::uint32_t n_max_waiting = 0;
    engine::GeneratorStatus load;
    std::uint64_t n_progress = 0;  // layers and page faults of the last frame
    std::set<Tag> flights;
    std::set<Tag> orphans;  // it computes them since before this front was there
    SteadyTime last_frame{};
    SteadyTime lost_at{};
    SteadyTime connect_at{};
    SteadyTime describe_at{};  // set: its description is asked for again then
    SteadyTime kill_at{};      // while it is being killed: when to ask again
    std::string last_why;      // why its stream ended
    // Ticks of the monitor that came in time, since it was heard and since it computed a layer.
    std::uint32_t n_silent_ticks = 0;
    std::uint32_t n_stalled_ticks = 0;
    bool is_foreign = false;  // it speaks a protocol that we do not
    std::size_t peer = 0;     // its index's number in turns_
    TokenPace pace;

    bool is_eligible() const {
      return link_state == Link::kUp && has_model && !is_draining && !is_suspected &&
             !is_being_killed;
    }
  };

  Core(ClusterOptions options, Log& log);
  void start();
  void stop();

  // cluster_core.cpp: what is heard.
  void worker_loading(WorkerId id, double progress);
  Status add_worker(WorkerId id, const std::string& address, bool is_supervised,
                    const RoundRobinPeer& rules);
  void worker_died(WorkerId id, const std::vector<std::uint64_t>& suspects);
  void drain_worker(WorkerId id);
  bool is_ready() const;
  std::vector<WorkerReport> workers() const;
  ClusterCounters counters() const;
  const engine::ModelDescription& describe() const;
  engine::GeneratorStatus status() const;

  Result<engine::GenerationId> submit(engine::GenerateRequest request,
                                      std::shared_ptr<engine::GenerationSink> sink);
  void cancel(Tag tag);
  Status force(Tag tag, std::vector<engine::TokenId> ids);
  Status attach(Tag tag, std::uint32_t from, std::shared_ptr<engine::GenerationSink> sink);

 private:
  void on_model(WorkerId id, Result<engine::ModelDescription> model);
  void on_frame(WorkerId id, proto::WorkerFrame& frame);
  void on_lost(WorkerId id, const std::string& why);
  bool on_hello(Worker& worker, const proto::HelloReply& hello);
  void take_stock(Worker& worker, const std::set<Tag>& orphans);
  void on_load(Worker& worker, const proto::Load& load);
  void on_event(Worker& worker, const proto::Event& message);
  void on_failure(Worker& worker, Tag tag, engine::GenerationEvent event);
  WorkerState state_of(const Worker& worker) const;

  std::size_t peer_of(std::uint32_t index, const RoundRobinPeer& rules);

  // placing.cpp: where flights are.
  Worker* choose(Flight& flight);
  Worker* choose_in_turn(std::span<const Candidate> candidates);
  std::uint32_t n_places(const Worker& worker, bool needs_free_place) const;
  bool lacks_its_part(const Worker& worker, const Flight& flight) const;
  bool has_untried(const Flight& flight) const;
  void note_result(const Worker& worker, bool has_failed);
  void retry(Tag tag, Flight& flight, engine::GenerationEvent refusal);
  void give_up(Tag tag, engine::GenerationEvent last);
  void place(Tag tag, Flight& flight);
  void start_attempt(Tag tag, Flight& flight, Worker& worker);
  void drop_attempt(Tag tag, Flight& flight, Worker& worker);
  void tell_cancel(Worker& worker, Tag tag, std::uint64_t epoch);
  void pass_fellows(Flight& flight);
  void wait_for_place(Tag tag, Flight& flight);
  void place_waiting();
  void lose(Worker& worker, const std::vector<std::uint64_t>& suspects);
  void hedge(Worker& worker);
  void unhedge(Worker& worker);
  void fail(Tag tag, Error error);
  void end(Tag tag);
  void charge_crash(Tag tag);
  void next_on_probation();
  bool has_capacity() const;
  bool has_eligible() const;

  // monitor.cpp: what time does.
  void monitor();
  void tick(SteadyTime now, bool was_on_time);
  void watch(Worker& worker, SteadyTime now, bool was_on_time);
  void watch_silence(Worker& worker);
  void watch_paces(SteadyTime now);
  void reconnect(Worker& worker, SteadyTime now);
  void expire_waiting(SteadyTime now);
  void replace(Worker& worker, const std::string& reason);
  bool has_other(const Worker& worker) const;

  const ClusterOptions options_;
  Log& log_;

  mutable std::mutex mutex_;
  std::map<WorkerId, Worker> workers_;
  std::unordered_map<Tag, Flight> flights_;
  std::set<std::pair<std::uint64_t, Tag>> waiting_;   // (order, tag): flights without an attempt
  std::set<std::pair<std::uint64_t, Tag>> suspects_;  // likewise, until they run alone
  std::optional<Tag> on_probation_;
  PrefixAffinity affinity_;
  RoundRobin turns_;                            // failures and turns of each index
  std::map<std::uint32_t, std::size_t> peers_;  // of indices in turns_
  std::vector<RoundRobinPeer> rules_;           // of peers
  RetryBudget retries_;
  std::unique_ptr<const engine::ModelDescription> model_;  // set once
  ClusterCounters counters_;
  SteadyTime last_worker_seen_{};  // when one was eligible
  FairOrder order_;
  std::uint64_t last_attempt_ = 0;  // epochs of the protocol; begins above those of fronts before
  std::uint32_t n_ticks_ = 0;
  std::uint32_t capacity_ = 0;  // of the last workers that were up, while none is
  std::condition_variable wake_monitor_;
  bool is_stopping_ = false;
  std::thread monitor_thread_;
};

}  // namespace deepwell::cluster
