// The monitor: who is silent, who stalls, what waited too long.
#include <algorithm>

#include "base/concat.hpp"
#include "cluster/front/cluster_core.hpp"
#include "cluster/front/process_state.hpp"
#include "cluster/front/unread_bytes.hpp"

namespace deepwell::cluster {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kTick{50};
// A tick that comes later than this counts against nobody: this process did not run in time either.
constexpr milliseconds kLateness{25};
// How long a supervised worker's death may take to be told after its stream broke.
constexpr milliseconds kVerdictTimeout{150};
constexpr milliseconds kReconnectEvery{100};
constexpr milliseconds kKillAgain{2000};
// Every so many ticks it is looked how old the last tokens are.
constexpr std::uint32_t kTicksPerLook = 4;

}  // namespace

void ClusterGenerator::Core::monitor() {
  SteadyTime due = Clock::now() + kTick;
  std::unique_lock lock(mutex_);
  while (!is_stopping_) {
    wake_monitor_.wait_until(lock, due, [this] { return is_stopping_; });
    if (is_stopping_) return;
    const SteadyTime now = Clock::now();
    tick(now, now - due < kLateness);
    due = now + kTick;
  }
}

void ClusterGenerator::Core::tick(SteadyTime now, bool was_on_time) {
  for (auto& [id, worker] : workers_) {
    if (worker.link != nullptr) watch(worker, now, was_on_time);
  }
  if (was_on_time && ++n_ticks_ % kTicksPerLook == 0) watch_paces(now);
  place_waiting();
  expire_waiting(now);
}

void ClusterGenerator::Core::watch(Worker& worker, SteadyTime now, bool was_on_time) {
  if (worker.describe_at != SteadyTime{} && now >= worker.describe_at) {
    worker.describe_at = SteadyTime{};
    worker.link->describe();
  }
  if (worker.is_being_killed && worker.is_supervised && now >= worker.kill_at) {
    worker.kill_at = now + kKillAgain;
    if (options_.kill_worker) options_.kill_worker(worker.id, "it was to be killed and lives");
  }
  if (worker.link_state == Worker::Link::kLost) {
    if (!worker.flights.empty() && now - worker.lost_at >= kVerdictTimeout) lose(worker, {});
    if (now >= worker.connect_at) reconnect(worker, now);
    return;
  }
  if (worker.link_state != Worker::Link::kUp || worker.is_being_killed) return;
  // What it said long ago may wait in our own socket: then it is this process that is late.
  const bool is_near_suspicion =
      kTick * (worker.n_silent_ticks + 1) >= options_.health.suspect_after;
  if (was_on_time && !(is_near_suspicion && has_unread_bytes(worker.address))) {
    ++worker.n_silent_ticks;
    ++worker.n_stalled_ticks;
  }
  watch_silence(worker);
}

void ClusterGenerator::Core::watch_silence(Worker& worker) {
  const HealthLimits& limits = options_.health;
  const milliseconds silence = kTick * worker.n_silent_ticks;
  if (silence >= limits.suspect_after && !worker.is_suspected) {
    worker.is_suspected = true;
    ++counters_.n_suspected;
    log_.warn("worker ", worker.id.index, " (epoch ", worker.id.epoch, ") is silent since ",
              silence.count(), " ms: it gets no new work");
    note_result(worker, true);
    hedge(worker);
  }
  if (silence >= limits.replace_after) {
    const bool may_replace = silence >= limits.replace_alone_after || has_other(worker) ||
                             is_process_stopped(worker.pid);
    if (may_replace) return replace(worker, concat("silent for ", silence.count(), " ms"));
  }
  const milliseconds stalled = kTick * worker.n_stalled_ticks;
  if (!worker.is_suspected && stalled >= limits.engine_stall_after) {
    replace(worker,
            concat("work is pending but no layer was computed for ", stalled.count(), " ms"));
  }
}

/// Finds workers whose tokens come late. Measured are those that do nothing but decode, and for this
/// front alone.
void ClusterGenerator::Core::watch_paces(SteadyTime now) {
  std::vector<TokenPace*> paces;
  std::vector<bool> were_slow;
  std::vector<double> ages_ms;
  for (auto& [id, worker] : workers_) {
    ages_ms.clear();
    for (const Tag tag : worker.flights) {
      const SteadyTime last = flights_.at(tag).attempt_on(id)->last_token;
      if (last == SteadyTime{}) continue;
      ages_ms.push_back(std::chrono::duration<double, std::milli>(now - last).count());
    }
    const std::size_t n_undecoded = worker.flights.size() - ages_ms.size();
    const bool is_prefilling = n_undecoded > worker.load.n_waiting;
    const bool is_shared = worker.load.n_running + worker.load.n_waiting > worker.flights.size();
    if (!worker.is_eligible() || is_prefilling || is_shared) ages_ms.clear();
    were_slow.push_back(worker.pace.is_slow);
    note_ages(worker.pace, ages_ms);
    paces.push_back(&worker.pace);
  }
  judge_paces(paces);
  std::size_t i = 0;
  for (const auto& [id, worker] : workers_) {
    const bool was_slow = were_slow[i++];
    if (worker.pace.is_slow == was_slow) continue;
    counters_.n_slow += was_slow ? 0 : 1;
    log_.warn("worker ", id.index, " (epoch ", id.epoch, ") is ",
              was_slow ? "no longer slow" : "slow", ": its last tokens are ",
              static_cast<int>(worker.pace.age_ms), " ms old",
              was_slow ? "" : "; it gets a part of the new work");
  }
}

/// Its generations go on elsewhere, and whatever it still says is not heard: a stopped process may
/// wake up.
void ClusterGenerator::Core::replace(Worker& worker, const std::string& reason) {
  log_.error("worker ", worker.id.index, " (epoch ", worker.id.epoch, ") is replaced: ", reason);
  worker.is_being_killed = true;
  lose(worker, {});
  worker.kill_at = Clock::now() + kKillAgain;
  if (worker.is_supervised && options_.kill_worker) {
    options_.kill_worker(worker.id, reason);
  } else {
    // Nobody can end it: cut the stream, and come back when it answers.
    worker.is_being_killed = false;
    worker.is_suspected = false;
    worker.link_state = Worker::Link::kLost;
    worker.lost_at = worker.connect_at = Clock::now();
    worker.link->cut();
  }
}

bool ClusterGenerator::Core::has_other(const Worker& worker) const {
  return std::any_of(workers_.begin(), workers_.end(), [&](const auto& entry) {
    return entry.first != worker.id && entry.second.is_eligible();
  });
}

void ClusterGenerator::Core::reconnect(Worker& worker, SteadyTime now) {
  worker.connect_at = now + kReconnectEvery;
  if (worker.link->is_connected()) return;
  worker.link_state = Worker::Link::kConnecting;
  worker.link->connect(options_.orphan_grace);
}

void ClusterGenerator::Core::expire_waiting(SteadyTime now) {
  if (has_eligible() || last_worker_seen_ == SteadyTime{}) last_worker_seen_ = now;
  if (now - last_worker_seen_ < options_.resume_timeout) return;
  std::vector<Tag> expired;
  for (const auto& [tag, flight] : flights_) {
    if (flight.attempts.empty()) expired.push_back(tag);
  }
  for (const Tag tag : expired) {
    fail(tag, Error{.code = Code::kUnavailable,
                    .message = concat("no worker could go on with this answer for ",
                                      options_.resume_timeout.count() / 1000, " s"),
                    .reason = "resume_failed"});
  }
}

}  // namespace deepwell::cluster
