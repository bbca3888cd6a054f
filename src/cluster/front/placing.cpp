// Putting flights on workers, and taking them off.
#include <algorithm>
#include <map>
#include <string_view>

#include "base/check.hpp"
#include "base/concat.hpp"
#include "cluster/front/cluster_core.hpp"

namespace deepwell::cluster {

namespace {

// What waits, waits here, where every worker that gets free can take it; a worker is given so many
// beyond what it computes at once, lest a free place stay empty for a round trip.
constexpr std::uint32_t kAhead = 2;
// A slow worker is given one part in so many of what it computes at once: enough to show that it is
// well again.
constexpr std::uint32_t kSlowShare = 4;

RoundRobin::Seconds now_s() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::seconds>(now).count();
}

}  // namespace

bool ClusterGenerator::Core::has_capacity() const { return flights_.size() < capacity_; }

bool ClusterGenerator::Core::has_eligible() const {
  return std::any_of(workers_.begin(), workers_.end(),
                     [](const auto& entry) { return entry.second.is_eligible(); });
}

/// How many generations the worker is given. Somebody reads a resumed answer already: it is not put
/// behind others.
std::uint32_t ClusterGenerator::Core::n_places(const Worker& worker, bool needs_free_place) const {
  const std::uint32_t n_ahead = needs_free_place ? 0 : std::min(kAhead, worker.n_max_waiting);
  // nginx knows no slow peers, and purity is what was asked for.
  const bool is_throttled = worker.pace.is_slow && options_.balance != Balance::kRoundRobin;
  if (is_throttled) return std::max(1U, worker.n_parallel / kSlowShare);
  return worker.n_parallel + n_ahead;
}

/// Whether other tenants have places on the worker that are its tenant's. Such a flight is given to the worker beyond
/// its places: there it takes one from those who have more (engine::Scheduler).
bool ClusterGenerator::Core::lacks_its_part(const Worker& worker, const Flight& flight) const {
  std::map<std::string_view, std::uint32_t> weights;  // of tenants on it, and this one
  std::uint32_t n_own = 0;
  weights[flight.request.tenant] = std::max(1U, flight.request.tenant_weight);
  for (const Tag tag : worker.flights) {
    const engine::GenerateRequest& request = flights_.at(tag).request;
    weights[request.tenant] = std::max(1U, request.tenant_weight);
    n_own += request.tenant == flight.request.tenant ? 1 : 0;
  }
  std::uint64_t sum = 0;
  for (const auto& [tenant, weight] : weights) sum += weight;
  return weights.size() > 1 &&
         n_own < std::uint64_t{worker.n_parallel} * weights[flight.request.tenant] / sum;
}

/// A worker that may take the flight; null if none is eligible or all are full.
ClusterGenerator::Core::Worker* ClusterGenerator::Core::choose(Flight& flight) {
  if (!flight.refused_by.empty() && !has_untried(flight)) flight.refused_by.clear();
  const bool needs_free_place = flight.was_resumed || !flight.attempts.empty();
  const RoundRobin::Seconds now = now_s();
  std::vector<Candidate> candidates;
  for (const auto& [id, worker] : workers_) {
    if (!worker.is_eligible()) continue;
    const RoundRobinPeer& rules = rules_[worker.peer];
    if (rules.is_down || flight.attempt_on(id) != nullptr || flight.was_refused_by(id)) continue;
    const std::size_t n_own_places = n_places(worker, needs_free_place);
    const std::size_t n_beyond = std::min(worker.n_parallel, worker.n_max_waiting);
    const bool has_place = worker.flights.size() < n_own_places ||
                           (worker.flights.size() < n_own_places + n_beyond &&
                            !worker.pace.is_slow && lacks_its_part(worker, flight));
    if (!has_place) continue;
    candidates.push_back(
        {.id = id,
         .n_assigned = static_cast<std::uint32_t>(worker.flights.size()),
         .n_parallel = std::min(worker.n_parallel, n_places(worker, true)),
         .n_kv_blocks_free = worker.load.n_kv_blocks -
                             std::min(worker.load.n_kv_blocks, worker.load.n_kv_blocks_used),
         .weight = rules.weight,
         .is_backup = rules.is_backup,
         .is_resting = turns_.is_resting(worker.peer, now)});
  }
  if (candidates.empty()) return nullptr;
  if (options_.balance == Balance::kRoundRobin) return choose_in_turn(candidates);
  candidates = most_preferred(std::move(candidates));
  Worker& worker = workers_.at(candidates[affinity_.choose(flight.request.prompt, candidates)].id);
  turns_.note_choice(worker.peer, now);
  return &worker;
}

