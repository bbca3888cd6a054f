// Putting flights on workers, and taking them off.
#include <algorithm>

#include "base/check.hpp"
#include "base/concat.hpp"
#include "cluster/front/cluster_core.hpp"

namespace deepwell::cluster {

namespace {

// What waits, waits here, where every worker that gets free can take it; a worker is given so many
// beyond what it computes at once, lest a free place stay empty for a round trip.
constexpr std::uint32_t kAhead = 2;

}  // namespace

bool ClusterGenerator::Core::has_capacity() const { return flights_.size() < capacity_; }

bool ClusterGenerator::Core::has_eligible() const {
  return std::any_of(workers_.begin(), workers_.end(),
                     [](const auto& entry) { return entry.second.is_eligible(); });
}

/// A worker that may take the flight; null if none is eligible or all are full. Somebody reads a
/// resumed answer already: it is not put behind others.
ClusterGenerator::Core::Worker* ClusterGenerator::Core::choose(const Flight& flight) {
  const bool needs_free_place = flight.was_resumed || !flight.attempts.empty();
  std::vector<Candidate> candidates;
  for (const auto& [id, worker] : workers_) {
    const std::uint32_t n_ahead = needs_free_place ? 0 : std::min(kAhead, worker.n_max_waiting);
    const bool is_full = worker.flights.size() >= worker.n_parallel + n_ahead;
    if (!worker.is_eligible() || is_full || flight.attempt_on(id) != nullptr) continue;
    candidates.push_back(
        {.id = id,
         .n_assigned = static_cast<std::uint32_t>(worker.flights.size()),
         .n_parallel = worker.n_parallel,
         .n_kv_blocks_free = worker.load.n_kv_blocks -
                             std::min(worker.load.n_kv_blocks, worker.load.n_kv_blocks_used)});
  }
  if (candidates.empty()) return nullptr;
  return &workers_.at(candidates[affinity_.choose(flight.request.prompt, candidates)].id);
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

void ClusterGenerator::Core::wait_for_place(Tag tag, Flight& flight) {
  waiting_.insert({flight.order, tag});
}

/// In the order of arrival.
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
/// turn to run alone.
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
  for (const Tag tag : suspects) charge_crash(tag);
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