/// As nginx, where a worker without a stream counts as down, and a full one as one at `max_conns`.
/// Where all that are up rest, nginx 1.22 answers 502; here their failures are forgotten, as nginx
/// did before, for a worker that is up and might serve is better than none.
ClusterGenerator::Core::Worker* ClusterGenerator::Core::choose_in_turn(
    std::span<const Candidate> candidates) {
  const RoundRobin::Seconds now = now_s();
  std::vector<bool> is_out(rules_.size(), true);
  for (const Candidate& candidate : candidates) is_out[workers_.at(candidate.id).peer] = false;
  std::optional<std::size_t> peer = turns_.choose(is_out, now);
  if (!peer) {
    for (const auto& [id, worker] : workers_) {
      // Somebody well is full: that is worth waiting for.
      if (worker.is_eligible() && !turns_.is_resting(worker.peer, now)) return nullptr;
    }
    for (const Candidate& candidate : candidates) {
      turns_.forget_failures(workers_.at(candidate.id).peer);
    }
    peer = turns_.choose(is_out, now);
  }
  if (!peer) return nullptr;
  const auto chosen =  // of two processes in one place, the younger
      std::find_if(candidates.rbegin(), candidates.rend(), [&](const Candidate& candidate) {
        return workers_.at(candidate.id).peer == *peer;
      });
  return &workers_.at(chosen->id);
}

/// Whether somebody who is up has not refused the flight.
bool ClusterGenerator::Core::has_untried(const Flight& flight) const {
  return std::any_of(workers_.begin(), workers_.end(), [&](const auto& entry) {
    return entry.second.is_eligible() && !rules_[entry.second.peer].is_down &&
           !flight.was_refused_by(entry.first);
  });
}

/// A failure is a lost stream, a suspicion, or a refusal for want of places; a first token is a success.
void ClusterGenerator::Core::note_result(const Worker& worker, bool has_failed) {
  turns_.report(worker.peer, has_failed, now_s());
}

void ClusterGenerator::Core::place(Tag tag, Flight& flight) {
  if (flight.n_attempts >= options_.n_max_attempts) {
    return fail(tag, Error{.code = Code::kUnavailable,
                           .message = concat("the answer was begun on ", flight.n_attempts,
                                             " workers in a row and none got on; ask again"),
                           .reason = "resume_failed"});
  }
  Worker* worker = choose(flight);
  if (worker == nullptr) return wait_for_place(tag, flight);
  start_attempt(tag, flight, *worker);
}

void ClusterGenerator::Core::start_attempt(Tag tag, Flight& flight, Worker& worker) {
  waiting_.erase({flight.order, tag});
  order_.begin(flight.order, flight.request.priority);
  const std::uint64_t epoch = ++last_attempt_;
  flight.attempts.push_back({worker.id, epoch});
  ++flight.n_attempts;
  worker.flights.insert(tag);
  affinity_.note(flight.request.prompt, worker.id);
  flight.request.n_verify_tok = n_verifiable(flight, options_.n_verify_tok);
  worker.link->send([&](proto::FrontFrame& frame) {
    write_submit(flight.request, epoch, *frame.add_commands()->mutable_submit());
  });
}

void ClusterGenerator::Core::drop_attempt(Tag tag, Flight& flight, Worker& worker) {
  const Attempt* attempt = flight.attempt_on(worker.id);
  if (attempt == nullptr) return;
  const std::uint64_t epoch = attempt->epoch;
  flight.forget_attempt_on(worker.id);
  worker.flights.erase(tag);
  tell_cancel(worker, tag, epoch);
}

void ClusterGenerator::Core::tell_cancel(Worker& worker, Tag tag, std::uint64_t epoch) {
  worker.link->send([&](proto::FrontFrame& frame) {
    proto::Cancel& cancel = *frame.add_commands()->mutable_cancel();
    cancel.set_tag(tag);
    cancel.set_epoch(epoch);
  });
}

/// Takes the number of the first of its tenant that it may go before; each of those moves back by one.
void ClusterGenerator::Core::pass_fellows(Flight& flight) {
  std::vector<std::pair<std::uint64_t, Tag>> passed;
  for (const auto& entry : waiting_) {
    const Flight& other = flights_.at(entry.second);
    if (entry.first < flight.order && other.is_fresh() &&
        FairOrder::goes_before_fellow(flight.request, other.request))
      passed.push_back(entry);
  }
  for (auto entry = passed.rbegin(); entry != passed.rend(); ++entry) {
    Flight& other = flights_.at(entry->second);
    waiting_.erase(*entry);
    std::swap(other.order, flight.order);
    waiting_.insert({other.order, entry->second});
  }
}

void ClusterGenerator::Core::wait_for_place(Tag tag, Flight& flight) {
  waiting_.insert({flight.order, tag});
}

/// In FairOrder's order.
void ClusterGenerator::Core::place_waiting() {
  std::uint32_t n_places = 0;
  for (const auto& [id, worker] : workers_) {
    if (worker.is_eligible()) n_places += worker.n_parallel + worker.n_max_waiting;
  }
  if (n_places > 0) capacity_ = n_places;
  next_on_probation();
  // A suspect that has no place yet comes before all others.
  while (!waiting_.empty() && (suspects_.empty() || on_probation_)) {
    const Tag tag = waiting_.begin()->second;
    Flight& flight = flights_.at(tag);
    Worker* worker = choose(flight);
    if (worker == nullptr) break;
    start_attempt(tag, flight, *worker);
  }
}

/// Whatever ran there goes on elsewhere, at once; but who was in the step of a crash waits for its
/// turn to run alone. The free places pace the rest: a survivor is given as many as it computes at once
/// (n_places), in the order of arrival, one more whenever one of its own ends, and its scheduler's
/// token budget spreads their prefills between the steps of those that decode. No timer does better:
/// it would keep readers waiting beside free places, or fill places that are not there.
void ClusterGenerator::Core::lose(Worker& worker, const std::vector<std::uint64_t>& suspects) {
  DW_CHECK(!worker.is_eligible(), "a lost worker is given nothing");
  if (worker.flights.empty() && suspects.empty()) return;
  ++counters_.n_workers_lost;
  std::vector<std::pair<std::uint64_t, Tag>> moved;
  for (const Tag tag : worker.flights) {
    Flight& flight = flights_.at(tag);
    flight.forget_attempt_on(worker.id);
    flight.was_resumed = true;
    // An attempt that ended by no fault of the flight's is not charged.
    flight.n_attempts -= std::min(flight.n_attempts, 1U);
    moved.emplace_back(flight.order, tag);
  }
  worker.flights.clear();
  // Who crashed its worker again while on probation explains that crash: whoever was near, perhaps
  // acquitted a moment ago, is not charged a second time.
  const bool is_explained = on_probation_ && std::find(suspects.begin(), suspects.end(),
                                                       *on_probation_) != suspects.end();
  if (is_explained) {
    charge_crash(*on_probation_);
  } else {
    for (const Tag tag : suspects) charge_crash(tag);
  }
  std::sort(moved.begin(), moved.end());
  for (const auto& [order, tag] : moved) {
    const auto found = flights_.find(tag);
    if (found == flights_.end() || !found->second.attempts.empty()) continue;
    if (suspects_.contains({order, tag})) continue;
    ++counters_.n_resumed;
    place(tag, found->second);
  }
}

/// A generation that was in the steps of two crashes is what they have in common.
void ClusterGenerator::Core::charge_crash(Tag tag) {
  const auto found = flights_.find(tag);
  if (found == flights_.end()) return;
  Flight& flight = found->second;
  if (on_probation_ == tag) on_probation_.reset();
  if (++flight.n_crashes >= 2) {
    log_.error("an answer was being computed in both of two crashes and is given up: tag ", tag);
    return fail(tag, Error{.code = Code::kInternal,
                           .message = "computing this answer crashed the engine twice, so it was "
                                      "given up; other answers went on",
                           .reason = "engine_crashed"});
  }
  if (!flight.attempts.empty()) return;
  waiting_.erase({flight.order, tag});  // the verdict may have come late
  suspects_.insert({flight.order, tag});
}

/// One suspect at a time is computed until its next token: should it crash its worker again, no
/// other suspect is near.
void ClusterGenerator::Core::next_on_probation() {
  while (!on_probation_ && !suspects_.empty()) {
    const auto [order, tag] = *suspects_.begin();
    Flight& flight = flights_.at(tag);
    Worker* worker = choose(flight);
    if (worker == nullptr) return;
    suspects_.erase(suspects_.begin());
    on_probation_ = tag;
    ++counters_.n_resumed;
    start_attempt(tag, flight, *worker);
  }
}

/// A suspected worker's generations are computed elsewhere too: the tokens are the same, whoever is
/// first is heard.
void ClusterGenerator::Core::hedge(Worker& worker) {
  const std::set<Tag> tags = worker.flights;
  for (const Tag tag : tags) {
    Flight& flight = flights_.at(tag);
    if (flight.attempts.size() != 1) continue;
    Worker* other = choose(flight);
    if (other == nullptr) return;
    ++counters_.n_hedged;
    start_attempt(tag, flight, *other);
  }
}

/// It was alive after all: the copies elsewhere are not needed.
void ClusterGenerator::Core::unhedge(Worker& worker) {
  for (const Tag tag : worker.flights) {
    Flight& flight = flights_.at(tag);
    while (flight.attempts.size() > 1) {
      const Attempt& other = flight.attempts[flight.attempts[0].worker == worker.id ? 1 : 0];
      drop_attempt(tag, flight, workers_.at(other.worker));
      flight.n_attempts -= std::min(flight.n_attempts, 1U);
    }
  }
}

void ClusterGenerator::Core::fail(Tag tag, Error error) {
  const auto found = flights_.find(tag);
  if (found == flights_.end()) return;
  ++counters_.n_failed;
  found->second.sink->on_event(
      {.position = static_cast<std::uint32_t>(found->second.request.generated.size()),
       .error = std::move(error)});
  end(tag);
}

/// Forgets a flight; its workers too.
void ClusterGenerator::Core::end(Tag tag) {
  const auto found = flights_.find(tag);
  if (found == flights_.end()) return;
  Flight& flight = found->second;
  while (!flight.attempts.empty()) {
    drop_attempt(tag, flight, workers_.at(flight.attempts.front().worker));
  }
  waiting_.erase({flight.order, tag});
  suspects_.erase({flight.order, tag});
  if (on_probation_ == tag) on_probation_.reset();
  flights_.erase(found);
  if (!waiting_.empty() || !suspects_.empty()) place_waiting();
}

}  // namespace deepwell::cluster
